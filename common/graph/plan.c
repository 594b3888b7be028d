/* Planning and running: what nobody reads is dropped; liveness -> offsets in one slab; then a plain loop over the list.
 *
 * Slices and concats along the outermost axis are addresses, not copies: a slice looks into its input, the inputs of a concat
 * are made where the result wants them. Placement is greedy by size (largest first, lowest gap that fits): on transformer and
 * U-Net training graphs it reaches the lower bound (the largest sum of live tensors). Views share their owner's storage; an
 * elementwise op whose input dies with it writes over that input. FT_PLAN_GUARD=1 reuses nothing, puts guard bands around each
 * tensor and fills it with NaN before it is born and after it dies: results must be bitwise those of the packed plan.
 * Running is in exec.c, and on a device in exec_device.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/context.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/graph/backend.h"
#include "common/graph/plan.h"

enum { SMALL_BUCKET = 1 << 14 }; /* so that the first leave early and none is too small to send */
const unsigned char ft__guard_byte = 0xC3;

size_t ft__bytes(ft_t t) { return ((size_t)t->count * ft_dtype_size(t->dtype) + FT_ALIGN - 1) / FT_ALIGN * FT_ALIGN; }
bool ft__on_slab(ft_t t) { return t->base == t && t->kind == FT_IS_ACT; }

ft_t ft__owner(ft_t t)
{
    while (t->base != t) t = t->base;
    return t;
}

size_t ft__distance(ft_t t) /* from the owner's first byte */
{
    size_t d = 0;
    for (; t->base != t; t = t->base) d += t->shift;
    return d;
}

static void touch(ft_t t, int at)
{
    t = ft__owner(t);
    if (t->first < 0) t->first = at;
    if (at > t->last) t->last = at;
}

static void need(bool *needed, ft_t t)
{
    for (; !needed[t->id]; t = t->base) {
        needed[t->id] = true;
        if (t->base == t) break;
    }
}

/* A node lives if somebody keeps or reads what it makes, or if it changes the parameter store. */
static int drop_dead(ft_graph *g)
{
    bool *needed = ft_alloc((size_t)g->n_tensor + 1);
    if (!needed) return FT_FAIL(FT_ENOMEM, "no memory to plan %d tensors", g->n_tensor);
    for (int i = 0; i < g->n_tensor; i++)
        if (g->tensor[i]->kept || g->tensor[i]->kind == FT_IS_GRAD) need(needed, g->tensor[i]);
    for (int i = g->n_node - 1; i >= 0; i--) {
        ft_node *n = g->node[i];
        n->dead = n->n_out > 0 && !(n->op == FT_OP_batchnorm && n->attr.norm.training && n->attr.norm.momentum != 0);
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] && needed[n->out[k]->id]) n->dead = false;
        for (int k = 0; k < n->n_in && !n->dead; k++)
            if (n->in[k]) need(needed, n->in[k]);
    }
    ft_free(needed);
    return FT_OK;
}

static bool outermost(ft_t t, int axis)
{
    for (int i = 0; i < axis; i++)
        if (t->dim[i] != 1) return false;
    return true;
}

static void alias(ft_graph *g)
{
    for (int i = 0; i < g->n_node; i++) {
        ft_node *n = g->node[i];
        ft_t y = n->out[0];
        if (n->dead || (n->op != FT_OP_slice && n->op != FT_OP_concat) || !outermost(y, n->attr.span.axis)) continue;
        size_t row = (size_t)(y->count / y->dim[n->attr.span.axis]) * ft_dtype_size(y->dtype), at = 0;
        if (n->op == FT_OP_slice && ft__on_slab(y)) {
            y->base = n->in[0];
            y->shift = (size_t)n->attr.span.start * row;
        }
        if (n->op != FT_OP_concat || y->base != y) continue;
        for (int k = 0; k < n->n_in; k++) {
            ft_t x = ft__owner(n->in[k]); /* a whole tensor that only this concat places */
            if (ft__on_slab(x) && x->maker && x->count == n->in[k]->count && ft__distance(n->in[k]) == 0) {
                x->base = y;
                x->shift = at;
            }
            at += (size_t)n->in[k]->dim[n->attr.span.axis] * row;
        }
    }
}

static void liveness(ft_graph *g)
{
    for (int i = 0; i < g->n_tensor; i++) g->tensor[i]->first = g->tensor[i]->last = -1;
    for (int i = 0; i < g->n_node; i++) {
        if (g->node[i]->dead) continue;
        for (int k = 0; k < g->node[i]->n_in; k++)
            if (g->node[i]->in[k]) touch(g->node[i]->in[k], i);
        for (int k = 0; k < g->node[i]->n_out; k++)
            if (g->node[i]->out[k]) touch(g->node[i]->out[k], i);
    }
    for (int i = 0; i < g->n_tensor; i++)
        if (g->tensor[i]->kept && ft__owner(g->tensor[i])->first >= 0) ft__owner(g->tensor[i])->last = g->n_node;
}

static const bool may_write_over[] = {
#define COPY                             false
#define INPLACE                          true
#define OP(name, grad, prep, place, dev) place,
    FT_OP_TABLE(OP)
#undef OP
};

static void in_place(ft_graph *g)
{
    for (int i = 0; i < g->n_node; i++) {
        ft_node *n = g->node[i];
        if (n->dead || !may_write_over[n->op]) continue;
        ft_t x = ft__owner(n->in[0]), y = n->out[0];
        bool read_twice = n->n_in > 1 && ft__owner(n->in[1]) == x;
        if (!ft__on_slab(x) || !ft__on_slab(y) || x->kept || y->kept || x->last != i || x->dtype != y->dtype ||
            x->count != y->count || read_twice)
            continue;
        y->base = x;
        x->last = y->last > x->last ? y->last : x->last;
    }
}

static int by_size(const void *a, const void *b)
{
    const ft_tensor *x = *(ft_tensor *const *)a, *y = *(ft_tensor *const *)b;
    size_t sx = ft__bytes((ft_t)x), sy = ft__bytes((ft_t)y);
    return sx != sy ? (sx < sy ? 1 : -1) : x->id - y->id;
}

static int by_offset(const void *a, const void *b)
{
    const ft_tensor *x = *(ft_tensor *const *)a, *y = *(ft_tensor *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset;
}

static int place(ft_plan *p)
{
    ft_graph *g = p->g;
    ft_tensor **list = ft_alloc(sizeof *list * (size_t)(g->n_tensor + 1)),
              **busy = ft_alloc(sizeof *busy * (size_t)(g->n_tensor + 1));
    size_t *live = ft_alloc(sizeof *live * (size_t)(g->n_node + 2));
    int n = 0, rc = FT_OK;
    if (!list || !busy || !live) rc = FT_FAIL(FT_ENOMEM, "no memory to plan %d tensors", g->n_tensor);
    for (int i = 0; rc == FT_OK && i < g->n_tensor; i++)
        if (ft__on_slab(g->tensor[i]) && g->tensor[i]->first >= 0) list[n++] = g->tensor[i];
    if (n) qsort(list, (size_t)n, sizeof *list, by_size);
    for (int i = 0; i < n; i++) {
        ft_t t = list[i];
        for (int k = t->first; k <= t->last; k++) live[k] += ft__bytes(t);
        if (p->guard) {
            t->offset = p->slab_size + FT_GUARD;
            p->slab_size = t->offset + ft__bytes(t) + FT_GUARD;
            continue;
        }
        int m = 0;
        for (int k = 0; k < i; k++)
            if (list[k]->first <= t->last && t->first <= list[k]->last) busy[m++] = list[k];
        if (m) qsort(busy, (size_t)m, sizeof *busy, by_offset);
        size_t at = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
        for (int k = 0; k <= m; k++) { /* the tightest gap that fits, else the end */
            size_t gap = k == m ? SIZE_MAX : busy[k]->offset > at ? busy[k]->offset - at : 0;
            if (gap >= ft__bytes(t) && gap < best_gap) best = at, best_gap = gap;
            if (k == m && best == SIZE_MAX) best = at;
            if (k < m && busy[k]->offset + ft__bytes(busy[k]) > at) at = busy[k]->offset + ft__bytes(busy[k]);
        }
        t->offset = best;
        if (t->offset + ft__bytes(t) > p->slab_size) p->slab_size = t->offset + ft__bytes(t);
    }
    for (int k = 0; rc == FT_OK && k <= g->n_node; k++)
        if (live[k] > p->live_max) p->live_max = live[k];
    ft_free(list);
    ft_free(busy);
    ft_free(live);
    return rc;
}

static bool trains(const ft_graph *g)
{
    for (int i = 0; i < g->n_node; i++)
        if (!g->node[i]->dead && (g->node[i]->op == FT_OP_adamw || g->node[i]->op == FT_OP_sgd)) return true;
    return false;
}

static bool learns(const ft_graph *g) /* has gradients of parameters */
{
    for (int i = 0; i < g->n_tensor; i++)
        if (g->tensor[i]->kind == FT_IS_GRAD) return true;
    return trains(g);
}

/* Addresses of everything that lies in the slab or in a store; leaves have theirs. */
static void address(ft_plan *p)
{
    ft_graph *g = p->g;
    bool there = p->backend->device;
    for (int i = 0; i < g->n_tensor; i++) {
        ft_t t = g->tensor[i];
        if (t->base != t) continue;
        if (t->kind == FT_IS_PARAM) {
            const ft_store *st = there ? ft__params_there(t->store) : ft__params_store(t->store);
            ft_bank bank = t->average ? FT_EMA : t->store == g->params ? p->bank : FT_WEIGHTS;
            int64_t at = ft_params_at(t->store, t->param)->offset;
            t->data = st->bank[bank] + at;
            t->half = st->half[bank] ? st->half[bank] + at : NULL;
        } else if (t->kind == FT_IS_GRAD) {
            const ft_store *st = there ? ft__params_there(g->params) : ft__params_store(g->params);
            t->data = st->grad + ft_params_at(g->params, (int)t->offset)->offset;
        } else if (t->lender) t->data = t->lender->data;
        else if (ft__on_slab(t) && t->first >= 0) t->data = p->slab + t->offset;
    }
    for (int i = 0; i < g->n_tensor; i++) {
        ft_t t = g->tensor[i];
        if (t->base != t && ft__owner(t)->data) t->data = (char *)ft__owner(t)->data + ft__distance(t);
        if (t->base != t && ft__owner(t)->half) t->half = ft__owner(t)->half + ft__distance(t) / sizeof(float);
    }
}

/* Which arrays of the store a run changes */
static unsigned written(const ft_graph *g, bool training, bool learning)
{
    unsigned w = training ? FT_ARRAYS_ALL : learning ? 1u << FT_ARRAY_GRAD : 0;
    for (int i = 0; i < g->n_node; i++) {
        const ft_node *n = g->node[i];
        if (n->dead) continue;
        if (((n->op == FT_OP_assign || n->op == FT_OP_assign_rows) && n->in[0]->store == g->params) ||
            (n->op == FT_OP_batchnorm && n->attr.norm.training && n->attr.norm.momentum != 0))
            w |= 1u << FT_ARRAY_WEIGHTS;
    }
    return w;
}

/* Memory of the parameters where the plan computes; gradients and moments only for those who need them. */
static int stores(ft_plan *p, bool training, bool learning)
{
    ft_graph *g = p->g;
    const ft_device *d = p->backend->device;
    if (!d) {
        if ((learning && !ft_params_grad(g->params)) ||
            (training && (!ft_params_moment(g->params, 0) || !ft_params_moment(g->params, 1))))
            return FT_FAIL(FT_ENOMEM, "no memory to train %lld parameters. Choose a smaller model",
                           (long long)ft_params_trained_size(g->params));
        return FT_OK;
    }
    FT_TRY(ft__params_to(g->params, d, learning, training, g->compute == FT_BF16));
    for (int i = 0; i < g->n_tensor; i++)
        if (g->tensor[i]->store && g->tensor[i]->store != g->params)
            FT_TRY(ft__params_to(g->tensor[i]->store, d, false, false, g->compute == FT_BF16));
    return FT_OK;
}

static int get(const ft_plan *p, char **to, size_t size, const char *what)
{
    if (p->backend->device) {
        FT_TRY(p->backend->device->alloc((void **)to, size + FT_ALIGN));
        return FT_OK;
    }
    *to = ft_alloc(size + FT_ALIGN);
    return *to ? FT_OK
               : FT_FAIL(FT_ENOMEM, "no memory for %.0f MiB of %s. Use a smaller batch, fewer frames or a smaller model",
                         (double)size / 1048576.0, what);
}

static void describe(ft_plan *p, ft_node *n, bool training)
{
    ft_call *c = &n->call;
    ft_t w = n->n_in > 1 && n->in[1] ? ft__owner(n->in[1]) : NULL;
    c->n_in = n->n_in;
    c->n_out = n->n_out;
    for (int k = 0; k < n->n_in; k++) c->in[k] = n->in[k] ? &n->in[k]->buf : NULL;
    for (int k = 0; k < n->n_out; k++) c->out[k] = n->out[k] ? &n->out[k]->buf : NULL;
    c->attr = &n->attr;
    c->stream = n->stream;
    c->store = p->backend->device ? ft__params_there(p->g->params) : ft__params_store(p->g->params);
    c->weights_move = !w || w->kind == FT_IS_ACT || w->kind == FT_IS_GRAD || w->kind == FT_IS_INPUT ||
                      (training && w->kind == FT_IS_PARAM && w->store == p->g->params && (w->needs_grad || w->average));
}

static int by_ready(const void *a, const void *b) { return ((const ft_bucket *)a)->ready - ((const ft_bucket *)b)->ready; }

/* Stretches of the gradients, in the order in which the backward pass completes them. */
static void make_buckets(ft_plan *p)
{
    ft_graph *g = p->g;
    int64_t total = ft_params_trained_size(g->params), each = (total + FT_BUCKETS - 1) / FT_BUCKETS;
    if (each < SMALL_BUCKET) each = SMALL_BUCKET;
    for (int64_t at = 0; at < total; at += each)
        p->bucket[p->buckets++] = (ft_bucket){at, total - at < each ? total - at : each, 0};
    for (int i = 0; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_out; k++) {
            ft_t t = g->node[i]->out[k];
            if (g->node[i]->dead || !t || t->kind != FT_IS_GRAD) continue;
            const ft_param_info *q = ft_params_at(g->params, (int)t->offset);
            for (int64_t b = q->offset / each; b * each < q->offset + t->count && b < p->buckets; b++)
                if (p->bucket[b].ready < i) p->bucket[b].ready = i;
        }
    qsort(p->bucket, (size_t)p->buckets, sizeof *p->bucket, by_ready);
}

static int make_plan(ft_plan **out, ft_graph *g, ft_bank bank)
{
    if (g->failed) return FT_FAIL(FT_EGRAPH, "the network cannot be built: %s", g->error);
    FT_TRY(ft_params_seal(g->params));
    for (int i = 0; i < g->n_tensor; i++)
        if (g->tensor[i]->store) FT_TRY(ft_params_seal(g->tensor[i]->store));
    for (int i = 0; i < g->n_tensor; i++)
        if (g->tensor[i]->lender && !g->tensor[i]->lender->graph->plan)
            return FT_FAIL(FT_EGRAPH, "%s is lent by a graph that has no plan yet", ft__shape(g->tensor[i]->lender));
    FT_TRY(ft_backend_open());
    ft_plan *p = ft_alloc(sizeof *p);
    if (!p) return FT_FAIL(FT_ENOMEM, "no memory for a plan");
    *p = (ft_plan){.packed = UINT64_MAX, .g = g, .backend = ft_backend_now(), .bank = bank};
    ft_threads_all(); /* libraries choose by the number of threads */
    const char *guard = getenv("FT_PLAN_GUARD"), *profile = getenv("FORTY_PROFILE");
    p->guard = guard && *guard == '1';
    p->profile = profile && *profile == '1';
    bool training = trains(g), learning = learns(g);
    int rc = stores(p, training, learning);
    if (rc == FT_OK) rc = drop_dead(g);
    if (rc == FT_OK && !p->guard) alias(g);
    liveness(g);
    if (!p->guard) in_place(g);
    if (rc == FT_OK) rc = place(p);
    if (rc == FT_OK) rc = get(p, &p->slab, p->slab_size, "activations");
    if (rc == FT_OK && p->backend->device) rc = ft__device_prepare(p);
    if (rc == FT_OK) address(p);
    for (int i = 0; rc == FT_OK && i < g->n_node; i++) {
        ft_node *n = g->node[i];
        if (n->dead) continue;
        if (!p->backend->kernel[n->op]) rc = FT_FAIL(FT_EDEVICE, "%s has no kernel for %s", p->backend->name, ft__op_name(n->op));
        describe(p, n, training);
        if (rc == FT_OK && p->backend->prepare[n->op]) rc = p->backend->prepare[n->op](&n->call);
        if (n->call.work_size > p->work_size) p->work_size = n->call.work_size;
    }
    if (rc == FT_OK) rc = get(p, &p->work, p->work_size + (p->guard ? FT_GUARD : 0), "scratch");
    if (rc == FT_OK && training && ft_ranks() > 1) make_buckets(p);
    if (rc == FT_OK && p->backend->device) rc = ft__queues(p);
    if (rc == FT_OK && p->guard && !p->backend->device) memset(p->slab, ft__guard_byte, p->slab_size);
    if (rc == FT_OK && p->guard && p->backend->device) rc = p->backend->device->fill(p->slab, ft__guard_byte, p->slab_size);
    p->writes = written(g, training, learning);
    g->plan = p;
    if (rc < 0) {
        ft_plan_free(p);
        return rc;
    }
    *out = p;
    return FT_OK;
}

int ft_plan_new(ft_plan **out, ft_graph *g, ft_bank bank)
{
    *out = NULL;
    ft_context *before = ft_context_enter(g->context ? g->context : ft_context_entered());
    int rc = make_plan(out, g, bank);
    ft_context_enter(before);
    return rc;
}

void ft_plan_free(ft_plan *p)
{
    if (!p) return;
    if (p->g->plan == p) p->g->plan = NULL;
    if (p->backend->device) ft__device_free(p);
    else {
        ft_free(p->slab);
        ft_free(p->work);
    }
    ft_free(p);
}

/* what a node reads and writes; views move nothing */
size_t ft__moved(const ft_node *n)
{
    size_t sum = 0;
    if (n->dead || (n->op == FT_OP_slice && n->out[0]->base != n->out[0])) return 0;
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && !(n->op == FT_OP_concat && ft__owner(n->in[k]) == ft__owner(n->out[0])))
            sum += (size_t)n->in[k]->count * ft_dtype_size(n->in[k]->dtype) * (n->op == FT_OP_concat ? 2 : 1);
    for (int k = 0; k < n->n_out && n->op != FT_OP_concat; k++)
        if (n->out[k]) sum += (size_t)n->out[k]->count * ft_dtype_size(n->out[k]->dtype);
    return sum;
}

/* multiplications of a node's products and attention (the mathematical ones, not those of a kernel's way to them) */
double ft__products(const ft_node *n)
{
    ft_t a = n->n_in > 0 ? n->in[0] : NULL, b = n->n_in > 1 ? n->in[1] : NULL, y = n->n_out > 0 ? n->out[0] : NULL;
    if (n->dead || !a || !y) return 0;
    double ca = (double)a->count, cb = b ? (double)b->count : 0, cy = (double)y->count;
    switch (n->op) {
        case FT_OP_linear:
        case FT_OP_linear_bwd_x: return cy * (double)a->dim[a->ndim - 1];
        case FT_OP_linear_bwd_w: return ca * (double)b->dim[b->ndim - 1];
        case FT_OP_matmul: return ca * (double)y->dim[y->ndim - 1];
        case FT_OP_conv:
        case FT_OP_conv_dw: return cy * cb / (double)y->dim[y->ndim - 1];
        case FT_OP_conv_bwd_x:
        case FT_OP_conv_dw_bwd_x: return ca * cb / (double)a->dim[a->ndim - 1];
        case FT_OP_conv_bwd_w:
        case FT_OP_conv_dw_bwd_w: return cb * cy / (double)b->dim[b->ndim - 1];
        case FT_OP_sdpa: return 2 * cy * (double)(b ? b : a)->dim[1];
        case FT_OP_attention_local: return 2 * cy * (2 * n->attr.seq.window + 1);
        case FT_OP_attention_channel: return 2 * cy * (double)y->dim[2] / cb;
        case FT_OP_ssd: return 2 * cy * (double)n->attr.seq.state;
        /* of their backward passes five products for two: the scores again, and a gradient for each factor */
        case FT_OP_sdpa_bwd: return 5 * ca / (b ? 1 : 3) * (double)(b ? b : a)->dim[1];
        case FT_OP_attention_local_bwd: return 5 * ca * (2 * n->attr.seq.window + 1);
        case FT_OP_attention_channel_bwd: return 5 * ca / 3 * (double)a->dim[2] / 3 / cb;
        default: return 0;
    }
}

ft_plan_info ft_plan_describe(const ft_plan *p)
{
    ft_plan_info d = {.act_bytes = p->slab_size,
                      .live_bytes = p->live_max,
                      .param_bytes = (size_t)ft_params_flat_size(p->g->params) * 5 * sizeof(float),
                      .work_bytes =
                          p->work_size + p->device.side_size * (size_t)(p->device.queues > 1 ? p->device.queues - 1 : 0)};
    for (int i = 0; i < p->g->n_node; i++) {
        d.nodes += !p->g->node[i]->dead;
        d.moved_bytes += ft__moved(p->g->node[i]);
        d.products += ft__products(p->g->node[i]);
    }
    return d;
}

void ft_plan_profile_on(ft_plan *p)
{
    p->profile = true;
    p->runs = 0;
    for (int i = 0; i < p->g->n_node; i++) p->g->node[i]->seconds = 0;
}

void ft_plan_profile(const ft_plan *p)
{
    double by_op[FT_OP_COUNT] = {0}, bytes_of[FT_OP_COUNT] = {0}, all = 0;
    int count[FT_OP_COUNT] = {0};
    if (!p || !p->profile || p->runs == 0) return;
    for (int i = 0; i < p->g->n_node; i++) {
        const ft_node *n = p->g->node[i];
        if (n->dead) continue;
        by_op[n->op] += n->seconds / p->runs;
        bytes_of[n->op] += (double)ft__moved(n);
        count[n->op]++;
        all += n->seconds / p->runs;
    }
    fprintf(stderr, "  %-22s %5s %9s %6s %9s %7s\n", "op", "nodes", "ms", "share", "MiB", "GB/s");
    for (;;) {
        int best = 0;
        for (int k = 1; k < FT_OP_COUNT; k++)
            if (by_op[k] > by_op[best]) best = k;
        if (by_op[best] <= 0) break;
        fprintf(stderr, "  %-22s %5d %9.3f %5.1f%% %9.1f %7.1f\n", ft__op_name((ft_op)best), count[best], 1000 * by_op[best],
                100 * by_op[best] / all, bytes_of[best] / 1048576.0, bytes_of[best] / by_op[best] / 1e9);
        by_op[best] = 0;
    }
    ft_plan_info d = ft_plan_describe(p);
    fprintf(stderr,
            "  %d nodes, %.3f ms, %.1f MiB moved; activations %.1f MiB (live maximum %.1f), scratch %.1f MiB, parameters and "
            "state %.1f MiB\n",
            d.nodes, 1000 * all, (double)d.moved_bytes / 1048576.0, (double)d.act_bytes / 1048576.0,
            (double)d.live_bytes / 1048576.0, (double)d.work_bytes / 1048576.0, (double)d.param_bytes / 1048576.0);
}
