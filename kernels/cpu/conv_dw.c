/* Depthwise 3-D convolution. Libraries are tens of times below the machine here.
 *
 * A task is one sample and 16 channels: its slice is widened into a zero-padded box (T+, H+, W+, 16) that fits the cache, so
 * the inner loops have no borders and one vector per tap. Outputs are made four at a time along W to reuse each weight. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

typedef float v16 __attribute__((vector_size(64), aligned(64)));
enum { LANES = 16 };

typedef struct {
    int64_t in[3], out[3], box[3], k[3], s[3], pf[3]; /* sizes T H W of input, output, padded input; kernel, stride, front pad */
    int64_t c, taps;
} shape;

static shape shape_of(const ft_buf *x, const ft_buf *y, const ft_conv_opt *o)
{
    shape s = {.c = x->dim[4], .taps = 1};
    for (int i = 0; i < 3; i++) {
        s.in[i] = x->dim[1 + i];
        s.out[i] = y->dim[1 + i];
        s.k[i] = o->kernel[i];
        s.s[i] = o->stride[i];
        s.pf[i] = o->pad_front[i];
        s.box[i] = FT_MAX(s.in[i] + o->pad_front[i] + o->pad_back[i], (s.out[i] - 1) * s.s[i] + s.k[i]);
        s.taps *= s.k[i];
    }
    s.box[2] += 4 * s.s[2]; /* the four-at-a-time loop may read past the row */
    return s;
}

static size_t box_bytes(const shape *s) { return (size_t)(s->box[0] * s->box[1] * s->box[2] + 1) * sizeof(v16); }

static v16 load_lanes(const ft_buf *b, int64_t at, int64_t n)
{
    float tmp[LANES] = {0};
    v16 v;
    if (b->dtype == FT_F32) memcpy(tmp, (const float *)b->data + at, (size_t)n * sizeof(float));
    else ft_widen(tmp, (const uint16_t *)b->data + at, n);
    memcpy(&v, tmp, sizeof v);
    return v;
}

static v16 load_full(const ft_buf *b, int64_t at)
{
    v16 v;
    if (b->dtype == FT_F32) memcpy(&v, (const float *)b->data + at, sizeof v);
    else {
        float tmp[LANES];
        ft_widen(tmp, (const uint16_t *)b->data + at, LANES);
        memcpy(&v, tmp, sizeof v);
    }
    return v;
}

static void store_lanes(const ft_buf *b, int64_t at, v16 v, int64_t n)
{
    float tmp[LANES];
    memcpy(tmp, &v, sizeof v);
    ft_store_at(b, at, tmp, n);
}

/* weights (C, taps) of 16 channels as one vector per tap */
static void load_weights(v16 *w, const float *weights, int64_t c0, int64_t n, int64_t taps)
{
    for (int64_t t = 0; t < taps; t++) {
        float tmp[LANES] = {0};
        for (int64_t i = 0; i < n; i++) tmp[i] = weights[(c0 + i) * taps + t];
        memcpy(&w[t], tmp, sizeof(v16));
    }
}

static void fill_box(v16 *box, const shape *s, const ft_buf *x, int64_t b, int64_t c0, int64_t n)
{
    memset(box, 0, box_bytes(s));
    for (int64_t t = 0; t < s->in[0]; t++)
        for (int64_t h = 0; h < s->in[1]; h++) {
            v16 *row = box + ((t + s->pf[0]) * s->box[1] + h + s->pf[1]) * s->box[2] + s->pf[2];
            int64_t at = (((b * s->in[0] + t) * s->in[1] + h) * s->in[2]) * s->c + c0;
            if (n == LANES)
                for (int64_t w = 0; w < s->in[2]; w++, at += s->c) row[w] = load_full(x, at);
            else
                for (int64_t w = 0; w < s->in[2]; w++, at += s->c) row[w] = load_lanes(x, at, n);
        }
}

/* four neighbours along W of one output row: acc += sum over taps */
static inline __attribute__((always_inline)) void taps4(const v16 *in, const v16 *w, v16 acc[4], int64_t kt, int64_t kh,
                                                        int64_t kw, int64_t row, int64_t plane, int64_t sw)
{
    v16 a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    for (int64_t i = 0; i < kt; i++)
        for (int64_t j = 0; j < kh; j++)
            for (int64_t k = 0; k < kw; k++) {
                const v16 *p = in + i * plane + j * row + k;
                v16 wt = *w++;
                a0 += p[0] * wt;
                a1 += p[sw] * wt;
                a2 += p[2 * sw] * wt;
                a3 += p[3 * sw] * wt;
            }
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3;
}

static void correlate(const v16 *box, const shape *s, const v16 *w, v16 bias, const ft_buf *y, int64_t b, int64_t c0, int64_t n)
{
    int64_t row = s->box[2], plane = s->box[1] * s->box[2];
    bool cube = s->k[0] == 3 && s->k[1] == 3 && s->k[2] == 3;
    for (int64_t t = 0; t < s->out[0]; t++)
        for (int64_t h = 0; h < s->out[1]; h++)
            for (int64_t q = 0; q < s->out[2]; q += 4) {
                const v16 *in = box + (t * s->s[0] * s->box[1] + h * s->s[1]) * row + q * s->s[2];
                v16 acc[4] = {bias, bias, bias, bias};
                if (cube) taps4(in, w, acc, 3, 3, 3, row, plane, s->s[2]);
                else taps4(in, w, acc, s->k[0], s->k[1], s->k[2], row, plane, s->s[2]);
                int64_t at = (((b * s->out[0] + t) * s->out[1] + h) * s->out[2] + q) * s->c + c0;
                for (int64_t k = 0; k < 4 && q + k < s->out[2]; k++) store_lanes(y, at + k * s->c, acc[k], n);
            }
}

enum { MAX_TAPS = 343 };

static int need(ft_call *c, const ft_buf *x, const ft_buf *y, int boxes)
{
    shape s = shape_of(x, y, &c->attr->conv);
    if (s.taps > MAX_TAPS) return FT_FAIL(FT_EGRAPH, "depthwise kernel of %lld taps, at most %d", (long long)s.taps, MAX_TAPS);
    shape back = s; /* the box of the data gradient may be larger */
    for (int i = 0; i < 3; i++) back.box[i] = FT_MAX(s.box[i], s.out[i] + 2 * s.k[i]) + 8;
    c->work_size = (size_t)ft_cpu_threads() * (box_bytes(&back) * (size_t)boxes + 2 * MAX_TAPS * sizeof(v16));
    return FT_OK;
}

static v16 *scratch(const ft_call *c)
{
    return (v16 *)((char *)c->work + c->work_size / (size_t)ft_cpu_threads() / 64 * 64 * (size_t)ft_cpu_thread_id());
}

int FT_PREPARE(conv_dw)(ft_call *c) { return need(c, c->in[0], c->out[0], 1); }
int FT_PREPARE(conv_dw_bwd_x)(ft_call *c) { return need(c, c->out[0], c->in[0], 1); }
int FT_PREPARE(conv_dw_bwd_w)(ft_call *c) { return need(c, c->in[0], c->in[1], 1); }

void FT_CPU(conv_dw)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    const float *bias = c->in[2] ? c->in[2]->data : NULL;
    shape s = shape_of(x, c->out[0], &c->attr->conv);
    int64_t blocks = (s.c + LANES - 1) / LANES;
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < x->dim[0] * blocks; task++) {
        int64_t b = task / blocks, c0 = task % blocks * LANES, n = FT_MIN(LANES, s.c - c0);
        v16 *w = scratch(c), *box = w + MAX_TAPS;
        float tmp[LANES] = {0};
        v16 vb;
        if (bias) memcpy(tmp, bias + c0, (size_t)n * sizeof(float));
        memcpy(&vb, tmp, sizeof vb);
        load_weights(w, c->in[1]->data, c0, n, s.taps);
        fill_box(box, &s, x, b, c0, n);
        correlate(box, &s, w, vb, c->out[0], b, c0, n);
    }
}

/* in: dy w; out: dx. Stride 1: correlation of dy with the reversed kernel. Otherwise each dy is scattered over its taps. */
void FT_CPU(conv_dw_bwd_x)(const ft_call *c)
{
    const ft_buf *dy = c->in[0];
    ft_buf *dx = c->out[0];
    shape s = shape_of(dx, dy, &c->attr->conv);
    int64_t blocks = (s.c + LANES - 1) / LANES;
    bool unit = s.s[0] == 1 && s.s[1] == 1 && s.s[2] == 1;
    shape r = {.c = s.c, .taps = s.taps}; /* reversed: dy is the input, dx the output */
    for (int i = 0; i < 3; i++) {
        r.in[i] = s.out[i], r.out[i] = s.in[i], r.k[i] = s.k[i], r.s[i] = 1;
        r.pf[i] = s.k[i] - 1 - s.pf[i];
        if (r.pf[i] < 0) unit = false;
        r.box[i] = FT_MAX(r.in[i] + r.pf[i], r.out[i] + r.k[i] - 1) + (i == 2 ? 4 : 0);
    }
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < dx->dim[0] * blocks; task++) {
        int64_t b = task / blocks, c0 = task % blocks * LANES, n = FT_MIN(LANES, s.c - c0);
        v16 *w = scratch(c), *flip = w + MAX_TAPS, *box = flip + MAX_TAPS, zero = {0};
        load_weights(w, c->in[1]->data, c0, n, s.taps);
        if (unit) {
            for (int64_t t = 0; t < s.taps; t++) flip[t] = w[s.taps - 1 - t];
            fill_box(box, &r, dy, b, c0, n);
            correlate(box, &r, flip, zero, dx, b, c0, n);
            continue;
        }
        memset(box, 0, box_bytes(&s));
        for (int64_t t = 0; t < s.out[0]; t++)
            for (int64_t h = 0; h < s.out[1]; h++)
                for (int64_t q = 0; q < s.out[2]; q++) {
                    v16 d = load_lanes(dy, (((b * s.out[0] + t) * s.out[1] + h) * s.out[2] + q) * s.c + c0, n);
                    v16 *at = box + (t * s.s[0] * s.box[1] + h * s.s[1]) * s.box[2] + q * s.s[2];
                    const v16 *p = w;
                    for (int64_t i = 0; i < s.k[0]; i++)
                        for (int64_t j = 0; j < s.k[1]; j++)
                            for (int64_t k = 0; k < s.k[2]; k++) at[(i * s.box[1] + j) * s.box[2] + k] += d * *p++;
                }
        for (int64_t t = 0; t < s.in[0]; t++)
            for (int64_t h = 0; h < s.in[1]; h++)
                for (int64_t q = 0; q < s.in[2]; q++)
                    store_lanes(dx, (((b * s.in[0] + t) * s.in[1] + h) * s.in[2] + q) * s.c + c0,
                                box[((t + s.pf[0]) * s.box[1] + h + s.pf[1]) * s.box[2] + q + s.pf[2]], n);
    }
}

/* one row of outputs: acc[tap] += d * in, the taps of one (i, j) kept in registers */
static inline __attribute__((always_inline)) void weight_row(const v16 *in, const v16 *d, v16 *acc, int64_t kw, int64_t n,
                                                             int64_t sw)
{
    v16 a[8];
    for (int64_t k = 0; k < kw; k++) a[k] = acc[k];
    for (int64_t q = 0; q < n; q++)
        for (int64_t k = 0; k < kw; k++) a[k] += d[q] * in[q * sw + k];
    for (int64_t k = 0; k < kw; k++) acc[k] = a[k];
}

/* in: x dy; out: dw (C,1,kt,kh,kw) db (C). One task owns 16 channels and goes through all samples in order. */
void FT_CPU(conv_dw_bwd_w)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    shape s = shape_of(x, dy, &c->attr->conv);
    int64_t blocks = (s.c + LANES - 1) / LANES;
    FT_ASSERT(s.k[2] <= 8 && s.out[2] <= 512);
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < blocks; task++) {
        int64_t c0 = task * LANES, n = FT_MIN(LANES, s.c - c0);
        v16 *total = scratch(c), *acc = total + MAX_TAPS, *box = acc + MAX_TAPS, bias = {0}, row[512];
        memset(total, 0, sizeof(v16) * (size_t)s.taps);
        for (int64_t b = 0; b < x->dim[0]; b++) {
            fill_box(box, &s, x, b, c0, n);
            for (int64_t t = 0; t < s.out[0]; t++) { /* partial sums per frame keep the rounding error small */
                memset(acc, 0, sizeof(v16) * (size_t)s.taps);
                for (int64_t h = 0; h < s.out[1]; h++) {
                    for (int64_t q = 0; q < s.out[2]; q++) {
                        row[q] = load_lanes(dy, (((b * s.out[0] + t) * s.out[1] + h) * s.out[2] + q) * s.c + c0, n);
                        bias += row[q];
                    }
                    for (int64_t i = 0; i < s.k[0]; i++)
                        for (int64_t j = 0; j < s.k[1]; j++) {
                            const v16 *in = box + ((t * s.s[0] + i) * s.box[1] + h * s.s[1] + j) * s.box[2];
                            v16 *a = acc + (i * s.k[1] + j) * s.k[2];
                            if (s.k[2] == 3) weight_row(in, row, a, 3, s.out[2], s.s[2]);
                            else if (s.k[2] == 1) weight_row(in, row, a, 1, s.out[2], s.s[2]);
                            else weight_row(in, row, a, s.k[2], s.out[2], s.s[2]);
                        }
                }
                for (int64_t k = 0; k < s.taps; k++) total[k] += acc[k];
            }
        }
        for (int64_t k = 0; c->out[0] && k < s.taps; k++)
            for (int64_t i = 0; i < n; i++) ((float *)c->out[0]->data)[(c0 + i) * s.taps + k] = total[k][i];
        for (int64_t i = 0; c->out[1] && i < n; i++) ((float *)c->out[1]->data)[c0 + i] = bias[i];
    }
}
