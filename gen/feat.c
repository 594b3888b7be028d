#include "gen/feat.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "gen/dit.h"
#include "gen/generator.h"

/* one row, one line */
/* clang-format off */
static const ft_feat_preset presets[] = {
    /* name, latent (frames, size, channels); groups, width, heads, patch */
    {{"feat-s",     16, 16, 4}, 9, 512,  8,  2},
    {{"feat-l",     16, 16, 4}, 9, 1024, 16, 2},
    {{"feat-tiny",  4,  8,  16}, 2, 128,  2,  2},
    {{"feat-small", 4,  8,  16}, 4, 256,  4,  2},
};
/* clang-format on */

ft_feat_opt ft_feat_options(const ft_config *cfg)
{
    return (ft_feat_opt){ft_config_is(cfg, "generator.guidance", "paper"), ft_config_is(cfg, "generator.kernel", "released")};
}

#define PRESERVE (1 / 0.596) /* SiLU / 0.596 keeps the magnitude of a normal input */

typedef struct {
    int64_t B, n, grid, d; /* n: frames of the tensor at hand */
} shape;

/* ---- parts -------------------------------------------------------------------------------------------------------------- */

/* depth-wise convolution without bias: 3x3 on every frame (NAME.weight (c,1,3,3)), or 3 taps along the frames ((c,1,3)) */
static ft_t depthwise(ft_graph *g, const char *name, ft_t x, bool frames)
{
    int64_t c = ft_dim(x, -1), k = frames ? 3 : 1, s = frames ? 1 : 3, short_dim[] = {c, 1, 3, 3};
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), frames ? 3 : 4, short_dim, ft_init_uniform_fan(k * s * s));
    ft_conv_opt o = {.pad_front = {k / 2, s / 2, s / 2}, .pad_back = {k / 2, s / 2, s / 2}};
    return ft_conv_dw(g, x, ft_reshape(g, w, 5, (int64_t[]){c, 1, k, s, s}), NULL, o);
}

/* 1x1 convolution without bias: NAME.weight (out,c,1,1) */
static ft_t pointwise(ft_graph *g, const char *name, ft_t x, int64_t out)
{
    int64_t c = ft_dim(x, -1);
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 4, (int64_t[]){out, c, 1, 1}, ft_init_uniform_fan(c));
    return ft_linear(g, x, ft_reshape(g, w, 2, (int64_t[]){out, c}), NULL);
}

/* row k of a (rows,d) parameter, as what is broadcast over tokens: (1,1,1,1,d) f32 */
static ft_t per_channel(ft_graph *g, ft_t w, int64_t k)
{
    return ft_reshape(g, ft_slice(g, w, 0, k, 1), 5, (int64_t[]){1, 1, 1, 1, ft_dim(w, 1)});
}

/* Gated depth-wise feed-forward (Restormer): Wout(gelu(g1) * g2), g = DW(Win h) */
static ft_t feed_forward(ft_graph *g, const char *name, ft_t h)
{
    int64_t d = ft_dim(h, -1);
    ft_t x = depthwise(g, ft_name(g, "%s.dwconv", name), pointwise(g, ft_name(g, "%s.project_in", name), h, 8 * d), false);
    return pointwise(g, ft_name(g, "%s.project_out", name), ft_glu(g, x, FT_ACT_GELU, false), d);
}

/* What the released kernel does with more than 16 tokens: it works in 16 chunks, and inside a chunk counts each earlier token
 * but the chunk's first (and the token itself) once more, with weight e^k (1 - e^w) e^(w distance). A table of weights (d,T,T)
 * and two products for each channel: for its weights, not for speed. k, v (S,T,d) in the order of the visit. */
static ft_t chunked_wkv(ft_graph *g, ft_t k, ft_t v, ft_t w, ft_t u)
{
    int64_t tokens = ft_dim(k, 1), d = ft_dim(k, 2), chunk = (tokens + 15) / 16, all[3] = {d, tokens, tokens},
            one[3] = {1, tokens, tokens};
    float *away = ft_alloc((size_t)(4 * tokens * tokens) * sizeof *away), *self = away + tokens * tokens,
          *again = self + tokens * tokens, *near = again + tokens * tokens;
    if (!away) return ft_graph_fail(g, "no memory for a table of %lld tokens", (long long)tokens);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t i = 0; i < tokens; i++) {
            int64_t start = t / chunk * chunk, at = t * tokens + i, distance = i < t ? t - i : i - t;
            bool inside = i >= start && i<t, twice = i> start && i <= t;
            away[at] = (float)-(distance - inside), self[at] = i == t;
            again[at] = twice, near[at] = twice ? (float)distance : 0;
        }
    ft_t table[4];
    for (int i = 0; i < 4; i++) table[i] = ft_const(g, FT_F32, 3, one, away + i * tokens * tokens);
    ft_free(away);
    w = ft_broadcast(g, ft_reshape(g, w, 3, (int64_t[]){d, 1, 1}), 3, all, 1);
    u = ft_broadcast(g, ft_reshape(g, u, 3, (int64_t[]){d, 1, 1}), 3, all, 1);
    ft_t m = ft_unary(g, FT_EXP, ft_add(g, ft_mul(g, w, table[0]), ft_mul(g, u, table[1])));
    ft_t grown = ft_unary(g, FT_EXP, ft_mul(g, w, table[3])), more = ft_mul(g, grown, ft_unary(g, FT_EXP, w));
    m = ft_add(g, m, ft_mul(g, ft_sub(g, grown, more), table[2])); /* (d,T,T): weight of token i for output t */
    ft_t x = ft_cast(g, k, FT_F32), value = ft_cast(g, v, FT_F32);
    ft_t e = ft_unary(g, FT_EXP, ft_sub(g, x, ft_stop_grad(g, ft_reduce(g, x, 2, true)))); /* a common factor cancels */
    int turned[3] = {2, 1, 0};                                                             /* (S,T,d) to (d,T,S) and back */
    ft_t sum = ft_matmul(g, m, ft_permute(g, ft_mul(g, e, value), turned), false, false);
    ft_t weight = ft_matmul(g, m, ft_permute(g, e, turned), false, false);
    return ft_cast(g, ft_permute(g, ft_div(g, sum, weight), turned), ft_compute(g));
}

/* The WKV as released. With one token in a chunk it is the exact one with a bonus of u + w: it counts |t - i|, not |t - i| - 1.
 */
static ft_t released_wkv(ft_graph *g, ft_t k, ft_t v, ft_t w, ft_t u, int64_t columns)
{
    enum { MOST = 4096 };
    int32_t order[MOST], back[MOST];
    int64_t T = ft_dim(k, 1);
    if (ft_ndim(k) == 4 || T <= 16) return ft_wkv(g, k, v, w, ft_add(g, u, w), columns);
    if (T > MOST) return ft_graph_fail(g, "generator.kernel released: %lld tokens, at most %d", (long long)T, MOST);
    if (!columns) return chunked_wkv(g, k, v, w, u);
    for (int32_t n = 0, rows = (int32_t)(T / columns); n < T; n++) {
        order[n] = n % rows * (int32_t)columns + n / rows;
        back[order[n]] = n;
    }
    return ft_gather_rows(g, chunked_wkv(g, ft_gather_rows(g, k, order), ft_gather_rows(g, v, order), w, u), back);
}

/* h, Z (B,n,grid,grid,d): spatial (grid*grid tokens of a frame, rows then columns) or temporal (n frames of a position) */
static ft_t wkv_attention(ft_graph *g, const shape *s, const char *name, ft_t h, ft_t Z, bool temporal, bool released)
{
    int64_t T = temporal ? s->n : s->grid * s->grid, passes = temporal ? 1 : 2;
    ft_init normal = {FT_INIT_NORMAL, 1, NULL};
    h = ft_add(g, h, depthwise(g, ft_name(g, "%s.dwconv2d", name), h, false));
    if (temporal) h = ft_add(g, h, depthwise(g, ft_name(g, "%s.dwconv1d", name), h, true));
    else /* in the public state dict, used by nobody */
        ft_buffer(g, ft_name(g, "%s.dwconv1d.weight", name), 3, (int64_t[]){s->d, 1, 3}, ft_init_uniform_fan(3));
    const char *const names[] = {ft_name(g, "%s.key.weight", name), ft_name(g, "%s.value.weight", name),
                                 ft_name(g, "%s.receptance.weight", name)};
    int64_t dim[5] = {s->B, s->n, s->grid, s->grid, s->d}, space[3] = {s->B * s->n, T, s->d},
            time[4] = {s->B, s->n, s->grid * s->grid, s->d};
    ft_t all = ft_dit_group(g, 3, names, h, s->d), k = ft_slice(g, all, 0, 0, 1);
    ft_t v = ft_reshape(g, ft_slice(g, all, 0, 1, 1), 5, dim), r = ft_reshape(g, ft_slice(g, all, 0, 2, 1), 5, dim);
    const char *const pace[] = {ft_name(g, "%s.spatial_decay", name), ft_name(g, "%s.spatial_first", name)};
    ft_t decay = ft_affine(g, ft_param_group(g, 2, pace, 2, (int64_t[]){passes, s->d}, normal), 1.0f / (float)T, 0);
    decay = ft_reshape(g, decay, 2, (int64_t[]){2 * passes, s->d}); /* decays, then firsts, each by the length of the sequence */
    ft_t guide = ft_param(g, ft_name(g, "%s.alpha", name), 2, (int64_t[]){2, s->d}, FT_ZERO);
    ft_t left = ft_sub(g, Z, v); /* what the values lack, before guidance */
    ft_t y = ft_add(g, v, ft_mul(g, Z, per_channel(g, guide, 0)));
    k = temporal ? ft_reshape(g, k, 4, time) : ft_reshape(g, k, 3, space);
    y = temporal ? ft_reshape(g, y, 4, time) : ft_reshape(g, y, 3, space);
    for (int64_t i = 0; i < passes; i++)
        y = (released ? released_wkv : ft_wkv)(g, k, y, ft_select(g, decay, 0, i), ft_select(g, decay, 0, passes + i),
                                               i == 1 ? s->grid : 0);
    y = ft_add(g, ft_reshape(g, y, 5, dim), ft_mul(g, left, per_channel(g, guide, 1)));
    return ft_dit_xavier(g, ft_name(g, "%s.output", name), ft_mul(g, ft_unary(g, FT_SIGMOID, r), y), s->d, false);
}

/* h, Z (B,n,grid,grid,d): which channels go with which, over the tokens of a frame */
static ft_t channel_attention(ft_graph *g, const shape *s, const char *name, ft_t h, ft_t Z, int64_t heads, bool guided)
{
    int64_t dim[5] = {s->B, s->n, s->grid, s->grid, s->d}, N = s->grid * s->grid, both = 2 * s->d;
    ft_t qkv = depthwise(g, ft_name(g, "%s.qkv_dwconv", name), pointwise(g, ft_name(g, "%s.qkv", name), h, 3 * s->d), false);
    ft_t theta = ft_param(g, ft_name(g, "%s.temperature", name), 3, (int64_t[]){heads, 1, 1}, FT_ONE), left = NULL, guide;
    const char *alpha = ft_name(g, "%s.alpha", name);
    if (guided) {
        guide = ft_reshape(g, ft_param(g, alpha, 1, &both, FT_ZERO), 2, (int64_t[]){2, s->d});
        ft_t v = ft_slice(g, qkv, 4, 2 * s->d, s->d);
        left = ft_mul(g, ft_sub(g, Z, v), per_channel(g, guide, 1));
        v = ft_add(g, v, ft_mul(g, Z, per_channel(g, guide, 0)));
        qkv = ft_concat(g, 4, 2, (ft_t[]){ft_slice(g, qkv, 4, 0, 2 * s->d), v});
    } else ft_buffer(g, alpha, 1, &both, FT_ZERO); /* in the public state dict, used by nobody */
    ft_t y = ft_attention_channel(g, ft_reshape(g, qkv, 3, (int64_t[]){s->B * s->n, N, 3 * s->d}),
                                  ft_reshape(g, theta, 1, &heads), heads);
    y = ft_reshape(g, y, 5, dim);
    if (left) y = ft_add(g, y, left);
    return pointwise(g, ft_name(g, "%s.project_out", name), y, s->d);
}

/* ---- blocks ------------------------------------------------------------------------------------------------------------- */

typedef enum { SPATIAL, TEMPORAL, CHANNEL } kind;

/* Of all blocks of a kind (spatial and temporal ones count as one): shift, scale, gate of attention, the same of the
 * feed-forward, part k of block i in row k * count + i of (6 count,B,d); the two gates (count,B,d), times the layer scale where
 * there is one. */
typedef struct {
    ft_t all, gate[2];
    int count;
} modulation;

static modulation modulate(ft_graph *g, const char *stem, int count, ft_t c, bool scaled)
{
    int64_t d = ft_dim(c, 1), one[] = {count, 1, d};
    /* the channel blocks' modulation is not zeroed in the public code: they act from the first step */
    modulation m = {ft_dit_modulations(g, stem, count, c, 6, scaled ? FT_ZERO : ft_init_xavier(d, 6 * d)), {NULL, NULL}, count};
    const char **name = ft_alloc((size_t)count * sizeof *name);
    for (int k = 0; k < 2 && name; k++) {
        m.gate[k] = ft_slice(g, m.all, 0, (2 + 3 * k) * count, count);
        for (int i = 0; i < count; i++) name[i] = ft_name(g, "%s.%d.gamma%d", stem, i, k + 1);
        if (scaled) m.gate[k] = ft_mul(g, m.gate[k], ft_reshape(g, ft_param_group(g, count, name, 1, &d, FT_ONE), 3, one));
    }
    if (!name) ft_graph_fail(g, "no memory for %d layer scales", count);
    ft_free(name);
    return m;
}

/* LayerNorm with weights, modulated by parts k and k + 1 of block i */
static ft_t norm(ft_graph *g, const char *name, ft_t x, const modulation *m, int i, int k)
{
    int64_t d = ft_dim(x, -1);
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 1, &d, FT_ONE),
         b = ft_param(g, ft_name(g, "%s.bias", name), 1, &d, FT_ZERO);
    return ft_layernorm(g, x, w, b, ft_dit_part(g, m->all, k * m->count + i), ft_dit_part(g, m->all, (k + 1) * m->count + i),
                        1e-5f);
}

/* x, Z (B,n,grid,grid,d); the block is the i-th of its kind */
static ft_t block(ft_graph *g, const ft_feat_preset *p, ft_feat_opt opt, int i, kind what, ft_t x, ft_t Z, const modulation *m)
{
    shape s = {ft_dim(x, 0), ft_dim(x, 1), ft_dim(x, 2), ft_dim(x, 4)};
    const char *name = ft_name(g, what == CHANNEL ? "restormers.%d" : "blocks.%d", i), *ln = what == CHANNEL ? "norm" : "ln";
    ft_t h = norm(g, ft_name(g, "%s.%s1", name, ln), x, m, i, 0);
    h = what == CHANNEL ? channel_attention(g, &s, ft_name(g, "%s.attn", name), h, Z, p->heads, opt.channel_guidance)
                        : wkv_attention(g, &s, ft_name(g, "%s.att", name), h, Z, what == TEMPORAL, opt.released_kernel);
    x = ft_gate_residual(g, x, h, ft_dit_part(g, m->gate[0], i));
    h = norm(g, ft_name(g, "%s.%s2", name, ln), x, m, i, 3);
    return ft_gate_residual(g, x, feed_forward(g, ft_name(g, "%s.ffn", name), h), ft_dit_part(g, m->gate[1], i));
}

ft_t ft_feat(ft_graph *g, const ft_feat_preset *p, ft_feat_opt opt, ft_t z, int64_t frames, ft_told told, ft_t *tap)
{
    int64_t c = ft_dim(z, 4), out = 2 * c;
    ft_t patches = ft_dit_patches(g, z, p->patch, p->width), x = patches; /* (B,n,grid,grid,d) */
    ft_t time = ft_unary(g, FT_SILU, ft_dit_time(g, told, p->width, PRESERVE)), kept = ft_affine(g, time, (float)PRESERVE, 0);
    modulation tokens = modulate(g, "blocks", 2 * p->groups, kept, true),
               channels = modulate(g, "restormers", p->groups, time, false);
    for (int i = 0; i < p->groups; i++) {
        x = block(g, p, opt, 2 * i, SPATIAL, x, patches, &tokens);
        if (tap) tap[i] = x;
        ft_t clip = ft_clip_frames(g, x, frames), guide = ft_clip_frames(g, patches, frames);
        x = ft_with_images(g, block(g, p, opt, 2 * i + 1, TEMPORAL, clip, guide, &tokens), x);
        x = block(g, p, opt, i, CHANNEL, x, patches, &channels);
    }
    x = ft_dit_head(g, x, kept, p->patch, out);
    /* input skip: a 1x1 convolution of the noised latent */
    ft_init any = ft_init_uniform_fan(c);
    ft_t w = ft_param(g, "res_conv.weight", 4, (int64_t[]){out, c, 1, 1}, any), b = ft_param(g, "res_conv.bias", 1, &out, any);
    return ft_add(g, x, ft_linear(g, z, ft_reshape(g, w, 2, (int64_t[]){out, c}), b));
}

/* ---- the row ------------------------------------------------------------------------------------------------------------ */

static ft_t network(ft_graph *g, const void *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told, ft_taps *taps)
{
    const ft_feat_preset *p = preset;
    taps->n = p->groups;
    return ft_feat(g, p, ft_feat_options(cfg), z, frames, told, taps->at);
}

const ft_generator ft_generator_feat = {
    "feat", FT_PRESETS(presets), true, FT_BETA_LINEAR, FT_MSE, false, NULL, FT_WORK_PRODUCTS, network, NULL};
