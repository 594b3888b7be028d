/* What a VAE is trained for: L1 + perceptual + focal frequency + KL, and a PatchGAN with adaptive weight (VQ-GAN, Esser et al.
 * 2021; MedSora Eq 16). */
#ifndef FT_VAE_LOSS_H
#define FT_VAE_LOSS_H

#include "gen/perceptual.h"
#include "gen/vae.h"

typedef struct {
    double kl, ffl, perceptual, equivariance, gan; /* weights; 0 leaves the term out (KL and FFL are still measured) */
    const char *judge;                             /* of `perceptual`: a name of gen/perceptual.h */
    ft_params *judge_params;                       /* its weights */
    int64_t judge_size, judge_frames;              /* pixels of the side that it sees, frames of each clip a step; 0: all */
    ft_params *critic;                             /* the discriminator's store; NULL: none */
    ft_t gan_on;                                   /* then: (1) f32, 0 before the discriminator takes part, then 1 */
} ft_vae_loss_opt;

typedef struct {
    ft_t total, l1, kl, ffl;                        /* scalars */
    ft_t perceptual, equivariance, gan, gan_weight; /* NULL where the term is left out */
    ft_t output;                                    /* (B,F,S,S,3) */
} ft_vae_loss_terms;

/* x (B,F,S,S,3) in [-1,1] */
ft_vae_loss_terms ft_vae_loss(ft_graph *g, const ft_vae_preset *p, ft_t x, const ft_vae_loss_opt *opt);

/* x (B,T,S,S,C), S even, each clip turned anticlockwise by the number of quarters whose place in `turn` (B,4,1,1,1) holds 1, the
 * others 0; at half its size. */
ft_t ft_turn_and_halve(ft_graph *g, ft_t x, ft_t turn);

/* The discriminator's own loss, hinge: mean of max(0, 1 - D(real)) and max(0, 1 + D(fake)), halved. Both (B,F,S,S,3). */
ft_t ft_patchgan_loss(ft_graph *g, ft_t real, ft_t fake);

#endif
