#include "gen/flow.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

/* ---- Lucas-Kanade ---------------------------------------------------------------------------------------------------------- */

enum { RADIUS = 4, ROUNDS = 4, COARSEST = 12, MOST_LEVELS = 6 };

static float at(const float *p, int n, int x, int y)
{
    x = x < 0 ? 0 : x >= n ? n - 1 : x;
    y = y < 0 ? 0 : y >= n ? n - 1 : y;
    return p[y * n + x];
}

static float bilinear(const float *p, int n, float x, float y)
{
    float fx = floorf(x), fy = floorf(y), ax = x - fx, ay = y - fy;
    int ix = (int)fx, iy = (int)fy;
    return (1 - ay) * ((1 - ax) * at(p, n, ix, iy) + ax * at(p, n, ix + 1, iy)) +
           ay * ((1 - ax) * at(p, n, ix, iy + 1) + ax * at(p, n, ix + 1, iy + 1));
}

static void halve(const float *p, int n, float *out)
{
    for (int y = 0; y < n / 2; y++)
        for (int x = 0; x < n / 2; x++)
            out[y * (n / 2) + x] = 0.25f * (p[2 * y * n + 2 * x] + p[2 * y * n + 2 * x + 1] + p[(2 * y + 1) * n + 2 * x] +
                                            p[(2 * y + 1) * n + 2 * x + 1]);
}

/* sums over windows of side 2 r + 1, edges cut */
static void box(float *p, int n, int r, float *row)
{
    for (int pass = 0; pass < 2; pass++) {
        int step = pass ? n : 1, other = pass ? 1 : n;
        for (int k = 0; k < n; k++) {
            float *line = p + k * other, sum = 0;
            for (int i = 0; i < n; i++) row[i] = line[i * step];
            for (int i = 0; i < r && i < n; i++) sum += row[i];
            for (int i = 0; i < n; i++) {
                if (i + r < n) sum += row[i + r];
                if (i - r - 1 >= 0) sum -= row[i - r - 1];
                line[i * step] = sum;
            }
        }
    }
}

/* One level: flow is corrected in rounds, b warped towards a by what is known. work: 5 planes and a row. */
static void refine(const float *a, const float *b, int n, float *flow, float *work)
{
    int pixels = n * n;
    float *xx = work, *xy = xx + pixels, *yy = xy + pixels, *xt = yy + pixels, *yt = xt + pixels, *row = yt + pixels;
    for (int round = 0; round < ROUNDS; round++) {
        for (int y = 0; y < n; y++)
            for (int x = 0; x < n; x++) {
                int i = y * n + x;
                float gx = 0.5f * (at(a, n, x + 1, y) - at(a, n, x - 1, y)),
                      gy = 0.5f * (at(a, n, x, y + 1) - at(a, n, x, y - 1));
                /* linearised at each neighbour's own flow, so that a window solves for one flow and stays smooth */
                float gt = bilinear(b, n, (float)x + flow[2 * i], (float)y + flow[2 * i + 1]) - a[i] - gx * flow[2 * i] -
                           gy * flow[2 * i + 1];
                xx[i] = gx * gx, xy[i] = gx * gy, yy[i] = gy * gy, xt[i] = gx * gt, yt[i] = gy * gt;
            }
        for (int k = 0; k < 5; k++) box(work + k * pixels, n, RADIUS, row);
        for (int i = 0; i < pixels; i++) {
            float ridge = 20.0f, p = xx[i] + ridge, q = yy[i] + ridge, det = p * q - xy[i] * xy[i]; /* flat windows stay still */
            flow[2 * i] = -(q * xt[i] - xy[i] * yt[i]) / det;
            flow[2 * i + 1] = -(p * yt[i] - xy[i] * xt[i]) / det;
        }
    }
}

int ft_flow_lucas_kanade(const float *a, const float *b, int size, float *flow)
{
    int side[MOST_LEVELS] = {size}, levels = 1, pixels = size * size;
    while (levels < MOST_LEVELS && side[levels - 1] % 2 == 0 && side[levels - 1] / 2 >= COARSEST)
        side[levels] = side[levels - 1] / 2, levels++;
    float *pool = ft_alloc((size_t)(2 * 2 * pixels + 2 * pixels + 5 * pixels + size) * sizeof *pool), *level[2][MOST_LEVELS];
    if (!pool) return FT_FAIL(FT_ENOMEM, "no memory for the flow of %d pixels", size);
    float *next = pool, *coarse, *work;
    for (int k = 0; k < 2; k++)
        for (int l = 0; l < levels; l++) {
            level[k][l] = next;
            next += side[l] * side[l];
            if (l == 0) memcpy(level[k][0], k ? b : a, (size_t)pixels * sizeof *a);
            else halve(level[k][l - 1], side[l - 1], level[k][l]);
        }
    coarse = pool + 4 * pixels, work = coarse + 2 * pixels;
    for (int l = levels; l-- > 0;) {
        int n = side[l];
        if (l == levels - 1) memset(flow, 0, (size_t)(2 * n * n) * sizeof *flow);
        else {
            memcpy(coarse, flow, (size_t)(2 * side[l + 1] * side[l + 1]) * sizeof *flow);
            for (int i = 0; i < n * n; i++)
                for (int k = 0; k < 2; k++) flow[2 * i + k] = 2 * coarse[2 * ((i / n / 2) * side[l + 1] + i % n / 2) + k];
        }
        refine(level[0][l], level[1][l], n, flow, work);
    }
    ft_free(pool);
    return FT_OK;
}

/* ---- pictures ----------------------------------------------------------------------------------------------------------- */

enum { HUES = 55 };

static void make_wheel(float wheel[HUES][3])
{
    static const struct {
        int n, from, to, up; /* up: `to` rises, else `from` falls; 0 red, 1 green, 2 blue */
    } ramp[] = {{15, 0, 1, 1}, {6, 0, 1, 0}, {4, 1, 2, 1}, {11, 1, 2, 0}, {13, 2, 0, 1}, {6, 2, 0, 0}};
    int k = 0;
    for (int r = 0; r < 6; r++)
        for (int i = 0; i < ramp[r].n; i++, k++) {
            float part = floorf(255.0f * (float)i / (float)ramp[r].n);
            wheel[k][0] = wheel[k][1] = wheel[k][2] = 0;
            wheel[k][ramp[r].from] = ramp[r].up ? 255 : 255 - part;
            wheel[k][ramp[r].to] = ramp[r].up ? part : 255;
        }
}

static void wheel_color(const float wheel[HUES][3], float u, float v, uint8_t *rgb)
{
    float rad = sqrtf(u * u + v * v), q = (atan2f(-v, -u) / 3.14159265358979f + 1) / 2 * (HUES - 1), w;
    int k0 = (int)floorf(q), k1 = k0 + 1 == HUES ? 0 : k0 + 1;
    w = q - (float)k0;
    for (int c = 0; c < 3; c++) {
        float col = (1 - w) * wheel[k0][c] / 255 + w * wheel[k1][c] / 255;
        rgb[c] = (uint8_t)floorf(255 * (rad <= 1 ? 1 - rad * (1 - col) : col * 0.75f));
    }
}

static void hsv_color(float u, float v, float longest, uint8_t *rgb)
{
    float hue = atan2f(v, u) / (2 * 3.14159265358979f), value = longest > 0 ? sqrtf(u * u + v * v) / longest : 0;
    float h6 = 6 * (hue < 0 ? hue + 1 : hue), f = h6 - floorf(h6);
    float p[4] = {value, 0, value * (1 - f), value * f}; /* saturation 1 */
    static const int pick[6][3] = {{0, 3, 1}, {2, 0, 1}, {1, 0, 3}, {1, 2, 0}, {3, 1, 0}, {0, 1, 2}};
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(255 * p[pick[(int)h6 % 6][c]] + 0.5f);
}

void ft_flow_picture(const float *flow, int size, ft_flow_colors colors, uint8_t *rgb)
{
    float longest = 0, wheel[HUES][3];
    make_wheel(wheel);
    for (int i = 0; i < size * size; i++)
        longest = fmaxf(longest, sqrtf(flow[2 * i] * flow[2 * i] + flow[2 * i + 1] * flow[2 * i + 1]));
    for (int i = 0; i < size * size; i++)
        if (colors == FT_FLOW_HSV) hsv_color(flow[2 * i], flow[2 * i + 1], longest, rgb + 3 * i);
        else wheel_color(wheel, flow[2 * i] / (longest + 1e-5f), flow[2 * i + 1] / (longest + 1e-5f), rgb + 3 * i);
}
