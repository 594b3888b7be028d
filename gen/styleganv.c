/* StyleGAN-V (Skorokhodov, Tulyakov and Elhoseiny 2022, arXiv 2112.14683): StyleGAN2 whose constant input stands beside a motion
 * code of the time, and a discriminator that sees three frames and how far they are apart. */
#include "gen/stylegan.h"

static const ft_stylegan_preset presets[] = {
    {{"styleganv-tiny", 16, 64, 3}, "styleganv-tiny-critic", 64, 1024, 64, true},
    {{"styleganv-128", 16, 128, 3}, "styleganv-128-critic", 512, 16384, 512, false},
    {{"styleganv-256", 16, 256, 3}, "styleganv-256-critic", 512, 16384, 512, false},
};

static ft_t generate(ft_graph *g, const ft_stylegan_preset *p, ft_gan_in in, int64_t size, double psi)
{
    ft_t w = ft_stylegan_w(g, p, in.z, in.label, psi), v = ft_stylegan_motion(g, p, in); /* (B,W), (B,F,W) */
    return ft_stylegan_draw(g, p, w, v, size, ft_style_conv, NULL);                      /* (B,F,S,S,3) */
}

static ft_t judge(ft_graph *g, const ft_stylegan_preset *p, ft_t x, ft_t t, ft_t label)
{
    return ft_stylegan_judge(g, p, x, t, label, ft_stylegan_channels(p, 4));
}

static const ft_gan gan = {.generate = generate, .judge = judge, .r1_per_pixel = 0.0002, .lazy = 4};
const ft_generator ft_generator_styleganv = {.family = "styleganv",
                                             .presets = presets,
                                             .n = sizeof presets / sizeof *presets,
                                             .row = sizeof *presets,
                                             .images_apart = true,
                                             .work = FT_WORK_CONVOLUTIONS,
                                             .gan = &gan};
