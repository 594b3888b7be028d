/* Every scalar formula and derivative, once: CPU kernels, CUDA kernels and tests include this file. */
#ifndef FT_ELEM_H
#define FT_ELEM_H

#include <math.h>

#include "kernels/kernel.h"

#ifdef __CUDACC__
#define FT_FN static inline __host__ __device__
#else
#define FT_FN static inline
#endif

/* exp to 2 ulp in a form that every compiler turns into vectors: x = n ln2 + r, |r| <= ln2/2, degree 6 for exp(r). */
FT_FN float ft_exp1(float x)
{
    union {
        uint32_t u;
        float f;
    } scale;
    float c = x > 89.0f ? 89.0f : x; /* n = 128 makes the scale Inf, n = -127 makes it 0; NaN comes through */
    c = c < -88.0f ? -88.0f : c;
    float y = c * 1.44269504f;
    int32_t n = (int32_t)(y + 128.5f) - 128; /* to nearest, without a branch */
#ifdef __FMA__
    float r = fmaf((float)n, 1.42860677e-6f, fmaf((float)n, -0.693148613f, c)); /* ln2 in two parts */
#else
    float r = (float)((double)c - (double)n * 0.69314718055994531);
#endif
    float p = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666672f + r * (0.0416666418f + r * (0.00833345205f + r * 0.00138888f)))));
    scale.u = (uint32_t)(n + 127) << 23;
    return p * scale.f;
}

FT_FN float ft_sigmoid1(float x) { return 1.0f / (1.0f + ft_exp1(-x)); }
FT_FN float ft_tanh1(float x) { return 2.0f * ft_sigmoid1(2.0f * x) - 1.0f; }
FT_FN float ft_silu1(float x) { return x * ft_sigmoid1(x); }
FT_FN float ft_silu_d1(float x)
{
    float s = ft_sigmoid1(x);
    return s * (1.0f + x * (1.0f - s));
}
FT_FN float ft_softplus1(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

FT_FN float ft_act1(ft_act act, float x)
{
    return act == FT_ACT_RELU ? (x > 0 ? x : 0.0f) : act == FT_ACT_SILU ? ft_silu1(x) : x;
}
FT_FN float ft_act_d1(ft_act act, float x)
{
    return act == FT_ACT_RELU ? (x > 0 ? 1.0f : 0.0f) : act == FT_ACT_SILU ? ft_silu_d1(x) : 1.0f;
}

/* bf16 is the upper half of an f32; rounding to nearest even, NaN kept. */
FT_FN float ft_from_bf16(uint16_t h)
{
    union {
        uint32_t u;
        float f;
    } v;
    v.u = (uint32_t)h << 16;
    return v.f;
}
FT_FN uint16_t ft_to_bf16(float f)
{
    union {
        float f;
        uint32_t u;
    } v;
    v.f = f;
    uint32_t rounded = (v.u + 0x7FFFu + (v.u >> 16 & 1)) >> 16;
    return (uint16_t)((v.u & 0x7FFFFFFFu) > 0x7F800000u ? (v.u >> 16 | 0x40u) : rounded);
}

#endif
