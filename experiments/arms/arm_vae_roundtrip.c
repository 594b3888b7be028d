/* The pool's real clips through the VAE and back: the ceiling of every generator on its latents. Where they are to teach
 * (clips.use), they bring the labels that their videos have in the list: the ceiling of generators that are told classes, and
 * like `fully-supervised` a control that knows more than any arm may. */
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/stage_vae.h"
#include "gen/controls.h"

static int rebuild(const ft_experiment *x, const ft_stage *s, bool labels)
{
    char path[FT_PATH];
    int64_t *clip, n;
    ft_stage_file(path, s, "clips.h5");
    FT_TRY(ft_clips_of(&x->store, &x->folds[s->fold].pool, &clip, &n));
    int rc = ft_vae_roundtrip_clips(s->own, s->need[0]->folder, &(ft_clip_pool){&x->store, clip, n}, labels, path);
    ft_free(clip);
    return rc;
}
static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts) { return (void)facts, rebuild(x, s, false); }
static int compute_labelled(const ft_experiment *x, const ft_stage *s, json_t *facts) { return (void)facts, rebuild(x, s, true); }
static const ft_stage_kind rebuilt = {"rebuilt", compute, NULL}, labelled = {"rebuilt", compute_labelled, NULL};

static bool teaches(const ft_arm_context *c) { return !ft_config_is(c->cfg, "clips.use", "unlabelled"); }

static int plan(ft_arm_context *c)
{
    ft_stage like = {.kind = teaches(c) ? &labelled : &rebuilt,
                     .cfg = c->cfg,
                     .arm = c->arm,
                     .label = c->label,
                     .file = "",
                     .fold = c->fold,
                     .needs = 1};
    FT_TRY(ft_stage_vae(c->x, c->cfg, c->label, c->fold, &like.need[0]));
    json_t *key = json_pack("{s:s}", "precision", ft_config_text(c->cfg, "precision"));
    if (teaches(c)) json_object_set_new(key, "labels", json_true());
    return ft_stage_add(c->x, &like, key, &c->made);
}

static void facts(const ft_arm_context *c, ft_arm_result *r)
{
    r->psnr = ft_stage_number(c->made->need[0], "psnr");
    ft_stage_file(r->vae_log, c->made->need[0], "log.csv");
}

extern const ft_arm ft_arm_vae_roundtrip;
const ft_arm ft_arm_vae_roundtrip = {
    "vae-roundtrip", "the pool's real clips through the VAE: the ceiling of any generator on it", NULL, plan, NULL, facts,
    teaches};
