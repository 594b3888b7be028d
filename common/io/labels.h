/* Label lists as people have them: CSV with a header that names the video, its label and, where there are any, its group and its
 * split (other columns are facts), or PolypDiag's headerless `name.mp4,1`. Separator and encoding: table.h. Columns may have
 * their other usual names (FileName, class, patient, fold ...) in any case; the log says what was taken for what. A row that is
 * wrong is an error with file and line, and what could be meant in two ways is asked about, never dropped. */
#ifndef FT_LABELS_H
#define FT_LABELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    char *video, *label, *group, *split; /* group: the video's own name when the list has none; split: "", "train", "validation",
                                            "test", or the number of a fold */
    char *file;                          /* where it lies, once it was looked for (video_names.h); NULL */
    char *facts;                         /* other columns as a JSON object of strings */
    const char *list;                    /* the file that names it, and where; line 0: a folder does */
    int line;
    int64_t from, frames; /* the part of the video that the label is of; frames 0: all of it */
} ft_label;

typedef struct {
    ft_label *row;
    int n;
    char *list[3];       /* files it was read from */
    bool decimal_commas; /* commas do not separate its columns */
} ft_labels;

/* What a list does not say itself. NULL or "": nothing. */
typedef struct {
    const char
        *columns; /* "video=FileName,label=EF,group=": what the list calls them; "group=": it has none; "label=3", "label=-1":
                     the third, the last column of a list without a header;
                     "label=EF|ef": whichever is there */
    const char *leave_out;  /* "ESV,EDV": columns that are no facts, as the label is made of them */
    const char *group_from; /* POSIX extended regular expression: its first (...) in the group, or in the video's name where the
                               list has no groups, is the group */
    const char *bins;       /* "50" or "30,50": rising bounds that make classes of numbers: below 50, from 50; 30 to 50 */
    bool multilabel;        /* a video may have several: "polyp|blood" or "polyp;blood", "" or FT_NO_LABEL none, and columns may
                               have "label=polyp+blood": a column of 0 and 1 for each class */
} ft_list_opt;

#define FT_NO_LABEL "none"
/* The next class that a label of several names, from *at on; NULL: there are no more. Not terminated: *n bytes. */
const char *ft_label_part(const char **at, size_t *n);
/* The label that bits of n names say: "blood|polyp", `none` without any; fresh, NULL: no memory. */
char *ft_label_of_bits(const char *const *name, int n, int bits, const char *none);

/* `path` may be a folder of lists as PolypDiag's splits/: train.txt, val.txt, test.txt (or .csv) tell the split. Without
 * test.txt, val.txt is the test list, as it is there. opt may be NULL. */
int ft_labels_read(ft_labels *l, const char *path, const ft_list_opt *opt);
int ft_labels_sha256(const char *path, char hex[65]); /* of the file, or of the lists of the folder */
/* A folder per class: every file in FOLDER/CLASS/ is a video of that class. */
int ft_labels_from_folders(ft_labels *l, const char *folder, const ft_list_opt *opt);
/* Every file of a folder is a video without a label: clips for `clips:` and data.unlabelled. */
int ft_labels_from_files(ft_labels *l, const char *folder);
/* One row more, of the first list, with copies of these texts; NULL: an empty one, of `file` and `facts` none. */
typedef struct {
    const char *video, *label, *group, *split, *file, *facts;
    int line;
    int64_t from, frames;
} ft_label_texts;
int ft_labels_add(ft_labels *l, const ft_label_texts *row);
void ft_labels_drop(ft_labels *l, int i); /* takes row i out, keeping the order of the others */
void ft_labels_free(ft_labels *l);

/* What its words mean, called by the readers above: the next four in this order, label_values.c. Each may change what stands in
 * the rows; after an error there are none. */
int ft_labels_settle(ft_labels *l, const ft_list_opt *opt);
int ft_labels_name_splits(ft_labels *l);                  /* TRAIN, val, dev, fold_3: "train", "validation", "3" */
int ft_labels_to_classes(ft_labels *l, const char *bins); /* numbers by bins; 1 and 1.0, Polyp and polyp are one class */
int ft_labels_to_sets(ft_labels *l); /* the same for each class that a label names; then in order: "blood|polyp" */
int ft_labels_group(ft_labels *l, const char *group_from);
/* "train", "validation", "test", the digits of a fold; NULL: no such split. `digits` holds them. */
const char *ft_split_name(const char *given, char digits[8]);

#endif
