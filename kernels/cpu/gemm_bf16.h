/* The product of gemm.h for bf16 operands on processors with VDPBF16PS: two products per lane and instruction, f32 sums.
 *
 * The instruction multiplies pairs, so operands are words of two neighbours along k. Element (i, p) of A is the word
 * a[i * ai + p * ap]; a row of B is n words. Rows of a row-major matrix are words along their own length already; for the
 * other direction `ft_interleave` makes words of two rows, and serves as B or as A transposed. */
#ifndef FT_GEMM_BF16_H
#define FT_GEMM_BF16_H

#include "kernels/cpu/gemm.h"

#if defined(__AVX512F__) && defined(__AVX512BW__)
FT_BF16_TARGET static inline __attribute__((always_inline)) void ft_gemm_bf16_tile(int rows, int vecs, int64_t k,
                                                                                   const uint32_t *a, int64_t ai, int64_t ap,
                                                                                   const uint32_t *b, int64_t bp, float *c,
                                                                                   int64_t ci, bool add)
{
    __m512 acc[6][4];
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) acc[r][v] = add ? _mm512_loadu_ps(c + r * ci + 16 * v) : _mm512_setzero_ps();
    for (int64_t p = 0; p < k; p++) {
        __m512bh row[4];
        for (int v = 0; v < vecs; v++) row[v] = (__m512bh)_mm512_loadu_si512(b + p * bp + 16 * v);
        for (int r = 0; r < rows; r++) {
            __m512bh s = (__m512bh)_mm512_set1_epi32((int)a[r * ai + p * ap]);
            for (int v = 0; v < vecs; v++) acc[r][v] = _mm512_dpbf16_ps(acc[r][v], s, row[v]);
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) _mm512_storeu_ps(c + r * ci + 16 * v, acc[r][v]);
}

FT_BF16_TARGET static inline __attribute__((always_inline)) void ft_gemm_bf16_columns(int vecs, int64_t m, int64_t k,
                                                                                      const uint32_t *a, int64_t ai, int64_t ap,
                                                                                      const uint32_t *b, int64_t bp, float *c,
                                                                                      int64_t ci, bool add)
{
    int64_t i = 0;
    for (; i + 6 <= m; i += 6) ft_gemm_bf16_tile(6, vecs, k, a + i * ai, ai, ap, b, bp, c + i * ci, ci, add);
    for (; i + 2 <= m; i += 2) ft_gemm_bf16_tile(2, vecs, k, a + i * ai, ai, ap, b, bp, c + i * ci, ci, add);
    if (i < m) ft_gemm_bf16_tile(1, vecs, k, a + i * ai, ai, ap, b, bp, c + i * ci, ci, add);
}

/* n: a multiple of 16 */
FT_BF16_TARGET static __attribute__((noinline, unused)) void ft_gemm_bf16(int64_t m, int64_t n, int64_t k, const uint32_t *a,
                                                                          int64_t ai, int64_t ap, const uint32_t *b, int64_t bp,
                                                                          float *c, int64_t ci, bool add)
{
    int64_t j = 0;
    for (; j + 64 <= n; j += 64) ft_gemm_bf16_columns(4, m, k, a, ai, ap, b + j, bp, c + j, ci, add);
    for (; j + 16 <= n; j += 16) ft_gemm_bf16_columns(1, m, k, a, ai, ap, b + j, bp, c + j, ci, add);
}
#else
static inline void ft_gemm_bf16(int64_t m, int64_t n, int64_t k, const uint32_t *a, int64_t ai, int64_t ap, const uint32_t *b,
                                int64_t bp, float *c, int64_t ci, bool add)
{
    (void)m, (void)n, (void)k, (void)a, (void)ai, (void)ap, (void)b, (void)bp, (void)c, (void)ci, (void)add;
    FT_ASSERT(!"no bf16 products in this build");
}
#endif

/* words of rows 2r and 2r + 1 of x (rows, n), row stride xi; an odd last row is paired with zeros */
static inline void ft_interleave(uint32_t *y, int64_t yi, const uint16_t *x, int64_t xi, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r += 2) {
        const uint16_t *a = x + r * xi, *b = a + xi;
        uint32_t *to = y + r / 2 * yi;
        if (r + 1 < rows)
            for (int64_t i = 0; i < n; i++) to[i] = (uint32_t)a[i] | (uint32_t)b[i] << 16;
        else
            for (int64_t i = 0; i < n; i++) to[i] = a[i];
    }
}

#endif
