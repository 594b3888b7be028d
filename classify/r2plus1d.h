/* R(2+1)D (Tran et al., CVPR 2018) in the layout of torchvision's r2plus1d_18 (spec downstream 4.2): every 3-D convolution is a
 * spatial one to m channels, BatchNorm, ReLU, and a temporal one, with m such that the parameters are as many. */
#ifndef FT_R2PLUS1D_H
#define FT_R2PLUS1D_H

#include "common/graph/graph.h"

enum { FT_R2PLUS1D_STAGES = 4 };
typedef struct {
    const char *name;
    int stem;                      /* channels between the two convolutions of the stem */
    int width[FT_R2PLUS1D_STAGES]; /* of a stage; the first is the stem's too */
    int blocks;                    /* of every stage */
} ft_r2plus1d_preset;

const ft_r2plus1d_preset *ft_r2plus1d_find(const char *name);
const ft_r2plus1d_preset *ft_r2plus1d_at(int i);

/* x (B,T,H,W,3) -> logits (B,classes) f32. labelled: see ft_batchnorm's `first`. features: (B, last width) f32. */
ft_t ft_r2plus1d(ft_graph *g, const ft_r2plus1d_preset *p, ft_t x, int64_t classes, int64_t labelled, double dropout,
                 ft_t *features);

#endif
