/* Distances between sets of clips: golden numbers of SciPy, scikit-learn, the package prdc, Pillow, clean-fid and PyTorch
 * (golden/make_golden_metrics.py), cases that are known, and the table of how far small sets of one distribution are apart. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "classify/mmd.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/io/resize.h"
#include "common/io/safetensors.h"
#include "experiments/statistics/clip_scores.h"
#include "experiments/statistics/frechet.h"
#include "experiments/statistics/set_distances.h"

#define NEAR(a, b, tolerance) assert_float_equal(a, b, tolerance)
enum { D = 24 };

static ft_safetensors golden;

static int open_golden(void **state)
{
    (void)state;
    return ft_safetensors_read(&golden, FT_TEST_DIR "/golden/metrics.safetensors");
}
static int close_golden(void **state)
{
    (void)state;
    ft_safetensors_free(&golden);
    return 0;
}

static const ft_st_tensor *tensor(const char *name)
{
    const ft_st_tensor *t = ft_safetensors_find(&golden, name);
    assert_non_null(t);
    return t;
}
static const float *rows(const char *name, int64_t *n)
{
    *n = tensor(name)->dim[0];
    return tensor(name)->data;
}
static const double *numbers(const char *name) { return tensor(name)->data; }

/* Sums of some hundred numbers of size one in double: 1e-10; a square root of an eigenvalue that is 0 but for rounding is up to
 * sqrt(1e-16 x 10), and a set of rank 5 has 19 of them in SciPy's way: 1e-6. */
static void test_frechet(void **state)
{
    (void)state;
    static const struct {
        const char *a, *b;
        int ddof;
        double off;
    } pair[] = {{"real", "fake", 1, 1e-10},
                {"real", "fake", 0, 1e-10},
                {"real", "few", 1, 1e-6},
                {"flat", "fake", 1, 1e-6},
                {"flat", "few", 0, 1e-6}};
    for (int i = 0; i < 5; i++) {
        int64_t n, m;
        double d, back;
        const float *a = rows(pair[i].a, &n), *b = rows(pair[i].b, &m);
        assert_int_equal(ft_frechet(a, n, b, m, D, pair[i].ddof, &d), FT_OK);
        NEAR(d, numbers("frechet")[i], pair[i].off * numbers("frechet")[i]);
        assert_int_equal(ft_frechet(b, m, a, n, D, pair[i].ddof, &back), FT_OK);
        NEAR(back, d, 1e-12 * d);
        assert_int_equal(ft_frechet(a, n, a, n, D, 1, &d), FT_OK);
        NEAR(d, 0, 1e-12 * D * D);
    }
}

static void test_known(void **state)
{
    (void)state;
    double d;
    /* one point each: no variance, so the square of how far they are apart; it takes two rows to be a set */
    const float here[4] = {1, 2, 1, 2}, there[4] = {4, 6, 4, 6};
    assert_int_equal(ft_frechet(here, 2, there, 2, 2, 1, &d), FT_OK);
    NEAR(d, 25, 1e-12);
    assert_int_equal(ft_frechet(here, 1, there, 2, 2, 1, &d), FT_EDATA);
    const float bad[4] = {1, 2, NAN, 2};
    assert_int_equal(ft_frechet(here, 2, bad, 2, 2, 1, &d), FT_EDATA);
    assert_non_null(strstr(ft_error_message(), "not finite"));
    /* equal means, [[2,1],[1,2]] and diag(3,1): 8 - 2 sqrt 14. Rows +-L e of a factor have L L^T as their covariance by n = 4 */
    const double l[4] = {sqrt(2), 0, 1 / sqrt(2), sqrt(1.5)}, scale = sqrt(2);
    float a[8], b[8];
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) {
            double sign = i % 2 ? -scale : scale;
            a[2 * i + k] = (float)(sign * l[2 * k + i / 2]);
            b[2 * i + k] = (float)(k == i / 2 ? sign * (k ? 1 : sqrt(3)) : 0);
        }
    assert_int_equal(ft_frechet(a, 4, b, 4, 2, 0, &d), FT_OK);
    NEAR(d, 8 - 2 * sqrt(14), 1e-6); /* rows are f32 */
}

static void test_pairs(void **state)
{
    (void)state;
    int64_t n, m, few;
    const float *a = rows("real", &n), *b = rows("fake", &m), *c = rows("few", &few);
    ft_feature_set real = {a, NULL, n}, fake = {b, NULL, m}, less = {c, NULL, few};
    const double *want = numbers("mmd"), *share = numbers("prdc");
    double v, low, high;
    ft_prdc_scores s;
    assert_int_equal(ft_mmd(&ft_mmd_kid, &real, &fake, D, 0, &v, &low, &high), FT_OK);
    NEAR(v, want[0], 1e-10);
    assert_int_equal(ft_mmd(&ft_mmd_jedi, &real, &fake, D, 0, &v, &low, &high), FT_OK);
    NEAR(v, want[1], 1e-9);
    assert_int_equal(ft_mmd(&ft_mmd_jedi, &real, &real, D, 0, &v, &low, &high), FT_OK);
    NEAR(v, 0, 1e-12);
    assert_int_equal(ft_mmd(&ft_mmd_kid, &real, &less, D, 0, &v, &low, &high), FT_OK);
    NEAR(v, want[2], 1e-10);
    assert_int_equal(ft_prdc(&real, &fake, D, 5, (ft_prdc_clips){0}, &s), FT_OK);
    NEAR(s.precision, share[0], 1e-12), NEAR(s.recall, share[1], 1e-12);
    NEAR(s.density, share[2], 1e-12), NEAR(s.coverage, share[3], 1e-12);
}

static void test_scores(void **state)
{
    (void)state;
    int64_t n;
    const float *x = rows("fake", &n);
    float logit[60 * D];
    double mean, std, of[5];
    for (int64_t i = 0; i < n * D; i++) logit[i] = x[i] * 3;
    assert_int_equal(ft_inception_score(logit, n, D, 5, &mean, &std), FT_OK);
    NEAR(mean, numbers("inception")[0], 1e-6),
        NEAR(std, numbers("inception")[1], 1e-6); /* logits are rounded to f32 here and there */
    assert_int_equal(ft_inception_score(logit, 4, D, 5, &mean, &std), FT_EDATA);
    /* sure of as many classes as there are, each as often; of one alone */
    memset(logit, 0, sizeof logit);
    for (int i = 0; i < 48; i++) logit[i * D + i % D] = 100;
    assert_int_equal(ft_inception_score(logit, 48, D, 2, &mean, &std), FT_OK);
    NEAR(mean, D, 1e-9), NEAR(std, 0, 1e-6);
    for (int i = 0; i < 48 * D; i++) logit[i] = (float)(i % D);
    assert_int_equal(ft_inception_score(logit, 48, D, 2, &mean, &std), FT_OK);
    NEAR(mean, 1, 1e-12);
    assert_int_equal(ft_feature_consistency(x, 5, 8, D, of), FT_OK);
    for (int i = 0; i < 5; i++) NEAR(of[i], numbers("consistency")[i], 1e-9);
    assert_int_equal(ft_feature_consistency(x, 5, 1, D, of), FT_EDATA);
    memset(logit, 0, sizeof logit);
    assert_int_equal(ft_feature_consistency(logit, 1, 2, D, of), FT_EDATA);
}

/* d = 400, one distribution, true distance 0: what the distance is at each size. Means of published draws; one draw is within
 * 3 % of them, as 400 eigenvalues are summed up. */
static void test_small_sets(void **state)
{
    (void)state;
    enum { FEATURES = 400, FEW = 210 };
    static const double published[2] = {338.8, 150.0};
    float *x = ft_alloc_n(2 * FEW * FEATURES, sizeof *x);
    assert_non_null(x);
    for (int shape = 0; shape < 2; shape++) {
        double sum = 0, d, scale[FEATURES];
        for (int k = 0; k < FEATURES; k++) sum += scale[k] = shape ? 1.0 / (k + 1) : 1;
        ft_rng r = ft_rng_make(1, 77, (uint64_t)shape);
        for (int64_t i = 0; i < 2 * FEW * FEATURES; i++)
            x[i] = (float)(ft_rng_normal(&r) * sqrt(scale[i % FEATURES] * FEATURES / sum));
        assert_int_equal(ft_frechet(x, FEW, x + FEW * FEATURES, FEW, FEATURES, 1, &d), FT_OK);
        NEAR(d, published[shape], 0.06 * published[shape]);
    }
    ft_free(x);
}

/* where there is room for it, a line in 1/n ends near the true distance, here 0, and 1 */
static void test_infinity(void **state)
{
    (void)state;
    enum { N = 800, FEATURES = 16 };
    float *x = ft_alloc_n(2 * N * FEATURES, sizeof *x);
    int64_t *video = ft_alloc_n(N, sizeof *video);
    assert_true(x && video);
    ft_rng r = ft_rng_make(1, 77, 9);
    for (int64_t i = 0; i < 2 * N * FEATURES; i++) x[i] = (float)ft_rng_normal(&r);
    for (int64_t i = 0; i < N; i++) video[i] = i;
    ft_feature_set a = {x, video, N}, b = {x + N * FEATURES, video, N};
    double whole, far;
    for (int shift = 0; shift < 2; shift++) { /* the bias is 0.17 + 0.04 to first order, its square term bends the line down */
        for (int64_t i = 0; i < N; i++) x[i * FEATURES] += (float)shift;
        assert_int_equal(ft_frechet(a.value, N, b.value, N, FEATURES, 1, &whole), FT_OK);
        assert_int_equal(ft_frechet_infinity(&a, &b, FEATURES, 1, 3, &far), FT_OK);
        assert_true(whole - shift > 0.1 && fabs(far - shift) < 0.1);
    }
    ft_free(x);
    ft_free(video);
}

/* two halves of one set are as far apart as the set from another one of its kind */
static void test_halves(void **state)
{
    (void)state;
    enum { N = 80, FEATURES = 8 };
    float *x = ft_alloc_n(2 * N * FEATURES, sizeof *x);
    int64_t *video = ft_alloc_n(N, sizeof *video), same;
    ft_set_distance of[FT_SET_DISTANCES], again[FT_SET_DISTANCES];
    ft_rng r = ft_rng_make(1, 77, 11);
    assert_true(x && video);
    for (int64_t i = 0; i < 2 * N * FEATURES; i++) x[i] = (float)ft_rng_normal(&r);
    for (int64_t i = 0; i < N; i++) video[i] = i / 2;
    ft_feature_set a = {x, video, N}, b = {x + N * FEATURES, video, 30};
    ft_halves_opt o = {.ddof = 1, .samples = 100, .halves = 5, .most = 60, .seed = 1};
    assert_int_equal(ft_set_distances_by_halves(&a, &b, FEATURES, &o, of, &same), FT_OK);
    assert_int_equal(same, 30);
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        assert_true(of[i].floor_low <= of[i].floor && of[i].floor <= of[i].floor_high);
        assert_true(isnan(of[i].low) == (i == FT_DISTANCE_frechet || i == FT_DISTANCE_jedi));
        assert_true(isnan(of[i].low) || of[i].low < of[i].high);
        assert_true(isnan(of[i].infinity));
    }
    NEAR(of[FT_DISTANCE_frechet].alike, of[FT_DISTANCE_frechet].floor, 0.5 * of[FT_DISTANCE_frechet].floor);
    assert_int_equal(ft_set_distances_by_halves(&a, &b, FEATURES, &o, again, &same), FT_OK);
    for (int i = 0; i < FT_SET_DISTANCES; i++) assert_true(of[i].value == again[i].value && of[i].floor == again[i].floor);
    a.n = 4; /* two videos: none to spare */
    assert_int_equal(ft_set_distances_by_halves(&a, &b, FEATURES, &o, of, &same), FT_OK);
    assert_true(same == 0 && isnan(of[0].floor) && isnan(of[0].alike) && of[0].value > 0);
    ft_free(x);
    ft_free(video);
}

static void test_resize(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        ft_filter filter;
        bool bytes;
        double off; /* Pillow's weights of bytes have 22 bits: a tie may go the other way. Else results are f32, twice: 255 x
                       2^-23. PyTorch computes in f32: places up to 37 are off by 2e-6, which is 255 times that on each axis */
    } how[] = {{"bilinear.%d.bytes", FT_FILTER_bilinear, true, 1},
               {"bicubic.%d.bytes", FT_FILTER_bicubic, true, 1},
               {"lanczos.%d.bytes", FT_FILTER_lanczos, true, 1},
               {"bicubic.%d", FT_FILTER_bicubic, false, 6e-5},
               {"bilinear.%d", FT_FILTER_bilinear, false, 1.1e-3},
               {"torch.%d", FT_FILTER_torch, false, 1.1e-3},
               {"tf1.%d", FT_FILTER_tf1, false, 6e-5}};
    enum { FROM = 37, MOST = 61 * 61 * 3 };
    float x[FROM * FROM * 3], *want = ft_alloc_n(MOST, sizeof *want), *y = ft_alloc_n(MOST, sizeof *y);
    assert_true(want && y);
    assert_int_equal(ft_safetensors_f32(tensor("picture"), x), FT_OK);
    for (size_t i = 0; i < sizeof how / sizeof *how; i++)
        for (int to = 16; to <= 61; to += 45) {
            char name[40];
            ft_resizer *r;
            int64_t differ = 0, n = (int64_t)to * to * 3;
            snprintf(name, sizeof name, how[i].name, to);
            assert_int_equal(ft_safetensors_f32(tensor(name), want), FT_OK);
            assert_int_equal(ft_resizer_new(&r, FROM, to, how[i].filter), FT_OK);
            ft_resize_picture(r, x, how[i].bytes, y);
            for (int64_t k = 0; k < n; k++) {
                NEAR(y[k], want[k], how[i].off);
                differ += y[k] != want[k];
            }
            if (how[i].bytes) assert_true(differ * 1000 < n);
            ft_resizer_free(r);
        }
    ft_resizer *r;
    assert_int_equal(ft_resizer_new(&r, FROM, 38, FT_FILTER_none), FT_EDATA);
    ft_free(want);
    ft_free(y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_frechet),  cmocka_unit_test(test_known),
                                       cmocka_unit_test(test_pairs),    cmocka_unit_test(test_scores),
                                       cmocka_unit_test(test_halves),   cmocka_unit_test(test_small_sets),
                                       cmocka_unit_test(test_infinity), cmocka_unit_test(test_resize)};
    return cmocka_run_group_tests_name("metrics", tests, open_golden, close_golden);
}
