/* DICOM files of several pictures: a row of frames. GDCM reads them, in a plugin (libforty_dicom.so beside the program) that only
 * a child process opens: the library may crash, loop or ask for gigabytes on a damaged file (common/base/apart.h). Frames come
 * through a pipe, one at a time, so that a long file takes the memory of one picture.
 *
 * Grey becomes 8 bits by the file's own window, VOI and modality LUT (PS3.3 C.11), without any by the whole range of its stored
 * bits; YBR becomes RGB by PS3.3 C.7.6.3.1.2. Fields that identify a patient stay in the child: what leaves it are the numbers
 * below and one-way hashes, which are for comparing and for nothing else. */
#ifndef FT_DICOM_H
#define FT_DICOM_H

#include <stdbool.h>
#include <stdint.h>

typedef struct {
    int64_t frames;
    int width, height, channels; /* channels of what is given: 1 grey, 3 RGB */
    int aspect_w, aspect_h;      /* width of a pixel : its height; 0:0 not said */
    double fps;                  /* of its frame time or vector, else of its cine rate; 0: it says none */
    bool timed;                  /* each frame has a time of its own (frame time vector) */
    bool whole_range;            /* grey of more than 8 bits for which no window is said */
    bool stream;                 /* its frames are one MPEG-2 or H.264 stream: FFmpeg's business */
    int burnt_in;                /* text is burnt into the picture: 1 yes, 0 no, -1 not said */
    int regions;                 /* ultrasound regions that show a two-dimensional picture */
    int region[4];               /* x, y, w, h of the largest of them */
    bool tells_name;             /* the path of the file holds the patient's name or number */
    char syntax[72], colour[24]; /* transfer syntax, photometric interpretation, as the file has them */
    char patient[65], study[65]; /* SHA-256 of who, and of which study; "": not said */
    char maker[72], model[72];   /* of the device */
} ft_dicom_head;

typedef struct {
    uint64_t at, size; /* in the file */
} ft_dicom_part;

/* What the plugin has read in the child and keeps there */
typedef struct {
    char patient[300], study[80]; /* issuer and number; UID */
    char name[300], number[80];   /* as they may stand in a path */
} ft_dicom_identity;

/* What a plugin gives; it knows nothing of limits, pipes or paths. Errors are FT_FAIL's. */
typedef struct {
    /* pictures false: all but where its pictures lie */
    int (*open)(void **file, const char *path, bool pictures, ft_dicom_head *head, ft_dicom_identity *who);
    double (*time)(void *file, int64_t k);                   /* seconds from the first frame; of `timed` ones */
    int (*frame)(void *file, int64_t k, uint8_t *to);        /* (height, width, channels) */
    int64_t (*parts)(void *file, const ft_dicom_part **all); /* where a stream lies */
    void (*close)(void *file);                               /* NULL is allowed */
} ft_dicom_api;

#ifndef __cplusplus
#include <libavutil/frame.h>
#include <sys/types.h>

/* Frames one after another: open, next until it gives 0, close. Of a path that is no DICOM file, open gives n = 0, and of one
 * that holds a stream as well. */
typedef struct {
    const char *path; /* borrowed */
    ft_dicom_head head;
    int64_t n, next;
    double *time;        /* seconds of each frame from the first */
    ft_dicom_part *part; /* of a stream, n_part of them one behind another; then n is 0 */
    int64_t n_part;
    AVFrame *frame;
    uint8_t *pixels;
    int fd;
    pid_t pid;
    unsigned seconds; /* a frame may take */
} ft_dicom;

/* What makes the plugin, said in messages */
#define FT_GET_DICOM "bash -c '. ./setup.sh; install_missing libgdcm-dev g++; build release -DBUILD_TESTING=OFF -DFT_DICOM=ON'"

/* By its bytes or, where `named`, its ending. */
bool ft_is_dicom(const char *path, bool named);

/* FT_EDATA: damaged, cut off, of a kind that is not read; the plugin is not there. */
int ft_dicom_open(ft_dicom *d, const char *path);
int ft_dicom_next(ft_dicom *d); /* 1: d->frame holds the next one; 0: the end */
void ft_dicom_close(ft_dicom *d);

/* What n files say of themselves, without their pictures: all of them in one child, which is begun anew when one of them ends it.
 * head NULL: it cannot be read, `why`. */
int ft_dicom_heads(char *const *path, int n, int (*take)(void *of, int i, const ft_dicom_head *head, const char *why), void *of);

bool ft_dicom_plugin_found(void);
#endif
#endif
