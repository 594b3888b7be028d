/* Norms whose statistics run over positions: groupnorm (instance norm, spatially conditioned norm), batchnorm.
 *
 * Sums are taken about the first row (so a large mean costs no digits), in f32 over 64 rows, carried in double, in FT_PARTS
 * parts: the result does not depend on the number of threads. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

enum { CHANNELS = FT_MOST_CHANNELS };

/* Rows of few channels are worked on several at a time, as one long row: tables of channels are repeated behind themselves. */
static int64_t rows_at_once(int64_t n) { return n < 256 ? 512 / n : 1; }
static void repeat(float *table, int64_t n)
{
    for (int64_t i = n; i < rows_at_once(n) * n; i++) table[i] = table[i - n];
}

/* Element i of a buffer, in loops that are compiled for each storage: one pass over memory, and no copy in between. */
static inline __attribute__((always_inline)) float element(bool narrow, const void *p, int64_t i)
{
    return narrow ? ft_from_bf16(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}

static inline __attribute__((always_inline)) void add_row(bool narrow, const void *restrict x, const float *restrict origin,
                                                          float *restrict a, float *restrict b, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float e = element(narrow, x, i) - origin[i];
        a[i] += e;
        b[i] += e * e;
    }
}

/* Sum and sum of squares of x - origin over `rows` rows, per channel, in double; short f32 sums keep the error small. */
static void channel_sums(const ft_buf *x, int64_t first, int64_t rows, int64_t n, const float *origin, double *s1, double *s2)
{
    memset(s1, 0, (size_t)n * sizeof *s1);
    memset(s2, 0, (size_t)n * sizeof *s2);
    float a[CHANNELS], b[CHANNELS], zero[CHANNELS];
    int64_t many = rows_at_once(n), wide = many * n;
    memcpy(zero, origin, (size_t)n * sizeof(float));
    repeat(zero, n);
    for (int64_t r = 0; r < rows;) {
        int64_t stop = FT_MIN(rows, r + 64 * many);
        memset(a, 0, (size_t)wide * sizeof *a);
        memset(b, 0, (size_t)wide * sizeof *b);
        for (; r < stop; r += many) {
            int64_t m = FT_MIN(many, stop - r) * n;
            if (x->dtype == FT_BF16) add_row(true, ft_at(x, (first + r) * n), zero, a, b, m);
            else add_row(false, ft_at(x, (first + r) * n), zero, a, b, m);
        }
        for (int64_t k = 0; k < wide; k += n)
            for (int64_t i = 0; i < n; i++) s1[i] += a[k + i], s2[i] += b[k + i];
    }
}

/* ---- groupnorm, optionally conditioned, and activation ------------------------------------------------------------------ */

/* Parts of a sample, each a task: one for few rows, so that a batch of short sequences is not all tasks */
static int64_t parts_of(int64_t rows) { return FT_MIN(FT_PARTS, FT_MAX(1, rows / 64)); }

/* The condition of a position: row of scale and shift (B,t,h,w,C) for row r of x (B,T,H,W,C), nearest */
static int64_t condition_row(const ft_call *c, const ft_buf *x, const ft_buf *map, int64_t r)
{
    int64_t w = r % x->dim[3], h = r / x->dim[3] % x->dim[2], t = r / (x->dim[3] * x->dim[2]) % x->dim[1],
            b = r / (x->dim[3] * x->dim[2] * x->dim[1]);
    t = c->attr->norm.frame ? c->attr->norm.frame[t] : t * map->dim[1] / x->dim[1];
    return ((b * map->dim[1] + t) * map->dim[2] + h * map->dim[2] / x->dim[2]) * map->dim[3] + w * map->dim[3] / x->dim[3];
}

/* One scale and shift for a whole sample, as a residual block's time has it */
static bool one_condition(const ft_buf *map) { return map && map->count == map->dim[0] * ft_last(map); }

typedef struct {
    const ft_call *c;
    const ft_buf *x, *scale, *shift;
    const float *times, *plus; /* of the row at hand */
    bool one;
    float scales[CHANNELS], shifts[CHANNELS];
} condition;

static void load_condition(condition *k, int64_t row)
{
    int64_t n = ft_last(k->x);
    k->times = ft_load(k->scales, k->scale, row * n, n), k->plus = ft_load(k->shifts, k->shift, row * n, n);
}
static void sample_condition(condition *k, const ft_call *c, int64_t sample)
{
    k->c = c, k->x = c->in[0], k->scale = c->in[3], k->shift = c->in[4];
    k->one = one_condition(k->scale);
    if (k->one) load_condition(k, sample);
}
static void row_condition(condition *k, int64_t r)
{
    if (!k->one) load_condition(k, condition_row(k->c, k->x, k->scale, r));
}

/* hat * gamma + beta as x * a + b, per channel of a sample */
static void lines(const ft_call *c, const float *stat, int64_t n, int64_t per, float *a, float *b)
{
    const float *gamma = c->in[1] ? c->in[1]->data : NULL, *beta = c->in[2] ? c->in[2]->data : NULL;
    for (int64_t i = 0; i < n; i++) {
        float mean = stat[i / per * 2], rstd = stat[i / per * 2 + 1];
        a[i] = (gamma ? gamma[i] : 1.0f) * rstd;
        b[i] = (beta ? beta[i] : 0.0f) - mean * a[i];
    }
}

static void act_inplace(ft_act act, float *y, int64_t n)
{
    if (act == FT_ACT_SILU)
        for (int64_t i = 0; i < n; i++) y[i] = ft_silu1(y[i]);
    else if (act == FT_ACT_RELU)
        for (int64_t i = 0; i < n; i++) y[i] = ft_relu1(y[i]);
    else if (act != FT_ACT_NONE)
        for (int64_t i = 0; i < n; i++) y[i] = ft_act1(act, y[i]);
}

void FT_CPU(groupnorm)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = ft_last(x), samples = x->dim[0], rows = x->count / n / samples, groups = c->attr->norm.groups, per = n / groups;
    int64_t parts = parts_of(rows);
    float *stat = c->out[1]->data;
    double *sums = c->work; /* (samples, parts, 2, n) */
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < samples * parts; task++) {
        int64_t s = task / parts, k = task % parts, from = ft_part(rows, k, parts), to = ft_part(rows, k + 1, parts);
        float origin[CHANNELS];
        memcpy(origin, ft_load(origin, x, s * rows * n, n), (size_t)n * sizeof(float));
        channel_sums(x, s * rows + from, to - from, n, origin, sums + task * 2 * n, sums + task * 2 * n + n);
    }
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t s = 0; s < samples; s++) {
        double *s1 = sums + s * parts * 2 * n, *s2 = s1 + n;
        float origin[CHANNELS];
        memcpy(origin, ft_load(origin, x, s * rows * n, n), (size_t)n * sizeof(float));
        for (int64_t k = 1; k < parts; k++)
            for (int64_t i = 0; i < 2 * n; i++) s1[i] += s1[k * 2 * n + i];
        for (int64_t g = 0; g < groups; g++) {
            double mean = 0, var = 0;
            for (int64_t i = g * per; i < (g + 1) * per; i++) mean += (double)origin[i] + s1[i] / (double)rows;
            mean /= (double)per;
            for (int64_t i = g * per; i < (g + 1) * per; i++) {
                double m = (double)origin[i] + s1[i] / (double)rows,
                       v = s2[i] / (double)rows - s1[i] / (double)rows * (s1[i] / (double)rows);
                var += v + (m - mean) * (m - mean);
            }
            stat[(s * groups + g) * 2] = (float)mean;
            stat[(s * groups + g) * 2 + 1] = (float)(1.0 / sqrt((var < 0 ? 0.0 : var / (double)per) + (double)c->attr->norm.eps));
        }
    }
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t part = 0; part < samples * parts; part++) {
        int64_t s = part / parts, k = part % parts;
        float a[CHANNELS], b[CHANNELS], tx[CHANNELS], ty[CHANNELS];
        condition by;
        sample_condition(&by, c, s);
        lines(c, stat + s * groups * 2, n, per, a, b);
        for (int64_t r = s * rows + ft_part(rows, k, parts); r < s * rows + ft_part(rows, k + 1, parts); r++) {
            const float *v = ft_load(tx, x, r * n, n);
            float *y = ft_into(ty, c->out[0], r * n);
            if (by.scale) {
                row_condition(&by, r);
                const float *sc = by.times, *sh = by.plus;
                for (int64_t i = 0; i < n; i++) y[i] = (v[i] * a[i] + b[i]) * sc[i] + sh[i];
                act_inplace(c->attr->norm.act, y, n);
            } else if (c->attr->norm.act == FT_ACT_SILU)
                for (int64_t i = 0; i < n; i++) y[i] = ft_silu1(v[i] * a[i] + b[i]);
            else {
                for (int64_t i = 0; i < n; i++) y[i] = v[i] * a[i] + b[i];
                act_inplace(c->attr->norm.act, y, n);
            }
            ft_store_at(c->out[0], r * n, y, n);
        }
    }
}

int FT_PREPARE(groupnorm)(ft_call *c)
{
    int64_t n = ft_last(c->in[0]), samples = c->in[0]->dim[0];
    c->work_size = (size_t)(samples * parts_of(c->in[0]->count / n / samples) * 2 * n) * sizeof(double);
    return FT_OK;
}

/* Positions of one sample that read condition row `map_row`: the box of x whose nearest neighbour it is. */
static int64_t first_reader(int64_t cell, int64_t cells, int64_t n) { return (cell * n + cells - 1) / cells; }

enum { SUMS = 4 }; /* rows of sums in groupnorm_bwd's scratch */

int FT_PREPARE(groupnorm_bwd)(ft_call *c)
{
    int64_t n = ft_last(c->in[0]), samples = c->in[0]->dim[0];
    c->work_size = (size_t)(samples * (parts_of(c->in[0]->count / n / samples) + 1) * SUMS * n) * sizeof(float);
    return FT_OK;
}

static void act_grad(ft_act act, const float *pre, const float *d, float *out, int64_t n)
{
    if (act == FT_ACT_SILU)
        for (int64_t i = 0; i < n; i++) out[i] = d[i] * ft_silu_d1(pre[i]);
    else if (act == FT_ACT_RELU)
        for (int64_t i = 0; i < n; i++) out[i] = pre[i] <= 0 ? 0.0f : d[i];
    else if (act == FT_ACT_NONE) memcpy(out, d, (size_t)n * sizeof(float));
    else
        for (int64_t i = 0; i < n; i++) out[i] = d[i] * ft_act_d1(act, pre[i]);
}

/* dpre: the gradient before activation and condition of row r; pre: the normalised value; dcond: before the condition */
static void back_to_norm(condition *by, const ft_buf *dy, int64_t r, const float *v, const float *a, const float *b, float *pre,
                         float *dcond, float *dpre, int64_t n)
{
    float td[CHANNELS], out[CHANNELS];
    const float *d = ft_load(td, dy, r * n, n);
    ft_act act = by->c->attr->norm.act;
    for (int64_t i = 0; i < n; i++) pre[i] = v[i] * a[i] + b[i];
    if (!by->scale) {
        act_grad(act, pre, d, dpre, n);
        return;
    }
    row_condition(by, r);
    const float *sc = by->times, *sh = by->plus;
    for (int64_t i = 0; i < n; i++) out[i] = pre[i] * sc[i] + sh[i];
    act_grad(act, out, d, dcond, n);
    for (int64_t i = 0; i < n; i++) dpre[i] = dcond[i] * sc[i];
}

/* dscale and dshift: each cell of the condition sums over the positions that read it */
static void condition_grads(const ft_call *c)
{
    const ft_buf *x = c->in[0], *map = c->in[3], *dy = c->in[6];
    const float *stat = c->in[5]->data;
    int64_t n = ft_last(x), groups = c->attr->norm.groups, per = n / groups, cells = map->count / n;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t cell = 0; cell < cells; cell++) {
        int64_t cw = cell % map->dim[3], ch = cell / map->dim[3] % map->dim[2],
                ct = cell / (map->dim[3] * map->dim[2]) % map->dim[1], s = cell / (map->dim[3] * map->dim[2] * map->dim[1]);
        float a[CHANNELS], b[CHANNELS], tx[CHANNELS], pre[CHANNELS], dcond[CHANNELS], dpre[CHANNELS], ds[CHANNELS], dh[CHANNELS];
        condition by;
        sample_condition(&by, c, s);
        lines(c, stat + s * groups * 2, n, per, a, b);
        memset(ds, 0, (size_t)n * sizeof *ds);
        memset(dh, 0, (size_t)n * sizeof *dh);
        for (int64_t t = 0; t < x->dim[1]; t++) {
            if ((c->attr->norm.frame ? c->attr->norm.frame[t] : t * map->dim[1] / x->dim[1]) != ct) continue;
            for (int64_t h = first_reader(ch, map->dim[2], x->dim[2]); h < first_reader(ch + 1, map->dim[2], x->dim[2]); h++)
                for (int64_t w = first_reader(cw, map->dim[3], x->dim[3]); w < first_reader(cw + 1, map->dim[3], x->dim[3]);
                     w++) {
                    int64_t r = ((s * x->dim[1] + t) * x->dim[2] + h) * x->dim[3] + w;
                    back_to_norm(&by, dy, r, ft_load(tx, x, r * n, n), a, b, pre, dcond, dpre, n);
                    for (int64_t i = 0; i < n; i++) ds[i] += dcond[i] * pre[i], dh[i] += dcond[i];
                }
        }
        if (c->out[3]) ft_store_at(c->out[3], cell * n, ds, n);
        if (c->out[4]) ft_store_at(c->out[4], cell * n, dh, n);
    }
}

/* dx = rstd*(dpre*gamma - m1 - hat*m2) = dpre*a + x*p + q of a sample whose sums of dpre*hat and dpre are in `total` */
static void input_lines(const float *gamma, const float *stat, const float *total, int64_t n, int64_t per, int64_t rows, float *p,
                        float *q)
{
    for (int64_t g = 0; g < n / per; g++) {
        double m1 = 0, m2 = 0;
        for (int64_t i = g * per; i < (g + 1) * per; i++) {
            double ga = gamma ? (double)gamma[i] : 1.0;
            m1 += ga * (double)total[n + i], m2 += ga * (double)total[i];
        }
        m1 /= (double)(per * rows), m2 /= (double)(per * rows);
        double mean = (double)stat[g * 2], rstd = (double)stat[g * 2 + 1];
        for (int64_t i = g * per; i < (g + 1) * per; i++) {
            p[i] = (float)(-m2 * rstd * rstd);
            q[i] = (float)(m2 * rstd * rstd * mean - m1 * rstd);
        }
    }
}

/* in: x gamma beta scale shift stat dy; out: dx dgamma dbeta dscale dshift */
void FT_CPU(groupnorm_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[6];
    const float *gamma = c->in[1] ? c->in[1]->data : NULL, *stat = c->in[5]->data;
    int64_t n = ft_last(x), samples = x->dim[0], rows = x->count / n / samples, groups = c->attr->norm.groups, per = n / groups;
    float *work = c->work; /* (samples, parts + 1, SUMS, n): sums of dpre * hat, of dpre, and of what one condition of a sample
                              gets; the last part holds the sample's total */
    int64_t parts = parts_of(rows), stride = (parts + 1) * SUMS * n;
    bool wanted = c->in[3] && (c->out[3] || c->out[4]), one = wanted && one_condition(c->in[3]);
    if (wanted && !one) condition_grads(c);
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < samples * parts; task++) {
        int64_t s = task / parts, k = task % parts;
        float *dg = work + s * stride + k * SUMS * n, *db = dg + n, *ds = db + n, *dh = ds + n;
        float a[CHANNELS], b[CHANNELS], mean[CHANNELS], tx[CHANNELS], pre[CHANNELS], dc[CHANNELS], dp[CHANNELS];
        condition by;
        sample_condition(&by, c, s);
        memset(dg, 0, (size_t)(SUMS * n) * sizeof(float));
        lines(c, stat + s * groups * 2, n, per, a, b);
        for (int64_t i = 0; i < n; i++) mean[i] = stat[(s * groups + i / per) * 2];
        for (int64_t r = s * rows + ft_part(rows, k, parts); r < s * rows + ft_part(rows, k + 1, parts); r++) {
            const float *v = ft_load(tx, x, r * n, n);
            back_to_norm(&by, dy, r, v, a, b, pre, dc, dp, n);
            for (int64_t i = 0; i < n; i++) {
                dg[i] += dp[i] * (v[i] - mean[i]);
                db[i] += dp[i];
            }
            for (int64_t i = 0; one && i < n; i++) {
                ds[i] += dc[i] * pre[i];
                dh[i] += dc[i];
            }
        }
        for (int64_t i = 0; i < n; i++) dg[i] *= stat[(s * groups + i / per) * 2 + 1];
    }
    for (int64_t s = 0; s < samples; s++) {
        float *total = work + s * stride + parts * SUMS * n;
        memset(total, 0, (size_t)(SUMS * n) * sizeof(float));
        for (int64_t k = 0; k < parts; k++)
            for (int64_t i = 0; i < SUMS * n; i++) total[i] += work[s * stride + k * SUMS * n + i];
        for (int k = 0; one && k < 2; k++)
            if (c->out[3 + k]) ft_store_at(c->out[3 + k], s * n, total + (2 + k) * n, n);
    }
    for (int k = 0; k < 2; k++) {
        if (!c->out[1 + k]) continue;
        float *out = c->out[1 + k]->data;
        memset(out, 0, (size_t)n * sizeof(float));
        for (int64_t s = 0; s < samples; s++)
            for (int64_t i = 0; i < n; i++) out[i] += work[s * stride + parts * SUMS * n + k * n + i];
    }
    if (!c->out[0]) return;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < samples * parts; task++) {
        int64_t s = task / parts, k = task % parts;
        const float *total = work + s * stride + parts * SUMS * n;
        condition by;
        sample_condition(&by, c, s);
        float a[CHANNELS], b[CHANNELS], p[CHANNELS], q[CHANNELS], tx[CHANNELS], pre[CHANNELS], dc[CHANNELS], dp[CHANNELS],
            to[CHANNELS];
        lines(c, stat + s * groups * 2, n, per, a, b);
        input_lines(gamma, stat + s * groups * 2, total, n, per, rows, p, q);
        for (int64_t r = s * rows + ft_part(rows, k, parts); r < s * rows + ft_part(rows, k + 1, parts); r++) {
            const float *v = ft_load(tx, x, r * n, n);
            back_to_norm(&by, dy, r, v, a, b, pre, dc, dp, n);
            float *dx = ft_into(to, c->out[0], r * n);
            for (int64_t i = 0; i < n; i++) dx[i] = dp[i] * a[i] + v[i] * p[i] + q[i];
            ft_store_at(c->out[0], r * n, dx, n);
        }
    }
}

/* ---- batchnorm (+ activation), statistics of two segments of the batch --------------------------------------------------- */

int FT_PREPARE(batchnorm)(ft_call *c)
{
    c->work_size = (size_t)(FT_PARTS * 2 * ft_last(c->in[0])) * sizeof(double);
    return FT_OK;
}

/* rows [from, to) of segment k: samples before `first`, or the rest */
static void segment(const ft_call *c, const ft_buf *x, int k, int64_t *from, int64_t *to)
{
    int64_t rows = x->count / ft_last(x), per_sample = rows / x->dim[0], first = c->attr->norm.first;
    *from = k == 0 ? 0 : first * per_sample;
    *to = k == 0 ? first * per_sample : rows;
    if (!c->attr->norm.training) *from = k == 0 ? 0 : rows, *to = rows;
}

static inline __attribute__((always_inline)) void scale_row(bool relu, bool narrow, const void *restrict x,
                                                            const float *restrict a, const float *restrict b, float *restrict y,
                                                            int64_t n)
{
    if (relu)
        for (int64_t i = 0; i < n; i++) y[i] = ft_relu1(element(narrow, x, i) * a[i] + b[i]);
    else
        for (int64_t i = 0; i < n; i++) y[i] = element(narrow, x, i) * a[i] + b[i];
}

void FT_CPU(batchnorm)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *gamma = c->in[1]->data, *beta = c->in[2]->data;
    float *mean = c->in[3]->data, *var = c->in[4]->data, *stat = c->out[1]->data;
    int64_t n = ft_last(x);
    float eps = c->attr->norm.eps, momentum = c->attr->norm.momentum;
    ft_act act = c->attr->norm.act;
    for (int k = 0; k < 2; k++) {
        int64_t from, to;
        segment(c, x, k, &from, &to);
        if (from == to) continue;
        float *st = stat + k * 2 * n;
        if (!c->attr->norm.training) {
            for (int64_t i = 0; i < n; i++) st[2 * i] = mean[i], st[2 * i + 1] = 1.0f / sqrtf(var[i] + eps);
        } else {
            double *work = c->work;
            float origin[CHANNELS];
            memcpy(origin, ft_load(origin, x, from * n, n), (size_t)n * sizeof(float));
#pragma omp parallel for if (x->count > FT_SMALL)
            for (int64_t part = 0; part < FT_PARTS; part++) {
                int64_t a = from + ft_part(to - from, part, FT_PARTS), b = from + ft_part(to - from, part + 1, FT_PARTS);
                channel_sums(x, a, b - a, n, origin, work + part * 2 * n, work + part * 2 * n + n);
            }
            double count = (double)(to - from);
            for (int64_t i = 0; i < n; i++) {
                double s1 = 0, s2 = 0;
                for (int64_t part = 0; part < FT_PARTS; part++) s1 += work[part * 2 * n + i], s2 += work[part * 2 * n + n + i];
                double m = s1 / count, v = s2 / count - m * m < 0 ? 0.0 : s2 / count - m * m; /* NaN stays */
                st[2 * i] = (float)(m + (double)origin[i]);
                st[2 * i + 1] = (float)(1.0 / sqrt(v + (double)eps));
                if (k == 0) { /* running statistics: labelled samples only, unbiased variance */
                    mean[i] += momentum * (st[2 * i] - mean[i]);
                    var[i] += momentum * ((float)(v * count / FT_MAX(count - 1, 1.0)) - var[i]);
                }
            }
        }
#pragma omp parallel for if (x->count > FT_SMALL)
        for (int64_t part = 0; part < FT_PARTS; part++) {
            float a[CHANNELS], b[CHANNELS], ty[CHANNELS];
            for (int64_t i = 0; i < n; i++) a[i] = gamma[i] * st[2 * i + 1], b[i] = beta[i] - st[2 * i] * a[i];
            repeat(a, n);
            repeat(b, n);
            int64_t many = rows_at_once(n), stop = from + ft_part(to - from, part + 1, FT_PARTS);
            for (int64_t r = from + ft_part(to - from, part, FT_PARTS); r < stop; r += many) {
                int64_t m = FT_MIN(many, stop - r) * n;
                float *y = ft_into(ty, c->out[0], r * n);
                if (x->dtype == FT_BF16) scale_row(act == FT_ACT_RELU, true, ft_at(x, r * n), a, b, y, m);
                else scale_row(act == FT_ACT_RELU, false, ft_at(x, r * n), a, b, y, m);
                if (act != FT_ACT_RELU) act_inplace(act, y, m);
                ft_store_at(c->out[0], r * n, y, m);
            }
        }
    }
}

int FT_PREPARE(batchnorm_bwd)(ft_call *c)
{
    c->work_size = (size_t)((FT_PARTS + 1) * 2 * ft_last(c->in[0])) * sizeof(float);
    return FT_OK;
}

/* dpre = dy * act'(x*a + b) for one row, of an activation other than ReLU */
static void pre_grad(ft_act act, const float *v, const float *d, const float *a, const float *b, float *dpre, int64_t n)
{
    if (act == FT_ACT_SILU)
        for (int64_t i = 0; i < n; i++) dpre[i] = d[i] * ft_silu_d1(v[i] * a[i] + b[i]);
    else
        for (int64_t i = 0; i < n; i++) dpre[i] = d[i] * ft_act_d1(act, v[i] * a[i] + b[i]);
}

/* Of rows without or with ReLU, straight from storage: sums of dpre * (x - mean) and of dpre */
static inline __attribute__((always_inline)) void gradient_sums(bool relu, bool narrow, const void *restrict x,
                                                                const void *restrict dy, const float *restrict a,
                                                                const float *restrict b, const float *restrict mean,
                                                                float *restrict g, float *restrict h, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = element(narrow, x, i), d = element(narrow, dy, i);
        if (relu) d = v * a[i] + b[i] <= 0 ? 0.0f : d;
        g[i] += d * (v - mean[i]);
        h[i] += d;
    }
}
static inline __attribute__((always_inline)) void gradient_row(bool relu, bool narrow, const void *restrict x,
                                                               const void *restrict dy, const float *restrict a,
                                                               const float *restrict b, const float *restrict p,
                                                               const float *restrict q, float *restrict dx, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        float v = element(narrow, x, i), d = element(narrow, dy, i);
        if (relu) d = v * a[i] + b[i] <= 0 ? 0.0f : d;
        dx[i] = d * a[i] + v * p[i] + q[i];
    }
}
/* one call for each storage and activation */
#define FOR_STORAGE(f, ...)                                                                                                      \
    do {                                                                                                                         \
        if (narrow && relu) f(true, true, __VA_ARGS__);                                                                          \
        else if (narrow) f(false, true, __VA_ARGS__);                                                                            \
        else if (relu) f(true, false, __VA_ARGS__);                                                                              \
        else f(false, false, __VA_ARGS__);                                                                                       \
    } while (0)

/* A segment's lines, repeated over the rows that are taken at once: pre = a x + b; dx = dpre a + x p + q */
typedef struct {
    int64_t n, many, from, to; /* channels; rows at once; the segment's rows */
    const float *stat;         /* mean, 1/std of each channel */
    float a[CHANNELS], b[CHANNELS], p[CHANNELS], q[CHANNELS], mean[CHANNELS];
} bn_lines;

/* Sums over one part of the segment's rows of dpre*hat, then of dpre, to dg (2, n) */
static void bn_sums(const ft_call *c, const bn_lines *s, int64_t part, float *dg)
{
    const ft_buf *x = c->in[0], *dy = c->in[4];
    ft_act act = c->attr->norm.act;
    bool relu = act == FT_ACT_RELU, plain = relu || act == FT_ACT_NONE, narrow = x->dtype == FT_BF16;
    int64_t n = s->n, wide = s->many * n, stop = s->from + ft_part(s->to - s->from, part + 1, FT_PARTS);
    float *db = dg + n, tx[CHANNELS], td[CHANNELS], dp[CHANNELS], g[CHANNELS], h[CHANNELS];
    memset(dg, 0, (size_t)(2 * n) * sizeof(float));
    memset(g, 0, (size_t)wide * sizeof(float));
    memset(h, 0, (size_t)wide * sizeof(float));
    for (int64_t r = s->from + ft_part(s->to - s->from, part, FT_PARTS); r < stop; r += s->many) {
        int64_t m = FT_MIN(s->many, stop - r) * n;
        if (plain) {
            FOR_STORAGE(gradient_sums, ft_at(x, r * n), ft_at(dy, r * n), s->a, s->b, s->mean, g, h, m);
            continue;
        }
        const float *v = ft_load(tx, x, r * n, m);
        pre_grad(act, v, ft_load(td, dy, r * n, m), s->a, s->b, dp, m);
        for (int64_t i = 0; i < m; i++) {
            g[i] += dp[i] * (v[i] - s->mean[i]);
            h[i] += dp[i];
        }
    }
    for (int64_t j = 0; j < wide; j += n)
        for (int64_t i = 0; i < n; i++) dg[i] += g[j + i], db[i] += h[j + i];
    for (int64_t i = 0; i < n; i++) dg[i] *= s->stat[2 * i + 1];
}

static void bn_input(const ft_call *c, const bn_lines *s, int64_t part)
{
    const ft_buf *x = c->in[0], *dy = c->in[4];
    ft_act act = c->attr->norm.act;
    bool relu = act == FT_ACT_RELU, plain = relu || act == FT_ACT_NONE, narrow = x->dtype == FT_BF16;
    float tx[CHANNELS], td[CHANNELS], dp[CHANNELS], to[CHANNELS];
    int64_t n = s->n, stop = s->from + ft_part(s->to - s->from, part + 1, FT_PARTS);
    for (int64_t r = s->from + ft_part(s->to - s->from, part, FT_PARTS); r < stop; r += s->many) {
        int64_t m = FT_MIN(s->many, stop - r) * n;
        float *dx = ft_into(to, c->out[0], r * n);
        if (plain) FOR_STORAGE(gradient_row, ft_at(x, r * n), ft_at(dy, r * n), s->a, s->b, s->p, s->q, dx, m);
        else {
            const float *v = ft_load(tx, x, r * n, m);
            pre_grad(act, v, ft_load(td, dy, r * n, m), s->a, s->b, dp, m);
            for (int64_t i = 0; i < m; i++) dx[i] = dp[i] * s->a[i] + v[i] * s->p[i] + s->q[i];
        }
        ft_store_at(c->out[0], r * n, dx, m);
    }
}

/* in: x gamma beta stat dy; out: dx dgamma dbeta */
void FT_CPU(batchnorm_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *gamma = c->in[1]->data, *beta = c->in[2]->data;
    int64_t n = ft_last(x);
    float *work = c->work, *total = work + FT_PARTS * 2 * n;
    for (int k = 1; k <= 2; k++)
        if (c->out[k]) memset(c->out[k]->data, 0, (size_t)n * sizeof(float));
    for (int k = 0; k < 2; k++) {
        bn_lines s = {.n = n, .many = rows_at_once(n), .stat = (const float *)c->in[3]->data + k * 2 * n};
        segment(c, x, k, &s.from, &s.to);
        if (s.from == s.to) continue;
        for (int64_t i = 0; i < n; i++) {
            s.mean[i] = s.stat[2 * i];
            s.a[i] = gamma[i] * s.stat[2 * i + 1];
            s.b[i] = beta[i] - s.mean[i] * s.a[i];
        }
        repeat(s.mean, n);
        repeat(s.a, n);
        repeat(s.b, n);
#pragma omp parallel for if (x->count > FT_SMALL)
        for (int64_t part = 0; part < FT_PARTS; part++) bn_sums(c, &s, part, work + part * 2 * n);
        memset(total, 0, (size_t)(2 * n) * sizeof(float));
        for (int64_t part = 0; part < FT_PARTS; part++)
            for (int64_t i = 0; i < 2 * n; i++) total[i] += work[part * 2 * n + i];
        for (int j = 0; j < 2; j++)
            for (int64_t i = 0; c->out[1 + j] && i < n; i++) ((float *)c->out[1 + j]->data)[i] += total[j * n + i];
        if (!c->out[0]) continue;
        for (int64_t i = 0; i < n; i++) { /* dx = a*(dpre - m1 - hat*m2) = dpre*a + x*p + q */
            float rows = (float)(s.to - s.from), m2 = total[i] / rows, m1 = total[n + i] / rows;
            if (!c->attr->norm.training) m1 = m2 = 0; /* running statistics are constants */
            s.p[i] = -s.a[i] * m2 * s.stat[2 * i + 1];
            s.q[i] = -s.a[i] * m1 - s.p[i] * s.stat[2 * i];
        }
        repeat(s.p, n);
        repeat(s.q, n);
#pragma omp parallel for if (x->count > FT_SMALL)
        for (int64_t part = 0; part < FT_PARTS; part++) bn_input(c, &s, part);
    }
}
