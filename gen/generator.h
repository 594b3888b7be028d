/* Video generators: latent diffusion on the video VAE. Adding one is one file and one row of `families` in generator.c.
 *
 * Stages, each a folder or file that the experiment caches: train the VAE, encode the training pool, train the network,
 * sample clips. Everything sees the training pool only. */
#ifndef FT_GENERATOR_H
#define FT_GENERATOR_H

#include "common/graph/graph.h"
#include "common/io/clipstore.h"
#include "common/io/config.h"
#include "gen/vae.h"

typedef struct {
    const char *family;           /* "medsora" */
    const char *(*preset)(int i); /* names, NULL past the end */
    /* z (B,n,s,s,c) noised latents, t (B) -> epsilon (B,n,s,s,c) f32. Latent sizes come from z. */
    ft_t (*network)(ft_graph *g, const char *preset, const ft_config *cfg, ft_t z, ft_t t);
} ft_generator;

const ft_generator *ft_generator_find(const char *preset); /* NULL if unknown */
const ft_generator *ft_generator_at(int i);

/* Some clips of a store, by index. */
typedef struct {
    const ft_clipstore *store;
    const int64_t *clip;
    int64_t n;
} ft_clip_pool;

/* Trains cfg's VAE on the pool into `dir` (a run folder). */
int ft_vae_train(const ft_config *cfg, const ft_clip_pool *pool, const char *dir, uint64_t seed, bool resume);

/* Posterior of every clip of the pool and of its mirror image: mean and logvar (2n, f, s, s, z), clip k mirrored at n + k;
 * and mean and std of each latent channel over the pool. Written to a safetensors file. */
int ft_vae_encode_pool(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, const char *path);

/* PSNR in dB of the VAE's reconstruction (posterior mean, EMA weights) of clips, mean over clips. */
int ft_vae_psnr(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, double *psnr);

/* Trains preset on encoded latents into `dir`. */
int ft_generator_train(const ft_config *cfg, const char *preset, const char *latents, const char *dir, uint64_t seed,
                       bool resume);

/* Mean squared error of the EMA network's epsilon over held-out latents, averaged over t (1 = predicting zero). */
int ft_generator_eps_mse(const ft_config *cfg, const char *preset, const char *latents, const char *dir, const char *pool_latents,
                         double *mse);

/* Samples n clips with the EMA weights into a clip store whose videos are named PREFIX-00000. */
int ft_generator_sample(const ft_config *cfg, const char *preset, const char *dir, const char *vae_dir, const char *pool_latents,
                        int64_t n, int frames, int size, uint64_t seed, const char *path);

/* Clips of independent Gaussian pixels with the pool's mean and std: the control arm `noise`. */
int ft_noise_clips(const ft_clip_pool *pool, int64_t n, uint64_t seed, const char *path);

/* The storage dtype that cfg's precision means here. */
int ft_precision(const ft_config *cfg, ft_dtype *dtype);

/* cfg's VAE if clips of this shape fit it; NULL with a message if not. */
const ft_vae_preset *ft_vae_of(const ft_config *cfg, int frames, int size);

#endif
