/* Linear layers and matrix products: what cuBLASLt (gemm.c) does not, and which of its epilogues pay.
 *
 * bf16 activations need bf16 weights: parameters have a copy that the optimiser keeps (ft_buf.half), others are narrowed first.
 */
#include <stdio.h>

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/gemm.h"

template <typename T, int N> static __global__ void bias_act(T *y, const float *bias, int64_t count, int64_t n, int act)
{
    FT_EACH(i, count / N)
    {
        float v[N], b[N];
        ft_read<N>(v, y + i * N);
        for (int k = 0; k < N; k++) b[k] = bias ? bias[i * N % n + k] : 0.0f;
        for (int k = 0; k < N; k++) v[k] = ft_act1((ft_act)act, v[k] + b[k]);
        ft_write<N>(y + i * N, v);
    }
}

extern "C" void ft_cuda_bias_act(void *y, ft_dtype dtype, const float *bias, int64_t count, int64_t n, ft_act act)
{
    FT_BY_TYPE(dtype, FT_BY_WIDTH(ft_aligned(y) && n % (16 / (int64_t)sizeof(T)) == 0,
                                  FT_RUN((bias_act<T, N>), count / N, (T *)y, bias, count, n, (int)act)));
}

typedef struct {
    ft_product *main;
    bool epilogue;              /* bias, or the bias gradient, in the product */
    size_t weights_at, sums_at; /* in the scratch, behind the product's own: narrowed weights; parts of the bias gradient */
} linear_state;

static void free_linear(void *p)
{
    ft_product_free(((linear_state *)p)->main);
    free(p);
}

static linear_state *begin(ft_call *c)
{
    linear_state *s = (linear_state *)calloc(1, sizeof *s);
    c->state = s;
    c->free_state = free_linear;
    return s;
}

/* The weight as the product reads it */
static const void *weights(const ft_call *c, ft_dtype type, size_t at)
{
    const ft_buf *w = c->in[1];
    if (type == FT_F32) return w->data;
    if (w->half) return w->half;
    ft_cuda_narrow((uint16_t *)((char *)c->work + at), ft_as<const float>(w), w->count);
    return (char *)c->work + at;
}
static void room_for_weights(ft_call *c, ft_dtype type, size_t *at)
{
    *at = c->work_size;
    if (type == FT_BF16 && !c->in[1]->half) c->work_size += ((size_t)c->in[1]->count * 2 + 255) / 256 * 256;
}
/* a bias that the epilogue can read: in the storage type of the result */
static void *bias_for(const ft_buf *b, ft_dtype type)
{
    return !b ? NULL : type == FT_F32 ? b->data : (void *)(uintptr_t)b->half;
}

/* Is the product with its epilogue faster than the product and our kernel after it? Decided once for a shape, as algorithms are.
 */
struct plain_trial {
    void *y;
    ft_dtype type;
    int64_t count, n;
    float *bias;
};
static bool bias_alone(void *context)
{
    plain_trial *t = (plain_trial *)context;
    ft_cuda_bias_act(t->y, t->type, t->bias, t->count, t->n, FT_ACT_NONE);
    return true;
}
static double seconds_apart(const ft_product_opt *o, const ft_buf *y)
{
    ft_product *p = NULL;
    plain_trial t;
    memset(&t, 0, sizeof t);
    t.type = y->dtype, t.count = y->count, t.n = o->n;
    double product = ft_product_new(&p, *o) == FT_OK ? ft_product_seconds(p) : -1, rest = -1;
    if (product >= 0 && ft_cuda_scratch(&t.y, (size_t)y->count * 4) == FT_OK &&
        ft_cuda_scratch((void **)&t.bias, (size_t)o->n * 4) == FT_OK)
        rest = ft_cuda_time(bias_alone, &t);
    ft_cuda_free(t.y);
    ft_cuda_free(t.bias);
    ft_product_free(p);
    return rest < 0 ? -1 : product + rest;
}
static bool epilogue_pays(const ft_product *with, ft_product_opt o, const ft_buf *y)
{
    char what[FT_CHOICE], how[FT_CHOICE] = "not measured";
    snprintf(what, sizeof what, "bias of %s", ft_product_what(with));
    const char *held = ft_cuda_choice(what);
    if (held) return !strcmp(held, "inside");
    bool inside = true;
    if (ft_cuda_measures()) {
        o.epilogue = FT_PLAIN;
        double a = ft_product_seconds(with), b = seconds_apart(&o, y);
        inside = b < 0 || (a >= 0 && a <= b);
        snprintf(how, sizeof how, "%.1f us, %.1f us behind it", 1e6 * a, 1e6 * b);
    }
    return !strcmp(ft_cuda_choose(what, inside ? "inside" : "behind", how), "inside");
}

/* x (M, K), w (N, K), y (M, N) */
extern "C" int ft_cuda_prepare_linear(ft_call *c)
{
    linear_state *s = begin(c);
    const ft_buf *x = c->in[0], *w = c->in[1], *b = c->in[2], *y = c->out[0];
    ft_act act = c->attr->matmul.act;
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory for a linear layer");
    int64_t n = w->dim[0], k = w->count / n;
    ft_product_opt o;
    memset(&o, 0, sizeof o);
    o.a = o.b = o.y = x->dtype, o.m = x->count / k, o.n = n, o.k = k, o.tb = true;
    o.align = ft_cuda_alignment(x->data, y->data, x->dtype == FT_F32 ? w->data : w->half);
    void *bias = bias_for(b, x->dtype);
    if (bias && act == FT_ACT_NONE) { /* whether the library's ReLU lets NaN through is not said */
        o.epilogue = FT_BIAS;
        s->epilogue = ft_product_new(&s->main, o) == FT_OK && epilogue_pays(s->main, o, y);
        o.epilogue = FT_PLAIN;
        if (!s->epilogue) ft_product_free(s->main), s->main = NULL;
    }
    if (!s->main) FT_TRY(ft_product_new(&s->main, o));
    c->work_size = ft_product_work(s->main);
    room_for_weights(c, x->dtype, &s->weights_at);
    return FT_OK;
}

extern "C" void ft_cuda_linear(const ft_call *c)
{
    const linear_state *s = (const linear_state *)c->state;
    const ft_buf *x = c->in[0], *b = c->in[2], *y = c->out[0];
    ft_product_run(s->main, y->data, x->data, weights(c, x->dtype, s->weights_at), s->epilogue ? bias_for(b, x->dtype) : NULL,
                   c->work);
    if (!s->epilogue && (b || c->attr->matmul.act != FT_ACT_NONE))
        ft_cuda_bias_act(y->data, y->dtype, ft_as<const float>(b), y->count, y->dim[y->ndim - 1], c->attr->matmul.act);
}

/* in: dy w, and maybe what is added; out: dx = dy w */
extern "C" int ft_cuda_prepare_linear_bwd_x(ft_call *c)
{
    linear_state *s = begin(c);
    const ft_buf *dy = c->in[0], *w = c->in[1], *dx = c->out[0];
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory for a linear layer");
    ft_product_opt o;
    memset(&o, 0, sizeof o);
    o.a = o.b = o.y = dx->dtype, o.k = w->dim[0], o.n = w->count / o.k, o.m = dy->count / o.k;
    o.align = ft_cuda_alignment(dy->data, dx->data, dx->dtype == FT_F32 ? w->data : w->half);
    if (c->n_in > 2) {
        unsigned align = ft_cuda_alignment(c->in[2]->data, NULL, NULL);
        o.beta = 1, o.align = align < o.align ? align : o.align;
    }
    FT_TRY(ft_product_new(&s->main, o));
    c->work_size = ft_product_work(s->main);
    room_for_weights(c, dx->dtype, &s->weights_at);
    return FT_OK;
}
extern "C" void ft_cuda_linear_bwd_x(const ft_call *c)
{
    const linear_state *s = (const linear_state *)c->state;
    ft_product_add(s->main, c->out[0]->data, c->n_in > 2 ? c->in[2]->data : c->out[0]->data, c->in[0]->data,
                   weights(c, c->out[0]->dtype, s->weights_at), NULL, c->work);
}

/* in: x dy; out: dw = dy^T x, db */
extern "C" int ft_cuda_prepare_linear_bwd_w(ft_call *c)
{
    linear_state *s = begin(c);
    const ft_buf *x = c->in[0], *dy = c->in[1], *db = c->n_out > 1 ? c->out[1] : NULL;
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory for a linear layer");
    ft_product_opt o;
    memset(&o, 0, sizeof o);
    o.a = o.b = x->dtype, o.y = FT_F32, o.m = dy->dim[dy->ndim - 1], o.n = x->dim[x->ndim - 1], o.k = dy->count / o.m,
    o.ta = true;
    o.align = ft_cuda_alignment(x->data, dy->data, c->out[0] ? c->out[0]->data : NULL);
    if (c->out[0] && db) {
        o.epilogue = FT_SUM_ROWS;
        s->epilogue = ft_product_new(&s->main, o) == FT_OK;
        o.epilogue = FT_PLAIN;
    }
    if (c->out[0] && !s->main) FT_TRY(ft_product_new(&s->main, o));
    s->sums_at = c->work_size = ft_product_work(s->main);
    if (db) c->work_size += ft_cuda_column_sums_work(o.k, o.m);
    return FT_OK;
}
extern "C" void ft_cuda_linear_bwd_w(const ft_call *c)
{
    const linear_state *s = (const linear_state *)c->state;
    const ft_buf *dy = c->in[1], *db = c->n_out > 1 ? c->out[1] : NULL;
    int64_t n = dy->dim[dy->ndim - 1];
    if (s->main) ft_product_run(s->main, c->out[0]->data, dy->data, c->in[0]->data, s->epilogue ? db->data : NULL, c->work);
    if (db && !s->epilogue)
        ft_cuda_column_sums(ft_as<float>(db), dy->data, dy->dtype, dy->count / n, n, (float *)((char *)c->work + s->sums_at));
}

/* a (..., M, K), b (..., K, N), each maybe stored transposed */
extern "C" int ft_cuda_prepare_matmul(ft_call *c)
{
    linear_state *s = begin(c);
    const ft_buf *a = c->in[0], *y = c->out[0];
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory for a product");
    ft_product_opt o;
    memset(&o, 0, sizeof o);
    o.a = o.b = o.y = a->dtype, o.m = y->dim[y->ndim - 2], o.n = y->dim[y->ndim - 1], o.batch = y->count / o.m / o.n;
    o.k = a->count / o.batch / o.m, o.ta = c->attr->matmul.ta, o.tb = c->attr->matmul.tb;
    o.align = ft_cuda_alignment(a->data, c->in[1]->data, y->data);
    FT_TRY(ft_product_new(&s->main, o));
    c->work_size = ft_product_work(s->main);
    return FT_OK;
}
extern "C" void ft_cuda_matmul(const ft_call *c)
{
    ft_product_run(((const linear_state *)c->state)->main, c->out[0]->data, c->in[0]->data, c->in[1]->data, NULL, c->work);
}
