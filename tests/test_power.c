/* Power, equivalence, worth in labels and verdicts: golden numbers of statsmodels and scikit-learn (tests/golden/stats.h), and
 * experiments whose verdict is known. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/report/compare.h"
#include "experiments/report/verdict.h"
#include "experiments/report/worth.h"
#include "experiments/statistics/power.h"
#include "golden/stats.h"
#include "golden_value.h"

#define NEAR(a, b, tolerance) assert_float_equal(a, b, tolerance)
#define COUNT(a)              (int)(sizeof(a) / sizeof *(a))

static void test_power(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(golden_power); i++) {
        const double *g = golden_power[i];
        NEAR(ft_t_power(g[2], (int)g[0], g[1]), g[3], 1e-7);
        NEAR(ft_t_power(-g[2], (int)g[0], g[1]), g[3], 1e-7);
    }
    NEAR(ft_smallest_effect(40, 1), golden_power[8][2], 1e-4);
    for (int i = 0; i < COUNT(golden_flips); i++) { /* simulations of 20,000: 1 % of noise beside the 5 % of power.h */
        const double *g = golden_flips[i], got = ft_smallest_effect((int)g[0], (int)g[1]);
        assert_true(got > 0.95 * g[2] && got < 1.01 * g[2]);
    }
    NEAR(ft_smallest_effect(6, 1), 1.792737, 1e-6); /* all six signs: Phi(d)^6 = 0.8 */
    assert_true(isnan(ft_smallest_effect(5, 1)) && isnan(ft_smallest_effect(6, 2)) && isnan(ft_smallest_effect(0, 1)));
    assert_true(isnan(ft_smallest_effect(8, 0)));
    assert_int_equal(ft_splits_for(1), 6);
    for (int m = 1; m < 40; m++) { /* the fewest are enough, one less is not; and the sign-flip test agrees */
        int n = ft_splits_for(m);
        double same[20], p[40];
        assert_false(isnan(ft_smallest_effect(n, m)));
        assert_true(n == 6 || isnan(ft_smallest_effect(n - 1, m)));
        for (int k = 0; k < n; k++) same[k] = 1;
        for (int k = 0; k < m; k++) p[k] = k ? 1 : ft_sign_flip(same, n);
        ft_holm(p, m);
        assert_true(p[0] < 0.0501);
    }
    /* (z.975 + z.8) / z.975 half widths */
    NEAR(ft_smallest_outside(-0.01, 0.03), 0.02 * (1.959963985 + 0.841621234) / 1.959963985, 1e-12);
}

static void test_equivalence(void **state)
{
    (void)state;
    for (int i = 0; i < COUNT(golden_equivalence); i++) {
        const double *g = golden_equivalence[i];
        double d[64];
        for (int k = 0; k < (int)g[1]; k++) d[k] = (double)value((uint32_t)g[0], k) * 0.03 + g[2];
        NEAR(ft_equivalence(d, (int)g[1], g[3]), g[4], 1e-7);
        for (int k = 0; k < (int)g[1]; k++) d[k] = -d[k];
        NEAR(ft_equivalence(d, (int)g[1], g[3]), g[4], 1e-7);
    }
    assert_true(isnan(ft_equivalence((double[]){0.1}, 1, 1)) && isnan(ft_equivalence((double[]){0.1, 0.1, 0.1}, 3, 1)));
}

static void test_curve(void **state)
{
    (void)state;
    for (int row = 0; row < COUNT(golden_isotonic); row++) {
        ft_label_point p[7];
        for (int i = 0; i < 7; i++) p[i] = (ft_label_point){.labels = i + 1, .f1 = (double)value(9 + row, i) * 0.2 + 0.05 * i};
        ft_curve_isotonic(p, 7);
        for (int i = 0; i < 7; i++) NEAR(p[i].f1, golden_isotonic[row][i], 1e-12);
    }
    const ft_label_point p[] = {{10, 0.5, NULL}, {20, 0.6, NULL}, {40, 0.6, NULL}, {80, 0.7, NULL}};
    NEAR(ft_curve_f1(p, 4, 10), 0.5, 0);
    NEAR(ft_curve_f1(p, 4, sqrt(200)), 0.55, 1e-12);
    NEAR(ft_curve_f1(p, 4, 80), 0.7, 0);
    NEAR(ft_curve_f1(p, 4, 40), 0.6, 0);
    NEAR(ft_curve_labels(p, 4, 0.65, 40), sqrt(3200), 1e-9);
    NEAR(ft_curve_labels(p, 4, 0.6, 40), 40, 0); /* flat from 20 to 40 */
    NEAR(ft_curve_labels(p, 4, 0.6, 30), 30, 0);
    NEAR(ft_curve_labels(p, 4, 0.6, 90), 40, 0);
    NEAR(ft_curve_labels(p, 4, 0.5, 40), 10, 0);
    assert_true(ft_curve_labels(p, 4, 0.49, 40) == -INFINITY && ft_curve_labels(p, 4, 0.71, 40) == INFINITY);
}

/* ---- a whole result: arms by name, and in each split so many right answers of VIDEOS ------------------------------------------
 */

enum { VIDEOS = 200, MOST = 40 };
typedef struct {
    ft_experiment x;
    ft_result r;
    ft_arm_result arm[8], curve[4];
    ft_label_point point[5];
    char *names[2];
} fixture;

static void add(fixture *f, bool curve, const char *arm, const char *setting, const int *right, int splits)
{
    ft_arm_result *a = curve ? &f->curve[f->r.curve_n++] : &f->arm[f->r.n++];
    assert_int_equal(ft_arm_begin(a, splits), FT_OK);
    snprintf(a->arm, sizeof a->arm, "%s", arm);
    snprintf(a->name, sizeof a->name, "%s", setting ? setting : arm);
    assert_int_equal(ft_config_copy(&a->cfg, f->x.cfg), FT_OK);
    if (setting) assert_int_equal(ft_config_set(a->cfg, setting, "test"), FT_OK);
    a->opt = ft_arm_options_of(a->cfg);
    for (a->n = 0; a->n < splits; a->n++) {
        float *prob = ft_alloc(2 * VIDEOS * sizeof *prob);
        int *label = ft_alloc(VIDEOS * sizeof *label);
        for (int i = 0; i < VIDEOS; i++) { /* positive ones first; half of the mistakes are of either class */
            bool good = i % (VIDEOS / 2) < right[a->n] / 2;
            label[i] = i < VIDEOS / 2;
            prob[2 * i + (good ? label[i] : 1 - label[i])] = 1;
        }
        a->run[a->n] = (ft_run_scores){a->n, 0, prob, label, VIDEOS, right[a->n] / (double)VIDEOS};
        a->line[a->n] = json_object();
    }
}

static void begin(fixture *f, int splits)
{
    char text[32];
    memset(f, 0, sizeof *f);
    static char no[] = "no", yes[] = "yes";
    f->names[0] = no, f->names[1] = yes;
    f->x.classes = (ft_classes){.name = f->names, .n = 2, .positive = 1};
    f->x.n_folds = 1;
    f->r = (ft_result){.x = &f->x, .arm = f->arm, .curve = f->curve, .point = f->point};
    assert_int_equal(ft_config_new(&f->x.cfg), FT_OK);
    snprintf(text, sizeof text, "splits=%d", splits);
    assert_int_equal(ft_config_set(f->x.cfg, text, "test"), FT_OK);
    assert_int_equal(ft_config_set(f->x.cfg, "bootstrap=2000", "test"), FT_OK);
    f->r.opt = ft_arm_options_of(f->x.cfg);
}

static void end(fixture *f)
{
    for (int i = 0; i < f->r.n + f->r.curve_n; i++) {
        ft_arm_result *a = i < f->r.n ? &f->arm[i] : &f->curve[i - f->r.n];
        for (int k = 0; k < a->n; k++) {
            ft_free((void *)(uintptr_t)a->run[k].prob);
            ft_free((void *)(uintptr_t)a->run[k].label);
            json_decref(a->line[k]);
        }
        ft_config_free(a->cfg);
        ft_free(a->run);
        ft_free(a->line);
    }
    ft_config_free(f->x.cfg);
}

/* right answers that go up and down by `wide` around `level` */
static const int *around(int level, int wide, int phase)
{
    static int right[4][MOST];
    static int next;
    int *to = right[next++ % 4];
    for (int i = 0; i < MOST; i++) to[i] = level + 2 * (int)lround(wide * (double)value((uint32_t)(100 + phase), i));
    return to;
}

static void expect(const fixture *f, const ft_arm_result *a, ft_verdict verdict, const char *words)
{
    char text[FT_SENTENCE];
    ft_verdict_text(&f->r, a, text);
    if (a->verdict != verdict || !strstr(text, words)) print_message("%s: %s, not '%s'\n", a->name, text, words);
    assert_int_equal(a->verdict, verdict);
    assert_non_null(strstr(text, words));
}

static void head(const fixture *f, const char *words)
{
    char text[FT_SENTENCE];
    ft_verdict_head(&f->r, text);
    if (!strstr(text, words)) print_message("%s, not '%s'\n", text, words);
    assert_non_null(strstr(text, words));
}

static void test_verdicts(void **state)
{
    (void)state;
    fixture f;
    for (int splits = 1; splits < 12; splits += 5) { /* 1: no units; 6: too few for 3 comparisons; 11: enough */
        begin(&f, splits);
        add(&f, false, "supervised", NULL, around(140, 4, 0), splits);
        add(&f, false, "real-unlabelled", NULL, around(170, 4, 1), splits);
        add(&f, false, "noise", NULL, around(120, 4, 2), splits);
        add(&f, false, "duplicate-labelled", NULL, around(141, 6, 3), splits);
        assert_int_equal(ft_compare(&f.r), FT_OK);
        assert_int_equal(f.r.comparisons, 3);
        if (splits < 11) {
            expect(&f, &f.arm[1], FT_NOT_SHOWN, splits == 1 ? "1 label split can show none" : "6 label splits can show none");
            expect(&f, &f.arm[2], FT_COULD_NOT, "this run could not have shown it");
            assert_true(isnan(f.arm[1].smallest));
            assert_string_equal(ft_equivalent_word(&f.r, &f.arm[2]), "");
            head(&f, "Positive control not seen: real unlabelled videos add +1");
            head(&f, "this run could not have shown what they add.");
            head(&f, "with 3 comparisons 7 are the fewest that can");
        } else {
            expect(&f, &f.arm[1], FT_BETTER, "better than the baseline: +1");
            assert_string_equal(ft_equivalent_word(&f.r, &f.arm[2]), "no");
            expect(&f, &f.arm[2], FT_WORSE, "worse than the baseline: -9");
            expect(&f, &f.arm[3], FT_NOT_SHOWN, "the smallest that this run could have shown is");
            head(&f, "Positive control seen: real unlabelled videos add +1");
            head(&f, "The smallest differences it could show with 80 % power are");
            for (int i = 1; i < 4; i++) {
                const ft_arm_result *a = &f.arm[i];
                NEAR(a->smallest, fmax(ft_smallest_effect(11, 3) * a->delta_sd, ft_smallest_outside(a->delta.low, a->delta.high)),
                     1e-12);
            }
        }
        end(&f);
    }
}

static void test_verdicts_without_control(void **state)
{
    (void)state;
    enum { N = 10 };
    fixture f;
    int same[N];
    begin(&f, N); /* the control has nothing to add: what is shown of others is said, but of no difference nothing */
    add(&f, false, "supervised", NULL, around(140, 4, 0), N);
    add(&f, false, "real-unlabelled", NULL, around(140, 4, 1), N);
    add(&f, false, "noise", NULL, around(180, 4, 2), N);
    add(&f, false, "fully-supervised", NULL, around(180, 4, 3), N);
    add(&f, false, "real-unlabelled", "unlabelled.frames=frozen", around(141, 4, 2), N);
    add(&f, false, "duplicate-labelled", NULL, around(100, 4, 1), N);
    add(&f, false, "noise", "clips.use=labelled", around(141, 4, 3), N);
    assert_int_equal(ft_compare(&f.r), FT_OK);
    expect(&f, &f.arm[4], FT_COULD_NOT, "this run could not have shown it");
    expect(&f, &f.arm[5], FT_WORSE, "worse than the baseline: -");
    expect(&f, &f.arm[6], FT_NOT_SHOWN, "no difference shown"); /* all labels, its control, are seen */
    expect(&f, &f.arm[1], FT_NOT_SHOWN, "no difference shown");
    expect(&f, &f.arm[2], FT_BETTER, ", though the positive control is not");
    expect(&f, &f.arm[3], FT_BETTER, "better");
    head(&f, "One positive control of two is seen: all labels add +2");
    head(&f, "The other is not seen: real unlabelled videos add ");
    head(&f, "this run could not have shown what they add.");
    end(&f);
    for (int margin = 2; margin <= 4; margin += 2) {
        /* the same video of each class more in every split: better, and by less than 2 points, but on these videos alone */
        char text[32];
        begin(&f, N);
        snprintf(text, sizeof text, "margin=%d", margin);
        assert_int_equal(ft_config_set(f.x.cfg, text, "test"), FT_OK);
        f.r.opt = ft_arm_options_of(f.x.cfg);
        add(&f, false, "supervised", NULL, around(140, 0, 0), N);
        for (int i = 0; i < N; i++) same[i] = i ? 142 : 144;
        add(&f, false, "noise", NULL, same, N);
        assert_int_equal(ft_compare(&f.r), FT_OK);
        assert_true(f.arm[1].p_holm < 0.01 && f.arm[1].tost_holm < 0.01 && f.arm[1].delta.low <= 0 && f.arm[1].delta.high > 0.02);
        if (margin > 2) expect(&f, &f.arm[1], FT_EQUIVALENT, "equivalent to the baseline within 4 F1");
        else expect(&f, &f.arm[1], FT_NOT_SHOWN, "better on these 200 test videos (p 0.002), but others may say otherwise");
        end(&f);
    }
    begin(&f, N); /* none: what is shown is shown; a control with frozen frames is none */
    add(&f, false, "supervised", NULL, around(140, 4, 0), N);
    add(&f, false, "real-unlabelled", "unlabelled.frames=frozen", around(140, 4, 1), N);
    add(&f, false, "noise", NULL, around(180, 4, 2), N);
    assert_int_equal(ft_compare(&f.r), FT_OK);
    expect(&f, &f.arm[2], FT_BETTER, "better");
    head(&f, "No positive control");
    end(&f);
    begin(&f, N); /* all labels stand in for it */
    add(&f, false, "supervised", NULL, around(140, 4, 0), N);
    add(&f, false, "fully-supervised", NULL, around(180, 4, 1), N);
    for (int i = 0; i < N; i++) same[i] = (int)lround(f.arm[0].run[i].f1 * VIDEOS) + i % 2 * 2; /* 0 or 2 more: within 2 points */
    add(&f, false, "noise", NULL, same, N);
    assert_int_equal(ft_compare(&f.r), FT_OK);
    expect(&f, &f.arm[2], FT_EQUIVALENT, "equivalent to the baseline within 2 F1");
    assert_string_equal(ft_equivalent_word(&f.r, &f.arm[2]), "yes");
    assert_string_equal(ft_equivalent_word(&f.r, &f.arm[1]), "");
    head(&f, "Positive control seen: all labels add +2");
    assert_true(f.arm[2].tost_holm == f.arm[2].tost && isnan(f.arm[1].tost_holm));
    end(&f);
}

/* five arms, each as good as equal if it were alone: Holm counts them all */
static void test_equivalence_of_several(void **state)
{
    (void)state;
    enum { N = 6 };
    fixture f;
    int apart[N];
    begin(&f, N);
    assert_int_equal(ft_config_set(f.x.cfg, "margin=11", "test"), FT_OK);
    f.r.opt = ft_arm_options_of(f.x.cfg);
    add(&f, false, "supervised", NULL, around(140, 0, 0), N);
    for (int i = 0; i < N; i++) apart[i] = i % 2 ? 156 : 124;
    for (int i = 0; i < 5; i++) add(&f, false, "noise", NULL, apart, N);
    assert_int_equal(ft_compare(&f.r), FT_OK);
    const ft_arm_result *a = &f.arm[1];
    assert_true(a->tost < 0.05 && a->tost_holm > 0.05 && a->delta.low > -0.11 && a->delta.high < 0.11);
    expect(&f, a, FT_NOT_SHOWN, "6 label splits can show none");
    assert_string_equal(ft_equivalent_word(&f.r, a), "no");
    end(&f);
}

/* more-labels N is worth N - labels when N is a point of the curve, and the interval knows it: curve and arm are drawn together
 */
static void test_worth(void **state)
{
    (void)state;
    enum { N = 6 };
    fixture f;
    char text[100];
    begin(&f, N);
    add(&f, false, "supervised", NULL, around(140, 4, 0), N);
    add(&f, false, "more-labels 80", NULL, around(160, 4, 1), N);
    add(&f, false, "noise", NULL, around(190, 4, 3), N);
    add(&f, false, "supervised", "labels=10", around(110, 4, 4), N);
    add(&f, true, "more-labels 10", NULL, around(110, 4, 4), N);
    add(&f, true, "more-labels 80", NULL, around(160, 4, 1), N);
    const double labels[] = {10, 40, 80};
    const ft_arm_result *of[] = {&f.curve[0], &f.arm[0], &f.curve[1]};
    for (int i = 0; i < 3; i++) f.point[i] = (ft_label_point){labels[i], 0, of[i]};
    f.r.points = 3;
    assert_int_equal(ft_compare(&f.r), FT_OK);
    const ft_arm_result *more = &f.arm[1], *beyond = &f.arm[2];
    NEAR(more->worth.mean, 40, 1e-9);
    NEAR(more->worth.low, 40, 1e-9);
    NEAR(more->worth.high, 40, 1e-9);
    NEAR(ft_worth_f1(&f.r, more), f.curve[1].f1.mean, 1e-12);
    assert_true(beyond->worth.mean == INFINITY && isnan(f.arm[0].worth.mean));
    NEAR(f.arm[3].worth.mean, -30, 1e-9);
    ft_worth_text(&f.r, more, text);
    assert_string_equal(text, "+40 [+40, +40]");
    expect(&f, more, FT_NOT_SHOWN, "; it is worth +40 [+40, +40] labelled videos");
    ft_worth_text(&f.r, beyond, text);
    assert_string_equal(text, "more than +40 [more than +40, more than +40]");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_power),
                                       cmocka_unit_test(test_equivalence),
                                       cmocka_unit_test(test_curve),
                                       cmocka_unit_test(test_verdicts),
                                       cmocka_unit_test(test_verdicts_without_control),
                                       cmocka_unit_test(test_equivalence_of_several),
                                       cmocka_unit_test(test_worth)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
