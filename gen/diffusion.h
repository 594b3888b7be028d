/* DDPM noise schedule and samplers (Ho et al. 2020; Song et al. 2021; Zhao et al. 2023). Tables in double. */
#ifndef FT_DIFFUSION_H
#define FT_DIFFUSION_H

#include <stdint.h>

enum { FT_T = 1000 };

/* Linear betas 1e-4 .. 0.02: alpha_bar[t], t = 0..999. */
const double *ft_alpha_bar(void);

/* What ft_vlb needs of training step t (Nichol & Dhariwal 2021): x0 from (xt, eps) as c0 xt - c1 eps; posterior mean c2 x0 + c3
 * xt; log beta_t; log of the posterior variance, that of t = 1 for t = 0; 1 at t = 0; 0. */
void ft_vlb_coefficients(int t, float c[8]);

typedef enum { FT_DDIM, FT_UNIPC } ft_sampler;

/* eps(x at time index i): the network's noise prediction; n values. */
typedef int ft_eps_fn(void *ctx, int i, const float *x, float *eps);

/* Walks from point 0 to point `steps` (steps + 1 values of alpha and sigma, sigma[0] > ... >= 0; x = alpha x0 + sigma eps).
 * DDIM with eta 0, or UniPC-2 (bh2) in predictor-corrector form. x (n values) starts as noise and ends as the sample.
 * `lower_order_final`: the last UniPC step is of first order, as the reference does. A final sigma of 0 gives x0 itself. */
int ft_sample_path(ft_sampler kind, int steps, const double *alpha, const double *sigma, int lower_order_final, float *x,
                   int64_t n, ft_eps_fn *eps, void *ctx);

/* The training steps that a sampler of `steps` visits: tau[i] from 999 down to 0, evenly (MedSora's list, reversed). */
void ft_sample_times(int steps, int *tau);

#endif
