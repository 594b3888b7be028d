/* Decoded frames of FFmpeg to square RGB as it is seen: the stream's colour matrix and range, crop, pixel aspect, rotation. */
#ifndef FT_PICTURE_H
#define FT_PICTURE_H

#include <libavutil/frame.h>
#include <libavutil/rational.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/io/video.h"

enum { FT_MOST_SIDE = 16384, FT_MOST_PIXELS = 8192 * 8192 };

typedef struct {
    ft_rect crop; /* of the upright picture; w 0: all of it */
    ft_crop end;
    int rotation; /* clockwise, behind a mirroring */
    bool mirrored;
} ft_view;

/* What is kept from frame to frame; {0} at first */
typedef struct {
    struct SwsContext *sws;
    int matrix, range; /* that sws was made for */
    uint8_t *scaled, *turned;
    size_t room, turned_room;
} ft_scaler;

bool ft_picture_size_is_good(int w, int h);

/* The short side scaled to `size` (bilinear), cropped at one end or the middle: (size, size, 3). aspect: width of a pixel by its
 * height, 0/1 counts as 1. FT_EDATA: the frame is not one that can be scaled, or the crop lies outside of it. */
int ft_picture_square(ft_scaler *s, const AVFrame *f, AVRational aspect, const ft_view *view, int size, uint8_t *rgb);

/* The whole upright picture with its long side scaled to at most `most`, into fresh memory. */
int ft_picture_whole(ft_scaler *s, const AVFrame *f, AVRational aspect, const ft_view *view, int most, uint8_t **rgb, int *w,
                     int *h);
void ft_scaler_free(ft_scaler *s);

#endif
