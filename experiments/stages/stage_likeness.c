/* How like the pool's real clips a set of clips is: self-feature Frechet distance, and the nearest real neighbour of each clip,
 * which shows whether a generator has learnt clips by heart. Clips of the validation videos are the measure of both. */
#include "experiments/stages/stage_likeness.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier.h"
#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/stage_data.h"
#include "experiments/statistics/confounds.h"
#include "experiments/statistics/stats.h"

static int by_value(const void *a, const void *b)
{
    double p = *(const double *)a, q = *(const double *)b;
    return (p > q) - (p < q);
}

/* the nearest of `pool` for each clip: mean difference of thumbnails in grey levels, 0 to 255 */
static int neighbours(const ft_clipstore *real, const int64_t *pool, int64_t n, const ft_clipstore *s, const int64_t *clip,
                      int64_t m, json_t *facts)
{
    size_t each = FT_THUMBNAIL * sizeof(float);
    float *a = ft_alloc((size_t)(n + 1) * each), *b = ft_alloc((size_t)(m + 1) * each);
    double *distance = ft_alloc((size_t)(m + 1) * sizeof *distance);
    int64_t *nearest = ft_alloc((size_t)(m + 1) * sizeof *nearest), copies = 0;
    int rc = a && b && distance && nearest ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for thumbnails");
    for (int64_t i = 0; rc == FT_OK && i < n; i++) ft_thumbnail(real, pool[i], a + i * FT_THUMBNAIL);
    for (int64_t i = 0; rc == FT_OK && i < m; i++) ft_thumbnail(s, clip[i], b + i * FT_THUMBNAIL);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < (rc == FT_OK ? m : 0); i++) {
        distance[i] = INFINITY;
        for (int64_t k = 0; k < n; k++) {
            float sum = 0;
            for (int e = 0; e < FT_THUMBNAIL; e++) sum += fabsf(a[k * FT_THUMBNAIL + e] - b[i * FT_THUMBNAIL + e]);
            if ((double)sum / FT_THUMBNAIL < distance[i]) distance[i] = (double)sum / FT_THUMBNAIL, nearest[i] = pool[k];
        }
    }
    if (rc == FT_OK) {
        json_t *first = json_array();
        for (int64_t i = 0; i < m && i < 6; i++)
            json_array_append_new(first, json_pack("[I,f]", (json_int_t)nearest[i], distance[i]));
        for (int64_t i = 0; i < m; i++) copies += distance[i] < 3; /* as twins are told (confounds.h) */
        qsort(distance, (size_t)m, sizeof *distance, by_value);
        json_object_set_new(facts, "nearest", first);
        json_object_set_new(facts, "copies", json_integer(copies));
        json_object_set_new(facts, "clips", json_integer(m));
        json_object_set_new(facts, "neighbour_distance",
                            json_pack("[f,f,f]", distance[0], distance[m / 2], distance[m - 1])); /* least, median, largest */
    }
    ft_free(a);
    ft_free(b);
    ft_free(distance);
    ft_free(nearest);
    return rc;
}

static int compute(ft_experiment *x, const ft_stage *s, json_t *facts)
{
    ft_clipstore own = {0};
    const ft_clipstore *from = &x->store;
    int64_t *pool = NULL, *clip = NULL, n = 0, m = 0;
    float *real = NULL, *other = NULL;
    char path[FT_PATH];
    double d = NAN;
    int D = 0, rc = ft_clips_of(&x->store, &x->folds[s->fold].pool, &pool, &n);
    if (rc == FT_OK && (s->needs || *s->file)) {
        if (s->needs) ft_stage_file(path, s->need[0], "clips.h5");
        rc = ft_clipstore_read(&own, s->needs ? path : s->file);
        from = &own;
        m = own.n_clip;
        if (rc == FT_OK && !(clip = ft_alloc((size_t)(m + 1) * sizeof *clip))) rc = FT_FAIL(FT_ENOMEM, "no memory for clips");
        for (int64_t i = 0; rc == FT_OK && i < m; i++) clip[i] = i;
    } else if (rc == FT_OK) rc = ft_clips_of(&x->store, &x->folds[s->fold].validation, &clip, &m);
    bool alike = rc == FT_OK && from->frames == x->store.frames && from->size == x->store.size; /* clips of files may be longer */
    if (alike && m > 1) {
        D = rc = ft_classifier_features("x3d-tiny", &x->store, pool, n, &x->store, pool, n, &real);
        if (rc >= 0) rc = ft_classifier_features("x3d-tiny", &x->store, pool, n, from, clip, m, &other);
        if (rc >= 0) rc = ft_frechet(real, n, other, m, D, &d);
    }
    if (rc >= 0 && m > 0) rc = neighbours(&x->store, pool, n, from, clip, m, facts);
    json_object_set_new(facts, "frechet", isnan(d) ? json_null() : json_real(d));
    ft_free(real);
    ft_free(other);
    ft_free(pool);
    ft_free(clip);
    ft_clipstore_free(&own);
    return rc < 0 ? rc : FT_OK;
}
static const ft_stage_kind likeness = {"likeness", compute, NULL};

int ft_stage_likeness(ft_experiment *x, const char *label, ft_stage *made, const char *file, ft_stage **stage)
{
    ft_stage like = {.kind = &likeness, .cfg = x->cfg, .arm = "", .label = label, .file = file};
    char hex[65] = "";
    if (made) like.need[0] = made, like.needs = 1;
    if (*file) FT_TRY(ft_sha256_file(file, hex));
    json_t *key =
        json_pack("{s:s,s:s,s:o,s:o}", "store", x->store.id, "file", hex, "pool", ft_video_names(&x->store, &x->folds[0].pool),
                  "validation", ft_video_names(&x->store, &x->folds[0].validation));
    return ft_stage_add(x, &like, key, stage);
}
