/* The builders: shape rules of every op, in the order of op_table.h. They check, note a node, and return its output. */
#include <string.h>

#include "common/base/memory.h"
#include "common/graph/node.h"

#define NEED(cond, ...)                                                                                                          \
    do {                                                                                                                         \
        if (g->failed) return &g->dead;                                                                                          \
        if (!(cond)) return ft__fail(g, __func__, __VA_ARGS__);                                                                  \
    } while (0)

static bool same_shape(ft_t a, ft_t b)
{
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}

static bool is_vector(ft_t t, int64_t n) { return !t || (t->count == n && t->dtype == FT_F32); }

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
    NEED(axis >= 0 && axis < x->ndim && start >= 0 && start + length <= x->dim[axis], "%lld+%lld on axis %d of %s",
         (long long)start, (long long)length, axis, ft__shape(x));
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] = length;
    ft_node *n = ft__node(g, FT_OP_slice, 1, &x);
    if (n) n->attr.span.axis = axis, n->attr.span.start = start, n->attr.span.length = length;
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

ft_t ft_gather_rows(ft_graph *g, ft_t x, const int32_t *permutation)
{
    NEED(x->ndim >= 2, "%s", ft__shape(x));
    int64_t t = x->dim[x->ndim - 2];
    int32_t *index = ft_arena_alloc(g->arena, (size_t)t * sizeof *index);
    NEED(index, "no memory");
    memcpy(index, permutation, (size_t)t * sizeof *index);
    ft_node *n = ft__node(g, FT_OP_gather_rows, 1, &x);
    if (n) n->attr.gather.index = index;
    return ft__out_like(g, n, x);
}

ft_t ft_pad_front(ft_graph *g, ft_t x, int axis, int64_t count, bool replicate)
{
    if (count == 0) return x;
    NEED(axis >= 0 && axis < x->ndim && count > 0, "%lld on axis %d of %s", (long long)count, axis, ft__shape(x));
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[axis] += count;
    ft_node *n = ft__node(g, FT_OP_pad_front, 1, &x);
    if (n) n->attr.span.axis = axis, n->attr.span.length = count, n->attr.span.replicate = replicate;
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

ft_t ft_upsample(ft_graph *g, ft_t x, const int64_t factor[3])
{
    NEED(x->ndim == 5, "%s, (B,T,H,W,C) needed", ft__shape(x));
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    ft_node *n = ft__node(g, FT_OP_upsample, 1, &x);
    for (int i = 0; i < 3; i++) dim[i + 1] *= factor[i];
    if (n) memcpy(n->attr.upsample.factor, factor, sizeof n->attr.upsample.factor);
    return ft__out(g, n, x->dtype, 5, dim);
}

static ft_t scalar_op(ft_graph *g, ft_op op, int n_in, const ft_t *in, int kind, float a, float b)
{
    ft_node *n = ft__node(g, op, n_in, in);
    if (n) n->attr.scalar.kind = kind, n->attr.scalar.a = a, n->attr.scalar.b = b;
    return ft__out_like(g, n, in[0]);
}

ft_t ft_unary(ft_graph *g, ft_unary_kind kind, ft_t x) { return scalar_op(g, FT_OP_unary, 1, &x, kind, 0, 0); }
ft_t ft_clamp(ft_graph *g, ft_t x, float low, float high) { return scalar_op(g, FT_OP_unary, 1, &x, FT_CLAMP, low, high); }
ft_t ft_affine(ft_graph *g, ft_t x, float scale, float shift) { return scalar_op(g, FT_OP_affine, 1, &x, 0, scale, shift); }

ft_t ft_dropout(ft_graph *g, ft_t x, float p)
{
    if (p <= 0 || !g->training) return x;
    return scalar_op(g, FT_OP_dropout, 1, &x, 0, p, 0);
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

ft_t ft_timestep_embed(ft_graph *g, ft_t t, int64_t width)
{
    NEED(t->dtype == FT_F32 && width % 2 == 0, "%s, width %lld", ft__shape(t), (long long)width);
    ft_node *n = ft__node(g, FT_OP_timestep_embed, 1, &t);
    return ft__out(g, n, FT_F32, 2, (int64_t[]){t->count, width});
}

ft_t ft_linear(ft_graph *g, ft_t x, ft_t w, ft_t b)
{
    NEED(x->dim[x->ndim - 1] == w->count / w->dim[0] && is_vector(b, w->dim[0]), "x %s, w %s", ft__shape(x), ft__shape(w));
    int64_t dim[FT_MAX_DIMS];
    memcpy(dim, x->dim, sizeof dim);
    dim[x->ndim - 1] = w->dim[0];
    ft_node *n = ft__node(g, FT_OP_linear, 3, (ft_t[]){x, w, b});
    return ft__out(g, n, x->dtype, x->ndim, dim);
}

static ft_t convolve(ft_graph *g, ft_op op, ft_t x, ft_t w, ft_t b, ft_conv_opt opt)
{
    bool dw = op == FT_OP_conv_dw;
    NEED(x->ndim == 5 && w->ndim == 5, "x %s, w %s: (B,T,H,W,C) and (O,C,kt,kh,kw) needed", ft__shape(x), ft__shape(w));
    NEED(dw ? w->dim[0] == x->dim[4] && w->dim[1] == 1 : w->dim[1] == x->dim[4], "x %s, w %s", ft__shape(x), ft__shape(w));
    NEED(is_vector(b, w->dim[0]), "bias %s", ft__shape(b));
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

ft_t ft_layernorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t shift, ft_t scale, float eps)
{
    int64_t c = x->dim[x->ndim - 1], per_sample = x->dim[0] * c;
    NEED(is_vector(gamma, c) && is_vector(beta, c) && !gamma == !beta, "x %s", ft__shape(x));
    NEED(is_vector(shift, per_sample) && is_vector(scale, per_sample) && !shift == !scale, "x %s: shift and scale (B, C) f32",
         ft__shape(x));
    ft_node *n = ft__node(g, FT_OP_layernorm, 5, (ft_t[]){x, gamma, beta, shift, scale});
    if (n) n->attr.norm.eps = eps;
    ft_t y = ft__out_like(g, n, x);
    ft__out(g, n, FT_F32, 2, (int64_t[]){x->count / c, 2}); /* mean, 1/std of every row */
    return y;
}

ft_t ft_gate_residual(ft_graph *g, ft_t x, ft_t y, ft_t gate)
{
    NEED(same_shape(x, y) && x->dtype == y->dtype && is_vector(gate, x->dim[0] * x->dim[x->ndim - 1]), "x %s, y %s, gate %s",
         ft__shape(x), ft__shape(y), ft__shape(gate));
    ft_node *n = ft__node(g, FT_OP_gate_residual, 3, (ft_t[]){x, y, gate});
    return ft__out_like(g, n, x);
}

ft_t ft_rmsnorm_gated(ft_graph *g, ft_t y, ft_t z, ft_t w, float eps)
{
    NEED(same_shape(y, z) && y->dtype == z->dtype && is_vector(w, y->dim[y->ndim - 1]), "y %s, z %s", ft__shape(y), ft__shape(z));
    ft_node *n = ft__node(g, FT_OP_rmsnorm_gated, 3, (ft_t[]){y, z, w});
    if (n) n->attr.norm.eps = eps;
    return ft__out_like(g, n, y);
}

ft_t ft_groupnorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, int groups, float eps, ft_act act)
{
    int64_t c = x->dim[x->ndim - 1];
    NEED(groups > 0 && c % groups == 0 && gamma && is_vector(gamma, c) && beta && is_vector(beta, c), "x %s, %d groups",
         ft__shape(x), groups);
    ft_node *n = ft__node(g, FT_OP_groupnorm, 3, (ft_t[]){x, gamma, beta});
    if (n) n->attr.norm.eps = eps, n->attr.norm.groups = groups, n->attr.norm.act = act;
    ft_t y = ft__out_like(g, n, x);
    ft__out(g, n, FT_F32, 3, (int64_t[]){x->dim[0], groups, 2});
    return y;
}

ft_t ft_batchnorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t mean, ft_t var, int64_t first, float momentum, float eps,
                  ft_act act)
{
    int64_t c = x->dim[x->ndim - 1];
    NEED(gamma && is_vector(gamma, c) && beta && is_vector(beta, c) && is_vector(mean, c) && is_vector(var, c) && first >= 0 &&
             first <= x->dim[0],
         "x %s, first %lld", ft__shape(x), (long long)first);
    ft_node *n = ft__node(g, FT_OP_batchnorm, 5, (ft_t[]){x, gamma, beta, mean, var});
    if (n) {
        n->attr.norm.eps = eps;
        n->attr.norm.momentum = momentum;
        n->attr.norm.act = act;
        n->attr.norm.first = first == 0 ? x->dim[0] : first;
        n->attr.norm.training = g->training;
    }
    ft_t y = ft__out_like(g, n, x);
    ft__out(g, n, FT_F32, 3, (int64_t[]){2, c, 2}); /* per segment: mean, 1/std */
    return y;
}

ft_t ft_attention_local(ft_graph *g, ft_t q, ft_t k, ft_t v, int window, float dropout)
{
    NEED(q->ndim == 3 && same_shape(q, k) && same_shape(q, v) && window > 0 && q->dim[1] % window == 0 && q->dim[2] % 2 == 0,
         "q %s, k %s, v %s, window %d: (S,T,C), T a multiple of the window, C even", ft__shape(q), ft__shape(k), ft__shape(v),
         window);
    ft_node *n = ft__node(g, FT_OP_attention_local, 3, (ft_t[]){q, k, v});
    if (n) n->attr.seq.window = window, n->attr.seq.dropout = g->training ? dropout : 0;
    ft_t y = ft__out_like(g, n, q);
    ft__out(g, n, FT_F32, 3, (int64_t[]){q->dim[0], q->dim[1], 2 * window + 1}); /* probability of key i + d - window */
    return y;
}

ft_t ft_ssd(ft_graph *g, ft_t xbc, ft_t dt, ft_t dt_bias, ft_t a_log, ft_t d, int64_t heads, int64_t state)
{
    NEED(xbc->ndim == 3 && dt->ndim == 3 && xbc->dim[0] == dt->dim[0] && xbc->dim[1] == dt->dim[1] && dt->dim[2] == heads &&
             (xbc->dim[2] - 2 * state) % heads == 0 && xbc->dim[2] > 2 * state && is_vector(dt_bias, heads) &&
             is_vector(a_log, heads) && is_vector(d, heads) && xbc->dtype == dt->dtype,
         "xbc %s, dt %s, %lld heads, state %lld", ft__shape(xbc), ft__shape(dt), (long long)heads, (long long)state);
    ft_node *n = ft__node(g, FT_OP_ssd, 5, (ft_t[]){xbc, dt, dt_bias, a_log, d});
    if (n) n->attr.seq.heads = heads, n->attr.seq.state = state;
    return ft__out(g, n, xbc->dtype, 3, (int64_t[]){xbc->dim[0], xbc->dim[1], xbc->dim[2] - 2 * state});
}

ft_t ft_loss_mean(ft_graph *g, ft_t x, ft_t target, ft_loss_kind kind)
{
    NEED(x->count == target->count, "x %s, target %s", ft__shape(x), ft__shape(target));
    ft_node *n = ft__node(g, FT_OP_loss_mean, 2, (ft_t[]){x, target});
    if (n) n->attr.scalar.kind = kind;
    return ft__out(g, n, FT_F32, 1, (int64_t[]){1});
}

ft_t ft_softmax_xent(ft_graph *g, ft_t logits, ft_t target, ft_t weight)
{
    NEED(logits->ndim == 2 && same_shape(logits, target) && logits->dtype == FT_F32 && target->dtype == FT_F32 &&
             is_vector(weight, logits->dim[0]),
         "logits %s, target %s: f32 (B,C)", ft__shape(logits), ft__shape(target));
    ft_node *n = ft__node(g, FT_OP_softmax_xent, 3, (ft_t[]){logits, target, weight});
    return ft__out(g, n, FT_F32, 1, (int64_t[]){1});
}

ft_t ft_pseudo_label(ft_graph *g, ft_t logits, float threshold, ft_t *weight)
{
    *weight = &g->dead;
    NEED(logits->ndim == 2 && logits->dtype == FT_F32, "logits %s", ft__shape(logits));
    ft_node *n = ft__node(g, FT_OP_pseudo_label, 1, &logits);
    if (n) n->attr.scalar.a = threshold;
    ft_t y = ft__out_like(g, n, logits);
    *weight = ft__out(g, n, FT_F32, 1, logits->dim);
    y->needs_grad = (*weight)->needs_grad = false; /* the weak branch is a label, not a prediction to train (FixMatch eq. 4) */
    return y;
}

ft_t ft_focal_frequency(ft_graph *g, ft_t x, ft_t target, float alpha)
{
    NEED(x->ndim == 5 && same_shape(x, target), "x %s, target %s", ft__shape(x), ft__shape(target));
    ft_node *n = ft__node(g, FT_OP_focal_frequency, 2, (ft_t[]){x, target});
    if (n) n->attr.scalar.a = alpha;
    return ft__out(g, n, FT_F32, 1, (int64_t[]){1});
}
