#include "experiments/statistics/set_distances.h"

#include <math.h>
#include <string.h>

#include "classify/mmd.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "experiments/statistics/clip_scores.h"
#include "experiments/statistics/frechet.h"
#include "gen/memorisation.h"

enum { SAMPLES = 1000 };

/* Two sets, and what several distances are made of. */
typedef struct {
    const ft_feature_set *real, *made;           /* for the Frechet distance */
    const ft_feature_set *some_real, *some_made; /* for all that is made of pairs */
    int d, ddof;
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
    return ft_frechet(s->real->value, s->real->n, s->made->value, s->made->n, s->d, s->ddof, &to->value);
}

static int mmd(const two_sets *s, int samples, ft_set_distance *to)
{
    return ft_mmd(&ft_mmd_kid, s->some_real, s->some_made, s->d, samples, &to->value, &to->low, &to->high);
}

static int jedi(const two_sets *s, int samples, ft_set_distance *to)
{
    (void)samples;
    return ft_mmd(&ft_mmd_jedi, s->some_real, s->some_made, s->d, 0, &to->value, &to->low, &to->high);
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
    return share(s->some_made, s->within, s->scores.precision, samples, to);
}
static int recall(const two_sets *s, int samples, ft_set_distance *to)
{
    return share(s->some_real, s->of_clip.recalled, s->scores.recall, samples, to);
}
static int coverage(const two_sets *s, int samples, ft_set_distance *to)
{
    return share(s->some_real, s->of_clip.covered, s->scores.coverage, samples, to);
}

/* a mean of counts over clips, from draws of videos */
static int density(const two_sets *s, int samples, ft_set_distance *to)
{
    double *balls = ft_alloc_n(s->some_made->n + 1, sizeof *balls);
    if (!balls) return FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int64_t i = 0; i < s->some_made->n; i++) balls[i] = (double)s->of_clip.inside[i] / FT_PRDC_NEIGHBOURS;
    int rc = ft_mean_of_videos(balls, s->some_made->video, s->some_made->n, samples, &to->value, &to->low, &to->high);
    ft_free(balls);
    return rc;
}

#define NAMES(name, title, best) {#name, title, best},
const ft_set_distance_name ft_set_distance_names[FT_SET_DISTANCES] = {FT_SET_DISTANCE_TABLE(NAMES)};
#define FUNCTIONS(name, title, best) name,
static int (*const measure[FT_SET_DISTANCES])(const two_sets *s, int samples,
                                              ft_set_distance *to) = {FT_SET_DISTANCE_TABLE(FUNCTIONS)};

/* ---- all of them -------------------------------------------------------------------------------------------------------------
 */

static int measure_all(two_sets s, int samples, bool *within, ft_set_distance of[FT_SET_DISTANCES])
{
    const ft_feature_set *real = s.some_real, *made = s.some_made;
    s.of_clip = (ft_prdc_clips){ft_alloc_n(made->n + 1, sizeof(int)), ft_alloc_n(real->n + 1, 1), ft_alloc_n(real->n + 1, 1)};
    s.within = ft_alloc_n(made->n + 1, 1);
    int rc = s.of_clip.inside && s.of_clip.recalled && s.of_clip.covered && s.within
                 ? FT_OK
                 : FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int i = 0; i < FT_SET_DISTANCES; i++) of[i] = (ft_set_distance){NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    if (rc == FT_OK) rc = ft_prdc(real, made, s.d, FT_PRDC_NEIGHBOURS, s.of_clip, &s.scores);
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
    two_sets s = {.real = real, .made = made, .some_real = real, .some_made = made, .d = d, .ddof = 1};
    FT_TRY(measure_all(s, SAMPLES, within, of));
    *same = made->n < held_out->n ? made->n : held_out->n;
    ft_feature_set fewer = {made->value, made->video, *same}, held = {held_out->value, held_out->video, *same};
    if (*same > 0 && (videos_of(&fewer) < 2 || videos_of(&held) < 2)) *same = 0;
    if (*same == 0) return FT_OK;
    s.made = s.some_made = &fewer;
    FT_TRY(measure_all(s, 0, NULL, alike));
    s.made = s.some_made = &held;
    FT_TRY(measure_all(s, 0, NULL, floor));
    for (int i = 0; i < FT_SET_DISTANCES; i++) of[i].alike = alike[i].value, of[i].floor = floor[i].value;
    return FT_OK;
}

/* ---- parts of sets -----------------------------------------------------------------------------------------------------------
 */

/* fresh copies of rows; owned even when it fails */
static int part_begin(ft_feature_set *to, int64_t room, int d)
{
    float *value = ft_alloc_n(room * d + 1, sizeof *value);
    int64_t *video = ft_alloc_n(room + 1, sizeof *video);
    *to = (ft_feature_set){value, video, 0};
    return value && video ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for parts of a set");
}

static void part_free(ft_feature_set *s)
{
    ft_free((void *)(uintptr_t)s->value);
    ft_free((void *)(uintptr_t)s->video);
    *s = (ft_feature_set){0};
}

static void part_add(ft_feature_set *to, const ft_feature_set *from, int64_t row, int64_t video, int d)
{
    memcpy((float *)(uintptr_t)to->value + to->n * d, from->value + row * d, (size_t)d * sizeof(float));
    ((int64_t *)(uintptr_t)to->video)[to->n++] = video;
}

/* the clips of some videos, these numbered from 0: `most` of them, or all. Clips of a video stand side by side. */
static int part_of_videos(const ft_feature_set *s, int d, const int64_t *video, int64_t videos, int64_t most, ft_feature_set *to)
{
    int64_t all = videos_of(s), *end = ft_alloc_n(all + 1, sizeof *end),
            *row = ft_alloc_n(s->n + 1, sizeof *row); /* rows by video */
    int rc = part_begin(to, most < s->n ? most : s->n, d);
    if (rc == FT_OK && (!end || !row)) rc = FT_FAIL(FT_ENOMEM, "no memory for parts of a set");
    for (int64_t i = 0; rc == FT_OK && i < s->n; i++) end[s->video[i] + 1]++;
    for (int64_t v = 0; rc == FT_OK && v < all; v++) end[v + 1] += end[v];
    for (int64_t i = 0; rc == FT_OK && i < s->n; i++) row[end[s->video[i]]++] = i; /* now where each one's rows end */
    for (int64_t k = 0; rc == FT_OK && k < videos; k++)
        for (int64_t i = video[k] ? end[video[k] - 1] : 0; i < end[video[k]] && to->n < most; i++) part_add(to, s, row[i], k, d);
    ft_free(end);
    ft_free(row);
    return rc;
}

/* `most` clips, evenly spread over the set: all videos where there are more clips than videos */
static int part_evenly(const ft_feature_set *s, int d, int64_t most, ft_feature_set *to)
{
    int64_t all = videos_of(s), n = 0, *name = ft_alloc_n(all + 1, sizeof *name);
    int rc = part_begin(to, most, d);
    if (rc == FT_OK && !name) rc = FT_FAIL(FT_ENOMEM, "no memory for parts of a set");
    for (int64_t k = 0; rc == FT_OK && k < most; k++) {
        int64_t row = k * s->n / most, *of = &name[s->video[row]];
        if (!*of) *of = ++n;
        part_add(to, s, row, *of - 1, d);
    }
    ft_free(name);
    return rc;
}

static int shuffled_videos(const ft_feature_set *s, uint64_t seed, uint64_t step, int64_t **video, int64_t *n)
{
    ft_rng r = ft_rng_make(seed, FT_STREAM_SET_PARTS, step);
    *n = videos_of(s);
    if (!(*video = ft_alloc_n(*n + 1, sizeof **video))) return FT_FAIL(FT_ENOMEM, "no memory for parts of a set");
    for (int64_t i = 0; i < *n; i++) (*video)[i] = i;
    ft_rng_shuffle(&r, *video, *n);
    return FT_OK;
}

/* all distances, pairs of at most o->most clips of each */
static int measure_some(const ft_feature_set *real, const ft_feature_set *made, int d, const ft_halves_opt *o, int samples,
                        ft_set_distance of[FT_SET_DISTANCES])
{
    ft_feature_set part[2] = {{0}};
    const ft_feature_set *whole[2] = {real, made}, *some[2] = {real, made};
    int rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < 2; i++)
        if (o->most > 0 && whole[i]->n > o->most) rc = part_evenly(whole[i], d, o->most, &part[i]), some[i] = &part[i];
    two_sets s = {.real = real, .made = made, .some_real = some[0], .some_made = some[1], .d = d, .ddof = o->ddof};
    if (rc == FT_OK) rc = measure_all(s, samples, NULL, of);
    part_free(&part[0]);
    part_free(&part[1]);
    return rc;
}

/* one half against the other, and against as many clips of `made`; *same stays 0 where a part is of less than two videos */
static int one_half(const ft_feature_set *real, const ft_feature_set *made, int d, const ft_halves_opt *o, int k,
                    ft_set_distance alike[FT_SET_DISTANCES], ft_set_distance floor[FT_SET_DISTANCES], int64_t *same)
{
    int64_t *video = NULL, *of_made = NULL, n, m;
    ft_feature_set half[2] = {{0}}, fewer = {0};
    *same = 0;
    int rc = shuffled_videos(real, o->seed, (uint64_t)(2 * k), &video, &n);
    if (rc == FT_OK) rc = shuffled_videos(made, o->seed, (uint64_t)(2 * k + 1), &of_made, &m);
    if (rc == FT_OK) rc = part_of_videos(real, d, video, n / 2, real->n, &half[0]);
    if (rc == FT_OK) rc = part_of_videos(real, d, video + n / 2, n - n / 2, made->n, &half[1]);
    if (rc == FT_OK) rc = part_of_videos(made, d, of_made, m, half[1].n, &fewer);
    half[1].n = fewer.n < half[1].n ? fewer.n : half[1].n;
    bool enough = rc == FT_OK && n >= 4 && videos_of(&half[1]) > 1 && videos_of(&fewer) > 1;
    if (enough) rc = measure_some(&half[0], &half[1], d, o, 0, floor);
    if (enough && rc == FT_OK) rc = measure_some(&half[0], &fewer, d, o, 0, alike);
    if (enough) *same = fewer.n;
    part_free(&half[0]), part_free(&half[1]), part_free(&fewer);
    ft_free(video);
    ft_free(of_made);
    return rc;
}

int ft_set_distances_by_halves(const ft_feature_set *real, const ft_feature_set *made, int d, const ft_halves_opt *o,
                               ft_set_distance of[FT_SET_DISTANCES], int64_t *same)
{
    ft_set_distance alike[FT_SET_DISTANCES], floor[FT_SET_DISTANCES];
    FT_TRY(measure_some(real, made, d, o, o->samples, of));
    *same = 0;
    for (int k = 0; k < o->halves; k++) {
        FT_TRY(one_half(real, made, d, o, k, alike, floor, same));
        if (*same == 0) { /* too few to spare */
            for (int i = 0; i < FT_SET_DISTANCES; i++) of[i].alike = of[i].floor = of[i].floor_low = of[i].floor_high = NAN;
            break;
        }
        for (int i = 0; i < FT_SET_DISTANCES; i++) {
            double v = floor[i].value;
            of[i].alike = (k ? of[i].alike : 0) + alike[i].value / o->halves;
            of[i].floor = (k ? of[i].floor : 0) + v / o->halves;
            of[i].floor_low = k && of[i].floor_low < v ? of[i].floor_low : v;
            of[i].floor_high = k && of[i].floor_high > v ? of[i].floor_high : v;
        }
    }
    return o->infinity ? ft_frechet_infinity(real, made, d, o->ddof, o->seed, &of[FT_DISTANCE_frechet].infinity) : FT_OK;
}

int ft_frechet_infinity(const ft_feature_set *real, const ft_feature_set *made, int d, int ddof, uint64_t seed, double *value)
{
    enum { SHARES = 15 };
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    for (int k = 0; k < SHARES; k++) {
        int64_t *video[2] = {NULL}, n[2] = {0}, some[2] = {0};
        const ft_feature_set *set[2] = {real, made};
        ft_feature_set part[2] = {{0}};
        double share = 0.25 + 0.75 * k / (SHARES - 1), x = 0, y = 0;
        int rc = FT_OK;
        for (int i = 0; rc == FT_OK && i < 2; i++) {
            rc = shuffled_videos(set[i], seed, (uint64_t)(100000 + 2 * k + i), &video[i], &n[i]);
            some[i] = (int64_t)llround(share * (double)n[i]);
            if (rc == FT_OK) rc = part_of_videos(set[i], d, video[i], some[i], set[i]->n, &part[i]);
            x += 0.5 * (double)n[i] / (double)some[i]; /* whole videos: 1 / share, nearly */
        }
        if (rc == FT_OK) rc = ft_frechet(part[0].value, part[0].n, part[1].value, part[1].n, d, ddof, &y);
        sx += x / SHARES, sy += y / SHARES, sxx += x * x / SHARES, sxy += x * y / SHARES;
        for (int i = 0; i < 2; i++) part_free(&part[i]), ft_free(video[i]);
        FT_TRY(rc);
    }
    *value = sy - (sxy - sx * sy) / (sxx - sx * sx) * sx;
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
        of[i].floor_low = of[i].floor_high = of[i].infinity = NAN;
    }
}
