/* The clips: of the labelled videos, made by the first stage of an experiment, and of files that arms name. */
#include "experiments/stages/stage_data.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/labels.h"
#include "experiments/data/ingest.h"
#include "gen/phantom.h"

static ft_sampling sampling(const ft_config *cfg)
{
    return (ft_sampling){ft_clip_sampler_of(ft_config_text(cfg, "data.sampler")), (int)ft_config_int(cfg, "data.frames"),
                         (int)ft_config_int(cfg, "data.stride"), (int)ft_config_int(cfg, "data.clips_per_video"), 0};
}

ft_clip_sampler ft_alike_sampler(const ft_config *cfg)
{
    const char *own = ft_config_text(cfg, "unlabelled.sampler");
    return ft_clip_sampler_of(strcmp(own, "same") ? own : ft_config_text(cfg, "data.sampler"));
}

/* Clips of another length go through the sampler. */
static int resample(ft_clipstore *s, const ft_experiment *x)
{
    ft_sampling how = {ft_alike_sampler(x->cfg), x->store.frames, (int)ft_config_int(x->cfg, "data.stride"), 1, 0};
    int64_t index[256], frame = (int64_t)s->size * s->size * 3;
    int one;
    double used;
    if (how.how == FT_SAMPLE_STRIDE || s->n_clip == 0) return FT_OK;
    FT_TRY(ft_sample_clips(&how, s->path, s->frames, ft_config_real(x->cfg, "unlabelled.fps"), index, 1, &one, &used));
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

int ft_clips_alike(ft_clipstore *s, const ft_experiment *x, const char *path)
{
    FT_TRY(ft_clipstore_read(s, path));
    if (s->frames != x->store.frames) FT_TRY(resample(s, x));
    if (s->frames != x->store.frames || s->size != x->store.size)
        return FT_FAIL(FT_EDATA, "%s: clips of %d frames and %d pixels; the labelled videos have %d and %d. Make them alike",
                       path, s->frames, s->size, x->store.frames, x->store.size);
    if (s->n_clip == 0) return FT_FAIL(FT_EDATA, "%s: holds no clips", path);
    return FT_OK;
}

int ft_alike_key(const ft_experiment *x, const ft_config *cfg, const char *file, json_t **key)
{
    ft_clipstore head = {0};
    char hex[65];
    *key = NULL;
    FT_TRY(ft_sha256_file(file, hex));
    bool alike = ft_clipstore_head(&head, file, 1) < 0 || head.frames == x->store.frames; /* what cannot be read is said later */
    ft_clipstore_free(&head);
    *key = alike ? json_string(hex)
                 : json_pack("[s,s,i]", hex, ft_clip_sampler_name(ft_alike_sampler(cfg)), (int)ft_config_int(cfg, "data.stride"));
    return FT_OK;
}

/* ---- data ---------------------------------------------------------------------------------------------------------------- */

/* names, sizes and times of the videos stand for their content, so that a second run need not read them */
static int folder_identity(const char *dir, int depth, json_t *list)
{
    char **name, shown[1024];
    int n, rc;
    FT_TRY(ft_list_dir(dir, &name, &n));
    rc = FT_OK;
    for (int i = 0; i < n; i++) {
        char *path = rc == FT_OK ? ft_format("%s/%s", dir, name[i]) : NULL;
        struct stat st;
        if (rc == FT_OK && !path) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", dir);
        ft_printable(shown, sizeof shown, name[i], false); /* not every file there is a video of ours */
        if (path && stat(path, &st) == 0) {
            json_array_append_new(list, json_pack("[s,I,I]", shown, (json_int_t)st.st_size, (json_int_t)st.st_mtime));
            if (S_ISDIR(st.st_mode) && depth < 8)
                rc = folder_identity(path, depth + 1, list); /* as deep as videos are looked for */
        }
        ft_free(path);
        ft_free(name[i]);
    }
    ft_free(name);
    return rc;
}

int ft_folder_identity(const char *dir, json_t *list) { return folder_identity(dir, 0, list); }

static ft_phantom_opt phantom_options(const ft_config *cfg)
{
    return (ft_phantom_opt){.videos = (int)ft_config_int(cfg, "phantom.videos"),
                            .frames = (int)ft_config_int(cfg, "data.frames"),
                            .size = (int)ft_config_int(cfg, "data.size"),
                            .visibility = ft_config_real(cfg, "phantom.visibility"),
                            .balance = ft_config_real(cfg, "phantom.balance"),
                            .seed = (uint64_t)ft_config_int(cfg, "phantom.seed"),
                            .polypdiag = ft_config_is(cfg, "phantom.list", "polypdiag"),
                            .polypdiag_lengths = ft_config_is(cfg, "phantom.lengths", "by-class"),
                            .sampling = sampling(cfg)};
}

static int make_phantom(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    ft_phantom_opt o = phantom_options(s->own);
    (void)x, (void)facts;
    ft_stage_file(path, s, "clips.h5");
    return ft_phantom_write(&o, path);
}

static ft_ingest_opt ingest_options(const ft_config *cfg)
{
    ft_ingest_opt o = {.videos = ft_config_text(cfg, "data.videos"),
                       .labels = ft_config_text(cfg, "data.labels"),
                       .sampling = sampling(cfg),
                       .view = ft_config_text(cfg, "data.view"),
                       .size = (int)ft_config_int(cfg, "data.size"),
                       .fps = ft_config_real(cfg, "data.fps"),
                       .skip = ft_config_is(cfg, "data.on_error", "skip"),
                       .checksums = ft_config_text(cfg, "data.checksums"),
                       .outside = ft_config_bool(cfg, "data.outside"),
                       .list = ft_list_words_of(cfg),
                       .crop = ft_config_text(cfg, "data.crop")};
    o.sampling.overlap = ft_config_real(cfg, "data.overlap");
    return o;
}

static int ingest(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    ft_ingest_opt o = ingest_options(s->own);
    ft_ingest_result r;
    (void)x;
    ft_stage_file(path, s, "clips.h5");
    FT_TRY(ft_ingest(&o, path, &r));
    json_object_set_new(facts, "videos", json_integer(r.videos));
    json_object_set_new(facts, "clips", json_integer(r.clips));
    json_object_set_new(facts, "skipped", json_integer(r.skipped));
    json_object_set_new(facts, "shortened", json_integer(r.shortened));
    json_object_set_new(facts, "repeating", json_integer(r.repeating));
    return FT_OK;
}

static const ft_stage_kind phantom_kind = {"phantom", make_phantom, NULL}, ingest_kind = {"ingest", ingest, NULL};

static int plan_data(ft_experiment *x, ft_stage **stage)
{
    const ft_config *cfg = x->cfg;
    const char *videos = ft_config_text(cfg, "data.videos");
    ft_stage like = {.cfg = cfg, .arm = "", .label = "", .file = ""};
    if (ft_config_bool(cfg, "data.phantom")) {
        static const char *const keys[] = {"phantom.",     "data.frames",          "data.size", "data.stride",
                                           "data.sampler", "data.clips_per_video", NULL};
        like.kind = &phantom_kind;
        return ft_stage_add(x, &like, ft_config_json(cfg, keys), stage);
    }
    if (!*videos) return FT_FAIL(FT_ECONFIG, "no data: set data.videos and data.labels, data.clips, or data.phantom: true");
    static const char *const keys[] = {
        "data.frames", "data.stride",  "data.fps",  "data.size", "data.clips_per_video", "data.on_error", "data.sampler",
        "data.view",   "data.overlap", "data.crop", NULL};
    static const char *const by_content[] = {"data.videos",  "data.labels",     "data.checksums",
                                             "data.outside", FT_LIST_WORD_KEYS, NULL};
    char labels[65] = "";
    if (*ft_config_text(cfg, "data.labels")) FT_TRY(ft_labels_sha256(ft_config_text(cfg, "data.labels"), labels));
    if (!ft_is_dir(videos))
        return FT_FAIL(FT_EIO, "%s: data.videos %s is not a folder", ft_config_origin(cfg, "data.videos"), videos);
    like.kind = &ingest_kind, like.by_content = by_content;
    json_t *list = json_array(), *config = ft_config_json(cfg, keys), *words = ft_list_words_key(cfg);
    json_object_update(config, words);
    json_decref(words);
    int rc = folder_identity(videos, 0, list);
    if (rc == FT_OK)
        return ft_stage_add(x, &like, json_pack("{s:o,s:s,s:o}", "config", config, "labels", labels, "videos", list), stage);
    json_decref(config);
    json_decref(list);
    return rc;
}

int ft_experiment_data(ft_experiment *x)
{
    const char *clips = ft_config_text(x->cfg, "data.clips");
    char path[FT_PATH];
    ft_stage *data;
    if (*clips) return ft_clipstore_read(&x->store, clips);
    FT_TRY(plan_data(x, &data));
    if (x->look_only && ft_stage_look(x, data) != FT_STAGE_DONE)
        return FT_FAIL(FT_EDATA, "%s: the clips of the videos are not made yet, and all else hangs on them", x->dir);
    FT_TRY(ft_stage_compute(x, data));
    ft_stage_file(path, data, "clips.h5");
    return ft_clipstore_read(&x->store, path);
}
