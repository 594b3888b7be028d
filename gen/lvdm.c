#include "gen/lvdm.h"

#include <math.h>
#include <string.h>

#include "common/graph/layers.h"
#include "gen/dit.h"
#include "gen/generator.h"

/* one row, one line */
/* clang-format off */
static const ft_lvdm_preset presets[] = {
    /* name, latent (frames, size, channels); width, levels, blocks, heads, groups, multiple */
    {{"lvdm",       4, 16, 4}, 256, 4, 3, 4, 32, {1, 2, 3, 4}},
    {{"lvdm-tiny",  4, 8,  16}, 32,  2, 1, 2, 8,  {1, 2}},
    {{"lvdm-small", 4, 8,  16}, 96,  2, 2, 4, 16, {1, 2}},
};
/* clang-format on */

ft_lvdm_opt ft_lvdm_options(const ft_config *cfg)
{
    return (ft_lvdm_opt){.transposed = ft_config_is(cfg, "generator.relative", "released")};
}

typedef struct {
    const ft_lvdm_preset *p;
    ft_lvdm_opt opt;
    int64_t frames; /* of the clip */
    ft_t time;      /* SiLU of the embedding of time and class (B, 4 width) */
} net;

/* a convolution of every frame: NAME.weight (out,c,1,3,3). zero: the branch begins as nothing */
static ft_t conv(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t stride, bool zero)
{
    int64_t c = ft_dim(x, 4);
    ft_init init = zero ? FT_ZERO : ft_init_uniform_fan(9 * c);
    ft_conv_opt o = FT_SAME(3);
    if (stride == 2) o.stride[1] = o.stride[2] = 2;
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 5, (int64_t[]){out, c, 1, 3, 3}, init);
    return ft_conv(g, x, w, ft_param(g, ft_name(g, "%s.bias", name), 1, &out, init), o);
}

/* x (B,n,h,w,c) -> (B,n,h,w,out): norm, conv, norm scaled and shifted by the time, conv; added to x */
static ft_t residual(ft_graph *g, const net *u, const char *name, ft_t x, int64_t out)
{
    int64_t one[5] = {ft_dim(x, 0), 1, 1, 1, out};
    ft_t h = ft_layer_groupnorm(g, ft_name(g, "%s.in_layers.0", name), x, u->p->groups, 1e-5f, FT_ACT_SILU);
    h = conv(g, ft_name(g, "%s.in_layers.2", name), h, out, 1, false);
    ft_t mod = ft_layer_linear(g, ft_name(g, "%s.emb_layers.1", name), u->time, 2 * out, true); /* (B,2c): scale, shift */
    ft_t scale = ft_reshape(g, ft_affine(g, ft_slice(g, mod, 1, 0, out), 1, 1), 5, one);
    ft_t shift = ft_reshape(g, ft_slice(g, mod, 1, out, out), 5, one);
    h = ft_groupnorm_conditioned(g, h, ft_param(g, ft_name(g, "%s.out_layers.0.weight", name), 1, &out, FT_ONE),
                                 ft_param(g, ft_name(g, "%s.out_layers.0.bias", name), 1, &out, FT_ZERO), scale, shift, NULL,
                                 u->p->groups, 1e-5f, FT_ACT_SILU);
    h = conv(g, ft_name(g, "%s.out_layers.3", name), h, out, 1, true);
    if (ft_dim(x, 4) != out)
        x = ft_layer_conv(g, ft_name(g, "%s.skip_connection", name), x, out, (int64_t[]){1, 1, 1}, (ft_conv_opt){0}, true);
    return ft_add(g, x, h);
}

/* nn.Conv1d of size 1: NAME.weight (out,c,1) */
static ft_t pointwise(ft_graph *g, const char *name, ft_t x, int64_t out, bool zero)
{
    int64_t c = ft_dim(x, -1);
    ft_init init = zero ? FT_ZERO : ft_init_uniform_fan(c);
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 3, (int64_t[]){out, c, 1}, init);
    return ft_linear(g, x, ft_reshape(g, w, 2, (int64_t[]){out, c}), ft_param(g, ft_name(g, "%s.bias", name), 1, &out, init));
}

/* x (S,T,c), each sequence normalised by itself; over: "s", "t", "st", the second with relative positions */
static ft_t attention(ft_graph *g, const net *u, const char *name, const char *over, ft_t x)
{
    int64_t S = ft_dim(x, 0), T = ft_dim(x, 1), c = ft_dim(x, 2), heads = u->p->heads, hd = c / heads, reach = u->p->base.frames;
    ft_t h = ft_reshape(g, x, 5, (int64_t[]){S, 1, 1, T, c});
    h = ft_layer_groupnorm(g, ft_name(g, "%s.norm_%s", name, over), h, u->p->groups, 1e-5f, FT_ACT_NONE);
    h = pointwise(g, ft_name(g, "%s.qkv_%s", name, over), ft_reshape(g, h, 3, (int64_t[]){S, T, c}), 3 * c, false);
    ft_sdpa_opt o = {.heads = heads, .transpose = u->opt.transposed};
    if (*over == 's') h = ft_sdpa(g, h, NULL, NULL, o);
    else {
        int64_t rows[2] = {2 * reach + 1, hd};
        ft_init init = ft_init_xavier(rows[0], hd);
        ft_t k = ft_param(g, ft_name(g, "%s.relative_position_k.embeddings_table", name), 2, rows, init);
        ft_t v = ft_param(g, ft_name(g, "%s.relative_position_v.embeddings_table", name), 2, rows, init);
        k = ft_affine(g, k, powf((float)hd, 0.25f), 0); /* q meets it with q's half of the scale alone: hd^(-1/4) */
        h = ft_sdpa_relative(g, h, NULL, NULL, k, v, o);
    }
    return ft_add(g, x, pointwise(g, ft_name(g, "%s.proj_out_%s", name, over), h, c, true));
}

/* x (B,n,h,w,c) -> same: over all tokens of the clip, each of its frames with a learned place, and of each image by itself */
static ft_t whole_clip(ft_graph *g, const net *u, const char *name, ft_t x)
{
    int64_t B = ft_dim(x, 0), n = ft_dim(x, 1), H = ft_dim(x, 2), W = ft_dim(x, 3), c = ft_dim(x, 4), f = u->frames;
    int64_t one[2] = {f, c}, place[5] = {1, f, 1, 1, c}, images[5] = {B, n - f, H, W, c};
    ft_t when = ft_reshape(g, ft_param(g, ft_name(g, "%s.frames", name), 2, one, FT_ZERO), 5, place);
    ft_t clip = ft_add(g, ft_clip_frames(g, x, f), ft_cast(g, when, ft_dtype_of(x)));
    clip = attention(g, u, name, "st", ft_reshape(g, clip, 3, (int64_t[]){B, f * H * W, c}));
    clip = ft_reshape(g, clip, 5, (int64_t[]){B, f, H, W, c});
    if (n == f) return clip;
    ft_t rest = ft_reshape(g, ft_slice(g, x, 1, f, n - f), 3, (int64_t[]){B * (n - f), H * W, c});
    return ft_concat(g, 1, 2, (ft_t[]){clip, ft_reshape(g, attention(g, u, name, "st", rest), 5, images)});
}

/* x (B,n,h,w,c) -> same: over the pixels of each frame, then over the clip's frames at each pixel */
static ft_t space_and_time(ft_graph *g, const net *u, const char *name, ft_t x)
{
    int64_t B = ft_dim(x, 0), n = ft_dim(x, 1), H = ft_dim(x, 2), W = ft_dim(x, 3), c = ft_dim(x, 4), f = u->frames;
    if (u->opt.whole) return whole_clip(g, u, name, x);
    x = attention(g, u, name, "s", ft_reshape(g, x, 3, (int64_t[]){B * n, H * W, c}));
    x = ft_reshape(g, x, 5, (int64_t[]){B, n, H, W, c});
    ft_t clip = ft_permute(g, ft_clip_frames(g, x, f), (int[]){0, 2, 3, 1, 4}); /* (B,h,w,f,c) */
    clip = attention(g, u, name, "t", ft_reshape(g, clip, 3, (int64_t[]){B * H * W, f, c}));
    clip = ft_permute(g, ft_reshape(g, clip, 5, (int64_t[]){B, H, W, f, c}), (int[]){0, 3, 1, 2, 4});
    return ft_with_images(g, clip, x);
}

ft_t ft_lvdm(ft_graph *g, const ft_lvdm_preset *p, ft_lvdm_opt opt, ft_t z, int64_t frames, ft_told told)
{
    enum { MOST = 64 };
    ft_t skip[MOST];
    int n = 0, k = 0;
    net u = {p, opt, frames, NULL};
    if (p->levels * (p->blocks + 1) > MOST) return ft_graph_fail(g, "%s: too many levels", p->base.name);
    ft_t e = ft_cast(g, ft_timestep_embed(g, told.t, p->width), ft_compute(g)); /* (B,width) */
    e = ft_unary(g, FT_SILU, ft_layer_linear(g, "time_embed.0", e, 4 * p->width, true));
    e = ft_layer_linear(g, "time_embed.2", e, 4 * p->width, true);
    if (told.label) e = ft_add(g, e, ft_class_embedding(g, "label_emb", told.label, 4 * p->width));
    u.time = ft_unary(g, FT_SILU, e);

    ft_t x = conv(g, "input_blocks.0.0", ft_cast(g, z, ft_compute(g)), p->width, 1, false); /* (B,n,s,s,width) */
    skip[n++] = x;
    for (int level = 0; level < p->levels; level++) { /* down: each block's output is kept for the way up */
        int64_t width = p->multiple[level] * p->width;
        for (int i = 0; i < p->blocks; i++) {
            x = residual(g, &u, ft_name(g, "input_blocks.%d.0", n), x, width);
            if (level > 0) x = space_and_time(g, &u, ft_name(g, "input_blocks.%d.1", n), x);
            skip[n++] = x;
        }
        if (level + 1 < p->levels) { /* halves the sides */
            x = conv(g, ft_name(g, "input_blocks.%d.0.op", n), x, width, 2, false);
            skip[n++] = x;
        }
    }
    x = residual(g, &u, "middle_block.0", x, ft_dim(x, 4));
    x = space_and_time(g, &u, "middle_block.1", x);
    x = residual(g, &u, "middle_block.2", x, ft_dim(x, 4));
    for (int level = p->levels - 1; level >= 0; level--)
        for (int i = 0; i <= p->blocks; i++, k++) {
            x = ft_concat(g, 4, 2, (ft_t[]){x, skip[--n]});
            x = residual(g, &u, ft_name(g, "output_blocks.%d.0", k), x, p->multiple[level] * p->width);
            if (level > 0) x = space_and_time(g, &u, ft_name(g, "output_blocks.%d.1", k), x);
            if (level > 0 && i == p->blocks) {
                x = ft_upsample(g, x, (int64_t[]){1, 2, 2});
                x = conv(g, ft_name(g, "output_blocks.%d.2.conv", k), x, ft_dim(x, 4), 1, false);
            }
        }
    x = ft_layer_groupnorm(g, "out.0", x, p->groups, 1e-5f, FT_ACT_SILU);
    x = ft_cast(g, conv(g, "out.2", x, ft_dim(z, 4), 1, true), FT_F32); /* (B,n,s,s,c) */
    if (!opt.pass) return x;
    int64_t ch = ft_dim(z, 4), of_channel[2] = {ch, 4 * p->width}, factor[5] = {ft_dim(z, 0), 1, 1, 1, ch};
    ft_t share = ft_linear(g, u.time, ft_param(g, "latent_skip.weight", 2, of_channel, FT_ZERO),
                           ft_param(g, "latent_skip.bias", 1, &ch, FT_ZERO)); /* (B,c) */
    return ft_add(g, x, ft_mul(g, z, ft_reshape(g, ft_cast(g, share, FT_F32), 5, factor)));
}

/* ---- the row ------------------------------------------------------------------------------------------------------------ */

static ft_t network(ft_graph *g, const void *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told, ft_taps *taps)
{
    taps->n = 0;
    return ft_lvdm(g, preset, ft_lvdm_options(cfg), z, frames, told);
}

const ft_generator ft_generator_lvdm = {"lvdm", FT_PRESETS(presets),  true,    FT_BETA_SQRT, FT_L1, false,
                                        NULL,   FT_WORK_CONVOLUTIONS, network, NULL};
