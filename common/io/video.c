#include "common/io/video.h"

#include <errno.h>
#include <fcntl.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/io/content.h"
#include "common/io/dicom.h"
#include "common/io/picture.h"
#include "common/io/stills.h"

enum { MAX_TICKS = 1 << 24 };
enum { STILLS_FPS = 25 }; /* images have no rate of their own */

typedef struct {
    AVFormatContext *format;
    AVIOContext *io;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    ft_stills stills; /* n > 0: the frames are images, and there is no container */
    ft_dicom dicom;   /* n > 0: they are of a DICOM file */
    int fd, stream, io_error;
    int64_t at;                     /* in the stream that a DICOM file holds */
    int64_t size, behind, latest;   /* of the file; where the last packet ends; the latest time of ours */
    int64_t packets, complained;    /* of ours; how many complaints there were when it was opened */
    bool flushing, damaged, mended; /* mended: a decoder filled in what it had not got */
} decoder;

static const char *reason(int code)
{
    static _Thread_local char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(code, text, sizeof text);
    return text;
}

static int status_of(int code, int otherwise) { return code == AVERROR(ENOMEM) ? FT_ENOMEM : otherwise; }

/* errors that FFmpeg tells nobody but its log, of all decoders of this process */
static _Atomic int64_t complaints;

static void count_complaint(void *of, int level, const char *format, va_list args)
{
    (void)of, (void)format, (void)args;
    complaints += level <= AV_LOG_ERROR;
}

static void set_up(void)
{
    av_log_set_callback(count_complaint);
    av_max_alloc((size_t)1 << 29); /* no single thing is larger; a file's word is not enough to ask for more */
}

static void quiet(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
}

static void close_decoder(decoder *d)
{
    if (d->stills.n || d->dicom.n) d->frame = NULL; /* theirs */
    ft_stills_close(&d->stills);
    ft_dicom_close(&d->dicom);
    av_frame_free(&d->frame);
    av_packet_free(&d->packet);
    avcodec_free_context(&d->codec);
    avformat_close_input(&d->format);
    if (d->io) av_freep(&d->io->buffer);
    avio_context_free(&d->io);
    if (d->fd >= 0) close(d->fd);
    d->fd = -1;
}

/* ---- one file and no other: FFmpeg reads through these, and every other name that a file holds is refused -------------------
 */

/* of a stream in parts, which lie apart in the file */
static ssize_t read_parts(decoder *d, uint8_t *to, int n)
{
    int64_t from = 0;
    for (int64_t i = 0; i < d->dicom.n_part; i++) {
        int64_t size = (int64_t)d->dicom.part[i].size, skip = d->at - from, left = size - skip;
        from += size;
        if (left <= 0) continue;
        ssize_t got = pread(d->fd, to, (size_t)(left < n ? left : n), (off_t)d->dicom.part[i].at + skip);
        if (got > 0) d->at += got;
        return got;
    }
    return 0;
}

static int read_bytes(void *opaque, uint8_t *to, int n)
{
    decoder *d = opaque;
    ssize_t got;
    do got = d->dicom.n_part ? read_parts(d, to, n) : read(d->fd, to, (size_t)n);
    while (got < 0 && errno == EINTR);
    if (got < 0) return d->io_error = AVERROR(errno);
    return got ? (int)got : AVERROR_EOF;
}

static int64_t seek_bytes(void *opaque, int64_t to, int whence)
{
    decoder *d = opaque;
    if (whence & AVSEEK_SIZE) return d->size;
    whence &= ~AVSEEK_FORCE;
    if (d->dicom.n_part) {
        int64_t from = whence == SEEK_CUR ? d->at : whence == SEEK_END ? d->size : 0;
        return from + to < 0 ? AVERROR(EINVAL) : (d->at = from + to);
    }
    int64_t at = lseek(d->fd, to, whence);
    return at < 0 ? AVERROR(errno) : at;
}

static int no_other_file(AVFormatContext *f, AVIOContext **io, const char *url, int flags, AVDictionary **options)
{
    (void)f, (void)url, (void)flags, (void)options;
    *io = NULL;
    return AVERROR(EPERM);
}

/* What the file is, by its bytes and its name's ending; never a device, a script, or a list of other files */
static int probe(decoder *d, const char *path, const AVInputFormat **format)
{
    int rc = av_probe_input_buffer2(d->io, format, d->dicom.n_part ? "" : ft_base_name(path), NULL, 0, 0);
    if (rc >= 0 && (*format)->flags & AVFMT_NOFILE) /* a picture's name stands for a row of files: by its bytes alone */
        *format = NULL, rc = av_probe_input_buffer2(d->io, format, "", NULL, 0, 0);
    if (rc < 0) return rc;
    bool others = (*format)->flags & AVFMT_NOFILE ||
                  av_match_list((*format)->name, "hls,dash,concat,imf,sdp,rtp,rtsp,sap,vobsub,avisynth,vapoursynth,lavfi", ',');
    return others ? AVERROR(EPERM) : rc;
}

static int open_file(decoder *d, const char *path)
{
    enum { BUFFER = 32768 };
    struct stat st;
    FT_TRY(ft_is_file(path));
    d->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* should it have become a pipe, it is not waited for */
    if (d->fd < 0 || fstat(d->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    d->size = st.st_size;
    for (int64_t i = 0; i < d->dicom.n_part; i++) d->size = (i ? d->size : 0) + (int64_t)d->dicom.part[i].size;
    uint8_t *buffer = av_malloc(BUFFER);
    d->io = buffer ? avio_alloc_context(buffer, BUFFER, 0, d, read_bytes, NULL, seek_bytes) : NULL;
    if (!d->io) av_free(buffer);
    d->format = avformat_alloc_context();
    if (!d->io || !d->format || !(d->format->protocol_whitelist = av_strdup("none")))
        return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    d->format->pb = d->io;
    d->format->flags |= AVFMT_FLAG_CUSTOM_IO; /* pb is ours to close */
    d->format->io_open = no_other_file;
    const AVInputFormat *format = NULL;
    int rc = probe(d, path, &format);
    if (rc == AVERROR(EPERM))
        return FT_FAIL(FT_EDATA, "%s: names other files (%s), which are not opened. Give the video itself", path, format->name);
    if (rc >= 0) rc = avformat_open_input(&d->format, path, format, NULL); /* frees d->format if it fails */
    if (rc >= 0) return FT_OK;
    return FT_FAIL(status_of(rc, d->io_error ? FT_EIO : FT_EDATA),
                   "%s: cannot be read as a video (%s). Check the file, or leave it out with --on-error skip", path, reason(rc));
}

/* FFmpeg decodes some frames to know a stream; it shall not be talked into gigabytes there either. */
static int find_streams(AVFormatContext *f)
{
    unsigned n = f->nb_streams;
    AVDictionary **options = n ? av_calloc(n, sizeof *options) : NULL;
    int rc = n && !options ? AVERROR(ENOMEM) : 0;
    for (unsigned i = 0; rc >= 0 && i < n; i++) rc = av_dict_set_int(&options[i], "max_pixels", FT_MOST_PIXELS, 0);
    if (rc >= 0) rc = avformat_find_stream_info(f, options);
    for (unsigned i = 0; options && i < n; i++) av_dict_free(&options[i]);
    av_free(options);
    return rc;
}

static int open_codec(decoder *d, const char *path, const AVCodec *codec)
{
    const AVCodecParameters *is = d->format->streams[d->stream]->codecpar;
    if ((is->width || is->height) && !ft_picture_size_is_good(is->width, is->height))
        return FT_FAIL(FT_EDATA, "%s: frames of %dx%d; at most %d a side and %d MB of pixels are read", path, is->width,
                       is->height, FT_MOST_SIDE, FT_MOST_PIXELS >> 20);
    d->codec = avcodec_alloc_context3(codec);
    d->packet = av_packet_alloc();
    d->frame = av_frame_alloc();
    int rc = d->codec && d->packet && d->frame ? avcodec_parameters_to_context(d->codec, is) : AVERROR(ENOMEM);
    if (rc >= 0) {
        d->codec->thread_count =
            (int64_t)is->width * is->height > FT_MOST_PIXELS / 4 ? 1 : ft_threads_get(); /* each has a frame */
        d->codec->max_pixels = FT_MOST_PIXELS;
        rc = avcodec_open2(d->codec, codec, NULL);
    }
    if (rc >= 0) return FT_OK;
    return FT_FAIL(status_of(rc, FT_EDATA), "%s: its %s stream cannot be decoded (%s)", path, codec->name, reason(rc));
}

static int open_stream(decoder *d, const char *path)
{
    FT_TRY(open_file(d, path));
    int rc = find_streams(d->format);
    const AVCodec *codec = NULL;
    if (rc >= 0) rc = d->stream = av_find_best_stream(d->format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    if (rc == AVERROR(ENOMEM)) return FT_FAIL(FT_ENOMEM, "%s: no memory to look for its video", path);
    /* a text file has a demuxer too: its "video" is a terminal picture */
    if (rc < 0 || !codec || codec->id == AV_CODEC_ID_ANSI || codec->id == AV_CODEC_ID_BINTEXT || codec->id == AV_CODEC_ID_XBIN ||
        codec->id == AV_CODEC_ID_IDF)
        return FT_FAIL(FT_EDATA, "%s: holds no video that can be decoded. Check the file, or leave it out with --on-error skip",
                       path);
    return open_codec(d, path, codec);
}

static int open_decoder(decoder *d, const char *path)
{
    memset(d, 0, sizeof *d);
    d->fd = d->dicom.fd = -1;
    quiet();
    int rc = ft_stills_open(&d->stills, path);
    if (rc == FT_OK && d->stills.n == 0) rc = ft_dicom_open(&d->dicom, path);
    if (rc == FT_OK && d->stills.n == 0 && d->dicom.n == 0) rc = open_stream(d, path);
    d->complained = complaints;
    if (rc < 0) close_decoder(d);
    return rc;
}

static double rate(const AVStream *s)
{
    AVRational r = s->avg_frame_rate.num > 0 ? s->avg_frame_rate : s->r_frame_rate;
    return r.num > 0 && r.den > 0 ? av_q2d(r) : 25.0;
}

/* Matroska's reader passes over what is damaged without a word: then bytes and times are both missing between two packets. Times
 * alone may be, where a rate varies. */
static bool is_hole(decoder *d)
{
    enum { HEADERS = 512 };
    const AVPacket *p = d->packet;
    const AVStream *s = d->format->streams[p->stream_index];
    bool bytes = d->behind > 0 && p->pos > d->behind + HEADERS, hole = false;
    if (p->pos >= 0) d->behind = p->pos + p->size;
    if (p->stream_index == d->stream && p->pts != AV_NOPTS_VALUE) {
        hole = bytes && (double)(p->pts - d->latest) * av_q2d(s->time_base) > 1.5 / rate(s);
        if (p->pts > d->latest) d->latest = p->pts;
    }
    return hole && !strncmp(d->format->iformat->name, "matroska", 8);
}

/* Gives the decoder its next packet, or the end. Only a lack of memory is an error: what is broken is noted and passed by. */
static int feed(decoder *d)
{
    int rc = 0;
    while (!d->flushing) {
        rc = av_read_frame(d->format, d->packet);
        if (rc < 0) {
            if (rc != AVERROR_EOF || d->io_error) d->damaged = true;
            d->flushing = true;
            return rc == AVERROR(ENOMEM) ? rc : avcodec_send_packet(d->codec, NULL);
        }
        bool ours = d->packet->stream_index == d->stream;
        if (is_hole(d)) d->damaged = true;
        if (ours) {
            d->packets++;
            if (d->packet->flags & AV_PKT_FLAG_CORRUPT) d->damaged = true;
            rc = avcodec_send_packet(d->codec, d->packet);
            if (rc < 0) d->damaged = true;
        }
        av_packet_unref(d->packet);
        if (ours) return rc == AVERROR(ENOMEM) ? rc : 0;
    }
    return AVERROR_EOF;
}

/* 1: d->frame holds the next frame; 0: end; negative: FT_ENOMEM, and of images FT_EDATA */
static int next_frame(decoder *d, const char *path)
{
    if (d->stills.n) {
        int rc = ft_stills_next(&d->stills);
        d->frame = d->stills.frame;
        return rc;
    }
    if (d->dicom.n) {
        int rc = ft_dicom_next(&d->dicom);
        d->frame = d->dicom.frame;
        return rc;
    }
    for (;;) {
        int rc = avcodec_receive_frame(d->codec, d->frame);
        if (rc == 0) {
            if (d->frame->flags & AV_FRAME_FLAG_CORRUPT) d->damaged = true;
            if (d->frame->decode_error_flags || complaints != d->complained) d->mended = true;
            return 1;
        }
        if (rc == AVERROR(EAGAIN)) rc = feed(d);
        else if (rc != AVERROR_EOF) d->damaged = true;
        if (rc == AVERROR(ENOMEM)) return FT_FAIL(FT_ENOMEM, "%s: no memory to decode it. Close other programs", path);
        if (rc == AVERROR_EOF) return 0;
    }
}

/* Seconds of the frame; NAN: it has no time */
static double time_of(const decoder *d)
{
    if (d->stills.n) return (double)(d->stills.next - 1) / STILLS_FPS;
    if (d->dicom.n) return d->dicom.time[d->dicom.next - 1];
    int64_t pts = d->frame->best_effort_timestamp;
    AVRational unit = d->format->streams[d->stream]->time_base;
    return pts == AV_NOPTS_VALUE || unit.den <= 0 ? NAN : (double)pts * av_q2d(unit);
}

static AVRational aspect_of(const decoder *d)
{
    if (d->stills.n || d->dicom.n) return d->frame->sample_aspect_ratio;
    return av_guess_sample_aspect_ratio(d->format, d->format->streams[d->stream], d->frame);
}

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
static bool is_whole_avi(const decoder *d)
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
static int check_complete(const ft_video *v, const char *path, const decoder *d, double end, double longest)
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
    v->fps = h->fps > 0 ? h->fps : STILLS_FPS;
    v->images = h->fps > 0 ? 0 : h->frames;
    if (v->images > 1) ft_log("%s: says no frame time: taken as %d frames a second", path, STILLS_FPS);
    if (h->whole_range) ft_log("%s: grey of more than 8 bits, and no window is said: its whole range is shown", path);
}

/* `promised`: more frames than there are, that the header of a whole file counts; else 0 */
static int look_through(ft_video *v, const char *path, int64_t *promised)
{
    decoder d;
    memset(v, 0, sizeof *v);
    *promised = 0;
    FT_TRY(open_decoder(&d, path));
    double end = -INFINITY, longest = 0;
    int rc = FT_OK, more;
    while (rc == FT_OK && (more = next_frame(&d, path)) != 0) {
        FT_TRY_TO(rc, done, more);
        if (!d.stills.n && !d.dicom.n)
            FT_TRY_TO(rc, done, ft_may_ask(path, "frames", ((uint64_t)v->frames + 1) * sizeof *v->time, (uint64_t)d.size, 1));
        FT_TRY_TO(rc, done, ft_grow(&v->time, (size_t)v->frames, sizeof *v->time));
        double time = time_of(&d);
        AVRational aspect = aspect_of(&d);
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
    if (v->images) v->fps = STILLS_FPS, v->plain = true, ft_stills_upright(&d.stills, &v->rotation, &v->mirrored);
    else if (d.dicom.n) take_dicom(v, path, &d.dicom.head);
    else {
        const AVStream *s = d.format->streams[d.stream];
        v->fps = rate(s);
        orientation_of(v, s);
        rc = check_complete(v, path, &d, end, longest);
        if (rc == FT_OK && s->nb_frames - 2 > v->frames && is_whole_avi(&d)) *promised = s->nb_frames;
        if (d.dicom.n_part) take_dicom(v, path, &d.dicom.head);
        v->plain = settle_times(v) && !d.mended && complaints == d.complained && d.packets == v->frames;
    }
    if (rc == FT_OK && !(v->path = ft_strdup(path))) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
done:
    close_decoder(&d);
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

/* What becomes of a decoded frame, the k-th of those that are wanted */
typedef int (*visitor)(void *of, int64_t k, const AVFrame *frame, AVRational aspect);

/* A second pass of decoding, which must find what the first one did */
static int each(const ft_video *v, const int64_t *index, int64_t n, visitor visit, void *of)
{
    decoder d;
    double first = 0;
    int64_t at = 0, k = 0;
    int rc = FT_OK, more = 1;
    FT_TRY(open_decoder(&d, v->path));
    while (rc == FT_OK && k < n && (more = next_frame(&d, v->path)) == 1) {
        double time = time_of(&d);
        if (at == 0) first = time;
        if (v->plain && (d.mended || at >= v->frames || (!v->images && time - first != v->time[at]))) rc = changed(v->path, at);
        for (; rc == FT_OK && k < n && index[k] == at; k++) rc = visit(of, k, d.frame, aspect_of(&d));
        at++;
        av_frame_unref(d.frame);
    }
    if (rc == FT_OK && more < 0) rc = more;
    if (rc == FT_OK && d.damaged && v->plain) rc = changed(v->path, at);
    if (rc == FT_OK && k < n) rc = FT_FAIL(FT_EDATA, "%s: frame %lld could not be decoded again", v->path, (long long)index[k]);
    close_decoder(&d);
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
    int rc = s.rgb ? each(v, index, n, square, &s) : FT_FAIL(FT_ENOMEM, "%s: no memory to scale frames", v->path);
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

/* ---- crop and identity
 * --------------------------------------------------------------------------------------------------------- */

static bool rectangle(const char *text, ft_rect *r)
{
    int end = 0;
    return sscanf(text, "%d,%d,%d,%d%n", &r->x, &r->y, &r->w, &r->h, &end) == 4 && !text[end] && r->x >= 0 && r->y >= 0 &&
           r->w > 0 && r->h > 0;
}

static const struct {
    const char *name;
    bool takes[FT_CROP_LAST + 1];
} views[] = {{"centre", {[FT_CROP_CENTRE] = true}}, {"left", {[FT_CROP_FIRST] = true}}, {"3crop", {true, true, true}}};

static int view_of(const char *name) /* -1: not known */
{
    for (int i = 0; i < (int)(sizeof views / sizeof *views); i++)
        if (!strcmp(views[i].name, name)) return i;
    return -1;
}

bool ft_view_known(const char *view) { return view_of(view) >= 0; }
bool ft_view_takes(const char *view, ft_crop crop) { return views[ft_view_known(view) ? view_of(view) : 0].takes[crop]; }

int ft_view_crops(const char *view)
{
    int n = 0;
    for (int crop = FT_CROP_FIRST; crop <= FT_CROP_LAST; crop++) n += ft_view_takes(view, (ft_crop)crop);
    return n;
}

bool ft_video_crop_known(const char *crop)
{
    ft_rect r;
    return !strcmp(crop, "none") || !strcmp(crop, "auto") || !strcmp(crop, "dicom-region") || rectangle(crop, &r);
}

enum { LOOKS = 24 };
typedef struct {
    const ft_video *v;
    ft_scaler scaler;
    uint8_t *rgb[LOOKS];
    int n, w, h; /* only those of the first one's shape */
} looks;

static int look(void *of, int64_t k, const AVFrame *frame, AVRational aspect)
{
    looks *l = of;
    int w, h;
    (void)k;
    int rc = ft_picture_whole(&l->scaler, frame, aspect, &(ft_view){{0, 0, 0, 0}, FT_CROP_CENTRE, l->v->rotation, l->v->mirrored},
                              FT_SHOWN, &l->rgb[l->n], &w, &h);
    if (rc < 0) return FT_FAIL(rc, "%s: %s", l->v->path, ft_error_message());
    if (l->n == 0) l->w = w, l->h = h;
    if (w == l->w && h == l->h) l->n++;
    else ft_free(l->rgb[l->n]), l->rgb[l->n] = NULL;
    return FT_OK;
}

/* The picture in the middle of `shown`, what is not kept darker and parted by a line */
static void show(const looks *l, const ft_rect *kept, uint8_t *shown)
{
    int x0 = (FT_SHOWN - l->w) / 2, y0 = (FT_SHOWN - l->h) / 2;
    const uint8_t *rgb = l->rgb[l->n / 2];
    memset(shown, 0, (size_t)FT_SHOWN * FT_SHOWN * 3);
    for (int y = 0; y < l->h; y++)
        for (int x = 0; x < l->w; x++) {
            int u = x - kept->x, v = y - kept->y;
            bool in = u >= 0 && v >= 0 && u < kept->w && v < kept->h,
                 edge = in && (u == 0 || v == 0 || u == kept->w - 1 || v == kept->h - 1);
            uint8_t *to = shown + ((y0 + y) * FT_SHOWN + x0 + x) * 3;
            for (int c = 0; c < 3; c++) to[c] = edge ? (c == 1 ? 255 : 0) : (uint8_t)(rgb[(y * l->w + x) * 3 + c] / (in ? 1 : 3));
        }
}

int ft_video_crop(ft_video *v, const char *crop, uint8_t *shown)
{
    bool lying = v->rotation == 90 || v->rotation == 270, find = !strcmp(crop, "auto"), region = !strcmp(crop, "dicom-region");
    int W = lying ? v->height : v->width, H = lying ? v->width : v->height, rc = FT_OK;
    ft_rect r = {0, 0, 0, 0}, small;
    looks l = {.v = v};
    if (!strcmp(crop, "none")) return FT_OK;
    if (region && v->region.w == 0)
        return FT_FAIL(FT_EDATA, "%s: %s. --crop auto looks for the picture, --crop x,y,w,h says where it is", v->path,
                       v->dicom ? "says of no ultrasound region where it lies"
                                : "not a DICOM file, whose ultrasound region could be kept");
    if (region) r = v->region;
    else if (!find && !rectangle(crop, &r)) return FT_FAIL(FT_ECONFIG, "the crop is %s; " FT_CROPS " is needed", crop);
    if (r.w > W || r.h > H || r.x > W - r.w || r.y > H - r.h)
        return FT_FAIL(FT_EDATA, "%s: the crop %s does not lie inside of its picture of %dx%d", v->path, crop, W, H);
    if (find || shown) {
        int64_t index[LOOKS], n = !find ? 1 : v->frames < LOOKS ? v->frames : LOOKS;
        for (int64_t i = 0; i < n; i++) index[i] = n > 1 ? (v->frames - 1) * i / (n - 1) : 0;
        rc = each(v, index, n, look, &l);
        if (rc == FT_OK && find) rc = ft_content_box(l.rgb, l.n, l.w, l.h, &small);
    }
    if (rc == FT_OK && find && (small.w < l.w || small.h < l.h)) {
        r.x = small.x * W / l.w, r.y = small.y * H / l.h; /* out to whole pixels */
        r.w = ((small.x + small.w) * W + l.w - 1) / l.w - r.x, r.h = ((small.y + small.h) * H + l.h - 1) / l.h - r.y;
    }
    v->crop = r;
    if (r.w == 0) r.w = W, r.h = H;
    small = (ft_rect){r.x * l.w / W, r.y * l.h / H, 0, 0};
    small.w = (r.x + r.w) * l.w / W - small.x, small.h = (r.y + r.h) * l.h / H - small.y;
    if (rc == FT_OK && shown) show(&l, &small, shown);
    for (int i = 0; i < LOOKS; i++) ft_free(l.rgb[i]);
    ft_scaler_free(&l.scaler);
    return rc;
}

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

/* ---- writing ------------------------------------------------------------------------------------------------------------ */

static int drain(AVCodecContext *c, AVFormatContext *f, AVStream *s, AVPacket *packet, const AVFrame *frame)
{
    int rc = avcodec_send_frame(c, frame);
    while (rc >= 0) {
        rc = avcodec_receive_packet(c, packet);
        if (rc == AVERROR(EAGAIN) || rc == AVERROR_EOF) return 0;
        if (rc < 0) return rc;
        packet->duration = 1; /* the encoder leaves it open; without it the file ends one frame early */
        av_packet_rescale_ts(packet, c->time_base, s->time_base);
        packet->stream_index = s->index;
        rc = av_interleaved_write_frame(f, packet);
    }
    return rc;
}

int ft_video_write(const char *path, const uint8_t *rgb, int64_t n, int w, int h, double fps)
{
    const char *dot = strrchr(path, '.');
    bool gif = dot && !strcasecmp(dot, ".gif");
    if (!dot || (!gif && strcasecmp(dot, ".mp4"))) return FT_FAIL(FT_ECONFIG, "%s: only .mp4 and .gif are written", path);
    if (n < 1 || w < 2 || h < 2 || !ft_picture_size_is_good(w, h) || !(fps >= 0.01 && fps <= 10000))
        return FT_FAIL(FT_ECONFIG, "%s: %lld frames of %dx%d at %g a second cannot be written", path, (long long)n, w, h, fps);
    const AVCodec *codec = gif ? avcodec_find_encoder(AV_CODEC_ID_GIF) : avcodec_find_encoder_by_name("libx264");
    if (!codec) codec = avcodec_find_encoder(AV_CODEC_ID_MPEG4);
    if (!codec) return FT_FAIL(FT_EDEVICE, "%s: this FFmpeg has no encoder for it. Install one with libx264", path);
    quiet();
    ft_atomic a;
    FT_TRY(ft_atomic_begin(&a, path));
    AVFormatContext *f = NULL;
    AVCodecContext *c = NULL;
    AVFrame *frame = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    struct SwsContext *sws = NULL;
    AVStream *s = NULL;
    int rc = avformat_alloc_output_context2(&f, NULL, gif ? "gif" : "mp4", a.temp);
    if (rc >= 0 && (!frame || !packet || !(s = avformat_new_stream(f, NULL)) || !(c = avcodec_alloc_context3(codec))))
        rc = AVERROR(ENOMEM);
    if (rc >= 0) {
        /* H.264 in 4:2:0 needs even sizes */
        c->width = gif ? w : w / 2 * 2;
        c->height = gif ? h : h / 2 * 2;
        c->pix_fmt = gif ? AV_PIX_FMT_RGB8 : AV_PIX_FMT_YUV420P;
        c->time_base = (AVRational){100, (int)lround(fps * 100)};
        c->framerate = av_inv_q(c->time_base);
        c->thread_count = 1;                                /* the same bytes on every machine */
        if (!gif) av_opt_set(c->priv_data, "crf", "16", 0); /* MPEG-4 has none */
        if (f->oformat->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
        c->flags |= AV_CODEC_FLAG_BITEXACT;
        f->flags |= AVFMT_FLAG_BITEXACT;
        rc = avcodec_open2(c, codec, NULL);
    }
    if (rc >= 0) rc = avcodec_parameters_from_context(s->codecpar, c);
    if (rc >= 0) s->time_base = c->time_base;
    char url[sizeof a.temp + 8];
    snprintf(url, sizeof url, "file:%s", a.temp); /* 12:30.mp4 is a name, not the protocol 12 */
    if (rc >= 0) rc = avio_open(&f->pb, url, AVIO_FLAG_WRITE);
    if (rc >= 0) rc = avformat_write_header(f, NULL);
    if (rc >= 0) {
        frame->width = c->width, frame->height = c->height, frame->format = c->pix_fmt;
        rc = av_frame_get_buffer(frame, 0);
        sws = sws_getContext(w, h, AV_PIX_FMT_RGB24, c->width, c->height, c->pix_fmt,
                             SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
        if (!sws) rc = AVERROR(ENOMEM);
    }
    for (int64_t i = 0; rc >= 0 && i < n; i++) {
        const uint8_t *plane[4] = {rgb + (size_t)i * (size_t)w * (size_t)h * 3};
        int stride[4] = {w * 3};
        rc = av_frame_make_writable(frame);
        if (rc >= 0) rc = sws_scale(sws, plane, stride, 0, h, frame->data, frame->linesize);
        frame->pts = i;
        if (rc >= 0) rc = drain(c, f, s, packet, frame);
    }
    if (rc >= 0) rc = drain(c, f, s, packet, NULL);
    if (rc >= 0) rc = av_write_trailer(f);
    int close_rc = f && f->pb ? avio_closep(&f->pb) : 0;
    if (rc >= 0) rc = close_rc;
    int st = FT_OK;
    if (rc < 0) {
        ft_atomic_abort(&a);
        st = FT_FAIL(status_of(rc, FT_EIO), "%s: cannot be encoded (%s)", path, reason(rc));
    } else st = ft_atomic_commit(&a);
    sws_freeContext(sws);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&c);
    avformat_free_context(f);
    return st;
}
