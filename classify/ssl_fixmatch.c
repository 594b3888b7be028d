/* FixMatch (Sohn et al., NeurIPS 2020, eq. 4): the weak view's confident prediction is the label of the strong view.
 * L_u = mean over all unlabelled clips of [max p(weak) >= threshold] * H(argmax p(weak), p(strong)). */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, ft_t weak, ft_t strong, const ft_config *cfg, ft_t *mask)
{
    ft_t label = ft_pseudo_label(g, weak, (float)ft_config_real(cfg, "ssl.threshold"), mask); /* no gradient into the weak view */
    return ft_softmax_xent(g, strong, label, *mask);
}

extern const ft_ssl ft_ssl_fixmatch;
const ft_ssl ft_ssl_fixmatch = {"fixmatch", "weak view labels the strong view where it is confident", loss};
