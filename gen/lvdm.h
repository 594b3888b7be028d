/* LVDM (He et al., arXiv 2211.13221): the 3-D U-Net of its short-video model. Convolutions see one frame at
 * a time; frames meet in attention with learned relative positions. Output: epsilon alone. */
#ifndef FT_LVDM_H
#define FT_LVDM_H

#include "gen/generator.h"

enum { FT_LVDM_LEVELS = 4 };
typedef struct {
    ft_generator_preset base;
    int width, levels, blocks, heads, groups; /* width of level 0; residual blocks in each level; groups of the norms */
    int multiple[FT_LVDM_LEVELS];             /* width of level i is multiple[i] times that; attention from level 1 on */
} ft_lvdm_preset;

typedef struct {
    bool transposed; /* relative positions of keys by q_j . R(j,i), as the released code has it and its weights need it */
    /* of forty (forty.h): */
    bool whole; /* attention over all tokens of the clip at once, in place of one over space and one over time */
    bool pass;  /* the latents pass round the network, times a learned factor of the time */
} ft_lvdm_opt;
ft_lvdm_opt ft_lvdm_options(const ft_config *cfg); /* generator.relative */

/* z (B,n,s,s,c), its first `frames` frames a clip, the rest single images, which attention over time passes by ->
 * (B,n,s,s,c) f32. s is a multiple of 2^(levels - 1). */
ft_t ft_lvdm(ft_graph *g, const ft_lvdm_preset *p, ft_lvdm_opt opt, ft_t z, int64_t frames, ft_told told);

#endif
