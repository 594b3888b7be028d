#include "classify/prdc.h"

#include <math.h>

#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/status.h"

static double distance(const float *x, const float *y, int64_t d)
{
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < d; i++) sum += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return sqrt(sum);
}

static int64_t video_of(const ft_feature_set *s, int64_t i) { return s->video ? s->video[i] : i; }

/* radius (n) of the ball of each clip */
static int balls(const ft_feature_set *s, int64_t d, int k, double *radius)
{
    int64_t videos = 0;
    for (int64_t i = 0; i < s->n; i++) videos = video_of(s, i) >= videos ? video_of(s, i) + 1 : videos;
    if (videos < 2) return FT_FAIL(FT_EDATA, "precision and recall need clips of two videos on each side");
    int failed = 0;
#pragma omp parallel reduction(+ : failed)
    {
        double *near = ft_alloc_n(videos, sizeof *near);
        failed = !near;
#pragma omp for schedule(static)
        for (int64_t i = 0; i < s->n; i++) {
            if (failed) continue;
            for (int64_t v = 0; v < videos; v++) near[v] = INFINITY;
            for (int64_t j = 0; j < s->n; j++)
                if (video_of(s, j) != video_of(s, i))
                    near[video_of(s, j)] = fmin(near[video_of(s, j)], distance(s->value + i * d, s->value + j * d, d));
            ft_sort(near, videos); /* its own stays at infinity, behind all */
            radius[i] = near[(k < videos - 1 ? k : videos - 1) - 1];
        }
        ft_free(near);
    }
    return failed ? FT_FAIL(FT_ENOMEM, "no memory for neighbours") : FT_OK;
}

int ft_prdc(const ft_feature_set *real, const ft_feature_set *made, int64_t d, int k, ft_prdc_clips of_clip,
            ft_prdc_scores *scores)
{
    int64_t n = real->n, m = made->n, in = 0, recalled = 0, covered = 0, total = 0;
    double *around = ft_alloc_n(n + 1, sizeof *around), *around_made = ft_alloc_n(m + 1, sizeof *around_made);
    int *inside = ft_alloc_n(m + 1, sizeof *inside); /* balls that each lies in */
    int rc = around && around_made && inside ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for neighbours");
    if (rc == FT_OK) rc = balls(real, d, k, around);
    if (rc == FT_OK) rc = balls(made, d, k, around_made);
#pragma omp parallel for schedule(static) reduction(+ : recalled, covered)
    for (int64_t i = 0; i < (rc == FT_OK ? n : 0); i++) {
        bool covers = false, recalls = false;
        for (int64_t j = 0; j < m; j++) {
            double far = distance(real->value + i * d, made->value + j * d, d);
            covers |= far <= around[i], recalls |= far <= around_made[j];
            if (far > around[i]) continue;
#pragma omp atomic
            inside[j]++;
        }
        recalled += recalls, covered += covers;
        if (of_clip.recalled) of_clip.recalled[i] = recalls;
        if (of_clip.covered) of_clip.covered[i] = covers;
    }
    for (int64_t j = 0; rc == FT_OK && j < m; j++) in += inside[j] > 0, total += inside[j];
    for (int64_t j = 0; rc == FT_OK && of_clip.inside && j < m; j++) of_clip.inside[j] = inside[j];
    if (rc == FT_OK)
        *scores = (ft_prdc_scores){(double)in / (double)m, (double)recalled / (double)n, (double)total / (double)(k * m),
                                   (double)covered / (double)n};
    ft_free(around);
    ft_free(around_made);
    ft_free(inside);
    return rc;
}
