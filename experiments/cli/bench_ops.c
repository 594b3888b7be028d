#include "experiments/cli/bench_ops.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/base/threads.h"
#include "common/train/precision.h"
#include "common/train/rates.h"
#include "experiments/stages/environment.h"

int ft_bench_by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

int ft_bench_plan(ft_plan *plan, int64_t runs, bool profile, double *ms)
{
    for (int64_t k = -3; k < runs; k++) {
        ft_step s = {0, k + 3, 1e-4f, 0, 0};
        if (k == 0 && profile) ft_plan_profile_on(plan);
        double start = ft_now();
        FT_TRY(ft_run(plan, &s));
        if (k >= 0) ms[k] = 1000 * (ft_now() - start);
    }
    qsort(ms, (size_t)runs, sizeof *ms, ft_bench_by_value);
    return FT_OK;
}

void ft_bench_fill(ft_t x, float scale)
{
    for (int64_t i = 0; i < ft_count(x); i++) {
        float v = scale * (float)((double)((uint64_t)i * 2654435761u % 4001) / 2000.0 - 1.0);
        if (ft_dtype_of(x) == FT_F32) ((float *)ft_data(x))[i] = v;
        else if (ft_dtype_of(x) == FT_BF16) {
            union {
                float f;
                uint32_t u;
            } b = {v};
            ((uint16_t *)ft_data(x))[i] = (uint16_t)(b.u >> 16);
        }
    }
}

/* ---- single ops --------------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_graph *g;
    ft_dtype dtype;
    double flop; /* of the forward pass; 0: memory-bound, only its bytes count */
    ft_t in[8];
    int n;
} bench;

static ft_t input(bench *b, ft_dtype dtype, int nd, const int64_t *dim)
{
    ft_t x = ft_input(b->g, "x", dtype, nd, dim);
    if (!ft_graph_error(b->g)) ft_bench_fill(x, 1);
    ft_need_grad(x);
    b->in[b->n++] = x;
    return x;
}
#define N_OF(...)    ((int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))
#define X(...)       input(b, b->dtype, N_OF(__VA_ARGS__), (int64_t[]){__VA_ARGS__})
#define X32(...)     input(b, FT_F32, N_OF(__VA_ARGS__), (int64_t[]){__VA_ARGS__})
#define W(name, ...) ft_param(b->g, name, N_OF(__VA_ARGS__), (int64_t[]){__VA_ARGS__}, (ft_init){FT_INIT_UNIFORM, 0.1, NULL})

static const ft_conv_opt cube = {.pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}},
                         flat3 = {.pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}};

static ft_t o_linear(bench *b)
{
    return b->flop = 2.0 * 2048 * 768 * 768, ft_linear(b->g, X(2048, 768), W("w", 768, 768), W("b", 768));
}
static ft_t o_mlp(bench *b)
{
    return b->flop = 2.0 * 3072 * 512 * 2048, ft_linear(b->g, X(3072, 512), W("w", 2048, 512), W("b", 2048));
}
static ft_t o_matmul(bench *b)
{
    return b->flop = 2.0 * 768 * 64 * 64 * 64, ft_matmul(b->g, X(768, 64, 64), X(768, 64, 64), false, false);
}
static ft_t o_conv3(bench *b)
{
    b->flop = 2.0 * 27 * 128 * 128 * 4 * 32 * 32;
    return ft_conv(b->g, X(1, 4, 32, 32, 128), W("w", 128, 128, 3, 3, 3), W("b", 128), cube);
}
static ft_t o_conv2(bench *b)
{
    b->flop = 2.0 * 9 * 64 * 64 * 16 * 32 * 32;
    return ft_conv(b->g, X(1, 16, 32, 32, 64), W("w", 64, 64, 1, 3, 3), W("b", 64), flat3);
}
static ft_t o_convt(bench *b)
{
    b->flop = 2.0 * 64 * 128 * 64 * 4 * 16 * 16;
    return ft_conv_transpose(b->g, X(1, 4, 16, 16, 128), W("w", 128, 64, 4, 4, 4), NULL,
                             (ft_conv_opt){.stride = {2, 2, 2}, .pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}});
}
static ft_t o_dw(bench *b)
{
    b->flop = 2.0 * 27 * 8 * 16 * 32 * 32 * 54;
    return ft_conv_dw(b->g, X(8, 16, 32, 32, 54), W("w", 54, 1, 3, 3, 3), NULL, cube);
}
static ft_t o_dw2(bench *b)
{
    b->flop = 2.0 * 27 * 8 * 16 * 16 * 16 * 108;
    return ft_conv_dw(b->g, X(8, 16, 16, 16, 108), W("w", 108, 1, 3, 3, 3), NULL, cube);
}
static ft_t o_dw1(bench *b) /* Mamba's causal convolution */
{
    b->flop = 2.0 * 4 * 64 * 48 * 1280;
    return ft_conv_dw(b->g, X(64, 1, 1, 48, 1280), W("w", 1280, 1, 1, 1, 4), W("b", 1280), (ft_conv_opt){.pad_front = {0, 0, 3}});
}
static ft_t o_layernorm(bench *b) { return ft_layernorm(b->g, X(4, 1536, 512), W("g", 512), W("b", 512), NULL, NULL, 1e-6f); }
static ft_t o_modulate(bench *b) { return ft_layernorm(b->g, X(4, 1536, 512), NULL, NULL, X32(4, 512), X32(4, 512), 1e-6f); }
static ft_t o_gate(bench *b) { return ft_gate_residual(b->g, X(4, 1536, 512), X(4, 1536, 512), X32(4, 512)); }
static ft_t o_rms(bench *b) { return ft_rmsnorm_gated(b->g, X(3072, 1024), X(3072, 1024), W("w", 1024), 1e-5f); }
static ft_t o_group(bench *b)
{
    return ft_groupnorm(b->g, X(1, 8, 64, 64, 128), W("g", 128), W("b", 128), 32, 1e-6f, FT_ACT_SILU);
}
static ft_t o_batch(bench *b)
{
    ft_t mean = ft_buffer(b->g, "m", 1, (int64_t[]){54}, FT_ZERO), var = ft_buffer(b->g, "v", 1, (int64_t[]){54}, FT_ONE);
    return ft_batchnorm(b->g, X(8, 16, 32, 32, 54), W("g", 54), W("b", 54), mean, var, 0, 0.1f, 1e-5f, FT_ACT_RELU);
}
static ft_t o_softmax(bench *b) { return ft_softmax(b->g, X(16384, 256)); }
static ft_t o_gelu(bench *b) { return ft_unary(b->g, FT_GELU, X(3072, 2048)); }
static ft_t o_silu(bench *b) { return ft_unary(b->g, FT_SILU, X(3072, 2048)); }
static ft_t o_geglu(bench *b) { return ft_glu(b->g, X(3072, 4096), FT_ACT_GELU, false); }
static ft_t o_add(bench *b) { return ft_add(b->g, X(3072, 2048), X(3072, 2048)); }
static ft_t o_permute(bench *b) { return ft_permute(b->g, X(4, 6, 256, 1024), (int[]){0, 2, 1, 3}); }
static ft_t o_transpose(bench *b) { return ft_permute(b->g, X(4, 1024, 1536), (int[]){0, 2, 1}); }
static ft_t o_upsample(bench *b) { return ft_upsample(b->g, X(1, 8, 32, 32, 128), (int64_t[]){1, 2, 2}); }
static ft_t o_resize(bench *b) { return ft_resize(b->g, X(8, 32, 32, 128), 1, 64, FT_LINEAR, 0); }
static ft_t o_maxpool(bench *b)
{
    return ft_pool(b->g, X(1, 16, 64, 64, 64), FT_POOL_MAX, (ft_conv_opt){.kernel = {1, 2, 2}, .stride = {1, 2, 2}});
}
static ft_t o_reduce(bench *b) { return ft_reduce(b->g, X(3072, 2048), 1, false); }
static ft_t o_mse(bench *b) { return ft_loss_mean(b->g, X(3072, 2048), ft_stop_grad(b->g, X(3072, 2048)), FT_MSE); }
static ft_t o_adamw(bench *b)
{
    ft_t weights = W("w", 8192, 1024);
    ft_t y = ft_reduce(b->g, weights, 3, false);
    ft_backward(b->g, ft_reshape(b->g, y, 1, (int64_t[]){1}));
    ft_optimise(b->g, (ft_optim_opt){.weight_decay = 0.01f});
    return NULL;
}

static ft_t attention(bench *b, int64_t s, int64_t t, int64_t heads, int64_t d, bool causal)
{
    b->flop = 4.0 * (double)(s * heads * t * t * d) / (causal ? 2 : 1);
    return ft_sdpa(b->g, X(s, t, heads * d), X(s, t, heads * d), X(s, t, heads * d),
                   (ft_sdpa_opt){.heads = heads, .causal = causal});
}
static ft_t o_sdpa8(bench *b) { return attention(b, 96, 64, 8, 64, false); }
static ft_t o_sdpa16(bench *b) { return attention(b, 16, 256, 8, 64, false); }
static ft_t o_sdpac(bench *b) { return attention(b, 16, 256, 8, 64, true); }
static ft_t o_packed(bench *b)
{
    b->flop = 4.0 * 96 * 8 * 64 * 64 * 64;
    return ft_sdpa(b->g, X(96, 64, 1536), NULL, NULL, (ft_sdpa_opt){.heads = 8});
}
static ft_t o_relative(bench *b)
{
    b->flop = 8.0 * 1024 * 4 * 4 * 4 * 64;
    return ft_sdpa_relative(b->g, X(1024, 4, 256), X(1024, 4, 256), X(1024, 4, 256), W("k", 9, 64), W("v", 9, 64),
                            (ft_sdpa_opt){.heads = 4});
}
static ft_t o_local(bench *b)
{
    b->flop = 4.0 * 24 * 64 * 17 * 512;
    return ft_attention_local(b->g, X(24, 64, 512), X(24, 64, 512), X(24, 64, 512), 8, 0);
}
static ft_t o_channel(bench *b)
{
    b->flop = 4.0 * 24 * 64 * 8 * 64 * 64;
    return ft_attention_channel(b->g, X(24, 64, 1536), W("t", 8), 8);
}
static ft_t scan(bench *b, int64_t s, int64_t t, int64_t heads, int64_t p, int64_t n)
{
    double chunk = t < 64 ? (double)t : 64;
    b->flop = (double)(s * t) * chunk * (double)(n + heads * p) + (t > 64 ? 4.0 * (double)(s * t * heads * p * n) : 0);
    return ft_ssd(b->g, X(s, t, heads * p + 2 * n), X(s, t, heads), W("b", heads), W("a", heads), W("d", heads), heads, n);
}
static ft_t o_ssd48(bench *b) { return scan(b, 64, 48, 16, 64, 128); }
static ft_t o_ssd1024(bench *b) { return scan(b, 4, 1024, 16, 64, 64); }
static ft_t o_ssd64(bench *b) { return scan(b, 8, 64, 4, 64, 64); }
static ft_t o_ssd256(bench *b) { return scan(b, 8, 256, 4, 64, 64); }
static ft_t o_ssd4096(bench *b) { return scan(b, 8, 4096, 4, 64, 64); }
static ft_t wkv(bench *b, int64_t s, int64_t t, int64_t l, int64_t c)
{
    return ft_wkv(b->g, X(s, t, l, c), X(s, t, l, c), W("w", c), W("u", c), 0);
}
static ft_t o_wkv16(bench *b) { return wkv(b, 2, 16, 64, 512); }
static ft_t o_wkv64(bench *b) { return wkv(b, 24, 64, 1, 512); }
static ft_t o_wkv1024(bench *b) { return wkv(b, 2, 1024, 1, 512); }
static ft_t o_wkv_64(bench *b) { return wkv(b, 4, 64, 1, 64); }
static ft_t o_wkv_256(bench *b) { return wkv(b, 4, 256, 1, 64); }
static ft_t o_wkv_4096(bench *b) { return wkv(b, 4, 4096, 1, 64); }
static ft_t o_ffl(bench *b) { return ft_focal_frequency(b->g, X(1, 8, 64, 64, 3), ft_stop_grad(b->g, X(1, 8, 64, 64, 3)), 1); }

/* tests/bench_ops.py holds PyTorch's side under the same names */
static const struct {
    const char *name, *shape;
    ft_t (*make)(bench *b);
} ops[] = {
    {"linear", "2048x768x768", o_linear},
    {"linear_mlp", "3072x512x2048", o_mlp},
    {"matmul", "768 of 64x64x64", o_matmul},
    {"conv_3d", "4x32x32, 128 to 128, 3x3x3", o_conv3},
    {"conv_2d", "16 of 32x32, 64 to 64, 3x3", o_conv2},
    {"conv_transpose", "4x16x16, 128 to 64, 4x4x4, stride 2", o_convt},
    {"conv_dw_3d", "8 of 16x32x32x54, 3x3x3", o_dw},
    {"conv_dw_3d_small", "8 of 16x16x16x108, 3x3x3", o_dw2},
    {"conv_dw_causal", "64 of 48x1280, 4", o_dw1},
    {"layernorm", "6144x512", o_layernorm},
    {"layernorm_modulate", "4x1536x512", o_modulate},
    {"gate_residual", "4x1536x512", o_gate},
    {"rmsnorm_gated", "3072x1024", o_rms},
    {"groupnorm_silu", "8x64x64x128, 32 groups", o_group},
    {"batchnorm_relu", "8 of 16x32x32x54", o_batch},
    {"softmax", "16384x256", o_softmax},
    {"gelu", "3072x2048", o_gelu},
    {"silu", "3072x2048", o_silu},
    {"geglu", "3072x4096", o_geglu},
    {"add", "3072x2048", o_add},
    {"permute_rows", "4x6x256x1024 to 4x256x6x1024", o_permute},
    {"transpose", "4x1024x1536 to 4x1536x1024", o_transpose},
    {"upsample", "8x32x32x128 by 1x2x2", o_upsample},
    {"resize_linear", "8x32x32x128 to 64 rows", o_resize},
    {"pool_max", "16x64x64x64, 2x2", o_maxpool},
    {"reduce_rows", "3072x2048", o_reduce},
    {"mse", "3072x2048", o_mse},
    {"adamw_ema", "8.4 M parameters", o_adamw},
    {"sdpa_8x8", "96x64, 8 heads of 64", o_sdpa8},
    {"sdpa_16x16", "16x256, 8 heads of 64", o_sdpa16},
    {"sdpa_causal", "16x256, 8 heads of 64", o_sdpac},
    {"sdpa_packed", "96x64, 8 heads of 64, packed", o_packed},
    {"sdpa_relative", "1024x4, 4 heads of 64, tables", o_relative},
    {"attention_local", "24x64x512, window 8", o_local},
    {"attention_channel", "24x64, 8 heads of 64", o_channel},
    {"ssd_48", "64x48, 16 heads of 64, state 128", o_ssd48},
    {"ssd_1024", "4x1024, 16 heads of 64, state 64", o_ssd1024},
    {"ssd_length_64", "8x64, 4 heads of 64, state 64", o_ssd64},
    {"ssd_length_256", "8x256, 4 heads of 64, state 64", o_ssd256},
    {"ssd_length_4096", "8x4096, 4 heads of 64, state 64", o_ssd4096},
    {"wkv_16", "2x16x64x512, over 16 frames", o_wkv16},
    {"wkv_64", "24x64x512", o_wkv64},
    {"wkv_1024", "2x1024x512", o_wkv1024},
    {"wkv_length_64", "4x64x64", o_wkv_64},
    {"wkv_length_256", "4x256x64", o_wkv_256},
    {"wkv_length_4096", "4x4096x64", o_wkv_4096},
    {"focal_frequency", "8x64x64x3", o_ffl},
};
enum { N_OPS = sizeof ops / sizeof *ops };

static int bench_op(int k, ft_dtype dtype, bool both, int64_t runs, bool profile, double copy, json_t *list, bool print)
{
    ft_params *params = ft_params_new(1);
    ft_graph *g = params ? ft_graph_new(params, dtype, FT_GRAPH_ALONE) : NULL;
    ft_plan *plan = NULL;
    double *ms = ft_alloc((size_t)runs * sizeof *ms);
    int rc;
    FT_TRY_TO(rc, done, g && ms ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory"));
    bench b = {.g = g, .dtype = dtype};
    ft_t y = ops[k].make(&b);
    if (y && both && !ft_graph_error(g)) {
        int64_t dim[FT_MAX_DIMS];
        for (int i = 0; i < ft_ndim(y); i++) dim[i] = ft_dim(y, i);
        ft_t dy = ft_input(g, "dy", ft_dtype_of(y), ft_ndim(y), dim);
        ft_bench_fill(dy, 1);
        ft_backward_from(g, y, dy);
        for (int i = 0; i < b.n; i++)
            if (ft_grad(g, b.in[i])) ft_keep(ft_grad(g, b.in[i]));
    }
    if (y) ft_keep(y);
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    FT_TRY_TO(rc, done, ft_bench_plan(plan, runs, profile, ms));
    ft_plan_info info = ft_plan_describe(plan);
    double median = ms[runs / 2], flop = b.flop * (both ? 3 : 1);
    if (!y)
        info.moved_bytes = (size_t)ft_params_trained_size(params) * 11 * sizeof(float); /* read g, g p m v, e p; write p m v, e */
    double gbs = (double)info.moved_bytes / median / 1e6, gflops = flop / median / 1e6;
    json_array_append_new(list, json_pack("{s:s,s:s,s:{s:f,s:f,s:f},s:f,s:f}", "op", ops[k].name, "shape", ops[k].shape, "ms",
                                          "median", median, "min", ms[0], "max", ms[runs - 1], "gb_s", gbs, "gflop_s", gflops));
    if (print) {
        printf("%-20s %-38s %9.3f ms %7.1f GB/s %4.0f%% of copy", ops[k].name, ops[k].shape, median, gbs, 100 * gbs * 1e9 / copy);
        if (flop > 0) printf(" %8.0f GFLOP/s", gflops);
        printf("\n");
    }
    if (profile) ft_plan_profile(plan);
done:
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_free(ms);
    return rc;
}

int ft_bench_ops(ft_cli *c, int64_t runs)
{
    const char *const *arg, *pass = ft_cli_text(c, "--pass");
    int n = ft_cli_args(c, &arg), rc = FT_OK, found = 0;
    ft_config *cfg;
    ft_dtype dtype;
    bool both = !strcmp(pass, "both");
    if (!both && strcmp(pass, "forward")) return FT_FAIL(FT_EUSAGE, "--pass %s: forward or both", pass);
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    rc = ft_precision(cfg, FT_WORK_PRODUCTS, &dtype);
    ft_config_free(cfg);
    FT_TRY(rc);
    double copy = 1e9 * ft_rate_copy();
    json_t *list = json_array();
    if (!ft_cli_json(c))
        printf("%s, %s, %d threads; a plain copy moves %.1f GB/s\n", pass, dtype == FT_BF16 ? "bf16" : "f32", ft_threads_get(),
               copy / 1e9);
    for (int k = 0; rc == FT_OK && k < N_OPS; k++) {
        bool wanted = n == 1;
        for (int i = 1; i < n; i++) wanted |= !strcmp(arg[i], ops[k].name);
        if (!wanted) continue;
        found++;
        rc = bench_op(k, dtype, both, runs, ft_cli_flag(c, "--profile"), copy, list, !ft_cli_json(c));
    }
    if (rc == FT_OK && found == 0)
        rc = FT_FAIL(FT_EUSAGE, "no op of these names: `forty bench op` runs all and shows their names");
    if (rc == FT_OK && ft_cli_json(c)) {
        ft_cli_print(c,
                     json_pack("{s:s,s:s,s:s,s:i,s:I,s:f,s:O,s:o}", "what", "op", "pass", pass, "precision",
                               dtype == FT_BF16 ? "bf16" : "f32", "threads", ft_threads_get(), "peak_rss_mib",
                               (json_int_t)ft_peak_memory(), "copy_gb_s", copy / 1e9, "ops", list, "versions", ft_environment()),
                     "%s", "");
    }
    json_decref(list);
    return rc;
}
