/* The folder of a test: names in it, and its end, whatever is in it: for tests alone (the program removes only its own files,
 * folder.h). */
#ifndef FT_TEST_TREE_H
#define FT_TEST_TREE_H

#include <ftw.h>
#include <stdio.h>

static inline int tree_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st, (void)type, (void)at;
    return remove(path);
}
static inline int remove_tree(const char *path)
{
    nftw(path, tree_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}

/* DIR/NAME; good for three more calls */
static inline const char *path_in(const char *folder, const char *name)
{
    static char path[4][512];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", folder, name);
    return path[at];
}

#endif
