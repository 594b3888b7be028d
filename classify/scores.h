/* Scores of class probabilities. Binary F1 counts `positive`; with more than two classes F1 is the macro mean. Undefined
 * ratios (0/0) are 0, as in scikit-learn. Predictions are the arg max, ties go to the lower class.
 *
 * Videos with several labels: `positive` is FT_MULTILABEL, a label is a set of classes (bit k: class k; 0: none of them), and
 * p(class) stands for itself, predicted above 1/2. Every score is then the macro mean of the classes' own two-class scores
 * (AUPRC: mAP), except accuracy: the share of videos whose whole set is right. A class that no video has is left out of F1,
 * sensitivity, AUROC and AUPRC, one that all have of specificity and AUROC: they say nothing about it, and in a bootstrap sample
 * a rare class would count as missed. */
#ifndef FT_SCORES_H
#define FT_SCORES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { FT_MAX_CLASSES = 32, FT_MULTILABEL = -1, FT_MAX_SET = 31 }; /* FT_MAX_SET: classes of a set, which is an int */
typedef struct {
    double f1, accuracy, balanced_accuracy, sensitivity, specificity, mcc, auroc, auprc, brier, ece;
    int64_t confusion[FT_MAX_CLASSES][FT_MAX_CLASSES]; /* [true][predicted]; not of sets */
    int classes;
    bool multilabel;
    struct {
        double f1, auroc, auprc; /* NaN where it has no say */
        int64_t videos;          /* that have it */
    } of_class[FT_MAX_CLASSES];  /* of sets */
} ft_scores;

/* prob (n, classes), label n. ECE has 15 bins of the winning probability; AUROC and AUPRC (average precision) are those of
 * `positive`, or one-versus-rest means with more than two classes; Brier is the mean squared error of p(positive), or the sum
 * over classes with more than two. */
ft_scores ft_score(const float *prob, const int *label, int64_t n, int classes, int positive);
double ft_f1(const float *prob, const int *label, const int64_t *pick, int64_t n, int classes,
             int positive); /* of picked rows; NULL: all */
/* The threshold t on p(positive) at which [p >= t] has the largest F1; of equal ones the highest. Two classes. To be chosen on
 * validation videos and used on others. NaN without any. */
double ft_operating_point(const float *prob, const int *label, int64_t n, int positive);

/* Points of the receiver operating and precision-recall curves of p(positive), from the strictest threshold on: shares of true
 * and false positives, precision. Arrays have room for n + 1; returns how many points. */
int64_t ft_curves(const float *prob, const int *label, int64_t n, int classes, int positive, double *tpr, double *fpr,
                  double *precision);

json_t *ft_scores_json(const ft_scores *s);

#endif
