/* What a classifier is trained with, as the settings say it. */
#include <string.h>

#include "classify/classifier.h"
#include "common/base/status.h"

int ft_classifier_check(const ft_config *cfg, bool semi)
{
    const char *model = ft_config_text(cfg, "classifier.model"), *algorithm = semi ? ft_config_text(cfg, "ssl.algorithm") : NULL;
    if (!ft_classifier_find(model))
        return FT_FAIL(FT_ECONFIG, "%s: classifier.model %s is not known. `forty models` lists the presets",
                       ft_config_origin(cfg, "classifier.model"), model);
    if (semi && !ft_ssl_find(algorithm))
        return FT_FAIL(FT_ECONFIG, "%s: ssl.algorithm %s is not known. `forty models` lists the algorithms",
                       ft_config_origin(cfg, "ssl.algorithm"), algorithm);
    return FT_OK;
}

/* How clips are made (where a store does not say it) and what probes look at, as strings: run.json holds nothing else */
static json_t *described(const ft_config *cfg)
{
    static const char *const keys[] = {"data.stride",  "data.fps",  "data.clips_per_video",
                                       "data.sampler", "data.view", "data.crop",
                                       "data.overlap", "features.", NULL};
    json_t *all = ft_config_json(cfg, keys), *o = json_object(), *v;
    const char *name;
    json_object_foreach(all, name, v)
        json_object_set_new(o, name,
                            json_is_string(v)    ? json_incref(v)
                            : json_is_integer(v) ? json_sprintf("%lld", (long long)json_integer_value(v))
                                                 : json_sprintf("%.17g", json_number_value(v)));
    json_decref(all);
    return o;
}

static ft_evaluated evaluated_as(const ft_config *cfg, bool semi)
{
    const char *evaluate = ft_config_text(cfg, "classifier.evaluate");
    return !strcmp(evaluate, "ema") || (!strcmp(evaluate, "released") && semi) ? FT_EVAL_EMA
           : !strcmp(evaluate, "raw")                                          ? FT_EVAL_WEIGHTS
                                                                               : FT_EVAL_DROP_PATH;
}

int ft_classifier_options(ft_classifier_opt *o, const ft_config *cfg, bool semi)
{
    *o = (ft_classifier_opt){0};
    FT_TRY(ft_classifier_check(cfg, semi));
    *o = (ft_classifier_opt){
        .model = ft_config_text(cfg, "classifier.model"),
        .weights = ft_config_text(cfg, "classifier.weights"),
        .batch = ft_config_int(cfg, "classifier.batch"),
        .parts = ft_config_int(cfg, "classifier.accumulate"),
        .mu = ft_config_int(cfg, "classifier.mu"),
        .steps = ft_config_int(cfg, "classifier.steps"),
        .epoch = ft_config_int(cfg, "classifier.epoch"),
        .save_every = ft_config_int(cfg, "save_every"),
        .lora = (int)ft_config_int(cfg, "classifier.lora"),
        .test_clips = (int)ft_config_int(cfg, "data.test_clips"),
        .lr = ft_config_real(cfg, "classifier.lr"),
        .warmup = ft_config_real(cfg, "classifier.warmup"),
        .ema = ft_config_real(cfg, "classifier.ema"),
        .dropout = ft_config_real(cfg, "classifier.dropout"),
        .weight_decay = ft_config_real(cfg, "classifier.weight_decay"),
        .clip = ft_config_real(cfg, "classifier.clip"),
        .lora_alpha = ft_config_real(cfg, "classifier.lora_alpha"),
        .strength = ft_config_real(cfg, "classifier.strength"),
        .ema_cold = !ft_config_bool(cfg, "classifier.ema_warmup"),
        .sgd = ft_config_is(cfg, "classifier.optimizer", "sgd"),
        .tensorboard = ft_config_bool(cfg, "log.tensorboard"),
        .views = ft_views_of(ft_config_text(cfg, "classifier.augment")),
        .selection = ft_config_is(cfg, "selection", "validation")     ? FT_SELECT_VALIDATION
                     : ft_config_is(cfg, "selection", "best-on-test") ? FT_SELECT_BEST_ON_TEST
                                                                      : FT_SELECT_LAST,
        .evaluated = evaluated_as(cfg, semi),
        .precision = ft_precision_options(cfg),
        .settings = cfg,
    };
    if (semi) o->algorithm = ft_config_text(cfg, "ssl.algorithm"), o->ssl = ft_ssl_options(cfg);
    o->described = described(cfg);
    return o->described ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a classifier");
}

void ft_classifier_options_free(ft_classifier_opt *o)
{
    json_decref(o->described);
    *o = (ft_classifier_opt){0};
}
