#include "experiments/stages/stage_distances.h"

#include <math.h>
#include <string.h>

#include "classify/clip_features.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/vision/dino.h"
#include "experiments/stages/stage_data.h"
#include "experiments/statistics/set_distances.h"
#include "gen/memorisation.h"

/* A clip's row: of its class tokens, or of all places where there are none, the mean over frames, and behind it the standard
 * deviation over frames (by the number) where there are several. */
static void row_of(const ft_clip_features *f, int64_t clip, bool class_token, float *to)
{
    const float *x = ft_clip_features_at(f, clip);
    int64_t frames = f->dim[0], tokens = f->dim[1], d = f->dim[2], taken = class_token ? 1 : tokens;
    for (int64_t k = 0; k < d; k++) {
        double sum = 0, square = 0;
        for (int64_t t = 0; t < frames; t++) {
            double one = 0;
            for (int64_t i = 0; i < taken; i++) one += (double)x[(t * tokens + i) * d + k] / (double)taken;
            sum += one / (double)frames, square += one * one / (double)frames;
        }
        to[k] = (float)sum;
        if (frames > 1) to[d + k] = (float)sqrt(fmax(square - sum * sum, 0));
    }
}

/* rows and videos of a pool; what is fresh is the caller's in any case */
static int set_of(const ft_clip_features *f, const ft_clip_pool *pool, bool class_token, float **value, int64_t **video,
                  ft_feature_set *set)
{
    int64_t d = f->dim[2] * (f->dim[0] > 1 ? 2 : 1), videos;
    if (!(*value = ft_alloc_n(pool->n * d + 1, sizeof **value))) return FT_FAIL(FT_ENOMEM, "no memory for features");
    for (int64_t i = 0; i < pool->n; i++) row_of(f, pool->clip[i], class_token, *value + i * d);
    FT_TRY(ft_number_videos(pool, video, &videos));
    for (int64_t i = 0; videos == 1 && i < pool->n; i++) (*video)[i] = i; /* of one video: each its own */
    *set = (ft_feature_set){*value, *video, pool->n};
    return FT_OK;
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    ft_clipstore own = {0};
    ft_clip_features f[2] = {{0}};
    ft_clip_pool pool[3] = {{.store = &x->store}, {.store = &own}, {.store = &x->store}}; /* real, the arm's, held out */
    int64_t *clip[3] = {NULL}, *video[3] = {NULL}, same;
    float *value[3] = {NULL};
    ft_feature_set set[3] = {{0}};
    ft_set_distance of[FT_SET_DISTANCES];
    char path[FT_PATH];
    const char *model = ft_config_text(s->own, "features.model");
    if (s->needs > 2) ft_stage_file(path, s->need[2], "clips.h5");
    int rc = ft_clips_alike(&own, x, s->needs > 2 ? path : s->file);
    if (rc == FT_OK) rc = ft_clips_of(&x->store, &x->folds[s->fold].pool, &clip[0], &pool[0].n);
    if (rc == FT_OK) rc = ft_clips_of(&x->store, &x->folds[s->fold].validation, &clip[2], &pool[2].n);
    if (rc == FT_OK && !(clip[1] = ft_alloc_n(own.n_clip + 1, sizeof **clip))) rc = FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; rc == FT_OK && i < own.n_clip; i++) clip[1][pool[1].n++] = i;
    for (int i = 0; i < 3; i++) pool[i].clip = clip[i];
    for (int i = 0; rc == FT_OK && i < 2; i++) {
        ft_stage_file(path, s->need[i], "features.safetensors");
        rc = ft_clip_features_read(&f[i], path, i ? own.n_clip : x->store.n_clip);
    }
    for (int i = 0; rc == FT_OK && i < 3; i++)
        rc = set_of(&f[i == 1], &pool[i], ft_dino_find(model) != NULL, &value[i], &video[i], &set[i]);
    int64_t d = f[0].dim[2] * (f[0].dim[0] > 1 ? 2 : 1);
    if (rc == FT_OK && pool[1].n > 1) {
        rc = ft_set_distances(&set[0], &set[1], &set[2], (int)d, NULL, of, &same);
        if (rc == FT_OK) json_object_set_new(facts, "distances", ft_set_distances_json(of));
        if (rc == FT_OK) json_object_set_new(facts, "alike_clips", json_integer(same));
    }
    json_object_set_new(facts, "network", json_string(model));
    json_object_set_new(facts, "numbers", json_integer(d));
    for (int i = 0; i < 3; i++) ft_free(clip[i]), ft_free(video[i]), ft_free(value[i]);
    for (int i = 0; i < 2; i++) ft_clip_features_free(&f[i]);
    ft_clipstore_free(&own);
    return rc;
}
static const ft_stage_kind distances = {"distances", compute, NULL};

int ft_stage_distances(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage *of_data, ft_stage *of_arm,
                       ft_stage *made, const char *file, ft_stage **stage)
{
    const ft_fold *f = &x->folds[fold];
    ft_stage like = {.kind = &distances,
                     .cfg = cfg,
                     .arm = "",
                     .label = label,
                     .file = file,
                     .fold = fold,
                     .need = {of_data, of_arm, made},
                     .needs = made ? 3 : 2};
    json_t *key = json_pack("{s:s,s:o,s:o}", "measures", "distances", "pool", ft_video_names(&x->store, &f->pool), "validation",
                            ft_video_names(&x->store, &f->validation));
    return ft_stage_add(x, &like, key, stage);
}
