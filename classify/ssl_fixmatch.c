/* FixMatch (Sohn et al., NeurIPS 2020, eq. 4): the weak view's confident prediction is the label of the strong view.
 * L_u = mean over all unlabelled clips of [max p(weak) >= threshold] * H(argmax p(weak), p(strong)). */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, const ft_ssl_batch *b, ft_t *mask)
{
    ft_t label = ft_pseudo_label(g, ft_ssl_aligned(g, b, b->weak), (float)b->opt->threshold, mask);
    return ft_softmax_xent(g, b->strong, label, *mask);
}

extern const ft_ssl ft_ssl_fixmatch;
const ft_ssl ft_ssl_fixmatch = {"fixmatch", "weak view labels the strong view where it is confident", FT_SSL_WEAK | FT_SSL_STRONG,
                                1, loss};
