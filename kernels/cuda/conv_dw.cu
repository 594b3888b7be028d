/* Depthwise convolution in up to three dimensions, (B,T,H,W,C), weights (C, taps).
 *
 * A thread owns N channels of a strip of four neighbours along one axis: what it reads of a row serves all taps and outputs that
 * want it, from registers, by indices known when compiled. The strip lies along W, or along T where the kernel has no other
 * extent. The gradient by x is a strip too: of a strided convolution, a tap meets only the outputs of its phase. The gradient by
 * w keeps the sums of KH * KW taps in registers while it walks its part of the strips.
 *
 * Odd channels, other widths and strides, and unaligned buffers go the plain way below: a position at a time. */
#include "kernels/cuda/cuda.cuh"

enum { STRETCH = 64, TAPS = 9, SHARED = 40 << 10, STRIP = 4, MOST_PARTS = 128 };

struct depthwise {
    int64_t in[3], out[3], kernel[3], stride[3], front[3], c, taps, samples;
};

static depthwise depthwise_of(const ft_buf *x, const ft_buf *y, const ft_conv_opt *o)
{
    depthwise d;
    d.c = x->dim[4], d.taps = 1, d.samples = x->dim[0];
    for (int i = 0; i < 3; i++) {
        d.in[i] = x->dim[1 + i], d.out[i] = y->dim[1 + i], d.kernel[i] = o->kernel[i], d.stride[i] = o->stride[i],
        d.front[i] = o->pad_front[i];
        d.taps *= d.kernel[i];
    }
    return d;
}

/* ---- strips --------------------------------------------------------------------------------------------------------------- */

/* A convolution as strips along its third axis: `there` is what is read, `here` what is written (of the gradient by w: dy). A
 * sample has less than 2^31 values. */
struct strips {
    int there[3], here[3], there_step[3], here_step[3], kernel[3], stride[3], front[3];
    int c, lanes, per_line, taps; /* channels; lanes of a block side by side in channels; strips of a line */
    bool time;                    /* the third axis is T: neighbours in memory are those of the second */
    unsigned tasks;
    int64_t there_sample, here_sample; /* values of a sample */
};

struct place {
    int at[3]; /* of a strip's first value; may begin before the line (gradient by x of a strided convolution) */
    int64_t sample;
};

FT_DEV place place_of(const strips &d, unsigned task)
{
    place p;
    unsigned n0 = d.time ? (unsigned)d.here[1] : (unsigned)d.per_line, n1 = d.time ? (unsigned)d.here[0] : (unsigned)d.here[1],
             n2 = d.time ? (unsigned)d.per_line : (unsigned)d.here[0], a = task % n0, b = task / n0 % n1, e = task / n0 / n1;
    p.sample = e / n2, e %= n2;
    p.at[0] = (int)(d.time ? b : e), p.at[1] = (int)(d.time ? a : b), p.at[2] = (int)(d.time ? e : a) * STRIP;
    return p;
}

/* weights of this block's channels, M beside each other a lane, so that lanes read without conflicts: (taps, N / M, lanes, M) */
template <int N, int M> FT_DEV void load_strip_weights(float *to, const float *w, const strips &d)
{
    int wide = d.lanes * N, c0 = (int)blockIdx.y * wide;
    for (int e = (int)threadIdx.x; e < wide * d.taps; e += FT_THREADS) {
        int c = e / d.taps, tap = e % d.taps;
        to[((tap * (N / M) + c % N / M) * d.lanes + c / N) * M + c % M] =
            c0 + c < d.c ? w[(int64_t)(c0 + c) * d.taps + tap] : 0.0f;
    }
}

/* grid: (blocks of strips, channel tiles) */
template <typename T, int N, int KW, int SW, bool BACK>
static __global__ void __launch_bounds__(FT_THREADS, N *KW > 32 ? 1 : 2)
    depthwise_strips(T *y, const T *x, const float *w, const float *bias, strips d)
{
    FT_DYNAMIC_SHARED(float, weight);
    enum { M = N < 4 ? N : 4, PLANES = N / M, COLUMNS = BACK ? (STRIP - 1) / SW + (KW - 1) / SW + 1 : (STRIP - 1) * SW + KW };
    int lane = (int)threadIdx.x % d.lanes, row = (int)threadIdx.x / d.lanes, rows = FT_THREADS / d.lanes,
        c = ((int)blockIdx.y * d.lanes + lane) * N;
    load_strip_weights<N, M>(weight, w, d);
    __syncthreads();
    if (row >= rows || c >= d.c) return;
    for (unsigned task = blockIdx.x * (unsigned)rows + (unsigned)row; task < d.tasks; task += gridDim.x * (unsigned)rows) {
        place p = place_of(d, task);
        int start = p.at[2] - (BACK ? d.front[2] % SW : 0),
            first = BACK ? (start + d.front[2]) / SW - (KW - 1) / SW : start * SW - d.front[2], inside = 0;
        float acc[STRIP][N];
#pragma unroll
        for (int o = 0; o < STRIP; o++)
#pragma unroll
            for (int k = 0; k < N; k++) acc[o][k] = bias ? bias[c + k] : 0.0f;
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) inside |= (first + j >= 0 && first + j < d.there[2]) << j;
        const T *from = x + p.sample * d.there_sample + c + first * d.there_step[2];
        /* taps of the outer axes: all, or of the gradient by x those of a phase, from the last row that reads to the first */
        int back0 = p.at[0] + d.front[0], back1 = p.at[1] + d.front[1], k1 = BACK ? back1 % d.stride[1] : 0;
        for (int k0 = BACK ? back0 % d.stride[0] : 0; k0 < d.kernel[0]; k0 += BACK ? d.stride[0] : 1) {
            int r0 = BACK ? (back0 - k0) / d.stride[0] : p.at[0] * d.stride[0] - d.front[0] + k0;
            if (r0 < 0 || r0 >= d.there[0]) continue;
            int r1 = BACK ? back1 / d.stride[1] : p.at[1] * d.stride[1] - d.front[1];
            for (int k = k1; k < d.kernel[1]; k += BACK ? d.stride[1] : 1, r1 += BACK ? -1 : 1) {
                if (r1 < 0 || r1 >= d.there[1]) continue;
                float wt[KW][N];
                const float *taps = weight + (k0 * d.kernel[1] + k) * KW * N * d.lanes + lane * M;
#pragma unroll
                for (int t = 0; t < KW; t++)
#pragma unroll
                    for (int h = 0; h < PLANES; h++) ft_read<M>(wt[t] + h * M, taps + (t * PLANES + h) * d.lanes * M);
                const T *line = from + (r0 * d.there_step[0] + r1 * d.there_step[1]);
#pragma unroll
                for (int j = 0; j < COLUMNS; j++, line += d.there_step[2]) {
                    float v[N];
                    ft_read_inside<N>(v, line, inside >> j & 1);
#pragma unroll
                    for (int o = 0; o < STRIP; o++)
#pragma unroll
                        for (int t = 0; t < KW; t++)
                            if (BACK ? o + (KW - 1) / SW * SW - t == (j * SW) : t == j - o * SW)
#pragma unroll
                                for (int e = 0; e < N; e++) acc[o][e] += wt[t][e] * v[e];
                }
            }
        }
        T *to = y + p.sample * d.here_sample + c + (p.at[0] * d.here_step[0] + p.at[1] * d.here_step[1] + start * d.here_step[2]);
#pragma unroll
        for (int o = 0; o < STRIP; o++, to += d.here_step[2])
            if (start + o >= 0 && start + o < d.here[2]) ft_write<N>(to, acc[o]);
    }
}

/* part (parts, taps + 1, C): sums of dy * x of each tap, and of dy; grid: (parts, channel tiles, rows of KH * KW taps) */
template <typename T, int N, int KH, int KW, int SW>
static __global__ void __launch_bounds__(FT_THREADS, 2) depthwise_weight_strips(float *part, const T *x, const T *dy, strips d)
{
    FT_DYNAMIC_SHARED(float, all); /* (rows, KH * KW + 1, N, lanes) */
    enum { COLUMNS = (STRIP - 1) * SW + KW, SUMS = KH * KW + 1 };
    int lane = (int)threadIdx.x % d.lanes, row = (int)threadIdx.x / d.lanes, rows = FT_THREADS / d.lanes,
        c0 = (int)blockIdx.y * d.lanes * N, c = c0 + lane * N, k0 = (int)blockIdx.z / (d.kernel[1] / KH),
        k1 = (int)blockIdx.z % (d.kernel[1] / KH) * KH;
    float acc[KH][KW][N] = {}, sum[N] = {};
    unsigned end = (unsigned)ft_part_of(d.tasks, blockIdx.x + 1, gridDim.x);
    if (row >= rows || c >= d.c) end = 0;
    for (unsigned task = (unsigned)ft_part_of(d.tasks, blockIdx.x, gridDim.x) + (unsigned)row; task < end;
         task += (unsigned)rows) {
        place p = place_of(d, task);
        int first = p.at[2] * SW - d.front[2], inside = 0, r0 = p.at[0] * d.stride[0] - d.front[0] + k0;
        const T *from = x + p.sample * d.there_sample + c + first * d.there_step[2],
                *grad = dy + p.sample * d.here_sample + c +
                        (p.at[0] * d.here_step[0] + p.at[1] * d.here_step[1] + p.at[2] * d.here_step[2]);
        float g[STRIP][N];
#pragma unroll
        for (int o = 0; o < STRIP; o++, grad += d.here_step[2]) {
            ft_read_inside<N>(g[o], grad, p.at[2] + o < d.here[2]);
#pragma unroll
            for (int e = 0; e < N; e++) sum[e] += g[o][e];
        }
        if (r0 < 0 || r0 >= d.there[0]) continue;
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) inside |= (first + j >= 0 && first + j < d.there[2]) << j;
#pragma unroll
        for (int k = 0; k < KH; k++) {
            int r1 = p.at[1] * d.stride[1] - d.front[1] + k1 + k;
            if (r1 < 0 || r1 >= d.there[1]) continue;
            const T *line = from + (r0 * d.there_step[0] + r1 * d.there_step[1]);
#pragma unroll
            for (int j = 0; j < COLUMNS; j++, line += d.there_step[2]) {
                float v[N];
                ft_read_inside<N>(v, line, inside >> j & 1);
#pragma unroll
                for (int o = 0; o < STRIP; o++)
#pragma unroll
                    for (int t = 0; t < KW; t++)
                        if (t == j - o * SW)
#pragma unroll
                            for (int e = 0; e < N; e++) acc[k][t][e] += g[o][e] * v[e];
            }
        }
    }
    /* the rows of the block, in order */
    int each = SUMS * N * d.lanes;
    float *mine = all + row * each + lane;
    if (row < rows) {
#pragma unroll
        for (int t = 0; t < SUMS; t++)
#pragma unroll
            for (int e = 0; e < N; e++) mine[(t * N + e) * d.lanes] = t < KH * KW ? acc[t / KW % KH][t % KW][e] : sum[e];
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < each; i += FT_THREADS) {
        int t = i / d.lanes / N, channel = c0 + i % d.lanes * N + i / d.lanes % N,
            tap = t < KH * KW ? (k0 * d.kernel[1] + k1) * KW + t : d.taps;
        if (channel >= d.c || (t == KH * KW && blockIdx.z > 0)) continue;
        float total = 0;
        for (int r = 0; r < rows; r++) total += all[r * each + i];
        part[((int64_t)blockIdx.x * (d.taps + 1) + tap) * d.c + channel] = total;
    }
}

/* channels that a thread takes: 16 bytes at most, `most` at most; 0: the plain way */
static int strip_width(const depthwise *d, const ft_buf *x, const ft_buf *y, int most)
{
    int n = x->dtype == FT_BF16 ? 8 : 4, axis = d->kernel[1] == 1 && d->kernel[2] == 1 ? 0 : 2;
    bool known = (d->kernel[axis] == 3 && d->stride[axis] <= 2) || (d->kernel[axis] == 5 && d->stride[axis] == 1);
    if (!known || !ft_aligned(x) || !ft_aligned(y) || x->count / d->samples > INT32_MAX / 2 ||
        y->count / d->samples > INT32_MAX / 2 || x->count > INT32_MAX * d->c || y->count > INT32_MAX * d->c)
        return 0;
    while (n > most || (n > 1 && d->c % n)) n /= 2;
    return n < 2 || d->taps * FT_WARP * n * 4 > SHARED ? 0 : n;
}

static strips strips_of(const depthwise *d, bool back, int n)
{
    bool time = d->kernel[1] == 1 && d->kernel[2] == 1;
    static const int axes[2][3] = {{0, 1, 2}, {1, 2, 0}};
    const int64_t *there = back ? d->out : d->in, *here = back ? d->in : d->out,
                  there_step[] = {there[1] * there[2] * d->c, there[2] * d->c, d->c},
                  here_step[] = {here[1] * here[2] * d->c, here[2] * d->c, d->c};
    strips k;
    for (int i = 0; i < 3; i++) {
        int a = axes[time][i];
        k.there[i] = (int)there[a], k.here[i] = (int)here[a], k.there_step[i] = (int)there_step[a],
        k.here_step[i] = (int)here_step[a], k.kernel[i] = (int)d->kernel[a], k.stride[i] = (int)d->stride[a],
        k.front[i] = (int)d->front[a];
    }
    int groups = (int)(d->c / n), tiles = (int)ft_ceil(groups, FT_WARP);
    k.c = (int)d->c, k.taps = (int)d->taps, k.time = time;
    k.lanes = (int)ft_ceil(groups, tiles);
    k.per_line = (int)ft_ceil(k.here[2] + (back ? k.front[2] % k.stride[2] : 0), STRIP);
    k.tasks = (unsigned)(d->samples * k.here[0] * k.here[1] * k.per_line);
    k.there_sample = there[0] * there_step[0], k.here_sample = here[0] * here_step[0];
    return k;
}
static unsigned tiles_of(const strips *k, int n) { return (unsigned)ft_ceil(k->c, (int64_t)k->lanes * n); }

/* Runs a statement with N, KW and SW: of a strip */
#define BY_CHANNELS(n, ...)                                                                                                      \
    do {                                                                                                                         \
        if ((n) == 8) {                                                                                                          \
            enum { N = 32 / sizeof(T) > 8 ? 8 : 4 };                                                                             \
            __VA_ARGS__;                                                                                                         \
        } else if ((n) == 4) {                                                                                                   \
            enum { N = 4 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { N = 2 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)
#define BY_STRIP(q, ...)                                                                                                         \
    do {                                                                                                                         \
        if ((q).kernel[2] == 5) {                                                                                                \
            enum { KW = 5, SW = 1 };                                                                                             \
            __VA_ARGS__;                                                                                                         \
        } else if ((q).stride[2] == 2) {                                                                                         \
            enum { KW = 3, SW = 2 };                                                                                             \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { KW = 3, SW = 1 };                                                                                             \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

/* ---- the plain way ------------------------------------------------------------------------------------------------------- */

/* weights of this block's channels: (taps, 32 N) */
template <int N> FT_DEV void load_weights(float *to, const float *w, const depthwise &d, int64_t c0)
{
    enum { WIDE = FT_WARP * N };
    for (int64_t e = threadIdx.x; e < d.taps * WIDE; e += FT_THREADS) {
        int64_t c = c0 + e % WIDE;
        to[e] = c < d.c ? w[c * d.taps + e / WIDE] : 0.0f;
    }
}

FT_DEV int64_t unravel(const int64_t dim[3], int64_t row, int64_t p[3])
{
    for (int i = 2; i >= 0; i--) p[i] = row % dim[i], row /= dim[i];
    return row;
}

/* grid: (stretches, channel tiles). backward: y is dx, x is dy, and the sizes are turned */
template <typename T, int N, bool BACKWARD>
static __global__ void depthwise_rows(T *y, const T *x, const float *w, const float *bias, depthwise d, int64_t rows)
{
    FT_DYNAMIC_SHARED(float, weight);
    enum { WIDE = FT_WARP * N };
    int lane = (int)threadIdx.x % FT_WARP, warp = (int)threadIdx.x / FT_WARP;
    int64_t c0 = (int64_t)blockIdx.y * WIDE, c = FT_COLUMN(N);
    const int64_t *here = BACKWARD ? d.in : d.out, *there = BACKWARD ? d.out : d.in;
    load_weights<N>(weight, w, d, c0);
    __syncthreads();
    if (c >= d.c) return;
    for (int64_t r = FT_COLUMN_PART * FT_WARPS + warp; r < rows; r += FT_COLUMN_PARTS * FT_WARPS) {
        int64_t p[3], b = unravel(here, r, p);
        float acc[N], v[N];
        for (int k = 0; k < N; k++) acc[k] = bias ? bias[c + k] : 0.0f;
        for (int64_t tap = 0; tap < d.taps; tap++) {
            int64_t at[3] = {tap / (d.kernel[2] * d.kernel[1]), tap / d.kernel[2] % d.kernel[1], tap % d.kernel[2]};
            bool inside = true;
            for (int i = 0; i < 3; i++) {
                at[i] = BACKWARD ? p[i] + d.front[i] - at[i] : p[i] * d.stride[i] - d.front[i] + at[i];
                if (BACKWARD && at[i] >= 0) inside = inside && at[i] % d.stride[i] == 0, at[i] /= d.stride[i];
                inside = inside && at[i] >= 0 && at[i] < there[i];
            }
            if (!inside) continue;
            ft_read<N>(v, x + (((b * there[0] + at[0]) * there[1] + at[1]) * there[2] + at[2]) * d.c + c);
            for (int k = 0; k < N; k++) acc[k] += weight[tap * WIDE + lane * N + k] * v[k];
        }
        ft_write<N>(y + r * d.c + c, acc);
    }
}

template <bool BACKWARD> static void run(const ft_buf *y, const ft_buf *x, const ft_buf *w, const ft_buf *bias, depthwise d)
{
    int64_t rows = y->count / d.c;
    int n = strip_width(&d, x, y, 8);
    if (n) {
        strips k = strips_of(&d, BACKWARD, n);
        int64_t tiles = tiles_of(&k, n), blocks = ft_ceil(k.tasks, FT_THREADS / k.lanes), most = ft_ceil(2048, tiles);
        size_t smem = (size_t)(k.taps * k.lanes * n) * sizeof(float);
        FT_BY_TYPE(x->dtype,
                   BY_CHANNELS(n, BY_STRIP(k, FT_LAUNCH((depthwise_strips<T, N, KW, SW, BACKWARD>),
                                                        dim3((unsigned)(blocks < most ? blocks : most), (unsigned)tiles),
                                                        FT_THREADS, smem, ft_cuda_stream, ft_as<T>(y), ft_as<const T>(x),
                                                        ft_as<const float>(w), ft_as<const float>(bias), k))));
        return;
    }
    FT_BY_TYPE(x->dtype,
               FT_BY_WIDTH(ft_wide(x, d.c) && ft_aligned(y) && d.taps * FT_WARP * 16 / (int64_t)sizeof(T) * 4 <= SHARED, {
                   size_t smem = (size_t)(d.taps * FT_WARP * N) * sizeof(float);
                   int64_t stretches = ft_ceil(rows, STRETCH);
                   FT_LAUNCH_BIG((depthwise_rows<T, N, BACKWARD>), FT_COLUMN_GRID(stretches, d.c), FT_THREADS, smem, ft_as<T>(y),
                                 ft_as<const T>(x), ft_as<const float>(w), ft_as<const float>(bias), d, rows);
               }));
}

extern "C" void ft_cuda_conv_dw(const ft_call *c)
{
    run<false>(c->out[0], c->in[0], c->in[1], c->in[2], depthwise_of(c->in[0], c->out[0], &c->attr->conv));
}

/* in: dy w; out: dx */
extern "C" void ft_cuda_conv_dw_bwd_x(const ft_call *c)
{
    run<true>(c->out[0], c->in[0], c->in[1], NULL, depthwise_of(c->out[0], c->in[0], &c->attr->conv));
}

/* part (parts, taps + 1, C): sums of dy * x of each tap, and of dy; grid: (parts, channel tiles, tap tiles) */
template <typename T> static __global__ void depthwise_weights(float *part, const T *x, const T *dy, depthwise d, int64_t rows)
{
    int64_t c = FT_COLUMN(1), tap0 = (int64_t)blockIdx.z * TAPS;
    bool live = c < d.c;
    float acc[TAPS + 1] = {0};
    int64_t end = live ? ft_part_of(rows, FT_COLUMN_PART + 1, FT_COLUMN_PARTS) : 0;
    for (int64_t r = ft_part_of(rows, FT_COLUMN_PART, FT_COLUMN_PARTS) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        int64_t p[3], b = unravel(d.out, r, p);
        float g = ft_get(dy + r * d.c + c);
        acc[TAPS] += g;
#pragma unroll
        for (int t = 0; t < TAPS; t++) {
            int64_t tap = tap0 + t,
                    at[3] = {tap / (d.kernel[2] * d.kernel[1]), tap / d.kernel[2] % d.kernel[1], tap % d.kernel[2]};
            bool inside = tap < d.taps;
            for (int i = 0; i < 3; i++) {
                at[i] += p[i] * d.stride[i] - d.front[i];
                inside = inside && at[i] >= 0 && at[i] < d.in[i];
            }
            if (inside) acc[t] += g * ft_get(x + (((b * d.in[0] + at[0]) * d.in[1] + at[1]) * d.in[2] + at[2]) * d.c + c);
        }
    }
    for (int t = 0; t <= TAPS; t++) {
        ft_fold<1>(acc + t);
        int64_t tap = t < TAPS ? tap0 + t : d.taps;
        if (!live || FT_COLUMN_ROW > 0 || tap > d.taps || (t < TAPS && tap == d.taps) || (t == TAPS && blockIdx.z > 0)) continue;
        part[(FT_COLUMN_PART * (d.taps + 1) + tap) * d.c + c] = acc[t];
    }
}

/* the parts added in order, as (C, taps) and (C) */
static __global__ void turn_weights(float *dw, float *db, const float *part, int64_t parts, int64_t c, int64_t taps)
{
    FT_EACH(i, c * (taps + 1))
    {
        int64_t ch = i % c, tap = i / c;
        float sum = 0;
#pragma unroll 8
        for (int64_t p = 0; p < parts; p++) sum += part[p * (taps + 1) * c + i];
        if (tap < taps && dw) dw[ch * taps + tap] = sum;
        if (tap == taps && db) db[ch] = sum;
    }
}

/* How the gradient by w is laid out: in strips, or the plain way (n = 0) */
struct weight_plan {
    depthwise d;
    int n;
    int64_t parts;
    strips k;
};

static weight_plan weight_plan_of(const ft_call *c)
{
    weight_plan p;
    memset(&p, 0, sizeof p);
    p.d = depthwise_of(c->in[0], c->in[1], &c->attr->conv);
    p.n = strip_width(&p.d, c->in[0], c->in[1], 4);
    if (!p.n) {
        p.parts = ft_parts(p.d.samples * p.d.out[0] * p.d.out[1] * p.d.out[2], ft_ceil(p.d.c, FT_WARP));
        return p;
    }
    p.k = strips_of(&p.d, false, p.n);
    int64_t rows = FT_THREADS / p.k.lanes,
            others = tiles_of(&p.k, p.n) * p.k.kernel[0] * (p.k.kernel[1] == 3 ? 1 : p.k.kernel[1]),
            most = ft_ceil(p.k.tasks, 2 * rows), wanted = ft_ceil(1024, others);
    wanted = wanted < MOST_PARTS ? wanted : (int64_t)MOST_PARTS;
    p.parts = wanted < most ? wanted : most;
    return p;
}

extern "C" int ft_cuda_prepare_conv_dw_bwd_w(ft_call *c)
{
    weight_plan p = weight_plan_of(c);
    c->work_size = (size_t)(p.parts * (p.d.taps + 1) * p.d.c) * sizeof(float);
    return FT_OK;
}

/* in: x dy; out: dw db */
extern "C" void ft_cuda_conv_dw_bwd_w(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    weight_plan p = weight_plan_of(c);
    float *part = (float *)c->work;
    if (p.n) {
        int rows = FT_THREADS / p.k.lanes, lines = p.k.kernel[1] == 3 && p.k.kernel[2] == 3 ? 1 : p.k.kernel[1];
        dim3 grid((unsigned)p.parts, tiles_of(&p.k, p.n), (unsigned)(p.k.kernel[0] * lines));
        size_t row_bytes = (size_t)(rows * p.k.lanes * p.n) * sizeof(float);
        FT_BY_TYPE(x->dtype, BY_CHANNELS(p.n, BY_STRIP(p.k, {
                                             enum { THREE = KW == 3 ? 3 : 1, MOST = N < 4 ? N : 4 };
                                             if (KW == 3 && lines == 1 && p.k.kernel[1] == 3)
                                                 FT_LAUNCH((depthwise_weight_strips<T, MOST, THREE, KW, SW>), grid, FT_THREADS,
                                                           row_bytes * (THREE * KW + 1), ft_cuda_stream, part, ft_as<const T>(x),
                                                           ft_as<const T>(dy), p.k);
                                             else
                                                 FT_LAUNCH((depthwise_weight_strips<T, MOST, 1, KW, SW>), grid, FT_THREADS,
                                                           row_bytes * (KW + 1), ft_cuda_stream, part, ft_as<const T>(x),
                                                           ft_as<const T>(dy), p.k);
                                         })));
    } else {
        FT_BY_TYPE(x->dtype,
                   FT_LAUNCH((depthwise_weights<T>),
                             dim3((unsigned)p.parts, (unsigned)ft_ceil(p.d.c, FT_WARP), (unsigned)ft_ceil(p.d.taps, TAPS)),
                             FT_THREADS, 0, ft_cuda_stream, part, ft_as<const T>(x), ft_as<const T>(dy), p.d, dy->count / p.d.c));
    }
    FT_RUN((turn_weights), (p.d.taps + 1) * p.d.c, ft_as<float>(c->out[0]),
           c->n_out > 1 ? ft_as<float>(c->out[1]) : (float *)NULL, (const float *)part, p.parts, p.d.c, p.d.taps);
}
