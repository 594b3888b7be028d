/* FEAT (Wang et al., arXiv 2506.04956): attention over space, time and channels, each of linear cost.
 *
 * Groups of three blocks: spatial WKV (row by row, then column by column), temporal WKV, global channel attention; each with a
 * gated depth-wise feed-forward. No positional embedding: the depth-wise convolutions and the decay of the WKV tell where a token
 * is. Residual value guidance adds what the patches were, and what the values left out, to every WKV.
 * Output: epsilon (first half of the channels) and the variance logit (second half). */
#ifndef FT_FEAT_H
#define FT_FEAT_H

#include "gen/generator.h"

typedef struct {
    ft_generator_preset base;
    int groups, width, heads, patch; /* heads: of channel attention */
} ft_feat_preset;

typedef struct {
    bool channel_guidance; /* value guidance in channel attention too, as the paper's text has it; the code leaves it out */
    bool released_kernel;  /* the WKV as the released CUDA kernel computes it: what its weights were trained with */
} ft_feat_opt;
ft_feat_opt ft_feat_options(const ft_config *cfg); /* generator.guidance, generator.kernel */

/* z (B,n,s,s,c), its first `frames` frames a clip, the rest single images, which temporal blocks pass by
 * -> (B,n,s,s,2c) f32. tap (`groups` tensors, or NULL): tokens behind each spatial block, (B,n,s/patch,s/patch,width) */
ft_t ft_feat(ft_graph *g, const ft_feat_preset *p, ft_feat_opt opt, ft_t z, int64_t frames, ft_told told, ft_t *tap);

#endif
