/* Can the class be read off something that is not in the picture? Length, frame rate, picture size and every other column of the
 * label list (device, centre, ...) against the class, and videos that stand on both sides of a split. */
#ifndef FT_CONFOUNDS_H
#define FT_CONFOUNDS_H

#include "common/base/names.h"
#include "experiments/data/splits.h"

typedef struct {
    char name[FT_NAME_MOST + 1];
    bool numeric;
    int told;   /* what it tells: the positive class, or each class in turn where a video may have several */
    int values; /* different ones */
    /* numeric: area under the curve of the value as a score, or 1 minus it, whichever is larger; words: balanced accuracy of
     * answering with the majority of the other videos with this word. 0.5 or less: says nothing about the positive class. */
    double strength, p; /* p: share of 1,000 shuffled label lists that reach it */
    bool warn;          /* strength >= 0.7 and p <= 0.01 */
} ft_confound;

/* Facts of the labelled videos that vary. *list is fresh. */
int ft_confounds(const ft_clipstore *store, const ft_classes *classes, ft_confound **list, int *n);

/* The first, middle and last frame of a clip at 16 x 16 pixels, by means over boxes. */
enum { FT_THUMBNAIL = 16 * 16 * 3 * 3 };
void ft_thumbnail(const ft_clipstore *store, int64_t clip, float out[FT_THUMBNAIL]);

typedef struct {
    int64_t a, b; /* rows of /video */
    double difference;
} ft_twin;

/* Pairs of videos, one of `a` and one of `b`, that show the same: equal files, or clips that differ by under 3 of 255 levels on
 * average at 16 x 16 pixels. The first FT_TWINS_MOST of them: where there are more, it is not pairs that need looking at. */
enum { FT_TWINS_MOST = 1000 };
int ft_twins(const ft_clipstore *store, const ft_videos *a, const ft_videos *b, ft_twin **list, int *n);

#endif
