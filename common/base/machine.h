/* Facts about the machine that the kernel tells. */
#ifndef FT_MACHINE_H
#define FT_MACHINE_H

#include <stdbool.h>
#include <stddef.h>

void ft_processor(char *out, size_t size); /* "AMD EPYC 9R14"; "unknown" */
bool ft_processor_has(const char *flag);   /* as /proc/cpuinfo lists it: "amx_bf16" */

/* Seconds that the cores which this process may use have worked since the machine started, whoever for (/proc/stat); work of low
 * priority (nice) counts only if we are of low priority too. stolen (may be NULL): that a hypervisor gave to others. Negative:
 * not known. */
double ft_busy_seconds(int *cores, double *stolen);

#endif
