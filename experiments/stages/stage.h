/* Stages: the pieces of work that the runs of an experiment are made of and share (a VAE, a generator, its clips, a classifier),
 * as a graph.
 *
 * A stage is named KIND-KEY, where KEY is the SHA-256 of {kind, code version, its settings, the names of the stages it reads}. So
 * the whole graph is known before anything is computed, equal work is one stage however many arms ask for it, and a change of a
 * setting changes what hangs on it and nothing else. Its folder is RESULTS/runs/KIND-KEY: complete when done.json is there;
 * failed.json holds the error of a failure, log.txt what it said, .lease who is at it. */
#ifndef FT_STAGE_H
#define FT_STAGE_H

#include <jansson.h>
#include <stdbool.h>

#include "common/base/files.h"
#include "common/io/clipstore.h"
#include "common/io/config.h"
#include "experiments/data/splits.h"

enum { FT_PATH = 1200, FT_NEEDS = 4 };

typedef struct ft_experiment ft_experiment;
typedef struct ft_stage ft_stage;

typedef struct {
    const char *name;
    /* Fills the folder; continues what an earlier process left there. `facts` go into done.json. The settings of `x` are here
     * those of `s` alone (`own`). */
    int (*compute)(const ft_experiment *x, const ft_stage *s, json_t *facts);
    /* How much of it there is, in units that cost the same (steps, clips), for estimates. NULL: always as much. */
    double (*work)(const ft_config *cfg);
} ft_stage_kind;

typedef enum {
    FT_STAGE_LEFT,
    FT_STAGE_DONE,
    FT_STAGE_FAILED,
    FT_STAGE_BLOCKED, /* what it reads failed */
} ft_stage_state;

struct ft_stage {
    const ft_stage_kind *kind;
    const ft_config *cfg; /* of the first arm that asks for it */
    const char *arm;      /* of that arm: a row's name or a preset; "" for stages of the data */
    const char *label;    /* what tables call the arm */
    const char *file;     /* a clip store that it reads and no stage makes; "": none */
    int fold, split, seed;
    bool of_split;                 /* another for each split: its key holds the split's labelled videos */
    const char *const *by_content; /* settings that the key holds otherwise: files by their content. NULL: none; ends with NULL */
    ft_stage *need[FT_NEEDS];      /* what it reads */
    int needs;
    const void *plan; /* what its kind made while planning and computes from; outlives it. NULL: settings are enough */
    /* filled by ft_stage_add */
    ft_config *own; /* the settings that its key and those of the stages it reads hold: nothing else decides its result */
    char name[64], folder[FT_PATH];
    ft_stage_state state;
    char old_failure[40]; /* the one that was there when the experiment was opened: it is tried again. "": none */
    /* of a stage that is done: */
    double seconds, unit_seconds, memory_mib, gpu_mib, teraflop, joules; /* unit: of work; 0 if not known */
    const void *counted;                                                 /* the arm that counted its cost last */
};

/* What a stage of a kind and an arm took with almost no work, once (rehearsal.c). */
typedef struct {
    char kind[48], label[128];
    double seconds, work, unit_seconds, memory_mib, gpu_mib;
} ft_rehearsed;

/* What all stages of an experiment share: settings, labelled videos, who learns from which, and the graph. */
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

/* Adds a stage, or finds the same one. `like` holds what the caller sets, `key` (consumed) the settings and inputs that make its
 * result what it is, besides the stages it needs. */
int ft_stage_add(ft_experiment *x, const ft_stage *like, json_t *key, ft_stage **stage);
/* Settings that start with one of the prefixes, for a key: a file of weights stands there by its content, not by its path. */
int ft_key_settings(const ft_config *cfg, const char *const *prefix, json_t **settings);
json_t *ft_stage_facts(const ft_stage *s);                   /* of a stage that is done; NULL else */
double ft_stage_number(const ft_stage *s, const char *name); /* one of them; NaN: there is none, or no stage */
void ft_stage_error(const ft_stage *s, char text[1024]);     /* why it failed */
void ft_stage_file(char path[FT_PATH], const ft_stage *s, const char *name);
/* Looks at the folder again: done, failed since the experiment was opened, blocked, or left. */
ft_stage_state ft_stage_look(const ft_experiment *x, ft_stage *s);
/* Computes it here. FT_OK also when it is done already; FT_EBUSY when another process is at it. */
int ft_stage_compute(ft_experiment *x, ft_stage *s);
double ft_stage_work(const ft_stage *s); /* in the units of its kind; 1 where there are none */
/* Seconds and MiB that it should take, from stages of its kind that are done, else from the rehearsal; NaN when nothing is known.
 */
double ft_stage_expected(const ft_experiment *x, const ft_stage *s, double *memory_mib);
double ft_stage_gpu_memory(const ft_experiment *x, const ft_stage *s); /* MiB, as ft_stage_expected; 0: not known, or no GPU */
void ft_stages_free(ft_experiment *x);

#endif
