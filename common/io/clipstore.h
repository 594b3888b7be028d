/* Clip stores: HDF5 files of fixed-size clips. Open in h5py (examples/python.md), HDFView, MATLAB.
 *
 *   /clips uint8 (N,F,H,W,3) RGB, one clip a chunk; /clip/{video,start,stride}; /video/{name,label,group,split,source,frames,
 *   fps,sha256,facts}; root attributes format, version, frames, stride, size, created_by, config.
 *
 * Functions return FT_OK or a negative status: FT_EIO, FT_EDATA (the file is damaged, or no store), FT_ENOMEM, FT_EINTERRUPTED.
 * ft_error_message() names the file and the place. */
#ifndef FT_CLIPSTORE_H
#define FT_CLIPSTORE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    const char *name, *label, *group, *split; /* group: the patient; split: "" or what the label list says */
    const char *source, *sha256;              /* the file that it was, and the sum of its bytes in hexadecimal */
    int32_t frames;                           /* of the source */
    double fps;                               /* frames a second of the source */
    const char *facts; /* JSON object of strings: picture size, other columns of the label list; "" in older stores */
} ft_store_video;

typedef struct {
    int32_t video; /* row of ft_store_video */
    int32_t start; /* first frame, counted in the source */
    double stride; /* source frames from frame to frame */
} ft_store_clip;

/* ---- reading: everything in memory (uint8), since training walks it in random order ---- */
typedef struct {
    char *path, *config;
    int64_t n_clip, n_video;
    int frames, size; /* F; H = W = size */
    double stride;    /* source frames from frame to frame, as asked for; a clip has its own */
    uint8_t *pixels;  /* (N,F,H,W,3) */
    ft_store_clip *clip;
    ft_store_video *video;
    char id[65]; /* SHA-256 of pixels, labels, groups and splits: identity for caches */
} ft_clipstore;

int ft_clipstore_read(ft_clipstore *s, const char *path);               /* whole; on an error there is nothing to free */
int ft_clipstore_head(ft_clipstore *s, const char *path, int64_t most); /* its first clips alone, to look at: without an id */
void ft_clipstore_free(ft_clipstore *s);
int64_t ft_clip_bytes(const ft_clipstore *s); /* of one clip: F * H * W * 3 */
void ft_clipstore_library(char version[48]);  /* of HDF5 */
static inline const uint8_t *ft_clip_pixels(const ft_clipstore *s, int64_t i)
{
    return s->pixels + i * ((int64_t)s->frames * s->size * s->size * 3);
}

/* ---- writing: appears under its name when ft_clipwriter_finish succeeds ---- */
typedef struct ft_clipwriter ft_clipwriter;
typedef struct {
    int frames, size;
    double stride;
    bool gzip;
    const char *config; /* resolved settings as JSON; NULL: {} */
} ft_clipwriter_opt;
int ft_clipwriter_open(ft_clipwriter **w, const char *path, const ft_clipwriter_opt *opt);
int ft_clipwriter_video(ft_clipwriter *w, const ft_store_video *video); /* its row, from 0; strings are copied; NULL: "" */
int ft_clipwriter_clip(ft_clipwriter *w, int video, int start, double stride, const uint8_t *rgb); /* (F,H,W,3) */
int ft_clipwriter_finish(ft_clipwriter *w);                                                        /* frees w in any case */
void ft_clipwriter_abort(ft_clipwriter *w);                                                        /* NULL is allowed */

#endif
