/* Views of clips, one formula for both backends: where a pixel comes from, and operations of colour on values 0..255 as
 * Pillow's (RandAugment, Cubuk et al. 2020). See ft_augment in common/graph/graph.h. */
#ifndef FT_KERNELS_AUGMENT_H
#define FT_KERNELS_AUGMENT_H

#include "kernels/elem.h"

/* A frame's pixel as the weighted mean of four. */
typedef struct {
    int64_t from[4];
    float weight[4];
    bool outside;
} ft_place;

/* map: six numbers that send a pixel of the view to one of the clip, both counted from the centre */
FT_FN ft_place ft_place_of(const float *map, int64_t height, int64_t width, int64_t y, int64_t x)
{
    ft_place p;
    float cx = 0.5f * (float)(width - 1), cy = 0.5f * (float)(height - 1), dx = (float)x - cx, dy = (float)y - cy,
          u = map[0] * dx + map[1] * dy + map[2] + cx, v = map[3] * dx + map[4] * dy + map[5] + cy;
    p.outside = !(u >= -0.5f && v >= -0.5f && u <= (float)width - 0.5f && v <= (float)height - 0.5f);
    u = p.outside || u < 0 ? 0 : u; /* beyond the last pixel both neighbours are that pixel */
    v = p.outside || v < 0 ? 0 : v;
    int64_t x0 = (int64_t)u, y0 = (int64_t)v, x1 = x0 + (x0 + 1 < width), y1 = y0 + (y0 + 1 < height);
    float fx = u - (float)x0, fy = v - (float)y0;
    p.from[0] = y0 * width + x0, p.from[1] = y0 * width + x1, p.from[2] = y1 * width + x0, p.from[3] = y1 * width + x1;
    p.weight[0] = (1 - fx) * (1 - fy), p.weight[1] = fx * (1 - fy), p.weight[2] = (1 - fx) * fy, p.weight[3] = fx * fy;
    return p;
}
/* channel k of that pixel in the frame at rgb */
FT_FN float ft_place_value(const ft_place *p, const uint8_t *rgb, int k)
{
    return p->weight[0] * (float)rgb[3 * p->from[0] + k] + p->weight[1] * (float)rgb[3 * p->from[1] + k] +
           p->weight[2] * (float)rgb[3 * p->from[2] + k] + p->weight[3] * (float)rgb[3 * p->from[3] + k];
}

FT_FN float ft_clip255(float v) { return v < 0 ? 0 : v > 255 ? 255 : v; }
FT_FN float ft_grey1(const float *rgb) { return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2]; }
FT_FN int ft_level(float v) { return (int)(ft_clip255(v) + 0.5f); }

/* What an operation must know of the whole clip. */
typedef struct {
    float low[3], high[3]; /* autocontrast */
    float mean;            /* contrast: of the grey values */
    float table[3][256];   /* equalize */
} ft_shades;

/* one value, where no neighbour is needed; grey: of its pixel */
FT_FN_INLINE float ft_colour1(ft_colour kind, float m, float v, int k, float grey, const ft_shades *s)
{
    switch (kind) {
        case FT_AUTOCONTRAST: return s->high[k] - s->low[k] < 1 ? v : (v - s->low[k]) * 255 / (s->high[k] - s->low[k]);
        case FT_EQUALIZE: return s->table[k][ft_level(v)];
        case FT_BRIGHTNESS: return ft_clip255(v * m);
        case FT_COLOR: return ft_clip255(grey + m * (v - grey));
        case FT_CONTRAST: return ft_clip255(s->mean + m * (v - s->mean));
        case FT_POSTERIZE: {
            float q = (float)(1 << (8 - (int)m));
            return floorf(v / q) * q;
        }
        case FT_SOLARIZE: return v >= m ? 255 - v : v;
        case FT_SHARPNESS: /* of the neighbours too: ft_sharpen1 */
        case FT_AS_IS: break;
    }
    return v;
}

/* away from (m > 1) or towards (m < 1) Pillow's smooth filter, 1/13 [1 1 1; 1 5 1; 1 1 1]; ring: the sum of the eight around v */
FT_FN float ft_sharpen1(float m, float v, float ring)
{
    float smooth = (ring + 5 * v) * (1.0f / 13);
    return ft_clip255(smooth + m * (v - smooth));
}

/* Pillow's table that makes a channel's histogram flat; count: its n values by level */
FT_FN void ft_flat_table(const int32_t *count, int64_t n, float *table)
{
    int64_t last = 0;
    for (int b = 0; b < 256; b++)
        if (count[b]) last = count[b];
    int64_t step = (n - last) / 255, sum = step / 2;
    for (int b = 0; b < 256; b++) {
        table[b] = step == 0 ? (float)b : (float)(sum / step < 255 ? sum / step : 255);
        sum += count[b];
    }
}

/* a grey square of `side` pixels around (x, y): cut[3] */
FT_FN bool ft_in_cutout(const float *cut, int64_t y, int64_t x)
{
    int64_t half = (int64_t)cut[2] / 2, dx = x - (int64_t)cut[0], dy = y - (int64_t)cut[1];
    return dx >= -half && dx < half && dy >= -half && dy < half;
}

FT_FN float ft_normal_input1(float v, float mean, float std) { return (v * (1.0f / 255.0f) - mean) * (1.0f / std); }

#endif
