/* Faults planted in a small kernel: the host shim must see every one of them, and nothing in the kernel without a fault.
 * Races show as a result that depends on the schedule or is NaN, the rest ends the process with a message. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/cuda.cuh"
#include "tests/shim/shim.h"

enum {
    NONE,
    NO_BARRIER_BEFORE_READ,
    NO_BARRIER_BEFORE_REUSE,
    LEAVES_EARLY,
    TWO_BARRIERS,
    LANE_MISSING,
    LANE_SLEEPS,
    UNWRITTEN,
    OTHER_BLOCK,
    SHARED_OVERRUN,
    GLOBAL_OVERRUN,
    FREED_TOO_EARLY,
    FAULTS
};
static const char *const name[] = {"none",
                                   "no barrier before shared memory is read",
                                   "no barrier before shared memory is written again",
                                   "a thread leaves before a barrier",
                                   "two halves wait at different barriers",
                                   "an exchange without all its lanes",
                                   "a lane outside the mask",
                                   "shared memory read before it is written",
                                   "a block reads what another writes",
                                   "a write behind shared memory",
                                   "a write behind a buffer",
                                   "a host buffer changed before its copy was done"};

enum { BLOCKS = 3 };

/* y[block] = sum over two rounds of x, through shared memory */
static __global__ void sums(float *y, const float *x, int n, int fault)
{
    FT_SHARED(float, tile, [FT_THREADS]);
    int t = (int)threadIdx.x, lane = t % FT_WARP;
    float total = 0;
    for (int round = 0; round < 2; round++) {
        int place = fault == SHARED_OVERRUN && t == FT_THREADS - 1 ? FT_THREADS : t;
        if (fault == UNWRITTEN && t == 5) place = 4;
        tile[place] = x[(blockIdx.x * 2 + round) * FT_THREADS + t];
        if (fault == LEAVES_EARLY && t == 7) return;
        if (fault == TWO_BARRIERS && t < FT_THREADS / 2) __syncthreads();
        else if (fault != NO_BARRIER_BEFORE_READ) __syncthreads();
        total += tile[(t + 33) % FT_THREADS];
        if (fault != NO_BARRIER_BEFORE_REUSE) __syncthreads();
    }
    if (fault == LANE_MISSING && t == 3) {
        y[blockIdx.x] = total;
        return;
    }
    unsigned mask = fault == LANE_SLEEPS ? 0x7FFFFFFFu : 0xFFFFFFFFu;
    for (int by = 16; by > 0; by /= 2) total += __shfl_xor_sync(mask, total, by);
    if (lane == 0) tile[t / FT_WARP] = total;
    __syncthreads();
    if (t > 0) return;
    total = 0;
    for (int w = 0; w < FT_WARPS; w++) total += tile[w];
    if (fault == OTHER_BLOCK && blockIdx.x > 0) total += y[blockIdx.x - 1];
    y[fault == GLOBAL_OVERRUN ? n : (int)blockIdx.x] = total;
}

static int run(int fault, int schedule, float y[BLOCKS])
{
    static float x[BLOCKS * 2 * FT_THREADS];
    float *dx, *dy;
    ft_shim()->schedule = schedule;
    for (int i = 0; i < BLOCKS * 2 * FT_THREADS; i++) x[i] = (float)(i % 13) - 5;
    if (cudaMalloc((void **)&dx, sizeof x) || cudaMalloc((void **)&dy, BLOCKS * sizeof(float))) return 1;
    cudaMemcpyAsync(dx, x, sizeof x, cudaMemcpyHostToDevice, ft_cuda_stream);
    if (fault == FREED_TOO_EARLY) x[9] = 1e6f;
    cudaMemsetAsync(dy, 0, BLOCKS * sizeof(float), ft_cuda_stream);
    FT_LAUNCH((sums), BLOCKS, FT_THREADS, 0, ft_cuda_stream, dy, (const float *)dx, (int)BLOCKS, fault);
    cudaMemcpyAsync(y, dy, BLOCKS * sizeof(float), cudaMemcpyDeviceToHost, ft_cuda_stream);
    cudaStreamSynchronize(ft_cuda_stream);
    cudaFree(dx);
    cudaFree(dy);
    return 0;
}

/* 0: nothing seen; another status: something was */
static int look(int fault)
{
    float first[BLOCKS], y[BLOCKS];
    if (run(NONE, 0, first)) return 2;
    for (int s = 0; s < 12; s++) {
        if (run(fault, s, y)) return 2;
        for (int i = 0; i < BLOCKS; i++)
            if (y[i] != first[i]) return 3; /* NaN too */
    }
    return 0;
}

int main(void)
{
    bool sanitized = false;
    int missed = 0;
#if defined(__SANITIZE_ADDRESS__)
    sanitized = true;
#endif
    if (cudaStreamCreateWithFlags(&ft_cuda_stream, cudaStreamNonBlocking)) return 1;
    for (int f = 0; f < FAULTS; f++) {
        int status = 0;
        bool needs_sanitizer = f == SHARED_OVERRUN || f == GLOBAL_OVERRUN;
        if (needs_sanitizer && !sanitized) continue;
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            if (!freopen("/dev/null", "w", stderr)) _exit(2);
            _exit(look(f));
        }
        waitpid(child, &status, 0);
        bool seen = !WIFEXITED(status) || WEXITSTATUS(status) != 0, right = seen == (f != NONE);
        printf("%s: %s%s\n", right ? "ok" : "FAILED", name[f], seen ? ", seen" : ", not seen");
        missed += !right;
    }
    return missed != 0;
}
