/* Elementwise ops, broadcasts, reductions and random numbers. Work goes in blocks of FT_BLOCK values that stay in L1. */
#include "kernels/cpu/random.h"

#define EVERY_KIND(X)                                                                                                            \
    X(FT_RELU)                                                                                                                   \
    X(FT_SILU)                                                                                                                   \
    X(FT_SIGMOID)                                                                                                                \
    X(FT_EXP)                                                                                                                    \
    X(FT_SQUARE)                                                                                                                 \
    X(FT_CLAMP)                                                                                                                  \
    X(FT_TANH)                                                                                                                   \
    X(FT_ABS)                                                                                                                    \
    X(FT_LEAKY_RELU)                                                                                                             \
    X(FT_GELU) X(FT_GELU_TANH) X(FT_SOFTPLUS) X(FT_LOG) X(FT_SQRT) X(FT_RSQRT) X(FT_RECIPROCAL) X(FT_SIN) X(FT_COS) X(FT_STEP)

/* a kind that is known makes a loop that is vectorised */
static void unary_row(ft_unary_kind kind, float a, float b, const float *x, float *y, int64_t n)
{
#define ROW(kind)                                                                                                                \
    case kind:                                                                                                                   \
        for (int64_t i = 0; i < n; i++) y[i] = ft_unary1(kind, a, b, x[i]);                                                      \
        break;
    switch (kind) {
        EVERY_KIND(ROW)
    }
#undef ROW
}

static void unary_bwd_row(ft_unary_kind kind, float a, float b, const float *x, const float *dy, float *dx, int64_t n)
{
#define ROW(kind)                                                                                                                \
    case kind:                                                                                                                   \
        for (int64_t i = 0; i < n; i++) dx[i] = dy[i] * ft_unary_d1(kind, a, b, x[i]);                                           \
        break;
    switch (kind) {
        EVERY_KIND(ROW)
    }
#undef ROW
}

void FT_CPU(unary)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t at = 0; at < x->count; at += FT_BLOCK) {
        float tx[FT_BLOCK], ty[FT_BLOCK], *y = ft_into(ty, c->out[0], at);
        int64_t n = FT_MIN(FT_BLOCK, x->count - at);
        unary_row((ft_unary_kind)c->attr->scalar.kind, c->attr->scalar.a, c->attr->scalar.b, ft_load(tx, x, at, n), y, n);
        ft_store_at(c->out[0], at, y, n);
    }
}

void FT_CPU(unary_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t at = 0; at < x->count; at += FT_BLOCK) {
        float tx[FT_BLOCK], td[FT_BLOCK], ty[FT_BLOCK], *dx = ft_into(ty, c->out[0], at);
        int64_t n = FT_MIN(FT_BLOCK, x->count - at);
        unary_bwd_row((ft_unary_kind)c->attr->scalar.kind, c->attr->scalar.a, c->attr->scalar.b, ft_load(tx, x, at, n),
                      ft_load(td, dy, at, n), dx, n);
        ft_store_at(c->out[0], at, dx, n);
    }
}

void FT_CPU(affine)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    float a = c->attr->scalar.a, b = c->attr->scalar.b;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t at = 0; at < x->count; at += FT_BLOCK) {
        float tx[FT_BLOCK], ty[FT_BLOCK], *y = ft_into(ty, c->out[0], at);
        int64_t n = FT_MIN(FT_BLOCK, x->count - at);
        const float *v = ft_load(tx, x, at, n);
        for (int64_t i = 0; i < n; i++) y[i] = a * v[i] + b;
        ft_store_at(c->out[0], at, y, n);
    }
}

static void binary_row(int kind, const float *a, const float *b, float *y, int64_t n)
{
    if (kind == FT_ADD)
        for (int64_t i = 0; i < n; i++) y[i] = a[i] + b[i];
    else if (kind == FT_SUB)
        for (int64_t i = 0; i < n; i++) y[i] = a[i] - b[i];
    else if (kind == FT_MUL)
        for (int64_t i = 0; i < n; i++) y[i] = a[i] * b[i];
    else
        for (int64_t i = 0; i < n; i++) y[i] = a[i] / b[i];
}

/* ---- gated linear units: x (rows, 2n); y = act(gate) * other --------------------------------------------------------------- */

static void act_row(ft_act act, float *y, const float *x, int64_t n)
{
#define ROW(f)                                                                                                                   \
    for (int64_t i = 0; i < n; i++) y[i] = f(x[i]);                                                                              \
    break
    switch (act) {
        case FT_ACT_NONE: memcpy(y, x, (size_t)n * sizeof(float)); break;
        case FT_ACT_RELU: ROW(ft_relu1);
        case FT_ACT_SILU: ROW(ft_silu1);
        case FT_ACT_GELU: ROW(ft_gelu1);
        case FT_ACT_GELU_TANH: ROW(ft_gelu_tanh1);
        case FT_ACT_SIGMOID: ROW(ft_sigmoid1);
    }
}

#undef ROW

/* f = act(x) and d = act'(x) together: they share their exponential */
static void act_both_row(ft_act act, float *f, float *d, const float *x, int64_t n)
{
#define EACH(...)                                                                                                                \
    for (int64_t i = 0; i < n; i++) {                                                                                            \
        float v = x[i];                                                                                                          \
        __VA_ARGS__;                                                                                                             \
    }                                                                                                                            \
    break
    switch (act) {
        case FT_ACT_NONE: EACH((f[i] = v, d[i] = 1.0f));
        case FT_ACT_RELU: EACH((f[i] = ft_relu1(v), d[i] = ft_relu_d1(v)));
        case FT_ACT_SILU: EACH(float s = ft_sigmoid1(v); f[i] = v * s; d[i] = s * (1.0f + v * (1.0f - s)));
        case FT_ACT_GELU:
            EACH(float e = ft_exp1(-0.5f * v * v), p = ft_normal_cdf1(v, e); f[i] = v * p; d[i] = p + v * 0.398942280f * e);
        case FT_ACT_GELU_TANH: EACH((f[i] = ft_gelu_tanh1(v), d[i] = ft_gelu_tanh_d1(v)));
        case FT_ACT_SIGMOID: EACH(float s = ft_sigmoid1(v); f[i] = s; d[i] = s * (1.0f - s));
    }
#undef EACH
}

void FT_CPU(glu)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_act act = (ft_act)c->attr->scalar.kind;
    int64_t n = ft_last(c->out[0]), rows = c->out[0]->count / n, gate = c->attr->scalar.a > 0 ? n : 0,
            blocks = (n + FT_BLOCK - 1) / FT_BLOCK;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < rows * blocks; task++) {
        int64_t at = task % blocks * FT_BLOCK, m = FT_MIN(FT_BLOCK, n - at), r = task / blocks;
        float ta[FT_BLOCK], tb[FT_BLOCK], f[FT_BLOCK], to[FT_BLOCK], *y = ft_into(to, c->out[0], r * n + at);
        const float *v = ft_load(tb, x, r * 2 * n + n - gate + at, m);
        act_row(act, f, ft_load(ta, x, r * 2 * n + gate + at, m), m);
        for (int64_t i = 0; i < m; i++) y[i] = f[i] * v[i];
        ft_store_at(c->out[0], r * n + at, y, m);
    }
}

/* in: x dy; out: dx */
void FT_CPU(glu_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    ft_act act = (ft_act)c->attr->scalar.kind;
    int64_t n = ft_last(dy), rows = dy->count / n, gate = c->attr->scalar.a > 0 ? n : 0, blocks = (n + FT_BLOCK - 1) / FT_BLOCK;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < rows * blocks; task++) {
        int64_t at = task % blocks * FT_BLOCK, m = FT_MIN(FT_BLOCK, n - at), r = task / blocks;
        float ta[FT_BLOCK], tb[FT_BLOCK], td[FT_BLOCK], f[FT_BLOCK], slope[FT_BLOCK];
        const float *u = ft_load(ta, x, r * 2 * n + gate + at, m), *v = ft_load(tb, x, r * 2 * n + n - gate + at, m),
                    *d = ft_load(td, dy, r * n + at, m);
        act_both_row(act, f, slope, u, m);
        for (int64_t i = 0; i < m; i++) {
            f[i] *= d[i];
            slope[i] *= d[i] * v[i];
        }
        ft_store_at(c->out[0], r * 2 * n + n - gate + at, f, m);
        ft_store_at(c->out[0], r * 2 * n + gate + at, slope, m);
    }
}

/* ---- broadcasting ------------------------------------------------------------------------------------------------------- */

/* Strides of b over a's dims (0 where b is broadcast). */
static void broadcast_strides(const ft_buf *a, const ft_buf *b, int64_t stride[FT_MAX_DIMS])
{
    int64_t s = 1;
    for (int i = a->ndim - 1; i >= 0; i--) {
        stride[i] = b->dim[i] == 1 ? 0 : s;
        s *= b->dim[i];
    }
}

static int64_t offset_of(const ft_buf *a, const int64_t *stride, int upto, int64_t index)
{
    int64_t at = 0;
    for (int i = upto; i >= 0; i--) at += index % a->dim[i] * stride[i], index /= a->dim[i];
    return at;
}

/* a's trailing dims over which b is either dense or constant form one run; the rest is walked by index */
static int64_t run_of(const ft_buf *a, const ft_buf *b, int *outer, bool *constant)
{
    int i = a->ndim - 1;
    int64_t run = 1;
    while (i > 0 && a->dim[i] == 1) i--;
    *constant = b->dim[i] == 1 && a->dim[i] != 1;
    for (; i >= 0 && (a->dim[i] == 1 || (b->dim[i] == 1) == *constant); i--) run *= a->dim[i];
    *outer = i;
    return run;
}

/* b repeats after `run` values, and what repeats is short: it is laid out once for many runs. The dims above them, where b
 * repeats, belong to the run then. */
static int64_t longer_run(const ft_buf *a, const ft_buf *b, int64_t run, int *outer)
{
    if (2 * run > FT_BLOCK) return run;
    for (; *outer >= 0 && (a->dim[*outer] == 1 || b->dim[*outer] == 1); --*outer) run *= a->dim[*outer];
    return run;
}

static const float *repeated(float *to, const ft_buf *b, int64_t from, int64_t period, int64_t n)
{
    float one[FT_BLOCK];
    const float *v = ft_load(one, b, from, period);
    for (int64_t at = 0; at < n; at += period)
        for (int64_t i = 0; i < period; i++) to[at + i] = v[i];
    return to;
}

void FT_CPU(binary)(const ft_call *c)
{
    const ft_buf *a = c->in[0], *b = c->in[1];
    int outer, kind = c->attr->scalar.kind;
    bool constant;
    int64_t stride[FT_MAX_DIMS], period = run_of(a, b, &outer, &constant);
    int64_t run = constant ? period : longer_run(a, b, period, &outer), rows = a->count / run;
    int64_t block = run > period ? FT_BLOCK / period * period : FT_BLOCK, blocks = (run + block - 1) / block;
    broadcast_strides(a, b, stride);
#pragma omp parallel for if (a->count > FT_SMALL)
    for (int64_t task = 0; task < rows * blocks; task++) {
        int64_t r = task / blocks, at = task % blocks * block, n = FT_MIN(block, run - at);
        float ta[FT_BLOCK], tb[FT_BLOCK], ty[FT_BLOCK];
        int64_t from = offset_of(a, stride, outer, r);
        const float *vb;
        if (constant) {
            float one = *ft_load(tb, b, from, 1);
            for (int64_t i = 0; i < n; i++) tb[i] = one;
            vb = tb;
        } else vb = run > period ? repeated(tb, b, from, period, n) : ft_load(tb, b, from + at, n);
        float *y = ft_into(ty, c->out[0], r * run + at);
        binary_row(kind, ft_load(ta, a, r * run + at, n), vb, y, n);
        ft_store_at(c->out[0], r * run + at, y, n);
    }
}

void FT_CPU(broadcast)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
    int outer;
    bool constant;
    int64_t stride[FT_MAX_DIMS], run = run_of(y, x, &outer, &constant), rows = y->count / run;
    broadcast_strides(y, x, stride);
    float scale = c->attr->scalar.a;
    int64_t blocks = (run + FT_BLOCK - 1) / FT_BLOCK;
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t task = 0; task < rows * blocks; task++) {
        int64_t r = task / blocks, at = task % blocks * FT_BLOCK, n = FT_MIN(FT_BLOCK, run - at);
        float tx[FT_BLOCK], ty[FT_BLOCK], *v = ft_into(ty, y, r * run + at);
        int64_t from = offset_of(y, stride, outer, r);
        if (constant) {
            float one = scale * *ft_load(tx, x, from, 1);
            for (int64_t i = 0; i < n; i++) v[i] = one;
        } else {
            const float *u = ft_load(tx, x, from + at, n);
            for (int64_t i = 0; i < n; i++) v[i] = scale * u[i];
        }
        ft_store_at(y, r * run + at, v, n);
    }
}

/* part (n) += each of so many rows of n values */
static void add_rows(float *part, const float *v, int64_t rows, int64_t n)
{
    enum { WIDE = 16 };
    int64_t i = 0;
    for (; i + WIDE <= n; i += WIDE) {
        float sum[WIDE];
        for (int k = 0; k < WIDE; k++) sum[k] = part[i + k];
        for (int64_t r = 0; r < rows; r++)
            for (int k = 0; k < WIDE; k++) sum[k] += v[r * n + i + k];
        for (int k = 0; k < WIDE; k++) part[i + k] = sum[k];
    }
    for (int64_t r = 0; r < rows && i < n; r++)
        for (int64_t k = i; k < n; k++) part[k] += v[r * n + k];
}

/* Sums over axes. Each output is a sum over reduced indices in order; a long sum into few outputs is cut into FT_PARTS. */
void FT_CPU(reduce)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    ft_buf *y = c->out[0];
    int64_t dim[FT_MAX_DIMS], stride[FT_MAX_DIMS], s = 1, n_red = 1;
    bool red[FT_MAX_DIMS];
    int nd = 0;
    for (int i = 0; i < x->ndim; i++) { /* neighbouring axes of one kind are one axis */
        bool r = c->attr->reduce.axes >> i & 1;
        if (x->dim[i] == 1) continue;
        if (nd && red[nd - 1] == r) dim[nd - 1] *= x->dim[i];
        else dim[nd] = x->dim[i], red[nd++] = r;
    }
    if (nd == 0) dim[0] = 1, red[0] = false, nd = 1;
    for (int i = nd - 1; i >= 0; i--) stride[i] = s, s *= dim[i];
    for (int i = 0; i < nd; i++)
        if (red[i]) n_red *= dim[i];
    float scale = c->attr->reduce.mean ? 1.0f / (float)n_red : 1.0f;
    bool inner_red = red[nd - 1];
    int64_t inner = dim[nd - 1], outer_red = inner_red ? n_red / inner : n_red, outputs = y->count / (inner_red ? 1 : inner);
    int64_t block = inner_red ? inner : FT_MIN(inner, 256), blocks = inner_red ? 1 : (inner + block - 1) / block;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < outputs * blocks; task++) {
        int64_t o = task / blocks, at = task % blocks * block, n = FT_MIN(block, inner - at), base = 0, rest = o;
        int64_t sums = inner_red ? 1 : n;
        for (int i = nd - 1 - !inner_red; i >= 0; i--)
            if (!red[i]) base += rest % dim[i] * stride[i], rest /= dim[i];
        float acc[256] = {0}, part[256], tmp[FT_BLOCK];
        double total = 0;
        for (int64_t r = 0; r < outer_red;) {
            memset(part, 0, (size_t)sums * sizeof *part);
            int64_t stop = FT_MIN(outer_red, r + 64); /* short partial sums keep the rounding error small */
            for (int64_t rows = 1; r < stop; r += rows) {
                int64_t from = base, k = r;
                for (int i = nd - 1 - inner_red; i >= 0; i--)
                    if (red[i]) from += k % dim[i] * stride[i], k /= dim[i];
                if (inner_red) {
                    for (int64_t q = 0; q < inner; q += FT_BLOCK) {
                        int64_t m = FT_MIN(FT_BLOCK, inner - q);
                        total += ft_sum(ft_load(tmp, x, from + q, m), m);
                    }
                } else {
                    if (blocks == 1 && nd > 1) /* rows that follow one another */
                        rows = FT_MIN(FT_MIN(stop - r, FT_BLOCK / n), dim[nd - 2] - r % dim[nd - 2]);
                    add_rows(part, ft_load(tmp, x, from + at, rows * n), rows, n);
                }
            }
            for (int64_t i = 0; i < sums; i++) acc[i] += part[i];
        }
        if (inner_red) acc[0] = (float)total;
        for (int64_t i = 0; i < sums; i++) acc[i] *= scale;
        ft_store_at(y, inner_red ? o : o * inner + at, acc, sums);
    }
}

/* ---- random numbers ----------------------------------------------------------------------------------------------------- */

/* in: x, and, or NULL, what is added to what is left of it */
void FT_CPU(dropout)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    float p = c->attr->scalar.a, keep = 1.0f / (1.0f - p);
    int64_t per_sample = x->count / x->dim[0];
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t at = 0; at < x->count; at += FT_BLOCK) {
        float tx[FT_BLOCK], tb[FT_BLOCK], ty[FT_BLOCK], u[FT_BLOCK], *y = ft_into(ty, c->out[0], at);
        int64_t n = FT_MIN(FT_BLOCK, x->count - at);
        const float *v = ft_load(tx, x, at, n);
        if (c->attr->scalar.by_sample)
            for (int64_t i = 0; i < n; i++) {
                int64_t sample = (at + i) / per_sample;
                float four[4];
                if (i == 0 || (at + i) % per_sample == 0) ft_uniform_row(c, x->dim[0], sample / 4 * 4, four, 4);
                u[i] = i == 0 || (at + i) % per_sample == 0 ? four[sample % 4] : u[i - 1];
            }
        else ft_uniform_row(c, x->count, at, u, n);
        const float *beside = c->n_in > 1 ? ft_load(tb, c->in[1], at, n) : NULL;
        for (int64_t i = 0; i < n; i++) y[i] = (u[i] >= p ? v[i] * keep : 0.0f) + (beside ? beside[i] : 0.0f);
        ft_store_at(c->out[0], at, y, n);
    }
}

static void fill_random(const ft_call *c, void (*row)(const ft_call *c, int64_t all, int64_t at, float *v, int64_t n))
{
    ft_buf *y = c->out[0];
#pragma omp parallel for if (y->count > 1024)
    for (int64_t at = 0; at < y->count; at += FT_BLOCK) {
        float v[FT_BLOCK];
        int64_t n = FT_MIN(FT_BLOCK, y->count - at);
        row(c, y->count, at, v, n);
        ft_store_at(y, at, v, n);
    }
}

void FT_CPU(randn)(const ft_call *c) { fill_random(c, ft_normal_row); }
void FT_CPU(uniform)(const ft_call *c) { fill_random(c, ft_uniform_row); }

/* in: x0 coefficient (B,2); out: a x0 + s noise, noise */
void FT_CPU(q_sample)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *k = c->in[1]->data;
    int64_t per_sample = x->count / x->dim[0];
#pragma omp parallel for if (x->count > 1024)
    for (int64_t at = 0; at < x->count; at += FT_BLOCK) {
        float tx[FT_BLOCK], ty[FT_BLOCK], e[FT_BLOCK], *y = ft_into(ty, c->out[0], at);
        int64_t n = FT_MIN(FT_BLOCK, x->count - at);
        const float *v = ft_load(tx, x, at, n);
        ft_normal_row(c, x->count, at, e, n);
        for (int64_t i = 0; i < n;) {
            int64_t b = (at + i) / per_sample, stop = FT_MIN(n, (b + 1) * per_sample - at);
            for (; i < stop; i++) y[i] = k[2 * b] * v[i] + k[2 * b + 1] * e[i];
        }
        ft_store_at(c->out[0], at, y, n);
        ft_store_at(c->out[1], at, e, n);
    }
}

void FT_CPU(timestep_embed)(const ft_call *c)
{
    const float *t = c->in[0]->data;
    float *y = c->out[0]->data;
    int64_t half = c->out[0]->dim[1] / 2;
    for (int64_t b = 0; b < c->in[0]->count; b++)
        for (int64_t k = 0; k < half; k++) {
            double a = (double)t[b] * exp(-log(10000.0) * (double)k / (double)half);
            y[b * 2 * half + k] = (float)cos(a);
            y[b * 2 * half + half + k] = (float)sin(a);
        }
}
