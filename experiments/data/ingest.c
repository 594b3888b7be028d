#include "experiments/data/ingest.h"

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
#include "common/io/image.h"
#include "common/io/labels.h"
#include "common/io/video.h"
#include "experiments/data/checksums.h"

enum { HELD = 256 << 20, SHOWN_MOST = 400 };

/* the label list's other columns, and the size of the picture; fresh */
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

/* A row of the list: all of a video, or a window of it */
typedef struct {
    const ft_label *label;
    int64_t first, ticks; /* its first clip; frames that it has */
    int n, row;           /* clips; row -1: nothing of it is in the store yet */
    double used;
    bool repeats; /* clips hold a frame twice */
} part;

/* What one video needs on its way into the store: its windows share one pass over the file. */
typedef struct {
    const ft_ingest_opt *o;
    ft_video video;
    const char *path;
    char hex[65];
    int64_t *tick, *index;             /* the steady clock's frames; n clips of F frames each */
    int64_t *wanted, *place, n_wanted; /* frames in rising order; where each stands among them */
    part *part;
    int parts, at; /* at: that of the next clip */
    ft_clipwriter *writer;
    int64_t room, next; /* decoded frames that are held, the k-th at k % room; the clip that is written next */
    uint8_t *rgb, *clip;
    int64_t n;
} work;

static int keep_time(work *x, int64_t *ticks)
{
    const ft_ingest_opt *o = x->o;
    *ticks = x->video.frames;
    if (*ticks > INT32_MAX) return FT_FAIL(FT_EDATA, "%s: over 2147483647 frames", x->path);
    if (o->fps > 0 && x->video.images) x->video.fps = o->fps; /* they have no rate but the one that is said */
    else if (o->fps > 0) {
        *ticks = ft_video_ticks(&x->video, o->fps, &x->tick);
        FT_TRY((int)(*ticks < 0 ? *ticks : 0));
    }
    return FT_OK;
}

/* Which frames the clips of a part are of, behind those of the parts before it: x->index */
static int choose(work *x, part *p, int64_t ticks)
{
    const ft_ingest_opt *o = x->o;
    const ft_label *label = p->label;
    int64_t per_clip = o->sampling.frames, all;
    p->ticks = ticks;
    if (label->frames) {
        if (x->tick || label->from + label->frames > ticks)
            return FT_FAIL(FT_EDATA, "%s: frames %lld to %lld are asked of %lld%s", x->path, (long long)label->from,
                           (long long)(label->from + label->frames - 1), (long long)x->video.frames,
                           x->tick ? ", and at another rate they are others. Leave out --fps (data.fps)" : "");
        p->ticks = label->frames;
    }
    double fps = o->fps > 0 ? o->fps : x->video.fps;
    int room = ft_sample_count(&o->sampling, p->ticks, fps);
    p->first = x->n;
    if (!ft_mul_count(x->n + room, per_clip, &all)) return FT_FAIL(FT_ENOMEM, "%s: no memory", x->path);
    for (int64_t k = 0; k < room * per_clip; k++) FT_TRY(ft_grow(&x->index, (size_t)(x->n * per_clip + k), sizeof *x->index));
    int64_t *index = x->index + x->n * per_clip;
    FT_TRY(ft_sample_clips(&o->sampling, x->path, p->ticks, fps, index, room, &p->n, &p->used));
    for (int64_t i = 1; i < per_clip; i++) p->repeats |= index[i] == index[i - 1];
    for (int64_t i = 0; i < p->n * per_clip; i++) index[i] += label->from;
    x->n += p->n;
    return FT_OK;
}

/* One pass over the file for all clips: the wanted frames in rising order, then each clip picks its own. */
static int list_wanted(work *x)
{
    int64_t all = x->n * x->o->sampling.frames, frames = x->video.frames, size = x->o->size, each = size * size * 3, bytes;
    x->place = ft_alloc_n(frames + 1, sizeof *x->place);
    x->wanted = ft_alloc_n(all < frames ? all : frames, sizeof *x->wanted);
    if (!x->wanted || !x->place) return FT_FAIL(FT_ENOMEM, "%s: no memory", x->path);
    for (int64_t i = 0; i < all; i++) {
        if (x->tick) x->index[i] = x->tick[x->index[i]];
        x->place[x->index[i]] = 1;
    }
    for (int64_t f = 0; f < frames; f++)
        if (x->place[f]) x->place[f] = x->n_wanted, x->wanted[x->n_wanted++] = f;
    for (int64_t k = 0, per_clip = x->o->sampling.frames; k < x->n; k++) { /* from the first frame of a clip to its last one */
        int64_t needs = x->place[x->index[(k + 1) * per_clip - 1]] - x->place[x->index[k * per_clip]] + 1;
        if (needs > x->room) x->room = needs;
    }
    if (x->n_wanted <= HELD / each) x->room = x->n_wanted;
    bool fits = ft_mul_count(x->room, each, &bytes) && !((double)bytes / (1 << 20) > ft_memory_available());
    if (!fits || !(x->rgb = ft_alloc((size_t)bytes)) || !(x->clip = ft_alloc_n(x->o->sampling.frames, (size_t)each)))
        return FT_FAIL(FT_ENOMEM, "%s: no memory for %lld frames of %d pixels. Use a smaller --stride, --frames or --size",
                       x->path, (long long)x->room, x->o->size);
    return FT_OK;
}

static int begin_row(work *x, const ft_label *label)
{
    char *facts = NULL;
    int rc = facts_of(label, &x->video, &facts);
    if (rc == FT_OK)
        rc =
            ft_clipwriter_video(x->writer, &(ft_store_video){.name = label->video,
                                                             .label = label->label,
                                                             .group = label->group,
                                                             .split = label->split,
                                                             .source = x->path,
                                                             .sha256 = x->hex,
                                                             .frames = (int32_t)(label->frames ? label->frames : x->video.frames),
                                                             .fps = x->video.fps,
                                                             .facts = facts});
    ft_free(facts);
    return rc;
}

/* The clips whose last frame is the k-th or one before it */
static int write_clips(work *x, int64_t k)
{
    int per_clip = x->o->sampling.frames;
    size_t each = (size_t)x->o->size * (size_t)x->o->size * 3;
    for (; x->next < x->n && x->place[x->index[(x->next + 1) * per_clip - 1]] <= k; x->next++) {
        const int64_t *at = x->index + x->next * per_clip;
        for (int f = 0; f < per_clip; f++)
            memcpy(x->clip + (size_t)f * each, x->rgb + (size_t)(x->place[at[f]] % x->room) * each, each);
        while (x->next >= x->part[x->at].first + x->part[x->at].n) x->at++;
        part *p = &x->part[x->at];
        if (p->row < 0) FT_TRY(p->row = begin_row(x, p->label));
        double used =
            x->tick && per_clip > 1 ? (double)(at[per_clip - 1] - at[0]) / (per_clip - 1) : p->used; /* in frames of the file */
        FT_TRY(ft_clipwriter_clip(x->writer, p->row, (int)(at[0] - p->label->from), used, x->clip));
    }
    return FT_OK;
}

static int take_frame(void *of, int64_t k, const uint8_t *rgb)
{
    work *x = of;
    size_t each = (size_t)x->o->size * (size_t)x->o->size * 3;
    memcpy(x->rgb + (size_t)(k % x->room) * each, rgb, each);
    return x->room < x->n_wanted ? write_clips(x, k) : FT_OK;
}

/* Its row and its clips. What can be held is written when all of it is there: a video that cannot be decoded leaves nothing
 * behind; of a longer one each clip goes as soon as it is whole. */
static int store(work *x)
{
    const ft_ingest_opt *o = x->o;
    for (int crop = FT_CROP_FIRST; crop <= FT_CROP_LAST; crop++) {
        if (!ft_view_takes(o->view, (ft_crop)crop)) continue;
        x->next = 0, x->at = 0;
        FT_TRY(ft_video_each(&x->video, x->wanted, x->n_wanted, o->size, (ft_crop)crop, take_frame, x));
        FT_TRY(write_clips(x, x->n_wanted));
    }
    return FT_OK;
}

/* ---- pictures of what --crop kept ---- */

typedef struct {
    uint8_t *rgb; /* (n, FT_SHOWN, FT_SHOWN, 3) */
    int n;
} shown_crops;

static int crop_video(work *x, shown_crops *shown)
{
    enum { EACH = FT_SHOWN * FT_SHOWN * 3 };
    uint8_t *to = NULL;
    if (!x->o->crop || !strcmp(x->o->crop, "none")) return FT_OK;
    if (shown->n < SHOWN_MOST) {
        FT_TRY(ft_grow(&shown->rgb, (size_t)shown->n, EACH));
        to = shown->rgb + (size_t)shown->n * EACH;
    }
    FT_TRY(ft_video_crop(&x->video, x->o->crop, to));
    shown->n += to != NULL;
    return FT_OK;
}

/* CLIPS.crop.png beside CLIPS.h5: ten videos a row */
static int write_crops(const shown_crops *shown, const char *store)
{
    enum { EACH = FT_SHOWN * FT_SHOWN * 3, MOST_ACROSS = 10 };
    const char *dot = strrchr(ft_base_name(store), '.');
    char *path = ft_format("%.*s.crop.png", (int)(dot ? dot - store : (ptrdiff_t)strlen(store)), store);
    int rows = (shown->n + MOST_ACROSS - 1) / MOST_ACROSS, across = shown->n < MOST_ACROSS ? shown->n : MOST_ACROSS, w, h;
    const uint8_t *row[SHOWN_MOST / MOST_ACROSS];
    uint8_t *all = ft_alloc_n((int64_t)rows * across, EACH), *sheet = NULL, *png = NULL;
    size_t size;
    int rc = path && all ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for the picture of what is kept");
    if (rc == FT_OK) {
        memset(all, 255, (size_t)rows * (size_t)across * EACH);
        memcpy(all, shown->rgb, (size_t)shown->n * EACH);
        for (int i = 0; i < rows; i++) row[i] = all + (size_t)i * (size_t)across * EACH;
        rc = ft_contact_sheet(row, rows, across, FT_SHOWN, across, 4, &sheet, &w, &h);
    }
    if (rc == FT_OK) rc = ft_png_encode(sheet, w, h, &png, &size);
    if (rc == FT_OK) rc = ft_write_file(path, png, size);
    if (rc == FT_OK) ft_log("%s: what is kept of %d videos", path, shown->n);
    ft_free(png), ft_free(sheet), ft_free(all), ft_free(path);
    return rc;
}

typedef struct {
    ft_checksums *sums;
    const char *video;
} named_sums;

/* of an image, as sha256sum calls it in the folder of the videos */
static int image_sum(void *of, const char *name, const char *hex)
{
    const named_sums *n = of;
    char *path = ft_format("%s/%s", n->video, name);
    int rc = path ? ft_checksums_video(n->sums, path, hex) : FT_FAIL(FT_ENOMEM, "no memory");
    ft_free(path);
    return rc;
}

/* Windows that do not lie in the video are left out where bad videos are; the others go on. */
static int choose_all(work *x, ft_ingest_result *result)
{
    int64_t ticks;
    int kept = 0;
    FT_TRY(keep_time(x, &ticks));
    for (int i = 0; i < x->parts; i++) {
        int rc = choose(x, &x->part[i], ticks);
        if (rc < 0 && (!x->o->skip || rc == FT_ENOMEM || x->parts == 1)) return rc;
        if (rc < 0) ft_warn("%s; left out", ft_error_message()), result->skipped++;
        else x->part[kept++] = x->part[i];
    }
    x->parts = kept;
    return kept ? FT_OK : FT_FAIL(FT_EDATA, "%s: none of its windows could be taken", x->path);
}

static int take(work *x, const ft_label *label, ft_checksums *sums, shown_crops *shown, ft_ingest_result *result)
{
    if (!label->file)
        return FT_FAIL(FT_EIO, "%s:%d: there is no video %s in %s", label->list, label->line, label->video, x->o->videos);
    x->path = label->file;
    FT_TRY(ft_video_open(&x->video, x->path));
    FT_TRY(choose_all(x, result));
    FT_TRY(crop_video(x, shown));
    size_t within = strlen(x->o->videos); /* by its path in the folder, as sha256sum calls it there */
    bool inside = !strncmp(x->path, x->o->videos, within) && x->path[within] == '/', folder = ft_is_dir(x->path);
    const char *name = inside ? x->path + within + 1 : label->video;
    FT_TRY(ft_video_sha256(&x->video, x->hex, sums && folder ? image_sum : NULL, &(named_sums){sums, name}));
    if (sums && !folder) FT_TRY(ft_checksums_video(sums, name, x->hex));
    FT_TRY(list_wanted(x));
    return store(x);
}

static void count(const part *p, const ft_ingest_opt *o, ft_ingest_result *result)
{
    enum { SAID = 5 }; /* of windows, which there are many of, all alike */
    bool say = !p->label->frames || result->shortened + result->repeating < SAID;
    result->videos++;
    result->clips += p->n * ft_view_crops(o->view);
    if (o->sampling.how == FT_SAMPLE_STRIDE && p->used < o->sampling.stride) {
        result->shortened++;
        if (say)
            ft_log("%s: %lld frames are too few for stride %d: taken at stride %.0f", p->label->video, (long long)p->ticks,
                   o->sampling.stride, p->used);
    }
    result->repeating += p->repeats;
    if (p->repeats && say)
        ft_log("%s: %lld frames are too few for %d at this stride and rate: frames are repeated", p->label->video,
               (long long)p->ticks, o->sampling.frames);
}

/* label: n rows of one file */
static int one_video(const ft_ingest_opt *o, const ft_label *label, int n, ft_checksums *sums, ft_clipwriter *w,
                     shown_crops *shown, ft_ingest_result *result)
{
    work x = {.o = o, .parts = n, .writer = w, .part = ft_alloc_n(n, sizeof *x.part)};
    if (!x.part) return FT_FAIL(FT_ENOMEM, "no memory for %d windows", n);
    for (int i = 0; i < n; i++) x.part[i] = (part){.label = &label[i], .row = -1};
    int rc = take(&x, label, sums, shown, result);
    if (rc < 0 && o->skip && rc != FT_ENOMEM && x.part[0].row < 0) {
        ft_warn("%s; left out", ft_error_message());
        result->skipped += x.parts;
        rc = FT_OK;
    } else if (rc == FT_OK) {
        for (int i = 0; i < x.parts; i++) count(&x.part[i], o, result);
        result->burnt_in += x.video.dicom && x.video.burnt_in == 1;
        result->may_be += x.video.dicom && x.video.burnt_in < 0;
    }
    ft_free(x.part);
    ft_free(x.clip);
    ft_free(x.rgb);
    ft_free(x.wanted);
    ft_free(x.place);
    ft_free(x.index);
    ft_free(x.tick);
    ft_video_close(&x.video);
    return rc;
}

/* Names and dates are often written into the pictures themselves; forty reads no writing. */
static void say_burnt_in(const ft_ingest_opt *o, const ft_ingest_result *r)
{
    bool cropped = o->crop && strcmp(o->crop, "none");
    const char *then = cropped ? "Look at the picture of what was kept"
                               : "Look at them, and keep the picture alone: --crop dicom-region, auto or x,y,w,h";
    if (r->burnt_in)
        ft_warn("%s: %d of %d videos say that text is burnt into the picture. It may name the patient. %s", o->videos,
                r->burnt_in, r->videos, then);
    if (r->may_be)
        ft_log("%s: %d of %d videos do not say whether text is burnt into the picture. It may name the patient. %s", o->videos,
               r->may_be, r->videos, then);
}

/* Rows from i on that are windows of one file, side by side. With three crops each stands alone: a video's clips are of one
 * piece in the store. */
static int of_one_file(const ft_labels *l, int i, const ft_ingest_opt *o)
{
    int n = 1;
    const ft_label *e = &l->row[i];
    while (e->frames && e->file && i + n < l->n && ft_view_crops(o->view) == 1 && l->row[i + n].frames && l->row[i + n].file &&
           !strcmp(l->row[i + n].file, e->file) && l->row[i + n].from >= l->row[i + n - 1].from + l->row[i + n - 1].frames)
        n++;
    return n;
}

/* For those who make clips like these: predict. */
static int settings_of(const ft_ingest_opt *o, char **text)
{
    char clips[32] = "all";
    if (o->sampling.clips) snprintf(clips, sizeof clips, "%d", o->sampling.clips);
    json_t *all =
        json_pack("{s:i,s:i,s:i,s:f,s:s,s:s,s:s,s:s,s:f}", "frames", o->sampling.frames, "stride", o->sampling.stride, "size",
                  o->size, "fps", o->fps, "clips_per_video", clips, "sampler", ft_clip_sampler_name(o->sampling.how), "view",
                  o->view, "crop", o->crop && *o->crop ? o->crop : "none", "overlap", o->sampling.overlap);
    int rc = ft_json_text(all, JSON_COMPACT, text);
    json_decref(all);
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
    char *settings = NULL;
    rc = settings_of(o, &settings);
    if (rc == FT_OK)
        rc = ft_clipwriter_open(&w, path,
                                &(ft_clipwriter_opt){o->sampling.frames, o->size, o->sampling.stride, o->gzip, settings});
    ft_free(settings);
    shown_crops shown = {0};
    ft_progress bar;
    ft_progress_start(&bar, "ingest", l.n);
    for (int i = 0, n; rc == FT_OK && i < l.n; i += n) {
        n = of_one_file(&l, i, o);
        bool noted = i > 0 && l.row[i].frames && l.row[i].file && l.row[i - 1].file && !strcmp(l.row[i].file, l.row[i - 1].file);
        rc = one_video(o, &l.row[i], n, noted ? NULL : with, w, &shown, result);
        ft_progress_step(&bar, i + n);
    }
    ft_progress_end(&bar, l.n);
    if (rc == FT_OK && result->videos == 0) rc = FT_FAIL(FT_EDATA, "%s: none of the %d videos could be taken", o->videos, l.n);
    if (rc == FT_OK) say_burnt_in(o, result);
    ft_labels_free(&l);
    if (rc == FT_OK && shown.n) rc = write_crops(&shown, path);
    ft_free(shown.rgb);
    if (rc == FT_OK) rc = ft_clipwriter_finish(w);
    else ft_clipwriter_abort(w);
    if (with) {
        int written = ft_checksums_close(with, rc == FT_OK && result->skipped == 0);
        if (rc == FT_OK) rc = written;
    }
    return rc;
}
