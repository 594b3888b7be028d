/* The features of a frozen teacher that a generator is aligned to, of every clip of a fold's pool. */
#include "experiments/stages/stage_teacher.h"

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/stage_data.h"
#include "gen/generator.h"

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    const ft_stage *vae = s->need[0];
    char latents[FT_PATH], features[FT_PATH];
    int64_t *clip = NULL, n = 0;
    (void)facts;
    ft_stage_file(latents, vae, "latents.safetensors");
    ft_stage_file(features, s, "features.safetensors");
    FT_TRY(ft_clips_of(&x->store, &x->folds[s->fold].pool, &clip, &n));
    int rc = ft_generator_teach(s->own, s->arm, &(ft_clip_pool){&x->store, clip, n}, vae->folder, latents, features);
    ft_free(clip);
    return rc;
}
static const ft_stage_kind teacher = {"teacher", compute, NULL};

int ft_stage_teacher(ft_experiment *x, const ft_config *cfg, const char *arm, const char *label, int fold, ft_stage *vae,
                     ft_stage **stage)
{
    static const char *const keys[] = {"align.mode", "align.input",  "align.teacher", "align.weights",
                                       "align.flow", "align.colors", "precision",     NULL};
    /* The preset decides the shape of what is aligned. What else it is built with, and how latents are scaled, changes nothing of
     * a clip's features. */
    static const char *const others[] = {"align.weight",
                                         "align.margin",
                                         "align.decay",
                                         "generator.posterior",
                                         "generator.latent_scale",
                                         "generator.guidance",
                                         "generator.kernel",
                                         "generator.relative",
                                         "generator.scan",
                                         "generator.mixer",
                                         "scan",
                                         NULL};
    json_t *settings;
    FT_TRY(ft_key_settings(cfg, keys, &settings));
    ft_stage like = {.kind = &teacher,
                     .cfg = cfg,
                     .arm = arm,
                     .label = label,
                     .file = "",
                     .fold = fold,
                     .need = {vae},
                     .needs = 1,
                     .by_content = others};
    return ft_stage_add(x, &like, json_pack("{s:s,s:o}", "preset", arm, "config", settings), stage);
}
