#include "experiments/stages/split_probe.h"

#include <stdio.h>

#include "classify/backbone.h"
#include "classify/predictor.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/stage_features.h"

const char *const ft_split_probe_keys[] = {"probe.",    "classifier.augment", "looks", "data.test_clips",
                                           "features.", "precision",          NULL};

/* A linear probe on what the features of the labelled clips say: the same for every classifier that is asked in the end, so that
 * they share generators, too. Of its settings only views are the classifier's: the features are made of them. */
static int probe_settings(const ft_stage *s, const ft_config *of, ft_config **cfg)
{
    char set[5][96] = {"selection=last", "classifier.model=linear-probe"};
    snprintf(set[2], sizeof set[2], "classifier.augment=%s", ft_config_text(of, "classifier.augment"));
    snprintf(set[3], sizeof set[3], "classifier.steps=%lld", (long long)ft_config_int(of, "probe.steps"));
    snprintf(set[4], sizeof set[4], "classifier.lr=%.17g", ft_config_real(of, "probe.lr"));
    FT_TRY(ft_features_settings(s, of, cfg));
    FT_TRY(ft_config_reset(*cfg, "classifier."));
    FT_TRY(ft_config_reset(*cfg, "selection"));
    for (int i = 0; i < 5; i++) FT_TRY(ft_config_set(*cfg, set[i], "the probe"));
    return FT_OK;
}

static int train_probe(const ft_experiment *x, const ft_stage *s, const ft_config *cfg, const ft_clip_features *data)
{
    ft_videos labelled = {0}, rest = {0};
    ft_training_set set = {.store = &x->store,
                           .classes = (const char *const *)x->classes.name,
                           .n_classes = x->classes.n,
                           .features = data,
                           .positive = x->classes.positive};
    ft_training_result r = {0};
    char network[65];
    int64_t *clip = NULL;
    int *label = NULL, rc = ft_split_make(&labelled, &rest, s->own, &x->store, &x->classes, &x->folds[s->fold], s->split);
    ft_backbone_opt seen = ft_backbone_options(cfg);
    ft_classifier_opt o = {0};
    if (rc == FT_OK) rc = ft_backbone_identity(&seen, network);
    if (rc == FT_OK) rc = ft_first_clips_of(&x->store, &labelled, 0, &clip, &set.n);
    if (rc == FT_OK && !(label = ft_alloc_n(set.n + 1, sizeof *label))) rc = FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; rc == FT_OK && i < set.n; i++) label[i] = x->classes.of_video[x->store.clip[clip[i]].video];
    set.clip = clip, set.label = label, set.network = network;
    if (rc == FT_OK) rc = ft_classifier_options(&o, cfg, false);
    if (rc == FT_OK) rc = ft_classifier_train(&o, &set, s->folder, 0, true, &r);
    ft_classifier_options_free(&o);
    ft_free(r.chosen);
    ft_free(clip);
    ft_free(label);
    ft_free(labelled.video);
    ft_free(rest.video);
    return rc;
}

int ft_split_probe(const ft_experiment *x, const ft_stage *s, const ft_stage *of_data, const ft_clip_pool *clips,
                   const ft_clip_features *own, float *prob)
{
    char path[FT_PATH];
    ft_clip_features data = {0};
    ft_classifier_info info = {0};
    ft_config *cfg = NULL;
    ft_predictor *network = NULL;
    int rc = probe_settings(of_data, s->own, &cfg);
    ft_stage_file(path, of_data, "features.safetensors");
    if (rc == FT_OK) rc = ft_clip_features_read(&data, path, x->store.n_clip);
    if (rc == FT_OK) rc = train_probe(x, s, cfg, &data);
    if (rc == FT_OK) rc = ft_classifier_info_read(&info, s->folder);
    if (rc == FT_OK) rc = ft_predictor_open(&network, s->folder, &info, clips->store, own ? own : &data);
    if (rc == FT_OK) rc = ft_predictor_run(network, clips->clip, clips->n, prob);
    ft_predictor_close(network);
    ft_classifier_info_free(&info);
    ft_clip_features_free(&data);
    ft_config_free(cfg);
    return rc;
}
