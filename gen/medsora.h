/* MedSora's denoising network: video Mamba diffusion (arXiv 2411.01647).
 *
 * A block is three residual sub-layers, each pre-norm with adaLN-zero: local attention over a frame's tokens, spatial Mamba
 * over frames x width and frames x height with a bidirectional spiral scan and gated fusion, temporal Mamba over frames.
 * There is no MLP. Output: epsilon (first half of the channels) and the variance logit (second half). */
#ifndef FT_MEDSORA_H
#define FT_MEDSORA_H

#include "gen/generator.h"

typedef struct {
    ft_generator_preset base;
    int depth, width, expand, headdim, state, patch;
    double dropout; /* of local attention */
    bool recompute; /* see ft_medsora_opt: half the activations, for 6 % of the time in bf16 and none in f32 */
} ft_medsora_preset;

/* SPIRAL: the paper's Eq 8. RELEASED: the published code's gather with the rank table, which visits no spiral. RASTER: row by
 * row, an ablation. */
typedef enum { FT_SCAN_SPIRAL, FT_SCAN_RELEASED, FT_SCAN_RASTER } ft_medsora_order;
typedef struct {
    ft_medsora_order order;
    bool attention; /* both Mambas replaced by self-attention over the same tokens: an ablation */
    bool recompute; /* what lies between the Mambas' two projections is not kept for the backward pass, but computed again */
} ft_medsora_opt;
/* generator.scan, generator.mixer, generator.recompute */
ft_medsora_opt ft_medsora_options(const ft_config *cfg, const ft_medsora_preset *p);

/* z (B,n,s,s,c) -> (B,n,s,s,2c) f32. tap (depth tensors, or NULL): tokens behind the spatial part of each block,
 * (B,n,s/patch,s/patch,width) */
ft_t ft_medsora(ft_graph *g, const ft_medsora_preset *p, ft_medsora_opt opt, ft_t z, ft_told told, ft_t *tap);

/* Gather index of one scan over an R x C grid (frames x columns): variant 0..7 as block i mod 8, forward or reverse.
 * order[k] = raster index of the k-th token of the sequence. */
void ft_medsora_scan(int R, int C, int variant, bool reverse, ft_medsora_order kind, int32_t *order);

#endif
