#include "gen/vae.h"

#include <stdio.h>
#include <string.h>

/* one row, one line */
/* clang-format off */
static const ft_vae_preset presets[] = {
    /* name       z  patch levels layers groups channels       kernel_t   down_t     down_s */
    {"vae-tiny",  16, 4, 3, 1, 8, {48, 96, 96},  {1, 3, 3}, {2, 2, 1}, {2, 1, 1}},
    {"vae-small", 16, 4, 3, 2, 16, {96, 192, 192}, {1, 3, 3}, {2, 2, 1}, {2, 1, 1}},
};
/* clang-format on */

const ft_vae_preset *ft_vae_at(int i) { return i < (int)(sizeof presets / sizeof *presets) ? &presets[i] : NULL; }

const ft_vae_preset *ft_vae_find(const char *name)
{
    for (int i = 0; ft_vae_at(i); i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    return NULL;
}

int ft_vae_time_factor(const ft_vae_preset *p)
{
    int f = 1;
    for (int i = 0; i + 1 < p->levels; i++) f *= p->down_t[i];
    return f;
}

int ft_vae_space_factor(const ft_vae_preset *p)
{
    int f = p->patch;
    for (int i = 0; i + 1 < p->levels; i++) f *= p->down_s[i];
    return f;
}

/* Causal convolution: the first frame stands for the past. x (B,T,H,W,C) -> (B,T,H,W,out) */
static ft_t causal_conv(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t kt, int64_t ks)
{
    char key[160];
    int64_t in = ft_dim(x, -1), fan = in * kt * ks * ks;
    snprintf(key, sizeof key, "%s.conv.weight", name);
    ft_t w = ft_param(g, key, 5, (int64_t[]){out, in, kt, ks, ks}, ft_init_uniform_fan(fan));
    snprintf(key, sizeof key, "%s.conv.bias", name);
    ft_t b = ft_param(g, key, 1, &out, ft_init_uniform_fan(fan));
    return ft_conv(g, ft_pad_front(g, x, 1, kt - 1, true), w, b,
                   (ft_conv_opt){.pad_front = {0, ks / 2, ks / 2}, .pad_back = {0, ks / 2, ks / 2}});
}

/* One 3x3 convolution per frame, stride s. (B,T,H,W,C) -> (B,T,H/s,W/s,C) */
static ft_t frame_conv(ft_graph *g, const char *name, ft_t x, int64_t stride)
{
    char key[160];
    int64_t c = ft_dim(x, -1);
    snprintf(key, sizeof key, "%s.conv.weight", name);
    ft_t w = ft_param(g, key, 4, (int64_t[]){c, c, 3, 3}, ft_init_uniform_fan(9 * c));
    w = ft_reshape(g, w, 5, (int64_t[]){c, c, 1, 3, 3});
    snprintf(key, sizeof key, "%s.conv.bias", name);
    ft_t b = ft_param(g, key, 1, &c, ft_init_uniform_fan(9 * c));
    /* stride 2: one zero at right and bottom, as the reference pads */
    int64_t front = stride == 2 ? 0 : 1;
    return ft_conv(g, x, w, b,
                   (ft_conv_opt){.stride = {1, stride, stride}, .pad_front = {0, front, front}, .pad_back = {0, 1, 1}});
}

static ft_t norm_silu(ft_graph *g, const ft_vae_preset *p, const char *name, ft_t x)
{
    char key[160];
    int64_t c = ft_dim(x, -1);
    snprintf(key, sizeof key, "%s.weight", name);
    ft_t gamma = ft_param(g, key, 1, &c, FT_ONE);
    snprintf(key, sizeof key, "%s.bias", name);
    return ft_groupnorm(g, x, gamma, ft_param(g, key, 1, &c, FT_ZERO), p->groups, 1e-6f, FT_ACT_SILU);
}

/* h = conv2(SiLU(norm2(conv1(SiLU(norm1(x)))))); x + h, with a 1x1x1 shortcut where the width changes */
static ft_t resnet(ft_graph *g, const ft_vae_preset *p, const char *name, ft_t x, int64_t out, int64_t kt)
{
    char key[160];
#define KEY(suffix) (snprintf(key, sizeof key, "%s." suffix, name), key)
    ft_t h = norm_silu(g, p, KEY("norm1"), x);
    h = causal_conv(g, KEY("conv1"), h, out, kt, 3);
    h = norm_silu(g, p, KEY("norm2"), h);
    h = causal_conv(g, KEY("conv2"), h, out, kt, 3);
    int64_t in = ft_dim(x, -1);
    if (in != out) {
        ft_t w = ft_param(g, KEY("conv_shortcut.weight"), 5, (int64_t[]){out, in, 1, 1, 1}, ft_init_uniform_fan(in));
        x = ft_linear(g, x, w, ft_param(g, KEY("conv_shortcut.bias"), 1, &out, ft_init_uniform_fan(in)));
    }
    return ft_add(g, x, h);
#undef KEY
}

/* (B,T,H,W,C) -> (B,T,H/p,W/p,p*p*C), pixel order (row, column, channel) */
static ft_t fold(ft_graph *g, ft_t x, int64_t p)
{
    int64_t b = ft_dim(x, 0), t = ft_dim(x, 1), h = ft_dim(x, 2), w = ft_dim(x, 3), c = ft_dim(x, 4);
    x = ft_reshape(g, x, 6, (int64_t[]){b * t, h / p, p, w / p, p, c});
    x = ft_permute(g, x, (int[]){0, 1, 3, 2, 4, 5});
    return ft_reshape(g, x, 5, (int64_t[]){b, t, h / p, w / p, p * p * c});
}

static ft_t unfold(ft_graph *g, ft_t x, int64_t p)
{
    int64_t b = ft_dim(x, 0), t = ft_dim(x, 1), h = ft_dim(x, 2), w = ft_dim(x, 3), c = ft_dim(x, 4) / (p * p);
    x = ft_reshape(g, x, 6, (int64_t[]){b * t, h, w, p, p, c});
    x = ft_permute(g, x, (int[]){0, 1, 3, 2, 4, 5});
    return ft_reshape(g, x, 5, (int64_t[]){b, t, h * p, w * p, c});
}

/* mean of frame pairs: (B,T,H,W,C) -> (B,T/2,H,W,C) */
static ft_t halve_time(ft_graph *g, ft_t x)
{
    int64_t b = ft_dim(x, 0), t = ft_dim(x, 1), hwc = ft_count(x) / (b * t), dim[5];
    for (int i = 0; i < 5; i++) dim[i] = ft_dim(x, i);
    dim[1] = t / 2;
    x = ft_reduce(g, ft_reshape(g, x, 4, (int64_t[]){b, t / 2, 2, hwc}), 1u << 2, true);
    return ft_reshape(g, x, 5, dim);
}

ft_t ft_vae_encode(ft_graph *g, const ft_vae_preset *p, ft_t x)
{
    char key[160];
    ft_t h = fold(g, ft_cast(g, x, ft_compute(g)), p->patch);
    h = causal_conv(g, "encoder.conv_in", h, p->channels[0], p->kernel_t[0], 3);
    for (int i = 0; i < p->levels; i++) {
        for (int j = 0; j < p->layers; j++) {
            snprintf(key, sizeof key, "encoder.down_blocks.%d.resnets.%d", i, j);
            h = resnet(g, p, key, h, p->channels[i], p->kernel_t[i]);
        }
        if (i + 1 == p->levels) break;
        if (p->down_t[i] == 2) h = halve_time(g, h);
        snprintf(key, sizeof key, "encoder.down_blocks.%d.downsamplers.0", i);
        h = frame_conv(g, key, h, p->down_s[i]);
    }
    h = resnet(g, p, "encoder.mid_block.resnets.0", h, p->channels[p->levels - 1], 3);
    h = norm_silu(g, p, "encoder.norm_out", h);
    h = ft_cast(g, causal_conv(g, "encoder.conv_out", h, 2 * p->latent, 3, 3), FT_F32);
    ft_t mean = ft_slice(g, h, 4, 0, p->latent), logvar = ft_clamp(g, ft_slice(g, h, 4, p->latent, p->latent), -30, 20);
    return ft_concat(g, 4, 2, (ft_t[]){mean, logvar});
}

ft_t ft_vae_decode(ft_graph *g, const ft_vae_preset *p, ft_t z)
{
    char key[160];
    int top = p->levels - 1;
    ft_t h = causal_conv(g, "decoder.conv_in", ft_cast(g, z, ft_compute(g)), p->channels[top], 3, 3);
    h = resnet(g, p, "decoder.mid_block.resnets.0", h, p->channels[top], 3);
    for (int i = 0; i < p->levels; i++) { /* up_blocks.0 is the coarsest */
        int level = top - i;
        for (int j = 0; j < p->layers; j++) {
            snprintf(key, sizeof key, "decoder.up_blocks.%d.resnets.%d", i, j);
            h = resnet(g, p, key, h, p->channels[level], p->kernel_t[level]);
        }
        if (level == 0) break;
        h = ft_upsample(g, h, (int64_t[]){p->down_t[level - 1], p->down_s[level - 1], p->down_s[level - 1]});
        snprintf(key, sizeof key, "decoder.up_blocks.%d.upsamplers.0", i);
        h = frame_conv(g, key, h, 1);
    }
    h = norm_silu(g, p, "decoder.norm_out", h);
    h = causal_conv(g, "decoder.conv_out", h, 3 * p->patch * p->patch, p->kernel_t[0], 3);
    return unfold(g, h, p->patch);
}

ft_vae_loss_terms ft_vae_loss(ft_graph *g, const ft_vae_preset *p, ft_t x, double kl, double ffl)
{
    ft_vae_loss_terms t;
    ft_t m = ft_vae_encode(g, p, x); /* (B,f,s,s,2z) f32 */
    ft_t mean = ft_slice(g, m, 4, 0, p->latent), logvar = ft_slice(g, m, 4, p->latent, p->latent);
    int64_t dim[5];
    for (int i = 0; i < 5; i++) dim[i] = ft_dim(mean, i);
    ft_t noise = ft_randn(g, FT_F32, 5, dim);
    ft_t z = ft_add(g, mean, ft_mul(g, ft_unary(g, FT_EXP, ft_affine(g, logvar, 0.5f, 0)), noise));
    t.output = ft_vae_decode(g, p, z);
    ft_t target = ft_cast(g, x, ft_compute(g));
    t.l1 = ft_loss_mean(g, t.output, target, FT_L1);
    t.ffl = ft_focal_frequency(g, t.output, target, 1.0f);
    t.kl = ft_gauss_kl(g, m);
    t.total = ft_add(g, ft_add(g, t.l1, ft_affine(g, t.kl, (float)kl, 0)), ft_affine(g, t.ffl, (float)ffl, 0));
    ft_keep(t.l1);
    ft_keep(t.kl);
    ft_keep(t.ffl);
    ft_keep(t.total);
    return t;
}
