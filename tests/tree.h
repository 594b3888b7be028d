/* Removes what a test made, whatever it is called: for tests alone (the program removes only its own files, folder.h). */
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

#endif
