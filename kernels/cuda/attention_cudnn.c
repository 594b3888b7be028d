/* See attention.h: cuDNN's fused attention, one operation forward and one backward. */
#include "kernels/cuda/attention.h"

#include <stdlib.h>

#include "kernels/cuda/dnn_graph.h"

enum { Q = 1, K, V, O, STATS, SCALE, DO, DQ, DK, DV };

typedef struct {
    ft_dnn_plan *plan;
    float scale;
} flash;

static void free_flash(void *p)
{
    ft_dnn_plan_free(((flash *)p)->plan);
    free(p);
}

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

static int tensor(ft_dnn *to, int64_t id, const shape *s, int64_t rows, int64_t row)
{
    int64_t dim[4] = {s->seqs, s->heads, rows, s->d}, stride[4] = {rows * row, s->d, row, 1};
    return ft_dnn_tensor(to, id, CUDNN_DATA_BFLOAT16, 4, dim, stride, 16, FT_DNN_REAL);
}

static int build(flash *f, const shape *s, bool backward)
{
    ft_dnn t[16] = {NULL}, op = NULL;
    int64_t width = s->heads * s->d, stats[4] = {s->seqs, s->heads, s->tq, 1}, stats_stride[4] = {s->heads * s->tq, s->tq, 1, 1},
            one[4] = {1, 1, 1, 1};
    int rc = tensor(&t[Q], Q, s, s->tq, s->row);
    if (rc == FT_OK) rc = tensor(&t[K], K, s, s->tk, s->row);
    if (rc == FT_OK) rc = tensor(&t[V], V, s, s->tk, s->row);
    if (rc == FT_OK) rc = tensor(&t[O], O, s, s->tq, width);
    if (rc == FT_OK) rc = ft_dnn_tensor(&t[STATS], STATS, CUDNN_DATA_FLOAT, 4, stats, stats_stride, 16, FT_DNN_REAL);
    if (rc == FT_OK) rc = ft_dnn_tensor(&t[SCALE], SCALE, CUDNN_DATA_FLOAT, 4, one, one, 16, FT_DNN_VALUE);
    if (rc == FT_OK && backward) rc = tensor(&t[DO], DO, s, s->tq, width);
    if (rc == FT_OK && backward) rc = tensor(&t[DQ], DQ, s, s->tq, s->row);
    if (rc == FT_OK && backward) rc = tensor(&t[DK], DK, s, s->tk, s->row);
    if (rc == FT_OK && backward) rc = tensor(&t[DV], DV, s, s->tk, s->row);
    static const struct {
        int id;
        cudnnBackendAttributeName_t forward, backward;
    } name[] = {{Q, CUDNN_ATTR_OPERATION_SDPA_FWD_QDESC, CUDNN_ATTR_OPERATION_SDPA_BWD_QDESC},
                {K, CUDNN_ATTR_OPERATION_SDPA_FWD_KDESC, CUDNN_ATTR_OPERATION_SDPA_BWD_KDESC},
                {V, CUDNN_ATTR_OPERATION_SDPA_FWD_VDESC, CUDNN_ATTR_OPERATION_SDPA_BWD_VDESC},
                {O, CUDNN_ATTR_OPERATION_SDPA_FWD_ODESC, CUDNN_ATTR_OPERATION_SDPA_BWD_ODESC},
                {STATS, CUDNN_ATTR_OPERATION_SDPA_FWD_STATSDESC, CUDNN_ATTR_OPERATION_SDPA_BWD_STATSDESC},
                {SCALE, CUDNN_ATTR_OPERATION_SDPA_FWD_SCALEDESC, CUDNN_ATTR_OPERATION_SDPA_BWD_SCALEDESC},
                {DO, 0, CUDNN_ATTR_OPERATION_SDPA_BWD_DODDESC},
                {DQ, 0, CUDNN_ATTR_OPERATION_SDPA_BWD_DQDESC},
                {DK, 0, CUDNN_ATTR_OPERATION_SDPA_BWD_DKDESC},
                {DV, 0, CUDNN_ATTR_OPERATION_SDPA_BWD_DVDESC}};
    int n = backward ? 10 : 6;
    if (rc == FT_OK)
        rc = ft_dnn_make(&op,
                         backward ? CUDNN_BACKEND_OPERATION_SDPA_BWD_DESCRIPTOR : CUDNN_BACKEND_OPERATION_SDPA_FWD_DESCRIPTOR);
    for (int i = 0; rc == FT_OK && i < n; i++)
        rc = ft_dnn_set(op, backward ? name[i].backward : name[i].forward, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &t[name[i].id]);
    if (rc == FT_OK) rc = ft_dnn_finish(op, "attention");
    int64_t id[10];
    size_t bytes[10], qb = (size_t)(s->seqs * s->tq * s->row) * 2, kb = (size_t)(s->seqs * s->tk * s->row) * 2,
                      ob = (size_t)(s->seqs * s->tq * width) * 2;
    size_t of[] = {qb, kb, kb, ob, (size_t)(s->seqs * s->heads * s->tq) * 4, 0, ob, qb, kb, kb};
    for (int i = 0; i < n; i++) id[i] = name[i].id, bytes[i] = of[i];
    if (rc == FT_OK) rc = ft_dnn_plan_new(&f->plan, &op, 1, false, n, id, bytes, backward ? "attention, backward" : "attention");
    ft_dnn_free(&op, 1);
    ft_dnn_free(t, 16);
    return rc;
}

static bool aligned(const ft_buf *b) { return !b || ((uintptr_t)b->data & 15) == 0; }

int ft_cuda_flash_prepare(ft_call *c, bool backward)
{
    shape s = shape_of(c);
    for (int i = 0; i < c->n_in; i++)
        if (!aligned(c->in[i])) return FT_OK;
    for (int i = 0; i < c->n_out; i++)
        if (!aligned(c->out[i])) return FT_OK;
    bool all = !backward || (c->out[0] && (!c->in[1] || (c->out[1] && c->out[2]))); /* the library makes all three gradients */
    if (c->in[0]->dtype != FT_BF16 || c->in[3] || c->in[4] || c->attr->sdpa.causal || s.d % 8 || s.d > 128 || !all ||
        ft_dnn_start() < 0)
        return FT_OK;
    flash *f = calloc(1, sizeof *f);
    if (!f) return FT_FAIL(FT_ENOMEM, "no memory for attention");
    f->scale = c->attr->sdpa.scale;
    if (build(f, &s, backward) < 0) { /* the plain kernels can do it */
        ft_cuda_chose("attention%s, %lld x %lld, heads of %lld: own kernel (%s)", backward ? ", backward" : "", (long long)s.tq,
                      (long long)s.tk, (long long)s.d, ft_error_message());
        free_flash(f);
        return FT_OK;
    }
    c->state = f;
    c->free_state = free_flash;
    if (ft_dnn_plan_work(f->plan) > c->work_size) c->work_size = ft_dnn_plan_work(f->plan);
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
    void *data[10];
    three(c->in[0], c->in[1], c->in[2], width, data);
    data[3] = c->in[6]->data, data[4] = c->in[5]->data, data[5] = &f->scale, data[6] = c->in[7]->data;
    three(c->out[0], c->in[1] ? c->out[1] : NULL, c->in[1] ? c->out[2] : NULL, width, data + 7);
    ft_dnn_plan_run(f->plan, data, c->work);
}
