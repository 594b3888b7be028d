/* Features of videos: for each video a row of numbers for every snippet of it, one behind another. On disk a folder of NumPy
 * files (VIDEO.npy, (S,D) or (S,1,D)), or one safetensors file with a tensor (S,D) for each video, whose metadata has
 * frames_per_snippet and, as JSON, videos: {"NAME": {"frames": N, "start": [...]}}. */
#ifndef FT_FEATURES_H
#define FT_FEATURES_H

#include <stdint.h>

#include "common/io/lookup.h"

enum { FT_SNIPPET_MOST = 100000 }; /* frames */

typedef struct {
    char *name; /* of the video, without a folder or an extension of NumPy */
    int64_t snippets;
    float *value;   /* (snippets, width) */
    int64_t *start; /* first frame of each snippet, rising; NULL: one behind another */
    int64_t frames; /* of the video; 0: as many as the snippets have */
} ft_video_features;

typedef struct {
    char *path;
    ft_video_features *video;
    int64_t n, width;
    int frames; /* of the video for each snippet, 1 to FT_SNIPPET_MOST, if the file knows it; else 0 */
    ft_lookup by_name;
} ft_features;

/* FT_EDATA names the file: a wrong header, names that are not UTF-8, widths that differ, values that are not finite, nothing
 * there. */
int ft_features_read(ft_features *f, const char *path);
int ft_features_write(const ft_features *f, const char *path); /* a safetensors file */
void ft_features_free(ft_features *f);
/* Row of a video, of features that were read: by its whole name, else by that without the folder, else without the extension as
 * well. -1: not there. */
int64_t ft_features_find(const ft_features *f, const char *video);

#endif
