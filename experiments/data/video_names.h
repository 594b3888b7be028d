/* Where the videos lie that a list names. Lists are written on other machines: names without extension, whole paths (Windows' as
 * well), videos in subfolders. */
#ifndef FT_VIDEO_NAMES_H
#define FT_VIDEO_NAMES_H

#include <stdbool.h>

#include "common/io/labels.h"

/* Sets `file` of every row: FOLDER/NAME if that is there, else the one video below the folder whose path ends as the name does,
 * or that the name ends in, without regard to case and with or without extension; the log says how many. Names that lead out of
 * the folder (by .. or from the root) are taken as they are with `outside`.
 * FT_EDATA with file and line: several videos may be meant, or none is there (with `skip`: `file` stays NULL), a name leads out,
 * two rows mean one video. */
int ft_video_names_find(ft_labels *l, const char *folder, bool outside, bool skip);

#endif
