#include "gen/forty.h"

#include "common/graph/layers.h"
#include "gen/dit.h"
#include "gen/generator.h"

/* one row, one line */
/* clang-format off */
static const ft_forty_preset presets[] = {
    /* name, latent (frames, size, channels); depth, width, heads, patch */
    {{"forty-base",  16, 16, 4},  12, 768, 12, 2},
    {{"forty-tiny",  4,  8,  16}, 6,  128, 4,  2},
    {{"forty-small", 4,  8,  16}, 12, 256, 4,  2},
};
/* clang-format on */

/* x (B,n,h,w,c): 3x3 of every frame and channel. NAME.weight (c,1,3,3) */
static ft_t depthwise(ft_graph *g, const char *name, ft_t x)
{
    int64_t c = ft_dim(x, 4);
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 4, (int64_t[]){c, 1, 3, 3}, ft_init_uniform_fan(9));
    ft_t b = ft_param(g, ft_name(g, "%s.bias", name), 1, &c, FT_ZERO);
    return ft_conv_dw(g, x, ft_reshape(g, w, 5, (int64_t[]){c, 1, 1, 3, 3}), b, FT_SAME(3));
}

/* qkv (B,n,grid,grid,3d) -> (B,n,grid,grid,d): `count` frames from `first` as sequences of `each` frames */
static ft_t attend(ft_graph *g, ft_t qkv, int64_t first, int64_t count, int64_t each, int64_t heads)
{
    int64_t B = ft_dim(qkv, 0), grid = ft_dim(qkv, 2), d = ft_dim(qkv, 4) / 3;
    if (count < ft_dim(qkv, 1)) qkv = ft_slice(g, qkv, 1, first, count);
    qkv = ft_reshape(g, qkv, 3, (int64_t[]){B * count / each, each * grid * grid, 3 * d});
    ft_t y = ft_sdpa(g, qkv, NULL, NULL, (ft_sdpa_opt){.heads = heads});
    return ft_reshape(g, y, 5, (int64_t[]){B, count, grid, grid, d});
}

/* h (B,n,grid,grid,d): over all tokens of the clip, and of each image */
static ft_t attention(ft_graph *g, const char *name, ft_t h, int64_t frames, int64_t heads)
{
    int64_t d = ft_dim(h, 4), images = ft_dim(h, 1) - frames;
    ft_t qkv = ft_dit_xavier(g, ft_name(g, "%s.qkv", name), h, 3 * d, true); /* q | k | v */
    ft_t y = attend(g, qkv, 0, frames, frames, heads);
    if (images > 0) y = ft_concat(g, 1, 2, (ft_t[]){y, attend(g, qkv, frames, images, 1, heads)});
    return ft_dit_xavier(g, ft_name(g, "%s.proj", name), y, d, true);
}

/* x (B,n,grid,grid,d): adaLN-zero around attention and MLP */
static ft_t block(ft_graph *g, const char *name, ft_t x, const ft_dit_blocks *m, int64_t frames, int64_t heads)
{
    int64_t d = ft_dim(x, 4);
    ft_t h = ft_layernorm(g, x, NULL, NULL, ft_dit_block_part(g, m, 0), ft_dit_block_part(g, m, 1), 1e-6f);
    h = ft_add(g, h, depthwise(g, ft_name(g, "%s.local", name), h));
    x = ft_gate_residual(g, x, attention(g, ft_name(g, "%s.attn", name), h, frames, heads), ft_dit_block_part(g, m, 2));
    h = ft_layernorm(g, x, NULL, NULL, ft_dit_block_part(g, m, 3), ft_dit_block_part(g, m, 4), 1e-6f);
    h = ft_unary(g, FT_GELU_TANH, ft_dit_xavier(g, ft_name(g, "%s.mlp.fc1", name), h, 4 * d, true));
    return ft_gate_residual(g, x, ft_dit_xavier(g, ft_name(g, "%s.mlp.fc2", name), h, d, true), ft_dit_block_part(g, m, 5));
}

ft_t ft_forty(ft_graph *g, const ft_forty_preset *p, ft_t z, int64_t frames, ft_told told, ft_t *tap)
{
    int64_t ch = ft_dim(z, 4), d = p->width;
    ft_t x =
        ft_add(g, ft_dit_patches(g, z, p->patch, d), ft_dit_positions(g, ft_dim(z, 2) / p->patch, d)); /* (B,n,grid,grid,d) */
    x = ft_with_images(g, ft_add(g, ft_clip_frames(g, x, frames), ft_dit_frames(g, frames, d)), x);
    ft_t c = ft_unary(g, FT_SILU, ft_dit_time(g, told, d, 1)); /* (B,d) */
    ft_dit_blocks m = {ft_dit_modulations(g, "blocks", p->depth, c, 6, FT_ZERO), p->depth, 0};
    for (; m.block < p->depth; m.block++) {
        x = block(g, ft_name(g, "blocks.%d", m.block), x, &m, frames, p->heads);
        if (tap) tap[m.block] = x;
    }
    x = ft_dit_head(g, x, c, p->patch, ch); /* (B,n,s,s,c) f32 */
    /* a velocity is mostly a multiple of the noised latent that depends on the time alone; the tokens need not carry it */
    ft_t share = ft_cast(g, ft_dit_linear(g, "latent_skip", c, ch, true, FT_ZERO), FT_F32);
    return ft_add(g, x, ft_mul(g, z, ft_reshape(g, share, 5, (int64_t[]){ft_dim(z, 0), 1, 1, 1, ch})));
}

/* ---- the row ------------------------------------------------------------------------------------------------------------ */

static ft_t network(ft_graph *g, const void *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told, ft_taps *taps)
{
    (void)cfg;
    const ft_forty_preset *p = preset;
    taps->n = p->depth;
    return ft_forty(g, p, z, frames, told, taps->at);
}

/* 0.004 of forty-tiny; Adam's best rate falls as a network grows wider (Yang et al. 2022, 2203.03466) */
static double rate(const void *preset) { return 0.512 / ((const ft_forty_preset *)preset)->width; }

const ft_generator ft_generator_forty = {
    "forty", FT_PRESETS(presets), true, FT_BETA_LINEAR, FT_MSE, true, rate, FT_WORK_PRODUCTS, network, NULL};
