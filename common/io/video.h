/* Video files through FFmpeg: anything it reads becomes square RGB frames; clips become MP4 and GIF. */
#ifndef FT_VIDEO_H
#define FT_VIDEO_H

#include <stdbool.h>
#include <stdint.h>

/* The timeline of a file: what one pass of decoding finds. */
typedef struct {
    char *path;
    int64_t frames; /* decoded frames */
    double *time;   /* seconds of each frame, from the first */
    double fps;     /* average rate the container gives, else from the times */
    bool plain;     /* each packet gave one frame, with a time, and nothing was mended: what a second pass must find */
    int width, height, rotation; /* as stored; rotation 0, 90, 180 or 270 degrees clockwise, to be applied for viewing */
} ft_video;

/* Decodes the whole file once without keeping pixels. FT_EIO, FT_EDATA: not a video, no frames, cut off or damaged. */
int ft_video_open(ft_video *v, const char *path);
void ft_video_close(ft_video *v);

/* Which square of the upright picture: the left or upper end of its long side, the middle, the other end */
typedef enum { FT_CROP_FIRST, FT_CROP_CENTRE, FT_CROP_LAST } ft_crop;

/* Frames `index` (rising, n of them) as RGB, (n, size, size, 3): rotated upright, short side scaled to `size` (bilinear),
 * cropped. A second pass of decoding; memory is n frames. */
int ft_video_frames(const ft_video *v, const int64_t *index, int64_t n, int size, ft_crop crop, uint8_t *rgb);

/* Writes (n, h, w, 3) RGB frames, atomically; format by extension: .mp4 (H.264 where FFmpeg has it) or .gif. */
int ft_video_write(const char *path, const uint8_t *rgb, int64_t n, int w, int h, double fps);

#endif
