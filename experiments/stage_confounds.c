/* What the videos tell without the picture, and test videos that stand in the pool as well: said before anything long starts. */
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/experiment.h"

static int twins_of(const ft_experiment *x, json_t *pairs)
{
    ft_twin *all = NULL;
    int n_all = 0, rc = FT_OK;
    for (int f = 0; rc == FT_OK && f < x->n_folds; f++)
        for (int side = 0; rc == FT_OK && side < 2; side++) {
            ft_twin *t = NULL;
            int n = 0;
            rc = ft_twins(&x->store, &x->folds[f].test, side ? &x->folds[f].validation : &x->folds[f].pool, &t, &n);
            for (int i = 0; rc == FT_OK && i < n; i++) {
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

static int compute(ft_experiment *x, const ft_stage *s, json_t *facts)
{
    ft_confound *c = NULL;
    int n = 0;
    json_t *list = json_array(), *pairs = json_array();
    (void)s;
    json_object_set_new(facts, "confounds", list);
    json_object_set_new(facts, "twins", pairs);
    int rc = ft_confounds(&x->store, &x->classes, &c, &n);
    for (int i = 0; rc == FT_OK && i < n; i++)
        json_array_append_new(list, json_pack("{s:s,s:b,s:i,s:f,s:f,s:b}", "name", c[i].name, "numeric", c[i].numeric, "values",
                                              c[i].values, "strength", c[i].strength, "p", c[i].p, "warn", c[i].warn));
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

int ft_confounds_read(ft_result *r, const ft_stage *stage)
{
    const ft_experiment *x = r->x;
    json_t *facts = ft_stage_facts(stage), *list = json_object_get(facts, "confounds"), *pairs = json_object_get(facts, "twins"),
           *v;
    size_t i;
    int rc = FT_OK;
    json_array_foreach(list, i, v)
    {
        FT_TRY_TO(rc, done, ft_grow(&r->confound, (size_t)r->confounds, sizeof *r->confound));
        ft_confound *c = &r->confound[r->confounds++];
        *c = (ft_confound){.numeric = json_is_true(json_object_get(v, "numeric")),
                           .values = (int)json_integer_value(json_object_get(v, "values")),
                           .strength = json_number_value(json_object_get(v, "strength")),
                           .p = json_number_value(json_object_get(v, "p")),
                           .warn = json_is_true(json_object_get(v, "warn"))};
        snprintf(c->name, sizeof c->name, "%s", json_string_value(json_object_get(v, "name")));
        if (c->warn)
            ft_warn("%s alone tells the class (%s %.2f, p %.3f): a classifier may learn that instead", c->name,
                    c->numeric ? "AUROC" : "balanced accuracy", c->strength, c->p);
    }
    json_array_foreach(pairs, i, v)
    {
        FT_TRY_TO(rc, done, ft_grow(&r->twin, (size_t)r->twins, sizeof *r->twin));
        ft_twin *t = &r->twin[r->twins++];
        *t = (ft_twin){json_integer_value(json_array_get(v, 0)), json_integer_value(json_array_get(v, 1)),
                       json_number_value(json_array_get(v, 2))};
        if (r->twins <= 5)
            ft_warn("%s of a test list shows the same as %s: give both one group", x->store.video[t->a].name,
                    x->store.video[t->b].name);
    }
    if (r->twins > 5) ft_warn("and %d more pairs; the report lists them", r->twins - 5);
done:
    json_decref(facts);
    return rc;
}
