/* What is kept of a video's picture. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/content.h"
#include "common/io/picture.h"
#include "common/io/video_decoder.h"

static bool rectangle(const char *text, ft_rect *r)
{
    int end = 0;
    return sscanf(text, "%d,%d,%d,%d%n", &r->x, &r->y, &r->w, &r->h, &end) == 4 && !text[end] && r->x >= 0 && r->y >= 0 &&
           r->w > 0 && r->h > 0;
}

static const struct {
    const char *name;
    bool takes[FT_CROP_LAST + 1];
} views[] = {{"centre", {[FT_CROP_CENTRE] = true}}, {"left", {[FT_CROP_FIRST] = true}}, {"3crop", {true, true, true}}};

static int view_of(const char *name) /* -1: not known */
{
    for (int i = 0; i < (int)(sizeof views / sizeof *views); i++)
        if (!strcmp(views[i].name, name)) return i;
    return -1;
}

bool ft_view_known(const char *view) { return view_of(view) >= 0; }
bool ft_view_takes(const char *view, ft_crop crop) { return views[ft_view_known(view) ? view_of(view) : 0].takes[crop]; }

int ft_view_crops(const char *view)
{
    int n = 0;
    for (int crop = FT_CROP_FIRST; crop <= FT_CROP_LAST; crop++) n += ft_view_takes(view, (ft_crop)crop);
    return n;
}

bool ft_video_crop_known(const char *crop)
{
    ft_rect r;
    return !strcmp(crop, "none") || !strcmp(crop, "auto") || !strcmp(crop, "dicom-region") || rectangle(crop, &r);
}

enum { MOST_LOOKS = 24 };
typedef struct {
    const ft_video *v;
    ft_scaler scaler;
    uint8_t *rgb[MOST_LOOKS];
    int n, w, h; /* only those of the first one's shape */
} looks;

static int look(void *of, int64_t k, const AVFrame *frame, AVRational aspect)
{
    looks *l = of;
    int w, h;
    (void)k;
    int rc = ft_picture_whole(&l->scaler, frame, aspect, &(ft_view){{0, 0, 0, 0}, FT_CROP_CENTRE, l->v->rotation, l->v->mirrored},
                              FT_SHOWN, &l->rgb[l->n], &w, &h);
    if (rc < 0) return FT_FAIL(rc, "%s: %s", l->v->path, ft_error_message());
    if (l->n == 0) l->w = w, l->h = h;
    if (w == l->w && h == l->h) l->n++;
    else ft_free(l->rgb[l->n]), l->rgb[l->n] = NULL;
    return FT_OK;
}

/* The picture in the middle of `shown`, what is not kept darker and parted by a line */
static void show(const looks *l, const ft_rect *kept, uint8_t *shown)
{
    int x0 = (FT_SHOWN - l->w) / 2, y0 = (FT_SHOWN - l->h) / 2;
    const uint8_t *rgb = l->rgb[l->n / 2];
    memset(shown, 0, (size_t)FT_SHOWN * FT_SHOWN * 3);
    for (int y = 0; y < l->h; y++)
        for (int x = 0; x < l->w; x++) {
            int u = x - kept->x, v = y - kept->y;
            bool in = u >= 0 && v >= 0 && u < kept->w && v < kept->h,
                 edge = in && (u == 0 || v == 0 || u == kept->w - 1 || v == kept->h - 1);
            uint8_t *to = shown + ((y0 + y) * FT_SHOWN + x0 + x) * 3;
            for (int c = 0; c < 3; c++) to[c] = edge ? (c == 1 ? 255 : 0) : (uint8_t)(rgb[(y * l->w + x) * 3 + c] / (in ? 1 : 3));
        }
}

int ft_video_crop(ft_video *v, const char *crop, uint8_t *shown)
{
    bool lying = v->rotation == 90 || v->rotation == 270, find = !strcmp(crop, "auto"), region = !strcmp(crop, "dicom-region");
    int W = lying ? v->height : v->width, H = lying ? v->width : v->height, rc = FT_OK;
    ft_rect r = {0, 0, 0, 0}, small;
    looks l = {.v = v};
    if (!strcmp(crop, "none")) return FT_OK;
    if (region && v->region.w == 0)
        return FT_FAIL(FT_EDATA, "%s: %s. --crop auto looks for the picture, --crop x,y,w,h says where it is", v->path,
                       v->dicom ? "says of no ultrasound region where it lies"
                                : "not a DICOM file, whose ultrasound region could be kept");
    if (region) r = v->region;
    else if (!find && !rectangle(crop, &r)) return FT_FAIL(FT_ECONFIG, "the crop is %s; " FT_CROPS " is needed", crop);
    if (r.w > W || r.h > H || r.x > W - r.w || r.y > H - r.h)
        return FT_FAIL(FT_EDATA, "%s: the crop %s does not lie inside of its picture of %dx%d", v->path, crop, W, H);
    if (find || shown) {
        int64_t index[MOST_LOOKS], n = !find ? 1 : v->frames < MOST_LOOKS ? v->frames : MOST_LOOKS;
        for (int64_t i = 0; i < n; i++) index[i] = n > 1 ? (v->frames - 1) * i / (n - 1) : 0;
        rc = ft_video_visit(v, index, n, look, &l);
        if (rc == FT_OK && find) rc = ft_content_box(l.rgb, l.n, l.w, l.h, &small);
    }
    if (rc == FT_OK && find && (small.w < l.w || small.h < l.h)) {
        r.x = small.x * W / l.w, r.y = small.y * H / l.h; /* out to whole pixels */
        r.w = ((small.x + small.w) * W + l.w - 1) / l.w - r.x, r.h = ((small.y + small.h) * H + l.h - 1) / l.h - r.y;
    }
    v->crop = r;
    if (r.w == 0) r.w = W, r.h = H;
    small = (ft_rect){r.x * l.w / W, r.y * l.h / H, 0, 0};
    small.w = (r.x + r.w) * l.w / W - small.x, small.h = (r.y + r.h) * l.h / H - small.y;
    if (rc == FT_OK && shown) show(&l, &small, shown);
    for (int i = 0; i < MOST_LOOKS; i++) ft_free(l.rgb[i]);
    ft_scaler_free(&l.scaler);
    return rc;
}
