/* A sampler's step (common/graph/graph.h: ft_combine). */
#include "common/base/streams.h"
#include "kernels/cpu/random.h"

/* e of n values of a clip from its value `at` on, times s */
static void add_noise(double *sum, uint64_t seed, uint64_t step, int64_t at, int64_t n, const double *s)
{
    uint32_t bits[4];
    float e[4];
    for (int64_t i = 0; i < n; i++) {
        if (i == 0 || (at + i) % 4 == 0) {
            ft_philox(seed, FT_STREAM_SAMPLE_NOISE, step, (uint64_t)(at + i) / 4, bits);
            ft_philox_normal(bits, e);
        }
        sum[i] += s[i] * (double)e[(at + i) % 4];
    }
}

/* in: weights key share x... */
void FT_CPU(combine)(const ft_call *c)
{
    const float *w = c->in[0]->data, *share = c->in[2] ? c->in[2]->data : NULL;
    const uint32_t *key = c->in[1] ? c->in[1]->data : NULL;
    int n = c->n_in - 3;
    int64_t each = c->out[0]->count / c->out[0]->dim[0], blocks = (each + FT_BLOCK - 1) / FT_BLOCK;
    const float *noise = w + 2 * n;
    double s = key ? ft_two_floats(noise) : 0;
#pragma omp parallel for if (c->out[0]->count > FT_SMALL)
    for (int64_t task = 0; task < blocks * c->out[0]->dim[0]; task++) {
        int64_t clip = task / blocks, at = task % blocks * FT_BLOCK, m = FT_MIN(FT_BLOCK, each - at), from = clip * each + at;
        double sum[FT_BLOCK] = {0}, by[FT_BLOCK];
        float *y = (float *)c->out[0]->data + from;
        for (int k = 0; k < n; k++) {
            const float *x = (const float *)c->in[3 + k]->data + from;
            double wk = ft_two_floats(w + 2 * k);
            if (wk == 0) continue;
            for (int64_t i = 0; i < m; i++) sum[i] += wk * (double)x[i];
        }
        if (s != 0) {
            uint64_t seed = key[0] | (uint64_t)key[1] << 32, first = key[2] | (uint64_t)key[3] << 32;
            for (int64_t i = 0; i < m; i++)
                by[i] = share ? s * ft_deviation(ft_two_floats(noise + 2), ft_two_floats(noise + 4), share[from + i]) : s;
            add_noise(sum, seed, ft_clip_step(first + (uint64_t)clip, (uint64_t)noise[share ? 6 : 2]), at, m, by);
        }
        for (int64_t i = 0; i < m; i++) y[i] = (float)sum[i];
    }
}
