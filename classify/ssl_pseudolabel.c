/* Pseudo-Label (Lee 2013) with a threshold: the weak view's confident prediction is its own label. This is also what the
 * released "FixMatch" of the field's downstream script computes: its strong view is forwarded and never used. */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, ft_t weak, ft_t strong, const ft_config *cfg, ft_t *mask)
{
    (void)strong;
    ft_t label = ft_pseudo_label(g, weak, (float)ft_config_real(cfg, "ssl.threshold"), mask);
    return ft_softmax_xent(g, weak, label, *mask);
}

extern const ft_ssl ft_ssl_pseudolabel;
const ft_ssl ft_ssl_pseudolabel = {"pseudolabel", "confident predictions on the weak view are its labels", loss};
