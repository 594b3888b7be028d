#include "common/io/video.h"

#include <errno.h>
#include <fcntl.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/avstring.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"

enum { MOST_SIDE = 16384, MOST_PIXELS = 8192 * 8192, MOST_SCALED = 4 * MOST_PIXELS };

typedef struct {
    AVFormatContext *format;
    AVIOContext *io;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    int fd, stream, io_error;
    int64_t size, behind, latest;   /* of the file; where the last packet ends; the latest time of ours */
    int64_t packets;                /* of ours */
    bool flushing, damaged, mended; /* mended: a decoder filled in what it had not got */
} decoder;

static const char *reason(int code)
{
    static _Thread_local char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(code, text, sizeof text);
    return text;
}

static int status_of(int code, int otherwise) { return code == AVERROR(ENOMEM) ? FT_ENOMEM : otherwise; }

static void quiet(void)
{
    av_log_set_level(AV_LOG_QUIET);
    static bool once;
    if (!once) av_max_alloc((size_t)1 << 29); /* no single thing is larger; a file's word is not enough to ask for more */
    once = true;
}

static void close_decoder(decoder *d)
{
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

static int read_bytes(void *opaque, uint8_t *to, int n)
{
    decoder *d = opaque;
    ssize_t got;
    do got = read(d->fd, to, (size_t)n);
    while (got < 0 && errno == EINTR);
    if (got < 0) return d->io_error = AVERROR(errno);
    return got ? (int)got : AVERROR_EOF;
}

static int64_t seek_bytes(void *opaque, int64_t to, int whence)
{
    decoder *d = opaque;
    if (whence & AVSEEK_SIZE) return d->size;
    int64_t at = lseek(d->fd, to, whence & ~AVSEEK_FORCE);
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
    int rc = av_probe_input_buffer2(d->io, format, ft_base_name(path), NULL, 0, 0);
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
    for (unsigned i = 0; rc >= 0 && i < n; i++) rc = av_dict_set_int(&options[i], "max_pixels", MOST_PIXELS, 0);
    if (rc >= 0) rc = avformat_find_stream_info(f, options);
    for (unsigned i = 0; options && i < n; i++) av_dict_free(&options[i]);
    av_free(options);
    return rc;
}

static bool size_is_good(int w, int h)
{
    return w > 0 && h > 0 && w <= MOST_SIDE && h <= MOST_SIDE && (int64_t)w * h <= MOST_PIXELS;
}

static int open_codec(decoder *d, const char *path, const AVCodec *codec)
{
    const AVCodecParameters *is = d->format->streams[d->stream]->codecpar;
    if ((is->width || is->height) && !size_is_good(is->width, is->height))
        return FT_FAIL(FT_EDATA, "%s: frames of %dx%d; at most %d a side and %d MB of pixels are read", path, is->width,
                       is->height, MOST_SIDE, MOST_PIXELS >> 20);
    d->codec = avcodec_alloc_context3(codec);
    d->packet = av_packet_alloc();
    d->frame = av_frame_alloc();
    int rc = d->codec && d->packet && d->frame ? avcodec_parameters_to_context(d->codec, is) : AVERROR(ENOMEM);
    if (rc >= 0) {
        d->codec->thread_count = (int64_t)is->width * is->height > MOST_PIXELS / 4 ? 1 : ft_threads_get(); /* each has a frame */
        d->codec->max_pixels = MOST_PIXELS;
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
    d->fd = -1;
    quiet();
    int rc = open_stream(d, path);
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

/* 1: d->frame holds the next frame; 0: end; negative: FT_ENOMEM */
static int next_frame(decoder *d, const char *path)
{
    for (;;) {
        int rc = avcodec_receive_frame(d->codec, d->frame);
        if (rc == 0) {
            if (d->frame->flags & AV_FRAME_FLAG_CORRUPT) d->damaged = true;
            if (d->frame->decode_error_flags) d->mended = true;
            return 1;
        }
        if (rc == AVERROR(EAGAIN)) rc = feed(d);
        else if (rc != AVERROR_EOF) d->damaged = true;
        if (rc == AVERROR(ENOMEM)) return FT_FAIL(FT_ENOMEM, "%s: no memory to decode it. Close other programs", path);
        if (rc == AVERROR_EOF) return 0;
    }
}

static int rotation_of(const AVStream *s)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102) /* FFmpeg 6.1 moved it */
    const AVPacketSideData *side =
        av_packet_side_data_get(s->codecpar->coded_side_data, s->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
    const int32_t *m = side ? (const int32_t *)(const void *)side->data : NULL;
#else
    const int32_t *m = (const int32_t *)(const void *)av_stream_get_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, NULL);
#endif
    if (!m) return 0;
    double angle = av_display_rotation_get(m); /* counter-clockwise */
    return isnan(angle) ? 0 : (((int)lround(-angle / 90.0) % 4 + 4) % 4) * 90;
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

/* Containers that count their frames, or tell how long they last, tell when some are gone. A few may be hidden by an edit list;
 * the last one may stand as long as the longest before it. `end`: when the last one begins. */
static int check_complete(const ft_video *v, const char *path, const decoder *d, double end, double longest)
{
    const AVStream *s = d->format->streams[d->stream];
    int64_t promised = s->nb_frames;
    if (v->frames == 0)
        return FT_FAIL(FT_EDATA, "%s: no frame can be decoded. Check the file, or leave it out with --on-error skip", path);
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

static int look_through(ft_video *v, const char *path)
{
    decoder d;
    memset(v, 0, sizeof *v);
    FT_TRY(open_decoder(&d, path));
    const AVStream *s = d.format->streams[d.stream];
    double unit = s->time_base.den > 0 ? av_q2d(s->time_base) : 0, end = -INFINITY, longest = 0;
    int rc = FT_OK, more;
    while (rc == FT_OK && (more = next_frame(&d, path)) != 0) {
        FT_TRY_TO(rc, done, more);
        FT_TRY_TO(rc, done, ft_may_ask(path, "frames", ((uint64_t)v->frames + 1) * sizeof *v->time, (uint64_t)d.size, 1));
        FT_TRY_TO(rc, done, ft_grow(&v->time, (size_t)v->frames, sizeof *v->time));
        int64_t pts = d.frame->best_effort_timestamp;
        double time = pts == AV_NOPTS_VALUE ? NAN : (double)pts * unit;
        if (v->frames && time > end) longest = fmax(longest, time - end);
        if (time > end) end = time;
        v->time[v->frames++] = time;
        v->width = d.frame->width;
        v->height = d.frame->height;
        av_frame_unref(d.frame);
    }
    v->fps = rate(s);
    v->rotation = rotation_of(s);
    rc = check_complete(v, path, &d, end, longest);
    v->plain = settle_times(v) && !d.mended && d.packets == v->frames;
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
    ft_video again;
    FT_TRY(look_through(v, path));
    if (v->plain) return FT_OK;
    int rc = look_through(&again, path);
    if (rc == FT_OK && (again.frames != v->frames || memcmp(again.time, v->time, (size_t)v->frames * sizeof *v->time)))
        rc = FT_FAIL(FT_ENOMEM, "%s: decoded to %lld frames, then to %lld. Is memory short, or does something write to it?", path,
                     (long long)v->frames, (long long)again.frames);
    ft_video_close(&again);
    if (rc < 0) ft_video_close(v);
    return rc;
}

void ft_video_close(ft_video *v)
{
    ft_free(v->path);
    ft_free(v->time);
    memset(v, 0, sizeof *v);
}

static void rotate_square(uint8_t *dst, const uint8_t *src, int n, int rotation)
{
    for (int y = 0; y < n; y++)
        for (int x = 0; x < n; x++) {
            int sy = rotation == 90 ? n - 1 - x : rotation == 180 ? n - 1 - y : x;
            int sx = rotation == 90 ? y : rotation == 180 ? n - 1 - x : n - 1 - y;
            memcpy(dst + (y * n + x) * 3, src + (sy * n + sx) * 3, 3);
        }
}

typedef struct {
    struct SwsContext *sws;
    uint8_t *scaled, *turned;
    size_t room;
} scaler;

/* Room for a scaled frame of w x h: a stream may change its size. libswscale writes whole vectors, a little behind a row's end.
 */
static int make_room(scaler *s, int64_t w, int64_t h)
{
    size_t need = (size_t)(w * (h + 1)) * 3 + 256;
    if (need <= s->room) return FT_OK;
    ft_free(s->scaled);
    s->scaled = ft_alloc(need);
    s->room = s->scaled ? need : 0;
    return s->scaled ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a frame of %lldx%lld", (long long)w, (long long)h);
}

static int scale(scaler *s, const AVFrame *f, int w, int h)
{
    s->sws = sws_getCachedContext(s->sws, f->width, f->height, (enum AVPixelFormat)f->format, w, h, AV_PIX_FMT_RGB24,
                                  SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (!s->sws)
        return FT_FAIL(sws_isSupportedInput((enum AVPixelFormat)f->format) ? FT_ENOMEM : FT_EDATA,
                       "frames of %dx%d, pixel format %d, cannot be scaled to %dx%d", f->width, f->height, f->format, w, h);
    uint8_t *plane[4] = {s->scaled};
    int stride[4] = {w * 3}, rc = sws_scale(s->sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height, plane, stride);
    return rc == h ? FT_OK
                   : FT_FAIL(status_of(rc, FT_EDATA), "a frame of %dx%d cannot be scaled (%s)", f->width, f->height, reason(rc));
}

/* short side to `size`, crop at `crop` of the long side as it is seen */
static int square(scaler *s, const AVFrame *f, int size, ft_crop crop, int rotation, uint8_t *out)
{
    if (!size_is_good(f->width, f->height)) return FT_FAIL(FT_EDATA, "frames of %dx%d", f->width, f->height);
    int64_t w = f->width < f->height ? size : ((int64_t)f->width * size + f->height / 2) / f->height,
            h = f->width < f->height ? ((int64_t)f->height * size + f->width / 2) / f->width : size;
    if (w * h > MOST_SCALED || w > INT16_MAX * 2 || h > INT16_MAX * 2)
        return FT_FAIL(FT_EDATA, "frames of %dx%d become %lldx%lld. Use a smaller --size", f->width, f->height, (long long)w,
                       (long long)h);
    FT_TRY(make_room(s, w, h));
    FT_TRY(scale(s, f, (int)w, (int)h));
    /* what is seen on the left or on top of a turned picture is stored at the other end */
    bool far = (crop == FT_CROP_LAST) != (rotation == 180 || (rotation == 90 && h > w) || (rotation == 270 && w > h));
    int64_t x0 = crop == FT_CROP_CENTRE ? (w - size) / 2
                 : far                  ? w - size
                                        : 0,
            y0 = crop == FT_CROP_CENTRE ? (h - size) / 2
                 : far                  ? h - size
                                        : 0;
    uint8_t *to = rotation ? s->turned : out;
    for (int y = 0; y < size; y++)
        memcpy(to + (size_t)y * (size_t)size * 3, s->scaled + ((size_t)(y0 + y) * (size_t)w + (size_t)x0) * 3, (size_t)size * 3);
    if (rotation) rotate_square(out, s->turned, size, rotation);
    return FT_OK;
}

static int changed(const char *path, int64_t frame)
{
    return FT_FAIL(FT_ENOMEM, "%s: frame %lld is not decoded as it was before. Is memory short, or does something write to it?",
                   path, (long long)frame);
}

int ft_video_frames(const ft_video *v, const int64_t *index, int64_t n, int size, ft_crop crop, uint8_t *rgb)
{
    decoder d;
    scaler s = {0};
    if (size < 1 || size > 8192) return FT_FAIL(FT_ECONFIG, "%s: frames of %d pixels; 1 to 8192 can be made", v->path, size);
    FT_TRY(open_decoder(&d, v->path));
    double unit = av_q2d(d.format->streams[d.stream]->time_base), first = 0;
    size_t each = (size_t)size * (size_t)size * 3;
    int rc = (s.turned = ft_alloc(each)) ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory to scale frames", v->path), more = 1;
    int64_t at = 0, k = 0;
    while (rc == FT_OK && k < n && (more = next_frame(&d, v->path)) == 1) {
        if (at == 0) first = (double)d.frame->best_effort_timestamp * unit;
        if (v->plain && (d.mended || at >= v->frames || (double)d.frame->best_effort_timestamp * unit - first != v->time[at]))
            rc = changed(v->path, at);
        else if (at == index[k]) {
            rc = square(&s, d.frame, size, crop, v->rotation, rgb + (size_t)k * each);
            if (rc < 0) rc = FT_FAIL(rc, "%s: frame %lld: %s", v->path, (long long)at, ft_error_message());
            for (k++; k < n && index[k] == at && rc == FT_OK; k++)
                memcpy(rgb + (size_t)k * each, rgb + (size_t)(k - 1) * each, each);
        }
        at++;
        av_frame_unref(d.frame);
    }
    if (rc == FT_OK && more < 0) rc = more;
    if (rc == FT_OK && d.damaged && v->plain) rc = changed(v->path, at);
    if (rc == FT_OK && k < n) rc = FT_FAIL(FT_EDATA, "%s: frame %lld could not be decoded again", v->path, (long long)index[k]);
    sws_freeContext(s.sws);
    ft_free(s.scaled);
    ft_free(s.turned);
    close_decoder(&d);
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
    if (n < 1 || w < 2 || h < 2 || !size_is_good(w, h) || !(fps >= 0.01 && fps <= 10000))
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
    if (rc >= 0) rc = avio_open(&f->pb, a.temp, AVIO_FLAG_WRITE);
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
