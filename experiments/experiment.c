#include "experiments/experiment.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "classify/classifier.h"
#include "classify/scores.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/train/train_loop.h"
#include "experiments/arm.h"
#include "experiments/environment.h"
#include "experiments/protocol.h"

enum { MAX_ARMS = 1024 };

/* ---- the whole
 * -------------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    char **entry;
    int n;
} arm_list;

/* A grid as shells write it: `real-unlabelled labels={10,20} ssl.algorithm={fixmatch,softmatch}` is four arms. */
static int expand(arm_list *l, const char *where, const char *entry)
{
    const char *open = strchr(entry, '{'), *close = open ? strchr(open, '}') : NULL;
    if (open && !close) return FT_FAIL(FT_ECONFIG, "%s: %s: a { without its }", where, entry);
    if (l->n == MAX_ARMS) return FT_FAIL(FT_ECONFIG, "%s: more than %d arms", where, MAX_ARMS);
    if (!open) {
        FT_TRY(ft_grow(&l->entry, (size_t)l->n, sizeof *l->entry));
        return (l->entry[l->n++] = ft_strdup(entry)) ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for arms");
    }
    for (const char *p = open + 1; p <= close;) {
        size_t n = strcspn(p, ",}");
        char *one = ft_format("%.*s%.*s%s", (int)(open - entry), entry, (int)n, p, close + 1);
        int rc = one ? expand(l, where, one) : FT_FAIL(FT_ENOMEM, "no memory for arms");
        ft_free(one);
        FT_TRY(rc);
        p += n + 1;
    }
    return FT_OK;
}

static void arm_list_free(arm_list *l)
{
    for (int i = 0; i < l->n; i++) ft_free(l->entry[i]);
    ft_free(l->entry);
}

static int arms_of(ft_result *r, char **entry, int n)
{
    const ft_config *cfg = r->x->cfg;
    const char *where = ft_config_origin(cfg, "arms");
    int runs = (int)(ft_config_int(cfg, "splits") * ft_config_int(cfg, "seeds"));
    bool baseline = false;
    if (n == 0) return FT_FAIL(FT_ECONFIG, "%s: arms is empty. Name at least supervised", where);
    if (!(r->arm = ft_alloc(sizeof *r->arm * (size_t)n))) return FT_FAIL(FT_ENOMEM, "no memory for %d arms", n);
    for (r->n = 0; r->n < n;) {
        ft_arm_result *a = &r->arm[r->n++];
        a->psnr = a->eps_mse = a->frechet = NAN;
        a->run = ft_alloc(sizeof *a->run * (size_t)runs);
        a->line = ft_alloc(sizeof *a->line * (size_t)runs);
        if (!a->run || !a->line) return FT_FAIL(FT_ENOMEM, "no memory for %d runs", runs);
        FT_TRY(ft_arm_read(a, cfg, entry[r->n - 1]));
        for (int k = 0; k + 1 < r->n; k++)
            if (!strcmp(a->name, r->arm[k].name)) return FT_FAIL(FT_ECONFIG, "%s: the arm %s stands there twice", where, a->name);
        if (!strncmp(a->arm, "clips: ", 7) && !ft_exists(a->arm + 7))
            return FT_FAIL(FT_EIO, "%s: %s is not there", where, a->arm + 7);
        FT_TRY(ft_protocol_check(a->cfg));
        FT_TRY(ft_classifier_check(a->cfg));
        baseline |= !strcmp(a->name, ft_config_text(cfg, "baseline"));
    }
    if (!baseline && strcmp(ft_config_origin(cfg, "baseline"), "default"))
        return FT_FAIL(FT_ECONFIG, "%s: the baseline %s is none of the arms", ft_config_origin(cfg, "baseline"),
                       ft_config_text(cfg, "baseline"));
    return FT_OK;
}

static int read_arms(ft_result *r)
{
    const char *const *entry, *where = ft_config_origin(r->x->cfg, "arms");
    int n = ft_config_list(r->x->cfg, "arms", &entry), rc = FT_OK;
    arm_list l = {0};
    for (int i = 0; i < n && rc == FT_OK; i++) rc = expand(&l, where, entry[i]);
    if (rc == FT_OK) rc = arms_of(r, l.entry, l.n);
    arm_list_free(&l);
    return rc;
}

/* What an arm is compared with: the baseline, or, if it has another number of labels, the baseline with as many. */
static ft_arm_result *baseline_of(const ft_result *r, const ft_arm_result *a)
{
    const char *name = ft_config_text(r->x->cfg, "baseline");
    ft_arm_result *base = NULL;
    for (int i = 0; i < r->n; i++)
        if (!strcmp(r->arm[i].name, name)) base = &r->arm[i];
    if (strcmp(a->arm, name) && ft_config_int(a->cfg, "labels") != ft_config_int(r->x->cfg, "labels"))
        for (int i = 0; i < r->n; i++)
            if (!strcmp(r->arm[i].arm, name) && ft_config_int(r->arm[i].cfg, "labels") == ft_config_int(a->cfg, "labels"))
                return &r->arm[i];
    return base;
}

static int open_experiment(ft_result *r)
{
    ft_experiment *x = r->x;
    FT_TRY(ft_mkdirs(x->dir));
    int rc;
    while ((rc = ft_experiment_data(x)) == FT_EBUSY) { /* another worker makes the clips */
        if (ft_interrupted) return FT_FAIL(FT_EINTERRUPTED, "interrupted while another process made the clips");
        usleep(300000);
    }
    FT_TRY(rc);
    FT_TRY(ft_classes_make(&x->classes, x->cfg, &x->store));
    FT_TRY(ft_folds_make(&x->folds, &x->n_folds, x->cfg, &x->store, &x->classes));
    for (int i = 0; i < r->n; i++) /* every split must be possible before anything long starts */
        for (int f = 0; f < x->n_folds; f++) {
            ft_videos a, b;
            FT_TRY(ft_split_make(&a, &b, r->arm[i].cfg, &x->store, &x->classes, &x->folds[f], 0));
            ft_free(a.video);
            ft_free(b.video);
        }
    return FT_OK;
}

/* what would explain a score without the picture, said before anything long starts */
static int suspect(ft_result *r)
{
    const ft_experiment *x = r->x;
    FT_TRY(ft_confounds(&x->store, &x->classes, &r->confound, &r->confounds));
    for (int i = 0; i < r->confounds; i++)
        if (r->confound[i].warn)
            ft_warn("%s alone tells the class (%s %.2f, p %.3f): a classifier may learn that instead", r->confound[i].name,
                    r->confound[i].numeric ? "AUROC" : "balanced accuracy", r->confound[i].strength, r->confound[i].p);
    for (int f = 0; f < x->n_folds; f++)
        for (int side = 0; side < 2; side++) {
            ft_twin *t = NULL;
            int n = 0, rc = ft_twins(&x->store, &x->folds[f].test, side ? &x->folds[f].validation : &x->folds[f].pool, &t, &n);
            for (int i = 0; rc == FT_OK && i < n; i++) {
                bool known = false;
                for (int k = 0; k < r->twins; k++)
                    known |=
                        (r->twin[k].a == t[i].a && r->twin[k].b == t[i].b) || (r->twin[k].a == t[i].b && r->twin[k].b == t[i].a);
                if (!known && (rc = ft_grow(&r->twin, (size_t)r->twins, sizeof *r->twin)) == FT_OK) r->twin[r->twins++] = t[i];
            }
            ft_free(t);
            FT_TRY(rc);
        }
    for (int i = 0; i < r->twins && i < 5; i++)
        ft_warn("%s of a test list shows the same as %s: give both one group", x->store.video[r->twin[i].a].name,
                x->store.video[r->twin[i].b].name);
    if (r->twins > 5) ft_warn("and %d more pairs; the report lists them", r->twins - 5);
    return FT_OK;
}

static int distances(ft_result *r)
{
    ft_experiment *x = r->x;
    char folder[FT_PATH];
    bool done;
    json_t *arms = json_array();
    for (int i = 0; i < r->n; i++) json_array_append_new(arms, json_string(r->arm[i].clips));
    FT_TRY(ft_stage(x, "distances", json_pack("{s:s,s:o}", "store", x->store.id, "arms", arms), folder, &done));
    if (!done) {
        int64_t *pool = NULL, *held = NULL, n = 0, m = 0;
        float *real = NULL, *other = NULL;
        json_t *facts = json_object();
        double d;
        FT_TRY(ft_clips_of(&x->store, &x->folds[0].pool, &pool, &n));
        int D = ft_classifier_features("x3d-tiny", &x->store, pool, n, &x->store, pool, n, &real), rc = D;
        if (rc >= 0) rc = ft_clips_of(&x->store, &x->folds[0].validation, &held, &m);
        if (rc >= 0 && m > 1) {
            rc = ft_classifier_features("x3d-tiny", &x->store, pool, n, &x->store, held, m, &other);
            if (rc >= 0) rc = ft_frechet(real, n, other, m, D, &d);
            if (rc >= 0) json_object_set_new(facts, "held-out", json_real(d));
            ft_free(other);
        }
        for (int i = 0; rc >= 0 && i < r->n; i++) {
            ft_clipstore s;
            int same = 0; /* arms that differ in their settings often share their clips */
            while (same < i && strcmp(r->arm[same].clips, r->arm[i].clips) != 0) same++;
            if (same < i && *r->arm[i].clips) json_object_set(facts, r->arm[i].name, json_object_get(facts, r->arm[same].name));
            if (same < i || !*r->arm[i].clips || ft_clipstore_read(&s, r->arm[i].clips) < 0) continue;
            int64_t *all = ft_alloc((size_t)(s.n_clip + 1) * sizeof *all);
            for (int64_t k = 0; all && k < s.n_clip; k++) all[k] = k;
            rc = ft_classifier_features("x3d-tiny", &x->store, pool, n, &s, all, s.n_clip, &other);
            if (rc >= 0) rc = ft_frechet(real, n, other, s.n_clip, D, &d);
            if (rc >= 0) json_object_set_new(facts, r->arm[i].name, json_real(d));
            ft_free(all);
            ft_free(other);
            ft_clipstore_free(&s);
        }
        ft_free(pool);
        ft_free(held);
        ft_free(real);
        if (rc >= 0) rc = ft_stage_done(x, folder, json_incref(facts));
        json_decref(facts);
        FT_TRY(rc);
    }
    json_t *facts = ft_stage_facts(folder), *v = json_object_get(facts, "held-out");
    r->frechet_real = json_is_number(v) ? json_number_value(v) : NAN;
    for (int i = 0; i < r->n; i++) {
        v = json_object_get(facts, r->arm[i].name);
        r->arm[i].frechet = json_is_number(v) ? json_number_value(v) : NAN;
    }
    json_decref(facts);
    return FT_OK;
}

/* McNemar's pairs, by the mean answer of all runs to each video of the one test list */
static void discordant(ft_arm_result *a, const ft_arm_result *b, int classes)
{
    const ft_run_scores *first = &a->run[0];
    int64_t alone[2] = {0, 0};
    for (int64_t i = 0; i < first->n; i++) {
        bool right[2];
        for (int side = 0; side < 2; side++) {
            const ft_arm_result *arm = side ? b : a;
            double mean[FT_MAX_CLASSES] = {0};
            int best = 0;
            for (int k = 0; k < arm->n; k++)
                for (int c = 0; c < classes; c++) mean[c] += (double)arm->run[k].prob[i * classes + c];
            for (int c = 1; c < classes; c++)
                if (mean[c] > mean[best]) best = c;
            right[side] = best == first->label[i];
        }
        alone[0] += right[0] && !right[1];
        alone[1] += right[1] && !right[0];
    }
    memcpy(a->mcnemar, alone, sizeof alone);
    a->p_mcnemar = ft_mcnemar(alone[0], alone[1]);
}

static void compare(ft_result *r)
{
    const ft_config *cfg = r->x->cfg;
    int samples = (int)ft_config_int(cfg, "bootstrap"), C = r->x->classes.n, positive = r->x->classes.positive;
    double p[MAX_ARMS], difference[4096];
#pragma omp parallel for schedule(dynamic)
    for (int i = 0; i < r->n; i++) {
        ft_arm_result *a = &r->arm[i], *base = baseline_of(r, a);
        a->f1 = ft_arm_interval(a->run, a->n, C, positive, samples);
        a->delta = (ft_interval){NAN, NAN, NAN, NAN};
        if (base && base != a) a->delta = ft_paired_interval(a->run, base->run, a->n, C, positive, samples);
    }
    for (int i = 0; i < r->n; i++) {
        ft_arm_result *a = &r->arm[i], *base = baseline_of(r, a);
        p[i] = a->delta_sd = a->p_mcnemar = NAN;
        a->looked = !strcmp(ft_config_text(a->cfg, "selection"), "best-on-test");
        if (base && base != a) {
            int units = a->n <= 4096 ? ft_units(a->run, base->run, a->n, difference) : 0;
            double square = 0;
            p[i] = ft_sign_flip(difference, units);
            for (int k = 0; k < units; k++) square += pow(difference[k] - a->delta.mean, 2);
            if (units > 1) a->delta_sd = sqrt(square / (units - 1));
            if (r->x->n_folds == 1) discordant(a, base, C);
        }
        a->p = p[i];
        a->point_f1 = a->best_look = 0;
        for (int k = 0; k < a->n; k++) {
            json_t *f1 = json_object_get(json_object_get(a->line[k], "operating_point"), "f1");
            json_t *best = json_object_get(json_object_get(a->line[k], "best_on_test"), "f1");
            a->best_look += json_is_number(best) ? json_number_value(best) / a->n : NAN;
            a->point_f1 += json_is_number(f1) ? json_number_value(f1) / a->n : NAN;
        }
    }
    ft_holm(p, r->n);
    for (int i = 0; i < r->n; i++) r->arm[i].p_holm = p[i];
    /* trivial answers on the first run's test videos */
    const ft_run_scores *t = &r->arm[0].run[0];
    float *prob = ft_alloc((size_t)(t->n * C + 1) * sizeof *prob);
    for (int kind = 0; prob && kind < 2; kind++) {
        for (int64_t i = 0; i < t->n; i++)
            for (int c = 0; c < C; c++) prob[i * C + c] = C == 2 ? (c == positive) == (kind == 0) : c == (kind ? 0 : positive);
        *(kind ? &r->trivial_negative : &r->trivial_positive) = ft_f1(prob, t->label, NULL, t->n, C, positive);
    }
    ft_free(prob);
    double prevalence = 0; /* guessing positive at the rate of the training labels, which are balanced: 1 / classes */
    for (int64_t i = 0; i < t->n; i++) prevalence += t->label[i] == positive;
    prevalence /= (double)t->n;
    r->trivial_prior = C == 2 ? 2 * prevalence * 0.5 / (prevalence + 0.5) : 1.0 / C;
    r->test_videos = t->n;
}

static int write_lines(const ft_result *r)
{
    char path[FT_PATH], *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f) return FT_FAIL(FT_ENOMEM, "no memory for results");
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->arm[i].n; k++) {
            char *line = json_dumps(r->arm[i].line[k], JSON_COMPACT);
            fprintf(f, "%s\n", line ? line : "{}");
            free(line);
        }
    fclose(f);
    snprintf(path, sizeof path, "%s/results.jsonl", r->x->dir);
    int rc = ft_write_file(path, text, size);
    free(text);
    return rc;
}

static int copy_clips(const ft_result *r) /* clips/ARM.h5 points into runs/ */
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
        unlink(path);
        if (symlink(to, path) != 0) return FT_FAIL(FT_EIO, "%s: cannot be linked", path);
    }
    return FT_OK;
}

static void close_experiment(ft_result *r)
{
    ft_experiment *x = r->x;
    ft_stages_failed(x, NULL);
    for (int i = 0; r->arm && i < r->n; i++) {
        ft_config_free(r->arm[i].cfg);
        for (int k = 0; r->arm[i].run && k < r->arm[i].n; k++) {
            ft_free((void *)r->arm[i].run[k].prob);
            ft_free((void *)r->arm[i].run[k].label);
            json_decref(r->arm[i].line[k]);
        }
        ft_free(r->arm[i].run);
        ft_free(r->arm[i].line);
    }
    ft_free(r->arm);
    ft_free(r->confound);
    ft_free(r->twin);
    ft_folds_free(x->folds, x->n_folds);
    ft_classes_free(&x->classes);
    ft_clipstore_free(&x->store);
    ft_free(x->lease);
    ft_free(x->needed);
}

int ft_experiment_worker(ft_config *cfg, const char *dir)
{
    ft_experiment x = {.cfg = cfg, .began = time(NULL)};
    ft_result r = {.x = &x};
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    int rc = read_arms(&r);
    if (rc == FT_OK) rc = open_experiment(&r);
    if (rc == FT_OK) rc = ft_experiment_work(&r);
    close_experiment(&r);
    return rc;
}

int ft_experiment_run(ft_config *cfg, const char *dir, const char *command, bool json)
{
    ft_experiment x = {.cfg = cfg, .began = time(NULL)};
    ft_result r = {.x = &x, .command = command, .psnr = NAN, .frechet_real = NAN};
    char path[FT_PATH];
    int n = 0, lease = -1, splits = (int)ft_config_int(cfg, "splits"), seeds = (int)ft_config_int(cfg, "seeds"), rc;
    double start = ft_now();
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    FT_TRY_TO(rc, done, read_arms(&r));
    n = r.n;
    FT_TRY_TO(rc, done, open_experiment(&r));
    FT_TRY_TO(rc, done, suspect(&r));
    snprintf(path, sizeof path, "%s/config.yaml", dir);
    FT_TRY_TO(rc, done, ft_config_write(cfg, path));
    ft_log("%lld videos, %lld clips of %d frames and %d pixels; %d classes, positive: %s; %d arms x %d splits x %d seeds",
           (long long)x.store.n_video, (long long)x.store.n_clip, x.store.frames, x.store.size, x.classes.n,
           x.classes.name[x.classes.positive], n, splits, seeds);
    FT_TRY_TO(rc, done, ft_experiment_work(&r));
    FT_TRY_TO(rc, done, ft_lease(dir, true, &lease)); /* tables are written by one at a time */
    for (int i = 0; i < n; i++)
        for (int split = 0; split < splits; split++)
            for (int seed = 0; seed < seeds; seed++) FT_TRY_TO(rc, done, ft_experiment_one_run(&x, &r.arm[i], split, seed));
    FT_TRY_TO(rc, done, distances(&r));
    compare(&r);
    for (int i = 0; i < n; i++)
        if (!isnan(r.arm[i].psnr) && !*r.vae_log) {
            ft_fold_vae v;
            FT_TRY_TO(rc, done, ft_fold_vae_get(&x, r.arm[i].cfg, 0, &v));
            snprintf(r.vae_log, sizeof r.vae_log, "%.1100s/log.csv", v.vae);
        }
    for (int i = 0; i < n; i++) {
        if (!isnan(r.arm[i].psnr)) r.psnr = r.arm[i].psnr;
        for (int k = 0; k < r.arm[i].n; k++) r.seconds += json_number_value(json_object_get(r.arm[i].line[k], "wall_s"));
    }
    FT_TRY_TO(rc, done, write_lines(&r));
    FT_TRY_TO(rc, done, copy_clips(&r));
    FT_TRY_TO(rc, done, ft_summary_write(&r));
    snprintf(path, sizeof path, "%s/environment.json", dir);
    FT_TRY_TO(rc, done, ft_environment_write(path, command));
    snprintf(path, sizeof path, "%s/report.html", dir);
    FT_TRY_TO(rc, done, ft_report_write(&r, path));
    if (json) {
        json_t *o = ft_summary_json(&r);
        json_object_set_new(o, "report", json_string(path));
        json_object_set_new(o, "computed", json_integer(x.computed));
        json_object_set_new(o, "cached", json_integer(x.cached));
        json_dumpf(o, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(o);
    } else {
        ft_summary_print(&r, stdout);
        printf("\n%s (%d stages computed, %d from the cache, %.0f s)\n", path, x.computed, x.cached, ft_now() - start);
    }
done:
    close_experiment(&r);
    if (lease >= 0) ft_release(lease);
    return rc;
}

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
    ft_experiment x = {.cfg = cfg, .began = time(NULL), .complete = true};
    ft_result r = {.x = &x};
    char path[FT_PATH], **name = NULL;
    int n = 0, lease = -1, removed = 0, rc, splits = (int)ft_config_int(cfg, "splits"), seeds = (int)ft_config_int(cfg, "seeds");
    double bytes = 0;
    snprintf(x.dir, sizeof x.dir, "%s", dir);
    FT_TRY_TO(rc, done, read_arms(&r));
    FT_TRY_TO(rc, done, ft_lease(dir, true, &lease));
    FT_TRY_TO(rc, done, open_experiment(&r));
    for (int i = 0; i < r.n; i++)
        for (int split = 0; split < splits; split++)
            for (int seed = 0; seed < seeds; seed++) FT_TRY_TO(rc, done, ft_experiment_one_run(&x, &r.arm[i], split, seed));
    FT_TRY_TO(rc, done, distances(&r));
    snprintf(path, sizeof path, "%s/runs", dir);
    FT_TRY_TO(rc, done, ft_list_dir(path, &name, &n));
    for (int i = 0; i < n; i++) {
        bool needed = false;
        int one;
        for (int k = 0; k < x.n_needed; k++) needed |= !strcmp(x.needed[k], name[i]);
        char *folder = ft_format("%s/%s", path, name[i]);
        if (!needed && folder && ft_lease(folder, false, &one) == FT_OK) { /* else somebody is at it */
            bytes += size_of(folder);
            rc = ft_remove_tree(folder);
            ft_release(one);
            if (rc == FT_OK && !json) printf("removed %s\n", name[i]);
            removed++;
        }
        ft_free(folder);
        if (rc < 0) break;
    }
    if (json) printf("{\"removed\": %d, \"kept\": %d, \"bytes\": %.0f}\n", removed, n - removed, bytes);
    else printf("%d of %d stages removed, %.1f MiB\n", removed, n, bytes / 1048576);
done:
    for (int i = 0; i < n; i++) ft_free(name[i]);
    ft_free(name);
    close_experiment(&r);
    if (lease >= 0) ft_release(lease);
    return rc;
}

int ft_experiment_status(ft_config *cfg, const char *dir)
{
    char path[FT_PATH], **name;
    int n, done = 0, rc;
    (void)cfg;
    snprintf(path, sizeof path, "%s/runs", dir);
    FT_TRY(ft_list_dir(path, &name, &n));
    for (int i = 0; i < n; i++) {
        char *folder = ft_format("%s/%s", path, name[i]), *mark = ft_format("%s/done.json", folder ? folder : "");
        char *bad = ft_format("%s/failed.json", folder ? folder : "");
        int lease;
        const char *is = "begun";
        if (folder && mark && bad) {
            if (ft_exists(mark)) is = "done", done++;
            else if (ft_lease(folder, false, &lease) == FT_EBUSY) is = "running";
            else {
                ft_release(lease);
                if (ft_exists(bad)) is = "failed";
            }
        }
        printf("%-40s %s\n", name[i], is);
        if (!strcmp(is, "failed")) {
            json_t *o = json_load_file(bad, 0, NULL);
            const char *why = json_string_value(json_object_get(o, "error"));
            printf("    %s\n", why ? why : "");
            json_decref(o);
        }
        ft_free(folder);
        ft_free(mark);
        ft_free(bad);
        ft_free(name[i]);
    }
    ft_free(name);
    rc = printf("%d of %d stages done\n", done, n) < 0 ? FT_EIO : FT_OK;
    return rc;
}
