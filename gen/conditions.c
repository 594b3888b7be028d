#include "gen/conditions.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/ranks.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/base/streams.h"

int ft_conditions_wanted(const ft_config *cfg, bool *wanted)
{
    const char *key = "generator.condition", *where = ft_config_origin(cfg, key);
    *wanted = !ft_config_is(cfg, key, "none");
    if (!*wanted && ft_config_real(cfg, "generator.class_guidance") != 1)
        return FT_FAIL(FT_ECONFIG, "%s: generator.class_guidance leads to a class, and without %s: labels there is none",
                       ft_config_origin(cfg, "generator.class_guidance"), key);
    if (!*wanted) return FT_OK;
    if (ft_image_options(cfg).n > 0)
        return FT_FAIL(FT_ECONFIG,
                       "%s: %s: images of other videos beside a clip would be told its class. Set generator.images: 0", where,
                       key);
    if (ft_config_bool(cfg, "data.multilabel") && !*ft_config_text(cfg, "positive"))
        return FT_FAIL(FT_ECONFIG,
                       "%s: %s: a clip has one class, and videos here have several labels (data.multilabel). positive: NAME "
                       "makes two classes of one label",
                       where, key);
    return FT_OK;
}

bool ft_label_dropped(uint64_t seed, int64_t draw, double share)
{
    ft_rng r = ft_rng_make(seed, FT_STREAM_CLASS_DROP, (uint64_t)draw);
    return ft_rng_uniform(&r) < share;
}

int ft_conditions_shuffle(int *of_clip, const ft_clip_pool *pool, int classes, uint64_t seed)
{
    ft_rng r = ft_rng_make(seed, FT_STREAM_SHUFFLED_LABELS, 0);
    int64_t *first = ft_alloc_n(pool->n + 1, sizeof *first); /* of each labelled video its first clip, class after class */
    if (!first) return FT_FAIL(FT_ENOMEM, "no memory for labels");
    int64_t n = 0;
    for (int c = 0; c < classes; c++) {
        int64_t from = n, last = -1;
        for (int64_t k = 0; k < pool->n; k++) {
            int64_t video = pool->store->clip[pool->clip[k]].video;
            if (of_clip[k] == c && video != last) first[n++] = k, last = video;
        }
        ft_rng_shuffle(&r, first + from, n - from);
    }
    int *told = ft_alloc_n(n + 1, sizeof *told);
    if (!told) return ft_free(first), FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0, of = -1, j = 0; i < n; i++, j++) {
        if (of_clip[first[i]] != of) of = of_clip[first[i]], j = of;
        told[i] = (int)(j % classes);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = first[i], video = pool->store->clip[pool->clip[k]].video; k < pool->n; k++) {
            if (pool->store->clip[pool->clip[k]].video != video) break;
            of_clip[k] = told[i];
        }
    ft_free(told);
    ft_free(first);
    return FT_OK;
}

static int save(const ft_conditions *c, const ft_clip_pool *pool, const char *path)
{
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    fprintf(t.f, "video,label%s\n", c->pseudo ? ",source" : "");
    for (int64_t k = 0, last = -1; k < pool->n; k++) {
        int64_t video = pool->store->clip[pool->clip[k]].video;
        if (c->of_clip[k] < 0 || video == last) continue;
        ft_csv_field(t.f, pool->store->video[video].name);
        fputc(',', t.f);
        ft_csv_field(t.f, c->name[c->of_clip[k]]);
        fprintf(t.f, "%s\n", !c->pseudo ? "" : c->pseudo[k] ? ",pseudo-label" : ",label");
        last = video;
    }
    return ft_text_write(&t, path);
}

int ft_conditions_take(const ft_conditions *c, const ft_clip_pool *pool, const char *dir)
{
    char path[1200];
    int64_t known = 0;
    if (!c || c->n == 0) return FT_OK;
    for (int64_t k = 0; k < pool->n; k++) known += c->of_clip[k] >= 0;
    if (known == 0) return FT_FAIL(FT_EDATA, "%s: no clip of the pool has a label to be told", pool->store->path);
    snprintf(path, sizeof path, "%s/conditions.csv", dir);
    return ft_this_rank() == 0 ? save(c, pool, path) : FT_OK;
}

char *ft_conditions_text(const ft_conditions *c)
{
    ft_text t;
    if (ft_text_begin(&t) < 0) return NULL;
    for (int k = 0; k < c->n; k++) fprintf(t.f, "%s%s", k ? "\n" : "", c->name[k]);
    char *text = ft_text_end(&t) < 0 ? NULL : ft_strdup(t.text);
    ft_text_free(&t);
    return text;
}

void ft_class_names_free(ft_class_names *c)
{
    for (int i = 0; i < c->n; i++) ft_free(c->name[i]);
    ft_free(c->name);
    memset(c, 0, sizeof *c);
}

static int add_name(ft_class_names *c, const char *name, size_t n, const char *path)
{
    FT_TRY(ft_check_name(name, n, path, "the class"));
    FT_TRY(ft_grow(&c->name, (size_t)c->n, sizeof *c->name));
    char *copy = ft_format("%.*s", (int)n, name);
    if (!copy) return FT_FAIL(FT_ENOMEM, "no memory for classes");
    c->name[c->n++] = copy;
    return FT_OK;
}

int ft_class_names_read(ft_class_names *c, const char *dir)
{
    enum { MOST = 1024 };
    char path[1200], *text;
    size_t size;
    memset(c, 0, sizeof *c);
    snprintf(path, sizeof path, "%s/run.json", dir);
    if (!ft_exists(path)) return FT_OK; /* weights alone: if they have classes, they do not fit */
    FT_TRY(ft_read_file(path, 1u << 20, &text, &size));
    json_t *run = json_loads(text, 0, NULL);
    const char *at = json_string_value(json_object_get(run, "classes"));
    int rc = run ? FT_OK : FT_FAIL(FT_EDATA, "%s: is damaged", path);
    ft_free(text);
    for (size_t n; rc == FT_OK && at && *at; at += n + (at[n] == '\n')) {
        n = strcspn(at, "\n");
        rc = n > 0 && c->n < MOST ? add_name(c, at, n, path) : FT_FAIL(FT_EDATA, "%s: is damaged", path);
    }
    json_decref(run);
    if (rc < 0) ft_class_names_free(c);
    return rc;
}

int ft_class_names_find(const ft_class_names *c, const char *name, const char *dir, int *class)
{
    char list[600] = "";
    size_t at = 0;
    *class = -1;
    if (!name) return FT_OK;
    if (c->n == 0)
        return FT_FAIL(FT_ECONFIG,
                       "%s: the generator knows no classes: it was trained with generator.condition: none. With labels it would",
                       dir);
    for (int i = 0; i < c->n; i++) {
        if (!strcmp(c->name[i], name)) return *class = i, FT_OK;
        if (at < sizeof list) at += (size_t)snprintf(list + at, sizeof list - at, "%s%s", i ? ", " : "", c->name[i]);
    }
    return FT_FAIL(FT_ECONFIG, "%s: the generator knows no class %s. Its classes are %s", dir, name, list);
}
