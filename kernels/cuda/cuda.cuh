/* What the CUDA kernels share: storage types, wide loads, sums over warps and blocks, launch sizes.
 *
 * Kernels compute in f32; bf16 is a storage format. They are templates over the storage type T and the values N that a thread
 * reads at once (16 bytes, or 1 where addresses or lengths do not allow it). Sums have a fixed shape: no atomics, the same result
 * in every run. Blocks do not talk to each other; what must wait for another block is a kernel of its own.
 *
 * The same files are compiled by g++ against tests/shim: FT_LAUNCH, FT_SHARED and FT_DYNAMIC_SHARED stand for what g++ cannot
 * parse. */
#ifndef FT_CUDA_CUH
#define FT_CUDA_CUH

#include <cuda_runtime.h>

#include "kernels/cuda/runtime.h"
#include "kernels/elem.h"

#ifndef FT_SHIM
#define FT_LAUNCH(kernel, grid, block, smem, stream, ...) (kernel)<<<(grid), (block), (smem), (stream)>>>(__VA_ARGS__)
#define FT_SHARED(type, name, dims)                                                                                              \
    typedef type name##_shared_t dims;                                                                                           \
    __shared__ name##_shared_t name
#define FT_DYNAMIC_SHARED(type, name)                                                                                            \
    extern __shared__ __align__(16) unsigned char ft_dynamic_shared[];                                                           \
    type *name = (type *)ft_dynamic_shared
#endif
#define FT_DEV static __device__ __forceinline__

enum { FT_WARP = 32, FT_THREADS = 256, FT_WARPS = FT_THREADS / FT_WARP };

/* ---- storage ------------------------------------------------------------------------------------------------------------ */

struct bf16 {
    uint16_t bits;
};

FT_DEV float ft_get(const float *p) { return *p; }
FT_DEV float ft_get(const bf16 *p) { return ft_from_bf16(p->bits); }
FT_DEV void ft_put(float *p, float v) { *p = v; }
FT_DEV void ft_put(bf16 *p, float v)
{
#ifdef __CUDA_ARCH__
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(p->bits) : "f"(v));
#else
    p->bits = ft_to_bf16(v);
#endif
}

template <typename T, int N> struct alignas(N * sizeof(T)) ft_pack {
    T v[N];
};

/* pairs of bf16 as the words they lie in: one instruction a value to widen, one a pair to narrow */
template <int N> struct __attribute__((aligned(4 * N), may_alias)) ft_words {
    uint32_t v[N];
};
FT_DEV float ft_bits_float(uint32_t bits)
{
#ifdef __CUDA_ARCH__
    return __uint_as_float(bits);
#else
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
#endif
}
FT_DEV float ft_low(uint32_t pair) { return ft_bits_float(pair << 16); }
FT_DEV float ft_high(uint32_t pair) { return ft_bits_float(pair & 0xFFFF0000u); }
FT_DEV uint32_t ft_pair(float low, float high)
{
#ifdef __CUDA_ARCH__
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#else
    return (uint32_t)ft_to_bf16(low) | (uint32_t)ft_to_bf16(high) << 16;
#endif
}

/* N values at p, aligned to all of them together; zeros where they do not lie inside */
template <int N, typename T> FT_DEV void ft_read_inside(float *to, const T *p, bool inside)
{
    ft_pack<T, N> k = {};
    if (inside) k = *(const ft_pack<T, N> *)p;
#pragma unroll
    for (int i = 0; i < N; i++) to[i] = ft_get(&k.v[i]);
}
template <int N> FT_DEV void ft_read_inside(float *to, const bf16 *p, bool inside)
{
    if constexpr (N == 1) {
        to[0] = inside ? ft_get(p) : 0.0f;
    } else {
        ft_words<N / 2> k = {};
        if (inside) k = *(const ft_words<N / 2> *)p;
#pragma unroll
        for (int i = 0; i < N; i++) to[i] = i % 2 ? ft_high(k.v[i / 2]) : ft_low(k.v[i / 2]);
    }
}
template <int N, typename T> FT_DEV void ft_read(float *to, const T *p) { ft_read_inside<N>(to, p, true); }
template <int N, typename T> FT_DEV void ft_write(T *p, const float *from)
{
    ft_pack<T, N> k;
#pragma unroll
    for (int i = 0; i < N; i++) ft_put(&k.v[i], from[i]);
    *(ft_pack<T, N> *)p = k;
}
template <int N> FT_DEV void ft_write(bf16 *p, const float *from)
{
    if constexpr (N == 1) {
        ft_put(p, from[0]);
    } else {
        ft_words<N / 2> k;
#pragma unroll
        for (int i = 0; i < N / 2; i++) k.v[i] = ft_pair(from[2 * i], from[2 * i + 1]);
        *(ft_words<N / 2> *)p = k;
    }
}

/* Runs a statement with T = the storage type of `dtype` */
#define FT_BY_TYPE(dtype, ...)                                                                                                   \
    do {                                                                                                                         \
        if ((dtype) == FT_BF16) {                                                                                                \
            typedef bf16 T;                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            typedef float T;                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)
/* ... with X and T = the storage of two buffers, each */
#define FT_BY_TYPES(x, t, ...)                                                                                                   \
    do {                                                                                                                         \
        if ((x)->dtype == FT_BF16 && (t)->dtype == FT_BF16) {                                                                    \
            typedef bf16 X;                                                                                                      \
            typedef bf16 T;                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else if ((x)->dtype == FT_BF16) {                                                                                      \
            typedef bf16 X;                                                                                                      \
            typedef float T;                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        } else if ((t)->dtype == FT_BF16) {                                                                                      \
            typedef float X;                                                                                                     \
            typedef bf16 T;                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            typedef float X;                                                                                                     \
            typedef float T;                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)
/* ... and with N = values in 16 bytes where `wide` holds, else 1 */
#define FT_BY_WIDTH(wide, ...)                                                                                                   \
    do {                                                                                                                         \
        if (wide) {                                                                                                              \
            enum { N = 16 / sizeof(T) };                                                                                         \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { N = 1 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

static inline bool ft_aligned(const void *p) { return ((uintptr_t)p & 15) == 0; }
static inline bool ft_aligned(const ft_buf *b) { return !b || ft_aligned(b->data); }
/* rows of n values of b can be read 16 bytes at a time (b may be absent) */
static inline bool ft_wide(const ft_buf *b, int64_t n)
{
    return !b || (ft_aligned(b->data) && n % (b->dtype == FT_BF16 ? 8 : 4) == 0);
}

template <typename T> static inline T *ft_as(const ft_buf *b) { return b ? (T *)b->data : (T *)NULL; }

/* ---- launches ----------------------------------------------------------------------------------------------------------- */

FT_FN int64_t ft_ceil(int64_t n, int64_t by) { return (n + by - 1) / by; }
/* Blocks for n tasks, `each` to a block; kernels walk on by the grid's size */
static inline unsigned ft_blocks(int64_t n, int64_t each)
{
    int64_t b = ft_ceil(n, each);
    return (unsigned)(b < 1 ? 1 : b > (1 << 20) ? 1 << 20 : b);
}
#define FT_EACH(i, n)                                                                                                            \
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < (n); i += (int64_t)gridDim.x * blockDim.x)
#define FT_RUN(kernel, n, ...) FT_LAUNCH(kernel, ft_blocks((n), FT_THREADS), FT_THREADS, 0, ft_cuda_stream, __VA_ARGS__)
/* a block has more than 48 KiB of dynamic shared memory only if its kernel was told so */
#define FT_LAUNCH_BIG(kernel, grid, block, smem, ...)                                                                            \
    do {                                                                                                                         \
        if ((smem) > (48u << 10)) cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(smem));        \
        FT_LAUNCH(kernel, grid, block, smem, ft_cuda_stream, __VA_ARGS__);                                                       \
    } while (0)

/* ---- sums --------------------------------------------------------------------------------------------------------------- */

template <typename V> FT_DEV V ft_warp_sum(V v)
{
#pragma unroll
    for (int by = 16; by > 0; by /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, by);
    return v;
}
FT_DEV float ft_warp_max(float v) /* NaN aside */
{
#pragma unroll
    for (int by = 16; by > 0; by /= 2) v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, by));
    return v;
}

/* Over the G threads that share a row: a warp, or the block of FT_THREADS. Every thread gets the result. */
template <int G, typename V> FT_DEV V ft_sum(V v)
{
    v = ft_warp_sum(v);
    if (G == FT_WARP) return v;
    FT_SHARED(V, part, [FT_WARPS]);
    __syncthreads(); /* the part of an earlier sum has been read */
    if (threadIdx.x % FT_WARP == 0) part[threadIdx.x / FT_WARP] = v;
    __syncthreads();
    V all = part[0];
#pragma unroll
    for (int i = 1; i < FT_WARPS; i++) all += part[i];
    return all;
}
template <int G> FT_DEV float ft_max(float v)
{
    v = ft_warp_max(v);
    if (G == FT_WARP) return v;
    FT_SHARED(float, part, [FT_WARPS]);
    __syncthreads();
    if (threadIdx.x % FT_WARP == 0) part[threadIdx.x / FT_WARP] = v;
    __syncthreads();
    float all = part[0];
#pragma unroll
    for (int i = 1; i < FT_WARPS; i++) all = fmaxf(all, part[i]);
    return all;
}

/* Rows of n values: a warp each, or a block each where rows are long and few */
static inline bool ft_long_rows(int64_t rows, int64_t n) { return n > 1024 && rows < 2048; }
#define FT_BY_GROUP(by_block, ...)                                                                                               \
    do {                                                                                                                         \
        if (by_block) {                                                                                                          \
            enum { G = FT_THREADS };                                                                                             \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { G = FT_WARP };                                                                                                \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)
/* for kernels over rows: this thread's place in its row, and the rows that its group visits */
#define FT_EACH_ROW(r, rows)                                                                                                     \
    for (int64_t r = (int64_t)blockIdx.x * (FT_THREADS / G) + threadIdx.x / G; r < (rows);                                       \
         r += (int64_t)gridDim.x * (FT_THREADS / G))
#define FT_IN_ROW(i, n) for (int64_t i = (int64_t)(threadIdx.x % G) * N; i < (n); i += (int64_t)G * N)
#define FT_RUN_ROWS(kernel, rows, ...)                                                                                           \
    FT_LAUNCH(kernel, ft_blocks((rows), FT_THREADS / G), FT_THREADS, 0, ft_cuda_stream, __VA_ARGS__)

/* Runs a kernel over the rows of x, n values each: with storage T, N values at once, G threads a row, and `rows` */
#define FT_BY_ROWS(x, n, wide, ...)                                                                                              \
    do {                                                                                                                         \
        int64_t rows = (x)->count / (n);                                                                                         \
        FT_BY_TYPE((x)->dtype, FT_BY_WIDTH(wide, FT_BY_GROUP(ft_long_rows(rows, n), __VA_ARGS__)));                              \
    } while (0)
/* 16-byte reads of a row of channels also read N floats of each vector of channels (inputs first .. last) */
static inline bool ft_wide_vectors(const ft_call *c, int first, int last, int64_t n)
{
    for (int i = first; i <= last; i++)
        if (!ft_aligned(c->in[i])) return false;
    return n % 8 == 0;
}
/* N values that may take more than 16 bytes: as many reads as it takes */
template <int N, typename T> FT_DEV void ft_read_floats(float *to, const T *p)
{
    enum { MOST = 16 / sizeof(T), M = N < MOST ? N : MOST };
#pragma unroll
    for (int i = 0; i < N; i += M) ft_read<M>(to + i, p + i);
}

/* Column sums: blocks of FT_WARP lanes of N columns by FT_WARPS rows, and the parts that the rows are cut into along the grid's
 * x axis, the only one that may be long. This thread's first column, its row; its block's part, of how many. */
#define FT_COLUMN(N)             (((int64_t)blockIdx.y * FT_WARP + threadIdx.x % FT_WARP) * (N))
#define FT_COLUMN_ROW            ((int64_t)(threadIdx.x / FT_WARP))
#define FT_COLUMN_PART           ((int64_t)blockIdx.x)
#define FT_COLUMN_PARTS          ((int64_t)gridDim.x)
#define FT_COLUMN_GRID(parts, n) dim3((unsigned)(parts), (unsigned)ft_ceil((n), (int64_t)FT_WARP *N)) /* N in scope */
/* adds the sums of the block's rows in order; row 0 then holds them */
template <int N> FT_DEV void ft_fold(float *acc)
{
    FT_SHARED(float, all, [FT_WARPS][FT_WARP * N]);
    int lane = (int)threadIdx.x % FT_WARP, row = (int)threadIdx.x / FT_WARP;
    __syncthreads();
#pragma unroll
    for (int k = 0; k < N; k++) all[row][lane * N + k] = acc[k];
    __syncthreads();
    if (row > 0) return;
#pragma unroll
    for (int k = 0; k < N; k++)
        for (int r = 1; r < FT_WARPS; r++) acc[k] += all[r][lane * N + k];
}
/* Into how many parts `rows` rows are cut for column sums, so that `others` blocks a part fill a device: 1 .. 64 */
static inline int64_t ft_parts(int64_t rows, int64_t others)
{
    int64_t p = ft_ceil(1024, others < 1 ? 1 : others), most = ft_ceil(rows, 2 * FT_WARPS);
    p = p > 64 ? 64 : p;
    return p > most ? most : p;
}
FT_FN int64_t ft_part_of(int64_t n, int64_t part, int64_t parts) { return n * part / parts; }

/* out[b][i] = scale * sum over r of part[(b * rows + r) * stride + i], i < n, in order; out in storage `dtype`. reduce.cu */
void ft_cuda_sum_rows(void *out, ft_dtype dtype, const float *part, int64_t batch, int64_t rows, int64_t stride, int64_t n,
                      float scale);
/* Several of these in one launch, f32, unscaled; those whose `out` is NULL are left out */
enum { FT_SUMS = 4 };
struct ft_sum_part {
    float *out;
    const float *part;
    int64_t batch, rows, stride, n;
};
void ft_cuda_sum_rows_of(int count, const ft_sum_part *sum);

#endif
