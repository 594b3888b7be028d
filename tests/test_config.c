/* Settings: hostile YAML is refused at once, and what is written reads back equal. What they make of a list of videos: sides that
 * share nothing, facts, twins, arms; of many videos as well. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/io/config.h"
#include "experiments/arms/arm_list.h"
#include "experiments/data/splits.h"
#include "experiments/statistics/confounds.h"
#include "experiments/sweep/experiment_open.h"
#include "tests/tree.h"

static char dir[] = "/tmp/forty-config-XXXXXX";
static char path_buffer[256];
static const char *in_dir(const char *name)
{
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", dir, name);
    return path_buffer;
}

static double now(void) /* of this process: others may be at work here */
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void put(const char *name, const char *text) { assert_int_equal(ft_write_file(in_dir(name), text, strlen(text)), FT_OK); }

/* Refused within a second, in these words. */
static void refused(const char *name, const char *says)
{
    ft_config *c;
    double start = now();
    assert_int_equal(ft_config_new(&c), FT_OK);
    assert_int_equal(ft_config_read(c, in_dir(name)), FT_ECONFIG);
    if (!strstr(ft_error_message(), says)) fail_msg("%s says: %.300s", name, ft_error_message());
    if (now() - start > 1) fail_msg("%s takes %.1f s", name, now() - start);
    ft_config_free(c);
}

static ft_config *read_back(const char *name)
{
    ft_config *c;
    assert_int_equal(ft_config_new(&c), FT_OK);
    if (ft_config_read(c, in_dir(name)) < 0) fail_msg("%s", ft_error_message());
    return c;
}

static void repeat(ft_text *t, const char *s, int n)
{
    for (int i = 0; i < n; i++) fputs(s, t->f);
}

static void put_text(const char *name, ft_text *t)
{
    if (ft_text_write(t, in_dir(name)) < 0) fail_msg("%s", ft_error_message());
}

static void put_repeated(const char *name, const char *head, const char *what, int n, const char *tail)
{
    ft_text t;
    assert_int_equal(ft_text_begin(&t), FT_OK);
    fputs(head, t.f);
    repeat(&t, what, n);
    fputs(tail, t.f);
    put_text(name, &t);
}

static void test_zero_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {{"\"seed\\0foo\": 3\n", "bad.yaml:1:1: text with a 0 byte"},
               {"labels: 3\ndata: {clips: \"a.h5\\0b\"}\n", "bad.yaml:2:15: text with a 0 byte"},
               {"arms: [supervised, \"noise\\0x\"]\n", "0 byte"},
               {"data: {map: {\"a\\0b\": c}}\n", "0 byte"},
               {"include: [\"a.yaml\\0b\"]\n", "0 byte"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put("bad.yaml", bad[i].text);
        refused("bad.yaml", bad[i].says);
    }
    assert_int_equal(ft_write_file(in_dir("raw.yaml"), "labels: 3\nseed\0foo: 3\n", 22), FT_OK);
    refused("raw.yaml", "raw.yaml:2: control characters");
    put("two.yaml", "seed: 1\n---\nseed: 2\n");
    refused("two.yaml", "a second document");
}

static void test_written_reads_back(void **state)
{
    (void)state;
    char longest[FT_PATH_GIVEN + 1], quotes[FT_PATH_GIVEN + 1];
    memset(longest, 'x', FT_PATH_GIVEN), memset(quotes, '"', FT_PATH_GIVEN);
    longest[FT_PATH_GIVEN] = quotes[FT_PATH_GIVEN] = 0;
    memcpy(quotes + 890, ": b", 3); /* a key that needs more than the 1,024 bytes that YAML reads */
    const char *const hostile[] = {"\"",
                                   "\"\"",
                                   "'",
                                   "''",
                                   "\\",
                                   "\\\\",
                                   "\\n",
                                   "a\\",
                                   "\\\"",
                                   "# x",
                                   "x # y",
                                   "a: b",
                                   "a: b: c",
                                   ": ",
                                   ":",
                                   "a:",
                                   " a",
                                   "a ",
                                   "  ",
                                   "\xF0\x9F\xA9\xBA",
                                   "caf\xC3\xA9",
                                   "{",
                                   "}",
                                   "{a: b}",
                                   "[",
                                   "]",
                                   "[a, b]",
                                   ",",
                                   "a, b",
                                   "- x",
                                   "-",
                                   "--",
                                   "---",
                                   "...",
                                   "? x",
                                   "?",
                                   "yes",
                                   "No",
                                   "null",
                                   "NULL",
                                   "~",
                                   "true",
                                   "1e5",
                                   "12",
                                   "-1",
                                   "+1",
                                   ".5",
                                   ".inf",
                                   "0x10",
                                   "0o7",
                                   "1:30",
                                   "2026-11-28",
                                   "",
                                   "!x",
                                   "!!int",
                                   "&a",
                                   "*a",
                                   "|",
                                   ">",
                                   "%",
                                   "%x",
                                   "@",
                                   "`",
                                   "=",
                                   "<<",
                                   "a \"b\": c",
                                   "key with spaces: x",
                                   "clips: x.h5",
                                   "clips: a # b",
                                   "no: yes",
                                   "a: ",
                                   "{x: y",
                                   "\xEF\xBB\xBF"
                                   "bom",
                                   "x: \xEF\xBF\xBE\xEF\xBF\xBF",
                                   "\xC2\xA0",
                                   longest,
                                   quotes};
    enum { N = sizeof hostile / sizeof *hostile };
    ft_config *c, *list;
    const char *const *item;
    ft_text t;
    for (int i = 0; i < N; i++) {
        char *set = ft_format("data.clips=%s", hostile[i]);
        assert_int_equal(ft_config_new(&c), FT_OK);
        if (ft_config_set(c, set, "--set") < 0) fail_msg("%s", ft_error_message());
        if (ft_config_write(c, in_dir("c.yaml")) < 0) fail_msg("%s", ft_error_message());
        ft_config *d = read_back("c.yaml");
        assert_string_equal(ft_config_text(d, "data.clips"), hostile[i]);
        ft_config_free(c);
        ft_config_free(d);
        ft_free(set);
    }
    assert_int_equal(ft_text_begin(&t), FT_OK); /* lists, whose items come from YAML alone */
    for (int i = 0; i < N; i++) {
        fputs(i ? ", \"" : "arms: [\"", t.f);
        for (const unsigned char *p = (const unsigned char *)hostile[i]; *p; p++)
            if (*p == 0xEF) fprintf(t.f, "\\u%04X", (*p & 15u) << 12 | (p[1] & 63u) << 6 | (p[2] & 63u)), p += 2;
            else fprintf(t.f, "%s%c", *p == '"' || *p == '\\' ? "\\" : "", *p);
        fputc('"', t.f);
    }
    fputs("]\ndata: {map: []}\n", t.f);
    put_text("list.yaml", &t);
    list = read_back("list.yaml");
    assert_int_equal(ft_config_list(list, "arms", &item), N);
    for (int i = 0; i < N; i++) assert_string_equal(item[i], hostile[i]);
    assert_int_equal(ft_config_write(list, in_dir("again.yaml")), FT_OK);
    c = read_back("again.yaml");
    json_t *x = ft_config_json(list, NULL), *y = ft_config_json(c, NULL);
    assert_true(json_equal(x, y));
    assert_int_equal(ft_config_list(c, "data.map", &item), 0);
    json_decref(x);
    json_decref(y);
    ft_config_free(c);
    assert_int_equal(ft_text_begin(&t), FT_OK); /* with origins as comments it is read as well */
    ft_config_print(list, t.f);
    put_text("print.yaml", &t);
    c = read_back("print.yaml");
    assert_int_equal(ft_config_list(c, "arms", &item), N);
    ft_config_free(c);
    ft_config_free(list);
}

/* A setting is still read by the name that it had in older files. */
static void test_former_names(void **state)
{
    (void)state;
    put("former.yaml", "vae: {lpips: 0.5, lpips_model: lpips-alex}\n");
    ft_config *c = read_back("former.yaml");
    assert_true(ft_config_real(c, "vae.perceptual") == 0.5);
    assert_string_equal(ft_config_text(c, "vae.perceptual_model"), "lpips-alex");
    ft_config_free(c);
}

static void test_nothing_is_cut(void **state)
{
    (void)state;
    const char *const *item;
    ft_text t;
    put_repeated("pair.yaml", "data: {map: {k", "x", 700, ": vvv}}\n");
    ft_config *c = read_back("pair.yaml");
    assert_int_equal(ft_config_list(c, "data.map", &item), 1);
    assert_int_equal(strlen(item[0]), 706);
    put_repeated("pair.yaml", "data: {map: {k: ", "x", 1000, "}}\n");
    refused("pair.yaml", "at most 900");
    for (int n = 256; n < 258; n++) {
        assert_int_equal(ft_text_begin(&t), FT_OK);
        fputs("arms=x", t.f);
        repeat(&t, ",x", n - 1);
        assert_int_equal(ft_text_end(&t), FT_OK);
        assert_int_equal(ft_config_set(c, t.text, "--set"), n == 256 ? FT_OK : FT_ECONFIG);
        ft_text_free(&t);
        assert_int_equal(ft_config_list(c, "arms", &item), 256);
    }
    assert_non_null(strstr(ft_error_message(), "more than 256 entries"));
    put_repeated("many.yaml", "arms: [x", ",x", 256, "]\n");
    refused("many.yaml", "many.yaml:1:520: arms has more than 256 entries");
    ft_config_free(c);
}

static void test_bombs(void **state)
{
    (void)state;
    static const char *const deep[] = {"[", "{a: ", "- ", "? ", "[{"};
    ft_text t;
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) {
        assert_int_equal(ft_text_begin(&t), FT_OK);
        fputs(strchr("-?", *deep[i]) ? "" : "arms: ", t.f);
        repeat(&t, deep[i], 300000 / (int)strlen(deep[i]));
        put_text("deep.yaml", &t);
        refused("deep.yaml", "deep");
    }
    assert_int_equal(ft_text_begin(&t), FT_OK); /* nine levels of ten aliases each */
    fputs("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n", t.f);
    for (int i = 1; i < 10; i++) {
        fprintf(t.f, "a%d: &a%d [*a%d", i, i, i - 1);
        for (int k = 1; k < 10; k++) fprintf(t.f, ",*a%d", i - 1);
        fputs("]\n", t.f);
    }
    put_text("laughs.yaml", &t);
    refused("laughs.yaml", "more than 100000 values");
    assert_int_equal(ft_text_begin(&t), FT_OK); /* a tower of aliases */
    fputs("a0: &a0 [x]\n", t.f);
    for (int i = 1; i < 100; i++) fprintf(t.f, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    put_text("tower.yaml", &t);
    refused("tower.yaml", "64 deep");
    put("circle.yaml", "vae: &v {lr: *v}\n");
    refused("circle.yaml", "stands in what it repeats");
    put("none.yaml", "seed: *v\n");
    refused("none.yaml", "none.yaml:1");
    assert_int_equal(ft_text_begin(&t), FT_OK);
    for (int i = 0; i < 1000; i++) fprintf(t.f, "a%d: &a%d 1\n", i, i);
    put_text("anchors.yaml", &t);
    refused("anchors.yaml", "anchors");
    put_repeated("wide.yaml", "arms: [", "x,", 200000, "x]\n");
    refused("wide.yaml", "more than 100000 values");
    assert_int_equal(ft_text_begin(&t), FT_OK); /* a long name that is none */
    repeat(&t, "lables", 100000);
    fputs(": 3\n", t.f);
    put_text("name.yaml", &t);
    refused("name.yaml", "name.yaml:1");
    put("alias.yaml", "vae: &v\n  lr: 0.001\ngenerator: *v\narms: [&a supervised, noise]\nbaseline: *a\n");
    ft_config *c = read_back("alias.yaml"); /* those that stand for little are read */
    assert_true(ft_config_real(c, "generator.lr") == 0.001);
    assert_string_equal(ft_config_text(c, "baseline"), "supervised");
    ft_config_free(c);
}

static void test_include_bomb(void **state)
{
    (void)state;
    ft_text t;
    for (int i = 0; i < 6; i++) { /* each includes the next ten times: 10^5 files */
        char name[32];
        snprintf(name, sizeof name, "i%d.yaml", i);
        assert_int_equal(ft_text_begin(&t), FT_OK);
        if (i == 5) fputs("seed: 1\n", t.f);
        else {
            fprintf(t.f, "include: [i%d.yaml", i + 1);
            for (int k = 1; k < 10; k++) fprintf(t.f, ", i%d.yaml", i + 1);
            fputs("]\n", t.f);
        }
        put_text(name, &t);
    }
    refused("i0.yaml", "more than 100 files are included");
    ft_config_free(read_back("i4.yaml"));
}

/* ---- what is made of many videos ------------------------------------------------------------------------------------------ */

enum { SIDE = 16, CLIP = SIDE * SIDE * 3 };

/* A store of one-frame clips, one for each video: videos in `groups` groups, two classes; without pixels if asked. */
static void store_make(ft_clipstore *s, int64_t n, int64_t groups, bool pixels)
{
    *s = (ft_clipstore){.path = "store.h5", .n_video = n, .n_clip = n, .frames = 1, .size = SIDE};
    s->video = ft_alloc_n(n, sizeof *s->video);
    s->clip = ft_alloc_n(n, sizeof *s->clip);
    if (pixels) s->pixels = ft_alloc_n(n, CLIP);
    for (int64_t i = 0; i < n; i++) {
        s->video[i] = (ft_store_video){.name = ft_format("video-%06lld", (long long)i),
                                       .label = i % 2 ? "b" : "a",
                                       .group = ft_format("group-%06lld", (long long)(i * 7919 % groups)),
                                       .split = "",
                                       .source = "",
                                       .sha256 = "",
                                       .facts = ""};
        s->clip[i] = (ft_store_clip){(int32_t)i, 0, 1};
    }
}

static void store_free(ft_clipstore *s)
{
    for (int64_t i = 0; i < s->n_video; i++) {
        ft_free((void *)(uintptr_t)s->video[i].name);
        ft_free((void *)(uintptr_t)s->video[i].group);
    }
    ft_free(s->video);
    ft_free(s->clip);
    ft_free(s->pixels);
}

static ft_config *settings(const char *const *set)
{
    ft_config *c;
    assert_int_equal(ft_config_new(&c), FT_OK);
    for (; *set; set++)
        if (ft_config_set(c, *set, "test") < 0) fail_msg("%s", ft_error_message());
    return c;
}

static void in_time(const char *what, double start)
{
    if (now() - start > 5) fail_msg("%s takes %.1f s", what, now() - start); /* all pairs, under the sanitizers: minutes */
}

static void test_many_videos(void **state)
{
    (void)state;
    static const int64_t groups[] = {20000, 7000, 40};
    ft_config *cfg = settings((const char *const[]){"evaluation=cross-validation", "splits=2", "labels=5000", NULL});
    for (int g = 0; g < 3; g++) {
        ft_clipstore s;
        ft_classes c;
        ft_fold *fold;
        int n;
        store_make(&s, 20000, groups[g], false);
        double start = now();
        assert_int_equal(ft_classes_make(&c, cfg, &s), FT_OK);
        if (ft_folds_make(&fold, &n, cfg, &s, &c) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(n, 10);
        ft_videos labelled, unlabelled;
        int64_t *clip, clips;
        if (ft_split_make(&labelled, &unlabelled, cfg, &s, &c, &fold[3], 1) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(labelled.n, 5000);
        assert_int_equal(labelled.n + unlabelled.n, fold[3].pool.n);
        assert_int_equal(ft_split_save(in_dir("split.json"), &s, &fold[3], &labelled, 1), FT_OK);
        assert_int_equal(ft_first_clips_of(&s, &fold[3].test, 1, &clip, &clips), FT_OK);
        assert_int_equal(clips, fold[3].test.n);
        in_time("20,000 videos", start);
        ft_free(clip);
        ft_free(labelled.video);
        ft_free(unlabelled.video);
        ft_folds_free(fold, n);
        ft_classes_free(&c);
        store_free(&s);
    }
    ft_config_free(cfg);
}

/* Lists name 10 of 40 videos as validation: they stand, unless another number is asked for. */
static void test_validation_asked(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        int64_t validation, pool;
    } of[] = {{"validation=-1", 10, 20}, {"validation=10", 10, 20}, {"validation=0", 0, 30}, {"validation=24", 24, 6}};
    ft_clipstore s;
    ft_classes c;
    ft_fold *fold;
    int n;
    store_make(&s, 40, 40, false);
    for (int i = 0; i < 40; i++) s.video[i].split = i < 10 ? "test" : i < 20 ? "val" : "train";
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        ft_config *cfg = settings((const char *const[]){"labels=4", of[i].set, NULL});
        assert_int_equal(ft_classes_make(&c, cfg, &s), FT_OK);
        assert_int_equal(ft_folds_make(&fold, &n, cfg, &s, &c), FT_OK);
        assert_int_equal(fold[0].test.n, 10);
        assert_int_equal(fold[0].validation.n, of[i].validation);
        assert_int_equal(fold[0].pool.n, of[i].pool);
        for (int64_t k = 0; i < 2 && k < 10; k++) assert_int_equal(fold[0].validation.video[k], 10 + k);
        ft_folds_free(fold, n);
        ft_classes_free(&c);
        ft_config_free(cfg);
    }
    store_free(&s);
}

static void test_sides_share_nothing(void **state)
{
    (void)state;
    ft_config *cfg = settings((const char *const[]){"labels=4", NULL});
    ft_clipstore s;
    ft_classes c;
    ft_fold *fold;
    int n;
    store_make(&s, 40, 40, false);
    for (int i = 0; i < 40; i++) s.video[i].split = i < 10 ? "test" : i < 20 ? "val" : "train";
    assert_int_equal(ft_classes_make(&c, cfg, &s), FT_OK);
    assert_int_equal(ft_folds_make(&fold, &n, cfg, &s, &c), FT_OK);
    const char *own = s.video[25].group, *name = s.video[25].name;
    for (int other = 5; other < 20; other += 10) { /* before a file is written, and whoever asks */
        ft_fold *none;
        ft_videos labelled, unlabelled;
        s.video[25].group = s.video[other].group;
        assert_int_equal(ft_folds_make(&none, &n, cfg, &s, &c), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), s.video[25].group));
        assert_non_null(strstr(ft_error_message(), s.video[25].name));
        assert_non_null(strstr(ft_error_message(), s.video[other].name));
        assert_int_equal(ft_split_make(&labelled, &unlabelled, cfg, &s, &c, &fold[0], 0), FT_EDATA);
        assert_int_equal(ft_split_save(in_dir("leak.json"), &s, &fold[0], &fold[0].pool, 0), FT_EDATA);
        s.video[25].group = own;
        s.video[25].name = s.video[other].name;
        assert_int_equal(ft_folds_make(&none, &n, cfg, &s, &c), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "stands in two splits"));
        s.video[25].name = name;
    }
    assert_false(ft_exists(in_dir("leak.json")));
    int64_t pool = fold[0].pool.video[0];
    fold[0].pool.video[0] = fold[0].test.video[0]; /* a video itself */
    assert_int_equal(ft_split_save(in_dir("leak.json"), &s, &fold[0], &fold[0].pool, 0), FT_EDATA);
    fold[0].pool.video[0] = pool;
    ft_folds_free(fold, 1);
    ft_classes_free(&c);
    store_free(&s);
    ft_config_free(cfg);
}

/* Halves of a store are compared. */
static int twins(const ft_clipstore *s, ft_twin **list)
{
    ft_videos side[2] = {{ft_alloc_n(s->n_video, 8), 0}, {ft_alloc_n(s->n_video, 8), 0}};
    int n;
    for (int64_t i = 0; i < s->n_video; i++) {
        ft_videos *v = &side[i >= s->n_video / 2];
        v->video[v->n++] = i;
    }
    double start = now();
    if (ft_twins(s, &side[0], &side[1], list, &n) < 0) fail_msg("%s", ft_error_message());
    in_time("twins", start);
    ft_free(side[0].video);
    ft_free(side[1].video);
    return n;
}

static void test_many_clips(void **state)
{
    (void)state;
    ft_clipstore s;
    ft_twin *list;
    store_make(&s, 5000, 5000, true);
    memset(s.pixels, 100, 5000 * CLIP); /* all equal */
    assert_int_equal(twins(&s, &list), FT_TWINS_MOST);
    assert_true(list[0].a == 0 && list[0].b == 2500 && list[0].difference == 0);
    ft_free(list);
    for (int i = 0; i < 5000; i++) s.clip[i].video = i < 2500 ? 3 : 4000; /* of two videos */
    assert_int_equal(twins(&s, &list), 1);
    assert_true(list[0].a == 3 && list[0].b == 4000);
    ft_free(list);
    for (int i = 0; i < 5000; i++) { /* each its own texture, of nearly equal brightness; a few pairs differ by 2 of 255 levels */
        s.clip[i].video = i;
        ft_rng r = ft_rng_make(1, 2, (uint64_t)(i % 2500 < 7 ? i % 2500 : i));
        int64_t patch[16];
        for (int k = 0; k < 16; k++) patch[k] = 100 + ft_rng_below(&r, 60);
        for (int e = 0; e < CLIP; e++)
            s.pixels[i * CLIP + e] =
                (uint8_t)(patch[e / 3 % SIDE / 4 + e / 3 / SIDE / 4 * 4] + ft_rng_below(&r, 5) + (i >= 2500 && i < 2507) * 2);
    }
    assert_int_equal(twins(&s, &list), 7);
    for (int i = 0; i < 7; i++) assert_true(list[i].a == i && list[i].b == 2500 + i && list[i].difference == 2);
    ft_free(list);
    for (int e = 0; e < CLIP; e++) s.pixels[2500 * CLIP + e]++; /* 3 levels are none */
    s.video[100].sha256 = s.video[3000].sha256 = "the same file";
    assert_int_equal(twins(&s, &list), 7);
    assert_true(list[0].a == 1 && list[6].a == 100 && list[6].b == 3000 && list[6].difference == 0);
    ft_free(list);
    store_free(&s);
}

static void test_long_facts(void **state)
{
    (void)state;
    ft_config *cfg = settings((const char *const[]){NULL});
    ft_clipstore s;
    ft_classes c;
    ft_confound *list;
    char *facts[2], longest[401];
    int n;
    memset(longest, 'x', 400), longest[400] = 0;
    for (int k = 0; k < 2; k++) facts[k] = ft_format("{\"%s\": \"%s %c\"}", longest, longest, 'A' + k);
    store_make(&s, 200, 200, false);
    for (int i = 0; i < 200; i++) s.video[i].facts = facts[i % 2]; /* they differ behind the first 400 characters alone */
    assert_int_equal(ft_classes_make(&c, cfg, &s), FT_OK);
    assert_int_equal(ft_confounds(&s, &c, &list, &n), FT_OK);
    assert_int_equal(n, 1);
    assert_string_equal(list[0].name, longest);
    assert_true(list[0].values == 2 && !list[0].numeric && list[0].strength > 0.99 && list[0].warn);
    ft_free(list);
    s.video[7].facts = "{\"device\": ";
    assert_int_equal(ft_confounds(&s, &c, &list, &n), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), s.video[7].name));
    ft_classes_free(&c);
    store_free(&s);
    ft_free(facts[0]);
    ft_free(facts[1]);
    store_make(&s, 20000, 20000, false); /* numbers, all different */
    for (int i = 0; i < 20000; i++) s.video[i].frames = i * 7919 % 20000;
    assert_int_equal(ft_classes_make(&c, cfg, &s), FT_OK);
    double start = now();
    assert_int_equal(ft_confounds(&s, &c, &list, &n), FT_OK);
    if (now() - start > 10) fail_msg("facts take %.1f s", now() - start);
    assert_true(n == 1 && list[0].values == 20000);
    ft_free(list);
    ft_classes_free(&c);
    store_free(&s);
    ft_config_free(cfg);
}

/* Of arms that YAML gives; says = NULL: they are taken, and there are n. */
static void arms(const char *yaml, const char *says, const char *also, int n)
{
    put("arms.yaml", yaml);
    ft_config *cfg = read_back("arms.yaml");
    ft_experiment x = {.cfg = cfg};
    ft_result r = {.x = &x};
    double start = now();
    int rc = ft_arms_read(&r);
    in_time("a list of arms", start);
    if (says && rc != FT_ECONFIG) fail_msg("it is taken: %.200s", yaml);
    if (says && (!strstr(ft_error_message(), says) || !strstr(ft_error_message(), also)))
        fail_msg("%.200s: %.600s", yaml, ft_error_message());
    if (!says && rc < 0) fail_msg("%s", ft_error_message());
    if (!says) assert_int_equal(r.n, n);
    ft_experiment_close(&r);
    ft_config_free(cfg);
}

static void test_arms(void **state)
{
    (void)state;
    char text[2000], many[1000] = "";
    const char *half = "0123456789012345678901234567890123456789012345678901234567890123";
    arms("arms: [\"supervised labels={10,20} ssl.threshold={0.9,0.8}\", noise]\n", NULL, "", 5);
    snprintf(text, sizeof text, "arms: [\"supervised name=%s%s A\", \"supervised labels=9 name=%s%s B\"]\n", half, half, half,
             half);
    arms(text, "supervised name=0", "supervised labels=9 name=0", 0); /* cut, they are the same: both are named */
    snprintf(text, sizeof text, "arms: [\"supervised name=%s%s\"]\n", half, half);
    arms(text, "1 to 126 bytes", half, 0);
    arms("arms: [\"supervised name=\"]\n", "1 to 126 bytes", "", 0);
    arms("arms: [\"supervised name=a b\", \"supervised labels=9 name=a/b\"]\n", "'a b' and 'a/b'", "files called a-b", 0);
    snprintf(text, sizeof text, "arms: [\"clips: %s%s%s%s%s%s%s%s%s%s/x.h5\"]\n", half, half, half, half, half, half, half, half,
             half, half);
    arms(text, "an arm has at most 598 bytes", half, 0);
    for (int i = 0; i < 60; i++) strcat(many, "{a,b,c,d}");
    snprintf(text, sizeof text, "arms: [\"supervised %s\"]\n", many);
    arms(text, "more than 1000 arms", "", 0);
    snprintf(text, sizeof text, "arms: [\"{{{{{{{{\"]\n");
    arms(text, "braces inside braces", "", 0);
    arms("arms: [\"supervised labels={4,5\"]\n", "without its }", "", 0);
    arms("splits: 1000\nseeds: 1000\n", "more than 100000 runs", "", 0);
}

/* Any allocation may fail: that is said, and nothing is left. */
static int everything(const ft_config *cfg, const ft_clipstore *s)
{
    ft_config *c = NULL;
    ft_classes k = {0};
    ft_fold *fold = NULL;
    ft_videos labelled = {0}, unlabelled = {0};
    ft_twin *twin = NULL;
    ft_confound *list = NULL;
    int n = 0, m, rc;
    FT_TRY_TO(rc, done, ft_config_new(&c));
    FT_TRY_TO(rc, done, ft_config_read(c, in_dir("lack.yaml")));
    FT_TRY_TO(rc, done, ft_classes_make(&k, cfg, s));
    FT_TRY_TO(rc, done, ft_folds_make(&fold, &n, cfg, s, &k));
    FT_TRY_TO(rc, done, ft_split_make(&labelled, &unlabelled, cfg, s, &k, &fold[0], 0));
    FT_TRY_TO(rc, done, ft_twins(s, &fold[0].test, &fold[0].pool, &twin, &m));
    FT_TRY_TO(rc, done, ft_confounds(s, &k, &list, &m));
done:
    ft_config_free(c);
    ft_free(labelled.video);
    ft_free(unlabelled.video);
    ft_free(twin);
    ft_free(list);
    ft_folds_free(fold, n);
    ft_classes_free(&k);
    return rc;
}

static void test_lack_of_memory(void **state)
{
    (void)state;
    put("lack.yaml", "vae: &v {lr: 0.001}\ngenerator: *v\narms: [&a supervised, clips: x.h5]\nbaseline: *a\n");
    ft_config *cfg = settings((const char *const[]){"labels=4", NULL});
    ft_clipstore s;
    store_make(&s, 24, 24, true);
    for (int i = 0; i < 24; i++)
        s.video[i].sha256 = i % 3 ? "1" : "2", s.video[i].facts = i % 2 ? "{\"d\": \"x\"}" : "{\"d\": \"y\"}";
    int64_t before = ft_alloc_count();
    assert_int_equal(everything(cfg, &s), FT_OK);
    int64_t all = ft_alloc_count() - before;
    for (int64_t i = 1; i <= all; i += i < 5 || i > 600 ? 1 : 37) { /* defaults are many and alike */
        ft_alloc_fail_at(i);
        int rc = everything(cfg, &s);
        ft_alloc_fail_at(0);
        if (rc != FT_ENOMEM) fail_msg("allocation %lld of %lld: %d, %s", (long long)i, (long long)all, rc, ft_error_message());
    }
    store_free(&s);
    ft_config_free(cfg);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_bytes),
        cmocka_unit_test(test_written_reads_back),
        cmocka_unit_test(test_former_names),
        cmocka_unit_test(test_nothing_is_cut),
        cmocka_unit_test(test_bombs),
        cmocka_unit_test(test_include_bomb),
        cmocka_unit_test(test_many_videos),
        cmocka_unit_test(test_validation_asked),
        cmocka_unit_test(test_validation_asked),
        cmocka_unit_test(test_sides_share_nothing),
        cmocka_unit_test(test_many_clips),
        cmocka_unit_test(test_long_facts),
        cmocka_unit_test(test_arms),
        cmocka_unit_test(test_lack_of_memory),
    };
    if (!mkdtemp(dir)) return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    remove_tree(dir);
    return rc;
}
