#include "experiments/sweep/experiment.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/report/compare.h"
#include "experiments/report/report.h"
#include "experiments/report/summary.h"
#include "experiments/stages/config_changes.h"
#include "experiments/stages/environment.h"
#include "experiments/stages/passport.h"
#include "experiments/stages/work.h"
#include "experiments/sweep/experiment_open.h"
#include "experiments/sweep/rehearsal.h"
#include "experiments/sweep/runs.h"
#include "experiments/sweep/slurm.h"

int ft_experiment_worker(ft_config *cfg, const char *dir, const char *stage)
{
    ft_experiment x = {.cfg = cfg};
    ft_result r = {.x = &x};
    ft_stage *only = NULL;
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    int rc = ft_experiment_open(&r);
    for (int i = 0; rc == FT_OK && stage && i < x.stages; i++)
        if (!strcmp(x.stage[i]->name, stage)) only = x.stage[i];
    if (rc == FT_OK && stage && !only) rc = FT_FAIL(FT_EDATA, "%s: this experiment has no stage of that name", stage);
    if (rc == FT_OK) rc = ft_experiment_work(&x, only);
    ft_experiment_close(&r);
    return rc;
}

/* ---- tables -------------------------------------------------------------------------------------------------------------- */

static int add_lines(FILE *f, const ft_arm_result *arm, int n)
{
    for (int i = 0; i < n; i++)
        for (int k = 0; k < arm[i].n; k++) {
            char *line;
            FT_TRY(ft_json_text(arm[i].line[k], JSON_COMPACT, &line));
            fprintf(f, "%s\n", line);
            ft_free(line);
        }
    return FT_OK;
}

static int write_lines(const ft_result *r)
{
    char path[FT_PATH];
    ft_text t;
    int rc = ft_text_begin(&t);
    if (rc == FT_OK) rc = add_lines(t.f, r->arm, r->n);
    if (rc == FT_OK) rc = add_lines(t.f, r->curve, r->curve_n);
    snprintf(path, sizeof path, "%s/results.jsonl", r->x->dir);
    if (rc == FT_OK) return ft_text_write(&t, path);
    ft_text_free(&t);
    return rc;
}

static int link_clips(const ft_result *r) /* clips/ARM.h5 points into runs/ */
{
    for (int i = 0; i < r->n; i++) {
        char path[FT_PATH + 160], to[FT_PATH], runs[FT_PATH];
        snprintf(runs, sizeof runs, "%s/runs/", r->x->dir);
        if (strncmp(r->arm[i].clips, runs, strlen(runs))) continue; /* a file of somebody else stays where it is */
        char name[128];
        ft_arm_file_name(name, r->arm[i].name);
        snprintf(path, sizeof path, "%s/clips/%s.h5", r->x->dir, name);
        snprintf(to, sizeof to, "..%s", r->arm[i].clips + strlen(r->x->dir));
        FT_TRY(ft_mkdirs_for(path));
        char was[FT_PATH];
        ssize_t length = readlink(path, was, sizeof was);
        if (length < 0 && ft_exists(path)) continue; /* a file that somebody put there */
        FT_TRY(ft_remove_file(path));
        if (symlink(to, path) != 0) return FT_FAIL(FT_EIO, "%s: cannot be linked", path);
    }
    return FT_OK;
}

/* Everything that the tables and the report show, read in order. */
static int read_results(ft_result *r)
{
    for (int i = 0; i < r->n; i++) {
        ft_arm_result *a = &r->arm[i];
        FT_TRY(ft_runs_read(r, a));
        json_t *facts = a->likeness ? ft_stage_facts(a->likeness) : NULL;
        a->passport = ft_passport_read(facts, &a->copies);
        ft_set_distances_read(json_object_get(facts, "distances"), a->distance);
        a->alike = json_integer_value(json_object_get(facts, "alike_clips"));
        json_decref(facts);
        facts = a->distances ? ft_stage_facts(a->distances) : NULL;
        ft_set_distances_read(json_object_get(facts, "distances"), a->seen);
        a->seen_alike = json_integer_value(json_object_get(facts, "alike_clips"));
        const char *network = json_string_value(json_object_get(facts, "network"));
        snprintf(a->network, sizeof a->network, "%s", network ? ft_base_name(network) : "");
        json_decref(facts);
        if (!isnan(a->psnr)) r->psnr = a->psnr;
        if (!*r->vae_log) snprintf(r->vae_log, sizeof r->vae_log, "%s", a->vae_log);
    }
    for (int i = 0; i < r->curve_n; i++) FT_TRY(ft_runs_read(r, &r->curve[i]));
    r->frechet_real = ft_stage_number(r->held_out, "frechet");
    return ft_compare(r);
}

static int write_results(const ft_result *r, const char *command)
{
    char path[FT_PATH];
    FT_TRY(write_lines(r));
    FT_TRY(link_clips(r));
    FT_TRY(ft_summary_write(r));
    snprintf(path, sizeof path, "%s/environment.json", r->x->dir);
    FT_TRY(ft_environment_write(path, command));
    snprintf(path, sizeof path, "%s/report.html", r->x->dir);
    return ft_report_write(r, path);
}

static int print_results(const ft_result *r, bool json, double seconds)
{
    const ft_experiment *x = r->x;
    char path[FT_PATH];
    snprintf(path, sizeof path, "%s/report.html", x->dir);
    if (json) {
        json_t *o = ft_summary_json(r);
        json_object_set_new(o, "report", json_string(path));
        json_object_set_new(o, "computed", json_integer(x->computed));
        json_object_set_new(o, "cached", json_integer(x->stages - x->computed));
        char *text;
        int rc = ft_json_text(o, JSON_INDENT(2), &text);
        if (rc == FT_OK) printf("%s\n", text);
        ft_free(text);
        json_decref(o);
        return rc;
    } else {
        ft_summary_print(r, stdout);
        printf("\n%s (%d stages computed, %d from the cache, %.0f s)\n", path, x->computed, x->stages - x->computed, seconds);
    }
    return FT_OK;
}

/* A changed key computes anew what hangs on it, in the same folder; the tables of other videos are not replaced unasked. */
static int check_changes(const ft_config *cfg, const char *dir, bool force)
{
    ft_config_changes changes;
    char path[FT_PATH], tables[FT_PATH];
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    snprintf(tables, sizeof tables, "%s/results.jsonl", dir);
    FT_TRY(ft_config_changes_find(&changes, cfg, path));
    if (!changes.n) return FT_OK;
    if (changes.data && !force && ft_exists(tables))
        return FT_FAIL(FT_ECONFIG,
                       "%s: holds the results of other videos: %s. Give another folder with -o, or --force to replace its tables",
                       dir, changes.text);
    ft_log("%s was computed with other settings: %s. What depends on them is computed anew", dir, changes.text);
    return FT_OK;
}

int ft_experiment_run(ft_config *cfg, const char *dir, const ft_run_opt *opt)
{
    ft_experiment x = {.cfg = cfg, .look_only = opt->report, .elsewhere = opt->slurm};
    ft_result r = {.x = &x, .command = opt->command, .psnr = NAN, .frechet_real = NAN};
    ft_lease *lease = NULL;
    char path[FT_PATH];
    int rc;
    double start = ft_now();
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    FT_TRY_TO(rc, done, check_changes(cfg, dir, opt->force));
    FT_TRY_TO(rc, done, ft_experiment_open(&r));
    if (opt->report) FT_TRY_TO(rc, done, ft_experiment_complete(&x));
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    FT_TRY_TO(rc, done, ft_config_write(cfg, path));
    ft_log("%lld videos, %lld clips of %d frames and %d pixels; %d classes, positive: %s; %d arms x %d splits x %d seeds, %d "
           "stages",
           (long long)x.store.n_video, (long long)x.store.n_clip, x.store.frames, x.store.size, x.classes.n,
           x.classes.positive == FT_MULTILABEL ? "several labels a video" : x.classes.name[x.classes.positive], r.n, r.opt.splits,
           r.opt.seeds, x.stages);
    FT_TRY_TO(rc, done, ft_experiment_work(&x, r.checked));
    FT_TRY_TO(rc, done,
              ft_findings_read(&r.found, &x, r.checked)); /* what would explain a score without the picture, before the rest */
    if (opt->dry) FT_TRY_TO(rc, done, ft_config_set(cfg, "rehearse=always", "--dry-run"));
    FT_TRY_TO(rc, done, ft_rehearse(&r));
    if (opt->dry) goto done;
    if (opt->slurm) {
        rc = ft_slurm_submit(&r, path);
        goto done;
    }
    if (opt->helpers) FT_TRY_TO(rc, done, opt->helpers(opt->given));
    FT_TRY_TO(rc, done, ft_experiment_work(&x, NULL));
    FT_TRY_TO(rc, done, ft_lease_take(dir, true, &lease)); /* tables are written by one at a time */
    FT_TRY_TO(rc, done, read_results(&r));
    FT_TRY_TO(rc, done, write_results(&r, opt->command));
    rc = print_results(&r, opt->json, ft_now() - start);
done:
    ft_lease_drop(lease);
    ft_experiment_close(&r);
    return rc;
}
