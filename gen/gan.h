/* Training a generator of pixels against its discriminator, as StyleGAN-V is: non-saturating losses, a gradient penalty on real
 * clips in every 16th step (R1, Mescheder et al. 2018; lazily, Karras et al. 2020), an average of the generator's weights that is
 * sampled. */
#ifndef FT_GAN_H
#define FT_GAN_H

#include "common/base/rng.h"
#include "gen/stylegan.h"

/* Settings of training, read once: generator.steps, generator.batch, gan.*. */
typedef struct {
    int64_t steps, batch, parts, save_every, sheet_every, r1_every, distance;
    double lr, r1, half_life, ramp; /* r1: gamma, below 0 as published; half_life of the average in steps, at most ramp * step */
    bool flip, tensorboard, augment, turns; /* augment: what the discriminator sees; turns: also by rotations */
} ft_gan_opt;
ft_gan_opt ft_gan_options(const ft_config *cfg);

/* Into `dir`, a run folder: weights.safetensors and ema.safetensors of the generator, state.safetensors of both. */
int ft_gan_train(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const char *dir, uint64_t seed, bool resume);

int ft_gan_fits(const char *preset, int frames, int size); /* FT_ECONFIG: clips of this shape do not fit it */

/* Adam's rate and second beta where a regulariser takes a step of its own in every `every`-th step (Karras et al. 2020, B) */
void ft_lazy_rate(int64_t every, double *lr, double *beta2);
/* The number, from 0, of the optimiser's step of training step `step`; penalty: of the gradient penalty that follows it. */
int64_t ft_lazy_step(int64_t step, int64_t every, bool penalty);
/* EMA decay at a step */
double ft_gan_average(const ft_gan_opt *o, int64_t step);

/* Times of the frames that the discriminator sees of a clip of so many frames: the distance of the outer ones is a power of two,
 * 2 to `most`, and the one between lies anywhere. whole: at frames, else the first is anywhere between. */
void ft_gan_times(ft_rng *r, int64_t frames, int64_t most, bool whole, float t[FT_STYLEGAN_FRAMES]);

/* A clip of `frames` frames at t = 0, 1, ...: inputs z (1,W) and motion (1,A,W) -> (1,F,S,S,3) f32 */
ft_t ft_gan_clip(ft_graph *g, const char *preset, int frames, int size, double psi, ft_t *z, ft_t *motion);

/* The losses of one part of a batch, scalars (1) f32. */
ft_t ft_gan_generator_loss(ft_graph *g, ft_t fake);         /* logits (B): mean of -log sigmoid */
ft_t ft_gan_critic_loss(ft_graph *g, ft_t real, ft_t fake); /* logits (B) each */
ft_t ft_gan_penalty(ft_graph *g, ft_t logits, ft_t x);      /* squared gradient of a frame of x (B,F,S,S,3), its mean */

#endif
