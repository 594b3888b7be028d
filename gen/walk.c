#include "gen/walk.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"

/* A row of the table: the time, then the numbers of the combinations of a step (ft_combine), in their order */
enum { X0 = 3, CORRECTED = 5, PREDICTED = 3, ANCESTRAL = 2, MOST_NUMBERS = 1 + 2 * (X0 + CORRECTED + PREDICTED) };

/* A step as a graph. Its state is the walk's: x; x0 at this point and at the one before; x at the point before, not predicted;
 * the table */
typedef struct {
    ft_graph *g;
    int predictions; /* of the network: with and without a class */
    ft_t x, m0, m1, before, table, row, key;
} way;

struct ft_walk {
    ft_sampler kind;
    int steps, ndim, ways;
    bool learned, guided, *plain; /* plain: steps where what is said without a class weighs nothing */
    int64_t numbers;
    ft_graph *start;
    ft_plan *start_plan;
    ft_params *state;
    ft_t start_key;
    way way[2]; /* of all steps; of the plain ones, without the second prediction */
};

static double lambda(double alpha, double sigma) { return log(alpha / sigma); }

static float *number(float *to, double v)
{
    to[0] = (float)v;
    to[1] = (float)(v - (double)to[0]);
    return to + 2;
}

/* of x and what the network says, and says without a class */
static float *x0_numbers(const ft_path *p, int i, float *to)
{
    double a = p->predicts == FT_PREDICTS_EPS ? p->alpha[i] : 1, by = p->predicts == FT_PREDICTS_X0 ? 1 : -p->sigma[i] / a;
    to = number(to, p->predicts == FT_PREDICTS_X0 ? 0 : 1 / a);
    to = number(to, by * (p->guidance ? p->guidance[i] : 1));
    return p->guidance ? number(to, by * (1 - p->guidance[i])) : to;
}

/* of x and x0: a sample of q(x at point i + 1 | x, x0). Nothing random is added on the way to sigma = 0. */
static void ancestral_numbers(const ft_path *p, int i, float *to)
{
    double now = p->alpha[i] * p->alpha[i], prev = p->alpha[i + 1] * p->alpha[i + 1], beta = 1 - now / prev;
    double high = log(beta), low = log(beta * (1 - prev) / (1 - now));
    bool end = p->sigma[i + 1] <= 0;
    to = number(to, sqrt(1 - beta) * (1 - prev) / (1 - now));
    to = number(to, sqrt(prev) * beta / (1 - now));
    to = number(to, end ? 0 : p->learned ? 1 : exp(0.5 * low));
    if (p->learned) to = number(number(to, end ? 0 : low), end ? 0 : high);
    *to = (float)(i + 1);
}

/* of x, x at the point before, x0 there and at the one before it, and x0 here: the step that led here, done again now that this
 * point's x0 is known */
static float *corrector_numbers(const ft_path *p, int i, float *to)
{
    const double *alpha = p->alpha, *sigma = p->sigma;
    if (i == 0) {
        to = number(to, 1);
        for (int k = 1; k < CORRECTED; k++) to = number(to, 0);
        return to;
    }
    double a = alpha[i], s = sigma[i], ap = alpha[i - 1], sp = sigma[i - 1], h = lambda(a, s) - lambda(ap, sp), B = expm1(-h);
    double r1 = i > 1 ? (lambda(alpha[i - 2], sigma[i - 2]) - lambda(ap, sp)) / h : 0, phi = B / -h - 1, b1 = phi / B,
           b2 = 2 * (phi / -h - 0.5) / B;
    double rho1 = i > 1 ? (b1 - b2) / (1 - r1) : 0, rho2 = i > 1 ? b1 - rho1 : 0.5, far = i > 1 ? rho1 / r1 : 0;
    to = number(to, 0);
    to = number(to, s / sp);
    to = number(to, -a * B * (1 - far - rho2));
    to = number(to, -a * B * far);
    return number(to, -a * B * rho2);
}

/* of x, x0 here and at the point before */
static float *predictor_numbers(const ft_path *p, int i, float *to)
{
    double a = p->alpha[i], s = p->sigma[i], a2 = p->alpha[i + 1], s2 = p->sigma[i + 1];
    bool second = p->kind == FT_UNIPC && i > 0 && s2 > 0 && !(p->lower_order_final && i + 1 == p->steps);
    /* from alpha = 0: h is infinite, B is -1, r below is 0's limit */
    double h = s2 > 0 ? lambda(a2, s2) - lambda(a, s) : 0, B = expm1(-h);
    double r = second ? (lambda(a, s) - lambda(p->alpha[i - 1], p->sigma[i - 1])) / h : 1, far = second ? 0.5 / r : 0;
    to = number(to, s2 > 0 ? s2 / s : 0);
    to = number(to, s2 > 0 ? -a2 * B * (1 + far) : 1);
    return p->kind == FT_UNIPC ? number(to, a2 * B * far) : to;
}

static void numbers_of(const ft_path *p, int i, float *to)
{
    *to++ = (float)p->time[i];
    to = x0_numbers(p, i, to);
    if (p->kind == FT_DDPM) {
        ancestral_numbers(p, i, to);
        return;
    }
    if (p->kind == FT_UNIPC) to = corrector_numbers(p, i, to);
    predictor_numbers(p, i, to);
}

/* the next n numbers of this step's row */
static ft_t take(const way *s, int64_t *at, int64_t n)
{
    ft_t part = ft_slice(s->g, s->row, 1, *at, n);
    *at += n;
    return ft_reshape(s->g, part, 1, &n);
}

static ft_t state(ft_walk *w, ft_graph *g, const char *name, int ndim, const int64_t *dim)
{
    ft_borrow(g, g == w->start ? NULL : w->state);
    ft_t t = ft_buffer(g, name, ndim, dim, FT_ZERO);
    ft_borrow(g, NULL);
    return t;
}

/* The beginning, a graph of its own: noise, and the table from its first row on. */
static int build_start(ft_walk *w, const ft_path *path, const int64_t *dim)
{
    int64_t steps = w->steps, table[2] = {steps, w->numbers};
    float *numbers = ft_alloc((size_t)(steps * w->numbers) * sizeof *numbers);
    if (!numbers || !(w->start = ft_graph_new(w->state, FT_F32, FT_GRAPH_SAMPLER))) {
        ft_free(numbers);
        return FT_FAIL(FT_ENOMEM, "no memory to sample in %lld steps", (long long)steps);
    }
    for (int64_t i = 0; i < steps; i++) numbers_of(path, (int)i, numbers + i * w->numbers);
    ft_t x = state(w, w->start, "x", w->ndim, dim), rows = state(w, w->start, "table", 2, table);
    const float only_noise[5] = {0, 0, 1, 0, 0};
    w->start_key = ft_input(w->start, "key", FT_I32, 1, (int64_t[]){4});
    ft_assign(w->start, x,
              ft_combine(w->start, 1, &x, ft_const(w->start, FT_F32, 1, (int64_t[]){5}, only_noise), w->start_key, NULL));
    ft_assign(w->start, rows, ft_const(w->start, FT_F32, 2, table, numbers));
    ft_free(numbers);
    return FT_OK;
}

/* a step begins: x and its time, from what is kept */
static void begin(ft_walk *w, ft_graph *g, int predictions, const int64_t *dim, ft_t *x, ft_t *t)
{
    way *s = &w->way[w->ways++];
    int64_t at = 0;
    *s = (way){.g = g, .predictions = predictions};
    *x = s->x = state(w, g, "x", w->ndim, dim);
    s->table = state(w, g, "table", 2, (int64_t[]){w->steps, w->numbers});
    if (w->kind == FT_UNIPC) {
        s->m0 = state(w, g, "m0", w->ndim, dim);
        s->m1 = state(w, g, "m1", w->ndim, dim);
        s->before = state(w, g, "before", w->ndim, dim);
    }
    s->row = ft_slice(g, s->table, 0, 0, 1);
    *t = ft_broadcast(g, take(s, &at, 1), 1, dim, 1);
}

int ft_walk_new(ft_walk **out, ft_graph *g, const ft_path *path, int ndim, const int64_t *dim, ft_t *x, ft_t *t)
{
    ft_walk *w = *out = ft_alloc(sizeof *w);
    if (!w) return FT_FAIL(FT_ENOMEM, "no memory to sample");
    *w = (ft_walk){.kind = path->kind, .steps = path->steps, .ndim = ndim, .guided = path->guidance != NULL};
    w->numbers = 1 + 2 * (w->guided ? 3 : 2);
    w->learned = path->learned && path->kind == FT_DDPM;
    w->numbers += path->kind == FT_DDIM    ? 2 * (PREDICTED - 1)
                  : path->kind == FT_UNIPC ? 2 * (CORRECTED + PREDICTED)
                                           : 2 * (ANCESTRAL + (w->learned ? 3 : 1)) + 1;
    w->plain = ft_alloc((size_t)path->steps * sizeof *w->plain);
    int rc = w->plain && (w->state = ft_params_new(0)) ? ft_params_train_only(w->state, 0, NULL)
                                                       : FT_FAIL(FT_ENOMEM, "no memory to sample");
    if (rc == FT_OK) rc = build_start(w, path, dim);
    if (rc < 0) {
        ft_walk_free(w), *out = NULL;
        return rc;
    }
    for (int i = 0; i < path->steps; i++) w->plain[i] = w->guided && path->guidance[i] == 1;
    begin(w, g, w->guided ? 2 : 1, dim, x, t);
    return FT_OK;
}

void ft_walk_plain(ft_walk *w, ft_graph *g, const int64_t *dim, ft_t *x, ft_t *t) { begin(w, g, 1, dim, x, t); }

int ft_walk_update(ft_walk *w, ft_t y, ft_t without, ft_t variance)
{
    way *s = &w->way[w->ways - 1];
    ft_graph *g = s->g;
    int64_t at = 1;
    ft_t x0 = ft_combine(g, 1 + s->predictions, (ft_t[]){s->x, y, without}, take(s, &at, 2 * (1 + s->predictions)), NULL, NULL),
         x = s->x, next;
    if (w->guided && s->predictions == 1) at += 2; /* the weight of none, 0 */
    if (w->kind == FT_DDPM) {
        s->key = ft_input(g, "key", FT_I32, 1, (int64_t[]){4});
        next = ft_combine(g, ANCESTRAL, (ft_t[]){x, x0}, take(s, &at, w->numbers - at), s->key, w->learned ? variance : NULL);
    } else {
        if (w->kind == FT_UNIPC)
            x = ft_combine(g, CORRECTED, (ft_t[]){x, s->before, s->m0, s->m1, x0}, take(s, &at, 2 * CORRECTED), NULL, NULL);
        next = ft_combine(g, w->kind == FT_UNIPC ? PREDICTED : PREDICTED - 1, (ft_t[]){x, x0, s->m0},
                          take(s, &at, w->numbers - at), NULL, NULL);
    }
    if (w->kind == FT_UNIPC) {
        ft_assign(g, s->m1, s->m0);
        ft_assign(g, s->m0, x0);
        ft_assign(g, s->before, x);
    }
    ft_t turned = ft_roll(g, s->table, 0, -1);
    ft_assign(g, s->x, next);
    ft_assign(g, s->table, turned);
    return w->start_plan ? FT_OK : ft_plan_new(&w->start_plan, w->start, FT_WEIGHTS);
}

int ft_walk_run(ft_walk *w, ft_plan *plan, ft_plan *plain, uint64_t seed, int64_t first, const float *from, const float **x)
{
    const uint32_t key[4] = {(uint32_t)seed, (uint32_t)(seed >> 32), (uint32_t)first, (uint32_t)((uint64_t)first >> 32)};
    ft_t state = w->way[0].x;
    memcpy(ft_data(w->start_key), key, sizeof key);
    for (int k = 0; k < w->ways; k++)
        if (w->way[k].key) memcpy(ft_data(w->way[k].key), key, sizeof key);
    FT_TRY(ft_run(w->start_plan, &(ft_step){0}));
    if (from) {
        memcpy(ft_data(state), from, (size_t)ft_count(state) * sizeof *from);
        ft_params_touched(w->state);
    }
    for (int i = 0; i < w->steps; i++) FT_TRY(ft_run(plain && w->plain[i] ? plain : plan, &(ft_step){0}));
    *x = ft_data(state);
    return *x ? FT_OK : FT_FAIL(FT_EDEVICE, "%s", ft_error_message());
}

void ft_walk_free(ft_walk *w)
{
    if (!w) return;
    ft_plan_free(w->start_plan);
    ft_graph_free(w->start);
    ft_params_free(w->state);
    ft_free(w->plain);
    ft_free(w);
}
