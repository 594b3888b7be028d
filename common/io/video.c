#include "common/io/video.h"

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"

typedef struct {
    AVFormatContext *format;
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame;
    int stream;
    bool flushing, damaged;
    int64_t packets;
} decoder;

static const char *reason(int code)
{
    static _Thread_local char text[AV_ERROR_MAX_STRING_SIZE];
    av_strerror(code, text, sizeof text);
    return text;
}

static void close_decoder(decoder *d)
{
    av_frame_free(&d->frame);
    av_packet_free(&d->packet);
    avcodec_free_context(&d->codec);
    avformat_close_input(&d->format);
}

static int open_decoder(decoder *d, const char *path)
{
    memset(d, 0, sizeof *d);
    av_log_set_level(AV_LOG_QUIET);
    if (ft_is_dir(path)) return FT_FAIL(FT_EDATA, "%s: a folder, not a video. Give the path of a video file", path);
    int rc = avformat_open_input(&d->format, path, NULL, NULL);
    if (rc < 0)
        return FT_FAIL(rc == AVERROR(ENOENT) || rc == AVERROR(EACCES) ? FT_EIO : FT_EDATA,
                       "%s: cannot be read as a video (%s). Check the file, or leave it out with --on-error skip", path,
                       reason(rc));
    rc = avformat_find_stream_info(d->format, NULL);
    const AVCodec *codec = NULL;
    if (rc >= 0) rc = d->stream = av_find_best_stream(d->format, AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    /* a text file has a demuxer too: its "video" is a terminal picture */
    if (rc < 0 || !codec || codec->id == AV_CODEC_ID_ANSI || codec->id == AV_CODEC_ID_BINTEXT || codec->id == AV_CODEC_ID_XBIN ||
        codec->id == AV_CODEC_ID_IDF) {
        close_decoder(d);
        return FT_FAIL(FT_EDATA, "%s: holds no video that can be decoded. Check the file, or leave it out with --on-error skip",
                       path);
    }
    d->codec = avcodec_alloc_context3(codec);
    d->packet = av_packet_alloc();
    d->frame = av_frame_alloc();
    if (!d->codec || !d->packet || !d->frame) rc = AVERROR(ENOMEM);
    else rc = avcodec_parameters_to_context(d->codec, d->format->streams[d->stream]->codecpar);
    if (rc >= 0) {
        d->codec->thread_count = ft_threads_get();
        rc = avcodec_open2(d->codec, codec, NULL);
    }
    if (rc >= 0) return FT_OK;
    close_decoder(d);
    return FT_FAIL(rc == AVERROR(ENOMEM) ? FT_ENOMEM : FT_EDATA, "%s: its %s stream cannot be decoded (%s)", path, codec->name,
                   reason(rc));
}

/* 1: d->frame holds the next frame; 0: end; negative: FFmpeg's code */
static int next_frame(decoder *d)
{
    for (;;) {
        int rc = avcodec_receive_frame(d->codec, d->frame);
        if (rc == 0) {
            if (d->frame->flags & AV_FRAME_FLAG_CORRUPT) d->damaged = true;
            return 1;
        }
        if (rc == AVERROR_EOF) return 0;
        if (rc != AVERROR(EAGAIN)) return rc;
        for (;;) {
            rc = av_read_frame(d->format, d->packet);
            if (rc < 0) {
                if (rc != AVERROR_EOF) d->damaged = true;
                avcodec_send_packet(d->codec, NULL);
                break;
            }
            bool ours = d->packet->stream_index == d->stream;
            if (ours) {
                d->packets++;
                if (d->packet->flags & AV_PKT_FLAG_CORRUPT) d->damaged = true;
                rc = avcodec_send_packet(d->codec, d->packet);
                if (rc < 0 && rc != AVERROR(EAGAIN)) d->damaged = true;
            }
            av_packet_unref(d->packet);
            if (ours) break;
        }
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

int ft_video_open(ft_video *v, const char *path)
{
    decoder d;
    memset(v, 0, sizeof *v);
    FT_TRY(open_decoder(&d, path));
    AVStream *s = d.format->streams[d.stream];
    double unit = av_q2d(s->time_base);
    int rc, st = FT_OK;
    while (st == FT_OK && (rc = next_frame(&d)) == 1) {
        st = ft_grow(&v->time, (size_t)v->frames, sizeof *v->time);
        if (st < 0) break;
        int64_t pts = d.frame->best_effort_timestamp;
        v->time[v->frames] = pts == AV_NOPTS_VALUE ? NAN : (double)pts * unit;
        v->width = d.frame->width;
        v->height = d.frame->height;
        v->frames++;
        av_frame_unref(d.frame);
    }
    v->fps = s->avg_frame_rate.num > 0 ? av_q2d(s->avg_frame_rate) : s->r_frame_rate.num > 0 ? av_q2d(s->r_frame_rate) : 25.0;
    v->rotation = rotation_of(s);
    for (int64_t i = v->frames - 1; i >= 0; i--) v->time[i] -= v->time[0];
    for (int64_t i = 0; i < v->frames; i++)
        if (!(v->time[i] >= 0)) v->time[i] = i ? v->time[i - 1] + 1.0 / v->fps : 0.0;
    int64_t promised = s->nb_frames;
    if (st == FT_OK && v->frames == 0)
        st = FT_FAIL(FT_EDATA, "%s: no frame can be decoded. Check the file, or leave it out with --on-error skip", path);
    /* containers that count their frames tell when some are gone; a few may be hidden by an edit list */
    else if (st == FT_OK && promised > 0 && v->frames < promised - 2 - promised / 50)
        st = FT_FAIL(FT_EDATA,
                     "%s: cut off: %lld of %lld frames can be decoded. Copy the file again, or leave it out with --on-error skip",
                     path, (long long)v->frames, (long long)promised);
    else if (st == FT_OK && d.damaged)
        st = FT_FAIL(FT_EDATA, "%s: damaged near frame %lld. Copy the file again, or leave it out with --on-error skip", path,
                     (long long)v->frames);
    close_decoder(&d);
    if (st == FT_OK && !(v->path = ft_strdup(path))) st = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (st < 0) ft_video_close(v);
    return st;
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

/* short side to `size`, crop at `crop` of the long side as it is seen */
static int square(struct SwsContext **sws, const AVFrame *f, int size, ft_crop crop, int rotation, uint8_t *scaled,
                  uint8_t *turned, uint8_t *out)
{
    int w = f->width < f->height ? size : (int)(((int64_t)f->width * size + f->height / 2) / f->height);
    int h = f->width < f->height ? (int)(((int64_t)f->height * size + f->width / 2) / f->width) : size;
    *sws = sws_getCachedContext(*sws, f->width, f->height, (enum AVPixelFormat)f->format, w, h, AV_PIX_FMT_RGB24,
                                SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (!*sws) return FT_FAIL(FT_EDATA, "frames of %dx%d, pixel format %d, cannot be scaled", f->width, f->height, f->format);
    uint8_t *plane[4] = {scaled};
    int stride[4] = {w * 3};
    sws_scale(*sws, (const uint8_t *const *)f->data, f->linesize, 0, f->height, plane, stride);
    /* what is seen on the left or on top of a turned picture is stored at the other end */
    bool far = (crop == FT_CROP_LAST) != (rotation == 180 || (rotation == 90 && h > w) || (rotation == 270 && w > h));
    int x0 = crop == FT_CROP_CENTRE ? (w - size) / 2
             : far                  ? w - size
                                    : 0,
        y0 = crop == FT_CROP_CENTRE ? (h - size) / 2
             : far                  ? h - size
                                    : 0;
    uint8_t *to = rotation ? turned : out;
    for (int y = 0; y < size; y++)
        memcpy(to + (size_t)y * (size_t)size * 3, scaled + ((size_t)(y0 + y) * (size_t)w + (size_t)x0) * 3, (size_t)size * 3);
    if (rotation) rotate_square(out, turned, size, rotation);
    return FT_OK;
}

int ft_video_frames(const ft_video *v, const int64_t *index, int64_t n, int size, ft_crop crop, uint8_t *rgb)
{
    decoder d;
    FT_TRY(open_decoder(&d, v->path));
    struct SwsContext *sws = NULL;
    int longest = v->width > v->height ? v->width : v->height, shortest = v->width > v->height ? v->height : v->width;
    size_t room = (size_t)size * ((size_t)size * (size_t)longest / (size_t)(shortest ? shortest : 1) + 64) * 3 + 64,
           each = (size_t)size * (size_t)size * 3;
    uint8_t *scaled = ft_alloc(room * 4), *turned = ft_alloc(each);
    int rc = scaled && turned ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory to scale frames", v->path);
    int64_t at = 0, k = 0;
    while (rc == FT_OK && k < n && next_frame(&d) == 1) {
        bool odd_size = d.frame->width != v->width || d.frame->height != v->height; /* a stream may change its size */
        if (at == index[k] && odd_size &&
            (size_t)d.frame->width * (size_t)d.frame->height > (size_t)longest * (size_t)longest * 4)
            rc = FT_FAIL(FT_EDATA, "%s: frame %lld changes the size to %dx%d", v->path, (long long)at, d.frame->width,
                         d.frame->height);
        if (rc == FT_OK && at == index[k]) {
            rc = square(&sws, d.frame, size, crop, v->rotation, scaled, turned, rgb + (size_t)k * each);
            for (k++; k < n && index[k] == at && rc == FT_OK; k++)
                memcpy(rgb + (size_t)k * each, rgb + (size_t)(k - 1) * each, each);
        }
        at++;
        av_frame_unref(d.frame);
    }
    if (rc == FT_OK && k < n) rc = FT_FAIL(FT_EDATA, "%s: frame %lld could not be decoded again", v->path, (long long)index[k]);
    sws_freeContext(sws);
    ft_free(scaled);
    ft_free(turned);
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
    const AVCodec *codec = gif ? avcodec_find_encoder(AV_CODEC_ID_GIF) : avcodec_find_encoder_by_name("libx264");
    if (!codec) codec = avcodec_find_encoder(AV_CODEC_ID_MPEG4);
    av_log_set_level(AV_LOG_QUIET);
    ft_atomic a;
    FT_TRY(ft_atomic_begin(&a, path));
    AVFormatContext *f = NULL;
    AVCodecContext *c = NULL;
    AVFrame *frame = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    struct SwsContext *sws = NULL;
    AVStream *s = NULL;
    int rc = avformat_alloc_output_context2(&f, NULL, gif ? "gif" : "mp4", a.temp);
    if (rc >= 0 && (!codec || !frame || !packet || !(s = avformat_new_stream(f, NULL)) || !(c = avcodec_alloc_context3(codec))))
        rc = AVERROR(ENOMEM);
    if (rc >= 0) {
        /* H.264 in 4:2:0 needs even sizes */
        c->width = gif ? w : w / 2 * 2;
        c->height = gif ? h : h / 2 * 2;
        c->pix_fmt = gif ? AV_PIX_FMT_RGB8 : AV_PIX_FMT_YUV420P;
        c->time_base = (AVRational){100, (int)lround(fps * 100)};
        c->framerate = av_inv_q(c->time_base);
        c->thread_count = 1; /* the same bytes on every machine */
        if (!gif) av_opt_set(c->priv_data, "crf", "16", 0);
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
        if (rc >= 0) sws_scale(sws, plane, stride, 0, h, frame->data, frame->linesize);
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
        st = FT_FAIL(FT_EIO, "%s: cannot be encoded (%s)", path, reason(rc));
    } else st = ft_atomic_commit(&a);
    sws_freeContext(sws);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&c);
    avformat_free_context(f);
    return st;
}
