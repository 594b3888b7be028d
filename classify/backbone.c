#include "classify/backbone.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/safetensors.h"
#include "common/io/weights.h"
#include "common/vision/dino.h"
#include "common/vision/judge.h"
#include "gen/vae_train.h"

enum { PICTURES = 16, CLIPS = 8, LARGE_CLIPS = 4 }; /* looked at together: by networks of pictures, of clips, of 224 pixels */

/* What a setting names. */
typedef struct {
    const ft_dino_preset *dino; /* one of the four */
    const ft_judge_preset *judge;
    const ft_classifier *classifier;
    bool vae;
    char preset[64], weights[FT_PATH_GIVEN + 64];
    ft_bank bank;
    ft_vae_preset coder;
} source;

struct ft_backbone {
    source from;
    ft_dino_preset dino;
    int frames, size;           /* of clips */
    int64_t looked, clips;      /* frames of a clip that are looked at; clips a batch */
    int64_t side, grid, dim[3]; /* pixels that a network of pictures sees; places a side */
    int64_t classes;
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t rgb, view, cutout, out;
};

ft_backbone_opt ft_backbone_options(const ft_config *cfg)
{
    return (ft_backbone_opt){.model = ft_config_text(cfg, "features.model"),
                             .weights = ft_config_text(cfg, "features.weights"),
                             .frames = ft_config_int(cfg, "features.frames"),
                             .size = ft_config_int(cfg, "features.size"),
                             .grid = ft_config_int(cfg, "features.grid"),
                             .offset = ft_config_real(cfg, "features.offset"),
                             .precision = ft_precision_options(cfg),
                             .settings = cfg};
}

static const char *origin(const ft_backbone_opt *o, const char *key)
{
    return o->settings ? ft_config_origin(o->settings, key) : "options";
}

/* ---- what a setting names -------------------------------------------------------------------------------------------------- */

/* a stage of an experiment has no settings of its own: those of the experiment are its */
static int vae_run(source *from, const char *run, const ft_config *cfg)
{
    char path[FT_PATH_GIVEN + 64];
    ft_config *own = NULL;
    snprintf(path, sizeof path, "%s/config.yaml", run);
    int rc = FT_OK;
    if (ft_exists(path) && (rc = ft_config_new(&own)) == FT_OK) rc = ft_config_read(own, path);
    if (rc == FT_OK && !own && !cfg) rc = FT_FAIL(FT_EDATA, "%s: is not there, so its settings are not known", path);
    if (rc == FT_OK) rc = ft_vae_of(own ? own : cfg, 1, 64, &from->coder);
    if (rc == FT_OK && strcmp(from->coder.name, from->preset))
        rc = FT_FAIL(FT_EDATA, "%s: its run.json says %s, its settings %s", run, from->preset, from->coder.name);
    ft_config_free(own);
    return rc;
}

/* the folder of a run */
static int run_of(source *from, const char *run, const ft_config *cfg)
{
    char path[FT_PATH_GIVEN + 64];
    snprintf(path, sizeof path, "%s/run.json", run);
    json_t *m = ft_read_json(path);
    const char *model = json_string_value(json_object_get(m, "model")),
               *evaluated = json_string_value(json_object_get(m, "evaluated"));
    int rc = model ? FT_OK : FT_FAIL(FT_EDATA, "%s: is not there, or does not say which network it was", path);
    bool raw = evaluated && strcmp(evaluated, ft_evaluated_names[FT_EVAL_EMA]) != 0;
    from->bank = raw ? FT_WEIGHTS : FT_EMA;
    snprintf(from->weights, sizeof from->weights, "%s/%s.safetensors", run, raw ? "weights" : "ema");
    if (rc == FT_OK) snprintf(from->preset, sizeof from->preset, "%s", model);
    json_decref(m);
    FT_TRY(rc);
    from->classifier = ft_classifier_find(from->preset);
    if (from->classifier && !from->classifier->of_features) return FT_OK;
    if (!from->classifier && ft_vae_find(from->preset)) return from->vae = true, vae_run(from, run, cfg);
    return FT_FAIL(FT_EDATA, "%s: a run of %s. Features come from classifiers that look at pixels, and from VAEs", run,
                   from->preset);
}

static int source_of(source *from, const ft_backbone_opt *o)
{
    const char *model = o->model ? o->model : "", *weights = o->weights ? o->weights : "";
    memset(from, 0, sizeof *from);
    if (!*model)
        return FT_FAIL(FT_ECONFIG, "features.model is missing: a preset such as dinov2-s14 with features.weights, or a run");
    if (ft_is_dir(model)) return run_of(from, model, o->settings);
    snprintf(from->preset, sizeof from->preset, "%s", model);
    from->dino = ft_dino_find(model);
    from->classifier = ft_classifier_find(model);
    if (from->classifier && from->classifier->of_features) from->classifier = NULL;
    from->judge = ft_judge_find(model);
    if (!from->dino && !from->classifier && !from->judge)
        return FT_FAIL(
            FT_ECONFIG,
            "%s: features.model %s is neither a preset (dinov2-s14, inception, i3d, x3d-s ...; `forty models`) nor the "
            "folder of a run",
            origin(o, "features.model"), model);
    if (!*weights)
        return FT_FAIL(FT_ECONFIG,
                       "features.weights is missing: %s alone is an untrained network. `forty weights import` reads public ones",
                       model);
    snprintf(from->weights, sizeof from->weights, "%s", weights);
    return FT_OK;
}

int ft_backbone_identity(const ft_backbone_opt *o, char hex[65])
{
    source from;
    char file[65];
    FT_TRY(source_of(&from, o));
    FT_TRY(ft_sha256_file(from.weights, file));
    return ft_json_sha256(json_pack("{s:s,s:s}", "network", from.preset, "weights", file), hex);
}

/* ---- networks ------------------------------------------------------------------------------------------------------------ */

/* y (B,h,w,C) averaged to (B,n*n,C); h and w are multiples of n */
static ft_t places(ft_graph *g, ft_t y, int64_t n)
{
    int64_t b = ft_dim(y, 0), h = ft_dim(y, 1), w = ft_dim(y, 2), c = ft_dim(y, 3);
    y = ft_reduce(g, ft_reshape(g, y, 6, (int64_t[]){b, n, h / n, n, w / n, c}), 1u << 2 | 1u << 4, true);
    return ft_reshape(g, y, 3, (int64_t[]){b, n * n, c});
}

/* x (B,F,S,S,3) in [0,1] -> (B,F,tokens,width) */
static ft_t look_at_pictures(ft_graph *g, const ft_backbone *b, ft_t x)
{
    static const int64_t colours[4] = {1, 1, 1, 3};
    const ft_dino_preset *p = &b->dino;
    int64_t n = ft_dim(x, 0) * ft_dim(x, 1), side = b->side / p->patch, d = p->width;
    float shift[3], scale[3];
    for (int k = 0; k < 3; k++) shift[k] = ft_imagenet_mean[k], scale[k] = 1 / ft_imagenet_std[k];
    x = ft_reshape(g, x, 4, (int64_t[]){n, b->size, b->size, 3});
    for (int axis = 1; axis < 3 && b->side != b->size; axis++) x = ft_resize(g, x, axis, b->side, FT_CUBIC, 0);
    x = ft_mul(g, ft_sub(g, x, ft_const(g, FT_F32, 4, colours, shift)), ft_const(g, FT_F32, 4, colours, scale));
    ft_t y, token[2];
    ft_dino(g, p, x, 1, (int[]){p->depth - 1}, &y); /* (n,extra+side*side,d) */
    token[0] = ft_slice(g, y, 1, 0, 1);
    if (b->grid > 0) {
        ft_t patch = ft_slice(g, y, 1, ft_dino_extra(p), side * side);
        token[1] = places(g, ft_reshape(g, patch, 4, (int64_t[]){n, side, side, d}), b->grid);
    }
    y = b->grid > 0 ? ft_concat(g, 1, 2, token) : token[0];
    return ft_reshape(g, y, 4, (int64_t[]){b->clips, b->looked, ft_dim(y, 1), d});
}

/* x (B,F,S,S,3) in [0,1] -> (B,F,1,width) of pictures, (B,1,1,width) of clips */
static ft_t look_as_judge(ft_graph *g, const ft_backbone *b, ft_t x)
{
    const ft_judge_preset *p = b->from.judge;
    int64_t frames = p->frames ? 1 : b->looked;
    if (!p->frames) x = ft_reshape(g, x, 4, (int64_t[]){b->clips * b->looked, b->size, b->size, 3});
    ft_t y = ft_judge_network(g, p->name, ft_judge_prepare(g, p, x));
    return ft_reshape(g, y, 4, (int64_t[]){b->clips, frames, 1, -1});
}

/* x (B,F,S,S,3) in [0,1] -> (B,1,1,width) */
static ft_t look_as_classifier(ft_graph *g, const ft_backbone *b, ft_t x)
{
    ft_t y = NULL;
    x = ft_affine(g, x, 1 / FT_CLASSIFIER_STD, -FT_CLASSIFIER_MEAN / FT_CLASSIFIER_STD);
    ft_classifier_network(g, b->from.preset, x, b->classes, 0, 0, &y);
    return ft_reshape(g, y, 4, (int64_t[]){ft_dim(x, 0), 1, 1, -1});
}

/* x (B,F,S,S,3) in [0,1] -> (B,f,n*n,z) */
static ft_t look_as_vae(ft_graph *g, const ft_backbone *b, ft_t x)
{
    const ft_vae_preset *p = &b->from.coder;
    int64_t z = p->latent;
    ft_t y = ft_slice(g, ft_vae_encode(g, p, ft_affine(g, x, 2, -1)), 4, 0, z); /* (B,f,s,s,z) */
    int64_t clips = ft_dim(y, 0), f = ft_dim(y, 1), s = ft_dim(y, 2);
    y = places(g, ft_reshape(g, y, 4, (int64_t[]){clips * f, s, s, z}), b->grid);
    return ft_reshape(g, y, 4, (int64_t[]){clips, f, b->grid * b->grid, z});
}

static ft_t network(ft_graph *g, const ft_backbone *b, ft_t x)
{
    return b->from.dino    ? look_at_pictures(g, b, x)
           : b->from.judge ? look_as_judge(g, b, x)
           : b->from.vae   ? look_as_vae(g, b, x)
                           : look_as_classifier(g, b, x);
}

/* ---- opening ------------------------------------------------------------------------------------------------------------- */

/* how many classes the head in a file has; 2 without a head */
static int classes_in(const source *from, int64_t *classes)
{
    ft_safetensors st;
    FT_TRY(ft_safetensors_read(&st, from->weights));
    const ft_st_tensor *t = ft_safetensors_find(&st, from->classifier->head);
    *classes = t && t->ndim ? t->dim[0] : 2;
    ft_safetensors_free(&st);
    return FT_OK;
}

/* frames that a network of pictures looks at, and as many clips at once as make PICTURES */
static void pictures(ft_backbone *b, int64_t frames)
{
    b->looked = frames > 0 && frames < b->frames ? frames : b->frames;
    b->clips = b->looked < PICTURES ? PICTURES / b->looked : 1;
}

/* its size is its own, and it knows no places */
static int measures_of_judge(ft_backbone *b, const ft_backbone_opt *o)
{
    const ft_judge_preset *p = b->from.judge;
    if (!p->frames) return pictures(b, o->frames), FT_OK;
    b->clips = LARGE_CLIPS;
    if (b->frames >= p->fewest) return FT_OK;
    return FT_FAIL(FT_ECONFIG, "%s: features.model: %s sees clips of %d frames at least, not of %d", origin(o, "features.model"),
                   p->name, p->fewest, b->frames);
}

/* Distances are published in features of f32, and half the digits of bf16 show in them: it is taken where that is said, and never
 * because it is faster. */
static int precision_of_judge(const ft_backbone_opt *o, const ft_judge_preset *p, ft_dtype *dtype)
{
    ft_precision_opt wanted = o->precision;
    ft_work work = ft_judge_work(p->name);
    bool chosen = o->settings && ft_config_is(o->settings, "precision", "auto");
    if (chosen || wanted.take[work] == FT_PRECISION_MEASURED) wanted.take[work] = FT_PRECISION_F32;
    return ft_precision_of(&wanted, work, dtype);
}

/* frames, pixels and places, by the kind of network */
static int measures(ft_backbone *b, const ft_backbone_opt *o)
{
    int64_t frames = o->frames, side = o->size, places;
    b->looked = b->frames, b->clips = CLIPS, b->side = b->size, b->grid = o->grid;
    if (b->from.classifier) return classes_in(&b->from, &b->classes);
    if (b->from.judge) return measures_of_judge(b, o);
    if (b->from.dino) {
        b->dino = *b->from.dino;
        b->dino.offset = b->dino.scale ? o->offset : b->dino.offset;
        pictures(b, frames);
        b->side = side > 0 ? side : b->size;
        if (b->side % b->dino.patch)
            return FT_FAIL(FT_ECONFIG, "%s: features.size: %s needs a multiple of %d pixels, not %lld",
                           origin(o, "features.size"), b->from.preset, b->dino.patch, (long long)b->side);
        places = b->side / b->dino.patch;
    } else {
        places = b->size / ft_vae_space_factor(&b->from.coder);
        b->grid = b->grid < 1 ? 1 : 4 * b->grid > places ? places : 4 * b->grid;
        if (b->size % (2 * ft_vae_space_factor(&b->from.coder)))
            return FT_FAIL(FT_ECONFIG, "clips of %d pixels do not fit %s", b->size, b->from.preset);
    }
    if (b->grid > 0 && places % b->grid)
        return FT_FAIL(FT_ECONFIG, "%s: features.grid: %lld places a side cannot be averaged to %lld", origin(o, "features.grid"),
                       (long long)places, (long long)b->grid);
    return FT_OK;
}

/* names every parameter, so that a file of all of them fits */
static int name_all(ft_backbone *b)
{
    const ft_vae_preset *p = &b->from.coder;
    ft_graph *g = ft_graph_new(b->params, FT_F32, FT_GRAPH_NAMES);
    if (!g) return FT_FAIL(FT_ENOMEM, "no memory for %s", b->from.preset);
    if (b->from.vae) {
        int64_t s = b->size / ft_vae_space_factor(p);
        ft_vae_encode(g, p, ft_input(g, "x", FT_F32, 5, (int64_t[]){1, b->frames, b->size, b->size, 3}));
        ft_vae_decode(g, p, ft_input(g, "z", FT_F32, 5, (int64_t[]){1, ft_vae_latent_frames(p, b->frames), s, s, p->latent}));
    }
    int rc = ft_graph_error(g) ? FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", b->from.preset, ft_graph_error(g)) : FT_OK;
    ft_graph_free(g);
    return rc;
}

/* (B,F,S,S,3) in [0,1] */
static ft_t pixels(ft_backbone *b, bool prepared)
{
    const int64_t dim[5] = {b->clips, b->looked, b->size, b->size, 3};
    b->rgb = ft_input(b->g, "rgb", prepared ? FT_F32 : FT_U8, 5, dim);
    if (prepared) return b->rgb;
    b->view = ft_input(b->g, "view", FT_F32, 2, (int64_t[]){b->clips, FT_VIEW_NUMBERS});
    b->cutout = ft_input(b->g, "cutout", FT_F32, 3, (int64_t[]){b->clips, b->looked, 3});
    return ft_augment(b->g, b->rgb, b->view, b->cutout, 0, 1);
}

int ft_backbone_open(ft_backbone **out, const ft_backbone_opt *o, int frames, int size)
{
    ft_dtype dtype;
    source from;
    *out = NULL;
    FT_TRY(source_of(&from, o));
    ft_work work = from.classifier ? from.classifier->work : from.vae ? FT_WORK_CONVOLUTIONS : FT_WORK_PRODUCTS;
    FT_TRY(from.judge ? precision_of_judge(o, from.judge, &dtype) : ft_precision_of(&o->precision, work, &dtype));
    ft_backbone *b = ft_alloc(sizeof *b);
    if (!b) return FT_FAIL(FT_ENOMEM, "no memory for %s", from.preset);
    b->from = from, b->frames = frames, b->size = size;
    int rc = measures(b, o);
    if (rc == FT_OK && (!(b->params = ft_params_new(0)) || !(b->g = ft_graph_new(b->params, dtype, FT_GRAPH_NAMES))))
        rc = FT_FAIL(FT_ENOMEM, "no memory for %s", from.preset);
    if (rc == FT_OK) rc = ft_params_train_only(b->params, 0, NULL);
    if (rc == FT_OK) rc = name_all(b);
    if (rc == FT_OK) {
        ft_training(b->g, false);
        b->out = ft_cast(b->g, network(b->g, b, pixels(b, o->prepared)), FT_F32);
        ft_keep(b->out);
        if (ft_graph_error(b->g)) rc = FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", from.preset, ft_graph_error(b->g));
        for (int i = 0; rc == FT_OK && i < 3; i++) b->dim[i] = ft_dim(b->out, i + 1);
    }
    if (rc == FT_OK) rc = ft_plan_new(&b->plan, b->g, from.bank);
    if (rc == FT_OK)
        rc = from.classifier ? ft_weights_load_some(from.weights, b->params)
                             : ft_weights_load(from.weights, b->params, from.bank, NULL);
    if (rc < 0) ft_backbone_free(b);
    else *out = b;
    return rc;
}

void ft_backbone_free(ft_backbone *b)
{
    if (!b) return;
    ft_plan_free(b->plan);
    ft_graph_free(b->g);
    ft_params_free(b->params);
    ft_free(b);
}

void ft_backbone_shape(const ft_backbone *b, int64_t dim[3]) { memcpy(dim, b->dim, sizeof b->dim); }

/* ---- looking ------------------------------------------------------------------------------------------------------------- */

/* frame k of those that are looked at, evenly from the first to the last; a single one is the middle one */
static int64_t frame_at(const ft_backbone *b, int64_t k)
{
    if (b->looked == b->frames) return k;
    return b->looked == 1 ? b->frames / 2 : (int64_t)llround((double)(k * (b->frames - 1)) / (double)(b->looked - 1));
}

int ft_backbone_run(ft_backbone *b, const ft_clipstore *s, const int64_t *clip, const ft_look *look, int64_t n, float *out)
{
    static const ft_look as_is = {.view = {1, 0, 0, 0, 1, 0, FT_AS_IS, 0, FT_AS_IS, 0}};
    int64_t frame = (int64_t)b->size * b->size * 3, each = b->dim[0] * b->dim[1] * b->dim[2];
    if (s->frames != b->frames || s->size != b->size)
        return FT_FAIL(FT_EDATA, "%s: clips of %d frames and %d pixels, %d and %d expected", s->path, s->frames, s->size,
                       b->frames, b->size);
    for (int64_t at = 0; at < n; at += b->clips) {
        int64_t m = n - at < b->clips ? n - at : b->clips;
        for (int64_t i = 0; i < m; i++) {
            const ft_look *l = look ? &look[at + i] : &as_is;
            memcpy((float *)ft_data(b->view) + i * FT_VIEW_NUMBERS, l->view, sizeof l->view);
            for (int64_t k = 0; k < b->looked; k++) {
                memcpy((uint8_t *)ft_data(b->rgb) + (i * b->looked + k) * frame,
                       ft_clip_pixels(s, clip[at + i]) + frame_at(b, k) * frame, (size_t)frame);
                memcpy((float *)ft_data(b->cutout) + (i * b->looked + k) * 3, l->cutout, sizeof l->cutout);
            }
        }
        FT_TRY(ft_run(b->plan, &(ft_step){0}));
        memcpy(out + at * each, ft_data(b->out), (size_t)(m * each) * sizeof *out);
    }
    return FT_OK;
}

int ft_backbone_run_prepared(ft_backbone *b, const float *x, int64_t n, float *out)
{
    int64_t clip = (int64_t)b->frames * b->size * b->size * 3, each = b->dim[0] * b->dim[1] * b->dim[2];
    int64_t frame = clip / b->frames;
    for (int64_t at = 0; at < n; at += b->clips) {
        int64_t m = n - at < b->clips ? n - at : b->clips;
        for (int64_t i = 0; i < m; i++)
            for (int64_t k = 0; k < b->looked; k++)
                memcpy((float *)ft_data(b->rgb) + (i * b->looked + k) * frame, x + (at + i) * clip + frame_at(b, k) * frame,
                       (size_t)frame * sizeof *x);
        FT_TRY(ft_run(b->plan, &(ft_step){0}));
        memcpy(out + at * each, ft_data(b->out), (size_t)(m * each) * sizeof *out);
    }
    return FT_OK;
}
