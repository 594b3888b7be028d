#include "experiments/statistics/power.h"

#include <math.h>

static double phi(double z) { return 0.5 * erfc(-z / sqrt(2)); }

/* P(T <= t) of Student's t with df degrees of freedom and noncentrality `shift`: T <= t is Z + shift <= t s with s a chi over
 * sqrt(df). Simpson's rule over s. */
static double t_below(double t, double df, double shift)
{
    enum { N = 2000 };
    double spread = 12 / sqrt(2 * df), low = fmax(1e-12, 1 - spread), step = (1 + spread - low) / N, sum = 0;
    double constant = log(2) + df / 2 * log(df / 2) - lgamma(df / 2);
    for (int i = 0; i <= N; i++) {
        double s = low + step * i, density = exp(constant + (df - 1) * log(s) - df * s * s / 2);
        sum += (i == 0 || i == N ? 1 : i % 2 ? 4 : 2) * density * phi(t * s - shift);
    }
    return sum * step / 3;
}

/* x in [low, high] at which f(x), which rises, is `want` */
static double solve(double (*f)(double x, const double *with), const double *with, double want, double low, double high)
{
    for (int i = 0; i < 60; i++) {
        double x = (low + high) / 2;
        if (f(x, with) < want) low = x;
        else high = x;
    }
    return (low + high) / 2;
}

static double central(double t, const double *df) { return t_below(t, *df, 0); }

/* with: the root of n, degrees of freedom, the critical value */
static double power(double effect, const double *with)
{
    double shift = effect * with[0];
    return 1 - t_below(with[2], with[1], shift) + t_below(-with[2], with[1], shift);
}

static void critical(double with[3], int n, double level)
{
    with[0] = sqrt(n), with[1] = n - 1;
    with[2] = solve(central, &with[1], 1 - level / 2, 0, 1000);
}

double ft_t_power(double effect, int n, double level)
{
    double with[3];
    critical(with, n, level);
    return power(fabs(effect), with);
}

static double agree(double effect, const double *n) { return pow(phi(effect), *n) + pow(phi(-effect), *n); }

double ft_smallest_effect(int n, int comparisons)
{
    double patterns = pow(2, n - 1), k = floor(0.05 / comparisons * patterns), with[3] = {n};
    if (n < FT_FEWEST_SPLITS || comparisons < 1 || k < 1) return NAN;
    if (k < 2) return solve(agree, with, 0.8, 0, 10);
    critical(with, n, k / patterns);
    return solve(power, with, 0.8, 0, 10);
}

int ft_splits_for(int comparisons)
{
    int n = FT_FEWEST_SPLITS;
    while (0.05 / comparisons * pow(2, n - 1) < 1) n++;
    return n;
}

double ft_equivalence(const double *d, int n, double margin)
{
    double mean = 0, square = 0;
    for (int i = 0; i < n; i++) mean += d[i] / n;
    for (int i = 0; i < n; i++) square += pow(d[i] - mean, 2);
    double error = sqrt(square / (n - 1) / n); /* of the mean */
    if (n < 2 || !(error > 1e-12)) return NAN;
    return t_below(-(margin - fabs(mean)) / error, n - 1, 0);
}

double ft_smallest_outside(double low, double high)
{
    const double z1 = 1.959963985, z2 = 0.841621234;
    return (z1 + z2) * (high - low) / (2 * z1);
}
