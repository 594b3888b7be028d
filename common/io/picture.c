#include "common/io/picture.h"

#include <libavutil/error.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

enum { MOST_SCALED = 4 * FT_MOST_PIXELS };

/* what is kept of a stored frame: pointers into it */
typedef struct {
    const AVFrame *of;
    const uint8_t *data[4];
    int w, h;
} part;

bool ft_picture_size_is_good(int w, int h)
{
    return w > 0 && h > 0 && w <= FT_MOST_SIDE && h <= FT_MOST_SIDE && (int64_t)w * h <= FT_MOST_PIXELS;
}

void ft_scaler_free(ft_scaler *s)
{
    sws_freeContext(s->sws);
    ft_free(s->scaled);
    ft_free(s->turned);
    memset(s, 0, sizeof *s);
}

/* Room for an image of w x h: a stream may change its size. libswscale writes whole vectors, a little behind a row's end. */
static int make_room(uint8_t **to, size_t *room, int64_t w, int64_t h)
{
    size_t need = (size_t)(w * (h + 1)) * 3 + 256;
    if (need <= *room) return FT_OK;
    ft_free(*to);
    *to = ft_alloc(need);
    *room = *to ? need : 0;
    return *to ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a frame of %lldx%lld", (long long)w, (long long)h);
}

/* Matrix and range as the frame has them, as FFmpeg's own scale filter: without a tag BT.601, and the range of the pixel format.
 */
static int open_scaler(ft_scaler *s, const part *p, int w, int h)
{
    const AVFrame *f = p->of;
    if (s->sws && (s->matrix != (int)f->colorspace || s->range != (int)f->color_range)) {
        sws_freeContext(s->sws);
        s->sws = NULL;
    }
    struct SwsContext *before = s->sws;
    s->sws = sws_getCachedContext(s->sws, p->w, p->h, (enum AVPixelFormat)f->format, w, h, AV_PIX_FMT_RGB24,
                                  SWS_BILINEAR | SWS_ACCURATE_RND | SWS_BITEXACT | SWS_FULL_CHR_H_INT, NULL, NULL, NULL);
    if (!s->sws)
        return FT_FAIL(sws_isSupportedInput((enum AVPixelFormat)f->format) ? FT_ENOMEM : FT_EDATA,
                       "frames of %dx%d, pixel format %d, cannot be scaled to %dx%d", p->w, p->h, f->format, w, h);
    if (s->sws == before) return FT_OK;
    s->matrix = (int)f->colorspace, s->range = (int)f->color_range;
    int *source, *target, full, target_full, brightness, contrast, saturation;
    if (sws_getColorspaceDetails(s->sws, &source, &full, &target, &target_full, &brightness, &contrast, &saturation) < 0)
        return FT_OK; /* the format has neither */
    if (f->color_range != AVCOL_RANGE_UNSPECIFIED) full = f->color_range == AVCOL_RANGE_JPEG;
    const int *matrix = sws_getCoefficients((int)f->colorspace);
    sws_setColorspaceDetails(s->sws, matrix, full, matrix, target_full, brightness, contrast, saturation);
    return FT_OK;
}

/* The part that a rectangle of the upright picture is; chroma may be coarser, so it begins where FFmpeg's crop filter does. */
static int cut(part *q, const ft_view *v)
{
    const AVFrame *f = q->of;
    const AVPixFmtDescriptor *d = av_pix_fmt_desc_get((enum AVPixelFormat)f->format);
    ft_rect r = v->crop;
    bool lying = v->rotation == 90 || v->rotation == 270;
    int W = q->w, H = q->h, up_w = lying ? H : W, up_h = lying ? W : H;
    if (r.x < 0 || r.y < 0 || r.w > up_w || r.h > up_h || r.x > up_w - r.w || r.y > up_h - r.h)
        return FT_FAIL(FT_EDATA, "the crop %d,%d,%d,%d does not lie inside of its picture of %dx%d", r.x, r.y, r.w, r.h, up_w,
                       up_h);
    if (!d || d->flags & (AV_PIX_FMT_FLAG_BITSTREAM | AV_PIX_FMT_FLAG_HWACCEL))
        return FT_FAIL(FT_EDATA, "frames of the pixel format %s cannot be cropped", d ? d->name : "?");
    ft_rect at = v->rotation == 90    ? (ft_rect){r.y, H - r.x - r.w, r.h, r.w}
                 : v->rotation == 180 ? (ft_rect){W - r.x - r.w, H - r.y - r.h, r.w, r.h}
                 : v->rotation == 270 ? (ft_rect){W - r.y - r.h, r.x, r.h, r.w}
                                      : r;
    if (v->mirrored) at.x = W - at.x - at.w;
    at.x &= ~((1 << d->log2_chroma_w) - 1), at.y &= ~((1 << d->log2_chroma_h) - 1);
    for (int k = 0; k < d->nb_components; k++) { /* a plane may hold several of them: it is moved once, by its first */
        int p = d->comp[k].plane, first = 0;
        while (d->comp[first].plane != p) first++;
        bool chroma = (k == 1 || k == 2) && !(d->flags & AV_PIX_FMT_FLAG_RGB);
        if (first != k) continue;
        q->data[p] += (ptrdiff_t)(at.y >> (chroma ? d->log2_chroma_h : 0)) * f->linesize[p] +
                      (ptrdiff_t)(at.x >> (chroma ? d->log2_chroma_w : 0)) * d->comp[k].step;
    }
    q->w = at.w, q->h = at.h;
    return FT_OK;
}

static int scale(ft_scaler *s, const part *p, int64_t w, int64_t h)
{
    if (w * h > MOST_SCALED || w > INT16_MAX * 2 || h > INT16_MAX * 2)
        return FT_FAIL(FT_EDATA, "frames of %dx%d become %lldx%lld. Use a smaller --size", p->w, p->h, (long long)w,
                       (long long)h);
    FT_TRY(make_room(&s->scaled, &s->room, w, h));
    FT_TRY(open_scaler(s, p, (int)w, (int)h));
    uint8_t *plane[4] = {s->scaled};
    int stride[4] = {(int)w * 3}, rc = sws_scale(s->sws, p->data, p->of->linesize, 0, p->h, plane, stride);
    if (rc == (int)h) return FT_OK;
    return FT_FAIL(rc == AVERROR(ENOMEM) ? FT_ENOMEM : FT_EDATA, "a frame of %dx%d cannot be scaled (%s)", p->w, p->h,
                   rc < 0 ? av_err2str(rc) : "too few rows");
}

/* Pixel (x, y) of the upright picture of w x h is which one of the stored picture */
static void turn(uint8_t *to, const uint8_t *from, int w, int h, const ft_view *v)
{
    bool lying = v->rotation == 90 || v->rotation == 270;
    int stored_w = lying ? h : w, stored_h = lying ? w : h;
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++) {
            int sx = v->rotation == 90 ? y : v->rotation == 180 ? stored_w - 1 - x : v->rotation == 270 ? stored_w - 1 - y : x;
            int sy = v->rotation == 90 ? stored_h - 1 - x : v->rotation == 180 ? stored_h - 1 - y : v->rotation == 270 ? x : y;
            if (v->mirrored) sx = stored_w - 1 - sx;
            memcpy(to + ((size_t)y * (size_t)w + (size_t)x) * 3, from + ((size_t)sy * (size_t)stored_w + (size_t)sx) * 3, 3);
        }
}

/* Width and height of the stored picture in one unit, so that they stand to each other as they are seen */
static int shape(part *p, const AVFrame *f, AVRational aspect, const ft_view *v, int64_t *w, int64_t *h)
{
    if (!ft_picture_size_is_good(f->width, f->height)) return FT_FAIL(FT_EDATA, "frames of %dx%d", f->width, f->height);
    *p = (part){f, {f->data[0], f->data[1], f->data[2], f->data[3]}, f->width, f->height};
    if (v->crop.w > 0) FT_TRY(cut(p, v));
    bool square = aspect.num <= 0 || aspect.den <= 0;
    *w = (int64_t)p->w * (square ? 1 : aspect.num), *h = (int64_t)p->h * (square ? 1 : aspect.den);
    return FT_OK;
}

int ft_picture_square(ft_scaler *s, const AVFrame *f, AVRational aspect, const ft_view *v, int size, uint8_t *rgb)
{
    part p;
    int64_t wide, high;
    FT_TRY(shape(&p, f, aspect, v, &wide, &high));
    int64_t w = wide < high ? size : (wide * size + high / 2) / high, h = wide < high ? (high * size + wide / 2) / wide : size;
    FT_TRY(scale(s, &p, w, h));
    /* what is seen on the left or on top of a turned picture is stored at the other end */
    bool other = (v->rotation == 180 || (v->rotation == 90 && h > w) || (v->rotation == 270 && w > h)) != (v->mirrored && w > h);
    int64_t spare = w + h - 2 * size, at = v->end == FT_CROP_FIRST ? 0 : v->end == FT_CROP_LAST ? spare : spare / 2;
    if (other) at = spare - at;
    int64_t x0 = w > h ? at : 0, y0 = w > h ? 0 : at;
    bool turned = v->rotation || v->mirrored;
    if (turned) FT_TRY(make_room(&s->turned, &s->turned_room, size, size));
    uint8_t *to = turned ? s->turned : rgb;
    for (int y = 0; y < size; y++)
        memcpy(to + (size_t)y * (size_t)size * 3, s->scaled + ((size_t)(y0 + y) * (size_t)w + (size_t)x0) * 3, (size_t)size * 3);
    if (turned) turn(rgb, to, size, size, v);
    return FT_OK;
}

int ft_picture_whole(ft_scaler *s, const AVFrame *f, AVRational aspect, const ft_view *v, int most, uint8_t **rgb, int *w, int *h)
{
    part p;
    int64_t wide, high;
    FT_TRY(shape(&p, f, aspect, v, &wide, &high));
    int64_t pw = wide < high ? (wide * most + high / 2) / high : most, ph = wide < high ? most : (high * most + wide / 2) / wide;
    if (pw < 1) pw = 1;
    if (ph < 1) ph = 1;
    bool lying = v->rotation == 90 || v->rotation == 270;
    *w = (int)(lying ? ph : pw), *h = (int)(lying ? pw : ph);
    FT_TRY(scale(s, &p, pw, ph));
    if (!(*rgb = ft_alloc((size_t)(pw * ph) * 3))) return FT_FAIL(FT_ENOMEM, "no memory for a picture of %dx%d", *w, *h);
    turn(*rgb, s->scaled, *w, *h, v);
    return FT_OK;
}
