/* The main job: every arm x label split x seed, then tables and the report.
 *
 * The data (labelled videos as a clip store) come first; from them and the configuration the whole graph of stages is known
 * (stage.h). Any number of processes on any number of machines then compute what is missing (work.c), and one of them reads it
 * all in order for the tables. A second run finds everything and only reports. */
#ifndef FT_EXPERIMENT_H
#define FT_EXPERIMENT_H

#include "common/base/files.h"
#include "common/io/clipstore.h"
#include "common/io/config.h"
#include "classify/clip_features.h"
#include "experiments/data/splits.h"
#include "experiments/stages/stage.h"
#include "experiments/statistics/confounds.h"
#include "experiments/statistics/stats.h"
#include "gen/memorisation.h"

/* What a stage of a kind and an arm took with almost no work, once (rehearsal.c). */
typedef struct {
    char kind[48], label[128];
    double seconds, work, unit_seconds, memory_mib, gpu_mib;
} ft_rehearsed;

struct ft_experiment {
    ft_config *cfg;
    char dir[FT_PATH_GIVEN + 16]; /* results/NAME */
    ft_clipstore store;
    ft_classes classes;
    ft_fold *folds;
    int n_folds;
    ft_stage **stage; /* every one after those it needs */
    int stages, computed;
    bool look_only; /* nothing is computed */
    bool elsewhere; /* what is computed is computed by jobs of a cluster */
    bool lost;      /* the results folder went away while we worked in it */
    ft_rehearsed *rehearsal;
    int rehearsed;
};

/* One arm in one fold and split, being prepared: see arm.h. */
typedef struct {
    ft_experiment *x;
    const char *arm, *label; /* a row's name, a preset, `clips: FILE`; what tables call it */
    const ft_config *cfg;    /* the experiment's with this arm's own settings */
    int fold, split;
    ft_videos labelled, unlabelled;       /* of the split; an arm may replace them */
    ft_stage *made;                       /* what makes the clips of this arm, clips.h5 in its folder; NULL: nothing does */
    const char *file;                     /* or a clip store of somebody else; "": none */
    const ft_clipstore *unlabelled_store; /* where unlabelled clips come from; NULL: supervised */
    int64_t *clips, n_clips;              /* which; fresh memory */
    ft_clipstore own;                     /* holds unlabelled_store when it is a file of this arm */
} ft_arm_context;

typedef struct {
    const char *command; /* for environment.json and the report */
    bool json;
    bool dry;                    /* everything is checked and rehearsed, then it ends */
    bool report;                 /* nothing is computed: what is not there is an error */
    bool slurm;                  /* the stages are computed by jobs of a cluster (slurm.c), not here */
    int (*helpers)(void *given); /* starts further workers once the graph is known; may be NULL */
    void *given;
    bool force; /* also where the folder's tables are of other videos */
} ft_run_opt;

/* Everything: stages that are not there yet (each continues from its saved state), tables, report. */
int ft_experiment_run(ft_config *cfg, const char *dir, const ft_run_opt *opt);
/* The stages alone, as one of many workers. `stage`: that one, by the name of its folder; NULL: all that are left. */
int ft_experiment_worker(ft_config *cfg, const char *dir, const char *stage);
int ft_experiment_status(ft_config *cfg, const char *dir, bool json);
/* Removes the stages that no run of this configuration needs. */
int ft_experiment_gc(ft_config *cfg, const char *dir, bool json);

/* Reads a clip store as the unlabelled clips of an arm: all of its clips. */
int ft_arm_use_file(ft_arm_context *c, const char *path);
/* Names, sizes and times of a folder's files, which stand for their content in keys. */
int ft_folder_identity(const char *folder, json_t *list);
json_t *ft_video_names(const ft_clipstore *s, const ft_videos *v);

/* ---- what the report needs ---- */
typedef enum { FT_NOT_COMPARED, FT_COULD_NOT, FT_BETTER, FT_WORSE, FT_EQUIVALENT, FT_NOT_SHOWN } ft_verdict; /* see verdict.h */

typedef struct {
    char arm[600], name[128]; /* see ft_arm_context; what tables call it */
    ft_config *cfg;
    int n; /* runs: (split, seed) */
    ft_run_scores *run;
    json_t **line;         /* as in results.jsonl */
    ft_interval f1, delta; /* delta against the baseline; NaN without it */
    double p, p_holm;
    double delta_sd;        /* of the exchangeable differences (ft_units); NaN under two of them */
    double smallest;        /* true difference that would be shown with 80 % probability (verdict.h); NaN: none */
    double tost, tost_holm; /* p-value of equivalence within `margin`; Holm over arms of generated clips and controls */
    ft_interval worth;      /* in labelled videos (worth.h); INFINITY: more than the curve holds; NaN: no curve */
    ft_verdict verdict;
    int64_t mcnemar[2];   /* videos that this arm alone, the baseline alone gets right, by the mean answer of all runs */
    double p_mcnemar;     /* NaN where the runs have several test lists */
    double point_f1;      /* mean F1 at thresholds chosen on validation videos; NaN without them */
    double best_look;     /* mean over runs of the largest F1 seen while training; NaN without looks */
    bool looked;          /* its weights were chosen on the test list */
    char clips[FT_PATH];  /* clip store of its unlabelled clips; "" if none */
    double psnr, eps_mse; /* of a generator, NaN otherwise */
    ft_stage *likeness;   /* of its clips to the pool's real ones; NULL: it has none */
    double frechet;       /* from there */
    bool passport;        /* has it a memorisation passport? Only where somebody made its clips */
    ft_memorisation copies;
    /* what its stages took, those that it shares with others included; classifiers: the classifiers alone */
    double seconds, classifier_seconds, teraflop, joules, memory_mib; /* memory: of the largest */
    char log[FT_PATH], generator_log[FT_PATH], vae_log[FT_PATH];      /* log.csv of one run, of the generator, of its VAE */
} ft_arm_result;

/* A point of the label-efficiency curve (worth.h). */
typedef struct {
    double labels, f1;        /* f1: of the monotone curve */
    const ft_arm_result *arm; /* its runs: one of `curve`, or the baseline */
} ft_label_point;

typedef struct {
    ft_experiment *x;
    ft_arm_result *arm;
    int n;
    ft_arm_result *curve; /* the baseline with other numbers of labels: no arms of the tables */
    int curve_n;
    ft_label_point *point; /* curve and baseline, in order of their labels */
    int points;
    int comparisons;                                          /* differences between arms that Holm counts */
    double trivial_positive, trivial_negative, trivial_prior; /* F1 of the trivial answers on the test videos */
    int64_t test_videos;
    ft_confound *confound; /* facts about the videos that are not in the picture */
    int confounds;
    ft_twin *twin; /* test videos that show what one of the pool or validation shows */
    int twins;
    ft_stage *checked, *held_out; /* confounds; likeness of the validation videos' clips, NULL: nothing was generated */
    double psnr, frechet_real;    /* VAE on held-out videos; held-out real clips to the pool's */
    char vae_log[FT_PATH];
    const char *command;
} ft_result;

/* ---- the parts of ft_experiment_run ---- */
int ft_arms_read(ft_result *r);       /* the setting `arms` (arm_list.c) */
int ft_experiment_open(ft_result *r); /* arms, data, classes, folds, the graph; everything that can be wrong is found here */
void ft_experiment_close(ft_result *r);
int ft_experiment_data(ft_experiment *x); /* reads the store, made if need be; FT_EBUSY while another process makes it */
/* Adds the stages of one (split, seed) of an arm to the graph. With cross-validation its test videos are those of all folds of a
 * repeat. */
int ft_run_plan(ft_experiment *x, ft_arm_result *arm, int split, int seed);
/* Reads its results, appended to arm->run. Its stages must be done. */
int ft_run_read(ft_experiment *x, ft_arm_result *arm, int split, int seed);
int ft_stage_confounds(ft_experiment *x, ft_stage **stage);
int ft_confounds_read(ft_result *r, const ft_stage *stage); /* warns of what it finds */
/* What the backbone of c->cfg sees in the labelled videos' clips, or in the clips that the arm brings (stage_features.c). */
int ft_stage_features(ft_experiment *x, const ft_arm_context *c, bool of_arm, ft_stage **stage);
/* The settings `of` an arm, where `vae` is the folder of the stage that this one needs. Free with ft_config_free before `of`. */
int ft_features_settings(const ft_stage *s, const ft_config *of, ft_config **cfg);
/* Of an arm's clips against its fold's pool; c = NULL: of the first fold's validation videos. */
int ft_stage_likeness(ft_experiment *x, const ft_arm_context *c, ft_stage **stage);
/* Computes the stages that are not there yet, in any order and beside other processes; `only`: this one (work.c). */
int ft_experiment_work(ft_experiment *x, ft_stage *only);
int ft_experiment_complete(ft_experiment *x); /* FT_EDATA if a stage is not done */
/* Every kind of stage once with almost no work, where that costs little: does it run, how long will it take, how much memory?
 * Into x->rehearsal and rehearsal.json. FT_ENOMEM when a stage would not fit into this machine. */
int ft_rehearse(ft_result *r);
int ft_rehearsal_read(ft_experiment *x); /* what an earlier call found, if it was about the same */
int ft_slurm_submit(ft_result *r, const char *config);
int ft_compare(ft_result *r); /* intervals, differences, trivial answers, worth, verdicts */
/* What an arm is compared with: the baseline, or, if it has another number of labels, the baseline with as many; NULL: none. Of
 * a = NULL: the baseline. */
ft_arm_result *ft_baseline(const ft_result *r, const ft_arm_result *a);
void ft_arm_file_name(char out[128], const char *name); /* an arm's name as part of a file's */

int ft_report_write(const ft_result *r, const char *path); /* report.html */
json_t *ft_summary_json(const ft_result *r);
/* summary.csv, .md, .tex, runs.csv, of several labels a video labels.csv too, in the results folder */
int ft_summary_write(const ft_result *r);
void ft_summary_print(const ft_result *r, FILE *f); /* the table on the screen */

#endif
