#include "common/train/train_loop.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/interrupt.h"
#include "common/base/lease.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/ranks.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/io/weights.h"
#include "common/train/tensorboard.h"

int ft_batch_parts(int64_t parts, int64_t batch, const ft_config *settings, const char *key)
{
    if (parts > 0 && batch % parts == 0) return FT_OK;
    return FT_FAIL(FT_ECONFIG, "%s: %s %lld does not cut a batch of %lld into equal parts",
                   settings ? ft_config_origin(settings, key) : "options", key, (long long)parts, (long long)batch);
}

int64_t ft_shuffled(uint64_t seed, uint32_t stream, int64_t n, int64_t k)
{
    /* a keyed permutation of [0, n) by cycle walking over a Feistel network: no table, no state */
    int64_t pass = k / n, i = k % n;
    int bits = 2;
    while ((int64_t)1 << bits < n) bits += 2;
    uint64_t half = (uint64_t)bits / 2, mask = ((uint64_t)1 << half) - 1, x = (uint64_t)i;
    do {
        uint64_t l = x >> half, r = x & mask;
        for (uint32_t round = 0; round < 6; round++) {
            uint32_t out[4];
            ft_philox(seed, stream, (uint64_t)pass * 8 + round, r, out);
            uint64_t next = (l ^ out[0]) & mask;
            l = r;
            r = next;
        }
        x = l << half | r;
    } while (x >= (uint64_t)n);
    return (int64_t)x;
}

typedef struct {
    char log[1100], state[1100];
    char *text; /* log.csv so far: it is rewritten whole, and small */
    size_t size;
    int64_t step, tail_n;
    double tail; /* sum of the loss over tail_n steps of the last tenth */
} position;

static void keep_log_before(position *p, int64_t step)
{
    /* rows from `step` on belong to a time that the saved state does not know */
    char *line = p->text;
    for (int row = 0; line && *line; row++) {
        if (row > 0 && atoll(line) >= step) break;
        char *end = strchr(line, '\n');
        line = end ? end + 1 : line + strlen(line);
    }
    if (line) p->size = (size_t)(line - p->text), *line = 0;
}

static int append(position *p, const char *text)
{
    size_t n = strlen(text);
    char *bigger = ft_realloc(p->text, p->size + n + 1);
    if (!bigger) return FT_FAIL(FT_ENOMEM, "no memory for the log");
    p->text = bigger;
    memcpy(p->text + p->size, text, n + 1);
    p->size += n;
    return FT_OK;
}

static int save(const ft_trainer *t, position *p)
{
    if (ft_this_rank() > 0) return FT_OK;
    json_t *extra = t->extra ? t->extra(t->ctx) : json_object();
    char step[32], tail[64];
    snprintf(step, sizeof step, "%lld", (long long)p->step);
    json_object_set_new(extra, "step", json_string(step));
    snprintf(tail, sizeof tail, "%lld %lld %a", (long long)t->steps, (long long)p->tail_n, p->tail);
    json_object_set_new(extra, "tail", json_string(tail));
    int rc = ft_write_file(p->log, p->text, p->size); /* the log first: rows beyond the state are dropped on resume */
    if (rc == FT_OK) rc = ft_state_save(p->state, t->params, t->companion, extra);
    json_decref(extra);
    return rc;
}

static int begin(ft_trainer *t, position *p)
{
    snprintf(p->log, sizeof p->log, "%s/log.csv", t->dir);
    snprintf(p->state, sizeof p->state, "%s/state.safetensors", t->dir);
    FT_TRY(ft_mkdirs(t->dir));
    if (t->resume && ft_exists(p->state)) {
        json_t *extra;
        FT_TRY(ft_state_load(p->state, t->params, t->companion, &extra));
        const char *step = json_string_value(json_object_get(extra, "step"));
        p->step = step ? atoll(step) : 0;
        const char *tail = json_string_value(json_object_get(extra, "tail"));
        long long steps, count;
        double sum;
        if (tail && sscanf(tail, "%lld %lld %la", &steps, &count, &sum) == 3 && steps == t->steps)
            p->tail_n = count, p->tail = sum;
        int rc = t->restore ? t->restore(t->ctx, extra) : FT_OK;
        json_decref(extra);
        FT_TRY(rc);
        if (ft_exists(p->log)) FT_TRY(ft_read_file(p->log, 0, &p->text, &p->size));
        keep_log_before(p, p->step);
        ft_log("%s: continues at step %lld of %lld", t->what, (long long)p->step, (long long)t->steps);
        return FT_OK;
    }
    char head[512];
    int n = snprintf(head, sizeof head, "step,lr");
    for (int i = 0; i < t->n_logged; i++) n += snprintf(head + n, sizeof head - (size_t)n, ",%s", t->logged_name[i]);
    n += snprintf(head + n, sizeof head - (size_t)n, ",grad_norm");
    for (int i = 0; i < t->n_noted; i++) n += snprintf(head + n, sizeof head - (size_t)n, ",%s", t->noted_name[i]);
    snprintf(head + n, sizeof head - (size_t)n, "\n");
    return append(p, head);
}

static json_t *metadata(const ft_trainer *t)
{
    json_t *m = t->metadata ? json_deep_copy(t->metadata) : json_object();
    char steps[32];
    snprintf(steps, sizeof steps, "%lld", (long long)t->steps);
    json_object_set_new(m, "model", json_string(t->model));
    json_object_set_new(m, "step", json_string(steps));
    json_object_set_new(m, "forty_version", json_string(FT_VERSION));
    return m;
}

/* of all steps, two for a multiply and add; companions and what `feed` computes are not counted */
static double teraflop(const ft_trainer *t)
{
    double main = ft_plan_describe(t->main.plan).products * (double)(t->steps - t->first_steps);
    double first = t->first_steps > 0 ? ft_plan_describe(t->first.plan).products * (double)t->first_steps : 0;
    return 2e-12 * (main + first);
}

static int finish(ft_trainer *t, position *p)
{
    if (ft_this_rank() > 0) return FT_OK;
    char path[1100];
    json_t *m = metadata(t);
    int rc = save(t, p);
    snprintf(path, sizeof path, "%s/weights.safetensors", t->dir);
    if (rc == FT_OK) rc = ft_weights_save(path, t->params, FT_WEIGHTS, m);
    snprintf(path, sizeof path, "%s/ema.safetensors", t->dir);
    if (rc == FT_OK) rc = ft_weights_save(path, t->params, FT_EMA, m);
    json_object_set_new(m, "mean_loss", json_real(t->mean_loss));
    json_object_set_new(m, "seconds", json_real(t->seconds));
    json_object_set_new(m, "feeding_seconds", json_real(t->feeding));
    json_object_set_new(m, "unit_seconds", json_real(t->step_seconds));
    json_object_set_new(m, "ranks", json_integer(ft_ranks()));
    json_object_set_new(m, "teraflop", json_real(teraflop(t)));
    const ft_device *gpu = ft_backend_now()->device;
    if (gpu) {
        json_object_set_new(m, "gpu", json_string(gpu->describe()));
        json_object_set_new(m, "gpu_choices", json_string(gpu->choices()));
    }
    snprintf(path, sizeof path, "%s/run.json", t->dir);
    if (rc == FT_OK) rc = ft_write_json(path, m, 2);
    json_decref(m);
    return rc;
}

static double rate(const ft_trainer *t, int64_t step)
{
    bool first = step < t->first_steps;
    const ft_phase *p = first ? &t->first : &t->main;
    int64_t at = first ? step : step - t->first_steps, length = first ? t->first_steps : t->steps - t->first_steps;
    int64_t warmup = first || t->first_steps == 0 ? t->warmup : 0;
    if (p->lr_every > 0) at -= at % p->lr_every;
    if (p->constant && at >= warmup) return p->lr;
    return ft_lr_cosine(p->lr, at, length, warmup);
}

static int to_board(ft_tensorboard *b, const ft_trainer *t, int64_t step, const ft_step *s, const float *seen, float norm)
{
    for (int i = 0; i < t->n_logged; i++) FT_TRY(ft_tensorboard_scalar(b, step, t->logged_name[i], (double)seen[i]));
    FT_TRY(ft_tensorboard_scalar(b, step, "lr", (double)s->lr));
    return ft_tensorboard_scalar(b, step, "grad_norm", (double)norm);
}

/* Steps that were begun and not yet looked at: a device computes them while the host goes on (ft_plan_lag). */
enum { AHEAD = 8 };
typedef struct {
    ft_trainer *t;
    position at;
    ft_tensorboard *board;
    ft_progress bar;
    const ft_phase *phase; /* of the steps begun */
    ft_step begun[AHEAD];
    int n_begun, bad;
    int64_t log_every;
    bool stop;
} loop;

/* Reads what the oldest step left: log, loss of the last tenth, progress, and whether to stop. */
static int settle_one(loop *l)
{
    ft_trainer *t = l->t;
    int ago = l->n_begun - 1;
    ft_step s = l->begun[0];
    const float *norm_at = ft_data_late(l->phase->grad_norm, ago), *at;
    float norm = norm_at ? *norm_at : 0, seen[FT_LOGGED + 1], loss;
    for (int i = 0; i < t->n_logged; i++) {
        if (!(at = ft_data_late(l->phase->logged[i], ago)) || !norm_at) return FT_EDEVICE; /* the message is there */
        seen[i] = *at;
    }
    if (t->settled) FT_TRY(t->settled(t->ctx, s.step, ago));
    l->n_begun--;
    memmove(l->begun, l->begun + 1, (size_t)l->n_begun * sizeof s);
    for (int i = t->n_logged; i < FT_LOGGED; i++) seen[i] = 0;
    seen[FT_LOGGED] = (float)ft_interrupted; /* all ranks stop at one step */
    ft_mean_begin(seen, FT_LOGGED + 1);
    FT_TRY(ft_mean_wait());
    loss = seen[0];
    /* one such step is skipped by the optimiser; a row of them is not noise */
    l->bad = isfinite(loss) && isfinite(norm) ? 0 : l->bad + 1;
    if (l->bad == 10)
        return FT_FAIL(FT_EDATA, "%s: the loss is not finite since step %lld. Lower the learning rate, or use --precision f32",
                       t->what, (long long)s.step - 9);
    if (s.step % l->log_every == 0 || s.step + 1 == t->steps) {
        char row[512];
        int n = snprintf(row, sizeof row, "%lld,%.6g", (long long)s.step, (double)s.lr);
        for (int i = 0; i < t->n_logged; i++) n += snprintf(row + n, sizeof row - (size_t)n, ",%.6g", (double)seen[i]);
        if (l->board) FT_TRY(to_board(l->board, t, s.step, &s, seen, norm));
        n += snprintf(row + n, sizeof row - (size_t)n, ",%.6g", (double)norm);
        for (int i = 0; i < t->n_noted; i++)
            n += snprintf(row + n, sizeof row - (size_t)n, isnan(t->noted[i]) ? "," : ",%.6g", t->noted[i]);
        snprintf(row + n, sizeof row - (size_t)n, "\n");
        FT_TRY(append(&l->at, row));
    }
    if (s.step >= t->steps - (t->steps + 9) / 10 && isfinite(loss)) l->at.tail += (double)loss, l->at.tail_n++;
    snprintf(l->bar.note, sizeof l->bar.note, "%s %.4g", t->logged_name[0], (double)loss);
    ft_progress_step(&l->bar, s.step + 1);
    l->stop |= seen[FT_LOGGED] > 0;
    return FT_OK;
}

static int settle(loop *l, int keep) /* all but the last `keep` */
{
    while (l->n_begun > keep) FT_TRY(settle_one(l));
    return FT_OK;
}

static int begin_step(loop *l, int64_t step)
{
    ft_trainer *t = l->t;
    const ft_phase *now = step < t->first_steps ? &t->first : &t->main;
    if (now != l->phase) FT_TRY(settle(l, 0));
    l->phase = now;
    double decay = t->average ? t->average(t->ctx, step) : t->ema_cold ? t->ema : ft_ema_decay(t->ema, step);
    ft_step s = {t->seed, step, (float)rate(t, step), (float)decay, ft_this_rank()};
    double before = ft_now();
    FT_TRY(t->feed(t->ctx, step));
    t->feeding += ft_now() - before;
    FT_TRY(ft_run(now->plan, &s));
    if (t->beside) FT_TRY(t->beside(t->ctx, step));
    l->begun[l->n_begun++] = s;
    return settle(l, ft_plan_lag(now->plan));
}

int ft_train(ft_trainer *t)
{
    loop l = {.t = t, .log_every = t->steps / 200 + 1};
    position *p = &l.at;
    double start = ft_now(), second = 0;
    int rc = begin(t, p);
    int64_t from = p->step;
    ft_progress_start(&l.bar, t->what, t->steps);
    ft_interruptible(true);
    if (rc == FT_OK && t->tensorboard && ft_this_rank() == 0) rc = ft_tensorboard_open(&l.board, t->dir, p->step);
    while (rc == FT_OK && p->step < t->steps && !l.stop && !t->enough) {
        if (p->step == from + 1) second = ft_now(); /* the first one also makes kernels */
        if (!ft_leases_kept())
            FT_TRY_TO(
                rc, done,
                FT_FAIL(FT_EIO, "%s: the folder went away, or another process took it, while this one worked in it", t->dir));
        FT_TRY_TO(rc, done, begin_step(&l, p->step));
        p->step++;
        if (t->after) FT_TRY_TO(rc, done, t->after(t->ctx, p->step));
        bool due = t->save_every > 0 && p->step % t->save_every == 0;
        if (l.stop || t->enough || p->step == t->steps || due) FT_TRY_TO(rc, done, settle(&l, 0));
        if (!l.stop && due && p->step < t->steps) FT_TRY_TO(rc, done, save(t, p));
    }
    if (rc == FT_OK && l.stop) { /* also after the last step: an interrupted run says so */
        FT_TRY_TO(rc, done, save(t, p));
        rc = FT_FAIL(FT_EINTERRUPTED, "interrupted at step %lld of %lld; the state is saved in %s. Continue with --resume",
                     (long long)p->step, (long long)t->steps, t->dir);
        goto done;
    }
    if (t->enough) t->steps = p->step; /* so many were done */
    t->mean_loss = p->tail_n ? p->tail / (double)p->tail_n : 0;
    t->seconds = ft_now() - start;
    if (p->step > from + 1) t->step_seconds = (ft_now() - second) / (double)(p->step - from - 1);
    ft_progress_end(&l.bar, p->step);
    if (rc == FT_OK) rc = finish(t, p);
    if (rc == FT_OK) rc = ft_ranks_meet(); /* what rank 0 wrote is there */
done:
    ft_interruptible(false);
    if (ft_tensorboard_close(l.board) < 0 && rc == FT_OK) rc = FT_EIO;
    ft_free(p->text);
    ft_plan_profile(t->main.plan);
    return rc;
}
