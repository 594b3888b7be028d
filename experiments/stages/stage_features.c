/* What a frozen backbone sees in the clips that probes learn from and are tested on, once for all arms, splits and seeds. */
#include "experiments/stages/stage_features.h"

#include <stdio.h>
#include <string.h>

#include "classify/clip_features.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_vae.h"

/* `vae`: the experiment's own VAE of the fold, a stage */
static bool own_vae(const ft_config *cfg) { return ft_config_is(cfg, "features.model", "vae"); }

int ft_features_settings(const ft_stage *s, const ft_config *of, ft_config **cfg)
{
    FT_TRY(ft_config_copy(cfg, of));
    if (!own_vae(of)) return FT_OK;
    char *text = ft_format("features.model=%s", s->need[0]->folder);
    int rc = text ? ft_config_set(*cfg, text, "the stage") : FT_FAIL(FT_ENOMEM, "no memory");
    ft_free(text);
    return rc;
}

/* of the data: the videos of pools; of other clips: all */
static int which_are_viewed(const ft_experiment *x, const ft_clipstore *s, bool **viewed)
{
    if (!(*viewed = ft_alloc((size_t)s->n_clip + 1))) return FT_FAIL(FT_ENOMEM, "no memory for features");
    for (int64_t i = 0; s != &x->store && i < s->n_clip; i++) (*viewed)[i] = true;
    for (int f = 0; s == &x->store && f < x->n_folds; f++) {
        int64_t *clip, n;
        FT_TRY(ft_clips_of(s, &x->folds[f].pool, &clip, &n));
        for (int64_t i = 0; i < n; i++) (*viewed)[clip[i]] = true;
        ft_free(clip);
    }
    return FT_OK;
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    ft_clipstore own = {0};
    ft_config *cfg = NULL;
    ft_backbone *b = NULL;
    bool *viewed = NULL;
    const ft_stage *made = s->needs > own_vae(s->own) ? s->need[s->needs - 1] : NULL;
    int rc = FT_OK;
    if (made) ft_stage_file(path, made, "clips.h5");
    if (made || *s->file) rc = ft_clips_alike(&own, x, made ? path : s->file);
    const ft_clipstore *clips = made || *s->file ? &own : &x->store;
    if (rc == FT_OK) rc = ft_features_settings(s, s->own, &cfg);
    if (rc == FT_OK) rc = which_are_viewed(x, clips, &viewed);
    if (rc == FT_OK) {
        ft_backbone_opt o = ft_backbone_options(cfg);
        rc = ft_backbone_open(&b, &o, clips->frames, clips->size);
    }
    ft_stage_file(path, s, "features.safetensors");
    if (rc == FT_OK)
        rc = ft_clip_features_make(b, clips, viewed, (int)ft_config_int(s->own, "features.views"),
                                   ft_views_of(ft_config_text(s->own, "classifier.augment")), path);
    if (rc == FT_OK) {
        int64_t dim[3];
        ft_backbone_shape(b, dim);
        json_object_set_new(facts, "clips", json_integer(clips->n_clip));
        json_object_set_new(facts, "shape", json_pack("[I,I,I]", (json_int_t)dim[0], (json_int_t)dim[1], (json_int_t)dim[2]));
    }
    ft_backbone_free(b);
    ft_config_free(cfg);
    ft_free(viewed);
    ft_clipstore_free(&own);
    return rc;
}

/* pictures of a clip, nearly: those that only test have no views */
static double work(const ft_config *cfg)
{
    int64_t frames = ft_config_int(cfg, "features.frames");
    return (double)(frames > 0 ? frames : 1) * (double)(1 + 2 * ft_config_int(cfg, "features.views"));
}

static const ft_stage_kind features = {"features", compute, work};

int ft_stage_features(ft_experiment *x, const ft_config *cfg, const char *label, int fold, ft_stage *made, const char *file,
                      ft_stage **stage)
{
    static const char *const keys[] = {"features.",          "classifier.augment", "precision",
                                       "unlabelled.sampler", "unlabelled.fps",     NULL};
    /* the identities of network and file are in the key */
    static const char *const by_content[] = {"features.model", "features.weights", "data.sampler", "data.stride", NULL};
    ft_stage like = {.kind = &features, .cfg = cfg, .arm = "", .label = "", .file = file, .fold = fold, .by_content = by_content};
    char network[65] = "";
    bool of_data = !made && !*file;
    json_t *settings, *of_file = NULL;
    if (own_vae(cfg)) FT_TRY(ft_stage_vae(x, cfg, label, fold, &like.need[like.needs++]));
    else {
        ft_backbone_opt o = ft_backbone_options(cfg);
        FT_TRY(ft_backbone_identity(&o, network));
    }
    if (made) like.need[like.needs++] = made;
    if (*file) FT_TRY(ft_alike_key(x, cfg, file, &of_file));
    int rc = ft_key_settings(cfg, keys, &settings);
    if (rc < 0) return json_decref(of_file), rc;
    json_object_del(settings, "features.model"); /* the identity stands for both */
    json_object_del(settings, "features.weights");
    json_t *pools = json_array();
    for (int f = 0; of_data && f < x->n_folds; f++) json_array_append_new(pools, ft_video_names(&x->store, &x->folds[f].pool));
    return ft_stage_add(x, &like,
                        json_pack("{s:s,s:o,s:o,s:s,s:o}", "network", network, "config", settings, "file",
                                  of_file ? of_file : json_string(""), "store", of_data ? x->store.id : "", "viewed", pools),
                        stage);
}
