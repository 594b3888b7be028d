#include "experiments/statistics/clip_scores.h"

#include <math.h>

#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/status.h"
#include "common/base/streams.h"

int ft_mean_of_videos(const double *value, const int64_t *video, int64_t n, int samples, double *mean, double *low, double *high)
{
    int64_t videos = 0;
    for (int64_t i = 0; i < n; i++) videos = video[i] >= videos ? video[i] + 1 : videos;
    double *of = ft_alloc_n(2 * videos + 1, sizeof *of); /* values, their sum */
    if (!of) return FT_FAIL(FT_ENOMEM, "no memory for a bootstrap");
    *mean = 0;
    for (int64_t i = 0; i < n; i++) {
        *mean += value[i] / (double)n;
        of[2 * video[i]]++, of[2 * video[i] + 1] += value[i];
    }
    int rc = ft_ratio_interval(of, videos, samples, 2, FT_STREAM_BOOTSTRAP_SETS, NAN, low, high);
    ft_free(of);
    return rc;
}

/* p (classes) of logits */
static void softmax(const float *logit, int64_t classes, double *p)
{
    double top = -INFINITY, sum = 0;
    for (int64_t c = 0; c < classes; c++) top = fmax(top, (double)logit[c]);
    for (int64_t c = 0; c < classes; c++) sum += p[c] = exp((double)logit[c] - top);
    for (int64_t c = 0; c < classes; c++) p[c] /= sum;
}

int ft_inception_score(const float *logits, int64_t n, int64_t classes, int splits, double *mean, double *std)
{
    if (n < splits)
        return FT_FAIL(FT_EDATA, "an inception score in %d parts needs as many pictures; there are %lld", splits, (long long)n);
    double *p = ft_alloc_n(2 * classes + 1, sizeof *p), *all = p + classes, square = 0;
    if (!p) return FT_FAIL(FT_ENOMEM, "no memory for %lld classes", (long long)classes);
    *mean = 0;
    for (int s = 0; s < splits; s++) {
        int64_t from = s * n / splits, to = (s + 1) * n / splits;
        double divergence = 0; /* mean sum p log p - p log mean p = mean sum p log p - sum mean p log mean p */
        for (int64_t c = 0; c < classes; c++) all[c] = 0;
        for (int64_t i = from; i < to; i++) {
            softmax(logits + i * classes, classes, p);
            for (int64_t c = 0; c < classes; c++) {
                all[c] += p[c] / (double)(to - from);
                divergence += p[c] > 0 ? p[c] * log(p[c]) / (double)(to - from) : 0;
            }
        }
        for (int64_t c = 0; c < classes; c++) divergence -= all[c] > 0 ? all[c] * log(all[c]) : 0;
        *mean += exp(divergence) / splits, square += exp(2 * divergence) / splits;
    }
    *std = sqrt(fmax(square - *mean * *mean, 0));
    ft_free(p);
    return FT_OK;
}

int ft_feature_consistency(const float *value, int64_t clips, int64_t frames, int64_t d, double *of_clip)
{
    if (frames < 2) return FT_FAIL(FT_EDATA, "frame consistency needs clips of two frames");
    for (int64_t i = 0; i < clips; i++) {
        double before = 0;
        of_clip[i] = 0;
        for (int64_t t = 0; t < frames; t++) {
            const float *x = value + (i * frames + t) * d, *was = x - d;
            double own = 0, both = 0;
            for (int64_t k = 0; k < d; k++) own += (double)x[k] * (double)x[k];
            for (int64_t k = 0; t && k < d; k++) both += (double)x[k] * (double)was[k];
            if (!(own > 0 && isfinite(own)))
                return FT_FAIL(FT_EDATA, "frame %lld of clip %lld has no direction: its features are 0 or not finite",
                               (long long)t, (long long)i);
            if (t) of_clip[i] += 100 * both / sqrt(own * before) / (double)(frames - 1);
            before = own;
        }
    }
    return FT_OK;
}
