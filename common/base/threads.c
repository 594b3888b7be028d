#include "common/base/threads.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "common/base/log.h"
#include "common/base/machine.h"

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
static int planned, now; /* 0: not set yet */
static bool held;

void ft_threads_set(int n)
{
    planned = now = n > 0 ? n : omp_get_num_procs();
    omp_set_num_threads(planned);
}
int ft_threads_get(void) { return planned ? planned : omp_get_max_threads(); }
int ft_threads_now(void) { return now ? now : ft_threads_get(); }
void ft_threads_all(void) { omp_set_num_threads(now = ft_threads_get()); }

void ft_threads_hold(bool hold)
{
    held = hold;
    if (hold) ft_threads_all();
}

/* Threads that are bound to cores stay where they are, and the kernel tells of the first one's core alone. */
static bool bound(void) { return getenv("OMP_PROC_BIND") || getenv("OMP_PLACES") || getenv("GOMP_CPU_AFFINITY"); }

void ft_threads_adapt(void)
{
    static double last, last_busy, last_own;
    static int wanted;
    const char *fixed = getenv("FORTY_THREADS_NOW");
    double at = ft_now();
    int all = planned = ft_threads_get();
    if (fixed && atoi(fixed) > 0) now = atoi(fixed) < all ? atoi(fixed) : all;
    else if (held) now = all;
    else if (all > 1 && at - last > 0.25 && !bound()) {
        struct timespec t;
        int cores;
        double busy = ft_busy_seconds(&cores, NULL), own;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        own = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
        if (busy < 0 || cores < all) last = 0; /* not known, or not our cores: as planned */
        else {
            if (last > 0) {
                double others = ((busy - last_busy) - (own - last_own)) / (at - last);
                /* what is left for us; a third of a core for short work of others, and what counting in ticks is off by */
                double left = (double)cores - others + 0.33 + 0.05 * sqrt((double)cores - 2 > 0 ? (double)cores - 2 : 0);
                int want = left < 1 ? 1 : left > all ? all : (int)left;
                now = want >= now || want == wanted ? want : now; /* fewer only when two looks agree */
                wanted = want;
            }
            last = at, last_busy = busy, last_own = own;
        }
    }
    omp_set_num_threads(ft_threads_now());
}
#else
void ft_threads_set(int n) { (void)n; }
int ft_threads_get(void) { return 1; }
int ft_threads_now(void) { return 1; }
void ft_threads_all(void) {}
void ft_threads_adapt(void) {}
void ft_threads_hold(bool hold) { (void)hold; }
#endif
