/* Pools and nearest upsampling on (B,T,H,W,C). A task is one output position; channels run in the inner loop. */
#include "kernels/cpu/cpu.h"

/* position `row` of a (B,T,H,W) grid */
static void unravel(const ft_buf *b, int64_t row, int64_t p[4])
{
    for (int i = 3; i >= 0; i--) p[i] = row % b->dim[i], row /= b->dim[i];
}
static int64_t ravel(const ft_buf *b, int64_t n, int64_t t, int64_t h, int64_t w)
{
    return ((n * b->dim[1] + t) * b->dim[2] + h) * b->dim[3] + w;
}

/* the part of window p that lies inside x: [from, to) per axis; returns the number of positions */
static int64_t window(const ft_call *c, const ft_buf *x, const int64_t p[4], int64_t from[3], int64_t to[3])
{
    int64_t n = 1;
    for (int i = 0; i < 3; i++) {
        int64_t at = p[1 + i] * c->attr->pool.stride[i] - c->attr->pool.pad_front[i];
        from[i] = FT_MAX(at, 0);
        to[i] = FT_MIN(at + c->attr->pool.kernel[i], x->dim[1 + i]);
        n *= to[i] - from[i];
    }
    return n;
}

void FT_CPU(pool)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
    int64_t width = y->dim[4], rows = y->count / width;
    int kind = c->attr->pool.kind;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t p[4], from[3], to[3];
        unravel(y, r, p);
        int64_t n = window(c, x, p, from, to);
        for (int64_t at = 0; at < width; at += FT_BLOCK) {
            float acc[FT_BLOCK], tmp[FT_BLOCK];
            int64_t m = FT_MIN(FT_BLOCK, width - at);
            for (int64_t i = 0; i < m; i++) acc[i] = kind == FT_POOL_MAX ? -INFINITY : 0.0f;
            for (int64_t t = from[0]; t < to[0]; t++)
                for (int64_t h = from[1]; h < to[1]; h++)
                    for (int64_t w = from[2]; w < to[2]; w++) {
                        const float *v = ft_load(tmp, x, ravel(x, p[0], t, h, w) * width + at, m);
                        if (kind == FT_POOL_MAX) /* NaN wins */
                            for (int64_t i = 0; i < m; i++) acc[i] = v[i] > acc[i] || v[i] != v[i] ? v[i] : acc[i];
                        else
                            for (int64_t i = 0; i < m; i++) acc[i] += v[i];
                    }
            if (kind == FT_POOL_AVG)
                for (int64_t i = 0; i < m; i++) acc[i] /= (float)n;
            ft_store_at(y, r * width + at, acc, m);
        }
    }
}

/* windows apart from each other: each writes its own positions, whole rows of channels at a time */
static void pool_bwd_apart(const ft_call *c)
{
    const ft_buf *dy = c->in[0], *x = c->in[1];
    ft_buf *dx = c->out[0];
    int64_t width = dx->dim[4], rows = dy->count / width;
    int kind = c->attr->pool.kind;
    memset(dx->data, 0, (size_t)dx->count * ft_size(dx->dtype)); /* what no window covers */
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t p[4], from[3], to[3], n;
        unravel(dy, r, p);
        n = window(c, x, p, from, to);
        for (int64_t c0 = 0; c0 < width; c0 += FT_BLOCK) {
            float top[FT_BLOCK], g[FT_BLOCK], tv[FT_BLOCK], out[FT_BLOCK], scale = kind == FT_POOL_AVG ? 1.0f / (float)n : 1.0f;
            int64_t m = FT_MIN(FT_BLOCK, width - c0);
            memcpy(g, ft_load(tv, dy, r * width + c0, m), (size_t)m * sizeof(float));
            for (int64_t i = 0; i < m; i++) g[i] *= scale, top[i] = -INFINITY;
            for (int pass = kind == FT_POOL_MAX ? 0 : 1; pass < 2;
                 pass++) /* the maximum, then its place: the first that equals it */
                for (int64_t t = from[0]; t < to[0]; t++)
                    for (int64_t h = from[1]; h < to[1]; h++)
                        for (int64_t w = from[2]; w < to[2]; w++) {
                            int64_t at = ravel(x, p[0], t, h, w) * width + c0;
                            if (kind != FT_POOL_MAX) {
                                ft_store_at(dx, at, g, m);
                                continue;
                            }
                            const float *v = ft_load(tv, x, at, m);
                            if (pass == 0) {
                                for (int64_t i = 0; i < m; i++) top[i] = v[i] > top[i] || v[i] != v[i] ? v[i] : top[i];
                                continue;
                            }
                            for (int64_t i = 0; i < m; i++) {
                                bool here = v[i] == top[i] || v[i] != v[i];
                                out[i] = here ? g[i] : 0.0f;
                                g[i] = here ? 0.0f : g[i];
                            }
                            ft_store_at(dx, at, out, m);
                        }
        }
    }
}

/* in: dy x; out: dx. A task is one sample and a range of channels, so that overlapping windows do not race. */
void FT_CPU(pool_bwd)(const ft_call *c)
{
    const ft_buf *dy = c->in[0], *x = c->in[1];
    ft_buf *dx = c->out[0];
    int64_t width = dx->dim[4], blocks = (width + 15) / 16, outs = dy->count / dy->dim[0] / width,
            ins = x->count / x->dim[0] / width;
    int kind = c->attr->pool.kind;
    bool apart = true;
    for (int i = 0; i < 3; i++) apart &= c->attr->pool.stride[i] >= c->attr->pool.kernel[i];
    if (apart) {
        pool_bwd_apart(c);
        return;
    }
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < dx->dim[0] * blocks; task++) {
        int64_t b = task / blocks, c0 = task % blocks * 16, m = FT_MIN(16, width - c0);
        float zero[16] = {0}, tv[16], td[16], top[16], g[16];
        for (int64_t r = 0; r < ins; r++) ft_store_at(dx, (b * ins + r) * width + c0, zero, m);
        for (int64_t r = b * outs; r < (b + 1) * outs; r++) {
            int64_t p[4], from[3], to[3];
            unravel(dy, r, p);
            int64_t n = window(c, x, p, from, to);
            memcpy(g, ft_load(td, dy, r * width + c0, m), (size_t)m * sizeof(float));
            if (kind == FT_POOL_AVG)
                for (int64_t i = 0; i < m; i++) g[i] /= (float)n;
            for (int64_t i = 0; i < m; i++) top[i] = -INFINITY;
            int64_t best[16] = {0};
            for (int64_t t = from[0]; t < to[0]; t++)
                for (int64_t h = from[1]; h < to[1]; h++)
                    for (int64_t w = from[2]; w < to[2]; w++) {
                        int64_t at = ravel(x, p[0], t, h, w) * width + c0;
                        if (kind == FT_POOL_MAX) { /* the first of equal values, as PyTorch */
                            const float *v = ft_load(tv, x, at, m);
                            for (int64_t i = 0; i < m; i++)
                                if ((w == from[2] && h == from[1] && t == from[0]) || v[i] > top[i] || v[i] != v[i])
                                    top[i] = v[i], best[i] = at + i;
                            continue;
                        }
                        float sum[16];
                        memcpy(sum, ft_load(tv, dx, at, m), (size_t)m * sizeof(float));
                        for (int64_t i = 0; i < m; i++) sum[i] += g[i];
                        ft_store_at(dx, at, sum, m);
                    }
            for (int64_t i = 0; kind == FT_POOL_MAX && i < m; i++) {
                float v = *ft_load(tv, dx, best[i], 1) + g[i];
                ft_store_at(dx, best[i], &v, 1);
            }
        }
    }
}

void FT_CPU(upsample)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
    const int64_t *f = c->attr->pool.kernel;
    int64_t width = y->dim[4], rows = y->count / width;
    size_t e = ft_size(x->dtype);
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t p[4];
        unravel(y, r, p);
        int64_t from = ravel(x, p[0], p[1] / f[0], p[2] / f[1], p[3] / f[2]);
        memcpy(ft_at(y, r * width), ft_at(x, from * width), (size_t)width * e);
    }
}
