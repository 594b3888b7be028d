/* The vision transformers of DINO (Caron et al. 2021: ViT-S and ViT-B with patches of 8 or 16) and DINOv2
 * (Oquab et al. 2024: ViT-S, B, L with patches of 14, without or with four registers of Darcet et al. 2024).
 * Tensor names of facebookresearch's backbones. */
#ifndef FT_DINO_H
#define FT_DINO_H

#include "common/graph/graph.h"

typedef struct {
    const char *name;
    int width, heads, depth, patch, grid; /* grid: side of the position table, that of 224 pixels; DINOv2: of 518 */
    int registers;                        /* tokens behind CLS that stand for no place */
    bool scale;                           /* LayerScale: both branches of a block times a learned gamma (width) */
    double offset; /* of the target side when positions are resampled: 0.1 as DINO computes it, 0 exactly (Hugging Face); with
                      registers: antialiased */
} ft_dino_preset;
const ft_dino_preset *ft_dino_find(const char *name); /* "dino-vits16", "dinov2-s14" ...; NULL if unknown */
const ft_dino_preset *ft_dino_at(int i);
int64_t ft_dino_extra(const ft_dino_preset *p); /* tokens before the patches: CLS and registers */

/* Mean and standard deviation of ImageNet's colours in [0,1], which trained weights expect to be taken off. */
extern const float ft_imagenet_mean[3], ft_imagenet_std[3];

/* x (B,H,W,3), normalised as the weights expect, H and W multiples of the patch. For each of n ascending blocks: its tokens
 * behind the final norm, in y[i] (B,extra+h*w,width) f32; token 0 is CLS, then the registers, then the patches row by row. */
void ft_dino(ft_graph *g, const ft_dino_preset *p, ft_t x, int n, const int *block, ft_t *y);

#endif
