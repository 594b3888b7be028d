/* A run of an arm: one split and seed. */
#ifndef FT_RUNS_H
#define FT_RUNS_H

#include "experiments/arms/results.h"

/* Adds the stages of one (split, seed) of an arm to the graph. With cross-validation its test videos are those of all folds of a
 * repeat. */
int ft_run_plan(ft_experiment *x, ft_arm_result *arm, int split, int seed);
/* Reads its results, appended to arm->run. Its stages must be done. */
int ft_run_read(ft_experiment *x, ft_arm_result *arm, int split, int seed);

#endif
