#include "classify/classifier.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier_info.h"
#include "classify/views.h"
#include "classify/probe.h"
#include "classify/scores.h"
#include "classify/ssl.h"
#include "classify/viewer.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/graph/layers.h"
#include "common/io/weights.h"
#include "common/train/train_loop.h"

/* ---- training -------------------------------------------------------------------------------------------------------------- */

enum { MAX_PARTS = 64, MOST_AT_ONCE = 256 };

typedef struct {
    const ft_training_set *set;
    const ft_classifier_opt *opt;
    ft_params *params;
    int64_t batch, generated, unlabelled, strong; /* clips a step: labelled, of a class that is said, weak views, strong views */
    /* inputs of each part of the batch: clips in this order, their views; labels; the unlabelled clips' numbers */
    int64_t parts;
    ft_t rgb[MAX_PARTS], view[MAX_PARTS], cutout[MAX_PARTS], target[MAX_PARTS], index[MAX_PARTS];
    ft_t features[MAX_PARTS];     /* of a probe, instead of the first three */
    double penalty;               /* of a linear probe (probe.h) */
    ft_t progress, fresh, prior;  /* inputs of all parts */
    ft_t utilisation, mask, weak; /* of the whole batch: mean mask, mask and logits of each unlabelled clip */
    uint64_t seed;
    int64_t *video_first, *video_count, videos; /* runs of clips of one video in set->clip */
    double used;                                /* sum of the utilisation over steps */
    int64_t used_steps;
    double pseudo[FT_MAX_CLASSES], right, known; /* sums over pseudo-labels: by class; right; with a known label */
    ft_bank bank;                                /* the weights that are looked at */
    ft_views views;
    /* what is watched during the training: validation videos, or the test list itself */
    ft_viewer viewer;
    int64_t steps, every, epoch, best_step, *first;
    double best, look[FT_MAX_LOOKS];
    int looks;
    float *best_weights, *prob, *rows, *best_rows;
} feeder;

static void group_videos(feeder *f)
{
    const ft_training_set *s = f->set;
    for (int64_t i = 0; i < s->n; i++) {
        if (i == 0 || s->store->clip[s->clip[i]].video != s->store->clip[s->clip[i - 1]].video) f->video_first[f->videos++] = i;
        f->video_count[f->videos - 1]++;
    }
}

static int64_t unlabelled_at(const feeder *f, int64_t step, int64_t u) /* its place in set->unlabelled */
{
    int64_t pool = f->strong > f->unlabelled ? f->strong : f->unlabelled;
    return ft_shuffled(f->seed, FT_STREAM_UNLABELLED_ORDER, f->set->n_unlabelled, ft_first_sample(step, pool) + u);
}

/* A clip of a batch. */
typedef struct {
    const ft_clipstore *store;
    const ft_clip_features *features;
    int64_t clip;
    uint32_t draw; /* its number in the step, over all ranks */
    bool classed, strong;
} drawn;

/* One of the views that are kept of a clip; one with a class as it is too. Both views of an unlabelled clip are of one number. */
static void show_features(feeder *f, int64_t part, int64_t at, const drawn *d, uint64_t step)
{
    int64_t each = ft_clip_features_each(d->features), k;
    ft_rng r = ft_rng_make(f->seed, FT_STREAM_KEPT_VIEW + d->draw, step);
    k = ft_rng_below(&r, d->features->views + d->classed) - d->classed;
    const float *x = k < 0 ? NULL : ft_clip_features_view(d->features, d->clip, d->strong, k);
    memcpy((float *)ft_data(f->features[part]) + at * each, x ? x : ft_clip_features_at(d->features, d->clip),
           (size_t)each * sizeof *x);
}

static bool has(const ft_training_set *s, int64_t i, int class)
{
    return s->positive == FT_MULTILABEL ? s->label[i] >> class & 1 : s->label[i] == class;
}

/* The clip at place b of part k: labelled clips, generated ones, strong views, weak views of the same clips. Its class goes into
 * the part's targets, an unlabelled one's number into its index. */
static drawn draw_clip(feeder *f, int64_t step, int64_t k, int64_t b)
{
    const ft_training_set *s = f->set;
    int classes = s->n_classes;
    int64_t pool = f->strong > f->unlabelled ? f->strong : f->unlabelled, n_labelled = f->batch / f->parts,
            n_generated = f->generated / f->parts, n_strong = f->strong / f->parts, n_weak = f->unlabelled / f->parts, i;
    uint32_t item = (uint32_t)(ft_this_rank() * f->batch),
             item_of_pool = (uint32_t)(ft_ranks() * f->batch + ft_this_rank() * pool),
             item_generated = (uint32_t)(ft_ranks() * (f->batch + pool) + ft_this_rank() * f->generated);
    float *target = ft_data(f->target[k]);
    if (b < n_labelled) {
        int64_t at = ft_first_sample(step, f->batch) + k * n_labelled + b,
                v = ft_shuffled(f->seed, FT_STREAM_LABELLED, f->videos, at);
        ft_rng r = ft_rng_make(f->seed, FT_STREAM_CLIP_OF_VIDEO, (uint64_t)at);
        i = f->video_first[v] + ft_rng_below(&r, f->video_count[v]);
        for (int c = 0; c < classes; c++) target[b * classes + c] = has(s, i, c);
        return (drawn){s->store, s->features, s->clip[i], item + (uint32_t)(k * n_labelled + b), true, false};
    }
    if (b < n_labelled + n_generated) {
        int64_t whole = k * n_generated + b - n_labelled;
        i = ft_shuffled(f->seed, FT_STREAM_GENERATED_ORDER, s->n_generated, ft_first_sample(step, f->generated) + whole);
        for (int c = 0; c < classes; c++) target[b * classes + c] = s->generated_label[i] == c;
        return (drawn){s->generated_store, s->generated_features, s->generated[i], item_generated + (uint32_t)whole, true, false};
    }
    bool strong = b - n_labelled - n_generated < n_strong;
    int64_t u = b - n_labelled - n_generated - (strong ? 0 : n_strong), whole = k * (strong ? n_strong : n_weak) + u;
    i = unlabelled_at(f, step, whole);
    if (!strong || n_weak == 0) ((int32_t *)ft_data(f->index[k]))[u] = (int32_t)i;
    return (drawn){s->unlabelled_store, s->unlabelled_features, s->unlabelled[i], item_of_pool + (uint32_t)whole, false, strong};
}

static int feed(void *ctx, int64_t step)
{
    feeder *f = ctx;
    const ft_training_set *s = f->set;
    int frames = s->store->frames, size = s->store->size;
    int64_t each = ft_clip_bytes(s->store), total = f->batch + f->generated + f->strong + f->unlabelled,
            of_part = total / f->parts;
#pragma omp parallel for schedule(dynamic)
    for (int64_t at = 0; at < total; at++) {
        int64_t k = at / of_part, b = at % of_part;
        drawn d = draw_clip(f, step, k, b);
        if (s->features) {
            show_features(f, k, b, &d, (uint64_t)step);
            continue;
        }
        memcpy((uint8_t *)ft_data(f->rgb[k]) + b * each, ft_clip_pixels(d.store, d.clip), (size_t)each);
        ft_draw_view(d.strong, f->views, frames, size, f->seed, (uint64_t)step, d.draw,
                     (float *)ft_data(f->view[k]) + b * FT_VIEW_NUMBERS, (float *)ft_data(f->cutout[k]) + b * frames * 3);
    }
    if (f->progress) *(float *)ft_data(f->progress) = (float)((double)step / (double)f->steps);
    if (f->fresh) *(float *)ft_data(f->fresh) = step == 0 || (f->epoch > 0 && step % f->epoch == 0);
    return FT_OK;
}

/* scores the watched videos, and keeps the weights and answers of the best look */
static int look(feeder *f, int64_t step)
{
    const ft_training_set *s = f->set;
    int label[4096];
    FT_TRY(ft_viewer_run(&f->viewer, s->watched_store, s->features, s->watched, s->n_watched, f->prob));
    int64_t videos = ft_video_means(s->watched_store, s->watched, s->n_watched, f->prob, s->n_classes, f->rows, f->first);
    for (int64_t i = 0; i < videos && i < 4096; i++) label[i] = s->watched_label[f->first[i]];
    if (videos > 4096) return FT_FAIL(FT_EDATA, "%s: more than 4096 videos to validate on", s->watched_store->path);
    ft_scores v = ft_score(f->rows, label, videos, s->n_classes, s->positive);
    if (f->looks < FT_MAX_LOOKS) f->look[f->looks++] = v.f1;
    double value =
        f->opt->selection == FT_SELECT_BEST_ON_TEST ? v.f1 : v.balanced_accuracy + 1e-3 * v.auroc; /* AUROC breaks ties */
    if (f->opt->selection == FT_SELECT_LAST || (f->best_step > 0 && value <= f->best)) return FT_OK;
    f->best = value;
    f->best_step = step;
    memcpy(f->best_rows, f->rows, (size_t)(videos * s->n_classes) * sizeof(float));
    memcpy(f->best_weights, ft_params_flat(f->params, f->bank), (size_t)ft_params_flat_size(f->params) * sizeof(float));
    return FT_OK;
}

/* counts the pseudo-labels of a step */
static int settled(void *ctx, int64_t step, int ago)
{
    feeder *f = ctx;
    const float *mask = ft_data_late(f->mask, ago), *z = ft_data_late(f->weak, ago), *used = ft_data_late(f->utilisation, ago);
    if (!mask || !z || !used) return FT_EDEVICE; /* the message is there */
    f->used += (double)*used, f->used_steps++;
    for (int64_t u = 0; u < f->unlabelled; u++) {
        int64_t classes = f->set->n_classes, best = 0;
        for (int64_t c = 1; c < classes; c++)
            if (z[u * classes + c] > z[u * classes + best]) best = c;
        int is = f->set->truth ? f->set->truth[unlabelled_at(f, step, u)] : -1;
        f->pseudo[best] += (double)mask[u];
        if (is >= 0) f->known += (double)mask[u], f->right += is == best ? (double)mask[u] : 0;
    }
    return FT_OK;
}

static int after(void *ctx, int64_t step)
{
    feeder *f = ctx;
    return f->viewer.plan && (step % f->every == 0 || step == f->steps) ? look(f, step) : FT_OK;
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

typedef struct {
    ft_t total, supervised, unsupervised, generated; /* scalars; but for the first two, and mask and weak: NULL where there are
                                                      * none */
    ft_t mask, weak;                                 /* (U), (U,classes): of the unlabelled clips */
} part_losses;

/* clips in their views: (total,F,S,S,3) */
static ft_t pixels_input(feeder *f, ft_graph *g, int64_t total, int64_t k)
{
    const ft_clipstore *s = f->set->store;
    f->rgb[k] = ft_input(g, "rgb", FT_U8, 5, (int64_t[]){total, s->frames, s->size, s->size, 3});
    f->view[k] = ft_input(g, "view", FT_F32, 2, (int64_t[]){total, FT_VIEW_NUMBERS});
    f->cutout[k] = ft_input(g, "cutout", FT_F32, 3, (int64_t[]){total, s->frames, 3});
    return ft_augment(g, f->rgb[k], f->view[k], f->cutout[k], FT_CLASSIFIER_MEAN, FT_CLASSIFIER_STD);
}

/* what a backbone saw in them: (total,frames,tokens,width) */
static ft_t features_input(feeder *f, ft_graph *g, int64_t total, int64_t k)
{
    const int64_t *dim = f->set->features->dim;
    return f->features[k] = ft_input(g, "features", FT_F32, 4, (int64_t[]){total, dim[0], dim[1], dim[2]});
}

/* Binary cross-entropy, mean over clips and classes: log(1 + e^z) - y z */
static ft_t sigmoid_xent(ft_graph *g, ft_t z, ft_t y)
{
    ft_t each = ft_sub(g, ft_unary(g, FT_SOFTPLUS, z), ft_mul(g, y, z));
    return ft_reshape(g, ft_reduce(g, each, 3, true), 1, (int64_t[]){1});
}

/* The network and the losses for one part of the batch. ssl: NULL without unlabelled clips */
static part_losses part_of(feeder *f, ft_graph *g, const ft_ssl *ssl, int64_t k)
{
    const ft_training_set *set = f->set;
    const char *model = f->opt->model;
    int64_t n_labelled = f->batch / f->parts, n_generated = f->generated / f->parts, n_strong = f->strong / f->parts,
            n_weak = f->unlabelled / f->parts, n_unlabelled = n_strong > n_weak ? n_strong : n_weak,
            total = n_labelled + n_generated + n_strong + n_weak,
            seen = ssl && !(ssl->uses & FT_SSL_WEAK) ? n_labelled + n_generated + n_strong : total;
    part_losses l = {0};
    f->target[k] = ft_input(g, "target", FT_F32, 2, (int64_t[]){n_labelled + n_generated, set->n_classes});
    ft_t x = set->features ? features_input(f, g, total, k) : pixels_input(f, g, total, k);
    /* what the teacher alone looks at stands behind */
    ft_t before,
        logits = ft_classifier_network(g, model, ft_slice(g, x, 0, 0, seen), set->n_classes, ssl || n_generated ? n_labelled : 0,
                                       f->opt->dropout, &before); /* (seen,classes) */
    ft_t labelled = ft_slice(g, logits, 0, 0, n_labelled),
         target = n_generated ? ft_slice(g, f->target[k], 0, 0, n_labelled) : f->target[k];
    l.total = l.supervised =
        set->positive == FT_MULTILABEL ? sigmoid_xent(g, labelled, target) : ft_softmax_xent(g, labelled, target, NULL);
    if (n_generated) {
        l.generated = ft_softmax_xent(g, ft_slice(g, logits, 0, n_labelled, n_generated),
                                      ft_slice(g, f->target[k], 0, n_labelled, n_generated), NULL);
        l.total = ft_add(g, l.total, ft_affine(g, l.generated, (float)f->opt->lambda_g, 0));
    }
    if (f->penalty > 0) {
        ft_t w = ft_param(g, "head.weight", 2, (int64_t[]){set->n_classes, ft_dim(before, 1)}, FT_ZERO);
        ft_t norm = ft_reduce(g, ft_unary(g, FT_SQUARE, w), 3, false);
        l.total = ft_add(g, l.total, ft_affine(g, ft_reshape(g, norm, 1, (int64_t[]){1}), (float)f->penalty, 0));
    }
    if (!ssl) return l;
    double lambda = f->opt->ssl.lambda_u, from = f->opt->ssl.from;
    f->index[k] = ft_input(g, "index", FT_I32, 1, &n_unlabelled);
    ft_ssl_batch b = {.opt = &f->opt->ssl,
                      .classes = set->n_classes,
                      .clips = set->n_unlabelled,
                      .index = f->index[k],
                      .prior = f->prior,
                      .progress = f->progress,
                      .fresh = k == 0 ? f->fresh : ft_const(g, FT_F32, 2, (int64_t[]){1, 1}, (float[]){0})};
    if (ssl->uses & FT_SSL_STRONG) b.strong = ft_slice(g, logits, 0, n_labelled + n_generated, n_unlabelled);
    if (ssl->uses & FT_SSL_WEAK) b.weak = ft_slice(g, logits, 0, n_labelled + n_generated + n_strong, n_unlabelled);
    if (ssl->uses & FT_SSL_TEACHER) { /* as it would be evaluated now */
        ft_borrow_average(g, true);
        ft_training(g, false);
        b.teacher = ft_classifier_network(g, model, ft_slice(g, x, 0, n_labelled + n_generated + n_strong, n_unlabelled),
                                          set->n_classes, 0, 0, NULL);
        ft_training(g, true);
        ft_borrow_average(g, false);
    }
    l.unsupervised = ssl->loss(g, &b, &l.mask);
    if (from > 0) { /* until then the labels alone teach; thresholds and counts already follow the predictions */
        ft_t on = ft_unary(g, FT_STEP, ft_affine(g, b.progress, 1, -(float)from));
        l.unsupervised = ft_mul(g, l.unsupervised, ft_reshape(g, on, 1, (int64_t[]){1}));
    }
    l.total = ft_add(g, l.total, ft_affine(g, l.unsupervised, (float)(lambda < 0 ? ssl->lambda_u : lambda), 0));
    l.weak = b.weak ? b.weak : b.teacher;
    return l;
}

/* where a setting was made, for messages */
static const char *origin(const ft_classifier_opt *o, const char *key)
{
    return o->settings ? ft_config_origin(o->settings, key) : "options";
}

/* What cannot be trained, said before anything is made */
static int check_set(const ft_classifier_opt *o, const ft_training_set *set, bool semi)
{
    const char *model = o->model;
    const ft_classifier *family = ft_classifier_find(model);
    const ft_clipstore *s = set->store, *other[] = {set->unlabelled_store, set->generated_store};
    for (int i = 0; i < 2; i++)
        if (other[i] && (other[i]->frames != s->frames || other[i]->size != s->size))
            return FT_FAIL(FT_EDATA, "%s: clips of %d frames and %d pixels, the labelled ones have %d and %d. Ingest them alike",
                           other[i]->path, other[i]->frames, other[i]->size, s->frames, s->size);
    for (int64_t i = 0; i < set->n_generated; i++)
        if (set->generated_label[i] < 0 || set->generated_label[i] >= set->n_classes)
            return FT_FAIL(FT_EDATA, "%s: a generated clip of the class %d, and there are %d", set->generated_store->path,
                           set->generated_label[i], set->n_classes);
    if (family->of_features && !set->features)
        return FT_FAIL(FT_ECONFIG, "%s: %s learns from features, in experiments only: set features.model",
                       origin(o, "classifier.model"), model);
    if (set->n_generated > 0 && set->positive == FT_MULTILABEL)
        return FT_FAIL(
            FT_ECONFIG,
            "data.multilabel: a generated clip has one class, and videos here have several labels. positive: NAME makes "
            "two classes of one label");
    if (semi && set->positive == FT_MULTILABEL)
        return FT_FAIL(FT_ECONFIG,
                       "data.multilabel: %s gives an unlabelled clip one class; classifiers of several labels learn from labels "
                       "alone. positive: NAME makes two classes of one label",
                       o->algorithm);
    if (o->evaluated == FT_EVAL_DROP_PATH && family->batchnorm)
        return FT_FAIL(FT_ECONFIG,
                       "%s: classifier.evaluate: released leaves the network in training mode, which would move the "
                       "statistics of %s. Use a timesformer",
                       origin(o, "classifier.evaluate"), model);
    if (!o->lora) return FT_OK;
    if (!family->adapts)
        return FT_FAIL(FT_ECONFIG, "%s: classifier.lora: %s has no attention to adapt. Use a timesformer or a dinov2",
                       origin(o, "classifier.lora"), model);
    if (!o->weights || !*o->weights)
        return FT_FAIL(FT_ECONFIG,
                       "%s: classifier.lora: adapters learn beside a frozen %s, which must have learnt: set classifier.weights",
                       origin(o, "classifier.lora"), model);
    return FT_OK;
}

/* Batch, steps, and how often is looked. ssl: NULL without unlabelled clips */
static int begin(feeder *f, const ft_classifier_opt *o, const ft_training_set *set, const ft_ssl *ssl, uint64_t seed)
{
    const ft_clipstore *s = set->store;
    int64_t B = o->batch, steps = o->steps;
    if (ft_probe_is_linear(o->model)) { /* all labels at once; from them alone it is solved */
        for (int64_t i = B = 0; i < set->n; i++) B += i == 0 || s->clip[set->clip[i]].video != s->clip[set->clip[i - 1]].video;
        B = B < MOST_AT_ONCE ? B : MOST_AT_ONCE;
        if (!ssl) steps = 0;
    }
    int64_t U = B * o->mu;
    *f = (feeder){.set = set,
                  .opt = o,
                  .batch = B,
                  .generated = ft_training_is_told(set, o->lambda_g) ? B : 0,
                  .unlabelled = ssl && (ssl->uses & (FT_SSL_WEAK | FT_SSL_TEACHER)) ? U : 0,
                  .strong = ssl && (ssl->uses & FT_SSL_STRONG) ? U : 0,
                  .seed = seed,
                  .views = o->views,
                  .bank = o->evaluated == FT_EVAL_EMA ? FT_EMA : FT_WEIGHTS,
                  .parts = o->parts,
                  .epoch = o->epoch,
                  .steps = steps,
                  .every = set->looks ? (steps + set->looks - 1) / set->looks : steps / 10 + 1};
    FT_TRY(ft_batch_parts(o->parts, B, o->settings, "classifier.accumulate"));
    f->video_first = ft_alloc((size_t)(set->n + 1) * 2 * sizeof *f->video_first);
    f->params = ft_params_new(seed);
    if (!f->video_first || !f->params) return FT_FAIL(FT_ENOMEM, "no memory for a classifier");
    f->video_count = f->video_first + set->n + 1;
    group_videos(f);
    return FT_OK;
}

/* Means over the parts; unsupervised, generated: NULL without such clips */
typedef struct {
    ft_t total, supervised, unsupervised, generated, grad_norm;
} losses;

/* The network, its losses and the update, recorded. ssl: NULL without unlabelled clips */
static losses record(feeder *f, ft_graph *g, const ft_ssl *ssl)
{
    losses sum = {0};
    ft_t mask[MAX_PARTS], weak[MAX_PARTS];
    if (ssl) {
        f->progress = ft_input(g, "progress", FT_F32, 2, (int64_t[]){1, 1});
        f->fresh = ft_input(g, "fresh", FT_F32, 2, (int64_t[]){1, 1});
        f->prior = ft_input(g, "prior", FT_F32, 2, (int64_t[]){1, f->set->n_classes});
        for (int64_t v = 0; v < f->videos && !ft_graph_error(g); v++)
            ((float *)ft_data(f->prior))[f->set->label[f->video_first[v]]] += 1.0f / (float)f->videos;
    }
    for (int64_t k = 0; k < f->parts; k++) {
        part_losses l = part_of(f, g, ssl, k);
        ft_t share = ft_add_part(g, &sum.total, l.total, f->parts);
        ft_add_part(g, &sum.supervised, l.supervised, f->parts);
        if (ssl) ft_add_part(g, &sum.unsupervised, l.unsupervised, f->parts);
        if (l.generated) ft_add_part(g, &sum.generated, l.generated, f->parts);
        mask[k] = l.mask, weak[k] = l.weak;
        ft_backward(g, share);
    }
    ft_keep(sum.total);
    ft_keep(sum.supervised);
    if (ssl) ft_keep(sum.unsupervised);
    if (sum.generated) ft_keep(sum.generated);
    if (mask[0]) {
        ft_keep(f->mask = ft_join(g, 0, (int)f->parts, mask));
        ft_keep(f->weak = ft_join(g, 0, (int)f->parts, weak));
        ft_keep(f->utilisation = ft_reduce(g, f->mask, 1, true));
    }
    bool linear = ft_probe_is_linear(f->opt->model);
    sum.grad_norm = ft_optimise(g, (ft_optim_opt){.sgd = f->opt->sgd,
                                                  .weight_decay = linear ? 0 : (float)f->opt->weight_decay,
                                                  .clip = (float)f->opt->clip});
    return sum;
}

/* What looks while it trains, and keeps the best weights. *watched: false where nobody does */
static int watch(feeder *f, const char *model, ft_evaluated how, bool *watched)
{
    const ft_training_set *set = f->set;
    size_t rows = (size_t)(set->n_watched * set->n_classes + 1) * sizeof(float);
    *watched = set->n_watched > 0 && (f->opt->selection != FT_SELECT_LAST || set->looks);
    if (!*watched) return FT_OK;
    FT_TRY(ft_viewer_new(&f->viewer, f->params, model, set->watched_store, set->features, set->n_classes, how));
    f->viewer.multilabel = set->positive == FT_MULTILABEL;
    f->best_weights = ft_alloc((size_t)ft_params_flat_size(f->params) * sizeof(float));
    f->prob = ft_alloc(rows), f->rows = ft_alloc(rows), f->best_rows = ft_alloc(rows);
    f->first = ft_alloc((size_t)(set->n_watched + 1) * sizeof *f->first);
    if (f->best_weights && f->prob && f->rows && f->best_rows && f->first) return FT_OK;
    return FT_FAIL(FT_ENOMEM, "no memory to keep the best weights");
}

/* Shares and accuracy of the pseudo-labels; what they say of the algorithm is a warning. */
static void judge_pseudo_labels(const feeder *f, ft_training_result *result)
{
    const ft_training_set *set = f->set;
    double labels = 0;
    result->utilisation = f->used_steps ? f->used / (double)f->used_steps : 0;
    for (int i = 0; i < set->n_classes; i++) labels += f->pseudo[i];
    for (int i = 0; i < set->n_classes; i++) result->pseudo[i] = labels > 0 ? f->pseudo[i] / labels : 0;
    result->pseudo_accuracy = f->known > 0 ? f->right / f->known : (double)NAN;
    if (!f->mask) return;
    if (result->utilisation < 0.01)
        ft_warn("only %.2f %% of the unlabelled clips got a pseudo-label: the unlabelled loss did next to nothing",
                100 * result->utilisation);
    for (int i = 0; i < set->n_classes; i++)
        if (result->pseudo[i] > 0.95 && set->n_classes > 1)
            ft_warn(
                "%.0f %% of the pseudo-labels are %s: the algorithm fell for one class. Let the labels begin alone (ssl.from: "
                "0.2), or start from weights (classifier.weights)",
                100 * result->pseudo[i], set->classes[i]);
    if (result->utilisation > 0.99)
        ft_warn("%.2f %% of the unlabelled clips got a pseudo-label: the threshold selects nothing", 100 * result->utilisation);
}

/* What is scored is what was chosen. */
static int keep_best(feeder *f, const char *dir, const json_t *meta, ft_training_result *result)
{
    char path[1100];
    int rc = FT_OK;
    result->looks = f->looks;
    result->best_step = f->best_step ? f->best_step : f->steps;
    memcpy(result->look, f->look, sizeof f->look);
    if (!f->best_step) return FT_OK;
    memcpy(ft_params_flat(f->params, f->bank), f->best_weights, (size_t)ft_params_flat_size(f->params) * sizeof(float));
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, f->bank == FT_EMA ? "ema" : "weights");
    if (ft_this_rank() == 0) rc = ft_weights_save(path, f->params, f->bank, meta);
    result->chosen = f->best_rows;
    f->best_rows = NULL;
    return rc;
}

static int run_training(feeder *f, const losses *l, ft_plan *plan, const char *dir, bool resume, json_t *meta, double *seconds)
{
    ft_trainer t = {.dir = dir,
                    .what = "classifier",
                    .model = f->opt->model,
                    .params = f->params,
                    .main = {.plan = plan, .lr = f->opt->lr, .lr_every = f->epoch, .grad_norm = l->grad_norm},
                    .steps = f->steps,
                    .warmup = ceil(f->opt->warmup * (double)f->steps),
                    .save_every = f->opt->save_every,
                    .tensorboard = f->opt->tensorboard,
                    .ema = f->opt->ema,
                    .ema_cold = f->opt->ema_cold,
                    .seed = f->seed,
                    .resume = resume,
                    .feed = feed,
                    .after = after,
                    .settled = f->mask ? settled : NULL,
                    .extra = extra,
                    .restore = restore,
                    .ctx = f,
                    .metadata = meta};
    const struct {
        const char *name;
        ft_t value;
    } logged[] = {{"loss", l->total},
                  {"supervised", l->supervised},
                  {"unsupervised", l->unsupervised},
                  {"utilisation", f->utilisation},
                  {"generated", l->generated}};
    for (size_t i = 0; i < sizeof logged / sizeof *logged; i++)
        if (logged[i].value) t.main.logged[t.n_logged] = logged[i].value, t.logged_name[t.n_logged++] = logged[i].name;
    int rc = ft_train(&t);
    *seconds = t.seconds;
    return rc;
}

int ft_classifier_train(const ft_classifier_opt *o, const ft_training_set *set, const char *dir, uint64_t seed, bool resume,
                        ft_training_result *result)
{
    bool semi = ft_training_is_semi(set), watched = false;
    const char *model = o->model;
    const ft_classifier *family = model ? ft_classifier_find(model) : NULL;
    const ft_ssl *ssl = semi && o->algorithm ? ft_ssl_find(o->algorithm) : NULL;
    ft_dtype dtype;
    if (!family || (semi && !ssl))
        return FT_FAIL(FT_ECONFIG, "options: the %s %s is not known", family ? "algorithm" : "classifier",
                       family ? o->algorithm : model);
    if (o->steps < 1 || o->batch < 1 || o->parts < 1 || o->parts > MAX_PARTS || (semi && o->mu < 1))
        return FT_FAIL(FT_ECONFIG, "options: steps, batch, parts (at most %d) and mu are 1 or more", MAX_PARTS);
    FT_TRY(ft_precision_of(&o->precision, family->work, &dtype));
    FT_TRY(check_set(o, set, semi));
    feeder f = {0};
    ft_graph *g = NULL;
    ft_plan *plan = NULL;
    json_t *meta = NULL;
    double strength[FT_MAX_CLASSES];
    int rc = FT_OK;
    FT_TRY_TO(rc, done, begin(&f, o, set, ssl, seed));
    g = ft_graph_new(f.params, dtype, FT_GRAPH_CLASSIFIER);
    meta = ft_classifier_describe(o, set);
    if (!g || !meta) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for %s", model));
    FT_TRY_TO(rc, done, ft_params_adapt(f.params, o->lora, o->lora_alpha, "head."));
    if (family->of_features) FT_TRY_TO(rc, done, ft_probe_begin(f.params, model, o, set, seed, &f.penalty, strength));
    if (ft_probe_is_linear(model))
        FT_TRY_TO(rc, done, ft_classifier_note_strength(meta, strength, set->positive == FT_MULTILABEL ? set->n_classes : 1));
    losses l = record(&f, g, ssl);
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    if (o->weights && *o->weights) FT_TRY_TO(rc, done, ft_weights_load_some(o->weights, f.params));
    FT_TRY_TO(rc, done, watch(&f, model, o->evaluated, &watched));
    /* looks so far and their best weights are not in the state: with them it begins again */
    FT_TRY_TO(rc, done, run_training(&f, &l, plan, dir, resume && !watched, meta, &result->seconds));
    judge_pseudo_labels(&f, result);
    rc = keep_best(&f, dir, meta, result);
done:
    ft_viewer_free(&f.viewer);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(f.params);
    ft_free(f.video_first);
    ft_free(f.best_weights);
    ft_free(f.prob);
    ft_free(f.rows);
    ft_free(f.best_rows);
    ft_free(f.first);
    json_decref(meta);
    return rc;
}
