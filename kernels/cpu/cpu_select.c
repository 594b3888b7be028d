/* Which of the compiled instruction sets runs here. FORTY_ISA=base|v3|v4 asks for a lower one (tests), if it was
 * compiled. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/threads.h"
#include "kernels/cpu/cpu.h"
#ifdef _OPENMP
#include <omp.h>
int ft_cpu_thread_id(void) { return omp_get_thread_num(); }
#else
int ft_cpu_thread_id(void) { return 0; }
#endif

int ft_cpu_threads(void) { return ft_threads_get(); }

extern const ft_backend ft_backend_cpu_table_base, ft_backend_cpu_table_v3, ft_backend_cpu_table_v4;

#if defined(__x86_64__)
static bool has_v4(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd");
}
bool ft_cpu_has_bf16(void) { return has_v4(); }
#else
bool ft_cpu_has_bf16(void) { return false; }
#endif

const ft_backend *ft_backend_cpu(void)
{
    const ft_backend *have[3]; /* of those that were compiled and run here, the best first */
    int n = 0;
#ifdef FT_HAVE_v4
    if (has_v4()) have[n++] = &ft_backend_cpu_table_v4;
#endif
#ifdef FT_HAVE_v3
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
        __builtin_cpu_supports("bmi2"))
        have[n++] = &ft_backend_cpu_table_v3;
#endif
#ifdef FT_HAVE_base
    have[n++] = &ft_backend_cpu_table_base;
#endif
    if (n == 0) {
        fprintf(
            stderr,
            "forty: error: this program was built for another processor. Build it here, or with cmake -DFT_ISAS=all for both\n");
        exit(1);
    }
    const char *ask = getenv("FORTY_ISA");
    for (int i = 0; ask && i < n; i++)
        if (!strcmp(have[i]->name + strlen("cpu "), ask)) return have[i];
    return have[0];
}
