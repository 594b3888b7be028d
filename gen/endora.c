#include "gen/endora.h"

#include <string.h>

#include "gen/dit.h"
#include "gen/generator.h"

/* one row, one line */
/* clang-format off */
static const ft_endora_preset presets[] = {
    /* name, latent (frames, size, channels); depth, width, heads, patch */
    {{"endora-s",     16, 16, 4}, 12, 384,  6,  2},
    {{"endora-b",     16, 16, 4}, 12, 768,  12, 2},
    {{"endora-l",     16, 16, 4}, 24, 1024, 16, 2},
    {{"endora-xl",    16, 16, 4}, 28, 1152, 16, 2},
    {{"endora-tiny",  4,  8,  16}, 6,  128,  4,  2},
    {{"endora-small", 4,  8,  16}, 12, 256,  4,  2},
};
/* clang-format on */

/* h (...,T,d), sequences of T tokens -> same */
static ft_t attention(ft_graph *g, const char *name, ft_t h, int64_t T, int64_t heads)
{
    int64_t d = ft_dim(h, -1), dim[6];
    for (int i = 0; i < ft_ndim(h); i++) dim[i] = ft_dim(h, i);
    ft_t qkv = ft_dit_xavier(g, ft_name(g, "%s.qkv", name), h, 3 * d, true); /* (...,T,3d): q | k | v */
    ft_t y = ft_sdpa(g, ft_reshape(g, qkv, 3, (int64_t[]){ft_count(h) / (T * d), T, 3 * d}), NULL, NULL,
                     (ft_sdpa_opt){.heads = heads}); /* (S,T,d) */
    return ft_dit_xavier(g, ft_name(g, "%s.proj", name), ft_reshape(g, y, ft_ndim(h), dim), d, true);
}

/* x (B,...,d) whose last T rows are the tokens of a sequence: adaLN-zero around attention and MLP */
static ft_t block(ft_graph *g, const char *name, ft_t x, const ft_dit_blocks *m, int64_t T, int64_t heads)
{
    int64_t d = ft_dim(x, -1);
    ft_t h = ft_layernorm(g, x, NULL, NULL, ft_dit_block_part(g, m, 0), ft_dit_block_part(g, m, 1), 1e-6f);
    x = ft_gate_residual(g, x, attention(g, ft_name(g, "%s.attn", name), h, T, heads), ft_dit_block_part(g, m, 2));
    h = ft_layernorm(g, x, NULL, NULL, ft_dit_block_part(g, m, 3), ft_dit_block_part(g, m, 4), 1e-6f);
    h = ft_unary(g, FT_GELU_TANH, ft_dit_xavier(g, ft_name(g, "%s.mlp.fc1", name), h, 4 * d, true));
    h = ft_dit_xavier(g, ft_name(g, "%s.mlp.fc2", name), h, d, true);
    return ft_gate_residual(g, x, h, ft_dit_block_part(g, m, 5));
}

/* x (B,n,grid,grid,d): attention over the clip's frames at each position; images stay as they are */
static ft_t temporal(ft_graph *g, const char *name, ft_t x, int64_t frames, const ft_dit_blocks *m, ft_t embedding, int64_t heads)
{
    ft_t clip = ft_clip_frames(g, x, frames);
    if (embedding) clip = ft_add(g, clip, embedding);
    clip = ft_permute(g, clip, (int[]){0, 2, 3, 1, 4}); /* (B,grid,grid,frames,d) */
    clip = ft_permute(g, block(g, name, clip, m, frames, heads), (int[]){0, 3, 1, 2, 4});
    return ft_with_images(g, clip, x);
}

ft_t ft_endora(ft_graph *g, const ft_endora_preset *p, ft_t z, int64_t frames, ft_told told, ft_t *tap)
{
    int64_t d = p->width, grid = ft_dim(z, 2) / p->patch;
    ft_t x = ft_add(g, ft_dit_patches(g, z, p->patch, d), ft_dit_positions(g, grid, d)); /* (B,n,grid,grid,d) */
    ft_t embedding = ft_dit_frames(g, frames, d);                                        /* (1,frames,1,1,d) */
    ft_t c = ft_unary(g, FT_SILU, ft_dit_time(g, told, d, 1));
    ft_dit_blocks m = {ft_dit_modulations(g, "blocks", p->depth, c, 6, FT_ZERO), p->depth, 0};
    for (int i = 0; i < p->depth; i += 2) {
        m.block = i;
        x = block(g, ft_name(g, "blocks.%d", i), x, &m, grid * grid, p->heads);
        if (tap) tap[i / 2] = x;
        m.block = i + 1;
        x = temporal(g, ft_name(g, "blocks.%d", i + 1), x, frames, &m, i == 0 ? embedding : NULL, p->heads);
    }
    return ft_dit_head(g, x, c, p->patch, 2 * ft_dim(z, 4));
}

/* ---- the row ------------------------------------------------------------------------------------------------------------ */

static ft_t network(ft_graph *g, const void *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told, ft_taps *taps)
{
    (void)cfg;
    const ft_endora_preset *p = preset;
    taps->n = p->depth / 2;
    return ft_endora(g, p, z, frames, told, taps->at);
}

const ft_generator ft_generator_endora = {
    "endora", FT_PRESETS(presets), true, FT_BETA_LINEAR, FT_MSE, false, NULL, FT_WORK_PRODUCTS, network, NULL};
