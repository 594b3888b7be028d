/* The work of an experiment: every run that is not there yet. Any number of processes share it. Each goes through the runs, takes
 * the stages that nobody is at (a lock of the stage's folder, which the kernel lets go when its owner dies), leaves the others
 * for later, and continues what a dead process left. A run that fails does not stop the others. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/train/train_loop.h"
#include "experiments/experiment.h"

static int try_run(ft_result *r, int arm, int split, int seed)
{
    ft_experiment *x = r->x;
    ft_arm_result a = r->arm[arm]; /* what it finds is read again when the tables are made, in order */
    ft_run_scores run[1] = {{0}};
    json_t *line[1] = {NULL};
    int before = x->computed;
    a.run = run, a.line = line, a.n = 0;
    int rc = ft_experiment_one_run(x, &a, split, seed);
    if (rc == FT_OK && x->computed > before) ft_log("%s, split %d, seed %d: F1 %.1f", a.name, split, seed, 100 * run[0].f1);
    if (a.n) {
        ft_free((void *)(uintptr_t)run[0].prob);
        ft_free((void *)(uintptr_t)run[0].label);
        json_decref(line[0]);
    }
    if (rc < 0 && rc != FT_EBUSY && rc != FT_EINTERRUPTED) ft_stages_failed(x, ft_error_message());
    return rc;
}

int ft_experiment_work(ft_result *r)
{
    int splits = (int)ft_config_int(r->x->cfg, "splits"), seeds = (int)ft_config_int(r->x->cfg, "seeds"), failed = 0, why = 0;
    int all = r->n * splits * seeds, left = all, rc = FT_OK;
    char first[1024] = "";
    char *over = ft_alloc((size_t)all + 1);
    if (!over) return FT_FAIL(FT_ENOMEM, "no memory for %d runs", all);
    while (left && rc == FT_OK) {
        int before = left;
        for (int k = 0; k < all && rc == FT_OK; k++) {
            if (over[k]) continue;
            int one = try_run(r, k / splits / seeds, k / seeds % splits, k % seeds);
            if (one == FT_EBUSY) continue;
            if (one == FT_EINTERRUPTED) rc = one;
            else over[k] = 1, left--;
            if (one == FT_OK || one == FT_EINTERRUPTED) continue;
            ft_warn("%s, split %d, seed %d failed: %s", r->arm[k / splits / seeds].name, k / seeds % splits, k % seeds,
                    ft_error_message());
            if (!failed++) snprintf(first, sizeof first, "%s", ft_error_message()), why = one;
        }
        if (left && left == before && rc == FT_OK) usleep(300000); /* others are at what is left */
        if (left && ft_interrupted && rc == FT_OK) rc = FT_FAIL(FT_EINTERRUPTED, "interrupted while others were at work");
    }
    ft_free(over);
    if (rc == FT_OK && failed == 1) rc = FT_FAIL(why, "%s", first);
    else if (rc == FT_OK && failed) rc = FT_FAIL(why, "%s (%d of %d runs failed; the others are kept)", first, failed, all);
    return rc;
}
