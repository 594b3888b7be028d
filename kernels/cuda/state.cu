/* State in buffers of the parameter store, which a step reads and then moves (thresholds of semi-supervised algorithms). */
#include "kernels/cuda/cuda.cuh"

static __global__ void assign(float *state, const float *value, int64_t n) { FT_EACH(i, n) state[i] = value[i]; }
extern "C" void ft_cuda_assign(const ft_call *c)
{
    FT_RUN((assign), c->in[0]->count, ft_as<float>(c->in[0]), ft_as<const float>(c->in[1]), c->in[0]->count);
}

/* A thread owns a column and walks the rows in order: of two rows with one index the later one stays. An index outside is
 * skipped (the CPU stops there; a device cannot). */
static __global__ void assign_rows(float *state, const int32_t *index, const float *value, const float *keep, int64_t rows,
                                   int64_t width, int64_t n)
{
    FT_EACH(k, width)
    for (int64_t i = 0; i < n; i++)
        if (keep[i] != 0 && index[i] >= 0 && index[i] < rows) state[index[i] * width + k] = value[i * width + k];
}
extern "C" void ft_cuda_assign_rows(const ft_call *c)
{
    const ft_buf *state = c->in[0];
    FT_RUN((assign_rows), state->dim[1], ft_as<float>(state), ft_as<const int32_t>(c->in[1]), ft_as<const float>(c->in[2]),
           ft_as<const float>(c->in[3]), state->dim[0], state->dim[1], c->in[2]->dim[0]);
}
