/* Worth in labels: how many more labelled videos would do for the baseline what an arm does.
 *
 * The label-efficiency curve is the F1 of the baseline at several numbers of labelled videos, the same classifier for the same
 * steps, made monotone (more labels do no harm: isotonic regression, equal weights) and linear in the logarithm of the number
 * between its points. An arm's F1, the curve at its baseline's labels plus its paired difference, is read off it. The interval
 * resamples the curve and the arm together, over splits, seeds and test videos. Nothing is extrapolated. */
#ifndef FT_WORTH_H
#define FT_WORTH_H

#include "experiments/arms/results.h"

/* The closest values of f1 that never fall, in place: isotonic least squares by pool adjacent violators. Points in order. */
void ft_curve_isotonic(ft_label_point *p, int n);

/* F1 of a monotone curve at so many labels, between those of the first point and of the last. n >= 2. */
double ft_curve_f1(const ft_label_point *p, int n, double labels);

/* Where it has this F1: of a flat part the place nearest to `near`; -INFINITY below the first point, INFINITY above the last. */
double ft_curve_labels(const ft_label_point *p, int n, double f1, double near);

/* The curve of the runs and the worth of every arm in labelled videos (NaN without a curve or a baseline). The runs must be read,
 * the differences known. */
int ft_worth(ft_result *r);

/* The F1 at which an arm that has a worth is read off r->point. */
double ft_worth_f1(const ft_result *r, const ft_arm_result *a);

#endif
