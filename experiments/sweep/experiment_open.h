/* An experiment before anything is computed. */
#ifndef FT_EXPERIMENT_OPEN_H
#define FT_EXPERIMENT_OPEN_H

#include "experiments/arms/results.h"

/* Arms, data, classes, folds, the graph: everything that can be wrong is found here. */
int ft_experiment_open(ft_result *r);
void ft_experiment_close(ft_result *r);

#endif
