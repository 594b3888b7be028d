/* Settings: hostile YAML is refused at once, and what is written reads back equal. */
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
#include "common/base/status.h"
#include "common/io/config.h"
#include "tests/tree.h"

static char dir[] = "/tmp/forty-config-XXXXXX";
static char path_buffer[256];
static const char *in_dir(const char *name)
{
    snprintf(path_buffer, sizeof path_buffer, "%s/%s", dir, name);
    return path_buffer;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
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

static void test_nothing_is_cut(void **state)
{
    (void)state;
    const char *const *item;
    ft_text t;
    assert_int_equal(ft_text_begin(&t), FT_OK);
    fputs("data: {map: {k", t.f);
    repeat(&t, "x", 700);
    fputs(": vvv}}\n", t.f);
    put_text("pair.yaml", &t);
    ft_config *c = read_back("pair.yaml");
    assert_int_equal(ft_config_list(c, "data.map", &item), 1);
    assert_int_equal(strlen(item[0]), 706);
    assert_int_equal(ft_text_begin(&t), FT_OK);
    fputs("data: {map: {k: ", t.f);
    repeat(&t, "x", 1000);
    fputs("}}\n", t.f);
    put_text("pair.yaml", &t);
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
    assert_int_equal(ft_text_begin(&t), FT_OK);
    fputs("arms: [x", t.f);
    repeat(&t, ",x", 256);
    fputs("]\n", t.f);
    put_text("many.yaml", &t);
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
    assert_int_equal(ft_text_begin(&t), FT_OK);
    fputs("arms: [", t.f);
    repeat(&t, "x,", 200000);
    fputs("x]\n", t.f);
    put_text("wide.yaml", &t);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_zero_bytes), cmocka_unit_test(test_written_reads_back), cmocka_unit_test(test_nothing_is_cut),
        cmocka_unit_test(test_bombs),      cmocka_unit_test(test_include_bomb),
    };
    if (!mkdtemp(dir)) return 1;
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    remove_tree(dir);
    return rc;
}
