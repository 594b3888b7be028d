#include "gen/diffusion.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/base/streams.h"
#include "kernels/elem.h"

static double alpha_bar[2][FT_T];
static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill(void)
{
    for (int kind = 0; kind < 2; kind++) {
        double product = 1;
        for (int t = 0; t < FT_T; t++) {
            double at = (double)t / (FT_T - 1), root = sqrt(0.0015) + at * (sqrt(0.0155) - sqrt(0.0015));
            product *= 1 - (kind == FT_BETA_SQRT ? root * root : 1e-4 + at * (0.02 - 1e-4));
            alpha_bar[kind][t] = product;
        }
    }
}

const double *ft_alpha_bar(ft_schedule kind)
{
    pthread_once(&filled, fill);
    return alpha_bar[kind];
}

void ft_vlb_coefficients(ft_schedule kind, int t, float c[8])
{
    const double *bar = ft_alpha_bar(kind);
    double now = bar[t], prev = t ? bar[t - 1] : 1, beta = 1 - now / prev, next_beta = 1 - bar[1] / bar[0];
    double variance = t ? beta * (1 - prev) / (1 - now) : next_beta * (1 - bar[0]) / (1 - bar[1]);
    c[0] = (float)(1 / sqrt(now));
    c[1] = (float)sqrt(1 / now - 1);
    c[2] = (float)(beta * sqrt(prev) / (1 - now));
    c[3] = (float)((1 - prev) * sqrt(1 - beta) / (1 - now));
    c[4] = (float)log(beta);
    c[5] = (float)log(variance);
    c[6] = t == 0;
    c[7] = 0;
}

void ft_sample_times(int steps, int *tau)
{
    for (int i = 0; i < steps; i++)
        tau[i] = steps > 1 ? (int)lround((double)(steps - 1 - i) * (FT_T - 1) / (double)(steps - 1)) : FT_T - 1;
}

double ft_min_snr_weight(ft_schedule kind, int t, double gamma)
{
    double bar = ft_alpha_bar(kind)[t], snr = bar / (1 - bar);
    return snr < gamma ? 1 : gamma / snr;
}

void ft_clip_noise(uint64_t seed, uint64_t step, int64_t first, int64_t each, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 4) {
        uint32_t bits[4];
        float v[4];
        ft_philox(seed, FT_STREAM_SAMPLE_NOISE, ft_clip_step((uint64_t)(first + i / each), step), (uint64_t)(i % each) / 4, bits);
        ft_philox_normal(bits, v);
        memcpy(x + i, v, sizeof v);
    }
}
