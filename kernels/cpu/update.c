/* Optimiser kernels over the flat parameter store. */
#include "kernels/cpu/cpu.h"

void FT_CPU(grad_norm)(const ft_call *c)
{
    const float *g = c->store->grad;
    double part[FT_PARTS], total = 0;
#pragma omp parallel for
    for (int64_t k = 0; k < FT_PARTS; k++) {
        int64_t from = ft_part(c->store->trained / 16, k, FT_PARTS) * 16,
                to = ft_part(c->store->trained / 16, k + 1, FT_PARTS) * 16;
        double s = 0;
        for (int64_t i = from; i < to; i += 16) {
            float lane = 0;
            for (int j = 0; j < 16; j++) lane += g[i + j] * g[i + j];
            s += (double)lane;
        }
        part[k] = s;
    }
    for (int k = 0; k < FT_PARTS; k++) total += part[k];
    *(float *)c->out[0]->data = (float)sqrt(total);
}

/* A gradient that is not finite leaves everything as it was; the caller sees the norm. */
static bool usable(const ft_call *c, float *scale)
{
    float norm = *(const float *)c->in[0]->data, clip = c->attr->optim.clip;
    *scale = clip > 0 ? FT_MIN(1.0f, clip / (norm + 1e-6f)) : 1.0f;
    return isfinite(norm);
}

void FT_CPU(adamw)(const ft_call *c)
{
    const ft_optim_opt *o = &c->attr->optim;
    ft_store *st = c->store;
    float scale, *p = st->bank[0], *m = st->moment[0], *v = st->moment[1], b1 = o->beta1, b2 = o->beta2;
    if (!usable(c, &scale)) return;
    double t = (double)c->step->step + 1;
    float lr = c->step->lr, fix1 = (float)(1 - pow(b1, t)), fix2 = (float)sqrt(1 - pow(b2, t)), rate = lr / fix1;
#pragma omp parallel for if (st->trained > FT_SMALL)
    for (int64_t block = 0; block < st->trained / 16; block++) {
        float shrink = st->decay[block] ? 1.0f - lr * o->weight_decay : 1.0f;
        for (int64_t i = block * 16; i < block * 16 + 16; i++) {
            float g = st->grad[i] * scale;
            m[i] = b1 * m[i] + (1 - b1) * g;
            v[i] = b2 * v[i] + (1 - b2) * g * g;
            p[i] = p[i] * shrink - rate * m[i] / (sqrtf(v[i]) / fix2 + o->eps);
        }
    }
    st->version++;
}

/* PyTorch's SGD with Nesterov momentum; decay is added to the gradient */
void FT_CPU(sgd)(const ft_call *c)
{
    const ft_optim_opt *o = &c->attr->optim;
    ft_store *st = c->store;
    float scale, *p = st->bank[0], *m = st->moment[0], lr = c->step->lr;
    if (!usable(c, &scale)) return;
#pragma omp parallel for if (st->trained > FT_SMALL)
    for (int64_t block = 0; block < st->trained / 16; block++) {
        float wd = st->decay[block] ? o->weight_decay : 0.0f;
        for (int64_t i = block * 16; i < block * 16 + 16; i++) {
            float g = st->grad[i] * scale + wd * p[i];
            m[i] = o->beta1 * m[i] + g;
            p[i] -= lr * (g + o->beta1 * m[i]);
        }
    }
    st->version++;
}

/* trained values average, buffers (running statistics) are copied */
void FT_CPU(ema)(const ft_call *c)
{
    ft_store *st = c->store;
    float *e = st->bank[1], d = c->step->ema;
    const float *p = st->bank[0];
    if (!isfinite(*(const float *)c->in[0]->data)) return;
#pragma omp parallel for if (st->trained > FT_SMALL)
    for (int64_t i = 0; i < st->trained; i++) e[i] = d * e[i] + (1 - d) * p[i];
    memcpy(e + st->trained, p + st->trained, (size_t)(st->total - st->trained) * sizeof(float));
    st->version++;
}
