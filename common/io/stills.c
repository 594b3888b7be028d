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

static enum AVCodecID kind_of(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (size >= (size_t)kinds[i].bytes && !memcmp(data, kinds[i].magic, (size_t)kinds[i].bytes)) return kinds[i].codec;
    return AV_CODEC_ID_NONE;
}

static bool is_image(const char *name)
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
        if (is_image(s->name[i])) s->name[s->n++] = s->name[i];
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
    if (rc == FT_OK) rc = decode(s, path);
    ft_free(path);
    if (rc < 0) return rc;
    s->next++;
    return 1;
}

static bool is_tiff(const char *path)
{
    uint8_t head[4];
    FILE *f = ft_is_file(path) == FT_OK ? fopen(path, "rb") : NULL;
    bool is = f && fread(head, 1, 4, f) == 4 && kind_of(head, 4) == AV_CODEC_ID_TIFF;
    if (f) fclose(f);
    return is;
}

int ft_stills_open(ft_stills *s, const char *path)
{
    *s = (ft_stills){.path = path};
    bool folder = ft_is_dir(path);
    if (!folder && !is_tiff(path)) return FT_OK;
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
