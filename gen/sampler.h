/* Sampling: a generator's network and the VAE's decoder behind one call. */
#ifndef FT_SAMPLER_H
#define FT_SAMPLER_H

#include "gen/generator.h"
#include "gen/vae_train.h"

enum { FT_SAMPLE_BATCH = 8 };
typedef struct ft_clip_sampler ft_clip_sampler;

/* With the EMA bank of `params` (of the network; the caller's) and the VAE of vae_dir; sampler and steps as cfg says. `stats`:
 * how latents were normalised. FT_ECONFIG where settings do not go together. */
int ft_clip_sampler_new(ft_clip_sampler **s, const ft_config *cfg, const char *preset, ft_params *params, const char *vae_dir,
                        const ft_latents *stats, int frames, int size);
void ft_clip_sampler_free(ft_clip_sampler *s);

/* Clips first .. first + n - 1 (n <= FT_SAMPLE_BATCH) as pixels (n,F,S,S,3): each depends on (seed, its number) only. */
int ft_clip_sample(ft_clip_sampler *s, uint64_t seed, int64_t first, int64_t n, uint8_t *pixels);

#endif
