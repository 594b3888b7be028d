/* Groups of videos (patients) and the sides of a fold: no group and no video may stand on two of them. */
#ifndef FT_GROUPS_H
#define FT_GROUPS_H

#include "common/base/rng.h"
#include "common/io/clipstore.h"
#include "experiments/data/classes.h"

typedef struct {
    int64_t *video;
    int64_t n;
} ft_videos;

json_t *ft_video_names(const ft_clipstore *s, const ft_videos *v); /* a list, fresh */

typedef struct {
    ft_videos test, validation, pool;
    int repeat, fold;
} ft_fold;

/* FT_EDATA: two sides of a fold share a group or a name. Lists that come with the data may divide a group: that is the data's
 * word. */
int ft_sides_check_folds(const ft_clipstore *s, const ft_fold *fold, int n);
/* Everything of one fold, for those who look at one alone. unlabelled may be NULL. */
int ft_sides_check_split(const ft_clipstore *s, const ft_fold *f, const ft_videos *labelled, const ft_videos *unlabelled);

/* Deals whole groups of the videos with side[i] == from into `sides` parts of given share, keeping the classes balanced: large
 * groups first (equal sizes in random order), each to the part that then lacks the most of its classes. */
int ft_groups_deal(const ft_clipstore *s, const ft_classes *c, int *side, int from, int sides, const double *share, ft_rng r);

#endif
