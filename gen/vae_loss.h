/* What a VAE is trained for: L1 + LPIPS + focal frequency + KL, and a PatchGAN with adaptive weight (VQ-GAN, Esser et al. 2021;
 * MedSora Eq 16). */
#ifndef FT_VAE_LOSS_H
#define FT_VAE_LOSS_H

#include "gen/lpips.h"
#include "gen/vae.h"

typedef struct {
    double kl, ffl, lpips, gan;   /* weights; 0 leaves the term out (KL and FFL are still measured) */
    const ft_lpips_preset *judge; /* of `lpips` */
    ft_params *judge_params;      /* its weights */
    ft_params *critic;            /* the discriminator's store; NULL: none */
    ft_t gan_on;                  /* then: (1) f32, 0 before the discriminator takes part, then 1 */
} ft_vae_loss_opt;

typedef struct {
    ft_t total, l1, kl, ffl;     /* scalars */
    ft_t lpips, gan, gan_weight; /* NULL where the term is left out */
    ft_t output;                 /* (B,F,S,S,3) */
} ft_vae_loss_terms;

/* x (B,F,S,S,3) in [-1,1] */
ft_vae_loss_terms ft_vae_loss(ft_graph *g, const ft_vae_preset *p, ft_t x, const ft_vae_loss_opt *opt);

/* The discriminator's own loss, hinge: mean of max(0, 1 - D(real)) and max(0, 1 + D(fake)), halved. Both (B,F,S,S,3). */
ft_t ft_patchgan_loss(ft_graph *g, ft_t real, ft_t fake);

#endif
