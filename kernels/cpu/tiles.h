/* AMX tiles: 16 rows of 64 bytes each. A kernel configures them, uses them and releases them: libraries have their own shapes. */
#ifndef FT_TILES_H
#define FT_TILES_H

#include "kernels/cpu/cpu.h"

#if defined(__AVX512F__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Is there AMX, and does the kernel let this process have its tiles? */
static inline bool ft_tiles(void)
{
    static int known; /* 0: not asked yet, else 1 + the answer, which is the same whoever asks */
    enum { REQUEST = 0x1023, TILE_DATA = 18 };
    int answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
    if (answer) return answer > 1;
    unsigned a, b, c, d;
    bool is = __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1) && (d >> 24 & 1) &&
              syscall(SYS_arch_prctl, REQUEST, TILE_DATA) == 0;
    __atomic_store_n(&known, 1 + is, __ATOMIC_RELAXED);
    return is;
}

/* all eight whole */
__attribute__((target("amx-tile"))) static inline void ft_tiles_configure(void)
{
    struct {
        unsigned char palette, start, unused[14];
        uint16_t bytes[16]; /* of a row of each tile */
        unsigned char rows[16];
    } shape __attribute__((aligned(64))) = {.palette = 1};
    for (int t = 0; t < 8; t++) shape.bytes[t] = 64, shape.rows[t] = 16;
    __asm__ volatile("" : : "r"(&shape) : "memory"); /* GCC 12 believes that only its first eight bytes are read */
    _tile_loadconfig(&shape);
}
#endif

#endif
