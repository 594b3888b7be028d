/* JPEG pictures, written through FFmpeg's own encoder, which every build of it has. */
#include <libavcodec/avcodec.h>
#include <libswscale/swscale.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/image.h"
#include "common/io/video_decoder.h"

enum { QUALITY = 4 }; /* of 1, the best, to 31 */

/* RGB to the encoder's colours, none of them thinned out: full-range BT.601, as JPEG has it */
static int to_frame(AVFrame *frame, const uint8_t *rgb, int w, int h)
{
    frame->width = w, frame->height = h, frame->format = AV_PIX_FMT_YUVJ444P, frame->quality = QUALITY * FF_QP2LAMBDA;
    frame->color_range = AVCOL_RANGE_JPEG;
    int rc = av_frame_get_buffer(frame, 0);
    if (rc < 0) return rc;
    struct SwsContext *sws = sws_getContext(w, h, AV_PIX_FMT_RGB24, w, h, AV_PIX_FMT_YUVJ444P,
                                            SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT, NULL, NULL, NULL);
    if (!sws) return AVERROR(ENOMEM);
    const uint8_t *plane[4] = {rgb};
    int stride[4] = {w * 3};
    rc = sws_scale(sws, plane, stride, 0, h, frame->data, frame->linesize);
    sws_freeContext(sws);
    return rc;
}

int ft_jpeg_encode(const uint8_t *rgb, int w, int h, uint8_t **data, size_t *size)
{
    *data = NULL;
    if (w < 1 || h < 1 || w > 65500 || h > 65500)
        return FT_FAIL(FT_EDATA, "a picture of %dx%d cannot be written as JPEG: at most 65500 a side", w, h);
    const AVCodec *codec = avcodec_find_encoder(AV_CODEC_ID_MJPEG);
    if (!codec) return FT_FAIL(FT_EDEVICE, "this FFmpeg cannot write JPEG pictures");
    ft_ffmpeg_quiet();
    AVCodecContext *c = avcodec_alloc_context3(codec);
    AVFrame *frame = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    int rc = c && frame && packet ? 0 : AVERROR(ENOMEM);
    if (rc >= 0) {
        c->width = w, c->height = h, c->pix_fmt = AV_PIX_FMT_YUVJ444P, c->color_range = AVCOL_RANGE_JPEG;
        c->time_base = (AVRational){1, 1};
        c->thread_count = 1; /* the same bytes on every machine */
        c->flags |= AV_CODEC_FLAG_QSCALE | AV_CODEC_FLAG_BITEXACT;
        c->global_quality = QUALITY * FF_QP2LAMBDA;
        rc = avcodec_open2(c, codec, NULL);
    }
    if (rc >= 0) rc = to_frame(frame, rgb, w, h);
    if (rc >= 0) rc = avcodec_send_frame(c, frame);
    if (rc >= 0) rc = avcodec_receive_packet(c, packet);
    if (rc >= 0 && !(*data = ft_alloc((size_t)packet->size))) rc = AVERROR(ENOMEM);
    if (rc >= 0) memcpy(*data, packet->data, *size = (size_t)packet->size);
    av_packet_free(&packet);
    av_frame_free(&frame);
    avcodec_free_context(&c);
    return rc < 0 ? FT_FAIL(ft_ffmpeg_status(rc, FT_EIO), "a picture of %dx%d cannot be encoded (%s)", w, h, ft_ffmpeg_reason(rc))
                  : FT_OK;
}
