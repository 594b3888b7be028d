/* Stable Diffusion's image VAE, AutoencoderKL f8 (Rombach et al. 2022): 83,653,863 parameters under the names
 * of diffusers. Every frame is an image of its own. */
#ifndef FT_IMAGE_VAE_H
#define FT_IMAGE_VAE_H

#include "common/graph/graph.h"

typedef struct {
    const char *name;
    int latent, levels, layers, groups, channels[4]; /* layers: residual blocks of an encoder's level; a decoder's has one more */
} ft_image_vae_preset;
const ft_image_vae_preset *ft_image_vae_find(const char *name); /* "sd-vae"; NULL if unknown */
const ft_image_vae_preset *ft_image_vae_at(int i);

#define FT_SD_LATENT_SCALE 0.18215

/* x (B,H,W,3) in [-1,1] -> moments (B,h,w,2z) f32: mean, then logvar, which users clamp to [-30,20] */
ft_t ft_image_vae_encode(ft_graph *g, const ft_image_vae_preset *p, ft_t x);
/* z (B,h,w,z) -> (B,H,W,3) */
ft_t ft_image_vae_decode(ft_graph *g, const ft_image_vae_preset *p, ft_t z);

#endif
