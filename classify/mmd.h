/* Maximum mean discrepancy of two sets of clips, squared and unbiased, with the kernel of KID: k(x, y) = (x.y / d + 1)^3
 * (Binkowski et al. 2018, arXiv 1801.01401, Eq 3 and section 2). 0 on average where both come from one distribution, however few
 * they are; so it may be negative. */
#ifndef FT_MMD_H
#define FT_MMD_H

#include "classify/prdc.h"

/* Means over pairs i != j within each set, where clips of one video make no pair. low, high: 95 % percentile interval of
 * `samples` draws of videos on both sides; with samples = 0 neither is set. FT_EDATA with less than two videos on a side. */
int ft_mmd(const ft_feature_set *real, const ft_feature_set *made, int64_t d, int samples, double *value, double *low,
           double *high);

#endif
