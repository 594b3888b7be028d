/* Statistics of an experiment (docs: protocol). Intervals are hierarchical bootstraps; differences are paired. */
#ifndef FT_STATS_H
#define FT_STATS_H

#include <stdint.h>

/* Predictions of one run on its test videos. */
typedef struct {
    int split, seed;
    const float *prob; /* (n, classes) */
    const int *label;
    int64_t n;
    double f1;
} ft_run_scores;

typedef struct {
    double mean, std, low, high; /* 95 % percentile interval */
} ft_interval;

/* What the intervals speak of. All splits share one test list (with cross-validation: every repeat tests the same videos), so F1s
 * of different splits rise and fall together with these videos: their spread over splits holds no part of it, and more splits
 * never average it away. Each bootstrap sample therefore draws the videos once for all of its runs: the interval is about other
 * label splits and other test videos. Tests over splits (ft_sign_flip, power.h) are about other label splits and these test
 * videos. Both take the pool as it is. Percentile intervals over fewer than 6 splits are too narrow. */

/* F1 of an arm: mean over runs, sample std (n - 1; 0 for one run), and an interval from resampling splits, seeds within splits,
 * and test videos within classes (the same videos in all runs that share a test list; all together where a label is a set,
 * positive = FT_MULTILABEL). low and high are NaN when memory fails. */
ft_interval ft_arm_interval(const ft_run_scores *run, int n, int classes, int positive, int samples);

/* F1 of `a` minus F1 of `b`, run by run with the same split and seed; both resampled together. */
ft_interval ft_paired_interval(const ft_run_scores *a, const ft_run_scores *b, int n, int classes, int positive, int samples);

/* The means of `samples` bootstrap samples of ft_arm_interval, in order: sample k draws the same splits, seeds and videos in
 * every arm with the same runs, so arms and functions of several arms are resampled together. */
int ft_bootstrap(const ft_run_scores *run, int n, int classes, int positive, int samples, double *value);

/* Exact McNemar p-value (two-sided) of b and c discordant pairs: min(1, 2 sum_{k <= min(b,c)} C(b+c,k) / 2^(b+c)). */
double ft_mcnemar(int64_t b, int64_t c);

/* Pairs that a two-sided test at 0.05 needs to see a mean difference d, whose standard deviation over pairs is sd, with 80 %
 * probability: ((z1 + z2) sd / d)^2 + z1^2 / 2 (Guenther 1981), at least the 6 of a sign-flip test. d != 0. */
int64_t ft_pairs_needed(double d, double sd);

/* The paired differences that are exchangeable: means of whole splits, or of runs where there is but one split, since runs of one
 * split share their labels. Returns how many were written to unit (room for n). */
int ft_units(const ft_run_scores *a, const ft_run_scores *b, int n, double *unit);

/* Exact sign-flip p-value (two-sided) of paired differences; NaN where n pairs cannot reach 0.05 (n < 6), and for n > 20 by
 * 100,000 random flips. */
double ft_sign_flip(const double *difference, int n);

/* Holm's correction of m p-values, in place of `p`; NaN stays NaN and does not count. */
void ft_holm(double *p, int m);

#endif
