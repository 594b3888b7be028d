#include "experiments/sweep/experiment_open.h"

#include <unistd.h>

#include "common/base/folder.h"
#include "common/base/interrupt.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/train/precision.h"
#include "experiments/arms/arm_list.h"
#include "experiments/arms/curve.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_likeness.h"
#include "experiments/sweep/runs.h"
#include "experiments/sweep/shapes.h"

static int plan_runs(const ft_result *r, ft_arm_result *arm, int n)
{
    for (int i = 0; i < n; i++)
        for (int split = 0; split < r->opt.splits; split++)
            for (int seed = 0; seed < r->opt.seeds; seed++) FT_TRY(ft_run_plan(r->x, &arm[i], split, seed));
    return FT_OK;
}

static int plan_all(ft_result *r)
{
    ft_experiment *x = r->x;
    bool generated = false;
    FT_TRY(ft_stage_confounds(x, &r->checked));
    FT_TRY(plan_runs(r, r->arm, r->n));
    FT_TRY(plan_runs(r, r->curve, r->curve_n));
    for (int i = 0; i < r->n; i++) generated |= r->arm[i].likeness != NULL;
    return generated ? ft_stage_likeness(x, x->cfg, "", 0, NULL, "", &r->held_out) : FT_OK;
}

int ft_experiment_open(ft_result *r)
{
    ft_experiment *x = r->x;
    int rc;
    FT_TRY(ft_arms_read(r));
    FT_TRY(ft_curve_check(r));
    FT_TRY(ft_shapes_arms(r));
    FT_TRY(ft_folder_make(x->dir)); /* nothing is written into a folder of somebody else */
    bool here = !x->look_only && !x->elsewhere;
    FT_TRY(ft_precision_keep(x->cfg, x->dir, here));
    for (int i = 0; i < r->n; i++) FT_TRY(ft_precision_keep(r->arm[i].cfg, x->dir, here)); /* they are copies */
    while ((rc = ft_experiment_data(x)) == FT_EBUSY) {                                     /* another worker makes the clips */
        if (ft_interrupted) return FT_FAIL(FT_EINTERRUPTED, "interrupted while another process made the clips");
        usleep(300000);
    }
    FT_TRY(rc);
    FT_TRY(ft_classes_make(&x->classes, x->cfg, &x->store));
    FT_TRY(ft_folds_make(&x->folds, &x->n_folds, x->cfg, &x->store, &x->classes));
    FT_TRY(ft_curve_read(r));
    return plan_all(r);
}

void ft_experiment_close(ft_result *r)
{
    ft_experiment *x = r->x;
    ft_free(r->point);
    ft_findings_free(&r->found);
    ft_stages_free(x); /* they borrow from arms and runs */
    for (int i = 0; i < r->curve_n; i++) ft_runs_free(&r->curve[i]);
    for (int i = 0; i < r->n; i++) ft_runs_free(&r->arm[i]);
    ft_arms_free(r->curve, r->curve_n); /* their settings borrow from those of an arm */
    ft_arms_free(r->arm, r->n);
    ft_free(x->rehearsal);
    ft_folds_free(x->folds, x->n_folds);
    ft_classes_free(&x->classes);
    ft_clipstore_free(&x->store);
}
