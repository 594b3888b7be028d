/* Every scalar formula and derivative, once: CPU kernels, CUDA kernels and tests include this file. */
#ifndef FT_ELEM_H
#define FT_ELEM_H

#include <math.h>

#include "kernels/kernel.h"

#if defined(__CUDACC__)
#define FT_FN        static inline __host__ __device__
#define FT_FN_INLINE static __forceinline__ __host__ __device__
#else
#define FT_FN        static inline
#define FT_FN_INLINE static inline __attribute__((always_inline)) /* a kind that is known leaves one formula */
#endif

/* ft_warp: the place in the source of pixel (i, j) of the result */
FT_FN void ft_warp_at(const float *m, float i, float j, float *y, float *x)
{
    *x = m[0] * j + m[1] * i + m[2];
    *y = m[3] * j + m[4] * i + m[5];
}
/* The results that source pixel (y, x) may have a share in lie among rows first[0] .. last[0] and columns first[1] .. last[1] of
 * h, w: those whose places are less than a pixel away on both axes, by the inverse map. */
FT_FN void ft_warp_reach(const float *m, float y, float x, const int64_t size[2], int64_t first[2], int64_t last[2])
{
    float det = m[0] * m[4] - m[1] * m[3], dx = x - m[2], dy = y - m[5];
    float centre[2] = {(m[0] * dy - m[3] * dx) / det, (m[4] * dx - m[1] * dy) / det};
    float reach[2] = {(fabsf(m[0]) + fabsf(m[3])) / fabsf(det), (fabsf(m[4]) + fabsf(m[1])) / fabsf(det)};
    for (int k = 0; k < 2; k++) {
        float low = centre[k] - reach[k] - 1, high = centre[k] + reach[k] + 1;  /* 1: what rounding moves */
        first[k] = low > 0 ? low < (float)size[k] ? (int64_t)low : size[k] : 0; /* all, where the map has no inverse */
        last[k] = high < (float)(size[k] - 1) ? high > -1 ? (int64_t)high : -1 : size[k] - 1;
    }
}
/* a pixel's share of what lies so far from it */
FT_FN float ft_tent1(float d) { return fabsf(d) < 1 ? 1 - fabsf(d) : 0.0f; }

/* The numbers of ft_combine (common/graph/graph.h): two floats hold 48 bits of a double. */
FT_FN double ft_two_floats(const float *p) { return (double)p[0] + (double)p[1]; }
/* the deviation at a share of the way from a smallest to a largest variance, both as logarithms (Nichol & Dhariwal 2021, eq. 15)
 */
FT_FN double ft_deviation(double low, double high, float v) { return exp(0.5 * (low + (double)((v + 1) / 2) * (high - low))); }
/* the words that Philox takes as the step of a clip's noise */
FT_FN uint64_t ft_clip_step(uint64_t clip, uint64_t step) { return clip | step << 40; }

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

/* ends at +-limit; NaN comes through */
FT_FN float ft_leaky_relu1(float slope, float limit, float x)
{
    float y = x > 0 ? x : slope * x;
    return y > limit ? limit : y < -limit ? -limit : y;
}
FT_FN float ft_relu1(float x) { return x <= 0 ? 0.0f : x; }
FT_FN float ft_relu_d1(float x) { return x <= 0 ? 0.0f : 1.0f; }
FT_FN float ft_sigmoid1(float x)
{
#ifdef __CUDA_ARCH__
    return __fdividef(1.0f, 1.0f + ft_exp1(-x)); /* 2 ulp, without a way of its own for what is below 1e-37 */
#else
    return 1.0f / (1.0f + ft_exp1(-x));
#endif
}
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

FT_FN_INLINE float ft_unary1(ft_unary_kind kind, float a, float b, float v)
{
    switch (kind) {
        case FT_RELU: return ft_relu1(v);
        case FT_SILU: return ft_silu1(v);
        case FT_SIGMOID: return ft_sigmoid1(v);
        case FT_EXP: return ft_exp1(v);
        case FT_SQUARE: return v * v;
        case FT_CLAMP: return v < a ? a : v > b ? b : v;
        case FT_TANH: return ft_tanh1(v);
        case FT_ABS: return fabsf(v);
        case FT_LEAKY_RELU: return ft_leaky_relu1(a, b, v);
        case FT_GELU: return ft_gelu1(v);
        case FT_GELU_TANH: return ft_gelu_tanh1(v);
        case FT_SOFTPLUS: return ft_softplus1(v);
        case FT_LOG: return logf(v);
        case FT_SQRT: return sqrtf(v);
        case FT_RSQRT: return 1.0f / sqrtf(v);
        case FT_RECIPROCAL: return 1.0f / v;
        case FT_SIN: return sinf(v);
        case FT_COS: return cosf(v);
        case FT_STEP: return v >= 0 ? 1.0f : 0.0f;
    }
    return v;
}

/* at kinks: 0 for ReLU and abs, 1 inside and on the bounds of a clamp (PyTorch), as of a leaky ReLU that ends */
FT_FN_INLINE float ft_unary_d1(ft_unary_kind kind, float a, float b, float v)
{
    switch (kind) {
        case FT_RELU: return ft_relu_d1(v);
        case FT_SILU: return ft_silu_d1(v);
        case FT_SIGMOID: return ft_sigmoid1(v) * (1.0f - ft_sigmoid1(v));
        case FT_EXP: return ft_exp1(v);
        case FT_SQUARE: return 2.0f * v;
        case FT_CLAMP: return v >= a && v <= b ? 1.0f : 0.0f;
        case FT_TANH: return 1.0f - ft_tanh1(v) * ft_tanh1(v);
        case FT_ABS: return v > 0 ? 1.0f : v < 0 ? -1.0f : 0.0f;
        case FT_LEAKY_RELU: return fabsf(v > 0 ? v : a * v) > b ? 0.0f : v > 0 ? 1.0f : a;
        case FT_GELU: return ft_gelu_d1(v);
        case FT_GELU_TANH: return ft_gelu_tanh_d1(v);
        case FT_SOFTPLUS: return ft_sigmoid1(v);
        case FT_LOG: return 1.0f / v;
        case FT_SQRT: return 0.5f / sqrtf(v);
        case FT_RSQRT: return -0.5f / (v * sqrtf(v));
        case FT_RECIPROCAL: return -1.0f / (v * v);
        case FT_SIN: return cosf(v);
        case FT_COS: return -sinf(v);
        case FT_STEP: return v == v ? 0.0f : v;
    }
    return 1.0f;
}

/* Pointwise losses of x against its target t */
FT_FN_INLINE float ft_loss1(ft_loss_kind kind, float delta, float x, float t)
{
    float e = x - t;
    switch (kind) {
        case FT_MSE: return e * e;
        case FT_L1: return fabsf(e);
        case FT_HUBER: return fabsf(e) <= delta ? 0.5f * e * e : delta * (fabsf(e) - 0.5f * delta);
        case FT_BCE_LOGIT: return ft_softplus1(x) - x * t;
        case FT_HINGE: return ft_relu1(1 - x * t);
    }
    return 0;
}
/* at kinks the derivative is 0 */
FT_FN_INLINE float ft_loss_d1(ft_loss_kind kind, float delta, float x, float t)
{
    float e = x - t;
    switch (kind) {
        case FT_MSE: return 2.0f * e;
        case FT_L1: return e > 0 ? 1.0f : e < 0 ? -1.0f : 0.0f;
        case FT_HUBER: return e > delta ? delta : e < -delta ? -delta : e;
        case FT_BCE_LOGIT: return ft_sigmoid1(x) - t;
        case FT_HINGE: return x * t >= 1 ? 0.0f : -t;
    }
    return 0;
}

/* Learned-range variance (Nichol & Dhariwal 2021); coefficients as kernels/cpu/loss.c has them */
FT_FN double ft_tanh_cdf1(double x) { return 0.5 * (1 + tanh(0.79788456080286536 * (x + 0.044715 * x * x * x))); }
FT_FN double ft_tanh_pdf1(double x)
{
    double th = tanh(0.79788456080286536 * (x + 0.044715 * x * x * x));
    return 0.5 * (1 - th * th) * 0.79788456080286536 * (1 + 0.134145 * x * x);
}

/* one element: the term in nats, and its derivative by nu */
FT_FN double ft_vlb1(const float *k, double nu, double eps, double x0, double xt, double *slope)
{
    double x0p = (double)k[0] * xt - (double)k[1] * eps, mean = (double)k[2] * x0p + (double)k[3] * xt;
    double f = 0.5 * (nu + 1), lp = f * (double)k[4] + (1 - f) * (double)k[5], dlp = 0.5 * ((double)k[4] - (double)k[5]);
    if (k[6] == 0) {
        double lq = (double)k[5], diff = (double)k[2] * x0 + (double)k[3] * xt - mean, r = exp(lq - lp),
               s = diff * diff * exp(-lp);
        *slope = 0.5 * (1 - r - s) * dlp;
        return 0.5 * (-1 + lp - lq + r + s);
    }
    double inv = exp(-0.5 * lp), a = inv * (x0 - mean + 1.0 / 255), b = inv * (x0 - mean - 1.0 / 255);
    double p = x0 < -0.999 ? ft_tanh_cdf1(a) : x0 > 0.999 ? 1 - ft_tanh_cdf1(b) : ft_tanh_cdf1(a) - ft_tanh_cdf1(b);
    double da = x0 > 0.999 ? 0 : ft_tanh_pdf1(a) * a, db = x0 < -0.999 ? 0 : ft_tanh_pdf1(b) * b;
    *slope = p > 1e-12 ? 0.5 * (da - db) / p * dlp : 0;
    return -log(p > 1e-12 ? p : 1e-12);
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
