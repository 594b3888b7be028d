/* TimeSformer with divided space-time attention (Bertasius et al., ICML 2021), as Endo-FM and Endora's downstream script have it.
 * Tensor names of their checkpoints; those of an image ViT fit too, once temporal_attn, temporal_norm1
 * and temporal_fc are added. temporal_fc begins at zero, so at first every frame is looked at alone. */
#include "classify/classifier.h"

#include <string.h>

#include "common/graph/layers.h"

typedef struct {
    const char *name;
    int width, depth, heads, patch;
    int frames, size; /* that its tables of positions are for; other clips read the nearest entry */
    double drop_path; /* of the last block, from 0 in the first */
} timesformer_preset;

/* one row, one line */
/* clang-format off */
static const timesformer_preset presets[] = {
    /* name                width depth heads patch frames size drop_path */
    {"timesformer-b16",     768, 12, 12, 16, 8,  224, 0.1},
    {"timesformer-s16-128", 384, 12, 6,  16, 16, 128, 0.1},
    {"timesformer-ti16",    192, 12, 3,  16, 8,  224, 0.1},
    {"timesformer-small",   128, 6,  4,  16, 8,  64,  0.1}, /* for studies at 64 pixels */
    {"timesformer-tiny",    96,  4,  3,  8,  16, 64,  0.0},
};
/* clang-format on */

/* timm's truncated normal of 0.02; its tails beyond two absolute units never occur */
static const ft_init small = {FT_INIT_NORMAL, 0.02, NULL};

static ft_t linear(ft_graph *g, const char *name, ft_t x, int64_t out, ft_init init)
{
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){out, ft_dim(x, -1)}, init);
    return ft_linear(g, x, w, ft_param(g, ft_name(g, "%s.bias", name), 1, &out, FT_ZERO));
}

/* x (S,T,d): multi-head attention within each of S sequences */
static ft_t attention(ft_graph *g, const char *name, ft_t x, int64_t heads, float drop)
{
    int64_t d = ft_dim(x, 2);
    const char *qkv = ft_name(g, "%s.qkv", name), *proj = ft_name(g, "%s.proj", name);
    ft_t y = ft_sdpa(g, ft_layer_adapted(g, qkv, x, linear(g, qkv, x, 3 * d, small)), NULL, NULL, (ft_sdpa_opt){.heads = heads});
    return ft_drop_path(g, ft_layer_adapted(g, proj, y, linear(g, proj, y, d, small)), drop);
}

/* cls (B,1,d) and patches x (B,N,T,d), both changed */
static void block(ft_graph *g, const timesformer_preset *p, int i, ft_t *cls, ft_t *patches)
{
    ft_t x = *patches, h, r;
    int64_t B = ft_dim(x, 0), N = ft_dim(x, 1), T = ft_dim(x, 2), d = ft_dim(x, 3), dim[4] = {B, N, T, d};
    const char *name = ft_name(g, "blocks.%d", i);
    float drop = p->depth > 1 ? (float)(p->drop_path * i / (p->depth - 1)) : 0;
    /* time: the frames of each patch, without the class token */
    h = ft_layer_layernorm(g, ft_name(g, "%s.temporal_norm1", name), x, 1e-6f);
    h = attention(g, ft_name(g, "%s.temporal_attn", name), ft_reshape(g, h, 3, (int64_t[]){B * N, T, d}), p->heads, drop);
    x = ft_add(g, x, ft_reshape(g, linear(g, ft_name(g, "%s.temporal_fc", name), h, d, FT_ZERO), 4, dim));
    /* space: the patches of each frame and a copy of the class token, which gets the mean over frames */
    h = ft_broadcast(g, ft_reshape(g, *cls, 4, (int64_t[]){B, 1, 1, d}), 4, (int64_t[]){B, T, 1, d}, 1);
    h = ft_concat(g, 2, 2, (ft_t[]){h, ft_permute(g, x, (int[]){0, 2, 1, 3})}); /* (B,T,1+N,d) */
    h = ft_layer_layernorm(g, ft_name(g, "%s.norm1", name), h, 1e-6f);
    h = attention(g, ft_name(g, "%s.attn", name), ft_reshape(g, h, 3, (int64_t[]){B * T, 1 + N, d}), p->heads, drop);
    h = ft_reshape(g, h, 4, (int64_t[]){B, T, 1 + N, d});
    r = ft_reduce(g, ft_slice(g, h, 2, 0, 1), 2, true); /* (B,1,1,d) */
    *cls = ft_add(g, *cls, ft_reshape(g, r, 3, (int64_t[]){B, 1, d}));
    x = ft_add(g, x, ft_permute(g, ft_slice(g, h, 2, 1, N), (int[]){0, 2, 1, 3}));
    /* MLP of every token */
    r = ft_concat(g, 1, 2, (ft_t[]){*cls, ft_reshape(g, x, 3, (int64_t[]){B, N * T, d})}); /* (B,1+NT,d) */
    h = ft_layer_layernorm(g, ft_name(g, "%s.norm2", name), r, 1e-6f);
    h = ft_unary(g, FT_GELU, linear(g, ft_name(g, "%s.mlp.fc1", name), h, 4 * d, small));
    r = ft_residual(g, r, linear(g, ft_name(g, "%s.mlp.fc2", name), h, d, small), drop);
    *cls = ft_slice(g, r, 1, 0, 1);
    *patches = ft_reshape(g, ft_slice(g, r, 1, 1, N * T), 4, dim);
}

static ft_t network(ft_graph *g, const void *preset, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features)
{
    const timesformer_preset *p = preset;
    (void)labelled; /* no BatchNorm */
    int64_t B = ft_dim(x, 0), frames = ft_dim(x, 1), patch = p->patch, d = p->width, grid = ft_dim(x, 2) / patch,
            patches = grid * grid;
    if (ft_dim(x, 2) % patch)
        return ft_graph_fail(g, "%s: clips of %lld pixels, a multiple of %lld needed", p->name, (long long)ft_dim(x, 2),
                             (long long)patch);
    ft_t t = ft_layer_conv(g, "patch_embed.proj", ft_cast(g, x, ft_compute(g)), d, (int64_t[]){0, patch, patch},
                           (ft_conv_opt){.stride = {1, patch, patch}}, true); /* (B,T,grid,grid,d) */
    int64_t side = p->size / patch;
    ft_t place = ft_param(g, "pos_embed", 3, (int64_t[]){1, side * side + 1, d}, small);
    ft_t cls = ft_param(g, "cls_token", 3, (int64_t[]){1, 1, d}, small);
    ft_t when = ft_param(g, "time_embed", 3, (int64_t[]){1, p->frames, d}, FT_ZERO);
    cls = ft_cast(g, ft_add(g, cls, ft_slice(g, place, 1, 0, 1)), ft_compute(g));
    cls = ft_broadcast(g, cls, 3, (int64_t[]){B, 1, d}, 1);
    place = ft_reshape(g, ft_slice(g, place, 1, 1, side * side), 4, (int64_t[]){1, side, side, d});
    for (int axis = 1; axis < 3 && grid != side; axis++) place = ft_resize(g, place, axis, grid, FT_NEAREST, 0);
    if (frames != p->frames) when = ft_resize(g, when, 1, frames, FT_NEAREST, 0);
    place = ft_cast(g, ft_reshape(g, place, 4, (int64_t[]){1, 1, patches, d}), ft_compute(g));
    when = ft_cast(g, ft_reshape(g, when, 4, (int64_t[]){1, frames, 1, d}), ft_compute(g));
    t = ft_add(g, ft_add(g, ft_reshape(g, t, 4, (int64_t[]){B, frames, patches, d}), place), when);
    t = ft_permute(g, t, (int[]){0, 2, 1, 3}); /* (B,N,T,d) */
    for (int i = 0; i < p->depth; i++) block(g, p, i, &cls, &t);
    cls = ft_reshape(g, ft_layer_layernorm(g, "norm", cls, 1e-6f), 2, (int64_t[]){B, d});
    if (features) *features = ft_cast(g, cls, FT_F32);
    cls = ft_dropout(g, cls, (float)dropout);
    ft_t w = ft_param(g, "head.weight", 2, (int64_t[]){classes, d}, (ft_init){FT_INIT_NORMAL, 0.01, NULL});
    return ft_cast(g, ft_linear(g, cls, w, ft_param(g, "head.bias", 1, &classes, FT_ZERO)), FT_F32);
}

extern const ft_classifier ft_classifier_timesformer;
const ft_classifier ft_classifier_timesformer = {.family = "timesformer",
                                                 .presets = presets,
                                                 .n = sizeof presets / sizeof *presets,
                                                 .row = sizeof *presets,
                                                 .head = "head.bias",
                                                 .adapts = true,
                                                 .work = FT_WORK_PRODUCTS,
                                                 .network = network};
