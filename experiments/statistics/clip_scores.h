/* Scores of one set of clips alone. */
#ifndef FT_CLIP_SCORES_H
#define FT_CLIP_SCORES_H

#include <stdint.h>

/* Mean of `value` (n) and its 95 % percentile interval from `samples` draws of videos (numbered from 0), each with all of its
 * values; 0 samples: neither is set. */
int ft_mean_of_videos(const double *value, const int64_t *video, int64_t n, int samples, double *mean, double *low, double *high);

/* Inception score (Salimans et al. 2016, arXiv 1606.03498) of logits (n, classes): n is cut into `splits` parts, one behind
 * another; of each exp of the mean KL divergence of the rows from their mean, in nats. Mean, and standard deviation (by the
 * number) over parts. It is computed of many thousand pictures in papers, and is smaller on few: it is at most n / splits.
 * FT_EDATA when n is smaller than `splits`. */
int ft_inception_score(const float *logits, int64_t n, int64_t classes, int splits, double *mean, double *std);

/* Frame consistency (Esser et al. 2023, arXiv 2302.03011) of embeddings (clips, frames, d): of each clip 100 times the mean
 * cosine of neighbouring frames. A frozen clip has 100. FT_EDATA: a frame without direction, less than two frames. */
int ft_feature_consistency(const float *value, int64_t clips, int64_t frames, int64_t d, double *of_clip);

#endif
