/* Images as the frames of a video: a folder of PNG, JPEG, TIFF or BMP files in natural order (2 before 10), or the pages of one
 * TIFF file. */
#ifndef FT_STILLS_H
#define FT_STILLS_H

#include <libavcodec/avcodec.h>
#include <stdint.h>

typedef struct {
    const char *path;
    char **name;     /* of a folder's images; NULL: pages of one file */
    uint32_t *page;  /* where each one's directory is */
    int64_t n, next; /* n 0: it is neither of the two */
    int others;      /* files in the folder that are no images; hidden ones are not counted */
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame; /* of the last ft_stills_next */
} ft_stills;

/* FT_OK with n 0 when `path` (borrowed) is another kind of file. FT_EDATA: a folder without images, a TIFF file whose pages
 * cannot be counted. */
int ft_stills_open(ft_stills *s, const char *path);
int ft_stills_next(ft_stills *s); /* 1: s->frame is the next one; 0: end. FT_EDATA: damaged, or no image */
void ft_stills_close(ft_stills *s);

#endif
