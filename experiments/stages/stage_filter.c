/* Which of an arm's own clips are used: those that break no rule of `clips.filter`. Rules see the pool, the held-out clips
 * without labels, and the split's labelled videos (agreement alone); never a label of a validation or test video. kept.json holds
 * the clips that are left, which may be none. */
#include "experiments/stages/stage_filter.h"

#include <stdio.h>
#include <string.h>

#include "classify/clip_features.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/clip_classes.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_features.h"
#include "experiments/stages/stage_likeness.h"
#include "experiments/stages/split_probe.h"
#include "gen/latents.h"

const char *const ft_filter_rule[FT_FILTER_RULES] = {"agreement", "likeness", "copies"};
enum { AGREEMENT, LIKENESS, COPIES };

/* the rules of a configuration, in their order; FT_ECONFIG naming what is no rule */
static int rules_of(const ft_config *cfg, int rule[FT_FILTER_RULES])
{
    const char *const *item;
    int n = ft_config_list(cfg, "clips.filter", &item);
    if (n > FT_FILTER_RULES)
        return FT_FAIL(FT_ECONFIG, "%s: clips.filter: a rule is named twice", ft_config_origin(cfg, "clips.filter"));
    for (int i = 0; i < n; i++) {
        for (rule[i] = 0; rule[i] < FT_FILTER_RULES && strcmp(item[i], ft_filter_rule[rule[i]]);) rule[i]++;
        if (rule[i] == FT_FILTER_RULES)
            return FT_FAIL(FT_ECONFIG, "%s: clips.filter: %s is no rule. There are agreement, likeness and copies",
                           ft_config_origin(cfg, "clips.filter"), item[i]);
    }
    return n;
}

static bool has(const int *rule, int n, int what)
{
    bool found = false;
    for (int i = 0; i < n; i++) found |= rule[i] == what;
    return found;
}

/* ---- agreement ------------------------------------------------------------------------------------------------------------- */

/* breaks (n): clips with a condition that the probe gives less than clips.agreement */
static int disagree(const ft_experiment *x, const ft_stage *s, const ft_clip_pool *clips, bool *breaks)
{
    const ft_stage *of_data = s->need[s->needs - 3], *of_arm = s->need[s->needs - 2];
    char path[FT_PATH];
    ft_clip_features own = {0};
    int C = x->classes.n, *class = ft_alloc_n(clips->n + 1, sizeof *class);
    float *prob = ft_alloc_n(clips->n * C + 1, sizeof *prob);
    double least = ft_config_real(s->own, "clips.agreement");
    int rc = class && prob ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK) rc = ft_clip_classes(x, clips->store, false, class);
    ft_stage_file(path, of_arm, "features.safetensors");
    if (rc == FT_OK) rc = ft_clip_features_read(&own, path, clips->n);
    if (rc == FT_OK) rc = ft_split_probe(x, s, of_data, clips, &own, prob);
    for (int64_t i = 0; rc == FT_OK && i < clips->n; i++) breaks[i] = class[i] >= 0 && (double)prob[i * C + class[i]] < least;
    ft_clip_features_free(&own);
    ft_free(class);
    ft_free(prob);
    return rc;
}

/* ---- the stage ------------------------------------------------------------------------------------------------------------- */

/* breaks (n): what the likeness stage found of each clip */
static int found(const ft_stage *likeness, const char *what, bool breaks_if, int64_t n, bool *breaks)
{
    char path[FT_PATH];
    ft_stage_file(path, likeness, "clips.json");
    json_t *o = ft_read_json(path), *list = json_object_get(o, what);
    int rc = (int64_t)json_array_size(list) == n
                 ? FT_OK
                 : FT_FAIL(FT_EDATA, "%s: not of these %lld clips. Remove its folder to make it again", path, (long long)n);
    for (int64_t i = 0; rc == FT_OK && i < n; i++) breaks[i] = json_is_true(json_array_get(list, (size_t)i)) == breaks_if;
    json_decref(o);
    return rc;
}

static int write_kept(const ft_stage *s, const bool *dropped, int64_t n, int64_t *kept)
{
    char path[FT_PATH];
    json_t *list = json_array();
    for (int64_t i = *kept = 0; i < n; i++)
        if (!dropped[i]) json_array_append_new(list, json_integer(i)), ++*kept;
    ft_stage_file(path, s, "kept.json");
    int rc = ft_write_json(path, list, 0);
    json_decref(list);
    return rc;
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    ft_clipstore own = {0};
    const ft_stage *likeness = s->need[s->needs - 1];
    char path[FT_PATH];
    int rule[FT_FILTER_RULES], n = rules_of(s->own, rule), rc = n < 0 ? n : FT_OK;
    int64_t *clip = NULL, kept = 0;
    bool *dropped = NULL, *breaks = NULL;
    json_t *by_rule = json_object();
    if (!*s->file) ft_stage_file(path, s->need[0], "clips.h5");
    if (rc == FT_OK) rc = ft_clips_alike(&own, x, *s->file ? s->file : path);
    int64_t m = own.n_clip;
    clip = ft_alloc_n(m + 1, sizeof *clip), dropped = ft_alloc_n(m + 1, 1), breaks = ft_alloc_n(m + 1, 1);
    if (rc == FT_OK && (!clip || !dropped || !breaks)) rc = FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; rc == FT_OK && i < m; i++) clip[i] = i;
    for (int i = 0; rc == FT_OK && i < n; i++) {
        int64_t count = 0;
        if (rule[i] == AGREEMENT) rc = disagree(x, s, &(ft_clip_pool){&own, clip, m}, breaks);
        else rc = found(likeness, rule[i] == COPIES ? "copy" : "likely", rule[i] == COPIES, m, breaks);
        for (int64_t k = 0; rc == FT_OK && k < m; k++)
            if (breaks[k] && !dropped[k]) dropped[k] = true, count++;
        json_object_set_new(by_rule, ft_filter_rule[rule[i]], json_integer(count));
    }
    if (rc == FT_OK) rc = write_kept(s, dropped, m, &kept);
    json_object_set_new(facts, "drawn", json_integer(m));
    json_object_set_new(facts, "kept", json_integer(kept));
    json_object_set_new(facts, "dropped", by_rule);
    ft_free(clip);
    ft_free(dropped);
    ft_free(breaks);
    ft_clipstore_free(&own);
    return rc;
}
static const ft_stage_kind filtering = {"filter", compute, NULL};

int ft_stage_filter(ft_experiment *x, const ft_config *cfg, const char *label, int fold, int split, const ft_videos *labelled,
                    ft_stage *made, const char *file, ft_stage **stage)
{
    static const char *const keys[] = {"clips.filter", "clips.agreement", "unlabelled.sampler", "unlabelled.fps", NULL};
    /* who is labelled, and how the clips of a file are made alike, stand in the key */
    static const char *const by_content[] = {FT_LABELS_AND_CLIPS, NULL};
    ft_stage like = {.kind = &filtering,
                     .cfg = cfg,
                     .arm = "",
                     .label = label,
                     .file = file,
                     .fold = fold,
                     .split = split,
                     .by_content = by_content};
    int rule[FT_FILTER_RULES], n = rules_of(cfg, rule);
    json_t *of_file = NULL;
    *stage = NULL;
    if (n < 0) return n;
    if (n == 0 || (!made && !*file)) return FT_OK;
    bool agrees = like.of_split = has(rule, n, AGREEMENT);
    if (agrees && !*ft_config_text(cfg, "features.model"))
        return FT_FAIL(FT_ECONFIG,
                       "%s: clips.filter: agreement asks a probe, which looks through a frozen network. Set features.model",
                       ft_config_origin(cfg, "clips.filter"));
    if (has(rule, n, COPIES) && x->folds[fold].validation.n == 0)
        return FT_FAIL(FT_ECONFIG, "%s: clips.filter: copies are told by held-out real clips, and there are no validation videos",
                       ft_config_origin(cfg, "clips.filter"));
    if (made) like.need[like.needs++] = made;
    if (agrees) FT_TRY(ft_stage_features(x, cfg, label, fold, NULL, "", &like.need[like.needs++]));
    if (agrees) FT_TRY(ft_stage_features(x, cfg, label, fold, made, file, &like.need[like.needs++]));
    FT_TRY(ft_stage_likeness(x, cfg, label, fold, made, file, &like.need[like.needs++]));
    json_t *probe = NULL;
    if (!made) FT_TRY(ft_alike_key(x, cfg, file, &of_file));
    if (agrees) FT_TRY(ft_key_settings(cfg, ft_split_probe_keys, &probe));
    json_t *key =
        json_pack("{s:o,s:o,s:o,s:o}", "config", ft_config_json(cfg, keys), "file", of_file ? of_file : json_string(""), "probe",
                  probe ? probe : json_null(), "labelled", agrees ? ft_video_names(&x->store, labelled) : json_null());
    return ft_stage_add(x, &like, key, stage);
}

int ft_filter_apply(const ft_stage *filter, int64_t *clip, int64_t *n)
{
    char path[FT_PATH];
    size_t k;
    json_t *v;
    ft_stage_file(path, filter, "kept.json");
    json_t *list = ft_read_json(path);
    int rc = json_is_array(list) && (int64_t)json_array_size(list) <= *n
                 ? FT_OK
                 : FT_FAIL(FT_EDATA, "%s: cannot be read. Remove its folder to make it again", path);
    if (rc == FT_OK) json_array_foreach(list, k, v) clip[k] = json_integer_value(v);
    if (rc == FT_OK) *n = (int64_t)json_array_size(list);
    json_decref(list);
    return rc;
}

bool ft_filters(const ft_filtered *f, const char *rule)
{
    for (int i = 0; i < FT_FILTER_RULES; i++)
        if (!strcmp(ft_filter_rule[i], rule)) return f->ruled[i];
    return false;
}

void ft_filtered_text(const ft_filtered *f, char text[300])
{
    int at = 0, told = 0;
    text[0] = 0;
    if (f->runs == 0) return;
    at += snprintf(text, 300, "%.0f clips drawn", f->drawn / f->runs);
    for (int i = 0; i < FT_FILTER_RULES; i++)
        if (f->ruled[i])
            at += snprintf(text + at, 300 - (size_t)at, ", %.0f %sby %s", f->dropped[i] / f->runs, told++ ? "" : "dropped ",
                           ft_filter_rule[i]);
    if (f->kept == 0) snprintf(text + at, 300 - (size_t)at, "; none is left, so the labels taught alone");
    else if (f->used < f->kept)
        snprintf(text + at, 300 - (size_t)at, "; %.0f kept, %.0f used", f->kept / f->runs, f->used / f->runs);
    else snprintf(text + at, 300 - (size_t)at, "; %.0f kept and used", f->kept / f->runs);
}
