#include "common/base/machine.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* the first line of /proc/cpuinfo that begins with `name`, behind its colon */
static bool line_of(const char *name, char *out, size_t size)
{
    FILE *f = fopen("/proc/cpuinfo", "r");
    bool found = false;
    char line[8192];
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, name, strlen(name)) || !colon || !colon[1]) continue;
        found = true;
        snprintf(out, size, "%.*s", (int)strcspn(colon + 2, "\n"), colon + 2);
    }
    if (f) fclose(f);
    return found;
}

void ft_processor(char *out, size_t size)
{
    if (!line_of("model name", out, size) && !line_of("CPU part", out, size)) snprintf(out, size, "unknown");
}

bool ft_processor_has(const char *flag)
{
    char all[8192], *rest = NULL;
    if (!line_of("flags", all, sizeof all) && !line_of("Features", all, sizeof all)) return false;
    for (char *one = strtok_r(all, " ", &rest); one; one = strtok_r(NULL, " ", &rest))
        if (!strcmp(one, flag)) return true;
    return false;
}

double ft_busy_seconds(int *cores, double *stolen)
{
    cpu_set_t mine;
    bool low = getpriority(PRIO_PROCESS, 0) > 0;
    double sum = 0, gone = 0, tick = (double)sysconf(_SC_CLK_TCK);
    int found = 0;
    char line[512];
    if (sched_getaffinity(0, sizeof mine, &mine) != 0) return -1;
    *cores = CPU_COUNT(&mine);
    FILE *f = fopen("/proc/stat", "r");
    while (f && fgets(line, sizeof line, f)) {
        unsigned long long user, nice, system, idle, wait, irq, soft, steal;
        int cpu;
        if (line[3] < '0' || line[3] > '9' ||
            sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu %llu", &cpu, &user, &nice, &system, &idle, &wait, &irq, &soft,
                   &steal) != 9) {
            if (found) break; /* the sum stands before the cores, what comes behind them is long */
            continue;
        }
        if (cpu < 0 || cpu >= CPU_SETSIZE || !CPU_ISSET((size_t)cpu, &mine)) continue;
        sum += (double)(user + system + irq + soft + (low ? nice : 0)) / tick;
        gone += (double)steal / tick;
        found++;
    }
    if (f) fclose(f);
    if (stolen) *stolen = gone;
    return found == *cores ? sum : -1;
}
