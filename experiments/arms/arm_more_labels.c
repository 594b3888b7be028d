/* `more-labels N`: N labelled videos instead of `labels`, compared with the baseline that has `labels` of them. The videos of a
 * split with fewer labels are among those of the same split with more (ft_split_make), so differences stay paired. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"

static const char prefix[] = "more-labels ";

static int64_t number(const char *arm) /* 0: it is no such arm */
{
    char *end;
    if (strncmp(arm, prefix, sizeof prefix - 1)) return 0;
    long long n = strtoll(arm + sizeof prefix - 1, &end, 10);
    return *end || n < 2 || n > 1000000 ? 0 : n;
}

static bool is_more(const char *arm) { return number(arm) > 0; }

static int plan(ft_arm_context *c)
{
    char setting[64];
    ft_videos labelled, unlabelled;
    ft_config *cfg;
    FT_TRY(ft_config_copy(&cfg, c->cfg));
    snprintf(setting, sizeof setting, "labels=%lld", (long long)number(c->arm));
    int rc = ft_config_set(cfg, setting, c->arm);
    if (rc == FT_OK)
        rc = ft_split_make(&labelled, &unlabelled, cfg, &c->x->store, &c->x->classes, &c->x->folds[c->fold], c->split);
    ft_config_free(cfg);
    FT_TRY(rc);
    ft_free(c->labelled.video);
    ft_free(c->unlabelled.video);
    c->labelled = labelled, c->unlabelled = unlabelled;
    return FT_OK;
}

static int nothing(ft_arm_context *c) { return (void)c, FT_OK; }

extern const ft_arm ft_arm_more_labels;
const ft_arm ft_arm_more_labels = {
    "more-labels N", "N labelled videos, against the baseline with `labels`", is_more, plan, nothing, NULL, NULL};
