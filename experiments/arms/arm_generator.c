/* A generator preset by name: VAE and generator are trained on the fold's pool, clips are sampled, all cached. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_pseudo.h"
#include "experiments/stages/stage_teacher.h"
#include "experiments/stages/stage_vae.h"
#include "gen/gan_step.h"
#include "gen/generator.h"

static bool is_preset(const char *arm) { return ft_generator_find(arm) != NULL; }
static bool of_pixels(const char *preset) { return ft_generator_find(preset)->gan != NULL; } /* it needs no VAE */

static const char *const training_keys[] = {"generator.steps",
                                            "generator.batch",
                                            "generator.accumulate",
                                            "generator.lr",
                                            "generator.warmup",
                                            "generator.ema",
                                            "generator.clip",
                                            "generator.weight_decay",
                                            "generator.schedule",
                                            "generator.first",
                                            "generator.flip",
                                            "generator.latent",
                                            "generator.objective",
                                            "generator.posterior",
                                            "generator.loss",
                                            "generator.beta",
                                            "generator.guidance",
                                            "generator.kernel",
                                            "generator.relative",
                                            "generator.flow_time",
                                            "generator.vlb",
                                            "generator.weighting",
                                            "generator.image",
                                            "generator.scan",
                                            "generator.mixer",
                                            "generator.stop",
                                            "scan",
                                            "align.",
                                            "precision",
                                            NULL};
/* Of a generator of pixels; the sheets' settings are not of its key. */
static const char *const gan_keys[] = {
    "generator.steps", "generator.batch", "generator.accumulate", "generator.flip", "gan.lr",    "gan.r1", "gan.r2",
    "gan.loss",        "gan.ema",         "gan.distance",         "gan.augment",    "precision", NULL};
#define GAN_SHEET_KEYS                                                                                                           \
    "generator.condition", "generator.class_guidance", "generator.autoguidance", "generator.stop", "align.weight",               \
        "gan.truncation"
static const char *const gan_sheet_keys[] = {GAN_SHEET_KEYS, NULL};
static const char *const gan_sampling_keys[] = {"generated", "gan.truncation", "precision", NULL};
static const char *const condition_keys[] = {"generator.condition", "generator.class_drop", NULL};
static const char *const pseudo_keys[] = {"generator.condition", "generator.class_drop", "generator.confidence", NULL};
/* Of the clips that are looked at while it trains; what it is told of stands in its key, if it is told of anything. */
#define SHEET_KEYS                                                                                                               \
    "generator.sampler", "generator.sample_steps", "generator.condition", "generator.class_drop", "generator.class_guidance",    \
        "generator.class_from", "generator.class_until", "generator.autoguidance", "generator.autoguidance_until"
static const char *const sheet_keys[] = {SHEET_KEYS, NULL};
/* the key holds who is labelled, and as what */
#define LABEL_KEYS "data.multilabel", "positive", "labels", "labels_from"
static const char *const told_keys[] = {SHEET_KEYS, LABEL_KEYS, NULL};
static const char *const gan_told_keys[] = {GAN_SHEET_KEYS, LABEL_KEYS, "generator.images", "generator.image_mode", NULL};
static const char *const sampling_keys[] = {"generator.sample", "generated", "precision", NULL};
static const char *const guidance_keys[] = {"generator.class_guidance", "generator.class_from", "generator.class_until", NULL};
static const char *const autoguidance_keys[] = {"generator.autoguidance", "generator.autoguidance_until", NULL};

static double training_work(const ft_config *cfg)
{
    return (double)(ft_config_int(cfg, "generator.steps") + ft_config_int(cfg, "generator.first_steps"));
}

static bool is_pseudo(const ft_config *cfg) { return ft_config_is(cfg, "generator.condition", "pseudo-labels"); }

static bool is_aligned(const ft_config *cfg) { return ft_config_real(cfg, "align.weight") > 0; }

static bool is_shuffled(const ft_config *cfg) { return ft_config_is(cfg, "generator.condition", "shuffled-labels"); }

/* Of the split's labelled videos the class of each clip, and pseudo-labels of all others; nothing without generator.condition.
 * Fresh memory. */
static int conditions(const ft_experiment *x, const ft_stage *s, const ft_clip_pool *pool, ft_conditions *told, int **of_clip,
                      bool **pseudo)
{
    bool wanted;
    ft_videos labelled, rest;
    const ft_fold *f = &x->folds[s->fold];
    *told = (ft_conditions){.n = 0}, *of_clip = NULL, *pseudo = NULL;
    FT_TRY(ft_conditions_wanted(s->own, &wanted));
    if (!wanted) return FT_OK;
    FT_TRY(ft_split_make(&labelled, &rest, s->own, &x->store, &x->classes, f, s->split));
    int rc = ft_conditions_of(of_clip, &x->store, &x->classes, f, &labelled, pool->clip, pool->n);
    if (rc == FT_OK && is_pseudo(s->own)) {
        *pseudo = ft_alloc_n(pool->n + 1, sizeof **pseudo);
        rc = *pseudo ? ft_pseudo_apply(x, s->need[s->needs - 1], ft_config_real(s->own, "generator.confidence"), pool->clip,
                                       pool->n, *of_clip, *pseudo)
                     : FT_FAIL(FT_ENOMEM, "no memory for labels");
    }
    if (rc == FT_OK && is_shuffled(s->own)) rc = ft_conditions_shuffle(*of_clip, pool, x->classes.n, (uint64_t)s->split);
    *told = (ft_conditions){(const char *const *)x->classes.name, x->classes.n, *of_clip, *pseudo};
    ft_free(labelled.video);
    ft_free(rest.video);
    return rc;
}

static int train(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    const ft_stage *vae = of_pixels(s->arm) ? NULL : s->need[0];
    const ft_stage *teacher = vae && is_aligned(s->own) ? s->need[1] : NULL;
    char latents[FT_PATH] = "", held_out[FT_PATH] = "", features[FT_PATH];
    double mse = NAN;
    int64_t *clip = NULL, *held = NULL, n = 0, m = 0;
    int *of_clip = NULL;
    bool *pseudo = NULL;
    ft_conditions told;
    if (vae) ft_stage_file(latents, vae, "latents.safetensors");
    if (vae) ft_stage_file(held_out, vae, "held-out.safetensors");
    if (teacher) ft_stage_file(features, teacher, "features.safetensors");
    FT_TRY(ft_clips_of(&x->store, &x->folds[s->fold].pool, &clip, &n));
    int rc = ft_clips_of(&x->store, &x->folds[s->fold].validation, &held, &m);
    ft_clip_pool pool = {&x->store, clip, n};
    ft_held_out rest = {{&x->store, held, m}, held_out};
    if (rc == FT_OK) rc = conditions(x, s, &pool, &told, &of_clip, &pseudo);
    if (rc == FT_OK)
        rc = ft_generator_train(s->own, s->arm, &pool, &told, &rest, vae ? vae->folder : NULL, latents, teacher ? features : NULL,
                                s->folder, 0, true);
    ft_free(clip);
    ft_free(held);
    ft_free(of_clip);
    ft_free(pseudo);
    FT_TRY(rc);
    if (x->folds[s->fold].validation.n > 0) FT_TRY(ft_generator_eps_mse(s->own, s->arm, held_out, s->folder, latents, &mse));
    json_object_set_new(facts, "eps_mse", isnan(mse) ? json_null() : json_real(mse));
    return FT_OK;
}

static double sampling_work(const ft_config *cfg)
{
    return (double)(ft_config_int(cfg, "generated") * ft_config_int(cfg, "generator.sample_steps"));
}

static int sample(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH], latents[FT_PATH];
    const ft_stage *generator = s->need[0], *vae = s->needs > 1 ? s->need[1] : NULL;
    (void)facts;
    ft_stage_file(path, s, "clips.h5");
    if (vae) ft_stage_file(latents, vae, "latents.safetensors");
    return ft_generator_sample(s->own, s->arm, generator->folder, vae ? vae->folder : NULL, latents, NULL,
                               ft_config_int(s->own, "generated"), x->store.frames, x->store.size, 0, path);
}

static double gan_training_work(const ft_config *cfg) { return (double)ft_config_int(cfg, "generator.steps"); }
static double gan_sampling_work(const ft_config *cfg) { return (double)ft_config_int(cfg, "generated"); } /* one pass a clip */

static const ft_stage_kind generator_kind = {"generator", train, training_work},
                           samples_kind = {"samples", sample, sampling_work}, gan_kind = {"generator", train, gan_training_work},
                           gan_samples_kind = {"samples", sample, gan_sampling_work};

/* What a generator that is told of classes depends on beside the pool: the split's labelled videos with their classes. Without
 * classes nothing stands in the key, and all splits of a fold share one. */
static int add_conditions(json_t *key, const ft_arm_context *c)
{
    json_t *settings, *told = json_object();
    const ft_experiment *x = c->x;
    FT_TRY(ft_key_settings(c->cfg, is_pseudo(c->cfg) ? pseudo_keys : condition_keys, &settings));
    for (int64_t i = 0; i < c->labelled.n; i++) {
        int64_t v = c->labelled.video[i];
        json_object_set_new(told, x->store.video[v].name, json_string(x->classes.name[x->classes.of_video[v]]));
    }
    json_object_set_new(key, "told", told);
    json_object_set_new(key, "classes", ft_classes_names(&x->classes));
    json_object_set_new(key, "condition", settings);
    return FT_OK;
}

/* A generator that is told of classes is one of its split, and may need pseudo-labels. On an error the key is gone. */
static int told_of(ft_arm_context *c, bool told, ft_stage *like, json_t *key)
{
    if (told) like->split = c->split, like->of_split = true;
    int rc = is_pseudo(c->cfg)
                 ? ft_stage_pseudo(c->x, c->cfg, c->label, c->fold, c->split, &c->labelled, &like->need[like->needs++])
                 : FT_OK;
    if (rc == FT_OK && told) rc = add_conditions(key, c);
    if (rc < 0) json_decref(key);
    return rc;
}

/* Without a VAE the key holds what the VAE's would: the clips that are learned from. */
static int plan_pixels(ft_arm_context *c)
{
    ft_experiment *x = c->x;
    ft_stage like = {.kind = &gan_kind, .cfg = c->cfg, .arm = c->arm, .label = c->label, .file = "", .fold = c->fold}, *made;
    json_t *settings, *key;
    bool told;
    FT_TRY(ft_conditions_wanted(c->cfg, &told));
    like.by_content = told ? gan_told_keys : gan_sheet_keys;
    FT_TRY(ft_key_settings(c->cfg, gan_keys, &settings));
    ft_gan_opt o = ft_gan_options(c->cfg, c->arm, x->store.size);
    json_t *filled = ft_gan_settings(&o);
    json_object_update(settings, filled); /* a preset's may change */
    json_decref(filled);
    key = json_pack("{s:s,s:o,s:s,s:o}", "preset", c->arm, "config", settings, "store", x->store.id, "pool",
                    ft_video_names(&x->store, &x->folds[c->fold].pool));
    FT_TRY(told_of(c, told, &like, key));
    FT_TRY(ft_stage_add(x, &like, key, &made));
    like.kind = &gan_samples_kind, like.need[0] = made, like.needs = 1;
    return ft_stage_add(x, &like, json_pack("{s:o}", "config", ft_config_json(c->cfg, gan_sampling_keys)), &c->made);
}

static int plan(ft_arm_context *c)
{
    if (of_pixels(c->arm)) return plan_pixels(c);
    ft_experiment *x = c->x;
    bool told;
    ft_stage like = {.cfg = c->cfg, .arm = c->arm, .label = c->label, .file = "", .fold = c->fold}, *vae, *generator;
    json_t *settings, *key;
    FT_TRY(ft_conditions_wanted(c->cfg, &told));
    FT_TRY(ft_stage_vae(x, c->cfg, c->label, c->fold, &vae));
    FT_TRY(ft_key_settings(c->cfg, training_keys, &settings));
    json_object_set_new(settings, "generator.lr", json_real(ft_generator_rate(c->cfg, c->arm))); /* a preset's may change */
    like.kind = &generator_kind, like.need[0] = vae, like.needs = 1, like.by_content = told ? told_keys : sheet_keys;
    key = json_pack("{s:s,s:o}", "preset", c->arm, "config", settings);
    int rc = is_aligned(c->cfg) ? ft_stage_teacher(x, c->cfg, c->arm, c->label, c->fold, vae, &like.need[like.needs++]) : FT_OK;
    if (rc < 0) return json_decref(key), rc;
    FT_TRY(told_of(c, told, &like, key));
    FT_TRY(ft_stage_add(x, &like, key, &generator));
    like.kind = &samples_kind, like.need[0] = generator, like.need[1] = vae, like.needs = 2;
    key = json_pack("{s:o}", "config", ft_config_json(c->cfg, sampling_keys));
    if (told) json_object_set_new(key, "guidance", ft_config_json(c->cfg, guidance_keys));
    if (ft_config_real(c->cfg, "generator.autoguidance") != 1)
        json_object_set_new(key, "autoguidance", ft_config_json(c->cfg, autoguidance_keys));
    return ft_stage_add(x, &like, key, &c->made);
}

static void facts(const ft_arm_context *c, ft_arm_result *r)
{
    const ft_stage *generator = c->made->need[0], *vae = c->made->needs > 1 ? c->made->need[1] : NULL;
    if (vae) r->psnr = ft_stage_number(vae, "psnr");
    r->eps_mse = ft_stage_number(generator, "eps_mse");
    ft_stage_file(r->generator_log, generator, "log.csv");
    if (vae) ft_stage_file(r->vae_log, vae, "log.csv");
}

static bool classed(const ft_arm_context *c) { return !ft_config_is(c->cfg, "generator.condition", "none"); }

extern const ft_arm ft_arm_generator;
const ft_arm ft_arm_generator = {
    "GENERATOR", "a generator preset (see `generator` above), trained on the pool", is_preset, plan, NULL, facts, classed};
