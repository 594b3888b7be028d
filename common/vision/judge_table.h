/* The frozen networks that sets of clips are compared through; a row is a file of this folder. */
#define FT_JUDGES(JUDGE)                                                                                                         \
    JUDGE(inception)                                                                                                             \
    JUDGE(i3d)                                                                                                                   \
    JUDGE(clip)                                                                                                                  \
    JUDGE(videomae)
