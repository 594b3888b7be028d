/* Endora (Li et al., arXiv 2403.11050): a Latte-style transformer, spatial and temporal blocks in turn.
 * Output: epsilon (first half of the channels) and the variance logit (second half). The adapters of its DINO prior belong to the
 * alignment (gen/align.h) and are not part of the network. */
#ifndef FT_ENDORA_H
#define FT_ENDORA_H

#include "gen/generator.h"

typedef struct {
    ft_generator_preset base;
    int depth, width, heads, patch; /* depth: spatial and temporal blocks together */
} ft_endora_preset;

/* z (B,n,s,s,c), its first `frames` frames a clip, the rest single images, which temporal blocks pass by
 * -> (B,n,s,s,2c) f32. tap (depth / 2 tensors, or NULL): tokens behind each spatial block, (B,n,s/patch,s/patch,width) */
ft_t ft_endora(ft_graph *g, const ft_endora_preset *p, ft_t z, int64_t frames, ft_told told, ft_t *tap);

#endif
