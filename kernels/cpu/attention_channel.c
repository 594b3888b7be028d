/* Channel attention (Restormer's MDTA): channels attend to channels, tokens are summed over.
 *
 * qkv (S, T, 3C) packed; per sequence and head with p = C / heads channels:
 *   raw[k][q] = sum_t k_t q_t / (|k| |q|),  A = softmax over k of theta * raw,  y_t[q] = sum_k A[k][q] v_t[k].
 * Everything is kept transposed (key channel first): then no operand of the products needs turning over in the forward pass. */
#include "common/base/status.h"
#include "kernels/cpu/gemm.h"

typedef struct {
    int64_t seqs, t, c, heads, p, wide;
} shape;

static shape shape_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    shape s = {x->dim[0], x->dim[1], x->dim[2] / 3, c->attr->sdpa.heads, 0, 0};
    s.p = s.c / s.heads;
    s.wide = (s.p + 15) / 16 * 16;
    return s;
}

/* per thread: q, k, v, y/dy, dq, dk (t, wide); four (p, wide) matrices; norms */
static int64_t thread_floats(const shape *s) { return 6 * s->t * s->wide + 4 * s->wide * s->wide + 4 * s->wide + 64; }

int FT_PREPARE(attention_channel)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * thread_floats(&s)) * sizeof(float);
    return FT_OK;
}
int FT_PREPARE(attention_channel_bwd)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * thread_floats(&s) + s.seqs * s.heads) * sizeof(float);
    return FT_OK;
}

static void load(const shape *s, const ft_buf *x, int which, int64_t seq, int64_t h, float *to)
{
    memset(to, 0, (size_t)(s->t * s->wide) * sizeof(float));
    ft_load_rows(to, s->wide, x, seq * s->t * 3 * s->c + which * s->c + h * s->p, 3 * s->c, s->t, s->p);
}

/* columns of x (t, wide) to unit length; inverse lengths out */
static void normalise(const shape *s, float *x, float *inverse)
{
    memset(inverse, 0, (size_t)s->wide * sizeof(float));
    for (int64_t t = 0; t < s->t; t++)
        for (int64_t i = 0; i < s->wide; i++) inverse[i] += x[t * s->wide + i] * x[t * s->wide + i];
    for (int64_t i = 0; i < s->wide; i++) inverse[i] = 1.0f / (inverse[i] < 1e-24f ? 1e-12f : sqrtf(inverse[i]));
    for (int64_t t = 0; t < s->t; t++)
        for (int64_t i = 0; i < s->wide; i++) x[t * s->wide + i] *= inverse[i];
}

void FT_CPU(attention_channel)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *theta = c->in[1]->data;
    float *prob = c->out[1]->data;
#pragma omp parallel for if (c->in[0]->count > FT_SMALL)
    for (int64_t task = 0; task < s.seqs * s.heads; task++) {
        int64_t seq = task / s.heads, h = task % s.heads;
        float *q = (float *)c->work + ft_cpu_thread_id() * thread_floats(&s), *k = q + s.t * s.wide, *v = k + s.t * s.wide,
              *y = v + s.t * s.wide, *a = q + 6 * s.t * s.wide, *inverse = a + 4 * s.wide * s.wide, *top = inverse + s.wide,
              *total = top + s.wide;
        load(&s, c->in[0], 0, seq, h, q);
        load(&s, c->in[0], 1, seq, h, k);
        load(&s, c->in[0], 2, seq, h, v);
        normalise(&s, q, inverse);
        normalise(&s, k, inverse);
        ft_gemm(s.p, s.wide, s.t, k, 1, s.wide, q, s.wide, a, s.wide, false);
        for (int64_t i = 0; i < s.wide; i++) top[i] = -INFINITY, total[i] = 0;
        for (int64_t r = 0; r < s.p; r++)
            for (int64_t i = 0; i < s.wide; i++) {
                a[r * s.wide + i] *= theta[h];
                top[i] = FT_MAX(top[i], a[r * s.wide + i]);
            }
        for (int64_t r = 0; r < s.p; r++)
            for (int64_t i = 0; i < s.wide; i++) total[i] += a[r * s.wide + i] = ft_exp1(a[r * s.wide + i] - top[i]);
        for (int64_t r = 0; r < s.p; r++) {
            for (int64_t i = 0; i < s.wide; i++) a[r * s.wide + i] /= total[i];
            memcpy(prob + (task * s.p + r) * s.p, a + r * s.wide, (size_t)s.p * sizeof(float));
        }
        ft_gemm(s.t, s.wide, s.p, v, s.wide, 1, a, s.wide, y, s.wide, false);
        ft_store_rows(c->out[0], seq * s.t * s.c + h * s.p, s.c, y, s.wide, s.t, s.p);
    }
}

/* d of the unit columns to d of the columns: (d - u (u . d)) / length */
static void normalise_bwd(const shape *s, const float *unit, const float *inverse, float *d)
{
    float along[1024] = {0};
    for (int64_t t = 0; t < s->t; t++)
        for (int64_t i = 0; i < s->wide; i++) along[i] += unit[t * s->wide + i] * d[t * s->wide + i];
    for (int64_t t = 0; t < s->t; t++)
        for (int64_t i = 0; i < s->wide; i++)
            d[t * s->wide + i] = (d[t * s->wide + i] - unit[t * s->wide + i] * along[i]) * inverse[i];
}

/* in: qkv theta prob dy; out: dqkv dtheta */
void FT_CPU(attention_channel_bwd)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *theta = c->in[1]->data, *prob = c->in[2]->data;
    float *dtheta = (float *)c->work + ft_cpu_threads() * thread_floats(&s);
#pragma omp parallel for if (c->in[0]->count > FT_SMALL)
    for (int64_t task = 0; task < s.seqs * s.heads; task++) {
        int64_t seq = task / s.heads, h = task % s.heads;
        float *q = (float *)c->work + ft_cpu_thread_id() * thread_floats(&s), *k = q + s.t * s.wide, *v = k + s.t * s.wide,
              *dy = v + s.t * s.wide, *dq = dy + s.t * s.wide, *dk = dq + s.t * s.wide, *a = q + 6 * s.t * s.wide,
              *turned = a + s.wide * s.wide, *d = turned + s.wide * s.wide, *raw = d + s.wide * s.wide,
              *iq = raw + s.wide * s.wide, *ik = iq + s.wide, *inner = ik + s.wide;
        load(&s, c->in[0], 0, seq, h, q);
        load(&s, c->in[0], 1, seq, h, k);
        load(&s, c->in[0], 2, seq, h, v);
        memset(dy, 0, (size_t)(s.t * s.wide) * sizeof(float));
        ft_load_rows(dy, s.wide, c->in[3], seq * s.t * s.c + h * s.p, s.c, s.t, s.p);
        normalise(&s, q, iq);
        normalise(&s, k, ik);
        memset(a, 0, (size_t)(s.wide * s.wide) * sizeof(float));
        for (int64_t r = 0; r < s.p; r++) memcpy(a + r * s.wide, prob + (task * s.p + r) * s.p, (size_t)s.p * sizeof(float));
        ft_gemm(s.p, s.wide, s.t, v, 1, s.wide, dy, s.wide, d, s.wide, false); /* dA */
        ft_transpose(a, s.wide, s.wide, s.wide, turned, s.wide);
        ft_gemm(s.t, s.wide, s.p, dy, s.wide, 1, turned, s.wide, dq, s.wide, false); /* dv */
        if (c->out[0]) ft_store_rows(c->out[0], seq * s.t * 3 * s.c + 2 * s.c + h * s.p, 3 * s.c, dq, s.wide, s.t, s.p);
        memset(inner, 0, (size_t)s.wide * sizeof(float));
        for (int64_t r = 0; r < s.p; r++)
            for (int64_t i = 0; i < s.wide; i++) inner[i] += a[r * s.wide + i] * d[r * s.wide + i];
        for (int64_t r = 0; r < s.p; r++)
            for (int64_t i = 0; i < s.wide; i++) d[r * s.wide + i] = a[r * s.wide + i] * (d[r * s.wide + i] - inner[i]);
        ft_gemm(s.p, s.wide, s.t, k, 1, s.wide, q, s.wide, raw, s.wide, false);
        float dt = 0;
        for (int64_t r = 0; r < s.p; r++) dt += ft_dot(d + r * s.wide, raw + r * s.wide, s.p);
        dtheta[task] = dt;
        if (!c->out[0]) continue;
        for (int64_t r = 0; r < s.p; r++)
            for (int64_t i = 0; i < s.wide; i++) d[r * s.wide + i] *= theta[h];
        memset(d + s.p * s.wide, 0, (size_t)((s.wide - s.p) * s.wide) * sizeof(float));
        ft_gemm(s.t, s.wide, s.p, k, s.wide, 1, d, s.wide, dq, s.wide, false);
        ft_transpose(d, s.wide, s.wide, s.wide, turned, s.wide);
        ft_gemm(s.t, s.wide, s.p, q, s.wide, 1, turned, s.wide, dk, s.wide, false);
        normalise_bwd(&s, q, iq, dq);
        normalise_bwd(&s, k, ik, dk);
        ft_store_rows(c->out[0], seq * s.t * 3 * s.c + h * s.p, 3 * s.c, dq, s.wide, s.t, s.p);
        ft_store_rows(c->out[0], seq * s.t * 3 * s.c + s.c + h * s.p, 3 * s.c, dk, s.wide, s.t, s.p);
    }
    if (!c->out[1]) return;
    for (int64_t h = 0; h < s.heads; h++) {
        double total = 0;
        for (int64_t seq = 0; seq < s.seqs; seq++) total += (double)dtheta[seq * s.heads + h];
        ((float *)c->out[1]->data)[h] = (float)total;
    }
}
