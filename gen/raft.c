#include "gen/raft.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/graph/layers.h"

typedef enum { NO_NORM, INSTANCE, BATCH } norm_kind;

struct ft_raft_preset {
    const char *name;
    bool small;
    int stem, width[3], feature, hidden, context, radius; /* channels; radius of the lookup */
    norm_kind context_norm;
};

static const ft_raft_preset presets[] = {
    {"raft-large", false, 64, {64, 96, 128}, 256, 128, 128, 4, BATCH},
    {"raft-small", true, 32, {32, 64, 96}, 128, 96, 64, 3, NO_NORM},
};
enum { LEVELS = 4 };

const char *ft_raft_at(int i) { return i < (int)(sizeof presets / sizeof *presets) ? presets[i].name : NULL; }

const ft_raft_preset *ft_raft_find(const char *name)
{
    for (int i = 0; ft_raft_at(i); i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    return NULL;
}

/* kh x kw, stride, the padding that keeps the size; x (B,1,H,W,C) */
static ft_t conv(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t kh, int64_t kw, int64_t stride, ft_act act)
{
    ft_conv_opt where = {.stride = {1, stride, stride}, .pad_front = {0, kh / 2, kw / 2}, .pad_back = {0, kh / 2, kw / 2}};
    where.act = act;
    return ft_layer_conv(g, name, x, out, (int64_t[]){0, kh, kw}, where, true);
}

/* convolution, norm, act under torchvision's NAME.0, NAME.1 */
static ft_t conv_norm(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t k, int64_t stride, norm_kind norm, ft_act act)
{
    x = conv(g, ft_name(g, "%s.0", name), x, out, k, k, stride, norm == NO_NORM ? act : FT_ACT_NONE);
    if (norm == BATCH) return ft_layer_batchnorm(g, ft_name(g, "%s.1", name), x, 0, act);
    return norm == INSTANCE ? ft_groupnorm(g, x, NULL, NULL, (int)out, 1e-5f, act) : x;
}

/* relu(x + h); the small model's blocks are bottlenecks */
static ft_t residual(ft_graph *g, const ft_raft_preset *p, const char *name, ft_t x, int64_t out, int64_t stride, norm_kind norm)
{
    ft_t h = x;
    for (int i = 1; i <= (p->small ? 3 : 2); i++) {
        bool wide = !p->small || i == 3, step = i == (p->small ? 2 : 1);
        h = conv_norm(g, ft_name(g, "%s.convnormrelu%d", name, i), h, wide ? out : out / 4, p->small && i != 2 ? 1 : 3,
                      step ? stride : 1, norm, FT_ACT_RELU);
    }
    if (stride > 1) x = conv_norm(g, ft_name(g, "%s.downsample", name), x, out, 1, stride, norm, FT_ACT_NONE);
    return ft_unary(g, FT_RELU, ft_add(g, x, h));
}

/* (B,1,H,W,3) -> (B,1,H/8,W/8,out) */
static ft_t encoder(ft_graph *g, const ft_raft_preset *p, const char *name, ft_t x, int64_t out, norm_kind norm)
{
    x = conv_norm(g, ft_name(g, "%s.convnormrelu", name), x, p->stem, 7, 2, norm, FT_ACT_RELU);
    for (int l = 0; l < 3; l++)
        for (int b = 0; b < 2; b++)
            x = residual(g, p, ft_name(g, "%s.layer%d.%d", name, l + 1, b), x, p->width[l], l > 0 && b == 0 ? 2 : 1, norm);
    return conv(g, ft_name(g, "%s.conv", name), x, out, 1, 1, 1, FT_ACT_NONE);
}

static ft_t cat(ft_graph *g, ft_t a, ft_t b) { return ft_concat(g, 4, 2, (ft_t[]){a, b}); }

/* what is known about the motion: the correlations around the present flow, and the flow */
static ft_t motion(ft_graph *g, const ft_raft_preset *p, ft_t corr, ft_t flow)
{
#define NAME(x) "update_block.motion_encoder." x ".0"
    ft_t c = conv(g, NAME("convcorr1"), corr, p->small ? 96 : 256, 1, 1, 1, FT_ACT_RELU);
    if (!p->small) c = conv(g, NAME("convcorr2"), c, 192, 3, 3, 1, FT_ACT_RELU);
    ft_t f = conv(g, NAME("convflow1"), flow, p->small ? 64 : 128, 7, 7, 1, FT_ACT_RELU);
    f = conv(g, NAME("convflow2"), f, p->small ? 32 : 64, 3, 3, 1, FT_ACT_RELU);
    return cat(g, conv(g, NAME("conv"), cat(g, c, f), p->small ? 80 : 126, 3, 3, 1, FT_ACT_RELU), flow);
#undef NAME
}

/* h (1 - z) + z q; kernel kh x kw */
static ft_t gru(ft_graph *g, const char *name, ft_t h, ft_t x, int64_t kh, int64_t kw)
{
    int64_t c = ft_dim(h, -1);
    ft_t hx = cat(g, h, x), z = conv(g, ft_name(g, "%s.convz", name), hx, c, kh, kw, 1, FT_ACT_SIGMOID),
         r = conv(g, ft_name(g, "%s.convr", name), hx, c, kh, kw, 1, FT_ACT_SIGMOID);
    ft_t q = ft_unary(g, FT_TANH, conv(g, ft_name(g, "%s.convq", name), cat(g, ft_mul(g, r, h), x), c, kh, kw, 1, FT_ACT_NONE));
    return ft_add(g, h, ft_mul(g, z, ft_sub(g, q, h)));
}

/* Every fine flow is a mean of the nine coarse ones around it, weighted by softmax of the mask (B,1,h,w,576): channel
 * k * 64 + i * 8 + j, k the neighbour, (i, j) the place inside the 8x8 block. flow (B,h,w,2) -> (B,8h,8w,2) */
static ft_t upsample_convex(ft_graph *g, ft_t flow, ft_t mask)
{
    int64_t b = ft_dim(flow, 0), h = ft_dim(flow, 1), w = ft_dim(flow, 2), points = b * h * w;
    ft_t around[9], wide = ft_pad(g, ft_pad(g, ft_affine(g, flow, 8, 0), 1, 1, 1), 2, 1, 1); /* (B,h+2,w+2,2) */
    for (int k = 0; k < 9; k++) around[k] = ft_slice(g, ft_slice(g, wide, 1, k / 3, h), 2, k % 3, w);
    ft_t nine = ft_concat(g, 3, 2, (ft_t[]){ft_concat(g, 3, 5, around), ft_concat(g, 3, 4, around + 5)}); /* (B,h,w,18) */
    nine = ft_reshape(g, nine, 3, (int64_t[]){points, 9, 2});
    mask = ft_permute(g, ft_reshape(g, mask, 3, (int64_t[]){points, 9, 64}), (int[]){0, 2, 1});
    ft_t fine = ft_matmul(g, ft_softmax(g, mask), nine, false, false); /* (points,64,2) */
    fine = ft_permute(g, ft_reshape(g, fine, 5, (int64_t[]){b * h, w, 8, 8, 2}), (int[]){0, 2, 1, 3, 4});
    return ft_reshape(g, fine, 4, (int64_t[]){b, 8 * h, 8 * w, 2});
}

/* pixel positions (B,h,w,2) as (x, y) */
static ft_t grid(ft_graph *g, int64_t b, int64_t h, int64_t w)
{
    int64_t n = b * h * w, dim[4] = {b, h, w, 2};
    float *at = ft_alloc((size_t)n * 2 * sizeof *at);
    if (!at) return ft_graph_fail(g, "raft: no memory for %lld positions", (long long)n);
    for (int64_t i = 0; i < n; i++) at[2 * i] = (float)(i % w), at[2 * i + 1] = (float)(i / w % h);
    ft_t t = ft_const(g, FT_F32, 4, dim, at);
    ft_free(at);
    return t;
}

ft_t ft_raft(ft_graph *g, const ft_raft_preset *p, ft_t a, ft_t b, int iterations)
{
    int64_t pairs = ft_dim(a, 0), height = ft_dim(a, 1), width = ft_dim(a, 2), h = height / 8, w = width / 8, c = p->feature;
    if (height % 8 || width % 8)
        return ft_graph_fail(g, "raft: %lld x %lld pixels, multiples of 8 are needed", (long long)height, (long long)width);
    int64_t image[5] = {pairs, 1, height, width, 3}, coarse[4] = {pairs, h, w, 2}, cell[5] = {pairs, 1, h, w, 2};
    a = ft_reshape(g, ft_cast(g, a, ft_compute(g)), 5, image);
    b = ft_reshape(g, ft_cast(g, b, ft_compute(g)), 5, image);
    ft_t f = encoder(g, p, "feature_encoder", ft_concat(g, 0, 2, (ft_t[]){a, b}), c, INSTANCE); /* (2B,1,h,w,c) */
    ft_t f1 = ft_reshape(g, ft_slice(g, f, 0, 0, pairs), 3, (int64_t[]){pairs, h * w, c}),
         f2 = ft_reshape(g, ft_slice(g, f, 0, pairs, pairs), 3, (int64_t[]){pairs, h * w, c});
    ft_t all = ft_affine(g, ft_cast(g, ft_matmul(g, f1, f2, false, true), FT_F32), 1 / sqrtf((float)c), 0), volume[LEVELS];
    int64_t vh = h, vw = w;
    for (int l = 0; l < LEVELS; l++) { /* all pairs; the second image's plane is halved level by level */
        volume[l] = ft_reshape(g, all, 4, (int64_t[]){pairs, h * w, vh, vw});
        if (l + 1 == LEVELS) break;
        if (vh < 2 || vw < 2)
            return ft_graph_fail(g, "raft: %lld x %lld pixels are too few, at least 64", (long long)height, (long long)width);
        all = ft_pool(g, ft_reshape(g, all, 5, (int64_t[]){pairs * h * w, 1, vh, vw, 1}), FT_POOL_AVG,
                      (ft_conv_opt){.kernel = {1, 2, 2}, .stride = {1, 2, 2}});
        vh /= 2, vw /= 2;
    }
    ft_t ctx = encoder(g, p, "context_encoder", a, p->hidden + p->context, p->context_norm);
    ft_t hidden = ft_unary(g, FT_TANH, ft_slice(g, ctx, 4, 0, p->hidden)),
         context = ft_unary(g, FT_RELU, ft_slice(g, ctx, 4, p->hidden, p->context));
    ft_t at0 = grid(g, pairs, h, w), at = at0;
    int64_t looked = LEVELS * (2 * p->radius + 1) * (2 * p->radius + 1);
    for (int i = 0; i < iterations; i++) {
        ft_t corr = ft_reshape(g, ft_corr_lookup(g, at, LEVELS, volume, p->radius), 5, (int64_t[]){pairs, 1, h, w, looked});
        ft_t flow = ft_cast(g, ft_reshape(g, ft_sub(g, at, at0), 5, cell), ft_compute(g));
        ft_t x = cat(g, context, motion(g, p, ft_cast(g, corr, ft_compute(g)), flow));
#define GRU "update_block.recurrent_block.convgru"
        hidden = p->small ? gru(g, GRU "1", hidden, x, 3, 3) : gru(g, GRU "2", gru(g, GRU "1", hidden, x, 1, 5), x, 5, 1);
#undef GRU
        ft_t d = conv(g, "update_block.flow_head.conv1", hidden, p->small ? 128 : 256, 3, 3, 1, FT_ACT_RELU);
        d = conv(g, "update_block.flow_head.conv2", d, 2, 3, 3, 1, FT_ACT_NONE);
        at = ft_add(g, at, ft_reshape(g, ft_cast(g, d, FT_F32), 4, coarse));
    }
    ft_t flow = ft_sub(g, at, at0); /* (B,h,w,2) */
    if (p->small) {
        flow = ft_resize(g, ft_affine(g, flow, 8, 0), 1, height, FT_LINEAR_CORNERS, 0);
        return ft_resize(g, flow, 2, width, FT_LINEAR_CORNERS, 0);
    }
    ft_t mask = conv(g, "mask_predictor.convrelu.0", hidden, 256, 3, 3, 1, FT_ACT_RELU);
    mask = ft_affine(g, ft_cast(g, conv(g, "mask_predictor.conv", mask, 576, 1, 1, 1, FT_ACT_NONE), FT_F32), 0.25f, 0);
    return upsample_convex(g, flow, mask);
}
