/* The builders, second half: norms, sequences, vision, losses. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/graph/op_build.h"

ft_t ft_layernorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t shift, ft_t scale, float eps)
{
    int64_t c = x->dim[x->ndim - 1], per_sample = x->dim[0] * c;
    NEED_AT_MOST(c, FT_MOST_NORM, x);
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
    NEED_AT_MOST(x->dim[x->ndim - 1], FT_MOST_NORM, x);
    ft_node *n = ft__node(g, FT_OP_gate_residual, 3, (ft_t[]){x, y, gate});
    return ft__out_like(g, n, x);
}

ft_t ft_rmsnorm_gated(ft_graph *g, ft_t y, ft_t z, ft_t w, float eps)
{
    NEED(same_shape(y, z) && y->dtype == z->dtype && is_vector(w, y->dim[y->ndim - 1]), "y %s, z %s", ft__shape(y), ft__shape(z));
    NEED_AT_MOST(y->dim[y->ndim - 1], FT_MOST_NORM, y);
    ft_node *n = ft__node(g, FT_OP_rmsnorm, 3, (ft_t[]){y, z, w});
    if (n) n->attr.norm.eps = eps;
    return ft__out_like(g, n, y);
}

ft_t ft_rmsnorm(ft_graph *g, ft_t x, ft_t w, float eps)
{
    NEED(is_vector(w, x->dim[x->ndim - 1]), "x %s", ft__shape(x));
    NEED_AT_MOST(x->dim[x->ndim - 1], FT_MOST_NORM, x);
    ft_node *n = ft__node(g, FT_OP_rmsnorm, 3, (ft_t[]){x, NULL, w});
    if (n) n->attr.norm.eps = eps;
    return ft__out_like(g, n, x);
}

ft_t ft_groupnorm_conditioned(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t scale, ft_t shift, const int32_t *frame,
                              int groups, float eps, ft_act act)
{
    int64_t c = x->dim[x->ndim - 1];
    NEED(groups > 0 && c % groups == 0 && is_vector(gamma, c) && is_vector(beta, c) && !gamma == !beta && !scale == !shift,
         "x %s, %d groups", ft__shape(x), groups);
    NEED_AT_MOST(c, FT_MOST_CHANNELS, x);
    if (scale)
        NEED(x->ndim == 5 && same(scale, shift) && scale->ndim == 5 && scale->dtype == x->dtype && scale->dim[0] == x->dim[0] &&
                 scale->dim[4] == c,
             "x %s, condition %s", ft__shape(x), ft__shape(scale));
    ft_node *n = ft__node(g, FT_OP_groupnorm, 5, (ft_t[]){x, gamma, beta, scale, shift});
    if (n) n->attr.norm.eps = eps, n->attr.norm.groups = groups, n->attr.norm.act = act;
    if (scale && frame && n) {
        int32_t *copy = ft_arena_alloc(g->arena, (size_t)x->dim[1] * sizeof *copy);
        NEED(copy, "no memory");
        for (int64_t t = 0; t < x->dim[1]; t++) {
            NEED(frame[t] >= 0 && frame[t] < scale->dim[1], "frame %lld reads condition %d", (long long)t, frame[t]);
            copy[t] = frame[t];
        }
        n->attr.norm.frame = copy;
    }
    ft_t y = ft__out_like(g, n, x);
    ft__out(g, n, FT_F32, 3, (int64_t[]){x->dim[0], groups, 2}); /* mean, 1/std of every group */
    return y;
}

ft_t ft_groupnorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, int groups, float eps, ft_act act)
{
    return ft_groupnorm_conditioned(g, x, gamma, beta, NULL, NULL, NULL, groups, eps, act);
}

ft_t ft_batchnorm(ft_graph *g, ft_t x, ft_t gamma, ft_t beta, ft_t mean, ft_t var, int64_t first, float momentum, float eps,
                  ft_act act)
{
    int64_t c = x->dim[x->ndim - 1];
    NEED(gamma && is_vector(gamma, c) && beta && is_vector(beta, c) && is_vector(mean, c) && is_vector(var, c) && first >= 0 &&
             first <= x->dim[0],
         "x %s, first %lld", ft__shape(x), (long long)first);
    NEED_AT_MOST(c, FT_MOST_CHANNELS, x);
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

ft_t ft_sdpa_relative(ft_graph *g, ft_t q, ft_t k, ft_t v, ft_t rel_k, ft_t rel_v, ft_sdpa_opt opt)
{
    NEED(q->ndim == 3 && !k == !v && opt.heads > 0, "q %s, %lld heads", ft__shape(q), (long long)opt.heads);
    int64_t c = k ? q->dim[2] : q->dim[2] / 3, d = c / opt.heads;
    NEED(c % opt.heads == 0 && (k || q->dim[2] % 3 == 0), "width %lld, %lld heads", (long long)c, (long long)opt.heads);
    if (k)
        NEED(same(k, v) && k->ndim == 3 && k->dtype == q->dtype && k->dim[0] == q->dim[0] && k->dim[2] == c, "q %s, k %s, v %s",
             ft__shape(q), ft__shape(k), ft__shape(v));
    NEED(!opt.transpose || !k || k->dim[1] == q->dim[1], "transposed relative keys need as many keys as queries");
    for (int i = 0; i < 2; i++) {
        ft_t r = i ? rel_v : rel_k;
        if (r)
            NEED(r->ndim == 2 && r->dtype == FT_F32 && r->dim[0] % 2 == 1 && r->dim[1] == d, "relative table %s", ft__shape(r));
    }
    if (rel_k && rel_v) NEED(same_shape(rel_k, rel_v), "relative tables %s and %s", ft__shape(rel_k), ft__shape(rel_v));
    if (opt.scale == 0) opt.scale = 1.0f / sqrtf((float)d);
    ft_node *n = ft__node(g, FT_OP_sdpa, 5, (ft_t[]){q, k, v, rel_k, rel_v});
    if (n) n->attr.sdpa = opt;
    ft_t y = ft__out(g, n, q->dtype, 3, (int64_t[]){q->dim[0], q->dim[1], c});
    ft__out(g, n, FT_F32, 3, (int64_t[]){q->dim[0], opt.heads, q->dim[1]}); /* log of each row's sum of exponentials */
    return y;
}

ft_t ft_sdpa(ft_graph *g, ft_t q, ft_t k, ft_t v, ft_sdpa_opt opt) { return ft_sdpa_relative(g, q, k, v, NULL, NULL, opt); }

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

ft_t ft_attention_channel(ft_graph *g, ft_t qkv, ft_t theta, int64_t heads)
{
    NEED(qkv->ndim == 3 && qkv->dim[2] % 3 == 0 && heads > 0 && qkv->dim[2] / 3 % heads == 0 && is_vector(theta, heads) && theta,
         "qkv %s, %lld heads", ft__shape(qkv), (long long)heads);
    int64_t c = qkv->dim[2] / 3, p = c / heads;
    NEED_AT_MOST(p, FT_MOST_HEAD_WIDTH, qkv);
    ft_node *n = ft__node(g, FT_OP_attention_channel, 2, (ft_t[]){qkv, theta});
    if (n) n->attr.sdpa.heads = heads;
    ft_t y = ft__out(g, n, qkv->dtype, 3, (int64_t[]){qkv->dim[0], qkv->dim[1], c});
    ft__out(g, n, FT_F32, 4, (int64_t[]){qkv->dim[0], heads, p, p}); /* probabilities, transposed: (key channel, query channel) */
    return y;
}

ft_t ft_ssd_state(ft_graph *g, ft_t xbc, ft_t dt, ft_t dt_bias, ft_t a_log, ft_t d, int64_t heads, int64_t state_width,
                  ft_t state, ft_t *final)
{
    if (final) *final = &g->dead;
    NEED(xbc->ndim == 3 && dt->ndim == 3 && xbc->dim[0] == dt->dim[0] && xbc->dim[1] == dt->dim[1] && dt->dim[2] == heads &&
             (xbc->dim[2] - 2 * state_width) % heads == 0 && xbc->dim[2] > 2 * state_width && is_vector(dt_bias, heads) &&
             is_vector(a_log, heads) && is_vector(d, heads) && xbc->dtype == dt->dtype,
         "xbc %s, dt %s, %lld heads, state %lld", ft__shape(xbc), ft__shape(dt), (long long)heads, (long long)state_width);
    int64_t e = xbc->dim[2] - 2 * state_width, s[4] = {xbc->dim[0], heads, state_width, e / heads};
    NEED(is_vector(state, s[0] * s[1] * s[2] * s[3]), "state %s: (S, heads, N, headdim) f32", ft__shape(state));
    ft_node *n = ft__node(g, FT_OP_ssd, 6, (ft_t[]){xbc, dt, dt_bias, a_log, d, state});
    if (n) n->attr.seq.heads = heads, n->attr.seq.state = state_width;
    ft_t y = ft__out(g, n, xbc->dtype, 3, (int64_t[]){s[0], xbc->dim[1], e});
    if (final) *final = ft__out(g, n, FT_F32, 4, s);
    return y;
}

ft_t ft_ssd(ft_graph *g, ft_t xbc, ft_t dt, ft_t dt_bias, ft_t a_log, ft_t d, int64_t heads, int64_t state_width)
{
    return ft_ssd_state(g, xbc, dt, dt_bias, a_log, d, heads, state_width, NULL, NULL);
}

ft_t ft_wkv(ft_graph *g, ft_t k, ft_t v, ft_t w, ft_t u, int64_t columns)
{
    int64_t c = k->dim[k->ndim - 1];
    NEED((k->ndim == 3 || k->ndim == 4) && same(k, v) && is_vector(w, c) && is_vector(u, c) && columns >= 0 &&
             (columns == 0 || k->dim[1] % columns == 0),
         "k %s, v %s, %lld columns", ft__shape(k), ft__shape(v), (long long)columns);
    ft_node *n = ft__node(g, FT_OP_wkv, 4, (ft_t[]){k, v, w, u});
    if (n) n->attr.seq.columns = columns;
    return ft__out_like(g, n, k);
}

ft_t ft_warp(ft_graph *g, ft_t x, ft_t m, int64_t h, int64_t w)
{
    NEED(x->ndim == 4 && m->ndim == 2 && m->dtype == FT_F32 && m->dim[0] == x->dim[0] && m->dim[1] == 6 && h > 0 && w > 0,
         "x %s, map %s", ft__shape(x), ft__shape(m));
    ft_node *n = ft__node(g, FT_OP_warp, 2, (ft_t[]){x, m});
    return ft__out(g, n, x->dtype, 4, (int64_t[]){x->dim[0], h, w, x->dim[3]});
}

ft_t ft_grid_sample(ft_graph *g, ft_t x, ft_t at)
{
    NEED(x->ndim == 4 && at->ndim == 4 && at->dtype == FT_F32 && at->dim[0] == x->dim[0] && at->dim[3] == 2, "x %s, at %s",
         ft__shape(x), ft__shape(at));
    ft_node *n = ft__node(g, FT_OP_grid_sample, 2, (ft_t[]){x, at});
    return ft__out(g, n, x->dtype, 4, (int64_t[]){x->dim[0], at->dim[1], at->dim[2], x->dim[3]});
}

ft_t ft_corr_lookup(ft_graph *g, ft_t at, int levels, const ft_t *volume, int radius)
{
    NEED(levels >= 1 && levels < FT_MAX_IN && at->ndim == 4 && at->dtype == FT_F32 && at->dim[3] == 2 && radius >= 0,
         "at %s, %d levels", ft__shape(at), levels);
    NEED(radius <= FT_MOST_RADIUS, "radius %d, at most %d", radius, FT_MOST_RADIUS);
    ft_t in[FT_MAX_IN] = {at};
    for (int i = 0; i < levels; i++) {
        NEED(volume[i]->ndim == 4 && volume[i]->dim[0] == at->dim[0] && volume[i]->dim[1] == at->dim[1] * at->dim[2] &&
                 volume[i]->dtype == volume[0]->dtype,
             "level %d is %s, coordinates are %s", i, ft__shape(volume[i]), ft__shape(at));
        in[1 + i] = volume[i];
    }
    ft_node *n = ft__node(g, FT_OP_corr_lookup, 1 + levels, in);
    if (n) n->attr.corr.radius = radius;
    int64_t side = 2 * radius + 1;
    return ft__out(g, n, volume[0]->dtype, 4, (int64_t[]){at->dim[0], at->dim[1], at->dim[2], levels * side * side});
}

ft_t ft_augment(ft_graph *g, ft_t rgb, ft_t view, ft_t cutout, float mean, float std)
{
    NEED(rgb->dtype == FT_U8 && rgb->ndim == 5 && rgb->dim[4] == 3 && std > 0, "clips are %s", ft__shape(rgb));
    NEED(!view || (view->dtype == FT_F32 && view->ndim == 2 && view->dim[0] == rgb->dim[0] && view->dim[1] == FT_VIEW_NUMBERS),
         "clips %s, views %s", ft__shape(rgb), ft__shape(view));
    NEED(!cutout || (view && cutout->dtype == FT_F32 && cutout->ndim == 3 && cutout->dim[0] == rgb->dim[0] &&
                     cutout->dim[1] == rgb->dim[1] && cutout->dim[2] == 3),
         "clips %s, cutouts %s", ft__shape(rgb), ft__shape(cutout));
    ft_node *n = ft__node(g, FT_OP_augment, 3, (ft_t[]){rgb, view, cutout});
    if (n) n->attr.scalar.a = mean, n->attr.scalar.b = std;
    return ft__out(g, n, FT_F32, 5, rgb->dim);
}

ft_t ft_loss_weighted(ft_graph *g, ft_t x, ft_t target, ft_t weight, ft_loss_kind kind, float delta)
{
    NEED(x->count == target->count && is_vector(weight, x->dim[0]), "x %s, target %s", ft__shape(x), ft__shape(target));
    ft_node *n = ft__node(g, FT_OP_loss_mean, 3, (ft_t[]){x, target, weight});
    if (n) n->attr.scalar.kind = kind, n->attr.scalar.a = delta;
    return ft__out(g, n, FT_F32, 1, (int64_t[]){1});
}

ft_t ft_loss_mean(ft_graph *g, ft_t x, ft_t target, ft_loss_kind kind) { return ft_loss_weighted(g, x, target, NULL, kind, 1); }

ft_t ft_softmax_xent(ft_graph *g, ft_t logits, ft_t target, ft_t weight)
{
    bool classes = target->dtype == FT_I32 && target->count == logits->dim[0];
    NEED(logits->ndim == 2 && logits->dtype == FT_F32 && is_vector(weight, logits->dim[0]) &&
             (classes || (same_shape(logits, target) && target->dtype == FT_F32)),
         "logits %s, target %s: f32 (B,C), or i32 (B)", ft__shape(logits), ft__shape(target));
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

ft_t ft_gauss_kl(ft_graph *g, ft_t moments)
{
    NEED(moments->dim[moments->ndim - 1] % 2 == 0, "%s: mean|logvar in the last axis", ft__shape(moments));
    NEED_AT_MOST(moments->dim[moments->ndim - 1] / 2, FT_MOST_LATENT, moments);
    ft_node *n = ft__node(g, FT_OP_gauss_kl, 1, &moments);
    return ft__out(g, n, FT_F32, 1, (int64_t[]){1});
}

ft_t ft_vlb(ft_graph *g, ft_t nu, ft_t eps, ft_t x0, ft_t xt, ft_t coefficient)
{
    NEED(same_shape(nu, eps) && same_shape(nu, x0) && same_shape(nu, xt) && is_vector(coefficient, 8 * nu->dim[0]),
         "nu %s, eps %s, x0 %s, xt %s, coefficient %s", ft__shape(nu), ft__shape(eps), ft__shape(x0), ft__shape(xt),
         ft__shape(coefficient));
    ft_node *n = ft__node(g, FT_OP_vlb, 5, (ft_t[]){nu, eps, x0, xt, coefficient});
    return ft__out(g, n, FT_F32, 1, (int64_t[]){1});
}

ft_t ft_pearson(ft_graph *g, ft_t a, ft_t b)
{
    NEED(same_shape(a, b), "%s with %s", ft__shape(a), ft__shape(b));
    NEED_AT_MOST(a->dim[a->ndim - 1], FT_MOST_ROW, a);
    ft_node *n = ft__node(g, FT_OP_pearson, 2, (ft_t[]){a, b});
    return ft__out(g, n, FT_F32, 1, (int64_t[]){a->count / a->dim[a->ndim - 1]});
}
