/* TimeSformer with divided space-time attention (Bertasius et al., ICML 2021), as Endo-FM and Endora's downstream script have it
 * (spec downstream 4.1). Tensor names of their checkpoints; those of an image ViT fit too, once temporal_attn, temporal_norm1
 * and temporal_fc are added. temporal_fc begins at zero, so at first every frame is looked at alone. */
#ifndef FT_TIMESFORMER_H
#define FT_TIMESFORMER_H

#include "common/graph/graph.h"

typedef struct {
    const char *name;
    int width, depth, heads, patch;
    int frames, size; /* that its tables of positions are for; other clips read the nearest entry */
    double drop_path; /* of the last block, from 0 in the first */
} ft_timesformer_preset;

const ft_timesformer_preset *ft_timesformer_find(const char *name);
const ft_timesformer_preset *ft_timesformer_at(int i);

/* x (B,T,S,S,3), S a multiple of the patch -> logits (B,classes) f32. features: the class token behind the last norm, (B,width).
 */
ft_t ft_timesformer(ft_graph *g, const ft_timesformer_preset *p, ft_t x, int64_t classes, double dropout, ft_t *features);

#endif
