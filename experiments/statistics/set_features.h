/* Features of a set of clips: what a frozen network sees in it, or what somebody has stored; and where they are kept. */
#ifndef FT_SET_FEATURES_H
#define FT_SET_FEATURES_H

#include "classify/backbone.h"
#include "classify/prdc.h"
#include "experiments/data/clip_set.h"

/* Rows of d numbers in order; `frames` of them, one behind another, are of one clip (1: a row is a clip or a picture). */
typedef struct {
    int64_t n, d, frames, videos;
    float *value;   /* (n, d) */
    int64_t *video; /* (n) from 0 */
    double motion;  /* mean difference of neighbouring frames, of 255; NaN: not known */
    int64_t left_out;
} ft_set_features;

typedef struct {
    ft_backbone_opt
        network; /* its frames: how many of a clip a network of pictures looks at, 0: all; its size is that of `take` */
    ft_take_opt take;
    bool by_frame;     /* rows are frames, of a network of pictures; else one a clip: the mean of its frames, and behind it their
                          standard deviation (by the number) where there are several */
    const char *cache; /* folder; NULL: they are not kept */
} ft_set_features_opt;

/* Kept features are those of the same bytes, network, weights and pixels, named by SHA-256; files that are damaged are made anew.
 */
int ft_set_features_make(ft_set_features *f, const ft_clip_set *s, const ft_set_features_opt *o);

/* Is it a file or a folder of features? .npy or .safetensors (n, d): each row a video of its own; (n, frames, d): clips of
 * frames; several tensors, or a folder of .npy: a video each (features.h). FT_EDATA naming file and place for values that are not
 * finite. */
bool ft_is_set_features(const char *path);
int ft_set_features_read(ft_set_features *f, const char *path);
void ft_set_features_free(ft_set_features *f);

/* XDG_CACHE_HOME/forty/features, or below ~/.cache; "": there is no such place */
void ft_features_cache(char path[FT_PATH_GIVEN + 64]);

/* Rows for distances. Of one video alone each row is its own, as if they were independent. */
ft_feature_set ft_set_of(ft_set_features *f);

#endif
