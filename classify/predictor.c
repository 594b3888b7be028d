#include "classify/predictor.h"

#include <stdio.h>
#include <string.h>

#include "classify/viewer.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/weights.h"

struct ft_predictor {
    const ft_clipstore *store;
    const ft_clip_features *features; /* of a probe, where they are given */
    ft_backbone *backbone;            /* of a probe without them */
    ft_params *params;
    ft_viewer viewer;
};

void ft_predictor_close(ft_predictor *p)
{
    if (!p) return;
    ft_viewer_free(&p->viewer);
    ft_params_free(p->params);
    ft_backbone_free(p->backbone);
    ft_free(p);
}

/* The probe's backbone, that of its run, by the settings that run.json keeps. */
static int open_backbone(ft_backbone **b, const char *dir, const ft_classifier_info *info)
{
    char now[65];
    ft_config *cfg;
    FT_TRY(ft_config_new(&cfg));
    int rc = FT_OK;
    const char *name;
    json_t *value;
    json_object_foreach(info->features, name, value)
    {
        char *text = ft_format("%s=%s", name, json_string_value(value));
        if (rc == FT_OK) rc = text ? ft_config_set(cfg, text, dir) : FT_FAIL(FT_ENOMEM, "no memory");
        ft_free(text);
    }
    ft_backbone_opt o = rc == FT_OK ? ft_backbone_options(cfg) : (ft_backbone_opt){0};
    if (rc == FT_OK) rc = ft_backbone_identity(&o, now);
    if (rc == FT_OK && strcmp(now, info->network))
        rc = FT_FAIL(FT_EDATA, "%s: was trained on features of other weights than those that stand in %s now", dir,
                     *o.weights ? o.weights : o.model);
    if (rc == FT_OK) rc = ft_backbone_open(b, &o, info->frames, info->size);
    ft_config_free(cfg);
    return rc;
}

static int open_network(ft_predictor *p, const char *dir, const ft_classifier_info *info)
{
    char path[1100];
    bool average = info->evaluated == FT_EVAL_EMA;
    ft_clip_features shape = {0};
    if (p->backbone) ft_backbone_shape(p->backbone, shape.dim);
    if (!(p->params = ft_params_new(0))) return FT_FAIL(FT_ENOMEM, "no memory for %s", info->model);
    FT_TRY(ft_params_adapt(p->params, info->lora, info->alpha, "head."));
    FT_TRY(ft_viewer_new(&p->viewer, p->params, info->model, p->store, p->backbone ? &shape : p->features, info->n_classes,
                         info->evaluated));
    p->viewer.multilabel = info->multilabel;
    snprintf(path, sizeof path, "%s/%s.safetensors", dir, average ? "ema" : "weights");
    return ft_weights_load(path, p->params, average ? FT_EMA : FT_WEIGHTS, NULL);
}

int ft_predictor_open(ft_predictor **out, const char *dir, const ft_classifier_info *info, const ft_clipstore *store,
                      const ft_clip_features *features)
{
    *out = NULL;
    if (store->frames != info->frames || store->size != info->size)
        return FT_FAIL(
            FT_EDATA,
            "%s: clips of %d frames and %d pixels, the classifier was trained on %d and %d. Ingest with --frames %d --size %d",
            store->path, store->frames, store->size, info->frames, info->size, info->frames, info->size);
    bool of_features = ft_classifier_find(info->model)->of_features;
    ft_predictor *p = ft_alloc(sizeof *p);
    if (!p) return FT_FAIL(FT_ENOMEM, "no memory for %s", info->model);
    p->store = store, p->features = of_features ? features : NULL;
    int rc = of_features && !features ? open_backbone(&p->backbone, dir, info) : FT_OK;
    if (rc == FT_OK) rc = open_network(p, dir, info);
    if (rc == FT_OK) *out = p;
    else ft_predictor_close(p);
    return rc;
}

/* what the backbone sees in the clips, of which row i is clip[i], and the answers to that */
static int look_through(ft_predictor *p, const int64_t *clip, int64_t n, float *prob)
{
    ft_clip_features f = {.n = n};
    ft_backbone_shape(p->backbone, f.dim);
    int64_t *row = ft_alloc_n(n + 1, sizeof *row);
    float *clean = ft_alloc_n(n + 1, (size_t)ft_clip_features_each(&f) * sizeof *clean);
    int rc = row && clean ? ft_backbone_run(p->backbone, p->store, clip, NULL, n, clean)
                          : FT_FAIL(FT_ENOMEM, "no memory for features");
    f.clean = clean;
    for (int64_t i = 0; rc == FT_OK && i < n; i++) row[i] = i;
    if (rc == FT_OK) rc = ft_viewer_run(&p->viewer, p->store, &f, row, n, prob);
    ft_free(clean);
    ft_free(row);
    return rc;
}

int ft_predictor_run(ft_predictor *p, const int64_t *clip, int64_t n, float *prob)
{
    p->viewer.batches = 0;
    return p->backbone ? look_through(p, clip, n, prob) : ft_viewer_run(&p->viewer, p->store, p->features, clip, n, prob);
}
