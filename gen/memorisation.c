#include "gen/memorisation.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

/* A vector without what is common: its mean, and its length around that. */
typedef struct {
    double mean, length, square; /* square: of the vector itself */
} moments;

struct ft_copy_ruler {
    int64_t n, videos, d;
    int64_t *video;
    float *common; /* (d) mean of the training clips */
    float *value;  /* (looks, n, d) without it: as they are, mirrored */
    int looks, samples;
    moments *of;
    double tau, correlation;
    ft_share copies, ratio; /* of the held-out clips */
};

int ft_number_videos(const ft_clip_pool *pool, int64_t **video, int64_t *videos)
{
    *video = ft_alloc_n(pool->n + 1, sizeof **video);
    *videos = 0;
    int64_t *number = pool->n > 0 ? ft_alloc_n(pool->store->n_video + 1, sizeof *number) : NULL; /* 0: not seen yet */
    if (!*video || (pool->n > 0 && !number)) {
        ft_free(number);
        return FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    }
    for (int64_t i = 0; i < pool->n; i++) {
        int64_t *of = &number[pool->store->clip[pool->clip[i]].video];
        if (*of == 0) *of = ++*videos;
        (*video)[i] = *of - 1;
    }
    ft_free(number);
    return FT_OK;
}

/* ---- shares -------------------------------------------------------------------------------------------------------------- */

int ft_share_of(const bool *hit, const int64_t *video, int64_t n, int64_t videos, int samples, ft_share *share)
{
    int64_t hits = 0;
    *share = (ft_share){NAN, NAN, NAN};
    if (n == 0) return FT_OK;
    double *of = ft_alloc_n(2 * videos, sizeof *of); /* clips and hits of each video */
    int rc = of ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a bootstrap");
    for (int64_t i = 0; rc == FT_OK && i < n; i++) of[2 * video[i]]++, of[2 * video[i] + 1] += hit[i], hits += hit[i];
    share->value = (double)hits / (double)n;
    if (rc == FT_OK)
        rc = ft_ratio_interval(of, videos, samples, 1, FT_STREAM_BOOTSTRAP_SHARES, share->value, &share->low, &share->high);
    if (rc == FT_OK && hits == 0) share->high = 1 - pow(0.025, 1 / (double)videos);
    if (rc == FT_OK && hits == n) share->low = pow(0.025, 1 / (double)videos);
    ft_free(of);
    return rc;
}

/* ---- pairs --------------------------------------------------------------------------------------------------------------- */

static double product(const float *x, const float *y, int64_t d)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < d; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}

/* `to` = x less what is common */
static moments take_off(const ft_copy_ruler *r, const float *x, float *to)
{
    moments m = {0, 0, 0};
    for (int64_t i = 0; i < r->d; i++) {
        to[i] = x[i] - r->common[i];
        m.mean += (double)to[i] / (double)r->d;
    }
    for (int64_t i = 0; i < r->d; i++) m.length += pow((double)to[i] - m.mean, 2);
    m.length = sqrt(m.length);
    m.square = product(to, to, r->d);
    return m;
}

typedef struct {
    double correlation, distance;
} likeness;

/* The clip x, moments m, and training clip k, as it is or mirrored, whichever is nearer. */
static likeness pair(const ft_copy_ruler *r, const float *x, moments m, int64_t k)
{
    likeness best = {-1, INFINITY};
    for (int look = 0; look < r->looks; look++) {
        moments t = r->of[look * r->n + k];
        double xy = product(x, r->value + (look * r->n + k) * r->d, r->d), lengths = m.length * t.length;
        double c = lengths > 0 ? (xy - (double)r->d * m.mean * t.mean) / lengths : 0;
        best.correlation = fmax(best.correlation, fmin(1, c));
        best.distance = fmin(best.distance, sqrt(fmax(0, m.square + t.square - 2 * xy)));
    }
    return best;
}

/* recall of one clip; most (train n, may be NULL): the largest correlation that each training clip had so far */
static ft_recall recall(const ft_copy_ruler *r, const float *x, moments m, double *most)
{
    ft_recall out = {.nearest = 0, .correlation = -2};
    int64_t first = -1; /* video of the nearest by distance */
    double near = INFINITY, other = INFINITY;
    for (int64_t k = 0; k < r->n; k++) {
        likeness l = pair(r, x, m, k);
        if (l.correlation > out.correlation) out.correlation = l.correlation, out.nearest = k;
        if (most) most[k] = fmax(most[k], l.correlation);
        if (l.distance < near) {
            if (r->video[k] != first) other = near;
            near = l.distance, first = r->video[k];
        } else if (r->video[k] != first) other = fmin(other, l.distance);
    }
    out.ratio = isinf(other) ? NAN : other > 0 ? near / other : 1;
    out.copy = out.correlation > r->tau;
    return out;
}

/* of every clip; most: as above, for all of them */
static int recall_all(const ft_copy_ruler *r, const ft_embedded *clips, ft_recall *of_clip, double *most)
{
    int failed = 0;
#pragma omp parallel reduction(+ : failed)
    {
        float *x = ft_alloc_n(r->d + 1, sizeof *x);
        double *own = most ? ft_alloc_n(r->n, sizeof *own) : NULL;
        failed = !x || (most && !own);
        for (int64_t k = 0; own && k < r->n; k++) own[k] = -1;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < clips->n; i++)
            if (!failed) {
                moments m = take_off(r, clips->value + i * r->d, x);
                of_clip[i] = recall(r, x, m, own);
            }
#pragma omp critical
        for (int64_t k = 0; own && k < r->n; k++) most[k] = fmax(most[k], own[k]);
        ft_free(x);
        ft_free(own);
    }
    return failed ? FT_FAIL(FT_ENOMEM, "no memory to compare clips") : FT_OK;
}

/* shares of copies and of the ratio test, median correlation */
static int shares(const ft_embedded *clips, const ft_recall *of_clip, int samples, ft_share *copies, ft_share *ratio,
                  double *median)
{
    bool *hit = ft_alloc_n(clips->n + 1, sizeof *hit);
    double *c = ft_alloc_n(clips->n + 1, sizeof *c);
    int rc = hit && c ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int64_t i = 0; rc == FT_OK && i < clips->n; i++) hit[i] = of_clip[i].copy, c[i] = of_clip[i].correlation;
    if (rc == FT_OK) rc = ft_share_of(hit, clips->video, clips->n, clips->videos, samples, copies);
    for (int64_t i = 0; rc == FT_OK && i < clips->n; i++) hit[i] = of_clip[i].ratio < 1.0 / 3;
    if (rc == FT_OK) rc = ft_share_of(hit, clips->video, clips->n, clips->videos, samples, ratio);
    *median = NAN;
    if (rc == FT_OK && clips->n > 0) ft_sort(c, clips->n), *median = ft_quantile(c, clips->n, 0.5);
    ft_free(hit);
    ft_free(c);
    return rc;
}

/* ---- the ruler ----------------------------------------------------------------------------------------------------------- */

void ft_copy_ruler_free(ft_copy_ruler *r)
{
    if (!r) return;
    ft_free(r->video);
    ft_free(r->common);
    ft_free(r->value);
    ft_free(r->of);
    ft_free(r);
}

static void take_training(ft_copy_ruler *r, const ft_embedded *train)
{
    for (int64_t i = 0; i < r->d; i++) {
        double sum = 0;
        for (int64_t k = 0; k < r->n; k++)
            sum += (double)train->value[k * r->d + i] + (train->mirror ? (double)train->mirror[k * r->d + i] : 0);
        r->common[i] = (float)(sum / (double)(r->n * r->looks));
    }
    memcpy(r->video, train->video, (size_t)r->n * sizeof *r->video);
    for (int64_t k = 0; k < r->n * r->looks; k++)
        r->of[k] = take_off(r, k < r->n ? train->value + k * r->d : train->mirror + (k - r->n) * r->d, r->value + k * r->d);
}

/* tau, and the held-out clips by it */
static int calibrate(ft_copy_ruler *r, const ft_embedded *held)
{
    r->tau = r->correlation = NAN;
    r->copies = r->ratio = (ft_share){NAN, NAN, NAN};
    if (held->n == 0) return FT_OK;
    double *most = ft_alloc_n(r->n, sizeof *most);
    ft_recall *of_clip = ft_alloc_n(held->n, sizeof *of_clip);
    int rc = most && of_clip ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int64_t k = 0; rc == FT_OK && k < r->n; k++) most[k] = -1;
    if (rc == FT_OK) rc = recall_all(r, held, of_clip, most);
    if (rc == FT_OK) {
        ft_sort(most, r->n);
        r->tau = ft_quantile(most, r->n, 0.95);
        for (int64_t i = 0; i < held->n; i++) of_clip[i].copy = of_clip[i].correlation > r->tau;
        rc = shares(held, of_clip, r->samples, &r->copies, &r->ratio, &r->correlation);
    }
    ft_free(most);
    ft_free(of_clip);
    return rc;
}

int ft_copy_ruler_new(ft_copy_ruler **out, const ft_embedded *train, const ft_embedded *held_out, int64_t d, int samples)
{
    ft_copy_ruler *r = *out = ft_alloc(sizeof *r);
    if (!r) return FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    r->n = train->n, r->videos = train->videos, r->d = d, r->looks = train->mirror ? 2 : 1, r->samples = samples;
    r->video = ft_alloc_n(r->n + 1, sizeof *r->video);
    r->common = ft_alloc_n(d + 1, sizeof *r->common);
    r->value = ft_alloc_n(r->looks * r->n + 1, (size_t)d * sizeof *r->value);
    r->of = ft_alloc_n(r->looks * r->n + 1, sizeof *r->of);
    int rc = r->video && r->common && r->value && r->of ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    if (rc == FT_OK && r->n == 0) rc = FT_FAIL(FT_EDATA, "there are no training clips to compare with");
    if (rc == FT_OK) take_training(r, train);
    if (rc == FT_OK) rc = calibrate(r, held_out);
    if (rc < 0) ft_copy_ruler_free(r), *out = NULL;
    return rc;
}

int ft_copies_find(const ft_copy_ruler *r, const ft_embedded *clips, ft_recall *of_clip, ft_memorisation *m)
{
    *m = (ft_memorisation){.tau = r->tau,
                           .copies_held_out = r->copies,
                           .ratio_held_out = r->ratio,
                           .correlation_held_out = r->correlation,
                           .coverage = {NAN, NAN, NAN}};
    FT_TRY(recall_all(r, clips, of_clip, NULL));
    FT_TRY(shares(clips, of_clip, r->samples, &m->copies, &m->ratio, &m->correlation));
    if (isnan(r->tau)) {
        m->copies = (ft_share){NAN, NAN, NAN};
        return FT_OK;
    }
    m->copying = m->copies.low > m->copies_held_out.high;
    bool *shown = ft_alloc_n(r->videos + 1, sizeof *shown);
    int64_t *each = ft_alloc_n(r->videos + 1, sizeof *each);
    int rc = shown && each ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int64_t v = 0; rc == FT_OK && v < r->videos; v++) each[v] = v;
    for (int64_t i = 0; rc == FT_OK && i < clips->n; i++) shown[r->video[of_clip[i].nearest]] |= of_clip[i].copy;
    if (rc == FT_OK) rc = ft_share_of(shown, each, r->videos, r->videos, r->samples, &m->coverage);
    ft_free(shown);
    ft_free(each);
    return rc;
}
