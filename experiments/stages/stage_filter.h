/* The stage of which of an arm's clips are used: the setting clips.filter. */
#ifndef FT_STAGE_FILTER_H
#define FT_STAGE_FILTER_H

#include "experiments/stages/stage.h"

/* Of clips that a stage made or `file` holds, for one label split; *stage = NULL: nothing is filtered. */
int ft_stage_filter(ft_experiment *x, const ft_config *cfg, const char *label, int fold, int split, const ft_videos *labelled,
                    ft_stage *made, const char *file, ft_stage **stage);
/* Which of all *n clips of the store are left, into clip and *n. */
int ft_filter_apply(const ft_stage *filter, int64_t *clip, int64_t *n);

/* What was left, sums over `runs` runs and folds. */
enum { FT_FILTER_RULES = 3 };
extern const char *const ft_filter_rule[FT_FILTER_RULES];
typedef struct {
    int runs;                                           /* 0: nothing was filtered */
    double drawn, kept, used, dropped[FT_FILTER_RULES]; /* used: of those that are left, unlabelled.clips; dropped: by rule */
    bool ruled[FT_FILTER_RULES];
} ft_filtered;
bool ft_filters(const ft_filtered *f, const char *rule);
/* "200 clips drawn, 12 dropped by likeness, 31 by copies; 157 kept and used", means over runs; "" without a filter */
void ft_filtered_text(const ft_filtered *f, char text[300]);

#endif
