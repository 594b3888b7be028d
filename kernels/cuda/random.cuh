/* Philox-4x32-10 on the device: the numbers of common/base/rng.h, value i of a node's stream = word i % 4 of counter i / 4. */
#ifndef FT_CUDA_RANDOM_CUH
#define FT_CUDA_RANDOM_CUH

#include "kernels/cuda/cuda.cuh"

FT_DEV void ft_philox4(const ft_step *step, uint32_t stream, uint64_t counter, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)step->seed, k1 = (uint32_t)(step->seed >> 32);
    uint64_t at = (uint64_t)step->step;
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32), c2 = (uint32_t)at, c3 = (uint32_t)(at >> 32) ^ stream;
#pragma unroll
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1, c3 = (uint32_t)p0, c0 = n0, c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

FT_DEV float ft_uniform_of(uint32_t bits) { return (float)(bits >> 8) * (1.0f / 16777216.0f); }

/* Four values from index `at` (a multiple of 4) of a rank's stream; `all`: values that a rank takes in a step. The rank's part
 * may begin within a counter: then two counters are read. */
template <bool NORMAL> FT_DEV void ft_random4(const ft_step *step, uint32_t stream, int64_t all, int64_t at, float out[4])
{
    int64_t from = at + (int64_t)step->rank * all;
    int skip = (int)(from & 3);
    float v[8] = {0};
#pragma unroll
    for (int half = 0; half < 2; half++) {
        uint32_t bits[4];
        if (half == 1 && skip == 0) break;
        ft_philox4(step, stream, (uint64_t)(from / 4 + half), bits);
#pragma unroll
        for (int i = 0; i < 4; i += NORMAL ? 2 : 1) {
            if (!NORMAL) {
                v[4 * half + i] = ft_uniform_of(bits[i]);
                continue;
            }
            float u = ((float)(bits[i] >> 8) + 0.5f) * (1.0f / 16777216.0f); /* never 0 */
            float r = sqrtf(-2.0f * logf(u)), a = 6.2831853071795865f * ft_uniform_of(bits[i + 1]);
            v[4 * half + i] = r * cosf(a);
            v[4 * half + i + 1] = r * sinf(a);
        }
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
        out[i] = skip == 0 ? v[i] : skip == 1 ? v[i + 1] : skip == 2 ? v[i + 2] : v[i + 3]; /* registers */
}

FT_DEV float ft_uniform1(const ft_step *step, uint32_t stream, int64_t all, int64_t at)
{
    uint32_t bits[4];
    int64_t from = at + (int64_t)step->rank * all;
    ft_philox4(step, stream, (uint64_t)(from / 4), bits);
    int word = (int)(from & 3);
    return ft_uniform_of(word == 0 ? bits[0] : word == 1 ? bits[1] : word == 2 ? bits[2] : bits[3]);
}

#endif
