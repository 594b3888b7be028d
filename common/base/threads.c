#include "common/base/threads.h"

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "common/base/log.h"

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

void ft_threads_set(int n)
{
    planned = now = n > 0 ? n : omp_get_num_procs();
    omp_set_num_threads(planned);
}
int ft_threads_get(void) { return planned ? planned : omp_get_max_threads(); }
int ft_threads_now(void) { return now ? now : ft_threads_get(); }
void ft_threads_all(void) { omp_set_num_threads(now = ft_threads_get()); }

/* Seconds that the cores of `mask` have worked so far, whoever for; those of low priority only if we are of low priority too.
 * Negative: unknown. */
static double busy_seconds(const cpu_set_t *mask, bool low)
{
    FILE *f = fopen("/proc/stat", "r");
    char line[512];
    double sum = 0, tick = (double)sysconf(_SC_CLK_TCK);
    int found = 0;
    while (f && fgets(line, sizeof line, f)) {
        unsigned long long user, nice, system, idle, wait, irq, soft;
        int cpu;
        if (sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu", &cpu, &user, &nice, &system, &idle, &wait, &irq, &soft) !=
            8) {
            if (found) break; /* what comes behind the cores is long */
            continue;
        }
        if (cpu >= CPU_SETSIZE || !CPU_ISSET((size_t)cpu, mask)) continue;
        sum += (double)(user + system + irq + soft + (low ? nice : 0)) / tick;
        found++;
    }
    if (f) fclose(f);
    return found == CPU_COUNT(mask) ? sum : -1;
}

void ft_threads_adapt(void)
{
    static double last, last_busy, last_own;
    const char *fixed = getenv("FORTY_THREADS_NOW");
    double at = ft_now();
    int all = planned = ft_threads_get();
    if (fixed && atoi(fixed) > 0) now = atoi(fixed) < all ? atoi(fixed) : all;
    else if (all > 1 && at - last > 0.25) {
        cpu_set_t mask;
        struct timespec t;
        bool low = getpriority(PRIO_PROCESS, 0) > 0;
        double busy = sched_getaffinity(0, sizeof mask, &mask) == 0 ? busy_seconds(&mask, low) : -1, own;
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
        own = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
        if (busy >= 0 && last > 0 && at - last < 2) { /* a longer gap says little of now */
            double others = ((busy - last_busy) - (own - last_own)) / (at - last);
            /* what is left for us, and a third of a core for short work of others and for counting in ticks */
            double left = (double)CPU_COUNT(&mask) - others + 0.33;
            now = left < 1 ? 1 : left > all ? all : (int)left;
        }
        last = at, last_busy = busy, last_own = own;
    }
    omp_set_num_threads(ft_threads_now());
}
#else
void ft_threads_set(int n) { (void)n; }
int ft_threads_get(void) { return 1; }
int ft_threads_now(void) { return 1; }
void ft_threads_all(void) {}
void ft_threads_adapt(void) {}
#endif
