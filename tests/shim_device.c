/* Plans on a device, on the host shim: no memory, a step that cannot be recorded, results read late, a gradient that is not
 * finite, algorithms chosen by a clock that lies. */
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
#include "common/graph/backend.h"
#include "common/graph/graph.h"
#include "gen/walk.h"
#include "shim/shim.h"

extern const ft_backend ft_backend_cuda;
void ft_cuda_forget(void); /* kernels/cuda/runtime.h, which needs CUDA's headers */
void ft_dnn_forget(void);

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

/* More clips than a grid has rows (256 on the stand-in, 65535 on a device): each is the clip alone. */
static void test_many_clips(void **state)
{
    (void)state;
    enum { CLIPS = 300, BYTES = 2 * 6 * 6 * 3 };
    static float once[CLIPS * BYTES];
    for (int clips = CLIPS, at = 0; at < CLIPS; clips = 100) { /* all at once, then in three parts */
        ft_params *params = ft_params_new(1);
        ft_graph *g = ft_graph_new(params, FT_F32, 1);
        ft_plan *plan;
        ft_t rgb = ft_input(g, "rgb", FT_U8, 5, (int64_t[]){clips, 2, 6, 6, 3}),
             view = ft_input(g, "view", FT_F32, 2, (int64_t[]){clips, FT_VIEW_NUMBERS}),
             y = ft_augment(g, rgb, view, NULL, 0, 1 / 255.0f);
        ft_keep(y);
        assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
        for (int i = 0; i < clips * BYTES; i++) ((uint8_t *)ft_data(rgb))[i] = (uint8_t)((at * BYTES + i) * 37 % 251);
        for (int i = 0; i < clips; i++) {
            const float v[] = {1, 0, 0, 0, 1, (float)((at + i) % 3), FT_AUTOCONTRAST, 1, FT_EQUALIZE, 1};
            memcpy((float *)ft_data(view) + i * FT_VIEW_NUMBERS, v, sizeof v);
        }
        assert_int_equal(ft_run(plan, &(ft_step){1, 0, 0, 0, 0}), FT_OK);
        const float *out = ft_data(y);
        if (clips == CLIPS) memcpy(once, out, sizeof once);
        else {
            assert_memory_equal(out, once + at * BYTES, (size_t)(clips * BYTES) * sizeof(float));
            at += clips;
        }
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(params);
    }
}

/* NaN comes through a convolution whose ReLU the library does. */
static void test_nan_through_relu(void **state)
{
    (void)state;
    for (ft_dtype type = FT_F32; type <= FT_BF16; type++) {
        ft_params *params = ft_params_new(1);
        ft_graph *g = ft_graph_new(params, type, 1);
        ft_plan *plan;
        ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){1, 1, 4, 4, 8}),
             w = ft_param(g, "w", 5, (int64_t[]){8, 8, 1, 3, 3}, ft_init_xavier(72, 72)),
             b = ft_param(g, "b", 1, (int64_t[]){8}, FT_ZERO),
             y = ft_cast(g, ft_conv(g, ft_cast(g, x, type), w, b, (ft_conv_opt){.act = FT_ACT_RELU}), FT_F32);
        ft_keep(y);
        assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
        for (int i = 0; i < 128; i++) ((float *)ft_data(x))[i] = i == 0 ? NAN : 1; /* seen by the first output alone */
        assert_int_equal(ft_run(plan, &(ft_step){1, 0, 0, 0, 0}), FT_OK);
        for (int i = 0; i < 32; i++) assert_true(isnan(((const float *)ft_data(y))[i]) == (i < 8));
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(params);
    }
}

/* The steps of a sampler are replayed alone: nothing goes to the device or comes from it between two of them. */
static void test_steps_of_a_walk(void **state)
{
    (void)state;
    enum { MOST = 11 };
    const int64_t dim[5] = {2, 1, 4, 4, 8};
    double alpha[MOST + 1], sigma[MOST + 1];
    for (ft_sampler kind = FT_DDIM; kind <= FT_DDPM; kind++) {
        int64_t copies[2], runs[2], launches[2];
        for (int k = 0; k < 2; k++) {
            ft_path path = {.kind = kind, .steps = k ? MOST : 5, .alpha = alpha, .sigma = sigma, .time = sigma, .learned = true};
            for (int i = 0; i <= path.steps; i++)
                sigma[i] = 0.99 * (path.steps - i) / path.steps, alpha[i] = sqrt(1 - sigma[i] * sigma[i]);
            ft_params *params = ft_params_new(3);
            ft_graph *g = ft_graph_new(params, FT_BF16, 1);
            ft_plan *plan;
            ft_walk *w;
            ft_t x, t;
            const float *out;
            assert_int_equal(ft_walk_new(&w, g, &path, 5, dim, &x, &t), FT_OK);
            ft_t kernel = ft_param(g, "conv.weight", 5, (int64_t[]){16, 8, 1, 3, 3}, ft_init_xavier(72, 72));
            ft_t y =
                ft_conv(g, ft_cast(g, x, FT_BF16), kernel, NULL, (ft_conv_opt){.pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}});
            y = ft_mul(g, ft_cast(g, y, FT_F32), ft_reshape(g, t, 5, (int64_t[]){2, 1, 1, 1, 1}));
            assert_int_equal(ft_walk_update(w, ft_slice(g, y, 4, 0, 8), NULL, ft_slice(g, y, 4, 8, 8)), FT_OK);
            assert_int_equal(ft_plan_new(&plan, g, FT_EMA), FT_OK);
            for (int64_t first = 0; first < 4; first += 2) { /* the second time all is recorded */
                copies[k] = ft_shim()->copies, runs[k] = ft_shim()->replays, launches[k] = ft_shim()->launches;
                assert_int_equal(ft_walk_run(w, plan, NULL, 7, first, NULL, &out), FT_OK);
            }
            copies[k] = ft_shim()->copies - copies[k], runs[k] = ft_shim()->replays - runs[k];
            launches[k] = ft_shim()->launches - launches[k];
            assert_int_equal(runs[k], path.steps);
            for (int i = 0; i < 256; i++) assert_true(isfinite(out[i]));
            ft_plan_free(plan);
            ft_walk_free(w);
            ft_graph_free(g);
            ft_params_free(params);
        }
        assert_int_equal(copies[0], copies[1]);
        assert_int_equal(launches[0], launches[1]); /* nor is anything begun beside the replay */
    }
}

/* ---- choices of algorithms ----------------------------------------------------------------------------------------------- */

static char kept[20][2 * FT_CHOICE]; /* what a run folder would hold */
static int n_kept;

static bool agree(void *context, const char *device, const char *what, const char *mine, char *held)
{
    (void)context;
    assert_non_null(strstr(device, "host shim"));
    size_t n = strlen(what);
    for (int i = 0; i < n_kept; i++)
        if (!strncmp(kept[i], what, n) && kept[i][n] == '\t') {
            strcpy(held, kept[i] + n + 1);
            return true;
        }
    if (mine) sprintf(kept[n_kept++], "%s\t%s", what, mine);
    return false;
}

/* the weights after some steps in a process whose clock begins with `clock`; guard: as FT_PLAN_GUARD; listed: never recorded */
static uint64_t weights_of(unsigned clock, bool guard, bool listed)
{
    problem q;
    uint64_t h = 14695981039346656037u;
    ft_cuda_forget();
    ft_dnn_forget();
    ft_shim()->algorithms = 3, ft_shim()->clock = clock;
    setenv("FORTY_CUDA_MEASURE", "1", 1);
    setenv("FT_PLAN_GUARD", guard ? "1" : "0", 1);
    setenv("FORTY_CUDA_GRAPH", listed ? "0" : "1", 1);
    assert_int_equal(make(&q, FT_F32), FT_OK);
    for (int i = 0; i < 6; i++) step_of(&q, i);
    const unsigned char *w = (const unsigned char *)ft_params_flat(q.params, FT_WEIGHTS);
    for (size_t i = 0; i < (size_t)ft_params_flat_size(q.params) * sizeof(float); i++) h = (h ^ w[i]) * 1099511628211u;
    drop(&q);
    unsetenv("FORTY_CUDA_MEASURE");
    unsetenv("FT_PLAN_GUARD");
    unsetenv("FORTY_CUDA_GRAPH");
    ft_shim()->algorithms = 0, ft_shim()->clock = 0;
    return h;
}

static void test_choices(void **state)
{
    (void)state;
    uint64_t alone[8], first;
    int different = 0;
    for (unsigned k = 0; k < 8; k++) alone[k] = weights_of(7919 * k + 1, false, false);
    for (int k = 1; k < 8; k++) different += alone[k] != alone[0];
    assert_true(different > 0); /* by itself, the clock decides about numbers */
    assert_null(strstr(ft_backend_cuda.device->choices(), "own kernel"));
    /* the candidate that fails at once was never the fastest: a run would have ended */
    ft_backend_cuda.device->agree(agree, NULL);
    first = weights_of(3, false, false);
    int chosen = n_kept;
    assert_true(chosen >= 6); /* a convolution and two layers, forward and backward */
    for (unsigned k = 0; k < 8; k++) {
        assert_true(weights_of(7919 * k + 1, false, false) == first);  /* another process */
        assert_true(weights_of(104729 * k + 1, true, false) == first); /* other addresses */
        assert_true(weights_of(1299709 * k + 1, false, true) == first);
    }
    assert_int_equal(n_kept, chosen);
    assert_non_null(strstr(ft_backend_cuda.device->choices(), "as chosen before"));
    /* a choice that does not exist here is made again, and said */
    for (int i = 0; i < n_kept; i++) strcpy(strchr(kept[i], '\t') + 1, "engine 77");
    weights_of(5, false, false);
    assert_non_null(strstr(ft_backend_cuda.device->choices(), "does not run here"));
    assert_int_equal(n_kept, chosen);
    ft_backend_cuda.device->agree(NULL, NULL);
    ft_cuda_forget();
    ft_dnn_forget();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_memory),  cmocka_unit_test(test_not_recorded),     cmocka_unit_test(test_late),
        cmocka_unit_test(test_not_finite), cmocka_unit_test(test_host_writes),      cmocka_unit_test(test_choices),
        cmocka_unit_test(test_many_clips), cmocka_unit_test(test_nan_through_relu), cmocka_unit_test(test_steps_of_a_walk)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
