/* What an experiment has done and has left, and what nobody needs any more. */
#include "experiments/sweep/sweep_status.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/files.h"
#include "common/base/folder.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/stages/work.h"
#include "experiments/sweep/experiment_open.h"
#include "experiments/sweep/rehearsal.h"

/* ---- status -------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *kind;
    char reads[100];
    int all, done, running, failed;
    double spent, left, memory;
} kind_sum;

static const char *state_of(const ft_stage *s, char owner[200])
{
    char path[FT_PATH];
    *owner = 0;
    if (s->state == FT_STAGE_DONE) return "done";
    if (ft_lease_owner(s->folder, owner)) return "running";
    ft_stage_file(path, s, "failed.json");
    if (ft_exists(path)) return "failed";
    return ft_is_dir(s->folder) ? "begun" : "left";
}

static void add_stage(kind_sum *k, const ft_experiment *x, const ft_stage *s, const char *state)
{
    double memory, expected = ft_stage_expected(x, s, &memory);
    k->kind = s->kind->name;
    k->all++;
    k->done += !strcmp(state, "done"), k->running += !strcmp(state, "running"), k->failed += !strcmp(state, "failed");
    k->spent += s->seconds;
    if (s->state != FT_STAGE_DONE) k->left += expected;
    else memory = s->memory_mib;
    k->memory = fmax(k->memory, memory);
    for (int i = 0; i < s->needs; i++) {
        const char *name = s->need[i]->kind->name;
        size_t at = strlen(k->reads);
        if (!strstr(k->reads, name)) snprintf(k->reads + at, sizeof k->reads - at, "%s%s", at ? ", " : "", name);
    }
}

static void print_sums(const kind_sum *k, int n)
{
    double spent = 0, left = 0;
    printf("%-12s %5s %7s %6s %5s  %10s %12s %8s  %s\n", "stage", "done", "running", "failed", "left", "spent", "left, about",
           "MiB", "reads");
    for (int i = 0; i < n; i++) {
        char a[32], b[32] = "?", m[32] = "";
        ft_show_time(a, sizeof a, k[i].spent);
        if (!isnan(k[i].left)) ft_show_time(b, sizeof b, k[i].left);
        if (!isnan(k[i].memory) && k[i].memory > 0) snprintf(m, sizeof m, "%.0f", k[i].memory);
        int rest = k[i].all - k[i].done - k[i].running - k[i].failed;
        printf("%-12s %5d %7d %6d %5d  %10s %12s %8s  %s\n", k[i].kind, k[i].done, k[i].running, k[i].failed, rest, a,
               rest + k[i].running + k[i].failed ? b : "-", m, k[i].reads);
        spent += k[i].spent, left += k[i].left;
    }
    char a[32], b[32] = "?";
    ft_show_time(a, sizeof a, spent);
    if (!isnan(left)) ft_show_time(b, sizeof b, left);
    printf("%-12s %5s %7s %6s %5s  %10s %12s\n", "all", "", "", "", "", a, b);
}

static void print_open(const ft_stage *s, const char *state, const char *owner)
{
    char path[FT_PATH], why[1024];
    printf("%-8s %s%s%s", state, s->name, *s->label ? ", of " : "", s->label);
    if (*owner) printf(" (%s)", owner);
    printf("\n");
    if (strcmp(state, "failed")) return;
    ft_stage_error(s, why);
    ft_stage_file(path, s, "log.txt");
    printf("         %s\n         its log: %s\n", why, path);
}

static json_t *stage_json(const ft_experiment *x, const ft_stage *s, const char *state, const char *owner)
{
    double memory, expected = ft_stage_expected(x, s, &memory);
    json_t *needs = json_array();
    for (int i = 0; i < s->needs; i++) json_array_append_new(needs, json_string(s->need[i]->name));
    if (s->state == FT_STAGE_DONE) memory = s->memory_mib;
    return json_pack("{s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:s}", "name", s->name, "kind", s->kind->name, "arm", s->label, "state",
                     state, "reads", needs, "seconds", s->state == FT_STAGE_DONE ? json_real(s->seconds) : json_null(),
                     "expected_seconds", isnan(expected) ? json_null() : json_real(expected), "memory_mib",
                     isnan(memory) ? json_null() : json_real(memory), "owner", owner);
}

int ft_experiment_status(ft_config *cfg, const char *dir, bool json)
{
    ft_experiment x = {.cfg = cfg, .look_only = true};
    ft_result r = {.x = &x};
    kind_sum kind[16] = {{0}};
    int kinds = 0, done = 0;
    json_t *list = json_array();
    char owner[200];
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    int rc = ft_is_dir(dir) ? ft_experiment_open(&r) : FT_FAIL(FT_EIO, "%s: not there. `forty experiment run` makes it", dir);
    if (rc == FT_OK) rc = ft_rehearsal_read(&x);
    for (int i = 0; rc == FT_OK && i < x.stages; i++) done += ft_stage_look(&x, x.stage[i]) == FT_STAGE_DONE;
    for (int i = 0; rc == FT_OK && i < x.stages; i++) {
        const ft_stage *s = x.stage[i];
        const char *state = state_of(s, owner);
        int k = 0;
        while (k < kinds && strcmp(kind[k].kind, s->kind->name)) k++;
        if (k == kinds && kinds < 16) kinds++;
        if (k < kinds) add_stage(&kind[k], &x, s, state);
        if (json) json_array_append_new(list, stage_json(&x, s, state, owner));
    }
    if (rc == FT_OK && json) {
        char *text;
        rc = ft_json_text(list, JSON_INDENT(1), &text);
        if (rc == FT_OK) printf("%s\n", text);
        ft_free(text);
    } else if (rc == FT_OK) {
        print_sums(kind, kinds);
        for (int i = 0; i < x.stages; i++) {
            const char *state = state_of(x.stage[i], owner);
            if (strcmp(state, "done") && strcmp(state, "left")) print_open(x.stage[i], state, owner);
        }
        printf("%d of %d stages done\n", done, x.stages);
    }
    json_decref(list);
    ft_experiment_close(&r);
    return rc;
}

/* ---- gc -------------------------------------------------------------------------------------------------------------------- */

/* bytes of the files in a folder, not deeper */
static double size_of(const char *folder)
{
    char **name, path[FT_PATH + 300];
    int n;
    double bytes = 0;
    struct stat s;
    if (ft_list_dir(folder, &name, &n) < 0) return 0;
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        if (stat(path, &s) == 0) bytes += (double)s.st_size;
        ft_free(name[i]);
    }
    ft_free(name);
    return bytes;
}

int ft_experiment_gc(ft_config *cfg, const char *dir, bool json)
{
    ft_experiment x = {.cfg = cfg, .look_only = true};
    ft_result r = {.x = &x};
    char path[FT_PATH], **name = NULL;
    int n = 0, removed = 0, rc;
    double bytes = 0;
    ft_lease *lease = NULL, *one;
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    if (!ft_folder_ours(dir)) return FT_FAIL(FT_EIO, "%s: not there, or not a results folder of forty's (it has no .forty)", dir);
    FT_TRY_TO(rc, done, ft_lease_take(dir, true, &lease));
    FT_TRY_TO(rc, done, ft_experiment_open(&r));
    FT_TRY_TO(rc, done, ft_experiment_complete(&x)); /* else it is perhaps another configuration, whose stages would all go */
    snprintf(path, sizeof path, "%s/runs", dir);
    struct stat st;
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode))
        FT_TRY_TO(rc, done, FT_FAIL(FT_EIO, "%s: a link or no folder: nothing is removed there", path));
    FT_TRY_TO(rc, done, ft_list_dir(path, &name, &n));
    for (int i = 0; i < n; i++) {
        bool needed = false;
        int kept = 0;
        for (int k = 0; k < x.stages; k++) needed |= !strcmp(x.stage[k]->name, name[i]);
        char *folder = ft_format("%s/%s", path, name[i]);
        bool stage = folder && lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && ft_folder_ours(folder);
        if (!needed && !stage && folder) ft_warn("%s: not a stage that forty made; it stays", folder);
        if (!needed && stage && ft_lease_take(folder, false, &one) == FT_OK) { /* else somebody is at it */
            bytes += size_of(folder);
            rc = ft_folder_remove(folder, &kept);
            ft_lease_drop(one);
            if (kept) ft_warn("%s: holds %d files that forty did not make; they stay", folder, kept);
            else if (rc == FT_OK && !json) printf("removed %s\n", name[i]);
            removed += !kept;
        }
        ft_free(folder);
        if (rc < 0) break;
    }
    if (json) printf("{\"removed\": %d, \"kept\": %d, \"bytes\": %.0f}\n", removed, n - removed, bytes);
    else printf("%d of %d stages removed, %.1f MiB\n", removed, n, bytes / 1048576);
done:
    for (int i = 0; i < n; i++) ft_free(name[i]);
    ft_free(name);
    ft_experiment_close(&r);
    ft_lease_drop(lease);
    return rc;
}
