/* bench: time of a training step, a forward pass, sampling, or single ops. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/base/threads.h"
#include "common/train/precision.h"
#include "experiments/cli/bench_gan.h"
#include "experiments/cli/bench_ops.h"
#include "experiments/models/model_table.h"
#include "experiments/stages/environment.h"
#include "gen/generator.h"
#include "gen/vae_train.h"
#include "gen/walk.h"

/* The example's shape with the batch, and for clips and pictures the pixels and frames that were asked for. */
static void shape_of(ft_cli *c, const ft_model *row, const char *preset, const ft_config *cfg, int input, int64_t batch,
                     int64_t *dim)
{
    int64_t size, frames;
    ft_model_example(row, preset, cfg, input, dim);
    dim[0] = batch;
    if (row->shape && input == 0 && ft_cli_text(c, "--latent-frames") &&
        ft_cli_int(c, "--latent-frames", 1, 1024, &frames) == FT_OK)
        dim[1] = frames;
    if (row->shape && input == 0 && ft_cli_text(c, "--latent-size") && ft_cli_int(c, "--latent-size", 2, 512, &size) == FT_OK)
        dim[2] = dim[3] = size;
    if (row->shape || ft_cli_int(c, "--size", 16, 512, &size) < 0 || ft_cli_int(c, "--frames", 1, 256, &frames) < 0) return;
    for (int k = 1; k < ft_model_dims(&row->in[input]); k++) {
        char axis = row->in[input].axes[k];
        if (axis == 'h' || axis == 'w') dim[k] = size;
        if (axis == 'f') dim[k] = frames;
    }
}

enum { MOST_STEPS = 1000 };

/* UniPC-2 along a rectified flow, that of a network on *x and *t in g */
static int sampling_of(ft_walk **w, ft_graph *g, int64_t steps, int ndim, const int64_t *dim, ft_t *x, ft_t *t)
{
    double alpha[MOST_STEPS + 1], sigma[MOST_STEPS + 1], time[MOST_STEPS];
    for (int64_t i = 0; i <= steps; i++) {
        sigma[i] = 0.02 + 0.96 * (double)(steps - i) / (double)steps;
        alpha[i] = 1 - sigma[i];
        if (i < steps) time[i] = (double)i;
    }
    const ft_path path = {
        .kind = FT_UNIPC, .predicts = FT_PREDICTS_EPS, .steps = (int)steps, .alpha = alpha, .sigma = sigma, .time = time};
    return ft_walk_new(w, g, &path, ndim, dim, x, t);
}

/* epsilon is the first half of what the network says */
static int update_of(ft_walk *w, ft_graph *g, ft_t y, int64_t channels)
{
    return ft_walk_update(w, ft_slice(g, y, 4, 0, channels), NULL, NULL);
}

/* `runs` walks from noise, without the decoder */
static int time_sampling(ft_walk *w, ft_plan *plan, int64_t runs, double *ms)
{
    const float *x;
    for (int64_t k = -1; k < runs; k++) {
        double start = ft_now();
        FT_TRY(ft_walk_run(w, plan, NULL, 1, 0, NULL, &x));
        if (k >= 0) ms[k] = 1000 * (ft_now() - start);
    }
    qsort(ms, (size_t)runs, sizeof *ms, ft_bench_by_value);
    return FT_OK;
}

static int run_model(ft_cli *c, const char *what, int64_t runs)
{
    const char *model = ft_cli_text(c, "--model"), *preset;
    bool train = !strcmp(what, "train-step"), sample = !strcmp(what, "sample");
    const ft_model *row;
    int64_t batch, steps;
    ft_config *cfg;
    ft_dtype dtype;
    if (!train && !sample && strcmp(what, "forward"))
        return FT_FAIL(FT_EUSAGE, "bench %s is not known: train-step, forward, sample, op", what);
    FT_TRY(ft_cli_int(c, "--batch", 1, 4096, &batch));
    FT_TRY(ft_cli_int(c, "--steps", 1, MOST_STEPS, &steps));
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    ft_params *params = ft_params_new(0);
    ft_graph *g = NULL;
    ft_plan *plan = NULL;
    ft_walk *walk = NULL;
    double *ms = ft_alloc((size_t)runs * sizeof *ms);
    int rc = ft_precision(cfg, ft_model_work(model), &dtype);
    char whole[80];
    snprintf(whole, sizeof whole, "%s-encode", model); /* of a VAE's plain name, encoder and decoder in a row */
    bool both = rc == FT_OK && ft_vae_find(model) && ft_vae_find(model)->family != &ft_vae_frames;
    if (rc == FT_OK) rc = ft_model_find(both ? whole : model, &row, &preset);
    if (rc == FT_OK && sample && (row->n_in != 2 || strcmp(row->kind, "generator")))
        rc = FT_FAIL(FT_EUSAGE, "bench sample needs a generator, %s is none", model);
    if (rc == FT_OK && train && row->frozen) rc = FT_FAIL(FT_EUSAGE, "%s is a frozen network: bench forward times it", model);
    if (rc == FT_OK && (!params || !ms || !(g = ft_graph_new(params, dtype, FT_GRAPH_ALONE))))
        rc = FT_FAIL(FT_ENOMEM, "no memory for %s", model);
    FT_TRY_TO(rc, done, rc);
    if (row->frozen || !train) FT_TRY_TO(rc, done, ft_params_train_only(params, 0, NULL)); /* no gradients, no moments */
    ft_training(g, train);
    ft_t x[FT_MODEL_INPUTS] = {NULL}, y;
    for (int i = 0; i < row->n_in; i++) {
        int64_t dim[FT_MAX_DIMS];
        shape_of(c, row, preset, cfg, i, batch, dim);
        if (sample && i == 0) FT_TRY_TO(rc, done, sampling_of(&walk, g, steps, ft_model_dims(&row->in[0]), dim, &x[0], &x[1]));
        if (sample) continue;
        x[i] = ft_input(g, row->in[i].name, FT_F32, ft_model_dims(&row->in[i]), dim);
        if (!ft_graph_error(g)) ft_bench_fill(x[i], 1);
    }
    y = row->build(g, preset, cfg, x, 2);
    if (both) y = ft_vae_decode(g, ft_vae_find(model), ft_slice(g, y, 4, 0, ft_dim(y, -1) / 2));
    if (train) {
        int64_t dim[FT_MAX_DIMS];
        for (int i = 0; i < ft_ndim(y); i++) dim[i] = ft_dim(y, i);
        ft_t loss = ft_loss_mean(g, y, ft_input(g, "target", FT_F32, ft_ndim(y), dim), FT_MSE);
        ft_keep(loss);
        ft_backward(g, loss);
        ft_params_no_average(params); /* as the opponents': no EMA */
        ft_optimise(g, (ft_optim_opt){.no_ema = true});
    } else if (!sample) ft_keep(y);
    else FT_TRY_TO(rc, done, update_of(walk, g, y, ft_dim(x[0], 4)));
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    if (sample) FT_TRY_TO(rc, done, time_sampling(walk, plan, runs, ms));
    else FT_TRY_TO(rc, done, ft_bench_plan(plan, runs, ft_cli_flag(c, "--profile"), ms));
    ft_plan_info info = ft_plan_describe(plan);
    json_t *o =
        json_pack("{s:s,s:s,s:I,s:s,s:i,s:{s:f,s:f,s:f},s:I,s:f,s:f,s:f,s:I,s:o}", "what", what, "model", model, "batch",
                  (json_int_t)batch, "precision", dtype == FT_BF16 ? "bf16" : "f32", "threads", ft_threads_get(), "ms", "median",
                  ms[runs / 2], "min", ms[0], "max", ms[runs - 1], "peak_rss_mib", (json_int_t)ft_peak_memory(), "act_mib",
                  (double)info.act_bytes / 1048576.0, "live_mib", (double)info.live_bytes / 1048576.0, "gmac",
                  info.products / 1e9, "parameters", (json_int_t)ft_model_parameters(params), "versions", ft_environment());
    if (sample) json_object_set_new(o, "steps", json_integer(steps));
    ft_cli_print(c, o,
                 "%s %s, batch %lld, %s, %d threads: %.1f ms (min %.1f, max %.1f); %.2f GMAC; %lld MiB; slab %.1f MiB (live "
                 "maximum %.1f)\n",
                 model, what, (long long)batch, dtype == FT_BF16 ? "bf16" : "f32", ft_threads_get(), ms[runs / 2], ms[0],
                 ms[runs - 1], info.products / 1e9, (long long)ft_peak_memory(), (double)info.act_bytes / 1048576.0,
                 (double)info.live_bytes / 1048576.0);
    ft_plan_profile(plan);
done:
    ft_plan_free(plan);
    ft_walk_free(walk);
    ft_graph_free(g);
    ft_params_free(params);
    ft_free(ms);
    ft_config_free(cfg);
    return rc;
}

static int run_bench(ft_cli *c)
{
    const char *const *arg;
    int64_t runs;
    FT_TRY(ft_cli_need(c, 1, "train-step|forward|sample|op"));
    ft_cli_args(c, &arg);
    FT_TRY(ft_cli_int(c, "--runs", 1, 100000, &runs));
    const ft_generator *family = ft_generator_find(ft_cli_text(c, "--model"));
    if (!strcmp(arg[0], "op")) return ft_bench_ops(c, runs);
    if (!strcmp(arg[0], "train-step") && family && family->gan) return ft_bench_gan(c, runs);
    return run_model(c, arg[0], runs);
}
static const ft_option bench_options[] = {{"--model", "NAME", "x3d-tiny", "preset"},
                                          {"--batch", "N", "8", "batch"},
                                          {"--runs", "N", "10", "timed runs"},
                                          {"--size", "N", "64", "pixels"},
                                          {"--frames", "N", "16", "frames"},
                                          {"--latent-frames", "N", NULL, "of a generator's input; as its preset"},
                                          {"--latent-size", "N", NULL, "side of a generator's input; as its preset"},
                                          {"--steps", "K", "20", "of `sample`: steps of UniPC, without the decoder"},
                                          {"--pass", "KIND", "both", "of an op: forward, or both (and backward)"},
                                          {"--profile", NULL, NULL, "time and bytes by op, and the plan"},
                                          {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_bench = {"bench",
                               "time of a training step, a forward pass, sampling, or single ops",
                               "bench train-step|forward|sample --model NAME [--batch N], bench op [NAME ...] [--pass forward]",
                               "forty bench train-step --model medsora-tiny --batch 16 --profile",
                               bench_options,
                               run_bench};
