/* report.html: one self-contained page. Charts are SVG written here, contact sheets are PNG inside the page. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/image.h"
#include "experiments/environment.h"
#include "experiments/experiment.h"
#include "experiments/report_curves.h"
#include "gen/align.h"

static void text(FILE *f, const char *s)
{
    for (; *s; s++) {
        if (*s == '<') fputs("&lt;", f);
        else if (*s == '>') fputs("&gt;", f);
        else if (*s == '&') fputs("&amp;", f);
        else if (*s == '"') fputs("&quot;", f);
        else fputc(*s, f);
    }
}

static void base64(FILE *f, const uint8_t *p, size_t n)
{
    static const char set[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        fputc(set[v >> 18], f);
        fputc(set[v >> 12 & 63], f);
        fputc(i + 1 < n ? set[v >> 6 & 63] : '=', f);
        fputc(i + 2 < n ? set[v & 63] : '=', f);
    }
}

static const char style[] =
    "<style>:root{--ink:#1d2733;--soft:#5c6b7a;--line:#d8dfe6;--paper:#fff;--accent:#0b6bcb;--zero:#b3261e}"
    "@media(prefers-color-scheme:dark){:root{--ink:#e6ebf0;--soft:#9aa8b5;--line:#35414d;--paper:#14191f;--accent:#6ab0ff;--zero:"
    "#ff8a80}}"
    "body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:960px;margin:0 auto;padding:1rem}"
    "h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 "
    ".5rem}p,li{max-width:70ch}.soft{color:var(--soft);font-size:.9rem}"
    ".wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.95rem}"
    ".bad,.bad td{color:var(--zero)}td,th{padding:.3rem .7rem;border-bottom:1px solid "
    "var(--line);text-align:left;white-space:nowrap}th{font-weight:600;color:var(--soft)}"
    "svg{max-width:100%;height:auto}svg text{fill:var(--ink);font:13px system-ui,sans-serif}svg "
    ".soft{fill:var(--soft);font-size:11px}"
    "img{max-width:100%;image-rendering:pixelated;border:1px solid "
    "var(--line)}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem}"
    ".row{display:flex;flex-wrap:wrap;gap:0 1.5rem}figure{margin:1rem 0}figcaption{color:var(--soft);font-size:.9rem}@media "
    "print{body{max-width:none}}</style>";

static void sentence(FILE *f, const ft_arm_result *a)
{
    if (isnan(a->delta.mean)) return;
    fputs("<li><b>", f);
    text(f, a->name);
    const char *verdict = a->delta.low > 0    ? "better than supervised"
                          : a->delta.high < 0 ? "worse than supervised"
                                              : "no difference shown";
    fprintf(f, "</b>: %+.1f F1, 95 %% interval %+.1f to %+.1f: %s.</li>\n", 100 * a->delta.mean, 100 * a->delta.low,
            100 * a->delta.high, verdict);
}

static void table(FILE *f, const ft_result *r)
{
    fputs("<div class=wide><table><tr><th>arm<th>runs<th>F1<th>95 % interval<th>difference<th>95 % interval<th>p "
          "(Holm)<th>AUROC<th>balanced acc.<th>sens.<th>spec.<th>utilisation</tr>\n",
          f);
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        static const char *const also[] = {"auroc", "balanced_accuracy", "sensitivity", "specificity"};
        double mean[4] = {0}, used = 0;
        for (int k = 0; k < a->n; k++) {
            json_t *m = json_object_get(a->line[k], "metrics");
            for (int q = 0; q < 4; q++) mean[q] += json_number_value(json_object_get(m, also[q])) / a->n;
            used += json_number_value(json_object_get(a->line[k], "utilisation")) / a->n;
        }
        fputs(a->looked ? "<tr class=bad><td>" : "<tr><td>", f);
        text(f, a->name);
        if (a->looked) fputs(" (chosen on the test list)", f);
        fprintf(f, "<td>%d<td>%.1f<td>%.1f to %.1f", a->n, 100 * a->f1.mean, 100 * a->f1.low, 100 * a->f1.high);
        if (isnan(a->delta.mean)) fputs("<td><td>", f);
        else fprintf(f, "<td>%+.1f<td>%+.1f to %+.1f", 100 * a->delta.mean, 100 * a->delta.low, 100 * a->delta.high);
        if (isnan(a->p_holm)) fputs("<td>", f);
        else fprintf(f, "<td>%.3f", a->p_holm);
        fprintf(f, "<td>%.3f<td>%.1f<td>%.1f<td>%.1f<td>%.0f %%</tr>\n", mean[0], 100 * mean[1], 100 * mean[2], 100 * mean[3],
                100 * used);
    }
    fprintf(f,
            "<tr><td>always positive<td><td>%.1f<td colspan=9></tr><tr><td>always negative<td><td>%.1f<td "
            "colspan=9></tr><tr><td>guess by prior<td><td>%.1f<td colspan=9></tr>\n",
            100 * r->trivial_positive, 100 * r->trivial_negative, 100 * r->trivial_prior);
    fputs("</table></div>\n", f);
}

/* what a difference is worth: its spread, how many more runs would show 5 points, agreement on videos, the chosen threshold */
static void differences(FILE *f, const ft_result *r)
{
    fputs("<div class=wide><table><tr><th>arm<th>difference<th>sd over splits<th>splits to see 5 F1<th>videos only this arm has "
          "right<th>only the baseline<th>McNemar p<th>F1 at a threshold from validation</tr>\n",
          f);
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        fputs(a->looked ? "<tr class=bad><td>" : "<tr><td>", f);
        text(f, a->name);
        if (isnan(a->delta.mean)) fputs("<td><td><td><td><td><td>", f);
        else {
            fprintf(f, "<td>%+.1f", 100 * a->delta.mean);
            if (isnan(a->delta_sd)) fputs("<td><td>", f);
            else fprintf(f, "<td>%.1f<td>%lld", 100 * a->delta_sd, (long long)ft_pairs_needed(0.05, a->delta_sd));
            if (isnan(a->p_mcnemar)) fputs("<td><td><td>", f);
            else fprintf(f, "<td>%lld<td>%lld<td>%.3f", (long long)a->mcnemar[0], (long long)a->mcnemar[1], a->p_mcnemar);
        }
        if (isnan(a->point_f1)) fputs("<td></tr>\n", f);
        else fprintf(f, "<td>%.1f</tr>\n", 100 * a->point_f1);
    }
    fputs("</table></div><p class=soft>Splits to see 5 F1: with this spread, so many pairs find a true difference of 5 points "
          "with 80 "
          "% probability (two-sided, 0.05). McNemar: exact, on the mean answer of all runs to each test video.</p>\n",
          f);
}

static void confounds(FILE *f, const ft_result *r)
{
    if (r->confounds + r->twins == 0) return;
    fputs("<h2>Can the class be told without looking?</h2>\n<div class=wide><table><tr><th>fact of a video<th>different "
          "values<th>how well it tells the class alone<th>p</tr>\n",
          f);
    for (int i = 0; i < r->confounds; i++) {
        const ft_confound *c = &r->confound[i];
        fputs(c->warn ? "<tr class=bad><td>" : "<tr><td>", f);
        text(f, c->name);
        fprintf(f, "<td>%d<td>%s %.2f<td>%.3f</tr>\n", c->values, c->numeric ? "AUROC" : "balanced accuracy", c->strength, c->p);
    }
    fputs(
        "</table></div><p class=soft>0.5 says nothing. In red: this alone separates the classes, so a score may come from it. p: "
        "shuffled labels.</p>\n",
        f);
    for (int i = 0; i < r->twins; i++) {
        fputs(i ? "; " : "<p class=bad>Test videos that show what a training or validation video shows: ", f);
        text(f, r->x->store.video[r->twin[i].a].name);
        fputs(" and ", f);
        text(f, r->x->store.video[r->twin[i].b].name);
    }
    if (r->twins) fputs(". Give such videos one group.</p>\n", f);
}

static bool generated(const ft_result *r)
{
    for (int i = 0; i < r->n; i++)
        if (*r->arm[i].clips) return true;
    return false;
}

/* F1 of every arm: interval, mean, and every run as a dot */
static void bars(FILE *f, const ft_result *r)
{
    double low = r->trivial_positive, high = 1;
    for (int i = 0; i < r->n; i++) {
        low = fmin(low, r->arm[i].f1.low);
        for (int k = 0; k < r->arm[i].n; k++) low = fmin(low, r->arm[i].run[k].f1);
    }
    low = fmax(0, floor(low * 20) / 20 - 0.05);
    size_t longest = 18;
    for (int i = 0; i < r->n; i++) longest = strlen(r->arm[i].name) > longest ? strlen(r->arm[i].name) : longest;
    int left = 20 + 8 * (int)(longest < 40 ? longest : 40), width = 550 + left, height = 40 * r->n + 50;
#define X(v) (left + (width - left - 20) * ((v)-low) / (high - low))
    fprintf(f, "<svg viewBox=\"0 0 %d %d\" role=img aria-label=\"F1 with intervals\">", width, height);
    for (double v = low; v <= high + 1e-9; v += 0.1)
        fprintf(f,
                "<line x1=%.1f x2=%.1f y1=10 y2=%d stroke=\"var(--line)\"/><text class=soft x=%.1f y=%d "
                "text-anchor=middle>%.0f</text>",
                X(v), X(v), height - 30, X(v), height - 15, 100 * v);
    fprintf(f,
            "<line x1=%.1f x2=%.1f y1=10 y2=%d stroke=\"var(--zero)\" stroke-dasharray=\"4 3\"/><text class=soft x=%.1f y=%d "
            "text-anchor=middle>always positive</text>",
            X(r->trivial_positive), X(r->trivial_positive), height - 30, X(r->trivial_positive), height - 2);
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        int y = 30 + 40 * i;
        fprintf(f, "<text x=%d y=%d text-anchor=end>", left - 12, y + 4);
        text(f, a->name);
        fprintf(f, "</text><line x1=%.1f x2=%.1f y1=%d y2=%d stroke=\"var(--accent)\" stroke-width=3 opacity=.55 />",
                X(a->f1.low), X(a->f1.high), y, y);
        for (int k = 0; k < a->n; k++) fprintf(f, "<circle cx=%.1f cy=%d r=2.5 fill=\"var(--soft)\"/>", X(a->run[k].f1), y + 11);
        fprintf(f, "<circle cx=%.1f cy=%d r=6 fill=\"var(--accent)\"/>", X(a->f1.mean), y);
    }
    fputs("</svg>\n", f);
#undef X
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
    text(f, title);
    fputs("</figcaption></figure>\n", f);
}

static int sheet(FILE *f, const ft_clipstore *s, const int64_t *pick, int n, const char *caption)
{
    const uint8_t *clip[16];
    uint8_t *rgb, *png;
    size_t size;
    int w, h;
    for (int i = 0; i < n && i < 16; i++) clip[i] = ft_clip_pixels(s, pick[i]);
    FT_TRY(ft_contact_sheet(clip, n < 16 ? n : 16, s->frames, s->size, 8, &rgb, &w, &h));
    int rc = ft_png_encode(rgb, w, h, &png, &size);
    ft_free(rgb);
    FT_TRY(rc);
    fprintf(f, "<figure><img width=%d height=%d alt=\"", w, h);
    text(f, caption);
    fputs("\" src=\"data:image/png;base64,", f);
    base64(f, png, size);
    fputs("\"><figcaption>", f);
    text(f, caption);
    fputs("</figcaption></figure>\n", f);
    ft_free(png);
    return FT_OK;
}

static int sheets(FILE *f, const ft_result *r)
{
    const ft_experiment *x = r->x;
    char caption[400];
    int64_t pick[6];
    for (int c = 0; c < x->classes.n; c++) { /* one sheet a class, from the training pool */
        const ft_videos *pool = &x->folds[0].pool;
        int n = 0;
        for (int64_t i = 0; i < pool->n && n < 4; i++) {
            if (x->classes.of_video[pool->video[i]] != c) continue;
            for (int64_t k = 0; k < x->store.n_clip; k++)
                if (x->store.clip[k].video == pool->video[i]) {
                    pick[n++] = k;
                    break;
                }
        }
        snprintf(caption, sizeof caption, "Real clips, class %s (a row is a clip, 8 of its %d frames)", x->classes.name[c],
                 x->store.frames);
        FT_TRY(sheet(f, &x->store, pick, n, caption));
    }
    for (int i = 0; i < r->n; i++) {
        ft_clipstore s;
        if (!*r->arm[i].clips) continue;
        FT_TRY(ft_clipstore_read(&s, r->arm[i].clips));
        int n = s.n_clip < 6 ? (int)s.n_clip : 6;
        for (int k = 0; k < n; k++) pick[k] = k; /* the first ones: not chosen */
        snprintf(caption, sizeof caption, "The first %d clips of the arm %s", n, r->arm[i].name);
        int rc = sheet(f, &s, pick, n, caption);
        ft_clipstore_free(&s);
        FT_TRY(rc);
    }
    return FT_OK;
}

static void checks(FILE *f, const ft_result *r)
{
    fputs("<div class=wide><table><tr><th>check on held-out videos<th>value<th>compare with</tr>\n", f);
    if (!isnan(r->psnr)) fprintf(f, "<tr><td>VAE reconstruction, PSNR<td>%.1f dB<td></tr>\n", r->psnr);
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].eps_mse)) {
            fputs("<tr><td>", f);
            text(f, r->arm[i].name);
            char aligned[300];
            ft_align_text(r->x->cfg, aligned, sizeof aligned);
            fprintf(f, ": denoising error, mean over t (alignment: ");
            text(f, aligned);
            fprintf(f, ")<td>%.3f<td>1 for predicting zero</tr>\n", r->arm[i].eps_mse);
        }
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].frechet)) {
            fputs("<tr><td>", f);
            text(f, r->arm[i].name);
            fprintf(f, ": self-feature Fr&eacute;chet distance to the pool<td>%.3g<td>", r->arm[i].frechet);
            if (!isnan(r->frechet_real)) fprintf(f, "%.3g for held-out real clips", r->frechet_real);
            fputs("</tr>\n", f);
        }
    fputs("</table></div><p class=soft>Self-feature: pooled features of a fixed random X3D whose normalisation is that of the "
          "real pool. It is not FVD and compares only within this page.</p>\n",
          f);
}

static bool looked(const ft_result *r)
{
    for (int i = 0; i < r->n; i++)
        if (r->arm[i].looked || ft_config_int(r->arm[i].cfg, "looks") > 0) return true;
    return false;
}

int ft_report_write(const ft_result *r, const char *path)
{
    char *page = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&page, &size);
    const ft_config *c = r->x->cfg;
    if (!f) return FT_FAIL(FT_ENOMEM, "no memory for %s", path);
    fprintf(f,
            "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
            "content=\"width=device-width,initial-scale=1\"><title>forty: %s</title>%s",
            ft_base_name(r->x->dir), style);
    fputs("<h1>Do generated clips help?</h1><p class=soft>", f);
    text(f, ft_base_name(r->x->dir));
    fprintf(f,
            " &middot; protocol %s &middot; %lld labelled videos a split, %lld test videos, %lld splits &times; %lld seeds, %s "
            "&middot; positive class ",
            ft_config_text(c, "protocol"), (long long)ft_config_int(c, "labels"), (long long)r->test_videos,
            (long long)ft_config_int(c, "splits"), (long long)ft_config_int(c, "seeds"), ft_config_text(c, "evaluation"));
    text(f, r->x->classes.name[r->x->classes.positive]);
    fprintf(f, " &middot; steps: VAE %lld, generator %lld, classifier %lld</p>\n<ul>", (long long)ft_config_int(c, "vae.steps"),
            (long long)ft_config_int(c, "generator.steps"), (long long)ft_config_int(c, "classifier.steps"));
    for (int i = 0; i < r->n; i++) sentence(f, &r->arm[i]);
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].best_look) && !r->arm[i].looked) {
            fputs("<li class=bad>", f);
            text(f, r->arm[i].name);
            fprintf(f, ": the best look at the test list while training had %.1f; the last one counts.</li>\n",
                    100 * r->arm[i].best_look);
        }
    fputs("</ul>\n", f);
    bars(f, r);
    table(f, r);
    fputs("<p class=soft>Intervals: hierarchical bootstrap over splits, seeds and test videos. Differences: paired with the "
          "baseline by split and seed. p: sign flips over splits (over runs where there is one split), Holm over arms; "
          "left out where so few cannot reach 0.05. ",
          f);
    fputs(looked(r)
              ? "<b class=bad>In this protocol the test list was looked at while training, and arms in red chose their weights "
                "by it: their scores are too high.</b></p>\n"
              : "Every arm took the same number of steps. The test list was looked at once a run.</p>\n",
          f);
    int rc = ft_report_curves(r, f);
    fputs("<h2>Differences</h2>\n", f);
    differences(f, r);
    confounds(f, r);
    if (generated(r)) {
        fputs("<h2>Is the generator trained?</h2>\n", f);
        checks(f, r);
    }
    fputs("<h2>Clips</h2>\n<div class=row>", f);
    if (rc == FT_OK) rc = sheets(f, r);
    fputs("</div>\n<h2>Training</h2>\n<div class=row>", f);
    if (*r->vae_log) curve(f, r->vae_log, "l1", "VAE: L1 error");
    for (int i = 0; i < r->n; i++) {
        char title[300];
        if (*r->arm[i].generator_log) {
            snprintf(title, sizeof title, "%s: epsilon MSE", r->arm[i].name);
            curve(f, r->arm[i].generator_log, "eps_mse", title);
        }
        snprintf(title, sizeof title, "classifier of %s, split 0, seed 0: loss", r->arm[i].name);
        curve(f, r->arm[i].log, "loss", title);
        snprintf(title, sizeof title, "%s: share of unlabelled clips with a pseudo-label", r->arm[i].name);
        curve(f, r->arm[i].log, "utilisation", title);
    }
    fputs("</div>\n<h2>How this was made</h2><pre>", f);
    if (r->command) text(f, r->command);
    json_t *e = ft_environment();
    char *env = json_dumps(e, JSON_INDENT(1));
    fputs("\n", f);
    text(f, env ? env : "");
    free(env);
    json_decref(e);
    fputs("\n", f);
    char *settings = NULL;
    size_t settings_size;
    FILE *s = open_memstream(&settings, &settings_size);
    if (s) ft_config_print(c, s), fclose(s);
    text(f, settings ? settings : "");
    free(settings);
    fputs("</pre></html>\n", f);
    fclose(f);
    if (rc == FT_OK) rc = ft_write_file(path, page, size);
    free(page);
    return rc;
}
