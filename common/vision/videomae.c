/* VideoMAE v2 (Wang et al. 2023), a ViT over space and time, fine-tuned on Something-Something v2: CD-FVD (Ge et al. 2024) is
 * published in the giant's features: the mean of its tokens behind fc_norm, before the head. Keys have no bias. */
#include <math.h>

#include "common/base/memory.h"
#include "common/graph/layers.h"
#include "common/vision/judge.h"

typedef struct {
    ft_judge_preset base; /* colours stay in [0,1], as CD-FVD has it */
    int64_t width, heads, depth, hidden, patch, tube, classes;
} videomae_preset;
#define AS_THEY_ARE                                                                                                              \
    {0, 0, 0}, { 1, 1, 1 }
static const videomae_preset presets[] = {{{"videomae-g", 224, 16, 2, FT_LINEAR, AS_THEY_ARE}, 1408, 16, 40, 6144, 14, 2, 174},
                                          {{"videomae-tiny", 32, 16, 2, FT_LINEAR, AS_THEY_ARE}, 48, 3, 3, 209, 8, 2, 5}};

static const ft_init narrow = {FT_INIT_NORMAL, 0.02, NULL};

static ft_t linear(ft_graph *g, const char *name, ft_t x, int64_t out, ft_act act)
{
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){out, ft_dim(x, -1)}, narrow);
    return ft_linear_act(g, x, w, ft_param(g, ft_name(g, "%s.bias", name), 1, &out, FT_ZERO), act);
}

/* (1,times*places,d): sine and cosine of p / 10000^(2j/d) in turn, p over all places of all times of the clips that it was
 * trained with; of shorter or longer clips resampled over time, with 0.1 added to the number of times, as CD-FVD has it */
static ft_t positions(ft_graph *g, const videomae_preset *p, int64_t times)
{
    int64_t places = (p->base.size / p->patch) * (p->base.size / p->patch), table = p->base.frames / p->tube, d = p->width;
    float *v = ft_alloc_n(table * places * d, sizeof *v);
    if (!v) return ft_graph_fail(g, "no memory for %lld positions", (long long)(table * places));
    for (int64_t at = 0; at < table * places; at++)
        for (int64_t j = 0; j < d; j++) {
            double angle = (double)at / pow(10000, 2.0 * (double)(j / 2) / (double)d);
            v[at * d + j] = (float)(j % 2 ? cos(angle) : sin(angle));
        }
    ft_t t = ft_const(g, FT_F32, 3, (int64_t[]){table, places, d}, v);
    ft_free(v);
    if (times != table) t = ft_resize(g, t, 0, times, FT_LINEAR, ((double)times + 0.1) / (double)table);
    return ft_reshape(g, t, 3, (int64_t[]){1, times * places, d});
}

static ft_t attention(ft_graph *g, const videomae_preset *p, const char *name, ft_t x)
{
    int64_t d = p->width;
    ft_t w = ft_param(g, ft_name(g, "%s.qkv.weight", name), 2, (int64_t[]){3 * d, d}, narrow), b[3];
    b[0] = ft_param(g, ft_name(g, "%s.q_bias", name), 1, &d, FT_ZERO);
    b[2] = ft_param(g, ft_name(g, "%s.v_bias", name), 1, &d, FT_ZERO);
    b[1] = ft_affine(g, b[0], 0, 0);
    x = ft_linear(g, x, w, ft_concat(g, 0, 3, b));                   /* (B,T,3d) */
    x = ft_sdpa(g, x, NULL, NULL, (ft_sdpa_opt){.heads = p->heads}); /* (B,T,d) */
    return linear(g, ft_name(g, "%s.proj", name), x, d, FT_ACT_NONE);
}

static ft_t network(ft_graph *g, const void *preset, ft_t x)
{
    const videomae_preset *p = preset;
    int64_t B = ft_dim(x, 0), T = ft_dim(x, 1), size = p->base.size, d = p->width, k[3] = {p->tube, p->patch, p->patch};
    if (T % p->tube || ft_dim(x, 2) != size || ft_dim(x, 3) != size)
        return ft_graph_fail(g, "%s: clips of %lld frames and %lld pixels; an even number and %lld needed", p->base.name,
                             (long long)T, (long long)ft_dim(x, 2), (long long)size);
    x = ft_layer_conv(g, "patch_embed.proj", ft_cast(g, x, ft_compute(g)), d, k, (ft_conv_opt){.stride = {k[0], k[1], k[2]}},
                      true);
    x = ft_reshape(g, x, 3, (int64_t[]){B, -1, d});
    x = ft_add(g, x, ft_cast(g, positions(g, p, T / p->tube), ft_compute(g))); /* (B,n,d) */
    for (int64_t i = 0; i < p->depth; i++) {
        const char *name = ft_name(g, "blocks.%d", (int)i);
        x = ft_add(g, x,
                   attention(g, p, ft_name(g, "%s.attn", name), ft_layer_layernorm(g, ft_name(g, "%s.norm1", name), x, 1e-6f)));
        ft_t u = ft_layer_layernorm(g, ft_name(g, "%s.norm2", name), x, 1e-6f);
        u = linear(g, ft_name(g, "%s.mlp.fc1", name), u, p->hidden, FT_ACT_GELU);
        x = ft_add(g, x, linear(g, ft_name(g, "%s.mlp.fc2", name), u, d, FT_ACT_NONE));
    }
    x = ft_reshape(g, ft_reduce(g, ft_cast(g, x, FT_F32), 1u << 1, true), 2, (int64_t[]){B, d});
    ft_param(g, "head.weight", 2, (int64_t[]){p->classes, d}, narrow); /* part of the file */
    ft_param(g, "head.bias", 1, &p->classes, FT_ZERO);
    return ft_layer_layernorm(g, "fc_norm", x, 1e-6f); /* (B,d) */
}

extern const ft_judge ft_judge_videomae;
const ft_judge ft_judge_videomae = {FT_PRESETS(presets), FT_WORK_PRODUCTS, network};
