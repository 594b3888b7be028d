/* A context: where log lines go, how many threads compute, and on which device. Two of them in one process work side by side,
 * also in two threads; none changes what the other one does.
 *
 *     ft_context *c;
 *     FT_TRY(ft_context_new(&c, (ft_context_opt){.log = to_my_log, .user = &mine, .threads = 2, .device = "cpu"}));
 *     ft_context *before = ft_context_enter(c);
 *     ... graphs, plans, networks, experiments: made in c ...
 *     ft_context_enter(before);
 *     ft_context_free(c);
 *
 * A thread enters a context, as it does with OpenGL and CUDA, and what it calls belongs to it from then on. A graph and its plan
 * keep the context they were made in, whoever runs them and wherever that thread is then. Passing the context through every call
 * would have put it into the readers of labels, tables, images and settings, for a warning in one line of a hundred.
 *
 * A thread that has entered none has defaults of its own: log lines to standard error, all cores, the processor. What is made
 * there has the context of the thread that runs it. One thread at a time works in a context; log lines may come from several.
 *
 * What stays with the process (tests/test_install.sh holds the library's symbols against this list):
 *
 * - of the program: interrupt.c, a signal came, and who looks at it; files.c and lease.c, unfinished files and leases, which a
 *   process that is ended takes away; ranks.c, which it is of the processes that train together; cli.c, the command line
 * - made once and never changed: onednn.c, engine and version; backend.c, the CUDA plugin or why there is none; tiles.h, whether
 *   the processor has them; diffusion.c, noise schedules; clipstore.c, video_decoder.c and files.c, that a library is set up
 * - shared, behind a lock or counted: files.c, check sums of files by inode and time; fourier.c, FFTW's planner; memory.c,
 *   allocations, for tests that refuse one; video_decoder.c, what FFmpeg complains of, for which it has one place in a process: a
 * video that is read while another thread reads a damaged one may be noted as mended, too
 *
 * The plugin has one GPU and one stream: of the contexts of a process, one at a time computes there. The last error message is of
 * the thread (status.h). Clip stores in two threads need an HDF5 that was built thread-safe, as Debian's is. */
#ifndef FT_CONTEXT_H
#define FT_CONTEXT_H

#include "common/base/log.h"

typedef struct ft_context ft_context;

typedef struct {
    ft_log_sink *log; /* NULL: standard error */
    void *user;       /* handed to it */
    ft_log_level level;
    int threads;        /* 0: all cores that this process may use, or OMP_NUM_THREADS */
    const char *device; /* "cpu", "cuda", "cuda:N" or "auto" (common/graph/backend.h); NULL: "cpu" */
} ft_context_opt;

int ft_context_new(ft_context **c, ft_context_opt opt); /* FT_ENOMEM; FT_ECONFIG: no such device */
void ft_context_free(ft_context *c);                    /* after the graphs made in it; NULL is allowed */
ft_context *ft_context_enter(ft_context *c); /* of this thread, from now on; NULL: its defaults. Returns the one before */
ft_context *ft_context_entered(void);        /* NULL: none */

#endif
