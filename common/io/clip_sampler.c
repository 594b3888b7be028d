#include "common/io/clip_sampler.h"

#include <math.h>
#include <string.h>

#include "common/base/status.h"

static const char *const names[] = {"stride", "released", "uniform", "dense"};

static int sampler(const char *name)
{
    for (int i = 0; i < 4; i++)
        if (!strcmp(name, names[i])) return i;
    return -1;
}

bool ft_clip_sampler_known(const char *name) { return sampler(name) >= 0; }
ft_clip_sampler ft_clip_sampler_of(const char *name)
{
    return ft_clip_sampler_known(name) ? (ft_clip_sampler)sampler(name) : FT_SAMPLE_STRIDE;
}

const char *ft_clip_sampler_name(ft_clip_sampler how) { return names[how]; }

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

enum { DENSE = 16 }; /* frames that are looked at */

/* The largest whole stride that fits */
static int stride_of(const ft_sampling *s, int64_t total)
{
    int64_t fits = s->frames > 1 ? (total - 1) / (s->frames - 1) : s->stride;
    return s->how == FT_SAMPLE_STRIDE && fits < s->stride ? (int)(fits < 1 ? 1 : fits) : s->stride;
}

/* from the first frame of a clip to its last one */
static int64_t span_of(const ft_sampling *s, int64_t total, double fps)
{
    if (s->how == FT_SAMPLE_STRIDE) return (int64_t)(s->frames - 1) * stride_of(s, total) + 1;
    if (s->how == FT_SAMPLE_RELEASED) return (int64_t)clamp((double)s->stride * s->frames / 30 * fps, 1, INT32_MAX);
    return s->how == FT_SAMPLE_DENSE && total > DENSE ? DENSE : total;
}

/* Frames that a clip stands for, each of its own for those up to the next one, and from one clip of all to the next */
static void steps_of(const ft_sampling *s, int64_t total, double fps, int64_t *block, int64_t *step)
{
    *block = s->how == FT_SAMPLE_STRIDE ? (int64_t)s->frames * stride_of(s, total) : span_of(s, total, fps);
    *step = (int64_t)clamp(round((double)*block * (1 - s->overlap)), 1, (double)*block);
}

int ft_sample_count(const ft_sampling *s, int64_t total, double fps)
{
    int64_t block, step;
    if (s->how == FT_SAMPLE_UNIFORM) return 1;
    if (s->clips > 0) return s->clips;
    steps_of(s, total, fps, &block, &step);
    return total > block ? (int)(1 + (total - block + step - 1) / step) : 1;
}

int ft_sample_clips(const ft_sampling *s, const char *name, int64_t total, double fps, int64_t *index, int room, int *clips,
                    double *used)
{
    int F = s->frames, stride = stride_of(s, total), n = ft_sample_count(s, total, fps);
    int64_t span = span_of(s, total, fps), block, step;
    if (s->how == FT_SAMPLE_DENSE && F > DENSE)
        return FT_FAIL(FT_ECONFIG, "%s: the sampler dense spreads a clip over %d frames, %d are asked of it. Use --frames %d",
                       name, DENSE, F, DENSE);
    if (s->how != FT_SAMPLE_RELEASED && total < F)
        return FT_FAIL(FT_EDATA, "%s: %lld frames, %d are needed. Use --frames %lld, or leave it out with --on-error skip", name,
                       (long long)total, F, (long long)total);
    if (n > room)
        return FT_FAIL(FT_EDATA, "%s: %lld frames make %d clips, at most %d are taken here. Say how many with --clips-per-video",
                       name, (long long)total, n, room);
    steps_of(s, total, fps, &block, &step);
    for (int k = 0; k < n; k++) {
        int64_t *at = index + (int64_t)k * F, last = total > span ? total - span : 0,
                start = n == 1            ? last / 2
                        : s->clips > 0    ? last * k / (n - 1)
                        : k * step < last ? k * step
                                          : last;
        if (s->how == FT_SAMPLE_RELEASED) released(s, total, fps, k, n, at);
        for (int i = 0; i < F; i++) {
            if (s->how == FT_SAMPLE_STRIDE) at[i] = start + (int64_t)i * stride;
            if (s->how == FT_SAMPLE_UNIFORM) at[i] = (int64_t)((i + 0.5) * (double)total / F);
            if (s->how == FT_SAMPLE_DENSE) at[i] = start + (int64_t)((i + 0.5) * (double)span / F);
        }
    }
    *clips = n;
    *used = F > 1 ? (double)(index[F - 1] - index[0]) / (F - 1) : 1;
    return FT_OK;
}
