#include "common/base/threads.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "common/base/context_parts.h"
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
void ft__context_compute(const ft_context *c) { omp_set_num_threads(c->threads.now ? c->threads.now : c->threads.planned); }

/* All that this process may use: OMP_NUM_THREADS, as everywhere, or the cores of its affinity mask (taskset, Slurm, cpusets). */
static int all_threads(void)
{
    const char *asked = getenv("OMP_NUM_THREADS"); /* a list is one number for each level of nesting */
    int n = asked ? atoi(asked) : 0, cores = omp_get_num_procs();
    return n > 0 && n <= 1024 ? n : cores;
}

void ft__context_threads(ft_context *c, int n) { c->threads.planned = c->threads.now = n > 0 ? n : all_threads(); }

int ft_threads_get(void)
{
    const ft_context *c = ft__context();
    return c->threads.planned ? c->threads.planned : omp_get_max_threads();
}

int ft_threads_now(void)
{
    const ft_context *c = ft__context();
    return c->threads.now ? c->threads.now : ft_threads_get();
}

/* Threads that are bound to cores stay where they are, and the kernel tells of the first one's core alone. */
static bool bound(void) { return getenv("OMP_PROC_BIND") || getenv("OMP_PLACES") || getenv("GOMP_CPU_AFFINITY"); }

void ft_threads_adapt(void)
{
    ft_context *c = ft__context();
    const char *fixed = getenv("FORTY_THREADS_NOW");
    double at = ft_now();
    int all = c->threads.planned = ft_threads_get();
    if (fixed && atoi(fixed) > 0) c->threads.now = atoi(fixed) < all ? atoi(fixed) : all;
    else if (c->threads.held) c->threads.now = all;
    else if (all > 1 && at - c->threads.last > 0.25 && !bound()) {
        struct timespec t;
        int cores;
        double busy = ft_busy_seconds(&cores, NULL), own;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        own = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
        if (busy < 0 || cores < all) c->threads.last = 0; /* not known, or not our cores: as planned */
        else {
            if (c->threads.last > 0) {
                double others = ((busy - c->threads.last_busy) - (own - c->threads.last_own)) / (at - c->threads.last);
                /* what is left for us; a third of a core for short work of others, and what counting in ticks is off by */
                double left = (double)cores - others + 0.33 + 0.05 * sqrt((double)cores - 2 > 0 ? (double)cores - 2 : 0);
                int want = left < 1 ? 1 : left > all ? all : (int)left;
                if (want >= c->threads.now || want == c->threads.wanted) c->threads.now = want; /* fewer when two looks agree */
                c->threads.wanted = want;
            }
            c->threads.last = at, c->threads.last_busy = busy, c->threads.last_own = own;
        }
    }
    omp_set_num_threads(ft_threads_now());
}
#else
void ft__context_compute(const ft_context *c) { (void)c; }
void ft__context_threads(ft_context *c, int n) { (void)n, c->threads.planned = c->threads.now = 1; }
int ft_threads_get(void) { return 1; }
int ft_threads_now(void) { return 1; }
void ft_threads_adapt(void) {}
#endif

void ft_threads_set(int n)
{
    ft__context_threads(ft__context(), n);
    ft__context_compute(ft__context());
}

void ft_threads_all(void)
{
    ft__context()->threads.now = ft_threads_get();
    ft__context_compute(ft__context());
}

void ft_threads_hold(bool hold)
{
    ft__context()->threads.held = hold;
    if (hold) ft_threads_all();
}
