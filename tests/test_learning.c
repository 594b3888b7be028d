/* Diffusion, samplers, losses, semi-supervised algorithms, optimisers, scores, statistics: reference values and properties. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "classify/views.h"
#include "classify/scores.h"
#include "classify/ssl.h"
#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/config.h"
#include "common/io/safetensors.h"
#include "experiments/statistics/frechet.h"
#include "experiments/statistics/stats.h"
#include "gen/diffusion.h"
#include "gen/generator.h"
#include "gen/phantom.h"
#include "gen/vae_loss.h"
#include "gen/walk.h"
#include "tests/golden/scores.h"
#include "tests/golden_value.h"

#define NEAR(a, b, tol)                                                                                                          \
    do {                                                                                                                         \
        double a_ = (a), b_ = (b);                                                                                               \
        if (!(fabs(a_ - b_) <= (tol))) fail_msg(#a " is %.10g, should be %.10g", a_, b_);                                        \
    } while (0)

/* ---- diffusion: reference values, found apart in double precision ---- */
static void test_schedule(void **state)
{
    (void)state;
    const double *a = ft_alpha_bar(FT_BETA_LINEAR);
    NEAR(ft_alpha_bar(FT_BETA_SQRT)[0], 0.9985, 1e-12); /* computed in Python */
    NEAR(ft_alpha_bar(FT_BETA_SQRT)[500], 0.1500700509422162, 1e-12);
    NEAR(ft_alpha_bar(FT_BETA_SQRT)[999], 0.0006686651737398004, 1e-12);
    float c[8], last[8]; /* logarithms found apart */
    ft_vlb_coefficients(FT_BETA_LINEAR, 0, c);
    ft_vlb_coefficients(FT_BETA_LINEAR, 999, last);
    assert_true(fabs((double)c[5] + 9.816725) < 1e-5 && fabs((double)c[4] + 9.210340) < 1e-5 && c[6] == 1 && c[2] == 1 &&
                c[3] == 0);
    assert_true(fabs((double)last[4] + 3.912023) < 2e-6 && fabs((double)last[5] + 3.912024) < 2e-6 && last[6] == 0);
    ft_vlb_coefficients(FT_BETA_LINEAR, 500,
                        c); /* the posterior mean of the true x0 and noise, without noise in the step, is q's */
    assert_true(fabs((double)(c[2] + c[3] * (float)sqrt(a[500])) - sqrt(a[499])) < 1e-5);
    NEAR(a[0], 0.9999, 1e-12);
    NEAR(a[250], 0.5214230, 5e-8);
    NEAR(a[500], 0.0777967, 5e-8);
    NEAR(a[999], 4.03583e-5, 5e-11);
    int tau[250];
    ft_sample_times(250, tau);
    for (int i = 0; i < 250; i++)
        assert_int_equal(tau[249 - i], i <= 41 ? 4 * i : i <= 124 ? 4 * i + 1 : i <= 207 ? 4 * i + 2 : 4 * i + 3);
}

/* What the exact denoiser of data N(0.7, 0.25) makes of n clips of `each` values; t is alpha. Variance preserving, or of a flow.
 */
static ft_t denoised(ft_graph *g, ft_t x, ft_t t, bool flow)
{
    t = ft_reshape(g, t, 2, (int64_t[]){ft_dim(x, 0), 1});
    ft_t a2 = ft_unary(g, FT_SQUARE, t), s2 = flow ? ft_unary(g, FT_SQUARE, ft_affine(g, t, -1, 1)) : ft_affine(g, a2, -1, 1);
    ft_t by = ft_div(g, ft_affine(g, t, 0.25f, 0), ft_add(g, ft_affine(g, a2, 0.25f, 0), s2)); /* x0 = 0.7 + by (x - 0.7 t) */
    return ft_add(g, ft_mul(g, x, by), ft_affine(g, ft_mul(g, by, t), -0.7f, 0.7f));
}

/* plain: how what the second way's network says is scaled, as the guided one's is by 0.75; 0: there is no second way */
static void walk_two(ft_path p, bool flow, int64_t n, int64_t each, float plain, const float *from, float *to)
{
    const int64_t dim[2] = {n, each};
    ft_params *none = ft_params_new(0);
    ft_graph *g = ft_graph_new(none, FT_F32, 1), *h = plain != 0 ? ft_graph_new(none, FT_F32, 1) : NULL;
    ft_plan *plan, *second = NULL;
    ft_walk *w;
    ft_t x, t;
    p.predicts = FT_PREDICTS_X0, p.time = p.alpha;
    assert_int_equal(ft_walk_new(&w, g, &p, 2, dim, &x, &t), FT_OK);
    ft_t y = denoised(g, x, t, flow), half = ft_affine(g, y, 0, 0);
    assert_int_equal(
        ft_walk_update(w, p.guidance ? ft_affine(g, y, 0.75f, 0) : y, ft_affine(g, y, 0.5f, 0), p.learned ? half : NULL), FT_OK);
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    if (h) {
        ft_walk_plain(w, h, dim, &x, &t);
        y = denoised(h, x, t, flow), half = ft_affine(h, y, 0, 0);
        assert_int_equal(ft_walk_update(w, ft_affine(h, y, plain, 0), NULL, p.learned ? half : NULL), FT_OK);
        assert_int_equal(ft_plan_new(&second, h, FT_WEIGHTS), FT_OK);
    }
    const float *out;
    float nothing[1] = {NAN};
    /* what was there before takes no part */
    if (n == 1) assert_int_equal(ft_walk_run(w, plan, second, 3, 0, nothing, &out), FT_OK);
    assert_int_equal(ft_walk_run(w, plan, second, 3, 0, from, &out), FT_OK);
    memcpy(to, out, (size_t)(n * each) * sizeof *to);
    ft_plan_free(plan);
    ft_plan_free(second);
    ft_walk_free(w);
    ft_graph_free(g);
    ft_graph_free(h);
    ft_params_free(none);
}
static void walk_from(ft_path p, bool flow, int64_t n, int64_t each, const float *from, float *to)
{
    walk_two(p, flow, n, each, 0, from, to);
}

static float walk(ft_sampler kind, const double *alpha, const double *sigma, bool flow)
{
    float from = 1.3f, to;
    walk_from((ft_path){.kind = kind, .steps = 10, .alpha = alpha, .sigma = sigma}, flow, 1, 1, &from, &to);
    return to;
}

static void test_samplers(void **state)
{
    (void)state;
    double alpha[11], sigma[11], from = log(1 / tan(M_PI * 0.98 / 2)), to = log(1 / tan(M_PI * 0.02 / 2));
    for (int i = 0; i <= 10; i++) { /* uniform in lambda = log(alpha / sigma), alpha^2 + sigma^2 = 1 */
        double l = from + (to - from) * i / 10;
        alpha[i] = sqrt(1 / (1 + exp(-2 * l)));
        sigma[i] = sqrt(1 / (1 + exp(2 * l)));
    }
    NEAR((double)walk(FT_DDIM, alpha, sigma, false), 1.238514308,
         2e-5); /* the state is f32: ten steps of 2^-24, amplified by 1/alpha = 32 */
    NEAR((double)walk(FT_UNIPC, alpha, sigma, false), 1.354880569, 2e-5);
    from = log(0.02 / 0.98), to = log(0.98 / 0.02); /* a rectified flow: alpha = 1 - t */
    for (int i = 0; i <= 10; i++) {
        sigma[i] = 1 / (1 + exp(from + (to - from) * i / 10));
        alpha[i] = 1 - sigma[i];
    }
    NEAR((double)walk(FT_DDIM, alpha, sigma, true), 1.215890911, 2e-5);
    NEAR((double)walk(FT_UNIPC, alpha, sigma, true), 1.348748086, 2e-5);
    for (int i = 0; i <= 10; i++) sigma[i] = 1 - i / 10.0, alpha[i] = i / 10.0; /* from pure noise, alpha 0, to data, sigma 0 */
    NEAR((double)walk(FT_UNIPC, alpha, sigma, true), 0.7 + 0.5 * 1.3,
         0.03); /* the exact flow maps N(0,1) to N(0.7,0.25) linearly */
    assert_true(isfinite(walk(FT_DDIM, alpha, sigma, true)));
    double twice[10]; /* 2 (0.75 y) - 0.5 y is y */
    float alone = walk(FT_UNIPC, alpha, sigma, true), start = 1.3f, guided;
    for (int i = 0; i < 10; i++) twice[i] = 2;
    walk_from((ft_path){.kind = FT_UNIPC, .steps = 10, .alpha = alpha, .sigma = sigma, .guidance = twice}, true, 1, 1, &start,
              &guided);
    NEAR((double)guided, (double)alone, 2e-6);
}

/* Where guidance is 1, a network that is asked once takes the steps: the same bits. */
static void test_plain_steps(void **state)
{
    (void)state;
    enum { STEPS = 9, N = 3, EACH = 5 };
    double alpha[STEPS + 1], sigma[STEPS + 1], guidance[STEPS];
    for (int i = 0; i <= STEPS; i++) sigma[i] = 0.99 * (STEPS - i) / STEPS, alpha[i] = sqrt(1 - sigma[i] * sigma[i]);
    for (int i = 0; i < STEPS; i++) guidance[i] = i < 3 || i == 5 || i == STEPS - 1 ? 1 : 3.5;
    for (int kind = FT_DDIM; kind <= FT_DDPM; kind++) {
        float one[N * EACH], two[N * EACH], other[N * EACH];
        ft_path p = {.kind = (ft_sampler)kind,
                     .steps = STEPS,
                     .alpha = alpha,
                     .sigma = sigma,
                     .guidance = guidance,
                     .learned = kind == FT_DDPM};
        walk_two(p, false, N, EACH, 0, NULL, one);
        walk_two(p, false, N, EACH, 0.75f, NULL, two);
        walk_two(p, false, N, EACH, 0.5f, NULL, other);
        assert_memory_equal(one, two, sizeof one);
        for (int i = 0; i < N * EACH; i++) assert_true(isfinite(one[i]));
        assert_memory_not_equal(one, other, sizeof one); /* and it was that network */
    }
}

/* ancestral sampling with the exact denoiser draws from the data's distribution; a larger variance widens it */
static void test_ddpm(void **state)
{
    (void)state;
    enum { STEPS = 100, N = 16384 };
    static float x[N];
    double alpha[STEPS + 1], sigma[STEPS + 1], spread[2];
    int tau[STEPS];
    ft_sample_times(STEPS, tau);
    for (int i = 0; i < STEPS; i++)
        alpha[i] = sqrt(ft_alpha_bar(FT_BETA_LINEAR)[tau[i]]), sigma[i] = sqrt(1 - ft_alpha_bar(FT_BETA_LINEAR)[tau[i]]);
    alpha[STEPS] = 1, sigma[STEPS] = 0;
    for (int learned = 0; learned < 2; learned++) {
        ft_path p = {.kind = FT_DDPM, .steps = STEPS, .alpha = alpha, .sigma = sigma, .learned = learned};
        walk_from(p, false, N / 4, 4, NULL, x);
        double mean = 0, square = 0;
        for (int k = 0; k < N; k++) mean += (double)x[k] / N, square += (double)x[k] * (double)x[k] / N;
        spread[learned] = sqrt(square - mean * mean);
        NEAR(mean, 0.7, 4 * 0.5 / sqrt(N)); /* four standard errors */
    }
    /* the posterior's variance is a little too small when steps are large (Nichol & Dhariwal), log beta a little too large */
    assert_true(spread[0] > 0.45 && spread[0] < 0.5 && spread[1] > spread[0] && spread[1] < 0.53);
    float whole[8], half[4];
    ft_clip_noise(3, 7, 5, 4, whole, 8);
    ft_clip_noise(3, 7, 6, 4, half, 4);
    assert_memory_equal(whole + 4, half, sizeof half); /* a clip's noise does not depend on its batch */
}

static void test_min_snr(void **state)
{
    (void)state;
    for (int t = 0; t < FT_T; t += 37) {
        double bar = ft_alpha_bar(FT_BETA_LINEAR)[t], snr = bar / (1 - bar);
        NEAR(ft_min_snr_weight(FT_BETA_LINEAR, t, 5), fmin(snr, 5) / snr, 1e-12);
    }
    assert_true(ft_min_snr_weight(FT_BETA_LINEAR, 0, 5) < 1e-3 && ft_min_snr_weight(FT_BETA_LINEAR, 999, 5) == 1);
}

static void test_focal_frequency(void **state)
{
    (void)state;
    static const float diff[16] = {1, 2, 0, -1, 0, 1, 1, 0, 2, 0, -1, 1, 0, 0, 1, 3};
    static const struct {
        float alpha;
        double loss, row[4];
    } golden[] = {{1, 1.074529207, {0.095225, 0.193090, 0.054775, -0.043090}}, {2, 0.85, {0.085, 0.155, 0.070, 0}}};
    for (int k = 0; k < 2; k++) {
        ft_params *p = ft_params_new(0);
        ft_graph *g = ft_graph_new(p, FT_F32, 0);
        int64_t dim[5] = {1, 1, 4, 4, 1};
        float zero[16] = {0};
        ft_t x = ft_param(g, "x", 5, dim, (ft_init){FT_INIT_VALUES, 0, diff});
        ft_t loss = ft_focal_frequency(g, x, ft_const(g, FT_F32, 5, dim, zero), golden[k].alpha);
        ft_keep(loss);
        ft_backward(g, loss);
        ft_plan *plan;
        assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
        ft_step s = {0, 0, 0, 0, 0};
        ft_run(plan, &s);
        NEAR((double)*(float *)ft_data(loss), golden[k].loss, 1e-6);
        for (int i = 0; i < 4; i++) NEAR((double)((float *)ft_data(ft_grad(g, x)))[i], golden[k].row[i], 1e-6);
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(p);
    }
}

/* ---- every term of the VAE's loss moves gradients ---- */
static double gradient_norm(double kl, double ffl, bool l1)
{
    ft_params *p = ft_params_new(1);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){1, 8, 16, 16, 3});
    for (int i = 0; i < 8 * 16 * 16 * 3; i++) ((float *)ft_data(x))[i] = (float)sin(i * 0.37);
    ft_vae_loss_terms l = ft_vae_loss(g, ft_vae_find("vae-tiny"), x, &(ft_vae_loss_opt){.kl = kl, .ffl = ffl});
    ft_t total = l1 ? l.total : ft_sub(g, l.total, l.l1);
    ft_backward(g, total);
    ft_t norm = ft_optimise(g, (ft_optim_opt){0});
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    ft_step s = {0, 0, 0, 0, 0};
    ft_run(plan, &s);
    double n = (double)*(float *)ft_data(norm);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
    return n;
}

static void test_vae_terms(void **state)
{
    (void)state;
    assert_true(gradient_norm(0, 0, true) > 1e-4);
    assert_true(gradient_norm(1e-3, 0, false) > 1e-6);
    assert_true(gradient_norm(0, 1, false) > 1e-6);
    assert_true(gradient_norm(0, 0, false) < 1e-9);
}

/* ---- FixMatch: the label comes from the weak view, the gradient goes into the strong one ---- */
static void unlabelled_gradients(const char *algorithm, double *weak, double *strong, float *mask_mean)
{
    static const float w[8] = {4, -4, 0.1f, 0, -3, 3, 0, 0.2f}, s[8] = {0.3f, 0.1f, 1, 2, 0.5f, -1, 0, 0};
    ft_config *cfg;
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    ft_params *p = ft_params_new(0);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    int64_t dim[2] = {4, 2};
    ft_t a = ft_param(g, "weak", 2, dim, (ft_init){FT_INIT_VALUES, 0, w}),
         b = ft_param(g, "strong", 2, dim, (ft_init){FT_INIT_VALUES, 0, s}), mask;
    ft_ssl_opt opt = ft_ssl_options(cfg);
    ft_ssl_batch batch = {.opt = &opt, .classes = 2, .clips = 4, .weak = a, .strong = b};
    batch.progress = ft_input(g, "progress", FT_F32, 2, (int64_t[]){1, 1});
    *(float *)ft_data(batch.progress) = 0.2f; /* half of the ramp */
    ft_t loss = ft_ssl_find(algorithm)->loss(g, &batch, &mask);
    ft_t mean = ft_reduce(g, mask, 1, true);
    ft_keep(mean);
    ft_backward(g, loss);
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    ft_step st = {0, 0, 0, 0, 0};
    ft_run(plan, &st);
    *weak = *strong = 0;
    for (int i = 0; i < 8; i++) {
        if (ft_grad(g, a)) *weak += fabs((double)((float *)ft_data(ft_grad(g, a)))[i]);
        if (ft_grad(g, b)) *strong += fabs((double)((float *)ft_data(ft_grad(g, b)))[i]);
    }
    if (ft_grad(g, b)) assert_true(((float *)ft_data(ft_grad(g, b)))[2] == 0); /* row 1 is not confident: no gradient */
    *mask_mean = *(float *)ft_data(mean);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
    ft_config_free(cfg);
}

static void test_fixmatch(void **state)
{
    (void)state;
    double weak, strong;
    float used;
    unlabelled_gradients("fixmatch", &weak, &strong, &used);
    assert_true(weak == 0 && strong > 0.1 && used == 0.5f);
    unlabelled_gradients("pseudolabel", &weak, &strong, &used);
    assert_true(weak > 1e-4 && strong == 0 && used == 0.5f);
}

/* the labelled half of a semi-supervised step is the supervised step, whatever the unlabelled clips are */
static void labelled_logits(int unlabelled, float fill, float out[4], float running[16])
{
    ft_params *p = ft_params_new(2);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    int64_t n = 2 + unlabelled, each = 4 * 16 * 16 * 3;
    ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){n, 4, 16, 16, 3});
    for (int64_t i = 0; i < n * each; i++)
        ((float *)ft_data(x))[i] = i < 2 * each ? (float)sin((double)i * 0.11) : fill * (float)cos((double)i);
    ft_t y = ft_classifier_network(g, "x3d-tiny", x, 2, unlabelled ? 2 : 0, 0, NULL);
    ft_keep(y);
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    ft_step s = {0, 0, 0, 0, 0};
    ft_run(plan, &s);
    memcpy(out, ft_data(y), 4 * sizeof *out);
    for (int i = 0; i < ft_params_count(p); i++)
        if (!strcmp(ft_params_at(p, i)->name, "blocks.0.norm.running_mean"))
            memcpy(running, ft_params_flat(p, FT_WEIGHTS) + ft_params_at(p, i)->offset, 16 * sizeof *running);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
}

static void test_batchnorm_segments(void **state)
{
    (void)state;
    float a[4], b[4], c[4], ra[16], rb[16], rc[16];
    labelled_logits(0, 0, a, ra);
    labelled_logits(3, 1, b, rb);
    labelled_logits(3, 50, c, rc);
    for (int i = 0; i < 4; i++) NEAR((double)a[i], (double)b[i], 1e-5);
    assert_memory_equal(b, c, sizeof b); /* nothing of the unlabelled clips reaches the labelled ones */
    assert_memory_equal(rb, rc, sizeof rb);
    for (int i = 0; i < 16; i++) NEAR((double)ra[i], (double)rb[i], 1e-6);
}

/* a plan that shows views of one clip of F frames, S x S */
typedef struct {
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t rgb, view, cutout, y;
} show;

static show open_show(int F, int S, const uint8_t *clip)
{
    show s = {.params = ft_params_new(0)};
    s.g = ft_graph_new(s.params, FT_F32, 0);
    s.rgb = ft_input(s.g, "rgb", FT_U8, 5, (int64_t[]){1, F, S, S, 3});
    s.view = ft_input(s.g, "view", FT_F32, 2, (int64_t[]){1, FT_VIEW_NUMBERS});
    s.cutout = ft_input(s.g, "cutout", FT_F32, 3, (int64_t[]){1, F, 3});
    ft_keep(s.y = ft_augment(s.g, s.rgb, s.view, s.cutout, 0, 1 / 255.0f)); /* in levels */
    if (ft_plan_new(&s.plan, s.g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    memcpy(ft_data(s.rgb), clip, (size_t)ft_count(s.rgb));
    return s;
}
static const float *shown(const show *s)
{
    assert_int_equal(ft_run(s->plan, &(ft_step){0}), FT_OK);
    return ft_data(s->y);
}
static const float *shown_view(const show *s, bool strong, ft_views views, uint64_t step)
{
    ft_draw_view(strong, views, (int)ft_dim(s->rgb, 1), (int)ft_dim(s->rgb, 2), 1, step, 3, ft_data(s->view), ft_data(s->cutout));
    return shown(s);
}
static void close_show(show *s)
{
    ft_plan_free(s->plan);
    ft_graph_free(s->g);
    ft_params_free(s->params);
}

static void test_augment(void **state)
{
    (void)state;
    enum { F = 3, S = 16, N = F * S * S * 3 };
    static uint8_t clip[N];
    static float a[N];
    for (int i = 0; i < N; i++) clip[i] = (uint8_t)(i % (S * S * 3) * 5); /* all frames equal */
    show s = open_show(F, S, clip);
    bool differs = false;
    for (uint64_t step = 0; step < 40; step++) {
        memcpy(a, shown_view(&s, true, FT_VIEWS_HORIZONTAL, step), sizeof a);
        assert_memory_equal(a, shown_view(&s, true, FT_VIEWS_HORIZONTAL, step),
                            sizeof a);                                    /* a draw depends on (seed, step, item) only */
        assert_memory_equal(a, a + S * S * 3, S * S * 3 * sizeof(float)); /* and is shared by all frames */
        for (int i = 0; i < N; i++) assert_true(a[i] >= 0 && a[i] <= 255.001f);
        differs |= memcmp(a, shown_view(&s, false, FT_VIEWS_HORIZONTAL, step), sizeof a) != 0;
    }
    assert_true(differs);
    close_show(&s);
}

/* dihedral views of a clip without a symmetry of its own: the horizontal view in one of eight positions, each as often */
static void test_augment_dihedral(void **state)
{
    (void)state;
    enum { F = 2, S = 16, N = F * S * S * 3, STEPS = 400 };
    static uint8_t clip[N];
    for (int i = 0; i < N; i++) clip[i] = (uint8_t)(40 + i / 3 % S * 3 + i / 3 / S % S * 8); /* brighter to the right and down */
    show s = open_show(F, S, clip);
    int seen[8] = {0};
    for (uint64_t step = 0; step < STEPS; step++) {
        static float plain[N];
        memcpy(plain, shown_view(&s, false, FT_VIEWS_HORIZONTAL, step), sizeof plain);
        const float *got = shown_view(&s, false, FT_VIEWS_DIHEDRAL, step);
        double across = (double)got[(S - 1) * 3] - (double)got[0], down = (double)got[S * (S - 1) * 3] - (double)got[0];
        int position = (across > 0) + 2 * (down > 0) + 4 * (fabs(across) > fabs(down)), same = 0;
        for (int turn = 0; turn < 4; turn++) { /* what a horizontal flip does not reach: upside down, at the diagonal, both */
            double most = 0;
            for (int i = 0; i < N; i++) {
                int k = i % 3, x = i / 3 % S, y = i / 3 / S % S, u = turn & 2 ? y : x, v = turn & 2 ? x : y;
                int at = (turn & 1 ? S - 1 - v : v) * S + u;
                most = fmax(most, fabs((double)got[i] - (double)plain[i / (S * S * 3) * S * S * 3 + at * 3 + k]));
            }
            same += most < 0.01;
        }
        if (same != 1) fail_msg("step %d: %d positions show the horizontal view", (int)step, same);
        seen[position]++;
    }
    for (int i = 0; i < 8; i++)
        if (seen[i] < STEPS / 16) fail_msg("position %d: %d of %d views", i, seen[i], STEPS);
    close_show(&s);
}

/* colours against Pillow, which rounds every value to a level, and the mean of a contrast too */
static void test_augment_golden(void **state)
{
    (void)state;
    enum { S = 24, N = S * S * 3 };
    static const struct {
        const char *name;
        ft_colour kind;
        float m;
        double tolerance;
    } ops[] = {{"autocontrast", FT_AUTOCONTRAST, 0, 1.001}, {"equalize", FT_EQUALIZE, 0, 1e-4},
               {"posterize", FT_POSTERIZE, 4, 1e-4},        {"solarize", FT_SOLARIZE, 100, 1e-4},
               {"brightness", FT_BRIGHTNESS, 1.7f, 1.001},  {"color", FT_COLOR, 0.3f, 1.5},
               {"contrast", FT_CONTRAST, 1.6f, 1.5},        {"sharpness", FT_SHARPNESS, 1.8f, 1.5}};
    ft_safetensors st;
    char path[600];
    snprintf(path, sizeof path, "%s/golden/augment.safetensors", FT_TEST_DIR);
    if (ft_safetensors_read(&st, path) < 0) fail_msg("%s", ft_error_message());
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        static uint8_t clip[2 * N];
        for (int i = 0; i < 2 * N; i++) { /* two equal frames: statistics of the clip are those of the frame */
            int at = i % N;
            clip[i] = (uint8_t)((float)(40 + at / 3 % S * 4) + floorf((value(3, at) + 1) * 40));
        }
        show s = open_show(2, S, clip);
        memcpy(ft_data(s.view), (float[FT_VIEW_NUMBERS]){1, 0, 0, 0, 1, 0, (float)ops[k].kind, ops[k].m},
               FT_VIEW_NUMBERS * sizeof(float));
        const float *got = shown(&s);
        const ft_st_tensor *t = ft_safetensors_find(&st, ops[k].name);
        assert_non_null(t);
        const float *want = t->data;
        for (int i = 0; i < 2 * N; i++)
            if (!(fabs((double)got[i] - (double)want[i % N]) <= ops[k].tolerance))
                fail_msg("%s: value %d is %g, Pillow has %g", ops[k].name, i, (double)got[i], (double)want[i % N]);
        close_show(&s);
    }
    ft_safetensors_free(&st);
}

/* the released views: one crop for all frames, no border; its strong view shows a square somewhere else in every frame */
static void test_augment_released(void **state)
{
    (void)state;
    enum { F = 4, S = 56, N = F * S * S * 3 };
    static uint8_t clip[N];
    static float weak[N], strong[N];
    for (int i = 0; i < N; i++) clip[i] = (uint8_t)(60 + i / 3 % S); /* a ramp: what is cut off is seen */
    show s = open_show(F, S, clip);
    int plain = 0, moved = 0;
    for (uint64_t step = 0; step < 60; step++) {
        memcpy(weak, shown_view(&s, false, FT_VIEWS_RELEASED, step), sizeof weak);
        assert_memory_equal(weak, weak + S * S * 3, S * S * 3 * sizeof(float));
        double low = 1e9, high = -1e9;
        for (int i = 0; i < N; i++) low = fmin(low, (double)weak[i]), high = fmax(high, (double)weak[i]);
        double seen = (high - low) / (S - 1); /* share of the ramp: 224 of 256 to 320 pixels */
        if (!(seen > 224 / 320.0 - 0.01 && seen < 224 / 256.0 + 0.001)) fail_msg("step %d: %g of the width", (int)step, seen);
        memcpy(strong, shown_view(&s, true, FT_VIEWS_RELEASED, step), sizeof strong);
        if (!memcmp(weak, strong, sizeof weak)) plain++; /* no operation fired */
        else if (memcmp(strong, strong + S * S * 3, S * S * 3 * sizeof(float)) != 0) moved++;
    }
    assert_true(plain > 4 && plain < 30); /* a quarter of the time */
    assert_int_equal(plain + moved, 60);  /* else every frame has its own square */
    close_show(&s);
}

/* ---- optimisers against PyTorch's formulas, done by hand in double ---- */
static void test_optimisers(void **state)
{
    (void)state;
    for (int sgd = 0; sgd < 2; sgd++) {
        float start[2] = {1.0f, -2.0f}, goal[2] = {0.5f, 0.25f};
        ft_params *p = ft_params_new(0);
        ft_graph *g = ft_graph_new(p, FT_F32, 0);
        int64_t dim[2] = {1, 2};
        ft_t w = ft_param(g, "w", 2, dim, (ft_init){FT_INIT_VALUES, 0, start});
        ft_backward(g, ft_loss_mean(g, w, ft_const(g, FT_F32, 2, dim, goal), FT_MSE));
        ft_optimise(g, (ft_optim_opt){.sgd = sgd, .nesterov = true, .weight_decay = 0.1f, .clip = 1.0f});
        ft_plan *plan;
        assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
        double x[2] = {1, -2}, m[2] = {0}, v[2] = {0}, ema[2] = {1, -2};
        for (int t = 0; t < 5; t++) {
            ft_step s = {0, t, 0.1f, 0.9f, 0};
            ft_run(plan, &s);
            double gr[2] = {x[0] - 0.5, x[1] - 0.25}, norm = hypot(gr[0], gr[1]), scale = fmin(1, 1 / (norm + 1e-6));
            for (int i = 0; i < 2; i++) {
                double d = gr[i] * scale;
                if (sgd) {
                    d += 0.1 * x[i];
                    m[i] = 0.9 * m[i] + d;
                    x[i] -= 0.1 * (d + 0.9 * m[i]);
                } else {
                    m[i] = 0.9 * m[i] + 0.1 * d;
                    v[i] = 0.999 * v[i] + 0.001 * d * d;
                    x[i] = x[i] * (1 - 0.1 * 0.1) -
                           0.1 * (m[i] / (1 - pow(0.9, t + 1))) / (sqrt(v[i] / (1 - pow(0.999, t + 1))) + 1e-8);
                }
                ema[i] = 0.9 * ema[i] + 0.1 * x[i];
                NEAR((double)ft_params_flat(p, FT_WEIGHTS)[i], x[i], 1e-5);
                NEAR((double)ft_params_flat(p, FT_EMA)[i], ema[i], 1e-5);
            }
        }
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(p);
    }
    NEAR(ft_ema_decay(0.9999, 0), 0.1, 1e-12);
    NEAR(ft_lr_cosine(1, 50, 100, 0), 0.5, 1e-12);
}

/* a gradient that is not finite changes nothing */
static void test_nan_is_skipped(void **state)
{
    (void)state;
    float start[2] = {1, 2};
    ft_params *p = ft_params_new(0);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    int64_t dim[2] = {1, 2};
    ft_t w = ft_param(g, "w", 2, dim, (ft_init){FT_INIT_VALUES, 0, start}), goal = ft_input(g, "goal", FT_F32, 2, dim);
    ft_backward(g, ft_loss_mean(g, w, goal, FT_MSE));
    ft_t norm = ft_optimise(g, (ft_optim_opt){0});
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    ((float *)ft_data(goal))[0] = NAN;
    ft_step s = {0, 0, 0.1f, 0.5f, 0};
    ft_run(plan, &s);
    assert_true(isnan(*(float *)ft_data(norm)));
    assert_memory_equal(ft_params_flat(p, FT_WEIGHTS), start, sizeof start);
    assert_memory_equal(ft_params_flat(p, FT_EMA), start, sizeof start);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
}

/* Several labels a video, against scikit-learn; and what is left out. */
static void test_scores_of_sets(void **state)
{
    (void)state;
    enum { N = 97, C = 3 };
    float prob[N * C];
    int label[N], none[4] = {0, 1, 1, 5};
    for (int i = 0; i < N; i++) {
        label[i] = 0;
        for (int c = 0; c < C; c++) {
            bool is = (double)value(9, i * C + c) > 0.4 + 0.2 * c;
            label[i] |= is << c;
            prob[i * C + c] = (roundf((value(7, i * C + c) + 1) * 8) + 5 * (float)is) / 22;
        }
    }
    ft_scores s = ft_score(prob, label, N, C, FT_MULTILABEL);
    const double got[] = {s.f1, s.balanced_accuracy, s.mcc, s.auroc, s.auprc, s.brier, s.ece, s.accuracy};
    for (int i = 0; i < 8; i++) NEAR(got[i], golden_sets[i], 1e-7);
    for (int c = 0; c < C; c++) {
        NEAR(s.of_class[c].f1, golden_sets[8 + 3 * c], 1e-12);
        NEAR(s.of_class[c].auroc, golden_sets[9 + 3 * c], 1e-12);
        NEAR(s.of_class[c].auprc, golden_sets[10 + 3 * c], 1e-12);
    }
    NEAR(ft_f1(prob, label, NULL, N, C, FT_MULTILABEL), golden_sets[0], 1e-12);
    /* of four videos none has the second label: it has no say, except where it is claimed */
    const float sure[12] = {0.1f, 0.9f, 0.1f, 0.9f, 0.1f, 0.1f, 0.9f, 0.1f, 0.1f, 0.9f, 0.1f, 0.9f};
    s = ft_score(sure, none, 4, C, FT_MULTILABEL);
    NEAR(s.f1, 1, 1e-12);
    NEAR(s.auprc, 1, 1e-12);
    NEAR(s.accuracy, 0.75, 1e-12);
    assert_true(isnan(s.of_class[1].f1) && isnan(s.of_class[1].auroc) && s.of_class[1].videos == 0);
    NEAR(s.specificity, (1 + 0.75 + 1) / 3, 1e-12);
    /* no interval needs every label in every sample: runs of the truth are 1 throughout */
    float truth[N * C];
    for (int i = 0; i < N * C; i++) truth[i] = (float)(label[i / C] >> i % C & 1);
    ft_run_scores run[2] = {{0, 0, truth, label, N, 1}, {1, 0, truth, label, N, 1}};
    ft_interval v = ft_arm_interval(run, 2, C, FT_MULTILABEL, 200);
    NEAR(v.low, 1, 1e-12);
    NEAR(v.high, 1, 1e-12);
    run[0].prob = run[1].prob = prob, run[0].f1 = run[1].f1 = golden_sets[0];
    v = ft_arm_interval(run, 2, C, FT_MULTILABEL, 500);
    assert_true(v.low < v.mean - 0.02 && v.high > v.mean + 0.02 && v.low > v.mean - 0.2);
}

/* ---- scores and statistics: values found apart, and of scikit-learn's documentation ---- */
static void test_scores(void **state)
{
    (void)state;
    float prob[160];
    int label[80], at = 0;
    static const struct {
        int n, truth, guess;
    } cells[] = {{49, 1, 1}, {11, 1, 0}, {4, 0, 1}, {16, 0, 0}};
    for (int k = 0; k < 4; k++)
        for (int i = 0; i < cells[k].n; i++, at++)
            label[at] = cells[k].truth, prob[2 * at + 1] = cells[k].guess ? 0.9f : 0.2f, prob[2 * at] = 1 - prob[2 * at + 1];
    ft_scores s = ft_score(prob, label, 80, 2, 1);
    NEAR(s.f1, 0.8672566, 1e-7);
    NEAR(s.sensitivity, 49 / 60.0, 1e-12);
    NEAR(s.specificity, 16 / 20.0, 1e-12);
    NEAR(s.balanced_accuracy, (49 / 60.0 + 0.8) / 2, 1e-12);
    NEAR(s.mcc, (49.0 * 16 - 4 * 11) / sqrt(53.0 * 60 * 20 * 27), 1e-12);
    NEAR(s.brier, (49 * 0.01 + 11 * 0.64 + 4 * 0.81 + 16 * 0.04) / 80, 1e-6);
    for (int i = 0; i < 80; i++) prob[2 * i + 1] = 1, prob[2 * i] = 0;
    NEAR(ft_f1(prob, label, NULL, 80, 2, 1), 0.8571429, 1e-7); /* always positive on 60 and 20 */
    const float four[8] = {0.9f, 0.1f, 0.6f, 0.4f, 0.65f, 0.35f, 0.2f, 0.8f};
    const int truth[4] = {0, 0, 1, 1};
    s = ft_score(four, truth, 4, 2, 1);
    NEAR(s.auroc, 0.75, 1e-12);
    NEAR(s.auprc, 0.8333333, 1e-6);
}

/* all of it against scikit-learn, on answers with many ties */
static void test_scores_golden(void **state)
{
    (void)state;
    enum { N = 97 };
    for (int classes = 2; classes < 4; classes++) {
        const double *want = golden_scores[classes - 2];
        float prob[N * 3];
        int label[N];
        for (int i = 0; i < N; i++) {
            float sum = 0, *p = prob + i * classes;
            label[i] = (int)floor(((double)value(8, i) + 1) / 2 * classes);
            for (int c = 0; c < classes; c++) {
                p[c] = roundf((value(7, i * classes + c) + 1) * 8) + 1 + (c == label[i] ? 4.0f : 0.0f);
                sum += p[c];
            }
            for (int c = 0; c < classes; c++) p[c] /= sum;
        }
        ft_scores s = ft_score(prob, label, N, classes, 1);
        const double got[] = {s.f1, s.balanced_accuracy, s.mcc, s.auroc, s.auprc, s.brier, s.ece};
        for (int i = 0; i < 7; i++) NEAR(got[i], want[i], 1e-7); /* probabilities are f32 */
        if (classes > 2) continue;
        double t = ft_operating_point(prob, label, N, 1), tpr[N + 1], fpr[N + 1], precision[N + 1], area = 0, ap = 0;
        float hard[N * 2];
        for (int i = 0; i < N; i++) hard[2 * i + 1] = (double)prob[2 * i + 1] >= t, hard[2 * i] = 1 - hard[2 * i + 1];
        NEAR(t, want[7], 1e-7);
        NEAR(ft_f1(hard, label, NULL, N, 2, 1), want[8], 1e-12);
        int64_t n = ft_curves(prob, label, N, 2, 1, tpr, fpr, precision);
        for (int64_t i = 1; i < n; i++) {
            area += (fpr[i] - fpr[i - 1]) * (tpr[i] + tpr[i - 1]) / 2;
            ap += (tpr[i] - tpr[i - 1]) * precision[i];
        }
        NEAR(area, want[3], 1e-12); /* the curves' areas are the scores */
        NEAR(ap, want[4], 1e-12);
    }
}

static void test_statistics(void **state)
{
    (void)state;
    double p[4] = {0.01, 0.04, 0.03, NAN}, d;
    ft_holm(p, 4);
    NEAR(p[0], 0.03, 1e-12);
    NEAR(p[1], 0.06, 1e-12);
    NEAR(p[2], 0.06, 1e-12);
    assert_true(isnan(p[3]));
    const double six[6] = {1, 2, 1, 3, 1, 2};
    NEAR(ft_sign_flip(six, 6), 2.0 / 64, 1e-12);
    /* scipy.stats.binomtest(min(b,c), b + c).pvalue */
    NEAR(ft_mcnemar(2, 10), 0.03857421875, 1e-12);
    NEAR(ft_mcnemar(10, 2), 0.03857421875, 1e-12);
    NEAR(ft_mcnemar(0, 5), 0.0625, 1e-12);
    NEAR(ft_mcnemar(7, 7), 1, 1e-12);
    NEAR(ft_mcnemar(400, 500), 0.0009564441369189373, 1e-12);
    NEAR(ft_mcnemar(0, 0), 1, 0);
    /* smallest n with power 0.8 of a two-sided t test by scipy.stats.nct, for d / sd */
    static const struct {
        double effect;
        int64_t n;
    } needed[] = {{0.2, 199}, {0.3, 90}, {0.5, 34}, {0.8, 15}, {1.0, 10}};
    for (int i = 0; i < 5; i++) assert_int_equal(ft_pairs_needed(-needed[i].effect * 0.1, 0.1), needed[i].n);
    assert_int_equal(ft_pairs_needed(5, 1), 6);
    { /* two seeds of a split are one unit; of a single split each run is one */
        ft_run_scores a[4] = {{.split = 0, .f1 = 0.5}, {.split = 0, .f1 = 0.7}, {.split = 1, .f1 = 0.9}, {.split = 1, .f1 = 0.9}},
                      b[4] = {{.split = 0, .f1 = 0.4}, {.split = 0, .f1 = 0.4}, {.split = 1, .f1 = 1.0}, {.split = 1, .f1 = 0.8}};
        double unit[4];
        assert_int_equal(ft_units(a, b, 4, unit), 2);
        NEAR(unit[0], 0.2, 1e-12);
        NEAR(unit[1], 0.0, 1e-12);
        assert_int_equal(ft_units(a, b, 2, unit), 2);
        NEAR(unit[1], 0.3, 1e-12);
    }
    assert_true(isnan(ft_sign_flip(six, 5)));
    /* samples with exactly the wanted moments: N(0, diag(1,4)) against N((1,2), diag(9,16)) -> 13 */
    const float one[4][2] = {{1, 2}, {1, -2}, {-1, 2}, {-1, -2}};
    float a[8], b[8];
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 2; k++) {
            double unit = (double)one[i][k] / (k ? 2 : 1) * sqrt(3.0 / 4);
            a[2 * i + k] = (float)(unit * (k ? 2 : 1));
            b[2 * i + k] = (float)(unit * (k ? 4 : 3) + (k ? 2 : 1));
        }
    assert_int_equal(ft_frechet(a, 4, b, 4, 2, 1, &d), FT_OK);
    NEAR(d, 13, 1e-5);
    /* an interval that has to hold: coverage of the bootstrap of one run is checked where it is exact: no spread, no width */
    float prob[8] = {0, 1, 0, 1, 1, 0, 1, 0};
    int label[4] = {1, 1, 0, 0};
    ft_run_scores runs[2] = {{0, 0, prob, label, 4, 1}, {1, 0, prob, label, 4, 1}};
    ft_interval v = ft_arm_interval(runs, 2, 2, 1, 200);
    assert_true(v.mean == 1 && v.low == 1 && v.high == 1);
    v = ft_paired_interval(runs, runs, 2, 2, 1, 200);
    assert_true(v.mean == 0 && v.low == 0 && v.high == 0);
}

static void test_phantom(void **state)
{
    (void)state;
    static uint8_t a[16 * 16 * 3], b[16 * 16 * 3];
    ft_phantom_opt o = {.videos = 32, .frames = 4, .size = 16, .balance = 0.5}, other = o;
    other.seed = 1;
    ft_phantom_frame(&o, 3, 0.5, a);
    ft_phantom_frame(&o, 3, 0.5, b);
    assert_memory_equal(a, b, sizeof a);
    ft_phantom_frame(&other, 3, 0.5, b);
    assert_memory_not_equal(a, b, sizeof a);
    int polyps = 0;
    for (int i = 0; i < 32; i++) polyps += ft_phantom_has_polyp(&o, i);
    assert_int_equal(polyps, 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_schedule),
                                       cmocka_unit_test(test_samplers),
                                       cmocka_unit_test(test_plain_steps),
                                       cmocka_unit_test(test_ddpm),
                                       cmocka_unit_test(test_min_snr),
                                       cmocka_unit_test(test_focal_frequency),
                                       cmocka_unit_test(test_vae_terms),
                                       cmocka_unit_test(test_fixmatch),
                                       cmocka_unit_test(test_batchnorm_segments),
                                       cmocka_unit_test(test_augment),
                                       cmocka_unit_test(test_optimisers),
                                       cmocka_unit_test(test_nan_is_skipped),
                                       cmocka_unit_test(test_scores),
                                       cmocka_unit_test(test_augment_golden),
                                       cmocka_unit_test(test_augment_dihedral),
                                       cmocka_unit_test(test_augment_released),
                                       cmocka_unit_test(test_scores_golden),
                                       cmocka_unit_test(test_scores_of_sets),
                                       cmocka_unit_test(test_statistics),
                                       cmocka_unit_test(test_phantom)};
    return cmocka_run_group_tests_name("learning", tests, NULL, NULL);
}
