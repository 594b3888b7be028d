/* Data sets of the field as they come: `ingest --as NAME`. A row each: where its videos and its list lie, what its columns are
 * called, what its patients are told by, and the traps that are known of it. Source: each set's own README and release.
 * Adding one: CONTRIBUTING.md. */
#ifndef FT_DATASETS_H
#define FT_DATASETS_H

#include <stdbool.h>

#include "common/io/labels.h"
#include "experiments/data/dataset_table.h"
#include "experiments/data/lists.h"

typedef struct ft_dataset ft_dataset;
struct ft_dataset {
    const char *help;   /* what it is taken for, said when it is read */
    const char *videos; /* their folder within the one that is given, where there is such a one; NULL: that one itself */
    const char *list;   /* the list in the folder that is given, "A|B": the first that is there; NULL: --labels gives it */
    const char *columns, *leave_out, *group_from; /* as in ft_list_opt; NULL: nothing */
    bool measured;                                /* the label is a number: --threshold or --bins */
    bool folders;                                 /* no list: a folder per class */
    const char *warning;
    /* Reads a list of another form, from the folder that is given; NULL: ft_labels_read. */
    int (*read)(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
    int (*check)(ft_labels *l, const char *root);   /* its traps and its own lists; may leave out rows */
    int (*found)(ft_labels *l, const char *folder); /* what only the files tell, once they are found in the folder of videos */
};

/* They are named in dataset_table.h. */
#define FT_DATASET(id, called) extern const ft_dataset ft_dataset_##id;
FT_DATASET_TABLE(FT_DATASET, FT_DATASET)
#undef FT_DATASET

const ft_dataset *ft_dataset_find(const char *name); /* NULL: none is called so */
/* For messages and help: what they are called, in their order. */
#define FT_FIRST_CALLED(id, called) called
#define FT_NEXT_CALLED(id, called)  ", " called
#define FT_DATASETS                 FT_DATASET_TABLE(FT_FIRST_CALLED, FT_NEXT_CALLED)

#endif
