/* One classifier run of an arm: training, the test list's predictions, their files. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier.h"
#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "experiments/arm.h"
#include "experiments/experiment.h"

/* ---- one classifier run
 * ------------------------------------------------------------------------------------------------------------ */

/* clips and their labels; `most` of a video, 0: all */
static int labels_of(const ft_experiment *x, const ft_videos *v, int64_t most, int64_t **clip, int **label, int64_t *n)
{
    FT_TRY(ft_first_clips_of(&x->store, v, most, clip, n));
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
    int rc = ft_first_clips_of(&x->store, v, ft_config_int(x->cfg, "data.test_clips"), &clip, &n);
    float *prob = rc == FT_OK ? ft_alloc((size_t)(n * C + 1) * sizeof *prob) : NULL;
    if (rc == FT_OK && !prob) rc = FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK) rc = ft_classifier_predict(run, &info, &x->store, clip, n, prob);
    int64_t *first = ft_alloc((size_t)(n + 1) * sizeof *first), videos;
    if (rc == FT_OK && !first) rc = FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK) {
        videos = ft_video_means(&x->store, clip, n, prob, C, rows, first);
        FT_ASSERT(videos == v->n); /* both in the store's order, and every video has clips */
    }
    ft_free(first);
    ft_free(prob);
    ft_free(clip);
    ft_classifier_info_free(&info);
    return rc;
}

static int save_predictions(const ft_experiment *x, const char *path, const ft_videos *v, const float *prob)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return FT_FAIL(FT_ENOMEM, "no memory for %s", path);
    fprintf(f, "video,label");
    for (int c = 0; c < x->classes.n; c++) fputs(",p_", f), ft_csv_field(f, x->classes.name[c]);
    fputc('\n', f);
    for (int64_t i = 0; i < v->n; i++) {
        ft_csv_field(f, x->store.video[v->video[i]].name);
        fputc(',', f);
        ft_csv_field(f, x->classes.name[x->classes.of_video[v->video[i]]]);
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
    json_t *pseudo;   /* of pseudo-labels: {"share": of each class, "accuracy": or null}; null without */
    double threshold; /* of p(positive), chosen on validation videos; NaN without */
    json_t *looks;    /* F1 of the test list at each look while training; null without */
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

/* the threshold on p(positive) with the best F1 on the fold's validation videos: two classes only, NaN else */
static int operating_point(const ft_experiment *x, const ft_fold *f, const char *run, double *threshold)
{
    const ft_videos *v = &f->validation;
    if (x->classes.n != 2 || v->n == 0) return FT_OK;
    float *prob = ft_alloc((size_t)(v->n * 2 + 1) * sizeof *prob);
    int *label = ft_alloc((size_t)(v->n + 1) * sizeof *label);
    int rc = prob && label ? predict_videos(x, run, v, prob) : FT_FAIL(FT_ENOMEM, "no memory for predictions");
    for (int64_t i = 0; rc == FT_OK && i < v->n; i++) label[i] = x->classes.of_video[v->video[i]];
    if (rc == FT_OK) *threshold = ft_operating_point(prob, label, v->n, x->classes.positive);
    ft_free(prob);
    ft_free(label);
    return rc;
}

static json_t *looks_of(const ft_training_result *r, bool looked)
{
    if (!looked) return json_null();
    json_t *a = json_array();
    for (int i = 0; i < r->looks; i++) json_array_append_new(a, json_real(r->look[i]));
    return a;
}

static int classify(ft_arm_context *c, int run, run_facts *out)
{
    int seed = (int)ft_config_int(c->cfg, "seed") + run;
    static const char *const keys[] = {"classifier.",     "ssl.",      "unlabelled.", "selection", "looks",
                                       "data.test_clips", "precision", NULL};
    static const char *const plain[] = {"classifier.", "selection", "looks", "data.test_clips", "precision", NULL};
    ft_experiment *x = c->x;
    const ft_fold *f = &x->folds[c->fold];
    bool done, best_on_test = !strcmp(ft_config_text(c->cfg, "selection"), "best-on-test");
    json_t *unlabelled = json_null();
    if (c->unlabelled_store) { unlabelled = json_pack("[s,s]", c->unlabelled_store->id, c->picked); }
    json_t *classes = json_array();
    for (int k = 0; k < x->classes.n; k++) json_array_append_new(classes, json_string(x->classes.name[k]));
    const char *const *map;
    int n_map = ft_config_list(x->cfg, "data.map", &map);
    for (int k = 0; k < n_map; k++) json_array_append_new(classes, json_string(map[k]));
    json_t *settings;
    FT_TRY(ft_key_settings(c->cfg, c->unlabelled_store ? keys : plain, &settings));
    json_t *key = json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:i,s:i}", "config", settings, "store", x->store.id, "labelled",
                            ft_video_names(&x->store, &c->labelled), "unlabelled", unlabelled, "test",
                            ft_video_names(&x->store, &f->test), "validation", ft_video_names(&x->store, &f->validation),
                            "classes", classes, "seed", seed, "positive", x->classes.positive);
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
                               .watched_store = &x->store,
                               .looks = (int)ft_config_int(c->cfg, "looks"),
                               .positive = x->classes.positive};
        int64_t *clip = NULL, *held = NULL;
        int *label = NULL, *held_label = NULL, *truth = NULL;
        ft_training_result r = {0};
        float *prob = ft_alloc((size_t)(f->test.n * x->classes.n + 1) * sizeof *prob);
        int rc = prob ? labels_of(x, &c->labelled, 0, &clip, &label, &set.n) : FT_FAIL(FT_ENOMEM, "no memory for predictions");
        if (rc == FT_OK)
            rc = labels_of(x, set.looks ? &f->test : &f->validation, ft_config_int(x->cfg, "data.test_clips"), &held, &held_label,
                           &set.n_watched);
        if (rc == FT_OK) rc = truth_of(x, c, &truth);
        set.truth = truth;
        set.clip = clip, set.label = label, set.watched = held, set.watched_label = held_label;
        if (rc == FT_OK) rc = ft_classifier_train(c->cfg, &set, out->folder, (uint64_t)seed, true, &r);
        if (rc == FT_OK && best_on_test) memcpy(prob, r.chosen, (size_t)(f->test.n * x->classes.n) * sizeof *prob);
        else if (rc == FT_OK) rc = predict_videos(x, out->folder, &f->test, prob); /* without `looks` the only one at the list */
        if (rc == FT_OK) rc = save_predictions(x, path, &f->test, prob);
        double threshold = NAN;
        if (rc == FT_OK) rc = operating_point(x, f, out->folder, &threshold);
        if (rc == FT_OK)
            rc = ft_stage_done(
                x, out->folder,
                json_pack("{s:o,s:o,s:f,s:f,s:I,s:o}", "threshold", isnan(threshold) ? json_null() : json_real(threshold),
                          "looks", looks_of(&r, set.looks > 0), "utilisation", r.utilisation, "seconds", r.seconds, "step",
                          (json_int_t)r.best_step, "pseudo_labels", pseudo_labels(x, &r, c->unlabelled_store != NULL)));
        ft_free(r.chosen);
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
    json_t *t = json_object_get(facts, "threshold");
    out->threshold = json_is_number(t) ? json_number_value(t) : NAN;
    out->pseudo = json_incref(json_object_get(facts, "pseudo_labels"));
    out->looks = json_incref(json_object_get(facts, "looks"));
    json_decref(facts);
    return FT_OK;
}

/* ---- controls on unlabelled clips
 * ---------------------------------------------------------------------------------------------------- */

/* unlabelled.clips takes a part of them, the same part of a larger part; unlabelled.frames spoils their motion */
static int restrict_unlabelled(ft_arm_context *c)
{
    int64_t most = ft_config_int(c->cfg, "unlabelled.clips");
    const char *frames = ft_config_text(c->cfg, "unlabelled.frames");
    const ft_clipstore *from = c->unlabelled_store;
    if (!from) return FT_OK;
    if (most > 0 && most < c->n_clips) {
        ft_rng r = ft_rng_make((uint64_t)c->split, 0x0C11, (uint64_t)c->fold);
        ft_rng_shuffle(&r, c->clips, c->n_clips);
        c->n_clips = most;
    }
    ft_sha256(c->clips, (size_t)c->n_clips * sizeof *c->clips, c->picked);
    if (!strcmp(frames, "whole")) return FT_OK;
    ft_clipstore s = {.frames = from->frames, .size = from->size, .stride = from->stride, .n_clip = c->n_clips};
    int64_t frame = (int64_t)s.size * s.size * 3, order[256];
    memcpy(s.id, from->id, sizeof s.id);
    s.pixels = ft_alloc((size_t)(s.n_clip * s.frames * frame));
    s.clip = ft_alloc((size_t)(s.n_clip + 1) * sizeof *s.clip);
    if (!s.pixels || !s.clip) {
        ft_clipstore_free(&s);
        return FT_FAIL(FT_ENOMEM, "no memory for %lld clips", (long long)c->n_clips);
    }
    for (int64_t i = 0; i < s.n_clip; i++) {
        ft_rng r = ft_rng_make((uint64_t)c->clips[i], 0x0F4A, 0);
        for (int f = 0; f < s.frames; f++) order[f] = strcmp(frames, "frozen") ? f : 0;
        if (strcmp(frames, "frozen")) ft_rng_shuffle(&r, order, s.frames);
        for (int f = 0; f < s.frames; f++)
            memcpy(s.pixels + (i * s.frames + f) * frame, ft_clip_pixels(from, c->clips[i]) + order[f] * frame, (size_t)frame);
        c->clips[i] = i;
    }
    ft_clipstore_free(&c->own);
    c->own = s;
    c->unlabelled_store = &c->own;
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

/* where the lists of a split stand: an arm with labels of its own has lists of its own */
static void split_file(char path[FT_PATH + 64], const ft_experiment *x, const ft_arm_result *arm, int split, const ft_fold *fold)
{
    char name[128], of_arm[140] = "", of_fold[40] = "";
    ft_arm_file_name(name, arm->name);
    bool same = ft_config_int(arm->cfg, "labels") == ft_config_int(x->cfg, "labels") &&
                !strcmp(ft_config_text(arm->cfg, "labels_from"), ft_config_text(x->cfg, "labels_from"));
    if (!same) snprintf(of_arm, sizeof of_arm, "-%s", name);
    if (x->n_folds > 1) snprintf(of_fold, sizeof of_fold, "-fold-%d", fold->fold);
    snprintf(path, FT_PATH + 64, "%s/splits/split-%d%s%s.json", x->dir, split, of_fold, of_arm);
}

/* what looking at the test list while training shows, for protocols that do it */
static void looked(json_t *line, json_t *looks)
{
    double best = 0;
    size_t i;
    json_t *v;
    json_array_foreach(looks, i, v) best = fmax(best, json_real_value(v));
    json_object_set_new(line, "best_on_test", json_pack("{s:f}", "f1", best));
    json_object_set(line, "looks", looks);
}

int ft_experiment_one_run(ft_experiment *x, ft_arm_result *arm, int split, int seed)
{
    const ft_arm *row = ft_arm_find(arm->arm);
    bool cv = x->n_folds > 1;
    int64_t total = 0, at = 0;
    int C = x->classes.n, rc = FT_OK;
    for (int f = 0; f < x->n_folds; f++)
        if (!cv || x->folds[f].repeat == split) total += x->folds[f].test.n;
    float *prob = ft_alloc((size_t)(total * C + 1) * sizeof *prob);
    int *label = ft_alloc((size_t)(total + 1) * sizeof *label);
    float *point = ft_alloc((size_t)(total * C + 1) * sizeof *point); /* answers at the operating point: 0 or 1 */
    bool pointed = C == 2;
    ft_videos all = {ft_alloc((size_t)(total + 1) * sizeof(int64_t)), 0};
    double utilisation = 0, seconds = 0;
    json_t *pseudo = json_array(), *looks = json_array(); /* one for each fold */
    int64_t steps = 0, folds = 0;
    char hash[200] = "", path[FT_PATH + 64];
    if (!prob || !label || !point || !all.video) rc = FT_FAIL(FT_ENOMEM, "no memory for scores");
    for (int f = 0; rc == FT_OK && f < x->n_folds; f++) {
        if (cv && x->folds[f].repeat != split) continue;
        ft_arm_context c = {.x = x, .arm = arm->arm, .cfg = arm->cfg, .fold = f, .split = split};
        run_facts facts;
        const ft_videos *test = &x->folds[f].test;
        rc = ft_split_make(&c.labelled, &c.unlabelled, c.cfg, &x->store, &x->classes, &x->folds[f], split);
        if (rc == FT_OK) {
            split_file(path, x, arm, split, &x->folds[f]);
            rc = ft_split_save(path, &x->store, &x->folds[f], &c.labelled, split);
        }
        if (rc == FT_OK) rc = row->prepare(&c);
        if (rc == FT_OK) rc = restrict_unlabelled(&c);
        if (rc == FT_OK)
            rc = classify(&c, seed + 1000 * split, &facts); /* initialisation and order vary with the split, in every arm alike */
        if (rc == FT_OK) {
            snprintf(path, sizeof path, "%s/test.csv", facts.folder);
            rc = load_predictions(x, path, test, prob + at * C);
        }
        for (int64_t i = 0; rc == FT_OK && i < test->n; i++, at++) {
            int P = x->classes.positive;
            label[at] = x->classes.of_video[test->video[i]];
            pointed &= !isnan(facts.threshold);
            if (C == 2)
                point[2 * at + P] = (double)prob[2 * at + P] >= facts.threshold, point[2 * at + 1 - P] = 1 - point[2 * at + P];
            all.video[all.n++] = test->video[i];
        }
        if (rc == FT_OK) {
            utilisation += facts.utilisation, seconds += facts.seconds, steps += facts.steps, folds++;
            json_array_append_new(pseudo, facts.pseudo ? facts.pseudo : json_null());
            json_array_append_new(looks, facts.looks ? facts.looks : json_null());
            snprintf(hash + strlen(hash), sizeof hash - strlen(hash), "%s%s", *hash ? "+" : "", facts.hash);
            if (!*arm->log) snprintf(arm->log, sizeof arm->log, "%.1100s/log.csv", facts.folder);
            if (!*arm->clips && c.own.path) snprintf(arm->clips, sizeof arm->clips, "%s", c.own.path);
            if (row->facts && isnan(arm->eps_mse)) rc = row->facts(&c, arm);
        }
        context_free(&c);
    }
    if (rc == FT_OK) {
        ft_scores s = ft_score(prob, label, total, C, x->classes.positive);
        char file[128];
        ft_arm_file_name(file, arm->name);
        snprintf(path, sizeof path, "%s/scores/%s-split-%d-seed-%d.csv", x->dir, file, split, seed);
        rc = save_predictions(x, path, &all, prob);
        arm->line[arm->n] =
            json_pack("{s:s,s:i,s:i,s:o,s:f,s:O,s:I,s:f,s:s,s:s}", "arm", arm->name, "split", split, "seed", seed, "metrics",
                      ft_scores_json(&s), "utilisation", utilisation / (double)folds, "pseudo_labels", pseudo, "steps",
                      (json_int_t)(steps / folds), "wall_s", seconds, "config_hash", hash, "scores", path + strlen(x->dir) + 1);
        if (pointed) {
            ft_scores o = ft_score(point, label, total, C, x->classes.positive);
            json_object_set_new(
                arm->line[arm->n], "operating_point",
                json_pack("{s:f,s:f,s:f}", "f1", o.f1, "sensitivity", o.sensitivity, "specificity", o.specificity));
        }
        if (folds == 1 && json_array_size(json_array_get(looks, 0)) > 0) looked(arm->line[arm->n], json_array_get(looks, 0));
        arm->run[arm->n++] = (ft_run_scores){split, seed, prob, label, total, s.f1};
    } else {
        ft_free(prob);
        ft_free(label);
    }
    json_decref(pseudo);
    json_decref(looks);
    ft_free(point);
    ft_free(all.video);
    return rc;
}
