/* MoStGAN-V (Shen, Li and Elhoseiny 2023, arXiv 2304.02777): StyleGAN-V whose weights are modulated by the motion as well. Of
 * every frame there are eight motion words; a layer makes a rank-1 pattern over its inputs and places of each, and each of its
 * filters mixes the patterns by attention. The discriminator also sees the differences between frames. */
#ifndef FT_MOSTGANV_H
#define FT_MOSTGANV_H

#include "gen/stylegan.h"

/* What the modulated weights W s (1 + m) are for. Published code, while it trains, takes the lengths of its filters alone from
 * them: the convolution is with W s. In its four highest resolutions, those of half precision, it scales W and s to
 * a largest value of 1 beforehand, which evens out the attention. `paper`: neither; the convolution is with the modulated
 * weights. */
typedef struct {
    ft_stylegan_preset base;
    int words, wide; /* motion words of a frame; of a word, and of the discriminator's last layer but one */
    bool paper;
} ft_mostganv_preset;

#endif
