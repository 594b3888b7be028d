#include "experiments/stages/stage.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/base/threads.h"
#include "experiments/stages/environment.h"

/* Revision of what a stage computes: raise it when the same settings would give another result. */
static const char code_version[] = FT_VERSION "/11";

/* ---- the graph ----------------------------------------------------------------------------------------------------------- */

static int key_of(const ft_stage *s, json_t *key, char hex[65])
{
    json_t *needs = json_array();
    for (int i = 0; i < s->needs; i++) json_array_append_new(needs, json_string(s->need[i]->name));
    return ft_json_sha256(
        json_pack("{s:s,s:s,s:o,s:o}", "stage", s->kind->name, "code", code_version, "key", key, "needs", needs), hex);
}

/* Which failure it is, whatever the clocks say; "": there is none. */
static void failure_of(const ft_stage *s, char out[40])
{
    char path[FT_PATH];
    struct stat st;
    ft_stage_file(path, s, "failed.json");
    *out = 0;
    if (stat(path, &st) == 0)
        snprintf(out, 40, "%llu-%llx.%lx", (unsigned long long)st.st_ino, (unsigned long long)st.st_mtim.tv_sec,
                 (unsigned long)st.st_mtim.tv_nsec);
}

/* Every setting that a key names, however deep */
static void open_named(ft_config *scope, const json_t *key)
{
    const char *name;
    json_t *v;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)key, name, v)
    {
        ft_config_open(scope, name);
        open_named(scope, v);
    }
    json_array_foreach(key, i, v) open_named(scope, v);
}

static int scope_of(const ft_stage *s, const json_t *key, ft_config **own)
{
    FT_TRY(ft_config_scope(own, s->cfg));
    open_named(*own, key);
    for (const char *const *k = s->by_content; k && *k; k++) ft_config_open(*own, *k);
    for (int i = 0; i < s->needs; i++) ft_config_open_like(*own, s->need[i]->own);
    return FT_OK;
}

static int add(ft_experiment *x, const ft_stage *like, const json_t *key, ft_stage **stage)
{
    char hex[65], name[64];
    FT_TRY(key_of(like, json_incref((json_t *)(uintptr_t)key), hex));
    snprintf(name, sizeof name, "%.40s-%.16s", like->kind->name, hex);
    for (int i = 0; i < x->stages; i++)
        if (!strcmp(x->stage[i]->name, name)) return *stage = x->stage[i], FT_OK;
    FT_TRY(ft_grow(&x->stage, (size_t)x->stages, sizeof(ft_stage *)));
    ft_stage *s = *stage = ft_alloc(sizeof *s);
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory for stages");
    *s = *like;
    int rc = scope_of(s, key, &s->own);
    if (rc < 0) return ft_free(s), rc;
    memcpy(s->name, name, sizeof name);
    snprintf(s->folder, sizeof s->folder, "%s/runs/%s", x->dir, name);
    if (!x->look_only) failure_of(s, s->old_failure);
    x->stage[x->stages++] = s;
    return FT_OK;
}

int ft_stage_add(ft_experiment *x, const ft_stage *like, json_t *key, ft_stage **stage)
{
    int rc = add(x, like, key, stage);
    json_decref(key);
    return rc;
}

void ft_stages_free(ft_experiment *x)
{
    for (int i = 0; i < x->stages; i++) {
        ft_config_free(x->stage[i]->own);
        ft_free(x->stage[i]);
    }
    ft_free(x->stage);
}

int ft_key_settings(const ft_config *cfg, const char *const *prefix, json_t **settings)
{
    json_t *o = *settings = ft_config_json(cfg, prefix), *v;
    const char *name;
    void *next;
    json_object_foreach_safe(o, next, name, v)
    {
        const char *tail = strrchr(name, '.'), *path = json_string_value(v);
        char hex[65];
        if (!tail || !path || !*path || !strstr(tail, "weights")) continue;
        int rc = ft_sha256_file(path, hex);
        if (rc < 0) {
            json_decref(o);
            *settings = NULL;
            return rc;
        }
        json_object_set_new(o, name, json_string(hex));
    }
    return FT_OK;
}

void ft_stage_file(char path[FT_PATH], const ft_stage *s, const char *name)
{
    snprintf(path, FT_PATH, "%.1100s/%s", s->folder, name);
}

json_t *ft_stage_facts(const ft_stage *s)
{
    char path[FT_PATH];
    ft_stage_file(path, s, "done.json");
    return ft_read_json(path);
}

double ft_stage_number(const ft_stage *s, const char *name)
{
    json_t *facts = s ? ft_stage_facts(s) : NULL, *v = json_object_get(facts, name);
    double x = json_is_number(v) ? json_number_value(v) : NAN;
    json_decref(facts);
    return x;
}

void ft_stage_error(const ft_stage *s, char text[1024])
{
    char path[FT_PATH];
    ft_stage_file(path, s, "failed.json");
    json_t *o = ft_read_json(path);
    const char *why = json_string_value(json_object_get(o, "error"));
    snprintf(text, 1024, "%s", why ? why : path);
    json_decref(o);
}

ft_stage_state ft_stage_look(const ft_experiment *x, ft_stage *s)
{
    char failure[40];
    if (s->state != FT_STAGE_LEFT) return s->state;
    json_t *facts = ft_stage_facts(s), *spent = json_object_get(facts, "spent");
    if (facts) {
        s->seconds = json_number_value(json_object_get(spent, "seconds"));
        s->unit_seconds = json_number_value(json_object_get(spent, "unit_seconds"));
        s->memory_mib = json_number_value(json_object_get(spent, "memory_mib"));
        s->gpu_mib = json_number_value(json_object_get(spent, "gpu_memory_mib"));
        s->teraflop = json_number_value(json_object_get(spent, "teraflop"));
        s->joules = json_number_value(json_object_get(spent, "joules"));
        json_decref(facts);
        return s->state = FT_STAGE_DONE;
    }
    failure_of(s, failure);
    if (*failure && strcmp(failure, s->old_failure)) return s->state = FT_STAGE_FAILED;
    for (int i = 0; i < s->needs; i++) {
        ft_stage_state is = ft_stage_look(x, s->need[i]);
        if (is == FT_STAGE_FAILED || is == FT_STAGE_BLOCKED) return s->state = FT_STAGE_BLOCKED;
    }
    return FT_STAGE_LEFT;
}

/* ---- computing ----------------------------------------------------------------------------------------------------------- */

static int write_json(const ft_stage *s, const char *name, const json_t *o)
{
    char path[FT_PATH];
    ft_stage_file(path, s, name);
    return ft_write_json(path, o, 1);
}

/* what the training loop notes of itself */
static void add_run(const ft_stage *s, json_t *spent)
{
    static const char *const names[] = {"unit_seconds", "teraflop"};
    char path[FT_PATH];
    ft_stage_file(path, s, "run.json");
    json_t *run = ft_read_json(path);
    for (int i = 0; i < 2; i++)
        if (json_object_get(run, names[i])) json_object_set(spent, names[i], json_object_get(run, names[i]));
    json_decref(run);
}

static json_t *spent_of(const ft_stage *s, double start, double joules)
{
    char host[80] = "";
    double now = ft_joules();
    gethostname(host, sizeof host - 1);
    json_t *o = json_pack("{s:f,s:I,s:i,s:s}", "seconds", ft_now() - start, "memory_mib", (json_int_t)ft_peak_memory(), "threads",
                          ft_threads_get(), "host", host);
    const ft_device *gpu = ft_backend_now()->device;
    if (gpu) json_object_set_new(o, "gpu_memory_mib", json_real(gpu->most(false)));
    if (now > joules) json_object_set_new(o, "joules", json_real(now - joules)); /* of the whole machine */
    add_run(s, o);
    return o;
}

static int compute(ft_experiment *x, ft_stage *s, const ft_lease *lease)
{
    bool kept;
    char path[FT_PATH];
    double start = ft_now(), joules = ft_joules();
    json_t *facts = json_object();
    ft_peak_memory_reset();
    if (ft_backend_now()->device) ft_backend_now()->device->most(true);
    ft_stage_file(path, s, "failed.json");
    FT_TRY(ft_remove_file(path));
    ft_stage_file(path, s, "log.txt");
    ft_log_copy(path);
    ft_experiment scoped = *x; /* a setting that no key holds is not read, wherever one looks for it */
    scoped.cfg = s->own;
    int rc = s->kind->compute(&scoped, s, facts);
    x->lost |= !(kept = ft_lease_kept(lease));
    if (!kept) ft_log_copy(NULL); /* the log is somebody else's now */
    if (rc < 0 && rc != FT_EINTERRUPTED) ft_warn("%s failed: %s", s->name, ft_error_message());
    ft_log_copy(NULL);
    if (rc == FT_OK && !kept)
        rc = FT_FAIL(FT_EIO, "%s: the folder went away, or another process took it, while this one worked in it", s->folder);
    if (rc == FT_OK) {
        json_object_set_new(facts, "spent", spent_of(s, start, joules));
        rc = write_json(s, "done.json", facts);
    } else if (rc != FT_EINTERRUPTED && kept) {
        char *why = ft_strdup(ft_error_message()); /* writing may fail as well */
        json_t *o = json_pack("{s:s}", "error", why ? why : "");
        write_json(s, "failed.json", o);
        json_decref(o);
        rc = FT_FAIL(rc, "%s", why ? why : "no memory");
        ft_free(why);
    }
    json_decref(facts);
    return rc;
}

int ft_stage_compute(ft_experiment *x, ft_stage *s)
{
    ft_lease *lease;
    if (ft_stage_look(x, s) == FT_STAGE_DONE) return FT_OK;
    int rc = ft_lease_take(s->folder, false, &lease);
    if (rc == FT_EBUSY) return rc;
    if (rc == FT_OK && ft_stage_look(x, s) == FT_STAGE_LEFT) { /* until now somebody else was at it */
        rc = compute(x, s, lease);
        x->computed += rc == FT_OK;
    }
    ft_lease_drop(lease);
    if (rc == FT_OK) ft_stage_look(x, s);
    if (rc < 0 && rc != FT_EINTERRUPTED) s->state = FT_STAGE_FAILED;
    return rc;
}

/* ---- estimates ------------------------------------------------------------------------------------------------------------- */

double ft_stage_work(const ft_stage *s) { return s->kind->work ? s->kind->work(s->own) : 1; }

double ft_stage_gpu_memory(const ft_experiment *x, const ft_stage *s)
{
    for (int k = 0; k < 2; k++) { /* of the same arm, then of any */
        double most = 0;
        for (int i = 0; i < x->stages; i++) {
            const ft_stage *d = x->stage[i];
            if (d->kind == s->kind && d->state == FT_STAGE_DONE && (k > 0 || !strcmp(d->label, s->label)))
                most = fmax(most, d->gpu_mib);
        }
        for (int i = 0; i < x->rehearsed; i++) {
            const ft_rehearsed *r = &x->rehearsal[i];
            if (!strcmp(r->kind, s->kind->name) && (k > 0 || !strcmp(r->label, s->label))) most = fmax(most, r->gpu_mib);
        }
        if (most > 0) return most;
    }
    return 0;
}

double ft_stage_expected(const ft_experiment *x, const ft_stage *s, double *memory_mib)
{
    double sum[2] = {0, 0}, n[2] = {0, 0}, memory[2] = {0, 0}, work = ft_stage_work(s);
    for (int i = 0; i < x->stages; i++) { /* [0]: of the same arm, [1]: of any */
        const ft_stage *d = x->stage[i];
        double done = ft_stage_work(d);
        if (d->kind != s->kind || d->state != FT_STAGE_DONE || done <= 0) continue;
        for (int k = strcmp(d->label, s->label) != 0; k < 2; k++) {
            sum[k] += d->seconds * work / done, n[k]++;
            memory[k] = fmax(memory[k], d->memory_mib);
        }
    }
    *memory_mib = NAN;
    for (int k = 0; k < 2; k++) {
        if (n[k] > 0) return *memory_mib = memory[k], sum[k] / n[k];
        for (int i = 0; i < x->rehearsed; i++) {
            const ft_rehearsed *r = &x->rehearsal[i];
            if (strcmp(r->kind, s->kind->name) || (k == 0 && strcmp(r->label, s->label))) continue;
            *memory_mib = r->memory_mib;
            return r->seconds + r->unit_seconds * fmax(0, work - r->work);
        }
    }
    return NAN;
}
