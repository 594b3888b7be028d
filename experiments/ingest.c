#include "experiments/ingest.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/clipstore.h"
#include "common/io/labels.h"
#include "common/io/video.h"
#include "experiments/checksums.h"

enum { MAX_CLIPS = 4096 };

/* Source frame of every tick of a steady clock at `fps`; returns the number of ticks. */
static int64_t resample(const ft_video *v, double fps, int64_t **index)
{
    double last = v->time[v->frames - 1] + 1.0 / v->fps;
    int64_t n = (int64_t)floor(last * fps + 1e-6), k = 0;
    if (n < 1) n = 1;
    if (!(*index = ft_alloc((size_t)n * sizeof **index))) return FT_FAIL(FT_ENOMEM, "%s: no memory", v->path);
    for (int64_t i = 0; i < n; i++) {
        while (k + 1 < v->frames && v->time[k + 1] <= (double)i / fps + 1e-6) k++;
        (*index)[i] = k;
    }
    return n;
}

/* the label list's other columns, and the size of the picture */
static char *facts_of(const ft_label *label, const ft_video *v)
{
    json_t *o = label->facts ? json_loads(label->facts, 0, NULL) : NULL;
    char number[32];
    if (!o) o = json_object();
    snprintf(number, sizeof number, "%d", v->width);
    json_object_set_new(o, "width", json_string(number));
    snprintf(number, sizeof number, "%d", v->height);
    json_object_set_new(o, "height", json_string(number));
    char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(o);
    return text;
}

static int one_video(const ft_ingest_opt *o, const ft_label *label, ft_checksums *sums, ft_clipwriter *w,
                     ft_ingest_result *result)
{
    char *path = ft_format("%s/%s", o->videos, label->video), hex[65];
    ft_video v = {0};
    int64_t *tick = NULL, *index = NULL, ticks;
    uint8_t *rgb = NULL;
    double used;
    int n, F = o->sampling.frames, rc = path ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory");
    if (rc < 0) return rc;
    if (!ft_exists(path)) {
        rc = FT_FAIL(FT_EIO, "%s: not there, though the label list names it in line %d. Check --videos and the list", path,
                     label->line);
        goto done;
    }
    FT_TRY_TO(rc, done, ft_video_open(&v, path));
    ticks = v.frames;
    if (o->fps > 0) {
        ticks = resample(&v, o->fps, &tick);
        FT_TRY_TO(rc, done, (int)(ticks < 0 ? ticks : 0));
    }
    if (!(index = ft_alloc((size_t)MAX_CLIPS * (size_t)F * sizeof *index))) {
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
        goto done;
    }
    FT_TRY_TO(rc, done, ft_sample_clips(&o->sampling, path, ticks, o->fps > 0 ? o->fps : v.fps, index, MAX_CLIPS, &n, &used));
    FT_TRY_TO(rc, done, ft_sha256_file(path, hex));
    if (sums) FT_TRY_TO(rc, done, ft_checksums_video(sums, label->video, hex));
    int64_t all = (int64_t)n * F;
    /* one pass over the file for all clips: the wanted frames in rising order, then each clip picks its own */
    int64_t *unique = ft_alloc((size_t)ticks * sizeof *unique), *place = ft_alloc((size_t)(v.frames + 1) * sizeof *place),
            kinds = 0;
    if (!unique || !place) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    for (int64_t i = 0; rc == FT_OK && i < all; i++) {
        if (tick) index[i] = tick[index[i]];
        place[index[i]] = 1;
    }
    for (int64_t f = 0; rc == FT_OK && f < v.frames; f++)
        if (place[f]) place[f] = kinds, unique[kinds++] = f;
    size_t each = (size_t)o->size * (size_t)o->size * 3;
    uint8_t *clip = rc == FT_OK ? ft_alloc(each * (size_t)F) : NULL;
    if (rc == FT_OK && (!clip || !(rgb = ft_alloc(each * (size_t)kinds))))
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory for %lld frames of %d pixels", path, (long long)kinds, o->size);
    char *facts = facts_of(label, &v);
    int row = rc < 0 ? rc
                     : ft_clipwriter_video(w, &(ft_store_video){.name = label->video,
                                                                .label = label->label,
                                                                .group = label->group,
                                                                .split = label->split,
                                                                .source = path,
                                                                .sha256 = hex,
                                                                .frames = (int32_t)v.frames,
                                                                .fps = v.fps,
                                                                .facts = facts});
    free(facts);
    if (rc == FT_OK && row < 0) rc = row;
    bool three = !strcmp(o->view, "3crop");
    for (int crop = FT_CROP_FIRST; rc == FT_OK && crop <= FT_CROP_LAST; crop++) {
        if (!three && crop != (strcmp(o->view, "left") ? FT_CROP_CENTRE : FT_CROP_FIRST)) continue;
        rc = ft_video_frames(&v, unique, kinds, o->size, (ft_crop)crop, rgb);
        for (int k = 0; rc == FT_OK && k < n; k++) {
            for (int f = 0; f < F; f++) memcpy(clip + (size_t)f * each, rgb + (size_t)place[index[k * F + f]] * each, each);
            rc = ft_clipwriter_clip(w, row, (int)index[(int64_t)k * F], used, clip);
        }
    }
    if (rc == FT_OK) {
        result->videos++;
        result->clips += n * (three ? 3 : 1);
        if (o->sampling.how == FT_SAMPLE_STRIDE && used < o->sampling.stride) {
            result->shortened++;
            ft_log("%s: %lld frames are too few for stride %d: taken at stride %.0f", label->video, (long long)ticks,
                   o->sampling.stride, used);
        }
    }
    ft_free(clip);
    ft_free(unique);
    ft_free(place);
done:
    ft_free(rgb);
    ft_free(index);
    ft_free(tick);
    ft_video_close(&v);
    ft_free(path);
    return rc;
}

int ft_ingest(const ft_ingest_opt *o, const char *path, ft_ingest_result *result)
{
    ft_labels l;
    ft_clipwriter *w = NULL;
    memset(result, 0, sizeof *result);
    if (!ft_is_dir(o->videos)) return FT_FAIL(FT_EIO, "%s: not a folder. Give the folder of the videos with --videos", o->videos);
    FT_TRY(o->labels && *o->labels ? ft_labels_read(&l, o->labels) : ft_labels_from_folders(&l, o->videos));
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
        if (rc < 0 && o->skip && rc != FT_ENOMEM) {
            ft_warn("%s; left out", ft_error_message());
            result->skipped++;
            rc = FT_OK;
        }
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
