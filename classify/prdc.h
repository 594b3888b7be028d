/* Precision, recall, density, coverage of a set of clips against a real one, by balls around the nearest neighbours (Naeem et al.
 * 2020, arXiv 2002.09797). Made for sets that hold one clip a video; where a video has several, its own clips are no neighbours
 * and a video is as near as its nearest clip. */
#ifndef FT_PRDC_H
#define FT_PRDC_H

#include <stdbool.h>
#include <stdint.h>

enum { FT_PRDC_NEIGHBOURS = 5 };

typedef struct {
    double precision; /* share of clips within the ball of a real one: they are likely */
    double recall;    /* share of real clips within the ball of a clip: so much of the real variety is there */
    double density;   /* balls that a clip lies in over the number of neighbours, on average: real clips have about 1 */
    double coverage;  /* share of real clips whose ball holds a clip */
} ft_prdc_scores;

/* Clips as features of d numbers; `video` of each from 0 on, NULL: each its own. */
typedef struct {
    const float *value; /* (n, d) */
    const int64_t *video;
    int64_t n;
} ft_feature_set;

/* Of each clip, what the scores are means of; each may be NULL. */
typedef struct {
    int *inside;              /* (made.n) balls of real clips that it lies in */
    bool *recalled, *covered; /* (real.n) lies it in the ball of a clip? Does its own hold one? */
} ft_prdc_clips;

/* The radius of a ball is the distance to the k-th nearest video of its own set, or to the last where there are fewer. FT_EDATA
 * with less than two videos on a side. */
int ft_prdc(const ft_feature_set *real, const ft_feature_set *made, int64_t d, int k, ft_prdc_clips of_clip,
            ft_prdc_scores *scores);

#endif
