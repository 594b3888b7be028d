#include "common/base/antialias.h"

#include <math.h>

double ft_keys_cubic(double d, double a)
{
    d = fabs(d);
    return d < 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : d < 2 ? a * (((d - 5) * d + 8) * d - 4) : 0;
}

static double sinc(double x) { return x == 0 ? 1 : sin(M_PI * x) / (M_PI * x); }

static double curve(ft_antialias_filter f, double d)
{
    if (f == FT_KEYS) return ft_keys_cubic(d, -0.5);
    d = fabs(d);
    if (f == FT_TENT) return fmax(1 - d, 0);
    return d < 3 ? sinc(d) * sinc(d / 3) : 0;
}

static double widened(double step) { return step > 1 ? step : 1; }
static double reach_of(ft_antialias_filter f, double step) { return ((int)f + 1) * widened(step); }

int64_t ft_antialias_most(ft_antialias_filter f, double step) { return 2 * (int64_t)ceil(reach_of(f, step)) + 2; }

int64_t ft_antialias(ft_antialias_filter f, int64_t old, double step, int64_t r, int64_t *from, double *weight)
{
    double at = step * ((double)r + 0.5), reach = reach_of(f, step), sum = 0;
    int64_t begin = *from = (int64_t)fmax(at - reach + 0.5, 0), end = (int64_t)fmin(at + reach + 0.5, (double)old);
    for (int64_t k = begin; k < end; k++) sum += weight[k - begin] = curve(f, ((double)k - at + 0.5) / widened(step));
    for (int64_t k = begin; k < end; k++) weight[k - begin] /= sum;
    return end - begin;
}
