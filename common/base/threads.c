#include "common/base/threads.h"

#include <stdlib.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

void ft_threads_reexec(char **argv)
{
    if (getenv("GOMP_SPINCOUNT") || getenv("OMP_WAIT_POLICY") || getenv("FORTY_STARTED")) return;
    setenv("GOMP_SPINCOUNT", "1000", 1);
    setenv("FORTY_STARTED", "1", 1);
    char path[4096]; /* not /proc/self/exe itself: the process would be called "exe" */
    ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);
    if (n <= 0) return;
    path[n] = 0;
    execv(path, argv); /* returns only on failure: then the default spinning is slow, not wrong */
}

#ifdef _OPENMP
void ft_threads_set(int n) { omp_set_num_threads(n > 0 ? n : omp_get_num_procs()); }
int ft_threads_get(void) { return omp_get_max_threads(); }
#else
void ft_threads_set(int n) { (void)n; }
int ft_threads_get(void) { return 1; }
#endif
