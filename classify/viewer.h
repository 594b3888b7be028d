/* A classifier ready to look at clips, in batches of 8, with the weights as they are in a store: in a training or behind it. A
 * probe looks at the features of clips. */
#ifndef FT_VIEWER_H
#define FT_VIEWER_H

#include "classify/classifier.h"
#include "classify/clip_features.h"

typedef struct {
    ft_graph *g;
    ft_plan *plan;
    ft_t in, logits; /* in: (8,F,S,S,3) u8, or (8,frames,tokens,width) f32 */
    bool multilabel; /* false at first; a sigmoid for each class, not a softmax */
    int64_t batches; /* looked at so far: numbers the draws of drop path */
} ft_viewer;

/* features: of a probe, those that it will look at (their shape counts here); NULL: of a network of pixels, of clips as those of
 * `s` */
int ft_viewer_new(ft_viewer *v, ft_params *params, const char *model, const ft_clipstore *s, const ft_clip_features *features,
                  int classes, ft_evaluated how);
/* prob (n,classes) of clips, from their pixels in `s` or their `features` */
int ft_viewer_run(ft_viewer *v, const ft_clipstore *s, const ft_clip_features *features, const int64_t *clip, int64_t n,
                  float *prob);
void ft_viewer_free(ft_viewer *v);

#endif
