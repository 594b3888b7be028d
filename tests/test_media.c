/* Clip stores and videos of strangers: damaged, made to exhaust memory, or to read other files. */
#include <fcntl.h>
#include <hdf5.h>
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/mem.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
// after those that it needs
#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/clip_sampler.h"
#include "common/io/clipstore.h"
#include "common/io/image.h"
#include "common/io/picture.h"
#include "common/io/stills.h"
#include "common/io/video.h"
#include "experiments/data/ingest.h"
#include "tests/tree.h"
#include "tests/encode.h"

static char dir[] = "/tmp/forty-media-XXXXXX";
static const char *in_dir(const char *name) { return path_in(dir, name); }

/* ---- clip stores ------------------------------------------------------------------------------------------------------------
 */

enum { N = 3, F = 2, S = 8, CLIP = F * S * S * 3 };

static int write_store(const char *path, const char *name, bool gzip)
{
    uint8_t clip[CLIP];
    ft_clipwriter *w;
    for (int i = 0; i < CLIP; i++) clip[i] = (uint8_t)(i * 7);
    FT_TRY(ft_clipwriter_open(&w, path, &(ft_clipwriter_opt){F, S, 1, gzip, "{}"}));
    int rc =
        ft_clipwriter_video(w, &(ft_store_video){.name = name, .label = "x", .frames = 9, .fps = 10, .facts = "{\"a\":\"b\"}"});
    for (int i = 0; rc >= 0 && i < N; i++) rc = ft_clipwriter_clip(w, 0, i, 1, clip);
    if (rc >= 0) return ft_clipwriter_finish(w);
    ft_clipwriter_abort(w);
    return rc;
}

/* A good store whose part is made anew by `change` */
static hid_t open_changed(const char *path)
{
    assert_int_equal(write_store(path, "v.mp4", false), FT_OK);
    hid_t h5 = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    assert_true(h5 >= 0);
    return h5;
}

static void refused(const char *path, const char *words)
{
    ft_clipstore s;
    double start = ft_now();
    int rc = ft_clipstore_read(&s, path);
    if (rc >= 0) fail_msg("%s is taken; '%s' is due", path, words);
    if (!strstr(ft_error_message(), words) || !strstr(ft_error_message(), path))
        fail_msg("'%s' is said; '%s' is due", ft_error_message(), words);
    if (ft_now() - start > 20) fail_msg("%s takes %g s", path, ft_now() - start);
}

static void put_attribute(hid_t h5, const char *name, hid_t type, int n, const void *data)
{
    hsize_t dim = (hsize_t)n;
    H5Adelete(h5, name);
    hid_t space = n > 1 ? H5Screate_simple(1, &dim, NULL) : H5Screate(H5S_SCALAR),
          a = H5Acreate2(h5, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(a >= 0 && H5Awrite(a, type, data) >= 0);
    H5Aclose(a);
    H5Sclose(space);
}

static void test_attributes(void **state)
{
    (void)state;
    static double many[4000];
    hid_t fixed = H5Tcopy(H5T_C_S1);
    H5Tset_size(fixed, 20);
    const struct {
        const char *name, *words;
        hid_t type;
        int n;
        const void *data;
    } a[] = {{"stride", "stride is not one number", H5T_NATIVE_DOUBLE, 4000, many},
             {"stride", "stride is not one number", fixed, 1, "12345678901234567890"},
             {"stride", "stride is not a number of frames", H5T_NATIVE_DOUBLE, 1, (double[]){NAN}},
             {"format", "format is not one string", fixed, 1, "forty-clips\0\0\0\0\0\0\0\0\0"},
             {"format", "format is not one string", H5T_NATIVE_DOUBLE, 4000, many},
             {"config", "config is not one string", fixed, 1, "{}\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"},
             {"config", "config is not one string", H5T_NATIVE_DOUBLE, 1, many}};
    for (size_t i = 0; i < sizeof a / sizeof *a; i++) {
        hid_t h5 = open_changed(in_dir("a.h5"));
        put_attribute(h5, a[i].name, a[i].type, a[i].n, a[i].data);
        H5Fclose(h5);
        refused(in_dir("a.h5"), a[i].words);
    }
    H5Tclose(fixed);
}

static hid_t new_set(hid_t h5, const char *name, hid_t type, int rank, const hsize_t *dim, hid_t plist, const void *data)
{
    H5Ldelete(h5, name, H5P_DEFAULT);
    hid_t space = H5Screate_simple(rank, dim, NULL), set = H5Dcreate2(h5, name, type, space, H5P_DEFAULT, plist, H5P_DEFAULT);
    assert_true(space >= 0 && set >= 0);
    if (data) assert_true(H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return h5;
}

static void test_sizes(void **state)
{
    (void)state;
    static const int16_t zeros[N * CLIP];
    const hsize_t wraps = (hsize_t)1 << 62, most = (hsize_t)1 << 31, huge[5] = {6000, 8, 256, 256, 3}, few[5] = {3, 2, 8, 8, 3},
                  chunk[5] = {1, 8, 256, 256, 3};
    const struct {
        const char *name, *words;
        hid_t type;
        const hsize_t *dim;
        int rank, gzip; /* 0: contiguous; 1: chunks; 2: with deflate */
    } a[] = {{"video/frames", "over 2147483647 entries", H5T_NATIVE_INT32, &wraps, 1, 1},
             {"video/fps", "over 2147483647 entries", H5T_NATIVE_DOUBLE, &most, 1, 0},
             {"video/fps", "was never written", H5T_NATIVE_DOUBLE, (hsize_t[]){1000000000}, 1, 0},
             {"clips", "was never written", H5T_NATIVE_UINT8, huge, 5, 0},
             {"clips", "was never written", H5T_NATIVE_UINT8, huge, 5, 1},
             {"clips", "was never written", H5T_NATIVE_UINT8, huge, 5, 2},
             {"clips", "was never written", H5T_NATIVE_UINT8, few, 5, 0},
             {"clips", "wrong type", H5T_NATIVE_DOUBLE, few, 5, 0},
             {"clips", "not of bytes", H5T_NATIVE_INT16, few, 5, 0},
             {"clips", "(N,F,S,S,3)", H5T_NATIVE_UINT8, few, 3, 0},
             {"video/name", "wrong type", H5T_NATIVE_INT32, (hsize_t[]){1}, 1, 0},
             {"clip/start", "wrong type", H5T_NATIVE_DOUBLE, (hsize_t[]){3}, 1, 0}};
    for (size_t i = 0; i < sizeof a / sizeof *a; i++) {
        hid_t h5 = open_changed(in_dir("s.h5")), plist = H5Pcreate(H5P_DATASET_CREATE);
        if (a[i].gzip) H5Pset_chunk(plist, a[i].rank, chunk);
        if (a[i].gzip == 2) H5Pset_deflate(plist, 1);
        new_set(h5, a[i].name, a[i].type, a[i].rank, a[i].dim, plist, strstr(a[i].words, "not of bytes") ? zeros : NULL);
        H5Pclose(plist);
        H5Fclose(h5);
        refused(in_dir("s.h5"), a[i].words);
    }
    assert_true(ft_peak_memory() < 1000);
}

/* Gigabytes of strings: many references to one */
static void test_strings(void **state)
{
    (void)state;
    enum { ROWS = 4000, LONG = 1 << 20 };
    hid_t h5 = open_changed(in_dir("t.h5")), text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    H5Tset_cset(text, H5T_CSET_UTF8);
    char *one = malloc(LONG), *raw;
    size_t size;
    memset(one, 'x', LONG - 1);
    one[LONG - 1] = 0;
    const char **row = calloc(ROWS, sizeof *row);
    int32_t *frames = calloc(ROWS, 4);
    double *fps = calloc(ROWS, 8);
    for (int i = 0; i < ROWS; i++) row[i] = i ? "y" : one;
    hsize_t n = ROWS;
    new_set(h5, "video/name", text, 1, &n, H5P_DEFAULT, row);
    new_set(h5, "video/frames", H5T_NATIVE_INT32, 1, &n, H5P_DEFAULT, frames);
    new_set(h5, "video/fps", H5T_NATIVE_DOUBLE, 1, &n, H5P_DEFAULT, fps);
    hid_t set = H5Dopen2(h5, "video/name", H5P_DEFAULT);
    haddr_t at = H5Dget_offset(set);
    H5Dclose(set);
    H5Tclose(text);
    H5Fclose(h5);
    assert_int_equal(ft_read_file(in_dir("t.h5"), 0, &raw, &size), FT_OK);
    for (int i = 1; i < ROWS; i++) memcpy(raw + at + 16 * i, raw + at, 16); /* all of them the long one */
    assert_int_equal(ft_write_file(in_dir("u.h5"), raw, size), FT_OK);
    refused(in_dir("u.h5"), "asks for");
    ft_free(raw);
    free(one), free(row), free(frames), free(fps);
}

static void test_elsewhere(void **state)
{
    (void)state;
    const hsize_t few[5] = {3, 2, 8, 8, 3};
    assert_int_equal(write_store(in_dir("other.h5"), "v.mp4", false), FT_OK);
    for (int k = 0; k < 6; k++) {
        hid_t h5 = open_changed(in_dir("e.h5")), plist = H5Pcreate(H5P_DATASET_CREATE);
        const char *words = k < 2 ? "lies in other files" : k < 5 ? "is a link to elsewhere" : "compressed in a way";
        if (k == 0) H5Pset_external(plist, "/etc/passwd", 0, CLIP * N);
        if (k == 1) {
            hid_t space = H5Screate_simple(5, few, NULL);
            H5Pset_virtual(plist, space, in_dir("other.h5"), "clips", space);
            H5Sclose(space);
        }
        if (k < 2) new_set(h5, "clips", H5T_NATIVE_UINT8, 5, few, plist, NULL);
        if (k >= 2) H5Ldelete(h5, k == 4 ? "video" : k == 5 ? "clip/start" : "clips", H5P_DEFAULT);
        if (k == 2) H5Lcreate_external(in_dir("other.h5"), "clips", h5, "clips", H5P_DEFAULT, H5P_DEFAULT);
        if (k == 3) H5Lcreate_soft("/clip/start", h5, "clips", H5P_DEFAULT, H5P_DEFAULT);
        if (k == 4) H5Lcreate_external(in_dir("other.h5"), "video", h5, "video", H5P_DEFAULT, H5P_DEFAULT);
        if (k == 5) {
            H5Pset_chunk(plist, 1, few);
            H5Pset_scaleoffset(plist, H5Z_SO_INT, 0);
            hsize_t n = N;
            hid_t space = H5Screate_simple(1, &n, NULL),
                  set = H5Dcreate2(h5, "clip/start", H5T_NATIVE_INT32, space, H5P_DEFAULT, plist, H5P_DEFAULT);
            assert_true(set >= 0);
            H5Dclose(set);
            H5Sclose(space);
        }
        H5Pclose(plist);
        H5Fclose(h5);
        refused(in_dir("e.h5"), words);
    }
    assert_int_equal(mkfifo(in_dir("pipe.h5"), 0600), 0);
    refused(in_dir("pipe.h5"), "a pipe");
}

static void test_names(void **state)
{
    (void)state;
    assert_true(write_store(in_dir("n.h5"), "caf\xe9", false) < 0);
    assert_non_null(strstr(ft_error_message(), "/video/name 0"));
    assert_false(ft_exists(in_dir("n.h5")));
    assert_true(write_store(in_dir("n.h5"), "two\nlines", false) < 0);
    static const char *const column[] = {"video/name",  "video/label",  "video/group",
                                         "video/split", "video/source", "video/facts"};
    hid_t text = H5Tcopy(H5T_C_S1);
    H5Tset_size(text, H5T_VARIABLE);
    H5Tset_cset(text, H5T_CSET_UTF8);
    for (int k = 0; k < 6; k++) {
        hid_t h5 = open_changed(in_dir("n.h5"));
        new_set(h5, column[k], text, 1, (hsize_t[]){1}, H5P_DEFAULT, (const char *[]){k == 5 ? "{\"a\":" : "a\x1b[2J"});
        H5Fclose(h5);
        refused(in_dir("n.h5"), column[k]);
    }
    H5Tclose(text);
}

/* Damage of any kind ends with a message: libhdf5 crashes and loops in a child. A store that is taken is whole. */
static void test_damage(void **state)
{
    (void)state;
    char *whole, *bad;
    size_t size;
    ft_clipstore s;
    assert_int_equal(write_store(in_dir("d.h5"), "v.mp4", true), FT_OK);
    assert_int_equal(ft_read_file(in_dir("d.h5"), 0, &whole, &size), FT_OK);
    bad = malloc(size);
    uint32_t random = 1;
    for (int k = 0; k < 150; k++) {
        memcpy(bad, whole, size);
        for (int i = 0; i < 1 + k % 4; i++) {
            random = random * 1664525u + 1013904223u;
            bad[(random >> 8) % size] = (char)(random >> 3);
        }
        assert_int_equal(ft_write_file(in_dir("x.h5"), bad, size), FT_OK);
        if (ft_clipstore_read(&s, in_dir("x.h5")) < 0) assert_non_null(strstr(ft_error_message(), "x.h5"));
        else {
            assert_true(s.n_clip >= 0 && s.n_video >= 0 && s.video && s.clip);
            ft_clipstore_free(&s);
        }
    }
    free(bad);
    ft_free(whole);
}

/* Each allocation fails once, in the writer and in the reader: an error, and nothing half done. */
static void test_no_memory_for_stores(void **state)
{
    (void)state;
    ft_clipstore s;
    int failed = 0;
    for (int64_t n = 1, count;; n++) {
        count = ft_alloc_count();
        ft_alloc_fail_at(n);
        int rc = write_store(in_dir("m.h5"), "v.mp4", false);
        ft_alloc_fail_at(0);
        if (ft_alloc_count() - count < n) break; /* none has failed */
        if (rc != FT_ENOMEM && rc != FT_OK)
            fail_msg("allocation %lld: %s", (long long)n,
                     ft_error_message()); /* OK: it only could not look for others' leavings */
        assert_true(ft_exists(in_dir("m.h5")) == (rc == FT_OK));
        remove(in_dir("m.h5"));
        failed += rc < 0;
    }
    assert_true(failed > 8);
    assert_int_equal(ft_clipstore_read(&s, in_dir("m.h5")), FT_OK);
    assert_true(s.n_clip == N && ft_clip_pixels(&s, 2)[5] == 35);
    ft_clipstore_free(&s);
    failed = 0;
    for (int64_t n = 1;; n++, failed++) {
        ft_alloc_fail_at(n);
        int rc = ft_clipstore_read(&s, in_dir("m.h5"));
        ft_alloc_fail_at(0);
        if (rc == FT_OK) break;
        assert_int_equal(rc, FT_ENOMEM);
    }
    ft_clipstore_free(&s);
    assert_true(failed > 20);
    ft_clipwriter *w;
    assert_int_equal(ft_clipwriter_open(&w, in_dir("big.h5"), &(ft_clipwriter_opt){4096, 8192, 1, false, NULL}), FT_ECONFIG);
    assert_int_equal(ft_clipwriter_open(&w, in_dir("big.h5"), &(ft_clipwriter_opt){-1, 8, 1, false, NULL}), FT_ECONFIG);
}

/* ---- videos ------------------------------------------------------------------------------------------------------------------
 */

static uint8_t slopes(const AVFrame *frame, int k, int plane, int x, int y)
{
    (void)frame, (void)x;
    return (uint8_t)(plane ? 128 : 20 + 7 * k + 3 * y);
}

/* n frames of w x h, 25 a second, in a container of FFmpeg's */
static void encode(const char *path, enum AVCodecID id, int w, int h, int n)
{
    AVFormatContext *f = NULL;
    const AVCodec *codec = avcodec_find_encoder(id);
    assert_true(avformat_alloc_output_context2(&f, NULL, NULL, path) >= 0);
    AVStream *s = avformat_new_stream(f, NULL);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    c->width = w, c->height = h, c->pix_fmt = id == AV_CODEC_ID_MJPEG ? AV_PIX_FMT_YUVJ420P : AV_PIX_FMT_YUV420P;
    c->time_base = (AVRational){1, 25};
    c->strict_std_compliance = FF_COMPLIANCE_UNOFFICIAL;
    c->thread_count = 1;
    if (f->oformat->flags & AVFMT_GLOBALHEADER) c->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    assert_true(avcodec_open2(c, codec, NULL) >= 0);
    avcodec_parameters_from_context(s->codecpar, c);
    s->time_base = c->time_base;
    encode_frames(f, c, s, path, n, NULL, slopes);
}

static void join(const char *to, const char *a, const char *b)
{
    char *x, *y;
    size_t n, m;
    assert_true(ft_read_file(a, 0, &x, &n) == FT_OK && ft_read_file(b, 0, &y, &m) == FT_OK);
    char *all = malloc(n + m);
    memcpy(all, x, n);
    memcpy(all + n, y, m);
    assert_int_equal(ft_write_file(to, all, n + m), FT_OK);
    free(all);
    ft_free(x);
    ft_free(y);
}

/* frames of another size are scaled as the first ones are, in room of their own */
static void test_size_changes(void **state)
{
    (void)state;
    enum { SIZE = 16 };
    const int other[][2] = {{16, 640}, {640, 16}, {320, 240}, {8, 8}};
    encode(in_dir("a.mjpeg"), AV_CODEC_ID_MJPEG, 64, 64, 6);
    for (int k = 0; k < 4; k++) {
        ft_video v;
        static uint8_t rgb[12 * SIZE * SIZE * 3];
        int64_t all[12];
        for (int i = 0; i < 12; i++) all[i] = i;
        encode(in_dir("b.mjpeg"), AV_CODEC_ID_MJPEG, other[k][0], other[k][1], 6);
        join(in_dir("c.mjpeg"), in_dir("a.mjpeg"), in_dir("b.mjpeg"));
        if (ft_video_open(&v, in_dir("c.mjpeg")) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(v.frames, 12);
        if (ft_video_frames(&v, all, 12, SIZE, FT_CROP_LAST, rgb) < 0) fail_msg("%s", ft_error_message());
        ft_video_close(&v);
    }
    ft_video v;
    encode(in_dir("thin.mkv"), AV_CODEC_ID_FFV1, 1, 4096, 2); /* its long side explodes */
    if (ft_video_open(&v, in_dir("thin.mkv")) < 0) fail_msg("%s", ft_error_message());
    uint8_t *rgb = ft_alloc((size_t)8192 * 8192 * 3);
    assert_int_equal(ft_video_frames(&v, (int64_t[]){0}, 1, 8192, FT_CROP_CENTRE, rgb), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "smaller --size"));
    ft_free(rgb);
    ft_video_close(&v);
}

static void put(const char *name, const char *text) { assert_int_equal(ft_write_file(in_dir(name), text, strlen(text)), FT_OK); }

/* a playlist, a concatenation, an SDP: none of the files that they name is opened */
static void test_other_files(void **state)
{
    (void)state;
    ft_video v;
    char text[2048];
    encode(in_dir("secret.ts"), AV_CODEC_ID_MPEG2VIDEO, 64, 64, 30);
    if (ft_video_open(&v, in_dir("secret.ts")) < 0) fail_msg("%s", ft_error_message());
    ft_video_close(&v);
    snprintf(text, sizeof text, "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n%s\n#EXT-X-ENDLIST\n", in_dir("secret.ts"));
    put("list.m3u8", text);
    put("list.mp4", text);
    snprintf(text, sizeof text, "ffconcat version 1.0\nfile 'secret.ts'\n");
    put("list.ffconcat", text);
    put("list.avi", text);
    put("list.sdp",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n");
    put("run.vpy", "import os\nos.system('touch /tmp/x')\n");
    static const char *const names[] = {"list.m3u8", "list.mp4", "list.ffconcat", "list.avi", "list.sdp", "run.vpy"};
    for (int i = 0; i < 6; i++) {
        double start = ft_now();
        if (ft_video_open(&v, in_dir(names[i])) >= 0) fail_msg("%s is taken", names[i]);
        assert_non_null(strstr(ft_error_message(), names[i]));
        assert_true(ft_now() - start < 5);
    }
    assert_true(mkfifo(in_dir("pipe.mp4"), 0600) == 0 && ft_video_open(&v, in_dir("pipe.mp4")) == FT_EIO);
    assert_true(ft_video_open(&v, dir) < 0 && ft_video_open(&v, in_dir("absent.mp4")) == FT_EIO);
    /* a name that means something to FFmpeg is a name */
    encode(in_dir("p%03d.mkv"), AV_CODEC_ID_FFV1, 16, 16, 3);
    if (ft_video_open(&v, in_dir("p%03d.mkv")) < 0) fail_msg("%s", ft_error_message());
    ft_video_close(&v);
}

/* Matroska tells how long it lasts, not of how many frames */
static void test_cut_off(void **state)
{
    (void)state;
    ft_video v;
    char *whole;
    size_t size;
    encode(in_dir("w.mkv"), AV_CODEC_ID_MPEG4, 64, 64, 200);
    if (ft_video_open(&v, in_dir("w.mkv")) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(v.frames, 200);
    ft_video_close(&v);
    assert_int_equal(ft_read_file(in_dir("w.mkv"), 0, &whole, &size), FT_OK);
    for (int part = 3; part < 9; part++) {
        ft_write_file(in_dir("cut.mkv"), whole, size * (size_t)part / 10);
        if (ft_video_open(&v, in_dir("cut.mkv")) >= 0) fail_msg("%lld of 200 frames are taken", (long long)v.frames);
    }
    memset(whole + size / 2, 0xff, size / 4); /* damaged within */
    ft_write_file(in_dir("hole.mkv"), whole, size);
    if (ft_video_open(&v, in_dir("hole.mkv")) >= 0) fail_msg("%lld of 200 frames with a hole are taken", (long long)v.frames);
    ft_free(whole);
}

/* FFmpeg's own allocations fail: no frame is dropped in silence */
static void test_no_memory_for_videos(void **state)
{
    (void)state;
    ft_video v;
    uint8_t *rgb = ft_alloc((size_t)8 * 64 * 64 * 3);
    int64_t all[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    int failed = 0;
    encode(in_dir("k.avi"), AV_CODEC_ID_MPEG4, 512, 384, 8);
    if (ft_video_open(&v, in_dir("k.avi")) < 0) fail_msg("%s", ft_error_message());
    for (size_t most = 20000; most < 1000000; most += most / 4) {
        ft_video again;
        av_max_alloc(most);
        int rc = ft_video_open(&again, in_dir("k.avi")), rc2 = ft_video_frames(&v, all, 8, 64, FT_CROP_CENTRE, rgb);
        av_max_alloc((size_t)1 << 29);
        if (rc == FT_OK) assert_int_equal(again.frames, 8);
        if (rc == FT_OK) ft_video_close(&again);
        failed += rc == FT_ENOMEM || rc2 == FT_ENOMEM;
    }
    assert_true(failed > 0);
    for (int64_t n = 1;; n++) {
        ft_video again;
        ft_alloc_fail_at(n);
        int rc = ft_video_open(&again, in_dir("k.avi"));
        if (rc == FT_OK) {
            rc = ft_video_frames(&again, all, 8, 64, FT_CROP_CENTRE, rgb);
            ft_video_close(&again);
        }
        ft_alloc_fail_at(0);
        if (rc == FT_OK) break;
        assert_int_equal(rc, FT_ENOMEM);
    }
    ft_video_close(&v);
    ft_free(rgb);
    static uint8_t pixels[16 * 16 * 3];
    uint8_t *png;
    size_t size;
    int w, h;
    assert_true(ft_video_write(in_dir("o.mp4"), pixels, 0, 16, 16, 8) < 0 &&
                ft_video_write(in_dir("o.mp4"), pixels, 1, -2, 16, 8) < 0);
    assert_true(ft_video_write(in_dir("o.mp4"), pixels, 1, 16, 16, NAN) < 0 && ft_png_encode(pixels, -1, 16, &png, &size) < 0);
    const uint8_t *clip = pixels;
    assert_true(ft_contact_sheet(&clip, 1, 1, 1 << 20, 1, 2, &png, &w, &h) < 0);
}

/* ---- ingest ------------------------------------------------------------------------------------------------------------------
 */

static int take(const char *list, double fps, bool skip, bool outside, ft_ingest_result *r)
{
    put("l.csv", list);
    char videos[512];
    snprintf(videos, sizeof videos, "%s", in_dir("videos"));
    return ft_ingest(&(ft_ingest_opt){.videos = videos,
                                      .labels = in_dir("l.csv"),
                                      .sampling = {FT_SAMPLE_STRIDE, 4, 1, 1, 0},
                                      .view = "3crop",
                                      .size = 16,
                                      .fps = fps,
                                      .skip = skip,
                                      .outside = outside},
                     in_dir("i.h5"), r);
}

static void test_ingest(void **state)
{
    (void)state;
    ft_ingest_result r;
    ft_clipstore s;
    char *text;
    json_t *null = json_null();
    ft_json_text(null, JSON_ENCODE_ANY, &text); /* what lacked memory in the tests above is forgotten */
    ft_free(text);
    ft_mkdirs(in_dir("videos"));
    encode(in_dir("videos/a.mkv"), AV_CODEC_ID_FFV1, 64, 48, 8);
    encode(in_dir("out.mkv"), AV_CODEC_ID_FFV1, 64, 48, 8);
    put("videos/bad.mkv", "no video");
    assert_int_equal(symlink("../out.mkv", in_dir("videos/link.mkv")), 0);
    char list[600];
    snprintf(list, sizeof list, "video,label\na.mkv,x\n%s,y\n", in_dir("out.mkv"));
    static const char *const out[] = {"video,label\na.mkv,x\n../out.mkv,y\n", "video,label\na.mkv,x\nz/../../out.mkv,y\n"};
    for (int k = 0; k < 3; k++) {
        assert_int_equal(take(k < 2 ? out[k] : list, 0, true, false, &r), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "l.csv:3"));
    }
    if (take(out[0], 0, false, true, &r) < 0) fail_msg("%s", ft_error_message());
    if (take("video,label\na.mkv,x\nlink.mkv,y\nbad.mkv,y\n", 0, true, false, &r) < 0) fail_msg("%s", ft_error_message());
    assert_true(r.videos == 2 && r.skipped == 1 && r.clips == 6);
    assert_int_equal(ft_clipstore_read(&s, in_dir("i.h5")), FT_OK);
    assert_true(s.n_video == 2 && s.n_clip == 6);
    ft_clipstore_free(&s);
    assert_int_equal(take("video,label\na.mkv,x\n", 1e9, false, false, &r), FT_EDATA); /* 3e8 ticks */
    assert_non_null(strstr(ft_error_message(), "--fps"));
    /* a window of less than a frame */
    static int64_t index[2 * 4096];
    int n;
    double used;
    ft_sampling how = {FT_SAMPLE_RELEASED, 2, 1, 4096, 0};
    assert_int_equal(ft_sample_clips(&how, "v", 10, 0.01, index, 4096, &n, &used), FT_OK);
    for (int i = 0; i < 2 * n; i++) assert_true(index[i] >= 0 && index[i] < 10);
}

/* A noisy picture comes back from JPEG as it was, to the eye: 38 dB; of the bytes of PNG it has half at most. */
static void test_jpeg(void **state)
{
    (void)state;
    enum { W = 96, H = 64 };
    static uint8_t rgb[H * W * 3];
    uint8_t *jpeg, *png;
    size_t size, png_size;
    double error = 0;
    for (int i = 0; i < H * W * 3; i++) { /* a slope of each colour, another for each, and noise of +-4 */
        int x = i / 3 % W, y = i / 3 / W;
        rgb[i] = (uint8_t)(60 + x * (1 + i % 3) / 3 + y / 2 * (3 - i % 3) / 2 + (int)((uint32_t)(i + 1) * 2654435761u >> 29));
    }
    assert_int_equal(ft_jpeg_encode(rgb, W, H, &jpeg, &size), FT_OK);
    assert_int_equal(ft_png_encode(rgb, W, H, &png, &png_size), FT_OK);
    assert_true(2 * size < png_size);
    ft_stills s;
    ft_scaler scaler = {0};
    uint8_t *back;
    int w, h;
    ft_mkdirs(in_dir("jpeg"));
    assert_int_equal(ft_write_file(in_dir("jpeg/1.jpg"), jpeg, size), FT_OK);
    assert_int_equal(ft_stills_open(&s, in_dir("jpeg")), FT_OK);
    assert_int_equal(ft_stills_next(&s), 1);
    assert_int_equal(ft_picture_whole(&scaler, s.frame, (AVRational){0, 1}, &(ft_view){.end = FT_CROP_CENTRE}, W, &back, &w, &h),
                     FT_OK);
    assert_true(w == W && h == H);
    for (int i = 0; i < H * W * 3; i++) error += pow((double)back[i] - (double)rgb[i], 2) / (H * W * 3);
    if (!(10 * log10(255 * 255 / error) > 38)) fail_msg("%.1f dB", 10 * log10(255 * 255 / error));
    ft_free(back);
    ft_scaler_free(&scaler);
    ft_stills_close(&s);
    ft_free(jpeg);
    ft_free(png);
    assert_true(ft_jpeg_encode(rgb, 0, H, &jpeg, &size) < 0 && ft_jpeg_encode(rgb, 1 << 16, 1, &jpeg, &size) < 0);
}

/* What a window holds are the frames that its label is of: of images as they are, of a video as in a pass over all of it. */
static void test_windows(void **state)
{
    (void)state;
    enum { IMAGES = 13, SIDE = 16, EACH = SIDE * SIDE * 3 };
    static uint8_t image[IMAGES][EACH];
    ft_ingest_result r;
    ft_clipstore s, whole;
    for (int k = 1; k <= IMAGES; k++) { /* 10.png behind 9.png, and the count of polyps beside each */
        char path[100];
        uint8_t *png;
        size_t size;
        for (int i = 0; i < EACH; i++) image[k - 1][i] = (uint8_t)(k * 37 + i * 11 + i / 48 * 5);
        assert_int_equal(ft_png_encode(image[k - 1], SIDE, SIDE, &png, &size), FT_OK);
        ft_mkdirs(in_dir("ld/Images/7")), ft_mkdirs(in_dir("ld/Annotations/7"));
        snprintf(path, sizeof path, "ld/Images/7/%d.png", k);
        assert_int_equal(ft_write_file(in_dir(path), png, size), FT_OK);
        ft_free(png);
        snprintf(path, sizeof path, "ld/Annotations/7/%d.txt", k);
        put(path, k == 6 ? "1\n2 3 4 5\n" : "0\n");
    }
    char folder[512];
    snprintf(folder, sizeof folder, "%s", in_dir("ld"));
    ft_ingest_opt o = {.videos = folder,
                       .sampling = {FT_SAMPLE_STRIDE, 4, 1, 1, 0},
                       .view = "centre",
                       .size = SIDE,
                       .list = {.as = "ldpolyp", .window = 4}};
    if (ft_ingest(&o, in_dir("w.h5"), &r) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_clipstore_read(&s, in_dir("w.h5")), FT_OK);
    assert_true(s.n_clip == 3 && s.n_video == 3);
    for (int k = 0; k < 3; k++) {
        assert_memory_equal(ft_clip_pixels(&s, k), image[4 * k], 4 * EACH);
        assert_string_equal(s.video[k].label, k == 1 ? "polyp" : "normal");
        assert_true(s.clip[k].start == 0 && s.clip[k].video == k && s.video[k].frames == 4);
        assert_string_equal(s.video[k].group, "7");
        assert_string_equal(s.video[k].sha256, s.video[0].sha256);
    }
    ft_clipstore_free(&s);

    ft_mkdirs(in_dir("ch/videos")), ft_mkdirs(in_dir("ch/phase_annotations"));
    encode(in_dir("ch/v.mkv"), AV_CODEC_ID_FFV1, 64, 48, 22);
    assert_int_equal(rename(in_dir("ch/v.mkv"), in_dir("ch/videos/video01.mp4")), 0);
    char text[400] = "Frame\tPhase\n";
    for (int k = 0; k < 22; k++) /* nobody told the phase of frames 8 to 11; the sixth window would be shorter */
        if (k < 8 || k > 11) snprintf(text + strlen(text), sizeof text - strlen(text), "%d\t%s\n", k, k < 12 ? "Early" : "Late");
    put("ch/phase_annotations/video01-phase.txt", text);
    snprintf(folder, sizeof folder, "%s", in_dir("ch"));
    o.list.as = "cholec80";
    for (int k = 0; k < 2; k++) { /* each window by itself, or all in one pass */
        o.view = k ? "centre" : "3crop";
        if (ft_ingest(&o, in_dir("w.h5"), &r) < 0) fail_msg("%s", ft_error_message());
        assert_true(r.videos == 4 && r.clips == (k ? 4 : 12));
        ft_ingest_opt all = {.videos = in_dir("ch/videos"),
                             .sampling = {FT_SAMPLE_STRIDE, 4, 1, 0, 0},
                             .view = o.view,
                             .size = SIDE,
                             .list = {.as = "unlabelled"}};
        if (ft_ingest(&all, path_in(dir, "all.h5"), &r) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_clipstore_read(&s, in_dir("w.h5")), FT_OK);
        assert_int_equal(ft_clipstore_read(&whole, in_dir("all.h5")), FT_OK);
        static const int window[4] = {0, 1, 3, 4};
        for (int i = 0; i < 4; i++)
            for (int view = 0; view < (k ? 1 : 3); view++) {
                int mine = k ? i : 3 * i + view, at = window[i] + view * (int)(whole.n_clip / 3);
                assert_memory_equal(ft_clip_pixels(&s, mine), ft_clip_pixels(&whole, k ? window[i] : at), 4 * EACH);
                assert_int_equal(s.clip[mine].video, i); /* the clips of a window stand together */
                assert_string_equal(s.video[i].label, window[i] < 3 ? "Early" : "Late");
            }
        ft_clipstore_free(&s), ft_clipstore_free(&whole);
    }
    strcat(text, "22\tLate\n23\tLate\n");
    put("ch/phase_annotations/video01-phase.txt", text);
    assert_int_equal(ft_ingest(&o, in_dir("w.h5"), &r), FT_EDATA); /* the list knows more frames than there are */
    assert_non_null(strstr(ft_error_message(), "frames 20 to 23 are asked of 22"));
    o.skip = true;
    if (ft_ingest(&o, in_dir("w.h5"), &r) < 0) fail_msg("%s", ft_error_message());
    assert_true(r.videos == 4 && r.skipped == 1);
}

static int set_up(void **state)
{
    (void)state;
    ft_log_quiet(true);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return mkdtemp(dir) ? 0 : -1;
}
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_attributes),
                                       cmocka_unit_test(test_sizes),
                                       cmocka_unit_test(test_strings),
                                       cmocka_unit_test(test_elsewhere),
                                       cmocka_unit_test(test_names),
                                       cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_no_memory_for_stores),
                                       cmocka_unit_test(test_size_changes),
                                       cmocka_unit_test(test_other_files),
                                       cmocka_unit_test(test_cut_off),
                                       cmocka_unit_test(test_no_memory_for_videos),
                                       cmocka_unit_test(test_ingest),
                                       cmocka_unit_test(test_jpeg),
                                       cmocka_unit_test(test_windows)};
    return cmocka_run_group_tests_name("media", tests, set_up, tear_down);
}
