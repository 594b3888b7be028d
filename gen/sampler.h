/* Sampling: a generator's network and the VAE's decoder behind one call. */
#ifndef FT_SAMPLER_H
#define FT_SAMPLER_H

#include "gen/generator.h"
#include "gen/vae_train.h"

enum { FT_SAMPLE_BATCH = 8 };
typedef struct ft_generator_sampler ft_generator_sampler;

/* Which class clips are of: `class`, or -1: clip i of class i mod n. n = 0: the network knows none. */
typedef struct {
    int n, class;
} ft_sampled_class;
int ft_class_of_sample(ft_sampled_class c, int64_t clip);

/* With the EMA bank of `params` (of the network; the caller's) and the VAE of vae_dir; sampler and steps as cfg says. `stats`:
 * how latents were normalised. Both NULL for a generator of pixels. FT_ECONFIG where settings do not go together.
 *
 * Guidance: e_none + s (e_class - e_none) with s = generator.class_guidance, two passes of the network (Ho & Salimans 2022); a
 * learned variance is the class's. Where the noise, sigma / alpha, is outside of generator.class_from .. class_until, and for
 * s = 1, the class's prediction alone, one pass (Kynkaanniemi et al. 2024).
 *
 * Autoguidance: y_weak + w (y - y_weak) with w = generator.autoguidance, y_weak of the same network with worse weights, the first
 * bank of `weak` (the caller's), told the same class (Karras et al. 2024, 2406.02507); up to a noise of autoguidance_until. Both
 * at once: FT_ECONFIG. weak NULL: none, whatever the settings say (sheets and looks of a training, which has no such weights
 * yet). */
int ft_generator_sampler_new(ft_generator_sampler **s, const ft_config *cfg, const char *preset, ft_params *params,
                             ft_params *weak, const char *vae_dir, const ft_latents *stats, int frames, int size,
                             ft_sampled_class of);
void ft_generator_sampler_free(ft_generator_sampler *s);

/* Clips first .. first + n - 1 (n <= FT_SAMPLE_BATCH) as pixels (n,F,S,S,3): each depends on (seed, its number) only. */
int ft_generator_sampler_clips(ft_generator_sampler *s, uint64_t seed, int64_t first, int64_t n, uint8_t *pixels);

/* Four clips of the weights as they are now: DIR/samples/000500.png, one row each, and 000500.gif, side by side. The same noise
 * every time, so sheets can be compared. */
int ft_sample_sheet(ft_generator_sampler *s, const char *dir, int64_t step, int frames, int size);

#endif
