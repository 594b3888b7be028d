/* A trained classifier, opened once, at work: class probabilities of clips from a run folder's weights. */
#ifndef FT_PREDICTOR_H
#define FT_PREDICTOR_H

#include "classify/classifier.h"

typedef struct ft_predictor ft_predictor;

/* store, features: what it will look at; they and `info` (of the folder's run.json) must outlive it. FT_EDATA: a store of
 * another clip shape than the classifier learned from. features: of the store's clips, for probes; NULL: their backbone is
 * opened and looks at the pixels. *p is NULL on failure. */
int ft_predictor_open(ft_predictor **p, const char *dir, const ft_classifier_info *info, const ft_clipstore *store,
                      const ft_clip_features *features);
/* prob (n, classes) of clips of the store as it is now. Every call is the first: a network that drops paths at test draws for
 * these clips what it draws for them alone. */
int ft_predictor_run(ft_predictor *p, const int64_t *clip, int64_t n, float *prob);
void ft_predictor_close(ft_predictor *p);

#endif
