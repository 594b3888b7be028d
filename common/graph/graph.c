/* Tensors, nodes and leaves: the recording half of the core. */
#include "common/graph/graph.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/context.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/layers.h"
#include "common/graph/node.h"

ft_graph *ft_graph_new(ft_params *params, ft_dtype compute, uint32_t stream)
{
    ft_graph *g = ft_alloc(sizeof *g);
    if (!g || !(g->arena = ft_arena_new())) {
        ft_free(g);
        return NULL;
    }
    g->context = ft_context_entered();
    g->params = params;
    g->compute = compute;
    g->stream = stream;
    g->training = true;
    /* what builders get behind an error: whatever dimension they ask for is there, and may be divided by */
    g->dead = (ft_tensor){.graph = g, .base = &g->dead, .ndim = FT_MAX_DIMS, .count = 1, .param = -1};
    for (int i = 0; i < FT_MAX_DIMS; i++) g->dead.dim[i] = 1;
    return g;
}

void ft_graph_free(ft_graph *g)
{
    if (!g) return;
    for (int i = 0; i < g->n_node; i++)
        if (g->node[i]->call.free_state) g->node[i]->call.free_state(g->node[i]->call.state);
    ft_free(g->tensor);
    ft_free(g->node);
    ft_arena_free(g->arena);
    ft_free(g);
}

ft_dtype ft_compute(const ft_graph *g) { return g->compute; }
const ft_params *ft_store_of(const ft_graph *g) { return g->lender ? g->lender : g->params; }
void ft_training(ft_graph *g, bool training) { g->training = training; }
bool ft_is_training(const ft_graph *g) { return g->training && !g->lender; }
const char *ft_graph_error(const ft_graph *g) { return g->failed ? g->error : NULL; }
int ft_ndim(ft_t t) { return t->ndim; }
int64_t ft_dim(ft_t t, int axis) { return t->dim[axis < 0 ? axis + t->ndim : axis]; }
int64_t ft_count(ft_t t) { return t->count; }
ft_dtype ft_dtype_of(ft_t t) { return t->dtype; }
size_t ft_dtype_size(ft_dtype d) { return d == FT_U8 ? 1 : d == FT_BF16 ? 2 : 4; }
void *ft_data(ft_t t) { return t->graph && t->graph->plan ? ft__device_data(t) : t->data; }

const char *ft__shape(ft_t t)
{
    static _Thread_local char ring[8][96];
    static _Thread_local int turn;
    char *s = ring[turn++ % 8];
    int n = snprintf(s, sizeof ring[0], "(");
    for (int i = 0; i < t->ndim; i++)
        n += snprintf(s + n, sizeof ring[0] - (size_t)n, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    snprintf(s + n, sizeof ring[0] - (size_t)n, ") %s", (const char *const[]){"f32", "bf16", "i32", "u8"}[t->dtype]);
    return s;
}

const char *ft__op_name(ft_op op)
{
    static const char *const names[] = {
#define OP(name, grad, prep, place, dev) #name,
        FT_OP_TABLE(OP)
#undef OP
    };
    return names[op];
}

static ft_t fail(ft_graph *g, const char *op, const char *format, va_list args)
{
    if (!g->failed) { /* the first error is the cause, later ones follow from it */
        g->failed = true;
        int n = op ? snprintf(g->error, sizeof g->error, "%s: ", op) : 0;
        vsnprintf(g->error + n, sizeof g->error - (size_t)n, format, args);
    }
    return &g->dead;
}

ft_t ft__fail(ft_graph *g, const char *op, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ft_t t = fail(g, op, format, args);
    va_end(args);
    return t;
}

ft_t ft_graph_fail(ft_graph *g, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    ft_t t = fail(g, NULL, format, args);
    va_end(args);
    return t;
}

static ft_t tensor(ft_graph *g, ft_tensor_kind kind, ft_dtype dtype, int ndim, const int64_t *dim)
{
    if (g->failed) return &g->dead;
    if (ndim < 1 || ndim > FT_MAX_DIMS) return ft__fail(g, "tensor", "%d dims, 1 to %d are possible", ndim, FT_MAX_DIMS);
    ft_tensor *t = ft_arena_alloc(g->arena, sizeof *t);
    if (!t || ft_grow(&g->tensor, (size_t)g->n_tensor, sizeof *g->tensor) < 0) return ft__fail(g, "tensor", "no memory");
    *t = (ft_tensor){
        .graph = g, .kind = kind, .dtype = dtype, .ndim = ndim, .count = 1, .base = t, .param = -1, .id = g->n_tensor};
    for (int i = 0; i < ndim; i++) {
        if (dim[i] < 1) return ft__fail(g, "tensor", "dim %d is %lld", i, (long long)dim[i]);
        t->count *= t->dim[i] = dim[i];
    }
    g->tensor[g->n_tensor++] = t;
    return t;
}

ft_node *ft__node(ft_graph *g, ft_op op, int n_in, const ft_t *in)
{
    if (g->failed) return NULL;
    ft_node *n = ft_arena_alloc(g->arena, sizeof *n);
    if (!n || ft_grow(&g->node, (size_t)g->n_node, sizeof *g->node) < 0) {
        ft__fail(g, ft__op_name(op), "no memory");
        return NULL;
    }
    for (int i = 0; i < n_in; i++)
        if (in[i] && in[i]->dtype == FT_U8 && op != FT_OP_augment) {
            ft__fail(g, ft__op_name(op), "u8 is read by augment alone");
            return NULL;
        }
    n->op = op;
    n->n_in = n_in;
    n->id = g->n_node;
    n->stream = g->stream * 65536u + (uint32_t)g->n_node;
    for (int i = 0; i < n_in; i++) n->in[i] = in[i];
    g->node[g->n_node++] = n;
    return n;
}

ft_t ft__out(ft_graph *g, ft_node *n, ft_dtype dtype, int ndim, const int64_t *dim)
{
    if (!n) return &g->dead;
    ft_t t = tensor(g, FT_IS_ACT, dtype, ndim, dim);
    t->maker = n;
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] && n->in[i]->needs_grad) t->needs_grad = true;
    n->out[n->n_out++] = t;
    return t;
}

ft_t ft__out_like(ft_graph *g, ft_node *n, ft_t like) { return ft__out(g, n, like->dtype, like->ndim, like->dim); }

ft_t ft_input(ft_graph *g, const char *name, ft_dtype dtype, int ndim, const int64_t *dim)
{
    ft_t t = tensor(g, FT_IS_INPUT, dtype, ndim, dim);
    t->name = ft_arena_strdup(g->arena, name);
    if (!g->failed && !t->name) return ft__fail(g, "input", "no memory for a name");
    if (!g->failed && !(t->data = ft_arena_alloc(g->arena, (size_t)t->count * ft_dtype_size(dtype))))
        return ft__fail(g, "input", "no memory for %s", ft__shape(t));
    return t;
}

ft_t ft_const(ft_graph *g, ft_dtype dtype, int ndim, const int64_t *dim, const void *data)
{
    ft_t t = ft_input(g, "", dtype, ndim, dim);
    if (g->failed) return t;
    t->kind = FT_IS_CONST;
    memcpy(t->data, data, (size_t)t->count * ft_dtype_size(dtype));
    return t;
}

/* The tensor of this graph that parameter i is, or is a part of */
static ft_t holder(const ft_graph *g, const ft_params *store, int i)
{
    for (int k = 0; k < g->n_tensor; k++) {
        ft_t t = g->tensor[k];
        if (t->kind == FT_IS_PARAM && t->param <= i && i < t->param + t->members && t->store == store && t->average == g->average)
            return t;
    }
    return NULL;
}

static ft_t leaf(ft_graph *g, ft_params *store, int i, int members, int ndim, const int64_t *dim)
{
    ft_t t = tensor(g, FT_IS_PARAM, FT_F32, ndim, dim);
    if (g->failed) return t;
    t->param = i;
    t->members = members;
    t->store = store;
    t->name = ft_params_at(store, i)->name;
    t->average = g->average;
    t->needs_grad = !g->lender && !g->average && ft_params_at(store, i)->trained;
    return t;
}

static ft_t param(ft_graph *g, const char *name, int ndim, const int64_t *dim, ft_init init, bool trained)
{
    if (g->failed) return &g->dead;
    ft_params *store = g->lender ? g->lender : g->params;
    int i = ft__params_find(store, name, ndim, dim, init, trained);
    if (i < 0) return ft__fail(g, "param", "%s", ft_error_message());
    ft_t t = holder(g, store, i); /* one tensor per graph, so that gradients of shared weights add up */
    if (!t) return leaf(g, store, i, 1, ndim, dim);
    return t->members == 1 ? t : ft_reshape(g, ft_slice(g, t, 0, i - t->param, 1), ndim, dim);
}

void ft_borrow(ft_graph *g, ft_params *lender)
{
    g->lender = lender;
    g->borrows |= lender != NULL;
}

void ft_borrow_average(ft_graph *g, bool on) { g->average = on; }

const char *ft_name(ft_graph *g, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *s = ft_arena_strdup(g->arena, text);
    if (!s) ft__fail(g, "name", "no memory");
    return s ? s : "";
}

ft_t ft_param(ft_graph *g, const char *name, int ndim, const int64_t *dim, ft_init init)
{
    return param(g, name, ndim, dim, init, true);
}

ft_t ft_buffer(ft_graph *g, const char *name, int ndim, const int64_t *dim, ft_init init)
{
    return param(g, name, ndim, dim, init, false);
}

ft_t ft_param_group(ft_graph *g, int n, const char *const *name, int ndim, const int64_t *dim, ft_init init)
{
    if (g->failed) return &g->dead;
    ft_params *store = g->lender ? g->lender : g->params;
    int64_t all[FT_MAX_DIMS] = {n};
    int first = 0;
    bool side = true;
    memcpy(all + 1, dim, (size_t)ndim * sizeof *dim);
    for (int k = 0; k < n; k++) {
        int i = ft__params_find(store, name[k], ndim, dim, init, true);
        if (i < 0) return ft__fail(g, "param", "%s", ft_error_message());
        if (k == 0) first = i;
        ft_t h = holder(g, store, i);
        if (h && h->param == first && h->members == n) return h;
        side &= !h && ft__params_follow(store, first, i, k);
    }
    if (side) return leaf(g, store, first, n, ndim + 1, all);
    ft_t *one = ft_arena_alloc(g->arena, (size_t)n * sizeof *one);
    if (!one) return ft__fail(g, "param", "no memory");
    all[0] = 1;
    for (int k = 0; k < n; k++) one[k] = ft_reshape(g, param(g, name[k], ndim, dim, init, true), ndim + 1, all);
    return ft_join(g, 0, n, one);
}

void ft_keep(ft_t t) { t->kept = true; }
void ft_lend(ft_t t) { t->kept = t->lent = true; }

ft_t ft_input_at(ft_graph *g, ft_t there)
{
    ft_t t = tensor(g, FT_IS_INPUT, there->dtype, there->ndim, there->dim);
    if (!g->failed) t->lender = there, t->name = "";
    return t;
}

static ft_t view(ft_graph *g, ft_t x, int ndim, const int64_t *dim)
{
    ft_t t = tensor(g, FT_IS_ACT, x->dtype, ndim, dim);
    if (g->failed) return t;
    t->base = x; /* resolved to the owner when planning */
    return t;
}

ft_t ft_reshape(ft_graph *g, ft_t x, int ndim, const int64_t *dim)
{
    if (g->failed) return &g->dead;
    int64_t d[FT_MAX_DIMS], known = 1;
    int open = -1;
    for (int i = 0; i < ndim; i++) {
        d[i] = dim[i];
        if (d[i] == -1) open = i;
        else known *= d[i];
    }
    if (open >= 0) d[open] = x->count / known;
    ft_t t = view(g, x, ndim, d);
    if (!g->failed && t->count != x->count) return ft__fail(g, "reshape", "%s to %s", ft__shape(x), ft__shape(t));
    t->needs_grad = x->needs_grad;
    return t;
}

ft_t ft_stop_grad(ft_graph *g, ft_t x)
{
    ft_t t = view(g, x, x->ndim, x->dim);
    return t;
}
