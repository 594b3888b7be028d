#include "common/base/memory.h"

#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/status.h"

static _Atomic int64_t count;
static _Atomic int64_t fail_at = -1; /* -1: environment not read yet */

int64_t ft_peak_memory(void)
{
    char line[256];
    long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
    if (f) fclose(f);
    return kib / 1024;
}

void ft_peak_memory_reset(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);
    fclose(f);
}

static double meminfo(const char *format)
{
    char line[256];
    double kib = NAN;
    FILE *f = fopen("/proc/meminfo", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, format, &kib) == 1) break;
    if (f) fclose(f);
    return kib / 1024;
}

double ft_memory_available(void) { return meminfo("MemAvailable: %lf"); }
double ft_memory_total(void) { return meminfo("MemTotal: %lf"); }

void ft_alloc_fail_at(int64_t n) { fail_at = n > 0 ? count + n : 0; }
int64_t ft_alloc_count(void) { return count; }

static bool injected(void)
{
    if (fail_at < 0) {
        const char *s = getenv("FORTY_FAIL_ALLOC");
        fail_at = s ? atoll(s) : 0;
    }
    return ++count == fail_at;
}

void *ft_alloc(size_t size)
{
    if (injected()) return NULL;
    size_t rounded = (size + 63) / 64 * 64;
    if (rounded < size) return NULL;
    void *p = aligned_alloc(64, rounded ? rounded : 64);
    if (p) memset(p, 0, rounded ? rounded : 64);
    return p;
}

void *ft_alloc_n(int64_t n, size_t size)
{
    size_t all;
    return n >= 0 && ft_mul_size((size_t)n, size, &all) ? ft_alloc(all) : NULL;
}

void *ft_realloc(void *old, size_t size)
{
    if (injected()) return NULL;
    return realloc(old, size ? size : 1);
}

void ft_free(void *p) { free(p); }

char *ft_strdup(const char *s)
{
    size_t n = strlen(s) + 1;
    char *p = ft_alloc(n);
    return p ? memcpy(p, s, n) : NULL;
}

char *ft_format(const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *s = ft_alloc((size_t)n + 1);
    if (s) vsnprintf(s, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return s;
}

int ft_grow(void *array, size_t n, size_t size)
{
    /* capacity is the next power of two, so it need not be stored */
    if (n & (n - 1) || (n && n < 8)) return FT_OK;
    if (n == 0 || n >= 8) {
        void **p = array;
        size_t all;
        void *bigger = ft_mul_size(n ? n * 2 : 8, size, &all) && n <= SIZE_MAX / 4 ? ft_realloc(*p, all) : NULL;
        if (!bigger) return FT_FAIL(FT_ENOMEM, "no memory for %zu entries of %zu bytes. Close other programs", n * 2, size);
        *p = bigger;
    }
    return FT_OK;
}

enum { REDZONE = 64 };
static const unsigned char redzone_byte = 0xA5;

typedef struct block {
    struct block *next;
    size_t size;
    unsigned char pad[48]; /* data starts on a cache line */
} block;

struct ft_arena {
    block *first;
};

#ifdef NDEBUG
static const size_t guard = 0;
#else
static const size_t guard = REDZONE;
#endif

ft_arena *ft_arena_new(void) { return ft_alloc(sizeof(ft_arena)); }

void *ft_arena_alloc(ft_arena *arena, size_t size)
{
    if (!arena) return NULL;
    size_t all;
    block *b = ft_add_size(sizeof *b + guard, size, &all) ? ft_alloc(all) : NULL;
    if (!b) return NULL;
    b->size = size;
    b->next = arena->first;
    arena->first = b;
    memset((unsigned char *)(b + 1) + size, redzone_byte, guard);
    return b + 1;
}

char *ft_arena_strdup(ft_arena *arena, const char *s)
{
    char *p = ft_arena_alloc(arena, strlen(s) + 1);
    return p ? strcpy(p, s) : NULL;
}

int ft_arena_check(const ft_arena *arena)
{
    for (const block *b = arena->first; b; b = b->next)
        for (size_t i = 0; i < guard; i++)
            if (((const unsigned char *)(b + 1))[b->size + i] != redzone_byte)
                return FT_FAIL(FT_EGRAPH, "a block of %zu bytes was overrun by %zu or more", b->size, i + 1);
    return FT_OK;
}

void ft_arena_free(ft_arena *arena)
{
    if (!arena) return;
    FT_ASSERT(ft_arena_check(arena) == FT_OK);
    for (block *b = arena->first, *next; b; b = next) {
        next = b->next;
        ft_free(b);
    }
    ft_free(arena);
}
