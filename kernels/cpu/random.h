/* Rows of Philox numbers (common/base/rng.h gives the definition; the tests compare). Sixteen counters run side by side. */
#ifndef FT_RANDOM_H
#define FT_RANDOM_H

#include "common/base/rng.h"
#include "kernels/cpu/cpu.h"

enum { FT_SIDE = 16 };

/* words 4 at .. 4 at + 64 of a node's stream: value i is word i % 4 of counter i / 4 */
static inline void ft_philox_row(const ft_call *c, int64_t counter, uint32_t out[4 * FT_SIDE])
{
    uint32_t c0[FT_SIDE], c1[FT_SIDE], c2[FT_SIDE], c3[FT_SIDE], k0 = (uint32_t)c->step->seed,
                                                                 k1 = (uint32_t)(c->step->seed >> 32);
    uint64_t step = (uint64_t)c->step->step;
    for (int i = 0; i < FT_SIDE; i++) {
        uint64_t index = (uint64_t)counter + (uint64_t)i;
        c0[i] = (uint32_t)index, c1[i] = (uint32_t)(index >> 32), c2[i] = (uint32_t)step,
        c3[i] = (uint32_t)(step >> 32) ^ c->stream;
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < FT_SIDE; i++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * c0[i], p1 = (uint64_t)0xCD9E8D57u * c2[i];
            uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1[i] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3[i] ^ k1;
            c1[i] = (uint32_t)p1, c3[i] = (uint32_t)p0, c0[i] = n0, c2[i] = n2;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < FT_SIDE; i++) out[4 * i] = c0[i], out[4 * i + 1] = c1[i], out[4 * i + 2] = c2[i], out[4 * i + 3] = c3[i];
}

/* n values of the stream from position `at` of a rank, in [0, 1). all: values that a rank takes in a step */
static inline void ft_uniform_row(const ft_call *c, int64_t all, int64_t at, float *u, int64_t n)
{
    for (int64_t i = 0; i < n;) {
        uint32_t bits[4 * FT_SIDE];
        int64_t from = at + i + c->step->rank * all, skip = from & 3, m = FT_MIN(4 * FT_SIDE - skip, n - i);
        ft_philox_row(c, from / 4, bits);
        for (int64_t k = 0; k < m; k++) u[i + k] = (float)(int32_t)(bits[skip + k] >> 8) * (1.0f / 16777216.0f);
        i += m;
    }
}

/* the same, N(0, 1) */
static inline void ft_normal_row(const ft_call *c, int64_t all, int64_t at, float *v, int64_t n)
{
    for (int64_t i = 0; i < n;) {
        uint32_t bits[4 * FT_SIDE];
        float normal[4 * FT_SIDE];
        int64_t from = at + i + c->step->rank * all, skip = from & 3, m = FT_MIN(4 * FT_SIDE - skip, n - i);
        ft_philox_row(c, from / 4, bits);
        for (int64_t k = 0; k < skip + m; k += 4) ft_philox_normal(bits + k, normal + k);
        memcpy(v + i, normal + skip, (size_t)m * sizeof(float));
        i += m;
    }
}

#endif
