/* Running a plan on a device.
 *
 * A run is one copy of the step and the inputs in (none where they are those of the run before), the list, and copies of the
 * small results out, all begun and not waited for.
 * The list goes out kernel by kernel twice; the third time it is recorded, and from then on replayed as one. What cannot be
 * recorded goes on kernel by kernel, after one line in the log that names the op. ft_data waits for the run whose result it
 * reads, no more. */
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
#include "common/graph/plan.h"

enum { RUNS_BEFORE_RECORDING = 2 };

static size_t padded(size_t n) { return (n + 255) / 256 * 256; }
static size_t bytes_of(ft_t t) { return (size_t)t->count * ft_dtype_size(t->dtype); }
static bool is_leaf(ft_t t) { return t->base == t && !t->lender && (t->kind == FT_IS_INPUT || t->kind == FT_IS_CONST); }

/* What every run walks over, found once. */
static int lists(ft_plan *p)
{
    ft_device_part *m = &p->device;
    ft_graph *g = p->g;
    size_t room = (size_t)(g->n_tensor + 1) * sizeof(ft_t);
    m->input = ft_arena_alloc(g->arena, room), m->result = ft_arena_alloc(g->arena, room),
    m->foreign = ft_arena_alloc(g->arena, room);
    if (!m->input || !m->result || !m->foreign) return FT_FAIL(FT_ENOMEM, "no memory to plan %d tensors", g->n_tensor);
    for (int i = 0; i < g->n_tensor; i++) {
        ft_t t = g->tensor[i];
        if (is_leaf(t) && t->kind == FT_IS_INPUT) m->input[m->n_input++] = t;
        if (t->result_at != SIZE_MAX) m->result[m->n_result++] = t;
        if (t->base == t && t->kind == FT_IS_PARAM && (t->store != g->params || t->average)) m->foreign[m->n_foreign++] = t;
    }
    return FT_OK;
}

int ft__device_prepare(ft_plan *p)
{
    const ft_device *d = p->backend->device;
    ft_device_part *m = &p->device;
    size_t constants = 0;
    m->inputs_size = padded(sizeof(ft_step));
    m->sent = -1;
    for (int i = 0; i < p->g->n_tensor; i++) {
        ft_t t = p->g->tensor[i];
        t->fetched = -1;
        t->result_at = SIZE_MAX;
        if (is_leaf(t) && !t->host) t->host = t->data;
        if (is_leaf(t)) *(t->kind == FT_IS_INPUT ? &m->inputs_size : &constants) += padded(bytes_of(t));
    }
    for (int i = 0; i < p->g->n_tensor; i++) { /* what is kept may be a view */
        ft_t o = ft__owner(p->g->tensor[i]);
        if (!p->g->tensor[i]->kept || p->g->tensor[i]->lent || !ft__on_slab(o) || o->first < 0 || bytes_of(o) > FT_SMALL_RESULT ||
            o->result_at != SIZE_MAX)
            continue;
        o->result_at = m->results_size;
        m->results_size += padded(bytes_of(o));
    }
    FT_TRY(lists(p));
    FT_TRY(d->alloc((void **)&m->inputs, m->inputs_size));
    FT_TRY(d->alloc((void **)&m->constants, constants));
    for (int i = 0; i < FT_LAG; i++) {
        FT_TRY(d->alloc_pinned((void **)&m->in[i], m->inputs_size));
        FT_TRY(d->alloc_pinned((void **)&m->out[i], m->results_size));
    }
    size_t at = padded(sizeof(ft_step)), from = 0;
    for (int i = 0; i < p->g->n_tensor; i++) {
        ft_t t = p->g->tensor[i];
        if (!is_leaf(t)) continue;
        if (t->kind == FT_IS_INPUT) {
            t->data = m->inputs + at;
            at += padded(bytes_of(t));
            continue;
        }
        t->data = m->constants + from;
        from += padded(bytes_of(t));
        FT_TRY(d->upload(t->data, t->host, bytes_of(t)));
    }
    const char *ask = getenv("FORTY_CUDA_GRAPH");
    m->never_record = p->guard || p->profile || (ask && !strcmp(ask, "0"));
    return FT_OK;
}

void ft__device_free(ft_plan *p)
{
    const ft_device *d = p->backend->device;
    ft_device_part *m = &p->device;
    if (d->allow && p->slab) d->allow(p->slab, p->slab_size);
    d->record_free(m->recording);
    d->free(m->inputs);
    d->free(m->constants);
    d->free(p->slab);
    d->free(p->work);
    for (int i = 0; i < FT_QUEUES - 1; i++) d->free(m->side[i]);
    for (int i = 0; i < FT_LAG; i++) {
        d->free_pinned(m->in[i]);
        d->free_pinned(m->out[i]);
    }
    for (int i = 0; i < p->g->n_tensor; i++) {
        ft_t t = p->g->tensor[i];
        if (is_leaf(t) && t->host) t->data = t->host; /* as before the plan */
    }
}

/* ---- guards: FT_PLAN_GUARD=1 -------------------------------------------------------------------------------------------- */

static void permit(const ft_plan *p, const ft_node *n, void (*way)(const void *p, size_t n))
{
    for (int k = 0; way && k < n->n_in + n->n_out; k++) {
        ft_t t = k < n->n_in ? n->in[k] : n->out[k - n->n_in];
        if (t && ft__on_slab(ft__owner(t))) way(p->slab + ft__owner(t)->offset, ft__bytes(ft__owner(t)));
    }
}

/* Only what the node reads and writes may be touched while it runs. */
static int guarded(ft_plan *p, ft_node *n, int at)
{
    const ft_device *d = p->backend->device;
    permit(p, n, d->allow);
    FT_TRY(ft__guard_before(p, n));
    p->backend->kernel[n->op](&n->call);
    FT_TRY(d->check());
    FT_TRY(ft__guard_after(p, n, at));
    FT_TRY(d->mark(0));
    FT_TRY(d->wait(0));
    permit(p, n, d->forbid);
    return FT_OK;
}

/* ---- the list ----------------------------------------------------------------------------------------------------------- */

/* At most 128 bytes of rank 0 to all, through what carries the ranks on the host: sums of small numbers are exact. */
static int share(unsigned char *bytes, int n)
{
    float value[128];
    for (int i = 0; i < n; i++) value[i] = ft_this_rank() == 0 ? (float)bytes[i] : 0;
    ft_mean_begin(value, n);
    FT_TRY(ft_mean_wait());
    for (int i = 0; i < n; i++) bytes[i] = (unsigned char)(value[i] * (float)ft_ranks() + 0.5f);
    return FT_OK;
}

/* Nodes of a recording on several queues: where they stand among the others. */
static int before_node(ft_plan *p, ft_node *n)
{
    const ft_device *d = p->backend->device;
    d->queue(n->queue);
    if (n->queue > 0) n->call.work = p->device.side[n->queue - 1];
    for (int k = 0; k < n->n_follow; k++) FT_TRY(d->follow(n->follow[k]));
    return FT_OK;
}
static int all_queues(const ft_plan *p) /* the first goes on when all have ended */
{
    p->backend->device->queue(0);
    for (int k = 1; k < p->device.queues; k++) FT_TRY(p->backend->device->follow(p->device.last[k]));
    return FT_OK;
}

/* failed: the node after which recording did not hold any more, or NULL */
static int list(ft_plan *p, bool recording, const ft_node **failed)
{
    const ft_device *d = p->backend->device;
    const ft_graph *g = p->g;
    float *gradients = p->buckets ? ft__params_there(g->params)->grad : NULL;
    bool queues = recording && p->device.queues > 1;
    int sent = 0;
    if (queues) FT_TRY(d->signal(0));
    for (int i = 0; i < g->n_node; i++) {
        ft_node *n = g->node[i];
        if (n->dead) continue;
        n->call.step = (const ft_step *)p->device.inputs;
        n->call.work = p->work;
        if (queues) FT_TRY(before_node(p, n));
        double start = p->profile ? ft_now() : 0;
        if (p->guard) FT_TRY(guarded(p, n, i));
        else p->backend->kernel[n->op](&n->call);
        if (p->profile) {
            FT_TRY(d->mark(0));
            FT_TRY(d->wait(0));
            n->seconds += ft_now() - start;
        }
        if (recording && !d->record_holds()) {
            *failed = n;
            return FT_OK;
        }
        if (queues && n->signal >= 0) FT_TRY(d->signal(n->signal));
        for (; sent < p->buckets && p->bucket[sent].ready <= i; sent++)
            FT_TRY(d->mean(gradients + p->bucket[sent].offset, p->bucket[sent].count));
    }
    return queues ? all_queues(p) : FT_OK;
}

static int record(ft_plan *p)
{
    const ft_device *d = p->backend->device;
    const ft_node *failed = NULL;
    FT_TRY(d->record_begin(p->device.queues, p->device.signals));
    int rc = list(p, true, &failed), end = d->record_end(&p->device.recording);
    if (rc == FT_OK && end == FT_OK) return FT_OK;
    if (p->device.queues > 1) { /* the next run tries what every device knows */
        ft_log("the step is not recorded on %d streams, but on one: %s", p->device.queues, ft_error_message());
        d->record_free(p->device.recording);
        (void)d->check(); /* of calls that failed, nothing is left */
        p->device.recording = NULL;
        p->device.queues = 1;
        return FT_OK;
    }
    if (rc < 0) return rc;
    p->device.never_record = true;
    ft_log("the step is not recorded, it goes on op by op: %s%s%s", failed ? ft__op_name(failed->op) : ft_error_message(),
           failed ? ": " : "", failed ? ft_error_message() : "");
    return FT_OK;
}

static int push_stores(ft_plan *p, bool changed)
{
    ft_graph *g = p->g;
    FT_TRY(ft__params_push(g->params, p->bank));
    for (int i = 0; i < p->device.n_foreign; i++)
        FT_TRY(ft__params_push(p->device.foreign[i]->store, p->device.foreign[i]->average ? FT_EMA : FT_WEIGHTS));
    if (!changed) return FT_OK;
    for (int i = 0; i < g->n_node; i++) {
        ft_node *n = g->node[i];
        if (!n->dead && n->call.repack && !n->call.weights_move) n->call.repack(&n->call);
    }
    return FT_OK;
}

static int copy_out(ft_plan *p, int slot)
{
    for (int i = 0; i < p->device.n_result; i++) {
        ft_t t = p->device.result[i];
        FT_TRY(p->backend->device->copy_out(p->device.out[slot] + t->result_at, t->data, bytes_of(t)));
    }
    return p->backend->device->mark(slot);
}

/* The step and the inputs. Those of a sampler are the same in all of its steps. */
static int send(ft_plan *p, int slot, const ft_step *step)
{
    ft_device_part *m = &p->device;
    const ft_step *last = m->sent >= 0 ? (const ft_step *)m->in[m->sent] : NULL;
    bool same = last && last->seed == step->seed && last->step == step->step && last->lr == step->lr && last->ema == step->ema &&
                last->rank == step->rank;
    for (int i = 0; same && i < m->n_input; i++)
        same = !memcmp(m->in[m->sent] + ((char *)m->input[i]->data - m->inputs), m->input[i]->host, bytes_of(m->input[i]));
    if (same) return FT_OK;
    m->sent = slot;
    memcpy(m->in[slot], step, sizeof *step);
    for (int i = 0; i < m->n_input; i++)
        memcpy(m->in[slot] + ((char *)m->input[i]->data - m->inputs), m->input[i]->host, bytes_of(m->input[i]));
    return p->backend->device->copy_in(m->inputs, m->in[slot], m->inputs_size);
}

int ft__device_run(ft_plan *p, const ft_step *step)
{
    const ft_device *d = p->backend->device;
    ft_device_part *m = &p->device;
    int slot = (int)(p->runs % FT_LAG);
    uint64_t version = ft__version(p);
    const ft_node *failed = NULL;
    if (p->buckets) FT_TRY(d->join(ft_this_rank(), ft_ranks(), share));
    FT_TRY(push_stores(p, version != p->packed));
    p->packed = version;
    if (p->runs >= FT_LAG) FT_TRY(d->wait(slot)); /* its pinned memory is free again */
    FT_TRY(send(p, slot, step));
    if (p->guard && d->forbid) {
        FT_TRY(d->mark(slot));
        FT_TRY(d->wait(slot)); /* what was begun before may touch it all */
        d->forbid(p->slab, p->slab_size);
    }
    if (!m->recording && !m->never_record && p->runs >= RUNS_BEFORE_RECORDING) FT_TRY(record(p));
    int rc = m->recording ? d->replay(m->recording) : list(p, false, &failed);
    if (p->guard && d->allow) d->allow(p->slab, p->slab_size);
    FT_TRY(rc);
    FT_TRY(copy_out(p, slot));
    p->runs++;
    if (p->writes) ft__params_written(p->g->params, p->writes);
    for (int i = 0; i < m->n_foreign; i++)
        if (m->foreign[i]->assigned) ft__params_written(m->foreign[i]->store, 1u << FT_ARRAY_WEIGHTS);
    return d->check();
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

int ft_plan_lag(const ft_plan *p) { return p->backend->device ? FT_LAG - 1 : 0; }

static const void *result(const ft_plan *p, ft_t t, int64_t run)
{
    int slot = (int)(run % FT_LAG);
    if (p->backend->device->wait(slot) < 0) return NULL;
    return p->device.out[slot] + t->result_at;
}

const void *ft_data_late(ft_t t, int ago)
{
    const ft_plan *p = t->graph->plan;
    if (!p || !p->backend->device) return ft_data(t);
    ft_t o = ft__owner(t);
    FT_ASSERT(o->result_at != SIZE_MAX && ago >= 0 && ago < FT_LAG && ago < p->runs);
    const char *r = result(p, o, p->runs - 1 - ago);
    return r ? r + ft__distance(t) : NULL;
}

static void *fetch(ft_plan *p, ft_t t)
{
    const ft_device *d = p->backend->device;
    if (!t->host && !(t->host = ft_arena_alloc(p->g->arena, bytes_of(t)))) return NULL;
    if (t->fetched == p->runs) return t->host;
    t->fetched = p->runs;
    if (t->result_at != SIZE_MAX && p->runs > 0) {
        const void *from = result(p, t, p->runs - 1);
        if (!from) return NULL;
        memcpy(t->host, from, bytes_of(t));
    } else if (d->download(t->host, t->data, bytes_of(t)) < 0) return NULL;
    return t->host;
}

/* A device that fails here makes no result; the next run or check says why, so the reader gets zeros, not an address of nothing.
 */
void *ft__device_data(ft_t t)
{
    ft_plan *p = t->graph->plan;
    ft_t o = ft__owner(t);
    FT_ASSERT(!ft__on_slab(o) || o->first < 0 || o->last == p->g->n_node); /* kept: else another tensor may lie there by now */
    if (!p->backend->device) return t->data;
    size_t shift = ft__distance(t);
    if (is_leaf(o)) return (char *)o->host + shift;
    if (o->kind == FT_IS_PARAM)
        return (char *)(ft_params_flat(o->store, o->average                 ? FT_EMA
                                                 : o->store == p->g->params ? p->bank
                                                                            : FT_WEIGHTS) +
                        ft_params_at(o->store, o->param)->offset) +
               shift;
    if (o->kind == FT_IS_GRAD)
        return (char *)(ft_params_grad(p->g->params) + ft_params_at(p->g->params, (int)o->offset)->offset) + shift;
    if (!o->data) return NULL;
    char *base = fetch(p, o);
    if (!base) {
        if (!o->host) return NULL;
        memset(o->host, 0, bytes_of(o));
        base = o->host;
    }
    return base + shift;
}
