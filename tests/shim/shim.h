/* What tests set and read of the host shim. */
#ifndef FT_SHIM_H
#define FT_SHIM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    int schedule;          /* order of lanes, warps and blocks: 0 ascending, 1 descending, others shuffled */
    bool refuse_capture;   /* every capture fails */
    int refuse_streams;    /* those of several streams fail: 1, at the end; 2, at the first wait; 3, there without a trace */
    bool refuse_libraries; /* cuDNN takes nothing, cuBLASLt no epilogue: what is left to our own kernels */
    /* The libraries have this many algorithms for everything (0: one): the first fails when it runs, the others sum in different
     * orders. clock: what a timer says is a number from this seed, not the time (0: the time). FT_SHIM_CLOCK=N: 3 and N */
    int algorithms;
    unsigned clock;
    int64_t fail_alloc;                         /* the n-th device allocation from now fails */
    int64_t replays, allocations, steps, calls; /* steps: how often a thread was let run; calls: of libraries */
    int64_t copies, bytes;                      /* between host and device, both ways */
    bool count_only;                            /* nothing is computed or copied, only begun: networks of any size */
    int64_t launches;                           /* kernels begun, each call of a library as one */
    unsigned order;                             /* of what a captured graph leaves open: from this seed; 0: as it was captured */
    int64_t edges, beside;                      /* of the graph captured last: waits between streams; work beside the first */
} ft_shim_settings;

#ifdef __cplusplus
#include <functional>

#include "cuda_runtime_api.h"
void ft_shim_enqueue(cudaStream_t s, std::function<void()> f); /* a kernel, or what a library does */
extern "C" {
#endif
ft_shim_settings *ft_shim(void);
void ft_shim_forbid(const void *p, size_t n); /* reading or writing there is a fault under the address sanitizer */
void ft_shim_allow(const void *p, size_t n);
#ifdef __cplusplus
}
#endif
#endif
