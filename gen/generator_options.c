#include <string.h>

#include "gen/generator.h"

static bool is_flow(const ft_config *cfg, const ft_generator *f)
{
    return ft_config_is(cfg, "generator.objective", "preset") ? f->flow : ft_config_is(cfg, "generator.objective", "flow");
}

double ft_generator_rate(const ft_config *cfg, const char *preset)
{
    const ft_generator *f = ft_generator_find(preset);
    double said = ft_config_real(cfg, "generator.lr");
    return said > 0 ? said : f->lr ? f->lr(ft_generator_preset_of(preset)) : 0.001;
}

ft_generator_opt ft_generator_options(const ft_config *cfg, const char *preset)
{
    const ft_generator *f = ft_generator_find(preset);
    return (ft_generator_opt){
        .flow = is_flow(cfg, f),
        .logit_normal = ft_config_is(cfg, "generator.flow_time", "logit-normal"),
        .vlb = ft_config_bool(cfg, "generator.vlb"),
        .min_snr = ft_config_is(cfg, "generator.weighting", "min-snr"),
        .flip = ft_config_bool(cfg, "generator.flip"),
        .align = ft_config_real(cfg, "align.weight") > 0,
        .loss = ft_config_is(cfg, "generator.loss", "preset") ? f->loss
                : ft_config_is(cfg, "generator.loss", "l1")   ? FT_L1
                                                              : FT_MSE,
        .schedule = ft_config_is(cfg, "generator.beta", "preset") ? f->schedule
                    : ft_config_is(cfg, "generator.beta", "sqrt") ? FT_BETA_SQRT
                                                                  : FT_BETA_LINEAR,
        .images = ft_image_options(cfg),
        .steps = ft_config_int(cfg, "generator.steps"),
        .batch = ft_config_int(cfg, "generator.batch"),
        .parts = ft_config_int(cfg, "generator.accumulate"),
        .first_steps = ft_config_int(cfg, "generator.first_steps"),
        .first_batch = ft_config_int(cfg, "generator.first_batch"),
        .warmup = ft_config_int(cfg, "generator.warmup"),
        .clip_from = ft_config_int(cfg, "generator.clip_from"),
        .save_every = ft_config_int(cfg, "save_every"),
        .sheet_every = ft_config_int(cfg, "generator.sheet_every"),
        .stop = ft_config_is(cfg, "generator.stop", "memorisation"),
        .stop_every = ft_config_int(cfg, "generator.stop_every"),
        .lr = ft_generator_rate(cfg, preset),
        .first_lr = ft_config_real(cfg, "generator.first_lr"),
        .ema = ft_config_real(cfg, "generator.ema"),
        .clip = ft_config_real(cfg, "generator.clip"),
        .weight_decay = ft_config_real(cfg, "generator.weight_decay"),
        .constant = ft_config_is(cfg, "generator.schedule", "constant"),
        .ema_cold = !ft_config_bool(cfg, "generator.ema_warmup"),
        .tensorboard = ft_config_bool(cfg, "log.tensorboard"),
        .class_drop = ft_config_real(cfg, "generator.class_drop"),
        .sampler = ft_config_is(cfg, "generator.sampler", "ddim")   ? FT_DDIM
                   : ft_config_is(cfg, "generator.sampler", "ddpm") ? FT_DDPM
                                                                    : FT_UNIPC,
        .sample_steps = (int)ft_config_int(cfg, "generator.sample_steps"),
        .guidance = ft_config_real(cfg, "generator.class_guidance"),
        .guidance_from = ft_config_real(cfg, "generator.class_from"),
        .guidance_until = ft_config_real(cfg, "generator.class_until"),
        .autoguidance = ft_config_real(cfg, "generator.autoguidance"),
        .autoguidance_until = ft_config_real(cfg, "generator.autoguidance_until"),
        .objective = is_flow(cfg, f) ? "flow" : "eps",
        .scan = ft_config_text(cfg, "generator.scan"),
        .mixer = ft_config_text(cfg, "generator.mixer"),
    };
}

ft_prediction ft_generator_predict(ft_graph *g, const char *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told)
{
    ft_prediction y = {0};
    int64_t c = ft_dim(z, 4);
    ft_t out = ft_generator_find(preset)->network(g, ft_generator_preset_of(preset), cfg, z, frames, told, &y.taps);
    bool learned = ft_dim(out, -1) == 2 * c;
    y.eps = learned ? ft_slice(g, out, 4, 0, c) : out;
    y.variance = learned ? ft_slice(g, out, 4, c, c) : NULL;
    return y;
}
