/* An experiment on a Slurm cluster: for each level of the graph of stages and each kind an array of jobs, which waits for the
 * arrays that it reads from, and at the end a job for the tables and the report. A job is `forty experiment worker --stage NAME`
 * in a batch file under RESULTS/slurm/, which anybody can read and submit by hand. Jobs may also meet workers that were started
 * elsewhere: stages are leased (common/base/lease.h). A job that the scheduler ends saves its state and is queued again. */
#include "experiments/sweep/slurm.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"

typedef struct {
    const ft_stage_kind *kind;
    int level;
    const ft_stage **stage;
    int n;
    char id[64]; /* of the job */
} array;

static int level_of(const ft_stage *s)
{
    int level = 0;
    for (int i = 0; i < s->needs; i++) {
        int below = s->need[i]->state == FT_STAGE_DONE ? 0 : level_of(s->need[i]) + 1;
        if (below > level) level = below;
    }
    return level;
}

/* 'text' for a shell */
static void quoted(FILE *f, const char *text)
{
    fputc('\'', f);
    for (; *text; text++) {
        if (*text == '\'') fputs("'\\''", f);
        else fputc(*text, f);
    }
    fputc('\'', f);
}

/* each is one line of a batch file: settings hold no line breaks (config.c) */
static void settings(FILE *f, const ft_config *cfg)
{
    const char *const *option;
    int n = ft_config_list(cfg, "slurm.options", &option);
    for (int i = 0; i < n; i++) fprintf(f, "#SBATCH %s\n", option[i]);
}

/* The batch file of an array, and beside it the names of its stages, a line each. */
static int write_array(const ft_experiment *x, const array *a, const char *program, const char *config, char path[FT_PATH])
{
    ft_text t;
    double seconds = 0, memory = 0;
    for (int i = 0; i < a->n; i++) {
        double m, s = ft_stage_expected(x, a->stage[i], &m);
        seconds = isnan(s) || isnan(seconds) ? NAN : fmax(seconds, s);
        memory = isnan(m) || isnan(memory) ? NAN : fmax(memory, m);
    }
    FT_TRY(ft_text_begin(&t));
    for (int i = 0; i < a->n; i++) fprintf(t.f, "%s\n", a->stage[i]->name);
    snprintf(path, FT_PATH, "%s/slurm/%d-%s.txt", x->dir, a->level, a->kind->name);
    FT_TRY(ft_text_write(&t, path));
    FT_TRY(ft_text_begin(&t));
    FILE *f = t.f;
    fprintf(f,
            "#!/bin/sh\n#SBATCH --job-name=forty-%s\n#SBATCH --array=0-%d\n#SBATCH --output=\"%s/slurm/%d-%s-%%a.out\"\n"
            "#SBATCH --open-mode=append --requeue --signal=B:TERM@60\n#SBATCH --ntasks=1 --cpus-per-task=%lld\n",
            a->kind->name, a->n - 1, x->dir, a->level, a->kind->name, (long long)ft_config_int(x->cfg, "slurm.cpus"));
    if (!isnan(memory)) fprintf(f, "#SBATCH --mem=%.0fM\n", 1.3 * memory + 256);
    if (!isnan(seconds)) fprintf(f, "#SBATCH --time=%.0f\n", ceil(3 * seconds / 60) + 10); /* minutes; nodes differ */
    settings(f, x->cfg);
    fputs("stage=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" ", f);
    quoted(f, path);
    fputs(")\n", f);
    quoted(f, program);
    fputs(" experiment worker ", f);
    quoted(f, config);
    fputs(" -o ", f);
    quoted(f, x->dir);
    fprintf(
        f,
        " --stage \"$stage\" --threads %lld &\npid=$!\n"
        "trap 'kill -TERM $pid' TERM INT\n"
        "wait $pid; code=$?\n"
        "while kill -0 $pid 2>/dev/null; do wait $pid; code=$?; done   # a signal ends `wait` while the state is being saved\n"
        "[ $code = 130 ] && scontrol requeue \"$SLURM_JOB_ID\"\n"
        "exit $code\n",
        (long long)ft_config_int(x->cfg, "slurm.cpus"));
    snprintf(path, FT_PATH, "%s/slurm/%d-%s.sh", x->dir, a->level, a->kind->name);
    return ft_text_write(&t, path);
}

static int write_report(const ft_experiment *x, const char *program, const char *config, char path[FT_PATH])
{
    ft_text t;
    FT_TRY(ft_text_begin(&t));
    FILE *f = t.f;
    fprintf(f,
            "#!/bin/sh\n#SBATCH --job-name=forty-report\n#SBATCH --output=\"%s/slurm/report.out\"\n#SBATCH --ntasks=1 "
            "--cpus-per-task=%lld\n",
            x->dir, (long long)ft_config_int(x->cfg, "slurm.cpus"));
    settings(f, x->cfg);
    quoted(f, program);
    fputs(" experiment report ", f);
    quoted(f, config);
    fputs(" -o ", f);
    quoted(f, x->dir);
    fputs("\n", f);
    snprintf(path, FT_PATH, "%s/slurm/report.sh", x->dir);
    return ft_text_write(&t, path);
}

/* Submits a batch file; id: of the job. */
static int submit(const char *path, const char *dependency, char id[64])
{
    ft_text t;
    char line[256] = "";
    FT_TRY(ft_text_begin(&t));
    fputs("sbatch --parsable ", t.f);
    if (*dependency) fprintf(t.f, "--dependency=afterany%s --kill-on-invalid-dep=no ", dependency);
    quoted(t.f, path);
    int rc = ft_text_end(&t);
    FILE *p = rc == FT_OK ? popen(t.text, "r") : NULL;
    if (p && !fgets(line, sizeof line, p)) *line = 0;
    int end = p ? pclose(p) : -1;
    ft_text_free(&t);
    FT_TRY(rc);
    snprintf(id, 64, "%.*s", (int)strcspn(line, ";\n"), line);
    if (end != 0 || !*id)
        return FT_FAIL(FT_EIO, "%s: sbatch did not take it (status %d). Is this a node that may submit jobs? See slurm.options",
                       path, WIFEXITED(end) ? WEXITSTATUS(end) : end);
    return FT_OK;
}

static void depend(char *list, size_t size, const char *id)
{
    size_t at = strlen(list);
    if (!strstr(list, id)) snprintf(list + at, size - at, ":%s", id);
}

/* stages that are left, by level and kind */
static int gather(ft_experiment *x, array **list, int *n)
{
    for (int i = 0; i < x->stages; i++) {
        ft_stage *s = x->stage[i];
        int k = 0, level;
        if (ft_stage_look(x, s) == FT_STAGE_DONE) continue;
        level = level_of(s);
        while (k < *n && ((*list)[k].kind != s->kind || (*list)[k].level != level)) k++;
        if (k == *n) {
            FT_TRY(ft_grow(list, (size_t)*n, sizeof **list));
            (*list)[(*n)++] = (array){.kind = s->kind, .level = level};
        }
        array *a = &(*list)[k];
        FT_TRY(ft_grow(&a->stage, (size_t)a->n, sizeof(ft_stage *)));
        a->stage[a->n++] = s;
    }
    return FT_OK;
}

static const array *array_of(const array *list, int n, const ft_stage *s)
{
    for (int k = 0; k < n; k++)
        for (int i = 0; i < list[k].n; i++)
            if (list[k].stage[i] == s) return &list[k];
    return NULL;
}

static int submit_all(ft_experiment *x, const char *config, array *list, int n)
{
    char program[PATH_MAX] = "", path[FT_PATH], after[4096], all[4096] = "", id[64];
    int levels = 0;
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0) return FT_FAIL(FT_EIO, "the path of forty is not known");
    for (int k = 0; k < n; k++) levels = list[k].level >= levels ? list[k].level + 1 : levels;
    for (int level = 0; level < levels; level++)
        for (int k = 0; k < n; k++) {
            array *a = &list[k];
            if (a->level != level) continue;
            *after = 0;
            for (int i = 0; i < a->n; i++)
                for (int d = 0; d < a->stage[i]->needs; d++) {
                    const array *from = array_of(list, n, a->stage[i]->need[d]);
                    if (from) depend(after, sizeof after, from->id);
                }
            FT_TRY(write_array(x, a, program, config, path));
            FT_TRY(submit(path, after, a->id));
            depend(all, sizeof all, a->id);
            printf("job %s: %d x %s%s%s\n", a->id, a->n, a->kind->name, *after ? ", after " : "", *after ? after + 1 : "");
        }
    FT_TRY(write_report(x, program, config, path));
    FT_TRY(submit(path, all, id));
    printf(
        "job %s: tables and report\n`forty experiment status %s -o %s` shows how far they are; calling run again submits what is "
        "left\n",
        id, config, x->dir);
    return FT_OK;
}

int ft_slurm_submit(ft_result *r, const char *config)
{
    array *list = NULL;
    int n = 0, rc = gather(r->x, &list, &n);
    char folder[FT_PATH];
    if (rc == FT_OK && strpbrk(r->x->dir, "\"\\%")) /* a batch file could not say where its output goes */
        rc = FT_FAIL(FT_EUSAGE, "%s: a results folder for Slurm has no \" \\ or %% in its name. Choose another -o", r->x->dir);
    snprintf(folder, sizeof folder, "%s/slurm", r->x->dir);
    if (rc == FT_OK) rc = ft_mkdirs(folder);
    if (rc == FT_OK) rc = submit_all(r->x, config, list, n);
    for (int k = 0; k < n; k++) ft_free(list[k].stage);
    ft_free(list);
    return rc;
}
