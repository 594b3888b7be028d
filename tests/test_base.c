/* common/base and common/io: random numbers, memory, files, label lists, settings, safetensors, clip stores; hostile input. */
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "tests/encode.h"
#include "tests/tree.h"
#include "common/base/log.h"
#include "common/base/machine.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/io/clipstore.h"
#include "common/io/config.h"
#include "common/io/labels.h"
#include "common/io/safetensors.h"
#include "common/io/clip_sampler.h"
#include "common/io/video.h"
#include "common/io/weights.h"
#include "common/train/precision.h"
#include "common/train/train_loop.h"

static char dir[] = "/tmp/forty-test-XXXXXX";
static char path_buffer[256];
static const char *in_dir(const char *name)
{
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", dir, name);
    return path_buffer;
}
static void put(const char *name, const char *text) { assert_int_equal(ft_write_file(in_dir(name), text, strlen(text)), FT_OK); }

/* known answers of Random123 for philox4x32-10 */
static void test_philox(void **state)
{
    (void)state;
    uint32_t out[4];
    ft_philox(0, 0, 0, 0, out);
    assert_true(out[0] == 0x6627e8d5 && out[1] == 0xe169c58d && out[2] == 0xbc57ac4c && out[3] == 0x9b00dbd8);
    ft_philox(UINT64_MAX, 0, UINT64_MAX, UINT64_MAX, out);
    assert_true(out[0] == 0x408f276d && out[1] == 0x41c83b0e && out[2] == 0xa20bc7c6 && out[3] == 0x6d5451fd);
    ft_rng r = ft_rng_make(1, 2, 3);
    double s1 = 0, s2 = 0;
    for (int i = 0; i < 20000; i++) {
        double x = ft_rng_normal(&r);
        s1 += x, s2 += x * x;
    }
    assert_true(fabs(s1 / 20000) < 4 / sqrt(20000) && fabs(s2 / 20000 - 1) < 4 * sqrt(2.0 / 20000)); /* four standard errors */
}

static void test_shuffled(void **state)
{
    (void)state;
    for (int64_t n = 1; n < 70; n += 3)
        for (int64_t pass = 0; pass < 3; pass++) {
            bool seen[70] = {false};
            for (int64_t i = 0; i < n; i++) {
                int64_t k = ft_shuffled(9, 1, n, pass * n + i);
                assert_true(k >= 0 && k < n && !seen[k]); /* every pass takes every item once */
                seen[k] = true;
            }
        }
}

/* A process that works on every core: what is left is less than all. */
static void test_shared_cores(void **state)
{
    (void)state;
    pid_t other[256];
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN), n = cores < 256 ? cores : 256;
    volatile double x = 0;
    cpu_set_t may;
    if (sched_getaffinity(0, sizeof may, &may) < 0 || CPU_COUNT(&may) < cores) skip(); /* some cores would stay idle */
    if (ft_busy_seconds(&cores, NULL) < 0 || ft_threads_get() < 1) skip();             /* the kernel does not tell */
#ifndef _OPENMP
    skip();
#endif
    for (int i = 0; i < n; i++) {
        other[i] = fork();
        if (other[i] < 0) {
            n = i;
            break;
        }
        for (double end = ft_now() + 20; other[i] == 0; x += 1)
            if (ft_now() > end) _exit(0);
    }
    ft_threads_set(cores > 1 ? cores : 2);
    assert_int_equal(ft_threads_now(), ft_threads_get());
    for (double end = ft_now() + 5; ft_threads_now() == ft_threads_get() && ft_now() < end; x += 1) ft_threads_adapt();
    for (int i = 0; i < n; i++) kill(other[i], SIGKILL), waitpid(other[i], NULL, 0);
    assert_true(ft_threads_now() < ft_threads_get());
    assert_true(ft_threads_now() >= 1);
    ft_threads_all();
    assert_int_equal(ft_threads_now(), ft_threads_get());
    setenv("FORTY_THREADS_NOW", "1", 1);
    ft_threads_adapt();
    assert_int_equal(ft_threads_now(), 1);
    unsetenv("FORTY_THREADS_NOW");
    ft_threads_set(0);
}

/* What a folder was begun with holds, whatever this machine measures. */
static void test_precision(void **state)
{
    (void)state;
    ft_config *cfg;
    ft_dtype d, first[FT_WORKS];
    put("precision.json", "{\"products\": \"f32\", \"convolutions\": \"bf16\", \"depthwise\": \"f32\"}");
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    assert_int_equal(ft_config_set(cfg, "device=cpu", "test"), FT_OK);
    assert_int_equal(ft_precision_keep(cfg, dir, true), FT_OK);
    assert_string_equal(ft_config_text(cfg, "auto.products"), "f32");
    assert_true(ft_precision(cfg, FT_WORK_PRODUCTS, &d) == FT_OK && d == FT_F32);
    assert_true(ft_precision(cfg, FT_WORK_DEPTHWISE, &d) == FT_OK && d == FT_F32);
    if (ft_cpu_has_bf16()) assert_true(ft_precision(cfg, FT_WORK_CONVOLUTIONS, &d) == FT_OK && d == FT_BF16);
    else {
        assert_int_equal(ft_precision(cfg, FT_WORK_CONVOLUTIONS, &d), FT_EDEVICE);
        assert_non_null(strstr(ft_error_message(), "auto.convolutions"));
    }
    assert_int_equal(ft_precision_keep(cfg, dir, true), FT_OK); /* again, as a process that joins */
    ft_config_free(cfg);
    assert_int_equal(ft_config_new(&cfg), FT_OK); /* a wish that is not what it was begun with */
    assert_int_equal(ft_config_set(cfg, "auto.products=bf16", "test"), FT_OK);
    assert_int_equal(ft_precision_keep(cfg, dir, true), FT_ECONFIG);
    assert_non_null(strstr(ft_error_message(), "begun with f32"));
    ft_config_free(cfg);
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    put("precision.json", "{\"products\": \"f3");
    assert_int_equal(ft_precision_keep(cfg, dir, true), FT_EDATA);
    put("precision.json", "{\"products\": \"f32\", \"convolutions\": \"f16\"}");
    assert_int_equal(ft_precision_keep(cfg, dir, true), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "convolutions"));
    unlink(in_dir("precision.json"));
    ft_config_free(cfg);
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    assert_int_equal(ft_precision_keep(cfg, dir, false), FT_OK); /* who only looks leaves nothing */
    assert_false(ft_exists(in_dir("precision.json")));
    assert_string_equal(ft_config_text(cfg, "auto.products"), "measure");
    /* nothing there: measured, and kept for the next */
    assert_int_equal(ft_precision_keep(cfg, dir, true), FT_OK);
    assert_true(ft_exists(in_dir("precision.json")));
    for (int w = 0; w < FT_WORKS; w++) assert_int_equal(ft_precision(cfg, (ft_work)w, &first[w]), FT_OK);
    ft_config_free(cfg);
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    assert_int_equal(ft_precision_keep(cfg, dir, true), FT_OK);
    for (int w = 0; w < FT_WORKS; w++) assert_true(ft_precision(cfg, (ft_work)w, &d) == FT_OK && d == first[w]);
    ft_config_free(cfg);
    unlink(in_dir("precision.json"));
    /* the rule itself: bf16 has to win */
    ft_rates r = {.gflops = {{100, 160}, {100, 90}, {100, 103}}};
    assert_true(ft_bf16_wins(&r, FT_WORK_PRODUCTS));
    assert_false(ft_bf16_wins(&r, FT_WORK_CONVOLUTIONS));
    assert_false(ft_bf16_wins(&r, FT_WORK_DEPTHWISE));
}

static void test_memory(void **state)
{
    (void)state;
    ft_alloc_fail_at(2);
    void *a = ft_alloc(10), *b = ft_alloc(10), *c = ft_alloc(10);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c);
    ft_free(a);
    ft_free(c);
    ft_alloc_fail_at(0);
    int *list = NULL;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(ft_grow(&list, i, sizeof *list), FT_OK);
        list[i] = (int)i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(list[i], i);
    ft_free(list);
}

/* the n-th allocation fails, for every n: building and planning a network ends with a status, never a crash */
static void test_allocation_failures(void **state)
{
    (void)state;
    int failed = 0, done = 0;
    for (int64_t n = 1; n < 100000 && !done; n += n < 60 ? 1 : 97) {
        ft_alloc_fail_at(n);
        ft_params *p = ft_params_new(0);
        ft_graph *g = p ? ft_graph_new(p, FT_F32, 0) : NULL;
        ft_plan *plan = NULL;
        int rc = FT_ENOMEM;
        if (g) {
            ft_t y =
                ft_classifier_network(g, "x3d-tiny", ft_input(g, "x", FT_F32, 5, (int64_t[]){1, 4, 16, 16, 3}), 2, 0, 0.1, NULL);
            ft_backward(g, ft_loss_mean(g, y, ft_input(g, "t", FT_F32, 2, (int64_t[]){1, 2}), FT_MSE));
            ft_optimise(g, (ft_optim_opt){0});
            rc = ft_plan_new(&plan, g, FT_WEIGHTS);
        }
        failed += rc < 0;
        if (n > 20000 && rc < 0) fail_msg("%s", ft_error_message());
        done = rc == FT_OK;
        ft_alloc_fail_at(0);
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(p);
    }
    assert_true(done && failed > 60);
}

static void test_labels(void **state)
{
    (void)state;
    ft_labels l;
    put("a.csv", "\xEF\xBB\xBFvideo,label,group,other\r\n\"a,1.mp4\",x,g1,\"line\nbreak\"\r\n\r\nb.mp4,\"y\"\"y\",,z\r\n");
    if (ft_labels_read(&l, in_dir("a.csv"), NULL) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(l.n, 2);
    assert_string_equal(l.row[0].video, "a,1.mp4");
    assert_string_equal(l.row[0].group, "g1");
    assert_string_equal(l.row[1].label, "y\"y");
    assert_string_equal(l.row[1].group, "b.mp4"); /* no group: its own */
    ft_labels_free(&l);
    put("p.txt", "one.mp4,1\ntwo.mp4,0\n"); /* PolypDiag */
    assert_int_equal(ft_labels_read(&l, in_dir("p.txt"), NULL), FT_OK);
    assert_int_equal(l.n, 2);
    ft_labels_free(&l);
    static const struct {
        const char *text, *says;
    } bad[] = {{"video,label\na,1\nb\n", "bad.csv:3"},
               {"video,label\na,\n", "bad.csv:2"},
               {"video,label\na,1\na,0\n", "bad.csv:3"},
               {"x,y,z\n1,2,3\n", "bad.csv:1"},
               {"video,label\n\"a,1\n", "quote"},
               {"", "no rows"},
               {"video,label\n", "no rows"},
               {"video,group\na,b\n", "no column named label"},
               {"video,label\na,\"b\"c\n", "bad.csv:2"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("bad.csv", bad[i].text);
        assert_true(ft_labels_read(&l, in_dir("bad.csv"), NULL) < 0);
        if (!strstr(ft_error_message(), bad[i].says)) fail_msg("case %zu says: %s", i, ft_error_message());
    }
}

static void test_config(void **state)
{
    (void)state;
    ft_config *c;
    const char *const *items;
    assert_int_equal(ft_config_new(&c), FT_OK);
    put("c.yaml", "labels: 30\ndata:\n  size: 96\n  map: {covid: ill}\narms: [supervised, clips: x.h5]\nvae:\n  lr: 1e-4\n");
    if (ft_config_read(c, in_dir("c.yaml")) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_config_int(c, "labels"), 30);
    assert_true(ft_config_real(c, "vae.lr") == 1e-4);
    assert_int_equal(ft_config_list(c, "arms", &items), 2);
    assert_string_equal(items[1], "clips: x.h5");
    assert_non_null(strstr(ft_config_origin(c, "data.size"), "c.yaml:3"));
    assert_int_equal(ft_config_set(c, "labels=12", "--set"), FT_OK);
    assert_int_equal(ft_config_int(c, "labels"), 12);
    assert_int_equal(ft_config_write(c, in_dir("again.yaml")), FT_OK); /* what is written reads back equal */
    ft_config *d;
    assert_int_equal(ft_config_new(&d), FT_OK);
    if (ft_config_read(d, in_dir("again.yaml")) < 0) fail_msg("%s", ft_error_message());
    json_t *x = ft_config_json(c, NULL), *y = ft_config_json(d, NULL);
    assert_true(json_equal(x, y));
    json_decref(x);
    json_decref(y);
    ft_config_free(d);
    static const struct {
        const char *text, *says;
    } bad[] = {{"lables: 3\n", "Did you mean labels"}, {"labels: many\n", "bad.yaml:1"},   {"labels: 3\nlabels: 4\n", "twice"},
               {"vae: 3\n", "holds further keys"},     {"labels: [1, 2]\n", "not a list"}, {"vae:\n  lr: 7\n", "between"},
               {"evaluation: twice\n", "one of"},      {"a: [1\n", "bad.yaml:"},           {"- 1\n", "key: value"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("bad.yaml", bad[i].text);
        assert_true(ft_config_read(c, in_dir("bad.yaml")) < 0);
        if (!strstr(ft_error_message(), bad[i].says)) fail_msg("case %zu says: %s", i, ft_error_message());
    }
    assert_true(ft_config_set(c, "nonsense", "--set") < 0);
    ft_config_free(c);
}

static void test_safetensors(void **state)
{
    (void)state;
    float v[6] = {1, 2, 3, 4, 5, 6}, back[6];
    ft_st_tensor t[2] = {{.name = "a", .dtype = "F32", .ndim = 2, .dim = {2, 3}, .data = v, .bytes = 24},
                         {.name = "b", .dtype = "F32", .ndim = 1, .dim = {2}, .data = v, .bytes = 8}};
    json_t *meta = json_pack("{s:s}", "model", "m");
    assert_int_equal(ft_safetensors_write(in_dir("w.safetensors"), t, 2, meta), FT_OK);
    json_decref(meta);
    ft_safetensors st;
    assert_int_equal(ft_safetensors_read(&st, in_dir("w.safetensors")), FT_OK);
    assert_int_equal(ft_safetensors_f32(ft_safetensors_find(&st, "a"), back), FT_OK);
    assert_memory_equal(v, back, sizeof v);
    ft_safetensors_free(&st);
    char *whole;
    size_t size;
    assert_int_equal(ft_read_file(in_dir("w.safetensors"), 0, &whole, &size), FT_OK);
    for (size_t cut = 0; cut < size; cut++) { /* cut anywhere: an error, never a crash */
        assert_int_equal(ft_write_file(in_dir("cut.safetensors"), whole, cut), FT_OK);
        assert_true(ft_safetensors_read(&st, in_dir("cut.safetensors")) < 0);
        assert_non_null(strstr(ft_error_message(), "cut.safetensors"));
    }
    ft_rng r = ft_rng_make(4, 4, 4);
    for (int i = 0; i < 3000; i++) { /* a changed byte: read or refused, never a crash */
        char *copy = malloc(size);
        memcpy(copy, whole, size);
        copy[ft_rng_below(&r, (int64_t)size)] = (char)ft_rng_bits(&r);
        ft_write_file(in_dir("cut.safetensors"), copy, size);
        if (ft_safetensors_read(&st, in_dir("cut.safetensors")) == FT_OK) ft_safetensors_free(&st);
        free(copy);
    }
    ft_free(whole);
    static const char *const hostile[] = {
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[9223372036854775807,9223372036854775807],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":"
        "[2,6]}}",
        "{\"a\":1}",
        "[1]",
        "{\"a\":{}}"};
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        char file[512] = {0};
        size_t n = strlen(hostile[i]);
        file[0] = (char)n;
        memcpy(file + 8, hostile[i], n);
        ft_write_file(in_dir("cut.safetensors"), file, 8 + n + 8);
        assert_true(ft_safetensors_read(&st, in_dir("cut.safetensors")) < 0);
    }
}

static void test_clipstore(void **state)
{
    (void)state;
    uint8_t clip[2 * 8 * 8 * 3];
    ft_clipwriter *w;
    ft_clipstore s;
    for (size_t i = 0; i < sizeof clip; i++) clip[i] = (uint8_t)(i * 7);
    for (int gzip = 0; gzip < 2; gzip++) {
        assert_int_equal(ft_clipwriter_open(&w, in_dir("c.h5"), &(ft_clipwriter_opt){2, 8, 3, gzip, "{}"}), FT_OK);
        int v = ft_clipwriter_video(
            w,
            &(ft_store_video){.name = "na\xC3\xAFve.mp4", .label = "x", .group = "g", .split = "test", .frames = 9, .fps = 12.5});
        assert_int_equal(v, 0);
        for (int i = 0; i < 3; i++) {
            clip[0] = (uint8_t)i;
            assert_int_equal(ft_clipwriter_clip(w, v, i * 2, 3, clip), FT_OK);
        }
        assert_false(gzip == 0 && ft_exists(in_dir("c.h5"))); /* nothing under the final name yet */
        assert_int_equal(ft_clipwriter_finish(w), FT_OK);
        if (ft_clipstore_read(&s, in_dir("c.h5")) < 0) fail_msg("%s", ft_error_message());
        assert_true(s.n_clip == 3 && s.n_video == 1 && s.frames == 2 && s.size == 8 && s.clip[2].start == 4 &&
                    s.video[0].fps == 12.5);
        assert_string_equal(s.video[0].name, "na\xC3\xAFve.mp4");
        assert_memory_equal(ft_clip_pixels(&s, 2), clip, sizeof clip);
        ft_clipstore_free(&s);
    }
    char *whole;
    size_t size;
    assert_int_equal(ft_read_file(in_dir("c.h5"), 0, &whole, &size), FT_OK);
    for (size_t part = 0; part < 8; part++) {
        ft_write_file(in_dir("half.h5"), whole, size * part / 8);
        assert_true(ft_clipstore_read(&s, in_dir("half.h5")) < 0);
        assert_non_null(strstr(ft_error_message(), "half.h5"));
    }
    ft_free(whole);
}

static void test_sampler(void **state)
{
    (void)state;
    int64_t at[64];
    int n;
    double used;
    ft_sampling s = {FT_SAMPLE_STRIDE, 16, 3, 3, 0};
    assert_int_equal(ft_sample_clips(&s, "v", 100, 25, at, 4, &n, &used), FT_OK);
    assert_true(n == 3 && used == 3 && at[0] == 0 && at[16] == 27 && at[32] == 54 && at[47] == 99); /* over the whole video */
    s.clips = 1;
    assert_int_equal(ft_sample_clips(&s, "v", 33, 25, at, 4, &n, &used), FT_OK);
    assert_true(used == 2 && at[0] == 1);
    assert_int_equal(ft_sample_clips(&s, "v", 16, 25, at, 4, &n, &used), FT_OK);
    assert_true(used == 1 && at[0] == 0);
    assert_true(ft_sample_clips(&s, "v", 15, 25, at, 4, &n, &used) < 0);
    /* values found apart, in Python */
    static const struct {
        ft_clip_sampler how;
        int64_t total;
        double fps;
        int64_t want[8];
    } v[] = {{FT_SAMPLE_RELEASED, 16, 8, {0, 9, 15, 15, 15, 15, 15, 15}},
             {FT_SAMPLE_RELEASED, 16, 6, {0, 7, 14, 15, 15, 15, 15, 15}},
             {FT_SAMPLE_RELEASED, 16, 25, {0, 15, 15, 15, 15, 15, 15, 15}},
             {FT_SAMPLE_RELEASED, 108, 30, {0, 36, 72, 107, 107, 107, 107, 107}},
             {FT_SAMPLE_RELEASED, 220, 30, {0, 36, 72, 109, 145, 182, 218, 219}},
             {FT_SAMPLE_RELEASED, 256, 30, {0, 36, 72, 109, 145, 182, 218, 255}},
             {FT_SAMPLE_UNIFORM, 16, 8, {1, 3, 5, 7, 9, 11, 13, 15}},
             {FT_SAMPLE_UNIFORM, 800, 30, {50, 150, 250, 350, 450, 550, 650, 750}},
             {FT_SAMPLE_DENSE, 24, 30, {5, 7, 9, 11, 13, 15, 17, 19}}};
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        s = (ft_sampling){v[i].how, 8, 32, 1, 0};
        assert_int_equal(ft_sample_clips(&s, "v", v[i].total, v[i].fps, at, 4, &n, &used), FT_OK);
        for (int k = 0; k < 8; k++)
            if (at[k] != v[i].want[k])
                fail_msg("sampler %zu: frame %d is %lld, should be %lld", i, k, (long long)at[k], (long long)v[i].want[k]);
    }
    s = (ft_sampling){FT_SAMPLE_RELEASED, 8, 32, 2, 0}; /* the second of two views begins half way through the slack */
    assert_int_equal(ft_sample_clips(&s, "v", 1000, 30, at, 4, &n, &used), FT_OK);
    assert_true(n == 2 && at[0] == 0 && at[8] == 372 && at[15] == 372 + 255);
}

/* what is written comes back through the decoder: sizes, frame count, colours within the codec's loss */
static void test_video(void **state)
{
    (void)state;
    enum { N = 12, S = 32 };
    static uint8_t rgb[N * S * S * 3], back[N * 16 * 16 * 3];
    for (int f = 0; f < N; f++)
        for (int i = 0; i < S * S; i++)
            rgb[(f * S * S + i) * 3] = (uint8_t)(20 * f), rgb[(f * S * S + i) * 3 + 1] = 128, rgb[(f * S * S + i) * 3 + 2] = 40;
    static const char *const names[] = {"v.mp4", "v.gif"};
    for (int k = 0; k < 2; k++) {
        ft_video v;
        if (ft_video_write(in_dir(names[k]), rgb, N, S, S, 8) < 0) fail_msg("%s", ft_error_message());
        if (ft_video_open(&v, in_dir(names[k])) < 0) fail_msg("%s", ft_error_message());
        if (v.frames != N || v.width != S || v.height != S)
            fail_msg("%s: %lld frames of %dx%d", names[k], (long long)v.frames, v.width, v.height);
        assert_int_equal(ft_video_frames(&v, (int64_t[]){0, 5, 5, 11}, 4, 16, FT_CROP_CENTRE, back), FT_OK);
        assert_true(abs(back[16 * 16 * 3] - 100) < (k ? 24 : 8)); /* GIF has 8 levels of red */
        assert_memory_equal(back + 16 * 16 * 3, back + 2 * 16 * 16 * 3, 16 * 16 * 3);
        ft_video_close(&v);
    }
    put("text.mp4", "this is not a video, however it is called\n");
    ft_video v;
    assert_true(ft_video_open(&v, in_dir("text.mp4")) < 0);
    assert_non_null(strstr(ft_error_message(), "text.mp4"));
}

static int32_t *new_matrix(AVStream *s)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102) /* FFmpeg 6.1 moved it */
    AVCodecParameters *p = s->codecpar;
    return (int32_t *)(void *)av_packet_side_data_new(&p->coded_side_data, &p->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX, 36,
                                                      0)
        ->data;
#else
    return (int32_t *)(void *)av_stream_new_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, 36);
#endif
}

static uint8_t steps(const AVFrame *frame, int k, int plane, int x, int y)
{
    return (uint8_t)(plane ? 128 : 20 + 15 * k + (y < frame->height / 2 && x < frame->width / 2 ? 100 : 0));
}

/* A file as FFmpeg's own muxers write it: any codec, pixel format, odd sizes, times and rotation. Frame f is grey level
 * 20 + 15 f, its upper left quarter 100 brighter, so that orientation shows. */
static void encode(const char *path, enum AVCodecID id, enum AVPixelFormat format, int w, int h, int n, const int64_t *pts,
                   double rotation)
{
    AVFormatContext *f = NULL;
    const AVCodec *codec = avcodec_find_encoder(id);
    assert_true(avformat_alloc_output_context2(&f, NULL, NULL, path) >= 0);
    AVStream *s = avformat_new_stream(f, NULL);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    c->width = w, c->height = h, c->pix_fmt = format, c->time_base = (AVRational){1, 100}, c->global_quality = FF_QP2LAMBDA;
    c->flags |= AV_CODEC_FLAG_QSCALE | (f->oformat->flags & AVFMT_GLOBALHEADER ? AV_CODEC_FLAG_GLOBAL_HEADER : 0);
    c->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL;
    assert_true(avcodec_open2(c, codec, NULL) >= 0);
    avcodec_parameters_from_context(s->codecpar, c);
    s->time_base = c->time_base;
    if (rotation != 0) av_display_rotation_set(new_matrix(s), rotation);
    encode_frames(f, c, s, path, n, pts, steps);
}

static void test_odd_videos(void **state)
{
    (void)state;
    static uint8_t out[16 * 16 * 3];
    const int64_t steady[6] = {0, 4, 8, 12, 16, 20}, uneven[6] = {0, 3, 30, 31, 60, 100};
    ft_video v;
    encode(in_dir("grey.mkv"), AV_CODEC_ID_FFV1, AV_PIX_FMT_GRAY8, 37, 23, 6, steady, 0); /* odd sizes, one channel */
    if (ft_video_open(&v, in_dir("grey.mkv")) < 0) fail_msg("%s", ft_error_message());
    assert_true(v.frames == 6 && v.width == 37 && v.height == 23);
    assert_int_equal(ft_video_frames(&v, (int64_t[]){2}, 1, 16, FT_CROP_CENTRE, out), FT_OK);
    for (int k = 0; k < 3; k++) assert_true(abs(out[(14 * 16 + 14) * 3 + k] - 50) <= 1);
    ft_video_close(&v);
    encode(in_dir("uneven.mkv"), AV_CODEC_ID_FFV1, AV_PIX_FMT_GRAY8, 32, 32, 6, uneven, 0); /* variable frame rate */
    if (ft_video_open(&v, in_dir("uneven.mkv")) < 0) fail_msg("%s", ft_error_message());
    for (int k = 0; k < 6; k++) assert_true(fabs(v.time[k] - (double)uneven[k] / 100) < 1e-3);
    ft_video_close(&v);
    for (int turn = 0; turn < 360; turn += 90) { /* phones note a rotation instead of turning the pixels */
        encode(in_dir("turned.mov"), AV_CODEC_ID_MPEG4, AV_PIX_FMT_YUV420P, 48, 32, 6, steady, turn);
        if (ft_video_open(&v, in_dir("turned.mov")) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(v.rotation, turn);
        assert_int_equal(ft_video_frames(&v, (int64_t[]){1}, 1, 16, FT_CROP_CENTRE, out), FT_OK);
        int brightest = 0,
            corner[4] = {out[3 * (2 * 16 + 2)], out[3 * (2 * 16 + 13)], out[3 * (13 * 16 + 13)], out[3 * (13 * 16 + 2)]};
        for (int k = 1; k < 4; k++)
            if (corner[k] > corner[brightest]) brightest = k;
        assert_int_equal(brightest, turn / 90); /* clockwise: upper left goes to upper right, and on */
        ft_video_close(&v);
    }
}

static int set_up(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shared_cores), cmocka_unit_test(test_precision), cmocka_unit_test(test_philox),
        cmocka_unit_test(test_shuffled),     cmocka_unit_test(test_memory),    cmocka_unit_test(test_allocation_failures),
        cmocka_unit_test(test_labels),       cmocka_unit_test(test_config),    cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_clipstore),    cmocka_unit_test(test_sampler),   cmocka_unit_test(test_video),
        cmocka_unit_test(test_odd_videos)};
    return cmocka_run_group_tests_name("base and io", tests, set_up, tear_down);
}
