#include "classify/views.h"

#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/base/streams.h"
#include "kernels/kernel.h"

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

/* of RandAugment's operations, those of colour */
static const ft_colour colour_of[N_OPS] = {
    [AUTOCONTRAST] = FT_AUTOCONTRAST, [EQUALIZE] = FT_EQUALIZE,   [BRIGHTNESS] = FT_BRIGHTNESS, [COLOR] = FT_COLOR,
    [CONTRAST] = FT_CONTRAST,         [SHARPNESS] = FT_SHARPNESS, [POSTERIZE] = FT_POSTERIZE,   [SOLARIZE] = FT_SOLARIZE};

static void cut(float *cutout, int x, int y, int side) { cutout[0] = (float)x, cutout[1] = (float)y, cutout[2] = (float)side; }

/* The strong view of the field's released script: two operations at a fixed level, each with probability 1/2, both on the clip as
 * it is, so that only the last one shows; after each a cutout of 16 pixels of 224, elsewhere in every frame. */
static affine released_strong(int frames, int size, affine weak, ft_rng *r, op *shown, float *cutout)
{
    double pixel = size / 224.0;
    affine map = weak;
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
        map = then(geometry(&o), weak);
        *shown = o;
        for (int f = 0; f < frames; f++)
            cut(cutout + 3 * f, (int)ft_rng_below(r, size), (int)ft_rng_below(r, size), (int)fmax(2, 16 * pixel));
    }
    return map;
}

ft_views ft_views_of(const char *name)
{
    return !strcmp(name, "released") ? FT_VIEWS_RELEASED : !strcmp(name, "horizontal") ? FT_VIEWS_HORIZONTAL : FT_VIEWS_DIHEDRAL;
}

void ft_draw_view(bool strong, ft_views views, int frames, int size, uint64_t seed, uint64_t step, uint32_t item, float *view,
                  float *cutout)
{
    bool released = views == FT_VIEWS_RELEASED;
    ft_rng r = ft_rng_make(seed, FT_STREAM_VIEWS + item * 2, step), rs = ft_rng_make(seed, FT_STREAM_VIEWS + 1 + item * 2, step);
    double zoom = released ? 224 / round(ft_rng_range(&r, 256, 320)) : ft_rng_range(&r, 0.8, 1.0), room = (1 - zoom) * size / 2,
           side = ft_rng_bits(&r) & 1 ? -1 : 1;
    affine map = {zoom * side, 0, ft_rng_range(&r, -room, room), 0, zoom, ft_rng_range(&r, -room, room)};
    if (views == FT_VIEWS_DIHEDRAL) {
        if (ft_rng_bits(&r) & 1) map.e = -map.e;
        if (ft_rng_bits(&r) & 1) map = (affine){0, map.a, map.c, map.e, 0, map.f}; /* mirrored at the diagonal */
    }
    op o[2] = {{IDENTITY, 0}, {IDENTITY, 0}};
    for (int i = 0; i < 3 * frames; i++) cutout[i] = 0;
    if (strong && released) map = released_strong(frames, size, map, &rs, o, cutout);
    else if (strong) {
        for (int k = 0; k < 2; k++) {
            o[k] = draw_op(&rs, size);
            map = then(geometry(&o[k]), map);
        }
        int square = (int)(ft_rng_range(&rs, 0, 0.5) * size), x = (int)ft_rng_below(&rs, size), y = (int)ft_rng_below(&rs, size);
        for (int f = 0; f < frames; f++) cut(cutout + 3 * f, x, y, square);
    }
    const double numbers[FT_VIEW_NUMBERS] = {
        map.a, map.b, map.c, map.d, map.e, map.f, colour_of[o[0].kind], o[0].m, colour_of[o[1].kind], o[1].m};
    for (int i = 0; i < FT_VIEW_NUMBERS; i++) view[i] = (float)numbers[i];
}
