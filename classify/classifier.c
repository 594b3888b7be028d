#include "classify/classifier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/augment.h"
#include "classify/r2plus1d.h"
#include "classify/scores.h"
#include "classify/ssl.h"
#include "classify/timesformer.h"
#include "classify/x3d.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/io/weights.h"
#include "common/train/train_loop.h"

/* ---- the table --------------------------------------------------------------------------------------------------------- */

static const char *x3d_preset(int i) { return ft_x3d_at(i) ? ft_x3d_at(i)->name : NULL; }
static ft_t x3d_network(ft_graph *g, const char *preset, ft_t x, int64_t classes, int64_t labelled, double dropout,
                        ft_t *features)
{
    return ft_x3d(g, ft_x3d_find(preset), x, classes, labelled, dropout, features);
}

static const char *r2plus1d_preset(int i) { return ft_r2plus1d_at(i) ? ft_r2plus1d_at(i)->name : NULL; }
static ft_t r2plus1d_network(ft_graph *g, const char *preset, ft_t x, int64_t classes, int64_t labelled, double dropout,
                             ft_t *features)
{
    return ft_r2plus1d(g, ft_r2plus1d_find(preset), x, classes, labelled, dropout, features);
}
static const char *timesformer_preset(int i) { return ft_timesformer_at(i) ? ft_timesformer_at(i)->name : NULL; }
static ft_t timesformer_network(ft_graph *g, const char *preset, ft_t x, int64_t classes, int64_t labelled, double dropout,
                                ft_t *features)
{
    (void)labelled; /* no BatchNorm */
    return ft_timesformer(g, ft_timesformer_find(preset), x, classes, dropout, features);
}

static const ft_classifier families[] = {
    {"x3d", "blocks.5.proj.bias", x3d_preset, x3d_network},
    {"r2plus1d", "fc.bias", r2plus1d_preset, r2plus1d_network},
    {"timesformer", "head.bias", timesformer_preset, timesformer_network},
};

const ft_classifier *ft_classifier_at(int i) { return i < (int)(sizeof families / sizeof *families) ? &families[i] : NULL; }

const ft_classifier *ft_classifier_find(const char *preset)
{
    for (int i = 0; ft_classifier_at(i); i++)
        for (int k = 0; families[i].preset(k); k++)
            if (!strcmp(families[i].preset(k), preset)) return &families[i];
    return NULL;
}

static int unknown(const char *preset)
{
    return FT_FAIL(FT_ECONFIG, "the classifier %s is not known. `forty models` lists the presets", preset);
}

/* ---- training -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const ft_training_set *set;
    ft_params *params;
    ft_t x, target, utilisation, mask, weak, index, progress;
    int64_t batch, unlabelled, strong; /* clips a step: labelled, weak views, strong views */
    uint64_t seed;
    int64_t *video_first, *video_count, videos; /* runs of clips of one video in set->clip */
    double used;                                /* sum of the utilisation over steps */
    int64_t used_steps;
    double pseudo[FT_MAX_CLASSES], right, known; /* sums over pseudo-labels: by class; right; with a known label */
    /* selection by validation */
    ft_graph *eval;
    ft_plan *eval_plan;
    ft_t eval_x, eval_logits;
    int64_t steps, every, best_step;
    double best;
    float *best_weights;
} feeder;

static void group_videos(feeder *f)
{
    const ft_training_set *s = f->set;
    for (int64_t i = 0; i < s->n; i++) {
        if (i == 0 || s->store->clip[s->clip[i]].video != s->store->clip[s->clip[i - 1]].video) f->video_first[f->videos++] = i;
        f->video_count[f->videos - 1]++;
    }
}

static int feed(void *ctx, int64_t step)
{
    feeder *f = ctx;
    const ft_training_set *s = f->set;
    int frames = s->store->frames, size = s->store->size;
    int64_t each = (int64_t)frames * size * size * 3, total = f->batch + f->strong + f->unlabelled;
    int64_t pool = f->strong > f->unlabelled ? f->strong : f->unlabelled;
    float *x = ft_data(f->x), *y = ft_data(f->target);
#pragma omp parallel for schedule(dynamic)
    for (int64_t b = 0; b < total; b++) {
        if (b < f->batch) {
            int64_t v = ft_shuffled(f->seed, 0x1ABE1, f->videos, step * f->batch + b);
            ft_rng r = ft_rng_make(f->seed, 0xC119, (uint64_t)(step * f->batch + b));
            int64_t i = f->video_first[v] + ft_rng_below(&r, f->video_count[v]);
            ft_augment(FT_VIEW_WEAK, ft_clip_pixels(s->store, s->clip[i]), frames, size, f->seed, (uint64_t)step, (uint32_t)b,
                       x + b * each);
            for (int c = 0; c < s->n_classes; c++) y[b * s->n_classes + c] = c == s->label[i];
        } else { /* strong views, then weak views of the same clips */
            bool strong = b - f->batch < f->strong;
            int64_t u = strong ? b - f->batch : b - f->batch - f->strong;
            int64_t i = ft_shuffled(f->seed, 0x0B1, s->n_unlabelled, step * pool + u), k = s->unlabelled[i];
            if (!strong || f->unlabelled == 0) ((int32_t *)ft_data(f->index))[u] = (int32_t)i;
            ft_augment(strong ? FT_VIEW_STRONG : FT_VIEW_WEAK, ft_clip_pixels(s->unlabelled_store, k), frames, size, f->seed,
                       (uint64_t)step, (uint32_t)(f->batch + u), x + b * each);
        }
    }
    if (f->progress) *(float *)ft_data(f->progress) = (float)((double)step / (double)f->steps);
    return FT_OK;
}

static const ft_step still = {0, 0, 0, 0};
enum { EVAL_BATCH = 8 };

static void softmax(const float *z, int n, float *p)
{
    double top = (double)z[0], sum = 0;
    for (int k = 1; k < n; k++) top = fmax(top, (double)z[k]);
    for (int k = 0; k < n; k++) sum += exp((double)z[k] - top);
    for (int k = 0; k < n; k++) p[k] = (float)(exp((double)z[k] - top) / sum);
}

/* out (n, width) of `from` (EVAL_BATCH, width), through softmax or as it is */
static int run_clips(ft_plan *plan, ft_t x, ft_t from, const ft_clipstore *s, const int64_t *clip, int64_t n, bool probabilities,
                     float *out)
{
    int64_t each = ft_clip_bytes(s), width = ft_dim(from, 1);
    for (int64_t at = 0; at < n; at += EVAL_BATCH) {
        int64_t m = n - at < EVAL_BATCH ? n - at : EVAL_BATCH;
        for (int64_t b = 0; b < m; b++)
            ft_augment(FT_VIEW_NONE, ft_clip_pixels(s, clip[at + b]), s->frames, s->size, 0, 0, 0,
                       (float *)ft_data(x) + b * each);
        FT_TRY(ft_run(plan, &still));
        for (int64_t b = 0; b < m; b++) {
            const float *z = (const float *)ft_data(from) + b * width;
            if (probabilities) softmax(z, (int)width, out + (at + b) * width);
            else memcpy(out + (at + b) * width, z, (size_t)width * sizeof(float));
        }
    }
    return FT_OK;
}

static void count_pseudo_labels(feeder *f)
{
    const float *mask = ft_data(f->mask), *z = ft_data(f->weak);
    for (int64_t u = 0; u < f->unlabelled; u++) {
        int64_t C = f->set->n_classes, best = 0;
        for (int64_t c = 1; c < C; c++)
            if (z[u * C + c] > z[u * C + best]) best = c;
        int is = f->set->truth ? f->set->truth[((const int32_t *)ft_data(f->index))[u]] : -1;
        f->pseudo[best] += (double)mask[u];
        if (is >= 0) f->known += (double)mask[u], f->right += is == best ? (double)mask[u] : 0;
    }
}

static int after(void *ctx, int64_t step)
{
    feeder *f = ctx;
    const ft_training_set *s = f->set;
    if (f->utilisation) f->used += (double)*(const float *)ft_data(f->utilisation), f->used_steps++;
    if (f->mask) count_pseudo_labels(f);
    if (!f->eval_plan || (step % f->every && step != f->steps)) return FT_OK;
    float *prob = ft_alloc((size_t)(s->n_validation * s->n_classes) * sizeof *prob);
    if (!prob) return FT_FAIL(FT_ENOMEM, "no memory to validate");
    int rc = run_clips(f->eval_plan, f->eval_x, f->eval_logits, s->validation_store, s->validation, s->n_validation, true, prob);
    if (rc == FT_OK) {
        ft_scores v = ft_score(prob, s->validation_label, s->n_validation, s->n_classes, s->positive);
        double value = v.balanced_accuracy + 1e-3 * v.auroc; /* AUROC breaks ties */
        if (f->best_step == 0 || value > f->best) {
            f->best = value;
            f->best_step = step;
            memcpy(f->best_weights, ft_params_flat(f->params, FT_EMA), (size_t)ft_params_flat_size(f->params) * sizeof(float));
        }
    }
    ft_free(prob);
    return rc;
}

static json_t *extra(void *ctx)
{
    feeder *f = ctx;
    char used[64], steps[32], pseudo[32 * (FT_MAX_CLASSES + 2)];
    size_t at = 0;
    snprintf(used, sizeof used, "%.17g", f->used);
    snprintf(steps, sizeof steps, "%lld", (long long)f->used_steps);
    for (int i = 0; i < f->set->n_classes + 2; i++)
        at += (size_t)snprintf(pseudo + at, sizeof pseudo - at, "%.17g ",
                               i < f->set->n_classes    ? f->pseudo[i]
                               : i == f->set->n_classes ? f->right
                                                        : f->known);
    return json_pack("{s:s,s:s,s:s}", "used", used, "used_steps", steps, "pseudo", pseudo);
}

static int restore(void *ctx, const json_t *e)
{
    feeder *f = ctx;
    const char *used = json_string_value(json_object_get(e, "used")),
               *steps = json_string_value(json_object_get(e, "used_steps"));
    if (used) f->used = strtod(used, NULL);
    if (steps) f->used_steps = atoll(steps);
    char *at = (char *)(uintptr_t)json_string_value(json_object_get(e, "pseudo"));
    for (int i = 0; at && i < f->set->n_classes + 2; i++)
        *(i < f->set->n_classes ? &f->pseudo[i] : i == f->set->n_classes ? &f->right : &f->known) = strtod(at, &at);
    return FT_OK;
}

static json_t *describe(const ft_config *cfg, const ft_training_set *s)
{
    json_t *m = json_object();
    char *names = NULL;
    size_t size;
    FILE *f = open_memstream(&names, &size);
    for (int c = 0; f && c < s->n_classes; c++) fprintf(f, "%s%s", c ? "\n" : "", s->classes[c]);
    if (f) fclose(f);
    char number[4][32];
    snprintf(number[0], 32, "%d", s->store->frames);
    snprintf(number[1], 32, "%d", s->store->size);
    snprintf(number[2], 32, "%lld", (long long)ft_config_int(cfg, "data.stride"));
    snprintf(number[3], 32, "%lld", (long long)ft_config_int(cfg, "data.clips_per_video"));
    json_object_set_new(m, "classes", json_string(names ? names : ""));
    json_object_set_new(m, "positive", json_string(s->classes[s->positive]));
    json_object_set_new(m, "frames", json_string(number[0]));
    json_object_set_new(m, "size", json_string(number[1]));
    json_object_set_new(m, "stride", json_string(number[2]));
    json_object_set_new(m, "clips_per_video", json_string(number[3]));
    free(names);
    return m;
}

static int eval_graph(ft_graph **g, ft_plan **plan, ft_params *params, const char *model, int frames, int size, int classes,
                      ft_t *x, ft_t *logits)
{
    *plan = NULL;
    if (!(*g = ft_graph_new(params, FT_F32, 12))) return FT_FAIL(FT_ENOMEM, "no memory for %s", model);
    ft_training(*g, false);
    *x = ft_input(*g, "x", FT_F32, 5, (int64_t[]){EVAL_BATCH, frames, size, size, 3});
    *logits = ft_classifier_find(model)->network(*g, model, *x, classes, 0, 0, NULL);
    ft_keep(*logits);
    return ft_plan_new(plan, *g, FT_EMA);
}

int ft_classifier_train(const ft_config *cfg, const ft_training_set *set, const char *dir, uint64_t seed, bool resume,
                        ft_training_result *result)
{
    const char *model = ft_config_text(cfg, "classifier.model"), *algorithm = ft_config_text(cfg, "ssl.algorithm");
    const ft_classifier *family = ft_classifier_find(model);
    const ft_ssl *ssl = ft_ssl_find(algorithm);
    const ft_clipstore *s = set->store;
    if (!family) return unknown(model);
    if (!ssl)
        return FT_FAIL(FT_ECONFIG, "%s: ssl.algorithm %s is not known. `forty models` lists the algorithms",
                       ft_config_origin(cfg, "ssl.algorithm"), algorithm);
    if (set->unlabelled_store && (set->unlabelled_store->frames != s->frames || set->unlabelled_store->size != s->size))
        return FT_FAIL(FT_EDATA, "%s: clips of %d frames and %d pixels, the labelled ones have %d and %d. Ingest them alike",
                       set->unlabelled_store->path, set->unlabelled_store->frames, set->unlabelled_store->size, s->frames,
                       s->size);
    ft_dtype dtype =
        !strcmp(ft_config_text(cfg, "precision"), "bf16") ? FT_BF16 : FT_F32; /* auto: narrow channels gain nothing from bf16 */
    int64_t steps = ft_config_int(cfg, "classifier.steps"), B = ft_config_int(cfg, "classifier.batch");
    bool semi = set->unlabelled_store && set->n_unlabelled > 0;
    int64_t U = B * ft_config_int(cfg, "classifier.mu");
    feeder f = {.set = set,
                .batch = B,
                .unlabelled = semi && (ssl->uses & (FT_SSL_WEAK | FT_SSL_TEACHER)) ? U : 0,
                .strong = semi && (ssl->uses & FT_SSL_STRONG) ? U : 0,
                .seed = seed,
                .steps = steps,
                .every = steps / 10 + 1};
    int64_t total = B + f.strong + f.unlabelled, seen = semi && !(ssl->uses & FT_SSL_WEAK) ? B + f.strong : total;
    f.video_first = ft_alloc((size_t)(set->n + 1) * 2 * sizeof *f.video_first);
    f.video_count = f.video_first ? f.video_first + set->n + 1 : NULL;
    ft_params *params = f.params = ft_params_new(seed);
    ft_graph *g = params ? ft_graph_new(params, dtype, 11) : NULL;
    ft_plan *plan = NULL;
    json_t *meta = describe(cfg, set);
    int rc = g && f.video_first ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", model);
    if (rc < 0) goto done;
    group_videos(&f);

    f.x = ft_input(g, "x", FT_F32, 5, (int64_t[]){total, s->frames, s->size, s->size, 3});
    f.target = ft_input(g, "target", FT_F32, 2, (int64_t[]){B, set->n_classes});
    ft_t student = seen < total ? ft_slice(g, f.x, 0, 0, seen) : f.x; /* what the teacher alone looks at stands behind */
    ft_t logits =
        family->network(g, model, student, set->n_classes, semi ? B : 0, ft_config_real(cfg, "classifier.dropout"), NULL);
    ft_t supervised = ft_softmax_xent(g, ft_slice(g, logits, 0, 0, B), f.target, NULL), loss = supervised, unsupervised = NULL;
    if (semi) {
        double lambda = ft_config_real(cfg, "ssl.lambda_u");
        ft_ssl_batch b = {.cfg = cfg, .classes = set->n_classes, .clips = set->n_unlabelled};
        if (ssl->uses & FT_SSL_STRONG) b.strong = ft_slice(g, logits, 0, B, U);
        if (ssl->uses & FT_SSL_WEAK) b.weak = ft_slice(g, logits, 0, B + f.strong, U);
        if (ssl->uses & FT_SSL_TEACHER) { /* as it would be evaluated now */
            ft_borrow_average(g, true);
            ft_training(g, false);
            b.teacher = family->network(g, model, ft_slice(g, f.x, 0, B + f.strong, U), set->n_classes, 0, 0, NULL);
            ft_training(g, true);
            ft_borrow_average(g, false);
        }
        b.index = f.index = ft_input(g, "index", FT_I32, 1, &U);
        b.progress = f.progress = ft_input(g, "progress", FT_F32, 2, (int64_t[]){1, 1});
        b.prior = ft_input(g, "prior", FT_F32, 2, (int64_t[]){1, set->n_classes});
        if (!ft_graph_error(g))
            for (int64_t v = 0; v < f.videos; v++)
                ((float *)ft_data(b.prior))[set->label[f.video_first[v]]] += 1.0f / (float)f.videos;
        unsupervised = ssl->loss(g, &b, &f.mask);
        loss = ft_add(g, loss, ft_affine(g, unsupervised, (float)(lambda < 0 ? ssl->lambda_u : lambda), 0));
        ft_keep(unsupervised);
        if (f.mask) {
            ft_keep(f.utilisation = ft_reduce(g, f.mask, 1, true));
            ft_keep(f.mask);
            ft_keep(f.weak = b.weak ? b.weak : b.teacher);
        }
    }
    ft_keep(loss);
    ft_keep(supervised);
    ft_backward(g, loss);
    ft_t norm =
        ft_optimise(g, (ft_optim_opt){.weight_decay = (float)ft_config_real(cfg, "classifier.weight_decay"), .clip = 5.0f});
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    if (!strcmp(ft_config_text(cfg, "selection"), "validation") && set->n_validation > 0) {
        FT_TRY_TO(
            rc, done,
            eval_graph(&f.eval, &f.eval_plan, params, model, s->frames, s->size, set->n_classes, &f.eval_x, &f.eval_logits));
        if (!(f.best_weights = ft_alloc((size_t)ft_params_flat_size(params) * sizeof(float)))) {
            rc = FT_FAIL(FT_ENOMEM, "no memory to keep the best weights");
            goto done;
        }
        resume = false; /* the best weights so far are not in the state: begin again */
    }
    ft_trainer t = {.dir = dir,
                    .what = "classifier",
                    .model = model,
                    .params = params,
                    .main = {.plan = plan,
                             .lr = ft_config_real(cfg, "classifier.lr"),
                             .logged = {loss, supervised, unsupervised, f.utilisation},
                             .grad_norm = norm},
                    .steps = steps,
                    .warmup = steps / 20 + 1,
                    .save_every = ft_config_int(cfg, "save_every"),
                    .ema = ft_config_real(cfg, "classifier.ema"),
                    .seed = seed,
                    .resume = resume,
                    .feed = feed,
                    .after = after,
                    .extra = extra,
                    .restore = restore,
                    .ctx = &f,
                    .n_logged = f.mask ? 4
                                : semi ? 3
                                       : 2,
                    .logged_name = {"loss", "supervised", "unsupervised", "utilisation"},
                    .metadata = meta};
    FT_TRY_TO(rc, done, ft_train(&t));
    result->seconds = t.seconds;
    result->utilisation = f.used_steps ? f.used / (double)f.used_steps : 0;
    result->best_step = f.best_step ? f.best_step : steps;
    double labels = 0;
    for (int i = 0; i < set->n_classes; i++) labels += f.pseudo[i];
    for (int i = 0; i < set->n_classes; i++) result->pseudo[i] = labels > 0 ? f.pseudo[i] / labels : 0;
    result->pseudo_accuracy = f.known > 0 ? f.right / f.known : (double)NAN;
    if (f.mask && result->utilisation < 0.01)
        ft_warn("only %.2f %% of the unlabelled clips got a pseudo-label: the unlabelled loss did next to nothing",
                100 * result->utilisation);
    if (f.mask && result->utilisation > 0.99)
        ft_warn("%.2f %% of the unlabelled clips got a pseudo-label: the threshold selects nothing", 100 * result->utilisation);
    if (f.best_weights && f.best_step) { /* what is scored is what the validation chose */
        char path[1100];
        memcpy(ft_params_flat(params, FT_EMA), f.best_weights, (size_t)ft_params_flat_size(params) * sizeof(float));
        snprintf(path, sizeof path, "%s/ema.safetensors", dir);
        rc = ft_weights_save(path, params, FT_EMA, meta);
    }
done:
    ft_plan_free(f.eval_plan);
    ft_graph_free(f.eval);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_free(f.video_first);
    ft_free(f.best_weights);
    json_decref(meta);
    return rc;
}

/* ---- prediction ------------------------------------------------------------------------------------------------------------ */

void ft_classifier_info_free(ft_classifier_info *info)
{
    for (int i = 0; i < info->n_classes; i++) ft_free(info->classes[i]);
    ft_free(info->classes);
    memset(info, 0, sizeof *info);
}

int ft_classifier_info_read(ft_classifier_info *info, const char *dir)
{
    char path[1100], *text;
    size_t size;
    memset(info, 0, sizeof *info);
    snprintf(path, sizeof path, "%s/run.json", dir);
    FT_TRY(ft_read_file(path, 1u << 20, &text, &size));
    json_t *m = json_loads(text, 0, NULL);
    ft_free(text);
    const char *classes = json_string_value(json_object_get(m, "classes")),
               *model = json_string_value(json_object_get(m, "model"));
    int rc = FT_OK;
    if (!classes || !model || !ft_classifier_find(model)) {
        rc = FT_FAIL(FT_EDATA, "%s: does not describe a classifier. Give the folder of a trained classifier", path);
        goto done;
    }
    snprintf(info->model, sizeof info->model, "%s", model);
    const char *positive = json_string_value(json_object_get(m, "positive"));
    snprintf(info->positive, sizeof info->positive, "%s", positive ? positive : "");
    static const char *const names[] = {"frames", "size", "stride", "clips_per_video"};
    int *const to[] = {&info->frames, &info->size, &info->stride, &info->clips_per_video};
    for (int i = 0; i < 4; i++) {
        const char *v = json_string_value(json_object_get(m, names[i]));
        *to[i] = v ? atoi(v) : 0;
    }
    for (const char *p = classes; rc == FT_OK && *p;) {
        size_t n = strcspn(p, "\n");
        rc = ft_grow(&info->classes, (size_t)info->n_classes, sizeof *info->classes);
        if (rc == FT_OK && !(info->classes[info->n_classes++] = ft_format("%.*s", (int)n, p)))
            rc = FT_FAIL(FT_ENOMEM, "no memory");
        p += n + (p[n] == '\n');
    }
    if (rc == FT_OK && (info->n_classes < 2 || info->n_classes > FT_MAX_CLASSES || info->frames < 1 || info->size < 1))
        rc = FT_FAIL(FT_EDATA, "%s: is damaged", path);
done:
    json_decref(m);
    if (rc < 0) ft_classifier_info_free(info);
    return rc;
}

int ft_classifier_predict(const char *dir, const ft_classifier_info *info, const ft_clipstore *store, const int64_t *clip,
                          int64_t n, float *prob)
{
    char path[1100];
    if (store->frames != info->frames || store->size != info->size)
        return FT_FAIL(
            FT_EDATA,
            "%s: clips of %d frames and %d pixels, the classifier was trained on %d and %d. Ingest with --frames %d --size %d",
            store->path, store->frames, store->size, info->frames, info->size, info->frames, info->size);
    ft_params *params = ft_params_new(0);
    ft_graph *g = NULL;
    ft_plan *plan = NULL;
    ft_t x, logits;
    int rc = params ? eval_graph(&g, &plan, params, info->model, info->frames, info->size, info->n_classes, &x, &logits)
                    : FT_FAIL(FT_ENOMEM, "no memory");
    snprintf(path, sizeof path, "%s/ema.safetensors", dir);
    if (rc == FT_OK) rc = ft_weights_load(path, params, FT_EMA, NULL);
    if (rc == FT_OK) rc = run_clips(plan, x, logits, store, clip, n, true, prob);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    return rc;
}

int ft_classifier_features(const char *preset, const ft_clipstore *reference, const int64_t *ref_clip, int64_t n_ref,
                           const ft_clipstore *store, const int64_t *clip, int64_t n, float **features)
{
    const ft_classifier *family = ft_classifier_find(preset);
    if (!family) return unknown(preset);
    ft_params *params = ft_params_new(0);
    ft_graph *g = NULL, *calibrate = NULL;
    ft_plan *plan = NULL, *cal_plan = NULL;
    ft_t x[2], f[2];
    int rc = params ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory"), D = 0;
    for (int pass = 0; rc == FT_OK && pass < 2; pass++) { /* 0: statistics of the reference; 1: features with them */
        ft_graph **at = pass ? &g : &calibrate;
        if (!(*at = ft_graph_new(params, FT_F32, 13))) rc = FT_FAIL(FT_ENOMEM, "no memory");
        if (rc < 0) break;
        ft_training(*at, pass == 0);
        x[pass] = ft_input(*at, "x", FT_F32, 5, (int64_t[]){EVAL_BATCH, store->frames, store->size, store->size, 3});
        family->network(*at, preset, x[pass], 2, 0, 0, &f[pass]);
        ft_keep(f[pass]);
        rc = ft_plan_new(pass ? &plan : &cal_plan, *at, FT_WEIGHTS);
    }
    if (rc == FT_OK) {
        D = (int)ft_dim(f[1], 1);
        int64_t room = (n > n_ref ? n : n_ref) + EVAL_BATCH;
        if (!(*features = ft_alloc((size_t)(room * D) * sizeof(float)))) rc = FT_FAIL(FT_ENOMEM, "no memory for features");
    }
    /* whole batches only; the running statistics forget at 0.1 a batch, so a few passes settle them */
    for (int pass = 0; rc == FT_OK && pass < 3; pass++)
        rc = run_clips(cal_plan, x[0], f[0], reference, ref_clip, n_ref / EVAL_BATCH * EVAL_BATCH, false, *features);
    if (rc == FT_OK) rc = run_clips(plan, x[1], f[1], store, clip, n, false, *features);
    ft_plan_free(plan);
    ft_plan_free(cal_plan);
    ft_graph_free(g);
    ft_graph_free(calibrate);
    ft_params_free(params);
    return rc < 0 ? rc : D;
}
