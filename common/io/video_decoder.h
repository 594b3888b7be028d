/* A video being decoded, frame by frame, whether its frames lie in a container, are images, or are of a DICOM file. For video.c
 * and its parts. */
#ifndef FT_VIDEO_DECODER_H
#define FT_VIDEO_DECODER_H

#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>

#include "common/io/dicom.h"
#include "common/io/stills.h"
#include "common/io/video.h"

enum { FT_STILLS_FPS = 25 }; /* images have no rate of their own */

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
} ft_decoder;

int ft_decoder_open(ft_decoder *d, const char *path);
void ft_decoder_close(ft_decoder *d);
/* 1: d->frame holds the next frame; 0: end; negative: FT_ENOMEM, and of images FT_EDATA */
int ft_decoder_next(ft_decoder *d, const char *path);
double ft_decoder_time(const ft_decoder *d);     /* seconds of the frame; NAN: it has no time */
bool ft_decoder_complained(const ft_decoder *d); /* FFmpeg's log told of an error since it was opened */
AVRational ft_decoder_aspect(const ft_decoder *d);
double ft_decoder_rate(const AVStream *s); /* frames a second, 25 where the container does not say */

/* What becomes of a decoded frame, the k-th of those that are wanted */
typedef int (*ft_visitor)(void *of, int64_t k, const AVFrame *frame, AVRational aspect);
/* A second pass of decoding, which must find what the first one did */
int ft_video_visit(const ft_video *v, const int64_t *index, int64_t n, ft_visitor visit, void *of);

/* FFmpeg's log is counted, not printed; its words for an error; FT_ENOMEM of its code, or what else it is. */
void ft_ffmpeg_quiet(void);
const char *ft_ffmpeg_reason(int code);
int ft_ffmpeg_status(int code, int otherwise);

#endif
