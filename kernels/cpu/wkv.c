/* Bidirectional WKV, exact (spec feat 2): each channel is its own recurrence.
 *   y_t = S_t / Q_t,  S_t = e^{u+k_t} v_t + sum_{i != t} e^{k_i - w(|t-i|-1)} v_i,  Q_t the same with v = 1.
 *
 * A sum over one side is kept as (value, exponent): true = value e^o, so nothing overflows for any k, w, u. Two scans meet in the
 * middle: the one from the right is stored, the one from the left is used as it runs. A task is one sequence and LANES channels;
 * the loop over channels is the vector. The order of tokens is an index, so columns or frames are scanned without a copy. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

enum { LANES = 32 };
static const float never = -1e38f; /* the exponent of an empty sum */

typedef struct {
    int64_t seqs, t, inner, c, columns; /* tensor (B, T, inner, C): seqs = B * inner */
    int64_t blocks;
} shape;

static shape shape_of(const ft_call *c)
{
    const ft_buf *k = c->in[0];
    shape s = {0, k->dim[1], k->ndim == 4 ? k->dim[2] : 1, ft_last(k), c->attr->seq.columns, 0};
    s.seqs = k->dim[0] * s.inner;
    s.blocks = (s.c + LANES - 1) / LANES;
    return s;
}

/* first element of the n-th visited token of sequence q */
static int64_t token(const shape *s, int64_t q, int64_t n)
{
    if (s->columns) n = n % (s->t / s->columns) * s->columns + n / (s->t / s->columns);
    return ((q / s->inner * s->t + n) * s->inner + q % s->inner) * s->c;
}

typedef struct {
    float a[LANES], b[LANES], o[LANES];   /* sums of e^{..} v and e^{..}, and their common exponent */
    float da[LANES], db[LANES];           /* their derivatives by w */
} sums;

static void clear(sums *x)
{
    memset(x, 0, sizeof *x);
    for (int i = 0; i < LANES; i++) x->o[i] = never;
}

/* absorbs token (k, v): one of the two factors is 1, so one exp is enough */
static inline void absorb(sums *x, const float *k, const float *v, const float *w)
{
    for (int i = 0; i < LANES; i++) {
        float o = x->o[i] - w[i], d = o - k[i], e = ft_exp1(-fabsf(d)), s = d > 0 ? 1.0f : e, r = d > 0 ? e : 1.0f;
        x->a[i] = s * x->a[i] + r * v[i];
        x->b[i] = s * x->b[i] + r;
        x->o[i] = FT_MAX(o, k[i]);
    }
}

static inline void absorb_d(sums *x, const float *k, const float *v, const float *w)
{
    for (int i = 0; i < LANES; i++) {
        float o = x->o[i] - w[i], d = o - k[i], e = ft_exp1(-fabsf(d)), s = d > 0 ? 1.0f : e, r = d > 0 ? e : 1.0f;
        x->da[i] = s * (x->da[i] - x->a[i]);
        x->db[i] = s * (x->db[i] - x->b[i]);
        x->a[i] = s * x->a[i] + r * v[i];
        x->b[i] = s * x->b[i] + r;
        x->o[i] = FT_MAX(o, k[i]);
    }
}

/* LANES channels of one token as f32, zeros behind the last channel */
static void load(float *to, const ft_buf *b, int64_t at, int64_t n)
{
    const float *v = ft_load(to, b, at, n);
    if (v != to) memcpy(to, v, (size_t)n * sizeof(float));
    for (int64_t i = n; i < LANES; i++) to[i] = 0;
}

static void load_all(const shape *s, float *to, const ft_buf *b, int64_t q, int64_t c0, int64_t n)
{
    for (int64_t t = 0; t < s->t; t++) load(to + t * LANES, b, token(s, q, t) + c0, n);
}

static int64_t forward_floats(const shape *s) { return 5 * s->t * LANES + 64; }
static int64_t backward_floats(const shape *s) { return 12 * s->t * LANES + 64; }

int FT_PREPARE(wkv)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * forward_floats(&s)) * sizeof(float);
    return FT_OK;
}
int FT_PREPARE(wkv_bwd)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * backward_floats(&s) + s.seqs * 2 * s.blocks * LANES) * sizeof(float);
    return FT_OK;
}

void FT_CPU(wkv)(const ft_call *c)
{
    shape s = shape_of(c);
#pragma omp parallel for schedule(dynamic) if (c->in[0]->count > FT_SMALL / 8)
    for (int64_t task = 0; task < s.seqs * s.blocks; task++) {
        int64_t q = task / s.blocks, c0 = task % s.blocks * LANES, n = FT_MIN(LANES, s.c - c0);
        float *k = (float *)c->work + ft_cpu_thread_id() * forward_floats(&s), *v = k + s.t * LANES, *ra = v + s.t * LANES,
              *rb = ra + s.t * LANES, *ro = rb + s.t * LANES, w[LANES], u[LANES];
        load(w, c->in[2], c0, n);
        load(u, c->in[3], c0, n);
        load_all(&s, k, c->in[0], q, c0, n);
        load_all(&s, v, c->in[1], q, c0, n);
        sums x;
        clear(&x);
        for (int64_t t = s.t - 1; t >= 0; t--) {
            memcpy(ra + t * LANES, x.a, sizeof x.a);
            memcpy(rb + t * LANES, x.b, sizeof x.b);
            memcpy(ro + t * LANES, x.o, sizeof x.o);
            absorb(&x, k + t * LANES, v + t * LANES, w);
        }
        clear(&x);
        for (int64_t t = 0; t < s.t; t++) {
            const float *kt = k + t * LANES, *vt = v + t * LANES;
            float y[LANES];
            for (int i = 0; i < LANES; i++) {
                float o2 = ro[t * LANES + i], self = u[i] + kt[i], m = FT_MAX(FT_MAX(x.o[i], o2), self);
                float e1 = ft_exp1(x.o[i] - m), e2 = ft_exp1(o2 - m), e3 = ft_exp1(self - m);
                y[i] = (e1 * x.a[i] + e2 * ra[t * LANES + i] + e3 * vt[i]) / (e1 * x.b[i] + e2 * rb[t * LANES + i] + e3);
            }
            ft_store_at(c->out[0], token(&s, q, t) + c0, y, n);
            absorb(&x, kt, vt, w);
        }
    }
}

/* One direction of the sums that reach k and v: at token t first dv += e^{k+o} p, dk += e^{k+o} (v p - q), then (p, q) absorb
 * P_t = g_t / z_t and P_t y_t with exponent -m_t. k + o <= 0 always. */
static void spread(const shape *s, bool forward, const float *k, const float *v, const float *w, const float *big_p, const float *y,
                   const float *m, float *dk, float *dv)
{
    float p[LANES] = {0}, q[LANES] = {0}, o[LANES];
    for (int i = 0; i < LANES; i++) o[i] = never;
    for (int64_t step = 0; step < s->t; step++) {
        int64_t at = (forward ? step : s->t - 1 - step) * LANES;
        for (int i = 0; i < LANES; i++) {
            float e = ft_exp1(k[at + i] + o[i]); /* 0 while nothing was absorbed */
            dv[at + i] += e * p[i];
            dk[at + i] += e * (v[at + i] * p[i] - q[i]);
            float oo = o[i] - w[i], d = oo + m[at + i], f = ft_exp1(-fabsf(d)), keep = d > 0 ? 1.0f : f, r = d > 0 ? f : 1.0f;
            p[i] = keep * p[i] + r * big_p[at + i];
            q[i] = keep * q[i] + r * big_p[at + i] * y[at + i];
            o[i] = FT_MAX(oo, -m[at + i]);
        }
    }
}

/* in: k v w u dy; out: dk dv dw du */
void FT_CPU(wkv_bwd)(const ft_call *c)
{
    shape s = shape_of(c);
    int64_t wide = s.blocks * LANES;
    float *partial = (float *)c->work + ft_cpu_threads() * backward_floats(&s); /* (seqs, 2, wide): dw, du */
#pragma omp parallel for schedule(dynamic) if (c->in[0]->count > FT_SMALL / 8)
    for (int64_t task = 0; task < s.seqs * s.blocks; task++) {
        int64_t q = task / s.blocks, c0 = task % s.blocks * LANES, n = FT_MIN(LANES, s.c - c0), tl = s.t * LANES;
        float *k = (float *)c->work + ft_cpu_thread_id() * backward_floats(&s), *v = k + tl, *ra = v + tl, *rb = ra + tl, *ro = rb + tl,
              *rda = ro + tl, *rdb = rda + tl, *y = rdb + tl, *m = y + tl, *big_p = m + tl, *dk = big_p + tl, *dv = dk + tl;
        float w[LANES], u[LANES], dw[LANES] = {0}, du[LANES] = {0}, g[LANES];
        load(w, c->in[2], c0, n);
        load(u, c->in[3], c0, n);
        load_all(&s, k, c->in[0], q, c0, n);
        load_all(&s, v, c->in[1], q, c0, n);
        sums x;
        clear(&x);
        for (int64_t t = s.t - 1; t >= 0; t--) {
            memcpy(ra + t * LANES, x.a, sizeof x.a);
            memcpy(rb + t * LANES, x.b, sizeof x.b);
            memcpy(ro + t * LANES, x.o, sizeof x.o);
            memcpy(rda + t * LANES, x.da, sizeof x.da);
            memcpy(rdb + t * LANES, x.db, sizeof x.db);
            absorb_d(&x, k + t * LANES, v + t * LANES, w);
        }
        clear(&x);
        for (int64_t t = 0; t < s.t; t++) {
            int64_t at = t * LANES;
            load(g, c->in[4], token(&s, q, t) + c0, n);
            for (int i = 0; i < LANES; i++) {
                float o2 = ro[at + i], self = u[i] + k[at + i], top = FT_MAX(FT_MAX(x.o[i], o2), self);
                float e1 = ft_exp1(x.o[i] - top), e2 = ft_exp1(o2 - top), e3 = ft_exp1(self - top);
                float z = e1 * x.b[i] + e2 * rb[at + i] + e3, yy = (e1 * x.a[i] + e2 * ra[at + i] + e3 * v[at + i]) / z, p = g[i] / z;
                y[at + i] = yy;
                m[at + i] = top;
                big_p[at + i] = p;
                dk[at + i] = p * e3 * (v[at + i] - yy);
                dv[at + i] = p * e3;
                du[i] += p * e3 * (v[at + i] - yy);
                dw[i] += p * (e1 * (x.da[i] - yy * x.db[i]) + e2 * (rda[at + i] - yy * rdb[at + i]));
            }
            absorb_d(&x, k + at, v + at, w);
        }
        spread(&s, true, k, v, w, big_p, y, m, dk, dv);
        spread(&s, false, k, v, w, big_p, y, m, dk, dv);
        for (int64_t t = 0; t < s.t; t++) {
            if (c->out[0]) ft_store_at(c->out[0], token(&s, q, t) + c0, dk + t * LANES, n);
            if (c->out[1]) ft_store_at(c->out[1], token(&s, q, t) + c0, dv + t * LANES, n);
        }
        memcpy(partial + (q * 2) * wide + c0, dw, sizeof dw);
        memcpy(partial + (q * 2 + 1) * wide + c0, du, sizeof du);
    }
    for (int which = 0; which < 2; which++) {
        if (!c->out[2 + which]) continue;
        float *out = c->out[2 + which]->data;
        for (int64_t i = 0; i < s.c; i++) {
            double total = 0;
            for (int64_t q = 0; q < s.seqs; q++) total += (double)partial[(q * 2 + which) * wide + i];
            out[i] = (float)total;
        }
    }
}
