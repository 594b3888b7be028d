/* Depthwise 3-D convolution. Libraries are tens of times below the machine here.
 *
 * A task is up to 64 channels, whole cache lines of most networks, some samples and a band of rows. As many frames as the kernel
 * has are widened into a ring of zero-padded bands (H+, W+, channels) that stay in the cache, so the inner loops have no borders
 * and one vector per tap. A kernel of 3 by 3 slides along W, its nine weights and three columns in registers, frame by frame of
 * the kernel; others make outputs four at a time to reuse each weight. A kernel of one frame sees every frame as a sample.
 *
 * The plain 3x3 of images (FEAT, Restormer) has a way of its own, without boxes: with thousands of channels the next position is
 * a page or more away and falls into the same sets of the caches, so a task reads long runs of channels, row by row, and slides
 * its nine taps along W in registers. */
#include "common/base/status.h"
#include "kernels/cpu/cpu.h"

typedef float v16 __attribute__((vector_size(64), aligned(64)));
enum { LANES = 16 };
/* GCC 12 reads a vector again from memory for each use, and turns chains of FMA into products and sums, unless told otherwise */
#if defined(__AVX512F__)
#define PIN4(a, b, c, d) __asm__("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d))
#else
#define PIN4(a, b, c, d) ((void)0)
#endif

typedef struct {
    int64_t in[3], out[3], box[3];  /* T H W of input, output, padded input */
    int64_t k[3], stride[3], pf[3]; /* kernel, stride, front pad */
    int64_t c, taps, samples;
    int64_t wide;        /* vectors of a position: channels of a task / 16 */
    int64_t rows, bands; /* of outputs */
} shape;
/* at most: vectors of a position, bytes of a ring, outputs of a row, taps, frames of a kernel */
enum { WIDE = 4, RING = 256 << 10, WIDEST = 512, MAX_TAPS = 343, DEEPEST = 64 };

static shape shape_of(const ft_buf *x, const ft_buf *y, const ft_conv_opt *o)
{
    shape s = {.c = x->dim[4], .taps = 1, .samples = x->dim[0], .wide = 1, .rows = y->dim[2], .bands = 1};
    for (int i = 0; i < 3; i++) {
        s.in[i] = x->dim[1 + i];
        s.out[i] = y->dim[1 + i];
        s.k[i] = o->kernel[i];
        s.stride[i] = o->stride[i];
        s.pf[i] = o->pad_front[i];
        s.box[i] = FT_MAX(s.in[i] + o->pad_front[i] + o->pad_back[i], (s.out[i] - 1) * s.stride[i] + s.k[i]);
        s.taps *= s.k[i];
    }
    s.box[2] += 4 * s.stride[2]; /* the four-at-a-time loop may read past the row */
    if (s.k[0] == 1 && s.stride[0] == 1 && s.in[0] == s.out[0]) {
        s.samples *= s.in[0];
        s.in[0] = s.out[0] = s.box[0] = 1;
    }
    return s;
}

/* Channels and rows of a task, so that the ring stays in the second cache */
static void cut(shape *s)
{
    for (s->wide = FT_MIN(WIDE, (s->c + LANES - 1) / LANES);; s->wide /= 2) {
        int64_t line = s->k[0] * s->box[2] * s->wide * (int64_t)sizeof(v16);
        s->rows = FT_MAX(1, FT_MIN((RING / line - s->k[1]) / s->stride[1] + 1, s->out[1]));
        if (s->rows >= FT_MIN(8, s->out[1]) || s->wide == 1) break;
    }
    s->bands = (s->out[1] + s->rows - 1) / s->rows;
    s->rows = (s->out[1] + s->bands - 1) / s->bands;
    s->box[1] = (s->rows - 1) * s->stride[1] + s->k[1];
}

/* vectors of a padded frame, one plane (H+,W+) behind another; the ring has k[0] frames, frame f of the padded sample in place
 * f mod k[0] */
static int64_t plane_of(const shape *s) { return s->box[1] * s->box[2]; }
static int64_t frame_of(const shape *s) { return plane_of(s) * s->wide; }
static size_t ring_bytes(const shape *s) { return (size_t)(s->k[0] * frame_of(s) + 1) * sizeof(v16); }
static v16 *ring_at(v16 *ring, const shape *s, int64_t f) { return ring + f % s->k[0] * frame_of(s); }

/* Samples are dealt out in portions, so that few channels make work for all and weights are read once for many samples */
enum { PORTIONS = 8 };
static int64_t portions(const shape *s) { return FT_MIN(s->samples, PORTIONS); }
/* channels of the task that begins at c0, and its vectors */
static int64_t channels_of(const shape *s, int64_t c0) { return FT_MIN(s->wide * LANES, s->c - c0); }
static int64_t groups_of(const shape *s, int64_t c0) { return (channels_of(s, c0) + LANES - 1) / LANES; }
static int64_t blocks_of(const shape *s) { return (s->c + s->wide * LANES - 1) / (s->wide * LANES); }

static inline v16 load_full(const ft_buf *b, int64_t at)
{
    typedef uint16_t halves __attribute__((vector_size(32), aligned(2), may_alias));
    typedef uint32_t words __attribute__((vector_size(64)));
    v16 v;
    if (b->dtype == FT_F32) memcpy(&v, (const float *)b->data + at, sizeof v);
    else v = (v16)(__builtin_convertvector(*(const halves *)((const uint16_t *)b->data + at), words) << 16);
    return v;
}

/* 16 channels from `at` on, of which n count: what stands behind them meets weights of zero, or is not stored */
static v16 load_lanes(const ft_buf *b, int64_t at, int64_t n)
{
    float tmp[LANES] = {0};
    v16 v;
    if (at + LANES <= b->count) return load_full(b, at);
    if (b->dtype == FT_F32) memcpy(tmp, (const float *)b->data + at, (size_t)n * sizeof(float));
    else ft_widen(tmp, (const uint16_t *)b->data + at, n);
    memcpy(&v, tmp, sizeof v);
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

/* Channels [c0, c0 + 16 wide) of frame f, counted from the padding, as the outputs from row h0 on see it; W borders are zero */
static void fill_frame(v16 *ring, const shape *s, const ft_buf *x, int64_t b, int64_t f, int64_t h0, int64_t c0)
{
    int64_t n = channels_of(s, c0), t = f - s->pf[0], first = h0 * s->stride[1] - s->pf[1];
    v16 *to = ring_at(ring, s, f);
    for (int64_t r = 0; r < s->box[1]; r++, to += s->box[2]) {
        int64_t h = first + r, at = ((b * s->in[0] + t) * s->in[1] + h) * s->in[2] * s->c + c0;
        if (t < 0 || t >= s->in[0] || h < 0 || h >= s->in[1]) {
            for (int64_t g = 0; g < s->wide; g++) memset(to + g * plane_of(s), 0, (size_t)s->box[2] * sizeof *to);
            continue;
        }
        v16 *row = to + s->pf[2];
        for (int64_t w = 0; w < s->in[2]; w++, at += s->c, row++)
            for (int64_t g = 0; g < groups_of(s, c0); g++)
                row[g * plane_of(s)] = load_lanes(x, at + g * LANES, FT_MIN(LANES, n - g * LANES));
    }
}

/* four neighbours along W of one output row: acc += sum over the taps of one frame */
static inline __attribute__((always_inline)) void taps4(const v16 *in, const v16 *w, v16 acc[4], int64_t kh, int64_t kw,
                                                        int64_t row, int64_t sw)
{
    v16 a0 = acc[0], a1 = acc[1], a2 = acc[2], a3 = acc[3];
    for (int64_t j = 0; j < kh; j++)
        for (int64_t k = 0; k < kw; k++) {
            const v16 *p = in + j * row + k;
            v16 wt = *w++;
            a0 += p[0] * wt;
            a1 += p[sw] * wt;
            a2 += p[2 * sw] * wt;
            a3 += p[3 * sw] * wt;
        }
    acc[0] = a0, acc[1] = a1, acc[2] = a2, acc[3] = a3;
}

/* One row of outputs of 16 channels, y += 3 by 3 taps of three rows, four outputs at a time: weights, columns and sums stay in
 * registers. Positions of x lie `step` vectors apart, those of y `ystep`, outputs are sw columns apart (1 or 2). */
static inline __attribute__((always_inline)) void row3(const v16 *up, const v16 *here, const v16 *down, int64_t step, int64_t sw,
                                                       int64_t width, const v16 *w, v16 *y, int64_t ystep)
{
    const v16 *row[3] = {up, here, down};
    int64_t q = 0;
    for (; q + 4 <= width; q += 4) {
        v16 *to = y + q * ystep, s0 = to[0], s1 = to[ystep], s2 = to[2 * ystep], s3 = to[3 * ystep];
#pragma GCC unroll 3
        for (int j = 0; j < 3; j++) {
            const v16 *p = row[j] + q * sw * step;
            v16 w0 = w[3 * j], w1 = w[3 * j + 1], w2 = w[3 * j + 2];
            v16 c0 = p[0], c1 = p[step], c2 = p[2 * step], c3 = p[3 * step], c4 = p[4 * step], c5 = p[5 * step];
            PIN4(w0, w1, w2, c1);
            PIN4(c2, c3, c4, c5);
            if (sw == 1) {
                s0 += c0 * w0, s1 += c1 * w0, s2 += c2 * w0, s3 += c3 * w0;
                PIN4(s0, s1, s2, s3);
                s0 += c1 * w1, s1 += c2 * w1, s2 += c3 * w1, s3 += c4 * w1;
                PIN4(s0, s1, s2, s3);
                s0 += c2 * w2, s1 += c3 * w2, s2 += c4 * w2, s3 += c5 * w2;
            } else {
                v16 c6 = p[6 * step], c7 = p[7 * step], c8 = p[8 * step];
                PIN4(c0, c6, c7, c8);
                s0 += c0 * w0, s1 += c2 * w0, s2 += c4 * w0, s3 += c6 * w0;
                PIN4(s0, s1, s2, s3);
                s0 += c1 * w1, s1 += c3 * w1, s2 += c5 * w1, s3 += c7 * w1;
                PIN4(s0, s1, s2, s3);
                s0 += c2 * w2, s1 += c4 * w2, s2 += c6 * w2, s3 += c8 * w2;
            }
            PIN4(s0, s1, s2, s3);
        }
        to[0] = s0, to[ystep] = s1, to[2 * ystep] = s2, to[3 * ystep] = s3;
    }
    for (; q < width; q++)
        for (int j = 0; j < 3; j++)
            for (int k = 0; k < 3; k++) y[q * ystep] += row[j][(q * sw + k) * step] * w[3 * j + k];
}
static bool is_3x3(const shape *s) { return s->k[1] == 3 && s->k[2] == 3 && s->stride[2] <= 2; }

/* A band of output frame t, made in `out` (rows, W, channels / 16). w: taps vectors of each group of 16 channels; bias: one */
static void correlate(v16 *ring, const shape *s, const v16 *w, const v16 *bias, v16 *out, const ft_buf *y, int64_t b, int64_t t,
                      int64_t h0, int64_t c0)
{
    int64_t n = channels_of(s, c0), row = s->box[2], wide = s->wide, plane_taps = s->k[1] * s->k[2], line = s->out[2] * wide,
            rows = FT_MIN(s->rows, s->out[1] - h0);
    for (int64_t g = 0; g < groups_of(s, c0); g++)
        for (int64_t h = 0; h < rows; h++) {
            v16 *to = out + h * line + g;
            const v16 *in[DEEPEST], *wg = w + g * s->taps;
            for (int64_t i = 0; i < s->k[0]; i++)
                in[i] = ring_at(ring, s, t * s->stride[0] + i) + g * plane_of(s) + h * s->stride[1] * row;
            if (is_3x3(s)) {
                for (int64_t q = 0; q < s->out[2]; q++) to[q * wide] = bias[g];
                for (int64_t i = 0; i < s->k[0]; i++, wg += 9)
                    if (s->stride[2] == 1) row3(in[i], in[i] + row, in[i] + 2 * row, 1, 1, s->out[2], wg, to, wide);
                    else row3(in[i], in[i] + row, in[i] + 2 * row, 1, 2, s->out[2], wg, to, wide);
            } else
                for (int64_t q = 0; q < s->out[2]; q += 4) {
                    v16 acc[4] = {bias[g], bias[g], bias[g], bias[g]};
                    for (int64_t i = 0; i < s->k[0]; i++)
                        taps4(in[i] + q * s->stride[2], wg + i * plane_taps, acc, s->k[1], s->k[2], row, s->stride[2]);
                    for (int64_t k = 0; k < FT_MIN(4, s->out[2] - q); k++) to[(q + k) * wide] = acc[k];
                }
        }
    for (int64_t h = 0; h < rows; h++) {
        int64_t at = (((b * s->out[0] + t) * s->out[1] + h0 + h) * s->out[2]) * s->c + c0;
        for (int64_t q = 0; q < s->out[2]; q++, at += s->c) ft_store_at(y, at, (float *)(out + h * line + q * wide), n);
    }
}

/* ---- the plain 3x3: one frame, stride 1, a border of one ---------------------------------------------------------------- */

static bool is_plane(const shape *s)
{
    return s->in[0] == 1 && s->k[0] == 1 && s->k[1] == 3 && s->k[2] == 3 && s->stride[0] == 1 && s->stride[1] == 1 &&
           s->stride[2] == 1 && s->pf[0] == 0 && s->pf[1] == 1 && s->pf[2] == 1 && s->out[1] == s->in[1] && s->out[2] == s->in[2];
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

static plane plane_new(const ft_call *c, const shape *s, int64_t weights, int64_t n)
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

static void planes(const ft_call *c, const shape *s, const ft_buf *x, const ft_buf *y, const float *bias, bool backwards)
{
    int64_t vectors = (s->c + LANES - 1) / LANES, run = run_of(s), runs = (s->c + run - 1) / run;
    v16 *w = (v16 *)c->work; /* nine of each 16 channels */
#pragma omp parallel for
    for (int64_t v = 0; v < vectors; v++) {
        v16 *to = w + 9 * v, swap;
        load_weights(to, c->in[1]->data, v * LANES, FT_MIN(LANES, s->c - v * LANES), 9);
        for (int t = 0; backwards && t < 4; t++) swap = to[t], to[t] = to[8 - t], to[8 - t] = swap;
    }
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < s->samples * runs; task++) {
        int64_t b = task / runs, first = task % runs * run, n = FT_MIN(s->c - first, run);
        plane p = plane_new(c, s, plane_weight_vectors(s), n);
        read_line(&p, s, x, b, -1, first);
        read_line(&p, s, x, b, 0, first);
        for (int64_t h = 0; h < s->in[1]; h++) {
            read_line(&p, s, x, b, h + 1, first);
            const v16 *up = p.ring + (h + 2) % 3 * p.line, *here = p.ring + h % 3 * p.line, *down = p.ring + (h + 1) % 3 * p.line;
            for (int64_t v = 0; v * LANES < n; v++) {
                v16 vb = {0};
                for (int64_t i = 0; bias && i < FT_MIN(LANES, n - v * LANES); i++) vb[i] = bias[first + v * LANES + i];
                for (int64_t q = 0; q < s->in[2]; q++) p.row[q * p.wide + v] = vb;
                row3(up + v, here + v, down + v, p.wide, 1, s->in[2], w + (first / LANES + v) * 9, p.row + v, p.wide);
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
        plane p = plane_new(c, s, plane_weight_vectors(s), n);
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

/* ---- the ops ------------------------------------------------------------------------------------------------------------ */

/* Of the data gradient. Stride 1: dy is the input of a correlation with the reversed kernel, and true; else it is scattered. */
static bool reversed(shape *r, const shape *s)
{
    *r = *s;
    bool unit = s->stride[0] == 1 && s->stride[1] == 1 && s->stride[2] == 1;
    for (int i = 0; unit && i < 3; i++) {
        r->in[i] = s->out[i], r->out[i] = s->in[i];
        r->pf[i] = s->k[i] - 1 - s->pf[i];
        if (r->pf[i] < 0) unit = false;
        r->box[i] = FT_MAX(r->in[i] + r->pf[i], r->out[i] + r->k[i] - 1) + (i == 2 ? 4 : 0);
    }
    if (!unit) *r = *s;
    return unit;
}

static size_t thread_bytes(const shape *s, int64_t sets) /* sets of weights, a ring, a band of outputs */
{
    return ring_bytes(s) + (size_t)((sets * s->taps + s->rows * s->out[2]) * s->wide) * sizeof(v16) + 64;
}
static size_t partial_floats(const shape *s) { return (size_t)(portions(s) * s->c * (s->taps + 1)); }

static int need(ft_call *c, const shape *s, const shape *cut_one, int64_t sets)
{
    if (s->taps > MAX_TAPS || s->k[0] > DEEPEST)
        return FT_FAIL(FT_EGRAPH, "depthwise kernel of %lld taps in %lld frames, at most %d and %d", (long long)s->taps,
                       (long long)s->k[0], MAX_TAPS, DEEPEST);
    if (FT_MAX(s->out[2], s->in[2]) > WIDEST)
        return FT_FAIL(FT_EGRAPH, "depthwise rows of %lld, at most %d", (long long)FT_MAX(s->out[2], s->in[2]), WIDEST);
    c->work_size = is_plane(s) ? (size_t)(plane_weight_vectors(s) + ft_cpu_threads() * plane_vectors(s)) * sizeof(v16)
                               : (size_t)ft_cpu_threads() * thread_bytes(cut_one, sets);
    return FT_OK;
}

/* of a thread, behind `before` bytes that all share */
static v16 *scratch(const ft_call *c, size_t before)
{
    size_t each = (c->work_size - before) / (size_t)ft_cpu_threads() / 64 * 64;
    return (v16 *)((char *)c->work + before + each * (size_t)ft_cpu_thread_id());
}

int FT_PREPARE(conv_dw)(ft_call *c)
{
    shape s = shape_of(c->in[0], c->out[0], &c->attr->conv), t = s;
    cut(&t);
    return need(c, &s, &t, 1);
}
int FT_PREPARE(conv_dw_bwd_x)(ft_call *c)
{
    shape s = shape_of(c->out[0], c->in[0], &c->attr->conv), r;
    if (reversed(&r, &s)) cut(&r);
    return need(c, &s, &r, 1);
}
int FT_PREPARE(conv_dw_bwd_w)(ft_call *c)
{
    shape s = shape_of(c->in[0], c->in[1], &c->attr->conv), t = s;
    cut(&t);
    if (!is_plane(&s) && s.k[2] > FT_MOST_DW_WIDTH)
        return FT_FAIL(FT_EGRAPH, "depthwise kernel of width %lld, at most %d in training", (long long)s.k[2], FT_MOST_DW_WIDTH);
    FT_TRY(need(c, &s, &t, 2));
    if (!is_plane(&s)) c->work_size += (partial_floats(&s) * sizeof(float) + 63) / 64 * 64;
    return FT_OK;
}

/* weights of all groups of a task, in the order of the taps or against it */
static void task_weights(v16 *w, const float *weights, const shape *s, int64_t c0, bool backwards)
{
    for (int64_t g = 0; g < s->wide; g++) {
        v16 *to = w + g * s->taps, swap;
        load_weights(to, weights, c0 + g * LANES, FT_MAX(0, FT_MIN(LANES, s->c - c0 - g * LANES)), s->taps);
        for (int64_t t = 0; backwards && t < s->taps / 2; t++)
            swap = to[t], to[t] = to[s->taps - 1 - t], to[s->taps - 1 - t] = swap;
    }
}

/* y = x correlated with the kernel, sample by sample */
static void correlate_all(const ft_call *c, const shape *s, const ft_buf *x, const ft_buf *y, const float *bias, bool backwards)
{
    int64_t blocks = blocks_of(s), parts = portions(s);
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < blocks * parts * s->bands; task++) {
        int64_t c0 = task % blocks * s->wide * LANES, part = task / blocks % parts, h0 = task / blocks / parts * s->rows;
        v16 *w = scratch(c, 0), *out = w + s->wide * s->taps, *ring = out + s->rows * s->out[2] * s->wide, vb[WIDE] = {{0}};
        for (int64_t i = 0; bias && i < channels_of(s, c0); i++) vb[i / LANES][i % LANES] = bias[c0 + i];
        task_weights(w, c->in[1]->data, s, c0, backwards);
        memset(ring, 0, ring_bytes(s));
        for (int64_t b = ft_part(s->samples, part, parts); b < ft_part(s->samples, part + 1, parts); b++)
            for (int64_t t = 0, f = 0; t < s->out[0]; t++) {
                for (; f < t * s->stride[0] + s->k[0]; f++) fill_frame(ring, s, x, b, f, h0, c0);
                correlate(ring, s, w, vb, out, y, b, t, h0, c0);
            }
    }
}

void FT_CPU(conv_dw)(const ft_call *c)
{
    shape s = shape_of(c->in[0], c->out[0], &c->attr->conv);
    const float *bias = c->in[2] ? c->in[2]->data : NULL;
    if (is_plane(&s)) planes(c, &s, c->in[0], c->out[0], bias, false);
    else {
        cut(&s);
        correlate_all(c, &s, c->in[0], c->out[0], bias, false);
    }
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
        v16 *w = scratch(c, 0), *ring = w + s->taps, d[WIDEST];
        load_weights(w, c->in[1]->data, c0, n, s->taps);
        memset(ring, 0, ring_bytes(s));
        for (int64_t t = 0; t < s->out[0]; t++) {
            for (; done < t * s->stride[0]; done++) take_frame(ring, s, c->out[0], b, done, c0);
            for (int64_t h = 0; h < s->out[1]; h++) {
                int64_t at = ((b * s->out[0] + t) * s->out[1] + h) * s->out[2] * s->c + c0;
                for (int64_t q = 0; q < s->out[2]; q++) d[q] = load_lanes(dy, at + q * s->c, n);
                for (int64_t i = 0; i < s->k[0]; i++)
                    for (int64_t j = 0; j < s->k[1]; j++) {
                        v16 *to = ring_at(ring, s, t * s->stride[0] + i) + (h * s->stride[1] + j) * s->box[2];
                        const v16 *p = w + (i * s->k[1] + j) * s->k[2];
                        if (s->k[2] == 3 && s->stride[2] == 2) { /* the column that two outputs share stays in a register */
                            v16 both = to[0], w0 = p[0], w1 = p[1], w2 = p[2];
                            for (int64_t q = 0; q < s->out[2]; q++) {
                                to[2 * q] = both + d[q] * w0;
                                to[2 * q + 1] += d[q] * w1;
                                both = to[2 * q + 2] + d[q] * w2;
                            }
                            to[2 * s->out[2]] = both;
                        } else
                            for (int64_t q = 0; q < s->out[2]; q++)
                                for (int64_t k = 0; k < s->k[2]; k++) to[q * s->stride[2] + k] += d[q] * p[k];
                    }
            }
        }
        for (; done < s->in[0] + s->pf[0]; done++) take_frame(ring, s, c->out[0], b, done, c0);
    }
}

/* in: dy w; out: dx. Stride 1: correlation of dy with the reversed kernel. */
void FT_CPU(conv_dw_bwd_x)(const ft_call *c)
{
    shape s = shape_of(c->out[0], c->in[0], &c->attr->conv), r;
    if (is_plane(&s)) planes(c, &s, c->in[0], c->out[0], NULL, true);
    else if (reversed(&r, &s)) {
        cut(&r);
        correlate_all(c, &r, c->in[0], c->out[0], NULL, true);
    } else scatter(c, &s);
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

/* The share of a band of output frame t, whose dy is widened to d (channels / 16, rows, W). acc: the taps of each group, added
 * to; bias likewise */
static void frame_weights(v16 *ring, const shape *s, const ft_buf *dy, v16 *d, int64_t b, int64_t t, int64_t h0, int64_t c0,
                          v16 *acc, v16 *bias)
{
    enum { DEEP = 8 };
    int64_t n = channels_of(s, c0), row = s->box[2], plane_taps = s->k[1] * s->k[2], rows = FT_MIN(s->rows, s->out[1] - h0),
            each = rows * s->out[2];
    int64_t at = ((b * s->out[0] + t) * s->out[1] + h0) * s->out[2] * s->c + c0;
    for (int64_t q = 0; q < each; q++, at += s->c)
        for (int64_t g = 0; g < groups_of(s, c0); g++)
            d[g * each + q] = load_lanes(dy, at + g * LANES, FT_MIN(LANES, n - g * LANES));
    for (int64_t g = 0; g < groups_of(s, c0); g++) {
        bool sliding = is_3x3(s) && s->k[0] <= DEEP;
        v16 sum[DEEP][10];
        if (sliding) memset(sum, 0, sizeof sum);
        for (int64_t h = 0; h < rows; h++) {
            const v16 *from = d + g * each + h * s->out[2];
            for (int64_t i = 0; i < s->k[0]; i++) {
                const v16 *in = ring_at(ring, s, t * s->stride[0] + i) + g * plane_of(s) + h * s->stride[1] * row;
                v16 *a = acc + g * s->taps + i * plane_taps;
                if (sliding && s->stride[2] == 1) row3_weights(in, in + row, in + 2 * row, 1, 1, s->out[2], from, sum[i]);
                else if (sliding) row3_weights(in, in + row, in + 2 * row, 1, 2, s->out[2], from, sum[i]);
                else
                    for (int64_t j = 0; j < s->k[1]; j++)
                        if (s->k[2] == 1) weight_row(in + j * row, from, a + j, 1, s->out[2], s->stride[2]);
                        else weight_row(in + j * row, from, a + j * s->k[2], s->k[2], s->out[2], s->stride[2]);
            }
            for (int64_t q = 0; !sliding && q < s->out[2]; q++) bias[g] += from[q];
        }
        if (!sliding) continue;
        for (int64_t i = 0; i < s->k[0]; i++)
            for (int64_t k = 0; k < 9; k++) acc[g * s->taps + i * 9 + k] += sum[i][k];
        bias[g] += sum[0][9];
    }
}

/* in: x dy; out: dw (C,1,kt,kh,kw) db (C). A task owns its channels and some samples; sums of a frame are added to the total of
 * the task as a whole, those of tasks at the end, in order: rounding errors stay small and threads change nothing. */
void FT_CPU(conv_dw_bwd_w)(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1];
    shape s = shape_of(x, dy, &c->attr->conv);
    if (is_plane(&s)) {
        plane_gradients(c, &s);
        return;
    }
    size_t shared = (partial_floats(&s) * sizeof(float) + 63) / 64 * 64;
    cut(&s);
    int64_t blocks = blocks_of(&s), parts = portions(&s), each = s.taps + 1; /* numbers of a channel: its taps, its bias */
    float *partial = c->work;
#pragma omp parallel for schedule(dynamic)
    for (int64_t task = 0; task < blocks * parts; task++) {
        int64_t c0 = task % blocks * s.wide * LANES, part = task / blocks, n = channels_of(&s, c0);
        v16 *total = scratch(c, shared), *acc = total + s.wide * s.taps, *d = acc + s.wide * s.taps,
            *ring = d + s.rows * s.out[2] * s.wide, bias[WIDE] = {{0}};
        memset(total, 0, sizeof(v16) * (size_t)(s.taps * s.wide));
        memset(ring, 0, ring_bytes(&s));
        for (int64_t b = ft_part(s.samples, part, parts); b < ft_part(s.samples, part + 1, parts); b++)
            for (int64_t h0 = 0; h0 < s.out[1]; h0 += s.rows)
                for (int64_t t = 0, f = 0; t < s.out[0]; t++) {
                    for (; f < t * s.stride[0] + s.k[0]; f++) fill_frame(ring, &s, x, b, f, h0, c0);
                    memset(acc, 0, sizeof(v16) * (size_t)(s.taps * s.wide));
                    frame_weights(ring, &s, dy, d, b, t, h0, c0, acc, bias);
                    for (int64_t k = 0; k < s.taps * s.wide; k++) total[k] += acc[k];
                }
        for (int64_t i = 0; i < n; i++) {
            float *to = partial + (part * s.c + c0 + i) * each;
            for (int64_t k = 0; k < s.taps; k++) to[k] = total[i / LANES * s.taps + k][i % LANES];
            to[s.taps] = bias[i / LANES][i % LANES];
        }
    }
    for (int64_t i = 0; i < s.c; i++)
        for (int64_t k = 0; k < each; k++) {
            float sum = 0;
            for (int64_t part = 0; part < parts; part++) sum += partial[(part * s.c + i) * each + k];
            if (k < s.taps && c->out[0]) ((float *)c->out[0]->data)[i * s.taps + k] = sum;
            if (k == s.taps && c->out[1]) ((float *)c->out[1]->data)[i] = sum;
        }
}
