/* Norms whose statistics run over positions: groupnorm (instance norm, spatially conditioned norm), batchnorm.
 *
 * Sums are taken about the first row (so a large mean costs no digits), per channel and part of the rows; a second kernel adds
 * the parts in double and makes statistics of groups or channels; a third writes. */
#include "kernels/cuda/cuda.cuh"

/* part (samples, parts, 2, n): sums of x - origin and of its square, over rows_each rows of a sample; origin: its first row */
template <typename T, int N>
static __global__ void channel_sums(float *part, const T *x, int64_t rows_each, int64_t parts, int64_t n)
{
    int64_t at = FT_COLUMN(N), s = FT_COLUMN_PART / parts, p = FT_COLUMN_PART % parts;
    bool inside = at < n;
    float zero[N] = {0}, v[N], a[N] = {0}, b[N] = {0}, ra[N] = {0}, rb[N] = {0};
    const T *mine = x + s * rows_each * n + at;
    if (inside) ft_read<N>(zero, mine);
    int64_t end = inside ? ft_part_of(rows_each, p + 1, parts) : 0;
    int run = 0;
    for (int64_t r = ft_part_of(rows_each, p, parts) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        ft_read<N>(v, mine + r * n);
        for (int k = 0; k < N; k++) {
            float e = v[k] - zero[k];
            ra[k] += e;
            rb[k] += e * e;
        }
        if (++run % 64 == 0)
            for (int k = 0; k < N; k++) a[k] += ra[k], b[k] += rb[k], ra[k] = rb[k] = 0;
    }
    for (int k = 0; k < N; k++) a[k] += ra[k], b[k] += rb[k];
    ft_fold<N>(a);
    ft_fold<N>(b);
    if (!inside || FT_COLUMN_ROW > 0) return;
    for (int k = 0; k < N; k++) {
        part[(FT_COLUMN_PART * 2) * n + at + k] = a[k];
        part[(FT_COLUMN_PART * 2 + 1) * n + at + k] = b[k];
    }
}

static int64_t parts_of(int64_t samples, int64_t rows_each, int64_t n) { return ft_parts(rows_each, samples * ft_ceil(n, 256)); }

static void sums(float *part, const ft_buf *x, int64_t first_row, int64_t samples, int64_t rows_each, int64_t parts, int64_t n)
{
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, n),
                                     FT_LAUNCH((channel_sums<T, N>), FT_COLUMN_GRID(samples * parts, n), FT_THREADS, 0,
                                               ft_cuda_stream, part, ft_as<const T>(x) + first_row * n, rows_each, parts, n)));
}

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

struct group_norm {                        /* what all its kernels need */
    int64_t n, groups, per, samples, rows; /* rows of a sample */
    int act;
    const float *gamma, *beta, *stat;
    condition by;
};

static group_norm group_norm_of(const ft_call *c, const float *stat)
{
    const ft_buf *x = c->in[0];
    group_norm k;
    k.n = x->dim[x->ndim - 1], k.groups = c->attr->norm.groups, k.per = k.n / k.groups, k.samples = x->dim[0];
    k.rows = x->count / k.n / k.samples;
    k.act = c->attr->norm.act;
    k.gamma = ft_as<const float>(c->in[1]), k.beta = ft_as<const float>(c->in[2]), k.stat = stat;
    k.by = condition_of(c);
    return k;
}

/* N channels of row r, from channel i: hat * gamma + beta as x * a + b */
template <int N> FT_DEV void lines(const group_norm &k, int64_t r, int64_t i, float *a, float *b)
{
    const float *stat = k.stat + r / k.rows * k.groups * 2;
    for (int j = 0; j < N; j++) {
        int64_t g = (i + j) / k.per * 2;
        a[j] = (k.gamma ? k.gamma[i + j] : 1.0f) * stat[g + 1];
        b[j] = (k.beta ? k.beta[i + j] : 0.0f) - stat[g] * a[j];
    }
}
template <int N, typename T>
FT_DEV void read_condition(const group_norm &k, const T *, int64_t r, int64_t i, float *sc, float *sh)
{
    int64_t cell = cell_of(k.by, r, k.rows);
    ft_read<N>(sc, (const T *)k.by.scale + cell * k.n + i);
    ft_read<N>(sh, (const T *)k.by.shift + cell * k.n + i);
}

template <typename T, int N> static __global__ void groupnorm(T *y, const T *x, group_norm k)
{
    FT_EACH(task, k.samples * k.rows * k.n / N)
    {
        int64_t r = task * N / k.n, i = task * N % k.n;
        float v[N], a[N], b[N];
        ft_read<N>(v, x + task * N);
        lines<N>(k, r, i, a, b);
        for (int j = 0; j < N; j++) v[j] = v[j] * a[j] + b[j];
        if (k.by.scale) {
            read_condition<N>(k, x, r, i, a, b);
            for (int j = 0; j < N; j++) v[j] = v[j] * a[j] + b[j];
        }
        for (int j = 0; j < N; j++) v[j] = ft_act1((ft_act)k.act, v[j]);
        ft_write<N>(y + task * N, v);
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

static bool wide_norm(const ft_call *c, int64_t n)
{
    return ft_wide(c->in[0], n) && ft_aligned(c->in[3]) && ft_aligned(c->in[4]) && ft_aligned(c->out[0]);
}

extern "C" int ft_cuda_prepare_groupnorm(ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = x->dim[x->ndim - 1], samples = x->dim[0];
    c->work_size = (size_t)(samples * parts_of(samples, x->count / n / samples, n) * 2 * n) * sizeof(float);
    return frame_table(c);
}

extern "C" void ft_cuda_groupnorm(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    float *stat = ft_as<float>(c->out[1]), *part = (float *)c->work;
    group_norm k = group_norm_of(c, stat);
    int64_t parts = parts_of(k.samples, k.rows, k.n);
    sums(part, x, 0, k.samples, k.rows, parts, k.n);
    FT_BY_TYPE(x->dtype,
               FT_LAUNCH((group_statistics<T>), ft_blocks(k.samples * k.groups, FT_WARPS), FT_THREADS, 0, ft_cuda_stream, stat,
                         part, ft_as<const T>(x), k.samples, k.rows, parts, k.n, k.groups, c->attr->norm.eps));
    FT_BY_TYPE(x->dtype,
               FT_BY_WIDTH(wide_norm(c, k.n), FT_RUN((groupnorm<T, N>), x->count / N, ft_as<T>(y), ft_as<const T>(x), k)));
}

/* pre: the normalised values; dcond: the gradient before the activation, or before the condition if there is none: dpre */
template <int N, typename T>
FT_DEV void back_to_norm(const group_norm &k, const T *x, const T *dy, int64_t r, int64_t i, float *v, float *a, float *pre,
                         float *dcond, float *dpre)
{
    float b[N], sc[N], sh[N], d[N];
    ft_read<N>(v, x + r * k.n + i);
    ft_read<N>(d, dy + r * k.n + i);
    lines<N>(k, r, i, a, b);
    for (int j = 0; j < N; j++) pre[j] = v[j] * a[j] + b[j], sc[j] = 1, sh[j] = 0;
    if (k.by.scale) read_condition<N>(k, x, r, i, sc, sh);
    for (int j = 0; j < N; j++) {
        float out = k.by.scale ? pre[j] * sc[j] + sh[j] : pre[j];
        dcond[j] = k.act == FT_ACT_NONE ? d[j] : d[j] * ft_act_d1((ft_act)k.act, out);
        dpre[j] = k.by.scale ? dcond[j] * sc[j] : dcond[j];
    }
}

/* part (samples, parts, 4, n): sums of dpre * hat, of dpre, and of what one condition of a sample gets (scale, shift) */
template <typename T, int N>
static __global__ void group_columns(float *part, const T *x, const T *dy, group_norm k, int64_t parts)
{
    int64_t at = FT_COLUMN(N), s = FT_COLUMN_PART / parts, p = FT_COLUMN_PART % parts;
    bool inside = at < k.n;
    float sum[4][N] = {{0}}, v[N], a[N], pre[N], dc[N], dp[N];
    const float *stat = k.stat + s * k.groups * 2;
    int64_t end = inside ? s * k.rows + ft_part_of(k.rows, p + 1, parts) : 0;
    for (int64_t r = s * k.rows + ft_part_of(k.rows, p, parts) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        back_to_norm<N>(k, x, dy, r, at, v, a, pre, dc, dp);
        for (int j = 0; j < N; j++) {
            sum[0][j] += dp[j] * (v[j] - stat[(at + j) / k.per * 2]);
            sum[1][j] += dp[j];
            sum[2][j] += dc[j] * pre[j];
            sum[3][j] += dc[j];
        }
    }
    for (int q = 0; q < 4; q++) {
        ft_fold<N>(sum[q]);
        if (!inside || FT_COLUMN_ROW > 0) continue;
        for (int j = 0; j < N; j++)
            part[(FT_COLUMN_PART * 4 + q) * k.n + at + j] = q == 0 ? sum[q][j] * stat[(at + j) / k.per * 2 + 1] : sum[q][j];
    }
}

/* means (samples, groups, 2): of dpre * gamma, and of that times hat; a warp for each */
static __global__ void group_means(float *means, const float *total, group_norm k)
{
    enum { G = FT_WARP };
    FT_EACH_ROW(task, k.samples * k.groups)
    {
        int64_t s = task / k.groups, c0 = task % k.groups * k.per;
        double m1 = 0, m2 = 0;
        for (int64_t i = c0 + threadIdx.x % G; i < c0 + k.per; i += G) {
            double ga = k.gamma ? (double)k.gamma[i] : 1.0;
            m1 += ga * (double)total[(s * 4 + 1) * k.n + i];
            m2 += ga * (double)total[s * 4 * k.n + i];
        }
        m1 = ft_sum<G>(m1), m2 = ft_sum<G>(m2);
        if (threadIdx.x % G == 0)
            means[task * 2] = (float)(m1 / (double)(k.per * k.rows)),
                         means[task * 2 + 1] = (float)(m2 / (double)(k.per * k.rows));
    }
}

/* dx = rstd * (dpre * gamma - m1 - hat * m2) */
template <typename T, int N> static __global__ void groupnorm_dx(T *dx, const T *x, const T *dy, const float *means, group_norm k)
{
    FT_EACH(task, k.samples * k.rows * k.n / N)
    {
        int64_t r = task * N / k.n, i = task * N % k.n, s = r / k.rows * k.groups * 2;
        float v[N], a[N], pre[N], dc[N], dp[N];
        back_to_norm<N>(k, x, dy, r, i, v, a, pre, dc, dp);
        for (int j = 0; j < N; j++) {
            int64_t g = s + (i + j) / k.per * 2;
            float mean = k.stat[g], rstd = k.stat[g + 1];
            dp[j] = dp[j] * a[j] - rstd * (means[g] + (v[j] - mean) * rstd * means[g + 1]);
        }
        ft_write<N>(dx + task * N, dp);
    }
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
        float ds = 0, dh = 0, v, a, pre, dc, dp;
        for (int64_t t = 0; t < m.x[0]; t++) {
            if (frame_of(m, t) != ct) continue;
            for (int64_t h = first_reader(ch, m.map[1], m.x[1]); h < first_reader(ch + 1, m.map[1], m.x[1]); h++)
                for (int64_t w = first_reader(cw, m.map[2], m.x[2]); w < first_reader(cw + 1, m.map[2], m.x[2]); w++) {
                    int64_t r = ((s * m.x[0] + t) * m.x[1] + h) * m.x[2] + w;
                    back_to_norm<1>(k, x, dy, r, i, &v, &a, &pre, &dc, &dp);
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
    int64_t n = x->dim[x->ndim - 1], samples = x->dim[0], parts = parts_of(samples, x->count / n / samples, n);
    c->work_size = (size_t)(samples * ((parts + 1) * 4 * n + c->attr->norm.groups * 2)) * sizeof(float);
    return frame_table(c);
}

/* in: x gamma beta scale shift stat dy; out: dx dgamma dbeta dscale dshift */
extern "C" void ft_cuda_groupnorm_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[6], *dx = c->out[0];
    group_norm k = group_norm_of(c, ft_as<const float>(c->in[5]));
    int64_t parts = parts_of(k.samples, k.rows, k.n);
    float *part = (float *)c->work, *total = part + k.samples * parts * 4 * k.n, *means = total + k.samples * 4 * k.n;
    bool wide = wide_norm(c, k.n) && ft_aligned(dy);
    if (c->in[3] && !k.by.one && (c->out[3] || c->out[4])) {
        int64_t cells = c->in[3]->count / k.n;
        FT_BY_TYPE(x->dtype, FT_RUN((condition_grads<T>), cells * k.n, ft_as<T>(c->out[3]), ft_as<T>(c->out[4]),
                                    ft_as<const T>(x), ft_as<const T>(dy), k, cells));
    }
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(wide, FT_LAUNCH((group_columns<T, N>), FT_COLUMN_GRID(k.samples * parts, k.n), FT_THREADS, 0,
                                                     ft_cuda_stream, part, ft_as<const T>(x), ft_as<const T>(dy), k, parts)));
    ft_cuda_sum_rows(total, FT_F32, part, k.samples, parts, 4 * k.n, 4 * k.n, 1);
    for (int q = 0; q < 2; q++)
        if (c->out[1 + q]) ft_cuda_sum_rows(c->out[1 + q]->data, FT_F32, total + q * k.n, 1, k.samples, 4 * k.n, k.n, 1);
    for (int q = 0; q < 2 && c->in[3] && k.by.one; q++)
        if (c->out[3 + q])
            ft_cuda_sum_rows(c->out[3 + q]->data, c->out[3 + q]->dtype, part + (2 + q) * k.n, k.samples, parts, 4 * k.n, k.n, 1);
    if (!dx) return;
    FT_LAUNCH((group_means), ft_blocks(k.samples * k.groups, FT_WARPS), FT_THREADS, 0, ft_cuda_stream, means, total, k);
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(wide, FT_RUN((groupnorm_dx<T, N>), x->count / N, ft_as<T>(dx), ft_as<const T>(x),
                                                  ft_as<const T>(dy), means, k)));
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
        for (int64_t k = 0; k < parts; k++) s1 += (double)part[k * 2 * n + i], s2 += (double)part[(k * 2 + 1) * n + i];
        double m = s1 / count, v = s2 / count - m * m < 0 ? 0.0 : s2 / count - m * m; /* NaN stays */
        stat[2 * i] = (float)(m + (double)ft_get(x + i));
        stat[2 * i + 1] = (float)(1.0 / sqrt(v + (double)eps));
        mean[i] += momentum * (stat[2 * i] - mean[i]);
        var[i] += momentum * ((float)(v * count / (count > 2 ? count - 1 : 1.0)) - var[i]);
    }
}

template <typename T, int N>
static __global__ void batchnorm(T *y, const T *x, const float *gamma, const float *beta, const float *stat, int64_t count,
                                 int64_t n, int act)
{
    FT_EACH(task, count / N)
    {
        int64_t i = task * N % n;
        float v[N];
        ft_read<N>(v, x + task * N);
        for (int j = 0; j < N; j++) {
            float a = gamma[i + j] * stat[2 * (i + j) + 1];
            v[j] = ft_act1((ft_act)act, v[j] * a + (beta[i + j] - stat[2 * (i + j)] * a));
        }
        ft_write<N>(y + task * N, v);
    }
}

extern "C" int ft_cuda_prepare_batchnorm(ft_call *c)
{
    int64_t n = c->in[0]->dim[c->in[0]->ndim - 1];
    c->work_size = (size_t)(64 * 2 * n) * sizeof(float);
    return FT_OK;
}

extern "C" void ft_cuda_batchnorm(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    float *part = (float *)c->work;
    for (int k = 0; k < 2; k++) {
        int64_t from, to, parts;
        segment(c, x, k, &from, &to);
        if (from == to) continue;
        float *stat = ft_as<float>(c->out[1]) + k * 2 * n;
        parts = parts_of(1, to - from, n);
        if (c->attr->norm.training) sums(part, x, from, 1, to - from, parts, n);
        FT_BY_TYPE(x->dtype, FT_RUN((batch_statistics<T>), n, stat, ft_as<float>(c->in[3]), ft_as<float>(c->in[4]), part,
                                    ft_as<const T>(x) + from * n, parts, n, (double)(to - from),
                                    k == 0 ? c->attr->norm.momentum : 0.0f, c->attr->norm.eps, c->attr->norm.training));
        FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, n) && ft_aligned(y),
                                         FT_RUN((batchnorm<T, N>), (to - from) * n / N, ft_as<T>(y) + from * n,
                                                ft_as<const T>(x) + from * n, ft_as<const float>(c->in[1]),
                                                ft_as<const float>(c->in[2]), stat, (to - from) * n, n, c->attr->norm.act)));
    }
}

template <int N, typename T>
FT_DEV void back_to_batch(const T *x, const T *dy, const float *gamma, const float *beta, const float *stat, int64_t at,
                          int64_t i, int act, float *v, float *d)
{
    ft_read<N>(v, x + at);
    ft_read<N>(d, dy + at);
    if (act == FT_ACT_NONE) return;
    for (int j = 0; j < N; j++) {
        float a = gamma[i + j] * stat[2 * (i + j) + 1], pre = v[j] * a + (beta[i + j] - stat[2 * (i + j)] * a);
        d[j] = act == FT_ACT_RELU ? (pre <= 0 ? 0.0f : d[j]) : d[j] * ft_act_d1((ft_act)act, pre);
    }
}

/* part (parts, 2, n): sums of dpre * hat, and of dpre */
template <typename T, int N>
static __global__ void batch_columns(float *part, const T *x, const T *dy, const float *gamma, const float *beta,
                                     const float *stat, int64_t rows, int64_t n, int act)
{
    int64_t at = FT_COLUMN(N);
    bool inside = at < n;
    float g[N] = {0}, h[N] = {0}, v[N], d[N];
    int64_t end = inside ? ft_part_of(rows, FT_COLUMN_PART + 1, FT_COLUMN_PARTS) : 0;
    for (int64_t r = ft_part_of(rows, FT_COLUMN_PART, FT_COLUMN_PARTS) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        back_to_batch<N>(x, dy, gamma, beta, stat, r * n + at, at, act, v, d);
        for (int j = 0; j < N; j++) {
            g[j] += d[j] * (v[j] - stat[2 * (at + j)]);
            h[j] += d[j];
        }
    }
    ft_fold<N>(g);
    ft_fold<N>(h);
    if (!inside || FT_COLUMN_ROW > 0) return;
    for (int j = 0; j < N; j++) {
        part[FT_COLUMN_PART * 2 * n + at + j] = g[j] * stat[2 * (at + j) + 1];
        part[(FT_COLUMN_PART * 2 + 1) * n + at + j] = h[j];
    }
}

static __global__ void add_to(float *to, const float *from, int64_t n, bool first)
{
    FT_EACH(i, n) to[i] = first ? from[i] : to[i] + from[i];
}

/* dx = a * (dpre - m1 - hat * m2); running statistics are constants: no m1, m2 */
template <typename T, int N>
static __global__ void batchnorm_dx(T *dx, const T *x, const T *dy, const float *gamma, const float *beta, const float *stat,
                                    const float *total, int64_t rows, int64_t n, int act, bool training)
{
    FT_EACH(task, rows * n / N)
    {
        int64_t i = task * N % n;
        float v[N], d[N];
        back_to_batch<N>(x, dy, gamma, beta, stat, task * N, i, act, v, d);
        for (int j = 0; j < N; j++) {
            float rstd = stat[2 * (i + j) + 1], a = gamma[i + j] * rstd, hat = (v[j] - stat[2 * (i + j)]) * rstd;
            d[j] = training ? a * (d[j] - total[n + i + j] / (float)rows - hat * (total[i + j] / (float)rows)) : a * d[j];
        }
        ft_write<N>(dx + task * N, d);
    }
}

extern "C" int ft_cuda_prepare_batchnorm_bwd(ft_call *c)
{
    int64_t n = c->in[0]->dim[c->in[0]->ndim - 1];
    c->work_size = (size_t)(65 * 2 * n) * sizeof(float);
    return FT_OK;
}

/* in: x gamma beta stat dy; out: dx dgamma dbeta */
extern "C" void ft_cuda_batchnorm_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[4], *dx = c->out[0];
    const float *gamma = ft_as<const float>(c->in[1]), *beta = ft_as<const float>(c->in[2]);
    int64_t n = x->dim[x->ndim - 1];
    float *total = (float *)c->work, *part = total + 2 * n;
    bool wide = ft_wide(x, n) && ft_aligned(dy) && ft_aligned(dx), first = true;
    int act = c->attr->norm.act;
    for (int k = 0; k < 2; k++) {
        int64_t from, to, parts;
        segment(c, x, k, &from, &to);
        if (from == to) continue;
        const float *stat = ft_as<const float>(c->in[3]) + k * 2 * n;
        parts = parts_of(1, to - from, n);
        FT_BY_TYPE(x->dtype, FT_BY_WIDTH(wide, FT_LAUNCH((batch_columns<T, N>), FT_COLUMN_GRID(parts, n), FT_THREADS, 0,
                                                         ft_cuda_stream, part, ft_as<const T>(x) + from * n,
                                                         ft_as<const T>(dy) + from * n, gamma, beta, stat, to - from, n, act)));
        ft_cuda_sum_rows(total, FT_F32, part, 1, parts, 2 * n, 2 * n, 1);
        for (int q = 0; q < 2; q++)
            if (c->out[1 + q]) FT_RUN((add_to), n, ft_as<float>(c->out[1 + q]), total + q * n, n, first);
        first = false;
        if (!dx) continue;
        FT_BY_TYPE(x->dtype, FT_BY_WIDTH(wide, FT_RUN((batchnorm_dx<T, N>), (to - from) * n / N, ft_as<T>(dx) + from * n,
                                                      ft_as<const T>(x) + from * n, ft_as<const T>(dy) + from * n, gamma, beta,
                                                      stat, total, to - from, n, act, c->attr->norm.training)));
    }
}
