/* Arms: what a classifier learns from beside its labelled videos. Adding one is a file experiments/arms/arm_NAME.c that
 * defines `const ft_arm ft_arm_NAME`, and a row of arm_table.h; see CONTRIBUTING.md. */
#ifndef FT_ARM_H
#define FT_ARM_H

#include "experiments/arms/results.h"
#include "experiments/stages/stage.h"

/* One arm in one fold and split, being prepared. */
typedef struct {
    ft_experiment *x;
    const char *arm, *label;   /* a row's name, a preset, `clips: FILE`; what tables call it */
    const ft_config *cfg;      /* the experiment's with this arm's own settings */
    const ft_arm_options *opt; /* what they say */
    int fold, split;
    ft_videos labelled, unlabelled; /* of the split; an arm may replace them */
    ft_stage *made;                 /* what makes the clips of this arm, clips.h5 in its folder; NULL: nothing does */
    const char *file;               /* or a clip store of somebody else; "": none */
    ft_stage *filter;               /* which of these clips are used; NULL: all */
    int64_t *clips, n_clips;        /* or which of the experiment's clips; fresh memory. NULL: none, supervised */
} ft_arm_context;

typedef struct {
    const char *name, *help;
    bool (*matches)(const char *arm); /* NULL: the arm's name must equal `name` */
    /* Adds the stages that make its clips and sets `made`, or sets `file`, or replaces `labelled`. Nothing is computed yet; may
     * be NULL. */
    int (*plan)(ft_arm_context *c);
    /* Without `made` and `file`, whose clips are taken whole: sets clips and n_clips of the context, or leaves them for a
     * supervised arm. */
    int (*prepare)(ft_arm_context *c);
    /* Facts for the report about what was generated (psnr, eps_mse, logs); may be NULL. */
    void (*facts)(const ft_arm_context *c, ft_arm_result *result);
    /* Does each of its own clips show a class, which it may teach (clips.use)? NULL: no */
    bool (*classed)(const ft_arm_context *c);
} ft_arm;

/* Reads an entry of `arms`, ARM [key=value ...] [name=LABEL], into arm, name and cfg of `a`. Without a label the name in tables
 * is the arm with the last words of its settings: "noise clips=50". */
int ft_arm_read(ft_arm_result *a, const ft_config *cfg, const char *entry);

bool ft_arm_brings_clips(const ft_arm_context *c); /* of its own, made or in a file */

const ft_arm *ft_arm_find(const char *arm); /* NULL if no row fits */
const ft_arm *ft_arm_at(int i);

#endif
