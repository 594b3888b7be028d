#include "gen/latents.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/safetensors.h"
#include "gen/vae_train.h"

void ft_to_unit(float *dst, const uint8_t *src, int64_t rows, int size, bool mirror)
{
    for (int64_t r = 0; r < rows; r++)
        for (int x = 0; x < size; x++) {
            const uint8_t *p = src + (r * size + (mirror ? size - 1 - x : x)) * 3;
            for (int k = 0; k < 3; k++) *dst++ = (float)p[k] * (1.0f / 127.5f) - 1.0f;
        }
}

void ft_to_pixels(uint8_t *dst, const float *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = (src[i] + 1.0f) * 127.5f + 0.5f;
        dst[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

ft_image_opt ft_image_options(const ft_config *cfg)
{
    return (ft_image_opt){ft_config_int(cfg, "generator.images"), ft_config_is(cfg, "generator.image_mode", "pairs")};
}

int64_t ft_image_frames(ft_image_opt images, const ft_vae_preset *p)
{
    return images.n && images.pairs ? ft_vae_latent_frames(p, images.n) : images.n;
}

/* ---- encoding ----------------------------------------------------------------------------------------------------------- */

/* moments (rows, 2z) to mean and logvar (rows, z); the logvar is clamped as the VAE's own loss clamps it */
static void split(const float *moments, int64_t rows, int64_t z, float *mean, float *logvar)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < z; k++) {
            mean[i * z + k] = moments[i * 2 * z + k];
            logvar[i * z + k] = fminf(fmaxf(moments[i * 2 * z + z + k], -30), 20);
        }
}

enum { BATCH = 4 };

typedef struct {
    float *mean, *logvar;
    int64_t dim[5], count; /* (n, f, s, s, z) */
} posterior;

static int posterior_make(posterior *p, const ft_vae_runner *r, int64_t n)
{
    int64_t z = ft_dim(r->out, 4) / 2, dim[5] = {n, ft_dim(r->out, 1), ft_dim(r->out, 2), ft_dim(r->out, 3), z};
    memcpy(p->dim, dim, sizeof dim);
    p->count = dim[0] * dim[1] * dim[2] * dim[3] * z;
    p->mean = ft_alloc((size_t)p->count * 4 + 4);
    p->logvar = ft_alloc((size_t)p->count * 4 + 4);
    return p->mean && p->logvar ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %lld latent clips", (long long)n);
}

static void posterior_free(posterior *p)
{
    ft_free(p->mean);
    ft_free(p->logvar);
}

/* Clips of the pool, then their mirror images if these are asked for. */
static int encode_clips(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, bool mirrored, posterior *p)
{
    const ft_clipstore *s = pool->store;
    ft_vae_runner r;
    int64_t total = (mirrored ? 2 : 1) * pool->n;
    FT_TRY(ft_vae_runner_new(&r, cfg, vae_dir, FT_VAE_ENCODE, BATCH, s->frames, s->size));
    int rc = posterior_make(p, &r, total);
    int64_t each = ft_count(r.out) / BATCH, z = p->dim[4];
    ft_progress bar;
    ft_progress_start(&bar, "encoding clips", total);
    for (int64_t at = 0; rc == FT_OK && at < total; at += BATCH) {
        int64_t n = total - at < BATCH ? total - at : BATCH;
        for (int64_t b = 0; b < n; b++)
            ft_to_unit((float *)ft_data(r.in) + b * ft_clip_bytes(s), ft_clip_pixels(s, pool->clip[(at + b) % pool->n]),
                       (int64_t)s->frames * s->size, s->size, at + b >= pool->n);
        rc = ft_run(r.plan, &(ft_step){0});
        if (rc == FT_OK) split(ft_data(r.out), n * each / (2 * z), z, p->mean + at * each / 2, p->logvar + at * each / 2);
        ft_progress_step(&bar, at + n);
    }
    ft_progress_end(&bar, total);
    ft_vae_runner_free(&r);
    return rc;
}

/* Frames of random clips: in pairs mode groups of so many, encoded as if they were one video, as the released code does; else
 * one by one. */
static int encode_images(const ft_config *cfg, ft_image_opt images, const char *vae_dir, const ft_clip_pool *pool, posterior *p)
{
    enum { PER_CLIP = 4, MOST = 4096 };
    const ft_clipstore *s = pool->store;
    ft_vae_runner r;
    int frames = images.pairs ? (int)images.n : 1;
    int64_t total = PER_CLIP * pool->n < MOST ? PER_CLIP * pool->n : MOST, picture = ft_clip_bytes(s) / s->frames;
    FT_TRY(ft_vae_runner_new(&r, cfg, vae_dir, FT_VAE_ENCODE, BATCH, frames, s->size));
    int rc = posterior_make(p, &r, total);
    int64_t each = ft_count(r.out) / BATCH, z = p->dim[4];
    for (int64_t at = 0; rc == FT_OK && at < total; at += BATCH) {
        int64_t n = total - at < BATCH ? total - at : BATCH;
        for (int64_t b = 0; b < n; b++)
            for (int f = 0; f < frames; f++) {
                ft_rng g = ft_rng_make(0, FT_STREAM_IMAGE_FRAMES, (uint64_t)((at + b) * frames + f));
                int64_t clip = pool->clip[ft_rng_below(&g, pool->n)], frame = ft_rng_below(&g, s->frames);
                ft_to_unit((float *)ft_data(r.in) + (b * frames + f) * picture, ft_clip_pixels(s, clip) + frame * picture,
                           s->size, s->size, false);
            }
        rc = ft_run(r.plan, &(ft_step){0});
        if (rc == FT_OK) split(ft_data(r.out), n * each / (2 * z), z, p->mean + at * each / 2, p->logvar + at * each / 2);
    }
    ft_vae_runner_free(&r);
    return rc;
}

static ft_st_tensor f32(const char *name, int ndim, const int64_t *dim, const float *data)
{
    ft_st_tensor t = {.name = (char *)name, .dtype = "F32", .ndim = ndim, .count = 1, .data = data};
    for (int i = 0; i < ndim; i++) t.count *= t.dim[i] = dim[i];
    t.bytes = (size_t)t.count * 4;
    return t;
}

int ft_vae_encode_pool(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, const char *path)
{
    posterior p = {0}, image = {0};
    float *stat = NULL;
    ft_image_opt images = ft_image_options(cfg);
    int rc = encode_clips(cfg, vae_dir, pool, true, &p);
    if (rc == FT_OK && images.n > 0) rc = encode_images(cfg, images, vae_dir, pool, &image);
    int64_t z = p.dim[4];
    if (rc == FT_OK && !(stat = ft_alloc((size_t)(3 * z) * sizeof *stat))) rc = FT_FAIL(FT_ENOMEM, "no memory for latents");
    for (int64_t k = 0; rc == FT_OK && k < z; k++) { /* of samples: variance of the means plus mean of the variances */
        double s1 = 0, s2 = 0, noise = 0, n = (double)(p.count / z);
        for (int64_t i = k; i < p.count; i += z)
            s1 += (double)p.mean[i], s2 += (double)p.mean[i] * (double)p.mean[i], noise += exp((double)p.logvar[i]);
        double of_means = s2 / n - s1 / n * (s1 / n);
        stat[k] = (float)(s1 / n);
        stat[z + k] = (float)sqrt(fmax(of_means + noise / n, 1e-12));
        stat[2 * z + k] = (float)sqrt(fmax(of_means, 1e-12));
    }
    if (rc == FT_OK) {
        ft_st_tensor t[5] = {f32("mean", 5, p.dim, p.mean), f32("logvar", 5, p.dim, p.logvar),
                             f32("channel", 2, (int64_t[]){3, z}, stat), f32("image_mean", 5, image.dim, image.mean),
                             f32("image_logvar", 5, image.dim, image.logvar)};
        rc = ft_safetensors_write(path, t, images.n > 0 ? 5 : 3, NULL);
    }
    posterior_free(&p);
    posterior_free(&image);
    ft_free(stat);
    return rc;
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

void ft_latents_free(ft_latents *l)
{
    ft_free(l->mean);
    ft_free(l->std);
    ft_free(l->channel);
    ft_free(l->image_mean);
    ft_free(l->image_std);
    memset(l, 0, sizeof *l);
}

/* mean and logvar of a file to normalised mean and std; fixed: the latent is the mean, std 0 */
static int normalised(const ft_latents *l, const ft_st_tensor *m, const ft_st_tensor *v, bool fixed, float **mean, float **std)
{
    *mean = ft_alloc((size_t)m->count * 4);
    *std = ft_alloc((size_t)m->count * 4);
    if (!*mean || !*std) return FT_FAIL(FT_ENOMEM, "no memory for %lld latent values", (long long)m->count);
    FT_TRY(ft_safetensors_f32(m, *mean));
    FT_TRY(ft_safetensors_f32(v, *std));
    for (int64_t i = 0; i < m->count; i++) {
        float mu = l->channel[i % l->z], sd = l->channel[l->z + i % l->z];
        (*mean)[i] = ((*mean)[i] - mu) / sd;
        (*std)[i] = fixed ? 0 : expf(0.5f * (*std)[i]) / sd;
    }
    return FT_OK;
}

/* how latents are normalised */
typedef struct {
    bool fixed;   /* generator.posterior mean */
    double scale; /* generator.latent_scale */
} latent_opt;

static latent_opt latent_options(const ft_config *cfg)
{
    return (latent_opt){ft_config_is(cfg, "generator.posterior", "mean"), ft_config_real(cfg, "generator.latent_scale")};
}

int ft_latents_read(ft_latents *l, const ft_config *cfg, const char *path, const char *stats)
{
    latent_opt opt = latent_options(cfg);
    ft_safetensors st = {0}, ref = {0};
    int rc;
    memset(l, 0, sizeof *l);
    FT_TRY_TO(rc, done, ft_safetensors_read(&ref, stats));
    FT_TRY_TO(rc, done, ft_safetensors_read(&st, path));
    const ft_st_tensor *m = ft_safetensors_find(&st, "mean"), *v = ft_safetensors_find(&st, "logvar"),
                       *c = ft_safetensors_find(&ref, "channel"), *im = ft_safetensors_find(&st, "image_mean"),
                       *iv = ft_safetensors_find(&st, "image_logvar");
    if (!m || !v || !c || m->ndim != 5 || m->count != v->count || c->count != 3 * m->dim[4] || m->count == 0 || !im != !iv ||
        (im && (im->ndim != 5 || im->count != iv->count || im->count == 0 || im->dim[2] != m->dim[2] || im->dim[4] != m->dim[4])))
        FT_TRY_TO(rc, done, FT_FAIL(FT_EDATA, "%s: not a file of latents. Remove it to make it again", path));
    l->n = m->dim[0], l->z = m->dim[4], l->each = m->count / l->n;
    memcpy(l->dim, m->dim, sizeof l->dim);
    if (!(l->channel = ft_alloc((size_t)c->count * 4))) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "%s: no memory", path));
    FT_TRY_TO(rc, done, ft_safetensors_f32(c, l->channel));
    if (opt.fixed) memcpy(l->channel + l->z, l->channel + 2 * l->z, (size_t)l->z * 4);
    for (int64_t k = 0; opt.scale > 0 && k < l->z; k++) l->channel[k] = 0, l->channel[l->z + k] = (float)(1 / opt.scale);
    FT_TRY_TO(rc, done, normalised(l, m, v, opt.fixed, &l->mean, &l->std));
    if (im) {
        l->images = im->dim[0], l->image_frames = im->dim[1];
        FT_TRY_TO(rc, done, normalised(l, im, iv, opt.fixed, &l->image_mean, &l->image_std));
    }
    if (!im && ft_image_options(cfg).n > 0)
        rc = FT_FAIL(FT_EDATA, "%s: holds no images, and generator.images asks for some. Remove it to make it again", path);
done:
    ft_safetensors_free(&st);
    ft_safetensors_free(&ref);
    if (rc < 0) ft_latents_free(l);
    return rc;
}

/* each channel by the deviation of its means in `stats` */
static int by_deviation(const char *stats, float *mean, const int64_t dim[5])
{
    ft_safetensors ref;
    FT_TRY(ft_safetensors_read(&ref, stats));
    const ft_st_tensor *c = ft_safetensors_find(&ref, "channel");
    int64_t z = dim[4], count = dim[0] * dim[1] * dim[2] * dim[3] * z;
    float *channel = ft_alloc_n(3 * z + 1, sizeof *channel);
    int rc = channel ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for latents");
    if (rc == FT_OK && (!c || c->count != 3 * z)) rc = FT_FAIL(FT_EDATA, "%s: latents of another VAE", stats);
    if (rc == FT_OK) rc = ft_safetensors_f32(c, channel);
    for (int64_t i = 0; rc == FT_OK && i < count; i++) mean[i] /= channel[2 * z + i % z];
    ft_free(channel);
    ft_safetensors_free(&ref);
    return rc;
}

int ft_latent_means_read(const char *path, const char *stats, float **mean, int64_t dim[5])
{
    ft_safetensors st;
    *mean = NULL;
    FT_TRY(ft_safetensors_read(&st, path));
    const ft_st_tensor *m = ft_safetensors_find(&st, "mean");
    int rc = m && m->ndim == 5 ? FT_OK : FT_FAIL(FT_EDATA, "%s: not a file of latents. Remove it to make it again", path);
    if (rc == FT_OK && !(*mean = ft_alloc_n(m->count + 1, sizeof **mean))) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = ft_safetensors_f32(m, *mean);
    if (rc == FT_OK) memcpy(dim, m->dim, 5 * sizeof *dim);
    ft_safetensors_free(&st);
    return rc == FT_OK ? by_deviation(stats, *mean, dim) : rc;
}

int ft_latent_means(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, const char *stats, float **mean,
                    int64_t dim[5])
{
    posterior p = {0};
    int rc = encode_clips(cfg, vae_dir, pool, false, &p);
    *mean = p.mean;
    ft_free(p.logvar);
    memcpy(dim, p.dim, sizeof p.dim);
    return rc == FT_OK ? by_deviation(stats, *mean, dim) : rc;
}
