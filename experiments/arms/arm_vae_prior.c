/* What the VAE alone can do: Gaussian latents, decoded. Does diffusion add anything? */
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/stage_vae.h"
#include "gen/controls.h"

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    const ft_stage *vae = s->need[0];
    char path[FT_PATH], latents[FT_PATH];
    (void)facts;
    ft_stage_file(path, s, "clips.h5");
    ft_stage_file(latents, vae, "latents.safetensors");
    return ft_vae_prior_clips(s->own, vae->folder, latents, ft_config_int(s->own, "generated"), x->store.frames, x->store.size, 0,
                              path);
}

static double work(const ft_config *cfg) { return (double)ft_config_int(cfg, "generated"); }
static const ft_stage_kind decoded = {"decoded", compute, work};

static int plan(ft_arm_context *c)
{
    ft_stage like = {.kind = &decoded, .cfg = c->cfg, .arm = c->arm, .label = c->label, .file = "", .fold = c->fold, .needs = 1};
    FT_TRY(ft_stage_vae(c->x, c->cfg, c->label, c->fold, &like.need[0]));
    static const char *const keys[] = {"generated",        "generator.posterior", "generator.latent_scale",
                                       "generator.images", "precision",           NULL};
    return ft_stage_add(c->x, &like, ft_config_json(c->cfg, keys), &c->made);
}

extern const ft_arm ft_arm_vae_prior;
const ft_arm ft_arm_vae_prior = {
    "vae-prior", "Gaussian latents through the VAE, without diffusion: a control", NULL, plan, NULL, NULL, NULL};
