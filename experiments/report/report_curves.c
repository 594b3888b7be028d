/* Plots of the report that look at every answer: receiver operating and precision-recall curves, reliability. Answers of all runs
 * of an arm are taken together. */
#include "experiments/report/report_parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "classify/scores.h"
#include "common/base/memory.h"

enum { SIDE = 240, LEFT = 34, TOP = 10 };
typedef struct {
    float *prob;
    int *label;
    int64_t n;
} answers;

static int gather(answers *all, const ft_arm_result *a, int classes)
{
    memset(all, 0, sizeof *all);
    for (int k = 0; k < a->n; k++) all->n += a->run[k].n;
    all->prob = ft_alloc((size_t)(all->n * classes + 1) * sizeof *all->prob);
    all->label = ft_alloc((size_t)(all->n + 1) * sizeof *all->label);
    if (!all->prob || !all->label) return -1;
    for (int64_t k = 0, at = 0; k < a->n; at += a->run[k++].n) {
        memcpy(all->prob + at * classes, a->run[k].prob, (size_t)(a->run[k].n * classes) * sizeof *all->prob);
        memcpy(all->label + at, a->run[k].label, (size_t)a->run[k].n * sizeof *all->label);
    }
    return 0;
}

static void frame(FILE *f, const char *x, const char *y, bool diagonal)
{
    fprintf(f, "<figure><svg viewBox=\"0 0 %d %d\" width=%d role=img aria-label=\"%s against %s\">", LEFT + SIDE + 10,
            TOP + SIDE + 36, LEFT + SIDE + 10, y, x);
    fprintf(f, "<rect x=%d y=%d width=%d height=%d fill=none stroke=\"var(--line)\"/>", LEFT, TOP, SIDE, SIDE);
    if (diagonal)
        fprintf(f, "<line x1=%d y1=%d x2=%d y2=%d stroke=\"var(--line)\" stroke-dasharray=\"4 3\"/>", LEFT, TOP + SIDE,
                LEFT + SIDE, TOP);
    for (int i = 0; i <= 2; i++)
        fprintf(f,
                "<text class=soft x=%d y=%d text-anchor=middle>%.1f</text><text class=soft x=%d y=%d text-anchor=end>%.1f</text>",
                LEFT + SIDE * i / 2, TOP + SIDE + 15, i / 2.0, LEFT - 4, TOP + SIDE - SIDE * i / 2 + 4, i / 2.0);
    fprintf(f, "<text class=soft x=%d y=%d text-anchor=middle>%s</text>", LEFT + SIDE / 2, TOP + SIDE + 30, x);
}

static void line(FILE *f, int which, const double *x, const double *y, int64_t n)
{
    fprintf(f, "<polyline fill=none stroke=\"%s\" stroke-width=1.7 points=\"", ft_hue[which % FT_HUES]);
    int64_t every = n / 400 + 1;
    for (int64_t i = 0; i < n; i++)
        if (i % every == 0 || i == n - 1) fprintf(f, "%.1f,%.1f ", LEFT + SIDE * x[i], TOP + SIDE - SIDE * y[i]);
    fputs("\"/>", f);
}

/* confidence of the winning class (of sets: of each class) against how often it is right, in tenths that hold at least 10 answers
 */
static int64_t reliability(const answers *a, int classes, bool sets, double *x, double *y)
{
    double n[10] = {0}, p[10] = {0}, hit[10] = {0};
    int64_t points = 0;
    for (int64_t i = 0; i < a->n; i++) {
        const float *q = a->prob + i * classes;
        int top = 0;
        for (int c = 1; c < classes && !sets; c++)
            if (q[c] > q[top]) top = c;
        for (int c = sets ? 0 : top; c < (sets ? classes : top + 1); c++) {
            int b = (int)((double)q[c] * 10) > 9 ? 9 : (int)((double)q[c] * 10);
            n[b]++, p[b] += (double)q[c], hit[b] += sets ? a->label[i] >> c & 1 : c == a->label[i];
        }
    }
    for (int b = 0; b < 10; b++)
        if (n[b] >= 10) x[points] = p[b] / n[b], y[points++] = hit[b] / n[b];
    return points;
}

int ft_report_curves(FILE *f, const ft_result *r)
{
    static const char *const titles[] = {"Receiver operating characteristic", "Precision and recall",
                                         "Reliability of the winning class"};
    int C = r->x->classes.n;
    bool sets = r->x->classes.positive == FT_MULTILABEL;
    fputs("<div class=row>", f);
    for (int kind = C == 2 && !sets ? 0 : 2; kind < 3; kind++) {
        frame(f,
              kind == 0   ? "false positive rate"
              : kind == 1 ? "recall"
                          : "confidence",
              kind == 0   ? "true positive rate"
              : kind == 1 ? "precision"
                          : "share right",
              kind != 1);
        for (int i = 0; i < r->n; i++) {
            answers a;
            int rc = gather(&a, &r->arm[i], C);
            double *x = ft_alloc((size_t)(3 * a.n + 13) * sizeof *x), *y = x ? x + a.n + 4 : NULL, *z = x ? y + a.n + 4 : NULL;
            if (rc == 0 && x && kind == 2) line(f, i, x, y, reliability(&a, C, sets, x, y));
            else if (rc == 0 && x) {
                int64_t n = ft_curves(a.prob, a.label, a.n, C, r->x->classes.positive, x, y, z);
                line(f, i, kind ? x : y, kind ? z : x, n);
            }
            ft_free(x);
            ft_free(a.prob);
            ft_free(a.label);
            if (rc < 0) return rc;
        }
        fprintf(f, "</svg><figcaption>%s</figcaption></figure>", kind == 2 && sets ? "Reliability of each label" : titles[kind]);
    }
    fputs("</div>", f);
    ft_html_legend(f, r);
    return 0;
}
