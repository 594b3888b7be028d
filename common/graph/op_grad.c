/* Gradient rules, in the order of op_table.h, and the walk that applies them.
 *
 * A rule gets the node and the gradients of its outputs (NULL where none flows) and sets din[i] for every input that needs
 * one. Rules build nodes; fused ops build one x_bwd node. `accumulate` is the only place where gradients are added. */
#include "common/graph/op_grad.h"

#include <string.h>

#include "common/base/status.h"

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
    din[0] = wanted(g, bwd(g, n, FT_OP_slice_bwd, 1, dy), n->in[0], n->in[0]->dtype);
}

void ft_grad_gather_rows(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    int64_t t = n->in[0]->dim[n->in[0]->ndim - 2];
    int32_t inverse[4096];
    if (t > 4096) {
        din[0] = ft__fail(g, "gather_rows", "%lld rows, at most 4096 have a gradient", (long long)t);
        return;
    }
    for (int32_t i = 0; i < t; i++) inverse[n->attr.gather.index[i]] = i;
    din[0] = ft_gather_rows(g, dy[0], inverse);
}

void ft_grad_pad_front(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_pad_front_bwd, 1, dy), n->in[0], n->in[0]->dtype);
}

void ft_grad_upsample(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_upsample_bwd, 1, dy), n->in[0], n->in[0]->dtype);
}

void ft_grad_unary(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = wanted(g, bwd(g, n, FT_OP_unary_bwd, 2, (ft_t[]){n->in[0], dy[0]}), n->in[0], n->in[0]->dtype);
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
    }
}

void ft_grad_affine(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = ft_affine(g, dy[0], n->attr.scalar.a, 0);
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

void ft_grad_dropout(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_dropout, 1, dy); /* the same stream gives the same mask */
    din[0] = ft__out_like(g, b, dy[0]);
}

void ft_grad_linear(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_t x = n->in[0], w = n->in[1], b = n->in[2];
    if (x->needs_grad) din[0] = wanted(g, bwd(g, n, FT_OP_linear_bwd_x, 2, (ft_t[]){dy[0], w}), x, x->dtype);
    if (w->needs_grad) {
        ft_node *m = bwd(g, n, FT_OP_linear_bwd_w, 2, (ft_t[]){x, dy[0]});
        din[1] = wanted(g, m, w, FT_F32);
        din[2] = wanted(g, m, b, FT_F32);
    }
}

static void convolution(ft_graph *g, const ft_node *n, ft_op bwd_x, ft_op bwd_w, const ft_t *dy, ft_t *din)
{
    ft_t x = n->in[0], w = n->in[1], b = n->in[2];
    if (x->needs_grad) din[0] = wanted(g, bwd(g, n, bwd_x, 2, (ft_t[]){dy[0], w}), x, x->dtype);
    if (w->needs_grad) {
        ft_node *m = bwd(g, n, bwd_w, 2, (ft_t[]){x, dy[0]});
        din[1] = wanted(g, m, w, FT_F32);
        din[2] = wanted(g, m, b, FT_F32);
    }
}

void ft_grad_conv(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    convolution(g, n, FT_OP_conv_bwd_x, FT_OP_conv_bwd_w, dy, din);
}

void ft_grad_conv_dw(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    convolution(g, n, FT_OP_conv_dw_bwd_x, FT_OP_conv_dw_bwd_w, dy, din);
}

void ft_grad_layernorm(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    /* inputs: x gamma beta shift scale statistics dy */
    ft_node *b = bwd(g, n, FT_OP_layernorm_bwd, 7, (ft_t[]){n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], n->out[1], dy[0]});
    for (int i = 0; i < 5; i++) din[i] = wanted(g, b, n->in[i], i == 0 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_gate_residual(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    din[0] = dy[0];
    ft_node *b = bwd(g, n, FT_OP_gate_residual_bwd, 3, (ft_t[]){n->in[1], n->in[2], dy[0]});
    din[1] = wanted(g, b, n->in[1], n->in[1]->dtype);
    din[2] = wanted(g, b, n->in[2], FT_F32);
}

void ft_grad_rmsnorm_gated(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_rmsnorm_gated_bwd, 4, (ft_t[]){n->in[0], n->in[1], n->in[2], dy[0]});
    for (int i = 0; i < 3; i++) din[i] = wanted(g, b, n->in[i], i < 2 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_groupnorm(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_groupnorm_bwd, 5, (ft_t[]){n->in[0], n->in[1], n->in[2], n->out[1], dy[0]});
    for (int i = 0; i < 3; i++) din[i] = wanted(g, b, n->in[i], i == 0 ? n->in[0]->dtype : FT_F32);
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

void ft_grad_ssd(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_ssd_bwd, 6, (ft_t[]){n->in[0], n->in[1], n->in[2], n->in[3], n->in[4], dy[0]});
    for (int i = 0; i < 5; i++) din[i] = wanted(g, b, n->in[i], i < 2 ? n->in[0]->dtype : FT_F32);
}

void ft_grad_loss_mean(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din)
{
    ft_node *b = bwd(g, n, FT_OP_loss_mean_bwd, 3, (ft_t[]){n->in[0], n->in[1], dy[0]});
    din[0] = wanted(g, b, n->in[0], n->in[0]->dtype);
    if (n->in[1]->needs_grad) ft__fail(g, "loss_mean", "the target of a loss has no gradient: use ft_stop_grad");
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

typedef void grad_rule(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din);

#define RULE_GRAD(name)             ft_grad_##name
#define RULE_NOGRAD_BACKWARD(name)  NULL /* a backward op: second order comes with composed rules */
#define RULE_NOGRAD_NO_INPUT(name)  NULL /* nothing flows in */
#define RULE_NOGRAD_DATA(name)      NULL /* its input is data */
#define RULE_NOGRAD_INTEGER(name)   NULL /* piecewise constant */
#define RULE_NOGRAD_OPTIMISER(name) NULL /* after the gradients */

static grad_rule *const rules[] = {
#define OP(name, grad, prep, place) RULE_##grad(name),
    FT_OP_TABLE(OP)
#undef OP
};

static void accumulate(ft_graph *g, ft_t t, ft_t d)
{
    if (g->failed || !t->needs_grad) return;
    if (t->base != t) { /* a view: the gradient belongs to what it looks at */
        accumulate(g, t->base, d == &g->dead ? d : ft_reshape(g, d, t->base->ndim, t->base->dim));
        return;
    }
    t->grad = t->grad ? ft_add(g, t->grad, d) : d;
}

void ft_backward(ft_graph *g, ft_t loss)
{
    if (g->failed) return;
    if (loss->count != 1 || !loss->needs_grad) {
        ft__fail(g, "backward", "%s does not depend on parameters or is not a scalar", ft__shape(loss));
        return;
    }
    int forward = g->n_node;
    accumulate(g, loss, ft_const(g, FT_F32, 1, (int64_t[]){1}, (float[]){1.0f}));
    for (int i = forward - 1; i >= 0 && !g->failed; i--) {
        ft_node *n = g->node[i];
        ft_t dy[FT_MAX_OUT] = {0}, din[FT_MAX_IN] = {0};
        bool any = false;
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] && n->out[k]->needs_grad && n->out[k]->grad) dy[k] = n->out[k]->grad, any = true;
        if (!any || !dy[0]) continue;
        if (!rules[n->op]) {
            ft__fail(g, ft__op_name(n->op), "has no gradient, yet one is asked for through %s", ft__shape(n->out[0]));
            return;
        }
        rules[n->op](g, n, dy, din);
        for (int k = 0; k < n->n_in; k++)
            if (din[k] && n->in[k]) accumulate(g, n->in[k], din[k]);
    }
    for (int i = 0; i < g->n_tensor; i++) { /* gradients of parameters get a fixed place: a node of their own writes it */
        ft_t t = g->tensor[i];
        if (t->param < 0 || !t->grad || g->failed) continue;
        bool shared = t->grad->base != t->grad || !t->grad->maker || t->grad->kind == FT_IS_GRAD;
        if (shared || t->grad->dtype != FT_F32) {
            ft_t d = t->grad->dtype == FT_F32 ? ft_affine(g, t->grad, 1, 0) : ft_cast(g, t->grad, FT_F32);
            t->grad = d;
        }
        t->grad->kind = FT_IS_GRAD;
        t->grad->param = -1;
        t->grad->offset = (size_t)t->param; /* plan.c turns the parameter index into an address */
    }
}

ft_t ft_grad(ft_graph *g, ft_t t)
{
    (void)g;
    while (t->base != t) t = t->base;
    return t->grad;
}
