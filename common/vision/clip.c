/* The image towers of OpenAI's CLIP (Radford et al. 2021), in whose embeddings the consistency of frames is published: a ViT with
 * a LayerNorm before its blocks, QuickGELU, and the class token projected. The text tower is not part of it. */
#include "common/graph/layers.h"
#include "common/vision/judge.h"

typedef struct {
    ft_judge_preset base;
    int64_t width, heads, depth, patch, out;
} clip_preset;
#define COLOURS                                                                                                                  \
    {0.48145466f, 0.4578275f, 0.40821073f}, { 0.26862954f, 0.26130258f, 0.27577711f }
static const clip_preset presets[] = {{{"clip-b32", 224, 0, 0, FT_CUBIC_SMOOTH, COLOURS}, 768, 12, 12, 32, 512},
                                      {{"clip-l14", 224, 0, 0, FT_CUBIC_SMOOTH, COLOURS}, 1024, 16, 24, 14, 768},
                                      {{"clip-tiny", 32, 0, 0, FT_CUBIC_SMOOTH, COLOURS}, 48, 3, 3, 8, 24}};

static const ft_init narrow = {FT_INIT_NORMAL, 0.02, NULL};

/* a linear layer; in_proj's tensors are joined to its name by '_' */
static ft_t linear(ft_graph *g, const char *name, const char *join, ft_t x, int64_t out)
{
    ft_t w = ft_param(g, ft_name(g, "%s%sweight", name, join), 2, (int64_t[]){out, ft_dim(x, -1)}, narrow);
    return ft_linear(g, x, w, ft_param(g, ft_name(g, "%s%sbias", name, join), 1, &out, FT_ZERO));
}

static ft_t quick_gelu(ft_graph *g, ft_t x) /* x sigmoid(1.702 x) */
{
    return ft_affine(g, ft_unary(g, FT_SILU, ft_affine(g, x, 1.702f, 0)), 1 / 1.702f, 0);
}

static ft_t network(ft_graph *g, const void *preset, ft_t x)
{
    const clip_preset *p = preset;
    int64_t B = ft_dim(x, 0), side = p->base.size / p->patch, d = p->width, places = side * side;
    if (ft_dim(x, 1) != p->base.size || ft_dim(x, 2) != p->base.size)
        return ft_graph_fail(g, "%s: pictures of %lld pixels, %d needed", p->base.name, (long long)ft_dim(x, 1), p->base.size);
    x = ft_reshape(g, ft_cast(g, x, ft_compute(g)), 5, (int64_t[]){B, 1, p->base.size, p->base.size, 3});
    x = ft_layer_conv(g, "visual.conv1", x, d, (int64_t[]){0, p->patch, p->patch},
                      (ft_conv_opt){.stride = {1, p->patch, p->patch}}, false); /* (B,1,side,side,d) */
    ft_t token = ft_reshape(g, ft_param(g, "visual.class_embedding", 1, &d, narrow), 3, (int64_t[]){1, 1, d}),
         place = ft_param(g, "visual.positional_embedding", 2, (int64_t[]){places + 1, d}, narrow);
    token = ft_cast(g, ft_broadcast(g, token, 3, (int64_t[]){B, 1, d}, 1), ft_compute(g));
    x = ft_concat(g, 1, 2, (ft_t[]){token, ft_reshape(g, x, 3, (int64_t[]){B, places, d})}); /* (B,1+places,d) */
    x = ft_add(g, x, ft_cast(g, ft_reshape(g, place, 3, (int64_t[]){1, places + 1, d}), ft_compute(g)));
    x = ft_layer_layernorm(g, "visual.ln_pre", x, 1e-5f);
    for (int64_t i = 0; i < p->depth; i++) {
        const char *name = ft_name(g, "visual.transformer.resblocks.%d", (int)i);
        ft_t u = ft_layer_layernorm(g, ft_name(g, "%s.ln_1", name), x, 1e-5f);
        u = linear(g, ft_name(g, "%s.attn.in_proj", name), "_", u, 3 * d);
        u = ft_sdpa(g, u, NULL, NULL, (ft_sdpa_opt){.heads = p->heads}); /* (B,1+places,d) */
        x = ft_add(g, x, linear(g, ft_name(g, "%s.attn.out_proj", name), ".", u, d));
        u = ft_layer_layernorm(g, ft_name(g, "%s.ln_2", name), x, 1e-5f);
        u = quick_gelu(g, linear(g, ft_name(g, "%s.mlp.c_fc", name), ".", u, 4 * d));
        x = ft_add(g, x, linear(g, ft_name(g, "%s.mlp.c_proj", name), ".", u, d));
    }
    x = ft_reshape(g, ft_slice(g, x, 1, 0, 1), 2, (int64_t[]){B, d});
    x = ft_cast(g, ft_layer_layernorm(g, "visual.ln_post", x, 1e-5f), FT_F32);
    return ft_matmul(g, x, ft_param(g, "visual.proj", 2, (int64_t[]){d, p->out}, narrow), false, false); /* (B,out) */
}

extern const ft_judge ft_judge_clip;
const ft_judge ft_judge_clip = {FT_PRESETS(presets), FT_WORK_PRODUCTS, network};
