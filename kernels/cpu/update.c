/* Optimiser kernels over the flat parameter store: the update and the average of the weights in one pass. */
#include "kernels/cpu/cpu.h"

void FT_CPU(grad_norm)(const ft_call *c)
{
    const float *g = c->store->grad;
    double part[FT_PARTS], total = 0;
#pragma omp parallel for
    for (int64_t k = 0; k < FT_PARTS; k++) {
        int64_t from = ft_part(c->store->trained / 16, k, FT_PARTS) * 16,
                to = ft_part(c->store->trained / 16, k + 1, FT_PARTS) * 16;
        part[k] = 0;
        for (int64_t i = from; i < to; i += FT_BLOCK) {
            int64_t n = FT_MIN(FT_BLOCK, to - i);
            part[k] += (double)ft_dot(g + i, g + i, n);
        }
    }
    for (int k = 0; k < FT_PARTS; k++) total += part[k];
    *(float *)c->out[0]->data = (float)sqrt(total);
}

/* A gradient that is not finite leaves everything as it was; the caller sees the norm. */
static bool usable(const ft_call *c, float *scale)
{
    float norm = *(const float *)c->in[0]->data, clip = c->attr->optim.clip;
    *scale = clip > 0 && c->step->step >= c->attr->optim.clip_from ? FT_MIN(1.0f, clip / (norm + 1e-6f)) : 1.0f;
    return isfinite(norm);
}

/* The end of the run of blocks (16 values) that begins at `from`, with one decay flag, at most FT_BLOCK values long. */
static int64_t run_end(const ft_store *st, int64_t from, int64_t stop)
{
    int64_t end = from + 1;
    while (end < stop && end - from < FT_BLOCK / 16 && st->decay[end] == st->decay[from]) end++;
    return end;
}

/* the average of trained weights, while they are in the cache */
static void ema_row(float d, const float *restrict p, float *restrict e, int64_t n)
{
    for (int64_t i = 0; i < n; i++) e[i] = d * e[i] + (1 - d) * p[i];
}

/* Buffers (running statistics) are not averaged but copied. */
static void finish(const ft_call *c)
{
    ft_store *st = c->store;
    size_t buffers = (size_t)(st->total - st->trained) * sizeof(float);
    if (!c->attr->optim.no_ema) memcpy(st->bank[1] + st->trained, st->bank[0] + st->trained, buffers);
    st->version++;
}

typedef struct {
    float b1, b2, eps, scale, shrink, rate, fix2; /* of AdamW */
} adamw_step;

static void adamw_row(const adamw_step *a, const float *restrict grad, float *restrict p, float *restrict m, float *restrict v,
                      int64_t n)
{
    adamw_step s = *a;
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * s.scale;
        m[i] = s.b1 * m[i] + (1 - s.b1) * g;
        v[i] = s.b2 * v[i] + (1 - s.b2) * g * g;
        p[i] = p[i] * s.shrink - s.rate * m[i] / (sqrtf(v[i]) / s.fix2 + s.eps);
    }
}

void FT_CPU(adamw)(const ft_call *c)
{
    const ft_optim_opt *o = &c->attr->optim;
    ft_store *st = c->store;
    float scale, lr = c->step->lr;
    if (!usable(c, &scale)) return;
    double t = (double)c->step->step + 1;
    adamw_step a = {o->beta1, o->beta2, o->eps, scale, 1, lr / (float)(1 - pow(o->beta1, t)), (float)sqrt(1 - pow(o->beta2, t))};
#pragma omp parallel for if (st->trained > FT_SMALL)
    for (int64_t part = 0; part < FT_PARTS; part++) {
        int64_t stop = ft_part(st->trained / 16, part + 1, FT_PARTS);
        for (int64_t from = ft_part(st->trained / 16, part, FT_PARTS), end; from < stop; from = end) {
            adamw_step s = a;
            int64_t i = from * 16;
            end = run_end(st, from, stop);
            s.shrink = st->decay[from] ? 1.0f - lr * o->weight_decay : 1.0f;
            adamw_row(&s, st->grad + i, st->bank[0] + i, st->moment[0] + i, st->moment[1] + i, (end - from) * 16);
            if (!o->no_ema) ema_row(c->step->ema, st->bank[0] + i, st->bank[1] + i, (end - from) * 16);
        }
    }
    finish(c);
}

/* PyTorch's SGD with Nesterov momentum; decay is added to the gradient */
static void sgd_row(bool nesterov, float lr, float beta, float decay, float scale, const float *restrict grad, float *restrict p,
                    float *restrict m, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float g = grad[i] * scale + decay * p[i];
        m[i] = beta * m[i] + g;
        p[i] -= lr * (nesterov ? g + beta * m[i] : m[i]);
    }
}

void FT_CPU(sgd)(const ft_call *c)
{
    const ft_optim_opt *o = &c->attr->optim;
    ft_store *st = c->store;
    float scale;
    if (!usable(c, &scale)) return;
#pragma omp parallel for if (st->trained > FT_SMALL)
    for (int64_t part = 0; part < FT_PARTS; part++) {
        int64_t stop = ft_part(st->trained / 16, part + 1, FT_PARTS);
        for (int64_t from = ft_part(st->trained / 16, part, FT_PARTS), end; from < stop; from = end) {
            int64_t i = from * 16;
            end = run_end(st, from, stop);
            sgd_row(o->nesterov, c->step->lr, o->beta1, st->decay[from] ? o->weight_decay : 0.0f, scale, st->grad + i,
                    st->bank[0] + i, st->moment[0] + i, (end - from) * 16);
            if (!o->no_ema) ema_row(c->step->ema, st->bank[0] + i, st->bank[1] + i, (end - from) * 16);
        }
    }
    finish(c);
}
