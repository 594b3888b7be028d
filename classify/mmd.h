/* Maximum mean discrepancy of two sets of clips, squared, with the polynomial kernel k(x, y) = (x.y / d + c)^p. */
#ifndef FT_MMD_H
#define FT_MMD_H

#include "classify/prdc.h"

/* kid: c = 1, p = 3, unbiased (Binkowski et al. 2018, arXiv 1801.01401, Eq 3 and section 2): means over pairs i != j within each
 * set, where clips of one video make no pair. 0 on average where both sets come from one distribution, however few they are; so
 * it may be negative. jedi: c = 0, p = 2, biased: over all pairs, each clip with itself as well, so it is never negative and
 * grows as sets shrink (Luo et al. 2024, arXiv 2410.05203, who print it times 100 and take features of V-JEPA). */
typedef struct {
    int power;
    double constant, times;
    bool biased;
} ft_mmd_form;
extern const ft_mmd_form ft_mmd_kid, ft_mmd_jedi;

/* low, high: 95 % percentile interval of `samples` draws of videos on both sides; with samples = 0 neither is set. FT_EDATA with
 * less than two videos on a side. */
int ft_mmd(const ft_mmd_form *form, const ft_feature_set *real, const ft_feature_set *made, int64_t d, int samples, double *value,
           double *low, double *high);

#endif
