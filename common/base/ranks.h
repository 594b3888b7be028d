/* Processes that train one network together, each on its own part of every batch (`mpirun -n N forty train ...`).
 *
 * `batch` is what one rank computes, as in PyTorch's DDP: N ranks with batch B take the same steps, on the same samples with the
 * same random numbers, as one process with batch N B (but for sums that are rounded in another order, and BatchNorm, whose
 * statistics are of a rank's own part). Gradients are averaged in the background while the backward pass goes on (plan.c).
 * Rank 0 writes the files; all read one folder.
 *
 * The library that carries the numbers is a plugin beside the program (libforty_mpi.so), loaded when a launcher's environment
 * says that there are several ranks. Without it, or without a launcher, there is one rank and all of this costs nothing. */
#ifndef FT_RANKS_H
#define FT_RANKS_H

#include <stdbool.h>
#include <stdint.h>

int ft_ranks_start(void); /* FT_EDEVICE: a launcher started several, but this build cannot let them talk */
int ft_this_rank(void);   /* 0 .. ft_ranks() - 1 */
int ft_ranks(void);

/* Every rank makes the same calls in the same order. */
void ft_mean_begin(float *x, int64_t n); /* x becomes the mean over the ranks, in the background; leave it alone until ... */
int ft_mean_wait(void);                  /* ... all that was begun is there. FT_EIO: a rank was lost */
int ft_ranks_meet(void);                 /* waits until all ranks have come here */
void ft_ranks_end(bool failed);          /* at the end of the program; `failed`: the others are ended, too */

/* Number of a rank's first sample in a step, counted through all steps and ranks. */
static inline int64_t ft_first_sample(int64_t step, int64_t batch) { return (step * ft_ranks() + ft_this_rank()) * batch; }

/* What a plugin gives. One thread makes all calls. 0: done. NCCL will be another of these. */
typedef struct {
    int (*start)(int *rank, int *ranks);
    int (*sum)(float *x, int64_t n); /* over the ranks, in place */
    int (*meet)(void);
    void (*end)(bool failed);
} ft_ranks_api;

#endif
