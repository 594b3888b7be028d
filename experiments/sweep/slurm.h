/* The stages of an experiment as jobs of a Slurm cluster. */
#ifndef FT_SLURM_H
#define FT_SLURM_H

#include "experiments/arms/results.h"

int ft_slurm_submit(ft_result *r, const char *config); /* config: the settings file that the jobs read */

#endif
