#include "experiments/statistics/frechet.h"

#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

enum { TILE = 4, ROWS = 512 };

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

/* to (TILE, TILE) = a (TILE, k) b^T (TILE, k) */
static void tile(const double *a, const double *b, int64_t k, double to[TILE][TILE])
{
    for (int i = 0; i < TILE; i += 2)
        for (int j = 0; j < TILE; j += 2) { /* two by two: each number that is read goes into two sums */
            const double *p = a + i * k, *q = p + k, *r = b + j * k, *s = r + k;
            double pr = 0, ps = 0, qr = 0, qs = 0;
#pragma omp simd reduction(+ : pr, ps, qr, qs)
            for (int64_t l = 0; l < k; l++) pr += p[l] * r[l], ps += p[l] * s[l], qr += q[l] * r[l], qs += q[l] * s[l];
            to[i][j] = pr, to[i][j + 1] = ps, to[i + 1][j] = qr, to[i + 1][j + 1] = qs;
        }
}

/* c (m, n) += a (m, k) b^T (n, k), whose rows are followed by TILE of zeros. half: c is symmetric, what is right of the tiles on
 * the diagonal is left out. */
static void add_product(const double *a, int64_t m, const double *b, int64_t n, int64_t k, bool half, double *c)
{
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t i = 0; i < m; i += TILE)
        for (int64_t j = 0; j < (half ? least(i + TILE, n) : n); j += TILE) {
            double of[TILE][TILE];
            tile(a + i * k, b + j * k, k, of);
            for (int64_t p = 0; p < least(TILE, m - i); p++)
                for (int64_t q = 0; q < least(TILE, n - j); q++) c[(i + p) * n + j + q] += of[p][q];
        }
}

/* factor (d, d) of the covariance of more than d rows: the Cholesky factor with pivots, its columns put back in their places */
static int cholesky(ft_gaussian *g, const float *x, double scale)
{
    int64_t d = g->d, n = g->n;
    double *c = ft_alloc_n(d * d, sizeof *c), *part = ft_alloc_n((d + TILE) * ROWS, sizeof *part);
    lapack_int *pivot = ft_alloc_n(d, sizeof *pivot), rank = 0;
    int rc = c && part && pivot ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a covariance of %lld features", (long long)d);
    for (int64_t at = 0; rc == FT_OK && at < n; at += ROWS) { /* each column of some rows, one behind another */
        int64_t rows = least(ROWS, n - at);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t k = 0; k < d; k++) part[k * rows + i] = ((double)x[(at + i) * d + k] - g->mean[k]) * scale;
        memset(part + d * rows, 0, (size_t)(TILE * rows) * sizeof *part);
        add_product(part, d, part, d, rows, true, c);
    }
    /* by rows the left lower half is the right upper one by columns: c = U^T U with column k of U at pivot[k] */
    if (rc == FT_OK && LAPACKE_dpstrf(LAPACK_COL_MAJOR, 'U', (lapack_int)d, c, (lapack_int)d, pivot, &rank, -1) < 0)
        rc = FT_FAIL(FT_EDATA, "the covariance has no factor: are there NaN features?");
    g->rank = rank;
    for (int64_t i = 0; rc == FT_OK && i < rank; i++)
        for (int64_t k = i; k < d; k++) g->factor[i * d + pivot[k] - 1] = c[k * d + i];
    ft_free(c);
    ft_free(part);
    ft_free(pivot);
    return rc;
}

int ft_gaussian_of(ft_gaussian *g, const float *x, int64_t n, int d, int ddof)
{
    *g = (ft_gaussian){.n = n, .d = d};
    if (n < 2) return FT_FAIL(FT_EDATA, "a Frechet distance needs two clips on each side");
    for (int64_t i = 0; i < n * d; i++)
        if (!isfinite(x[i]))
            return FT_FAIL(FT_EDATA, "value %lld of clip %lld is not finite", (long long)(i % d), (long long)(i / d));
    g->rank = least(n, d);
    g->mean = ft_alloc_n(d, sizeof *g->mean), g->factor = ft_alloc_n((g->rank + TILE) * d, sizeof *g->factor);
    int rc = g->mean && g->factor ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for covariances of %d features", d);
    for (int64_t i = 0; rc == FT_OK && i < n; i++)
        for (int k = 0; k < d; k++) g->mean[k] += (double)x[i * d + k];
    for (int k = 0; rc == FT_OK && k < d; k++) g->mean[k] /= (double)n;
    double scale = 1 / sqrt((double)(n - ddof));
    if (rc == FT_OK && n > d) rc = cholesky(g, x, scale);
    else
        for (int64_t i = 0; rc == FT_OK && i < n * d; i++) g->factor[i] = ((double)x[i] - g->mean[i % d]) * scale;
    if (rc < 0) ft_gaussian_free(g);
    return rc;
}

void ft_gaussian_free(ft_gaussian *g)
{
    ft_free(g->mean);
    ft_free(g->factor);
    memset(g, 0, sizeof *g);
}

int ft_frechet_of(const ft_gaussian *a, const ft_gaussian *b, double *distance)
{
    int64_t m = a->rank, n = b->rank, small = least(m, n), d = a->d;
    double *product = ft_alloc_n(m * n + 1, sizeof *product), *value = ft_alloc_n(small + 1, sizeof *value), sum = 0;
    int rc = product && value ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a Frechet distance of %d features", a->d);
    for (int k = 0; k < d; k++) sum += (a->mean[k] - b->mean[k]) * (a->mean[k] - b->mean[k]);
    for (int64_t i = 0; i < m * d; i++) sum += a->factor[i] * a->factor[i];
    for (int64_t i = 0; i < n * d; i++) sum += b->factor[i] * b->factor[i];
    if (rc == FT_OK && small > 0) {
        add_product(a->factor, m, b->factor, n, d, false, product);
        /* (m, n) by rows is (n, m) by columns: the same singular values */
        if (LAPACKE_dgesdd(LAPACK_COL_MAJOR, 'N', (lapack_int)n, (lapack_int)m, product, (lapack_int)n, value, NULL, 1, NULL, 1))
            rc = FT_FAIL(FT_EDATA, "the covariances have no singular values: are there NaN features?");
    }
    for (int64_t i = 0; rc == FT_OK && i < small; i++) sum -= 2 * value[i];
    *distance = sum;
    ft_free(product);
    ft_free(value);
    return rc;
}

int ft_frechet(const float *a, int64_t n, const float *b, int64_t m, int d, int ddof, double *distance)
{
    ft_gaussian p = {0}, q = {0};
    int rc = ft_gaussian_of(&p, a, n, d, ddof);
    if (rc == FT_OK) rc = ft_gaussian_of(&q, b, m, d, ddof);
    if (rc == FT_OK) rc = ft_frechet_of(&p, &q, distance);
    ft_gaussian_free(&p);
    ft_gaussian_free(&q);
    return rc;
}
