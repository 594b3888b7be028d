/* Our own generator: a rectified flow (Liu et al., arXiv 2209.03003; times as in Esser et al., arXiv 2403.03206) through LVDM's
 * U-Net (lvdm.h), in which all tokens of the clip meet at half the latents' resolution, space and time in one attention, and
 * which the noised latents pass round, times a factor that depends on the time: a velocity is mostly a multiple of them. What
 * each part is worth: results/generators/forty.md. */
#ifndef FT_FORTY_H
#define FT_FORTY_H

#include "gen/lvdm.h"

/* z (B,n,s,s,c), its first `frames` frames a clip, the rest single images that see themselves alone -> velocity (B,n,s,s,c) f32.
 * s is a multiple of 2^(levels - 1). */
ft_t ft_forty(ft_graph *g, const ft_lvdm_preset *p, ft_t z, int64_t frames, ft_told told);

#endif
