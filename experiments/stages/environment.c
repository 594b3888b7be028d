#include "experiments/stages/environment.h"

#include <libavformat/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/machine.h"
#include "common/base/memory.h"
#include "common/base/threads.h"
#include "common/io/clipstore.h"
#include "common/graph/backend.h"

double ft_joules(void)
{
    double sum = 0;
    char path[80];
    for (int i = 0; i < 8; i++) { /* one domain a socket; those inside them (cores, memory) are part of it */
        long long micro;
        snprintf(path, sizeof path, "/sys/class/powercap/intel-rapl:%d/energy_uj", i);
        FILE *f = fopen(path, "r");
        if (!f) break;
        if (fscanf(f, "%lld", &micro) == 1) sum += 1e-6 * (double)micro;
        fclose(f);
    }
    return sum;
}

json_t *ft_environment(void)
{
    char cpu[200], hdf[48];
    ft_processor(cpu, sizeof cpu);
    ft_clipstore_library(hdf);
    const ft_backend *now = ft_backend_now();
    json_t *e =
        json_pack("{s:s,s:s,s:s,s:i,s:i,s:s,s:b,s:s,s:s,s:s,s:s,s:I}", "forty", FT_VERSION, "commit", FT_COMMIT, "processor", cpu,
                  "cores", get_nprocs(), "threads", ft_threads_get(), "backend", now->name, "bf16", ft_backend_has_bf16(),
                  "onednn", strchr(ft_cpu_library(), ' ') + 1, "hdf5", hdf, "ffmpeg", AV_STRINGIFY(LIBAVFORMAT_VERSION),
                  "compiler", "gcc-compatible " __VERSION__, "peak_rss_mib", (json_int_t)ft_peak_memory());
    if (now->device) {
        json_object_set_new(e, "gpu", json_string(now->device->describe()));
        json_object_set_new(e, "gpu_choices", json_string(now->device->choices()));
    }
    return e;
}

int ft_environment_write(const char *path, const char *command)
{
    json_t *o = ft_environment();
    if (command) json_object_set_new(o, "command", json_string(command));
    int rc = ft_write_json(path, o, 2);
    json_decref(o);
    return rc;
}
