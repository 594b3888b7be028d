/* X3D (Feichtenhofer, CVPR 2020) in the layout of pytorchvideo's create_x3d: expand 1x1x1, depthwise 3x3x3, squeeze-excite in
 * every other block, project 1x1x1. Tensor names of its checkpoints. */
#include "classify/classifier.h"

#include <stdio.h>
#include <string.h>

#include "common/graph/layers.h"

enum { FT_X3D_STAGES = 4 };
typedef struct {
    const char *name;
    int stem; /* channels of the stem */
    int out[FT_X3D_STAGES], inner[FT_X3D_STAGES], blocks[FT_X3D_STAGES];
    int head;      /* channels of the last convolution */
    int stem_time; /* time kernel of the stem's depthwise convolution */
} x3d_preset;

/* one row, one line */
/* clang-format off */
static const x3d_preset presets[] = {
    /* name     stem  out                inner                blocks         head  stem_time */
    {"x3d-xs",  24, {24, 48, 96, 192}, {54, 108, 216, 432}, {3, 5, 11, 7}, 2048, 5}, /* x3d-s on 4 frames of 182 pixels */
    {"x3d-s",   24, {24, 48, 96, 192}, {54, 108, 216, 432}, {3, 5, 11, 7}, 2048, 5},
    {"x3d-tiny", 16, {16, 32, 48, 64}, {32, 64, 96, 128},   {1, 2, 2, 1},  256,  3},
};
/* clang-format on */

typedef struct {
    ft_graph *g;
    int64_t labelled;
    char name[128];
} scope;

static const char *key(scope *s, const char *suffix)
{
    static _Thread_local char out[192];
    snprintf(out, sizeof out, "%s.%s", s->name, suffix);
    return out;
}

static ft_t norm(scope *s, const char *name, ft_t x, ft_act act)
{
    return ft_layer_batchnorm(s->g, key(s, name), x, s->labelled, act);
}

/* 1x1x1 convolution without bias: a linear layer over channels */
static ft_t pointwise(scope *s, const char *name, ft_t x, int64_t out)
{
    return ft_linear(s->g, x, ft_param(s->g, key(s, name), 5, (int64_t[]){out, ft_dim(x, -1), 1, 1, 1}, ft_init_kaiming_out(out)),
                     NULL);
}

static ft_t depthwise(scope *s, const char *name, ft_t x, int64_t kt, int64_t ks, int64_t stride)
{
    int64_t c = ft_dim(x, -1);
    ft_t w = ft_param(s->g, key(s, name), 5, (int64_t[]){c, 1, kt, ks, ks}, ft_init_kaiming_out(kt * ks * ks));
    return ft_conv_dw(s->g, x, w, NULL,
                      (ft_conv_opt){.stride = {1, stride, stride},
                                    .pad_front = {kt / 2, ks / 2, ks / 2},
                                    .pad_back = {kt / 2, ks / 2, ks / 2}});
}

/* fvcore's round_width(c, 1/16): multiples of 8, not below 90 % */
static int64_t squeeze_width(int64_t c)
{
    double want = (double)c / 16.0;
    int64_t n = (int64_t)(want + 4) / 8 * 8;
    if (n < 8) n = 8;
    return (double)n < 0.9 * want ? n + 8 : n;
}

/* x * sigmoid(W2 relu(W1 mean(x))) */
static ft_t squeeze_excite(scope *s, const char *name, ft_t x)
{
    char k[160];
    int64_t c = ft_dim(x, -1), r = squeeze_width(c);
    ft_graph *g = s->g;
    ft_t y = ft_reduce(g, x, 0xE, true); /* (B,1,1,1,C) */
    snprintf(k, sizeof k, "%s.block.0.weight", name);
    ft_t w1 = ft_param(g, key(s, k), 5, (int64_t[]){r, c, 1, 1, 1}, ft_init_kaiming_out(r));
    snprintf(k, sizeof k, "%s.block.0.bias", name);
    y = ft_unary(g, FT_RELU, ft_linear(g, y, w1, ft_param(g, key(s, k), 1, &r, FT_ZERO)));
    snprintf(k, sizeof k, "%s.block.2.weight", name);
    ft_t w2 = ft_param(g, key(s, k), 5, (int64_t[]){c, r, 1, 1, 1}, ft_init_kaiming_out(c));
    snprintf(k, sizeof k, "%s.block.2.bias", name);
    y = ft_unary(g, FT_SIGMOID, ft_linear(g, y, w2, ft_param(g, key(s, k), 1, &c, FT_ZERO)));
    return ft_mul(g, x, y);
}

/* (B,T,H,W,in) -> (B,T,H/stride,W/stride,out) */
static ft_t res_block(scope *s, ft_t x, int64_t inner, int64_t out, int64_t stride, bool squeeze)
{
    ft_graph *g = s->g;
    int64_t in = ft_dim(x, -1);
    ft_t y = norm(s, "branch2.norm_a", pointwise(s, "branch2.conv_a.weight", x, inner), FT_ACT_RELU);
    y = depthwise(s, "branch2.conv_b.weight", y, 3, 3, stride);
    y = norm(s, "branch2.norm_b.0", y, squeeze ? FT_ACT_NONE : FT_ACT_SILU);
    if (squeeze) y = ft_unary(g, FT_SILU, squeeze_excite(s, "branch2.norm_b.1", y));
    y = norm(s, "branch2.norm_c", pointwise(s, "branch2.conv_c.weight", y, out), FT_ACT_NONE);
    if (in != out || stride != 1) {
        ft_t w = ft_param(g, key(s, "branch1_conv.weight"), 5, (int64_t[]){out, in, 1, 1, 1}, ft_init_kaiming_out(out));
        x = ft_conv(g, x, w, NULL, (ft_conv_opt){.stride = {1, stride, stride}});
        if (in != out) x = norm(s, "branch1_norm", x, FT_ACT_NONE);
    }
    return ft_unary(g, FT_RELU, ft_add(g, x, y));
}

static ft_t network(ft_graph *g, const void *preset, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features)
{
    const x3d_preset *p = preset;
    scope s = {g, labelled, "blocks.0"};
    x = ft_cast(g, x, ft_compute(g));
    ft_t w = ft_param(g, "blocks.0.conv.conv_t.weight", 5, (int64_t[]){p->stem, 3, 1, 3, 3}, ft_init_kaiming_out(9 * p->stem));
    x = ft_conv(g, x, w, NULL,
                (ft_conv_opt){.stride = {1, 2, 2}, .pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}}); /* (B,T,H/2,W/2,stem) */
    x = depthwise(&s, "conv.conv_xy.weight", x, p->stem_time, 1, 1);
    x = norm(&s, "norm", x, FT_ACT_RELU);
    for (int i = 0; i < FT_X3D_STAGES; i++)
        for (int j = 0; j < p->blocks[i]; j++) {
            snprintf(s.name, sizeof s.name, "blocks.%d.res_blocks.%d", i + 1, j);
            x = res_block(&s, x, p->inner[i], p->out[i], j == 0 ? 2 : 1, j % 2 == 0);
        }
    if (features)
        *features = ft_cast(g, ft_reshape(g, ft_reduce(g, x, 0xE, true), 2, (int64_t[]){ft_dim(x, 0), ft_dim(x, 4)}), FT_F32);
    snprintf(s.name, sizeof s.name, "blocks.5");
    x = norm(&s, "pool.pre_norm", pointwise(&s, "pool.pre_conv.weight", x, p->inner[FT_X3D_STAGES - 1]), FT_ACT_RELU);
    x = ft_reduce(g, x, 0xE, true);                                               /* (B,1,1,1,inner) */
    x = ft_unary(g, FT_RELU, pointwise(&s, "pool.post_conv.weight", x, p->head)); /* (B,1,1,1,head) */
    x = ft_dropout(g, ft_reshape(g, x, 2, (int64_t[]){ft_dim(x, 0), p->head}), (float)dropout);
    ft_t proj = ft_param(g, "blocks.5.proj.weight", 2, (int64_t[]){classes, p->head}, (ft_init){FT_INIT_NORMAL, 0.01, NULL});
    return ft_cast(g, ft_linear(g, x, proj, ft_param(g, "blocks.5.proj.bias", 1, &classes, FT_ZERO)), FT_F32);
}

extern const ft_classifier ft_classifier_x3d;
const ft_classifier ft_classifier_x3d = {"x3d", FT_PRESETS(presets), "blocks.5.proj.bias", true, FT_WORK_DEPTHWISE, network};
