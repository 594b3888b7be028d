/* How many kernels a training step begins on a device, counted on the host shim at the real sizes: nothing is computed there.
 * With a name and a batch as arguments: op by op. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/status.h"
#include "common/graph/plan.h"
#include "common/io/config.h"
#include "experiments/models/model_table.h"
#include "shim/shim.h"

static const struct {
    const char *model;
    int64_t batch, frames, size; /* of a classifier's clips */
    int most;                    /* kernels a step: what was counted, and a little room */
} steps[] = {
    {"medsora-b", 2, 0, 0, 1240},          {"feat-s", 2, 0, 0, 1780}, {"endora-b", 2, 0, 0, 460}, {"x3d-s", 8, 16, 160, 1310},
    {"timesformer-ti16", 4, 16, 224, 895},
};
enum { N_STEPS = sizeof steps / sizeof *steps };

typedef struct {
    int64_t kernels[FT_OP_COUNT];
    int nodes[FT_OP_COUNT];
} counts;

/* bench's training step: noise or labels do not change what is begun */
static int64_t count(const char *model, int64_t batch, int64_t frames, int64_t size, counts *by)
{
    const ft_model *row;
    const char *preset;
    ft_t x[FT_MODEL_INPUTS] = {NULL};
    ft_config *cfg;
    if (ft_model_find(model, &row, &preset) < 0 || ft_config_new(&cfg) < 0) fail_msg("%s", ft_error_message());
    ft_params *params = ft_params_new(1);
    ft_graph *g = ft_graph_new(params, FT_BF16, 1);
    ft_plan *p;
    for (int i = 0; i < row->n_in; i++) {
        int64_t dim[FT_MAX_DIMS];
        ft_model_example(row, preset, cfg, i, dim);
        dim[0] = batch;
        if (frames) dim[1] = frames, dim[2] = dim[3] = size;
        x[i] = ft_input(g, row->in[i].name, FT_F32, ft_model_dims(&row->in[i]), dim);
    }
    ft_t y = row->build(g, preset, cfg, x, 2);
    int64_t dim[FT_MAX_DIMS];
    for (int i = 0; i < ft_ndim(y); i++) dim[i] = ft_dim(y, i);
    ft_t loss = ft_loss_mean(g, y, ft_input(g, "target", FT_F32, ft_ndim(y), dim), FT_MSE);
    ft_keep(loss);
    ft_backward(g, loss);
    ft_optimise(g, (ft_optim_opt){.clip = 1});
    if (ft_plan_new(&p, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    int64_t before = ft_shim()->launches;
    for (int i = 0; i < g->n_node; i++) {
        ft_node *n = g->node[i];
        if (n->dead) continue;
        int64_t at = ft_shim()->launches;
        n->call.step = (const ft_step *)p->device.inputs;
        n->call.work = p->work;
        p->backend->kernel[n->op](&n->call);
        by->kernels[n->op] += ft_shim()->launches - at;
        by->nodes[n->op]++;
    }
    int64_t all = ft_shim()->launches - before;
    ft_plan_free(p);
    ft_graph_free(g);
    ft_params_free(params);
    ft_config_free(cfg);
    return all;
}

static void test_launches(void **state)
{
    (void)state;
    for (int i = 0; i < N_STEPS; i++) {
        counts by = {0};
        int64_t n = count(steps[i].model, steps[i].batch, steps[i].frames, steps[i].size, &by);
        printf("%s:%lld %lld kernels\n", steps[i].model, (long long)steps[i].batch, (long long)n);
        if (n > steps[i].most) fail_msg("%s: %lld kernels a step, at most %d", steps[i].model, (long long)n, steps[i].most);
    }
}

static void show(int k)
{
    counts by = {0};
    printf("%s: %lld kernels\n", steps[k].model,
           (long long)count(steps[k].model, steps[k].batch, steps[k].frames, steps[k].size, &by));
    for (;;) {
        int best = 0;
        for (int i = 1; i < FT_OP_COUNT; i++)
            if (by.kernels[i] > by.kernels[best]) best = i;
        if (by.kernels[best] == 0) break;
        printf("  %-22s %5d nodes %5lld kernels\n", ft__op_name((ft_op)best), by.nodes[best], (long long)by.kernels[best]);
        by.kernels[best] = 0;
    }
}

int main(int argc, char **argv)
{
    setenv("FORTY_CUDA_MEASURE", "0", 1);
    ft_shim()->count_only = true;
    for (int i = 0; i < N_STEPS; i++)
        for (int k = 1; k < argc; k++)
            if (!strcmp(argv[k], steps[i].model)) show(i);
    if (argc > 1) return 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_launches)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
