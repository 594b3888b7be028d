/* Every scalar formula and derivative, once: CPU kernels, CUDA kernels and tests include this file. */
#ifndef FT_ELEM_H
#define FT_ELEM_H

#include <math.h>

#include "kernels/kernel.h"

#if defined(__CUDACC__)
#define FT_FN static inline __host__ __device__
#else
#define FT_FN static inline
#endif

/* exp to 2 ulp in a form that every compiler turns into vectors: x = n ln2 + r, |r| <= ln2/2, degree 6 for exp(r). */
FT_FN float ft_exp1(float x)
{
#ifdef __CUDA_ARCH__
    return expf(x); /* 2 ulp as well, by the device's own instruction */
#else
    union {
        uint32_t u;
        float f;
    } scale;
    float c = x > 89.0f ? 89.0f : x; /* n = 128 makes the scale Inf, n = -127 makes it 0; NaN comes through */
    c = c < -88.0f ? -88.0f : c;
    float y = c * 1.44269504f;
    uint32_t u = (uint32_t)(int32_t)(y + 128.5f) - 128u; /* to nearest, without a branch; NaN gives any number, and p is NaN */
    int32_t n = (int32_t)u;
#ifdef __FMA__
    float r = fmaf((float)n, 1.42860677e-6f, fmaf((float)n, -0.693148613f, c)); /* ln2 in two parts */
#else
    float r = (float)((double)c - (double)n * 0.69314718055994531);
#endif
    float p = 1.0f + r * (1.0f + r * (0.5f + r * (0.166666672f + r * (0.0416666418f + r * (0.00833345205f + r * 0.00138888f)))));
    scale.u = (u + 127u) << 23;
    return p * scale.f;
#endif
}

/* Phi(x), the normal distribution function, from e = exp(-x^2/2): 1 - Phi(|x|) = e t Q(t) / 2 with t = 1 / (1 + 0.4 |x|/sqrt 2);
 * Q is a Chebyshev fit of exp(z^2) erfc(z) / t over z = 0 .. 10, 1e-7 off at most. */
FT_FN float ft_normal_cdf1(float x, float e)
{
    float t = 1.0f / (1.0f + 0.282842712f * fabsf(x));
    float q =
        0.225617787f +
        t * (0.226742546f +
             t * (0.199616173f +
                  t * (0.202777833f +
                       t * (0.056608826f + t * (0.12296816f + t * (0.0521932139f + t * (-0.124407439f + t * 0.0378829357f)))))));
    float half = 0.5f * e * t * q;
    return x > 0 ? 1.0f - half : half;
}

/* NaN comes through */
FT_FN float ft_relu1(float x) { return x <= 0 ? 0.0f : x; }
FT_FN float ft_relu_d1(float x) { return x <= 0 ? 0.0f : 1.0f; }
FT_FN float ft_sigmoid1(float x) { return 1.0f / (1.0f + ft_exp1(-x)); }
FT_FN float ft_tanh1(float x) { return 2.0f * ft_sigmoid1(2.0f * x) - 1.0f; }
FT_FN float ft_silu1(float x) { return x * ft_sigmoid1(x); }
FT_FN float ft_silu_d1(float x)
{
    float s = ft_sigmoid1(x);
    return s * (1.0f + x * (1.0f - s));
}
FT_FN float ft_softplus1(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

FT_FN float ft_gelu1(float x) { return x * ft_normal_cdf1(x, ft_exp1(-0.5f * x * x)); }
FT_FN float ft_gelu_d1(float x)
{
    float e = ft_exp1(-0.5f * x * x);
    return ft_normal_cdf1(x, e) + x * 0.398942280f * e;
}
FT_FN float ft_gelu_tanh1(float x) { return x * ft_sigmoid1(1.59576912f * (x + 0.044715f * x * x * x)); }
FT_FN float ft_gelu_tanh_d1(float x)
{
    float s = ft_sigmoid1(1.59576912f * (x + 0.044715f * x * x * x));
    return s + x * s * (1.0f - s) * 1.59576912f * (1.0f + 0.134145f * x * x);
}

FT_FN float ft_act1(ft_act act, float x)
{
    switch (act) {
        case FT_ACT_NONE: return x;
        case FT_ACT_RELU: return ft_relu1(x);
        case FT_ACT_SILU: return ft_silu1(x);
        case FT_ACT_GELU: return ft_gelu1(x);
        case FT_ACT_GELU_TANH: return ft_gelu_tanh1(x);
        case FT_ACT_SIGMOID: return ft_sigmoid1(x);
    }
    return x;
}
FT_FN float ft_act_d1(ft_act act, float x)
{
    switch (act) {
        case FT_ACT_NONE: return 1.0f;
        case FT_ACT_RELU: return ft_relu_d1(x);
        case FT_ACT_SILU: return ft_silu_d1(x);
        case FT_ACT_GELU: return ft_gelu_d1(x);
        case FT_ACT_GELU_TANH: return ft_gelu_tanh_d1(x);
        case FT_ACT_SIGMOID: return ft_sigmoid1(x) * (1.0f - ft_sigmoid1(x));
    }
    return 1.0f;
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
