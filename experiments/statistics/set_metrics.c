#include "experiments/statistics/set_metrics.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/statistics/clip_scores.h"

#define CLIPS    16, 1, 1          /* frames, stride, clips of a video */
#define PICTURES 1, 1, 0           /* every frame alone */
#define AS_IS    0, FT_FILTER_none /* no first resizing */
#define ANY      false, 0, 0       /* from the beginning, all there are */
#define FVD(as, most, ...)                                                                                                       \
    {                                                                                                                            \
        as, "FVD", FT_METRIC_FRECHET, "i3d", CLIPS, true, most, most, __VA_ARGS__, 224, FT_FILTER_torch, 0                       \
    }
#define CDFVD(as, most_fake)                                                                                                     \
    {                                                                                                                            \
        as, "CD-FVD", FT_METRIC_FRECHET, "videomae-g", CLIPS, true, 0, most_fake, 256, FT_FILTER_bilinear, 224, FT_FILTER_torch, \
            0                                                                                                                    \
    }
#define FID(as, ...)                                                                                                             \
    {                                                                                                                            \
        as, "FID", FT_METRIC_FRECHET, "inception-tf1", PICTURES, false, 0, 50000, __VA_ARGS__, 299, FT_FILTER_tf1, 0             \
    }
#define IS(as, ...)                                                                                                              \
    {                                                                                                                            \
        as, "IS", FT_METRIC_INCEPTION, "inception-logits", PICTURES, false, 50000, 50000, __VA_ARGS__, 299, FT_FILTER_tf1, -1    \
    }
#define FC(as, network)                                                                                                          \
    {                                                                                                                            \
        as, "FC", FT_METRIC_CONSISTENCY, network, CLIPS, true, 2048, 2048, AS_IS, 224, FT_FILTER_bicubic, -1                     \
    }

/* What is read of each script stands in docs/metrics.md; 128 pixels by Lanczos is how Endora and FEAT prepare both sets. */
const ft_metric_row ft_metric_rows[] = {
    FVD("styleganv", 2048, AS_IS),
    FID("styleganv", AS_IS),
    CDFVD("cdfvd", 2048),
    {"pytorch-fid", "FID", FT_METRIC_FRECHET, "inception", PICTURES, ANY, AS_IS, 299, FT_FILTER_torch, 1},
    {"clean-fid", "FID", FT_METRIC_FRECHET, "inception-clean", PICTURES, ANY, AS_IS, 299, FT_FILTER_bicubic, 1},
    FVD("endora", 2048, 128, FT_FILTER_lanczos),
    FID("endora", 128, FT_FILTER_lanczos),
    IS("endora", 128, FT_FILTER_lanczos),
    FVD("medsora", 2048, 128, FT_FILTER_lanczos),
    CDFVD("medsora", 2048),
    FID("medsora", 128, FT_FILTER_lanczos),
    IS("medsora", 128, FT_FILTER_lanczos),
    FC("medsora", "clip-b32"),
    FVD("feat", 2048, 128, FT_FILTER_lanczos),
    CDFVD("feat", 2048),
    FID("feat", 128, FT_FILTER_lanczos),
    IS("feat", 128, FT_FILTER_lanczos),
    {.name = NULL},
};

/* ---- numbers -----------------------------------------------------------------------------------------------------------------
 */

static const ft_set_distance nothing = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};

static int add(ft_metric_values *to, const char *metric, const char *network, const char *pixels, const ft_set_features *real,
               const ft_set_features *fake, ft_metric_value **value)
{
    FT_TRY(ft_grow(&to->value, (size_t)to->n, sizeof *to->value));
    ft_metric_value *v = *value = &to->value[to->n++];
    *v = (ft_metric_value){
        .n = {real->n, fake->n}, .videos = {real->videos, fake->videos}, .d = fake->d, .ddof = -1, .is = nothing};
    snprintf(v->metric, sizeof v->metric, "%s", metric);
    snprintf(v->network, sizeof v->network, "%s", network);
    snprintf(v->pixels, sizeof v->pixels, "%s", pixels);
    return FT_OK;
}

static void say_small(ft_metric_value *v, const ft_halves_opt *o, int which)
{
    int64_t n = v->n[0] < v->n[1] ? v->n[0] : v->n[1], videos = v->videos[0] < v->videos[1] ? v->videos[0] : v->videos[1];
    if (which == FT_DISTANCE_frechet && n < 2 * v->d)
        snprintf(v->note, sizeof v->note,
                 n > v->d ? "%lld rows for %lld numbers, where twice as many are the least: much of the value is bias%s"
                          : "%lld rows for %lld numbers: covariances have not full rank, and most of the value is bias%s",
                 (long long)n, (long long)v->d,
                 o->infinity ? "; the extrapolation is no straight line here" : ". Read it beside the floor alone");
    else if (which > FT_DISTANCE_jedi && videos <= FT_PRDC_NEIGHBOURS)
        snprintf(v->note, sizeof v->note, "%lld videos: balls reach to the fifth neighbour, and there are fewer",
                 (long long)videos);
    else if (which != FT_DISTANCE_frechet && o->most && (v->n[0] > o->most || v->n[1] > o->most))
        snprintf(v->note, sizeof v->note, "of %lld evenly spread rows of a set at most", (long long)o->most);
    if (v->is.alike != v->is.alike && !*v->note)
        snprintf(v->note, sizeof v->note, "no floor: that needs four real videos, and two of each half");
}

int ft_metric_distances(ft_metric_values *to, const char *name, const char *network, const char *pixels, ft_set_features *real,
                        ft_set_features *fake, const ft_halves_opt *o)
{
    ft_set_distance of[FT_SET_DISTANCES];
    int64_t same;
    if (real->d != fake->d)
        return FT_FAIL(FT_EDATA, "real features have %lld numbers, generated ones %lld: they are of two networks",
                       (long long)real->d, (long long)fake->d);
    if (real->d > INT32_MAX / 2) return FT_FAIL(FT_EDATA, "features of %lld numbers", (long long)real->d);
    ft_feature_set a = ft_set_of(real), b = ft_set_of(fake);
    FT_TRY(ft_set_distances_by_halves(&a, &b, (int)real->d, o, of, &same));
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        ft_metric_value *v;
        FT_TRY(add(to, i == FT_DISTANCE_frechet ? name : ft_set_distance_names[i].name, network, pixels, real, fake, &v));
        v->is = of[i], v->same = same;
        if (i == FT_DISTANCE_frechet) v->ddof = o->ddof;
        say_small(v, o, i);
    }
    return FT_OK;
}

int ft_metric_inception(ft_metric_values *to, const char *name, const char *network, const char *pixels,
                        const ft_set_features *real, const ft_set_features *fake)
{
    enum { PARTS = 10, USUAL = 50000 };
    double mean[2], std[2];
    const ft_set_features *set[2] = {real, fake};
    ft_metric_value *v;
    for (int i = 0; i < 2; i++) FT_TRY(ft_inception_score(set[i]->value, set[i]->n, set[i]->d, PARTS, &mean[i], &std[i]));
    FT_TRY(add(to, name, network, pixels, real, fake, &v));
    v->is.value = mean[1], v->is.floor = mean[0];
    int n = snprintf(v->note, sizeof v->note, "standard deviation over %d parts %.3g; real %.3g", PARTS, std[1], std[0]);
    if (fake->n < USUAL)
        snprintf(v->note + n, sizeof v->note - (size_t)n,
                 ". Published scores are of %d pictures: of %lld it is smaller, and %lld in a part cannot have more than %lld",
                 USUAL, (long long)fake->n, (long long)(fake->n / PARTS), (long long)(fake->n / PARTS));
    return FT_OK;
}

int ft_metric_consistency(ft_metric_values *to, const char *name, const char *network, const char *pixels,
                          const ft_set_features *real, const ft_set_features *fake, int samples)
{
    const ft_set_features *set[2] = {real, fake};
    double mean[2], low[2], high[2];
    ft_metric_value *v;
    for (int i = 0; i < 2; i++) {
        int64_t clips = set[i]->n / set[i]->frames;
        double *of = ft_alloc_n(clips + 1, sizeof *of);
        int64_t *video = ft_alloc_n(clips + 1, sizeof *video);
        int rc = of && video ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %lld clips", (long long)clips);
        for (int64_t k = 0; rc == FT_OK && k < clips; k++) video[k] = set[i]->video[k * set[i]->frames];
        if (rc == FT_OK) rc = ft_feature_consistency(set[i]->value, clips, set[i]->frames, set[i]->d, of);
        if (rc == FT_OK) rc = ft_mean_of_videos(of, video, clips, samples, &mean[i], &low[i], &high[i]);
        ft_free(of);
        ft_free(video);
        FT_TRY(rc);
    }
    FT_TRY(add(to, name, network, pixels, real, fake, &v));
    v->is.value = mean[1], v->is.low = low[1], v->is.high = high[1];
    v->is.floor = mean[0], v->is.floor_low = low[0], v->is.floor_high = high[0];
    int n = snprintf(v->note, sizeof v->note, "a frozen clip has 100: hold it against the real clips'");
    if (!isnan(real->motion) && !isnan(fake->motion))
        snprintf(v->note + n, sizeof v->note - (size_t)n, ", and motion (mean difference of frames, of 255) %.3g against %.3g",
                 fake->motion, real->motion);
    return FT_OK;
}

/* ---- files -------------------------------------------------------------------------------------------------------------------
 */

static json_t *number(double v) { return isnan(v) ? json_null() : json_real(v); }

static json_t *count(int64_t v, bool known) { return known ? json_integer(v) : json_null(); }

json_t *ft_metric_json(const ft_metric_values *values)
{
    json_t *all = json_array();
    for (int i = 0; i < values->n; i++) {
        const ft_metric_value *v = &values->value[i];
        const ft_set_distance *s = &v->is;
        json_array_append_new(
            all, json_pack("{s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:o,s:s,s:s}", "metric", v->metric,
                           "network", v->network, "value", number(s->value), "ci_low", number(s->low), "ci_high", number(s->high),
                           "infinity", number(s->infinity), "alike", number(s->alike), "floor", number(s->floor), "floor_low",
                           number(s->floor_low), "floor_high", number(s->floor_high), "same", count(v->same, v->same > 0),
                           "n_real", (json_int_t)v->n[0], "n_fake", (json_int_t)v->n[1], "videos_real", (json_int_t)v->videos[0],
                           "videos_fake", (json_int_t)v->videos[1], "d", (json_int_t)v->d, "ddof", count(v->ddof, v->ddof >= 0),
                           "pixels", v->pixels, "note", v->note));
    }
    return all;
}

int ft_metric_csv(const ft_metric_values *values, const char *path)
{
    json_t *all = ft_metric_json(values), *row, *cell;
    ft_text t = {0};
    size_t i;
    const char *key;
    int rc = ft_text_begin(&t);
    if (rc == FT_OK) json_array_foreach(all, i, row)
        {
            int k = 0;
            if (i == 0) json_object_foreach(row, key, cell) fprintf(t.f, "%s%s", k++ ? "," : "", key);
            if (i == 0) fputc('\n', t.f);
            k = 0;
            json_object_foreach(row, key, cell)
            {
                if (k++) fputc(',', t.f);
                if (json_is_string(cell)) ft_csv_cell(t.f, json_string_value(cell));
                else if (json_is_integer(cell)) fprintf(t.f, "%lld", (long long)json_integer_value(cell));
                else if (json_is_real(cell)) fprintf(t.f, "%.9g", json_real_value(cell));
            }
            fputc('\n', t.f);
        }
    json_decref(all);
    if (rc == FT_OK) return ft_text_write(&t, path);
    ft_text_free(&t);
    return rc;
}
