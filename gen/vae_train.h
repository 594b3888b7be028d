/* Training a video VAE, and running a trained one. */
#ifndef FT_VAE_TRAIN_H
#define FT_VAE_TRAIN_H

#include "gen/latents.h"

/* cfg's VAE (vae.model with vae.frequency_compensation), if clips of this shape come back from it whole. */
int ft_vae_of(const ft_config *cfg, int frames, int size, ft_vae_preset *p);

/* Trains cfg's VAE on the pool into `dir` (a run folder). */
int ft_vae_train(const ft_config *cfg, const ft_clip_pool *pool, const char *dir, uint64_t seed, bool resume);

/* How well the VAE's EMA weights rebuild clips from the posterior mean, means over clips. */
typedef struct {
    double psnr;    /* dB */
    double band[3]; /* squared error of the 2-D spectrum's lower, middle, upper third of frequencies, per value of the clip */
} ft_vae_score;
int ft_vae_evaluate(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, ft_vae_score *score);

/* An encoder or decoder with trained EMA weights: fill `in`, run `plan`, read `out`. */
typedef enum { FT_VAE_ENCODE, FT_VAE_DECODE, FT_VAE_REBUILD } ft_vae_part;
typedef struct {
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t in, out; /* f32: (B,F,S,S,3), moments (B,f,s,s,2z), or z (B,f,s,s,z) */
} ft_vae_runner;
int ft_vae_runner_new(ft_vae_runner *r, const ft_config *cfg, const char *dir, ft_vae_part what, int64_t batch, int frames,
                      int size);
void ft_vae_runner_free(ft_vae_runner *r);

#endif
