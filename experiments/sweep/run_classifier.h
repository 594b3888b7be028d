/* The stage of a run in one fold: its classifier, trained and asked about the test videos. */
#ifndef FT_RUN_CLASSIFIER_H
#define FT_RUN_CLASSIFIER_H

#include "experiments/arms/arm.h"

/* What a run needs in one fold, made while planning; the classifier's stage points to it and computes from it. */
typedef struct {
    ft_arm_context c;
    ft_stage *classifier;
    ft_stage *seen,
        *seen_own; /* of a probe: the features of the labelled videos' clips, of those that the arm brings; else NULL */
} ft_run_fold;

/* Its facts: threshold (null: none), looks, utilisation, step, pseudo_labels. test.csv: predictions.h. */
extern const ft_stage_kind ft_run_classifier;

bool ft_is_probe(const ft_config *cfg);
bool ft_two_classes(const ft_experiment *x);

#endif
