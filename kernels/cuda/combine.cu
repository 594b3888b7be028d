/* A sampler's step (common/graph/graph.h: ft_combine): what changes from step to step lies on the device, so that a step can be
 * replayed. A thread has up to four neighbours of a clip, which share a counter of Philox. */
#include "common/base/streams.h"
#include "kernels/cuda/random.cuh"

enum { COMBINED = 5 };
struct sources {
    const float *x[COMBINED];
    int n;
};

static __global__ void combine(float *y, sources from, const float *w, const uint32_t *key, const float *share, int64_t clips,
                               int64_t each)
{
    int64_t fours = (each + 3) / 4;
    const float *noise = w + 2 * from.n;
    double s = key ? ft_two_floats(noise) : 0.0;
    FT_EACH(task, clips * fours)
    {
        int64_t clip = task / fours, four = task % fours, at = clip * each + four * 4;
        int m = each - four * 4 < 4 ? (int)(each - four * 4) : 4;
        double sum[4] = {0};
#pragma unroll
        for (int k = 0; k < COMBINED; k++) {
            double wk = k < from.n ? ft_two_floats(w + 2 * k) : 0.0;
            if (wk == 0) continue;
            for (int i = 0; i < m; i++) sum[i] += wk * (double)from.x[k][at + i];
        }
        if (s != 0) {
            uint64_t seed = key[0] | (uint64_t)key[1] << 32, first = key[2] | (uint64_t)key[3] << 32;
            ft_step step = {seed, (int64_t)ft_clip_step(first + (uint64_t)clip, (uint64_t)noise[share ? 6 : 2]), 0, 0, 0};
            float e[4];
            ft_random4<true>(&step, FT_STREAM_SAMPLE_NOISE, 0, four * 4, e);
            for (int i = 0; i < m; i++) {
                double by = share ? ft_deviation(ft_two_floats(noise + 2), ft_two_floats(noise + 4), share[at + i]) : 1.0;
                sum[i] += s * by * (double)e[i];
            }
        }
        for (int i = 0; i < m; i++) y[at + i] = (float)sum[i];
    }
}

/* in: weights key share x... */
extern "C" void ft_cuda_combine(const ft_call *c)
{
    const ft_buf *y = c->out[0];
    sources from = {{NULL}, c->n_in - 3};
    for (int k = 0; k < from.n; k++) from.x[k] = ft_as<const float>(c->in[3 + k]);
    int64_t clips = y->dim[0], each = y->count / clips;
    FT_RUN((combine), clips * ft_ceil(each, 4), ft_as<float>(y), from, ft_as<const float>(c->in[0]),
           ft_as<const uint32_t>(c->in[1]), ft_as<const float>(c->in[2]), clips, each);
}
