#include "common/base/rng.h"

#include <math.h>

void ft_philox(uint64_t seed, uint32_t stream, uint64_t step, uint64_t index, uint32_t out[4])
{
    /* the counter takes the index, and the step mixed with the stream; the key is the seed */
    uint32_t c0 = (uint32_t)index, c1 = (uint32_t)(index >> 32), c2 = (uint32_t)step, c3 = (uint32_t)(step >> 32) ^ stream;
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

float ft_philox_uniform(uint32_t bits) { return (float)(bits >> 8) * (1.0f / 16777216.0f); }

void ft_philox_normal(const uint32_t bits[4], float out[4])
{
    for (int i = 0; i < 4; i += 2) {
        float u = ((float)(bits[i] >> 8) + 0.5f) * (1.0f / 16777216.0f); /* never 0 */
        float r = sqrtf(-2.0f * logf(u)), a = 6.2831853071795865f * ft_philox_uniform(bits[i + 1]);
        out[i] = r * cosf(a);
        out[i + 1] = r * sinf(a);
    }
}

ft_rng ft_rng_make(uint64_t seed, uint32_t stream, uint64_t step)
{
    return (ft_rng){.seed = seed, .step = step, .stream = stream};
}

uint32_t ft_rng_bits(ft_rng *r)
{
    if (r->next % 4 == 0) ft_philox(r->seed, r->stream, r->step, r->next / 4, r->block);
    return r->block[r->next++ % 4];
}

double ft_rng_uniform(ft_rng *r)
{
    uint64_t hi = ft_rng_bits(r), lo = ft_rng_bits(r);
    return (double)((hi << 32 | lo) >> 11) * (1.0 / 9007199254740992.0);
}

double ft_rng_range(ft_rng *r, double low, double high) { return low + (high - low) * ft_rng_uniform(r); }

double ft_rng_normal(ft_rng *r)
{
    double u = 1.0 - ft_rng_uniform(r), v = ft_rng_uniform(r);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

int64_t ft_rng_below(ft_rng *r, int64_t n)
{
    uint64_t limit = UINT64_MAX - UINT64_MAX % (uint64_t)n, x;
    do {
        uint64_t hi = ft_rng_bits(r);
        x = hi << 32 | ft_rng_bits(r);
    } while (x >= limit);
    return (int64_t)(x % (uint64_t)n);
}

void ft_rng_shuffle(ft_rng *r, int64_t *v, int64_t n)
{
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = ft_rng_below(r, i + 1), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}
