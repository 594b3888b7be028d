/* Fused norms. Rows are the last axis (channels); statistics in f32 over short runs, carried in double. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

enum { WIDE = 8192 }; /* widest row */

/* ---- layernorm (+ affine, + adaLN modulation) ---------------------------------------------------------------------- */

void FT_CPU(layernorm)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *gamma = c->in[1] ? c->in[1]->data : NULL, *beta = c->in[2] ? c->in[2]->data : NULL;
    const float *shift = c->in[3] ? c->in[3]->data : NULL, *scale = c->in[4] ? c->in[4]->data : NULL;
    int64_t n = ft_last(x), rows = x->count / n, per_sample = rows / x->dim[0];
    float *stat = c->out[1]->data;
    FT_ASSERT(n <= WIDE);
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float tx[WIDE], ty[WIDE], *y = ft_into(ty, c->out[0], r * n);
        const float *v = ft_load(tx, x, r * n, n);
        float mean = ft_sum(v, n) / (float)n, var = 0;
        for (int64_t i = 0; i < n; i++) var += (v[i] - mean) * (v[i] - mean);
        float rstd = 1.0f / sqrtf(var / (float)n + c->attr->norm.eps);
        for (int64_t i = 0; i < n; i++) y[i] = (v[i] - mean) * rstd;
        if (gamma)
            for (int64_t i = 0; i < n; i++) y[i] = y[i] * gamma[i] + beta[i];
        if (shift) {
            const float *sh = shift + r / per_sample * n, *sc = scale + r / per_sample * n;
            for (int64_t i = 0; i < n; i++) y[i] = y[i] * (1.0f + sc[i]) + sh[i];
        }
        stat[2 * r] = mean;
        stat[2 * r + 1] = rstd;
        ft_store_at(c->out[0], r * n, y, n);
    }
}

/* parts of every sample, so that few samples still use all threads */
static int64_t parts_per_sample(const ft_buf *x)
{
    return FT_MAX(1, FT_MIN(FT_PARTS / x->dim[0], x->count / ft_last(x) / x->dim[0]));
}

int FT_PREPARE(layernorm_bwd)(ft_call *c)
{
    const ft_buf *x = c->in[0];
    c->work_size = (size_t)(x->dim[0] * parts_per_sample(x) * 4 * ft_last(x)) * sizeof(float);
    return FT_OK;
}

/* in: x gamma beta shift scale stat dy; out: dx dgamma dbeta dshift dscale */
void FT_CPU(layernorm_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[6];
    const float *gamma = c->in[1] ? c->in[1]->data : NULL, *beta = c->in[2] ? c->in[2]->data : NULL;
    const float *scale = c->in[4] ? c->in[4]->data : NULL, *stat = c->in[5]->data;
    int64_t n = ft_last(x), rows = x->count / n, samples = x->dim[0], per_sample = rows / samples, parts = parts_per_sample(x);
    float *work = c->work; /* (samples * parts, 4, n): dgamma dbeta dshift dscale */
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < samples * parts; task++) {
        int64_t s = task / parts, part = task % parts;
        float *dg = work + task * 4 * n, *db = dg + n, *dsh = db + n, *dsc = dsh + n;
        memset(dg, 0, (size_t)(4 * n) * sizeof(float));
        const float *sc = scale ? scale + s * n : NULL;
        for (int64_t r = s * per_sample + ft_part(per_sample, part, parts);
             r < s * per_sample + ft_part(per_sample, part + 1, parts); r++) {
            float tx[WIDE], td[WIDE], hat[WIDE], dn[WIDE];
            const float *v = ft_load(tx, x, r * n, n), *d = ft_load(td, dy, r * n, n);
            float mean = stat[2 * r], rstd = stat[2 * r + 1];
            for (int64_t i = 0; i < n; i++) hat[i] = (v[i] - mean) * rstd;
            if (sc) {
                for (int64_t i = 0; i < n; i++) {
                    dsh[i] += d[i];
                    dsc[i] += d[i] * (gamma ? hat[i] * gamma[i] + beta[i] : hat[i]);
                    dn[i] = d[i] * (1.0f + sc[i]);
                }
            } else memcpy(dn, d, (size_t)n * sizeof(float));
            if (gamma)
                for (int64_t i = 0; i < n; i++) {
                    dg[i] += dn[i] * hat[i];
                    db[i] += dn[i];
                    dn[i] *= gamma[i];
                }
            if (!c->out[0]) continue;
            float m1 = ft_sum(dn, n) / (float)n, m2 = ft_dot(dn, hat, n) / (float)n;
            float *dx = ft_into(tx, c->out[0], r * n);
            for (int64_t i = 0; i < n; i++) dx[i] = rstd * (dn[i] - m1 - hat[i] * m2);
            ft_store_at(c->out[0], r * n, dx, n);
        }
    }
    for (int k = 0; k < 4; k++) { /* dgamma and dbeta over all, dshift and dscale per sample */
        if (!c->out[1 + k]) continue;
        float *out = c->out[1 + k]->data;
        memset(out, 0, (size_t)c->out[1 + k]->count * sizeof(float));
        for (int64_t task = 0; task < samples * parts; task++) {
            float *to = k < 2 ? out : out + task / parts * n;
            const float *from = work + task * 4 * n + k * n;
            for (int64_t i = 0; i < n; i++) to[i] += from[i];
        }
    }
}

/* ---- gate + residual ------------------------------------------------------------------------------------------------- */

void FT_CPU(gate_residual)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->in[1];
    const float *gate = c->in[2]->data;
    int64_t n = ft_last(x), rows = x->count / n, per_sample = rows / x->dim[0];
    FT_ASSERT(n <= WIDE);
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float tx[WIDE], ty[WIDE], to[WIDE], *o = ft_into(to, c->out[0], r * n);
        const float *a = ft_load(tx, x, r * n, n), *b = ft_load(ty, y, r * n, n), *g = gate + r / per_sample * n;
        for (int64_t i = 0; i < n; i++) o[i] = a[i] + g[i] * b[i];
        ft_store_at(c->out[0], r * n, o, n);
    }
}

int FT_PREPARE(gate_residual_bwd)(ft_call *c)
{
    const ft_buf *y = c->in[0];
    c->work_size = (size_t)(y->dim[0] * parts_per_sample(y) * ft_last(y)) * sizeof(float);
    return FT_OK;
}

/* in: y gate dout; out: dy dgate */
void FT_CPU(gate_residual_bwd)(const ft_call *c)
{
    const ft_buf *y = c->in[0], *d = c->in[2];
    const float *gate = c->in[1]->data;
    int64_t n = ft_last(y), rows = y->count / n, samples = y->dim[0], per_sample = rows / samples, parts = parts_per_sample(y);
    float *work = c->work;
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t task = 0; task < samples * parts; task++) {
        int64_t s = task / parts, part = task % parts;
        float *dg = work + task * n;
        const float *g = gate + s * n;
        memset(dg, 0, (size_t)n * sizeof(float));
        for (int64_t r = s * per_sample + ft_part(per_sample, part, parts);
             r < s * per_sample + ft_part(per_sample, part + 1, parts); r++) {
            float ty[WIDE], td[WIDE], to[WIDE];
            const float *b = ft_load(ty, y, r * n, n), *e = ft_load(td, d, r * n, n);
            for (int64_t i = 0; i < n; i++) dg[i] += e[i] * b[i];
            if (!c->out[0]) continue;
            float *o = ft_into(to, c->out[0], r * n);
            for (int64_t i = 0; i < n; i++) o[i] = e[i] * g[i];
            ft_store_at(c->out[0], r * n, o, n);
        }
    }
    if (!c->out[1]) return;
    float *out = c->out[1]->data;
    memset(out, 0, (size_t)c->out[1]->count * sizeof(float));
    for (int64_t task = 0; task < samples * parts; task++)
        for (int64_t i = 0; i < n; i++) out[task / parts * n + i] += work[task * n + i];
}

/* ---- gated RMSNorm (Mamba-2): w * u / sqrt(mean u^2 + eps), u = y * SiLU(z) -------------------------------------------- */

void FT_CPU(rmsnorm_gated)(const ft_call *c)
{
    const ft_buf *y = c->in[0], *z = c->in[1];
    const float *w = c->in[2]->data;
    int64_t n = ft_last(y), rows = y->count / n;
    FT_ASSERT(n <= WIDE);
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float ty[WIDE], tz[WIDE], u[WIDE], to[WIDE], *o = ft_into(to, c->out[0], r * n);
        const float *a = ft_load(ty, y, r * n, n), *b = ft_load(tz, z, r * n, n);
        for (int64_t i = 0; i < n; i++) u[i] = a[i] * ft_silu1(b[i]);
        float rr = 1.0f / sqrtf(ft_dot(u, u, n) / (float)n + c->attr->norm.eps);
        for (int64_t i = 0; i < n; i++) o[i] = w[i] * u[i] * rr;
        ft_store_at(c->out[0], r * n, o, n);
    }
}

int FT_PREPARE(rmsnorm_gated_bwd)(ft_call *c)
{
    c->work_size = (size_t)(FT_PARTS * ft_last(c->in[0])) * sizeof(float);
    return FT_OK;
}

/* in: y z w dout; out: dy dz dw */
void FT_CPU(rmsnorm_gated_bwd)(const ft_call *c)
{
    const ft_buf *y = c->in[0], *z = c->in[1], *d = c->in[3];
    const float *w = c->in[2]->data;
    int64_t n = ft_last(y), rows = y->count / n;
    float *work = c->work;
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t part = 0; part < FT_PARTS; part++) {
        float *dw = work + part * n;
        memset(dw, 0, (size_t)n * sizeof(float));
        for (int64_t r = ft_part(rows, part, FT_PARTS); r < ft_part(rows, part + 1, FT_PARTS); r++) {
            float ty[WIDE], tz[WIDE], td[WIDE], u[WIDE], g[WIDE];
            const float *a = ft_load(ty, y, r * n, n), *b = ft_load(tz, z, r * n, n), *e = ft_load(td, d, r * n, n);
            for (int64_t i = 0; i < n; i++) u[i] = a[i] * ft_silu1(b[i]);
            float rr = 1.0f / sqrtf(ft_dot(u, u, n) / (float)n + c->attr->norm.eps);
            for (int64_t i = 0; i < n; i++) {
                u[i] *= rr;
                dw[i] += e[i] * u[i];
                g[i] = e[i] * w[i];
            }
            float m = ft_dot(g, u, n) / (float)n;
            for (int64_t i = 0; i < n; i++) g[i] = rr * (g[i] - u[i] * m); /* du */
            float to[WIDE];
            if (c->out[1]) {
                float *dz = ft_into(to, c->out[1], r * n);
                for (int64_t i = 0; i < n; i++) dz[i] = g[i] * a[i] * ft_silu_d1(b[i]);
                ft_store_at(c->out[1], r * n, dz, n);
            }
            if (c->out[0]) {
                float *dyy = ft_into(to, c->out[0], r * n);
                for (int64_t i = 0; i < n; i++) dyy[i] = g[i] * ft_silu1(b[i]);
                ft_store_at(c->out[0], r * n, dyy, n);
            }
        }
    }
    if (!c->out[2]) return;
    float *out = c->out[2]->data;
    memset(out, 0, (size_t)n * sizeof(float));
    for (int64_t part = 0; part < FT_PARTS; part++)
        for (int64_t i = 0; i < n; i++) out[i] += work[part * n + i];
}

/* ---- groupnorm (+ activation): statistics over (positions, channels of a group) of a sample ----------------------------- */

/* Sum and sum of squares of x - origin over `rows` rows, per channel, in double; short f32 sums keep the error small. */
static void channel_sums(const ft_buf *x, int64_t first, int64_t rows, int64_t n, const float *origin, double *s1, double *s2)
{
    memset(s1, 0, (size_t)n * sizeof *s1);
    memset(s2, 0, (size_t)n * sizeof *s2);
    float a[WIDE], b[WIDE], tx[WIDE];
    for (int64_t r = 0; r < rows;) {
        int64_t stop = FT_MIN(rows, r + 64);
        memset(a, 0, (size_t)n * sizeof *a);
        memset(b, 0, (size_t)n * sizeof *b);
        for (; r < stop; r++) {
            const float *v = ft_load(tx, x, (first + r) * n, n);
            for (int64_t i = 0; i < n; i++) {
                float e = v[i] - origin[i];
                a[i] += e;
                b[i] += e * e;
            }
        }
        for (int64_t i = 0; i < n; i++) s1[i] += a[i], s2[i] += b[i];
    }
}

enum { CHANNELS = 2048 }; /* widest groupnorm and batchnorm */

void FT_CPU(groupnorm)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *gamma = c->in[1]->data, *beta = c->in[2]->data;
    int64_t n = ft_last(x), samples = x->dim[0], rows = x->count / n / samples, groups = c->attr->norm.groups, per = n / groups;
    float *stat = c->out[1]->data;
    FT_ASSERT(n <= CHANNELS);
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t s = 0; s < samples; s++) {
        double s1[CHANNELS], s2[CHANNELS];
        float origin[CHANNELS];
        memcpy(origin, ft_load(origin, x, s * rows * n, n), (size_t)n * sizeof(float));
        channel_sums(x, s * rows, rows, n, origin, s1, s2);
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
            stat[(s * groups + g) * 2 + 1] = (float)(1.0 / sqrt(FT_MAX(var / (double)per, 0.0) + (double)c->attr->norm.eps));
        }
    }
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t part = 0; part < samples * FT_PARTS; part++) {
        int64_t s = part / FT_PARTS, k = part % FT_PARTS;
        float a[CHANNELS], b[CHANNELS], tx[CHANNELS], ty[CHANNELS];
        for (int64_t i = 0; i < n; i++) {
            float mean = stat[(s * groups + i / per) * 2], rstd = stat[(s * groups + i / per) * 2 + 1];
            a[i] = gamma[i] * rstd;
            b[i] = beta[i] - mean * a[i];
        }
        for (int64_t r = s * rows + ft_part(rows, k, FT_PARTS); r < s * rows + ft_part(rows, k + 1, FT_PARTS); r++) {
            const float *v = ft_load(tx, x, r * n, n);
            float *y = ft_into(ty, c->out[0], r * n);
            if (c->attr->norm.act == FT_ACT_SILU)
                for (int64_t i = 0; i < n; i++) y[i] = ft_silu1(v[i] * a[i] + b[i]);
            else
                for (int64_t i = 0; i < n; i++) y[i] = ft_act1(c->attr->norm.act, v[i] * a[i] + b[i]);
            ft_store_at(c->out[0], r * n, y, n);
        }
    }
}

int FT_PREPARE(groupnorm_bwd)(ft_call *c)
{
    c->work_size = (size_t)(c->in[0]->dim[0] * (FT_PARTS + 1) * 2 * ft_last(c->in[0])) * sizeof(float);
    return FT_OK;
}

/* dpre = dy * act'(x*a + b) for one row, and hat */
static void pre_grad(ft_act act, const float *v, const float *d, const float *a, const float *b, float *dpre, int64_t n)
{
    if (act == FT_ACT_SILU)
        for (int64_t i = 0; i < n; i++) dpre[i] = d[i] * ft_silu_d1(v[i] * a[i] + b[i]);
    else if (act == FT_ACT_RELU)
        for (int64_t i = 0; i < n; i++) dpre[i] = v[i] * a[i] + b[i] > 0 ? d[i] : 0.0f;
    else memcpy(dpre, d, (size_t)n * sizeof(float));
}

/* in: x gamma beta stat dy; out: dx dgamma dbeta */
void FT_CPU(groupnorm_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[4];
    const float *gamma = c->in[1]->data, *beta = c->in[2]->data, *stat = c->in[3]->data;
    int64_t n = ft_last(x), samples = x->dim[0], rows = x->count / n / samples, groups = c->attr->norm.groups, per = n / groups;
    float *work = c->work; /* (samples, parts, 2, n): sums of dpre * hat and of dpre; the last part holds the sample's total */
    int64_t stride = (FT_PARTS + 1) * 2 * n;
    ft_act act = c->attr->norm.act;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < samples * FT_PARTS; task++) {
        int64_t s = task / FT_PARTS, k = task % FT_PARTS;
        float *dg = work + s * stride + k * 2 * n, *db = dg + n;
        float a[CHANNELS], b[CHANNELS], tx[CHANNELS], td[CHANNELS], dp[CHANNELS];
        memset(dg, 0, (size_t)(2 * n) * sizeof(float));
        for (int64_t i = 0; i < n; i++) {
            a[i] = gamma[i] * stat[(s * groups + i / per) * 2 + 1];
            b[i] = beta[i] - stat[(s * groups + i / per) * 2] * a[i];
        }
        for (int64_t r = s * rows + ft_part(rows, k, FT_PARTS); r < s * rows + ft_part(rows, k + 1, FT_PARTS); r++) {
            const float *v = ft_load(tx, x, r * n, n);
            pre_grad(act, v, ft_load(td, dy, r * n, n), a, b, dp, n);
            for (int64_t i = 0; i < n; i++) {
                dg[i] += dp[i] * v[i];
                db[i] += dp[i];
            }
        }
        for (int64_t i = 0; i < n; i++) { /* sum dpre*x -> sum dpre*hat */
            float mean = stat[(s * groups + i / per) * 2], rstd = stat[(s * groups + i / per) * 2 + 1];
            dg[i] = (dg[i] - mean * db[i]) * rstd;
        }
    }
    for (int64_t s = 0; s < samples; s++) {
        float *total = work + s * stride + FT_PARTS * 2 * n;
        memset(total, 0, (size_t)(2 * n) * sizeof(float));
        for (int64_t k = 0; k < FT_PARTS; k++)
            for (int64_t i = 0; i < 2 * n; i++) total[i] += work[s * stride + k * 2 * n + i];
    }
    for (int k = 0; k < 2; k++) {
        if (!c->out[1 + k]) continue;
        float *out = c->out[1 + k]->data;
        memset(out, 0, (size_t)n * sizeof(float));
        for (int64_t s = 0; s < samples; s++)
            for (int64_t i = 0; i < n; i++) out[i] += work[s * stride + FT_PARTS * 2 * n + k * n + i];
    }
    if (!c->out[0]) return;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < samples * FT_PARTS; task++) {
        int64_t s = task / FT_PARTS, k = task % FT_PARTS;
        const float *total = work + s * stride + FT_PARTS * 2 * n;
        float a[CHANNELS], b[CHANNELS], p[CHANNELS], q[CHANNELS], tx[CHANNELS], td[CHANNELS], dp[CHANNELS], to[CHANNELS];
        for (int64_t g = 0; g < groups; g++) { /* dx = rstd*(dpre*gamma - m1 - hat*m2) = dpre*a + x*p + q */
            double m1 = 0, m2 = 0;
            for (int64_t i = g * per; i < (g + 1) * per; i++) m1 += gamma[i] * total[n + i], m2 += gamma[i] * total[i];
            m1 /= (double)(per * rows), m2 /= (double)(per * rows);
            float mean = stat[(s * groups + g) * 2], rstd = stat[(s * groups + g) * 2 + 1];
            for (int64_t i = g * per; i < (g + 1) * per; i++) {
                a[i] = gamma[i] * rstd;
                b[i] = beta[i] - mean * a[i];
                p[i] = (float)(-m2 * rstd * rstd);
                q[i] = (float)(m2 * rstd * rstd * mean - m1 * rstd);
            }
        }
        for (int64_t r = s * rows + ft_part(rows, k, FT_PARTS); r < s * rows + ft_part(rows, k + 1, FT_PARTS); r++) {
            const float *v = ft_load(tx, x, r * n, n);
            pre_grad(act, v, ft_load(td, dy, r * n, n), a, b, dp, n);
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

void FT_CPU(batchnorm)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *gamma = c->in[1]->data, *beta = c->in[2]->data;
    float *mean = c->in[3]->data, *var = c->in[4]->data, *stat = c->out[1]->data;
    int64_t n = ft_last(x);
    float eps = c->attr->norm.eps, momentum = c->attr->norm.momentum;
    ft_act act = c->attr->norm.act;
    FT_ASSERT(n <= CHANNELS);
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
                double m = s1 / count, v = FT_MAX(s2 / count - m * m, 0.0);
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
            float a[CHANNELS], b[CHANNELS], tx[CHANNELS], ty[CHANNELS];
            for (int64_t i = 0; i < n; i++) a[i] = gamma[i] * st[2 * i + 1], b[i] = beta[i] - st[2 * i] * a[i];
            for (int64_t r = from + ft_part(to - from, part, FT_PARTS); r < from + ft_part(to - from, part + 1, FT_PARTS); r++) {
                const float *v = ft_load(tx, x, r * n, n);
                float *y = ft_into(ty, c->out[0], r * n);
                if (act == FT_ACT_RELU)
                    for (int64_t i = 0; i < n; i++) y[i] = v[i] * a[i] + b[i] > 0 ? v[i] * a[i] + b[i] : 0;
                else if (act == FT_ACT_SILU)
                    for (int64_t i = 0; i < n; i++) y[i] = ft_silu1(v[i] * a[i] + b[i]);
                else
                    for (int64_t i = 0; i < n; i++) y[i] = v[i] * a[i] + b[i];
                ft_store_at(c->out[0], r * n, y, n);
            }
        }
    }
}

int FT_PREPARE(batchnorm_bwd)(ft_call *c)
{
    c->work_size = (size_t)((FT_PARTS + 1) * 2 * ft_last(c->in[0])) * sizeof(float);
    return FT_OK;
}

/* in: x gamma beta stat dy; out: dx dgamma dbeta */
void FT_CPU(batchnorm_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[4];
    const float *gamma = c->in[1]->data, *beta = c->in[2]->data, *stat = c->in[3]->data;
    int64_t n = ft_last(x);
    ft_act act = c->attr->norm.act;
    float *work = c->work, *total = work + FT_PARTS * 2 * n;
    for (int k = 1; k <= 2; k++)
        if (c->out[k]) memset(c->out[k]->data, 0, (size_t)n * sizeof(float));
    for (int k = 0; k < 2; k++) {
        int64_t from, to;
        segment(c, x, k, &from, &to);
        if (from == to) continue;
        const float *st = stat + k * 2 * n;
        float a[CHANNELS], b[CHANNELS], p[CHANNELS], q[CHANNELS];
        for (int64_t i = 0; i < n; i++) a[i] = gamma[i] * st[2 * i + 1], b[i] = beta[i] - st[2 * i] * a[i];
#pragma omp parallel for if (x->count > FT_SMALL)
        for (int64_t part = 0; part < FT_PARTS; part++) {
            float *dg = work + part * 2 * n, *db = dg + n, tx[CHANNELS], td[CHANNELS], dp[CHANNELS];
            memset(dg, 0, (size_t)(2 * n) * sizeof(float));
            for (int64_t r = from + ft_part(to - from, part, FT_PARTS); r < from + ft_part(to - from, part + 1, FT_PARTS); r++) {
                const float *v = ft_load(tx, x, r * n, n);
                pre_grad(act, v, ft_load(td, dy, r * n, n), a, b, dp, n);
                for (int64_t i = 0; i < n; i++) {
                    dg[i] += dp[i] * (v[i] - st[2 * i]) * st[2 * i + 1];
                    db[i] += dp[i];
                }
            }
        }
        memset(total, 0, (size_t)(2 * n) * sizeof(float));
        for (int64_t part = 0; part < FT_PARTS; part++)
            for (int64_t i = 0; i < 2 * n; i++) total[i] += work[part * 2 * n + i];
        if (c->out[1])
            for (int64_t i = 0; i < n; i++) ((float *)c->out[1]->data)[i] += total[i];
        if (c->out[2])
            for (int64_t i = 0; i < n; i++) ((float *)c->out[2]->data)[i] += total[n + i];
        if (!c->out[0]) continue;
        for (int64_t i = 0; i < n; i++) { /* dx = a*(dpre - m1 - hat*m2) = dpre*a + x*p + q */
            float m2 = total[i] / (float)(to - from), m1 = total[n + i] / (float)(to - from);
            if (!c->attr->norm.training) m1 = m2 = 0; /* running statistics are constants */
            p[i] = -a[i] * m2 * st[2 * i + 1];
            q[i] = -a[i] * m1 - p[i] * st[2 * i];
        }
#pragma omp parallel for if (x->count > FT_SMALL)
        for (int64_t part = 0; part < FT_PARTS; part++) {
            float tx[CHANNELS], td[CHANNELS], dp[CHANNELS], to_[CHANNELS];
            for (int64_t r = from + ft_part(to - from, part, FT_PARTS); r < from + ft_part(to - from, part + 1, FT_PARTS); r++) {
                const float *v = ft_load(tx, x, r * n, n);
                pre_grad(act, v, ft_load(td, dy, r * n, n), a, b, dp, n);
                float *dx = ft_into(to_, c->out[0], r * n);
                for (int64_t i = 0; i < n; i++) dx[i] = dp[i] * a[i] + v[i] * p[i] + q[i];
                ft_store_at(c->out[0], r * n, dx, n);
            }
        }
    }
}
