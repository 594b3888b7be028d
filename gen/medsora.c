#include "gen/medsora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/streams.h"
#include "gen/dit.h"
#include "gen/generator.h"

/* one row, one line */
/* clang-format off */
static const ft_medsora_preset presets[] = {
    /* name, latent (frames, size, channels); depth, width, expand, headdim, state, patch, dropout, recompute */
    {{"medsora-s",     6, 16, 16}, 6,  512, 2, 64, 128, 2, 0.1, true},
    {{"medsora-b",     6, 16, 16}, 12, 512, 2, 64, 128, 2, 0.1, true},
    {{"medsora-l",     6, 16, 16}, 24, 512, 2, 64, 128, 2, 0.1, true},
    {{"medsora-tiny",  4, 8,  16}, 4,  128, 2, 32, 32,  2, 0.0, false},
    {{"medsora-small", 4, 8,  16}, 8,  256, 2, 64, 64,  2, 0.1, false},
};
/* clang-format on */

ft_medsora_opt ft_medsora_options(const ft_config *cfg, const ft_medsora_preset *p)
{
    const char *scan = ft_config_text(cfg, "scan"), *recompute = ft_config_text(cfg, "generator.recompute");
    if (!*scan) scan = ft_config_text(cfg, "generator.scan");
    return (ft_medsora_opt){!strcmp(scan, "released") ? FT_SCAN_RELEASED
                            : !strcmp(scan, "raster") ? FT_SCAN_RASTER
                                                      : FT_SCAN_SPIRAL,
                            ft_config_is(cfg, "generator.mixer", "attention"),
                            !strcmp(recompute, "preset") ? p->recompute : !strcmp(recompute, "mixers")};
}

/* ---- the spiral -------------------------------------------------------------------------------------------------------- */

/* Clockwise from the top left corner; counter-clockwise starts down the first column. visit[k] = raster index. */
static void spiral(int R, int C, bool clockwise, int32_t *visit)
{
    int top = 0, bottom = R - 1, left = 0, right = C - 1, k = 0;
    while (left <= right && top <= bottom) {
        if (clockwise) {
            for (int x = left; x <= right; x++) visit[k++] = top * C + x;
            top++;
            for (int y = top; y <= bottom; y++) visit[k++] = y * C + right;
            right--;
            if (top <= bottom) {
                for (int x = right; x >= left; x--) visit[k++] = bottom * C + x;
                bottom--;
            }
            if (left <= right) {
                for (int y = bottom; y >= top; y--) visit[k++] = y * C + left;
                left++;
            }
        } else {
            for (int y = top; y <= bottom; y++) visit[k++] = y * C + left;
            left++;
            if (top <= bottom) {
                for (int x = left; x <= right; x++) visit[k++] = bottom * C + x;
                bottom--;
            }
            if (left <= right) {
                for (int y = bottom; y >= top; y--) visit[k++] = y * C + right;
                right--;
            }
            if (top <= bottom) {
                for (int x = right; x >= left; x--) visit[k++] = top * C + x;
                top++;
            }
        }
    }
}

void ft_medsora_scan(int R, int C, int variant, bool reverse, ft_medsora_order kind, int32_t *order)
{
    int n = R * C;
    if (kind == FT_SCAN_RASTER)
        for (int k = 0; k < n; k++) order[k] = k;
    else spiral(R, C, variant < 4, order);
    for (int k = 0; k < n && kind != FT_SCAN_RASTER; k++) { /* mirror left-right (1), top-bottom (2), both (3) */
        int y = order[k] / C, x = order[k] % C;
        if (variant & 1) x = C - 1 - x;
        if (variant & 2) y = R - 1 - y;
        order[k] = y * C + x;
    }
    if (kind == FT_SCAN_RELEASED) { /* the rank of each cell, used as if it were the order */
        int32_t *rank = ft_alloc((size_t)n * sizeof *rank);
        for (int k = 0; rank && k < n; k++) rank[order[k]] = k;
        for (int k = 0; rank && k < n; k++) order[k] = reverse ? n - 1 - rank[k] : rank[k];
        ft_free(rank);
        return;
    }
    for (int k = 0; reverse && k < n / 2; k++) {
        int32_t swap = order[k];
        order[k] = order[n - 1 - k];
        order[n - 1 - k] = swap;
    }
}

/* ---- layers -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const ft_medsora_preset *p;
    ft_medsora_opt opt;
    int64_t B, n, grid, d, E, N, H; /* batch, latent frames, tokens per side, width, inner width, state, heads */
    int block;
} shape;

typedef struct {
    ft_t dt_bias, a_log, d, conv_w, conv_b, norm_w;
    char name[96];
} mamba;

static mamba mamba_weights(ft_graph *g, const shape *s, const char *name)
{
    mamba m;
    char key[160];
    float dt[256], a[256];
    int64_t wide = s->E + 2 * s->N;
    snprintf(m.name, sizeof m.name, "%s", name);
#define NAMED(suffix) (snprintf(key, sizeof key, "%s." suffix, name), key)
    ft_rng r = ft_rng_make(0, FT_STREAM_MAMBA_INIT, (uint64_t)s->block * 2 + (strstr(name, "mamba_f") != NULL));
    for (int64_t h = 0; h < s->H && h < 256; h++) { /* softplus(dt_bias) is log-uniform in [0.001, 0.1]; A in [1, 16] */
        double v = fmax(exp(ft_rng_uniform(&r) * (log(0.1) - log(0.001)) + log(0.001)), 1e-4);
        dt[h] = (float)(v + log(-expm1(-v)));
        a[h] = (float)log(ft_rng_range(&r, 1, 16));
    }
    m.dt_bias = ft_param(g, NAMED("dt_bias"), 1, &s->H, (ft_init){FT_INIT_VALUES, 0, dt});
    m.a_log = ft_param(g, NAMED("A_log"), 1, &s->H, (ft_init){FT_INIT_VALUES, 0, a});
    m.d = ft_param(g, NAMED("D"), 1, &s->H, FT_ONE);
    m.conv_w = ft_param(g, NAMED("conv1d.weight"), 3, (int64_t[]){wide, 1, 4}, ft_init_uniform_fan(4));
    m.conv_b = ft_param(g, NAMED("conv1d.bias"), 1, &wide, ft_init_uniform_fan(4));
    m.norm_w = ft_param(g, NAMED("norm.weight"), 1, &s->E, FT_ONE);
#undef NAMED
    return m;
}

/* in_proj of u (...,d), whose rows are z | x B C | dt */
typedef struct {
    ft_t z, xbc, dt; /* (...,E) (...,E+2N) (...,H) */
} projected;

static ft_t in_proj_weight(ft_graph *g, const shape *s, const char *name)
{
    int64_t all = 2 * s->E + 2 * s->N + s->H;
    return ft_param(g, ft_name(g, "%s.in_proj.weight", name), 2, (int64_t[]){all, s->d}, ft_init_xavier(s->d, all));
}

/* one product for each, so that nothing is cut up afterwards */
static projected in_proj(ft_graph *g, const shape *s, const char *name, ft_t u)
{
    ft_t w = in_proj_weight(g, s, name);
    int64_t wide = s->E + 2 * s->N;
    return (projected){ft_linear(g, u, ft_slice(g, w, 0, 0, s->E), NULL), ft_linear(g, u, ft_slice(g, w, 0, s->E, wide), NULL),
                       ft_linear(g, u, ft_slice(g, w, 0, s->E + wide, s->H), NULL)};
}

/* sequences (S,T,...) -> (S,T,E): causal conv, SSD, gated RMSNorm. out_proj follows. */
static ft_t mamba_core(ft_graph *g, const shape *s, const mamba *m, projected in)
{
    ft_t xbc = ft_conv_causal(g, in.xbc, m->conv_w, m->conv_b, FT_ACT_SILU); /* (S,T,E+2N) */
    ft_t y = ft_ssd(g, xbc, in.dt, m->dt_bias, m->a_log, m->d, s->H, s->N);  /* (S,T,E) */
    return ft_rmsnorm_gated(g, y, in.z, m->norm_w, 1e-5f);
}

static ft_t out_proj(ft_graph *g, const shape *s, const mamba *m, ft_t y)
{
    return ft_dit_xavier(g, ft_name(g, "%s.out_proj", m->name), y, s->d, false); /* (...,E) -> (...,d) */
}

/* The four scans as one list: entry k of sequence q of scan (view, direction) reads token order[...] of n*grid*grid. A view is
 * width (a row's frames x columns) or height (a column's frames x rows); sequences are its rows or columns. */
static void scan_order(const shape *s, int32_t *order)
{
    int32_t spiral[4096], n = (int32_t)s->n, grid = (int32_t)s->grid, T = n * grid;
    for (int v = 0; v < 2; v++)
        for (int r = 0; r < 2; r++) {
            ft_medsora_scan(n, grid, s->block % 8, r, s->opt.order, spiral);
            for (int32_t q = 0; q < grid; q++)
                for (int32_t k = 0; k < T; k++) {
                    int32_t frame = spiral[k] / grid, along = spiral[k] % grid;
                    order[((2 * v + r) * grid + q) * T + k] = (frame * grid + (v ? along : q)) * grid + (v ? q : along);
                }
        }
}

/* tokens x (B,n,grid,grid,z | xbc | dt) -> (4 B grid, T, ...) of each, gathered and cut up in one pass */
static projected to_scans(ft_graph *g, const shape *s, ft_t x, const int32_t *order, const int32_t *count)
{
    int64_t tokens = s->n * s->grid * s->grid, width[] = {s->E, s->E + 2 * s->N, s->H};
    ft_t y[3];
    x = ft_reshape(g, x, 3, (int64_t[]){s->B, tokens, ft_dim(x, -1)});
    ft_resample_parts(g, x, 1, &(ft_sparse){4 * tokens, count, order, NULL}, 3, width, y);
    for (int i = 0; i < 3; i++) y[i] = ft_reshape(g, y[i], 3, (int64_t[]){s->B * 4 * s->grid, s->n * s->grid, width[i]});
    return (projected){y[0], y[1], y[2]};
}

/* u (B,n,grid,grid,d) -> same. One set of weights for both views and both directions, so all four scans are one batch. */
static ft_t spatial_mamba(ft_graph *g, const shape *s, const char *name, ft_t u)
{
    char key[160];
    mamba m = mamba_weights(g, s, name);
    int64_t tokens = s->n * s->grid * s->grid;
    ft_t x = ft_linear(g, u, in_proj_weight(g, s, name), NULL); /* (B,n,grid,grid,z | xbc | dt) */
    int32_t *order = ft_alloc((size_t)(8 * tokens + 6 * s->B * tokens + 2) * sizeof *order);
    if (!order || s->n * s->grid > 4096) {
        ft_free(order);
        return ft_graph_fail(g, "medsora: no room for a scan of %lld tokens", (long long)tokens);
    }
    int32_t *count = order + 4 * tokens, *twice = count + 4 * tokens + 1, *back = twice + 2 * s->B * tokens + 1;
    /* permuted before the convolution, as Eq 8 needs */
    scan_order(s, order);
    for (int32_t k = 0; k <= 4 * tokens; k++) count[k] = k;
    if (s->opt.recompute) ft_remat_begin(g);
    projected in = to_scans(g, s, x, order, count);
    ft_t out = ft_reshape(g, mamba_core(g, s, &m, in), 2, (int64_t[]){s->B * 4 * tokens, s->E}), gate[2];
    for (int64_t k = 0; k <= 2 * s->B * tokens; k++) twice[k] = (int32_t)(2 * k);
    /* Back to the grid, the two views one behind the other, both directions added on the way. out_proj is linear, so it comes
     * behind the sum: half the products. */
    for (int v = 0; v < 2; v++)
        for (int r = 0; r < 2; r++)
            for (int64_t k = 0; k < s->B * tokens; k++) {
                int64_t at = (2 * v + r) * tokens + k % tokens, clip = k / tokens;
                back[2 * ((v * s->B + clip) * tokens + order[at]) + r] = (int32_t)(4 * clip * tokens + at);
            }
    out = ft_resample(g, out, 0, &(ft_sparse){2 * s->B * tokens, twice, back, NULL});
    if (s->opt.recompute) ft_remat_end(g);
    ft_free(order);
    out = out_proj(g, s, &m, ft_reshape(g, out, 6, (int64_t[]){2, s->B, s->n, s->grid, s->grid, s->E}));
    for (int v = 0; v < 2; v++) {
        snprintf(key, sizeof key, "%s.gated_fusion.gate_F%d", name, v + 1);
        gate[v] = ft_dit_xavier(g, key, ft_slice(g, out, 0, v, 1), s->d, true);
    }
    out = ft_mul(g, out, ft_unary(g, FT_SIGMOID, ft_concat(g, 0, 2, gate))); /* Eq (9) */
    return ft_add(g, ft_select(g, out, 0, 0), ft_select(g, out, 0, 1));
}

/* u (B,n,grid,grid,d) -> same; causal over the frames of each position */
static ft_t temporal_mamba(ft_graph *g, const shape *s, const char *name, ft_t u)
{
    mamba m = mamba_weights(g, s, name);
    int64_t sequences = s->B * s->grid * s->grid;
    ft_t x = ft_permute(g, u, (int[]){0, 2, 3, 1, 4}); /* d wide, the narrowest place to turn */
    projected in = in_proj(g, s, name, ft_reshape(g, x, 3, (int64_t[]){sequences, s->n, s->d}));
    if (s->opt.recompute) ft_remat_begin(g);
    ft_t y = mamba_core(g, s, &m, in); /* (B*grid*grid,n,E) */
    if (s->opt.recompute) ft_remat_end(g);
    y = out_proj(g, s, &m, y);
    return ft_permute(g, ft_reshape(g, y, 5, (int64_t[]){s->B, s->grid, s->grid, s->n, s->d}), (int[]){0, 3, 1, 2, 4});
}

/* Single head as wide as the model, no output projection; a window is one row of the grid. */
static ft_t local_attention(ft_graph *g, const shape *s, const char *name, ft_t u)
{
    const char *const names[] = {ft_name(g, "%s.query_matrix.weight", name), ft_name(g, "%s.key_matrix.weight", name),
                                 ft_name(g, "%s.value_matrix.weight", name)};
    ft_t all = ft_dit_group(g, 3, names, u, s->d), qkv[3];
    for (int i = 0; i < 3; i++)
        qkv[i] = ft_reshape(g, ft_slice(g, all, 0, i, 1), 3, (int64_t[]){s->B * s->n, s->grid * s->grid, s->d});
    ft_t y = ft_attention_local(g, qkv[0], qkv[1], qkv[2], (int)s->grid, (float)s->p->dropout);
    return ft_reshape(g, y, 5, (int64_t[]){s->B, s->n, s->grid, s->grid, s->d});
}

/* The ablation's stand-in for both Mambas: self-attention over the same sequences, all tokens of a clip or the frames of a
 * position (causal). u (B,n,grid,grid,d) -> same */
static ft_t mix_by_attention(ft_graph *g, const shape *s, const char *name, ft_t u, bool temporal)
{
    int64_t dim[5] = {s->B, s->grid, s->grid, s->n, s->d}, sequences = temporal ? s->B * s->grid * s->grid : s->B;
    ft_t x = temporal ? ft_permute(g, u, (int[]){0, 2, 3, 1, 4}) : u;
    x = ft_reshape(g, x, 3, (int64_t[]){sequences, s->B * s->n * s->grid * s->grid / sequences, s->d});
    x = ft_dit_xavier(g, ft_name(g, "%s.qkv", name), x, 3 * s->d, true);
    x = ft_sdpa(g, x, NULL, NULL, (ft_sdpa_opt){.heads = s->d / s->p->headdim, .causal = temporal});
    x = ft_dit_xavier(g, ft_name(g, "%s.out_proj", name), x, s->d, true);
    if (temporal) return ft_permute(g, ft_reshape(g, x, 5, dim), (int[]){0, 3, 1, 2, 4});
    return ft_reshape(g, x, 5, (int64_t[]){s->B, s->n, s->grid, s->grid, s->d});
}

/* x (B,n,grid,grid,d), mod (9 depth,B,d): shift, scale, gate of each sub-layer for all blocks; *tap: behind the spatial part,
 * what alignment looks at */
static ft_t block(ft_graph *g, const shape *s, ft_t x, ft_t mod, ft_t *tap)
{
    char name[96], key[160];
    snprintf(name, sizeof name, "blocks.%d", s->block);
    int64_t depth = s->p->depth;
    static const char *const part[] = {"", "mamba_hw", "mamba_f"};
    for (int i = 0; i < 3; i++) {
        ft_t shift = ft_dit_part(g, mod, 3 * i * depth + s->block), scale = ft_dit_part(g, mod, (3 * i + 1) * depth + s->block),
             gate = ft_dit_part(g, mod, (3 * i + 2) * depth + s->block);
        snprintf(key, sizeof key, "%s.norm%d.weight", name, i + 1);
        ft_t gamma = ft_param(g, key, 1, &s->d, FT_ONE);
        snprintf(key, sizeof key, "%s.norm%d.bias", name, i + 1);
        ft_t h = ft_layernorm(g, x, gamma, ft_param(g, key, 1, &s->d, FT_ZERO), shift, scale, 1e-5f);
        if (i == 0) snprintf(key, sizeof key, "%s", name); /* of local attention, whose names stand in the block itself */
        else snprintf(key, sizeof key, "%s.%s", name, part[i]);
        if (i > 0 && s->opt.attention) h = mix_by_attention(g, s, key, h, i == 2);
        else h = i == 0 ? local_attention(g, s, key, h) : i == 1 ? spatial_mamba(g, s, key, h) : temporal_mamba(g, s, key, h);
        x = ft_gate_residual(g, x, h, gate);
        if (i == 1) *tap = x;
    }
    return x;
}

ft_t ft_medsora(ft_graph *g, const ft_medsora_preset *p, ft_medsora_opt opt, ft_t z, ft_told told, ft_t *tap)
{
    shape s = {.p = p,
               .opt = opt,
               .B = ft_dim(z, 0),
               .n = ft_dim(z, 1),
               .grid = ft_dim(z, 2) / p->patch,
               .d = p->width,
               .E = p->expand * p->width,
               .N = p->state,
               .H = p->expand * p->width / p->headdim};
    ft_t x = ft_dit_patches(g, z, p->patch, s.d); /* (B,n,grid,grid,d) */
    x = ft_add(g, x, ft_dit_positions(g, s.grid, s.d));
    ft_t c = ft_unary(g, FT_SILU, ft_dit_time(g, told, s.d, 1));
    ft_t mod = ft_dit_modulations(g, "blocks", p->depth, c, 9, FT_ZERO); /* (9 depth,B,d) */
    for (s.block = 0; s.block < p->depth; s.block++) {
        ft_t h = x;
        x = block(g, &s, x, mod, &h);
        if (tap) tap[s.block] = h;
    }
    return ft_dit_head(g, x, c, p->patch, 2 * ft_dim(z, 4));
}

/* ---- the row ------------------------------------------------------------------------------------------------------------ */

static ft_t network(ft_graph *g, const void *preset, const ft_config *cfg, ft_t z, int64_t frames, ft_told told, ft_taps *taps)
{
    (void)frames; /* its scans run over clip and images alike, as published */
    const ft_medsora_preset *p = preset;
    taps->n = p->depth;
    return ft_medsora(g, p, ft_medsora_options(cfg, p), z, told, taps->at);
}

const ft_generator ft_generator_medsora = {
    "medsora", FT_PRESETS(presets), false, FT_BETA_LINEAR, FT_MSE, false, NULL, FT_WORK_PRODUCTS, network, NULL};
