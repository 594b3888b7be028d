/* What the videos tell without the picture, and test videos that stand in the pool as well: said before anything long starts. */
#include "experiments/stages/stage_confounds.h"

#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/stage_data.h"

static int twins_of(const ft_experiment *x, json_t *pairs)
{
    ft_twin *all = NULL;
    int n_all = 0, rc = FT_OK;
    for (int f = 0; rc == FT_OK && n_all < FT_TWINS_MOST && f < x->n_folds; f++)
        for (int side = 0; rc == FT_OK && side < 2; side++) {
            ft_twin *t = NULL;
            int n = 0;
            rc = ft_twins(&x->store, &x->folds[f].test, side ? &x->folds[f].validation : &x->folds[f].pool, &t, &n);
            for (int i = 0; rc == FT_OK && n_all < FT_TWINS_MOST && i < n; i++) {
                bool known = false;
                for (int k = 0; k < n_all; k++)
                    known |= (all[k].a == t[i].a && all[k].b == t[i].b) || (all[k].a == t[i].b && all[k].b == t[i].a);
                if (known) continue;
                rc = ft_grow(&all, (size_t)n_all, sizeof *all);
                if (rc == FT_OK) all[n_all++] = t[i];
            }
            ft_free(t);
        }
    for (int i = 0; i < n_all; i++)
        json_array_append_new(pairs, json_pack("[I,I,f]", (json_int_t)all[i].a, (json_int_t)all[i].b, all[i].difference));
    ft_free(all);
    return rc;
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    ft_confound *c = NULL;
    int n = 0;
    json_t *list = json_array(), *pairs = json_array();
    (void)s;
    json_object_set_new(facts, "confounds", list);
    json_object_set_new(facts, "twins", pairs);
    int rc = ft_confounds(&x->store, &x->classes, &c, &n);
    for (int i = 0; rc == FT_OK && i < n; i++)
        json_array_append_new(list, json_pack("{s:s,s:i,s:b,s:i,s:f,s:f,s:b}", "name", c[i].name, "class", c[i].told, "numeric",
                                              c[i].numeric, "values", c[i].values, "strength", c[i].strength, "p", c[i].p, "warn",
                                              c[i].warn));
    ft_free(c);
    return rc == FT_OK ? twins_of(x, pairs) : rc;
}
static const ft_stage_kind confounds = {"confounds", compute, NULL};

int ft_stage_confounds(ft_experiment *x, ft_stage **stage)
{
    json_t *about = json_array(); /* all that the checks look at, beside the pictures */
    for (int64_t i = 0; i < x->store.n_video; i++) {
        const ft_store_video *v = &x->store.video[i];
        json_array_append_new(
            about, json_pack("[i,i,f,s,s]", x->classes.of_video[i], (int)v->frames, v->fps, v->sha256, v->facts ? v->facts : ""));
    }
    for (int f = 0; f < x->n_folds; f++) {
        json_array_append_new(about, ft_video_names(&x->store, &x->folds[f].test));
        json_array_append_new(about, ft_video_names(&x->store, &x->folds[f].validation));
        json_array_append_new(about, ft_video_names(&x->store, &x->folds[f].pool));
    }
    json_t *key = json_pack("{s:s,s:i,s:o}", "store", x->store.id, "positive", x->classes.positive, "about", about);
    return ft_stage_add(x, &(ft_stage){.kind = &confounds, .cfg = x->cfg, .arm = "", .label = "", .file = ""}, key, stage);
}

static int damaged(const ft_stage *stage)
{
    return FT_FAIL(FT_EDATA, "%s: what it found is damaged. Remove this folder, and it is computed again", stage->folder);
}

static int read_confound(ft_findings *f, const ft_experiment *x, const ft_stage *stage, const json_t *v)
{
    const char *name = json_string_value(json_object_get(v, "name"));
    json_t *class = json_object_get(v, "class"); /* stages of earlier versions: the positive one */
    int64_t k = json_is_integer(class) ? json_integer_value(class) : x->classes.positive;
    if (!name || strlen(name) > FT_NAME_MOST || k < 0 || k >= x->classes.n) return damaged(stage);
    FT_TRY(ft_grow(&f->confound, (size_t)f->confounds, sizeof *f->confound));
    ft_confound *c = &f->confound[f->confounds++];
    *c = (ft_confound){.told = (int)k,
                       .numeric = json_is_true(json_object_get(v, "numeric")),
                       .values = (int)json_integer_value(json_object_get(v, "values")),
                       .strength = json_number_value(json_object_get(v, "strength")),
                       .p = json_number_value(json_object_get(v, "p")),
                       .warn = json_is_true(json_object_get(v, "warn"))};
    snprintf(c->name, sizeof c->name, "%s", name);
    if (c->warn)
        ft_warn("%s alone tells the class%s%s (%s %.2f, p %.3f): a classifier may learn that instead", c->name,
                x->classes.positive == FT_MULTILABEL ? " " : "", x->classes.positive == FT_MULTILABEL ? x->classes.name[k] : "",
                c->numeric ? "AUROC" : "balanced accuracy", c->strength, c->p);
    return FT_OK;
}

static int read_twin(ft_findings *f, const ft_experiment *x, const ft_stage *stage, const json_t *v)
{
    const ft_clipstore *s = &x->store;
    ft_twin t = {json_integer_value(json_array_get(v, 0)), json_integer_value(json_array_get(v, 1)),
                 json_number_value(json_array_get(v, 2))};
    if (t.a < 0 || t.a >= s->n_video || t.b < 0 || t.b >= s->n_video) return damaged(stage);
    FT_TRY(ft_grow(&f->twin, (size_t)f->twins, sizeof *f->twin));
    f->twin[f->twins++] = t;
    if (f->twins <= 5)
        ft_warn("%s of a test list shows the same as %s: give both one group", s->video[t.a].name, s->video[t.b].name);
    return FT_OK;
}

int ft_findings_read(ft_findings *f, const ft_experiment *x, const ft_stage *stage)
{
    json_t *facts = ft_stage_facts(stage), *list = json_object_get(facts, "confounds"), *pairs = json_object_get(facts, "twins"),
           *v;
    size_t i;
    int rc = json_is_array(list) && json_is_array(pairs) ? FT_OK : damaged(stage);
    json_array_foreach(list, i, v) if (rc == FT_OK) rc = read_confound(f, x, stage, v);
    json_array_foreach(pairs, i, v) if (rc == FT_OK) rc = read_twin(f, x, stage, v);
    json_decref(facts);
    if (rc == FT_OK && f->twins > 5)
        ft_warn("and %s%d more pairs; the report lists them", f->twins == FT_TWINS_MOST ? "at least " : "", f->twins - 5);
    return rc;
}

void ft_findings_free(ft_findings *f)
{
    ft_free(f->confound);
    ft_free(f->twin);
}
