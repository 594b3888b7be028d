#include "experiments/data/splits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/lookup.h"

/* ---- classes ---------------------------------------------------------------------------------------------------------- */

static const char *mapped(const ft_config *cfg, const char *label)
{
    const char *const *map;
    int n = ft_config_list(cfg, "data.map", &map);
    size_t length = strlen(label);
    for (int i = 0; i < n; i++)
        if (!strncmp(map[i], label, length) && !strncmp(map[i] + length, ": ", 2)) return map[i] + length + 2;
    return label;
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int index_of(const ft_classes *c, const char *name)
{
    for (int k = 0; k < c->n; k++)
        if (!strcmp(c->name[k], name)) return k;
    return -1;
}

static int add_class(ft_classes *c, const char *name, int most, const char *path)
{
    if (!*name || index_of(c, name) >= 0 || (c->positive == FT_MULTILABEL && !strcmp(name, FT_NO_LABEL))) return FT_OK;
    if (c->n == most)
        return FT_FAIL(FT_EDATA, "%s: more than %d classes%s. Join some with data.map", path, most,
                       most == FT_MAX_CLASSES ? "" : " of data.multilabel");
    FT_TRY(ft_grow(&c->name, (size_t)c->n, sizeof *c->name));
    return (c->name[c->n++] = ft_strdup(name)) ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for classes");
}

/* The next class of a label that names several, as data.map calls it; fresh. NULL: no more of them, or no memory (*rc). */
static char *next_part(const ft_config *cfg, const char **at, int *rc)
{
    size_t n;
    const char *part = ft_label_part(at, &n);
    char *one = part ? ft_format("%.*s", (int)n, part) : NULL, *name = one ? ft_strdup(mapped(cfg, one)) : NULL;
    ft_free(one);
    if (part && !name) *rc = FT_FAIL(FT_ENOMEM, "no memory for classes");
    return name;
}

static int names_of_sets(ft_classes *c, const ft_config *cfg, const ft_clipstore *store)
{
    int rc = FT_OK;
    for (int64_t i = 0; rc == FT_OK && i < store->n_video; i++) {
        const char *at = store->video[i].label;
        for (char *name; rc == FT_OK && (name = next_part(cfg, &at, &rc)); ft_free(name))
            rc = add_class(c, name, FT_MAX_SET, store->path);
    }
    return rc;
}

/* bits of every video */
static int sets_of_videos(ft_classes *c, const ft_config *cfg, const ft_clipstore *store)
{
    int rc = FT_OK;
    for (int64_t i = 0; rc == FT_OK && i < store->n_video; i++) {
        const char *at = store->video[i].label;
        c->of_video[i] = *at ? 0 : -1;
        for (char *name; rc == FT_OK && (name = next_part(cfg, &at, &rc)); ft_free(name))
            if (index_of(c, name) >= 0) c->of_video[i] |= 1 << index_of(c, name);
    }
    return rc;
}

static int check_some_lack(const ft_classes *c, const ft_clipstore *store, int class)
{
    for (int64_t i = 0; i < store->n_video; i++)
        if (c->of_video[i] >= 0 && !ft_classes_has(c, i, class)) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: all labelled videos have the label %s: there is nothing to tell apart", store->path,
                   c->name[class]);
}

/* `positive` of several labels: who has it, and who does not */
static int one_of_sets(ft_classes *c, const ft_config *cfg, const ft_clipstore *store)
{
    const char *positive = ft_config_text(cfg, "positive");
    int p = index_of(c, positive);
    if (p < 0)
        return FT_FAIL(FT_ECONFIG, "%s: positive is %s, which no video of %s has", ft_config_origin(cfg, "positive"), positive,
                       store->path);
    FT_TRY(check_some_lack(c, store, p));
    char *without = ft_format("no %s", positive), *with = ft_strdup(positive);
    for (int64_t i = 0; i < store->n_video; i++)
        if (c->of_video[i] >= 0) c->of_video[i] = c->of_video[i] >> p & 1;
    for (int k = 0; k < c->n; k++) ft_free(c->name[k]);
    c->n = 2, c->positive = 1; /* ft_grow gave room for more */
    c->name[0] = without, c->name[1] = with;
    return without && with ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for classes");
}

static int classes_of_sets(ft_classes *c, const ft_config *cfg, const ft_clipstore *store)
{
    c->positive = FT_MULTILABEL;
    FT_TRY(names_of_sets(c, cfg, store));
    if (c->n == 0) return FT_FAIL(FT_EDATA, "%s: no video has a label: check the column label and data.map", store->path);
    qsort(c->name, (size_t)c->n, sizeof *c->name, by_text);
    FT_TRY(sets_of_videos(c, cfg, store));
    if (*ft_config_text(cfg, "positive")) return one_of_sets(c, cfg, store);
    if (c->n < 2)
        return FT_FAIL(FT_EDATA, "%s: %s is the only label. positive: %s tells those that have it from the others", store->path,
                       c->name[0], c->name[0]);
    return FT_OK;
}

bool ft_classes_has(const ft_classes *c, int64_t video, int class)
{
    int of = c->of_video[video];
    return of >= 0 && (c->positive == FT_MULTILABEL ? of >> class & 1 : of == class);
}

json_t *ft_classes_names(const ft_classes *c)
{
    json_t *names = json_array();
    for (int k = 0; k < c->n; k++) json_array_append_new(names, json_string(c->name[k]));
    return names;
}

char *ft_classes_text(const ft_classes *c, int label)
{
    ft_text t;
    if (c->positive != FT_MULTILABEL) return ft_strdup(label < 0 ? "" : c->name[label]);
    if (ft_text_begin(&t) < 0) return NULL;
    for (int k = 0, some = 0; k < c->n; k++)
        if (label >> k & 1) fprintf(t.f, "%s%s", some++ ? "|" : "", c->name[k]);
    if (label == 0) fputs(FT_NO_LABEL, t.f);
    char *text = ft_text_end(&t) < 0 ? NULL : ft_strdup(t.text);
    ft_text_free(&t);
    return text;
}

int ft_classes_make(ft_classes *c, const ft_config *cfg, const ft_clipstore *store)
{
    memset(c, 0, sizeof *c);
    int rc = FT_OK;
    c->of_video = ft_alloc((size_t)(store->n_video + 1) * sizeof *c->of_video);
    if (!c->of_video) return FT_FAIL(FT_ENOMEM, "no memory for classes");
    if (ft_config_bool(cfg, "data.multilabel")) {
        rc = classes_of_sets(c, cfg, store);
        if (rc < 0) ft_classes_free(c);
        return rc;
    }
    for (int64_t i = 0; i < store->n_video && rc == FT_OK; i++)
        rc = add_class(c, mapped(cfg, store->video[i].label), FT_MAX_CLASSES, store->path);
    if (rc == FT_OK && c->n < 2)
        rc = FT_FAIL(FT_EDATA, "%s: %s%s. A classifier needs two classes: check the column label and data.map", store->path,
                     c->n ? "all videos have the label " : "no video has a label", c->n ? c->name[0] : "");
    if (rc == FT_OK) {
        qsort(c->name, (size_t)c->n, sizeof *c->name, by_text);
        const char *positive = ft_config_text(cfg, "positive");
        c->positive = *positive ? index_of(c, positive) : c->n - 1;
        if (c->positive < 0)
            rc = FT_FAIL(FT_ECONFIG, "%s: positive is %s; the classes are %s, %s%s", ft_config_origin(cfg, "positive"), positive,
                         c->name[0], c->name[1], c->n > 2 ? ", ..." : "");
    }
    for (int64_t i = 0; rc == FT_OK && i < store->n_video; i++) {
        c->of_video[i] = index_of(c, mapped(cfg, store->video[i].label));
    }
    if (rc < 0) ft_classes_free(c);
    return rc;
}

void ft_classes_free(ft_classes *c)
{
    for (int i = 0; i < c->n; i++) ft_free(c->name[i]);
    ft_free(c->name);
    ft_free(c->of_video);
    memset(c, 0, sizeof *c);
}

/* What splits are balanced over: the classes, and, where a video may have several, those that have none. */
static int strata(const ft_classes *c) { return c->n + (c->positive == FT_MULTILABEL); }

static bool in_stratum(const ft_classes *c, int64_t video, int k)
{
    return k < c->n ? ft_classes_has(c, video, k) : c->of_video[video] == 0;
}

/* ---- groups -------------------------------------------------------------------------------------------------------------- */

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

/* Everything of one fold, for those who look at one alone. */
static int check_split(const ft_clipstore *s, const ft_fold *f, const ft_videos *labelled, const ft_videos *unlabelled)
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

/* Deals whole groups of the videos with side[i] == from into `sides` parts of given share, keeping the classes balanced: large
 * groups first (equal sizes in random order), each to the part that then lacks the most of its classes. */
static int deal(const ft_clipstore *s, const ft_classes *c, int *side, int from, int sides, const double *share, ft_rng r)
{
    groups g;
    FT_TRY(number(&g, s, group_of));
    int64_t *order = ft_alloc_n(g.n + 1, sizeof *order), *start = ft_alloc_n(g.n + 2, sizeof *start),
            *video = ft_alloc_n(s->n_video + 1, sizeof *video);
    turn *turns = ft_alloc_n(g.n + 1, sizeof *turns);
    int64_t apart = 0; /* groups of the videos that are dealt */
    int kinds = strata(c);
    double *have = ft_alloc_n((int64_t)sides * kinds, sizeof *have), *total = ft_alloc_n(kinds, sizeof *total);
    int *to = ft_alloc_n(g.n + 1, sizeof *to),
        rc = order && start && video && turns && have && total && to ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for splits");
    if (rc < 0) goto done;
    for (int64_t i = 0; i < g.n; i++) order[i] = i, to[i] = -1;
    ft_rng_shuffle(&r, order, g.n);
    members(&g, side, s->n_video, from, start, video);
    for (int64_t i = 0; i < s->n_video; i++)
        for (int k = 0; k < kinds && side[i] == from; k++) total[k] += in_stratum(c, i, k);
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
                    if (in_stratum(c, video[i], k))
                        lack += (share[p] * total[k] - have[p * kinds + k]) / (share[p] * total[k] + 1e-9);
            if (lack > best + 1e-12) best = lack, to[group] = p;
        }
        for (int64_t i = start[group]; i < start[group + 1]; i++)
            for (int k = 0; k < kinds; k++) have[to[group] * kinds + k] += in_stratum(c, video[i], k);
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

/* ---- folds -------------------------------------------------------------------------------------------------------------- */

enum { POOL, VALIDATION, TEST };

static int collect(ft_videos *v, const ft_clipstore *s, const int *side, int which)
{
    int64_t n = 0; /* with cross-validation there are many folds: no more room than they need */
    for (int64_t i = 0; i < s->n_video; i++) n += side[i] == which;
    if (!(v->video = ft_alloc_n(n + 1, sizeof *v->video))) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    for (int64_t i = 0; i < s->n_video; i++)
        if (side[i] == which) v->video[v->n++] = i;
    return FT_OK;
}

static void rename_side(int *side, int64_t n, int from, int to)
{
    for (int64_t i = 0; i < n; i++)
        if (side[i] == from) side[i] = to;
}

/* A validation set from the pool, as many videos as asked or as leave the pool its labels. */
static int take_validation(const ft_config *cfg, const ft_clipstore *s, const ft_classes *c, int *side, ft_rng r)
{
    int64_t want = ft_config_int(cfg, "validation"), labels = ft_config_int(cfg, "labels"), pool = 0;
    for (int64_t i = 0; i < s->n_video; i++) pool += side[i] == POOL && c->of_video[i] >= 0;
    if (want < 0) want = pool - labels < labels ? (pool - labels) / 2 : labels;
    if (want <= 0) return FT_OK;
    double share[2] = {1 - (double)want / (double)pool, (double)want / (double)pool};
    if (share[0] <= 0)
        return FT_FAIL(FT_EDATA, "%s: %lld validation videos asked of a pool of %lld. Lower validation", s->path, (long long)want,
                       (long long)pool);
    FT_TRY(deal(s, c, side, POOL, 2, share, r));
    rename_side(side, s->n_video, 100, POOL);
    rename_side(side, s->n_video, 101, VALIDATION);
    return FT_OK;
}

static int add_fold(ft_fold **folds, int *n, const ft_clipstore *s, const int *side, int repeat, int fold)
{
    FT_TRY(ft_grow(folds, (size_t)*n, sizeof **folds));
    ft_fold *f = &(*folds)[(*n)++];
    *f = (ft_fold){.repeat = repeat, .fold = fold};
    FT_TRY(collect(&f->test, s, side, TEST));
    FT_TRY(collect(&f->validation, s, side, VALIDATION));
    return collect(&f->pool, s, side, POOL);
}

/* Do the lists say folds, by number? Then split is "0", "1", ... everywhere. */
static bool numbered(const ft_clipstore *s)
{
    bool any = false;
    for (int64_t i = 0; i < s->n_video; i++) {
        const char *w = s->video[i].split;
        if (*w && w[strspn(w, "0123456789")]) return false;
        any |= *w != 0;
    }
    return any;
}

static int test_list(ft_fold **folds, int *n, const ft_config *cfg, const ft_clipstore *s, const ft_classes *c, int *side)
{
    bool named = false;
    int64_t validation = 0; /* videos that the lists name */
    if (numbered(s))
        return FT_FAIL(
            FT_EDATA,
            "%s: its splits are the numbers of folds. evaluation: cross-validation takes each of them in turn as the test "
            "list",
            s->path);
    for (int64_t i = 0; i < s->n_video; i++) {
        const char *w = s->video[i].split;
        side[i] = !strcmp(w, "test") ? TEST : !strcmp(w, "validation") || !strcmp(w, "val") ? VALIDATION : POOL;
        if (*w && side[i] == POOL && strcmp(w, "train"))
            return FT_FAIL(FT_EDATA, "%s: the split of %s is '%s'; train, validation and test are known", s->path,
                           s->video[i].name, w);
        named |= side[i] == TEST, validation += side[i] == VALIDATION;
    }
    if (!named) {
        double t = ft_config_real(cfg, "test_fraction"), share[2] = {1 - t, t};
        FT_TRY(deal(s, c, side, POOL, 2, share, ft_rng_make(0, FT_STREAM_TEST_LIST, 0)));
        rename_side(side, s->n_video, 100, POOL);
        rename_side(side, s->n_video, 101, TEST);
    }
    int64_t want = ft_config_int(cfg, "validation");
    if (validation > 0 && want >= 0 && want != validation) {
        ft_log("%s: the %lld validation videos of its lists join the pool, as validation: %lld asks (-1 keeps them)", s->path,
               (long long)validation, (long long)want);
        rename_side(side, s->n_video, VALIDATION, POOL), validation = 0;
    }
    if (validation == 0) FT_TRY(take_validation(cfg, s, c, side, ft_rng_make(0, FT_STREAM_VALIDATION, 0)));
    return add_fold(folds, n, s, side, 0, 0);
}

enum { MOST_FOLDS = 10000 }; /* what a list can name, and settings */

/* The folds of the lists as those that `deal` would make: part 100, 101, ... in order of their numbers. Returns how many. */
static int given_folds(const ft_clipstore *s, int *part, int *of_number)
{
    int k = 0;
    for (int64_t i = 0; i < s->n_video; i++) {
        if (!*s->video[i].split)
            return FT_FAIL(FT_EDATA, "%s: %s is in no fold, others are. Give every video one, or none", s->path,
                           s->video[i].name);
        part[i] = atoi(s->video[i].split);
        if (part[i] < 0 || part[i] >= MOST_FOLDS)
            return FT_FAIL(FT_EDATA, "%s: %s is in fold %s; numbers are under %d", s->path, s->video[i].name, s->video[i].split,
                           MOST_FOLDS);
        of_number[part[i]] = 1;
    }
    for (int n = 0; n < MOST_FOLDS; n++)
        if (of_number[n]) of_number[n] = 100 + k++;
    for (int64_t i = 0; i < s->n_video; i++) part[i] = of_number[part[i]];
    if (k < 2) return FT_FAIL(FT_EDATA, "%s: all videos are in one fold", s->path);
    ft_log("cross-validation over the %d folds of the list", k);
    return k;
}

/* Lists of train and test videos have no place among folds that are dealt: said, as somebody meant them. */
static void say_unused(const ft_clipstore *s)
{
    for (int64_t i = 0; i < s->n_video; i++)
        if (*s->video[i].split) {
            ft_warn("%s: its lists (%s is in '%s') are not used by cross-validation, which deals folds of its own. evaluation: "
                    "test-list "
                    "uses them",
                    s->path, s->video[i].name, s->video[i].split);
            return;
        }
}

static int cross_validation(ft_fold **folds, int *n, const ft_config *cfg, const ft_clipstore *s, const ft_classes *c, int *side)
{
    int k = (int)ft_config_int(cfg, "folds"), repeats = (int)ft_config_int(cfg, "splits"),
        *part = ft_alloc((size_t)(s->n_video + 1) * sizeof *part), *of_number = ft_alloc_n(MOST_FOLDS, sizeof *of_number),
        rc = FT_OK;
    bool given = numbered(s);
    double *share = ft_alloc_n(MOST_FOLDS, sizeof *share);
    if (!part || !share || !of_number) rc = FT_FAIL(FT_ENOMEM, "no memory for folds");
    if (rc == FT_OK && given) rc = k = given_folds(s, part, of_number);
    else if (rc == FT_OK) say_unused(s);
    if (rc > 0) rc = FT_OK;
    for (int i = 0; rc == FT_OK && i < k; i++) share[i] = 1.0 / k;
    for (int repeat = 0; rc == FT_OK && repeat < repeats; repeat++) {
        for (int64_t i = 0; i < s->n_video && !given; i++) part[i] = POOL;
        if (!given) rc = deal(s, c, part, POOL, k, share, ft_rng_make(0, FT_STREAM_FOLDS, (uint64_t)repeat));
        for (int fold = 0; rc == FT_OK && fold < k; fold++) {
            for (int64_t i = 0; i < s->n_video; i++) side[i] = part[i] == 100 + fold ? TEST : POOL;
            rc = take_validation(cfg, s, c, side, ft_rng_make(1, FT_STREAM_VALIDATION, (uint64_t)(repeat * k + fold)));
            if (rc == FT_OK) rc = add_fold(folds, n, s, side, repeat, fold);
        }
    }
    ft_free(part);
    ft_free(share);
    ft_free(of_number);
    return rc;
}

static int check_test_list(const ft_clipstore *s, const ft_classes *c, const ft_fold *f)
{
    int64_t count[FT_MAX_CLASSES] = {0};
    for (int64_t i = 0; i < f->test.n; i++)
        for (int k = 0; k < c->n; k++) count[k] += ft_classes_has(c, f->test.video[i], k);
    for (int k = 0; k < c->n; k++)
        if (!count[k])
            return FT_FAIL(FT_EDATA, "%s: no video of class %s in the test list. Use a larger test_fraction, or cross-validation",
                           s->path, c->name[k]);
    return FT_OK;
}

int ft_folds_make(ft_fold **folds, int *n, const ft_config *cfg, const ft_clipstore *s, const ft_classes *c)
{
    *folds = NULL;
    *n = 0;
    leakage l;
    int *side = ft_alloc_n(s->n_video + 1, sizeof *side);
    if (!side) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    int rc = FT_OK;
    for (int k = 0; rc == FT_OK && c->positive == FT_MULTILABEL && k < c->n; k++) rc = check_some_lack(c, s, k);
    bool cv = !strcmp(ft_config_text(cfg, "evaluation"), "cross-validation");
    if (rc == FT_OK) rc = cv ? cross_validation(folds, n, cfg, s, c, side) : test_list(folds, n, cfg, s, c, side);
    for (int i = 0; rc == FT_OK && !cv && i < *n; i++) rc = check_test_list(s, c, &(*folds)[i]);
    if (rc == FT_OK) rc = leakage_make(&l, s);
    if (rc == FT_OK) {
        for (int i = 0; rc == FT_OK && i < *n; i++) rc = check_fold(&l, &(*folds)[i]);
        leakage_free(&l);
    }
    ft_free(side);
    if (rc < 0) ft_folds_free(*folds, *n), *folds = NULL, *n = 0;
    return rc;
}

void ft_folds_free(ft_fold *folds, int n)
{
    for (int i = 0; i < n; i++) {
        ft_free(folds[i].test.video);
        ft_free(folds[i].validation.video);
        ft_free(folds[i].pool.video);
    }
    ft_free(folds);
}

/* ---- label splits ------------------------------------------------------------------------------------------------------- */

/* Equal numbers of each class, as far as a class has that many: the videos of `order` that are chosen. */
static int choose_by_quota(bool *chosen, const int64_t *order, int64_t want, const ft_clipstore *s, const ft_classes *c,
                           const ft_videos *pool)
{
    int64_t have[FT_MAX_CLASSES] = {0}, quota[FT_MAX_CLASSES] = {0}, left = want;
    for (int64_t i = 0; i < pool->n; i++) {
        int k = c->of_video[pool->video[i]];
        if (k >= 0) have[k]++;
    }
    while (left > 0)
        for (int k = 0; k < c->n && left > 0; k++)
            if (quota[k] < have[k]) quota[k]++, left--;
    for (int k = 0; k < c->n; k++)
        if (quota[k] == 0)
            return FT_FAIL(FT_EDATA,
                           "%s: the training pool has no video of class %s. Use fewer folds, or a smaller test_fraction", s->path,
                           c->name[k]);
    for (int64_t i = 0; i < pool->n; i++) {
        int k = c->of_video[pool->video[order[i]]];
        if (k >= 0 && quota[k] > 0) quota[k]--, chosen[order[i]] = true;
    }
    return FT_OK;
}

/* Of sets of classes: again and again the next video with the class (or with none) that so far has the fewest. */
static int choose_in_turn(bool *chosen, const int64_t *order, int64_t want, const ft_clipstore *s, const ft_classes *c,
                          const ft_videos *pool)
{
    int64_t taken[FT_MAX_SET + 1] = {0}, labelled = 0;
    bool spent[FT_MAX_SET + 1] = {false};
    while (labelled < want) {
        int k = -1;
        int64_t i = 0;
        for (int q = 0; q < strata(c); q++)
            if (!spent[q] && (k < 0 || taken[q] < taken[k])) k = q;
        while (i < pool->n && (chosen[order[i]] || !in_stratum(c, pool->video[order[i]], k))) i++;
        spent[k] = i == pool->n; /* not all can be: as many videos as wanted are labelled */
        if (spent[k]) continue;
        chosen[order[i]] = true, labelled++;
        for (int q = 0; q < strata(c); q++) taken[q] += in_stratum(c, pool->video[order[i]], q);
    }
    for (int k = 0; k < c->n; k++)
        if (taken[k] == 0 || taken[k] == labelled)
            return FT_FAIL(FT_EDATA, "%s: %s of the %lld labelled videos of a split have the label %s. Set labels higher%s",
                           s->path, taken[k] ? "all" : "none", (long long)labelled, c->name[k],
                           taken[k] ? "" : ", or use fewer folds or a smaller test_fraction");
    return FT_OK;
}

int ft_split_make(ft_videos *labelled, ft_videos *unlabelled, const ft_config *cfg, const ft_clipstore *s, const ft_classes *c,
                  const ft_fold *fold, int split)
{
    int64_t want = ft_config_int(cfg, "labels"), n = fold->pool.n, total = 0;
    int64_t *order = ft_alloc((size_t)(n + 1) * sizeof *order);
    bool *chosen = ft_alloc((size_t)(n + 1) * sizeof *chosen);
    memset(labelled, 0, sizeof *labelled);
    memset(unlabelled, 0, sizeof *unlabelled);
    labelled->video = ft_alloc((size_t)(n + 1) * sizeof(int64_t));
    unlabelled->video = ft_alloc((size_t)(n + 1) * sizeof(int64_t));
    int rc = order && chosen && labelled->video && unlabelled->video ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for splits");
    for (int64_t i = 0; rc == FT_OK && i < n; i++) {
        order[i] = i;
        total += c->of_video[fold->pool.video[i]] >= 0;
    }
    if (rc == FT_OK && total < want)
        rc = FT_FAIL(FT_EDATA,
                     "%s: %lld labelled videos asked (labels, %s), the training pool has %lld. Set labels: %lld, or add videos",
                     s->path, (long long)want, ft_config_origin(cfg, "labels"), (long long)total, (long long)total);
    if (rc < 0) goto done;
    ft_rng r = ft_rng_make((uint64_t)split, FT_STREAM_LABELLED, (uint64_t)(fold->repeat * 1000 + fold->fold));
    if (!strcmp(ft_config_text(cfg, "labels_from"), "random")) ft_rng_shuffle(&r, order, n);
    FT_TRY_TO(rc, done,
              (c->positive == FT_MULTILABEL ? choose_in_turn : choose_by_quota)(chosen, order, want, s, c, &fold->pool));
    for (int64_t i = 0; i < n; i++) {
        ft_videos *to = chosen[i] ? labelled : unlabelled;
        to->video[to->n++] = fold->pool.video[i];
    }
    rc = check_split(s, fold, labelled, unlabelled);
done:
    ft_free(order);
    ft_free(chosen);
    if (rc < 0) {
        ft_free(labelled->video);
        ft_free(unlabelled->video);
        memset(labelled, 0, sizeof *labelled);
        memset(unlabelled, 0, sizeof *unlabelled);
    }
    return rc;
}

static json_t *names(const ft_clipstore *s, const ft_videos *v)
{
    json_t *a = json_array();
    for (int64_t i = 0; i < v->n; i++) json_array_append_new(a, json_string(s->video[v->video[i]].name));
    return a;
}

int ft_split_save(const char *path, const ft_clipstore *s, const ft_fold *fold, const ft_videos *labelled, int split)
{
    FT_TRY(check_split(s, fold, labelled, NULL));
    json_t *o = json_pack("{s:i,s:i,s:i,s:o,s:o,s:o,s:o,s:s}", "split", split, "repeat", fold->repeat, "fold", fold->fold,
                          "labelled", names(s, labelled), "pool", names(s, &fold->pool), "validation",
                          names(s, &fold->validation), "test", names(s, &fold->test), "leakage",
                          "none: no group of test or validation is in the pool; VAE and generators are trained on the pool only");
    int rc = ft_write_json(path, o, 1);
    json_decref(o);
    return rc;
}

int ft_sides_of_clips(ft_fold *fold, const ft_clipstore *s, const int64_t *clip, int64_t n)
{
    int *side = ft_alloc_n(s->n_video + 1, sizeof *side);
    memset(fold, 0, sizeof *fold);
    if (!side) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    for (int64_t i = 0; i < s->n_video; i++) side[i] = TEST;
    for (int64_t k = 0; k < n; k++) side[s->clip[clip[k]].video] = POOL;
    int rc = collect(&fold->pool, s, side, POOL);
    if (rc == FT_OK) rc = collect(&fold->test, s, side, TEST);
    ft_free(side);
    return rc;
}

int ft_conditions_of(int **of_clip, const ft_clipstore *s, const ft_classes *c, const ft_fold *fold, const ft_videos *labelled,
                     const int64_t *clip, int64_t n)
{
    enum { OUTSIDE, IN_POOL, TOLD };
    *of_clip = NULL;
    FT_TRY(check_split(s, fold, labelled, NULL));
    char *side = ft_alloc_n(s->n_video + 1, sizeof *side);
    if (!side || !(*of_clip = ft_alloc_n(n + 1, sizeof **of_clip))) {
        ft_free(side);
        return FT_FAIL(FT_ENOMEM, "no memory for labels");
    }
    for (int64_t i = 0; i < fold->pool.n; i++) side[fold->pool.video[i]] = IN_POOL;
    for (int64_t i = 0; i < labelled->n; i++) {
        FT_ASSERT(side[labelled->video[i]] == IN_POOL); /* neither of the validation nor of the test list */
        side[labelled->video[i]] = TOLD;
    }
    for (int64_t k = 0; k < n; k++) {
        int64_t v = s->clip[clip[k]].video;
        FT_ASSERT(side[v] != OUTSIDE);
        (*of_clip)[k] = side[v] == TOLD ? c->of_video[v] : -1;
    }
    ft_free(side);
    return FT_OK;
}

int ft_clips_of(const ft_clipstore *s, const ft_videos *v, int64_t **clip, int64_t *n)
{
    return ft_first_clips_of(s, v, 0, clip, n);
}

int ft_first_clips_of(const ft_clipstore *s, const ft_videos *v, int64_t most, int64_t **clip, int64_t *n)
{
    bool *wanted = ft_alloc((size_t)(s->n_video + 1));
    *clip = ft_alloc((size_t)(s->n_clip + 1) * sizeof **clip);
    *n = 0;
    if (!wanted || !*clip) {
        ft_free(wanted);
        ft_free(*clip), *clip = NULL;
        return FT_FAIL(FT_ENOMEM, "no memory for clips");
    }
    for (int64_t i = 0; i < v->n; i++) wanted[v->video[i]] = true;
    for (int64_t i = 0; i < s->n_clip; i++)
        if (wanted[s->clip[i].video]) {
            int64_t last = *n - most; /* a clip of the same video so far back: it has enough */
            if (most == 0 || last < 0 || s->clip[(*clip)[last]].video != s->clip[i].video) (*clip)[(*n)++] = i;
        }
    ft_free(wanted);
    return FT_OK;
}
