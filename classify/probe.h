/* Probes: small classifiers on the features of a frozen backbone (Alain & Bengio 2016).
 *
 *   linear-probe      of each token the mean over frames and, of more than one, the standard deviation, standardised by the
 * labelled clips -> logistic regression on clips as they are and in their weak views, its penalty chosen inside the labelled
 * videos. From labels alone it is solved exactly; semi-supervised training goes on from there with the same penalty
 *   attentive-probe   one learned query attends to all tokens of all frames, to which a place in time is added, then a linear
 * layer */
#ifndef FT_PROBE_H
#define FT_PROBE_H

#include "classify/classifier.h"

bool ft_probe_is_linear(const char *preset);

/* Names the probe's parameters in a fresh store with what the labelled clips make of them: standardisation, and of a linear probe
 * the solution. Generated clips with a class are rows of the regression too, which together weigh lambda_g times as much as all
 * labelled videos; standardisation and strength are of the labelled videos alone: a generator has seen those, and its clips would
 * tell of the ones that are held out. *penalty: times the squared norm of head.weight, what belongs to the mean loss of a
 * labelled video; 0 for an attentive probe. *strength: scikit-learn's C, which is o->strength or, where that is 0, chosen; of
 * sets of labels, whose classes are solved one by one, that of each. */
int ft_probe_begin(ft_params *params, const char *preset, const ft_classifier_opt *o, const ft_training_set *set, uint64_t seed,
                   double *penalty, double strength[FT_MAX_CLASSES]);

#endif
