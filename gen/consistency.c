#include "gen/consistency.h"

#include <math.h>

static double correlation(const uint8_t *a, const uint8_t *b, int64_t n)
{
    double sa = 0, sb = 0, aa = 0, bb = 0, ab = 0, count = (double)n;
    for (int64_t i = 0; i < n; i++) sa += a[i], sb += b[i], aa += a[i] * a[i], bb += b[i] * b[i], ab += a[i] * b[i];
    double va = aa - sa * sa / count, vb = bb - sb * sb / count;
    return va > 0 && vb > 0 ? (ab - sa * sb / count) / sqrt(va * vb) : va == vb; /* two flat frames are the same */
}

double ft_frame_consistency(const ft_clip_pool *pool)
{
    const ft_clipstore *s = pool->store;
    int64_t frame = ft_clip_bytes(s) / s->frames;
    double sum = 0;
    if (pool->n == 0 || s->frames < 2) return NAN;
    for (int64_t k = 0; k < pool->n; k++)
        for (int f = 0; f + 1 < s->frames; f++) {
            const uint8_t *p = ft_clip_pixels(s, pool->clip[k]) + f * frame;
            sum += correlation(p, p + frame, frame);
        }
    return 100 * sum / (double)(pool->n * (s->frames - 1));
}
