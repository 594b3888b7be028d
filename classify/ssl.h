/* Semi-supervised algorithms, with the semantics of USB (Wang et al., NeurIPS 2022;
 * github.com/microsoft/Semi-supervised-learning). Adding one is a file classify/ssl_NAME.c and a row of ssl_table.h; see
 * CONTRIBUTING.md. */
#ifndef FT_SSL_H
#define FT_SSL_H

#include "common/graph/graph.h"
#include "common/io/config.h"

typedef struct {
    double threshold, momentum; /* of pseudo-labels; of running means */
    double ramp, from;          /* shares of the training: over which a weight grows; until which the labels are alone */
    double fairness;            /* weight of FreeMatch's term */
    double lambda_u;            /* weight of the unlabelled loss; negative: the algorithm's own */
    enum { FT_ALIGN_NONE, FT_ALIGN_UNIFORM, FT_ALIGN_LABELLED } alignment;
} ft_ssl_opt;
ft_ssl_opt ft_ssl_options(const ft_config *cfg); /* ssl.* */

/* What the loss of a step is made of: U unlabelled clips. */
typedef struct {
    const ft_ssl_opt *opt;
    int64_t classes, clips; /* clips of the unlabelled pool */
    ft_t weak, strong;      /* logits (U,classes) f32 of both views; NULL where the row does not ask for them */
    ft_t teacher;           /* (U,classes): the running average's logits of the weak view, without gradient; NULL likewise */
    ft_t index;             /* (U) i32: which clip of the pool */
    ft_t prior;             /* (1,classes) f32: shares of the labelled videos */
    ft_t progress;          /* (1,1) f32: share of the training that is done, 0..1 */
    ft_t fresh;             /* (1,1) f32: 1 in the first step of an epoch (classifier.epoch), else 0 */
} ft_ssl_batch;

enum { FT_SSL_WEAK = 1, FT_SSL_STRONG = 2, FT_SSL_TEACHER = 4 };
typedef struct {
    const char *name, *help;
    int uses;        /* FT_SSL_*: views that are forwarded */
    double lambda_u; /* weight of the unlabelled loss as published; opt.lambda_u says otherwise */
    /* The unlabelled loss, a scalar. *mask (U): weight of each clip's pseudo-label; its mean is logged as the utilisation. NULL
     * is left there by algorithms without pseudo-labels. */
    ft_t (*loss)(ft_graph *g, const ft_ssl_batch *b, ft_t *mask);
} ft_ssl;

const ft_ssl *ft_ssl_find(const char *name);
const ft_ssl *ft_ssl_at(int i);

/* ---- parts of algorithms ------------------------------------------------------------------------------------------------ */

/* Probabilities (U,C) of logits, without gradient; *label one-hot of the largest (U,C); *top its probability (U,1) */
ft_t ft_ssl_predict(ft_graph *g, ft_t logits, ft_t *label, ft_t *top);
/* A state of the algorithm, saved with the run and resumed bit by bit: (rows,columns), at first all `start` */
ft_t ft_ssl_state(ft_graph *g, const char *name, int64_t rows, int64_t columns, double start);
/* state <- m state + (1 - m) value, m: opt.momentum; returns the new value */
ft_t ft_ssl_blend(ft_graph *g, const ft_ssl_batch *b, ft_t state, ft_t value);
/* Logits of p * wanted / running mean of p (opt.alignment; the logits as they are with NONE): distribution alignment */
ft_t ft_ssl_aligned(ft_graph *g, const ft_ssl_batch *b, ft_t logits);
/* Largest of each row (n,C) -> (n,1); sum and mean over clips, (U,C) -> (1,C); sum over classes, (n,C) -> (n,1) */
ft_t ft_ssl_largest(ft_graph *g, ft_t x);
ft_t ft_ssl_over_clips(ft_graph *g, ft_t x, bool mean);
ft_t ft_ssl_over_classes(ft_graph *g, ft_t x);
/* rows that add up to 1; x / y where y is above 0, else 0 */
ft_t ft_ssl_normalise(ft_graph *g, ft_t x);
ft_t ft_ssl_ratio(ft_graph *g, ft_t x, ft_t y);
/* 1 where x (any shape) >= bound (broadcast), else 0 */
ft_t ft_ssl_at_least(ft_graph *g, ft_t x, ft_t bound);
/* the mask (U,1) as (U) */
ft_t ft_ssl_mask(ft_graph *g, ft_t mask);
/* loss * min(progress / opt.ramp, 1); 0: none */
ft_t ft_ssl_ramped(ft_graph *g, const ft_ssl_batch *b, ft_t loss);

#endif
