#include "experiments/report/compare.h"

#include <math.h>
#include <string.h>

#include "classify/scores.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/report/verdict.h"
#include "experiments/report/worth.h"
#include "experiments/statistics/power.h"

/* McNemar's pairs, by the mean answer of all runs to each video of the one test list */
static void discordant(ft_arm_result *a, const ft_arm_result *b, int classes, int positive)
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
            int said = 0;
            for (int c = 0; c < classes; c++) said |= (mean[c] > 0.5 * arm->n) << c;
            right[side] = (positive == FT_MULTILABEL ? said : best) == first->label[i];
        }
        alone[0] += right[0] && !right[1];
        alone[1] += right[1] && !right[0];
    }
    memcpy(a->mcnemar, alone, sizeof alone);
    a->p_mcnemar = ft_mcnemar(alone[0], alone[1]);
}

/* F1 and its difference from the baseline's, with intervals; false: no memory */
static bool intervals(const ft_result *r, ft_arm_result *a, const ft_arm_result *base)
{
    int samples = r->opt.bootstrap, C = r->x->classes.n, positive = r->x->classes.positive;
    a->f1 = ft_arm_interval(a->run, a->n, C, positive, samples);
    a->delta = (ft_interval){NAN, NAN, NAN, NAN};
    if (base && base != a) a->delta = ft_paired_interval(a->run, base->run, a->n, C, positive, samples);
    return !isnan(a->f1.low) && isnan(a->delta.mean) == isnan(a->delta.low);
}

/* Tests on the exchangeable differences; p_holm is not corrected yet. */
static int tests(const ft_result *r, ft_arm_result *a, const ft_arm_result *base)
{
    a->p = a->p_holm = a->delta_sd = a->p_mcnemar = a->tost = NAN;
    if (!base || base == a) return FT_OK;
    double *difference = ft_alloc_n(a->n, sizeof *difference), square = 0;
    if (!difference) return FT_FAIL(FT_ENOMEM, "no memory for %d runs", a->n);
    int units = ft_units(a->run, base->run, a->n, difference);
    a->p = a->p_holm = ft_sign_flip(difference, units);
    for (int k = 0; k < units; k++) square += pow(difference[k] - a->delta.mean, 2);
    if (units > 1) a->delta_sd = sqrt(square / (units - 1));
    a->tost = ft_equivalence(difference, units, r->opt.margin / 100);
    if (r->x->n_folds == 1) discordant(a, base, r->x->classes.n, r->x->classes.positive);
    ft_free(difference);
    return FT_OK;
}

static void looks_of(ft_arm_result *a)
{
    a->looked = a->opt.best_on_test;
    a->point_f1 = a->best_look = 0;
    for (int k = 0; k < a->n; k++) {
        json_t *f1 = json_object_get(json_object_get(a->line[k], "operating_point"), "f1");
        json_t *best = json_object_get(json_object_get(a->line[k], "best_on_test"), "f1");
        a->best_look += json_is_number(best) ? json_number_value(best) / a->n : NAN;
        a->point_f1 += json_is_number(f1) ? json_number_value(f1) / a->n : NAN;
    }
}

/* trivial answers on the first run's test videos */
static int trivial_answers(ft_result *r)
{
    int classes = r->x->classes.n, positive = r->x->classes.positive;
    const ft_run_scores *t = &r->arm[0].run[0];
    float *prob = ft_alloc((size_t)(t->n * classes + 1) * sizeof *prob);
    if (!prob) return FT_FAIL(FT_ENOMEM, "no memory for %lld answers", (long long)t->n);
    for (int kind = 0; kind < 2; kind++) {
        for (int64_t i = 0; i < t->n; i++)
            for (int c = 0; c < classes; c++)
                prob[i * classes + c] = positive == FT_MULTILABEL ? kind == 0
                                        : classes == 2            ? (c == positive) == (kind == 0)
                                                                  : c == (kind ? 0 : positive);
        *(kind ? &r->trivial_negative : &r->trivial_positive) = ft_f1(prob, t->label, NULL, t->n, classes, positive);
    }
    ft_free(prob);
    double prevalence = 0; /* guessing positive at the rate of the training labels, which are balanced: 1 / classes */
    for (int64_t i = 0; i < t->n; i++) prevalence += t->label[i] == positive;
    prevalence /= (double)t->n;
    r->trivial_prior = classes == 2 ? 2 * prevalence * 0.5 / (prevalence + 0.5) : 1.0 / classes;
    if (positive == FT_MULTILABEL) { /* each label at its own rate p: F1 of p in the mean */
        double labels = 0;
        for (int64_t i = 0; i < t->n; i++)
            for (int c = 0; c < classes; c++) labels += t->label[i] >> c & 1;
        r->trivial_prior = labels / (double)t->n / classes;
    }
    r->test_videos = t->n;
    return FT_OK;
}

int ft_compare(ft_result *r)
{
    ft_arm_result *base = ft_baseline(r, NULL);
    int failed = 0;
#pragma omp parallel for schedule(dynamic) reduction(+ : failed)
    for (int i = 0; i < r->n + r->curve_n; i++) {
        ft_arm_result *a = i < r->n ? &r->arm[i] : &r->curve[i - r->n];
        failed += !intervals(r, a, i < r->n ? ft_baseline(r, a) : base);
    }
    if (failed) return FT_FAIL(FT_ENOMEM, "no memory for bootstrap samples");
    for (int i = 0; i < r->curve_n; i++)
        FT_TRY(tests(r, &r->curve[i], base)); /* no claims: they cost the arms nothing in Holm's */
    double *p = ft_alloc_n(r->n, sizeof *p);
    int rc = p ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %d arms", r->n);
    for (int i = 0; rc == FT_OK && i < r->n; i++) {
        ft_arm_result *a = &r->arm[i];
        rc = tests(r, a, ft_baseline(r, a));
        looks_of(a);
        r->comparisons += !isnan(a->delta.mean);
        p[i] = a->p;
    }
    if (rc == FT_OK) ft_holm(p, r->n);
    for (int i = 0; rc == FT_OK && i < r->n; i++) r->arm[i].p_holm = p[i];
    ft_free(p);
    FT_TRY(rc);
    FT_TRY(trivial_answers(r));
    FT_TRY(ft_worth(r));
    return ft_verdicts(r);
}
