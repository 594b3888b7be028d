/* Videos and animations, written through FFmpeg. */
#include <libavutil/opt.h>
#include <libswscale/swscale.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/status.h"
#include "common/io/picture.h"
#include "common/io/video_decoder.h"

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
    ft_ffmpeg_quiet();
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
        st = FT_FAIL(ft_ffmpeg_status(rc, FT_EIO), "%s: cannot be encoded (%s)", path, ft_ffmpeg_reason(rc));
    } else st = ft_atomic_commit(&a);
    sws_freeContext(sws);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&c);
    avformat_free_context(f);
    return st;
}
