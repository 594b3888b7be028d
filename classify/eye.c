/* A small network of our own for short clips on a processor, to be trained from scratch on few labels: (2+1)D residual blocks
 * whose convolutions are dense, not depthwise, few of them and wide (measured: results/instrument/backbone.md). */
#include "classify/classifier.h"

#include "common/graph/layers.h"

enum { FT_EYE_STAGES = 3 };
typedef struct {
    const char *name;
    int stem;                                        /* channels of the stem */
    int width[FT_EYE_STAGES], blocks[FT_EYE_STAGES]; /* every stage halves the picture; the second halves time */
} eye_preset;

/* clang-format off */
static const eye_preset presets[] = {
    /* name  stem width          blocks */
    {"eye",  24,  {32, 64, 128}, {2, 2, 2}},
};
/* clang-format on */

/* (B,T,H,W,in) -> (B,T/time,H/space,W/space,out) */
static ft_t block(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t time, int64_t space, int64_t labelled)
{
    ft_t y = ft_layer_conv_same(g, ft_name(g, "%s.space", name), x, out, 1, 3, 1, space);
    y = ft_layer_batchnorm(g, ft_name(g, "%s.norm1", name), y, labelled, FT_ACT_RELU);
    y = ft_layer_conv_same(g, ft_name(g, "%s.time", name), y, out, 3, 1, time, 1);
    y = ft_layer_batchnorm(g, ft_name(g, "%s.norm2", name), y, labelled, FT_ACT_NONE);
    if (ft_dim(x, 4) != out || time > 1 || space > 1) {
        x = ft_layer_conv_same(g, ft_name(g, "%s.skip", name), x, out, 1, 1, time, space);
        x = ft_layer_batchnorm(g, ft_name(g, "%s.norm3", name), x, labelled, FT_ACT_NONE);
    }
    return ft_unary(g, FT_RELU, ft_add(g, y, x));
}

static ft_t network(ft_graph *g, const void *preset, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features)
{
    const eye_preset *p = preset;
    x = ft_layer_conv_same(g, "stem", ft_cast(g, x, ft_compute(g)), p->stem, 1, 5, 1, 2);
    x = ft_layer_batchnorm(g, "stem_norm", x, labelled, FT_ACT_RELU); /* (B,T,H/2,W/2,stem) */
    for (int i = 0; i < FT_EYE_STAGES; i++)
        for (int j = 0; j < p->blocks[i]; j++)
            x = block(g, ft_name(g, "stage%d.%d", i + 1, j), x, p->width[i], i == 1 && j == 0 ? 2 : 1, j == 0 ? 2 : 1, labelled);
    x = ft_reduce(g, x, 0xE, true); /* (B,1,1,1,C): mean over (T/2,H/16,W/16) */
    x = ft_cast(g, ft_reshape(g, x, 2, (int64_t[]){ft_dim(x, 0), ft_dim(x, 4)}), FT_F32);
    if (features) *features = x;
    x = ft_dropout(g, x, (float)dropout);
    ft_t w = ft_param(g, "head.weight", 2, (int64_t[]){classes, ft_dim(x, 1)}, (ft_init){FT_INIT_NORMAL, 0.01, NULL});
    return ft_linear(g, x, w, ft_param(g, "head.bias", 1, &classes, FT_ZERO));
}

extern const ft_classifier ft_classifier_eye;
const ft_classifier ft_classifier_eye = {.family = "eye",
                                         .presets = presets,
                                         .n = sizeof presets / sizeof *presets,
                                         .row = sizeof *presets,
                                         .head = "head.bias",
                                         .batchnorm = true,
                                         .work = FT_WORK_CONVOLUTIONS,
                                         .network = network};
