/* The builders, first half: shape ops, elementwise, products. They check shapes, note a node, and return its output. */
#include <math.h>
#include <string.h>

#include "common/base/antialias.h"
#include "common/base/memory.h"
#include "common/graph/op_build.h"

ft_t ft_cast(ft_graph *g, ft_t x, ft_dtype dtype)
{
    if (g->failed || x->dtype == dtype) return x;
    ft_node *n = ft__node(g, FT_OP_cast, 1, &x);
    return ft__out(g, n, dtype, x->ndim, x->dim);
}

ft_t ft_permute(ft_graph *g, ft_t x, const int *perm)
{
    NEED(x->ndim <= FT_MAX_DIMS, "too many dims");
    ft_node *n = ft__node(g, FT_OP_permute, 1, &x);
    int64_t dim[FT_MAX_DIMS];
    unsigned seen = 0;
    for (int i = 0; i < x->ndim; i++) dim[i] = x->dim[perm[i]], seen |= 1u << perm[i];
    NEED(seen == (1u << x->ndim) - 1, "not a permutation of %d axes", x->ndim);
    memcpy(n->attr.permute.perm, perm, sizeof(int) * (size_t)x->ndim);
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

ft_t ft_concat(ft_graph *g, int axis, int count, const ft_t *x)
{
    NEED(count >= 1 && count <= FT_MAX_IN, "%d tensors, at most %d", count, FT_MAX_IN);
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x[0]->dim, sizeof dim);
    dim[axis] = 0;
    for (int k = 0; k < count; k++) {
        for (int i = 0; i < x[0]->ndim; i++)
            NEED(x[k]->ndim == x[0]->ndim && x[k]->dtype == x[0]->dtype && (i == axis || x[k]->dim[i] == x[0]->dim[i]),
                 "%s beside %s", ft__shape(x[k]), ft__shape(x[0]));
        dim[axis] += x[k]->dim[axis];
    }
    ft_node *n = ft__node(g, FT_OP_concat, count, x);
    if (n) n->attr.span.axis = axis;
    return ft__out(g, n, x[0]->dtype, x[0]->ndim, dim);
}

ft_t ft_slice(ft_graph *g, ft_t x, int axis, int64_t start, int64_t length)
{
    if (axis < 0) axis += x->ndim;
    NEED(axis >= 0 && axis < x->ndim && start >= 0 && length > 0 && start + length <= x->dim[axis], "%lld+%lld on axis %d of %s",
         (long long)start, (long long)length, axis, ft__shape(x));
    if (length == x->dim[axis]) return x;
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = length;
    ft_node *n = ft__node(g, FT_OP_slice, 1, &x);
    if (n) n->attr.span.axis = axis, n->attr.span.start = start, n->attr.span.length = length;
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

ft_t ft_select(ft_graph *g, ft_t x, int axis, int64_t index)
{
    if (axis < 0) axis += x->ndim;
    NEED(x->ndim > 1, "%s has one axis only", ft__shape(x));
    ft_t y = ft_slice(g, x, axis, index, 1);
    int64_t dim[FT_MAX_DIMS];
    for (int i = 0, k = 0; i < y->ndim; i++)
        if (i != axis) dim[k++] = y->dim[i];
    return ft_reshape(g, y, x->ndim - 1, dim);
}

ft_t ft_pad(ft_graph *g, ft_t x, int axis, int64_t front, int64_t back)
{
    if (axis < 0) axis += x->ndim;
    NEED(axis >= 0 && axis < x->ndim && front >= 0 && back >= 0, "%lld and %lld on axis %d of %s", (long long)front,
         (long long)back, axis, ft__shape(x));
    if (front + back == 0) return x;
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] += front + back;
    ft_node *n = ft__node(g, FT_OP_pad, 1, &x);
    if (n) n->attr.span.axis = axis, n->attr.span.start = front, n->attr.span.length = back;
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

/* ---- resampling along one axis: a sparse matrix and its transpose, so that the gradient is a resampling again ------------- */

static bool copy_map(ft_graph *g, ft_sparse *to, const ft_sparse *from)
{
    size_t entries = (size_t)from->begin[from->rows];
    int32_t *begin = ft_arena_alloc(g->arena, ((size_t)from->rows + 1) * sizeof *begin),
            *index = ft_arena_alloc(g->arena, (entries + 1) * sizeof *index);
    float *weight = from->weight ? ft_arena_alloc(g->arena, (entries + 1) * sizeof *weight) : NULL;
    if (!begin || !index || (from->weight && !weight)) return false;
    memcpy(begin, from->begin, ((size_t)from->rows + 1) * sizeof *begin);
    memcpy(index, from->index, entries * sizeof *index);
    if (weight) memcpy(weight, from->weight, entries * sizeof *weight);
    *to = (ft_sparse){from->rows, begin, index, weight};
    return true;
}

static bool transpose_map(ft_graph *g, ft_sparse *to, const ft_sparse *from, int64_t rows)
{
    int32_t entries = from->begin[from->rows], *begin = ft_arena_alloc(g->arena, ((size_t)rows + 2) * sizeof *begin),
            *index = ft_arena_alloc(g->arena, ((size_t)entries + 1) * sizeof *index);
    float *weight = from->weight ? ft_arena_alloc(g->arena, ((size_t)entries + 1) * sizeof *weight) : NULL;
    if (!begin || !index || (from->weight && !weight)) return false;
    memset(begin, 0, ((size_t)rows + 2) * sizeof *begin);
    for (int32_t e = 0; e < entries; e++) begin[from->index[e] + 2]++;
    for (int64_t r = 0; r < rows; r++) begin[r + 2] += begin[r + 1];
    for (int32_t r = 0; r < from->rows; r++) /* begin[i + 1] walks to its final place */
        for (int32_t e = from->begin[r]; e < from->begin[r + 1]; e++) {
            int32_t at = begin[from->index[e] + 1]++;
            index[at] = r;
            if (weight) weight[at] = from->weight[e];
        }
    *to = (ft_sparse){rows, begin, index, weight};
    return true;
}

ft_t ft_resample_parts(ft_graph *g, ft_t x, int axis, const ft_sparse *map, int n, const int64_t *width, ft_t *y)
{
    int64_t all = 0;
    for (int i = 0; i < n; i++) y[i] = &g->dead;
    if (axis < 0) axis += x->ndim;
    NEED(axis >= 0 && axis < x->ndim && map->rows > 0, "axis %d of %s", axis, ft__shape(x));
    for (int i = 0; i < n; i++) all += width[i];
    NEED(n >= 1 && n <= FT_MAX_OUT && (n == 1 || axis == x->ndim - 2) && all == x->dim[x->ndim - 1],
         "%d parts of %lld along the last axis of %s, axis %d", n, (long long)all, ft__shape(x), axis);
    for (int32_t e = 0; e < map->begin[map->rows]; e++)
        NEED(map->index[e] >= 0 && map->index[e] < x->dim[axis], "entry %d reads row %d of %s", e, map->index[e], ft__shape(x));
    ft_node *node = ft__node(g, FT_OP_resample, 1, &x);
    NEED(node && copy_map(g, &node->attr.resample.map, map) && transpose_map(g, &node->attr.resample.back, map, x->dim[axis]),
         "no memory");
    node->attr.resample.axis = axis;
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = map->rows;
    for (int i = 0; i < n; i++) {
        if (n > 1) dim[x->ndim - 1] = width[i];
        y[i] = ft__out(g, node, x->dtype, x->ndim, dim);
    }
    return y[0];
}

ft_t ft_resample(ft_graph *g, ft_t x, int axis, const ft_sparse *map)
{
    ft_t y;
    return ft_resample_parts(g, x, axis, map, 1, &x->dim[x->ndim - 1], &y);
}

/* row r reads row index[r] */
static ft_t by_index(ft_graph *g, ft_t x, int axis, int64_t rows, const int32_t *index)
{
    int32_t *begin = ft_arena_alloc(g->arena, ((size_t)rows + 1) * sizeof *begin);
    NEED(begin, "no memory");
    for (int32_t r = 0; r <= rows; r++) begin[r] = r;
    return ft_resample(g, x, axis, &(ft_sparse){rows, begin, index, NULL});
}

ft_t ft_gather_rows(ft_graph *g, ft_t x, const int32_t *permutation)
{
    NEED(x->ndim >= 2, "%s", ft__shape(x));
    return by_index(g, x, x->ndim - 2, x->dim[x->ndim - 2], permutation);
}

ft_t ft_pad_front(ft_graph *g, ft_t x, int axis, int64_t count, bool replicate)
{
    if (!replicate || count == 0) return ft_pad(g, x, axis, count, 0);
    NEED(axis >= 0 && axis < x->ndim && count > 0, "%lld on axis %d of %s", (long long)count, axis, ft__shape(x));
    int32_t *index = ft_arena_alloc(g->arena, (size_t)(count + x->dim[axis]) * sizeof *index);
    NEED(index, "no memory");
    for (int32_t i = 0; i < count + x->dim[axis]; i++) index[i] = i < count ? 0 : i - (int32_t)count;
    return by_index(g, x, axis, count + x->dim[axis], index);
}

static ft_t turn(ft_graph *g, ft_t x, int axis, int64_t shift, bool flip)
{
    if (axis < 0) axis += x->ndim;
    NEED(axis >= 0 && axis < x->ndim, "axis %d of %s", axis, ft__shape(x));
    int64_t t = x->dim[axis];
    int32_t *index = ft_arena_alloc(g->arena, (size_t)t * sizeof *index);
    NEED(index, "no memory");
    for (int64_t i = 0; i < t; i++) index[i] = (int32_t)(flip ? t - 1 - i : ((i - shift) % t + t) % t);
    return by_index(g, x, axis, t, index);
}
ft_t ft_roll(ft_graph *g, ft_t x, int axis, int64_t shift) { return turn(g, x, axis, shift, false); }
ft_t ft_flip(ft_graph *g, ft_t x, int axis) { return turn(g, x, axis, 0, true); }

/* rows that average over what falls together */
static ft_t resize_smooth(ft_graph *g, ft_t x, int axis, int64_t size, ft_antialias_filter filter, double step)
{
    int64_t most = ft_antialias_most(filter, step), n = 0, from;
    int32_t *begin = ft_arena_alloc(g->arena, ((size_t)size + 1) * sizeof *begin),
            *index = ft_arena_alloc(g->arena, (size_t)(size * most) * sizeof *index);
    float *weight = ft_arena_alloc(g->arena, (size_t)(size * most) * sizeof *weight);
    double *w = ft_arena_alloc(g->arena, (size_t)most * sizeof *w);
    NEED(begin && index && weight && w, "no memory");
    for (int64_t r = 0; r < size; r++) {
        int64_t taps = ft_antialias(filter, x->dim[axis], step, r, &from, w);
        begin[r] = (int32_t)n;
        for (int64_t k = 0; k < taps; k++)
            if (w[k] != 0) index[n] = (int32_t)(from + k), weight[n++] = (float)w[k];
    }
    begin[size] = (int32_t)n;
    return ft_resample(g, x, axis, &(ft_sparse){size, begin, index, weight});
}

ft_t ft_resize(ft_graph *g, ft_t x, int axis, int64_t size, ft_resize_kind kind, double scale)
{
    if (axis < 0) axis += x->ndim;
    NEED(axis >= 0 && axis < x->ndim && size > 0, "axis %d of %s to %lld", axis, ft__shape(x), (long long)size);
    int64_t old = x->dim[axis];
    if (old == size && scale == 0) return x;
    double step = scale > 0 ? 1 / scale : (double)old / (double)size;
    if (kind >= FT_LINEAR_SMOOTH) return resize_smooth(g, x, axis, size, kind == FT_CUBIC_SMOOTH ? FT_KEYS : FT_TENT, step);
    if (kind == FT_LINEAR_CORNERS) step = size > 1 ? (double)(old - 1) / (double)(size - 1) : 0;
    int32_t *begin = ft_arena_alloc(g->arena, ((size_t)size + 1) * sizeof *begin),
            *index = ft_arena_alloc(g->arena, (size_t)size * 4 * sizeof *index), n = 0;
    float *weight = ft_arena_alloc(g->arena, (size_t)size * 4 * sizeof *weight);
    NEED(begin && index && weight, "no memory");
    for (int64_t r = 0; r < size; r++) {
        double at = kind == FT_NEAREST                                   ? floor((double)r * step)
                    : kind == FT_LINEAR_CORNERS || kind == FT_LINEAR_TF1 ? (double)r * step
                                                                         : ((double)r + 0.5) * step - 0.5;
        if (kind == FT_LINEAR && at < 0) at = 0;
        int64_t low = (int64_t)floor(at);
        begin[r] = n;
        for (int64_t k = kind == FT_CUBIC ? -1 : 0; k <= (kind == FT_NEAREST ? 0 : kind == FT_CUBIC ? 2 : 1); k++) {
            double d = at - (double)(low + k), w = kind == FT_NEAREST ? 1
                                                   : kind == FT_CUBIC ? ft_keys_cubic(d, -0.75)
                                                                      : 1 - fabs(d);
            int64_t i = low + k < 0 ? 0 : low + k >= old ? old - 1 : low + k;
            if (w != 0) index[n] = (int32_t)i, weight[n++] = (float)w;
        }
    }
    begin[size] = n;
    return ft_resample(g, x, axis, &(ft_sparse){size, begin, index, kind == FT_NEAREST ? NULL : weight});
}

/* ---- upsampling and pools on (B,T,H,W,C) ----------------------------------------------------------------------------------- */

ft_t ft_upsample(ft_graph *g, ft_t x, const int64_t factor[3])
{
    NEED(x->ndim == 5, "%s, (B,T,H,W,C) needed", ft__shape(x));
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    ft_node *n = ft__node(g, FT_OP_upsample, 1, &x);
    for (int i = 0; i < 3; i++) dim[i + 1] *= factor[i];
    if (n)
        for (int i = 0; i < 3; i++) n->attr.pool.kernel[i] = n->attr.pool.stride[i] = factor[i];
    return ft__out(g, n, x->dtype, 5, dim);
}

ft_t ft_pool(ft_graph *g, ft_t x, ft_pool_kind kind, ft_conv_opt o)
{
    NEED(x->ndim == 5, "%s, (B,T,H,W,C) needed", ft__shape(x));
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    for (int i = 0; i < 3; i++) {
        if (o.kernel[i] == 0) o.kernel[i] = 1;
        if (o.stride[i] == 0) o.stride[i] = 1;
        int64_t span = x->dim[1 + i] + o.pad_front[i] + o.pad_back[i] - o.kernel[i];
        NEED(span >= 0 && o.pad_front[i] < o.kernel[i] && o.pad_back[i] < o.kernel[i], "%s by a window of %lld", ft__shape(x),
             (long long)o.kernel[i]);
        dim[1 + i] = span / o.stride[i] + 1;
    }
    ft_node *n = ft__node(g, FT_OP_pool, 1, &x);
    if (n) {
        n->attr.pool.kind = kind;
        memcpy(n->attr.pool.kernel, o.kernel, sizeof o.kernel);
        memcpy(n->attr.pool.stride, o.stride, sizeof o.stride);
        memcpy(n->attr.pool.pad_front, o.pad_front, sizeof o.pad_front);
    }
    return ft__out(g, n, x->dtype, 5, dim);
}

/* ---- elementwise, reductions, random numbers ---------------------------------------------------------------------------- */

static ft_t scalar_op(ft_graph *g, ft_op op, int n_in, const ft_t *in, int kind, float a, float b)
{
    ft_node *n = ft__node(g, op, n_in, in);
    if (n) n->attr.scalar.kind = kind, n->attr.scalar.a = a, n->attr.scalar.b = b;
    return ft__out_like(g, n, in[0]);
}

ft_t ft_unary(ft_graph *g, ft_unary_kind kind, ft_t x) { return scalar_op(g, FT_OP_unary, 1, &x, kind, 0, 0); }
ft_t ft_clamp(ft_graph *g, ft_t x, float low, float high) { return scalar_op(g, FT_OP_unary, 1, &x, FT_CLAMP, low, high); }
ft_t ft_leaky_relu(ft_graph *g, ft_t x, float slope) { return ft_leaky_relu_within(g, x, slope, INFINITY); }
ft_t ft_leaky_relu_within(ft_graph *g, ft_t x, float slope, float limit)
{
    return scalar_op(g, FT_OP_unary, 1, &x, FT_LEAKY_RELU, slope, limit);
}
ft_t ft_affine(ft_graph *g, ft_t x, float scale, float shift) { return scalar_op(g, FT_OP_affine, 1, &x, 0, scale, shift); }

ft_t ft_dropout(ft_graph *g, ft_t x, float p)
{
    if (p <= 0 || !g->training) return x;
    return scalar_op(g, FT_OP_dropout, 1, &x, 0, p, 0);
}

static ft_t drop_samples(ft_graph *g, int n_in, const ft_t *in, float p)
{
    ft_t y = scalar_op(g, FT_OP_dropout, n_in, in, 0, p, 0);
    if (y->maker) y->maker->attr.scalar.by_sample = true;
    return y;
}
ft_t ft_drop_path(ft_graph *g, ft_t x, float p) { return p <= 0 || !g->training ? x : drop_samples(g, 1, &x, p); }

ft_t ft_residual(ft_graph *g, ft_t x, ft_t h, float p)
{
    if (p <= 0 || !g->training) return ft_add(g, x, h);
    NEED(same(x, h), "%s + %s: one shape and dtype needed", ft__shape(x), ft__shape(h));
    return drop_samples(g, 2, (ft_t[]){h, x}, p);
}

ft_t ft_glu(ft_graph *g, ft_t x, ft_act act, bool gate_last)
{
    NEED(x->dim[x->ndim - 1] % 2 == 0, "%s: an even last axis needed", ft__shape(x));
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[x->ndim - 1] /= 2;
    ft_node *n = ft__node(g, FT_OP_glu, 1, &x);
    if (n) n->attr.scalar.kind = act, n->attr.scalar.a = gate_last;
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

ft_t ft_softmax(ft_graph *g, ft_t x)
{
    NEED_AT_MOST(x->dim[x->ndim - 1], FT_MOST_ROW, x);
    return scalar_op(g, FT_OP_softmax, 1, &x, 0, 0, 0);
}

ft_t ft_rank(ft_graph *g, ft_t x)
{
    NEED_AT_MOST(x->dim[x->ndim - 1], FT_MOST_ROW, x);
    ft_node *n = ft__node(g, FT_OP_rank, 1, &x);
    ft_t y = ft__out(g, n, FT_F32, x->ndim, x->dim);
    y->needs_grad = false;
    return y;
}

ft_t ft_l2_normalize(ft_graph *g, ft_t x, float eps)
{
    NEED_AT_MOST(x->dim[x->ndim - 1], FT_MOST_ROW, x);
    return scalar_op(g, FT_OP_l2_normalize, 1, &x, 0, eps, 0);
}

ft_t ft_binary(ft_graph *g, ft_binary_kind kind, ft_t a, ft_t b)
{
    NEED(a->ndim == b->ndim, "%s with %s: same number of dims needed", ft__shape(a), ft__shape(b));
    for (int i = 0; i < a->ndim; i++)
        NEED(a->dim[i] == b->dim[i] || b->dim[i] == 1, "%s with %s: dim %d", ft__shape(a), ft__shape(b), i);
    return scalar_op(g, FT_OP_binary, 2, (ft_t[]){a, b}, kind, 0, 0);
}

ft_t ft_reduce(ft_graph *g, ft_t x, unsigned axes, bool mean)
{
    NEED(axes < 1u << x->ndim, "axes %#x of %s", axes, ft__shape(x));
    int64_t dim[FT_MAX_DIMS];
    for (int i = 0; i < x->ndim; i++) dim[i] = axes >> i & 1 ? 1 : x->dim[i];
    ft_node *n = ft__node(g, FT_OP_reduce, 1, &x);
    if (n) n->attr.reduce.axes = axes, n->attr.reduce.mean = mean;
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

ft_t ft_broadcast(ft_graph *g, ft_t x, int ndim, const int64_t *dim, float scale)
{
    NEED(x->ndim == ndim, "%s to %d dims", ft__shape(x), ndim);
    for (int i = 0; i < ndim; i++)
        NEED(x->dim[i] == dim[i] || x->dim[i] == 1, "%s: dim %d to %lld", ft__shape(x), i, (long long)dim[i]);
    ft_node *n = ft__node(g, FT_OP_broadcast, 1, &x);
    if (n) n->attr.scalar.a = scale;
    return ft__out(g, n, x->dtype, ndim, dim);
}

ft_t ft_randn(ft_graph *g, ft_dtype dtype, int ndim, const int64_t *dim)
{
    ft_node *n = ft__node(g, FT_OP_randn, 0, NULL);
    return ft__out(g, n, dtype, ndim, dim);
}

ft_t ft_uniform(ft_graph *g, ft_dtype dtype, int ndim, const int64_t *dim)
{
    ft_node *n = ft__node(g, FT_OP_uniform, 0, NULL);
    return ft__out(g, n, dtype, ndim, dim);
}

ft_t ft_q_sample(ft_graph *g, ft_t x0, ft_t coefficient, ft_t *noise)
{
    *noise = &g->dead;
    NEED(is_vector(coefficient, 2 * x0->dim[0]), "x0 %s, coefficient %s: (B,2) f32", ft__shape(x0), ft__shape(coefficient));
    ft_node *n = ft__node(g, FT_OP_q_sample, 2, (ft_t[]){x0, coefficient});
    ft_t y = ft__out_like(g, n, x0);
    *noise = ft__out_like(g, n, x0);
    (*noise)->needs_grad = false;
    return y;
}

ft_t ft_timestep_embed(ft_graph *g, ft_t t, int64_t width)
{
    NEED(t->dtype == FT_F32 && width % 2 == 0, "%s, width %lld", ft__shape(t), (long long)width);
    ft_node *n = ft__node(g, FT_OP_timestep_embed, 1, &t);
    return ft__out(g, n, FT_F32, 2, (int64_t[]){t->count, width});
}

ft_t ft_combine(ft_graph *g, int n, const ft_t *x, ft_t weights, ft_t key, ft_t share)
{
    ft_t in[3 + FT_COMBINED] = {weights, key, share};
    int64_t numbers = 2 * n + (key ? share ? 7 : 3 : 0);
    NEED(n >= 1 && n <= FT_COMBINED, "%d tensors, 1 to %d are possible", n, FT_COMBINED);
    NEED(is_vector(weights, numbers), "weights %s: %lld f32", ft__shape(weights), (long long)numbers);
    NEED(!key || (key->dtype == FT_I32 && key->count == 4), "key %s: (4) i32", ft__shape(key));
    NEED(!share || key, "a share of the variance needs noise");
    for (int k = 0; k < n + (share != NULL); k++) {
        ft_t t = k < n ? x[k] : share;
        NEED(t->dtype == FT_F32 && t->count == x[0]->count && t->dim[0] == x[0]->dim[0], "%s beside %s", ft__shape(t),
             ft__shape(x[0]));
    }
    for (int k = 0; k < n; k++) in[3 + k] = x[k];
    return ft__out_like(g, ft__node(g, FT_OP_combine, 3 + n, in), x[0]);
}

/* ---- products ----------------------------------------------------------------------------------------------------------- */

/* The value before the activation is needed by the backward pass, except ReLU's. So in training the activation is a node. */
static bool fuse(const ft_graph *g, ft_act act) { return act == FT_ACT_NONE || act == FT_ACT_RELU || !g->training; }

ft_unary_kind ft__unary_of(ft_act act)
{
    static const ft_unary_kind kind[] = {[FT_ACT_RELU] = FT_RELU,
                                         [FT_ACT_SILU] = FT_SILU,
                                         [FT_ACT_GELU] = FT_GELU,
                                         [FT_ACT_GELU_TANH] = FT_GELU_TANH,
                                         [FT_ACT_SIGMOID] = FT_SIGMOID};
    return kind[act];
}

static ft_t activate(ft_graph *g, ft_t x, ft_act act) { return act == FT_ACT_NONE ? x : ft_unary(g, ft__unary_of(act), x); }

ft_t ft_linear_act(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_act act)
{
    NEED(x->dim[x->ndim - 1] == w->count / w->dim[0] && is_vector(b, w->dim[0]) && w->dtype == FT_F32, "x %s, w %s", ft__shape(x),
         ft__shape(w));
    if (!fuse(g, act)) return activate(g, ft_linear_act(g, x, w, b, FT_ACT_NONE), act);
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[x->ndim - 1] = w->dim[0];
    ft_node *n = ft__node(g, FT_OP_linear, 3, (ft_t[]){x, w, b});
    if (n) n->attr.matmul.act = act;
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

ft_t ft_linear(ft_graph *g, ft_t x, ft_t w, ft_t b) { return ft_linear_act(g, x, w, b, FT_ACT_NONE); }

ft_t ft_matmul(ft_graph *g, ft_t a, ft_t b, bool ta, bool tb)
{
    int nd = a->ndim;
    NEED(nd >= 2 && nd == b->ndim && a->dtype == b->dtype, "%s by %s", ft__shape(a), ft__shape(b));
    int64_t dim[FT_MAX_DIMS], m = a->dim[nd - 2 + ta], k = a->dim[nd - 1 - ta], n = b->dim[nd - 1 - tb];
    for (int i = 0; i < nd - 2; i++) NEED(a->dim[i] == b->dim[i], "%s by %s: dim %d", ft__shape(a), ft__shape(b), i);
    NEED(b->dim[nd - 2 + tb] == k, "%s%s by %s%s", ft__shape(a), ta ? "^T" : "", ft__shape(b), tb ? "^T" : "");
    memcpy(dim, a->dim, sizeof dim);
    dim[nd - 2] = m;
    dim[nd - 1] = n;
    ft_node *node = ft__node(g, FT_OP_matmul, 2, (ft_t[]){a, b});
    if (node) node->attr.matmul.ta = ta, node->attr.matmul.tb = tb;
    return ft__out(g, node, a->dtype, nd, dim);
}

static ft_t convolve(ft_graph *g, ft_op op, ft_t x, ft_t w, ft_t b, ft_conv_opt opt)
{
    bool dw = op == FT_OP_conv_dw;
    NEED(x->ndim == 5 && w->ndim == 5, "x %s, w %s: (B,T,H,W,C) and (O,C,kt,kh,kw) needed", ft__shape(x), ft__shape(w));
    if (opt.groups == 0) opt.groups = 1;
    NEED(w->dtype == FT_F32 && w->dim[0] % opt.groups == 0 &&
             (dw ? w->dim[0] == x->dim[4] && w->dim[1] == 1 : w->dim[1] * opt.groups == x->dim[4]),
         "x %s, w %s, %lld groups", ft__shape(x), ft__shape(w), (long long)opt.groups);
    NEED(is_vector(b, w->dim[0]), "bias %s", ft__shape(b));
    if (opt.act != FT_ACT_NONE && (dw || !fuse(g, opt.act))) {
        ft_act act = opt.act;
        opt.act = FT_ACT_NONE;
        return activate(g, convolve(g, op, x, w, b, opt), act);
    }
    int64_t dim[5] = {x->dim[0], 0, 0, 0, w->dim[0]};
    for (int i = 0; i < 3; i++) {
        if (opt.stride[i] == 0) opt.stride[i] = 1;
        opt.kernel[i] = w->dim[2 + i];
        int64_t span = x->dim[1 + i] + opt.pad_front[i] + opt.pad_back[i] - opt.kernel[i];
        NEED(span >= 0, "x %s is smaller than the kernel %s", ft__shape(x), ft__shape(w));
        dim[1 + i] = span / opt.stride[i] + 1;
    }
    ft_node *n = ft__node(g, op, 3, (ft_t[]){x, w, b});
    if (n) n->attr.conv = opt;
    return ft__out(g, n, x->dtype, 5, dim);
}

ft_t ft_conv(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_conv_opt opt) { return convolve(g, FT_OP_conv, x, w, b, opt); }
ft_t ft_conv_dw(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_conv_opt opt) { return convolve(g, FT_OP_conv_dw, x, w, b, opt); }

ft_t ft_conv_causal(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_act act)
{
    NEED(x->ndim == 3 && w->dtype == FT_F32 && w->ndim == 3 && w->dim[0] == x->dim[2] && w->dim[1] == 1 && w->dim[2] <= 16 &&
             is_vector(b, x->dim[2]) && (act == FT_ACT_NONE || act == FT_ACT_SILU),
         "x %s, w %s: (S,T,C) and (C,1,K) with K at most 16 needed, act none or SiLU", ft__shape(x), ft__shape(w));
    ft_node *n = ft__node(g, FT_OP_conv_causal, 3, (ft_t[]){x, w, b});
    if (n) n->attr.conv.act = act;
    return ft__out_like(g, n, x);
}

ft_t ft_conv_transpose(ft_graph *g, ft_t x, ft_t w, ft_t b, ft_conv_opt opt)
{
    NEED(x->ndim == 5 && w->ndim == 5 && w->dim[0] == x->dim[4] && opt.groups <= 1 && opt.act == FT_ACT_NONE &&
             w->dtype == FT_F32,
         "x %s, w %s: (B,T,H,W,C) and (C,O,kt,kh,kw) needed", ft__shape(x), ft__shape(w));
    NEED(is_vector(b, w->dim[1]), "bias %s", ft__shape(b));
    int64_t dim[5] = {x->dim[0], 0, 0, 0, w->dim[1]};
    opt.groups = 1;
    for (int i = 0; i < 3; i++) {
        if (opt.stride[i] == 0) opt.stride[i] = 1;
        opt.kernel[i] = w->dim[2 + i];
        dim[1 + i] = (x->dim[1 + i] - 1) * opt.stride[i] + opt.kernel[i] - opt.pad_front[i] - opt.pad_back[i];
        NEED(dim[1 + i] > 0, "x %s with padding %lld leaves nothing", ft__shape(x), (long long)opt.pad_front[i]);
    }
    ft_node *n = ft__node(g, FT_OP_conv_bwd_x, 2, (ft_t[]){x, w}); /* the adjoint of the convolution with this weight */
    if (n) n->attr.conv = opt;
    ft_t y = ft__out(g, n, x->dtype, 5, dim);
    if (!b) return y;
    return ft_add(g, y, ft_cast(g, ft_reshape(g, b, 5, (int64_t[]){1, 1, 1, 1, b->count}), y->dtype));
}

ft_t ft_conv_modulated(ft_graph *g, ft_t x, ft_t w, ft_t style, bool demodulate, ft_conv_opt opt)
{
    NEED(x->ndim == 5 && w->ndim == 5 && is_vector(style, x->dim[0] * x->dim[4]) && w->dim[1] == x->dim[4],
         "x %s, w %s, style %s", ft__shape(x), ft__shape(w), ft__shape(style));
    int64_t B = x->dim[0], C = x->dim[4], O = w->dim[0];
    ft_t s = ft_reshape(g, style, 5, (int64_t[]){B, 1, 1, 1, C});
    ft_t y = ft_conv(g, ft_mul(g, x, ft_cast(g, s, x->dtype)), w, NULL, opt);
    if (!demodulate) return y;
    ft_t d = ft_reshape(g, ft_demodulation(g, w, ft_reshape(g, style, 2, (int64_t[]){B, C})), 5, (int64_t[]){B, 1, 1, 1, O});
    return ft_mul(g, y, ft_cast(g, d, y->dtype));
}

ft_t ft_demodulation(ft_graph *g, ft_t w, ft_t style)
{
    NEED(w->ndim == 5 && style->ndim == 2 && style->dim[1] == w->dim[1], "w %s, style %s", ft__shape(w), ft__shape(style));
    /* 1 / sqrt(sum over c, k of (w_ock s_bc)^2 + 1e-8) = rsqrt(s^2 . sum_k w^2) */
    ft_t w2 = ft_reduce(g, ft_unary(g, FT_SQUARE, w), 28, false);   /* (O,C,1,1,1) */
    ft_t d = ft_linear(g, ft_unary(g, FT_SQUARE, style), w2, NULL); /* (B,O) */
    return ft_unary(g, FT_RSQRT, ft_affine(g, d, 1, 1e-8f));
}

static bool is_state(ft_t t) { return t->kind == FT_IS_PARAM && !t->average && t->dtype == FT_F32; }

void ft_assign(ft_graph *g, ft_t state, ft_t value)
{
    if (g->failed) return;
    if (!is_state(state) || value->dtype != FT_F32 || value->count != state->count)
        ft__fail(g, "ft_assign", "state %s, value %s", ft__shape(state), ft__shape(value));
    else ft__node(g, FT_OP_assign, 2, (ft_t[]){state, value}), state->assigned = true;
}

void ft_assign_rows(ft_graph *g, ft_t state, ft_t index, ft_t value, ft_t keep)
{
    if (g->failed) return;
    if (!is_state(state) || state->ndim != 2 || value->ndim != 2 || value->dim[1] != state->dim[1] || value->dtype != FT_F32 ||
        index->count != value->dim[0] || index->dtype != FT_I32 || keep->count != value->dim[0] || keep->dtype != FT_F32)
        ft__fail(g, "ft_assign_rows", "state %s, index %s, value %s, keep %s", ft__shape(state), ft__shape(index),
                 ft__shape(value), ft__shape(keep));
    else ft__node(g, FT_OP_assign_rows, 4, (ft_t[]){state, index, value, keep}), state->assigned = true;
}
