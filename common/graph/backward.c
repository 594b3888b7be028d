/* The walk that turns a loss into gradient nodes, and recompute.
 *
 * Nodes are visited from last to first; each node's rule (op_grad.c) gives the gradients of its inputs. Three things happen
 * outside the rules, each in one place:
 *   - `accumulate` adds gradients; nothing else does. Where the op that made the later one can add the earlier one as it writes,
 * it does (linear: beta = 1), so most sums are no node of their own.
 *   - Gradients of slices of one tensor wait as `parts` until the tensor's maker is visited, then become one concat if they
 *     tile it: four slices cost one pass, not four paddings and three sums.
 *   - A region marked by ft_remat_begin/end is cloned when the walk reaches its end; the rules see the clone, so the first
 *     copy's tensors die in the forward pass. Clones draw the same random numbers and leave running statistics alone. */
#include <string.h>

#include "common/base/memory.h"
#include "common/graph/layers.h"
#include "common/graph/op_grad.h"
#include "common/graph/plan.h"

struct ft_part {
    int axis;
    int64_t start;
    ft_t d;
    struct ft_part *next;
};

struct ft_region {
    int first_node, end_node, first_tensor, end_tensor; /* end_node < 0: still open */
    struct ft_region *next;
};

typedef void grad_rule(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din);

#define RULE_GRAD(name)             ft_grad_##name
#define RULE_NOGRAD_BACKWARD(name)  NULL /* a fused backward kernel: differentiated once only */
#define RULE_NOGRAD_NO_INPUT(name)  NULL /* nothing flows in */
#define RULE_NOGRAD_DATA(name)      NULL /* its input is data */
#define RULE_NOGRAD_INTEGER(name)   NULL /* piecewise constant */
#define RULE_NOGRAD_OPTIMISER(name) NULL /* after the gradients */
#define RULE_NOGRAD_FROZEN(name)    NULL /* only frozen networks use it */
#define RULE_NOGRAD_STATE(name)     NULL /* nothing comes out */

static grad_rule *const rules[] = {
#define OP(name, grad, prep, place, dev) RULE_##grad(name),
    FT_OP_TABLE(OP)
#undef OP
};

/* The input that a backward op adds to its first output; 0: it adds nothing. */
static int addend_of(ft_op op)
{
    switch (op) {
        case FT_OP_linear_bwd_x: return 2;
        case FT_OP_layernorm_bwd: return 7;
        default: return 0;
    }
}

/* The node that made d, if it can add what is there already: nobody else reads d, and `sum` was made before it. */
static ft_node *can_add(const ft_graph *g, ft_t d, ft_t sum)
{
    ft_t from = ft__owner(d), with = ft__owner(sum);
    ft_node *n = from->maker;
    int at = n ? addend_of(n->op) : 0;
    if (!at || from != n->out[0] || from->given || from->count != d->count || from->dtype != sum->dtype || from == with)
        return NULL;
    if ((n->n_in > at && n->in[at]) || (with->maker && with->maker->id >= n->id) || (!with->maker && with->id > from->id))
        return NULL;
    for (int i = n->id + 1; i < g->n_node; i++)
        for (int k = 0; k < g->node[i]->n_in; k++)
            if (g->node[i]->in[k] && ft__owner(g->node[i]->in[k]) == from) return NULL;
    return n;
}

static void accumulate(ft_graph *g, ft_t t, ft_t d)
{
    if (g->failed || !t->needs_grad) return;
    ft_node *n = t->grad ? can_add(g, d, t->grad) : NULL;
    if (n) {
        while (n->n_in <= addend_of(n->op)) n->in[n->n_in++] = NULL;
        n->in[addend_of(n->op)] = t->grad;
        ft__owner(d)->needs_grad |= t->grad->needs_grad;
        d->needs_grad |= t->grad->needs_grad;
        t->grad = d;
    } else t->grad = t->grad ? ft_add(g, t->grad, d) : d;
    ft__owner(t->grad)->given++;
}

void ft__part(ft_graph *g, ft_t x, int axis, int64_t start, ft_t dy)
{
    if (g->failed || !x->needs_grad) return;
    struct ft_part *p = ft_arena_alloc(g->arena, sizeof *p), **at = &x->parts;
    if (!p) {
        ft__fail(g, "slice", "no memory");
        return;
    }
    while (*at && (*at)->start <= start) at = &(*at)->next; /* in order of start */
    *p = (struct ft_part){axis, start, dy, *at};
    *at = p;
    ft__owner(dy)->given++;
}

enum { MAX_PARTS = 1024 };

/* Puts a tensor's gradient together when no more can come: parts first; a view hands it to what it looks at. */
static void settle(ft_graph *g, ft_t t)
{
    if (g->failed) return;
    struct ft_part *parts = t->parts;
    ft_t whole[MAX_PARTS];
    int n = 0;
    int64_t end = 0;
    bool tiles = parts != NULL;
    for (struct ft_part *p = parts; p && tiles; p = p->next) {
        tiles = p->axis == parts->axis && p->start == end && n < MAX_PARTS;
        if (tiles) whole[n++] = p->d;
        end = p->start + p->d->dim[p->axis];
    }
    t->parts = NULL;
    if (tiles && end == t->dim[parts->axis]) accumulate(g, t, ft_join(g, parts->axis, n, whole));
    else
        for (struct ft_part *p = parts; p; p = p->next)
            accumulate(g, t, ft_pad(g, p->d, p->axis, p->start, t->dim[p->axis] - p->start - p->d->dim[p->axis]));
    if (t->base == t || !t->grad) return;
    if (!t->base->needs_grad) return;
    ft__owner(t->grad)->given--; /* handed on whole */
    accumulate(g, t->base, ft_reshape(g, t->grad, t->base->ndim, t->base->dim));
}

static void visit(ft_graph *g, ft_node *n)
{
    ft_t dy[FT_MAX_OUT] = {0}, din[FT_MAX_IN] = {0};
    bool any = false;
    for (int k = 0; k < n->n_out; k++)
        if (n->out[k] && n->out[k]->needs_grad && n->out[k]->grad) dy[k] = n->out[k]->grad, any = true;
    if (!any) return;
    if (!rules[n->op]) {
        ft__fail(g, ft__op_name(n->op), "has no gradient, yet one is asked for through %s", ft__shape(n->out[0]));
        return;
    }
    rules[n->op](g, n, dy, din);
    for (int k = 0; k < n->n_in; k++)
        if (din[k] && n->in[k]) accumulate(g, n->in[k], din[k]);
}

static struct ft_region *region_at(const ft_graph *g, int node)
{
    for (struct ft_region *r = g->regions; r; r = r->next)
        if (node >= r->first_node && node < r->end_node) return r;
    return NULL;
}

static void walk(ft_graph *g, int first_node, int end_node, int first_tensor, int end_tensor, bool again);

/* The copy of a tensor of region r, made on demand for views; tensors from outside and leaves are themselves. */
static ft_t copy_of(ft_graph *g, const struct ft_region *r, ft_t *copy, ft_t t)
{
    if (!t || t->id < r->first_tensor || t->id >= r->end_tensor) return t;
    if (!copy[t->id - r->first_tensor] && t->base != t && t->kind == FT_IS_ACT) {
        ft_t base = copy_of(g, r, copy, t->base);
        ft_t v = base == t->base ? t : ft_reshape(g, base, t->ndim, t->dim);
        v->needs_grad = t->needs_grad;
        copy[t->id - r->first_tensor] = v;
    }
    ft_t c = copy[t->id - r->first_tensor];
    return c ? c : t;
}

static void recompute(ft_graph *g, const struct ft_region *r)
{
    int first_tensor = g->n_tensor, first_node = g->n_node, n = r->end_tensor - r->first_tensor;
    ft_t *copy = ft_arena_alloc(g->arena, sizeof *copy * (size_t)(n + 1));
    if (!copy) {
        ft__fail(g, "remat", "no memory");
        return;
    }
    memset(copy, 0, sizeof *copy * (size_t)(n + 1));
    for (int i = r->first_node; i < r->end_node && !g->failed; i++) {
        const ft_node *from = g->node[i];
        ft_t in[FT_MAX_IN];
        for (int k = 0; k < from->n_in; k++) in[k] = copy_of(g, r, copy, from->in[k]);
        ft_node *to = ft__node(g, from->op, from->n_in, in);
        if (!to) return;
        to->attr = from->attr;
        to->stream = from->stream;
        if (to->op == FT_OP_batchnorm) to->attr.norm.momentum = 0;
        for (int k = 0; k < from->n_out; k++) {
            ft_t o = from->out[k];
            if (!o) {
                to->out[to->n_out++] = NULL;
                continue;
            }
            ft_t c = ft__out(g, to, o->dtype, o->ndim, o->dim);
            c->needs_grad = o->needs_grad;
            copy[o->id - r->first_tensor] = c;
        }
    }
    for (int i = 0; i < n && !g->failed; i++) { /* gradients that came from behind the region move to the copies */
        ft_t t = g->tensor[r->first_tensor + i];
        if (!t->grad && !t->parts) continue;
        ft_t c = copy_of(g, r, copy, t);
        if (c == t) continue;
        c->grad = t->grad;
        c->parts = t->parts;
        t->grad = NULL;
        t->parts = NULL;
    }
    if (!g->failed) walk(g, first_node, g->n_node, first_tensor, g->n_tensor, true);
}

static bool reached(const ft_graph *g, const struct ft_region *r)
{
    for (int i = r->first_tensor; i < r->end_tensor; i++)
        if (g->tensor[i]->grad || g->tensor[i]->parts) return true;
    return false;
}

/* Visits the nodes [first, end) backwards. Tensors are settled in the order opposite to their making, so a view is settled
 * before the node that made what it looks at is visited. */
static void walk(ft_graph *g, int first_node, int end_node, int first_tensor, int end_tensor, bool again)
{
    int t = end_tensor - 1;
    for (int i = end_node - 1; i >= first_node && !g->failed; i--) {
        struct ft_region *r = again ? NULL : region_at(g, i);
        int made = r ? r->end_tensor - 1 : i;
        if (!r) { /* down to the last tensor that this node made */
            const ft_node *n = g->node[i];
            if (n->n_out == 0) continue; /* ft_assign: nothing comes out, and what was made before it is not complete yet */
            made = -1;
            for (int k = 0; k < n->n_out; k++)
                if (n->out[k] && n->out[k]->id > made) made = n->out[k]->id;
        }
        for (; t > made && t >= first_tensor; t--)
            if (g->tensor[t]->kind == FT_IS_ACT) settle(g, g->tensor[t]);
        if (r) {
            if (reached(g, r)) recompute(g, r);
            i = r->first_node;
            continue;
        }
        const ft_node *n = g->node[i];
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k]) settle(g, n->out[k]);
        visit(g, g->node[i]);
    }
    for (; t >= first_tensor && !g->failed; t--)
        if (g->tensor[t]->kind == FT_IS_ACT) settle(g, g->tensor[t]);
}

/* the gradient of a scalar by itself */
static ft_t one_like(ft_graph *g, ft_t loss)
{
    if (g->failed) return &g->dead;
    if (loss->count != 1) return ft__fail(g, "backward", "%s is not a scalar", ft__shape(loss));
    return ft_cast(g, ft_const(g, FT_F32, loss->ndim, loss->dim, (float[]){1.0f}), loss->dtype);
}

static bool start(ft_graph *g, ft_t y, ft_t dy)
{
    if (!g->failed && !y->needs_grad) ft__fail(g, "backward", "%s does not depend on parameters", ft__shape(y));
    if (!g->failed && (dy->count != y->count || dy->dtype != y->dtype))
        ft__fail(g, "backward", "%s as the gradient of %s", ft__shape(dy), ft__shape(y));
    if (!g->failed) accumulate(g, y, dy);
    return !g->failed;
}

static void settle_leaves(ft_graph *g, int tensors)
{
    for (int i = 0; i < tensors && !g->failed; i++)
        if (g->tensor[i]->kind != FT_IS_ACT) settle(g, g->tensor[i]);
}

void ft_backward(ft_graph *g, ft_t loss) { ft_backward_from(g, loss, one_like(g, loss)); }

/* Gradients of parameters get a fixed place: a node of their own writes it; later ones are added there. Those of inputs are
 * tensors like others. */
static void land(ft_graph *g, ft_t t)
{
    ft_t d = t->grad;
    if (t->param < 0) {
        t->landed = t->landed ? ft_add(g, t->landed, d) : d;
        return;
    }
    while (d->base != d && d->base->count == d->count) d = d->base; /* a reshaped weight's: where it was made */
    bool shared = d->base != d || !d->maker || d->kind == FT_IS_GRAD;
    if (d->dtype != FT_F32) d = ft_cast(g, d, FT_F32);
    else if (shared && !t->landed) d = ft_affine(g, d, 1, 0);
    if (t->landed) d = ft_add(g, ft_reshape(g, t->landed, d->ndim, d->dim), d);
    if (g->failed) return;
    d->kind = FT_IS_GRAD;
    d->param = -1;
    d->offset = (size_t)t->param; /* plan.c turns the parameter index into an address */
    t->landed = d;
}

void ft_backward_from(ft_graph *g, ft_t y, ft_t dy)
{
    int nodes = g->n_node, tensors = g->n_tensor;
    if (!start(g, y, dy)) return;
    walk(g, 0, nodes, 0, tensors, false);
    settle_leaves(g, tensors);
    for (int i = 0; i < tensors; i++)
        if (g->tensor[i]->kind != FT_IS_ACT && g->tensor[i]->grad && !g->failed) land(g, g->tensor[i]);
    for (int i = 0; i < g->n_tensor; i++) g->tensor[i]->grad = NULL, g->tensor[i]->parts = NULL; /* the next walk is another */
}

void ft_ground(ft_graph *g)
{
    for (int i = 0, n = g->n_tensor; i < n && !g->failed; i++) {
        ft_t t = g->tensor[i];
        if (t->kind != FT_IS_PARAM || t->base != t || t->landed || !t->needs_grad || t->store != g->params) continue;
        t->grad = ft_affine(g, t, 0, 0);
        land(g, t);
        t->grad = NULL;
    }
}

ft_t ft_grad(ft_graph *g, ft_t t)
{
    (void)g;
    while (t->base != t) t = t->base;
    return t->landed ? t->landed : t->grad;
}

void ft_need_grad(ft_t t) { t->needs_grad = true; }

static bool feeds(const ft_node *n)
{
    for (int k = 0; k < n->n_in; k++)
        if (n->in[k] && n->in[k]->needs_grad) return true;
    return false;
}

/* From tensor `from` on: what depends on something that needs a gradient needs one. */
static void spread(ft_graph *g, int from)
{
    for (int i = from; i < g->n_tensor; i++) {
        ft_t t = g->tensor[i];
        if (t->maker) t->needs_grad = feeds(t->maker);
        else if (t->base != t) t->needs_grad = t->base->needs_grad;
    }
}

ft_t ft_gradient(ft_graph *g, ft_t y, ft_t x)
{
    if (g->failed) return &g->dead;
    int nodes = g->n_node, tensors = g->n_tensor;
    bool *needed = ft_arena_alloc(g->arena, sizeof *needed * (size_t)tensors);
    if (!needed) return ft__fail(g, "gradient", "no memory");
    for (int i = 0; i < tensors; i++) { /* for this walk only what lies between x and y counts */
        ft_t t = g->tensor[i];
        needed[i] = t->needs_grad;
        if (t == x) t->needs_grad = true;
        else if (t->maker) t->needs_grad = needed[i] && feeds(t->maker);
        else if (t->base != t) t->needs_grad = needed[i] && t->base->needs_grad;
        else t->needs_grad = false;
    }
    ft_t d = NULL;
    if (!y->needs_grad) d = ft__fail(g, "gradient", "%s does not depend on %s", ft__shape(y), ft__shape(x));
    else if (start(g, y, one_like(g, y))) {
        walk(g, 0, nodes, 0, tensors, false);
        if (x->base == x) settle(g, x);
        d = x->grad;
    }
    for (int i = 0; i < tensors; i++) g->tensor[i]->needs_grad = needed[i], g->tensor[i]->grad = NULL, g->tensor[i]->parts = NULL;
    spread(g, tensors);
    return g->failed ? &g->dead : d;
}

void ft_remat_begin(ft_graph *g)
{
    if (g->failed) return;
    if (g->regions && g->regions->end_node < 0) {
        ft__fail(g, "remat", "a region inside a region");
        return;
    }
    struct ft_region *r = ft_arena_alloc(g->arena, sizeof *r);
    if (!r) {
        ft__fail(g, "remat", "no memory");
        return;
    }
    *r = (struct ft_region){g->n_node, -1, g->n_tensor, -1, g->regions};
    g->regions = r;
}

void ft_remat_end(ft_graph *g)
{
    if (g->failed) return;
    if (!g->regions || g->regions->end_node >= 0) {
        ft__fail(g, "remat", "an end without a beginning");
        return;
    }
    g->regions->end_node = g->n_node;
    g->regions->end_tensor = g->n_tensor;
}
