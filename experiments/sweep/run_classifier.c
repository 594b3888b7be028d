#include "experiments/sweep/run_classifier.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/predictor.h"
#include "classify/scores.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_features.h"
#include "experiments/stages/stage_filter.h"
#include "experiments/stages/clip_classes.h"
#include "experiments/sweep/clip_use.h"
#include "experiments/sweep/predictions.h"

/* ---- settings -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    int looks;          /* at the test list, while training */
    bool best_on_test;  /* they choose the weights */
    int64_t test_clips; /* of a video, 0: all */
    /* of clips beside the labelled videos: */
    int64_t clips;      /* so many of them, 0: all */
    const char *frames; /* whole, or how their motion is spoilt */
    double weight;      /* of those that teach a class */
} run_opt;

/* Without clips (`any`) and without a class that they teach (`taught`), these settings are none of the stage's. */
static run_opt run_options(const ft_config *own, bool any, bool taught)
{
    return (run_opt){.looks = (int)ft_config_int(own, "looks"),
                     .best_on_test = ft_config_is(own, "selection", "best-on-test"),
                     .test_clips = ft_config_int(own, "data.test_clips"),
                     .clips = any ? ft_config_int(own, "unlabelled.clips") : 0,
                     .frames = any ? ft_config_text(own, "unlabelled.frames") : "whole",
                     .weight = taught ? ft_config_real(own, "clips.weight") : 0};
}

/* ---- clips beside the labelled videos -------------------------------------------------------------------------------------- */

typedef struct {
    const ft_clipstore *store; /* NULL: none */
    ft_clipstore own;          /* what `store` is unless it holds the labelled videos */
    int64_t *clip, n;
    ft_clip_use use;
    int *class; /* of each, to be taught; NULL: they are unlabelled alone */
} more_clips;

static void clips_free(more_clips *u)
{
    ft_clipstore_free(&u->own);
    ft_free(u->clip);
    ft_free(u->class);
}

/* Of the arm's own clips all, of the labelled videos' those that it chose. */
static int clips_read(more_clips *u, const ft_experiment *x, const ft_arm_context *c)
{
    char path[FT_PATH];
    if (ft_arm_brings_clips(c)) {
        if (c->made) ft_stage_file(path, c->made, "clips.h5");
        FT_TRY(ft_clips_alike(&u->own, x, c->made ? path : c->file));
        u->store = &u->own, u->n = u->own.n_clip;
    } else if (c->clips) u->store = &x->store, u->n = c->n_clips;
    if (!(u->clip = ft_alloc_n(u->n + 1, sizeof *u->clip))) return FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; i < u->n; i++) u->clip[i] = u->store == &u->own ? i : c->clips[i];
    if (c->filter) FT_TRY(ft_filter_apply(c->filter, u->clip, &u->n));
    if (u->n == 0) u->store = NULL; /* from its labels alone */
    u->use = ft_clip_use_of(c->cfg);
    return FT_OK;
}

/* unlabelled.clips takes a part of them, the same part of a larger part */
static void take_part(more_clips *u, const ft_stage *s, int64_t most)
{
    if (most <= 0 || most >= u->n) return;
    ft_rng r = ft_rng_make((uint64_t)s->split, FT_STREAM_UNLABELLED_CLIPS, (uint64_t)s->fold);
    ft_rng_shuffle(&r, u->clip, u->n);
    u->n = most;
}

/* the class of each, as its store says it */
static int read_classes(more_clips *u, const ft_experiment *x)
{
    int *all = ft_alloc_n(u->store->n_clip + 1, sizeof *all);
    FT_ASSERT(u->store == &u->own); /* never a label of the experiment's videos */
    u->class = ft_alloc_n(u->n + 1, sizeof *u->class);
    int rc = all && u->class ? ft_clip_classes(x, u->store, true, all) : FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; rc == FT_OK && i < u->n; i++) u->class[i] = all[u->clip[i]];
    ft_free(all);
    return rc;
}

/* unlabelled.frames spoils their motion: copies of the clips, all of one frame (frozen) or in any order */
static int spoil(more_clips *u, bool frozen)
{
    const ft_clipstore *from = u->store;
    ft_clipstore s = {.frames = from->frames, .size = from->size, .stride = from->stride, .n_clip = u->n};
    int64_t frame = (int64_t)s.size * s.size * 3, order[256];
    memcpy(s.id, from->id, sizeof s.id);
    s.pixels = ft_alloc((size_t)(s.n_clip * s.frames * frame));
    s.clip = ft_alloc((size_t)(s.n_clip + 1) * sizeof *s.clip);
    if (!s.pixels || !s.clip) {
        ft_clipstore_free(&s);
        return FT_FAIL(FT_ENOMEM, "no memory for %lld clips", (long long)u->n);
    }
    for (int64_t i = 0; i < s.n_clip; i++) {
        ft_rng r = ft_rng_make((uint64_t)u->clip[i], FT_STREAM_FRAME_ORDER, 0);
        for (int f = 0; f < s.frames; f++) order[f] = frozen ? 0 : f;
        if (!frozen) ft_rng_shuffle(&r, order, s.frames);
        for (int f = 0; f < s.frames; f++)
            memcpy(s.pixels + (i * s.frames + f) * frame, ft_clip_pixels(from, u->clip[i]) + order[f] * frame, (size_t)frame);
        u->clip[i] = i;
    }
    ft_clipstore_free(&u->own);
    u->own = s;
    u->store = &u->own;
    return FT_OK;
}

static int restrict_clips(more_clips *u, const ft_experiment *x, const ft_stage *s, const run_opt *o)
{
    if (!u->store) return FT_OK;
    take_part(u, s, o->clips);
    if (u->use.labelled) FT_TRY(read_classes(u, x));
    if (!strcmp(o->frames, "whole")) return FT_OK;
    if (ft_is_probe(s->own))
        return FT_FAIL(FT_ECONFIG, "%s: unlabelled.frames: features are of whole clips; a probe cannot look at others",
                       ft_config_origin(s->own, "unlabelled.frames"));
    return spoil(u, !strcmp(o->frames, "frozen"));
}

/* ---- what probes look at --------------------------------------------------------------------------------------------------- */

bool ft_is_probe(const ft_config *cfg)
{
    const ft_classifier *f = ft_classifier_find(ft_config_text(cfg, "classifier.model"));
    return f && f->of_features;
}

/* Features of a run: of the labelled videos' clips, and of those that the arm brings. */
typedef struct {
    ft_clip_features data, own;
    ft_config *cfg; /* with the backbone where it is */
    char network[65];
} run_features;

static int features_read(run_features *r, const ft_experiment *x, const ft_stage *s, const more_clips *u)
{
    const ft_run_fold *run = s->plan;
    char path[FT_PATH];
    if (!run->seen) return FT_OK;
    FT_TRY(ft_features_settings(run->seen, s->own, &r->cfg));
    ft_backbone_opt o = ft_backbone_options(r->cfg);
    FT_TRY(ft_backbone_identity(&o, r->network));
    ft_stage_file(path, run->seen, "features.safetensors");
    FT_TRY(ft_clip_features_read(&r->data, path, x->store.n_clip));
    if (!run->seen_own) return FT_OK;
    ft_stage_file(path, run->seen_own, "features.safetensors");
    return ft_clip_features_read(&r->own, path, u->own.n_clip);
}

static void features_free(run_features *r)
{
    ft_clip_features_free(&r->data);
    ft_clip_features_free(&r->own);
    ft_config_free(r->cfg);
}

/* ---- answers --------------------------------------------------------------------------------------------------------------- */

/* clips and their labels; `most` of a video, 0: all */
static int labels_of(const ft_experiment *x, const ft_videos *v, int64_t most, int64_t **clip, int **label, int64_t *n)
{
    FT_TRY(ft_first_clips_of(&x->store, v, most, clip, n));
    if (!(*label = ft_alloc((size_t)(*n + 1) * sizeof **label))) return FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; i < *n; i++) (*label)[i] = x->classes.of_video[x->store.clip[(*clip)[i]].video];
    return FT_OK;
}

/* Per-video probabilities: mean over a video's clips, `most` of them. rows: one per video of `v`, in its order. */
static int predict_videos(const ft_experiment *x, ft_predictor *p, const ft_videos *v, int64_t most, float *rows)
{
    int64_t *clip = NULL, *first = NULL, n;
    int C = x->classes.n, rc = ft_first_clips_of(&x->store, v, most, &clip, &n);
    float *prob = rc == FT_OK ? ft_alloc((size_t)(n * C + 1) * sizeof *prob) : NULL;
    if (rc == FT_OK) first = ft_alloc((size_t)(n + 1) * sizeof *first);
    if (rc == FT_OK && (!prob || !first)) rc = FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK) rc = ft_predictor_run(p, clip, n, prob);
    if (rc == FT_OK) {
        int64_t videos = ft_video_means(&x->store, clip, n, prob, C, rows, first);
        FT_ASSERT(videos == v->n); /* both in the store's order, and every video has clips */
    }
    ft_free(first);
    ft_free(prob);
    ft_free(clip);
    return rc;
}

/* what is known of the pool's own clips, for the log: how many pseudo-labels were right */
static int truth_of(const ft_experiment *x, const more_clips *u, int **truth)
{
    *truth = NULL;
    if (u->store != &x->store) return FT_OK;
    if (!(*truth = ft_alloc((size_t)(u->n + 1) * sizeof **truth))) return FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; i < u->n; i++) (*truth)[i] = x->classes.of_video[x->store.clip[u->clip[i]].video];
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

/* how many clips taught which class, and with which weight */
static json_t *labelled_clips(const ft_experiment *x, const more_clips *u, double weight)
{
    if (!u->class) return json_null();
    json_t *count = json_object();
    for (int k = 0; k < x->classes.n; k++) {
        int64_t n = 0;
        for (int64_t i = 0; i < u->n; i++) n += u->class[i] == k;
        json_object_set_new(count, x->classes.name[k], json_integer(n));
    }
    return json_pack("{s:o,s:f}", "clips", count, "weight", weight);
}

bool ft_two_classes(const ft_experiment *x) { return x->classes.n == 2 && x->classes.positive != FT_MULTILABEL; }

/* the threshold on p(positive) with the best F1 on the fold's validation videos: two classes only, NaN else */
static int operating_point(const ft_experiment *x, const ft_fold *f, ft_predictor *p, int64_t most, double *threshold)
{
    const ft_videos *v = &f->validation;
    if (!ft_two_classes(x) || v->n == 0) return FT_OK;
    float *prob = ft_alloc((size_t)(v->n * 2 + 1) * sizeof *prob);
    int *label = ft_alloc((size_t)(v->n + 1) * sizeof *label);
    int rc = prob && label ? predict_videos(x, p, v, most, prob) : FT_FAIL(FT_ENOMEM, "no memory for predictions");
    for (int64_t i = 0; rc == FT_OK && i < v->n; i++) label[i] = x->classes.of_video[v->video[i]];
    if (rc == FT_OK) *threshold = ft_operating_point(prob, label, v->n, x->classes.positive);
    ft_free(prob);
    ft_free(label);
    return rc;
}

/* What the trained classifier says: of the test list, test.csv, and of the validation videos the threshold. chosen: what it said
 * of the test list where that was looked at; NULL: this is the only look at it. */
static int answer(const ft_experiment *x, const ft_stage *s, const ft_clip_features *seen, const float *chosen, int64_t most,
                  double *threshold)
{
    const ft_fold *f = &x->folds[s->fold];
    ft_classifier_info info;
    ft_predictor *p = NULL;
    char path[FT_PATH];
    FT_TRY(ft_classifier_info_read(&info, s->folder));
    int64_t values = f->test.n * x->classes.n;
    float *prob = ft_alloc_n(values + 1, sizeof *prob);
    int rc = prob ? ft_predictor_open(&p, s->folder, &info, &x->store, seen) : FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK && chosen) memcpy(prob, chosen, (size_t)values * sizeof *prob);
    else if (rc == FT_OK) rc = predict_videos(x, p, &f->test, most, prob);
    ft_stage_file(path, s, "test.csv");
    if (rc == FT_OK) rc = ft_predictions_write(x, path, &f->test, prob);
    if (rc == FT_OK) rc = operating_point(x, f, p, most, threshold);
    ft_predictor_close(p);
    ft_classifier_info_free(&info);
    ft_free(prob);
    return rc;
}

static json_t *looks_of(const ft_training_result *r, bool looked)
{
    if (!looked) return json_null();
    json_t *a = json_array();
    for (int i = 0; i < r->looks; i++) json_array_append_new(a, json_real(r->look[i]));
    return a;
}

/* ---- the stage ------------------------------------------------------------------------------------------------------------- */

static double work(const ft_config *cfg) { return (double)ft_config_int(cfg, "classifier.steps"); }

static int train(const ft_experiment *x, const ft_stage *s, const run_opt *opt, const more_clips *u, const run_features *features,
                 json_t *facts)
{
    const ft_run_fold *run = s->plan;
    const ft_fold *f = &x->folds[s->fold];
    ft_training_set set = {.store = &x->store,
                           .classes = (const char *const *)x->classes.name,
                           .n_classes = x->classes.n,
                           .watched_store = &x->store,
                           .looks = opt->looks,
                           .positive = x->classes.positive};
    if (u->store && u->use.unlabelled) set.unlabelled_store = u->store, set.unlabelled = u->clip, set.n_unlabelled = u->n;
    if (u->store && u->use.labelled)
        set.generated_store = u->store, set.generated = u->clip, set.generated_label = u->class, set.n_generated = u->n;
    const ft_config *cfg = features->cfg ? features->cfg : s->own;
    const ft_clip_features *seen = features->cfg ? &features->data : NULL;
    if (seen)
        set.features = seen, set.unlabelled_features = ft_arm_brings_clips(&run->c) ? &features->own : seen,
        set.generated_features = &features->own, set.network = features->network;
    int64_t *clip = NULL, *held = NULL;
    int *label = NULL, *held_label = NULL, *truth = NULL;
    ft_training_result r = {0};
    double threshold = NAN;
    int rc = labels_of(x, &run->c.labelled, 0, &clip, &label, &set.n);
    if (rc == FT_OK)
        rc = labels_of(x, set.looks ? &f->test : &f->validation, opt->test_clips, &held, &held_label, &set.n_watched);
    if (rc == FT_OK) rc = truth_of(x, u, &truth);
    set.truth = truth;
    set.clip = clip, set.label = label, set.watched = held, set.watched_label = held_label;
    ft_classifier_opt o = {0};
    if (rc == FT_OK) rc = ft_classifier_options(&o, cfg, ft_training_is_semi(&set));
    if (u->class) o.lambda_g = opt->weight;
    if (rc == FT_OK) rc = ft_classifier_train(&o, &set, s->folder, (uint64_t)s->seed, true, &r);
    if (rc == FT_OK) rc = answer(x, s, seen, opt->best_on_test ? r.chosen : NULL, opt->test_clips, &threshold);
    if (rc == FT_OK) {
        json_object_set_new(facts, "threshold", isnan(threshold) ? json_null() : json_real(threshold));
        json_object_set_new(facts, "looks", looks_of(&r, set.looks > 0));
        json_object_set_new(facts, "utilisation", json_real(r.utilisation));
        json_object_set_new(facts, "step", json_integer(r.best_step));
        json_object_set_new(facts, "pseudo_labels", pseudo_labels(x, &r, set.unlabelled_store != NULL));
        json_object_set_new(facts, "labelled_clips", labelled_clips(x, u, o.lambda_g));
    }
    ft_classifier_options_free(&o);
    ft_free(r.chosen);
    ft_free(clip);
    ft_free(held);
    ft_free(label);
    ft_free(held_label);
    ft_free(truth);
    return rc;
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    const ft_run_fold *run = s->plan;
    more_clips u = {0};
    run_features features = {0};
    int rc = clips_read(&u, x, &run->c);
    if (rc == FT_OK) rc = features_read(&features, x, s, &u);
    run_opt o = run_options(s->own, u.store != NULL, u.store && u.use.labelled);
    if (rc == FT_OK) rc = restrict_clips(&u, x, s, &o);
    if (rc == FT_OK) rc = train(x, s, &o, &u, &features, facts);
    features_free(&features);
    clips_free(&u);
    return rc;
}

const ft_stage_kind ft_run_classifier = {"classifier", compute, work};
