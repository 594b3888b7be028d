/* Norms over the last axis (channels) of a row, and what is fused with them.
 *
 * Forward and dx: a warp (or a block) for each row. Gradients of the channels' parameters are column sums: blocks of 8 rows by 32
 * lanes walk down a part of a sample's rows, a second kernel adds the parts. */
#include "kernels/cuda/cuda.cuh"

/* ---- layernorm (+ affine, + adaLN modulation) --------------------------------------------------------------------------- */

template <typename T, int N, int G>
static __global__ void layernorm(T *y, float *stat, const T *x, const float *gamma, const float *beta, const float *shift,
                                 const float *scale, int64_t rows, int64_t per_sample, int64_t n, float eps)
{
    FT_EACH_ROW(r, rows)
    {
        float v[N], mean = 0, var = 0;
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) mean += v[k];
        }
        mean = ft_sum<G>(mean) / (float)n;
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) var += (v[k] - mean) * (v[k] - mean);
        }
        float rstd = 1.0f / sqrtf(ft_sum<G>(var) / (float)n + eps);
        int64_t s = r / per_sample * n;
        FT_IN_ROW(i, n)
        {
            float a[N], b[N];
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) v[k] = (v[k] - mean) * rstd;
            if (gamma) {
                ft_read_floats<N>(a, gamma + i);
                ft_read_floats<N>(b, beta + i);
                for (int k = 0; k < N; k++) v[k] = v[k] * a[k] + b[k];
            }
            if (shift) {
                ft_read_floats<N>(a, scale + s + i);
                ft_read_floats<N>(b, shift + s + i);
                for (int k = 0; k < N; k++) v[k] = v[k] * (1.0f + a[k]) + b[k];
            }
            ft_write<N>(y + r * n + i, v);
        }
        if (threadIdx.x % G == 0) stat[2 * r] = mean, stat[2 * r + 1] = rstd;
    }
}

extern "C" void ft_cuda_layernorm(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    FT_BY_ROWS(x, n, ft_wide(x, n) && ft_aligned(y) && ft_wide_vectors(c, 1, 4, n),
               FT_RUN_ROWS((layernorm<T, N, G>), rows, ft_as<T>(y), ft_as<float>(c->out[1]), ft_as<const T>(x),
                           ft_as<const float>(c->in[1]), ft_as<const float>(c->in[2]), ft_as<const float>(c->in[3]),
                           ft_as<const float>(c->in[4]), rows, rows / x->dim[0], n, c->attr->norm.eps));
}

template <typename T, int N, int G>
static __global__ void layernorm_dx(T *dx, const T *x, const T *dy, const T *plus, const float *gamma, const float *scale,
                                    const float *stat, int64_t rows, int64_t per_sample, int64_t n)
{
    FT_EACH_ROW(r, rows)
    {
        float v[N], d[N], a[N], mean = stat[2 * r], rstd = stat[2 * r + 1], m1 = 0, m2 = 0;
        int64_t s = r / per_sample * n;
        for (int pass = 0; pass < 2; pass++) {
            FT_IN_ROW(i, n)
            {
                ft_read<N>(v, x + r * n + i);
                ft_read<N>(d, dy + r * n + i);
                if (scale) {
                    ft_read_floats<N>(a, scale + s + i);
                    for (int k = 0; k < N; k++) d[k] *= 1.0f + a[k];
                }
                if (gamma) {
                    ft_read_floats<N>(a, gamma + i);
                    for (int k = 0; k < N; k++) d[k] *= a[k];
                }
                for (int k = 0; k < N; k++) {
                    float hat = (v[k] - mean) * rstd;
                    if (pass == 0) m1 += d[k], m2 += d[k] * hat;
                    else d[k] = rstd * (d[k] - m1 - hat * m2);
                }
                if (pass == 0) continue;
                if (plus) {
                    ft_read<N>(v, plus + r * n + i);
                    for (int k = 0; k < N; k++) d[k] += v[k];
                }
                ft_write<N>(dx + r * n + i, d);
            }
            if (pass == 0) m1 = ft_sum<G>(m1) / (float)n, m2 = ft_sum<G>(m2) / (float)n;
        }
    }
}

/* part (samples, parts, 4, n): dgamma dbeta dshift dscale */
template <typename T, int N>
static __global__ void layernorm_columns(float *part, const T *x, const T *dy, const float *gamma, const float *beta,
                                         const float *scale, const float *stat, int64_t per_sample, int64_t parts, int64_t n)
{
    int64_t at = FT_COLUMN(N), s = FT_COLUMN_PART / parts, p = FT_COLUMN_PART % parts;
    bool inside = at < n;
    float sum[4][N] = {{0}}, g[N], b[N], sc[N];
    for (int k = 0; k < N; k++) g[k] = 1, b[k] = 0, sc[k] = 0;
    if (inside && gamma) ft_read_floats<N>(g, gamma + at), ft_read_floats<N>(b, beta + at);
    if (inside && scale) ft_read_floats<N>(sc, scale + s * n + at);
    int64_t end = inside ? s * per_sample + ft_part_of(per_sample, p + 1, parts) : 0;
    for (int64_t r = s * per_sample + ft_part_of(per_sample, p, parts) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        float v[N], d[N], mean = stat[2 * r], rstd = stat[2 * r + 1];
        ft_read<N>(v, x + r * n + at);
        ft_read<N>(d, dy + r * n + at);
        for (int k = 0; k < N; k++) {
            float hat = (v[k] - mean) * rstd, dn = d[k] * (1.0f + sc[k]);
            sum[0][k] += dn * hat;
            sum[1][k] += dn;
            sum[2][k] += d[k];
            sum[3][k] += d[k] * (hat * g[k] + b[k]);
        }
    }
    for (int q = 0; q < 4; q++) {
        ft_fold<N>(sum[q]);
        if (inside && FT_COLUMN_ROW == 0)
            for (int k = 0; k < N; k++) part[(FT_COLUMN_PART * 4 + q) * n + at + k] = sum[q][k];
    }
}

static int64_t parts_per_sample(const ft_buf *x, int64_t samples)
{
    int64_t n = x->dim[x->ndim - 1];
    return ft_parts(x->count / n / samples, samples * ft_ceil(n, 256));
}
/* samples matter where each has its own shift and scale */
static int64_t samples_of(const ft_call *c) { return c->in[3] || c->in[4] ? c->in[0]->dim[0] : 1; }

extern "C" int ft_cuda_prepare_layernorm_bwd(ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t samples = samples_of(c);
    c->work_size = (size_t)(samples * parts_per_sample(x, samples) * 4 * x->dim[x->ndim - 1]) * sizeof(float);
    return FT_OK;
}

/* in: x gamma beta shift scale stat dy, and what dx is added to; out: dx dgamma dbeta dshift dscale */
extern "C" void ft_cuda_layernorm_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[6], *dx = c->out[0], *plus = c->n_in > 7 ? c->in[7] : NULL;
    const float *gamma = ft_as<const float>(c->in[1]), *beta = ft_as<const float>(c->in[2]),
                *scale = ft_as<const float>(c->in[4]), *stat = ft_as<const float>(c->in[5]);
    int64_t n = x->dim[x->ndim - 1], samples = samples_of(c), per_sample = x->count / n / samples,
            parts = parts_per_sample(x, samples);
    bool wide = ft_wide(x, n) && ft_aligned(dy) && ft_aligned(dx) && ft_aligned(plus) && ft_wide_vectors(c, 1, 4, n);
    float *part = (float *)c->work;
    if (dx)
        FT_BY_ROWS(x, n, wide,
                   FT_RUN_ROWS((layernorm_dx<T, N, G>), rows, ft_as<T>(dx), ft_as<const T>(x), ft_as<const T>(dy),
                               ft_as<const T>(plus), gamma, scale, stat, rows, per_sample, n));
    if (!c->out[1] && !c->out[2] && !c->out[3] && !c->out[4]) return;
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(wide, FT_LAUNCH((layernorm_columns<T, N>), FT_COLUMN_GRID(samples * parts, n), FT_THREADS, 0,
                                                     ft_cuda_stream, part, ft_as<const T>(x), ft_as<const T>(dy), gamma, beta,
                                                     scale, stat, per_sample, parts, n)));
    ft_sum_part sum[4]; /* dgamma and dbeta over all, dshift and dscale per sample */
    for (int q = 0; q < 4; q++)
        sum[q] = {ft_as<float>(c->out[1 + q]), part + q * n, q < 2 ? 1 : samples, q < 2 ? samples * parts : parts, 4 * n, n};
    ft_cuda_sum_rows_of(4, sum);
}

/* ---- gate + residual ---------------------------------------------------------------------------------------------------- */

template <typename T, int N>
static __global__ void gate_residual(T *o, const T *x, const T *y, const float *gate, int64_t count, int64_t per_sample,
                                     int64_t n)
{
    FT_EACH(i, count / N)
    {
        float a[N], b[N], g[N];
        ft_read<N>(a, x + i * N);
        ft_read<N>(b, y + i * N);
        ft_read_floats<N>(g, gate + i * N / per_sample * n + i * N % n);
        for (int k = 0; k < N; k++) a[k] += g[k] * b[k];
        ft_write<N>(o + i * N, a);
    }
}

extern "C" void ft_cuda_gate_residual(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->in[1], *o = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, n) && ft_aligned(y) && ft_aligned(o) && ft_wide_vectors(c, 2, 2, n),
                                     FT_RUN((gate_residual<T, N>), x->count / N, ft_as<T>(o), ft_as<const T>(x),
                                            ft_as<const T>(y), ft_as<const float>(c->in[2]), x->count, x->count / x->dim[0], n)));
}

/* dy, and part (samples, parts, n) of dgate, in one pass */
template <typename T, int N>
static __global__ void gate_columns(float *part, T *dy, const T *y, const T *d, const float *gate, int64_t per_sample,
                                    int64_t parts, int64_t n)
{
    int64_t at = FT_COLUMN(N), s = FT_COLUMN_PART / parts, p = FT_COLUMN_PART % parts;
    bool inside = at < n;
    float sum[N] = {0}, g[N], v[N], e[N];
    if (inside) ft_read_floats<N>(g, gate + s * n + at);
    int64_t end = inside ? s * per_sample + ft_part_of(per_sample, p + 1, parts) : 0;
    for (int64_t r = s * per_sample + ft_part_of(per_sample, p, parts) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        ft_read<N>(v, y + r * n + at);
        ft_read<N>(e, d + r * n + at);
        for (int k = 0; k < N; k++) {
            sum[k] += e[k] * v[k];
            e[k] *= g[k];
        }
        if (dy) ft_write<N>(dy + r * n + at, e);
    }
    ft_fold<N>(sum);
    if (inside && FT_COLUMN_ROW == 0)
        for (int k = 0; k < N; k++) part[FT_COLUMN_PART * n + at + k] = sum[k];
}

extern "C" int ft_cuda_prepare_gate_residual_bwd(ft_call *c)
{
    const ft_buf *y = c->in[0];
    c->work_size = (size_t)(y->dim[0] * parts_per_sample(y, y->dim[0]) * y->dim[y->ndim - 1]) * sizeof(float);
    return FT_OK;
}

/* in: y gate dout; out: dy dgate */
extern "C" void ft_cuda_gate_residual_bwd(const ft_call *c)
{
    const ft_buf *y = c->in[0], *d = c->in[2], *dy = c->out[0];
    int64_t n = y->dim[y->ndim - 1], samples = y->dim[0], parts = parts_per_sample(y, samples);
    FT_BY_TYPE(y->dtype,
               FT_BY_WIDTH(ft_wide(y, n) && ft_aligned(d) && ft_aligned(dy) && ft_wide_vectors(c, 1, 1, n),
                           FT_LAUNCH((gate_columns<T, N>), FT_COLUMN_GRID(samples * parts, n), FT_THREADS, 0, ft_cuda_stream,
                                     (float *)c->work, ft_as<T>(dy), ft_as<const T>(y), ft_as<const T>(d),
                                     ft_as<const float>(c->in[1]), y->count / n / samples, parts, n)));
    if (c->out[1]) ft_cuda_sum_rows(c->out[1]->data, FT_F32, (const float *)c->work, samples, parts, n, n, 1);
}

/* ---- RMSNorm, plain or gated (Mamba-2): w * u / sqrt(mean u^2 + eps), u = y or y * SiLU(z) ------------------------------ */

template <int N, typename T> FT_DEV void read_gated(float *u, float *zz, const T *y, const T *z, int64_t at)
{
    ft_read<N>(u, y + at);
    if (!z) return;
    ft_read<N>(zz, z + at);
    for (int k = 0; k < N; k++) u[k] *= ft_silu1(zz[k]);
}

template <typename T, int N, int G>
static __global__ void rmsnorm(T *o, const T *y, const T *z, const float *w, int64_t rows, int64_t n, float eps)
{
    FT_EACH_ROW(r, rows)
    {
        float u[N], zz[N], a[N], s = 0;
        FT_IN_ROW(i, n)
        {
            read_gated<N>(u, zz, y, z, r * n + i);
            for (int k = 0; k < N; k++) s += u[k] * u[k];
        }
        float rr = 1.0f / sqrtf(ft_sum<G>(s) / (float)n + eps);
        FT_IN_ROW(i, n)
        {
            read_gated<N>(u, zz, y, z, r * n + i);
            for (int k = 0; k < N; k++) a[k] = 1;
            if (w) ft_read_floats<N>(a, w + i);
            for (int k = 0; k < N; k++) u[k] *= a[k] * rr;
            ft_write<N>(o + r * n + i, u);
        }
    }
}

extern "C" void ft_cuda_rmsnorm(const ft_call *c)
{
    const ft_buf *y = c->in[0], *z = c->in[1], *o = c->out[0];
    int64_t n = y->dim[y->ndim - 1];
    FT_BY_ROWS(y, n, ft_wide(y, n) && ft_aligned(z) && ft_aligned(o) && ft_wide_vectors(c, 2, 2, n),
               FT_RUN_ROWS((rmsnorm<T, N, G>), rows, ft_as<T>(o), ft_as<const T>(y), ft_as<const T>(z),
                           ft_as<const float>(c->in[2]), rows, n, c->attr->norm.eps));
}

template <typename T, int N, int G>
static __global__ void rmsnorm_dx(T *dy, T *dz, float *stat, const T *y, const T *z, const float *w, const T *d, int64_t rows,
                                  int64_t n, float eps)
{
    FT_EACH_ROW(r, rows)
    {
        float u[N], zz[N], a[N], e[N], v[N], s = 0, m = 0;
        FT_IN_ROW(i, n)
        {
            read_gated<N>(u, zz, y, z, r * n + i);
            ft_read<N>(e, d + r * n + i);
            for (int k = 0; k < N; k++) a[k] = 1;
            if (w) ft_read_floats<N>(a, w + i);
            for (int k = 0; k < N; k++) s += u[k] * u[k], m += e[k] * a[k] * u[k];
        }
        float rr = 1.0f / sqrtf(ft_sum<G>(s) / (float)n + eps);
        m = ft_sum<G>(m) * rr / (float)n;
        if (threadIdx.x % G == 0) stat[r] = rr;
        FT_IN_ROW(i, n)
        {
            read_gated<N>(u, zz, y, z, r * n + i);
            ft_read<N>(e, d + r * n + i);
            for (int k = 0; k < N; k++) a[k] = 1;
            if (w) ft_read_floats<N>(a, w + i);
            for (int k = 0; k < N; k++) e[k] = rr * (e[k] * a[k] - u[k] * rr * m); /* du */
            if (dz) {
                ft_read<N>(v, y + r * n + i);
                for (int k = 0; k < N; k++) v[k] *= e[k] * ft_silu_d1(zz[k]);
                ft_write<N>(dz + r * n + i, v);
            }
            if (!dy) continue;
            if (z)
                for (int k = 0; k < N; k++) e[k] *= ft_silu1(zz[k]);
            ft_write<N>(dy + r * n + i, e);
        }
    }
}

template <typename T, int N>
static __global__ void rmsnorm_columns(float *part, const float *stat, const T *y, const T *z, const T *d, int64_t rows,
                                       int64_t n)
{
    int64_t at = FT_COLUMN(N);
    bool inside = at < n;
    float sum[N] = {0}, u[N], zz[N], e[N];
    int64_t end = inside ? ft_part_of(rows, FT_COLUMN_PART + 1, FT_COLUMN_PARTS) : 0;
    for (int64_t r = ft_part_of(rows, FT_COLUMN_PART, FT_COLUMN_PARTS) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        read_gated<N>(u, zz, y, z, r * n + at);
        ft_read<N>(e, d + r * n + at);
        for (int k = 0; k < N; k++) sum[k] += e[k] * u[k] * stat[r];
    }
    ft_fold<N>(sum);
    if (inside && FT_COLUMN_ROW == 0)
        for (int k = 0; k < N; k++) part[FT_COLUMN_PART * n + at + k] = sum[k];
}

static int64_t parts_of_all(const ft_buf *y)
{
    int64_t n = y->dim[y->ndim - 1];
    return ft_parts(y->count / n, ft_ceil(n, 256));
}

extern "C" int ft_cuda_prepare_rmsnorm_bwd(ft_call *c)
{
    const ft_buf *y = c->in[0];
    int64_t n = y->dim[y->ndim - 1];
    c->work_size = (size_t)(parts_of_all(y) * n + y->count / n) * sizeof(float);
    return FT_OK;
}

/* in: y z w dout; out: dy dz dw */
extern "C" void ft_cuda_rmsnorm_bwd(const ft_call *c)
{
    const ft_buf *y = c->in[0], *z = c->in[1], *d = c->in[3];
    int64_t n = y->dim[y->ndim - 1], parts = parts_of_all(y), all = y->count / n;
    float *part = (float *)c->work, *stat = part + parts * n;
    bool wide = ft_wide(y, n) && ft_aligned(z) && ft_aligned(d) && ft_aligned(c->out[0]) && ft_aligned(c->out[1]) &&
                ft_wide_vectors(c, 2, 2, n);
    FT_BY_ROWS(y, n, wide,
               FT_RUN_ROWS((rmsnorm_dx<T, N, G>), rows, ft_as<T>(c->out[0]), ft_as<T>(c->out[1]), stat, ft_as<const T>(y),
                           ft_as<const T>(z), ft_as<const float>(c->in[2]), ft_as<const T>(d), rows, n, c->attr->norm.eps));
    if (!c->out[2]) return;
    FT_BY_TYPE(y->dtype,
               FT_BY_WIDTH(wide, FT_LAUNCH((rmsnorm_columns<T, N>), FT_COLUMN_GRID(parts, n), FT_THREADS, 0, ft_cuda_stream, part,
                                           stat, ft_as<const T>(y), ft_as<const T>(z), ft_as<const T>(d), all, n)));
    ft_cuda_sum_rows(c->out[2]->data, FT_F32, part, 1, parts, n, n, 1);
}
