/* A step of adversarial training: losses and plans of its three parts, the generator's, the discriminator's and, in every 16th
 * step, that of the gradient penalty on real clips (R1) and, where they are judged in pairs, on drawn ones (R2). gan.h trains
 * with them; `bench train-step` times them. */
#ifndef FT_GAN_STEP_H
#define FT_GAN_STEP_H

#include <jansson.h>

#include "gen/stylegan.h"

/* Settings of training, read once: generator.steps, generator.batch, gan.*. */
typedef struct {
    int64_t steps, batch, parts, save_every, sheet_every, r1_every, distance;
    double lr, r1, r2;                      /* r1, r2: gamma of the penalty on real clips and on drawn ones */
    double half_life, ramp;                 /* of the average, in steps, at most ramp * step */
    bool flip, tensorboard, augment, turns; /* augment: what the discriminator sees; turns: also by rotations */
    bool paired;                            /* a drawn clip is judged beside a real one */
} ft_gan_opt;
/* What a preset decides is filled in, for clips of so many pixels. */
ft_gan_opt ft_gan_options(const ft_config *cfg, const char *preset, int size);
json_t *ft_gan_settings(const ft_gan_opt *o); /* what it filled in, by the settings' names, for keys and run.json; fresh */

enum { FT_GAN_GENERATOR, FT_GAN_CRITIC, FT_GAN_PENALTY, FT_GAN_PLANS };
/* Clips that a discriminator sees: drawn ones for either network, real ones for the losses and for the penalty. */
enum { FT_GAN_SEEN_DRAWN = FT_GAN_CRITIC, FT_GAN_SEEN_REAL, FT_GAN_SEEN_PENALTY, FT_GAN_SEEN };

typedef struct {
    const ft_stylegan_preset *preset_of;
    const ft_gan *gan;
    const char *preset;
    ft_gan_opt o;
    int frames, size, classes;
    ft_dtype dtype;
    ft_params *store[2]; /* of generator and discriminator */
    ft_graph *graph[FT_GAN_PLANS];
    ft_plan *plan[FT_GAN_PLANS]; /* NULL: without a penalty */
    double lr[2];
    ft_t fake_t[2], fake_label[2]; /* inputs: times (B,3) and classes (B,C+1) of what is drawn for either network */
    ft_t real, real_t, real_label; /* inputs: clips (B,3,S,S,3), their times and classes. Without classes labels are NULL. */
    /* scalars: losses; mean sign of real clips' logits, paired: over drawn ones'; norm of the generator's gradient */
    ft_t loss[FT_GAN_PLANS], real_sign, norm;
    ft_t view[FT_GAN_SEEN]; /* inputs (B,18): how clips are augmented; NULL: they are not */
} ft_gan_step;

/* Batch and penalty as cfg says; classes that clips are told, 0: none. On an error *s is to be freed, too. */
int ft_gan_step_new(ft_gan_step *s, const ft_config *cfg, const char *preset, int frames, int size, int classes, uint64_t seed);
void ft_gan_step_free(ft_gan_step *s);

int ft_gan_fits(const char *preset, int frames, int size);     /* FT_ECONFIG: clips of this shape do not fit it */
int ft_gan_unguided(const ft_config *cfg, const char *preset); /* FT_ECONFIG: cfg asks for guidance, which GANs have none of */

/* Adam's rate where gan.lr leaves it to us: that of the papers for their width. A layer of equal learning rates is divided by the
 * root of its inputs n, and a step of Adam moves all of its weights by the rate, alike: what a unit says moves by n rate /
 * sqrt(n). So a narrower network learns as fast at a rate that is larger by the root of the ratio. */
double ft_gan_rate(const ft_stylegan_preset *p);

/* Adam's rate and second beta where a regulariser takes a step of its own in every `every`-th step (Karras et al. 2020, B) */
void ft_lazy_rate(int64_t every, double *lr, double *beta2);

/* The losses of one part of a batch, scalars (1) f32. */
ft_t ft_gan_generator_loss(ft_graph *g, ft_t fake);         /* logits (B): mean of -log sigmoid */
ft_t ft_gan_critic_loss(ft_graph *g, ft_t real, ft_t fake); /* logits (B) each */
/* -log sigmoid of how much realer `better` (B) looks than `worse` (B), its mean: a discriminator's loss with real clips as the
 * better ones, a generator's with its own (Jolicoeur-Martineau 2019; in pairs, Huang et al. 2024, R3GAN, Eq 2) */
ft_t ft_gan_pair_loss(ft_graph *g, ft_t better, ft_t worse);
ft_t ft_gan_penalty(ft_graph *g, ft_t logits, ft_t x); /* squared gradient of a frame of x (B,F,S,S,3), its mean */

#endif
