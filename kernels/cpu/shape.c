/* Shape ops: copies of 2- or 4-byte elements, no arithmetic except the sums of the backward ops. */
#include "kernels/cpu/cpu.h"

void FT_CPU(cast)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t at = 0; at < x->count; at += FT_BLOCK) {
        float tmp[FT_BLOCK];
        int64_t n = FT_MIN(FT_BLOCK, x->count - at);
        ft_store_at(y, at, ft_load(tmp, x, at, n), n);
    }
}

void FT_CPU(permute)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
    int nd = x->ndim;
    int64_t stride[FT_MAX_DIMS], ys[FT_MAX_DIMS];
    int64_t s = 1;
    for (int i = nd - 1; i >= 0; i--) ys[i] = s, s *= x->dim[i];
    for (int i = 0; i < nd; i++) stride[i] = ys[c->attr->permute.perm[i]];
    int inner = nd - 1; /* trailing axes that stay in place are one run */
    int64_t run = 1;
    while (inner >= 0 && c->attr->permute.perm[inner] == inner) run *= x->dim[inner--];
    size_t e = ft_size(x->dtype);
    if (run > 1) {
        int64_t rows = x->count / run;
#pragma omp parallel for if (x->count > FT_SMALL)
        for (int64_t r = 0; r < rows; r++) {
            int64_t rest = r, from = 0;
            for (int i = inner; i >= 0; i--) from += rest % y->dim[i] * stride[i], rest /= y->dim[i];
            memcpy(ft_at(y, r * run), ft_at(x, from), (size_t)run * e);
        }
        return;
    }
    int64_t n = y->dim[nd - 1], rows = x->count / n, step = stride[nd - 1];
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t rest = r, from = 0;
        for (int i = nd - 2; i >= 0; i--) from += rest % y->dim[i] * stride[i], rest /= y->dim[i];
        if (e == 4)
            for (int64_t k = 0; k < n; k++) ((uint32_t *)y->data)[r * n + k] = ((const uint32_t *)x->data)[from + k * step];
        else
            for (int64_t k = 0; k < n; k++) ((uint16_t *)y->data)[r * n + k] = ((const uint16_t *)x->data)[from + k * step];
    }
}

/* x as (before, axis, after) */
static void split_at(const ft_buf *b, int axis, int64_t *before, int64_t *after)
{
    *before = *after = 1;
    for (int i = 0; i < b->ndim; i++) {
        if (i < axis) *before *= b->dim[i];
        if (i > axis) *after *= b->dim[i];
    }
}

void FT_CPU(concat)(const ft_call *c)
{
    ft_buf *y = c->out[0];
    int axis = c->attr->span.axis;
    int64_t before, after, start = 0;
    split_at(y, axis, &before, &after);
    size_t e = ft_size(y->dtype);
    for (int i = 0; i < c->n_in; i++) {
        int64_t n = c->in[i]->dim[axis] * after;
#pragma omp parallel for if (c->in[i]->count > FT_SMALL)
        for (int64_t r = 0; r < before; r++)
            memcpy(ft_at(y, r * y->dim[axis] * after + start), ft_at(c->in[i], r * n), (size_t)n * e);
        start += n;
    }
}

void FT_CPU(slice)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int axis = c->attr->span.axis;
    int64_t before, after;
    split_at(x, axis, &before, &after);
    int64_t n = c->attr->span.length * after;
#pragma omp parallel for if (c->out[0]->count > FT_SMALL)
    for (int64_t r = 0; r < before; r++)
        memcpy(ft_at(c->out[0], r * n), ft_at(x, r * x->dim[axis] * after + c->attr->span.start * after),
               (size_t)n * ft_size(x->dtype));
}

void FT_CPU(slice_bwd)(const ft_call *c)
{
    ft_buf *dx = c->out[0];
    int axis = c->attr->span.axis;
    int64_t before, after;
    split_at(dx, axis, &before, &after);
    int64_t n = c->attr->span.length * after, whole = dx->dim[axis] * after, start = c->attr->span.start * after;
    size_t e = ft_size(dx->dtype);
#pragma omp parallel for if (dx->count > FT_SMALL)
    for (int64_t r = 0; r < before; r++) {
        memset(ft_at(dx, r * whole), 0, (size_t)start * e);
        memcpy(ft_at(dx, r * whole + start), ft_at(c->in[0], r * n), (size_t)n * e);
        memset(ft_at(dx, r * whole + start + n), 0, (size_t)(whole - start - n) * e);
    }
}

void FT_CPU(gather_rows)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t width = ft_last(x), t = x->dim[x->ndim - 2], rows = x->count / width;
    size_t e = ft_size(x->dtype);
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++)
        memcpy(ft_at(c->out[0], r * width), ft_at(x, (r / t * t + c->attr->gather.index[r % t]) * width), (size_t)width * e);
}

void FT_CPU(pad_front)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int axis = c->attr->span.axis;
    int64_t before, after, pad = c->attr->span.length;
    split_at(x, axis, &before, &after);
    size_t e = ft_size(x->dtype);
    int64_t n = x->dim[axis] * after, whole = n + pad * after;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < before; r++) {
        for (int64_t k = 0; k < pad; k++) {
            if (c->attr->span.replicate) memcpy(ft_at(c->out[0], r * whole + k * after), ft_at(x, r * n), (size_t)after * e);
            else memset(ft_at(c->out[0], r * whole + k * after), 0, (size_t)after * e);
        }
        memcpy(ft_at(c->out[0], r * whole + pad * after), ft_at(x, r * n), (size_t)n * e);
    }
}

void FT_CPU(pad_front_bwd)(const ft_call *c)
{
    ft_buf *dx = c->out[0];
    int axis = c->attr->span.axis;
    int64_t before, after, pad = c->attr->span.length;
    split_at(dx, axis, &before, &after);
    int64_t n = dx->dim[axis] * after, whole = n + pad * after;
#pragma omp parallel for if (dx->count > FT_SMALL)
    for (int64_t r = 0; r < before; r++) {
        memcpy(ft_at(dx, r * n), ft_at(c->in[0], r * whole + pad * after), (size_t)n * ft_size(dx->dtype));
        if (!c->attr->span.replicate) continue;
        for (int64_t at = 0; at < after; at += FT_BLOCK) {
            float sum[FT_BLOCK], tmp[FT_BLOCK];
            int64_t m = FT_MIN(FT_BLOCK, after - at);
            memcpy(sum, ft_load(tmp, c->in[0], r * whole + pad * after + at, m), (size_t)m * sizeof(float));
            for (int64_t k = 0; k < pad; k++) {
                const float *d = ft_load(tmp, c->in[0], r * whole + k * after + at, m);
                for (int64_t i = 0; i < m; i++) sum[i] += d[i];
            }
            ft_store_at(dx, r * n + at, sum, m);
        }
    }
}

void FT_CPU(upsample)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
    const int64_t *f = c->attr->upsample.factor;
    int64_t width = y->dim[4], rows = y->count / width;
    size_t e = ft_size(x->dtype);
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t w = r % y->dim[3], h = r / y->dim[3] % y->dim[2], t = r / (y->dim[3] * y->dim[2]) % y->dim[1],
                b = r / (y->dim[3] * y->dim[2] * y->dim[1]);
        int64_t from = ((b * x->dim[1] + t / f[0]) * x->dim[2] + h / f[1]) * x->dim[3] + w / f[2];
        memcpy(ft_at(y, r * width), ft_at(x, from * width), (size_t)width * e);
    }
}

void FT_CPU(upsample_bwd)(const ft_call *c)
{
    const ft_buf *dy = c->in[0];
    ft_buf *dx = c->out[0];
    const int64_t *f = c->attr->upsample.factor;
    int64_t width = dx->dim[4], rows = dx->count / width;
#pragma omp parallel for if (dy->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        int64_t w = r % dx->dim[3], h = r / dx->dim[3] % dx->dim[2], t = r / (dx->dim[3] * dx->dim[2]) % dx->dim[1],
                b = r / (dx->dim[3] * dx->dim[2] * dx->dim[1]);
        for (int64_t at = 0; at < width; at += FT_BLOCK) {
            float sum[FT_BLOCK] = {0}, tmp[FT_BLOCK];
            int64_t m = FT_MIN(FT_BLOCK, width - at);
            for (int64_t i = 0; i < f[0]; i++)
                for (int64_t j = 0; j < f[1]; j++)
                    for (int64_t k = 0; k < f[2]; k++) {
                        int64_t from = ((b * dy->dim[1] + t * f[0] + i) * dy->dim[2] + h * f[1] + j) * dy->dim[3] + w * f[2] + k;
                        const float *d = ft_load(tmp, dy, from * width + at, m);
                        for (int64_t q = 0; q < m; q++) sum[q] += d[q];
                    }
            ft_store_at(dx, r * width + at, sum, m);
        }
    }
}
