/* Mamba-2's state space scan (SSD; Dao & Gu 2024) in chunks: quadratic inside a chunk, a state between chunks (spec medsora 2.5).
 *
 * xbc (S, T, E + 2N): X (heads x headdim), B, C, shared by all heads; dt (S, T, heads) before bias and softplus. Per head, inside
 * a chunk, s_i = sum_{u<=i} dt_u A counted from the chunk's start, w_j = exp(s_last - s_j) dt_j: Y_i   = sum_{j<=i} M_ij X_j +
 * exp(s_i) C_i H + D X_i,      M_ij = exp(s_i - s_j) (C_i . B_j) dt_j H'    = exp(s_last) H + sum_j w_j B_j X_j^T H (N, headdim):
 * the state before the chunk Exponents are differences of a falling sum, so never positive: nothing overflows. Cost is linear in
 * T. A task is one sequence. */
#include "common/base/status.h"
#include "kernels/cpu/gemm.h"

enum { CHUNK = 64 };

typedef struct {
    int64_t seqs, t, heads, p, n, e, width; /* p = headdim, e = heads * p, width = e + 2n */
    int64_t chunk, chunks, np;              /* np = values of one head's state */
    bool carries;                           /* a state is read, written or passed between chunks */
} shape;

static shape shape_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    shape s = {x->dim[0], x->dim[1], c->attr->seq.heads, 0, c->attr->seq.state, 0, x->dim[2], 0, 0, 0, false};
    s.e = s.width - 2 * s.n;
    s.p = s.e / s.heads;
    s.np = s.n * s.p;
    s.chunk = FT_MIN(s.t, CHUNK);
    s.chunks = (s.t + s.chunk - 1) / s.chunk;
    s.carries = s.chunks > 1 || c->in[5];
    return s;
}

static int64_t pad16(int64_t n) { return (n + 15) / 16 * 16; }

/* forward: xbc, y of a chunk; CB, M; B^T; scaled rows; states of all heads; small vectors */
static int64_t forward_floats(const shape *s)
{
    int64_t q = pad16(s->chunk);
    return q * (2 * s->width + s->n + s->p) + 3 * q * q + s->n * q + s->heads * s->np + 8 * q + 64;
}

/* backward: xbc, dxbc, dy of a chunk; CB, dCB, M, dM; B^T, X^T; states before every chunk and the running gradient, per head; H^T
 */
static int64_t backward_floats(const shape *s)
{
    int64_t q = pad16(s->chunk);
    return q * (3 * s->width + 2 * s->n + 2 * s->p) + 5 * q * q + (s->n + s->p) * q + s->heads * (s->chunks + 1) * s->np + s->np +
           10 * q + 64;
}

int FT_PREPARE(ssd)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * forward_floats(&s)) * sizeof(float);
    return FT_OK;
}

int FT_PREPARE(ssd_bwd)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * backward_floats(&s) + s.seqs * 3 * s.heads) * sizeof(float);
    return FT_OK;
}

/* dt = softplus(raw + bias) and s = cumulative dt * A of one head in a chunk of q tokens */
static void decay(const shape *s, const ft_buf *raw, int64_t token, int64_t q, int64_t h, float bias, float a, float *dt,
                  float *cum)
{
    float total = 0;
    for (int64_t i = 0; i < q; i++) {
        float tmp, r = *ft_load(&tmp, raw, (token + i) * s->heads + h, 1);
        dt[i] = ft_softplus1(r + bias);
        cum[i] = total += dt[i] * a;
    }
}

/* CB_ij = C_i . B_j for j <= i (and the rest of the block row) */
static void inner_products(const shape *s, const float *x, int64_t q, float *bt, float *cb, int64_t ld)
{
    memset(bt, 0, (size_t)(s->n * ld) * sizeof(float));
    ft_transpose(x + s->e, s->width, q, s->n, bt, ld);
    for (int64_t i = 0; i < q; i += 16)
        ft_gemm(FT_MIN(16, q - i), FT_MIN(i + 16, ld), s->n, x + i * s->width + s->e + s->n, s->width, 1, bt, ld, cb + i * ld, ld,
                false);
}

/* m_ij = exp(s_i - s_j), times dt_j CB_ij if asked, for j <= i; 0 above, to the end of the block of 16 */
static void mix(const float *cb, const float *dt, const float *cum, int64_t q, float *m, int64_t ld)
{
    for (int64_t i = 0; i < q; i++) {
        int64_t end = FT_MIN((i / 16 + 1) * 16, ld);
        float *row = m + i * ld;
        if (cb)
            for (int64_t j = 0; j <= i; j++) row[j] = ft_exp1(cum[i] - cum[j]) * dt[j] * cb[i * ld + j];
        else
            for (int64_t j = 0; j <= i; j++) row[j] = ft_exp1(cum[i] - cum[j]);
        for (int64_t j = i + 1; j < end; j++) row[j] = 0;
    }
}

/* state' = exp(s_last) state + sum_j w_j B_j X_j^T; wx: room for (q, p) */
static void advance(const shape *s, const float *x, int64_t h, int64_t q, const float *dt, const float *cum, float *wx,
                    float *state)
{
    float last = cum[q - 1], keep = ft_exp1(last);
    for (int64_t j = 0; j < q; j++) {
        float w = ft_exp1(last - cum[j]) * dt[j];
        for (int64_t k = 0; k < s->p; k++) wx[j * s->p + k] = w * x[j * s->width + h * s->p + k];
    }
    for (int64_t k = 0; k < s->np; k++) state[k] *= keep;
    ft_gemm(s->n, s->p, q, x + s->e, 1, s->width, wx, s->p, state, s->p, true);
}

void FT_CPU(ssd)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *dt_bias = c->in[2]->data, *a_log = c->in[3]->data, *d = c->in[4]->data,
                *first = c->in[5] ? c->in[5]->data : NULL;
    float *final = c->n_out > 1 && c->out[1] ? c->out[1]->data : NULL;
    int64_t ld = pad16(s.chunk);
#pragma omp parallel for schedule(dynamic) if (c->in[0]->count > FT_SMALL / 4)
    for (int64_t seq = 0; seq < s.seqs; seq++) {
        float *x = (float *)c->work + ft_cpu_thread_id() * forward_floats(&s), *y = x + ld * s.width, *row = y + ld * s.width,
              *wx = row + ld * s.n, *cb = wx + ld * s.p, *m = cb + ld * ld, *bt = m + 2 * ld * ld, *state = bt + s.n * ld,
              *dt = state + s.heads * s.np, *cum = dt + ld;
        bool carries = s.carries || final;
        if (carries) {
            if (first) memcpy(state, first + seq * s.heads * s.np, (size_t)(s.heads * s.np) * sizeof(float));
            else memset(state, 0, (size_t)(s.heads * s.np) * sizeof(float));
        }
        for (int64_t t0 = 0; t0 < s.t; t0 += s.chunk) {
            int64_t q = FT_MIN(s.chunk, s.t - t0), token = seq * s.t + t0;
            const float *v = ft_load(x, c->in[0], token * s.width, q * s.width);
            float *out = ft_into(y, c->out[0], token * s.e);
            inner_products(&s, v, q, bt, cb, ld);
            for (int64_t h = 0; h < s.heads; h++) {
                float *hs = state + h * s.np;
                decay(&s, c->in[1], token, q, h, dt_bias[h], -ft_exp1(a_log[h]), dt, cum);
                mix(cb, dt, cum, q, m, ld);
                for (int64_t i = 0; i < q; i++)
                    for (int64_t k = 0; k < s.p; k++) out[i * s.e + h * s.p + k] = d[h] * v[i * s.width + h * s.p + k];
                if (t0 > 0 || first) {
                    for (int64_t i = 0; i < q; i++) {
                        float scale = ft_exp1(cum[i]);
                        for (int64_t k = 0; k < s.n; k++) row[i * s.n + k] = scale * v[i * s.width + s.e + s.n + k];
                    }
                    ft_gemm(q, s.p, s.n, row, s.n, 1, hs, s.p, out + h * s.p, s.e, true);
                }
                for (int64_t i = 0; i < q; i += 16)
                    ft_gemm(FT_MIN(16, q - i), s.p, FT_MIN(i + 16, q), m + i * ld, ld, 1, v + h * s.p, s.width,
                            out + i * s.e + h * s.p, s.e, true);
                if (carries && (t0 + q < s.t || final)) advance(&s, v, h, q, dt, cum, wx, hs);
            }
            ft_store_at(c->out[0], token * s.e, out, q * s.e);
        }
        if (final) memcpy(final + seq * s.heads * s.np, state, (size_t)(s.heads * s.np) * sizeof(float));
    }
}

/* in: xbc dt dt_bias a_log d state dy dfinal; out: dxbc ddt ddt_bias da_log dd dstate.
 * Chunks are visited from the last to the first with the gradient of the state that leaves them; the states before each chunk are
 * made again first. */
void FT_CPU(ssd_bwd)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *dt_bias = c->in[2]->data, *a_log = c->in[3]->data, *d = c->in[4]->data,
                *first = c->in[5] ? c->in[5]->data : NULL, *dfinal = c->in[7] ? c->in[7]->data : NULL;
    int64_t ld = pad16(s.chunk), all = s.heads * s.np;
    float *sums = (float *)c->work + ft_cpu_threads() * backward_floats(&s); /* (seqs, 3, heads): dt_bias, A_log, D */
#pragma omp parallel for schedule(dynamic) if (c->in[0]->count > FT_SMALL / 4)
    for (int64_t seq = 0; seq < s.seqs; seq++) {
        float *x = (float *)c->work + ft_cpu_thread_id() * backward_floats(&s), *dx = x + ld * s.width, *dyb = dx + ld * s.width,
              *row = dyb + ld * s.width, *wx = row + 2 * ld * s.n, *cb = wx + 2 * ld * s.p, *dcb = cb + ld * ld,
              *m = dcb + ld * ld, *dm = m + ld * ld, *bt = dm + 2 * ld * ld, *xt = bt + s.n * ld, *before = xt + s.p * ld,
              *ds_out = before + s.chunks * all, *ht = ds_out + all, *dt = ht + s.np, *cum = dt + ld, *ddt = cum + ld,
              *ds = ddt + ld, *es = ds + ld;
        float *to = sums + seq * 3 * s.heads;
        bool carries = s.carries || dfinal;
        memset(to, 0, (size_t)(3 * s.heads) * sizeof(float));
        if (carries) {
            if (dfinal) memcpy(ds_out, dfinal + seq * all, (size_t)all * sizeof(float));
            else memset(ds_out, 0, (size_t)all * sizeof(float));
            if (first) memcpy(before, first + seq * all, (size_t)all * sizeof(float));
            else memset(before, 0, (size_t)all * sizeof(float));
            for (int64_t k = 0; k + 1 < s.chunks; k++) {
                int64_t token = seq * s.t + k * s.chunk;
                const float *v = ft_load(x, c->in[0], token * s.width, s.chunk * s.width);
                memcpy(before + (k + 1) * all, before + k * all, (size_t)all * sizeof(float));
                for (int64_t h = 0; h < s.heads; h++) {
                    decay(&s, c->in[1], token, s.chunk, h, dt_bias[h], -ft_exp1(a_log[h]), dt, cum);
                    advance(&s, v, h, s.chunk, dt, cum, wx, before + (k + 1) * all + h * s.np);
                }
            }
        }
        for (int64_t k = s.chunks - 1; k >= 0; k--) {
            int64_t t0 = k * s.chunk, q = FT_MIN(s.chunk, s.t - t0), token = seq * s.t + t0;
            const float *v = ft_load(x, c->in[0], token * s.width, q * s.width),
                        *dy = ft_load(dyb, c->in[6], token * s.e, q * s.e);
            const float *B = v + s.e, *C = B + s.n;
            float *dB = dx + s.e, *dC = dB + s.n;
            bool enters = k > 0 || first, leaves = k + 1 < s.chunks || dfinal;
            memset(dx, 0, (size_t)(q * s.width) * sizeof(float));
            memset(dcb, 0, (size_t)(ld * ld) * sizeof(float));
            inner_products(&s, v, q, bt, cb, ld);
            for (int64_t h = 0; h < s.heads; h++) {
                const float *X = v + h * s.p, *dY = dy + h * s.p;
                float a = -ft_exp1(a_log[h]), dd = 0, da = 0, dbias = 0, *gs = ds_out + h * s.np;
                decay(&s, c->in[1], token, q, h, dt_bias[h], a, dt, cum);
                memset(ds, 0, (size_t)q * sizeof(float));
                memset(ddt, 0, (size_t)q * sizeof(float));
                /* dM = dY X^T, then dX = M^T dY */
                ft_transpose(X, s.width, q, s.p, xt, ld);
                mix(NULL, dt, cum, q, m, ld);
                for (int64_t i = 0; i < q; i += 16)
                    ft_gemm(FT_MIN(16, q - i), FT_MIN(i + 16, ld), s.p, dY + i * s.e, s.e, 1, xt, ld, dm + i * ld, ld, false);
                for (int64_t i = 0; i < q; i++) {
                    float *g = dm + i * ld, *l = m + i * ld, *dc = dcb + i * ld, total = 0;
                    const float *b = cb + i * ld;
                    dd += ft_dot(dY + i * s.e, X + i * s.width, s.p);
                    for (int64_t j = 0; j <= i; j++) {
                        float ge = g[j] * l[j], flow = ge * b[j]; /* of M_ij / dt_j */
                        l[j] *= dt[j] * b[j];                     /* M */
                        dc[j] += ge * dt[j];
                        ddt[j] += flow;
                        total += flow * dt[j];
                        ds[j] -= flow * dt[j]; /* its part of j = i cancels below */
                    }
                    ds[i] += total;
                }
                for (int64_t i = 0; i < q; i++)
                    for (int64_t p = 0; p < s.p; p++) dx[i * s.width + h * s.p + p] = d[h] * dY[i * s.e + p];
                for (int64_t j = 0; j < q; j += 16) /* rows i >= j only */
                    ft_gemm(FT_MIN(16, q - j), s.p, q - j, m + j * ld + j, 1, ld, dY + j * s.e, s.e, dx + j * s.width + h * s.p,
                            s.width, true);
                if (enters) { /* Y += exp(s_i) C_i H */
                    const float *hs = before + k * all + h * s.np;
                    ft_transpose(hs, s.p, s.n, s.p, ht, s.n);
                    ft_gemm(q, s.n, s.p, dY, s.e, 1, ht, s.n, row, s.n, false); /* dY H^T */
                    for (int64_t i = 0; i < q; i++) {
                        es[i] = ft_exp1(cum[i]);
                        ds[i] += es[i] * ft_dot(row + i * s.n, C + i * s.width, s.n);
                        for (int64_t n = 0; n < s.n; n++) dC[i * s.width + n] += es[i] * row[i * s.n + n];
                    }
                }
                float last = cum[q - 1], keep = ft_exp1(last);
                if (leaves) {                                                     /* H' = keep H + sum_j w_j B_j X_j^T */
                    ft_gemm(q, s.p, s.n, B, s.width, 1, gs, s.p, wx, s.p, false); /* B dH' */
                    ft_transpose(gs, s.p, s.n, s.p, ht, s.n);
                    ft_gemm(q, s.n, s.p, X, s.width, 1, ht, s.n, row, s.n, false); /* X dH'^T */
                    for (int64_t j = 0; j < q; j++) {
                        float e = ft_exp1(last - cum[j]), w = e * dt[j], dw = ft_dot(wx + j * s.p, X + j * s.width, s.p);
                        ddt[j] += dw * e;
                        ds[q - 1] += dw * w;
                        ds[j] -= dw * w;
                        for (int64_t p = 0; p < s.p; p++) dx[j * s.width + h * s.p + p] += w * wx[j * s.p + p];
                        for (int64_t n = 0; n < s.n; n++) dB[j * s.width + n] += w * row[j * s.n + n];
                    }
                    if (enters) ds[q - 1] += keep * ft_dot(before + k * all + h * s.np, gs, s.np);
                    for (int64_t i = 0; i < s.np; i++) gs[i] *= keep;
                }
                if (enters) { /* gradient of the state before: + sum_i exp(s_i) C_i^T dY_i */
                    for (int64_t i = 0; i < q; i++)
                        for (int64_t n = 0; n < s.n; n++) row[i * s.n + n] = es[i] * C[i * s.width + n];
                    ft_gemm(s.n, s.p, q, row, 1, s.n, dY, s.e, gs, s.p, true);
                }
                float tail = 0; /* d of the steps: dt_u A enters every s_i with i >= u */
                for (int64_t i = q - 1; i >= 0; i--) {
                    tail += ds[i];
                    ddt[i] += a * tail;
                    da += dt[i] * tail;
                    float tmp, r = *ft_load(&tmp, c->in[1], (token + i) * s.heads + h, 1) + dt_bias[h],
                               dr = ddt[i] * ft_sigmoid1(r);
                    dbias += dr;
                    if (c->out[1]) ft_store_at(c->out[1], (token + i) * s.heads + h, &dr, 1);
                }
                to[h] += dbias;
                to[s.heads + h] += a * da; /* d/dA_log */
                to[2 * s.heads + h] += dd;
            }
            /* dC = dCB B, dB = dCB^T C */
            for (int64_t i = 0; i < q; i += 16)
                ft_gemm(FT_MIN(16, q - i), s.n, FT_MIN(i + 16, q), dcb + i * ld, ld, 1, B, s.width, dC + i * s.width, s.width,
                        true);
            for (int64_t j = 0; j < q; j += 16)
                ft_gemm(FT_MIN(16, q - j), s.n, q - j, dcb + j * ld + j, 1, ld, C + j * s.width, s.width, dB + j * s.width,
                        s.width, true);
            if (c->out[0]) ft_store_at(c->out[0], token * s.width, dx, q * s.width);
        }
        if (c->out[5]) memcpy((float *)c->out[5]->data + seq * all, ds_out, (size_t)all * sizeof(float));
    }
    for (int k = 0; k < 3; k++) {
        if (!c->out[2 + k]) continue;
        float *out = c->out[2 + k]->data;
        for (int64_t h = 0; h < s.heads; h++) {
            double total = 0;
            for (int64_t seq = 0; seq < s.seqs; seq++) total += (double)sums[(seq * 3 + k) * s.heads + h];
            out[h] = (float)total;
        }
    }
}
