/* How far a set of clips is from the pool's real clips: one table of distances, each with an interval and a floor. A further one
 * is a row of the table and a function of its name in set_distances.c. */
#ifndef FT_SET_DISTANCES_H
#define FT_SET_DISTANCES_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "classify/prdc.h"

/*  name in JSON and CSV and of its function, title, what real clips have */
#define FT_SET_DISTANCE_TABLE(ROW)                                                                                               \
    ROW(frechet, "Frechet distance", "small")                                                                                    \
    ROW(mmd, "MMD, squared and unbiased (the kernel of KID)", "0")                                                               \
    ROW(jedi, "MMD of JEDi's form (degree 2, biased, times 100)", "small")                                                       \
    ROW(precision, "precision: clips in the ball of a real one", "1")                                                            \
    ROW(recall, "recall: real clips in the ball of a clip", "1")                                                                 \
    ROW(density, "density: balls around a clip", "about 1")                                                                      \
    ROW(coverage, "coverage: real clips whose ball holds a clip", "1")

enum {
#define FT_SET_DISTANCE_ROW(name, title, best) FT_DISTANCE_##name,
    FT_SET_DISTANCE_TABLE(FT_SET_DISTANCE_ROW)
#undef FT_SET_DISTANCE_ROW
        FT_SET_DISTANCES
};
typedef struct {
    const char *name, *title, *best;
} ft_set_distance_name;
extern const ft_set_distance_name ft_set_distance_names[FT_SET_DISTANCES];

/* Most distances depend on how many clips there are. So `floor`, that of real clips to other real clips, is to be compared with
 * `alike`, that of as many of the clips; both NaN where there are no real clips of two videos to spare. low, high: 95 % interval
 * of `value` by bootstrap over videos, with the balls of precision and its kin as they are; NaN for the Frechet distance and the
 * biased discrepancy, which are larger in every resample, as that holds fewer different clips. */
typedef struct {
    double value, low, high, alike, floor;
    double floor_low, floor_high; /* the least and the largest of several floors; NaN: there is one */
    double infinity;              /* extrapolated to sets of any size; NaN: not asked for, or not this distance */
} ft_set_distance;

/* Features of d numbers; their videos numbered from 0 in order of their first clips. within: room for made->n, whether each lies
 * in the ball of a real clip. same: clips that `alike` and `floor` are of, 0: none. */
int ft_set_distances(const ft_feature_set *real, const ft_feature_set *made, const ft_feature_set *held_out, int d, bool *within,
                     ft_set_distance of[FT_SET_DISTANCES], int64_t *same);

/* The same without held-out clips: floors are means over `halves` random halves of the real videos, one half to as many clips of
 * the other, and `alike` is the first half to as many of the clips, of videos drawn with it. */
typedef struct {
    int ddof, samples, halves; /* of covariances; of the bootstrap, 0: no intervals; 0: no floors */
    int64_t most;              /* clips of a set that pairs are made of, evenly spread: all distances but Frechet's. 0: all */
    uint64_t seed;
    bool infinity; /* see ft_frechet_infinity */
} ft_halves_opt;
int ft_set_distances_by_halves(const ft_feature_set *real, const ft_feature_set *made, int d, const ft_halves_opt *o,
                               ft_set_distance of[FT_SET_DISTANCES], int64_t *same);

/* The Frechet distance for n -> infinity (Chong & Forsyth 2020, arXiv 1911.07023): it is linear in 1/n to first order, so it is
 * measured on parts of both sets, 15 shares of their videos from a quarter to all, and the least-squares line in 1/share is taken
 * at 0. Their line is over the size of the generated set alone, whose real set is large; here both are small. It is a line only
 * where the smallest part holds more clips than features have numbers. */
int ft_frechet_infinity(const ft_feature_set *real, const ft_feature_set *made, int d, int ddof, uint64_t seed, double *value);

/* {"mmd": {"value", "ci_low", "ci_high", "alike", "floor"}, ...}; null: NaN. Reading what is not there gives NaN. */
json_t *ft_set_distances_json(const ft_set_distance of[FT_SET_DISTANCES]);
void ft_set_distances_read(const json_t *o, ft_set_distance of[FT_SET_DISTANCES]);

#endif
