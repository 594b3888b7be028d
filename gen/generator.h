/* Video generators: latent diffusion on the video VAE. Adding one is one file and one row of generator_table.h.
 *
 * Stages, each a folder or file that the experiment caches: train the VAE (vae_train.h), encode the training pool (latents.h),
 * compute a teacher's features (align.h), train the network, sample clips. Everything sees the training pool only. */
#ifndef FT_GENERATOR_H
#define FT_GENERATOR_H

#include "common/graph/graph.h"
#include "common/train/rates.h"
#include "gen/conditions.h"
#include "gen/diffusion.h"
#include "gen/dit.h"
#include "gen/latents.h"
#include "gen/walk.h"

enum { FT_TAPS = 64 };
typedef struct {
    int n;            /* blocks whose tokens can be aligned */
    ft_t at[FT_TAPS]; /* (B,n,grid,grid,width) each */
} ft_taps;

/* What every preset begins with: its name, and the latents that it was made for, (frames, size, size, channels). A family's own
 * struct has this as its first member, so its table is read by both. */
typedef struct {
    const char *name;
    int frames, size, channels;
} ft_generator_preset;

typedef struct {
    const char *family;   /* "medsora" */
    const void *presets;  /* the table, */
    size_t n, row;        /* its rows and the bytes of one: FT_PRESETS(table) */
    bool images_apart;    /* images do not touch the clip beside them, so sampling needs none */
    ft_schedule schedule; /* as published; generator.beta, generator.loss and generator.objective say otherwise */
    ft_loss_kind loss;
    bool flow;                        /* a rectified flow's velocity, else noise */
    double (*lr)(const void *preset); /* learning rate, where generator.lr names none; NULL: 0.001 */
    ft_work work;                     /* most of it; what precision: auto asks */
    /* z (B,n,s,s,c) noised latents, the first `frames` frames a clip and the rest single images
     * -> (B,n,s,s,2c) f32: epsilon and the variance's logit, or (B,n,s,s,c): epsilon alone, or velocity. Latent sizes come from
     * z. */
    ft_t (*network)(ft_graph *g, const void *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told, ft_taps *taps);
    const struct ft_gan
        *gan; /* instead of a network: it draws pixels, without a VAE, and a discriminator teaches it (stylegan.h) */
} ft_generator;

typedef struct {
    ft_t eps;      /* prediction (B,n,s,s,c) f32: epsilon, or the velocity of a rectified flow */
    ft_t variance; /* the variance's logit, same shape; NULL if the network has none */
    ft_taps taps;
} ft_prediction;
ft_prediction ft_generator_predict(ft_graph *g, const char *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told);

const ft_generator *ft_generator_find(const char *preset); /* its family; NULL if unknown */
int ft_generator_known(const char *preset);                /* FT_ECONFIG if unknown */
const ft_generator *ft_generator_at(int i);
/* Row i of a family's table, NULL past the end; the row of that name in any family, to be read as the family's own struct. */
const ft_generator_preset *ft_generator_preset_at(const ft_generator *f, int i);
const void *ft_generator_preset_of(const char *name);

/* The settings of training and sampling, read once: generator.NAME, of a preset that is known. */
typedef struct {
    bool flow;         /* generator.objective: the velocity of a rectified flow, else noise */
    bool logit_normal; /* generator.flow_time */
    bool vlb, min_snr, flip, align;
    bool stop; /* generator.stop: memorisation */
    ft_loss_kind loss;
    ft_schedule schedule;
    ft_image_opt images;
    int64_t steps, batch, parts, first_steps, first_batch, warmup, clip_from, save_every, sheet_every, stop_every;
    double lr, first_lr, ema, clip, weight_decay;
    bool constant, ema_cold, tensorboard; /* constant: the rate of the main phase; cold: the EMA's decay from step 0 */
    double class_drop;                    /* share of labels left out while training */
    ft_sampler sampler;
    int sample_steps;
    double guidance, guidance_from, guidance_until, autoguidance, autoguidance_until; /* see ft_generator_sampler_new */
    const char *objective, *scan, *mixer;                                             /* for the weights' metadata */
} ft_generator_opt;
ft_generator_opt ft_generator_options(const ft_config *cfg, const char *preset);
double ft_generator_rate(const ft_config *cfg, const char *preset); /* generator.lr, or the preset's */

/* Real clips that no generator sees, and the file of their latents. */
typedef struct {
    ft_clip_pool pool;
    const char *latents;
} ft_held_out;

/* Trains preset on encoded latents into `dir`; pool and vae_dir are what the latents come from (for alignment and sheets).
 * told: of which classes (conditions.h), kept as dir/conditions.csv; NULL: of none. held_out: what generator.stop looks at; may
 * be NULL without it. features: the file that ft_generator_teach made; NULL: made in `dir` where something is aligned. Stopped,
 * ema.safetensors is that of the last look before, and run.json has its kept_step. */
int ft_generator_train(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const ft_conditions *told,
                       const ft_held_out *held_out, const char *vae_dir, const char *latents, const char *features,
                       const char *dir, uint64_t seed, bool resume);
/* What such a training aligns preset to (align.*, whose weight is above 0): the teacher's features of the pool, into `features`.
 */
int ft_generator_teach(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const char *vae_dir,
                       const char *latents, const char *features);

/* Mean squared error of the EMA network's prediction over held-out latents, averaged over t. Of epsilon: 1 = predicting zero.
 * One that knows classes takes them as clips of none: no held-out label is looked at. */
int ft_generator_eps_mse(const ft_config *cfg, const char *preset, const char *latents, const char *dir, const char *pool_latents,
                         double *mse);

/* The EMA weights of a trained one, into a store that holds its parameters; and those of a quarter of its steps, into the first
 * bank, for autoguidance (sampler.h). */
int ft_generator_load(ft_params *params, const char *dir);
int ft_generator_load_weak(ft_params *params, const char *dir);
/* Samples n clips with the EMA weights into a clip store; its videos are called as ft_sample_name says: PRESET-00000. Of a
 * generator that knows classes clips are of `class`, or for NULL of every class in turn; a clip's label is its class then, and
 * its split "train", so that it can be learned from but never tested on. */
enum { FT_SAMPLE_NAME = 64 };
void ft_sample_name(const char *preset, int64_t i, char name[FT_SAMPLE_NAME]);
int ft_generator_sample(const ft_config *cfg, const char *preset, const char *dir, const char *vae_dir, const char *pool_latents,
                        const char *class, int64_t n, int frames, int size, uint64_t seed, const char *path);

#endif
