/* SoftMatch (Chen et al., ICLR 2023): every pseudo-label counts, by a Gaussian of how far its confidence lies below the running
 * mean. Confidences are those after uniform alignment: p / running mean of p, made to add up to 1. The label is the largest
 * probability before it. */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, const ft_ssl_batch *b, ft_t *mask)
{
    double C = (double)b->classes, m = b->opt->momentum;
    int64_t U = ft_dim(b->weak, 0);
    if (U < 2) return ft_graph_fail(g, "softmatch needs two unlabelled clips a step at least: its variance is over a batch");
    ft_t label, top, p = ft_ssl_predict(g, b->weak, &label, &top), now = ft_ssl_over_clips(g, p, true); /* (1,C) */
    ft_t seen = ft_ssl_state(g, "softmatch.seen", 1, 1, 0), before = ft_ssl_state(g, "softmatch.mean", 1, b->classes, 0);
    /* m before + (1 - m) now, but for the first step: now */
    ft_t mean = ft_add(g, now, ft_mul(g, ft_sub(g, before, now), ft_affine(g, seen, (float)m, 0)));
    ft_assign(g, before, mean);
    ft_assign(g, seen, ft_affine(g, seen, 0, 1));
    ft_t aligned = ft_div(g, ft_affine(g, p, (float)(1 / C + 1e-6), 0), ft_affine(g, mean, 1, 1e-6f));
    top = ft_ssl_largest(g, ft_ssl_normalise(g, aligned)); /* (U,1) */
    ft_t average = ft_reduce(g, top, 1, true);
    ft_t spread =
        ft_affine(g, ft_reduce(g, ft_unary(g, FT_SQUARE, ft_sub(g, top, average)), 1, false), (float)(1 / (double)(U - 1)), 0);
    ft_t mu = ft_ssl_blend(g, b, ft_ssl_state(g, "softmatch.mu", 1, 1, 1 / C), average);
    ft_t v = ft_ssl_blend(g, b, ft_ssl_state(g, "softmatch.variance", 1, 1, 1), spread);
    ft_t below = ft_unary(g, FT_RELU, ft_affine(g, ft_sub(g, top, mu), -1, 0));                     /* how far below the mean */
    ft_t w = ft_unary(g, FT_EXP, ft_div(g, ft_affine(g, ft_unary(g, FT_SQUARE, below), -2, 0), v)); /* 2 v / 2^2 below */
    *mask = ft_ssl_mask(g, w);
    return ft_softmax_xent(g, b->strong, label, *mask);
}

extern const ft_ssl ft_ssl_softmatch;
const ft_ssl ft_ssl_softmatch = {"softmatch", "every pseudo-label counts, by how confident it is", FT_SSL_WEAK | FT_SSL_STRONG, 1,
                                 loss};
