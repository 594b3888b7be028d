/* A small matrix product for operands that lie in the cache: attention and state space kernels are made of it.
 *
 * C (m x n) = or += A (m x k) B (k x n), all f32. Rows of B and C are contiguous; element (i, p) of A is a[i * ai + p * ap], so A
 * may be read transposed for nothing (its elements are broadcast). A tile of ROWS x VECS vectors of C stays in registers.
 * Callers widen bf16 while they load; oneDNN does the large products (onednn.c). */
#ifndef FT_GEMM_H
#define FT_GEMM_H

#include "kernels/cpu/cpu.h"

#ifdef __AVX512F__
enum { FT_GEMM_ROWS = 6, FT_GEMM_VECS = 4 };
#elif defined(__AVX2__)
enum { FT_GEMM_ROWS = 6, FT_GEMM_VECS = 1 };
#else
enum { FT_GEMM_ROWS = 2, FT_GEMM_VECS = 1 };
#endif

static inline __attribute__((always_inline)) void ft_gemm_tile(int rows, int vecs, int64_t k, const float *a, int64_t ai,
                                                               int64_t ap, const float *b, int64_t bp, float *c, int64_t ci,
                                                               bool add)
{
    ft_v16 acc[FT_GEMM_ROWS][FT_GEMM_VECS], zero = {0};
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) acc[r][v] = add ? *(const ft_v16 *)(c + r * ci + 16 * v) : zero;
    for (int64_t p = 0; p < k; p++) {
        ft_v16 row[FT_GEMM_VECS];
        for (int v = 0; v < vecs; v++) row[v] = *(const ft_v16 *)(b + p * bp + 16 * v);
        for (int r = 0; r < rows; r++) {
            float s = a[r * ai + p * ap];
            for (int v = 0; v < vecs; v++) acc[r][v] += s * row[v];
        }
    }
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vecs; v++) *(ft_v16 *)(c + r * ci + 16 * v) = acc[r][v];
}

/* the last columns, fewer than 16: whole vectors are read and written in a copy */
static inline void ft_gemm_edge(int64_t m, int64_t n, int64_t k, const float *a, int64_t ai, int64_t ap, const float *b,
                                int64_t bp, float *c, int64_t ci, bool add)
{
    for (int64_t i = 0; i < m; i++) {
        float s[16] = {0};
        if (add)
            for (int64_t j = 0; j < n; j++) s[j] = c[i * ci + j];
        for (int64_t p = 0; p < k; p++) {
            float x = a[i * ai + p * ap];
            for (int64_t j = 0; j < n; j++) s[j] += x * b[p * bp + j];
        }
        for (int64_t j = 0; j < n; j++) c[i * ci + j] = s[j];
    }
}

static inline __attribute__((always_inline)) void ft_gemm_columns(int vecs, int64_t m, int64_t k, const float *a, int64_t ai,
                                                                  int64_t ap, const float *b, int64_t bp, float *c, int64_t ci,
                                                                  bool add)
{
    int64_t i = 0;
    for (; i + FT_GEMM_ROWS <= m; i += FT_GEMM_ROWS)
        ft_gemm_tile(FT_GEMM_ROWS, vecs, k, a + i * ai, ai, ap, b, bp, c + i * ci, ci, add);
    if (i + 4 <= m && FT_GEMM_ROWS > 4) {
        ft_gemm_tile(4, vecs, k, a + i * ai, ai, ap, b, bp, c + i * ci, ci, add);
        i += 4;
    }
    for (; i + 2 <= m; i += 2) ft_gemm_tile(2, vecs, k, a + i * ai, ai, ap, b, bp, c + i * ci, ci, add);
    if (i < m) ft_gemm_tile(1, vecs, k, a + i * ai, ai, ap, b, bp, c + i * ci, ci, add);
}

static __attribute__((noinline, unused)) void ft_gemm(int64_t m, int64_t n, int64_t k, const float *a, int64_t ai, int64_t ap,
                                                      const float *b, int64_t bp, float *c, int64_t ci, bool add)
{
    int64_t j = 0;
    for (; j + 16 * FT_GEMM_VECS <= n; j += 16 * FT_GEMM_VECS)
        ft_gemm_columns(FT_GEMM_VECS, m, k, a, ai, ap, b + j, bp, c + j, ci, add);
    for (; FT_GEMM_VECS > 2 && j + 32 <= n; j += 32)
        ft_gemm_columns(2 < FT_GEMM_VECS ? 2 : 1, m, k, a, ai, ap, b + j, bp, c + j, ci, add);
    for (; j + 16 <= n; j += 16) ft_gemm_columns(1, m, k, a, ai, ap, b + j, bp, c + j, ci, add);
    if (j < n) ft_gemm_edge(m, n - j, k, a, ai, ap, b + j, bp, c + j, ci, add);
}

/* 16 x 16 by four rounds of shuffles: neighbours of 1, 2, 4 and 8 change places */
static inline void ft_transpose16(ft_v16 r[16])
{
    ft_v16 t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
        t[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = i; j < i + 2; j++) {
            r[j] = __builtin_shufflevector(t[j], t[j + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
            r[j + 2] = __builtin_shufflevector(t[j], t[j + 2], 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
        }
    for (int i = 0; i < 16; i += 8)
        for (int j = i; j < i + 4; j++) {
            t[j] = __builtin_shufflevector(r[j], r[j + 4], 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
            t[j + 4] = __builtin_shufflevector(r[j], r[j + 4], 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = __builtin_shufflevector(t[j], t[j + 8], 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
        r[j + 8] = __builtin_shufflevector(t[j], t[j + 8], 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    }
}

/* y (columns x rows, row stride yi) = x (rows x columns, row stride xi) transposed */
static __attribute__((noinline, unused)) void ft_transpose(const float *x, int64_t xi, int64_t rows, int64_t columns, float *y,
                                                           int64_t yi)
{
    int64_t full_r = rows / 16 * 16, full_c = columns / 16 * 16;
    for (int64_t r = 0; r < full_r; r += 16)
        for (int64_t c = 0; c < full_c; c += 16) {
            ft_v16 t[16];
            for (int i = 0; i < 16; i++) t[i] = *(const ft_v16 *)(x + (r + i) * xi + c);
            ft_transpose16(t);
            for (int i = 0; i < 16; i++) *(ft_v16 *)(y + (c + i) * yi + r) = t[i];
        }
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = r < full_r ? full_c : 0; c < columns; c++) y[c * yi + r] = x[r * xi + c];
}

/* rows of n values with stride `si` from position `at` of b, as f32 rows of stride `di` */
static inline void ft_load_rows(float *dst, int64_t di, const ft_buf *b, int64_t at, int64_t si, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++) {
        const float *v = ft_load(dst + r * di, b, at + r * si, n);
        if (v != dst + r * di) memcpy(dst + r * di, v, (size_t)n * sizeof(float));
    }
}
static inline void ft_store_rows(const ft_buf *b, int64_t at, int64_t si, const float *src, int64_t di, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows; r++) ft_store_at(b, at + r * si, src + r * di, n);
}

#endif
