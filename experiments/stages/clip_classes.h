/* The class that a clip of an arm's own is said to show: the label of its video in the clip store. */
#ifndef FT_CLIP_CLASSES_H
#define FT_CLIP_CLASSES_H

#include "experiments/stages/stage.h"

/* Of a store's video, by the classes of the experiment; -1: it has no label. FT_EDATA names a video whose label is no class and,
 * where each must have one (`all`), one without. */
int ft_label_class(const ft_experiment *x, const ft_clipstore *s, int64_t video, bool all, int *class);
/* The same of each clip: class (n_clip) */
int ft_clip_classes(const ft_experiment *x, const ft_clipstore *s, bool all, int *class);

#endif
