/* What a backbone sees in the clips of a store, in a file: each clip as it is, and those that may be learned from in K weak and K
 * strong views too, drawn once for all arms and runs (view k of both kinds has one crop and flip, see augment.h). A safetensors
 * file: clean (n,frames,tokens,width), weak and strong (m,K,frames,tokens,width) f32, row (n) i32: which of the m a clip is, -1
 * none. */
#ifndef FT_CLIP_FEATURES_H
#define FT_CLIP_FEATURES_H

#include "classify/views.h"
#include "classify/backbone.h"
#include "common/io/safetensors.h"

typedef struct {
    int64_t n, m, views, dim[3]; /* clips; with views; of them; frames, tokens, width */
    const float *clean, *weak, *strong;
    const int32_t *row;
    ft_safetensors file; /* holds them */
} ft_clip_features;

/* Of all clips of the store, views of those with viewed[i]. Shows its progress. Interrupted, it goes on from the views that were
 * done: they lie beside the file (PATH.c0, .w0, .s0, .w1 ...) until it is complete, and are taken for views of the same clips. */
int ft_clip_features_make(ft_backbone *b, const ft_clipstore *s, const bool *viewed, int views, ft_views drawn, const char *path);
/* FT_EDATA when it is not whole, or not of this many clips */
int ft_clip_features_read(ft_clip_features *f, const char *path, int64_t clips);
void ft_clip_features_free(ft_clip_features *f);

static inline int64_t ft_clip_features_each(const ft_clip_features *f) { return f->dim[0] * f->dim[1] * f->dim[2]; }
/* A clip as it is; in weak or strong view k, 0 to views - 1. NULL: it has no views. */
const float *ft_clip_features_at(const ft_clip_features *f, int64_t clip);
const float *ft_clip_features_view(const ft_clip_features *f, int64_t clip, bool strong, int64_t k);

#endif
