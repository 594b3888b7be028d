/* Ops over the last axis as a whole: softmax, ranks, l2 normalisation. */
#include "kernels/cuda/cuda.cuh"

template <typename T, int N, int G> static __global__ void softmax(T *y, const T *x, int64_t rows, int64_t n)
{
    FT_EACH_ROW(r, rows)
    {
        float top = -INFINITY, total = 0, v[N];
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) top = fmaxf(top, v[k]);
        }
        top = ft_max<G>(top);
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) total += ft_exp1(v[k] - top);
        }
        float scale = 1.0f / ft_sum<G>(total);
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) v[k] = ft_exp1(v[k] - top) * scale;
            ft_write<N>(y + r * n + i, v);
        }
    }
}

extern "C" void ft_cuda_softmax(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    FT_BY_ROWS(x, n, ft_wide(x, n) && ft_aligned(y),
               FT_RUN_ROWS((softmax<T, N, G>), rows, ft_as<T>(y), ft_as<const T>(x), rows, n));
}

/* dx = y (dy - sum y dy) */
template <typename T, int N, int G> static __global__ void softmax_bwd(T *dx, const T *y, const T *dy, int64_t rows, int64_t n)
{
    FT_EACH_ROW(r, rows)
    {
        float s = 0, p[N], d[N];
        FT_IN_ROW(i, n)
        {
            ft_read<N>(p, y + r * n + i);
            ft_read<N>(d, dy + r * n + i);
            for (int k = 0; k < N; k++) s += p[k] * d[k];
        }
        s = ft_sum<G>(s);
        FT_IN_ROW(i, n)
        {
            ft_read<N>(p, y + r * n + i);
            ft_read<N>(d, dy + r * n + i);
            for (int k = 0; k < N; k++) d[k] = p[k] * (d[k] - s);
            ft_write<N>(dx + r * n + i, d);
        }
    }
}

/* in: y dy; out: dx */
extern "C" void ft_cuda_softmax_bwd(const ft_call *c)
{
    const ft_buf *y = c->in[0], *dy = c->in[1], *dx = c->out[0];
    int64_t n = y->dim[y->ndim - 1];
    FT_BY_ROWS(y, n, ft_wide(y, n) && ft_aligned(dy) && ft_aligned(dx),
               FT_RUN_ROWS((softmax_bwd<T, N, G>), rows, ft_as<T>(dx), ft_as<const T>(y), ft_as<const T>(dy), rows, n));
}

/* rows are short (the segments of a video), so every pair is compared */
template <typename T> static __global__ void rank_of(float *y, const T *x, int64_t count, int64_t n)
{
    FT_EACH(i, count)
    {
        const T *row = x + i / n * n;
        int64_t at = i % n, before = 0;
        float mine = ft_get(x + i);
        for (int64_t k = 0; k < n; k++) {
            float v = ft_get(row + k);
            before += k < at ? v >= mine : k > at && v > mine;
        }
        y[i] = (float)before;
    }
}

extern "C" void ft_cuda_rank(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    FT_BY_TYPE(x->dtype,
               FT_RUN((rank_of<T>), x->count, ft_as<float>(c->out[0]), ft_as<const T>(x), x->count, x->dim[x->ndim - 1]));
}

FT_DEV float inverse_norm(float square, float eps, float *norm)
{
    *norm = sqrtf(square);
    return 1.0f / (*norm < eps ? eps : *norm); /* NaN stays */
}

template <typename T, int N, int G> static __global__ void l2_normalize(T *y, const T *x, int64_t rows, int64_t n, float eps)
{
    FT_EACH_ROW(r, rows)
    {
        float s = 0, v[N], norm;
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) s += v[k] * v[k];
        }
        float scale = inverse_norm(ft_sum<G>(s), eps, &norm);
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            for (int k = 0; k < N; k++) v[k] *= scale;
            ft_write<N>(y + r * n + i, v);
        }
    }
}

extern "C" void ft_cuda_l2_normalize(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    FT_BY_ROWS(x, n, ft_wide(x, n) && ft_aligned(y),
               FT_RUN_ROWS((l2_normalize<T, N, G>), rows, ft_as<T>(y), ft_as<const T>(x), rows, n, c->attr->scalar.a));
}

/* dx = (dy - u (u . dy)) / |x|, u = x / |x|; below eps the norm is a constant */
template <typename T, int N, int G>
static __global__ void l2_normalize_bwd(T *dx, const T *x, const T *dy, int64_t rows, int64_t n, float eps)
{
    FT_EACH_ROW(r, rows)
    {
        float s = 0, along = 0, v[N], d[N], norm;
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            ft_read<N>(d, dy + r * n + i);
            for (int k = 0; k < N; k++) s += v[k] * v[k], along += v[k] * d[k];
        }
        float scale = inverse_norm(ft_sum<G>(s), eps, &norm);
        along = ft_sum<G>(along) * scale * scale;
        if (!(norm > eps)) along = 0;
        FT_IN_ROW(i, n)
        {
            ft_read<N>(v, x + r * n + i);
            ft_read<N>(d, dy + r * n + i);
            for (int k = 0; k < N; k++) d[k] = scale * (d[k] - v[k] * along);
            ft_write<N>(dx + r * n + i, d);
        }
    }
}

/* in: x dy; out: dx */
extern "C" void ft_cuda_l2_normalize_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1], *dx = c->out[0];
    int64_t n = x->dim[x->ndim - 1];
    FT_BY_ROWS(x, n, ft_wide(x, n) && ft_aligned(dy) && ft_aligned(dx),
               FT_RUN_ROWS((l2_normalize_bwd<T, N, G>), rows, ft_as<T>(dx), ft_as<const T>(x), ft_as<const T>(dy), rows, n,
                           c->attr->scalar.a));
}
