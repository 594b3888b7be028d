/* What stands behind ft_context: for the files that keep something in it. */
#ifndef FT_CONTEXT_PARTS_H
#define FT_CONTEXT_PARTS_H

#include <pthread.h>
#include <stdio.h>

#include "common/base/context.h"

struct ft_context {
    struct {
        ft_log_sink *sink;
        void *user;
        ft_log_level level;
        bool hushed;
        FILE *copy;         /* of log lines */
        bool bar_on_screen; /* a bar stands on the last terminal line: clear it before any other text */
        pthread_mutex_t lock;
    } log;
    struct {
        int planned, now; /* 0: not set yet */
        bool held;
        double last, last_busy, last_own; /* of the last look at what others do */
        int wanted;
    } threads;
    struct {
        char wish[16];
        const void *chosen; /* an ft_backend; NULL: not opened yet */
        char folder[1400];  /* whose choices of algorithms hold (common/graph/choices.h); "": nothing is kept */
        bool said;          /* that the folder cannot be written */
    } device;
    struct {
        double gflops[3][2];
        int threads; /* that it was measured with; 0: not yet */
    } rates;         /* common/train/rates.h */
};

ft_context *ft__context(void);                        /* that the thread is in, or its defaults */
int ft__context_device(ft_context *c, const char *s); /* FT_ECONFIG: no name of a device */
void ft__context_threads(ft_context *c, int n);       /* as ft_threads_set */
void ft__context_compute(const ft_context *c);        /* parallel regions of this thread get the threads of c */

#endif
