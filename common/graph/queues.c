/* Which nodes of a recorded step may run beside each other.
 *
 * The list is one order that is right; another is right, too, if any two nodes of which one writes a byte that the other reads
 * or writes keep theirs. Bytes are the slab's, where tensors that never live together share a place, those of stores, inputs and
 * other graphs' slabs: all by address, found once when the plan is made. Every queue has its own scratch. What calls a library
 * that is bound to the first queue stays there, and so does what needs much scratch.
 *
 * Nodes are placed in the order of the list, each where it could begin first by a rough guess of times; the guess decides about
 * speed, never about results. A clock for each queue (Fidge, Mattern, 1988) tells what has happened before a node, so that it
 * waits for nothing twice and at most once for each other queue. */
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/plan.h"

enum { SIDE_WORK = 64 << 20, MOST_SPANS = 2 * FT_MAX_IN + FT_MAX_OUT + 6 };

typedef struct {
    const char *from, *to;
    bool written;
} span;

typedef struct {
    int first_span, end_span;
    int clock[FT_QUEUES]; /* the last node of each queue that has ended when this one has; -1: none */
    double ends;          /* seconds from the begin, guessed */
} place;

typedef struct {
    ft_plan *p;
    span *spans;
    place *at; /* of each node */
    int n_spans, last[FT_QUEUES];
} search;

static void add(search *s, const void *from, size_t n, bool written)
{
    if (from && n) s->spans[s->n_spans++] = (span){from, (const char *)from + n, written};
}

static void add_tensor(search *s, ft_t t, bool written)
{
    if (!t) return;
    add(s, t->data, (size_t)t->count * ft_dtype_size(t->dtype), written);
    add(s, t->half, (size_t)t->count * sizeof *t->half, written);
}

/* What a node changes although it is its input: state of the store */
static bool changes_input(const ft_node *n, int k)
{
    switch (n->op) {
        case FT_OP_assign:
        case FT_OP_assign_rows: return k == 0;
        case FT_OP_batchnorm: return k >= 3 && n->attr.norm.training && n->attr.norm.momentum != 0;
        default: return false;
    }
}

/* The optimiser's nodes work on the store as a whole. */
static void add_store(search *s, const ft_node *n)
{
    const ft_store *st = n->call.store;
    bool updates = n->op == FT_OP_adamw || n->op == FT_OP_sgd;
    size_t trained = (size_t)st->trained, total = (size_t)st->total;
    if (updates || n->op == FT_OP_grad_norm) add(s, st->grad, trained * sizeof(float), false);
    for (int k = 0; updates && k < 2; k++) {
        add(s, st->bank[k], total * sizeof(float), true);
        add(s, st->half[k], total * sizeof *st->half[k], true);
        add(s, st->moment[k], trained * sizeof(float), true);
    }
}

static void add_node(search *s, int i)
{
    const ft_node *n = s->p->g->node[i];
    s->at[i].first_span = s->n_spans;
    for (int k = 0; k < n->n_in; k++) add_tensor(s, n->in[k], changes_input(n, k));
    for (int k = 0; k < n->n_out; k++) add_tensor(s, n->out[k], true);
    add_store(s, n);
    s->at[i].end_span = s->n_spans;
}

static bool meet(const search *s, int i, int j)
{
    const place *a = &s->at[i], *b = &s->at[j];
    for (int x = a->first_span; x < a->end_span; x++)
        for (int y = b->first_span; y < b->end_span; y++) {
            const span *p = &s->spans[x], *q = &s->spans[y];
            if ((p->written || q->written) && p->from < q->to && q->from < p->to) return true;
        }
    return false;
}

/* What must have ended before node i: direct, the last such node of each queue that no other of them implies; before, with all
 * that happened before those. */
static void needs(const search *s, int i, int direct[FT_QUEUES], int before[FT_QUEUES])
{
    for (int k = 0; k < FT_QUEUES; k++) direct[k] = before[k] = -1;
    for (int j = i - 1; j >= 0; j--) {
        const ft_node *n = s->p->g->node[j];
        if (n->dead || j <= before[n->queue] || !meet(s, i, j)) continue;
        direct[n->queue] = j;
        for (int k = 0; k < FT_QUEUES; k++)
            if (s->at[j].clock[k] > before[k]) before[k] = s->at[j].clock[k];
    }
}

/* Order and magnitude of an H100: a kernel's begin, bytes, products. */
static double guess(const ft_node *n) { return 2e-6 + (double)ft__moved(n) / 2e12 + ft__products(n) / 2e14; }

static int queue_of(const search *s, const ft_node *n, const int direct[FT_QUEUES])
{
    static const double crossing = 1e-6;
    int best = 0;
    double soonest = 0;
    for (int k = 0; k < s->p->device.queues; k++) {
        double from = s->last[k] < 0 ? 0 : s->at[s->last[k]].ends;
        for (int o = 0; o < FT_QUEUES; o++)
            if (o != k && direct[o] >= 0 && s->at[direct[o]].ends + crossing > from) from = s->at[direct[o]].ends + crossing;
        if (k == 0 || from < soonest) best = k, soonest = from;
        if (n->call.bound || n->call.work_size > SIDE_WORK) break;
    }
    return best;
}

/* the signal after node j */
static int signal_of(ft_plan *p, int j)
{
    ft_node *n = p->g->node[j];
    if (n->signal < 0) n->signal = p->device.signals++;
    return n->signal;
}

static void put(search *s, int i)
{
    ft_node *n = s->p->g->node[i];
    place *at = &s->at[i];
    int direct[FT_QUEUES];
    needs(s, i, direct, at->clock);
    n->queue = queue_of(s, n, direct);
    n->signal = -1, n->n_follow = 0;
    int last = s->last[n->queue];
    double from = last < 0 ? 0 : s->at[last].ends;
    for (int k = 0; k < FT_QUEUES; k++) {
        if (k == n->queue || direct[k] < 0 || (last >= 0 && direct[k] <= s->at[last].clock[k])) continue;
        n->follow[n->n_follow++] = signal_of(s->p, direct[k]);
        if (s->at[direct[k]].ends > from) from = s->at[direct[k]].ends;
    }
    if (last < 0 && n->queue > 0 && n->n_follow == 0) n->follow[n->n_follow++] = 0; /* a queue begins with the recording */
    for (int k = 0; last >= 0 && k < FT_QUEUES; k++)
        if (s->at[last].clock[k] > at->clock[k]) at->clock[k] = s->at[last].clock[k];
    at->clock[n->queue] = s->last[n->queue] = i;
    at->ends = from + guess(n);
    if (n->queue > 0 && n->call.work_size > s->p->device.side_size) s->p->device.side_size = n->call.work_size;
}

static int asked(int *queues)
{
    const char *ask = getenv("FORTY_CUDA_STREAMS");
    *queues = 1;
    if (!ask || !*ask) return FT_OK;
    if (strlen(ask) != 1 || *ask < '1' || *ask > '0' + FT_QUEUES)
        return FT_FAIL(FT_ECONFIG, "FORTY_CUDA_STREAMS is %s. Use 1 to %d", ask, FT_QUEUES);
    *queues = *ask - '0';
    return FT_OK;
}

int ft__queues(ft_plan *p)
{
    ft_device_part *m = &p->device;
    const ft_graph *g = p->g;
    m->signals = 1;
    FT_TRY(asked(&m->queues));
    if (m->never_record || p->buckets) m->queues = 1; /* gradients of ranks are averaged between the nodes, on one queue */
    if (m->queues == 1) return FT_OK;
    search s = {.p = p,
                .spans = ft_alloc(sizeof(span) * MOST_SPANS * (size_t)(g->n_node + 1)),
                .at = ft_alloc(sizeof(place) * (size_t)(g->n_node + 1)),
                .last = {-1, -1, -1, -1}};
    int rc = s.spans && s.at ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory to place %d nodes", g->n_node), used = 1;
    for (int i = 0; rc == FT_OK && i < g->n_node; i++) {
        if (g->node[i]->dead) continue;
        add_node(&s, i);
        put(&s, i);
        if (g->node[i]->queue >= used) used = g->node[i]->queue + 1;
    }
    m->queues = used;
    for (int k = 1; rc == FT_OK && k < used; k++) {
        m->last[k] = signal_of(p, s.last[k]);
        rc = p->backend->device->alloc((void **)&m->side[k - 1], m->side_size);
    }
    ft_free(s.spans);
    ft_free(s.at);
    return rc;
}
