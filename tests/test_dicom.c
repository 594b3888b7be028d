/* DICOM files against pydicom (golden/make_golden_dicom.py), damaged and hostile ones, a plugin that dies, and none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
// after those that it needs
#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/dicom.h"
#include "common/io/video.h"
#include "tests/tree.h"

/* The sanitizers' memory has no limit of its own; GDCM asks for what a damaged file says. */
const char *__asan_default_options(void);
const char *__asan_default_options(void) { return "allocator_may_return_null=1:max_allocation_size_mb=500"; }

enum { S = 16, EACH = S * S * 3, COLUMNS = 24, ROWS = 16 };

static char dir[] = "/tmp/forty-dicom-XXXXXX", plugin[600], stub[600];
static const char *in_dir(const char *name) { return path_in(dir, name); }

static const struct {
    const char *file;
    int frames, far; /* levels from pydicom's */
    double fps;
    const char *region;
    int burnt_in;
} golden[] = {
#include "tests/golden/dicom/golden.inc"
};
enum { GOLDEN = sizeof golden / sizeof *golden };

static void golden_path(char path[512], int i, const char *ending)
{
    snprintf(path, 512, "%s/golden/dicom/%s%s", FT_TEST_DIR, golden[i].file, ending);
}

static void test_golden(void **state)
{
    (void)state;
    for (int i = 0; i < GOLDEN; i++) {
        ft_video v;
        char path[512], *want, region[64] = "";
        size_t size;
        int64_t index[64];
        int worst = 0, n = golden[i].frames;
        golden_path(path, i, ".dcm");
        if (ft_video_open(&v, path) < 0) fail_msg("%s", ft_error_message());
        if (v.frames != n || v.width != COLUMNS || v.height != ROWS) fail_msg("%s: %d frames", path, (int)v.frames);
        if (golden[i].fps > 0 ? v.images || !(v.fps > golden[i].fps * 0.999999 && v.fps < golden[i].fps * 1.000001)
                              : v.images != n || v.fps != 25)
            fail_msg("%s: %g frames a second, not %g", path, v.fps, golden[i].fps);
        if (v.region.w) snprintf(region, sizeof region, "%d,%d,%d,%d", v.region.x, v.region.y, v.region.w, v.region.h);
        assert_string_equal(region, golden[i].region);
        assert_int_equal(v.burnt_in, golden[i].burnt_in);
        uint8_t *rgb = malloc((size_t)n * EACH);
        for (int64_t k = 0; k < n; k++) index[k] = k;
        if (ft_video_frames(&v, index, n, S, FT_CROP_CENTRE, rgb) < 0) fail_msg("%s", ft_error_message());
        golden_path(path, i, ".rgb");
        assert_int_equal(ft_read_file(path, 0, &want, &size), FT_OK);
        assert_int_equal(size, (size_t)n * EACH);
        for (size_t k = 0; k < size; k++) {
            int far = abs(rgb[k] - (uint8_t)want[k]);
            worst = far > worst ? far : worst;
        }
        if (worst > golden[i].far) fail_msg("%s: %d levels from pydicom's", path, worst);
        free(rgb);
        ft_free(want);
        ft_video_close(&v);
    }
}

static int find(const char *name)
{
    for (int i = 0; i < GOLDEN; i++)
        if (!strcmp(golden[i].file, name)) return i;
    fail_msg("no file %s", name);
    return -1;
}

static void open_golden(ft_video *v, const char *name)
{
    char path[512];
    golden_path(path, find(name), ".dcm");
    if (ft_video_open(v, path) < 0) fail_msg("%s", ft_error_message());
}

static void test_times(void **state)
{
    (void)state;
    ft_video v;
    const double want[2][4] = {{0, 0.02, 0.08, 0.18}, {0, 0.04, 0.08, 0}};
    open_golden(&v, "times");
    for (int k = 0; k < 4; k++) assert_true(v.time[k] > want[0][k] - 1e-9 && v.time[k] < want[0][k] + 1e-9);
    ft_video_close(&v);
    open_golden(&v, "grey8");
    for (int k = 0; k < 3; k++) assert_true(v.time[k] > want[1][k] - 1e-9 && v.time[k] < want[1][k] + 1e-9);
    ft_video_close(&v);
}

/* the largest of the three pictures, not the spectrum that fills the frame */
static void test_region(void **state)
{
    (void)state;
    ft_video v;
    uint8_t shown[FT_SHOWN * FT_SHOWN * 3], whole[EACH], part[EACH];
    open_golden(&v, "region");
    assert_true(ft_video_crop_known("dicom-region"));
    assert_int_equal(ft_video_frames(&v, (int64_t[]){1}, 1, S, FT_CROP_CENTRE, whole), FT_OK);
    if (ft_video_crop(&v, "dicom-region", shown) < 0) fail_msg("%s", ft_error_message());
    assert_true(v.crop.x == 4 && v.crop.y == 0 && v.crop.w == 16 && v.crop.h == 16);
    assert_int_equal(ft_video_frames(&v, (int64_t[]){1}, 1, S, FT_CROP_CENTRE, part), FT_OK);
    assert_memory_equal(whole, part, EACH); /* the middle 16 columns of 24 begin at 4, too */
    ft_video_close(&v);
    open_golden(&v, "grey8");
    assert_int_equal(ft_video_crop(&v, "dicom-region", NULL), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "says of no ultrasound region"));
    ft_video_close(&v);
}

/* ---- a stream of video in it --------------------------------------------------------------------------------------------------
 */

static int open_bytes(const char *data, size_t size)
{
    ft_video v;
    assert_int_equal(ft_write_file(in_dir("x.dcm"), data, size), FT_OK);
    int rc = ft_video_open(&v, in_dir("x.dcm"));
    if (rc == FT_OK) ft_video_close(&v);
    return rc;
}

static size_t put(char *to, const void *data, size_t n) { return memcpy(to, data, n), n; }

/* an element of explicit VR with a short length */
static size_t put_element(char *to, int group, int number, const char *vr, const void *data, size_t n)
{
    const uint8_t head[8] = {(uint8_t)group, (uint8_t)(group >> 8), (uint8_t)number, (uint8_t)(number >> 8),
                             (uint8_t)vr[0], (uint8_t)vr[1],        (uint8_t)n,      (uint8_t)(n >> 8)};
    return put(to, head, 8) + put(to + 8, data, n);
}

static size_t put_item(char *to, int number, uint32_t size, const void *data)
{
    const uint8_t head[4] = {0xfe, 0xff, (uint8_t)number, 0xe0};
    return put(to, head, 4) + put(to + 4, &size, 4) + put(to + 8, data, size);
}

/* Pixels of height 3 and width 4, as a ratio and as a spacing in mm */
static void test_aspect(void **state)
{
    (void)state;
    static const struct {
        int number;
        const char *vr, *value;
        size_t size;
    } a[] = {{0x34, "IS", "3\\4 ", 4}, {0x30, "DS", "0.3\\0.4 ", 8}, {0x30, "DS", "0.3\\0.3 ", 8}};
    for (int i = 0; i < 3; i++) {
        static char out[1024];
        static const char syntax[] = "1.2.840.10008.1.2.1"; /* uncompressed */
        size_t at = 132;
        ft_video v;
        memcpy(out + 128, "DICM", 4);
        at += put_element(out + at, 2, 0, "UL", &(uint32_t){8 + sizeof syntax}, 4);
        at += put_element(out + at, 2, 0x10, "UI", syntax, sizeof syntax);
        at += put_element(out + at, 0x28, 2, "US", &(uint16_t){1}, 2);
        at += put_element(out + at, 0x28, 4, "CS", "MONOCHROME2 ", 12);
        at += put_element(out + at, 0x28, 0x10, "US", &(uint16_t){8}, 2);
        at += put_element(out + at, 0x28, 0x11, "US", &(uint16_t){8}, 2);
        at += put_element(out + at, 0x28, a[i].number, a[i].vr, a[i].value, a[i].size);
        at += put_element(out + at, 0x28, 0x100, "US", &(uint16_t){8}, 2);
        at += put(out + at, "\xe0\x7f\x10\0OB\0\0\x40\0\0\0", 12) + 64;
        assert_int_equal(ft_write_file(in_dir("aspect.dcm"), out, at), FT_OK);
        if (ft_video_open(&v, in_dir("aspect.dcm")) < 0) fail_msg("%s", ft_error_message());
        double want = i < 2 ? 4.0 / 3 : 1;
        if (!(v.aspect > want - 1e-3 && v.aspect < want + 1e-3)) fail_msg("row %d: pixels %g times as wide as high", i, v.aspect);
        ft_video_close(&v);
    }
}

/* A video of golden/video in two fragments, of even lengths, which lie apart, is that video. */
static void test_stream(void **state)
{
    (void)state;
    static const char syntax[] = "1.2.840.10008.1.2.4.102"; /* H.264, with a 0 it is 24 bytes long */
    char path[512], *video, *out;
    size_t size, at = 132;
    ft_video v, w;
    int64_t index[2] = {0, 1};
    static uint8_t want[2 * EACH], have[2 * EACH];
    snprintf(path, sizeof path, "%s/golden/video/bt709.mkv", FT_TEST_DIR);
    assert_int_equal(ft_read_file(path, 0, &video, &size), FT_OK);
    out = calloc(1, size + 1024);
    memcpy(out + 128, "DICM", 4);
    at += put_element(out + at, 2, 0, "UL", &(uint32_t){8 + sizeof syntax}, 4);
    at += put_element(out + at, 2, 0x10, "UI", syntax, sizeof syntax);
    at += put_element(out + at, 0x28, 8, "IS", "2 ", 2);
    at += put_element(out + at, 0x28, 0x10, "US", &(uint16_t){16}, 2);
    at += put_element(out + at, 0x28, 0x11, "US", &(uint16_t){16}, 2);
    at += put_element(out + at, 0x28, 0x301, "CS", "YES ", 4);
    at += put(out + at, "\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff", 12);
    at += put_item(out + at, 0, 0, "");
    at += put_item(out + at, 0, 300, video);
    at += put_item(out + at, 0, (uint32_t)(size + size % 2) - 300, video + 300);
    at += put_item(out + at, 0xdd, 0, "");
    assert_int_equal(ft_write_file(in_dir("stream.dcm"), out, at), FT_OK);
    if (ft_video_open(&v, in_dir("stream.dcm")) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_video_open(&w, path), FT_OK);
    assert_true(v.frames == w.frames && v.frames == 2 && v.fps == w.fps && v.dicom && v.burnt_in == 1);
    assert_int_equal(ft_video_frames(&v, index, 2, S, FT_CROP_CENTRE, have), FT_OK);
    assert_int_equal(ft_video_frames(&w, index, 2, S, FT_CROP_CENTRE, want), FT_OK);
    assert_memory_equal(have, want, sizeof want);
    ft_video_close(&v);
    ft_video_close(&w);
    assert_int_equal(open_bytes(out, at - 200), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "cut off"));
    free(out);
    ft_free(video);
}

/* ---- what is wrong with files -------------------------------------------------------------------------------------------------
 */

static char *read_golden(const char *name, size_t *size)
{
    char path[512], *data;
    golden_path(path, find(name), ".dcm");
    assert_int_equal(ft_read_file(path, 0, &data, size), FT_OK);
    return data;
}

/* what a file that was cut off lacks is said, and never shown as a shorter video */
static void test_cut(void **state)
{
    (void)state;
    static const char *const name[] = {"grey8",        "rle-rgb",     "jpeg-422",    "jpeg-fragments-no-table",
                                       "jpeg2000-rct", "jpeg-ls-rgb", "ybr-full-422"};
    for (int i = 0; i < 7; i++) {
        size_t size;
        char *data = read_golden(name[i], &size);
        for (int part = 1; part <= 8; part++) {
            size_t left = part == 8 ? size - 9 : size * (size_t)part / 8;
            if (open_bytes(data, left) == FT_OK) fail_msg("%s: %zu of %zu bytes are taken", name[i], left, size);
        }
        assert_int_equal(open_bytes(data, size), FT_OK);
        ft_free(data);
    }
}

/* an element of explicit VR and two bytes, the first of its kind */
static char *element(char *data, size_t size, int group, int number)
{
    char tag[4] = {(char)group, (char)(group >> 8), (char)number, (char)(number >> 8)};
    char *at = memmem(data, size, tag, 4);
    assert_non_null(at);
    return at + 8;
}

static void test_hostile(void **state)
{
    (void)state;
    static const struct {
        int number, value; /* (0028,number) */
        const char *says;
    } a[] = {{0x10, 65535, "cut off"}, {0x11, 65535, "cut off"}, {0x100, 1, "bits"},     {0x100, 64, "bits"},
             {0x101, 0, "bits"},       {0x101, 9, "bits"},       {0x102, 40000, "bits"}, {0x02, 4, "samples"},
             {0x02, 0, "samples"},     {0x10, 0, "no pictures"}, {0x11, 17, NULL},       {0x103, 7, NULL},
             {0x06, 9, NULL}};
    size_t size;
    char *data = read_golden("rgb-planar1", &size);
    for (size_t i = 0; i < sizeof a / sizeof *a; i++) {
        char *at = element(data, size, 0x28, a[i].number), was[2] = {at[0], at[1]};
        at[0] = (char)a[i].value, at[1] = (char)(a[i].value >> 8);
        int rc = open_bytes(data, size);
        if (a[i].says && (rc != FT_EDATA || !strstr(ft_error_message(), a[i].says)))
            fail_msg("element %x: %s", a[i].number, rc < 0 ? ft_error_message() : "taken");
        at[0] = was[0], at[1] = was[1];
    }
    char *frames = element(data, size, 0x28, 0x08), was = frames[0];
    frames[0] = '9';
    assert_int_equal(open_bytes(data, size), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "cut off"));
    frames[0] = was;
    char *pictures = memmem(data, size, "\xe0\x7f\x10\0OB", 6);
    assert_non_null(pictures);
    pictures[2] = 0x11; /* another element is no picture */
    assert_int_equal(open_bytes(data, size), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "holds no pictures"));
    ft_free(data);
    data = read_golden("jpeg-422", &size);
    frames = element(data, size, 0x28, 0x08);
    frames[0] = '9';
    assert_int_equal(open_bytes(data, size), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "9 frames are said to be there"));
    ft_free(data);
}

/* any byte may be wrong: an error or other pixels, never the end of the program, and soon */
static void test_flipped(void **state)
{
    (void)state;
    unsigned seed = 1;
    int errors = 0, tries = 0;
    for (int i = 0; i < GOLDEN; i += 3)
        for (int k = 0; k < 8; k++, tries++) {
            size_t size;
            char *data = read_golden(golden[i].file, &size);
            for (int b = 0; b < 3; b++) {
                seed = seed * 1103515245 + 12345;
                size_t from = k % 2 ? 132 : size / 2, at = from + (seed >> 8) % (size - from);
                data[at] = (char)(seed >> 3);
            }
            errors += open_bytes(data, size) != FT_OK;
            ft_free(data);
        }
    assert_in_range(errors, 1, tries - 1);
    struct rusage used;
    assert_true(getrusage(RUSAGE_CHILDREN, &used) == 0 && used.ru_utime.tv_sec < 60);
}

static void test_memory(void **state)
{
    (void)state;
    char path[512];
    ft_video v;
    golden_path(path, find("times"), ".dcm");
    for (int64_t n = 1;; n++) { /* each allocation of ours fails once */
        ft_alloc_fail_at(n);
        int rc = ft_video_open(&v, path);
        ft_alloc_fail_at(0);
        if (rc == FT_OK) break;
        assert_int_equal(rc, FT_ENOMEM);
    }
    ft_video_close(&v);
}

/* ---- who it is of
 * -------------------------------------------------------------------------------------------------------------- */

/* nothing that leaves the child holds the name or the id; two files of one patient agree */
static void test_identity(void **state)
{
    (void)state;
    char path[2][512];
    ft_dicom d[2];
    size_t size;
    char *data = read_golden("times", &size);
    golden_path(path[0], find("grey8"), ".dcm");
    snprintf(path[1], sizeof path[1], "%s", in_dir("of SECRET77.dcm"));
    assert_int_equal(ft_write_file(path[1], data, size), FT_OK);
    ft_free(data);
    for (int i = 0; i < 2; i++) {
        if (ft_dicom_open(&d[i], path[i]) < 0) fail_msg("%s", ft_error_message());
        assert_null(memmem(&d[i].head, sizeof d[i].head, "SECRET", 6));
        assert_null(memmem(&d[i].head, sizeof d[i].head, "Secret", 6));
        assert_int_equal(strlen(d[i].head.patient), 64);
        assert_string_equal(d[i].head.model, "Model 1");
        assert_int_equal(d[i].head.tells_name, i);
        ft_dicom_close(&d[i]);
    }
    assert_string_equal(d[0].head.patient, d[1].head.patient);
}

/* ---- plugins ------------------------------------------------------------------------------------------------------------------
 */

static void test_missing(void **state)
{
    (void)state;
    ft_video v;
    char path[512];
    golden_path(path, 0, ".dcm");
    setenv("FORTY_DICOM_PLUGIN", "/nowhere/libforty_dicom.so", 1);
    assert_int_equal(ft_video_open(&v, path), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "DICOM is not read here"));
    assert_non_null(strstr(ft_error_message(), "install_missing libgdcm-dev g++"));
    setenv("FORTY_DICOM_PLUGIN", path, 1); /* a file, but no library */
    assert_int_equal(ft_video_open(&v, path), FT_EDEVICE);
    setenv("FORTY_DICOM_PLUGIN", plugin, 1);
}

static int note(void *of, int i, const ft_dicom_head *head, const char *why)
{
    char *seen = of;
    seen[i] = head ? 'g' : strstr(why, "signal 6") ? 'a' : strstr(why, "memory") ? 'm' : '?';
    return FT_OK;
}

/* a library that aborts, or asks for all memory, costs the file and nothing else (dicom_stub.c) */
static void test_dying(void **state)
{
    (void)state;
    static const char *const name[] = {"good.dcm",   "abort.dcm", "good2.dcm", "memory.dcm",
                                       "abort2.dcm", "good3.dcm", "midway.dcm"};
    char *path[7], seen[8] = "";
    ft_video v;
    setenv("FORTY_DICOM_PLUGIN", stub, 1);
    for (int i = 0; i < 7; i++) {
        path[i] = strdup(in_dir(name[i]));
        assert_int_equal(ft_write_file(path[i], "x", 1), FT_OK);
    }
    assert_int_equal(ft_dicom_heads(path, 6, note, seen), FT_OK);
    assert_string_equal(seen, "gagmag");
    for (int i = 0; i < 7; i++) {
        int rc = ft_video_open(&v, path[i]), want = strstr(name[i], "good") ? FT_OK : FT_EDATA;
        if (rc != want) fail_msg("%s: %d: %s", name[i], rc, ft_error_message());
        if (rc < 0) assert_non_null(strstr(ft_error_message(), i == 3 ? "memory" : "signal 6"));
        if (rc == FT_OK) ft_video_close(&v);
        free(path[i]);
    }
    setenv("FORTY_DICOM_PLUGIN", plugin, 1);
}

static int set_up(void **state)
{
    (void)state;
    ft_log_quiet(true);
    const char *end = strrchr(FT_PROGRAM, '/');
    snprintf(plugin, sizeof plugin, "%.*s/libforty_dicom.so", (int)(end - FT_PROGRAM), FT_PROGRAM);
    snprintf(stub, sizeof stub, "%.*s/tests/libdicom_stub.so", (int)(end - FT_PROGRAM), FT_PROGRAM);
    setenv("FORTY_DICOM_PLUGIN", plugin, 1);
    return mkdtemp(dir) ? 0 : -1;
}
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest always[] = {cmocka_unit_test(test_missing), cmocka_unit_test(test_dying)},
                            with_plugin[] = {cmocka_unit_test(test_golden),  cmocka_unit_test(test_times),
                                             cmocka_unit_test(test_region),  cmocka_unit_test(test_stream),
                                             cmocka_unit_test(test_aspect),  cmocka_unit_test(test_cut),
                                             cmocka_unit_test(test_hostile), cmocka_unit_test(test_flipped),
                                             cmocka_unit_test(test_memory),  cmocka_unit_test(test_identity)};
    int failed = cmocka_run_group_tests_name("dicom plugins", always, set_up, NULL);
    if (access(plugin, F_OK) != 0) puts("no GDCM: its plugin is not tested");
    else failed += cmocka_run_group_tests_name("dicom", with_plugin, NULL, NULL);
    return failed + tear_down(NULL);
}
