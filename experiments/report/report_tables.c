/* Tables and sentences of the report. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/report/report_parts.h"
#include "experiments/report/verdict.h"
#include "experiments/stages/environment.h"

void ft_report_verdicts(FILE *f, const ft_result *r)
{
    char text[FT_SENTENCE];
    ft_verdict_head(r, text);
    fputs("<p class=lead>", f);
    ft_html_text(f, text);
    fputs("</p>\n<ul>", f);
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        ft_verdict_text(r, a, text);
        if (!*text) continue;
        fputs("<li><b>", f);
        ft_html_text(f, a->name);
        fprintf(f, "</b>: <span class=%s>", a->verdict == FT_BETTER ? "good" : a->verdict == FT_WORSE ? "bad" : "plain");
        ft_html_text(f, text);
        fputs("</span>.</li>\n", f);
    }
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].best_look) && !r->arm[i].looked) {
            fputs("<li class=bad>", f);
            ft_html_text(f, r->arm[i].name);
            fprintf(f, ": the best look at the test list while training had %.1f; the last one counts.</li>\n",
                    100 * r->arm[i].best_look);
        }
    fputs("</ul>\n", f);
}

static void trivial(ft_html_table *t, const char *name, double f1)
{
    ft_html_row(t, false);
    ft_html_name(t, name, "");
    ft_html_cell(t, "%s", "");
    ft_html_cell(t, "%.1f", 100 * f1);
    while (t->at[0]) ft_html_cell(t, "%s", "");
}

void ft_report_scores(FILE *f, const ft_result *r)
{
    ft_html_table t = ft_html_table_begin(
        f, "arm|runs|F1|95 % interval|difference|95 % interval|p (Holm)|AUROC|balanced acc.|sens.|spec.|utilisation");
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        static const char *const also[] = {"auroc", "balanced_accuracy", "sensitivity", "specificity"};
        double mean[4] = {0}, used = 0;
        for (int k = 0; k < a->n; k++) {
            json_t *m = json_object_get(a->line[k], "metrics");
            for (int q = 0; q < 4; q++) mean[q] += json_number_value(json_object_get(m, also[q])) / a->n;
            used += json_number_value(json_object_get(a->line[k], "utilisation")) / a->n;
        }
        ft_html_row(&t, a->looked);
        ft_html_name(&t, a->name, a->looked ? " (chosen on the test list)" : "");
        ft_html_cell(&t, "%d", a->n);
        ft_html_cell(&t, "%.1f", 100 * a->f1.mean);
        ft_html_cell(&t, "%.1f to %.1f", 100 * a->f1.low, 100 * a->f1.high);
        if (isnan(a->delta.mean)) ft_html_cell(&t, "%s", ""), ft_html_cell(&t, "%s", "");
        else {
            ft_html_cell(&t, "%+.1f", 100 * a->delta.mean);
            ft_html_cell(&t, "%+.1f to %+.1f", 100 * a->delta.low, 100 * a->delta.high);
        }
        if (isnan(a->p_holm)) ft_html_cell(&t, "%s", "");
        else ft_html_cell(&t, "%.3f", a->p_holm);
        ft_html_cell(&t, "%.3f", mean[0]);
        for (int q = 1; q < 4; q++) ft_html_cell(&t, "%.1f", 100 * mean[q]);
        ft_html_cell(&t, "%.0f %%", 100 * used);
    }
    trivial(&t, "always positive", r->trivial_positive);
    trivial(&t, "always negative", r->trivial_negative);
    trivial(&t, "guess by prior", r->trivial_prior);
    ft_html_table_end(&t);
}

static void mean_of(ft_html_table *t, const ft_arm_result *a, int class, const char *score, const char *format, double scale)
{
    double sum = 0, runs = 0;
    for (int k = 0; k < a->n; k++) {
        json_t *of = json_array_get(json_object_get(json_object_get(a->line[k], "metrics"), "of_class"), (size_t) class);
        json_t *v = json_object_get(of, score);
        if (json_is_number(v)) sum += json_number_value(v), runs++;
    }
    if (runs > 0) ft_html_cell(t, format, scale * sum / runs);
    else ft_html_cell(t, "%s", "");
}

void ft_report_classes(FILE *f, const ft_result *r)
{
    const ft_classes *c = &r->x->classes;
    if (c->positive != FT_MULTILABEL) return;
    fputs("<p class=soft>A video may have several labels: F1 is the mean over the labels, each with a sigmoid of its own and "
          "predicted above 1/2. By label, mean over runs; the mean of the average precisions is the mAP.</p>\n",
          f);
    ft_html_table t = ft_html_table_begin(f, "label|arm|test videos with it|F1|AUROC|average precision");
    for (int k = 0; k < c->n; k++)
        for (int i = 0; i < r->n; i++) {
            ft_html_row(&t, false);
            ft_html_name(&t, c->name[k], "");
            ft_html_name(&t, r->arm[i].name, "");
            mean_of(&t, &r->arm[i], k, "videos", "%.0f", 1);
            mean_of(&t, &r->arm[i], k, "f1", "%.1f", 100);
            mean_of(&t, &r->arm[i], k, "auroc", "%.3f", 1);
            mean_of(&t, &r->arm[i], k, "auprc", "%.3f", 1);
        }
    ft_html_table_end(&t);
}

void ft_report_worth(FILE *f, const ft_result *r)
{
    if (r->points < 2) return;
    ft_html_table t = ft_html_table_begin(f, "arm|difference|worth in labelled videos, 95 % interval");
    for (int i = 0; i < r->n; i++) {
        char worth[100];
        ft_worth_text(r, &r->arm[i], worth);
        if (!*worth) continue;
        ft_html_row(&t, r->arm[i].looked);
        ft_html_name(&t, r->arm[i].name, "");
        ft_html_cell(&t, "%+.1f", 100 * r->arm[i].delta.mean);
        ft_html_cell(&t, "%s", worth);
    }
    ft_html_table_end(&t);
    fputs("<p class=soft>How many labelled videos more would do for the baseline what the arm does. The curve and the arm are "
          "resampled "
          "together, over splits, seeds and test videos. Nothing is extrapolated.</p>\n",
          f);
}

static void optional(ft_html_table *t, const char *format, double v)
{
    char text[32] = "";
    if (!isnan(v)) snprintf(text, sizeof text, format, v);
    ft_html_cell(t, "%s", text);
}

void ft_report_differences(FILE *f, const ft_result *r)
{
    ft_html_table t =
        ft_html_table_begin(f, "arm|difference|sd over splits|smallest to be shown|equivalence p|splits to see 5 F1|videos only "
                               "this arm has right|only the baseline|McNemar p|F1 at a threshold from validation");
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        ft_html_row(&t, a->looked);
        ft_html_name(&t, a->name, "");
        if (isnan(a->delta.mean)) ft_html_cell(&t, "%s", "");
        else ft_html_cell(&t, "%+.1f", 100 * a->delta.mean);
        optional(&t, "%.1f", 100 * a->delta_sd);
        optional(&t, "%.1f", 100 * a->smallest);
        optional(&t, "%.3f", a->tost_holm);
        if (isnan(a->delta_sd)) ft_html_cell(&t, "%s", "");
        else {
            ft_html_cell(&t, "%lld", (long long)ft_pairs_needed(0.05, a->delta_sd));
        }
        if (isnan(a->delta.mean) || isnan(a->p_mcnemar))
            for (int k = 0; k < 3; k++) ft_html_cell(&t, "%s", "");
        else {
            ft_html_cell(&t, "%lld", (long long)a->mcnemar[0]);
            ft_html_cell(&t, "%lld", (long long)a->mcnemar[1]);
            ft_html_cell(&t, "%.3f", a->p_mcnemar);
        }
        if (isnan(a->point_f1)) ft_html_cell(&t, "%s", "");
        else ft_html_cell(&t, "%.1f", 100 * a->point_f1);
    }
    ft_html_table_end(&t);
    fprintf(
        f,
        "<p class=soft>Smallest to be shown: with this spread, a true difference of so many points is found with 80 %% "
        "probability by the sign flips over splits at the first level of Holm's correction and by the interval, whichever needs "
        "more; empty: none could be. Equivalence p: two one-sided t tests over splits that the difference is within %g points, "
        "Holm over the arms of generated clips and their controls. Splits to see 5 F1: so many pairs find a true difference of 5 "
        "points with 80 %% probability (two-sided, 0.05). McNemar: exact, on the mean answer of all runs to each test "
        "video.</p>\n",
        r->opt.margin);
}

void ft_report_confounds(FILE *f, const ft_result *r)
{
    if (r->found.confounds + r->found.twins == 0) return;
    fputs("<h2>Can the class be told without looking?</h2>\n", f);
    ft_html_table t = ft_html_table_begin(f, "fact of a video|different values|how well it tells the class alone|p");
    for (int i = 0; i < r->found.confounds; i++) {
        const ft_confound *c = &r->found.confound[i];
        ft_html_row(&t, c->warn);
        bool each = r->x->classes.positive == FT_MULTILABEL;
        char *of = each ? ft_format("%s, of %s", c->name, r->x->classes.name[c->told]) : NULL;
        ft_html_name(&t, of ? of : c->name, "");
        ft_free(of);
        ft_html_cell(&t, "%d", c->values);
        ft_html_cell(&t, "%s %.2f", c->numeric ? "AUROC" : "balanced accuracy", c->strength);
        ft_html_cell(&t, "%.3f", c->p);
    }
    ft_html_table_end(&t);
    fputs("<p class=soft>0.5 says nothing. In red: this alone separates the classes, so a score may come from it. p: shuffled "
          "labels.</p>\n",
          f);
    for (int i = 0; i < r->found.twins; i++) {
        fputs(i ? "; " : "<p class=bad>Test videos that show what a training or validation video shows: ", f);
        ft_html_text(f, r->x->store.video[r->found.twin[i].a].name);
        fputs(" and ", f);
        ft_html_text(f, r->x->store.video[r->found.twin[i].b].name);
    }
    if (r->found.twins) fputs(". Give such videos one group.</p>\n", f);
}

void ft_report_cost(FILE *f, const ft_result *r)
{
    bool joules = false;
    for (int i = 0; i < r->n; i++) joules |= r->arm[i].joules > 0;
    ft_html_table t = ft_html_table_begin(f, joules ? "arm|generation|classifiers|training, TFLOP|memory, MiB|energy, kJ"
                                                    : "arm|generation|classifiers|training, TFLOP|memory, MiB");
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        char generation[32] = "", classifiers[32];
        if (a->seconds > a->classifier_seconds) ft_show_time(generation, sizeof generation, a->seconds - a->classifier_seconds);
        ft_show_time(classifiers, sizeof classifiers, a->classifier_seconds);
        ft_html_row(&t, false);
        ft_html_name(&t, a->name, "");
        ft_html_cell(&t, "%s", generation);
        ft_html_cell(&t, "%s", classifiers);
        ft_html_cell(&t, "%.3g", a->teraflop);
        ft_html_cell(&t, "%.0f", a->memory_mib);
        if (joules) ft_html_cell(&t, "%.1f", a->joules / 1000);
    }
    ft_html_table_end(&t);
    fputs(
        "<p class=soft>Generation: VAE, generator and its samples, which arms may share: each counts in full for every arm that "
        "uses "
        "it. TFLOP: products of the training steps (two for a multiply and an add), without sampling and evaluation. Memory: the "
        "largest stage.",
        f);
    fputs(joules ? " Energy: of the whole processor meanwhile, other programs and stages beside it included.</p>\n"
                 : " Energy is not readable on this machine.</p>\n",
          f);
}

/* ---- how it was made ---------------------------------------------------------------------------------------------------- */

static void download(FILE *f, const ft_result *r, const char *name, const char *type)
{
    char path[FT_PATH], *data;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", r->x->dir, name);
    if (ft_read_file(path, 0, &data, &size) < 0) return;
    fprintf(f, "<a download=\"%s\" href=\"data:%s;base64,", name, type);
    ft_html_base64(f, (const uint8_t *)data, size);
    fprintf(f, "\">%s</a> ", name);
    ft_free(data);
}

void ft_report_making(FILE *f, const ft_result *r)
{
    const ft_config *c = r->x->cfg;
    const char *key, *licence = ft_config_text(c, "data.licence");
    json_t *e = ft_environment(), *v;
    fputs("<h2>How this was made</h2>\n<p class=screen>Downloads: ", f);
    download(f, r, "summary.csv", "text/csv");
    download(f, r, "runs.csv", "text/csv");
    download(f, r, "summary.tex", "application/x-tex");
    download(f, r, "results.jsonl", "application/json");
    download(f, r, "config.yaml", "application/yaml");
    fputs("</p>\n", f);
    ft_html_table t = ft_html_table_begin(f, "machine and versions|value");
    json_object_foreach(e, key, v)
    {
        char *value = NULL;
        if (!json_is_string(v)) ft_json_text(v, JSON_ENCODE_ANY, &value);
        ft_html_row(&t, false);
        ft_html_name(&t, key, "");
        ft_html_name(&t, json_is_string(v) ? json_string_value(v) : value ? value : "", "");
        ft_free(value);
    }
    ft_html_table_end(&t);
    json_decref(e);
    fputs("<p>Licence and source of the videos: ", f);
    if (*licence) ft_html_text(f, licence);
    else if (ft_config_bool(c, "data.phantom")) fputs("none needed, forty's own procedural phantom", f);
    else fputs("not given (data.licence). Frames of the videos stand on this page: look before passing it on", f);
    fputs(".</p>\n<details><summary>Command and settings</summary><pre>", f);
    if (r->command) ft_html_text(f, r->command);
    fputs("\n", f);
    ft_text settings;
    if (ft_text_begin(&settings) == FT_OK) ft_config_print(c, settings.f);
    if (settings.f && ft_text_end(&settings) == FT_OK) ft_html_text(f, settings.text);
    ft_text_free(&settings);
    fputs("</pre></details>\n", f);
}
