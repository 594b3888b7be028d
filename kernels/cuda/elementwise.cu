/* Elementwise ops, broadcasts and random numbers: one pass over memory, 16 bytes of each operand a thread. */
#include "kernels/cuda/random.cuh"

template <typename T, int N> static __global__ void unary(T *y, const T *x, int64_t n, int kind, float a, float b)
{
    FT_EACH(i, n / N)
    {
        float v[N];
        ft_read<N>(v, x + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = ft_unary1((ft_unary_kind)kind, a, b, v[k]);
        ft_write<N>(y + i * N, v);
    }
}

extern "C" void ft_cuda_unary(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, x->count) && ft_aligned(y),
                                     FT_RUN((unary<T, N>), x->count / N, ft_as<T>(y), ft_as<const T>(x), x->count,
                                            c->attr->scalar.kind, c->attr->scalar.a, c->attr->scalar.b)));
}

template <typename T, int N>
static __global__ void unary_bwd(T *dx, const T *x, const T *dy, int64_t n, int kind, float a, float b)
{
    FT_EACH(i, n / N)
    {
        float v[N], d[N];
        ft_read<N>(v, x + i * N);
        ft_read<N>(d, dy + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) d[k] *= ft_unary_d1((ft_unary_kind)kind, a, b, v[k]);
        ft_write<N>(dx + i * N, d);
    }
}

/* in: x dy, each of its own storage type only in graphs that mix them: then x is widened by a cast before */
extern "C" void ft_cuda_unary_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1], *dx = c->out[0];
    FT_ASSERT(x->dtype == dy->dtype && x->dtype == dx->dtype);
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, x->count) && ft_aligned(dy) && ft_aligned(dx),
                                     FT_RUN((unary_bwd<T, N>), x->count / N, ft_as<T>(dx), ft_as<const T>(x), ft_as<const T>(dy),
                                            x->count, c->attr->scalar.kind, c->attr->scalar.a, c->attr->scalar.b)));
}

template <typename T, int N> static __global__ void affine(T *y, const T *x, int64_t n, float a, float b)
{
    FT_EACH(i, n / N)
    {
        float v[N];
        ft_read<N>(v, x + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = a * v[k] + b;
        ft_write<N>(y + i * N, v);
    }
}

extern "C" void ft_cuda_affine(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, x->count) && ft_aligned(y),
                                     FT_RUN((affine<T, N>), x->count / N, ft_as<T>(y), ft_as<const T>(x), x->count,
                                            c->attr->scalar.a, c->attr->scalar.b)));
}

/* ---- gated linear units: x (rows, 2n); y = act(gate) * other ------------------------------------------------------------ */

template <typename T, int N> static __global__ void glu(T *y, const T *x, int64_t rows, int64_t n, int64_t gate, int act)
{
    FT_EACH(i, rows * n / N)
    {
        int64_t r = i * N / n, at = i * N % n;
        float u[N], v[N];
        ft_read<N>(u, x + r * 2 * n + gate + at);
        ft_read<N>(v, x + r * 2 * n + n - gate + at);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] *= ft_act1((ft_act)act, u[k]);
        ft_write<N>(y + i * N, v);
    }
}

extern "C" void ft_cuda_glu(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    int64_t n = y->dim[y->ndim - 1], rows = y->count / n, gate = c->attr->scalar.a > 0 ? n : 0;
    FT_BY_TYPE(x->dtype,
               FT_BY_WIDTH(ft_wide(x, n) && ft_aligned(y), FT_RUN((glu<T, N>), y->count / N, ft_as<T>(y), ft_as<const T>(x), rows,
                                                                  n, gate, c->attr->scalar.kind)));
}

template <typename T, int N>
static __global__ void glu_bwd(T *dx, const T *x, const T *dy, int64_t rows, int64_t n, int64_t gate, int act)
{
    FT_EACH(i, rows * n / N)
    {
        int64_t r = i * N / n, at = i * N % n, a = r * 2 * n + gate + at, b = r * 2 * n + n - gate + at;
        float u[N], v[N], d[N];
        ft_read<N>(u, x + a);
        ft_read<N>(v, x + b);
        ft_read<N>(d, dy + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) {
            v[k] *= d[k] * ft_act_d1((ft_act)act, u[k]);
            u[k] = d[k] * ft_act1((ft_act)act, u[k]);
        }
        ft_write<N>(dx + a, v);
        ft_write<N>(dx + b, u);
    }
}

extern "C" void ft_cuda_glu_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1], *dx = c->out[0];
    int64_t n = dy->dim[dy->ndim - 1], rows = dy->count / n, gate = c->attr->scalar.a > 0 ? n : 0;
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, n) && ft_aligned(dy) && ft_aligned(dx),
                                     FT_RUN((glu_bwd<T, N>), dy->count / N, ft_as<T>(dx), ft_as<const T>(x), ft_as<const T>(dy),
                                            rows, n, gate, c->attr->scalar.kind)));
}

/* ---- broadcasting
 * --------------------------------------------------------------------------------------------------------------- The trailing
 * dims of a over which b is dense, or constant, are one run; the rest is found by index. */

struct spread {
    int outer; /* dims 0 .. outer are walked */
    bool constant;
    int64_t run, dim[FT_MAX_DIMS], stride[FT_MAX_DIMS];
};

static spread spread_of(const ft_buf *a, const ft_buf *b)
{
    spread s;
    int64_t step = 1;
    int i = a->ndim - 1;
    memset(&s, 0, sizeof s);
    for (int k = a->ndim - 1; k >= 0; k--) {
        s.dim[k] = a->dim[k];
        s.stride[k] = b->dim[k] == 1 ? 0 : step;
        step *= b->dim[k];
    }
    while (i > 0 && a->dim[i] == 1) i--;
    s.constant = b->dim[i] == 1 && a->dim[i] != 1;
    for (s.run = 1; i >= 0 && (a->dim[i] == 1 || (b->dim[i] == 1) == s.constant); i--) s.run *= a->dim[i];
    s.outer = i;
    return s;
}

FT_DEV int64_t outer_offset(const spread &s, int64_t row)
{
    int64_t at = 0;
#pragma unroll
    for (int i = FT_MAX_DIMS - 1; i >= 0; i--) /* an index that is known: the arrays stay in constant memory */
        if (i <= s.outer) at += row % s.dim[i] * s.stride[i], row /= s.dim[i];
    return at;
}

template <int N, typename T> FT_DEV void read_spread(float *to, const T *b, const spread &s, int64_t i)
{
    int64_t row = s.outer < 0 ? 0 : i / s.run, from = s.outer < 0 ? 0 : outer_offset(s, row);
    if (!s.constant) {
        ft_read_floats<N>(to, b + from + i - row * s.run);
        return;
    }
    float one = ft_get(b + from);
#pragma unroll
    for (int k = 0; k < N; k++) to[k] = one;
}

/* b may lie in another storage than a and y */
template <typename X, typename T, int N>
static __global__ void binary(X *y, const X *a, const T *b, int64_t n, int kind, spread s)
{
    FT_EACH(i, n / N)
    {
        float u[N], v[N];
        ft_read<N>(u, a + i * N);
        read_spread<N>(v, b, s, i * N);
#pragma unroll
        for (int k = 0; k < N; k++)
            u[k] = kind == FT_ADD ? u[k] + v[k] : kind == FT_SUB ? u[k] - v[k] : kind == FT_MUL ? u[k] * v[k] : u[k] / v[k];
        ft_write<N>(y + i * N, u);
    }
}

/* reading 16 bytes within a run: addresses and run must allow it; rows of b begin at multiples of the run then */
static bool wide_spread(const spread &s, const ft_buf *b, const ft_buf *y)
{
    return ft_wide(y, s.run) && (s.constant || ft_aligned(b));
}

extern "C" void ft_cuda_binary(const ft_call *c)
{
    const ft_buf *a = c->in[0], *b = c->in[1], *y = c->out[0];
    spread s = spread_of(a, b);
    bool wide = ft_aligned(a) && ft_aligned(y) && ft_aligned(b) && s.run % 8 == 0;
    FT_ASSERT(a->dtype == y->dtype);
    FT_BY_TYPES(
        a, b,
        if (wide) {
            enum { N = sizeof(X) + sizeof(T) == 4 ? 8 : 4 }; /* 16 bytes of the wider one */
            FT_RUN((binary<X, T, N>), a->count / N, ft_as<X>(y), ft_as<const X>(a), ft_as<const T>(b), a->count,
                   c->attr->scalar.kind, s);
        } else FT_RUN((binary<X, T, 1>), a->count, ft_as<X>(y), ft_as<const X>(a), ft_as<const T>(b), a->count,
                      c->attr->scalar.kind, s));
}

template <typename T, int N> static __global__ void broadcast(T *y, const T *x, int64_t n, float scale, spread s)
{
    FT_EACH(i, n / N)
    {
        float v[N];
        read_spread<N>(v, x, s, i * N);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] *= scale;
        ft_write<N>(y + i * N, v);
    }
}

extern "C" void ft_cuda_broadcast(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    spread s = spread_of(y, x);
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(wide_spread(s, x, y), FT_RUN((broadcast<T, N>), y->count / N, ft_as<T>(y), ft_as<const T>(x),
                                                                  y->count, c->attr->scalar.a, s)));
}

/* ---- random numbers: four values a thread ------------------------------------------------------------------------------- */

template <typename T, int N>
static __global__ void dropout(T *y, const T *x, int64_t n, float p, const ft_step *step, uint32_t stream)
{
    float keep = 1.0f / (1.0f - p);
    FT_EACH(i, (n + 3) / 4)
    {
        float u[4];
        ft_random4<false>(step, stream, n, i * 4, u);
        if constexpr (N == 4) {
            float v[4];
            ft_read<4>(v, x + i * 4);
#pragma unroll
            for (int k = 0; k < 4; k++) v[k] = u[k] >= p ? v[k] * keep : 0.0f;
            ft_write<4>(y + i * 4, v);
        } else {
            for (int k = 0; k < 4 && i * 4 + k < n; k++) ft_put(y + i * 4 + k, u[k] >= p ? ft_get(x + i * 4 + k) * keep : 0.0f);
        }
    }
}

/* one draw for each sample: a block has one, and passes it on; grid: samples * parts; y = what is left of x, + beside */
template <typename T, int N>
static __global__ void drop_samples(T *y, const T *x, const T *beside, int64_t per_sample, int64_t samples, float p,
                                    const ft_step *step, uint32_t stream, unsigned parts)
{
    int64_t sample = blockIdx.x / parts, base = sample * per_sample;
    float keep = ft_uniform1(step, stream, samples, sample) >= p ? 1.0f / (1.0f - p) : 0.0f;
    for (int64_t i = (int64_t)(blockIdx.x % parts) * FT_THREADS + threadIdx.x; i < per_sample / N;
         i += (int64_t)parts * FT_THREADS) {
        float v[N], b[N] = {0};
        ft_read_inside<N>(v, x + base + i * N, keep > 0);
        if (beside) ft_read<N>(b, beside + base + i * N);
#pragma unroll
        for (int k = 0; k < N; k++) v[k] = v[k] * keep + b[k];
        ft_write<N>(y + base + i * N, v);
    }
}

extern "C" void ft_cuda_dropout(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0], *beside = c->n_in > 1 ? c->in[1] : NULL;
    int64_t samples = x->dim[0], each = x->count / samples;
    float p = c->attr->scalar.a;
    if (!c->attr->scalar.by_sample) {
        bool four = x->count % 4 == 0 && ft_aligned(x) && ft_aligned(y);
        FT_BY_TYPE(
            x->dtype,
            if (four) FT_RUN((dropout<T, 4>), x->count / 4, ft_as<T>(y), ft_as<const T>(x), x->count, p, c->step, c->stream);
            else FT_RUN((dropout<T, 1>), ft_ceil(x->count, 4), ft_as<T>(y), ft_as<const T>(x), x->count, p, c->step, c->stream));
        return;
    }
    FT_BY_TYPE(x->dtype, FT_BY_WIDTH(ft_wide(x, each) && ft_aligned(y) && ft_aligned(beside), {
                   int64_t parts = ft_ceil(each, (int64_t)FT_THREADS * N * 8), enough = ft_ceil(1056, samples),
                           most = ft_ceil(each, (int64_t)FT_THREADS * N);
                   parts = parts > enough ? parts : enough < most ? enough : most;
                   FT_LAUNCH((drop_samples<T, N>), (unsigned)(samples * parts), FT_THREADS, 0, ft_cuda_stream, ft_as<T>(y),
                             ft_as<const T>(x), ft_as<const T>(beside), each, samples, p, c->step, c->stream, (unsigned)parts);
               }));
}

template <typename T, bool NORMAL> static __global__ void draw(T *y, int64_t n, const ft_step *step, uint32_t stream)
{
    FT_EACH(i, (n + 3) / 4)
    {
        float v[4];
        ft_random4<NORMAL>(step, stream, n, i * 4, v);
        for (int k = 0; k < 4 && i * 4 + k < n; k++) ft_put(y + i * 4 + k, v[k]);
    }
}

extern "C" void ft_cuda_randn(const ft_call *c)
{
    const ft_buf *y = c->out[0];
    FT_BY_TYPE(y->dtype, FT_RUN((draw<T, true>), ft_ceil(y->count, 4), ft_as<T>(y), y->count, c->step, c->stream));
}
extern "C" void ft_cuda_uniform(const ft_call *c)
{
    const ft_buf *y = c->out[0];
    FT_BY_TYPE(y->dtype, FT_RUN((draw<T, false>), ft_ceil(y->count, 4), ft_as<T>(y), y->count, c->step, c->stream));
}

/* in: x0 coefficient (B,2); out: a x0 + s noise, noise */
template <typename T>
static __global__ void q_sample(T *y, T *noise, const T *x, const float *coefficient, int64_t n, int64_t per_sample,
                                const ft_step *step, uint32_t stream)
{
    FT_EACH(i, (n + 3) / 4)
    {
        float e[4];
        ft_random4<true>(step, stream, n, i * 4, e);
        for (int k = 0; k < 4 && i * 4 + k < n; k++) {
            int64_t at = i * 4 + k, b = at / per_sample;
            ft_put(y + at, coefficient[2 * b] * ft_get(x + at) + coefficient[2 * b + 1] * e[k]);
            ft_put(noise + at, e[k]);
        }
    }
}

extern "C" void ft_cuda_q_sample(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    FT_BY_TYPE(x->dtype, FT_RUN((q_sample<T>), ft_ceil(x->count, 4), ft_as<T>(c->out[0]), ft_as<T>(c->out[1]), ft_as<const T>(x),
                                ft_as<const float>(c->in[1]), x->count, x->count / x->dim[0], c->step, c->stream));
}

static __global__ void timestep_embed(float *y, const float *t, int64_t samples, int64_t half)
{
    FT_EACH(i, samples * half)
    {
        int64_t b = i / half, k = i % half;
        double a = (double)t[b] * exp(-log(10000.0) * (double)k / (double)half);
        y[b * 2 * half + k] = (float)cos(a);
        y[b * 2 * half + half + k] = (float)sin(a);
    }
}

extern "C" void ft_cuda_timestep_embed(const ft_call *c)
{
    int64_t half = c->out[0]->dim[1] / 2;
    FT_RUN((timestep_embed), c->in[0]->count * half, ft_as<float>(c->out[0]), ft_as<const float>(c->in[0]), c->in[0]->count,
           half);
}
