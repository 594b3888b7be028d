/* Threads are OpenMP's (libgomp, shared with oneDNN). Loops are written with `#pragma omp parallel for` in the kernels;
 * every reduction is split into a fixed number of parts, so results do not depend on the number of threads.
 *
 * A step is hundreds of parallel regions, each as slow as its slowest thread: where another process takes one of two cores, a
 * thread waits for its turn in every one of them, and a step of short regions takes three and a half times as long. With one
 * thread less than the others leave no core for, it takes twice. So a program plans for ft_threads_get() threads, and computes
 * with ft_threads_now(): fewer while others use the cores. Both are those of the context that the thread is in (context.h). */
#ifndef FT_THREADS_H
#define FT_THREADS_H

#include <stdbool.h>

/* libgomp's idle threads spin, which on shared cores costs 8-10 ms a parallel region instead of 0.4. It reads its settings
 * before main(), so the program sets them and starts itself again once. Call first thing in main. */
void ft_threads_reexec(char **argv);

void ft_threads_set(int n); /* 0: OMP_NUM_THREADS, or all cores that this process may use */
int ft_threads_get(void);

/* Looks, four times a second at most, how many cores others leave (/proc/stat), and sets the calling thread's parallel regions to
 * that many threads, between 1 and ft_threads_get(). FORTY_THREADS_NOW=N fixes it (tests). Results stay the same to the bit. */
void ft_threads_adapt(void);
int ft_threads_now(void);
void ft_threads_hold(bool hold); /* all of them until it is let go: for timing */
void ft_threads_all(void);       /* ft_threads_get() of them again, until the next look: for planning */

#endif
