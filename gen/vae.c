#include "gen/vae.h"

#include <string.h>

#include "common/graph/layers.h"

/* one row, one line */
/* clang-format off */
#define CAUSAL &ft_vae_causal
#define LVDM   &ft_vae_lvdm
#define IMAGES &ft_vae_frames
static const ft_vae_preset presets[] = {
    /* family, name             z  patch levels layers upper middle groups channels         kernel_t      down_t     down_s  chunk conditioned fc */
    {CAUSAL, "vae-tiny",        16, 4, 3, 1, 1, 1, 8,  {48, 96, 96},         {1, 3, 3},    {2, 2, 1}, {2, 1, 1}, 0, false, FT_FC_NONE},
    {CAUSAL, "vae-small",       16, 4, 3, 2, 2, 1, 16, {96, 192, 192},       {1, 3, 3},    {2, 2, 1}, {2, 1, 1}, 0, false, FT_FC_NONE},
    {CAUSAL, "cogvideox-vae",   16, 1, 4, 3, 4, 2, 32, {128, 256, 256, 512}, {3, 3, 3, 3}, {2, 2, 1}, {2, 2, 2}, 8, true,  FT_FC_NONE},
    {CAUSAL, "medsora-vae",     16, 1, 4, 3, 4, 2, 32, {128, 256, 256, 512}, {3, 3, 3, 3}, {2, 2, 1}, {2, 2, 2}, 8, true,  FT_FC_RELEASED},
    {LVDM,   "lvdm-vae",        4,  1, 4, 1, 2, 0, 32, {32, 64, 128, 256},   {0},          {2, 2, 1}, {2, 2, 2}, 0, false, FT_FC_NONE},
    {LVDM,   "lvdm-vae-tiny",   4,  1, 4, 1, 2, 0, 8,  {16, 32, 64, 96},     {0},          {2, 2, 1}, {2, 2, 2}, 0, false, FT_FC_NONE},
};
/* image VAEs (their rows: image_vae.c), every frame by itself */
static const ft_vae_preset by_frames[] = {
    {IMAGES, "sd-vae",          4,  1, 4, 0, 0, 0, 0,  {0},                  {0},          {1, 1, 1}, {2, 2, 2}, 0, false, FT_FC_NONE},
    {IMAGES, "image-vae-tiny",  4,  1, 4, 0, 0, 0, 0,  {0},                  {0},          {1, 1, 1}, {2, 2, 2}, 0, false, FT_FC_NONE},
};
/* clang-format on */
enum { N_PRESETS = sizeof presets / sizeof *presets, N_BY_FRAMES = sizeof by_frames / sizeof *by_frames };

const ft_vae_preset *ft_vae_at(int i) { return i < N_PRESETS ? &presets[i] : NULL; }

const ft_vae_preset *ft_vae_find(const char *name)
{
    for (int i = 0; i < N_PRESETS; i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    for (int i = 0; i < N_BY_FRAMES; i++)
        if (!strcmp(by_frames[i].name, name)) return &by_frames[i];
    return NULL;
}

int ft_vae_time_factor(const ft_vae_preset *p)
{
    int f = 1;
    for (int i = 0; i + 1 < p->levels; i++) f *= p->down_t[i];
    return f;
}

int ft_vae_space_factor(const ft_vae_preset *p)
{
    int f = p->patch;
    for (int i = 0; i + 1 < p->levels; i++) f *= p->down_s[i];
    return f;
}

/* ---- chunks ---------------------------------------------------------------------------------------------------------------- */

enum { CACHES = 96, FRAMES = 256 };

/* The way through encoder or decoder, once for each chunk. */
typedef struct {
    ft_graph *g;
    const ft_vae_preset *p;
    ft_t cache[CACHES]; /* last frames that each causal convolution saw, in the order of their use */
    int at;             /* the next of them */
    bool first, last;   /* of the chunks */
    ft_t zq;            /* decoder: the chunk's latent, for its norms; NULL: plain norms */
} walk;

/* Chunks of n frames: the first takes the remainder too. */
static int64_t chunk_count(int64_t n, int64_t chunk) { return chunk && n >= chunk ? n / chunk : 1; }
static int64_t chunk_begin(int64_t n, int64_t chunk, int64_t i) { return i == 0 ? 0 : chunk * i + n % chunk; }
static int64_t chunk_end(int64_t n, int64_t chunk, int64_t i)
{
    return i + 1 == chunk_count(n, chunk) ? n : chunk * (i + 1) + n % chunk;
}

static int64_t halved(int64_t t) { return t / 2 + t % 2; }
static int64_t doubled(int64_t t) { return t % 2 == 0 ? 2 * t : t > 1 ? 2 * t - 1 : 1; }

int64_t ft_vae_latent_frames(const ft_vae_preset *p, int64_t frames)
{
    int64_t sum = 0;
    for (int64_t i = 0; i < chunk_count(frames, p->chunk); i++) {
        int64_t t = chunk_end(frames, p->chunk, i) - chunk_begin(frames, p->chunk, i);
        for (int k = 0; k + 1 < p->levels; k++)
            if (p->down_t[k] == 2) t = halved(t);
        sum += t;
    }
    return sum;
}

int64_t ft_vae_decoded_frames(const ft_vae_preset *p, int64_t latent_frames)
{
    int64_t chunk = p->chunk / ft_vae_time_factor(p), sum = 0;
    for (int64_t i = 0; i < chunk_count(latent_frames, chunk); i++) {
        int64_t t = chunk_end(latent_frames, chunk, i) - chunk_begin(latent_frames, chunk, i);
        for (int k = 0; k + 1 < p->levels; k++)
            if (p->down_t[k] == 2) t = doubled(t);
        sum += t;
    }
    return sum;
}

typedef ft_t pass(walk *w, ft_t x);

static ft_t by_chunks(ft_graph *g, const ft_vae_preset *p, ft_t x, int64_t chunk, pass *one, bool decode)
{
    int64_t n = ft_dim(x, 1), count = chunk_count(n, chunk);
    walk w = {.g = g, .p = p};
    ft_t done = NULL;
    for (int64_t i = 0; i < count; i++) {
        int64_t from = chunk_begin(n, chunk, i);
        ft_t part = count == 1 ? x : ft_slice(g, x, 1, from, chunk_end(n, chunk, i) - from); /* (B,t,...) */
        w.at = 0, w.first = i == 0, w.last = i + 1 == count;
        w.zq = decode && p->conditioned ? part : NULL;
        part = one(&w, part);
        done = done ? ft_concat(g, 1, 2, (ft_t[]){done, part}) : part;
    }
    return done;
}

/* ---- layers ---------------------------------------------------------------------------------------------------------------- */

/* Causal in time: before the first frame stand copies of it; later chunks see the last frames of the chunk before.
 * x (B,T,H,W,C) -> (B,T,H,W,out) */
static ft_t causal_conv(walk *w, const char *name, ft_t x, int64_t out, int64_t kt, int64_t ks)
{
    ft_graph *g = w->g;
    if (kt > 1) {
        if (w->at == CACHES) return ft_graph_fail(g, "vae: more than %d causal convolutions", CACHES);
        ft_t *cache = &w->cache[w->at++];
        x = w->first ? ft_pad_front(g, x, 1, kt - 1, true) : ft_concat(g, 1, 2, (ft_t[]){*cache, x}); /* (B,T+kt-1,H,W,C) */
        if (!w->last) *cache = ft_slice(g, x, 1, ft_dim(x, 1) - (kt - 1), kt - 1);
    }
    return ft_layer_conv(g, ft_name(g, "%s.conv", name), x, out, (int64_t[]){kt, ks, ks}, FT_SAME(ks), true);
}

/* GroupNorm and act; in a conditioned decoder SpatialNorm3D: scale and shift are 1x1x1 convolutions of the latent, resized to x.
 * A 1x1x1 convolution commutes with the nearest resize, so it runs on the latent's few positions. x (B,T,H,W,C) */
static ft_t norm_act(walk *w, const char *name, ft_t x, ft_act act)
{
    ft_graph *g = w->g;
    int64_t c = ft_dim(x, -1), t = ft_dim(x, 1), tz;
    if (!w->zq) return ft_layer_groupnorm(g, name, x, w->p->groups, 1e-6f, act);
    ft_t gamma = ft_param(g, ft_name(g, "%s.norm_layer.weight", name), 1, &c, FT_ONE),
         beta = ft_param(g, ft_name(g, "%s.norm_layer.bias", name), 1, &c, FT_ZERO);
    int64_t unit[3] = {1, 1, 1};
    ft_t scale = ft_layer_conv(g, ft_name(g, "%s.conv_y.conv", name), w->zq, c, unit, (ft_conv_opt){0}, true), /* (B,tz,h,w,C) */
        shift = ft_layer_conv(g, ft_name(g, "%s.conv_b.conv", name), w->zq, c, unit, (ft_conv_opt){0}, true);
    int32_t frame[FRAMES];
    if (t > FRAMES) return ft_graph_fail(g, "vae: a chunk of %lld frames, at most %d", (long long)t, FRAMES);
    tz = ft_dim(w->zq, 1);
    for (int64_t i = 0; i < t; i++) /* an odd number of frames: the first belongs to the first latent alone */
        frame[i] = (int32_t)(t > 1 && t % 2 ? (i ? 1 + (i - 1) * (tz - 1) / (t - 1) : 0) : i * tz / t);
    return ft_groupnorm_conditioned(g, x, gamma, beta, scale, shift, frame, w->p->groups, 1e-6f, act);
}

/* h = conv2(SiLU(norm2(conv1(SiLU(norm1(x)))))); x + h, with a 1x1x1 shortcut where the width changes */
static ft_t resnet(walk *w, const char *name, ft_t x, int64_t out, int64_t kt)
{
    ft_graph *g = w->g;
    ft_t h = norm_act(w, ft_name(g, "%s.norm1", name), x, FT_ACT_SILU);
    h = causal_conv(w, ft_name(g, "%s.conv1", name), h, out, kt, 3);
    h = norm_act(w, ft_name(g, "%s.norm2", name), h, FT_ACT_SILU);
    h = causal_conv(w, ft_name(g, "%s.conv2", name), h, out, kt, 3);
    if (ft_dim(x, -1) != out)
        x = ft_layer_conv(g, ft_name(g, "%s.conv_shortcut", name), x, out, (int64_t[]){1, 1, 1}, (ft_conv_opt){0}, true);
    return ft_add(g, x, h);
}

/* One 3x3 convolution per frame, stride s; stride 2 pads one zero at right and bottom. (B,T,H,W,C) -> (B,T,H/s,W/s,C) */
static ft_t frame_conv(ft_graph *g, const char *name, ft_t x, int64_t stride)
{
    int64_t front = stride == 2 ? 0 : 1;
    ft_conv_opt opt = {.stride = {1, stride, stride}, .pad_front = {0, front, front}, .pad_back = {0, 1, 1}};
    return ft_layer_conv(g, ft_name(g, "%s.conv", name), x, ft_dim(x, -1), (int64_t[]){0, 3, 3}, opt, true);
}

/* Frame i of the result is the mean of `each` frames from first[i] on. (B,T,H,W,C) -> (B,n,H,W,C) */
static ft_t pick_frames(ft_graph *g, ft_t x, int64_t n, const int32_t *first, const int32_t *each)
{
    int32_t begin[FRAMES + 1], index[2 * FRAMES];
    float weight[2 * FRAMES];
    begin[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        begin[i + 1] = begin[i] + each[i];
        for (int32_t k = 0; k < each[i]; k++) index[begin[i] + k] = first[i] + k, weight[begin[i] + k] = 1.0f / (float)each[i];
    }
    return ft_resample(g, x, 1, &(ft_sparse){n, begin, index, weight});
}

/* Means of frame pairs; an odd number keeps its first frame. */
static ft_t halve_time(ft_graph *g, ft_t x)
{
    int64_t t = ft_dim(x, 1), n = halved(t), odd = t % 2;
    int32_t first[FRAMES], each[FRAMES];
    if (t == 1) return x;
    if (n > FRAMES) return ft_graph_fail(g, "vae: a chunk of %lld frames, at most %d", (long long)t, FRAMES);
    for (int64_t i = 0; i < n; i++) first[i] = (int32_t)(odd ? (i ? 2 * i - 1 : 0) : 2 * i), each[i] = odd && i == 0 ? 1 : 2;
    return pick_frames(g, x, n, first, each);
}

/* Every frame twice; the first of an odd number once. */
static ft_t double_time(ft_graph *g, ft_t x)
{
    int64_t t = ft_dim(x, 1), n = doubled(t), odd = t % 2;
    int32_t first[FRAMES], each[FRAMES];
    if (t == 1) return x;
    if (n > FRAMES) return ft_graph_fail(g, "vae: a chunk of %lld frames, at most %d", (long long)n, FRAMES);
    for (int64_t i = 0; i < n; i++) first[i] = (int32_t)(odd ? (i + 1) / 2 : i / 2), each[i] = 1;
    return pick_frames(g, x, n, first, each);
}

/* (B,T,H,W,C) -> (B,T,H/p,W/p,p*p*C), pixel order (row, column, channel) */
static ft_t fold(ft_graph *g, ft_t x, int64_t p)
{
    int64_t b = ft_dim(x, 0), t = ft_dim(x, 1), h = ft_dim(x, 2), w = ft_dim(x, 3), c = ft_dim(x, 4);
    if (p == 1) return x;
    x = ft_reshape(g, x, 6, (int64_t[]){b * t, h / p, p, w / p, p, c});
    x = ft_permute(g, x, (int[]){0, 1, 3, 2, 4, 5});
    return ft_reshape(g, x, 5, (int64_t[]){b, t, h / p, w / p, p * p * c});
}

static ft_t unfold(ft_graph *g, ft_t x, int64_t p)
{
    int64_t b = ft_dim(x, 0), t = ft_dim(x, 1), h = ft_dim(x, 2), w = ft_dim(x, 3), c = ft_dim(x, 4) / (p * p);
    if (p == 1) return x;
    x = ft_reshape(g, x, 6, (int64_t[]){b * t, h, w, p, p, c});
    x = ft_permute(g, x, (int[]){0, 1, 3, 2, 4, 5});
    return ft_reshape(g, x, 5, (int64_t[]){b, t, h * p, w * p, c});
}

/* ---- frequency compensation (MedSora Fig 4) ---------------------------------------------------------- */

/* x + ReLU(conv(ReLU(conv(x)))), 3x3. Released: the chunk's two frames are channels of one image, c * 2 + frame; clean: frame by
 * frame, and the second convolution starts at zero. x (B,T,H,W,C) */
static ft_t compensate_middle(walk *w, const char *name, ft_t x)
{
    ft_graph *g = w->g;
    int64_t b = ft_dim(x, 0), t = ft_dim(x, 1), hh = ft_dim(x, 2), ww = ft_dim(x, 3), c = ft_dim(x, 4), k[3] = {0, 3, 3};
    ft_conv_opt relu = FT_SAME(3);
    relu.act = FT_ACT_RELU;
    if (w->p->fc == FT_FC_NONE) return x;
    if (w->p->fc == FT_FC_CLEAN) {
        ft_t h = ft_layer_conv(g, ft_name(g, "%s.0", name), x, c, k, relu, true);
        ft_t last = ft_param(g, ft_name(g, "%s.2.weight", name), 4, (int64_t[]){c, c, 3, 3}, FT_ZERO);
        last = ft_reshape(g, last, 5, (int64_t[]){c, c, 1, 3, 3}); /* no ReLU behind: at zero it would never learn */
        return ft_add(g, x, ft_conv(g, h, last, ft_param(g, ft_name(g, "%s.2.bias", name), 1, &c, FT_ZERO), FT_SAME(3)));
    }
    if (t != 2)
        return ft_graph_fail(g,
                             "the released frequency compensation needs chunks of 2 latent frames, not %lld: frames must be a "
                             "multiple of 8. Or use frequency_compensation: clean",
                             (long long)t);
    ft_t h = ft_reshape(g, ft_permute(g, x, (int[]){0, 2, 3, 4, 1}), 5, (int64_t[]){b, 1, hh, ww, c * t});
    h = ft_layer_conv(g, ft_name(g, "%s.0", name), h, c * t, k, relu, true);
    h = ft_layer_conv(g, ft_name(g, "%s.2", name), h, c * t, k, relu, true);
    h = ft_permute(g, ft_reshape(g, h, 5, (int64_t[]){b, hh, ww, c, t}), (int[]){0, 4, 1, 2, 3});
    return ft_add(g, x, h);
}

/* x + conv(dropout(ReLU(norm(x)))), 3x3x3. Released: BatchNorm, zeros around the chunk in time; clean: GroupNorm, causal, starts
 * at zero. x (B,T,H,W,C) */
static ft_t compensate_level(walk *w, const char *name, ft_t x)
{
    ft_graph *g = w->g;
    int64_t c = ft_dim(x, -1);
    if (w->p->fc == FT_FC_NONE) return x;
    if (w->p->fc == FT_FC_RELEASED) {
        ft_conv_opt around = {.pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}};
        ft_t h = ft_dropout(g, ft_layer_batchnorm(g, ft_name(g, "%s.0", name), x, 0, FT_ACT_RELU), 0.2f);
        return ft_add(g, x, ft_layer_conv(g, ft_name(g, "%s.3", name), h, c, (int64_t[]){3, 3, 3}, around, true));
    }
    ft_param(g, ft_name(g, "%s.3.conv.weight", name), 5, (int64_t[]){c, c, 3, 3, 3}, FT_ZERO); /* made here, at zero */
    ft_param(g, ft_name(g, "%s.3.conv.bias", name), 1, &c, FT_ZERO);
    ft_t h = ft_layer_groupnorm(g, ft_name(g, "%s.0", name), x, w->p->groups, 1e-6f, FT_ACT_RELU);
    return ft_add(g, x, causal_conv(w, ft_name(g, "%s.3", name), h, c, 3, 3));
}

/* ---- encoder, decoder --------------------------------------------------------------------------------------------------- */

static ft_t encode_chunk(walk *w, ft_t h) /* (B,T,S,S,3) -> (B,t,s,s,2z) f32 */
{
    const ft_vae_preset *p = w->p;
    ft_graph *g = w->g;
    h = causal_conv(w, "encoder.conv_in", fold(g, h, p->patch), p->channels[0], p->kernel_t[0], 3);
    for (int i = 0; i < p->levels; i++) {
        for (int j = 0; j < p->layers; j++)
            h = resnet(w, ft_name(g, "encoder.down_blocks.%d.resnets.%d", i, j), h, p->channels[i], p->kernel_t[i]);
        if (i + 1 == p->levels) break;
        if (p->down_t[i] == 2) h = halve_time(g, h);
        h = frame_conv(g, ft_name(g, "encoder.down_blocks.%d.downsamplers.0", i), h, p->down_s[i]);
    }
    for (int j = 0; j < p->middle; j++)
        h = resnet(w, ft_name(g, "encoder.mid_block.resnets.%d", j), h, p->channels[p->levels - 1], 3);
    h = compensate_middle(w, "encoder.frequency_compensation", h);
    h = norm_act(w, "encoder.norm_out", h, FT_ACT_SILU);
    return ft_cast(g, causal_conv(w, "encoder.conv_out", h, 2 * p->latent, 3, 3), FT_F32);
}

static ft_t decode_chunk(walk *w, ft_t z) /* (B,t,s,s,z) -> (B,T,S,S,3) */
{
    const ft_vae_preset *p = w->p;
    ft_graph *g = w->g;
    int top = p->levels - 1;
    ft_t h = causal_conv(w, "decoder.conv_in", z, p->channels[top], 3, 3);
    for (int j = 0; j < p->middle; j++) h = resnet(w, ft_name(g, "decoder.mid_block.resnets.%d", j), h, p->channels[top], 3);
    h = compensate_middle(w, "decoder.frequency_compensation", h);
    for (int i = 0; i < p->levels; i++) { /* up_blocks.0 is the coarsest */
        int level = top - i;
        for (int j = 0; j < p->upper; j++)
            h = resnet(w, ft_name(g, "decoder.up_blocks.%d.resnets.%d", i, j), h, p->channels[level], p->kernel_t[level]);
        if (level > 0) {
            if (p->down_t[i] == 2)
                h = double_time(g, h); /* time first, as the reference: its decoder does not mirror its encoder */
            if (p->down_s[level - 1] == 2) h = ft_upsample(g, h, (int64_t[]){1, 2, 2});
            h = frame_conv(g, ft_name(g, "decoder.up_blocks.%d.upsamplers.0", i), h, 1);
        }
        h = compensate_level(w, ft_name(g, "decoder.up_freq_compensations.%d", i), h);
    }
    h = norm_act(w, "decoder.norm_out", h, FT_ACT_SILU);
    return unfold(g, causal_conv(w, "decoder.conv_out", h, 3 * p->patch * p->patch, p->kernel_t[0], 3), p->patch);
}

static ft_t encode(ft_graph *g, const ft_vae_preset *p, ft_t x)
{
    return by_chunks(g, p, ft_cast(g, x, ft_compute(g)), p->chunk, encode_chunk, false);
}

static ft_t decode(ft_graph *g, const ft_vae_preset *p, ft_t z)
{
    return by_chunks(g, p, ft_cast(g, z, ft_compute(g)), p->chunk / ft_vae_time_factor(p), decode_chunk, true);
}

static ft_t last_weight(ft_graph *g, const ft_vae_preset *p)
{
    int64_t k = p->kernel_t[0], dim[5] = {3 * p->patch * p->patch, p->channels[0], k, 3, 3};
    return ft_param(g, "decoder.conv_out.conv.weight", 5, dim, FT_ZERO);
}

const ft_vae_family ft_vae_causal = {encode, decode, last_weight};

ft_t ft_vae_encode(ft_graph *g, const ft_vae_preset *p, ft_t x) { return p->family->encode(g, p, x); }
ft_t ft_vae_decode(ft_graph *g, const ft_vae_preset *p, ft_t z) { return p->family->decode(g, p, z); }
ft_t ft_vae_last_weight(ft_graph *g, const ft_vae_preset *p) { return p->family->last_weight(g, p); }
