/* Weakly supervised multiple-instance learning (Tian et al., MICCAI 2022): from labels of whole videos, a
 * probability for the video and a score for each of its snippets. It looks at stored features, not at pixels. */
#ifndef FT_MIL_H
#define FT_MIL_H

#include "common/graph/graph.h"
#include "common/io/config.h"
#include "common/io/features.h"

typedef struct {
    const char *name;
    int segments; /* that a video is averaged into, T */
    int depth, heads;
    int hidden[2]; /* of the snippet scorer */
    int width;     /* of the features it is made for, D; any other does too */
} ft_mil_preset;

const ft_mil_preset *ft_mil_at(int i); /* NULL past the end */
const ft_mil_preset *ft_mil_find(const char *name);

/* What the transformer's tokens are. CHANNEL: the D channels, each with T numbers, as the authors' code has it; the features of
 * wider nets cost attention over D tokens. SNIPPET: the T segments, each with D numbers, as their paper says. */
typedef enum { FT_MIL_CHANNEL, FT_MIL_SNIPPET } ft_mil_tokens;

/* x (B,T,D) -> embeddings (B,T,D) that see their neighbours: conv1d, any T */
ft_t ft_mil_embed(ft_graph *g, ft_t x);
/* embeddings (B,T,D) -> logits of the snippets (B,T), any T */
ft_t ft_mil_snippets(ft_graph *g, const ft_mil_preset *p, ft_t embedding);
/* embeddings (B,T,D), T = segments -> logit of the video (B,1) */
ft_t ft_mil_video(ft_graph *g, const ft_mil_preset *p, ft_mil_tokens tokens, ft_t embedding);

/* The loss of B normal and B abnormal videos, in this order: embeddings (2B,T,D), snippet scores (2B,T) 0..1, video logits
 * (2B,1). Terms of weight 0 are left out. */
typedef struct {
    double margin, smooth, sparse, contrast; /* 1, 8e-5, 8e-5, 0.25 as published; margin < 0: no ranking */
} ft_mil_weights;
typedef struct {
    ft_t total, video, ranking, contrast; /* scalars; NULL if left out */
} ft_mil_loss_terms;
ft_mil_loss_terms ft_mil_loss(ft_graph *g, ft_t embedding, ft_t score, ft_t video, ft_mil_weights w);

typedef struct {
    const ft_mil_preset *preset;
    ft_mil_tokens tokens;
    ft_mil_weights loss;
    int64_t batch, steps, save_every; /* batch: videos of each kind */
    double lr, weight_decay;
    bool tensorboard;
} ft_mil_opt;
int ft_mil_options(ft_mil_opt *o, const ft_config *cfg); /* mil.*. FT_ECONFIG: no such preset */

/* Trains on videos (label 1: abnormal), into a run folder. */
typedef struct {
    const ft_features *features;
    const int64_t *video; /* rows of `features` */
    const int *label;
    int64_t n;
    json_t *describe; /* strings for run.json; borrowed */
} ft_mil_set;
int ft_mil_train(const ft_mil_opt *o, const ft_mil_set *set, const char *dir, uint64_t seed, bool resume);

/* With a run's weights: p(abnormal) of each video, and the scores of its snippets one behind another, in order of
 * `video`. */
int ft_mil_score(const ft_mil_opt *o, const char *dir, const ft_features *features, const int64_t *video, int64_t n,
                 float *p_video, float *p_snippet);

#endif
