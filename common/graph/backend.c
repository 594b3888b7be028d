#include "common/graph/backend.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/context_parts.h"
#include "common/base/log.h"
#include "common/base/plugin.h"
#include "common/base/status.h"
#include "common/graph/choices.h"

static const ft_backend *plugin;
static char why[512]; /* the plugin could not be had */
static pthread_once_t looked_for = PTHREAD_ONCE_INIT;

static const ft_backend *chosen(void) { return ft__context()->device.chosen; }
const ft_backend *ft_backend_now(void) { return chosen() ? chosen() : ft_backend_cpu(); }
void ft_backend_use(const ft_backend *b) { ft__context()->device.chosen = b; }
int ft_backend_select(const char *name) { return ft__context_device(ft__context(), name); }

/* CUDA's libraries are a gigabyte: they are not even opened where there is no driver. FORTY_CUDA_PLUGIN names another plugin,
 * which is asked without looking for one (tests). */
static void find_plugin(void)
{
    char path[4096];
    const char *other = getenv("FORTY_CUDA_PLUGIN");
    ft_plugin_path(path, sizeof path, "libforty_cuda.so");
    if (!other && access(path, R_OK) != 0)
        snprintf(why, sizeof why,
                 "this build has no CUDA plugin (made with cmake -DFT_CUDA=ON, or where a GPU is; needs nvcc, cuBLAS, cuDNN, "
                 "cuFFT, NCCL)");
    else if (!other && !dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL))
        snprintf(why, sizeof why, "no GPU: NVIDIA's driver is not on this machine");
    else if (!(plugin = ft_plugin_symbol(other ? other : path, false, "ft_backend_cuda")))
        snprintf(why, sizeof why, "the CUDA plugin cannot be opened: %s", dlerror());
}

static const ft_backend *open_plugin(void)
{
    pthread_once(&looked_for, find_plugin);
    return plugin;
}

/* Of several processes on one machine each takes its own: ranks by their number; workers (FORTY_WORKER, 0 is the first) in turns,
 * however many there are. */
static int own_gpu(const ft_backend *b)
{
    static const char *const local[] = {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "MV2_COMM_WORLD_LOCAL_RANK",
                                        "SLURM_LOCALID"};
    const char *worker = getenv("FORTY_WORKER");
    int n = worker && b ? b->device->count() : 0, first = 0;
    for (int i = 3; i >= 0; i--)
        if (getenv(local[i])) first = atoi(getenv(local[i]));
    return n > 0 ? (first + atoi(worker)) % n : first;
}

static int start_gpu(int index) /* negative: its own */
{
    const ft_backend *b = open_plugin();
    if (!b) return FT_FAIL(FT_EDEVICE, "%s. Use --device cpu", why);
    FT_TRY(b->device->start(index < 0 ? own_gpu(b) : index));
    b->device->agree(ft_choices_agree, NULL);
    ft_backend_use(b);
    return FT_OK;
}

int ft_backend_open(void)
{
    const char *wish = ft__context()->device.wish;
    if (chosen()) return FT_OK;
    if (!strncmp(wish, "cuda", 4)) return start_gpu(wish[4] == ':' ? atoi(wish + 5) : -1);
    if (!strcmp(wish, "auto") && open_plugin() && start_gpu(-1) == FT_OK) {
        ft_log("computing on %s", plugin->device->describe());
        return FT_OK;
    }
    ft_backend_use(ft_backend_cpu());
    return FT_OK;
}

const char *ft_backend_gpu(bool *usable)
{
    const ft_backend *b = chosen() && chosen()->device ? chosen() : open_plugin();
    *usable = b && b->device->start(own_gpu(b)) == FT_OK;
    return *usable ? b->device->describe() : b ? ft_error_message() : why;
}

bool ft_backend_has_bf16(void) { return ft_backend_now()->device || ft_cpu_has_bf16(); }
