#include "experiments/statistics/stats.h"

#include <stdbool.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "classify/scores.h"
#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

/* Test videos resampled within classes, all together where a label is a set. Runs with the same labels in the same order share a
 * test list and so a draw. */
static void draw_videos(ft_rng *r, const ft_run_scores *run, int classes, int positive, int64_t *pick, int64_t *member)
{
    int64_t at = 0;
    if (positive == FT_MULTILABEL) {
        while (at < run->n) pick[at++] = ft_rng_below(r, run->n);
        return;
    }
    for (int c = 0; c < classes; c++) {
        int64_t n = 0;
        for (int64_t i = 0; i < run->n; i++)
            if (run->label[i] == c) member[n++] = i;
        for (int64_t k = 0; k < n; k++) pick[at++] = member[ft_rng_below(r, n)];
    }
}

/* One hierarchical draw: which runs, with repetition: splits, then a seed of that split for each of its runs. */
static void draw_runs(ft_rng *r, const ft_run_scores *run, int n, int *pick)
{
    int first[4096], splits = 0, at = 0;
    for (int i = 0; i < n && splits < 4096; i++) {
        bool known = false;
        for (int k = 0; k < splits; k++) known |= run[first[k]].split == run[i].split;
        if (!known) first[splits++] = i;
    }
    while (at < n) {
        int split = run[first[ft_rng_below(r, splits)]].split, members = 0;
        for (int i = 0; i < n; i++) members += run[i].split == split;
        for (int k = 0; k < members && at < n; k++) {
            int64_t want = ft_rng_below(r, members);
            for (int i = 0; i < n; i++)
                if (run[i].split == split && want-- == 0) pick[at++] = i;
        }
    }
}

/* value[k]: mean of `a`, less that of `b`, in bootstrap sample k */
static int resample(const ft_run_scores *a, const ft_run_scores *b, int n, int classes, int positive, int samples, double *value)
{
    int64_t most = 0;
    for (int i = 0; i < n; i++) most = a[i].n > most ? a[i].n : most;
    int64_t *pick = ft_alloc((size_t)(most + 1) * 2 * sizeof *pick);
    int *runs = ft_alloc((size_t)(n + 1) * sizeof *runs),
        rc = pick && runs ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a bootstrap");
    for (int k = 0; rc == FT_OK && n && k < samples; k++) {
        ft_rng r = ft_rng_make(1, FT_STREAM_BOOTSTRAP_RUNS, (uint64_t)k),
               videos = ft_rng_make(1, FT_STREAM_BOOTSTRAP_VIDEOS, (uint64_t)k);
        draw_runs(&r, a, n, runs);
        value[k] = 0;
        for (int i = 0; i < n; i++) {
            ft_rng same = videos; /* every run of this sample sees the same draw of videos */
            draw_videos(&same, &a[runs[i]], classes, positive, pick, pick + most + 1);
            value[k] += ft_f1(a[runs[i]].prob, a[runs[i]].label, pick, a[runs[i]].n, classes, positive) / n;
            if (b) value[k] -= ft_f1(b[runs[i]].prob, b[runs[i]].label, pick, b[runs[i]].n, classes, positive) / n;
        }
    }
    ft_free(pick);
    ft_free(runs);
    return rc;
}

int ft_bootstrap(const ft_run_scores *run, int n, int classes, int positive, int samples, double *value)
{
    return resample(run, NULL, n, classes, positive, samples, value);
}

static ft_interval bootstrap(const ft_run_scores *a, const ft_run_scores *b, int n, int classes, int positive, int samples)
{
    ft_interval out = {0};
    for (int i = 0; i < n; i++) out.mean += (a[i].f1 - (b ? b[i].f1 : 0)) / n;
    for (int i = 0; i < n; i++) out.std += pow(a[i].f1 - (b ? b[i].f1 : 0) - out.mean, 2) / (n > 1 ? n - 1 : 1);
    out.std = sqrt(out.std);
    out.low = out.high = NAN;
    double *value = ft_alloc((size_t)samples * sizeof *value);
    if (value && n && resample(a, b, n, classes, positive, samples, value) == FT_OK)
        ft_percentiles(value, samples, &out.low, &out.high);
    ft_free(value);
    return out;
}

ft_interval ft_arm_interval(const ft_run_scores *run, int n, int classes, int positive, int samples)
{
    return bootstrap(run, NULL, n, classes, positive, samples);
}
ft_interval ft_paired_interval(const ft_run_scores *a, const ft_run_scores *b, int n, int classes, int positive, int samples)
{
    return bootstrap(a, b, n, classes, positive, samples);
}

double ft_sign_flip(const double *d, int n)
{
    if (n < 6) return NAN; /* 2 / 2^n > 0.05: no result could be significant */
    double observed = 0;
    for (int i = 0; i < n; i++) observed += d[i];
    observed = fabs(observed) - 1e-12;
    int64_t trials = n <= 20 ? (int64_t)1 << n : 100000, extreme = 0;
    ft_rng r = ft_rng_make(2, FT_STREAM_SIGN_FLIPS, 0);
    for (int64_t t = 0; t < trials; t++) {
        double s = 0;
        for (int i = 0; i < n; i++) {
            bool minus = n <= 20 ? t >> i & 1 : ft_rng_bits(&r) & 1;
            s += minus ? -d[i] : d[i];
        }
        extreme += fabs(s) >= observed;
    }
    return n <= 20 ? (double)extreme / (double)trials : (double)(extreme + 1) / (double)(trials + 1);
}

double ft_mcnemar(int64_t b, int64_t c)
{
    double n = (double)(b + c), log_choose = 0, sum = 0; /* log C(n,k) - n log 2 stays finite for any n */
    for (int64_t k = 0; k <= (b < c ? b : c); k++) {
        if (k > 0) log_choose += log((n - (double)k + 1) / (double)k);
        sum += exp(log_choose - n * log(2));
    }
    return fmin(1, 2 * sum);
}

int64_t ft_pairs_needed(double d, double sd)
{
    const double z1 = 1.959963985, z2 = 0.841621234;
    double n = pow((z1 + z2) * sd / d, 2) + z1 * z1 / 2;
    return n < 6 ? 6 : n > 1e9 ? (int64_t)1e9 : (int64_t)ceil(n);
}

int ft_units(const ft_run_scores *a, const ft_run_scores *b, int n, double *unit)
{
    int units = 0;
    for (int i = 0; i < n; i++) {
        bool first = true;
        double sum = 0, members = 0;
        for (int k = 0; k < n; k++) {
            if (a[k].split != a[i].split) continue;
            first &= k >= i;
            sum += a[k].f1 - b[k].f1, members++;
        }
        if (first) unit[units++] = sum / members;
    }
    for (int i = 0; units == 1 && i < n; i++) unit[i] = a[i].f1 - b[i].f1;
    return units == 1 ? n : units;
}

void ft_holm(double *p, int m)
{
    enum { MOST = 1000 }; /* arms of an experiment */
    double out[MOST], last = 0;
    bool done[MOST] = {false};
    int left = 0;
    FT_ASSERT(m <= MOST);
    for (int i = 0; i < m; i++) out[i] = NAN, left += !isnan(p[i]);
    for (; left > 0; left--) {
        int best = -1;
        for (int i = 0; i < m; i++)
            if (!done[i] && !isnan(p[i]) && (best < 0 || p[i] < p[best])) best = i;
        done[best] = true;
        double v = p[best] * left;
        last = v > last ? v : last; /* never below an earlier one */
        out[best] = last > 1 ? 1 : last;
    }
    memcpy(p, out, sizeof *p * (size_t)m);
}
