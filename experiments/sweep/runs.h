/* A run of an arm: one split and seed. It is planned once; its stages compute from the plan, and its results are read by it. */
#ifndef FT_RUNS_H
#define FT_RUNS_H

#include "experiments/arms/results.h"

/* Adds a (split, seed) to arm->plan, and its stages to the graph. With cross-validation its test videos are those of all folds of
 * a repeat. */
int ft_run_plan(ft_experiment *x, ft_arm_result *arm, int split, int seed);
/* Reads the results of all that is planned, in order, into arm->run and arm->line, for an arm or a point of the curve
 * of `all`. The stages must be done. */
int ft_runs_read(const ft_result *all, ft_arm_result *arm);
void ft_runs_free(ft_arm_result *arm); /* the plan; after the stages, which point to it */

#endif
