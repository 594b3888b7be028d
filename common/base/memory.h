/* Memory: checked allocation with fault injection, and an arena whose blocks end in redzones in debug builds.
 * Every allocation of forty goes through here, so that a test can make the n-th one fail. */
#ifndef FT_MEMORY_H
#define FT_MEMORY_H

#include <stddef.h>
#include <stdint.h>

void *ft_alloc(size_t size);              /* zero-filled, 64-byte aligned; NULL when memory is short */
void *ft_alloc_n(int64_t n, size_t size); /* n elements; NULL also when their size does not fit */
void *ft_realloc(void *old, size_t size); /* as realloc: contents kept, new bytes undefined */
void ft_free(void *p);                    /* NULL is allowed */
char *ft_strdup(const char *s);
char *ft_format(const char *format, ...) __attribute__((format(printf, 1, 2))); /* a fresh string; NULL on no memory */

/* The most memory that this program has had resident, in MiB. Not getrusage's, which counts the parent's before exec. */
int64_t ft_peak_memory(void);
void ft_peak_memory_reset(void);  /* counted from now on, where the system allows it */
double ft_memory_available(void); /* MiB that can be had without swapping; NaN if the system does not say */
double ft_memory_total(void);     /* MiB of this machine; NaN */

/* Fault injection: the n-th allocation from now (1 = next) and none after it fails; 0 turns it off.
 * FORTY_FAIL_ALLOC=n in the environment does it from program start. */
void ft_alloc_fail_at(int64_t n);
int64_t ft_alloc_count(void); /* allocations so far */

/* Grows `*array` (elements of `size` bytes) so that `count` + 1 elements fit. Returns FT_OK or FT_ENOMEM. */
int ft_grow(void *array, size_t count, size_t size);

typedef struct ft_arena ft_arena;
ft_arena *ft_arena_new(void);                       /* NULL when memory is short */
void *ft_arena_alloc(ft_arena *arena, size_t size); /* zero-filled; NULL when memory is short */
char *ft_arena_strdup(ft_arena *arena, const char *s);
int ft_arena_check(const ft_arena *arena); /* FT_OK, or FT_EGRAPH when a redzone was overwritten (always FT_OK in release) */
void ft_arena_free(ft_arena *arena);       /* checks, then frees everything; NULL is allowed */

#endif
