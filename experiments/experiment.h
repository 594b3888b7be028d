/* The main job: every arm x label split x seed, each stage cached by content, then tables and the report.
 *
 * A stage's key is the SHA-256 of {stage, its settings, the identity of its inputs, the code version}; its folder is
 * runs/STAGE-KEY, complete when done.json is there. A second run finds every folder and only reports. */
#ifndef FT_EXPERIMENT_H
#define FT_EXPERIMENT_H

#include <time.h>

#include "common/io/clipstore.h"
#include "common/io/config.h"
#include "experiments/confounds.h"
#include "experiments/splits.h"
#include "experiments/stats.h"

enum { FT_PATH = 1200 };

typedef struct {
    ft_config *cfg;
    char dir[600]; /* results/NAME */
    ft_clipstore store;
    ft_classes classes;
    ft_fold *folds;
    int n_folds;
    int computed, cached; /* stages of this call */
    time_t began;
    struct {
        char folder[FT_PATH];
        int fd;
    } * lease; /* of the stages that this process is at */
    int leases;
    bool complete; /* nothing is computed: a stage that is not there is an error */
    char (*needed)[96];
    int n_needed; /* stage folders that were asked for, by name */
} ft_experiment;

/* One arm in one fold and split, being prepared: see arm.h. */
typedef struct {
    ft_experiment *x;
    const char *arm;      /* a row's name, a preset, `clips: FILE` */
    const ft_config *cfg; /* the experiment's with this arm's own settings */
    int fold, split;
    ft_videos labelled, unlabelled;       /* of the split; an arm may replace them */
    const ft_clipstore *unlabelled_store; /* out: where unlabelled clips come from; NULL: supervised */
    int64_t *clips, n_clips;              /* out: which; fresh memory */
    char picked[65];                      /* SHA-256 of that list, for keys */
    ft_clipstore own;                     /* holds unlabelled_store when it is a file of this arm */
} ft_arm_context;

/* Everything: stages that are not there yet (each continues from its saved state), tables, report. Any number of processes may
 * work on one folder: a stage is one's alone while it is computed (work.c), tables are written by one at a time. */
int ft_experiment_run(ft_config *cfg, const char *dir, const char *command, bool json);
/* The stages alone: one of many workers. */
int ft_experiment_worker(ft_config *cfg, const char *dir);
int ft_experiment_status(ft_config *cfg, const char *dir);
/* Removes the stages that no run of this configuration needs. FT_EDATA when it is not complete. */
int ft_experiment_gc(ft_config *cfg, const char *dir, bool json);

/* Settings that start with one of the prefixes, for a key: a file of weights stands there by its content, not by its path. */
int ft_key_settings(const ft_config *cfg, const char *const *prefix, json_t **settings);
/* Stage folder for a key; *done tells whether it is complete. If not, it is ours until ft_stage_done: FT_EBUSY when another
 * process is at it. `key` is consumed. */
int ft_stage(ft_experiment *x, const char *stage, json_t *key, char folder[FT_PATH], bool *done);
int ft_stage_done(ft_experiment *x, const char *folder, json_t *facts); /* facts are consumed */
json_t *ft_stage_facts(const char *folder);                             /* NULL if not done */
void ft_stages_failed(ft_experiment *x,
                      const char *why); /* notes it in the stages that are ours, and lets them go; NULL: only that */

/* The VAE and latents of a fold's pool, trained if needed: folders and files by name. */
typedef struct {
    char vae[FT_PATH], latents[FT_PATH], held_out[FT_PATH]; /* held_out: latents of the validation videos; "" if none */
    double psnr;                                            /* on them */
} ft_fold_vae;
int ft_fold_vae_get(ft_experiment *x, const ft_config *cfg, int fold, ft_fold_vae *out);

/* Reads a clip store as the unlabelled clips of an arm: all of its clips. */
int ft_arm_use_file(ft_arm_context *c, const char *path);
json_t *ft_video_names(const ft_clipstore *s, const ft_videos *v);

/* ---- what the report needs ---- */
typedef struct {
    char arm[600], name[128]; /* see ft_arm_context; what tables call it */
    ft_config *cfg;
    int n; /* runs: (split, seed) */
    ft_run_scores *run;
    json_t **line;         /* as in results.jsonl */
    ft_interval f1, delta; /* delta against the baseline; NaN without it */
    double p, p_holm;
    double delta_sd;               /* of the exchangeable differences (ft_units); NaN under two of them */
    int64_t mcnemar[2];            /* videos that this arm alone, the baseline alone gets right, by the mean answer of all runs */
    double p_mcnemar;              /* NaN where the runs have several test lists */
    double point_f1;               /* mean F1 at thresholds chosen on validation videos; NaN without them */
    double best_look;              /* mean over runs of the largest F1 seen while training; NaN without looks */
    bool looked;                   /* its weights were chosen on the test list */
    char clips[FT_PATH];           /* clip store of its unlabelled clips; "" if none */
    double psnr, eps_mse, frechet; /* of a generator, NaN otherwise; frechet: clips to the pool's real ones */
    char log[FT_PATH], generator_log[FT_PATH]; /* log.csv of one run, of the generator */
} ft_arm_result;

typedef struct {
    ft_experiment *x;
    ft_arm_result *arm;
    int n;
    double trivial_positive, trivial_negative, trivial_prior; /* F1 of the trivial answers on the test videos */
    int64_t test_videos;
    ft_confound *confound; /* facts about the videos that are not in the picture */
    int confounds;
    ft_twin *twin; /* test videos that show what one of the pool or validation shows */
    int twins;
    double psnr, frechet_real; /* VAE on held-out videos; held-out real clips to the pool's */
    char vae_log[FT_PATH];
    double seconds; /* of all stages, this call or before */
    const char *command;
} ft_result;

int ft_experiment_data(ft_experiment *x); /* reads the store, made if need be */
/* One (split, seed) of an arm, appended to arm->run; with cross-validation its test videos are those of all folds of a repeat. */
int ft_experiment_one_run(ft_experiment *x, ft_arm_result *arm, int split, int seed);
/* Computes every run that is not there yet, in any order and beside other processes (work.c). */
int ft_experiment_work(ft_result *r);
void ft_arm_file_name(char out[128], const char *name); /* an arm's name as part of a file's */

int ft_report_write(const ft_result *r, const char *path); /* report.html */
json_t *ft_summary_json(const ft_result *r);
int ft_summary_write(const ft_result *r);           /* summary.csv, .md, .tex in the results folder */
void ft_summary_print(const ft_result *r, FILE *f); /* the table on the screen */

#endif
