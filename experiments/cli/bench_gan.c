#include "experiments/cli/bench_gan.h"

#include <stdio.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "experiments/cli/bench_ops.h"
#include "experiments/stages/environment.h"
#include "gen/gan_step.h"

static void fill(ft_gan_step *s)
{
    ft_t times[3] = {s->fake_t[0], s->fake_t[1], s->real_t};
    for (int k = 0; k < 3; k++)
        for (int64_t i = 0; i < ft_count(times[k]); i++) ((float *)ft_data(times[k]))[i] = (float)(i % FT_STYLEGAN_FRAMES);
    ft_bench_fill(s->real, 1);
    for (int k = 0; k < FT_GAN_SEEN; k++) /* what is augmented costs the same whatever is done */
        if (s->view[k]) ft_bench_fill(s->view[k], 1);
}

int ft_bench_gan(ft_cli *c, int64_t runs)
{
    enum { LEAST, MEDIAN, MOST };
    static const char *const part[FT_GAN_PLANS] = {"generator", "discriminator", "penalty"};
    const char *preset = ft_cli_text(c, "--model");
    char set[64];
    ft_config *cfg;
    int64_t batch, frames, size;
    double whole[3] = {0}, median[FT_GAN_PLANS] = {0}, gmac = 0, *ms;
    ft_gan_step s = {0};
    FT_TRY(ft_cli_int(c, "--frames", 1, 256, &frames));
    FT_TRY(ft_cli_int(c, "--size", 16, 512, &size));
    FT_TRY(ft_cli_int(c, "--batch", 1, 4096, &batch));
    if (!(ms = ft_alloc_n(runs, sizeof *ms))) return FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    snprintf(set, sizeof set, "generator.batch=%lld", (long long)batch);
    int rc = ft_cli_config(c, NULL, &cfg);
    if (rc == FT_OK) rc = ft_config_set(cfg, set, "--batch");
    if (rc == FT_OK) rc = ft_gan_step_new(&s, cfg, preset, (int)frames, (int)size, 0, 0);
    if (rc == FT_OK) fill(&s);
    for (int k = 0; rc == FT_OK && k < FT_GAN_PLANS; k++) {
        double share = k == FT_GAN_PENALTY ? 1 / (double)s.o.r1_every : 1;
        if (!s.plan[k]) continue;
        rc = ft_bench_plan(s.plan[k], runs, ft_cli_flag(c, "--profile"), ms);
        if (rc < 0) break;
        median[k] = ms[runs / 2], gmac += share * ft_plan_describe(s.plan[k]).products / 1e9;
        whole[LEAST] += share * ms[0], whole[MEDIAN] += share * ms[runs / 2], whole[MOST] += share * ms[runs - 1];
        if (ft_cli_flag(c, "--profile")) fprintf(stderr, "%s\n", part[k]), ft_plan_profile(s.plan[k]);
    }
    if (rc == FT_OK) {
        json_t *o = json_pack("{s:s,s:s,s:I,s:s,s:i,s:{s:f,s:f,s:f,s:f,s:f,s:f},s:I,s:I,s:f,s:o}", "what", "train-step", "model",
                              preset, "batch", (json_int_t)batch, "precision", s.dtype == FT_BF16 ? "bf16" : "f32", "threads",
                              ft_threads_get(), "ms", "median", whole[MEDIAN], "min", whole[LEAST], "max", whole[MOST], part[0],
                              median[0], part[1], median[1], part[2], median[2], "penalty_every", (json_int_t)s.o.r1_every,
                              "peak_rss_mib", (json_int_t)ft_peak_memory(), "gmac", gmac, "versions", ft_environment());
        ft_cli_print(c, o,
                     "%s train-step, batch %lld, %s, %d threads: %.1f ms (min %.1f, max %.1f) a whole step: generator %.1f, "
                     "discriminator %.1f, penalty %.1f in every %lld; %.2f GMAC; %lld MiB\n",
                     preset, (long long)batch, s.dtype == FT_BF16 ? "bf16" : "f32", ft_threads_get(), whole[MEDIAN], whole[LEAST],
                     whole[MOST], median[0], median[1], median[2], (long long)s.o.r1_every, gmac, (long long)ft_peak_memory());
    }
    ft_gan_step_free(&s);
    ft_config_free(cfg);
    ft_free(ms);
    return rc;
}
