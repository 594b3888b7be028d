/* Timing of plans, and of single ops at the shapes that the networks have: `forty bench op`. */
#ifndef FT_BENCH_OPS_H
#define FT_BENCH_OPS_H

#include "common/graph/graph.h"
#include "experiments/cli/cli.h"

/* Three warm-up runs, then `runs` timed ones: ms, sorted. */
int ft_bench_plan(ft_plan *plan, int64_t runs, bool profile, double *ms);
int ft_bench_by_value(const void *a, const void *b); /* of doubles, for qsort */
/* values without a pattern that a multiplier could profit from */
void ft_bench_fill(ft_t x, float scale);
int ft_bench_ops(ft_cli *c, int64_t runs);

#endif
