/* Pools and nearest upsampling on (B,T,H,W,C): a thread for each value, neighbours in a warp are neighbouring channels. */
#include "kernels/cuda/cuda.cuh"

struct window {
    int kind;
    int64_t kernel[3], stride[3], front[3], in[3], out[3], width;
};

static window window_of(const ft_call *c, const ft_buf *x, const ft_buf *y)
{
    window w;
    memset(&w, 0, sizeof w);
    w.kind = c->attr->pool.kind;
    w.width = x->dim[4];
    for (int i = 0; i < 3; i++) {
        w.kernel[i] = c->attr->pool.kernel[i], w.stride[i] = c->attr->pool.stride[i], w.front[i] = c->attr->pool.pad_front[i];
        w.in[i] = x->dim[1 + i], w.out[i] = y->dim[1 + i];
    }
    return w;
}

/* the part of output position p's window that lies inside the input: [from, to) per axis; returns the number of positions */
FT_DEV int64_t inside(const window &w, const int64_t p[3], int64_t from[3], int64_t to[3])
{
    int64_t n = 1;
    for (int i = 0; i < 3; i++) {
        int64_t at = p[i] * w.stride[i] - w.front[i];
        from[i] = at > 0 ? at : 0;
        to[i] = at + w.kernel[i] < w.in[i] ? at + w.kernel[i] : w.in[i];
        n *= to[i] - from[i];
    }
    return n;
}
/* sample b and position p of a grid row */
FT_DEV int64_t unravel(const int64_t dim[3], int64_t row, int64_t p[3])
{
    for (int i = 2; i >= 0; i--) p[i] = row % dim[i], row /= dim[i];
    return row;
}
FT_DEV int64_t ravel(const int64_t dim[3], int64_t b, int64_t t, int64_t h, int64_t w)
{
    return ((b * dim[0] + t) * dim[1] + h) * dim[2] + w;
}

template <typename T> static __global__ void pool(T *y, const T *x, int64_t n, window k)
{
    FT_EACH(i, n)
    {
        int64_t p[3], from[3], to[3], c = i % k.width, b = unravel(k.out, i / k.width, p), inner = inside(k, p, from, to);
        float acc = k.kind == FT_POOL_MAX ? -INFINITY : 0.0f;
        for (int64_t t = from[0]; t < to[0]; t++)
            for (int64_t h = from[1]; h < to[1]; h++)
                for (int64_t w = from[2]; w < to[2]; w++) {
                    float v = ft_get(x + ravel(k.in, b, t, h, w) * k.width + c);
                    if (k.kind != FT_POOL_MAX) acc += v;
                    else if (v > acc || v != v) acc = v; /* NaN wins */
                }
        ft_put(y + i, k.kind == FT_POOL_AVG ? acc / (float)inner : acc);
    }
}

extern "C" void ft_cuda_pool(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    FT_BY_TYPE(x->dtype, FT_RUN((pool<T>), y->count, ft_as<T>(y), ft_as<const T>(x), y->count, window_of(c, x, y)));
}

/* the place of a window's maximum: the first of equal values, the last NaN (as the CPU's walk has it) */
template <typename T> FT_DEV int64_t place_of_max(const window &k, const T *x, int64_t b, const int64_t p[3], int64_t c)
{
    int64_t from[3], to[3], best = -1;
    float top = -INFINITY;
    inside(k, p, from, to);
    for (int64_t t = from[0]; t < to[0]; t++)
        for (int64_t h = from[1]; h < to[1]; h++)
            for (int64_t w = from[2]; w < to[2]; w++) {
                int64_t at = ravel(k.in, b, t, h, w) * k.width + c;
                float v = ft_get(x + at);
                if (best < 0 || v > top || v != v) top = v, best = at;
            }
    return best;
}

/* Each input position gathers from the windows that hold it, so nothing is added by two threads. */
template <typename T> static __global__ void pool_bwd(T *dx, const T *dy, const T *x, int64_t n, window k)
{
    FT_EACH(i, n)
    {
        int64_t q[3], c = i % k.width, b = unravel(k.in, i / k.width, q), low[3], high[3], from[3], to[3];
        float sum = 0;
        for (int a = 0; a < 3; a++) { /* windows o with o * stride - front <= q < o * stride - front + kernel */
            int64_t at = q[a] + k.front[a];
            low[a] = at - k.kernel[a] + 1 <= 0 ? 0 : (at - k.kernel[a]) / k.stride[a] + 1;
            high[a] = at / k.stride[a] + 1 < k.out[a] ? at / k.stride[a] + 1 : k.out[a];
        }
        for (int64_t t = low[0]; t < high[0]; t++)
            for (int64_t h = low[1]; h < high[1]; h++)
                for (int64_t w = low[2]; w < high[2]; w++) {
                    int64_t p[3] = {t, h, w};
                    float d = ft_get(dy + ravel(k.out, b, t, h, w) * k.width + c);
                    if (k.kind == FT_POOL_MAX) sum += place_of_max(k, x, b, p, c) == i ? d : 0.0f;
                    else sum += k.kind == FT_POOL_AVG ? d / (float)inside(k, p, from, to) : d;
                }
        ft_put(dx + i, sum);
    }
}

/* in: dy x; out: dx */
extern "C" void ft_cuda_pool_bwd(const ft_call *c)
{
    const ft_buf *dy = c->in[0], *x = c->in[1], *dx = c->out[0];
    FT_BY_TYPE(dx->dtype, FT_RUN((pool_bwd<T>), dx->count, ft_as<T>(dx), ft_as<const T>(dy), ft_as<const T>(x), dx->count,
                                 window_of(c, dx, dy)));
}

template <typename T> static __global__ void upsample(T *y, const T *x, int64_t n, window k)
{
    FT_EACH(i, n)
    {
        int64_t p[3], c = i % k.width, b = unravel(k.out, i / k.width, p);
        y[i] = x[ravel(k.in, b, p[0] / k.kernel[0], p[1] / k.kernel[1], p[2] / k.kernel[2]) * k.width + c];
    }
}

extern "C" void ft_cuda_upsample(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    FT_BY_TYPE(x->dtype, FT_RUN((upsample<T>), y->count, ft_as<T>(y), ft_as<const T>(x), y->count, window_of(c, x, y)));
}
