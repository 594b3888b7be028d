/* FreeMatch (Wang et al., ICLR 2023): FixMatch with a threshold that follows the running mean of the confidence, scaled for each
 * class by its running mean probability; and a term that keeps the strong view's mean prediction fair (ssl.fairness). All three
 * running means take in this step's weak view before they are used. */
#include "classify/ssl.h"

/* sum over classes of norm(p / h) log norm(q / k): p, h of the running means, q, k of the masked strong predictions */
static ft_t fairness(ft_graph *g, const ft_ssl_batch *b, ft_t p, ft_t h, ft_t mask)
{
    ft_t label, top, q = ft_softmax(g, b->strong), counted = ft_reduce(g, mask, 1, false); /* (1,1) */
    ft_t any = ft_unary(g, FT_STEP, ft_affine(g, counted, 1, -0.5f));
    ft_ssl_predict(g, b->strong, &label, &top);
    ft_t mean = ft_ssl_ratio(g, ft_ssl_over_clips(g, ft_mul(g, q, mask), false),
                             ft_broadcast(g, counted, 2, (int64_t[]){1, b->classes}, 1));
    ft_t hist = ft_ssl_ratio(g, ft_ssl_over_clips(g, ft_mul(g, label, mask), false),
                             ft_broadcast(g, counted, 2, (int64_t[]){1, b->classes}, 1));
    ft_t target = ft_ssl_normalise(g, ft_ssl_ratio(g, p, h)), is = ft_ssl_normalise(g, ft_ssl_ratio(g, mean, hist));
    ft_t sum = ft_ssl_over_classes(g, ft_mul(g, ft_unary(g, FT_LOG, ft_affine(g, is, 1, 1e-12f)), target)); /* (1,1) */
    return ft_reshape(g, ft_mul(g, sum, any), 1, (int64_t[]){1}); /* nothing where no clip is masked in */
}

static ft_t loss(ft_graph *g, const ft_ssl_batch *b, ft_t *mask)
{
    double share = 1.0 / (double)b->classes, weight = b->opt->fairness;
    ft_t label, top, p = ft_ssl_predict(g, b->weak, &label, &top);
    ft_t bound = ft_ssl_blend(g, b, ft_ssl_state(g, "freematch.threshold", 1, 1, share), ft_reduce(g, top, 1, true));
    ft_t mean = ft_ssl_blend(g, b, ft_ssl_state(g, "freematch.mean", 1, b->classes, share), ft_ssl_over_clips(g, p, true));
    ft_t hist =
        ft_ssl_blend(g, b, ft_ssl_state(g, "freematch.histogram", 1, b->classes, share), ft_ssl_over_clips(g, label, true));
    ft_t of_class = ft_mul(g, ft_div(g, mean, ft_ssl_largest(g, mean)), bound); /* (1,C) */
    ft_t in = ft_ssl_at_least(g, top, ft_ssl_over_classes(g, ft_mul(g, label, of_class)));
    *mask = ft_ssl_mask(g, in);
    ft_t l = ft_softmax_xent(g, b->strong, label, *mask);
    return weight > 0 ? ft_add(g, l, ft_affine(g, fairness(g, b, mean, hist, in), (float)weight, 0)) : l;
}

extern const ft_ssl ft_ssl_freematch;
const ft_ssl ft_ssl_freematch = {"freematch", "FixMatch, with thresholds that follow the confidence, and a fairness term",
                                 FT_SSL_WEAK | FT_SSL_STRONG, 1, loss};
