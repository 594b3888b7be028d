#include "gen/align.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranges.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/safetensors.h"
#include "common/io/weights.h"
#include "common/vision/dino.h"
#include "gen/flow.h"
#include "gen/raft.h"
#include "gen/vae_train.h"
#include "kernels/elem.h"

/* ---- settings ----------------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_align_mode mode;
    double weight, margin;
    bool decay;
    const char *mode_name, *teacher, *weights;
    /* of the teacher's pictures */
    bool of_flow; /* else of the frames */
    const char *flow, *flow_weights;
    const ft_raft_preset *raft; /* NULL: least squares */
    int flow_iterations;
    bool released_range;
    ft_flow_colors colors;
} align_opt;

static align_opt align_options(const ft_config *cfg)
{
    align_opt o = {.weight = ft_config_real(cfg, "align.weight"),
                   .margin = ft_config_real(cfg, "align.margin"),
                   .decay = ft_config_bool(cfg, "align.decay"),
                   .mode_name = ft_config_text(cfg, "align.mode"),
                   .teacher = ft_config_text(cfg, "align.teacher"),
                   .weights = ft_config_text(cfg, "align.weights"),
                   .of_flow = ft_config_is(cfg, "align.input", "flow"),
                   .flow = ft_config_text(cfg, "align.flow"),
                   .flow_weights = ft_config_text(cfg, "align.flow_weights"),
                   .flow_iterations = (int)ft_config_int(cfg, "align.flow_iterations"),
                   .released_range = ft_config_is(cfg, "align.flow_range", "released"),
                   .colors = ft_config_is(cfg, "align.colors", "hsv") ? FT_FLOW_HSV : FT_FLOW_WHEEL};
    o.raft = ft_raft_find(o.flow);
    o.mode = !strcmp(o.mode_name, "paper")      ? FT_ALIGN_PAPER
             : !strcmp(o.mode_name, "endora")   ? FT_ALIGN_ENDORA
             : !strcmp(o.mode_name, "released") ? FT_ALIGN_RELEASED
             : !strcmp(o.mode_name, "trd")      ? FT_ALIGN_TRD
                                                : FT_ALIGN_SPATIAL;
    return o;
}

/* ---- flow --------------------------------------------------------------------------------------------------------------- */

/* Flow of all neighbouring frames of a clip, by RAFT or by least squares. */
typedef struct {
    bool raft;
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t a, b, out;
    float low; /* pixel 0..255 to low + v * step */
    float step;
} flow_maker;

static void flow_free(flow_maker *f)
{
    ft_plan_free(f->plan);
    ft_graph_free(f->g);
    ft_params_free(f->params);
}

static int no_weights(const char *what, const char *key)
{
    ft_warn("%s: no %s: a network of fixed random weights takes its place. Import trained ones for the method as published", what,
            key);
    return FT_OK;
}

static int fits(const align_opt *o, int size)
{
    if (!o->raft || !o->of_flow || (size % 8 == 0 && size >= 64)) return FT_OK;
    return FT_FAIL(FT_ECONFIG, "align.flow %s needs at least 64 pixels, a multiple of 8, not %d", o->flow, size);
}

int ft_align_fits(const ft_config *cfg, int size)
{
    align_opt o = align_options(cfg);
    return o.weight > 0 ? fits(&o, size) : FT_OK;
}

static int flow_new(flow_maker *f, const align_opt *o, int frames, int size)
{
    memset(f, 0, sizeof *f);
    f->raft = o->raft != NULL;
    if (!f->raft) return FT_OK;
    FT_TRY(fits(o, size));
    /* RAFT wants 2 v / 255 - 1. The released code hands it [-1,1] as if it were 0..255: all it sees is -1 + 1/255 of it. */
    f->step = o->released_range ? 2.0f / 255 * 2 / 255 : 2.0f / 255, f->low = o->released_range ? -1 - 2.0f / 255 : -1;
    int64_t dim[4] = {frames - 1, size, size, 3};
    f->params = ft_params_new(0);
    if (!f->params || !(f->g = ft_graph_new(f->params, FT_F32, FT_GRAPH_NAMES)))
        return FT_FAIL(FT_ENOMEM, "no memory for %s", o->flow);
    FT_TRY(ft_params_train_only(f->params, 0, NULL));
    ft_training(f->g, false);
    f->a = ft_input(f->g, "image1", FT_F32, 4, dim), f->b = ft_input(f->g, "image2", FT_F32, 4, dim);
    f->out = ft_raft(f->g, o->raft, f->a, f->b, o->flow_iterations);
    ft_keep(f->out);
    FT_TRY(ft_plan_new(&f->plan, f->g, FT_WEIGHTS));
    if (!*o->flow_weights) return no_weights(o->flow, "align.flow_weights");
    return ft_weights_load(o->flow_weights, f->params, FT_WEIGHTS, NULL);
}

/* clip (F,S,S,3) to F - 1 flows (S,S,2) */
static int flow_of(flow_maker *f, const uint8_t *clip, int frames, int size, float *flow)
{
    int64_t pixels = (int64_t)size * size, each = pixels * 3;
    if (f->raft) {
        for (int64_t i = 0; i < (frames - 1) * each; i++) {
            ((float *)ft_data(f->a))[i] = f->low + (float)clip[i] * f->step;
            ((float *)ft_data(f->b))[i] = f->low + (float)clip[i + each] * f->step;
        }
        FT_TRY(ft_run(f->plan, &(ft_step){0}));
        memcpy(flow, ft_data(f->out), (size_t)ft_count(f->out) * 4);
        return FT_OK;
    }
    float *grey = ft_alloc((size_t)(frames * pixels) * sizeof *grey);
    if (!grey) return FT_FAIL(FT_ENOMEM, "no memory for flow");
    for (int64_t i = 0; i < frames * pixels; i++)
        grey[i] = 0.299f * (float)clip[3 * i] + 0.587f * (float)clip[3 * i + 1] + 0.114f * (float)clip[3 * i + 2];
    int rc = FT_OK;
    for (int k = 0; rc == FT_OK && k + 1 < frames; k++)
        rc = ft_flow_lucas_kanade(grey + k * pixels, grey + (k + 1) * pixels, size, flow + k * pixels * 2);
    ft_free(grey);
    return rc;
}

/* ---- teachers ----------------------------------------------------------------------------------------------------------- */

/* What a teacher makes of F pictures: features (frames, tokens of a grid) of several layers. */
typedef struct {
    const ft_dino_preset *dino;
    ft_vae_runner vae;
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t in, layer[FT_ALIGN_BLOCKS];
    int layers; /* one for each aligned block of the generator */
    int64_t frames, side, channels;
    bool normalise; /* colours as ImageNet's, else 0..255 as the released code feeds them */
    bool as_is;     /* features as the teacher gives them, else each normalised over its channels */
} teacher;

static void teacher_free(teacher *t)
{
    ft_vae_runner_free(&t->vae);
    ft_plan_free(t->plan);
    ft_graph_free(t->g);
    ft_params_free(t->params);
}

/* the teacher's layer for block i of n: evenly, as the released code picks them */
static int layer_of(int i, int n, int depth)
{
    int l = n < depth ? (int)lround((double)i * depth / n) : (int)((int64_t)i * depth / n);
    return l < depth ? l : depth - 1;
}

/* the end of the i-th of n even parts of `depth`: 2, 5, 8, 11 of 12 in four */
static int end_of(int i, int n, int depth) { return (i + 1) * depth / n - 1; }

/* *dino: its preset, NULL: it is the VAE */
static int find_teacher(const align_opt *o, const ft_dino_preset **dino)
{
    *dino = ft_dino_find(o->teacher);
    if (*dino || !strcmp(o->teacher, "vae")) return FT_OK;
    return FT_FAIL(FT_ECONFIG, "align.teacher %s is not known: dino-vits8, dino-vitb16, dinov2-s14 ... (`forty models`), or vae",
                   o->teacher);
}

/* cfg: of the VAE in vae_dir, where that is the teacher */
static int teacher_new(teacher *t, const align_opt *o, const ft_config *cfg, const char *vae_dir, const ft_align *a, int frames,
                       int size)
{
    const char *name = o->teacher;
    int block[FT_ALIGN_BLOCKS], blocks = a->blocks;
    memset(t, 0, sizeof *t);
    t->layers = blocks;
    t->as_is = a->mode == FT_ALIGN_ENDORA;
    FT_TRY(find_teacher(o, &t->dino));
    if (!t->dino) {
        FT_TRY(ft_vae_runner_new(&t->vae, cfg, vae_dir, FT_VAE_ENCODE, 1, frames, size));
        t->frames = ft_dim(t->vae.out, 1), t->side = ft_dim(t->vae.out, 2), t->channels = ft_dim(t->vae.out, 4) / 2;
        return FT_OK;
    }
    t->frames = frames, t->side = (size + t->dino->patch / 2) / t->dino->patch, t->channels = t->dino->width;
    t->normalise = *o->weights != 0;
    t->params = ft_params_new(0);
    if (!t->params || !(t->g = ft_graph_new(t->params, FT_F32, FT_GRAPH_NAMES)))
        return FT_FAIL(FT_ENOMEM, "no memory for %s", name);
    FT_TRY(ft_params_train_only(t->params, 0, NULL));
    ft_training(t->g, false);
    t->in = ft_input(t->g, "x", FT_F32, 4, (int64_t[]){frames, size, size, 3});
    for (int i = 0; i < blocks; i++)
        block[i] = t->as_is ? end_of(i, blocks, t->dino->depth) : layer_of(i, blocks, t->dino->depth);
    ft_t x = t->in;
    int64_t whole = t->side * t->dino->patch; /* patches of 14 fit few clips: pictures are made as large as whole ones */
    for (int axis = 1; axis < 3 && whole != size; axis++) x = ft_resize(t->g, x, axis, whole, FT_CUBIC, 0);
    ft_dino(t->g, t->dino, x, blocks, block, t->layer);
    for (int i = 0; i < blocks; i++) ft_keep(t->layer[i]);
    ft_t all; /* the last block too, so that a file of all weights fits */
    ft_dino(t->g, t->dino, x, 1, (int[]){t->dino->depth - 1}, &all);
    FT_TRY(ft_plan_new(&t->plan, t->g, FT_WEIGHTS));
    return t->normalise ? ft_weights_load(o->weights, t->params, FT_WEIGHTS, NULL) : no_weights(name, "align.weights");
}

/* pictures (F,S,S,3); afterwards features_of gives each layer's (frames, side, side, channels) */
static int teach(teacher *t, const uint8_t *rgb, int size)
{
    int64_t n = t->dino ? ft_count(t->in) : ft_count(t->vae.in);
    if (!t->dino) {
        ft_to_unit(ft_data(t->vae.in), rgb, n / (size * 3), size, false);
        return ft_run(t->vae.plan, &(ft_step){0});
    }
    float *x = ft_data(t->in);
    for (int64_t i = 0; i < n; i++)
        x[i] = t->normalise ? ((float)rgb[i] / 255 - ft_imagenet_mean[i % 3]) / ft_imagenet_std[i % 3] : (float)rgb[i];
    return ft_run(t->plan, &(ft_step){0});
}

static void features_of(const teacher *t, int layer, float *out)
{
    int64_t tokens = t->side * t->side, c = t->channels, extra = t->dino ? ft_dino_extra(t->dino) : 0;
    for (int64_t f = 0; f < t->frames; f++)
        for (int64_t k = 0; k < tokens; k++) {
            const float *from = t->dino ? (const float *)ft_data(t->layer[layer]) + (f * (tokens + extra) + extra + k) * c
                                        : (const float *)ft_data(t->vae.out) + (f * tokens + k) * 2 * c; /* the mean */
            float *to = out + (f * tokens + k) * c;
            if (t->as_is) {
                memcpy(to, from, (size_t)c * sizeof *to);
                continue;
            }
            double sum = 0, square = 0;
            for (int64_t i = 0; i < c; i++) sum += (double)from[i], square += (double)from[i] * (double)from[i];
            double mean = sum / (double)c, rstd = 1 / sqrt(fmax(square / (double)c - mean * mean, 0) + 1e-6);
            for (int64_t i = 0; i < c; i++) to[i] = (float)(((double)from[i] - mean) * rstd); /* LayerNorm without affine */
        }
}

/* ---- targets on the generator's grid ------------------------------------------------------------------------------------ */

/* bilinear resize of one axis, align_corners false: y (outer, m, inner) of x (outer, n, inner) */
static void resize(const float *x, int64_t outer, int64_t n, int64_t inner, int64_t m, float *y)
{
    for (int64_t o = 0; o < outer; o++)
        for (int64_t j = 0; j < m; j++) {
            double at = fmax(((double)j + 0.5) * (double)n / (double)m - 0.5, 0);
            int64_t low = (int64_t)at, high = low + 1 < n ? low + 1 : n - 1;
            float w = (float)(at - (double)low);
            for (int64_t i = 0; i < inner; i++)
                y[(o * m + j) * inner + i] = (1 - w) * x[(o * n + low) * inner + i] + w * x[(o * n + high) * inner + i];
        }
}

/* x (F, 2 grid, 2 grid, c) -> y (F, grid, grid, 4c): the four features of each token, in the order (c, 2, 2) of a kernel */
static void pair_up(const float *x, int64_t frames, int64_t grid, int64_t c, float *y)
{
    for (int64_t f = 0; f < frames; f++)
        for (int64_t i = 0; i < 2 * grid; i++)
            for (int64_t j = 0; j < 2 * grid; j++)
                for (int64_t k = 0; k < c; k++)
                    y[(((f * grid + i / 2) * grid + j / 2) * c + k) * 4 + i % 2 * 2 + j % 2] =
                        x[((f * 2 * grid + i) * 2 * grid + j) * c + k];
}

/* x (frames, side, side, c) of the teacher to (a->frames, grid, grid, channels); u, v: room for two such */
static void on_grid(const ft_align *a, const teacher *t, float *u, float *v)
{
    int64_t c = t->channels, tokens = t->side * t->side, frames = a->frames, cells = a->grid * a->grid;
    if (a->mode == FT_ALIGN_PAPER || a->mode == FT_ALIGN_RELEASED) { /* mean of all frames, for every latent frame */
        ft_mean_ranges(u, t->frames, tokens * c, 1, v);
        resize(v, 1, tokens, c, cells, u);
        resize(u, cells, c, 1, a->channels, v);
        for (int64_t f = 0; f < frames; f++) memcpy(u + f * cells * a->channels, v, (size_t)(cells * a->channels) * sizeof *u);
        return;
    }
    ft_mean_ranges(u, t->frames, tokens * c, frames, v); /* its own frames */
    if (a->mode == FT_ALIGN_ENDORA) {
        resize(v, frames, t->side, t->side * c, 2 * a->grid, u);
        resize(u, frames * 2 * a->grid, t->side, c, 2 * a->grid, v);
        pair_up(v, frames, a->grid, c, u);
        return;
    }
    resize(v, frames, t->side, t->side * c, a->grid, u);
    resize(u, frames * a->grid, t->side, c, a->grid, v);
    if (a->channels == c) memcpy(u, v, (size_t)(frames * cells * c) * sizeof *u);
    else resize(v, frames * cells, c, 1, a->channels, u);
}

static uint16_t to_bf16(float v)
{
    union {
        float f;
        uint32_t u;
    } b = {v};
    return (uint16_t)((b.u + 0x7FFF + (b.u >> 16 & 1)) >> 16);
}

static int make_targets(ft_align *a, const align_opt *o, const ft_clip_pool *clips, teacher *t, const char *path)
{
    const ft_clipstore *s = clips->store;
    int64_t picture = (int64_t)s->size * s->size * 3, clip = picture * s->frames;
    int64_t room = t->frames * t->side * t->side * t->channels, wide = a->frames * a->grid * a->grid;
    wide *= a->channels > t->channels ? a->channels : t->channels;
    if (a->frames * t->side * t->side * t->channels > room) room = a->frames * t->side * t->side * t->channels;
    room = 2 * (room > wide ? room : wide); /* a resize along one axis may be wider than both ends */
    flow_maker f = {0};
    uint8_t *rgb = ft_alloc((size_t)clip), *seen = ft_alloc((size_t)clip);
    float *field = ft_alloc((size_t)(s->frames * (int64_t)s->size * s->size * 2) * sizeof *field),
          *u = ft_alloc((size_t)room * sizeof *u), *v = ft_alloc((size_t)room * sizeof *v);
    int rc = rgb && seen && field && u && v ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for the teacher's features");
    if (rc == FT_OK && o->of_flow) rc = flow_new(&f, o, s->frames, s->size);
    ft_progress bar;
    ft_progress_start(&bar, "features of the teacher", a->n);
    for (int64_t k = 0; rc == FT_OK && k < a->n; k++) {
        const uint8_t *p = ft_clip_pixels(s, clips->clip[k % clips->n]);
        for (int64_t i = 0; i < clip / 3; i++) /* the second half is mirrored */
            memcpy(rgb + 3 * i, p + 3 * (k < clips->n ? i : i - i % s->size + s->size - 1 - i % s->size), 3);
        memcpy(seen, rgb, (size_t)clip);
        if (o->of_flow) {
            rc = flow_of(&f, rgb, s->frames, s->size, field);
            for (int i = 0; rc == FT_OK && i < s->frames; i++) /* the last frame has no successor: its flow is the one before */
                ft_flow_picture(field + (i + 1 < s->frames ? i : i - 1) * picture / 3 * 2, s->size, o->colors,
                                seen + i * picture);
        }
        if (rc == FT_OK) rc = teach(t, seen, s->size);
        for (int l = 0; rc == FT_OK && l < a->blocks; l++) {
            int64_t one = a->each / a->blocks;
            features_of(t, l, u);
            on_grid(a, t, u, v);
            for (int64_t i = 0; i < one; i++) a->target[k * a->each + l * one + i] = to_bf16(u[i]);
        }
        ft_progress_step(&bar, k + 1);
    }
    ft_progress_end(&bar, a->n);
    if (rc == FT_OK) {
        ft_st_tensor out = {.name = (char *)"target",
                            .dtype = "BF16",
                            .ndim = 2,
                            .dim = {a->n, a->each},
                            .count = a->n * a->each,
                            .data = a->target};
        out.bytes = (size_t)out.count * 2;
        rc = ft_safetensors_write(path, &out, 1, NULL);
    }
    flow_free(&f);
    ft_free(rgb);
    ft_free(seen);
    ft_free(field);
    ft_free(u);
    ft_free(v);
    return rc;
}

/* of a teacher with so many channels; room for the targets */
static int shape_targets(ft_align *a, int64_t channels, int64_t clips)
{
    a->channels = a->mode == FT_ALIGN_TRD ? channels : a->mode == FT_ALIGN_ENDORA ? 4 * channels : a->width;
    a->n = 2 * clips, a->each = a->blocks * a->frames * a->grid * a->grid * a->channels;
    if ((a->target = ft_alloc((size_t)(a->n * a->each) * 2))) return FT_OK;
    return FT_FAIL(FT_ENOMEM, "no memory for %lld MiB of features", (long long)(a->n * a->each >> 19));
}

static int compute_targets(ft_align *a, const align_opt *o, const ft_config *cfg, const ft_clip_pool *pool, const char *vae_dir,
                           const char *path)
{
    teacher t;
    int rc = teacher_new(&t, o, cfg, vae_dir, a, pool->store->frames, pool->store->size);
    if (rc == FT_OK) rc = shape_targets(a, t.channels, pool->n);
    if (rc == FT_OK) rc = make_targets(a, o, pool, &t, path);
    teacher_free(&t);
    return rc;
}

/* No teacher is built for what it said before: its channels are its preset's, a VAE's those of the file. */
static int read_targets(ft_align *a, const align_opt *o, const ft_clip_pool *pool, const char *path)
{
    ft_safetensors st;
    const ft_dino_preset *dino;
    FT_TRY(find_teacher(o, &dino));
    FT_TRY(ft_safetensors_read(&st, path));
    const ft_st_tensor *f = ft_safetensors_find(&st, "target");
    int64_t places = a->blocks * a->frames * a->grid * a->grid * (a->mode == FT_ALIGN_ENDORA ? 4 : 1);
    bool right = f && !strcmp(f->dtype, "BF16") && f->ndim == 2;
    int rc = right ? shape_targets(a, dino ? dino->width : f->dim[1] / places, pool->n) : FT_OK;
    right = right && f->dim[0] == a->n && f->dim[1] == a->each;
    if (rc == FT_OK && !right)
        rc = FT_FAIL(FT_EDATA, "%s: features of other clips or settings. Remove it to make it again", path);
    if (rc == FT_OK) memcpy(a->target, f->data, f->bytes);
    ft_safetensors_free(&st);
    return rc;
}

int ft_align_new(ft_align *a, const ft_config *cfg, const ft_clip_pool *pool, const char *vae_dir, int blocks, int64_t frames,
                 int64_t grid, int64_t width, const char *path)
{
    align_opt o = align_options(cfg);
    *a = (ft_align){
        .mode = o.mode, .weight = o.weight, .margin = o.margin, .decay = o.decay, .frames = frames, .grid = grid, .width = width};
    if (!(a->weight > 0)) return FT_OK;
    bool prior = a->mode == FT_ALIGN_ENDORA;
    a->blocks = prior && blocks > 4 ? 4 : blocks;
    if (a->blocks > FT_ALIGN_BLOCKS) return FT_FAIL(FT_ECONFIG, "alignment of %d blocks, at most %d", blocks, FT_ALIGN_BLOCKS);
    for (int i = 0; i < a->blocks; i++) a->tap[i] = prior ? end_of(i, a->blocks, blocks < 12 ? blocks : 12) : i;
    int rc = ft_exists(path) ? read_targets(a, &o, pool, path) : compute_targets(a, &o, cfg, pool, vae_dir, path);
    if (rc < 0) ft_align_free(a);
    return rc;
}

void ft_align_text(const ft_config *cfg, char *text, size_t size)
{
    align_opt o = align_options(cfg);
    bool own = !strcmp(o.teacher, "vae"), loaded = *o.weights;
    if (!(o.weight > 0)) snprintf(text, size, "none");
    else
        snprintf(text, size, "%s, weight %g, teacher %s%s on %s%s%s", o.mode_name, o.weight,
                 own ? "the run's own VAE" : o.teacher, own || loaded ? "" : " with fixed random weights",
                 o.of_flow ? "flow of " : "frames", o.of_flow ? o.flow : "",
                 o.of_flow && o.raft && !*o.flow_weights ? " with fixed random weights" : "");
}

void ft_align_free(ft_align *a)
{
    ft_free(a->target);
    memset(a, 0, sizeof *a);
}

/* ---- the loss ----------------------------------------------------------------------------------------------------------- */

static ft_t scalar(ft_graph *g, ft_t x)
{
    return ft_reshape(g, ft_reduce(g, x, (1u << ft_ndim(x)) - 1, true), 1, (int64_t[]){1});
}

/* mean |S - S*| beyond the margin, over pairs of tokens of a clip: y (B,K,d), h (B,K,c) */
static ft_t relations(ft_graph *g, ft_t y, ft_t h, float margin, ft_t *distance)
{
    y = ft_l2_normalize(g, y, 1e-6f), h = ft_l2_normalize(g, h, 1e-6f);
    ft_t d = ft_sub(g, ft_cast(g, ft_matmul(g, y, y, false, true), FT_F32), ft_cast(g, ft_matmul(g, h, h, false, true), FT_F32));
    d = ft_unary(g, FT_ABS, d); /* (B,K,K) */
    *distance = scalar(g, d);
    return ft_unary(g, FT_RELU, ft_affine(g, d, 1, -margin));
}

/* Endora's: y (B,K,d), h (B,K,4c), K tokens of `frames` frames. A mean over the channels behind a convolution is a convolution
 * with the mean of its kernels, so that is all that is computed. Endora normalises both over the tokens before the correlation,
 * which does not change it. */
static ft_t prior_correlation(ft_graph *g, ft_t y, ft_t h, int64_t frames)
{
    int64_t B = ft_dim(y, 0), K = ft_dim(y, 1), d = ft_dim(y, 2), four = ft_dim(h, 2), rows[2] = {B * frames, K / frames};
    ft_t w = ft_param(g, "training.prior_adapter.weight", 4, (int64_t[]){d, four / 4, 2, 2}, ft_init_uniform_fan(four));
    w = ft_reduce(g, ft_reshape(g, w, 2, (int64_t[]){d, four}), 1, true);       /* (1,4c) */
    h = ft_linear(g, ft_cast(g, h, FT_F32), w, NULL);                           /* (B,K,1) */
    y = ft_reduce(g, ft_cast(g, y, FT_F32), 4, true);                           /* (B,K,1) */
    return ft_pearson(g, ft_reshape(g, y, 2, rows), ft_reshape(g, h, 2, rows)); /* (B frames) */
}

ft_t ft_align_loss(ft_graph *g, const ft_align *a, const ft_t *tap, ft_t target, ft_t decay, ft_t *measure)
{
    int64_t B = ft_dim(tap[0], 0), K = a->frames * a->grid * a->grid, d = a->width, c = a->channels;
    ft_t sum = NULL, seen = NULL;
    for (int i = 0; i < a->blocks; i++) {
        ft_t y = ft_reshape(g, ft_slice(g, tap[a->tap[i]], 1, 0, a->frames), 3, (int64_t[]){B, K, d}); /* images are left out */
        ft_t h = ft_reshape(g, ft_slice(g, target, 1, i * K * c, K * c), 3, (int64_t[]){B, K, c}), r, m;
        if (a->mode == FT_ALIGN_TRD) {
            r = relations(g, y, h, (float)a->margin, &m); /* (B,K,K) */
            r = ft_reduce(g, r, 6, true);
            r = ft_reshape(g, r, 2, (int64_t[]){B, 1});
        } else if (a->mode == FT_ALIGN_ENDORA) {
            m = ft_affine(g, scalar(g, prior_correlation(g, y, h, a->frames)), -1, 1);
            r = ft_broadcast(g, ft_reshape(g, m, 2, (int64_t[]){1, 1}), 2, (int64_t[]){B, 1}, 1);
        } else if (a->mode == FT_ALIGN_PAPER) { /* one correlation for each channel, over the batch's tokens */
            ft_t rho = ft_pearson(g, ft_permute(g, ft_reshape(g, y, 2, (int64_t[]){B * K, d}), (int[]){1, 0}),
                                  ft_permute(g, ft_reshape(g, h, 2, (int64_t[]){B * K, d}), (int[]){1, 0})); /* (d) */
            m = ft_affine(g, scalar(g, rho), -1, 1);
            r = ft_broadcast(g, ft_reshape(g, m, 2, (int64_t[]){1, 1}), 2, (int64_t[]){B, 1}, 1);
        } else {
            ft_t rho = ft_reshape(g, ft_pearson(g, y, h), 2, (int64_t[]){B, K});
            r = ft_affine(g, ft_reduce(g, rho, 2, true), -1, 1); /* (B,1) */
            m = scalar(g, r);
        }
        sum = sum ? ft_add(g, sum, r) : r;
        seen = seen ? ft_add(g, seen, m) : m;
    }
    float share = 1.0f / (float)a->blocks;
    sum = ft_affine(g, sum, share, 0); /* (B,1) */
    if (measure) ft_keep(*measure = ft_affine(g, seen, share, 0));
    if (a->mode == FT_ALIGN_ENDORA) return ft_affine(g, scalar(g, sum), (float)a->weight, 0);
    ft_t w = ft_reshape(g, decay, 2, (int64_t[]){B, 1}), l;
    if (a->mode == FT_ALIGN_RELEASED) l = ft_mul(g, scalar(g, sum), scalar(g, w)); /* product of means, as the code has it */
    else l = scalar(g, ft_mul(g, sum, w));
    if (a->mode != FT_ALIGN_TRD) l = ft_unary(g, FT_RELU, ft_affine(g, l, 1, -(float)a->margin));
    return ft_affine(g, l, (float)a->weight, 0);
}
