/* X3D (Feichtenhofer, CVPR 2020) in the layout of pytorchvideo's create_x3d: expand 1x1x1, depthwise 3x3x3, squeeze-excite in
 * every other block, project 1x1x1. Tensor names of its checkpoints. */
#ifndef FT_X3D_H
#define FT_X3D_H

#include "common/graph/graph.h"

enum { FT_X3D_STAGES = 4 };
typedef struct {
    const char *name;
    int stem; /* channels of the stem */
    int out[FT_X3D_STAGES], inner[FT_X3D_STAGES], blocks[FT_X3D_STAGES];
    int head;      /* channels of the last convolution */
    int stem_time; /* time kernel of the stem's depthwise convolution */
} ft_x3d_preset;

const ft_x3d_preset *ft_x3d_find(const char *name);
const ft_x3d_preset *ft_x3d_at(int i);

/* x (B,T,H,W,3) -> logits (B,classes) f32. labelled: see ft_batchnorm's `first`. features: (B, out of the last stage) f32. */
ft_t ft_x3d(ft_graph *g, const ft_x3d_preset *p, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features);

#endif
