/* Losses. Each gives one f32 (or one per row); sums are carried in double over a fixed number of parts. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

/* ---- pointwise losses and their mean ------------------------------------------------------------------------------------ */

/* y = loss of each pair; d, if wanted, its derivative by x. A kind that is known makes a loop that is vectorised. */
static void pointwise(int kind, float delta, const float *x, const float *t, float *y, float *d, int64_t n)
{
#define EACH(kind)                                                                                                               \
    case kind:                                                                                                                   \
        for (int64_t i = 0; y && i < n; i++) y[i] = ft_loss1(kind, delta, x[i], t[i]);                                           \
        for (int64_t i = 0; !y && i < n; i++) d[i] = ft_loss_d1(kind, delta, x[i], t[i]);                                        \
        break;
    switch ((ft_loss_kind)kind) {
        EACH(FT_MSE)
        EACH(FT_L1)
        EACH(FT_HUBER)
        EACH(FT_BCE_LOGIT)
        EACH(FT_HINGE)
    }
#undef EACH
}

void FT_CPU(loss_mean)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *t = c->in[1];
    const float *weight = c->in[2] ? c->in[2]->data : NULL;
    int64_t per_sample = x->count / x->dim[0];
    double part[FT_PARTS] = {0}, total = 0;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t k = 0; k < FT_PARTS; k++) {
        int64_t from = ft_part(x->count, k, FT_PARTS), to = ft_part(x->count, k + 1, FT_PARTS), n;
        for (int64_t at = from; at < to; at += n) {
            float ta[FT_BLOCK], tb[FT_BLOCK], y[FT_BLOCK];
            n = FT_MIN(FT_BLOCK, FT_MIN(to, (at / per_sample + 1) * per_sample) - at); /* within one sample */
            pointwise(c->attr->scalar.kind, c->attr->scalar.a, ft_load(ta, x, at, n), ft_load(tb, t, at, n), y, NULL, n);
            part[k] += (double)ft_sum(y, n) * (weight ? (double)weight[at / per_sample] : 1.0);
        }
    }
    for (int k = 0; k < FT_PARTS; k++) total += part[k];
    *(float *)c->out[0]->data = (float)(total / (double)x->count);
}

/* in: x target weight dloss; out: dx */
void FT_CPU(loss_mean_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *t = c->in[1];
    const float *weight = c->in[2] ? c->in[2]->data : NULL;
    float g = *(const float *)c->in[3]->data / (float)x->count;
    int64_t per_sample = x->count / x->dim[0], block = FT_MIN(FT_BLOCK, per_sample), blocks = (per_sample + block - 1) / block;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < x->dim[0] * blocks; task++) {
        int64_t b = task / blocks, at = b * per_sample + task % blocks * block, n = FT_MIN(block, (b + 1) * per_sample - at);
        float ta[FT_BLOCK], tb[FT_BLOCK], to[FT_BLOCK], *dx = ft_into(to, c->out[0], at), scale = weight ? g * weight[b] : g;
        pointwise(c->attr->scalar.kind, c->attr->scalar.a, ft_load(ta, x, at, n), ft_load(tb, t, at, n), NULL, dx, n);
        for (int64_t i = 0; i < n; i++) dx[i] *= scale;
        ft_store_at(c->out[0], at, dx, n);
    }
}

/* ---- classification: f32, few rows -------------------------------------------------------------------------------------- */

static double log_sum_exp(const float *z, int64_t n)
{
    double top = z[0], s = 0;
    for (int64_t k = 1; k < n; k++) top = FT_MAX(top, (double)z[k]);
    for (int64_t k = 0; k < n; k++) s += exp((double)z[k] - top);
    return top + log(s);
}

/* target of row r: probabilities (B,C) or a class (B); class -1 counts nothing */
static double target_of(const ft_buf *t, int64_t r, int64_t k, int64_t n)
{
    if (t->dtype == FT_I32) return ((const int32_t *)t->data)[r] == k;
    return (double)((const float *)t->data)[r * n + k];
}

void FT_CPU(softmax_xent)(const ft_call *c)
{
    int64_t rows = c->in[0]->dim[0], n = c->in[0]->dim[1];
    const float *z = c->in[0]->data, *w = c->in[2] ? c->in[2]->data : NULL;
    double total = 0;
    for (int64_t r = 0; r < rows; r++) {
        double lse = log_sum_exp(z + r * n, n), h = 0;
        for (int64_t k = 0; k < n; k++) h += target_of(c->in[1], r, k, n) * (lse - (double)z[r * n + k]);
        total += w ? (double)w[r] * h : h;
    }
    *(float *)c->out[0]->data = (float)(total / (double)rows);
}

/* in: logits target weight dloss; out: dlogits */
void FT_CPU(softmax_xent_bwd)(const ft_call *c)
{
    int64_t rows = c->in[0]->dim[0], n = c->in[0]->dim[1];
    const float *z = c->in[0]->data, *w = c->in[2] ? c->in[2]->data : NULL;
    double g = (double)*(const float *)c->in[3]->data / (double)rows;
    for (int64_t r = 0; r < rows; r++) {
        double lse = log_sum_exp(z + r * n, n), mass = 0;
        for (int64_t k = 0; k < n; k++) mass += target_of(c->in[1], r, k, n);
        for (int64_t k = 0; k < n; k++)
            ((float *)c->out[0]->data)[r * n + k] =
                (float)((w ? (double)w[r] : 1.0) * g * (exp((double)z[r * n + k] - lse) * mass - target_of(c->in[1], r, k, n)));
    }
}

void FT_CPU(pseudo_label)(const ft_call *c)
{
    int64_t rows = c->in[0]->dim[0], n = c->in[0]->dim[1];
    const float *z = c->in[0]->data;
    float *y = c->out[0]->data, *w = c->out[1]->data;
    for (int64_t r = 0; r < rows; r++) {
        int64_t best = 0;
        for (int64_t k = 1; k < n; k++)
            if (z[r * n + k] > z[r * n + best]) best = k;
        for (int64_t k = 0; k < n; k++) y[r * n + k] = k == best;
        w[r] = exp((double)z[r * n + best] - log_sum_exp(z + r * n, n)) >= (double)c->attr->scalar.a;
    }
}

/* ---- KL of N(mean, e^logvar) to N(0, 1): moments (rows, 2Z) as mean|logvar; summed, mean over the batch ----------------- */

_Static_assert((int)FT_MOST_LATENT <= (int)FT_BLOCK, "a row on the stack");

void FT_CPU(gauss_kl)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = ft_last(x) / 2, rows = x->count / n / 2;
    double part[FT_PARTS] = {0}, total = 0;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t k = 0; k < FT_PARTS; k++)
        for (int64_t r = ft_part(rows, k, FT_PARTS); r < ft_part(rows, k + 1, FT_PARTS); r++) {
            float t[2 * FT_BLOCK], y[FT_BLOCK];
            const float *mean = ft_load(t, x, r * 2 * n, 2 * n), *logvar = mean + n;
            for (int64_t i = 0; i < n; i++) y[i] = 0.5f * (mean[i] * mean[i] + ft_exp1(logvar[i]) - 1.0f - logvar[i]);
            part[k] += (double)ft_sum(y, n);
        }
    for (int k = 0; k < FT_PARTS; k++) total += part[k];
    *(float *)c->out[0]->data = (float)(total / (double)x->dim[0]);
}

/* in: moments dloss; out: dmoments */
void FT_CPU(gauss_kl_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = ft_last(x) / 2, rows = x->count / n / 2;
    float g = *(const float *)c->in[1]->data / (float)x->dim[0];
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float t[2 * FT_BLOCK], d[2 * FT_BLOCK];
        const float *mean = ft_load(t, x, r * 2 * n, 2 * n), *logvar = mean + n;
        for (int64_t i = 0; i < n; i++) {
            d[i] = g * mean[i];
            d[n + i] = 0.5f * g * (ft_exp1(logvar[i]) - 1.0f);
        }
        ft_store_at(c->out[0], r * 2 * n, d, 2 * n);
    }
}

/* ---- learned-range variance (Nichol & Dhariwal 2021), in bits
 * -------------------------------------------------------- coefficient (B, 8): x0 from (xt, eps): c0 xt - c1 eps; posterior mean
 * c2 x0 + c3 xt; log beta_t, log beta~_t (clipped), t == 0. */

static void vlb_rows(const ft_call *c, double *part, float scale)
{
    const ft_buf *nu = c->in[0];
    const float *coefficient = c->in[4]->data;
    int64_t per_sample = nu->count / nu->dim[0];
#pragma omp parallel for if (nu->count > 1024)
    for (int64_t k = 0; k < FT_PARTS; k++)
        for (int64_t i = ft_part(nu->count, k, FT_PARTS); i < ft_part(nu->count, k + 1, FT_PARTS); i++) {
            float v[4];
            double slope;
            for (int j = 0; j < 4; j++) v[j] = *ft_load(&v[j], c->in[j], i, 1);
            double y = ft_vlb1(coefficient + i / per_sample * 8, (double)v[0], (double)v[1], (double)v[2], (double)v[3], &slope);
            if (part) part[k] += y;
            else {
                float d = scale * (float)slope;
                ft_store_at(c->out[0], i, &d, 1);
            }
        }
}

void FT_CPU(vlb)(const ft_call *c)
{
    double part[FT_PARTS] = {0}, total = 0;
    vlb_rows(c, part, 0);
    for (int k = 0; k < FT_PARTS; k++) total += part[k];
    *(float *)c->out[0]->data = (float)(total / (double)c->in[0]->count / 0.69314718055994531);
}

/* in: nu eps x0 xt coefficient dloss; out: dnu */
void FT_CPU(vlb_bwd)(const ft_call *c)
{
    vlb_rows(c, NULL, *(const float *)c->in[5]->data / (float)((double)c->in[0]->count * 0.69314718055994531));
}

/* ---- Pearson correlation over the last axis ----------------------------------------------------------------------------- */

typedef struct {
    double mean[2], inverse[2], rho; /* inverse: 1 / |x - mean|; 0 for a constant row */
} correlation;

static correlation correlate_rows(const float *a, const float *b, int64_t n)
{
    correlation r = {.rho = 0};
    double aa = 0, bb = 0, ab = 0;
    for (int64_t i = 0; i < n; i++) r.mean[0] += (double)a[i], r.mean[1] += (double)b[i];
    r.mean[0] /= (double)n, r.mean[1] /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)a[i] - r.mean[0], y = (double)b[i] - r.mean[1];
        aa += x * x, bb += y * y, ab += x * y;
    }
    r.inverse[0] = aa > 0 ? 1 / sqrt(aa) : 0;
    r.inverse[1] = bb > 0 ? 1 / sqrt(bb) : 0;
    r.rho = ab * r.inverse[0] * r.inverse[1];
    return r;
}

void FT_CPU(pearson)(const ft_call *c)
{
    const ft_buf *a = c->in[0], *b = c->in[1];
    int64_t n = ft_last(a);
#pragma omp parallel for if (a->count > FT_SMALL)
    for (int64_t r = 0; r < a->count / n; r++) {
        float ta[FT_MOST_ROW], tb[FT_MOST_ROW];
        ((float *)c->out[0]->data)[r] = (float)correlate_rows(ft_load(ta, a, r * n, n), ft_load(tb, b, r * n, n), n).rho;
    }
}

/* in: a b drho; out: da db. d rho / d a = (b^ - rho a^) / |a - mean a|, with a^ the unit centred row. */
void FT_CPU(pearson_bwd)(const ft_call *c)
{
    const ft_buf *a = c->in[0], *b = c->in[1];
    const float *d = c->in[2]->data;
    int64_t n = ft_last(a);
#pragma omp parallel for if (a->count > FT_SMALL)
    for (int64_t r = 0; r < a->count / n; r++) {
        float ta[FT_MOST_ROW], tb[FT_MOST_ROW], out[FT_MOST_ROW];
        const float *v[2] = {ft_load(ta, a, r * n, n), ft_load(tb, b, r * n, n)};
        correlation k = correlate_rows(v[0], v[1], n);
        for (int side = 0; side < 2; side++) {
            if (!c->out[side]) continue;
            const float *own = v[side], *other = v[1 - side];
            double g = (double)d[r] * k.inverse[side];
            for (int64_t i = 0; i < n; i++)
                out[i] = (float)(g * (((double)other[i] - k.mean[1 - side]) * k.inverse[1 - side] -
                                      k.rho * ((double)own[i] - k.mean[side]) * k.inverse[side]));
            ft_store_at(c->out[side], r * n, out, n);
        }
    }
}
