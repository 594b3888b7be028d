#include "gen/vae_train.h"

#include <fftw3.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
#include "gen/vae_loss.h"

int ft_vae_of(const ft_config *cfg, int frames, int size, ft_vae_preset *p)
{
    const char *name = ft_config_text(cfg, "vae.model"), *fc = ft_config_text(cfg, "vae.frequency_compensation");
    if (!ft_vae_find(name))
        return FT_FAIL(FT_ECONFIG, "%s: vae.model %s is not known. `forty models` lists the presets",
                       ft_config_origin(cfg, "vae.model"), name);
    *p = *ft_vae_find(name);
    if (strcmp(fc, "preset")) p->fc = !strcmp(fc, "clean") ? FT_FC_CLEAN : !strcmp(fc, "released") ? FT_FC_RELEASED : FT_FC_NONE;
    int space = ft_vae_space_factor(p) * 2; /* 2: the networks' patch */
    if (ft_vae_decoded_frames(p, ft_vae_latent_frames(p, frames)) != frames || size % space)
        return FT_FAIL(
            FT_ECONFIG,
            "clips of %d frames and %d pixels do not fit %s: pixels a multiple of %d, frames 1, a multiple of %d, or one more",
            frames, size, name, space, p->chunk ? p->chunk : 2 * ft_vae_time_factor(p));
    return FT_OK;
}

/* ---- settings ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *weights; /* to start from; "": none */
    int64_t steps, batch, parts, save_every, gan_from;
    double lr, ema, gan_lr, kl, ffl, perceptual, equivariance, gan; /* the last five: weights of the losses */
    const char *judge, *judge_weights;
    int64_t judge_size, judge_frames;
    const char *const *only; /* names of what is trained; none: everything */
    int n_only;
    bool tensorboard;
} vae_opt;

static vae_opt vae_options(const ft_config *cfg)
{
    vae_opt o = {.weights = ft_config_text(cfg, "vae.weights"),
                 .steps = ft_config_int(cfg, "vae.steps"),
                 .batch = ft_config_int(cfg, "vae.batch"),
                 .parts = ft_config_int(cfg, "vae.accumulate"),
                 .save_every = ft_config_int(cfg, "save_every"),
                 .gan_from = ft_config_int(cfg, "vae.gan_from"),
                 .lr = ft_config_real(cfg, "vae.lr"),
                 .ema = ft_config_real(cfg, "vae.ema"),
                 .gan_lr = ft_config_real(cfg, "vae.gan_lr"),
                 .kl = ft_config_real(cfg, "vae.kl"),
                 .ffl = ft_config_real(cfg, "vae.ffl"),
                 .perceptual = ft_config_real(cfg, "vae.perceptual"),
                 .equivariance = ft_config_real(cfg, "vae.equivariance"),
                 .gan = ft_config_real(cfg, "vae.gan"),
                 .judge = ft_config_text(cfg, "vae.perceptual_model"),
                 .judge_weights = ft_config_text(cfg, "vae.perceptual_weights"),
                 .judge_size = ft_config_int(cfg, "vae.perceptual_size"),
                 .judge_frames = ft_config_int(cfg, "vae.perceptual_frames"),
                 .tensorboard = ft_config_bool(cfg, "log.tensorboard")};
    o.n_only = ft_config_list(cfg, "vae.train_only", &o.only);
    return o;
}

/* ---- training ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    const ft_clip_pool *pool;
    ft_t x, gan_on, output; /* output (B,F,S,S,3) */
    int64_t batch;
    uint64_t seed;
    /* the discriminator, trained beside the VAE on the step's clips and what became of them */
    ft_params *critic;
    ft_graph *critic_graph;
    ft_plan *critic_plan;
    double critic_lr;
    int64_t critic_from;
} vae_feed;

static int feed_vae(void *ctx, int64_t step)
{
    vae_feed *f = ctx;
    const ft_clipstore *s = f->pool->store;
    int64_t each = ft_clip_bytes(s);
    int64_t first = ft_first_sample(step, f->batch);
    for (int64_t b = 0; b < f->batch; b++) {
        ft_rng r = ft_rng_make(f->seed, FT_STREAM_VAE_FLIP, (uint64_t)(first + b));
        int64_t k = ft_shuffled(f->seed, FT_STREAM_VAE_ORDER, f->pool->n, first + b);
        ft_to_unit((float *)ft_data(f->x) + b * each, ft_clip_pixels(s, f->pool->clip[k]), (int64_t)s->frames * s->size, s->size,
                   ft_rng_bits(&r) & 1);
    }
    if (f->gan_on) *(float *)ft_data(f->gan_on) = step >= f->critic_from;
    return FT_OK;
}

static int train_critic(void *ctx, int64_t done)
{
    vae_feed *f = ctx;
    if (!f->critic_plan || done - 1 < f->critic_from) return FT_OK;
    return ft_run(f->critic_plan, &(ft_step){f->seed, done - 1 - f->critic_from, (float)f->critic_lr, 0, ft_this_rank()});
}

static int make_critic(vae_feed *f, ft_dtype dtype)
{
    ft_graph *g = f->critic_graph = ft_graph_new(f->critic, dtype, FT_GRAPH_CRITIC);
    if (!g) return FT_FAIL(FT_ENOMEM, "no memory for the discriminator");
    ft_backward(g, ft_patchgan_loss(g, ft_input_at(g, f->x), ft_input_at(g, f->output)));
    ft_optimise(g, (ft_optim_opt){.beta1 = 0.5f, .beta2 = 0.9f, .no_ema = true});
    return ft_plan_new(&f->critic_plan, g, FT_WEIGHTS);
}

/* The perceptual judge, where its weights are there. */
static int load_judge(const ft_config *cfg, const char *weights, ft_vae_loss_opt *opt)
{
    const char *name = opt->judge;
    if (opt->perceptual > 0 && !*weights) {
        ft_warn("vae.perceptual is %g, but vae.perceptual_weights names no file: the perceptual term is left out",
                opt->perceptual);
        opt->perceptual = 0;
    }
    if (!(opt->perceptual > 0)) return FT_OK;
    if (!ft_perceptual_known(name))
        return FT_FAIL(FT_ECONFIG,
                       "%s: vae.perceptual_model %s is not known: lpips-vgg, lpips-alex, dinov2-s14 ... (`forty models`)",
                       ft_config_origin(cfg, "vae.perceptual_model"), name);
    if (!(opt->judge_params = ft_params_new(0))) return FT_FAIL(FT_ENOMEM, "no memory for %s", name);
    FT_TRY(ft_params_train_only(opt->judge_params, 0, NULL));
    ft_graph *g = ft_graph_new(opt->judge_params, FT_F32, FT_GRAPH_NAMES); /* names its weights, so that the file can be read */
    if (!g) return FT_FAIL(FT_ENOMEM, "no memory for %s", name);
    ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){1, 1, 64, 64, 3});
    ft_perceptual(g, name, x, x, opt->judge_size);
    ft_graph_free(g);
    return ft_weights_load(weights, opt->judge_params, FT_WEIGHTS, NULL);
}

enum { VAE_LOGGED = 8 };

/* The losses of a batch, in parts; the first of `sum` is the total, which is learned from if `learns` */
static void add_losses(ft_graph *g, const ft_vae_preset *p, vae_feed *feed, const ft_vae_loss_opt *opt, int64_t parts,
                       bool learns, ft_t sum[VAE_LOGGED])
{
    ft_t output[64];
    for (int64_t k = 0; k < parts; k++) {
        ft_vae_loss_terms l = ft_vae_loss(g, p, ft_slice(g, feed->x, 0, k * feed->batch / parts, feed->batch / parts), opt);
        const ft_t here[VAE_LOGGED] = {l.total, l.l1, l.kl, l.ffl, l.perceptual, l.equivariance, l.gan, l.gan_weight};
        ft_t share[VAE_LOGGED];
        for (int i = 0; i < VAE_LOGGED; i++)
            if (here[i]) share[i] = ft_add_part(g, &sum[i], here[i], parts);
        output[k] = l.output;
        if (learns) ft_backward(g, share[0]);
    }
    for (int i = 0; i < VAE_LOGGED; i++)
        if (sum[i]) ft_keep(sum[i]);
    if (feed->critic) ft_lend(feed->output = ft_join(g, 0, (int)parts, output));
}

int ft_vae_train(const ft_config *cfg, const ft_clip_pool *pool, const char *dir, uint64_t seed, bool resume)
{
    ft_dtype dtype;
    ft_vae_preset p;
    const ft_clipstore *s = pool->store;
    vae_opt o = vae_options(cfg);
    FT_TRY(ft_vae_of(cfg, s->frames, s->size, &p));
    FT_TRY(ft_precision(cfg, FT_WORK_CONVOLUTIONS, &dtype));
    vae_feed feed = {.pool = pool, .batch = o.batch, .seed = seed, .critic_lr = o.gan_lr, .critic_from = o.gan_from};
    ft_vae_loss_opt opt = {.kl = o.kl,
                           .ffl = o.ffl,
                           .perceptual = o.perceptual,
                           .equivariance = o.equivariance,
                           .gan = o.gan,
                           .judge = o.judge,
                           .judge_size = o.judge_size,
                           .judge_frames = o.judge_frames};
    ft_params *params = ft_params_new(seed);
    ft_graph *g = params ? ft_graph_new(params, dtype, FT_GRAPH_ALONE) : NULL;
    ft_plan *plan = NULL;
    int rc = FT_OK;
    bool as_is = o.steps == 0;
    FT_TRY_TO(rc, done, ft_batch_parts(o.parts, feed.batch, cfg, "vae.accumulate"));
    if (!g) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for the VAE"));
    if (as_is && !*o.weights)
        FT_TRY_TO(rc, done, FT_FAIL(FT_ECONFIG, "vae.steps is 0: vae.weights, a file of trained weights, is needed then"));
    if (as_is) opt = (ft_vae_loss_opt){0}, o.n_only = 0;
    if (o.n_only > 0 || as_is) FT_TRY_TO(rc, done, ft_params_train_only(params, o.n_only, o.only));
    FT_TRY_TO(rc, done, load_judge(cfg, o.judge_weights, &opt));
    if (opt.gan > 0 && !(opt.critic = feed.critic = ft_params_new(seed + 1)))
        FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for the discriminator"));
    if (feed.critic) ft_params_no_average(feed.critic);
    feed.x = ft_input(g, "x", FT_F32, 5, (int64_t[]){feed.batch, s->frames, s->size, s->size, 3});
    if (feed.critic) opt.gan_on = feed.gan_on = ft_input(g, "gan_on", FT_F32, 1, (int64_t[]){1});
    ft_t norm = NULL, sum[VAE_LOGGED] = {0};
    add_losses(g, &p, &feed, &opt, o.parts, !as_is, sum);
    if (!as_is) {
        norm = ft_optimise(g, (ft_optim_opt){.beta2 = 0.99f, .clip = 1.0f});
        FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    }
    if (feed.critic) FT_TRY_TO(rc, done, make_critic(&feed, dtype));
    if (*o.weights) FT_TRY_TO(rc, done, ft_weights_load_some(o.weights, params));
    ft_trainer t = {.dir = dir,
                    .what = "VAE",
                    .model = p.name,
                    .params = params,
                    .companion = feed.critic,
                    .main = {.plan = plan, .lr = o.lr, .grad_norm = norm},
                    .steps = o.steps,
                    .warmup = 20,
                    .save_every = o.save_every,
                    .tensorboard = o.tensorboard,
                    .ema = o.ema,
                    .seed = seed,
                    .resume = resume,
                    .feed = feed_vae,
                    .after = train_critic,
                    .ctx = &feed};
    static const char *const names[VAE_LOGGED] = {"loss", "l1", "kl", "ffl", "perceptual", "equivariance", "gan", "gan_weight"};
    for (int i = 0; i < VAE_LOGGED; i++)
        if (sum[i]) t.logged_name[t.n_logged] = names[i], t.main.logged[t.n_logged++] = sum[i];
    rc = ft_train(&t);
done:
    ft_plan_free(feed.critic_plan);
    ft_graph_free(feed.critic_graph);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_params_free(feed.critic);
    ft_params_free(opt.judge_params);
    return rc;
}

/* ---- a trained one ------------------------------------------------------------------------------------------------------ */

void ft_vae_runner_free(ft_vae_runner *r)
{
    ft_plan_free(r->plan);
    ft_graph_free(r->g);
    ft_params_free(r->params);
    memset(r, 0, sizeof *r);
}

int ft_vae_runner_new(ft_vae_runner *r, const ft_config *cfg, const char *dir, ft_vae_part what, int64_t batch, int frames,
                      int size)
{
    ft_dtype dtype;
    ft_vae_preset p;
    char path[1200];
    memset(r, 0, sizeof *r);
    FT_TRY(ft_vae_of(cfg, what == FT_VAE_ENCODE ? 1 : frames, size, &p)); /* any number of frames can be encoded */
    FT_TRY(ft_precision(cfg, FT_WORK_CONVOLUTIONS, &dtype));
    int64_t s = size / ft_vae_space_factor(&p), f = ft_vae_latent_frames(&p, frames);
    r->params = ft_params_new(0);
    ft_graph *whole = NULL;
    int rc = r->params ? ft_params_train_only(r->params, 0, NULL) : FT_FAIL(FT_ENOMEM, "no memory for the VAE");
    if (rc == FT_OK && (!(whole = ft_graph_new(r->params, dtype, FT_GRAPH_VAE_CODE)) ||
                        !(r->g = ft_graph_new(r->params, dtype, FT_GRAPH_VAE_CODE))))
        rc = FT_FAIL(FT_ENOMEM, "no memory for the VAE");
    FT_TRY_TO(rc, done, rc);
    /* one graph names every parameter, so that the file must fit; the other is run */
    ft_vae_encode(whole, &p, ft_input(whole, "x", FT_F32, 5, (int64_t[]){1, frames, size, size, 3}));
    ft_vae_decode(whole, &p, ft_input(whole, "z", FT_F32, 5, (int64_t[]){1, f, s, s, p.latent}));
    ft_training(r->g, false);
    if (what == FT_VAE_DECODE) r->in = ft_input(r->g, "z", FT_F32, 5, (int64_t[]){batch, f, s, s, p.latent});
    else r->in = ft_input(r->g, "x", FT_F32, 5, (int64_t[]){batch, frames, size, size, 3});
    r->out = what == FT_VAE_DECODE ? r->in : ft_vae_encode(r->g, &p, r->in);
    if (what == FT_VAE_REBUILD) r->out = ft_slice(r->g, r->out, 4, 0, p.latent);
    if (what != FT_VAE_ENCODE) r->out = ft_cast(r->g, ft_vae_decode(r->g, &p, r->out), FT_F32);
    ft_keep(r->out);
    if (ft_graph_error(r->g)) FT_TRY_TO(rc, done, FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", p.name, ft_graph_error(r->g)));
    snprintf(path, sizeof path, "%s/ema.safetensors", dir);
    rc = ft_weights_load(path, r->params, FT_EMA, NULL);
    if (rc == FT_OK) rc = ft_plan_new(&r->plan, r->g, FT_EMA);
done:
    ft_graph_free(whole);
    if (rc < 0) ft_vae_runner_free(r);
    return rc;
}

/* squared error of each frame's and colour's spectrum (ortho), summed by thirds of the largest frequency */
static void bands(const float *a, const float *b, int64_t frames, int size, double band[3], float *plane, fftwf_complex *spectrum,
                  fftwf_plan fft)
{
    for (int64_t f = 0; f < frames * 3; f++) {
        const float *x = a + f / 3 * size * size * 3 + f % 3, *y = b + f / 3 * size * size * 3 + f % 3;
        for (int64_t i = 0; i < (int64_t)size * size; i++) plane[i] = x[3 * i] - y[3 * i];
        fftwf_execute(fft);
        for (int v = 0; v < size; v++)
            for (int u = 0; u <= size / 2; u++) {
                double fy = v <= size / 2 ? v : size - v, radius = sqrt(fy * fy + (double)u * u) / (size / 2);
                const float *c = spectrum[(int64_t)v * (size / 2 + 1) + u];
                double e = ((double)c[0] * (double)c[0] + (double)c[1] * (double)c[1]) * (u == 0 || 2 * u == size ? 1 : 2);
                band[radius < 1.0 / 3 ? 0 : radius < 2.0 / 3 ? 1 : 2] += e / ((double)size * size);
            }
    }
}

int ft_vae_evaluate(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, ft_vae_score *score)
{
    enum { BATCH = 4 };
    const ft_clipstore *s = pool->store;
    ft_vae_runner r;
    memset(score, 0, sizeof *score);
    FT_TRY(ft_vae_runner_new(&r, cfg, vae_dir, FT_VAE_REBUILD, BATCH, s->frames, s->size));
    int64_t each = ft_clip_bytes(s), pixels = (int64_t)s->size * s->size;
    uint8_t *out = ft_alloc((size_t)each);
    float *plane = fftwf_malloc((size_t)pixels * sizeof *plane);
    fftwf_complex *spectrum = fftwf_malloc((size_t)s->size * (size_t)(s->size / 2 + 1) * sizeof *spectrum);
    fftwf_plan fft = plane && spectrum ? fftwf_plan_dft_r2c_2d(s->size, s->size, plane, spectrum, FFTW_ESTIMATE) : NULL;
    int rc = out && fft ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a clip");
    for (int64_t at = 0; rc == FT_OK && at < pool->n; at += BATCH) {
        int64_t n = pool->n - at < BATCH ? pool->n - at : BATCH;
        for (int64_t b = 0; b < n; b++)
            ft_to_unit((float *)ft_data(r.in) + b * each, ft_clip_pixels(s, pool->clip[at + b]), (int64_t)s->frames * s->size,
                       s->size, false);
        rc = ft_run(r.plan, &(ft_step){0});
        for (int64_t b = 0; rc == FT_OK && b < n; b++) {
            const uint8_t *real = ft_clip_pixels(s, pool->clip[at + b]);
            const float *rebuilt = (const float *)ft_data(r.out) + b * each;
            double se = 0;
            ft_to_pixels(out, rebuilt, each);
            for (int64_t i = 0; i < each; i++) se += ((double)out[i] - (double)real[i]) * ((double)out[i] - (double)real[i]);
            score->psnr += 10 * log10(255.0 * 255.0 / fmax(se / (double)each, 1e-9)) / (double)pool->n;
            double band[3] = {0};
            bands(rebuilt, (const float *)ft_data(r.in) + b * each, s->frames, s->size, band, plane, spectrum, fft);
            for (int k = 0; k < 3; k++) score->band[k] += band[k] / (double)each / (double)pool->n;
        }
    }
    if (fft) fftwf_destroy_plan(fft);
    fftwf_free(plane);
    fftwf_free(spectrum);
    ft_free(out);
    ft_vae_runner_free(&r);
    return rc;
}
