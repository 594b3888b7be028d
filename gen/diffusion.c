#include "gen/diffusion.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

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
        ft_philox(seed, FT_STREAM_SAMPLE_NOISE, (uint64_t)(first + i / each) | step << 40, (uint64_t)(i % each) / 4, bits);
        ft_philox_normal(bits, v);
        memcpy(x + i, v, sizeof v);
    }
}

static double lambda(double alpha, double sigma) { return log(alpha / sigma); }

/* x <- sample of q(x at point i + 1 | x, x0). Nothing random is added on the way to sigma = 0. */
static void ddpm_step(const ft_path *p, int i, float *x, const float *x0, const float *fraction, float *noise, int64_t n)
{
    double now = p->alpha[i] * p->alpha[i], prev = p->alpha[i + 1] * p->alpha[i + 1], beta = 1 - now / prev;
    double c0 = sqrt(prev) * beta / (1 - now), c1 = sqrt(1 - beta) * (1 - prev) / (1 - now);
    double high = log(beta), low = log(beta * (1 - prev) / (1 - now));
    bool end = p->sigma[i + 1] <= 0;
    if (!end) ft_clip_noise(p->seed, (uint64_t)i + 1, p->first, p->each, noise, n);
    for (int64_t k = 0; k < n; k++) {
        double y = c0 * (double)x0[k] + c1 * (double)x[k];
        if (!end) y += exp(0.5 * (fraction ? low + (double)fraction[k] * (high - low) : low)) * (double)noise[k];
        x[k] = (float)y;
    }
}

int ft_sample_path(const ft_path *p, float *x, int64_t n, ft_denoise_fn *denoise, void *ctx)
{
    /* m0: x0-prediction at the current point, m1: at the one before; before: x at the previous point, not corrected again */
    float *buffer = ft_alloc((size_t)n * 4 * sizeof *buffer), *m0 = buffer, *m1 = m0 + n, *before = m1 + n, *out = before + n;
    if (!buffer) return FT_FAIL(FT_ENOMEM, "no memory to sample %lld values", (long long)n);
    const double *alpha = p->alpha, *sigma = p->sigma;
    int rc = FT_OK;
    for (int i = 0; i < p->steps && rc == FT_OK; i++) {
        double a = alpha[i], s = sigma[i], a2 = alpha[i + 1], s2 = sigma[i + 1];
        if (p->kind == FT_DDPM) {
            FT_TRY_TO(rc, done, denoise(ctx, i, x, m0, p->learned ? m1 : NULL));
            ddpm_step(p, i, x, m0, p->learned ? m1 : NULL, out, n);
            continue;
        }
        FT_TRY_TO(rc, done, denoise(ctx, i, x, out, NULL));
        if (p->kind == FT_UNIPC && i > 0) { /* corrector: redo the step that led here, now that this point's x0 is known */
            double ap = alpha[i - 1], sp = sigma[i - 1], h = lambda(a, s) - lambda(ap, sp), B = expm1(-h);
            double r1 = i > 1 ? (lambda(alpha[i - 2], sigma[i - 2]) - lambda(ap, sp)) / h : 0, phi = B / -h - 1, b1 = phi / B,
                   b2 = 2 * (phi / -h - 0.5) / B;
            double rho1 = i > 1 ? (b1 - b2) / (1 - r1) : 0, rho2 = i > 1 ? b1 - rho1 : 0.5;
            for (int64_t k = 0; k < n; k++) {
                double d1 = i > 1 ? ((double)m1[k] - (double)m0[k]) / r1 : 0;
                x[k] = (float)(s / sp * (double)before[k] - a * B * (double)m0[k] -
                               a * B * (rho1 * d1 + rho2 * ((double)out[k] - (double)m0[k])));
            }
        }
        float *swap = m1; /* m1 <- m0 <- out */
        m1 = m0;
        m0 = out;
        out = swap;
        memcpy(before, x, (size_t)n * sizeof *x);
        if (s2 <= 0) {
            memcpy(x, m0, (size_t)n * sizeof *x);
            continue;
        }
        double h = lambda(a2, s2) - lambda(a, s),
               B = expm1(-h); /* from alpha = 0: h is infinite, B is -1, r below is 0's limit */
        bool second = p->kind == FT_UNIPC && i > 0 && !(p->lower_order_final && i + 1 == p->steps);
        double r = second ? (lambda(a, s) - lambda(alpha[i - 1], sigma[i - 1])) / h : 1;
        for (int64_t k = 0; k < n; k++) {
            double y = s2 / s * (double)x[k] - a2 * B * (double)m0[k];
            if (second) y -= 0.5 * a2 * B * ((double)m0[k] - (double)m1[k]) / r;
            x[k] = (float)y;
        }
    }
done:
    ft_free(buffer);
    return rc;
}
