/* Lists of people: label lists, checksums, frame labels; what is refused, with its line, and how long many rows take. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/log.h"
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
    char *wide = calloc(1, 1 << 20);
    memset(wide, '"', (1 << 20) - 1);
    refused(ft_labels_read(&l, put("l.csv", wide, (1 << 20) - 1)), "bytes");
    free(wide);
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
    refused(ft_frame_labels_read(PUT("f.csv", "video,start,end\na,1,2\n\"a\",\"1\"x,2\n"), v, 2, truth), ":3");
}

static int set_up(void **state) { return (void)state, mkdtemp(dir) ? 0 : -1; }
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_labels), cmocka_unit_test(test_many_rows),
                                       cmocka_unit_test(test_checksums), cmocka_unit_test(test_frames)};
    return cmocka_run_group_tests_name("lists", tests, set_up, tear_down);
}
