#include "classify/augment.h"

#include <math.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/rng.h"

/* output pixel -> source pixel, both relative to the centre: (x, y) -> (a x + b y + c, d x + e y + f) */
typedef struct {
    double a, b, c, d, e, f;
} affine;

static affine then(affine p, affine q) /* q after p */
{
    return (affine){q.a * p.a + q.b * p.d, q.a * p.b + q.b * p.e, q.a * p.c + q.b * p.f + q.c,
                    q.d * p.a + q.e * p.d, q.d * p.b + q.e * p.e, q.d * p.c + q.e * p.f + q.f};
}

typedef enum {
    IDENTITY,
    AUTOCONTRAST,
    EQUALIZE,
    BRIGHTNESS,
    COLOR,
    CONTRAST,
    SHARPNESS,
    POSTERIZE,
    SOLARIZE,
    ROTATE,
    SHEAR_X,
    SHEAR_Y,
    TRANSLATE_X,
    TRANSLATE_Y,
    N_OPS
} op_kind;

typedef struct {
    op_kind kind;
    double m;
} op;

static op draw_op(ft_rng *r, int size)
{
    op o = {(op_kind)ft_rng_below(r, N_OPS), 0};
    switch (o.kind) {
        case BRIGHTNESS:
        case COLOR:
        case SHARPNESS:
        case CONTRAST: o.m = ft_rng_range(r, 0.05, 1.95); break;
        case POSTERIZE: o.m = (double)(4 + ft_rng_below(r, 5)); break; /* bits kept */
        case SOLARIZE: o.m = ft_rng_range(r, 0, 256); break;
        case ROTATE: o.m = ft_rng_range(r, -30, 30) * 3.14159265358979 / 180; break;
        case SHEAR_X:
        case SHEAR_Y: o.m = ft_rng_range(r, -0.3, 0.3); break;
        case TRANSLATE_X:
        case TRANSLATE_Y: o.m = ft_rng_range(r, -0.3, 0.3) * size; break;
        default: break;
    }
    return o;
}

static affine geometry(const op *o)
{
    affine a = {1, 0, 0, 0, 1, 0};
    if (o->kind == ROTATE) a = (affine){cos(o->m), -sin(o->m), 0, sin(o->m), cos(o->m), 0};
    if (o->kind == SHEAR_X) a.b = o->m;
    if (o->kind == SHEAR_Y) a.d = o->m;
    if (o->kind == TRANSLATE_X) a.c = o->m;
    if (o->kind == TRANSLATE_Y) a.f = o->m;
    return a;
}

static float grey(const float *p) { return 0.299f * p[0] + 0.587f * p[1] + 0.114f * p[2]; }
static float clip255(float v) { return v < 0 ? 0 : v > 255 ? 255 : v; }

/* every channel's histogram over the whole clip made flat, with Pillow's table */
static void equalize(float *v, int64_t n)
{
    for (int k = 0; k < 3; k++) {
        int64_t count[256] = {0}, last = 0, sum = 0;
        for (int64_t i = 0; i < n; i++) count[(int)(clip255(v[3 * i + k]) + 0.5f)]++;
        for (int b = 0; b < 256; b++)
            if (count[b]) last = count[b];
        int64_t step = (n - last) / 255;
        if (step == 0) continue;
        float to[256];
        sum = step / 2;
        for (int b = 0; b < 256; b++) to[b] = (float)(sum / step < 255 ? sum / step : 255), sum += count[b];
        for (int64_t i = 0; i < n; i++) v[3 * i + k] = to[(int)(clip255(v[3 * i + k]) + 0.5f)];
    }
}

/* away from (m > 1) or towards (m < 1) Pillow's smooth filter, 1/13 [1 1 1; 1 5 1; 1 1 1]; the border stays */
static void sharpen(float m, float *v, int frames, int size)
{
    int64_t row = 3 * (int64_t)size;
    float above[3 * 512], now[3 * 512];
    for (int f = 0; f < frames; f++) {
        float *p = v + (int64_t)f * size * row;
        memcpy(above, p, (size_t)row * sizeof *p);
        for (int y = 1; y + 1 < size; y++) {
            float *at = p + y * row;
            const float *below = at + row;
            memcpy(now, at, (size_t)row * sizeof *p);
            for (int64_t i = 3; i < row - 3; i++) {
                float ring =
                    above[i - 3] + above[i] + above[i + 3] + now[i - 3] + now[i + 3] + below[i - 3] + below[i] + below[i + 3];
                float smooth = (ring + 5 * now[i]) * (1.0f / 13);
                at[i] = clip255(smooth + m * (now[i] - smooth));
            }
            memcpy(above, now, (size_t)row * sizeof *p);
        }
    }
}

/* one colour operation over the whole clip */
static void colour(const op *o, float *v, int frames, int size)
{
    int64_t n = (int64_t)frames * size * size;
    float m = (float)o->m;
    if (o->kind == EQUALIZE) equalize(v, n);
    if (o->kind == SHARPNESS) sharpen(m, v, frames, size);
    if (o->kind == AUTOCONTRAST) {
        for (int k = 0; k < 3; k++) {
            float low = 255, high = 0;
            for (int64_t i = 0; i < n; i++) low = fminf(low, v[3 * i + k]), high = fmaxf(high, v[3 * i + k]);
            if (high - low < 1) continue;
            for (int64_t i = 0; i < n; i++) v[3 * i + k] = (v[3 * i + k] - low) * 255 / (high - low);
        }
    } else if (o->kind == BRIGHTNESS) {
        for (int64_t i = 0; i < 3 * n; i++) v[i] = clip255(v[i] * m);
    } else if (o->kind == COLOR) {
        for (int64_t i = 0; i < n; i++) {
            float g = grey(v + 3 * i);
            for (int k = 0; k < 3; k++) v[3 * i + k] = clip255(g + m * (v[3 * i + k] - g));
        }
    } else if (o->kind == CONTRAST) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)grey(v + 3 * i);
        float mean = (float)(sum / (double)n);
        for (int64_t i = 0; i < 3 * n; i++) v[i] = clip255(mean + m * (v[i] - mean));
    } else if (o->kind == POSTERIZE) {
        float q = (float)(1 << (8 - (int)o->m));
        for (int64_t i = 0; i < 3 * n; i++) v[i] = floorf(v[i] / q) * q;
    } else if (o->kind == SOLARIZE) {
        for (int64_t i = 0; i < 3 * n; i++)
            if (v[i] >= m) v[i] = 255 - v[i];
    }
}

bool ft_augment_colour(const char *name, double m, int frames, int size, float *clip)
{
    static const char *const names[N_OPS] = {
        [AUTOCONTRAST] = "autocontrast", [EQUALIZE] = "equalize",   [BRIGHTNESS] = "brightness", [COLOR] = "color",
        [CONTRAST] = "contrast",         [SHARPNESS] = "sharpness", [POSTERIZE] = "posterize",   [SOLARIZE] = "solarize"};
    for (int k = 0; k < N_OPS; k++)
        if (names[k] && !strcmp(names[k], name)) {
            colour(&(op){(op_kind)k, m}, clip, frames, size);
            return true;
        }
    return false;
}

/* out (F,S,S,3) in 0..255: where each pixel comes from is the same in every frame; outside: 128 */
static void warp(affine map, const uint8_t *rgb, int frames, int size, float *out)
{
    int64_t plane = (int64_t)size * size;
    double half = (size - 1) / 2.0;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) {
            double u = map.a * (x - half) + map.b * (y - half) + map.c + half,
                   v = map.d * (x - half) + map.e * (y - half) + map.f + half;
            int64_t at = (int64_t)y * size + x;
            if (u < -0.5 || v < -0.5 || u > size - 0.5 || v > size - 0.5) {
                for (int f = 0; f < frames; f++)
                    for (int k = 0; k < 3; k++) out[(f * plane + at) * 3 + k] = 128;
                continue;
            }
            u = fmin(fmax(u, 0), size - 1), v = fmin(fmax(v, 0), size - 1);
            int x0 = (int)u, y0 = (int)v, x1 = x0 + (x0 + 1 < size), y1 = y0 + (y0 + 1 < size);
            float fx = (float)(u - x0), fy = (float)(v - y0), w[4] = {(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
            int64_t from[4] = {((int64_t)y0 * size + x0) * 3, ((int64_t)y0 * size + x1) * 3, ((int64_t)y1 * size + x0) * 3,
                               ((int64_t)y1 * size + x1) * 3};
            for (int f = 0; f < frames; f++) {
                const uint8_t *p = rgb + (int64_t)f * plane * 3;
                float *q = out + (f * plane + at) * 3;
                for (int k = 0; k < 3; k++)
                    q[k] = w[0] * p[from[0] + k] + w[1] * p[from[1] + k] + w[2] * p[from[2] + k] + w[3] * p[from[3] + k];
            }
        }
}

/* a grey square of `side` pixels around (x, y) of one frame */
static void cutout(float *frame, int size, int x, int y, int side)
{
    for (int v = y - side / 2; v < y + side / 2; v++)
        for (int u = x - side / 2; u < x + side / 2; u++)
            if (u >= 0 && v >= 0 && u < size && v < size)
                for (int k = 0; k < 3; k++) frame[3 * ((int64_t)v * size + u) + k] = 128;
}

/* The strong view of the field's released script: two operations at a fixed level, each with probability 1/2, both on the clip as
 * it is, so that only the last one shows; after each a cutout of 16 pixels of 224, elsewhere in every frame. */
static void released_strong(const uint8_t *rgb, int frames, int size, affine weak, ft_rng *r, float *out)
{
    double pixel = size / 224.0;
    int64_t frame = 3 * (int64_t)size * size;
    warp(weak, rgb, frames, size, out);
    for (int k = 0; k < 2; k++) {
        op o = {(op_kind)ft_rng_below(r, N_OPS), 0};
        bool fires = ft_rng_bits(r) & 1;
        double sign = ft_rng_bits(r) & 1 ? 1 : -1;
        if (!fires) continue;
        switch (o.kind) {
            case ROTATE: o.m = sign * 30 * 3.14159265358979 / 180; break;
            case SHEAR_X:
            case SHEAR_Y: o.m = sign * 0.3; break;
            case TRANSLATE_X:
            case TRANSLATE_Y: o.m = sign * 10 * pixel; break;
            case POSTERIZE: o.m = 4; break;
            case SOLARIZE: o.m = 256; break; /* nothing is as bright */
            default: o.m = 1.9;
        }
        warp(then(geometry(&o), weak), rgb, frames, size, out);
        colour(&o, out, frames, size);
        for (int f = 0; f < frames; f++)
            cutout(out + f * frame, size, (int)ft_rng_below(r, size), (int)ft_rng_below(r, size), (int)fmax(2, 16 * pixel));
    }
}

void ft_augment(ft_view view, bool released, const uint8_t *rgb, int frames, int size, uint64_t seed, uint64_t step,
                uint32_t item, float *out)
{
    int64_t n = 3 * (int64_t)size * size * frames;
    if (view == FT_VIEW_NONE) {
        for (int64_t i = 0; i < n; i++) out[i] = ft_classifier_input(rgb[i]);
        return;
    }
    ft_rng r = ft_rng_make(seed, 0xA06 + item * 2, step), rs = ft_rng_make(seed, 0xA07 + item * 2, step);
    double zoom = released ? 224 / round(ft_rng_range(&r, 256, 320)) : ft_rng_range(&r, 0.8, 1.0), room = (1 - zoom) * size / 2,
           side = ft_rng_bits(&r) & 1 ? -1 : 1;
    affine map = {zoom * side, 0, ft_rng_range(&r, -room, room), 0, zoom, ft_rng_range(&r, -room, room)};
    if (view == FT_VIEW_STRONG && released) released_strong(rgb, frames, size, map, &rs, out);
    else if (view == FT_VIEW_STRONG) {
        op o[2];
        for (int k = 0; k < 2; k++) {
            o[k] = draw_op(&rs, size);
            map = then(geometry(&o[k]), map);
        }
        warp(map, rgb, frames, size, out);
        for (int k = 0; k < 2; k++) colour(&o[k], out, frames, size);
        int square = (int)(ft_rng_range(&rs, 0, 0.5) * size), x = (int)ft_rng_below(&rs, size), y = (int)ft_rng_below(&rs, size);
        for (int f = 0; f < frames; f++) cutout(out + 3 * (int64_t)f * size * size, size, x, y, square);
    } else warp(map, rgb, frames, size, out);
    for (int64_t i = 0; i < n; i++) out[i] = ft_classifier_input(out[i]);
}
