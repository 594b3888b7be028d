/* Video classifiers: networks, training (supervised and semi-supervised), prediction. Adding a network is one file and one row
 * of classifier_table.h.
 *
 * BatchNorm with mixed batches. A step forwards labelled, weak and strong clips in one batch. Batch statistics are taken apart
 * for the labelled clips and for the rest (ft_batchnorm's `first`), and only the labelled clips move the running statistics.
 * So the labelled half of a step is the same computation in every arm, and clips from another distribution (noise, samples of
 * a poor generator) cannot spoil the statistics that the test uses; what they can do, they do through the loss. */
#ifndef FT_CLASSIFIER_H
#define FT_CLASSIFIER_H

#include "common/base/names.h"
#include "classify/scores.h"
#include "common/graph/graph.h"
#include "common/train/precision.h"
#include "classify/clip_features.h"
#include "classify/ssl.h"
#include "common/io/clipstore.h"
#include "gen/latents.h"
#include "common/io/config.h"

typedef struct {
    const char *family;
    const void *presets; /* a table whose rows begin with `const char *name`, */
    size_t n, row;       /* its rows and the bytes of one */
    const char *head;    /* the tensor whose first dim counts the classes */
    bool batchnorm;
    bool of_features; /* it looks at the features of a frozen backbone (clip_features.h), not at pixels */
    bool adapts;      /* its attention takes adapters (classifier.lora) */
    ft_work work;     /* most of it; what precision: auto asks */
    /* x (B,F,S,S,3) normalised, or (B,frames,tokens,width) f32 features -> logits (B,classes) f32; the first `labelled` samples
     * are one BatchNorm segment (0: all). features (may be NULL): pooled features before the head, (B,D) f32. */
    ft_t (*network)(ft_graph *g, const void *preset, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features);
} ft_classifier;

const ft_classifier *ft_classifier_at(int i);
const ft_classifier *ft_classifier_find(const char *preset); /* its family; NULL if unknown */
const char *ft_classifier_preset_at(const ft_classifier *f, int i);
/* The network of a known preset. */
ft_t ft_classifier_network(ft_graph *g, const char *preset, ft_t x, int64_t classes, int64_t labelled, double dropout,
                           ft_t *features);

/* x: pixels 0..255 as (v/255 - 0.45) / 0.225, as the field's video classifiers take them */
#define FT_CLASSIFIER_MEAN 0.45f
#define FT_CLASSIFIER_STD  0.225f

enum { FT_MAX_LOOKS = 100 };

/* What is scored: the average of the weights (of every arm); the last weights; or those with drop path still drawn, as the
 * field's released script scores its supervised baseline. */
typedef enum { FT_EVAL_EMA, FT_EVAL_WEIGHTS, FT_EVAL_DROP_PATH } ft_evaluated;
extern const char *const ft_evaluated_names[];

/* What a classifier learns from. Clips of a video share its label; draws go over videos, then over the clips of a video. */
typedef struct {
    const ft_clipstore *store;
    const int64_t *clip; /* labelled clips */
    const int *label;    /* class of each, or set of classes (positive: FT_MULTILABEL) */
    int64_t n;
    const ft_clipstore *unlabelled_store; /* NULL: supervised only */
    const int64_t *unlabelled;
    int64_t n_unlabelled;
    /* What a probe looks at instead of their pixels, by the stores' clips; NULL for networks of pixels. Watched clips are of
     * `store`. */
    const ft_clip_features *features, *unlabelled_features;
    const char *network; /* identity of the backbone (backbone.h) */
    /* Generated clips with a class each: a part of the batch, as large as the labelled one, and a loss of their own (lambda_g);
     * all are drawn equally often. None of them moves running statistics or is a labelled video. */
    const ft_clipstore *generated_store; /* NULL: none */
    const int64_t *generated;
    const int *generated_label;
    int64_t n_generated;
    const ft_clip_features *generated_features;
    const int *truth; /* class of each unlabelled clip, -1: not known; for the log alone. May be NULL */
    const char *const *classes;
    int n_classes;
    /* Clips looked at in the training: validation videos for selection: validation; the test list's for best-on-test. */
    const ft_clipstore *watched_store;
    const int64_t *watched;
    const int *watched_label;
    int64_t n_watched;
    int looks;    /* how often, FT_MAX_LOOKS at most; 0: ten times if the selection needs it */
    int positive; /* FT_MULTILABEL: a sigmoid for each class, binary cross-entropy; from labels alone */
} ft_training_set;

typedef struct {
    double utilisation;            /* mean share of unlabelled clips that got a pseudo-label; 0 without */
    double pseudo[FT_MAX_CLASSES]; /* share of each class among pseudo-labels */
    double pseudo_accuracy;        /* of pseudo-labels whose truth is known; NaN if none is */
    double seconds;
    int64_t best_step;         /* of a selection; else the last */
    double look[FT_MAX_LOOKS]; /* F1 of the watched videos at each look */
    int looks;
    float *chosen; /* answers for the watched videos at the chosen look, (videos, classes); NULL without selection. ft_free */
} ft_training_result;

/* Are there unlabelled clips to learn from? */
static inline bool ft_training_is_semi(const ft_training_set *s) { return s->unlabelled_store && s->n_unlabelled > 0; }

/* Are there generated clips that teach their class? */
static inline bool ft_training_is_told(const ft_training_set *s, double lambda_g)
{
    return s->generated_store && s->n_generated > 0 && lambda_g > 0;
}

/* What is watched decides: nothing, the last weights are taken; the best balanced accuracy of validation videos; the best F1 of
 * the test list */
typedef enum { FT_SELECT_LAST, FT_SELECT_VALIDATION, FT_SELECT_BEST_ON_TEST } ft_selection;

typedef struct {
    const char *model, *weights; /* a preset; a file to begin with, NULL or "": none */
    const char *algorithm;       /* of ssl.h; where there are unlabelled clips */
    int64_t batch, parts;        /* labelled clips a step; computed in so many parts, 1 or more */
    int64_t mu;                  /* unlabelled clips for each labelled one */
    int64_t steps, epoch;        /* epoch: steps of one; 0: none */
    int64_t save_every;          /* steps; 0: at the end */
    int lora;                    /* rank of adapters; 0: all is trained */
    int test_clips;              /* of a video that is predicted, for run.json; 0: all */
    double lr, warmup;           /* the rate; the share of the steps in which it grows */
    double ema, dropout, weight_decay, clip, lora_alpha;
    double strength;                 /* of a linear probe: C, 0: chosen */
    double lambda_g;                 /* weight of the generated clips' cross-entropy; 0: it is as if there were none */
    bool ema_cold, sgd, tensorboard; /* the decay without warm-up; SGD instead of AdamW; the log also as event files */
    ft_views views;
    ft_selection selection;
    ft_evaluated evaluated;
    ft_precision_opt precision;
    ft_ssl_opt ssl;
    json_t *described;         /* more strings for run.json: "data.stride" ..., "features.*"; NULL: none */
    const ft_config *settings; /* that say all this, for messages of where; NULL: the caller says it */
} ft_classifier_opt;

int ft_classifier_check(const ft_config *cfg, bool semi); /* are its model and its algorithm known? */
/* classifier.*, ssl.* with unlabelled clips, and what belongs to them, of settings that live as long. */
int ft_classifier_options(ft_classifier_opt *o, const ft_config *cfg, bool semi);
void ft_classifier_options_free(ft_classifier_opt *o);
int ft_classifier_train(const ft_classifier_opt *o, const ft_training_set *set, const char *dir, uint64_t seed, bool resume,
                        ft_training_result *result);

/* What the run.json of a trained classifier says of it. */
typedef struct {
    char model[64], positive[FT_NAME_MOST + 1];
    char **classes;
    int n_classes, frames, size, stride, clips_per_video, test_clips;
    char sampler[16], view[16], crop[64]; /* how its clips were made: for videos that it shall look at */
    double fps, overlap;
    ft_evaluated evaluated;
    bool multilabel; /* its probabilities are of each class alone */
    int lora;        /* rank of its adapters, and their alpha; 0: none */
    double alpha;
    json_t *features; /* of a probe: its settings features.*, texts; NULL */
    char network[65]; /* and the identity of its backbone */
} ft_classifier_info;
int ft_classifier_info_read(ft_classifier_info *info, const char *dir);
void ft_classifier_info_free(ft_classifier_info *info);
/* Means over the clips of each video, which stand together in `clip`: rows (videos, classes), and where each video begins in
 * `clip`. Returns the number of videos; rows and first have room for n. */
int64_t ft_video_means(const ft_clipstore *store, const int64_t *clip, int64_t n, const float *prob, int classes, float *rows,
                       int64_t *first);

/* Pooled features (n, D) of the clips of each set from a fixed random network (seed 0) of this preset, whose BatchNorm statistics
 * are those of the first: a neutral ruler for distances between sets of clips. Returns D, or a negative status. features (sets):
 * fresh, the caller's in any case. */
int ft_classifier_features(const char *preset, const ft_clip_pool *set, int sets, float **features);

#endif
