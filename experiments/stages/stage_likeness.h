/* The stage of how like real clips others are. */
#ifndef FT_STAGE_LIKENESS_H
#define FT_STAGE_LIKENESS_H

#include "experiments/stages/stage.h"

/* Of clips that a stage made or `file` holds against their fold's pool; of neither (NULL, ""): of its validation videos. */
int ft_stage_likeness(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage *made, const char *file,
                      ft_stage **stage);

#endif
