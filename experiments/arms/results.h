/* What the arms of an experiment gave: filled as runs are read and compared, shown by the report. */
#ifndef FT_RESULTS_H
#define FT_RESULTS_H

#include "experiments/arms/arm_options.h"
#include "experiments/stages/stage.h"
#include "experiments/stages/stage_filter.h"
#include "experiments/stages/stage_confounds.h"
#include "experiments/statistics/set_distances.h"
#include "experiments/statistics/stats.h"
#include "gen/memorisation.h"

typedef enum { FT_NOT_COMPARED, FT_COULD_NOT, FT_BETTER, FT_WORSE, FT_EQUIVALENT, FT_NOT_SHOWN } ft_verdict; /* see verdict.h */

typedef struct ft_planned_run ft_planned_run; /* runs.h */

typedef struct ft_arm_result {
    char arm[600], name[128]; /* see ft_arm_context; what tables call it */
    ft_config *cfg;
    ft_arm_options opt;   /* of cfg */
    ft_planned_run *plan; /* every (split, seed) */
    int planned, n;       /* n: of them read */
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
    ft_set_distance distance[FT_SET_DISTANCES]; /* from there, as is: */
    int64_t alike;                              /* clips that `alike` and `floor` are of; 0: none */
    ft_stage *distances;                        /* the same in the features of a probe's network; NULL: it looks through none */
    char network[64];                           /* its name */
    ft_set_distance seen[FT_SET_DISTANCES];
    int64_t seen_alike;
    bool passport; /* has it a memorisation passport? Only where somebody made its clips */
    ft_memorisation copies;
    ft_filtered filtered;
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
    ft_arm_options opt; /* of x->cfg */
    ft_arm_result *arm;
    int n;
    ft_arm_result *curve; /* the baseline with other numbers of labels: no arms of the tables */
    int curve_n;
    ft_label_point *point; /* curve and baseline, in order of their labels */
    int points;
    int comparisons;                                          /* differences between arms that Holm counts */
    double trivial_positive, trivial_negative, trivial_prior; /* F1 of the trivial answers on the test videos */
    int64_t test_videos;
    ft_findings found;
    ft_stage *checked, *held_out; /* confounds; likeness of the validation videos' clips, NULL: nothing was generated */
    double psnr, frechet_real;    /* VAE on held-out videos; held-out real clips to the pool's */
    char vae_log[FT_PATH];
    const char *command;
} ft_result;

/* Memory for so many runs, and nothing known. */
int ft_arm_begin(ft_arm_result *a, int runs);
void ft_arms_free(ft_arm_result *arm, int n);

/* What an arm is compared with: the baseline, or, if it has another number of labels, the baseline with as many; NULL: none. Of
 * a = NULL: the baseline. */
ft_arm_result *ft_baseline(const ft_result *r, const ft_arm_result *a);
void ft_arm_file_name(char out[128], const char *name); /* an arm's name as part of a file's */

#endif
