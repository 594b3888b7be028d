#include "experiments/experiment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "classify/classifier.h"
#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "experiments/arm.h"
#include "experiments/environment.h"
#include "experiments/ingest.h"
#include "gen/generator.h"
#include "gen/vae_train.h"
#include "gen/phantom.h"

/* Revision of what a stage computes: raise it when the same settings would give another result. */
static const char code_version[] = FT_VERSION "/4";

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

int ft_stage(ft_experiment *x, const char *stage, json_t *key, char folder[FT_PATH], bool *done)
{
    char hex[65], path[FT_PATH + 16];
    FT_TRY(key_of(stage, key, hex));
    snprintf(folder, FT_PATH, "%s/runs/%s-%.16s", x->dir, stage, hex);
    snprintf(path, sizeof path, "%s/done.json", folder);
    *done = ft_exists(path);
    if (*done) x->cached++;
    return FT_OK;
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

int ft_arm_use_file(ft_arm_context *c, const char *path)
{
    FT_TRY(ft_clipstore_read(&c->own, path));
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

static int open_data(ft_experiment *x)
{
    const ft_config *cfg = x->cfg;
    char folder[FT_PATH], path[FT_PATH + 16];
    const char *clips = ft_config_text(cfg, "data.clips"), *videos = ft_config_text(cfg, "data.videos");
    bool done;
    if (*clips) return ft_clipstore_read(&x->store, clips);
    if (ft_config_bool(cfg, "data.phantom")) {
        static const char *const keys[] = {"phantom.", "data.frames", "data.size", NULL};
        FT_TRY(ft_stage(x, "phantom", ft_config_json(cfg, keys), folder, &done));
        snprintf(path, sizeof path, "%s/clips.h5", folder);
        if (!done) {
            ft_phantom_opt o = {(int)ft_config_int(cfg, "phantom.videos"),
                                (int)ft_config_int(cfg, "data.frames"),
                                (int)ft_config_int(cfg, "data.size"),
                                ft_config_real(cfg, "phantom.balance"),
                                (uint64_t)ft_config_int(cfg, "phantom.seed"),
                                NULL,
                                false};
            FT_TRY(ft_phantom_write(&o, path));
            FT_TRY(ft_stage_done(x, folder, json_object()));
        }
        return ft_clipstore_read(&x->store, path);
    }
    if (!*videos) return FT_FAIL(FT_ECONFIG, "no data: set data.videos and data.labels, data.clips, or data.phantom: true");
    static const char *const keys[] = {"data.frames",          "data.stride",   "data.fps", "data.size",
                                       "data.clips_per_video", "data.on_error", NULL};
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
                           (int)ft_config_int(cfg, "data.frames"),
                           (int)ft_config_int(cfg, "data.stride"),
                           (int)ft_config_int(cfg, "data.size"),
                           (int)ft_config_int(cfg, "data.clips_per_video"),
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

int ft_fold_vae_get(ft_experiment *x, int fold, ft_fold_vae *v)
{
    static const char *const keys[] = {"vae.", "generator.image", "precision", NULL};
    const ft_fold *f = &x->folds[fold];
    bool done;
    json_t *key = json_pack("{s:o,s:s,s:o,s:o}", "config", ft_config_json(x->cfg, keys), "store", x->store.id, "pool",
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
        if (rc == FT_OK) rc = ft_vae_train(x->cfg, &pool, v->vae, 0, true);
        if (rc == FT_OK) rc = ft_vae_encode_pool(x->cfg, v->vae, &pool, v->latents);
        if (rc == FT_OK && m > 0) rc = ft_vae_encode_pool(x->cfg, v->vae, &rest, v->held_out);
        if (rc == FT_OK && m > 0) rc = ft_vae_evaluate(x->cfg, v->vae, &rest, &score);
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

/* ---- one classifier run
 * ------------------------------------------------------------------------------------------------------------ */

static int training_labels(const ft_experiment *x, const ft_videos *v, int64_t **clip, int **label, int64_t *n)
{
    FT_TRY(ft_clips_of(&x->store, v, clip, n));
    if (!(*label = ft_alloc((size_t)(*n + 1) * sizeof **label))) return FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; i < *n; i++) (*label)[i] = x->classes.of_video[x->store.clip[(*clip)[i]].video];
    return FT_OK;
}

/* Per-video probabilities: mean over a video's clips. rows: one per video of `v`, in its order. */
static int predict_videos(const ft_experiment *x, const char *run, const ft_videos *v, float *rows)
{
    ft_classifier_info info;
    int64_t *clip = NULL, n;
    int C = x->classes.n;
    FT_TRY(ft_classifier_info_read(&info, run));
    int rc = ft_clips_of(&x->store, v, &clip, &n);
    float *prob = rc == FT_OK ? ft_alloc((size_t)(n * C + 1) * sizeof *prob) : NULL;
    if (rc == FT_OK && !prob) rc = FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK) rc = ft_classifier_predict(run, &info, &x->store, clip, n, prob);
    for (int64_t k = 0; rc == FT_OK && k < v->n; k++) {
        int64_t count = 0;
        for (int64_t i = 0; i < n; i++) {
            if (x->store.clip[clip[i]].video != v->video[k]) continue;
            for (int c = 0; c < C; c++) rows[k * C + c] += prob[i * C + c];
            count++;
        }
        for (int c = 0; c < C; c++) rows[k * C + c] /= (float)(count ? count : 1);
    }
    ft_free(prob);
    ft_free(clip);
    ft_classifier_info_free(&info);
    return rc;
}

static void csv_name(FILE *f, const char *s)
{
    if (!strpbrk(s, ",\"\n")) fputs(s, f);
    else {
        fputc('"', f);
        for (; *s; s++) fprintf(f, *s == '"' ? "\"\"" : "%c", *s);
        fputc('"', f);
    }
}

static int save_predictions(const ft_experiment *x, const char *path, const ft_videos *v, const float *prob)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return FT_FAIL(FT_ENOMEM, "no memory for %s", path);
    fprintf(f, "video,label");
    for (int c = 0; c < x->classes.n; c++) fputs(",p_", f), csv_name(f, x->classes.name[c]);
    fputc('\n', f);
    for (int64_t i = 0; i < v->n; i++) {
        csv_name(f, x->store.video[v->video[i]].name);
        fputc(',', f);
        csv_name(f, x->classes.name[x->classes.of_video[v->video[i]]]);
        for (int c = 0; c < x->classes.n; c++) fprintf(f, ",%.9g", (double)prob[i * x->classes.n + c]);
        fputc('\n', f);
    }
    fclose(f);
    int rc = ft_write_file(path, text, size);
    free(text);
    return rc;
}

/* Reads a predictions file of these videos back (written by save_predictions). */
static int load_predictions(const ft_experiment *x, const char *path, const ft_videos *v, float *prob)
{
    char *text;
    size_t size;
    FT_TRY(ft_read_file(path, 0, &text, &size));
    char *line = strchr(text, '\n');
    int rc = FT_OK, C = x->classes.n;
    for (int64_t i = 0; rc == FT_OK && i < v->n; i++) {
        char *end = line ? strchr(line + 1, '\n') : NULL, *p = end;
        if (!end)
            rc = FT_FAIL(FT_EDATA, "%s: %lld of %lld rows. Remove its folder to compute it again", path, (long long)i,
                         (long long)v->n);
        for (int c = C - 1; rc == FT_OK && c >= 0; c--) { /* numbers stand last, so names cannot confuse them */
            *p = 0;
            while (p > line && *p != ',') p--;
            prob[i * C + c] = strtof(p + 1, NULL);
        }
        line = end;
    }
    ft_free(text);
    return rc;
}

typedef struct {
    char folder[FT_PATH];
    ft_videos test; /* labelled test videos; borrowed memory of the caller */
    double utilisation, seconds;
    json_t *pseudo; /* of pseudo-labels: {"share": of each class, "accuracy": or null}; null without */
    int64_t steps;
    char hash[24];
} run_facts;

/* what is known of the pool's own clips, for the log: how many pseudo-labels were right */
static int truth_of(const ft_experiment *x, const ft_arm_context *c, int **truth)
{
    *truth = NULL;
    if (c->unlabelled_store != &x->store) return FT_OK;
    if (!(*truth = ft_alloc((size_t)(c->n_clips + 1) * sizeof **truth))) return FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; i < c->n_clips; i++) (*truth)[i] = x->classes.of_video[x->store.clip[c->clips[i]].video];
    return FT_OK;
}

static json_t *pseudo_labels(const ft_experiment *x, const ft_training_result *r, bool semi)
{
    if (!semi) return json_null();
    json_t *share = json_object();
    for (int k = 0; k < x->classes.n; k++) json_object_set_new(share, x->classes.name[k], json_real(r->pseudo[k]));
    return json_pack("{s:o,s:o}", "share", share, "accuracy",
                     isnan(r->pseudo_accuracy) ? json_null() : json_real(r->pseudo_accuracy));
}

static int classify(ft_arm_context *c, int seed, run_facts *out)
{
    static const char *const keys[] = {"classifier.", "ssl.", "selection", "precision", NULL}, *const plain[] = {
                                                                                                   "classifier.", "selection",
                                                                                                   "precision", NULL};
    ft_experiment *x = c->x;
    const ft_fold *f = &x->folds[c->fold];
    bool done;
    json_t *unlabelled = json_null();
    if (c->unlabelled_store) {
        bool own = c->unlabelled_store == &c->own;
        unlabelled = json_pack("[s,o]", c->unlabelled_store->id, own ? json_null() : ft_video_names(&x->store, &c->unlabelled));
    }
    json_t *classes = json_array();
    for (int k = 0; k < x->classes.n; k++) json_array_append_new(classes, json_string(x->classes.name[k]));
    const char *const *map;
    int n_map = ft_config_list(x->cfg, "data.map", &map);
    for (int k = 0; k < n_map; k++) json_array_append_new(classes, json_string(map[k]));
    json_t *key =
        json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:i,s:i}", "config", ft_config_json(x->cfg, c->unlabelled_store ? keys : plain),
                  "store", x->store.id, "labelled", ft_video_names(&x->store, &c->labelled), "unlabelled", unlabelled, "test",
                  ft_video_names(&x->store, &f->test), "validation", ft_video_names(&x->store, &f->validation), "classes",
                  classes, "seed", seed, "positive", x->classes.positive);
    FT_TRY(ft_stage(x, "classifier", key, out->folder, &done));
    snprintf(out->hash, sizeof out->hash, "%s", strrchr(out->folder, '-') + 1);
    char path[FT_PATH + 32];
    snprintf(path, sizeof path, "%s/test.csv", out->folder);
    if (!done) {
        ft_training_set set = {.store = &x->store,
                               .unlabelled_store = c->unlabelled_store,
                               .unlabelled = c->clips,
                               .n_unlabelled = c->n_clips,
                               .classes = (const char *const *)x->classes.name,
                               .n_classes = x->classes.n,
                               .validation_store = &x->store,
                               .positive = x->classes.positive};
        int64_t *clip = NULL, *held = NULL;
        int *label = NULL, *held_label = NULL, *truth = NULL;
        ft_training_result r = {0};
        float *prob = ft_alloc((size_t)(f->test.n * x->classes.n + 1) * sizeof *prob);
        int rc = prob ? training_labels(x, &c->labelled, &clip, &label, &set.n) : FT_FAIL(FT_ENOMEM, "no memory for predictions");
        if (rc == FT_OK) rc = training_labels(x, &f->validation, &held, &held_label, &set.n_validation);
        if (rc == FT_OK) rc = truth_of(x, c, &truth);
        set.truth = truth;
        set.clip = clip, set.label = label, set.validation = held, set.validation_label = held_label;
        if (rc == FT_OK)
            rc = ft_classifier_train(x->cfg, &set, out->folder, (uint64_t)(ft_config_int(x->cfg, "seed") + seed), true, &r);
        if (rc == FT_OK) rc = predict_videos(x, out->folder, &f->test, prob); /* the only look at the test list */
        if (rc == FT_OK) rc = save_predictions(x, path, &f->test, prob);
        if (rc == FT_OK)
            rc = ft_stage_done(x, out->folder,
                               json_pack("{s:f,s:f,s:I,s:o}", "utilisation", r.utilisation, "seconds", r.seconds, "step",
                                         (json_int_t)r.best_step, "pseudo_labels",
                                         pseudo_labels(x, &r, c->unlabelled_store != NULL)));
        ft_free(prob);
        ft_free(clip);
        ft_free(held);
        ft_free(label);
        ft_free(held_label);
        ft_free(truth);
        FT_TRY(rc);
    }
    json_t *facts = ft_stage_facts(out->folder);
    out->utilisation = json_number_value(json_object_get(facts, "utilisation"));
    out->seconds = json_number_value(json_object_get(facts, "seconds"));
    out->steps = json_integer_value(json_object_get(facts, "step"));
    out->pseudo = json_incref(json_object_get(facts, "pseudo_labels"));
    json_decref(facts);
    return FT_OK;
}

/* ---- an arm over splits and seeds
 * --------------------------------------------------------------------------------------------------- */

static void context_free(ft_arm_context *c)
{
    ft_free(c->labelled.video);
    ft_free(c->unlabelled.video);
    ft_free(c->clips);
    ft_clipstore_free(&c->own);
}

/* A run of the table: one (split, seed); with cross-validation its test videos are those of all folds of a repeat. */
static int one_run(ft_experiment *x, const char *name, ft_arm_result *arm, int split, int seed)
{
    const ft_arm *row = ft_arm_find(name);
    bool cv = x->n_folds > 1;
    int64_t total = 0, at = 0;
    int C = x->classes.n, rc = FT_OK;
    for (int f = 0; f < x->n_folds; f++)
        if (!cv || x->folds[f].repeat == split) total += x->folds[f].test.n;
    float *prob = ft_alloc((size_t)(total * C + 1) * sizeof *prob);
    int *label = ft_alloc((size_t)(total + 1) * sizeof *label);
    ft_videos all = {ft_alloc((size_t)(total + 1) * sizeof(int64_t)), 0};
    double utilisation = 0, seconds = 0;
    json_t *pseudo = json_array(); /* one for each fold */
    int64_t steps = 0, folds = 0;
    char hash[200] = "", path[FT_PATH + 64];
    if (!prob || !label || !all.video) rc = FT_FAIL(FT_ENOMEM, "no memory for scores");
    for (int f = 0; rc == FT_OK && f < x->n_folds; f++) {
        if (cv && x->folds[f].repeat != split) continue;
        ft_arm_context c = {.x = x, .arm = name, .fold = f, .split = split};
        run_facts facts;
        const ft_videos *test = &x->folds[f].test;
        rc = ft_split_make(&c.labelled, &c.unlabelled, x->cfg, &x->store, &x->classes, &x->folds[f], split);
        if (rc == FT_OK) {
            snprintf(path, sizeof path, "%s/splits/split-%d.json", x->dir, split);
            if (cv) snprintf(path, sizeof path, "%s/splits/split-%d-fold-%d.json", x->dir, split, x->folds[f].fold);
            rc = ft_split_save(path, &x->store, &x->folds[f], &c.labelled, split);
        }
        if (rc == FT_OK) rc = row->prepare(&c);
        if (rc == FT_OK)
            rc = classify(&c, seed + 1000 * split, &facts); /* initialisation and order vary with the split, in every arm alike */
        if (rc == FT_OK) {
            snprintf(path, sizeof path, "%s/test.csv", facts.folder);
            rc = load_predictions(x, path, test, prob + at * C);
        }
        for (int64_t i = 0; rc == FT_OK && i < test->n; i++, at++) {
            label[at] = x->classes.of_video[test->video[i]];
            all.video[all.n++] = test->video[i];
        }
        if (rc == FT_OK) {
            utilisation += facts.utilisation, seconds += facts.seconds, steps += facts.steps, folds++;
            json_array_append_new(pseudo, facts.pseudo ? facts.pseudo : json_null());
            snprintf(hash + strlen(hash), sizeof hash - strlen(hash), "%s%s", *hash ? "+" : "", facts.hash);
            if (!*arm->log) snprintf(arm->log, sizeof arm->log, "%.1100s/log.csv", facts.folder);
            if (!*arm->clips && c.unlabelled_store == &c.own) snprintf(arm->clips, sizeof arm->clips, "%s", c.own.path);
            if (row->facts && isnan(arm->eps_mse)) rc = row->facts(&c, arm);
        }
        context_free(&c);
    }
    if (rc == FT_OK) {
        ft_scores s = ft_score(prob, label, total, C, x->classes.positive);
        snprintf(path, sizeof path, "%s/scores/%s-split-%d-seed-%d.csv", x->dir, arm->name, split, seed);
        rc = save_predictions(x, path, &all, prob);
        arm->line[arm->n] =
            json_pack("{s:s,s:i,s:i,s:o,s:f,s:O,s:I,s:f,s:s,s:s}", "arm", arm->name, "split", split, "seed", seed, "metrics",
                      ft_scores_json(&s), "utilisation", utilisation / (double)folds, "pseudo_labels", pseudo, "steps",
                      (json_int_t)(steps / folds), "wall_s", seconds, "config_hash", hash, "scores", path + strlen(x->dir) + 1);
        arm->run[arm->n++] = (ft_run_scores){split, seed, prob, label, total, s.f1};
    } else {
        ft_free(prob);
        ft_free(label);
    }
    json_decref(pseudo);
    ft_free(all.video);
    return rc;
}

static void arm_label(char out[128], const char *arm)
{
    /* a file's arm is named by the file */
    if (!strncmp(arm, "clips: ", 7)) snprintf(out, 128, "%.*s", (int)strcspn(ft_base_name(arm + 7), "."), ft_base_name(arm + 7));
    else snprintf(out, 128, "%s", arm);
}

/* ---- the whole
 * -------------------------------------------------------------------------------------------------------------------------- */

static int check_arms(const ft_config *cfg)
{
    const char *const *arm;
    int n = ft_config_list(cfg, "arms", &arm);
    if (n == 0) return FT_FAIL(FT_ECONFIG, "%s: arms is empty. Name at least supervised", ft_config_origin(cfg, "arms"));
    for (int i = 0; i < n; i++) {
        if (!ft_arm_find(arm[i]))
            return FT_FAIL(FT_ECONFIG, "%s: the arm %s is not known. `forty models` lists arms and generators",
                           ft_config_origin(cfg, "arms"), arm[i]);
        for (int k = 0; k < i; k++)
            if (!strcmp(arm[i], arm[k]))
                return FT_FAIL(FT_ECONFIG, "%s: the arm %s stands there twice", ft_config_origin(cfg, "arms"), arm[i]);
        if (!strncmp(arm[i], "clips: ", 7) && !ft_exists(arm[i] + 7))
            return FT_FAIL(FT_EIO, "%s: %s is not there", ft_config_origin(cfg, "arms"), arm[i] + 7);
    }
    if (!ft_classifier_find(ft_config_text(cfg, "classifier.model")))
        return FT_FAIL(FT_ECONFIG, "%s: classifier.model %s is not known. `forty models` lists the presets",
                       ft_config_origin(cfg, "classifier.model"), ft_config_text(cfg, "classifier.model"));
    return FT_OK;
}

static int open_experiment(ft_experiment *x)
{
    FT_TRY(check_arms(x->cfg));
    FT_TRY(ft_mkdirs(x->dir));
    FT_TRY(open_data(x));
    FT_TRY(ft_classes_make(&x->classes, x->cfg, &x->store));
    FT_TRY(ft_folds_make(&x->folds, &x->n_folds, x->cfg, &x->store, &x->classes));
    for (int f = 0; f < x->n_folds; f++) { /* every split must be possible before anything long starts */
        ft_videos a, b;
        FT_TRY(ft_split_make(&a, &b, x->cfg, &x->store, &x->classes, &x->folds[f], 0));
        ft_free(a.video);
        ft_free(b.video);
    }
    return FT_OK;
}

static int distances(ft_result *r)
{
    ft_experiment *x = r->x;
    char folder[FT_PATH];
    bool done;
    json_t *arms = json_array();
    for (int i = 0; i < r->n; i++) json_array_append_new(arms, json_string(r->arm[i].clips));
    FT_TRY(ft_stage(x, "distances", json_pack("{s:s,s:o}", "store", x->store.id, "arms", arms), folder, &done));
    if (!done) {
        int64_t *pool = NULL, *held = NULL, n = 0, m = 0;
        float *real = NULL, *other = NULL;
        json_t *facts = json_object();
        double d;
        FT_TRY(ft_clips_of(&x->store, &x->folds[0].pool, &pool, &n));
        int D = ft_classifier_features("x3d-tiny", &x->store, pool, n, &x->store, pool, n, &real), rc = D;
        if (rc >= 0) rc = ft_clips_of(&x->store, &x->folds[0].validation, &held, &m);
        if (rc >= 0 && m > 1) {
            rc = ft_classifier_features("x3d-tiny", &x->store, pool, n, &x->store, held, m, &other);
            if (rc >= 0) rc = ft_frechet(real, n, other, m, D, &d);
            if (rc >= 0) json_object_set_new(facts, "held-out", json_real(d));
            ft_free(other);
        }
        for (int i = 0; rc >= 0 && i < r->n; i++) {
            ft_clipstore s;
            if (!*r->arm[i].clips || ft_clipstore_read(&s, r->arm[i].clips) < 0) continue;
            int64_t *all = ft_alloc((size_t)(s.n_clip + 1) * sizeof *all);
            for (int64_t k = 0; all && k < s.n_clip; k++) all[k] = k;
            rc = ft_classifier_features("x3d-tiny", &x->store, pool, n, &s, all, s.n_clip, &other);
            if (rc >= 0) rc = ft_frechet(real, n, other, s.n_clip, D, &d);
            if (rc >= 0) json_object_set_new(facts, r->arm[i].name, json_real(d));
            ft_free(all);
            ft_free(other);
            ft_clipstore_free(&s);
        }
        ft_free(pool);
        ft_free(held);
        ft_free(real);
        if (rc >= 0) rc = ft_stage_done(x, folder, json_incref(facts));
        json_decref(facts);
        FT_TRY(rc);
    }
    json_t *facts = ft_stage_facts(folder), *v = json_object_get(facts, "held-out");
    r->frechet_real = json_is_number(v) ? json_number_value(v) : NAN;
    for (int i = 0; i < r->n; i++) {
        v = json_object_get(facts, r->arm[i].name);
        r->arm[i].frechet = json_is_number(v) ? json_number_value(v) : NAN;
    }
    json_decref(facts);
    return FT_OK;
}

static void compare(ft_result *r)
{
    const ft_config *cfg = r->x->cfg;
    int samples = (int)ft_config_int(cfg, "bootstrap"), C = r->x->classes.n, positive = r->x->classes.positive;
    ft_arm_result *base = NULL;
    double p[256], difference[4096];
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->arm[i].name, "supervised")) base = &r->arm[i];
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < r->n; i++) {
        ft_arm_result *a = &r->arm[i];
        a->f1 = ft_arm_interval(a->run, a->n, C, positive, samples);
        a->delta = (ft_interval){NAN, NAN, NAN, NAN};
        if (base && base != a) a->delta = ft_paired_interval(a->run, base->run, a->n, C, positive, samples);
    }
    for (int i = 0; i < r->n && i < 256; i++) {
        ft_arm_result *a = &r->arm[i];
        p[i] = NAN;
        if (base && base != a) {
            for (int k = 0; k < a->n && k < 4096; k++) difference[k] = a->run[k].f1 - base->run[k].f1;
            p[i] = ft_sign_flip(difference, a->n);
        }
        a->p = p[i];
    }
    ft_holm(p, r->n);
    for (int i = 0; i < r->n; i++) r->arm[i].p_holm = p[i];
    /* trivial answers on the first run's test videos */
    const ft_run_scores *t = &r->arm[0].run[0];
    float *prob = ft_alloc((size_t)(t->n * C + 1) * sizeof *prob);
    for (int kind = 0; prob && kind < 2; kind++) {
        for (int64_t i = 0; i < t->n; i++)
            for (int c = 0; c < C; c++) prob[i * C + c] = C == 2 ? (c == positive) == (kind == 0) : c == (kind ? 0 : positive);
        *(kind ? &r->trivial_negative : &r->trivial_positive) = ft_f1(prob, t->label, NULL, t->n, C, positive);
    }
    ft_free(prob);
    double prevalence = 0; /* guessing positive at the rate of the training labels, which are balanced: 1 / classes */
    for (int64_t i = 0; i < t->n; i++) prevalence += t->label[i] == positive;
    prevalence /= (double)t->n;
    r->trivial_prior = C == 2 ? 2 * prevalence * 0.5 / (prevalence + 0.5) : 1.0 / C;
    r->test_videos = t->n;
}

static int write_lines(const ft_result *r)
{
    char path[FT_PATH], *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return FT_FAIL(FT_ENOMEM, "no memory for results");
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->arm[i].n; k++) {
            char *line = json_dumps(r->arm[i].line[k], JSON_COMPACT);
            fprintf(f, "%s\n", line ? line : "{}");
            free(line);
        }
    fclose(f);
    snprintf(path, sizeof path, "%s/results.jsonl", r->x->dir);
    int rc = ft_write_file(path, text, size);
    free(text);
    return rc;
}

static int copy_clips(const ft_result *r) /* clips/ARM.h5 points into runs/ */
{
    for (int i = 0; i < r->n; i++) {
        char path[FT_PATH + 160], to[FT_PATH], runs[FT_PATH];
        snprintf(runs, sizeof runs, "%s/runs/", r->x->dir);
        if (strncmp(r->arm[i].clips, runs, strlen(runs))) continue; /* a file of somebody else stays where it is */
        snprintf(path, sizeof path, "%s/clips/%s.h5", r->x->dir, r->arm[i].name);
        snprintf(to, sizeof to, "..%s", r->arm[i].clips + strlen(r->x->dir));
        FT_TRY(ft_mkdirs_for(path));
        unlink(path);
        if (symlink(to, path) != 0) return FT_FAIL(FT_EIO, "%s: cannot be linked", path);
    }
    return FT_OK;
}

int ft_experiment_run(ft_config *cfg, const char *dir, const char *command, bool json)
{
    ft_experiment x = {.cfg = cfg};
    ft_result r = {.x = &x, .command = command, .psnr = NAN, .frechet_real = NAN};
    const char *const *arm;
    char path[FT_PATH];
    int n = ft_config_list(cfg, "arms", &arm), splits = (int)ft_config_int(cfg, "splits"),
        seeds = (int)ft_config_int(cfg, "seeds"), rc;
    double start = ft_now();
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    FT_TRY_TO(rc, done, ft_hold_folder(dir));
    FT_TRY_TO(rc, done, open_experiment(&x));
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    FT_TRY_TO(rc, done, ft_config_write(cfg, path));
    ft_log("%lld videos, %lld clips of %d frames and %d pixels; %d classes, positive: %s; %d arms x %d splits x %d seeds",
           (long long)x.store.n_video, (long long)x.store.n_clip, x.store.frames, x.store.size, x.classes.n,
           x.classes.name[x.classes.positive], n, splits, seeds);
    r.n = n;
    r.arm = ft_alloc(sizeof *r.arm * (size_t)n);
    for (int i = 0; r.arm && i < n; i++) {
        ft_arm_result *a = &r.arm[i];
        arm_label(a->name, arm[i]);
        a->psnr = a->eps_mse = a->frechet = NAN;
        a->run = ft_alloc(sizeof *a->run * (size_t)(splits * seeds));
        a->line = ft_alloc(sizeof *a->line * (size_t)(splits * seeds));
        if (!a->run || !a->line) r.arm[0].run = NULL;
    }
    if (!r.arm || !r.arm[0].run) {
        rc = FT_FAIL(FT_ENOMEM, "no memory for %d arms", n);
        goto done;
    }
    for (int i = 0; i < n; i++)
        for (int split = 0; split < splits; split++)
            for (int seed = 0; seed < seeds; seed++) {
                int before = x.computed;
                FT_TRY_TO(rc, done, one_run(&x, arm[i], &r.arm[i], split, seed));
                if (x.computed > before)
                    ft_log("%s, split %d, seed %d: F1 %.1f", r.arm[i].name, split, seed, 100 * r.arm[i].run[r.arm[i].n - 1].f1);
            }
    FT_TRY_TO(rc, done, distances(&r));
    compare(&r);
    for (int i = 0; i < n; i++)
        if (!isnan(r.arm[i].psnr) && !*r.vae_log) {
            ft_fold_vae v;
            FT_TRY_TO(rc, done, ft_fold_vae_get(&x, 0, &v));
            snprintf(r.vae_log, sizeof r.vae_log, "%.1100s/log.csv", v.vae);
        }
    for (int i = 0; i < n; i++) {
        if (!isnan(r.arm[i].psnr)) r.psnr = r.arm[i].psnr;
        for (int k = 0; k < r.arm[i].n; k++) r.seconds += json_number_value(json_object_get(r.arm[i].line[k], "wall_s"));
    }
    FT_TRY_TO(rc, done, write_lines(&r));
    FT_TRY_TO(rc, done, copy_clips(&r));
    FT_TRY_TO(rc, done, ft_summary_write(&r));
    snprintf(path, sizeof path, "%s/environment.json", dir);
    FT_TRY_TO(rc, done, ft_environment_write(path, command));
    snprintf(path, sizeof path, "%s/report.html", dir);
    FT_TRY_TO(rc, done, ft_report_write(&r, path));
    if (json) {
        json_t *o = ft_summary_json(&r);
        json_object_set_new(o, "report", json_string(path));
        json_object_set_new(o, "computed", json_integer(x.computed));
        json_object_set_new(o, "cached", json_integer(x.cached));
        json_dumpf(o, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(o);
    } else {
        ft_summary_print(&r, stdout);
        printf("\n%s (%d stages computed, %d from the cache, %.0f s)\n", path, x.computed, x.cached, ft_now() - start);
    }
done:
    for (int i = 0; r.arm && i < n; i++) {
        for (int k = 0; r.arm[i].run && k < r.arm[i].n; k++) {
            ft_free((void *)r.arm[i].run[k].prob);
            ft_free((void *)r.arm[i].run[k].label);
            json_decref(r.arm[i].line[k]);
        }
        ft_free(r.arm[i].run);
        ft_free(r.arm[i].line);
    }
    ft_free(r.arm);
    ft_folds_free(x.folds, x.n_folds);
    ft_classes_free(&x.classes);
    ft_clipstore_free(&x.store);
    return rc;
}

int ft_experiment_status(ft_config *cfg, const char *dir)
{
    char path[FT_PATH], **name;
    int n, done = 0, rc;
    (void)cfg;
    snprintf(path, sizeof path, "%s/runs", dir);
    FT_TRY(ft_list_dir(path, &name, &n));
    for (int i = 0; i < n; i++) {
        char *mark = ft_format("%s/%s/done.json", path, name[i]);
        bool ok = mark && ft_exists(mark);
        printf("%-40s %s\n", name[i], ok ? "done" : "started");
        done += ok;
        ft_free(mark);
        ft_free(name[i]);
    }
    ft_free(name);
    rc = printf("%d of %d stages done\n", done, n) < 0 ? FT_EIO : FT_OK;
    return rc;
}
