/* Lists of people: label lists, checksums, frame labels; what is refused, with its line, and how long many rows take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/labels.h"
#include "common/io/table.h"
#include "experiments/checksums.h"
#include "experiments/mil_task.h"
#include "tests/tree.h"

static char dir[] = "/tmp/forty-lists-XXXXXX";
static const char *put(const char *name, const void *text, size_t size)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(ft_write_file(path, text, size), FT_OK);
    return path;
}
#define PUT(name, text) put(name, text, sizeof(text) - 1)

static void refused(int rc, const char *word)
{
    if (rc == FT_OK) fail_msg("read, though %s", word);
    if (!strstr(ft_error_message(), word)) fail_msg("'%s' does not say '%s'", ft_error_message(), word);
}

/* Every allocation refused in turn: FT_ENOMEM, never a part of the list. */
static void short_of_memory(int (*read)(ft_labels *l, const char *path), const char *path)
{
    ft_labels l;
    int64_t asked = ft_alloc_count();
    assert_int_equal(read(&l, path), FT_OK);
    asked = ft_alloc_count() - asked;
    ft_labels_free(&l);
    for (int64_t at = 1; at <= asked; at++) {
        ft_alloc_fail_at(at);
        int rc = read(&l, path);
        ft_alloc_fail_at(0);
        if (rc != FT_ENOMEM) fail_msg("%s, allocation %lld refused: %d", path, (long long)at, rc);
    }
}

static void test_labels(void **state)
{
    (void)state;
    ft_labels l;
    static const struct {
        const char *text;
        size_t size;
        const char *says;
    } bad[] = {
#define CASE(text, says) {text, sizeof(text) - 1, says}
        CASE("video,label\ncaf\xe9.mp4,a\n", ":2: the name of the video 'caf\\xe9.mp4' is not UTF-8"),
        CASE("video,label\na,\"x\ny\"\n", ":2: the label 'x\\x0ay' holds a control character"),
        CASE("video,label,group\na,b,g\x1b[1m\n", ":2: the group"),
        CASE("video,label,caf\xe9\na,b,c\n", ":1: the name of a column"),
        CASE("video,label,device\na,b,caf\xe9\n", ":2: device"),
        CASE("video,label,Split\na,b,test\n", ":1: the column split is called Split"),
        CASE("video,label,site,site\na,b,c,d\n", ":1: two columns are named site"),
        CASE("Video,Label\na,b\n", ":1: the column video is called Video"),
        CASE("video;label\na;b\n", "semicolons"),
        CASE("video\tlabel\na\tb\n", "tabs"),
        CASE("video;label;n,m\na;1;2,5\n", ":1: columns are separated by semicolons"),
        CASE("video,label\ra,1\rb,caf\xe9\r", ":3: the label"), /* lines of old spreadsheets are counted */
        CASE("video,label\r\na,1\r\nb,caf\xe9\r\n", ":3: the label"),
        CASE("\xff\xfev\0i\0d\0", "UTF-16"),
        CASE("\xfe\xff\0v\0i", "UTF-16"),
        CASE("video,label\na,b\0\n", "zero bytes"),
        CASE("video,label\nx,1\ny,1\nz,0\ny,0\n", ":5: video y stands in line 3 already"),
        CASE("video,label\na,\"1\nb,2\n", ":2: a quote opened here is not closed"),
        CASE("video,label\n\"a\",1\n\"b\"c,2\n", ":3"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(ft_labels_read(&l, put("l.csv", bad[i].text, bad[i].size)), bad[i].says);
    assert_int_equal(ft_labels_read(&l, PUT("l.csv", "video,label,note\n\"q\"\"x,1\",\" y\",\"two\nlines\"\r\n💓,=1+1,\n")),
                     FT_OK);
    assert_string_equal(l.row[0].video, "q\"x,1");
    assert_string_equal(l.row[0].facts, "{\"note\":\"two lines\"}"); /* text, not a name */
    assert_string_equal(l.row[1].label, "=1+1");
    assert_int_equal(l.row[1].line, 4);
    ft_labels_free(&l);
    const char *sites = PUT("l.csv", "video,label,site,note\na,1,north,\"x\ny\"\nb,0,,\nc,0,south,z\n");
    assert_int_equal(ft_labels_read(&l, sites), FT_OK);
    assert_string_equal(l.row[0].facts, "{\"site\":\"north\",\"note\":\"x y\"}");
    assert_string_equal(l.row[1].facts, "{\"site\":\"\",\"note\":\"\"}"); /* nothing of the row before */
    assert_string_equal(l.row[2].facts, "{\"site\":\"south\",\"note\":\"z\"}");
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, sites);
    char *wide = calloc(1, 1 << 20);
    memset(wide, '"', (1 << 20) - 1);
    refused(ft_labels_read(&l, put("l.csv", wide, (1 << 20) - 1)), "bytes");
    free(wide);
}

/* Every row's facts repeat the names of the columns: 6 MB of list would be 20 GB of facts. */
static void test_wide_facts(void **state)
{
    (void)state;
    enum { COLUMNS = 250, ROWS = 20000 };
    ft_text t;
    ft_labels l;
    assert_int_equal(ft_text_begin(&t), FT_OK);
    fprintf(t.f, "video,label");
    for (int i = 0; i < COLUMNS; i++) fprintf(t.f, ",c%04000d", i);
    for (int i = 0; i < ROWS; i++) {
        fprintf(t.f, "\nv%d,a", i);
        for (int k = 0; k < COLUMNS; k++) fputc(',', t.f);
    }
    assert_int_equal(ft_text_end(&t), FT_OK);
    ft_peak_memory_reset();
    int64_t before = ft_peak_memory();
    refused(ft_labels_read(&l, put("wide.csv", t.text, t.size)), "take more than 64 MiB");
    if (ft_peak_memory() - before > 500) fail_msg("it took %lld MiB", (long long)(ft_peak_memory() - before));
    ft_text_free(&t);
}

/* A list that cannot be named for want of memory is not absent: val.txt would be the test list then. */
static void test_folder_of_lists(void **state)
{
    (void)state;
    ft_labels l;
    char whole[65], hex[65];
    ft_text t;
    char path[300];
    static const char *const split[] = {"train", "val", "test"};
    snprintf(path, sizeof path, "%s/lists", dir);
    assert_int_equal(ft_mkdirs(path), FT_OK);
    for (int i = 0; i < 3; i++) {
        char name[40];
        snprintf(name, sizeof name, "lists/%s.txt", split[i]);
        assert_int_equal(ft_text_begin(&t), FT_OK);
        fprintf(t.f, "%s-a.mp4,1\n%s-b.mp4,0\n", split[i], split[i]);
        assert_int_equal(ft_text_end(&t), FT_OK);
        put(name, t.text, t.size);
        ft_text_free(&t);
    }
    assert_int_equal(ft_labels_sha256(path, whole), FT_OK);
    assert_int_equal(ft_labels_read(&l, path), FT_OK);
    assert_int_equal(l.n, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(l.row[i].split, split[i / 2]);
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, path);
    for (int64_t at = 1; at <= 3; at++) {
        ft_alloc_fail_at(at);
        int rc = ft_labels_sha256(path, hex);
        ft_alloc_fail_at(0);
        assert_int_equal(rc, FT_ENOMEM);
    }
}

/* A folder per class: hidden files are no videos, names are checked. */
static void test_class_folders(void **state)
{
    (void)state;
    ft_labels l;
    char path[300];
    static const char *const folder[] = {"classes/a", "classes/b", "latin/caf\xe9", "line/a"};
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, folder[i]);
        assert_int_equal(ft_mkdirs(path), FT_OK);
    }
    PUT("classes/a/1.mp4", "x"), PUT("classes/a/.DS_Store", "x"), PUT("classes/b/.forty", "x"), PUT("classes/b/2.mp4", "x");
    PUT("latin/caf\xe9/1.mp4", "x"), PUT("line/a/1\n.mp4", "x");
    snprintf(path, sizeof path, "%s/classes", dir);
    assert_int_equal(ft_labels_from_folders(&l, path), FT_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.row[0].video, "a/1.mp4");
    assert_string_equal(l.row[1].video, "b/2.mp4");
    ft_labels_free(&l);
    short_of_memory(ft_labels_from_folders, path);
    snprintf(path, sizeof path, "%s/latin", dir);
    refused(ft_labels_from_folders(&l, path), "the folder 'caf\\xe9' is not UTF-8");
    snprintf(path, sizeof path, "%s/line", dir);
    refused(ft_labels_from_folders(&l, path), "the file '1\\x0a.mp4' holds a control character");
}

static void test_many_rows(void **state)
{
    (void)state;
    enum { ROWS = 100000 };
    ft_text t;
    ft_labels l;
    ft_checksums c;
    char name[40], hex[65];
    double start = ft_now();
    assert_int_equal(ft_text_begin(&t), FT_OK);
    fprintf(t.f, "video,label,site\n");
    for (int i = 0; i < ROWS; i++) fprintf(t.f, "v%06d.mp4,%d,s%d\n", i * 7919 % ROWS, i % 2, i % 9);
    assert_int_equal(ft_text_end(&t), FT_OK);
    assert_int_equal(ft_labels_read(&l, put("many.csv", t.text, t.size)), FT_OK);
    assert_int_equal(l.n, ROWS);
    ft_labels_free(&l);
    ft_text_free(&t);
    assert_int_equal(ft_text_begin(&t), FT_OK);
    for (int i = 0; i < ROWS; i++) fprintf(t.f, "%064x  v%06d.mp4\n", (unsigned)i, i);
    assert_int_equal(ft_text_end(&t), FT_OK);
    assert_int_equal(ft_checksums_open(&c, put("many.sha256", t.text, t.size)), FT_OK);
    for (int i = 0; i < ROWS; i++) {
        snprintf(name, sizeof name, "v%06d.mp4", i), snprintf(hex, sizeof hex, "%064x", (unsigned)i);
        assert_int_equal(ft_checksums_video(&c, name, hex), FT_OK);
    }
    ft_checksums_close(&c, false);
    ft_text_free(&t);
    double spent = ft_now() - start;
    if (spent > 10) fail_msg("%d rows took %.1f s", ROWS, spent);
}

static void test_checksums(void **state)
{
    (void)state;
    ft_checksums c;
#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"
    refused(ft_checksums_open(&c, PUT("c", HEX "  caf\xe9.mp4\n")), ":1: the name");
    refused(ft_checksums_open(&c, PUT("c", HEX "  a\n\\" HEX "  b\\nc\n")), ":2: a name with a line break");
    refused(ft_checksums_open(&c, PUT("c", HEX "  a\0b\n")), "zero bytes");
    refused(ft_checksums_open(&c, PUT("c", HEX " a\n")), ":1: not a line");
    assert_int_equal(ft_checksums_open(&c, PUT("c", HEX "  a b\r\n" HEX " *c\n")), FT_OK);
    assert_int_equal(c.n, 2);
    assert_string_equal(c.row[0].name, "a b");
    assert_string_equal(c.row[1].name, "c");
    assert_string_equal(c.row[0].hex + 58, "abcdef");
    refused(ft_checksums_video(&c, "d", c.row[0].hex), "not in");
    ft_checksums_close(&c, false);
    /* what is written is what sha256sum reads, and reads back */
    static const char *const odd[] = {"*star", " space", "a b", "back\\slash", "\xf0\x9f\x92\x93"};
    char path[300], video[300], command[900], hex[65];
    snprintf(path, sizeof path, "%s/made", dir);
    assert_int_equal(ft_checksums_open(&c, path), FT_OK);
    for (int i = 0; i < 5; i++) {
        snprintf(video, sizeof video, "%s", put(odd[i], odd[i], strlen(odd[i])));
        assert_int_equal(ft_sha256_file(video, hex), FT_OK);
        assert_int_equal(ft_checksums_video(&c, odd[i], hex), FT_OK);
    }
    assert_int_equal(ft_checksums_close(&c, true), FT_OK);
    snprintf(command, sizeof command, "cd '%s' && sha256sum -c --strict --status made", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(ft_checksums_open(&c, path), FT_OK);
    for (int i = 0; i < 5; i++) assert_int_equal(ft_checksums_video(&c, odd[i], c.row[i].hex), FT_OK);
    ft_checksums_close(&c, false);
    snprintf(path, sizeof path, "%s/pipe", dir);
    assert_int_equal(mkfifo(path, 0600), 0);
    refused(ft_checksums_open(&c, path), "pipe");
}

static void test_frames(void **state)
{
    (void)state;
    const ft_framed_video v[] = {{"a", 10}, {"b", 5}};
    uint8_t truth[15];
    assert_int_equal(ft_frame_labels_read(PUT("f.csv", "video,start,end\na,2,4\nother,0,9\nb,4,99\n"), v, 2, truth), FT_OK);
    for (int i = 0; i < 15; i++) assert_int_equal(truth[i], i == 2 || i == 3 || i == 14);
    refused(ft_frame_labels_read(PUT("f.csv", "video,start,end\na,1,99999999999999999999\n"), v, 2, truth), ":2");
    refused(ft_frame_labels_read(PUT("f.csv", "video,start,end\n\"a\nb\",1,2\n"), v, 2, truth), ":2");
    refused(ft_frame_labels_read(PUT("f.csv", "video,start,end\na,4,2\n"), v, 2, truth), ":2");
    refused(ft_frame_labels_read(PUT("f.csv", "video,start,length\na,4,2\n"), v, 2, truth), ":1: the first line is");
    refused(ft_frame_labels_read(PUT("f.csv", "video;start;end\na;4;6\n"), v, 2, truth),
            ":1: columns are separated by semicolons");
    refused(ft_frame_labels_read(PUT("f.csv", "\xff\xfev\0"), v, 2, truth), "UTF-16");
    refused(ft_frame_labels_read(PUT("f.csv", "video,start,end\na,1,2\n\"a\",\"1\"x,2\n"), v, 2, truth), ":3");
}

static int set_up(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_labels),          cmocka_unit_test(test_wide_facts),
                                       cmocka_unit_test(test_folder_of_lists), cmocka_unit_test(test_class_folders),
                                       cmocka_unit_test(test_many_rows),       cmocka_unit_test(test_checksums),
                                       cmocka_unit_test(test_frames)};
    return cmocka_run_group_tests_name("lists", tests, set_up, tear_down);
}
