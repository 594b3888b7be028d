/* Sizes that come from files. Every reader multiplies and adds them with these, and asks before it takes memory for them. */
#ifndef FT_BOUNDS_H
#define FT_BOUNDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* False: the result does not fit (or a factor is negative), and *out is not to be used. */
static inline bool ft_mul_size(size_t a, size_t b, size_t *out) { return !__builtin_mul_overflow(a, b, out); }
static inline bool ft_add_size(size_t a, size_t b, size_t *out) { return !__builtin_add_overflow(a, b, out); }
static inline bool ft_mul_count(int64_t a, int64_t b, int64_t *out)
{
    return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, out);
}

/* What a file may ask for stands in proportion to what it holds: FT_OK up to 64 MiB + `ratio` x the bytes that it holds, else
 * FT_EDATA saying how much it wanted and how to allow it. FORTY_FILE_RATIO=N in the environment, for files that are trusted,
 * allows N bytes for each. `what`: of what ("clips", "tensors"). */
int ft_may_ask(const char *path, const char *what, uint64_t want, uint64_t held, unsigned ratio);

#endif
