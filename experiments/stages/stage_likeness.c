/* How like the pool's real clips a set of clips is: distances between sets of self-features, and the memorisation passport,
 * which shows whether a generator has learnt clips by heart. Clips of the validation videos, without their labels, are
 * the measure of both. clips.json holds what was found of each clip, pairs.h5 those clips that are most like a training clip. */
#include "experiments/stages/stage_likeness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/passport.h"
#include "experiments/stages/stage_data.h"
#include "experiments/statistics/set_distances.h"

/* the VAE that the arm's clips come from; NULL: none */
static const ft_stage *vae_of(const ft_stage *made)
{
    for (int i = 0; made && i < made->needs; i++)
        if (!strcmp(made->need[i]->kind->name, "vae")) return made->need[i];
    return NULL;
}

/* of each clip, in the order of the store */
static int write_clips(const ft_stage *s, const ft_recall *of_clip, const bool *within, const ft_clip_pool *train, int64_t n)
{
    char path[FT_PATH];
    json_t *copy = json_array(), *likely = json_array(), *nearest = json_array(), *correlation = json_array();
    for (int64_t i = 0; i < n; i++) {
        json_array_append_new(copy, json_boolean(of_clip[i].copy));
        json_array_append_new(likely, json_boolean(within[i]));
        json_array_append_new(nearest, json_integer(train->clip[of_clip[i].nearest]));
        json_array_append_new(correlation, json_real(of_clip[i].correlation));
    }
    json_t *o = json_pack("{s:o,s:o,s:o,s:o}", "copy", copy, "likely", likely, "nearest", nearest, "correlation", correlation);
    ft_stage_file(path, s, "clips.json");
    int rc = ft_write_json(path, o, 0);
    json_decref(o);
    return rc;
}

/* the clips of the most similar pairs, in their order */
static int write_pairs(const ft_stage *s, const ft_clipstore *from, const json_t *pairs)
{
    char path[FT_PATH];
    ft_clipwriter *w = NULL;
    size_t k;
    json_t *pair;
    ft_stage_file(path, s, "pairs.h5");
    int rc =
        ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){.frames = from->frames, .size = from->size, .stride = from->stride});
    if (rc == FT_OK) json_array_foreach(pairs, k, pair)
        {
            int64_t i = json_integer_value(json_array_get(pair, 0));
            int video = rc = ft_clipwriter_video(w, &from->video[from->clip[i].video]);
            if (rc >= 0) rc = ft_clipwriter_clip(w, video, from->clip[i].start, from->clip[i].stride, ft_clip_pixels(from, i));
            if (rc < 0) break;
        }
    if (rc >= 0) return ft_clipwriter_finish(w);
    ft_clipwriter_abort(w);
    return rc;
}

static int passport(const ft_stage *s, ft_clip_pool train, ft_clip_pool held, ft_clip_pool clips, const bool *within,
                    json_t *facts)
{
    const ft_stage *vae = s->needs ? vae_of(s->need[0]) : NULL;
    char latents[FT_PATH], held_out[FT_PATH];
    ft_recall *of_clip = NULL;
    ft_memorisation found;
    ft_passport p = {train, held, clips, s->own, vae ? vae->folder : NULL, latents, held_out};
    if (vae) ft_stage_file(latents, vae, "latents.safetensors");
    if (vae) ft_stage_file(held_out, vae, "held-out.safetensors");
    int rc = ft_passport_make(&p, &of_clip, &found);
    if (rc == FT_OK) {
        json_t *o = ft_passport_json(&p, of_clip, &found);
        json_object_update(facts, o);
        json_decref(o);
        rc = write_clips(s, of_clip, within, &train, clips.n);
        if (rc == FT_OK) rc = write_pairs(s, clips.store, json_object_get(facts, "pairs"));
    }
    ft_free(of_clip);
    return rc;
}

/* of two clips or more; within: room for all of `other` */
static int distances(const ft_clip_pool *real, const ft_clip_pool *other, const ft_clip_pool *held_out, bool *within,
                     json_t *facts)
{
    const ft_clip_pool pool[3] = {*real, *other, *held_out};
    float *value[3] = {NULL};
    int64_t *video[3] = {NULL}, videos, same;
    ft_feature_set set[3] = {{0}};
    ft_set_distance of[FT_SET_DISTANCES];
    int sets = held_out->n > 0 ? 3 : 2, d = ft_classifier_features("x3d-tiny", pool, sets, value), rc = d;
    for (int i = 0; rc >= 0 && i < sets; i++) {
        rc = ft_number_videos(&pool[i], &video[i], &videos);
        for (int64_t k = 0; rc == FT_OK && videos == 1 && k < pool[i].n; k++) video[i][k] = k; /* of one video: each its own */
        set[i] = (ft_feature_set){value[i], video[i], pool[i].n};
    }
    if (rc >= 0) rc = ft_set_distances(&set[0], &set[1], &set[2], d, within, of, &same);
    if (rc >= 0) {
        json_object_set_new(facts, "frechet", json_real(of[FT_DISTANCE_frechet].value));
        json_object_set_new(facts, "distances", ft_set_distances_json(of));
        json_object_set_new(facts, "alike_clips", json_integer(same));
    }
    for (int i = 0; i < 3; i++) ft_free(value[i]), ft_free(video[i]);
    return rc < 0 ? rc : FT_OK;
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    ft_clipstore own = {0};
    ft_clip_pool train = {.store = &x->store}, clips = {.store = &x->store}, held = {.store = &x->store};
    int64_t *pool = NULL, *clip = NULL, *held_out = NULL;
    bool *within = NULL, of_arm = s->needs || *s->file;
    char path[FT_PATH];
    int rc = ft_clips_of(&x->store, &x->folds[s->fold].pool, &pool, &train.n);
    if (rc == FT_OK) rc = ft_clips_of(&x->store, &x->folds[s->fold].validation, &held_out, &held.n);
    if (s->needs) ft_stage_file(path, s->need[0], "clips.h5");
    if (rc == FT_OK && of_arm) {
        rc = ft_clips_alike(&own, x, s->needs ? path : s->file);
        clips.store = &own, clips.n = own.n_clip;
        if (rc == FT_OK && !(clip = ft_alloc_n(clips.n + 1, sizeof *clip))) rc = FT_FAIL(FT_ENOMEM, "no memory for clips");
        for (int64_t i = 0; rc == FT_OK && i < clips.n; i++) clip[i] = i;
    }
    train.clip = pool, held.clip = held_out, clips.clip = of_arm ? clip : held_out;
    if (!of_arm) clips.n = held.n, held.n = 0;
    if (rc == FT_OK && !(within = ft_alloc_n(clips.n + 1, sizeof *within))) rc = FT_FAIL(FT_ENOMEM, "no memory for clips");
    if (rc == FT_OK && clips.n > 1) rc = distances(&train, &clips, &held, within, facts);
    if (rc == FT_OK && of_arm) rc = passport(s, train, held, clips, within, facts);
    ft_free(pool);
    ft_free(clip);
    ft_free(held_out);
    ft_free(within);
    ft_clipstore_free(&own);
    return rc;
}
static const ft_stage_kind likeness = {"likeness", compute, NULL};

int ft_stage_likeness(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage *made, const char *file,
                      ft_stage **stage)
{
    static const char *const keys[] = {"unlabelled.sampler", "unlabelled.fps", NULL};
    static const char *const by_content[] = {"data.sampler", "data.stride", NULL}; /* how the clips of a file are made alike */
    const ft_fold *f = &x->folds[fold];
    ft_stage like = {.kind = &likeness,
                     .cfg = cfg,
                     .arm = "",
                     .label = label,
                     .file = file,
                     .fold = fold,
                     .need = {made},
                     .needs = made != NULL,
                     .by_content = by_content};
    json_t *of_file = NULL;
    if (*file) FT_TRY(ft_alike_key(x, cfg, file, &of_file));
    json_t *key = json_pack("{s:s,s:o,s:s,s:o,s:o,s:o}", "measures", "distances, passport", "config", ft_config_json(cfg, keys),
                            "store", x->store.id, "file", of_file ? of_file : json_string(""), "pool",
                            ft_video_names(&x->store, &f->pool), "validation", ft_video_names(&x->store, &f->validation));
    return ft_stage_add(x, &like, key, stage);
}
