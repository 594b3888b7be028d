/* Classifiers at work on clips: their probabilities and features, means over the clips of a video. */
#include <math.h>
#include <string.h>

#include "classify/classifier.h"
#include "classify/viewer.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"

enum { EVAL_BATCH = 8 };

static void softmax(const float *z, int n, float *p)
{
    double top = (double)z[0], sum = 0;
    for (int k = 1; k < n; k++) top = fmax(top, (double)z[k]);
    for (int k = 0; k < n; k++) sum += exp((double)z[k] - top);
    for (int k = 0; k < n; k++) p[k] = (float)(exp((double)z[k] - top) / sum);
}

static void sigmoid(const float *z, int n, float *p)
{
    for (int k = 0; k < n; k++) p[k] = (float)(1 / (1 + exp(-(double)z[k])));
}

/* clips as they are, for a network: *rgb is to be filled */
static ft_t clips_input(ft_graph *g, int frames, int size, ft_t *rgb)
{
    *rgb = ft_input(g, "rgb", FT_U8, 5, (int64_t[]){EVAL_BATCH, frames, size, size, 3});
    return ft_augment(g, *rgb, NULL, NULL, FT_CLASSIFIER_MEAN, FT_CLASSIFIER_STD);
}

typedef void answers(const float *z, int n, float *p);

/* out (n, width) of `from` (EVAL_BATCH, width), through `as`, or as it is (NULL). draw: number of the first batch, for networks
 * that draw even here */
static int run_clips(ft_plan *plan, ft_t in, ft_t from, const ft_clipstore *s, const ft_clip_features *features,
                     const int64_t *clip, int64_t n, answers *as, int64_t draw, float *out)
{
    size_t each = (size_t)(ft_count(in) / EVAL_BATCH) * ft_dtype_size(ft_dtype_of(in));
    int64_t width = ft_dim(from, 1);
    for (int64_t at = 0; at < n; at += EVAL_BATCH) {
        int64_t m = n - at < EVAL_BATCH ? n - at : EVAL_BATCH;
        for (int64_t b = 0; b < m; b++)
            memcpy((char *)ft_data(in) + (size_t)b * each,
                   features ? (const void *)ft_clip_features_at(features, clip[at + b]) : ft_clip_pixels(s, clip[at + b]), each);
        FT_TRY(ft_run(plan, &(ft_step){.step = draw + at / EVAL_BATCH}));
        for (int64_t b = 0; b < m; b++) {
            const float *z = (const float *)ft_data(from) + b * width;
            if (as) as(z, (int)width, out + (at + b) * width);
            else memcpy(out + (at + b) * width, z, (size_t)width * sizeof(float));
        }
    }
    return FT_OK;
}

int ft_viewer_new(ft_viewer *v, ft_params *params, const char *model, const ft_clipstore *s, const ft_clip_features *features,
                  int classes, ft_evaluated how)
{
    ft_t x;
    memset(v, 0, sizeof *v);
    if (!(v->g = ft_graph_new(params, FT_F32, FT_GRAPH_PREDICTION))) return FT_FAIL(FT_ENOMEM, "no memory for %s", model);
    ft_training(v->g, how == FT_EVAL_DROP_PATH);
    if (features)
        x = v->in =
            ft_input(v->g, "features", FT_F32, 4, (int64_t[]){EVAL_BATCH, features->dim[0], features->dim[1], features->dim[2]});
    else x = clips_input(v->g, s->frames, s->size, &v->in);
    v->logits = ft_classifier_network(v->g, model, x, classes, 0, 0, NULL);
    ft_keep(v->logits);
    return ft_plan_new(&v->plan, v->g, how == FT_EVAL_EMA ? FT_EMA : FT_WEIGHTS);
}

int ft_viewer_run(ft_viewer *v, const ft_clipstore *s, const ft_clip_features *features, const int64_t *clip, int64_t n,
                  float *prob)
{
    int rc = run_clips(v->plan, v->in, v->logits, s, features, clip, n, v->multilabel ? sigmoid : softmax, v->batches, prob);
    v->batches += (n + EVAL_BATCH - 1) / EVAL_BATCH;
    return rc;
}

void ft_viewer_free(ft_viewer *v)
{
    ft_plan_free(v->plan);
    ft_graph_free(v->g);
    memset(v, 0, sizeof *v);
}

int64_t ft_video_means(const ft_clipstore *s, const int64_t *clip, int64_t n, const float *prob, int classes, float *rows,
                       int64_t *first)
{
    int64_t videos = 0;
    for (int64_t i = 0, k; i < n; i = k, videos++) {
        for (int c = 0; c < classes; c++) rows[videos * classes + c] = 0;
        for (k = i; k < n && s->clip[clip[k]].video == s->clip[clip[i]].video; k++)
            for (int c = 0; c < classes; c++) rows[videos * classes + c] += prob[k * classes + c];
        for (int c = 0; c < classes; c++) rows[videos * classes + c] /= (float)(k - i);
        first[videos] = i;
    }
    return videos;
}

const char *const ft_evaluated_names[] = {"ema", "weights", "weights with drop path"};

/* Features (n,D) of the weights in `params`, in whole batches; training: batch statistics, which move the running ones. Returns
 * D, or a negative status. *out is fresh and has room for the last batch. */
static int features_of(ft_params *params, const char *preset, int64_t classes, bool training, const ft_clipstore *s,
                       const int64_t *clip, int64_t n, float **out)
{
    ft_t rgb, f;
    ft_plan *plan = NULL;
    *out = NULL;
    ft_graph *g = ft_graph_new(params, FT_F32, FT_GRAPH_FEATURES);
    if (!g) return FT_FAIL(FT_ENOMEM, "no memory");
    ft_training(g, training);
    ft_classifier_network(g, preset, clips_input(g, s->frames, s->size, &rgb), classes, 0, 0, &f);
    ft_keep(f);
    int rc = ft_plan_new(&plan, g, FT_WEIGHTS), D = rc == FT_OK ? (int)ft_dim(f, 1) : 0;
    if (rc == FT_OK && !(*out = ft_alloc((size_t)((n + EVAL_BATCH) * D) * sizeof(float))))
        rc = FT_FAIL(FT_ENOMEM, "no memory for features");
    if (rc == FT_OK) rc = run_clips(plan, rgb, f, s, NULL, clip, n, NULL, 0, *out);
    ft_plan_free(plan);
    ft_graph_free(g);
    if (rc < 0) ft_free(*out), *out = NULL;
    return rc < 0 ? rc : D;
}

static int known(const char *preset)
{
    return ft_classifier_find(preset)
               ? FT_OK
               : FT_FAIL(FT_ECONFIG, "the classifier %s is not known. `forty models` lists the presets", preset);
}

int ft_classifier_features(const char *preset, const ft_clip_pool *set, int sets, float **features)
{
    for (int i = 0; i < sets; i++) features[i] = NULL;
    FT_TRY(known(preset));
    ft_params *params = ft_params_new(0);
    int rc = params ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory");
    /* whole batches only; the running statistics forget at 0.1 a batch, so a few passes settle them */
    for (int pass = 0; rc >= 0 && pass < 3; pass++) {
        rc = features_of(params, preset, 2, true, set->store, set->clip, set->n / EVAL_BATCH * EVAL_BATCH, features);
        ft_free(*features), *features = NULL;
    }
    for (int i = 0; rc >= 0 && i < sets; i++)
        rc = features_of(params, preset, 2, false, set[i].store, set[i].clip, set[i].n, &features[i]);
    ft_params_free(params);
    return rc;
}
