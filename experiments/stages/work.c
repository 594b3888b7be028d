/* The work of an experiment: every stage that is not there yet. Any number of processes on any number of machines share it: each
 * goes through the stages in order, takes those whose inputs are there and that nobody is at (lease.h), leaves the others for
 * later, and continues what a dead process left. A stage that fails stops those that read it, no others. */
#include "experiments/stages/work.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/interrupt.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"

static bool ready(const ft_experiment *x, const ft_stage *s)
{
    for (int i = 0; i < s->needs; i++)
        if (ft_stage_look(x, s->need[i]) != FT_STAGE_DONE) return false;
    return true;
}

/* Is there room for it beside what other processes of this experiment compute here? With nothing else running it is tried. */
static bool fits(const ft_experiment *x, const ft_stage *s)
{
    double memory, spare = ft_memory_available();
    char owner[200];
    ft_stage_expected(x, s, &memory);
    if (isnan(memory) || isnan(spare) || memory < spare) return true;
    for (int i = 0; i < x->stages; i++)
        if (x->stage[i]->state == FT_STAGE_LEFT && ft_lease_owner(x->stage[i]->folder, owner)) return false;
    return true;
}

/* "3:20 min" of work that is left here, if every stage of it can be told; else nothing */
static void say_left(const ft_experiment *x, char text[80])
{
    double seconds = 0, memory;
    int left = 0;
    for (int i = 0; i < x->stages; i++)
        if (x->stage[i]->state == FT_STAGE_LEFT) seconds += ft_stage_expected(x, x->stage[i], &memory), left++;
    char time[32] = "";
    if (!isnan(seconds)) ft_show_time(time, sizeof time, seconds);
    snprintf(text, 80, left ? "%d left%s%s%s" : "all done", left, *time ? ", about " : "", time, *time ? " of work" : "");
}

static void say_done(ft_experiment *x, const ft_stage *s)
{
    char left[80], time[32], what[200], split[32] = "", seed[32] = "";
    ft_show_time(time, sizeof time, s->seconds);
    say_left(x, left);
    snprintf(what, sizeof what, *s->label ? "%s of %s" : "%s", s->kind->name, s->label);
    if (s->of_split) snprintf(split, sizeof split, ", split %d", s->split);
    if (!strcmp(s->kind->name, "classifier")) snprintf(seed, sizeof seed, ", seed %d", s->seed - 1000 * s->split);
    ft_log("%s%s%s: done in %s; %s", what, split, seed, time, left);
}

typedef struct {
    int failed, why;
    char first[1024];
} failures;

static int try_stage(ft_experiment *x, ft_stage *s, failures *bad)
{
    int before = x->computed, rc = ft_stage_compute(x, s);
    if (rc == FT_EBUSY || rc == FT_EINTERRUPTED || x->lost) return rc;
    if (rc == FT_OK && x->computed > before) say_done(x, s);
    if (rc < 0 && !bad->failed++) snprintf(bad->first, sizeof bad->first, "%s", ft_error_message()), bad->why = rc;
    return FT_OK;
}

/* Stages that failed elsewhere since this call began count as well. */
static int verdict(const ft_experiment *x, const failures *bad)
{
    int failed = 0, blocked = 0, why = bad->failed ? bad->why : FT_EDATA;
    char first[1024];
    snprintf(first, sizeof first, "%s", bad->first);
    for (int i = 0; i < x->stages; i++) {
        const ft_stage *s = x->stage[i];
        failed += s->state == FT_STAGE_FAILED, blocked += s->state == FT_STAGE_BLOCKED;
        if (s->state == FT_STAGE_FAILED && !*first) ft_stage_error(s, first);
    }
    if (failed + blocked == 0) return FT_OK;
    if (failed + blocked == 1) return FT_FAIL(why, "%s", first);
    return FT_FAIL(why, "%s (%d stages failed, %d wait for them; the others are kept)", first, failed, blocked);
}

int ft_experiment_complete(ft_experiment *x)
{
    int left = 0;
    for (int i = 0; i < x->stages; i++) left += ft_stage_look(x, x->stage[i]) != FT_STAGE_DONE;
    if (left)
        return FT_FAIL(FT_EDATA, "%s: %d of %d stages are not computed yet. `forty experiment run` computes them", x->dir, left,
                       x->stages);
    return FT_OK;
}

typedef struct {
    ft_stage *stage;
    double seconds; /* until the last stage that waits for it could end */
    int at;
} turn;

static int most_waited_for(const void *a, const void *b)
{
    const turn *p = a, *q = b;
    return p->seconds != q->seconds ? (p->seconds < q->seconds ? 1 : -1) : p->at - q->at;
}

/* What the longest chain of stages waits for comes first: several processes then end together. */
static turn *turns(const ft_experiment *x)
{
    turn *list = ft_alloc((size_t)(x->stages + 1) * sizeof *list);
    double memory;
    for (int i = 0; list && i < x->stages; i++) list[i] = (turn){x->stage[i], 0, i};
    for (int i = x->stages - 1; list && i >= 0; i--) { /* every stage stands behind those that it reads */
        double own = ft_stage_expected(x, x->stage[i], &memory);
        list[i].seconds += isnan(own) ? 1 : own;
        for (int k = 0; k < x->stage[i]->needs; k++)
            for (int j = 0; j < i; j++)
                if (x->stage[j] == x->stage[i]->need[k] && list[j].seconds < list[i].seconds) list[j].seconds = list[i].seconds;
    }
    if (list) qsort(list, (size_t)x->stages, sizeof *list, most_waited_for);
    return list;
}

static int work_through(ft_experiment *x, const turn *list, ft_stage *only)
{
    failures bad = {0};
    for (;;) {
        int left = 0, tried = 0;
        for (int i = 0; i < x->stages; i++) {
            ft_stage *s = list[i].stage;
            if ((only && s != only) || ft_stage_look(x, s) != FT_STAGE_LEFT) continue;
            left++;
            if (ft_interrupted) return FT_FAIL(FT_EINTERRUPTED, "interrupted; what is done is kept. Call it again to continue");
            if (only && !ready(x, s)) return FT_FAIL(FT_EDATA, "%s: what it reads is not there yet", s->name);
            if (!ready(x, s) || !fits(x, s)) continue;
            int rc = try_stage(x, s, &bad);
            if (rc == FT_EINTERRUPTED || x->lost) return rc;
            if (rc != FT_EBUSY) tried++;
        }
        if (!left) break;
        if (!tried) usleep(300000); /* others are at what is left */
    }
    return only && only->state == FT_STAGE_DONE ? FT_OK : verdict(x, &bad);
}

int ft_experiment_work(ft_experiment *x, ft_stage *only)
{
    turn *list = turns(x);
    int rc = list ? work_through(x, list, only) : FT_FAIL(FT_ENOMEM, "no memory for %d stages", x->stages);
    ft_free(list);
    return rc;
}
