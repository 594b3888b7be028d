#include "gen/image_vae.h"

#include <string.h>

#include "common/graph/layers.h"
#include "gen/vae.h"

static const ft_image_vae_preset presets[] = {
    {"sd-vae", 4, 4, 2, 32, {128, 256, 512, 512}},
    {"image-vae-tiny", 4, 4, 1, 8, {32, 64, 96, 96}},
};

const ft_image_vae_preset *ft_image_vae_at(int i) { return i < (int)(sizeof presets / sizeof *presets) ? &presets[i] : NULL; }

const ft_image_vae_preset *ft_image_vae_find(const char *name)
{
    for (int i = 0; ft_image_vae_at(i); i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    return NULL;
}

static const int64_t three[3] = {0, 3, 3}, one[3] = {0, 1, 1};
static const ft_conv_opt as_is = {0};

/* x (B,1,H,W,C) -> (B,1,H,W,out) */
static ft_t resnet(ft_graph *g, const ft_image_vae_preset *p, const char *name, ft_t x, int64_t out)
{
    ft_t h = ft_layer_groupnorm(g, ft_name(g, "%s.norm1", name), x, p->groups, 1e-6f, FT_ACT_SILU);
    h = ft_layer_conv(g, ft_name(g, "%s.conv1", name), h, out, three, FT_SAME(3), true);
    h = ft_layer_groupnorm(g, ft_name(g, "%s.norm2", name), h, p->groups, 1e-6f, FT_ACT_SILU);
    h = ft_layer_conv(g, ft_name(g, "%s.conv2", name), h, out, three, FT_SAME(3), true);
    if (ft_dim(x, -1) != out) x = ft_layer_conv(g, ft_name(g, "%s.conv_shortcut", name), x, out, one, as_is, true);
    return ft_add(g, x, h);
}

/* One head as wide as the channels, over all positions of an image. x (B,1,H,W,C) */
static ft_t attention(ft_graph *g, const ft_image_vae_preset *p, const char *name, ft_t x)
{
    int64_t b = ft_dim(x, 0), t = ft_dim(x, 2) * ft_dim(x, 3), c = ft_dim(x, 4), dim[5] = {b, 1, ft_dim(x, 2), ft_dim(x, 3), c};
    ft_t h = ft_layer_groupnorm(g, ft_name(g, "%s.group_norm", name), x, p->groups, 1e-6f, FT_ACT_NONE), qkv[3];
    h = ft_reshape(g, h, 3, (int64_t[]){b, t, c});
    for (int i = 0; i < 3; i++) qkv[i] = ft_layer_linear(g, ft_name(g, "%s.to_%c", name, "qkv"[i]), h, c, true);
    h = ft_sdpa(g, qkv[0], qkv[1], qkv[2], (ft_sdpa_opt){.heads = 1}); /* (B,T,C) */
    return ft_add(g, x, ft_reshape(g, ft_layer_linear(g, ft_name(g, "%s.to_out.0", name), h, c, true), 5, dim));
}

static ft_t middle(ft_graph *g, const ft_image_vae_preset *p, const char *side, ft_t h)
{
    int64_t c = ft_dim(h, -1);
    h = resnet(g, p, ft_name(g, "%s.mid_block.resnets.0", side), h, c);
    h = attention(g, p, ft_name(g, "%s.mid_block.attentions.0", side), h);
    return resnet(g, p, ft_name(g, "%s.mid_block.resnets.1", side), h, c);
}

ft_t ft_image_vae_encode(ft_graph *g, const ft_image_vae_preset *p, ft_t x)
{
    ft_t h = ft_reshape(g, ft_cast(g, x, ft_compute(g)), 5, (int64_t[]){ft_dim(x, 0), 1, ft_dim(x, 1), ft_dim(x, 2), 3});
    h = ft_layer_conv(g, "encoder.conv_in", h, p->channels[0], three, FT_SAME(3), true);
    for (int i = 0; i < p->levels; i++) {
        for (int j = 0; j < p->layers; j++)
            h = resnet(g, p, ft_name(g, "encoder.down_blocks.%d.resnets.%d", i, j), h, p->channels[i]);
        if (i + 1 < p->levels) /* one zero at right and bottom */
            h = ft_layer_conv(g, ft_name(g, "encoder.down_blocks.%d.downsamplers.0.conv", i), h, p->channels[i], three,
                              (ft_conv_opt){.stride = {1, 2, 2}, .pad_back = {0, 1, 1}}, true);
    }
    h = middle(g, p, "encoder", h);
    h = ft_layer_groupnorm(g, "encoder.conv_norm_out", h, p->groups, 1e-6f, FT_ACT_SILU);
    h = ft_layer_conv(g, "encoder.conv_out", h, 2 * p->latent, three, FT_SAME(3), true);
    h = ft_layer_conv(g, "quant_conv", h, 2 * p->latent, one, as_is, true);
    return ft_cast(g, ft_reshape(g, h, 4, (int64_t[]){ft_dim(h, 0), ft_dim(h, 2), ft_dim(h, 3), 2 * p->latent}), FT_F32);
}

ft_t ft_image_vae_decode(ft_graph *g, const ft_image_vae_preset *p, ft_t z)
{
    ft_t h = ft_reshape(g, ft_cast(g, z, ft_compute(g)), 5, (int64_t[]){ft_dim(z, 0), 1, ft_dim(z, 1), ft_dim(z, 2), p->latent});
    h = ft_layer_conv(g, "post_quant_conv", h, p->latent, one, as_is, true);
    h = ft_layer_conv(g, "decoder.conv_in", h, p->channels[p->levels - 1], three, FT_SAME(3), true);
    h = middle(g, p, "decoder", h);
    for (int i = 0; i < p->levels; i++) { /* up_blocks.0 is the coarsest */
        int64_t c = p->channels[p->levels - 1 - i];
        for (int j = 0; j <= p->layers; j++) h = resnet(g, p, ft_name(g, "decoder.up_blocks.%d.resnets.%d", i, j), h, c);
        if (i + 1 == p->levels) break;
        h = ft_upsample(g, h, (int64_t[]){1, 2, 2});
        h = ft_layer_conv(g, ft_name(g, "decoder.up_blocks.%d.upsamplers.0.conv", i), h, c, three, FT_SAME(3), true);
    }
    h = ft_layer_groupnorm(g, "decoder.conv_norm_out", h, p->groups, 1e-6f, FT_ACT_SILU);
    h = ft_layer_conv(g, "decoder.conv_out", h, 3, three, FT_SAME(3), true);
    return ft_reshape(g, h, 4, (int64_t[]){ft_dim(h, 0), ft_dim(h, 2), ft_dim(h, 3), 3});
}

/* ---- as a video VAE: every frame by itself ------------------------------------------------------------------------------ */

/* x (B,F,S,S,3) -> (B,F,s,s,2z) */
static ft_t encode(ft_graph *g, const ft_vae_preset *p, ft_t x)
{
    int64_t B = ft_dim(x, 0), F = ft_dim(x, 1);
    x = ft_image_vae_encode(g, ft_image_vae_find(p->name),
                            ft_reshape(g, x, 4, (int64_t[]){B * F, ft_dim(x, 2), ft_dim(x, 3), 3}));
    return ft_reshape(g, x, 5, (int64_t[]){B, F, ft_dim(x, 1), ft_dim(x, 2), ft_dim(x, 3)});
}

static ft_t decode(ft_graph *g, const ft_vae_preset *p, ft_t z)
{
    int64_t B = ft_dim(z, 0), F = ft_dim(z, 1);
    z = ft_reshape(g, z, 4, (int64_t[]){B * F, ft_dim(z, 2), ft_dim(z, 3), ft_dim(z, 4)});
    z = ft_image_vae_decode(g, ft_image_vae_find(p->name), z);
    return ft_reshape(g, z, 5, (int64_t[]){B, F, ft_dim(z, 1), ft_dim(z, 2), 3});
}

static ft_t last_weight(ft_graph *g, const ft_vae_preset *p)
{
    return ft_param(g, "decoder.conv_out.weight", 4, (int64_t[]){3, ft_image_vae_find(p->name)->channels[0], 3, 3}, FT_ZERO);
}

const ft_vae_family ft_vae_frames = {encode, decode, last_weight};
