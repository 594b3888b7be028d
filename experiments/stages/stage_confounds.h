/* The stage of what tells the class without the picture. */
#ifndef FT_STAGE_CONFOUNDS_H
#define FT_STAGE_CONFOUNDS_H

#include "experiments/stages/stage.h"
#include "experiments/statistics/confounds.h"

typedef struct {
    ft_confound *confound; /* facts about the videos that are not in the picture */
    int confounds;
    ft_twin *twin; /* test videos that show what one of the pool or validation shows */
    int twins;
} ft_findings;

int ft_stage_confounds(ft_experiment *x, ft_stage **stage);
/* What it found, once it is done; warns of it. Free with ft_findings_free, also after an error. */
int ft_findings_read(ft_findings *f, const ft_experiment *x, const ft_stage *stage);
void ft_findings_free(ft_findings *f);

#endif
