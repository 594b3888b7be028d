/* Bilinear sampling in pixel coordinates, zero outside: what RAFT needs beside convolutions, forward only, and warps. */
#include "kernels/cuda/cuda.cuh"

/* x (B, H, W, C), at (B, h, w, 2) as (x, y) */
template <typename T>
static __global__ void grid_sample(T *y, const T *x, const float *p, int64_t n, int64_t H, int64_t W, int64_t C,
                                   int64_t per_sample)
{
    FT_EACH(i, n)
    {
        int64_t r = i / C, k = i % C;
        float fx = floorf(p[2 * r]), fy = floorf(p[2 * r + 1]), ax = p[2 * r] - fx, ay = p[2 * r + 1] - fy, sum = 0;
        bool inside = fx >= -1 && fy >= -1 && fx < (float)W && fy < (float)H; /* false for NaN */
        for (int corner = 0; inside && corner < 4; corner++) {
            int64_t xi = (int64_t)fx + corner % 2, yi = (int64_t)fy + corner / 2;
            float w = (corner % 2 ? ax : 1 - ax) * (corner / 2 ? ay : 1 - ay);
            if (xi < 0 || yi < 0 || xi >= W || yi >= H) continue;
            sum += w * ft_get(x + ((r / per_sample * H + yi) * W + xi) * C + k);
        }
        ft_put(y + i, sum);
    }
}

extern "C" void ft_cuda_grid_sample(const ft_call *c)
{
    const ft_buf *x = c->in[0], *at = c->in[1], *y = c->out[0];
    FT_BY_TYPE(x->dtype, FT_RUN((grid_sample<T>), y->count, ft_as<T>(y), ft_as<const T>(x), ft_as<const float>(at), y->count,
                                x->dim[1], x->dim[2], x->dim[3], at->dim[1] * at->dim[2]));
}

/* x (B,H,W,C), m (B,6) -> (B,h,w,C) */
template <typename T>
static __global__ void warp(T *y, const T *x, const float *m, int64_t n, int64_t H, int64_t W, int64_t h, int64_t w, int64_t C)
{
    FT_EACH(at, n)
    {
        int64_t k = at % C, j = at / C % w, i = at / C / w % h, b = at / C / w / h;
        float px, py, sum = 0;
        ft_warp_at(m + 6 * b, (float)i, (float)j, &py, &px);
        float fx = floorf(px), fy = floorf(py);
        bool inside = fx >= -1 && fy >= -1 && fx < (float)W && fy < (float)H; /* false for NaN */
        for (int corner = 0; inside && corner < 4; corner++) {
            int64_t xi = (int64_t)fx + corner % 2, yi = (int64_t)fy + corner / 2;
            if (xi < 0 || yi < 0 || xi >= W || yi >= H) continue;
            sum += ft_tent1(px - (float)xi) * ft_tent1(py - (float)yi) * ft_get(x + ((b * H + yi) * W + xi) * C + k);
        }
        ft_put(y + at, sum);
    }
}

extern "C" void ft_cuda_warp(const ft_call *c)
{
    const ft_buf *x = c->in[0], *m = c->in[1], *y = c->out[0];
    FT_BY_TYPE(x->dtype, FT_RUN((warp<T>), y->count, ft_as<T>(y), ft_as<const T>(x), ft_as<const float>(m), y->count, x->dim[1],
                                x->dim[2], y->dim[1], y->dim[2], x->dim[3]));
}

/* dy (B,h,w,C), m (B,6) -> dx (B,H,W,C): every pixel of the source gathers its shares, in the order of the results */
template <typename T>
static __global__ void warp_bwd(T *dx, const T *dy, const float *m, int64_t n, int64_t H, int64_t W, int64_t h, int64_t w,
                                int64_t C)
{
    FT_EACH(at, n)
    {
        int64_t k = at % C, X = at / C % W, Y = at / C / W % H, b = at / C / W / H, size[2] = {h, w}, first[2], last[2];
        float px, py, sum = 0;
        ft_warp_reach(m + 6 * b, (float)Y, (float)X, size, first, last);
        for (int64_t i = first[0]; i <= last[0]; i++)
            for (int64_t j = first[1]; j <= last[1]; j++) {
                ft_warp_at(m + 6 * b, (float)i, (float)j, &py, &px);
                float share = ft_tent1(px - (float)X) * ft_tent1(py - (float)Y);
                if (share != 0) sum += share * ft_get(dy + ((b * h + i) * w + j) * C + k);
            }
        ft_put(dx + at, sum);
    }
}

extern "C" void ft_cuda_warp_bwd(const ft_call *c)
{
    const ft_buf *dy = c->in[0], *m = c->in[1], *dx = c->out[0];
    FT_BY_TYPE(dy->dtype, FT_RUN((warp_bwd<T>), dx->count, ft_as<T>(dx), ft_as<const T>(dy), ft_as<const float>(m), dx->count,
                                 dx->dim[1], dx->dim[2], dy->dim[1], dy->dim[2], dy->dim[3]));
}

struct pyramid {
    int levels, side, radius;
    const void *level[FT_MAX_IN];
    int64_t H[FT_MAX_IN], W[FT_MAX_IN];
};

template <typename T> FT_DEV float texel(const pyramid &v, int l, int64_t r, int64_t yi, int64_t xi, bool near_)
{
    if (!near_ || xi < 0 || yi < 0 || xi >= v.W[l] || yi >= v.H[l]) return 0;
    return ft_get((const T *)v.level[l] + (r * v.H[l] + yi) * v.W[l] + xi);
}

/* RAFT's lookup: volume l (B, h*w, H_l, W_l) is read around (x, y) / 2^l at offsets -radius .. radius; channels are level-major,
 * then the x offset, then the y offset (the order that public checkpoints were trained with). */
template <typename T> static __global__ void corr_lookup(T *out, const float *p, int64_t points, pyramid v)
{
    int64_t window = (int64_t)v.side * v.side, each = v.levels * window;
    FT_EACH(task, points * each)
    {
        int64_t r = task / each;
        int l = (int)(task % each / window), i = (int)(task % window / v.side), j = (int)(task % v.side);
        float x = p[2 * r] / (float)(1 << l), y = p[2 * r + 1] / (float)(1 << l), fx = floorf(x), fy = floorf(y), ax = x - fx,
              ay = y - fy;
        bool near_ = fabsf(x) < 1e6f && fabsf(y) < 1e6f; /* false for NaN */
        int64_t xi = near_ ? (int64_t)fx + i - v.radius : 0, yi = near_ ? (int64_t)fy + j - v.radius : 0;
        ft_put(out + task,
               (1 - ay) * ((1 - ax) * texel<T>(v, l, r, yi, xi, near_) + ax * texel<T>(v, l, r, yi, xi + 1, near_)) +
                   ay * ((1 - ax) * texel<T>(v, l, r, yi + 1, xi, near_) + ax * texel<T>(v, l, r, yi + 1, xi + 1, near_)));
    }
}

extern "C" void ft_cuda_corr_lookup(const ft_call *c)
{
    const ft_buf *at = c->in[0];
    pyramid v;
    memset(&v, 0, sizeof v);
    v.levels = c->n_in - 1, v.radius = c->attr->corr.radius, v.side = 2 * v.radius + 1;
    for (int l = 0; l < v.levels; l++)
        v.level[l] = c->in[1 + l]->data, v.H[l] = c->in[1 + l]->dim[2], v.W[l] = c->in[1 + l]->dim[3];
    FT_BY_TYPE(c->out[0]->dtype,
               FT_RUN((corr_lookup<T>), c->out[0]->count, ft_as<T>(c->out[0]), ft_as<const float>(at), at->count / 2, v));
}
