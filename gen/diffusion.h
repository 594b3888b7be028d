/* Noise schedules (Ho et al. 2020; Nichol and Dhariwal 2021), in double; samplers are in walk.h. */
#ifndef FT_DIFFUSION_H
#define FT_DIFFUSION_H

#include <stdint.h>

enum { FT_T = 1000 };

/* alpha_bar[t], t = 0..999. LINEAR: betas 1e-4 .. 0.02 (DDPM). SQRT: the squares of sqrt(0.0015) .. sqrt(0.0155) (LVDM). */
typedef enum { FT_BETA_LINEAR, FT_BETA_SQRT } ft_schedule;
const double *ft_alpha_bar(ft_schedule kind);

/* What ft_vlb needs of training step t (Nichol & Dhariwal 2021): x0 from (xt, eps) as c0 xt - c1 eps; posterior mean c2 x0 + c3
 * xt; log beta_t; log of the posterior variance, that of t = 1 for t = 0; 1 at t = 0; 0. */
void ft_vlb_coefficients(ft_schedule kind, int t, float c[8]);

/* min(SNR, gamma) / SNR, the weight of the squared error of epsilon at step t (Hang et al. 2023). */
double ft_min_snr_weight(ft_schedule kind, int t, double gamma);

/* Values of N(0, 1) for clips first, first + 1, ... of `each` values (a multiple of 4); `step` separates draws. */
void ft_clip_noise(uint64_t seed, uint64_t step, int64_t first, int64_t each, float *x, int64_t n);

/* The training steps that a sampler of `steps` visits: tau[i] from 999 down to 0, evenly (MedSora's list, reversed). */
void ft_sample_times(int steps, int *tau);

#endif
