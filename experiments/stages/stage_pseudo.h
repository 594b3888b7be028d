/* The stage of pseudo-labels: what a probe of the split's labels takes the rest of the pool for (DPT, You et al. 2023). */
#ifndef FT_STAGE_PSEUDO_H
#define FT_STAGE_PSEUDO_H

#include "experiments/stages/stage.h"

/* Of one split; pseudo.json in its folder: [video, class, probability] of each video of the pool that has no label. FT_ECONFIG
 * without features.model. */
int ft_stage_pseudo(ft_experiment *x, const ft_config *cfg, const char *label, int fold, int split, const ft_videos *labelled,
                    ft_stage **stage);
/* The clips (n) of those videos: of stage s's fold and split, fresh memory. */
int ft_unlabelled_clips(const ft_experiment *x, const ft_stage *s, int64_t **clip, int64_t *n);
/* Classes for the clips (n) of the pool whose of_clip is -1, where the probe was at least so sure; pseudo (n): which these are.
 */
int ft_pseudo_apply(const ft_experiment *x, const ft_stage *stage, double confidence, const int64_t *clip, int64_t n,
                    int *of_clip, bool *pseudo);

#endif
