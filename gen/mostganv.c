#include "gen/mostganv.h"

#include <math.h>

static const ft_mostganv_preset presets[] = {
    {{{"mostganv-tiny", 16, 64, 3}, "mostganv-tiny-critic", 64, 1024, 64, true}, 8, 32, false},
    {{{"mostganv-128", 16, 128, 3}, "mostganv-128-critic", 512, 16384, 512, false}, 8, 128, false},
    {{{"mostganv-256", 16, 256, 3}, "mostganv-256-critic", 512, 16384, 512, false}, 8, 128, false},
    {{{"mostganv-tiny-paper", 16, 64, 3}, "mostganv-tiny-paper-critic", 64, 1024, 64, false}, 8, 32, true},
    {{{"mostganv-128-paper", 16, 128, 3}, "mostganv-128-paper-critic", 512, 16384, 512, false}, 8, 128, true},
    {{{"mostganv-256-paper", 16, 256, 3}, "mostganv-256-paper-critic", 512, 16384, 512, false}, 8, 128, true},
};
enum { FIRST = 16, LAST = 128 }; /* resolutions whose layers are modulated */

typedef struct {
    const ft_mostganv_preset *p;
    ft_t words;     /* (N,words,wide), N = B F: of every frame */
    int64_t halves; /* the resolution from which published code computes in half precision */
} motion_of;

/* the style of the clip and the motion of the frame, w (B,W) and v (B,F,W) -> (N,words,wide) */
static ft_t motion_words(ft_graph *g, const ft_mostganv_preset *p, ft_t w, ft_t v)
{
    int64_t B = ft_dim(v, 0), F = ft_dim(v, 1), width = ft_dim(v, 2);
    w = ft_broadcast(g, ft_reshape(g, w, 3, (int64_t[]){B, 1, width}), 3, (int64_t[]){B, F, width}, 1);
    ft_t x = ft_concat(g, 2, 2, (ft_t[]){w, v}); /* (B,F,2W) */
    x = ft_equal_linear(g, "synthesis.multimotionmap.0", x, p->words * width, (ft_equal){.lrelu = true});
    x = ft_equal_linear(g, "synthesis.multimotionmap.1", x, p->words * p->wide, (ft_equal){.lr = 1});
    return ft_reshape(g, x, 3, (int64_t[]){B * F, p->words, p->wide});
}

/* NAME.hypernet.conv0.weight (C+6,wide,1,1): of every word a (C), b (3), c (3), and a b c (N,words,C,9) */
static ft_t patterns(ft_graph *g, const motion_of *u, const char *name, int64_t in)
{
    int64_t frames = ft_dim(u->words, 0), n = u->p->words, wide = u->p->wide, all = in + 6;
    ft_t w = ft_param(g, ft_name(g, "%s.hypernet.conv0.weight", name), 4, (int64_t[]){all, wide, 1, 1},
                      (ft_init){FT_INIT_NORMAL, 1, NULL});
    w = ft_affine(g, ft_reshape(g, w, 2, (int64_t[]){all, wide}), sqrtf(2 / (float)wide), 0);
    ft_t m = ft_leaky_relu(g, ft_linear(g, u->words, w, NULL), 0.2f); /* (N,words,C+6) */
    ft_t a = ft_reshape(g, ft_slice(g, m, 2, 0, in), 4, (int64_t[]){frames, n, in, 1});
    ft_t b = ft_reshape(g, ft_slice(g, m, 2, in, 3), 4, (int64_t[]){frames, n, 3, 1});
    ft_t c = ft_reshape(g, ft_slice(g, m, 2, in + 3, 3), 4, (int64_t[]){frames, n, 1, 3});
    ft_t place = ft_mul(g, ft_broadcast(g, b, 4, (int64_t[]){frames, n, 3, 3}, 1), c);
    place = ft_reshape(g, place, 4, (int64_t[]){frames, n, 1, 9});
    return ft_mul(g, ft_broadcast(g, a, 4, (int64_t[]){frames, n, in, 9}, 1), place);
}

/* the largest magnitude among rows times each values of a sample: x -> (N,1,1) */
static ft_t largest(ft_graph *g, ft_t x, int64_t rows, int64_t each)
{
    int64_t N = ft_count(x) / (rows * each);
    ft_t h = ft_reshape(g, ft_unary(g, FT_ABS, x), 5, (int64_t[]){N, 1, 1, rows, each});
    h = ft_pool(g, h, FT_POOL_MAX, (ft_conv_opt){.kernel = {1, 1, rows}, .stride = {1, 1, rows}});
    h = ft_reshape(g, h, 5, (int64_t[]){N, 1, 1, each, 1});
    h = ft_pool(g, h, FT_POOL_MAX, (ft_conv_opt){.kernel = {1, 1, each}, .stride = {1, 1, each}});
    return ft_reshape(g, h, 3, (int64_t[]){N, 1, 1});
}

/* x (rows,n), each row over its largest magnitude */
static ft_t to_one(ft_graph *g, ft_t x)
{
    return ft_div(g, x, ft_reshape(g, largest(g, x, 1, ft_dim(x, 1)), 2, (int64_t[]){ft_dim(x, 0), 1}));
}

/* k (out,C,1,3,3), style (B,C) -> 1 + m (N,out,9 C): each filter mixes the patterns by attention */
static ft_t modulation(ft_graph *g, const motion_of *u, const char *name, ft_t k, ft_t style, bool half)
{
    int64_t out = ft_dim(k, 0), in = ft_dim(k, 1), n = u->p->words, each = 9 * in, B = ft_dim(style, 0);
    ft_t m = patterns(g, u, name, in), filter = ft_reshape(g, k, 2, (int64_t[]){out, each});
    int64_t frames = ft_dim(m, 0);
    if (half) filter = ft_affine(g, to_one(g, filter), 1 / sqrtf((float)each), 0), style = to_one(g, style);
    ft_t styled =
        ft_mul(g, ft_reshape(g, m, 4, (int64_t[]){B, frames / B * n, in, 9}), ft_reshape(g, style, 4, (int64_t[]){B, 1, in, 1}));
    ft_t score = ft_linear(g, ft_reshape(g, styled, 3, (int64_t[]){frames, n, each}), filter, NULL); /* (N,words,out) */
    score = ft_affine(g, ft_permute(g, score, (int[]){0, 2, 1}), 1 / sqrtf((float)each), 0);
    m = ft_matmul(g, ft_softmax(g, score), ft_reshape(g, m, 3, (int64_t[]){frames, n, each}), false, false); /* (N,out,9 C) */
    return ft_affine(g, ft_leaky_relu(g, ft_div(g, m, largest(g, m, out, each)), 0.2f), 1, 1);
}

/* x (N,1,h,w,C), each frame by weights of its own, w (N,out,C,9): frames stand beside each other as groups of channels. `up`: the
 * low pass comes first and the kernel is turned round, which is a transposed convolution before its low pass. */
static ft_t conv_apart(ft_graph *g, ft_t x, ft_t w, bool up)
{
    int64_t N = ft_dim(x, 0), out = ft_dim(w, 1), in = ft_dim(x, 4), pad = up ? 0 : 1;
    w = ft_reshape(g, w, 5, (int64_t[]){N * out, in, 1, 3, 3});
    if (up) {
        x = ft_pad(g, ft_pad(g, x, 2, 1, 1), 3, 1, 1);
        x = ft_fir_up(g, x);                                                             /* (N,1,2h+4,2w+4,C) */
        x = ft_slice(g, ft_slice(g, x, 2, 1, ft_dim(x, 2) - 2), 3, 1, ft_dim(x, 3) - 2); /* what the kernel's three places read */
        w = ft_flip(g, ft_flip(g, w, 3), 4);
    }
    int64_t h = ft_dim(x, 2), size = up ? h - 2 : h;
    x = ft_reshape(g, ft_permute(g, x, (int[]){1, 2, 3, 0, 4}), 5, (int64_t[]){1, 1, h, h, N * in});
    x = ft_conv(g, x, w, NULL, (ft_conv_opt){.pad_front = {0, pad, pad}, .pad_back = {0, pad, pad}, .groups = N});
    return ft_permute(g, ft_reshape(g, x, 5, (int64_t[]){1, size, size, N, out}), (int[]){3, 0, 1, 2, 4});
}

static ft_t layer(ft_graph *g, const void *ctx, const char *name, ft_t x, ft_t w, int64_t out, bool up)
{
    const motion_of *u = ctx;
    int64_t B = ft_dim(x, 0), frames = ft_dim(x, 1), h = ft_dim(x, 2), in = ft_dim(x, 4), size = up ? 2 * h : h, N = B * frames;
    if (size < FIRST || size > LAST) return ft_style_conv(g, NULL, name, x, w, out, up);
    ft_t style = ft_style_of(g, name, w, in), k = ft_style_kernel(g, name, out, in);
    ft_t m = modulation(g, u, name, k, style, !u->p->paper && size >= u->halves); /* (N,out,9 C) */
    ft_t styled = ft_mul(g, ft_broadcast(g, ft_reshape(g, k, 4, (int64_t[]){1, out, in, 9}), 4, (int64_t[]){B, out, in, 9}, 1),
                         ft_reshape(g, style, 4, (int64_t[]){B, 1, in, 1})); /* W s */
    styled = ft_reshape(g, styled, 3, (int64_t[]){B, 1, out * in * 9});
    ft_t own = ft_mul(g, ft_reshape(g, m, 3, (int64_t[]){B, frames, out * in * 9}), styled); /* W s (1 + m) */
    own = ft_reshape(g, own, 4, (int64_t[]){N, out, in, 9});
    ft_t d = ft_reduce(g, ft_unary(g, FT_SQUARE, own), 12, false);
    d = ft_reshape(g, ft_unary(g, FT_RSQRT, ft_affine(g, d, 1, 1e-8f)), 2, (int64_t[]){N, out});
    if (u->p->paper) x = conv_apart(g, ft_reshape(g, x, 5, (int64_t[]){N, 1, h, h, in}), own, up);
    else x = ft_reshape(g, ft_style_product(g, x, style, k, up), 5, (int64_t[]){N, 1, size, size, out});
    return ft_reshape(g, ft_style_finish(g, name, x, d), 5, (int64_t[]){B, frames, size, size, out});
}

static ft_t generate(ft_graph *g, const ft_stylegan_preset *base, ft_gan_in in, int64_t size, double psi)
{
    const ft_mostganv_preset *p = (const ft_mostganv_preset *)base;
    ft_t w = ft_stylegan_w(g, base, in.z, in.label, psi), v = ft_stylegan_motion(g, base, in); /* (B,W), (B,F,W) */
    motion_of u = {p, motion_words(g, p, w, v), size / 8};
    return ft_stylegan_draw(g, base, w, v, size, layer, &u);
}

/* each frame, and each less the one behind it, the last less the first */
static ft_t judge(ft_graph *g, const ft_stylegan_preset *base, ft_t x, ft_t t, ft_t label)
{
    ft_t seen = ft_concat(g, 1, 2, (ft_t[]){x, ft_sub(g, x, ft_roll(g, x, 1, -1))}); /* (B,2F,S,S,3) */
    return ft_stylegan_judge(g, base, seen, t, label, ((const ft_mostganv_preset *)base)->wide);
}

static const ft_gan gan = {.generate = generate, .judge = judge, .r1 = 10, .lazy = 8};
const ft_generator ft_generator_mostganv = {.family = "mostganv",
                                            .presets = presets,
                                            .n = sizeof presets / sizeof *presets,
                                            .row = sizeof *presets,
                                            .images_apart = true,
                                            .work = FT_WORK_CONVOLUTIONS,
                                            .gan = &gan};
