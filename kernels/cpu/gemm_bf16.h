/* The product of gemm.h for bf16 operands on processors with VDPBF16PS: two products per lane and instruction, f32 sums. Where
 * there are AMX tiles, whole blocks of 16 rows go through them.
 *
 * The instruction multiplies pairs, so operands are words of two neighbours along k. Element (i, p) of A is the word
 * a[i * ai + p * ap]; a row of B is n words. Rows of a row-major matrix are words along their own length already; for the
 * other direction `ft_interleave` makes words of two rows, and serves as B or as A transposed. */
#ifndef FT_GEMM_BF16_H
#define FT_GEMM_BF16_H

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/tiles.h"

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

#if defined(__linux__)
/* Two operand rows of tiles times two columns of them: C (32, 32) f32. What does not fill a tile along k is copied beside zeros.
 */
enum { FT_TILE = 16 }; /* rows, and words of a row */

__attribute__((target("amx-tile,amx-bf16"))) static inline void ft_tile_step(bool two_rows, bool two_columns, const uint32_t *a,
                                                                             int64_t ai, const uint32_t *b, int64_t bp)
{
    _tile_loadd(4, a, (size_t)ai * 4);
    _tile_loadd(6, b, (size_t)bp * 4);
    _tile_dpbf16ps(0, 4, 6);
    if (two_columns) {
        _tile_loadd(7, b + FT_TILE, (size_t)bp * 4);
        _tile_dpbf16ps(1, 4, 7);
    }
    if (!two_rows) return;
    _tile_loadd(5, a + FT_TILE * ai, (size_t)ai * 4);
    _tile_dpbf16ps(2, 5, 6);
    if (two_columns) _tile_dpbf16ps(3, 5, 7);
}

__attribute__((target("amx-tile,amx-bf16"))) static inline void ft_tile_block(bool two_rows, bool two_columns, int64_t k,
                                                                              const uint32_t *a, int64_t ai, const uint32_t *b,
                                                                              int64_t bp, const uint32_t *b_tail, float *c,
                                                                              int64_t ci, bool add)
{
    uint32_t a_tail[2 * FT_TILE * FT_TILE];
    int64_t whole = k / FT_TILE * FT_TILE, rows = two_rows ? 2 * FT_TILE : FT_TILE;
    size_t stride = (size_t)ci * 4;
    if (add) {
        _tile_loadd(0, c, stride);
        if (two_columns) _tile_loadd(1, c + FT_TILE, stride);
        if (two_rows) _tile_loadd(2, c + FT_TILE * ci, stride);
        if (two_rows && two_columns) _tile_loadd(3, c + FT_TILE * ci + FT_TILE, stride);
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t p = 0; p < whole; p += FT_TILE) ft_tile_step(two_rows, two_columns, a + p, ai, b + p * bp, bp);
    if (whole < k) {
        memset(a_tail, 0, sizeof a_tail);
        for (int64_t i = 0; i < rows; i++) memcpy(a_tail + i * FT_TILE, a + i * ai + whole, (size_t)(k - whole) * 4);
        __asm__ volatile("" : : "r"(a_tail) : "memory"); /* GCC 12 does not see that tiles are read from memory */
        ft_tile_step(two_rows, two_columns, a_tail, FT_TILE, b_tail, 2 * FT_TILE);
    }
    _tile_stored(0, c, stride);
    if (two_columns) _tile_stored(1, c + FT_TILE, stride);
    if (two_rows) _tile_stored(2, c + FT_TILE * ci, stride);
    if (two_rows && two_columns) _tile_stored(3, c + FT_TILE * ci + FT_TILE, stride);
}

/* m and n: multiples of 16; words of A along k lie side by side */
__attribute__((target("amx-tile,amx-bf16"), noinline, unused)) static void ft_gemm_tiles(int64_t m, int64_t n, int64_t k,
                                                                                         const uint32_t *a, int64_t ai,
                                                                                         const uint32_t *b, int64_t bp, float *c,
                                                                                         int64_t ci, bool add)
{
    uint32_t b_tail[FT_TILE * 2 * FT_TILE];
    int64_t whole = k / FT_TILE * FT_TILE;
    ft_tiles_configure();
    for (int64_t j = 0; j < n; j += 2 * FT_TILE) {
        bool two_columns = j + FT_TILE < n;
        if (whole < k) {
            memset(b_tail, 0, sizeof b_tail);
            for (int64_t p = whole; p < k; p++)
                memcpy(b_tail + (p - whole) * 2 * FT_TILE, b + p * bp + j, (size_t)(two_columns ? 2 * FT_TILE : FT_TILE) * 4);
            __asm__ volatile("" : : "r"(b_tail) : "memory");
        }
        for (int64_t i = 0; i < m; i += 2 * FT_TILE)
            ft_tile_block(i + FT_TILE < m, two_columns, k, a + i * ai, ai, b + j, bp, b_tail, c + i * ci + j, ci, add);
    }
    _tile_release();
}
#endif

/* n: a multiple of 16 */
FT_BF16_TARGET static __attribute__((noinline, unused)) void ft_gemm_bf16(int64_t m, int64_t n, int64_t k, const uint32_t *a,
                                                                          int64_t ai, int64_t ap, const uint32_t *b, int64_t bp,
                                                                          float *c, int64_t ci, bool add)
{
    int64_t j = 0;
#if defined(__linux__)
    if (m >= FT_TILE && ap == 1 && ft_tiles()) {
        int64_t whole = m / FT_TILE * FT_TILE;
        ft_gemm_tiles(whole, n, k, a, ai, b, bp, c, ci, add);
        a += whole * ai, c += whole * ci, m -= whole;
    }
#endif
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
