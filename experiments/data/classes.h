/* The classes of a store's videos, as data.map and positive make them of its labels. */
#ifndef FT_CLASSES_H
#define FT_CLASSES_H

#include "classify/scores.h"
#include "common/io/clipstore.h"
#include "common/io/config.h"

typedef struct {
    char **name;
    int n, positive; /* positive: FT_MULTILABEL where a video may have several */
    int *of_video;   /* class of every video of the store, or its set of classes (bits); -1: unlabelled (pool only) */
} ft_classes;

/* Classes of the store's labels through data.map, in alphabetical order. With data.multilabel a label is a set (ft_label_part),
 * and `positive`, where it is given, makes two classes of it: those that have it and those that do not. */
int ft_classes_make(ft_classes *c, const ft_config *cfg, const ft_clipstore *store);
void ft_classes_free(ft_classes *c);
bool ft_classes_has(const ft_classes *c, int64_t video, int which);
json_t *ft_classes_names(const ft_classes *c);
char *ft_classes_text(const ft_classes *c, int label); /* "polyp", "blood|polyp", "none"; fresh, NULL: no memory */
/* FT_EDATA: all labelled videos have the label; there is nothing to tell apart. */
int ft_classes_check_some_lack(const ft_classes *c, const ft_clipstore *store, int which);

/* What splits are balanced over: the classes, and, where a video may have several, those that have none. */
int ft_classes_strata(const ft_classes *c);
bool ft_classes_in_stratum(const ft_classes *c, int64_t video, int which);

#endif
