/* What the parts of a clip store share: writing (clipwriter.c), the child in which libhdf5 reads (clipstore_child.c), and the
 * process that takes what the child sends (clipstore.c). Not for others. */
#ifndef FT_CLIPSTORE_PARTS_H
#define FT_CLIPSTORE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/io/clipstore.h"

enum { FT_STORE_MOST_FRAMES = 4096, FT_STORE_MOST_SIZE = 8192, FT_STORE_DEFLATE = 1032 /* what a byte may become, at most */ };
#define FT_STORE_MOST_FPS    1e9
#define FT_STORE_MOST_PIXELS 16000000000 /* bytes */
#define FT_STORE_MAKE_AGAIN  "It is damaged, cut off, or no clip store: make it again with forty ingest"

/* First of all calls of libhdf5: its errors come out as our messages. */
void ft_store_library(void);
/* H5T_C_S1 of variable length in UTF-8, to be closed; negative: no memory. */
int64_t ft_store_string_type(void);
int ft_store_check_json(const char *path, const char *what, const char *text);
int ft_store_check_video(const char *path, int64_t row, const ft_store_video *v);
void ft_store_free_video(ft_store_video *v);
int ft_store_wrong(const char *path, const char *what);
int ft_store_no_room(const char *path, int64_t bytes);

/* The texts of a video, in their order in the pipe (offsets in ft_store_video); facts, the last, may be absent. */
enum { FT_STORE_TEXTS = 7 };
extern const size_t ft_store_text[FT_STORE_TEXTS];

/* What the child sends, each behind a letter: P, a head of pixels; S, a slab of them, with its bytes; at the end V, the verdict,
 * and if that is good config, clips and videos. */
typedef struct {
    int64_t n_clip, sent; /* clips of the file, and those whose pixels follow */
    int frames, size;
} ft_store_pixels;

typedef struct {
    int rc;
    char text[2048]; /* the error's */
    double stride;
    int64_t n_video;
    uint32_t config; /* bytes */
} ft_store_verdict;

#define FT_STORE_NO_TEXT UINT32_MAX /* in place of a text's bytes */

/* Reads the file, with the pixels of `most` clips, sends it to `out`, and exits; at most `seconds` of computing. */
_Noreturn void ft_store_child(const char *path, uint64_t file_bytes, int64_t most, int out, unsigned seconds);

typedef struct {
    const char *path;
    uint64_t size; /* of the file */
    int64_t most;  /* clips whose pixels are wanted */
    int in;
    double end; /* when to give up (ft_now) */
    bool late;
    int64_t pixels, have; /* bytes that were promised, and that came */
} ft_store_channel;

/* Takes what the child sends, and believes none of it, into s, which is zero but for its path. 1: all of it is there; 0: the
 * channel ended before, or it is late; else a status. */
int ft_store_take(ft_store_channel *c, ft_clipstore *s);

#endif
