/* Pseudo-Label (Lee 2013) with a threshold: the weak view's confident prediction is its own label, with a weight that grows over
 * the first part of the training (ssl.ramp). Without the ramp this is also what the released "FixMatch" of the field's
 * downstream script computes: its strong view is forwarded and never used. */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, const ft_ssl_batch *b, ft_t *mask)
{
    ft_t label = ft_pseudo_label(g, ft_ssl_aligned(g, b, b->weak), (float)b->opt->threshold, mask);
    return ft_ssl_ramped(g, b, ft_softmax_xent(g, b->weak, label, *mask));
}

extern const ft_ssl ft_ssl_pseudolabel;
const ft_ssl ft_ssl_pseudolabel = {"pseudolabel", "confident predictions on the weak view are its labels", FT_SSL_WEAK, 1, loss};
