/* LPIPS, the learned perceptual distance (Zhang et al. 2018): features of a frozen VGG16 or AlexNet behind
 * ReLUs, normalised over channels, their squared differences weighted by a learned 1x1 head. Tensor names are those of the
 * package `lpips`: net.slice1.0.weight ... lin4.model.1.weight. */
#ifndef FT_LPIPS_H
#define FT_LPIPS_H

#include "common/graph/graph.h"

typedef struct ft_lpips_preset ft_lpips_preset;
const ft_lpips_preset *ft_lpips_find(const char *name); /* "lpips-vgg", "lpips-alex"; NULL if unknown */
const char *ft_lpips_at(int i);                         /* names; NULL past the end */

/* x, y (B,T,H,W,3) in [-1,1], frame by frame -> the mean distance (1), f32. Build it between ft_borrow calls, so that its weights
 * stay frozen. */
ft_t ft_lpips(ft_graph *g, const ft_lpips_preset *p, ft_t x, ft_t y);

#endif
