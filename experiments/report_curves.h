#ifndef FT_REPORT_CURVES_H
#define FT_REPORT_CURVES_H

#include <stdio.h>

#include "experiments/experiment.h"

/* Receiver operating and precision-recall curves (two classes) and reliability of all arms, as SVG. Negative: no memory. */
int ft_report_curves(const ft_result *r, FILE *f);

#endif
