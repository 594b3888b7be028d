/* The tables: screen, CSV, Markdown, LaTeX. All show percent of F1 except summary.csv, which holds fractions. */
#include "experiments/report/summary.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/status.h"
#include "experiments/report/verdict.h"
#include "experiments/stages/passport.h"

static void number(char out[32], double v, const char *format)
{
    if (isnan(v)) out[0] = 0;
    else snprintf(out, 32, format, v);
}

static void numbers(FILE *f, const double *v, size_t n, const char *format)
{
    for (size_t k = 0; k < n; k++) {
        char s[32];
        number(s, v[k], format);
        fprintf(f, ",%s", s);
    }
}

/* each label by itself, a line a run; where a video may have several */
static void by_class(const ft_result *r, FILE *f)
{
    static const char *const metric[] = {"f1", "auroc", "auprc"};
    const ft_classes *c = &r->x->classes;
    fprintf(f, "arm,split,seed,label,videos,f1,auroc,auprc\n");
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->arm[i].n * c->n; k++) {
            const ft_run_scores *run = &r->arm[i].run[k / c->n];
            const json_t *m = json_object_get(r->arm[i].line[k / c->n], "metrics"),
                         *of = json_array_get(json_object_get(m, "of_class"), (size_t)(k % c->n));
            double v[3];
            for (int q = 0; q < 3; q++) {
                const json_t *one = json_object_get(of, metric[q]);
                v[q] = json_is_number(one) ? json_number_value(one) : (double)NAN;
            }
            ft_csv_cell(f, r->arm[i].name);
            fprintf(f, ",%d,%d,", run->split, run->seed);
            ft_csv_cell(f, c->name[k % c->n]);
            fprintf(f, ",%lld", (long long)json_integer_value(json_object_get(of, "videos")));
            numbers(f, v, 3, "%.6f");
            fputc('\n', f);
        }
}

static void csv(const ft_result *r, FILE *f)
{
    fprintf(
        f,
        "arm,runs,f1_mean,f1_std,f1_ci_low,f1_ci_high,delta_f1,delta_ci_low,delta_ci_high,p_value,p_holm,power_mde,worth_labels,"
        "worth_low,worth_high,equivalent,tost_p,tost_p_holm,verdict,copies,copies_ci_low,copies_ci_high,copies_held_out,"
        "coverage,coverage_ci_low,coverage_ci_high,ratio_test");
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        const char *d = ft_set_distance_names[i].name;
        fprintf(f, ",real_%s,real_%s_ci_low,real_%s_ci_high,real_%s_alike,real_%s_floor", d, d, d, d, d);
    }
    fputs(",features_network", f);
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        const char *d = ft_set_distance_names[i].name;
        fprintf(f, ",features_%s,features_%s_ci_low,features_%s_ci_high,features_%s_alike,features_%s_floor", d, d, d, d, d);
    }
    fputc('\n', f);
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        const double scores[] = {a->f1.mean,   a->f1.std,     a->f1.low, a->f1.high, a->delta.mean,
                                 a->delta.low, a->delta.high, a->p,      a->p_holm,  a->smallest};
        ft_csv_cell(f, a->name);
        fprintf(f, ",%d", a->n);
        numbers(f, scores, sizeof scores / sizeof *scores, "%.6f");
        numbers(f, (double[]){a->worth.mean, a->worth.low, a->worth.high}, 3, "%.2f"); /* inf: beyond the curve */
        fprintf(f, ",%s", ft_equivalent_word(r, a));
        numbers(f, (double[]){a->tost, a->tost_holm}, 2, "%.6f");
        fprintf(f, ",%s", ft_verdict_word(a));
        const ft_memorisation *m = &a->copies;
        const double copies[] = {m->copies.value,   m->copies.low,   m->copies.high,   m->copies_held_out.value,
                                 m->coverage.value, m->coverage.low, m->coverage.high, m->ratio.value};
        if (a->passport) numbers(f, copies, sizeof copies / sizeof *copies, "%.6f");
        else fputs(",,,,,,,,", f);
        for (int k = 0; k < FT_SET_DISTANCES; k++) {
            const ft_set_distance *d = &a->distance[k];
            numbers(f, (double[]){d->value, d->low, d->high, d->alike, d->floor}, 5, "%.6g");
        }
        fputc(',', f);
        ft_csv_cell(f, a->network);
        for (int k = 0; k < FT_SET_DISTANCES; k++) {
            const ft_set_distance *d = &a->seen[k];
            numbers(f, (double[]){d->value, d->low, d->high, d->alike, d->floor}, 5, "%.6g");
        }
        fputc('\n', f);
    }
}

/* rows of cells: arm, F1 with interval, difference with interval, p, and worth in labels where there is a curve */
static void cells(const ft_result *r, const ft_arm_result *a, char f1[64], char delta[64], char p[32], char worth[100])
{
    snprintf(f1, 64, "%.1f [%.1f, %.1f]", 100 * a->f1.mean, 100 * a->f1.low, 100 * a->f1.high);
    delta[0] = 0;
    if (!isnan(a->delta.mean))
        snprintf(delta, 64, "%+.1f [%+.1f, %+.1f]", 100 * a->delta.mean, 100 * a->delta.low, 100 * a->delta.high);
    number(p, a->p_holm, "%.3f");
    ft_worth_text(r, a, worth);
}

static void trivial(const ft_result *r, FILE *f, const char *format)
{
    fprintf(f, format, "always positive", 100 * r->trivial_positive);
    fprintf(f, format, "always negative", 100 * r->trivial_negative);
    fprintf(f, format, "guess by prior", 100 * r->trivial_prior);
}

static void steps(const ft_result *r, FILE *f)
{
    const ft_arm_options *o = &r->opt;
    fprintf(f,
            "protocol %s: %lld labels, %lld test videos, %d splits x %d seeds, %s; steps: VAE %lld, generator %lld, "
            "classifier %lld",
            o->protocol, (long long)o->labels, (long long)r->test_videos, o->splits, o->seeds, o->evaluation,
            (long long)o->vae_steps, (long long)o->generator_steps, (long long)o->classifier_steps);
    if (r->x->classes.positive == FT_MULTILABEL)
        fprintf(f, "; several labels a video: F1 is the mean over %d labels", r->x->classes.n);
}

/* "labels alone: 10 videos 61.2 [50.1, 70.3], ..." */
static void curve_points(const ft_result *r, FILE *f)
{
    for (int i = 0; i < r->points; i++) {
        const ft_interval *v = &r->point[i].arm->f1;
        fprintf(f, "%s%.0f videos %.1f [%.1f, %.1f]", i ? ", " : "labels alone: ", r->point[i].labels, 100 * v->mean,
                100 * v->low, 100 * v->high);
    }
    if (r->points) fputc('\n', f);
}

/* `special` with a backslash in front */
static void escaped(FILE *f, const char *s, const char *special)
{
    for (; *s; s++) fprintf(f, strchr(special, *s) ? "\\%c" : "%c", *s);
}

/* What the numbers say: first of the run, then of each arm. */
static void verdicts(const ft_result *r, FILE *f, const char *item, const char *special)
{
    char text[FT_SENTENCE];
    ft_verdict_head(r, text);
    if (!*text) return;
    escaped(f, text, special);
    fprintf(f, "\n%s", *item ? "\n" : "");
    for (int i = 0; i < r->n; i++) {
        ft_verdict_text(r, &r->arm[i], text);
        if (!*text) continue;
        fputs(item, f);
        escaped(f, r->arm[i].name, special);
        fputs(": ", f);
        escaped(f, text, special);
        fputc('\n', f);
    }
}

/* a line: "medsora-tiny: like real clips, and as many held-out real clips: frechet 3.1 (1.2), mmd 0.4 [0.2, 0.6] (0.01), ..." */
static void likeness(const ft_arm_result *a, const char *network, const ft_set_distance of[FT_SET_DISTANCES], int64_t alike,
                     FILE *f)
{
    if (isnan(of[0].value)) return;
    fprintf(f, "%s: how like real clips%s%s%s:", a->name, *network ? " in " : "", network, alike ? " (held-out real clips)" : "");
    for (int i = 0; i < FT_SET_DISTANCES; i++) {
        const ft_set_distance *d = &of[i];
        if (isnan(d->value)) continue; /* of an older run */
        fprintf(f, "%s %s %.3g", i ? "," : "", ft_set_distance_names[i].name, alike ? d->alike : d->value);
        if (alike) fprintf(f, " (%.3g)", d->floor);
    }
    fputc('\n', f);
}

void ft_summary_print(const ft_result *r, FILE *f)
{
    int width = 20;
    for (int i = 0; i < r->n; i++)
        if ((int)strlen(r->arm[i].name) > width) width = (int)strlen(r->arm[i].name);
    bool curve = r->points > 1;
    fprintf(f, "\n%-*s %5s  %-22s %-24s %s%s\n", width, "arm", "runs", "F1 [95 % interval]", "difference", "p (Holm)",
            curve ? "  worth in labels" : "");
    for (int i = 0; i < r->n; i++) {
        char f1[64], delta[64], p[32], worth[100];
        cells(r, &r->arm[i], f1, delta, p, worth);
        fprintf(f, "%-*s %5d  %-22s %-24s %-*s%s%s\n", width, r->arm[i].name, r->arm[i].n, f1, delta, curve ? 10 : 0, p, worth,
                r->arm[i].looked ? "  chosen on the test list" : "");
    }
    char row[64];
    snprintf(row, sizeof row, "%%-%ds     -  %%.1f\n", width);
    trivial(r, f, row);
    steps(r, f);
    fputc('\n', f);
    curve_points(r, f);
    verdicts(r, f, "", "");
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].best_look) && !r->arm[i].looked)
            fprintf(f, "%s: the best look at the test list while training had %.1f; the last counts\n", r->arm[i].name,
                    100 * r->arm[i].best_look);
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].eps_mse))
            fprintf(f, "%s: epsilon MSE on held-out videos %.3f (predicting zero: 1)\n", r->arm[i].name, r->arm[i].eps_mse);
    if (!isnan(r->psnr)) fprintf(f, "VAE: %.1f dB PSNR on held-out videos\n", r->psnr);
    for (int i = 0; i < r->n; i++) {
        bool said = false; /* of the same clips */
        for (int k = 0; k < i; k++) said |= r->arm[k].likeness == r->arm[i].likeness;
        if (!said) likeness(&r->arm[i], "", r->arm[i].distance, r->arm[i].alike, f);
        if (!said) likeness(&r->arm[i], r->arm[i].network, r->arm[i].seen, r->arm[i].seen_alike, f);
    }
    for (int i = 0; i < r->n; i++) {
        char text[FT_PASSPORT_TEXT];
        if (!r->arm[i].passport) continue;
        ft_passport_text(&r->arm[i].copies, text);
        fprintf(f, "%s: %s\n", r->arm[i].name, text);
    }
    for (int i = 0; i < r->n; i++) {
        char text[300];
        ft_filtered_text(&r->arm[i].filtered, text);
        if (*text) fprintf(f, "%s: %s\n", r->arm[i].name, text);
    }
}

static json_t *real(double v) { return isnan(v) ? json_null() : json_real(v); }

/* in labels; beyond the curve as text */
static json_t *labels(double v)
{
    return isinf(v) ? json_string(v > 0 ? "more than the curve" : "less than the curve") : real(v);
}

/* means over runs; null: nothing was filtered */
static json_t *filtered_json(const ft_filtered *f)
{
    if (f->runs == 0) return json_null();
    json_t *dropped = json_object();
    for (int i = 0; i < FT_FILTER_RULES; i++)
        if (f->ruled[i]) json_object_set_new(dropped, ft_filter_rule[i], json_real(f->dropped[i] / f->runs));
    return json_pack("{s:f,s:o,s:f,s:f}", "drawn", f->drawn / f->runs, "dropped", dropped, "kept", f->kept / f->runs, "used",
                     f->used / f->runs);
}

static json_t *arm_json(const ft_result *r, const ft_arm_result *a)
{
    char text[FT_SENTENCE];
    ft_verdict_text(r, a, text);
    return json_pack("{s:s,s:i,s:f,s:f,s:f,s:f,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:s,s:s,s:s,s:o,s:o,s:o,s:"
                     "o,s:o,s:o,s:I,s:s,s:o,s:I}",
                     "arm", a->name, "runs", a->n, "f1_mean", a->f1.mean, "f1_std", a->f1.std, "f1_ci_low", a->f1.low,
                     "f1_ci_high", a->f1.high, "delta_f1", real(a->delta.mean), "delta_ci_low", real(a->delta.low),
                     "delta_ci_high", real(a->delta.high), "p_value", real(a->p), "p_holm", real(a->p_holm), "eps_mse",
                     real(a->eps_mse), "frechet", real(a->distance[FT_DISTANCE_frechet].value), "delta_sd", real(a->delta_sd),
                     "mcnemar_p", real(a->p_mcnemar), "operating_point_f1", real(a->point_f1), "chosen_on_test",
                     json_boolean(a->looked), "power_mde", real(a->smallest), "tost_p", real(a->tost), "tost_p_holm",
                     real(a->tost_holm), "verdict", ft_verdict_word(a), "equivalent", ft_equivalent_word(r, a), "verdict_text",
                     text, "worth_labels", labels(a->worth.mean), "worth_low", labels(a->worth.low), "worth_high",
                     labels(a->worth.high), "memorisation", a->passport ? ft_memorisation_json(&a->copies) : json_null(),
                     "filter", filtered_json(&a->filtered), "distances", ft_set_distances_json(a->distance), "alike_clips",
                     (json_int_t)a->alike, "features_network", a->network, "features_distances", ft_set_distances_json(a->seen),
                     "features_alike_clips", (json_int_t)a->seen_alike);
}

static json_t *curve_json(const ft_result *r)
{
    json_t *curve = json_array();
    for (int i = 0; i < r->points; i++) {
        const ft_label_point *p = &r->point[i];
        json_array_append_new(curve, json_pack("{s:f,s:f,s:f,s:f,s:f}", "labels", p->labels, "f1_mean", p->arm->f1.mean,
                                               "f1_ci_low", p->arm->f1.low, "f1_ci_high", p->arm->f1.high, "f1_monotone", p->f1));
    }
    return curve;
}

static json_t *control_json(const ft_result *r)
{
    bool seen;
    const ft_arm_result *c = ft_positive_control(r, NULL, &seen);
    return c ? json_pack("{s:s,s:b}", "arm", c->name, "seen", seen) : json_null();
}

json_t *ft_summary_json(const ft_result *r)
{
    char head[FT_SENTENCE];
    json_t *arms = json_array();
    for (int i = 0; i < r->n; i++) json_array_append_new(arms, arm_json(r, &r->arm[i]));
    ft_verdict_head(r, head);
    return json_pack("{s:s,s:o,s:o,s:{s:f,s:f,s:f},s:o,s:o,s:I,s:o,s:f}", "verdict", head, "arms", arms, "positive_control",
                     control_json(r), "trivial", "always_positive", r->trivial_positive, "always_negative", r->trivial_negative,
                     "prior", r->trivial_prior, "vae_psnr", real(r->psnr), "frechet_held_out", real(r->frechet_real),
                     "test_videos", (json_int_t)r->test_videos, "curve", curve_json(r), "margin", r->opt.margin / 100);
}

static void markdown(const ft_result *r, FILE *f)
{
    bool curve = r->points > 1;
    fprintf(f, "| arm | runs | F1 [95 %% interval] | difference | p (Holm) |%s\n| --- | --- | --- | --- | --- |%s\n",
            curve ? " worth in labels |" : "", curve ? " --- |" : "");
    for (int i = 0; i < r->n; i++) {
        char f1[64], delta[64], p[32], worth[100];
        cells(r, &r->arm[i], f1, delta, p, worth);
        fputs("| ", f);
        escaped(f, r->arm[i].name, "\\`*_{}[]<>()#+-!|~$&");
        fprintf(f, " | %d | %s | %s | %s |", r->arm[i].n, f1, delta, p);
        fprintf(f, curve ? " %s |\n" : "\n", worth);
    }
    trivial(r, f, curve ? "| %s | - | %.1f | | | |\n" : "| %s | - | %.1f | | |\n");
    fputc('\n', f);
    steps(r, f);
    fputs("\n\n", f);
    if (curve) fputs("| labels alone | F1 [95 % interval] | of the monotone curve |\n| --- | --- | --- |\n", f);
    for (int i = 0; i < r->points; i++) {
        const ft_interval *v = &r->point[i].arm->f1;
        fprintf(f, "| %.0f videos | %.1f [%.1f, %.1f] | %.1f |\n", r->point[i].labels, 100 * v->mean, 100 * v->low, 100 * v->high,
                100 * r->point[i].f1);
    }
    if (curve) fputc('\n', f);
    verdicts(r, f, "- ", "\\`*_{}[]<>|~$&");
}

static void latex_text(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '\\') fputs("\\textbackslash{}", f);
        else if (*s == '~') fputs("\\textasciitilde{}", f);
        else if (*s == '^') fputs("\\textasciicircum{}", f);
        else fprintf(f, strchr("_&%$#{}", *s) ? "\\%c" : "%c", *s);
    }
}

static void latex(const ft_result *r, FILE *f)
{
    bool curve = r->points > 1;
    fprintf(f, "\\begin{tabular}{lrlll%s}\narm & runs & F1 [95\\,\\%%] & difference & $p$ (Holm)%s \\\\\n\\hline\n",
            curve ? "l" : "", curve ? " & worth in labels" : "");
    for (int i = 0; i < r->n; i++) {
        char f1[64], delta[64], p[32], worth[100];
        cells(r, &r->arm[i], f1, delta, p, worth);
        latex_text(f, r->arm[i].name);
        fprintf(f, " & %d & %s & %s & %s", r->arm[i].n, f1, delta, p);
        fprintf(f, curve ? " & %s \\\\\n" : " \\\\\n", worth);
    }
    fprintf(f, "\\hline\n");
    trivial(r, f, curve ? "%s & & %.1f & & & \\\\\n" : "%s & & %.1f & & \\\\\n");
    fprintf(f, "\\end{tabular}\n");
    for (int i = 0; i < r->points; i++)
        fprintf(f, "%s%.0f: %.1f [%.1f, %.1f]%s", i ? "; " : "% labels alone: ", r->point[i].labels,
                100 * r->point[i].arm->f1.mean, 100 * r->point[i].arm->f1.low, 100 * r->point[i].arm->f1.high,
                i + 1 < r->points ? "" : "\n");
    char text[FT_SENTENCE];
    ft_verdict_head(r, text);
    if (*text) fprintf(f, "%% %s\n", text);
    for (int i = 0; i < r->n; i++) {
        ft_verdict_text(r, &r->arm[i], text);
        if (*text) fprintf(f, "%% %s: %s\n", r->arm[i].name, text);
    }
}

/* a line for each run */
static void runs(const ft_result *r, FILE *f)
{
    static const char *const metric[] = {
        "f1", "accuracy", "balanced_accuracy", "sensitivity", "specificity", "mcc", "auroc", "auprc", "brier", "ece"};
    fprintf(f, "arm,split,seed");
    for (int q = 0; q < 10; q++) fprintf(f, ",%s", metric[q]);
    fprintf(f, ",utilisation,steps,wall_s\n");
    for (int i = 0; i < r->n; i++)
        for (int k = 0; k < r->arm[i].n; k++) {
            const json_t *line = r->arm[i].line[k], *m = json_object_get(line, "metrics");
            ft_csv_cell(f, r->arm[i].name);
            fprintf(f, ",%d,%d", r->arm[i].run[k].split, r->arm[i].run[k].seed);
            for (int q = 0; q < 10; q++) {
                const json_t *v = json_object_get(m, metric[q]);
                char s[32];
                number(s, json_is_number(v) ? json_number_value(v) : NAN, "%.6f");
                fprintf(f, ",%s", s);
            }
            fprintf(f, ",%.6f,%lld,%.3f\n", json_number_value(json_object_get(line, "utilisation")),
                    (long long)json_integer_value(json_object_get(line, "steps")),
                    json_number_value(json_object_get(line, "wall_s")));
        }
}

int ft_summary_write(const ft_result *r)
{
    static const struct {
        const char *name;
        void (*write)(const ft_result *r, FILE *f);
    } files[] = {
        {"summary.csv", csv}, {"runs.csv", runs}, {"summary.md", markdown}, {"summary.tex", latex}, {"labels.csv", by_class}};
    for (int i = 0; i < (r->x->classes.positive == FT_MULTILABEL ? 5 : 4); i++) {
        char path[FT_PATH];
        ft_text t;
        FT_TRY(ft_text_begin(&t));
        files[i].write(r, t.f);
        snprintf(path, sizeof path, "%s/%s", r->x->dir, files[i].name);
        FT_TRY(ft_text_write(&t, path));
    }
    return FT_OK;
}
