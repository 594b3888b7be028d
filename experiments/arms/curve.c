#include "experiments/arms/curve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"

/* Labelled videos that every fold's pool has. */
static int64_t pool_labels(const ft_experiment *x)
{
    int64_t least = INT64_MAX;
    for (int f = 0; f < x->n_folds; f++) {
        const ft_videos *pool = &x->folds[f].pool;
        int64_t n = 0;
        for (int64_t i = 0; i < pool->n; i++) n += x->classes.of_video[pool->video[i]] >= 0;
        least = n < least ? n : least;
    }
    return least;
}

static int by_value(const void *a, const void *b)
{
    int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
    return (p > q) - (p < q);
}

/* The entries as numbers in rising order, each once, without that of the baseline. */
static int numbers(const ft_result *r, const ft_arm_result *base, int64_t pool, int64_t *out, int *n)
{
    const char *const *entry;
    int entries = ft_config_list(r->x->cfg, "curve", &entry), kept = 0;
    for (int i = 0; i < entries; i++) {
        int64_t labels = strcmp(entry[i], "all") ? strtoll(entry[i], NULL, 10) : pool;
        if (labels < r->x->classes.n)
            return FT_FAIL(FT_ECONFIG, "%s: curve: %s labels for %d classes. Take a video a class at least",
                           ft_config_origin(r->x->cfg, "curve"), entry[i], r->x->classes.n);
        if (labels > pool) ft_log("curve: %s labels are left out, the pool has %lld", entry[i], (long long)pool);
        else out[kept++] = labels;
    }
    qsort(out, (size_t)kept, sizeof *out, by_value);
    *n = 0;
    for (int i = 0; i < kept; i++)
        if (out[i] != base->opt.labels && (*n == 0 || out[*n - 1] != out[i])) out[(*n)++] = out[i];
    return FT_OK;
}

static int add_point(ft_result *r, const ft_arm_result *base, int64_t labels, int64_t pool, int runs)
{
    ft_arm_result *a = &r->curve[r->curve_n++];
    char mine[128], other[128];
    FT_TRY(ft_arm_begin(a, runs));
    FT_TRY(ft_config_copy(&a->cfg, base->cfg));
    a->opt = ft_arm_options_of(a->cfg);
    if (labels == pool) snprintf(a->arm, sizeof a->arm, "fully-supervised");
    else snprintf(a->arm, sizeof a->arm, "more-labels %lld", (long long)labels);
    snprintf(a->name, sizeof a->name, "curve %lld labels", (long long)labels);
    ft_arm_file_name(mine, a->name);
    for (int i = 0; i < r->n; i++) {
        ft_arm_file_name(other, r->arm[i].name);
        if (!strcmp(mine, other))
            return FT_FAIL(FT_ECONFIG, "%s: the arm '%s' is called as a point of the curve. Give it another name=",
                           ft_config_origin(r->x->cfg, "arms"), r->arm[i].name);
    }
    return FT_OK;
}

static int by_labels(const void *a, const void *b)
{
    double p = ((const ft_label_point *)a)->labels, q = ((const ft_label_point *)b)->labels;
    return (p > q) - (p < q);
}

/* The points in order, the baseline among those of the curve. */
static int points_of(ft_result *r, const ft_arm_result *base, const int64_t *labels)
{
    if (!(r->point = ft_alloc_n(r->curve_n + 1, sizeof *r->point))) return FT_FAIL(FT_ENOMEM, "no memory for a curve");
    for (int i = 0; i < r->curve_n; i++) r->point[i] = (ft_label_point){.labels = (double)labels[i], .arm = &r->curve[i]};
    r->point[r->curve_n] = (ft_label_point){.labels = (double)base->opt.labels, .arm = base};
    r->points = r->curve_n + 1;
    qsort(r->point, (size_t)r->points, sizeof *r->point, by_labels);
    return FT_OK;
}

int ft_curve_check(const ft_result *r)
{
    const char *const *entry, *where = ft_config_origin(r->x->cfg, "curve");
    int n = ft_config_list(r->x->cfg, "curve", &entry);
    const ft_arm_result *base = ft_baseline(r, NULL);
    if (n > 0 && (!base || strcmp(base->arm, "supervised")))
        return FT_FAIL(FT_ECONFIG,
                       "%s: curve: worth is counted in labels of a supervised baseline, and %s is none of the arms that are. "
                       "Add supervised to arms, or leave out curve",
                       where, r->opt.baseline);
    for (int i = 0; i < n; i++) {
        char *end;
        if (strcmp(entry[i], "all") && (strtoll(entry[i], &end, 10) < 2 || *end))
            return FT_FAIL(FT_ECONFIG, "%s: curve: %s is neither all nor a number of labelled videos, from 2 on", where,
                           entry[i]);
    }
    return FT_OK;
}

int ft_curve_read(ft_result *r)
{
    const char *const *entry;
    int n = ft_config_list(r->x->cfg, "curve", &entry), rc;
    int runs = r->opt.splits * r->opt.seeds;
    if (n == 0) return FT_OK;
    const ft_arm_result *base = ft_baseline(r, NULL);
    int64_t pool = pool_labels(r->x), *labels = ft_alloc_n(n, sizeof *labels);
    r->curve = ft_alloc_n(n, sizeof *r->curve);
    rc = labels && r->curve ? numbers(r, base, pool, labels, &n) : FT_FAIL(FT_ENOMEM, "no memory for a curve");
    for (int i = 0; rc == FT_OK && i < n; i++) rc = add_point(r, base, labels[i], pool, runs);
    if (rc == FT_OK) rc = points_of(r, base, labels);
    ft_free(labels);
    return rc;
}
