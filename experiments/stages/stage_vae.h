/* The stage of a fold's VAE. */
#ifndef FT_STAGE_VAE_H
#define FT_STAGE_VAE_H

#include "experiments/stages/stage.h"

/* Its folder holds the VAE, latents.safetensors of the pool's clips and held-out.safetensors of the validation videos'. */
int ft_stage_vae(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage **stage);

#endif
