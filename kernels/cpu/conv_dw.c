/* Depthwise 3-D convolution. Libraries are tens of times below the machine here.
 *
 * A task is 16 or 32 channels and some samples. As many frames as the kernel has are widened into a ring of zero-padded planes
 * (H+, W+, channels) that stay in the cache, so the inner loops have no borders and one vector per tap. A kernel of 3 by 3 slides
 * along W, its nine weights and three columns in registers, frame by frame of the kernel; others make outputs four at a time to
 * reuse each weight. A kernel of one frame sees every frame as a sample: 32 channels, a whole cache line even of bf16.
 *
 * The plain 3x3 of images (FEAT, Restormer) has a way of its own, without boxes: with thousands of channels the next position is
 * a page or more away and falls into the same sets of the caches, so a task reads long runs of channels, row by row, and slides
 * its nine taps along W in registers. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

typedef float v16 __attribute__((vector_size(64), aligned(64)));
enum { LANES = 16 };

typedef struct {
    int64_t in[3], out[3], box[3], k[3], s[3], pf[3]; /* sizes T H W of input, output, padded input; kernel, stride, front pad */
    int64_t c, taps, samples;
    int64_t wide; /* vectors of a position: channels of a task / 16 */
} shape;

static shape shape_of(const ft_buf *x, const ft_buf *y, const ft_conv_opt *o)
{
    shape s = {.c = x->dim[4], .taps = 1, .samples = x->dim[0], .wide = 1};
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
    if (s.k[0] == 1 && s.s[0] == 1 && s.in[0] == s.out[0]) {
        s.samples *= s.in[0];
        s.in[0] = s.out[0] = s.box[0] = 1;
        s.wide = s.c > LANES ? 2 : 1;
    }
    return s;
}

/* vectors of a padded frame; the ring has k[0] of them, frame f of the padded sample in place f mod k[0] */
static int64_t frame_of(const shape *s) { return s->box[1] * s->box[2] * s->wide; }
static size_t ring_bytes(const shape *s) { return (size_t)(s->k[0] * frame_of(s) + 1) * sizeof(v16); }
static v16 *ring_at(v16 *ring, const shape *s, int64_t f) { return ring + f % s->k[0] * frame_of(s); }

/* Samples are dealt out in portions, so that few channels make work for all and weights are read once for many samples */
enum { PORTIONS = 8 };
static int64_t portions(const shape *s) { return FT_MIN(s->samples, PORTIONS); }
static int64_t blocks_of(const shape *s) { return (s->c + s->wide * LANES - 1) / (s->wide * LANES); }

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

/* Channels [c0, c0 + 16 wide) of frame f, counted from the padding, into the ring; H and W borders are zero already */
static void fill_frame(v16 *ring, const shape *s, const ft_buf *x, int64_t b, int64_t f, int64_t c0)
{
    int64_t n = FT_MIN(s->wide * LANES, s->c - c0), t = f - s->pf[0];
    bool full = n == s->wide * LANES;
    v16 *to = ring_at(ring, s, f);
    if (t < 0 || t >= s->in[0]) {
        memset(to, 0, (size_t)frame_of(s) * sizeof *to);
        return;
    }
    for (int64_t h = 0; h < s->in[1]; h++) {
        v16 *row = to + ((h + s->pf[1]) * s->box[2] + s->pf[2]) * s->wide;
        int64_t at = (((b * s->in[0] + t) * s->in[1] + h) * s->in[2]) * s->c + c0;
        for (int64_t w = 0; w < s->in[2]; w++, at += s->c)
            for (int64_t g = 0; g < s->wide; g++)
                *row++ =
                    full ? load_full(x, at + g * LANES) : load_lanes(x, at + g * LANES, FT_MAX(0, FT_MIN(LANES, n - g * LANES)));
    }
}

/* four neighbours along W of one output row: acc += sum over the taps of one frame */
static inline __attribute__((always_inline)) void taps4(const v16 *in, const v16 *w, v16 acc[4], int64_t kh, int64_t kw,
                                                        int64_t row, int64_t sw, int64_t wide)
{
    v16 a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    for (int64_t j = 0; j < kh; j++)
        for (int64_t k = 0; k < kw; k++) {
            const v16 *p = in + (j * row + k) * wide;
            v16 wt = *w++;
            a0 += p[0] * wt;
            a1 += p[sw * wide] * wt;
            a2 += p[2 * sw * wide] * wt;
            a3 += p[3 * sw * wide] * wt;
        }
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3;
}

/* One row of outputs of 16 channels, y += 3 by 3 taps of three rows: nine weights and three columns in registers. Positions lie
 * `step` vectors apart, outputs are sw columns apart (1 or 2). */
static inline __attribute__((always_inline)) void row3(const v16 *up, const v16 *here, const v16 *down, int64_t step, int64_t sw,
                                                       int64_t width, const v16 *w, v16 *y)
{
    v16 w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3], w4 = w[4], w5 = w[5], w6 = w[6], w7 = w[7], w8 = w[8];
    v16 a0 = up[0], a1 = here[0], a2 = down[0], b0 = up[step], b1 = here[step], b2 = down[step];
    for (int64_t q = 0; q < width; q++) {
        int64_t next = (q * sw + 2) * step;
        v16 c0 = up[next], c1 = here[next], c2 = down[next], s = y[q * step] + a0 * w0, t = b0 * w1; /* two chains */
        s += c0 * w2, t += a1 * w3;
        s += b1 * w4, t += c1 * w5;
        s += a2 * w6, t += b2 * w7;
        y[q * step] = s + c2 * w8 + t;
        if (sw == 1) a0 = b0, a1 = b1, a2 = b2, b0 = c0, b1 = c1, b2 = c2;
        else a0 = c0, a1 = c1, a2 = c2, b0 = up[next + step], b1 = here[next + step], b2 = down[next + step];
    }
}
static bool is_3x3(const shape *s) { return s->k[1] == 3 && s->k[2] == 3 && s->s[2] <= 2; }

enum { WIDEST = 512 }; /* outputs of a row */

/* output frame t. w: taps vectors of each group of 16 channels; bias: one */
static void correlate(v16 *ring, const shape *s, const v16 *w, const v16 *bias, const ft_buf *y, int64_t b, int64_t t, int64_t c0)
{
    int64_t n = FT_MIN(s->wide * LANES, s->c - c0), row = s->box[2] * s->wide, wide = s->wide, plane_taps = s->k[1] * s->k[2];
    v16 out[2 * WIDEST + 8];
    for (int64_t h = 0; h < s->out[1]; h++) {
        for (int64_t q = 0; q < s->out[2] * wide; q++) out[q] = bias[q % wide];
        for (int64_t i = 0; i < s->k[0]; i++) {
            const v16 *in = ring_at(ring, s, t * s->s[0] + i) + h * s->s[1] * row;
            for (int64_t g = 0; g < wide; g++) {
                const v16 *wg = w + g * s->taps + i * plane_taps, *p = in + g;
                if (is_3x3(s) && s->s[2] == 1) row3(p, p + row, p + 2 * row, wide, 1, s->out[2], wg, out + g);
                else if (is_3x3(s)) row3(p, p + row, p + 2 * row, wide, 2, s->out[2], wg, out + g);
                else
                    for (int64_t q = 0; q < s->out[2]; q += 4) {
                        v16 acc[4];
                        for (int k = 0; k < 4; k++) acc[k] = out[(q + k) * wide + g];
                        taps4(p + q * s->s[2] * wide, wg, acc, s->k[1], s->k[2], s->box[2], s->s[2], wide);
                        for (int k = 0; k < 4; k++) out[(q + k) * wide + g] = acc[k];
                    }
            }
        }
        int64_t at = (((b * s->out[0] + t) * s->out[1] + h) * s->out[2]) * s->c + c0;
        for (int64_t q = 0; q < s->out[2]; q++, at += s->c)
            for (int64_t g = 0; g * LANES < n; g++)
                store_lanes(y, at + g * LANES, out[q * wide + g], FT_MIN(LANES, n - g * LANES));
    }
}

/* ---- the plain 3x3: one frame, stride 1, a border of one
 * ------------------------------------------------------------------------------------------------------------ */

static bool is_plane(const shape *s)
{
    return s->in[0] == 1 && s->k[0] == 1 && s->k[1] == 3 && s->k[2] == 3 && s->s[0] == 1 && s->s[1] == 1 && s->s[2] == 1 &&
           s->pf[0] == 0 && s->pf[1] == 1 && s->pf[2] == 1 && s->out[1] == s->in[1] && s->out[2] == s->in[2];
}

/* Channels of a task: so many that memory is read in long runs, so few that four rows of them stay in the cache */
static int64_t run_of(const shape *s)
{
    int64_t run = (s->c / 16 + 31) / 32 * 32, most = 32768 / (4 * s->in[2] + 6) / 32 * 32;
    return FT_MAX(32, FT_MIN(run, FT_MIN(most, 512)));
}

/* Scratch of a thread: rows h - 1, h, h + 1 of a frame, a zero before and behind each, and a row of y or dy; f32, one run wide */
typedef struct {
    v16 *ring, *row;
    int64_t n, wide,
        line; /* channels; vectors of a position, with room that keeps positions apart in the cache; of a ring's row */
} plane;

static int64_t plane_vectors(const shape *s)
{
    int64_t wide = run_of(s) / LANES + 1;
    return wide * (4 * s->in[2] + 6);
}
static int64_t plane_weight_vectors(const shape *s) { return 9 * ((s->c + LANES - 1) / LANES); }

static plane plane_of(const ft_call *c, const shape *s, int64_t weights, int64_t n)
{
    plane p = {.n = n, .wide = run_of(s) / LANES + 1};
    p.ring = (v16 *)c->work + weights + ft_cpu_thread_id() * plane_vectors(s);
    p.line = p.wide * (s->in[2] + 2);
    p.row = p.ring + 3 * p.line;
    for (int i = 0; i < 3; i++) { /* the zeros at both ends of a row */
        memset(p.ring + i * p.line, 0, (size_t)p.wide * sizeof(v16));
        memset(p.ring + (i + 1) * p.line - p.wide, 0, (size_t)p.wide * sizeof(v16));
    }
    return p;
}

static void read_run(v16 *to, const ft_buf *x, int64_t at, int64_t n)
{
    if (x->dtype == FT_BF16) ft_widen((float *)to, (const uint16_t *)x->data + at, n);
    else memcpy(to, (const float *)x->data + at, (size_t)n * sizeof(float));
}

/* row h of frame b, channels from c0 on, into its place in the ring; zeros where there is none */
static void read_line(const plane *p, const shape *s, const ft_buf *x, int64_t b, int64_t h, int64_t c0)
{
    v16 *to = p->ring + (h + 3) % 3 * p->line + p->wide;
    if (h < 0 || h >= s->in[1]) memset(to, 0, (size_t)(s->in[2] * p->wide) * sizeof *to);
    else
        for (int64_t w = 0; w < s->in[2]; w++)
            read_run(to + w * p->wide, x, ((b * s->in[1] + h) * s->in[2] + w) * s->c + c0, p->n);
}

static void planes(const ft_call *c, const shape *s, const ft_buf *x, const ft_buf *y, const float *bias, bool reversed)
{
    int64_t vectors = (s->c + LANES - 1) / LANES, run = run_of(s), runs = (s->c + run - 1) / run;
    v16 *w = (v16 *)c->work; /* nine of each 16 channels */
#pragma omp parallel for
    for (int64_t v = 0; v < vectors; v++) {
        v16 *to = w + 9 * v, swap;
        load_weights(to, c->in[1]->data, v * LANES, FT_MIN(LANES, s->c - v * LANES), 9);
        for (int t = 0; reversed && t < 4; t++) swap = to[t], to[t] = to[8 - t], to[8 - t] = swap;
    }
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < s->samples * runs; task++) {
        int64_t b = task / runs, first = task % runs * run, n = FT_MIN(s->c - first, run);
        plane p = plane_of(c, s, plane_weight_vectors(s), n);
        read_line(&p, s, x, b, -1, first);
        read_line(&p, s, x, b, 0, first);
        for (int64_t h = 0; h < s->in[1]; h++) {
            read_line(&p, s, x, b, h + 1, first);
            const v16 *up = p.ring + (h + 2) % 3 * p.line, *here = p.ring + h % 3 * p.line, *down = p.ring + (h + 1) % 3 * p.line;
            for (int64_t v = 0; v * LANES < n; v++) {
                v16 vb = {0};
                for (int64_t i = 0; bias && i < FT_MIN(LANES, n - v * LANES); i++) vb[i] = bias[first + v * LANES + i];
                for (int64_t q = 0; q < s->in[2]; q++) p.row[q * p.wide + v] = vb;
                row3(up + v, here + v, down + v, p.wide, 1, s->in[2], w + (first / LANES + v) * 9, p.row + v);
            }
            for (int64_t q = 0; q < s->in[2]; q++)
                ft_store_at(y, ((b * s->in[1] + h) * s->in[2] + q) * s->c + first, (float *)(p.row + q * p.wide), n);
        }
    }
}

/* A row's share of the nine weight gradients, and of the bias's behind them: as row3 slides. */
static inline __attribute__((always_inline)) void row3_weights(const v16 *up, const v16 *here, const v16 *down, int64_t step,
                                                               int64_t sw, int64_t width, const v16 *dy, v16 *acc)
{
    v16 s0 = acc[0], s1 = acc[1], s2 = acc[2], s3 = acc[3], s4 = acc[4], s5 = acc[5], s6 = acc[6], s7 = acc[7], s8 = acc[8],
        s9 = acc[9];
    v16 a0 = up[0], a1 = here[0], a2 = down[0], b0 = up[step], b1 = here[step], b2 = down[step];
    for (int64_t q = 0; q < width; q++) {
        int64_t next = (q * sw + 2) * step;
        v16 c0 = up[next], c1 = here[next], c2 = down[next], d = dy[q * step];
        s0 += d * a0, s1 += d * b0, s2 += d * c0;
        s3 += d * a1, s4 += d * b1, s5 += d * c1;
        s6 += d * a2, s7 += d * b2, s8 += d * c2;
        s9 += d;
        if (sw == 1) a0 = b0, a1 = b1, a2 = b2, b0 = c0, b1 = c1, b2 = c2;
        else a0 = c0, a1 = c1, a2 = c2, b0 = up[next + step], b1 = here[next + step], b2 = down[next + step];
    }
    acc[0] = s0, acc[1] = s1, acc[2] = s2, acc[3] = s3, acc[4] = s4, acc[5] = s5, acc[6] = s6, acc[7] = s7, acc[8] = s8;
    acc[9] = s9;
}

/* A task owns its channels and goes through all frames in order; sums of a frame are added to the total as a whole. */
static void plane_gradients(const ft_call *c, const shape *s)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    enum { RUN = 512 / LANES };
    int64_t run = run_of(s), runs = (s->c + run - 1) / run;
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < runs; task++) {
        int64_t first = task * run, n = FT_MIN(s->c - first, run);
        v16 total[RUN][10], acc[RUN][10];
        plane p = plane_of(c, s, plane_weight_vectors(s), n);
        memset(total, 0, sizeof total);
        for (int64_t b = 0; b < s->samples; b++) {
            memset(acc, 0, sizeof acc);
            read_line(&p, s, x, b, -1, first);
            read_line(&p, s, x, b, 0, first);
            for (int64_t h = 0; h < s->in[1]; h++) {
                read_line(&p, s, x, b, h + 1, first);
                const v16 *up = p.ring + (h + 2) % 3 * p.line, *here = p.ring + h % 3 * p.line,
                          *down = p.ring + (h + 1) % 3 * p.line;
                for (int64_t q = 0; q < s->in[2]; q++)
                    read_run(p.row + q * p.wide, dy, ((b * s->in[1] + h) * s->in[2] + q) * s->c + first, n);
                for (int64_t v = 0; v * LANES < n; v++)
                    row3_weights(up + v, here + v, down + v, p.wide, 1, s->in[2], p.row + v, acc[v]);
            }
            for (int64_t v = 0; v < run / LANES; v++)
                for (int k = 0; k < 10; k++) total[v][k] += acc[v][k];
        }
        for (int64_t i = first; i < first + n; i++) {
            const v16 *t = total[(i - first) / LANES];
            for (int k = 0; c->out[0] && k < 9; k++) ((float *)c->out[0]->data)[i * 9 + k] = t[k][i % LANES];
            if (c->out[1]) ((float *)c->out[1]->data)[i] = t[9][i % LANES];
        }
    }
}

/* ---- the ops
 * ------------------------------------------------------------------------------------------------------------ */

enum { MAX_TAPS = 343 };

static int need(ft_call *c, const ft_buf *x, const ft_buf *y)
{
    shape s = shape_of(x, y, &c->attr->conv);
    if (s.taps > MAX_TAPS) return FT_FAIL(FT_EGRAPH, "depthwise kernel of %lld taps, at most %d", (long long)s.taps, MAX_TAPS);
    if (s.out[2] > WIDEST) return FT_FAIL(FT_EGRAPH, "depthwise rows of %lld, at most %d", (long long)s.out[2], WIDEST);
    shape back = s; /* the frames of the data gradient may be larger */
    for (int i = 0; i < 3; i++) back.box[i] = FT_MAX(s.box[i], s.out[i] + 2 * s.k[i]) + 8;
    c->work_size = is_plane(&s) ? (size_t)(plane_weight_vectors(&s) + ft_cpu_threads() * plane_vectors(&s)) * sizeof(v16)
                                : (size_t)ft_cpu_threads() * (ring_bytes(&back) + 4 * MAX_TAPS * sizeof(v16) + 64);
    return FT_OK;
}

static v16 *scratch(const ft_call *c)
{
    return (v16 *)((char *)c->work + c->work_size / (size_t)ft_cpu_threads() / 64 * 64 * (size_t)ft_cpu_thread_id());
}

int FT_PREPARE(conv_dw)(ft_call *c) { return need(c, c->in[0], c->out[0]); }
int FT_PREPARE(conv_dw_bwd_x)(ft_call *c) { return need(c, c->out[0], c->in[0]); }
int FT_PREPARE(conv_dw_bwd_w)(ft_call *c) { return need(c, c->in[0], c->in[1]); }

/* weights of all groups of a task, in the order of the taps or against it */
static void task_weights(v16 *w, const float *weights, const shape *s, int64_t c0, bool reversed)
{
    for (int64_t g = 0; g < s->wide; g++) {
        v16 *to = w + g * s->taps, swap;
        load_weights(to, weights, c0 + g * LANES, FT_MAX(0, FT_MIN(LANES, s->c - c0 - g * LANES)), s->taps);
        for (int64_t t = 0; reversed && t < s->taps / 2; t++)
            swap = to[t], to[t] = to[s->taps - 1 - t], to[s->taps - 1 - t] = swap;
    }
}

/* y = x correlated with the kernel, sample by sample */
static void correlate_all(const ft_call *c, const shape *s, const ft_buf *x, const ft_buf *y, const float *bias, bool reversed)
{
    int64_t blocks = blocks_of(s), parts = portions(s);
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < blocks * parts; task++) {
        int64_t c0 = task / parts * s->wide * LANES, part = task % parts;
        v16 *w = scratch(c), *ring = w + 2 * MAX_TAPS, vb[2] = {{0}, {0}};
        for (int64_t i = 0; bias && i < FT_MIN(s->wide * LANES, s->c - c0); i++) vb[i / LANES][i % LANES] = bias[c0 + i];
        task_weights(w, c->in[1]->data, s, c0, reversed);
        memset(ring, 0, ring_bytes(s));
        for (int64_t b = ft_part(s->samples, part, parts); b < ft_part(s->samples, part + 1, parts); b++)
            for (int64_t t = 0, f = 0; t < s->out[0]; t++) {
                for (; f < t * s->s[0] + s->k[0]; f++) fill_frame(ring, s, x, b, f, c0);
                correlate(ring, s, w, vb, y, b, t, c0);
            }
    }
}

void FT_CPU(conv_dw)(const ft_call *c)
{
    shape s = shape_of(c->in[0], c->out[0], &c->attr->conv);
    (is_plane(&s) ? planes : correlate_all)(c, &s, c->in[0], c->out[0], c->in[2] ? c->in[2]->data : NULL, false);
}

/* Frame f of dx, counted from the padding, is complete: out of the ring, which begins anew there */
static void take_frame(v16 *ring, const shape *s, const ft_buf *dx, int64_t b, int64_t f, int64_t c0)
{
    int64_t n = FT_MIN(LANES, s->c - c0), t = f - s->pf[0];
    v16 *from = ring_at(ring, s, f);
    for (int64_t h = 0; t >= 0 && t < s->in[0] && h < s->in[1]; h++)
        for (int64_t q = 0; q < s->in[2]; q++)
            store_lanes(dx, (((b * s->in[0] + t) * s->in[1] + h) * s->in[2] + q) * s->c + c0,
                        from[(h + s->pf[1]) * s->box[2] + q + s->pf[2]], n);
    memset(from, 0, (size_t)frame_of(s) * sizeof *from);
}

/* dx where the stride is not 1: each dy is scattered over its taps */
static void scatter(const ft_call *c, const shape *s)
{
    const ft_buf *dy = c->in[0];
    int64_t blocks = (s->c + LANES - 1) / LANES;
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < s->samples * blocks; task++) {
        int64_t b = task / blocks, c0 = task % blocks * LANES, n = FT_MIN(LANES, s->c - c0), done = 0;
        v16 *w = scratch(c), *ring = w + 2 * MAX_TAPS, d[WIDEST];
        load_weights(w, c->in[1]->data, c0, n, s->taps);
        memset(ring, 0, ring_bytes(s));
        for (int64_t t = 0; t < s->out[0]; t++) {
            for (; done < t * s->s[0]; done++) take_frame(ring, s, c->out[0], b, done, c0);
            for (int64_t h = 0; h < s->out[1]; h++) {
                int64_t at = ((b * s->out[0] + t) * s->out[1] + h) * s->out[2] * s->c + c0;
                for (int64_t q = 0; q < s->out[2]; q++) d[q] = load_lanes(dy, at + q * s->c, n);
                for (int64_t i = 0; i < s->k[0]; i++)
                    for (int64_t j = 0; j < s->k[1]; j++) {
                        v16 *to = ring_at(ring, s, t * s->s[0] + i) + (h * s->s[1] + j) * s->box[2];
                        const v16 *p = w + (i * s->k[1] + j) * s->k[2];
                        if (s->k[2] == 3 && s->s[2] == 2) { /* the column that two outputs share stays in a register */
                            v16 both = to[0], w0 = p[0], w1 = p[1], w2 = p[2];
                            for (int64_t q = 0; q < s->out[2]; q++) {
                                to[2 * q] = both + d[q] * w0;
                                to[2 * q + 1] += d[q] * w1;
                                both = to[2 * q + 2] + d[q] * w2;
                            }
                            to[2 * s->out[2]] = both;
                        } else
                            for (int64_t q = 0; q < s->out[2]; q++)
                                for (int64_t k = 0; k < s->k[2]; k++) to[q * s->s[2] + k] += d[q] * p[k];
                    }
            }
        }
        for (; done < s->in[0] + s->pf[0]; done++) take_frame(ring, s, c->out[0], b, done, c0);
    }
}

/* in: dy w; out: dx. Stride 1: correlation of dy with the reversed kernel. */
void FT_CPU(conv_dw_bwd_x)(const ft_call *c)
{
    shape s = shape_of(c->out[0], c->in[0], &c->attr->conv);
    bool unit = s.s[0] == 1 && s.s[1] == 1 && s.s[2] == 1;
    shape r = {.c = s.c, .taps = s.taps, .samples = s.samples, .wide = s.wide}; /* reversed: dy is the input, dx the output */
    for (int i = 0; i < 3; i++) {
        r.in[i] = s.out[i], r.out[i] = s.in[i], r.k[i] = s.k[i], r.s[i] = 1;
        r.pf[i] = s.k[i] - 1 - s.pf[i];
        if (r.pf[i] < 0) unit = false;
        r.box[i] = FT_MAX(r.in[i] + r.pf[i], r.out[i] + r.k[i] - 1) + (i == 2 ? 4 : 0);
    }
    s.wide = unit ? s.wide : 1;
    if (is_plane(&s)) planes(c, &s, c->in[0], c->out[0], NULL, true);
    else if (unit) correlate_all(c, &r, c->in[0], c->out[0], NULL, true);
    else scatter(c, &s);
}

/* one row of outputs: acc[tap] += d * in, the taps of one (i, j) kept in registers */
static inline __attribute__((always_inline)) void weight_row(const v16 *in, const v16 *d, v16 *acc, int64_t kw, int64_t n,
                                                             int64_t sw, int64_t wide)
{
    v16 a[8];
    for (int64_t k = 0; k < kw; k++) a[k] = acc[k];
    for (int64_t q = 0; q < n; q++)
        for (int64_t k = 0; k < kw; k++) a[k] += d[q * wide] * in[(q * sw + k) * wide];
    for (int64_t k = 0; k < kw; k++) acc[k] = a[k];
}

/* The share of output frame t, a row of dy at a time. acc: the taps of each group, added to; bias likewise */
static void frame_weights(v16 *ring, const shape *s, const ft_buf *dy, int64_t b, int64_t t, int64_t c0, v16 *acc, v16 *bias)
{
    enum { DEEP = 8 };
    int64_t n = FT_MIN(s->wide * LANES, s->c - c0), row = s->box[2] * s->wide, wide = s->wide, plane_taps = s->k[1] * s->k[2];
    v16 d[2 * WIDEST], sum[2][DEEP][10];
    bool sliding = is_3x3(s) && s->k[0] <= DEEP;
    if (sliding) memset(sum, 0, sizeof sum);
    for (int64_t h = 0; h < s->out[1]; h++) {
        int64_t at = ((b * s->out[0] + t) * s->out[1] + h) * s->out[2] * s->c + c0;
        for (int64_t q = 0; q < s->out[2]; q++)
            for (int64_t g = 0; g < wide; g++) {
                int64_t m = FT_MAX(0, FT_MIN(LANES, n - g * LANES));
                d[q * wide + g] =
                    m == LANES ? load_full(dy, at + q * s->c + g * LANES) : load_lanes(dy, at + q * s->c + g * LANES, m);
                if (!sliding) bias[g] += d[q * wide + g];
            }
        for (int64_t i = 0; i < s->k[0]; i++)
            for (int64_t g = 0; g < wide; g++) {
                const v16 *in = ring_at(ring, s, t * s->s[0] + i) + h * s->s[1] * row + g;
                v16 *a = acc + g * s->taps + i * plane_taps;
                if (sliding && s->s[2] == 1) row3_weights(in, in + row, in + 2 * row, wide, 1, s->out[2], d + g, sum[g][i]);
                else if (sliding) row3_weights(in, in + row, in + 2 * row, wide, 2, s->out[2], d + g, sum[g][i]);
                else
                    for (int64_t j = 0; j < s->k[1]; j++)
                        if (s->k[2] == 1) weight_row(in + j * row, d + g, a + j, 1, s->out[2], s->s[2], wide);
                        else weight_row(in + j * row, d + g, a + j * s->k[2], s->k[2], s->out[2], s->s[2], wide);
            }
    }
    for (int64_t g = 0; sliding && g < wide; g++) {
        for (int64_t i = 0; i < s->k[0]; i++)
            for (int64_t k = 0; k < 9; k++) acc[g * s->taps + i * 9 + k] += sum[g][i][k];
        bias[g] += sum[g][0][9];
    }
}

/* in: x dy; out: dw (C,1,kt,kh,kw) db (C). One task owns 16 channels and goes through all samples in order. */
void FT_CPU(conv_dw_bwd_w)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    shape s = shape_of(x, dy, &c->attr->conv);
    if (is_plane(&s)) {
        plane_gradients(c, &s);
        return;
    }
    int64_t blocks = blocks_of(&s);
    FT_ASSERT(s.k[2] <= 8);
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < blocks; task++) {
        int64_t c0 = task * s.wide * LANES, n = FT_MIN(s.wide * LANES, s.c - c0);
        v16 *total = scratch(c), *acc = total + 2 * MAX_TAPS, *ring = acc + 2 * MAX_TAPS, bias[2] = {{0}, {0}};
        memset(total, 0, sizeof(v16) * (size_t)(s.taps * s.wide));
        memset(ring, 0, ring_bytes(&s));
        for (int64_t b = 0; b < s.samples; b++)
            for (int64_t t = 0, f = 0; t < s.out[0]; t++) { /* partial sums per frame keep the rounding error small */
                for (; f < t * s.s[0] + s.k[0]; f++) fill_frame(ring, &s, x, b, f, c0);
                memset(acc, 0, sizeof(v16) * (size_t)(s.taps * s.wide));
                frame_weights(ring, &s, dy, b, t, c0, acc, bias);
                for (int64_t k = 0; k < s.taps * s.wide; k++) total[k] += acc[k];
            }
        for (int64_t k = 0; c->out[0] && k < s.taps; k++)
            for (int64_t i = 0; i < n; i++)
                ((float *)c->out[0]->data)[(c0 + i) * s.taps + k] = total[i / LANES * s.taps + k][i % LANES];
        for (int64_t i = 0; c->out[1] && i < n; i++) ((float *)c->out[1]->data)[c0 + i] = bias[i / LANES][i % LANES];
    }
}
