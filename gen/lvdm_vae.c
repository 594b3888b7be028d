/* LVDM's video autoencoder (He et al. 2022): 4x in time, 8x in space; every convolution sees copies of the
 * border around the clip. Presets in vae.c: channels[0] is the width behind the first convolution. */
#include "common/graph/layers.h"
#include "gen/vae.h"

/* x with its first and last slice repeated along an axis */
static ft_t repeat_ends(ft_graph *g, ft_t x, int axis, int32_t before, int32_t after)
{
    enum { MOST = 2048 };
    int32_t begin[MOST + 1], index[MOST], n = (int32_t)ft_dim(x, axis), rows = n + before + after;
    if (before + after == 0) return x;
    if (rows > MOST) return ft_graph_fail(g, "lvdm-vae: %d pixels or frames, at most %d", n, MOST);
    for (int32_t i = 0; i <= rows; i++) begin[i] = i;
    for (int32_t i = 0; i < rows; i++) index[i] = i < before ? 0 : i - before < n ? i - before : n - 1;
    return ft_resample(g, x, axis, &(ft_sparse){rows, begin, index, NULL});
}

/* before a kernel of k with this stride: k - stride slices in all, the larger half in front */
static ft_t padded(ft_graph *g, ft_t x, int64_t k, const int64_t *stride)
{
    for (int i = 0; i < 3; i++) {
        int32_t p = (int32_t)(k - stride[i]);
        x = repeat_ends(g, x, 1 + i, p / 2 + p % 2, p / 2);
    }
    return x;
}

/* NAME.conv.weight (out,c,k,k,k): x (B,T,H,W,C) -> (B,T/s,H/s,W/s,out) */
static ft_t conv(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t k, const int64_t *stride)
{
    ft_conv_opt o = {.stride = {stride[0], stride[1], stride[2]}};
    return ft_layer_conv(g, ft_name(g, "%s.conv", name), padded(g, x, k, stride), out, (int64_t[]){k, k, k}, o, true);
}

/* NAME.convt.weight (c,out,4,4,4): x (B,T,H,W,C) -> (B,T s,H s,W s,out) */
static ft_t up(ft_graph *g, const char *name, ft_t x, int64_t out, const int64_t *stride)
{
    int64_t c = ft_dim(x, 4);
    ft_init init = ft_init_uniform_fan(64 * out); /* PyTorch takes the second dim for the fan */
    ft_t w = ft_param(g, ft_name(g, "%s.convt.weight", name), 5, (int64_t[]){c, out, 4, 4, 4}, init);
    ft_conv_opt o = {.stride = {stride[0], stride[1], stride[2]}, .pad_front = {3, 3, 3}, .pad_back = {3, 3, 3}};
    return ft_conv_transpose(g, padded(g, x, 4, stride), w, ft_param(g, ft_name(g, "%s.convt.bias", name), 1, &out, init), o);
}

static const int64_t same[3] = {1, 1, 1};

static ft_t resnet(ft_graph *g, const ft_vae_preset *p, const char *name, ft_t x)
{
    int64_t c = ft_dim(x, 4);
    ft_t h = ft_layer_groupnorm(g, ft_name(g, "%s.norm1", name), x, p->groups, 1e-6f, FT_ACT_SILU);
    h = conv(g, ft_name(g, "%s.conv1", name), h, c, 3, same);
    h = ft_layer_groupnorm(g, ft_name(g, "%s.norm2", name), h, p->groups, 1e-6f, FT_ACT_SILU);
    return ft_add(g, x, conv(g, ft_name(g, "%s.conv2", name), h, c, 3, same));
}

static ft_t encode(ft_graph *g, const ft_vae_preset *p, ft_t x)
{
    if (ft_dim(x, 1) % ft_vae_time_factor(p))
        return ft_graph_fail(g, "%s: %lld frames, a multiple of %d needed", p->name, (long long)ft_dim(x, 1),
                             ft_vae_time_factor(p));
    ft_t h = conv(g, "encoder.conv_first", ft_cast(g, x, ft_compute(g)), p->channels[0], 3, same);
    for (int i = 0; i + 1 < p->levels; i++) {
        int64_t stride[3] = {p->down_t[i], p->down_s[i], p->down_s[i]};
        h = conv(g, ft_name(g, "encoder.conv_blocks.%d.down", i), h, p->channels[i + 1], 4, stride);
        h = resnet(g, p, ft_name(g, "encoder.conv_blocks.%d.res", i), h);
    }
    h = ft_layer_groupnorm(g, "encoder.final_block.0", h, p->groups, 1e-6f, FT_ACT_SILU);
    h = conv(g, "encoder.final_block.2", h, 2 * p->latent, 3, same);
    return ft_cast(g, conv(g, "quant_conv", h, 2 * p->latent, 1, same), FT_F32); /* (B,t,s,s,2z) */
}

static ft_t decode(ft_graph *g, const ft_vae_preset *p, ft_t z)
{
    ft_t h = conv(g, "post_quant_conv", ft_cast(g, z, ft_compute(g)), p->latent, 1, same);
    for (int i = 0; i + 1 < p->levels; i++) { /* in the encoder's order of strides, as published */
        int64_t stride[3] = {p->down_t[i], p->down_s[i], p->down_s[i]};
        h = up(g, ft_name(g, "decoder.conv_blocks.%d.up", i), h, p->channels[p->levels - 1 - i], stride);
        h = resnet(g, p, ft_name(g, "decoder.conv_blocks.%d.res1", i), h);
        h = resnet(g, p, ft_name(g, "decoder.conv_blocks.%d.res2", i), h);
    }
    return conv(g, "decoder.conv_out", h, 3, 3, same);
}

static ft_t last_weight(ft_graph *g, const ft_vae_preset *p)
{
    return ft_param(g, "decoder.conv_out.conv.weight", 5, (int64_t[]){3, p->channels[1], 3, 3, 3}, FT_ZERO);
}

const ft_vae_family ft_vae_lvdm = {encode, decode, last_weight};
