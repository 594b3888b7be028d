/* The stage of how like real clips others are. */
#ifndef FT_STAGE_LIKENESS_H
#define FT_STAGE_LIKENESS_H

#include "experiments/stages/stage.h"

/* Of clips that a stage made or `file` holds against the first fold's pool; of neither (NULL, ""): of the validation videos. */
int ft_stage_likeness(ft_experiment *x, const char *label, ft_stage *made, const char *file, ft_stage **stage);

#endif
