/* See attention.h. cuDNN has no operation "attention" that its engines take everywhere: they know the graph of its formula, and
 * make one kernel of it. Forward: O = P V, P = softmax(s Q K^T), and the logarithm of each row's sum, L. Backward, with
 * P = exp(s Q K^T - L): dV = P^T dO, dS = s P (dO V^T - rowsum(dO O)), dQ = dS K, dK = dS^T Q (Dao et al. 2022). */
#include "kernels/cuda/attention.h"

#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/dnn_graph.h"

/* tensors in memory; those between operations are numbered from BETWEEN on */
enum { ID_Q = 1, ID_K, ID_V, ID_O, ID_STATS, ID_SCALE, ID_ONE, ID_DO, ID_DQ, ID_DK, ID_DV, ID_SUM, ID_DQ_SUM };
enum { N_TENSORS = ID_DQ_SUM, BETWEEN = 32 };

typedef struct {
    const ft_dnn_plan *plan;
    float scale, one;
    bool sums;            /* dQ is summed in f32 first */
    size_t sum_at, dq_at; /* in the scratch: rowsum(dO O), and that sum */
} flash;

typedef struct {
    int64_t seqs, tq, tk, heads, d, row; /* row: values between rows of q, k and v */
} shape;

static shape shape_of(const ft_call *c)
{
    const ft_buf *q = c->in[0], *k = c->in[1];
    int64_t width = k ? q->dim[2] : q->dim[2] / 3;
    return (shape){
        q->dim[0], q->dim[1], k ? k->dim[1] : q->dim[1], c->attr->sdpa.heads, width / c->attr->sdpa.heads, k ? width : 3 * width};
}

typedef struct {
    ft_dnn_graph g;
    const shape *s;
    int64_t next;
} builder;

/* (seqs, heads, rows, columns) */
static ft_dnn tensor(builder *b, int64_t id, cudnnDataType_t type, int64_t rows, int64_t columns, const int64_t stride[4],
                     ft_dnn_tensor_kind kind)
{
    return ft_dnn_tensor(&b->g, id, type, 4, (int64_t[]){b->s->seqs, b->s->heads, rows, columns}, stride, kind);
}
/* tokens of `row` values, heads side by side; `turned`: channels by tokens */
static ft_dnn tokens(builder *b, int64_t id, int64_t n, int64_t row, bool turned)
{
    int64_t d = b->s->d, stride[4] = {n * row, d, turned ? 1 : row, turned ? row : 1};
    return tensor(b, id, CUDNN_DATA_BFLOAT16, turned ? d : n, turned ? n : d, stride, FT_DNN_REAL);
}
/* a value for each query and key, and one for each query */
static ft_dnn logits(builder *b, cudnnDataType_t type)
{
    int64_t q = b->s->tq, k = b->s->tk;
    return tensor(b, b->next++, type, q, k, (int64_t[]){b->s->heads * q * k, q * k, k, 1}, FT_DNN_VIRTUAL);
}
static ft_dnn turned_logits(builder *b)
{
    int64_t q = b->s->tq, k = b->s->tk;
    return tensor(b, b->next++, CUDNN_DATA_BFLOAT16, k, q, (int64_t[]){b->s->heads * q * k, q * k, 1, k}, FT_DNN_VIRTUAL);
}
static ft_dnn per_query(builder *b, int64_t id, ft_dnn_tensor_kind kind)
{
    int64_t q = b->s->tq;
    return tensor(b, id ? id : b->next++, CUDNN_DATA_FLOAT, q, 1, (int64_t[]){b->s->heads * q, q, 1, 1}, kind);
}
static ft_dnn value(builder *b, int64_t id)
{
    static const int64_t one[4] = {1, 1, 1, 1};
    return ft_dnn_tensor(&b->g, id, CUDNN_DATA_FLOAT, 4, one, one, FT_DNN_VALUE);
}
static ft_dnn product(builder *b, ft_dnn x, ft_dnn y)
{
    ft_dnn z = logits(b, CUDNN_DATA_FLOAT);
    ft_dnn_matmul(&b->g, x, y, z);
    return z;
}
static ft_dnn apply(builder *b, cudnnPointwiseMode_t mode, ft_dnn x, ft_dnn y)
{
    ft_dnn z = logits(b, CUDNN_DATA_FLOAT);
    ft_dnn_pointwise(&b->g, mode, x, y, z);
    return z;
}

static void forward(builder *b)
{
    const shape *s = b->s;
    ft_dnn_graph *g = &b->g;
    ft_dnn q = tokens(b, ID_Q, s->tq, s->row, false), kt = tokens(b, ID_K, s->tk, s->row, true),
           v = tokens(b, ID_V, s->tk, s->row, false), o = tokens(b, ID_O, s->tq, s->heads * s->d, false),
           stats = per_query(b, ID_STATS, FT_DNN_REAL);
    ft_dnn l = apply(b, CUDNN_POINTWISE_MUL, product(b, q, kt), value(b, ID_SCALE)), top = per_query(b, 0, FT_DNN_VIRTUAL);
    ft_dnn_reduce(g, CUDNN_REDUCE_TENSOR_MAX, l, top);
    ft_dnn e = apply(b, CUDNN_POINTWISE_EXP, apply(b, CUDNN_POINTWISE_SUB, l, top), NULL), sum = per_query(b, 0, FT_DNN_VIRTUAL),
           log_sum = per_query(b, 0, FT_DNN_VIRTUAL), p = logits(b, CUDNN_DATA_BFLOAT16);
    ft_dnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, e, sum);
    ft_dnn_pointwise(g, CUDNN_POINTWISE_LOG, sum, NULL, log_sum);
    ft_dnn_pointwise(g, CUDNN_POINTWISE_ADD, top, log_sum, stats);
    ft_dnn_pointwise(g, CUDNN_POINTWISE_DIV, e, sum, p);
    ft_dnn_matmul(g, p, v, o);
}

/* The operations and their order are those that cuDNN's own frontend sends. sums: dQ in f32 first, which engines may sum in any
 * order; without it they keep dS. */
static void backward(builder *b, bool sums)
{
    const shape *s = b->s;
    ft_dnn_graph *g = &b->g;
    int64_t width = s->heads * s->d, packed[4] = {s->heads * s->tq * s->d, s->tq * s->d, s->d, 1},
            key[4] = {s->tk * s->row, s->d, s->row, 1};
    ft_dnn q = tokens(b, ID_Q, s->tq, s->row, false), kt = tokens(b, ID_K, s->tk, s->row, true),
           vt = tokens(b, ID_V, s->tk, s->row, true), o = tokens(b, ID_O, s->tq, width, false),
           d_o = tokens(b, ID_DO, s->tq, width, false), stats = per_query(b, ID_STATS, FT_DNN_REAL), scale = value(b, ID_SCALE);
    ft_dnn od = tensor(b, b->next++, CUDNN_DATA_FLOAT, s->tq, s->d, packed, FT_DNN_VIRTUAL),
           inner = per_query(b, 0, FT_DNN_VIRTUAL), sum = per_query(b, ID_SUM, FT_DNN_REAL);
    ft_dnn_pointwise(g, CUDNN_POINTWISE_MUL, d_o, o, od);
    ft_dnn_reduce(g, CUDNN_REDUCE_TENSOR_ADD, od, inner);
    ft_dnn_pointwise(g, CUDNN_POINTWISE_MUL, inner, value(b, ID_ONE), sum); /* where a dropout would be scaled */
    ft_dnn l = apply(b, CUDNN_POINTWISE_MUL, product(b, q, kt), scale),
           p = apply(b, CUDNN_POINTWISE_EXP, apply(b, CUDNN_POINTWISE_SUB, l, stats), NULL), pt = turned_logits(b);
    ft_dnn_reshape(g, p, pt);
    ft_dnn_matmul(g, pt, d_o, tokens(b, ID_DV, s->tk, s->row, false));
    ft_dnn dp = apply(b, CUDNN_POINTWISE_SUB, product(b, d_o, vt), sum),
           ds = apply(b, CUDNN_POINTWISE_MUL, apply(b, CUDNN_POINTWISE_MUL, dp, p), scale), dst = turned_logits(b);
    ft_dnn_reshape(g, ds, dst);
    ft_dnn_matmul(g, dst, q, tokens(b, ID_DK, s->tk, s->row, false));
    ft_dnn k = tensor(b, b->next++, CUDNN_DATA_BFLOAT16, s->tk, s->d, key, FT_DNN_VIRTUAL),
           to = tokens(b, ID_DQ, s->tq, s->row, false);
    ft_dnn_reshape(g, kt, k);
    if (!sums) {
        ft_dnn_matmul(g, ds, k, to);
        return;
    }
    ft_dnn dq_sum = tensor(b, ID_DQ_SUM, CUDNN_DATA_FLOAT, s->tq, s->d, packed, FT_DNN_REAL);
    ft_dnn_matmul(g, ds, k, dq_sum);
    ft_dnn_pointwise(g, CUDNN_POINTWISE_IDENTITY, dq_sum, NULL, to);
}

static size_t sum_bytes(const shape *s) { return ((size_t)(s->seqs * s->heads * s->tq) * 4 + 255) / 256 * 256; }
static size_t dq_bytes(const shape *s) { return sum_bytes(s) * (size_t)s->d; }

static int build(flash *f, const shape *s, bool back, bool sums)
{
    builder b = {.s = s, .next = BETWEEN};
    if (back) backward(&b, sums);
    else forward(&b);
    size_t qb = (size_t)(s->seqs * s->tq * s->row) * 2, kb = (size_t)(s->seqs * s->tk * s->row) * 2,
           ob = (size_t)(s->seqs * s->tq * s->heads * s->d) * 2,
           bytes[N_TENSORS] = {qb, kb, kb, ob, sum_bytes(s), 0, 0, ob, qb, kb, kb, sum_bytes(s), dq_bytes(s)};
    int64_t id[N_TENSORS];
    for (int i = 0; i < N_TENSORS; i++) id[i] = i + 1;
    char what[160];
    snprintf(what, sizeof what, "attention%s, %lld sequences, %lld x %lld, %lld heads of %lld", back ? ", backward" : "",
             (long long)s->seqs, (long long)s->tq, (long long)s->tk, (long long)s->heads, (long long)s->d);
    int n = !back ? ID_SCALE : sums ? ID_DQ_SUM : ID_SUM;
    int rc = ft_dnn_plan_new(&f->plan, &b.g, false, n, id, bytes, what);
    ft_dnn_graph_free(&b.g);
    f->sums = sums;
    return rc;
}

static bool aligned(const ft_buf *b) { return !b || ((uintptr_t)b->data & 15) == 0; }

int ft_cuda_flash_prepare(ft_call *c, bool back)
{
    shape s = shape_of(c);
    for (int i = 0; i < c->n_in; i++)
        if (!aligned(c->in[i])) return FT_OK;
    for (int i = 0; i < c->n_out; i++)
        if (!aligned(c->out[i])) return FT_OK;
    bool all = !back || (c->out[0] && (!c->in[1] || (c->out[1] && c->out[2]))); /* the library makes all three gradients */
    if (c->in[0]->dtype != FT_BF16 || c->in[3] || c->in[4] || c->attr->sdpa.causal || s.d % 8 || s.d > 128 || !all ||
        ft_dnn_start() < 0)
        return FT_OK;
    flash *f = calloc(1, sizeof *f);
    if (!f) return FT_FAIL(FT_ENOMEM, "no memory for attention");
    f->scale = c->attr->sdpa.scale, f->one = 1;
    if (build(f, &s, back, false) < 0 && (!back || build(f, &s, true, true) < 0)) { /* the plain kernels can do it */
        ft_cuda_chose("attention%s, %lld x %lld, heads of %lld: own kernel (%s)", back ? ", backward" : "", (long long)s.tq,
                      (long long)s.tk, (long long)s.d, ft_error_message());
        free(f);
        return FT_OK;
    }
    c->state = f;
    c->free_state = free;
    c->bound = true;
    f->sum_at = ft_dnn_plan_work(f->plan);
    f->dq_at = f->sum_at + sum_bytes(&s);
    size_t work = !back ? f->sum_at : f->sums ? f->dq_at + dq_bytes(&s) : f->dq_at;
    if (work > c->work_size) c->work_size = work;
    return FT_OK;
}

/* k and v of a packed q|k|v lie one and two widths behind q */
static void three(const ft_buf *q, const ft_buf *k, const ft_buf *v, int64_t width, void **data)
{
    data[0] = q->data;
    data[1] = k ? k->data : (uint16_t *)q->data + width;
    data[2] = v ? v->data : (uint16_t *)q->data + 2 * width;
}

void ft_cuda_flash_forward(const ft_call *c)
{
    flash *f = c->state;
    int64_t width = c->out[0]->dim[2];
    void *data[6];
    three(c->in[0], c->in[1], c->in[2], width, data);
    data[3] = c->out[0]->data, data[4] = c->out[1]->data, data[5] = &f->scale;
    ft_dnn_plan_run(f->plan, data, c->work);
}

void ft_cuda_flash_backward(const ft_call *c)
{
    flash *f = c->state;
    int64_t width = c->in[6]->dim[2];
    void *data[N_TENSORS];
    three(c->in[0], c->in[1], c->in[2], width, data);
    data[ID_O - 1] = c->in[6]->data, data[ID_STATS - 1] = c->in[5]->data, data[ID_SCALE - 1] = &f->scale,
                data[ID_ONE - 1] = &f->one;
    data[ID_DO - 1] = c->in[7]->data;
    three(c->out[0], c->in[1] ? c->out[1] : NULL, c->in[1] ? c->out[2] : NULL, width, data + ID_DQ - 1);
    data[ID_SUM - 1] = (char *)c->work + f->sum_at, data[ID_DQ_SUM - 1] = (char *)c->work + f->dq_at;
    ft_dnn_plan_run(f->plan, data, c->work);
}
