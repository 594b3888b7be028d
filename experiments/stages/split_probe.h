/* A linear probe that a split's labels teach: what the filter `agreement` and pseudo-labels ask. */
#ifndef FT_SPLIT_PROBE_H
#define FT_SPLIT_PROBE_H

#include "classify/clip_features.h"
#include "experiments/stages/stage.h"
#include "gen/latents.h"

/* settings that it depends on, for the key of a stage that asks it */
extern const char *const ft_split_probe_keys[];

/* Trains it for the split of stage `s`, in whose folder it stays, on the features that `of_data` made of the experiment's clips,
 * and asks it about some clips: prob (clips->n, classes). own: their features; NULL: they are of the experiment. */
int ft_split_probe(const ft_experiment *x, const ft_stage *s, const ft_stage *of_data, const ft_clip_pool *clips,
                   const ft_clip_features *own, float *prob);

#endif
