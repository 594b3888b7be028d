/* Contexts: two in one process, in two threads, each with its own log, number of threads and backend, compute what each computes
 * alone, to the bit; a graph keeps the context it was made in; what a thread has not entered does not concern it. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>

#include <cmocka.h>

#include "common/base/context.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/graph/backend.h"
#include "common/graph/layers.h"

enum { STEPS = 12, LINES = 64 };

#ifdef _OPENMP
enum { TWO = 2 };
#else
enum { TWO = 1 };
#endif

typedef struct {
    ft_context *c;
    int threads, lines, warnings, foreign, computed, seen;
    char mark; /* begins its log lines */
    float loss[STEPS];
    int rc;
} world;

static void sink(void *user, ft_log_level level, const char *text)
{
    world *w = user;
    w->lines++;
    w->warnings += level == FT_LOG_WARNING;
    w->foreign += text[0] != w->mark;
}

/* Two backends: the processor's, and each notes who computes with it, in how many threads. */
static world *of[2];

static void note(int k, const ft_call *c)
{
    of[k]->computed++;
    of[k]->seen = ft_threads_get();
    ft_log("%c computes", of[k]->mark);
    ft_backend_cpu()->kernel[FT_OP_loss_mean](c);
}
static void first_loss(const ft_call *c) { note(0, c); }
static void second_loss(const ft_call *c) { note(1, c); }
static ft_backend backend[2];

static ft_t network(ft_graph *g, ft_t x)
{
    ft_conv_opt same = {.pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}, .act = FT_ACT_SILU};
    ft_t h = ft_layer_conv(g, "conv", x, 16, (int64_t[]){3, 3, 3}, same, true); /* (B,T,H,W,16) */
    h = ft_reshape(g, ft_dropout(g, ft_layer_linear(g, "mix", h, 32, true), 0.1f), 3, (int64_t[]){2, -1, 32});
    h = ft_sdpa(g, h, h, h, (ft_sdpa_opt){.heads = 2}); /* (B,THW,32) */
    return ft_layer_linear(g, "out", h, 3, true);
}

typedef struct {
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t x, loss;
} training;

static int build(training *t)
{
    t->params = ft_params_new(5);
    t->g = ft_graph_new(t->params, FT_F32, 1);
    t->x = ft_input(t->g, "x", FT_F32, 5, (int64_t[]){2, 4, 8, 8, 3});
    ft_t y = ft_reshape(t->g, network(t->g, t->x), 5, (int64_t[]){2, 4, 8, 8, 3});
    t->loss = ft_add(t->g, ft_loss_mean(t->g, y, t->x, FT_MSE), ft_focal_frequency(t->g, y, t->x, 1.0f));
    ft_keep(t->loss);
    ft_backward(t->g, t->loss);
    ft_optimise(t->g, (ft_optim_opt){0});
    return ft_plan_new(&t->plan, t->g, FT_WEIGHTS);
}

static int step(training *t, int i, float *loss)
{
    float *x = ft_data(t->x);
    for (int k = 0; k < 2 * 4 * 8 * 8 * 3; k++) x[k] = (float)((k * 7 + i * 13) % 29) / 29;
    int rc = ft_run(t->plan, &(ft_step){.seed = 3, .step = i, .lr = 1e-2f, .ema = 0.9f});
    if (rc == FT_OK) *loss = *(float *)ft_data(t->loss);
    return rc;
}

static void close_training(training *t)
{
    ft_plan_free(t->plan);
    ft_graph_free(t->g);
    ft_params_free(t->params);
}

static void open_world(world *w, int k, int threads)
{
    *w = (world){.threads = threads, .mark = (char)('a' + k)};
    of[k] = w;
    assert_int_equal(ft_context_new(&w->c, (ft_context_opt){.log = sink, .user = w, .threads = threads}), FT_OK);
    backend[k] = *ft_backend_cpu();
    backend[k].kernel[FT_OP_loss_mean] = k ? second_loss : first_loss;
    ft_context *before = ft_context_enter(w->c);
    ft_backend_use(&backend[k]);
    assert_ptr_equal(ft_context_enter(before), w->c);
}

static void *work(void *p) /* plans again and again: that is where libraries keep things of their own */
{
    world *w = p;
    ft_context_enter(w->c);
    for (int i = 0; w->rc == FT_OK && i < STEPS; i += 3) {
        training t = {0};
        w->rc = build(&t);
        for (int k = 0; w->rc == FT_OK && k < 3; k++) w->rc = step(&t, k, &w->loss[i + k]);
        close_training(&t);
        ft_warn("%c: planned", w->mark);
        if (ft_fail(FT_EDATA, __FILE__, __LINE__, "%c", w->mark) && ft_error_message()[0] != w->mark) w->foreign++;
    }
    ft_context_enter(NULL);
    return NULL;
}

static void test_side_by_side(void **state)
{
    (void)state;
    world alone, w[2];
    pthread_t t[2];
    open_world(&alone, 0, 1);
    work(&alone);
    assert_int_equal(alone.rc, FT_OK);
    ft_context_free(alone.c);
    for (int k = 0; k < 2; k++) open_world(&w[k], k, k ? TWO : 1);
    for (int k = 0; k < 2; k++) assert_int_equal(pthread_create(&t[k], NULL, work, &w[k]), 0);
    for (int k = 0; k < 2; k++) pthread_join(t[k], NULL);
    for (int k = 0; k < 2; k++) {
        assert_int_equal(w[k].rc, FT_OK);
        assert_int_equal(w[k].seen, w[k].threads);
        assert_int_equal(w[k].computed, STEPS);
        assert_int_equal(w[k].warnings, STEPS / 3);
        assert_int_equal(w[k].lines, STEPS + STEPS / 3);
        assert_int_equal(w[k].foreign, 0);
        assert_memory_equal(w[k].loss, alone.loss, sizeof alone.loss);
        ft_context_free(w[k].c);
    }
    assert_null(ft_context_entered());
}

/* made in one context, run by a thread that is in another one, and by one that is in none */
static void test_graph_keeps_its_context(void **state)
{
    (void)state;
    world w[2];
    training t = {0};
    float loss;
    for (int k = 0; k < 2; k++) open_world(&w[k], k, k ? TWO : 1);
    ft_context_enter(w[0].c);
    assert_int_equal(build(&t), FT_OK);
    ft_context_enter(w[1].c);
    assert_int_equal(step(&t, 0, &loss), FT_OK);
    assert_int_equal(ft_threads_get(), TWO);
    assert_int_equal(ft_threads_now(), TWO);
    assert_ptr_equal(ft_context_enter(NULL), w[1].c);
    assert_int_equal(step(&t, 1, &loss), FT_OK);
    assert_null(ft_context_entered());
    assert_int_equal(w[0].computed, 2);
    assert_int_equal(w[0].lines, 2);
    assert_int_equal(w[0].seen, 1);
    assert_int_equal(w[1].computed + w[1].lines, 0);
    close_training(&t);
    for (int k = 0; k < 2; k++) ft_context_free(w[k].c);
}

static void test_levels(void **state)
{
    (void)state;
    static const ft_log_level level[] = {FT_LOG_PROGRESS, FT_LOG_NOTE, FT_LOG_WARNING, FT_LOG_NOTHING};
    for (int i = 0; i < 4; i++) {
        world w = {.mark = 'a'};
        assert_int_equal(ft_context_new(&w.c, (ft_context_opt){.log = sink, .user = &w, .level = level[i]}), FT_OK);
        ft_context_enter(w.c);
        ft_progress p;
        ft_progress_start(&p, "a bar", 3);
        p.start -= 3;
        ft_progress_end(&p, 3);
        ft_log("a note");
        ft_warn("a warning");
        assert_int_equal(w.lines, 3 - i);
        assert_int_equal(w.foreign, 0);
        assert_false(ft_log_quiet(true));
        ft_warn("nobody hears it");
        assert_true(ft_log_quiet(false));
        assert_int_equal(w.lines, 3 - i);
        ft_context_free(w.c); /* and leaves it */
        assert_null(ft_context_entered());
    }
}

/* what one context is asked does not change another, nor the thread's defaults */
static void test_apart(void **state)
{
    (void)state;
    char path[] = "/tmp/forty-test-context-XXXXXX", text[200] = "";
    world w[2];
    int fd = mkstemp(path), own = ft_threads_get();
    assert_true(fd >= 0);
    for (int k = 0; k < 2; k++) open_world(&w[k], k, 1);
    ft_context_enter(w[0].c);
    ft_log_copy(path);
    ft_log_quiet(true);
    ft_threads_set(TWO + 1);
    assert_int_equal(ft_backend_select("cuda:0"), FT_OK);
    ft_context_enter(w[1].c);
    ft_log("b alone");
    assert_int_equal(w[1].lines, 1);
    assert_int_equal(ft_threads_get(), 1);
    ft_context_enter(w[0].c);
    ft_log("a copied");
    assert_int_equal(w[0].lines, 0);
    assert_int_equal(ft_threads_get(), TWO > 1 ? TWO + 1 : 1);
    ft_context_enter(NULL);
    assert_int_equal(ft_threads_get(), own);
    for (int k = 0; k < 2; k++) ft_context_free(w[k].c);
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "a copied"));
    assert_null(strstr(text, "b alone"));
    close(fd);
    unlink(path);
    ft_context *c;
    assert_int_equal(ft_context_new(&c, (ft_context_opt){.device = "tpu"}), FT_ECONFIG);
    assert_null(c);
    assert_non_null(strstr(ft_error_message(), "tpu"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_side_by_side), cmocka_unit_test(test_graph_keeps_its_context),
                                       cmocka_unit_test(test_levels), cmocka_unit_test(test_apart)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
