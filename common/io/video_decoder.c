#include "common/io/video_decoder.h"

#include <errno.h>
#include <fcntl.h>
#include <libavutil/avstring.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/io/picture.h"

const char *ft_ffmpeg_reason(int code)
{
    static _Thread_local char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(code, text, sizeof text);
    return text;
}

int ft_ffmpeg_status(int code, int otherwise) { return code == AVERROR(ENOMEM) ? FT_ENOMEM : otherwise; }

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

void ft_ffmpeg_quiet(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, set_up);
}

void ft_decoder_close(ft_decoder *d)
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
static ssize_t read_parts(ft_decoder *d, uint8_t *to, int n)
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
    ft_decoder *d = opaque;
    ssize_t got;
    do got = d->dicom.n_part ? read_parts(d, to, n) : read(d->fd, to, (size_t)n);
    while (got < 0 && errno == EINTR);
    if (got < 0) return d->io_error = AVERROR(errno);
    return got ? (int)got : AVERROR_EOF;
}

static int64_t seek_bytes(void *opaque, int64_t to, int whence)
{
    ft_decoder *d = opaque;
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
static int probe(ft_decoder *d, const char *path, const AVInputFormat **format)
{
    int rc = av_probe_input_buffer2(d->io, format, d->dicom.n_part ? "" : ft_base_name(path), NULL, 0, 0);
    if (rc >= 0 && (*format)->flags & AVFMT_NOFILE) /* a picture's name stands for a row of files: by its bytes alone */
        *format = NULL, rc = av_probe_input_buffer2(d->io, format, "", NULL, 0, 0);
    if (rc < 0) return rc;
    bool others = (*format)->flags & AVFMT_NOFILE ||
                  av_match_list((*format)->name, "hls,dash,concat,imf,sdp,rtp,rtsp,sap,vobsub,avisynth,vapoursynth,lavfi", ',');
    return others ? AVERROR(EPERM) : rc;
}

static int open_file(ft_decoder *d, const char *path)
{
    enum { BUFFER_BYTES = 32768 };
    struct stat st;
    FT_TRY(ft_is_file(path));
    d->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* should it have become a pipe, it is not waited for */
    if (d->fd < 0 || fstat(d->fd, &st) != 0 || !S_ISREG(st.st_mode))
        return FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
    d->size = st.st_size;
    for (int64_t i = 0; i < d->dicom.n_part; i++) d->size = (i ? d->size : 0) + (int64_t)d->dicom.part[i].size;
    uint8_t *buffer = av_malloc(BUFFER_BYTES);
    d->io = buffer ? avio_alloc_context(buffer, BUFFER_BYTES, 0, d, read_bytes, NULL, seek_bytes) : NULL;
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
    return FT_FAIL(ft_ffmpeg_status(rc, d->io_error ? FT_EIO : FT_EDATA),
                   "%s: cannot be read as a video (%s). Check the file, or leave it out with --on-error skip", path,
                   ft_ffmpeg_reason(rc));
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

static int open_codec(ft_decoder *d, const char *path, const AVCodec *codec)
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
    return FT_FAIL(ft_ffmpeg_status(rc, FT_EDATA), "%s: its %s stream cannot be decoded (%s)", path, codec->name,
                   ft_ffmpeg_reason(rc));
}

static int open_stream(ft_decoder *d, const char *path)
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

bool ft_decoder_complained(const ft_decoder *d) { return complaints != d->complained; }

int ft_decoder_open(ft_decoder *d, const char *path)
{
    memset(d, 0, sizeof *d);
    d->fd = d->dicom.fd = -1;
    ft_ffmpeg_quiet();
    int rc = ft_stills_open(&d->stills, path);
    if (rc == FT_OK && d->stills.n == 0) rc = ft_dicom_open(&d->dicom, path);
    if (rc == FT_OK && d->stills.n == 0 && d->dicom.n == 0) rc = open_stream(d, path);
    d->complained = complaints;
    if (rc < 0) ft_decoder_close(d);
    return rc;
}

double ft_decoder_rate(const AVStream *s)
{
    AVRational r = s->avg_frame_rate.num > 0 ? s->avg_frame_rate : s->r_frame_rate;
    return r.num > 0 && r.den > 0 ? av_q2d(r) : 25.0;
}

/* Matroska's reader passes over what is damaged without a word: then bytes and times are both missing between two packets. Times
 * alone may be, where a rate varies. */
static bool is_hole(ft_decoder *d)
{
    enum { HEADERS = 512 };
    const AVPacket *p = d->packet;
    const AVStream *s = d->format->streams[p->stream_index];
    bool bytes = d->behind > 0 && p->pos > d->behind + HEADERS, hole = false;
    if (p->pos >= 0) d->behind = p->pos + p->size;
    if (p->stream_index == d->stream && p->pts != AV_NOPTS_VALUE) {
        hole = bytes && (double)(p->pts - d->latest) * av_q2d(s->time_base) > 1.5 / ft_decoder_rate(s);
        if (p->pts > d->latest) d->latest = p->pts;
    }
    return hole && !strncmp(d->format->iformat->name, "matroska", 8);
}

/* Gives the decoder its next packet, or the end. Only a lack of memory is an error: what is broken is noted and passed by. */
static int feed(ft_decoder *d)
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

int ft_decoder_next(ft_decoder *d, const char *path)
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
            if (d->frame->decode_error_flags || ft_decoder_complained(d)) d->mended = true;
            return 1;
        }
        if (rc == AVERROR(EAGAIN)) rc = feed(d);
        else if (rc != AVERROR_EOF) d->damaged = true;
        if (rc == AVERROR(ENOMEM)) return FT_FAIL(FT_ENOMEM, "%s: no memory to decode it. Close other programs", path);
        if (rc == AVERROR_EOF) return 0;
    }
}

double ft_decoder_time(const ft_decoder *d)
{
    if (d->stills.n) return (double)(d->stills.next - 1) / FT_STILLS_FPS;
    if (d->dicom.n) return d->dicom.time[d->dicom.next - 1];
    int64_t pts = d->frame->best_effort_timestamp;
    AVRational unit = d->format->streams[d->stream]->time_base;
    return pts == AV_NOPTS_VALUE || unit.den <= 0 ? NAN : (double)pts * av_q2d(unit);
}

AVRational ft_decoder_aspect(const ft_decoder *d)
{
    if (d->stills.n || d->dicom.n) return d->frame->sample_aspect_ratio;
    return av_guess_sample_aspect_ratio(d->format, d->format->streams[d->stream], d->frame);
}
