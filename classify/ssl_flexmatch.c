/* FlexMatch (Zhang et al., NeurIPS 2021): FixMatch with a threshold of each class, lower where few clips have been learned.
 * Every clip of the pool keeps the last class that it was confident of; beta_c = its count / max(largest count, clips without
 * one) (with warm-up); a clip counts when max p >= threshold beta_c / (2 - beta_c). The counts are those before this step. */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, const ft_ssl_batch *b, ft_t *mask)
{
    double threshold = b->opt->threshold;
    ft_t label, top, known = ft_ssl_state(g, "flexmatch.labels", b->clips, b->classes, 0); /* one-hot rows; zeros: not yet */
    ft_ssl_predict(g, b->weak, &label, &top);
    ft_t count = ft_reduce(g, known, 1, false), most = ft_ssl_largest(g, count);                /* (1,C), (1,1) */
    ft_t unknown = ft_affine(g, ft_ssl_over_classes(g, count), -1, (float)b->clips);            /* (1,1) */
    most = ft_add(g, unknown, ft_unary(g, FT_RELU, ft_sub(g, most, unknown)));                  /* the larger of both */
    ft_t beta = ft_div(g, count, most), bound = ft_div(g, beta, ft_affine(g, beta, -1, 2));     /* (1,C) */
    bound = ft_ssl_over_classes(g, ft_mul(g, label, ft_affine(g, bound, (float)threshold, 0))); /* (U,1): of its class */
    *mask = ft_ssl_mask(g, ft_ssl_at_least(g, top, bound));
    ft_assign_rows(g, known, b->index, label, ft_ssl_mask(g, ft_unary(g, FT_STEP, ft_affine(g, top, 1, -(float)threshold))));
    return ft_softmax_xent(g, b->strong, label, *mask);
}

extern const ft_ssl ft_ssl_flexmatch;
const ft_ssl ft_ssl_flexmatch = {"flexmatch", "FixMatch, with thresholds lower for classes learned less",
                                 FT_SSL_WEAK | FT_SSL_STRONG, 1, loss};
