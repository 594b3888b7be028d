/* Norms over the last axis (channels) of a row, and what is fused with them. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

/* ---- layernorm (+ affine, + adaLN modulation) ---------------------------------------------------------------------- */

void FT_CPU(layernorm)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *gamma = c->in[1] ? c->in[1]->data : NULL, *beta = c->in[2] ? c->in[2]->data : NULL;
    const float *shift = c->in[3] ? c->in[3]->data : NULL, *scale = c->in[4] ? c->in[4]->data : NULL;
    int64_t n = ft_last(x), rows = x->count / n, per_sample = rows / x->dim[0];
    float *stat = c->out[1]->data;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float tx[FT_MOST_NORM], ty[FT_MOST_NORM], *y = ft_into(ty, c->out[0], r * n);
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

/* in: x gamma beta shift scale stat dy, and what dx is added to; out: dx dgamma dbeta dshift dscale */
void FT_CPU(layernorm_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[6], *plus = c->n_in > 7 ? c->in[7] : NULL;
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
            float tx[FT_MOST_NORM], td[FT_MOST_NORM], hat[FT_MOST_NORM], dn[FT_MOST_NORM];
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
            if (plus) {
                const float *p = ft_load(td, plus, r * n, n);
                for (int64_t i = 0; i < n; i++) dx[i] += p[i];
            }
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
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float tx[FT_MOST_NORM], ty[FT_MOST_NORM], to[FT_MOST_NORM], *o = ft_into(to, c->out[0], r * n);
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
            float ty[FT_MOST_NORM], td[FT_MOST_NORM], to[FT_MOST_NORM];
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

/* ---- RMSNorm, plain or gated (Mamba-2): w * u / sqrt(mean u^2 + eps), u = y or y * SiLU(z) ------------------------------ */

void FT_CPU(rmsnorm)(const ft_call *c)
{
    const ft_buf *y = c->in[0], *z = c->in[1];
    const float *w = c->in[2] ? c->in[2]->data : NULL;
    int64_t n = ft_last(y), rows = y->count / n;
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t r = 0; r < rows; r++) {
        float ty[FT_MOST_NORM], tz[FT_MOST_NORM], tu[FT_MOST_NORM], to[FT_MOST_NORM], *o = ft_into(to, c->out[0], r * n);
        const float *u = ft_load(ty, y, r * n, n);
        if (z) {
            const float *b = ft_load(tz, z, r * n, n);
            for (int64_t i = 0; i < n; i++) tu[i] = u[i] * ft_silu1(b[i]);
            u = tu;
        }
        float rr = 1.0f / sqrtf(ft_dot(u, u, n) / (float)n + c->attr->norm.eps);
        if (w)
            for (int64_t i = 0; i < n; i++) o[i] = w[i] * u[i] * rr;
        else
            for (int64_t i = 0; i < n; i++) o[i] = u[i] * rr;
        ft_store_at(c->out[0], r * n, o, n);
    }
}

int FT_PREPARE(rmsnorm_bwd)(ft_call *c)
{
    c->work_size = (size_t)(FT_PARTS * ft_last(c->in[0])) * sizeof(float);
    return FT_OK;
}

/* in: y z w dout; out: dy dz dw */
void FT_CPU(rmsnorm_bwd)(const ft_call *c)
{
    const ft_buf *y = c->in[0], *z = c->in[1], *d = c->in[3];
    const float *w = c->in[2] ? c->in[2]->data : NULL;
    int64_t n = ft_last(y), rows = y->count / n;
    float *work = c->work;
#pragma omp parallel for if (y->count > FT_SMALL)
    for (int64_t part = 0; part < FT_PARTS; part++) {
        float *dw = work + part * n;
        memset(dw, 0, (size_t)n * sizeof(float));
        for (int64_t r = ft_part(rows, part, FT_PARTS); r < ft_part(rows, part + 1, FT_PARTS); r++) {
            float ty[FT_MOST_NORM], tz[FT_MOST_NORM], td[FT_MOST_NORM], u[FT_MOST_NORM], g[FT_MOST_NORM], to[FT_MOST_NORM];
            const float *a = ft_load(ty, y, r * n, n), *b = z ? ft_load(tz, z, r * n, n) : NULL, *e = ft_load(td, d, r * n, n);
            if (z)
                for (int64_t i = 0; i < n; i++) u[i] = a[i] * ft_silu1(b[i]);
            else memcpy(u, a, (size_t)n * sizeof(float));
            float rr = 1.0f / sqrtf(ft_dot(u, u, n) / (float)n + c->attr->norm.eps);
            for (int64_t i = 0; i < n; i++) {
                u[i] *= rr;
                dw[i] += e[i] * u[i];
                g[i] = w ? e[i] * w[i] : e[i];
            }
            float m = ft_dot(g, u, n) / (float)n;
            for (int64_t i = 0; i < n; i++) g[i] = rr * (g[i] - u[i] * m); /* du */
            if (c->out[1]) {
                float *dz = ft_into(to, c->out[1], r * n);
                for (int64_t i = 0; i < n; i++) dz[i] = g[i] * a[i] * ft_silu_d1(b[i]);
                ft_store_at(c->out[1], r * n, dz, n);
            }
            if (!c->out[0]) continue;
            float *dyy = ft_into(to, c->out[0], r * n);
            if (z)
                for (int64_t i = 0; i < n; i++) dyy[i] = g[i] * ft_silu1(b[i]);
            else memcpy(dyy, g, (size_t)n * sizeof(float));
            ft_store_at(c->out[0], r * n, dyy, n);
        }
    }
    if (!c->out[2]) return;
    float *out = c->out[2]->data;
    memset(out, 0, (size_t)n * sizeof(float));
    for (int64_t part = 0; part < FT_PARTS; part++)
        for (int64_t i = 0; i < n; i++) out[i] += work[part * n + i];
}
