/* Our own generator: a rectified flow (Liu et al., arXiv 2209.03003; times as in Esser et al., arXiv 2403.03206) through a
 * transformer whose attention sees all tokens of the clip at once, space and time together, behind a depth-wise 3x3 convolution
 * of every frame. The noised latents pass round it, times a factor that depends on the time. What each part is worth:
 * results/generators/forty.md. */
#ifndef FT_FORTY_H
#define FT_FORTY_H

#include "gen/generator.h"

typedef struct {
    ft_generator_preset base;
    int depth, width, heads, patch;
} ft_forty_preset;

/* z (B,n,s,s,c), s a multiple of the patch, its first `frames` frames a clip, the rest single images that see themselves alone
 * -> velocity (B,n,s,s,c) f32. tap (depth tensors, or NULL): tokens behind each block, (B,n,s/patch,s/patch,width) */
ft_t ft_forty(ft_graph *g, const ft_forty_preset *p, ft_t z, int64_t frames, ft_told told, ft_t *tap);

#endif
