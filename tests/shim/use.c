/* Linked into a test, this makes it compute with the CUDA kernels on the host. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/status.h"
#include "common/graph/backend.h"

extern const ft_backend ft_backend_cuda;

__attribute__((constructor)) static void use_shim(void)
{
    if (ft_backend_cuda.device->start(0) < 0) {
        fprintf(stderr, "%s\n", ft_error_message());
        exit(1);
    }
    ft_backend_use(&ft_backend_cuda);
}

/* ---- the device suite (tests/device/include/cmocka.h) ------------------------------------------------------------------- */

bool ft_device_usable(void);
bool ft_device_usable(void)
{
    void *p = NULL;
    const ft_device *d = ft_backend_cuda.device;
    bool fine = d->alloc(&p, 64) == FT_OK && d->check() == FT_OK;
    d->free(p);
    return fine;
}

void ft_device_say(const char *name);
void ft_device_say(const char *name)
{
    static size_t said;
    const char *text = ft_backend_cuda.device->choices(), *line = text + said;
    for (const char *end; (end = strchr(line, '\n')); line = end + 1)
        fprintf(stderr, "    %s: %.*s\n", name, (int)(end - line), line);
    said = (size_t)(line - text);
}
