#include "common/base/quantiles.h"

#include <math.h>
#include <stdlib.h>

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

void ft_sort(double *value, int64_t n) { qsort(value, (size_t)n, sizeof *value, rising); }

double ft_quantile(const double *sorted, int64_t n, double q)
{
    double at = q * (double)(n - 1);
    int64_t below = (int64_t)floor(at), above = below + 1 < n ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

void ft_percentiles(double *value, int samples, double *low, double *high)
{
    ft_sort(value, samples);
    *low = value[(int)floor(0.025 * (samples - 1))];
    *high = value[(int)ceil(0.975 * (samples - 1))];
}
