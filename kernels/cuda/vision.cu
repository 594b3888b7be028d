/* What RAFT needs beside convolutions, forward only: bilinear sampling in pixel coordinates, zero outside. */
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
