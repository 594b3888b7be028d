/* CUDA's language on the host: a thread of a block is a fibre, a warp exchanges values when all its lanes have come.
 *
 * A missing barrier shows because the scheduler lets one warp, and in it one lane, run as far as it can go before another moves;
 * FT_SHIM_SCHEDULE picks the order (0: ascending, 1: descending, others: shuffled). Shared memory is NaN before a block begins
 * and lies between red zones of the address sanitizer. Tensor cores work between the lanes of a warp: a tile is read when its
 * lane comes, so that one which another lane has yet to write shows; an asynchronous copy happens when its thread waits for it,
 * not before. Not seen here: races between blocks, weak memory order, anything about speed. */
#ifndef FT_SHIM_CUDA_RUNTIME_H
#define FT_SHIM_CUDA_RUNTIME_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <tuple>

#include "cuda_runtime_api.h"

#define FT_SHIM 1
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct ft_shim_index {
    unsigned x, y, z;
};
extern ft_shim_index threadIdx, blockIdx, blockDim, gridDim;

void ft_shim_launch(const char *name, dim3 grid, dim3 block, size_t smem, cudaStream_t s, std::function<void()> body);
void ft_shim_barrier(const char *file, int line);
uint64_t ft_shim_exchange(unsigned mask, uint64_t mine, int from, const char *what); /* the value that lane `from` posted */
uint64_t ft_shim_collect(unsigned mask, bool vote, const char *what);                /* votes of all lanes, as bits */
void ft_shim_mma(float d[4], const uint32_t a[4], uint32_t b0, uint32_t b1);         /* mma.m16n8k16, bf16 */
void ft_shim_load_tiles(uint32_t r[4], const void *row, bool turned);                /* ldmatrix.x4 */
void ft_shim_copy(void *to, const void *from, bool inside);                          /* cp.async of 16 bytes */
void ft_shim_copies_done(void);
void *ft_shim_shared(const void *site, size_t size);
void *ft_shim_dynamic_shared(void);
int ft_shim_lane(void);

template <typename... P, typename... A>
void ft_shim_call(const char *name, dim3 grid, dim3 block, size_t smem, cudaStream_t s, void (*kernel)(P...), A... args)
{
    std::tuple<P...> frozen(args...);
    ft_shim_launch(name, grid, block, smem, s, [=] { std::apply(kernel, frozen); });
}
#define FT_LAUNCH(kernel, grid, block, smem, stream, ...) ft_shim_call(#kernel, grid, block, smem, stream, kernel, __VA_ARGS__)
#define FT_SHARED(type, name, dims)                                                                                              \
    typedef type name##_shared_t dims;                                                                                           \
    static const char name##_site = 0;                                                                                           \
    name##_shared_t &name = *(name##_shared_t *)ft_shim_shared(&name##_site, sizeof(name##_shared_t))
#define FT_DYNAMIC_SHARED(type, name) type *name = (type *)ft_shim_dynamic_shared()

#define __syncthreads() ft_shim_barrier(__FILE__, __LINE__)
static inline void __syncwarp(unsigned mask = 0xFFFFFFFFu) { ft_shim_exchange(mask, 0, -1, "__syncwarp"); }
static inline void __threadfence(void) {}

template <typename T> static inline T ft_shim_shuffle(unsigned mask, T v, int from, const char *what)
{
    uint64_t bits = 0;
    T out;
    memcpy(&bits, &v, sizeof v);
    bits = ft_shim_exchange(mask, bits, from, what);
    memcpy(&out, &bits, sizeof out);
    return out;
}
template <typename T> static inline T __shfl_xor_sync(unsigned mask, T v, int by)
{
    return ft_shim_shuffle(mask, v, ft_shim_lane() ^ by, "__shfl_xor_sync");
}
template <typename T> static inline T __shfl_sync(unsigned mask, T v, int from)
{
    return ft_shim_shuffle(mask, v, from & 31, "__shfl_sync");
}
template <typename T> static inline T __shfl_up_sync(unsigned mask, T v, unsigned by)
{
    int l = ft_shim_lane(), from = l - (int)by;
    return ft_shim_shuffle(mask, v, from < 0 ? l : from, "__shfl_up_sync");
}
template <typename T> static inline T __shfl_down_sync(unsigned mask, T v, unsigned by)
{
    int l = ft_shim_lane(), from = l + (int)by;
    return ft_shim_shuffle(mask, v, from > 31 ? l : from, "__shfl_down_sync");
}
static inline unsigned __ballot_sync(unsigned mask, bool vote) { return (unsigned)ft_shim_collect(mask, vote, "__ballot_sync"); }
static inline bool __any_sync(unsigned mask, bool vote) { return ft_shim_collect(mask, vote, "__any_sync") != 0; }

template <typename T> static inline T atomicAdd(T *p, T v)
{
    T old = *p;
    *p += v;
    return old;
}

template <typename K> static inline cudaError_t cudaFuncSetAttribute(K, cudaFuncAttribute, int) { return cudaSuccess; }

#endif
