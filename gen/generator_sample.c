/* Clips of a trained generator. */
#include <stdio.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/clipstore.h"
#include "common/io/weights.h"
#include "gen/gan.h"
#include "gen/sampler.h"

static int name_end(ft_graph *g, const char *preset)
{
    int rc = ft_graph_error(g) ? FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", preset, ft_graph_error(g)) : FT_OK;
    ft_graph_free(g);
    return rc;
}

/* names every parameter, so that a weights file can be read; l: NULL for clips of pixels, of this shape */
static int network_store(ft_params **params, const ft_config *cfg, const char *preset, const ft_latents *l, int classes,
                         int frames, int size)
{
    ft_graph *g = NULL;
    if (!(*params = ft_params_new(0)) || ft_params_train_only(*params, 0, NULL) < 0 ||
        !(g = ft_graph_new(*params, FT_F32, FT_GRAPH_SAMPLER)))
        return FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    if (!l) {
        ft_gan_clip(g, preset, frames, size, classes, 1, NULL);
        return name_end(g, preset);
    }
    int64_t dim[5] = {1, l->dim[1], l->dim[2], l->dim[3], l->z};
    ft_told told = {ft_input(g, "t", FT_F32, 1, dim), NULL};
    if (classes > 0) told.label = ft_input(g, "label", FT_F32, 2, (int64_t[]){1, classes + 1});
    ft_generator_predict(g, preset, cfg, ft_input(g, "z", FT_F32, 5, dim), dim[1], told);
    return name_end(g, preset);
}

int ft_generator_load(ft_params *params, const char *dir)
{
    char path[1100];
    snprintf(path, sizeof path, "%s/ema.safetensors", dir);
    return ft_weights_load(path, params, FT_EMA, NULL);
}

int ft_generator_load_weak(ft_params *params, const char *dir)
{
    char path[1100];
    snprintf(path, sizeof path, "%s/weak.safetensors", dir);
    if (!ft_exists(path))
        return FT_FAIL(
            FT_ECONFIG,
            "%s is not there, and generator.autoguidance leans away from it: an earlier version's training, or one that "
            "was stopped early. Train again, or set generator.autoguidance: 1",
            path);
    return ft_weights_load(path, params, FT_WEIGHTS, NULL);
}

void ft_sample_name(const char *preset, int64_t i, char name[FT_SAMPLE_NAME])
{
    snprintf(name, FT_SAMPLE_NAME, "%s-%05lld", preset, (long long)i);
}

int ft_generator_sample(const ft_config *cfg, const char *preset, const char *dir, const char *vae_dir, const char *pool_latents,
                        const char *class, int64_t n, int frames, int size, uint64_t seed, const char *path)
{
    ft_latents l = {0};
    ft_class_names classes;
    FT_TRY(ft_generator_known(preset));
    FT_TRY(ft_class_names_read(&classes, dir));
    ft_sampled_class of = {classes.n, -1};
    ft_params *params = NULL, *weak = NULL;
    ft_generator_sampler *s = NULL;
    ft_clipwriter *w = NULL;
    int64_t clip = (int64_t)frames * size * size * 3;
    uint8_t *pixels = ft_alloc((size_t)(FT_SAMPLE_BATCH * clip));
    int rc = pixels ? ft_class_names_find(&classes, class, dir, &of.class) : FT_FAIL(FT_ENOMEM, "no memory to sample %s", preset);
    const ft_latents *stats = ft_generator_find(preset)->gan ? NULL : &l;
    if (rc == FT_OK && stats) rc = ft_latents_read(&l, cfg, pool_latents, pool_latents);
    if (rc == FT_OK) rc = network_store(&params, cfg, preset, stats, of.n, frames, size);
    if (rc == FT_OK) rc = ft_generator_load(params, dir);
    if (rc == FT_OK && stats && ft_config_real(cfg, "generator.autoguidance") != 1) {
        rc = network_store(&weak, cfg, preset, stats, of.n, frames, size);
        if (rc == FT_OK) rc = ft_generator_load_weak(weak, dir);
    }
    if (rc == FT_OK) rc = ft_generator_sampler_new(&s, cfg, preset, params, weak, vae_dir, stats, frames, size, of);
    if (rc == FT_OK) rc = ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){.frames = frames, .size = size, .stride = 1});
    ft_progress bar;
    ft_progress_start(&bar, "sampling", n);
    for (int64_t at = 0; rc == FT_OK && at < n; at += FT_SAMPLE_BATCH) {
        int64_t now = n - at < FT_SAMPLE_BATCH ? n - at : FT_SAMPLE_BATCH;
        rc = ft_generator_sampler_clips(s, seed, at, now, pixels);
        for (int64_t b = 0; rc == FT_OK && b < now; b++) {
            char name[FT_SAMPLE_NAME];
            ft_sample_name(preset, at + b, name);
            ft_store_video row = {.name = name, .group = name, .source = preset, .frames = frames, .fps = 8};
            if (of.n > 0) row.label = classes.name[ft_class_of_sample(of, at + b)], row.split = "train";
            int v = ft_clipwriter_video(w, &row);
            rc = v < 0 ? v : ft_clipwriter_clip(w, v, 0, 1, pixels + b * clip);
        }
        ft_progress_step(&bar, at + now);
    }
    ft_progress_end(&bar, n);
    if (rc == FT_OK) {
        rc = ft_clipwriter_finish(w);
        w = NULL;
    }
    ft_clipwriter_abort(w);
    ft_generator_sampler_free(s);
    ft_params_free(params);
    ft_params_free(weak);
    ft_latents_free(&l);
    ft_class_names_free(&classes);
    ft_free(pixels);
    return rc;
}
