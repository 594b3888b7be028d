/* Bidirectional WKV (Vision-RWKV, Duan et al. 2024), exact: each channel is its own recurrence.
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
    float a[LANES], b[LANES], o[LANES]; /* sums of e^{..} v and e^{..}, and their common exponent */
    float da[LANES], db[LANES];         /* their derivatives by w */
} sums;

static void clear(sums *x)
{
    memset(x, 0, sizeof *x);
    for (int i = 0; i < LANES; i++) x->o[i] = never;
}

/* absorbs token (k, v): of the two factors, of the old sum and of the new token, one is 1, so one exp is enough */
static void factors(const float *restrict o, const float *restrict k, const float *restrict w, float *restrict old,
                    float *restrict new)
{
    float d[LANES];
    for (int i = 0; i < LANES; i++) {
        d[i] = o[i] - w[i] - k[i];
        old[i] = -fabsf(d[i]);
    }
    ft_exp_row(old, LANES);
    for (int i = 0; i < LANES; i++) {
        float e = old[i];
        old[i] = d[i] > 0 ? 1.0f : e;
        new[i] = d[i] > 0 ? e : 1.0f;
    }
}

static void absorb(sums *restrict x, const float *restrict k, const float *restrict v, const float *restrict w)
{
    float old[LANES], new[LANES];
    factors(x->o, k, w, old, new);
    for (int i = 0; i < LANES; i++) {
        float o = x->o[i] - w[i];
        x->a[i] = old[i] * x->a[i] + new[i] * v[i];
        x->b[i] = old[i] * x->b[i] + new[i];
        x->o[i] = FT_MAX(o, k[i]);
    }
}

static void absorb_d(sums *restrict x, const float *restrict k, const float *restrict v, const float *restrict w)
{
    float old[LANES], new[LANES];
    factors(x->o, k, w, old, new);
    for (int i = 0; i < LANES; i++) {
        float o = x->o[i] - w[i];
        x->da[i] = old[i] * (x->da[i] - x->a[i]);
        x->db[i] = old[i] * (x->db[i] - x->b[i]);
        x->a[i] = old[i] * x->a[i] + new[i] * v[i];
        x->b[i] = old[i] * x->b[i] + new[i];
        x->o[i] = FT_MAX(o, k[i]);
    }
}

/* e^{o1-m}, e^{o2-m}, e^{u+k-m} with m the largest of the three exponents */
static void weigh(const float *restrict o1, const float *restrict o2, const float *restrict u, const float *restrict k,
                  float *restrict e, float *restrict m)
{
    for (int i = 0; i < LANES; i++) {
        float self = u[i] + k[i], top = FT_MAX(FT_MAX(o1[i], o2[i]), self);
        e[i] = o1[i] - top;
        e[LANES + i] = o2[i] - top;
        e[2 * LANES + i] = self - top;
        m[i] = top;
    }
    ft_exp_row(e, 3 * LANES);
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
            const float *a2 = ra + t * LANES, *b2 = rb + t * LANES;
            float y[LANES], e[3 * LANES], m[LANES];
            weigh(x.o, ro + t * LANES, u, kt, e, m);
            for (int i = 0; i < LANES; i++)
                y[i] = (e[i] * x.a[i] + e[LANES + i] * a2[i] + e[2 * LANES + i] * vt[i]) /
                       (e[i] * x.b[i] + e[LANES + i] * b2[i] + e[2 * LANES + i]);
            ft_store_at(c->out[0], token(&s, q, t) + c0, y, n);
            absorb(&x, kt, vt, w);
        }
    }
}

/* One direction of the sums that reach k and v: at token t first dv += e^{k+o} p, dk += e^{k+o} (v p - q), then (p, q) absorb
 * P_t = g_t / z_t and P_t y_t with exponent -m_t. k + o <= 0 always. */
static void spread(const shape *s, bool forward, const float *k, const float *v, const float *w, const float *big_p,
                   const float *y, const float *m, float *dk, float *dv)
{
    float p[LANES] = {0}, q[LANES] = {0}, o[LANES];
    for (int i = 0; i < LANES; i++) o[i] = never;
    for (int64_t step = 0; step < s->t; step++) {
        int64_t at = (forward ? step : s->t - 1 - step) * LANES;
        const float *restrict kt = k + at, *restrict vt = v + at, *restrict pt = big_p + at, *restrict yt = y + at,
                              *restrict mt = m + at;
        float *restrict dkt = dk + at, *restrict dvt = dv + at, e[LANES], minus[LANES], old[LANES], new[LANES];
        for (int i = 0; i < LANES; i++) e[i] = kt[i] + o[i], minus[i] = -mt[i];
        ft_exp_row(e, LANES); /* 0 while nothing was absorbed */
        factors(o, minus, w, old, new);
        for (int i = 0; i < LANES; i++) {
            dvt[i] += e[i] * p[i];
            dkt[i] += e[i] * (vt[i] * p[i] - q[i]);
            p[i] = old[i] * p[i] + new[i] * pt[i];
            q[i] = old[i] * q[i] + new[i] * pt[i] * yt[i];
            o[i] = FT_MAX(o[i] - w[i], minus[i]);
        }
    }
}

/* y, P = g / z and the gradients that stay at the token itself, or belong to w and u */
static void combine(const sums *restrict x, const float *restrict e, const float *restrict v, const float *restrict g,
                    const float *restrict a2, const float *restrict b2, const float *restrict da2, const float *restrict db2,
                    float *restrict y, float *restrict p, float *restrict dk, float *restrict dv, float *restrict du,
                    float *restrict dw)
{
    for (int i = 0; i < LANES; i++) {
        float e1 = e[i], e2 = e[LANES + i], e3 = e[2 * LANES + i], z = e1 * x->b[i] + e2 * b2[i] + e3;
        y[i] = (e1 * x->a[i] + e2 * a2[i] + e3 * v[i]) / z;
        p[i] = g[i] / z;
        dv[i] = p[i] * e3;
        dk[i] = dv[i] * (v[i] - y[i]);
        du[i] += dk[i];
        dw[i] += p[i] * (e1 * (x->da[i] - y[i] * x->db[i]) + e2 * (da2[i] - y[i] * db2[i]));
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
        float *k = (float *)c->work + ft_cpu_thread_id() * backward_floats(&s), *v = k + tl, *ra = v + tl, *rb = ra + tl,
              *ro = rb + tl, *rda = ro + tl, *rdb = rda + tl, *y = rdb + tl, *m = y + tl, *big_p = m + tl, *dk = big_p + tl,
              *dv = dk + tl;
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
            const float *vt = v + at, *a2 = ra + at, *b2 = rb + at, *da2 = rda + at, *db2 = rdb + at;
            float e[3 * LANES], *yt = y + at, *pt = big_p + at, *dkt = dk + at, *dvt = dv + at;
            load(g, c->in[4], token(&s, q, t) + c0, n);
            weigh(x.o, ro + at, u, k + at, e, m + at);
            combine(&x, e, vt, g, a2, b2, da2, db2, yt, pt, dkt, dvt, du, dw);
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
