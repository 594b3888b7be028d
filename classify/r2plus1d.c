/* R(2+1)D (Tran et al., CVPR 2018) in the layout of torchvision's r2plus1d_18: every 3-D convolution is a
 * spatial one to m channels, BatchNorm, ReLU, and a temporal one, with m such that the parameters are as many. */
#include "classify/classifier.h"

#include <string.h>

#include "common/graph/layers.h"

enum { FT_R2PLUS1D_STAGES = 4 };
typedef struct {
    const char *name;
    int stem;                      /* channels between the two convolutions of the stem */
    int width[FT_R2PLUS1D_STAGES]; /* of a stage; the first is the stem's too */
    int blocks;                    /* of every stage */
} r2plus1d_preset;

/* one row, one line */
/* clang-format off */
static const r2plus1d_preset presets[] = {
    /* name            stem width                blocks */
    {"r2plus1d-18",    45,  {64, 128, 256, 512}, 2},
    {"r2plus1d-tiny",  12,  {16, 24, 32, 48},    1},
};
/* clang-format on */

/* NAME.0 spatial, NAME.1 norm and ReLU, NAME.3 temporal: (B,T,H,W,c) -> (B,T/s,H/s,W/s,out) */
static ft_t factorised(ft_graph *g, const char *name, ft_t x, int64_t middle, int64_t out, int64_t stride, int64_t labelled)
{
    x = ft_layer_conv_same(g, ft_name(g, "%s.0", name), x, middle, 1, 3, 1, stride);
    x = ft_layer_batchnorm(g, ft_name(g, "%s.1", name), x, labelled, FT_ACT_RELU);
    return ft_layer_conv_same(g, ft_name(g, "%s.3", name), x, out, 3, 1, stride, 1);
}

static ft_t block(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t stride, int64_t labelled)
{
    int64_t in = ft_dim(x, 4), middle = 27 * in * out / (9 * in + 3 * out); /* of both convolutions */
    ft_t y = factorised(g, ft_name(g, "%s.conv1.0", name), x, middle, out, stride, labelled);
    y = ft_layer_batchnorm(g, ft_name(g, "%s.conv1.1", name), y, labelled, FT_ACT_RELU);
    y = factorised(g, ft_name(g, "%s.conv2.0", name), y, middle, out, 1, labelled);
    y = ft_layer_batchnorm(g, ft_name(g, "%s.conv2.1", name), y, labelled, FT_ACT_NONE);
    if (stride != 1 || in != out) {
        x = ft_layer_conv_same(g, ft_name(g, "%s.downsample.0", name), x, out, 1, 1, stride, stride);
        x = ft_layer_batchnorm(g, ft_name(g, "%s.downsample.1", name), x, labelled, FT_ACT_NONE);
    }
    return ft_unary(g, FT_RELU, ft_add(g, y, x));
}

static ft_t network(ft_graph *g, const void *preset, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features)
{
    const r2plus1d_preset *p = preset;
    x = ft_layer_conv_same(g, "stem.0", ft_cast(g, x, ft_compute(g)), p->stem, 1, 7, 1, 2); /* (B,T,H/2,W/2,stem) */
    x = ft_layer_batchnorm(g, "stem.1", x, labelled, FT_ACT_RELU);
    x = ft_layer_conv_same(g, "stem.3", x, p->width[0], 3, 1, 1, 1);
    x = ft_layer_batchnorm(g, "stem.4", x, labelled, FT_ACT_RELU);
    for (int i = 0; i < FT_R2PLUS1D_STAGES; i++)
        for (int j = 0; j < p->blocks; j++)
            x = block(g, ft_name(g, "layer%d.%d", i + 1, j), x, p->width[i], i > 0 && j == 0 ? 2 : 1, labelled);
    x = ft_reshape(g, ft_reduce(g, x, 0xE, true), 2,
                   (int64_t[]){ft_dim(x, 0), ft_dim(x, 4)}); /* (B,C): mean over all positions */
    if (features) *features = ft_cast(g, x, FT_F32);
    x = ft_dropout(g, x, (float)dropout);
    ft_t w = ft_param(g, "fc.weight", 2, (int64_t[]){classes, ft_dim(x, 1)}, (ft_init){FT_INIT_NORMAL, 0.01, NULL});
    return ft_cast(g, ft_linear(g, x, w, ft_param(g, "fc.bias", 1, &classes, FT_ZERO)), FT_F32);
}

extern const ft_classifier ft_classifier_r2plus1d;
const ft_classifier ft_classifier_r2plus1d = {.family = "r2plus1d",
                                              .presets = presets,
                                              .n = sizeof presets / sizeof *presets,
                                              .row = sizeof *presets,
                                              .head = "fc.bias",
                                              .batchnorm = true,
                                              .work = FT_WORK_CONVOLUTIONS,
                                              .network = network};
