#include "gen/generator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/graph/layers.h"
#include "common/io/weights.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"
#include "gen/align.h"
#include "gen/copy_watch.h"
#include "gen/diffusion.h"
#include "gen/gan.h"
#include "gen/sampler.h"
#include "kernels/elem.h"

/* ---- one noise prediction problem: network, loss, inputs ------------------------------------------------------------------- */

typedef struct {
    const ft_config *cfg; /* for the network */
    ft_generator_opt opt;
    const ft_latents *l;
    const ft_align *align;
    ft_conditions told;
    const char *preset;
    bool training;
    int64_t batch, parts; /* parts: of a batch, computed one after the other */
    int64_t base, begin;  /* draws before its first step, and that step */
    uint64_t seed;
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t mean, std, t, label, mix, weight, bound, target, decay; /* inputs; mix (B,2): factors of z0 and of the noise */
    ft_prediction net;                                           /* of the part built last */
    /* scalars, means over the parts; error: mean squared error, in scores on the clips alone */
    ft_t total, error, vlb_loss, align_loss, align_measure;
} problem;

static void problem_free(problem *p)
{
    ft_plan_free(p->plan);
    ft_graph_free(p->g);
}

/* The network and its losses for one part of the batch: z0 ~ posterior of clips and images, z_t = a z0 + s eps; the network
 * predicts eps, or eps - z0 (rectified flow) */
static int problem_part(problem *p, int64_t k)
{
    ft_graph *g = p->g;
    int64_t n = p->batch / p->parts, frames = p->l->dim[1], dim[5];
    ft_t mean = ft_slice(g, p->mean, 0, k * n, n), std = ft_slice(g, p->std, 0, k * n, n); /* (n,f,s,s,z) */
    for (int i = 0; i < 5; i++) dim[i] = ft_dim(mean, i);
    ft_t z0 = ft_add(g, mean, ft_mul(g, std, ft_randn(g, FT_F32, 5, dim)));
    ft_t eps, zt = ft_q_sample(g, z0, ft_slice(g, p->mix, 0, k * n, n), &eps);
    ft_told told = {ft_slice(g, p->t, 0, k * n, n), p->label ? ft_slice(g, p->label, 0, k * n, n) : NULL};
    p->net = ft_generator_predict(g, p->preset, p->cfg, zt, frames, told);
    ft_t y = p->net.eps, want = p->opt.flow ? ft_sub(g, eps, z0) : eps;
    if (p->opt.min_snr) p->total = ft_loss_weighted(g, y, want, ft_slice(g, p->weight, 0, k * n, n), p->opt.loss, 1);
    else p->total = ft_loss_mean(g, y, want, p->opt.loss);
    p->error = p->opt.loss == FT_MSE ? p->total : ft_loss_mean(g, ft_stop_grad(g, y), want, FT_MSE);
    if (!p->training && dim[1] > frames)
        p->error = ft_loss_mean(g, ft_slice(g, y, 1, 0, frames), ft_slice(g, want, 1, 0, frames), FT_MSE);
    ft_keep(p->error);
    if (p->opt.vlb) {
        if (!p->net.variance) return FT_FAIL(FT_ECONFIG, "%s has no variance to learn. Set generator.vlb: false", p->preset);
        p->vlb_loss = ft_vlb(g, p->net.variance, ft_stop_grad(g, y), z0, zt, ft_slice(g, p->bound, 0, k * n, n));
        p->total = ft_add(g, p->total, p->vlb_loss);
    }
    return ft_graph_error(g) ? FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", p->preset, ft_graph_error(g)) : FT_OK;
}

static void align_part(problem *p, int64_t k)
{
    ft_graph *g = p->g;
    int64_t n = p->batch / p->parts;
    ft_t target = ft_cast(g, ft_slice(g, p->target, 0, k * n, n), ft_compute(g));
    p->align_loss = ft_align_loss(g, p->align, p->net.taps.at, target, ft_slice(g, p->decay, 0, k * n, n), &p->align_measure);
    p->total = ft_add(g, p->total, p->align_loss);
}

/* Scores are squared errors for all, without the terms that training adds. */
static int problem_new(problem *p, const char *preset, ft_dtype dtype, uint32_t number, bool training)
{
    ft_generator_opt *o = &p->opt;
    int64_t B = p->batch, images = o->images.n > 0 ? p->l->image_frames : 0;
    if (images && !o->images.pairs) images = o->images.n;
    int64_t dim[5] = {B, p->l->dim[1] + images, p->l->dim[2], p->l->dim[3], p->l->z};
    p->parts = training ? o->parts : 1;
    if (training) FT_TRY(ft_batch_parts(p->parts, B, p->cfg, "generator.accumulate"));
    else o->loss = FT_MSE, o->vlb = o->min_snr = false;
    p->preset = preset;
    p->training = training;
    if (o->flow && (o->vlb || o->min_snr))
        return FT_FAIL(FT_ECONFIG,
                       "%s learns a rectified flow, which goes neither with generator.vlb nor with generator.weighting. Set "
                       "generator.objective: eps",
                       preset);
    ft_graph *g = p->g = ft_graph_new(p->params, dtype, number);
    if (!g) return FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    ft_training(g, training);
    p->mean = ft_input(g, "mean", FT_F32, 5, dim);
    p->std = ft_input(g, "std", FT_F32, 5, dim);
    p->t = ft_input(g, "t", FT_F32, 1, &B);
    if (p->told.n > 0) p->label = ft_input(g, "label", FT_F32, 2, (int64_t[]){B, p->told.n + 1});
    p->mix = ft_input(g, "mix", FT_F32, 2, (int64_t[]){B, 2});
    if (p->opt.min_snr) p->weight = ft_input(g, "weight", FT_F32, 1, &B);
    if (p->opt.vlb) p->bound = ft_input(g, "bound", FT_F32, 2, (int64_t[]){B, 8});
    return problem_part(p, 0);
}

/* what is aligned: known when the network is there */
static void align_problem(problem *p, const ft_align *a)
{
    p->align = a;
    p->target = ft_input(p->g, "target", FT_F32, 2, (int64_t[]){p->batch, a->each});
    p->decay = ft_input(p->g, "decay", FT_F32, 1, &p->batch);
}

static int finish_problem(problem *p, ft_optim_opt opt, ft_phase *phase)
{
    ft_graph *g = p->g;
    ft_t sum[FT_LOGGED] = {0};
    int n = 0;
    for (int64_t k = 0; k < p->parts; k++) {
        if (k > 0) FT_TRY(problem_part(p, k));
        if (p->align) align_part(p, k);
        ft_t here[5] = {p->total, p->error, p->vlb_loss, p->align_loss, p->align_measure}, share[5];
        n = 0;
        for (int i = 0; i < 5; i++)
            if (here[i]) share[i] = ft_add_part(g, &sum[n++], here[i], p->parts);
        ft_backward(g, share[0]); /* of the total */
    }
    for (int i = 0; i < n; i++) ft_keep(phase->logged[i] = sum[i]);
    phase->grad_norm = ft_optimise(g, opt);
    FT_TRY(ft_plan_new(&p->plan, g, FT_WEIGHTS));
    phase->plan = p->plan;
    return FT_OK;
}

static void feed_time(problem *p, int64_t b, double t) /* t: a training step, or of a flow a time in [0, 1] */
{
    float *mix = (float *)ft_data(p->mix) + 2 * b;
    double bar = p->opt.flow ? 0 : ft_alpha_bar(p->opt.schedule)[(int)t];
    mix[0] = (float)(p->opt.flow ? 1 - t : sqrt(bar));
    mix[1] = (float)(p->opt.flow ? t : sqrt(1 - bar));
    ((float *)ft_data(p->t))[b] = (float)(p->opt.flow ? 1000 * t : t);
    if (p->opt.min_snr) ((float *)ft_data(p->weight))[b] = (float)ft_min_snr_weight(p->opt.schedule, (int)t, 5);
    if (p->opt.vlb) ft_vlb_coefficients(p->opt.schedule, (int)t, (float *)ft_data(p->bound) + 8 * b);
    /* g(t): nearly every step's weight is small. A flow's time counts as if it were a step. */
    if (p->align) ((float *)ft_data(p->decay))[b] = p->align->decay ? (float)(1 / ((p->opt.flow ? 1000 * t : t) + 1)) : 1;
}

static void feed_clip(problem *p, int64_t b, int64_t k, ft_rng *r)
{
    const ft_latents *l = p->l;
    int64_t all = ft_count(p->mean) / p->batch, each = l->each, frame = each / l->dim[1];
    float *mean = (float *)ft_data(p->mean) + b * all, *std = (float *)ft_data(p->std) + b * all;
    memcpy(mean, l->mean + k * each, (size_t)each * 4);
    memcpy(std, l->std + k * each, (size_t)each * 4);
    for (int64_t at = each; at < all; at += l->image_frames * frame) { /* images of other clips behind it */
        int64_t image = ft_rng_below(r, l->images) * l->image_frames * frame, n = l->image_frames * frame;
        memcpy(mean + at, l->image_mean + image, (size_t)n * 4);
        memcpy(std + at, l->image_std + image, (size_t)n * 4);
    }
    if (p->align)
        for (int64_t i = 0; i < p->align->each; i++)
            ((float *)ft_data(p->target))[b * p->align->each + i] = ft_from_bf16(p->align->target[k * p->align->each + i]);
}

/* clip k's class, now and then left out, so that the network learns what clips of no class look like, too */
static void feed_class(problem *p, int64_t b, int64_t k, int64_t draw)
{
    bool dropped = ft_label_dropped(p->seed, draw, p->opt.class_drop);
    ft_label_row(p->label, b, dropped ? -1 : p->told.of_clip[k % (p->l->n / 2)]);
}

/* mirrored clips are the second half */
static int64_t clips(const problem *p) { return p->opt.flip ? p->l->n : p->l->n / 2; }

static void feed_problem(problem *p, int64_t step)
{
    int64_t n = clips(p), first = p->base + ft_first_sample(step - p->begin, p->batch);
    for (int64_t b = 0; b < p->batch; b++) {
        ft_rng r = ft_rng_make(p->seed, FT_STREAM_TIMES, (uint64_t)(first + b));
        int64_t k = ft_shuffled(p->seed, FT_STREAM_GENERATOR_ORDER, n, first + b);
        feed_clip(p, b, k, &r);
        if (p->label) feed_class(p, b, k, first + b);
        if (!p->opt.flow) feed_time(p, b, (double)ft_rng_below(&r, FT_T));
        else feed_time(p, b, p->opt.logit_normal ? 1 / (1 + exp(-ft_rng_normal(&r))) : ft_rng_uniform(&r));
    }
}

/* ---- training ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    problem first, main;
    int64_t first_steps, sheet_every;
    const char *dir, *features; /* features: of a teacher, made before; NULL: none are */
    ft_generator_sampler *sampler;
    ft_copy_watch *watch; /* NULL: nobody looks for copies */
    int64_t kept;         /* step of the weights in kept.safetensors; 0: none yet */
    ft_trainer *loop;
    ft_align align;
    int frames, size;
} training;

static int feed_training(void *ctx, int64_t step)
{
    training *t = ctx;
    feed_problem(step < t->first_steps ? &t->first : &t->main, step);
    return FT_OK;
}

/* ---- generator.stop ---------------------------------------------------------------------------------------------------------
 */

/* The EMA as it is at `step`, as NAME.safetensors of the run folder */
static int save_average(training *t, const char *name, int64_t step)
{
    char path[1200], text[32];
    if (ft_this_rank() > 0) return FT_OK;
    json_t *about = json_deep_copy(t->loop->metadata);
    snprintf(text, sizeof text, "%lld", (long long)step);
    json_object_set_new(about, "model", json_string(t->loop->model));
    json_object_set_new(about, "step", json_string(text));
    snprintf(path, sizeof path, "%s/%s.safetensors", t->dir, name);
    int rc = ft_weights_save(path, t->main.params, FT_EMA, about);
    json_decref(about);
    return rc;
}

/* What autoguidance leans away from: the weights after a quarter of the steps */
static int64_t weak_step(const training *t) { return (t->main.opt.steps + 3) / 4; }

/* for run.json */
static void note_kept(training *t)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)t->kept);
    json_object_set_new(t->loop->metadata, "kept_step", json_string(text));
}

/* Keeps the EMA while its samples are no more copies than held-out clips are; at the first look that says otherwise it is enough.
 */
static int look_for_copies(training *t, int64_t step)
{
    ft_memorisation m;
    FT_TRY(ft_copy_watch_look(t->watch, &m));
    t->loop->noted[0] = m.copies.value, t->loop->noted[1] = m.coverage.value;
    ft_log("step %lld: %.0f %% of 64 quick samples are copies (held-out real clips: %.0f %% [%.0f, %.0f]), of %.0f %% of the "
           "training "
           "videos",
           (long long)step, 100 * m.copies.value, 100 * m.copies_held_out.value, 100 * m.copies_held_out.low,
           100 * m.copies_held_out.high, 100 * m.coverage.value);
    t->loop->enough = m.copies.value > m.copies_held_out.high;
    if (t->loop->enough) note_kept(t);
    if (t->loop->enough) return FT_OK;
    t->kept = step;
    return save_average(t, "kept", step);
}

static json_t *state_of(void *ctx)
{
    const training *t = ctx;
    json_t *o = json_object();
    char text[120];
    if (!t->watch) return o;
    snprintf(text, sizeof text, "%lld %d %a %a", (long long)t->kept, t->loop->enough, t->loop->noted[0], t->loop->noted[1]);
    json_object_set_new(o, "memorisation", json_string(text));
    return o;
}

static int restore_state(void *ctx, const json_t *extra)
{
    training *t = ctx;
    const char *text = json_string_value(json_object_get(extra, "memorisation"));
    long long kept;
    int enough;
    if (!t->watch) return FT_OK;
    if (!text || sscanf(text, "%lld %d %la %la", &kept, &enough, &t->loop->noted[0], &t->loop->noted[1]) != 4)
        return FT_FAIL(FT_EDATA, "%s: a state without generator.stop. Remove it to begin again", t->dir);
    t->kept = kept, t->loop->enough = enough;
    if (enough) note_kept(t);
    return FT_OK;
}

/* what stands in ema.safetensors of a run that was stopped */
static int use_kept(training *t)
{
    char path[1200], *data;
    size_t size;
    if (!t->loop->enough || ft_this_rank() > 0) return FT_OK;
    if (t->kept == 0)
        return ft_warn("it copied its training clips at the first look already: its last weights count. Look earlier: "
                       "generator.stop_every"),
               FT_OK;
    if (t->kept <= weak_step(t)) { /* the weak ones would be as good, or better */
        snprintf(path, sizeof path, "%s/weak.safetensors", t->dir);
        FT_TRY(ft_remove_file(path));
    }
    snprintf(path, sizeof path, "%s/kept.safetensors", t->dir);
    FT_TRY(ft_read_file(path, 0, &data, &size));
    snprintf(path, sizeof path, "%s/ema.safetensors", t->dir);
    int rc = ft_write_file(path, data, size);
    ft_free(data);
    if (rc == FT_OK) ft_log("the weights of step %lld count, the last before it copied", (long long)t->kept);
    return rc;
}

static int after_step(void *ctx, int64_t done)
{
    training *t = ctx;
    if (done == weak_step(t)) FT_TRY(save_average(t, "weak", done));
    if (t->watch && done % t->main.opt.stop_every == 0) FT_TRY(look_for_copies(t, done));
    return t->sampler && ft_this_rank() == 0 && done % t->sheet_every == 0
               ? ft_sample_sheet(t->sampler, t->dir, done, t->frames, t->size)
               : FT_OK;
}

/* Targets of what the network aligns, from `path`, or computed and written there */
static int targets_of(ft_align *a, const ft_config *cfg, const char *preset, const ft_taps *taps, int64_t frames,
                      const ft_clip_pool *pool, const char *vae_dir, const char *path)
{
    if (taps->n == 0) return FT_FAIL(FT_ECONFIG, "%s has no features to align. Set align.weight: 0", preset);
    ft_t tap = taps->at[0]; /* (B,F,grid,grid,width) */
    return ft_align_new(a, cfg, pool, vae_dir, taps->n, frames, ft_dim(tap, 2), ft_dim(tap, 4), path);
}

int ft_generator_teach(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const char *vae_dir,
                       const char *latents, const char *features)
{
    ft_latents l = {0};
    ft_align a = {0};
    FT_TRY(ft_generator_known(preset));
    FT_TRY(ft_latents_read(&l, cfg, latents, latents));
    ft_params *params = ft_params_new(0);
    ft_graph *g = params ? ft_graph_new(params, FT_F32, FT_GRAPH_NAMES) : NULL;
    int rc = g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    if (rc == FT_OK) {
        ft_told at = {ft_input(g, "t", FT_F32, 1, (int64_t[]){1}), NULL};
        ft_t z = ft_input(g, "z", FT_F32, 5, (int64_t[]){1, l.dim[1], l.dim[2], l.dim[3], l.z});
        ft_prediction net = ft_generator_predict(g, preset, cfg, z, l.dim[1], at); /* for the shape of its taps */
        rc = ft_graph_error(g) ? FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", preset, ft_graph_error(g))
                               : targets_of(&a, cfg, preset, &net.taps, l.dim[1], pool, vae_dir, features);
    }
    ft_align_free(&a);
    ft_graph_free(g);
    ft_params_free(params);
    ft_latents_free(&l);
    return rc;
}

/* The teacher's features, read or computed once, and the phase's loss on them */
static int align_phase(training *t, problem *p, const ft_clip_pool *pool, const char *vae_dir)
{
    char own[1200];
    const char *features = t->features ? t->features : own;
    snprintf(own, sizeof own, "%s/features.safetensors", t->dir);
    if (!t->align.target) FT_TRY(targets_of(&t->align, p->cfg, p->preset, &p->net.taps, p->l->dim[1], pool, vae_dir, features));
    if (t->align.n != p->l->n)
        return FT_FAIL(FT_EDATA, "%s: features of %lld clips, latents of %lld", features, (long long)t->align.n,
                       (long long)p->l->n);
    align_problem(p, &t->align);
    return FT_OK;
}

static int make_phase(training *t, problem *p, const char *preset, ft_dtype dtype, const ft_clip_pool *pool, const char *vae_dir,
                      ft_phase *phase)
{
    const ft_generator_opt *o = &p->opt;
    FT_TRY(problem_new(p, preset, dtype, 3, true));
    if (o->align) FT_TRY(align_phase(t, p, pool, vae_dir));
    ft_optim_opt opt = {.clip = (float)o->clip, .clip_from = o->clip_from, .weight_decay = (float)o->weight_decay};
    return finish_problem(p, opt, phase);
}

static int run_training(training *t, const ft_config *cfg, const char *preset, ft_params *params, const ft_phase phase[2],
                        uint64_t seed, bool resume)
{
    char aligned[300];
    const ft_generator_opt *o = &t->main.opt;
    ft_trainer loop = {.dir = t->dir,
                       .what = preset,
                       .model = preset,
                       .params = params,
                       .first = phase[0],
                       .main = phase[1],
                       .first_steps = t->first_steps,
                       .steps = o->steps,
                       .warmup = o->warmup,
                       .save_every = o->save_every,
                       .tensorboard = o->tensorboard,
                       .ema = o->ema,
                       .ema_cold = o->ema_cold,
                       .seed = seed,
                       .resume = resume,
                       .feed = feed_training,
                       .after = after_step,
                       .extra = state_of,
                       .restore = restore_state,
                       .ctx = t,
                       .n_logged = 2,
                       .logged_name = {"loss", o->flow ? "flow_mse" : "eps_mse"}};
    if (loop.first_steps >= loop.steps)
        return FT_FAIL(FT_ECONFIG, "generator.first_steps is %lld of %lld steps: nothing is left for the second phase",
                       (long long)loop.first_steps, (long long)loop.steps);
    if (t->main.vlb_loss) loop.logged_name[loop.n_logged++] = "vlb";
    if (t->main.align_loss) loop.logged_name[loop.n_logged++] = "align", loop.logged_name[loop.n_logged++] = "align_distance";
    if (t->watch) loop.n_noted = 2, loop.noted_name[0] = "copies", loop.noted_name[1] = "coverage";
    loop.noted[0] = loop.noted[1] = NAN;
    t->loop = &loop;
    ft_align_text(cfg, aligned, sizeof aligned);
    loop.metadata =
        json_pack("{s:s,s:s,s:s,s:s}", "alignment", aligned, "objective", o->objective, "scan", o->scan, "mixer", o->mixer);
    char *classes = t->main.label ? ft_conditions_text(&t->main.told) : NULL;
    if (classes) json_object_set_new(loop.metadata, "classes", json_string(classes));
    int rc = classes || !t->main.label ? ft_train(&loop) : FT_FAIL(FT_ENOMEM, "no memory for classes");
    if (rc == FT_OK) rc = use_kept(t);
    ft_free(classes);
    json_decref(loop.metadata);
    return rc;
}

static int take_conditions(problem *p, const ft_conditions *told, const ft_clip_pool *pool, const char *dir)
{
    if (!told || told->n == 0) return FT_OK;
    if (p->l->n != 2 * pool->n) /* clips and their mirror images, in the pool's order */
        return FT_FAIL(FT_EDATA, "%s: latents of %lld clips, the pool has %lld. Remove them to make them again", dir,
                       (long long)p->l->n / 2, (long long)pool->n);
    p->told = *told;
    return ft_conditions_take(told, pool, dir);
}

/* What only generators of latents know */
static int goes_with_pixels(const ft_config *cfg, const char *preset)
{
    const char *what = ft_config_is(cfg, "generator.stop", "memorisation") ? "generator.stop: none"
                       : ft_config_real(cfg, "align.weight") > 0           ? "align.weight: 0"
                                                                           : NULL;
    if (what) return FT_FAIL(FT_ECONFIG, "%s draws pixels and is not made for that. Set %s", preset, what);
    return ft_gan_unguided(cfg, preset);
}

int ft_generator_train(const ft_config *cfg, const char *preset, const ft_clip_pool *pool, const ft_conditions *told,
                       const ft_held_out *held_out, const char *vae_dir, const char *path, const char *features, const char *dir,
                       uint64_t seed, bool resume)
{
    ft_dtype dtype;
    ft_latents l = {0};
    FT_TRY(ft_generator_known(preset));
    if (ft_generator_find(preset)->gan) {
        FT_TRY(goes_with_pixels(cfg, preset));
        return ft_gan_train(cfg, preset, pool, told, dir, seed, resume);
    }
    FT_TRY(ft_precision(cfg, ft_generator_find(preset)->work, &dtype));
    FT_TRY(ft_latents_read(&l, cfg, path, path));
    ft_generator_opt o = ft_generator_options(cfg, preset);
    training t = {.first_steps = o.first_steps,
                  .sheet_every = o.sheet_every,
                  .dir = dir,
                  .features = features,
                  .frames = pool->store->frames,
                  .size = pool->store->size};
    problem like = {.cfg = cfg, .opt = o, .l = &l, .seed = seed, .params = ft_params_new(seed)};
    ft_phase phase[2] = {{.lr = o.first_lr, .constant = true}, {.lr = o.lr, .constant = o.constant}};
    int rc = like.params ? take_conditions(&like, told, pool, dir) : FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    t.first = t.main = like;
    t.first.batch = o.first_batch, t.main.batch = o.batch;
    t.main.begin = t.first_steps, t.main.base = t.first_steps * t.first.batch;
    if (rc == FT_OK && t.first_steps > 0) rc = make_phase(&t, &t.first, preset, dtype, pool, vae_dir, &phase[0]);
    if (rc == FT_OK) rc = make_phase(&t, &t.main, preset, dtype, pool, vae_dir, &phase[1]);
    if (rc == FT_OK && t.sheet_every > 0)
        rc = ft_generator_sampler_new(&t.sampler, cfg, preset, like.params, NULL, vae_dir, &l, t.frames, t.size,
                                      (ft_sampled_class){like.told.n, -1});
    if (rc == FT_OK && o.stop)
        rc = ft_copy_watch_new(&t.watch, cfg, preset, like.params, vae_dir, &l, path, pool, held_out, like.told.n);
    if (rc == FT_OK) rc = run_training(&t, cfg, preset, like.params, phase, seed, resume);
    ft_copy_watch_free(t.watch);
    ft_generator_sampler_free(t.sampler);
    problem_free(&t.first);
    problem_free(&t.main);
    ft_params_free(like.params);
    ft_align_free(&t.align);
    ft_latents_free(&l);
    return rc;
}

int ft_generator_eps_mse(const ft_config *cfg, const char *preset, const char *path, const char *dir, const char *pool_latents,
                         double *mse)
{
    enum { RUNS = 10, BATCH = 20 };
    ft_dtype dtype;
    ft_latents l;
    ft_class_names classes;
    *mse = NAN;
    FT_TRY(ft_generator_known(preset));
    if (ft_generator_find(preset)->gan) return FT_OK;
    FT_TRY(ft_precision(cfg, ft_generator_find(preset)->work, &dtype));
    FT_TRY(ft_class_names_read(&classes, dir));
    int known = classes.n;
    ft_class_names_free(&classes);
    FT_TRY(ft_latents_read(&l, cfg, path, pool_latents));
    problem p = {.cfg = cfg,
                 .opt = ft_generator_options(cfg, preset),
                 .l = &l,
                 .told.n = known,
                 .batch = BATCH,
                 .params = ft_params_new(0)};
    double sum = 0;
    int rc = p.params ? problem_new(&p, preset, dtype, FT_GRAPH_GENERATOR_SCORE, false)
                      : FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    if (rc == FT_OK) rc = ft_generator_load(p.params, dir);
    if (rc == FT_OK) rc = ft_plan_new(&p.plan, p.g, FT_EMA);
    for (int i = 0; rc == FT_OK && i < RUNS; i++) { /* t is spread evenly, one from each of 200 strata */
        ft_step s = {17, i, 0, 0, 0};
        ft_rng r = ft_rng_make(17, FT_STREAM_TIMES, (uint64_t)i);
        for (int64_t b = 0; b < BATCH; b++) {
            double part = ((double)(i * BATCH + b) + (p.opt.flow ? 0.5 : 0)) / (RUNS * BATCH);
            feed_clip(&p, b, (i * BATCH + b) % clips(&p), &r);
            if (p.label) ft_label_row(p.label, b, -1);
            feed_time(&p, b, p.opt.flow ? part : floor(part * FT_T + 0.5));
        }
        rc = ft_run(p.plan, &s);
        if (rc == FT_OK) sum += (double)*(const float *)ft_data(p.error);
    }
    *mse = sum / RUNS;
    problem_free(&p);
    ft_params_free(p.params);
    ft_latents_free(&l);
    return rc;
}
