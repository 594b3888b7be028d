/* Clips that no generator made: what a generator has to beat. Clip stores of n clips in the shape of the pool's. */
#ifndef FT_CONTROLS_H
#define FT_CONTROLS_H

#include "gen/latents.h"

/* Gaussian pixel noise with the mean and deviation of the pool's colours. */
int ft_noise_clips(const ft_clip_pool *pool, int64_t n, uint64_t seed, const char *path);

/* What the VAE makes of Gaussian noise with the mean and deviation of each latent channel: samples without diffusion. latents:
 * the pool's, of ft_vae_encode_pool. */
int ft_vae_prior_clips(const ft_config *cfg, const char *vae_dir, const char *latents, int64_t n, int frames, int size,
                       uint64_t seed, const char *path);

/* The pool's clips as the VAE rebuilds them from their posterior means, in the pool's order; with the labels of their videos, or
 * none. */
int ft_vae_roundtrip_clips(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, bool labels, const char *path);

/* The pool's clips as they are, clip i with the label name[of_clip[i]]. */
int ft_told_clips(const ft_clip_pool *pool, char *const *name, const int *of_clip, const char *path);

#endif
