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
#include "experiments/cli/mil_task.h"
#include "experiments/data/checksums.h"
#include "experiments/data/datasets.h"
#include "experiments/data/lists.h"
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
static void short_of_memory(int (*read)(ft_labels *l, const char *path, const ft_list_opt *opt), const char *path,
                            const ft_list_opt *opt)
{
    ft_labels l;
    int64_t asked = ft_alloc_count();
    assert_int_equal(read(&l, path, opt), FT_OK);
    asked = ft_alloc_count() - asked;
    ft_labels_free(&l);
    for (int64_t at = 1; at <= asked; at++) {
        ft_alloc_fail_at(at);
        int rc = read(&l, path, opt);
        ft_alloc_fail_at(0);
        if (rc != FT_ENOMEM) fail_msg("%s, allocation %lld refused: %d", path, (long long)at, rc);
    }
}

/* Several labels a video: names with | or ; between, columns of 0 and 1, none of them. */
static void test_sets(void **state)
{
    (void)state;
    ft_labels l;
    ft_list_opt set = {.multilabel = true};
    static const char *const want[] = {"blood|polyp", "polyp", "none", "none", "Big ulcer|blood"};
    const char *path = PUT("sets.csv", "video,label\na, polyp | blood\nb,\"Polyp;polyp\"\nc,\nd,None\ne,blood|Big  ulcer\n");
    if (ft_labels_read(&l, path, &set) < 0) fail_msg("%s", ft_error_message());
    for (int i = 0; i < 5; i++) assert_string_equal(l.row[i].label, i == 4 ? "Big  ulcer|blood" : want[i]);
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, path, &set);
    refused(ft_labels_read(&l, path, NULL), "sets.csv:4: the label is empty");
    refused(ft_labels_read(&l, PUT("x.csv", "video,label\na,none;b\n"), &set), "x.csv:2: the label 'none;b' is none and others");

    set.columns = "label=A+two words+C";
    path = PUT("columns.csv", "video,two words,C,A,site\na,1,0,TRUE,x\nb,0,0.0,no,y\n");
    if (ft_labels_read(&l, path, &set) < 0) fail_msg("%s", ft_error_message());
    assert_string_equal(l.row[0].label, "A|two words");
    assert_string_equal(l.row[1].label, "none");
    assert_string_equal(l.row[0].facts, "{\"site\":\"x\"}"); /* what says the label is no fact */
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, path, &set);
    refused(ft_labels_read(&l, PUT("x.csv", "video,A,two words,C\na,1,0,2\n"), &set),
            "x.csv:2: the column C is '2' here; 0 or 1");
    refused(ft_labels_read(&l, PUT("x.csv", "video,A,C\na,1,0\n"), &set), "no column is called two words. There are video, A, C");
    set.columns = "label=A+A";
    refused(ft_labels_read(&l, PUT("x.csv", "video,A,C\na,1,0\n"), &set), "the column A is named twice");
    set.columns = "label=A+C|D";
    refused(ft_labels_read(&l, PUT("x.csv", "video,A,C|D\na,1,0\n"), &set), "the column C|D cannot be a class");
    set.columns = "label=A+C"; /* a column may have the sign in its name */
    if (ft_labels_read(&l, PUT("x.csv", "video,A+C\na,p|q\n"), &set) < 0) fail_msg("%s", ft_error_message());
    assert_string_equal(l.row[0].label, "p|q");
    ft_labels_free(&l);
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
        CASE("video,label,site,site\na,b,c,d\n", ":1: two columns are named site"),
        CASE("video,label\ra,1\rb,caf\xe9\r", ":3: the label"), /* lines of old spreadsheets are counted */
        CASE("video,label\r\na,1\r\nb,caf\xe9\r\n", ":3: the label"),
        CASE("video,label\na,b\0\n", "zero bytes"),
        CASE("\xff\xfev\0i", "ends within a character"),
        CASE("\xff\xfev\0\0\xd8,\0", "not valid UTF-16"),
        CASE("\xff\xfev\0\0\0,\0", "zero bytes"),
        CASE("video,label,split,Split\na,b,test,train\n", ":1: the split could be the column split or Split"),
        CASE("video,label,patient,subject\na,b,c,d\n", ":1: the group could be the column patient or subject"),
        CASE("FileName,EF,Split\na,55,TRAIN\n", ":1: no column named label. There are FileName, EF, Split"),
        CASE("Vid,Label\na,b\n", ":1: no column named video"),
        CASE("x;y,z\n", ":1: columns are separated by commas or by semicolons?"),
        CASE("video,label,split\na,b,train\nc,d,holdout\n", ":3: the split is 'holdout'"),
        CASE("video,label,fold\na,b,1\nc,d,test\n", ":2: the split is the fold 1, in line 3 it is test"),
        CASE("video label\na b c\n", ":2: 3 columns, the first line has 2. Quote values that hold spaces"),
        CASE("video;label\na;55,3\nb;60,1\n", ":2: the label is the number 55,3"),
        CASE("video,label\nx,1\ny,1\nz,0\ny,0\n", ":5: video y stands in line 3 already"),
        CASE("video,label\na,\"1\nb,2\n", ":2: a quote opened here is not closed"),
        CASE("video,label\n\"a\",1\n\"b\"c,2\n", ":3"),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(ft_labels_read(&l, put("l.csv", bad[i].text, bad[i].size), NULL), bad[i].says);
    assert_int_equal(ft_labels_read(&l, PUT("l.csv", "video,label,note\n\"q\"\"x,1\",\" y\",\"two\nlines\"\r\n💓,=1+1,\n"), NULL),
                     FT_OK);
    assert_string_equal(l.row[0].video, "q\"x,1");
    assert_string_equal(l.row[0].facts, "{\"note\":\"two lines\"}"); /* text, not a name */
    assert_string_equal(l.row[1].label, "=1+1");
    assert_int_equal(l.row[1].line, 4);
    ft_labels_free(&l);
    const char *sites = PUT("l.csv", "video,label,site,note\na,1,north,\"x\ny\"\nb,0,,\nc,0,south,z\n");
    assert_int_equal(ft_labels_read(&l, sites, NULL), FT_OK);
    assert_string_equal(l.row[0].facts, "{\"site\":\"north\",\"note\":\"x y\"}");
    assert_string_equal(l.row[1].facts, "{\"site\":\"\",\"note\":\"\"}"); /* nothing of the row before */
    assert_string_equal(l.row[2].facts, "{\"site\":\"south\",\"note\":\"z\"}");
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, sites, NULL);
    char *wide = calloc(1, 1 << 20);
    memset(wide, '"', (1 << 20) - 1);
    refused(ft_labels_read(&l, put("l.csv", wide, (1 << 20) - 1), NULL), "bytes");
    free(wide);
}

/* One list in the forms in which people have it: what it says is the same. */
static void test_forms(void **state)
{
    (void)state;
    ft_labels l;
    static const struct {
        const char *text;
        size_t size;
    } form[] = {
#define FORM(text) {text, sizeof(text) - 1}
        FORM("video,label,group,split\na 1.mp4,yes,p1,train\nb.mp4,no,p2,test\n"),
        FORM("Split;Patient_ID;FileName;Class\nTRAIN;p1;a 1.mp4;yes\nTest;p2;b.mp4;no\n"),
        FORM("\xEF\xBB\xBF\"SPLIT\"\t\"Subject ID\"\t\"file-name\"\t\"finding\"\r\nTraining\tp1\ta "
             "1.mp4\tyes\r\nTEST\tp2\tb.mp4\tno\r\n"),
        FORM("sep=;\r\nvideo;label;group;split\r\na 1.mp4;yes;p1;train\r\nb.mp4;no;p2;test\r\n"),
        FORM("video label group split\n\"a 1.mp4\"  yes p1 train \nb.mp4 no p2 test\n"),
        FORM("\xff\xfev\0i\0d\0e\0o\0;\0l\0a\0b\0e\0l\0;\0p\0i\0d\0;\0S\0p\0l\0i\0t\0\n\0a\0 "
             "\0001\0.\0m\0p\0004\0;\0y\0e\0s\0;\0p\0001\0;"
             "\0t\0r\0a\0i\0n\0\n\0b\0.\0m\0p\0004\0;\0n\0o\0;\0p\0002\0;\0t\0e\0s\0t\0\n\0"),
    };
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        if (ft_labels_read(&l, put("form.csv", form[i].text, form[i].size), NULL) < 0) fail_msg("%zu: %s", i, ft_error_message());
        assert_int_equal(l.n, 2);
        assert_string_equal(l.row[0].video, "a 1.mp4");
        assert_string_equal(l.row[0].label, "yes");
        assert_string_equal(l.row[0].group, "p1");
        assert_string_equal(l.row[0].split, "train");
        assert_string_equal(l.row[1].video, "b.mp4");
        assert_string_equal(l.row[1].split, "test");
        assert_string_equal(l.row[1].facts, "{}"); /* no column is a fact as well */
        ft_labels_free(&l);
        short_of_memory(ft_labels_read, put("form.csv", form[i].text, form[i].size), NULL);
    }
    /* UTF-16 of either end, characters of one to four bytes; a name that holds a comma is no decimal one */
    static const char big[] =
        "\xfe\xff\0v\0i\0d\0e\0o\0,\0l\0a\0b\0e\0l\0\n\0\xe9\x5f\xc3\xd8\x3d\xdc\x93\0,\0\"\0001\0,\0002\0\"\0\n";
    assert_int_equal(ft_labels_read(&l, put("big.csv", big, sizeof big - 1), NULL), FT_OK);
    assert_string_equal(l.row[0].video, "\xc3\xa9\xe5\xbf\x83\xf0\x9f\x92\x93");
    assert_string_equal(l.row[0].label, "1,2");
    ft_labels_free(&l);
    /* what is called as it is called here goes before other usual names, which stay facts */
    assert_int_equal(ft_labels_read(&l, PUT("f.csv", "path,video,label,class\nx,a,b,c\n"), NULL), FT_OK);
    assert_string_equal(l.row[0].video, "a");
    assert_string_equal(l.row[0].facts, "{\"path\":\"x\",\"class\":\"c\"}");
    ft_labels_free(&l);
    static const char *const folds[] = {"0", "7", "12"};
    assert_int_equal(ft_labels_read(&l, PUT("f.csv", "video,label,Fold\na,b,0\nc,d,fold_7\ne,f,012\n"), NULL), FT_OK);
    for (int i = 0; i < 3; i++) assert_string_equal(l.row[i].split, folds[i]);
    ft_labels_free(&l);
}

/* What the list calls its columns is said beside it. */
static void test_columns(void **state)
{
    (void)state;
    ft_labels l;
    const char *list = PUT("c.csv", "id,split,EF,ESV,who\na,left,55.3,20,p1\nb,right,40,30,p1\n");
    ft_list_opt opt = {.columns = "video=id, label=ef,group=who,split=", .bins = "50", .leave_out = "ESV"};
    assert_int_equal(ft_labels_read(&l, list, &opt), FT_OK);
    assert_string_equal(l.row[0].label, "from 50");
    assert_string_equal(l.row[1].label, "below 50");
    assert_string_equal(l.row[1].group, "p1");
    assert_string_equal(l.row[1].split, "");
    assert_string_equal(l.row[1].facts, "{\"split\":\"right\"}"); /* ESV is left out, EF is the label */
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, list, &opt);
    opt.columns = "video=nosuch|id,label=EF,split=";
    assert_int_equal(ft_labels_read(&l, list, &opt), FT_OK);
    ft_labels_free(&l);
    opt.columns = "video=id,label=Ef2,split=";
    refused(ft_labels_read(&l, list, &opt), ":1: no column is called Ef2. There are id, split, EF, ESV, who");
    opt.columns = "video=id,Label=EF";
    refused(ft_labels_read(&l, list, &opt), "video=NAME");
    opt.columns = "video=id,label=id,split=";
    refused(ft_labels_read(&l, list, &opt), ":1: the column id is the name of the video and the label");
    /* by place: a list without a header */
    opt = (ft_list_opt){.columns = "video=1,label=-1"};
    assert_int_equal(ft_labels_read(&l, PUT("mm.txt", "clips/a 120 3\nclips/b 80 1\n"), &opt), FT_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.row[0].video, "clips/a");
    assert_string_equal(l.row[0].label, "3");
    ft_labels_free(&l);
}

static void test_classes(void **state)
{
    (void)state;
    ft_labels l;
    static const char *const want[] = {"1.0", "1.0", "0", "0", "1.0"};
    const char *list = PUT("f.csv", "video,label\na,1.0\nb,1\nc,0\nd,-0.0\ne,01\n");
    assert_int_equal(ft_labels_read(&l, list, NULL), FT_OK);
    for (int i = 0; i < 5; i++) assert_string_equal(l.row[i].label, want[i]);
    ft_labels_free(&l);
    static const char *const words[] = {"Polyp", "Polyp", "No  polyp", "No  polyp", "1,5"};
    list = PUT("f.csv", "video,label\na,Polyp\nb,\" polyp \"\nc,No  polyp\nd,no polyp\ne,\"1,5\"\n");
    assert_int_equal(ft_labels_read(&l, list, NULL), FT_OK);
    for (int i = 0; i < 5; i++) assert_string_equal(l.row[i].label, words[i]);
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, list, NULL);
    ft_list_opt opt = {.bins = "30,50"};
    static const char *const bins[] = {"below 30", "30 to 50", "from 50", "from 50"};
    assert_int_equal(ft_labels_read(&l, PUT("f.csv", "video;label\na;29,9\nb;30\nc;50,0\nd;1e3\n"), &opt), FT_OK);
    for (int i = 0; i < 4; i++) assert_string_equal(l.row[i].label, bins[i]);
    ft_labels_free(&l);
    refused(ft_labels_read(&l, PUT("f.csv", "video,label\na,20\nb,nan\n"), &opt), ":3: the label 'nan' is no number");
    static const char *const bad[] = {"50,30", "a", "30,,50", "30,30", "30 50"};
    for (size_t i = 0; i < 5; i++) {
        opt.bins = bad[i];
        refused(ft_labels_read(&l, PUT("f.csv", "video,label\na,20\nb,40\n"), &opt), "no rising numbers");
    }
    refused(ft_labels_read(&l, PUT("f.csv", "video,label\na,20.5\nb,40\n"), NULL), ":2: the label is the number 20.5");
}

static void test_groups(void **state)
{
    (void)state;
    ft_labels l;
    ft_list_opt opt = {.group_from = "^(P[0-9]+)[_-]"};
    const char *list = PUT("g.csv", "video,label\nP01_visit1.mp4,a\nP01_visit2.mp4,a\nP2-x.mp4,b\n");
    static const char *const want[] = {"P01", "P01", "P2"};
    assert_int_equal(ft_labels_read(&l, list, &opt), FT_OK);
    for (int i = 0; i < 3; i++) assert_string_equal(l.row[i].group, want[i]);
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, list, &opt);
    /* a column of visits: the patient is in it, not in the name */
    assert_int_equal(ft_labels_read(&l, PUT("g.csv", "video,label,group\nP9_a,a,P1-1\nP8_b,a,P1-2\n"), &opt), FT_OK);
    assert_string_equal(l.row[0].group, "P1");
    assert_string_equal(l.row[1].group, "P1");
    ft_labels_free(&l);
    refused(ft_labels_read(&l, PUT("g.csv", "video,label\nP01_a,a\nx_P01_b,a\n"), &opt), ":3: group_from");
    opt.group_from = "^P[0-9]+_";
    refused(ft_labels_read(&l, list, &opt), "put the part that is the group into ( )");
    opt.group_from = "(P\\d+)";
    refused(ft_labels_read(&l, list, &opt), "[0-9]");
    opt.group_from = "(P[0-9";
    refused(ft_labels_read(&l, list, &opt), "POSIX extended");
}

static void make(const char *path)
{
    char whole[400];
    snprintf(whole, sizeof whole, "%s/%s", dir, path);
    assert_int_equal(ft_mkdirs_for(whole), FT_OK);
    assert_int_equal(ft_write_file(whole, "x", 1), FT_OK);
}

/* The list as it is read, looked up in DIR/folder; or what is said against it. */
static int open_list(ft_labels *l, const char *folder, const char *text, const ft_list_words *w, bool outside, bool skip)
{
    static const ft_list_words nothing;
    char videos[300];
    snprintf(videos, sizeof videos, "%s/%s", dir, folder);
    return ft_list_open(l, w ? w : &nothing, videos, text ? put("o.csv", text, strlen(text)) : NULL, outside, skip);
}

static void test_found(void **state)
{
    (void)state;
    ft_labels l;
    static const struct {
        const char *name, *file; /* file: NULL: not found */
    } found[] = {{"a.avi", "a.avi"},
                 {"a", "a.avi"},
                 {"A.AVI", "a.avi"},
                 {"./a.avi", "./a.avi"},
                 {"deep", "sub/deep.mp4"},
                 {"sub/deep.mp4", "sub/deep.mp4"},
                 {"videos/sub/deep.mp4", "sub/deep.mp4"},
                 {"C:\\Users\\me\\videos\\sub\\deep.mp4", "sub/deep.mp4"},
                 {"sub\\deep", "sub/deep.mp4"},
                 {"/home/other/a.avi", "a.avi"},
                 {"back\\slash.mp4", "back\\slash.mp4"},
                 {"0X1.2", "0X1.2.avi"},
                 {"folder7", "frames/folder7"},
                 {"12:30:00.mp4", "12:30:00.mp4"},
                 {"other/deep.mp4", NULL}, /* another folder's */
                 {"malignant/1.mp4", NULL},
                 {"a.mp4", NULL},
                 {"hidden", NULL},
                 {"eep", NULL},
                 {"", NULL}};
    make("look/a.avi"), make("look/sub/deep.mp4"), make("look/back\\slash.mp4"), make("look/0X1.2.avi"),
        make("look/12:30:00.mp4");
    make("look/frames/folder7/0001.png"), make("look/.cache/hidden.mp4"), make("look/benign/1.mp4");
    for (size_t i = 0; *found[i].name; i++) {
        char text[200], file[300];
        snprintf(text, sizeof text, "video,label\n%s,x\n", found[i].name);
        int rc = open_list(&l, "look", text, NULL, false, false);
        if (!found[i].file) {
            refused(rc, "o.csv:2: there is no video");
            continue;
        }
        if (rc < 0) fail_msg("%s: %s", found[i].name, ft_error_message());
        snprintf(file, sizeof file, "%s/look/%s", dir, found[i].file);
        assert_string_equal(l.row[0].file, file);
        assert_string_equal(l.row[0].video, found[i].name); /* its name is the list's */
        ft_labels_free(&l);
    }
    refused(open_list(&l, "look", "video,label\na.mp4,x\n", NULL, false, false), "Is a.avi meant?");
    refused(open_list(&l, "look", "video,label\na.avi,x\nsub/deep.mp4,y\na,y\n", NULL, false, false),
            "o.csv:4: a and a.avi of line 2 are one video");
    make("look/deep.avi");
    refused(open_list(&l, "look", "video,label\ndeep,x\n", NULL, false, false), "o.csv:2: deep may be deep.avi or sub/deep.mp4");
    assert_int_equal(open_list(&l, "look", "video,label\ndeep.mp4,x\n", NULL, false, false), FT_OK);
    ft_labels_free(&l);
    assert_int_equal(open_list(&l, "look", "video,label\nnone,x\na,y\n", NULL, false, true), FT_OK); /* --on-error skip */
    assert_true(!l.row[0].file && l.row[1].file);
    ft_labels_free(&l);
    /* out of the folder only when it is allowed */
    char text[400];
    make("elsewhere.avi");
    snprintf(text, sizeof text, "video,label\n%s/elsewhere.avi,x\n", dir);
    for (int skip = 0; skip < 2; skip++) {
        refused(open_list(&l, "look", text, NULL, false, skip), "o.csv:2: video");
        refused(open_list(&l, "look", "video,label\nsub/../../look/a.avi,x\n", NULL, false, skip), "lies outside");
        refused(open_list(&l, "look", "video,label\n..\\look\\a.avi,x\n", NULL, false, skip), "lies outside");
    }
    assert_int_equal(open_list(&l, "look", text, NULL, true, false), FT_OK);
    assert_string_equal(l.row[0].file, strtok(text + strlen("video,label\n"), ","));
    ft_labels_free(&l);
}

/* Every allocation refused in turn: FT_ENOMEM, never a part of the list, or videos of another folder. */
static void open_short_of_memory(const char *folder, const ft_list_words *w)
{
    ft_labels l;
    int64_t asked = ft_alloc_count();
    if (open_list(&l, folder, NULL, w, false, false) < 0) fail_msg("%s: %s", folder, ft_error_message());
    asked = ft_alloc_count() - asked;
    ft_labels_free(&l);
    for (int64_t at = 1; at <= asked; at++) {
        ft_alloc_fail_at(at);
        int rc = open_list(&l, folder, NULL, w, false, false);
        ft_alloc_fail_at(0);
        if (rc != FT_ENOMEM) fail_msg("%s, allocation %lld of %lld refused: %d", folder, (long long)at, (long long)asked, rc);
    }
}

static void put_in(const char *folder, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    make(path);
    put(path, text, strlen(text));
}

static const ft_label *row_of(const ft_labels *l, const char *video)
{
    for (int i = 0; i < l->n; i++)
        if (!strcmp(l->row[i].video, video)) return &l->row[i];
    fail_msg("no row of %s", video);
    return NULL;
}

/* Every data set in its own layout: what becomes of one of its videos, and its traps. */
static void test_datasets(void **state)
{
    (void)state;
    ft_labels l;
    char names[] = FT_DATASETS;
    for (char *name = strtok(names, ", "); name; name = strtok(NULL, ", ")) assert_non_null(ft_dataset_find(name));
    assert_null(ft_dataset_find("echo"));
    static const char echonet[] = "FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split\n"
                                  "0X10,78.5,14.9,69.2,112,112,50,174,TRAIN\n0X2F,36.0,40.4,63.1,112,112,50,215,VAL\n"
                                  "0X3A,50,20.1,40.2,112,112,51,116,TEST\n";
    put_in("echonet", "FileList.csv", echonet);
    make("echonet/Videos/0X10.avi"), make("echonet/Videos/0X2F.avi"), make("echonet/Videos/0X3A.avi");
    ft_list_words w = {.as = "echonet"};
    refused(open_list(&l, "echonet", NULL, &w, false, false), "--threshold N");
    w.threshold = "50";
    assert_int_equal(open_list(&l, "echonet", NULL, &w, false, false), FT_OK);
    const ft_label *e = row_of(&l, "0X2F");
    assert_string_equal(e->label, "below 50");
    assert_string_equal(e->split, "validation");
    assert_string_equal(e->group, "0X2F");
    assert_string_equal(strstr(e->file, "Videos/"), "Videos/0X2F.avi");
    assert_null(strstr(e->facts, "ESV")); /* the label is made of it */
    assert_non_null(strstr(e->facts, "\"FPS\":\"50\""));
    assert_string_equal(row_of(&l, "0X3A")->label, "from 50");
    ft_labels_free(&l);
    open_short_of_memory("echonet", &w);
    w.bins = "40,60";
    refused(open_list(&l, "echonet", NULL, &w, false, false), "not both");
    refused(open_list(&l, "look", NULL, &(ft_list_words){.as = "echonet", .bins = "50"}, false, false),
            "FileList.csv is not there, the list of echonet");
    refused(open_list(&l, "look", NULL, &(ft_list_words){.as = "nosuch"}, false, false), "There are echonet, ");

    put_in("pediatric/A4C", "FileList.csv",
           "FileName,EF,Sex,Age,Weight,Height,Split\nCR1.avi,61.2,F,7,20,120,0\nCR2.avi,40,M,3,15,99,9\n");
    make("pediatric/A4C/Videos/CR1.avi"), make("pediatric/A4C/Videos/CR2.avi");
    w = (ft_list_words){.as = "echonet-pediatric", .bins = "45,55"};
    assert_int_equal(open_list(&l, "pediatric/A4C", NULL, &w, false, false), FT_OK);
    assert_string_equal(row_of(&l, "CR1.avi")->split, "0");
    assert_string_equal(row_of(&l, "CR2.avi")->split, "9");
    assert_string_equal(row_of(&l, "CR2.avi")->label, "below 45");
    ft_labels_free(&l);

    make("hyper/labeled-videos/videos/1a-b.avi"), make("hyper/labeled-videos/videos/2c-d.avi");
    put_in("hyper/labeled-videos", "video-labels.csv",
           "Video file,Organ,Finding 1,Finding 2\n1a-b,Lower GI,Polyps,\n2c-d,Lower GI,None,\n");
    w = (ft_list_words){.as = "hyperkvasir"};
    for (int k = 0; k < 2; k++) { /* the folder or its labelled half; the list with semicolons or commas */
        assert_int_equal(open_list(&l, k ? "hyper/labeled-videos" : "hyper", NULL, &w, false, false), FT_OK);
        assert_string_equal(row_of(&l, "2c-d")->label, "None"); /* a finding */
        ft_labels_free(&l);
        put_in("hyper/labeled-videos", "video-labels.csv", "file-name;finding;width\n1a-b.avi;Polyps;720\n2c-d;None;720\n");
    }

    make("polyp/videos/n-0-11250.mp4"), make("polyp/videos/p-0-108.mp4");
    put_in("polyp/splits", "train.txt", "p-0-108.mp4,1\n"), put_in("polyp/splits", "val.txt", "n-0-11250.mp4,0\n");
    w = (ft_list_words){.as = "polypdiag"};
    if (open_list(&l, "polyp", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
    assert_string_equal(row_of(&l, "n-0-11250.mp4")->split, "test"); /* the only held-out list */
    ft_labels_free(&l);

    make("pocus/convex/Cov-a.gif"), make("pocus/linear/Reg-b.mp4");
    put_in("pocus", "dataset_metadata.csv",
           "Filename,Label,Probe,Patient ID / Name\nCov-a,COVID,convex,Pat 1\nReg-b,regular,linear,\nBut-c,Covid,convex,Pat 3\n");
    w = (ft_list_words){.as = "pocus"};
    refused(open_list(&l, "pocus", NULL, &w, false, false), "dataset_metadata.csv:4: there is no video But-c");
    assert_int_equal(open_list(&l, "pocus", NULL, &w, false, true), FT_OK);
    assert_string_equal(row_of(&l, "Cov-a")->group, "Pat 1");
    assert_string_equal(row_of(&l, "Reg-b")->group, "Reg-b"); /* whose it is, is not known */
    assert_string_equal(row_of(&l, "But-c")->label, "COVID");
    ft_labels_free(&l);

    static const char *const frames[] = {"benign/one", "benign/both", "malignant/both", "malignant/two"};
    for (int i = 0; i < 4; i++) {
        char path[100];
        snprintf(path, sizeof path, "buv/rawframes/%s/000000.png", frames[i]);
        make(path);
    }
    w = (ft_list_words){.as = "buv"};
    assert_int_equal(open_list(&l, "buv", NULL, &w, false, false), FT_OK);
    assert_int_equal(l.n, 2); /* the one under both labels is left out of both */
    assert_string_equal(row_of(&l, "benign/one")->split, "");
    ft_labels_free(&l);
    put_in("buv", "imagenet_vid_train_15frames.json",
           "{\"images\": [{\"file_name\": \"benign/one/000000.png\"}, {\"file_name\": \"benign/one/000001.png\"}]}");
    put_in("buv", "imagenet_vid_val.json", "{\"images\": [{\"file_name\": \"malignant/two/000000.png\"}]}");
    assert_int_equal(open_list(&l, "buv", NULL, &w, false, false), FT_OK);
    assert_string_equal(row_of(&l, "benign/one")->split, "train");
    assert_string_equal(row_of(&l, "malignant/two")->split, "test");
    assert_string_equal(row_of(&l, "malignant/two")->label, "malignant");
    ft_labels_free(&l);
    open_short_of_memory("buv", &w);
    put_in("buv", "imagenet_vid_val.json", "{\"images\": [{\"file_name\": \"benign/one/000000.png\"}]}");
    refused(open_list(&l, "buv", NULL, &w, false, false), "benign/one is in the other list, too");

    make("cataract/videos/case_269.mp4"), make("cataract/videos/case_270.mp4");
    put_in("cataract", "videos.csv", "VideoID;Frames;FPS;Surgeon;Experience\n269;10000;25;1;1\n270;12000;25;2;2\n");
    w = (ft_list_words){.as = "cataract101"};
    assert_int_equal(open_list(&l, "cataract", NULL, &w, false, false), FT_OK);
    assert_string_equal(row_of(&l, "case_269")->group, "1");
    assert_string_equal(row_of(&l, "case_270")->label, "2");
    assert_null(strstr(l.row[0].facts, "Surgeon")); /* it is the group */
    ft_labels_free(&l);

    /* frames 2 and 9 to 11 of the first, none of the second: windows of four */
    for (int k = 1; k <= 13; k++) {
        char name[60];
        snprintf(name, sizeof name, "ld/Train/Images/10/%d.jpg", k), make(name);
        snprintf(name, sizeof name, "%d.txt", k);
        put_in("ld/Train/Annotations/10", name,
               k == 2              ? "1\n10 20 30 40\n"
               : k >= 9 && k <= 11 ? "2\n1 2 3 4\n5 6 7 8\n"
                                   : "0\n");
    }
    for (int k = 0; k < 4; k++) {
        char name[60];
        snprintf(name, sizeof name, "ld/Test/Images/2/%d.jpg", k), make(name);
        snprintf(name, sizeof name, "%d.txt", k), put_in("ld/Test/Annotations/2", name, "0");
    }
    static const char *const windows[2][4] = {{"polyp", "normal", "polyp", "normal"}, {"normal", "normal", "polyp", "normal"}};
    for (int k = 0; k < 2; k++) {
        w = (ft_list_words){.as = "ldpolyp", .window = 4, .majority = k == 1};
        if (open_list(&l, "ld", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(l.n, 4); /* the thirteenth frame is no window */
        for (int i = 0; i < 4; i++) assert_string_equal(l.row[i].label, windows[k][i]);
        assert_string_equal(l.row[2].video, "10@8");
        assert_true(l.row[2].from == 8 && l.row[2].frames == 4);
        assert_string_equal(l.row[2].group, "10"); /* windows of a video stay together */
        assert_string_equal(strstr(l.row[2].file, "ld/"), "ld/Train/Images/10");
        assert_string_equal(l.row[2].split, "train");
        assert_string_equal(l.row[3].split, "test");
        ft_labels_free(&l);
    }
    open_short_of_memory("ld", &w);
    w.window = 16;
    refused(open_list(&l, "ld", NULL, &w, false, false), "no window of 16 frames");
    w.window = 4;
    put_in("ld/Test/Annotations/2", "3.txt", "none");
    refused(open_list(&l, "ld", NULL, &w, false, false), "2/3.txt:1: the number of polyps");
    put_in("ld/Test/Annotations/2", "3.txt", "0"), make("ld/Test/Images/2/4.jpg");
    refused(open_list(&l, "ld", NULL, &w, false, false), "4 annotations, and 5 images");
    refused(open_list(&l, "look", NULL, &w, false, false), "Annotations/N/*.txt");
}

static void frames_of(const char *folder, const char *format, int from, int n)
{
    for (int k = from; k < from + n; k++) {
        char name[60], path[200];
        snprintf(name, sizeof name, format, k);
        snprintf(path, sizeof path, "%s/%s", folder, name), make(path);
    }
}

/* Sets whose frames are labelled one by one: what a window is called, and what nobody looked at. */
static void test_framed_datasets(void **state)
{
    (void)state;
    ft_labels l;
    frames_of("sun/sundatabase_positive_part1/case2", "image%04d.jpg", 1, 9);
    frames_of("sun/sundatabase_positive_part2/case10", "image%04d.jpg", 1, 4);
    put_in("sun/sundatabase_positive_part1/annotation_txt", "case2.txt", "image0001.jpg 1,2,3,4,0\n");
    ft_list_words w = {.as = "sun", .window = 4};
    refused(open_list(&l, "sun", NULL, &w, false, false), "no negative cases are in it");
    frames_of("sun/sundatabase_negative_part1/case2", "image%04d.jpg", 1, 5);
    put_in("sun/sundatabase_negative_part1/case2", "notes.txt", "no image");
    if (open_list(&l, "sun", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(l.n, 4);
    assert_string_equal(row_of(&l, "case2@4")->label, "polyp");
    assert_string_equal(row_of(&l, "case10@0")->group, "case10");
    assert_string_equal(row_of(&l, "negative-case2@0")->label, "normal");
    assert_string_equal(row_of(&l, "negative-case2@0")->group, "negative-case2"); /* another patient than case2 */
    assert_string_equal(strstr(row_of(&l, "case10@0")->file, "sun/"), "sun/sundatabase_positive_part2/case10");
    ft_labels_free(&l);
    open_short_of_memory("sun", &w);

    frames_of("seg/TrainDataset/Frame/case1_1", "%05d.jpg", 1, 2), frames_of("seg/TrainDataset/Frame/case1_3", "%05d.jpg", 1, 2);
    frames_of("seg/TestHardDataset/Unseen/Frame/case7_2", "%05d.jpg", 1, 2);
    put_in("seg/TrainDataset/Classification", "classification.txt",
           "case1_1/00001 Low-grade_adenoma\ncase1_1/00002 Low-grade_adenoma\ncase1_3/00001 Low-grade_adenoma\n");
    put_in("seg/TestHardDataset/Unseen/Classification", "classification.txt", "case7_2 Hyperplastic_polyp\n");
    if (open_list(&l, "seg", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(l.n, 3);
    assert_string_equal(row_of(&l, "case1_3")->group, "case1");
    assert_string_equal(row_of(&l, "case7_2")->label, "Hyperplastic_polyp");
    assert_true(row_of(&l, "case1_1")->frames == 0); /* whole */
    ft_labels_free(&l);
    open_short_of_memory("seg", &w);
    put_in("seg/TrainDataset/Classification", "classification.txt", "case1_1/1 Adenoma\ncase1_1/2 Polyp\ncase1_3/1 Polyp\n");
    refused(open_list(&l, "seg", NULL, &w, false, false), "classification.txt:2: case1_1 is Polyp here, Adenoma in line 1");
    put_in("seg/TrainDataset/Classification", "classification.txt", "case1_1/1 Adenoma\n");
    refused(open_list(&l, "seg", NULL, &w, false, false), "has no class for");

    /* nobody looked at frames 4 to 7; of 8 to 11 three are Polyp, of 12 to 15 two of each */
    make("capsule/labelled_videos/0b2f.mp4");
    put_in("capsule", "metadata.csv",
           "filename;video_id;frame_number;finding_category;finding_class;x1;y1\n0b2f_1.jpg;0b2f;1;Anatomy;Pylorus;;\n"
           "0b2f_8.jpg;0b2f;8;Luminal;Polyp;1;2\n0b2f_9.jpg;0b2f;9;Luminal;Polyp;1;2\n0b2f_10.jpg;0b2f;10;Luminal;Ulcer;1;2\n"
           "0b2f_11.jpg;0b2f;11;Luminal;Polyp;1;2\n0b2f_12.jpg;0b2f;12;Luminal;Ulcer;;\n0b2f_13.jpg;0b2f;13;Luminal;Polyp;;\n"
           "0b2f_15.jpg;0b2f;15;Luminal;Ulcer;;\n0b2f_14.jpg;0b2f;14;Luminal;Polyp;;\nffff_3.jpg;ffff;3;Anatomy;Pylorus;;\n");
    w = (ft_list_words){.as = "kvasir-capsule", .window = 4};
    for (int k = 0; k < 2; k++) {
        if (open_list(&l, "capsule", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(l.n, 3); /* ffff.mp4 is not there */
        assert_string_equal(row_of(&l, "0b2f@0")->label, "Pylorus");
        assert_string_equal(row_of(&l, "0b2f@8")->label, "Polyp");
        assert_string_equal(row_of(&l, "0b2f@12")->label, k ? "Ulcer" : "Polyp"); /* the one that the lists name first */
        assert_true(row_of(&l, "0b2f@8")->from == 8 && row_of(&l, "0b2f@8")->frames == 4);
        assert_string_equal(row_of(&l, "0b2f@8")->group, "0b2f");
        ft_labels_free(&l);
        open_short_of_memory("capsule", &w);
        assert_int_equal(ft_remove_file(path_in(dir, "capsule/metadata.csv")), FT_OK);
        put_in("capsule/official_splits", "split_0.csv",
               "filename,label\n0b2f_10.jpg,Ulcer\n0b2f_8.jpg,Polyp\n0b2f_9.jpg,Polyp\n");
        put_in(
            "capsule/official_splits", "split_1.csv",
            "filename,label\n0b2f_1.jpg,Pylorus\n0b2f_12.jpg,Ulcer\n0b2f_13.jpg,Polyp\n0b2f_15.jpg,Ulcer\n0b2f_14.jpg,Polyp\n");
    }
    put_in("capsule/official_splits", "split_1.csv", "filename,label\nwhat.jpg,Pylorus\n");
    refused(open_list(&l, "capsule", NULL, &w, false, false), "split_1.csv:2: 'what.jpg' does not name a video and the number");
    refused(open_list(&l, "look", NULL, &w, false, false), "neither metadata.csv nor split_0.csv");

    /* phases of every frame; tools of every third */
    make("chol/videos/video02.mp4"), make("chol/videos/video41.mp4");
    put_in("chol/phase_annotations", "video02-phase.txt",
           "Frame\tPhase\n0\tPreparation\n1\tPreparation\n2\tClippingCutting\n3\tPreparation\n4\tClippingCutting\n"
           "5\tClippingCutting\n6\tClippingCutting\n7\tClippingCutting\n8\tPreparation\n");
    put_in("chol/phase_annotations", "video41-phase.txt",
           "Frame\tPhase\n0\tPreparation\n1\tPreparation\n2\tPreparation\n3\tPreparation\n");
    put_in("chol/phase_annotations", "video03-phase.txt", "Frame\tPhase\n0\tPreparation\n"); /* a video that is not there */
    put_in("chol/tool_annotations", "video02-tool.txt",
           "Frame\tGrasper\tBipolar\tHook\n0\t1\t0\t0\n3\t1\t0\t1\n6\t0\t0\t0\n9\t0\t1\t0\n12\t0\t0\t0\n19\t0\t0\t0\n");
    w = (ft_list_words){.as = "cholec80", .window = 4};
    if (open_list(&l, "chol", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(l.n, 3);
    assert_string_equal(row_of(&l, "video02@0")->label, "Preparation");
    assert_string_equal(row_of(&l, "video02@4")->label, "ClippingCutting");
    assert_string_equal(row_of(&l, "video02@4")->split, "train");
    assert_string_equal(row_of(&l, "video41@0")->split, "test");
    ft_labels_free(&l);
    open_short_of_memory("chol", &w);
    for (int k = 0; k < 2; k++) {
        w = (ft_list_words){.as = "cholec80", .window = 4, .multilabel = true, .majority = k == 1};
        if (open_list(&l, "chol", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(l.n, 5);
        assert_string_equal(row_of(&l, "video02@0")->label,
                            k ? "Grasper" : "Grasper|Hook"); /* of two frames that were looked at */
        assert_string_equal(row_of(&l, "video02@4")->label, "none");
        assert_string_equal(row_of(&l, "video02@8")->label, "Bipolar");
        ft_labels_free(&l);
    }
    open_short_of_memory("chol", &w);
    put_in("chol/tool_annotations", "video02-tool.txt", "Frame\tGrasper\tBipolar\n0\t1\t2\n");
    refused(open_list(&l, "chol", NULL, &w, false, false), "video02-tool.txt:2: '2' is neither 0 nor 1");

    /* images 2 to 9, known by their numbers; nobody looked at 8 and 9 */
    frames_of("t50/videos/VID79", "%06d.png", 2, 8), frames_of("t50/videos/VID80", "%06d.png", 0, 4);
    static const char head[] = "{\"fps\": 1, \"categories\": {\"instrument\": {\"0\": \"grasper\", \"2\": \"hook\"}, "
                               "\"phase\": {\"0\": \"preparation\", \"1\": \"carlot-triangle-dissection\"}}, \"annotations\": {";
#define ONE(tool, phase) "[1, " tool ", 1, -1, -1, -1, -1, 2, 0, 1, -1, -1, -1, -1, " phase "]"
    char text[2000];
    snprintf(text, sizeof text,
             "%s\"2\": [" ONE("0", "0") ", " ONE("2", "0") "], \"3\": [" ONE("-1", "0") "], \"4\": [" ONE(
                 "0", "1") "], \"5\": [" ONE("0", "0") "], \"6\": [" ONE("2", "1") "], \"7\": [" ONE("-1", "1") "]}}",
             head);
    put_in("t50/labels", "VID79.json", text);
    snprintf(text, sizeof text, "%s\"0\": [" ONE("0", "1") "], \"1\": []}}", head);
    put_in("t50/labels", "VID80.json", text);
    w = (ft_list_words){.as = "cholect50", .window = 4};
    if (open_list(&l, "t50", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(l.n, 3);
    assert_string_equal(row_of(&l, "VID79@0")->label, "preparation");
    assert_string_equal(row_of(&l, "VID79@4")->label, "carlot-triangle-dissection");
    assert_string_equal(row_of(&l, "VID79@4")->split, "1"); /* its official fold */
    assert_string_equal(row_of(&l, "VID80@0")->split, "2");
    ft_labels_free(&l);
    open_short_of_memory("t50", &w);
    w.multilabel = true;
    if (open_list(&l, "t50", NULL, &w, false, false) < 0) fail_msg("%s", ft_error_message());
    assert_string_equal(row_of(&l, "VID79@0")->label, "grasper|hook");
    assert_string_equal(row_of(&l, "VID79@4")->label, "hook");
    ft_labels_free(&l);
    snprintf(text, sizeof text, "%s\"0\": [" ONE("7", "1") "]}}", head);
    put_in("t50/labels", "VID80.json", text);
    refused(open_list(&l, "t50", NULL, &w, false, false), "VID80.json: frame 0 names 7, which its categories do not know");
    w.window = 100, w.multilabel = false;
    refused(open_list(&l, "t50", NULL, &w, false, false), "no window of 100 frames in labels/VIDNN.json");

    make("mm/x/clip1.mp4"), make("mm/x/clip2.mp4");
    w = (ft_list_words){.as = "mmaction"};
    assert_int_equal(open_list(&l, "mm", "x/clip1.mp4 1\nx/clip2.mp4 0\n", &w, false, false), FT_OK);
    assert_string_equal(row_of(&l, "x/clip1.mp4")->label, "1");
    ft_labels_free(&l);
    refused(open_list(&l, "mm", NULL, &w, false, false), "--labels");

    make("loose/one.gif"), make("loose/two/0.png"), make("loose/.DS_Store");
    w = (ft_list_words){.as = "unlabelled"};
    assert_int_equal(open_list(&l, "loose", NULL, &w, false, false), FT_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(row_of(&l, "one.gif")->label, "");
    assert_string_equal(row_of(&l, "two")->group, "two");
    ft_labels_free(&l);
    open_short_of_memory("loose", &w);

    make("classes2/ill/a.mp4"), make("classes2/well/b.mp4");
    w = (ft_list_words){.as = "folders", .group_from = "/(.)"};
    assert_int_equal(open_list(&l, "classes2", NULL, &w, false, false), FT_OK);
    assert_string_equal(row_of(&l, "ill/a.mp4")->label, "ill");
    assert_string_equal(row_of(&l, "ill/a.mp4")->group, "a");
    ft_labels_free(&l);
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
    refused(ft_labels_read(&l, put("wide.csv", t.text, t.size), NULL), "take more than 64 MiB");
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
    assert_int_equal(ft_labels_read(&l, path, NULL), FT_OK);
    assert_int_equal(l.n, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(l.row[i].split, i / 2 == 1 ? "validation" : split[i / 2]);
    ft_labels_free(&l);
    short_of_memory(ft_labels_read, path, NULL);
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
    assert_int_equal(ft_labels_from_folders(&l, path, NULL), FT_OK);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.row[0].video, "a/1.mp4");
    assert_string_equal(l.row[1].video, "b/2.mp4");
    ft_labels_free(&l);
    short_of_memory(ft_labels_from_folders, path, NULL);
    snprintf(path, sizeof path, "%s/latin", dir);
    refused(ft_labels_from_folders(&l, path, NULL), "the folder 'caf\\xe9' is not UTF-8");
    snprintf(path, sizeof path, "%s/line", dir);
    refused(ft_labels_from_folders(&l, path, NULL), "the file '1\\x0a.mp4' holds a control character");
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
    assert_int_equal(ft_labels_read(&l, put("many.csv", t.text, t.size), NULL), FT_OK);
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
    assert_int_equal(ft_frame_labels_read(PUT("f.csv", "Video;Start;End\na;4;6\n"), v, 2, truth), FT_OK);
    for (int i = 0; i < 15; i++) assert_int_equal(truth[i], i == 4 || i == 5);
    refused(ft_frame_labels_read(PUT("f.csv", "\xff\xfev\0"), v, 2, truth), ":1: the first line is");
    refused(ft_frame_labels_read(PUT("f.csv", "video,start,end\na,1,2\n\"a\",\"1\"x,2\n"), v, 2, truth), ":3");
}

static int set_up(void **state) { return (void)state, ft_log_quiet(true), mkdtemp(dir) ? 0 : -1; }
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_labels),          cmocka_unit_test(test_sets),
                                       cmocka_unit_test(test_forms),           cmocka_unit_test(test_columns),
                                       cmocka_unit_test(test_classes),         cmocka_unit_test(test_groups),
                                       cmocka_unit_test(test_found),           cmocka_unit_test(test_datasets),
                                       cmocka_unit_test(test_framed_datasets), cmocka_unit_test(test_wide_facts),
                                       cmocka_unit_test(test_folder_of_lists), cmocka_unit_test(test_class_folders),
                                       cmocka_unit_test(test_many_rows),       cmocka_unit_test(test_checksums),
                                       cmocka_unit_test(test_frames)};
    return cmocka_run_group_tests_name("lists", tests, set_up, tear_down);
}
