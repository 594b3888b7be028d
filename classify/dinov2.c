/* DINOv2 on the frames of a clip, as a classifier: class token and mean patch token of each frame, averaged over frames, then a
 * linear layer, as DINOv2's own linear evaluation has it. To be fine-tuned whole or by adapters (classifier.lora); for frozen
 * features see backbone.h. */
#include <string.h>

#include "classify/classifier.h"
#include "common/vision/dino.h"

/* `-video`, since the backbone's own name is that of its weights alone */
typedef struct {
    const char *name, *backbone;
} dinov2_preset;
static const dinov2_preset presets[] = {{"dinov2-s14-video", "dinov2-s14"},         {"dinov2-b14-video", "dinov2-b14"},
                                        {"dinov2-l14-video", "dinov2-l14"},         {"dinov2-s14-reg-video", "dinov2-s14-reg"},
                                        {"dinov2-b14-reg-video", "dinov2-b14-reg"}, {"dinov2-l14-reg-video", "dinov2-l14-reg"}};

static ft_t network(ft_graph *g, const void *preset, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features)
{
    static const int64_t colours[4] = {1, 1, 1, 3};
    const dinov2_preset *row = preset;
    const ft_dino_preset *p = ft_dino_find(row->backbone);
    int64_t B = ft_dim(x, 0), F = ft_dim(x, 1), S = ft_dim(x, 2), side = (S + p->patch / 2) / p->patch, d = p->width;
    float scale[3], shift[3];
    (void)labelled; /* no BatchNorm */
    if (side < 1) return ft_graph_fail(g, "%s: clips of %lld pixels, less than a patch of %d", row->name, (long long)S, p->patch);
    for (int k = 0; k < 3; k++) /* from a classifier's colours to ImageNet's */
        scale[k] = FT_CLASSIFIER_STD / ft_imagenet_std[k],
        shift[k] = (FT_CLASSIFIER_MEAN - ft_imagenet_mean[k]) / ft_imagenet_std[k];
    x = ft_reshape(g, x, 4, (int64_t[]){B * F, S, S, 3});
    x = ft_add(g, ft_mul(g, x, ft_const(g, FT_F32, 4, colours, scale)), ft_const(g, FT_F32, 4, colours, shift));
    for (int axis = 1; axis < 3 && side * p->patch != S; axis++) x = ft_resize(g, x, axis, side * p->patch, FT_CUBIC, 0);
    ft_t y, part[2];
    ft_dino(g, p, x, 1, (int[]){p->depth - 1}, &y); /* (B*F,extra+side*side,d) */
    part[0] = ft_slice(g, y, 1, 0, 1);
    part[1] = ft_reduce(g, ft_slice(g, y, 1, ft_dino_extra(p), side * side), 1u << 1, true);
    y = ft_reshape(g, ft_concat(g, 2, 2, part), 3, (int64_t[]){B, F, 2 * d});
    y = ft_reshape(g, ft_reduce(g, y, 1u << 1, true), 2, (int64_t[]){B, 2 * d});
    if (features) *features = y;
    y = ft_dropout(g, y, (float)dropout);
    ft_t w = ft_param(g, "head.weight", 2, (int64_t[]){classes, 2 * d}, (ft_init){FT_INIT_NORMAL, 0.01, NULL});
    return ft_linear(g, y, w, ft_param(g, "head.bias", 1, &classes, FT_ZERO));
}

extern const ft_classifier ft_classifier_dinov2;
const ft_classifier ft_classifier_dinov2 = {.family = "dinov2",
                                            .presets = presets,
                                            .n = sizeof presets / sizeof *presets,
                                            .row = sizeof *presets,
                                            .head = "head.bias",
                                            .adapts = true,
                                            .work = FT_WORK_PRODUCTS,
                                            .network = network};
