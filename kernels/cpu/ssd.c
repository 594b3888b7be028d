/* Mamba-2's state space scan (SSD; Dao & Gu 2024) in its quadratic form, one chunk per sequence (spec medsora 2.5).
 *
 * xbc (S, T, E + 2N): X (heads x headdim), B, C, shared by all heads; dt (S, T, heads) before bias and softplus.
 * Per head, s_i = sum_{u<=i} dt_u A:  M_ij = exp(s_i - s_j) (C_i . B_j) dt_j for i >= j,  Y = M X + D X.
 * Exponents are differences of a falling sum, so never positive: nothing overflows. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

typedef struct {
    int64_t seqs, t, heads, p, n, e, width; /* p = headdim, e = heads * p, width = e + 2n */
} shape;

static shape shape_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    shape s = {x->dim[0], x->dim[1], c->attr->seq.heads, 0, c->attr->seq.state, 0, x->dim[2]};
    s.e = s.width - 2 * s.n;
    s.p = s.e / s.heads;
    return s;
}

/* per thread: xbc, dxbc, dy/y (T, width); CB, dCB (T, T); M, G (T, T); dt, s, da, ddt (T) and one row */
static int64_t thread_floats(const shape *s) { return 3 * s->t * s->width + 4 * s->t * s->t + 8 * s->t + s->heads * s->t; }

int FT_PREPARE(ssd)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * thread_floats(&s)) * sizeof(float);
    return FT_OK;
}

int FT_PREPARE(ssd_bwd)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * thread_floats(&s) + s.seqs * 3 * s.heads) * sizeof(float);
    return FT_OK;
}

static void axpy(float *y, float a, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* dt = softplus(raw + bias) and s = cumulative dt * A of one head */
static void decay(const shape *s, const ft_buf *raw, int64_t seq, int64_t h, float bias, float a, float *dt, float *cum)
{
    float total = 0;
    for (int64_t i = 0; i < s->t; i++) {
        float tmp, r = *ft_load(&tmp, raw, (seq * s->t + i) * s->heads + h, 1);
        dt[i] = ft_softplus1(r + bias);
        cum[i] = total += dt[i] * a;
    }
}

void FT_CPU(ssd)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *dt_bias = c->in[2]->data, *a_log = c->in[3]->data, *d = c->in[4]->data;
#pragma omp parallel for if (c->in[0]->count > FT_SMALL / 4)
    for (int64_t q = 0; q < s.seqs; q++) {
        float *x = (float *)c->work + ft_cpu_thread_id() * thread_floats(&s), *cb = x + 2 * s.t * s.width;
        float *y = x + s.t * s.width, *dt = cb + 4 * s.t * s.t, *cum = dt + s.t;
        const float *v = ft_load(x, c->in[0], q * s.t * s.width, s.t * s.width);
        for (int64_t i = 0; i < s.t; i++)
            for (int64_t j = 0; j <= i; j++) cb[i * s.t + j] = ft_dot(v + i * s.width + s.e + s.n, v + j * s.width + s.e, s.n);
        float *out = ft_into(y, c->out[0], q * s.t * s.e);
        for (int64_t h = 0; h < s.heads; h++) {
            decay(&s, c->in[1], q, h, dt_bias[h], -ft_exp1(a_log[h]), dt, cum);
            for (int64_t i = 0; i < s.t; i++) {
                float *o = out + i * s.e + h * s.p;
                const float *xi = v + i * s.width + h * s.p;
                for (int64_t k = 0; k < s.p; k++) o[k] = d[h] * xi[k];
                for (int64_t j = 0; j <= i; j++)
                    axpy(o, ft_exp1(cum[i] - cum[j]) * cb[i * s.t + j] * dt[j], v + j * s.width + h * s.p, s.p);
            }
        }
        ft_store_at(c->out[0], q * s.t * s.e, out, s.t * s.e);
    }
}

/* in: xbc dt dt_bias a_log d dy; out: dxbc ddt ddt_bias da_log dd */
void FT_CPU(ssd_bwd)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *dt_bias = c->in[2]->data, *a_log = c->in[3]->data, *d = c->in[4]->data;
    float *sums = (float *)c->work + ft_cpu_threads() * thread_floats(&s); /* (S, 3, heads): ddt_bias, dA, dD */
#pragma omp parallel for if (c->in[0]->count > FT_SMALL / 4)
    for (int64_t q = 0; q < s.seqs; q++) {
        float *x = (float *)c->work + ft_cpu_thread_id() * thread_floats(&s), *dx = x + s.t * s.width, *gy = dx + s.t * s.width;
        float *cb = gy + s.t * s.width, *dcb = cb + s.t * s.t, *dt = dcb + 3 * s.t * s.t, *cum = dt + s.t, *ds = cum + s.t,
              *ddt = ds + s.t, *dr = ddt + 5 * s.t;
        const float *v = ft_load(x, c->in[0], q * s.t * s.width, s.t * s.width),
                    *dy = ft_load(gy, c->in[5], q * s.t * s.e, s.t * s.e);
        memset(dx, 0, (size_t)(s.t * s.width) * sizeof(float));
        memset(dcb, 0, (size_t)(s.t * s.t) * sizeof(float));
        for (int64_t i = 0; i < s.t; i++)
            for (int64_t j = 0; j <= i; j++) cb[i * s.t + j] = ft_dot(v + i * s.width + s.e + s.n, v + j * s.width + s.e, s.n);
        for (int64_t h = 0; h < s.heads; h++) {
            float a = -ft_exp1(a_log[h]), da = 0, dd = 0, dbias = 0;
            decay(&s, c->in[1], q, h, dt_bias[h], a, dt, cum);
            memset(ds, 0, (size_t)s.t * sizeof(float));
            memset(ddt, 0, (size_t)s.t * sizeof(float));
            for (int64_t i = 0; i < s.t; i++) {
                const float *gi = dy + i * s.e + h * s.p;
                dd += ft_dot(gi, v + i * s.width + h * s.p, s.p);
                axpy(dx + i * s.width + h * s.p, d[h], gi, s.p);
                for (int64_t j = 0; j <= i; j++) {
                    float l = ft_exp1(cum[i] - cum[j]), g = ft_dot(gi, v + j * s.width + h * s.p, s.p);
                    float m = l * cb[i * s.t + j] * dt[j];
                    axpy(dx + j * s.width + h * s.p, m, gi, s.p);
                    dcb[i * s.t + j] += g * l * dt[j];
                    ddt[j] += g * l * cb[i * s.t + j];
                    if (i > j) ds[i] += g * m, ds[j] -= g * m;
                }
            }
            float tail = 0; /* da_t = sum of ds from t on */
            for (int64_t i = s.t - 1; i >= 0; i--) {
                tail += ds[i];
                ddt[i] += a * tail;
                da += dt[i] * tail;
                float tmp, r = *ft_load(&tmp, c->in[1], (q * s.t + i) * s.heads + h, 1) + dt_bias[h];
                dr[i * s.heads + h] = ddt[i] * ft_sigmoid1(r);
                dbias += dr[i * s.heads + h];
            }
            float *to = sums + q * 3 * s.heads + h;
            to[0] = dbias;
            to[s.heads] = a * da; /* d/dA_log */
            to[2 * s.heads] = dd;
        }
        for (int64_t i = 0; i < s.t; i++)
            for (int64_t j = 0; j <= i; j++) {
                float g = dcb[i * s.t + j];
                axpy(dx + i * s.width + s.e + s.n, g, v + j * s.width + s.e, s.n);
                axpy(dx + j * s.width + s.e, g, v + i * s.width + s.e + s.n, s.n);
            }
        if (c->out[0]) ft_store_at(c->out[0], q * s.t * s.width, dx, s.t * s.width);
        if (c->out[1]) ft_store_at(c->out[1], q * s.t * s.heads, dr, s.t * s.heads);
    }
    for (int k = 0; k < 3; k++) {
        if (!c->out[2 + k]) continue;
        float *out = c->out[2 + k]->data;
        for (int64_t h = 0; h < s.heads; h++) {
            double total = 0;
            for (int64_t q = 0; q < s.seqs; q++) total += sums[(q * 3 + k) * s.heads + h];
            out[h] = (float)total;
        }
    }
}
