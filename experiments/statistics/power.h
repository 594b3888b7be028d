/* What a run of n label splits could have shown, and whether two arms are as good as equal.
 *
 * The unit is the label split (ft_units in stats.h): seeds of one split share its labels. Splits are exchangeable given the pool
 * and the test list, which all of them share: tests over splits speak of these test videos. More splits make them sharper without
 * end; what other test videos would have said, only the bootstrap over videos tells. See verdict.h for how both decide together.
 */
#ifndef FT_POWER_H
#define FT_POWER_H

/* Splits without which nothing is said: 2 / 2^6 is the first p-value under 0.05. */
enum { FT_FEWEST_SPLITS = 6 };

/* The smallest true difference, in standard deviations of the paired differences, that a two-sided sign-flip test of n of them
 * finds at the level 0.05 / comparisons (Holm's first step) with 80 % probability; NaN: none, however large.
 * The test rejects the k = floor(level 2^(n-1)) most extreme pairs of sign patterns. k = 1: all signs must agree, which has the
 * power Phi(d)^n + Phi(-d)^n. k > 1: the power of the paired t test at the level k / 2^(n-1) that is attained, by the noncentral
 * t distribution, as statsmodels' TTestPower; up to 5 % below what simulated sign flips need (make_golden_stats.py). */
double ft_smallest_effect(int n, int comparisons);
int ft_splits_for(int comparisons); /* the fewest splits with which it is not NaN */

/* Power of a two-sided paired t test of n differences at `level`; effect: mean / standard deviation. */
double ft_t_power(double effect, int n, double level);

/* Equivalence by two one-sided paired t tests (Schuirmann 1987): p-value of |mean difference| >= margin, the larger of the two.
 * NaN for n < 2, and where the differences do not vary. margin > 0, in the unit of `difference`. */
double ft_equivalence(const double *difference, int n, double margin);

/* The smallest true difference that leaves 0 out of a 95 % interval of this width with 80 % probability. */
double ft_smallest_outside(double low, double high);

#endif
