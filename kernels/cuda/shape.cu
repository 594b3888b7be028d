/* Shape ops: copies of 2- or 4-byte elements, no arithmetic except the sums of a resampling. */
#include "kernels/cuda/cuda.cuh"

template <int N> static __global__ void narrow(bf16 *y, const float *x, int64_t n)
{
    FT_EACH(i, n / N)
    {
        float v[N];
        ft_read<N>(v, x + i * N);
        ft_write<N>(y + i * N, v);
    }
}
template <int N> static __global__ void widen(float *y, const bf16 *x, int64_t n)
{
    FT_EACH(i, n / N)
    {
        float v[N];
        ft_read<N>(v, x + i * N);
        ft_write<N>(y + i * N, v);
    }
}

extern "C" int ft_cuda_narrow(uint16_t *dst, const float *src, int64_t n)
{
    if (n % 4 == 0 && ft_aligned(dst) && ft_aligned(src)) FT_RUN((narrow<4>), n / 4, (bf16 *)dst, src, n);
    else FT_RUN((narrow<1>), n, (bf16 *)dst, src, n);
    return FT_OK;
}

extern "C" void ft_cuda_cast(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t n = x->count;
    bool wide = n % 4 == 0 && ft_aligned(x) && ft_aligned(y);
    FT_ASSERT(x->dtype != y->dtype && x->dtype != FT_I32 && y->dtype != FT_I32);
    if (y->dtype == FT_BF16) ft_cuda_narrow(ft_as<uint16_t>(y), ft_as<const float>(x), n);
    else if (wide) FT_RUN((widen<4>), n / 4, ft_as<float>(y), ft_as<const bf16>(x), n);
    else FT_RUN((widen<1>), n, ft_as<float>(y), ft_as<const bf16>(x), n);
}

/* ---- bits are moved as units of 2, 4 or 16 bytes ------------------------------------------------------------------------ */

struct alignas(16) unit16 {
    uint32_t v[4];
};

static inline size_t size_of(const ft_buf *b) { return b->dtype == FT_BF16 ? 2 : 4; }

/* Runs a statement with U = the widest unit that divides `bytes` and fits the addresses */
#define BY_UNIT(bytes, p, q, ...)                                                                                                \
    do {                                                                                                                         \
        if ((bytes) % 16 == 0 && ft_aligned(p) && ft_aligned(q)) {                                                               \
            typedef unit16 U;                                                                                                    \
            __VA_ARGS__;                                                                                                         \
        } else if ((bytes) % 4 == 0 && ((uintptr_t)(p)->data & 3) == 0 && ((uintptr_t)(q)->data & 3) == 0) {                     \
            typedef uint32_t U;                                                                                                  \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            typedef uint16_t U;                                                                                                  \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

struct layout { /* of a permutation: y's dims down to `inner`, and x's strides for them, in units */
    int inner;
    int64_t dim[FT_MAX_DIMS], stride[FT_MAX_DIMS], run;
};

template <typename U> static __global__ void permute_runs(U *y, const U *x, int64_t n, layout l)
{
    FT_EACH(i, n)
    {
        int64_t row = i / l.run, from = i - row * l.run;
#pragma unroll
        for (int k = FT_MAX_DIMS - 1; k >= 0; k--) /* an index that is known: the arrays stay in constant memory */
            if (k <= l.inner) from += row % l.dim[k] * l.stride[k], row /= l.dim[k];
        y[i] = x[from];
    }
}

enum { TILE = 32, TILE_ROWS = 8 };

struct turn { /* the last axis moves: tiles of (axis that becomes the last) x (last axis) */
    int nd, turned;
    int64_t n, m, from_step, to_step, dim[FT_MAX_DIMS], from[FT_MAX_DIMS], to[FT_MAX_DIMS], tn, tm;
};

template <typename U> static __global__ void permute_tiles(U *y, const U *x, turn t, int64_t tasks)
{
    FT_SHARED(U, tile, [TILE][TILE + 1]);
    for (int64_t task = blockIdx.x; task < tasks; task += gridDim.x) {
        int64_t rest = task / (t.tn * t.tm), i0 = task / t.tm % t.tn * TILE, j0 = task % t.tm * TILE, from = 0, to = 0;
        for (int k = t.nd - 2; k >= 0; k--) {
            if (k == t.turned) continue;
            from += rest % t.dim[k] * t.from[k], to += rest % t.dim[k] * t.to[k], rest /= t.dim[k];
        }
        int lane = (int)threadIdx.x % TILE, row = (int)threadIdx.x / TILE;
        for (int i = row; i < TILE; i += TILE_ROWS)
            if (i0 + i < t.n && j0 + lane < t.m) tile[i][lane] = x[from + (i0 + i) * t.from_step + j0 + lane];
        __syncthreads();
        for (int j = row; j < TILE; j += TILE_ROWS)
            if (j0 + j < t.m && i0 + lane < t.n) y[to + (j0 + j) * t.to_step + i0 + lane] = tile[lane][j];
        __syncthreads();
    }
}

extern "C" void ft_cuda_permute(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    const int *perm = c->attr->permute.perm;
    int nd = x->ndim, inner = nd - 1;
    int64_t xs[FT_MAX_DIMS], ys[FT_MAX_DIMS], s = 1, run = 1;
    for (int i = nd - 1; i >= 0; i--) xs[i] = s, s *= x->dim[i];
    s = 1;
    for (int i = nd - 1; i >= 0; i--) ys[i] = s, s *= y->dim[i];
    while (inner >= 0 && perm[inner] == inner) run *= x->dim[inner--];
    if (run > 1 || inner < 0) {
        size_t e = size_of(x);
        BY_UNIT((size_t)run * e, x, y, {
            layout l;
            int64_t per = (int64_t)(sizeof(U) / (sizeof(U) < e ? sizeof(U) : e));
            memset(&l, 0, sizeof l);
            l.inner = inner, l.run = run / per;
            for (int k = 0; k <= inner; k++) l.dim[k] = y->dim[k], l.stride[k] = xs[perm[k]] / per;
            FT_RUN((permute_runs<U>), x->count / per, ft_as<U>(y), ft_as<const U>(x), x->count / per, l);
        });
        return;
    }
    turn t;
    memset(&t, 0, sizeof t);
    t.nd = nd;
    while (perm[t.turned] != nd - 1) t.turned++;
    t.n = y->dim[nd - 1], t.from_step = xs[perm[nd - 1]], t.m = x->dim[nd - 1], t.to_step = ys[t.turned];
    t.tn = ft_ceil(t.n, TILE), t.tm = ft_ceil(t.m, TILE);
    for (int k = 0; k < nd; k++) t.dim[k] = y->dim[k], t.from[k] = xs[perm[k]], t.to[k] = ys[k];
    int64_t tasks = x->count / t.n / t.m * t.tn * t.tm;
    if (x->dtype == FT_BF16)
        FT_LAUNCH((permute_tiles<uint16_t>), ft_blocks(tasks, 1), TILE * TILE_ROWS, 0, ft_cuda_stream, ft_as<uint16_t>(y),
                  ft_as<const uint16_t>(x), t, tasks);
    else
        FT_LAUNCH((permute_tiles<uint32_t>), ft_blocks(tasks, 1), TILE * TILE_ROWS, 0, ft_cuda_stream, ft_as<uint32_t>(y),
                  ft_as<const uint32_t>(x), t, tasks);
}

/* rows of `run` units: y row r begins at r * y_step + y_at, x row r at r * x_step + x_at */
template <typename U>
static __global__ void copy_rows(U *y, const U *x, int64_t rows, int64_t run, int64_t y_step, int64_t y_at, int64_t x_step,
                                 int64_t x_at)
{
    FT_EACH(i, rows * run)
    {
        int64_t r = i / run, k = i - r * run;
        y[r * y_step + y_at + k] = x[r * x_step + x_at + k];
    }
}

static int64_t common(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b, b = r;
    }
    return a;
}

static void copy(const ft_buf *y, const ft_buf *x, int64_t rows, int64_t run, int64_t y_step, int64_t y_at, int64_t x_step,
                 int64_t x_at)
{
    size_t e = size_of(x), unit = (size_t)common(common(common(run, y_step), common(y_at, x_step)), x_at) * e;
    BY_UNIT(unit, x, y, {
        int64_t per = (int64_t)(sizeof(U) / e);
        if (per == 0) per = 1; /* f32 always has 4 bytes, so U is at least as wide */
        FT_RUN((copy_rows<U>), rows * run / per, ft_as<U>(y), ft_as<const U>(x), rows, run / per, y_step / per, y_at / per,
               x_step / per, x_at / per);
    });
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
static char *at(const ft_buf *b, int64_t i) { return (char *)b->data + (size_t)i * size_of(b); }

struct pieces { /* what a concat copies: of each input its address, the length of a row and where it goes, in units */
    const void *from[FT_MAX_IN];
    int64_t run[FT_MAX_IN], at[FT_MAX_IN], end[FT_MAX_IN]; /* end: of its units among those of all */
    int n;
};

template <typename U> static __global__ void copy_pieces(U *y, pieces p, int64_t all, int64_t whole)
{
    FT_EACH(i, all)
    {
        int64_t begin = 0;
#pragma unroll
        for (int k = 0; k < FT_MAX_IN; k++) { /* an index that is known: the arrays stay in constant memory */
            if (k < p.n && i >= begin && i < p.end[k]) {
                int64_t e = i - begin, r = e / p.run[k];
                y[r * whole + p.at[k] + e - r * p.run[k]] = ((const U *)p.from[k])[e];
            }
            if (k < p.n) begin = p.end[k];
        }
    }
}

extern "C" void ft_cuda_concat(const ft_call *c)
{
    const ft_buf *y = c->out[0];
    ft_buf all_in = *y; /* its address is aligned as the least aligned of all */
    uintptr_t bits = 0;
    int axis = c->attr->span.axis;
    int64_t before, after, start = 0, unit = 0, all = 0;
    pieces p;
    memset(&p, 0, sizeof p);
    split_at(y, axis, &before, &after);
    for (int i = 0; i < c->n_in; i++) {
        int64_t n = c->in[i]->dim[axis] * after;
        if (at(y, start) != (char *)c->in[i]->data) { /* else it was made in place (plan.c) */
            p.from[p.n] = c->in[i]->data, p.run[p.n] = n, p.at[p.n++] = start;
            unit = common(common(unit, n), start);
            bits |= (uintptr_t)c->in[i]->data;
        }
        start += n;
    }
    if (!p.n) return;
    all_in.data = (void *)bits;
    size_t e = size_of(y);
    BY_UNIT((size_t)common(unit, y->dim[axis] * after) * e, y, &all_in, {
        int64_t per = sizeof(U) < e ? 1 : (int64_t)(sizeof(U) / e);
        for (int k = 0; k < p.n; k++) p.run[k] /= per, p.at[k] /= per, all += before * p.run[k], p.end[k] = all;
        FT_RUN((copy_pieces<U>), all, ft_as<U>(y), p, all, y->dim[axis] * after / per);
    });
}

extern "C" void ft_cuda_slice(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int axis = c->attr->span.axis;
    int64_t before, after;
    split_at(x, axis, &before, &after);
    int64_t n = c->attr->span.length * after, start = c->attr->span.start * after;
    if ((char *)y->data != at(x, start)) copy(y, x, before, n, n, 0, x->dim[axis] * after, start);
}

template <typename U> static __global__ void pad_rows(U *y, const U *x, int64_t rows, int64_t whole, int64_t front, int64_t run)
{
    FT_EACH(i, rows * whole)
    {
        int64_t r = i / whole, k = i - r * whole - front;
        U v;
        memset(&v, 0, sizeof v);
        y[i] = k >= 0 && k < run ? x[r * run + k] : v;
    }
}

extern "C" void ft_cuda_pad(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int axis = c->attr->span.axis;
    int64_t before, after;
    split_at(y, axis, &before, &after);
    int64_t n = x->dim[axis] * after, whole = y->dim[axis] * after, front = c->attr->span.start * after;
    size_t e = size_of(x);
    BY_UNIT((size_t)common(common(n, whole), front) * e, x, y, {
        int64_t per = (int64_t)(sizeof(U) / e);
        if (per == 0) per = 1;
        FT_RUN((pad_rows<U>), y->count / per, ft_as<U>(y), ft_as<const U>(x), before, whole / per, front / per, n / per);
    });
}

/* ---- y row r = sum of weight[e] * x row index[e]: gathers, rolls, replicated padding, resizing, and their transposes ---- */

struct map_table {
    const void *begin, *index, *weight;
};

static void free_map(void *p)
{
    map_table *m = (map_table *)p;
    ft_cuda_free((void *)m->begin);
    ft_cuda_free((void *)m->index);
    ft_cuda_free((void *)m->weight);
    free(m);
}

extern "C" int ft_cuda_prepare_resample(ft_call *c)
{
    const ft_sparse *s = &c->attr->resample.map;
    size_t entries = (size_t)s->begin[s->rows];
    map_table *m = (map_table *)calloc(1, sizeof *m);
    if (!m) return FT_FAIL(FT_ENOMEM, "no memory for a resampling");
    c->state = m;
    c->free_state = free_map;
    FT_TRY(ft_cuda_table(&m->begin, s->begin, ((size_t)s->rows + 1) * sizeof(int32_t)));
    FT_TRY(ft_cuda_table(&m->index, s->index, entries * sizeof(int32_t)));
    if (s->weight) FT_TRY(ft_cuda_table(&m->weight, s->weight, entries * sizeof(float)));
    return FT_OK;
}

/* The columns of a row in parts: each a buffer of its own on one side or on both, where it begins among all columns */
struct column_parts {
    const void *x[FT_MAX_OUT];
    void *y[FT_MAX_OUT];
    int64_t x_row[FT_MAX_OUT], y_row[FT_MAX_OUT], begin[FT_MAX_OUT];
    int n;
};

template <typename T, int N>
static __global__ void resample(column_parts p, const int32_t *begin, const int32_t *index, const float *weight, int64_t n,
                                int64_t rows, int64_t from, int64_t after)
{
    FT_EACH(i, n / N)
    {
        int64_t k = i * N % after, r = i * N / after % rows, b = i * N / after / rows, x_row = p.x_row[0], y_row = p.y_row[0];
        const T *x = (const T *)p.x[0];
        T *y = (T *)p.y[0];
#pragma unroll
        for (int q = 1; q < FT_MAX_OUT; q++) /* an index that is known: the arrays stay in constant memory */
            if (q < p.n && k >= p.begin[q]) x = (const T *)p.x[q], y = (T *)p.y[q], x_row = p.x_row[q], y_row = p.y_row[q];
        float sum[N], v[N];
#pragma unroll
        for (int j = 0; j < N; j++) sum[j] = 0;
        for (int32_t e = begin[r]; e < begin[r + 1]; e++) {
            float w = weight ? weight[e] : 1.0f;
            ft_read<N>(v, x + (b * from + index[e]) * x_row + k);
#pragma unroll
            for (int j = 0; j < N; j++) sum[j] += w * v[j];
        }
        ft_write<N>(y + (b * rows + r) * y_row + k, sum);
    }
}

extern "C" void ft_cuda_resample(const ft_call *c)
{
    const ft_buf *first = c->in[0];
    const map_table *m = (const map_table *)c->state;
    int64_t before, after, rows = c->attr->resample.map.rows, at = 0;
    column_parts p;
    memset(&p, 0, sizeof p);
    p.n = c->n_in > c->n_out ? c->n_in : c->n_out;
    split_at(c->n_in > 1 ? c->out[0] : first, c->attr->resample.axis, &before, &after);
    bool wide = true;
    for (int i = 0; i < p.n; i++) { /* an address is that of the row's first column, though a part may begin behind it */
        const ft_buf *x = c->in[c->n_in > 1 ? i : 0], *y = c->out[c->n_out > 1 ? i : 0];
        int64_t width = p.n == 1 ? after : (c->n_in > 1 ? x : y)->dim[x->ndim - 1];
        p.begin[i] = at, p.x_row[i] = c->n_in > 1 ? width : after, p.y_row[i] = c->n_out > 1 ? width : after;
        p.x[i] = (const char *)x->data - (c->n_in > 1 ? (size_t)at * size_of(x) : 0);
        p.y[i] = (char *)y->data - (c->n_out > 1 ? (size_t)at * size_of(y) : 0);
        wide = wide && ft_wide(x, width) && ft_wide(y, width);
        at += width;
    }
    FT_BY_TYPE(first->dtype, FT_BY_WIDTH(wide, FT_RUN((resample<T, N>), before * rows * after / N, p, (const int32_t *)m->begin,
                                                      (const int32_t *)m->index, (const float *)m->weight, before * rows * after,
                                                      rows, first->dim[c->attr->resample.axis], after)));
}
