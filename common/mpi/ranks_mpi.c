/* The ranks of an MPI launcher: a plugin, so that the program itself needs no MPI (common/base/ranks.h). */
#include <limits.h>
#include <mpi.h>

#include "common/base/ranks.h"

enum { PART = 1 << 26 }; /* counts are int */

static int start(int *rank, int *ranks)
{
    int given;
    return MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &given) != MPI_SUCCESS ||
           MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN) != MPI_SUCCESS ||
           MPI_Comm_rank(MPI_COMM_WORLD, rank) != MPI_SUCCESS || MPI_Comm_size(MPI_COMM_WORLD, ranks) != MPI_SUCCESS;
}

static int sum(float *x, int64_t n)
{
    for (int64_t at = 0; at < n; at += PART) {
        int now = (int)(n - at < PART ? n - at : PART);
        if (MPI_Allreduce(MPI_IN_PLACE, x + at, now, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD) != MPI_SUCCESS) return 1;
    }
    return 0;
}

static int meet(void) { return MPI_Barrier(MPI_COMM_WORLD) != MPI_SUCCESS; }

static void end(bool failed)
{
    if (failed) MPI_Abort(MPI_COMM_WORLD, 1);
    else MPI_Finalize();
}

static const ft_ranks_api api = {start, sum, meet, end};
extern const ft_ranks_api *const ft_ranks_mpi;
const ft_ranks_api *const ft_ranks_mpi = &api;
