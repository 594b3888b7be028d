/* Who learns from what. Everything is decided per group (patient), checked as it is made, and saved as a file: no group and no
 * video of the test or validation list reaches a generator, a VAE or a classifier's training.
 *
 * A fold is {test, validation, pool}; with a test list there is one, with cross-validation `folds` for each repeat. A split
 * draws the labelled videos of a fold from its pool, balanced over classes; the rest of the pool is its unlabelled set. */
#ifndef FT_SPLITS_H
#define FT_SPLITS_H

#include "common/io/config.h"
#include "experiments/data/classes.h"
#include "experiments/data/groups.h"

/* FT_EDATA when the data's own lists divide a group: every fold's sides share no group and no video. */
int ft_folds_make(ft_fold **folds, int *n, const ft_config *cfg, const ft_clipstore *store, const ft_classes *classes);
void ft_folds_free(ft_fold *folds, int n);

/* The labelled videos of split `split` in a fold; unlabelled: the rest of the pool. */
int ft_split_make(ft_videos *labelled, ft_videos *unlabelled, const ft_config *cfg, const ft_clipstore *store,
                  const ft_classes *classes, const ft_fold *fold, int split);

/* Checks once more that no group is on two sides and writes names of all videos as JSON. */
int ft_split_save(const char *path, const ft_clipstore *store, const ft_fold *fold, const ft_videos *labelled, int split);

/* A fold of which the videos of some clips are the pool and all others the test list; both to be freed. */
int ft_sides_of_clips(ft_fold *fold, const ft_clipstore *store, const int64_t *clip, int64_t n);
/* What a generator may be told of the pool's clips: of those of `labelled` videos their class, of all others -1. Fresh memory.
 * Labelled videos are of the pool, no other side shares a group with it: FT_EDATA, or a fault of forty. */
int ft_conditions_of(int **of_clip, const ft_clipstore *store, const ft_classes *classes, const ft_fold *fold,
                     const ft_videos *labelled, const int64_t *clip, int64_t n);

/* Clips of some videos, in order of the store. Fresh memory. */
int ft_clips_of(const ft_clipstore *store, const ft_videos *videos, int64_t **clip, int64_t *n);
/* The first `most` clips of each (0: all): those that are scored, data.test_clips. */
int ft_first_clips_of(const ft_clipstore *store, const ft_videos *videos, int64_t most, int64_t **clip, int64_t *n);

#endif
