/* What a run says about its arms, in words that the screen, the tables, the page and JSON share.
 *
 * A difference is shown where both agree: the sign-flip test over label splits (p under 0.05 after Holm), and the interval over
 * other splits and other test videos, which must leave out 0. Over splits alone, however many, only these test videos are judged;
 * the interval alone knows no correction for several arms and is too narrow for few splits. The smallest difference that a run
 * could show is the larger of what the two find with 80 % power: the test (ft_smallest_effect, times the deviation of the arm's
 * differences over splits, at the first level of Holm's correction), and the interval (ft_smallest_outside). It rests on the
 * spread of the differences, not on their mean. Fewer than six splits, or one, show nothing.
 *
 * Two arms are equivalent where the test (ft_equivalence, Holm over the arms that such a verdict is about) and the same interval
 * say that they differ by less than `margin`.
 *
 * A difference that is shown is said. Where none is, it is asked whether there could have been one: the positive control of an
 * arm is real-unlabelled (real videos are what generated ones stand for), and a run in which they add nothing could not have
 * shown what generated clips add. Of clips that teach a class (clips.use), and where that arm is missing, all labels are the
 * control (fully-supervised, or `all` of the curve). */
#ifndef FT_VERDICT_H
#define FT_VERDICT_H

#include "experiments/arms/results.h"

enum { FT_SENTENCE = 4096 };

int ft_verdicts(ft_result *r); /* smallest, tost_holm and verdict of every arm, from its difference, p-values and worth */

const char *ft_verdict_word(const ft_arm_result *a); /* "better", "no difference shown", ...; "" without a comparison */
const char *ft_equivalent_word(const ft_result *r, const ft_arm_result *a); /* yes, no; "": nothing is said about it */
/* The sentence of an arm, to follow its name and a colon; "" without a comparison. */
void ft_verdict_text(const ft_result *r, const ft_arm_result *a, char text[FT_SENTENCE]);
/* What stands above all: who copies its training videos, positive control, smallest difference, worth in labels. */
void ft_verdict_head(const ft_result *r, char text[FT_SENTENCE]);
/* "+3 [-4, more than +160]"; "" where there is none. */
void ft_worth_text(const ft_result *r, const ft_arm_result *a, char text[100]);

/* The arm that has to be seen, and whether it was; NULL: the run has none. */
const ft_arm_result *ft_positive_control(const ft_result *r, const ft_arm_result *a, bool *seen);

#endif
