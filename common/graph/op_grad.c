/* Gradient rules, in the order of op_table.h; backward.c applies them.
 *
 * A rule gets the node and the gradients of its outputs (NULL where none flows) and sets din[i] for every input that needs
 * one. Rules build nodes; fused ops build one x_bwd node. */
#include "common/graph/op_grad.h"

#include <string.h>

static ft_node *bwd(ft_graph *g, const ft_node *n, ft_op op, int n_in, const ft_t *in)
{
    ft_node *b = ft__node(g, op, n_in, in);
    if (b) b->attr = n->attr, b->stream = n->stream;
    return b;
}

/* An output only if somebody needs it: kernels skip NULL outputs. */
static ft_t wanted(ft_graph *g, ft_node *b, ft_t of, ft_dtype dtype)
{
    if (!b) return NULL;
    if (!of || !of->needs_grad) {
        b->out[b->n_out++] = NULL;
        return NULL;
    }
    return ft__out(g, b, dtype, of->ndim, of->dim);
}

void ft_grad_cast(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din) { din[0] = ft_cast(g, dy[0], n->in[0]->dtype); }

void ft_grad_permute(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    int inverse[FT_MAX_DIMS] = {0};
    for (int i = 0; i < n->in[0]->ndim; i++) inverse[n->attr.permute.perm[i]] = i;
    din[0] = ft_permute(g, dy[0], inverse);
}

void ft_grad_concat(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    int64_t at = 0;
    for (int i = 0; i < n->n_in; i++) {
        int64_t length = n->in[i]->dim[n->attr.span.axis];
        if (n->in[i]->needs_grad) din[i] = ft_slice(g, dy[0], n->attr.span.axis, at, length);
        at += length;
    }
}

void ft_grad_slice(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    (void)din; /* slices of one tensor are gathered first: backward.c */
    ft__part(g, n->in[0], n->attr.span.axis, n->attr.span.start, dy[0]);
}

void ft_grad_pad(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    int axis = n->attr.span.axis;
    din[0] = ft_slice(g, dy[0], axis, n->attr.span.start, n->in[0]->dim[axis]);
}

/* One input and parts of its columns out, or the other way round: the gradient is the other one, with the transposed map. */
void ft_grad_resample(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t d[FT_MAX_OUT];
    for (int i = 0; i < n->n_out; i++) d[i] = dy[i] ? dy[i] : ft_affine(g, n->out[i], 0, 0);
    ft_node *b = bwd(g, n, FT_OP_resample, n->n_out, d);
    if (b) b->attr.resample.map = n->attr.resample.back, b->attr.resample.back = n->attr.resample.map;
    for (int i = 0; i < n->n_in; i++) din[i] = ft__out(g, b, d[0]->dtype, n->in[i]->ndim, n->in[i]->dim);
}

void ft_grad_pool(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_pool_bwd, 2, (ft_t[]){dy[0], n->in[0]}), n->in[0], n->in[0]->dtype);
}

void ft_grad_pool_bwd(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din) /* linear in dy for sums and means */
{
    if (n->attr.pool.kind == FT_POOL_MAX) {
        ft__fail(g, "pool", "the maximum has no second derivative here");
        return;
    }
    din[0] = wanted(g, bwd(g, n, FT_OP_pool, 1, dy), n->in[0], n->in[0]->dtype);
}

void ft_grad_upsample(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din) /* the sum over each block */
{
    ft_node *b = bwd(g, n, FT_OP_pool, 1, dy);
    if (b) b->attr.pool.kind = FT_POOL_SUM;
    din[0] = wanted(g, b, n->in[0], n->in[0]->dtype);
}

static ft_t unary_bwd(ft_graph *g, const ft_node *n, ft_t x, ft_t dy, ft_t like)
{
    return wanted(g, bwd(g, n, FT_OP_unary_bwd, 2, (ft_t[]){x, dy}), like, dy->dtype);
}

void ft_grad_unary(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = unary_bwd(g, n, n->in[0], dy[0], n->in[0]);
}

/* f''(x) out of ops that have gradients themselves; NULL where it is 0 */
static ft_t second_derivative(ft_graph *g, const ft_node *n, ft_t x)
{
    ft_t s, s1;
    switch ((ft_unary_kind)n->attr.scalar.kind) {
        case FT_RELU:
        case FT_CLAMP:
        case FT_ABS:
        case FT_STEP:
        case FT_LEAKY_RELU: return NULL;
        case FT_SQUARE: return ft_affine(g, x, 0, 2);
        case FT_EXP: return ft_unary(g, FT_EXP, x);
        case FT_SIN: return ft_affine(g, ft_unary(g, FT_SIN, x), -1, 0);
        case FT_COS: return ft_affine(g, ft_unary(g, FT_COS, x), -1, 0);
        case FT_LOG: return ft_affine(g, ft_unary(g, FT_SQUARE, ft_unary(g, FT_RECIPROCAL, x)), -1, 0);
        case FT_RECIPROCAL: s = ft_unary(g, FT_RECIPROCAL, x); return ft_affine(g, ft_mul(g, s, ft_unary(g, FT_SQUARE, s)), 2, 0);
        case FT_SQRT: s = ft_unary(g, FT_RSQRT, x); return ft_affine(g, ft_mul(g, s, ft_unary(g, FT_SQUARE, s)), -0.25f, 0);
        case FT_RSQRT:
            s = ft_unary(g, FT_RSQRT, x);
            s1 = ft_unary(g, FT_SQUARE, s);
            return ft_affine(g, ft_mul(g, s, ft_unary(g, FT_SQUARE, s1)), 0.75f, 0);
        case FT_SIGMOID: /* s (1-s) (1-2s) */
            s = ft_unary(g, FT_SIGMOID, x);
            return ft_mul(g, ft_mul(g, s, ft_affine(g, s, -1, 1)), ft_affine(g, s, -2, 1));
        case FT_SOFTPLUS: s = ft_unary(g, FT_SIGMOID, x); return ft_mul(g, s, ft_affine(g, s, -1, 1));
        case FT_TANH: /* -2 t (1-t^2) */
            s = ft_unary(g, FT_TANH, x);
            return ft_mul(g, ft_affine(g, s, -2, 0), ft_affine(g, ft_unary(g, FT_SQUARE, s), -1, 1));
        case FT_SILU: /* s (1-s) (2 + x (1-2s)) */
            s = ft_unary(g, FT_SIGMOID, x);
            s1 = ft_affine(g, ft_mul(g, x, ft_affine(g, s, -2, 1)), 1, 2);
            return ft_mul(g, ft_mul(g, s, ft_affine(g, s, -1, 1)), s1);
        case FT_GELU: /* phi(x) (2 - x^2) */
            s1 = ft_unary(g, FT_SQUARE, x);
            s = ft_affine(g, ft_unary(g, FT_EXP, ft_affine(g, s1, -0.5f, 0)), 0.398942280f, 0);
            return ft_mul(g, s, ft_affine(g, s1, -1, 2));
        case FT_GELU_TANH: return ft__fail(g, "unary", "the tanh form of GELU has no second derivative here: use GELU");
    }
    return NULL;
}

void ft_grad_unary_bwd(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t x = n->in[0], d = n->in[1];
    if (d->needs_grad) din[1] = unary_bwd(g, n, x, dy[0], d);
    if (!x->needs_grad) return;
    ft_t f2 = second_derivative(g, n, x);
    if (f2) din[0] = ft_mul(g, ft_mul(g, f2, d), dy[0]);
}

static ft_t reduce_like(ft_graph *g, ft_t d, ft_t like)
{
    unsigned axes = 0;
    for (int i = 0; i < like->ndim; i++)
        if (like->dim[i] == 1 && d->dim[i] != 1) axes |= 1u << i;
    if (axes) d = ft_reduce(g, d, axes, false);
    return ft_cast(g, d, like->dtype);
}

void ft_grad_binary(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t a = n->in[0], b = n->in[1];
    switch ((ft_binary_kind)n->attr.scalar.kind) {
        case FT_ADD:
            din[0] = dy[0];
            if (b->needs_grad) din[1] = reduce_like(g, dy[0], b);
            break;
        case FT_SUB:
            din[0] = dy[0];
            if (b->needs_grad) din[1] = reduce_like(g, ft_affine(g, dy[0], -1, 0), b);
            break;
        case FT_MUL:
            if (a->needs_grad) din[0] = ft_mul(g, dy[0], b);
            if (b->needs_grad) din[1] = reduce_like(g, ft_mul(g, dy[0], a), b);
            break;
        case FT_DIV: /* y = a / b: dy / b, and -dy y / b */
            if (a->needs_grad) din[0] = ft_div(g, dy[0], b);
            if (b->needs_grad) din[1] = reduce_like(g, ft_affine(g, ft_div(g, ft_mul(g, dy[0], n->out[0]), b), -1, 0), b);
            break;
    }
}

void ft_grad_affine(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = ft_affine(g, dy[0], n->attr.scalar.a, 0);
}

void ft_grad_glu(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_glu_bwd, 2, (ft_t[]){n->in[0], dy[0]}), n->in[0], n->in[0]->dtype);
}

void ft_grad_reduce(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t x = n->in[0];
    float scale = n->attr.reduce.mean ? (float)dy[0]->count / (float)x->count : 1.0f;
    din[0] = ft_broadcast(g, dy[0], x->ndim, x->dim, scale);
}

void ft_grad_broadcast(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t d = n->attr.scalar.a == 1.0f ? dy[0] : ft_affine(g, dy[0], n->attr.scalar.a, 0);
    din[0] = reduce_like(g, d, n->in[0]);
}

void ft_grad_softmax(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_softmax_bwd, 2, (ft_t[]){n->out[0], dy[0]}), n->in[0], n->in[0]->dtype);
}

void ft_grad_l2_normalize(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_l2_normalize_bwd, 2, (ft_t[]){n->in[0], dy[0]}), n->in[0], n->in[0]->dtype);
}

void ft_grad_dropout(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_dropout, 1, dy); /* the same stream gives the same mask */
    din[0] = ft__out_like(g, b, dy[0]);
    if (n->n_in > 1) din[1] = dy[0];
}

void ft_grad_q_sample(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    int64_t dim[FT_MAX_DIMS] = {n->in[0]->dim[0], 1, 1, 1, 1, 1};
    ft_t a = ft_reshape(g, ft_slice(g, n->in[1], n->in[1]->ndim - 1, 0, 1), n->in[0]->ndim, dim);
    din[0] = ft_mul(g, dy[0], ft_cast(g, a, dy[0]->dtype));
}

/* ---- products: each is the derivative of another, so they differentiate as often as one likes ------------------------------ */

void ft_grad_matmul(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t a = n->in[0], b = n->in[1];
    bool ta = n->attr.matmul.ta, tb = n->attr.matmul.tb;
    if (a->needs_grad) din[0] = ta ? ft_matmul(g, b, dy[0], tb, true) : ft_matmul(g, dy[0], b, false, !tb);
    if (b->needs_grad) din[1] = tb ? ft_matmul(g, dy[0], a, true, ta) : ft_matmul(g, a, dy[0], !ta, false);
}

/* The gradient before a fused activation: ReLU's from the result; others compute the value before it again. */
static ft_t before_act(ft_graph *g, const ft_node *n, ft_act act, ft_t again, ft_t dy)
{
    ft_t x = act == FT_ACT_RELU ? n->out[0] : again;
    ft_node *b = ft__node(g, FT_OP_unary_bwd, 2, (ft_t[]){x, dy});
    if (b) b->attr.scalar.kind = (int)ft__unary_of(act);
    return ft__out_like(g, b, dy);
}

static ft_t weight_grads(ft_graph *g, const ft_node *n, ft_op op, ft_t x, ft_t dy, ft_t w, ft_t b, ft_t *db)
{
    ft_node *m = bwd(g, n, op, 2, (ft_t[]){x, dy});
    ft_t dw = wanted(g, m, w, FT_F32);
    ft_t d = wanted(g, m, b, FT_F32);
    if (db) *db = d;
    return dw;
}

void ft_grad_linear(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t x = n->in[0], w = n->in[1], b = n->in[2], d = dy[0];
    ft_act act = n->attr.matmul.act;
    if (act != FT_ACT_NONE) d = before_act(g, n, act, act == FT_ACT_RELU ? NULL : ft_linear(g, x, w, b), d);
    if (x->needs_grad) din[0] = wanted(g, bwd(g, n, FT_OP_linear_bwd_x, 2, (ft_t[]){d, w}), x, x->dtype);
    if (w->needs_grad || (b && b->needs_grad)) din[1] = weight_grads(g, n, FT_OP_linear_bwd_w, x, d, w, b, &din[2]);
}

void ft_grad_linear_bwd_x(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din) /* dx = d w; dy is the gradient of dx */
{
    ft_t d = n->in[0], w = n->in[1];
    if (n->n_in > 2) din[2] = dy[0];
    if (d->needs_grad) din[0] = ft_linear(g, dy[0], w, NULL);
    if (w->needs_grad) din[1] = weight_grads(g, n, FT_OP_linear_bwd_w, dy[0], d, w, NULL, NULL);
}

/* A weight gradient's own derivative; that of the bias gradient is not built, since nothing asks for it. */
static bool by_weight_only(ft_graph *g, const ft_node *n, const ft_t *d)
{
    if (d[0] && !(n->n_out > 1 && d[1])) return true;
    ft__fail(g, ft__op_name(n->op), "the derivative of a bias gradient is not built");
    return false;
}

void ft_grad_linear_bwd_w(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din) /* dw = d^T x */
{
    ft_t x = n->in[0], d = n->in[1];
    if (!by_weight_only(g, n, dy)) return;
    if (x->needs_grad) din[0] = wanted(g, bwd(g, n, FT_OP_linear_bwd_x, 2, (ft_t[]){d, dy[0]}), x, x->dtype);
    if (d->needs_grad) din[1] = ft_linear(g, x, dy[0], NULL);
}

/* The three convolutions of a kind: forward, its adjoint by x, and by w. */
static void conv_forward(ft_graph *g, const ft_node *n, ft_op by_x, ft_op by_w, ft_t d, ft_t *din)
{
    ft_t x = n->in[0], w = n->in[1], b = n->in[2];
    if (x->needs_grad) din[0] = wanted(g, bwd(g, n, by_x, 2, (ft_t[]){d, w}), x, x->dtype);
    if (w->needs_grad || (b && b->needs_grad)) din[1] = weight_grads(g, n, by_w, x, d, w, b, &din[2]);
}

static void conv_by_x(ft_graph *g, const ft_node *n, ft_op forward, ft_op by_w, ft_t dd, ft_t *din) /* dx = conv^T(d, w) */
{
    ft_t d = n->in[0], w = n->in[1];
    if (d->needs_grad) din[0] = wanted(g, bwd(g, n, forward, 3, (ft_t[]){dd, w, NULL}), d, d->dtype);
    if (w->needs_grad) din[1] = weight_grads(g, n, by_w, dd, d, w, NULL, NULL);
}

static void conv_by_w(ft_graph *g, const ft_node *n, ft_op forward, ft_op by_x, const ft_t *dw, ft_t *din)
{
    ft_t x = n->in[0], d = n->in[1];
    if (!by_weight_only(g, n, dw)) return;
    if (x->needs_grad) din[0] = wanted(g, bwd(g, n, by_x, 2, (ft_t[]){d, dw[0]}), x, x->dtype);
    if (d->needs_grad) din[1] = wanted(g, bwd(g, n, forward, 3, (ft_t[]){x, dw[0], NULL}), d, d->dtype);
}

void ft_grad_conv(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_act act = n->attr.conv.act;
    if (act == FT_ACT_NONE) {
        conv_forward(g, n, FT_OP_conv_bwd_x, FT_OP_conv_bwd_w, dy[0], din);
        return;
    }
    ft_node plain = *n;
    plain.attr.conv.act = FT_ACT_NONE;
    ft_t again = act == FT_ACT_RELU ? NULL : ft_conv(g, n->in[0], n->in[1], n->in[2], plain.attr.conv);
    conv_forward(g, &plain, FT_OP_conv_bwd_x, FT_OP_conv_bwd_w, before_act(g, n, act, again, dy[0]), din);
}
void ft_grad_conv_bwd_x(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    conv_by_x(g, n, FT_OP_conv, FT_OP_conv_bwd_w, dy[0], din);
}
void ft_grad_conv_bwd_w(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    conv_by_w(g, n, FT_OP_conv, FT_OP_conv_bwd_x, dy, din);
}
void ft_grad_conv_dw(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    conv_forward(g, n, FT_OP_conv_dw_bwd_x, FT_OP_conv_dw_bwd_w, dy[0], din);
}
void ft_grad_conv_dw_bwd_x(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    conv_by_x(g, n, FT_OP_conv_dw, FT_OP_conv_dw_bwd_w, dy[0], din);
}
void ft_grad_conv_dw_bwd_w(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    conv_by_w(g, n, FT_OP_conv_dw, FT_OP_conv_dw_bwd_x, dy, din);
}

/* A warp and its adjoint, each the other's gradient */
void ft_grad_warp(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_warp_bwd, 2, (ft_t[]){dy[0], n->in[1]}), n->in[0], n->in[0]->dtype);
}
void ft_grad_warp_bwd(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_warp, 2, (ft_t[]){dy[0], n->in[1]}), n->in[0], n->in[0]->dtype);
}

/* ---- fused rows: one backward node each --------------------------------------------------------------------------------- */

void ft_grad_layernorm(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    /* inputs: x gamma beta shift scale statistics dy */
    ft_node *b = bwd(g, n, FT_OP_layernorm_bwd, 7, (ft_t[]){n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], n->out[1], dy[0]});
    for (int i = 0; i < 5; i++) din[i] = wanted(g, b, n->in[i], i == 0 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_conv_causal(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_conv_causal_bwd, 4, (ft_t[]){n->in[0], n->in[1], n->in[2], dy[0]});
    for (int i = 0; i < 3; i++) din[i] = wanted(g, b, n->in[i], i == 0 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_gate_residual(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = dy[0];
    ft_node *b = bwd(g, n, FT_OP_gate_residual_bwd, 3, (ft_t[]){n->in[1], n->in[2], dy[0]});
    din[1] = wanted(g, b, n->in[1], n->in[1]->dtype);
    din[2] = wanted(g, b, n->in[2], FT_F32);
}

void ft_grad_rmsnorm(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_rmsnorm_bwd, 4, (ft_t[]){n->in[0], n->in[1], n->in[2], dy[0]});
    for (int i = 0; i < 3; i++) din[i] = wanted(g, b, n->in[i], i < 2 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_groupnorm(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    /* inputs: x gamma beta scale shift statistics dy */
    ft_node *b = bwd(g, n, FT_OP_groupnorm_bwd, 7, (ft_t[]){n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], n->out[1], dy[0]});
    for (int i = 0; i < 5; i++) din[i] = wanted(g, b, n->in[i], i == 1 || i == 2 ? FT_F32 : n->in[0]->dtype);
}

void ft_grad_batchnorm(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_batchnorm_bwd, 5, (ft_t[]){n->in[0], n->in[1], n->in[2], n->out[1], dy[0]});
    for (int i = 0; i < 3; i++) din[i] = wanted(g, b, n->in[i], i == 0 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_attention_local(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_attention_local_bwd, 5, (ft_t[]){n->in[0], n->in[1], n->in[2], n->out[1], dy[0]});
    for (int i = 0; i < 3; i++) din[i] = wanted(g, b, n->in[i], n->in[i]->dtype);
}

void ft_grad_sdpa(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    /* inputs: q k v rel_k rel_v lse y dy */
    ft_node *b =
        bwd(g, n, FT_OP_sdpa_bwd, 8, (ft_t[]){n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], n->out[1], n->out[0], dy[0]});
    for (int i = 0; i < 5; i++) din[i] = wanted(g, b, n->in[i], i < 3 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_attention_channel(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_attention_channel_bwd, 4, (ft_t[]){n->in[0], n->in[1], n->out[1], dy[0]});
    for (int i = 0; i < 2; i++) din[i] = wanted(g, b, n->in[i], i == 0 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_ssd(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    /* inputs: xbc dt dt_bias a_log d state dy dfinal */
    ft_t in[8] = {n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], n->in[5], dy[0], n->n_out > 1 ? dy[1] : NULL};
    if (!dy[0]) {
        ft__fail(g, "ssd", "the final state alone has no gradient rule: use the output as well");
        return;
    }
    ft_node *b = bwd(g, n, FT_OP_ssd_bwd, 8, in);
    for (int i = 0; i < 6; i++) din[i] = wanted(g, b, n->in[i], i < 2 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_wkv(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_wkv_bwd, 5, (ft_t[]){n->in[0], n->in[1], n->in[2], n->in[3], dy[0]});
    for (int i = 0; i < 4; i++) din[i] = wanted(g, b, n->in[i], i < 2 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_loss_mean(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_loss_mean_bwd, 4, (ft_t[]){n->in[0], n->in[1], n->in[2], dy[0]});
    din[0] = wanted(g, b, n->in[0], n->in[0]->dtype);
    for (int i = 1; i < 3; i++)
        if (n->in[i] && n->in[i]->needs_grad)
            ft__fail(g, "loss_mean", "targets and weights of a loss have no gradient: use ft_stop_grad");
}

void ft_grad_softmax_xent(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_softmax_xent_bwd, 4, (ft_t[]){n->in[0], n->in[1], n->in[2], dy[0]});
    din[0] = wanted(g, b, n->in[0], FT_F32);
}

void ft_grad_focal_frequency(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_focal_frequency_bwd, 3, (ft_t[]){n->in[0], n->in[1], dy[0]});
    din[0] = wanted(g, b, n->in[0], n->in[0]->dtype);
}

void ft_grad_gauss_kl(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_gauss_kl_bwd, 2, (ft_t[]){n->in[0], dy[0]}), n->in[0], n->in[0]->dtype);
}

void ft_grad_vlb(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din) /* to nu alone: eps is detached (Nichol 2021) */
{
    ft_node *b = bwd(g, n, FT_OP_vlb_bwd, 6, (ft_t[]){n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], dy[0]});
    din[0] = wanted(g, b, n->in[0], n->in[0]->dtype);
}

void ft_grad_pearson(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_pearson_bwd, 3, (ft_t[]){n->in[0], n->in[1], dy[0]});
    for (int i = 0; i < 2; i++) din[i] = wanted(g, b, n->in[i], n->in[i]->dtype);
}
