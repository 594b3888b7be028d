/* Focal frequency loss (Jiang et al., ICCV 2021) by cuFFT: one orthonormal 2-D FFT per frame and channel of x - target, weight
 * |D|^alpha / its maximum over the plane (a constant for the gradient), loss = mean of weight * |D|^2. */
#include <cufft.h>

#include "kernels/cuda/cuda.cuh"

struct fft_state {
    cufftHandle forward, backward;
    bool has_forward, has_backward;
};

static void free_fft(void *p)
{
    fft_state *s = (fft_state *)p;
    if (s->has_forward) cufftDestroy(s->forward);
    if (s->has_backward) cufftDestroy(s->backward);
    free(s);
}

struct planes {
    int64_t frames, ch, h, w, half, hw, all; /* half: columns of the spectrum; all: planes = frames * channels */
};
static planes planes_of(const ft_buf *x)
{
    planes p;
    p.frames = x->dim[0] * x->dim[1], p.ch = x->dim[4], p.h = x->dim[2], p.w = x->dim[3], p.half = p.w / 2 + 1, p.hw = p.h * p.w;
    p.all = p.frames * p.ch;
    return p;
}

static int need(ft_call *c, bool backward)
{
    planes p = planes_of(c->in[0]);
    fft_state *s = (fft_state *)calloc(1, sizeof *s);
    int n[2] = {(int)p.h, (int)p.w};
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory for the Fourier transform");
    c->state = s;
    c->free_state = free_fft;
    c->bound = true;
    c->work_size = (size_t)(p.all * (p.hw + 2 * p.h * p.half + 2)) * sizeof(float) + 512;
    s->has_forward = cufftPlanMany(&s->forward, 2, n, NULL, 1, 0, NULL, 1, 0, CUFFT_R2C, (int)p.all) == CUFFT_SUCCESS;
    if (!s->has_forward || cufftSetStream(s->forward, ft_cuda_stream) != CUFFT_SUCCESS)
        return FT_FAIL(FT_EDEVICE, "cuFFT cannot transform %lld planes of %lld x %lld", (long long)p.all, (long long)p.h,
                       (long long)p.w);
    if (!backward) return FT_OK;
    s->has_backward = cufftPlanMany(&s->backward, 2, n, NULL, 1, 0, NULL, 1, 0, CUFFT_C2R, (int)p.all) == CUFFT_SUCCESS;
    if (!s->has_backward || cufftSetStream(s->backward, ft_cuda_stream) != CUFFT_SUCCESS)
        return FT_FAIL(FT_EDEVICE, "cuFFT cannot transform %lld planes of %lld x %lld back", (long long)p.all, (long long)p.h,
                       (long long)p.w);
    return FT_OK;
}
extern "C" int ft_cuda_prepare_focal_frequency(ft_call *c) { return need(c, false); }
extern "C" int ft_cuda_prepare_focal_frequency_bwd(ft_call *c) { return need(c, true); }

/* plane-major difference */
template <typename X, typename T> static __global__ void difference(float *plane, const X *x, const T *t, planes p)
{
    FT_EACH(i, p.all * p.hw)
    {
        int64_t k = i / p.hw % p.ch, from = (i / p.hw / p.ch * p.hw + i % p.hw) * p.ch + k;
        plane[i] = ft_get(x + from) - ft_get(t + from);
    }
}

/* a block for each plane: scales the spectrum, finds the largest weight, multiplies by the weight, sums the loss */
static __global__ void weigh(float *half, float *loss, planes p, float alpha)
{
    int64_t n = p.h * p.half;
    float ortho = 1.0f / sqrtf((float)p.hw), *s = half + (int64_t)blockIdx.x * 2 * n, top = 0, sum = 0;
    for (int64_t i = threadIdx.x; i < n; i += FT_THREADS) {
        float re = s[2 * i] * ortho, im = s[2 * i + 1] * ortho, m = sqrtf(re * re + im * im);
        top = fmaxf(top, alpha == 1.0f ? m : powf(m, alpha));
    }
    top = ft_max<FT_THREADS>(top);
    for (int64_t i = threadIdx.x; i < n; i += FT_THREADS) {
        float re = s[2 * i] * ortho, im = s[2 * i + 1] * ortho, m = sqrtf(re * re + im * im);
        float weight = top > 0 ? (alpha == 1.0f ? m : powf(m, alpha)) / top : 0.0f;
        int64_t col = i % p.half; /* the real transform keeps one of each conjugate pair */
        float twice = col == 0 || (p.w % 2 == 0 && col == p.w / 2) ? 1.0f : 2.0f;
        sum += twice * weight * (re * re + im * im);
        s[2 * i] = re * weight * ortho;
        s[2 * i + 1] = im * weight * ortho;
    }
    sum = ft_sum<FT_THREADS>(sum);
    if (threadIdx.x == 0) loss[blockIdx.x] = sum;
}

static float *floats(const ft_call *c) { return (float *)c->work; }

static void spectrum(const ft_call *c, float **plane, float **half, float **loss)
{
    const ft_buf *x = c->in[0], *t = c->in[1];
    const fft_state *s = (const fft_state *)c->state;
    planes p = planes_of(x);
    *plane = floats(c);
    *half = *plane + (p.all * p.hw + 63) / 64 * 64;
    *loss = *half + p.all * 2 * p.h * p.half;
    FT_ASSERT(x->dtype == t->dtype);
    FT_BY_TYPE(x->dtype, FT_RUN((difference<T, T>), p.all * p.hw, *plane, ft_as<const T>(x), ft_as<const T>(t), p));
    cufftResult st = cufftExecR2C(s->forward, *plane, (cufftComplex *)*half);
    if (st != CUFFT_SUCCESS) ft_cuda_fault("cuFFT failed (status %d)", (int)st);
    FT_LAUNCH((weigh), (unsigned)p.all, FT_THREADS, 0, ft_cuda_stream, *half, *loss, p, c->attr->scalar.a);
}

extern "C" void ft_cuda_focal_frequency(const ft_call *c)
{
    float *plane, *half, *loss;
    spectrum(c, &plane, &half, &loss);
    ft_cuda_sum_rows(c->out[0]->data, FT_F32, loss, 1, planes_of(c->in[0]).all, 1, 1, 1.0f / (float)c->in[0]->count);
}

template <typename T> static __global__ void from_planes(T *dx, const float *plane, const float *dloss, planes p)
{
    float g = 2.0f * *dloss / (float)(p.all * p.hw);
    FT_EACH(i, p.all * p.hw)
    {
        int64_t k = i % p.ch, at = i / p.ch;
        ft_put(dx + i, g * plane[(at / p.hw * p.ch + k) * p.hw + at % p.hw]);
    }
}

/* in: x target dloss; out: dx = 2/count * IFFT(weight * D) */
extern "C" void ft_cuda_focal_frequency_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const fft_state *s = (const fft_state *)c->state;
    planes p = planes_of(x);
    float *plane, *half, *loss;
    spectrum(c, &plane, &half, &loss);
    cufftResult st = cufftExecC2R(s->backward, (cufftComplex *)half, plane);
    if (st != CUFFT_SUCCESS) ft_cuda_fault("cuFFT failed (status %d)", (int)st);
    FT_BY_TYPE(x->dtype,
               FT_RUN((from_planes<T>), x->count, ft_as<T>(c->out[0]), (const float *)plane, ft_as<const float>(c->in[2]), p));
}
