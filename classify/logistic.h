/* Logistic regression with an L2 penalty, to convergence, in double precision; the same optimum as scikit-learn's
 * LogisticRegression(C = strength).
 *
 *   two classes    sum_i s_i log(1 + exp(-t_i f_i)) + |w|^2 / (2 C),  f = w.x + b, t = +-1
 *   more           sum_i -s_i log softmax(f)_label + sum_k |w_k|^2 / (2 C)
 *
 * The intercept is not penalised. Newton's method in the span of the rows where they are few, else L-BFGS (Liu & Nocedal 1989).
 */
#ifndef FT_LOGISTIC_H
#define FT_LOGISTIC_H

#include <stdint.h>

typedef struct {
    const float *x;           /* (n, d) */
    const int *label, *group; /* of each row; rows of a group are never parted */
    const double *weight;     /* s */
    int64_t n, d;
    int classes;
} ft_rows;

/* w (classes, d) and b (classes), scores of a softmax: with two classes -f/2 and f/2. FT_ENOMEM */
int ft_logistic_fit(const ft_rows *r, double strength, double *w, double *b);

/* The strength of `grid` (n of them, rising) with the least log loss of held-out rows, over five folds of whole groups with equal
 * shares of the classes; fewer folds where a class has fewer groups, and the grid's middle where one has but one. *loss (may be
 * NULL): that of each. */
int ft_logistic_choose(const ft_rows *r, const double *grid, int n, uint64_t seed, double *strength, double *loss);

#endif
