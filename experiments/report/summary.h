/* The tables. */
#ifndef FT_SUMMARY_H
#define FT_SUMMARY_H

#include <stdio.h>

#include "experiments/arms/results.h"

json_t *ft_summary_json(const ft_result *r);
/* summary.csv, .md, .tex, runs.csv, of several labels a video labels.csv too, in the results folder */
int ft_summary_write(const ft_result *r);
void ft_summary_print(const ft_result *r, FILE *f); /* the table on the screen */

#endif
