#include "common/io/video.h"

#include <libavutil/display.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/picture.h"
#include "common/io/video_decoder.h"

enum { MAX_TICKS = 1 << 24 };

/* A display matrix takes (x, y) of the stored picture to (m0 x + m3 y, m1 x + m4 y): with a negative determinant it mirrors. */
static void orientation_of(ft_video *v, const AVStream *s)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102) /* FFmpeg 6.1 moved it */
    const AVPacketSideData *side =
        av_packet_side_data_get(s->codecpar->coded_side_data, s->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    const int32_t *stored = side ? (const int32_t *)(const void *)side->data : NULL;
#else
    const int32_t *stored = (const int32_t *)(const void *)av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, NULL);
#endif
    int32_t m[9];
    if (!stored) return;
    memcpy(m, stored, sizeof m);
    v->mirrored = (double)m[0] * m[4] < (double)m[1] * m[3];
    if (v->mirrored) m[0] = -m[0], m[1] = -m[1];
    double angle = av_display_rotation_get(m); /* counter-clockwise */
    v->rotation = isnan(angle) ? 0 : (((int)lround(-angle / 90.0) % 4 + 4) % 4) * 90;
}

/* Seconds that the container says this stream lasts, where it says so on its own account; else 0 */
static double promised_seconds(const AVFormatContext *f, const AVStream *s)
{
    int hours, minutes;
    double seconds;
    const AVDictionaryEntry *e = NULL;
    while ((e = av_dict_get(s->metadata, "DURATION", e, AV_DICT_IGNORE_SUFFIX))) /* Matroska's statistics, with a language */
        if (sscanf(e->value, "%d:%d:%lf", &hours, &minutes, &seconds) == 3) return hours * 3600.0 + minutes * 60.0 + seconds;
    bool alone = f->nb_streams == 1 && f->duration_estimation_method == AVFMT_DURATION_FROM_STREAM;
    return alone && f->duration > 0 ? (double)f->duration / AV_TIME_BASE : 0;
}

/* An AVI file is a row of RIFF chunks, each with its length; where it was cut off, or its recorder died, they do not fit. */
static bool is_whole_avi(const ft_decoder *d)
{
    uint8_t head[8];
    int64_t at = 0;
    if (strcmp(d->format->iformat->name, "avi")) return false;
    while (at + 8 <= d->size && pread(d->fd, head, 8, at) == 8 && !memcmp(head, "RIFF", 4)) {
        int64_t bytes = head[4] | head[5] << 8 | head[6] << 16 | (int64_t)head[7] << 24;
        at += 8 + bytes + (bytes & 1);
        if (bytes == 0 || at > d->size + 1) return false;
    }
    return at > 0;
}

/* Frames that the index lists to be shown: not those that an edit list hides, nor the empty ones that stand for a dropped one. */
static int64_t listed(const AVStream *s)
{
    int64_t shown = 0;
    for (int i = 0, n = avformat_index_get_entries_count(s); i < n; i++) {
        const AVIndexEntry *e = avformat_index_get_entry((AVStream *)(uintptr_t)s, i); /* which only reads it */
        shown += !(e->flags & AVINDEX_DISCARD_FRAME) && e->size > 0;
    }
    return shown;
}

/* Containers that count their frames, or tell how long they last, tell when some are gone; the last one may stand as long as the
 * longest before it. `end`: when the last one begins. */
static int check_complete(const ft_video *v, const char *path, const ft_decoder *d, double end, double longest)
{
    const AVStream *s = d->format->streams[d->stream];
    int64_t promised = s->nb_frames, shown = listed(s);
    if (v->frames == 0)
        return FT_FAIL(FT_EDATA, "%s: no frame can be decoded. Check the file, or leave it out with --on-error skip", path);
    bool indexed = !strncmp(d->format->iformat->name, "mov", 3) || is_whole_avi(d); /* the index is older than what is left */
    if (indexed && shown > 0 && shown < promised) promised = shown;
    if (promised > 0 && v->frames < promised - 2 - promised / 50)
        return FT_FAIL(
            FT_EDATA,
            "%s: cut off: %lld of %lld frames can be decoded. Copy the file again, or leave it out with --on-error skip", path,
            (long long)v->frames, (long long)promised);
    double lasts = promised > 0 ? 0 : promised_seconds(d->format, s), frame = fmax(longest, 1 / v->fps);
    if (lasts > 0 && end + frame < lasts - 2 * frame - lasts / 50)
        return FT_FAIL(FT_EDATA,
                       "%s: cut off: its frames end at %.3g of %.3g s. Copy the file again, or leave it out with --on-error skip",
                       path, end + frame, lasts);
    if (d->damaged)
        return FT_FAIL(FT_EDATA, "%s: damaged near frame %lld. Copy the file again, or leave it out with --on-error skip", path,
                       (long long)v->frames);
    return FT_OK;
}

/* The decoder's times, from the first on; a frame without one comes 1/fps after the one before it. */
/* False: not every frame had a time, behind the one before it. */
static bool settle_times(ft_video *v)
{
    bool all = true;
    double first = v->frames ? v->time[0] : 0;
    for (int64_t i = 0; i < v->frames; i++) {
        v->time[i] -= first;
        if (!(v->time[i] >= 0)) v->time[i] = i ? v->time[i - 1] + 1.0 / v->fps : 0.0, all = false;
    }
    return all;
}

static void take_dicom(ft_video *v, const char *path, const ft_dicom_head *h)
{
    v->dicom = true;
    v->region = (ft_rect){h->region[0], h->region[1], h->region[2], h->region[3]};
    v->burnt_in = h->burnt_in;
    if (h->stream) return; /* the rest is FFmpeg's to say */
    v->plain = true;
    v->fps = h->fps > 0 ? h->fps : FT_STILLS_FPS;
    v->images = h->fps > 0 ? 0 : h->frames;
    if (v->images > 1) ft_log("%s: says no frame time: taken as %d frames a second", path, FT_STILLS_FPS);
    if (h->whole_range) ft_log("%s: grey of more than 8 bits, and no window is said: its whole range is shown", path);
}

/* `promised`: more frames than there are, that the header of a whole file counts; else 0 */
static int look_through(ft_video *v, const char *path, int64_t *promised)
{
    ft_decoder d;
    memset(v, 0, sizeof *v);
    *promised = 0;
    FT_TRY(ft_decoder_open(&d, path));
    double end = -INFINITY, longest = 0;
    int rc = FT_OK, more;
    while (rc == FT_OK && (more = ft_decoder_next(&d, path)) != 0) {
        FT_TRY_TO(rc, done, more);
        if (!d.stills.n && !d.dicom.n)
            FT_TRY_TO(rc, done, ft_may_ask(path, "frames", ((uint64_t)v->frames + 1) * sizeof *v->time, (uint64_t)d.size, 1));
        FT_TRY_TO(rc, done, ft_grow(&v->time, (size_t)v->frames, sizeof *v->time));
        double time = ft_decoder_time(&d);
        AVRational aspect = ft_decoder_aspect(&d);
        if (v->frames && time > end) longest = fmax(longest, time - end);
        if (time > end) end = time;
        v->time[v->frames++] = time;
        v->width = d.frame->width;
        v->height = d.frame->height;
        v->aspect = aspect.num > 0 && aspect.den > 0 ? av_q2d(aspect) : 1;
        av_frame_unref(d.frame);
    }
    v->images = d.stills.n;
    if (d.stills.others) ft_log("%s: %d of its files are no images and are left out", path, d.stills.others);
    if (v->images) v->fps = FT_STILLS_FPS, v->plain = true, ft_stills_upright(&d.stills, &v->rotation, &v->mirrored);
    else if (d.dicom.n) take_dicom(v, path, &d.dicom.head);
    else {
        const AVStream *s = d.format->streams[d.stream];
        v->fps = ft_decoder_rate(s);
        orientation_of(v, s);
        rc = check_complete(v, path, &d, end, longest);
        if (rc == FT_OK && s->nb_frames - 2 > v->frames && is_whole_avi(&d)) *promised = s->nb_frames;
        if (d.dicom.n_part) take_dicom(v, path, &d.dicom.head);
        v->plain = settle_times(v) && !d.mended && !ft_decoder_complained(&d) && d.packets == v->frames;
    }
    if (rc == FT_OK && !(v->path = ft_strdup(path))) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
done:
    ft_decoder_close(&d);
    if (rc < 0) ft_video_close(v);
    return rc;
}

/* A decoder that gets no memory for a picture may leave it out or fill it with another one, and say nothing. In a plain file that
 * shows; any other is looked through twice. */
int ft_video_open(ft_video *v, const char *path)
{
    ft_video again = {0};
    int64_t promised;
    FT_TRY(look_through(v, path, &promised));
    int rc = v->plain ? FT_OK : look_through(&again, path, &promised);
    if (rc == FT_OK && !v->plain &&
        (again.frames != v->frames || memcmp(again.time, v->time, (size_t)v->frames * sizeof *v->time)))
        rc = FT_FAIL(FT_ENOMEM, "%s: decoded to %lld frames, then to %lld. Is memory short, or does something write to it?", path,
                     (long long)v->frames, (long long)again.frames);
    ft_video_close(&again);
    if (rc == FT_OK && promised)
        ft_warn("%s: its header counts %lld frames; the file is whole, and it holds %lld", path, (long long)promised,
                (long long)v->frames);
    if (rc < 0) ft_video_close(v);
    return rc;
}

void ft_video_close(ft_video *v)
{
    ft_free(v->path);
    ft_free(v->time);
    memset(v, 0, sizeof *v);
}

static int changed(const char *path, int64_t frame)
{
    return FT_FAIL(FT_ENOMEM, "%s: frame %lld is not decoded as it was before. Is memory short, or does something write to it?",
                   path, (long long)frame);
}

int ft_video_visit(const ft_video *v, const int64_t *index, int64_t n, ft_visitor visit, void *of)
{
    ft_decoder d;
    double first = 0;
    int64_t at = 0, k = 0;
    int rc = FT_OK, more = 1;
    FT_TRY(ft_decoder_open(&d, v->path));
    while (rc == FT_OK && k < n && (more = ft_decoder_next(&d, v->path)) == 1) {
        double time = ft_decoder_time(&d);
        if (at == 0) first = time;
        if (v->plain && (d.mended || at >= v->frames || (!v->images && time - first != v->time[at]))) rc = changed(v->path, at);
        for (; rc == FT_OK && k < n && index[k] == at; k++) rc = visit(of, k, d.frame, ft_decoder_aspect(&d));
        at++;
        av_frame_unref(d.frame);
    }
    if (rc == FT_OK && more < 0) rc = more;
    if (rc == FT_OK && d.damaged && v->plain) rc = changed(v->path, at);
    if (rc == FT_OK && k < n) rc = FT_FAIL(FT_EDATA, "%s: frame %lld could not be decoded again", v->path, (long long)index[k]);
    ft_decoder_close(&d);
    return rc;
}

typedef struct {
    const ft_video *v;
    const int64_t *index;
    ft_scaler scaler;
    ft_view view;
    int size;
    uint8_t *rgb; /* of one frame */
    int (*take)(void *of, int64_t k, const uint8_t *rgb);
    void *of;
} squares;

static int square(void *of, int64_t k, const AVFrame *frame, AVRational aspect)
{
    squares *s = of;
    if (k == 0 || s->index[k] != s->index[k - 1]) {
        int rc = ft_picture_square(&s->scaler, frame, aspect, &s->view, s->size, s->rgb);
        if (rc < 0) return FT_FAIL(rc, "%s: frame %lld: %s", s->v->path, (long long)s->index[k], ft_error_message());
    }
    return s->take(s->of, k, s->rgb);
}

int ft_video_each(const ft_video *v, const int64_t *index, int64_t n, int size, ft_crop crop,
                  int (*take)(void *of, int64_t k, const uint8_t *rgb), void *of)
{
    squares s = {.v = v, .index = index, .view = {v->crop, crop, v->rotation, v->mirrored}, .size = size, .take = take, .of = of};
    if (size < 1 || size > 8192) return FT_FAIL(FT_ECONFIG, "%s: frames of %d pixels; 1 to 8192 can be made", v->path, size);
    s.rgb = ft_alloc((size_t)size * (size_t)size * 3);
    int rc = s.rgb ? ft_video_visit(v, index, n, square, &s) : FT_FAIL(FT_ENOMEM, "%s: no memory to scale frames", v->path);
    ft_scaler_free(&s.scaler);
    ft_free(s.rgb);
    return rc;
}

typedef struct {
    uint8_t *rgb;
    size_t bytes;
} all_frames;

static int keep(void *of, int64_t k, const uint8_t *rgb)
{
    all_frames *a = of;
    memcpy(a->rgb + (size_t)k * a->bytes, rgb, a->bytes);
    return FT_OK;
}

int ft_video_frames(const ft_video *v, const int64_t *index, int64_t n, int size, ft_crop crop, uint8_t *rgb)
{
    return ft_video_each(v, index, n, size, crop, keep, &(all_frames){rgb, (size_t)size * (size_t)size * 3});
}

/* ---- clock and identity ------------------------------------------------------------------------------------------------------
 */

int64_t ft_video_ticks(const ft_video *v, double fps, int64_t **index)
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

int ft_video_sha256(const ft_video *v, char hex[65], int (*image)(void *of, const char *name, const char *hex), void *of)
{
    ft_stills s;
    ft_text t = {0};
    if (!v->images || !ft_is_dir(v->path)) return ft_sha256_file(v->path, hex);
    FT_TRY(ft_stills_open(&s, v->path));
    int rc = ft_text_begin(&t);
    for (int64_t i = 0; rc == FT_OK && i < s.n; i++) {
        char *path = ft_format("%s/%s", v->path, s.name[i]);
        rc = path ? ft_sha256_file(path, hex) : FT_FAIL(FT_ENOMEM, "%s: no memory", v->path);
        if (rc == FT_OK) fprintf(t.f, "%s  %s\n", hex, s.name[i]);
        if (rc == FT_OK && image) rc = image(of, s.name[i], hex);
        ft_free(path);
    }
    if (rc == FT_OK) rc = ft_text_end(&t);
    if (rc == FT_OK) ft_sha256(t.text, t.size, hex);
    ft_text_free(&t);
    ft_stills_close(&s);
    return rc;
}
