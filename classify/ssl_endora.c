/* What the field's released downstream script calls FixMatch (train_semi_gen of Endora's Downstream-Semi):
 * its strong view is forwarded but never used. A weak view's own confident prediction is its label, after alignment to equal
 * classes by the mean of at most 32 batch means, a list that begins anew every epoch (classifier.epoch): q = mean of the list,
 * p'_b = p_b / q made to sum to 1, L_u = mean_b [max p'_b >= threshold] * H(argmax p'_b, p_b). */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, const ft_ssl_batch *b, ft_t *mask)
{
    enum { OLDEST = 32 };
    ft_t p = ft_softmax(g, ft_stop_grad(g, b->weak)), one = ft_const(g, FT_F32, 2, (int64_t[]){1, 1}, (float[]){1});
    ft_t queue = ft_ssl_state(g, "endora.queue", OLDEST, b->classes, 0), filled = ft_ssl_state(g, "endora.filled", OLDEST, 1, 0);
    ft_t old = ft_mul(g, ft_slice(g, filled, 0, 0, OLDEST - 1), ft_affine(g, b->fresh, -1, 1)); /* (31,1) */
    ft_t rows = ft_concat(g, 0, 2, (ft_t[]){ft_ssl_over_clips(g, p, true), ft_slice(g, queue, 0, 0, OLDEST - 1)});
    ft_t there = ft_concat(g, 0, 2, (ft_t[]){one, old}); /* newest first */
    ft_assign(g, queue, rows);
    ft_assign(g, filled, there);
    ft_t mean = ft_div(g, ft_ssl_over_clips(g, ft_mul(g, rows, there), false), ft_ssl_over_clips(g, there, false)); /* (1,C) */
    ft_t aligned = ft_unary(g, FT_LOG, ft_affine(g, ft_div(g, p, mean), 1, 1e-30f)); /* made to add up to 1 by the next softmax */
    ft_t label = ft_pseudo_label(g, aligned, (float)b->opt->threshold, mask);
    return ft_softmax_xent(g, b->weak, label, *mask);
}

extern const ft_ssl ft_ssl_endora;
const ft_ssl ft_ssl_endora = {"endora", "the released script: its FixMatch, which never uses the strong view", FT_SSL_WEAK, 1,
                              loss};
