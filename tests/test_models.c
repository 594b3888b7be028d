/* Networks against PyTorch: outputs and gradients of the golden files (tests/golden/make_golden.py made them), parameter totals
 * of the public checkpoints, and properties that the papers' designs imply. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "classify/x3d.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/graph.h"
#include "common/graph/node.h"
#include "common/io/safetensors.h"
#include "gen/medsora.h"
#include "gen/vae.h"

static uint32_t crc32_of(const char *s)
{
    uint32_t c = 0xFFFFFFFFu;
    for (; *s; s++) {
        c ^= (unsigned char)*s;
        for (int k = 0; k < 8; k++) c = c >> 1 ^ (c & 1 ? 0xEDB88320u : 0);
    }
    return ~c;
}

/* the formula of make_golden.py */
static float value(uint32_t name, int64_t i)
{
    uint32_t h = (uint32_t)i * 2654435761u + name;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (float)(h >> 8) / 8388608.0f - 1.0f;
}

static bool ends(const char *s, const char *tail)
{
    return strlen(s) >= strlen(tail) && !strcmp(s + strlen(s) - strlen(tail), tail);
}

static void fill(ft_params *p)
{
    assert_int_equal(ft_params_seal(p), FT_OK);
    for (int i = 0; i < ft_params_count(p); i++) {
        const ft_param_info *e = ft_params_at(p, i);
        float *v = ft_params_flat(p, FT_WEIGHTS) + e->offset;
        uint32_t name = crc32_of(e->name);
        if (!e->trained) continue;
        bool one = ends(e->name, "weight") || ends(e->name, "A_log") || ends(e->name, ".D");
        for (int64_t k = 0; k < e->count; k++)
            v[k] = e->ndim >= 2 ? (float)((double)value(name, k) * pow((double)(e->count / e->dim[0]), -0.5))
                                : 0.2f * value(name, k) + (one ? 1.0f : 0.0f);
    }
    ft_params_touched(p);
}

typedef struct {
    const char *name;
    ft_t (*build)(ft_graph *g);
} model;

static void fill_input(ft_t x, const char *name)
{
    for (int64_t i = 0; i < ft_count(x); i++) ((float *)ft_data(x))[i] = value(crc32_of(name), i);
}

static ft_t clip(ft_graph *g)
{
    ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){2, 8, 32, 32, 3});
    fill_input(x, "x");
    return x;
}

static ft_t build_x3d(ft_graph *g) { return ft_x3d(g, ft_x3d_find("x3d-tiny"), clip(g), 3, 0, 0, NULL); }
static ft_t build_vae(ft_graph *g)
{
    const ft_vae_preset *p = ft_vae_find("vae-tiny");
    return ft_cast(g, ft_vae_decode(g, p, ft_slice(g, ft_vae_encode(g, p, clip(g)), 4, 0, 16)), FT_F32);
}
static ft_t build_medsora(ft_graph *g)
{
    ft_t z = ft_input(g, "z", FT_F32, 5, (int64_t[]){2, 4, 8, 8, 16}), t = ft_input(g, "t", FT_F32, 1, (int64_t[]){2});
    fill_input(z, "z");
    ((float *)ft_data(t))[0] = 17, ((float *)ft_data(t))[1] = 900;
    return ft_medsora(g, ft_medsora_find("medsora-tiny"), (ft_medsora_opt){0}, z, t, NULL);
}

static const model models[] = {{"x3d-tiny", build_x3d}, {"vae-tiny", build_vae}, {"medsora-tiny", build_medsora}};

/* 2e-4 of the largest value: f32 against f32, both with sums of thousands of terms in other orders over some 30 layers */
static const double tolerance = 2e-4;

static void test_golden(void **state)
{
    const model *m = *state;
    char path[600];
    ft_safetensors golden;
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", FT_TEST_DIR, m->name);
    if (ft_safetensors_read(&golden, path) < 0) fail_msg("%s", ft_error_message());
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t y = m->build(g);
    ft_keep(y);
    int64_t n = ft_count(y);
    float *w = malloc((size_t)n * sizeof *w);
    for (int64_t i = 0; i < n; i++) w[i] = value(crc32_of("projection"), i);
    ft_t s = ft_reduce(g, ft_mul(g, y, ft_const(g, FT_F32, ft_ndim(y), y->dim, w)), (1u << ft_ndim(y)) - 1, false);
    ft_backward(g, ft_reshape(g, s, 1, (int64_t[]){1}));
    if (ft_graph_error(g)) fail_msg("%s", ft_graph_error(g));
    fill(params);
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    ft_step step = {0, 0, 0, 0};
    assert_int_equal(ft_run(plan, &step), FT_OK);

    const ft_st_tensor *out = ft_safetensors_find(&golden, "output");
    assert_int_equal(out->count, n);
    double top = 0;
    ft_safetensors_f32(out, w);
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)w[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)((float *)ft_data(y))[i] - (double)w[i]) <= tolerance * top))
            fail_msg("%s: output %lld is %g, PyTorch has %g", m->name, (long long)i, (double)((float *)ft_data(y))[i],
                     (double)w[i]);
    int known = 0;
    for (int i = 0; i < ft_params_count(params); i++) {
        const ft_param_info *e = ft_params_at(params, i);
        char name[200];
        float ref[3];
        double a = 0, b = 0, norm = 0;
        if (!e->trained) continue;
        snprintf(name, sizeof name, "grad.%s", e->name);
        const ft_st_tensor *t = ft_safetensors_find(&golden, name);
        if (!t) fail_msg("%s: PyTorch's twin has no parameter %s", m->name, e->name);
        ft_safetensors_f32(t, ref);
        const float *gr = ft_params_grad(params) + e->offset;
        for (int64_t k = 0; k < e->count; k++) {
            a += (double)gr[k] * (double)value(crc32_of("a"), k);
            b += (double)gr[k] * (double)value(crc32_of("b"), k);
            norm += (double)gr[k] * (double)gr[k];
        }
        norm = sqrt(norm);
        double allowed = 5 * tolerance * (double)ref[2] + 1e-5;
        if (!(fabs(a - (double)ref[0]) <= allowed) || !(fabs(b - (double)ref[1]) <= allowed) ||
            !(fabs(norm - (double)ref[2]) <= allowed))
            fail_msg("%s: gradient of %s: (%g, %g, %g), PyTorch has (%g, %g, %g)", m->name, e->name, a, b, norm, (double)ref[0],
                     (double)ref[1], (double)ref[2]);
        known++;
    }
    assert_int_equal(known, golden.n - 1); /* no parameter of the twin is missing here */
    free(w);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_safetensors_free(&golden);
}

static int64_t total(ft_params *p, ft_graph *g)
{
    assert_null(ft_graph_error(g));
    int64_t n = ft_params_total(p, true);
    for (int i = 0; i < ft_params_count(p); i++)
        if (strstr(ft_params_at(p, i)->name, "running_")) n -= ft_params_at(p, i)->count;
    ft_graph_free(g);
    ft_params_free(p);
    return n;
}

static void test_totals(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t n;
    } medsora[] = {{"medsora-s", 43758784}, {"medsora-b", 86466304}, {"medsora-l", 171881344}};
    for (int i = 0; i < 3; i++) {
        const ft_medsora_preset *m = ft_medsora_find(medsora[i].name);
        ft_params *p = ft_params_new(0);
        ft_graph *g = ft_graph_new(p, FT_F32, 0);
        int64_t one = 1;
        ft_medsora(g, m, (ft_medsora_opt){0},
                   ft_input(g, "z", FT_F32, 5, (int64_t[]){1, m->frames, m->size, m->size, m->channels}),
                   ft_input(g, "t", FT_F32, 1, &one), NULL);
        assert_int_equal(total(p, g), medsora[i].n);
    }
    ft_params *p = ft_params_new(0);
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    ft_x3d(g, ft_x3d_find("x3d-s"), ft_input(g, "x", FT_F32, 5, (int64_t[]){1, 13, 160, 160, 3}), 400, 0, 0, NULL);
    assert_int_equal(total(p, g), 3794274);
}

/* rank tables of the specification, 6 x 8; every step of a true spiral goes to a neighbour */
static void test_spiral(void **state)
{
    (void)state;
    static const int cw_row1[8] = {23, 24, 25, 26, 27, 28, 29, 8}, ccw_row2[8] = {2, 25, 40, 47, 46, 45, 34, 15};
    int32_t order[48], rank[48], back[48];
    ft_medsora_scan(6, 8, 0, false, FT_SCAN_SPIRAL, order);
    for (int k = 0; k < 48; k++) rank[order[k]] = k;
    for (int x = 0; x < 8; x++) assert_int_equal(rank[8 + x], cw_row1[x]);
    ft_medsora_scan(6, 8, 4, false, FT_SCAN_SPIRAL, order);
    for (int k = 0; k < 48; k++) rank[order[k]] = k;
    for (int x = 0; x < 8; x++) assert_int_equal(rank[16 + x], ccw_row2[x]);
    for (int variant = 0; variant < 8; variant++) {
        ft_medsora_scan(6, 8, variant, false, FT_SCAN_SPIRAL, order);
        ft_medsora_scan(6, 8, variant, true, FT_SCAN_SPIRAL, back);
        for (int k = 0; k < 48; k++) assert_int_equal(order[k], back[47 - k]); /* the reverse is the time reversal */
        for (int k = 1; k < 48; k++)
            assert_int_equal(abs(order[k] / 8 - order[k - 1] / 8) + abs(order[k] % 8 - order[k - 1] % 8), 1);
    }
}

static float *run_medsora(bool change, bool init)
{
    ft_params *params = ft_params_new(3);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t y = build_medsora(g);
    ft_keep(y);
    for (int i = 0; change && i < g->n_tensor; i++)
        if (g->tensor[i]->kind == FT_IS_INPUT && g->tensor[i]->ndim == 5)
            for (int k = 0; k < 1024; k++)
                ((float *)g->tensor[i]->data)[3 * 1024 + k] += 1; /* the last latent frame of sample 0 */
    if (!init) fill(params);
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    ft_step step = {0, 0, 0, 0};
    assert_int_equal(ft_run(plan, &step), FT_OK);
    float *out = malloc((size_t)ft_count(y) * sizeof *out);
    memcpy(out, ft_data(y), (size_t)ft_count(y) * sizeof *out);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    return out;
}

static void test_medsora_properties(void **state)
{
    (void)state;
    float *zero = run_medsora(false, true), *a = run_medsora(false, false), *b = run_medsora(true, false);
    for (int i = 0; i < 2 * 4 * 8 * 8 * 32; i++) assert_true(zero[i] == 0); /* adaLN-zero: nothing comes out at the start */
    bool moved = false;
    for (int i = 0; i < 1024 * 2; i++) moved |= a[i] != b[i]; /* the spatial scans join frames: frame 0 sees frame 3 */
    assert_true(moved);
    for (int i = 4 * 8 * 8 * 32; i < 2 * 4 * 8 * 8 * 32; i++) assert_true(a[i] == b[i]); /* samples do not see each other */
    free(zero);
    free(a);
    free(b);
}

/* a guarded plan without reuse computes the same bits as the packed plan */
static void test_guarded_plan(void **state)
{
    (void)state;
    for (int m = 0; m < 3; m++) {
        float *grad[2] = {0};
        int64_t n = 0;
        for (int guard = 0; guard < 2; guard++) {
            setenv("FT_PLAN_GUARD", guard ? "1" : "0", 1);
            ft_params *params = ft_params_new(5);
            ft_graph *g = ft_graph_new(params, FT_F32, 1);
            ft_t y = models[m].build(g);
            ft_t loss = ft_reduce(g, ft_unary(g, FT_SQUARE, y), (1u << ft_ndim(y)) - 1, true);
            ft_backward(g, ft_reshape(g, loss, 1, (int64_t[]){1}));
            fill(params);
            ft_plan *plan;
            assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
            ft_step step = {0, 0, 0, 0};
            if (ft_run(plan, &step) < 0) fail_msg("%s", ft_error_message());
            n = ft_params_trained_size(params);
            grad[guard] = malloc((size_t)n * sizeof(float));
            memcpy(grad[guard], ft_params_grad(params), (size_t)n * sizeof(float));
            ft_plan_info info = ft_plan_describe(plan);
            if (!guard) assert_true((double)info.act_bytes <= 1.05 * (double)info.live_bytes); /* within 5 % of the lower bound */
            ft_plan_free(plan);
            ft_graph_free(g);
            ft_params_free(params);
        }
        unsetenv("FT_PLAN_GUARD");
        assert_memory_equal(grad[0], grad[1], (size_t)n * sizeof(float));
        free(grad[0]);
        free(grad[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"golden x3d-tiny", test_golden, NULL, NULL, (void *)&models[0]},
        {"golden vae-tiny", test_golden, NULL, NULL, (void *)&models[1]},
        {"golden medsora-tiny", test_golden, NULL, NULL, (void *)&models[2]},
        cmocka_unit_test(test_totals),
        cmocka_unit_test(test_spiral),
        cmocka_unit_test(test_medsora_properties),
        cmocka_unit_test(test_guarded_plan),
    };
    return cmocka_run_group_tests_name("models", tests, NULL, NULL);
}
