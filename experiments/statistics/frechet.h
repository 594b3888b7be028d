/* Frechet distance of the Gaussians fitted to two sets of features (Dowson & Landau 1982): FVD and FID are this one, in features
 * of two networks.
 *
 *   d^2 = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C1 C2)^1/2
 *
 * With factors C = F^T F the last trace is the sum of the singular values of F1 F2^T: no square root of a matrix is taken, which
 * is where other programs give NaN, negative and absurd values once a covariance has not full rank. Of n <= d rows the factor is
 * the rows themselves, of more a Cholesky factor with pivots, of as many rows as the covariance has rank.
 *
 * The distance is too large on small sets, by about c / n, and far more than that under n = d, as the covariance then has rank
 * n - 1. It compares only with distances at the same numbers of clips. */
#ifndef FT_FRECHET_H
#define FT_FRECHET_H

#include <stdint.h>

typedef struct {
    int64_t n, rank;
    int d;
    double *mean, *factor; /* (d); (rank, d): covariance = factor^T factor */
} ft_gaussian;

/* Of x (n, d). ddof: covariances are sums by n - ddof. FT_EDATA for n < 2 and values that are not finite. */
int ft_gaussian_of(ft_gaussian *g, const float *x, int64_t n, int d, int ddof);
void ft_gaussian_free(ft_gaussian *g);
int ft_frechet_of(const ft_gaussian *a, const ft_gaussian *b, double *distance); /* of the same d */

/* Both steps: of a (n, d) and b (m, d). */
int ft_frechet(const float *a, int64_t n, const float *b, int64_t m, int d, int ddof, double *distance);

#endif
