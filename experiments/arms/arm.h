/* Arms: what a classifier learns from beside its labelled videos. Adding one is a file experiments/arms/arm_NAME.c that
 * defines `const ft_arm ft_arm_NAME`, and a row of arm_table.h; see CONTRIBUTING.md. */
#ifndef FT_ARM_H
#define FT_ARM_H

#include "experiments/stages/experiment.h"

typedef struct {
    const char *name, *help;
    bool (*matches)(const char *arm); /* NULL: the arm's name must equal `name` */
    /* Adds the stages that make its clips and sets `made`, or sets `file`, or replaces `labelled`. Nothing is computed yet; may
     * be NULL. */
    int (*plan)(ft_arm_context *c);
    /* Without `made` and `file`, whose clips are taken whole: sets unlabelled_store, clips and n_clips of the context, or leaves
     * them for a supervised arm. */
    int (*prepare)(ft_arm_context *c);
    /* Facts for the report about what was generated (psnr, eps_mse, logs); may be NULL. */
    void (*facts)(const ft_arm_context *c, ft_arm_result *result);
} ft_arm;

/* Reads an entry of `arms`, ARM [key=value ...] [name=LABEL], into arm, name and cfg of `a`. Without a label the name in tables
 * is the arm with the last words of its settings: "noise clips=50". */
int ft_arm_read(ft_arm_result *a, const ft_config *cfg, const char *entry);

/* Memory for so many runs, and nothing known. */
int ft_arm_begin(ft_arm_result *a, int runs);

const ft_arm *ft_arm_find(const char *arm); /* NULL if no row fits */
const ft_arm *ft_arm_at(int i);

#endif
