/* Rows averaged over equal ranges: fewer, as many, or (each a row as it is) more. */
#ifndef FT_RANGES_H
#define FT_RANGES_H

#include <stdint.h>

/* x (n,inner) to y (m,inner): row j is the mean of rows trunc(j n / m) to trunc((j + 1) n / m) - 1, at least of the first; sums
 * in double. */
void ft_mean_ranges(const float *x, int64_t n, int64_t inner, int64_t m, float *y);

#endif
