/* Copies of training clips: golden numbers of NumPy and scikit-learn (tests/golden/memorisation.h), intervals whose ends are
 * known, and two generators of phantoms: one that knows its training clips by heart, and the phantom itself. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "classify/mmd.h"
#include "classify/prdc.h"
#include "common/base/memory.h"
#include "common/base/quantiles.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "gen/latents.h"
#include "gen/memorisation.h"
#include "gen/phantom.h"
#include "golden/memorisation.h"
#include "golden_value.h"

#define NEAR(a, b, tolerance) assert_float_equal(a, b, tolerance)
enum { D = 24, TRAIN = 12, HELD = 8, MADE = 10, SAMPLES = 500 };

static float far_value(uint32_t stream, int64_t i) { return value(stream * 1000003u, i); }

static void rows(float *to, uint32_t stream, int n)
{
    for (int i = 0; i < n * D; i++) to[i] = far_value(stream, i) + 3 * far_value(1, i % D);
}

static const int64_t own[64] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
                                22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43,
                                44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63};

/* of which the first six are training clips with ever more noise, every other one mirrored */
static void copies(float *made, const float *train)
{
    rows(made, 4, MADE);
    for (int i = 0; i < 6 * D; i++) {
        int clip = i / D, at = i % D;
        float noise = (float)(0.2 * (double)clip * (double)far_value((uint32_t)(5 + clip), at));
        made[i] = train[5 * clip % TRAIN * D + (clip % 2 ? D - 1 - at : at)] + noise;
    }
}

static void test_golden(void **state)
{
    (void)state;
    static float train[TRAIN * D], mirror[TRAIN * D], held[HELD * D], made[MADE * D];
    int64_t video[TRAIN];
    ft_recall recall[MADE];
    ft_memorisation m;
    ft_copy_ruler *r;
    rows(train, 2, TRAIN), rows(held, 3, HELD);
    for (int i = 0; i < TRAIN; i++) video[i] = i / 3;
    for (int i = 0; i < TRAIN * D; i++) mirror[i] = train[i / D * D + D - 1 - i % D];
    copies(made, train);
    ft_embedded t = {train, mirror, video, TRAIN, 4}, h = {held, NULL, own, HELD, HELD}, g = {made, NULL, own, MADE, MADE};
    assert_int_equal(ft_copy_ruler_new(&r, &t, &h, D, SAMPLES), FT_OK);
    assert_int_equal(ft_copies_find(r, &g, recall, &m), FT_OK);
    const double got[] = {m.tau,         m.copies.value,         m.copies_held_out.value,
                          m.ratio.value, m.ratio_held_out.value, m.coverage.value,
                          m.correlation, m.correlation_held_out};
    for (int i = 0; i < 8; i++) NEAR(got[i], golden_copies[i], 2e-6); /* f32 without what is common: 24 roundings of 2^-24 */
    for (int i = 0; i < MADE; i++) {
        assert_int_equal(recall[i].nearest, (int)golden_recall[i][0]);
        NEAR(recall[i].correlation, golden_recall[i][1], 2e-6);
        NEAR(recall[i].ratio, golden_recall[i][2], 1e-5);
        assert_int_equal(recall[i].copy, golden_recall[i][1] > golden_copies[0]);
    }
    ft_copy_ruler_free(r);
    h.n = 0; /* nothing real to compare with: nothing is called a copy, the ratio test stands */
    assert_int_equal(ft_copy_ruler_new(&r, &t, &h, D, SAMPLES), FT_OK);
    assert_int_equal(ft_copies_find(r, &g, recall, &m), FT_OK);
    assert_true(isnan(m.tau) && isnan(m.copies.value) && isnan(m.coverage.value) && !m.copying && !recall[0].copy);
    NEAR(m.ratio.value, golden_copies[3], 1e-12);
    ft_copy_ruler_free(r);
    t.n = 0;
    assert_int_equal(ft_copy_ruler_new(&r, &t, &h, D, SAMPLES), FT_EDATA);
}

static void test_prdc(void **state)
{
    (void)state;
    static float train[2 * TRAIN * D], made[MADE * D];
    int64_t video[2 * TRAIN];
    int inside[MADE];
    bool recalled[TRAIN], covered[TRAIN];
    ft_prdc_scores s, twice;
    rows(train, 2, TRAIN), copies(made, train);
    ft_feature_set t = {train, NULL, TRAIN}, g = {made, NULL, MADE};
    for (size_t i = 0; i < sizeof golden_prdc / sizeof *golden_prdc; i++) {
        const double *want = golden_prdc[i];
        assert_int_equal(ft_prdc(&t, &g, D, (int)want[0], (ft_prdc_clips){inside, recalled, covered}, &s), FT_OK);
        NEAR(s.precision, want[1], 1e-12), NEAR(s.recall, want[2], 1e-12);
        NEAR(s.density, want[3], 1e-12), NEAR(s.coverage, want[4], 1e-12);
        int in = 0, balls = 0, there = 0, held = 0; /* the scores are means over clips */
        for (int k = 0; k < MADE; k++) in += inside[k] > 0, balls += inside[k];
        for (int k = 0; k < TRAIN; k++) there += recalled[k], held += covered[k];
        NEAR((double)in / MADE, want[1], 1e-12), NEAR((double)there / TRAIN, want[2], 1e-12);
        NEAR(balls / (want[0] * MADE), want[3], 1e-12), NEAR((double)held / TRAIN, want[4], 1e-12);
    }
    /* a second clip of each video, the same: neighbours are other videos, so nothing changes but the count of balls */
    for (int i = 0; i < TRAIN * D; i++) train[TRAIN * D + i] = train[i];
    for (int i = 0; i < 2 * TRAIN; i++) video[i] = i % TRAIN;
    t = (ft_feature_set){train, video, 2 * TRAIN};
    assert_int_equal(ft_prdc(&t, &g, D, 5, (ft_prdc_clips){0}, &twice), FT_OK);
    NEAR(twice.precision, s.precision, 1e-12), NEAR(twice.recall, s.recall, 1e-12), NEAR(twice.coverage, s.coverage, 1e-12);
    NEAR(twice.density, 2 * s.density, 1e-12);
    g.n = 1;
    assert_int_equal(ft_prdc(&t, &g, D, 5, (ft_prdc_clips){0}, &s), FT_EDATA);
}

static void test_mmd(void **state)
{
    (void)state;
    enum { MANY = 40 };
    static float train[2 * TRAIN * D], made[MADE * D], more[2 * MANY * D];
    int64_t video[2 * TRAIN];
    double v, low, high, was, low2, high2;
    rows(train, 2, TRAIN), copies(made, train);
    ft_feature_set t = {train, NULL, TRAIN}, g = {made, NULL, MADE};
    assert_int_equal(ft_mmd(&ft_mmd_kid, &t, &g, D, 0, &v, &low, &high), FT_OK);
    NEAR(v, golden_mmd[0], 1e-12 * golden_mmd[2]); /* sums in double; golden_mmd[2]: the mean that they cancel from */
    for (int i = 0; i < TRAIN; i++) video[i] = i / 3;
    t.video = video;
    assert_int_equal(ft_mmd(&ft_mmd_kid, &t, &g, D, 0, &v, &low, &high), FT_OK);
    NEAR(v, golden_mmd[1], 1e-12 * golden_mmd[2]);
    t.video = NULL;
    assert_int_equal(ft_mmd(&ft_mmd_kid, &t, &g, D, 500, &was, &low, &high), FT_OK);
    assert_true(low < was && was < high);
    /* a second clip of each video, the same: its videos say no more than before */
    for (int i = 0; i < TRAIN * D; i++) train[TRAIN * D + i] = train[i];
    for (int i = 0; i < 2 * TRAIN; i++) video[i] = i % TRAIN;
    t = (ft_feature_set){train, video, 2 * TRAIN};
    assert_int_equal(ft_mmd(&ft_mmd_kid, &t, &g, D, 500, &v, &low2, &high2), FT_OK);
    NEAR(v, was, 1e-12 * golden_mmd[2]), NEAR(low2, low, 1e-12 * golden_mmd[2]), NEAR(high2, high, 1e-12 * golden_mmd[2]);
    /* unbiased: of one distribution it is 0 within its interval, of two it is not */
    for (int i = 0; i < 2 * MANY * D; i++) more[i] = far_value(20, i);
    t = (ft_feature_set){more, NULL, MANY}, g = (ft_feature_set){more + MANY * D, NULL, MANY};
    assert_int_equal(ft_mmd(&ft_mmd_kid, &t, &g, D, 500, &v, &low, &high), FT_OK);
    assert_true(low < 0 && 0 < high);
    for (int i = MANY * D; i < 2 * MANY * D; i++) more[i] += 0.5f;
    assert_int_equal(ft_mmd(&ft_mmd_kid, &t, &g, D, 500, &v, &low, &high), FT_OK);
    assert_true(low > 0 && low < v && v < high);
    g.n = 1;
    assert_int_equal(ft_mmd(&ft_mmd_kid, &t, &g, D, 0, &v, &low, &high), FT_EDATA);
}

static void test_shares(void **state)
{
    (void)state;
    bool hit[60];
    int64_t video[60];
    ft_share s, alone;
    for (int i = 0; i < 60; i++) hit[i] = i % 3 == 0, video[i] = i / 3;
    assert_int_equal(ft_share_of(hit, own, 60, 60, 20000, &alone), FT_OK);
    NEAR(alone.value, 1.0 / 3, 1e-12); /* binomial: quantiles of B(60, 1/3) / 60, by SciPy */
    NEAR(alone.low, 13.0 / 60, 1e-9);
    NEAR(alone.high, 27.0 / 60, 1e-9);
    assert_int_equal(ft_share_of(hit, video, 60, 20, 2000, &s), FT_OK);
    assert_true(s.high == s.low); /* every video has one of three: other videos would, too */
    for (int i = 0; i < 60; i++) hit[i] = i < 20;
    assert_int_equal(ft_share_of(hit, video, 60, 20, 2000, &s), FT_OK);
    assert_true(s.high - s.low > 1.5 * (alone.high - alone.low)); /* clips of a video are no independent draws: sqrt(3) */
    for (int i = 0; i < 60; i++) hit[i] = false;
    assert_int_equal(ft_share_of(hit, video, 60, 20, 2000, &s), FT_OK);
    assert_true(s.low == 0), NEAR(s.high, 1 - pow(0.025, 1.0 / 20), 1e-12);
    for (int i = 0; i < 60; i++) hit[i] = true;
    assert_int_equal(ft_share_of(hit, video, 60, 20, 2000, &s), FT_OK);
    NEAR(s.low, pow(0.025, 1.0 / 20), 1e-12), assert_true(s.high == 1);
    const double sorted[] = {1, 2, 4, 8};
    NEAR(ft_quantile(sorted, 4, 0.95), 7.4, 1e-12), NEAR(ft_quantile(sorted, 4, 1), 8, 1e-12);
    NEAR(ft_quantile(sorted, 1, 0.5), 1, 1e-12);
}

/* ---- two generators -------------------------------------------------------------------------------------------------------- */

enum { FRAMES = 4, SIZE = 32, CLIP = FRAMES * SIZE * SIZE * 3 };

/* phantoms from `first` on, as pixels in [-1, 1] */
static float *phantoms(int first, int n, bool mirror)
{
    static const ft_phantom_opt of = {.videos = 200, .frames = FRAMES, .size = SIZE, .balance = 0.5};
    float *to = ft_alloc_n((int64_t)n * CLIP, sizeof *to);
    uint8_t *rgb = ft_alloc(CLIP);
    assert_true(to && rgb);
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < FRAMES; k++) ft_phantom_frame(&of, first + i, k / 4.0, rgb + k * SIZE * SIZE * 3);
        ft_to_unit(to + (int64_t)i * CLIP, rgb, FRAMES * SIZE, SIZE, mirror);
    }
    ft_free(rgb);
    return to;
}

static void test_phantom(void **state)
{
    (void)state;
    enum { KNOWN = 48, REAL = 32, NEW = 32 };
    float *train = phantoms(0, KNOWN, false), *mirror = phantoms(0, KNOWN, true), *held = phantoms(KNOWN, REAL, false),
          *made = phantoms(KNOWN + REAL, NEW, false);
    ft_embedded t = {train, mirror, own, KNOWN, KNOWN}, h = {held, NULL, own, REAL, REAL}, g = {made, NULL, own, NEW, NEW};
    ft_recall recall[NEW];
    ft_memorisation m;
    ft_copy_ruler *r;
    assert_int_equal(ft_copy_ruler_new(&r, &t, &h, CLIP, SAMPLES), FT_OK);
    assert_int_equal(ft_copies_find(r, &g, recall, &m), FT_OK);
    print_message("phantoms: tau %.3f; new ones %.2f [%.2f, %.2f], held out %.2f [%.2f, %.2f]\n", m.tau, m.copies.value,
                  m.copies.low, m.copies.high, m.copies_held_out.value, m.copies_held_out.low, m.copies_held_out.high);
    assert_false(m.copying); /* the phantom itself */
    assert_true(m.ratio.value == 0);
    ft_rng noise = ft_rng_make(3, 0, 0); /* by heart: 20 of the training clips with noise, every other one mirrored */
    for (int64_t i = 0; i < NEW * (int64_t)CLIP; i++)
        made[i] = (i / CLIP % 2 ? mirror : train)[i / CLIP % 20 * CLIP + i % CLIP] +
                  (float)((i / CLIP % 2 ? 0.02 : 0.1) * ft_rng_normal(&noise));
    assert_int_equal(ft_copies_find(r, &g, recall, &m), FT_OK);
    print_message("by heart: %.2f [%.2f, %.2f], median %.3f, ratio test %.2f\n", m.copies.value, m.copies.low, m.copies.high,
                  m.correlation, m.ratio.value);
    assert_true(m.copying && m.copies.value == 1);
    for (int i = 0; i < NEW; i++) assert_int_equal(recall[i].nearest, i % 20);
    NEAR(m.coverage.value, 20.0 / KNOWN, 1e-12);
    assert_true(m.coverage.low < 20.0 / KNOWN && m.coverage.high > 20.0 / KNOWN);
    NEAR(m.ratio.value, 0.5, 1e-12); /* those with little noise: the test sees no others */
    ft_copy_ruler_free(r);
    ft_free(train), ft_free(mirror), ft_free(held), ft_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_prdc),    cmocka_unit_test(test_mmd),
        cmocka_unit_test(test_shares), cmocka_unit_test(test_phantom),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
