/* Data sets of the field as they come: `ingest --as NAME`. A row each: where its videos and its list lie, what its columns are
 * called, what its patients are told by, and the traps that are known of it. Source: each set's own README and release. */
#ifndef FT_DATASETS_H
#define FT_DATASETS_H

#include <stdbool.h>

#include "common/io/labels.h"
#include "experiments/data/lists.h"

typedef struct ft_dataset ft_dataset;
struct ft_dataset {
    const char *name, *help; /* help: what it is taken for, said when it is read */
    const char *videos;      /* their folder within the one that is given, where there is such a one; NULL: that one itself */
    const char *list;        /* the list in the folder that is given, "A|B": the first that is there; NULL: --labels gives it */
    const char *columns, *leave_out, *group_from; /* as in ft_list_opt; NULL: nothing */
    bool measured;                                /* the label is a number: --threshold or --bins */
    bool folders;                                 /* no list: a folder per class */
    const char *warning;
    /* Reads a list of another form, from the folder that is given; NULL: ft_labels_read. */
    int (*read)(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
    int (*check)(ft_labels *l, const char *root);   /* its traps and its own lists; may leave out rows */
    int (*found)(ft_labels *l, const char *folder); /* what only the files tell, once they are found in the folder of videos */
};

const ft_dataset *ft_dataset_find(const char *name); /* NULL: none is called so */
const ft_dataset *ft_dataset_at(int i);              /* NULL behind the last */
/* For messages and help: the names of the rows, in their order (a test holds the two together). */
#define FT_DATASETS                                                                                                              \
    "echonet, echonet-pediatric, hyperkvasir, kvasir-capsule, polypdiag, pocus, buv, cataract101, ldpolyp, sun, cholec80, "      \
    "cholect50, mmaction, dicom, folders, unlabelled"

/* Sets whose lists have a form of their own (dataset_NAME.c): `read` of their rows. l is empty. */
int ft_ldpolyp_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
int ft_sun_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
int ft_kvasir_capsule_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
int ft_cholec80_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
int ft_cholect50_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
int ft_dicom_read(ft_labels *l, const char *root, const ft_list_words *w, const ft_list_opt *opt);
int ft_dicom_groups(ft_labels *l, const char *folder);

#endif
