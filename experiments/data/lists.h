/* The list of the videos of an experiment: read as the data set at hand needs it (datasets.h), looked up in the folder of
 * videos, and everything said that can be wrong with it. */
#ifndef FT_LISTS_H
#define FT_LISTS_H

#include <stdbool.h>

#include "common/io/config.h"
#include "common/io/labels.h"

/* data.as ... of a configuration, --as ... of ingest; "" or NULL where nothing is said */
typedef struct {
    const char *as, *columns, *group_from, *threshold, *bins;
    int window; /* frames, where they are labelled one by one (windows.h) */
    bool majority, multilabel;
} ft_list_words;

/* the settings of these */
#define FT_LIST_WORD_KEYS                                                                                                        \
    "data.as", "data.columns", "data.group_from", "data.threshold", "data.bins", "data.window", "data.window_positive",          \
        "data.multilabel"

ft_list_words ft_list_words_of(const ft_config *cfg);        /* its strings are those of cfg */
json_t *ft_list_words_key(const ft_config *cfg);             /* those that are given, for the key of a stage; NULL: none is */
int ft_list_options(ft_list_opt *o, const ft_list_words *w); /* FT_EUSAGE: threshold and bins, no such data set */

/* Every row with its `file`. labels: NULL or "": that of the data set, or a folder per class. */
int ft_list_open(ft_labels *l, const ft_list_words *w, const char *videos, const char *labels, bool outside, bool skip);

#endif
