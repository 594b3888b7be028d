/* A sampler's way from noise to data as one recorded step, replayed: the network and the update of what is known so far run where
 * plans run, and the numbers of each step wait there in a table, so on a device nothing goes to the host or comes from it between
 * two steps. DDIM with eta 0 (Song et al. 2021), UniPC-2, bh2, as predictor and corrector (Zhao et al. 2023), ancestral sampling
 * on a respaced schedule (Ho et al. 2020; Nichol and Dhariwal 2021). The arithmetic is in double, the state in f32. */
#ifndef FT_WALK_H
#define FT_WALK_H

#include "common/graph/graph.h"

typedef enum { FT_DDIM, FT_UNIPC, FT_DDPM } ft_sampler;
typedef enum {
    FT_PREDICTS_EPS,      /* x0 = (x - sigma y) / alpha */
    FT_PREDICTS_VELOCITY, /* of a rectified flow, eps - x0: x0 = x - sigma y */
    FT_PREDICTS_X0
} ft_predicts;

/* From point 0 to point `steps`: alpha and sigma (x = alpha x0 + sigma eps, sigma[0] > ... >= 0) of steps + 1 points, and what
 * the network takes as the time of the first `steps`. A rectified flow has alpha = 1 - sigma and may begin at alpha = 0. A final
 * sigma of 0 gives x0 itself. */
typedef struct {
    ft_sampler kind;
    ft_predicts predicts;
    int steps;
    const double *alpha, *sigma, *time;
    const double
        *guidance; /* w of w y + (1 - w) y without a class, at the first `steps` points; NULL: 1 (Ho and Salimans 2022) */
    bool lower_order_final; /* the last UniPC step is of first order, as the reference does */
    bool learned;           /* of DDPM: the network gives the share of log beta in the log variance; else the posterior's */
} ft_path;

/* In the order of use: new; the network on x (f32, dim) and t (dim[0]) in g; update, with its prediction y (f32, like x), for
 * `guidance` that without a class, and for `learned` its variance's logit; a plan of g; runs. The graph and the plan are the
 * caller's. */
typedef struct ft_walk ft_walk;
int ft_walk_new(ft_walk **w, ft_graph *g, const ft_path *path, int ndim, const int64_t *dim, ft_t *x, ft_t *t);
int ft_walk_update(ft_walk *w, ft_t y, ft_t without, ft_t variance);
/* After `update`, with a graph of its own: a second way through the steps where guidance is 1, whose network is asked once; then
 * `update` and a plan for it, too. The same bits, half the work. */
void ft_walk_plain(ft_walk *w, ft_graph *g, const int64_t *dim, ft_t *x, ft_t *t);
/* plain: the plan of that; NULL: there is none. Clips first .. first + dim[0] - 1 of `seed`, from ft_clip_noise(seed, 0, first,
 * ...) or from `from` (like x) where that is not NULL. *x: the result, until the next run. */
int ft_walk_run(ft_walk *w, ft_plan *plan, ft_plan *plain, uint64_t seed, int64_t first, const float *from, const float **x);
void ft_walk_free(ft_walk *w); /* NULL is allowed */

#endif
