/* A classifier ready to look at clips, in batches of 8, with the weights as they are in a store: in a training or behind it. */
#ifndef FT_VIEWER_H
#define FT_VIEWER_H

#include "classify/classifier.h"

typedef struct {
    ft_graph *g;
    ft_plan *plan;
    ft_t rgb, logits;
    int64_t batches; /* looked at so far: numbers the draws of drop path */
} ft_viewer;

int ft_viewer_new(ft_viewer *v, ft_params *params, const char *model, int frames, int size, int classes, ft_evaluated how);
int ft_viewer_run(ft_viewer *v, const ft_clipstore *store, const int64_t *clip, int64_t n, float *prob); /* (n,classes) */
void ft_viewer_free(ft_viewer *v);

#endif
