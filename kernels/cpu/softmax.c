/* Ops over the last axis as a whole: softmax, ranks, l2 normalisation. */
#include "kernels/cpu/cpu.h"

void FT_CPU(softmax)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = ft_last(x), rows = x->count / n;
#pragma omp parallel for if (x->count > FT_SMALL / 4)
    for (int64_t r = 0; r < rows; r++) {
        float tx[FT_MOST_ROW], ty[FT_MOST_ROW], *y = ft_into(ty, c->out[0], r * n);
        const float *v = ft_load(tx, x, r * n, n);
        float top = ft_top(v, n), total = 0;
        for (int64_t i = 0; i < n; i++) total += y[i] = ft_exp1(v[i] - top);
        float scale = 1.0f / total;
        for (int64_t i = 0; i < n; i++) y[i] *= scale;
        ft_store_at(c->out[0], r * n, y, n);
    }
}

/* in: y dy; out: dx = y (dy - sum y dy) */
void FT_CPU(softmax_bwd)(const ft_call *c)
{
    const ft_buf *y = c->in[0], *dy = c->in[1];
    int64_t n = ft_last(y), rows = y->count / n;
#pragma omp parallel for if (y->count > FT_SMALL / 2)
    for (int64_t r = 0; r < rows; r++) {
        float ty[FT_MOST_ROW], td[FT_MOST_ROW], to[FT_MOST_ROW], *dx = ft_into(to, c->out[0], r * n);
        const float *p = ft_load(ty, y, r * n, n), *d = ft_load(td, dy, r * n, n);
        float s = ft_dot(p, d, n);
        for (int64_t i = 0; i < n; i++) dx[i] = p[i] * (d[i] - s);
        ft_store_at(c->out[0], r * n, dx, n);
    }
}

/* rows are short (the segments of a video), so every pair is compared */
void FT_CPU(rank)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = ft_last(x), rows = x->count / n;
#pragma omp parallel for if (x->count * n > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float tx[FT_MOST_ROW], ty[FT_MOST_ROW], *y = ft_into(ty, c->out[0], r * n);
        const float *v = ft_load(tx, x, r * n, n);
        for (int64_t i = 0; i < n; i++) {
            int64_t before = 0;
            for (int64_t k = 0; k < i; k++) before += v[k] >= v[i];
            for (int64_t k = i + 1; k < n; k++) before += v[k] > v[i];
            y[i] = (float)before;
        }
        ft_store_at(c->out[0], r * n, y, n);
    }
}

void FT_CPU(l2_normalize)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = ft_last(x), rows = x->count / n;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float tx[FT_MOST_ROW], ty[FT_MOST_ROW], *y = ft_into(ty, c->out[0], r * n);
        const float *v = ft_load(tx, x, r * n, n);
        float norm = sqrtf(ft_dot(v, v, n)), scale = 1.0f / (norm < c->attr->scalar.a ? c->attr->scalar.a : norm); /* NaN stays */
        for (int64_t i = 0; i < n; i++) y[i] = v[i] * scale;
        ft_store_at(c->out[0], r * n, y, n);
    }
}

/* in: x dy; out: dx = (dy - u (u . dy)) / |x|, u = x / |x|; below eps the norm is a constant */
void FT_CPU(l2_normalize_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    int64_t n = ft_last(x), rows = x->count / n;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float tx[FT_MOST_ROW], td[FT_MOST_ROW], to[FT_MOST_ROW], *dx = ft_into(to, c->out[0], r * n);
        const float *v = ft_load(tx, x, r * n, n), *d = ft_load(td, dy, r * n, n);
        float norm = sqrtf(ft_dot(v, v, n)), scale = 1.0f / (norm < c->attr->scalar.a ? c->attr->scalar.a : norm);
        float along = norm > c->attr->scalar.a ? ft_dot(v, d, n) * scale * scale : 0.0f;
        for (int64_t i = 0; i < n; i++) dx[i] = scale * (d[i] - v[i] * along);
        ft_store_at(c->out[0], r * n, dx, n);
    }
}
