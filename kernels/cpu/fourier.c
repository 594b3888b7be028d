/* Losses in the frequency domain, by FFTW. */
#include <fftw3.h>
#include <pthread.h>
#include <stdlib.h>

#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

/* ---- focal frequency loss (Jiang et al., ICCV 2021): one orthonormal 2-D FFT per frame and channel of x - target,
 *      weight |D|^alpha / its maximum over the plane (a constant for the gradient), loss = mean of weight * |D|^2 --------- */

typedef struct {
    fftwf_plan forward, backward;
} fft_state;

static pthread_mutex_t planner = PTHREAD_MUTEX_INITIALIZER; /* FFTW has one in a process, for one thread at a time */

static void free_fft(void *p)
{
    fft_state *s = p;
    pthread_mutex_lock(&planner);
    if (s->forward) fftwf_destroy_plan(s->forward);
    if (s->backward) fftwf_destroy_plan(s->backward);
    pthread_mutex_unlock(&planner);
    free(s);
}

static int64_t plane_floats(const ft_buf *x) { return (x->dim[2] * x->dim[3] + 31) / 16 * 16; }
static int64_t half_floats(const ft_buf *x) { return (x->dim[2] * (x->dim[3] / 2 + 1) * 2 + 31) / 16 * 16; }

static int need(ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t planes = x->dim[0] * x->dim[1] * x->dim[4];
    c->work_size =
        (size_t)ft_cpu_threads() * (size_t)(plane_floats(x) + half_floats(x)) * sizeof(float) + (size_t)planes * sizeof(double);
    fft_state *s = calloc(1, sizeof *s);
    float *a = fftwf_malloc((size_t)plane_floats(x) * sizeof(float)), *b = fftwf_malloc((size_t)half_floats(x) * sizeof(float));
    pthread_mutex_lock(&planner);
    if (s && a && b) { /* ESTIMATE: the plan, and so the rounding, is the same in every run */
        s->forward = fftwf_plan_dft_r2c_2d((int)x->dim[2], (int)x->dim[3], a, (fftwf_complex *)b, FFTW_ESTIMATE | FFTW_UNALIGNED);
        s->backward =
            fftwf_plan_dft_c2r_2d((int)x->dim[2], (int)x->dim[3], (fftwf_complex *)b, a, FFTW_ESTIMATE | FFTW_UNALIGNED);
    }
    pthread_mutex_unlock(&planner);
    fftwf_free(a);
    fftwf_free(b);
    c->state = s;
    c->free_state = free_fft;
    return s && s->forward && s->backward ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for the Fourier transform");
}
int FT_PREPARE(focal_frequency)(ft_call *c) { return need(c); }
int FT_PREPARE(focal_frequency_bwd)(ft_call *c) { return need(c); }

/* difference of plane p of (B,T,H,W,C), its spectrum, and its spectrum times the weight; returns the plane's loss sum */
static double spectrum(const ft_call *c, int64_t p, float *plane, float *half)
{
    const ft_buf *x = c->in[0], *t = c->in[1];
    const fft_state *s = c->state;
    int64_t ch = x->dim[4], hw = x->dim[2] * x->dim[3], w = x->dim[3], hw2 = w / 2 + 1;
    int64_t frame = p / ch, k = p % ch;
    for (int64_t i = 0; i < hw; i++) {
        float a, b;
        plane[i] = *ft_load(&a, x, (frame * hw + i) * ch + k, 1) - *ft_load(&b, t, (frame * hw + i) * ch + k, 1);
    }
    fftwf_execute_dft_r2c(s->forward, plane, (fftwf_complex *)half);
    float ortho = 1.0f / sqrtf((float)hw), alpha = c->attr->scalar.a, top = 0;
    for (int64_t i = 0; i < x->dim[2] * hw2; i++) {
        half[2 * i] *= ortho;
        half[2 * i + 1] *= ortho;
        float m = sqrtf(half[2 * i] * half[2 * i] + half[2 * i + 1] * half[2 * i + 1]);
        top = FT_MAX(top, alpha == 1.0f ? m : powf(m, alpha));
    }
    double total = 0;
    for (int64_t i = 0; i < x->dim[2] * hw2; i++) {
        float re = half[2 * i], im = half[2 * i + 1], m = sqrtf(re * re + im * im);
        float weight = top > 0 ? (alpha == 1.0f ? m : powf(m, alpha)) / top : 0.0f;
        int64_t col = i % hw2; /* the real transform keeps one of each conjugate pair */
        double twice = col == 0 || (w % 2 == 0 && col == w / 2) ? 1.0 : 2.0;
        total += twice * (double)(weight * (re * re + im * im));
        half[2 * i] *= weight * ortho;
        half[2 * i + 1] *= weight * ortho;
    }
    return total;
}

void FT_CPU(focal_frequency)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t planes = x->dim[0] * x->dim[1] * x->dim[4], each = plane_floats(x) + half_floats(x);
    double *part = (double *)c->work, total = 0;
    float *scratch = (float *)(part + planes);
#pragma omp parallel for
    for (int64_t p = 0; p < planes; p++) {
        float *plane = scratch + ft_cpu_thread_id() * each;
        part[p] = spectrum(c, p, plane, plane + plane_floats(x));
    }
    for (int64_t p = 0; p < planes; p++) total += part[p];
    *(float *)c->out[0]->data = (float)(total / (double)x->count);
}

/* in: x target dloss; out: dx = 2/count * IFFT(weight * D). A task is a frame, so that its channels do not race in bf16. */
void FT_CPU(focal_frequency_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const fft_state *s = c->state;
    int64_t ch = x->dim[4], hw = x->dim[2] * x->dim[3], frames = x->dim[0] * x->dim[1], each = plane_floats(x) + half_floats(x);
    float g = 2.0f * *(const float *)c->in[2]->data / (float)x->count;
#pragma omp parallel for
    for (int64_t f = 0; f < frames; f++) {
        float *plane = (float *)c->work + ft_cpu_thread_id() * each, *half = plane + plane_floats(x);
        for (int64_t k = 0; k < ch; k++) {
            spectrum(c, f * ch + k, plane, half);
            fftwf_execute_dft_c2r(s->backward, (fftwf_complex *)half, plane);
            for (int64_t i = 0; i < hw; i++) {
                float v = g * plane[i];
                ft_store_at(c->out[0], (f * hw + i) * ch + k, &v, 1);
            }
        }
    }
}
