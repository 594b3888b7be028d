/* The graph around the ops: fused rows against their composed twins, second derivatives, recompute, the planner. */
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
#include "common/base/threads.h"
#include "common/graph/graph.h"
#include "common/graph/layers.h"
#include "golden_value.h"
#include "common/graph/node.h"
#include "common/io/safetensors.h"
#include "kernels/elem.h"
#ifdef FT_TEST_SHIM
#include "shim/shim.h"
#endif

static const ft_step step = {5, 3, 0, 0, 0};

static ft_t normal_param(ft_graph *g, const char *name, int nd, const int64_t *dim)
{
    return ft_param(g, name, nd, dim, (ft_init){FT_INIT_NORMAL, 0.5, NULL});
}
#define P(name, ...) normal_param(g, name, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
#define VIEW(x, ...) ft_reshape(g, x, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static ft_t total_of(ft_graph *g, ft_t y) /* a scalar that weighs every value differently */
{
    float w[20000];
    assert_true(ft_count(y) <= 20000);
    for (int64_t i = 0; i < ft_count(y); i++) w[i] = (float)sin((double)i * 0.7 + 1);
    ft_t k = ft_const(g, FT_F32, ft_ndim(y), y->dim, w);
    return ft_reshape(g, ft_reduce(g, ft_mul(g, ft_cast(g, y, FT_F32), k), (1u << ft_ndim(y)) - 1, false), 1, (int64_t[]){1});
}

/* ---- fused rows and the plain rows that they stand for ------------------------------------------------------------------ */

typedef ft_t form(ft_graph *g);

static ft_t mean_last(ft_graph *g, ft_t x) { return ft_reduce(g, x, 1u << (ft_ndim(x) - 1), true); }
static ft_t plain_layernorm(ft_graph *g, ft_t x, float eps)
{
    ft_t d = ft_sub(g, x, mean_last(g, x)), v = mean_last(g, ft_unary(g, FT_SQUARE, d));
    return ft_mul(g, d, ft_unary(g, FT_RSQRT, ft_affine(g, v, 1, eps)));
}

static ft_t f_layernorm(ft_graph *g)
{
    return ft_layernorm(g, P("x", 3, 7, 33), P("g", 33), P("b", 33), P("sh", 3, 33), P("sc", 3, 33), 1e-5f);
}
static ft_t c_layernorm(ft_graph *g)
{
    ft_t y =
        ft_add(g, ft_mul(g, plain_layernorm(g, P("x", 3, 7, 33), 1e-5f), VIEW(P("g", 33), 1, 1, 33)), VIEW(P("b", 33), 1, 1, 33));
    return ft_add(g, ft_mul(g, y, ft_affine(g, VIEW(P("sc", 3, 33), 3, 1, 33), 1, 1)), VIEW(P("sh", 3, 33), 3, 1, 33));
}
static ft_t f_gate(ft_graph *g) { return ft_gate_residual(g, P("x", 3, 7, 33), P("y", 3, 7, 33), P("k", 3, 33)); }
static ft_t c_gate(ft_graph *g)
{
    return ft_add(g, P("x", 3, 7, 33), ft_mul(g, P("y", 3, 7, 33), VIEW(P("k", 3, 33), 3, 1, 33)));
}
static ft_t f_rms(ft_graph *g) { return ft_rmsnorm_gated(g, P("y", 7, 33), P("z", 7, 33), P("w", 33), 1e-5f); }
static ft_t c_rms(ft_graph *g)
{
    ft_t u = ft_mul(g, P("y", 7, 33), ft_unary(g, FT_SILU, P("z", 7, 33)));
    ft_t r = ft_unary(g, FT_RSQRT, ft_affine(g, mean_last(g, ft_unary(g, FT_SQUARE, u)), 1, 1e-5f));
    return ft_mul(g, ft_mul(g, u, r), VIEW(P("w", 33), 1, 33));
}
static ft_t plain_groupnorm(ft_graph *g) /* (2, 3, 5, 4, 12) in 3 groups */
{
    ft_t x = VIEW(P("x", 2, 3, 5, 4, 12), 2, 60, 3, 4);
    ft_t d = ft_sub(g, x, ft_reduce(g, x, 10, true)), v = ft_reduce(g, ft_unary(g, FT_SQUARE, d), 10, true);
    ft_t y = ft_mul(g, d, ft_unary(g, FT_RSQRT, ft_affine(g, v, 1, 1e-6f)));
    return ft_add(g, ft_mul(g, VIEW(y, 2, 3, 5, 4, 12), VIEW(P("g", 12), 1, 1, 1, 1, 12)), VIEW(P("b", 12), 1, 1, 1, 1, 12));
}
static ft_t f_group(ft_graph *g)
{
    return ft_groupnorm(g, P("x", 2, 3, 5, 4, 12), P("g", 12), P("b", 12), 3, 1e-6f, FT_ACT_SILU);
}
static ft_t c_group(ft_graph *g) { return ft_unary(g, FT_SILU, plain_groupnorm(g)); }
static ft_t f_spatial(ft_graph *g)
{
    return ft_groupnorm_conditioned(g, P("x", 2, 3, 5, 4, 12), P("g", 12), P("b", 12), P("sc", 2, 3, 2, 2, 12),
                                    P("sh", 2, 3, 2, 2, 12), NULL, 3, 1e-6f, FT_ACT_GELU);
}
static ft_t nearest(ft_graph *g, ft_t x) { return ft_resize(g, ft_resize(g, x, 2, 5, FT_NEAREST, 0), 3, 4, FT_NEAREST, 0); }
static ft_t c_spatial(ft_graph *g)
{
    ft_t y = ft_mul(g, plain_groupnorm(g), nearest(g, P("sc", 2, 3, 2, 2, 12)));
    return ft_unary(g, FT_GELU, ft_add(g, y, nearest(g, P("sh", 2, 3, 2, 2, 12))));
}
static ft_t f_glu(ft_graph *g) { return ft_glu(g, P("x", 7, 66), FT_ACT_GELU, false); }
static ft_t c_glu(ft_graph *g)
{
    return ft_mul(g, ft_unary(g, FT_GELU, ft_slice(g, P("x", 7, 66), 1, 0, 33)), ft_slice(g, P("x", 7, 66), 1, 33, 33));
}
static ft_t f_softmax(ft_graph *g) { return ft_softmax(g, P("x", 7, 33)); }
static ft_t c_softmax(ft_graph *g)
{
    ft_t e = ft_unary(g, FT_EXP, P("x", 7, 33));
    return ft_div(g, e, ft_reduce(g, e, 2, false));
}
static ft_t f_l2(ft_graph *g) { return ft_l2_normalize(g, P("x", 7, 33), 1e-12f); }
static ft_t c_l2(ft_graph *g)
{
    ft_t x = P("x", 7, 33);
    return ft_div(g, x, ft_unary(g, FT_SQRT, ft_reduce(g, ft_unary(g, FT_SQUARE, x), 2, false)));
}
static ft_t f_linear(ft_graph *g) { return ft_linear_act(g, P("x", 7, 33), P("w", 31, 33), P("b", 31), FT_ACT_RELU); }
static ft_t c_linear(ft_graph *g)
{
    return ft_unary(g, FT_RELU, ft_add(g, ft_matmul(g, P("x", 7, 33), P("w", 31, 33), false, true), VIEW(P("b", 31), 1, 31)));
}
static ft_t f_linear_eval(ft_graph *g)
{
    ft_training(g, false);
    return ft_linear_act(g, P("x", 7, 33), P("w", 31, 33), P("b", 31), FT_ACT_SILU);
}
static ft_t c_linear_eval(ft_graph *g)
{
    return ft_unary(g, FT_SILU, ft_add(g, ft_matmul(g, P("x", 7, 33), P("w", 31, 33), false, true), VIEW(P("b", 31), 1, 31)));
}
static ft_t split_heads(ft_graph *g, ft_t x) { return ft_permute(g, VIEW(x, 2, 17, 3, 8), (int[]){0, 2, 1, 3}); }
static ft_t f_sdpa(ft_graph *g) { return ft_sdpa(g, P("x", 2, 17, 72), NULL, NULL, (ft_sdpa_opt){.heads = 3}); }
static ft_t c_sdpa(ft_graph *g)
{
    ft_t x = P("x", 2, 17, 72), q = split_heads(g, ft_slice(g, x, 2, 0, 24)), k = split_heads(g, ft_slice(g, x, 2, 24, 24)),
         v = split_heads(g, ft_slice(g, x, 2, 48, 24));
    ft_t a = ft_softmax(g, ft_affine(g, ft_matmul(g, q, k, false, true), 1 / sqrtf(8), 0));
    return VIEW(ft_permute(g, ft_matmul(g, a, v, false, false), (int[]){0, 2, 1, 3}), 2, 17, 24);
}
static ft_t channels_first(ft_graph *g, ft_t x) { return ft_permute(g, VIEW(x, 2, 17, 3, 8), (int[]){0, 2, 3, 1}); }
static ft_t f_channel(ft_graph *g) { return ft_attention_channel(g, P("x", 2, 17, 72), P("t", 3), 3); }
static ft_t c_channel(ft_graph *g)
{
    ft_t x = P("x", 2, 17, 72), q = ft_l2_normalize(g, channels_first(g, ft_slice(g, x, 2, 0, 24)), 1e-12f),
         k = ft_l2_normalize(g, channels_first(g, ft_slice(g, x, 2, 24, 24)), 1e-12f),
         v = channels_first(g, ft_slice(g, x, 2, 48, 24));
    ft_t a = ft_softmax(g, ft_mul(g, ft_matmul(g, q, k, false, true), VIEW(P("t", 3), 1, 3, 1, 1)));
    return VIEW(ft_permute(g, ft_matmul(g, a, v, false, false), (int[]){0, 3, 1, 2}), 2, 17, 24);
}
enum { WT = 9 };
static ft_t f_wkv(ft_graph *g) { return ft_wkv(g, P("k", 2, WT, 5), P("v", 2, WT, 5), P("w", 5), P("u", 5), 0); }
static ft_t c_wkv(ft_graph *g) /* the T x T matrix of each channel */
{
    float apart[WT * WT], same[WT * WT];
    for (int i = 0; i < WT * WT; i++) same[i] = i / WT == i % WT, apart[i] = same[i] > 0 ? 0 : (float)abs(i / WT - i % WT) - 1;
    ft_t d = ft_const(g, FT_F32, 4, (int64_t[]){1, WT, WT, 1}, apart),
         e = ft_const(g, FT_F32, 4, (int64_t[]){1, WT, WT, 1}, same);
    int64_t wide[4] = {1, WT, WT, 5};
    ft_t bias = ft_sub(g, ft_mul(g, ft_broadcast(g, e, 4, wide, 1), VIEW(P("u", 5), 1, 1, 1, 5)),
                       ft_mul(g, ft_broadcast(g, d, 4, wide, 1), VIEW(P("w", 5), 1, 1, 1, 5)));
    int64_t full[4] = {2, WT, WT, 5};
    ft_t z = ft_add(g, ft_broadcast(g, VIEW(P("k", 2, WT, 5), 2, 1, WT, 5), 4, full, 1), bias);
    ft_t a = ft_permute(g, ft_softmax(g, ft_permute(g, z, (int[]){0, 1, 3, 2})), (int[]){0, 1, 3, 2});
    return VIEW(ft_reduce(g, ft_mul(g, a, VIEW(P("v", 2, WT, 5), 2, 1, WT, 5)), 4, false), 2, WT, 5);
}
enum { ST = 21 };
static ft_t f_ssd(ft_graph *g) { return ft_ssd(g, P("x", 2, ST, 14), P("t", 2, ST, 2), P("b", 2), P("a", 2), P("d", 2), 2, 4); }
static ft_t c_ssd(ft_graph *g) /* the whole matrix form, by plain rows; (S, H, T, T) */
{
    float lower[ST * ST];
    for (int i = 0; i < ST * ST; i++) lower[i] = i / ST >= i % ST;
    ft_t tri = ft_const(g, FT_F32, 4, (int64_t[]){1, 1, ST, ST}, lower);
    ft_t x = P("x", 2, ST, 14), X = VIEW(ft_slice(g, x, 2, 0, 6), 2, ST, 2, 3), B = ft_slice(g, x, 2, 6, 4),
         C = ft_slice(g, x, 2, 10, 4);
    ft_t dt = ft_unary(g, FT_SOFTPLUS, ft_add(g, P("t", 2, ST, 2), VIEW(P("b", 2), 1, 1, 2)));
    dt = VIEW(ft_permute(g, dt, (int[]){0, 2, 1}), 2, 2, ST, 1);
    ft_t A = ft_affine(g, ft_unary(g, FT_EXP, P("a", 2)), -1, 0);
    ft_t sum = ft_broadcast(g, tri, 4, (int64_t[]){2, 2, ST, ST}, 1);
    ft_t s = ft_mul(g, ft_matmul(g, sum, dt, false, false), VIEW(A, 1, 2, 1, 1)); /* cumulative sums */
    int64_t full[4] = {2, 2, ST, ST};
    ft_t l = ft_sub(g, ft_broadcast(g, s, 4, full, 1), ft_permute(g, s, (int[]){0, 1, 3, 2}));
    l = ft_mul(g, ft_unary(g, FT_EXP, ft_mul(g, l, tri)), tri);
    ft_t cb = VIEW(ft_matmul(g, C, B, false, true), 2, 1, ST, ST);
    ft_t m = ft_mul(g, ft_mul(g, l, ft_permute(g, dt, (int[]){0, 1, 3, 2})), ft_broadcast(g, cb, 4, full, 1));
    ft_t y = ft_matmul(g, m, ft_permute(g, X, (int[]){0, 2, 1, 3}), false, false);
    y = ft_add(g, ft_permute(g, y, (int[]){0, 2, 1, 3}), ft_mul(g, X, VIEW(P("d", 2), 1, 1, 2, 1)));
    return VIEW(y, 2, ST, 6);
}
static ft_t f_kl(ft_graph *g) { return ft_gauss_kl(g, P("x", 3, 5, 8)); }
static ft_t c_kl(ft_graph *g)
{
    ft_t m = ft_slice(g, P("x", 3, 5, 8), 2, 0, 4), l = ft_slice(g, P("x", 3, 5, 8), 2, 4, 4);
    ft_t each = ft_sub(g, ft_add(g, ft_unary(g, FT_SQUARE, m), ft_unary(g, FT_EXP, l)), ft_affine(g, l, 1, 1));
    return VIEW(ft_affine(g, ft_reduce(g, each, 7, false), 0.5f / 3, 0), 1);
}
static ft_t f_pearson(ft_graph *g) { return ft_pearson(g, P("a", 7, 33), P("b", 7, 33)); }
static ft_t c_pearson(ft_graph *g)
{
    ft_t a = P("a", 7, 33), b = P("b", 7, 33);
    a = ft_l2_normalize(g, ft_sub(g, a, mean_last(g, a)), 0), b = ft_l2_normalize(g, ft_sub(g, b, mean_last(g, b)), 0);
    return VIEW(ft_reduce(g, ft_mul(g, a, b), 2, false), 7);
}
static ft_t f_convt(ft_graph *g)
{
    return ft_conv_transpose(g, P("x", 1, 2, 4, 3, 5), P("w", 5, 7, 1, 3, 3), NULL, (ft_conv_opt){.stride = {1, 2, 2}});
}
static ft_t c_convt(ft_graph *g) /* zeros between the values, then a convolution with the turned kernel */
{
    ft_t x = P("x", 1, 2, 4, 3, 5);
    for (int axis = 2; axis < 4; axis++) {
        int64_t n = ft_dim(x, axis);
        int32_t begin[16] = {0}, index[16];
        for (int32_t r = 0; r < 2 * n - 1; r++) begin[r + 1] = begin[r] + (r % 2 == 0), index[r / 2] = r / 2;
        x = ft_resample(g, x, axis, &(ft_sparse){2 * n - 1, begin, index, NULL});
    }
    ft_t w = ft_flip(g, ft_flip(g, ft_permute(g, P("w", 5, 7, 1, 3, 3), (int[]){1, 0, 2, 3, 4}), 3), 4);
    return ft_conv(g, x, w, NULL, (ft_conv_opt){.pad_front = {0, 2, 2}, .pad_back = {0, 2, 2}});
}
static ft_t f_dw(ft_graph *g)
{
    return ft_conv_dw(g, P("x", 2, 3, 4, 5, 16), P("w", 16, 1, 3, 3, 3), NULL,
                      (ft_conv_opt){.pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}});
}
static ft_t c_dw(ft_graph *g)
{
    return ft_conv(g, P("x", 2, 3, 4, 5, 16), P("w", 16, 1, 3, 3, 3), NULL,
                   (ft_conv_opt){.pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}, .groups = 16});
}

/* parameters as one tensor: side by side (4 x 8 values each), with one of them used by itself too; joined (3 x 5 values) */
static ft_t grouped(ft_graph *g, int64_t out, int64_t in, bool group)
{
    static const char *const names[] = {"a", "b", "c", "d", "e", "f", "h", "i", "j"};
    enum { N = sizeof names / sizeof *names };
    ft_t x = P("x", 7, in), w, part[N];
    if (group) w = ft_param_group(g, N, names, 2, (int64_t[]){out, in}, (ft_init){FT_INIT_NORMAL, 0.5, NULL});
    for (int i = 0; i < N && !group; i++) part[i] = VIEW(P(names[i], out, in), 1, out, in);
    if (!group) w = ft_join(g, 0, N, part);
    if (group && out * in % 16 == 0) assert_true(w->kind == FT_IS_PARAM && ft_dim(w, 0) == N);
    ft_t y = ft_linear(g, x, VIEW(w, N * out, in), NULL);
    return ft_add(g, y, ft_reduce(g, ft_linear(g, x, P("d", out, in), NULL), 2, false));
}
static ft_t f_side(ft_graph *g) { return grouped(g, 4, 8, true); }
static ft_t c_side(ft_graph *g) { return grouped(g, 4, 8, false); }
static ft_t f_joined(ft_graph *g) { return grouped(g, 3, 5, true); }
static ft_t c_joined(ft_graph *g) { return grouped(g, 3, 5, false); }

/* rows of weighted pairs, the columns in parts of 8, 3 and 5 (or 8 and 8, 16 bytes wide); one part without a gradient */
static ft_t in_parts(ft_graph *g, bool fused, int n, const int64_t *width)
{
    static const int32_t begin[] = {0, 2, 3, 5, 7}, index[] = {0, 4, 2, 1, 1, 3, 0};
    static const float weight[] = {1, 0.5f, 1, 2, -1, 0.25f, 1};
    ft_sparse map = {4, begin, index, weight};
    ft_t x = P("x", 2, 5, 16), y[3], sum = NULL;
    if (fused) ft_resample_parts(g, x, 1, &map, n, width, y);
    for (int64_t i = 0, at = 0; i < n; at += width[i++]) {
        if (!fused) y[i] = ft_resample(g, ft_slice(g, x, 2, at, width[i]), 1, &map);
        ft_t z = ft_reduce(g, ft_unary(g, FT_SIN, i == 2 ? ft_stop_grad(g, y[i]) : y[i]), 4, false);
        sum = sum ? ft_mul(g, sum, z) : z;
    }
    return sum;
}
static ft_t f_parts(ft_graph *g) { return in_parts(g, true, 3, (int64_t[]){8, 3, 5}); }
static ft_t c_parts(ft_graph *g) { return in_parts(g, false, 3, (int64_t[]){8, 3, 5}); }
static ft_t f_halves(ft_graph *g) { return in_parts(g, true, 2, (int64_t[]){8, 8}); }
static ft_t c_halves(ft_graph *g) { return in_parts(g, false, 2, (int64_t[]){8, 8}); }

/* Gradients that are sums: of three linear layers and a norm (each adds to what the one before left), and of a and b that get
 * the same gradient while a has one of its own, which b must not see. `apart`: every use has a copy, so sums are nodes. */
static ft_t use(ft_graph *g, ft_t x, bool apart) { return apart ? ft_affine(g, x, 1, 0) : x; }
static ft_t summed(ft_graph *g, bool apart)
{
    ft_t a = P("a", 6, 16), b = P("b", 6, 16),
         x = use(g, ft_unary(g, FT_SILU, ft_add(g, use(g, a, apart), use(g, b, apart))), apart);
    ft_t y = ft_layernorm(g, use(g, x, apart), P("g", 16), P("n", 16), NULL, NULL, 1e-5f);
    static const char *const names[] = {"w0", "w1", "w2"};
    for (int i = 0; i < 3; i++) y = ft_mul(g, y, ft_linear(g, use(g, x, apart), P(names[i], 16, 16), NULL));
    ft_t h = ft_add(g, use(g, a, apart), use(g, b, apart));
    y = ft_add(g, y, ft_linear(g, use(g, h, apart), P("v", 16, 16), NULL));
    return ft_add(g, y, ft_linear(g, use(g, a, apart), P("u", 16, 16), NULL));
}
static ft_t f_summed(ft_graph *g) { return summed(g, false); }
static ft_t c_summed(ft_graph *g) { return summed(g, true); }

static const struct {
    const char *name;
    form *fused, *composed;
    double terms; /* as in op_cases: both forms round that many times at most */
} twins[] = {{"layernorm + modulate", f_layernorm, c_layernorm, 130},
             {"gate + residual", f_gate, c_gate, 20},
             {"gated rmsnorm", f_rms, c_rms, 140},
             {"groupnorm + silu", f_group, c_group, 500},
             {"spatial norm + gelu", f_spatial, c_spatial, 600},
             {"glu", f_glu, c_glu, 20},
             {"softmax", f_softmax, c_softmax, 100},
             {"l2_normalize", f_l2, c_l2, 100},
             {"linear + relu", f_linear, c_linear, 80},
             {"linear + silu, evaluation", f_linear_eval, c_linear_eval, 100},
             {"sdpa", f_sdpa, c_sdpa, 160},
             {"attention_channel", f_channel, c_channel, 200},
             {"wkv", f_wkv, c_wkv, 200},
             {"ssd", f_ssd, c_ssd, 1500},
             {"gauss_kl", f_kl, c_kl, 200},
             {"pearson", f_pearson, c_pearson, 200},
             {"conv_transpose", f_convt, c_convt, 150},
             {"conv_dw", f_dw, c_dw, 300},
             {"parameters side by side", f_side, c_side, 40},
             {"parameters joined", f_joined, c_joined, 40},
             {"resample in parts", f_parts, c_parts, 60},
             {"resample in halves", f_halves, c_halves, 60},
             {"summed gradients", f_summed, c_summed, 120}};

static void compare(const char *name, const char *what, const float *a, const float *b, int64_t n, double unit)
{
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)b[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)a[i] - (double)b[i]) <= unit * top + 1e-9))
            fail_msg("%s: %s at %lld: fused %.9g, composed %.9g", name, what, (long long)i, (double)a[i], (double)b[i]);
}

static void test_twins(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof twins / sizeof *twins; k++) {
        ft_params *params[2];
        ft_graph *graph[2];
        ft_plan *plan[2];
        ft_t y[2];
        for (int side = 0; side < 2; side++) {
            params[side] = ft_params_new(4);
            ft_graph *g = graph[side] = ft_graph_new(params[side], FT_F32, 1);
            y[side] = (side ? twins[k].composed : twins[k].fused)(g);
            ft_keep(y[side]);
            ft_backward(g, total_of(g, y[side]));
            if (ft_plan_new(&plan[side], g, FT_WEIGHTS) < 0) fail_msg("%s: %s", twins[k].name, ft_error_message());
            assert_int_equal(ft_run(plan[side], &step), FT_OK);
        }
        double unit = 2 * (16 + twins[k].terms) * pow(2, -24);
        compare(twins[k].name, "output", ft_data(y[0]), ft_data(y[1]), ft_count(y[0]), unit);
        assert_int_equal(ft_params_count(params[0]), ft_params_count(params[1]));
        for (int i = 0; i < ft_params_count(params[0]); i++) {
            const ft_param_info *a = ft_params_at(params[0], i), *b = NULL;
            for (int j = 0; j < ft_params_count(params[1]); j++)
                if (!strcmp(a->name, ft_params_at(params[1], j)->name)) b = ft_params_at(params[1], j);
            assert_non_null(b);
            compare(twins[k].name, a->name, ft_params_grad(params[0]) + a->offset, ft_params_grad(params[1]) + b->offset,
                    a->count, 2 * unit);
        }
        for (int side = 0; side < 2; side++) ft_plan_free(plan[side]), ft_graph_free(graph[side]), ft_params_free(params[side]);
    }
}

/* ---- second derivatives: a penalty on |dD/dx|^2, as R1 ------------------------------------------------------------------ */

static float formula(uint32_t name, int64_t i) /* make_golden.py's */
{
    uint32_t h = (uint32_t)i * 2654435761u + name;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (float)(h >> 8) / 8388608.0f - 1.0f;
}

static ft_t image(ft_graph *g)
{
    ft_t x = ft_input(g, "x", FT_F32, 5, (int64_t[]){2, 2, 6, 6, 3});
    for (int64_t i = 0; i < ft_count(x); i++) ((float *)ft_data(x))[i] = formula(crc32_of("x"), i);
    ft_need_grad(x);
    return x;
}
static const ft_conv_opt same3 = {.pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}};

static ft_t judge_conv(ft_graph *g, ft_t x) /* a discriminator */
{
    ft_t h = ft_leaky_relu(g, ft_conv(g, x, P("c1.weight", 8, 3, 1, 3, 3), P("c1.bias", 8), same3), 0.2f);
    ft_conv_opt down = same3;
    down.stride[0] = 1, down.stride[1] = down.stride[2] = 2;
    h = ft_leaky_relu(g, ft_conv(g, h, P("c2.weight", 16, 8, 1, 3, 3), P("c2.bias", 16), down), 0.2f);
    h = ft_leaky_relu(g, ft_linear(g, h, P("l1.weight", 8, 16), P("l1.bias", 8)), 0.2f);
    return ft_linear(g, VIEW(ft_reduce(g, h, 14, true), 2, 8), P("l2.weight", 1, 8), NULL);
}
static ft_t judge_modulated(ft_graph *g, ft_t x)
{
    ft_t z = ft_reduce(g, x, 14, true); /* the style depends on the input as well */
    ft_t style = ft_linear(g, VIEW(z, 2, 3), P("a.weight", 3, 3), P("a.bias", 3));
    ft_t y = ft_conv_modulated(g, x, P("m.weight", 5, 3, 1, 3, 3), style, true, same3);
    return ft_reduce(g, ft_unary(g, FT_SQUARE, y), 30, false);
}
static ft_t judge_shapes(ft_graph *g, ft_t x) /* most other rows on the way */
{
    ft_t up = ft_upsample(g, x, (int64_t[]){1, 2, 2}),
         down = ft_pool(g, up, FT_POOL_AVG, (ft_conv_opt){.kernel = {1, 3, 3}, .stride = {1, 2, 2}});
    ft_t d = ft_conv_dw(g, down, P("d.weight", 3, 1, 1, 3, 3), NULL, same3);
    ft_t t = ft_conv_transpose(g, ft_unary(g, FT_SILU, d), P("t.weight", 3, 4, 1, 2, 2), P("t.bias", 4),
                               (ft_conv_opt){.stride = {1, 2, 2}});
    ft_t a = ft_slice(g, t, 4, 0, 2), b = ft_slice(g, t, 4, 2, 2);
    ft_t c = ft_concat(g, 4, 2, (ft_t[]){ft_mul(g, a, b), ft_div(g, a, ft_affine(g, ft_unary(g, FT_SQUARE, b), 1, 1))});
    c = ft_pad(g, ft_roll(g, ft_resize(g, c, 2, 7, FT_LINEAR, 0), 3, 2), 3, 1, 0);
    ft_t m = VIEW(ft_permute(g, c, (int[]){0, 1, 4, 2, 3}), 4, 4, 7, 11);
    ft_t k = ft_matmul(g, m, m, false, true); /* (4, 4, 7, 7) */
    return ft_unary(g, FT_TANH, ft_affine(g, ft_reduce(g, k, 15, true), 0.1f, 0));
}

static const struct {
    const char *name;
    ft_t (*net)(ft_graph *g, ft_t x);
} judges[] = {{"r1_conv", judge_conv}, {"r1_modulated", judge_modulated}, {"r1_shapes", judge_shapes}};

static void test_second_order(void **state)
{
    (void)state;
    ft_safetensors golden;
    if (ft_safetensors_read(&golden, FT_TEST_DIR "/golden/second_order.safetensors") < 0) fail_msg("%s", ft_error_message());
    for (int k = 0; k < 3; k++) {
        ft_params *params = ft_params_new(0);
        ft_graph *g = ft_graph_new(params, FT_F32, 1);
        ft_t x = image(g), d = judges[k].net(g, x);
        ft_t sum = VIEW(ft_reduce(g, d, (1u << ft_ndim(d)) - 1, false), 1);
        ft_t slope = ft_gradient(g, sum, x);
        ft_t penalty = VIEW(ft_reduce(g, ft_unary(g, FT_SQUARE, slope), 31, false), 1);
        ft_keep(penalty);
        ft_backward(g, penalty);
        if (ft_graph_error(g)) fail_msg("%s: %s", judges[k].name, ft_graph_error(g));
        assert_int_equal(ft_params_seal(params), FT_OK);
        for (int i = 0; i < ft_params_count(params); i++) {
            const ft_param_info *e = ft_params_at(params, i);
            for (int64_t n = 0; n < e->count; n++)
                ft_params_flat(params, FT_WEIGHTS)[e->offset + n] = formula(crc32_of(e->name), n) * (e->ndim > 1 ? 0.5f : 0.25f);
        }
        ft_plan *plan;
        if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s: %s", judges[k].name, ft_error_message());
        assert_int_equal(ft_run(plan, &step), FT_OK);
        char name[100];
        float ref[4096];
        snprintf(name, sizeof name, "%s.penalty", judges[k].name);
        ft_safetensors_f32(ft_safetensors_find(&golden, name), ref);
        const double unit = 2e-5; /* three layers of sums of up to 500 terms, twice over: 300 * 2^-24 */
        if (!(fabs((double)*(float *)ft_data(penalty) - (double)ref[0]) <= unit * fabs((double)ref[0])))
            fail_msg("%s: penalty %g, PyTorch has %g", judges[k].name, (double)*(float *)ft_data(penalty), (double)ref[0]);
        for (int i = 0; i < ft_params_count(params); i++) {
            const ft_param_info *e = ft_params_at(params, i);
            snprintf(name, sizeof name, "%s.%s", judges[k].name, e->name);
            const ft_st_tensor *t = ft_safetensors_find(&golden, name);
            memset(ref, 0, sizeof ref); /* a bias between kinks does not move the slope: PyTorch has none or zeros */
            if (t) ft_safetensors_f32(t, ref);
            compare(judges[k].name, e->name, ft_params_grad(params) + e->offset, ref, e->count, unit);
        }
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(params);
    }
    ft_safetensors_free(&golden);
}

/* d/dx of (f'(x))^2 = 2 f' f'' for each unary kind, f' and f'' by differences in double */
static double f_of(ft_unary_kind kind, double x)
{
    switch (kind) {
        case FT_SILU: return x / (1 + exp(-x));
        case FT_SIGMOID: return 1 / (1 + exp(-x));
        case FT_EXP: return exp(x);
        case FT_SQUARE: return x * x;
        case FT_TANH: return tanh(x);
        case FT_GELU: return 0.5 * x * erfc(-x / sqrt(2));
        case FT_SOFTPLUS: return log1p(exp(x));
        case FT_LOG: return log(x);
        case FT_SQRT: return sqrt(x);
        case FT_RSQRT: return 1 / sqrt(x);
        case FT_RECIPROCAL: return 1 / x;
        case FT_SIN: return sin(x);
        case FT_COS: return cos(x);
        case FT_RELU:
        case FT_CLAMP:
        case FT_ABS:
        case FT_STEP:
        case FT_LEAKY_RELU:
        case FT_GELU_TANH: break;
    }
    return x; /* no curvature */
}
static void test_second_order_unary(void **state)
{
    (void)state;
    static const ft_unary_kind kinds[] = {FT_SILU, FT_SIGMOID, FT_EXP,        FT_SQUARE, FT_TANH, FT_GELU, FT_SOFTPLUS, FT_LOG,
                                          FT_SQRT, FT_RSQRT,   FT_RECIPROCAL, FT_SIN,    FT_COS,  FT_RELU, FT_ABS};
    enum { N = 33 };
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        ft_params *params = ft_params_new(0);
        ft_graph *g = ft_graph_new(params, FT_F32, 1);
        float v[N];
        for (int i = 0; i < N; i++) v[i] = 0.25f + (float)i / 16;
        ft_t x = ft_param(g, "x", 1, (int64_t[]){N}, (ft_init){FT_INIT_VALUES, 0, v});
        ft_t d = ft_gradient(g, ft_reduce(g, ft_unary(g, kinds[k], x), 1, false), x);
        ft_backward(g, ft_reduce(g, ft_unary(g, FT_SQUARE, d), 1, false));
        ft_plan *plan;
        if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_run(plan, &step), FT_OK);
        for (int i = 0; i < N; i++) {
            double h = 1e-4, at = (double)v[i], a = f_of(kinds[k], at - h), b = f_of(kinds[k], at), c = f_of(kinds[k], at + h);
            double want = 2 * (c - a) / (2 * h) * (a - 2 * b + c) / (h * h),
                   got = ft_grad(g, x) ? (double)((float *)ft_data(ft_grad(g, x)))[i] : 0;
            if (!(fabs(got - want) <= 2e-5 * (1 + fabs(want))))
                fail_msg("kind %d at %g: %g, should be %g", (int)kinds[k], at, got, want);
        }
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(params);
    }
}

/* ---- optimisers against their equations, in double ---------------------------------------------------------------------- */

/* What is frozen by name, and what is borrowed, takes part and stays as it is. */
static void test_frozen_and_borrowed(void **state)
{
    (void)state;
    ft_params *own = ft_params_new(1), *lender = ft_params_new(2);
    static const char *const only[] = {"branch.", "tail"};
    assert_int_equal(ft_params_train_only(own, 2, only), FT_OK);
    ft_graph *g = ft_graph_new(own, FT_F32, 1);
    ft_t x = ft_input(g, "x", FT_F32, 2, (int64_t[]){3, 4});
    for (int i = 0; i < 12; i++) ((float *)ft_data(x))[i] = sinf((float)i);
    static const char *const names[] = {"trunk.weight", "branch.weight", "trunk.tail"};
    ft_t h = x;
    for (int i = 0; i < 3; i++) h = ft_linear(g, h, ft_param(g, names[i], 2, (int64_t[]){4, 4}, ft_init_xavier(4, 4)), NULL);
    ft_borrow(g, lender);
    h = ft_linear(g, h, ft_param(g, "trunk.weight", 2, (int64_t[]){4, 4}, ft_init_xavier(4, 4)),
                  NULL); /* another's, of the same name */
    ft_borrow(g, NULL);
    ft_backward(g, ft_reshape(g, ft_reduce(g, ft_unary(g, FT_SQUARE, h), 3, false), 1, (int64_t[]){1}));
    ft_optimise(g, (ft_optim_opt){0});
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_params_total(own, false), 32);
    assert_int_equal(ft_params_total(lender, false), 16);
    float before[3][16], lent[16];
    for (int i = 0; i < 3; i++) memcpy(before[i], ft_params_flat(own, FT_WEIGHTS) + ft_params_at(own, i)->offset, sizeof lent);
    memcpy(lent, ft_params_flat(lender, FT_WEIGHTS), sizeof lent);
    assert_int_equal(ft_run(plan, &(ft_step){1, 0, 0.1f, 0.5f, 0}), FT_OK);
    for (int i = 0; i < 3; i++) {
        bool same = !memcmp(before[i], ft_params_flat(own, FT_WEIGHTS) + ft_params_at(own, i)->offset, sizeof lent);
        assert_int_equal(same, i == 0);
    }
    assert_memory_equal(lent, ft_params_flat(lender, FT_WEIGHTS), sizeof lent);
    float first = ft_params_grad(own)[ft_params_at(own, 1)->offset];
    for (int i = 0; i < 16; i++) ft_params_flat(lender, FT_WEIGHTS)[i] *= 2; /* the lender moves: packed copies follow */
    ft_params_touched(lender);
    memcpy(ft_params_flat(own, FT_WEIGHTS) + ft_params_at(own, 1)->offset, before[1], sizeof lent);
    memcpy(ft_params_flat(own, FT_WEIGHTS) + ft_params_at(own, 2)->offset, before[2], sizeof lent);
    ft_params_touched(own);
    assert_int_equal(ft_run(plan, &(ft_step){1, 1, 0, 0.5f, 0}), FT_OK);
    float second = ft_params_grad(own)[ft_params_at(own, 1)->offset];
    assert_true(fabs((double)second - 4 * (double)first) < 1e-4 * fabs((double)second));
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(own);
    ft_params_free(lender);
}

static void test_optimisers(void **state)
{
    (void)state;
    static const ft_optim_opt opts[] = {{0},
                                        {.beta1 = 0.5f, .beta2 = 0.9f, .eps = 1e-3f, .weight_decay = 0.1f},
                                        {.no_momentum = true, .beta2 = 0.99f},
                                        {.clip = 0.5f},
                                        {.clip = 0.5f, .clip_from = 3},
                                        {.sgd = true, .nesterov = true, .beta1 = 0.9f, .weight_decay = 0.05f},
                                        {.sgd = true, .beta1 = 0.9f, .clip = 0.25f}};
    enum { N = 70, STEPS = 5 };
    for (size_t k = 0; k < sizeof opts / sizeof *opts; k++) {
        ft_optim_opt o = opts[k];
        ft_params *params = ft_params_new(8);
        ft_graph *g = ft_graph_new(params, FT_F32, 1);
        ft_t w = P("w", 7, 10), b = P("b", 5),
             s = ft_buffer(g, "s", 1, (int64_t[]){3}, FT_ONE); /* only w decays; s is a buffer */
        ft_t x = ft_input(g, "x", FT_F32, 2, (int64_t[]){7, 10});
        ft_t y =
            ft_add(g, ft_reduce(g, ft_mul(g, ft_unary(g, FT_SQUARE, w), x), 3, false), VIEW(ft_reduce(g, b, 1, false), 1, 1));
        (void)s;
        ft_backward(g, VIEW(y, 1));
        ft_t norm = ft_optimise(g, o);
        ft_plan *plan;
        if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
        double p[75], e[75], m[75] = {0}, v[75] = {0};
        const float *flat = ft_params_flat(params, FT_WEIGHTS), *ema = ft_params_flat(params, FT_EMA);
        int64_t at[2] = {ft_params_at(params, 0)->offset, ft_params_at(params, 1)->offset};
        for (int i = 0; i < 75; i++) p[i] = e[i] = (double)flat[i < N ? at[0] + i : at[1] + i - N];
        ft_params_flat(params, FT_WEIGHTS)[ft_params_at(params, 2)->offset] = 7; /* as running statistics move */
        ft_params_touched(params);
        double b1 = o.no_momentum ? 0
                    : o.beta1     ? (double)o.beta1
                                  : (double)0.9f,
               b2 = o.beta2 ? (double)o.beta2 : (double)0.999f, eps = o.eps ? (double)o.eps : (double)1e-8f;
        for (int t = 0; t < STEPS; t++) {
            ft_step st = {1, t, 0.01f * (float)(t + 1), 0.7f, 0};
            double grad[75], total = 0, lr = (double)st.lr, decay = (double)st.ema;
            for (int i = 0; i < N; i++) ((float *)ft_data(x))[i] = sinf((float)(i + 3 * t));
            if (t == 2) ((float *)ft_data(x))[4] = NAN; /* a step that must change nothing */
            for (int i = 0; i < 75; i++) {
                grad[i] = i < N ? 2 * p[i] * (double)((float *)ft_data(x))[i] : 1;
                total += grad[i] * grad[i];
            }
            assert_int_equal(ft_run(plan, &st), FT_OK);
            if (t == 2) {
                assert_true(isnan(*(float *)ft_data(norm)));
                continue;
            }
            total = sqrt(total);
            assert_true(fabs((double)*(float *)ft_data(norm) - total) <= 1e-6 * total);
            double scale = o.clip > 0 && t >= o.clip_from && total > (double)o.clip ? (double)o.clip / (total + 1e-6) : 1;
            for (int i = 0; i < 75; i++) {
                double wd = i < N ? (double)o.weight_decay : 0, d = grad[i] * scale;
                if (o.sgd) {
                    d += wd * p[i];
                    m[i] = b1 * m[i] + d;
                    p[i] -= lr * (o.nesterov ? d + b1 * m[i] : m[i]);
                } else {
                    m[i] = b1 * m[i] + (1 - b1) * d;
                    v[i] = b2 * v[i] + (1 - b2) * d * d;
                    p[i] = p[i] * (1 - lr * wd) - lr * m[i] / (1 - pow(b1, t + 1)) / (sqrt(v[i] / (1 - pow(b2, t + 1))) + eps);
                }
                e[i] = decay * e[i] + (1 - decay) * p[i];
            }
        }
        flat = ft_params_flat(params, FT_WEIGHTS), ema = ft_params_flat(params, FT_EMA);
        for (int i = 0; i < 75; i++) {
            int64_t j = i < N ? at[0] + i : at[1] + i - N;
            if (!(fabs((double)flat[j] - p[i]) <= 2e-6 * (1 + fabs(p[i]))))
                fail_msg("optimiser %zu: value %d is %g, should be %g", k, i, (double)flat[j], p[i]);
            if (!(fabs((double)ema[j] - e[i]) <= 2e-6 * (1 + fabs(e[i]))))
                fail_msg("optimiser %zu: EMA of %d is %g, should be %g", k, i, (double)ema[j], e[i]);
        }
        assert_true(ema[ft_params_at(params, 2)->offset] == 7.0f); /* copied, not averaged */
        ft_plan_free(plan);
        ft_graph_free(g);
        ft_params_free(params);
    }
}

/* the norm of more gradients than one round of a device's blocks takes: that of 2 w / n, w = 1 */
static void test_wide_norm(void **state)
{
    (void)state;
    int64_t dim[2] = {1200, 1024}, n = 1200 * 1024;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 0);
    ft_t w = ft_param(g, "w", 2, dim, FT_ONE), zero = ft_affine(g, ft_stop_grad(g, w), 0, 0);
    ft_backward(g, ft_loss_mean(g, w, zero, FT_MSE));
    ft_t norm = ft_optimise(g, (ft_optim_opt){0});
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    double got = (double)*(float *)ft_data(norm), want = 2 / sqrt((double)n);
    if (!(fabs(got - want) < 1e-5 * want)) fail_msg("the norm is %g, should be %g", got, want);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* many samples (the stand-in for CUDA has few rows in a grid): each is normalised by itself, and their gradients are added */
static void test_many_samples(void **state)
{
    (void)state;
    enum { S = 600, C = 4, EACH = 2 * C };
    int64_t c = C;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 0);
    ft_t x = normal_param(g, "x", 5, (int64_t[]){S, 1, 1, 2, C}), gamma = ft_param(g, "gamma", 1, &c, FT_ONE);
    ft_t y = ft_groupnorm(g, ft_stop_grad(g, x), gamma, ft_param(g, "beta", 1, &c, FT_ZERO), 1, 1e-9f, FT_ACT_NONE);
    ft_keep(y);
    ft_backward(g, ft_loss_mean(g, y, ft_affine(g, ft_stop_grad(g, y), 0, 0), FT_MSE));
    ft_keep(ft_grad(g, gamma));
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
    const float *v = ft_data(y);
    double want[C] = {0};
    for (int64_t s = 0; s < S; s++) {
        double sum = 0, square = 0;
        for (int i = 0; i < EACH; i++) {
            double a = (double)v[s * EACH + i];
            sum += a, square += a * a;
            want[i % C] += 2 * a * a / (S * EACH);
        }
        if (!(fabs(sum) < 1e-4 && fabs(square - EACH) < 1e-3))
            fail_msg("sample %lld: sum %g, of squares %g", (long long)s, sum, square);
    }
    const float *got = ft_data(ft_grad(g, gamma));
    for (int k = 0; k < C; k++)
        if (!(fabs((double)got[k] - want[k]) < 1e-5 * want[k]))
            fail_msg("gradient %d is %g, should be %g", k, (double)got[k], want[k]);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* FT_PLAN_GUARD=1 reuses no memory, so sizes of slabs say nothing then */
static bool reuses_memory(void)
{
    const char *guard = getenv("FT_PLAN_GUARD");
    return !guard || *guard != '1';
}

/* ---- recompute ---------------------------------------------------------------------------------------------------------- */

static ft_t block(ft_graph *g, ft_t x, int i)
{
    char name[4][24];
    for (int k = 0; k < 4; k++) snprintf(name[k], sizeof name[k], "b%d.%d", i, k);
    int64_t c = 16;
    ft_t h = VIEW(x, 2, 1, 10, 5, 16); /* a view, made inside the region, of what lies before it */
    h = ft_groupnorm(g, h, ft_param(g, name[0], 1, &c, FT_ONE), ft_param(g, "beta", 1, &c, FT_ZERO), 4, 1e-5f, FT_ACT_SILU);
    h = ft_conv(g, h, normal_param(g, name[1], 5, (int64_t[]){16, 16, 1, 3, 3}), NULL, same3);
    ft_t parts[2] = {ft_slice(g, VIEW(h, 2, 50, 16), 0, 1, 1), ft_slice(g, VIEW(h, 2, 50, 16), 0, 0, 1)};
    h = ft_dropout(g, ft_concat(g, 0, 2, parts), 0.25f);
    h = ft_linear(g, h, normal_param(g, name[2], 2, (int64_t[]){16, 16}), NULL);
    ft_t mean = ft_buffer(g, "mean", 1, &c, FT_ZERO), var = ft_buffer(g, "var", 1, &c, FT_ONE);
    h = ft_batchnorm(g, VIEW(h, 2, 2, 5, 5, 16), ft_param(g, name[3], 1, &c, FT_ONE), ft_param(g, "beta", 1, &c, FT_ZERO), mean,
                     var, 0, 0.1f, 1e-5f, FT_ACT_RELU);
    return ft_add(g, x, h);
}

static void test_remat(void **state)
{
    (void)state;
    ft_params *params[2];
    ft_graph *graph[2];
    ft_plan *plan[2];
    for (int remat = 0; remat < 2; remat++) {
        params[remat] = ft_params_new(3);
        ft_graph *g = graph[remat] = ft_graph_new(params[remat], FT_F32, 1);
        ft_t x = P("x", 2, 2, 5, 5, 16);
        for (int i = 0; i < 6; i++) {
            if (remat) ft_remat_begin(g);
            x = block(g, x, i);
            if (remat) ft_remat_end(g);
        }
        ft_keep(x);
        ft_backward(g, total_of(g, x));
        if (ft_plan_new(&plan[remat], g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
        /* the random streams are numbered by node, and forward nodes come first: equal in both graphs */
        assert_int_equal(ft_run(plan[remat], &step), FT_OK);
    }
    size_t n = (size_t)ft_params_trained_size(params[0]) * sizeof(float);
    assert_memory_equal(ft_params_grad(params[0]), ft_params_grad(params[1]), n);
    assert_memory_equal(ft_params_flat(params[0], FT_WEIGHTS),
                        ft_params_flat(params[1], FT_WEIGHTS), /* running statistics: moved once */
                        (size_t)ft_params_flat_size(params[0]) * sizeof(float));
    size_t kept = ft_plan_describe(plan[0]).act_bytes, again = ft_plan_describe(plan[1]).act_bytes;
    if (reuses_memory() && !(again * 2 < kept)) fail_msg("recompute needs %zu bytes, keeping everything %zu", again, kept);
    for (int k = 0; k < 2; k++) ft_plan_free(plan[k]), ft_graph_free(graph[k]), ft_params_free(params[k]);
}

static void test_remat_errors(void **state)
{
    (void)state;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_remat_end(g);
    assert_non_null(strstr(ft_graph_error(g), "remat"));
    ft_graph_free(g);
    g = ft_graph_new(params, FT_F32, 1);
    ft_remat_begin(g);
    ft_remat_begin(g);
    assert_non_null(strstr(ft_graph_error(g), "inside"));
    ft_graph_free(g);
    ft_params_free(params);
}

/* Behind an error a builder goes on with whatever dimensions it asks for, and may divide by them. */
static void test_after_an_error(void **state)
{
    (void)state;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = ft_unary(g, FT_SQUARE, ft_graph_fail(g, "no such thing"));
    for (int axis = -FT_MAX_DIMS; axis < FT_MAX_DIMS; axis++) assert_int_equal(ft_dim(x, axis), 1);
    ft_graph_free(g);
    ft_params_free(params);
}

/* ---- a batch in parts ---- */

enum { PARTS = 4 };

/* the loss of rows k, k + 1 of a batch of 8; `trunk` is made once for all of them */
static ft_t part_loss(ft_graph *g, ft_t trunk, int k)
{
    ft_t x = ft_slice(g, trunk, 0, 2 * k, 2), h = x, w = P("w", 64, 64);
    for (int i = 0; i < 5; i++) {
        if (i % 2) ft_remat_begin(g);
        h = ft_add(g, h, ft_linear(g, ft_layernorm(g, ft_unary(g, FT_SILU, h), NULL, NULL, NULL, NULL, 1e-5f), w, NULL));
        if (i % 2) ft_remat_end(g);
    }
    if (k == 2) h = ft_mul(g, h, P("late", 2, 30, 64)); /* of one part alone */
    ft_t y = ft_linear(g, x, w, NULL);
    ft_keep(ft_gradient(g, ft_reshape(g, ft_reduce(g, ft_mul(g, y, y), 7, true), 1, (int64_t[]){1}), w)); /* disturbs nothing */
    return total_of(g, h);
}

/* one backward pass a part gives the gradients of one for all, and needs less memory */
static void test_parts(void **state)
{
    (void)state;
    ft_params *params[2];
    ft_graph *graph[2];
    ft_plan *plan[2];
    ft_t input[2];
    for (int apart = 0; apart < 2; apart++) {
        params[apart] = ft_params_new(3);
        ft_graph *g = graph[apart] = ft_graph_new(params[apart], FT_F32, 1);
        ft_t x = input[apart] = ft_input(g, "x", FT_F32, 3, (int64_t[]){8, 30, 64}), sum = NULL;
        for (int i = 0; i < 8 * 30 * 64; i++) ((float *)ft_data(x))[i] = (float)sin(i * 0.7);
        ft_need_grad(x);
        ft_t trunk = ft_linear(g, x, P("trunk", 64, 64), NULL);
        for (int k = 0; k < PARTS; k++) {
            ft_t loss = part_loss(g, trunk, k);
            sum = sum ? ft_add(g, sum, loss) : loss;
            if (apart) ft_backward(g, loss);
        }
        if (!apart) ft_backward(g, sum);
        ft_keep(ft_grad(g, x));
        if (ft_plan_new(&plan[apart], g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
        for (int run = 0; run < 2; run++) assert_int_equal(ft_run(plan[apart], &step), FT_OK); /* not added to those before */
    }
    const float *a = ft_params_grad(params[0]), *b = ft_params_grad(params[1]);
    double top = 0;
    for (int64_t i = 0; i < ft_params_trained_size(params[0]); i++) top = fmax(top, fabs((double)a[i]));
    for (int64_t i = 0; i < ft_params_trained_size(params[0]); i++) /* sums of 8 x 30 rows */
        if (!(fabs((double)a[i] - (double)b[i]) <= 256 * pow(2, -24) * top))
            fail_msg("gradient %lld is %g in one, %g in parts", (long long)i, (double)a[i], (double)b[i]);
    const float *xa = ft_data(ft_grad(graph[0], input[0])), *xb = ft_data(ft_grad(graph[1], input[1]));
    for (int i = 0; i < 8 * 30 * 64; i++) assert_true(fabs((double)xa[i] - (double)xb[i]) <= 1e-4 * (1 + fabs((double)xa[i])));
    size_t one = ft_plan_describe(plan[0]).act_bytes, parts = ft_plan_describe(plan[1]).act_bytes;
    if (reuses_memory() && !(parts * 2 < one)) fail_msg("parts need %zu bytes, all at once %zu", parts, one);
    for (int k = 0; k < 2; k++) ft_plan_free(plan[k]), ft_graph_free(graph[k]), ft_params_free(params[k]);
}

/* ---- the planner on random graphs --------------------------------------------------------------------------------------- */

static ft_t random_graph(ft_graph *g, ft_rng *r)
{
    ft_t pool[64];
    int n = 0;
    pool[n++] = P("p0", 4, 40);
    pool[n++] = P("p1", 4, 40);
    int region = 0;
    for (int i = 0; i < 40; i++) {
        ft_t a = pool[ft_rng_below(r, n)], b = pool[ft_rng_below(r, n)], y;
        if (i % 10 == 5) ft_remat_begin(g), region = 1;
        switch (ft_rng_below(r, 9)) {
            case 0: y = ft_unary(g, FT_TANH, a); break;
            case 1: y = ft_add(g, a, b); break;
            case 2: y = ft_affine(g, ft_mul(g, a, b), 0.5f, 0.1f); break;
            case 3: y = ft_concat(g, 0, 2, (ft_t[]){ft_slice(g, a, 0, 0, 2), ft_slice(g, b, 0, 2, 2)}); break;
            case 4: y = VIEW(ft_permute(g, VIEW(a, 8, 20), (int[]){1, 0}), 4, 40); break;
            case 5: y = ft_linear(g, a, P("w", 40, 40), NULL); break;
            case 6:
                y = ft_softmax(
                    g, ft_concat(g, 0, 2, (ft_t[]){ft_slice(g, a, 0, 1, 3), ft_slice(g, ft_unary(g, FT_SIGMOID, b), 0, 0, 1)}));
                break;
            case 7: y = ft_layernorm(g, a, NULL, NULL, NULL, NULL, 1e-5f); break;
            default: y = ft_dropout(g, ft_add(g, a, a), 0.3f); break;
        }
        if (region && i % 10 == 8) ft_remat_end(g), region = 0;
        pool[n++] = y;
    }
    ft_t sum = pool[n - 1];
    for (int k = 0; k < 4; k++) sum = ft_add(g, sum, pool[ft_rng_below(r, n)]);
    return sum;
}

static void test_random_plans(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 60; seed++) {
        ft_params *params[2];
        ft_graph *graph[2];
        ft_plan *plan[2];
        ft_t y[2];
        for (int guard = 0; guard < 2; guard++) {
            ft_rng r = ft_rng_make(seed, 1, 0);
            params[guard] = ft_params_new(2);
            ft_graph *g = graph[guard] = ft_graph_new(params[guard], FT_F32, 1);
            y[guard] = random_graph(g, &r);
            ft_keep(y[guard]);
            ft_backward(g, total_of(g, y[guard]));
            setenv("FT_PLAN_GUARD", guard ? "1" : "0", 1);
            if (ft_plan_new(&plan[guard], g, FT_WEIGHTS) < 0) fail_msg("%s", ft_error_message());
            unsetenv("FT_PLAN_GUARD");
            assert_int_equal(ft_run(plan[guard], &step), FT_OK);
        }
        if (memcmp(ft_data(y[0]), ft_data(y[1]), (size_t)ft_count(y[0]) * 4) ||
            memcmp(ft_params_grad(params[0]), ft_params_grad(params[1]), (size_t)ft_params_trained_size(params[0]) * 4))
            fail_msg("graph %llu: the guarded plan gives another result", (unsigned long long)seed);
        const ft_graph *g = graph[0];
        for (int i = 0; i < g->n_tensor; i++) /* no two tensors alive at once share a byte */
            for (int k = 0; k < i; k++) {
                const ft_tensor *a = g->tensor[i], *b = g->tensor[k];
                if (a->base != a || b->base != b || a->kind != FT_IS_ACT || b->kind != FT_IS_ACT || a->first < 0 || b->first < 0)
                    continue;
                bool together = a->first <= b->last && b->first <= a->last;
                bool apart = a->offset + (size_t)a->count * 4 <= b->offset || b->offset + (size_t)b->count * 4 <= a->offset;
                if (together && !apart) fail_msg("graph %llu: tensors %d and %d overlap", (unsigned long long)seed, i, k);
            }
        ft_plan_info d = ft_plan_describe(plan[0]);
        if ((double)d.act_bytes > 1.25 * (double)d.live_bytes) fail_msg("slab %zu, live maximum %zu", d.act_bytes, d.live_bytes);
        for (int k = 0; k < 2; k++) ft_plan_free(plan[k]), ft_graph_free(graph[k]), ft_params_free(params[k]);
    }
}

/* slices and concats of the outermost axis move nothing */
static void test_aliases(void **state)
{
    (void)state;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = ft_affine(g, P("x", 4, 64), 2, 0), a = ft_unary(g, FT_TANH, ft_slice(g, x, 0, 0, 2)),
         b = ft_unary(g, FT_TANH, ft_slice(g, x, 0, 2, 2));
    ft_t c = ft_concat(g, 0, 2, (ft_t[]){b, a});
    ft_t y = ft_unary(g, FT_SQUARE, c);
    ft_keep(y);
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    assert_ptr_equal(a->data, (char *)c->data + 2 * 64 * 4);
    assert_ptr_equal(b->data, c->data);
    assert_int_equal(ft_run(plan, &step), FT_OK);
    const float *v = ft_params_flat(params, FT_WEIGHTS);
    for (int i = 0; i < 256; i++) {
        double t = tanh(2 * (double)v[(i + 128) % 256]);
        assert_true(fabs((double)((float *)ft_data(y))[i] - t * t) < 1e-6);
    }
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* gradients of slices that tile a tensor come together in concats, whatever their order */
static void test_slices_without_padding(void **state)
{
    (void)state;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = ft_affine(g, P("x", 6, 8), 2, 0), sum = NULL;
    for (int k = 0; k < 3; k++) {
        ft_t part = ft_affine(g, ft_slice(g, x, 0, 2 * (k * 2 % 3), 2), (float)(k + 1), 0);
        sum = sum ? ft_add(g, sum, part) : part;
    }
    ft_backward(g, total_of(g, sum));
    int pads = 0, concats = 0;
    for (int i = 0; i < g->n_node; i++) pads += g->node[i]->op == FT_OP_pad, concats += g->node[i]->op == FT_OP_concat;
    assert_int_equal(pads, 0);
    assert_int_equal(concats, 1);
    ft_graph_free(g);
    ft_params_free(params);
}

/* what nobody reads is not computed */
static void test_dead_nodes(void **state)
{
    (void)state;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = P("x", 64), y = ft_affine(g, x, 2, 0);
    ft_unary(g, FT_TANH, ft_unary(g, FT_EXP, x));
    ft_keep(y);
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    assert_int_equal(ft_plan_describe(plan).nodes, 1);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* rounding to bf16: to nearest, ties to even; Inf and NaN stay what they are */
static void test_bf16_rounding(void **state)
{
    (void)state;
    const struct {
        float from, to;
    } cases[] = {{1.0f + 0x1p-8f, 1.0f},
                 {1.0f + 0x1.8p-7f, 1.0f + 0x1p-6f},
                 {1.0f + 0x1.01p-8f, 1.0f + 0x1p-7f},
                 {-1.0f - 0x1p-8f, -1.0f},
                 {0x1.ffp127f, INFINITY},
                 {-INFINITY, -INFINITY},
                 {0x1.fep127f, 0x1.fep127f},
                 {0.0f, 0.0f},
                 {3.0f, 3.0f}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_true(ft_from_bf16(ft_to_bf16(cases[i].from)) == cases[i].to);
    assert_true(isnan(ft_from_bf16(ft_to_bf16(NAN))));
}

/* FT_PLAN_GUARD: a write behind a tensor and a read before the write are both seen */
static void test_guard_catches(void **state)
{
    (void)state;
    ft_params *params = ft_params_new(0);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t a = ft_affine(g, P("x", 5, 13), 2, 0), b = ft_unary(g, FT_TANH, a), y = ft_add(g, b, a);
    ft_keep(y);
    setenv("FT_PLAN_GUARD", "1", 1);
    ft_plan *plan;
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    unsetenv("FT_PLAN_GUARD");
    assert_int_equal(ft_run(plan, &step), FT_OK);
    assert_true(isfinite(((float *)ft_data(y))[0]));
    assert_true(isnan(((float *)b->data)[0])); /* dead by now, and poisoned */
    for (int side = 0; side < 2; side++) {     /* what a kernel that overruns its output would do */
        unsigned char *at = (unsigned char *)b->data + (side ? -1 : 13 * 5 * 4 / 64 * 64 + 64), keep = *at;
        *at = 7;
        assert_int_not_equal(ft_run(plan, &step), FT_OK);
        assert_non_null(strstr(ft_error_message(), "outside its output"));
        *at = keep;
    }
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* x x^T, whose two inputs are one buffer, while others take cores: the library's call is made and tried again on noise. */
static void test_product_with_itself(void **state)
{
    (void)state;
    enum { ROWS = 96, WIDTH = 64 };
    static float first[ROWS * ROWS];
    ft_params *params = ft_params_new(1);
    ft_graph *g = ft_graph_new(params, FT_F32, 1);
    ft_t x = ft_input(g, "x", FT_F32, 3, (int64_t[]){1, ROWS, WIDTH}), y = ft_matmul(g, x, x, false, true);
    ft_plan *plan;
    ft_keep(y);
    ft_threads_set(2);
    assert_int_equal(ft_plan_new(&plan, g, FT_WEIGHTS), FT_OK);
    for (int i = 0; i < ROWS * WIDTH; i++) ((float *)ft_data(x))[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int run = 0; run < 4; run++) {
        setenv("FORTY_THREADS_NOW", run == 0 || run == 3 ? "2" : "1", 1);
        assert_int_equal(ft_run(plan, &(ft_step){0}), FT_OK);
        if (run == 0) memcpy(first, ft_data(y), sizeof first);
        else assert_memory_equal(first, ft_data(y), sizeof first);
        assert_float_equal(((float *)ft_data(x))[1], 37.0f / 50 - 1, 1e-6f);
    }
    unsetenv("FORTY_THREADS_NOW");
    ft_threads_set(0);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

/* A graph that reads another's input and what it made: where they are, run after run. */
static void test_lent(void **state)
{
    (void)state;
    ft_params *none[2] = {ft_params_new(1), ft_params_new(1)};
    ft_graph *a = ft_graph_new(none[0], FT_BF16, 1), *b = ft_graph_new(none[1], FT_BF16, 2);
    ft_plan *plan[2];
    ft_t x = ft_input(a, "x", FT_F32, 2, (int64_t[]){8, 32}), y = ft_affine(a, ft_cast(a, x, FT_BF16), 2, 0);
    ft_t z = ft_affine(a, y, 1, 1), there[2] = {ft_input_at(b, x), ft_input_at(b, y)};
    ft_t sum = ft_add(b, there[0], ft_cast(b, there[1], FT_F32));
    ft_keep(z);
    ft_keep(sum);
    ft_lend(y);
    assert_true(ft_plan_new(&plan[1], b, FT_WEIGHTS) < 0); /* the lender is planned first */
    assert_non_null(strstr(ft_error_message(), "lent by a graph that has no plan yet"));
    assert_int_equal(ft_plan_new(&plan[0], a, FT_WEIGHTS), FT_OK);
    assert_int_equal(ft_plan_new(&plan[1], b, FT_WEIGHTS), FT_OK);
    for (int run = 0; run < 5; run++) {
        for (int i = 0; i < 256; i++) ((float *)ft_data(x))[i] = (float)(i - 7 * run) / 4;
        assert_int_equal(ft_run(plan[0], &step), FT_OK);
        for (int i = 0; i < 256 && ft_plan_lag(plan[0]) > 0; i++) ((float *)ft_data(x))[i] = NAN; /* the device has its own */
#ifdef FT_TEST_SHIM
        ft_data(z); /* waits */
        int64_t bytes = ft_shim()->bytes;
        assert_int_equal(ft_run(plan[1], &step), FT_OK);
        ft_data(sum);                                        /* waits */
        assert_true(ft_shim()->bytes - bytes <= 256 + 1024); /* the step, and the result */
#else
        assert_int_equal(ft_run(plan[1], &step), FT_OK);
#endif
        for (int i = 0; i < 256; i++) {
            float v = (float)(i - 7 * run) / 4;
            assert_true(((const float *)ft_data(sum))[i] == v + 2 * v); /* bf16 holds them */
        }
    }
    for (int k = 1; k >= 0; k--) ft_plan_free(plan[k]);
    ft_graph_free(a);
    ft_graph_free(b);
    for (int k = 0; k < 2; k++) ft_params_free(none[k]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_product_with_itself),
        cmocka_unit_test(test_twins),
        cmocka_unit_test(test_second_order),
        cmocka_unit_test(test_second_order_unary),
        cmocka_unit_test(test_optimisers),
        cmocka_unit_test(test_wide_norm),
        cmocka_unit_test(test_many_samples),
        cmocka_unit_test(test_frozen_and_borrowed),
        cmocka_unit_test(test_remat),
        cmocka_unit_test(test_remat_errors),
        cmocka_unit_test(test_after_an_error),
        cmocka_unit_test(test_parts),
        cmocka_unit_test(test_random_plans),
        cmocka_unit_test(test_aliases),
        cmocka_unit_test(test_dead_nodes),
        cmocka_unit_test(test_lent),
        cmocka_unit_test(test_guard_catches),
        cmocka_unit_test(test_bf16_rounding),
        cmocka_unit_test(test_slices_without_padding),
    };
    return cmocka_run_group_tests_name("graph", tests, NULL, NULL);
}
