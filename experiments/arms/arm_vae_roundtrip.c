/* The pool's real clips through the VAE and back: the ceiling of every generator on its latents. */
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/stage_vae.h"
#include "gen/controls.h"

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    int64_t *clip, n;
    (void)facts;
    ft_stage_file(path, s, "clips.h5");
    FT_TRY(ft_clips_of(&x->store, &x->folds[s->fold].pool, &clip, &n));
    int rc = ft_vae_roundtrip_clips(s->own, s->need[0]->folder, &(ft_clip_pool){&x->store, clip, n}, path);
    ft_free(clip);
    return rc;
}
static const ft_stage_kind rebuilt = {"rebuilt", compute, NULL};

static int plan(ft_arm_context *c)
{
    ft_stage like = {.kind = &rebuilt, .cfg = c->cfg, .arm = c->arm, .label = c->label, .file = "", .fold = c->fold, .needs = 1};
    FT_TRY(ft_stage_vae(c->x, c->cfg, c->label, c->fold, &like.need[0]));
    return ft_stage_add(c->x, &like, json_pack("{s:s}", "precision", ft_config_text(c->cfg, "precision")), &c->made);
}

static void facts(const ft_arm_context *c, ft_arm_result *r)
{
    r->psnr = ft_stage_number(c->made->need[0], "psnr");
    ft_stage_file(r->vae_log, c->made->need[0], "log.csv");
}

extern const ft_arm ft_arm_vae_roundtrip;
const ft_arm ft_arm_vae_roundtrip = {
    "vae-roundtrip", "the pool's real clips through the VAE: the ceiling of any generator on it", NULL, plan, NULL, facts, NULL};
