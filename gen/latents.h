/* Latent clips: what a frozen VAE makes of the training pool, computed once, and drawn from in every step. */
#ifndef FT_LATENTS_H
#define FT_LATENTS_H

#include "common/io/clipstore.h"
#include "common/io/config.h"
#include "gen/vae.h"

/* Some clips of a store, by index. */
typedef struct {
    const ft_clipstore *store;
    const int64_t *clip;
    int64_t n;
} ft_clip_pool;

/* Posteriors, normalised by the training pool's statistics of each channel (or by generator.latent_scale). Clip k mirrored is
 * k + n / 2. */
typedef struct {
    int64_t n, each, dim[5], z; /* n latent clips of `each` values; dim: (n, f, s, s, z) */
    float *mean, *std;          /* of each value */
    float *channel; /* (2, z): mean and std of each channel before normalising (of samples, or with generator.posterior mean of
                       means) */
    int64_t images, image_frames; /* latents of single images (generator.images): groups of image_frames latent frames */
    float *image_mean, *image_std;
} ft_latents;

/* generator.images, generator.image_mode: images beside each clip, each its own latent, or in pairs mode encoded as one clip */
typedef struct {
    int64_t n;
    bool pairs;
} ft_image_opt;
ft_image_opt ft_image_options(const ft_config *cfg);

/* Posterior of every clip of the pool and of its mirror image, and with generator.images of images: to a safetensors file. */
int ft_vae_encode_pool(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, const char *path);

/* Latents of `path`, normalised with the channel statistics of `stats` (the training pool's file). */
int ft_latents_read(ft_latents *l, const ft_config *cfg, const char *path, const char *stats);
void ft_latents_free(ft_latents *l);

/* Posterior means alone, fresh (n,f,s,s,z), each channel over the deviation of its means in the training pool (`stats`, its
 * file): those of a file, with mirror images behind them, and those of any clips as they are. What is fresh is the caller's in
 * any case. */
int ft_latent_means_read(const char *path, const char *stats, float **mean, int64_t dim[5]);
int ft_latent_means(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, const char *stats, float **mean,
                    int64_t dim[5]);

/* Latent frames that the images add to a clip. */
int64_t ft_image_frames(ft_image_opt images, const ft_vae_preset *p);

/* Pixels to [-1,1] (rows of `size` pixels, mirrored or not) and back. */
void ft_to_unit(float *dst, const uint8_t *src, int64_t rows, int size, bool mirror);
void ft_to_pixels(uint8_t *dst, const float *src, int64_t n);

#endif
