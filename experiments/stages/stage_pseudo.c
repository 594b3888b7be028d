#include "experiments/stages/stage_pseudo.h"

#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/split_probe.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_features.h"

/* The pool's clips whose videos have no label in this split. That they are neither of the test nor of the validation list, and
 * the labelled videos neither, is asserted. */
int ft_unlabelled_clips(const ft_experiment *x, const ft_stage *s, int64_t **clip, int64_t *n)
{
    const ft_fold *f = &x->folds[s->fold];
    ft_videos labelled = {0}, rest = {0};
    int64_t all = 0;
    int *told = NULL;
    *clip = NULL, *n = 0;
    int rc = ft_split_make(&labelled, &rest, s->own, &x->store, &x->classes, f, s->split);
    if (rc == FT_OK) rc = ft_clips_of(&x->store, &f->pool, clip, &all);
    if (rc == FT_OK) rc = ft_conditions_of(&told, &x->store, &x->classes, f, &labelled, *clip, all);
    for (int64_t i = 0; rc == FT_OK && i < all; i++)
        if (told[i] < 0) (*clip)[(*n)++] = (*clip)[i];
    ft_free(told);
    ft_free(labelled.video);
    ft_free(rest.video);
    return rc;
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    int classes = x->classes.n;
    int64_t *clip, n, videos = 0, right = 0, *first = NULL;
    float *prob = NULL, *rows = NULL;
    json_t *list = json_array();
    int rc = ft_unlabelled_clips(x, s, &clip, &n);
    if (rc == FT_OK) prob = ft_alloc_n(n * classes + 1, sizeof *prob), rows = ft_alloc_n(n * classes + 1, sizeof *rows);
    if (rc == FT_OK) first = ft_alloc_n(n + 1, sizeof *first);
    if (rc == FT_OK && (!prob || !rows || !first)) rc = FT_FAIL(FT_ENOMEM, "no memory for predictions");
    if (rc == FT_OK) rc = ft_split_probe(x, s, s->need[0], &(ft_clip_pool){&x->store, clip, n}, NULL, prob);
    if (rc == FT_OK) videos = ft_video_means(&x->store, clip, n, prob, classes, rows, first);
    for (int64_t i = 0; i < videos; i++) {
        int64_t video = x->store.clip[clip[first[i]]].video;
        int best = 0;
        for (int c = 1; c < classes; c++)
            if (rows[i * classes + c] > rows[i * classes + best]) best = c;
        right += best == x->classes.of_video[video]; /* for the log alone */
        json_array_append_new(
            list, json_pack("[s,s,f]", x->store.video[video].name, x->classes.name[best], (double)rows[i * classes + best]));
    }
    ft_stage_file(path, s, "pseudo.json");
    if (rc == FT_OK) rc = ft_write_json(path, list, 0);
    json_object_set_new(facts, "videos", json_integer(videos));
    json_object_set_new(facts, "accuracy", videos ? json_real((double)right / (double)videos) : json_null());
    json_decref(list);
    ft_free(clip);
    ft_free(prob);
    ft_free(rows);
    ft_free(first);
    return rc;
}

static const ft_stage_kind pseudo_kind = {"pseudo", compute, NULL};

int ft_stage_pseudo(ft_experiment *x, const ft_config *cfg, const char *label, int fold, int split, const ft_videos *labelled,
                    ft_stage **stage)
{
    /* who is labelled, and how clips are made, stand in the key */
    static const char *const by_content[] = {FT_LABELS_AND_CLIPS, NULL};
    ft_stage like = {.kind = &pseudo_kind,
                     .cfg = cfg,
                     .arm = "",
                     .label = label,
                     .file = "",
                     .fold = fold,
                     .split = split,
                     .by_content = by_content,
                     .needs = 1};
    json_t *probe;
    if (!*ft_config_text(cfg, "features.model"))
        return FT_FAIL(FT_ECONFIG, "%s: pseudo-labels ask a probe, which looks through a frozen network. Set features.model",
                       label);
    FT_TRY(ft_stage_features(x, cfg, label, fold, NULL, "", &like.need[0]));
    FT_TRY(ft_key_settings(cfg, ft_split_probe_keys, &probe));
    return ft_stage_add(x, &like,
                        json_pack("{s:o,s:o,s:o,s:o,s:s}", "probe", probe, "labelled", ft_video_names(&x->store, labelled),
                                  "pool", ft_video_names(&x->store, &x->folds[fold].pool), "classes",
                                  ft_classes_names(&x->classes), "store", x->store.id),
                        stage);
}

int ft_pseudo_apply(const ft_experiment *x, const ft_stage *stage, double confidence, const int64_t *clip, int64_t n,
                    int *of_clip, bool *pseudo)
{
    char path[FT_PATH];
    size_t i;
    json_t *row;
    ft_stage_file(path, stage, "pseudo.json");
    json_t *list = ft_read_json(path), *of_video = json_object();
    json_array_foreach(list, i, row) json_object_set(of_video, json_string_value(json_array_get(row, 0)), row);
    int rc = FT_OK;
    for (int64_t k = 0; rc == FT_OK && k < n; k++) {
        if (of_clip[k] >= 0) continue;
        row = json_object_get(of_video, x->store.video[x->store.clip[clip[k]].video].name);
        const char *name = json_string_value(json_array_get(row, 1));
        int c = name ? x->classes.n - 1 : -1;
        while (c >= 0 && strcmp(name, x->classes.name[c])) c--;
        if (c < 0) rc = FT_FAIL(FT_EDATA, "%s: not of this pool. Remove its folder to make it again", path);
        else if (json_number_value(json_array_get(row, 2)) >= confidence) of_clip[k] = c, pseudo[k] = true;
    }
    json_decref(of_video);
    json_decref(list);
    return rc;
}
