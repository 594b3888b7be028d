/* Verbs about models: models, train, generate, evaluate, predict. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "classify/classifier.h"
#include "classify/scores.h"
#include "classify/ssl.h"
#include "common/base/files.h"
#include "common/base/interrupt.h"
#include "common/base/folder.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
#include "common/graph/choices.h"
#include "common/graph/backend.h"
#include "common/base/threads.h"
#include "common/io/labels.h"
#include "common/io/video.h"
#include "common/train/precision.h"
#include "experiments/arms/arm.h"
#include "experiments/arms/protocol.h"
#include "experiments/cli/cli.h"
#include "experiments/cli/mil_task.h"
#include "experiments/data/ingest.h"
#include "experiments/models/model_table.h"
#include "experiments/stages/config_changes.h"
#include "experiments/stages/environment.h"
#include "experiments/sweep/shapes.h"
#include "gen/consistency.h"
#include "gen/generator.h"
#include "gen/vae_train.h"

/* ---- models ------------------------------------------------------------------------------------------------------------- */

/* "(B,16,64,64,3)" and the like; batch is free */
static void input_text(const ft_model *row, const char *preset, const ft_config *cfg, char *text, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < row->n_in && at < size; i++) {
        int64_t dim[FT_MAX_DIMS];
        ft_model_example(row, preset, cfg, i, dim);
        at += (size_t)snprintf(text + at, size - at, "%s%s (B", i ? ", " : "", row->in[i].name);
        for (int k = 1; k < ft_model_dims(&row->in[i]) && at < size; k++)
            at += (size_t)snprintf(text + at, size - at, ",%lld",
                                   (long long)dim[strchr(row->in[i].axes, row->in[i].file_axes[k]) - row->in[i].axes]);
        if (at < size) at += (size_t)snprintf(text + at, size - at, ")");
    }
}

static int run_models(ft_cli *c)
{
    json_t *list = json_array();
    ft_config *cfg;
    char input[160];
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    for (int i = 0; ft_model_at(i); i++)
        for (int k = 0; ft_model_at(i)->preset(k); k++) {
            const ft_model *row = ft_model_at(i);
            const char *name = row->preset(k);
            ft_params *p;
            if (!strcmp(row->suffix, "-decode")) continue;
            FT_TRY(ft_model_store(&p, name, cfg, 2, 0));
            input_text(row, name, cfg, input, sizeof input);
            json_array_append_new(list, json_pack("{s:s,s:s,s:I,s:s}", "name", name, "kind", row->kind, "parameters",
                                                  (json_int_t)ft_model_parameters(p), "input", input));
            ft_params_free(p);
        }
    ft_config_free(cfg);
    if (!ft_cli_json(c)) {
        size_t i;
        json_t *m;
        printf("%-16s %-12s %14s  %s\n", "model", "kind", "parameters", "input");
        json_array_foreach(list, i, m)
            printf("%-16s %-12s %14lld  %s\n", json_string_value(json_object_get(m, "name")),
                   json_string_value(json_object_get(m, "kind")), (long long)json_integer_value(json_object_get(m, "parameters")),
                   json_string_value(json_object_get(m, "input")));
        printf("\nsemi-supervised algorithms (ssl.algorithm):\n");
        for (int k = 0; ft_ssl_at(k); k++) printf("  %-18s %s\n", ft_ssl_at(k)->name, ft_ssl_at(k)->help);
        printf("\nprotocols:\n");
        for (int k = 0; ft_protocol_at(k); k++) printf("  %-18s %s\n", ft_protocol_at(k)->name, ft_protocol_at(k)->help);
        printf("\narms of an experiment:\n");
        for (int k = 0; ft_arm_at(k); k++) printf("  %-18s %s\n", ft_arm_at(k)->name, ft_arm_at(k)->help);
    }
    ft_cli_print(c, list, "%s", "");
    return FT_OK;
}
const ft_verb ft_verb_models = {"models", "every preset: name, kind, parameters, input; algorithms and arms",
                                "models", "forty models --json",
                                NULL,     run_models};

/* ---- train ---------------------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_clipstore store;
    ft_classes classes;
    ft_fold *folds;
    int n_folds;
    ft_videos labelled, unlabelled;
    bool told; /* generator.condition */
} train_data;

static void train_data_free(train_data *d)
{
    ft_free(d->labelled.video);
    ft_free(d->unlabelled.video);
    ft_folds_free(d->folds, d->n_folds);
    ft_classes_free(&d->classes);
    ft_clipstore_free(&d->store);
}

static int all_but_test(const ft_clipstore *s, int64_t **clip, int64_t *n)
{
    *n = 0;
    if (!(*clip = ft_alloc((size_t)(s->n_clip + 1) * sizeof **clip))) return FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int64_t i = 0; i < s->n_clip; i++) {
        const char *split = s->video[s->clip[i].video].split;
        if (strcmp(split, "test") && strcmp(split, "validation") && strcmp(split, "val")) (*clip)[(*n)++] = i;
    }
    return *n ? FT_OK : FT_FAIL(FT_EDATA, "%s: no clips to train on", s->path);
}

/* With generator.condition: every label of the clips that it learns from. `pool`: these clips. */
static int train_generator(const ft_config *cfg, train_data *d, const ft_clip_pool *pool, const char *vae, const char *latents,
                           const char *dir, uint64_t seed, bool resume)
{
    int *of_clip = NULL, rc = FT_OK;
    ft_fold sides = {.pool.n = 0};
    ft_conditions told = {.n = 0};
    if (d->told) {
        FT_TRY_TO(rc, done, ft_classes_make(&d->classes, cfg, &d->store));
        FT_TRY_TO(rc, done, ft_sides_of_clips(&sides, &d->store, pool->clip, pool->n));
        FT_TRY_TO(rc, done, ft_conditions_of(&of_clip, &d->store, &d->classes, &sides, &sides.pool, pool->clip, pool->n));
        told = (ft_conditions){(const char *const *)d->classes.name, d->classes.n, of_clip};
    }
    rc = ft_generator_train(cfg, ft_config_text(cfg, "generator.model"), pool, &told, NULL, vae, latents, dir, seed, resume);
done:
    ft_free(sides.pool.video);
    ft_free(sides.test.video);
    ft_free(of_clip);
    return rc;
}

static int train_task(ft_config *cfg, const char *dir, bool resume)
{
    const char *task = ft_config_text(cfg, "task"), *clips = ft_config_text(cfg, "data.clips");
    uint64_t seed = (uint64_t)ft_config_int(cfg, "seed");
    train_data d = {0};
    char path[1200], vae[1200];
    if (!*task) return FT_FAIL(FT_ECONFIG, "task is missing: vae, generator, classifier or mil");
    if (!strcmp(task, "mil")) return ft_mil_task(cfg, dir, resume);
    if (!*clips) return FT_FAIL(FT_ECONFIG, "data.clips is missing: make a clip store with forty ingest or forty phantom");
    FT_TRY(ft_clipstore_read(&d.store, clips));
    int rc = FT_OK;
    int64_t *clip = NULL, *held = NULL, n, m;
    int *label = NULL, *held_label = NULL;
    if (!strcmp(task, "generator")) FT_TRY_TO(rc, done, ft_conditions_wanted(cfg, &d.told));
    FT_TRY_TO(rc, done,
              !strcmp(task, "classifier") ? ft_shapes_classifier(cfg, clips, d.store.frames, d.store.size)
              : !strcmp(task, "vae")
                  ? ft_shapes_vae(cfg, clips, d.store.frames, d.store.size)
                  : ft_shapes_generator(cfg, ft_config_text(cfg, "generator.model"), clips, d.store.frames, d.store.size));
    if (strcmp(task, "classifier")) {
        FT_TRY_TO(rc, done, all_but_test(&d.store, &clip, &n));
        ft_clip_pool pool = {&d.store, clip, n};
        snprintf(vae, sizeof vae, "%s%s", dir, strcmp(task, "vae") ? "/vae" : "");
        snprintf(path, sizeof path, "%s/run.json", vae);
        if (!ft_exists(path)) FT_TRY_TO(rc, done, ft_vae_train(cfg, &pool, vae, seed, resume));
        if (!strcmp(task, "vae")) goto done;
        snprintf(path, sizeof path, "%s/latents.safetensors", dir); /* a generator's run folder carries its VAE */
        if (ft_this_rank() == 0 && !ft_exists(path)) FT_TRY_TO(rc, done, ft_vae_encode_pool(cfg, vae, &pool, path));
        FT_TRY_TO(rc, done, ft_ranks_meet());
        rc = train_generator(cfg, &d, &pool, vae, path, dir, seed, resume);
        goto done;
    }
    FT_TRY_TO(rc, done, ft_classes_make(&d.classes, cfg, &d.store));
    FT_TRY_TO(rc, done, ft_folds_make(&d.folds, &d.n_folds, cfg, &d.store, &d.classes));
    FT_TRY_TO(rc, done, ft_split_make(&d.labelled, &d.unlabelled, cfg, &d.store, &d.classes, &d.folds[0], 0));
    snprintf(path, sizeof path, "%s/split.json", dir);
    if (ft_this_rank() == 0) FT_TRY_TO(rc, done, ft_split_save(path, &d.store, &d.folds[0], &d.labelled, 0));
    FT_TRY_TO(rc, done, ft_clips_of(&d.store, &d.labelled, &clip, &n));
    FT_TRY_TO(rc, done, ft_clips_of(&d.store, &d.folds[0].validation, &held, &m));
    label = ft_alloc((size_t)(n + 1) * sizeof *label), held_label = ft_alloc((size_t)(m + 1) * sizeof *held_label);
    for (int64_t i = 0; label && i < n; i++) label[i] = d.classes.of_video[d.store.clip[clip[i]].video];
    for (int64_t i = 0; held_label && i < m; i++) held_label[i] = d.classes.of_video[d.store.clip[held[i]].video];
    ft_clipstore more = {0};
    const char *unlabelled = ft_config_text(cfg, "data.unlabelled");
    ft_training_set set = {.store = &d.store,
                           .clip = clip,
                           .label = label,
                           .n = n,
                           .classes = (const char *const *)d.classes.name,
                           .n_classes = d.classes.n,
                           .watched_store = &d.store,
                           .watched = held,
                           .watched_label = held_label,
                           .n_watched = m,
                           .positive = d.classes.positive};
    int64_t *all = NULL;
    if (*unlabelled) {
        FT_TRY_TO(rc, done, ft_clipstore_read(&more, unlabelled));
        all = ft_alloc((size_t)(more.n_clip + 1) * sizeof *all);
        for (int64_t i = 0; all && i < more.n_clip; i++) all[i] = i;
        set.unlabelled_store = &more, set.unlabelled = all, set.n_unlabelled = more.n_clip;
    }
    ft_training_result r = {0};
    ft_classifier_opt o = {0};
    rc = label && held_label && (all || !*unlabelled) ? ft_classifier_options(&o, cfg, ft_training_is_semi(&set))
                                                      : FT_FAIL(FT_ENOMEM, "no memory for labels");
    if (rc == FT_OK) rc = ft_classifier_train(&o, &set, dir, seed, resume, &r);
    ft_classifier_options_free(&o);
    ft_free(all);
    ft_clipstore_free(&more);
done:
    ft_free(clip);
    ft_free(held);
    ft_free(label);
    ft_free(held_label);
    train_data_free(&d);
    return rc;
}

/* Where the run is made: its folder, empty or to be continued; FOLDER/.new while it is to replace one that is there and stays
 * until the new one is complete. Ours until the end. */
static int claim_run(const ft_cli *c, const char *dir, ft_config *cfg, bool resume, char work[1200])
{
    char path[1300];
    bool force = ft_cli_flag(c, "--force");
    snprintf(work, 1200, "%s", dir);
    if (ft_exists(dir) && !ft_is_dir(dir)) return FT_FAIL(FT_EIO, "%s: a file; a run is a folder. Choose another -o", dir);
    FT_TRY(ft_hold_folder(dir)); /* refuses a folder of somebody else */
    FT_TRY(ft_folder_settle(dir));
    snprintf(path, sizeof path, "%s/.new", dir);
    bool begun = ft_exists(path), there = !ft_folder_empty(dir);
    if (resume && begun) snprintf(work, 1200, "%s", path); /* it was begun with --force and interrupted */
    else if (there && !resume) {
        if (!force)
            return FT_FAIL(FT_EIO, "%s: exists already. Use --force to replace it, --resume to continue it, or another -o", dir);
        if (begun) FT_TRY(ft_folder_remove(path, NULL));
        FT_TRY(ft_folder_make(path));
        snprintf(work, 1200, "%s", path);
    }
    FT_TRY(ft_precision_keep(cfg, work, true));
    snprintf(path, sizeof path, "%s/config.yaml", work);
    ft_config_changes changes = {.n = 0};
    if (resume) FT_TRY(ft_config_changes_find(&changes, cfg, path));
    if (changes.n && !force)
        return FT_FAIL(FT_ECONFIG, "%s: begun with other settings: %s. Continue with the same, or with these by --force", dir,
                       changes.text);
    return ft_config_write(cfg, path);
}

/* A run that failed before it computed anything goes, so that the corrected command does not meet it. */
static void forget_unbegun(const char *work)
{
    static const char *const before[] = {"config.yaml", "precision.json", "gpu-choices.tsv", "split.json"};
    char **name;
    int n, known = 0;
    if (ft_list_dir(work, &name, &n) != FT_OK) return;
    for (int i = 0; i < n; i++) {
        known += *name[i] == '.';
        for (size_t k = 0; k < sizeof before / sizeof *before; k++) known += !strcmp(name[i], before[k]);
        ft_free(name[i]);
    }
    ft_free(name);
    if (known == n) ft_folder_remove(work, NULL);
}

static int run_train(ft_cli *c)
{
    const char *const *arg, *dir = ft_cli_text(c, "-o");
    ft_config *cfg;
    FT_TRY(ft_cli_need(c, 1, "CONFIG.yaml"));
    ft_cli_args(c, &arg);
    if (!dir) return FT_FAIL(FT_EUSAGE, "-o RUN is missing. usage: forty %s", ft_verb_train.usage);
    bool resume = ft_cli_flag(c, "--resume");
    FT_TRY(ft_cli_config(c, arg[0], &cfg));
    int rc = ft_ranks_start();
    if (rc == FT_OK && ft_this_rank() > 0) ft_log_quiet(true);
    if (ft_ranks() > 1) ft_log("%d ranks train together; `batch` is what each of them computes", ft_ranks());
    char work[1200];
    if (rc == FT_OK && ft_this_rank() == 0) rc = claim_run(c, dir, cfg, resume, work);
    bool claimed = rc == FT_OK;
    if (rc == FT_OK) rc = ft_ranks_meet();
    if (rc == FT_OK && ft_this_rank() > 0) { /* as the first rank found */
        snprintf(work, sizeof work, "%s/.new", dir);
        if (!ft_exists(work)) snprintf(work, sizeof work, "%s", dir);
        rc = ft_precision_keep(cfg, work, true);
    }
    if (rc == FT_OK) rc = train_task(cfg, work, resume);
    if (rc != FT_OK && rc != FT_EINTERRUPTED && claimed && !resume && ft_this_rank() == 0) forget_unbegun(work);
    if (rc == FT_OK) rc = ft_ranks_meet();
    if (rc == FT_OK && ft_this_rank() == 0 && strcmp(work, dir)) rc = ft_folder_replace(dir);
    ft_config_free(cfg);
    FT_TRY(rc);
    if (ft_this_rank() == 0) ft_cli_print(c, json_pack("{s:s}", "run", dir), "%s\n", dir);
    return FT_OK;
}
static const ft_option train_options[] = {
    {"-o", "RUN", NULL, "run folder"}, {"--resume", NULL, NULL, "continue an interrupted run"}, {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_train = {
    "train",
    "trains what the configuration names: a VAE, a generator, a classifier, a multiple-instance learner",
    "train CONFIG.yaml -o RUN [--resume]",
    "forty train experiments/generator.yaml -o runs/medsora --set data.clips=clips.h5",
    train_options,
    run_train};

/* ---- generate ----------------------------------------------------------------------------------------------------------- */

/* Clips as files DIR/NAME.EXTENSION: looks at all names before anything is sampled (write false), and writes them. */
static int clip_files(const char *store, const char *preset, int64_t n, const char *dir, const char *extension, bool write,
                      bool force)
{
    ft_clipstore s = {0};
    int rc = FT_OK;
    if (!write) FT_TRY(ft_mkdirs(dir));
    else FT_TRY(ft_clipstore_read(&s, store));
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        char name[FT_SAMPLE_NAME];
        ft_sample_name(preset, i, name);
        char *path = ft_format("%s/%s.%s", dir, name, extension);
        if (!path) rc = FT_FAIL(FT_ENOMEM, "no memory");
        else if (!write) rc = ft_claim_output(path, force);
        else rc = ft_video_write(path, ft_clip_pixels(&s, i), s.frames, s.size, s.size, 8);
        ft_free(path);
    }
    ft_clipstore_free(&s);
    return rc;
}

/* Options that are settings of the run, for this call otherwise. */
static int set_options(ft_cli *c, ft_config *cfg)
{
    static const struct {
        const char *option, *key;
    } as[] = {
        {"--sampler", "generator.sampler"}, {"--steps", "generator.sample_steps"}, {"--guidance", "generator.class_guidance"}};
    for (size_t i = 0; i < sizeof as / sizeof *as; i++) {
        if (!ft_cli_text(c, as[i].option)) continue;
        char *set = ft_format("%s=%s", as[i].key, ft_cli_text(c, as[i].option));
        int rc = set ? ft_config_set(cfg, set, as[i].option) : FT_FAIL(FT_ENOMEM, "no memory");
        ft_free(set);
        FT_TRY(rc);
    }
    return FT_OK;
}

static int run_generate(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o");
    char path[1200], vae[1200], latents[1200];
    int64_t n, steps;
    ft_config *cfg = NULL;
    ft_clipstore s = {0};
    static const struct {
        const char *option, *extension;
    } as[2] = {{"--mp4", "mp4"}, {"--gif", "gif"}};
    FT_TRY(ft_cli_need(c, 1, "RUN"));
    ft_cli_args(c, &arg);
    if (!out) return FT_FAIL(FT_EUSAGE, "-o CLIPS.h5 is missing. usage: forty %s", ft_verb_generate.usage);
    FT_TRY(ft_cli_int(c, "-n", 1, 1000000, &n));
    if (ft_cli_text(c, "--steps")) FT_TRY(ft_cli_int(c, "--steps", 1, 1000, &steps));
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    snprintf(path, sizeof path, "%s/config.yaml", arg[0]);
    ft_choices_keep(arg[0]);
    FT_TRY(ft_cli_config(c, path, &cfg));
    int rc = FT_OK;
    for (size_t k = 0; k < 2; k++)
        if (ft_cli_text(c, as[k].option))
            FT_TRY_TO(rc, done,
                      clip_files(out, ft_config_text(cfg, "generator.model"), n, ft_cli_text(c, as[k].option), as[k].extension,
                                 false, ft_cli_flag(c, "--force")));
    FT_TRY_TO(rc, done, set_options(c, cfg));
    snprintf(vae, sizeof vae, "%s/vae", arg[0]);
    snprintf(latents, sizeof latents, "%s/latents.safetensors", arg[0]);
    FT_TRY_TO(rc, done, ft_clipstore_read(&s, ft_config_text(cfg, "data.clips"))); /* the shape of the training clips */
    FT_TRY_TO(rc, done,
              ft_generator_sample(cfg, ft_config_text(cfg, "generator.model"), arg[0], vae, latents, ft_cli_text(c, "--class"), n,
                                  s.frames, s.size, (uint64_t)ft_config_int(cfg, "seed"), out));
    for (size_t k = 0; k < 2; k++)
        if (ft_cli_text(c, as[k].option))
            FT_TRY_TO(rc, done,
                      clip_files(out, ft_config_text(cfg, "generator.model"), n, ft_cli_text(c, as[k].option), as[k].extension,
                                 true, true));
    ft_cli_print(c, json_pack("{s:s,s:I}", "output", out, "clips", (json_int_t)n), "%s: %lld clips\n", out, (long long)n);
done:
    ft_clipstore_free(&s);
    ft_config_free(cfg);
    return rc;
}
static const ft_option generate_options[] = {{"-n", "N", "200", "clips to sample"},
                                             {"-o", "CLIPS.h5", NULL, "clip store to write"},
                                             {"--sampler", "unipc|ddim|ddpm", NULL, "sampler; as in the configuration"},
                                             {"--steps", "N", NULL, "sampling steps; as in the configuration"},
                                             {"--class", "NAME", NULL, "clips of this class alone; without it of each in turn"},
                                             {"--guidance", "S", NULL, "how far they lean towards it; as in the configuration"},
                                             {"--mp4", "DIR", NULL, "also write MP4 files"},
                                             {"--gif", "DIR", NULL, "also write GIF files"},
                                             {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_generate = {"generate",
                                  "samples clips from a trained generator",
                                  "generate RUN -n 200 -o CLIPS.h5",
                                  "forty generate runs/medsora -n 50 -o fake.h5 --gif gifs",
                                  generate_options,
                                  run_generate};

/* ---- evaluate, predict -------------------------------------------------------------------------------------------------- */

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
    if (rc == FT_OK) rc = ft_vae_evaluate(cfg, vae, &pool, &v);
    if (rc == FT_OK) rc = ft_vae_encode_pool(cfg, vae, &pool, held);
    if (rc == FT_OK) rc = ft_generator_eps_mse(cfg, preset, held, run, pool_latents, &mse);
    if (rc == FT_OK && want > 0) {
        rc = ft_generator_sample(cfg, preset, run, vae, pool_latents, NULL, want, s.frames, s.size, 0, samples);
        if (rc == FT_OK) rc = ft_clipstore_read(&made, samples);
        if (rc == FT_OK) rc = of_split(&made, "all", &all, &want);
        if (rc == FT_OK) steady = ft_frame_consistency(&(ft_clip_pool){&made, all, want});
    }
    if (rc == FT_OK)
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
    if (ft_exists(path)) return evaluate_generator(c, arg[0], data, split);
    FT_TRY(ft_classifier_info_read(&info, arg[0]));
    int rc = FT_OK, C = info.n_classes;
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
    rows = ft_alloc((size_t)(s.n_video * C + 1) * sizeof *rows);
    label = ft_alloc((size_t)(s.n_video + 1) * sizeof *label);
    prob = ft_alloc((size_t)(s.n_clip * C + 1) * sizeof *prob);
    if (!rows || !label || !prob) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
    FT_TRY_TO(rc, done, ft_classifier_predict(arg[0], &info, &s, NULL, clip, n, prob));
    first = ft_alloc((size_t)(n + 1) * sizeof *first);
    if (!first) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
    videos = ft_video_means(&s, clip, n, prob, C, rows, first);
    for (int64_t i = 0; i < videos; i++) {
        FT_TRY_TO(rc, done, label_of(&info, &classes, &s, s.clip[clip[first[i]]].video, &label[i]));
    }
    int positive = class_index(&info, info.positive);
    if (info.multilabel) {
        ft_scores sets = ft_score(rows, label, videos, C, FT_MULTILABEL);
        print_sets(c, &info, &sets, videos);
        goto done;
    }
    ft_scores sc = ft_score(rows, label, videos, C, positive < 0 ? C - 1 : positive);
    json_t *o = ft_scores_json(&sc);
    json_object_set_new(o, "videos", json_integer(videos));
    json_object_set_new(o, "positive", json_string(info.positive));
    ft_cli_print(c, o,
                 "%lld videos, positive: %s\nF1 %.1f  accuracy %.1f  balanced %.1f  sensitivity %.1f  specificity %.1f  MCC %.3f "
                 " AUROC %.3f  AUPRC %.3f  Brier %.3f  ECE %.3f\n",
                 (long long)videos, info.positive, 100 * sc.f1, 100 * sc.accuracy, 100 * sc.balanced_accuracy,
                 100 * sc.sensitivity, 100 * sc.specificity, sc.mcc, sc.auroc, sc.auprc, sc.brier, sc.ece);
done:
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

/* Clips of one or several videos that are looked at together: a network is opened once for all of them. */
enum { CLIPS_TOGETHER = 32 };
typedef struct {
    const char *run;
    const ft_classifier_info *info;
    ft_clipstore s; /* pixels alone */
    int video[CLIPS_TOGETHER], *views;
    float *sum;   /* (videos, classes) */
    bool stopped; /* by the network, not by a video */
} prediction;

/* adds each clip's probabilities to its video's; the clips are then gone */
static int judge(prediction *p)
{
    int64_t n = p->s.n_clip, C = p->info->n_classes, clip[CLIPS_TOGETHER];
    float prob[CLIPS_TOGETHER * FT_MAX_CLASSES];
    for (int64_t i = 0; i < n; i++) clip[i] = i;
    p->s.n_clip = 0;
    int rc = n > 0 ? ft_classifier_predict(p->run, p->info, &p->s, NULL, clip, n, prob) : FT_OK;
    p->stopped = rc < 0;
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        p->views[p->video[i]]++;
        for (int64_t q = 0; q < C; q++) p->sum[p->video[i] * C + q] += prob[i * C + q];
    }
    return rc;
}

/* every clip of a video in every view */
static int look_at_video(prediction *p, const char *path, int video)
{
    ft_video v;
    const ft_classifier_info *info = p->info;
    int n;
    double used;
    ft_sampling how = {ft_clip_sampler_of(info->sampler), info->frames, info->stride, info->clips_per_video, info->overlap};
    FT_TRY(ft_video_open(&v, path));
    int64_t *tick = NULL, ticks = v.frames;
    if (info->fps > 0 && !v.images) ticks = ft_video_ticks(&v, info->fps, &tick);
    double fps = info->fps > 0 ? info->fps : v.fps;
    int room = ticks > 0 ? ft_sample_count(&how, ticks, fps) : 0, rc = (int)(ticks < 0 ? ticks : FT_OK);
    int64_t *index = ft_alloc_n(room + 1, (size_t)info->frames * sizeof *index);
    if (rc == FT_OK) rc = index ? ft_video_crop(&v, info->crop, NULL) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = ft_sample_clips(&how, path, ticks, fps, index, room, &n, &used);
    for (int64_t i = 0; rc == FT_OK && tick && i < (int64_t)n * info->frames; i++) index[i] = tick[index[i]];
    if (info->test_clips > 0 && info->test_clips < n) n = info->test_clips;
    for (int k = 0; rc == FT_OK && k < 3 * n; k++) {
        ft_crop crop = (ft_crop)(k % 3);
        if (strcmp(info->view, "3crop") && crop != (strcmp(info->view, "left") ? FT_CROP_CENTRE : FT_CROP_FIRST)) continue;
        if (p->s.n_clip == CLIPS_TOGETHER) rc = judge(p);
        if (rc < 0) break;
        p->video[p->s.n_clip] = video;
        rc = ft_video_frames(&v, index + k / 3 * info->frames, info->frames, info->size, crop,
                             p->s.pixels + p->s.n_clip++ * ft_clip_bytes(&p->s));
        if (rc == FT_OK && ft_interrupted) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted");
    }
    ft_free(index);
    ft_free(tick);
    ft_video_close(&v);
    return rc;
}

/* Mean over the clips of each video, (videos, classes). A video that cannot be read is said and stays out: `read` is false. */
static int predict_videos(const char *run, const ft_classifier_info *info, const char *const *path, int videos, float *mean,
                          bool *read)
{
    prediction p = {.run = run,
                    .info = info,
                    .s = {.path = (char *)(uintptr_t)path[0], .frames = info->frames, .size = info->size},
                    .sum = mean};
    if (info->frames > 256) return FT_FAIL(FT_EDATA, "%s: more than 256 frames a clip", run);
    p.views = ft_alloc_n(videos, sizeof *p.views);
    p.s.pixels = ft_alloc_n(CLIPS_TOGETHER, (size_t)ft_clip_bytes(&p.s));
    int rc = p.views && p.s.pixels ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for clips");
    for (int i = 0; rc == FT_OK && i < videos; i++) {
        rc = look_at_video(&p, path[i], i);
        read[i] = rc == FT_OK;
        if (p.stopped || (rc != FT_EDATA && rc != FT_EIO)) continue;
        ft_warn("%s; left out", ft_error_message());
        rc = FT_OK;
    }
    if (rc == FT_OK) rc = judge(&p);
    for (int i = 0; rc == FT_OK && i < videos; i++)
        for (int q = 0; q < info->n_classes; q++) mean[i * info->n_classes + q] /= (float)(p.views[i] ? p.views[i] : 1);
    ft_free(p.views);
    ft_free(p.s.pixels);
    return rc;
}

/* "blood|polyp": the classes above 1/2; fresh */
static char *set_text(const ft_classifier_info *info, const float *p)
{
    char *text = NULL;
    for (int k = 0; k < info->n_classes; k++) {
        if (p[k] <= 0.5f) continue;
        char *more = text ? ft_format("%s|%s", text, info->classes[k]) : ft_strdup(info->classes[k]);
        ft_free(text);
        if (!(text = more)) return NULL;
    }
    return text ? text : ft_strdup(FT_NO_LABEL);
}

/* An option that says otherwise than the run: said, and taken. */
static void say_other(const char *option, const char *now, const char *was)
{
    if (strcmp(now, was)) ft_warn("%s %s: the classifier learned from clips made with %s", option, now, was);
}

/* Videos become clips as those did that the run learned from, unless an option says otherwise. */
static int make_alike(ft_cli *c, const char *run, ft_classifier_info *info)
{
    const char *crop = ft_cli_text(c, "--crop"), *sampler = ft_cli_text(c, "--sampler"), *k = ft_cli_text(c, "--clips-per-video");
    char was[64];
    if (crop) {
        if (!ft_video_crop_known(crop) || strlen(crop) >= sizeof info->crop)
            return FT_FAIL(FT_EUSAGE, "--crop is %s; " FT_CROPS " is needed", crop);
        say_other("--crop", crop, info->crop);
        snprintf(info->crop, sizeof info->crop, "%s", crop);
    }
    if (sampler) {
        if (!ft_clip_sampler_known(sampler))
            return FT_FAIL(FT_EUSAGE, "--sampler is %s; stride, released, uniform or dense is needed", sampler);
        say_other("--sampler", sampler, info->sampler);
        snprintf(info->sampler, sizeof info->sampler, "%s", sampler);
    }
    if (ft_cli_text(c, "--stride")) {
        int64_t stride;
        FT_TRY(ft_cli_int(c, "--stride", 1, 10000, &stride));
        snprintf(was, sizeof was, "%d", info->stride);
        say_other("--stride", ft_cli_text(c, "--stride"), was);
        info->stride = (int)stride;
    }
    if (ft_cli_text(c, "--fps")) {
        snprintf(was, sizeof was, "%.6g", info->fps);
        FT_TRY(ft_cli_real(c, "--fps", 0, 1000, &info->fps));
        say_other("--fps", ft_cli_text(c, "--fps"), was);
    }
    if (k) {
        int64_t clips = 0;
        if (strcmp(k, "all")) FT_TRY(ft_cli_int(c, "--clips-per-video", 1, 4096, &clips));
        snprintf(was, sizeof was, "%d", info->clips_per_video);
        say_other("--clips-per-video", k, info->clips_per_video ? was : "all");
        info->clips_per_video = (int)clips, info->test_clips = 0;
    }
    if (ft_cli_text(c, "--overlap")) {
        snprintf(was, sizeof was, "%.6g", info->overlap);
        FT_TRY(ft_cli_real(c, "--overlap", 0, 0.99, &info->overlap));
        say_other("--overlap", ft_cli_text(c, "--overlap"), was);
        if (info->overlap > 0 && info->clips_per_video)
            return FT_FAIL(FT_EUSAGE, "--overlap is of the clips of --clips-per-video all; the run has %d of a video",
                           info->clips_per_video);
    }
    char clips[32] = "all", fps[64] = "", overlap[64] = "";
    if (info->clips_per_video) snprintf(clips, sizeof clips, "%d", info->clips_per_video);
    if (info->fps > 0) snprintf(fps, sizeof fps, ", at %.6g frames a second", info->fps);
    if (info->overlap > 0) snprintf(overlap, sizeof overlap, ", overlap %.6g", info->overlap);
    ft_log("%s: clips of %d frames and %d pixels, sampler %s, stride %d%s, %s of a video%s, view %s, crop %s", run, info->frames,
           info->size, info->sampler, info->stride, fps, clips, overlap, info->view, info->crop);
    return FT_OK;
}

static int run_predict(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o");
    ft_classifier_info info;
    ft_config *cfg;
    FT_TRY(ft_cli_need(c, 2, "RUN VIDEO"));
    int n = ft_cli_args(c, &arg), rc = FT_OK;
    ft_choices_keep(arg[0]);
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    ft_config_free(cfg);
    if (out) FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    FT_TRY(ft_classifier_info_read(&info, arg[0]));
    if ((rc = make_alike(c, arg[0], &info)) < 0) {
        ft_classifier_info_free(&info);
        return rc;
    }
    ft_text t;
    json_t *list = json_array();
    float *mean = NULL;
    bool *read = NULL;
    int bad = 0;
    FT_TRY_TO(rc, done, ft_text_begin(&t));
    FILE *f = t.f;
    mean = ft_alloc_n(n * info.n_classes, sizeof *mean), read = ft_alloc_n(n, sizeof *read);
    if (!mean || !read) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
    FT_TRY_TO(rc, done, predict_videos(arg[0], &info, arg + 1, n - 1, mean, read));
    for (int i = 0; i < n - 1; i++) bad += !read[i];
    if (bad == n - 1) FT_TRY_TO(rc, done, FT_FAIL(FT_EDATA, "none of the %d videos could be read", bad));
    fprintf(f, "video,predicted");
    for (int k = 0; k < info.n_classes; k++) fputc(',', f), ft_csv_probability(f, info.classes[k]);
    fputc('\n', f);
    for (int i = 1; rc == FT_OK && i < n; i++) {
        const float *p = mean + (i - 1) * info.n_classes;
        int best = 0;
        if (!read[i - 1]) continue;
        json_t *probs = json_object();
        for (int k = 0; k < info.n_classes; k++) {
            if (p[k] > p[best]) best = k;
            json_object_set_new(probs, info.classes[k], json_real((double)p[k]));
        }
        char *said = info.multilabel ? set_text(&info, p) : ft_strdup(info.classes[best]);
        if (!said) {
            json_decref(probs);
            FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for predictions"));
        }
        ft_csv_field(f, arg[i]);
        fputc(',', f);
        ft_csv_field(f, said);
        for (int k = 0; k < info.n_classes; k++) fprintf(f, ",%.6f", (double)p[k]);
        fputc('\n', f);
        json_array_append_new(list, json_pack("{s:s,s:s,s:o}", "video", arg[i], "predicted", said, "probabilities", probs));
        ft_free(said);
    }
done:
    if (rc == FT_OK) rc = ft_text_end(&t);
    if (rc == FT_OK && out) rc = ft_write_file(out, t.text, t.size);
    if (rc == FT_OK) ft_cli_print(c, json_incref(list), "%s", out ? "" : t.text);
    if (rc == FT_OK && bad)
        rc = FT_FAIL(FT_EDATA, "%d of %d videos could not be read and are not among the predictions", bad, n - 1);
    json_decref(list);
    ft_free(mean);
    ft_free(read);
    ft_text_free(&t);
    ft_classifier_info_free(&info);
    return rc;
}
static const ft_option predict_options[] = {{"-o", "OUT.csv", NULL, "write here instead of the screen"},
                                            {"--crop", "none|auto|dicom-region|x,y,w,h", NULL,
                                             "otherwise than the clips were made that it learned from; so are the rest"},
                                            {"--fps", "N", NULL, "resample to this rate first"},
                                            {"--sampler", "stride|released|uniform|dense", NULL, "which frames"},
                                            {"--stride", "N", NULL, "source frames from frame to frame"},
                                            {"--clips-per-video", "all|K", NULL, "clips whose answers are averaged"},
                                            {"--overlap", "P", NULL, "of neighbours of --clips-per-video all"},
                                            {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_predict = {"predict",
                                 "class probabilities of raw videos",
                                 "predict RUN VIDEO... [-o OUT.csv]",
                                 "forty predict runs/x3d new/*.mp4 -o predictions.csv",
                                 predict_options,
                                 run_predict};
