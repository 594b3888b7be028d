/* The stage of a frozen teacher's features, which a generator is aligned to. */
#ifndef FT_STAGE_TEACHER_H
#define FT_STAGE_TEACHER_H

#include "experiments/stages/stage.h"

/* Its folder holds features.safetensors of the fold's pool: of the clips alone, so that all splits and conditions share them.
 * arm: a generator's preset. */
int ft_stage_teacher(ft_experiment *x, const ft_config *cfg, const char *arm, const char *label, int fold, ft_stage *vae,
                     ft_stage **stage);

#endif
