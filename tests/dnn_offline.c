/* cuDNN itself, without a GPU: for devices that are only described, does it have algorithms for the graphs that forty sends? It
 * chooses them and makes their kernels as on the device; only loading them fails. Does another process find by its name what was
 * chosen? Needs libcuda.so.1, of the driver or the toolkit's stand-in. What it refuses, forty would do with kernels of its own,
 * slowly. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/status.h"
#include "common/graph/choices.h"
#include "kernels/cuda/dnn_graph.h"
#include "kernels/cuda/runtime.h"
#include "kernels/kernel.h"

extern const ft_backend ft_backend_cuda;

#define DEVICE(name, version, sms, optin, l2)                                                                                    \
    {                                                                                                                            \
        name, "{\"maxGridSize\":[2147483647,65535,65535],\"maxBlockSize\":[1024,1024,64],\"regsPerBlock\":65536,"                \
              "\"multiProcessorCount\":" #sms                                                                                    \
              ",\"warpSize\":32,\"maxSharedMemoryPerBlock\":49152,\"maxSharedMemoryPerBlockOptin\":" #optin                      \
              ",\"reservedSharedMemoryPerBlock\":1024,\"maxRegistersPerSM\":65536,\"maxCtasPerSM\":32,\"maxThreadsPerBlock\":"   \
              "1024,"                                                                                                            \
              "\"maxThreadsPerSM\":2048,\"pciDeviceId\":0,\"isTccDriver\":0,\"supportCoopLaunch\":1,\"totalGlobalMem\":"         \
              "40000000000,"                                                                                                     \
              "\"smClockRateKHz\":1700000,\"memClockRateKHz\":2600000,\"l2CacheSize\":" #l2                                      \
              ",\"cudaDeviceId\":0,\"deviceVer\":" #version ",\"driverVer\":13000,\"deviceName\":\"" name "\"}"                  \
    }
static const struct {
    const char *name, *json;
} devices[] = {DEVICE("A100", 800, 108, 166912, 41943040), DEVICE("RTX 4090", 890, 128, 101376, 75497472),
               DEVICE("H200", 900, 132, 232448, 52428800), DEVICE("B200", 1000, 148, 232448, 132644864)};

/* of the presets' networks: frames, side, channels in and out, kernel, stride, padding (time, space), groups */
static const int conv[][11] = {{4, 32, 128, 128, 3, 3, 1, 1, 1, 1, 1}, {16, 32, 64, 64, 1, 3, 1, 1, 0, 1, 1},
                               {16, 112, 3, 64, 1, 7, 1, 2, 0, 3, 1},  {16, 56, 24, 54, 1, 1, 1, 1, 0, 0, 1},
                               {16, 28, 144, 64, 3, 1, 1, 1, 1, 0, 1}, {8, 64, 16, 3, 3, 3, 1, 1, 1, 1, 1},
                               {1, 64, 128, 128, 1, 3, 1, 2, 0, 1, 1}, {1, 128, 3, 96, 1, 4, 1, 4, 0, 0, 1},
                               {2, 9, 5, 7, 1, 3, 1, 1, 0, 1, 1},      {1, 32, 64, 64, 1, 3, 1, 1, 0, 1, 4}};
/* queries, keys, head width, packed as q|k|v */
static const int attention[][4] = {{64, 64, 64, 1},     {256, 256, 64, 1}, {197, 197, 64, 1}, {8, 8, 64, 1}, {785, 785, 32, 0},
                                   {1569, 1569, 64, 0}, {96, 96, 48, 1},   {17, 13, 24, 0},   {6, 6, 80, 1}, {128, 128, 128, 0}};

typedef struct {
    ft_buf b[8];
    ft_attr attr;
    ft_call c;
} call;

static ft_buf *buffer(call *k, ft_dtype dtype, int nd, const int64_t *dim)
{
    ft_buf *b = k->b;
    while (b->data) b++;
    *b = (ft_buf){.dtype = dtype, .ndim = nd, .count = 1, .data = (void *)4096};
    for (int i = 0; i < nd; i++) b->count *= b->dim[i] = dim[i];
    return b;
}

static int prepared;
static void prepare(ft_prepare *f, call *k, int n_in, int n_out)
{
    k->c.n_in = n_in, k->c.n_out = n_out, k->c.attr = &k->attr, k->c.weights_move = true;
    if (f(&k->c) < 0) printf("%s\n", ft_error_message()), exit(1);
    prepared++;
    if (k->c.free_state) k->c.free_state(k->c.state);
}

static void try_conv(const int *v, ft_dtype dtype, int way)
{
    call k = {0};
    k.attr.conv = (ft_conv_opt){.kernel = {v[4], v[5], v[5]},
                                .stride = {v[6], v[7], v[7]},
                                .pad_front = {v[8], v[9], v[9]},
                                .pad_back = {v[8], v[9], v[9]},
                                .groups = v[10],
                                .act = way == 1 ? FT_ACT_RELU : FT_ACT_NONE};
    int64_t t = (v[0] + 2 * v[8] - v[4]) / v[6] + 1, s = (v[1] + 2 * v[9] - v[5]) / v[7] + 1;
    ft_buf *x = buffer(&k, dtype, 5, (int64_t[]){4, v[0], v[1], v[1], v[2]}),
           *y = buffer(&k, dtype, 5, (int64_t[]){4, t, s, s, v[3]}),
           *w = buffer(&k, FT_F32, 5, (int64_t[]){v[3], v[2] / v[10], v[4], v[5], v[5]}),
           *b = buffer(&k, FT_F32, 1, (int64_t[]){v[3]});
    if (way < 2) k.c.in[0] = x, k.c.in[1] = w, k.c.in[2] = b, k.c.out[0] = y;
    if (way == 2) k.c.in[0] = y, k.c.in[1] = w, k.c.out[0] = x;
    if (way == 3) k.c.in[0] = x, k.c.in[1] = y, k.c.out[0] = w;
    static ft_prepare *const f[] = {ft_cuda_prepare_conv, ft_cuda_prepare_conv, ft_cuda_prepare_conv_bwd_x,
                                    ft_cuda_prepare_conv_bwd_w};
    prepare(f[way], &k, way == 3 ? 2 : 3, 1);
}

static void try_attention(const int *v, bool back)
{
    enum { S = 4, HEADS = 6 };
    call k = {0};
    k.attr.sdpa = (ft_sdpa_opt){.heads = HEADS, .scale = 0.125f};
    int64_t w = HEADS * v[2], q[3] = {S, v[0], v[3] ? 3 * w : w}, kv[3] = {S, v[1], w}, o[3] = {S, v[0], w};
    ft_buf *bq = buffer(&k, FT_BF16, 3, q), *bk = v[3] ? NULL : buffer(&k, FT_BF16, 3, kv);
    ft_buf *stats = buffer(&k, FT_F32, 3, (int64_t[]){S, HEADS, v[0]}), *bo = buffer(&k, FT_BF16, 3, o);
    k.c.in[0] = bq, k.c.in[1] = k.c.in[2] = bk;
    if (back) k.c.in[5] = stats, k.c.in[6] = k.c.in[7] = bo, k.c.out[0] = bq, k.c.out[1] = k.c.out[2] = bk;
    else k.c.out[0] = bo, k.c.out[1] = stats;
    prepare(back ? ft_cuda_prepare_sdpa_bwd : ft_cuda_prepare_sdpa, &k, back ? 8 : 5, back ? 3 : 2);
}

static int refusals(const char *text, const char *what)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, what)); p++) n++;
    return n;
}

static void try_all(void)
{
    for (size_t i = 0; i < sizeof conv / sizeof *conv; i++)
        for (int way = 0; way < 4; way++) try_conv(conv[i], FT_F32, way), try_conv(conv[i], FT_BF16, way);
    for (size_t i = 0; i < sizeof attention / sizeof *attention; i++)
        for (int back = 0; back < 2; back++) try_attention(attention[i], back);
}

static bool agree(void *context, const char *device, const char *what, const char *mine, char *held)
{
    (void)device; /* it was not started */
    return ft_choices_agree(context, "described", what, mine, held);
}

int main(int argc, char **argv) /* dnn_offline DEVICE: a line is said once in a process */
{
    static char folder[] = "/tmp/forty-offline-XXXXXX";
    if (argc == 2 && !mkdtemp(folder)) return 1;
    ft_choices_keep(argc == 3 ? argv[2] : folder);
    setenv("FORTY_CUDA_MEASURE", "0", 1);
    for (size_t d = 0; argc >= 2 && d < sizeof devices / sizeof *devices; d++) {
        if (strcmp(argv[1], devices[d].name)) continue;
        if (ft_dnn_describe_device(devices[d].json) < 0) {
            printf("%s\n", ft_error_message());
            return 1;
        }
        ft_cuda_agree(agree, NULL);
        try_all();
        const char *text = ft_backend_cuda.device->choices();
        int bad = refusals(text, "own kernel");
        printf("%d of %d refused\n%s", bad, prepared, text);
        if (argc == 3) { /* the second process: everything is found by its name */
            int found = refusals(text, "as chosen before");
            printf("%d of %d found again\n", found, prepared);
            char path[1000];
            snprintf(path, sizeof path, "%s/gpu-choices.tsv", argv[2]);
            remove(path), remove(argv[2]);
            return bad > 0 || found != prepared;
        }
        if (bad > 0 || prepared == 0) return 1;
        fflush(stdout);
        char *again[] = {argv[0], argv[1], folder, NULL};
        execv("/proc/self/exe", again);
        return 1;
    }
    printf("usage: dnn_offline DEVICE\n");
    return 2;
}
