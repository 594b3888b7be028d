/* Faults planted in a small kernel: the host shim must see every one of them, and nothing in the kernel without a fault.
 * Races show as a result that depends on the schedule or is NaN, the rest ends the process with a message. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernels/cuda/tensor.cuh"
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
    COPY_NOT_AWAITED,
    COPY_NOT_SHARED,
    TILE_UNSYNCED,
    TILE_UNALIGNED,
    TILE_LANE_MISSING,
    READ_UNAWAITED,
    WRITE_UNAWAITED,
    WAIT_TOO_EARLY,
    STREAM_UNJOINED,
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
                                   "a host buffer changed before its copy was done",
                                   "an asynchronous copy that nobody waits for",
                                   "an asynchronous copy awaited behind the barrier",
                                   "a tile that other lanes have yet to write",
                                   "a tile that does not lie on 16 bytes",
                                   "a tensor core without all its lanes",
                                   "a recorded stream reads what another has yet to write",
                                   "a recorded stream writes what another has yet to read",
                                   "an event recorded before the work it is for",
                                   "a recorded stream that nobody waits for"};

enum { BLOCKS = 3, TILE = 16, LD = TILE + 8, PRODUCTS = 4 };

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

/* y[kind]: a weighted sum of A B (16 x 16 each), A and B loaded as they lie or turned */
static __global__ void product(float *y, const bf16 *x, int fault)
{
    FT_SHARED(uint64_t, room, [2 * TILE * LD / 4]);
    bf16 *a = (bf16 *)&room, *b = a + TILE * LD;
    int t = (int)threadIdx.x, lane = t % FT_WARP, kind = t / FT_WARP;
    for (int e = t; e < TILE * TILE / 8; e += PRODUCTS * FT_WARP) ft_copy(a + e / 2 * LD + e % 2 * 8, x + e * 8, true);
    if (kind == 0)
        for (int e = lane; e < TILE * TILE; e += FT_WARP) b[e / TILE * LD + e % TILE] = x[TILE * TILE + e];
    if (fault != COPY_NOT_AWAITED && fault != COPY_NOT_SHARED) ft_copies_done();
    if (fault != TILE_UNSYNCED) __syncthreads();
    if (fault == COPY_NOT_SHARED) ft_copies_done();
    if (fault == TILE_LANE_MISSING && t == 5) return;
    uint32_t fa[4], fb[4];
    float d[2][4] = {{0}}, sum = 0;
    const bf16 *from = fault == TILE_UNALIGNED ? a + 1 : a;
    if (kind % 2) ft_load_a_turned(fa, from, LD);
    else ft_load_a(fa, from, LD);
    if (kind / 2) ft_load_b_turned(fb, b, LD);
    else ft_load_b(fb, b, LD);
    ft_mma_pair(d, fa, fb);
    for (int i = 0; i < 8; i++) {
        int m = lane / 4 + i % 4 / 2 * 8, n = lane % 4 * 2 + i % 2 + i / 4 * 8;
        sum += d[i / 4][i % 4] * (float)(m * TILE + n);
    }
    sum = ft_warp_sum(sum);
    if (lane == 0) y[kind] = sum;
}

static float product_value(int m, int k, int which) { return (float)((m * 7 + k * 3 + which * 5) % 11 - 5); }

/* the products, and what they should be */
static int run_products(int fault, int schedule, float y[PRODUCTS], float right[PRODUCTS])
{
    bf16 x[2 * TILE * TILE], *dx;
    float *dy;
    for (int i = 0; i < 2 * TILE * TILE; i++) ft_put(x + i, product_value(i / TILE % TILE, i % TILE, i / TILE / TILE));
    for (int kind = 0; kind < PRODUCTS; kind++) {
        right[kind] = 0;
        for (int m = 0; m < TILE; m++)
            for (int n = 0; n < TILE; n++)
                for (int k = 0; k < TILE; k++)
                    right[kind] += (kind % 2 ? product_value(k, m, 0) : product_value(m, k, 0)) *
                                   (kind / 2 ? product_value(n, k, 1) : product_value(k, n, 1)) * (float)(m * TILE + n);
    }
    ft_shim()->schedule = schedule;
    if (cudaMalloc((void **)&dx, sizeof x) || cudaMalloc((void **)&dy, PRODUCTS * sizeof(float))) return 1;
    cudaMemcpyAsync(dx, x, sizeof x, cudaMemcpyHostToDevice, ft_cuda_stream);
    FT_LAUNCH((product), 1, PRODUCTS * FT_WARP, 0, ft_cuda_stream, dy, (const bf16 *)dx, fault);
    cudaMemcpyAsync(y, dy, PRODUCTS * sizeof(float), cudaMemcpyDeviceToHost, ft_cuda_stream);
    cudaStreamSynchronize(ft_cuda_stream);
    cudaFree(dx);
    cudaFree(dy);
    return 0;
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

static __global__ void put(int *y, int v) { *y = v; }
static __global__ void sum(int *y, const int *a, const int *b) { *y = *a + *b; }

/* Two streams recorded: 1 and 2 are written beside each other, added, and one is written again. Replayed in the order of a seed.
 */
static int run_streams(int fault, unsigned order, int y[2])
{
    static cudaStream_t side;
    static cudaEvent_t begun, written, read, ended;
    cudaEvent_t *event[] = {&begun, &written, &read, &ended};
    cudaStream_t s = ft_cuda_stream;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    int *d; /* a, b, their sum */
    if (!side && cudaStreamCreateWithFlags(&side, cudaStreamNonBlocking)) return 1;
    for (int i = 0; i < 4; i++)
        if (!*event[i] && cudaEventCreateWithFlags(event[i], cudaEventDisableTiming)) return 1;
    if (cudaMalloc((void **)&d, 3 * sizeof *d) || cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal)) return 1;
    cudaEventRecord(begun, s);
    cudaStreamWaitEvent(side, begun, 0);
    if (fault == WAIT_TOO_EARLY) cudaEventRecord(written, side);
    FT_LAUNCH((put), 1, 1, 0, side, d, 1);
    if (fault != WAIT_TOO_EARLY) cudaEventRecord(written, side);
    FT_LAUNCH((put), 1, 1, 0, s, d + 1, 2);
    if (fault != READ_UNAWAITED) cudaStreamWaitEvent(s, written, 0);
    FT_LAUNCH((sum), 1, 1, 0, s, d + 2, (const int *)d, (const int *)(d + 1));
    cudaEventRecord(read, s);
    if (fault != WRITE_UNAWAITED) cudaStreamWaitEvent(side, read, 0);
    FT_LAUNCH((put), 1, 1, 0, side, d, 5);
    cudaEventRecord(ended, side);
    if (fault != STREAM_UNJOINED) cudaStreamWaitEvent(s, ended, 0);
    if (cudaStreamEndCapture(s, &graph) || cudaGraphInstantiate(&exec, graph, 0)) return 1;
    ft_shim()->order = order;
    cudaMemsetAsync(d, 0, 3 * sizeof *d, s);
    cudaGraphLaunch(exec, s);
    cudaMemcpyAsync(y, d + 2, sizeof *d, cudaMemcpyDeviceToHost, s);
    cudaMemcpyAsync(y + 1, d, sizeof *d, cudaMemcpyDeviceToHost, s);
    cudaStreamSynchronize(s);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    cudaFree(d);
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
        float got[PRODUCTS], right[PRODUCTS];
        if (run_products(fault, s, got, right)) return 2;
        for (int i = 0; i < PRODUCTS; i++)
            if (got[i] != right[i]) return 4;
        int sums_[2];
        if (run_streams(fault, (unsigned)s, sums_)) return 5;
        if (sums_[0] != 3 || sums_[1] != 5) return 6;
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
