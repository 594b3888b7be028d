#include "common/io/content.h"

#include <stdbool.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

/* CHANGES: grey levels of a 3x3 mean, more than codecs make of a still picture */
enum { CHANGES = 16, BLACK_LEVEL = 24, FAINT = 4, GAP = 48 }; /* GAP: parts that are nearer than a 48th of the picture are one */

static int grey(const uint8_t *rgb) { return (2 * rgb[0] + 5 * rgb[1] + rgb[2]) / 8; }

static int blurred(const uint8_t *rgb, int w, int h, int x, int y)
{
    int sum = 0, n = 0;
    for (int v = y - 1; v <= y + 1; v++)
        for (int u = x - 1; u <= x + 1; u++)
            if (u >= 0 && v >= 0 && u < w && v < h) sum += grey(rgb + (v * w + u) * 3), n++;
    return sum / n;
}

/* the pixels within `r` of one of the mask */
static void widen(uint8_t *to, const uint8_t *mask, int w, int h, int r)
{
    memset(to, 0, (size_t)w * (size_t)h);
    for (int y = 0; y < h; y++)
        for (int x = 0; x < w; x++)
            for (int v = y - r; mask[y * w + x] && v <= y + r; v++)
                for (int u = x - r; u <= x + r; u++)
                    if (u >= 0 && v >= 0 && u < w && v < h) to[v * w + u] = 1;
}

/* The level of the background: that of the darkest twentieth of the picture. */
static int floor_of(const uint8_t *level, int pixels)
{
    int count[256] = {0}, v = 0;
    for (int i = 0; i < pixels; i++) count[level[i]]++;
    for (int below = count[0]; below < pixels / 20; below += count[++v]) continue;
    return v;
}

/* The box around what changes or shines in the connected part of `wide` that changes most. wide is used up. */
static ft_rect largest(uint8_t *wide, const uint8_t *mask, const uint8_t *bright, int w, int h, int *stack)
{
    ft_rect best = {0, 0, 0, 0};
    int most = 0;
    for (int start = 0; start < w * h; start++) {
        int n = 0, x0 = w, x1 = -1, y0 = h, y1 = -1, top = 0;
        if (!wide[start]) continue;
        wide[stack[top++] = start] = 0;
        while (top) {
            int at = stack[--top], x = at % w, y = at / w;
            const int next[] = {x > 0 ? at - 1 : -1, x < w - 1 ? at + 1 : -1, y > 0 ? at - w : -1, y < h - 1 ? at + w : -1};
            n += mask[at];
            if (mask[at] || bright[at]) {
                x0 = x < x0 ? x : x0, x1 = x > x1 ? x : x1, y0 = y < y0 ? y : y0, y1 = y > y1 ? y : y1;
            }
            for (int k = 0; k < 4; k++)
                if (next[k] >= 0 && wide[next[k]]) wide[stack[top++] = next[k]] = 0;
        }
        if (n > most) most = n, best = (ft_rect){x0, y0, x1 - x0 + 1, y1 - y0 + 1};
    }
    return best;
}

int ft_content_box(uint8_t *const *rgb, int n, int w, int h, ft_rect *box)
{
    int pixels = w * h, moving = 0;
    uint8_t *mask = ft_alloc((size_t)pixels * 3), *wide = mask + pixels, *bright = wide + pixels;
    int *stack = ft_alloc_n(pixels, sizeof *stack);
    if (!mask || !stack) {
        ft_free(mask), ft_free(stack);
        return FT_FAIL(FT_ENOMEM, "no memory for the content of a video");
    }
    for (int i = 0; i < pixels; i++) {
        int least = 255, most = 0;
        for (int k = 0; k < n; k++) {
            int v = blurred(rgb[k], w, h, i % w, i / w);
            least = v < least ? v : least, most = v > most ? v : most;
        }
        mask[i] = most - least > CHANGES;
        bright[i] = (uint8_t)most;
        moving += mask[i];
    }
    if (moving < pixels / 50)
        for (int i = 0; i < pixels; i++) mask[i] = bright[i] > BLACK_LEVEL;
    int black = floor_of(bright, pixels) + FAINT; /* deep tissue is hardly brighter than nothing */
    for (int i = 0; i < pixels; i++) bright[i] = bright[i] > black;
    widen(wide, mask, w, h, 1 + (w > h ? w : h) / GAP / 2);
    for (int i = 0; i < pixels; i++) wide[i] |= bright[i]; /* what stands still within a sector belongs to it; writing is apart */
    *box = largest(wide, mask, bright, w, h, stack);
    if (box->w == 0 || (box->w > w - w / 20 && box->h > h - h / 20)) *box = (ft_rect){0, 0, w, h};
    ft_free(mask), ft_free(stack);
    return FT_OK;
}
