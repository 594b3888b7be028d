/* What a folder was begun with, against what it is to go on with. */
#ifndef FT_CONFIG_CHANGES_H
#define FT_CONFIG_CHANGES_H

#include <stdbool.h>
#include <stddef.h>

#include "common/io/config.h"

typedef struct {
    int n; /* settings that differ, but for those that change no number, or are kept elsewhere: threads, device, auto.*, log.* ...
            */
    bool data;      /* one of them says which videos */
    char text[600]; /* "labels is 40, was 20; ..." the first of them */
} ft_config_changes;

/* `path`: the config.yaml of the folder. Nothing differs where there is none, or none that this version reads (a warning). */
int ft_config_changes_find(ft_config_changes *c, const ft_config *now, const char *path);

#endif
