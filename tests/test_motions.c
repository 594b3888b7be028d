/* Procedural clips for pretraining: the same bytes every time, in the ranges that motions.h promises, and targets that say what
 * is drawn, measured on the pixels. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "classify/motions.h"

enum { F = 8, S = 64, SIDE = S / 16, BYTES = F * S * S * 3, CELLS = F / 2 * SIDE * SIDE, SHAPES = 1 + FT_MOTION_SHAPES };
enum { VELOCITY = SHAPES + FT_MOTION_TEXTURES };
static uint8_t clip[BYTES], other[BYTES];
static float cell[CELLS * FT_MOTION_CELL];

static void same_bytes_again(void **state)
{
    (void)state;
    ft_motions a, b;
    for (uint64_t i = 0; i < 20; i++) {
        ft_motions_clip(3, i, F, S, clip, cell, &a);
        ft_motions_clip(9, i, F, S, other, NULL, &b); /* another clip in between leaves nothing behind */
        assert_memory_not_equal(clip, other, BYTES);
        ft_motions_clip(3, i, F, S, other, NULL, &b);
        assert_memory_equal(clip, other, BYTES);
        assert_memory_equal(&a, &b, sizeof a);
    }
}

static void ranges_and_shares(void **state)
{
    (void)state;
    int camera[FT_MOTION_CAMERAS] = {0}, light[FT_MOTION_LIGHTS] = {0}, shapes[FT_MOTION_MOST + 1] = {0}, grey = 0, n = 400;
    double shape[SHAPES] = {0}, texture[FT_MOTION_TEXTURES] = {0};
    for (int i = 0; i < n; i++) {
        ft_motions m;
        ft_motions_clip(1, (uint64_t)i, F, S, clip, cell, &m);
        assert_in_range(m.camera, 0, FT_MOTION_CAMERAS - 1);
        assert_in_range(m.light, 0, FT_MOTION_LIGHTS - 1);
        assert_in_range(m.shapes, 0, FT_MOTION_MOST);
        camera[m.camera]++, light[m.light]++, shapes[m.shapes]++;
        int tinted = 0;
        for (int k = 0; k < BYTES; k += 3) tinted += abs(clip[k] - clip[k + 1]) + abs(clip[k] - clip[k + 2]) > 3;
        grey += tinted == 0;
        double drawn = 0;
        for (int j = 0; j < CELLS; j++) {
            const float *c = cell + j * FT_MOTION_CELL;
            double kinds = 0, textures = 0;
            for (int k = 0; k < SHAPES; k++) kinds += (double)c[k], shape[k] += (double)c[k];
            for (int k = 0; k < FT_MOTION_TEXTURES; k++) textures += (double)c[SHAPES + k], texture[k] += (double)c[SHAPES + k];
            assert_true(fabs(kinds - 1) < 1e-4 && fabs(textures - 1) < 1e-4);
            assert_true(fabsf(c[VELOCITY]) < 12 && fabsf(c[VELOCITY + 1]) < 12);
            drawn += 1 - (double)c[0];
        }
        if (m.shapes == 0) assert_true(drawn < 1e-3);
    }
    for (int k = 0; k < FT_MOTION_CAMERAS; k++) assert_in_range(camera[k], n / FT_MOTION_CAMERAS / 2, n / FT_MOTION_CAMERAS * 2);
    for (int k = 0; k < FT_MOTION_LIGHTS; k++) assert_in_range(light[k], n / FT_MOTION_LIGHTS / 2, n / FT_MOTION_LIGHTS * 2);
    for (int k = 0; k <= FT_MOTION_MOST; k++) assert_in_range(shapes[k], n / 10, n / 3);
    for (int k = 0; k < SHAPES; k++) assert_true(shape[k] / n / CELLS > 0.005);
    for (int k = 0; k < FT_MOTION_TEXTURES; k++) assert_true(texture[k] / n / CELLS > 0.05);
    assert_in_range(grey, n / 5, n / 2);
}

/* the shift by which the middle of a frame is found again in the next, in whole pixels: least squared difference */
static double found_again(const uint8_t *a, const uint8_t *b, int *dx, int *dy)
{
    enum { MOST = 9 };
    double best = 1e30, still = 0;
    for (int v = -MOST; v <= MOST; v++)
        for (int u = -MOST; u <= MOST; u++) {
            double sum = 0;
            for (int y = MOST + 4; y < S - MOST - 4; y++)
                for (int x = MOST + 4; x < S - MOST - 4; x++) {
                    double d = a[(y * S + x) * 3 + 1] - b[((y + v) * S + x + u) * 3 + 1];
                    sum += d * d;
                }
            if (!u && !v) still = sum;
            if (sum < best) best = sum, *dx = u, *dy = v;
        }
    return still / (best + 1); /* how much better than no shift */
}

/* Clips without shapes whose camera pans: the mean displacement of the picture is the one that the target names. */
static void direction_is_what_moves(void **state)
{
    (void)state;
    enum { USED = 8 };
    int used = 0;
    double worst = 0, along = 0;
    for (uint64_t i = 0; i < 3000 && used < USED; i++) {
        ft_motions m;
        ft_motions_clip(5, i, 2, 16, other, NULL, &m); /* what is in it does not depend on its size */
        if (m.camera != 1 || m.shapes || m.light) continue;
        ft_motions_clip(5, i, F, S, clip, cell, &m);
        double vx = 0, vy = 0;
        int dx = 0, dy = 0, clear = 1;
        for (int f = 0; f + 1 < F; f++) {
            clear &= found_again(clip + f * S * S * 3, clip + (f + 1) * S * S * 3, &dx, &dy) > 4;
            vx += dx / (double)(F - 1), vy += dy / (double)(F - 1);
        }
        double regular = 0; /* stripes and checks look the same after a shift along them, plain grounds after any */
        for (int j = 0; j < CELLS; j++)
            regular += (double)(cell[j * FT_MOTION_CELL + SHAPES] + cell[j * FT_MOTION_CELL + SHAPES + 3] +
                                cell[j * FT_MOTION_CELL + SHAPES + 8]);
        if (!clear || regular > 0 || hypot(vx, vy) < 1) continue;
        used++;
        double ex = (double)m.velocity[0] * S / 10 - vx, ey = (double)m.velocity[1] * S / 10 - vy, cx = 0, cy = 0;
        for (int j = 0; j < CELLS; j++) cx += (double)cell[j * FT_MOTION_CELL + VELOCITY] / CELLS;
        for (int j = 0; j < CELLS; j++) cy += (double)cell[j * FT_MOTION_CELL + VELOCITY + 1] / CELLS;
        assert_true(fabs(cx * S / 16 - (double)m.velocity[0] * S / 10) < 0.1);
        assert_true(fabs(cy * S / 16 - (double)m.velocity[1] * S / 10) < 0.1);
        worst = fmax(worst, hypot(ex, ey));
        along += (vx * (double)m.velocity[0] + vy * (double)m.velocity[1]) / hypot(vx, vy) /
                 hypot((double)m.velocity[0], (double)m.velocity[1]) / USED;
    }
    assert_int_equal(used, USED);
    assert_true(along > 0.97); /* cosine between what is measured, in whole pixels, and what is said */
    assert_true(worst < 1);
}

/* A shape that stands apart is where the cells say: the pixels of these cells differ from those of the clip's ground. */
static void shapes_are_where_the_cells_say(void **state)
{
    (void)state;
    double inside = 0, outside = 0;
    int64_t in = 0, out = 0;
    for (uint64_t i = 0; i < 1500; i++) {
        ft_motions m;
        ft_motions_clip(7, i, 2, 16, other, NULL, &m);
        if (m.shapes != 1) continue;
        ft_motions_clip(7, i, F, S, clip, cell, &m);
        double textured = 0;
        for (int j = 0; j < CELLS; j++) textured += 1 - (double)cell[j * FT_MOTION_CELL + SHAPES];
        if (textured / CELLS > 0.3) continue; /* mostly a plain ground */
        for (int j = 0; j < CELLS; j++) {     /* deviation of green within the cell, first frame of its pair */
            const uint8_t *p = clip + (int64_t)(j / (SIDE * SIDE)) * 2 * S * S * 3;
            double sum = 0, sq = 0;
            for (int k = 0; k < 256; k++) {
                double v = p[(((j / SIDE % SIDE) * 16 + k / 16) * S + j % SIDE * 16 + k % 16) * 3 + 1];
                sum += v / 256, sq += v * v / 256;
            }
            double share = 1 - (double)cell[j * FT_MOTION_CELL], sd = sqrt(fmax(0, sq - sum * sum));
            if (share > 0.2 && share < 0.8) inside += sd, in++;
            if (share <= 0) outside += sd, out++;
        }
    }
    assert_true(in > 50 && out > 500);
    assert_true(inside / (double)in > 1.5 * outside / (double)out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_bytes_again), cmocka_unit_test(ranges_and_shares),
                                       cmocka_unit_test(direction_is_what_moves),
                                       cmocka_unit_test(shapes_are_where_the_cells_say)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
