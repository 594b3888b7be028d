/* How far a set of clips is from the pool's real clips: one table of distances, each with an interval and a floor. A further one
 * is a row of the table and a function of its name in set_distances.c. */
#ifndef FT_SET_DISTANCES_H
#define FT_SET_DISTANCES_H

#include <jansson.h>

#include "classify/prdc.h"

/*  name in JSON and CSV and of its function, title, what real clips have */
#define FT_SET_DISTANCE_TABLE(ROW)                                                                                               \
    ROW(frechet, "Frechet distance", "small")                                                                                    \
    ROW(mmd, "MMD, squared and unbiased (the kernel of KID)", "0")                                                               \
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

/* Most distances depend on how many clips there are. So `floor`, that of held-out real clips to the pool, is to be compared with
 * `alike`, that of as many of the clips, the first; both NaN without held-out clips of two videos. low, high: 95 % interval of
 * `value` by bootstrap over videos, with the balls of precision and its kin as they are; NaN for the Frechet distance, which is
 * larger in every resample, as that holds fewer different clips. */
typedef struct {
    double value, low, high, alike, floor;
} ft_set_distance;

/* Features of d numbers; their videos numbered from 0 in order of their first clips. within: room for made->n, whether each lies
 * in the ball of a real clip. same: clips that `alike` and `floor` are of, 0: none. */
int ft_set_distances(const ft_feature_set *real, const ft_feature_set *made, const ft_feature_set *held_out, int d, bool *within,
                     ft_set_distance of[FT_SET_DISTANCES], int64_t *same);

/* {"mmd": {"value", "ci_low", "ci_high", "alike", "floor"}, ...}; null: NaN. Reading what is not there gives NaN. */
json_t *ft_set_distances_json(const ft_set_distance of[FT_SET_DISTANCES]);
void ft_set_distances_read(const json_t *o, ft_set_distance of[FT_SET_DISTANCES]);

#endif
