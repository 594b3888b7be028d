#include "gen/lpips.h"

#include <string.h>

#include "common/graph/layers.h"

/* One convolution of a trunk and what stands before and behind it; index: its place in torchvision's `features`. */
typedef struct {
    int slice, index, out, kernel, stride, pad;
    bool pool_before, tap; /* tap: a feature of LPIPS */
} layer;

struct ft_lpips_preset {
    const char *name;
    int layers, pool; /* side of the max pools, stride 2 */
    layer layer[13];
};

static const ft_lpips_preset presets[] = {
    {"lpips-vgg",
     13,
     2,
     {{1, 0, 64, 3, 1, 1, false, false},
      {1, 2, 64, 3, 1, 1, false, true},
      {2, 5, 128, 3, 1, 1, true, false},
      {2, 7, 128, 3, 1, 1, false, true},
      {3, 10, 256, 3, 1, 1, true, false},
      {3, 12, 256, 3, 1, 1, false, false},
      {3, 14, 256, 3, 1, 1, false, true},
      {4, 17, 512, 3, 1, 1, true, false},
      {4, 19, 512, 3, 1, 1, false, false},
      {4, 21, 512, 3, 1, 1, false, true},
      {5, 24, 512, 3, 1, 1, true, false},
      {5, 26, 512, 3, 1, 1, false, false},
      {5, 28, 512, 3, 1, 1, false, true}}},
    {"lpips-alex",
     5,
     3,
     {{1, 0, 64, 11, 4, 2, false, true},
      {2, 3, 192, 5, 1, 2, true, true},
      {3, 6, 384, 3, 1, 1, true, true},
      {4, 8, 256, 3, 1, 1, false, true},
      {5, 10, 256, 3, 1, 1, false, true}}},
};

const char *ft_lpips_at(int i) { return i < (int)(sizeof presets / sizeof *presets) ? presets[i].name : NULL; }

const ft_lpips_preset *ft_lpips_find(const char *name)
{
    for (int i = 0; ft_lpips_at(i); i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    return NULL;
}

/* (x - shift) / scale, per colour; x (B,T,H,W,3) */
static ft_t scaled(ft_graph *g, ft_t x)
{
    static const float shift[3] = {-0.030f, -0.088f, -0.188f}, scale[3] = {0.458f, 0.448f, 0.450f};
    int64_t stored[4] = {1, 3, 1, 1}, seen[5] = {1, 1, 1, 1, 3};
    ft_t a = ft_buffer(g, "scaling_layer.shift", 4, stored, (ft_init){FT_INIT_VALUES, 0, shift}),
         b = ft_buffer(g, "scaling_layer.scale", 4, stored, (ft_init){FT_INIT_VALUES, 0, scale});
    ft_dtype d = ft_dtype_of(x);
    x = ft_sub(g, x, ft_cast(g, ft_reshape(g, a, 5, seen), d));
    return ft_div(g, x, ft_cast(g, ft_reshape(g, b, 5, seen), d));
}

ft_t ft_lpips(ft_graph *g, const ft_lpips_preset *p, ft_t x, ft_t y)
{
    ft_t h[2] = {scaled(g, ft_cast(g, x, ft_compute(g))), scaled(g, ft_cast(g, y, ft_compute(g)))}, sum = NULL;
    int tap = 0;
    for (int i = 0; i < p->layers; i++) {
        const layer *l = &p->layer[i];
        ft_conv_opt where = {
            .stride = {1, l->stride, l->stride}, .pad_front = {0, l->pad, l->pad}, .pad_back = {0, l->pad, l->pad}};
        where.act = FT_ACT_RELU;
        for (int k = 0; k < 2; k++) {
            if (l->pool_before)
                h[k] = ft_pool(g, h[k], FT_POOL_MAX, (ft_conv_opt){.kernel = {1, p->pool, p->pool}, .stride = {1, 2, 2}});
            h[k] = ft_layer_conv(g, ft_name(g, "net.slice%d.%d", l->slice, l->index), h[k], l->out,
                                 (int64_t[]){0, l->kernel, l->kernel}, where, true); /* (B,T,H',W',C) */
        }
        if (!l->tap) continue;
        ft_t d = ft_sub(g, ft_l2_normalize(g, h[0], 1e-10f), ft_l2_normalize(g, h[1], 1e-10f));
        ft_t w = ft_param(g, ft_name(g, "lin%d.model.1.weight", tap++), 4, (int64_t[]){1, l->out, 1, 1},
                          (ft_init){FT_INIT_UNIFORM, 0.1, NULL});
        w = ft_reshape(g, w, 2, (int64_t[]){1, l->out});
        d = ft_cast(g, ft_linear(g, ft_unary(g, FT_SQUARE, d), w, NULL), FT_F32); /* (B,T,H',W',1) */
        d = ft_reshape(g, ft_reduce(g, d, 31, true), 1, (int64_t[]){1});
        sum = sum ? ft_add(g, sum, d) : d;
    }
    return sum;
}
