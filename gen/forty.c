#include "gen/forty.h"

#include "gen/generator.h"

/* one row, one line */
/* clang-format off */
static const ft_lvdm_preset presets[] = {
    /* name, latent (frames, size, channels); width, levels, blocks, heads, groups, multiple */
    {{"forty-base",  16, 16, 4},  128, 3, 2, 8, 32, {1, 2, 4}},
    {{"forty-tiny",  4,  8,  16}, 32,  2, 1, 2, 8,  {1, 2}},
    {{"forty-small", 4,  8,  16}, 96,  2, 2, 4, 16, {1, 2}},
};
/* clang-format on */

ft_t ft_forty(ft_graph *g, const ft_lvdm_preset *p, ft_t z, int64_t frames, ft_told told)
{
    return ft_lvdm(g, p, (ft_lvdm_opt){.whole = true, .pass = true}, z, frames, told);
}

/* ---- the row ------------------------------------------------------------------------------------------------------------ */

static ft_t network(ft_graph *g, const void *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told, ft_taps *taps)
{
    (void)cfg;
    taps->n = 0;
    return ft_forty(g, preset, z, frames, told);
}

/* 0.002 of forty-tiny; Adam's best rate falls as a network grows wider (Yang et al. 2022, 2203.03466) */
static double rate(const void *preset) { return 0.064 / ((const ft_lvdm_preset *)preset)->width; }

const ft_generator ft_generator_forty = {
    "forty", FT_PRESETS(presets), true, FT_BETA_LINEAR, FT_MSE, true, rate, FT_WORK_CONVOLUTIONS, network, NULL};
