#include "classify/mil.h"

#include <math.h>
#include <string.h>

#include "common/graph/layers.h"

static const ft_mil_preset presets[] = {
    /* name     segments depth heads hidden      width */
    {"mil", 32, 6, 8, {512, 128}, 2048},
    {"mil-tiny", 16, 2, 4, {32, 16}, 24},
};

const ft_mil_preset *ft_mil_at(int i) { return i < (int)(sizeof presets / sizeof *presets) ? &presets[i] : NULL; }
const ft_mil_preset *ft_mil_find(const char *name)
{
    for (int i = 0; ft_mil_at(i); i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    return NULL;
}

/* ---- network ------------------------------------------------------------------------------------------------------------ */

/* nn.Conv1d with three taps over the tokens of x (B,N,C), padded by one: one output for each `stride` tokens */
static ft_t conv1d(ft_graph *g, const char *name, ft_t x, int64_t stride, bool depthwise, bool bias)
{
    int64_t samples = ft_dim(x, 0), N = ft_dim(x, 1), C = ft_dim(x, 2), in = depthwise ? 1 : C;
    ft_init init = ft_init_uniform_fan(3 * in);
    ft_conv_opt opt = {.stride = {stride, 1, 1}, .pad_front = {1}, .pad_back = {1}};
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 3, (int64_t[]){C, in, 3}, init);
    ft_t b = bias ? ft_param(g, ft_name(g, "%s.bias", name), 1, &C, init) : NULL;
    w = ft_reshape(g, w, 5, (int64_t[]){C, in, 3, 1, 1});
    x = ft_reshape(g, x, 5, (int64_t[]){samples, N, 1, 1, C});
    x = depthwise ? ft_conv_dw(g, x, w, b, opt) : ft_conv(g, x, w, b, opt);
    return ft_reshape(g, x, 3, (int64_t[]){samples, -1, C});
}

ft_t ft_mil_embed(ft_graph *g, ft_t x) { return conv1d(g, "conv1d", x, 1, false, true); }

/* x (B,1+N,d) -> (B,1+N',d): CvT's projection. The class token, which stands first, goes round the convolution. */
static ft_t project(ft_graph *g, const char *name, const char *which, ft_t x, int64_t stride)
{
    int64_t N = ft_dim(x, 1) - 1;
    ft_t cls = ft_slice(g, x, 1, 0, 1), h = ft_slice(g, x, 1, 1, N);
    h = conv1d(g, ft_name(g, "%s.conv_proj_%s.conv", name, which), h, stride, true, false);
    h = ft_layer_batchnorm(g, ft_name(g, "%s.conv_proj_%s.bn", name, which), h, 0, FT_ACT_NONE);
    h = ft_concat(g, 1, 2, (ft_t[]){cls, h});
    return ft_layer_linear(g, ft_name(g, "%s.proj_%s", name, which), h, ft_dim(x, 2), true);
}

static ft_t block(ft_graph *g, const ft_mil_preset *p, int i, ft_t x)
{
    int64_t d = ft_dim(x, 2);
    const char *name = ft_name(g, "blocks.%d", i), *attn = ft_name(g, "%s.attn", name);
    ft_t h = ft_layer_layernorm(g, ft_name(g, "%s.norm1", name), x, 1e-5f);
    ft_t q = project(g, attn, "q", h, 1), k = project(g, attn, "k", h, 2), v = project(g, attn, "v", h, 2);
    h = ft_sdpa(g, q, k, v, (ft_sdpa_opt){.heads = p->heads, .scale = 1 / sqrtf((float)d)}); /* of the width, not of a head */
    x = ft_add(g, x, ft_layer_linear(g, ft_name(g, "%s.proj", attn), h, d, true));
    h = ft_layer_layernorm(g, ft_name(g, "%s.norm2", name), x, 1e-5f);
    h = ft_unary(g, FT_GELU, ft_layer_linear(g, ft_name(g, "%s.mlp.fc1", name), h, 4 * d, true));
    return ft_add(g, x, ft_layer_linear(g, ft_name(g, "%s.mlp.fc2", name), h, d, true));
}

ft_t ft_mil_video(ft_graph *g, const ft_mil_preset *p, ft_mil_tokens tokens, ft_t x)
{
    if (tokens == FT_MIL_CHANNEL) x = ft_permute(g, x, (int[]){0, 2, 1}); /* (B,D,T) */
    int64_t B = ft_dim(x, 0), d = ft_dim(x, 2);
    if (d % p->heads)
        return ft_graph_fail(g, "%s: tokens of %lld numbers for %d heads: a multiple is needed", p->name, (long long)d, p->heads);
    ft_t cls = ft_param(g, "cls_token", 3, (int64_t[]){1, 1, d}, (ft_init){FT_INIT_NORMAL, 0.02, NULL});
    x = ft_concat(g, 1, 2, (ft_t[]){ft_broadcast(g, cls, 3, (int64_t[]){B, 1, d}, 1), x}); /* (B,1+N,d) */
    for (int i = 0; i < p->depth; i++) x = block(g, p, i, x);
    return ft_layer_linear(g, "head", ft_reshape(g, ft_slice(g, x, 1, 0, 1), 2, (int64_t[]){B, d}), 1, true);
}

ft_t ft_mil_snippets(ft_graph *g, const ft_mil_preset *p, ft_t x)
{
    for (int i = 0; i < 2; i++) {
        x = ft_unary(g, FT_RELU, ft_layer_linear(g, ft_name(g, "fc%d", i + 1), x, p->hidden[i], true));
        x = ft_dropout(g, x, 0.7f);
    }
    x = ft_layer_linear(g, "fc3", x, 1, true); /* (B,T,1) */
    return ft_reshape(g, x, 2, (int64_t[]){ft_dim(x, 0), ft_dim(x, 1)});
}

/* ---- loss --------------------------------------------------------------------------------------------------------------- */

/* 1 where x (B,T) is among the k largest of its row */
static ft_t top(ft_graph *g, ft_t x, int64_t k) { return ft_unary(g, FT_STEP, ft_affine(g, ft_rank(g, x), -1, (float)k - 0.5f)); }

/* mask (B,T) of zeros and ones -> how many ones stand in the window of `width` around each; beyond the row stands 0. An even
 * window reaches one further to the front, as scipy.ndimage's do. */
static ft_t ones_around(ft_graph *g, ft_t mask, int64_t width)
{
    int64_t B = ft_dim(mask, 0), T = ft_dim(mask, 1);
    ft_conv_opt where = {.kernel = {width}, .pad_front = {width / 2}, .pad_back = {width - 1 - width / 2}};
    ft_t x = ft_pool(g, ft_reshape(g, mask, 5, (int64_t[]){B, T, 1, 1, 1}), FT_POOL_SUM, where);
    return ft_reshape(g, x, 2, (int64_t[]){B, T});
}
static ft_t above(ft_graph *g, ft_t x, float bound) { return ft_unary(g, FT_STEP, ft_affine(g, x, 1, -bound)); }

/* Snippets of an abnormal video that are hard to tell, score (B,T): the rim of its high stretches (erosion by 2 without erosion
 * by 4 of the upper half), and low ones amid high ones (more than 8 in a window of 10). */
static ft_t hard_region(ft_graph *g, ft_t score)
{
    int64_t T = ft_dim(score, 1);
    ft_t high = top(g, score, T / 2), low = ft_affine(g, high, -1, 1); /* above and below the median of the video */
    ft_t rim = ft_sub(g, above(g, ones_around(g, high, 2), 1.5f), above(g, ones_around(g, high, 4), 3.5f));
    return ft_add(g, rim, ft_mul(g, low, above(g, ones_around(g, high, 10), 8.5f)));
}

static ft_t rows(ft_graph *g, ft_t x, int64_t from, int64_t n) { return ft_slice(g, x, 0, from, n); }
static ft_t mean_of(ft_graph *g, ft_t x) { return ft_reshape(g, ft_reduce(g, x, 3, true), 1, (int64_t[]){1}); }

/* mean of the picked embeddings, mask (B,T) with k ones a row, e (B,T,D) -> (B,1,D) of length 1 */
static ft_t centre(ft_graph *g, ft_t mask, ft_t e, int64_t k)
{
    int64_t B = ft_dim(mask, 0), T = ft_dim(mask, 1);
    mask = ft_affine(g, ft_reshape(g, mask, 3, (int64_t[]){B, 1, T}), 1 / (float)k, 0);
    return ft_l2_normalize(g, ft_matmul(g, mask, e, false, false), 1e-12f);
}

/* InfoNCE at temperature 0.07: the hard ones of a class are like its easy ones, q, k (B,1,D), and unlike the easy ones of the
 * other class, those of e (B,T,D) that `other` (B,T) picks */
static ft_t info_nce(ft_graph *g, ft_t q, ft_t k, ft_t e, ft_t other)
{
    int64_t B = ft_dim(other, 0), T = ft_dim(other, 1);
    int32_t first[4096] = {0};
    ft_t unlike = ft_reshape(g, ft_matmul(g, q, ft_l2_normalize(g, e, 1e-12f), false, true), 2, (int64_t[]){B, T});
    ft_t like = ft_reshape(g, ft_reduce(g, ft_mul(g, q, k), 4, false), 2, (int64_t[]){B, 1});
    ft_t z = ft_concat(g, 1, 2, (ft_t[]){like, ft_add(g, unlike, ft_affine(g, other, 1e4f, -1e4f))}); /* (B,1+T) */
    return ft_softmax_xent(g, ft_affine(g, z, 1 / 0.07f, 0), ft_const(g, FT_I32, 1, &B, first), NULL);
}

ft_mil_loss_terms ft_mil_loss(ft_graph *g, ft_t embedding, ft_t score, ft_t video, ft_mil_weights w)
{
    ft_mil_loss_terms l = {0};
    int64_t B = ft_dim(score, 0) / 2, T = ft_dim(score, 1), easy = T > 8 ? T / 8 : 1, hard = T > 16 ? T / 16 : 1;
    float target[4096];
    if (2 * B > 4096) return ft_graph_fail(g, "more than 2048 videos of a class in a step"), l;
    for (int64_t i = 0; i < 2 * B; i++) target[i] = i >= B;
    l.total = l.video = ft_loss_mean(g, video, ft_const(g, FT_F32, 2, (int64_t[]){2 * B, 1}, target), FT_BCE_LOGIT);
    ft_t normal = rows(g, score, 0, B), abnormal = rows(g, score, B, B); /* (B,T) */
    ft_t sn = ft_stop_grad(g, normal), sa = ft_stop_grad(g, abnormal);
    if (w.margin >= 0) {
        ft_t gap = ft_sub(g, ft_reduce(g, ft_mul(g, normal, top(g, sn, 3)), 2, false),
                          ft_reduce(g, ft_mul(g, abnormal, top(g, sa, 3)), 2, false)); /* (B,1): sums of three */
        ft_t step = ft_sub(g, ft_slice(g, abnormal, 1, 1, T - 1), ft_slice(g, abnormal, 1, 0, T - 1));
        ft_t size = ft_unary(g, FT_SQRT, ft_reduce(g, ft_unary(g, FT_SQUARE, abnormal), 2, false)); /* (B,1) */
        l.ranking = mean_of(g, ft_unary(g, FT_RELU, ft_affine(g, gap, 1 / 3.0f, (float)w.margin)));
        ft_t smooth = ft_affine(g, mean_of(g, ft_reduce(g, ft_unary(g, FT_SQUARE, step), 2, false)), (float)w.smooth, 0);
        ft_t sparse = ft_affine(g, mean_of(g, size), (float)w.sparse, 0);
        l.ranking = ft_add(g, l.ranking, ft_add(g, smooth, sparse));
        l.total = ft_add(g, l.total, l.ranking);
    }
    if (w.contrast > 0) {
        ft_t some = ft_dropout(g, ft_unary(g, FT_STEP, sa), 0.6f); /* ones, of which few stay: not always the same are easy */
        ft_t easy_a = top(g, ft_mul(g, sa, some), easy), easy_n = top(g, ft_affine(g, sn, -1, 0), easy);
        ft_t hard_a = top(g, ft_mul(g, sa, hard_region(g, sa)), hard), hard_n = top(g, sn, hard);
        ft_t en = rows(g, embedding, 0, B), ea = rows(g, embedding, B, B); /* (B,T,D) */
        ft_t a = info_nce(g, centre(g, hard_a, ea, hard), centre(g, easy_a, ea, easy), en, easy_n);
        ft_t n = info_nce(g, centre(g, hard_n, en, hard), centre(g, easy_n, en, easy), ea, easy_a);
        l.contrast = ft_add(g, a, n);
        l.total = ft_add(g, l.total, ft_affine(g, l.contrast, (float)w.contrast, 0));
    }
    return l;
}
