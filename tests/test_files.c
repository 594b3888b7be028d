/* common/base: what is written, removed and refused. Folders of others, links, names, sizes, JSON that lacks a part. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/folder.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/graph/choices.h"
#include "tests/tree.h"

static char dir[] = "/tmp/forty-files-XXXXXX";
static const char *in(const char *name)
{
    static char path[8][400];
    static int turn;
    char *p = path[turn++ % 8];
    snprintf(p, 400, "%s/%s", dir, name);
    return p;
}
static void put(const char *name, const char *text)
{
    const char *path = in(name);
    assert_int_equal(ft_mkdirs_for(path), FT_OK);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}
static void holds(const char *name, const char *text)
{
    char *got;
    size_t size;
    if (ft_read_file(in(name), 0, &got, &size) != FT_OK) fail_msg("%s: %s", name, ft_error_message());
    assert_string_equal(got, text);
    ft_free(got);
}
static int entries(const char *name)
{
    char **list;
    int n;
    assert_int_equal(ft_list_dir(in(name), &list, &n), FT_OK);
    for (int i = 0; i < n; i++) ft_free(list[i]);
    ft_free(list);
    return n;
}

static void test_foreign_folder(void **state)
{
    (void)state;
    put("home/thesis.tex", "ten years");
    put("home/config.yaml", "of another program");
    assert_int_equal(ft_folder_make(in("home")), FT_EIO);
    assert_non_null(strstr(ft_error_message(), "did not make"));
    assert_int_equal(ft_folder_remove(in("home"), NULL), FT_EIO);
    assert_int_equal(entries("home"), 2);
    holds("home/thesis.tex", "ten years");
    assert_int_equal(mkdir(in("empty"), 0777), 0); /* nothing can be lost there */
    assert_int_equal(ft_folder_make(in("empty")), FT_OK);
    assert_true(ft_folder_ours(in("empty")) && ft_folder_empty(in("empty")));
    put("planted/.forty", ""); /* a mark that is a link to somebody's file is none */
    assert_int_equal(unlink(in("planted/.forty")), 0);
    assert_int_equal(symlink(in("home/thesis.tex"), in("planted/.forty")), 0);
    put("planted/x", "x");
    assert_int_equal(ft_folder_make(in("planted")), FT_EIO);
    assert_int_equal(ft_folder_remove(in("planted"), NULL), FT_EIO);
}

static void test_remove_ours_only(void **state)
{
    (void)state;
    int kept;
    put("elsewhere/ema.safetensors", "a stranger's");
    put("elsewhere/vae/log.csv", "a stranger's");
    assert_int_equal(ft_folder_make(in("run")), FT_OK);
    put("run/ema.safetensors", "w");
    put("run/vae/weights.safetensors", "w");
    put("run/vae/notes/own.txt", "mine");
    put("run/samples/000500.png", "w");
    put("run/notes.md", "mine");
    assert_int_equal(symlink(in("elsewhere/ema.safetensors"), in("run/state.safetensors")), 0);
    assert_int_equal(symlink(in("elsewhere"), in("run/.new")), 0);
    assert_int_equal(ft_folder_remove(in("run"), &kept), FT_OK);
    assert_int_equal(kept, 2);
    holds("run/notes.md", "mine");
    holds("run/vae/notes/own.txt", "mine");
    assert_false(ft_exists(in("run/ema.safetensors")) || ft_exists(in("run/samples")) || ft_exists(in("run/state.safetensors")));
    assert_int_equal(entries("elsewhere"), 2);
    holds("elsewhere/ema.safetensors", "a stranger's");
    holds("elsewhere/vae/log.csv", "a stranger's");
    assert_int_equal(ft_folder_make(in("whole")), FT_OK);
    put("whole/log.csv", "w");
    assert_int_equal(symlink(in("whole"), in("link")), 0); /* a link to a folder of ours */
    assert_int_equal(ft_folder_remove(in("link"), NULL), FT_EIO);
    holds("whole/log.csv", "w");
    assert_int_equal(ft_folder_remove(in("whole"), &kept), FT_OK);
    assert_int_equal(kept, 0);
    assert_false(ft_exists(in("whole")));
}

/* the old result is whole until the new one is; ended at any point, the next call completes it */
static void test_replace(void **state)
{
    (void)state;
    for (int stop = 0; stop < 3; stop++) {
        char name[32], at[64];
        snprintf(name, sizeof name, "swap%d", stop);
#define AT(tail) (snprintf(at, sizeof at, "%s/%s", name, tail), at)
        assert_int_equal(ft_folder_make(in(name)), FT_OK);
        put(AT("run.json"), "old"), put(AT("vae/log.csv"), "old"), put(AT("notes"), "mine");
        assert_int_equal(ft_folder_make(in(AT(".new"))), FT_OK);
        put(AT(".new/run.json"), "new"), put(AT(".new/ema.safetensors"), "new");
        if (stop == 0) assert_int_equal(ft_folder_replace(in(name)), FT_OK);
        if (stop >= 1) {
            char from[64];
            snprintf(from, sizeof from, "%s/.new", name);
            assert_int_equal(rename(in(from), in(AT(".complete"))), 0);
            if (stop == 2) { /* within the moves */
                snprintf(from, sizeof from, "%s/.complete", name);
                assert_int_equal(rename(in(from), in(AT(".moving"))), 0);
                snprintf(from, sizeof from, "%s/.moving/run.json", name);
                assert_int_equal(rename(in(from), in(AT("run.json"))), 0);
                remove_tree(in(AT("vae")));
            }
            assert_int_equal(ft_folder_settle(in(name)), FT_OK);
        }
        holds(AT("run.json"), "new"), holds(AT("ema.safetensors"), "new"), holds(AT("notes"), "mine");
        assert_false(ft_exists(in(AT("vae"))) || ft_exists(in(AT(".complete"))) || ft_exists(in(AT(".moving"))));
    }
}

static void test_planted_links(void **state)
{
    (void)state;
    put("victim", "precious");
    assert_int_equal(symlink(in("victim"), in("out.csv")), 0);
    assert_int_equal(ft_write_file(in("out.csv"), "ours", 4), FT_OK); /* the link is replaced, not what it points to */
    holds("victim", "precious");
    holds("out.csv", "ours");
    /* the names that temporary files once had */
    char old[100];
    snprintf(old, sizeof old, "x.csv.%ld.partial", (long)getpid());
    assert_int_equal(symlink(in("victim"), in(old)), 0);
    assert_int_equal(ft_write_file(in("x.csv"), "ours", 4), FT_OK);
    holds("victim", "precious");
}

static void test_orphans(void **state)
{
    (void)state;
    put("sweep/.a.csv.0123456789abcdef.partial", "of a dead writer");
    put("sweep/.b.csv.0123456789abcdef.partial", "of another file");
    put("sweep/.a.csv.fedcba9876543210.partial", "of a living writer");
    int living = open(in("sweep/.a.csv.fedcba9876543210.partial"), O_RDONLY);
    assert_true(living >= 0 && flock(living, LOCK_EX) == 0);
    assert_int_equal(ft_write_file(in("sweep/a.csv"), "x", 1), FT_OK);
    assert_int_equal(entries("sweep"), 3);
    close(living);
    /* nothing is left by a process that is ended in the middle, however */
    for (int how = 0; how < 3; how++) {
        pid_t child = fork();
        if (child == 0) {
            ft_atomic a;
            int rc = how ? ft_atomic_begin_named(&a, in("died/out")) : ft_atomic_begin(&a, in("died/out"));
            if (rc != FT_OK || write(a.fd, "half", 4) != 4) _exit(3);
            freopen("/dev/null", "w", stderr);
            if (how < 2) raise(how ? SIGABRT : SIGKILL);
            ft_atomic_abandon();
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 3);
        assert_int_equal(entries("died"), 0);
    }
}

static void test_not_a_file(void **state)
{
    (void)state;
    char *text, hex[65];
    size_t size;
    assert_int_equal(mkfifo(in("pipe"), 0666), 0);
    assert_int_equal(ft_read_file(in("pipe"), 0, &text, &size), FT_EIO);
    assert_non_null(strstr(ft_error_message(), "a pipe"));
    assert_int_equal(ft_sha256_file(in("pipe"), hex), FT_EIO);
    assert_null(ft_read_json(in("pipe")));
    assert_int_equal(ft_claim_output(in("pipe"), true), FT_EIO);
    assert_int_equal(ft_claim_output(dir, true), FT_EIO); /* a folder is no file to replace */
    char longer[3000];
    memset(longer, 'x', sizeof longer);
    memcpy(longer, dir, strlen(dir));
    longer[strlen(dir)] = '/', longer[sizeof longer - 1] = 0;
    assert_int_equal(ft_write_file(longer, "x", 1), FT_EIO);
    assert_int_equal(ft_mkdirs(longer), FT_EIO);
    assert_int_equal(ft_folder_make(longer), FT_EIO);
}

static void test_names(void **state)
{
    (void)state;
    static const char *const good[] = {"a",           "",   "caf\xc3\xa9", "\xe5\xbf\x83", "\xf0\x9f\x92\x93",
                                       "a b=c,\"d\"", "-x", "\xef\xbf\xbd"};
    static const char *const bad[] = {
        "caf\xe9",          "a\nb",         "a\rb",     "a\tb",         "\x1b[31m",     "\x7f",
        "\xc2\x85",         "\xe2\x80\xa8", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xc3",         "\xe5\xbf", "\x80",         "\xff"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (ft_check_name(good[i], strlen(good[i]), "x", "the name") != FT_OK) fail_msg("good %zu: %s", i, ft_error_message());
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (ft_check_name(bad[i], strlen(bad[i]), "list.csv:3", "the name") != FT_EDATA) fail_msg("bad %zu", i);
        assert_non_null(strstr(ft_error_message(), "list.csv:3"));
        for (const char *p = ft_error_message(); *p; p++) assert_true(*p >= 0x20 && *p < 0x7f); /* shown without its bytes */
    }
    assert_int_equal(ft_check_name("a\0b", 3, "x", "the name"), FT_EDATA);
    FT_FAIL(FT_EDATA, "a\x1b[2Jb\xff"); /* any message */
    assert_string_equal(ft_error_message(), "a\\x1b[2Jb\\xff");
}

static void test_sizes(void **state)
{
    (void)state;
    size_t s;
    int64_t n;
    assert_true(ft_mul_size(3, 5, &s) && s == 15);
    assert_false(ft_mul_size(SIZE_MAX / 2, 3, &s));
    assert_false(ft_add_size(SIZE_MAX, 1, &s));
    assert_false(ft_mul_count(-1, 5, &n));
    assert_false(ft_mul_count(INT64_MAX / 2, 3, &n));
    assert_null(ft_alloc_n(-1, 4));
    assert_null(ft_alloc_n(INT64_MAX, 16));
    void *grown = NULL;
    assert_int_equal(ft_grow(&grown, SIZE_MAX / 2 + 1, 8), FT_ENOMEM);
    assert_int_equal(ft_may_ask("x.h5", "clips", (uint64_t)64 << 20, 0, 1), FT_OK);
    assert_int_equal(ft_may_ask("x.h5", "clips", (uint64_t)9 << 30, 18000, 1032), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "FORTY_FILE_RATIO"));
    assert_int_equal(ft_may_ask("x.h5", "clips", UINT64_MAX, UINT64_MAX, 1032), FT_OK);
    setenv("FORTY_FILE_RATIO", "1000000", 1);
    assert_int_equal(ft_may_ask("x.h5", "clips", (uint64_t)9 << 30, 18000, 1032), FT_OK);
    unsetenv("FORTY_FILE_RATIO");
}

/* a document lacks nothing, or is not made */
static void test_json_under_no_memory(void **state)
{
    (void)state;
    char *whole, *text;
    for (int64_t n = 0; n < 60; n++) {
        ft_alloc_fail_at(n);
        json_t *o = json_object();
        for (int i = 0; i < 4; i++) {
            char key[8];
            snprintf(key, sizeof key, "k%d", i);
            json_object_set_new(o, key, json_pack("{s:i,s:s}", "v", i, "name", "text"));
        }
        int rc = ft_json_text(o, JSON_SORT_KEYS, n ? &text : &whole);
        ft_alloc_fail_at(0);
        if (n == 0) assert_int_equal(rc, FT_OK);
        else if (rc == FT_OK) {
            assert_string_equal(text, whole);
            ft_free(text);
        } else assert_int_equal(rc, FT_ENOMEM);
        json_decref(o);
        o = json_pack("{s:i}", "a", 1); /* and the next document is whole again */
        assert_int_equal(ft_json_text(o, JSON_COMPACT, &text), FT_OK);
        ft_free(text);
        json_decref(o);
    }
    ft_free(whole);
    json_t *o = json_pack("{s:s}", "a", "caf\xe9");
    assert_int_equal(ft_json_text(o, 0, &text), FT_EDATA);
    json_decref(o);
}

/* what readers strip, split or calculate is quoted */
static void test_csv(void **state)
{
    (void)state;
    static const char *const given[] = {"a", "a ", " a", "a,b", "a\"b", "=a", "", "-"};
    static const char *const field[] = {"a", "\"a \"", "\" a\"", "\"a,b\"", "\"a\"\"b\"", "=a", "", "-"};
    static const char *const cell[] = {"a", "\"a \"", "\" a\"", "\"a,b\"", "\"a\"\"b\"", "\"'=a\"", "", "\"'-\""};
    for (size_t i = 0; i < sizeof given / sizeof *given; i++) {
        ft_text t;
        assert_int_equal(ft_text_begin(&t), FT_OK);
        ft_csv_field(t.f, given[i]), fputc('|', t.f), ft_csv_cell(t.f, given[i]), fputc('|', t.f),
            ft_csv_probability(t.f, given[i]);
        assert_int_equal(ft_text_end(&t), FT_OK);
        char right[100], last[40];
        snprintf(last, sizeof last, *field[i] == '"' ? "\"p_%s" : "p_%s", field[i] + (*field[i] == '"'));
        snprintf(right, sizeof right, "%s|%s|%s", field[i], cell[i], last);
        assert_string_equal(t.text, right);
        ft_text_free(&t);
    }
}

/* ---- a run's choices of algorithms ---------------------------------------------------------------------------------------- */

static void test_choices_text(void **state)
{
    (void)state;
    static const char text[] = "gpu A\tproduct 1\tfast\n"
                               "gpu A\tproduct 1\tlate\n" /* the first holds */
                               "gpu A\tproduct 12\t\n"
                               "gpu B\tproduct 1\tother\n"
                               "\n\t\t\n"
                               "gpu A\tproduct 3\tunfinished";
    char held[FT_CHOICE];
    assert_true(ft_choices_find(text, sizeof text - 1, "gpu A", "product 1", held) && !strcmp(held, "fast"));
    assert_true(ft_choices_find(text, sizeof text - 1, "gpu B", "product 1", held) && !strcmp(held, "other"));
    assert_false(ft_choices_find(text, sizeof text - 1, "gpu A", "product 12", held));
    assert_false(ft_choices_find(text, sizeof text - 1, "gpu A", "product 3", held));
    assert_false(ft_choices_find(text, sizeof text - 1, "gpu A", "product", held));
    for (size_t n = 0; n < sizeof text; n++) { /* nothing behind the end is read */
        char *part = malloc(n ? n : 1);
        memcpy(part, text, n);
        for (int c = 0; c < 3; c++) {
            if (n) part[n - 1] = "\t\n"[c];
            ft_choices_find(part, n, "gpu A", "product 3", held);
        }
        free(part);
    }
    char *long_line = malloc(3 * FT_CHOICE);
    int n = snprintf(long_line, 3 * FT_CHOICE, "gpu A\tx\t");
    memset(long_line + n, 'y', FT_CHOICE);
    long_line[n + FT_CHOICE] = '\n';
    assert_false(ft_choices_find(long_line, (size_t)n + FT_CHOICE + 1, "gpu A", "x", held));
    free(long_line);
}

/* Many processes want something else at once: all go on with the same. */
static void test_choices_of_many(void **state)
{
    (void)state;
    enum { PROCESSES = 8, CHOICES = 40 };
    char held[FT_CHOICE], what[40], mine[40], agreed[CHOICES][40];
    ft_choices_keep(dir);
    put("gpu-choices.tsv", "gpu\twhat 0\tbefore\ngpu\twhat 1\tkilled in the mid"); /* of a process that was killed */
    for (int p = 0; p < PROCESSES; p++)
        if (fork() == 0) {
            char name[2] = {(char)('0' + p), 0};
            FILE *f = fopen(in(name), "w");
            for (int i = 0; i < CHOICES; i++) {
                snprintf(what, sizeof what, "what %d", i);
                snprintf(mine, sizeof mine, "choice of %d", p);
                bool theirs = ft_choices_agree(NULL, "gpu", what, mine, held);
                fprintf(f, "%s\n", theirs ? held : mine);
            }
            _exit(fclose(f) != 0);
        }
    for (int p = 0, status; p < PROCESSES; p++) assert_true(wait(&status) > 0 && status == 0);
    for (int p = 0; p < PROCESSES; p++) {
        char name[2] = {(char)('0' + p), 0}, line[60];
        FILE *f = fopen(in(name), "r");
        for (int i = 0; i < CHOICES; i++) {
            assert_non_null(fgets(line, sizeof line, f));
            line[strcspn(line, "\n")] = 0;
            if (p == 0) strcpy(agreed[i], line);
            assert_string_equal(line, agreed[i]);
            snprintf(what, sizeof what, "what %d", i);
            assert_true(ft_choices_agree(NULL, "gpu", what, NULL, held) && !strcmp(held, line));
        }
        fclose(f);
    }
    assert_string_equal(agreed[0], "before");
    assert_false(ft_choices_agree(NULL, "another gpu", "what 0", NULL, held));
    assert_false(ft_choices_agree(NULL, "gpu", "with\ttab", "x", held));
    ft_choices_keep(NULL);
}

static int set_up(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_foreign_folder), cmocka_unit_test(test_remove_ours_only),
                                       cmocka_unit_test(test_replace),        cmocka_unit_test(test_planted_links),
                                       cmocka_unit_test(test_orphans),        cmocka_unit_test(test_not_a_file),
                                       cmocka_unit_test(test_names),          cmocka_unit_test(test_csv),
                                       cmocka_unit_test(test_sizes),          cmocka_unit_test(test_json_under_no_memory),
                                       cmocka_unit_test(test_choices_text),   cmocka_unit_test(test_choices_of_many)};
    return cmocka_run_group_tests_name("files", tests, set_up, tear_down);
}
