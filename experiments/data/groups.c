#include "experiments/data/groups.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/lookup.h"

typedef struct {
    int64_t *of_video, n; /* group number of every video, in order of the store; number of groups */
} groups;

static const char *group_of(const ft_store_video *v) { return v->group; }
static const char *name_of(const ft_store_video *v) { return v->name; }

/* Videos with the same text are a group. */
static int number(groups *g, const ft_clipstore *s, const char *(*text)(const ft_store_video *))
{
    ft_lookup l = {0};
    int64_t *of_last = ft_alloc_n(s->n_video + 1, sizeof *of_last); /* number + 1 of the group whose last video this is */
    int rc = FT_OK;
    *g = (groups){ft_alloc_n(s->n_video + 1, sizeof *g->of_video), 0};
    if (!g->of_video || !of_last) rc = FT_FAIL(FT_ENOMEM, "no memory for groups");
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++)
        rc = ft_lookup_add(&l, text(&s->video[i]), strlen(text(&s->video[i])), i);
    if (rc == FT_OK) ft_lookup_sort(&l);
    for (int64_t i = 0; rc == FT_OK && i < s->n_video; i++) {
        int64_t *of = &of_last[ft_lookup_find(&l, text(&s->video[i]), strlen(text(&s->video[i])))];
        if (!*of) *of = ++g->n;
        g->of_video[i] = *of - 1;
    }
    ft_lookup_free(&l);
    ft_free(of_last);
    if (rc < 0) ft_free(g->of_video), g->of_video = NULL;
    return rc;
}

/* The first two videos of one group (or name) on different sides; false: there are none. */
static bool divided(const groups *g, const ft_videos *const *side, int sides, int64_t *first, int64_t pair[2])
{
    for (int64_t i = 0; i < g->n; i++) first[i] = -1;
    for (int k = 0; k < sides; k++) {
        for (int64_t i = 0; i < side[k]->n; i++) {
            int64_t v = side[k]->video[i], was = first[g->of_video[v]];
            if (was >= 0) {
                pair[0] = was, pair[1] = v;
                return true;
            }
        }
        for (int64_t i = 0; i < side[k]->n; i++) first[g->of_video[side[k]->video[i]]] = side[k]->video[i];
    }
    return false;
}

typedef struct {
    const ft_clipstore *s;
    groups group, name;
    int64_t *first;
} leakage;

static void leakage_free(leakage *l)
{
    ft_free(l->group.of_video);
    ft_free(l->name.of_video);
    ft_free(l->first);
}

static int leakage_make(leakage *l, const ft_clipstore *s)
{
    *l = (leakage){.s = s};
    int rc = number(&l->group, s, group_of);
    if (rc == FT_OK) rc = number(&l->name, s, name_of);
    if (rc == FT_OK && !(l->first = ft_alloc_n(s->n_video + 1, sizeof *l->first)))
        rc = FT_FAIL(FT_ENOMEM, "no memory for groups");
    if (rc < 0) leakage_free(l);
    return rc;
}

/* Lists that come with the data may divide a group: that is the data's word, and an error. */
static int check_sides(const leakage *l, const ft_videos *const *side, int sides)
{
    int64_t pair[2];
    const ft_store_video *v = l->s->video;
    if (divided(&l->group, side, sides, l->first, pair))
        return FT_FAIL(FT_EDATA, "%s: group %s has videos in two splits (%s, %s). Correct the column split", l->s->path,
                       v[pair[0]].group, v[pair[0]].name, v[pair[1]].name);
    if (divided(&l->name, side, sides, l->first, pair))
        return FT_FAIL(FT_EDATA,
                       "%s: the video %s stands in two splits, as of group %s and of group %s. Leave out one, or rename it",
                       l->s->path, v[pair[0]].name, v[pair[0]].group, v[pair[1]].group);
    return FT_OK;
}

static int check_fold(const leakage *l, const ft_fold *f)
{
    const ft_videos *const side[] = {&f->pool, &f->validation, &f->test};
    return check_sides(l, side, 3);
}

int ft_sides_check_folds(const ft_clipstore *s, const ft_fold *fold, int n)
{
    leakage l;
    FT_TRY(leakage_make(&l, s));
    int rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < n; i++) rc = check_fold(&l, &fold[i]);
    leakage_free(&l);
    return rc;
}

int ft_sides_check_split(const ft_clipstore *s, const ft_fold *f, const ft_videos *labelled, const ft_videos *unlabelled)
{
    const ft_videos *const learnt[] = {labelled, &f->validation, &f->test}, *const rest[] = {unlabelled, &f->validation,
                                                                                             &f->test};
    leakage l;
    FT_TRY(leakage_make(&l, s));
    int rc = check_fold(&l, f);
    if (rc == FT_OK) rc = check_sides(&l, learnt, 3);
    if (rc == FT_OK && unlabelled) rc = check_sides(&l, rest, 3);
    leakage_free(&l);
    return rc;
}

/* Videos of a side, group by group and in order of the store within each: those of group k are video[from[k]] to
 * video[from[k + 1] - 1]. */
static void members(const groups *g, const int *side, int64_t n_video, int from_side, int64_t *from, int64_t *video)
{
    for (int64_t i = 0; i < n_video; i++)
        if (side[i] == from_side) from[g->of_video[i] + 1]++;
    for (int64_t k = 0; k < g->n; k++) from[k + 1] += from[k];
    for (int64_t i = 0; i < n_video; i++)
        if (side[i] == from_side) video[from[g->of_video[i]]++] = i;
    for (int64_t k = g->n; k > 0; k--) from[k] = from[k - 1];
    from[0] = 0;
}

typedef struct {
    int64_t group, size, place;
} turn;

static int largest_first(const void *a, const void *b)
{
    const turn *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? 1 : -1;
    return x->place < y->place ? -1 : x->place > y->place;
}

int ft_groups_deal(const ft_clipstore *s, const ft_classes *c, int *side, int from, int sides, const double *share, ft_rng r)
{
    groups g;
    FT_TRY(number(&g, s, group_of));
    int64_t *order = ft_alloc_n(g.n + 1, sizeof *order), *start = ft_alloc_n(g.n + 2, sizeof *start),
            *video = ft_alloc_n(s->n_video + 1, sizeof *video);
    turn *turns = ft_alloc_n(g.n + 1, sizeof *turns);
    int64_t apart = 0; /* groups of the videos that are dealt */
    int kinds = ft_classes_strata(c);
    double *have = ft_alloc_n((int64_t)sides * kinds, sizeof *have), *total = ft_alloc_n(kinds, sizeof *total);
    int *to = ft_alloc_n(g.n + 1, sizeof *to),
        rc = order && start && video && turns && have && total && to ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for splits");
    FT_TRY_TO(rc, done, rc);
    for (int64_t i = 0; i < g.n; i++) order[i] = i, to[i] = -1;
    ft_rng_shuffle(&r, order, g.n);
    members(&g, side, s->n_video, from, start, video);
    for (int64_t i = 0; i < s->n_video; i++)
        for (int k = 0; k < kinds && side[i] == from; k++) total[k] += ft_classes_in_stratum(c, i, k);
    for (int64_t q = 0; q < g.n; q++) turns[q] = (turn){order[q], start[order[q] + 1] - start[order[q]], q};
    qsort(turns, (size_t)g.n, sizeof *turns, largest_first);
    while (apart < g.n && turns[apart].size) apart++; /* the largest stand first */
    if (apart == 1 && turns[0].size == s->n_video && s->n_video > 1)
        FT_TRY_TO(
            rc, done,
            FT_FAIL(
                FT_EDATA,
                "%s: all videos are of one group, %s. A group is never divided, so that nothing is left to test on: give each "
                "patient a group of its own",
                s->path, s->video[video[start[turns[0].group]]].group));
    for (int64_t q = 0; q < g.n && turns[q].size; q++) {
        int64_t group = turns[q].group;
        double best = -1e30;
        for (int p = 0; p < sides; p++) {
            double lack = 0;
            for (int64_t i = start[group]; i < start[group + 1]; i++)
                for (int k = 0; k < kinds; k++)
                    if (ft_classes_in_stratum(c, video[i], k))
                        lack += (share[p] * total[k] - have[p * kinds + k]) / (share[p] * total[k] + 1e-9);
            if (lack > best + 1e-12) best = lack, to[group] = p;
        }
        for (int64_t i = start[group]; i < start[group + 1]; i++)
            for (int k = 0; k < kinds; k++) have[to[group] * kinds + k] += ft_classes_in_stratum(c, video[i], k);
    }
    for (int64_t i = 0; i < s->n_video; i++)
        if (side[i] == from) side[i] = 100 + to[g.of_video[i]];
done:
    ft_free(g.of_video);
    ft_free(order);
    ft_free(start);
    ft_free(video);
    ft_free(turns);
    ft_free(have);
    ft_free(total);
    ft_free(to);
    return rc;
}

json_t *ft_video_names(const ft_clipstore *s, const ft_videos *v)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < v->n; i++) json_array_append_new(a, json_string(s->video[v->video[i]].name));
    return a;
}
