/* I3D (Carreira & Zisserman 2017): Inception-v1 with its kernels inflated over time, trained on Kinetics-400. The Frechet video
 * distance (Unterthiner et al. 2018) is published in its 400 logits before softmax, averaged over time. Paddings are TensorFlow's
 * SAME: as much as keeps ceil(size / stride), the odd one behind. */
#include "common/graph/layers.h"
#include "common/vision/judge.h"

/* eps of BatchNorm: 1e-3 in DeepMind's network; the port that i3d_pretrained_400.pt belongs to computes with 1e-5. */
typedef struct {
    ft_judge_preset base;
    float eps;
} i3d_preset;
#define HALVES                                                                                                                   \
    {0.5f, 0.5f, 0.5f}, { 0.5f, 0.5f, 0.5f }
static const i3d_preset presets[] = {
    {{"i3d", 224, 16, 9, FT_LINEAR, HALVES}, 1e-3f},
    {{"i3d-tf1", 224, 16, 9, FT_LINEAR_TF1, HALVES}, 1e-3f}, /* resized as the first code has it */
    {{"i3d-port", 224, 16, 9, FT_LINEAR, HALVES}, 1e-5f}};

static ft_conv_opt same(ft_t x, int64_t kt, int64_t ks, int64_t st, int64_t ss)
{
    ft_conv_opt o = {.kernel = {kt, ks, ks}, .stride = {st, ss, ss}};
    for (int i = 0; i < 3; i++) {
        int64_t n = ft_dim(x, 1 + i), s = o.stride[i], pad = ((n + s - 1) / s - 1) * s + o.kernel[i] - n;
        o.pad_front[i] = pad > 0 ? pad / 2 : 0;
        o.pad_back[i] = pad > 0 ? pad - pad / 2 : 0;
    }
    return o;
}

/* padding is 0 in public code, and -Inf here: behind a ReLU no different */
static ft_t pool(ft_graph *g, ft_t x, int64_t kt, int64_t ks, int64_t st, int64_t ss)
{
    return ft_pool(g, x, FT_POOL_MAX, same(x, kt, ks, st, ss));
}

static ft_t unit(ft_graph *g, const i3d_preset *p, const char *name, ft_t x, int64_t out, int64_t k, int64_t stride)
{
    return ft_judge_unit(g, ft_name(g, "%s.conv3d", name), ft_name(g, "%s.bn", name), x, out, (int64_t[]){k, k, k},
                         same(x, k, k, stride, stride), p->eps);
}

/* c: channels of 1x1x1; 1x1x1, 3x3x3; 1x1x1, 3x3x3; 1x1x1 behind a pool */
static ft_t mixed(ft_graph *g, const i3d_preset *p, const char *name, ft_t x, const int64_t c[6])
{
    ft_t y[4] = {unit(g, p, ft_name(g, "%s.b0", name), x, c[0], 1, 1)};
    y[1] = unit(g, p, ft_name(g, "%s.b1b", name), unit(g, p, ft_name(g, "%s.b1a", name), x, c[1], 1, 1), c[2], 3, 1);
    y[2] = unit(g, p, ft_name(g, "%s.b2b", name), unit(g, p, ft_name(g, "%s.b2a", name), x, c[3], 1, 1), c[4], 3, 1);
    y[3] = unit(g, p, ft_name(g, "%s.b3b", name), pool(g, x, 3, 3, 1, 1), c[5], 1, 1);
    return ft_concat(g, 4, 4, y);
}

static const struct {
    const char *name;
    int64_t c[6];
    int64_t kernel; /* of a pool with stride 2 behind it; 0: none */
} blocks[] = {{"Mixed_3b", {64, 96, 128, 16, 32, 32}, 0},     {"Mixed_3c", {128, 128, 192, 32, 96, 64}, 3},
              {"Mixed_4b", {192, 96, 208, 16, 48, 64}, 0},    {"Mixed_4c", {160, 112, 224, 24, 64, 64}, 0},
              {"Mixed_4d", {128, 128, 256, 24, 64, 64}, 0},   {"Mixed_4e", {112, 144, 288, 32, 64, 64}, 0},
              {"Mixed_4f", {256, 160, 320, 32, 128, 128}, 2}, {"Mixed_5b", {256, 160, 320, 32, 128, 128}, 0},
              {"Mixed_5c", {384, 192, 384, 48, 128, 128}, 0}};

static ft_t network(ft_graph *g, const void *preset, ft_t x)
{
    const i3d_preset *p = preset;
    int64_t B = ft_dim(x, 0), classes = 400;
    x = unit(g, p, "Conv3d_1a_7x7", ft_cast(g, x, ft_compute(g)), 64, 7, 2); /* (B,8,112,112,64) */
    x = unit(g, p, "Conv3d_2b_1x1", pool(g, x, 1, 3, 1, 2), 64, 1, 1);
    x = pool(g, unit(g, p, "Conv3d_2c_3x3", x, 192, 3, 1), 1, 3, 1, 2); /* (B,8,28,28,192) */
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) {
        x = mixed(g, p, blocks[i].name, x, blocks[i].c);
        if (blocks[i].kernel) x = pool(g, x, blocks[i].kernel, blocks[i].kernel, 2, 2);
    } /* (B,2,7,7,1024) */
    int64_t t = ft_dim(x, 1);
    if (t < 2) return ft_graph_fail(g, "%s: clips of %d frames at least", p->base.name, p->base.fewest);
    x = ft_pool(g, ft_cast(g, x, FT_F32), FT_POOL_AVG,
                (ft_conv_opt){.kernel = {2, ft_dim(x, 2), ft_dim(x, 3)}}); /* (B,T-1,1,1,1024) */
    x = ft_reshape(g, x, 3, (int64_t[]){B, t - 1, 1024});
    ft_t w = ft_param(g, "logits.conv3d.weight", 5, (int64_t[]){classes, 1024, 1, 1, 1}, ft_init_uniform_fan(1024));
    x = ft_linear(g, x, w, ft_param(g, "logits.conv3d.bias", 1, &classes, FT_ZERO)); /* (B,T-1,400) */
    return ft_reshape(g, ft_reduce(g, x, 1u << 1, true), 2, (int64_t[]){B, classes});
}

extern const ft_judge ft_judge_i3d;
const ft_judge ft_judge_i3d = {FT_PRESETS(presets), FT_WORK_CONVOLUTIONS, network};
