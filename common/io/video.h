/* Video files through FFmpeg: anything it reads becomes square RGB frames; clips become MP4 and GIF. */
#ifndef FT_VIDEO_H
#define FT_VIDEO_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int x, y, w, h;
} ft_rect;

/* The timeline of a file: what one pass of decoding finds. */
typedef struct {
    char *path;
    int64_t frames;    /* decoded frames, without those that the container hides (edit lists) */
    double *time;      /* seconds of each frame, from the first */
    double fps;        /* average rate the container gives, else from the times; of images 25 */
    bool plain;        /* each packet gave one frame, with a time, and nothing was mended: what a second pass must find */
    int width, height; /* as stored */
    double aspect;     /* width of a pixel by its height */
    int rotation;      /* 0, 90, 180 or 270 degrees clockwise, to be applied for viewing */
    bool mirrored;     /* left to right, before that */
    int64_t images; /* it is so many images that have no rate: a folder, the pages of a TIFF file, DICOM without times; 0: it has
                       one */
    ft_rect crop;   /* of the upright picture, in stored pixels as FFmpeg's crop filter counts them; w 0: all of it */
    bool dicom;     /* and what such a file says of itself: */
    ft_rect region; /* the ultrasound picture within the frame; w 0: not said */
    int burnt_in;   /* text is burnt into the picture: 1 yes, 0 no, -1 not said */
} ft_video;

/* Decodes the whole file, or folder of images, once without keeping pixels. FT_EIO, FT_EDATA: not a video, no frames, cut off or
 * damaged, DICOM without its plugin (dicom.h). A header of a whole AVI file that counts more frames than there are is a warning.
 */
int ft_video_open(ft_video *v, const char *path);
void ft_video_close(ft_video *v);

/* What is kept of every picture: "none", "x,y,w,h" in pixels of the upright picture (whole ones of its chroma), "auto": what
 * moves or shines, as an ultrasound sector or the circle of an endoscope (content.h), by one more pass of decoding, or
 * "dicom-region": the ultrasound picture, where a DICOM file says that it lies.
 * `shown` (FT_SHOWN, FT_SHOWN, 3), may be NULL: a picture of the video with what is kept. FT_EDATA: it does not lie inside. */
enum { FT_SHOWN = 192 };
int ft_video_crop(ft_video *v, const char *crop, uint8_t *shown);
bool ft_video_crop_known(const char *crop);
#define FT_CROPS "none, auto, dicom-region, or x,y,w,h in pixels"

/* Which square of the upright picture: the left or upper end of its long side, the middle, the other end */
typedef enum { FT_CROP_FIRST, FT_CROP_CENTRE, FT_CROP_LAST } ft_crop;
bool ft_view_known(const char *view); /* "centre", "left": one of them, "3crop": all three; another word is "centre" */
bool ft_view_takes(const char *view, ft_crop crop);
int ft_view_crops(const char *view); /* how many it takes */

/* Frames `index` (rising, n of them) as RGB, (n, size, size, 3): by the stream's colour matrix and range, cropped to v->crop,
 * pixels made square, rotated upright, short side scaled to `size` (bilinear), cropped to a square. A second pass of decoding. */
int ft_video_frames(const ft_video *v, const int64_t *index, int64_t n, int size, ft_crop crop, uint8_t *rgb);

/* The same, each frame (size, size, 3) given to `take` as the k-th: memory is that of one. */
int ft_video_each(const ft_video *v, const int64_t *index, int64_t n, int size, ft_crop crop,
                  int (*take)(void *of, int64_t k, const uint8_t *rgb), void *of);

/* Frames of a steady clock of `fps` ticks a second, by the times of the video: (*index)[k] is the frame that is shown at tick k.
 * Returns the number of ticks; FT_EDATA: times that reach absurdly far. *index is fresh. */
int64_t ft_video_ticks(const ft_video *v, double fps, int64_t **index);

/* SHA-256 of the file; of a folder, of the lines "HEX  NAME" of its images. `image`, may be NULL, is told that of each. */
int ft_video_sha256(const ft_video *v, char hex[65], int (*image)(void *of, const char *name, const char *hex), void *of);

/* Writes (n, h, w, 3) RGB frames, atomically; format by extension: .mp4 (H.264 where FFmpeg has it) or .gif. */
int ft_video_write(const char *path, const uint8_t *rgb, int64_t n, int w, int h, double fps);

#endif
