/* Gaussian pixel noise with the pool's colours: does anything at all help, or do generated clips? */
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/stage_data.h"
#include "gen/controls.h"

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    int64_t *clip, n;
    (void)facts;
    ft_stage_file(path, s, "clips.h5");
    FT_TRY(ft_clips_of(&x->store, &x->folds[s->fold].pool, &clip, &n));
    int rc = ft_noise_clips(&(ft_clip_pool){&x->store, clip, n}, ft_config_int(s->own, "generated"), 0, path);
    ft_free(clip);
    return rc;
}
static const ft_stage_kind noise = {"noise", compute, NULL};

static int plan(ft_arm_context *c)
{
    ft_experiment *x = c->x;
    json_t *key = json_pack("{s:s,s:I,s:o}", "store", x->store.id, "generated", (json_int_t)c->opt->generated, "pool",
                            ft_video_names(&x->store, &x->folds[c->fold].pool));
    return ft_stage_add(x,
                        &(ft_stage){.kind = &noise, .cfg = c->cfg, .arm = c->arm, .label = c->label, .file = "", .fold = c->fold},
                        key, &c->made);
}

extern const ft_arm ft_arm_noise;
const ft_arm ft_arm_noise = {"noise", "Gaussian noise clips with the pool's colours: a control", NULL, plan, NULL, NULL, NULL};
