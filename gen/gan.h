/* Training a generator of pixels against its discriminator, as StyleGAN-V is: non-saturating losses, of single clips as published
 * or in pairs, a gradient penalty in every 16th step (R1, Mescheder et al. 2018; lazily, Karras et al. 2020), an average of the
 * generator's weights that is sampled. */
#ifndef FT_GAN_H
#define FT_GAN_H

#include "common/base/rng.h"
#include "gen/gan_step.h"

/* Into `dir`, a run folder: weights.safetensors and ema.safetensors of the generator, state.safetensors of both. told: classes of
 * the pool's clips, NULL: none. */
int ft_gan_train(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const ft_conditions *told, const char *dir,
                 uint64_t seed, bool resume);

/* The number, from 0, of the optimiser's step of training step `step`; penalty: of the gradient penalty that follows it. */
int64_t ft_lazy_step(int64_t step, int64_t every, bool penalty);
/* EMA decay at a step */
double ft_gan_average(const ft_gan_opt *o, int64_t step);

/* Times of the frames that the discriminator sees of a clip of so many frames: the distance of the outer ones is a power of two,
 * 2 to `most`, and the one between lies anywhere. whole: at frames, else the first is anywhere between. */
void ft_gan_times(ft_rng *r, int64_t frames, int64_t most, bool whole, float t[FT_STYLEGAN_FRAMES]);

/* A clip of `frames` frames at t = 0, 1, ... -> (1,F,S,S,3) f32. classes: how many the generator knows; *in, which may be NULL:
 * its inputs, label (1,classes+1) among them. */
ft_t ft_gan_clip(ft_graph *g, const char *preset, int frames, int size, int classes, double psi, ft_gan_in *in);

#endif
