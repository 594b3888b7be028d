/* Frames that are labelled one by one become windows: clips of a few frames with one label, of one group with their video. */
#ifndef FT_WINDOWS_H
#define FT_WINDOWS_H

#include <stdint.h>

#include "common/io/labels.h"
#include "experiments/lists.h"

typedef struct {
    const char *name, *file, *split; /* of the video; name is its group, too */
    const uint8_t *positive;         /* of every frame */
    int64_t frames;
    const char *label[2]; /* of a window without, with positive frames */
} ft_framed;

/* Rows NAME@FROM of w->window frames each, side by side; what is left at the end is none, as it would be shorter. Positive: any
 * of its frames is, or more than half of them (w->majority). */
int ft_windows_add(ft_labels *l, const ft_framed *v, const ft_list_words *w);

#endif
