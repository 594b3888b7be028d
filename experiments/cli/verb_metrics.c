/* metrics: distances between two sets of clips, as published scripts measure them and as few clips allow. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/vision/dino.h"
#include "common/vision/judge.h"
#include "experiments/cli/cli.h"
#include "experiments/statistics/set_metrics.h"

enum { PAIRS_OF = 2048, SAMPLES = 1000, FRAMES = 16, PICTURE = 224 };

/* Weights of the networks that published numbers are of: by how a network's name begins */
static const char *const weights_of[][2] = {
    {"i3d", "--i3d"}, {"videomae", "--videomae"}, {"inception", "--inception"}, {"clip", "--clip"}};

typedef struct {
    ft_cli *c;
    const char *path[2], *as, *model, *weights, *class; /* path: real, fake */
    char cache[FT_PATH_GIVEN + 64];
    ft_backbone_opt network;
    ft_halves_opt halves;
    ft_clip_set set[2];
    ft_metric_values values;
    int rows; /* of the preset that were measured */
} work;

static const char *option_for(const char *network)
{
    const size_t n = sizeof weights_of / sizeof *weights_of;
    for (size_t i = 0; i < n; i++)
        if (!strncmp(weights_of[i][0], network, strlen(weights_of[i][0]))) return weights_of[i][1];
    return "--weights";
}

/* ---- what is looked at -------------------------------------------------------------------------------------------------------
 */

/* the option, where it is given */
static int given_number(const work *w, const char *option, int64_t low, int64_t high, int *to)
{
    int64_t v = *to;
    if (ft_cli_text(w->c, option)) FT_TRY(ft_cli_int(w->c, option, low, high, &v));
    *to = (int)v;
    return FT_OK;
}

/* What a row says, and the command line before it */
static int take_of(const work *w, const ft_metric_row *r, int side, ft_take_opt *t)
{
    static const char *const stride[2] = {"--stride-real", "--stride-fake"};
    bool whole = !r->as && w->set[side].of_store; /* its clips were chosen when it was made */
    const char *filter = ft_cli_text(w->c, "--resize"), *clips = ft_cli_text(w->c, "--clips-per-video");
    *t = (ft_take_opt){.frames = r->frames,
                       .stride = r->stride,
                       .clips = whole ? 0 : r->clips,
                       .random = r->random && side == 0,
                       .seed = w->halves.seed,
                       .most = side ? r->most_fake : r->most_real,
                       .first = r->first,
                       .size = r->size,
                       .first_filter = r->first_filter,
                       .filter = r->filter};
    if (t->frames > 1) FT_TRY(given_number(w, "--frames", 1, 1024, &t->frames)); /* single frames stay alone */
    FT_TRY(given_number(w, stride[side], 1, 10000, &t->stride));
    FT_TRY(given_number(w, "--size", 8, 1024, &t->size));
    if (clips && !strcmp(clips, "all")) t->clips = 0;
    else FT_TRY(given_number(w, "--clips-per-video", 1, 4096, &t->clips));
    if (!filter) return FT_OK;
    for (int i = 1; i < FT_FILTERS; i++)
        if (!strcmp(filter, ft_filter_name((ft_filter)i))) return t->filter = (ft_filter)i, FT_OK;
    return FT_FAIL(FT_EUSAGE, "--resize is %s; bilinear, bicubic, lanczos, torch or tf1 is needed", filter);
}

/* "1 clip", "all clips" */
static void clips_text(const ft_take_opt *t, char text[24])
{
    if (t->clips) snprintf(text, 24, "%d clip%s", t->clips, t->clips > 1 ? "s" : "");
    else snprintf(text, 24, "all clips");
}

static void pixels_text(const ft_take_opt t[2], char text[200])
{
    char first[48] = "", clips[2][24];
    bool alike = t[0].stride == t[1].stride && t[0].clips == t[1].clips;
    for (int i = 0; i < 2; i++) clips_text(&t[i], clips[i]);
    if (t[0].first) snprintf(first, sizeof first, "%d %s to bytes, ", t[0].first, ft_filter_name(t[0].first_filter));
    if (t[0].frames == 1) snprintf(text, 200, "single frames, ");
    else if (alike)
        snprintf(text, 200, "%d frames, stride %d, %s of a video%s, ", t[0].frames, t[0].stride, clips[0],
                 t[0].random ? ", real ones anywhere" : "");
    else
        snprintf(text, 200, "%d frames, stride real %d, fake %d, of a video real %s, fake %s%s, ", t[0].frames, t[0].stride,
                 t[1].stride, clips[0], clips[1], t[0].random ? ", real ones anywhere" : "");
    size_t n = strlen(text);
    snprintf(text + n, 200 - n, "%s%d %s", first, t[0].size, ft_filter_name(t[0].filter));
}

static bool is_of_pictures(const char *model)
{
    const ft_judge_preset *judge = ft_judge_find(model);
    return judge ? judge->frames == 0 : ft_dino_find(model) != NULL;
}

/* Features of both sides, of clips or of the frames of clips */
static int look(work *w, const ft_metric_row *r, const char *model, const char *weights, ft_set_features f[2], char pixels[200])
{
    ft_set_features_opt o = {.network = w->network, .by_frame = r->kind == FT_METRIC_CONSISTENCY, .cache = w->cache};
    ft_take_opt take[2];
    o.network.model = model, o.network.weights = weights;
    if (r->as) o.network.frames = 0; /* scripts look at all */
    for (int i = 0; i < 2; i++) FT_TRY(take_of(w, r, i, &take[i]));
    pixels_text(take, pixels);
    if (o.network.frames > 0 && o.network.frames < take[0].frames && is_of_pictures(model))
        snprintf(pixels + strlen(pixels), 200 - strlen(pixels), ", %lld frames of a clip looked at", (long long)o.network.frames);
    for (int i = 0; i < 2; i++) {
        o.take = take[i];
        FT_TRY(ft_set_features_make(&f[i], &w->set[i], &o));
        if (f[i].left_out) ft_warn("%s: %lld videos are shorter than a clip and left out", w->path[i], (long long)f[i].left_out);
    }
    return FT_OK;
}

static int measure_row(work *w, const ft_metric_row *r, const char *name, const char *model, const char *weights)
{
    ft_set_features f[2] = {{0}};
    char pixels[200];
    ft_halves_opt o = w->halves;
    o.ddof = r->ddof;
    FT_TRY(given_number(w, "--ddof", 0, 1, &o.ddof));
    int rc = look(w, r, model, weights, f, pixels);
    if (rc == FT_OK)
        rc = r->kind == FT_METRIC_FRECHET     ? ft_metric_distances(&w->values, name, model, pixels, &f[0], &f[1], &o)
             : r->kind == FT_METRIC_INCEPTION ? ft_metric_inception(&w->values, name, model, pixels, &f[0], &f[1])
                                              : ft_metric_consistency(&w->values, name, model, pixels, &f[0], &f[1], SAMPLES);
    ft_set_features_free(&f[0]);
    ft_set_features_free(&f[1]);
    return rc;
}

/* ---- three ways to measure ---------------------------------------------------------------------------------------------------
 */

/* --as: the rows of a preset. With --model another network looks at the same pixels, and the number has another name. */
static int measure_preset(work *w)
{
    char names[200] = "";
    bool known = false;
    for (const ft_metric_row *r = ft_metric_rows; r->name; r++) {
        if (!strstr(names, r->as))
            snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", *names ? ", " : "", r->as);
        if (strcmp(r->as, w->as)) continue;
        known = true;
        const char *weights = w->model ? w->weights : ft_cli_text(w->c, option_for(r->network));
        if (w->model && r->kind == FT_METRIC_INCEPTION) continue; /* needs the classes of that network */
        if (!w->model && !weights) {
            ft_warn("%s is not measured: %s FILE, the weights of %s, is missing", r->name, option_for(r->network), r->network);
            continue;
        }
        const char *name = !w->model ? r->name : r->kind == FT_METRIC_FRECHET ? "FD" : r->name;
        FT_TRY(measure_row(w, r, name, w->model ? w->model : r->network, weights));
        w->rows++;
    }
    if (!known) return FT_FAIL(FT_EUSAGE, "--as is %s; one of %s is needed", w->as, names);
    return w->rows ? FT_OK
                   : FT_FAIL(FT_EUSAGE,
                             "--as %s: weights are missing: --i3d, --inception, --videomae or --clip FILE, or --model M "
                             "--weights FILE, another network that looks at the same pixels",
                             w->as);
}

/* as a published network resizes itself */
static ft_filter filter_of(const ft_judge_preset *p)
{
    return p->resize == FT_LINEAR         ? FT_FILTER_torch
           : p->resize == FT_LINEAR_TF1   ? FT_FILTER_tf1
           : p->resize == FT_CUBIC_SMOOTH ? FT_FILTER_bicubic
                                          : FT_FILTER_bilinear;
}

/* --model alone: whole clips in the network, at the size that it is made for */
static int measure_model(work *w)
{
    const ft_clipstore *store = w->set[0].of_store ? &w->set[0].store : w->set[1].of_store ? &w->set[1].store : NULL;
    const ft_judge_preset *judge = ft_judge_find(w->model);
    ft_metric_row r = {.name = "FD",
                       .frames = store ? store->frames : FRAMES,
                       .stride = 1,
                       .clips = 1,
                       .size = judge                                ? judge->size
                               : !store || is_of_pictures(w->model) ? PICTURE
                                                                    : store->size,
                       .filter = judge ? filter_of(judge) : FT_FILTER_bicubic,
                       .ddof = 1};
    return measure_row(w, &r, "FD", w->model, w->weights);
}

static int measure_stored(work *w)
{
    static const char *const given[] = {"--as",          "--model", "--weights", "--frames", "--stride-real",
                                        "--stride-fake", "--size",  "--resize",  "--class",  "--clips-per-video"};
    ft_set_features f[2] = {{0}};
    int rc = FT_OK;
    for (size_t i = 0; i < sizeof given / sizeof *given; i++)
        if (ft_cli_text(w->c, given[i]))
            return FT_FAIL(FT_EUSAGE, "%s is for clips; %s holds features already", given[i], w->path[0]);
    w->halves.ddof = 1;
    FT_TRY(given_number(w, "--ddof", 0, 1, &w->halves.ddof));
    for (int i = 0; rc == FT_OK && i < 2; i++) rc = ft_set_features_read(&f[i], w->path[i]);
    if (rc == FT_OK && f[0].frames != f[1].frames)
        rc = FT_FAIL(FT_EDATA, "%s: %lld frames a clip, those of %s have %lld", w->path[1], (long long)f[1].frames, w->path[0],
                     (long long)f[0].frames);
    if (rc == FT_OK && f[0].d != f[1].d)
        rc = FT_FAIL(FT_EDATA, "%s: features of %lld numbers, those of %s have %lld: they are of two networks", w->path[1],
                     (long long)f[1].d, w->path[0], (long long)f[0].d);
    if (rc == FT_OK) rc = ft_metric_distances(&w->values, "FD", "stored", "", &f[0], &f[1], &w->halves);
    if (rc == FT_OK && ft_cli_flag(w->c, "--logits")) rc = ft_metric_inception(&w->values, "IS", "stored", "", &f[0], &f[1]);
    if (rc == FT_OK && f[0].frames > 1) rc = ft_metric_consistency(&w->values, "FC", "stored", "", &f[0], &f[1], SAMPLES);
    ft_set_features_free(&f[0]);
    ft_set_features_free(&f[1]);
    return rc;
}

static int measure_clips(work *w)
{
    if (!w->as && !w->model)
        return FT_FAIL(FT_EUSAGE,
                       "which network looks at the clips? --model dinov2-s14 --weights FILE, a run of a classifier or VAE, "
                       "or --as, a published script. usage: forty %s",
                       ft_verb_metrics.usage);
    for (int i = 0; i < 2; i++) FT_TRY(ft_clip_set_open(&w->set[i], w->path[i], w->class));
    if (!strcmp(w->set[0].id, w->set[1].id)) ft_warn("%s and %s hold the same clips", w->path[0], w->path[1]);
    const ft_clipstore *a = &w->set[0].store, *b = &w->set[1].store;
    if (w->set[0].of_store && w->set[1].of_store && a->stride != b->stride)
        ft_warn("%s was made at stride %g, %s at %g: motion has another speed in it, which distances of clips see", a->path,
                a->stride, b->path, b->stride);
    return w->as ? measure_preset(w) : measure_model(w);
}

/* ---- printing ----------------------------------------------------------------------------------------------------------------
 */

static void print_value(const ft_metric_value *v)
{
    const ft_set_distance *d = &v->is;
    char value[80], floor[80] = "", alike[40] = "";
    if (isnan(d->low)) snprintf(value, sizeof value, "%.4g", d->value);
    else snprintf(value, sizeof value, "%.4g [%.4g, %.4g]", d->value, d->low, d->high);
    if (!isnan(d->alike)) snprintf(alike, sizeof alike, "%.4g", d->alike);
    if (!isnan(d->floor_low)) snprintf(floor, sizeof floor, "%.4g [%.4g, %.4g]", d->floor, d->floor_low, d->floor_high);
    else if (!isnan(d->floor)) snprintf(floor, sizeof floor, "%.4g", d->floor);
    printf("%-10s %-28s %-10s %-28s %lld/%lld", v->metric, value, alike, floor, (long long)v->n[0], (long long)v->n[1]);
    if (!isnan(d->infinity)) printf("  n to infinity: %.4g", d->infinity);
    fputc('\n', stdout);
}

static void print(const work *w)
{
    const ft_metric_values *all = &w->values;
    for (int i = 0; i < all->n; i++) {
        const ft_metric_value *v = &all->value[i];
        bool first = i == 0 || strcmp(v->network, v[-1].network) || strcmp(v->pixels, v[-1].pixels);
        if (first)
            printf("%s%s, %lld numbers%s%s\n", i ? "\n" : "", v->network, (long long)v->d, *v->pixels ? ": " : "", v->pixels);
        if (first)
            printf("%-10s %-28s %-10s %-28s %s\n", "", "value [95 % interval]", v->same ? "as many" : "",
                   v->same ? "real against real" : "real", "rows: real/fake");
        print_value(v);
    }
    for (int i = 0; i < all->n; i++)
        if (*all->value[i].note) printf("%s (%s): %s\n", all->value[i].metric, all->value[i].network, all->value[i].note);
    for (int i = 0; i < all->n; i++)
        if (all->value[i].same) {
            printf(
                "as many: half of the real videos against %lld rows of the generated ones; real against real: against as many of "
                "the other half; means over %d random halves [least, largest]\n",
                (long long)all->value[i].same, w->halves.halves);
            break;
        }
}

static int options(work *w, const ft_config *cfg)
{
    const char *cache = ft_cli_text(w->c, "--cache");
    int64_t halves;
    FT_TRY(ft_cli_int(w->c, "--halves", 0, 1000, &halves));
    w->as = ft_cli_text(w->c, "--as"), w->model = ft_cli_text(w->c, "--model"), w->weights = ft_cli_text(w->c, "--weights");
    w->class = ft_cli_text(w->c, "--class");
    w->halves = (ft_halves_opt){.samples = SAMPLES,
                                .halves = (int)halves,
                                .most = PAIRS_OF,
                                .seed = (uint64_t)ft_config_int(cfg, "seed"),
                                .infinity = ft_cli_flag(w->c, "--infinity")};
    w->network = ft_backbone_options(cfg);
    w->network.grid = 0; /* class tokens alone */
    for (int i = 0; !ft_cli_flag(w->c, "--precision") && i < FT_WORKS; i++) w->network.precision.take[i] = FT_PRECISION_F32;
    if (w->weights && !w->model) return FT_FAIL(FT_EUSAGE, "--weights are those of --model M, which is missing");
    if (w->model && !w->weights && !ft_is_dir(w->model))
        return FT_FAIL(FT_EUSAGE,
                       "--weights FILE is missing: %s alone is an untrained network. `forty weights import` reads public ones",
                       w->model);
    if (ft_cli_flag(w->c, "--no-cache")) return FT_OK;
    if (cache) snprintf(w->cache, sizeof w->cache, "%s", cache);
    else ft_features_cache(w->cache);
    return FT_OK;
}

static int measure(work *w)
{
    bool stored[2];
    for (int i = 0; i < 2; i++) stored[i] = ft_is_set_features(w->path[i]);
    if (stored[0] != stored[1])
        return FT_FAIL(FT_EUSAGE,
                       "%s holds features and %s clips: both must be of one kind. `forty features` makes features of clips",
                       w->path[!stored[0]], w->path[stored[0]]);
    return stored[0] ? measure_stored(w) : measure_clips(w);
}

static int run_metrics(ft_cli *c)
{
    const char *csv = ft_cli_text(c, "--csv");
    work w = {.c = c, .path = {ft_cli_text(c, "--real"), ft_cli_text(c, "--fake")}};
    ft_config *cfg;
    if (!w.path[0] || !w.path[1])
        return FT_FAIL(FT_EUSAGE, "%s is missing. usage: forty %s", w.path[0] ? "--fake B" : "--real A", ft_verb_metrics.usage);
    if (csv) FT_TRY(ft_claim_output(csv, ft_cli_flag(c, "--force")));
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    int rc = options(&w, cfg);
    if (rc == FT_OK) rc = measure(&w);
    if (rc == FT_OK && csv) rc = ft_metric_csv(&w.values, csv);
    if (rc == FT_OK && !ft_cli_json(c)) print(&w);
    if (rc == FT_OK)
        ft_cli_print(c,
                     json_pack("{s:s,s:s,s:s?,s:i,s:o}", "real", w.path[0], "fake", w.path[1], "as", w.as, "halves",
                               w.halves.halves, "values", ft_metric_json(&w.values)),
                     "%s", "");
    for (int i = 0; i < 2; i++) ft_clip_set_free(&w.set[i]);
    ft_free(w.values.value);
    ft_config_free(cfg);
    return rc;
}

static const ft_option metrics_options[] = {
    {"--real", "A", NULL,
     "real clips: a clip store, a folder of videos, of folders of frames or of pictures, or stored features"},
    {"--fake", "B", NULL, "generated clips, in any of these ways"},
    {"--model", "RUN|PRESET", NULL, "network that looks: a preset (dinov2-s14) with --weights, or a run of a classifier or VAE"},
    {"--weights", "FILE", NULL, "weights of the preset"},
    {"--as", "NAME", NULL,
     "frames, sizes, filters and covariances of a published script: styleganv, cdfvd, pytorch-fid, clean-fid, endora, medsora, "
     "feat"},
    {"--i3d", "FILE", NULL, "weights for FVD"},
    {"--videomae", "FILE", NULL, "weights for CD-FVD"},
    {"--inception", "FILE", NULL, "weights for FID and IS"},
    {"--clip", "FILE", NULL, "weights for FC"},
    {"--class", "NAME", NULL, "clips of this label, or of the folder of this name, on both sides"},
    {"--frames", "N", NULL, "frames of a clip [those of a store, else 16]"},
    {"--stride-real", "N", NULL, "frames from frame to frame [1]; a store's clips have theirs already"},
    {"--stride-fake", "N", NULL, "the same of generated clips [1]"},
    {"--clips-per-video", "all|K", NULL, "clips spread evenly over each video [of a store all, else 1]"},
    {"--size", "N", NULL, "pixels in front of the network [as its script, its pictures or the store have]"},
    {"--resize", "FILTER", NULL, "bilinear, bicubic, lanczos (Pillow's, antialiased), torch or tf1 (bilinear without) [bicubic]"},
    {"--ddof", "0|1", NULL, "covariances are sums by n or by n - 1 [1]"},
    {"--logits", NULL, NULL, "stored features are logits: the inception score of them, too"},
    {"--halves", "N", "10", "random halves of the real videos that floors are means over; 0: none"},
    {"--infinity", NULL, NULL, "the Frechet distance extrapolated to sets of any size"},
    {"--csv", "FILE", NULL, "write the numbers there, too"},
    {"--cache", "DIR", NULL, "where features are kept [XDG_CACHE_HOME/forty/features]"},
    {"--no-cache", NULL, NULL, "features are not kept"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_metrics = {
    "metrics",
    "distances between real and generated clips",
    "metrics --real A --fake B [--model M --weights W | --as NAME]",
    "forty metrics --real clips.h5 --fake generated.h5 --model dinov2-s14 --weights dinov2-s14.safetensors",
    metrics_options,
    run_metrics};
