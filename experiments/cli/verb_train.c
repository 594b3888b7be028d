/* train: a VAE, a generator, a classifier or a multiple-instance learner, in a run folder. */
#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/folder.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/status.h"
#include "common/io/clipstore.h"
#include "common/train/precision.h"
#include "experiments/cli/cli.h"
#include "experiments/cli/mil_task.h"
#include "experiments/data/splits.h"
#include "experiments/stages/config_changes.h"
#include "experiments/sweep/shapes.h"
#include "gen/generator.h"
#include "gen/vae_train.h"

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
        told = (ft_conditions){(const char *const *)d->classes.name, d->classes.n, of_clip, NULL};
    }
    rc =
        ft_generator_train(cfg, ft_config_text(cfg, "generator.model"), pool, &told, NULL, vae, latents, NULL, dir, seed, resume);
done:
    ft_free(sides.pool.video);
    ft_free(sides.test.video);
    ft_free(of_clip);
    return rc;
}

/* Pseudo-labels and shuffled ones are for experiments, where labels are of a split. */
static int told_here(const ft_config *cfg, bool *told)
{
    const char *condition = ft_config_text(cfg, "generator.condition");
    FT_TRY(ft_conditions_wanted(cfg, told));
    if (!*told || !strcmp(condition, "labels")) return FT_OK;
    return FT_FAIL(FT_ECONFIG,
                   "%s: generator.condition: %s are made of a split's labels, in experiments only. labels tells it the labels "
                   "of the clips",
                   ft_config_origin(cfg, "generator.condition"), condition);
}

/* A VAE, or a generator: of latents, then its run folder carries a VAE and what that makes of the clips, or of pixels. */
static int train_on_pool(const ft_config *cfg, train_data *d, const char *task, const char *dir, uint64_t seed, bool resume)
{
    char path[1200], vae[1200];
    int64_t *clip = NULL, n;
    const ft_generator *family = ft_generator_find(ft_config_text(cfg, "generator.model"));
    bool alone = !strcmp(task, "vae");
    int rc = all_but_test(&d->store, &clip, &n);
    ft_clip_pool pool = {&d->store, clip, n};
    if (rc == FT_OK && !alone && family && family->gan) {
        rc = train_generator(cfg, d, &pool, NULL, NULL, dir, seed, resume);
        goto done;
    }
    snprintf(vae, sizeof vae, "%s%s", dir, alone ? "" : "/vae");
    snprintf(path, sizeof path, "%s/run.json", vae);
    if (rc == FT_OK && !ft_exists(path)) rc = ft_vae_train(cfg, &pool, vae, seed, resume);
    if (rc < 0 || alone) goto done;
    snprintf(path, sizeof path, "%s/latents.safetensors", dir);
    if (ft_this_rank() == 0 && !ft_exists(path)) FT_TRY_TO(rc, done, ft_vae_encode_pool(cfg, vae, &pool, path));
    FT_TRY_TO(rc, done, ft_ranks_meet());
    rc = train_generator(cfg, d, &pool, vae, path, dir, seed, resume);
done:
    ft_free(clip);
    return rc;
}

static int train_task(ft_config *cfg, const char *dir, bool resume)
{
    const char *task = ft_config_text(cfg, "task"), *clips = ft_config_text(cfg, "data.clips");
    uint64_t seed = (uint64_t)ft_config_int(cfg, "seed");
    train_data d = {0};
    char path[1200];
    if (!*task) return FT_FAIL(FT_ECONFIG, "task is missing: vae, generator, classifier or mil");
    if (!strcmp(task, "mil")) return ft_mil_task(cfg, dir, resume);
    if (!*clips) return FT_FAIL(FT_ECONFIG, "data.clips is missing: make a clip store with forty ingest or forty phantom");
    FT_TRY(ft_clipstore_read(&d.store, clips));
    int rc = FT_OK;
    int64_t *clip = NULL, *held = NULL, n, m;
    int *label = NULL, *held_label = NULL;
    if (!strcmp(task, "generator")) FT_TRY_TO(rc, done, told_here(cfg, &d.told));
    FT_TRY_TO(rc, done,
              !strcmp(task, "classifier") ? ft_shapes_classifier(cfg, clips, d.store.frames, d.store.size)
              : !strcmp(task, "vae")
                  ? ft_shapes_vae(cfg, clips, d.store.frames, d.store.size)
                  : ft_shapes_generator(cfg, ft_config_text(cfg, "generator.model"), clips, d.store.frames, d.store.size));
    if (strcmp(task, "classifier")) {
        rc = train_on_pool(cfg, &d, task, dir, seed, resume);
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
