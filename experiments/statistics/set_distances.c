#include "experiments/statistics/set_distances.h"

#include <math.h>

#include "classify/mmd.h"
#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "experiments/statistics/stats.h"
#include "gen/memorisation.h"

enum { SAMPLES = 1000 };

/* Two sets, and what several distances are made of. */
typedef struct {
    const ft_feature_set *real, *made;
    int d;
    ft_prdc_clips of_clip;
    bool *within; /* (made) the ball of any real clip */
    ft_prdc_scores scores;
} two_sets;

/* ---- the distances -----------------------------------------------------------------------------------------------------------
 */

/* Each fills value, and low and high where it has them and the sets are not those of a floor (`samples` = 0). */
static int frechet(const two_sets *s, int samples, ft_set_distance *to)
{
    (void)samples;
    return ft_frechet(s->real->value, s->real->n, s->made->value, s->made->n, s->d, &to->value);
}

static int mmd(const two_sets *s, int samples, ft_set_distance *to)
{
    return ft_mmd(s->real, s->made, s->d, samples, &to->value, &to->low, &to->high);
}

static int64_t videos_of(const ft_feature_set *s)
{
    int64_t videos = 0;
    for (int64_t i = 0; i < s->n; i++) videos = s->video[i] >= videos ? s->video[i] + 1 : videos;
    return videos;
}

/* of a share of the clips of a set */
static int share(const ft_feature_set *s, const bool *hit, double value, int samples, ft_set_distance *to)
{
    ft_share found;
    to->value = value;
    if (samples == 0) return FT_OK;
    FT_TRY(ft_share_of(hit, s->video, s->n, videos_of(s), samples, &found));
    to->low = found.low, to->high = found.high;
    return FT_OK;
}

static int precision(const two_sets *s, int samples, ft_set_distance *to)
{
    return share(s->made, s->within, s->scores.precision, samples, to);
}
static int recall(const two_sets *s, int samples, ft_set_distance *to)
{
    return share(s->real, s->of_clip.recalled, s->scores.recall, samples, to);
}
static int coverage(const two_sets *s, int samples, ft_set_distance *to)
{
    return share(s->real, s->of_clip.covered, s->scores.coverage, samples, to);
}

/* a mean of counts over clips, from draws of videos */
static int density(const two_sets *s, int samples, ft_set_distance *to)
{
    int64_t videos = videos_of(s->made);
    double *of = ft_alloc_n(2 * videos + 1, sizeof *of); /* neighbours asked for, balls */
    int rc = of ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a bootstrap");
    to->value = s->scores.density;
    for (int64_t i = 0; rc == FT_OK && i < s->made->n; i++)
        of[2 * s->made->video[i]] += FT_PRDC_NEIGHBOURS, of[2 * s->made->video[i] + 1] += s->of_clip.inside[i];
    if (rc == FT_OK) rc = ft_ratio_interval(of, videos, samples, 2, FT_STREAM_BOOTSTRAP_SETS, NAN, &to->low, &to->high);
    ft_free(of);
    return rc;
}

#define NAMES(name, title, best) {#name, title, best},
const ft_set_distance_name ft_set_distance_names[FT_SET_DISTANCES] = {FT_SET_DISTANCE_TABLE(NAMES)};
#define FUNCTIONS(name, title, best) name,
static int (*const measure[FT_SET_DISTANCES])(const two_sets *s, int samples,
                                              ft_set_distance *to) = {FT_SET_DISTANCE_TABLE(FUNCTIONS)};

/* ---- all of them -------------------------------------------------------------------------------------------------------------
 */

static int measure_all(const ft_feature_set *real, const ft_feature_set *made, int d, int samples, bool *within,
                       ft_set_distance of[FT_SET_DISTANCES])
{
    two_sets s = {.real = real,
                  .made = made,
                  .d = d,
                  .of_clip = {ft_alloc_n(made->n + 1, sizeof(int)), ft_alloc_n(real->n + 1, 1), ft_alloc_n(real->n + 1, 1)},
                  .within = ft_alloc_n(made->n + 1, 1)};
    int rc = s.of_clip.inside && s.of_clip.recalled && s.of_clip.covered && s.within
                 ? FT_OK
                 : FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int i = 0; i < FT_SET_DISTANCES; i++) of[i] = (ft_set_distance){NAN, NAN, NAN, NAN, NAN};
    if (rc == FT_OK) rc = ft_prdc(real, made, d, FT_PRDC_NEIGHBOURS, s.of_clip, &s.scores);
    for (int64_t i = 0; rc == FT_OK && i < made->n; i++) s.within[i] = s.of_clip.inside[i] > 0;
    for (int i = 0; rc == FT_OK && i < FT_SET_DISTANCES; i++) rc = measure[i](&s, samples, &of[i]);
    for (int64_t i = 0; rc == FT_OK && within && i < made->n; i++) within[i] = s.within[i];
    ft_free(s.of_clip.inside);
    ft_free(s.of_clip.recalled);
    ft_free(s.of_clip.covered);
    ft_free(s.within);
    return rc;
}

int ft_set_distances(const ft_feature_set *real, const ft_feature_set *made, const ft_feature_set *held_out, int d, bool *within,
                     ft_set_distance of[FT_SET_DISTANCES], int64_t *same)
{
    ft_set_distance alike[FT_SET_DISTANCES], floor[FT_SET_DISTANCES];
    FT_TRY(measure_all(real, made, d, SAMPLES, within, of));
    *same = made->n < held_out->n ? made->n : held_out->n;
    ft_feature_set fewer = {made->value, made->video, *same}, held = {held_out->value, held_out->video, *same};
    if (*same > 0 && (videos_of(&fewer) < 2 || videos_of(&held) < 2)) *same = 0;
    if (*same == 0) return FT_OK;
    FT_TRY(measure_all(real, &fewer, d, 0, NULL, alike));
    FT_TRY(measure_all(real, &held, d, 0, NULL, floor));
    for (int i = 0; i < FT_SET_DISTANCES; i++) of[i].alike = alike[i].value, of[i].floor = floor[i].value;
    return FT_OK;
}

static const char *const part[] = {"value", "ci_low", "ci_high", "alike", "floor"};

json_t *ft_set_distances_json(const ft_set_distance of[FT_SET_DISTANCES])
{
    json_t *all = json_object();
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        const double v[] = {of[i].value, of[i].low, of[i].high, of[i].alike, of[i].floor};
        json_t *o = json_object();
        for (int k = 0; k < 5; k++) json_object_set_new(o, part[k], isnan(v[k]) ? json_null() : json_real(v[k]));
        json_object_set_new(all, ft_set_distance_names[i].name, o);
    }
    return all;
}

void ft_set_distances_read(const json_t *all, ft_set_distance of[FT_SET_DISTANCES])
{
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        const json_t *o = json_object_get(all, ft_set_distance_names[i].name);
        double *v[] = {&of[i].value, &of[i].low, &of[i].high, &of[i].alike, &of[i].floor};
        for (int k = 0; k < 5; k++) {
            const json_t *n = json_object_get(o, part[k]);
            *v[k] = json_is_number(n) ? json_number_value(n) : (double)NAN;
        }
    }
}
