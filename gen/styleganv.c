/* StyleGAN-V (Skorokhodov, Tulyakov and Elhoseiny 2022, arXiv 2112.14683): StyleGAN2 whose constant input stands beside a motion
 * code of the time, and a discriminator that sees three frames and how far they are apart. */
#include <math.h>

#include "common/graph/layers.h"
#include "gen/stylegan.h"

static const ft_stylegan_preset presets[] = {
    {{"styleganv-tiny", 16, 64, 3}, "styleganv-tiny-critic", 64, 1024, 64},
    {{"styleganv-128", 16, 128, 3}, "styleganv-128-critic", 512, 16384, 512},
    {{"styleganv-256", 16, 256, 3}, "styleganv-256-critic", 512, 16384, 512},
};

/* each resolution adds its colours to what was there, twice as large */
static ft_t generate(ft_graph *g, const ft_stylegan_preset *p, ft_t z, ft_t motion, ft_t t, int64_t size, double psi)
{
    ft_t w = ft_stylegan_w(g, p, z, psi);                                              /* (B,W) */
    ft_t x = ft_stylegan_input(g, p, ft_stylegan_motion(g, p, motion, t)), rgb = NULL; /* (B,F,4,4,C+W) */
    for (int64_t r = 4; r <= size; r *= 2) {
        int64_t c = ft_stylegan_channels(p, r);
        const char *b = ft_name(g, "synthesis.b%lld", (long long)r);
        if (r > 4) x = ft_style_conv(g, ft_name(g, "%s.conv0", b), x, w, c, true);
        x = ft_style_conv(g, ft_name(g, "%s.conv1", b), x, w, c, false); /* (B,F,r,r,c) */
        ft_t y = ft_style_rgb(g, ft_name(g, "%s.torgb", b), x, w);       /* (B,F,r,r,3) */
        rgb = rgb ? ft_add(g, ft_fir_up(g, rgb), y) : y;
    }
    return rgb;
}

static ft_t judge(ft_graph *g, const ft_stylegan_preset *p, ft_t x, ft_t t)
{
    int64_t B = ft_dim(x, 0), size = ft_dim(x, 2), last = ft_stylegan_channels(p, 4);
    ft_t weight = ft_stylegan_distances(g, p, t); /* (B,C) */
    const char *rgb = ft_name(g, "b%lld.fromrgb", (long long)size);
    x = ft_equal_conv(g, rgb, ft_cast(g, x, ft_compute(g)), ft_stylegan_channels(p, size),
                      (ft_equal_conv_opt){.kernel = 1, .lrelu = true}); /* (B,F,S,S,c) */
    for (int64_t r = size; r > 4; r /= 2) {
        int64_t out = ft_stylegan_channels(p, r / 2);
        if (r / 2 == FT_STYLEGAN_CONCAT) out /= 2; /* of each frame, all of which follow one another there */
        if (r == FT_STYLEGAN_CONCAT) x = ft_stylegan_concat(g, x);
        x = ft_stylegan_block(g, x, ft_stylegan_channels(p, r), out);
    }
    x = ft_minibatch_deviation(g, ft_cast(g, x, FT_F32)); /* (B,1,4,4,C+1) */
    x = ft_equal_conv(g, "b4.conv", x, last, (ft_equal_conv_opt){.kernel = 3, .lrelu = true});
    x = ft_reshape(g, ft_permute(g, x, (int[]){0, 1, 4, 2, 3}), 2, (int64_t[]){B, 16 * last});
    x = ft_equal_linear(g, "b4.fc", x, last, (ft_equal){.lrelu = true});
    x = ft_equal_linear(g, "b4.out", x, last, (ft_equal){.lr = 1}); /* (B,C) */
    x = ft_reduce(g, ft_mul(g, x, weight), 2, false);
    return ft_affine(g, ft_reshape(g, x, 1, &B), (float)(1 / sqrt((double)last)), 0);
}

static const ft_gan gan = {generate, judge};
const ft_generator ft_generator_styleganv = {.family = "styleganv",
                                             .presets = presets,
                                             .n = sizeof presets / sizeof *presets,
                                             .row = sizeof *presets,
                                             .images_apart = true,
                                             .work = FT_WORK_CONVOLUTIONS,
                                             .gan = &gan};
