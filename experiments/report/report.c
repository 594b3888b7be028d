/* report.html: one self-contained page, for a screen of any width, in the dark, and on paper. */
#include "experiments/report/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/status.h"
#include "experiments/report/report_parts.h"

static bool looked(const ft_result *r)
{
    for (int i = 0; i < r->n; i++)
        if (r->arm[i].looked || r->arm[i].opt.looks > 0) return true;
    return false;
}

static bool same_steps(const ft_result *r)
{
    for (int i = 1; i < r->n; i++)
        if (r->arm[i].opt.classifier_steps != r->arm[0].opt.classifier_steps) return false;
    return true;
}

static void head(FILE *f, const ft_result *r)
{
    const ft_arm_options *o = &r->opt;
    fputs("<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport "
          "content=\"width=device-width,initial-scale=1\"><meta "
          "name=color-scheme content=\"light dark\"><title>forty: ",
          f);
    ft_html_text(f, ft_base_name(r->x->dir));
    fputs("</title>", f);
    ft_html_style(f);
    fputs("<h1>Do generated clips help?</h1><p class=soft>", f);
    ft_html_text(f, ft_base_name(r->x->dir));
    fprintf(f,
            " &middot; protocol %s &middot; %lld labelled videos a split, %lld test videos, %d splits &times; %d seeds, %s "
            "&middot; ",
            o->protocol, (long long)o->labels, (long long)r->test_videos, o->splits, o->seeds, o->evaluation);
    if (r->x->classes.positive == FT_MULTILABEL) fprintf(f, "%d labels, several a video", r->x->classes.n);
    else fputs("positive class ", f), ft_html_text(f, r->x->classes.name[r->x->classes.positive]);
    fprintf(f, " &middot; steps: VAE %lld, generator %lld, classifier %lld, where an arm does not say otherwise</p>\n",
            (long long)o->vae_steps, (long long)o->generator_steps, (long long)o->classifier_steps);
}

int ft_report_write(const ft_result *r, const char *path)
{
    ft_text page;
    FT_TRY(ft_text_begin(&page));
    FILE *f = page.f;
    head(f, r);
    ft_report_verdicts(f, r);
    ft_report_forest(f, r);
    fputs("<h2>F1</h2>\n", f);
    ft_report_f1(f, r);
    ft_report_scores(f, r);
    fputs("<p class=soft>Intervals: hierarchical bootstrap over splits, seeds and test videos; all splits share the test videos, "
          "so "
          "more splits do not make an interval narrower than these videos allow. Differences: paired with the "
          "baseline by split and seed. p: sign flips over splits (over runs where there is one split), Holm over arms; "
          "left out where so few cannot reach 0.05. It speaks of these test videos, the interval of others too: a difference is "
          "shown "
          "where both agree. ",
          f);
    fputs(looked(r)
              ? "<b class=bad>In this protocol the test list was looked at while training, and arms in red chose their weights "
                "by it: their scores are too high.</b></p>\n"
          : same_steps(r) ? "Every arm's classifiers took the same number of steps. The test list was looked at once a run.</p>\n"
                          : "The test list was looked at once a run; <b>arms differ in the steps of their classifiers</b>.</p>\n",
          f);
    ft_report_classes(f, r);
    ft_report_labels(f, r);
    ft_report_worth(f, r);
    fputs("<h2>Differences</h2>\n", f);
    ft_report_differences(f, r);
    fputs("<h2>Answers and calibration</h2>\n", f);
    int rc = ft_report_curves(f, r);
    ft_report_confounds(f, r);
    if (rc == FT_OK) rc = ft_report_clips(f, r);
    fputs("<h2>Cost</h2>\n", f);
    ft_report_price(f, r);
    ft_html_legend(f, r);
    ft_report_cost(f, r);
    ft_report_training(f, r);
    ft_report_making(f, r);
    fputs("</html>\n", f);
    if (rc == FT_OK) return ft_text_write(&page, path);
    ft_text_free(&page);
    return rc;
}
