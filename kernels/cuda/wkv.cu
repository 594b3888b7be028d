/* Bidirectional WKV, exact (Vision-RWKV, Duan et al. 2024): each channel is its own recurrence; a thread owns one, its sums are
 * in registers. y_t = S_t / Q_t,  S_t = e^{u+k_t} v_t + sum_{i != t} e^{k_i - w(|t-i|-1)} v_i,  Q_t the same with v = 1.
 *
 * A sum over one side is kept as (value, exponent): true = value e^o, so nothing overflows for any k, w, u. The scan from the
 * right is stored, that from the left is used as it runs. The order of tokens is an index: columns or frames are scanned in
 * place. */
#include "kernels/cuda/cuda.cuh"

enum { THREADS = 64 }; /* of a block: few channels make few threads, which the whole device should share */

struct order { /* tensor (B, T, inner, C): seqs = B * inner; a grid of rows by columns is visited column by column */
    int64_t seqs, t, inner, c, all, step; /* step: between tokens */
    unsigned rows, columns;
};

static order order_of(const ft_call *c)
{
    const ft_buf *k = c->in[0];
    order s;
    s.t = k->dim[1], s.inner = k->ndim == 4 ? k->dim[2] : 1, s.c = k->dim[k->ndim - 1], s.seqs = k->dim[0] * s.inner,
    s.all = k->count, s.step = s.inner * s.c, s.columns = (unsigned)c->attr->seq.columns,
    s.rows = s.columns ? (unsigned)s.t / s.columns : 0;
    return s;
}

/* the channel of a sequence at its first token, and how far the n-th visited one is */
FT_DEV int64_t begin_of(const order &s, int64_t q, int64_t c) { return (q / s.inner * s.t * s.inner + q % s.inner) * s.c + c; }
FT_DEV int64_t along(const order &s, int n)
{
    return s.step * (s.columns ? (int)((unsigned)n % s.rows * s.columns + (unsigned)n / s.rows) : n);
}

struct side {
    float a, b, o, da, db; /* sums of e^{..} v and e^{..}, their common exponent, their derivatives by w */
};
FT_DEV side empty_side(void)
{
    side x = {0, 0, -1e38f, 0, 0};
    return x;
}

/* of the two factors, of the old sum and of the new token, one is 1, so one exp is enough */
FT_DEV void factors(float o, float k, float w, float *old, float *fresh)
{
    float d = o - w - k, e = ft_exp1(-fabsf(d));
    *old = d > 0 ? 1.0f : e;
    *fresh = d > 0 ? e : 1.0f;
}
FT_DEV void absorb(side *x, float k, float v, float w)
{
    float old, fresh, o = x->o - w;
    factors(x->o, k, w, &old, &fresh);
    x->da = old * (x->da - x->a);
    x->db = old * (x->db - x->b);
    x->a = old * x->a + fresh * v;
    x->b = old * x->b + fresh;
    x->o = o > k ? o : k;
}
/* e^{o1-m}, e^{o2-m}, e^{u+k-m} with m the largest of the three exponents */
FT_DEV float weigh(float o1, float o2, float u, float k, float e[3])
{
    float self = u + k, top = o1 > o2 ? o1 : o2;
    top = top > self ? top : self;
    e[0] = ft_exp1(o1 - top), e[1] = ft_exp1(o2 - top), e[2] = ft_exp1(self - top);
    return top;
}

/* right: (3, all) f32 */
template <typename T>
static __global__ void wkv(T *y, float *right, const T *k, const T *v, const float *w, const float *u, order s)
{
    FT_EACH(task, s.seqs * s.c)
    {
        int64_t q = task / s.c, c = task % s.c, begin = begin_of(s, q, c);
        int tokens = (int)s.t;
        float ww = w[c], uu = u[c], e[3];
        side x = empty_side();
        for (int t = tokens - 1; t >= 0; t--) {
            int64_t at = begin + along(s, t);
            right[at] = x.a, right[s.all + at] = x.b, right[2 * s.all + at] = x.o;
            absorb(&x, ft_get(k + at), ft_get(v + at), ww);
        }
        x = empty_side();
        for (int t = 0; t < tokens; t++) {
            int64_t at = begin + along(s, t);
            float kt = ft_get(k + at), vt = ft_get(v + at);
            weigh(x.o, right[2 * s.all + at], uu, kt, e);
            ft_put(y + at, (e[0] * x.a + e[1] * right[at] + e[2] * vt) / (e[0] * x.b + e[1] * right[s.all + at] + e[2]));
            absorb(&x, kt, vt, ww);
        }
    }
}

extern "C" int ft_cuda_prepare_wkv(ft_call *c)
{
    c->work_size = (size_t)(3 * c->in[0]->count) * sizeof(float);
    return FT_OK;
}

extern "C" void ft_cuda_wkv(const ft_call *c)
{
    order s = order_of(c);
    FT_BY_TYPE(c->in[0]->dtype,
               FT_LAUNCH((wkv<T>), ft_blocks(s.seqs * s.c, THREADS), THREADS, 0, ft_cuda_stream, ft_as<T>(c->out[0]),
                         (float *)c->work, ft_as<const T>(c->in[0]), ft_as<const T>(c->in[1]), ft_as<const float>(c->in[2]),
                         ft_as<const float>(c->in[3]), s));
}

/* One direction of the sums that reach k and v: at token t first dv += e^{k+o} p, dk += e^{k+o} (v p - q), then (p, q) absorb
 * P_t = g_t / z_t and P_t y_t with exponent -m_t. k + o <= 0 always. */
struct spread {
    float p, q, o;
};
FT_DEV void reach(const spread &x, float k, float v, float *dk, float *dv)
{
    float e = ft_exp1(k + x.o); /* 0 while nothing was absorbed */
    *dv += e * x.p;
    *dk += e * (v * x.p - x.q);
}
FT_DEV void take(spread *x, float m, float w, float p, float y)
{
    float old, fresh, o = x->o - w;
    factors(x->o, -m, w, &old, &fresh);
    x->p = old * x->p + fresh * p;
    x->q = old * x->q + fresh * p * y;
    x->o = o > -m ? o : -m;
}

/* kept (5, all): a, b, o, da, db of the right side, of which a, b, o become P, y, m and da, db the gradients from the left;
 * part (seqs, 2, c): dw, du */
template <typename T>
static __global__ void wkv_bwd(T *dk, T *dv, float *part, float *kept, const T *k, const T *v, const float *w, const float *u,
                               const T *dy, order s)
{
    FT_EACH(task, s.seqs * s.c)
    {
        int64_t q = task / s.c, c = task % s.c, begin = begin_of(s, q, c);
        int tokens = (int)s.t;
        float ww = w[c], uu = u[c], e[3], dw = 0, du = 0;
        float *r0 = kept, *r1 = r0 + s.all, *r2 = r1 + s.all, *r3 = r2 + s.all, *r4 = r3 + s.all;
        side x = empty_side();
        for (int t = tokens - 1; t >= 0; t--) {
            int64_t at = begin + along(s, t);
            r0[at] = x.a, r1[at] = x.b, r2[at] = x.o, r3[at] = x.da, r4[at] = x.db;
            absorb(&x, ft_get(k + at), ft_get(v + at), ww);
        }
        x = empty_side();
        spread left = {0, 0, -1e38f};
        for (int t = 0; t < tokens; t++) {
            int64_t at = begin + along(s, t);
            float kt = ft_get(k + at), vt = ft_get(v + at), m = weigh(x.o, r2[at], uu, kt, e);
            float z = e[0] * x.b + e[1] * r1[at] + e[2], y = (e[0] * x.a + e[1] * r0[at] + e[2] * vt) / z,
                  p = ft_get(dy + at) / z;
            float dvt = p * e[2], dkt = dvt * (vt - y);
            du += dkt;
            dw += p * (e[0] * (x.da - y * x.db) + e[1] * (r3[at] - y * r4[at]));
            absorb(&x, kt, vt, ww);
            reach(left, kt, vt, &dkt, &dvt);
            take(&left, m, ww, p, y);
            r0[at] = p, r1[at] = y, r2[at] = m, r3[at] = dkt, r4[at] = dvt;
        }
        spread right = {0, 0, -1e38f};
        for (int t = tokens - 1; t >= 0; t--) {
            int64_t at = begin + along(s, t);
            float kt = ft_get(k + at), vt = ft_get(v + at), dkt = r3[at], dvt = r4[at];
            reach(right, kt, vt, &dkt, &dvt);
            take(&right, r2[at], ww, r0[at], r1[at]);
            if (dk) ft_put(dk + at, dkt);
            if (dv) ft_put(dv + at, dvt);
        }
        part[q * 2 * s.c + c] = dw;
        part[(q * 2 + 1) * s.c + c] = du;
    }
}

extern "C" int ft_cuda_prepare_wkv_bwd(ft_call *c)
{
    order s = order_of(c);
    c->work_size = (size_t)(5 * s.all + 2 * s.seqs * s.c) * sizeof(float);
    return FT_OK;
}

/* in: k v w u dy; out: dk dv dw du */
extern "C" void ft_cuda_wkv_bwd(const ft_call *c)
{
    order s = order_of(c);
    float *kept = (float *)c->work, *part = kept + 5 * s.all;
    FT_BY_TYPE(c->in[0]->dtype,
               FT_LAUNCH((wkv_bwd<T>), ft_blocks(s.seqs * s.c, THREADS), THREADS, 0, ft_cuda_stream, ft_as<T>(c->out[0]),
                         ft_as<T>(c->out[1]), part, kept, ft_as<const T>(c->in[0]), ft_as<const T>(c->in[1]),
                         ft_as<const float>(c->in[2]), ft_as<const float>(c->in[3]), ft_as<const T>(c->in[4]), s));
    ft_sum_part sum[2];
    for (int q = 0; q < 2; q++) sum[q] = {ft_as<float>(c->out[2 + q]), part + q * s.c, 1, s.seqs, 2 * s.c, s.c};
    ft_cuda_sum_rows_of(2, sum);
}
