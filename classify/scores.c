#include "classify/scores.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

static int arg_max(const float *p, int n)
{
    int best = 0;
    for (int k = 1; k < n; k++)
        if (p[k] > p[best]) best = k;
    return best;
}

static double ratio(double a, double b) { return b > 0 ? a / b : 0; }

static double f1_of(const int64_t *confusion, int classes, int positive)
{
    double total = 0;
    for (int c = 0; c < classes; c++) {
        double tp = (double)confusion[c * classes + c], fp = 0, fn = 0;
        for (int k = 0; k < classes; k++)
            if (k != c) fp += (double)confusion[k * classes + c], fn += (double)confusion[c * classes + k];
        double f1 = ratio(2 * tp, 2 * tp + fp + fn);
        if (classes == 2 && c == positive) return f1;
        total += f1;
    }
    return total / classes;
}

/* macro mean over the classes that one of the videos has */
static double f1_of_sets(const float *prob, const int *label, const int64_t *pick, int64_t n, int classes)
{
    double total = 0, kinds = 0;
    for (int c = 0; c < classes; c++) {
        double tp = 0, wrong = 0, is = 0;
        for (int64_t i = 0; i < n; i++) {
            int64_t k = pick ? pick[i] : i;
            bool said = prob[k * classes + c] > 0.5f, has = label[k] >> c & 1;
            tp += said && has, wrong += said != has, is += has;
        }
        if (is > 0) total += ratio(2 * tp, 2 * tp + wrong), kinds++;
    }
    return ratio(total, kinds);
}

double ft_f1(const float *prob, const int *label, const int64_t *pick, int64_t n, int classes, int positive)
{
    if (positive == FT_MULTILABEL) return f1_of_sets(prob, label, pick, n, classes);
    int64_t confusion[FT_MAX_CLASSES * FT_MAX_CLASSES] = {0};
    for (int64_t i = 0; i < n; i++) {
        int64_t k = pick ? pick[i] : i;
        confusion[label[k] * classes + arg_max(prob + k * classes, classes)]++;
    }
    return f1_of(confusion, classes, positive);
}

typedef struct {
    float p;
    int hit;
} ranked;

static int falling(const void *a, const void *b)
{
    float x = ((const ranked *)a)->p, y = ((const ranked *)b)->p;
    return x < y ? 1 : x > y ? -1 : 0;
}

/* Mann-Whitney AUROC and average precision of class c, tied scores taken together */
static void ranking(const float *prob, const int *label, int64_t n, int classes, int c, double *auroc, double *ap)
{
    ranked *r = ft_alloc(sizeof *r * (size_t)(n + 1));
    double pos = 0, neg, area = 0, precision = 0, tp = 0, fp = 0;
    *auroc = *ap = 0;
    if (!r) return;
    for (int64_t i = 0; i < n; i++) r[i] = (ranked){prob[i * classes + c], label[i] == c}, pos += label[i] == c;
    neg = (double)n - pos;
    if (n) qsort(r, (size_t)n, sizeof *r, falling);
    for (int64_t i = 0; i < n;) {
        double t = 0, f = 0;
        int64_t k = i;
        for (; k < n && r[k].p >= r[i].p; k++) t += r[k].hit, f += !r[k].hit;
        area += f * (tp + t / 2);
        tp += t, fp += f;
        precision += ratio(t, pos) * ratio(tp, tp + fp);
        i = k;
    }
    *auroc = ratio(area, pos * neg);
    *ap = precision;
    ft_free(r);
}

int64_t ft_curves(const float *prob, const int *label, int64_t n, int classes, int positive, double *tpr, double *fpr,
                  double *precision)
{
    ranked *r = ft_alloc(sizeof *r * (size_t)(n + 1));
    double pos = 0, tp = 0, fp = 0;
    int64_t points = 1;
    tpr[0] = fpr[0] = 0, precision[0] = 1;
    if (!r) return points;
    for (int64_t i = 0; i < n; i++)
        r[i] = (ranked){prob[i * classes + positive], label[i] == positive}, pos += label[i] == positive;
    if (n) qsort(r, (size_t)n, sizeof *r, falling);
    for (int64_t i = 0; i < n;) {
        int64_t k = i;
        for (; k < n && r[k].p >= r[i].p; k++) tp += r[k].hit, fp += !r[k].hit; /* tied scores together */
        tpr[points] = ratio(tp, pos), fpr[points] = ratio(fp, (double)n - pos), precision[points] = ratio(tp, tp + fp);
        points++;
        i = k;
    }
    ft_free(r);
    return points;
}

double ft_operating_point(const float *prob, const int *label, int64_t n, int positive)
{
    double best = -1, at = NAN;
    for (int64_t i = 0; i < n; i++) { /* thresholds are the answers themselves */
        float t = prob[2 * i + positive];
        double tp = 0, wrong = 0;
        for (int64_t k = 0; k < n; k++) {
            bool says = prob[2 * k + positive] >= t, is = label[k] == positive;
            tp += says && is, wrong += says != is;
        }
        double f1 = ratio(2 * tp, 2 * tp + wrong);
        if (f1 > best || (f1 >= best && (double)t > at)) best = f1, at = (double)t;
    }
    return at;
}

/* Each class by itself, as two; row (n,2), is (n) */
static ft_scores score_sets(const float *prob, const int *label, int64_t n, int classes, float *row, int *is)
{
    ft_scores s = {.classes = classes, .multilabel = true};
    double some = 0, not_all = 0, both = 0, right = 0;
    for (int c = 0; c < classes; c++) {
        int64_t has = 0;
        for (int64_t i = 0; i < n; i++) {
            row[2 * i + 1] = prob[i * classes + c], row[2 * i] = 1 - row[2 * i + 1]; /* exact where p > 1/2 */
            has += is[i] = label[i] >> c & 1;
        }
        ft_scores of = ft_score(row, is, n, 2, 1);
        s.of_class[c].videos = has;
        s.of_class[c].f1 = has ? of.f1 : (double)NAN, s.of_class[c].auprc = has ? of.auprc : (double)NAN;
        s.of_class[c].auroc = has && has < n ? of.auroc : (double)NAN;
        if (has) s.sensitivity += of.sensitivity, s.auprc += of.auprc, some++;
        if (has < n) s.specificity += of.specificity, not_all++;
        if (has && has < n) s.auroc += of.auroc, both++;
        s.balanced_accuracy += of.balanced_accuracy / classes, s.mcc += of.mcc / classes;
        s.brier += of.brier / classes, s.ece += of.ece / classes;
    }
    for (int64_t i = 0; i < n; i++) {
        int said = 0;
        for (int c = 0; c < classes; c++) said |= (prob[i * classes + c] > 0.5f) << c;
        right += said == label[i];
    }
    s.f1 = ft_f1(prob, label, NULL, n, classes, FT_MULTILABEL);
    s.accuracy = ratio(right, (double)n);
    s.sensitivity = ratio(s.sensitivity, some), s.auprc = ratio(s.auprc, some);
    s.specificity = ratio(s.specificity, not_all), s.auroc = ratio(s.auroc, both);
    return s;
}

ft_scores ft_score(const float *prob, const int *label, int64_t n, int classes, int positive)
{
    enum { BINS = 15 };
    if (positive == FT_MULTILABEL) {
        float *row = ft_alloc_n(n + 1, 2 * sizeof *row);
        int *is = ft_alloc_n(n + 1, sizeof *is);
        ft_scores of = row && is ? score_sets(prob, label, n, classes, row, is) : (ft_scores){.classes = classes};
        ft_free(row);
        ft_free(is);
        return of;
    }
    ft_scores s = {.classes = classes};
    int64_t flat[FT_MAX_CLASSES * FT_MAX_CLASSES] = {0};
    double bin_n[BINS] = {0}, bin_p[BINS] = {0}, bin_hit[BINS] = {0}, right = 0;
    for (int64_t i = 0; i < n; i++) {
        const float *p = prob + i * classes;
        int guess = arg_max(p, classes), b = (int)((double)p[guess] * BINS);
        if (b >= BINS) b = BINS - 1;
        flat[label[i] * classes + guess]++;
        s.confusion[label[i]][guess]++;
        right += guess == label[i];
        bin_n[b]++, bin_p[b] += (double)p[guess], bin_hit[b] += guess == label[i];
        for (int c = 0; c < classes; c++)
            if (classes > 2 || c == positive) s.brier += ((double)p[c] - (label[i] == c)) * ((double)p[c] - (label[i] == c));
    }
    s.brier = ratio(s.brier, (double)n);
    s.accuracy = ratio(right, (double)n);
    for (int b = 0; b < BINS; b++) s.ece += ratio(fabs(bin_hit[b] - bin_p[b]), (double)n);
    s.f1 = f1_of(flat, classes, positive);
    double samples = (double)n, cov = 0, tt = 0, pp = 0, recall[FT_MAX_CLASSES] = {0}, kinds = 0;
    for (int c = 0; c < classes; c++) {
        double t = 0, p = 0;
        for (int k = 0; k < classes; k++) t += (double)s.confusion[c][k], p += (double)s.confusion[k][c];
        recall[c] = ratio((double)s.confusion[c][c], t);
        if (t > 0) s.balanced_accuracy += recall[c], kinds++;
        cov += t * p, tt += t * t, pp += p * p;
    }
    s.balanced_accuracy = ratio(s.balanced_accuracy, kinds);
    s.mcc = ratio(right * samples - cov, sqrt(samples * samples - pp) * sqrt(samples * samples - tt));
    s.sensitivity = recall[positive];
    double tn = 0, others = 0; /* of the positive class against the rest */
    for (int c = 0; c < classes; c++)
        for (int k = 0; c != positive && k < classes; k++)
            others += (double)s.confusion[c][k], tn += k == positive ? 0 : (double)s.confusion[c][k];
    s.specificity = ratio(tn, others);
    for (int c = 0; c < classes; c++) {
        double a, p;
        if (classes == 2 && c != positive) continue;
        ranking(prob, label, n, classes, c, &a, &p);
        s.auroc += a / (classes == 2 ? 1 : classes);
        s.auprc += p / (classes == 2 ? 1 : classes);
    }
    return s;
}

static json_t *real(double v) { return isnan(v) ? json_null() : json_real(v); }

json_t *ft_scores_json(const ft_scores *s)
{
    json_t *m = json_array();
    for (int c = 0; c < s->classes && s->multilabel; c++)
        json_array_append_new(m,
                              json_pack("{s:o,s:o,s:o,s:I}", "f1", real(s->of_class[c].f1), "auroc", real(s->of_class[c].auroc),
                                        "auprc", real(s->of_class[c].auprc), "videos", (json_int_t)s->of_class[c].videos));
    for (int c = 0; c < s->classes && !s->multilabel; c++) {
        json_t *row = json_array();
        for (int k = 0; k < s->classes; k++) json_array_append_new(row, json_integer(s->confusion[c][k]));
        json_array_append_new(m, row);
    }
    return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:o}", "f1", s->f1, "accuracy", s->accuracy, "balanced_accuracy",
                     s->balanced_accuracy, "sensitivity", s->sensitivity, "specificity", s->specificity, "mcc", s->mcc, "auroc",
                     s->auroc, "auprc", s->auprc, "brier", s->brier, "ece", s->ece, s->multilabel ? "of_class" : "confusion", m);
}
