/* PatchGAN discriminator (Isola et al. 2017; taming-transformers' NLayerDiscriminator, 3 layers, 64 filters).
 * Tensor names main.0.weight ... main.11.bias; 2,765,633 parameters. */
#ifndef FT_PATCHGAN_H
#define FT_PATCHGAN_H

#include "common/graph/graph.h"

/* x (B,T,H,W,3), frame by frame -> logits (B*T,1,h,w,1); 128 pixels give 14 x 14 */
ft_t ft_patchgan(ft_graph *g, ft_t x);

#endif
