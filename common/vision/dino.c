#include "common/vision/dino.h"

#include <string.h>

#include "common/graph/layers.h"

const float ft_imagenet_mean[3] = {0.485f, 0.456f, 0.406f}, ft_imagenet_std[3] = {0.229f, 0.224f, 0.225f};

/* one row, one line */
/* clang-format off */
static const ft_dino_preset presets[] = {
    /* name            width heads depth patch grid registers scale offset */
    {"dino-vits16",     384, 6, 12, 16, 14, 0, false, 0.1},
    {"dino-vits8",      384, 6, 12, 8,  28, 0, false, 0.1},
    {"dino-vitb16",     768, 12, 12, 16, 14, 0, false, 0.1},
    {"dino-vitb8",      768, 12, 12, 8,  28, 0, false, 0.1},
    {"dinov2-s14",      384, 6, 12, 14, 37, 0, true, 0},
    {"dinov2-b14",      768, 12, 12, 14, 37, 0, true, 0},
    {"dinov2-l14",     1024, 16, 24, 14, 37, 0, true, 0},
    {"dinov2-s14-reg",  384, 6, 12, 14, 37, 4, true, 0},
    {"dinov2-b14-reg",  768, 12, 12, 14, 37, 4, true, 0},
    {"dinov2-l14-reg", 1024, 16, 24, 14, 37, 4, true, 0},
};
/* clang-format on */

const ft_dino_preset *ft_dino_at(int i) { return i < (int)(sizeof presets / sizeof *presets) ? &presets[i] : NULL; }

const ft_dino_preset *ft_dino_find(const char *name)
{
    for (int i = 0; ft_dino_at(i); i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    return NULL;
}

static const ft_init narrow = {FT_INIT_NORMAL, 0.02, NULL};

/* A linear layer that starts as DINO's do: N(0, 0.02), bias 0. */
static ft_t linear(ft_graph *g, const char *name, ft_t x, int64_t out, ft_act act)
{
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){out, ft_dim(x, -1)}, narrow);
    return ft_linear_act(g, x, w, ft_param(g, ft_name(g, "%s.bias", name), 1, &out, FT_ZERO), act);
}

/* The table of positions, cubically resized to h x w. */
static ft_t positions(ft_graph *g, const ft_dino_preset *p, int64_t h, int64_t w)
{
    int64_t n = p->grid, d = p->width, to[2] = {h, w};
    ft_t table = ft_param(g, "pos_embed", 3, (int64_t[]){1, n * n + 1, d}, narrow); /* CLS, then the places */
    if (h == n && w == n) return table;
    ft_t patch = ft_reshape(g, ft_slice(g, table, 1, 1, n * n), 4, (int64_t[]){1, n, n, d});
    for (int i = 0; i < 2; i++) /* the models with registers were made with antialiasing */
        patch = p->registers ? ft_resize(g, patch, 1 + i, to[i], FT_CUBIC_SMOOTH, 0)
                             : ft_resize(g, patch, 1 + i, to[i], FT_CUBIC, ((double)to[i] + p->offset) / (double)n);
    return ft_concat(g, 1, 2, (ft_t[]){ft_slice(g, table, 1, 0, 1), ft_reshape(g, patch, 3, (int64_t[]){1, h * w, d})});
}

/* x (B,H,W,3) -> tokens with their places (B,extra+h*w,d) */
static ft_t embed(ft_graph *g, const ft_dino_preset *p, ft_t x)
{
    int64_t b = ft_dim(x, 0), d = p->width, h = ft_dim(x, 1) / p->patch, w = ft_dim(x, 2) / p->patch;
    x = ft_reshape(g, ft_cast(g, x, ft_compute(g)), 5, (int64_t[]){b, 1, ft_dim(x, 1), ft_dim(x, 2), 3});
    x = ft_layer_conv(g, "patch_embed.proj", x, d, (int64_t[]){0, p->patch, p->patch},
                      (ft_conv_opt){.stride = {1, p->patch, p->patch}}, true); /* (B,1,h,w,d) */
    ft_t cls = ft_param(g, "cls_token", 3, (int64_t[]){1, 1, d}, narrow);
    cls = ft_cast(g, ft_broadcast(g, cls, 3, (int64_t[]){b, 1, d}, 1), ft_compute(g));
    x = ft_concat(g, 1, 2, (ft_t[]){cls, ft_reshape(g, x, 3, (int64_t[]){b, h * w, d})}); /* (B,1+hw,d) */
    x = ft_add(g, x, ft_cast(g, positions(g, p, h, w), ft_compute(g)));
    if (p->scale) ft_buffer(g, "mask_token", 2, (int64_t[]){1, d}, FT_ZERO); /* of DINOv2's own training: nothing reads it */
    if (!p->registers) return x;
    ft_t r = ft_param(g, "register_tokens", 3, (int64_t[]){1, p->registers, d}, narrow);
    r = ft_cast(g, ft_broadcast(g, r, 3, (int64_t[]){b, p->registers, d}, 1), ft_compute(g));
    return ft_concat(g, 1, 3, (ft_t[]){ft_slice(g, x, 1, 0, 1), r, ft_slice(g, x, 1, 1, h * w)});
}

/* x + y, y times gamma where the preset has LayerScale */
static ft_t branch(ft_graph *g, const ft_dino_preset *p, const char *name, ft_t x, ft_t y)
{
    if (!p->scale) return ft_add(g, x, y);
    ft_t gamma = ft_param(g, ft_name(g, "%s.gamma", name), 1, (int64_t[]){p->width}, FT_ONE);
    gamma = ft_reshape(g, gamma, 2, (int64_t[]){1, p->width});
    return ft_gate_residual(g, x, y, ft_broadcast(g, gamma, 2, (int64_t[]){ft_dim(x, 0), p->width}, 1));
}

int64_t ft_dino_extra(const ft_dino_preset *p) { return 1 + p->registers; }

void ft_dino(ft_graph *g, const ft_dino_preset *p, ft_t x, int n, const int *block, ft_t *y)
{
    int64_t d = p->width;
    x = embed(g, p, x); /* (B,T,d) */
    for (int i = 0, k = 0; i < p->depth && k < n; i++) {
        const char *name = ft_name(g, "blocks.%d", i);
        const char *qkv = ft_name(g, "%s.attn.qkv", name), *proj = ft_name(g, "%s.attn.proj", name);
        ft_t u = ft_layer_layernorm(g, ft_name(g, "%s.norm1", name), x, 1e-6f);
        u = ft_layer_adapted(g, qkv, u, linear(g, qkv, u, 3 * d, FT_ACT_NONE));
        u = ft_sdpa(g, u, NULL, NULL, (ft_sdpa_opt){.heads = p->heads}); /* (B,T,d) */
        x = branch(g, p, ft_name(g, "%s.ls1", name), x, ft_layer_adapted(g, proj, u, linear(g, proj, u, d, FT_ACT_NONE)));
        u = linear(g, ft_name(g, "%s.mlp.fc1", name), ft_layer_layernorm(g, ft_name(g, "%s.norm2", name), x, 1e-6f), 4 * d,
                   FT_ACT_GELU);
        x = branch(g, p, ft_name(g, "%s.ls2", name), x, linear(g, ft_name(g, "%s.mlp.fc2", name), u, d, FT_ACT_NONE));
        for (ft_t out = NULL; k < n && block[k] == i; k++) {
            if (!out) out = ft_cast(g, ft_layer_layernorm(g, "norm", x, 1e-6f), FT_F32);
            y[k] = out;
        }
    }
}
