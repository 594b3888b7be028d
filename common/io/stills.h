/* Images as the frames of a video: a folder of PNG, JPEG, TIFF or BMP files in natural order (2 before 10), or the pages of one
 * TIFF file. */
#ifndef FT_STILLS_H
#define FT_STILLS_H

#include <libavcodec/avcodec.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *path;
    char **name;     /* of a folder's images; NULL: pages of one file */
    uint32_t *page;  /* where each one's directory is */
    int64_t n, next; /* n 0: it is neither of the two */
    int others;      /* files in the folder that are no images; hidden ones are not counted */
    int orientation; /* EXIF's number, 1 to 8, the same for all; 0: no image was read yet */
    AVCodecContext *codec;
    AVPacket *packet;
    AVFrame *frame; /* of the last ft_stills_next */
} ft_stills;

bool ft_still_name(const char *name); /* does it end as an image's, and is no file of the system? */
/* FT_OK with n 0 when `path` (borrowed) is another kind of file. FT_EDATA: a folder without images, a TIFF file whose pages
 * cannot be counted, a BigTIFF file. */
int ft_stills_open(ft_stills *s, const char *path);
/* 1: s->frame is the next one, as it is stored; 0: end. FT_EDATA: damaged, no image, turned otherwise than those before it */
int ft_stills_next(ft_stills *s);
/* How those read so far are laid upright, as EXIF or TIFF say: degrees clockwise, behind a mirroring left to right */
void ft_stills_upright(const ft_stills *s, int *rotation, bool *mirrored);
void ft_stills_close(ft_stills *s);

#endif
