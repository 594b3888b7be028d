/* Weight files of other people: PyTorch's containers read without executing them, damaged and hostile files refused, public
 * names. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files.h"
#include "tests/tree.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/graph/node.h"
#include "common/io/pth.h"
#include "common/io/weights.h"
#include "experiments/models/model_table.h"

static char folder[200];

static const char *golden(const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/golden/%s", FT_TEST_DIR, name);
    return path;
}

static void expect(const ft_safetensors *st, const char *prefix, const char *name, int n, const double *want)
{
    char full[100];
    float v[32];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const ft_st_tensor *t = ft_safetensors_find(st, full);
    if (!t) fail_msg("no tensor %s", full);
    assert_int_equal(t->count, n);
    assert_int_equal(ft_safetensors_f32(t, v), FT_OK);
    for (int i = 0; i < n; i++)
        if (!(fabs((double)v[i] - want[i]) <= 1e-6 * fabs(want[i])))
            fail_msg("%s[%d] is %g, not %g", full, i, (double)v[i], want[i]);
}

static void check_state(const ft_safetensors *st, const char *prefix)
{
    double plain[24], turned[24], last[24];
    for (int i = 0; i < 24; i++) plain[i] = i, turned[i] = i % 4 * 6 + i / 4, last[i] = i;
    expect(st, prefix, "plain", 24, plain);
    expect(st, prefix, "transposed", 24, turned);
    expect(st, prefix, "channels_last", 24, last);
    expect(st, prefix, "part", 6, plain + 5);
    expect(st, prefix, "shared", 12, plain + 12);
    expect(st, prefix, "expanded", 6, (double[]){7, 7, 7, 7, 7, 7});
    expect(st, prefix, "scalar", 1, (double[]){2.5});
    expect(st, prefix, "empty", 0, plain);
    expect(st, prefix, "half", 3, (double[]){1.5, -2, 65504});
    expect(st, prefix, "bfloat", 3, (double[]){1.5, -2, 3.0040553e38});
    expect(st, prefix, "double", 2, (double[]){1e-3, -1e3});
    expect(st, prefix, "long", 2, (double[]){-5, 1099511627776.0});
    expect(st, prefix, "parameter", 2, (double[]){0.25, 0.5});
    assert_int_equal(st->n, 13);
}

static void test_containers(void **state)
{
    (void)state;
    static const char *const plain[] = {"zip.pth", "legacy.pth", "protocol4.pth"}, *const nested[] = {"nested.pth",
                                                                                                      "nested_legacy.pth"};
    ft_safetensors st;
    char used[64];
    for (int i = 0; i < 3; i++) {
        if (ft_pth_read(&st, golden(plain[i]), NULL, used) < 0) fail_msg("%s", ft_error_message());
        assert_string_equal(used, "");
        check_state(&st, "");
        ft_safetensors_free(&st);
    }
    for (int i = 0; i < 2; i++) {
        if (ft_weights_file_read(&st, golden(nested[i]), NULL, used) < 0) fail_msg("%s", ft_error_message());
        assert_string_equal(used, "teacher");
        check_state(&st, "module.backbone.");
        ft_safetensors_free(&st);
        assert_int_equal(ft_pth_read(&st, golden(nested[i]), "student", used), FT_EDATA); /* an empty dict */
        assert_int_equal(ft_pth_read(&st, golden(nested[i]), "nobody", used), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "nobody"));
    }
    if (ft_weights_file_read(&st, golden("model_state.pth"), NULL, used) < 0) fail_msg("%s", ft_error_message());
    assert_string_equal(used, "model_state"); /* PyTorchVideo, SlowFast */
    ft_safetensors_free(&st);
    /* a pickled module is an object of some class: nothing of it is run, and there is no dict to take */
    assert_int_equal(ft_pth_read(&st, golden("module.pth"), NULL, used), FT_EDATA);
    assert_int_equal(ft_weights_file_read(&st, golden("make_golden.py"), NULL, used), FT_EDATA);
    assert_int_equal(ft_weights_file_read(&st, golden("absent.pth"), NULL, used), FT_EIO);
}

/* torch.jit.save: the tensors of all modules under the names of the state dict, whatever else these hold; the code is not looked
 * at */
static void test_script(void **state)
{
    (void)state;
    static const double weight[] = {0, 0.25, 0.5, 0.75, 1, 1.25}, half[] = {0.5, 0.5, 0.5};
    ft_safetensors st;
    char used[64];
    if (ft_weights_file_read(&st, golden("script.pth"), NULL, used) < 0) fail_msg("%s", ft_error_message());
    assert_string_equal(used, "");
    assert_int_equal(st.n, 7);
    expect(&st, "", "layers.0.weight", 6, weight);
    expect(&st, "", "layers.0.mean", 3, half);
    expect(&st, "", "layers.1.weight", 4, weight);
    expect(&st, "", "layers.1.mean", 2, half);
    expect(&st, "", "twin.weight", 4, weight);
    expect(&st, "", "twin.mean", 2, half);
    expect(&st, "", "bias", 2, (double[]){1, 2});
    ft_safetensors_free(&st);
    if (ft_pth_read(&st, golden("script.pth"), "layers", used) < 0) fail_msg("%s", ft_error_message());
    assert_string_equal(used, "layers");
    assert_int_equal(st.n, 4);
    expect(&st, "", "1.mean", 2, half);
    ft_safetensors_free(&st);
    static const struct {
        const char *file, *key, *because;
    } bad[] = {{"script.pth", "nobody", "nobody: no tensors"},
               {"script_circle.pth", NULL, "more than the file can hold"},
               {"script_tower.pth", NULL, "more than the file can hold"},
               {"script_packed.pth", NULL, "x/data.pkl is compressed"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ft_pth_read(&st, golden(bad[i].file), bad[i].key, used), FT_EDATA);
        if (!strstr(ft_error_message(), bad[i].because)) fail_msg("%s", ft_error_message());
    }
}

/* Cut at every length, and with bytes changed at random: an error or other values, never more. (Sanitizers watch.) */
static void test_damage(void **state)
{
    (void)state;
    static const char *const files[] = {"zip.pth", "legacy.pth", "nested_legacy.pth", "protocol4.pth", "script.pth"};
    char path[300], *data, used[64];
    size_t size;
    ft_safetensors st;
    int refused = 0, total = 0;
    snprintf(path, sizeof path, "%s/damaged.pth", folder);
    for (int f = 0; f < 5; f++) {
        assert_int_equal(ft_read_file(golden(files[f]), 0, &data, &size), FT_OK);
        for (size_t n = 0; n < size; n += n < 200 ? 1 : 7) {
            FILE *o = fopen(path, "wb");
            assert_int_equal(fwrite(data, 1, n, o), n);
            fclose(o);
            assert_true(ft_weights_file_read(&st, path, NULL, used) < 0); /* nothing is complete before its end */
        }
        for (int k = 0; k < 1500; k++, total++) {
            ft_rng r = ft_rng_make(5, (uint32_t)f, (uint64_t)k);
            char *copy = malloc(size);
            memcpy(copy, data, size);
            for (int64_t c = 1 + ft_rng_below(&r, 3); c-- > 0;) copy[ft_rng_below(&r, (int64_t)size)] = (char)ft_rng_bits(&r);
            FILE *o = fopen(path, "wb");
            assert_int_equal(fwrite(copy, 1, size, o), size);
            fclose(o);
            free(copy);
            if (ft_weights_file_read(&st, path, NULL, used) < 0) refused++;
            else ft_safetensors_free(&st);
        }
        ft_free(data);
    }
    assert_true(refused > total / 10 && refused < total); /* the damage reaches the reader, and values may change unseen */
}

static void write_pickle(const char *path, const void *body, size_t n)
{
    static const unsigned char head[] = {0x80, 2,    0x8a, 10,  0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19,
                                         '.',  0x80, 2,    'M', 0xe9, 3,    '.',  0x80, 2,    '}',  'U',  13,   'l',  'i',
                                         't',  't',  'l',  'e', '_',  'e',  'n',  'd',  'i',  'a',  'n',  0x88, 's',  '.'};
    FILE *o = fopen(path, "wb");
    assert_int_equal(fwrite(head, 1, sizeof head, o), sizeof head);
    assert_int_equal(fwrite(body, 1, n, o), n);
    fclose(o);
}

/* os.system stays a name; a tower of marks, a memo of its own, a list inside itself, a stack of a million come to an end */
static void test_hostile(void **state)
{
    (void)state;
    char path[300], used[64];
    ft_safetensors st;
    snprintf(path, sizeof path, "%s/hostile.pth", folder);
    char witness[300], body[900];
    snprintf(witness, sizeof witness, "%s/executed", folder);
    int n = snprintf(body, sizeof body, "cos\nsystem\n(U%ctouch %stR.", (char)(6 + strlen(witness)), witness);
    write_pickle(path, body, (size_t)n);
    assert_int_equal(ft_pth_read(&st, path, NULL, used), FT_EDATA);
    assert_false(ft_exists(witness));
    static const struct {
        const char *text;
        size_t n;
    } bodies[] = {{"]q\0h\0a.", 7},           /* a list that holds itself */
                  {"(((((((((.", 10},         /* marks alone */
                  {"h\7.", 3},                /* a memo that was never made */
                  {"U\377abc", 5},            /* a text beyond the end */
                  {"X\377\377\377\377a.", 7}, /* four gigabytes of text */
                  {"c"
                   "torch._utils\n_rebuild_tensor_v2\n)R.",
                   36},      /* a tensor without arguments */
                  {"i.", 2}, /* an instruction that is not allowed */
                  {"}(", 2},
                  {"(u.", 3},
                  {"r\377\377\377\177.", 6}, /* memo two billion */
                  {"\x81.", 2}};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        write_pickle(path, bodies[i].text, bodies[i].n);
        assert_int_equal(ft_pth_read(&st, path, NULL, used), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "hostile.pth"));
    }
    char *bomb = malloc(3000000); /* twice itself, a million times: shared nodes, never walked */
    size_t at = 0;
    bomb[at++] = ']';
    for (int i = 0; i < 500000; i++) bomb[at++] = '2', bomb[at++] = 0x86 - 256;
    bomb[at++] = '.';
    write_pickle(path, bomb, at);
    assert_int_equal(ft_pth_read(&st, path, NULL, used), FT_EDATA);
    free(bomb);
}

/* ---- files made to take memory or time ------------------------------------------------------------------------------------ */

typedef struct {
    char *at;
    size_t n, room;
} bytes;

static void put(bytes *b, const char *text, size_t n)
{
    if (b->n + n > b->room) b->at = realloc(b->at, b->room = 2 * (b->n + n) + 1000);
    memcpy(b->at + b->n, text, n);
    b->n += n;
}
#define PUT(b, literal) put(b, literal, sizeof literal - 1)

static void put_number(bytes *b, int64_t v)
{
    char text[10] = "\x8a\x08";
    for (int i = 0; i < 8; i++) text[2 + i] = (char)(v >> (8 * i));
    put(b, text, sizeof text);
}

static void put_text(bytes *b, const char *text)
{
    char head[2] = {'U', (char)strlen(text)};
    put(b, head, 2);
    put(b, text, strlen(text));
}

/* name and tensor of `n` dims over a storage of four floats */
static void put_tensor(bytes *b, const char *name, const char *storage, int64_t offset, int n, const int64_t *dim,
                       const int64_t *stride)
{
    put_text(b, name);
    PUT(b, "ctorch._utils\n_rebuild_tensor_v2\n((U\7storagectorch\nFloatStorage\n");
    put_text(b, storage);
    PUT(b, "U\3cpuK\4tQ");
    put_number(b, offset);
    PUT(b, "(");
    for (int i = 0; i < n; i++) put_number(b, dim[i]);
    PUT(b, "t(");
    for (int i = 0; i < n; i++) put_number(b, stride[i]);
    PUT(b, "ttR");
}

/* the list of storages and their bytes: four floats for each */
static void put_storages(bytes *b, int n)
{
    static const char data[25] = "\4\0\0\0\0\0\0\0";
    char key[20];
    PUT(b, "](");
    for (int i = 0; i < n; i++) snprintf(key, sizeof key, "%d", i), put_text(b, key);
    PUT(b, "e.");
    for (int i = 0; i < n; i++) put(b, data, 24);
}

static int read_made(ft_safetensors *st, bytes *b)
{
    char path[300], used[64];
    snprintf(path, sizeof path, "%s/made.pth", folder);
    write_pickle(path, b->at, b->n);
    free(b->at);
    *b = (bytes){0};
    return ft_pth_read(st, path, NULL, used);
}

static void refused(int rc, const char *because)
{
    assert_int_equal(rc, FT_EDATA);
    if (!strstr(ft_error_message(), because)) fail_msg("'%s' does not say '%s'", ft_error_message(), because);
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        int64_t offset;
        int n;
        int64_t dim[3], stride[3];
        const char *because;
    } c[] = {{0, 1, {(1 << 24) + 1}, {1ll << 40}, "impossibly large"},
             {0, 3, {1 << 24, 1 << 24, 1 << 24}, {0}, "impossibly large"},
             {0, 1, {3}, {INT64_MAX}, "impossibly large"},
             {0, 2, {2, 2}, {INT64_MAX, INT64_MAX}, "impossibly large"},
             {INT64_MAX, 1, {1}, {1}, "reaches beyond"},
             {INT64_MAX / 4, 1, {2}, {1ll << 62}, "reaches beyond"},
             {0, 1, {5}, {1}, "reaches beyond"},
             {1, 1, {4}, {1}, "reaches beyond"},
             {0, 1, {1ll << 31}, {0}, "FORTY_FILE_RATIO"},
             {0, 1, {INT64_MAX}, {0}, "impossibly large"},
             {0, 1, {-1}, {1}, "impossible dim"},
             {-1, 1, {1}, {1}, "unknown way"},
             {0, 2, {2, 2}, {2, 1}, NULL},
             {3, 1, {9}, {0}, NULL},
             {INT64_MAX, 2, {1ll << 62, 0}, {1, 1}, NULL}};
    ft_safetensors st;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        bytes b = {0};
        PUT(&b, "}");
        put_tensor(&b, "w", "0", c[i].offset, c[i].n, c[i].dim, c[i].stride);
        PUT(&b, "s.");
        put_storages(&b, 1);
        int rc = read_made(&st, &b);
        if (c[i].because) refused(rc, c[i].because);
        else if (rc < 0) fail_msg("%zu: %s", i, ft_error_message());
        else ft_safetensors_free(&st);
    }
}

/* the last of two keys counts, as in Python, also where it takes a tensor away */
static void test_keys(void **state)
{
    (void)state;
    ft_safetensors st;
    bytes b = {0};
    PUT(&b, "}(");
    put_tensor(&b, "w", "0", 0, 1, (int64_t[]){2}, (int64_t[]){1});
    put_tensor(&b, "gone", "0", 0, 1, (int64_t[]){2}, (int64_t[]){1});
    put_tensor(&b, "w", "0", 1, 1, (int64_t[]){3}, (int64_t[]){1});
    PUT(&b, "U\4goneNu.");
    put_storages(&b, 1);
    if (read_made(&st, &b) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(st.n, 1);
    assert_int_equal(ft_safetensors_find(&st, "w")->count, 3);
    assert_null(ft_safetensors_find(&st, "gone"));
    ft_safetensors_free(&st);
    static const char *const names[] = {"caf\xe9", "a\nb", "\xc2\x85"};
    for (int i = 0; i < 3; i++) {
        PUT(&b, "}");
        put_tensor(&b, names[i], "0", 0, 1, (int64_t[]){2}, (int64_t[]){1});
        PUT(&b, "s.");
        put_storages(&b, 1);
        refused(read_made(&st, &b), i ? "control character" : "UTF-8");
    }
}

static void test_bombs(void **state)
{
    (void)state;
    ft_safetensors st;
    bytes b = {0};
    ft_peak_memory_reset();
    int64_t before = ft_peak_memory();
    PUT(&b, "ccollections\nOrderedDict\nq\1U\1aN\x86q\2]q\3("); /* a list of ten thousand pairs, copied again and again */
    for (int i = 0; i < 10000; i++) PUT(&b, "h\2");
    PUT(&b, "e");
    for (int i = 0; i < 10000; i++) PUT(&b, "h\1h\3\x85R0");
    PUT(&b, ".");
    refused(read_made(&st, &b), "FORTY_FILE_RATIO");
    char *name = malloc(60000);
    memset(name, 'a', 60000);
    PUT(&b, "X\x60\xea\0\0"); /* one long text, joined to itself */
    put(&b, name, 60000);
    PUT(&b, "q\1");
    for (int i = 0; i < 20000; i++) PUT(&b, "h\1h\1\x93");
    PUT(&b, ".");
    free(name);
    refused(read_made(&st, &b), "FORTY_FILE_RATIO");
    char sparse[300], used[64]; /* a file of nothing is not read to its end */
    snprintf(sparse, sizeof sparse, "%s/sparse.pth", folder);
    fclose(fopen(sparse, "w"));
    assert_int_equal(truncate(sparse, (off_t)2 << 30), 0);
    refused(ft_weights_file_read(&st, sparse, NULL, used), "begins neither");
    remove(sparse);
    PUT(&b, "Nr\xfe\xff\xff\0.");
    refused(read_made(&st, &b), "memo");
    if (ft_peak_memory() - before > 300) fail_msg("%lld MiB", (long long)(ft_peak_memory() - before));
}

/* of this process: other work on the machine does not count */
static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* a hundred thousand tensors, each in a storage of its own: not the square of it */
static void test_many(void **state)
{
    (void)state;
    enum { MANY = 100000 };
    char path[300], name[40], key[20];
    ft_safetensors st;
    bytes b = {0};
    PUT(&b, "}");
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "layer.%d", i);
        snprintf(key, sizeof key, "%d", i);
        put_tensor(&b, name, key, 0, 1, (int64_t[]){4}, (int64_t[]){1});
        PUT(&b, "s");
    }
    PUT(&b, ".");
    put_storages(&b, MANY);
    double from = now();
    if (read_made(&st, &b) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(st.n, MANY);
    snprintf(path, sizeof path, "%s/many.safetensors", folder);
    assert_int_equal(ft_safetensors_write(path, st.tensor, st.n, NULL), FT_OK);
    ft_safetensors_free(&st);
    if (ft_safetensors_read(&st, path) < 0) fail_msg("%s", ft_error_message());
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof name, "layer.%d", i);
        assert_non_null(ft_safetensors_find(&st, name));
    }
    ft_safetensors_free(&st);
    if (now() - from > 10) fail_msg("%.1f s", now() - from);
}

static int read_header(ft_safetensors *st, const char *text, size_t n, size_t data)
{
    char path[300];
    bytes b = {0};
    char head[8] = {0};
    for (int i = 0; i < 8; i++) head[i] = (char)((uint64_t)n >> (8 * i));
    put(&b, head, 8);
    put(&b, text, n);
    for (size_t i = 0; i < data; i++) put(&b, "", 1);
    snprintf(path, sizeof path, "%s/made.safetensors", folder);
    assert_int_equal(ft_write_file(path, b.at, b.n), FT_OK);
    free(b.at);
    return ft_safetensors_read(st, path);
}

static void test_headers(void **state)
{
    (void)state;
#define F4(name, from, to) "\"" name "\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[" from "," to "]}"
#define F0(name, at)       "\"" name "\":{\"dtype\":\"F32\",\"shape\":[0,3],\"data_offsets\":[" at "," at "]}"
    static const struct {
        const char *text;
        size_t data;
        const char *because;
    } c[] = {{"{}", 0, NULL},
             {" { } ", 0, NULL},
             {"{\"__metadata__\":{}}", 0, NULL},
             {"{\"__metadata__\" : { \"a\" : \"b\" } , " F4("a", "0", "4") "} ", 4, NULL},
             {"{" F4("b", "4", "8") "," F4("a", "0", "4") "," F0("z", "8") "," F0("y", "4") "," F0("x", "0") "}", 8, NULL},
             {"{" F4("a", "0", "4") "}", 8, "at the end"},
             {"{" F4("a", "4", "8") "}", 8, "before tensor a"},
             {"{" F4("a", "0", "4") "," F4("b", "2", "6") "}", 6, "overlap"},
             {"{" F4("a", "0", "4") "," F4("a", "4", "8") "}", 8, "two tensors"},
             {"{" F4("a", "0", "4") ",}", 4, "the header"},
             {"{" F4("a", "0", "4"), 4, "the header"},
             {"{" F4("a", "0", "4") "}}", 4, "the header"},
             {"{" F4("a", "0", "4") "," F4("a", "0", "4"), 4, "the header"},
             {"{,}", 0, "the header"},
             {"{\"a\"}", 0, "the header"},
             {"{" F4("a", "0.0", "4") "}", 4, "do not hold"},
             {"{" F4("\\u00e9\\ud83d\\ude00\\\"", "0", "4") "}", 4, NULL},
             {"{" F4("\\ud83d", "0", "4") "}", 4, "not JSON"},
             {"{" F4("\\u00", "0", "4") "}", 4, "not JSON"},
             {"{" F4("\\x", "0", "4") "}", 4, "not JSON"},
             {"{" F4("\\u0000", "0", "4") "}", 4, "not JSON"},
             {"{\"a\\", 0, "the header"},
             {"{" F4("a", "00000000000000000000000000018446744073709551616", "4") "}", 4, "not JSON"},
             {"{" F4("a", "", "4") "}", 4, "not JSON"},
             {"{\"__metadata__\":{\"a\":\"caf\xe9\"}}", 0, "the header"},
             {"{" F4("caf\xe9", "0", "4") "}", 4, "the header"},
             {"{" F4("a\\u000ab", "0", "4") "}", 4, "control"},
             {"{\"__metadata__\":1}", 0, "an object"},
             {"{\"__metadata__\":{\"a\":1}}", 0, "not a text"},
             {"{\"__metadata__\":{\"a\":{}}}", 0, "not a text"},
             {"{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", 0, "twice"},
             {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "twice"}};
    ft_safetensors st;
    for (size_t i = 0; i < sizeof c / sizeof *c; i++) {
        int rc = read_header(&st, c[i].text, strlen(c[i].text), c[i].data);
        if (c[i].because && rc == FT_OK) fail_msg("%s is read", c[i].text);
        if (c[i].because) refused(rc, c[i].because);
        else if (rc < 0) fail_msg("%s: %s", c[i].text, ft_error_message());
        else ft_safetensors_free(&st);
    }
    static const char *const bombs[][3] = {{"{\"a\":{\"x\":[0", ",{}", "]}}"},
                                           {"{\"a\":", "{\"a\":", "1"},
                                           {"{\"__metadata__\":{\"a\":[0", ",[]", "]}}"},
                                           {"{\"__metadata__\":{\"a\":\"", "aaa", "\"}}"}};
    for (int i = 0; i < 4; i++) {
        bytes b = {0};
        size_t each = strlen(bombs[i][1]), times = (20u << 20) / each, head = strlen(bombs[i][0]), tail = strlen(bombs[i][2]);
        b.at = malloc(head + times * each + tail);
        memcpy(b.at, bombs[i][0], head);
        for (size_t k = 0; k < times; k++) memcpy(b.at + head + k * each, bombs[i][1], each);
        memcpy(b.at + head + times * each, bombs[i][2], tail);
        ft_peak_memory_reset();
        int64_t before = ft_peak_memory();
        double from = now();
        assert_int_equal(read_header(&st, b.at, head + times * each + tail, 0), FT_EDATA);
        if (ft_peak_memory() - before > 250 || now() - from > 4)
            fail_msg("%d: %lld MiB, %.1f s", i, (long long)(ft_peak_memory() - before), now() - from);
        free(b.at);
    }
}

/* A name that JSON cannot hold, or only once, is an error: nothing is left out in silence. */
static void test_write(void **state)
{
    (void)state;
    static const char *const names[][2] = {{"a", "caf\xe9"}, {"a", "a"}, {"a", "a\nb"}};
    char path[300], made[65], again[65];
    float v[2] = {1, 2};
    ft_st_tensor t[2] = {{.dtype = "F32", .ndim = 1, .dim = {2}, .count = 2, .data = v, .bytes = 8},
                         {.dtype = "F32", .ndim = 1, .dim = {2}, .count = 2, .data = v, .bytes = 8}};
    snprintf(path, sizeof path, "%s/written.safetensors", folder);
    for (int i = 0; i < 3; i++) {
        t[0].name = (char *)names[i][0], t[1].name = (char *)names[i][1];
        assert_int_equal(ft_safetensors_write(path, t, 2, NULL), FT_EDATA);
        assert_false(ft_exists(path));
    }
    /* with one allocation failing, whichever: the whole file or an error */
    t[1].name = (char *)"b";
    json_t *metadata = json_pack("{s:s}", "model", "m");
    assert_int_equal(ft_safetensors_write(path, t, 2, metadata), FT_OK);
    assert_int_equal(ft_sha256_file(path, made), FT_OK);
    int failed = 0, n = 1;
    for (int64_t last = 1; last >= 0; n++) {
        remove(path);
        ft_alloc_fail_at(n);
        int64_t begin = ft_alloc_count();
        int rc = ft_safetensors_write(path, t, 2, metadata);
        ft_alloc_fail_at(0);
        last = ft_alloc_count() - begin >= n ? 1 : -1;
        failed += rc < 0;
        assert_true(rc == FT_OK || !ft_exists(path));
        if (rc < 0) continue;
        assert_int_equal(ft_sha256_file(path, again), FT_OK);
        assert_string_equal(made, again);
    }
    assert_true(failed > 10);
    json_decref(metadata);
}

/* with one allocation failing, whichever: every tensor or an error */
static void test_memory(void **state)
{
    (void)state;
    static const char *const files[] = {"zip.pth", "legacy.pth", "dino.safetensors"};
    for (int i = 0; i < 3; i++) {
        ft_safetensors whole, st;
        char used[64];
        int failed = 0;
        assert_int_equal(ft_weights_file_read(&whole, golden(files[i]), NULL, used), FT_OK);
        for (int n = 1, more = 1; more; n++) {
            ft_alloc_fail_at(n);
            int64_t begin = ft_alloc_count();
            int rc = ft_weights_file_read(&st, golden(files[i]), NULL, used);
            ft_alloc_fail_at(0);
            more = ft_alloc_count() - begin >= n;
            failed += rc < 0;
            if (rc < 0) {
                assert_int_equal(rc, FT_ENOMEM);
                continue;
            }
            assert_int_equal(st.n, whole.n);
            for (int k = 0; k < st.n; k++) {
                const ft_st_tensor *t = ft_safetensors_find(&st, whole.tensor[k].name);
                assert_non_null(t);
                assert_int_equal(t->bytes, whole.tensor[k].bytes);
                if (t->bytes) assert_memory_equal(t->data, whole.tensor[k].data, t->bytes);
            }
            ft_safetensors_free(&st);
        }
        assert_true(failed > 5);
        ft_safetensors_free(&whole);
    }
}

static void test_names(void **state)
{
    (void)state;
    static const char *const list[][3] = {
        {"dino-vits8", "module.backbone.blocks.3.attn.qkv.weight", "blocks.3.attn.qkv.weight"},
        {"sd-vae", "first_stage_model.encoder.down.1.block.0.nin_shortcut.weight",
         "encoder.down_blocks.1.resnets.0.conv_shortcut.weight"},
        {"sd-vae", "encoder.down.2.downsample.conv.bias", "encoder.down_blocks.2.downsamplers.0.conv.bias"},
        {"sd-vae", "decoder.up.3.block.2.conv1.weight", "decoder.up_blocks.0.resnets.2.conv1.weight"},
        {"sd-vae", "decoder.up.1.upsample.conv.weight", "decoder.up_blocks.2.upsamplers.0.conv.weight"},
        {"sd-vae", "decoder.mid.attn_1.proj_out.weight", "decoder.mid_block.attentions.0.to_out.0.weight"},
        {"sd-vae", "encoder.mid_block.attentions.0.query.weight", "encoder.mid_block.attentions.0.to_q.weight"},
        {"sd-vae", "decoder.norm_out.weight", "decoder.conv_norm_out.weight"},
        {"raft-large", "module.cnet.layer2.0.downsample.1.running_var", "context_encoder.layer2.0.downsample.1.running_var"},
        {"raft-large", "module.fnet.layer3.1.conv2.weight", "feature_encoder.layer3.1.convnormrelu2.0.weight"},
        {"raft-large", "module.cnet.norm1.bias", "context_encoder.convnormrelu.1.bias"},
        {"raft-large", "module.update_block.gru.convq2.bias", "update_block.recurrent_block.convgru2.convq.bias"},
        {"raft-small", "module.update_block.gru.convz.weight", "update_block.recurrent_block.convgru1.convz.weight"},
        {"raft-large", "module.update_block.mask.2.weight", "mask_predictor.conv.weight"},
        {"raft-large", "module.update_block.encoder.conv.weight", "update_block.motion_encoder.conv.0.weight"},
        {"lpips-vgg", "features.17.bias", "net.slice4.17.bias"},
        {"lpips-alex", "features.6.weight", "net.slice3.6.weight"},
        {"lpips-vgg", "lin2.model.1.weight", "lin2.model.1.weight"}};
    char to[256];
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        ft_public_name(list[i][0], list[i][1], to, sizeof to);
        assert_string_equal(to, list[i][2]);
    }
}

/* Princeton's names of RAFT and ldm's and old diffusers' of the SD VAE, as their manifests list them, cover every tensor of ours.
 */
static void test_other_layouts(void **state)
{
    (void)state;
    static const char *const list[][2] = {{"raft_large_princeton", "raft-large"},
                                          {"raft_small_princeton", "raft-small"},
                                          {"sd_vae_f8_ldm", "sd-vae"},
                                          {"sd_vae_f8_diffusers_oldattn", "sd-vae"},
                                          {"lvdm_videoae", "lvdm-vae"}};
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    for (size_t m = 0; m < sizeof list / sizeof *list; m++) {
        ft_params *p;
        char path[600], *text, to[256];
        size_t size;
        int covered = 0;
        if (ft_model_store(&p, list[m][1], cfg, 2, 0) < 0) fail_msg("%s", ft_error_message());
        bool *seen = calloc((size_t)ft_params_count(p), sizeof *seen);
        snprintf(path, sizeof path, "%s/manifests/%s.tsv", FT_TEST_DIR, list[m][0]);
        if (ft_read_file(path, 0, &text, &size) < 0) fail_msg("%s", ft_error_message());
        for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
            *strchr(line, '\t') = 0;
            ft_public_name(list[m][1], line, to, sizeof to);
            for (int i = 0; i < ft_params_count(p); i++)
                if (!strcmp(ft_params_at(p, i)->name, to)) covered += !seen[i], seen[i] = true;
        }
        for (int i = 0; i < ft_params_count(p); i++)
            if (!seen[i]) fail_msg("%s names nothing that becomes %s", list[m][0], ft_params_at(p, i)->name);
        assert_int_equal(covered, ft_params_count(p));
        free(seen);
        ft_free(text);
        ft_params_free(p);
    }
    ft_config_free(cfg);
}

/* State dicts of public code, name by name and shape by shape (read off the running code): an import takes every tensor that
 * holds something and lacks none, and an export is exactly that list. */
static void test_public(void **state)
{
    (void)state;
    static const struct {
        const char *manifest, *preset;
        int64_t classes;
        bool images;
    } list[] = {{"feat_s_public", "feat-s", 2, false},
                {"medsora_s_public", "medsora-s", 2, false},
                {"lvdm_unet_short", "lvdm", 2, false},
                {"lvdm_videoae", "lvdm-vae", 2, false},
                {"endora_b_public", "endora-b", 2, false},
                {"endora_b_images_public", "endora-b", 2, true},
                {"lpips_alex_public", "lpips-alex", 2, false},
                {"lpips_vgg_public", "lpips-vgg", 2, false},
                {"x3d_s_public", "x3d-s", 2, false}};
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    for (size_t m = 0; m < sizeof list / sizeof *list; m++) {
        ft_params *p;
        ft_safetensors st = {0};
        float *memory[2];
        char path[600], *text, *rest = NULL, to[256];
        size_t size;
        if (ft_model_store(&p, list[m].preset, cfg, list[m].classes, 0) < 0) fail_msg("%s", ft_error_message());
        int n = ft_params_count(p), rows = 0, taken = 0;
        bool *seen = calloc((size_t)n, sizeof *seen);
        st.tensor = ft_alloc_n(n, sizeof *st.tensor);
        for (int i = 0; i < n; i++) {
            const ft_param_info *e = ft_params_at(p, i);
            ft_st_tensor *t = &st.tensor[st.n++];
            *t = (ft_st_tensor){.name = ft_strdup(e->name), .dtype = "F32", .ndim = e->ndim, .count = e->count};
            memcpy(t->dim, e->dim, sizeof e->dim);
        }
        if (ft_public_complete(list[m].preset, list[m].images, &st, memory) < 0) fail_msg("%s", ft_error_message());
        if (ft_safetensors_index(&st, "export") < 0) fail_msg("%s", ft_error_message());
        snprintf(path, sizeof path, "%s/manifests/%s.tsv", FT_TEST_DIR, list[m].manifest);
        if (ft_read_file(path, 0, &text, &size) < 0) fail_msg("%s", ft_error_message());
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest), rows++) {
            char name[200], shape[100], own[100] = "[";
            assert_int_equal(sscanf(line, "%199[^\t]\t%99[^\t]", name, shape), 2);
            const ft_st_tensor *t = ft_safetensors_find(&st, name);
            if (!t) fail_msg("an export of %s lacks %s", list[m].preset, name);
            for (int k = 0; k < t->ndim; k++)
                snprintf(own + strlen(own), sizeof own - strlen(own), "%s%lld", k ? ", " : "", (long long)t->dim[k]);
            snprintf(own + strlen(own), sizeof own - strlen(own), "]");
            if (strcmp(own, shape)) fail_msg("%s of %s: %s, public code has %s", name, list[m].preset, own, shape);
            int k = 0;
            for (ft_public_name(list[m].preset, name, to, sizeof to); k < n && strcmp(ft_params_at(p, k)->name, to);) k++;
            if (k == n && !ft_public_idle(list[m].preset, name))
                fail_msg("an import as %s does not take %s", list[m].preset, name);
            if (k < n) taken += !seen[k], seen[k] = true;
        }
        assert_int_equal(taken, n);
        if (st.n != rows) fail_msg("an export of %s has %d tensors, public code %d", list[m].preset, st.n, rows);
        for (int i = 0; i < 2; i++) ft_free(memory[i]);
        ft_safetensors_free(&st);
        free(seen);
        ft_free(text);
        ft_params_free(p);
    }
    ft_config_free(cfg);
}

/* Endo-FM's code takes what begins with "backbone." into a network without a head. */
static void test_backbone(void **state)
{
    (void)state;
    ft_safetensors st = {.tensor = ft_alloc_n(2, sizeof *st.tensor), .n = 2};
    float *memory[2];
    st.tensor[0] = (ft_st_tensor){.name = ft_strdup("blocks.0.attn.qkv.weight"), .dtype = "F32"};
    st.tensor[1] = (ft_st_tensor){.name = ft_strdup("head.weight"), .dtype = "F32"};
    assert_int_equal(ft_public_complete("timesformer-b16", false, &st, memory), FT_OK);
    assert_int_equal(st.n, 2);
    assert_string_equal(st.tensor[0].name, "backbone.blocks.0.attn.qkv.weight");
    assert_string_equal(st.tensor[1].name, "head.weight");
    for (int i = 0; i < 2; i++) ft_free(memory[i]);
    ft_safetensors_free(&st);
}

/* What versions before called FEAT's and MedSora's tensors (names_before.tsv: old, new); others keep their names. */
static void test_names_before(void **state)
{
    (void)state;
    char path[600], *text, *rest = NULL, before[200], now[200], shared[] = "blocks.0.ln1.weight";
    size_t size;
    snprintf(path, sizeof path, "%s/manifests/names_before.tsv", FT_TEST_DIR);
    if (ft_read_file(path, 0, &text, &size) < 0) fail_msg("%s", ft_error_message());
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        assert_int_equal(sscanf(line, "%199[^\t]\t%199s", before, now), 2);
        bool alpha = strstr(now, "restormers.0.attn.alpha") != NULL;
        ft_safetensors st = {.tensor = ft_alloc_n(2, sizeof *st.tensor), .n = 2};
        st.tensor[0] = (ft_st_tensor){.name = ft_strdup(before), .dtype = "F32", .ndim = 2, .dim = {2, 8}, .count = 16};
        st.tensor[1] = (ft_st_tensor){.name = ft_strdup(shared), .dtype = "F32"};
        assert_int_equal(ft_safetensors_index(&st, "file"), FT_OK);
        assert_int_equal(ft_weights_today(&st, "file"), FT_OK);
        assert_string_equal(st.tensor[0].name, now);
        assert_ptr_equal(ft_safetensors_find(&st, now), &st.tensor[0]);
        assert_ptr_equal(ft_safetensors_find(&st, shared), &st.tensor[1]);
        assert_int_equal(st.tensor[0].ndim, alpha ? 1 : 2);
        assert_int_equal(st.tensor[0].dim[0], alpha ? 16 : 2);
        ft_safetensors_free(&st);
    }
    ft_free(text);
}

/* A file of LVDM that an earlier version wrote is turned: rows of qkv and scale of the relative keys. What was imported is not.
 */
static void test_lvdm_before(void **state)
{
    (void)state;
    enum { HEADS = 2, WIDTH = 3, ROWS = 3 * HEADS * WIDTH };
    for (int kind = 0; kind < 3; kind++) {
        float qkv[ROWS * 2], table[9 * WIDTH], v[ROWS * 2];
        char path[300];
        ft_safetensors st;
        for (int i = 0; i < ROWS * 2; i++) qkv[i] = (float)i;
        for (int i = 0; i < 9 * WIDTH; i++) table[i] = (float)(i + 1);
        ft_st_tensor t[] = {{.name = (char *)(uintptr_t) "m.qkv_t.weight",
                             .dtype = "F32",
                             .ndim = 3,
                             .dim = {ROWS, 2, 1},
                             .data = qkv,
                             .bytes = sizeof qkv},
                            {.name = (char *)(uintptr_t) "m.relative_position_k.embeddings_table",
                             .dtype = "F32",
                             .ndim = 2,
                             .dim = {9, WIDTH},
                             .data = table,
                             .bytes = sizeof table}};
        json_t *m = json_pack("{s:s}", "forty_version", "0.1.0");
        if (kind == 1) json_object_set_new(m, "source", json_string("lvdm.ckpt"));
        if (kind == 2) json_object_set_new(m, "layout", json_string(FT_WEIGHTS_LAYOUT));
        snprintf(path, sizeof path, "%s/before.safetensors", folder);
        assert_int_equal(ft_safetensors_write(path, t, 2, m), FT_OK);
        json_decref(m);
        if (ft_weights_read(&st, path) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_safetensors_f32(ft_safetensors_find(&st, "m.qkv_t.weight"), v), FT_OK);
        for (int part = 0; part < 3; part++)
            for (int h = 0; h < HEADS; h++)
                for (int i = 0; i < WIDTH; i++) {
                    int now = (part * HEADS + h) * WIDTH + i, before = (h * 3 + part) * WIDTH + i;
                    for (int c = 0; c < 2; c++) assert_true(v[2 * now + c] == qkv[2 * (kind ? now : before) + c]);
                }
        assert_int_equal(ft_safetensors_f32(ft_safetensors_find(&st, "m.relative_position_k.embeddings_table"), v), FT_OK);
        for (int i = 0; i < 9 * WIDTH; i++)
            assert_true(fabs((double)v[i] - (i + 1) * (kind ? 1 : pow(WIDTH, -0.25))) < 1e-5 * (i + 1));
        ft_safetensors_free(&st);
    }
}

/* The state of a run is flat arrays: one whose parameters lay in another order, or that an earlier version wrote for a network
 * whose order has changed since, is not taken for today's. */
static void test_state_order(void **state)
{
    (void)state;
    static const char *const names[2][2] = {{"a.weight", "blocks.0.adaLN_modulation.1.weight"},
                                            {"blocks.0.adaLN_modulation.1.weight", "a.weight"}};
    char path[300];
    ft_params *p[2];
    json_t *extra = json_object(), *read;
    snprintf(path, sizeof path, "%s/state.safetensors", folder);
    for (int i = 0; i < 2; i++) {
        p[i] = ft_params_new(1);
        for (int k = 0; k < 2; k++)
            assert_true(ft__params_find(p[i], names[i][k], 1, (int64_t[]){16}, (ft_init){FT_INIT_NORMAL, 1, NULL}, true) == k);
        assert_int_equal(ft_params_seal(p[i]), FT_OK);
    }
    assert_int_equal(ft_state_save(path, p[0], NULL, extra), FT_OK);
    assert_int_equal(ft_state_load(path, p[0], NULL, &read), FT_OK);
    json_decref(read);
    assert_int_equal(ft_state_load(path, p[1], NULL, &read), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "another order"));
    float v[32] = {0};
    ft_st_tensor t[4];
    static const char *const parts[] = {"weights", "ema", "moment1", "moment2"};
    for (int i = 0; i < 4; i++)
        t[i] = (ft_st_tensor){.name = (char *)(uintptr_t)parts[i],
                              .dtype = "F32",
                              .ndim = 1,
                              .dim = {32},
                              .count = 32,
                              .data = v,
                              .bytes = sizeof v};
    assert_int_equal(ft_safetensors_write(path, t, 4, extra), FT_OK); /* as before the order was written down */
    assert_int_equal(ft_state_load(path, p[0], NULL, &read), FT_EDATA);
    json_decref(extra);
    for (int i = 0; i < 2; i++) ft_params_free(p[i]);
}

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/forty-weights-%d", (int)getpid());
    return ft_mkdirs(folder);
}
static int tear_down(void **state) { return (void)state, remove_tree(folder); }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_containers),    cmocka_unit_test(test_script),      cmocka_unit_test(test_damage),
        cmocka_unit_test(test_hostile),       cmocka_unit_test(test_sizes),       cmocka_unit_test(test_keys),
        cmocka_unit_test(test_bombs),         cmocka_unit_test(test_many),        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_write),         cmocka_unit_test(test_memory),      cmocka_unit_test(test_names),
        cmocka_unit_test(test_other_layouts), cmocka_unit_test(test_public),      cmocka_unit_test(test_backbone),
        cmocka_unit_test(test_names_before),  cmocka_unit_test(test_lvdm_before), cmocka_unit_test(test_state_order)};
    return cmocka_run_group_tests_name("weights", tests, set_up, tear_down);
}
