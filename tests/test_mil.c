/* Multiple-instance learning: what the golden files (test_models.c) do not show. Segments, learning where the positive frames are
 * from labels of whole videos, resume, every term of the loss, and files of features and frame labels, hostile ones too. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "classify/mil.h"
#include "classify/scores.h"
#include "common/base/ranges.h"
#include "common/base/files.h"
#include "tests/tree.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/io/npy.h"
#include "experiments/cli/mil_task.h"

enum { VIDEOS = 24, D = 24, FRAMES = 16 };
static char dir[64] = "/tmp/forty-mil-XXXXXX";
static char *in(const char *name)
{
    static char path[4][160];
    static int next;
    snprintf(path[next = (next + 1) % 4], sizeof path[0], "%s/%s", dir, name);
    return path[next];
}

/* Noise; in every second video a stretch of 3 to 8 snippets leans to one side. */
static void make(ft_features *f, uint8_t *truth, int64_t *snippets, uint64_t seed)
{
    ft_rng r = ft_rng_make(seed, 1, 0);
    *f = (ft_features){.path = (char *)"made", .width = D, .frames = FRAMES, .n = VIDEOS};
    f->video = ft_alloc(VIDEOS * sizeof *f->video);
    *snippets = 0;
    for (int v = 0; v < VIDEOS; v++) {
        int64_t S = 12 + ft_rng_below(&r, 40), from = ft_rng_below(&r, S - 9), n = 3 + ft_rng_below(&r, 6);
        f->video[v] = (ft_video_features){ft_format("v%d", v), S, ft_alloc((size_t)(S * D) * sizeof(float)), NULL, 0};
        for (int64_t s = 0; s < S; s++) {
            bool on = v % 2 && s >= from && s < from + n;
            truth[(*snippets)++] = on;
            for (int d = 0; d < D; d++)
                f->video[v].value[s * D + d] = (float)(0.5 * ft_rng_normal(&r) + (on && d % 3 == 0 ? 1.5 : 0));
        }
    }
}
static void release(ft_features *f)
{
    f->path = NULL;
    ft_features_free(f);
}

static ft_config *settings(int steps, const char *tokens)
{
    ft_config *cfg;
    char text[64];
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    snprintf(text, sizeof text, "mil.steps=%d", steps);
    assert_int_equal(ft_config_set(cfg, text, "test"), FT_OK);
    snprintf(text, sizeof text, "mil.tokens=%s", tokens);
    assert_int_equal(ft_config_set(cfg, text, "test"), FT_OK);
    assert_int_equal(ft_config_set(cfg, "mil.model=mil-tiny", "test"), FT_OK);
    assert_int_equal(ft_config_set(cfg, "mil.batch=6", "test"), FT_OK);
    return cfg;
}

static void train(const ft_config *cfg, const ft_features *f, const char *run, bool resume)
{
    int64_t video[VIDEOS];
    int label[VIDEOS];
    for (int v = 0; v < VIDEOS; v++) video[v] = v, label[v] = v % 2;
    json_t *about = json_pack("{s:s}", "task", "mil");
    ft_mil_set set = {f, video, label, VIDEOS, about};
    ft_mil_opt opt;
    assert_int_equal(ft_mil_options(&opt, cfg), FT_OK);
    if (ft_mil_train(&opt, &set, in(run), 3, resume) < 0) fail_msg("%s", ft_error_message());
    json_decref(about);
}

/* AUROC over snippets of new videos; every snippet alike for all of its frames */
static double judge(const ft_config *cfg, const char *run)
{
    ft_features f;
    static uint8_t truth[VIDEOS * 64];
    int64_t n, video[VIDEOS];
    make(&f, truth, &n, 77);
    for (int v = 0; v < VIDEOS; v++) video[v] = v;
    float p[VIDEOS], *score = ft_alloc((size_t)n * sizeof *score), *row = ft_alloc((size_t)n * 2 * sizeof *row);
    int *label = ft_alloc((size_t)n * sizeof *label);
    ft_mil_opt opt;
    assert_int_equal(ft_mil_options(&opt, cfg), FT_OK);
    if (ft_mil_score(&opt, in(run), &f, video, VIDEOS, p, score) < 0) fail_msg("%s", ft_error_message());
    for (int64_t i = 0; i < n; i++) row[2 * i + 1] = score[i], row[2 * i] = 1 - score[i], label[i] = truth[i];
    double auroc = ft_score(row, label, n, 2, 1).auroc;
    ft_free(score);
    ft_free(row);
    ft_free(label);
    release(&f);
    return auroc;
}

static void test_learns(void **state)
{
    const char *tokens = *state;
    ft_features f;
    static uint8_t truth[VIDEOS * 64];
    int64_t n;
    make(&f, truth, &n, 5);
    ft_config *cfg = settings(150, tokens), *none = settings(1, tokens);
    train(cfg, &f, tokens, false);
    train(none, &f, "untrained", false);
    double trained = judge(cfg, tokens), before = judge(none, "untrained");
    if (trained < 0.9 || before > 0.8) fail_msg("AUROC of snippets %.3f, %.3f untrained", trained, before);
    remove_tree(in("untrained"));
    ft_config_free(cfg);
    ft_config_free(none);
    release(&f);
}

static void test_resume(void **state)
{
    (void)state;
    ft_features f;
    static uint8_t truth[VIDEOS * 64];
    int64_t n;
    char a[65], b[65];
    make(&f, truth, &n, 5);
    ft_config *half = settings(6, "channel"), *whole = settings(12, "channel");
    train(whole, &f, "once", false);
    train(half, &f, "twice", false);
    train(whole, &f, "twice", true);
    assert_int_equal(ft_sha256_file(in("once/state.safetensors"), a), FT_OK);
    assert_int_equal(ft_sha256_file(in("twice/state.safetensors"), b), FT_OK);
    assert_string_equal(a, b);
    ft_config_free(half);
    ft_config_free(whole);
    release(&f);
}

static void test_segments(void **state)
{
    (void)state;
    static float x[100], y[32];
    for (int S = 1; S <= 100; S++) {
        for (int i = 0; i < S; i++) x[i] = (float)(i * i);
        ft_mean_ranges(x, S, 1, 32, y);
        for (int t = 0; t < 32; t++) { /* numpy: linspace(0, S, 33, dtype=int) */
            int from = (int)floor(t * (S / 32.0) + 1e-9), to = (int)floor((t + 1) * (S / 32.0) + 1e-9);
            double sum = 0;
            for (int i = from; i < to; i++) sum += (double)x[i];
            double want = to > from ? sum / (to - from) : (double)x[from];
            if (fabs((double)y[t] - want) > 1e-6 * (1 + want))
                fail_msg("S %d, segment %d: %g, %g is right", S, t, (double)y[t], want);
        }
    }
}

/* which of embedding, score and video each term moves */
static void test_terms(void **state)
{
    (void)state;
    static const struct {
        double margin, contrast;
        double moved[3];
    } c[] = {{-1, 0, {0, 0, 1}}, {1, 0, {0, 1, 1}}, {-1, 1, {1, 0, 1}}};
    for (size_t k = 0; k < sizeof c / sizeof *c; k++) {
        ft_params *p = ft_params_new(0);
        ft_graph *g = ft_graph_new(p, FT_F32, 1);
        ft_plan *plan;
        ft_init some = {FT_INIT_NORMAL, 1, NULL};
        ft_t e = ft_param(g, "e", 3, (int64_t[]){4, 16, 5}, some), s = ft_param(g, "s", 2, (int64_t[]){4, 16}, some),
             v = ft_param(g, "v", 2, (int64_t[]){4, 1}, some);
        ft_mil_loss_terms l =
            ft_mil_loss(g, e, ft_unary(g, FT_SIGMOID, s), v, (ft_mil_weights){.margin = c[k].margin, .contrast = c[k].contrast});
        ft_backward(g, l.total);
        assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
        assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
        for (int i = 0; i < 3; i++) {
            const ft_param_info *at = ft_params_at(p, i);
            double sum = 0;
            for (int64_t q = 0; q < at->count; q++) sum += fabs((double)ft_params_grad(p)[at->offset + q]);
            if ((sum > 0) != (c[k].moved[i] > 0)) fail_msg("case %zu: the gradient of %s is %g", k, at->name, sum);
        }
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(p);
    }
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void write_npy(const char *path, const char *header, const void *data, size_t size)
{
    char text[256] = "\x93NUMPY\x01", buffer[1024];
    size_t n = strlen(header) + 1;
    text[8] = (char)n;
    memcpy(buffer, text, 10);
    snprintf(buffer + 10, sizeof buffer - 10, "%s\n", header);
    if (size) memcpy(buffer + 10 + n, data, size);
    assert_int_equal(ft_write_file(path, buffer, 10 + n + size), FT_OK);
}

static void wrong(const char *path, const char *because)
{
    ft_features f;
    assert_true(ft_features_read(&f, path) < 0);
    if (!strstr(ft_error_message(), because)) fail_msg("'%s' does not say '%s'", ft_error_message(), because);
}

static void test_files(void **state)
{
    (void)state;
    static const float x[6] = {1, 2, 3, 4, 5, 6}, bad[6] = {1, 2, 3, 4, NAN, 6};
    static const double twice[4] = {1, 2, 3, 4};
    ft_features f;
    ft_mkdirs(in("npy"));
    write_npy(in("npy/b.npy"), "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1, 2), }", x, sizeof x);
    write_npy(in("npy/a.npy"), "{'descr': '<f8', 'fortran_order': False, 'shape': (2, 2), }", twice, sizeof twice);
    assert_int_equal(ft_features_read(&f, in("npy")), FT_OK);
    assert_int_equal(f.n, 2);
    assert_int_equal(f.width, 2);
    assert_int_equal(ft_features_find(&f, "clips/b.mp4"), 1);
    assert_int_equal(ft_features_find(&f, "a"), 0);
    assert_int_equal(ft_features_find(&f, "c.mp4"), -1);
    assert_int_equal(f.video[1].snippets, 3);
    assert_memory_equal(f.video[1].value, x, sizeof x);
    assert_true(f.video[0].value[3] >= 4 && f.video[0].value[3] <= 4);
    f.frames = 16;
    assert_int_equal(ft_features_write(&f, in("f.safetensors")), FT_OK);
    ft_features_free(&f);
    assert_int_equal(ft_features_read(&f, in("f.safetensors")), FT_OK); /* there and back */
    assert_int_equal(f.frames, 16);
    assert_memory_equal(f.video[ft_features_find(&f, "b")].value, x, sizeof x);
    ft_features_free(&f);

    static const struct {
        const char *header, *because;
        const void *data;
        size_t size;
    } w[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", "not finite", bad, sizeof bad},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 3), }", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2), }", "Fortran", x, sizeof x},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (3,), }", "not read", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }", "dims", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", "features", x, 0},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 2), }", "damaged", x, sizeof x},
        {"{'descr': '<f4'}", "damaged", x, sizeof x},
        {"{'fortran_order': False, 'shape': (3, 2), 'descr'", "damaged", x, sizeof x}, /* nothing is read behind the header */
        {"{'fortran_order': False, 'shape': (3, 2), 'descr':", "not read", x, sizeof x},
        {"{'fortran_order': False, 'shape': (3, 2), 'descr': '", "not read", x, sizeof x},
        {"{'fortran_order': False, 'shape': (3, 2), 'descr': '<f4", "not read", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), } 'x'", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, -2), }", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3 x 2), }", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2.0), }", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': Falsch, 'shape': (3, 2), }", "damaged", x, sizeof x},
        {"{'descr': \"'shape': (3, 2)\", 'fortran_order': False}", "not read", x, sizeof x}, /* a key within a text */
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), 'shape': (1, 2)}", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2305843009213693952, 2), }", "damaged", x, sizeof x},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 1), }", "damaged", x, 0}};
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) {
        remove_tree(in("npy"));
        ft_mkdirs(in("npy"));
        write_npy(in("npy/bad.npy"), w[i].header, w[i].data, w[i].size);
        wrong(in("npy"), w[i].because);
        assert_non_null(strstr(ft_error_message(), "bad"));
    }
    ft_write_file(in("npy/bad.npy"), "\x93NUMPY\x01\x00\xff\xff{'descr'", 18);
    wrong(in("npy"), "cut off");
    ft_write_file(in("npy/bad.npy"), "no", 2);
    wrong(in("npy"), "not a NumPy file");
    remove_tree(in("npy/bad.npy"));
    wrong(in("npy"), "no features");
}

/* one row for video "a", and what the file says of its snippets */
static const char *with_frames(const char *frames)
{
    char text[400];
    int n =
        snprintf(text + 8, sizeof text - 8,
                 "{\"__metadata__\":{\"frames_per_snippet\":\"%s\"},\"a\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":["
                 "0,8]}}",
                 frames);
    memset(text, 0, 8);
    text[0] = (char)n, text[1] = (char)(n >> 8);
    memset(text + 8 + n, 0, 8);
    assert_int_equal(ft_write_file(in("f.safetensors"), text, 16 + (size_t)n), FT_OK);
    return in("f.safetensors");
}

static void test_features(void **state)
{
    (void)state;
    static const char *const bad[] = {"-1", "0", "", "16x", "1.5", " 16", "100001", "99999999999999999999"};
    static const float x[4] = {1, 2, 3, 4};
    ft_features f;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) wrong(with_frames(bad[i]), "whole number");
    assert_int_equal(ft_features_read(&f, with_frames("100000")), FT_OK);
    assert_int_equal(f.frames, 100000);
    ft_features_free(&f);

    /* names that the file cannot hold, or not twice, are an error: no video is dropped in silence */
    static const char *const names[] = {"caf\xe9", "a", "a\nb"};
    ft_video_features v[2] = {{(char *)"a", 1, (float *)x, NULL, 0}, {NULL, 1, (float *)x, NULL, 0}};
    ft_features made = {.path = (char *)"made", .video = v, .n = 2, .width = 4, .frames = 16};
    for (int i = 0; i < 3; i++) {
        v[1].name = (char *)names[i];
        assert_int_equal(ft_features_write(&made, in("named.safetensors")), FT_EDATA);
        assert_false(ft_exists(in("named.safetensors")));
    }
    v[1].name = (char *)"b.mp4";
    made.frames = FT_SNIPPET_MOST + 1;
    assert_int_equal(ft_features_write(&made, in("named.safetensors")), FT_EDATA);
    made.frames = 0; /* not known: not written */
    assert_int_equal(ft_features_write(&made, in("named.safetensors")), FT_OK);
    assert_int_equal(ft_features_read(&f, in("named.safetensors")), FT_OK);
    assert_int_equal(f.frames, 0);
    assert_int_equal(ft_features_find(&f, "clips/b.mp4"), 1);
    assert_int_equal(ft_features_find(&f, "b"), -1);
    assert_int_equal(ft_features_find(&f, "clips/a.avi"), 0);
    ft_features_free(&f);
    remove_tree(in("npy"));
    ft_mkdirs(in("npy"));
    write_npy(in("npy/caf\xe9.npy"), "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 2L), }", x, sizeof x);
    wrong(in("npy"), "not UTF-8");
    remove_tree(in("npy"));
    ft_mkdirs(in("npy"));
    write_npy(in("npy/a.npy"), "{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 2L), }", x, sizeof x);
    for (int n = 1, more = 1; more; n++) { /* with one allocation failing, whichever: everything or an error */
        ft_alloc_fail_at(n);
        int64_t begin = ft_alloc_count();
        int rc = ft_features_read(&f, in(n % 2 ? "npy" : "named.safetensors"));
        ft_alloc_fail_at(0);
        more = n < 60 || ft_alloc_count() - begin >= n;
        assert_true(rc == FT_ENOMEM || rc == FT_OK);
        if (rc < 0) continue;
        assert_int_equal(f.n, n % 2 ? 1 : 2);
        assert_memory_equal(f.video[0].value, x, sizeof x);
        assert_int_equal(ft_features_find(&f, "a"), 0);
        ft_features_free(&f);
    }
}

static void test_frames(void **state)
{
    (void)state;
    static const char list[] = "video,start,end\nb,2,4\nb,6,60\n\"c,d\",0,1\nelsewhere,0,9\n";
    static const uint8_t want[16] = {0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0};
    static const ft_framed_video v[] = {{"a", 4}, {"b", 8}, {"c,d", 4}};
    uint8_t truth[16];
    double value[16];
    ft_write_file(in("frames.csv"), list, sizeof list - 1);
    assert_int_equal(ft_frame_labels_read(in("frames.csv"), v, 3, truth), FT_OK);
    assert_memory_equal(truth, want, sizeof want);
    for (int i = 0; i < 16; i++) value[i] = want[i];
    write_npy(in("gt.npy"), "{'descr': '<f8', 'fortran_order': False, 'shape': (16,), }", value, sizeof value);
    memset(truth, 9, sizeof truth);
    assert_int_equal(ft_frame_labels_read(in("gt.npy"), v, 3, truth), FT_OK);
    assert_memory_equal(truth, want, sizeof want);
    assert_true(ft_frame_labels_read(in("gt.npy"), v, 2, truth) < 0); /* other videos than it is for */
    static const char *const bad[] = {"b,2,4\n", "video,start,end\nb,4,2\n", "video,start,end\nb,x,2\n",
                                      "video,start,end\nb,2\n"};
    for (int i = 0; i < 4; i++) {
        ft_write_file(in("bad.csv"), bad[i], strlen(bad[i]));
        assert_true(ft_frame_labels_read(in("bad.csv"), v, 3, truth) < 0);
        assert_non_null(strstr(ft_error_message(), i ? "bad.csv:2" : "bad.csv:1"));
    }
}

static int begin(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}
static int end(void **state)
{
    (void)state;
    return remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {{"learns, tokens channel", test_learns, NULL, NULL, (void *)"channel"},
                                       {"learns, tokens snippet", test_learns, NULL, NULL, (void *)"snippet"},
                                       cmocka_unit_test(test_resume),
                                       cmocka_unit_test(test_segments),
                                       cmocka_unit_test(test_terms),
                                       cmocka_unit_test(test_files),
                                       cmocka_unit_test(test_features),
                                       cmocka_unit_test(test_frames)};
    return cmocka_run_group_tests(tests, begin, end);
}
