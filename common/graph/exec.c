/* Running a plan on the host: a loop over the list. */
#include <string.h>

#include "common/base/context.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/graph/plan.h"

/* of the parameters that packed copies are kept of */
uint64_t ft__version(const ft_plan *p)
{
    const ft_graph *g = p->g;
    const ft_store *own = ft__params_store(g->params);
    /* of its own store a training plan keeps packed what it does not train: that changes only from outside */
    uint64_t version = p->writes >> FT_ARRAY_M & 1 ? own->touched : own->version;
    if (g->borrows) /* versions only grow, so their sum tells whether any has */
        for (int i = 0; i < g->n_tensor; i++)
            if (g->tensor[i]->store && g->tensor[i]->store != g->params)
                version += ft__params_store(g->tensor[i]->store)->version;
    return version;
}

/* ---- guards: FT_PLAN_GUARD=1 -------------------------------------------------------------------------------------------- */

static int spoil(const ft_plan *p, void *at, size_t n) /* with NaN */
{
    if (p->backend->device) return p->backend->device->fill(at, 0xFF, n);
    memset(at, 0xFF, n);
    return FT_OK;
}

static int holds(const ft_plan *p, const char *band, unsigned char byte, bool *whole)
{
    unsigned char here[FT_GUARD];
    if (p->backend->device) FT_TRY(p->backend->device->download(here, band, FT_GUARD));
    else memcpy(here, band, FT_GUARD);
    *whole = true;
    for (int i = 0; i < FT_GUARD; i++) *whole = *whole && here[i] == byte;
    return FT_OK;
}

int ft__guard_before(const ft_plan *p, const ft_node *n)
{
    for (int k = 0; k < n->n_out; k++)
        if (n->out[k] && ft__on_slab(ft__owner(n->out[k]))) FT_TRY(spoil(p, n->out[k]->data, ft__bytes(n->out[k])));
    return spoil(p, p->work, p->work_size + FT_GUARD);
}

int ft__guard_after(const ft_plan *p, const ft_node *n, int at)
{
    const ft_device *d = p->backend->device;
    bool whole;
    FT_TRY(holds(p, p->work + n->call.work_size, 0xFF, &whole));
    if (!whole) return FT_FAIL(FT_EGRAPH, "%s wrote behind its %zu bytes of scratch", ft__op_name(n->op), n->call.work_size);
    for (int k = 0; k < n->n_out; k++) {
        ft_t t = n->out[k] ? ft__owner(n->out[k]) : NULL;
        if (!t || !ft__on_slab(t)) continue;
        char *band[] = {p->slab + t->offset - FT_GUARD, p->slab + t->offset + ft__bytes(t)};
        for (int i = 0; i < 2; i++) {
            if (d && d->allow) d->allow(band[i], FT_GUARD);
            FT_TRY(holds(p, band[i], ft__guard_byte, &whole));
            if (d && d->forbid) d->forbid(band[i], FT_GUARD);
            if (!whole)
                return FT_FAIL(FT_EGRAPH, "%s wrote outside its output %d, %s", ft__op_name(n->op), k, ft__shape(n->out[k]));
        }
    }
    for (int k = 0; k < n->n_in; k++) {
        ft_t t = n->in[k] ? ft__owner(n->in[k]) : NULL;
        if (t && ft__on_slab(t) && t->last == at) FT_TRY(spoil(p, t->data, ft__bytes(t)));
    }
    return FT_OK;
}

/* ---- the list ----------------------------------------------------------------------------------------------------------- */

static int run_here(ft_plan *p, const ft_step *step)
{
    ft_graph *g = p->g;
    uint64_t version = ft__version(p);
    bool changed = version != p->packed;
    p->packed = version;
    p->runs++;
    float *gradients = p->buckets ? ft_params_grad(g->params) : NULL;
    int sent = 0;
    ft_threads_adapt();
    for (int i = 0; i < g->n_node; i++) {
        ft_node *n = g->node[i];
        if (n->dead) continue;
        n->call.step = step;
        n->call.work = p->work;
        n->call.weights_changed = changed;
        if (p->guard) FT_TRY(ft__guard_before(p, n));
        if (p->buckets && n->op == FT_OP_grad_norm) FT_TRY(ft_mean_wait());
        double start = p->profile ? ft_now() : 0;
        p->backend->kernel[n->op](&n->call);
        if (p->profile) n->seconds += ft_now() - start;
        for (; sent < p->buckets && p->bucket[sent].ready <= i; sent++)
            ft_mean_begin(gradients + p->bucket[sent].offset, p->bucket[sent].count);
        if (p->guard) FT_TRY(ft__guard_after(p, n, i));
    }
    return FT_OK;
}

int ft_run(ft_plan *p, const ft_step *step)
{
    ft_context *before = ft_context_enter(p->g->context ? p->g->context : ft_context_entered());
    int rc = p->backend->device ? ft__device_run(p, step) : run_here(p, step);
    ft_context_enter(before);
    return rc;
}
