#include "gen/copy_watch.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "gen/sampler.h"

enum { CLIPS = 64, BOOTSTRAP = 1000, SEED = 1 }; /* seed 0 is that of the clips that are sampled in the end */

struct ft_copy_watch {
    ft_config *quick; /* settings with a quick sampler */
    ft_generator_sampler *sampler;
    ft_copy_ruler *ruler;
    ft_clipstore store; /* of the samples */
    int64_t clip[CLIPS];
    const char *vae_dir, *latents;
};

void ft_copy_watch_free(ft_copy_watch *w)
{
    if (!w) return;
    ft_generator_sampler_free(w->sampler);
    ft_copy_ruler_free(w->ruler);
    ft_config_free(w->quick);
    ft_free(w->store.pixels);
    ft_free(w);
}

static int make_ruler(ft_copy_watch *w, const char *latents, const ft_clip_pool *pool, const ft_held_out *held_out)
{
    float *value[2] = {NULL};
    int64_t *video[2] = {NULL}, videos[2], dim[5], held[5];
    int rc = ft_latent_means_read(latents, latents, &value[0], dim);
    if (rc == FT_OK) rc = ft_latent_means_read(held_out->latents, latents, &value[1], held);
    if (rc == FT_OK) rc = ft_number_videos(pool, &video[0], &videos[0]);
    if (rc == FT_OK) rc = ft_number_videos(&held_out->pool, &video[1], &videos[1]);
    if (rc == FT_OK && (dim[0] != 2 * pool->n || held[0] != 2 * held_out->pool.n || memcmp(dim + 1, held + 1, 4 * sizeof *dim)))
        rc = FT_FAIL(FT_EDATA, "%s: latents of other clips. Remove it to make it again", held_out->latents);
    if (rc == FT_OK) {
        int64_t d = dim[1] * dim[2] * dim[3] * dim[4];
        ft_embedded train = {value[0], value[0] + pool->n * d, video[0], pool->n, videos[0]},
                    real = {value[1], NULL, video[1], held_out->pool.n, videos[1]};
        rc = ft_copy_ruler_new(&w->ruler, &train, &real, d, BOOTSTRAP);
    }
    for (int i = 0; i < 2; i++) ft_free(value[i]), ft_free(video[i]);
    return rc;
}

int ft_copy_watch_new(ft_copy_watch **out, const ft_config *cfg, const char *preset, ft_params *params, const char *vae_dir,
                      const ft_latents *l, const char *latents, const ft_clip_pool *pool, const ft_held_out *held_out,
                      int classes)
{
    ft_copy_watch *w = *out = NULL;
    if (!held_out || held_out->pool.n == 0)
        return FT_FAIL(
            FT_ECONFIG,
            "%s: generator.stop: memorisation is told by held-out clips, which only an experiment with validation videos has. "
            "Set generator.stop: none",
            ft_config_origin(cfg, "generator.stop"));
    if (!(w = *out = ft_alloc(sizeof *w))) return FT_FAIL(FT_ENOMEM, "no memory to watch %s", preset);
    w->vae_dir = vae_dir, w->latents = latents;
    w->store = (ft_clipstore){.n_clip = CLIPS, .frames = pool->store->frames, .size = pool->store->size};
    w->store.pixels = ft_alloc_n(CLIPS, (size_t)ft_clip_bytes(&w->store));
    int rc = w->store.pixels ? ft_config_copy(&w->quick, cfg) : FT_FAIL(FT_ENOMEM, "no memory to watch %s", preset);
    if (rc == FT_OK) rc = ft_config_set(w->quick, "generator.sampler=ddim", "generator.stop");
    if (rc == FT_OK) rc = ft_config_set(w->quick, "generator.sample_steps=10", "generator.stop");
    if (rc == FT_OK) rc = make_ruler(w, latents, pool, held_out);
    if (rc == FT_OK)
        rc = ft_generator_sampler_new(&w->sampler, w->quick, preset, params, NULL, vae_dir, l, pool->store->frames,
                                      pool->store->size, (ft_sampled_class){classes, -1});
    if (rc < 0) ft_copy_watch_free(w), *out = NULL;
    return rc;
}

int ft_copy_watch_look(ft_copy_watch *w, ft_memorisation *m)
{
    ft_recall of_clip[CLIPS];
    float *value;
    int64_t dim[5];
    for (int64_t at = 0; at < CLIPS; at += FT_SAMPLE_BATCH)
        FT_TRY(
            ft_generator_sampler_clips(w->sampler, SEED, at, FT_SAMPLE_BATCH, w->store.pixels + at * ft_clip_bytes(&w->store)));
    for (int64_t i = 0; i < CLIPS; i++) w->clip[i] = i;
    int rc = ft_latent_means(w->quick, w->vae_dir, &(ft_clip_pool){&w->store, w->clip, CLIPS}, w->latents, &value, dim);
    if (rc == FT_OK) rc = ft_copies_find(w->ruler, &(ft_embedded){value, NULL, w->clip, CLIPS, CLIPS}, of_clip, m);
    ft_free(value);
    return rc;
}
