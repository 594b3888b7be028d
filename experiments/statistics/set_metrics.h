/* What `forty metrics` measures: rows of a table say which network looks at which frames, how they are resized, and what is made
 * of what it sees, as the scripts do that published numbers come from. The range of colours is the network's (features.model). */
#ifndef FT_SET_METRICS_H
#define FT_SET_METRICS_H

#include "experiments/statistics/set_distances.h"
#include "experiments/statistics/set_features.h"

typedef enum { FT_METRIC_FRECHET, FT_METRIC_INCEPTION, FT_METRIC_CONSISTENCY } ft_metric_kind;

/* A row of what a script measures. */
typedef struct {
    const char *as, *name; /* of the preset; of the number */
    ft_metric_kind kind;
    const char *network;          /* a preset of features.model */
    int frames, stride, clips;    /* of a clip; of a video, 0: all. Pictures: 1, 1, 0 */
    bool random;                  /* real clips begin anywhere, generated ones always at the beginning */
    int64_t most_real, most_fake; /* clips or pictures, 0: all */
    int first;                    /* see ft_take_opt */
    ft_filter first_filter;
    int size;
    ft_filter filter;
    int ddof;
} ft_metric_row;
extern const ft_metric_row ft_metric_rows[]; /* ends with a row without a name */

/* A number and all that belongs to it; NaN: it has none of this. */
typedef struct {
    char metric[32], network[64], pixels[200], note[300];
    int64_t n[2], videos[2], d, same; /* real, fake; same: clips that floor and alike are of, 0: the whole sets */
    int ddof;                         /* -1: it has no covariance */
    ft_set_distance is;
} ft_metric_value;

typedef struct {
    ft_metric_value *value;
    int n;
} ft_metric_values;

/* Adds the numbers of two sets' features: the Frechet distance under the row's name and its companions, the inception score of
 * logits (rows are cut into ten parts), or frame consistency. Set distances need two videos a side. */
int ft_metric_distances(ft_metric_values *to, const char *name, const char *network, const char *pixels, ft_set_features *real,
                        ft_set_features *fake, const ft_halves_opt *o);
int ft_metric_inception(ft_metric_values *to, const char *name, const char *network, const char *pixels,
                        const ft_set_features *real, const ft_set_features *fake);
int ft_metric_consistency(ft_metric_values *to, const char *name, const char *network, const char *pixels,
                          const ft_set_features *real, const ft_set_features *fake, int samples);

json_t *ft_metric_json(const ft_metric_values *v);
int ft_metric_csv(const ft_metric_values *v, const char *path);

#endif
