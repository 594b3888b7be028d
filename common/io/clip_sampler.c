#include "common/io/clip_sampler.h"

#include <math.h>
#include <string.h>

#include "common/base/status.h"

static int sampler(const char *name)
{
    static const char *const names[] = {"stride", "released", "uniform", "dense"};
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i])) return i;
    return -1;
}

bool ft_clip_sampler_known(const char *name) { return sampler(name) >= 0; }
ft_clip_sampler ft_clip_sampler_of(const char *name)
{
    return ft_clip_sampler_known(name) ? (ft_clip_sampler)sampler(name) : FT_SAMPLE_STRIDE;
}

bool ft_clip_view_known(const char *name) { return !strcmp(name, "centre") || !strcmp(name, "left") || !strcmp(name, "3crop"); }

static double clamp(double v, double low, double high) { return v < low ? low : v > high ? high : v; }

/* view k of K over `slack` frames: from the front, as the released test loader; stride clips are spread to both ends */
static void released(const ft_sampling *s, int64_t total, double fps, int k, int clips, int64_t *index)
{
    double window = (double)s->stride * s->frames / 30 * fps, slack = fmax((double)total - window, 0), start = slack * k / clips,
           end = start + window - 1;
    int64_t first = (int64_t)ceil(start), last = (int64_t)floor(end) + 1; /* what is decoded: the window and one more */
    if (last > total - 1) last = total - 1;
    if (first > last) first = last; /* a window of less than a frame */
    for (int i = 0; i < s->frames; i++) {
        double at = s->frames > 1 ? (window - 1) * i / (s->frames - 1) : 0;
        index[i] = first + (int64_t)clamp(at, 0, (double)(last - first));
    }
}

int ft_sample_clips(const ft_sampling *s, const char *name, int64_t total, double fps, int64_t *index, int room, int *clips,
                    double *used)
{
    int F = s->frames, stride = s->stride, n = s->clips;
    int64_t window = total < 16 ? total : 16;
    if (s->how == FT_SAMPLE_STRIDE) {
        if (total < F)
            return FT_FAIL(FT_EDATA, "%s: %lld frames, %d are needed. Use --frames %lld, or leave it out with --on-error skip",
                           name, (long long)total, F, (long long)total);
        int64_t fits = F > 1 ? (total - 1) / (F - 1) : stride;
        if (fits < stride) stride = (int)fits;
    }
    int64_t span = s->how == FT_SAMPLE_STRIDE     ? (int64_t)(F - 1) * stride + 1
                   : s->how == FT_SAMPLE_RELEASED ? (int64_t)fmax(1, (double)stride * F / 30 * fps)
                   : s->how == FT_SAMPLE_DENSE    ? window
                                                  : total;
    if (n <= 0) n = (int)(total / span);
    n = n < 1 || s->how == FT_SAMPLE_UNIFORM ? 1 : n > room ? room : n;
    for (int k = 0; k < n; k++) {
        int64_t *at = index + (int64_t)k * F, last = total - span, start = n == 1 ? last / 2 : last * k / (n - 1);
        if (s->how == FT_SAMPLE_RELEASED) released(s, total, fps, k, n, at);
        for (int i = 0; i < F; i++) {
            if (s->how == FT_SAMPLE_STRIDE) at[i] = start + (int64_t)i * stride;
            if (s->how == FT_SAMPLE_UNIFORM) at[i] = (int64_t)((i + 0.5) * (double)total / F);
            if (s->how == FT_SAMPLE_DENSE) at[i] = start + (int64_t)((i + 0.5) * (double)window / F);
        }
    }
    *clips = n;
    *used = F > 1 ? (double)(index[F - 1] - index[0]) / (F - 1) : 1;
    return FT_OK;
}
