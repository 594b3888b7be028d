/* Windowed local attention with rotary positions, one head per call (lucidrains/local-attention).
 *
 * q, k, v (S, T, C). Key j is seen by query i when |i-j| <= window. Queries and keys are rotated by their position, queries
 * with an offset of one window, which is what the reference's positions inside three concatenated windows amount to.
 * Angles: theta_k = 10000^(-2k/C), pairs (k, k + C/2). Dropout acts on the probabilities. */
#include <stdlib.h>

#include "common/base/status.h"
#include "kernels/cpu/random.h"

typedef struct {
    int64_t t, c, reach, slots;
    float scale;
} shape;

static shape shape_of(const ft_call *c)
{
    const ft_buf *q = c->in[0];
    int64_t w = c->attr->seq.window;
    return (shape){q->dim[1], q->dim[2], w, 2 * w + 1, 1.0f / sqrtf((float)q->dim[2])};
}

/* tables of cos and sin (2T, C/2): position p in 0 .. T + window - 1; then per thread: q, k, v and their gradients (T, C) */
static int need(ft_call *c)
{
    shape s = shape_of(c);
    if (s.reach > s.t) return FT_FAIL(FT_EGRAPH, "window %lld over %lld tokens", (long long)s.reach, (long long)s.t);
    c->work_size = (size_t)(2 * s.t * s.c * 2 + ft_cpu_threads() * (7 * s.t * s.c + 4 * s.slots)) * sizeof(float);
    float *table = malloc((size_t)(2 * s.t * s.c) * sizeof(float));
    if (!table) return FT_FAIL(FT_ENOMEM, "no memory for rotary tables");
    c->state = table;
    c->free_state = free;
    for (int64_t p = 0; p < 2 * s.t; p++)
        for (int64_t k = 0; k < s.c / 2; k++) {
            double a = (double)p * pow(10000.0, -2.0 * (double)k / (double)s.c);
            table[p * s.c + k] = (float)cos(a);
            table[p * s.c + s.c / 2 + k] = (float)sin(a);
        }
    return FT_OK;
}
int FT_PREPARE(attention_local)(ft_call *c) { return need(c); }
int FT_PREPARE(attention_local_bwd)(ft_call *c) { return need(c); }

/* y = R(position) x * scale; direction -1 undoes it */
static void rotate(float *y, const float *x, const float *table, int64_t c, float scale, float direction)
{
    const float *co = table, *si = table + c / 2;
    for (int64_t k = 0; k < c / 2; k++) {
        float a = x[k], b = x[k + c / 2];
        y[k] = scale * (a * co[k] - direction * b * si[k]);
        y[k + c / 2] = scale * (b * co[k] + direction * a * si[k]);
    }
}

static void rotate_all(const shape *s, float *y, const ft_buf *x, int64_t seq, const float *table, int64_t offset, float scale,
                       float *tmp)
{
    for (int64_t i = 0; i < s->t; i++)
        rotate(y + i * s->c, ft_load(tmp, x, (seq * s->t + i) * s->c, s->c), table + (i + offset) * s->c, s->c, scale, 1.0f);
}

/* dropout factors of the slots of one query row; a row begins at a whole counter */
static void keep_row(const ft_call *c, int64_t row, int64_t slots, float *mask)
{
    const ft_buf *q = c->in[0]; /* (S,T,C) */
    int64_t padded = (slots + 3) / 4 * 4;
    float p = c->attr->seq.dropout, scale = p > 0 ? 1.0f / (1.0f - p) : 1.0f;
    if (p > 0) ft_uniform_row(c, q->dim[0] * q->dim[1] * padded, row * padded, mask, slots);
    for (int64_t d = 0; d < slots; d++) mask[d] = p > 0 && mask[d] < p ? 0.0f : scale;
}

static float *scratch(const ft_call *c, const shape *s)
{
    return (float *)c->work + (int64_t)ft_cpu_thread_id() * (7 * s->t * s->c + 4 * s->slots);
}

void FT_CPU(attention_local)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *table = c->state;
    float *prob = c->out[1]->data;
    int64_t seqs = c->in[0]->dim[0], tc = s.t * s.c;
#pragma omp parallel for if (c->in[0]->count > FT_SMALL)
    for (int64_t q = 0; q < seqs; q++) {
        float *qr = scratch(c, &s), *kr = qr + tc, *vv = kr + tc, *tmp = vv + tc, *o = tmp + tc;
        rotate_all(&s, qr, c->in[0], q, table, s.reach, s.scale, tmp);
        rotate_all(&s, kr, c->in[1], q, table, 0, 1.0f, tmp);
        memcpy(vv, ft_load(vv, c->in[2], q * tc, tc), (size_t)tc * sizeof(float));
        for (int64_t i = 0; i < s.t; i++) {
            float *p = prob + (q * s.t + i) * s.slots, top = -INFINITY, total = 0;
            for (int64_t d = 0; d < s.slots; d++) {
                int64_t j = i + d - s.reach;
                p[d] = j < 0 || j >= s.t ? -INFINITY : ft_dot(qr + i * s.c, kr + j * s.c, s.c);
                if (p[d] > top) top = p[d];
            }
            for (int64_t d = 0; d < s.slots; d++) total += p[d] = ft_exp1(p[d] - top);
            float *y = ft_into(o, c->out[0], q * tc + i * s.c), *mask = o + s.c;
            keep_row(c, q * s.t + i, s.slots, mask);
            memset(y, 0, (size_t)s.c * sizeof(float));
            for (int64_t d = 0; d < s.slots; d++) {
                int64_t j = i + d - s.reach;
                p[d] /= total;
                if (j < 0 || j >= s.t) continue;
                float w = p[d] * mask[d];
                const float *v = vv + j * s.c;
                for (int64_t k = 0; k < s.c; k++) y[k] += w * v[k];
            }
            ft_store_at(c->out[0], q * tc + i * s.c, y, s.c);
        }
    }
}

/* in: q k v prob dy; out: dq dk dv */
void FT_CPU(attention_local_bwd)(const ft_call *c)
{
    shape s = shape_of(c);
    const float *table = c->state, *prob = c->in[3]->data;
    int64_t seqs = c->in[0]->dim[0], tc = s.t * s.c;
#pragma omp parallel for if (c->in[0]->count > FT_SMALL)
    for (int64_t q = 0; q < seqs; q++) {
        float *qr = scratch(c, &s), *kr = qr + tc, *vv = kr + tc, *dq = vv + tc, *dk = dq + tc, *dv = dk + tc, *tmp = dv + tc;
        float *dp = tmp + tc, *mask = dp + s.slots;
        rotate_all(&s, qr, c->in[0], q, table, s.reach, s.scale, tmp);
        rotate_all(&s, kr, c->in[1], q, table, 0, 1.0f, tmp);
        memcpy(vv, ft_load(vv, c->in[2], q * tc, tc), (size_t)tc * sizeof(float));
        memset(dq, 0, (size_t)(3 * tc) * sizeof(float));
        for (int64_t i = 0; i < s.t; i++) {
            const float *p = prob + (q * s.t + i) * s.slots, *dy = ft_load(tmp, c->in[4], q * tc + i * s.c, s.c);
            float inner = 0;
            keep_row(c, q * s.t + i, s.slots, mask);
            for (int64_t d = 0; d < s.slots; d++) {
                int64_t j = i + d - s.reach;
                dp[d] = 0;
                if (j < 0 || j >= s.t) continue;
                dp[d] = mask[d] * ft_dot(dy, vv + j * s.c, s.c);
                inner += p[d] * dp[d];
                float w = p[d] * mask[d], *to = dv + j * s.c;
                for (int64_t k = 0; k < s.c; k++) to[k] += w * dy[k];
            }
            for (int64_t d = 0; d < s.slots; d++) {
                int64_t j = i + d - s.reach;
                if (j < 0 || j >= s.t) continue;
                float ds = p[d] * (dp[d] - inner), *a = dq + i * s.c, *b = dk + j * s.c;
                const float *kk = kr + j * s.c, *qq = qr + i * s.c;
                for (int64_t k = 0; k < s.c; k++) {
                    a[k] += ds * kk[k];
                    b[k] += ds * qq[k];
                }
            }
        }
        for (int64_t i = 0; i < s.t; i++) {
            if (c->out[0]) {
                rotate(tmp, dq + i * s.c, table + (i + s.reach) * s.c, s.c, s.scale, -1.0f);
                ft_store_at(c->out[0], q * tc + i * s.c, tmp, s.c);
            }
            if (c->out[1]) {
                rotate(tmp, dk + i * s.c, table + i * s.c, s.c, 1.0f, -1.0f);
                ft_store_at(c->out[1], q * tc + i * s.c, tmp, s.c);
            }
            if (c->out[2]) ft_store_at(c->out[2], q * tc + i * s.c, dv + i * s.c, s.c);
        }
    }
}
