/* Multiply-adds of registers alone, for `doctor`: what the processor could reach if nothing had to be fetched. */
#include "kernels/cpu/tiles.h"

enum { CHAINS = 12 }; /* more than latency times units, fewer than registers */

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX2__)
#define LANES 8
#else
#define LANES 4
#endif
#if defined(__x86_64__)
#define KEEP(x) __asm__ volatile("" : "+x"(x)) /* each step is computed */
#else
#define KEEP(x) __asm__ volatile("" : "+w"(x))
#endif
typedef float lanes __attribute__((vector_size(LANES * 4)));

static double f32(int64_t steps)
{
    lanes sum[CHAINS] = {{0}}, a, b;
    for (int k = 0; k < LANES; k++) a[k] = 0.999f, b[k] = 0.001f;
    for (int64_t i = 0; i < steps; i += CHAINS) {
        for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * a + b;
        for (int c = 0; c < CHAINS; c++) KEEP(sum[c]);
    }
    return 2.0 * LANES * (double)steps;
}

#if defined(__AVX512F__)
__attribute__((target("avx512bf16"))) static double pairs(int64_t steps)
{
    __m512 sum[CHAINS];
    __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f003f00), b = (__m512bh)_mm512_set1_epi32(0x3a003a00);
    for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_setzero_ps();
    for (int64_t i = 0; i < steps; i += CHAINS)
        for (int c = 0; c < CHAINS; c++) {
            sum[c] = _mm512_dpbf16_ps(sum[c], a, b);
            KEEP(sum[c]);
        }
    return 2.0 * 32 * (double)steps;
}
#endif

#if defined(__AVX512F__) && defined(__linux__)
__attribute__((target("amx-tile,amx-bf16"))) static double tiles(int64_t steps)
{
    ft_tiles_configure();
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
    for (int64_t i = 0; i < steps; i += 4) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_release();
    return 2.0 * 16 * 16 * 32 * (double)steps;
}
#endif

/* FLOP of the calling thread; 0: no such instruction */
double FT_CPU(registers)(bool bf16, int64_t steps)
{
    if (!bf16) return f32(steps);
#if defined(__AVX512F__) && defined(__linux__)
    if (ft_tiles()) return tiles(steps / 16);
#endif
#if defined(__AVX512F__)
    if (ft_bf16_instructions()) return pairs(steps);
#endif
    return 0;
}
