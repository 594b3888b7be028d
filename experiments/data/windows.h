/* Frames that are labelled one by one become windows: clips of a few frames with one label, of one group with their video. */
#ifndef FT_WINDOWS_H
#define FT_WINDOWS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/io/labels.h"
#include "experiments/data/lists.h"

enum { FT_NOT_LOOKED_AT = -1, FT_MOST_FRAMES = 1 << 24, FT_FRAME_LABELS = 31 };

typedef struct {
    const char *name, *file, *split; /* of the video; name is its group, too */
    const int32_t *is;               /* of every frame: its labels as bits, FT_NOT_LOOKED_AT where nobody told */
    int64_t frames;
    const char *const *label; /* FT_FRAME_LABELS at most */
    int labels;
    const char *none; /* what a window without any is called */
    bool one;         /* a frame has one label: a window has that of most of its frames, of equals the first one */
} ft_framed;

/* Rows NAME@FROM of w->window frames each, side by side; what is left at the end is none, as it would be shorter, and so is a
 * window that nobody looked at. A window has a label if any of its frames has, or more than half of those that were looked at
 * (w->majority). *unseen (may be NULL) counts the windows that nobody looked at. */
int ft_windows_add(ft_labels *l, const ft_framed *v, const ft_list_words *w, int64_t *unseen);

/* Labels of frames of one video, as a list tells them in any order; grows as needed, frames in between are not looked at. */
typedef struct {
    int32_t *is;
    int64_t frames;
} ft_frame_labels;
int ft_frame_labels_set(ft_frame_labels *f, int64_t frame, int32_t is); /* joins what is there */

/* Names in a folder without hidden ones, in the order of their numbers: 2.txt before 10.txt. Free with ft_free_names. */
int ft_numbered_names(const char *folder, char ***name, int *n);

#endif
