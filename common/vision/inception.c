/* Inception-v3 (Szegedy et al. 2016) with the weights of 2015-12-05 and 1008 outputs, in which the Frechet Inception distance
 * (Heusel et al. 2017) and the Inception score (Salimans et al. 2016) are published: features (B,2048) of the last average pool,
 * or logits (B,1008) without the head's bias, as the score takes them. What torchvision's network of the same name has otherwise:
 * average pools count the padding, and the last block's pool takes averages. */
#include "common/graph/layers.h"
#include "common/vision/judge.h"

typedef struct {
    ft_judge_preset base;
    bool logits;
} inception_preset;

/* -1 to 1 as pytorch-fid has it, and as Google's graph has it: (v - 128) / 128 */
#define HALVES                                                                                                                   \
    {0.5f, 0.5f, 0.5f}, { 0.5f, 0.5f, 0.5f }
#define OF_128                                                                                                                   \
    {128 / 255.0f, 128 / 255.0f, 128 / 255.0f}, { 128 / 255.0f, 128 / 255.0f, 128 / 255.0f }
#define PICTURES 299, 0, 0
static const inception_preset presets[] = {
    {{"inception", PICTURES, FT_LINEAR, HALVES}, false},             /* pytorch-fid */
    {{"inception-tf1", PICTURES, FT_LINEAR_TF1, OF_128}, false},     /* the first code; StyleGAN's, StyleGAN-V's */
    {{"inception-clean", PICTURES, FT_CUBIC_SMOOTH, OF_128}, false}, /* clean-fid */
    {{"inception-logits", PICTURES, FT_LINEAR_TF1, OF_128}, true}};  /* the Inception score of StyleGAN's code */

/* a convolution of kh x kw; as much padding as keeps the size, or none with stride 2 and in the first layers */
static ft_t conv(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t kh, int64_t kw, int64_t stride, bool pad)
{
    int64_t h = pad ? kh / 2 : 0, w = pad ? kw / 2 : 0;
    return ft_judge_unit(g, ft_name(g, "%s.conv", name), ft_name(g, "%s.bn", name), x, out, (int64_t[]){0, kh, kw},
                         (ft_conv_opt){.stride = {1, stride, stride}, .pad_front = {0, h, w}, .pad_back = {0, h, w}}, 1e-3f);
}
#define NAME(part)                 ft_name(g, "%s." part, name)
#define SAME(part, x, out, kh, kw) conv(g, NAME(part), x, out, kh, kw, 1, true)
#define HALF(part, x, out)         conv(g, NAME(part), x, out, 3, 3, 2, false)

static ft_t around(ft_graph *g, ft_t x, ft_pool_kind kind) /* 3 x 3, the size stays */
{
    return ft_pool(g, x, kind, (ft_conv_opt){.kernel = {1, 3, 3}, .pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}});
}
static ft_t halved(ft_graph *g, ft_t x)
{
    return ft_pool(g, x, FT_POOL_MAX, (ft_conv_opt){.kernel = {1, 3, 3}, .stride = {1, 2, 2}});
}

/* (B,1,35,35,C) -> (B,1,35,35,224+pooled) */
static ft_t block_a(ft_graph *g, const char *name, ft_t x, int64_t pooled)
{
    ft_t y[4] = {SAME("branch1x1", x, 64, 1, 1)};
    y[1] = SAME("branch5x5_2", SAME("branch5x5_1", x, 48, 1, 1), 64, 5, 5);
    y[2] = SAME("branch3x3dbl_3", SAME("branch3x3dbl_2", SAME("branch3x3dbl_1", x, 64, 1, 1), 96, 3, 3), 96, 3, 3);
    y[3] = SAME("branch_pool", around(g, x, FT_POOL_AVG), pooled, 1, 1);
    return ft_concat(g, 4, 4, y);
}

/* (B,1,35,35,288) -> (B,1,17,17,768) */
static ft_t block_b(ft_graph *g, const char *name, ft_t x)
{
    ft_t y[3] = {HALF("branch3x3", x, 384)};
    y[1] = HALF("branch3x3dbl_3", SAME("branch3x3dbl_2", SAME("branch3x3dbl_1", x, 64, 1, 1), 96, 3, 3), 96);
    y[2] = halved(g, x);
    return ft_concat(g, 4, 3, y);
}

/* (B,1,17,17,768) -> the same; c: channels between its 1 x 7 and 7 x 1 */
static ft_t block_c(ft_graph *g, const char *name, ft_t x, int64_t c)
{
    ft_t y[4] = {SAME("branch1x1", x, 192, 1, 1)};
    y[1] = SAME("branch7x7_3", SAME("branch7x7_2", SAME("branch7x7_1", x, c, 1, 1), c, 1, 7), 192, 7, 1);
    y[2] = SAME("branch7x7dbl_3", SAME("branch7x7dbl_2", SAME("branch7x7dbl_1", x, c, 1, 1), c, 7, 1), c, 1, 7);
    y[2] = SAME("branch7x7dbl_5", SAME("branch7x7dbl_4", y[2], c, 7, 1), 192, 1, 7);
    y[3] = SAME("branch_pool", around(g, x, FT_POOL_AVG), 192, 1, 1);
    return ft_concat(g, 4, 4, y);
}

/* (B,1,17,17,768) -> (B,1,8,8,1280) */
static ft_t block_d(ft_graph *g, const char *name, ft_t x)
{
    ft_t y[3] = {HALF("branch3x3_2", SAME("branch3x3_1", x, 192, 1, 1), 320)};
    y[1] = SAME("branch7x7x3_3", SAME("branch7x7x3_2", SAME("branch7x7x3_1", x, 192, 1, 1), 192, 1, 7), 192, 7, 1);
    y[1] = HALF("branch7x7x3_4", y[1], 192);
    y[2] = halved(g, x);
    return ft_concat(g, 4, 3, y);
}

/* (B,1,8,8,C) -> (B,1,8,8,2048) */
static ft_t block_e(ft_graph *g, const char *name, ft_t x, ft_pool_kind pool)
{
    ft_t y[6] = {SAME("branch1x1", x, 320, 1, 1)}, h = SAME("branch3x3_1", x, 384, 1, 1);
    y[1] = SAME("branch3x3_2a", h, 384, 1, 3), y[2] = SAME("branch3x3_2b", h, 384, 3, 1);
    h = SAME("branch3x3dbl_2", SAME("branch3x3dbl_1", x, 448, 1, 1), 384, 3, 3);
    y[3] = SAME("branch3x3dbl_3a", h, 384, 1, 3), y[4] = SAME("branch3x3dbl_3b", h, 384, 3, 1);
    y[5] = SAME("branch_pool", around(g, x, pool), 192, 1, 1);
    return ft_concat(g, 4, 6, y);
}

static ft_t network(ft_graph *g, const void *preset, ft_t x)
{
    const inception_preset *p = preset;
    int64_t B = ft_dim(x, 0), side = ft_dim(x, 1), classes = 1008;
    if (side < 75) return ft_graph_fail(g, "%s: pictures of %lld pixels, 75 at least", p->base.name, (long long)side);
    x = ft_reshape(g, ft_cast(g, x, ft_compute(g)), 5, (int64_t[]){B, 1, side, ft_dim(x, 2), 3});
    x = conv(g, "Conv2d_1a_3x3", x, 32, 3, 3, 2, false); /* (B,1,149,149,32) */
    x = conv(g, "Conv2d_2a_3x3", x, 32, 3, 3, 1, false);
    x = halved(g, conv(g, "Conv2d_2b_3x3", x, 64, 3, 3, 1, true)); /* (B,1,73,73,64) */
    x = conv(g, "Conv2d_3b_1x1", x, 80, 1, 1, 1, false);
    x = halved(g, conv(g, "Conv2d_4a_3x3", x, 192, 3, 3, 1, false)); /* (B,1,35,35,192) */
    x = block_a(g, "Mixed_5b", x, 32);
    x = block_a(g, "Mixed_5c", x, 64);
    x = block_a(g, "Mixed_5d", x, 64);
    x = block_b(g, "Mixed_6a", x);
    x = block_c(g, "Mixed_6b", x, 128);
    x = block_c(g, "Mixed_6c", x, 160);
    x = block_c(g, "Mixed_6d", x, 160);
    x = block_c(g, "Mixed_6e", x, 192);
    x = block_d(g, "Mixed_7a", x);
    x = block_e(g, "Mixed_7b", x, FT_POOL_AVG);
    x = block_e(g, "Mixed_7c", x, FT_POOL_MAX);
    x = ft_reshape(g, ft_reduce(g, ft_cast(g, x, FT_F32), 1u << 1 | 1u << 2 | 1u << 3, true), 2, (int64_t[]){B, 2048});
    ft_t w = ft_param(g, "fc.weight", 2, (int64_t[]){classes, 2048}, ft_init_uniform_fan(2048));
    ft_param(g, "fc.bias", 1, &classes, FT_ZERO); /* part of the file */
    return p->logits ? ft_linear(g, x, w, NULL) : x;
}

extern const ft_judge ft_judge_inception;
const ft_judge ft_judge_inception = {FT_PRESETS(presets), FT_WORK_CONVOLUTIONS, network};
