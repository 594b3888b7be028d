/* Frames of videos against FFmpeg's own program (golden/make_golden_video.py), folders of images, crops. */
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// after those that it needs
#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/clip_sampler.h"
#include "common/io/image.h"
#include "common/io/video.h"
#include "tests/encode.h"
#include "tests/tree.h"

enum { S = 16, EACH = S * S * 3 };

static char dir[] = "/tmp/forty-video-XXXXXX";
static const char *in_dir(const char *name) { return path_in(dir, name); }

/* ---- against FFmpeg ---------------------------------------------------------------------------------------------------------
 */

static const struct {
    const char *file, *crop;
    int frames;
} golden[] = {
#include "tests/golden/video/golden.inc"
};

/* every clip is FFmpeg's own conversion within rounding */
static void test_golden(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        ft_video v;
        char path[512], *want;
        size_t size;
        int64_t index[64];
        int worst = 0;
        snprintf(path, sizeof path, "%s/golden/video/%s", FT_TEST_DIR, golden[i].file);
        if (ft_video_open(&v, path) < 0) fail_msg("%s", ft_error_message());
        if (v.frames != golden[i].frames) fail_msg("%s: %lld frames, not %d", path, (long long)v.frames, golden[i].frames);
        if (*golden[i].crop && ft_video_crop(&v, golden[i].crop, NULL) < 0) fail_msg("%s", ft_error_message());
        uint8_t *rgb = malloc((size_t)v.frames * EACH);
        for (int64_t k = 0; k < v.frames; k++) index[k] = k;
        if (ft_video_frames(&v, index, v.frames, S, FT_CROP_CENTRE, rgb) < 0) fail_msg("%s", ft_error_message());
        strcat(path, *golden[i].crop ? "-crop.rgb" : ".rgb");
        assert_int_equal(ft_read_file(path, 0, &want, &size), FT_OK);
        assert_int_equal(size, (size_t)v.frames * EACH);
        for (size_t k = 0; k < size; k++) {
            int far = abs(rgb[k] - (uint8_t)want[k]);
            worst = far > worst ? far : worst;
        }
        if (worst > 1) fail_msg("%s: %d levels from FFmpeg's", path, worst);
        free(rgb);
        ft_free(want);
        ft_video_close(&v);
    }
}

/* ---- orientation ------------------------------------------------------------------------------------------------------------
 */

static uint8_t corner(const AVFrame *frame, int k, int plane, int x, int y)
{
    (void)k;
    return plane ? 128 : x < frame->width / 2 && y < frame->height / 2 ? 220 : 30;
}

static int32_t *new_matrix(AVStream *s)
{
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 102) /* FFmpeg 6.1 moved it */
    AVCodecParameters *p = s->codecpar;
    AVPacketSideData *d = av_packet_side_data_new(&p->coded_side_data, &p->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX, 36, 0);
    return (int32_t *)(void *)d->data;
#else
    return (int32_t *)(void *)av_stream_new_side_data(s, AV_PKT_DATA_DISPLAYMATRIX, 36);
#endif
}

/* n frames of w x h, 25 a second; matrix: of the upright picture, (x, y) to (m0 x + m2 y, m1 x + m3 y); NULL: as stored */
static void encode(const char *path, enum AVCodecID id, int w, int h, int n, const int *matrix,
                   uint8_t (*pixel)(const AVFrame *frame, int k, int plane, int x, int y))
{
    AVFormatContext *f = NULL;
    assert_true(avformat_alloc_output_context2(&f, NULL, NULL, path) >= 0);
    AVStream *s = avformat_new_stream(f, NULL);
    const AVCodec *codec = avcodec_find_encoder(id);
    AVCodecContext *c = avcodec_alloc_context3(codec);
    c->width = w, c->height = h, c->time_base = (AVRational){1, 25};
    c->pix_fmt = id == AV_CODEC_ID_MJPEG ? AV_PIX_FMT_YUVJ420P : AV_PIX_FMT_YUV420P;
    c->global_quality = FF_QP2LAMBDA;
    c->flags |= AV_CODEC_FLAG_QSCALE | (f->oformat->flags & AVFMT_GLOBALHEADER ? AV_CODEC_FLAG_GLOBAL_HEADER : 0);
    assert_true(avcodec_open2(c, codec, NULL) >= 0);
    avcodec_parameters_from_context(s->codecpar, c);
    s->time_base = c->time_base;
    int32_t *m = matrix ? new_matrix(s) : NULL;
    for (int i = 0; m && i < 9; i++) m[i] = i == 8 ? 1 << 30 : i % 3 < 2 && i < 6 ? matrix[i / 3 * 2 + i % 3] * (1 << 16) : 0;
    encode_frames(f, c, s, path, n, NULL, pixel);
}

/* all eight ways to lay a picture down: the bright corner is seen where the matrix takes it */
static void test_mirrored(void **state)
{
    (void)state;
    static const int matrices[8][4] = {{1, 0, 0, 1},  {-1, 0, 0, 1}, {1, 0, 0, -1}, {-1, 0, 0, -1},
                                       {0, 1, -1, 0}, {0, -1, 1, 0}, {0, 1, 1, 0},  {0, -1, -1, 0}};
    for (int k = 0; k < 8; k++) {
        const int *m = matrices[k];
        uint8_t rgb[EACH];
        ft_video v;
        bool right = m[0] + m[2] < 0, low = m[1] + m[3] < 0; /* where x and y fall as the stored ones rise */
        encode(in_dir("m.mov"), AV_CODEC_ID_MPEG4, 64, 64, 2, m, corner);
        if (ft_video_open(&v, in_dir("m.mov")) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(v.mirrored, m[0] * m[3] < m[1] * m[2]);
        assert_int_equal(ft_video_frames(&v, (int64_t[]){0}, 1, S, FT_CROP_CENTRE, rgb), FT_OK);
        for (int q = 0; q < 4; q++) {
            int level = rgb[(((q & 2 ? 12 : 3) * S) + (q & 1 ? 12 : 3)) * 3];
            bool bright = (q & 1) == right && (q & 2) / 2 == low;
            if (abs(level - (bright ? 238 : 16)) > 20) fail_msg("matrix %d: corner %d is %d", k, q, level);
        }
        ft_video_close(&v);
    }
}

/* ---- headers that count ------------------------------------------------------------------------------------------------------
 */

static uint8_t grey_of(const AVFrame *frame, int k, int plane, int x, int y)
{
    (void)frame, (void)x, (void)y;
    return (uint8_t)(plane ? 128 : 20 + 10 * (k % 20));
}

static void test_counts(void **state)
{
    (void)state;
    char *data;
    size_t size;
    ft_video v;
    encode(in_dir("c.avi"), AV_CODEC_ID_MPEG4, 64, 64, 40, NULL, grey_of);
    assert_int_equal(ft_read_file(in_dir("c.avi"), 0, &data, &size), FT_OK);
    char *count = memmem(data, size, "strh", 4);
    assert_true(count && *(int *)(void *)(count + 40) == 40);
    *(int *)(void *)(count + 40) = 400; /* the length of the stream */
    assert_int_equal(ft_write_file(in_dir("says400.avi"), data, size), FT_OK);
    if (ft_video_open(&v, in_dir("says400.avi")) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(v.frames, 40);
    ft_video_close(&v);
    for (int part = 8; part < 10; part++) { /* the same file, cut off */
        assert_int_equal(ft_write_file(in_dir("cut.avi"), data, size * (size_t)part / 10), FT_OK);
        if (ft_video_open(&v, in_dir("cut.avi")) >= 0)
            fail_msg("%lld frames of a file that was cut off are taken", (long long)v.frames);
        if (!strstr(ft_error_message(), "cut off")) fail_msg("part %d: %s", part, ft_error_message());
    }
    ft_free(data);
}

static void test_dicom(void **state)
{
    (void)state;
    static char data[4096];
    ft_video v;
    memcpy(data + 128, "DICM", 4);
    static const char *const names[] = {"a.dcm", "IM0001"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ft_write_file(in_dir(names[i]), data, sizeof data), FT_OK);
        assert_int_equal(ft_video_open(&v, in_dir(names[i])), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "DICOM is not read here"));
    }
}

/* ---- images ------------------------------------------------------------------------------------------------------------------
 */

enum { W = 40, H = 24 };

static void put_png(const char *name, int level)
{
    static uint8_t rgb[W * H * 3];
    uint8_t *png;
    size_t size;
    memset(rgb, level, sizeof rgb);
    assert_int_equal(ft_png_encode(rgb, W, H, &png, &size), FT_OK);
    assert_int_equal(ft_write_file(in_dir(name), png, size), FT_OK);
    ft_free(png);
}

/* levels of the middle of all frames */
static void levels(const char *name, int n, int *level)
{
    ft_video v;
    uint8_t rgb[32 * EACH];
    int64_t index[32];
    if (ft_video_open(&v, in_dir(name)) < 0) fail_msg("%s", ft_error_message());
    assert_true(v.frames == n && v.images == n && v.fps == 25 && v.width == W && v.height == H);
    for (int i = 0; i < n; i++) index[i] = i;
    if (ft_video_frames(&v, index, n, S, FT_CROP_CENTRE, rgb) < 0) fail_msg("%s", ft_error_message());
    for (int i = 0; i < n; i++) level[i] = rgb[i * EACH + EACH / 2];
    ft_video_close(&v);
}

static void test_folder(void **state)
{
    (void)state;
    int level[12];
    char name[64], hex[65], other[65];
    ft_video v;
    ft_mkdirs(in_dir("f"));
    for (int i = 1; i <= 12; i++) { /* by name f10 comes before f2 */
        snprintf(name, sizeof name, "f/f%d.%s", i, i % 2 ? "png" : "PNG");
        put_png(name, 20 * i);
    }
    assert_int_equal(ft_write_file(in_dir("f/Thumbs.db"), "x", 1), FT_OK);
    assert_int_equal(ft_write_file(in_dir("f/._f1.png"), "x", 1), FT_OK);
    assert_int_equal(ft_write_file(in_dir("f/notes.txt"), "x", 1), FT_OK);
    levels("f", 12, level);
    for (int i = 0; i < 12; i++) assert_int_equal(level[i], 20 * (i + 1));
    assert_true(ft_video_open(&v, in_dir("f")) == FT_OK && ft_video_sha256(&v, hex, NULL, NULL) == FT_OK);
    put_png("f/f7.png", 1);
    assert_int_equal(ft_video_sha256(&v, other, NULL, NULL), FT_OK);
    assert_string_not_equal(hex, other);
    ft_video_close(&v);
    /* half an image is none, nor is what only its name says */
    char *png;
    size_t size;
    assert_int_equal(ft_read_file(in_dir("f/f3.png"), 0, &png, &size), FT_OK);
    assert_int_equal(ft_write_file(in_dir("f/f3.png"), png, size / 2), FT_OK);
    assert_int_equal(ft_video_open(&v, in_dir("f")), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "f/f3.png"));
    assert_int_equal(ft_write_file(in_dir("f/f3.png"), "no image", 8), FT_OK);
    assert_int_equal(ft_video_open(&v, in_dir("f")), FT_EDATA);
    ft_free(png);
    ft_mkdirs(in_dir("empty"));
    assert_int_equal(ft_video_open(&v, in_dir("empty")), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "a folder of its frames"));
    for (int64_t n = 1;; n++) { /* each allocation fails once */
        put_png("f/f3.png", 60);
        ft_alloc_fail_at(n);
        int rc = ft_video_open(&v, in_dir("f"));
        ft_alloc_fail_at(0);
        if (rc == FT_OK) break;
        assert_int_equal(rc, FT_ENOMEM);
    }
    ft_video_close(&v);
}

static uint8_t *put16(uint8_t *p, int v) { return p[0] = (uint8_t)v, p[1] = (uint8_t)(v >> 8), p + 2; }
static uint8_t *put32(uint8_t *p, int v) { return put16(put16(p, v), v >> 16); }

/* grey pages of W x H, page i of level 20 i + 20; `last`: where the last directory leads */
static void put_tiff(const char *name, int pages, int last)
{
    enum { DIRECTORY = 2 + 9 * 12 + 4, PAGE = DIRECTORY + W * H };
    static uint8_t data[8 + 16 * PAGE];
    uint8_t *p = data;
    memcpy(p, "II*\0", 4);
    p = put32(p + 4, 8);
    for (int i = 0; i < pages; i++) {
        const int tag[9][3] = {{256, 3, W}, {257, 3, H}, {258, 3, 8},
                               {259, 3, 1}, {262, 3, 1}, {273, 4, 8 + i * PAGE + DIRECTORY},
                               {277, 3, 1}, {278, 3, H}, {279, 4, W * H}};
        p = put16(p, 9);
        for (int k = 0; k < 9; k++) p = put32(put32(put16(put16(p, tag[k][0]), tag[k][1]), 1), tag[k][2]);
        p = put32(p, i < pages - 1 ? 8 + (i + 1) * PAGE : last);
        memset(p, 20 * i + 20, W * H);
        p += W * H;
    }
    assert_int_equal(ft_write_file(in_dir(name), data, (size_t)(p - data)), FT_OK);
}

static void test_stack(void **state)
{
    (void)state;
    int level[9];
    ft_video v;
    put_tiff("stack.tif", 9, 0);
    levels("stack.tif", 9, level);
    for (int i = 0; i < 9; i++) assert_int_equal(level[i], 20 * i + 20);
    put_tiff("round.tif", 9, 8); /* leads back to the first page */
    assert_int_equal(ft_video_open(&v, in_dir("round.tif")), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "list of its pages"));
    put_tiff("far.tif", 9, 1 << 24);
    assert_int_equal(ft_video_open(&v, in_dir("far.tif")), FT_EDATA);
}

/* ---- which way up, as EXIF and TIFF say
 * ----------------------------------------------------------------------------------------
 */

/* a TIFF directory that holds an orientation and nothing else */
static size_t exif(uint8_t *to, int way)
{
    uint8_t *p = to;
    memcpy(p, "II*\0", 4);
    p = put32(put16(put32(p + 4, 8), 1), 0x112 | 3 << 16);
    return (size_t)(put32(put32(put32(p, 1), way), 0) - to);
}

static uint32_t crc32_of(const uint8_t *p, size_t n)
{
    uint32_t c = 0xffffffff;
    for (size_t i = 0; i < n; i++) {
        c ^= p[i];
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xedb88320 : 0);
    }
    return ~c;
}

static uint8_t *put_big32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
    return p + 4;
}

static int quarter(int x, int y, int w) { return y >= w / 2 ? 30 : x < w / 2 ? 220 : 120; }

static uint8_t quarters(const AVFrame *frame, int k, int plane, int x, int y)
{
    (void)k;
    return (uint8_t)(plane ? 128 : quarter(x, y, frame->width));
}

/* a picture whose upper left quarter is bright and whose upper right one less so, with an eXIf chunk behind its first one */
static void put_turned_png(const char *name, int way)
{
    enum { IHDR_ENDS = 33 };
    static uint8_t rgb[W * W * 3], out[W * W * 4];
    uint8_t *png, chunk[64];
    size_t size, n = exif(chunk + 8, way);
    for (int i = 0; i < W * W; i++) memset(rgb + 3 * i, quarter(i % W, i / W, W), 3);
    assert_int_equal(ft_png_encode(rgb, W, W, &png, &size), FT_OK);
    put_big32(chunk, (uint32_t)n);
    memcpy(chunk + 4, "eXIf", 4);
    put_big32(chunk + 8 + n, crc32_of(chunk + 4, n + 4));
    memcpy(out, png, IHDR_ENDS);
    memcpy(out + IHDR_ENDS, chunk, n + 12);
    memcpy(out + IHDR_ENDS + n + 12, png + IHDR_ENDS, size - IHDR_ENDS);
    assert_int_equal(ft_write_file(in_dir(name), out, size + n + 12), FT_OK);
    ft_free(png);
}

/* the same as JPEG, with an APP1 segment behind its first two bytes */
static void put_turned_jpeg(const char *name, int way)
{
    enum { LEAD = 10 };
    char *jpeg;
    uint8_t out[8192] = {0xff, 0xd8, 0xff, 0xe1};
    size_t size, n = exif(out + 2 + LEAD, way);
    encode(in_dir("turned.mjpeg"), AV_CODEC_ID_MJPEG, 64, 64, 1, NULL, quarters);
    assert_int_equal(ft_read_file(in_dir("turned.mjpeg"), 0, &jpeg, &size), FT_OK);
    assert_true(size + 64 < sizeof out);
    out[4] = 0, out[5] = (uint8_t)(n + 8);
    memcpy(out + 6, "Exif\0\0", 6);
    memcpy(out + 2 + LEAD + n, jpeg + 2, size - 2);
    assert_int_equal(ft_write_file(in_dir(name), out, size + LEAD + n), FT_OK);
    ft_free(jpeg);
}

/* EXIF 2.32, 4.6.4 A: which corner of the picture the first row and the first column, and so the bright quarter, lie in; and the
 * first row's other end */
static void test_upright(void **state)
{
    (void)state;
    /* upper left, upper right, lower left, lower right */
    static const int first[9] = {0, 0, 1, 3, 2, 0, 1, 3, 2}, second[9] = {0, 1, 0, 2, 3, 2, 3, 1, 0};
    for (int way = 1; way <= 8; way++)
        for (int kind = 0; kind < 2; kind++) {
            ft_video v;
            uint8_t rgb[EACH];
            ft_mkdirs(in_dir("up"));
            unlink(in_dir("up/1.png"));
            unlink(in_dir("up/1.jpg"));
            if (kind) put_turned_jpeg("up/1.jpg", way);
            else put_turned_png("up/1.png", way);
            if (ft_video_open(&v, in_dir("up")) < 0) fail_msg("%s", ft_error_message());
            assert_int_equal(ft_video_frames(&v, (int64_t[]){0}, 1, S, FT_CROP_CENTRE, rgb), FT_OK);
            for (int q = 0; q < 4; q++) {
                int level = rgb[(((q & 2 ? 12 : 3) * S) + (q & 1 ? 12 : 3)) * 3];
                int want = q == first[way] ? 220 : q == second[way] ? 120 : 30;
                if (abs(level - want) > 20) fail_msg("orientation %d, kind %d: corner %d is %d", way, kind, q, level);
            }
            ft_video_close(&v);
        }
    ft_video v;
    put_turned_jpeg("up/1.jpg", 6);
    put_turned_jpeg("up/2.jpg", 1);
    assert_int_equal(ft_video_open(&v, in_dir("up")), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "2.jpg: image 2 is turned otherwise"));
}

static void test_big_tiff(void **state)
{
    (void)state;
    ft_video v;
    assert_int_equal(ft_write_file(in_dir("big.tif"), "II+\0\10\0\0\0\20\0\0\0\0\0\0\0", 16), FT_OK);
    ft_mkdirs(in_dir("bigs"));
    assert_int_equal(ft_write_file(in_dir("bigs/1.tif"), "MM\0+\0\10\0\0\0\0\0\0\0\0\0\20", 16), FT_OK);
    static const char *const path[] = {"big.tif", "bigs"};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ft_video_open(&v, in_dir(path[i])), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "a BigTIFF file"));
    }
}

/* ---- crop --------------------------------------------------------------------------------------------------------------------
 */

enum { PW = 160, PH = 120 };

/* an endoscope's circle that moves within, on black, with writing beside it; and an ultrasound sector under a line of writing */
static uint8_t endoscope(const AVFrame *frame, int k, int plane, int x, int y)
{
    if (plane) return 128;
    int dx = x - 100, dy = y - 60;
    (void)frame;
    if (dx * dx + dy * dy < 50 * 50) return (uint8_t)(60 + (x * 7 + y * 13 + k * 31) % 150);
    return x > 4 && x < 30 && y > 10 && y < 60 && (x / 2 + y / 3) % 3 == 0 ? 235 : 16;
}
static uint8_t sector(const AVFrame *frame, int k, int plane, int x, int y)
{
    if (plane) return 128;
    int dx = x - 80, dy = y - 20, r = dx * dx + dy * dy;
    (void)frame;
    if (dy > 0 && abs(dx) <= dy && r > 10 * 10 && r < 90 * 90) return (uint8_t)(40 + (x * 11 + y * 17 + k * 53) % 120);
    return y > 2 && y < 9 && x % 3 ? 235 : 16;
}
/* what lies deep is hardly brighter than nothing: it is of the sector all the same */
static uint8_t deep_sector(const AVFrame *frame, int k, int plane, int x, int y)
{
    int r = (x - 80) * (x - 80) + (y - 20) * (y - 20);
    uint8_t v = sector(frame, k, plane, x, y);
    return plane || v == 16 || v == 235 || r < 40 * 40 ? v : (uint8_t)(24 + (x + y + k) % 4);
}
static uint8_t whole_picture(const AVFrame *frame, int k, int plane, int x, int y)
{
    (void)frame;
    return (uint8_t)(plane ? 128 : 40 + (x * 7 + y * 13 + k * 31) % 150);
}
static uint8_t still_circle(const AVFrame *frame, int k, int plane, int x, int y)
{
    (void)k;
    return endoscope(frame, 0, plane, x, y);
}

static void test_crop(void **state)
{
    (void)state;
    static const struct {
        uint8_t (*pixel)(const AVFrame *frame, int k, int plane, int x, int y);
        ft_rect want;
    } a[] = {{endoscope, {50, 10, 100, 100}},
             {sector, {17, 28, 127, 82}},
             {deep_sector, {17, 28, 127, 82}},
             {still_circle, {50, 10, 100, 100}},
             {whole_picture, {0}}};
    for (size_t i = 0; i < sizeof a / sizeof *a; i++) {
        ft_video v;
        static uint8_t shown[FT_SHOWN * FT_SHOWN * 3];
        encode(in_dir("p.mkv"), AV_CODEC_ID_MPEG4, PW, PH, 12, NULL, a[i].pixel);
        if (ft_video_open(&v, in_dir("p.mkv")) < 0) fail_msg("%s", ft_error_message());
        if (ft_video_crop(&v, "auto", shown) < 0) fail_msg("%s", ft_error_message());
        ft_rect r = v.crop, w = a[i].want;
        if (abs(r.x - w.x) > 3 || abs(r.y - w.y) > 3 || abs(r.x + r.w - w.x - w.w) > 3 || abs(r.y + r.h - w.y - w.h) > 3)
            fail_msg("picture %zu: %d,%d,%d,%d is kept, %d,%d,%d,%d is due", i, r.x, r.y, r.w, r.h, w.x, w.y, w.w, w.h);
        ft_video_close(&v);
    }
    static const char *const bad[] = {"1,2,3", "0,0,0,5", "-1,0,4,4", "1,2,3,4,5", "middle", ""};
    for (int i = 0; i < 6; i++) assert_false(ft_video_crop_known(bad[i]));
    ft_video v;
    assert_int_equal(ft_video_open(&v, in_dir("p.mkv")), FT_OK);
    assert_int_equal(ft_video_crop(&v, "100,0,100,20", NULL), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "160x120"));
    ft_video_close(&v);
}

/* ---- all of a video ----------------------------------------------------------------------------------------------------------
 */

static void test_all(void **state)
{
    (void)state;
    static const struct {
        ft_sampling how;
        int64_t total;
        int n, start[6];
    } a[] = {{{FT_SAMPLE_STRIDE, 16, 1, 0, 0}, 40, 3, {0, 16, 24}},
             {{FT_SAMPLE_STRIDE, 16, 1, 0, 0}, 48, 3, {0, 16, 32}},
             {{FT_SAMPLE_STRIDE, 16, 1, 0, 0.5}, 40, 4, {0, 8, 16, 24}},
             {{FT_SAMPLE_STRIDE, 16, 3, 0, 0}, 100, 3, {0, 48, 54}},
             {{FT_SAMPLE_STRIDE, 16, 3, 0, 0}, 47, 1, {0}},
             {{FT_SAMPLE_STRIDE, 16, 1, 0, 0.99}, 20, 5, {0, 1, 2, 3, 4}},
             {{FT_SAMPLE_DENSE, 8, 1, 0, 0}, 40, 3, {1, 17, 25}},
             {{FT_SAMPLE_UNIFORM, 8, 1, 0, 0}, 80, 1, {5}}};
    int64_t at[16 * 8];
    int n;
    double used;
    for (size_t i = 0; i < sizeof a / sizeof *a; i++) {
        assert_int_equal(ft_sample_count(&a[i].how, a[i].total, 25), a[i].n);
        assert_int_equal(ft_sample_clips(&a[i].how, "v", a[i].total, 25, at, 8, &n, &used), FT_OK);
        for (int k = 0; k < n; k++)
            if (at[k * a[i].how.frames] != a[i].start[k])
                fail_msg("row %zu: clip %d begins at %lld, not %d", i, k, (long long)at[k * a[i].how.frames], a[i].start[k]);
    }
    /* two hours at 25 a second are 11250 clips, not 4096; where there is no room for them it is said */
    ft_sampling all = {FT_SAMPLE_STRIDE, 16, 1, 0, 0};
    assert_int_equal(ft_sample_count(&all, 180000, 25), 11250);
    assert_int_equal(ft_sample_clips(&all, "v", 180000, 25, at, 8, &n, &used), FT_EDATA);
    /* a sampler that needs more frames than there are says so */
    ft_sampling few[] = {{FT_SAMPLE_UNIFORM, 16, 1, 1, 0}, {FT_SAMPLE_DENSE, 16, 1, 1, 0}, {FT_SAMPLE_STRIDE, 16, 1, 1, 0}};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ft_sample_clips(&few[i], "v", 10, 25, at, 8, &n, &used), FT_EDATA);
        assert_non_null(strstr(ft_error_message(), "10 frames, 16 are needed"));
    }
    few[1].frames = 32;
    assert_int_equal(ft_sample_clips(&few[1], "v", 100, 25, at, 8, &n, &used), FT_ECONFIG);
}

static int set_up(void **state)
{
    (void)state;
    ft_log_quiet(true);
    return mkdtemp(dir) ? 0 : -1;
}
static int tear_down(void **state) { return (void)state, remove_tree(dir); }

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden),  cmocka_unit_test(test_mirrored),
                                       cmocka_unit_test(test_counts),  cmocka_unit_test(test_dicom),
                                       cmocka_unit_test(test_folder),  cmocka_unit_test(test_stack),
                                       cmocka_unit_test(test_upright), cmocka_unit_test(test_big_tiff),
                                       cmocka_unit_test(test_crop),    cmocka_unit_test(test_all)};
    return cmocka_run_group_tests_name("video", tests, set_up, tear_down);
}
