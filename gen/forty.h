/* Our own generator: a rectified flow (Liu et al., arXiv 2209.03003; times as in Esser et al., arXiv 2403.03206) through a
 * network of two resolutions. Fine blocks see the latents as they are: a depth-wise 3x3 convolution of every frame and an MLP, as
 * in ConvNeXt (Liu et al. 2022). Between them, over patches of 2x2, attention over all tokens of the clip at once, space and time
 * together, with another depth-wise convolution before it. The fine tokens pass round the middle (U-Net), the latents round all
 * of it. What each part is worth: results/generators. */
#ifndef FT_FORTY_H
#define FT_FORTY_H

#include "gen/generator.h"

typedef struct {
    ft_generator_preset base;
    int fine_blocks, fine_width; /* before the middle, and as many behind it */
    int depth, width, heads;     /* of the middle */
} ft_forty_preset;

/* z (B,n,s,s,c), s even, its first `frames` frames a clip, the rest single images that see themselves alone -> velocity
 * (B,n,s,s,c) f32. tap (depth tensors, or NULL): tokens behind each block of the middle, (B,n,s/2,s/2,width) */
ft_t ft_forty(ft_graph *g, const ft_forty_preset *p, ft_t z, int64_t frames, ft_told told, ft_t *tap);

#endif
