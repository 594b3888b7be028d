/* Quantiles of numbers, and intervals by the bootstrap. */
#ifndef FT_QUANTILES_H
#define FT_QUANTILES_H

#include <stdint.h>

void ft_sort(double *value, int64_t n); /* rising, in place */

/* Quantile q in [0, 1] of n > 0 sorted values, between neighbours linearly (NumPy's default). */
double ft_quantile(const double *sorted, int64_t n, double q);

/* The 95 % percentile interval of bootstrap values, which are sorted in place; its ends are values, rounded outwards. */
void ft_percentiles(double *value, int samples, double *low, double *high);
/* The same of a ratio of sums, over draws of n units with replacement from a stream (streams.h). of (n,2): of each unit what is
 * added below and above the line; a draw with nothing below counts as `empty`. FT_ENOMEM. */
int ft_ratio_interval(const double *of, int64_t n, int samples, uint64_t seed, uint32_t stream, double empty, double *low,
                      double *high);

#endif
