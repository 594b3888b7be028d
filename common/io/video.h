/* Video files through FFmpeg: anything it reads becomes square RGB frames; clips become MP4 and GIF. */
#ifndef FT_VIDEO_H
#define FT_VIDEO_H

#include <stdbool.h>
#include <stdint.h>

/* The timeline of a file: what one pass of decoding finds. */
typedef struct {
    char *path;
    int64_t frames;              /* decoded frames */
    double *time;                /* seconds of each frame, from the first */
    double fps;                  /* average rate the container gives, else from the times */
    int width, height, rotation; /* as stored; rotation 0, 90, 180 or 270 degrees clockwise, to be applied for viewing */
} ft_video;

/* Decodes the whole file once without keeping pixels. FT_EIO, FT_EDATA: not a video, no frames, cut off or damaged. */
int ft_video_open(ft_video *v, const char *path);
void ft_video_close(ft_video *v);

/* Frames `index` (rising, n of them) as RGB, (n, size, size, 3): rotated upright, short side scaled to `size` (bilinear),
 * centre cropped. A second pass of decoding; memory is n frames. */
int ft_video_frames(const ft_video *v, const int64_t *index, int64_t n, int size, uint8_t *rgb);

/* Where F frames at `stride` source frames start when K clips are spread evenly over `frames` frames. A video too short is
 * taken at the largest whole stride that fits (`used`); under F frames: FT_EDATA. clips = 0: as many as fit without overlap.
 * start has room for `room` values. */
int ft_clip_starts(const char *name, int64_t frames, int F, int stride, int clips, int64_t *start, int room, int *n, int *used);

/* Writes (n, h, w, 3) RGB frames, atomically; format by extension: .mp4 (H.264 where FFmpeg has it) or .gif. */
int ft_video_write(const char *path, const uint8_t *rgb, int64_t n, int w, int h, double fps);

#endif
