#include "experiments/report/worth.h"

#include <math.h>

#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/status.h"

/* ---- the curve as numbers ------------------------------------------------------------------------------------------------ */

void ft_curve_isotonic(ft_label_point *p, int n)
{
    for (int end = 1; end < n; end++) { /* p[0..end) never falls; a value that falls is averaged with those before it */
        int from = end;
        double sum = p[end].f1;
        while (from > 0 && p[from - 1].f1 > sum / (end - from + 1)) sum += p[--from].f1;
        for (int i = from; i <= end; i++) p[i].f1 = sum / (end - from + 1);
    }
}

static double between(double x, double x0, double x1, double y0, double y1)
{
    return x == x1 ? y1 : x == x0 ? y0 : y0 + (y1 - y0) * (x - x0) / (x1 - x0);
}

double ft_curve_f1(const ft_label_point *p, int n, double labels)
{
    int i = 1;
    while (i < n - 1 && p[i].labels < labels) i++;
    return between(log(labels), log(p[i - 1].labels), log(p[i].labels), p[i - 1].f1, p[i].f1);
}

double ft_curve_labels(const ft_label_point *p, int n, double f1, double near)
{
    const double same = 1e-9; /* sums of the same runs in another order */
    if (f1 < p[0].f1 - same) return -INFINITY;
    if (f1 > p[n - 1].f1 + same) return INFINITY;
    int first = 0, last = n - 1; /* the first point that is not below, the last that is not above */
    while (p[first].f1 < f1 - same) first++;
    while (p[last].f1 > f1 + same) last--;
    if (first <= last) return fmin(fmax(near, p[first].labels), p[last].labels);
    return exp(between(f1, p[last].f1, p[first].f1, log(p[last].labels), log(p[first].labels)));
}

/* ---- worth --------------------------------------------------------------------------------------------------------------- */

/* Means of arms and curve: of the runs, or of one bootstrap sample. */
typedef struct {
    const ft_result *r;
    const double *value; /* (arms + points of the curve, samples); NULL: of the runs */
    int samples;
} means;

static double mean(const means *m, const ft_arm_result *a, int sample)
{
    const ft_result *r = m->r;
    if (!m->value) return a->f1.mean;
    bool of_curve = a >= r->curve && a < r->curve + r->curve_n;
    int64_t row = of_curve ? r->n + (a - r->curve) : a - r->arm;
    return m->value[row * m->samples + sample];
}

static void curve_of(const means *m, int sample, ft_label_point *p)
{
    for (int i = 0; i < m->r->points; i++) p[i].f1 = mean(m, p[i].arm, sample);
    ft_curve_isotonic(p, m->r->points);
}

/* How many labelled videos more than its baseline has; NaN where the curve does not hold the baseline. p: the curve, filled here
 */
static double worth(const means *m, const ft_arm_result *a, const ft_arm_result *base, int sample, ft_label_point *p)
{
    int n = m->r->points;
    double at = (double)base->opt.labels;
    curve_of(m, sample, p);
    if (at < p[0].labels || at > p[n - 1].labels) return NAN;
    return ft_curve_labels(p, n, ft_curve_f1(p, n, at) + mean(m, a, sample) - mean(m, base, sample), at) - at;
}

static void worths(ft_result *r, const means *observed, const means *resampled, double *row)
{
    for (int i = 0; i < r->n; i++) {
        ft_arm_result *a = &r->arm[i], *base = ft_baseline(r, a);
        if (!base || base == a) continue;
        for (int k = 0; k < resampled->samples; k++) row[k] = worth(resampled, a, base, k, r->point);
        ft_percentiles(row, resampled->samples, &a->worth.low, &a->worth.high);
        a->worth.mean = worth(observed, a, base, 0, r->point);
    }
    curve_of(observed, 0, r->point); /* what the report shows */
}

int ft_worth(ft_result *r)
{
    int samples = r->opt.bootstrap, C = r->x->classes.n, positive = r->x->classes.positive;
    int failed = 0;
    for (int i = 0; i < r->n; i++) r->arm[i].worth = (ft_interval){NAN, NAN, NAN, NAN};
    if (r->points < 2) return FT_OK;
    double *value = ft_alloc_n((int64_t)(r->n + r->curve_n + 1) * samples, sizeof *value);
    if (!value) return FT_FAIL(FT_ENOMEM, "no memory for %d bootstrap samples", samples);
#pragma omp parallel for schedule(dynamic) reduction(+ : failed)
    for (int i = 0; i < r->n + r->curve_n; i++) {
        const ft_arm_result *a = i < r->n ? &r->arm[i] : &r->curve[i - r->n];
        failed += ft_bootstrap(a->run, a->n, C, positive, samples, value + (int64_t)i * samples) != FT_OK;
    }
    if (!failed) worths(r, &(means){r, NULL, 0}, &(means){r, value, samples}, value + (int64_t)(r->n + r->curve_n) * samples);
    ft_free(value);
    return failed ? FT_FAIL(FT_ENOMEM, "no memory for bootstrap samples") : FT_OK;
}

double ft_worth_f1(const ft_result *r, const ft_arm_result *a)
{
    return ft_curve_f1(r->point, r->points, (double)ft_baseline(r, a)->opt.labels) + a->delta.mean;
}
