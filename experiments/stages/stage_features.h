/* The stage of what a frozen backbone sees, for probes. */
#ifndef FT_STAGE_FEATURES_H
#define FT_STAGE_FEATURES_H

#include "experiments/stages/stage.h"

/* What the backbone of `cfg` sees in the clips of the labelled videos or, where a stage made them or `file` is not empty, in
 * those. features.safetensors in its folder. */
int ft_stage_features(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage *made, const char *file,
                      ft_stage **stage);
/* The settings `of` an arm, where `vae` is the folder of the stage that this one needs. Free with ft_config_free before `of`. */
int ft_features_settings(const ft_stage *s, const ft_config *of, ft_config **cfg);

#endif
