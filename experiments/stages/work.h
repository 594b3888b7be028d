/* The work of an experiment, shared by any number of processes. */
#ifndef FT_WORK_H
#define FT_WORK_H

#include "experiments/stages/stage.h"

/* Computes the stages that are not there yet, in any order and beside other processes; `only`: this one. */
int ft_experiment_work(ft_experiment *x, ft_stage *only);
int ft_experiment_complete(ft_experiment *x); /* FT_EDATA if a stage is not done */

#endif
