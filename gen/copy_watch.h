/* While a generator trains: does it begin to copy? generator.stop: memorisation. */
#ifndef FT_COPY_WATCH_H
#define FT_COPY_WATCH_H

#include "gen/generator.h"
#include "gen/memorisation.h"

typedef struct ft_copy_watch ft_copy_watch;

/* `params`, `l`: the network's, which is being trained, and its latents; held_out: not without clips. What is given must outlive
 * it. */
int ft_copy_watch_new(ft_copy_watch **w, const ft_config *cfg, const char *preset, ft_params *params, const char *vae_dir,
                      const ft_latents *l, const char *latents, const ft_clip_pool *pool, const ft_held_out *held_out,
                      int classes);
void ft_copy_watch_free(ft_copy_watch *w);

/* 64 samples of the EMA as it is now by ten steps of DDIM, always from the same noise, decoded and encoded again as those of the
 * passport are, and held against the training latents. */
int ft_copy_watch_look(ft_copy_watch *w, ft_memorisation *m);

#endif
