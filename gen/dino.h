/* DINO's vision transformers (Caron et al. 2021; spec components 5), forward only: ViT-S and ViT-B with patches of 8 or 16.
 * Tensor names of facebookresearch/dino's backbones. */
#ifndef FT_DINO_H
#define FT_DINO_H

#include "common/graph/graph.h"

typedef struct {
    const char *name;
    int width, heads, depth, patch, grid; /* grid: side of the position table, that of 224 pixels */
} ft_dino_preset;
const ft_dino_preset *ft_dino_find(const char *name); /* "dino-vits16" ...; NULL if unknown */
const ft_dino_preset *ft_dino_at(int i);

/* Mean and standard deviation of ImageNet's colours in [0,1], which trained weights expect to be taken off. */
extern const float ft_imagenet_mean[3], ft_imagenet_std[3];

/* x (B,H,W,3), normalised as the weights expect. For each of n ascending blocks: its tokens behind the final norm, in y[i]
 * (B,1+h*w,width); token 0 is CLS, the rest is row-major. */
void ft_dino(ft_graph *g, const ft_dino_preset *p, ft_t x, int n, const int *block, ft_t *y);

#endif
