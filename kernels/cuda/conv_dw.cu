/* Depthwise convolution in up to three dimensions, (B,T,H,W,C), weights (C, taps).
 *
 * A block owns 32 lanes of N channels, whose weights it keeps in shared memory, and a stretch of positions, a warp each in turn.
 * The gradient by x gathers through the turned kernel; that by w sums nine taps at a time over a part of the positions. */
#include "kernels/cuda/cuda.cuh"

enum { STRETCH = 64, TAPS = 9, SHARED = 40 << 10 };

struct depthwise {
    int64_t in[3], out[3], k[3], s[3], front[3], c, taps, samples;
};

static depthwise depthwise_of(const ft_buf *x, const ft_buf *y, const ft_conv_opt *o)
{
    depthwise d;
    d.c = x->dim[4], d.taps = 1, d.samples = x->dim[0];
    for (int i = 0; i < 3; i++) {
        d.in[i] = x->dim[1 + i], d.out[i] = y->dim[1 + i], d.k[i] = o->kernel[i], d.s[i] = o->stride[i],
        d.front[i] = o->pad_front[i];
        d.taps *= d.k[i];
    }
    return d;
}

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
            int64_t at[3] = {tap / (d.k[2] * d.k[1]), tap / d.k[2] % d.k[1], tap % d.k[2]};
            bool inside = true;
            for (int i = 0; i < 3; i++) {
                at[i] = BACKWARD ? p[i] + d.front[i] - at[i] : p[i] * d.s[i] - d.front[i] + at[i];
                if (BACKWARD && at[i] >= 0) inside = inside && at[i] % d.s[i] == 0, at[i] /= d.s[i];
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
            int64_t tap = tap0 + t, at[3] = {tap / (d.k[2] * d.k[1]), tap / d.k[2] % d.k[1], tap % d.k[2]};
            bool inside = tap < d.taps;
            for (int i = 0; i < 3; i++) {
                at[i] += p[i] * d.s[i] - d.front[i];
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

static __global__ void turn_weights(float *dw, float *db, const float *total, int64_t c, int64_t taps)
{
    FT_EACH(i, c * (taps + 1))
    {
        int64_t ch = i % c, tap = i / c;
        if (tap < taps && dw) dw[ch * taps + tap] = total[i];
        if (tap == taps && db) db[ch] = total[i];
    }
}

static int64_t parts_of(const depthwise *d)
{
    return ft_parts(d->samples * d->out[0] * d->out[1] * d->out[2], ft_ceil(d->c, FT_WARP));
}

extern "C" int ft_cuda_prepare_conv_dw_bwd_w(ft_call *c)
{
    depthwise d = depthwise_of(c->in[0], c->in[1], &c->attr->conv);
    c->work_size = (size_t)((parts_of(&d) + 1) * (d.taps + 1) * d.c) * sizeof(float);
    return FT_OK;
}

/* in: x dy; out: dw db */
extern "C" void ft_cuda_conv_dw_bwd_w(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    depthwise d = depthwise_of(x, dy, &c->attr->conv);
    int64_t n = (d.taps + 1) * d.c, parts = parts_of(&d);
    float *total = (float *)c->work, *part = total + n;
    FT_BY_TYPE(x->dtype,
               FT_LAUNCH((depthwise_weights<T>),
                         dim3((unsigned)parts, (unsigned)ft_ceil(d.c, FT_WARP), (unsigned)ft_ceil(d.taps, TAPS)), FT_THREADS, 0,
                         ft_cuda_stream, part, ft_as<const T>(x), ft_as<const T>(dy), d, dy->count / d.c));
    ft_cuda_sum_rows(total, FT_F32, part, 1, parts, n, n, 1);
    FT_RUN((turn_weights), n, ft_as<float>(c->out[0]), c->n_out > 1 ? ft_as<float>(c->out[1]) : (float *)NULL,
           (const float *)total, d.c, d.taps);
}
