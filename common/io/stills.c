#include "common/io/stills.h"

#include <string.h>
#include <strings.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/picture.h"

enum { MOST_BYTES = INT32_MAX - AV_INPUT_BUFFER_PADDING_SIZE, MOST_PAGES = 1 << 20 };

static const struct {
    const char *magic;
    int bytes;
    enum AVCodecID codec;
} kinds[] = {{"\x89PNG\r\n\x1a\n", 8, AV_CODEC_ID_PNG},
             {"\xff\xd8\xff", 3, AV_CODEC_ID_MJPEG},
             {"II*\0", 4, AV_CODEC_ID_TIFF},
             {"MM\0*", 4, AV_CODEC_ID_TIFF},
             {"BM", 2, AV_CODEC_ID_BMP}};
static const char *const big_tiff[] = {"II+\0", "MM\0+"};

static enum AVCodecID kind_of(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size >= (size_t)kinds[i].bytes && !memcmp(data, kinds[i].magic, (size_t)kinds[i].bytes)) return kinds[i].codec;
    return AV_CODEC_ID_NONE;
}

static bool is_big_tiff(const uint8_t *data, size_t size)
{
    return size >= 4 && (!memcmp(data, big_tiff[0], 4) || !memcmp(data, big_tiff[1], 4));
}

static int refuse_big_tiff(const char *path)
{
    return FT_FAIL(FT_EDATA,
                   "%s: a BigTIFF file, which is not read here. `tiffcp BIG.tif SMALL.tif` (package libtiff-tools) makes a "
                   "TIFF of up to 4 GB of it",
                   path);
}

bool ft_still_name(const char *name)
{
    static const char *const ending[] = {"png", "jpg", "jpeg", "tif", "tiff", "bmp"};
    const char *dot = strrchr(name, '.');
    for (int i = 0; dot && i < 6; i++)
        if (!strcasecmp(dot + 1, ending[i])) return !ft_is_foreign(name);
    return false;
}

static int compare(const void *a, const void *b) { return ft_natural_order(*(char *const *)a, *(char *const *)b); }

static int open_folder(ft_stills *s)
{
    int all;
    FT_TRY(ft_list_dir(s->path, &s->name, &all));
    for (int i = 0; i < all; i++) {
        if (ft_still_name(s->name[i])) s->name[s->n++] = s->name[i];
        else s->others += !ft_is_foreign(s->name[i]), ft_free(s->name[i]);
    }
    if (s->n == 0)
        return FT_FAIL(
            FT_EDATA, "%s: a folder without images. A video is a file, or a folder of its frames as PNG, JPEG, TIFF or BMP files",
            s->path);
    qsort(s->name, (size_t)s->n, sizeof *s->name, compare);
    return FT_OK;
}

static uint64_t number(const uint8_t *p, int bytes, bool big)
{
    uint64_t v = 0;
    for (int i = 0; i < bytes; i++) v = v << 8 | p[big ? i : bytes - 1 - i];
    return v;
}

/* A TIFF file is a list of directories, one a page; a damaged list may lead round in a circle (Brent's search). */
static int count_pages(ft_stills *s, const uint8_t *data, size_t size)
{
    bool big = *data == 'M';
    uint64_t at = size >= 8 ? number(data + 4, 4, big) : 0, mark = 0;
    for (int64_t power = 1; at; s->n++) {
        if (at + 2 > size || s->n == MOST_PAGES || at == mark)
            return FT_FAIL(FT_EDATA,
                           "%s: damaged: the list of its pages is not whole after page %lld. Copy the file again, or leave "
                           "it out with --on-error skip",
                           s->path, (long long)s->n);
        FT_TRY(ft_grow(&s->page, (size_t)s->n, sizeof *s->page));
        s->page[s->n] = (uint32_t)at;
        if (s->n + 1 == power) power *= 2, mark = at;
        uint64_t next = at + 2 + 12 * number(data + at, 2, big);
        at = next + 4 <= size ? number(data + next, 4, big) : size;
    }
    return s->n ? FT_OK : FT_FAIL(FT_EDATA, "%s: a TIFF file without pages", s->path);
}

/* ---- which way up: a TIFF directory says it, of the file or of the EXIF part of a JPEG or PNG file
 * ------------------------------ */

static int in_directory(const uint8_t *tiff, size_t size, uint64_t at)
{
    enum { ORIENTATION = 0x112, SHORT = 3 };
    bool big = *tiff == 'M';
    uint64_t entries = at + 2 <= size ? number(tiff + at, 2, big) : 0;
    for (at += 2; entries > 0 && at + 12 <= size; entries--, at += 12)
        if (number(tiff + at, 2, big) == ORIENTATION && number(tiff + at + 2, 2, big) == SHORT) {
            int way = (int)number(tiff + at + 8, 2, big);
            return way >= 1 && way <= 8 ? way : 1;
        }
    return 1;
}

static int in_exif(const uint8_t *tiff, size_t size)
{
    bool is = size >= 8 && kind_of(tiff, size) == AV_CODEC_ID_TIFF;
    return is ? in_directory(tiff, size, number(tiff + 4, 4, *tiff == 'M')) : 1;
}

static int in_jpeg(const uint8_t *data, size_t size)
{
    enum { EXIF = 0xe1, SCAN = 0xda };
    for (size_t at = 2, part; at + 4 <= size && data[at] == 0xff && data[at + 1] != SCAN; at += 2 + part) {
        part = (size_t)number(data + at + 2, 2, true);
        if (part < 2 || part > size - at - 2) break;
        if (data[at + 1] == EXIF && part >= 8 && !memcmp(data + at + 4, "Exif\0\0", 6)) return in_exif(data + at + 10, part - 8);
    }
    return 1;
}

static int in_png(const uint8_t *data, size_t size)
{
    for (size_t at = 8, part; at + 12 <= size; at += 12 + part) {
        part = (size_t)number(data + at, 4, true);
        if (part > size - at - 12) break;
        if (!memcmp(data + at + 4, "eXIf", 4)) return in_exif(data + at + 8, part);
    }
    return 1;
}

/* EXIF's number, 1 to 8, of the image that is loaded */
static int orientation_of(const ft_stills *s)
{
    const uint8_t *data = s->packet->data;
    size_t size = (size_t)s->packet->size;
    switch (s->codec->codec_id) {
        case AV_CODEC_ID_MJPEG: return in_jpeg(data, size);
        case AV_CODEC_ID_PNG: return in_png(data, size);
        case AV_CODEC_ID_TIFF: return s->page ? in_directory(data, size, s->page[s->next]) : in_exif(data, size);
        default: return 1;
    }
}

static int check_orientation(ft_stills *s, const char *path)
{
    int way = orientation_of(s);
    if (s->orientation && way != s->orientation)
        return FT_FAIL(
            FT_EDATA,
            "%s: image %lld is turned otherwise than those before it (EXIF orientation %d, not %d). Turn them alike, or leave "
            "the video out with --on-error skip",
            path, (long long)s->next + 1, way, s->orientation);
    s->orientation = way;
    return FT_OK;
}

void ft_stills_upright(const ft_stills *s, int *rotation, bool *mirrored)
{
    static const int turn[] = {0, 0, 0, 180, 180, 270, 90, 90, 270};
    *rotation = turn[s->orientation];
    *mirrored = s->orientation == 2 || s->orientation == 4 || s->orientation == 5 || s->orientation == 7;
}

static void free_bytes(void *opaque, uint8_t *data) { (void)opaque, ft_free(data); }

/* the bytes of a file as a packet, which is not copied */
static int load(ft_stills *s, const char *path)
{
    char *data;
    size_t size;
    av_packet_unref(s->packet);
    FT_TRY(ft_is_file(path));
    FT_TRY(ft_read_file(path, MOST_BYTES, &data, &size));
    char *padded = ft_realloc(data, size + AV_INPUT_BUFFER_PADDING_SIZE);
    if (padded) data = padded, memset(data + size, 0, AV_INPUT_BUFFER_PADDING_SIZE);
    s->packet->buf = padded ? av_buffer_create((uint8_t *)data, size + AV_INPUT_BUFFER_PADDING_SIZE, free_bytes, NULL, 0) : NULL;
    if (!s->packet->buf) {
        ft_free(data);
        return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    }
    s->packet->data = (uint8_t *)data, s->packet->size = (int)size;
    s->packet->flags = AV_PKT_FLAG_KEY; /* else FFmpeg adds a PNG to the one before it */
    return FT_OK;
}

static int open_codec(ft_stills *s, const char *path)
{
    enum AVCodecID id = kind_of(s->packet->data, (size_t)s->packet->size);
    if (is_big_tiff(s->packet->data, (size_t)s->packet->size)) return refuse_big_tiff(path);
    if (id == AV_CODEC_ID_NONE) return FT_FAIL(FT_EDATA, "%s: not a PNG, JPEG, TIFF or BMP image, whatever its name says", path);
    if (s->codec && s->codec->codec_id == id) return FT_OK;
    avcodec_free_context(&s->codec);
    const AVCodec *codec = avcodec_find_decoder(id);
    if (!codec) return FT_FAIL(FT_EDEVICE, "%s: this FFmpeg does not decode %s", path, avcodec_get_name(id));
    if (!(s->codec = avcodec_alloc_context3(codec))) return FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    s->codec->thread_count = 1;
    s->codec->max_pixels = FT_MOST_PIXELS;
    s->codec->err_recognition = AV_EF_EXPLODE | AV_EF_CRCCHECK; /* half an image is none */
    int rc = avcodec_open2(s->codec, codec, NULL);
    return rc >= 0 ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: %s cannot be decoded (%s)", path, codec->name, av_err2str(rc));
}

static int decode(ft_stills *s, const char *path)
{
    av_frame_unref(s->frame);
    for (int i = 0; s->page && i < 4; i++) /* in this copy the page is the file's first: FFmpeg knows no other */
        s->packet->data[4 + i] = (uint8_t)(s->page[s->next] >> 8 * (*s->packet->data == 'M' ? 3 - i : i));
    int rc = avcodec_send_packet(s->codec, s->packet);
    if (rc >= 0) rc = avcodec_receive_frame(s->codec, s->frame);
    if (rc == AVERROR(ENOMEM)) return FT_FAIL(FT_ENOMEM, "%s: no memory to decode it. Close other programs", path);
    if (rc >= 0 && !(s->frame->flags & AV_FRAME_FLAG_CORRUPT) && !s->frame->decode_error_flags) return FT_OK;
    if (s->name)
        return FT_FAIL(FT_EDATA,
                       "%s: damaged, or not an image that FFmpeg decodes. Copy the file again, or leave the video out with "
                       "--on-error skip",
                       path);
    return FT_FAIL(FT_EDATA,
                   "%s: page %lld is damaged, or not an image that FFmpeg decodes. Copy the file again, or leave it out "
                   "with --on-error skip",
                   path, (long long)s->next + 1);
}

int ft_stills_next(ft_stills *s)
{
    if (s->next == s->n) return 0;
    char *path = s->name ? ft_format("%s/%s", s->path, s->name[s->next]) : ft_strdup(s->path);
    int rc = path ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", s->path);
    if (rc == FT_OK && s->name) rc = load(s, path);
    if (rc == FT_OK) rc = open_codec(s, path);
    if (rc == FT_OK) rc = check_orientation(s, path);
    if (rc == FT_OK) rc = decode(s, path);
    ft_free(path);
    if (rc < 0) return rc;
    s->next++;
    return 1;
}

/* 1: it is one, 0: it is something else */
static int is_tiff(const char *path)
{
    uint8_t head[4];
    FILE *f = ft_is_file(path) == FT_OK ? fopen(path, "rb") : NULL;
    bool four = f && fread(head, 1, 4, f) == 4;
    if (f) fclose(f);
    if (four && is_big_tiff(head, 4)) return refuse_big_tiff(path);
    return four && kind_of(head, 4) == AV_CODEC_ID_TIFF;
}

int ft_stills_open(ft_stills *s, const char *path)
{
    *s = (ft_stills){.path = path};
    bool folder = ft_is_dir(path);
    int tiff = folder ? 0 : is_tiff(path);
    if (tiff < 0 || (!folder && !tiff)) return tiff;
    s->packet = av_packet_alloc();
    s->frame = av_frame_alloc();
    int rc = s->packet && s->frame ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = folder ? open_folder(s) : load(s, path);
    if (rc == FT_OK && !folder) rc = count_pages(s, s->packet->data, (size_t)s->packet->size);
    if (rc < 0) ft_stills_close(s);
    return rc;
}

void ft_stills_close(ft_stills *s)
{
    if (s->name) ft_free_names(s->name, (int)s->n);
    ft_free(s->page);
    avcodec_free_context(&s->codec);
    av_packet_free(&s->packet);
    av_frame_free(&s->frame);
    memset(s, 0, sizeof *s);
}
