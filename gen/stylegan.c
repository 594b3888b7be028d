#include "gen/stylegan.h"

#include <math.h>
#include <string.h>

#include "common/graph/layers.h"

static const double root2 = 1.41421356237309505, pi = 3.14159265358979324;
enum { LIMIT = 256, GROUP = 4, MOST_CHANNELS = 2048 }; /* LIMIT: of activations, as published; GROUP: samples of a deviation */

const ft_stylegan_preset *ft_stylegan_at(int i)
{
    for (int k = 0; ft_generator_at(k); k++)
        for (int j = 0; ft_generator_at(k)->gan && ft_generator_preset_at(ft_generator_at(k), j); j++)
            if (i-- == 0) return (const ft_stylegan_preset *)ft_generator_preset_at(ft_generator_at(k), j);
    return NULL;
}

const ft_stylegan_preset *ft_stylegan_find(const char *name)
{
    const ft_stylegan_preset *p;
    for (int i = 0; (p = ft_stylegan_at(i)); i++)
        if (!strcmp(p->base.name, name) || !strcmp(p->critic, name)) break;
    return p;
}

int64_t ft_stylegan_codes(int64_t frames)
{
    int64_t anchors = (frames - 1 + FT_STYLEGAN_ANCHOR - 1) / FT_STYLEGAN_ANCHOR + 2;
    return anchors + 2 * (FT_STYLEGAN_KERNEL - 1);
}

int64_t ft_stylegan_channels(const ft_stylegan_preset *p, int64_t resolution)
{
    return p->budget / resolution < p->most ? p->budget / resolution : p->most;
}

bool ft_stylegan_size(int64_t size) { return size >= 2 * FT_STYLEGAN_CONCAT && (size & (size - 1)) == 0; }

static ft_t scaled(ft_graph *g, ft_t x, double by) { return by == 1 ? x : ft_affine(g, x, (float)by, 0); }

/* ---- layers of equal learning rates ------------------------------------------------------------------------------------- */

ft_t ft_equal_linear(ft_graph *g, const char *name, ft_t x, int64_t out, ft_equal e)
{
    int64_t in = ft_dim(x, -1);
    double lr = e.lr > 0 ? e.lr : 1, gain = e.lrelu ? root2 : 1;
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){out, in}, (ft_init){FT_INIT_NORMAL, 1 / lr, NULL});
    ft_t b = e.no_bias ? NULL : ft_param(g, ft_name(g, "%s.bias", name), 1, &out, e.bias > 0 ? FT_ONE : FT_ZERO);
    ft_t y = ft_linear(g, x, scaled(g, w, lr * gain / sqrt((double)in)), b ? scaled(g, b, lr * gain) : NULL);
    return e.lrelu ? ft_leaky_relu(g, y, 0.2f) : y;
}

ft_t ft_fir(ft_graph *g, ft_t x, double gain, int64_t pad, int64_t stride)
{
    static const float tap[4] = {1, 3, 3, 1};
    static const int64_t most = MOST_CHANNELS;
    float w[MOST_CHANNELS * 16];
    int64_t c = ft_dim(x, 4);
    if (c > most) return ft_graph_fail(g, "%lld channels, at most %lld", (long long)c, (long long)most);
    for (int64_t i = 0; i < 16 * c; i++) w[i] = (float)(gain / 64) * tap[i / 4 % 4] * tap[i % 4];
    return ft_conv_dw(g, x, ft_const(g, FT_F32, 5, (int64_t[]){c, 1, 1, 4, 4}, w), NULL,
                      (ft_conv_opt){.stride = {1, stride, stride}, .pad_front = {0, pad, pad}, .pad_back = {0, pad, pad}});
}

/* Zeros between values, then the low pass times 4: y[2i] = (x[i-1] + 3 x[i]) / 4, y[2i+1] = (3 x[i] + x[i+1]) / 4 */
ft_t ft_fir_up(ft_graph *g, ft_t x)
{
    enum { MOST = 1024 };
    int32_t begin[2 * MOST + 1], index[4 * MOST];
    float weight[4 * MOST];
    for (int axis = 2; axis <= 3; axis++) {
        int32_t n = (int32_t)ft_dim(x, axis), e = 0;
        if (n > MOST) return ft_graph_fail(g, "%d pixels, at most %d", n, MOST);
        for (int32_t r = 0; r < 2 * n; r++) {
            int32_t far = r % 2 ? r / 2 + 1 : r / 2 - 1;
            begin[r] = e;
            index[e] = r / 2, weight[e++] = 0.75f;
            if (far >= 0 && far < n) index[e] = far, weight[e++] = 0.25f;
        }
        begin[2 * n] = e;
        x = ft_resample(g, x, axis, &(ft_sparse){2 * n, begin, index, weight});
    }
    return x;
}

ft_t ft_equal_conv(ft_graph *g, const char *name, ft_t x, int64_t out, ft_equal_conv_opt o)
{
    int64_t in = ft_dim(x, 4), k = o.kernel, pad = o.down ? 0 : k / 2, stride = 1;
    double outer = o.gain > 0 ? o.gain : 1, gain = outer * (o.lrelu ? root2 : 1);
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 4, (int64_t[]){out, in, k, k}, (ft_init){FT_INIT_NORMAL, 1, NULL});
    ft_t b = o.no_bias ? NULL : ft_param(g, ft_name(g, "%s.bias", name), 1, &out, FT_ZERO);
    if (o.down && k == 1) x = ft_fir(g, x, 1, 1, 2); /* what is left of the low pass is all that a 1x1 reads */
    else if (o.down) x = ft_fir(g, x, 1, 2, 1), stride = 2;
    w = ft_reshape(g, scaled(g, w, gain / sqrt((double)(in * k * k))), 5, (int64_t[]){out, in, 1, k, k});
    if (b) b = scaled(g, b, gain);
    ft_conv_opt opt = {.stride = {1, stride, stride}, .pad_front = {0, pad, pad}, .pad_back = {0, pad, pad}};
    ft_t y = k == 1 ? ft_linear(g, x, w, b) : ft_conv(g, x, w, b, opt);
    return o.lrelu ? ft_leaky_relu_within(g, y, 0.2f, (float)(LIMIT * outer)) : y;
}

/* ---- noise to styles and motion ----------------------------------------------------------------------------------------- */

ft_t ft_stylegan_mapping(ft_graph *g, const char *name, ft_t z, ft_t c, int64_t width)
{
    if (c) c = ft_equal_linear(g, ft_name(g, "%s.embed", name), c, width, (ft_equal){.lr = 1});
    ft_t part[2] = {z ? ft_rmsnorm(g, z, NULL, 1e-8f) : NULL, c ? ft_rmsnorm(g, c, NULL, 1e-8f) : NULL};
    ft_t x = z && c ? ft_concat(g, 1, 2, part) : part[!z];
    for (int i = 0; i < 2; i++)
        x = ft_equal_linear(g, ft_name(g, "%s.fc%d", name, i), x, width, (ft_equal){.lr = 0.01, .lrelu = true});
    return x;
}

ft_t ft_stylegan_w(ft_graph *g, const ft_stylegan_preset *p, ft_t z, ft_t label, double psi)
{
    int64_t B = ft_dim(z, 0), width = p->width;
    ft_t w = ft_stylegan_mapping(g, "mapping", z, label, width);
    ft_t average = ft_buffer(g, "mapping.w_avg", 1, &width, FT_ZERO);
    if (ft_is_training(g)) { /* two batches in each published step, at 0.995 each */
        const float keep = 0.995f * 0.995f;
        ft_t mean = ft_reshape(g, ft_reduce(g, ft_stop_grad(g, w), 1, true), 1, &width);
        ft_assign(g, average, ft_add(g, ft_affine(g, average, keep, 0), ft_affine(g, mean, 1 - keep, 0)));
    }
    if (psi == 1) return w;
    average = ft_reshape(g, average, 2, (int64_t[]){1, width});
    return ft_add(g, ft_affine(g, w, (float)psi, 0),
                  ft_broadcast(g, average, 2, (int64_t[]){B, width}, (float)(1 - psi))); /* average + psi (w - average) */
}

/* t (B,F) among n anchors: `at` (2,B,F,n), one where the anchor before and the one behind is; since (B,F,1), frames from the one
 * before */
static void neighbours(ft_graph *g, ft_t t, int64_t n, ft_t at[2], ft_t *since)
{
    enum { MOST = 256 };
    int64_t B = ft_dim(t, 0), F = ft_dim(t, 1), all[3] = {B, F, n};
    float begin[MOST];
    for (int64_t i = 0; i < n && i < MOST; i++) begin[i] = (float)(i * FT_STYLEGAN_ANCHOR);
    if (n > MOST) ft_graph_fail(g, "%lld motion codes, at most %d", (long long)n, MOST);
    t = ft_reshape(g, t, 3, (int64_t[]){B, F, 1});
    ft_t past = ft_sub(g, ft_broadcast(g, t, 3, all, 1), ft_const(g, FT_F32, 3, (int64_t[]){1, 1, n}, begin));
    past = ft_unary(g, FT_STEP, past);                              /* 1: t is there or behind it */
    ft_t next = ft_pad(g, ft_slice(g, past, 2, 1, n - 1), 2, 0, 1); /* that of the one behind */
    at[0] = ft_sub(g, past, next);                                  /* (B,F,n) */
    at[1] = ft_pad(g, ft_slice(g, at[0], 2, 0, n - 1), 2, 1, 0);
    ft_t left = ft_affine(g, ft_reduce(g, past, 4, false), FT_STYLEGAN_ANCHOR, -FT_STYLEGAN_ANCHOR); /* (B,F,1) */
    *since = ft_sub(g, t, left);
}

/* The acyclic positional encoding, x (B,F,K) phases -> sine, then cosine (B,F,2K) */
static ft_t waves(ft_graph *g, ft_t x) { return ft_concat(g, 2, 2, (ft_t[]){ft_unary(g, FT_SIN, x), ft_unary(g, FT_COS, x)}); }

/* Frequencies whose periods go from 1024 frames to 16 in equal ratios, and how far a phase reaches at each */
static void frequencies(ft_graph *g, const char *name, int64_t n, ft_t *freqs, ft_t *scales)
{
    enum { MOST = 1024 };
    float value[2][MOST];
    double low = log2(FT_STYLEGAN_ANCHOR), high = log2(FT_STYLEGAN_TIMES);
    int64_t dim[3] = {1, 1, n};
    for (int64_t i = 0; i < n && i < MOST; i++) {
        double period = exp2(high - (high - low) * (double)i / (double)(n - 1));
        value[0][i] = (float)(2 * pi / period), value[1][i] = (float)(FT_STYLEGAN_TIMES / period);
    }
    if (n > MOST) ft_graph_fail(g, "%lld frequencies, at most %d", (long long)n, MOST);
    *freqs = ft_buffer(g, ft_name(g, "%s.freqs", name), 2, dim + 1, (ft_init){FT_INIT_VALUES, 0, value[0]});
    *scales = ft_buffer(g, ft_name(g, "%s.phase_scales", name), 2, dim + 1, (ft_init){FT_INIT_VALUES, 0, value[1]});
    *freqs = ft_reshape(g, *freqs, 3, dim), *scales = ft_reshape(g, *scales, 3, dim);
}

/* NAME.weight (out,C,k), NAME.bias: over codes, without padding; a leaky ReLU without gain, a hundredth of the rate */
static ft_t over_codes(ft_graph *g, const char *name, ft_t x, int64_t out)
{
    const double lr = 0.01;
    int64_t k = FT_STYLEGAN_KERNEL, in = ft_dim(x, 4);
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 3, (int64_t[]){out, in, k}, (ft_init){FT_INIT_NORMAL, 1 / lr, NULL});
    ft_t b = scaled(g, ft_param(g, ft_name(g, "%s.bias", name), 1, &out, FT_ZERO), lr);
    w = ft_reshape(g, scaled(g, w, lr / sqrt((double)(in * k))), 5, (int64_t[]){out, in, k, 1, 1});
    return ft_leaky_relu(g, ft_conv(g, x, w, b, (ft_conv_opt){.groups = 1}), 0.2f);
}

ft_t ft_stylegan_motion(ft_graph *g, const ft_stylegan_preset *p, ft_gan_in in)
{
    ft_t motion = in.motion, t = in.t;
    const char *time = "synthesis.motion_encoder.time_encoder";
    int64_t B = ft_dim(t, 0), F = ft_dim(t, 1), W = p->width, codes = ft_dim(motion, 1), K = W / 2, all[3] = {B, F, K};
    ft_t at[2], since, freqs, scales, u[2], add[2];
    if (in.label) { /* every code is told the class: motions differ, too */
        int64_t C = ft_dim(in.label, 1);
        ft_t told = ft_broadcast(g, ft_reshape(g, in.label, 3, (int64_t[]){B, 1, C}), 3, (int64_t[]){B, codes, C}, 1);
        motion = ft_concat(g, 2, 2, (ft_t[]){motion, told}); /* (B,A,W+C) */
    }
    ft_t h = ft_reshape(g, motion, 5, (int64_t[]){B, codes, 1, 1, ft_dim(motion, 2)});
    for (int i = 0; i < 2; i++) h = over_codes(g, ft_name(g, "synthesis.motion_encoder.conv.%d", i), h, W);
    int64_t anchors = ft_dim(h, 1);
    h = ft_reshape(g, h, 3, (int64_t[]){B, anchors, W});
    neighbours(g, t, anchors, at, &since);
    frequencies(g, time, K, &freqs, &scales);
    for (int i = 0; i < 2; i++) u[i] = ft_matmul(g, at[i], h, false, false); /* (B,F,W) before t, behind it */

    ft_equal linear = {.no_bias = true}; /* a bias would let all motions become one */
    ft_t period = ft_equal_linear(g, ft_name(g, "%s.periods_predictor", time), u[0], K, linear); /* (B,F,K) */
    ft_t phase = ft_equal_linear(g, ft_name(g, "%s.phase_predictor", time), u[0], K, linear);
    for (int i = 0; i < 2; i++) add[i] = ft_equal_linear(g, ft_name(g, "%s.aligners_predictor", time), u[i], W, linear);
    ft_t speed = ft_mul(g, ft_affine(g, ft_unary(g, FT_TANH, period), 1, 1), freqs);
    ft_t now = ft_broadcast(g, ft_reshape(g, t, 3, (int64_t[]){B, F, 1}), 3, all, 1);
    ft_t before = ft_sub(g, now, since), behind = ft_affine(g, before, 1, FT_STYLEGAN_ANCHOR);
    phase = ft_mul(g, phase, scales);
    ft_t wave = waves(g, ft_add(g, ft_mul(g, speed, now), phase)); /* (B,F,W) */
    ft_t left = waves(g, ft_add(g, ft_mul(g, speed, before), phase));
    ft_t right = waves(g, ft_add(g, ft_mul(g, speed, behind), phase));
    /* at the anchors the wave is taken away and what they say put in its place, so codes do not repeat */
    ft_t a = ft_affine(g, since, 1.0f / FT_STYLEGAN_ANCHOR, 0); /* (B,F,1) */
    ft_t from = ft_sub(g, add[0], left), to = ft_sub(g, add[1], right);
    return ft_add(g, ft_add(g, wave, from), ft_mul(g, ft_sub(g, to, from), a));
}

/* ---- layers with styles ------------------------------------------------------------------------------------------------- */

static ft_t per_clip(ft_graph *g, ft_t x, ft_dtype dtype) /* (B,C) -> (B,1,1,1,C) */
{
    return ft_cast(g, ft_reshape(g, x, 5, (int64_t[]){ft_dim(x, 0), 1, 1, 1, ft_dim(x, 1)}), dtype);
}

ft_t ft_style_finish(ft_graph *g, const char *name, ft_t x, ft_t d)
{
    int64_t out = ft_dim(x, 4);
    ft_t b = scaled(g, ft_param(g, ft_name(g, "%s.bias", name), 1, &out, FT_ZERO), root2);
    x = ft_mul(g, x, per_clip(g, scaled(g, d, root2), ft_dtype_of(x)));
    x = ft_add(g, x, per_clip(g, ft_reshape(g, b, 2, (int64_t[]){1, out}), ft_dtype_of(x)));
    return ft_leaky_relu_within(g, x, 0.2f, LIMIT);
}

ft_t ft_style_of(ft_graph *g, const char *name, ft_t w, int64_t in)
{
    return ft_equal_linear(g, ft_name(g, "%s.affine", name), w, in, (ft_equal){.bias = 1});
}

ft_t ft_style_kernel(ft_graph *g, const char *name, int64_t out, int64_t in)
{
    ft_t k = ft_param(g, ft_name(g, "%s.weight", name), 4, (int64_t[]){out, in, 3, 3}, (ft_init){FT_INIT_NORMAL, 1, NULL});
    return ft_reshape(g, k, 5, (int64_t[]){out, in, 1, 3, 3});
}

ft_t ft_style_product(ft_graph *g, ft_t x, ft_t style, ft_t k, bool up)
{
    x = ft_mul(g, x, per_clip(g, style, ft_dtype_of(x)));
    if (!up) return ft_conv(g, x, k, NULL, FT_SAME(3));
    ft_t turned = ft_permute(g, k, (int[]){1, 0, 2, 3, 4});
    x = ft_conv_transpose(g, x, turned, NULL, (ft_conv_opt){.stride = {1, 2, 2}}); /* (B,F,2h+1,2w+1,out) */
    return ft_fir(g, x, 4, 1, 1);
}

ft_t ft_style_conv(ft_graph *g, const void *ctx, const char *name, ft_t x, ft_t w, int64_t out, bool up)
{
    (void)ctx;
    ft_t style = ft_style_of(g, name, w, ft_dim(x, 4)), k = ft_style_kernel(g, name, out, ft_dim(x, 4)); /* (B,C) */
    return ft_style_finish(g, name, ft_style_product(g, x, style, k, up), ft_demodulation(g, k, style));
}

ft_t ft_style_rgb(ft_graph *g, const char *name, ft_t x, ft_t w)
{
    int64_t B = ft_dim(x, 0), C = ft_dim(x, 4), three = 3, places = ft_count(x) / B / C, dim[5];
    for (int i = 0; i < 4; i++) dim[i] = ft_dim(x, i);
    dim[4] = 3;
    ft_t style = ft_equal_linear(g, ft_name(g, "%s.affine", name), w, C, (ft_equal){.bias = 1}); /* (B,C) */
    ft_t k = ft_param(g, ft_name(g, "%s.weight", name), 4, (int64_t[]){3, C, 1, 1}, (ft_init){FT_INIT_NORMAL, 1, NULL});
    ft_t bias = ft_param(g, ft_name(g, "%s.bias", name), 1, &three, FT_ZERO);
    style = ft_reshape(g, scaled(g, style, 1 / sqrt((double)C)), 3, (int64_t[]){B, 1, C});
    k = ft_mul(g, ft_broadcast(g, ft_reshape(g, k, 3, (int64_t[]){1, 3, C}), 3, (int64_t[]){B, 3, C}, 1), style);
    x = ft_matmul(g, ft_reshape(g, x, 3, (int64_t[]){B, places, C}), ft_cast(g, k, ft_dtype_of(x)), false, true); /* (B,..,3) */
    x = ft_reshape(g, ft_cast(g, x, FT_F32), 5, dim);
    return ft_clamp(g, ft_add(g, x, ft_reshape(g, bias, 5, (int64_t[]){1, 1, 1, 1, 3})), -LIMIT, LIMIT);
}

ft_t ft_stylegan_input(ft_graph *g, const ft_stylegan_preset *p, ft_t v)
{
    int64_t C = ft_stylegan_channels(p, 4), B = ft_dim(v, 0), F = ft_dim(v, 1), W = ft_dim(v, 2);
    ft_t x = ft_param(g, "synthesis.b4.input.input.const", 4, (int64_t[]){1, C, 4, 4}, (ft_init){FT_INIT_NORMAL, 1, NULL});
    x = ft_reshape(g, ft_permute(g, x, (int[]){0, 2, 3, 1}), 5, (int64_t[]){1, 1, 4, 4, C});
    x = ft_broadcast(g, x, 5, (int64_t[]){B, F, 4, 4, C}, 1);
    v = ft_broadcast(g, ft_reshape(g, v, 5, (int64_t[]){B, F, 1, 1, W}), 5, (int64_t[]){B, F, 4, 4, W}, 1);
    return ft_cast(g, ft_concat(g, 4, 2, (ft_t[]){x, v}), ft_compute(g));
}

ft_t ft_stylegan_draw(ft_graph *g, const ft_stylegan_preset *p, ft_t w, ft_t v, int64_t size, ft_style_layer *layer,
                      const void *ctx)
{
    ft_t x = ft_stylegan_input(g, p, v), rgb = NULL; /* (B,F,4,4,C+W) */
    for (int64_t r = 4; r <= size; r *= 2) {
        int64_t c = ft_stylegan_channels(p, r);
        const char *b = ft_name(g, "synthesis.b%lld", (long long)r);
        if (r > 4) x = layer(g, ctx, ft_name(g, "%s.conv0", b), x, w, c, true);
        x = layer(g, ctx, ft_name(g, "%s.conv1", b), x, w, c, false); /* (B,F,r,r,c) */
        ft_t y = ft_style_rgb(g, ft_name(g, "%s.torgb", b), x, w);    /* (B,F,r,r,3) */
        rgb = rgb ? ft_add(g, ft_fir_up(g, rgb), y) : y;
    }
    return rgb;
}

/* ---- the discriminator's parts ------------------------------------------------------------------------------------------ */

/* gap (N,1) frames -> row round(gap) of time_encoder.const_embed.weight (1024,256) beside sines and cosines (N,276) */
static ft_t embed_gap(ft_graph *g, ft_t gap)
{
    enum { OCTAVES = 10, WIDTH = 256 };
    float place[FT_STYLEGAN_TIMES], octave[OCTAVES];
    int64_t N = ft_dim(gap, 0), times = FT_STYLEGAN_TIMES;
    for (int i = 0; i < FT_STYLEGAN_TIMES; i++) place[i] = (float)i;
    for (int i = 0; i < OCTAVES; i++) octave[i] = (float)(exp2(i) * pi / FT_STYLEGAN_TIMES);
    ft_t off = ft_sub(g, ft_broadcast(g, gap, 2, (int64_t[]){N, times}, 1), ft_const(g, FT_F32, 2, (int64_t[]){1, times}, place));
    ft_t one = ft_sub(g, ft_unary(g, FT_STEP, ft_affine(g, off, 1, 0.5f)), ft_unary(g, FT_STEP, ft_affine(g, off, 1, -0.5f)));
    ft_t table = ft_param(g, "time_encoder.const_embed.weight", 2, (int64_t[]){times, WIDTH}, (ft_init){FT_INIT_NORMAL, 1, NULL});
    ft_t speed =
        ft_buffer(g, "time_encoder.time_encoder.fourier_coefs", 2, (int64_t[]){1, OCTAVES}, (ft_init){FT_INIT_VALUES, 0, octave});
    ft_t phase = ft_matmul(g, gap, speed, false, false); /* (N,10) */
    return ft_concat(g, 1, 3,
                     (ft_t[]){ft_matmul(g, one, table, false, false), ft_unary(g, FT_SIN, phase), ft_unary(g, FT_COS, phase)});
}

ft_t ft_stylegan_projection(ft_graph *g, const ft_stylegan_preset *p, ft_t t, ft_t label)
{
    int64_t B = ft_dim(t, 0), gaps = ft_dim(t, 1) - 1, C = ft_stylegan_channels(p, 4);
    ft_t gap = ft_sub(g, ft_slice(g, t, 1, 1, gaps), ft_slice(g, t, 1, 0, gaps));
    ft_t e = embed_gap(g, ft_reshape(g, gap, 2, (int64_t[]){B * gaps, 1}));
    e = ft_reshape(g, e, 2, (int64_t[]){B, -1});
    if (label) e = ft_concat(g, 1, 2, (ft_t[]){label, e});
    return ft_stylegan_mapping(g, "mapping", NULL, e, C);
}

ft_t ft_stylegan_block(ft_graph *g, ft_t x, int64_t middle, int64_t out)
{
    const double half = 0.70710678118654752; /* of the variance to each branch */
    int64_t R = ft_dim(x, 2);
    ft_t y = ft_equal_conv(g, ft_name(g, "b%lld.skip", (long long)R), x, out,
                           (ft_equal_conv_opt){.kernel = 1, .gain = half, .down = true, .no_bias = true});
    x = ft_equal_conv(g, ft_name(g, "b%lld.conv0", (long long)R), x, middle, (ft_equal_conv_opt){.kernel = 3, .lrelu = true});
    x = ft_equal_conv(g, ft_name(g, "b%lld.conv1", (long long)R), x, out,
                      (ft_equal_conv_opt){.kernel = 3, .gain = half, .down = true, .lrelu = true});
    return ft_add(g, y, x);
}

ft_t ft_stylegan_concat(ft_graph *g, ft_t x)
{
    int64_t B = ft_dim(x, 0), F = ft_dim(x, 1), h = ft_dim(x, 2), C = ft_dim(x, 4);
    return ft_reshape(g, ft_permute(g, x, (int[]){0, 2, 3, 1, 4}), 5, (int64_t[]){B, 1, h, h, F * C});
}

ft_t ft_minibatch_deviation(ft_graph *g, ft_t x)
{
    int64_t B = ft_dim(x, 0), each = B < GROUP ? B : GROUP, n = B / each, h = ft_dim(x, 2), C = ft_dim(x, 4);
    if (B % each) return ft_graph_fail(g, "a batch of %lld clips, which is no multiple of %lld", (long long)B, (long long)each);
    ft_t y = ft_reshape(g, x, 3, (int64_t[]){each, n, h * h * C}); /* sample i is in group i mod n */
    y = ft_unary(g, FT_SQUARE, ft_sub(g, y, ft_reduce(g, y, 1, true)));
    y = ft_unary(g, FT_SQRT, ft_affine(g, ft_reduce(g, y, 1, true), 1, 1e-8f)); /* (1,n,hwC) */
    y = ft_reshape(g, ft_reduce(g, y, 4, true), 5, (int64_t[]){1, n, 1, 1, 1});
    y = ft_reshape(g, ft_broadcast(g, y, 5, (int64_t[]){each, n, h, h, 1}, 1), 5, (int64_t[]){B, 1, h, h, 1});
    return ft_concat(g, 4, 2, (ft_t[]){x, y});
}

ft_t ft_stylegan_judge(ft_graph *g, const ft_stylegan_preset *p, ft_t x, ft_t t, ft_t label, int64_t hidden)
{
    int64_t B = ft_dim(x, 0), size = ft_dim(x, 2), last = ft_stylegan_channels(p, 4);
    ft_t weight = ft_stylegan_projection(g, p, t, label); /* (B,C) */
    const char *rgb = ft_name(g, "b%lld.fromrgb", (long long)size);
    x = ft_equal_conv(g, rgb, ft_cast(g, x, ft_compute(g)), ft_stylegan_channels(p, size),
                      (ft_equal_conv_opt){.kernel = 1, .lrelu = true}); /* (B,F,S,S,c) */
    for (int64_t r = size; r > 4; r /= 2) {
        int64_t out = ft_stylegan_channels(p, r / 2);
        if (r / 2 == FT_STYLEGAN_CONCAT) out /= 2; /* of each frame, all of which follow one another there */
        if (r == FT_STYLEGAN_CONCAT) x = ft_stylegan_concat(g, x);
        x = ft_stylegan_block(g, x, ft_stylegan_channels(p, r), out);
    }
    x = ft_minibatch_deviation(g, ft_cast(g, x, FT_F32)); /* (B,1,4,4,C+1) */
    x = ft_equal_conv(g, "b4.conv", x, last, (ft_equal_conv_opt){.kernel = 3, .lrelu = true});
    x = ft_reshape(g, ft_permute(g, x, (int[]){0, 1, 4, 2, 3}), 2, (int64_t[]){B, 16 * last});
    x = ft_equal_linear(g, "b4.fc", x, hidden, (ft_equal){.lrelu = true});
    x = ft_equal_linear(g, "b4.out", x, last, (ft_equal){.lr = 1}); /* (B,C) */
    x = ft_reduce(g, ft_mul(g, x, weight), 2, false);
    return ft_affine(g, ft_reshape(g, x, 1, &B), (float)(1 / sqrt((double)last)), 0);
}
