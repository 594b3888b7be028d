/* Video files as FFmpeg's own muxers write them, for tests. */
#ifndef FT_TEST_ENCODE_H
#define FT_TEST_ENCODE_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

/* Writes n frames to `path` and frees the three; c is opened, s has its time base. pts: of each frame; NULL: 0, 1, 2... */
static inline void encode_frames(AVFormatContext *f, AVCodecContext *c, AVStream *s, const char *path, int n, const int64_t *pts,
                                 uint8_t (*pixel)(const AVFrame *frame, int k, int plane, int x, int y))
{
    assert_true(avio_open(&f->pb, path, AVIO_FLAG_WRITE) >= 0 && avformat_write_header(f, NULL) >= 0);
    AVFrame *frame = av_frame_alloc();
    AVPacket *packet = av_packet_alloc();
    frame->width = c->width, frame->height = c->height, frame->format = c->pix_fmt;
    assert_true(av_frame_get_buffer(frame, 0) >= 0);
    for (int k = 0; k <= n; k++) {
        av_frame_make_writable(frame);
        for (int p = 0; p < 3 && frame->data[p]; p++)
            for (int y = 0; y < (p ? (c->height + 1) / 2 : c->height); y++)
                for (int x = 0; x < (p ? (c->width + 1) / 2 : c->width); x++)
                    frame->data[p][y * frame->linesize[p] + x] = pixel(frame, k, p, x, y);
        frame->pts = !pts ? k : k < n ? pts[k] : 0;
        assert_true(avcodec_send_frame(c, k < n ? frame : NULL) >= 0);
        while (avcodec_receive_packet(c, packet) >= 0) {
            packet->duration = 1;
            av_packet_rescale_ts(packet, c->time_base, s->time_base);
            assert_true(av_interleaved_write_frame(f, packet) >= 0);
        }
    }
    assert_true(av_write_trailer(f) >= 0);
    avio_closep(&f->pb);
    av_frame_free(&frame);
    av_packet_free(&packet);
    avcodec_free_context(&c);
    avformat_free_context(f);
}

#endif
