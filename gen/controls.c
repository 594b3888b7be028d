#include "gen/controls.h"

#include <math.h>
#include <stdio.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "gen/diffusion.h"
#include "gen/vae_train.h"

/* label: of its class; NULL: none */
static int add(ft_clipwriter *w, const char *source, const char *label, int64_t i, int frames, const uint8_t *clip)
{
    char name[64];
    snprintf(name, sizeof name, "%s-%05lld", source, (long long)i);
    ft_store_video v = {.name = name, .group = name, .source = source, .label = label, .frames = frames, .fps = 8};
    int row = ft_clipwriter_video(w, &v);
    return row < 0 ? row : ft_clipwriter_clip(w, row, 0, 1, clip);
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
                ft_philox(seed, FT_STREAM_NOISE_CLIPS, (uint64_t)i, (uint64_t)k / 4, bits);
                ft_philox_normal(bits, v);
            }
            double mean = sum[k % 3] / count, x = mean + sqrt(fmax(sq[k % 3] / count - mean * mean, 0)) * (double)v[k % 4];
            clip[k] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x + 0.5);
        }
        rc = add(w, "noise", NULL, i, s->frames, clip);
    }
    if (rc == FT_OK) rc = ft_clipwriter_finish(w);
    else ft_clipwriter_abort(w);
    ft_free(clip);
    return rc;
}

int ft_vae_prior_clips(const ft_config *cfg, const char *vae_dir, const char *latents, int64_t n, int frames, int size,
                       uint64_t seed, const char *path)
{
    ft_latents l;
    ft_vae_runner r = {0};
    ft_clipwriter *w = NULL;
    FT_TRY(ft_latents_read(&l, cfg, latents, latents));
    int rc = ft_vae_runner_new(&r, cfg, vae_dir, FT_VAE_DECODE, 1, frames, size);
    int64_t each = rc == FT_OK ? ft_count(r.in) : 0, clip = rc == FT_OK ? ft_count(r.out) : 0;
    uint8_t *pixels = ft_alloc((size_t)clip + 1);
    float *z = ft_alloc((size_t)(each + 1) * sizeof *z);
    ft_progress bar;
    if (rc == FT_OK && (!pixels || !z)) rc = FT_FAIL(FT_ENOMEM, "no memory for a clip");
    if (rc == FT_OK) rc = ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){.frames = frames, .size = size, .stride = 1});
    ft_progress_start(&bar, "decoding", n);
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        float *to = ft_data(r.in);
        ft_clip_noise(seed, 0, i, each, z, each);
        for (int64_t k = 0; k < each; k++) to[k] = z[k] * l.channel[l.z + k % l.z] + l.channel[k % l.z];
        rc = ft_run(r.plan, &(ft_step){0});
        ft_to_pixels(pixels, ft_data(r.out), clip);
        if (rc == FT_OK) rc = add(w, "vae-prior", NULL, i, frames, pixels);
        ft_progress_step(&bar, i + 1);
    }
    ft_progress_end(&bar, n);
    if (rc == FT_OK) rc = ft_clipwriter_finish(w);
    else ft_clipwriter_abort(w);
    ft_free(pixels);
    ft_free(z);
    ft_vae_runner_free(&r);
    ft_latents_free(&l);
    return rc;
}

int ft_vae_roundtrip_clips(const ft_config *cfg, const char *vae_dir, const ft_clip_pool *pool, bool labels, const char *path)
{
    const ft_clipstore *s = pool->store;
    ft_vae_runner r;
    ft_clipwriter *w = NULL;
    ft_progress bar;
    FT_TRY(ft_vae_runner_new(&r, cfg, vae_dir, FT_VAE_REBUILD, 1, s->frames, s->size));
    int64_t each = ft_clip_bytes(s);
    uint8_t *pixels = ft_alloc((size_t)each);
    int rc = pixels ? ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){.frames = s->frames, .size = s->size, .stride = 1})
                    : FT_FAIL(FT_ENOMEM, "no memory for a clip");
    ft_progress_start(&bar, "rebuilding", pool->n);
    for (int64_t i = 0; rc == FT_OK && i < pool->n; i++) {
        ft_to_unit(ft_data(r.in), ft_clip_pixels(s, pool->clip[i]), (int64_t)s->frames * s->size, s->size, false);
        rc = ft_run(r.plan, &(ft_step){0});
        ft_to_pixels(pixels, ft_data(r.out), each);
        if (rc == FT_OK)
            rc = add(w, "vae-roundtrip", labels ? s->video[s->clip[pool->clip[i]].video].label : NULL, i, s->frames, pixels);
        ft_progress_step(&bar, i + 1);
    }
    ft_progress_end(&bar, pool->n);
    if (rc == FT_OK) rc = ft_clipwriter_finish(w);
    else ft_clipwriter_abort(w);
    ft_free(pixels);
    ft_vae_runner_free(&r);
    return rc;
}

int ft_told_clips(const ft_clip_pool *pool, char *const *name, const int *of_clip, const char *path)
{
    const ft_clipstore *s = pool->store;
    ft_clipwriter *w;
    FT_TRY(ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){.frames = s->frames, .size = s->size, .stride = 1}));
    int rc = FT_OK;
    for (int64_t i = 0; rc == FT_OK && i < pool->n; i++)
        rc = add(w, "pseudo-labelled", name[of_clip[i]], i, s->frames, ft_clip_pixels(s, pool->clip[i]));
    if (rc == FT_OK) return ft_clipwriter_finish(w);
    ft_clipwriter_abort(w);
    return rc;
}
