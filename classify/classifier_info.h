/* What training writes into run.json beside the losses (ft_classifier_info_read reads it: classifier.h). */
#ifndef FT_CLASSIFIER_INFO_H
#define FT_CLASSIFIER_INFO_H

#include "classify/classifier.h"

json_t *ft_classifier_describe(const ft_classifier_opt *o, const ft_training_set *s); /* NULL: no memory */
/* of a linear probe: the penalties that were chosen, one for each of n */
int ft_classifier_note_strength(json_t *meta, const double *strength, int n);

#endif
