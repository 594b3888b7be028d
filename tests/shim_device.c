/* Plans on a device, on the host shim: no memory, a step that cannot be recorded, results read late, a gradient that is not
 * finite. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/log.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/graph/graph.h"
#include "shim/shim.h"

typedef struct {
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t x, loss, norm;
} problem;

/* two layers with a convolution between, trained on x alone */
static int make(problem *q, ft_dtype dtype)
{
    *q = (problem){.params = ft_params_new(3)};
    q->g = ft_graph_new(q->params, dtype, 1);
    q->x = ft_input(q->g, "x", FT_F32, 5, (int64_t[]){2, 1, 4, 4, 8});
    ft_t w = ft_param(q->g, "conv.weight", 5, (int64_t[]){8, 8, 1, 3, 3}, ft_init_xavier(72, 72)),
         v = ft_param(q->g, "fc.weight", 2, (int64_t[]){8, 8}, ft_init_xavier(8, 8)),
         b = ft_param(q->g, "fc.bias", 1, (int64_t[]){8}, FT_ZERO);
    ft_t h = ft_conv(q->g, ft_cast(q->g, q->x, dtype), w, NULL, (ft_conv_opt){.pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}});
    h = ft_cast(q->g, ft_linear(q->g, ft_unary(q->g, FT_SILU, h), v, b), FT_F32);
    q->loss = ft_reshape(q->g, ft_reduce(q->g, ft_unary(q->g, FT_SQUARE, h), 31, true), 1, (int64_t[]){1});
    ft_keep(q->loss);
    ft_backward(q->g, q->loss);
    q->norm = ft_optimise(q->g, (ft_optim_opt){0});
    FT_TRY(ft_plan_new(&q->plan, q->g, FT_WEIGHTS));
    for (int i = 0; i < 256; i++) ((float *)ft_data(q->x))[i] = sinf((float)i);
    return FT_OK;
}

static void drop(problem *q)
{
    ft_plan_free(q->plan);
    ft_graph_free(q->g);
    ft_params_free(q->params);
}

static float step_of(problem *q, int64_t step)
{
    if (ft_run(q->plan, &(ft_step){1, step, 0.01f, 0.5f, 0}) < 0) fail_msg("%s", ft_error_message());
    return *(float *)ft_data(q->loss);
}

static void test_no_memory(void **state)
{
    (void)state;
    int64_t before = ft_shim()->allocations;
    int failures = 0;
    for (int64_t n = 1; n < 200; n++) {
        problem q;
        ft_shim()->fail_alloc = n;
        int rc = make(&q, FT_BF16);
        bool used_up = ft_shim()->fail_alloc == 0;
        ft_shim()->fail_alloc = 0;
        if (rc < 0) {
            assert_int_equal(rc, FT_ENOMEM);
            assert_non_null(strstr(ft_error_message(), "GPU has no memory"));
            failures++;
        } else if (used_up) step_of(&q, 0); /* a choice of algorithms goes on without */
        drop(&q);
        assert_int_equal(ft_shim()->allocations, before);
        if (!used_up) break;
    }
    assert_true(failures > 10);
}

static void test_not_recorded(void **state)
{
    (void)state;
    problem a, b;
    assert_int_equal(make(&a, FT_F32), FT_OK);
    ft_shim()->refuse_capture = true;
    ft_log_quiet(true);
    assert_int_equal(make(&b, FT_F32), FT_OK);
    int64_t replays = ft_shim()->replays;
    float of_b[6];
    for (int i = 0; i < 6; i++) of_b[i] = step_of(&b, i);
    assert_int_equal(ft_shim()->replays, replays);
    ft_shim()->refuse_capture = false;
    for (int i = 0; i < 6; i++) assert_true(step_of(&a, i) == of_b[i]);
    assert_int_equal(ft_shim()->replays, replays + 4);
    assert_true(of_b[5] < of_b[0]);
    drop(&a);
    drop(&b);
}

static void test_late(void **state)
{
    (void)state;
    problem a, b;
    float at_once[8];
    assert_int_equal(make(&a, FT_BF16), FT_OK);
    assert_int_equal(make(&b, FT_BF16), FT_OK);
    for (int i = 0; i < 8; i++) at_once[i] = step_of(&a, i);
    int lag = ft_plan_lag(b.plan);
    assert_true(lag >= 2);
    for (int i = 0; i < 8; i++) {
        for (int k = 0; k < 256; k++) ((float *)ft_data(b.x))[k] = sinf((float)k); /* may be filled again at once */
        assert_int_equal(ft_run(b.plan, &(ft_step){1, i, 0.01f, 0.5f, 0}), FT_OK);
        ((float *)ft_data(b.x))[7] = 1e9f; /* the run has its own copy */
        for (int ago = 0; i >= lag && ago <= lag; ago++)
            assert_true(*(const float *)ft_data_late(b.loss, ago) == at_once[i - ago]);
    }
    drop(&a);
    drop(&b);
}

static void test_not_finite(void **state)
{
    (void)state;
    problem q;
    assert_int_equal(make(&q, FT_BF16), FT_OK);
    for (int i = 0; i < 4; i++) step_of(&q, i); /* recorded by now */
    int64_t n = ft_params_flat_size(q.params);
    float *before = malloc((size_t)n * sizeof *before);
    memcpy(before, ft_params_flat(q.params, FT_WEIGHTS), (size_t)n * sizeof *before);
    ((float *)ft_data(q.x))[3] = NAN;
    assert_true(isnan(step_of(&q, 4)));
    assert_true(!isfinite(*(float *)ft_data(q.norm)));
    assert_memory_equal(before, ft_params_flat(q.params, FT_WEIGHTS), (size_t)n * sizeof *before);
    ((float *)ft_data(q.x))[3] = 0;
    assert_true(isfinite(step_of(&q, 5)));
    assert_true(memcmp(before, ft_params_flat(q.params, FT_WEIGHTS), (size_t)n * sizeof *before) != 0);
    free(before);
    drop(&q);
}

/* The weights that the host changes between two runs are those of the next run; EMA plans see the average. */
static void test_host_writes(void **state)
{
    (void)state;
    problem a, b;
    assert_int_equal(make(&a, FT_BF16), FT_OK);
    assert_int_equal(make(&b, FT_BF16), FT_OK);
    for (int i = 0; i < 4; i++) step_of(&a, i), step_of(&b, i);
    ft_params_flat(a.params, FT_WEIGHTS)[5] = 7;
    ft_params_touched(a.params);
    assert_true(step_of(&a, 4) != step_of(&b, 4));
    drop(&a);
    drop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_memory), cmocka_unit_test(test_not_recorded),
                                       cmocka_unit_test(test_late), cmocka_unit_test(test_not_finite),
                                       cmocka_unit_test(test_host_writes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
