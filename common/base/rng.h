/* Philox-4x32-10 (Salmon et al., SC 2011): random numbers as a function of (seed, step, stream, index).
 * The same numbers in any order, on any thread count, after a resume, and on any backend. */
#ifndef FT_RNG_H
#define FT_RNG_H

#include <stdint.h>

/* 4 words of 32 bits for the counter (index, step) under the key `seed`; the stream is XORed into the upper half of `step`, so
 * streams are apart for steps below 2^32. Every stream has its row in streams.h. */
void ft_philox(uint64_t seed, uint32_t stream, uint64_t step, uint64_t index, uint32_t out[4]);

float ft_philox_uniform(uint32_t bits);                      /* [0, 1), 24 bits */
void ft_philox_normal(const uint32_t bits[4], float out[4]); /* Box-Muller, 4 independent N(0, 1) */

/* A sequential reader over one stream, for host code (splits, augmentation, phantom). Copyable, no hidden state.
 * Starts at index 0 of (seed, stream, step). */
typedef struct {
    uint64_t seed, step, next;
    uint32_t stream;
    uint32_t block[4]; /* of value `next`, once its first was drawn */
} ft_rng;

ft_rng ft_rng_make(uint64_t seed, uint32_t stream, uint64_t step);
uint32_t ft_rng_bits(ft_rng *r);
double ft_rng_uniform(ft_rng *r);                        /* [0, 1) */
double ft_rng_range(ft_rng *r, double low, double high); /* [low, high) */
double ft_rng_normal(ft_rng *r);
int64_t ft_rng_below(ft_rng *r, int64_t n);            /* 0 .. n-1, unbiased */
void ft_rng_shuffle(ft_rng *r, int64_t *v, int64_t n); /* Fisher-Yates */

#endif
