#include "gen/patchgan.h"

#include "common/base/rng.h"
#include "common/base/streams.h"
#include "common/graph/layers.h"

static void starts_as_dcgan(ft_graph *g, int index, int64_t out, int64_t in)
{
    ft_param(g, ft_name(g, "main.%d.weight", index), 4, (int64_t[]){out, in, 4, 4}, (ft_init){FT_INIT_NORMAL, 0.02, NULL});
}

static ft_t batchnorm(ft_graph *g, int index, ft_t x)
{
    int64_t c = ft_dim(x, -1);
    float gamma[512];
    ft_rng r = ft_rng_make(0, FT_STREAM_CRITIC_INIT, (uint64_t)index);
    for (int64_t i = 0; i < c && i < 512; i++) gamma[i] = (float)(1 + 0.02 * ft_rng_normal(&r));
    ft_param(g, ft_name(g, "main.%d.weight", index), 1, &c, (ft_init){FT_INIT_VALUES, 0, gamma});
    return ft_layer_batchnorm(g, ft_name(g, "main.%d", index), x, 0, FT_ACT_NONE);
}

ft_t ft_patchgan(ft_graph *g, ft_t x)
{
    int64_t frames = ft_dim(x, 0) * ft_dim(x, 1);
    ft_t h = ft_reshape(g, ft_cast(g, x, ft_compute(g)), 5, (int64_t[]){frames, 1, ft_dim(x, 2), ft_dim(x, 3), 3});
    for (int i = 0; i < 5; i++) { /* convolutions 4x4: 64, 128, 256, 512 channels, one logit; the last two keep the size */
        int64_t out = i < 4 ? 64 << i : 1, stride = i < 3 ? 2 : 1;
        int at = i == 0 ? 0 : 3 * i - 1;
        starts_as_dcgan(g, at, out, ft_dim(h, -1));
        h = ft_layer_conv(g, ft_name(g, "main.%d", at), h, out, (int64_t[]){0, 4, 4},
                          (ft_conv_opt){.stride = {1, stride, stride}, .pad_front = {0, 1, 1}, .pad_back = {0, 1, 1}},
                          i == 0 || i == 4);
        if (i > 0 && i < 4) h = batchnorm(g, at + 1, h);
        if (i < 4) h = ft_leaky_relu(g, h, 0.2f);
    }
    return h;
}
