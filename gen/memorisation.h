/* Does a generator show its training clips again? Clips are vectors (a VAE's latents, say); what all training clips have in
 * common is taken off, and a clip is as like a training clip as it or its mirror image correlates with it.
 *
 * Of each clip the largest correlation with any training clip counts. Above tau it is a copy: tau is the 95th percentile of what
 * training clips reach with held-out real clips (Dar et al. 2024, arXiv 2402.01054). How many held-out clips are above it depends
 * on how many there are of both, so the share of generated ones is to be held against theirs, not against 5 %.
 * The ratio test needs no held-out clips: the distance to the nearest training clip is under a third of that to the nearest of
 * another video (Yoon et al. 2023). Coverage is the share of training videos that a copy shows. */
#ifndef FT_MEMORISATION_H
#define FT_MEMORISATION_H

#include <stdbool.h>
#include <stdint.h>

#include "gen/latents.h"

/* Clips as vectors of d numbers. */
typedef struct {
    const float *value;   /* (n, d) */
    const float *mirror;  /* (n, d) of their mirror images; NULL: not looked at. Of training clips alone */
    const int64_t *video; /* (n), 0 .. videos - 1: clips of a video are no independent draws */
    int64_t n, videos;
} ft_embedded;

/* The videos of a pool's clips, numbered from 0, in fresh memory (the caller's in any case). */
int ft_number_videos(const ft_clip_pool *pool, int64_t **video, int64_t *videos);

typedef struct {
    double value, low, high; /* 95 % interval */
} ft_share;

/* The share of rows with hit[i], and its percentile interval from `samples` draws of videos. Where all rows of all videos say the
 * same, which a bootstrap takes for certain, the exact binomial bound (Clopper & Pearson) over videos stands in. FT_ENOMEM */
int ft_share_of(const bool *hit, const int64_t *video, int64_t n, int64_t videos, int samples, ft_share *share);

/* The training clips that others are held against, and what real clips have to do with them. */
typedef struct ft_copy_ruler ft_copy_ruler;

/* Copies what it needs. Without held-out clips (n = 0) nothing can be called a copy: tau is NaN. */
int ft_copy_ruler_new(ft_copy_ruler **r, const ft_embedded *train, const ft_embedded *held_out, int64_t d, int samples);
void ft_copy_ruler_free(ft_copy_ruler *r);

/* What a clip shows. */
typedef struct {
    int64_t nearest;    /* training clip of the largest correlation */
    double correlation; /* -1 to 1; 0 for clips without any contrast */
    double ratio;       /* distance to the nearest training clip by that to the nearest of another video; NaN: there is but one */
    bool copy;
} ft_recall;

typedef struct {
    double tau;
    ft_share copies, copies_held_out;         /* of clips: above tau; NaN without held-out clips */
    ft_share ratio, ratio_held_out;           /* of clips: passed the ratio test */
    ft_share coverage;                        /* of training videos */
    double correlation, correlation_held_out; /* medians */
    bool copying; /* the intervals of copies and copies_held_out lie apart: this is no accident of a few clips */
} ft_memorisation;

/* clips: of any origin. of_clip: room for clips->n. */
int ft_copies_find(const ft_copy_ruler *r, const ft_embedded *clips, ft_recall *of_clip, ft_memorisation *m);

#endif
