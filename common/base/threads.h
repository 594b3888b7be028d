/* Threads are OpenMP's (libgomp, shared with oneDNN). Loops are written with `#pragma omp parallel for` in the kernels;
 * every reduction is split into a fixed number of parts, so results do not depend on the number of threads. */
#ifndef FT_THREADS_H
#define FT_THREADS_H

/* libgomp's idle threads spin, which on shared cores costs 8-10 ms a parallel region instead of 0.4. It reads its settings
 * before main(), so the program sets them and starts itself again once. Call first thing in main. */
void ft_threads_reexec(char **argv);

void ft_threads_set(int n); /* 0: all cores */
int ft_threads_get(void);

#endif
