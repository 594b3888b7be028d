/* Running a plan on the host: a loop over the list. */
#include <string.h>

#include "common/base/log.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
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

/* a guard band, to the host */
static int read_guard(const ft_device *d, unsigned char *to, char *band)
{
    if (!d) {
        memcpy(to, band, FT_GUARD);
        return FT_OK;
    }
    if (d->allow) d->allow(band, FT_GUARD);
    FT_TRY(d->download(to, band, FT_GUARD));
    if (d->forbid) d->forbid(band, FT_GUARD);
    return FT_OK;
}

int ft__check_guards(const ft_plan *p, const ft_node *n)
{
    unsigned char band[2 * FT_GUARD];
    for (int k = 0; k < n->n_out; k++) {
        ft_t t = n->out[k] ? ft__owner(n->out[k]) : NULL;
        if (!t || !ft__on_slab(t)) continue;
        FT_TRY(read_guard(p->backend->device, band, p->slab + t->offset - FT_GUARD));
        FT_TRY(read_guard(p->backend->device, band + FT_GUARD, p->slab + t->offset + ft__bytes(t)));
        for (int i = 0; i < 2 * FT_GUARD; i++)
            if (band[i] != ft__guard_byte)
                return FT_FAIL(FT_EGRAPH, "%s wrote outside its output %d, %s", ft__op_name(n->op), k, ft__shape(n->out[k]));
    }
    return FT_OK;
}

int ft_run(ft_plan *p, const ft_step *step)
{
    if (p->backend->device) return ft__device_run(p, step);
    ft_graph *g = p->g;
    uint64_t version = ft__version(p);
    bool changed = version != p->packed;
    p->packed = version;
    p->runs++;
    float *gradients = p->buckets ? ft_params_grad(g->params) : NULL;
    int sent = 0;
    for (int i = 0; i < g->n_node; i++) {
        ft_node *n = g->node[i];
        if (n->dead) continue;
        n->call.step = step;
        n->call.work = p->work;
        n->call.weights_changed = changed;
        if (p->guard)
            for (int k = 0; k < n->n_out; k++)
                if (n->out[k] && ft__on_slab(ft__owner(n->out[k]))) memset(n->out[k]->data, 0xFF, ft__bytes(n->out[k])); /* NaN */
        if (p->buckets && n->op == FT_OP_grad_norm) FT_TRY(ft_mean_wait());
        double start = p->profile ? ft_now() : 0;
        p->backend->kernel[n->op](&n->call);
        if (p->profile) n->seconds += ft_now() - start;
        for (; sent < p->buckets && p->bucket[sent].ready <= i; sent++)
            ft_mean_begin(gradients + p->bucket[sent].offset, p->bucket[sent].count);
        if (!p->guard) continue;
        FT_TRY(ft__check_guards(p, n));
        for (int k = 0; k < n->n_in; k++) {
            ft_t t = n->in[k] ? ft__owner(n->in[k]) : NULL;
            if (t && ft__on_slab(t) && t->last == i) memset(t->data, 0xFF, ft__bytes(t));
        }
    }
    return FT_OK;
}
