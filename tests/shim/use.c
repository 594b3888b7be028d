/* Linked into a test, this makes it compute with the CUDA kernels on the host. */
#include <stdio.h>
#include <stdlib.h>

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
