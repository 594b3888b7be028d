/* Optimiser kernels over the flat parameter store: one launch for all tensors, the average of the
 * weights and their bf16 copy included. */
#include "kernels/cuda/cuda.cuh"

enum { PARTS = 1024 };

static __global__ void squares(float *part, const float *g, int64_t n)
{
    float sum = 0, v[4];
    FT_EACH(i, n / 4)
    {
        ft_read<4>(v, g + i * 4);
        sum += v[0] * v[0] + v[1] * v[1] + v[2] * v[2] + v[3] * v[3];
    }
    sum = ft_sum<FT_THREADS>(sum);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

static __global__ void norm_of(float *norm, const float *part, int parts)
{
    double sum = 0;
    for (int i = (int)threadIdx.x; i < parts; i += FT_THREADS) sum += (double)part[i];
    sum = ft_sum<FT_THREADS>(sum);
    if (threadIdx.x == 0) *norm = (float)sqrt(sum);
}

extern "C" int ft_cuda_prepare_grad_norm(ft_call *c)
{
    c->work_size = PARTS * sizeof(float);
    return FT_OK;
}

extern "C" void ft_cuda_grad_norm(const ft_call *c)
{
    int64_t n = c->store->trained; /* a multiple of 16 */
    unsigned blocks = ft_blocks(n / 4, FT_THREADS * 4) < PARTS ? ft_blocks(n / 4, FT_THREADS * 4) : (unsigned)PARTS;
    FT_LAUNCH((squares), blocks, FT_THREADS, 0, ft_cuda_stream, (float *)c->work, c->store->grad, n);
    FT_LAUNCH((norm_of), 1, FT_THREADS, 0, ft_cuda_stream, ft_as<float>(c->out[0]), (const float *)c->work, (int)blocks);
}

/* A gradient that is not finite leaves everything as it was; the caller sees the norm. */
FT_DEV bool usable(const float *norm, const ft_step *step, const ft_optim_opt &o, float *scale)
{
    *scale = o.clip > 0 && step->step >= o.clip_from ? fminf(1.0f, o.clip / (*norm + 1e-6f)) : 1.0f;
    return isfinite(*norm);
}

/* quads of values to visit: buffers (running statistics, behind the trained values) are copied to the average */
static int64_t quads(const ft_call *c) { return (c->attr->optim.no_ema ? c->store->trained : c->store->total) / 4; }

FT_DEV void average(const ft_store &st, float d, int64_t i, const float p[4])
{
    float e[4];
    ft_read<4>(e, st.bank[1] + i * 4);
    for (int k = 0; k < 4; k++) e[k] = i * 4 < st.trained ? d * e[k] + (1 - d) * p[k] : p[k];
    ft_write<4>(st.bank[1] + i * 4, e);
}

static __global__ void adamw(ft_store st, ft_optim_opt o, const ft_step *step, const float *norm, int64_t n)
{
    FT_SHARED(float, fix, [2]);
    float scale, lr = step->lr;
    if (threadIdx.x == 0) {
        double t = (double)step->step + 1;
        fix[0] = lr / (float)(1 - pow((double)o.beta1, t));
        fix[1] = (float)sqrt(1 - pow((double)o.beta2, t));
    }
    __syncthreads();
    if (!usable(norm, step, o, &scale)) return;
    float rate = fix[0], fix2 = fix[1], *p = st.bank[0], *m = st.moment[0], *v = st.moment[1];
    bf16 *half = (bf16 *)st.half[0];
    FT_EACH(i, n)
    {
        float g[4], pp[4], mm[4], vv[4];
        ft_read<4>(pp, p + i * 4);
        if (i * 4 < st.trained) {
            float shrink = st.decay[i / 4] ? 1.0f - lr * o.weight_decay : 1.0f;
            ft_read<4>(g, st.grad + i * 4);
            ft_read<4>(mm, m + i * 4);
            ft_read<4>(vv, v + i * 4);
            for (int k = 0; k < 4; k++) {
                g[k] *= scale;
                mm[k] = o.beta1 * mm[k] + (1 - o.beta1) * g[k];
                vv[k] = o.beta2 * vv[k] + (1 - o.beta2) * g[k] * g[k];
                pp[k] = pp[k] * shrink - rate * mm[k] / (sqrtf(vv[k]) / fix2 + o.eps);
            }
            ft_write<4>(p + i * 4, pp);
            ft_write<4>(m + i * 4, mm);
            ft_write<4>(v + i * 4, vv);
            if (half) ft_write<4>(half + i * 4, pp);
        }
        if (!o.no_ema) average(st, step->ema, i, pp);
    }
}

extern "C" void ft_cuda_adamw(const ft_call *c)
{
    FT_RUN((adamw), quads(c), *c->store, c->attr->optim, c->step, ft_as<const float>(c->in[0]), quads(c));
}

/* PyTorch's SGD with Nesterov momentum; decay is added to the gradient */
static __global__ void sgd(ft_store st, ft_optim_opt o, const ft_step *step, const float *norm, int64_t n)
{
    float scale, lr = step->lr, *p = st.bank[0], *m = st.moment[0];
    bf16 *half = (bf16 *)st.half[0];
    if (!usable(norm, step, o, &scale)) return;
    FT_EACH(i, n)
    {
        float g[4], pp[4], mm[4];
        ft_read<4>(pp, p + i * 4);
        if (i * 4 < st.trained) {
            float decay = st.decay[i / 4] ? o.weight_decay : 0.0f;
            ft_read<4>(g, st.grad + i * 4);
            ft_read<4>(mm, m + i * 4);
            for (int k = 0; k < 4; k++) {
                g[k] = g[k] * scale + decay * pp[k];
                mm[k] = o.beta1 * mm[k] + g[k];
                pp[k] -= lr * (o.nesterov ? g[k] + o.beta1 * mm[k] : mm[k]);
            }
            ft_write<4>(p + i * 4, pp);
            ft_write<4>(m + i * 4, mm);
            if (half) ft_write<4>(half + i * 4, pp);
        }
        if (!o.no_ema) average(st, step->ema, i, pp);
    }
}

extern "C" void ft_cuda_sgd(const ft_call *c)
{
    FT_RUN((sgd), quads(c), *c->store, c->attr->optim, c->step, ft_as<const float>(c->in[0]), quads(c));
}
