/* Streams, memory, graphs: everything of forty that talks to CUDA's runtime, except launches and libraries. */
#include "kernels/cuda/runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

cudaStream_t ft_cuda_stream;

static struct {
    bool started, shim;
    char fault[400], text[400], choice[1 << 14];
    cudaEvent_t mark[FT_MARKS], from, to;
    char *stage; /* pinned: what `upload` and `download` go through */
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
    return FT_OK;
}

static const char *describe(void) { return device.text; }
static const char *choices(void) { return device.choice; }

void ft_cuda_chose(const char *format, ...)
{
    char line[300];
    size_t used = strlen(device.choice);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line, sizeof line - 1, format, args);
    va_end(args);
    snprintf(line + (n < (int)sizeof line - 2 ? n : (int)sizeof line - 2), 2, "\n");
    if (used + strlen(line) < sizeof device.choice && !strstr(device.choice, line)) strcpy(device.choice + used, line);
}

bool ft_cuda_measures(void)
{
    const char *ask = getenv("FORTY_CUDA_MEASURE");
    return !device.shim && !(ask && !strcmp(ask, "0"));
}

double ft_cuda_time(void (*work)(void *), void *context)
{
    double best = 1e30;
    for (int i = 0; i < 4; i++) { /* the first one warms up */
        float ms = 0;
        cudaEventRecord(device.from, ft_cuda_stream);
        for (int k = 0; k < 3; k++) work(context);
        cudaEventRecord(device.to, ft_cuda_stream);
        cudaEventSynchronize(device.to);
        cudaEventElapsedTime(&ms, device.from, device.to);
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

int ft_cuda_alloc(void **p, size_t size)
{
    char what[64];
    snprintf(what, sizeof what, "%.1f MiB", (double)size / 1048576.0);
    *p = NULL;
    CUDA(cudaMalloc(p, size ? size : 64), what);
    return ft_cuda_ok(cudaMemsetAsync(*p, 0, size, ft_cuda_stream), what);
}

void ft_cuda_free(void *p)
{
    if (!p) return;
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

static int record_begin(void)
{
    return ft_cuda_ok(cudaStreamBeginCapture(ft_cuda_stream, cudaStreamCaptureModeThreadLocal), "recording a step");
}

static bool record_holds(void)
{
    enum cudaStreamCaptureStatus s = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(ft_cuda_stream, &s) == cudaSuccess && s == cudaStreamCaptureStatusActive && !device.fault[0];
}

static int record_end(ft_recording **r)
{
    cudaGraph_t graph = NULL;
    *r = NULL;
    cudaError_t e = cudaStreamEndCapture(ft_cuda_stream, &graph);
    ft_recording *made = e == cudaSuccess ? calloc(1, sizeof *made) : NULL;
    if (made) e = cudaGraphInstantiate(&made->exec, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (e == cudaSuccess && made) {
        *r = made;
        return FT_OK;
    }
    free(made);
    cudaGetLastError(); /* the stream is as it was before */
    device.fault[0] = 0;
    return FT_FAIL(FT_EDEVICE, "the step cannot be recorded: %s", cudaGetErrorString(e));
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
    .start = start,
    .describe = describe,
    .choices = choices,
    .memory = memory,
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
