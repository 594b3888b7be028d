/* evaluate: scores of a classifier, or of a generator and its VAE. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "classify/predictor.h"
#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/choices.h"
#include "common/io/clipstore.h"
#include "common/io/labels.h"
#include "experiments/cli/cli.h"
#include "experiments/cli/mil_task.h"
#include "experiments/data/splits.h"
#include "gen/consistency.h"
#include "gen/generator.h"
#include "gen/vae_train.h"

static int class_index(const ft_classifier_info *info, const char *name)
{
    for (int k = 0; k < info->n_classes; k++)
        if (!strcmp(info->classes[k], name)) return k;
    return -1;
}

/* The video's label as the classifier counts classes; FT_EDATA: it does not know it. */
static int label_of(const ft_classifier_info *info, const ft_classes *classes, const ft_clipstore *s, int64_t v, int *label)
{
    const char *unknown = classes->of_video[v] < 0 ? s->video[v].label : NULL;
    *label = 0;
    for (int k = 0; k < classes->n && !unknown; k++) {
        if (!ft_classes_has(classes, v, k)) continue;
        int at = class_index(info, classes->name[k]);
        if (at < 0) unknown = classes->name[k];
        else *label |= info->multilabel ? 1 << at : at;
    }
    return unknown ? FT_FAIL(FT_EDATA, "%s: %s has the label '%s', which the classifier does not know. Use data.map", s->path,
                             s->video[v].name, unknown)
                   : FT_OK;
}

static int of_split(const ft_clipstore *s, const char *split, int64_t **clip, int64_t *n)
{
    char digits[8], old[8];
    const char *given = ft_split_name(split, digits); /* val is validation */
    *n = 0;
    if (given) split = given;
    if (!(*clip = ft_alloc((size_t)(s->n_clip + 1) * sizeof **clip))) return FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; i < s->n_clip; i++) {
        const char *of = s->video[s->clip[i].video].split, *known = ft_split_name(of, old); /* older stores: val */
        if (!*split || !strcmp(split, "all") || !strcmp(known ? known : of, split)) (*clip)[(*n)++] = i;
    }
    return *n ? FT_OK : FT_FAIL(FT_EDATA, "%s: no clips in the split %s. Use --split all", s->path, split);
}

static bool draws_pixels(const char *run)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/run.json", run);
    json_t *about = json_load_file(path, 0, NULL);
    const char *model = json_string_value(json_object_get(about, "model"));
    const ft_generator *family = model ? ft_generator_find(model) : NULL;
    json_decref(about);
    return family && family->gan;
}

/* A generator's run: how well its VAE rebuilds held-out clips, its denoising error on them, and how steady its samples are. */
static int evaluate_generator(ft_cli *c, const char *run, const char *data, const char *split)
{
    char path[1200], vae[1200], pool_latents[1200], held[1200], samples[1200];
    ft_config *cfg = NULL;
    ft_clipstore s = {0}, made = {0};
    int64_t *clip = NULL, *all = NULL, n = 0, want;
    ft_vae_score v;
    double mse = NAN, steady = NAN;
    const char *preset;
    FT_TRY(ft_cli_int(c, "--samples", 0, 100000, &want));
    snprintf(path, sizeof path, "%s/config.yaml", run);
    snprintf(vae, sizeof vae, "%s/vae", run);
    snprintf(pool_latents, sizeof pool_latents, "%s/latents.safetensors", run);
    snprintf(held, sizeof held, "%s/.held-out-%d.partial", run, (int)getpid());
    snprintf(samples, sizeof samples, "%s/.samples-%d.partial", run, (int)getpid());
    FT_TRY(ft_cli_config(c, path, &cfg));
    int rc = ft_clipstore_read(&s, data);
    if (rc == FT_OK) rc = of_split(&s, split, &clip, &n);
    ft_clip_pool pool = {&s, clip, n};
    preset = ft_config_text(cfg, "generator.model");
    const bool pixels = ft_generator_find(preset) && ft_generator_find(preset)->gan; /* it has no VAE, and predicts no noise */
    if (rc == FT_OK && !pixels) rc = ft_vae_evaluate(cfg, vae, &pool, &v);
    if (rc == FT_OK && !pixels) rc = ft_vae_encode_pool(cfg, vae, &pool, held);
    if (rc == FT_OK) rc = ft_generator_eps_mse(cfg, preset, held, run, pool_latents, &mse);
    if (rc == FT_OK && want > 0) {
        rc = ft_generator_sample(cfg, preset, run, vae, pool_latents, NULL, want, s.frames, s.size, 0, samples);
        if (rc == FT_OK) rc = ft_clipstore_read(&made, samples);
        if (rc == FT_OK) rc = of_split(&made, "all", &all, &want);
        if (rc == FT_OK) steady = ft_frame_consistency(&(ft_clip_pool){&made, all, want});
    }
    if (rc == FT_OK && pixels)
        ft_cli_print(
            c,
            json_pack("{s:s,s:I,s:f,s:o}", "run", run, "clips", (json_int_t)n, "consistency_real", ft_frame_consistency(&pool),
                      "consistency_samples", isnan(steady) ? json_null() : json_real(steady)),
            "%lld clips: frames correlate %.2f %% (samples %.2f %%)\n", (long long)n, ft_frame_consistency(&pool), steady);
    else if (rc == FT_OK)
        ft_cli_print(
            c,
            json_pack("{s:s,s:I,s:f,s:[f,f,f],s:f,s:f,s:o}", "run", run, "clips", (json_int_t)n, "psnr", v.psnr, "band_error",
                      v.band[0], v.band[1], v.band[2], "denoising_mse", mse, "consistency_real", ft_frame_consistency(&pool),
                      "consistency_samples", isnan(steady) ? json_null() : json_real(steady)),
            "%lld clips: VAE %.2f dB (error of low, middle, high frequencies %.3g %.3g %.3g), denoising error %.4f, frames "
            "correlate %.2f %% (samples %.2f %%)\n",
            (long long)n, v.psnr, v.band[0], v.band[1], v.band[2], mse, ft_frame_consistency(&pool), steady);
    ft_remove_file(held);
    ft_remove_file(samples);
    ft_free(clip);
    ft_free(all);
    ft_clipstore_free(&s);
    ft_clipstore_free(&made);
    ft_config_free(cfg);
    return rc;
}

/* Clips that were made otherwise than those it learned from are scored all the same, but not in silence. */
static void say_otherwise_made(const ft_classifier_info *info, const ft_clipstore *s)
{
    json_t *own = s->config ? json_loads(s->config, 0, NULL) : NULL;
    static const char *const texts[] = {"crop", "sampler", "view"}, *const numbers[] = {"stride", "fps"};
    const char *const was[] = {info->crop, info->sampler, info->view};
    const double number[] = {info->stride, info->fps};
    for (int i = 0; i < 3; i++) {
        const char *now = json_string_value(json_object_get(own, texts[i]));
        if (now && strcmp(now, was[i]))
            ft_warn("%s: its clips were made with %s %s, those that the classifier learned from with %s", s->path, texts[i], now,
                    was[i]);
    }
    for (int i = 0; i < 2; i++) {
        json_t *now = json_object_get(own, numbers[i]);
        if (json_is_number(now) && fabs(json_number_value(now) - number[i]) > 1e-9)
            ft_warn("%s: its clips were made with %s %.6g, those that the classifier learned from with %.6g", s->path, numbers[i],
                    json_number_value(now), number[i]);
    }
    json_decref(own);
}

/* macro scores, then each label */
static void print_sets(ft_cli *c, const ft_classifier_info *info, const ft_scores *s, int64_t videos)
{
    json_t *o = ft_scores_json(s), *names = json_array();
    for (int k = 0; k < s->classes; k++) json_array_append_new(names, json_string(info->classes[k]));
    json_object_set_new(o, "videos", json_integer(videos));
    json_object_set_new(o, "classes", names);
    ft_cli_print(c, o,
                 "%lld videos, %d labels, several a video\nmacro F1 %.1f  mAP %.3f  AUROC %.3f  balanced %.1f  sensitivity %.1f  "
                 "specificity %.1f  all labels right %.1f  Brier %.3f  ECE %.3f\n",
                 (long long)videos, s->classes, 100 * s->f1, s->auprc, s->auroc, 100 * s->balanced_accuracy, 100 * s->sensitivity,
                 100 * s->specificity, 100 * s->accuracy, s->brier, s->ece);
    for (int k = 0; k < s->classes && !ft_cli_json(c); k++)
        if (s->of_class[k].videos)
            printf("%-24s %5lld videos  F1 %5.1f  AP %.3f  AUROC %.3f\n", info->classes[k], (long long)s->of_class[k].videos,
                   100 * s->of_class[k].f1, s->of_class[k].auprc, s->of_class[k].auroc);
        else printf("%-24s     0 videos\n", info->classes[k]);
}

static int run_evaluate(ft_cli *c)
{
    const char *const *arg, *data = ft_cli_text(c, "--data"), *split = ft_cli_text(c, "--split");
    char path[1200];
    ft_classifier_info info;
    ft_config *cfg = NULL;
    ft_clipstore s = {0};
    ft_classes classes = {0};
    FT_TRY(ft_cli_need(c, 1, "RUN"));
    ft_cli_args(c, &arg);
    ft_choices_keep(arg[0]);
    if (ft_mil_is_run(arg[0])) return ft_mil_evaluate(c, arg[0]);
    if (!data) return FT_FAIL(FT_EUSAGE, "--data CLIPS.h5 is missing. usage: forty %s", ft_verb_evaluate.usage);
    snprintf(path, sizeof path, "%s/vae/run.json", arg[0]);
    if (ft_exists(path) || draws_pixels(arg[0])) return evaluate_generator(c, arg[0], data, split);
    FT_TRY(ft_classifier_info_read(&info, arg[0]));
    int rc = FT_OK, n_classes = info.n_classes;
    ft_predictor *network = NULL;
    int64_t *clip = NULL, *first = NULL, n = 0, videos = 0;
    float *prob = NULL, *rows = NULL;
    int *label = NULL;
    snprintf(path, sizeof path, "%s/config.yaml", arg[0]);
    FT_TRY_TO(rc, done, ft_cli_config(c, ft_exists(path) ? path : NULL, &cfg)); /* for data.map */
    if (info.multilabel) FT_TRY_TO(rc, done, ft_config_set(cfg, "data.multilabel=true", arg[0]));
    FT_TRY_TO(rc, done, ft_clipstore_read(&s, data));
    say_otherwise_made(&info, &s);
    FT_TRY_TO(rc, done, ft_classes_make(&classes, cfg, &s));
    FT_TRY_TO(rc, done, of_split(&s, split, &clip, &n));
    rows = ft_alloc((size_t)(s.n_video * n_classes + 1) * sizeof *rows);
    label = ft_alloc((size_t)(s.n_video + 1) * sizeof *label);
    prob = ft_alloc((size_t)(s.n_clip * n_classes + 1) * sizeof *prob);
    if (!rows || !label || !prob) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
    FT_TRY_TO(rc, done, ft_predictor_open(&network, arg[0], &info, &s, NULL));
    FT_TRY_TO(rc, done, ft_predictor_run(network, clip, n, prob));
    first = ft_alloc((size_t)(n + 1) * sizeof *first);
    if (!first) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
    videos = ft_video_means(&s, clip, n, prob, n_classes, rows, first);
    for (int64_t i = 0; i < videos; i++) {
        FT_TRY_TO(rc, done, label_of(&info, &classes, &s, s.clip[clip[first[i]]].video, &label[i]));
    }
    int positive = class_index(&info, info.positive);
    if (info.multilabel) {
        ft_scores sets = ft_score(rows, label, videos, n_classes, FT_MULTILABEL);
        print_sets(c, &info, &sets, videos);
        goto done;
    }
    ft_scores sc = ft_score(rows, label, videos, n_classes, positive < 0 ? n_classes - 1 : positive);
    json_t *o = ft_scores_json(&sc);
    json_object_set_new(o, "videos", json_integer(videos));
    json_object_set_new(o, "positive", json_string(info.positive));
    ft_cli_print(c, o,
                 "%lld videos, positive: %s\nF1 %.1f  accuracy %.1f  balanced %.1f  sensitivity %.1f  specificity %.1f  MCC %.3f "
                 " AUROC %.3f  AUPRC %.3f  Brier %.3f  ECE %.3f\n",
                 (long long)videos, info.positive, 100 * sc.f1, 100 * sc.accuracy, 100 * sc.balanced_accuracy,
                 100 * sc.sensitivity, 100 * sc.specificity, sc.mcc, sc.auroc, sc.auprc, sc.brier, sc.ece);
done:
    ft_predictor_close(network);
    ft_free(clip);
    ft_free(first);
    ft_free(rows);
    ft_free(label);
    ft_free(prob);
    ft_classes_free(&classes);
    ft_clipstore_free(&s);
    ft_config_free(cfg);
    ft_classifier_info_free(&info);
    return rc;
}
static const ft_option evaluate_options[] = {
    {"--data", "CLIPS.h5", NULL, "labelled clips; of task: mil: features (standard: those of the configuration)"},
    {"--split", "NAME", "test", "videos of this split; all: every video"},
    {"--samples", "N", "0", "of a generator: sample so many clips and judge them too"},
    {"--frame-labels", "FILE", NULL, "of task: mil: which frames are positive (CSV or .npy)"},
    {"--snippets", "FILE.csv", NULL, "of task: mil: write the score of every snippet"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_evaluate = {"evaluate",
                                  "scores a classifier per video, or a generator and its VAE on held-out clips",
                                  "evaluate RUN --data CLIPS.h5 [--split test]",
                                  "forty evaluate runs/x3d --data clips.h5 --json",
                                  evaluate_options,
                                  run_evaluate};
