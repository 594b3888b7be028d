#include "gen/dit.h"

#include <math.h>

#include "common/base/memory.h"

ft_t ft_dit_linear(ft_graph *g, const char *name, ft_t x, int64_t out, bool bias, ft_init init)
{
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){out, ft_dim(x, -1)}, init);
    return ft_linear(g, x, w, bias ? ft_param(g, ft_name(g, "%s.bias", name), 1, &out, FT_ZERO) : NULL);
}

ft_t ft_dit_xavier(ft_graph *g, const char *name, ft_t x, int64_t out, bool bias)
{
    return ft_dit_linear(g, name, x, out, bias, ft_init_xavier(ft_dim(x, -1), out));
}

ft_t ft_dit_group(ft_graph *g, int n, const char *const *name, ft_t x, int64_t out)
{
    int64_t in = ft_dim(x, -1), rows = ft_count(x) / in;
    ft_t w =
        ft_reshape(g, ft_param_group(g, n, name, 2, (int64_t[]){out, in}, ft_init_xavier(in, out)), 2, (int64_t[]){n * out, in});
    x = ft_reshape(g, x, 2, (int64_t[]){rows, in});
    return ft_permute(g, ft_reshape(g, ft_linear(g, x, w, NULL), 3, (int64_t[]){rows, n, out}), (int[]){1, 0, 2});
}

ft_t ft_dit_patches(ft_graph *g, ft_t z, int64_t patch, int64_t width)
{
    int64_t B = ft_dim(z, 0), n = ft_dim(z, 1), grid = ft_dim(z, 2) / patch, c = ft_dim(z, 4), k = c * patch * patch;
    ft_t w = ft_param(g, "x_embedder.proj.weight", 4, (int64_t[]){width, c, patch, patch}, ft_init_xavier(k, width));
    /* a convolution whose stride is its kernel is a product with the pixels of each patch, in the weight's order (c, p, q) */
    ft_t x = ft_reshape(g, ft_cast(g, z, ft_compute(g)), 6, (int64_t[]){B * n, grid, patch, grid, patch, c});
    x = ft_reshape(g, ft_permute(g, x, (int[]){0, 1, 3, 5, 2, 4}), 5, (int64_t[]){B, n, grid, grid, k});
    return ft_linear(g, x, ft_reshape(g, w, 2, (int64_t[]){width, k}), ft_param(g, "x_embedder.proj.bias", 1, &width, FT_ZERO));
}

/* e[k] = sin(at w_k), e[half + k] = cos(at w_k), w_k = 10000^(-k / half) */
static void sin_cos(float *e, double at, int64_t half)
{
    for (int64_t k = 0; k < half; k++) {
        double w = pow(10000.0, -(double)k / (double)half);
        e[k] = (float)sin(at * w);
        e[half + k] = (float)cos(at * w);
    }
}

static ft_t table(ft_graph *g, const char *name, float *v, int64_t rows, int64_t width, const int64_t *dim)
{
    if (!v) return ft_graph_fail(g, "no memory for %s", name);
    ft_t t = ft_buffer(g, name, 3, (int64_t[]){1, rows, width}, (ft_init){FT_INIT_VALUES, 0, v});
    ft_free(v);
    return ft_cast(g, ft_reshape(g, t, 5, dim), ft_compute(g));
}

ft_t ft_dit_positions(ft_graph *g, int64_t grid, int64_t width)
{
    float *v = ft_alloc((size_t)(grid * grid * width) * sizeof *v);
    for (int64_t i = 0; v && i < grid * grid; i++) {
        sin_cos(v + i * width, (double)(i % grid), width / 4);
        sin_cos(v + i * width + width / 2, (double)(i / grid), width / 4);
    }
    return table(g, "pos_embed", v, grid * grid, width, (int64_t[]){1, 1, grid, grid, width});
}

ft_t ft_dit_frames(ft_graph *g, int64_t frames, int64_t width)
{
    float *v = ft_alloc((size_t)(frames * width) * sizeof *v);
    for (int64_t f = 0; v && f < frames; f++) sin_cos(v + f * width, (double)f, width / 2);
    return table(g, "temp_embed", v, frames, width, (int64_t[]){1, frames, 1, 1, width});
}

void ft_label_row(ft_t label, int64_t b, int class)
{
    int64_t wide = ft_dim(label, 1);
    float *row = (float *)ft_data(label) + b * wide;
    for (int64_t k = 0; k < wide; k++) row[k] = k == (class < 0 ? wide - 1 : class);
}

ft_t ft_class_embedding(ft_graph *g, const char *name, ft_t label, int64_t width)
{
    ft_init small = {FT_INIT_NORMAL, 0.02, NULL};
    ft_t table = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){ft_dim(label, 1), width}, small);
    return ft_linear(g, ft_cast(g, label, ft_compute(g)), ft_permute(g, table, (int[]){1, 0}), NULL);
}

ft_t ft_dit_time(ft_graph *g, ft_told told, int64_t width, double gain)
{
    ft_init small = {FT_INIT_NORMAL, 0.02, NULL};
    ft_t e = ft_cast(g, ft_timestep_embed(g, told.t, 256), ft_compute(g)); /* (B,256) */
    e = ft_unary(g, FT_SILU, ft_dit_linear(g, "t_embedder.mlp.0", e, width, true, small));
    if (gain != 1) e = ft_affine(g, e, (float)gain, 0);
    e = ft_dit_linear(g, "t_embedder.mlp.2", e, width, true, small);
    return told.label ? ft_add(g, e, ft_class_embedding(g, "y_embedder.embedding_table", told.label, width)) : e;
}

/* of NAME, or of STEM.0 .. STEM.count-1 */
static ft_t modulations(ft_graph *g, const char *name, bool numbered, int count, ft_t c, int64_t n, ft_init init)
{
    int64_t samples = ft_dim(c, 0), d = ft_dim(c, -1), out = n * d, all = count * out;
    const char **weight = ft_alloc((size_t)(2 * count) * sizeof *weight), **bias = weight ? weight + count : NULL;
    if (!weight) return ft_graph_fail(g, "no memory for %d modulations", count);
    for (int i = 0; i < count; i++) {
        const char *stem = numbered ? ft_name(g, "%s.%d", name, i) : name;
        weight[i] = ft_name(g, "%s.adaLN_modulation.1.weight", stem);
        bias[i] = ft_name(g, "%s.adaLN_modulation.1.bias", stem);
    }
    ft_t w = ft_reshape(g, ft_param_group(g, count, weight, 2, (int64_t[]){out, d}, init), 2, (int64_t[]){all, d});
    ft_t b = ft_reshape(g, ft_param_group(g, count, bias, 1, &out, FT_ZERO), 1, &all);
    ft_free(weight);
    ft_t m = ft_reshape(g, ft_cast(g, ft_linear(g, c, w, b), FT_F32), 4, (int64_t[]){samples, count, n, d});
    return ft_reshape(g, ft_permute(g, m, (int[]){2, 1, 0, 3}), 3, (int64_t[]){n * count, samples, d});
}

ft_t ft_dit_modulation(ft_graph *g, const char *name, ft_t c, int64_t n, ft_init init)
{
    return modulations(g, name, false, 1, c, n, init);
}

ft_t ft_dit_modulations(ft_graph *g, const char *stem, int count, ft_t c, int64_t n, ft_init init)
{
    return modulations(g, stem, true, count, c, n, init);
}

ft_t ft_dit_part(ft_graph *g, ft_t modulation, int64_t row) { return ft_select(g, modulation, 0, row); }

ft_t ft_dit_block_part(ft_graph *g, const ft_dit_blocks *m, int k) { return ft_dit_part(g, m->all, k * m->depth + m->block); }

ft_t ft_dit_head(ft_graph *g, ft_t x, ft_t c, int64_t patch, int64_t out)
{
    int64_t B = ft_dim(x, 0), n = ft_dim(x, 1), grid = ft_dim(x, 2);
    ft_t mod = ft_dit_modulation(g, "final_layer", c, 2, FT_ZERO); /* shift, scale */
    x = ft_layernorm(g, x, NULL, NULL, ft_dit_part(g, mod, 0), ft_dit_part(g, mod, 1), 1e-6f);
    x = ft_dit_linear(g, "final_layer.linear", x, patch * patch * out, true, FT_ZERO); /* (B,n,grid,grid,p*q*out) */
    x = ft_reshape(g, x, 6, (int64_t[]){B * n, grid, grid, patch, patch, out});
    x = ft_permute(g, x, (int[]){0, 1, 3, 2, 4, 5});
    return ft_cast(g, ft_reshape(g, x, 5, (int64_t[]){B, n, grid * patch, grid * patch, out}), FT_F32);
}

ft_t ft_clip_frames(ft_graph *g, ft_t x, int64_t frames) { return frames < ft_dim(x, 1) ? ft_slice(g, x, 1, 0, frames) : x; }

ft_t ft_with_images(ft_graph *g, ft_t clip, ft_t x)
{
    int64_t frames = ft_dim(clip, 1), n = ft_dim(x, 1);
    return frames < n ? ft_concat(g, 1, 2, (ft_t[]){clip, ft_slice(g, x, 1, frames, n - frames)}) : clip;
}
