#include "experiments/data/splits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

/* ---- folds -------------------------------------------------------------------------------------------------------------- */

enum { POOL, VALIDATION, TEST };

static int collect(ft_videos *v, const ft_clipstore *s, const int *side, int which)
{
    int64_t n = 0; /* with cross-validation there are many folds: no more room than they need */
    for (int64_t i = 0; i < s->n_video; i++) n += side[i] == which;
    if (!(v->video = ft_alloc_n(n + 1, sizeof *v->video))) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    for (int64_t i = 0; i < s->n_video; i++)
        if (side[i] == which) v->video[v->n++] = i;
    return FT_OK;
}

static void rename_side(int *side, int64_t n, int from, int to)
{
    for (int64_t i = 0; i < n; i++)
        if (side[i] == from) side[i] = to;
}

typedef struct {
    int64_t validation, labels; /* validation -1: that of the lists, or as many as there are labels */
    double test_fraction;
    int folds, repeats;
    bool cross_validation;
} fold_opt;

static fold_opt fold_options(const ft_config *cfg)
{
    return (fold_opt){.validation = ft_config_int(cfg, "validation"),
                      .labels = ft_config_int(cfg, "labels"),
                      .test_fraction = ft_config_real(cfg, "test_fraction"),
                      .folds = (int)ft_config_int(cfg, "folds"),
                      .repeats = (int)ft_config_int(cfg, "splits"),
                      .cross_validation = ft_config_is(cfg, "evaluation", "cross-validation")};
}

/* A validation set from the pool, as many videos as asked or as leave the pool its labels. */
static int take_validation(const fold_opt *o, const ft_clipstore *s, const ft_classes *c, int *side, ft_rng r)
{
    int64_t want = o->validation, labels = o->labels, in_pool = 0;
    for (int64_t i = 0; i < s->n_video; i++) in_pool += side[i] == POOL && c->of_video[i] >= 0;
    if (want < 0) want = in_pool - labels < labels ? (in_pool - labels) / 2 : labels;
    if (want <= 0) return FT_OK;
    double share[2] = {1 - (double)want / (double)in_pool, (double)want / (double)in_pool};
    if (share[0] <= 0)
        return FT_FAIL(FT_EDATA, "%s: %lld validation videos asked of a pool of %lld. Lower validation", s->path, (long long)want,
                       (long long)in_pool);
    FT_TRY(ft_groups_deal(s, c, side, POOL, 2, share, r));
    rename_side(side, s->n_video, 100, POOL);
    rename_side(side, s->n_video, 101, VALIDATION);
    return FT_OK;
}

static int add_fold(ft_fold **folds, int *n, const ft_clipstore *s, const int *side, int repeat, int fold)
{
    FT_TRY(ft_grow(folds, (size_t)*n, sizeof **folds));
    ft_fold *f = &(*folds)[(*n)++];
    *f = (ft_fold){.repeat = repeat, .fold = fold};
    FT_TRY(collect(&f->test, s, side, TEST));
    FT_TRY(collect(&f->validation, s, side, VALIDATION));
    return collect(&f->pool, s, side, POOL);
}

/* Do the lists say folds, by number? Then split is "0", "1", ... everywhere. */
static bool numbered(const ft_clipstore *s)
{
    bool any = false;
    for (int64_t i = 0; i < s->n_video; i++) {
        const char *w = s->video[i].split;
        if (*w && w[strspn(w, "0123456789")]) return false;
        any |= *w != 0;
    }
    return any;
}

static int test_list(ft_fold **folds, int *n, const fold_opt *o, const ft_clipstore *s, const ft_classes *c, int *side)
{
    bool named = false;
    int64_t given = 0; /* videos that the lists name */
    if (numbered(s))
        return FT_FAIL(
            FT_EDATA,
            "%s: its splits are the numbers of folds. evaluation: cross-validation takes each of them in turn as the test "
            "list",
            s->path);
    for (int64_t i = 0; i < s->n_video; i++) {
        const char *w = s->video[i].split;
        side[i] = !strcmp(w, "test") ? TEST : !strcmp(w, "validation") || !strcmp(w, "val") ? VALIDATION : POOL;
        if (*w && side[i] == POOL && strcmp(w, "train"))
            return FT_FAIL(FT_EDATA, "%s: the split of %s is '%s'; train, validation and test are known", s->path,
                           s->video[i].name, w);
        named |= side[i] == TEST, given += side[i] == VALIDATION;
    }
    if (!named) {
        double t = o->test_fraction, share[2] = {1 - t, t};
        FT_TRY(ft_groups_deal(s, c, side, POOL, 2, share, ft_rng_make(0, FT_STREAM_TEST_LIST, 0)));
        rename_side(side, s->n_video, 100, POOL);
        rename_side(side, s->n_video, 101, TEST);
    }
    int64_t want = o->validation;
    if (given > 0 && want >= 0 && want != given) {
        ft_log("%s: the %lld validation videos of its lists join the pool, as validation: %lld asks (-1 keeps them)", s->path,
               (long long)given, (long long)want);
        rename_side(side, s->n_video, VALIDATION, POOL), given = 0;
    }
    if (given == 0) FT_TRY(take_validation(o, s, c, side, ft_rng_make(0, FT_STREAM_VALIDATION, 0)));
    return add_fold(folds, n, s, side, 0, 0);
}

enum { MOST_FOLDS = 10000 }; /* what a list can name, and settings */

/* The folds of the lists as those that `deal` would make: part 100, 101, ... in order of their numbers. Returns how many. */
static int given_folds(const ft_clipstore *s, int *part, int *of_number)
{
    int k = 0;
    for (int64_t i = 0; i < s->n_video; i++) {
        if (!*s->video[i].split)
            return FT_FAIL(FT_EDATA, "%s: %s is in no fold, others are. Give every video one, or none", s->path,
                           s->video[i].name);
        part[i] = atoi(s->video[i].split);
        if (part[i] < 0 || part[i] >= MOST_FOLDS)
            return FT_FAIL(FT_EDATA, "%s: %s is in fold %s; numbers are under %d", s->path, s->video[i].name, s->video[i].split,
                           MOST_FOLDS);
        of_number[part[i]] = 1;
    }
    for (int n = 0; n < MOST_FOLDS; n++)
        if (of_number[n]) of_number[n] = 100 + k++;
    for (int64_t i = 0; i < s->n_video; i++) part[i] = of_number[part[i]];
    if (k < 2) return FT_FAIL(FT_EDATA, "%s: all videos are in one fold", s->path);
    ft_log("cross-validation over the %d folds of the list", k);
    return k;
}

/* Lists of train and test videos have no place among folds that are dealt: said, as somebody meant them. */
static void say_unused(const ft_clipstore *s)
{
    for (int64_t i = 0; i < s->n_video; i++)
        if (*s->video[i].split) {
            ft_warn("%s: its lists (%s is in '%s') are not used by cross-validation, which deals folds of its own. evaluation: "
                    "test-list "
                    "uses them",
                    s->path, s->video[i].name, s->video[i].split);
            return;
        }
}

static int cross_validation(ft_fold **folds, int *n, const fold_opt *o, const ft_clipstore *s, const ft_classes *c, int *side)
{
    int k = o->folds, *part = ft_alloc((size_t)(s->n_video + 1) * sizeof *part),
        *of_number = ft_alloc_n(MOST_FOLDS, sizeof *of_number), rc = FT_OK;
    bool given = numbered(s);
    double *share = ft_alloc_n(MOST_FOLDS, sizeof *share);
    if (!part || !share || !of_number) rc = FT_FAIL(FT_ENOMEM, "no memory for folds");
    if (rc == FT_OK && given) rc = k = given_folds(s, part, of_number);
    else if (rc == FT_OK) say_unused(s);
    if (rc > 0) rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < k; i++) share[i] = 1.0 / k;
    for (int repeat = 0; rc == FT_OK && repeat < o->repeats; repeat++) {
        for (int64_t i = 0; i < s->n_video && !given; i++) part[i] = POOL;
        if (!given) rc = ft_groups_deal(s, c, part, POOL, k, share, ft_rng_make(0, FT_STREAM_FOLDS, (uint64_t)repeat));
        for (int fold = 0; rc == FT_OK && fold < k; fold++) {
            for (int64_t i = 0; i < s->n_video; i++) side[i] = part[i] == 100 + fold ? TEST : POOL;
            rc = take_validation(o, s, c, side, ft_rng_make(1, FT_STREAM_VALIDATION, (uint64_t)(repeat * k + fold)));
            if (rc == FT_OK) rc = add_fold(folds, n, s, side, repeat, fold);
        }
    }
    ft_free(part);
    ft_free(share);
    ft_free(of_number);
    return rc;
}

static int check_test_list(const ft_clipstore *s, const ft_classes *c, const ft_fold *f)
{
    int64_t count[FT_MAX_CLASSES] = {0};
    for (int64_t i = 0; i < f->test.n; i++)
        for (int k = 0; k < c->n; k++) count[k] += ft_classes_has(c, f->test.video[i], k);
    for (int k = 0; k < c->n; k++)
        if (!count[k])
            return FT_FAIL(FT_EDATA, "%s: no video of class %s in the test list. Use a larger test_fraction, or cross-validation",
                           s->path, c->name[k]);
    return FT_OK;
}

int ft_folds_make(ft_fold **folds, int *n, const ft_config *cfg, const ft_clipstore *s, const ft_classes *c)
{
    fold_opt o = fold_options(cfg);
    *folds = NULL;
    *n = 0;
    int *side = ft_alloc_n(s->n_video + 1, sizeof *side);
    if (!side) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    int rc = FT_OK;
    for (int k = 0; rc == FT_OK && c->positive == FT_MULTILABEL && k < c->n; k++) rc = ft_classes_check_some_lack(c, s, k);
    if (rc == FT_OK) rc = (o.cross_validation ? cross_validation : test_list)(folds, n, &o, s, c, side);
    for (int i = 0; rc == FT_OK && !o.cross_validation && i < *n; i++) rc = check_test_list(s, c, &(*folds)[i]);
    if (rc == FT_OK) rc = ft_sides_check_folds(s, *folds, *n);
    ft_free(side);
    if (rc < 0) ft_folds_free(*folds, *n), *folds = NULL, *n = 0;
    return rc;
}

void ft_folds_free(ft_fold *folds, int n)
{
    for (int i = 0; i < n; i++) {
        ft_free(folds[i].test.video);
        ft_free(folds[i].validation.video);
        ft_free(folds[i].pool.video);
    }
    ft_free(folds);
}

/* ---- label splits ------------------------------------------------------------------------------------------------------- */

/* Equal numbers of each class, as far as a class has that many: the videos of `order` that are chosen. */
static int choose_by_quota(bool *chosen, const int64_t *order, int64_t want, const ft_clipstore *s, const ft_classes *c,
                           const ft_videos *pool)
{
    int64_t have[FT_MAX_CLASSES] = {0}, quota[FT_MAX_CLASSES] = {0}, left = want;
    for (int64_t i = 0; i < pool->n; i++) {
        int k = c->of_video[pool->video[i]];
        if (k >= 0) have[k]++;
    }
    while (left > 0)
        for (int k = 0; k < c->n && left > 0; k++)
            if (quota[k] < have[k]) quota[k]++, left--;
    for (int k = 0; k < c->n; k++)
        if (quota[k] == 0)
            return FT_FAIL(FT_EDATA,
                           "%s: the training pool has no video of class %s. Use fewer folds, or a smaller test_fraction", s->path,
                           c->name[k]);
    for (int64_t i = 0; i < pool->n; i++) {
        int k = c->of_video[pool->video[order[i]]];
        if (k >= 0 && quota[k] > 0) quota[k]--, chosen[order[i]] = true;
    }
    return FT_OK;
}

/* Of sets of classes: again and again the next video with the class (or with none) that so far has the fewest. */
static int choose_in_turn(bool *chosen, const int64_t *order, int64_t want, const ft_clipstore *s, const ft_classes *c,
                          const ft_videos *pool)
{
    int64_t taken[FT_MAX_SET + 1] = {0}, labelled = 0;
    bool spent[FT_MAX_SET + 1] = {false};
    while (labelled < want) {
        int k = -1;
        int64_t i = 0;
        for (int q = 0; q < ft_classes_strata(c); q++)
            if (!spent[q] && (k < 0 || taken[q] < taken[k])) k = q;
        while (i < pool->n && (chosen[order[i]] || !ft_classes_in_stratum(c, pool->video[order[i]], k))) i++;
        spent[k] = i == pool->n; /* not all can be: as many videos as wanted are labelled */
        if (spent[k]) continue;
        chosen[order[i]] = true, labelled++;
        for (int q = 0; q < ft_classes_strata(c); q++) taken[q] += ft_classes_in_stratum(c, pool->video[order[i]], q);
    }
    for (int k = 0; k < c->n; k++)
        if (taken[k] == 0 || taken[k] == labelled)
            return FT_FAIL(FT_EDATA, "%s: %s of the %lld labelled videos of a split have the label %s. Set labels higher%s",
                           s->path, taken[k] ? "all" : "none", (long long)labelled, c->name[k],
                           taken[k] ? "" : ", or use fewer folds or a smaller test_fraction");
    return FT_OK;
}

int ft_split_make(ft_videos *labelled, ft_videos *unlabelled, const ft_config *cfg, const ft_clipstore *s, const ft_classes *c,
                  const ft_fold *fold, int split)
{
    int64_t want = ft_config_int(cfg, "labels"), n = fold->pool.n, total = 0;
    int64_t *order = ft_alloc((size_t)(n + 1) * sizeof *order);
    bool *chosen = ft_alloc((size_t)(n + 1) * sizeof *chosen);
    memset(labelled, 0, sizeof *labelled);
    memset(unlabelled, 0, sizeof *unlabelled);
    labelled->video = ft_alloc((size_t)(n + 1) * sizeof(int64_t));
    unlabelled->video = ft_alloc((size_t)(n + 1) * sizeof(int64_t));
    int rc = order && chosen && labelled->video && unlabelled->video ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for splits");
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        order[i] = i;
        total += c->of_video[fold->pool.video[i]] >= 0;
    }
    if (rc == FT_OK && total < want)
        rc = FT_FAIL(FT_EDATA,
                     "%s: %lld labelled videos asked (labels, %s), the training pool has %lld. Set labels: %lld, or add videos",
                     s->path, (long long)want, ft_config_origin(cfg, "labels"), (long long)total, (long long)total);
    FT_TRY_TO(rc, done, rc);
    ft_rng r = ft_rng_make((uint64_t)split, FT_STREAM_LABELLED, (uint64_t)(fold->repeat * 1000 + fold->fold));
    if (ft_config_is(cfg, "labels_from", "random")) ft_rng_shuffle(&r, order, n);
    FT_TRY_TO(rc, done,
              (c->positive == FT_MULTILABEL ? choose_in_turn : choose_by_quota)(chosen, order, want, s, c, &fold->pool));
    for (int64_t i = 0; i < n; i++) {
        ft_videos *to = chosen[i] ? labelled : unlabelled;
        to->video[to->n++] = fold->pool.video[i];
    }
    rc = ft_sides_check_split(s, fold, labelled, unlabelled);
done:
    ft_free(order);
    ft_free(chosen);
    if (rc < 0) {
        ft_free(labelled->video);
        ft_free(unlabelled->video);
        memset(labelled, 0, sizeof *labelled);
        memset(unlabelled, 0, sizeof *unlabelled);
    }
    return rc;
}

int ft_split_save(const char *path, const ft_clipstore *s, const ft_fold *fold, const ft_videos *labelled, int split)
{
    FT_TRY(ft_sides_check_split(s, fold, labelled, NULL));
    json_t *o = json_pack("{s:i,s:i,s:i,s:o,s:o,s:o,s:o,s:s}", "split", split, "repeat", fold->repeat, "fold", fold->fold,
                          "labelled", ft_video_names(s, labelled), "pool", ft_video_names(s, &fold->pool), "validation",
                          ft_video_names(s, &fold->validation), "test", ft_video_names(s, &fold->test), "leakage",
                          "none: no group of test or validation is in the pool; VAE and generators are trained on the pool only");
    int rc = ft_write_json(path, o, 1);
    json_decref(o);
    return rc;
}

int ft_sides_of_clips(ft_fold *fold, const ft_clipstore *s, const int64_t *clip, int64_t n)
{
    int *side = ft_alloc_n(s->n_video + 1, sizeof *side);
    memset(fold, 0, sizeof *fold);
    if (!side) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    for (int64_t i = 0; i < s->n_video; i++) side[i] = TEST;
    for (int64_t k = 0; k < n; k++) side[s->clip[clip[k]].video] = POOL;
    int rc = collect(&fold->pool, s, side, POOL);
    if (rc == FT_OK) rc = collect(&fold->test, s, side, TEST);
    ft_free(side);
    return rc;
}

int ft_conditions_of(int **of_clip, const ft_clipstore *s, const ft_classes *c, const ft_fold *fold, const ft_videos *labelled,
                     const int64_t *clip, int64_t n)
{
    enum { OUTSIDE, IN_POOL, TOLD };
    *of_clip = NULL;
    FT_TRY(ft_sides_check_split(s, fold, labelled, NULL));
    char *side = ft_alloc_n(s->n_video + 1, sizeof *side);
    if (!side || !(*of_clip = ft_alloc_n(n + 1, sizeof **of_clip))) {
        ft_free(side);
        return FT_FAIL(FT_ENOMEM, "no memory for labels");
    }
    for (int64_t i = 0; i < fold->pool.n; i++) side[fold->pool.video[i]] = IN_POOL;
    for (int64_t i = 0; i < labelled->n; i++) {
        FT_ASSERT(side[labelled->video[i]] == IN_POOL); /* neither of the validation nor of the test list */
        side[labelled->video[i]] = TOLD;
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t v = s->clip[clip[k]].video;
        FT_ASSERT(side[v] != OUTSIDE);
        (*of_clip)[k] = side[v] == TOLD ? c->of_video[v] : -1;
    }
    ft_free(side);
    return FT_OK;
}

int ft_clips_of(const ft_clipstore *s, const ft_videos *v, int64_t **clip, int64_t *n)
{
    return ft_first_clips_of(s, v, 0, clip, n);
}

int ft_first_clips_of(const ft_clipstore *s, const ft_videos *v, int64_t most, int64_t **clip, int64_t *n)
{
    bool *wanted = ft_alloc((size_t)(s->n_video + 1));
    *clip = ft_alloc((size_t)(s->n_clip + 1) * sizeof **clip);
    *n = 0;
    if (!wanted || !*clip) {
        ft_free(wanted);
        ft_free(*clip), *clip = NULL;
        return FT_FAIL(FT_ENOMEM, "no memory for clips");
    }
    for (int64_t i = 0; i < v->n; i++) wanted[v->video[i]] = true;
    for (int64_t i = 0; i < s->n_clip; i++)
        if (wanted[s->clip[i].video]) {
            int64_t last = *n - most; /* a clip of the same video so far back: it has enough */
            if (most == 0 || last < 0 || s->clip[(*clip)[last]].video != s->clip[i].video) (*clip)[(*n)++] = i;
        }
    ft_free(wanted);
    return FT_OK;
}
