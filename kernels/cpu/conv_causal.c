/* Causal depthwise convolution along a sequence with its activation (Mamba's conv1d and SiLU in one pass).
 *
 * x (S, T, C), w (C, taps): p[t] = b + sum over k of w[k] x[t - taps + 1 + k], y = act(p). Work goes in columns of BAND channels:
 * taps rows of x and of w stay in L1, every value of x is widened once. The backward pass computes p again rather than keep it.
 */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

enum { BAND = 256, MAX_TAPS = 16 };

typedef struct {
    int64_t S, T, C, taps;
} shape;

static shape shape_of(const ft_buf *x, const ft_buf *w) { return (shape){x->dim[0], x->dim[1], x->dim[2], w->count / x->dim[2]}; }

/* w (C, taps) to taps rows of n channels from c0 on */
static void columns(float rows[MAX_TAPS][BAND], const float *w, const shape *s, int64_t c0, int64_t n)
{
    for (int64_t k = 0; k < s->taps; k++)
        for (int64_t i = 0; i < n; i++) rows[k][i] = w[(c0 + i) * s->taps + k];
}

static void accumulate(float *restrict p, const float *restrict w, const float *restrict x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) p[i] += w[i] * x[i];
}

/* p += the sum of four such products, in one pass: what taps = 4 needs */
static void accumulate4(float *restrict p, const float *w0, const float *x0, const float *w1, const float *x1, const float *w2,
                        const float *x2, const float *w3, const float *x3, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) p[i] += w0[i] * x0[i] + w1[i] * x1[i] + w2[i] * x2[i] + w3[i] * x3[i];
}

/* p of row t from the last taps rows of x, kept in a ring: row t' is at t' % taps */
static void row_of(float *p, const float *bias, float w[MAX_TAPS][BAND], float ring[MAX_TAPS][BAND], int64_t t, int64_t taps,
                   int64_t n)
{
    if (bias) memcpy(p, bias, (size_t)n * sizeof *p);
    else memset(p, 0, (size_t)n * sizeof *p);
    if (taps == 4 && t >= 3) {
        accumulate4(p, w[0], ring[(t + 1) % 4], w[1], ring[(t + 2) % 4], w[2], ring[(t + 3) % 4], w[3], ring[t % 4], n);
        return;
    }
    for (int64_t k = t < taps - 1 ? taps - 1 - t : 0; k < taps; k++) accumulate(p, w[k], ring[(t + 1 + k) % taps], n);
}

static void sigmoid_row(float *restrict e, const float *restrict p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) e[i] = -p[i];
    ft_exp_row(e, n);
    for (int64_t i = 0; i < n; i++) e[i] = 1.0f / (1.0f + e[i]);
}

static void widen_row(float *to, const ft_buf *x, int64_t at, int64_t n)
{
    if (x->dtype == FT_F32) memcpy(to, (const float *)x->data + at, (size_t)n * sizeof *to);
    else ft_widen(to, (const uint16_t *)x->data + at, n);
}

void FT_CPU(conv_causal)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *b = c->in[2];
    shape s = shape_of(x, c->in[1]);
    bool silu = c->attr->conv.act == FT_ACT_SILU;
    int64_t bands = (s.C + BAND - 1) / BAND;
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < bands * FT_PARTS; task++) { /* a band of channels, a part of the sequences */
        float w[MAX_TAPS][BAND], ring[MAX_TAPS][BAND], tmp[BAND], e[BAND];
        int64_t c0 = task / FT_PARTS * BAND, n = FT_MIN(BAND, s.C - c0), part = task % FT_PARTS;
        columns(w, c->in[1]->data, &s, c0, n);
        for (int64_t q = ft_part(s.S, part, FT_PARTS); q < ft_part(s.S, part + 1, FT_PARTS); q++)
            for (int64_t t = 0; t < s.T; t++) {
                int64_t at = (q * s.T + t) * s.C + c0;
                float *p = ft_into(tmp, c->out[0], at);
                widen_row(ring[t % s.taps], x, at, n);
                row_of(p, b ? (const float *)b->data + c0 : NULL, w, ring, t, s.taps, n);
                if (silu) {
                    sigmoid_row(e, p, n);
                    for (int64_t i = 0; i < n; i++) p[i] *= e[i];
                }
                ft_store_at(c->out[0], at, p, n);
            }
    }
}

/* Scratch: a sequence of dp for each thread, and the weight gradients of each part: (FT_PARTS, taps + 1, C). */
static size_t sequence_bytes(const shape *s) { return (size_t)(s->T * BAND) * sizeof(float); }

int FT_PREPARE(conv_causal_bwd)(ft_call *c)
{
    shape s = shape_of(c->in[0], c->in[1]);
    c->work_size = (size_t)ft_cpu_threads() * sequence_bytes(&s) + (size_t)(FT_PARTS * (s.taps + 1) * s.C) * sizeof(float);
    return FT_OK;
}

/* inputs x w b dy; outputs dx dw db, each NULL where unwanted */
void FT_CPU(conv_causal_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *b = c->in[2], *dy = c->in[3], *dx = c->out[0], *dw = c->out[1], *db = c->out[2];
    shape s = shape_of(x, c->in[1]);
    bool silu = c->attr->conv.act == FT_ACT_SILU;
    int64_t bands = (s.C + BAND - 1) / BAND, taps = s.taps;
    float *partial = (float *)((char *)c->work + (size_t)ft_cpu_threads() * sequence_bytes(&s));
#pragma omp parallel for if (x->count > FT_SMALL)
    for (int64_t task = 0; task < bands * FT_PARTS; task++) {
        float w[MAX_TAPS][BAND], ring[MAX_TAPS][BAND], p[BAND], e[BAND], sum[MAX_TAPS + 1][BAND], tmp[BAND];
        float *dp = (float *)((char *)c->work + (size_t)ft_cpu_thread_id() * sequence_bytes(&s));
        int64_t c0 = task / FT_PARTS * BAND, n = FT_MIN(BAND, s.C - c0), part = task % FT_PARTS;
        columns(w, c->in[1]->data, &s, c0, n);
        memset(sum, 0, sizeof sum);
        for (int64_t q = ft_part(s.S, part, FT_PARTS); q < ft_part(s.S, part + 1, FT_PARTS); q++) {
            for (int64_t t = 0; t < s.T; t++) {
                int64_t at = (q * s.T + t) * s.C + c0;
                float *d = dp + t * BAND;
                widen_row(ring[t % taps], x, at, n);
                widen_row(d, dy, at, n);
                if (silu) {
                    row_of(p, b ? (const float *)b->data + c0 : NULL, w, ring, t, taps, n);
                    sigmoid_row(e, p, n);
                    for (int64_t i = 0; i < n; i++) d[i] *= e[i] * (1.0f + p[i] * (1.0f - e[i]));
                }
                for (int64_t k = t < taps - 1 ? taps - 1 - t : 0; k < taps; k++)
                    accumulate(sum[k], d, ring[(t + 1 + k) % taps], n);
                for (int64_t i = 0; i < n; i++) sum[taps][i] += d[i];
            }
            for (int64_t t = 0; dx && t < s.T; t++) { /* dx[t] = sum over k of w[k] dp[t + taps - 1 - k] */
                int64_t at = (q * s.T + t) * s.C + c0;
                float *o = ft_into(tmp, dx, at);
                memset(o, 0, (size_t)n * sizeof *o);
                if (taps == 4 && t + 3 < s.T) {
                    const float *d = dp + t * BAND;
                    accumulate4(o, w[3], d, w[2], d + BAND, w[1], d + 2 * BAND, w[0], d + 3 * BAND, n);
                } else
                    for (int64_t k = 0; k < taps; k++)
                        if (t + taps - 1 - k < s.T) accumulate(o, w[k], dp + (t + taps - 1 - k) * BAND, n);
                ft_store_at(dx, at, o, n);
            }
        }
        for (int64_t k = 0; k <= taps; k++)
            memcpy(partial + (part * (taps + 1) + k) * s.C + c0, sum[k], (size_t)n * sizeof(float));
    }
#pragma omp parallel for if (s.C * taps > FT_SMALL)
    for (int64_t i = 0; i < s.C; i++)
        for (int64_t k = 0; k <= taps; k++) { /* parts in order: the same sum on any number of threads */
            float total = 0;
            for (int64_t part = 0; part < FT_PARTS; part++) total += partial[(part * (taps + 1) + k) * s.C + i];
            if (k < taps && dw) ((float *)dw->data)[i * taps + k] = total;
            if (k == taps && db) ((float *)db->data)[i] = total;
        }
}
