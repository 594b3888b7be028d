/* Perceptual distances: how far two pictures are apart in the features of a frozen network. A VAE that is trained for pixels
 * alone blurs what it is unsure of; one that is trained for features too keeps edges and textures.
 *
 *   lpips-vgg, lpips-alex   lpips.c: convolutions, differences weighted by learned heads (Zhang et al. 2018)
 *   dino-*, dinov2-*        vision transformers: patch tokens behind four blocks, evenly spread, each of length 1;
 *                           the mean squared length of their differences. DINOv2's weights are freer than VGG's. */
#ifndef FT_PERCEPTUAL_H
#define FT_PERCEPTUAL_H

#include "common/graph/graph.h"

bool ft_perceptual_known(const char *name);
/* x, y (B,T,H,W,3) in [-1,1], frame by frame -> the mean distance (1), f32. Gradients go to x. size: pixels of the side that the
 * network sees, 0: those of x; a transformer takes the next multiple of its patch. Build it between ft_borrow calls, so that its
 * weights stay frozen. */
ft_t ft_perceptual(ft_graph *g, const char *name, ft_t x, ft_t y, int64_t size);
/* n frames of each clip, drawn anew each step, the same of both: x, y (B,T,H,W,3) -> (B,n,H,W,3) */
void ft_perceptual_frames(ft_graph *g, ft_t *x, ft_t *y, int64_t n);

#endif
