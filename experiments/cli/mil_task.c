#include "experiments/cli/mil_task.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "classify/mil.h"
#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/features.h"
#include "common/io/labels.h"
#include "common/io/lookup.h"
#include "common/io/npy.h"
#include "common/io/table.h"
#include "experiments/data/lists.h"
#include "experiments/data/splits.h"

/* ---- data --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_features features;
    ft_labels labels;
    ft_clipstore videos; /* the label list as a store without clips: what splits are made from */
    ft_classes classes;
    ft_fold *folds;
    int n_folds;
    int64_t *row; /* of each video among the features */
} mil_data;

static void mil_data_free(mil_data *d)
{
    ft_folds_free(d->folds, d->n_folds);
    ft_classes_free(&d->classes);
    ft_features_free(&d->features);
    ft_labels_free(&d->labels);
    ft_free(d->videos.video); /* its strings are those of the list */
    ft_free(d->row);
}

static int mil_data_read(mil_data *d, const ft_config *cfg, const char *features)
{
    const char *list = ft_config_text(cfg, "data.labels");
    if (!*features)
        return FT_FAIL(FT_ECONFIG, "data.features is missing: a folder of VIDEO.npy, or a file that `forty features` wrote");
    if (!*list)
        return FT_FAIL(FT_ECONFIG, "data.labels is missing: the label list (video,label[,group][,split]) of %s", features);
    ft_list_words words = ft_list_words_of(cfg);
    ft_list_opt opt;
    FT_TRY(ft_list_options(&opt, &words));
    FT_TRY(ft_labels_read(&d->labels, list, &opt));
    FT_TRY(ft_features_read(&d->features, features));
    d->videos.path = (char *)(uintptr_t)list;
    d->videos.video = ft_alloc((size_t)(d->labels.n + 1) * sizeof *d->videos.video);
    d->row = ft_alloc((size_t)(d->labels.n + 1) * sizeof *d->row);
    if (!d->videos.video || !d->row) return FT_FAIL(FT_ENOMEM, "%s: no memory", list);
    for (int i = 0; i < d->labels.n; i++) {
        const ft_label *l = &d->labels.row[i];
        if ((d->row[i] = ft_features_find(&d->features, l->video)) < 0)
            return FT_FAIL(FT_EDATA, "%s:%d: %s has no video %s", list, l->line, features, l->video);
        d->videos.video[d->videos.n_video++] =
            (ft_store_video){.name = l->video, .label = l->label, .group = l->group, .split = l->split};
    }
    if (d->labels.n < d->features.n)
        ft_log("%s: %lld of %lld videos are not in %s and stay out", features, (long long)(d->features.n - d->labels.n),
               (long long)d->features.n, list);
    FT_TRY(ft_classes_make(&d->classes, cfg, &d->videos));
    if (d->classes.positive == FT_MULTILABEL)
        return FT_FAIL(FT_ECONFIG, "%s: data.multilabel: a multiple-instance learner finds one class. positive: NAME says which",
                       ft_config_origin(cfg, "data.multilabel"));
    return ft_folds_make(&d->folds, &d->n_folds, cfg, &d->videos, &d->classes);
}

/* ---- training ----------------------------------------------------------------------------------------------------------- */

int ft_mil_task(const ft_config *cfg, const char *dir, bool resume)
{
    mil_data d = {0};
    char path[1200], frames[32];
    int64_t *video = NULL, n = 0;
    int *label = NULL;
    json_t *about = NULL;
    int rc;
    FT_TRY_TO(rc, done, mil_data_read(&d, cfg, ft_config_text(cfg, "data.features")));
    const ft_fold *fold = &d.folds[0];
    const ft_videos *part[] = {&fold->pool, &fold->validation}; /* nothing is chosen by validation: it may teach */
    video = ft_alloc((size_t)(d.videos.n_video + 1) * sizeof *video),
    label = ft_alloc((size_t)(d.videos.n_video + 1) * sizeof *label);
    if (!video || !label) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for videos"));
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < part[k]->n; i++) {
            int64_t v = part[k]->video[i];
            if (d.classes.of_video[v] < 0) continue;
            video[n] = d.row[v], label[n++] = d.classes.of_video[v] == d.classes.positive;
        }
    snprintf(path, sizeof path, "%s/split.json", dir);
    FT_TRY_TO(rc, done, ft_split_save(path, &d.videos, fold, &fold->pool, 0));
    snprintf(frames, sizeof frames, "%d", d.features.frames ? d.features.frames : (int)ft_config_int(cfg, "mil.snippet"));
    about =
        json_pack("{s:s,s:s,s:s}", "task", "mil", "positive", d.classes.name[d.classes.positive], "frames_per_snippet", frames);
    ft_mil_set set = {&d.features, video, label, n, about};
    ft_mil_opt o;
    rc = ft_mil_options(&o, cfg);
    if (rc == FT_OK) rc = ft_mil_train(&o, &set, dir, (uint64_t)ft_config_int(cfg, "seed"), resume);
done:
    json_decref(about);
    ft_free(video);
    ft_free(label);
    mil_data_free(&d);
    return rc;
}

/* ---- which frames are positive ------------------------------------------------------------------------------------------ */

typedef struct {
    const ft_framed_video *video;
    const int64_t *first; /* frame of each video, in truth */
    ft_lookup index;
    int32_t *change; /* of how many spans a frame is in, against the frame before it: rows may be many, and long */
    int rows;
} frame_list;

static bool whole_number(const char *s, int64_t *n)
{
    char *end;
    errno = 0;
    *n = strtoll(s, &end, 10);
    return *s && !*end && *n >= 0 && !errno;
}

static int frame_row(void *ctx, const ft_row *row)
{
    frame_list *l = ctx;
    int64_t from, to;
    if (l->rows++ == 0) {
        return row->fields == 3 && !strcasecmp(row->field[0], "video") && !strcasecmp(row->field[1], "start") &&
                       !strcasecmp(row->field[2], "end") /* not a length */
                   ? FT_OK
                   : FT_FAIL(FT_EDATA, "%s:1: the first line is video,start,end", row->path);
    }
    if (row->fields != 3 || !whole_number(row->field[1], &from) || !whole_number(row->field[2], &to) || to < from)
        return FT_FAIL(FT_EDATA, "%s:%d: video,start,end with whole numbers and start <= end is needed", row->path, row->line);
    FT_TRY(ft_row_name(row, 0, "the name of the video"));
    int64_t i = ft_lookup_find(&l->index, row->field[0], row->size[0]);
    if (i < 0) return FT_OK;                       /* other videos: not asked for */
    int32_t *change = l->change + l->first[i] + i; /* one more than its frames */
    int64_t frames = l->video[i].frames;
    if (from < frames) change[from]++, change[to < frames ? to : frames]--;
    return FT_OK;
}

static int frames_from_npy(const char *path, int64_t total, uint8_t *truth)
{
    ft_npy a;
    FT_TRY(ft_npy_read(&a, path));
    float *value = ft_alloc((size_t)(a.tensor.count + 1) * sizeof *value);
    int rc = value ? ft_safetensors_f32(&a.tensor, value) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK && a.tensor.count != total)
        rc = FT_FAIL(FT_EDATA, "%s: %lld values; the videos that are scored have %lld frames", path, (long long)a.tensor.count,
                     (long long)total);
    for (int64_t i = 0; rc == FT_OK && i < total; i++) truth[i] = value[i] > 0.5f;
    ft_free(value);
    ft_npy_free(&a);
    return rc;
}

int ft_frame_labels_read(const char *path, const ft_framed_video *video, int64_t n, uint8_t *truth)
{
    int64_t total = 0, *first = ft_alloc_n(n + 1, sizeof *first);
    size_t length = strlen(path);
    frame_list l = {.video = video, .first = first};
    int rc = first ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    for (int64_t i = 0; i < n && rc == FT_OK; i++) {
        first[i] = total, total += video[i].frames;
        rc = ft_lookup_add(&l.index, video[i].video, strlen(video[i].video), i);
    }
    if (rc == FT_OK) {
        memset(truth, 0, (size_t)total);
        ft_lookup_sort(&l.index);
        bool npy = length > 4 && !strcmp(path + length - 4, ".npy");
        l.change = npy ? NULL : ft_alloc_n(total + n + 1, sizeof *l.change);
        if (npy) rc = frames_from_npy(path, total, truth);
        else if (!l.change) rc = FT_FAIL(FT_ENOMEM, "%s: no memory for %lld frames", path, (long long)total);
        else rc = ft_table_read(path, 256u << 20, 0, frame_row, &l);
        for (int64_t i = 0; l.change && i < n; i++)
            for (int64_t f = 0, inside = 0; f < video[i].frames; f++)
                truth[first[i] + f] = (inside += l.change[first[i] + i + f]) > 0;
    }
    ft_free(l.change);
    ft_lookup_free(&l.index);
    ft_free(first);
    return rc;
}

/* ---- scores ------------------------------------------------------------------------------------------------------------- */

bool ft_mil_is_run(const char *dir)
{
    char path[1200], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/run.json", dir);
    if (!ft_exists(path) || ft_read_file(path, 1u << 20, &text, &size) < 0) return false;
    json_t *m = json_loads(text, 0, NULL);
    const char *task = json_string_value(json_object_get(m, "task"));
    bool is = task && !strcmp(task, "mil");
    json_decref(m);
    ft_free(text);
    return is;
}

typedef struct {
    int64_t *video, n, snippets; /* rows of the label list; all their snippets */
    int frames;                  /* of a snippet */
    float *p, *rows, *score;     /* p(positive); (n,2); of snippets */
    int *label;
} judged;

/* From which frame to which a snippet of a video stands for it, and how many frames the video has */
static int64_t first_of(const ft_video_features *v, int64_t k, int frames) { return v->start ? v->start[k] : k * frames; }
static int64_t frames_of(const ft_video_features *v, int frames) { return v->start ? v->frames : v->snippets * frames; }

static int write_snippets(const char *path, const mil_data *d, const judged *j)
{
    ft_atomic a;
    FT_TRY(ft_atomic_begin(&a, path));
    FILE *f = fopen(a.temp, "w");
    if (!f) return FT_FAIL(FT_EIO, "%s: cannot be written", path);
    fprintf(f, "video,start,end,score\n");
    const float *s = j->score;
    for (int64_t i = 0; i < j->n; i++) {
        const ft_video_features *v = &d->features.video[d->row[j->video[i]]];
        for (int64_t k = 0; k < v->snippets; k++) {
            int64_t start = first_of(v, k, j->frames), end = start + j->frames, all = frames_of(v, j->frames);
            ft_csv_field(f, d->videos.video[j->video[i]].name);
            fprintf(f, ",%lld,%lld,%.6g\n", (long long)start, (long long)(end < all ? end : all), (double)*s++);
        }
    }
    bool bad = ferror(f);
    if (fclose(f) || bad) {
        ft_atomic_abort(&a);
        return FT_FAIL(FT_EIO, "%s: cannot be written. Is the disk full?", path);
    }
    return ft_atomic_commit(&a);
}

/* Each snippet's score stands for its frames (Tian et al.): a frame of several snippets has their mean, one of none the score of
 * the nearest, so that every frame of a video is judged. */
static void spread(const ft_video_features *v, int frames, const float *score, int64_t n, float *p)
{
    for (int64_t f = 0, low = 0; f < n; f++) {
        double sum = 0;
        int64_t in = 0, near = low;
        while (low < v->snippets - 1 && first_of(v, low, frames) + frames <= f) low++;
        for (int64_t k = low > 0 ? low - 1 : 0; k < v->snippets && (k <= low || first_of(v, k, frames) <= f); k++) {
            int64_t start = first_of(v, k, frames), away = f < start ? start - f : f - (start + frames - 1),
                    closest = first_of(v, near, frames), best = f < closest ? closest - f : f - (closest + frames - 1);
            if (away <= 0) sum += (double)score[k], in++;
            if (away < best) near = k;
        }
        p[2 * f + 1] = in ? (float)(sum / (double)in) : score[near], p[2 * f] = 1 - p[2 * f + 1];
    }
}

/* count: of all frames, and of the positive ones */
static int frame_scores(ft_scores *out, int64_t count[2], const char *path, const mil_data *d, const judged *j)
{
    int64_t total = 0, at = 0, snippet = 0;
    ft_framed_video *video = ft_alloc((size_t)(j->n + 1) * sizeof *video);
    for (int64_t i = 0; video && i < j->n; i++) {
        const ft_video_features *v = &d->features.video[d->row[j->video[i]]];
        video[i] = (ft_framed_video){d->videos.video[j->video[i]].name, frames_of(v, j->frames)};
        total += video[i].frames;
    }
    uint8_t *truth = ft_alloc((size_t)total + 1);
    float *p = ft_alloc_n(total + 1, 2 * sizeof *p);
    int *label = ft_alloc_n(total + 1, sizeof *label), rc = FT_OK;
    if (!video || !truth || !p || !label) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for frames"));
    FT_TRY_TO(rc, done, ft_frame_labels_read(path, video, j->n, truth));
    for (int64_t i = 0; i < j->n; i++) {
        const ft_video_features *v = &d->features.video[d->row[j->video[i]]];
        spread(v, j->frames, j->score + snippet, video[i].frames, p + 2 * at);
        snippet += v->snippets;
        for (int64_t f = 0; f < video[i].frames; f++, at++) {
            if (truth[at] && !j->label[i])
                FT_TRY_TO(rc, done,
                          FT_FAIL(FT_EDATA, "%s: frame %lld of %s is positive, but the label of the video is not", path,
                                  (long long)f, video[i].video));
            label[at] = truth[at];
        }
    }
    *out = ft_score(p, label, total, 2, 1);
    count[0] = total, count[1] = 0;
    for (int64_t f = 0; f < total; f++) count[1] += truth[f];
done:
    ft_free(video);
    ft_free(truth);
    ft_free(p);
    ft_free(label);
    return rc;
}

static int judge(judged *j, const mil_data *d, const ft_config *cfg, const char *run, const char *split)
{
    const ft_videos *test = &d->folds[0].test;
    int64_t all = d->videos.n_video, *row = NULL;
    bool *in = ft_alloc_n(all + 1, sizeof *in), whole = !strcmp(split, "all");
    int rc = FT_OK;
    j->video = ft_alloc((size_t)(all + 1) * sizeof *j->video), row = ft_alloc((size_t)(all + 1) * sizeof *row);
    j->label = ft_alloc((size_t)(all + 1) * sizeof *j->label);
    j->p = ft_alloc((size_t)(all + 1) * sizeof *j->p), j->rows = ft_alloc((size_t)(all + 1) * 2 * sizeof *j->rows);
    if (!in || !j->video || !row || !j->label || !j->p || !j->rows)
        FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for videos"));
    for (int64_t v = 0; v < all; v++) in[v] = whole || !strcmp(d->videos.video[v].split, split);
    for (int64_t i = 0; !strcmp(split, "test") && i < test->n; i++) in[test->video[i]] = true;
    for (int64_t v = 0; v < all; v++) /* in order of the list, as a NumPy file of frame labels has it */
        if (in[v] && d->classes.of_video[v] >= 0) {
            row[j->n] = d->row[v], j->label[j->n] = d->classes.of_video[v] == d->classes.positive;
            j->snippets += d->features.video[d->row[v]].snippets;
            j->video[j->n++] = v;
        }
    if (!j->n) FT_TRY_TO(rc, done, FT_FAIL(FT_EDATA, "%s: no videos in the split %s. Use --split all", d->videos.path, split));
    if (!(j->score = ft_alloc((size_t)j->snippets * sizeof *j->score)))
        FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for scores"));
    ft_mil_opt o;
    FT_TRY_TO(rc, done, ft_mil_options(&o, cfg));
    FT_TRY_TO(rc, done, ft_mil_score(&o, run, &d->features, row, j->n, j->p, j->score));
    for (int64_t i = 0; i < j->n; i++) j->rows[2 * i + 1] = j->p[i], j->rows[2 * i] = 1 - j->p[i];
done:
    ft_free(in);
    ft_free(row);
    return rc;
}

int ft_mil_evaluate(ft_cli *c, const char *run)
{
    const char *data = ft_cli_text(c, "--data"), *frames = ft_cli_text(c, "--frame-labels"), *out = ft_cli_text(c, "--snippets");
    char path[1200];
    ft_config *cfg = NULL;
    mil_data d = {0};
    judged j = {0};
    int64_t count[2] = {0, 0};
    ft_scores frame = {0};
    snprintf(path, sizeof path, "%s/config.yaml", run);
    FT_TRY(ft_cli_config(c, path, &cfg));
    if (out) FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    if (!data) data = ft_config_text(cfg, "data.features");
    if (!frames) frames = ft_config_text(cfg, "data.frame_labels");
    int rc = mil_data_read(&d, cfg, data);
    j.frames = d.features.frames ? d.features.frames : (int)ft_config_int(cfg, "mil.snippet");
    if (rc == FT_OK) rc = judge(&j, &d, cfg, run, ft_cli_text(c, "--split"));
    if (rc == FT_OK && *frames) rc = frame_scores(&frame, count, frames, &d, &j);
    if (rc == FT_OK && out) rc = write_snippets(out, &d, &j);
    if (rc == FT_OK) {
        ft_scores v = ft_score(j.rows, j.label, j.n, 2, 1);
        const char *positive = d.classes.name[d.classes.positive];
        json_t *o = ft_scores_json(&v);
        json_object_set_new(o, "videos", json_integer(j.n));
        json_object_set_new(o, "positive", json_string(positive));
        char text[200] = "";
        if (*frames) {
            bool both = count[1] > 0 && count[1] < count[0]; /* else there is nothing to rank */
            json_t *auroc = both ? json_real(frame.auroc) : json_null(), *ap = both ? json_real(frame.auprc) : json_null();
            json_object_set_new(o, "frames",
                                json_pack("{s:I,s:I,s:o,s:o}", "frames", (json_int_t)count[0], "positive", (json_int_t)count[1],
                                          "auroc", auroc, "average_precision", ap));
            snprintf(text, sizeof text, "%lld frames, %s of them positive: AUROC and average precision undefined\n",
                     (long long)count[0], count[1] ? "all" : "none");
            if (both)
                snprintf(text, sizeof text, "%lld frames: AUROC %.3f  average precision %.3f\n", (long long)count[0], frame.auroc,
                         frame.auprc);
        }
        ft_cli_print(c, o,
                     "%lld videos, positive: %s\nF1 %.1f  balanced %.1f  sensitivity %.1f  specificity %.1f  AUROC %.3f  "
                     "AUPRC %.3f\n%s",
                     (long long)j.n, positive, 100 * v.f1, 100 * v.balanced_accuracy, 100 * v.sensitivity, 100 * v.specificity,
                     v.auroc, v.auprc, text);
    }
    ft_free(j.video);
    ft_free(j.p);
    ft_free(j.rows);
    ft_free(j.score);
    ft_free(j.label);
    mil_data_free(&d);
    ft_config_free(cfg);
    return rc;
}
