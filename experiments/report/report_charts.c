/* Plots of the report: F1 of every arm, paired differences, what they cost, curves of training. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "experiments/report/report_parts.h"
#include "experiments/report/worth.h"

/* ---- rows: a name, a track, a value ------------------------------------------------------------------------------------- */

static double percent(double v, double low, double high) { return 100 * fmin(1, fmax(0, (v - low) / (high - low))); }

static void axis(FILE *f, double low, double high, double step, bool sign)
{
    fputs("<span class=name></span><div class=axis>", f);
    for (double v = ceil(low / step - 1e-9) * step; v <= high + 1e-9; v += step)
        fprintf(f, sign && fabs(v) > 1e-9 ? "<span style=left:%.1f%%>%+.0f</span>" : "<span style=left:%.1f%%>%.0f</span>",
                percent(v, low, high), 100 * fabs(v) < 1e-6 ? 0.0 : 100 * v);
    fputs("</div><span></span>", f);
}

static void open_row(FILE *f, const char *name, const char *class)
{
    fputs("<span class=name>", f);
    ft_html_text(f, name);
    fprintf(f, "</span><div class=\"track %s\">", class);
}

static void interval(FILE *f, const ft_interval *v, double low, double high)
{
    double from = percent(v->low, low, high), to = percent(v->high, low, high);
    fprintf(f, "<i class=ci style=left:%.1f%%;width:%.1f%%></i><i class=mean style=left:%.1f%%></i>", from, to - from,
            percent(v->mean, low, high));
}

void ft_report_f1(FILE *f, const ft_result *r)
{
    double low = r->trivial_positive;
    for (int i = 0; i < r->n; i++) {
        low = fmin(low, r->arm[i].f1.low);
        for (int k = 0; k < r->arm[i].n; k++) low = fmin(low, r->arm[i].run[k].f1);
    }
    low = fmax(0, floor(low * 10 - 0.2) / 10);
    fputs("<div class=rows role=img aria-label=\"F1 of every arm with its interval\">", f);
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        open_row(f, a->name, "");
        fprintf(f, "<i class=mark style=left:%.1f%%></i>", percent(r->trivial_positive, low, 1));
        interval(f, &a->f1, low, 1);
        for (int k = 0; k < a->n; k++) fprintf(f, "<i class=run style=left:%.1f%%></i>", percent(a->run[k].f1, low, 1));
        fprintf(f, "</div><span class=value>%.1f [%.1f, %.1f]</span>\n", 100 * a->f1.mean, 100 * a->f1.low, 100 * a->f1.high);
    }
    axis(f, low, 1, 0.1, false);
    fputs("</div><p class=soft>F1 in percent: mean, 95 % interval, every run as a dot. Dashed: always answering ", f);
    ft_html_text(f, r->x->classes.positive == FT_MULTILABEL ? "every label" : r->x->classes.name[r->x->classes.positive]);
    fputs(".</p>\n", f);
}

void ft_report_forest(FILE *f, const ft_result *r)
{
    double most = 0.05;
    int n = 0;
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].delta.mean)) most = fmax(most, fmax(-r->arm[i].delta.low, r->arm[i].delta.high)), n++;
    if (n == 0) return;
    most = ceil(most * 20) / 20;
    fputs("<div class=rows role=img aria-label=\"paired differences in F1\">", f);
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        if (isnan(a->delta.mean)) continue;
        open_row(f, a->name, a->verdict == FT_BETTER ? "better" : a->verdict == FT_WORSE ? "worse" : "");
        fputs("<i class=mark style=left:50%></i>", f);
        interval(f, &a->delta, -most, most);
        fprintf(f, "</div><span class=value>%+.1f [%+.1f, %+.1f]</span>\n", 100 * a->delta.mean, 100 * a->delta.low,
                100 * a->delta.high);
    }
    axis(f, -most, most, most > 0.3 ? 0.2 : most > 0.12 ? 0.1 : 0.05, true);
    fputs("</div><p class=soft>Points of F1 against the baseline, paired by split and seed. In colour: differences that are "
          "shown.</p>\n",
          f);
}

/* ---- SVG ---------------------------------------------------------------------------------------------------------------- */

void ft_report_price(FILE *f, const ft_result *r)
{
    enum { W = 360, H = 240, LEFT = 40, RIGHT = 15, TOP = 10, BOTTOM = 40 };
    double first = INFINITY, last = 0, low = 1, high = 0;
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        if (!(a->seconds > 0)) return;
        first = fmin(first, a->seconds), last = fmax(last, a->seconds);
        low = fmin(low, a->f1.low), high = fmax(high, a->f1.high);
    }
    first /= 1.3, last *= 1.3;
    if (high - low < 0.02) low -= 0.01, high += 0.01;
#define X(v) (LEFT + (W - LEFT - RIGHT) * log((v) / first) / log(last / first))
#define Y(v) (TOP + (H - TOP - BOTTOM) * (high - (v)) / (high - low))
    fprintf(f, "<figure><svg viewBox=\"0 0 %d %d\" width=%d role=img aria-label=\"time against F1\">", W, H, W);
    fprintf(f, "<rect x=%d y=%d width=%d height=%d fill=none stroke=\"var(--line)\"/>", LEFT, TOP, W - LEFT - RIGHT,
            H - TOP - BOTTOM);
    for (int k = 0; k < 3; k++) {
        double seconds = first * pow(last / first, k / 2.0), v = low + (high - low) * k / 2;
        char time[32];
        ft_show_time(time, sizeof time, seconds);
        fprintf(f,
                "<text class=soft x=%.0f y=%d text-anchor=%s>%s</text><text class=soft x=%d y=%.0f text-anchor=end>%.0f</text>",
                X(seconds), H - BOTTOM + 15,
                k == 0   ? "start"
                : k == 2 ? "end"
                         : "middle",
                time, LEFT - 5, Y(v) + 4, 100 * v);
    }
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        fprintf(f,
                "<line x1=%.1f x2=%.1f y1=%.1f y2=%.1f stroke=\"%s\" stroke-width=2 opacity=.5 /><circle cx=%.1f cy=%.1f r=5 "
                "fill=\"%s\"><title>",
                X(a->seconds), X(a->seconds), Y(a->f1.low), Y(a->f1.high), ft_hue[i % FT_HUES], X(a->seconds), Y(a->f1.mean),
                ft_hue[i % FT_HUES]);
        ft_html_text(f, a->name);
        fputs("</title></circle>", f);
    }
    fprintf(f, "<text class=soft x=%d y=%d text-anchor=middle>time of all stages of an arm</text></svg>", (W + LEFT) / 2, H - 5);
    fputs(
        "<figcaption>F1 against what it took, logarithmic: generator, samples and classifiers together.</figcaption></figure>\n",
        f);
#undef X
#undef Y
}

void ft_report_labels(FILE *f, const ft_result *r)
{
    enum { W = 560, H = 300, LEFT = 40, RIGHT = 15, TOP = 10, BOTTOM = 40 };
    if (r->points < 2) return;
    double first = r->point[0].labels, last = r->point[r->points - 1].labels, low = 1, high = 0;
    for (int i = 0; i < r->points; i++) low = fmin(low, r->point[i].arm->f1.low), high = fmax(high, r->point[i].arm->f1.high);
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].worth.mean))
            low = fmin(low, ft_worth_f1(r, &r->arm[i])), high = fmax(high, ft_worth_f1(r, &r->arm[i]));
    first /= 1.1, last *= 1.1;
    if (high - low < 0.02) low -= 0.01, high += 0.01;
#define X(v) (LEFT + (W - LEFT - RIGHT) * log((v) / first) / log(last / first))
#define Y(v) (TOP + (H - TOP - BOTTOM) * (high - (v)) / (high - low))
    fprintf(f,
            "<h2>Worth in labels</h2>\n<figure><svg viewBox=\"0 0 %d %d\" width=%d role=img aria-label=\"F1 against labelled "
            "videos\">",
            W, H, W);
    fprintf(f, "<rect x=%d y=%d width=%d height=%d fill=none stroke=\"var(--line)\"/>", LEFT, TOP, W - LEFT - RIGHT,
            H - TOP - BOTTOM);
    for (int k = 0; k < 3; k++) {
        double v = low + (high - low) * k / 2;
        fprintf(f, "<text class=soft x=%d y=%.0f text-anchor=end>%.0f</text>", LEFT - 5, Y(v) + 4, 100 * v);
    }
    for (int i = 0; i < r->n; i++) { /* each arm a line at its F1, with a dot where the curve has it */
        const ft_arm_result *a = &r->arm[i];
        if (isnan(a->worth.mean)) continue;
        double f1 = ft_worth_f1(r, a), at = a->worth.mean + (double)ft_baseline(r, a)->opt.labels;
        fprintf(f, "<line x1=%d x2=%d y1=%.1f y2=%.1f stroke=\"%s\" stroke-dasharray=\"5 4\" opacity=.7><title>", LEFT, W - RIGHT,
                Y(f1), Y(f1), ft_hue[i % FT_HUES]);
        ft_html_text(f, a->name);
        fputs("</title></line>", f);
        if (isfinite(at)) fprintf(f, "<circle cx=%.1f cy=%.1f r=5 fill=\"%s\"/>", X(at), Y(f1), ft_hue[i % FT_HUES]);
    }
    fputs("<polyline fill=none stroke=\"var(--ink)\" stroke-width=1.5 points=\"", f);
    for (int i = 0; i < r->points; i++) fprintf(f, "%.1f,%.1f ", X(r->point[i].labels), Y(r->point[i].f1));
    fputs("\"/>", f);
    for (int i = 0; i < r->points; i++) {
        const ft_label_point *p = &r->point[i];
        fprintf(
            f,
            "<line x1=%.1f x2=%.1f y1=%.1f y2=%.1f stroke=\"var(--ink)\" stroke-width=2 opacity=.4 /><circle cx=%.1f cy=%.1f r=3 "
            "fill=\"var(--ink)\"/><text class=soft x=%.1f y=%d text-anchor=middle>%.0f</text>",
            X(p->labels), X(p->labels), Y(p->arm->f1.low), Y(p->arm->f1.high), X(p->labels), Y(p->arm->f1.mean), X(p->labels),
            H - BOTTOM + 15, p->labels);
    }
    fprintf(f, "<text class=soft x=%d y=%d text-anchor=middle>labelled videos</text></svg>", (W + LEFT) / 2, H - 5);
    fputs(
        "<figcaption>F1 of the baseline with more and fewer labels: means, 95 % intervals, and the monotone curve, from which an "
        "arm's worth in labels is read. Dashed: the arms, a dot where one is read off.</figcaption></figure>\n",
        f);
#undef X
#undef Y
    ft_html_legend(f, r);
}

/* A column of log.csv against the step, smoothed over 5 rows */
static void curve(FILE *f, const char *path, const char *column, const char *title)
{
    char *csv;
    size_t size;
    if (!*path || ft_read_file(path, 0, &csv, &size) < 0) return;
    double step[512], value[512], low = INFINITY, high = -INFINITY;
    int n = 0, which = -1, k = 0;
    char *save = NULL, *line = strtok_r(csv, "\n", &save);
    for (char *p = line; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL, k++)
        if (!strncmp(p, column, strlen(column)) && (p[strlen(column)] == ',' || !p[strlen(column)])) which = k;
    while (which >= 0 && n < 512 && (line = strtok_r(NULL, "\n", &save))) {
        char *p = line;
        for (int i = 0; i < which && p; i++) p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL;
        if (!p) continue;
        step[n] = atof(line);
        value[n++] = atof(p);
    }
    ft_free(csv);
    if (n < 3) return;
    double smooth[512];
    for (int i = 0; i < n; i++) {
        int from = i > 2 ? i - 2 : 0, to = i + 2 < n ? i + 2 : n - 1;
        smooth[i] = 0;
        for (int q = from; q <= to; q++) smooth[i] += value[q] / (to - from + 1);
        low = fmin(low, smooth[i]);
        high = fmax(high, i > n / 20 ? smooth[i] : low); /* the first steps would squash the rest */
    }
    if (!(high > low)) high = low + 1;
    fputs("<figure><svg viewBox=\"0 0 340 170\" width=340 role=img><polyline fill=none stroke=\"var(--accent)\" stroke-width=1.5 "
          "points=\"",
          f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%.1f,%.1f ", 45 + 285 * step[i] / step[n - 1], 140 - 120 * (fmin(smooth[i], high) - low) / (high - low));
    fprintf(f,
            "\"/><line x1=45 x2=330 y1=145 y2=145 stroke=\"var(--line)\"/><text class=soft x=40 y=25 "
            "text-anchor=end>%.3g</text><text class=soft x=40 y=143 text-anchor=end>%.3g</text>"
            "<text class=soft x=330 y=160 text-anchor=end>step %.0f</text></svg><figcaption>",
            high, low, step[n - 1] + 1);
    ft_html_text(f, title);
    fputs("</figcaption></figure>\n", f);
}

void ft_report_training(FILE *f, const ft_result *r)
{
    fputs("<h2>Training</h2>\n<div class=row>", f);
    if (*r->vae_log) curve(f, r->vae_log, "l1", "VAE: L1 error");
    for (int i = 0; i < r->n; i++) {
        char title[300];
        if (*r->arm[i].generator_log) {
            snprintf(title, sizeof title, "%s: epsilon MSE", r->arm[i].name);
            curve(f, r->arm[i].generator_log, "eps_mse", title);
            snprintf(title, sizeof title, "%s: loss of the discriminator", r->arm[i].name); /* of a generator of pixels */
            curve(f, r->arm[i].generator_log, "critic_loss", title);
        }
        snprintf(title, sizeof title, "classifier of %s, split 0, seed 0: loss", r->arm[i].name);
        curve(f, r->arm[i].log, "loss", title);
        snprintf(title, sizeof title, "%s: share of unlabelled clips with a pseudo-label", r->arm[i].name);
        curve(f, r->arm[i].log, "utilisation", title);
    }
    fputs("</div>\n", f);
}
