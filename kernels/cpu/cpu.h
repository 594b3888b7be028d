/* What the CPU kernels share. Every kernel file is compiled once per instruction set (CMake: FT_ISA = base, v3, v4) and
 * cpu_select.c picks the table at start. All kernels compute in f32: bf16 is a storage format, widened in L1.
 *
 * Loops over threads are `#pragma omp parallel for`; reductions have a fixed number of parts (FT_PARTS), so results do not
 * depend on the thread count. */
#ifndef FT_CPU_H
#define FT_CPU_H

#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "common/base/status.h"
#include "kernels/elem.h"
#include "kernels/limits.h"

#define FT_JOIN3(a, b, c) a##b##_##c
#define FT_JOIN(a, b, c)  FT_JOIN3(a, b, c)
#define FT_CPU(name)      FT_JOIN(ft_cpu_, name, FT_ISA)
#define FT_PREPARE(name)  FT_JOIN(ft_prepare_, name, FT_ISA)

enum { FT_BLOCK = 1024, FT_PARTS = 32, FT_SMALL = 16384 }; /* FT_SMALL: elements below which one thread is faster */

#define FT_MIN(a, b) ((a) < (b) ? (a) : (b))
#define FT_MAX(a, b) ((a) > (b) ? (a) : (b))

static inline size_t ft_size(ft_dtype d) { return d == FT_U8 ? 1 : d == FT_BF16 ? 2 : 4; }
static inline char *ft_at(const ft_buf *b, int64_t i) { return (char *)b->data + (size_t)i * ft_size(b->dtype); }

static inline void ft_widen(float *dst, const uint16_t *src, int64_t n)
{
    for (int64_t i = 0; i < n; i++) dst[i] = ft_from_bf16(src[i]);
}
#if defined(__AVX512VL__) && defined(__AVX512BW__) /* one instruction where the processor has it; it makes denormals 0 */
#define FT_BF16_TARGET __attribute__((target("avx512bf16")))
static inline bool ft_bf16_instructions(void) { return __builtin_cpu_supports("avx512bf16"); }
FT_BF16_TARGET static __attribute__((noinline, unused)) void ft_narrow_by_instruction(uint16_t *dst, const float *src, int64_t n)
{
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) _mm256_storeu_si256((__m256i *)(dst + i), (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(src + i)));
    if (i == n) return;
    __mmask16 rest = (__mmask16)((1u << (n - i)) - 1);
    _mm256_mask_storeu_epi16(dst + i, rest, (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(rest, src + i)));
}
#else
static inline bool ft_bf16_instructions(void) { return false; }
static inline void ft_narrow_by_instruction(uint16_t *dst, const float *src, int64_t n) { (void)dst, (void)src, (void)n; }
#endif

static inline void ft_narrow(uint16_t *dst, const float *src, int64_t n)
{
    if (n >= 8 && ft_bf16_instructions()) ft_narrow_by_instruction(dst, src, n);
    else
        for (int64_t i = 0; i < n; i++) dst[i] = ft_to_bf16(src[i]);
}

/* n values from position i as f32: the buffer itself, or `tmp` filled. */
static inline const float *ft_load(float *tmp, const ft_buf *b, int64_t i, int64_t n)
{
    if (b->dtype == FT_F32) return (const float *)b->data + i;
    ft_widen(tmp, (const uint16_t *)b->data + i, n);
    return tmp;
}
/* Where to compute n values for position i (the buffer itself or `tmp`); ft_store then rounds them into place. */
static inline float *ft_into(float *tmp, const ft_buf *b, int64_t i) { return b->dtype == FT_F32 ? (float *)b->data + i : tmp; }
static inline void ft_store_at(const ft_buf *b, int64_t i, const float *v, int64_t n)
{
    if (b->dtype == FT_BF16) ft_narrow((uint16_t *)b->data + i, v, n);
    else if (v != (const float *)b->data + i) memcpy((float *)b->data + i, v, (size_t)n * sizeof(float));
}

typedef float ft_v16 __attribute__((vector_size(64), aligned(4), may_alias));

static inline float ft_lanes(ft_v16 v)
{
    float s = 0;
    for (int k = 0; k < 16; k++) s += v[k];
    return s;
}

/* Four vectors of partial sums, added at the end: short chains, and small rounding errors. */
static inline float ft_dot(const float *a, const float *b, int64_t n)
{
    ft_v16 s[4] = {{0}};
    float tail = 0;
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int k = 0; k < 4; k++) s[k] += *(const ft_v16 *)(a + i + 16 * k) * *(const ft_v16 *)(b + i + 16 * k);
    for (; i + 16 <= n; i += 16) s[0] += *(const ft_v16 *)(a + i) * *(const ft_v16 *)(b + i);
    for (; i < n; i++) tail += a[i] * b[i];
    return tail + ft_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

static inline float ft_sum(const float *a, int64_t n)
{
    ft_v16 s[4] = {{0}};
    float tail = 0;
    int64_t i = 0;
    for (; i + 64 <= n; i += 64)
        for (int k = 0; k < 4; k++) s[k] += *(const ft_v16 *)(a + i + 16 * k);
    for (; i + 16 <= n; i += 16) s[0] += *(const ft_v16 *)(a + i);
    for (; i < n; i++) tail += a[i];
    return tail + ft_lanes((s[0] + s[1]) + (s[2] + s[3]));
}

/* The largest value (NaN aside: the sum that follows shows it). */
static inline float ft_top(const float *a, int64_t n)
{
    float top = a[0];
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < n; i++) top = a[i] > top ? a[i] : top;
    return top;
}

/* A loop of its own: inside larger ones GCC 12 turns the clamps of exp into branches and vectorises nothing. */
static inline void ft_exp_row(float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = ft_exp1(x[i]);
}

static inline int64_t ft_last(const ft_buf *b) { return b->dim[b->ndim - 1]; }
static inline int64_t ft_part(int64_t n, int64_t part, int64_t parts) { return n * part / parts; }

/* rows marked LIB exist once (the library has its own dispatch), all others once per instruction set */
#define FT_KERNEL_PREP(name)   FT_CPU(name)
#define FT_KERNEL_NOPREP(name) FT_CPU(name)
#define FT_KERNEL_LIB(name)    ft_cpu_##name
#define FT_PROTO_PREP(name)    ft_prepare FT_PREPARE(name);
#define FT_PROTO_NOPREP(name)
#define FT_PROTO_LIB(name) ft_prepare ft_prepare_##name;
#ifdef FT_ISA
#define OP(name, grad, prep, place, dev)                                                                                         \
    ft_kernel FT_KERNEL_##prep(name);                                                                                            \
    FT_PROTO_##prep(name)
FT_OP_TABLE(OP)
#undef OP
double FT_CPU(registers)(bool bf16, int64_t steps); /* registers.c */
#endif

int ft_cpu_threads(void); /* cpu_select.c */
int ft_cpu_thread_id(void);

#endif
