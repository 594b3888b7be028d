/* The setting `curve`: the baseline with other numbers of labelled videos, which worth is read off (worth.h). */
#ifndef FT_CURVE_H
#define FT_CURVE_H

#include "experiments/arms/results.h"

/* Is the setting `curve` right? Needs the arms. */
int ft_curve_check(const ft_result *r);
/* Reads it into r->curve and r->point, whose runs are then planned and read as those of arms are. Needs the folds, too: what the
 * pool has too few labels for is left out with a message. */
int ft_curve_read(ft_result *r);

#endif
