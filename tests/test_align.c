/* Optical flow, its pictures, and the alignment losses against plain double-precision forms. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/graph/graph.h"
#include "common/io/safetensors.h"
#include "gen/align.h"
#include "gen/flow.h"
#include "tests/golden_value.h"

static float texture(double x, double y)
{
    return (float)(128 + 40 * sin(0.31 * x + 0.17 * y) + 35 * sin(0.11 * x - 0.37 * y + 1) + 20 * cos(0.23 * x + 0.29 * y));
}

/* a picture that moved by (u, v): the flow is found to a fraction of a pixel, also for steps beyond the window's reach */
static void test_lucas_kanade(void **state)
{
    (void)state;
    enum { N = 64 };
    static float a[N * N], b[N * N], flow[N * N * 2];
    static const double moves[][2] = {{1.5, -0.7}, {-0.3, 0.4}, {5, 3}, {0, 0}};
    for (int m = 0; m < 4; m++) {
        for (int i = 0; i < N * N; i++) a[i] = texture(i % N, i / N), b[i] = texture(i % N - moves[m][0], i / N - moves[m][1]);
        assert_int_equal(ft_flow_lucas_kanade(a, b, N, flow), FT_OK);
        double error = 0;
        int n = 0;
        for (int y = 8; y < N - 8; y++)
            for (int x = 8; x < N - 8; x++, n++)
                error += hypot((double)flow[2 * (y * N + x)] - moves[m][0], (double)flow[2 * (y * N + x) + 1] - moves[m][1]);
        if (error / n > 0.15) fail_msg("move (%g, %g): mean error %g pixels", moves[m][0], moves[m][1], error / n);
    }
    for (int i = 0; i < N * N; i++) a[i] = b[i] = 77; /* nothing to see: nothing moves */
    assert_int_equal(ft_flow_lucas_kanade(a, b, N, flow), FT_OK);
    for (int i = 0; i < 2 * N * N; i++) assert_true(flow[i] == 0);
}

static void test_pictures(void **state)
{
    (void)state;
    char path[600];
    ft_safetensors st;
    float flow[512], hsv[768];
    uint8_t rgb[768];
    snprintf(path, sizeof path, "%s/golden/flow.safetensors", FT_TEST_DIR);
    if (ft_safetensors_read(&st, path) < 0) fail_msg("%s", ft_error_message());
    for (uint32_t i = 0; i < 512; i++) flow[i] = 3 * value(0x52C0D670u, i); /* the CRC-32 of "flow" */
    const ft_st_tensor *wheel = ft_safetensors_find(&st, "wheel");
    ft_flow_picture(flow, 16, FT_FLOW_WHEEL, rgb);
    for (int i = 0; i < 768; i++) { /* torchvision divides by another epsilon: a floor may fall on the other side */
        int d = abs((int)rgb[i] - (int)((const uint8_t *)wheel->data)[i]);
        if (d > 1) fail_msg("wheel %d is %d, torchvision has %d", i, rgb[i], ((const uint8_t *)wheel->data)[i]);
    }
    assert_int_equal(ft_safetensors_f32(ft_safetensors_find(&st, "hsv"), hsv), FT_OK);
    ft_flow_picture(flow, 16, FT_FLOW_HSV, rgb);
    for (int i = 0; i < 768; i++) assert_true(fabs((double)rgb[i] - (double)hsv[i]) < 0.51); /* rounded once */
    memset(flow, 0, sizeof flow);
    ft_flow_picture(flow, 16, FT_FLOW_WHEEL, rgb);
    assert_int_equal(rgb[0], 255); /* no motion is white on the wheel, black in Eq 13 */
    ft_flow_picture(flow, 16, FT_FLOW_HSV, rgb);
    assert_int_equal(rgb[0], 0);
    ft_safetensors_free(&st);
}

/* ---- the losses --------------------------------------------------------------------------------------------------------- */

enum { B = 2, BLOCKS = 2, F = 2, G = 2, D = 6, K = F * G * G, N = 3 }; /* N frames of tokens: the last is an image, not aligned */

static double pearson(const double *a, const double *b, int n)
{
    double ma = 0, mb = 0, ab = 0, aa = 0, bb = 0;
    for (int i = 0; i < n; i++) ma += a[i] / n, mb += b[i] / n;
    for (int i = 0; i < n; i++) ab += (a[i] - ma) * (b[i] - mb), aa += (a[i] - ma) * (a[i] - ma), bb += (b[i] - mb) * (b[i] - mb);
    return ab / sqrt(aa * bb);
}

static double reference(const ft_align *a, double y[BLOCKS][B][K][D], double h[BLOCKS][B][K][D], const double *decay,
                        double *measure)
{
    double total = 0, mean_decay = (decay[0] + decay[1]) / 2, by_sample[B] = {0};
    *measure = 0;
    for (int i = 0; i < BLOCKS; i++) {
        if (a->mode == FT_ALIGN_PAPER)
            for (int c = 0; c < D; c++) {
                double u[B * K], v[B * K];
                for (int b = 0; b < B; b++)
                    for (int k = 0; k < K; k++) u[b * K + k] = y[i][b][k][c], v[b * K + k] = h[i][b][k][c];
                *measure += (1 - pearson(u, v, B * K)) / D / BLOCKS;
            }
        for (int b = 0; a->mode != FT_ALIGN_PAPER && b < B; b++)
            for (int k = 0; k < K; k++) {
                if (a->mode != FT_ALIGN_TRD) {
                    double r = (1 - pearson(y[i][b][k], h[i][b][k], D)) / K / BLOCKS;
                    by_sample[b] += r;
                    *measure += r / B;
                    continue;
                }
                for (int j = 0; j < K; j++) {
                    double s[2], n[2][2] = {{0}}, dot[2] = {0};
                    for (int c = 0; c < D; c++) {
                        const double *p[2][2] = {{&y[i][b][k][c], &y[i][b][j][c]}, {&h[i][b][k][c], &h[i][b][j][c]}};
                        for (int w = 0; w < 2; w++)
                            dot[w] += *p[w][0] * *p[w][1], n[w][0] += *p[w][0] * *p[w][0], n[w][1] += *p[w][1] * *p[w][1];
                    }
                    for (int w = 0; w < 2; w++) s[w] = dot[w] / sqrt(n[w][0] * n[w][1]);
                    *measure += fabs(s[0] - s[1]) / (K * K) / BLOCKS / B;
                    by_sample[b] += fmax(fabs(s[0] - s[1]) - a->margin, 0) / (K * K) / BLOCKS;
                }
            }
    }
    if (a->mode == FT_ALIGN_PAPER || a->mode == FT_ALIGN_RELEASED) total = *measure * mean_decay;
    else total = (by_sample[0] * decay[0] + by_sample[1] * decay[1]) / B;
    return a->weight * (a->mode == FT_ALIGN_TRD ? total : fmax(total - a->margin, 0));
}

static double run_loss(const ft_align *a, bool same, double *measure, double *want, double *want_measure, double *moved)
{
    static double y[BLOCKS][B][K][D], h[BLOCKS][B][K][D];
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 0);
    ft_rng r = ft_rng_make(1, 2, 3);
    ft_t tap[BLOCKS], target = ft_input(g, "target", FT_F32, 2, (int64_t[]){B, BLOCKS * K * D}),
                      decay = ft_input(g, "decay", FT_F32, 1, (int64_t[]){B});
    float v[B * N * G * G * D];
    for (int i = 0; i < BLOCKS; i++) {
        for (int b = 0; b < B; b++)
            for (int k = 0; k < N * G * G; k++)
                for (int c = 0; c < D; c++) {
                    float x = v[(b * N * G * G + k) * D + c] = (float)ft_rng_normal(&r);
                    if (k >= K) continue;
                    float t = (float)(same ? 2.0 * (double)x + 1 : ft_rng_normal(&r));
                    if (same && a->mode == FT_ALIGN_TRD) t = 3 * x;
                    y[i][b][k][c] = (double)x, h[i][b][k][c] = (double)t;
                    ((float *)ft_data(target))[((b * BLOCKS + i) * K + k) * D + c] = t;
                }
        tap[i] = ft_param(g, i ? "tap1" : "tap0", 5, (int64_t[]){B, N, G, G, D}, (ft_init){FT_INIT_VALUES, 0, v});
    }
    double d[B] = {0.5, 1};
    for (int b = 0; b < B; b++) ((float *)ft_data(decay))[b] = (float)d[b];
    ft_t m, loss = ft_align_loss(g, a, tap, target, decay, &m);
    ft_keep(loss);
    ft_backward(g, loss);
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    *want = reference(a, y, h, d, want_measure);
    *measure = (double)*(float *)ft_data(m);
    double got = (double)*(float *)ft_data(loss);
    *moved = 0;
    for (int64_t i = 0; i < ft_params_trained_size(params); i++) *moved += fabs((double)ft_params_grad(params)[i]);
    for (int b = 0; b < B; b++) /* images feel nothing */
        for (int k = K * D; k < N * G * G * D; k++) assert_true(ft_params_grad(params)[b * N * G * G * D + k] == 0);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    return got;
}

static void test_losses(void **state)
{
    (void)state;
    for (int mode = FT_ALIGN_PAPER; mode <= FT_ALIGN_TRD; mode++) {
        ft_align a = {.mode = (ft_align_mode)mode,
                      .weight = 0.3,
                      .margin = 0.1,
                      .blocks = BLOCKS,
                      .tap = {0, 1},
                      .frames = F,
                      .grid = G,
                      .width = D,
                      .channels = D};
        double measure, want, want_measure, moved, got = run_loss(&a, false, &measure, &want, &want_measure, &moved);
        if (!(fabs(got - want) < 2e-6 && fabs(measure - want_measure) < 2e-6 && want > 0.01 && moved > 1e-3))
            fail_msg("mode %d: loss %g (want %g), distance %g (want %g), gradient %g", mode, got, want, measure, want_measure,
                     moved);
        got = run_loss(&a, true, &measure, &want, &want_measure, &moved); /* features that agree: nothing to pull */
        assert_true(got == 0 && moved == 0 && fabs(measure) < 1e-5);
        a.margin = 3; /* beyond every distance: the hinge never fires */
        got = run_loss(&a, false, &measure, &want, &want_measure, &moved);
        assert_true(got == 0 && moved == 0 && measure > 0.1);
    }
}

/* Endora's prior as it is written: every channel of the 2x2 convolution, their mean, and a correlation for each frame; blocks 0
 * and 2 of three are aligned */
static void test_endora(void **state)
{
    (void)state;
    enum { C = 5, TAPS = 3, CELLS = G * G };
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 0);
    ft_rng r = ft_rng_make(5, 6, 7);
    ft_align a = {.mode = FT_ALIGN_ENDORA,
                  .weight = 0.5,
                  .margin = 9,
                  .blocks = BLOCKS,
                  .tap = {0, 2},
                  .frames = F,
                  .grid = G,
                  .width = D,
                  .channels = 4 * C};
    ft_t tap[TAPS], target = ft_input(g, "target", FT_F32, 2, (int64_t[]){B, BLOCKS * K * 4 * C});
    static float v[TAPS][B][N][CELLS][D];
    float *h = ft_data(target); /* (B,BLOCKS,F,CELLS,C,2,2) */
    for (int i = 0; i < B * BLOCKS * K * 4 * C; i++) h[i] = (float)ft_rng_normal(&r);
    for (int i = 0; i < TAPS; i++) {
        for (int k = 0; k < B * N * CELLS * D; k++) (&v[i][0][0][0][0])[k] = (float)ft_rng_normal(&r);
        tap[i] =
            ft_param(g, ft_name(g, "tap%d", i), 5, (int64_t[]){B, N, G, G, D}, (ft_init){FT_INIT_VALUES, 0, &v[i][0][0][0][0]});
    }
    ft_t measure, loss = ft_align_loss(g, &a, tap, target, ft_input(g, "decay", FT_F32, 1, (int64_t[]){B}), &measure);
    ft_keep(loss);
    ft_backward(g, loss);
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    const float *w = NULL, *moved[TAPS] = {NULL}, *adapter = NULL;
    for (int i = 0; i < ft_params_count(params); i++) {
        const ft_param_info *e = ft_params_at(params, i);
        const float *grad = ft_params_grad(params) + e->offset;
        if (!strncmp(e->name, "tap", 3)) moved[e->name[3] - '0'] = grad;
        else
            w = ft_params_flat(params, FT_WEIGHTS) + e->offset, adapter = grad,
            assert_string_equal(e->name, "training.prior_adapter.weight");
    }
    double want = 0;
    for (int i = 0; i < BLOCKS; i++)
        for (int b = 0; b < B; b++)
            for (int f = 0; f < F; f++) {
                double x[CELLS] = {0}, y[CELLS] = {0};
                for (int k = 0; k < CELLS; k++)
                    for (int d = 0; d < D; d++) {
                        x[k] += (double)v[a.tap[i]][b][f][k][d] / D;
                        for (int c = 0; c < 4 * C; c++)
                            y[k] +=
                                (double)w[d * 4 * C + c] * (double)h[(((b * BLOCKS + i) * F + f) * CELLS + k) * 4 * C + c] / D;
                    }
                want += (1 - pearson(x, y, CELLS)) / (BLOCKS * B * F);
            }
    assert_true(fabs((double)*(float *)ft_data(measure) - want) < 2e-6);
    assert_true(fabs((double)*(float *)ft_data(loss) - 0.5 * want) < 2e-6);
    double sum[3] = {0};
    for (int k = 0; k < B * N * CELLS * D; k++) {
        sum[0] += fabs((double)moved[0][k]), sum[1] += fabs((double)moved[2][k]);
        assert_true(moved[1] == NULL || moved[1][k] == 0);
        if (k / (CELLS * D) % N == F) assert_true(moved[0][k] == 0 && moved[2][k] == 0); /* images feel nothing */
    }
    for (int k = 0; k < D * 4 * C; k++) sum[2] += fabs((double)adapter[k]);
    assert_true(sum[0] > 1e-3 && sum[1] > 1e-3 && sum[2] > 1e-3);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_lucas_kanade), cmocka_unit_test(test_pictures),
                                       cmocka_unit_test(test_losses), cmocka_unit_test(test_endora)};
    return cmocka_run_group_tests_name("align", tests, NULL, NULL);
}
