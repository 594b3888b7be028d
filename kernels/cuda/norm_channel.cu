/* Norms whose statistics run over positions: groupnorm (instance norm, spatially conditioned norm), batchnorm.
 *
 * Sums are taken about the first row (so a large mean costs no digits), per channel and part of the rows; a second kernel adds
 * the parts in double and makes statistics of groups or channels; a third writes.
 *
 * A thread keeps the same channels for good: rows are read as one stretch of memory, N values at a time, and after a period of
 * n / gcd(n, N) such vectors the channels begin again. So 16-byte reads need no width that is a multiple of them, and what
 * belongs to a channel is read once. */
#include "kernels/cuda/cuda.cuh"

/* ---- walks over channels ------------------------------------------------------------------------------------------------ */

struct walk {
    int n, lanes, width, rows; /* channels; vectors of a period; of them those of a block; periods that a block reads at once */
    unsigned parts;            /* that a sample's periods are cut into: blocks side by side */
    int64_t size, periods;     /* of a sample: values, periods */
};

/* N values at once where bases and samples allow it; of a map of conditions a vector must lie within a row */
static int values_at_once(ft_dtype type, int64_t n, int64_t rows, bool aligned, bool by_row)
{
    int wide = type == FT_BF16 ? 8 : 4;
    if (!aligned || rows * n % wide || (n % wide && (by_row || n > FT_THREADS))) return 1;
    return wide;
}

static walk walk_of(int64_t n, int64_t rows, int64_t samples, int at_once, bool sums)
{
    walk w;
    int common = at_once;
    while (n % common) common /= 2;
    w.n = (int)n, w.lanes = (int)(n / common), w.size = rows * n;
    int64_t tiles = ft_ceil(w.lanes, FT_THREADS);
    w.width = (int)ft_ceil(w.lanes, tiles), w.rows = FT_THREADS / w.width;
    w.periods = ft_ceil(w.size, (int64_t)w.lanes * at_once);
    /* enough blocks for a device; of sums 64 a sample at most, else eight periods a thread where there are so many */
    int64_t enough = ft_ceil(1056, samples * tiles), most = ft_ceil(w.periods, sums ? 2 * w.rows : w.rows),
            parts = sums ? 64 : ft_ceil(w.periods, 8 * w.rows);
    if (sums ? parts > enough : parts < enough) parts = enough;
    w.parts = (unsigned)(parts < most ? parts : most);
    return w;
}
static dim3 grid_of(const walk *w, int64_t samples)
{
    return dim3((unsigned)samples * w->parts, (unsigned)ft_ceil(w->lanes, w->width));
}
static unsigned threads_of(const walk *w) { return (unsigned)(w->width * w->rows); }

/* this thread's place: its vector of the period, or none; its sample; the periods [at, end) that it reads, w.rows apart */
struct stand {
    bool live;
    int lane;
    int64_t sample, at, end;
};
FT_DEV stand stand_of(const walk &w)
{
    stand p;
    int row = (int)threadIdx.x / w.width, part = (int)(blockIdx.x % w.parts);
    p.sample = blockIdx.x / w.parts;
    p.lane = (int)blockIdx.y * w.width + (int)threadIdx.x % w.width;
    p.live = p.lane < w.lanes;
    p.end = p.live ? ft_part_of(w.periods, part + 1, w.parts) : 0;
    p.at = ft_part_of(w.periods, part, w.parts) + row;
    return p;
}
template <int N> FT_DEV int channel_of(const walk &w, int lane, int k) { return N == 1 ? lane : (lane * N + k) % w.n; }

/* Adds the sums of the block's threads by channel, in order, and writes them to part[channel] */
template <int N> FT_DEV void fold_channels(float *part, const float *acc, const walk &w)
{
    FT_SHARED(float, all, [FT_THREADS * N]); /* (rows, width, N) */
    int each = w.width * N, base = (int)blockIdx.y * each, channels = w.n - base < each ? w.n - base : each;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; k++) all[(int)threadIdx.x * N + k] = acc[k];
    __syncthreads();
    for (int c = (int)threadIdx.x; c < channels; c += (int)blockDim.x) {
        float sum = 0;
        for (int r = 0; r < w.rows; r++)
            for (int at = c; at < each; at += w.n) sum += all[r * each + at];
        part[base + c] = sum;
    }
}

/* Runs a statement with N = n, one of 16 bytes and 1 */
#define BY_VALUES(n, ...) FT_BY_WIDTH((n) > 1, __VA_ARGS__)

/* part (samples, parts, 2, n): sums of x - origin and of its square over a sample's rows; origin: its first row */
template <typename T, int N> static __global__ void channel_sums(float *part, const T *x, walk w)
{
    stand p = stand_of(w);
    float zero[N], v[N], a[N] = {0}, b[N] = {0}, ra[N] = {0}, rb[N] = {0};
    const T *mine = x + p.sample * w.size;
#pragma unroll
    for (int k = 0; k < N; k++) zero[k] = p.live ? ft_get(mine + channel_of<N>(w, p.lane, k)) : 0.0f;
    int run = 0;
    for (int64_t r = p.at; r < p.end; r += w.rows) {
        int64_t at = (r * w.lanes + p.lane) * N;
        if (at >= w.size) break;
        ft_read<N>(v, mine + at);
#pragma unroll
        for (int k = 0; k < N; k++) {
            float e = v[k] - zero[k];
            ra[k] += e;
            rb[k] += e * e;
        }
        if (++run % 64 == 0) {
#pragma unroll
            for (int k = 0; k < N; k++) a[k] += ra[k], b[k] += rb[k], ra[k] = rb[k] = 0;
        }
    }
#pragma unroll
    for (int k = 0; k < N; k++) a[k] += ra[k], b[k] += rb[k];
    float *to = part + (int64_t)blockIdx.x * 2 * w.n;
    fold_channels<N>(to, a, w);
    fold_channels<N>(to + w.n, b, w);
}

/* returns the parts */
static int64_t sums(float *part, const ft_buf *x, int64_t first_row, int64_t samples, int64_t rows_each, int64_t n)
{
    const char *from = (const char *)x->data + (size_t)(first_row * n) * (x->dtype == FT_BF16 ? 2 : 4);
    int at_once = values_at_once(x->dtype, n, rows_each, ft_aligned(from), false);
    walk w = walk_of(n, rows_each, samples, at_once, true);
    FT_BY_TYPE(x->dtype, BY_VALUES(at_once, FT_LAUNCH((channel_sums<T, N>), grid_of(&w, samples), threads_of(&w), 0,
                                                      ft_cuda_stream, part, (const T *)from, w)));
    return w.parts;
}
enum { MOST_PARTS = 64 };

/* ---- groupnorm, optionally conditioned, and activation ------------------------------------------------------------------ */

/* stat (samples, groups, 2): mean and 1/std; a warp for each */
template <typename T>
static __global__ void group_statistics(float *stat, const float *part, const T *x, int64_t samples, int64_t rows, int64_t parts,
                                        int64_t n, int64_t groups, float eps)
{
    enum { G = FT_WARP };
    int64_t per = n / groups;
    FT_EACH_ROW(task, samples * groups)
    {
        int64_t s = task / groups, c0 = task % groups * per;
        double mean = 0, var = 0;
        for (int pass = 0; pass < 2; pass++) {
            double sum = 0;
            for (int64_t i = c0 + threadIdx.x % G; i < c0 + per; i += G) {
                double s1 = 0, s2 = 0;
#pragma unroll 8
                for (int64_t k = 0; k < parts; k++)
                    s1 += (double)part[((s * parts + k) * 2) * n + i], s2 += (double)part[((s * parts + k) * 2 + 1) * n + i];
                double m = (double)ft_get(x + s * rows * n + i) + s1 / (double)rows,
                       v = s2 / (double)rows - s1 / (double)rows * (s1 / (double)rows);
                sum += pass == 0 ? m : v + (m - mean) * (m - mean);
            }
            sum = ft_sum<G>(sum);
            if (pass == 0) mean = sum / (double)per;
            else var = sum;
        }
        if (threadIdx.x % G) continue;
        stat[task * 2] = (float)mean;
        stat[task * 2 + 1] = (float)(1.0 / sqrt((var < 0 ? 0.0 : var / (double)per) + (double)eps));
    }
}

/* The condition: scale and shift (B,t,h,w,C), nearest-resized to x (B,T,H,W,C); `frame`: which frame each frame reads */
struct condition {
    const void *scale, *shift;
    const int32_t *frame;
    bool one; /* one scale and shift for a whole sample, as a residual block's time has it */
    int64_t map[3], x[3];
};

static condition condition_of(const ft_call *c)
{
    const ft_buf *x = c->in[0], *map = c->in[3];
    condition k;
    memset(&k, 0, sizeof k);
    if (!map) return k;
    k.scale = map->data, k.shift = c->in[4]->data;
    k.frame = (const int32_t *)c->state;
    k.one = map->count == map->dim[0] * map->dim[map->ndim - 1];
    for (int i = 0; i < 3; i++) k.map[i] = map->dim[1 + i], k.x[i] = x->dim[1 + i];
    return k;
}

FT_DEV int64_t frame_of(const condition &k, int64_t t) { return k.frame ? k.frame[t] : t * k.map[0] / k.x[0]; }
/* row of the condition that row r of x reads */
FT_DEV int64_t cell_of(const condition &k, int64_t r, int64_t rows)
{
    if (k.one) return r / rows;
    int64_t w = r % k.x[2], h = r / k.x[2] % k.x[1], t = r / (k.x[2] * k.x[1]) % k.x[0], b = r / (k.x[2] * k.x[1] * k.x[0]);
    return ((b * k.map[0] + frame_of(k, t)) * k.map[1] + h * k.map[1] / k.x[1]) * k.map[2] + w * k.map[2] / k.x[2];
}

struct group_norm {                     /* what all its kernels need; batchnorm is one sample whose groups are its channels */
    int64_t groups, per, samples, rows; /* rows of a sample */
    int n, act;
    const float *gamma, *beta, *stat;
    condition by;
};

static group_norm group_norm_of(const ft_call *c, const float *stat)
{
    const ft_buf *x = c->in[0];
    group_norm k;
    k.n = (int)x->dim[x->ndim - 1], k.groups = c->attr->norm.groups, k.per = k.n / k.groups, k.samples = x->dim[0];
    k.rows = x->count / k.n / k.samples;
    k.act = c->attr->norm.act;
    k.gamma = ft_as<const float>(c->in[1]), k.beta = ft_as<const float>(c->in[2]), k.stat = stat;
    k.by = condition_of(c);
    return k;
}

/* Which condition: none, one scale and shift for each sample, or a map. Which activation: known when compiled, or k.act. */
enum { NONE, SAMPLE, MAP };
enum { OTHER = -1 };
static int kind_of(const condition *k) { return !k->scale ? NONE : k->one ? SAMPLE : MAP; }
#define BY_ACT(act, ...)                                                                                                         \
    do {                                                                                                                         \
        if ((act) == FT_ACT_NONE) {                                                                                              \
            enum { ACT = FT_ACT_NONE };                                                                                          \
            __VA_ARGS__;                                                                                                         \
        } else if ((act) == FT_ACT_RELU) {                                                                                       \
            enum { ACT = FT_ACT_RELU };                                                                                          \
            __VA_ARGS__;                                                                                                         \
        } else if ((act) == FT_ACT_SILU) {                                                                                       \
            enum { ACT = FT_ACT_SILU };                                                                                          \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { ACT = OTHER };                                                                                                \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)
/* ... with N, ACT and BY; a map and single values take the activation as it comes: they are seldom */
#define BY_NORM(at_once, act, by, ...)                                                                                           \
    do {                                                                                                                         \
        if ((by) == MAP) {                                                                                                       \
            enum { ACT = OTHER, BY = MAP };                                                                                      \
            BY_VALUES(at_once, __VA_ARGS__);                                                                                     \
        } else if ((at_once) == 1) {                                                                                             \
            enum { N = 1, ACT = OTHER };                                                                                         \
            BY_SAMPLE(by, __VA_ARGS__);                                                                                          \
        } else {                                                                                                                 \
            enum { N = 16 / sizeof(T) };                                                                                         \
            BY_SAMPLE(by, BY_ACT(act, __VA_ARGS__));                                                                             \
        }                                                                                                                        \
    } while (0)
#define BY_SAMPLE(by, ...)                                                                                                       \
    do {                                                                                                                         \
        if ((by) == SAMPLE) {                                                                                                    \
            enum { BY = SAMPLE };                                                                                                \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { BY = NONE };                                                                                                  \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

template <int ACT> FT_DEV float activate(const group_norm &k, float v)
{
    return ft_act1((ft_act)(ACT == OTHER ? k.act : ACT), v);
}

/* A channel of a sample: hat * gamma + beta as x * a + b */
template <int N> struct channel_line {
    float a[N], b[N], mean[N], rstd[N];
};
template <int N> FT_DEV channel_line<N> line_of(const group_norm &k, int64_t sample, const walk &w, int lane)
{
    channel_line<N> l;
#pragma unroll
    for (int j = 0; j < N; j++) {
        int c = channel_of<N>(w, lane, j);
        const float *stat = k.stat + (sample * k.groups + (k.per == 1 ? c : c / (int)k.per)) * 2;
        l.mean[j] = stat[0], l.rstd[j] = stat[1];
        l.a[j] = (k.gamma ? k.gamma[c] : 1.0f) * l.rstd[j];
        l.b[j] = (k.beta ? k.beta[c] : 0.0f) - l.mean[j] * l.a[j];
    }
    return l;
}
template <int N, typename T>
FT_DEV void sample_condition(const group_norm &k, const T *, int64_t sample, const walk &w, int lane, float *sc, float *sh)
{
#pragma unroll
    for (int j = 0; j < N; j++) {
        int64_t at = sample * k.n + channel_of<N>(w, lane, j);
        sc[j] = ft_get((const T *)k.by.scale + at), sh[j] = ft_get((const T *)k.by.shift + at);
    }
}
/* the condition that the vector at `at` of a sample reads: it lies within a row */
template <int N, typename T>
FT_DEV void map_condition(const group_norm &k, const T *, int64_t sample, int64_t at, float *sc, float *sh)
{
    int64_t r = at / k.n, cell = cell_of(k.by, sample * k.rows + r, k.rows) * k.n + (at - r * k.n);
    ft_read<N>(sc, (const T *)k.by.scale + cell);
    ft_read<N>(sh, (const T *)k.by.shift + cell);
}

template <typename T, int N, int ACT, int BY> static __global__ void norm_apply(T *y, const T *x, group_norm k, walk w)
{
    stand p = stand_of(w);
    if (!p.live) return;
    channel_line<N> l = line_of<N>(k, p.sample, w, p.lane);
    float v[N], sc[N], sh[N];
    if (BY == SAMPLE) {
        sample_condition<N>(k, x, p.sample, w, p.lane, sc, sh);
#pragma unroll
        for (int j = 0; j < N; j++) l.a[j] *= sc[j], l.b[j] = l.b[j] * sc[j] + sh[j];
    }
#pragma unroll 2
    for (int64_t r = p.at; r < p.end; r += w.rows) {
        int64_t at = (r * w.lanes + p.lane) * N, there = p.sample * w.size + at;
        if (at >= w.size) break;
        ft_read<N>(v, x + there);
        if (BY == MAP) map_condition<N>(k, x, p.sample, at, sc, sh);
#pragma unroll
        for (int j = 0; j < N; j++) {
            v[j] = v[j] * l.a[j] + l.b[j];
            if (BY == MAP) v[j] = v[j] * sc[j] + sh[j];
            v[j] = activate<ACT>(k, v[j]);
        }
        ft_write<N>(y + there, v);
    }
}

static int frame_table(ft_call *c)
{
    const void *table;
    if (!c->attr->norm.frame) return FT_OK;
    FT_TRY(ft_cuda_table(&table, c->attr->norm.frame, (size_t)c->in[0]->dim[1] * sizeof(int32_t)));
    c->state = (void *)table;
    c->free_state = ft_cuda_free;
    return FT_OK;
}

static int at_once_of(const ft_call *c, const group_norm *k)
{
    bool aligned = ft_aligned(c->in[0]) && ft_aligned(c->in[3]) && ft_aligned(c->in[4]) && ft_aligned(c->out[0]);
    return values_at_once(c->in[0]->dtype, k->n, k->rows, aligned, kind_of(&k->by) == MAP);
}

static void apply(const ft_buf *y, const ft_buf *x, int64_t first, const group_norm *k, int at_once)
{
    walk w = walk_of(k->n, k->rows, k->samples, at_once, false);
    FT_BY_TYPE(x->dtype, BY_NORM(at_once, k->act, kind_of(&k->by),
                                 FT_LAUNCH((norm_apply<T, N, ACT, BY>), grid_of(&w, k->samples), threads_of(&w), 0,
                                           ft_cuda_stream, ft_as<T>(y) + first, ft_as<const T>(x) + first, *k, w)));
}

extern "C" int ft_cuda_prepare_groupnorm(ft_call *c)
{
    const ft_buf *x = c->in[0];
    c->work_size = (size_t)(x->dim[0] * MOST_PARTS * 2 * x->dim[x->ndim - 1]) * sizeof(float);
    return frame_table(c);
}

extern "C" void ft_cuda_groupnorm(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    float *stat = ft_as<float>(c->out[1]), *part = (float *)c->work;
    group_norm k = group_norm_of(c, stat);
    int64_t parts = sums(part, x, 0, k.samples, k.rows, k.n);
    FT_BY_TYPE(x->dtype,
               FT_LAUNCH((group_statistics<T>), ft_blocks(k.samples * k.groups, FT_WARPS), FT_THREADS, 0, ft_cuda_stream, stat,
                         part, ft_as<const T>(x), k.samples, k.rows, parts, k.n, k.groups, c->attr->norm.eps));
    apply(c->out[0], x, 0, &k, at_once_of(c, &k));
}

/* pre: the normalised value; dcond: the gradient before the activation; returned: the gradient before the condition */
template <int N, int ACT, int BY>
FT_DEV float back_to_norm(const group_norm &k, int j, const float *v, const channel_line<N> &l, const float *sc, const float *sh,
                          float d, float *pre, float *dcond)
{
    *pre = v[j] * l.a[j] + l.b[j];
    float out = BY == NONE ? *pre : *pre * sc[j] + sh[j];
    *dcond = ACT == FT_ACT_NONE   ? d
             : ACT == FT_ACT_RELU ? (out <= 0 ? 0.0f : d)
                                  : d * ft_act_d1((ft_act)(ACT == OTHER ? k.act : ACT), out);
    return BY == NONE ? *dcond : *dcond * sc[j];
}

/* part (samples, parts, SUMS, n): sums of dpre * hat, of dpre, and of what one condition of a sample gets (scale, shift) */
template <typename T, int N, int ACT, int BY>
static __global__ void norm_columns(float *part, const T *x, const T *dy, group_norm k, walk w)
{
    enum { SUMS = BY == SAMPLE ? 4 : 2 };
    stand p = stand_of(w);
    float sum[SUMS][N] = {{0}}, v[N], d[N], sc[N], sh[N], pre, dc;
    channel_line<N> l = {};
    if (p.live) l = line_of<N>(k, p.sample, w, p.lane);
    if (BY == SAMPLE && p.live) sample_condition<N>(k, x, p.sample, w, p.lane, sc, sh);
    for (int64_t r = p.at; r < p.end; r += w.rows) {
        int64_t at = (r * w.lanes + p.lane) * N, there = p.sample * w.size + at;
        if (at >= w.size) break;
        ft_read<N>(v, x + there);
        ft_read<N>(d, dy + there);
        if (BY == MAP) map_condition<N>(k, x, p.sample, at, sc, sh);
#pragma unroll
        for (int j = 0; j < N; j++) {
            float dp = back_to_norm<N, ACT, BY>(k, j, v, l, sc, sh, d[j], &pre, &dc);
            sum[0][j] += dp * (v[j] - l.mean[j]);
            sum[1][j] += dp;
            if (BY == SAMPLE) sum[SUMS - 2][j] += dc * pre, sum[SUMS - 1][j] += dc;
        }
    }
#pragma unroll
    for (int j = 0; j < N; j++) sum[0][j] *= l.rstd[j];
    float *to = part + (int64_t)blockIdx.x * SUMS * w.n;
#pragma unroll
    for (int q = 0; q < SUMS; q++) fold_channels<N>(to + q * w.n, sum[q], w);
}

/* returns the parts */
static int64_t columns(float *part, const ft_buf *x, const ft_buf *dy, int64_t first, const group_norm *k, int at_once)
{
    walk w = walk_of(k->n, k->rows, k->samples, at_once, true);
    FT_BY_TYPE(x->dtype, BY_NORM(at_once, k->act, kind_of(&k->by),
                                 FT_LAUNCH((norm_columns<T, N, ACT, BY>), grid_of(&w, k->samples), threads_of(&w), 0,
                                           ft_cuda_stream, part, ft_as<const T>(x) + first, ft_as<const T>(dy) + first, *k, w)));
    return w.parts;
}

/* means (samples, groups, 2): of dpre * gamma, and of that times hat; a warp for each */
static __global__ void group_means(float *means, const float *total, int64_t sums_each, group_norm k)
{
    enum { G = FT_WARP };
    FT_EACH_ROW(task, k.samples * k.groups)
    {
        int64_t s = task / k.groups, c0 = task % k.groups * k.per;
        double m1 = 0, m2 = 0;
        for (int64_t i = c0 + threadIdx.x % G; i < c0 + k.per; i += G) {
            double ga = k.gamma ? (double)k.gamma[i] : 1.0;
            m1 += ga * (double)total[(s * sums_each + 1) * k.n + i];
            m2 += ga * (double)total[s * sums_each * k.n + i];
        }
        m1 = ft_sum<G>(m1), m2 = ft_sum<G>(m2);
        if (threadIdx.x % G == 0)
            means[task * 2] = (float)(m1 / (double)(k.per * k.rows)),
                         means[task * 2 + 1] = (float)(m2 / (double)(k.per * k.rows));
    }
}

/* dx = rstd * (dpre * gamma - m1 - hat * m2), as dpre * a + x * slope + level. The means are those of groups, or sums of channels
 * (total, batchnorm); neither: statistics are constants */
struct norm_means {
    const float *means, *total;
};
template <typename T, int N, int ACT, int BY>
static __global__ void norm_dx(T *dx, const T *x, const T *dy, norm_means m, group_norm k, walk w)
{
    stand p = stand_of(w);
    if (!p.live) return;
    channel_line<N> l = line_of<N>(k, p.sample, w, p.lane);
    float v[N], d[N], sc[N], sh[N], slope[N], level[N], pre, dc;
#pragma unroll
    for (int j = 0; j < N; j++) {
        int c = channel_of<N>(w, p.lane, j);
        const float *of = m.means + (p.sample * k.groups + (k.per == 1 ? c : c / (int)k.per)) * 2;
        float scale = l.a[j] / (float)k.rows,
              m1 = m.means   ? l.rstd[j] * of[0]
                   : m.total ? scale * m.total[k.n + c]
                             : 0.0f,
              m2 = m.means   ? l.rstd[j] * of[1]
                   : m.total ? scale * m.total[c]
                             : 0.0f;
        slope[j] = -l.rstd[j] * m2;
        level[j] = l.mean[j] * l.rstd[j] * m2 - m1;
    }
    if (BY == SAMPLE) sample_condition<N>(k, x, p.sample, w, p.lane, sc, sh);
    for (int64_t r = p.at; r < p.end; r += w.rows) {
        int64_t at = (r * w.lanes + p.lane) * N, there = p.sample * w.size + at;
        if (at >= w.size) break;
        ft_read<N>(v, x + there);
        ft_read<N>(d, dy + there);
        if (BY == MAP) map_condition<N>(k, x, p.sample, at, sc, sh);
#pragma unroll
        for (int j = 0; j < N; j++) {
            float dp = back_to_norm<N, ACT, BY>(k, j, v, l, sc, sh, d[j], &pre, &dc);
            d[j] = dp * l.a[j] + (v[j] * slope[j] + level[j]);
        }
        ft_write<N>(dx + there, d);
    }
}

static void input_grads(const ft_buf *dx, const ft_buf *x, const ft_buf *dy, int64_t first, norm_means m, const group_norm *k,
                        int at_once)
{
    walk w = walk_of(k->n, k->rows, k->samples, at_once, false);
    FT_BY_TYPE(x->dtype,
               BY_NORM(at_once, k->act, kind_of(&k->by),
                       FT_LAUNCH((norm_dx<T, N, ACT, BY>), grid_of(&w, k->samples), threads_of(&w), 0, ft_cuda_stream,
                                 ft_as<T>(dx) + first, ft_as<const T>(x) + first, ft_as<const T>(dy) + first, m, *k, w)));
}

/* Positions of one axis that read cell `cell` of `cells`: nearest neighbours */
FT_DEV int64_t first_reader(int64_t cell, int64_t cells, int64_t n) { return (cell * n + cells - 1) / cells; }

/* dscale and dshift: each cell of the condition sums over the positions that read it; a thread for each of its channels */
template <typename T>
static __global__ void condition_grads(T *dscale, T *dshift, const T *x, const T *dy, group_norm k, int64_t cells)
{
    const condition &m = k.by;
    FT_EACH(task, cells * k.n)
    {
        int64_t cell = task / k.n, i = task % k.n, cw = cell % m.map[2], ch = cell / m.map[2] % m.map[1],
                ct = cell / (m.map[2] * m.map[1]) % m.map[0], s = cell / (m.map[2] * m.map[1] * m.map[0]);
        channel_line<1> own = line_of<1>(k, s, walk(), (int)i);
        float ds = 0, dh = 0;
        for (int64_t t = 0; t < m.x[0]; t++) {
            if (frame_of(m, t) != ct) continue;
            for (int64_t h = first_reader(ch, m.map[1], m.x[1]); h < first_reader(ch + 1, m.map[1], m.x[1]); h++)
                for (int64_t w = first_reader(cw, m.map[2], m.x[2]); w < first_reader(cw + 1, m.map[2], m.x[2]); w++) {
                    int64_t r = ((s * m.x[0] + t) * m.x[1] + h) * m.x[2] + w;
                    float v = ft_get(x + r * k.n + i), sc = ft_get((const T *)m.scale + task),
                          sh = ft_get((const T *)m.shift + task), pre, dc;
                    back_to_norm<1, OTHER, MAP>(k, 0, &v, own, &sc, &sh, ft_get(dy + r * k.n + i), &pre, &dc);
                    ds += dc * pre, dh += dc;
                }
        }
        if (dscale) ft_put(dscale + task, ds);
        if (dshift) ft_put(dshift + task, dh);
    }
}

extern "C" int ft_cuda_prepare_groupnorm_bwd(ft_call *c)
{
    const ft_buf *x = c->in[0];
    c->work_size = (size_t)(x->dim[0] * ((MOST_PARTS + 1) * 4 * x->dim[x->ndim - 1] + c->attr->norm.groups * 2)) * sizeof(float);
    return frame_table(c);
}

/* in: x gamma beta scale shift stat dy; out: dx dgamma dbeta dscale dshift */
extern "C" void ft_cuda_groupnorm_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[6], *dx = c->out[0];
    group_norm k = group_norm_of(c, ft_as<const float>(c->in[5]));
    int at_once = ft_aligned(dy) ? at_once_of(c, &k) : 1, by = kind_of(&k.by);
    int64_t n = k.n, sums_each = by == SAMPLE ? 4 : 2;
    float *part = (float *)c->work, *total = part + k.samples * MOST_PARTS * 4 * n, *means = total + k.samples * 4 * n;
    if (by == MAP && (c->out[3] || c->out[4])) {
        int64_t cells = c->in[3]->count / n;
        FT_BY_TYPE(x->dtype, FT_RUN((condition_grads<T>), cells * n, ft_as<T>(c->out[3]), ft_as<T>(c->out[4]), ft_as<const T>(x),
                                    ft_as<const T>(dy), k, cells));
    }
    int64_t parts = columns(part, x, dy, 0, &k, at_once);
    ft_cuda_sum_rows(total, FT_F32, part, k.samples, parts, sums_each * n, sums_each * n, 1);
    for (int q = 0; q < 2; q++)
        if (c->out[1 + q]) ft_cuda_sum_rows(c->out[1 + q]->data, FT_F32, total + q * n, 1, k.samples, sums_each * n, n, 1);
    for (int q = 0; q < 2 && by == SAMPLE; q++)
        if (c->out[3 + q])
            ft_cuda_sum_rows(c->out[3 + q]->data, c->out[3 + q]->dtype, part + (2 + q) * n, k.samples, parts, 4 * n, n, 1);
    if (!dx) return;
    FT_LAUNCH((group_means), ft_blocks(k.samples * k.groups, FT_WARPS), FT_THREADS, 0, ft_cuda_stream, means, total, sums_each,
              k);
    norm_means m = {means, NULL};
    input_grads(dx, x, dy, 0, m, &k, at_once);
}

/* ---- batchnorm (+ activation), statistics of two segments of the batch -------------------------------------------------- */

/* rows [from, to) of segment k: samples before `first`, or the rest */
static void segment(const ft_call *c, const ft_buf *x, int k, int64_t *from, int64_t *to)
{
    int64_t rows = x->count / x->dim[x->ndim - 1], per_sample = rows / x->dim[0], first = c->attr->norm.first;
    *from = k == 0 ? 0 : first * per_sample;
    *to = k == 0 ? first * per_sample : rows;
    if (!c->attr->norm.training) *from = k == 0 ? 0 : rows, *to = rows;
}

/* stat (n, 2): mean and 1/std. In training from the sums; running statistics move with those of labelled samples (momentum > 0
 * or 0 for the second segment), with the unbiased variance */
template <typename T>
static __global__ void batch_statistics(float *stat, float *mean, float *var, const float *part, const T *x, int64_t parts,
                                        int64_t n, double count, float momentum, float eps, bool training)
{
    FT_EACH(i, n)
    {
        if (!training) {
            stat[2 * i] = mean[i], stat[2 * i + 1] = 1.0f / sqrtf(var[i] + eps);
            continue;
        }
        double s1 = 0, s2 = 0;
#pragma unroll 8
        for (int64_t k = 0; k < parts; k++) s1 += (double)part[k * 2 * n + i], s2 += (double)part[(k * 2 + 1) * n + i];
        double m = s1 / count, v = s2 / count - m * m < 0 ? 0.0 : s2 / count - m * m; /* NaN stays */
        stat[2 * i] = (float)(m + (double)ft_get(x + i));
        stat[2 * i + 1] = (float)(1.0 / sqrt(v + (double)eps));
        mean[i] += momentum * (stat[2 * i] - mean[i]);
        var[i] += momentum * ((float)(v * count / (count > 2 ? count - 1 : 1.0)) - var[i]);
    }
}

/* a segment as a groupnorm of one sample */
static group_norm batch_norm_of(const ft_call *c, const float *stat, int64_t rows)
{
    group_norm k;
    memset(&k, 0, sizeof k);
    const ft_buf *x = c->in[0];
    k.n = (int)x->dim[x->ndim - 1], k.groups = k.n, k.per = k.samples = 1, k.rows = rows, k.act = c->attr->norm.act;
    k.gamma = ft_as<const float>(c->in[1]), k.beta = ft_as<const float>(c->in[2]), k.stat = stat;
    return k;
}
static int batch_at_once(const group_norm *k, const ft_buf *x, const ft_buf *y, const ft_buf *z, int64_t first)
{
    bool aligned = ft_aligned(x) && ft_aligned(y) && ft_aligned(z) && first % 8 == 0;
    return values_at_once(x->dtype, k->n, k->rows, aligned, false);
}

extern "C" int ft_cuda_prepare_batchnorm(ft_call *c)
{
    int64_t n = c->in[0]->dim[c->in[0]->ndim - 1];
    c->work_size = (size_t)(MOST_PARTS * 2 * n) * sizeof(float);
    return FT_OK;
}

extern "C" void ft_cuda_batchnorm(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    float *part = (float *)c->work;
    for (int k = 0; k < 2; k++) {
        int64_t from, to, parts = 0;
        segment(c, x, k, &from, &to);
        if (from == to) continue;
        float *stat = ft_as<float>(c->out[1]) + k * 2 * n;
        if (c->attr->norm.training) parts = sums(part, x, from, 1, to - from, n);
        FT_BY_TYPE(x->dtype, FT_RUN((batch_statistics<T>), n, stat, ft_as<float>(c->in[3]), ft_as<float>(c->in[4]), part,
                                    ft_as<const T>(x) + from * n, parts, n, (double)(to - from),
                                    k == 0 ? c->attr->norm.momentum : 0.0f, c->attr->norm.eps, c->attr->norm.training));
        group_norm g = batch_norm_of(c, stat, to - from);
        apply(y, x, from * n, &g, batch_at_once(&g, x, y, NULL, from * n));
    }
}

/* total (2, n) to dgamma and dbeta, of the first segment or beside it */
static __global__ void add_to(float *dgamma, float *dbeta, const float *total, int64_t n, bool first)
{
    FT_EACH(i, n)
    {
        if (dgamma) dgamma[i] = first ? total[i] : dgamma[i] + total[i];
        if (dbeta) dbeta[i] = first ? total[n + i] : dbeta[i] + total[n + i];
    }
}

extern "C" int ft_cuda_prepare_batchnorm_bwd(ft_call *c)
{
    int64_t n = c->in[0]->dim[c->in[0]->ndim - 1];
    c->work_size = (size_t)((MOST_PARTS + 1) * 2 * n) * sizeof(float);
    return FT_OK;
}

/* in: x gamma beta stat dy; out: dx dgamma dbeta */
extern "C" void ft_cuda_batchnorm_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[4], *dx = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    float *total = (float *)c->work, *part = total + 2 * n;
    bool first = true;
    for (int k = 0; k < 2; k++) {
        int64_t from, to;
        segment(c, x, k, &from, &to);
        if (from == to) continue;
        group_norm g = batch_norm_of(c, ft_as<const float>(c->in[3]) + k * 2 * n, to - from);
        int at_once = batch_at_once(&g, x, dy, dx, from * n);
        int64_t parts = columns(part, x, dy, from * n, &g, at_once);
        ft_cuda_sum_rows(total, FT_F32, part, 1, parts, 2 * n, 2 * n, 1);
        if (c->out[1] || c->out[2])
            FT_RUN((add_to), n, ft_as<float>(c->out[1]), ft_as<float>(c->out[2]), (const float *)total, n, first);
        first = false;
        if (!dx) continue;
        norm_means m = {NULL, c->attr->norm.training ? total : (const float *)NULL}; /* running statistics are constants */
        input_grads(dx, x, dy, from * n, m, &g, at_once);
    }
}
