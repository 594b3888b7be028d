/* MedSora's denoising network: video Mamba diffusion (arXiv 2411.01647; spec: github wongzbb/MedSora).
 *
 * A block is three residual sub-layers, each pre-norm with adaLN-zero: local attention over a frame's tokens, spatial Mamba
 * over frames x width and frames x height with a bidirectional spiral scan and gated fusion, temporal Mamba over frames.
 * There is no MLP. Output: epsilon (first half of the channels) and the variance logit (second half). */
#ifndef FT_MEDSORA_H
#define FT_MEDSORA_H

#include "common/graph/graph.h"

typedef struct {
    const char *name;
    int depth, width, expand, headdim, state, patch;
    int frames, size, channels; /* latent: n frames of (size, size, channels) */
    double dropout;             /* of local attention */
    bool released_scan;         /* gather with the rank table, as the released code does, instead of the true spiral */
} ft_medsora_preset;

const ft_medsora_preset *ft_medsora_find(const char *name);
const ft_medsora_preset *ft_medsora_at(int i);

/* z (B,n,s,s,c), t (B) f32 in steps 0..999 -> (B,n,s,s,2c) f32 */
ft_t ft_medsora(ft_graph *g, const ft_medsora_preset *p, ft_t z, ft_t t);

/* Gather index of one scan over an R x C grid (frames x columns): variant 0..7 as block i mod 8, forward or reverse;
 * `released` gives the released code's. order[k] = raster index of the k-th token of the sequence. */
void ft_medsora_scan(int R, int C, int variant, bool reverse, bool released, int32_t *order);

#endif
