#include "experiments/data/classes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/labels.h"

typedef struct {
    const char *const *map; /* "LABEL: CLASS" */
    int n_map;
    const char *positive, *positive_from; /* "": not said; where it is, for messages */
    bool multilabel;
} class_opt;

static class_opt class_options(const ft_config *cfg)
{
    class_opt o = {.positive = ft_config_text(cfg, "positive"),
                   .positive_from = ft_config_origin(cfg, "positive"),
                   .multilabel = ft_config_bool(cfg, "data.multilabel")};
    o.n_map = ft_config_list(cfg, "data.map", &o.map);
    return o;
}

static const char *mapped(const class_opt *o, const char *label)
{
    size_t length = strlen(label);
    for (int i = 0; i < o->n_map; i++)
        if (!strncmp(o->map[i], label, length) && !strncmp(o->map[i] + length, ": ", 2)) return o->map[i] + length + 2;
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
static char *next_part(const class_opt *o, const char **at, int *rc)
{
    size_t n;
    const char *part = ft_label_part(at, &n);
    char *one = part ? ft_format("%.*s", (int)n, part) : NULL, *name = one ? ft_strdup(mapped(o, one)) : NULL;
    ft_free(one);
    if (part && !name) *rc = FT_FAIL(FT_ENOMEM, "no memory for classes");
    return name;
}

static int names_of_sets(ft_classes *c, const class_opt *o, const ft_clipstore *store)
{
    int rc = FT_OK;
    for (int64_t i = 0; rc == FT_OK && i < store->n_video; i++) {
        const char *at = store->video[i].label;
        for (char *name; rc == FT_OK && (name = next_part(o, &at, &rc)); ft_free(name))
            rc = add_class(c, name, FT_MAX_SET, store->path);
    }
    return rc;
}

/* bits of every video */
static int sets_of_videos(ft_classes *c, const class_opt *o, const ft_clipstore *store)
{
    int rc = FT_OK;
    for (int64_t i = 0; rc == FT_OK && i < store->n_video; i++) {
        const char *at = store->video[i].label;
        c->of_video[i] = *at ? 0 : -1;
        for (char *name; rc == FT_OK && (name = next_part(o, &at, &rc)); ft_free(name))
            if (index_of(c, name) >= 0) c->of_video[i] |= 1 << index_of(c, name);
    }
    return rc;
}

int ft_classes_check_some_lack(const ft_classes *c, const ft_clipstore *store, int class)
{
    for (int64_t i = 0; i < store->n_video; i++)
        if (c->of_video[i] >= 0 && !ft_classes_has(c, i, class)) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: all labelled videos have the label %s: there is nothing to tell apart", store->path,
                   c->name[class]);
}

/* `positive` of several labels: who has it, and who does not */
static int one_of_sets(ft_classes *c, const class_opt *o, const ft_clipstore *store)
{
    int p = index_of(c, o->positive);
    if (p < 0)
        return FT_FAIL(FT_ECONFIG, "%s: positive is %s, which no video of %s has", o->positive_from, o->positive, store->path);
    FT_TRY(ft_classes_check_some_lack(c, store, p));
    char *without = ft_format("no %s", o->positive), *with = ft_strdup(o->positive);
    for (int64_t i = 0; i < store->n_video; i++)
        if (c->of_video[i] >= 0) c->of_video[i] = c->of_video[i] >> p & 1;
    for (int k = 0; k < c->n; k++) ft_free(c->name[k]);
    c->n = 2, c->positive = 1; /* ft_grow gave room for more */
    c->name[0] = without, c->name[1] = with;
    return without && with ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for classes");
}

static int classes_of_sets(ft_classes *c, const class_opt *o, const ft_clipstore *store)
{
    c->positive = FT_MULTILABEL;
    FT_TRY(names_of_sets(c, o, store));
    if (c->n == 0) return FT_FAIL(FT_EDATA, "%s: no video has a label: check the column label and data.map", store->path);
    qsort(c->name, (size_t)c->n, sizeof *c->name, by_text);
    FT_TRY(sets_of_videos(c, o, store));
    if (*o->positive) return one_of_sets(c, o, store);
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
    if (c->positive != FT_MULTILABEL) return ft_strdup(label < 0 ? "" : c->name[label]);
    return ft_label_of_bits((const char *const *)c->name, c->n, label, FT_NO_LABEL);
}

int ft_classes_make(ft_classes *c, const ft_config *cfg, const ft_clipstore *store)
{
    class_opt o = class_options(cfg);
    memset(c, 0, sizeof *c);
    int rc = FT_OK;
    c->of_video = ft_alloc((size_t)(store->n_video + 1) * sizeof *c->of_video);
    if (!c->of_video) return FT_FAIL(FT_ENOMEM, "no memory for classes");
    if (o.multilabel) {
        rc = classes_of_sets(c, &o, store);
        if (rc < 0) ft_classes_free(c);
        return rc;
    }
    for (int64_t i = 0; i < store->n_video && rc == FT_OK; i++)
        rc = add_class(c, mapped(&o, store->video[i].label), FT_MAX_CLASSES, store->path);
    if (rc == FT_OK && c->n < 2)
        rc = FT_FAIL(FT_EDATA, "%s: %s%s. A classifier needs two classes: check the column label and data.map", store->path,
                     c->n ? "all videos have the label " : "no video has a label", c->n ? c->name[0] : "");
    if (rc == FT_OK) {
        qsort(c->name, (size_t)c->n, sizeof *c->name, by_text);
        c->positive = *o.positive ? index_of(c, o.positive) : c->n - 1;
        if (c->positive < 0)
            rc = FT_FAIL(FT_ECONFIG, "%s: positive is %s; the classes are %s, %s%s", o.positive_from, o.positive, c->name[0],
                         c->name[1], c->n > 2 ? ", ..." : "");
    }
    for (int64_t i = 0; rc == FT_OK && i < store->n_video; i++) {
        c->of_video[i] = index_of(c, mapped(&o, store->video[i].label));
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

int ft_classes_strata(const ft_classes *c) { return c->n + (c->positive == FT_MULTILABEL); }

bool ft_classes_in_stratum(const ft_classes *c, int64_t video, int k)
{
    return k < c->n ? ft_classes_has(c, video, k) : c->of_video[video] == 0;
}
