#include "classify/mmd.h"

#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

const ft_mmd_form ft_mmd_kid = {3, 1, 1, false}, ft_mmd_jedi = {2, 0, 100, true};

static double kernel(const ft_mmd_form *f, const float *x, const float *y, int64_t d)
{
    double sum = 0, power = 1;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < d; i++) sum += (double)x[i] * (double)y[i];
    sum = sum / (double)d + f->constant;
    for (int i = 0; i < f->power; i++) power *= sum;
    return power;
}

static int64_t video_of(const ft_feature_set *s, int64_t i) { return s->video ? s->video[i] : i; }

static int64_t videos_of(const ft_feature_set *s)
{
    int64_t videos = 0;
    for (int64_t i = 0; i < s->n; i++) videos = video_of(s, i) >= videos ? video_of(s, i) + 1 : videos;
    return videos;
}

/* One side against another: sums of the kernel over the clips of each two videos, which is all that a draw of videos needs. */
typedef struct {
    int64_t rows, columns;
    double *sum;          /* (rows, columns) */
    double *row, *column; /* clips of each video */
    bool same;            /* a set with itself, where videos make no pair with themselves */
} pairs;

static int pairs_make(pairs *p, const ft_mmd_form *f, const ft_feature_set *a, const ft_feature_set *b, int64_t d)
{
    *p = (pairs){.rows = videos_of(a), .columns = videos_of(b), .same = a == b && !f->biased};
    p->sum = ft_alloc_n(p->rows * p->columns + 1, sizeof *p->sum);
    p->row = ft_alloc_n(p->rows + 1, sizeof *p->row), p->column = ft_alloc_n(p->columns + 1, sizeof *p->column);
    if (!p->sum || !p->row || !p->column) return FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int64_t i = 0; i < a->n; i++) p->row[video_of(a, i)]++;
    for (int64_t j = 0; j < b->n; j++) p->column[video_of(b, j)]++;
#pragma omp parallel for schedule(static)
    for (int64_t v = 0; v < p->rows; v++) /* by rows, so that no two threads add to one sum */
        for (int64_t i = 0; i < a->n; i++)
            for (int64_t j = 0; j < (video_of(a, i) == v ? b->n : 0); j++)
                p->sum[v * p->columns + video_of(b, j)] += kernel(f, a->value + i * d, b->value + j * d, d);
    return FT_OK;
}

static void pairs_free(pairs *p) { ft_free(p->sum), ft_free(p->row), ft_free(p->column); }

/* mean of the kernel, each video as often as it was drawn; NAN (0 / 0) where one alone was */
static double mean(const pairs *p, const double *rows, const double *columns)
{
    double sum = 0, left = 0, right = 0, own = 0; /* clips drawn on each side, pairs of videos with themselves */
    for (int64_t w = 0; w < p->columns; w++) right += columns[w] * p->column[w];
    for (int64_t v = 0; v < p->rows; v++) {
        const double *k = p->sum + v * p->columns;
        double line = 0;
        left += rows[v] * p->row[v];
        if (rows[v] == 0) continue;
#pragma omp simd reduction(+ : line)
        for (int64_t w = 0; w < p->columns; w++) line += columns[w] * k[w];
        if (p->same) line -= columns[v] * k[v], own += rows[v] * columns[v] * p->row[v] * p->column[v];
        sum += rows[v] * line;
    }
    return sum / (left * right - own);
}

static double discrepancy(const ft_mmd_form *f, const pairs p[3], const double *real, const double *made)
{
    return f->times * (mean(&p[0], real, real) + mean(&p[1], made, made) - 2 * mean(&p[2], real, made));
}

static int interval(const ft_mmd_form *f, const pairs p[3], int samples, double *low, double *high)
{
    double *value = ft_alloc_n(samples + 1, sizeof *value);
    int failed = !value;
    int64_t n = p[0].rows, m = p[1].rows;
#pragma omp parallel reduction(+ : failed)
    {
        double *times = ft_alloc_n(n + m + 1, sizeof *times);
        failed += !times;
#pragma omp for schedule(static)
        for (int k = 0; k < samples; k++) {
            if (failed) continue;
            ft_rng r = ft_rng_make(1, FT_STREAM_BOOTSTRAP_SETS, (uint64_t)k);
            do { /* one video drawn throughout says nothing: draw again */
                for (int64_t v = 0; v < n + m; v++) times[v] = 0;
                for (int64_t v = 0; v < n; v++) times[ft_rng_below(&r, n)]++;
                for (int64_t v = 0; v < m; v++) times[n + ft_rng_below(&r, m)]++;
                value[k] = discrepancy(f, p, times, times + n);
            } while (value[k] != value[k]);
        }
        ft_free(times);
    }
    if (!failed) ft_percentiles(value, samples, low, high);
    ft_free(value);
    return failed ? FT_FAIL(FT_ENOMEM, "no memory for a bootstrap") : FT_OK;
}

int ft_mmd(const ft_mmd_form *form, const ft_feature_set *real, const ft_feature_set *made, int64_t d, int samples, double *value,
           double *low, double *high)
{
    pairs p[3] = {{0}};
    const ft_feature_set *side[3][2] = {{real, real}, {made, made}, {real, made}};
    int rc = videos_of(real) > 1 && videos_of(made) > 1
                 ? FT_OK
                 : FT_FAIL(FT_EDATA, "a discrepancy needs clips of two videos on each side");
    for (int i = 0; rc == FT_OK && i < 3; i++) rc = pairs_make(&p[i], form, side[i][0], side[i][1], d);
    int64_t n = p[0].rows + p[1].rows;
    double *once = ft_alloc_n(n + 1, sizeof *once);
    if (rc == FT_OK && !once) rc = FT_FAIL(FT_ENOMEM, "no memory to compare clips");
    for (int64_t v = 0; rc == FT_OK && v < n; v++) once[v] = 1;
    if (rc == FT_OK) *value = discrepancy(form, p, once, once + p[0].rows);
    if (rc == FT_OK && samples > 0) rc = interval(form, p, samples, low, high);
    for (int i = 0; i < 3; i++) pairs_free(&p[i]);
    ft_free(once);
    return rc;
}
