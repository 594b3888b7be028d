/* Tensor cores and asynchronous copies: bf16 products of 16 x 8 x 16 with f32 sums (mma.sync, from sm_80 on), the loads that lay
 * operands out for them (ldmatrix), copies of 16 bytes into shared memory that a thread does not wait for (cp.async).
 *
 * A fragment, by lane (g = lane / 4, c = lane % 4): sums d[0..3] are (g, 2c), (g, 2c+1), (g+8, 2c), (g+8, 2c+1) of 16 x 8; of A
 * (16 x 16) a[0..3] are the pairs at (g, 2c), (g+8, 2c), (g, 2c+8), (g+8, 2c+8): two neighbouring tiles of sums, narrowed, are an
 * A. The host shim carries all of it out between its 32 lanes. */
#ifndef FT_CUDA_TENSOR_CUH
#define FT_CUDA_TENSOR_CUH

#include "kernels/cuda/cuda.cuh"

/* d += A B */
FT_DEV void ft_mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1)
{
#ifdef FT_SHIM
    ft_shim_mma(d, a, b0, b1);
#else
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

/* Four 8 x 8 tiles, tile q from the 8 rows of 16 bytes that lanes 8q .. 8q+7 point at; turned: each transposed */
FT_DEV void ft_load_tiles(uint32_t r[4], const bf16 *row, bool turned)
{
#ifdef FT_SHIM
    ft_shim_load_tiles(r, row, turned);
#else
    uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    if (turned)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(at)
                     : "memory");
#endif
}

/* A (16 x 16) whose rows lie ld apart; or whose columns do */
FT_DEV void ft_load_a(uint32_t a[4], const bf16 *m, int ld)
{
    int lane = (int)threadIdx.x % FT_WARP;
    ft_load_tiles(a, m + lane % 16 * ld + lane / 16 * 8, false);
}
FT_DEV void ft_load_a_turned(uint32_t a[4], const bf16 *m, int ld)
{
    int lane = (int)threadIdx.x % FT_WARP;
    ft_load_tiles(a, m + (lane % 8 + lane / 16 * 8) * ld + lane / 8 % 2 * 8, true);
}
/* B of two neighbouring products (16 x 16, b[0..1] and b[2..3]) whose rows lie ld apart; or whose columns do */
FT_DEV void ft_load_b(uint32_t b[4], const bf16 *m, int ld)
{
    int lane = (int)threadIdx.x % FT_WARP;
    ft_load_tiles(b, m + lane % 16 * ld + lane / 16 * 8, true);
}
FT_DEV void ft_load_b_turned(uint32_t b[4], const bf16 *m, int ld)
{
    int lane = (int)threadIdx.x % FT_WARP;
    ft_load_tiles(b, m + (lane % 8 + lane / 16 * 8) * ld + lane / 8 % 2 * 8, false);
}
/* two neighbouring tiles of d += A B */
FT_DEV void ft_mma_pair(float d[2][4], const uint32_t a[4], const uint32_t b[4])
{
    ft_mma(d[0], a, b[0], b[1]);
    ft_mma(d[1], a, b[2], b[3]);
}
/* two neighbouring tiles of sums as an A */
FT_DEV void ft_narrow_a(uint32_t a[4], const float d[2][4])
{
    a[0] = ft_pair(d[0][0], d[0][1]), a[1] = ft_pair(d[0][2], d[0][3]);
    a[2] = ft_pair(d[1][0], d[1][1]), a[3] = ft_pair(d[1][2], d[1][3]);
}
/* ... as two: what is left of the values after the first narrowing is the second's, so their products add to f32's digits */
FT_DEV void ft_split_a(uint32_t a[4], uint32_t rest[4], const float d[2][4])
{
    float r[2][4];
    ft_narrow_a(a, d);
#pragma unroll
    for (int i = 0; i < 8; i++) {
        uint32_t pair = a[i / 2 % 2 + i / 4 * 2];
        r[i / 4][i % 4] = d[i / 4][i % 4] - (i % 2 ? ft_high(pair) : ft_low(pair));
    }
    ft_narrow_a(rest, r);
}

/* 16 bytes to shared memory, zeros where they do not lie inside; done once ft_copies_done was called, and for other threads after
 * the barrier behind it */
FT_DEV void ft_copy(bf16 *to, const bf16 *from, bool inside)
{
#ifdef FT_SHIM
    ft_shim_copy(to, from, inside);
#else
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(inside ? 16 : 0) : "memory");
#endif
}
FT_DEV void ft_copies_done(void)
{
#ifdef FT_SHIM
    ft_shim_copies_done();
#else
    asm volatile("cp.async.wait_all;" ::: "memory");
#endif
}

/* Runs a statement with P, the channels of a head: 16, 32 or 64 */
#define FT_BY_HEAD(p, ...)                                                                                                       \
    do {                                                                                                                         \
        if ((p) == 64) {                                                                                                         \
            enum { P = 64 };                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        } else if ((p) == 32) {                                                                                                  \
            enum { P = 32 };                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { P = 16 };                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

#endif
