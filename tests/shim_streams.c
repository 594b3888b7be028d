/* A step recorded on several streams is that of one, bit for bit, in every order that streams and events allow, on the host shim.
 * That is looked at in two ways: by running in many orders, and by looking, for any two nodes that touch a common byte, for a way
 * from one to the other. With the name of a network: how it is spread over streams. FT_SHIM_ALL=1: all networks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/status.h"
#include "common/graph/plan.h"
#include "common/io/config.h"
#include "experiments/models/model_table.h"
#include "shim/shim.h"

enum { ORDERS = 12, RECORDED = 2, STEPS = RECORDED + ORDERS };

static const struct {
    const char *model;
    int64_t frames, size; /* of an input with both */
    bool often;           /* in the short tests, too */
} networks[] = {{"medsora-tiny", 2, 4, true}, {"x3d-tiny", 2, 8, true},       {"feat-tiny", 2, 4, false},
                {"endora-tiny", 2, 4, false}, {"r2plus1d-tiny", 2, 8, false}, {"lvdm-tiny", 2, 8, false}};
enum { N_NETWORKS = sizeof networks / sizeof *networks };

typedef struct {
    ft_config *cfg;
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t x[FT_MODEL_INPUTS + 1], y, loss; /* x: the last is the target */
} problem;

static ft_t linear(ft_graph *g, const char *name, ft_t x)
{
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){16, 16}, ft_init_xavier(16, 16)),
         b = ft_param(g, ft_name(g, "%s.bias", name), 1, (int64_t[]){16}, FT_ZERO);
    return ft_linear(g, x, w, b);
}

/* branches that meet: a convolution in one of them, running statistics and a state of two */
static void branches(problem *q)
{
    ft_graph *g = q->g;
    const int64_t c = 16;
    ft_t mean = ft_buffer(g, "mean", 1, &c, FT_ZERO), var = ft_buffer(g, "var", 1, &c, FT_ONE),
         kept = ft_buffer(g, "kept", 1, &c, FT_ZERO);
    q->x[0] = ft_input(g, "x", FT_F32, 5, (int64_t[]){2, 1, 3, 3, 16});
    ft_t x = ft_cast(g, q->x[0], FT_BF16), sum = x;
    for (int i = 0; i < 3; i++) {
        ft_t h = ft_unary(g, i == 1 ? FT_TANH : FT_SILU, linear(g, ft_name(g, "in.%d", i), x));
        if (i == 2) {
            ft_t w = ft_param(g, "conv.weight", 5, (int64_t[]){16, 16, 1, 3, 3}, ft_init_xavier(144, 144));
            h = ft_conv(g, h, w, NULL, (ft_conv_opt){.pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}});
        } else {
            ft_t gamma = ft_param(g, ft_name(g, "gamma.%d", i), 1, &c, FT_ONE),
                 beta = ft_param(g, ft_name(g, "beta.%d", i), 1, &c, FT_ZERO);
            h = ft_batchnorm(g, h, gamma, beta, mean, var, 0, 0.3f, 1e-5f, FT_ACT_NONE);
            ft_t half = ft_affine(g, kept, 0.5f, 0), now = ft_reshape(g, ft_reduce(g, ft_cast(g, h, FT_F32), 15, true), 1, &c);
            ft_assign(g, kept, ft_add(g, half, now));
        }
        h = ft_layernorm(g, linear(g, ft_name(g, "out.%d", i), h), NULL, NULL, NULL, NULL, 1e-6f);
        sum = ft_add(g, sum, h);
    }
    q->y = ft_cast(g, sum, FT_F32);
}

static void network(problem *q, int k)
{
    const ft_model *row;
    const char *preset;
    if (ft_model_find(networks[k].model, &row, &preset) < 0) fail_msg("%s", ft_error_message());
    for (int i = 0; i < row->n_in; i++) {
        int64_t dim[FT_MAX_DIMS];
        ft_model_example(row, preset, q->cfg, i, dim);
        dim[0] = 1;
        if (ft_model_dims(&row->in[i]) == 5) dim[1] = networks[k].frames, dim[2] = dim[3] = networks[k].size;
        q->x[i] = ft_input(q->g, row->in[i].name, FT_F32, ft_model_dims(&row->in[i]), dim);
    }
    q->y = row->build(q->g, preset, q->cfg, q->x, 2);
}

/* which < 0: the branches, trained; else a network's gradients: its optimiser is long on the host, and the same */
static void make(problem *q, int which, const char *streams)
{
    *q = (problem){.params = ft_params_new(1)};
    q->g = ft_graph_new(q->params, FT_BF16, 1);
    setenv("FORTY_CUDA_STREAMS", streams, 1);
    if (ft_config_new(&q->cfg) < 0) fail_msg("%s", ft_error_message());
    if (which < 0) branches(q);
    else network(q, which);
    int64_t dim[FT_MAX_DIMS];
    for (int i = 0; i < ft_ndim(q->y); i++) dim[i] = ft_dim(q->y, i);
    q->x[FT_MODEL_INPUTS] = ft_input(q->g, "target", FT_F32, ft_ndim(q->y), dim);
    q->loss = ft_loss_mean(q->g, q->y, q->x[FT_MODEL_INPUTS], FT_MSE);
    ft_keep(q->loss);
    ft_backward(q->g, q->loss);
    if (which < 0) ft_optimise(q->g, (ft_optim_opt){.clip = 1});
    if (ft_plan_new(&q->plan, q->g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    unsetenv("FORTY_CUDA_STREAMS");
}

static void drop(problem *q)
{
    ft_plan_free(q->plan);
    ft_graph_free(q->g);
    ft_params_free(q->params);
    ft_config_free(q->cfg);
}

static uint64_t hashed(uint64_t h, const float *v, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, v + i, sizeof bits);
        h = (h ^ bits) * 1099511628211u;
    }
    return h;
}

/* Of loss, gradients and weights after a step in which what was recorded runs in the order of a seed. Each step has inputs of its
 * own: what was left by the one before is wrong. */
static uint64_t step(problem *q, int64_t at, unsigned order)
{
    for (int k = 0; k <= FT_MODEL_INPUTS; k++)
        for (int64_t i = 0; q->x[k] && i < ft_count(q->x[k]); i++)
            ((float *)ft_data(q->x[k]))[i] = sinf((float)(i + 7 * k + 100 * at));
    ft_shim()->order = order;
    if (ft_run(q->plan, &(ft_step){1, at, 0.01f, 0.5f, 0}) < 0) fail_msg("%s", ft_error_message());
    uint64_t h = hashed(14695981039346656037u, ft_data(q->loss), 1);
    ft_shim()->order = 0;
    h = hashed(h, ft_params_grad(q->params), ft_params_trained_size(q->params));
    return hashed(h, ft_params_flat(q->params, FT_WEIGHTS), ft_params_flat_size(q->params));
}

/* ---- the order that a plan keeps ---------------------------------------------------------------------------------------- */

typedef struct {
    const char *from, *to;
    bool written;
} bytes;

static int note(bytes *b, int n, const void *from, int64_t size, bool written)
{
    if (from && size) b[n++] = (bytes){from, (const char *)from + size, written};
    return n;
}

/* all that the kernel of a node was told of when it was recorded */
static int touched(const ft_node *n, bytes *b)
{
    const ft_call *c = &n->call;
    const ft_store *s = c->store;
    bool running = n->op == FT_OP_batchnorm && n->attr.norm.training;
    int k = note(b, 0, c->work, (int64_t)c->work_size, true);
    for (int i = 0; i < c->n_in + c->n_out; i++) {
        const ft_buf *x = i < c->n_in ? c->in[i] : c->out[i - c->n_in];
        bool w = i >= c->n_in || (running && i > 2) || ((n->op == FT_OP_assign || n->op == FT_OP_assign_rows) && i == 0);
        if (x) k = note(b, k, x->data, x->count * (x->dtype == FT_BF16 ? 2 : x->dtype == FT_U8 ? 1 : 4), w);
        if (x) k = note(b, k, x->half, 2 * x->count, w);
    }
    bool updates = n->op == FT_OP_adamw || n->op == FT_OP_sgd;
    if (updates || n->op == FT_OP_grad_norm) k = note(b, k, s->grad, 4 * s->trained, false);
    for (int i = 0; updates && i < 2; i++) {
        k = note(b, k, s->bank[i], 4 * s->total, true);
        k = note(b, k, s->half[i], 2 * s->total, true);
        k = note(b, k, s->moment[i], 4 * s->trained, true);
    }
    return k;
}

enum { MOST_BYTES = 2 * (FT_MAX_IN + FT_MAX_OUT) + 8 };
static bool share(const ft_node *x, const ft_node *y)
{
    bytes a[MOST_BYTES], b[MOST_BYTES];
    int n = touched(x, a), m = touched(y, b);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < m; k++)
            if ((a[i].written || b[k].written) && a[i].from < b[k].to && b[k].from < a[i].to) return true;
    return false;
}

/* Pairs of nodes that touch a common byte and may run in either order. past: (nodes, nodes), who has ended before whom */
static int open_pairs(const problem *q, bool *past)
{
    const ft_graph *g = q->g;
    size_t n = (size_t)g->n_node;
    int last[FT_QUEUES] = {-1, -1, -1, -1}, open = 0;
    memset(past, 0, n * n);
    for (int i = 0; i < g->n_node; i++) {
        const ft_node *x = g->node[i];
        if (x->dead) continue;
        for (int j = 0; j < i; j++) {
            const ft_node *y = g->node[j];
            bool waits = j == last[x->queue];
            for (int k = 0; k < x->n_follow; k++) waits = waits || (!y->dead && y->signal == x->follow[k]);
            for (int k = 0; waits && k <= j; k++) past[(size_t)i * n + (size_t)k] |= k == j || past[(size_t)j * n + (size_t)k];
        }
        last[x->queue] = i;
        assert_true(x->queue == 0 || !x->call.bound);
        for (int j = 0; j < i; j++) open += !g->node[j]->dead && !past[(size_t)i * n + (size_t)j] && share(x, g->node[j]);
    }
    return open;
}

/* ---- tests -------------------------------------------------------------------------------------------------------------- */

static void as_one(int which, const char *streams, int steps)
{
    problem one, many;
    uint64_t right[STEPS];
    make(&one, which, "1");
    for (int k = 0; k < steps; k++) right[k] = step(&one, k, 0);
    assert_true(one.plan->device.recording && one.plan->device.queues == 1 && ft_shim()->beside == 0);
    make(&many, which, streams);
    for (int k = 0; k < steps; k++)
        if (step(&many, k, (unsigned)(1 + k)) != right[k]) fail_msg("network %d: step %d is another", which, k);
    assert_true(many.plan->device.recording && many.plan->device.queues > 1 && ft_shim()->beside > 0);
    bool *past = malloc((size_t)many.g->n_node * (size_t)many.g->n_node);
    assert_int_equal(open_pairs(&many, past), 0);
    free(past);
    drop(&many);
    drop(&one);
}

static void test_branches(void **state)
{
    (void)state;
    for (char n = '2'; n <= '4'; n++) as_one(-1, (const char[]){n, 0}, STEPS);
}

static void test_networks(void **state)
{
    (void)state;
    const char *ask = getenv("FT_SHIM_ALL");
    bool all = ask && *ask == '1';
    for (int i = 0; i < N_NETWORKS; i++)
        if (networks[i].often || all) as_one(i, i % 2 ? "3" : "4", all ? STEPS : RECORDED + 4);
}

/* Every wait is needed: without it a pair is open, and most such pairs give other numbers in some order. */
static void test_dropped(void **state)
{
    (void)state;
    problem q;
    uint64_t right[STEPS];
    make(&q, -1, "4");
    for (int k = 0; k < STEPS; k++) right[k] = step(&q, k, 0);
    bool *past = malloc((size_t)q.g->n_node * (size_t)q.g->n_node);
    int waits = 0, seen = 0;
    for (int i = 0; i < q.g->n_node; i++)
        for (int k = 0; !q.g->node[i]->dead && k < q.g->node[i]->n_follow; k++) {
            problem r;
            bool other = false;
            int *follow = &q.g->node[i]->follow[k], kept = *follow;
            if (!kept) continue; /* the begin of a stream */
            *follow = -2;
            if (!open_pairs(&q, past)) fail_msg("a wait of node %d (%s) is not needed", i, ft__op_name(q.g->node[i]->op));
            *follow = kept;
            make(&r, -1, "4");
            r.g->node[i]->follow[k] = 0; /* the recording's begin, when nothing has been written */
            for (int s = 0; s < STEPS && !other; s++) other = step(&r, s, (unsigned)(1 + s)) != right[s];
            if (!other) printf("  without a wait of node %d, %s: the same\n", i, ft__op_name(q.g->node[i]->op));
            waits++, seen += other;
            drop(&r);
        }
    printf("without one of %d waits: %d give other numbers\n", waits, seen);
    assert_true(waits > 10 && 4 * seen >= 3 * waits);
    free(past);
    drop(&q);
}

/* A device that cannot record several streams records one. */
static void test_refused(void **state)
{
    (void)state;
    uint64_t right[4];
    for (int how = 0; how <= 3; how++) {
        problem q;
        make(&q, -1, how ? "4" : "1");
        assert_true(how == 0 || q.plan->device.queues > 1);
        ft_shim()->refuse_streams = how;
        ft_log_quiet(true);
        for (int k = 0; k < 4; k++) {
            uint64_t h = step(&q, k, 0);
            assert_true(how == 0 || h == right[k]);
            right[k] = h;
        }
        ft_shim()->refuse_streams = 0;
        assert_int_equal(q.plan->device.queues, 1);
        assert_true(q.plan->device.recording && ft_shim()->beside == 0);
        drop(&q);
    }
}

static void test_asked(void **state)
{
    (void)state;
    static const char *const wrong[] = {"0", "5", "two", "-1", "11"};
    ft_params *params = ft_params_new(1);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_plan *p;
    ft_keep(ft_unary(g, FT_EXP, ft_input(g, "x", FT_F32, 1, (int64_t[]){4})));
    for (int i = 0; i < 5; i++) {
        setenv("FORTY_CUDA_STREAMS", wrong[i], 1);
        assert_int_equal(ft_plan_new(&p, g, FT_WEIGHTS), FT_ECONFIG);
        assert_non_null(strstr(ft_error_message(), "Use 1 to 4"));
    }
    unsetenv("FORTY_CUDA_STREAMS");
    ft_graph_free(g);
    ft_params_free(params);
}

static void show(int which)
{
    for (int n = 1; n <= FT_QUEUES; n++) {
        problem q;
        int nodes[FT_QUEUES] = {0}, waits = 0;
        make(&q, which, (const char[]){(char)('0' + n), 0});
        for (int i = 0; i < q.g->n_node; i++)
            if (!q.g->node[i]->dead) nodes[q.g->node[i]->queue]++, waits += q.g->node[i]->n_follow;
        printf("%s, %d streams: nodes %d %d %d %d, %d waits, scratch beside the first %.1f MiB each\n",
               which < 0 ? "branches" : networks[which].model, n, nodes[0], nodes[1], nodes[2], nodes[3], waits,
               (double)q.plan->device.side_size / 1048576.0);
        drop(&q);
    }
}

int main(int argc, char **argv)
{
    for (int k = -1; argc > 1 && k < N_NETWORKS; k++)
        if (!strcmp(argv[1], k < 0 ? "branches" : networks[k].model)) show(k);
    if (argc > 1) return 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_branches), cmocka_unit_test(test_dropped),
                                       cmocka_unit_test(test_networks), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_asked)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
