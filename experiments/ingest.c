#include "experiments/ingest.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/clipstore.h"
#include "common/io/labels.h"
#include "common/io/video.h"
#include "experiments/checksums.h"

enum { MAX_CLIPS = 4096, MAX_TICKS = 1 << 24 };

/* Source frame of every tick of a steady clock at `fps`; returns the number of ticks. */
static int64_t resample(const ft_video *v, double fps, int64_t **index)
{
    double last = v->time[v->frames - 1] + 1.0 / v->fps, ticks = floor(last * fps + 1e-6);
    if (!(ticks <= MAX_TICKS))
        return FT_FAIL(FT_EDATA, "%s: its times reach to %g s, %g frames at %g a second. Copy the file again, or leave out --fps",
                       v->path, last, ticks, fps);
    int64_t n = ticks < 1 ? 1 : (int64_t)ticks, k = 0;
    if (!(*index = ft_alloc_n(n, sizeof **index))) return FT_FAIL(FT_ENOMEM, "%s: no memory", v->path);
    for (int64_t i = 0; i < n; i++) {
        while (k + 1 < v->frames && v->time[k + 1] <= (double)i / fps + 1e-6) k++;
        (*index)[i] = k;
    }
    return n;
}

/* the label list's other columns, and the size of the picture */
static int facts_of(const ft_label *label, const ft_video *v, char **text)
{
    json_t *o = label->facts ? json_loads(label->facts, 0, NULL) : json_object();
    char number[32];
    snprintf(number, sizeof number, "%d", v->width);
    json_object_set_new(o, "width", json_string(number));
    snprintf(number, sizeof number, "%d", v->height);
    json_object_set_new(o, "height", json_string(number));
    int rc = ft_json_text(o, JSON_COMPACT | JSON_SORT_KEYS, text);
    json_decref(o);
    return rc < 0 ? FT_FAIL(rc, "%s: %s", v->path, ft_error_message()) : FT_OK;
}

/* What one video needs on its way into the store */
typedef struct {
    const ft_ingest_opt *o;
    ft_video video;
    const char *path;
    char *facts, hex[65];
    int64_t ticks, *tick, *index;      /* the steady clock's frames; n clips of F frames each */
    int64_t *wanted, *place, n_wanted; /* frames in rising order; where each stands among them */
    uint8_t *rgb, *clip;
    int n, row; /* row -1: nothing of it is in the store yet */
    double used;
} work;

/* Which frames the clips are of: x->index */
static int choose(work *x)
{
    const ft_ingest_opt *o = x->o;
    int F = o->sampling.frames;
    x->ticks = x->video.frames;
    if (x->ticks > INT32_MAX) return FT_FAIL(FT_EDATA, "%s: over 2147483647 frames", x->path);
    if (o->fps > 0) {
        x->ticks = resample(&x->video, o->fps, &x->tick);
        FT_TRY((int)(x->ticks < 0 ? x->ticks : 0));
    }
    int64_t room = o->sampling.clips > 0 ? o->sampling.clips : x->ticks, all;
    if (room > MAX_CLIPS) room = MAX_CLIPS;
    if (!ft_mul_count(room, F, &all) || !(x->index = ft_alloc_n(all, sizeof *x->index)))
        return FT_FAIL(FT_ENOMEM, "%s: no memory", x->path);
    return ft_sample_clips(&o->sampling, x->path, x->ticks, o->fps > 0 ? o->fps : x->video.fps, x->index, (int)room, &x->n,
                           &x->used);
}

/* One pass over the file for all clips: the wanted frames in rising order, then each clip picks its own. */
static int list_wanted(work *x)
{
    int64_t all = (int64_t)x->n * x->o->sampling.frames, frames = x->video.frames, size = x->o->size, each = size * size * 3,
            bytes;
    x->place = ft_alloc_n(frames + 1, sizeof *x->place);
    x->wanted = ft_alloc_n(all < frames ? all : frames, sizeof *x->wanted);
    if (!x->wanted || !x->place) return FT_FAIL(FT_ENOMEM, "%s: no memory", x->path);
    for (int64_t i = 0; i < all; i++) {
        if (x->tick) x->index[i] = x->tick[x->index[i]];
        x->place[x->index[i]] = 1;
    }
    for (int64_t f = 0; f < frames; f++)
        if (x->place[f]) x->place[f] = x->n_wanted, x->wanted[x->n_wanted++] = f;
    bool fits = ft_mul_count(x->n_wanted, each, &bytes) && !((double)bytes / (1 << 20) > ft_memory_available());
    if (!fits || !(x->rgb = ft_alloc((size_t)bytes)) || !(x->clip = ft_alloc_n(x->o->sampling.frames, (size_t)each)))
        return FT_FAIL(FT_ENOMEM, "%s: no memory for %lld frames of %d pixels. Use fewer --clips-per-video or a smaller --size",
                       x->path, (long long)x->n_wanted, x->o->size);
    return FT_OK;
}

/* Its row when the first frames are there, then its clips: a video that cannot be decoded leaves nothing behind. */
static int store(work *x, const ft_label *label, ft_clipwriter *w)
{
    const ft_ingest_opt *o = x->o;
    int F = o->sampling.frames;
    size_t each = (size_t)o->size * (size_t)o->size * 3;
    bool three = !strcmp(o->view, "3crop");
    for (int crop = FT_CROP_FIRST; crop <= FT_CROP_LAST; crop++) {
        if (!three && crop != (strcmp(o->view, "left") ? FT_CROP_CENTRE : FT_CROP_FIRST)) continue;
        FT_TRY(ft_video_frames(&x->video, x->wanted, x->n_wanted, o->size, (ft_crop)crop, x->rgb));
        if (x->row < 0)
            FT_TRY(x->row = ft_clipwriter_video(w, &(ft_store_video){.name = label->video,
                                                                     .label = label->label,
                                                                     .group = label->group,
                                                                     .split = label->split,
                                                                     .source = x->path,
                                                                     .sha256 = x->hex,
                                                                     .frames = (int32_t)x->video.frames,
                                                                     .fps = x->video.fps,
                                                                     .facts = x->facts}));
        for (int64_t k = 0; k < x->n; k++) {
            const int64_t *at = x->index + k * F;
            for (int f = 0; f < F; f++) memcpy(x->clip + (size_t)f * each, x->rgb + (size_t)x->place[at[f]] * each, each);
            FT_TRY(ft_clipwriter_clip(w, x->row, (int)at[0], x->used, x->clip));
        }
    }
    return FT_OK;
}

static int take(work *x, const ft_label *label, ft_checksums *sums, ft_clipwriter *w)
{
    if (!label->file)
        return FT_FAIL(FT_EIO, "%s:%d: there is no video %s in %s", label->list, label->line, label->video, x->o->videos);
    x->path = label->file;
    FT_TRY(ft_video_open(&x->video, x->path));
    FT_TRY(choose(x));
    FT_TRY(ft_sha256_file(x->path, x->hex));
    if (sums) FT_TRY(ft_checksums_video(sums, label->video, x->hex));
    FT_TRY(list_wanted(x));
    FT_TRY(facts_of(label, &x->video, &x->facts));
    return store(x, label, w);
}

static int one_video(const ft_ingest_opt *o, const ft_label *label, ft_checksums *sums, ft_clipwriter *w,
                     ft_ingest_result *result)
{
    work x = {.o = o, .row = -1};
    int rc = take(&x, label, sums, w);
    if (rc < 0 && o->skip && rc != FT_ENOMEM && x.row < 0) {
        ft_warn("%s; left out", ft_error_message());
        result->skipped++;
        rc = FT_OK;
    } else if (rc == FT_OK) {
        result->videos++;
        result->clips += x.n * (strcmp(o->view, "3crop") ? 1 : 3);
        if (o->sampling.how == FT_SAMPLE_STRIDE && x.used < o->sampling.stride) {
            result->shortened++;
            ft_log("%s: %lld frames are too few for stride %d: taken at stride %.0f", label->video, (long long)x.ticks,
                   o->sampling.stride, x.used);
        }
    }
    ft_free(x.facts);
    ft_free(x.clip);
    ft_free(x.rgb);
    ft_free(x.wanted);
    ft_free(x.place);
    ft_free(x.index);
    ft_free(x.tick);
    ft_video_close(&x.video);
    return rc;
}

int ft_ingest(const ft_ingest_opt *o, const char *path, ft_ingest_result *result)
{
    ft_labels l;
    ft_clipwriter *w = NULL;
    memset(result, 0, sizeof *result);
    FT_TRY(ft_list_open(&l, &o->list, o->videos, o->labels, o->outside, o->skip));
    ft_checksums sums, *with = o->checksums && *o->checksums ? &sums : NULL;
    int rc = with ? ft_checksums_open(with, o->checksums) : FT_OK;
    if (rc < 0) {
        ft_labels_free(&l);
        return rc;
    }
    rc = ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){o->sampling.frames, o->size, o->sampling.stride, o->gzip, o->config});
    ft_progress bar;
    ft_progress_start(&bar, "ingest", l.n);
    for (int i = 0; rc == FT_OK && i < l.n; i++) {
        rc = one_video(o, &l.row[i], with, w, result);
        ft_progress_step(&bar, i + 1);
    }
    ft_progress_end(&bar, l.n);
    if (rc == FT_OK && result->videos == 0) rc = FT_FAIL(FT_EDATA, "%s: none of the %d videos could be taken", o->videos, l.n);
    ft_labels_free(&l);
    if (rc == FT_OK) rc = ft_clipwriter_finish(w);
    else ft_clipwriter_abort(w);
    if (with) {
        int written = ft_checksums_close(with, rc == FT_OK && result->skipped == 0);
        if (rc == FT_OK) rc = written;
    }
    return rc;
}
