#include "gen/generator.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/io/safetensors.h"
#include "common/io/weights.h"
#include "common/train/train_loop.h"
#include "gen/diffusion.h"
#include "gen/medsora.h"

/* ---- the table --------------------------------------------------------------------------------------------------------- */

static const char *medsora_preset(int i) { return ft_medsora_at(i) ? ft_medsora_at(i)->name : NULL; }

static ft_t medsora_network(ft_graph *g, const char *preset, const ft_config *cfg, ft_t z, ft_t t)
{
    ft_medsora_preset p = *ft_medsora_find(preset);
    p.released_scan = !strcmp(ft_config_text(cfg, "generator.scan"), "released");
    return ft_slice(g, ft_medsora(g, &p, z, t), 4, 0, ft_dim(z, 4)); /* the second half is the variance logit */
}

static const ft_generator families[] = {
    {"medsora", medsora_preset, medsora_network},
};

const ft_generator *ft_generator_at(int i) { return i < (int)(sizeof families / sizeof *families) ? &families[i] : NULL; }

const ft_generator *ft_generator_find(const char *preset)
{
    for (int i = 0; ft_generator_at(i); i++)
        for (int k = 0; families[i].preset(k); k++)
            if (!strcmp(families[i].preset(k), preset)) return &families[i];
    return NULL;
}

/* ---- shared ------------------------------------------------------------------------------------------------------------- */

int ft_precision(const ft_config *cfg, ft_dtype *dtype)
{
    const char *p = ft_config_text(cfg, "precision");
    *dtype = !strcmp(p, "bf16") || (!strcmp(p, "auto") && ft_cpu_fast_bf16()) ? FT_BF16 : FT_F32;
    if (*dtype == FT_BF16 && !ft_cpu_has_bf16())
        return FT_FAIL(FT_EDEVICE, "precision bf16 needs a processor with AVX-512. Use --precision f32");
    return FT_OK;
}

const ft_vae_preset *ft_vae_of(const ft_config *cfg, int frames, int size)
{
    const char *name = ft_config_text(cfg, "vae.model");
    const ft_vae_preset *p = ft_vae_find(name);
    if (!p) {
        ft_fail(FT_ECONFIG, __FILE__, __LINE__, "%s: vae.model %s is not known. `forty models` lists the presets",
                ft_config_origin(cfg, "vae.model"), name);
        return NULL;
    }
    int ft = ft_vae_time_factor(p), fs = ft_vae_space_factor(p) * 2; /* 2: the networks' patch */
    if (frames % ft || size % fs) {
        ft_fail(FT_ECONFIG, __FILE__, __LINE__,
                "clips of %d frames and %d pixels do not fit %s: frames a multiple of %d, pixels of %d", frames, size, name, ft,
                fs);
        return NULL;
    }
    return p;
}

static void to_unit(float *dst, const uint8_t *src, int64_t rows, int size, bool mirror)
{
    for (int64_t r = 0; r < rows; r++)
        for (int x = 0; x < size; x++) {
            const uint8_t *p = src + (r * size + (mirror ? size - 1 - x : x)) * 3;
            for (int k = 0; k < 3; k++) *dst++ = (float)p[k] * (1.0f / 127.5f) - 1.0f;
        }
}

static void to_pixels(uint8_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = (src[i] + 1.0f) * 127.5f + 0.5f;
        dst[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

/* ---- VAE ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const ft_clip_pool *pool;
    ft_t x;
    int64_t batch;
    uint64_t seed;
} vae_feed;

static int feed_vae(void *ctx, int64_t step)
{
    vae_feed *f = ctx;
    const ft_clipstore *s = f->pool->store;
    int64_t each = ft_clip_bytes(s);
    ft_rng r = ft_rng_make(f->seed, 0x0F11, (uint64_t)step);
    for (int64_t b = 0; b < f->batch; b++) {
        int64_t k = ft_shuffled(f->seed, 0x7AE, f->pool->n, step * f->batch + b);
        to_unit((float *)ft_data(f->x) + b * each, ft_clip_pixels(s, f->pool->clip[k]), (int64_t)s->frames * s->size, s->size,
                ft_rng_bits(&r) & 1);
    }
    return FT_OK;
}

static ft_t clip_input(ft_graph *g, int64_t batch, const ft_clipstore *s)
{
    return ft_input(g, "x", FT_F32, 5, (int64_t[]){batch, s->frames, s->size, s->size, 3});
}

int ft_vae_train(const ft_config *cfg, const ft_clip_pool *pool, const char *dir, uint64_t seed, bool resume)
{
    ft_dtype dtype;
    const ft_vae_preset *p = ft_vae_of(cfg, pool->store->frames, pool->store->size);
    if (!p) return FT_ECONFIG;
    FT_TRY(ft_precision(cfg, &dtype));
    vae_feed feed = {pool, NULL, ft_config_int(cfg, "vae.batch"), seed};
    ft_params *params = ft_params_new(seed);
    ft_graph *g = params ? ft_graph_new(params, dtype, 1) : NULL;
    ft_plan *plan = NULL;
    int rc = g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for the VAE");
    if (rc < 0) goto done;
    feed.x = clip_input(g, feed.batch, pool->store);
    ft_vae_loss_terms l = ft_vae_loss(g, p, feed.x, ft_config_real(cfg, "vae.kl"), ft_config_real(cfg, "vae.ffl"));
    ft_backward(g, l.total);
    ft_t norm = ft_optimise(g, (ft_optim_opt){.beta2 = 0.99f, .clip = 1.0f});
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    ft_trainer t = {.dir = dir,
                    .what = "VAE",
                    .model = p->name,
                    .params = params,
                    .plan = plan,
                    .steps = ft_config_int(cfg, "vae.steps"),
                    .warmup = 20,
                    .save_every = ft_config_int(cfg, "save_every"),
                    .lr = ft_config_real(cfg, "vae.lr"),
                    .ema = ft_config_real(cfg, "vae.ema"),
                    .seed = seed,
                    .resume = resume,
                    .feed = feed_vae,
                    .ctx = &feed,
                    .n_logged = 4,
                    .logged_name = {"loss", "l1", "kl", "ffl"},
                    .logged = {l.total, l.l1, l.kl, l.ffl},
                    .grad_norm = norm};
    rc = ft_train(&t);
done:
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    return rc;
}

static int load_ema(ft_params *params, const char *dir)
{
    char path[1100];
    snprintf(path, sizeof path, "%s/ema.safetensors", dir);
    return ft_weights_load(path, params, FT_EMA, NULL);
}

/* An encoder or decoder with trained EMA weights, run batch by batch. */
typedef struct {
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t in, out;
} runner;

static void runner_free(runner *r)
{
    ft_plan_free(r->plan);
    ft_graph_free(r->g);
    ft_params_free(r->params);
    memset(r, 0, sizeof *r);
}

enum { ENCODE, DECODE, REBUILD };

static int vae_runner(runner *r, const ft_config *cfg, const char *dir, int what, int64_t batch, int frames, int size)
{
    ft_dtype dtype;
    memset(r, 0, sizeof *r);
    const ft_vae_preset *p = ft_vae_of(cfg, frames, size);
    if (!p) return FT_ECONFIG;
    FT_TRY(ft_precision(cfg, &dtype));
    int64_t s = size / ft_vae_space_factor(p), f = frames / ft_vae_time_factor(p);
    r->params = ft_params_new(0);
    ft_graph *whole = r->params ? ft_graph_new(r->params, dtype, 2) : NULL; /* names every parameter, so that the file must fit */
    if (!whole || !(r->g = ft_graph_new(r->params, dtype, 2))) {
        ft_graph_free(whole);
        runner_free(r);
        return FT_FAIL(FT_ENOMEM, "no memory for the VAE");
    }
    ft_t x = ft_input(whole, "x", FT_F32, 5, (int64_t[]){1, frames, size, size, 3}),
         z = ft_input(whole, "z", FT_F32, 5, (int64_t[]){1, f, s, s, p->latent});
    ft_vae_encode(whole, p, x);
    ft_vae_decode(whole, p, z);
    ft_graph_free(whole);
    ft_training(r->g, false);
    if (what == DECODE) r->in = ft_input(r->g, "z", FT_F32, 5, (int64_t[]){batch, f, s, s, p->latent});
    else r->in = ft_input(r->g, "x", FT_F32, 5, (int64_t[]){batch, frames, size, size, 3});
    r->out = what == DECODE ? r->in : ft_vae_encode(r->g, p, r->in);
    if (what == REBUILD) r->out = ft_slice(r->g, r->out, 4, 0, p->latent);
    if (what != ENCODE) r->out = ft_cast(r->g, ft_vae_decode(r->g, p, r->out), FT_F32);
    ft_keep(r->out);
    int rc = load_ema(r->params, dir);
    if (rc == FT_OK) rc = ft_plan_new(&r->plan, r->g, FT_EMA);
    if (rc < 0) runner_free(r);
    return rc;
}

static const ft_step still = {0, 0, 0, 0};
enum { VAE_BATCH = 4 };

int ft_vae_encode_pool(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, const char *path)
{
    const ft_clipstore *s = pool->store;
    runner r;
    FT_TRY(vae_runner(&r, cfg, vae_dir, ENCODE, VAE_BATCH, s->frames, s->size));
    int64_t each = ft_count(r.out) / VAE_BATCH, z = ft_dim(r.out, 4) / 2, half = each / 2, total = 2 * pool->n,
            dim[5] = {total, ft_dim(r.out, 1), ft_dim(r.out, 2), ft_dim(r.out, 3), z};
    float *mean = ft_alloc((size_t)(total * half) * sizeof *mean), *logvar = ft_alloc((size_t)(total * half) * sizeof *logvar),
          *stat = ft_alloc((size_t)(2 * z) * sizeof *stat);
    int rc = mean && logvar && stat ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %lld latent clips", (long long)total);
    for (int64_t at = 0; rc == FT_OK && at < total; at += VAE_BATCH) {
        int64_t n = total - at < VAE_BATCH ? total - at : VAE_BATCH;
        for (int64_t b = 0; b < n; b++)
            to_unit((float *)ft_data(r.in) + b * ft_clip_bytes(s), ft_clip_pixels(s, pool->clip[(at + b) % pool->n]),
                    (int64_t)s->frames * s->size, s->size, at + b >= pool->n);
        FT_TRY_TO(rc, done, ft_run(r.plan, &still));
        const float *out = ft_data(r.out);
        for (int64_t i = 0; i < n * each; i++) {
            int64_t k = i % (2 * z), to = at * half + i / (2 * z) * z + k % z;
            (k < z ? mean : logvar)[to] = out[i];
        }
    }
    for (int64_t k = 0; rc == FT_OK && k < z; k++) { /* of samples: variance of the means plus mean of the variances */
        double s1 = 0, s2 = 0, n = (double)(total * half / z);
        for (int64_t i = k; i < total * half; i += z)
            s1 += (double)mean[i], s2 += (double)mean[i] * (double)mean[i] + exp((double)logvar[i]);
        stat[k] = (float)(s1 / n);
        stat[z + k] = (float)sqrt(fmax(s2 / n - s1 / n * (s1 / n), 1e-12));
    }
    if (rc == FT_OK) {
        ft_st_tensor t[3] = {
            {.name = "mean", .dtype = "F32", .ndim = 5, .data = mean, .bytes = (size_t)(total * half) * 4},
            {.name = "logvar", .dtype = "F32", .ndim = 5, .data = logvar, .bytes = (size_t)(total * half) * 4},
            {.name = "channel", .dtype = "F32", .ndim = 2, .dim = {2, z}, .data = stat, .bytes = (size_t)(2 * z) * 4}};
        memcpy(t[0].dim, dim, sizeof dim);
        memcpy(t[1].dim, dim, sizeof dim);
        rc = ft_safetensors_write(path, t, 3, NULL);
    }
done:
    ft_free(mean);
    ft_free(logvar);
    ft_free(stat);
    runner_free(&r);
    return rc;
}

int ft_vae_psnr(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, double *psnr)
{
    const ft_clipstore *s = pool->store;
    runner r;
    FT_TRY(vae_runner(&r, cfg, vae_dir, REBUILD, VAE_BATCH, s->frames, s->size));
    int64_t each = ft_clip_bytes(s);
    uint8_t *out = ft_alloc((size_t)each);
    int rc = out ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a clip");
    double sum = 0;
    for (int64_t at = 0; rc == FT_OK && at < pool->n; at += VAE_BATCH) {
        int64_t n = pool->n - at < VAE_BATCH ? pool->n - at : VAE_BATCH;
        for (int64_t b = 0; b < n; b++)
            to_unit((float *)ft_data(r.in) + b * each, ft_clip_pixels(s, pool->clip[at + b]), (int64_t)s->frames * s->size,
                    s->size, false);
        FT_TRY_TO(rc, done, ft_run(r.plan, &still));
        for (int64_t b = 0; b < n; b++) {
            const uint8_t *real = ft_clip_pixels(s, pool->clip[at + b]);
            double se = 0;
            to_pixels(out, (const float *)ft_data(r.out) + b * each, each);
            for (int64_t i = 0; i < each; i++) se += ((double)out[i] - (double)real[i]) * ((double)out[i] - (double)real[i]);
            sum += 10 * log10(255.0 * 255.0 / fmax(se / (double)each, 1e-9));
        }
    }
    *psnr = pool->n ? sum / (double)pool->n : 0;
done:
    ft_free(out);
    runner_free(&r);
    return rc;
}

/* ---- diffusion ------------------------------------------------------------------------------------------------------------ */

typedef struct {
    int64_t n, each, dim[5], z; /* n latent clips of `each` values */
    float *mean, *std;          /* normalised by the pool's channel statistics */
    float *channel;             /* (2, z): mean and std */
} latents;

static void latents_free(latents *l)
{
    ft_free(l->mean);
    ft_free(l->std);
    ft_free(l->channel);
}

/* Latents of `path`, normalised with the channel statistics of `stats` (the training pool's file). */
static int latents_read(latents *l, const char *path, const char *stats)
{
    ft_safetensors st = {0}, ref = {0};
    memset(l, 0, sizeof *l);
    FT_TRY(ft_safetensors_read(&ref, stats));
    int rc = ft_safetensors_read(&st, path);
    if (rc < 0) {
        ft_safetensors_free(&ref);
        return rc;
    }
    const ft_st_tensor *m = ft_safetensors_find(&st, "mean"), *v = ft_safetensors_find(&st, "logvar"),
                       *c = ft_safetensors_find(&ref, "channel");
    if (!m || !v || !c || m->ndim != 5 || m->count != v->count || c->count != 2 * m->dim[4] || m->count == 0) {
        rc = FT_FAIL(FT_EDATA, "%s: not a file of latents. Remove it to make it again", path);
    } else {
        l->n = m->dim[0], l->z = m->dim[4], l->each = m->count / l->n;
        memcpy(l->dim, m->dim, sizeof l->dim);
        l->mean = ft_alloc((size_t)m->count * 4);
        l->std = ft_alloc((size_t)m->count * 4);
        l->channel = ft_alloc((size_t)c->count * 4);
        if (!l->mean || !l->std || !l->channel) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
        if (rc == FT_OK) rc = ft_safetensors_f32(m, l->mean);
        if (rc == FT_OK) rc = ft_safetensors_f32(v, l->std);
        if (rc == FT_OK) rc = ft_safetensors_f32(c, l->channel);
        for (int64_t i = 0; rc == FT_OK && i < m->count; i++) {
            float mu = l->channel[i % l->z], sd = l->channel[l->z + i % l->z];
            l->mean[i] = (l->mean[i] - mu) / sd;
            l->std[i] = expf(0.5f * l->std[i]) / sd;
        }
    }
    ft_safetensors_free(&st);
    ft_safetensors_free(&ref);
    if (rc < 0) latents_free(l);
    return rc;
}

typedef struct {
    latents l;
    ft_t mean, std, t, mix; /* mix (B,2): sqrt(alpha_bar), sqrt(1 - alpha_bar) */
    int64_t batch;
    uint64_t seed;
} diffusion_feed;

static void feed_times(diffusion_feed *f, int64_t b, int t)
{
    ((float *)ft_data(f->t))[b] = (float)t;
    ((float *)ft_data(f->mix))[2 * b] = (float)sqrt(ft_alpha_bar()[t]);
    ((float *)ft_data(f->mix))[2 * b + 1] = (float)sqrt(1 - ft_alpha_bar()[t]);
}

static void feed_clip(diffusion_feed *f, int64_t b, int64_t k)
{
    memcpy((float *)ft_data(f->mean) + b * f->l.each, f->l.mean + k * f->l.each, (size_t)f->l.each * 4);
    memcpy((float *)ft_data(f->std) + b * f->l.each, f->l.std + k * f->l.each, (size_t)f->l.each * 4);
}

static int feed_diffusion(void *ctx, int64_t step)
{
    diffusion_feed *f = ctx;
    ft_rng r = ft_rng_make(f->seed, 0x7133, (uint64_t)step);
    for (int64_t b = 0; b < f->batch; b++) {
        feed_clip(f, b, ft_shuffled(f->seed, 0x1A7, f->l.n, step * f->batch + b));
        feed_times(f, b, (int)ft_rng_below(&r, FT_T));
    }
    return FT_OK;
}

/* The noise prediction problem: z0 ~ posterior, z_t = sqrt(ab) z0 + sqrt(1-ab) eps, loss = mean (eps - network)^2 */
static ft_t diffusion_loss(ft_graph *g, diffusion_feed *f, const char *preset, const ft_config *cfg)
{
    int64_t dim[5] = {f->batch, f->l.dim[1], f->l.dim[2], f->l.dim[3], f->l.z};
    f->mean = ft_input(g, "mean", FT_F32, 5, dim);
    f->std = ft_input(g, "std", FT_F32, 5, dim);
    f->t = ft_input(g, "t", FT_F32, 1, &f->batch);
    f->mix = ft_input(g, "mix", FT_F32, 2, (int64_t[]){f->batch, 2});
    ft_t z0 = ft_add(g, f->mean, ft_mul(g, f->std, ft_randn(g, FT_F32, 5, dim)));
    ft_t eps, zt = ft_q_sample(g, z0, f->mix, &eps);
    ft_t loss = ft_loss_mean(g, ft_generator_find(preset)->network(g, preset, cfg, zt, f->t), eps, FT_MSE);
    ft_keep(loss);
    return loss;
}

static int unknown_generator(const char *preset)
{
    return FT_FAIL(FT_ECONFIG, "the generator %s is not known. `forty models` lists the presets", preset);
}

int ft_generator_train(const ft_config *cfg, const char *preset, const char *path, const char *dir, uint64_t seed, bool resume)
{
    ft_dtype dtype;
    if (!ft_generator_find(preset)) return unknown_generator(preset);
    FT_TRY(ft_precision(cfg, &dtype));
    diffusion_feed f = {.batch = ft_config_int(cfg, "generator.batch"), .seed = seed};
    FT_TRY(latents_read(&f.l, path, path));
    ft_params *params = ft_params_new(seed);
    ft_graph *g = params ? ft_graph_new(params, dtype, 3) : NULL;
    ft_plan *plan = NULL;
    int rc = g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    if (rc < 0) goto done;
    ft_t loss = diffusion_loss(g, &f, preset, cfg);
    ft_backward(g, loss);
    ft_t norm = ft_optimise(g, (ft_optim_opt){.clip = (float)ft_config_real(cfg, "generator.clip")});
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    ft_trainer t = {.dir = dir,
                    .what = preset,
                    .model = preset,
                    .params = params,
                    .plan = plan,
                    .steps = ft_config_int(cfg, "generator.steps"),
                    .warmup = ft_config_int(cfg, "generator.warmup"),
                    .save_every = ft_config_int(cfg, "save_every"),
                    .lr = ft_config_real(cfg, "generator.lr"),
                    .ema = ft_config_real(cfg, "generator.ema"),
                    .seed = seed,
                    .resume = resume,
                    .feed = feed_diffusion,
                    .ctx = &f,
                    .n_logged = 1,
                    .logged_name = {"eps_mse"},
                    .logged = {loss},
                    .grad_norm = norm};
    rc = ft_train(&t);
done:
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    latents_free(&f.l);
    return rc;
}

int ft_generator_eps_mse(const ft_config *cfg, const char *preset, const char *path, const char *dir, const char *pool_latents,
                         double *mse)
{
    ft_dtype dtype;
    if (!ft_generator_find(preset)) return unknown_generator(preset);
    FT_TRY(ft_precision(cfg, &dtype));
    diffusion_feed f = {.batch = 20};
    FT_TRY(latents_read(&f.l, path, pool_latents));
    ft_params *params = ft_params_new(0);
    ft_graph *g = params ? ft_graph_new(params, dtype, 4) : NULL;
    ft_plan *plan = NULL;
    int rc = g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", preset), runs = 10;
    double sum = 0;
    if (rc < 0) goto done;
    ft_training(g, false);
    ft_t loss = diffusion_loss(g, &f, preset, cfg);
    FT_TRY_TO(rc, done, load_ema(params, dir));
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_EMA));
    for (int i = 0; i < runs; i++) { /* t is spread evenly, one from each of 200 strata */
        ft_step s = {17, i, 0, 0};
        for (int64_t b = 0; b < f.batch; b++) {
            feed_clip(&f, b, (i * f.batch + b) % f.l.n);
            feed_times(&f, b, (int)((i * f.batch + b) * FT_T / (runs * f.batch)));
        }
        FT_TRY_TO(rc, done, ft_run(plan, &s));
        sum += (double)*(const float *)ft_data(loss);
    }
    *mse = sum / runs;
done:
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    latents_free(&f.l);
    return rc;
}

/* ---- sampling ---------------------------------------------------------------------------------------------------------------
 */

typedef struct {
    ft_plan *plan;
    ft_t z, t, eps;
    const int *tau;
} sampler_net;

static int predict(void *ctx, int i, const float *x, float *eps)
{
    sampler_net *s = ctx;
    memcpy(ft_data(s->z), x, (size_t)ft_count(s->z) * 4);
    for (int64_t b = 0; b < ft_count(s->t); b++) ((float *)ft_data(s->t))[b] = (float)s->tau[i];
    FT_TRY(ft_run(s->plan, &still));
    memcpy(eps, ft_data(s->eps), (size_t)ft_count(s->z) * 4);
    return FT_OK;
}

int ft_generator_sample(const ft_config *cfg, const char *preset, const char *dir, const char *vae_dir, const char *pool_latents,
                        int64_t n, int frames, int size, uint64_t seed, const char *path)
{
    enum { BATCH = 8 };
    ft_dtype dtype;
    const ft_vae_preset *p = ft_vae_of(cfg, frames, size);
    if (!p) return FT_ECONFIG;
    if (!ft_generator_find(preset)) return unknown_generator(preset);
    FT_TRY(ft_precision(cfg, &dtype));
    latents l;
    FT_TRY(latents_read(&l, pool_latents, pool_latents));
    int steps = (int)ft_config_int(cfg, "generator.sample_steps"), *tau = ft_alloc((size_t)steps * sizeof *tau);
    double *alpha = ft_alloc((size_t)(steps + 1) * 2 * sizeof *alpha), *sigma = alpha ? alpha + steps + 1 : NULL;
    int64_t dim[5] = {BATCH, frames / ft_vae_time_factor(p), size / ft_vae_space_factor(p), size / ft_vae_space_factor(p),
                      p->latent};
    int64_t each = dim[1] * dim[2] * dim[3] * dim[4], clip = (int64_t)frames * size * size * 3;
    float *x = ft_alloc((size_t)(BATCH * each) * 4);
    uint8_t *pixels = ft_alloc((size_t)clip);
    ft_params *params = ft_params_new(0);
    ft_graph *g = params ? ft_graph_new(params, dtype, 5) : NULL;
    runner decoder = {0};
    sampler_net net = {.tau = tau};
    ft_clipwriter *w = NULL;
    int rc = tau && alpha && x && pixels && g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to sample %s", preset);
    if (rc == FT_OK && (l.z != p->latent || l.each != each))
        rc = FT_FAIL(FT_EDATA, "%s does not fit clips of %d frames and %d pixels", pool_latents, frames, size);
    if (rc < 0) goto done;
    ft_training(g, false);
    net.z = ft_input(g, "z", FT_F32, 5, dim);
    net.t = ft_input(g, "t", FT_F32, 1, dim);
    net.eps = ft_generator_find(preset)->network(g, preset, cfg, net.z, net.t);
    ft_keep(net.eps);
    FT_TRY_TO(rc, done, load_ema(params, dir));
    FT_TRY_TO(rc, done, ft_plan_new(&net.plan, g, FT_EMA));
    FT_TRY_TO(rc, done, vae_runner(&decoder, cfg, vae_dir, DECODE, 1, frames, size));
    ft_sample_times(steps, tau);
    for (int i = 0; i < steps; i++) alpha[i] = sqrt(ft_alpha_bar()[tau[i]]), sigma[i] = sqrt(1 - ft_alpha_bar()[tau[i]]);
    alpha[steps] = 1, sigma[steps] = 0;
    FT_TRY_TO(rc, done, ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){.frames = frames, .size = size, .stride = 1}));
    ft_progress bar;
    ft_progress_start(&bar, "sampling", n);
    for (int64_t at = 0; at < n; at += BATCH) {
        for (int64_t i = 0; i < BATCH * each; i += 4) { /* clip k's noise depends on (seed, k) only */
            uint32_t bits[4];
            float v[4];
            ft_philox(seed, 0x5A3, (uint64_t)(at + i / each), (uint64_t)(i % each) / 4, bits);
            ft_philox_normal(bits, v);
            memcpy(x + i, v, sizeof v);
        }
        ft_sampler kind = !strcmp(ft_config_text(cfg, "generator.sampler"), "ddim") ? FT_DDIM : FT_UNIPC;
        FT_TRY_TO(rc, done, ft_sample_path(kind, steps, alpha, sigma, 1, x, BATCH * each, predict, &net));
        for (int64_t b = 0; b < BATCH && at + b < n; b++) {
            float *z = ft_data(decoder.in);
            for (int64_t i = 0; i < each; i++) z[i] = x[b * each + i] * l.channel[l.z + i % l.z] + l.channel[i % l.z];
            FT_TRY_TO(rc, done, ft_run(decoder.plan, &still));
            to_pixels(pixels, ft_data(decoder.out), clip);
            char name[64];
            snprintf(name, sizeof name, "%s-%05lld", preset, (long long)(at + b));
            int v = ft_clipwriter_video(
                w, &(ft_store_video){.name = name, .group = name, .source = preset, .frames = frames, .fps = 8});
            FT_TRY_TO(rc, done, v);
            FT_TRY_TO(rc, done, ft_clipwriter_clip(w, v, 0, 1, pixels));
        }
        ft_progress_step(&bar, at + BATCH);
    }
    ft_progress_end(&bar, n);
    rc = ft_clipwriter_finish(w);
    w = NULL;
done:
    ft_clipwriter_abort(w);
    runner_free(&decoder);
    ft_plan_free(net.plan);
    ft_graph_free(g);
    ft_params_free(params);
    latents_free(&l);
    ft_free(tau);
    ft_free(alpha);
    ft_free(x);
    ft_free(pixels);
    return rc;
}

int ft_noise_clips(const ft_clip_pool *pool, int64_t n, uint64_t seed, const char *path)
{
    const ft_clipstore *s = pool->store;
    int64_t each = ft_clip_bytes(s);
    double sum[3] = {0}, sq[3] = {0}, count = (double)(pool->n * each / 3);
    for (int64_t i = 0; i < pool->n; i++) {
        const uint8_t *p = ft_clip_pixels(s, pool->clip[i]);
        for (int64_t k = 0; k < each; k++) sum[k % 3] += p[k], sq[k % 3] += (double)p[k] * p[k];
    }
    uint8_t *clip = ft_alloc((size_t)each);
    ft_clipwriter *w = NULL;
    int rc = clip ? ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){.frames = s->frames, .size = s->size, .stride = 1})
                  : FT_FAIL(FT_ENOMEM, "no memory for a clip");
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        float v[4] = {0};
        for (int64_t k = 0; k < each; k++) {
            uint32_t bits[4];
            if (k % 4 == 0) {
                ft_philox(seed, 0x4015E, (uint64_t)i, (uint64_t)k / 4, bits);
                ft_philox_normal(bits, v);
            }
            double mean = sum[k % 3] / count, x = mean + sqrt(fmax(sq[k % 3] / count - mean * mean, 0)) * (double)v[k % 4];
            clip[k] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x + 0.5);
        }
        char name[32];
        snprintf(name, sizeof name, "noise-%05lld", (long long)i);
        int row = ft_clipwriter_video(
            w, &(ft_store_video){.name = name, .group = name, .source = "noise", .frames = s->frames, .fps = 8});
        FT_TRY_TO(rc, done, row);
        FT_TRY_TO(rc, done, ft_clipwriter_clip(w, row, 0, 1, clip));
    }
    if (rc == FT_OK) {
        rc = ft_clipwriter_finish(w);
        w = NULL;
    }
done:
    ft_clipwriter_abort(w);
    ft_free(clip);
    return rc;
}
