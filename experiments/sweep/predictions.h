/* Files of predictions: a row for each video with its label and the probability of every class. */
#ifndef FT_PREDICTIONS_H
#define FT_PREDICTIONS_H

#include "experiments/stages/stage.h"

/* prob: (videos, classes), in the order of `v` */
int ft_predictions_write(const ft_experiment *x, const char *path, const ft_videos *v, const float *prob);
/* Reads it back. FT_EDATA unless it is of just these videos, labels and classes. */
int ft_predictions_read(const ft_experiment *x, const char *path, const ft_videos *v, float *prob);

#endif
