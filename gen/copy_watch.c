#include "gen/copy_watch.h"

#include "common/base/memory.h"
#include "common/base/status.h"
#include "gen/sampler.h"

enum { CLIPS = 64, BOOTSTRAP = 1000, SEED = 1 }; /* seed 0 is that of the clips that are sampled in the end */

struct ft_copy_watch {
    ft_config *quick; /* settings with a quick sampler */
    ft_generator_sampler *sampler;
    ft_copy_ruler *ruler;
    float *latents;
    int64_t each;
};

void ft_copy_watch_free(ft_copy_watch *w)
{
    if (!w) return;
    ft_generator_sampler_free(w->sampler);
    ft_copy_ruler_free(w->ruler);
    ft_config_free(w->quick);
    ft_free(w->latents);
    ft_free(w);
}

static int make_ruler(ft_copy_watch *w, const ft_config *cfg, const ft_latents *l, const char *latents, const ft_clip_pool *pool,
                      const ft_held_out *held_out)
{
    ft_latents held = {0};
    int64_t *video[2] = {0}, videos[2];
    int rc = ft_latents_read(&held, cfg, held_out->latents, latents);
    if (rc == FT_OK) rc = ft_number_videos(pool, &video[0], &videos[0]);
    if (rc == FT_OK) rc = ft_number_videos(&held_out->pool, &video[1], &videos[1]);
    if (rc == FT_OK && (l->n != 2 * pool->n || held.n != 2 * held_out->pool.n || held.each != l->each))
        rc = FT_FAIL(FT_EDATA, "%s: latents of other clips. Remove it to make it again", held_out->latents);
    if (rc == FT_OK) {
        ft_embedded train = {l->mean, l->mean + pool->n * l->each, video[0], pool->n, videos[0]},
                    real = {held.mean, NULL, video[1], held_out->pool.n, videos[1]};
        rc = ft_copy_ruler_new(&w->ruler, &train, &real, l->each, BOOTSTRAP);
    }
    ft_free(video[0]);
    ft_free(video[1]);
    ft_latents_free(&held);
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
    w->each = l->each;
    w->latents = ft_alloc_n(CLIPS * l->each, sizeof *w->latents);
    int rc = w->latents ? ft_config_copy(&w->quick, cfg) : FT_FAIL(FT_ENOMEM, "no memory to watch %s", preset);
    if (rc == FT_OK) rc = ft_config_set(w->quick, "generator.sampler=ddim", "generator.stop");
    if (rc == FT_OK) rc = ft_config_set(w->quick, "generator.sample_steps=10", "generator.stop");
    if (rc == FT_OK) rc = make_ruler(w, cfg, l, latents, pool, held_out);
    if (rc == FT_OK)
        rc = ft_generator_sampler_new(&w->sampler, w->quick, preset, params, vae_dir, l, pool->store->frames, pool->store->size,
                                      (ft_sampled_class){classes, -1});
    if (rc < 0) ft_copy_watch_free(w), *out = NULL;
    return rc;
}

int ft_copy_watch_look(ft_copy_watch *w, ft_memorisation *m)
{
    int64_t video[CLIPS];
    ft_recall of_clip[CLIPS];
    for (int64_t at = 0; at < CLIPS; at += FT_SAMPLE_BATCH)
        FT_TRY(ft_generator_sampler_latents(w->sampler, SEED, at, FT_SAMPLE_BATCH, w->latents + at * w->each));
    for (int64_t i = 0; i < CLIPS; i++) video[i] = i;
    return ft_copies_find(w->ruler, &(ft_embedded){w->latents, NULL, video, CLIPS, CLIPS}, of_clip, m);
}
