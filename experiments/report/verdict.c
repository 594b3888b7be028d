#include "experiments/report/verdict.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/passport.h"
#include "experiments/statistics/power.h"

/* ---- what is compared with what ------------------------------------------------------------------------------------------ */

static bool row_is(const ft_arm_result *a, const char *name) { return !strcmp(ft_arm_find(a->arm)->name, name); }

static bool whole(const ft_arm_result *a) { return a->opt.whole; }

/* Is it an arm that needs the positive control: neither real videos as they are nor labels? */
static bool needs_control(const ft_arm_result *a)
{
    return !(row_is(a, "real-unlabelled") && whole(a)) && !row_is(a, "supervised") && !row_is(a, "fully-supervised") &&
           !row_is(a, "more-labels N");
}

/* Do both train alike, clips apart? */
static bool same_training(const ft_arm_result *a, const ft_arm_result *b)
{
    static const char *const keys[] = {"classifier.", "ssl.", NULL};
    json_t *p = ft_config_json(a->cfg, keys), *q = ft_config_json(b->cfg, keys);
    bool same = json_equal(p, q);
    json_decref(p);
    json_decref(q);
    return same;
}

/* The first of `arm` of that row with as many labels, of those that train alike if there are any. */
static const ft_arm_result *first_of(const ft_arm_result *arm, int n, const char *row, const ft_arm_result *a)
{
    const ft_arm_result *found = NULL;
    for (int i = 0; i < n; i++) {
        if (!row_is(&arm[i], row) || !whole(&arm[i]) || isnan(arm[i].delta.mean)) continue;
        if (a && arm[i].opt.labels != a->opt.labels) continue;
        if (!found) found = &arm[i];
        if (a && same_training(&arm[i], a)) return &arm[i];
    }
    return found;
}

const ft_arm_result *ft_positive_control(const ft_result *r, const ft_arm_result *a, bool *seen)
{
    bool taught = a && !ft_config_is(a->cfg, "clips.use", "unlabelled"); /* then labels are what they stand for */
    const ft_arm_result *c = taught ? NULL : first_of(r->arm, r->n, "real-unlabelled", a);
    if (!c) c = first_of(r->arm, r->n, "fully-supervised", a);
    if (!c) c = first_of(r->curve, r->curve_n, "fully-supervised", a);
    *seen = c && c->verdict == FT_BETTER;
    return c;
}

/* ---- verdicts ------------------------------------------------------------------------------------------------------------ */

static int splits(const ft_result *r) { return r->opt.splits; }
static double margin(const ft_result *r) { return r->opt.margin / 100; }
static bool shows(const ft_result *r) { return splits(r) >= ft_splits_for(r->comparisons); }

static bool equivalent(const ft_result *r, const ft_arm_result *a)
{
    return splits(r) >= FT_FEWEST_SPLITS && a->tost_holm < 0.05 && a->delta.low > -margin(r) && a->delta.high < margin(r);
}

static ft_verdict judge(const ft_result *r, const ft_arm_result *a)
{
    bool seen;
    if (isnan(a->delta.mean)) return FT_NOT_COMPARED;
    if (shows(r) && a->p_holm < 0.05 && a->delta.low > 0) return FT_BETTER;
    if (shows(r) && a->p_holm < 0.05 && a->delta.high < 0) return FT_WORSE;
    if (needs_control(a) && ft_positive_control(r, a, &seen) && !seen) return FT_COULD_NOT;
    return equivalent(r, a) ? FT_EQUIVALENT : FT_NOT_SHOWN;
}

static void smallest(const ft_result *r, ft_arm_result *a, double effect)
{
    /* without any spread, classifiers that learn nothing perhaps, there is nothing to tell a difference by */
    double over_splits = a->delta_sd > 0 ? effect * a->delta_sd : NAN;
    a->smallest = isnan(over_splits) || splits(r) < 2 ? NAN : fmax(over_splits, ft_smallest_outside(a->delta.low, a->delta.high));
}

int ft_verdicts(ft_result *r)
{
    double *p = ft_alloc_n(r->n, sizeof *p), effect = ft_smallest_effect(splits(r), r->comparisons);
    if (!p) return FT_FAIL(FT_ENOMEM, "no memory for %d arms", r->n);
    for (int i = 0; i < r->n; i++) p[i] = needs_control(&r->arm[i]) ? r->arm[i].tost : NAN;
    ft_holm(p, r->n);
    for (int i = 0; i < r->n; i++) r->arm[i].tost_holm = p[i];
    ft_free(p);
    for (int i = 0; i < r->n; i++) smallest(r, &r->arm[i], effect);
    for (int i = 0; i < r->curve_n; i++) smallest(r, &r->curve[i], effect), r->curve[i].verdict = judge(r, &r->curve[i]);
    for (int controlled = 0; controlled < 2; controlled++) /* controls first */
        for (int i = 0; i < r->n; i++)
            if (needs_control(&r->arm[i]) == controlled) r->arm[i].verdict = judge(r, &r->arm[i]);
    return FT_OK;
}

const char *ft_verdict_word(const ft_arm_result *a)
{
    static const char *const word[] = {
        [FT_NOT_COMPARED] = "",         [FT_COULD_NOT] = "could not have shown it", [FT_BETTER] = "better", [FT_WORSE] = "worse",
        [FT_EQUIVALENT] = "equivalent", [FT_NOT_SHOWN] = "no difference shown",
    };
    return word[a->verdict];
}

const char *ft_equivalent_word(const ft_result *r, const ft_arm_result *a)
{
    if (isnan(a->tost_holm) || splits(r) < FT_FEWEST_SPLITS || a->verdict == FT_COULD_NOT) return "";
    return equivalent(r, a) ? "yes" : "no";
}

/* ---- words --------------------------------------------------------------------------------------------------------------- */

static void say(char text[FT_SENTENCE], const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(char text[FT_SENTENCE], const char *format, ...)
{
    size_t at = strlen(text);
    va_list args;
    va_start(args, format);
    vsnprintf(text + at, FT_SENTENCE - at, format, args);
    va_end(args);
}

static void say_difference(char text[FT_SENTENCE], const ft_arm_result *a)
{
    say(text, "%+.1f F1 [%+.1f, %+.1f]", 100 * a->delta.mean, 100 * a->delta.low, 100 * a->delta.high);
}

static void say_labels(char text[100], const char *before, double v, double least, double most)
{
    size_t at = strlen(text);
    double shown = isinf(v) ? (v > 0 ? most : least) : v;
    const char *bound = isinf(v) ? (v > 0 ? "more than " : "less than ") : "";
    if (fabs(shown) < 0.5) snprintf(text + at, 100 - at, "%s%s0", before, bound);
    else snprintf(text + at, 100 - at, "%s%s%+.0f", before, bound, shown);
}

void ft_worth_text(const ft_result *r, const ft_arm_result *a, char text[100])
{
    text[0] = 0;
    if (isnan(a->worth.mean)) return;
    double at = (double)ft_baseline(r, a)->opt.labels, least = r->point[0].labels - at,
           most = r->point[r->points - 1].labels - at;
    say_labels(text, "", a->worth.mean, least, most);
    say_labels(text, " [", a->worth.low, least, most);
    say_labels(text, ", ", a->worth.high, least, most);
    strcat(text, "]");
}

/* clips of an arm that has clips of its own, those that unlabelled.clips takes; NaN: it has none */
static double clips_of(const ft_arm_result *a)
{
    const ft_filtered *f = &a->filtered;
    double n = f->runs > 0 ? f->kept / f->runs : ft_stage_number(a->likeness, "clips"), most = (double)a->opt.unlabelled_clips;
    return most > 0 && most < n ? most : n;
}

/* name: NULL where the sentence is about the arm already */
static void say_worth(const ft_result *r, const ft_arm_result *a, char text[FT_SENTENCE], const char *name)
{
    char worth[100];
    double clips = clips_of(a);
    ft_worth_text(r, a, worth);
    if (!*worth) return;
    if (isnan(clips)) say(text, "%s is", name ? name : "; it");
    else if (name) say(text, "%.0f clips of %s are", clips, name);
    else say(text, "; its %.0f clips are", clips);
    say(text, " worth %s labelled videos", worth);
}

static void say_too_few(const ft_result *r, char text[FT_SENTENCE])
{
    say(text, "%d label split%s can show no difference, with %d comparison%s %d are the fewest that can", splits(r),
        splits(r) > 1 ? "s" : "", r->comparisons, r->comparisons > 1 ? "s" : "", ft_splits_for(r->comparisons));
}

static void say_not_shown(const ft_result *r, const ft_arm_result *a, char text[FT_SENTENCE])
{
    say(text, "no difference shown: ");
    say_difference(text, a);
    say(text, "; ");
    if (!shows(r)) say(text, "%d label split%s can show none", splits(r), splits(r) > 1 ? "s" : "");
    else if (isnan(a->smallest)) say(text, "all splits differ by the same, so nothing tells what could have been shown");
    else say(text, "the smallest that this run could have shown is %.1f", 100 * a->smallest);
    if (shows(r) && a->p_holm < 0.05)
        say(text, "; over label splits it is %s on these %lld test videos (p %.3f), but others may say otherwise",
            a->delta.mean > 0 ? "better" : "worse", (long long)r->test_videos, a->p_holm);
}

void ft_verdict_text(const ft_result *r, const ft_arm_result *a, char text[FT_SENTENCE])
{
    bool seen;
    text[0] = 0;
    if (a->verdict != FT_NOT_COMPARED && a->filtered.runs > 0 && a->filtered.kept == 0)
        say(text, "no clip passed its filter, so it learned from its labels alone: ");
    switch (a->verdict) {
        case FT_NOT_COMPARED: return;
        case FT_COULD_NOT: say(text, "this run could not have shown it"); return;
        case FT_BETTER:
        case FT_WORSE:
            say(text, "%s than the baseline: ", ft_verdict_word(a));
            say_difference(text, a);
            say(text, ", p %.3f", a->p_holm);
            if (needs_control(a) && a->verdict == FT_BETTER && ft_positive_control(r, a, &seen) && !seen)
                say(text, ", though the positive control is not");
            if (equivalent(r, a)) say(text, ", yet by less than the margin of %g", 100 * margin(r));
            break;
        case FT_EQUIVALENT:
            say(text, "equivalent to the baseline within %g F1: ", 100 * margin(r));
            say_difference(text, a);
            say(text, ", p %.3f", a->tost_holm);
            break;
        case FT_NOT_SHOWN: say_not_shown(r, a, text); break;
    }
    say_worth(r, a, text, NULL);
}

static void say_adds(char text[FT_SENTENCE], const char *what, const ft_arm_result *a, const char *after)
{
    say(text, "%s ", what);
    say_difference(text, a);
    say(text, "%s. ", after);
}

static void say_controls(const ft_result *r, char text[FT_SENTENCE])
{
    bool seen;
    bool blind = false;
    const ft_arm_result *needs = NULL, *all = first_of(r->arm, r->n, "fully-supervised", NULL);
    for (int i = r->n - 1; i >= 0; i--)
        if (needs_control(&r->arm[i]) && !isnan(r->arm[i].delta.mean))
            needs = &r->arm[i], blind |= needs->verdict == FT_COULD_NOT;
    const ft_arm_result *c = ft_positive_control(r, needs, &seen);
    if (!all) all = first_of(r->curve, r->curve_n, "fully-supervised", NULL);
    bool all_seen = all && all->verdict == FT_BETTER;
    if (!c && needs)
        say(text, "No positive control: without the arm real-unlabelled, no difference may mean that none could be seen. ");
    if (c && c != all && !seen && all_seen) { /* the instrument sees, these clips add nothing that it could */
        say_adds(text, "One positive control of two is seen: all labels add", all, "");
        say_adds(text, "The other is not seen: real unlabelled videos add", c, "");
        all = NULL;
    } else if (c) {
        say(text, "Positive control %s: ", seen ? "seen" : "not seen");
        say_adds(text, c == all ? "all labels add" : "real unlabelled videos add", c, "");
    }
    if (all && c != all) say_adds(text, "All labels add", all, all_seen ? "" : " (not seen)");
    if (blind) say(text, "Where no difference is seen of other clips, this run could not have shown what they add. ");
}

static void say_smallest(const ft_result *r, char text[FT_SENTENCE])
{
    double least = INFINITY, most = 0;
    for (int i = 0; i < r->n; i++)
        if (!isnan(r->arm[i].smallest)) least = fmin(least, r->arm[i].smallest), most = fmax(most, r->arm[i].smallest);
    if (!shows(r)) say_too_few(r, text), say(text, ". ");
    else if (most > 0 && most - least < 0.0005)
        say(text, "The smallest difference it could show with 80 %% power is %.1f F1. ", 100 * most);
    else if (most > 0)
        say(text, "The smallest differences it could show with 80 %% power are %.1f to %.1f F1, arm by arm. ", 100 * least,
            100 * most);
}

/* What made an arm's clips shows its training videos again: that comes first, whatever the scores. Controls that are the pool's
 * own clips, as they are or through the VAE, are meant to. */
static void say_copies(const ft_result *r, char text[FT_SENTENCE])
{
    char copies[FT_PASSPORT_TEXT];
    for (int i = 0; i < r->n; i++) {
        const ft_arm_result *a = &r->arm[i];
        if (!a->passport || row_is(a, "vae-roundtrip") || row_is(a, "pseudo-labelled")) continue;
        bool said = false; /* arms that differ in their settings often share their clips */
        for (int k = 0; k < i; k++) said |= r->arm[k].likeness == a->likeness;
        ft_passport_head(&a->copies, copies);
        const char *dropped = ft_filters(&a->filtered, "copies") ? ", which its filter drops" : "";
        if (*copies && !said) say(text, "%s %s%s. ", a->name, copies, dropped);
    }
}

void ft_verdict_head(const ft_result *r, char text[FT_SENTENCE])
{
    enum { MOST_NAMED = 8 }; /* the others have their own sentences */
    text[0] = 0;
    say_copies(r, text);
    if (r->comparisons > 0) say_controls(r, text), say_smallest(r, text);
    for (int i = 0, named = 0; i < r->n && named < MOST_NAMED && r->comparisons > 0; i++) {
        const ft_arm_result *a = &r->arm[i];
        if (!needs_control(a) || a->verdict == FT_COULD_NOT || isnan(clips_of(a)) || isnan(a->worth.mean)) continue;
        say_worth(r, a, text, a->name);
        say(text, ". ");
        named++;
    }
    if (*text) text[strlen(text) - 1] = 0; /* the last space */
}
