/* The training loop that VAEs, generators and classifiers share: schedule, log, saving, resume, interruption.
 *
 * A run folder holds config.yaml (the caller's), weights.safetensors, ema.safetensors, state.safetensors, log.csv, run.json.
 * Batches depend on (seed, step) only, so a resumed run is bit-identical to one that never stopped. */
#ifndef FT_TRAIN_LOOP_H
#define FT_TRAIN_LOOP_H

#include <jansson.h>

#include "common/graph/graph.h"
#include "common/io/config.h"

enum { FT_LOGGED = 8, FT_NOTED = 2 };

/* What is run, over a stretch of the steps. */
typedef struct {
    ft_plan *plan;
    double lr;
    bool constant;          /* else to 0 along a cosine, over the steps of this phase */
    int64_t lr_every;       /* the rate changes each so many steps (an epoch); 0: every step */
    ft_t logged[FT_LOGGED]; /* scalars for log.csv; the first is the loss */
    ft_t grad_norm;
} ft_phase;

typedef struct {
    const char *dir;   /* run folder; made if absent */
    const char *what;  /* for the progress bar: "vae", "medsora-tiny", "classifier" */
    const char *model; /* preset name, into the metadata */
    ft_params *params;
    ft_params *companion; /* a second store that the hooks train (a discriminator): saved and resumed with the first; or NULL */
    ft_phase first, main; /* first: of the steps before first_steps (another batch and rate), if any */
    int64_t first_steps, steps, warmup, save_every; /* save_every 0: at the end alone */
    double ema;
    bool ema_cold;                              /* the decay holds from step 0, without warm-up */
    double (*average)(void *ctx, int64_t step); /* says the decay instead; may be NULL */
    uint64_t seed;
    bool tensorboard;                       /* the log also as event files */
    bool resume;                            /* continue from state.safetensors if it is there */
    int (*feed)(void *ctx, int64_t step);   /* fills the inputs of this step */
    int (*beside)(void *ctx, int64_t step); /* runs plans behind the step's own, whose scalars are logged with it; may be NULL */
    int (*after)(void *ctx, int64_t step);  /* after the update; may be NULL */
    /* reads what this step left, by ft_data_late(t, ago): on a device some steps after it; may be NULL */
    int (*settled)(void *ctx, int64_t step, int ago);
    json_t *(*extra)(void *ctx); /* strings to keep in the state (algorithm state); may be NULL */
    int (*restore)(void *ctx, const json_t *extra);
    void *ctx;
    int n_logged; /* FT_LOGGED at most */
    const char *logged_name[FT_LOGGED];
    int n_noted; /* numbers that the hooks find, behind these in log.csv: NaN until they do. Kept by `extra` */
    const char *noted_name[FT_NOTED];
    double noted[FT_NOTED];
    bool enough;         /* set by `after` or `restore`: the training is done, whatever is left of its steps */
    json_t *metadata;    /* for the weights files and run.json; borrowed */
    double mean_loss;    /* out: mean of the loss over the last tenth */
    double seconds;      /* out: of this call */
    double step_seconds; /* out: mean of a step of this call but for its first */
    double feeding;      /* out: of these, in `feed`: loading and augmentation */
} ft_trainer;

/* FT_OK; FT_EINTERRUPTED after SIGINT or SIGTERM with the state saved; FT_EDATA when the loss stays NaN. */
int ft_train(ft_trainer *t);

/* The parts that a batch is cut into, each with a backward pass of its own, whose gradients are added (less memory, the same step
 * but for statistics of a batch). FT_ECONFIG if they would not be equal; it names `key`, and where settings (may be NULL) say it.
 */
int ft_batch_parts(int64_t parts, int64_t batch, const ft_config *settings, const char *key);

/* Index of the k-th draw in an endless sequence of shuffled passes over n items (seeded). */
int64_t ft_shuffled(uint64_t seed, uint32_t stream, int64_t n, int64_t k);

#endif
