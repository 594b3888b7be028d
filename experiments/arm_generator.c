/* A generator preset by name: VAE and generator are trained on the fold's pool, clips are sampled, all cached. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arm.h"
#include "gen/generator.h"

static bool is_preset(const char *arm) { return ft_generator_find(arm) != NULL; }

static int stages(ft_arm_context *c, ft_fold_vae *vae, char generator[FT_PATH], char samples[FT_PATH])
{
    static const char *const training[] = {"generator.steps",
                                           "generator.batch",
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
                                           "align.",
                                           "precision",
                                           NULL};
    static const char *const sampling[] = {"generator.sample", "generated", "precision", NULL};
    ft_experiment *x = c->x;
    bool done;
    char path[FT_PATH + 16];
    FT_TRY(ft_fold_vae_get(x, c->cfg, c->fold, vae));
    json_t *settings;
    FT_TRY(ft_key_settings(c->cfg, training, &settings));
    json_t *key = json_pack("{s:s,s:o,s:s}", "preset", c->arm, "config", settings, "latents", strrchr(vae->vae, '/') + 1);
    FT_TRY(ft_stage(x, "generator", key, generator, &done));
    if (!done) {
        double mse = NAN, start = ft_now();
        int64_t *clip = NULL, n = 0;
        int rc = ft_clips_of(&x->store, &x->folds[c->fold].pool, &clip, &n);
        ft_clip_pool pool = {&x->store, clip, n};
        if (rc == FT_OK) rc = ft_generator_train(c->cfg, c->arm, &pool, vae->vae, vae->latents, generator, 0, true);
        ft_free(clip);
        FT_TRY(rc);
        if (*vae->held_out) FT_TRY(ft_generator_eps_mse(c->cfg, c->arm, vae->held_out, generator, vae->latents, &mse));
        FT_TRY(ft_stage_done(
            x, generator,
            json_pack("{s:o,s:f}", "eps_mse", isnan(mse) ? json_null() : json_real(mse), "seconds", ft_now() - start)));
    }
    key = json_pack("{s:s,s:o}", "generator", strrchr(generator, '/') + 1, "config", ft_config_json(c->cfg, sampling));
    FT_TRY(ft_stage(x, "samples", key, samples, &done));
    if (!done) {
        double start = ft_now();
        snprintf(path, sizeof path, "%s/clips.h5", samples);
        FT_TRY(ft_generator_sample(c->cfg, c->arm, generator, vae->vae, vae->latents, ft_config_int(c->cfg, "generated"),
                                   x->store.frames, x->store.size, 0, path));
        FT_TRY(ft_stage_done(x, samples, json_pack("{s:f}", "seconds", ft_now() - start)));
    }
    return FT_OK;
}

static int prepare(ft_arm_context *c)
{
    ft_fold_vae vae;
    char generator[FT_PATH], samples[FT_PATH], path[FT_PATH + 16];
    FT_TRY(stages(c, &vae, generator, samples));
    snprintf(path, sizeof path, "%s/clips.h5", samples);
    return ft_arm_use_file(c, path);
}

static int facts(ft_arm_context *c, ft_arm_result *r)
{
    ft_fold_vae vae;
    char generator[FT_PATH], samples[FT_PATH];
    FT_TRY(stages(c, &vae, generator, samples));
    json_t *f = ft_stage_facts(generator), *mse = json_object_get(f, "eps_mse");
    r->psnr = vae.psnr;
    r->eps_mse = json_is_number(mse) ? json_number_value(mse) : NAN;
    snprintf(r->generator_log, sizeof r->generator_log, "%.1100s/log.csv", generator);
    json_decref(f);
    return FT_OK;
}

extern const ft_arm ft_arm_generator;
const ft_arm ft_arm_generator = {"GENERATOR", "a generator preset (see `generator` above), trained on the pool", is_preset,
                                 prepare, facts};
