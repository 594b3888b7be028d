/* What the VAE alone can do: Gaussian latents, decoded. Does diffusion add anything? */
#include "common/base/status.h"
#include "experiments/arm.h"
#include "gen/controls.h"

static int compute(ft_experiment *x, const ft_stage *s, json_t *facts)
{
    const ft_stage *vae = s->need[0];
    char path[FT_PATH], latents[FT_PATH];
    (void)facts;
    ft_stage_file(path, s, "clips.h5");
    ft_stage_file(latents, vae, "latents.safetensors");
    return ft_vae_prior_clips(s->cfg, vae->folder, latents, ft_config_int(s->cfg, "generated"), x->store.frames, x->store.size, 0,
                              path);
}

static double work(const ft_config *cfg) { return (double)ft_config_int(cfg, "generated"); }
static const ft_stage_kind decoded = {"decoded", compute, work};

static int plan(ft_arm_context *c)
{
    ft_stage like = {.kind = &decoded, .cfg = c->cfg, .arm = c->arm, .label = c->label, .file = "", .fold = c->fold, .needs = 1};
    FT_TRY(ft_stage_vae(c->x, c->cfg, c->label, c->fold, &like.need[0]));
    json_t *key = json_pack("{s:I,s:s}", "generated", (json_int_t)ft_config_int(c->cfg, "generated"), "precision",
                            ft_config_text(c->cfg, "precision"));
    return ft_stage_add(c->x, &like, key, &c->made);
}

extern const ft_arm ft_arm_vae_prior;
const ft_arm ft_arm_vae_prior = {"vae-prior", "Gaussian latents through the VAE, without diffusion: a control", NULL, plan, NULL,
                                 NULL};
