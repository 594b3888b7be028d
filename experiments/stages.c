/* Stages that every arm shares: the cache, the data, the VAE of a fold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "experiments/experiment.h"
#include "experiments/ingest.h"
#include "gen/generator.h"
#include "gen/phantom.h"
#include "gen/vae_train.h"

/* Revision of what a stage computes: raise it when the same settings would give another result. */
static const char code_version[] = FT_VERSION "/6";

/* ---- stages -------------------------------------------------------------------------------------------------------------- */

static int key_of(const char *stage, json_t *key, char hex[65])
{
    json_t *all = json_pack("{s:s,s:s,s:o}", "stage", stage, "code", code_version, "key", key);
    char *text = json_dumps(all, JSON_SORT_KEYS | JSON_COMPACT);
    json_decref(all);
    if (!text) return FT_FAIL(FT_ENOMEM, "no memory for the key of %s", stage);
    ft_sha256(text, strlen(text), hex);
    free(text);
    return FT_OK;
}

int ft_key_settings(const ft_config *cfg, const char *const *prefix, json_t **settings)
{
    json_t *o = *settings = ft_config_json(cfg, prefix), *v;
    const char *name;
    void *next;
    json_object_foreach_safe(o, next, name, v)
    {
        const char *tail = strrchr(name, '.'), *path = json_string_value(v);
        char hex[65];
        if (!tail || !path || !*path || !strstr(tail, "weights")) continue;
        int rc = ft_sha256_file(path, hex);
        if (rc < 0) {
            json_decref(o);
            *settings = NULL;
            return rc;
        }
        json_object_set_new(o, name, json_string(hex));
    }
    return FT_OK;
}

/* A stage that failed since this call began, in another worker, is not tried again by every one of them. */
static int failed_elsewhere(const ft_experiment *x, const char *folder)
{
    char path[FT_PATH + 16];
    struct stat s;
    snprintf(path, sizeof path, "%s/failed.json", folder);
    if (stat(path, &s) != 0) return FT_OK;
    if (s.st_mtime < x->began) {
        ft_remove_tree(path); /* of an earlier call: perhaps it works now */
        return FT_OK;
    }
    json_t *o = json_load_file(path, 0, NULL);
    const char *why = json_string_value(json_object_get(o, "error"));
    int rc = FT_FAIL(FT_EDATA, "%s", why ? why : path);
    json_decref(o);
    return rc;
}

static int take(ft_experiment *x, const char *folder, int fd)
{
    int rc = ft_grow(&x->lease, (size_t)x->leases, sizeof *x->lease);
    if (rc < 0) {
        ft_release(fd);
        return rc;
    }
    x->lease[x->leases].fd = fd;
    snprintf(x->lease[x->leases++].folder, FT_PATH, "%s", folder);
    return FT_OK;
}

int ft_stage(ft_experiment *x, const char *stage, json_t *key, char folder[FT_PATH], bool *done)
{
    char hex[65], path[FT_PATH + 16];
    FT_TRY(key_of(stage, key, hex));
    snprintf(folder, FT_PATH, "%s/runs/%s-%.16s", x->dir, stage, hex);
    snprintf(path, sizeof path, "%s/done.json", folder);
    *done = ft_exists(path);
    if (x->complete) {
        FT_TRY(ft_grow(&x->needed, (size_t)x->n_needed, sizeof *x->needed));
        snprintf(x->needed[x->n_needed++], sizeof *x->needed, "%s", ft_base_name(folder));
        if (!*done) return FT_FAIL(FT_EDATA, "%s: is not computed yet. Let `forty experiment run` end first", folder);
    }
    for (int i = 0; !*done && i < x->leases; i++)
        if (!strcmp(x->lease[i].folder, folder)) return FT_OK; /* begun before, by us */
    if (!*done) {
        int lease;
        FT_TRY(failed_elsewhere(x, folder));
        FT_TRY(ft_lease(folder, false, &lease));
        *done = ft_exists(path); /* until now somebody else was at it */
        if (*done) ft_release(lease);
        else FT_TRY(take(x, folder, lease));
    }
    if (*done) x->cached++;
    return FT_OK;
}

static void let_go(ft_experiment *x, int i)
{
    ft_release(x->lease[i].fd);
    x->lease[i] = x->lease[--x->leases];
}

void ft_stages_failed(ft_experiment *x, const char *why)
{
    char path[FT_PATH + 16];
    while (x->leases) {
        snprintf(path, sizeof path, "%s/failed.json", x->lease[0].folder);
        json_t *o = json_pack("{s:s}", "error", why);
        char *text = json_dumps(o, JSON_INDENT(1));
        if (why && text) ft_write_file(path, text, strlen(text));
        free(text);
        json_decref(o);
        let_go(x, 0);
    }
}

int ft_stage_done(ft_experiment *x, const char *folder, json_t *facts)
{
    char path[FT_PATH + 16];
    snprintf(path, sizeof path, "%s/done.json", folder);
    char *text = json_dumps(facts, JSON_INDENT(1));
    json_decref(facts);
    int rc = text ? ft_write_file(path, text, strlen(text)) : FT_FAIL(FT_ENOMEM, "no memory for %s", path);
    free(text);
    x->computed++;
    for (int i = 0; rc == FT_OK && i < x->leases; i++)
        if (!strcmp(x->lease[i].folder, folder)) let_go(x, i);
    return rc;
}

json_t *ft_stage_facts(const char *folder)
{
    char path[FT_PATH + 16];
    snprintf(path, sizeof path, "%s/done.json", folder);
    return json_load_file(path, 0, NULL);
}

json_t *ft_video_names(const ft_clipstore *s, const ft_videos *v)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < v->n; i++) json_array_append_new(a, json_string(s->video[v->video[i]].name));
    return a;
}

static ft_sampling sampling(const ft_config *cfg)
{
    return (ft_sampling){ft_clip_sampler_of(ft_config_text(cfg, "data.sampler")), (int)ft_config_int(cfg, "data.frames"),
                         (int)ft_config_int(cfg, "data.stride"), (int)ft_config_int(cfg, "data.clips_per_video")};
}

/* Clips of another length go through the sampler of the labelled videos, or that of unlabelled.sampler. */
static int resample(ft_arm_context *c)
{
    ft_clipstore *s = &c->own;
    ft_sampling how = sampling(c->x->cfg);
    const char *own = ft_config_text(c->cfg, "unlabelled.sampler");
    if (strcmp(own, "same")) how.how = ft_clip_sampler_of(own);
    int64_t index[256], frame = (int64_t)s->size * s->size * 3;
    int one;
    double used;
    how.clips = 1;
    if (how.how == FT_SAMPLE_STRIDE || s->n_clip == 0) return FT_OK;
    FT_TRY(ft_sample_clips(&how, s->path, s->frames, ft_config_real(c->cfg, "unlabelled.fps"), index, 1, &one, &used));
    uint8_t *pixels = ft_alloc((size_t)(s->n_clip * how.frames * frame));
    if (!pixels) return FT_FAIL(FT_ENOMEM, "no memory for %lld clips", (long long)s->n_clip);
    for (int64_t i = 0; i < s->n_clip; i++)
        for (int f = 0; f < how.frames; f++)
            memcpy(pixels + (i * how.frames + f) * frame, s->pixels + (i * s->frames + index[f]) * frame, (size_t)frame);
    ft_free(s->pixels);
    s->pixels = pixels;
    s->frames = how.frames;
    return FT_OK;
}

int ft_arm_use_file(ft_arm_context *c, const char *path)
{
    FT_TRY(ft_clipstore_read(&c->own, path));
    if (c->own.frames != c->x->store.frames) FT_TRY(resample(c));
    if (c->own.frames != c->x->store.frames || c->own.size != c->x->store.size)
        return FT_FAIL(FT_EDATA, "%s: clips of %d frames and %d pixels; the labelled videos have %d and %d. Make them alike",
                       path, c->own.frames, c->own.size, c->x->store.frames, c->x->store.size);
    if (c->own.n_clip == 0) return FT_FAIL(FT_EDATA, "%s: holds no clips", path);
    c->unlabelled_store = &c->own;
    c->n_clips = c->own.n_clip;
    if (!(c->clips = ft_alloc((size_t)c->n_clips * sizeof *c->clips))) return FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; i < c->n_clips; i++) c->clips[i] = i;
    return FT_OK;
}

/* ---- data -------------------------------------------------------------------------------------------------------------------
 */

/* names, sizes and times of the videos stand for their content, so that a second run need not read them */
static json_t *folder_identity(const char *dir)
{
    json_t *a = json_array();
    char **name;
    int n;
    if (ft_list_dir(dir, &name, &n) < 0) return a;
    for (int i = 0; i < n; i++) {
        char *path = ft_format("%s/%s", dir, name[i]);
        struct stat st;
        if (path && stat(path, &st) == 0)
            json_array_append_new(a, json_pack("[s,I,I]", name[i], (json_int_t)st.st_size, (json_int_t)st.st_mtime));
        ft_free(path);
        ft_free(name[i]);
    }
    ft_free(name);
    return a;
}

int ft_experiment_data(ft_experiment *x)
{
    const ft_config *cfg = x->cfg;
    char folder[FT_PATH], path[FT_PATH + 16];
    const char *clips = ft_config_text(cfg, "data.clips"), *videos = ft_config_text(cfg, "data.videos");
    bool done;
    if (*clips) return ft_clipstore_read(&x->store, clips);
    if (ft_config_bool(cfg, "data.phantom")) {
        static const char *const keys[] = {"phantom.",     "data.frames",          "data.size", "data.stride",
                                           "data.sampler", "data.clips_per_video", NULL};
        FT_TRY(ft_stage(x, "phantom", ft_config_json(cfg, keys), folder, &done));
        snprintf(path, sizeof path, "%s/clips.h5", folder);
        if (!done) {
            ft_phantom_opt o = {.videos = (int)ft_config_int(cfg, "phantom.videos"),
                                .frames = (int)ft_config_int(cfg, "data.frames"),
                                .size = (int)ft_config_int(cfg, "data.size"),
                                .visibility = ft_config_real(cfg, "phantom.visibility"),
                                .balance = ft_config_real(cfg, "phantom.balance"),
                                .seed = (uint64_t)ft_config_int(cfg, "phantom.seed"),
                                .polypdiag = !strcmp(ft_config_text(cfg, "phantom.list"), "polypdiag"),
                                .polypdiag_lengths = !strcmp(ft_config_text(cfg, "phantom.lengths"), "by-class"),
                                .sampling = sampling(cfg)};
            FT_TRY(ft_phantom_write(&o, path));
            FT_TRY(ft_stage_done(x, folder, json_object()));
        }
        return ft_clipstore_read(&x->store, path);
    }
    if (!*videos) return FT_FAIL(FT_ECONFIG, "no data: set data.videos and data.labels, data.clips, or data.phantom: true");
    static const char *const keys[] = {"data.frames",   "data.stride",  "data.fps",  "data.size", "data.clips_per_video",
                                       "data.on_error", "data.sampler", "data.view", NULL};
    char labels[65] = "";
    if (*ft_config_text(cfg, "data.labels")) FT_TRY(ft_sha256_file(ft_config_text(cfg, "data.labels"), labels));
    if (!ft_is_dir(videos))
        return FT_FAIL(FT_EIO, "%s: data.videos %s is not a folder", ft_config_origin(cfg, "data.videos"), videos);
    FT_TRY(ft_stage(
        x, "ingest",
        json_pack("{s:o,s:s,s:o}", "config", ft_config_json(cfg, keys), "labels", labels, "videos", folder_identity(videos)),
        folder, &done));
    snprintf(path, sizeof path, "%s/clips.h5", folder);
    if (!done) {
        ft_ingest_opt o = {videos,
                           ft_config_text(cfg, "data.labels"),
                           sampling(cfg),
                           ft_config_text(cfg, "data.view"),
                           (int)ft_config_int(cfg, "data.size"),
                           ft_config_real(cfg, "data.fps"),
                           !strcmp(ft_config_text(cfg, "data.on_error"), "skip"),
                           false,
                           NULL};
        ft_ingest_result r;
        FT_TRY(ft_ingest(&o, path, &r));
        FT_TRY(ft_stage_done(x, folder,
                             json_pack("{s:i,s:i,s:i,s:i}", "videos", r.videos, "clips", r.clips, "skipped", r.skipped,
                                       "shortened", r.shortened)));
    }
    return ft_clipstore_read(&x->store, path);
}

/* ---- VAE of a fold
 * -------------------------------------------------------------------------------------------------------------- */

int ft_fold_vae_get(ft_experiment *x, const ft_config *cfg, int fold, ft_fold_vae *v)
{
    static const char *const keys[] = {"vae.", "generator.image", "precision", NULL};
    const ft_fold *f = &x->folds[fold];
    bool done;
    json_t *settings;
    FT_TRY(ft_key_settings(cfg, keys, &settings));
    json_t *key = json_pack("{s:o,s:s,s:o,s:o}", "config", settings, "store", x->store.id, "pool",
                            ft_video_names(&x->store, &f->pool), "held_out", ft_video_names(&x->store, &f->validation));
    FT_TRY(ft_stage(x, "vae", key, v->vae, &done));
    snprintf(v->latents, sizeof v->latents, "%.1100s/latents.safetensors", v->vae);
    snprintf(v->held_out, sizeof v->held_out, "%.1100s/held-out.safetensors", v->vae);
    if (f->validation.n == 0) *v->held_out = 0;
    if (!done) {
        int64_t *clip = NULL, *held = NULL, n = 0, m = 0;
        double start = ft_now();
        ft_vae_score score = {.psnr = NAN};
        int rc = ft_clips_of(&x->store, &f->pool, &clip, &n);
        if (rc == FT_OK) rc = ft_clips_of(&x->store, &f->validation, &held, &m);
        ft_clip_pool pool = {&x->store, clip, n}, rest = {&x->store, held, m};
        if (rc == FT_OK) rc = ft_vae_train(cfg, &pool, v->vae, 0, true);
        if (rc == FT_OK) rc = ft_vae_encode_pool(cfg, v->vae, &pool, v->latents);
        if (rc == FT_OK && m > 0) rc = ft_vae_encode_pool(cfg, v->vae, &rest, v->held_out);
        if (rc == FT_OK && m > 0) rc = ft_vae_evaluate(cfg, v->vae, &rest, &score);
        ft_free(clip);
        ft_free(held);
        FT_TRY(rc);
        FT_TRY(ft_stage_done(x, v->vae,
                             json_pack("{s:o,s:[f,f,f],s:f}", "psnr", isnan(score.psnr) ? json_null() : json_real(score.psnr),
                                       "band_error", score.band[0], score.band[1], score.band[2], "seconds", ft_now() - start)));
    }
    json_t *facts = ft_stage_facts(v->vae), *p = json_object_get(facts, "psnr");
    v->psnr = json_is_number(p) ? json_number_value(p) : NAN;
    json_decref(facts);
    return FT_OK;
}
