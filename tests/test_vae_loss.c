/* What a VAE is trained for: perceptual distances, equivariance, the adversary's share. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/status.h"
#include "common/vision/dino.h"
#include "gen/vae_loss.h"
#include "tests/golden_value.h"

static ft_t filled(ft_graph *g, const char *name, int nd, const int64_t *dim)
{
    ft_t x = ft_input(g, name, FT_F32, nd, dim);
    for (int64_t i = 0; i < ft_count(x); i++) ((float *)ft_data(x))[i] = value(crc32_of(name), i);
    return x;
}

static const ft_vae_preset small = {&ft_vae_causal,   "narrow",     4,         1,         4, 1,    2,         2, 8,
                                    {16, 16, 32, 32}, {3, 3, 3, 3}, {2, 2, 1}, {2, 2, 2}, 8, true, FT_FC_NONE};

static ft_plan *planned(ft_graph *g)
{
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    return plan;
}

/* Each term of the VAE's loss reaches the decoder's last layer; the discriminator's weight makes its gradient as long as the
 * reconstruction's; and borrowed weights get none. */
static void test_vae_judges(void **state)
{
    (void)state;
    ft_vae_preset p = small;
    ft_params *params = ft_params_new(1), *judge = ft_params_new(2), *critic = ft_params_new(3);
    assert_int_equal(ft_params_train_only(judge, 0, NULL), FT_OK);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = filled(g, "x", 5, (int64_t[]){1, 8, 32, 32, 3});
    ft_vae_loss_opt opt = {.perceptual = 1,
                           .equivariance = 1,
                           .gan = 0.5,
                           .judge = "lpips-alex",
                           .judge_params = judge,
                           .critic = critic,
                           .gan_on = ft_input(g, "gan_on", FT_F32, 1, (int64_t[]){1})};
    ft_vae_loss_terms l = ft_vae_loss(g, &p, x, &opt);
    ft_t w = ft_param(g, "decoder.conv_out.conv.weight", 5, (int64_t[]){3, 16, 3, 3, 3}, FT_ZERO);
    ft_t adversary = ft_gradient(g, l.gan, w), perceptual = ft_gradient(g, l.perceptual, w),
         turned = ft_gradient(g, l.equivariance, w),
         all = ft_gradient(g, ft_add(g, ft_add(g, l.l1, l.equivariance), l.perceptual), w);
    ft_keep(adversary), ft_keep(perceptual), ft_keep(turned), ft_keep(all), ft_keep(l.gan_weight);
    ft_backward(g, l.total);
    ft_plan *plan = planned(g);
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    double a = 0, b = 0, q = 0, r = 0;
    for (int64_t i = 0; i < ft_count(w); i++) {
        a += pow((double)((float *)ft_data(adversary))[i], 2);
        b += pow((double)((float *)ft_data(perceptual))[i], 2);
        q += pow((double)((float *)ft_data(turned))[i], 2);
        r += pow((double)((float *)ft_data(all))[i], 2);
    }
    assert_true(a > 0 && b > 0 && q > 0);
    double weight = (double)*(float *)ft_data(l.gan_weight), want = 0.5 * fmin(sqrt(r) / (sqrt(a) + 1e-4), 1e4);
    assert_true(fabs(weight - want) < 1e-4 * want);
    for (int i = 0; i < ft_params_count(critic); i++) { /* a critic's gradients are its own graph's business */
        const ft_param_info *e = ft_params_at(critic, i);
        for (int64_t k = 0; e->trained && k < e->count; k++) assert_true(ft_params_grad(critic)[e->offset + k] == 0);
    }
    assert_int_equal(ft_params_trained_size(judge), 0);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_params_free(judge);
    ft_params_free(critic);
}

/* The distance of two pictures, from the tokens of the transformer in double precision; gradients reach the first alone. */
static void test_dino_distance(void **state)
{
    (void)state;
    enum { B = 2, SIDE = 28, PLACES = 4, BLOCKS = 4 };
    const ft_dino_preset *p = ft_dino_find("dinov2-s14");
    ft_params *params = ft_params_new(1);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t clip[2], token[2][BLOCKS];
    for (int k = 0; k < 2; k++) {
        clip[k] = ft_input(g, k ? "y" : "x", FT_F32, 5, (int64_t[]){B, 1, SIDE, SIDE, 3});
        ft_need_grad(clip[k]);
        for (int64_t i = 0; i < ft_count(clip[k]); i++) ((float *)ft_data(clip[k]))[i] = value((uint32_t)k, i);
        ft_t seen = ft_input(g, k ? "seen y" : "seen x", FT_F32, 4, (int64_t[]){B, SIDE, SIDE, 3});
        for (int64_t i = 0; i < ft_count(seen); i++)
            ((float *)ft_data(seen))[i] =
                (((float *)ft_data(clip[k]))[i] / 2 + 0.5f - ft_imagenet_mean[i % 3]) / ft_imagenet_std[i % 3];
        ft_dino(g, p, seen, BLOCKS, (int[]){2, 5, 8, 11}, token[k]);
        for (int i = 0; i < BLOCKS; i++) ft_keep(token[k][i]);
    }
    ft_t d = ft_perceptual(g, "dinov2-s14", clip[0], clip[1], 0), same = ft_perceptual(g, "dinov2-s14", clip[0], clip[0], 0);
    ft_keep(d), ft_keep(same);
    ft_backward(g, d);
    ft_t slope = ft_grad(g, clip[0]);
    assert_non_null(slope);
    assert_null(ft_grad(g, clip[1]));
    ft_keep(slope);
    ft_plan *plan = planned(g);
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    double want = 0;
    for (int i = 0; i < BLOCKS; i++)
        for (int b = 0; b < B; b++)
            for (int t = 1; t <= PLACES; t++) { /* token 0 is the class's */
                const float *v[2];
                double norm[2] = {0};
                for (int k = 0; k < 2; k++) {
                    v[k] = (float *)ft_data(token[k][i]) + (b * (1 + PLACES) + t) * p->width;
                    for (int c = 0; c < p->width; c++) norm[k] += (double)v[k][c] * (double)v[k][c];
                }
                for (int c = 0; c < p->width; c++) {
                    double e = (double)v[0][c] / sqrt(norm[0]) - (double)v[1][c] / sqrt(norm[1]);
                    want += e * e / (BLOCKS * B * PLACES);
                }
            }
    double got = (double)*(float *)ft_data(d), sum = 0;
    assert_true(want > 0.001);
    assert_true(fabs(got - want) < 1e-4 * want); /* tokens of unit length in f32: their differences are 1e-7 of 0.03 and more */
    assert_true(*(float *)ft_data(same) == 0);
    for (int64_t i = 0; i < ft_count(slope); i++) sum += fabs((double)((float *)ft_data(slope))[i]);
    assert_true(sum > 0);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    assert_true(ft_perceptual_known("lpips-vgg") && ft_perceptual_known("dino-vits8") && !ft_perceptual_known("vgg"));
}

/* The drawn frames are frames of the clip, different ones, the same of both, and in time every one of them. */
static void test_drawn_frames(void **state)
{
    (void)state;
    enum { B = 3, T = 5, N = 2, STEPS = 40 };
    ft_params *params = ft_params_new(1);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){B, T, 1, 1, 3}), y = ft_input(g, "y", FT_F32, 5, (int64_t[]){B, T, 1, 1, 3});
    for (int i = 0; i < B * T * 3; i++) ((float *)ft_data(x))[i] = (float)i, ((float *)ft_data(y))[i] = (float)(1000 + i);
    ft_perceptual_frames(g, &x, &y, N);
    ft_keep(x), ft_keep(y);
    ft_plan *plan = planned(g);
    int seen[B][T] = {{0}};
    for (int step = 0; step < STEPS; step++) {
        assert_int_equal(ft_run(plan, &(ft_step){.seed = 7, .step = step}), FT_OK);
        for (int b = 0; b < B; b++) {
            int frame[N];
            for (int n = 0; n < N; n++) {
                const float *v = (float *)ft_data(x) + (b * N + n) * 3, *w = (float *)ft_data(y) + (b * N + n) * 3;
                frame[n] = (int)v[0] / 3 - b * T;
                assert_in_range(frame[n], 0, T - 1);
                seen[b][frame[n]]++;
                for (int c = 0; c < 3; c++) {
                    assert_true(v[c] == (float)((b * T + frame[n]) * 3 + c));
                    assert_true(w[c] == 1000 + v[c]);
                }
            }
            assert_int_not_equal(frame[0], frame[1]);
        }
    }
    for (int b = 0; b < B; b++)
        for (int t = 0; t < T; t++) assert_true(seen[b][t] > 0); /* missed by chance: 0.6^40 */
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* A square of four colours, by hand: quarter turns anticlockwise, then means of four pixels. */
static void test_turned(void **state)
{
    (void)state;
    enum { SIDE = 4 };
    /* rows of quarters (upper left, upper right, lower left, lower right) of the picture 1 2 / 3 4, turned k quarters */
    static const float want[4][4] = {{1, 2, 3, 4}, {2, 4, 1, 3}, {4, 3, 2, 1}, {3, 1, 4, 2}};
    ft_params *params = ft_params_new(1);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){4, 1, SIDE, SIDE, 1}),
         turn = ft_input(g, "turn", FT_F32, 5, (int64_t[]){4, 4, 1, 1, 1});
    for (int b = 0; b < 4; b++)
        for (int i = 0; i < SIDE * SIDE; i++)
            ((float *)ft_data(x))[b * SIDE * SIDE + i] = (float)(1 + (i % SIDE) / 2 + 2 * (i / SIDE / 2));
    for (int i = 0; i < 16; i++) ((float *)ft_data(turn))[i] = i / 4 == i % 4;
    ft_t y = ft_turn_and_halve(g, x, turn);
    ft_keep(y);
    ft_plan *plan = planned(g);
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    for (int b = 0; b < 4; b++) { /* the filter is a triangle of four pixels: it mixes the quarters, but turns with them */
        const float *v = (float *)ft_data(y) + b * 4;
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < 4; k++) assert_true((v[i] < v[k]) == (want[b][i] < want[b][k]));
    }
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vae_judges), cmocka_unit_test(test_dino_distance),
                                       cmocka_unit_test(test_drawn_frames), cmocka_unit_test(test_turned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
