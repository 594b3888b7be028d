/* What a backend with memory of its own gives beside its kernels. The plan (common/graph/plan.c, exec_device.c) is its only user.
 *
 * What is begun happens in the order in which it was begun, and later; only what is recorded may go to several queues, whose
 * orders are their own but for `signal` and `follow`. Calls that return int give FT_OK or a status whose message names the place;
 * a kernel that cannot be launched or a library that refuses is found by `check`. */
#ifndef FT_DEVICE_H
#define FT_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a backend asks before it chooses an algorithm of a library for `what`: mine NULL: which one was chosen before? else: this
 * one is wanted. true: `held` (FT_CHOICE characters) is what everybody uses on a device of that name. */
enum { FT_CHOICE = 400 };
typedef bool ft_agree(void *context, const char *device, const char *what, const char *mine, char *held);

typedef struct ft_recording ft_recording; /* a list of kernels that is replayed as one */

typedef struct {
    int (*count)(void);                         /* devices of this machine */
    int (*start)(int index);                    /* once; FT_EDEVICE: no such device, or no driver */
    const char *(*describe)(void);              /* "NVIDIA H200, sm_90, 139 GiB; CUDA 13.0, driver ..., cuDNN 9.19.0" */
    const char *(*choices)(void);               /* which algorithms were chosen, one a line */
    void (*agree)(ft_agree *f, void *context);  /* with whom, from now on; NULL: with nobody */
    double (*memory)(double *total);            /* MiB free */
    double (*most)(bool reset);                 /* MiB taken by `alloc` at once, at most; reset: from now on */
    int (*alloc)(void **p, size_t size);        /* zeros; FT_ENOMEM */
    void (*free)(void *p);                      /* NULL is allowed; waits */
    int (*alloc_pinned)(void **p, size_t size); /* host memory that copies read and write while the host goes on */
    void (*free_pinned)(void *p);
    int (*copy_in)(void *dst, const void *src, size_t n);  /* src: pinned; begun only */
    int (*copy_out)(void *dst, const void *src, size_t n); /* dst: pinned; begun only */
    int (*upload)(void *dst, const void *src, size_t n);   /* src may change when it returns */
    int (*download)(void *dst, const void *src, size_t n); /* waits for everything begun before, then copies */
    int (*fill)(void *dst, int byte, size_t n);
    int (*narrow)(uint16_t *dst, const float *src, int64_t n); /* f32 to bf16 */
    int (*mark)(int slot);                                     /* 0 .. FT_MARKS - 1: remembers how far the stream is */
    int (*wait)(int slot);                                     /* until it has come there */
    int (*check)(void);                                        /* errors of what was begun so far; does not wait */
    int (*record_begin)(int queues, int signals);              /* so many of each will be used; begins on queue 0 */
    void (*queue)(int queue);                                  /* what is begun from now on goes there; until `record_end` */
    int (*signal)(int k);                                      /* remembers how far the queue is */
    int (*follow)(int k);                                      /* what the queue begins from now on happens after that */
    bool (*record_holds)(void);                                /* false: the last call cannot be recorded */
    int (*record_end)(ft_recording **r); /* queue 0 has followed all; FT_EDEVICE: it could not be recorded */
    int (*replay)(ft_recording *r);
    void (*record_free)(ft_recording *r);
    /* ranks, each with a device: `share` hands 128 bytes of rank 0 to all. mean: over the ranks, in place, in stream order */
    int (*join)(int rank, int ranks, int (*share)(unsigned char *bytes, int n));
    int (*mean)(float *x, int64_t n);
    /* tests on the host: no kernel may touch these bytes. NULL on a real device */
    void (*forbid)(const void *p, size_t n);
    void (*allow)(const void *p, size_t n);
} ft_device;

enum { FT_MARKS = 8, FT_QUEUES = 4 };

#endif
