/* Shape ops: copies of 2- or 4-byte elements, no arithmetic except the sums of the backward ops. */
#include "kernels/cpu/gemm.h"

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

enum { TILE = 32 };

static int64_t ys_of(const ft_buf *y, int axis) /* elements between neighbours along an axis */
{
    int64_t s = 1;
    for (int i = axis + 1; i < y->ndim; i++) s *= y->dim[i];
    return s;
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
    /* the last axis moves: tiles of (axis that becomes the last) x (last axis), turned over in registers */
    int turned = 0;
    while (c->attr->permute.perm[turned] != nd - 1) turned++;
    int64_t n = y->dim[nd - 1], from_step = stride[nd - 1], m = x->dim[nd - 1], to_step = ys_of(y, turned),
            outer = x->count / n / m;
    int64_t tn = (n + TILE - 1) / TILE, tm = (m + TILE - 1) / TILE;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < outer * tn * tm; task++) {
        int64_t rest = task / (tn * tm), i0 = task / tm % tn * TILE, j0 = task % tm * TILE, from = 0, to = 0;
        for (int i = nd - 2; i >= 0; i--) {
            if (i == turned) continue;
            from += rest % y->dim[i] * stride[i], to += rest % y->dim[i] * ys_of(y, i), rest /= y->dim[i];
        }
        float in[TILE * TILE], out[TILE * TILE];
        int64_t ni = FT_MIN(TILE, n - i0), nj = FT_MIN(TILE, m - j0);
        for (int64_t i = 0; i < ni; i++) { /* bits are moved, not values: two bytes ride in the upper half of four */
            int64_t at = from + (i0 + i) * from_step + j0;
            if (e == 4) memcpy(in + i * TILE, (const float *)x->data + at, (size_t)nj * 4);
            else ft_widen(in + i * TILE, (const uint16_t *)x->data + at, nj);
        }
        ft_transpose(in, TILE, ni, nj, out, TILE);
        for (int64_t j = 0; j < nj; j++) {
            int64_t at = to + (j0 + j) * to_step + i0;
            if (e == 4) memcpy((float *)y->data + at, out + j * TILE, (size_t)ni * 4);
            else
                for (int64_t i = 0; i < ni; i++)
                    ((uint16_t *)y->data)[at + i] = (uint16_t)(((const uint32_t *)(const void *)(out + j * TILE))[i] >> 16);
        }
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
        if (ft_at(y, start) != (char *)c->in[i]->data) { /* else it was made in place (plan.c) */
#pragma omp parallel for if (c->in[i]->count > FT_SMALL)
            for (int64_t r = 0; r < before; r++)
                memcpy(ft_at(y, r * y->dim[axis] * after + start), ft_at(c->in[i], r * n), (size_t)n * e);
        }
        start += n;
    }
}

void FT_CPU(slice)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int axis = c->attr->span.axis;
    int64_t before, after;
    split_at(x, axis, &before, &after);
    int64_t n = c->attr->span.length * after, start = c->attr->span.start * after;
    if ((char *)c->out[0]->data == ft_at(x, start)) return; /* a view */
#pragma omp parallel for if (c->out[0]->count > FT_SMALL)
    for (int64_t r = 0; r < before; r++)
        memcpy(ft_at(c->out[0], r * n), ft_at(x, r * x->dim[axis] * after + start), (size_t)n * ft_size(x->dtype));
}

void FT_CPU(pad)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
    int axis = c->attr->span.axis;
    int64_t before, after;
    split_at(y, axis, &before, &after);
    int64_t n = x->dim[axis] * after, whole = y->dim[axis] * after, front = c->attr->span.start * after;
    size_t e = ft_size(x->dtype);
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t r = 0; r < before; r++) {
        memset(ft_at(y, r * whole), 0, (size_t)front * e);
        memcpy(ft_at(y, r * whole + front), ft_at(x, r * n), (size_t)n * e);
        memset(ft_at(y, r * whole + front + n), 0, (size_t)(whole - front - n) * e);
    }
}

/* A part of the columns: where it begins in a row of x and of y, how wide it and the rows are */
typedef struct {
    int64_t width, x_at, x_row, y_at, y_row;
} columns;

/* rows of a few values, colours say, where a call for each would cost more than its sums */
enum { NARROW = 8 };
static void resample_narrow(ft_buf *y, const ft_buf *x, const ft_sparse *m, int64_t before, int64_t x_rows, columns p)
{
    float *to = y->data;
    const float *from = x->data;
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t b = 0; b < before; b++)
        for (int64_t r = 0; r < m->rows; r++) {
            float sum[NARROW] = {0}, *row = to + (b * m->rows + r) * p.y_row + p.y_at;
            for (int32_t e = m->begin[r]; e < m->begin[r + 1]; e++) {
                const float *v = from + (b * x_rows + m->index[e]) * p.x_row + p.x_at, w = m->weight ? m->weight[e] : 1.0f;
                for (int64_t i = 0; i < p.width; i++) sum[i] += w * v[i];
            }
            for (int64_t i = 0; i < p.width; i++) row[i] = sum[i];
        }
}

static void resample(ft_buf *y, const ft_buf *x, const ft_sparse *m, int64_t before, int64_t x_rows, columns p)
{
    if (p.width <= NARROW && x->dtype == FT_F32 && y->dtype == FT_F32) {
        resample_narrow(y, x, m, before, x_rows, p);
        return;
    }
    int64_t rows = m->rows, block = p.width < 4 * FT_BLOCK ? p.width : FT_BLOCK,
            blocks = (p.width + block - 1) / block; /* long slices in pieces */
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t task = 0; task < before * rows * blocks; task++) {
        int64_t r = task / blocks % rows, b = task / blocks / rows, at = task % blocks * block, n = FT_MIN(block, p.width - at),
                to = (b * rows + r) * p.y_row + p.y_at + at, from = b * x_rows * p.x_row + p.x_at + at;
        int32_t first = m->begin[r], last = m->begin[r + 1];
        if (last - first == 1 && (!m->weight || m->weight[first] == 1.0f)) {
            memcpy(ft_at(y, to), ft_at(x, from + m->index[first] * p.x_row), (size_t)n * ft_size(x->dtype));
            continue;
        }
        for (int64_t k = 0; k < n; k += FT_BLOCK) {
            float sum[FT_BLOCK], tmp[FT_BLOCK];
            int64_t len = FT_MIN(FT_BLOCK, n - k);
            memset(sum, 0, (size_t)len * sizeof *sum); /* a row may be three colours long */
            for (int32_t e = first; e < last; e++) {
                const float *v = ft_load(tmp, x, from + m->index[e] * p.x_row + k, len);
                float w = m->weight ? m->weight[e] : 1.0f;
                for (int64_t i = 0; i < len; i++) sum[i] += w * v[i];
            }
            ft_store_at(y, to + k, sum, len);
        }
    }
}

/* y row r = sum of weight[e] * x row index[e]: gathers, rolls, replicated padding, resizing, and their transposes. Of several
 * outputs each gets a part of x's columns; several inputs are such parts. */
void FT_CPU(resample)(const ft_call *c)
{
    int axis = c->attr->resample.axis;
    int64_t before, after, x_at = 0, y_at = 0;
    split_at(c->in[0], axis, &before, &after);
    for (int i = 0; i < c->n_in || i < c->n_out; i++) {
        const ft_buf *x = c->in[c->n_in > 1 ? i : 0];
        ft_buf *y = c->out[c->n_out > 1 ? i : 0];
        int64_t width = c->n_in > 1 ? ft_last(x) : c->n_out > 1 ? ft_last(y) : after;
        resample(y, x, &c->attr->resample.map, before, x->dim[axis],
                 (columns){width, x_at, c->n_out > 1 ? ft_last(x) : width, y_at, c->n_in > 1 ? ft_last(y) : width});
        if (c->n_out > 1) x_at += width;
        if (c->n_in > 1) y_at += width;
    }
}
