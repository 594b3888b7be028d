#include "experiments/arms/arm_options.h"

#include <string.h>

ft_arm_options ft_arm_options_of(const ft_config *cfg)
{
    return (ft_arm_options){.protocol = ft_config_text(cfg, "protocol"),
                            .evaluation = ft_config_text(cfg, "evaluation"),
                            .baseline = ft_config_text(cfg, "baseline"),
                            .labels_from = ft_config_text(cfg, "labels_from"),
                            .splits = (int)ft_config_int(cfg, "splits"),
                            .seeds = (int)ft_config_int(cfg, "seeds"),
                            .labels = ft_config_int(cfg, "labels"),
                            .bootstrap = (int)ft_config_int(cfg, "bootstrap"),
                            .margin = ft_config_real(cfg, "margin"),
                            .vae_steps = ft_config_int(cfg, "vae.steps"),
                            .generator_steps = ft_config_int(cfg, "generator.steps"),
                            .classifier_steps = ft_config_int(cfg, "classifier.steps"),
                            .looks = ft_config_int(cfg, "looks"),
                            .best_on_test = ft_config_is(cfg, "selection", "best-on-test"),
                            .generated = ft_config_int(cfg, "generated"),
                            .unlabelled_clips = ft_config_int(cfg, "unlabelled.clips"),
                            .whole = ft_config_is(cfg, "unlabelled.frames", "whole")};
}
