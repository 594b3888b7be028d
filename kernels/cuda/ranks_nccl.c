/* Gradients over several GPUs by NCCL, in stream order, so that a recorded step holds them. */
#include <nccl.h>
#include <stdio.h>
#include <string.h>

#include "kernels/cuda/runtime.h"

static ncclComm_t comm;

const char *ft_cuda_nccl_version(void)
{
    static char text[24];
    int v = 0;
    ncclGetVersion(&v);
    snprintf(text, sizeof text, "%d.%d.%d", v / 10000, v % 10000 / 100, v % 100);
    return text;
}

static int bad(ncclResult_t st, const char *what)
{
    return FT_FAIL(FT_EDEVICE, "NCCL failed at %s: %s", what, ncclGetErrorString(st));
}

int ft_cuda_join(int rank, int ranks, int (*share)(unsigned char *bytes, int n))
{
    ncclUniqueId id;
    ncclResult_t st = ncclSuccess;
    if (comm) return FT_OK;
    memset(&id, 0, sizeof id);
    if (rank == 0) st = ncclGetUniqueId(&id);
    if (st != ncclSuccess) return bad(st, "its start");
    FT_TRY(share((unsigned char *)&id, (int)sizeof id));
    st = ncclCommInitRank(&comm, ranks, id, rank);
    return st == ncclSuccess ? FT_OK : bad(st, "joining the ranks");
}

int ft_cuda_mean(float *x, int64_t n)
{
    ncclResult_t st = ncclAllReduce(x, x, (size_t)n, ncclFloat, ncclAvg, comm, ft_cuda_stream);
    return st == ncclSuccess ? FT_OK : bad(st, "averaging gradients");
}
