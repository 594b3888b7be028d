#include "classify/logistic.h"

#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"

/* Rows in coordinates of their own span: z (n, r), x = z back^T with back (d, r); r <= min(n, d). */
typedef struct {
    int64_t n, r;
    double *z, *back;
} span;

static void span_free(span *s)
{
    ft_free(s->z);
    ft_free(s->back);
}

/* With fewer rows than columns by the eigenvectors of x x^T = U S^2 U^T: z = U S, back = x^T U S^-1. Else the rows themselves. */
static int span_of(const ft_rows *x, span *s)
{
    int64_t n = x->n, d = x->d;
    *s = (span){n, d, NULL, NULL};
    if (n >= d) {
        if (!(s->z = ft_alloc_n(n * d + 1, sizeof(double)))) return FT_FAIL(FT_ENOMEM, "no memory for a regression");
        for (int64_t i = 0; i < n * d; i++) s->z[i] = (double)x->x[i];
        return FT_OK;
    }
    double *k = ft_alloc_n(n * n + n, sizeof *k), *value = k ? k + n * n : NULL;
    s->z = ft_alloc_n(n * n, sizeof(double)), s->back = ft_alloc_n(d * n, sizeof(double));
    int rc = k && s->z && s->back ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a regression");
    for (int64_t i = 0; rc == FT_OK && i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
            for (int64_t c = 0; c < d; c++) sum += (double)x->x[i * d + c] * (double)x->x[j * d + c];
            k[i * n + j] = k[j * n + i] = sum;
        }
    if (rc == FT_OK && LAPACKE_dsyev(LAPACK_ROW_MAJOR, 'V', 'U', (int)n, k, (int)n, value) != 0)
        rc = FT_FAIL(FT_EDATA, "a regression on features that are not finite");
    s->r = 0;
    for (int64_t e = n - 1; rc == FT_OK && e >= 0 && value[e] > 1e-12 * value[n - 1]; e--) s->r++;
    for (int64_t q = 0; rc == FT_OK && q < s->r; q++) {
        double root = sqrt(value[n - 1 - q]);
        for (int64_t i = 0; i < n; i++) s->z[i * s->r + q] = k[i * n + n - 1 - q] * root;
    }
    for (int64_t c = 0; rc == FT_OK && c < d; c++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t q = 0; q < s->r; q++)
                s->back[c * s->r + q] += (double)x->x[i * d + c] * k[i * n + n - 1 - q] / sqrt(value[n - 1 - q]);
    ft_free(k);
    if (rc < 0) span_free(s), *s = (span){0};
    return rc;
}

/* A problem in span coordinates: K sets of r coefficients and an intercept; K = 1 for two classes. theta (K, r + 1) */
typedef struct {
    const ft_rows *x;
    const span *s;
    const bool *used; /* rows; NULL: all */
    int K;
    double penalty; /* 1 / C */
} problem;

/* scores f (K) of row i */
static void scores(const problem *p, const double *theta, int64_t i, double *f)
{
    for (int k = 0; k < p->K; k++) {
        const double *t = theta + k * (p->s->r + 1), *z = p->s->z + i * p->s->r;
        f[k] = t[p->s->r];
        for (int64_t q = 0; q < p->s->r; q++) f[k] += t[q] * z[q];
    }
}

/* loss of a row with scores f; prob (K): of the classes, or of the second of two */
static double loss_of(const problem *p, int label, const double *f, double *prob)
{
    if (p->K == 1) {
        double m = label ? f[0] : -f[0];
        prob[0] = 1 / (1 + exp(-f[0]));
        return m > 0 ? log1p(exp(-m)) : -m + log1p(exp(m));
    }
    double top = f[0], sum = 0;
    for (int k = 1; k < p->K; k++) top = fmax(top, f[k]);
    for (int k = 0; k < p->K; k++) sum += prob[k] = exp(f[k] - top);
    for (int k = 0; k < p->K; k++) prob[k] /= sum;
    return log(sum) + top - f[label];
}

static double objective(const problem *p, const double *theta)
{
    double f[64], prob[64], sum = 0;
    for (int64_t i = 0; i < p->x->n; i++) {
        if (p->used && !p->used[i]) continue;
        scores(p, theta, i, f);
        sum += p->x->weight[i] * loss_of(p, p->x->label[i], f, prob);
    }
    for (int k = 0; k < p->K; k++)
        for (int64_t q = 0; q < p->s->r; q++)
            sum += 0.5 * p->penalty * theta[k * (p->s->r + 1) + q] * theta[k * (p->s->r + 1) + q];
    return sum;
}

/* gradient g and Hessian h (lower) at theta */
static void curvature(const problem *p, const double *theta, double *g, double *h)
{
    int64_t r = p->s->r + 1, m = p->K * r;
    double f[64], prob[64];
    memset(g, 0, (size_t)m * sizeof *g);
    memset(h, 0, (size_t)(m * m) * sizeof *h);
    for (int64_t i = 0; i < p->x->n; i++) {
        if (p->used && !p->used[i]) continue;
        const double *z = p->s->z + i * p->s->r;
        scores(p, theta, i, f);
        loss_of(p, p->x->label[i], f, prob);
        for (int k = 0; k < p->K; k++) {
            double e = p->x->weight[i] * (prob[k] - (p->K == 1 ? p->x->label[i] : p->x->label[i] == k));
            for (int64_t q = 0; q < r; q++) g[k * r + q] += e * (q < r - 1 ? z[q] : 1);
            for (int l = 0; l <= k; l++) {
                double c = p->x->weight[i] * prob[k] * ((k == l) - prob[l]);
                for (int64_t q = 0; q < r; q++) {
                    double a = c * (q < r - 1 ? z[q] : 1), *row = h + (k * r + q) * m + l * r;
                    for (int64_t u = 0; u < r - 1; u++) row[u] += a * z[u];
                    row[r - 1] += a;
                }
            }
        }
    }
    for (int64_t i = 0; i < m; i++) {
        bool intercept = i % r == r - 1;
        if (!intercept) g[i] += p->penalty * theta[i];
        h[i * m + i] += intercept ? 1e-10 : p->penalty; /* of more than two classes only differences of intercepts matter */
    }
}

/* theta: where it begins, and the optimum */
static int newton(const problem *p, double *theta)
{
    int64_t m = p->K * (p->s->r + 1);
    double *h = ft_alloc_n(m * m + 2 * m, sizeof *h), *g = h ? h + m * m : NULL, *next = g ? g + m : NULL;
    int rc = h ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a regression of %lld values", (long long)m);
    double now = rc == FT_OK ? objective(p, theta) : 0;
    for (int step = 0; rc == FT_OK && step < 100; step++) {
        curvature(p, theta, g, h);
        double slope = 0;
        if (LAPACKE_dposv(LAPACK_ROW_MAJOR, 'L', (int)m, 1, h, (int)m, memcpy(next, g, (size_t)m * sizeof *g), 1) != 0) {
            rc = FT_FAIL(FT_EDATA, "a regression on features that are not finite");
            break;
        }
        for (int64_t i = 0; i < m; i++) slope += g[i] * next[i];
        if (!(slope > 1e-18 * (1 + fabs(now)))) break; /* twice what is left to win */
        double size = 1, then = INFINITY;
        for (; size > 1e-8; size /= 2) {
            for (int64_t i = 0; i < m; i++) g[i] = theta[i] - size * next[i];
            then = objective(p, g);
            if (then <= now - 0.25 * size * slope + 1e-12 * fabs(now)) break;
        }
        if (!(then <= now)) break;
        memcpy(theta, g, (size_t)m * sizeof *g);
        now = then;
    }
    ft_free(h);
    return rc;
}

int ft_logistic_fit(const ft_rows *x, double strength, double *w, double *b)
{
    span s;
    FT_TRY(span_of(x, &s));
    problem p = {x, &s, NULL, x->classes == 2 ? 1 : x->classes, 1 / strength};
    int64_t r = s.r + 1;
    double *theta = ft_alloc_n(p.K * r, sizeof *theta);
    int rc = theta ? newton(&p, theta) : FT_FAIL(FT_ENOMEM, "no memory for a regression");
    for (int c = 0; rc == FT_OK && c < x->classes; c++) {
        const double *t = theta + (p.K == 1 ? 0 : c) * r;
        double sign = p.K > 1 ? 1 : c ? 0.5 : -0.5;
        b[c] = sign * t[s.r];
        for (int64_t i = 0; i < x->d; i++) {
            double sum = s.back ? 0 : t[i];
            for (int64_t q = 0; s.back && q < s.r; q++) sum += s.back[i * s.r + q] * t[q];
            w[c * x->d + i] = sign * sum;
        }
    }
    ft_free(theta);
    span_free(&s);
    return rc;
}

/* ---- the strength -----------------------------------------------------------------------------------------------------------
 */

enum { FOLDS = 5 };

/* fold[i] of each row: the groups of a class in turn, in a drawn order. Returns how many folds, under 2 when a class has one
 * group */
static int folds_of(const ft_rows *x, uint64_t seed, int *fold, int64_t *order)
{
    int least = FOLDS;
    for (int64_t i = 0; i < x->n; i++) order[i] = i, fold[i] = -1;
    ft_rng rng = ft_rng_make(seed, 0xF01D5, 0);
    ft_rng_shuffle(&rng, order, x->n);
    for (int pass = 0; pass < 2; pass++) /* the first counts */
        for (int c = 0, next = 0; c < x->classes; c++) {
            int groups = 0;
            for (int64_t k = 0; k < x->n; k++) {
                int64_t i = order[k];
                if (x->label[i] != c || fold[i] >= 0) continue; /* a group of two classes goes with the first */
                int of = pass ? next++ % least : 0;
                groups++;
                for (int64_t j = 0; j < x->n; j++)
                    if (x->group[j] == x->group[i]) fold[j] = of;
            }
            if (!pass && groups > 0 && groups < least) least = groups;
            if (!pass && c == x->classes - 1)
                for (int64_t i = 0; i < x->n; i++) fold[i] = -1;
        }
    return least;
}

int ft_logistic_choose(const ft_rows *x, const double *grid, int n, uint64_t seed, double *strength, double *loss)
{
    span s;
    *strength = grid[n / 2];
    FT_TRY(span_of(x, &s));
    int K = x->classes == 2 ? 1 : x->classes, *fold = ft_alloc_n(x->n + 1, sizeof *fold);
    int64_t m = K * (s.r + 1), *order = ft_alloc_n(x->n + 1, sizeof *order);
    double *theta = ft_alloc_n(m + n, sizeof *theta), *sum = theta ? theta + m : NULL;
    bool *used = ft_alloc_n(x->n + 1, sizeof *used);
    int rc = fold && order && theta && used ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a regression"), folds = 0;
    if (rc == FT_OK) folds = folds_of(x, seed, fold, order);
    for (int f = 0; rc == FT_OK && folds > 1 && f < folds; f++) {
        for (int64_t i = 0; i < x->n; i++) used[i] = fold[i] != f;
        memset(theta, 0, (size_t)m * sizeof *theta);
        for (int k = 0; rc == FT_OK && k < n; k++) { /* each begins where a stronger penalty ended */
            problem p = {x, &s, used, K, 1 / grid[k]};
            double score[64], prob[64];
            rc = newton(&p, theta);
            for (int64_t i = 0; rc == FT_OK && i < x->n; i++) {
                if (used[i]) continue;
                scores(&p, theta, i, score);
                sum[k] += x->weight[i] * loss_of(&p, x->label[i], score, prob);
            }
        }
    }
    for (int k = 0, best = 0; rc == FT_OK && folds > 1 && k < n; k++) {
        if (sum[k] < sum[best]) best = k;
        *strength = grid[best];
    }
    for (int k = 0; rc == FT_OK && loss && k < n; k++) loss[k] = sum[k];
    ft_free(fold);
    ft_free(order);
    ft_free(theta);
    ft_free(used);
    span_free(&s);
    return rc;
}
