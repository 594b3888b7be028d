/* The stage of how like the pool's real clips an arm's are in the features of `features.model`, where probes look through it
 * anyway: the same table as that of the self-features (stage_likeness.h). */
#ifndef FT_STAGE_DISTANCES_H
#define FT_STAGE_DISTANCES_H

#include "experiments/stages/stage.h"

/* of_data, of_arm: the stages of features of the labelled videos' clips and of the arm's, which `made` or `file` gives */
int ft_stage_distances(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage *of_data, ft_stage *of_arm,
                       ft_stage *made, const char *file, ft_stage **stage);

#endif
