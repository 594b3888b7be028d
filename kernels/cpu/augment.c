/* Views of clips: a warp, two operations of colour, a cutout. A thread does a clip. */
#include "kernels/augment.h"
#include "kernels/cpu/cpu.h"

typedef struct {
    int64_t frames, height, width, plane, values; /* values: of a clip */
} shape;

static shape shape_of(const ft_buf *rgb)
{
    int64_t plane = rgb->dim[2] * rgb->dim[3];
    return (shape){rgb->dim[1], rgb->dim[2], rgb->dim[3], plane, rgb->dim[1] * plane * 3};
}

int FT_PREPARE(augment)(ft_call *c)
{
    c->work_size = (size_t)ft_cpu_threads() * 2 * 3 * (size_t)c->in[0]->dim[3] * sizeof(float); /* two rows: sharpen */
    return FT_OK;
}

/* where each pixel comes from is the same in every frame */
static void warp(const shape *s, const float *map, const uint8_t *rgb, float *out)
{
    for (int64_t y = 0; y < s->height; y++)
        for (int64_t x = 0; x < s->width; x++) {
            ft_place p = ft_place_of(map, s->height, s->width, y, x);
            for (int64_t f = 0; f < s->frames; f++) {
                float *q = out + (f * s->plane + y * s->width + x) * 3;
                for (int k = 0; k < 3; k++) q[k] = p.outside ? 128 : ft_place_value(&p, rgb + f * s->plane * 3, k);
            }
        }
}

static void look_at(const shape *s, ft_colour kind, const float *v, ft_shades *shades)
{
    int64_t n = s->values / 3;
    if (kind == FT_AUTOCONTRAST)
        for (int k = 0; k < 3; k++) {
            float low = 255, high = 0;
            for (int64_t i = 0; i < n; i++) low = fminf(low, v[3 * i + k]), high = fmaxf(high, v[3 * i + k]);
            shades->low[k] = low, shades->high[k] = high;
        }
    if (kind == FT_CONTRAST) {
        double sum = 0;
        for (int64_t i = 0; i < n; i++) sum += (double)ft_grey1(v + 3 * i);
        shades->mean = (float)(sum / (double)n);
    }
    if (kind == FT_EQUALIZE)
        for (int k = 0; k < 3; k++) {
            int32_t count[256] = {0};
            for (int64_t i = 0; i < n; i++) count[ft_level(v[3 * i + k])]++;
            ft_flat_table(count, n, shades->table[k]);
        }
}

static void sharpen(const shape *s, float m, float *v, float *rows)
{
    int64_t row = 3 * s->width;
    float *above = rows, *now = rows + row;
    for (int64_t f = 0; f < s->frames; f++) {
        float *p = v + f * s->plane * 3;
        memcpy(above, p, (size_t)row * sizeof *p);
        for (int64_t y = 1; y + 1 < s->height; y++) { /* the border stays */
            float *at = p + y * row;
            const float *below = at + row;
            memcpy(now, at, (size_t)row * sizeof *p);
            for (int64_t i = 3; i < row - 3; i++)
                at[i] = ft_sharpen1(m, now[i],
                                    above[i - 3] + above[i] + above[i + 3] + now[i - 3] + now[i + 3] + below[i - 3] + below[i] +
                                        below[i + 3]);
            memcpy(above, now, (size_t)row * sizeof *p);
        }
    }
}

static void colour(const shape *s, ft_colour kind, float m, float *v, float *rows)
{
    ft_shades shades;
    look_at(s, kind, v, &shades);
/* a kind that is known makes a loop that is vectorised */
#define EACH(kind)                                                                                                               \
    case kind:                                                                                                                   \
        for (int64_t i = 0; i < s->values; i += 3) {                                                                             \
            float grey = ft_grey1(v + i);                                                                                        \
            for (int k = 0; k < 3; k++) v[i + k] = ft_colour1(kind, m, v[i + k], k, grey, &shades);                              \
        }                                                                                                                        \
        break;
    switch (kind) {
        case FT_AS_IS: break;
        case FT_SHARPNESS:
            sharpen(s, m, v, rows);
            break;
            EACH(FT_AUTOCONTRAST)
            EACH(FT_EQUALIZE)
            EACH(FT_BRIGHTNESS)
            EACH(FT_COLOR)
            EACH(FT_CONTRAST)
            EACH(FT_POSTERIZE)
            EACH(FT_SOLARIZE)
    }
#undef EACH
}

static void cut_out(const shape *s, const float *cut, float *v)
{
    for (int64_t f = 0; f < s->frames; f++, cut += 3)
        for (int64_t y = 0; y < s->height && cut[2] > 0; y++)
            for (int64_t x = 0; x < s->width; x++)
                for (int k = 0; k < 3 && ft_in_cutout(cut, y, x); k++) v[((f * s->height + y) * s->width + x) * 3 + k] = 128;
}

/* rgb (B, F, H, W, 3), view (B, 10), cutout (B, F, 3) */
void FT_CPU(augment)(const ft_call *c)
{
    const ft_buf *rgb = c->in[0], *view = c->in[1];
    shape s = shape_of(rgb);
    float mean = c->attr->scalar.a, std = c->attr->scalar.b;
#pragma omp parallel for schedule(dynamic)
    for (int64_t b = 0; b < rgb->dim[0]; b++) {
        const uint8_t *from = (const uint8_t *)rgb->data + b * s.values;
        float *to = (float *)c->out[0]->data + b * s.values, *rows = (float *)c->work + ft_cpu_thread_id() * 2 * 3 * s.width;
        if (!view) {
            for (int64_t i = 0; i < s.values; i++) to[i] = ft_normal_input1((float)from[i], mean, std);
            continue;
        }
        const float *v = (const float *)view->data + b * FT_VIEW_NUMBERS;
        warp(&s, v, from, to);
        for (int i = 0; i < 2; i++) colour(&s, (ft_colour)v[6 + 2 * i], v[7 + 2 * i], to, rows);
        if (c->in[2]) cut_out(&s, (const float *)c->in[2]->data + b * s.frames * 3, to);
        for (int64_t i = 0; i < s.values; i++) to[i] = ft_normal_input1(to[i], mean, std);
    }
}
