/* A list of SHA-256 checksums as `sha256sum` writes and checks it: HEX, two spaces (or one and *), the name, one video a line. */
#ifndef FT_CHECKSUMS_H
#define FT_CHECKSUMS_H

#include <stdbool.h>

#include "common/io/lookup.h"

typedef struct {
    struct {
        char hex[65];
        char *name;
    } * row;
    int n;
    ft_lookup index; /* of the names of a list that was there */
    bool known;      /* it was there: videos are held against it; else it is being made */
    const char *path;
} ft_checksums;

int ft_checksums_open(ft_checksums *c, const char *path);
/* FT_EDATA when the list has another sum for it, or none. */
int ft_checksums_video(ft_checksums *c, const char *name, const char *hex);
int ft_checksums_close(ft_checksums *c, bool complete); /* writes a new list if it is complete */

#endif
