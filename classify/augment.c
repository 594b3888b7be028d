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
    BRIGHTNESS,
    COLOR,
    CONTRAST,
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

/* one colour operation over the whole clip of `n` pixels */
static void colour(const op *o, float *v, int64_t n)
{
    float m = (float)o->m;
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

void ft_augment(ft_view view, const uint8_t *rgb, int frames, int size, uint64_t seed, uint64_t step, uint32_t item, float *out)
{
    int64_t plane = (int64_t)size * size, n = plane * frames;
    if (view == FT_VIEW_NONE) {
        for (int64_t i = 0; i < 3 * n; i++) out[i] = ft_classifier_input(rgb[i]);
        return;
    }
    ft_rng r = ft_rng_make(seed, 0xA06 + item * 2, step), rs = ft_rng_make(seed, 0xA07 + item * 2, step);
    double zoom = ft_rng_range(&r, 0.8, 1.0), room = (1 - zoom) * size / 2, side = ft_rng_bits(&r) & 1 ? -1 : 1;
    affine map = {zoom * side, 0, ft_rng_range(&r, -room, room), 0, zoom, ft_rng_range(&r, -room, room)};
    op o[2] = {{IDENTITY, 0}, {IDENTITY, 0}};
    if (view == FT_VIEW_STRONG)
        for (int k = 0; k < 2; k++) {
            o[k] = draw_op(&rs, size);
            map = then(geometry(&o[k]), map);
        }
    double half = (size - 1) / 2.0;
    for (int y = 0; y < size; y++)
        for (int x = 0; x < size; x++) { /* where the pixel comes from is the same in every frame */
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
    if (view == FT_VIEW_STRONG) {
        for (int k = 0; k < 2; k++) colour(&o[k], out, n);
        int side_px = (int)(ft_rng_range(&rs, 0, 0.5) * size), cx = (int)ft_rng_below(&rs, size),
            cy = (int)ft_rng_below(&rs, size);
        for (int f = 0; f < frames; f++)
            for (int y = cy - side_px / 2; y < cy + side_px / 2; y++)
                for (int x = cx - side_px / 2; x < cx + side_px / 2; x++)
                    if (x >= 0 && y >= 0 && x < size && y < size)
                        for (int k = 0; k < 3; k++) out[(f * plane + (int64_t)y * size + x) * 3 + k] = 128;
    }
    for (int64_t i = 0; i < 3 * n; i++) out[i] = ft_classifier_input(out[i]);
}
