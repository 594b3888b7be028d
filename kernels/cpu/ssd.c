/* Mamba-2's state space scan (SSD; Dao & Gu 2024) in chunks: quadratic inside a chunk, a state between chunks.
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

/* ---- backward ------------------------------------------------------------------------------------------------------------- */

/* A thread's room, and where it is: one head of one chunk of q tokens. B, C, dB, dC are shared by the heads. */
typedef struct {
    shape s;
    int64_t ld, q;
    float *x, *dx, *dyb; /* the chunk's xbc, its gradient, dy */
    float *row, *wx, *cb, *dcb, *m, *dm, *bt, *xt, *ht;
    float *before, *ds_out;               /* the states before all chunks; the gradient of the state behind this one */
    float *dt, *cum, *ddt, *ds, *es;      /* (q) */
    const float *v, *dy, *B, *C, *X, *dY; /* X, dY: of the head */
    float *dB, *dC, *dX;
} backward;

static backward backward_room(const shape *s, float *at)
{
    backward b = {.s = *s, .ld = pad16(s->chunk)};
    int64_t ld = b.ld;
    b.x = at, b.dx = b.x + ld * s->width, b.dyb = b.dx + ld * s->width, b.row = b.dyb + ld * s->width;
    b.wx = b.row + 2 * ld * s->n, b.cb = b.wx + 2 * ld * s->p, b.dcb = b.cb + ld * ld, b.m = b.dcb + ld * ld;
    b.dm = b.m + ld * ld, b.bt = b.dm + 2 * ld * ld, b.xt = b.bt + s->n * ld, b.before = b.xt + s->p * ld;
    b.ds_out = b.before + s->chunks * s->heads * s->np, b.ht = b.ds_out + s->heads * s->np, b.dt = b.ht + s->np;
    b.cum = b.dt + ld, b.ddt = b.cum + ld, b.ds = b.ddt + ld, b.es = b.ds + ld;
    return b;
}

/* The states before each chunk of a sequence, made again */
static void states_before(backward *b, const ft_call *c, int64_t seq)
{
    const shape *s = &b->s;
    const float *dt_bias = c->in[2]->data, *a_log = c->in[3]->data, *first = c->in[5] ? c->in[5]->data : NULL;
    int64_t all = s->heads * s->np;
    if (first) memcpy(b->before, first + seq * all, (size_t)all * sizeof(float));
    else memset(b->before, 0, (size_t)all * sizeof(float));
    for (int64_t k = 0; k + 1 < s->chunks; k++) {
        int64_t token = seq * s->t + k * s->chunk;
        const float *v = ft_load(b->x, c->in[0], token * s->width, s->chunk * s->width);
        float *next = b->before + (k + 1) * all;
        memcpy(next, next - all, (size_t)all * sizeof(float));
        for (int64_t h = 0; h < s->heads; h++) {
            decay(s, c->in[1], token, s->chunk, h, dt_bias[h], -ft_exp1(a_log[h]), b->dt, b->cum);
            advance(s, v, h, s->chunk, b->dt, b->cum, b->wx, next + h * s->np);
        }
    }
}

/* Inside the chunk: dM = dY X^T, then dX = M^T dY + d dY. The gradient of D */
static float inside_bwd(backward *b, float d)
{
    const shape *s = &b->s;
    int64_t ld = b->ld, q = b->q;
    float dd = 0;
    ft_transpose(b->X, s->width, q, s->p, b->xt, ld);
    mix(NULL, b->dt, b->cum, q, b->m, ld);
    for (int64_t i = 0; i < q; i += 16)
        ft_gemm(FT_MIN(16, q - i), FT_MIN(i + 16, ld), s->p, b->dY + i * s->e, s->e, 1, b->xt, ld, b->dm + i * ld, ld, false);
    for (int64_t i = 0; i < q; i++) {
        float *restrict g = b->dm + i * ld, *restrict l = b->m + i * ld, *restrict dc = b->dcb + i * ld, total = 0;
        const float *cb = b->cb + i * ld;
        dd += ft_dot(b->dY + i * s->e, b->X + i * s->width, s->p);
        for (int64_t j = 0; j <= i; j++) {
            float ge = g[j] * l[j], flow = ge * cb[j]; /* of M_ij / dt_j */
            l[j] *= b->dt[j] * cb[j];                  /* M */
            dc[j] += ge * b->dt[j];
            b->ddt[j] += flow;
            total += flow * b->dt[j];
            b->ds[j] -= flow * b->dt[j]; /* its part of j = i cancels below */
        }
        b->ds[i] += total;
    }
    for (int64_t i = 0; i < q; i++)
        for (int64_t p = 0; p < s->p; p++) b->dX[i * s->width + p] = d * b->dY[i * s->e + p];
    for (int64_t j = 0; j < q; j += 16) /* rows i >= j only */
        ft_gemm(FT_MIN(16, q - j), s->p, q - j, b->m + j * ld + j, 1, ld, b->dY + j * s->e, s->e, b->dX + j * s->width, s->width,
                true);
    return dd;
}

/* The state H that enters: Y += exp(s_i) C_i H */
static void enters_bwd(backward *b, const float *state)
{
    const shape *s = &b->s;
    ft_transpose(state, s->p, s->n, s->p, b->ht, s->n);
    ft_gemm(b->q, s->n, s->p, b->dY, s->e, 1, b->ht, s->n, b->row, s->n, false); /* dY H^T */
    for (int64_t i = 0; i < b->q; i++) {
        b->es[i] = ft_exp1(b->cum[i]);
        b->ds[i] += b->es[i] * ft_dot(b->row + i * s->n, b->C + i * s->width, s->n);
        for (int64_t n = 0; n < s->n; n++) b->dC[i * s->width + n] += b->es[i] * b->row[i * s->n + n];
    }
}

/* The state that leaves: H' = keep H + sum_j w_j B_j X_j^T; gs: its gradient. state: H, or NULL for none */
static void leaves_bwd(backward *b, const float *state, float *gs)
{
    const shape *s = &b->s;
    float last = b->cum[b->q - 1], keep = ft_exp1(last);
    ft_gemm(b->q, s->p, s->n, b->B, s->width, 1, gs, s->p, b->wx, s->p, false); /* B dH' */
    ft_transpose(gs, s->p, s->n, s->p, b->ht, s->n);
    ft_gemm(b->q, s->n, s->p, b->X, s->width, 1, b->ht, s->n, b->row, s->n, false); /* X dH'^T */
    for (int64_t j = 0; j < b->q; j++) {
        float e = ft_exp1(last - b->cum[j]), w = e * b->dt[j], dw = ft_dot(b->wx + j * s->p, b->X + j * s->width, s->p);
        b->ddt[j] += dw * e;
        b->ds[b->q - 1] += dw * w;
        b->ds[j] -= dw * w;
        for (int64_t p = 0; p < s->p; p++) b->dX[j * s->width + p] += w * b->wx[j * s->p + p];
        for (int64_t n = 0; n < s->n; n++) b->dB[j * s->width + n] += w * b->row[j * s->n + n];
    }
    if (state) b->ds[b->q - 1] += keep * ft_dot(state, gs, s->np);
    for (int64_t i = 0; i < s->np; i++) gs[i] *= keep;
}

/* The gradient of the state before the chunk: + sum_i exp(s_i) C_i^T dY_i */
static void state_bwd(backward *b, float *gs)
{
    const shape *s = &b->s;
    for (int64_t i = 0; i < b->q; i++)
        for (int64_t n = 0; n < s->n; n++) b->row[i * s->n + n] = b->es[i] * b->C[i * s->width + n];
    ft_gemm(s->n, s->p, b->q, b->row, 1, s->n, b->dY, s->e, gs, s->p, true);
}

/* The steps: dt_u A enters every s_i with i >= u. to: gradients of dt_bias and, `heads` further, of A_log */
static void steps_bwd(backward *b, const ft_call *c, int64_t token, int64_t h, float bias, float a, float *to)
{
    const shape *s = &b->s;
    float tail = 0, da = 0, dbias = 0;
    for (int64_t i = b->q - 1; i >= 0; i--) {
        tail += b->ds[i];
        b->ddt[i] += a * tail;
        da += b->dt[i] * tail;
        float tmp, r = *ft_load(&tmp, c->in[1], (token + i) * s->heads + h, 1) + bias, dr = b->ddt[i] * ft_sigmoid1(r);
        dbias += dr;
        if (c->out[1]) ft_store_at(c->out[1], (token + i) * s->heads + h, &dr, 1);
    }
    to[0] += dbias;
    to[s->heads] += a * da; /* d/dA_log */
}

/* dC = dCB B, dB = dCB^T C */
static void products_bwd(backward *b)
{
    const shape *s = &b->s;
    int64_t ld = b->ld, q = b->q;
    for (int64_t i = 0; i < q; i += 16)
        ft_gemm(FT_MIN(16, q - i), s->n, FT_MIN(i + 16, q), b->dcb + i * ld, ld, 1, b->B, s->width, b->dC + i * s->width,
                s->width, true);
    for (int64_t j = 0; j < q; j += 16)
        ft_gemm(FT_MIN(16, q - j), s->n, q - j, b->dcb + j * ld + j, 1, ld, b->C + j * s->width, s->width, b->dB + j * s->width,
                s->width, true);
}

/* Chunk k of a sequence, all heads; sums: gradients of dt_bias, A_log, D (3, heads) */
static void chunk_bwd(backward *b, const ft_call *c, int64_t seq, int64_t k, float *sums)
{
    const shape *s = &b->s;
    const float *dt_bias = c->in[2]->data, *a_log = c->in[3]->data, *d = c->in[4]->data;
    int64_t t0 = k * s->chunk, token = seq * s->t + t0, all = s->heads * s->np;
    bool enters = k > 0 || c->in[5], leaves = k + 1 < s->chunks || c->in[7];
    b->q = FT_MIN(s->chunk, s->t - t0);
    b->v = ft_load(b->x, c->in[0], token * s->width, b->q * s->width);
    b->dy = ft_load(b->dyb, c->in[6], token * s->e, b->q * s->e);
    b->B = b->v + s->e, b->C = b->B + s->n, b->dB = b->dx + s->e, b->dC = b->dB + s->n;
    memset(b->dx, 0, (size_t)(b->q * s->width) * sizeof(float));
    memset(b->dcb, 0, (size_t)(b->ld * b->ld) * sizeof(float));
    inner_products(s, b->v, b->q, b->bt, b->cb, b->ld);
    for (int64_t h = 0; h < s->heads; h++) {
        float a = -ft_exp1(a_log[h]), *gs = b->ds_out + h * s->np;
        const float *state = enters ? b->before + k * all + h * s->np : NULL;
        b->X = b->v + h * s->p, b->dY = b->dy + h * s->p, b->dX = b->dx + h * s->p;
        decay(s, c->in[1], token, b->q, h, dt_bias[h], a, b->dt, b->cum);
        memset(b->ds, 0, (size_t)b->q * sizeof(float));
        memset(b->ddt, 0, (size_t)b->q * sizeof(float));
        sums[2 * s->heads + h] += inside_bwd(b, d[h]);
        if (enters) enters_bwd(b, state);
        if (leaves) leaves_bwd(b, state, gs);
        if (enters) state_bwd(b, gs);
        steps_bwd(b, c, token, h, dt_bias[h], a, sums + h);
    }
    products_bwd(b);
    if (c->out[0]) ft_store_at(c->out[0], token * s->width, b->dx, b->q * s->width);
}

/* in: xbc dt dt_bias a_log d state dy dfinal; out: dxbc ddt ddt_bias da_log dd dstate.
 * Chunks are visited from the last to the first with the gradient of the state that leaves them. */
void FT_CPU(ssd_bwd)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *dfinal = c->in[7] ? c->in[7]->data : NULL;
    int64_t all = s.heads * s.np;
    float *sums = (float *)c->work + ft_cpu_threads() * backward_floats(&s); /* (seqs, 3, heads): dt_bias, A_log, D */
#pragma omp parallel for schedule(dynamic) if (c->in[0]->count > FT_SMALL / 4)
    for (int64_t seq = 0; seq < s.seqs; seq++) {
        backward b = backward_room(&s, (float *)c->work + ft_cpu_thread_id() * backward_floats(&s));
        float *to = sums + seq * 3 * s.heads;
        memset(to, 0, (size_t)(3 * s.heads) * sizeof(float));
        if (s.carries || dfinal) {
            if (dfinal) memcpy(b.ds_out, dfinal + seq * all, (size_t)all * sizeof(float));
            else memset(b.ds_out, 0, (size_t)all * sizeof(float));
            states_before(&b, c, seq);
        }
        for (int64_t k = s.chunks - 1; k >= 0; k--) chunk_bwd(&b, c, seq, k, to);
        if (c->out[5]) memcpy((float *)c->out[5]->data + seq * all, b.ds_out, (size_t)all * sizeof(float));
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
