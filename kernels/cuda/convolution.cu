/* Convolutions, (B,T,H,W,C): cuDNN's graph API, channels last. A kernel without extent in time is a 2-D convolution over B*T
 * images.
 *
 * Weights (O, C/g, kt, kh, kw) become (O, kt, kh, kw, C/g) in the storage of the activations: once for those that stay, else at
 * every run. Bias and ReLU go into the same pass where the library has it. What it refuses is done by the plain kernels at the
 * end of this file: they are slow, right, and what the library is held against. */
#include <stdio.h>

#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/dnn_graph.h"

enum { X = 1, W, Y, BIAS, SUM, OUT };
typedef enum { FORWARD, BY_X, BY_W } kind;

struct taps_of {
    int64_t o, c, taps; /* c: of a group */
};

/* between (o, c, taps) in f32 and (o, taps, c) in T */
template <typename T> static __global__ void pack_weights(T *to, const float *from, taps_of s)
{
    FT_EACH(i, s.o * s.c * s.taps) ft_put(to + i, from[(i / (s.c * s.taps) * s.c + i % s.c) * s.taps + i / s.c % s.taps]);
}
template <typename T> static __global__ void unpack_weights(float *to, const T *from, taps_of s)
{
    FT_EACH(i, s.o * s.c * s.taps) to[i] = ft_get(from + (i / (s.c * s.taps) * s.taps + i % s.taps) * s.c + i / s.taps % s.c);
}

struct conv_state {
    const ft_dnn_plan *plan;
    bool fused;                         /* bias (and ReLU) in the plan */
    void *kept;                         /* packed weights that stay */
    size_t packed_at, bias_at, sums_at; /* in the scratch: packed weights or dw; bias in bf16; parts of the bias gradient */
    taps_of weights;
};

static void free_conv(void *p)
{
    conv_state *s = (conv_state *)p;
    ft_cuda_free(s->kept);
    free(s);
}

struct sizes {
    const ft_conv_opt *o;
    const ft_buf *x, *y;
    bool flat;
    int nd;
    int64_t front[3], back[3], stride[3], one[3], groups;
    int64_t xd[5], yd[5], wd[5], xs[5], ys[5], ws[5]; /* dims N C (T) H W and strides, as cuDNN counts */
};

static void strides(int nd, const int64_t *dim, int64_t *stride) /* channels last */
{
    stride[1] = 1;
    int64_t s = dim[1];
    for (int i = nd - 1; i > 1; i--) stride[i] = s, s *= dim[i];
    stride[0] = s;
}

static sizes sizes_of(const ft_call *c, const ft_buf *x, const ft_buf *y)
{
    sizes s;
    memset(&s, 0, sizeof s);
    const ft_conv_opt *o = s.o = &c->attr->conv;
    s.x = x, s.y = y, s.groups = o->groups > 1 ? o->groups : 1;
    s.flat = o->kernel[0] == 1 && o->stride[0] == 1 && o->pad_front[0] == 0 && o->pad_back[0] == 0;
    s.nd = s.flat ? 4 : 5;
    int skip = s.flat ? 1 : 0;
    s.xd[0] = s.flat ? x->dim[0] * x->dim[1] : x->dim[0], s.xd[1] = x->dim[4];
    s.yd[0] = s.xd[0], s.yd[1] = y->dim[4];
    s.wd[0] = y->dim[4], s.wd[1] = x->dim[4] / s.groups;
    for (int i = skip; i < 3; i++) {
        int k = i - skip;
        s.xd[2 + k] = x->dim[1 + i], s.yd[2 + k] = y->dim[1 + i], s.wd[2 + k] = o->kernel[i];
        s.stride[k] = o->stride[i], s.front[k] = o->pad_front[i], s.one[k] = 1;
        /* what the output does not use is cut off behind */
        s.back[k] = (y->dim[1 + i] - 1) * o->stride[i] + o->kernel[i] - x->dim[1 + i] - o->pad_front[i];
    }
    strides(s.nd, s.xd, s.xs);
    strides(s.nd, s.yd, s.ys);
    strides(s.nd, s.wd, s.ws);
    return s;
}

static cudnnDataType_t type_of(ft_dtype d) { return d == FT_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }

static ft_dnn describe_conv(ft_dnn_graph *g, const sizes *s)
{
    int64_t spatial = s->nd - 2;
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    ft_dnn conv = ft_dnn_begin(g, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
    ft_dnn_set(g, conv, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    ft_dnn_set(g, conv, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
    ft_dnn_set(g, conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial);
    ft_dnn_set(g, conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, spatial, s->front);
    ft_dnn_set(g, conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, spatial, s->back);
    ft_dnn_set(g, conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, spatial, s->stride);
    ft_dnn_set(g, conv, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, spatial, s->one);
    ft_dnn_end(g, conv, false);
    return conv;
}

static void operation(ft_dnn_graph *g, kind k, ft_dnn conv, ft_dnn x, ft_dnn w, ft_dnn y)
{
    static const struct {
        cudnnBackendDescriptorType_t type;
        cudnnBackendAttributeName_t alpha, beta, conv, w, x, y;
    } name[] = {{CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y},
                {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY},
                {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY}};
    float one = 1, zero = 0;
    ft_dnn op = ft_dnn_begin(g, name[k].type);
    ft_dnn_set(g, op, name[k].alpha, CUDNN_TYPE_FLOAT, 1, &one);
    ft_dnn_set(g, op, name[k].beta, CUDNN_TYPE_FLOAT, 1, &zero);
    ft_dnn_set(g, op, name[k].conv, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &conv);
    ft_dnn_set(g, op, name[k].w, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &w);
    ft_dnn_set(g, op, name[k].x, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &x);
    ft_dnn_set(g, op, name[k].y, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &y);
    ft_dnn_end(g, op, true);
}

/* The plan of one convolution; with `bias` its result goes through + bias, and ReLU if asked, before it is stored. Weights and
 * bias are in the storage of x: no engine of cuDNN 9.19 takes others beside bf16. */
static int build(const ft_dnn_plan **plan, const sizes *s, kind k, bool bias, bool relu)
{
    FT_TRY(ft_dnn_start());
    ft_dnn_graph g;
    memset(&g, 0, sizeof g);
    cudnnDataType_t type = type_of(s->x->dtype);
    int64_t bd[5] = {1, s->yd[1], 1, 1, 1}, bs[5] = {s->yd[1], 1, s->yd[1], s->yd[1], s->yd[1]};
    ft_dnn x = ft_dnn_tensor(&g, X, type, s->nd, s->xd, s->xs, FT_DNN_REAL),
           w = ft_dnn_tensor(&g, W, type, s->nd, s->wd, s->ws, FT_DNN_REAL),
           y = ft_dnn_tensor(&g, Y, bias ? CUDNN_DATA_FLOAT : type, s->nd, s->yd, s->ys, bias ? FT_DNN_VIRTUAL : FT_DNN_REAL);
    operation(&g, k, describe_conv(&g, s), x, w, y);
    if (bias) {
        ft_dnn b = ft_dnn_tensor(&g, BIAS, type, s->nd, bd, bs, FT_DNN_REAL),
               out = ft_dnn_tensor(&g, OUT, type, s->nd, s->yd, s->ys, FT_DNN_REAL), sum = out;
        if (relu) sum = ft_dnn_tensor(&g, SUM, CUDNN_DATA_FLOAT, s->nd, s->yd, s->ys, FT_DNN_VIRTUAL);
        ft_dnn_pointwise(&g, CUDNN_POINTWISE_ADD, y, b, sum);
        if (relu) ft_dnn_pointwise(&g, CUDNN_POINTWISE_RELU_FWD, sum, NULL, out);
    }
    int64_t id[4] = {X, W, bias ? OUT : Y, BIAS};
    size_t e = s->x->dtype == FT_BF16 ? 2 : 4,
           bytes[4] = {(size_t)s->x->count * e,
                       (size_t)(s->wd[0] * s->wd[1] * s->o->kernel[0] * s->o->kernel[1] * s->o->kernel[2]) * e,
                       (size_t)s->y->count * e, (size_t)s->yd[1] * e};
    static const char *const way[] = {"a convolution", "a convolution, by x", "a convolution, by w"};
    const int64_t *d = s->x->dim, *n = s->o->kernel;
    char what[200];
    snprintf(what, sizeof what, "%s, %lldx%lldx%lldx%lld, %lld to %lld channels, kernel %lldx%lldx%lld, %s%s%s", way[k],
             (long long)d[0], (long long)d[1], (long long)d[2], (long long)d[3], (long long)d[4], (long long)s->yd[1],
             (long long)n[0], (long long)n[1], (long long)n[2], s->x->dtype == FT_BF16 ? "bf16" : "f32", bias ? ", bias" : "",
             relu ? ", ReLU" : "");
    int rc = ft_dnn_plan_new(plan, &g, s->x->dtype == FT_F32, bias ? 4 : 3, id, bytes, what);
    ft_dnn_graph_free(&g);
    return rc;
}

static bool all_aligned(const ft_call *c)
{
    for (int i = 0; i < c->n_in; i++)
        if (!ft_aligned(c->in[i])) return false;
    for (int i = 0; i < c->n_out; i++)
        if (!ft_aligned(c->out[i])) return false;
    return true;
}

static int begin(ft_call *c, const ft_conv_opt *o, int64_t out, int64_t in, conv_state **s)
{
    *s = (conv_state *)calloc(1, sizeof **s);
    if (!*s) return FT_FAIL(FT_ENOMEM, "no memory for a convolution");
    (*s)->weights.o = out, (*s)->weights.c = in / (o->groups > 1 ? o->groups : 1);
    (*s)->weights.taps = o->kernel[0] * o->kernel[1] * o->kernel[2];
    c->state = *s;
    c->free_state = free_conv;
    return FT_OK;
}

static void note(const ft_call *c, const conv_state *s, const char *what)
{
    const ft_conv_opt *o = &c->attr->conv;
    if (!s->plan)
        ft_cuda_chose("%s, %lld to %lld channels, kernel %lldx%lldx%lld: own kernel (%s)", what, (long long)s->weights.c,
                      (long long)s->weights.o, (long long)o->kernel[0], (long long)o->kernel[1], (long long)o->kernel[2],
                      all_aligned(c) ? ft_error_message() : "an address that is no multiple of 16");
}

static int64_t count_of(const taps_of *w) { return w->o * w->c * w->taps; }

static void pack(void *to, ft_dtype type, const ft_buf *w, taps_of s)
{
    FT_BY_TYPE(type, FT_RUN((pack_weights<T>), count_of(&s), (T *)to, ft_as<const float>(w), s));
}
static void repack(const ft_call *c)
{
    conv_state *s = (conv_state *)c->state;
    pack(s->kept, c->in[0]->dtype, c->in[1], s->weights);
}

/* room for packed weights: kept with the node, or in the scratch behind the plan's own */
static int place_weights(ft_call *c, conv_state *s)
{
    size_t bytes = ((size_t)count_of(&s->weights) * 4 + 255) / 256 * 256;
    c->work_size = s->packed_at = ft_dnn_plan_work(s->plan);
    c->bound = s->plan != NULL;
    if (!s->plan) return FT_OK;
    if (c->weights_move) {
        c->work_size += bytes;
        return FT_OK;
    }
    c->repack = repack;
    return ft_cuda_alloc(&s->kept, bytes);
}
static void *packed_weights(const ft_call *c)
{
    const conv_state *s = (const conv_state *)c->state;
    if (s->kept) return s->kept;
    pack((char *)c->work + s->packed_at, c->in[0]->dtype, c->in[1], s->weights);
    return (char *)c->work + s->packed_at;
}

/* ---- plain kernels: a thread for each value of the result --------------------------------------------------------------- */

struct plain {
    int64_t in[3], out[3], kernel[3], stride[3], front[3], c, o, per_c, per_o; /* channels in and out, of all and of a group */
};

static plain plain_of(const ft_buf *x, const ft_buf *y, const ft_conv_opt *o)
{
    plain p;
    int64_t groups = o->groups > 1 ? o->groups : 1;
    for (int i = 0; i < 3; i++)
        p.in[i] = x->dim[1 + i], p.out[i] = y->dim[1 + i], p.kernel[i] = o->kernel[i], p.stride[i] = o->stride[i],
        p.front[i] = o->pad_front[i];
    p.c = x->dim[4], p.o = y->dim[4], p.per_c = p.c / groups, p.per_o = p.o / groups;
    return p;
}
FT_DEV int64_t unravel(const int64_t dim[3], int64_t row, int64_t p[3])
{
    for (int i = 2; i >= 0; i--) p[i] = row % dim[i], row /= dim[i];
    return row;
}
FT_DEV int64_t position(const int64_t dim[3], int64_t b, const int64_t p[3])
{
    return ((b * dim[0] + p[0]) * dim[1] + p[1]) * dim[2] + p[2];
}
/* where tap `tap` of output p reads; false: outside */
FT_DEV bool reads(const plain &s, const int64_t p[3], int64_t tap, int64_t at[3])
{
    int64_t t[3] = {tap / (s.kernel[2] * s.kernel[1]), tap / s.kernel[2] % s.kernel[1], tap % s.kernel[2]};
    bool inside = true;
    for (int i = 0; i < 3; i++) {
        at[i] = p[i] * s.stride[i] - s.front[i] + t[i];
        inside = inside && at[i] >= 0 && at[i] < s.in[i];
    }
    return inside;
}

template <typename T>
static __global__ void plain_forward(T *y, const T *x, const float *w, const float *bias, int act, int64_t n, plain s)
{
    int64_t taps = s.kernel[0] * s.kernel[1] * s.kernel[2];
    FT_EACH(i, n)
    {
        int64_t o = i % s.o, p[3], at[3], b = unravel(s.out, i / s.o, p), c0 = o / s.per_o * s.per_c;
        float sum = bias ? bias[o] : 0.0f;
        for (int64_t tap = 0; tap < taps; tap++)
            if (reads(s, p, tap, at))
                for (int64_t c = 0; c < s.per_c; c++)
                    sum += w[(o * s.per_c + c) * taps + tap] * ft_get(x + position(s.in, b, at) * s.c + c0 + c);
        ft_put(y + i, ft_act1((ft_act)act, sum));
    }
}
template <typename T> static __global__ void plain_by_x(T *dx, const T *dy, const float *w, int64_t n, plain s)
{
    int64_t taps = s.kernel[0] * s.kernel[1] * s.kernel[2];
    FT_EACH(i, n)
    {
        int64_t c = i % s.c, q[3], p[3], b = unravel(s.in, i / s.c, q), o0 = c / s.per_c * s.per_o;
        float sum = 0;
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t t[3] = {tap / (s.kernel[2] * s.kernel[1]), tap / s.kernel[2] % s.kernel[1], tap % s.kernel[2]};
            bool inside = true;
            for (int k = 0; k < 3; k++) {
                int64_t at = q[k] + s.front[k] - t[k];
                inside = inside && at >= 0 && at % s.stride[k] == 0 && at / s.stride[k] < s.out[k];
                p[k] = at / s.stride[k];
            }
            if (!inside) continue;
            for (int64_t o = o0; o < o0 + s.per_o; o++)
                sum += w[(o * s.per_c + c % s.per_c) * taps + tap] * ft_get(dy + position(s.out, b, p) * s.o + o);
        }
        ft_put(dx + i, sum);
    }
}
/* a warp for each weight */
template <typename T> static __global__ void plain_by_w(float *dw, const T *x, const T *dy, int64_t n, int64_t rows, plain s)
{
    enum { G = FT_WARP };
    int64_t taps = s.kernel[0] * s.kernel[1] * s.kernel[2];
    FT_EACH_ROW(i, n)
    {
        int64_t tap = i % taps, c = i / taps % s.per_c, o = i / taps / s.per_c, c0 = o / s.per_o * s.per_c, p[3], at[3];
        float sum = 0;
        for (int64_t r = threadIdx.x % G; r < rows; r += G) {
            int64_t b = unravel(s.out, r, p);
            if (reads(s, p, tap, at)) sum += ft_get(dy + r * s.o + o) * ft_get(x + position(s.in, b, at) * s.c + c0 + c);
        }
        sum = ft_sum<G>(sum);
        if (threadIdx.x % G == 0) dw[i] = sum;
    }
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

extern "C" int ft_cuda_prepare_conv(ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0], *b = c->in[2];
    conv_state *s;
    sizes z = sizes_of(c, x, y);
    ft_act act = c->attr->conv.act;
    FT_TRY(begin(c, z.o, y->dim[4], x->dim[4], &s));
    if (all_aligned(c)) {
        s->fused =
            b && (act == FT_ACT_NONE || act == FT_ACT_RELU) && build(&s->plan, &z, FORWARD, true, act == FT_ACT_RELU) == FT_OK;
        if (!s->plan) build(&s->plan, &z, FORWARD, false, false);
    }
    note(c, s, "a convolution");
    FT_TRY(place_weights(c, s));
    s->bias_at = c->work_size;
    if (s->fused && x->dtype == FT_BF16 && !b->half) c->work_size += ((size_t)b->count * 2 + 255) / 256 * 256;
    return FT_OK;
}

/* in the storage of the activations */
static void *bias_of(const ft_call *c)
{
    const conv_state *s = (const conv_state *)c->state;
    const ft_buf *b = c->in[2];
    if (!b || !s->fused || c->in[0]->dtype == FT_F32) return b ? b->data : NULL;
    if (b->half) return (void *)(uintptr_t)b->half;
    ft_cuda_narrow((uint16_t *)((char *)c->work + s->bias_at), ft_as<const float>(b), b->count);
    return (char *)c->work + s->bias_at;
}

extern "C" void ft_cuda_conv(const ft_call *c)
{
    const conv_state *s = (const conv_state *)c->state;
    const ft_buf *x = c->in[0], *b = c->in[2], *y = c->out[0];
    if (s->plan) {
        void *data[4] = {x->data, packed_weights(c), y->data, bias_of(c)};
        ft_dnn_plan_run(s->plan, data, c->work);
    } else {
        FT_BY_TYPE(x->dtype, FT_RUN((plain_forward<T>), y->count, ft_as<T>(y), ft_as<const T>(x), ft_as<const float>(c->in[1]),
                                    ft_as<const float>(b), (int)c->attr->conv.act, y->count, plain_of(x, y, &c->attr->conv)));
        return;
    }
    if (!s->fused && (b || c->attr->conv.act != FT_ACT_NONE))
        ft_cuda_bias_act(y->data, y->dtype, ft_as<const float>(b), y->count, y->dim[4], c->attr->conv.act);
}

/* in: dy w; out: dx */
extern "C" int ft_cuda_prepare_conv_bwd_x(ft_call *c)
{
    const ft_buf *dy = c->in[0], *dx = c->out[0];
    conv_state *s;
    sizes z = sizes_of(c, dx, dy);
    FT_TRY(begin(c, z.o, dy->dim[4], dx->dim[4], &s));
    if (all_aligned(c)) build(&s->plan, &z, BY_X, false, false);
    note(c, s, "a convolution, by x");
    return place_weights(c, s);
}

extern "C" void ft_cuda_conv_bwd_x(const ft_call *c)
{
    const conv_state *s = (const conv_state *)c->state;
    const ft_buf *dy = c->in[0], *dx = c->out[0];
    if (s->plan) {
        void *data[3] = {dx->data, packed_weights(c), dy->data};
        ft_dnn_plan_run(s->plan, data, c->work);
        return;
    }
    FT_BY_TYPE(dx->dtype, FT_RUN((plain_by_x<T>), dx->count, ft_as<T>(dx), ft_as<const T>(dy), ft_as<const float>(c->in[1]),
                                 dx->count, plain_of(dx, dy, &c->attr->conv)));
}

/* in: x dy; out: dw db */
extern "C" int ft_cuda_prepare_conv_bwd_w(ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    conv_state *s;
    sizes z = sizes_of(c, x, dy);
    FT_TRY(begin(c, z.o, dy->dim[4], x->dim[4], &s));
    if (c->out[0] && all_aligned(c)) build(&s->plan, &z, BY_W, false, false);
    if (c->out[0]) note(c, s, "a convolution, by w");
    c->bound = s->plan != NULL;
    s->packed_at = ft_dnn_plan_work(s->plan);
    s->sums_at = s->packed_at + ((size_t)count_of(&s->weights) * 4 + 255) / 256 * 256;
    c->work_size = s->sums_at + (c->n_out > 1 && c->out[1] ? ft_cuda_column_sums_work(dy->count / dy->dim[4], dy->dim[4]) : 0);
    return FT_OK;
}

extern "C" void ft_cuda_conv_bwd_w(const ft_call *c)
{
    const conv_state *s = (const conv_state *)c->state;
    const ft_buf *x = c->in[0], *dy = c->in[1], *dw = c->out[0], *db = c->n_out > 1 ? c->out[1] : NULL;
    int64_t n = count_of(&s->weights);
    if (dw && s->plan) {
        void *sums = (char *)c->work + s->packed_at, *data[3] = {x->data, sums, dy->data};
        ft_dnn_plan_run(s->plan, data, c->work);
        FT_BY_TYPE(x->dtype, FT_RUN((unpack_weights<T>), n, ft_as<float>(dw), (const T *)sums, s->weights));
    } else if (dw)
        FT_BY_TYPE(x->dtype,
                   FT_LAUNCH((plain_by_w<T>), ft_blocks(n, FT_WARPS), FT_THREADS, 0, ft_cuda_stream, ft_as<float>(dw),
                             ft_as<const T>(x), ft_as<const T>(dy), n, dy->count / dy->dim[4], plain_of(x, dy, &c->attr->conv)));
    if (db)
        ft_cuda_column_sums(ft_as<float>(db), dy->data, dy->dtype, dy->count / dy->dim[4], dy->dim[4],
                            (float *)((char *)c->work + s->sums_at));
}
