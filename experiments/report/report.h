/* The report: one page that needs nothing else. */
#ifndef FT_REPORT_H
#define FT_REPORT_H

#include "experiments/arms/results.h"

int ft_report_write(const ft_result *r, const char *path); /* report.html */

#endif
