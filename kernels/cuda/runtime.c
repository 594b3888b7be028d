/* Streams, memory, graphs: everything of forty that talks to CUDA's runtime, except launches and libraries. */
#include "kernels/cuda/runtime.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cudaStream_t ft_cuda_stream; /* the first queue's, but while a step is recorded */

static struct {
    bool started, shim;
    char fault[400], text[400], identity[300];
    cudaEvent_t mark[FT_MARKS], from, to, *signal;
    cudaStream_t queue[FT_QUEUES];
    int signals;
    char *stage; /* pinned: what `upload` and `download` go through */
    struct taken {
        void *p;
        size_t size;
    } * taken; /* what alloc gave */
    size_t n_taken, room, used, most;
} device;

enum { STAGE = 4 << 20 };

struct ft_recording {
    cudaGraphExec_t exec;
};

int ft_cuda_ok(cudaError_t e, const char *what)
{
    if (e == cudaSuccess) return FT_OK;
    if (e == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* this one leaves the device usable */
        return FT_FAIL(FT_ENOMEM, "the GPU has no memory for %s", what);
    }
    return FT_FAIL(FT_EDEVICE, "the GPU failed at %s: %s. Run again; if it stays, run with CUDA_LAUNCH_BLOCKING=1 --device cuda",
                   what, cudaGetErrorString(e));
}
#define CUDA(call, what) FT_TRY(ft_cuda_ok((call), (what)))

void ft_cuda_fault(const char *format, ...)
{
    if (device.fault[0]) return; /* the first is the cause */
    va_list args;
    va_start(args, format);
    vsnprintf(device.fault, sizeof device.fault, format, args);
    va_end(args);
}

/* ---- start --------------------------------------------------------------------------------------------------------------- */

static int count_devices(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

static int start(int index)
{
    int count = 0;
    if (device.started) return FT_OK;
    cudaError_t e = cudaGetDeviceCount(&count);
    if (e != cudaSuccess || count == 0)
        return FT_FAIL(FT_EDEVICE, "no GPU: %s. Use --device cpu",
                       e == cudaErrorInsufficientDriver ? "its driver is missing or older than CUDA needs"
                       : e == cudaSuccess               ? "none was found"
                                                        : cudaGetErrorString(e));
    if (index < 0 || index >= count) return FT_FAIL(FT_EDEVICE, "GPU %d of %d", index, count);
    struct cudaDeviceProp p;
    CUDA(cudaSetDevice(index), "choosing the device");
    CUDA(cudaGetDeviceProperties(&p, index), "reading its properties");
    if (p.major < 8)
        return FT_FAIL(FT_EDEVICE, "%s has compute capability %d.%d; 8.0 (A100, RTX 30) or later is needed. Use --device cpu",
                       p.name, p.major, p.minor);
    CUDA(cudaStreamCreateWithFlags(&ft_cuda_stream, cudaStreamNonBlocking), "a stream");
    device.queue[0] = ft_cuda_stream;
    for (int i = 0; i < FT_MARKS; i++) CUDA(cudaEventCreateWithFlags(&device.mark[i], cudaEventDisableTiming), "an event");
    CUDA(cudaEventCreateWithFlags(&device.from, 0), "an event");
    CUDA(cudaEventCreateWithFlags(&device.to, 0), "an event");
    CUDA(cudaMallocHost((void **)&device.stage, STAGE), "pinned memory");
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    device.shim = !strcmp(p.name, "host shim");
    device.started = true;
    snprintf(device.text, sizeof device.text,
             "%s, sm_%d%d, %.1f GiB, %d multiprocessors; CUDA %d.%d, driver %d.%d, cuDNN %s, NCCL %s", p.name, p.major, p.minor,
             (double)p.totalGlobalMem / 1073741824.0, p.multiProcessorCount, runtime / 1000, runtime % 1000 / 10, driver / 1000,
             driver % 1000 / 10, ft_cuda_cudnn_version(), ft_cuda_nccl_version());
    snprintf(device.identity, sizeof device.identity, "%s, sm_%d%d, %d multiprocessors; cuBLASLt %s, cuDNN %s", p.name, p.major,
             p.minor, p.multiProcessorCount, ft_cuda_cublas_version(), ft_cuda_cudnn_version());
    return FT_OK;
}

static const char *describe(void) { return device.text; }
const char *ft_cuda_identity(void) { return device.identity; }

bool ft_cuda_measures(void)
{
    const char *ask = getenv("FORTY_CUDA_MEASURE");
    return ask ? strcmp(ask, "0") != 0 : !device.shim;
}

double ft_cuda_time(bool (*work)(void *), void *context)
{
    double best = 1e30;
    for (int i = 0; i < 4; i++) { /* the first one warms up */
        float ms = 0;
        bool fine = cudaEventRecord(device.from, ft_cuda_stream) == cudaSuccess;
        for (int k = 0; fine && k < 3; k++) fine = work(context);
        fine = fine && cudaEventRecord(device.to, ft_cuda_stream) == cudaSuccess;
        fine = cudaStreamSynchronize(ft_cuda_stream) == cudaSuccess && fine; /* what was begun ends, whatever failed */
        if (!fine || cudaEventElapsedTime(&ms, device.from, device.to) != cudaSuccess || cudaGetLastError() != cudaSuccess)
            return -1;
        if (i > 0 && (double)ms < best) best = (double)ms;
    }
    return best / 3000;
}

/* ---- memory -------------------------------------------------------------------------------------------------------------- */

static double memory(double *total)
{
    size_t f = 0, t = 0;
    cudaMemGetInfo(&f, &t);
    if (total) *total = (double)t / 1048576.0;
    return (double)f / 1048576.0;
}

static double most(bool reset)
{
    double mib = (double)device.most / 1048576.0;
    if (reset) device.most = device.used;
    return mib;
}

static int note(void *p, size_t size)
{
    if (device.n_taken == device.room) {
        struct taken *more = realloc(device.taken, (2 * device.room + 64) * sizeof *more);
        if (!more) return FT_FAIL(FT_ENOMEM, "no memory to note what the GPU gave");
        device.taken = more, device.room = 2 * device.room + 64;
    }
    device.taken[device.n_taken++] = (struct taken){p, size};
    device.used += size;
    if (device.used > device.most) device.most = device.used;
    return FT_OK;
}

int ft_cuda_alloc(void **p, size_t size)
{
    char what[64];
    snprintf(what, sizeof what, "%.1f MiB", (double)size / 1048576.0);
    *p = NULL;
    CUDA(cudaMalloc(p, size ? size : 64), what);
    int rc = note(*p, size);
    if (rc < 0) {
        cudaFree(*p);
        *p = NULL;
        return rc;
    }
    return ft_cuda_ok(cudaMemsetAsync(*p, 0, size, ft_cuda_stream), what);
}

void ft_cuda_free(void *p)
{
    if (!p) return;
    for (size_t i = device.n_taken; i-- > 0;)
        if (device.taken[i].p == p) {
            device.used -= device.taken[i].size;
            device.taken[i] = device.taken[--device.n_taken];
            break;
        }
    cudaStreamSynchronize(ft_cuda_stream);
    cudaFree(p);
}

static int alloc_pinned(void **p, size_t size)
{
    *p = NULL;
    return ft_cuda_ok(cudaMallocHost(p, size ? size : 64), "pinned memory of the host");
}
static void free_pinned(void *p)
{
    if (p) cudaFreeHost(p);
}

/* bf16 between 1/2 and 2 in size; two of them are an f32 of that size, too. Zeros cost less power, and so less time. */
int ft_cuda_scratch(void **p, size_t size)
{
    enum { FIRST = 1 << 16 };
    FT_TRY(ft_cuda_alloc(p, size));
    FT_TRY(ft_cuda_ok(cudaStreamSynchronize(ft_cuda_stream), "earlier work"));
    uint16_t *v = (uint16_t *)(void *)device.stage;
    uint32_t x = 2463534242u;
    for (int i = 0; i < FIRST / 2; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        v[i] = (uint16_t)((x & 0x80FFu) | 0x3F00u);
    }
    size_t n = size < FIRST ? size : FIRST;
    int rc = ft_cuda_ok(cudaMemcpyAsync(*p, v, n, cudaMemcpyHostToDevice, ft_cuda_stream), "a copy to the GPU");
    for (size_t m; rc == FT_OK && n < size; n += m) {
        m = size - n < n ? size - n : n;
        rc = ft_cuda_ok(cudaMemcpyAsync((char *)*p + n, *p, m, cudaMemcpyDeviceToDevice, ft_cuda_stream), "a copy on the GPU");
    }
    return rc == FT_OK ? ft_cuda_ok(cudaStreamSynchronize(ft_cuda_stream), "a copy to the GPU") : rc;
}

static int copy_in(void *dst, const void *src, size_t n)
{
    return ft_cuda_ok(cudaMemcpyAsync(dst, src, n, cudaMemcpyHostToDevice, ft_cuda_stream), "a copy to the GPU");
}
static int copy_out(void *dst, const void *src, size_t n)
{
    return ft_cuda_ok(cudaMemcpyAsync(dst, src, n, cudaMemcpyDeviceToHost, ft_cuda_stream), "a copy from the GPU");
}
static int finish(const char *what) { return ft_cuda_ok(cudaStreamSynchronize(ft_cuda_stream), what); }

static int upload(void *dst, const void *src, size_t n)
{
    for (size_t at = 0; at < n; at += STAGE) {
        size_t m = n - at < STAGE ? n - at : STAGE;
        FT_TRY(finish("earlier work"));
        memcpy(device.stage, (const char *)src + at, m);
        FT_TRY(copy_in((char *)dst + at, device.stage, m));
    }
    return finish("a copy to the GPU");
}
static int download(void *dst, const void *src, size_t n)
{
    for (size_t at = 0; at < n; at += STAGE) {
        size_t m = n - at < STAGE ? n - at : STAGE;
        FT_TRY(copy_out(device.stage, (const char *)src + at, m));
        FT_TRY(finish("the step before a result was read"));
        memcpy((char *)dst + at, device.stage, m);
    }
    return FT_OK;
}
static int fill(void *dst, int byte, size_t n) { return ft_cuda_ok(cudaMemsetAsync(dst, byte, n, ft_cuda_stream), "a fill"); }

int ft_cuda_table(const void **to, const void *host, size_t size)
{
    void *p;
    FT_TRY(ft_cuda_alloc(&p, size));
    *to = p;
    return upload(p, host, size);
}

static int mark(int slot) { return ft_cuda_ok(cudaEventRecord(device.mark[slot], ft_cuda_stream), "an event"); }
static int wait(int slot) { return ft_cuda_ok(cudaEventSynchronize(device.mark[slot]), "the step before a result was read"); }

static int check(void)
{
    cudaError_t e = cudaGetLastError();
    if (device.fault[0]) {
        char text[400];
        memcpy(text, device.fault, sizeof text);
        device.fault[0] = 0;
        return FT_FAIL(FT_EDEVICE, "%s", text);
    }
    return ft_cuda_ok(e, "a kernel's launch");
}

/* ---- graphs -------------------------------------------------------------------------------------------------------------- */

/* Streams and events stay for the next recording. Events: one for each signal, since a later wait must not see a later record. */
static int record_begin(int queues, int signals)
{
    for (int i = 1; i < queues; i++)
        if (!device.queue[i]) CUDA(cudaStreamCreateWithFlags(&device.queue[i], cudaStreamNonBlocking), "a stream");
    if (signals > device.signals) {
        cudaEvent_t *more = realloc(device.signal, (size_t)signals * sizeof *more);
        if (!more) return FT_FAIL(FT_ENOMEM, "no memory for the events of a recorded step");
        device.signal = more;
        while (device.signals < signals) {
            CUDA(cudaEventCreateWithFlags(&device.signal[device.signals], cudaEventDisableTiming), "an event");
            device.signals++;
        }
    }
    return ft_cuda_ok(cudaStreamBeginCapture(device.queue[0], cudaStreamCaptureModeThreadLocal), "recording a step");
}

static void queue(int k) { ft_cuda_stream = device.queue[k]; }
static int signal(int k) { return ft_cuda_ok(cudaEventRecord(device.signal[k], ft_cuda_stream), "an event"); }
static int follow(int k) { return ft_cuda_ok(cudaStreamWaitEvent(ft_cuda_stream, device.signal[k], 0), "waiting for an event"); }

static bool record_holds(void)
{
    enum cudaStreamCaptureStatus s = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(device.queue[0], &s) == cudaSuccess && s == cudaStreamCaptureStatusActive && !device.fault[0];
}

static int record_end(ft_recording **r)
{
    cudaGraph_t graph = NULL;
    *r = NULL;
    queue(0);
    cudaError_t e = cudaStreamEndCapture(ft_cuda_stream, &graph);
    ft_recording *made = calloc(1, sizeof *made);
    if (made && e == cudaSuccess) e = cudaGraphInstantiate(&made->exec, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (e == cudaSuccess && made) {
        *r = made;
        return FT_OK;
    }
    cudaGetLastError(); /* the stream is as it was before */
    device.fault[0] = 0;
    int rc = made ? FT_FAIL(FT_EDEVICE, "the step cannot be recorded: %s", cudaGetErrorString(e))
                  : FT_FAIL(FT_ENOMEM, "no memory to record a step");
    free(made);
    return rc;
}

static int replay(ft_recording *r) { return ft_cuda_ok(cudaGraphLaunch(r->exec, ft_cuda_stream), "a recorded step"); }

static void record_free(ft_recording *r)
{
    if (!r) return;
    cudaStreamSynchronize(ft_cuda_stream);
    cudaGraphExecDestroy(r->exec);
    free(r);
}

#ifdef FT_SHIM_BUILD
void ft_shim_forbid(const void *p, size_t n);
void ft_shim_allow(const void *p, size_t n);
#define FORBID ft_shim_forbid
#define ALLOW  ft_shim_allow
#else
#define FORBID NULL
#define ALLOW  NULL
#endif

static const ft_device cuda_device = {
    .count = count_devices,
    .start = start,
    .describe = describe,
    .choices = ft_cuda_choices,
    .agree = ft_cuda_agree,
    .memory = memory,
    .most = most,
    .alloc = ft_cuda_alloc,
    .free = ft_cuda_free,
    .alloc_pinned = alloc_pinned,
    .free_pinned = free_pinned,
    .copy_in = copy_in,
    .copy_out = copy_out,
    .upload = upload,
    .download = download,
    .fill = fill,
    .narrow = ft_cuda_narrow,
    .mark = mark,
    .wait = wait,
    .check = check,
    .record_begin = record_begin,
    .queue = queue,
    .signal = signal,
    .follow = follow,
    .record_holds = record_holds,
    .record_end = record_end,
    .replay = replay,
    .record_free = record_free,
    .join = ft_cuda_join,
    .mean = ft_cuda_mean,
    .forbid = FORBID,
    .allow = ALLOW,
};

#define PREPARE_DEV(name)   ft_cuda_prepare_##name
#define PREPARE_NODEV(name) NULL

extern const ft_backend ft_backend_cuda; /* the plugin's one symbol */
const ft_backend ft_backend_cuda = {
    .name = "cuda",
    .kernel =
        {
#define OP(name, grad, prep, place, dev) [FT_OP_##name] = ft_cuda_##name,
            FT_OP_TABLE(OP)
#undef OP
        },
    .prepare =
        {
#define OP(name, grad, prep, place, dev) [FT_OP_##name] = PREPARE_##dev(name),
            FT_OP_TABLE(OP)
#undef OP
        },
    .device = &cuda_device,
};
