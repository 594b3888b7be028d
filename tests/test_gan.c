/* Adversarial training of a generator of pixels: the three parts of a step against the public code
 * (tests/golden/make_golden_gan.py), gradients by differences, the schedule of the optimisers, times of frames, resume. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/files.h"
#include "common/base/folder.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/safetensors.h"
#include "gen/gan.h"
#include "gen/gan_augment.h"
#include "gen/mostganv.h"
#include "tests/golden_value.h"
#include "tests/tree.h"

enum { SIZE = 32, B = 8, FRAMES = 33 };
static const ft_stylegan_preset plain = {{"styleganv-tiny", 16, SIZE, 3}, "", 16, 256, 32, false};
static const ft_mostganv_preset most = {{{"mostganv-tiny", 16, SIZE, 3}, "", 16, 256, 32, false}, 8, 12, false},
                                paper = {{{"mostganv-tiny", 16, SIZE, 3}, "", 16, 256, 32, false}, 8, 12, true};
static const ft_stylegan_preset *preset; /* of the test that runs */
static int classes;                      /* that it is told */
static const ft_gan *gan(void) { return ft_generator_find(preset->base.name)->gan; }

/* Weights of the golden file. */
static void fill(ft_params *p)
{
    assert_int_equal(ft_params_seal(p), FT_OK);
    for (int i = 0; i < ft_params_count(p); i++) {
        const ft_param_info *e = ft_params_at(p, i);
        float *v = ft_params_flat(p, FT_WEIGHTS) + e->offset;
        const char *affine = strstr(e->name, "affine.bias");
        float slow = strstr(e->name, "mapping.fc") || strstr(e->name, "motion_encoder.conv.") ? 100 : 1;
        for (int64_t k = 0; e->trained && k < e->count; k++)
            v[k] = slow * (e->ndim >= 2 ? 1.7f : 0.2f) * value(crc32_of(e->name), k) + (affine ? 1.0f : 0.0f);
    }
    ft_params_touched(p);
}

static ft_t numbers(ft_graph *g, const char *name, int ndim, const int64_t *dim)
{
    ft_t t = ft_input(g, name, FT_F32, ndim, dim);
    for (int64_t i = 0; i < ft_count(t); i++) ((float *)ft_data(t))[i] = value(crc32_of(name), i);
    return t;
}

static ft_t times(ft_graph *g, bool fake)
{
    ft_t t = ft_input(g, "t", FT_F32, 2, (int64_t[]){B, 3});
    for (int b = 0; b < B; b++) {
        float *at = (float *)ft_data(t) + 3 * b, first = (fake ? 1.25f : 1.0f) * (float)b;
        at[0] = first, at[1] = first + 1 + (float)(fake ? b % 3 : b % 2), at[2] = first + (fake ? 8 : 4);
    }
    return t;
}

static ft_t real_clips(ft_graph *g) { return numbers(g, "real", 5, (int64_t[]){B, 3, SIZE, SIZE, 3}); }
/* of clip b its class, b mod 3 */
static ft_t labels(ft_graph *g)
{
    if (classes == 0) return NULL;
    ft_t t = ft_input(g, "label", FT_F32, 2, (int64_t[]){B, classes});
    int first = !strcmp(ft_generator_find(preset->base.name)->family, "styleganv"); /* make_golden_gan.py says why */
    for (int i = 0; i < B * classes; i++) ((float *)ft_data(t))[i] = (i / classes + first) % classes == i % classes;
    return t;
}
static ft_t draw(ft_graph *g, ft_t t)
{
    ft_t z = numbers(g, "z", 2, (int64_t[]){B, preset->width});
    ft_t motion = numbers(g, "motion", 3, (int64_t[]){B, ft_stylegan_codes(FRAMES), preset->width});
    return gan()->generate(g, preset, (ft_gan_in){z, motion, t, labels(g)}, SIZE, 1);
}
static ft_t judged(ft_graph *g, ft_t x, ft_t t) { return gan()->judge(g, preset, x, t, labels(g)); }

typedef struct {
    ft_params *own, *other;
    ft_graph *g;
    ft_plan *plan;
    ft_t loss, image;
} part;

static void part_new(part *p)
{
    *p = (part){.own = ft_params_new(0), .other = ft_params_new(1)};
    p->g = ft_graph_new(p->own, FT_F32, 1);
}
static void part_run(part *p)
{
    ft_keep(p->loss);
    if (ft_graph_error(p->g)) fail_msg("%s", ft_graph_error(p->g));
    fill(p->own), fill(p->other);
    if (ft_plan_new(&p->plan, p->g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_run(p->plan, &(ft_step){0}), FT_OK);
}
static void part_free(part *p)
{
    ft_plan_free(p->plan);
    ft_graph_free(p->g);
    ft_params_free(p->own);
    ft_params_free(p->other);
}

static void generator_part(part *p)
{
    part_new(p);
    ft_t t = times(p->g, true);
    ft_keep(p->image = draw(p->g, t));
    ft_borrow(p->g, p->other);
    ft_t logits = judged(p->g, p->image, t);
    ft_borrow(p->g, NULL);
    ft_backward(p->g, p->loss = ft_gan_generator_loss(p->g, logits));
}
static void critic_part(part *p)
{
    part_new(p);
    ft_t t = times(p->g, true);
    ft_borrow(p->g, p->other);
    ft_t x = draw(p->g, t);
    ft_borrow(p->g, NULL);
    ft_t fake = judged(p->g, x, t), real = judged(p->g, real_clips(p->g), times(p->g, false));
    ft_backward(p->g, p->loss = ft_gan_critic_loss(p->g, real, fake));
}
static void penalty_part(part *p, float scale)
{
    part_new(p);
    ft_t x = real_clips(p->g);
    ft_need_grad(x);
    p->loss = ft_gan_penalty(p->g, judged(p->g, x, times(p->g, false)), x);
    ft_backward(p->g, ft_affine(p->g, p->loss, scale, 0));
    ft_ground(p->g);
}

/* f32 against f32: sums of some thousand terms in another order over about 40 layers, as in test_models.c; losses average them */
static const double tolerance = 2e-4;

static void read_golden(ft_safetensors *golden)
{
    char path[600];
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", FT_TEST_DIR, ft_generator_find(preset->base.name)->family);
    if (ft_safetensors_read(golden, path) < 0) fail_msg("%s", ft_error_message());
}

static void like_public(const char *what, part *p)
{
    ft_safetensors golden;
    char name[200];
    float want[3];
    int seen = 0;
    read_golden(&golden);
    snprintf(name, sizeof name, "loss.%s", what);
    ft_safetensors_f32(ft_safetensors_find(&golden, name), want);
    double loss = (double)*(const float *)ft_data(p->loss);
    if (!(fabs(loss - (double)want[0]) <= tolerance * fabs((double)want[0])))
        fail_msg("%s is %g, the public code has %g", name, loss, (double)want[0]);
    for (int i = 0; i < ft_params_count(p->own); i++) {
        const ft_param_info *e = ft_params_at(p->own, i);
        const float *grad = ft_params_grad(p->own) + e->offset;
        double sum[3] = {0};
        if (!e->trained) continue;
        snprintf(name, sizeof name, "grad.%s.%s", what, e->name);
        const ft_st_tensor *t = ft_safetensors_find(&golden, name);
        if (!t) fail_msg("the public code has no %s", name);
        ft_safetensors_f32(t, want);
        for (int64_t k = 0; k < e->count; k++) {
            sum[0] += (double)grad[k] * (double)value(crc32_of("a"), k);
            sum[1] += (double)grad[k] * (double)value(crc32_of("b"), k);
            sum[2] += (double)grad[k] * (double)grad[k];
        }
        sum[2] = sqrt(sum[2]);
        for (int k = 0; k < 3; k++)
            if (!(fabs(sum[k] - (double)want[k]) <= 5 * tolerance * (double)want[2] + 1e-9))
                fail_msg("%s: (%g, %g, %g), the public code has (%g, %g, %g)", name, sum[0], sum[1], sum[2], (double)want[0],
                         (double)want[1], (double)want[2]);
        seen++;
    }
    for (int i = 0; i < golden.n; i++) {
        snprintf(name, sizeof name, "grad.%s.", what);
        seen -= !strncmp(golden.tensor[i].name, name, strlen(name));
    }
    assert_int_equal(seen, 0); /* no parameter is missing here */
    ft_safetensors_free(&golden);
}

static void like_public_image(const char *name, const part *p)
{
    ft_safetensors golden;
    read_golden(&golden);
    const ft_st_tensor *image = ft_safetensors_find(&golden, name);
    float *want = malloc((size_t)image->count * sizeof *want), top = 0;
    ft_safetensors_f32(image, want);
    for (int64_t i = 0; i < image->count; i++) top = fmaxf(top, fabsf(want[i]));
    for (int64_t i = 0; i < image->count; i++)
        assert_true(fabs((double)((const float *)ft_data(p->image))[i] - (double)want[i]) <= tolerance * (double)top);
    free(want);
    ft_safetensors_free(&golden);
}

static void test_generator(void **state)
{
    part p;
    ft_safetensors golden;
    float want[64];
    preset = *state;
    generator_part(&p);
    part_run(&p);
    like_public_image("image", &p);
    like_public("g", &p);
    read_golden(&golden);
    const ft_st_tensor *average = ft_safetensors_find(&golden, "w_avg");
    ft_safetensors_f32(average, want);
    int at = 0;
    while (strcmp(ft_params_at(p.own, at)->name, "mapping.w_avg")) at++;
    for (int64_t i = 0; i < average->count; i++) { /* the share of one batch of the two that a step of theirs has */
        double share = (double)ft_params_flat(p.own, FT_WEIGHTS)[ft_params_at(p.own, at)->offset + i] / (1 - 0.995 * 0.995);
        assert_true(fabs(share - (double)want[i] / (1 - 0.995)) <= 1e-5);
    }
    ft_safetensors_free(&golden);
    part_free(&p);
}

/* the convolution by modulated weights: as MoStGAN-V's code has it when it does not train, and in a resolution of single
 * precision */
static void test_modulated(void **state)
{
    part p;
    preset = *state;
    generator_part(&p);
    part_run(&p);
    like_public_image("paper", &p);
    like_public("paper", &p);
    part_free(&p);
}

static void test_critic(void **state)
{
    preset = *state;
    part p;
    critic_part(&p);
    part_run(&p);
    like_public("d", &p);
    part_free(&p);
}

/* Both networks told of classes: mapping and motion codes of the one, the projection of the other */
static void test_told(void **state)
{
    preset = *state;
    part p;
    classes = 3;
    generator_part(&p);
    part_run(&p);
    like_public("told_g", &p);
    part_free(&p);
    critic_part(&p);
    part_run(&p);
    like_public("told_d", &p);
    part_free(&p);
    classes = 0;
}

/* also that parameters which the penalty does not depend on get a gradient of zero, whatever was there */
static void test_penalty(void **state)
{
    preset = *state;
    part p;
    penalty_part(&p, 0.3f / 2 * 16);
    fill(p.own);
    for (int64_t i = 0; i < ft_params_trained_size(p.own); i++) ft_params_grad(p.own)[i] = 7;
    part_run(&p);
    like_public("r1", &p);
    part_free(&p);
}

/* Judged in pairs (R3GAN, Eq 2): softplus(worse - better) and its slopes, in double precision. A term and a mean of N terms of
 * about 1 in f32. */
static void test_pairs(void **state)
{
    enum { N = 6 };
    static const float good[N] = {0.3f, -2, 5, 0, 40, -40}, bad[N] = {-0.7f, 1.5f, 5, 0, -40, 40};
    (void)state;
    ft_params *none = ft_params_new(0);
    ft_graph *g = ft_graph_new(none, FT_F32, 1);
    ft_t better = ft_input(g, "better", FT_F32, 1, (int64_t[]){N}), worse = ft_input(g, "worse", FT_F32, 1, (int64_t[]){N});
    ft_plan *plan;
    double want = 0;
    ft_need_grad(better), ft_need_grad(worse);
    ft_t loss = ft_gan_pair_loss(g, better, worse);
    ft_keep(loss);
    ft_backward(g, loss);
    ft_t slope[2] = {ft_grad(g, better), ft_grad(g, worse)};
    ft_keep(slope[0]), ft_keep(slope[1]);
    memcpy(ft_data(better), good, sizeof good), memcpy(ft_data(worse), bad, sizeof bad);
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    for (int i = 0; i < N; i++) {
        double d = (double)good[i] - (double)bad[i], s = 1 / (1 + exp(d)) / N;
        want += (d > 0 ? log1p(exp(-d)) : log1p(exp(d)) - d) / N;
        assert_true(fabs((double)((const float *)ft_data(slope[0]))[i] + s) < 1e-7);
        assert_true(fabs((double)((const float *)ft_data(slope[1]))[i] - s) < 1e-7);
    }
    assert_true(fabs((double)*(const float *)ft_data(loss) - want) < 1e-6 * want);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(none);
}

/* The penalty on clips that a borrowed generator draws is that on the same clips as an input, bit for bit, and its own network
 * alone learns of it. */
static void test_drawn_penalty(void **state)
{
    preset = *state;
    part drawn, given;
    part_new(&drawn);
    ft_t t = times(drawn.g, true);
    ft_borrow(drawn.g, drawn.other);
    ft_t x = draw(drawn.g, t);
    ft_borrow(drawn.g, NULL);
    ft_keep(x);
    ft_need_grad(x);
    drawn.loss = ft_gan_penalty(drawn.g, judged(drawn.g, x, t), x);
    ft_backward(drawn.g, drawn.loss), ft_ground(drawn.g);
    part_run(&drawn);
    part_new(&given);
    t = times(given.g, true);
    ft_t y = ft_input(given.g, "x", FT_F32, 5, (int64_t[]){B, 3, SIZE, SIZE, 3});
    memcpy(ft_data(y), ft_data(x), (size_t)ft_count(x) * sizeof(float));
    ft_need_grad(y);
    given.loss = ft_gan_penalty(given.g, judged(given.g, y, t), y);
    ft_backward(given.g, given.loss), ft_ground(given.g);
    part_run(&given);
    assert_true(*(const float *)ft_data(given.loss) > 0);
    assert_memory_equal(ft_data(drawn.loss), ft_data(given.loss), sizeof(float));
    assert_int_equal(ft_params_trained_size(drawn.own), ft_params_trained_size(given.own));
    assert_memory_equal(ft_params_grad(drawn.own), ft_params_grad(given.own),
                        (size_t)ft_params_trained_size(given.own) * sizeof(float));
    part_free(&drawn);
    part_free(&given);
}

/* Along its gradient a loss changes as that says, of every matrix. Central differences over 2h have an error of order h^2, more
 * where an activation turns its sign between the ends, and the loss's own rounding over h. (The penalty has no such test: it
 * jumps where an activation turns its sign.) */
static void by_differences(part *p)
{
    int tested = 0, matrices = 0;
    part_run(p);
    for (int i = 0; i < ft_params_count(p->own); i++) {
        const ft_param_info *e = ft_params_at(p->own, i);
        double norm = 0, end[2];
        if (!e->trained || e->ndim < 2 || strstr(e->name, "mapping.fc") || strstr(e->name, "motion_encoder.conv.")) continue;
        if (matrices++ % 3) continue;
        const float h = strstr(e->name, "predictor") ? 2e-4f : 2e-3f; /* a phase counts 64 times */
        fill(p->own);
        assert_int_equal(ft_run(p->plan, &(ft_step){0}), FT_OK);
        float *grad = malloc((size_t)e->count * sizeof *grad);
        memcpy(grad, ft_params_grad(p->own) + e->offset, (size_t)e->count * sizeof *grad);
        for (int64_t k = 0; k < e->count; k++) norm += (double)grad[k] * (double)grad[k];
        norm = sqrt(norm);
        for (int s = 0; s < 2; s++) {
            float *w = ft_params_flat(p->own, FT_WEIGHTS) + e->offset; /* a run has moved the mean style beside it */
            for (int64_t k = 0; k < e->count; k++) w[k] += (s ? -2 : 1) * h * grad[k] / (float)norm;
            ft_params_touched(p->own);
            assert_int_equal(ft_run(p->plan, &(ft_step){0}), FT_OK);
            end[s] = (double)*(const float *)ft_data(p->loss);
        }
        double slope = (end[0] - end[1]) / (2 * (double)h), allowed = 0.02 * norm + 4e-7 * end[0] / (double)h;
        if (!(fabs(slope - norm) <= allowed)) fail_msg("%s: %g by differences, %g", e->name, slope, norm);
        free(grad);
        tested++;
    }
    assert_true(tested > 4);
}

static void test_differences(void **state)
{
    preset = *state;
    part p;
    generator_part(&p);
    by_differences(&p);
    part_free(&p);
    critic_part(&p);
    by_differences(&p);
    part_free(&p);
}

/* ---- the schedule ------------------------------------------------------------------------------------------------------- */

static void test_schedule(void **state)
{
    (void)state;
    double lr = 0.0025, beta2 = 0.99;
    int64_t next = 0;
    ft_lazy_rate(16, &lr, &beta2);
    assert_true(fabs(lr - 0.0025 * 16 / 17) < 1e-15 && fabs(beta2 - pow(0.99, 16.0 / 17)) < 1e-15);
    for (int64_t step = 0; step < 100; step++) { /* every update counts once, in their order */
        assert_int_equal(ft_lazy_step(step, 16, false), next++);
        if (step % 16 == 0) assert_int_equal(ft_lazy_step(step, 16, true), next++);
    }
    /* published: 0.5 ^ (batch / min(batch 10 / 32 * 1000, images * 0.05)), where a step shows batch * 3 images */
    ft_gan_opt o = {.half_life = 312.5, .ramp = 0.15};
    for (int64_t step = 0; step < 5000; step += 37) {
        double images = fmin(16 * 312.5, (double)step * 16 * 3 * 0.05), want = pow(0.5, 16 / fmax(images, 1e-8));
        assert_true(fabs(ft_gan_average(&o, step) - want) < 1e-12);
    }
}

static void test_times(void **state)
{
    (void)state;
    int distance[33] = {0}, between = 0;
    for (int k = 0; k < 3000; k++) {
        ft_rng r = ft_rng_make(1, FT_STREAM_GAN_TIMES, (uint64_t)k);
        float t[3];
        bool whole = k % 2;
        ft_gan_times(&r, 16, 32, whole, t);
        float d = t[2] - t[0];
        assert_true(t[0] >= 0 && t[2] <= 15 && t[1] - t[0] >= 0.999f && t[2] - t[1] >= 0.999f);
        assert_true(fabsf(d - roundf(d)) < 1e-5f && fabsf(t[1] - t[0] - roundf(t[1] - t[0])) < 1e-5f);
        if (whole) assert_true(t[0] == floorf(t[0]));
        else between += t[0] != floorf(t[0]);
        distance[(int)roundf(d)]++;
    }
    assert_int_equal(distance[2] + distance[4] + distance[8], 3000); /* a third each, 26 is the deviation */
    for (int d = 2; d <= 8; d *= 2) assert_true(abs(distance[d] - 1000) < 130);
    assert_true(between > 1400);
    assert_int_equal(ft_stylegan_codes(16), 23), assert_int_equal(ft_stylegan_codes(17), 23),
        assert_int_equal(ft_stylegan_codes(18), 24);
    assert_true(ft_stylegan_size(32) && ft_stylegan_size(256) && !ft_stylegan_size(16) && !ft_stylegan_size(96));
}

/* ---- what the discriminator sees ---------------------------------------------------------------------------------------- */

/* the public code's own test mode: every number that it draws is of one percentile; e: erfinv(2 percentile - 1) */
static ft_gan_view of_percentile(double p, double e)
{
    ft_gan_view v = {.mirror = floor(2 * p) > 0, .luma = floor(2 * p) > 0, .quarters = (int)floor(4 * p)};
    v.shift[0] = v.shift[1] = nearbyint((2 * p - 1) * 0.125 * SIZE);
    v.scale = v.stretch = exp2(0.2 * e);
    v.turn[0] = 3.14159265358979324 * (2 * p - 1);
    v.fraction[0] = v.fraction[1] = 0.125 * SIZE * e;
    v.brightness = 0.2 * e, v.contrast = exp2(0.5 * e), v.hue = v.turn[0], v.saturation = exp2(e);
    return v;
}

static void test_augment(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double percentile, inverse;
    } list[] = {{"augment.30", 0.3, -0.3708071585935579}, {"augment.80", 0.8, 0.5951160814499948}};
    ft_safetensors golden;
    if (ft_safetensors_read(&golden, FT_TEST_DIR "/golden/styleganv.safetensors") < 0) fail_msg("%s", ft_error_message());
    ft_params *p = ft_params_new(0);
    ft_graph *g = ft_graph_new(p, FT_F32, 1);
    ft_t x = numbers(g, "real", 5, (int64_t[]){2, 3, SIZE, SIZE, 3}), as = ft_input(g, "view", FT_F32, 2, (int64_t[]){2, 18});
    ft_t y = ft_gan_augment(g, x, as);
    ft_keep(y);
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    float *want = malloc((size_t)ft_count(x) * sizeof *want);
    for (int k = 0; k < 3; k++) { /* the last: nothing is done, but the low pass once there and back, which is the identity */
        ft_gan_view v = k < 2 ? of_percentile(list[k].percentile, list[k].inverse) : ft_gan_view_none();
        for (int b = 0; b < 2; b++) ft_gan_view_numbers(&v, SIZE, (float *)ft_data(as) + 18 * b);
        assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
        if (k < 2) ft_safetensors_f32(ft_safetensors_find(&golden, list[k].name), want);
        else memcpy(want, ft_data(x), (size_t)ft_count(x) * sizeof *want);
        for (int64_t i = 0; i < ft_count(x); i++) /* places of some 100 pixels in f32, slopes of 2 a pixel; colours up to 3 */
            if (!(fabs((double)((const float *)ft_data(y))[i] - (double)want[i]) < 2e-4))
                fail_msg("%s, value %lld: %g, the public code has %g", k < 2 ? list[k].name : "as it is", (long long)i,
                         (double)((const float *)ft_data(y))[i], (double)want[i]);
    }
    free(want);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
    ft_safetensors_free(&golden);
}

/* At p everything is done to a share p of clips; without turns nothing turns; p follows the signs. */
static void test_views(void **state)
{
    (void)state;
    enum { N = 4000 };
    int shifts = 0, quarters = 0, turns = 0, colours = 0, mirrors = 0, turned = 0;
    for (int k = 0; k < 2 * N; k++) {
        ft_rng r = ft_rng_make(1, FT_STREAM_GAN_VIEWS, (uint64_t)k);
        ft_gan_view v = ft_gan_view_draw(&r, 0.4, k < N, 64);
        if (k >= N) turned += v.quarters || v.turn[0] != 0 || v.turn[1] != 0;
        if (k >= N) continue;
        shifts += v.shift[0] != 0 || v.shift[1] != 0;
        quarters += v.quarters > 0, turns += v.turn[0] != 0 || v.turn[1] != 0, colours += v.hue != 0, mirrors += v.mirror;
    }
    assert_int_equal(turned, 0); /* of the others 0.4 (half, and three quarters of it), deviations below 32 */
    assert_true(abs(shifts - 1600) < 150 && abs(turns - 1600) < 150 && abs(colours - 1600) < 150);
    assert_true(abs(mirrors - 800) < 120 && abs(quarters - 1200) < 140);
    ft_rng r = ft_rng_make(1, FT_STREAM_GAN_VIEWS, 5);
    ft_gan_view v = ft_gan_view_draw(&r, 0, true, 64), none = ft_gan_view_none();
    float a[FT_GAN_VIEW_NUMBERS], b[FT_GAN_VIEW_NUMBERS];
    ft_gan_view_numbers(&v, 64, a), ft_gan_view_numbers(&none, 64, b);
    assert_memory_equal(a, b, sizeof a);
    assert_true(fabs(ft_gan_adapt(0.1, 0.9, 16, 4) - (0.1 + 64 / 500e3)) < 1e-12);
    assert_true(fabs(ft_gan_adapt(0.1, 0.5, 16, 4) - (0.1 - 64 / 500e3)) < 1e-12 && ft_gan_adapt(0, 0.5, 16, 4) == 0);
}

/* Whatever share of a clip's styles is drawn to the mean, at 0 all clips have the mean style, and only their motion differs. */
static void test_truncation(void **state)
{
    preset = *state;
    ft_params *p = ft_params_new(0);
    ft_graph *g = ft_graph_new(p, FT_F32, 1);
    ft_training(g, false);
    ft_t z = numbers(g, "z", 2, (int64_t[]){B, preset->width}), w[3];
    for (int i = 0; i < 3; i++) ft_keep(w[i] = ft_stylegan_w(g, preset, z, NULL, 0.5 * i));
    fill(p);
    int at = 0;
    while (strcmp(ft_params_at(p, at)->name, "mapping.w_avg")) at++;
    float *average = ft_params_flat(p, FT_WEIGHTS) + ft_params_at(p, at)->offset;
    for (int i = 0; i < preset->width; i++) average[i] = 0.1f * (float)i;
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    const float *v[3] = {ft_data(w[0]), ft_data(w[1]), ft_data(w[2])};
    for (int i = 0; i < B * preset->width; i++) {
        assert_true(fabsf(v[0][i] - average[i % preset->width]) < 1e-6f);
        assert_true(fabsf(v[1][i] - 0.5f * (v[0][i] + v[2][i])) < 1e-6f);
    }
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(p);
}

/* of a preset: its tests are called "plain test_critic" */
#define OF(of, test)                                                                                                             \
    {                                                                                                                            \
        .name = #of " " #test, .test_func = test, .initial_state = (void *)(uintptr_t)&of                                        \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        OF(plain, test_generator),       OF(plain, test_critic),       OF(plain, test_penalty),      OF(plain, test_differences),
        OF(plain, test_truncation),      OF(plain, test_augment),      OF(most, test_generator),     OF(most, test_critic),
        OF(most, test_penalty),          OF(plain, test_told),         OF(most, test_told),          OF(paper, test_modulated),
        cmocka_unit_test(test_schedule), cmocka_unit_test(test_times), cmocka_unit_test(test_views), cmocka_unit_test(test_pairs),
        OF(plain, test_drawn_penalty),   OF(most, test_drawn_penalty)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
