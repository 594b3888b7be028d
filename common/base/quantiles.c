#include "common/base/quantiles.h"

#include <math.h>
#include <stdlib.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"

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

int ft_ratio_interval(const double *of, int64_t n, int samples, uint64_t seed, uint32_t stream, double empty, double *low,
                      double *high)
{
    double *value = ft_alloc_n(samples + 1, sizeof *value);
    if (!value) return FT_FAIL(FT_ENOMEM, "no memory for a bootstrap");
    for (int k = 0; k < samples; k++) {
        ft_rng r = ft_rng_make(seed, stream, (uint64_t)k);
        double below = 0, above = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t at = 2 * ft_rng_below(&r, n);
            below += of[at], above += of[at + 1];
        }
        value[k] = below > 0 ? above / below : empty;
    }
    if (samples > 0) ft_percentiles(value, samples, low, high);
    ft_free(value);
    return FT_OK;
}
