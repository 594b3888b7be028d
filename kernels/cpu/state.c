/* State in buffers of the parameter store, which a step reads and then moves (thresholds of semi-supervised algorithms). */
#include "kernels/cpu/cpu.h"

/* in: state, value */
void FT_CPU(assign)(const ft_call *c) { memcpy(c->in[0]->data, c->in[1]->data, (size_t)c->in[0]->count * sizeof(float)); }

/* in: state (N,C), index (U), value (U,C), keep (U). In order: of two rows with one index the later one stays. */
void FT_CPU(assign_rows)(const ft_call *c)
{
    const int32_t *index = c->in[1]->data;
    const float *value = c->in[2]->data, *keep = c->in[3]->data;
    int64_t width = c->in[0]->dim[1], rows = c->in[0]->dim[0];
    for (int64_t i = 0; i < c->in[2]->dim[0]; i++) {
        FT_ASSERT(index[i] >= 0 && index[i] < rows);
        if (keep[i] != 0) memcpy((float *)c->in[0]->data + index[i] * width, value + i * width, (size_t)width * sizeof(float));
    }
}
