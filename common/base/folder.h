/* Folders that forty makes: runs, stages, results. A folder is forty's by the file .forty in it, which ft_folder_make puts there;
 * in any other folder that holds something nothing is written as a run and nothing removed, whatever was asked for. Inside a
 * folder of forty's only files of names that forty gives are removed; links are removed, never followed. */
#ifndef FT_FOLDER_H
#define FT_FOLDER_H

#include <stdbool.h>

/* Makes it with its mark, or finds it: an empty one becomes ours. FT_EIO when it is somebody else's. */
int ft_folder_make(const char *path);
bool ft_folder_ours(const char *path);
bool ft_folder_empty(const char *path); /* not there, or nothing in it but what forty keeps about the folder itself */

/* Removes forty's files in a folder of forty's, and the folder if nothing else is left; fine if absent. FT_EIO if it is no
 * folder, a link, or not ours. `kept` (may be NULL): how many files of others stay. */
int ft_folder_remove(const char *path, int *kept);

/* A new result is made in FOLDER/.new, a folder of forty's in one of forty's, and takes the place of the old one when it is
 * complete: the old one's files go, the new one's move up. ft_folder_settle completes that where an earlier process was ended in
 * the middle of it; it does nothing anywhere else. */
int ft_folder_replace(const char *folder);
int ft_folder_settle(const char *folder);

#endif
