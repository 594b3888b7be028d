/* Multiple-instance learning as the verbs see it: stored features and a label list in, a run folder or scores out. */
#ifndef FT_MIL_TASK_H
#define FT_MIL_TASK_H

#include "experiments/cli/cli.h"

/* Trains on the videos of the label list that no test list names (data.features, data.labels, mil.*). */
int ft_mil_task(const ft_config *cfg, const char *dir, bool resume);
bool ft_mil_is_run(const char *dir);
/* Scores a run on the test videos of its label list: per video, and per frame if data.frame_labels tells which frames are
 * positive. Options --data (features), --split, --frame-labels, --snippets. */
int ft_mil_evaluate(ft_cli *c, const char *run);

/* Which of `frames` frames are positive: a list (CSV: video,start,end; end is the first frame behind) or a NumPy file with a
 * value for every frame of every video in order. truth: one byte a frame, videos one behind another. */
typedef struct {
    const char *video;
    int64_t frames;
} ft_framed_video;
int ft_frame_labels_read(const char *path, const ft_framed_video *video, int64_t n, uint8_t *truth);

#endif
