/* Label lists: CSV with a header `video,label[,group][,split]` (other columns are facts), or PolypDiag's headerless
 * `name.mp4,1`. Quotes, CRLF, a BOM, commas and newlines inside quotes are right; a bad row names file and line. */
#ifndef FT_LABELS_H
#define FT_LABELS_H

typedef struct {
    char *video, *label, *group, *split; /* group: the video's own name when the list has none; split: "" */
    char *facts;                         /* other columns as a JSON object of strings */
    int line;
} ft_label;

typedef struct {
    ft_label *row;
    int n;
} ft_labels;

/* `path` may be a folder of lists as PolypDiag's splits/: train.txt, val.txt, test.txt (or .csv) tell the split. Without
 * test.txt, val.txt is the test list, as it is there. */
int ft_labels_read(ft_labels *l, const char *path);
int ft_labels_sha256(const char *path, char hex[65]); /* of the file, or of the lists of the folder */
/* A folder per class: every file in FOLDER/CLASS/ is a video of that class. */
int ft_labels_from_folders(ft_labels *l, const char *folder);
void ft_labels_free(ft_labels *l);

#endif
