/* A run of an arm (one split and seed): the stages it needs, its classifier, its results. */
#include "experiments/sweep/runs.h"

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
#include "common/base/streams.h"
#include "common/io/table.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_features.h"
#include "experiments/stages/stage_likeness.h"

/* ---- predictions ----------------------------------------------------------------------------------------------------------- */

/* clips and their labels; `most` of a video, 0: all */
static int labels_of(const ft_experiment *x, const ft_videos *v, int64_t most, int64_t **clip, int **label, int64_t *n)
{
    FT_TRY(ft_first_clips_of(&x->store, v, most, clip, n));
    if (!(*label = ft_alloc((size_t)(*n + 1) * sizeof **label))) return FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; i < *n; i++) (*label)[i] = x->classes.of_video[x->store.clip[(*clip)[i]].video];
    return FT_OK;
}

/* Per-video probabilities: mean over a video's clips. rows: one per video of `v`, in its order. features: of a probe */
static int predict_videos(const ft_experiment *x, const char *run, const ft_clip_features *features, const ft_videos *v,
                          float *rows)
{
    ft_classifier_info info;
    int64_t *clip = NULL, n;
    int C = x->classes.n;
    FT_TRY(ft_classifier_info_read(&info, run));
    int rc = ft_first_clips_of(&x->store, v, ft_config_int(x->cfg, "data.test_clips"), &clip, &n);
    float *prob = rc == FT_OK ? ft_alloc((size_t)(n * C + 1) * sizeof *prob) : NULL;
    if (rc == FT_OK && !prob) rc = FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK) rc = ft_classifier_predict(run, &info, &x->store, features, clip, n, prob);
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
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    FILE *f = t.f;
    fprintf(f, "video,label");
    for (int c = 0; c < x->classes.n; c++) fputc(',', f), ft_csv_probability(f, x->classes.name[c]);
    fputc('\n', f);
    for (int64_t i = 0; i < v->n; i++) {
        ft_csv_field(f, x->store.video[v->video[i]].name);
        fputc(',', f);
        char *label = ft_classes_text(&x->classes, x->classes.of_video[v->video[i]]);
        if (!label) {
            ft_text_free(&t);
            return FT_FAIL(FT_ENOMEM, "no memory for predictions");
        }
        ft_csv_field(f, label);
        ft_free(label);
        for (int c = 0; c < x->classes.n; c++) fprintf(f, ",%.9g", (double)prob[i * x->classes.n + c]);
        fputc('\n', f);
    }
    return ft_text_write(&t, path);
}

typedef struct {
    const ft_experiment *x;
    const ft_videos *v;
    float *prob;
    int64_t rows; /* with the header */
} predictions;

static int not_ours(const ft_row *row, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s:%d: %s. Remove its folder to compute it again", row->path, row->line, what);
}

static int take_prediction(void *ctx, const ft_row *row)
{
    predictions *p = ctx;
    const ft_classes *classes = &p->x->classes;
    int64_t i = p->rows++ - 1;
    if (row->fields != 2 + classes->n || i >= p->v->n) return not_ours(row, "not a row of these videos and classes");
    if (i < 0 && (strcmp(row->field[0], "video") || strcmp(row->field[1], "label"))) return not_ours(row, "other columns");
    for (int c = 0; i < 0 && c < classes->n; c++)
        if (strncmp(row->field[2 + c], "p_", 2) || strcmp(row->field[2 + c] + 2, classes->name[c]))
            return not_ours(row, "other classes");
    if (i < 0) return FT_OK;
    int64_t video = p->v->video[i];
    const char *name = p->x->store.video[video].name;
    char *label = ft_classes_text(classes, classes->of_video[video]);
    int rc = !label ? FT_FAIL(FT_ENOMEM, "no memory for predictions") : FT_OK;
    if (label && (strcmp(row->field[0], name) || strcmp(row->field[1], label)))
        rc = FT_FAIL(FT_EDATA,
                     "%s:%d: video %s (%s), %s (%s) expected: another video or label than in this list. Remove its folder to "
                     "compute it again",
                     row->path, row->line, row->field[0], row->field[1], name, label);
    ft_free(label);
    FT_TRY(rc);
    for (int c = 0; c < classes->n; c++) {
        char *end;
        float value = strtof(row->field[2 + c], &end);
        if (*end || end == row->field[2 + c] || !isfinite(value)) return not_ours(row, "not a number");
        p->prob[i * classes->n + c] = value;
    }
    return FT_OK;
}

/* Reads a predictions file of these videos back (written by save_predictions). */
static int load_predictions(const ft_experiment *x, const char *path, const ft_videos *v, float *prob)
{
    predictions p = {x, v, prob, 0};
    FT_TRY(ft_table_read(path, 0, ',', take_prediction, &p));
    if (p.rows == v->n + 1) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: %lld of %lld rows. Remove its folder to compute it again", path, (long long)p.rows - 1,
                   (long long)v->n);
}

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

static bool two_classes(const ft_experiment *x) { return x->classes.n == 2 && x->classes.positive != FT_MULTILABEL; }

/* the threshold on p(positive) with the best F1 on the fold's validation videos: two classes only, NaN else */
static int operating_point(const ft_experiment *x, const ft_fold *f, const char *run, const ft_clip_features *features,
                           double *threshold)
{
    const ft_videos *v = &f->validation;
    if (!two_classes(x) || v->n == 0) return FT_OK;
    float *prob = ft_alloc((size_t)(v->n * 2 + 1) * sizeof *prob);
    int *label = ft_alloc((size_t)(v->n + 1) * sizeof *label);
    int rc = prob && label ? predict_videos(x, run, features, v, prob) : FT_FAIL(FT_ENOMEM, "no memory for predictions");
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

/* ---- what probes look at --------------------------------------------------------------------------------------------------- */

static bool is_probe(const ft_config *cfg)
{
    const ft_classifier *f = ft_classifier_find(ft_config_text(cfg, "classifier.model"));
    return f && f->of_features;
}

/* does the arm bring clips of its own? */
static bool has_own(const ft_arm_context *c) { return c->made || *c->file; }

/* Features of a run: of the labelled videos' clips, and of those that the arm brings. */
typedef struct {
    ft_clip_features data, own;
    ft_config *cfg; /* with the backbone where it is */
    char network[65];
} run_features;

/* own: the settings that the run may read */
static int features_read(run_features *r, ft_arm_context *c, const ft_config *own)
{
    ft_stage *s;
    char path[FT_PATH];
    memset(r, 0, sizeof *r);
    if (!is_probe(c->cfg)) return FT_OK;
    FT_TRY(ft_stage_features(c->x, c->cfg, c->label, c->fold, NULL, "", &s));
    FT_TRY(ft_features_settings(s, own, &r->cfg));
    ft_backbone_opt o = ft_backbone_options(r->cfg);
    FT_TRY(ft_backbone_identity(&o, r->network));
    ft_stage_file(path, s, "features.safetensors");
    FT_TRY(ft_clip_features_read(&r->data, path, c->x->store.n_clip));
    if (!has_own(c)) return FT_OK;
    FT_TRY(ft_stage_features(c->x, c->cfg, c->label, c->fold, c->made, c->file, &s));
    ft_stage_file(path, s, "features.safetensors");
    return ft_clip_features_read(&r->own, path, c->own.n_clip);
}

static void features_free(run_features *r)
{
    ft_clip_features_free(&r->data);
    ft_clip_features_free(&r->own);
    ft_config_free(r->cfg);
}

/* ---- controls on unlabelled clips ------------------------------------------------------------------------------------------ */

/* unlabelled.clips takes a part of them, the same part of a larger part; unlabelled.frames spoils their motion */
static int restrict_unlabelled(ft_arm_context *c)
{
    int64_t most = ft_config_int(c->cfg, "unlabelled.clips");
    const char *frames = ft_config_text(c->cfg, "unlabelled.frames");
    const ft_clipstore *from = c->unlabelled_store;
    if (!from) return FT_OK;
    if (most > 0 && most < c->n_clips) {
        ft_rng r = ft_rng_make((uint64_t)c->split, FT_STREAM_UNLABELLED_CLIPS, (uint64_t)c->fold);
        ft_rng_shuffle(&r, c->clips, c->n_clips);
        c->n_clips = most;
    }
    if (!strcmp(frames, "whole")) return FT_OK;
    if (is_probe(c->cfg))
        return FT_FAIL(FT_ECONFIG, "%s: unlabelled.frames: features are of whole clips; a probe cannot look at others",
                       ft_config_origin(c->cfg, "unlabelled.frames"));
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
        ft_rng r = ft_rng_make((uint64_t)c->clips[i], FT_STREAM_FRAME_ORDER, 0);
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

/* ---- the classifier of a run ------------------------------------------------------------------------------------------- */

static void context_free(ft_arm_context *c)
{
    ft_free(c->labelled.video);
    ft_free(c->unlabelled.video);
    ft_free(c->clips);
    ft_clipstore_free(&c->own);
}

/* Who is labelled, and where the arm's clips will come from. */
static int context_of(ft_arm_context *c, ft_experiment *x, const ft_config *cfg, const char *arm, const char *label, int fold,
                      int split)
{
    const ft_arm *row = ft_arm_find(arm);
    *c = (ft_arm_context){.x = x, .arm = arm, .label = label, .cfg = cfg, .fold = fold, .split = split, .file = ""};
    FT_TRY(ft_split_make(&c->labelled, &c->unlabelled, cfg, &x->store, &x->classes, &x->folds[fold], split));
    if (row->plan) FT_TRY(row->plan(c));
    return has_own(c) ? ft_stage_filter(x, cfg, label, fold, split, &c->labelled, c->made, c->file, &c->filter) : FT_OK;
}

static int unlabelled_clips(ft_arm_context *c)
{
    char path[FT_PATH];
    if (!c->made && !*c->file) return ft_arm_find(c->arm)->prepare(c);
    if (c->made) ft_stage_file(path, c->made, "clips.h5");
    FT_TRY(ft_clips_alike(&c->own, c->x, c->cfg, c->made ? path : c->file));
    c->unlabelled_store = &c->own;
    c->n_clips = c->own.n_clip;
    if (!(c->clips = ft_alloc((size_t)c->n_clips * sizeof *c->clips))) return FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; i < c->n_clips; i++) c->clips[i] = i;
    if (c->filter) FT_TRY(ft_filter_apply(c->filter, c->clips, &c->n_clips));
    if (c->n_clips == 0) c->unlabelled_store = NULL; /* from its labels alone */
    return FT_OK;
}

static double work(const ft_config *cfg) { return (double)ft_config_int(cfg, "classifier.steps"); }

static int train(ft_experiment *x, ft_arm_context *c, const ft_stage *s, const run_features *features, json_t *facts)
{
    const ft_fold *f = &x->folds[s->fold];
    bool best_on_test = !strcmp(ft_config_text(s->own, "selection"), "best-on-test");
    char path[FT_PATH];
    ft_training_set set = {.store = &x->store,
                           .unlabelled_store = c->unlabelled_store,
                           .unlabelled = c->clips,
                           .n_unlabelled = c->n_clips,
                           .classes = (const char *const *)x->classes.name,
                           .n_classes = x->classes.n,
                           .watched_store = &x->store,
                           .looks = (int)ft_config_int(s->own, "looks"),
                           .positive = x->classes.positive};
    const ft_config *cfg = features->cfg ? features->cfg : s->own;
    const ft_clip_features *seen = features->cfg ? &features->data : NULL;
    if (seen) set.features = seen, set.unlabelled_features = has_own(c) ? &features->own : seen, set.network = features->network;
    int64_t *clip = NULL, *held = NULL;
    int *label = NULL, *held_label = NULL, *truth = NULL;
    ft_training_result r = {0};
    double threshold = NAN;
    float *prob = ft_alloc((size_t)(f->test.n * x->classes.n + 1) * sizeof *prob);
    int rc = prob ? labels_of(x, &c->labelled, 0, &clip, &label, &set.n) : FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK)
        rc = labels_of(x, set.looks ? &f->test : &f->validation, ft_config_int(s->own, "data.test_clips"), &held, &held_label,
                       &set.n_watched);
    if (rc == FT_OK) rc = truth_of(x, c, &truth);
    set.truth = truth;
    set.clip = clip, set.label = label, set.watched = held, set.watched_label = held_label;
    ft_classifier_opt o = {0};
    if (rc == FT_OK) rc = ft_classifier_options(&o, cfg, ft_training_is_semi(&set));
    if (rc == FT_OK) rc = ft_classifier_train(&o, &set, s->folder, (uint64_t)s->seed, true, &r);
    if (rc == FT_OK && best_on_test) memcpy(prob, r.chosen, (size_t)(f->test.n * x->classes.n) * sizeof *prob);
    else if (rc == FT_OK) rc = predict_videos(x, s->folder, seen, &f->test, prob); /* without `looks` the only one at the list */
    ft_stage_file(path, s, "test.csv");
    if (rc == FT_OK) rc = save_predictions(x, path, &f->test, prob);
    if (rc == FT_OK) rc = operating_point(x, f, s->folder, seen, &threshold);
    if (rc == FT_OK) {
        json_object_set_new(facts, "threshold", isnan(threshold) ? json_null() : json_real(threshold));
        json_object_set_new(facts, "looks", looks_of(&r, set.looks > 0));
        json_object_set_new(facts, "utilisation", json_real(r.utilisation));
        json_object_set_new(facts, "step", json_integer(r.best_step));
        json_object_set_new(facts, "pseudo_labels", pseudo_labels(x, &r, c->unlabelled_store != NULL));
    }
    ft_classifier_options_free(&o);
    ft_free(r.chosen);
    ft_free(prob);
    ft_free(clip);
    ft_free(held);
    ft_free(label);
    ft_free(held_label);
    ft_free(truth);
    return rc;
}

static int compute(ft_experiment *x, const ft_stage *s, json_t *facts)
{
    ft_arm_context c;
    run_features features = {0};
    int rc = context_of(&c, x, s->cfg, s->arm, s->label, s->fold, s->split);
    if (rc == FT_OK) rc = unlabelled_clips(&c);
    if (rc == FT_OK) rc = features_read(&features, &c, s->own);
    if (rc == FT_OK) rc = restrict_unlabelled(&c);
    if (rc == FT_OK) rc = train(x, &c, s, &features, facts);
    features_free(&features);
    context_free(&c);
    return rc;
}
static const ft_stage_kind classifier = {"classifier", compute, work};

/* the identity of an arm's clips, where no stage that is needed tells it; semi: are there any? */
static int clips_key(ft_arm_context *c, json_t **key, bool *semi)
{
    char hex[65];
    *semi = true;
    *key = NULL;
    if (c->made) *key = json_string("made");
    else if (*c->file) {
        FT_TRY(ft_sha256_file(c->file, hex));
        *key = json_string(hex);
    } else {
        FT_TRY(unlabelled_clips(c));
        *semi = c->unlabelled_store != NULL;
        if (*semi) ft_sha256(c->clips, (size_t)c->n_clips * sizeof *c->clips, hex);
        *key = *semi ? json_string(hex) : json_null();
    }
    if (ft_config_int(c->cfg, "unlabelled.clips") > 0 && *semi) /* a part of them, drawn for the split */
        *key = json_pack("[o,i,i]", *key, c->split, c->fold);
    return FT_OK;
}

/* Initialisation and order vary with the split, in every arm alike. */
static int seed_of(const ft_config *cfg, int split, int seed) { return (int)ft_config_int(cfg, "seed") + seed + 1000 * split; }

/* The classifier of a context, in the graph. */
static int plan_classifier(ft_arm_context *c, int seed, ft_stage **stage)
{
    static const char *const keys[] = {"classifier.",     "ssl.",      "unlabelled.", "selection", "looks",
                                       "data.test_clips", "precision", NULL};
    static const char *const plain[] = {"classifier.", "selection", "looks", "data.test_clips", "precision", NULL};
    ft_experiment *x = c->x;
    const ft_fold *f = &x->folds[c->fold];
    ft_stage like = {.kind = &classifier,
                     .cfg = c->cfg,
                     .arm = c->arm,
                     .label = c->label,
                     .file = c->file,
                     .fold = c->fold,
                     .split = c->split,
                     .seed = seed_of(c->cfg, c->split, seed),
                     .need = {c->made},
                     .needs = c->made != NULL};
    json_t *unlabelled = NULL, *settings = NULL, *classes = ft_classes_names(&x->classes);
    bool semi;
    int rc = FT_OK;
    if (is_probe(c->cfg)) {
        rc = ft_stage_features(x, c->cfg, c->label, c->fold, NULL, "", &like.need[like.needs++]);
        if (rc == FT_OK && has_own(c))
            rc = ft_stage_features(x, c->cfg, c->label, c->fold, c->made, c->file, &like.need[like.needs++]);
    }
    if (rc == FT_OK && c->filter) like.need[like.needs++] = c->filter;
    if (rc == FT_OK) rc = clips_key(c, &unlabelled, &semi);
    if (rc == FT_OK && semi && x->classes.positive == FT_MULTILABEL)
        rc = FT_FAIL(
            FT_ECONFIG,
            "%s: data.multilabel: the arm %s has unlabelled clips, to which %s gives one class each. Arms of labels alone "
            "(supervised, fully-supervised, more-labels, curve) are possible, and every arm with positive: NAME, which "
            "makes two classes of one label",
            ft_config_origin(x->cfg, "data.multilabel"), c->label, ft_config_text(c->cfg, "ssl.algorithm"));
    if (rc == FT_OK) rc = ft_key_settings(c->cfg, semi ? keys : plain, &settings);
    if (rc < 0) {
        json_decref(classes);
        json_decref(unlabelled);
        return rc;
    }
    const char *const *map;
    int n_map = ft_config_list(x->cfg, "data.map", &map);
    for (int k = 0; k < n_map; k++) json_array_append_new(classes, json_string(map[k]));
    json_t *key = json_pack("{s:o,s:s,s:o,s:o,s:o,s:o,s:o,s:i,s:i}", "config", settings, "store", x->store.id, "labelled",
                            ft_video_names(&x->store, &c->labelled), "unlabelled", unlabelled, "test",
                            ft_video_names(&x->store, &f->test), "validation", ft_video_names(&x->store, &f->validation),
                            "classes", classes, "seed", like.seed, "positive", x->classes.positive);
    return ft_stage_add(x, &like, key, stage);
}

/* ---- a run ------------------------------------------------------------------------------------------------------------- */

/* where the lists of a split stand: an arm with labelled videos of its own (`labelled` of them) has lists of its own */
static void split_file(char path[FT_PATH + 64], const ft_experiment *x, const ft_arm_result *arm, int split, const ft_fold *fold,
                       int64_t labelled)
{
    char name[128], of_arm[140] = "", of_fold[40] = "";
    ft_arm_file_name(name, arm->name);
    bool same = labelled == ft_config_int(x->cfg, "labels") &&
                !strcmp(ft_config_text(arm->cfg, "labels_from"), ft_config_text(x->cfg, "labels_from"));
    if (!same) snprintf(of_arm, sizeof of_arm, "-%s", name);
    if (x->n_folds > 1) snprintf(of_fold, sizeof of_fold, "-fold-%d", fold->fold);
    snprintf(path, FT_PATH + 64, "%s/splits/split-%d%s%s.json", x->dir, split, of_fold, of_arm);
}

/* does the run of this split test on fold f? */
static bool of_split(const ft_experiment *x, int f, int split) { return x->n_folds == 1 || x->folds[f].repeat == split; }

int ft_run_plan(ft_experiment *x, ft_arm_result *arm, int split, int seed)
{
    for (int f = 0; f < x->n_folds; f++) {
        if (!of_split(x, f, split)) continue;
        ft_arm_context c;
        ft_stage *stage;
        int rc = context_of(&c, x, arm->cfg, arm->arm, arm->name, f, split);
        if (rc == FT_OK && !arm->likeness && (c.made || *c.file))
            rc = ft_stage_likeness(x, c.cfg, c.label, f, c.made, c.file, &arm->likeness);
        if (rc == FT_OK) rc = plan_classifier(&c, seed, &stage);
        context_free(&c);
        FT_TRY(rc);
    }
    return FT_OK;
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

/* Sums over the folds of a run. */
typedef struct {
    ft_videos test;
    float *prob, *point; /* point: answers at the operating point, 0 or 1 */
    int *label;
    bool pointed;
    double utilisation, seconds;
    int64_t steps, folds;
    json_t *pseudo, *looks, *filter; /* one for each fold */
    char hash[200];
} run_sum;

static void read_facts(run_sum *r, ft_arm_result *arm, const ft_experiment *x, const ft_stage *s)
{
    const ft_videos *test = &x->folds[s->fold].test;
    json_t *facts = ft_stage_facts(s), *t = json_object_get(facts, "threshold");
    double threshold = json_is_number(t) ? json_number_value(t) : NAN;
    int P = x->classes.positive;
    for (int64_t i = 0; i < test->n; i++, r->test.n++) {
        int64_t at = r->test.n;
        r->label[at] = x->classes.of_video[test->video[i]];
        if (two_classes(x))
            r->point[2 * at + P] = (double)r->prob[2 * at + P] >= threshold, r->point[2 * at + 1 - P] = 1 - r->point[2 * at + P];
        r->test.video[at] = test->video[i];
    }
    r->pointed &= !isnan(threshold);
    r->utilisation += json_number_value(json_object_get(facts, "utilisation"));
    r->seconds += s->seconds;
    r->steps += json_integer_value(json_object_get(facts, "step"));
    r->folds++;
    json_array_append(r->pseudo, json_object_get(facts, "pseudo_labels"));
    json_array_append(r->looks, json_object_get(facts, "looks"));
    snprintf(r->hash + strlen(r->hash), sizeof r->hash - strlen(r->hash), "%s%s", *r->hash ? "+" : "", strrchr(s->name, '-') + 1);
    if (!*arm->log) ft_stage_file(arm->log, s, "log.csv");
    json_decref(facts);
}

static void add_cost(ft_arm_result *arm, ft_stage *s)
{
    if (s->counted == arm) return;
    s->counted = arm;
    arm->seconds += s->seconds, arm->teraflop += s->teraflop, arm->joules += s->joules;
    arm->memory_mib = fmax(arm->memory_mib, s->memory_mib);
    if (s->kind == &classifier) arm->classifier_seconds += s->seconds;
    for (int i = 0; i < s->needs; i++) add_cost(arm, s->need[i]);
}

/* what the filter left, and how many of these the classifier learned from */
static void read_filter(run_sum *r, ft_arm_result *arm, const ft_stage *s)
{
    json_t *facts = ft_stage_facts(s), *dropped = json_object_get(facts, "dropped");
    double kept = json_number_value(json_object_get(facts, "kept")), most = (double)ft_config_int(arm->cfg, "unlabelled.clips"),
           used = most > 0 && most < kept ? most : kept;
    ft_filtered *f = &arm->filtered;
    f->runs++, f->kept += kept, f->used += used, f->drawn += json_number_value(json_object_get(facts, "drawn"));
    for (int i = 0; i < FT_FILTER_RULES; i++) {
        const json_t *n = json_object_get(dropped, ft_filter_rule[i]);
        f->ruled[i] |= n != NULL, f->dropped[i] += json_number_value(n);
    }
    json_array_append_new(r->filter, json_pack("{s:O,s:O,s:O,s:I}", "drawn", json_object_get(facts, "drawn"), "dropped", dropped,
                                               "kept", json_object_get(facts, "kept"), "used", (json_int_t)used));
    json_decref(facts);
}

static int read_fold(run_sum *r, ft_experiment *x, ft_arm_result *arm, int fold, int split, int seed)
{
    char path[FT_PATH + 64];
    ft_arm_context c;
    ft_stage *s;
    int rc = context_of(&c, x, arm->cfg, arm->arm, arm->name, fold, split);
    if (rc == FT_OK) {
        split_file(path, x, arm, split, &x->folds[fold], c.labelled.n);
        if (seed == 0) rc = ft_split_save(path, &x->store, &x->folds[fold], &c.labelled, split);
    }
    if (rc == FT_OK) rc = plan_classifier(&c, seed, &s);
    if (rc == FT_OK) {
        ft_stage_file(path, s, "test.csv");
        rc = load_predictions(x, path, &x->folds[fold].test, r->prob + r->test.n * x->classes.n);
    }
    if (rc == FT_OK) {
        read_facts(r, arm, x, s);
        add_cost(arm, s);
        if (c.filter) read_filter(r, arm, c.filter);
        if (c.made && !*arm->clips) ft_stage_file(arm->clips, c.made, "clips.h5");
        if (*c.file && !*arm->clips) snprintf(arm->clips, sizeof arm->clips, "%s", c.file);
        if (c.made && isnan(arm->eps_mse) && ft_arm_find(arm->arm)->facts) ft_arm_find(arm->arm)->facts(&c, arm);
    }
    context_free(&c);
    return rc;
}

int ft_run_read(ft_experiment *x, ft_arm_result *arm, int split, int seed)
{
    int64_t total = 0;
    int C = x->classes.n, rc = FT_OK;
    for (int f = 0; f < x->n_folds; f++)
        if (of_split(x, f, split)) total += x->folds[f].test.n;
    run_sum r = {.test = {ft_alloc((size_t)(total + 1) * sizeof(int64_t)), 0},
                 .prob = ft_alloc((size_t)(total * C + 1) * sizeof(float)),
                 .point = ft_alloc((size_t)(total * C + 1) * sizeof(float)),
                 .label = ft_alloc((size_t)(total + 1) * sizeof(int)),
                 .pointed = two_classes(x),
                 .pseudo = json_array(),
                 .looks = json_array(),
                 .filter = json_array()};
    char path[FT_PATH + 64], file[128];
    if (!r.test.video || !r.prob || !r.point || !r.label) rc = FT_FAIL(FT_ENOMEM, "no memory for scores");
    for (int f = 0; rc == FT_OK && f < x->n_folds; f++)
        if (of_split(x, f, split)) rc = read_fold(&r, x, arm, f, split, seed);
    if (rc == FT_OK) {
        ft_scores s = ft_score(r.prob, r.label, total, C, x->classes.positive);
        ft_arm_file_name(file, arm->name);
        snprintf(path, sizeof path, "%s/scores/%s-split-%d-seed-%d.csv", x->dir, file, split, seed);
        rc = save_predictions(x, path, &r.test, r.prob);
        json_t *metrics = ft_scores_json(&s);
        if (s.multilabel) json_object_set_new(metrics, "classes", ft_classes_names(&x->classes));
        json_t *line = arm->line[arm->n] = json_pack(
            "{s:s,s:i,s:i,s:o,s:f,s:O,s:I,s:f,s:s,s:s}", "arm", arm->name, "split", split, "seed", seed, "metrics", metrics,
            "utilisation", r.utilisation / (double)r.folds, "pseudo_labels", r.pseudo, "steps", (json_int_t)(r.steps / r.folds),
            "wall_s", r.seconds, "config_hash", r.hash, "scores", path + strlen(x->dir) + 1);
        if (r.pointed) {
            ft_scores o = ft_score(r.point, r.label, total, C, x->classes.positive);
            json_object_set_new(
                line, "operating_point",
                json_pack("{s:f,s:f,s:f}", "f1", o.f1, "sensitivity", o.sensitivity, "specificity", o.specificity));
        }
        if (json_array_size(r.filter) > 0) json_object_set(line, "filter", r.filter);
        if (r.folds == 1 && json_array_size(json_array_get(r.looks, 0)) > 0) looked(line, json_array_get(r.looks, 0));
        arm->run[arm->n++] = (ft_run_scores){split, seed, r.prob, r.label, total, s.f1};
    } else {
        ft_free(r.prob);
        ft_free(r.label);
    }
    json_decref(r.pseudo);
    json_decref(r.looks);
    json_decref(r.filter);
    ft_free(r.point);
    ft_free(r.test.video);
    return rc;
}
