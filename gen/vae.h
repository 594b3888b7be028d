/* Video VAEs: clips to latents with a diagonal Gaussian posterior, and back. Three families:
 *
 *   causal   this file, in the layout of CogVideoX's (diffusers AutoencoderKLCogVideoX; Yang et al. 2024):
 *            causal 3-D residual blocks, 4x in time and 8x in space
 *   lvdm     lvdm_vae.c, LVDM's
 *   frames   image_vae.c, Stable Diffusion's image VAE on every frame (FEAT, Endora)
 *
 * The public causal model works in chunks of 8 frames (2 latents): every causal convolution keeps the last frames of the chunk
 * before as its context, statistics of norms are those of the chunk, and the decoder's norms look at the latent (SpatialNorm3D).
 * Small presets for training from scratch take the whole clip as one chunk, fold pixels into channels first (patch), and let the
 * first level see single frames (time kernel 1).
 *
 * MedSora's frequency compensation adds residual branches: a 2-D one behind each middle block, a 3-D one behind each level of
 * the decoder. `released` is the published code (the 2-D one needs chunks of exactly 2 latents, the 3-D one is not causal, and
 * both disturb a trained VAE at step 0); `clean` is causal, takes any length, and starts as the identity. */
#ifndef FT_VAE_H
#define FT_VAE_H

#include "common/graph/graph.h"

typedef enum { FT_FC_NONE, FT_FC_CLEAN, FT_FC_RELEASED } ft_frequency_compensation;

typedef struct ft_vae_preset ft_vae_preset;
typedef struct {
    ft_t (*encode)(ft_graph *g, const ft_vae_preset *p, ft_t x);
    ft_t (*decode)(ft_graph *g, const ft_vae_preset *p, ft_t z);
    ft_t (*last_weight)(ft_graph *g, const ft_vae_preset *p); /* of the decoder: where a discriminator's share is measured */
} ft_vae_family;
extern const ft_vae_family ft_vae_causal, ft_vae_lvdm, ft_vae_frames;

enum { FT_VAE_LEVELS = 4 };
struct ft_vae_preset {
    const ft_vae_family *family;
    const char *name;
    int latent;                        /* channels z */
    int patch;                         /* pixels folded into channels, per side */
    int levels, layers, upper, middle; /* residual blocks: of an encoder's level, of a decoder's, between */
    int groups;                        /* of GroupNorm */
    int channels[FT_VAE_LEVELS];
    int kernel_t[FT_VAE_LEVELS];                      /* time kernel of a level's convolutions: 1 or 3 */
    int down_t[FT_VAE_LEVELS], down_s[FT_VAE_LEVELS]; /* factor 1 or 2 after the level (not after the last); the decoder takes
                                                         down_t in the same order, down_s backwards */
    int chunk;                                        /* frames worked on at a time; 0: the whole clip */
    bool conditioned;                                 /* the decoder's norms look at the latent */
    ft_frequency_compensation fc;
};

const ft_vae_preset *ft_vae_find(const char *name); /* NULL if unknown; image VAEs too, frame by frame */
const ft_vae_preset *ft_vae_at(int i);              /* video VAEs; NULL past the end */
int ft_vae_time_factor(const ft_vae_preset *p);
int ft_vae_space_factor(const ft_vae_preset *p);
/* Latent frames of so many frames, and frames that so many latent frames decode to. A clip that does not come back whole
 * (CogVideoX: F other than 1, 8k, 8k+1) makes them disagree. */
int64_t ft_vae_latent_frames(const ft_vae_preset *p, int64_t frames);
int64_t ft_vae_decoded_frames(const ft_vae_preset *p, int64_t latent_frames);

/* x (B,F,S,S,3) in [-1,1] -> moments (B,f,s,s,2z) f32: mean, then logvar, which users clamp to [-30,20]. */
ft_t ft_vae_encode(ft_graph *g, const ft_vae_preset *p, ft_t x);
/* z (B,f,s,s,z) -> (B,F,S,S,3) */
ft_t ft_vae_decode(ft_graph *g, const ft_vae_preset *p, ft_t z);
ft_t ft_vae_last_weight(ft_graph *g, const ft_vae_preset *p); /* a parameter that ft_vae_decode has made */

#endif
