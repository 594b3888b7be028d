#include "common/base/ranges.h"

void ft_mean_ranges(const float *x, int64_t n, int64_t inner, int64_t m, float *y)
{
    for (int64_t j = 0; j < m; j++) {
        int64_t from = j * n / m, to = (j + 1) * n / m > from ? (j + 1) * n / m : from + 1;
        for (int64_t i = 0; i < inner; i++) {
            double sum = 0;
            for (int64_t k = from; k < to; k++) sum += (double)x[k * inner + i];
            y[j * inner + i] = (float)(sum / (double)(to - from));
        }
    }
}
