/* Causal video VAE in the layout of CogVideoX's (diffusers AutoencoderKLCogVideoX; Yang et al. 2024): causal 3-D residual
 * blocks, 4x in time and 8x in space, diagonal Gaussian posterior. Presets here are small ones for training from scratch:
 * pixels are first folded into channels (patch), the first level sees single frames (time kernel 1), norms are plain
 * GroupNorm. Loss: L1 + kl * KL + ffl * focal frequency loss. */
#ifndef FT_VAE_H
#define FT_VAE_H

#include "common/graph/graph.h"

enum { FT_VAE_LEVELS = 4 };
typedef struct {
    const char *name;
    int latent;                 /* channels z */
    int patch;                  /* pixels folded into channels, per side */
    int levels, layers, groups; /* layers: residual blocks of a level; groups of GroupNorm */
    int channels[FT_VAE_LEVELS];
    int kernel_t[FT_VAE_LEVELS];                      /* time kernel of a level's convolutions: 1 or 3 */
    int down_t[FT_VAE_LEVELS], down_s[FT_VAE_LEVELS]; /* factor 1 or 2 after the level (not after the last) */
} ft_vae_preset;

const ft_vae_preset *ft_vae_find(const char *name); /* NULL if unknown */
const ft_vae_preset *ft_vae_at(int i);              /* NULL past the end */
int ft_vae_time_factor(const ft_vae_preset *p);     /* frames must be a multiple of it */
int ft_vae_space_factor(const ft_vae_preset *p);

/* x (B,F,S,S,3) in [-1,1] -> moments (B,f,s,s,2z) f32: mean, then logvar clamped to [-30,20]. */
ft_t ft_vae_encode(ft_graph *g, const ft_vae_preset *p, ft_t x);
/* z (B,f,s,s,z) -> (B,F,S,S,3) */
ft_t ft_vae_decode(ft_graph *g, const ft_vae_preset *p, ft_t z);

typedef struct {
    ft_t total, l1, kl, ffl, output; /* scalars; output (B,F,S,S,3) */
} ft_vae_loss_terms;
ft_vae_loss_terms ft_vae_loss(ft_graph *g, const ft_vae_preset *p, ft_t x, double kl, double ffl);

#endif
