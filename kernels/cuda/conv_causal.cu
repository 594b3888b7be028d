/* Causal depthwise convolution along a sequence with its activation (Mamba's conv1d and SiLU in one pass).
 *
 * x (S, T, C), w (C, K): p[t] = b + sum over k of w[k] x[t - K + 1 + k], y = act(p). A thread owns a channel of a stretch of a
 * sequence and slides a window of K values in registers; neighbours in a warp are neighbouring channels. */
#include "kernels/cuda/cuda.cuh"

enum { MAX_K = 16, STRETCH = 32 };

struct sequence {
    int64_t S, T, C, stretches;
    bool silu;
};

static sequence sequence_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    sequence s;
    s.S = x->dim[0], s.T = x->dim[1], s.C = x->dim[2], s.stretches = ft_ceil(s.T, STRETCH),
    s.silu = c->attr->conv.act == FT_ACT_SILU;
    return s;
}

/* K is 4 in every network; others go the general way */
#define BY_K(k, ...)                                                                                                             \
    do {                                                                                                                         \
        if ((k) == 4) {                                                                                                          \
            enum { K = 4 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { K = MAX_K };                                                                                                  \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

/* w[j] belongs to x[t - j]: the weights turned round, zeros behind the k-th */
template <int K> FT_DEV void read_taps(float *w, const float *from, int64_t k)
{
#pragma unroll
    for (int j = 0; j < K; j++) w[j] = j < k ? from[k - 1 - j] : 0.0f;
}
template <int K> FT_DEV void push(float *window, float v)
{
#pragma unroll
    for (int j = K - 1; j > 0; j--) window[j] = window[j - 1];
    window[0] = v;
}
template <int K> FT_DEV float dot(const float *a, const float *b)
{
    float s = 0;
#pragma unroll
    for (int j = 0; j < K; j++) s += a[j] * b[j];
    return s;
}

template <typename T, int K>
static __global__ void conv_causal(T *y, const T *x, const float *weight, const float *bias, int64_t k, sequence s)
{
    FT_EACH(task, s.S * s.stretches * s.C)
    {
        int64_t c = task % s.C, q = task / s.C / s.stretches, t0 = task / s.C % s.stretches * STRETCH,
                t1 = t0 + STRETCH < s.T ? t0 + STRETCH : s.T;
        const T *in = x + q * s.T * s.C + c;
        T *out = y + q * s.T * s.C + c;
        float w[K], window[K], b = bias ? bias[c] : 0.0f;
        read_taps<K>(w, weight + c * k, k);
#pragma unroll
        for (int j = 0; j < K; j++) window[j] = j < k - 1 && t0 - 1 - j >= 0 ? ft_get(in + (t0 - 1 - j) * s.C) : 0.0f;
        for (int64_t t = t0; t < t1; t++) {
            push<K>(window, ft_get(in + t * s.C));
            float p = b + dot<K>(w, window);
            ft_put(out + t * s.C, s.silu ? ft_silu1(p) : p);
        }
    }
}

extern "C" void ft_cuda_conv_causal(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    sequence s = sequence_of(c);
    int64_t k = c->in[1]->count / s.C;
    FT_BY_TYPE(x->dtype, BY_K(k, FT_RUN((conv_causal<T, K>), s.S * s.stretches * s.C, ft_as<T>(c->out[0]), ft_as<const T>(x),
                                        ft_as<const float>(c->in[1]), ft_as<const float>(c->in[2]), k, s)));
}

/* dx[t] = sum over j of w[j] dp[t + j], dw[j] = sum over t of dp[t] x[t - j], db = sum of dp. The stretch is walked from its end,
 * with K - 1 tokens behind it whose dp is made again. part (S * stretches, C k + C): the sums of each
 * stretch, dw before db. */
template <typename T, int K>
static __global__ void conv_causal_bwd(T *dx, float *part, const T *x, const float *weight, const float *bias, const T *dy,
                                       int64_t k, sequence s)
{
    FT_EACH(task, s.S * s.stretches * s.C)
    {
        int64_t c = task % s.C, q = task / s.C / s.stretches, t0 = task / s.C % s.stretches * STRETCH,
                t1 = t0 + STRETCH < s.T ? t0 + STRETCH : s.T, last = t1 + k - 2 < s.T - 1 ? t1 + k - 2 : s.T - 1;
        const T *in = x + q * s.T * s.C + c, *dout = dy + q * s.T * s.C + c;
        float w[K], window[K], dp[K], dw[K], db = 0, b = bias ? bias[c] : 0.0f;
        read_taps<K>(w, weight + c * k, k);
#pragma unroll
        for (int j = 0; j < K; j++) {
            dp[j] = dw[j] = 0;
            window[j] = j < k && last - j >= 0 ? ft_get(in + (last - j) * s.C) : 0.0f; /* window[j]: x[t - j] */
        }
        for (int64_t t = last; t >= t0; t--) {
            float d = ft_get(dout + t * s.C), p = b + dot<K>(w, window);
            if (s.silu) d *= ft_silu_d1(p);
            push<K>(dp, d); /* dp[j]: of t + j */
            if (t < t1) {
                if (dx) ft_put(dx + (q * s.T + t) * s.C + c, dot<K>(w, dp));
#pragma unroll
                for (int j = 0; j < K; j++) dw[j] += d * window[j];
                db += d;
            }
#pragma unroll
            for (int j = 0; j + 1 < K; j++) window[j] = window[j + 1];
            window[K - 1] = K - 1 < k && t - K >= 0 ? ft_get(in + (t - K) * s.C) : 0.0f;
            float next = K > k && t - k >= 0 ? ft_get(in + (t - k) * s.C) : 0.0f;
#pragma unroll
            for (int j = 0; j < K; j++)
                if (K > k && j == k - 1) window[j] = next;
        }
        float *to = part + task / s.C * (k + 1) * s.C;
#pragma unroll
        for (int j = 0; j < K; j++)
            if (j < k) to[c * k + k - 1 - j] = dw[j];
        to[k * s.C + c] = db;
    }
}

extern "C" int ft_cuda_prepare_conv_causal_bwd(ft_call *c)
{
    sequence s = sequence_of(c);
    c->work_size = (size_t)(s.S * s.stretches * s.C * (c->in[1]->count / s.C + 1)) * sizeof(float);
    return FT_OK;
}

/* in: x w b dy; out: dx dw db, each NULL where unwanted */
extern "C" void ft_cuda_conv_causal_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    sequence s = sequence_of(c);
    int64_t k = c->in[1]->count / s.C, n = s.C * (k + 1);
    float *part = (float *)c->work;
    FT_BY_TYPE(x->dtype,
               BY_K(k, FT_RUN((conv_causal_bwd<T, K>), s.S * s.stretches * s.C, ft_as<T>(c->out[0]), part, ft_as<const T>(x),
                              ft_as<const float>(c->in[1]), ft_as<const float>(c->in[2]), ft_as<const T>(c->in[3]), k, s)));
    ft_sum_part sum[] = {{ft_as<float>(c->out[1]), part, 1, s.S * s.stretches, n, s.C * k},
                         {ft_as<float>(c->out[2]), part + s.C * k, 1, s.S * s.stretches, n, s.C}};
    ft_cuda_sum_rows_of(2, sum);
}
