/* Before a long sweep: one stage of every kind and arm with four steps, in a folder of its own. It shows that all of them run
 * (files of weights, clips of others, settings that contradict), how long they take, and how much memory they need. */
#include "experiments/sweep/rehearsal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/folder.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "experiments/stages/work.h"
#include "experiments/sweep/runs.h"

/* At most so much of each setting. */
static const struct {
    const char *key;
    int most;
} little[] = {{"vae.steps", 4},
              {"generator.steps", 4},
              {"generator.first_steps", 2},
              {"generator.sample_steps", 4},
              {"generated", 8},
              {"features.views", 1},
              {"features.frames", 1}, /* of networks of pictures */
              {"classifier.steps", 4},
              {"probe.steps", 4},
              {"looks", 4}};
enum { N_LITTLE = sizeof little / sizeof *little, WORTH = 50 };

static int little_config(ft_config **small, const ft_config *cfg)
{
    FT_TRY(ft_config_copy(small, cfg));
    for (int i = 0; i < N_LITTLE; i++) {
        char setting[80];
        snprintf(setting, sizeof setting, "%s=%d", little[i].key, little[i].most);
        if (ft_config_int(cfg, little[i].key) > little[i].most) FT_TRY(ft_config_set(*small, setting, "rehearsal"));
    }
    return FT_OK;
}

static int key_of(const ft_experiment *x, char hex[65])
{
    static const char *const other[] = {"rehearse", "slurm.cpus", "slurm.options",
                                        "splits",   "seeds",      "bootstrap"}; /* cost nothing */
    json_t *settings = ft_config_json(x->cfg, NULL);
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) json_object_del(settings, other[i]);
    json_t *o = json_pack("{s:s,s:s,s:o}", "code", FT_VERSION, "store", x->store.id, "config", settings);
    return ft_json_sha256(o, hex);
}

int ft_rehearsal_read(ft_experiment *x)
{
    char path[FT_PATH], hex[65];
    size_t i;
    json_t *v;
    snprintf(path, sizeof path, "%s/rehearsal.json", x->dir);
    FT_TRY(key_of(x, hex));
    json_t *o = ft_read_json(path), *list = json_object_get(o, "stages");
    const char *of = json_string_value(json_object_get(o, "of"));
    int rc = FT_OK;
    if (of && !strcmp(of, hex)) json_array_foreach(list, i, v)
        {
            rc = ft_grow(&x->rehearsal, (size_t)x->rehearsed, sizeof *x->rehearsal);
            if (rc < 0) break;
            ft_rehearsed *r = &x->rehearsal[x->rehearsed++];
            const char *kind = json_string_value(json_object_get(v, "stage")),
                       *label = json_string_value(json_object_get(v, "arm"));
            snprintf(r->kind, sizeof r->kind, "%s", kind ? kind : "");
            snprintf(r->label, sizeof r->label, "%s", label ? label : "");
            r->seconds = json_number_value(json_object_get(v, "seconds"));
            r->work = json_number_value(json_object_get(v, "work"));
            r->unit_seconds = json_number_value(json_object_get(v, "unit_seconds"));
            r->memory_mib = json_number_value(json_object_get(v, "memory_mib"));
            r->gpu_mib = json_number_value(json_object_get(v, "gpu_memory_mib"));
        }
    json_decref(o);
    return rc;
}

static int write(ft_experiment *x, const ft_experiment *small)
{
    char path[FT_PATH], hex[65];
    json_t *list = json_array();
    FT_TRY(key_of(x, hex));
    for (int i = 0; i < small->stages; i++) {
        const ft_stage *s = small->stage[i];
        double work = ft_stage_work(s);
        double unit = !s->kind->work ? 0 : s->unit_seconds > 0 ? s->unit_seconds : s->seconds / work;
        json_array_append_new(list, json_pack("{s:s,s:s,s:f,s:f,s:f,s:f,s:f}", "stage", s->kind->name, "arm", s->label, "seconds",
                                              s->seconds, "work", work, "unit_seconds", unit, "memory_mib", s->memory_mib,
                                              "gpu_memory_mib", s->gpu_mib));
    }
    json_t *o = json_pack("{s:s,s:o}", "of", hex, "stages", list);
    snprintf(path, sizeof path, "%s/rehearsal.json", x->dir);
    int rc = ft_write_json(path, o, 1);
    json_decref(o);
    return rc;
}

/* a small experiment in DIR/rehearsal with the same videos: the first split, seed and fold of every arm */
static int perform(ft_result *r, const char *dir)
{
    ft_experiment small = *r->x;
    ft_result all = {.x = &small, .n = 0, .arm = ft_alloc(sizeof *all.arm * (size_t)r->n)};
    int rc = all.arm ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for arms");
    small.stage = NULL, small.stages = small.computed = 0;
    small.n_folds = 1;
    snprintf(small.dir, sizeof small.dir, "%s", dir);
    for (int i = 0; rc == FT_OK && i < r->n; i++) {
        ft_arm_result *a = &all.arm[all.n++];
        snprintf(a->arm, sizeof a->arm, "%s", r->arm[i].arm);
        snprintf(a->name, sizeof a->name, "%s", r->arm[i].name);
        rc = little_config(&a->cfg, r->arm[i].cfg);
        if (rc == FT_OK) a->opt = ft_arm_options_of(a->cfg), rc = ft_run_plan(&small, a, 0, 0);
    }
    bool before = ft_log_quiet(true);
    if (rc == FT_OK) rc = ft_experiment_work(&small, NULL);
    ft_log_quiet(before);
    if (rc == FT_OK) rc = write(r->x, &small);
    ft_stages_free(&small);
    for (int i = 0; i < all.n; i++) {
        ft_runs_free(&all.arm[i]);
        ft_config_free(all.arm[i].cfg);
    }
    ft_free(all.arm);
    return rc;
}

static bool alike(const ft_stage *a, const ft_stage *b) { return a->kind == b->kind && !strcmp(a->label, b->label); }

/* Is what is left, of kinds whose time no finished stage tells, so much more than a rehearsal that nobody will notice it? */
static bool worth_it(ft_experiment *x)
{
    double steps = 0;
    int kinds = 0;
    for (int i = 0; i < x->stages; i++) ft_stage_look(x, x->stage[i]);
    for (int i = 0; i < x->stages; i++) {
        const ft_stage *s = x->stage[i];
        bool known = s->state == FT_STAGE_DONE || !s->kind->work, new = true;
        for (int k = 0; !known && k < x->stages; k++) {
            known |= x->stage[k]->state == FT_STAGE_DONE && alike(s, x->stage[k]);
            new &= k >= i || !alike(s, x->stage[k]);
        }
        if (known) continue;
        kinds += new;
        steps += ft_stage_work(s);
    }
    return steps > kinds * 4.0 * WORTH;
}

/* Says how long it all takes, and refuses what cannot fit. */
static int judge(ft_experiment *x)
{
    double all = 0, most = 0, gpu_most = 0, total = ft_memory_total(), gpu_total = 0;
    const ft_device *device = ft_backend_now()->device;
    if (device) device->memory(&gpu_total);
    for (int i = 0; i < x->stages; i++) {
        const ft_stage *s = x->stage[i];
        double memory, seconds = ft_stage_expected(x, s, &memory);
        if (s->state == FT_STAGE_DONE) continue;
        all += isnan(seconds) ? 0 : seconds; /* small ones that no rehearsal knows */
        most = fmax(most, memory);
        double gpu = ft_stage_gpu_memory(x, s);
        gpu_most = fmax(gpu_most, gpu);
        if (device && gpu > gpu_total)
            return FT_FAIL(FT_ENOMEM,
                           "the stage %s of %s needs %.0f MiB of the GPU's memory, which has %.0f. Lower its batch, or data.size",
                           s->kind->name, s->label, gpu, gpu_total);
        if (memory > total)
            return FT_FAIL(FT_ENOMEM,
                           "the stage %s of %s needs %.0f MiB of memory, this machine has %.0f. Lower its batch, or data.size",
                           s->kind->name, s->label, memory, total);
    }
    char time[32];
    ft_show_time(time, sizeof time, all);
    if (gpu_most > 0) ft_log("about %s of work, at most %.0f MiB for a stage, and %.0f of the GPU's", time, most, gpu_most);
    else ft_log("about %s of work, at most %.0f MiB for a stage", time, most);
    return FT_OK;
}

int ft_rehearse(ft_result *r)
{
    ft_experiment *x = r->x;
    char dir[sizeof x->dir];
    ft_lease *lease;
    const char *when = ft_config_text(x->cfg, "rehearse");
    FT_TRY(ft_rehearsal_read(x));
    if (x->rehearsed == 0) {
        if (!strcmp(when, "never") || (!strcmp(when, "auto") && !worth_it(x))) return FT_OK;
        snprintf(dir, sizeof dir, "%.*s/rehearsal", FT_PATH_GIVEN, x->dir);
        FT_TRY(ft_lease_take(x->dir, true, &lease)); /* one process rehearses; the others wait for what it finds */
        int rc = ft_rehearsal_read(x);               /* another process may have done it just now */
        if (rc == FT_OK && x->rehearsed == 0) {
            ft_log("rehearsal: every kind of stage with a few steps");
            rc = ft_folder_make(dir);
            if (rc == FT_OK) rc = perform(r, dir);
            if (rc == FT_OK) rc = ft_rehearsal_read(x);
            int removed = ft_folder_remove(dir, NULL);
            if (rc == FT_OK) rc = removed;
        }
        ft_lease_drop(lease);
        FT_TRY(rc);
    }
    return judge(x);
}
