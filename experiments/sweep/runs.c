#include "experiments/sweep/runs.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_distances.h"
#include "experiments/stages/stage_features.h"
#include "experiments/stages/stage_filter.h"
#include "experiments/stages/stage_likeness.h"
#include "experiments/sweep/clip_use.h"
#include "experiments/sweep/predictions.h"
#include "experiments/sweep/run_classifier.h"

struct ft_planned_run {
    int split, seed, folds;
    ft_run_fold *fold; /* does not move: stages point into it */
};

/* ---- planning -------------------------------------------------------------------------------------------------------------- */

/* Who is labelled, and where the arm's clips will come from. */
static int context_of(ft_arm_context *c, ft_experiment *x, const ft_arm_result *arm, int fold, int split)
{
    const ft_arm *row = ft_arm_find(arm->arm);
    *c = (ft_arm_context){
        .x = x, .arm = arm->arm, .label = arm->name, .cfg = arm->cfg, .opt = &arm->opt, .fold = fold, .split = split, .file = ""};
    FT_TRY(ft_split_make(&c->labelled, &c->unlabelled, c->cfg, &x->store, &x->classes, &x->folds[fold], split));
    if (row->plan) FT_TRY(row->plan(c));
    if (!ft_arm_brings_clips(c)) FT_TRY(row->prepare(c));
    FT_TRY(ft_clip_use_check(c));
    if (!ft_arm_brings_clips(c)) return FT_OK;
    return ft_stage_filter(x, c->cfg, c->label, fold, split, &c->labelled, c->made, c->file, &c->filter);
}

static void context_free(ft_arm_context *c)
{
    ft_free(c->labelled.video);
    ft_free(c->unlabelled.video);
    ft_free(c->clips);
}

/* the identity of an arm's clips, where no stage that is needed tells it; any: are there any? */
static int clips_key(const ft_arm_context *c, json_t **key, bool *any)
{
    char hex[65];
    *any = ft_arm_brings_clips(c) || c->clips;
    if (c->made) *key = json_string("made");
    else if (*c->file) FT_TRY(ft_alike_key(c->x, c->cfg, c->file, key));
    else {
        if (*any) ft_sha256(c->clips, (size_t)c->n_clips * sizeof *c->clips, hex);
        *key = *any ? json_string(hex) : json_null();
    }
    if (c->opt->unlabelled_clips > 0 && *any) /* a part of them, drawn for the split */
        *key = json_pack("[o,i,i]", *key, c->split, c->fold);
    return FT_OK;
}

/* Initialisation and order vary with the split, in every arm alike. */
static int seed_of(const ft_config *cfg, int split, int seed) { return (int)ft_config_int(cfg, "seed") + seed + 1000 * split; }

static int add_settings(json_t *to, const ft_config *cfg, const char *const *prefix)
{
    json_t *more;
    FT_TRY(ft_key_settings(cfg, prefix, &more));
    json_object_update(to, more);
    json_decref(more);
    return FT_OK;
}

/* The classifier of a context, in the graph. */
static int plan_classifier(ft_run_fold *run, int seed)
{
    static const char *const plain[] = {"classifier.", "selection", "looks", "data.test_clips", "precision", NULL},
                             *const of_clips[] = {"unlabelled.", NULL}, *const of_unlabelled[] = {"ssl.", NULL},
                             *const of_labelled[] = {"clips.use", "clips.weight", NULL};
    static const char *const by_content[] = {"data.sampler", "data.stride", NULL}; /* of a file, where they count */
    ft_arm_context *c = &run->c;
    ft_experiment *x = c->x;
    const ft_fold *f = &x->folds[c->fold];
    ft_stage like = {.kind = &ft_run_classifier,
                     .plan = run,
                     .by_content = *c->file ? by_content : NULL,
                     .cfg = c->cfg,
                     .arm = c->arm,
                     .label = c->label,
                     .file = c->file,
                     .fold = c->fold,
                     .split = c->split,
                     .of_split = true,
                     .seed = seed_of(c->cfg, c->split, seed),
                     .need = {c->made},
                     .needs = c->made != NULL};
    json_t *unlabelled = NULL, *settings = NULL, *classes = ft_classes_names(&x->classes);
    ft_clip_use use = ft_clip_use_of(c->cfg);
    bool any;
    int rc = FT_OK;
    if (ft_is_probe(c->cfg)) {
        rc = ft_stage_features(x, c->cfg, c->label, c->fold, NULL, "", &run->seen);
        if (rc == FT_OK && ft_arm_brings_clips(c))
            rc = ft_stage_features(x, c->cfg, c->label, c->fold, c->made, c->file, &run->seen_own);
        if (run->seen) like.need[like.needs++] = run->seen;
        if (run->seen_own) like.need[like.needs++] = run->seen_own;
    }
    if (c->filter) like.need[like.needs++] = c->filter;
    if (rc == FT_OK) rc = clips_key(c, &unlabelled, &any);
    if (rc == FT_OK && any && x->classes.positive == FT_MULTILABEL)
        rc = FT_FAIL(
            FT_ECONFIG,
            "%s: data.multilabel: the arm %s has unlabelled clips, to which %s gives one class each. Arms of labels alone "
            "(supervised, fully-supervised, more-labels, curve) are possible, and every arm with positive: NAME, which "
            "makes two classes of one label",
            ft_config_origin(x->cfg, "data.multilabel"), c->label, ft_config_text(c->cfg, "ssl.algorithm"));
    if (rc == FT_OK) rc = ft_key_settings(c->cfg, plain, &settings);
    if (rc == FT_OK && any) rc = add_settings(settings, c->cfg, of_clips);
    if (rc == FT_OK && any && use.unlabelled) rc = add_settings(settings, c->cfg, of_unlabelled);
    if (rc == FT_OK && any && use.labelled) rc = add_settings(settings, c->cfg, of_labelled);
    if (rc < 0) {
        json_decref(settings);
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
    return ft_stage_add(x, &like, key, &run->classifier);
}

/* does the run of this split test on fold f? */
static bool of_split(const ft_experiment *x, int f, int split) { return x->n_folds == 1 || x->folds[f].repeat == split; }

int ft_run_plan(ft_experiment *x, ft_arm_result *arm, int split, int seed)
{
    FT_TRY(ft_grow(&arm->plan, (size_t)arm->planned, sizeof *arm->plan));
    ft_planned_run *r = &arm->plan[arm->planned++];
    *r = (ft_planned_run){split, seed, 0, ft_alloc_n(x->n_folds, sizeof *r->fold)};
    if (!r->fold) return FT_FAIL(FT_ENOMEM, "no memory for runs");
    for (int f = 0; f < x->n_folds; f++) {
        if (!of_split(x, f, split)) continue;
        ft_run_fold *run = &r->fold[r->folds++];
        ft_arm_context *c = &run->c;
        FT_TRY(context_of(c, x, arm, f, split));
        if (!arm->likeness && ft_arm_brings_clips(c))
            FT_TRY(ft_stage_likeness(x, c->cfg, c->label, f, c->made, c->file, &arm->likeness));
        FT_TRY(plan_classifier(run, seed));
        if (!arm->distances && run->seen_own) /* computed anyway: distances of them cost nothing */
            FT_TRY(ft_stage_distances(x, c->cfg, c->label, f, run->seen, run->seen_own, c->made, c->file, &arm->distances));
    }
    return FT_OK;
}

void ft_runs_free(ft_arm_result *arm)
{
    for (int i = 0; i < arm->planned; i++) {
        for (int f = 0; f < arm->plan[i].folds; f++) context_free(&arm->plan[i].fold[f].c);
        ft_free(arm->plan[i].fold);
    }
    ft_free(arm->plan);
    arm->plan = NULL, arm->planned = 0;
}

/* ---- reading --------------------------------------------------------------------------------------------------------------- */

/* where the lists of a split stand: an arm with labelled videos of its own (`labelled` of them) has lists of its own */
static void split_file(char path[FT_PATH + 64], const ft_result *all, const ft_arm_result *arm, int split, const ft_fold *fold,
                       int64_t labelled)
{
    const ft_experiment *x = all->x;
    char name[128], of_arm[140] = "", of_fold[40] = "";
    ft_arm_file_name(name, arm->name);
    bool same = labelled == all->opt.labels && !strcmp(arm->opt.labels_from, all->opt.labels_from);
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

/* Sums over the folds of a run. */
typedef struct {
    ft_videos test;
    float *prob, *point; /* point: answers at the operating point, 0 or 1 */
    int *label;
    bool pointed;
    double utilisation, seconds;
    int64_t steps, folds;
    json_t *pseudo, *looks, *filter, *taught; /* one for each fold; filter, taught: [] without */
    char hash[200];
} run_sum;

static void read_facts(run_sum *r, ft_arm_result *arm, const ft_experiment *x, const ft_stage *s, const ft_fold *fold)
{
    const ft_videos *test = &fold->test;
    json_t *facts = ft_stage_facts(s), *t = json_object_get(facts, "threshold");
    double threshold = json_is_number(t) ? json_number_value(t) : NAN;
    int P = x->classes.positive;
    for (int64_t i = 0; i < test->n; i++, r->test.n++) {
        int64_t at = r->test.n;
        r->label[at] = x->classes.of_video[test->video[i]];
        if (ft_two_classes(x))
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
    if (json_is_object(json_object_get(facts, "labelled_clips")))
        json_array_append(r->taught, json_object_get(facts, "labelled_clips"));
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
    if (s->kind == &ft_run_classifier) arm->classifier_seconds += s->seconds;
    for (int i = 0; i < s->needs; i++) add_cost(arm, s->need[i]);
}

/* what the filter left, and how many of these the classifier learned from */
static void read_filter(run_sum *r, ft_arm_result *arm, const ft_stage *s)
{
    json_t *facts = ft_stage_facts(s), *dropped = json_object_get(facts, "dropped");
    double kept = json_number_value(json_object_get(facts, "kept")), most = (double)arm->opt.unlabelled_clips,
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

static int read_fold(run_sum *r, const ft_result *all, ft_arm_result *arm, const ft_planned_run *run, const ft_run_fold *f)
{
    const ft_experiment *x = all->x;
    char path[FT_PATH + 64];
    const ft_arm_context *c = &f->c;
    const ft_fold *fold = &x->folds[c->fold];
    split_file(path, all, arm, run->split, fold, c->labelled.n);
    if (run->seed == 0) FT_TRY(ft_split_save(path, &x->store, fold, &c->labelled, run->split));
    ft_stage_file(path, f->classifier, "test.csv");
    FT_TRY(ft_predictions_read(x, path, &fold->test, r->prob + r->test.n * x->classes.n));
    read_facts(r, arm, x, f->classifier, fold);
    add_cost(arm, f->classifier);
    if (c->filter) read_filter(r, arm, c->filter);
    if (c->made && !*arm->clips) ft_stage_file(arm->clips, c->made, "clips.h5");
    if (*c->file && !*arm->clips) snprintf(arm->clips, sizeof arm->clips, "%s", c->file);
    if (c->made && isnan(arm->eps_mse) && ft_arm_find(arm->arm)->facts) ft_arm_find(arm->arm)->facts(c, arm);
    return FT_OK;
}

/* The line of results.jsonl; `scores`: the file of its predictions, in the results folder. */
static json_t *line_of(const ft_experiment *x, const ft_arm_result *arm, const ft_planned_run *run, const run_sum *r,
                       const ft_scores *s, const char *scores)
{
    json_t *metrics = ft_scores_json(s);
    if (s->multilabel) json_object_set_new(metrics, "classes", ft_classes_names(&x->classes));
    json_t *line =
        json_pack("{s:s,s:i,s:i,s:o,s:f,s:O,s:I,s:f,s:s,s:s}", "arm", arm->name, "split", run->split, "seed", run->seed,
                  "metrics", metrics, "utilisation", r->utilisation / (double)r->folds, "pseudo_labels", r->pseudo, "steps",
                  (json_int_t)(r->steps / r->folds), "wall_s", r->seconds, "config_hash", r->hash, "scores", scores);
    if (r->pointed) {
        ft_scores o = ft_score(r->point, r->label, r->test.n, x->classes.n, x->classes.positive);
        json_object_set_new(line, "operating_point",
                            json_pack("{s:f,s:f,s:f}", "f1", o.f1, "sensitivity", o.sensitivity, "specificity", o.specificity));
    }
    if (json_array_size(r->filter) > 0) json_object_set(line, "filter", r->filter);
    if (json_array_size(r->taught) > 0) json_object_set(line, "labelled_clips", r->taught);
    if (r->folds == 1 && json_array_size(json_array_get(r->looks, 0)) > 0) looked(line, json_array_get(r->looks, 0));
    return line;
}

static int read_run(run_sum *r, const ft_result *all, ft_arm_result *arm, const ft_planned_run *run)
{
    const ft_experiment *x = all->x;
    char path[FT_PATH + 64], file[128];
    for (int f = 0; f < run->folds; f++) FT_TRY(read_fold(r, all, arm, run, &run->fold[f]));
    ft_scores s = ft_score(r->prob, r->label, r->test.n, x->classes.n, x->classes.positive);
    ft_arm_file_name(file, arm->name);
    snprintf(path, sizeof path, "%s/scores/%s-split-%d-seed-%d.csv", x->dir, file, run->split, run->seed);
    FT_TRY(ft_predictions_write(x, path, &r->test, r->prob));
    arm->line[arm->n] = line_of(x, arm, run, r, &s, path + strlen(x->dir) + 1);
    arm->run[arm->n++] = (ft_run_scores){run->split, run->seed, r->prob, r->label, r->test.n, s.f1};
    r->prob = NULL, r->label = NULL; /* they are the arm's now */
    return FT_OK;
}

int ft_runs_read(const ft_result *all, ft_arm_result *arm)
{
    const ft_experiment *x = all->x;
    int C = x->classes.n, rc = FT_OK;
    for (int i = 0; i < arm->planned && rc == FT_OK; i++) {
        const ft_planned_run *run = &arm->plan[i];
        int64_t total = 0;
        for (int f = 0; f < run->folds; f++) total += x->folds[run->fold[f].c.fold].test.n;
        run_sum r = {.test = {ft_alloc((size_t)(total + 1) * sizeof(int64_t)), 0},
                     .prob = ft_alloc((size_t)(total * C + 1) * sizeof(float)),
                     .point = ft_alloc((size_t)(total * C + 1) * sizeof(float)),
                     .label = ft_alloc((size_t)(total + 1) * sizeof(int)),
                     .pointed = ft_two_classes(x),
                     .pseudo = json_array(),
                     .looks = json_array(),
                     .filter = json_array(),
                     .taught = json_array()};
        bool room = r.test.video && r.prob && r.point && r.label;
        rc = room ? read_run(&r, all, arm, run) : FT_FAIL(FT_ENOMEM, "no memory for scores");
        json_decref(r.pseudo);
        json_decref(r.looks);
        json_decref(r.filter);
        json_decref(r.taught);
        ft_free(r.prob);
        ft_free(r.label);
        ft_free(r.point);
        ft_free(r.test.video);
    }
    return rc;
}
