/* Statistics of the finished runs: intervals, paired differences, trivial answers, worth, verdicts. */
#ifndef FT_COMPARE_H
#define FT_COMPARE_H

#include "experiments/arms/results.h"

int ft_compare(ft_result *r);

#endif
