/* Any set of clips as somebody has it, without labels: a clip store, a folder of videos, of folders of frames, or of single
 * pictures; and the clips that are taken of it, at a size. */
#ifndef FT_CLIP_SET_H
#define FT_CLIP_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "common/io/clipstore.h"
#include "common/io/labels.h"
#include "common/io/resize.h"

typedef struct {
    char *path;
    bool of_store;
    ft_clipstore store;
    ft_labels list; /* of a folder: its videos in order of their paths, by classes if it holds a folder for each */
    char id[65];    /* SHA-256 of what it holds */
} ft_clip_set;

/* `class`: only videos of this label, or below the folder of this name; NULL or "": all. FT_EDATA: not a set of clips, none in
 * it, no such class (naming those that there are). */
int ft_clip_set_open(ft_clip_set *s, const char *path, const char *class);
void ft_clip_set_free(ft_clip_set *s);

typedef struct {
    int frames, stride; /* of a clip; of a store: of its frames */
    int clips;          /* of a video, evenly spread; 0: all of it, one behind another */
    bool random;        /* where clips = 1: somewhere in the video, else at its beginning */
    uint64_t seed;
    int64_t most; /* clips of the set, the first ones; 0: all */
    /* the square in the middle of each picture is resized twice: to `first` pixels and rounded to bytes, as when data sets are
     * prepared (0: it is not), and to `size`, as in front of a network */
    int first, size;
    ft_filter first_filter, filter;
} ft_take_opt;

/* Gives each clip (frames, size, size, 3), numbers of 0 to 255, with its video, counted from 0 over those that have clips. Videos
 * that are too short are left out; *left_out counts them. FT_EDATA: all are. */
typedef int (*ft_taker)(void *of, int64_t video, const float *clip);
int ft_clip_set_each(const ft_clip_set *s, const ft_take_opt *o, ft_taker take, void *of, int64_t *left_out);

#endif
