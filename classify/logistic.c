#include "classify/logistic.h"

#include <lapacke.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

enum { FEW = 320 }; /* rows, and unknowns: below it Newton's method, whose steps cost their third power */

/* Rows in coordinates of their own span: z (n, r), x = z back^T with back (d, r); r <= min(n, d). Of many: as they are, back
 * NULL. */
typedef struct {
    int64_t n, r;
    double *z, *u;
} span;

static void span_free(span *s)
{
    ft_free(s->z);
    ft_free(s->u);
}

/* With fewer rows than columns by the eigenvectors of x x^T = U S^2 U^T: z = U S, u = U S^-1. Else the rows themselves. */
static int span_of(const ft_rows *x, span *s)
{
    int64_t n = x->n, d = x->d;
    *s = (span){n, d, NULL, NULL};
    if (n >= d || n > FEW) {
        if (!(s->z = ft_alloc_n(n * d + 1, sizeof(double)))) return FT_FAIL(FT_ENOMEM, "no memory for a regression");
        for (int64_t i = 0; i < n * d; i++) s->z[i] = (double)x->x[i];
        return FT_OK;
    }
    double *k = ft_alloc_n(n * n + n, sizeof *k), *value = k ? k + n * n : NULL;
    s->z = ft_alloc_n(n * n, sizeof(double)), s->u = ft_alloc_n(n * n, sizeof(double));
    int rc = k && s->z && s->u ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a regression");
    for (int64_t i = 0; rc == FT_OK && i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double sum = 0;
#pragma omp simd reduction(+ : sum)
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
    for (int64_t i = 0; rc == FT_OK && i < n; i++) /* a row of U S^-1, for each column */
        for (int64_t q = 0; q < s->r; q++) s->u[i * s->r + q] = k[i * n + n - 1 - q] / sqrt(value[n - 1 - q]);
    ft_free(k);
    if (rc < 0) span_free(s), *s = (span){0};
    return rc;
}

/* in eight sums: one alone would wait for its own last addition */
static double dot(const double *a, const double *b, int64_t n)
{
    double sum[8] = {0}, rest = 0;
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int k = 0; k < 8; k++) sum[k] += a[i + k] * b[i + k];
    for (; i < n; i++) rest += a[i] * b[i];
    return ((sum[0] + sum[4]) + (sum[1] + sum[5])) + ((sum[2] + sum[6]) + (sum[3] + sum[7])) + rest;
}

/* y += a x */
static void add_to(double *y, double a, const double *x, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
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
        f[k] = t[p->s->r] + dot(t, z, p->s->r);
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

/* the objective, and its gradient if g is asked for */
static double objective(const problem *p, const double *theta, double *g)
{
    int64_t r = p->s->r + 1;
    double f[64], prob[64], sum = 0;
    if (g) memset(g, 0, (size_t)(p->K * r) * sizeof *g);
    for (int64_t i = 0; i < p->x->n; i++) {
        const double *z = p->s->z + i * p->s->r;
        if (p->used && !p->used[i]) continue;
        scores(p, theta, i, f);
        sum += p->x->weight[i] * loss_of(p, p->x->label[i], f, prob);
        for (int k = 0; g && k < p->K; k++) {
            double e = p->x->weight[i] * (prob[k] - (p->K == 1 ? p->x->label[i] : p->x->label[i] == k));
            add_to(g + k * r, e, z, r - 1);
            g[k * r + r - 1] += e;
        }
    }
    for (int64_t i = 0; i < p->K * r; i++) {
        if (i % r == r - 1) continue;
        sum += 0.5 * p->penalty * theta[i] * theta[i];
        if (g) g[i] += p->penalty * theta[i];
    }
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
                    add_to(row, a, z, l < k ? r - 1 : q < r - 1 ? q + 1 : r - 1); /* of the diagonal's blocks the lower half */
                    if (l < k || q == r - 1) row[r - 1] += a;
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
    double now = rc == FT_OK ? objective(p, theta, NULL) : 0;
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
            then = objective(p, g, NULL);
            if (then <= now - 0.25 * size * slope + 1e-12 * fabs(now)) break;
        }
        if (!(then <= now)) break;
        memcpy(theta, g, (size_t)m * sizeof *g);
        now = then;
    }
    ft_free(h);
    return rc;
}

/* the direction -H g of the last `kept` steps: s and y (MOST_KEPT, m), in a ring that ends before `next` */
enum { MOST_KEPT = 12 };
static void direction(const double *s, const double *y, int next, int kept, const double *g, int64_t m, double *d)
{
    double a[MOST_KEPT];
    for (int64_t i = 0; i < m; i++) d[i] = -g[i];
    for (int k = 1; k <= kept; k++) {
        int j = (next - k + MOST_KEPT) % MOST_KEPT;
        a[j] = dot(s + j * m, d, m) / dot(s + j * m, y + j * m, m);
        add_to(d, -a[j], y + j * m, m);
    }
    int last = (next - 1 + MOST_KEPT) % MOST_KEPT;
    double scale = kept ? dot(s + last * m, y + last * m, m) / dot(y + last * m, y + last * m, m) : 1 / (1 + sqrt(dot(g, g, m)));
    for (int64_t i = 0; i < m; i++) d[i] *= scale;
    for (int k = kept; k >= 1; k--) {
        int j = (next - k + MOST_KEPT) % MOST_KEPT;
        double b = dot(y + j * m, d, m) / dot(s + j * m, y + j * m, m);
        add_to(d, a[j] - b, s + j * m, m);
    }
}

static int lbfgs(const problem *p, double *theta, double tolerance)
{
    int64_t m = p->K * (p->s->r + 1);
    double *room = ft_alloc_n(m * (2 * MOST_KEPT + 4), sizeof *room), *s = room, *y = s + MOST_KEPT * m, *g = y + MOST_KEPT * m,
           *d = g + m, *at = d + m, *then_g = at + m;
    if (!room) return FT_FAIL(FT_ENOMEM, "no memory for a regression of %lld values", (long long)m);
    double now = objective(p, theta, g);
    int kept = 0, next = 0;
    for (int step = 0; step < 1000 && isfinite(now); step++) {
        direction(s, y, next, kept, g, m, d);
        double slope = dot(g, d, m), size = 1, then = INFINITY;
        if (slope > -tolerance * (1 + fabs(now))) break; /* about twice what is left to win */
        for (; size > 1e-10; size /= 2) {
            for (int64_t i = 0; i < m; i++) at[i] = theta[i] + size * d[i];
            if ((then = objective(p, at, then_g)) <= now + 1e-4 * size * slope) break;
        }
        if (!(then < now)) break;
        for (int64_t i = 0; i < m; i++) s[next * m + i] = at[i] - theta[i], y[next * m + i] = then_g[i] - g[i];
        memcpy(theta, at, (size_t)m * sizeof *theta);
        memcpy(g, then_g, (size_t)m * sizeof *g);
        now = then;
        if (dot(s + next * m, y + next * m, m) > 1e-14 * dot(y + next * m, y + next * m, m))
            next = (next + 1) % MOST_KEPT, kept = kept < MOST_KEPT ? kept + 1 : MOST_KEPT;
    }
    ft_free(room);
    return isfinite(now) ? FT_OK : FT_FAIL(FT_EDATA, "a regression on features that are not finite");
}

/* theta: where it begins, and the optimum; rough: near enough to compare penalties */
static int minimise(const problem *p, double *theta, bool rough)
{
    return !rough && p->K * (p->s->r + 1) <= FEW + 1 ? newton(p, theta) : lbfgs(p, theta, rough ? 1e-7 : 1e-14);
}

int ft_logistic_fit(const ft_rows *x, double strength, double *w, double *b)
{
    span s;
    FT_TRY(span_of(x, &s));
    problem p = {x, &s, NULL, x->classes == 2 ? 1 : x->classes, 1 / strength};
    int64_t r = s.r + 1;
    double *theta = ft_alloc_n(p.K * r, sizeof *theta);
    int rc = theta ? minimise(&p, theta, false) : FT_FAIL(FT_ENOMEM, "no memory for a regression");
    for (int c = 0; rc == FT_OK && c < x->classes; c++) {
        const double *t = theta + (p.K == 1 ? 0 : c) * r;
        double sign = p.K > 1 ? 1 : c ? 0.5 : -0.5;
        b[c] = sign * t[s.r];
        for (int64_t k = 0; k < x->d; k++) w[c * x->d + k] = s.u ? 0 : sign * t[k];
        for (int64_t i = 0; s.u && i < x->n; i++) {
            double share = sign * dot(s.u + i * s.r, t, s.r);
            for (int64_t k = 0; k < x->d; k++) w[c * x->d + k] += share * (double)x->x[i * x->d + k];
        }
    }
    ft_free(theta);
    span_free(&s);
    return rc;
}

/* ---- the strength -----------------------------------------------------------------------------------------------------------
 */

enum { FOLDS = 5 };

typedef struct {
    int group;
    int64_t row;
} member;

static int by_group(const void *a, const void *b)
{
    const member *p = a, *q = b;
    if (p->group != q->group) return p->group < q->group ? -1 : 1;
    return p->row < q->row ? -1 : p->row > q->row;
}

/* Rows of one group side by side, and where the group of each row begins there. */
static void gather(const ft_rows *x, member *rows, int64_t *begin)
{
    for (int64_t i = 0; i < x->n; i++) rows[i] = (member){x->group[i], i};
    qsort(rows, (size_t)x->n, sizeof *rows, by_group);
    for (int64_t k = 0, first = 0; k < x->n; k++) {
        if (rows[k].group != rows[first].group) first = k;
        begin[rows[k].row] = first;
    }
}

/* fold[i] of each row: the groups of a class in turn, in a drawn order. Returns how many folds, under 2 when a class has one
 * group; FT_ENOMEM */
static int folds_of(const ft_rows *x, uint64_t seed, int *fold)
{
    int least = FOLDS;
    member *rows = ft_alloc_n(x->n + 1, sizeof *rows);
    int64_t *order = ft_alloc_n(x->n + 1, 2 * sizeof *order), *begin = order ? order + x->n + 1 : NULL;
    if (!rows || !order) {
        ft_free(rows), ft_free(order);
        return FT_FAIL(FT_ENOMEM, "no memory for a regression");
    }
    gather(x, rows, begin);
    for (int64_t i = 0; i < x->n; i++) order[i] = i, fold[i] = -1;
    ft_rng rng = ft_rng_make(seed, FT_STREAM_PENALTY_FOLDS, 0);
    ft_rng_shuffle(&rng, order, x->n);
    for (int pass = 0; pass < 2; pass++) /* the first counts */
        for (int c = 0, next = 0; c < x->classes; c++) {
            int groups = 0;
            for (int64_t k = 0; k < x->n; k++) {
                int64_t i = order[k];
                if (x->label[i] != c || fold[i] >= 0) continue; /* a group of two classes goes with the first */
                int of = pass ? next++ % least : 0;
                groups++;
                for (int64_t j = begin[i]; j < x->n && rows[j].group == x->group[i]; j++) fold[rows[j].row] = of;
            }
            if (!pass && groups > 0 && groups < least) least = groups;
            if (!pass && c == x->classes - 1)
                for (int64_t i = 0; i < x->n; i++) fold[i] = -1;
        }
    ft_free(rows), ft_free(order);
    return least;
}

int ft_logistic_choose(const ft_rows *x, const double *grid, int n, uint64_t seed, double *strength, double *loss)
{
    span s;
    *strength = grid[n / 2];
    FT_TRY(span_of(x, &s));
    int rows = x->classes == 2 ? 1 : x->classes, *fold = ft_alloc_n(x->n + 1, sizeof *fold);
    int64_t m = rows * (s.r + 1);
    double *theta = ft_alloc_n(m + n, sizeof *theta), *sum = theta ? theta + m : NULL;
    bool *used = ft_alloc_n(x->n + 1, sizeof *used);
    int rc = fold && theta && used ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a regression"), folds = 0;
    if (rc == FT_OK) rc = folds = folds_of(x, seed, fold);
    if (rc > 0) rc = FT_OK;
    for (int f = 0; rc == FT_OK && folds > 1 && f < folds; f++) {
        for (int64_t i = 0; i < x->n; i++) used[i] = fold[i] != f;
        memset(theta, 0, (size_t)m * sizeof *theta);
        for (int k = 0; rc == FT_OK && k < n; k++) { /* each begins where a stronger penalty ended */
            problem p = {x, &s, used, rows, 1 / grid[k]};
            double score[64], prob[64];
            rc = minimise(&p, theta, true);
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
    ft_free(theta);
    ft_free(used);
    span_free(&s);
    return rc;
}
