/* What the settings say of an arm: those of its experiment, with some of its own. Read once, when the arms are; what plans runs,
 * compares arms and writes the report looks here. (What a stage computes from, it reads itself, from a scope: stage.h.) */
#ifndef FT_ARM_OPTIONS_H
#define FT_ARM_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/io/config.h"

typedef struct {
    const char *protocol, *evaluation, *baseline, *labels_from; /* texts of the settings */
    int splits, seeds;
    int64_t labels;
    int bootstrap; /* samples of an interval */
    double margin; /* of equivalence, in points of F1 */
    int64_t vae_steps, generator_steps, classifier_steps;
    int64_t looks;     /* at the test list, while training */
    bool best_on_test; /* weights are chosen by them */
    int64_t generated;
    int64_t unlabelled_clips; /* so many of them are used; 0: all */
    bool whole;               /* their frames are as they were */
} ft_arm_options;

ft_arm_options ft_arm_options_of(const ft_config *cfg);

#endif
