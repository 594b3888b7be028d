/* Every semi-supervised rule for 1,000 steps against its NumPy twin (tests/golden/make_golden_ssl.py): loss and utilisation of
 * each step, so every state is right at every step. And: gradients reach the views they should, and nothing else. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "classify/ssl.h"
#include "common/base/status.h"
#include "common/graph/graph.h"
#include "common/io/safetensors.h"
#include "tests/golden_value.h"

enum { STEPS = 1000, U = 6, C = 3, N = 40 };

static ft_config *settings(const char *alignment)
{
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    char text[64];
    assert_int_equal(ft_config_set(cfg, "ssl.momentum=0.95", "test"), FT_OK);
    snprintf(text, sizeof text, "ssl.alignment=%s", alignment);
    assert_int_equal(ft_config_set(cfg, text, "test"), FT_OK);
    return cfg;
}

typedef struct {
    const char *golden, *algorithm, *alignment;
    double gradient[3]; /* of weak, strong, teacher: 1 where there is one */
} rule;
static const rule rules[] = {{"fixmatch", "fixmatch", "none", {0, 1, 0}},
                             {"fixmatch-uniform", "fixmatch", "uniform", {0, 1, 0}},
                             {"fixmatch-labelled", "fixmatch", "labelled", {0, 1, 0}},
                             {"pseudolabel", "pseudolabel", "none", {1, 0, 0}},
                             {"meanteacher", "meanteacher", "none", {0, 1, 0}},
                             {"flexmatch", "flexmatch", "none", {0, 1, 0}},
                             {"freematch", "freematch", "none", {0, 1, 0}},
                             {"softmatch", "softmatch", "none", {0, 1, 0}},
                             {"endora", "endora", "none", {1, 0, 0}}};
enum { RULES = sizeof rules / sizeof *rules };

static void test_rule(void **state)
{
    const rule *r = *state;
    const ft_ssl *ssl = ft_ssl_find(r->algorithm);
    assert_non_null(ssl);
    char path[600];
    ft_safetensors st;
    snprintf(path, sizeof path, "%s/golden/ssl.safetensors", FT_TEST_DIR);
    if (ft_safetensors_read(&st, path) < 0) fail_msg("%s", ft_error_message());
    const ft_st_tensor *golden = ft_safetensors_find(&st, r->golden);
    assert_non_null(golden);
    const float *want = golden->data;

    ft_config *cfg = settings(r->alignment);
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 0);
    int64_t dim[2] = {U, C};
    ft_t view[3];
    static const char *const names[] = {"weak", "strong", "teacher"};
    for (int k = 0; k < 3; k++) ft_need_grad(view[k] = ft_input(g, names[k], FT_F32, 2, dim));
    ft_ssl_opt opt = ft_ssl_options(cfg);
    ft_ssl_batch b = {
        .opt = &opt, .classes = C, .clips = N, .weak = view[0], .strong = view[1], .teacher = ft_stop_grad(g, view[2])};
    b.index = ft_input(g, "index", FT_I32, 1, dim);
    b.progress = ft_input(g, "progress", FT_F32, 2, (int64_t[]){1, 1});
    b.fresh = ft_input(g, "fresh", FT_F32, 2, (int64_t[]){1, 1});
    b.prior = ft_input(g, "prior", FT_F32, 2, (int64_t[]){1, C});
    for (int c = 0; c < C; c++) ((float *)ft_data(b.prior))[c] = 0.5f - 0.1f * (float)(c + (c > 0));
    ft_t mask, loss = ssl->loss(g, &b, &mask), used = mask ? ft_reduce(g, mask, 1, true) : NULL;
    ft_keep(loss);
    if (used) ft_keep(used);
    ft_backward(g, loss);
    for (int k = 0; k < 3; k++)
        if (ft_grad(g, view[k])) ft_keep(ft_grad(g, view[k]));
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    double moved[3] = {0};
    for (int s = 0; s < STEPS; s++) {
        float grow = 1 + 5 * (float)s / STEPS;
        for (int k = 0; k < 3; k++)
            for (uint32_t i = 0; i < U * C; i++)
                ((float *)ft_data(view[k]))[i] = value((uint32_t)(3 * s + k), i) * grow * 2 + (k == 0 && i % C == 0 ? 1.5f : 0);
        for (int i = 0; i < U; i++) ((int32_t *)ft_data(b.index))[i] = (s * U + i) * 7 % N;
        *(float *)ft_data(b.progress) = (float)s / STEPS;
        *(float *)ft_data(b.fresh) = s % 50 == 0;
        assert_int_equal(ft_run(plan, &(ft_step){.step = s}), FT_OK);
        double l = (double)*(float *)ft_data(loss), u = used ? (double)*(float *)ft_data(used) : 0;
        /* sums of 18 exponentials in f32 against double, states that forget in 20 steps */
        double wl = (double)want[s], wu = (double)want[STEPS + s];
        if (!(fabs(l - wl) <= 64 * 1.2e-7 * (1 + fabs(wl))) || !(fabs(u - wu) <= 64 * 1.2e-7))
            fail_msg("%s, step %d: loss %.9g, want %.9g; utilisation %.9g, want %.9g", r->golden, s, l, wl, u, wu);
        for (int k = 0; k < 3; k++)
            for (int i = 0; ft_grad(g, view[k]) && i < U * C; i++)
                moved[k] += fabs((double)((float *)ft_data(ft_grad(g, view[k])))[i]);
    }
    for (int k = 0; k < 3; k++)
        if ((moved[k] > 0) != (r->gradient[k] > 0)) fail_msg("%s: gradient of the %s view: %g", r->golden, names[k], moved[k]);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_config_free(cfg);
    ft_safetensors_free(&st);
}

/* the average of the weights, in the graph of the weights: other values, no gradients, and it follows the optimiser */
static void test_average(void **state)
{
    (void)state;
    ft_params *p = ft_params_new(1);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    ft_t x = ft_const(g, FT_F32, 2, (int64_t[]){1, 1}, (float[]){2}), w[2], y[2];
    for (int k = 0; k < 2; k++) {
        ft_borrow_average(g, k == 1);
        w[k] = ft_param(g, "w", 2, (int64_t[]){1, 1}, FT_ONE);
        y[k] = ft_linear(g, x, w[k], NULL);
        ft_keep(y[k]);
    }
    ft_borrow_average(g, false);
    ft_t loss = ft_loss_mean(g, y[0], y[1], FT_MSE), goal = ft_const(g, FT_F32, 2, (int64_t[]){1, 1}, (float[]){10});
    loss = ft_add(g, loss, ft_loss_mean(g, y[0], goal, FT_MSE));
    ft_backward(g, loss);
    assert_null(ft_grad(g, w[1]));
    ft_optimise(g, (ft_optim_opt){.clip = 0});
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    double average = 1;
    for (int s = 0; s < 20; s++) {
        assert_int_equal(ft_run(plan, &(ft_step){.step = s, .lr = 0.1f, .ema = 0.9f}), FT_OK);
        double weight = (double)*(float *)ft_data(y[0]) / 2, seen = (double)*(float *)ft_data(y[1]) / 2;
        assert_true(fabs(seen - average) < 1e-5); /* as before this step's update */
        average = 0.9 * average + 0.1 * (double)ft_params_flat(p, FT_WEIGHTS)[0];
        if (s > 0) assert_true(weight > seen + 0.05);
    }
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
}

/* A state that moves in the middle of a graph leaves the gradients of what stands before it as they were: through slices, views
 * and all, as a classifier's logits are cut into labelled and unlabelled ones. */
static void test_state_and_gradients(void **state)
{
    (void)state;
    double norm[2];
    for (int with = 0; with < 2; with++) {
        ft_params *p = ft_params_new(3);
        ft_graph *g = ft_graph_new(p, FT_F32, 0);
        ft_t x = ft_input(g, "x", FT_F32, 2, (int64_t[]){6, 4});
        for (int i = 0; i < 24; i++) ((float *)ft_data(x))[i] = value(9, i);
        ft_t h = ft_linear(g, x, ft_param(g, "first", 2, (int64_t[]){8, 4}, ft_init_xavier(4, 8)), NULL);
        h = ft_reshape(g, ft_unary(g, FT_TANH, ft_reshape(g, h, 3, (int64_t[]){6, 2, 4})), 2, (int64_t[]){6, 8});
        ft_t z = ft_linear(g, h, ft_param(g, "head", 2, (int64_t[]){C, 8}, ft_init_xavier(8, C)), NULL);
        ft_t target = ft_const(g, FT_F32, 2, (int64_t[]){2, C}, (float[]){1, 0, 0, 0, 0, 1}), mask;
        ft_t loss = ft_softmax_xent(g, ft_slice(g, z, 0, 0, 2), target, NULL), weak = ft_slice(g, z, 0, 4, 2);
        if (with) {
            ft_t moved = ft_ssl_state(g, "moved", 1, C, 0);
            ft_assign(g, moved, ft_ssl_over_clips(g, ft_stop_grad(g, weak), true));
        }
        ft_t label = ft_pseudo_label(g, weak, 0, &mask);
        loss = ft_add(g, loss, ft_softmax_xent(g, ft_slice(g, z, 0, 2, 2), label, mask));
        ft_backward(g, loss);
        ft_t n = ft_optimise(g, (ft_optim_opt){0});
        ft_plan *plan;
        if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
        norm[with] = (double)*(float *)ft_data(n);
        for (int k = 0; k < 2; k++) { /* every layer learns */
            const ft_param_info *e = ft_params_at(p, k);
            double sum = 0;
            for (int64_t i = 0; i < e->count; i++) sum += fabs((double)ft_params_grad(p)[e->offset + i]);
            if (!(sum > 1e-3)) fail_msg("%s state: no gradient of %s", with ? "with" : "without", e->name);
        }
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(p);
    }
    if (!(fabs(norm[0] - norm[1]) <= 1e-6 * norm[0])) fail_msg("gradient norm %g, with a state %g", norm[0], norm[1]);
}

int main(void)
{
    struct CMUnitTest tests[RULES + 2];
    for (int i = 0; i < RULES; i++)
        tests[i] = (struct CMUnitTest){rules[i].golden, test_rule, NULL, NULL, (void *)(uintptr_t)&rules[i]};
    tests[RULES] = (struct CMUnitTest)cmocka_unit_test(test_average);
    tests[RULES + 1] = (struct CMUnitTest)cmocka_unit_test(test_state_and_gradients);
    return cmocka_run_group_tests_name("ssl", tests, NULL, NULL);
}
