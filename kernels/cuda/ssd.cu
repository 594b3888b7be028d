/* Mamba-2's state space scan (SSD; Dao & Gu 2024), with the state in registers.
 *
 * Per sequence and head, with a_t = exp(dt_t A), dt = softplus(raw + bias):
 *   h_t = a_t h_{t-1} + dt_t B_t x_t^T   (N, headdim),   y_t = C_t h_t + D x_t
 * The gradient of h runs backwards: g_t = C_t^T dy_t + a_{t+1} g_{t+1}. Everything else is read off these two scans:
 *   dx_t = dt_t B_t g_t + D dy_t,  dB_t = dt_t g_t x_t,  dC_t = h_t dy_t   (summed over heads),
 *   d(dt_t A) = sum_{i >= t} (dy_i . (y_i - D x_i) - x_i . dx_i without D) + <dfinal, h_T>,
 * since y_i holds exp(s_i - s_j) of the falling sums s: with its factors dy_i . y_i is C_i . dC_i of the head, and x_i . dx_i is
 * dt_i B_i . (g_i x_i). So one kernel does all four scans, each with other roles: rows i (a thread each) by columns k (in its
 * registers): H[i,k] = keep H[i,k] + U[i] W[k], out[i] = sum over k of R[k] H[i,k]. Columns beyond 32 are spread over lanes. */
#include "kernels/cuda/cuda.cuh"
#include "kernels/cuda/ssd.h"

enum { COLUMNS = 32, WIDEST = 256, TOKENS = 16 };

struct role { /* where one of U, W, R lies: element k of a token is at base[token * stride + at + head * by_head + k] */
    const void *base;
    int64_t stride, at, by_head;
};

struct scan {
    int64_t seqs, t, heads, rows, columns;
    int slices; /* lanes that share a row: a power of two */
    role u, w, r;
    const float *dt, *a_log; /* dt (seqs, t, heads) */
    bool reverse, weigh_in, weigh_out;
    const float *first; /* (seqs, heads, N, headdim): the state before, or the gradient of the state after */
    float *last;        /* what is left at the end; in reverse times the last decay: the gradient of the state before */
    int64_t row_step, column_step; /* of an element of the state */
    const float *dot;              /* <dot, state at the end> goes to dot_out (seqs, heads, blocks) */
    float *dot_out;
    float *partial; /* out as f32 (seqs, t, heads, rows), or NULL: */
    void *out;      /* out + d[head] * skip, in storage T, at out[token * out_stride + head * rows + i] */
    int64_t out_stride;
    const float *d;
    role skip;
};

template <typename T> FT_DEV float role_of(const role &o, int64_t token, int64_t head, int64_t k)
{
    return ft_get((const T *)o.base + token * o.stride + o.at + head * o.by_head + k);
}

/* grid: seqs * heads * tiles of rows */
template <typename T> static __global__ void scan_states(scan s)
{
    FT_DYNAMIC_SHARED(float, tile); /* W and R (TOKENS, padded columns) each, then keep, dt */
    unsigned each = FT_THREADS / (unsigned)s.slices, tiles = (unsigned)ft_ceil(s.rows, each), pair = blockIdx.x / tiles,
             heads = (unsigned)s.heads;
    int64_t wide = (int64_t)s.slices * COLUMNS, seq = pair / heads, head = pair % heads;
    float *tw = tile, *tr = tw + TOKENS * wide, *keep = tr + TOKENS * wide, *step = keep + TOKENS + 1;
    int slice = (int)threadIdx.x % s.slices;
    int64_t row = blockIdx.x % tiles * each + threadIdx.x / s.slices, base = (int64_t)pair * s.rows * s.columns;
    bool live = row < s.rows;
    float a = -ft_exp1(s.a_log[head]), h[COLUMNS];
#pragma unroll
    for (int k = 0; k < COLUMNS; k++) {
        int64_t c = slice * COLUMNS + k;
        h[k] = s.first && live && c < s.columns ? s.first[base + row * s.row_step + c * s.column_step] : 0.0f;
    }
    for (int64_t t0 = 0; t0 < s.t; t0 += TOKENS) {
        int64_t n = s.t - t0 < TOKENS ? s.t - t0 : (int64_t)TOKENS;
        __syncthreads();
        for (int64_t e = threadIdx.x; e < n * wide; e += FT_THREADS) {
            int64_t j = e / wide, c = e % wide, t = s.reverse ? s.t - 1 - t0 - j : t0 + j, token = seq * s.t + t;
            tw[e] = c < s.columns ? role_of<T>(s.w, token, head, c) : 0.0f;
            tr[e] = c < s.columns ? role_of<T>(s.r, token, head, c) : 0.0f;
        }
        if ((int64_t)threadIdx.x <
            n) { /* in reverse the decay between t and t + 1 is that of t + 1; none before the first step */
            int64_t j = threadIdx.x, t = s.reverse ? s.t - 1 - t0 - j : t0 + j, of = s.reverse ? t + 1 : t;
            step[j] = s.dt[(seq * s.t + t) * s.heads + head];
            keep[j] = of < s.t ? ft_exp1(s.dt[(seq * s.t + of) * s.heads + head] * a) : 1.0f;
        }
        __syncthreads();
        for (int64_t j = 0; j < n; j++) {
            int64_t t = s.reverse ? s.t - 1 - t0 - j : t0 + j, token = seq * s.t + t;
            float u = live ? role_of<T>(s.u, token, head, row) * (s.weigh_in ? step[j] : 1.0f) : 0.0f, out = 0;
            const float *w = tw + j * wide + slice * COLUMNS, *r = tr + j * wide + slice * COLUMNS;
#pragma unroll
            for (int k = 0; k < COLUMNS; k++) {
                h[k] = keep[j] * h[k] + u * w[k];
                out += r[k] * h[k];
            }
            for (int by = s.slices / 2; by > 0; by /= 2) out += __shfl_xor_sync(0xFFFFFFFFu, out, by);
            if (s.weigh_out) out *= step[j];
            if (slice > 0 || !live) continue;
            if (s.partial) s.partial[(token * s.heads + head) * s.rows + row] = out;
            else
                ft_put((T *)s.out + token * s.out_stride + head * s.rows + row,
                       out + s.d[head] * role_of<T>(s.skip, token, head, row));
        }
    }
    float left = s.reverse ? ft_exp1(s.dt[seq * s.t * s.heads + head] * a) : 1.0f, sum = 0;
#pragma unroll
    for (int k = 0; k < COLUMNS; k++) {
        int64_t c = slice * COLUMNS + k, at = base + row * s.row_step + c * s.column_step;
        if (!live || c >= s.columns) continue;
        if (s.last) s.last[at] = left * h[k];
        if (s.dot) sum += s.dot[at] * h[k];
    }
    if (!s.dot) return;
    sum = ft_sum<FT_THREADS>(sum);
    if (threadIdx.x == 0) s.dot_out[blockIdx.x] = sum;
}

/* ---- shapes ------------------------------------------------------------------------------------------------------------- */

struct shape {
    int64_t seqs, t, heads, p, n, e, width;
};

static shape shape_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    shape s;
    s.seqs = x->dim[0], s.t = x->dim[1], s.heads = c->attr->seq.heads, s.n = c->attr->seq.state, s.width = x->dim[2];
    s.e = s.width - 2 * s.n, s.p = s.e / s.heads;
    return s;
}

static int slices_for(int64_t columns)
{
    int n = 1;
    while ((int64_t)n * COLUMNS < columns) n *= 2;
    return n;
}
static int64_t tiles_of(const scan *k) { return ft_ceil(k->rows, FT_THREADS / k->slices); }

static scan scan_of(const shape *s, const float *dt, const ft_call *c, bool rows_are_channels, bool reverse)
{
    scan k;
    memset(&k, 0, sizeof k);
    k.seqs = s->seqs, k.t = s->t, k.heads = s->heads;
    k.rows = rows_are_channels ? s->p : s->n, k.columns = rows_are_channels ? s->n : s->p;
    k.row_step = rows_are_channels ? 1 : s->p, k.column_step = rows_are_channels ? s->p : 1; /* the state is (N, headdim) */
    k.slices = slices_for(k.columns);
    k.dt = dt, k.a_log = ft_as<const float>(c->in[3]);
    k.reverse = reverse, k.weigh_in = !reverse, k.weigh_out = reverse;
    return k;
}

static void run(const scan *k, ft_dtype dtype)
{
    size_t smem = (size_t)(2 * TOKENS * k->slices * COLUMNS + 2 * TOKENS + 2) * sizeof(float);
    FT_BY_TYPE(dtype,
               FT_LAUNCH((scan_states<T>), (unsigned)(k->seqs * k->heads * tiles_of(k)), FT_THREADS, smem, ft_cuda_stream, *k));
}

template <typename T> static __global__ void steps(float *dt, const T *raw, const float *bias, int64_t n, int64_t heads)
{
    FT_EACH(i, n) dt[i] = ft_softplus1(ft_get(raw + i) + bias[i % heads]);
}

static int limits(const shape *s)
{
    if (s->n > WIDEST || s->p > WIDEST)
        return FT_FAIL(FT_EGRAPH, "a state of %lld by %lld: the CUDA kernel holds %d by %d at most", (long long)s->n,
                       (long long)s->p, (int)WIDEST, (int)WIDEST);
    return FT_OK;
}

extern "C" int ft_cuda_prepare_ssd(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(s.seqs * s.t * s.heads) * sizeof(float);
    if (ft_cuda_ssd_chunk_fits(c, false)) c->work_size = ft_cuda_ssd_chunk_work(c, false);
    return limits(&s);
}

static role channels(const ft_buf *x, const shape *s, int64_t stride) { return role{x->data, stride, 0, s->p}; }
static role shared_by_heads(const ft_buf *x, const shape *s, int64_t at) { return role{x->data, s->width, at, 0}; }

extern "C" void ft_cuda_ssd(const ft_call *c)
{
    if (ft_cuda_ssd_chunk_fits(c, false)) {
        ft_cuda_ssd_chunk(c);
        return;
    }
    shape s = shape_of(c);
    const ft_buf *x = c->in[0];
    float *dt = (float *)c->work;
    FT_BY_TYPE(x->dtype, FT_RUN((steps<T>), c->in[1]->count, dt, ft_as<const T>(c->in[1]), ft_as<const float>(c->in[2]),
                                c->in[1]->count, s.heads));
    scan k = scan_of(&s, dt, c, true, false);
    k.u = k.skip = channels(x, &s, s.width);
    k.w = shared_by_heads(x, &s, s.e), k.r = shared_by_heads(x, &s, s.e + s.n);
    k.first = ft_as<const float>(c->in[5]);
    k.last = c->n_out > 1 ? ft_as<float>(c->out[1]) : NULL;
    k.out = c->out[0]->data, k.out_stride = s.e, k.d = ft_as<const float>(c->in[4]);
    run(&k, x->dtype);
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

/* dot (seqs, t, heads): sum over n of factor[token][n] * part[token][head][n]; a warp each */
template <typename T>
static __global__ void head_dots(float *dot, const float *part, role factor, int64_t tokens, int64_t heads, int64_t n)
{
    enum { G = FT_WARP };
    FT_EACH_ROW(task, tokens * heads)
    {
        float sum = 0;
        for (int64_t k = threadIdx.x % G; k < n; k += G) sum += part[task * n + k] * role_of<T>(factor, task / heads, 0, k);
        sum = ft_sum<G>(sum);
        if (threadIdx.x % G == 0) dot[task] = sum;
    }
}

/* out[token][at + n] = sum over heads of part[token][head][n], times dt if given */
template <typename T>
static __global__ void sum_heads(T *out, const float *part, const float *dt, int64_t tokens, int64_t heads, int64_t n,
                                 int64_t stride, int64_t at)
{
    FT_EACH(i, tokens * n)
    {
        int64_t token = i / n, k = i % n;
        float sum = 0;
        for (int64_t h = 0; h < heads; h++) sum += part[(token * heads + h) * n + k] * (dt ? dt[token * heads + h] : 1.0f);
        ft_put(out + token * stride + at + k, sum);
    }
}

/* ddt, and sums (seqs, 3, heads) of dt_bias, A_log and D; a warp walks a sequence and head from its end */
template <typename T>
static __global__ void step_grads(T *ddt, float *sums, const float *dt, const T *raw, const float *bias, const float *a_log,
                                  const float *y_dot, const float *x_dot, const float *end_dot, int64_t end_parts, const T *x,
                                  int64_t width, const T *dy, int64_t seqs, int64_t t, int64_t heads, int64_t p)
{
    enum { G = FT_WARP };
    FT_EACH_ROW(task, seqs * heads)
    {
        int64_t seq = task / heads, h = task % heads;
        int lane = (int)threadIdx.x % G;
        float a = -ft_exp1(a_log[h]), carry = 0, dbias = 0, da = 0, dd = 0;
        for (int64_t k = 0; end_dot && k < end_parts; k++) carry += end_dot[task * end_parts + k];
        for (int64_t end = t; end > 0; end -= G) { /* 32 tokens at a time: tail = sum of all later ds and its own */
            int64_t i = end - 1 - lane, at = (seq * t + i) * heads + h;
            float ds = i >= 0 ? y_dot[at] - dt[at] * x_dot[at] : 0.0f, tail = ds;
            for (int by = 1; by < G; by *= 2) {
                float before = __shfl_up_sync(0xFFFFFFFFu, tail, (unsigned)by);
                if (lane >= by) tail += before;
            }
            tail += carry;
            carry = __shfl_sync(0xFFFFFFFFu, tail, G - 1);
            if (i < 0) continue;
            float dr = (x_dot[at] + a * tail) * ft_sigmoid1(ft_get(raw + at) + bias[h]);
            da += dt[at] * tail;
            dbias += dr;
            if (ddt) ft_put(ddt + at, dr);
        }
        for (int64_t e = lane; e < t * p; e += G) {
            int64_t token = seq * t + e / p, k = h * p + e % p;
            dd += ft_get(dy + token * heads * p + k) * ft_get(x + token * width + k);
        }
        dbias = ft_sum<G>(dbias), da = ft_sum<G>(da), dd = ft_sum<G>(dd);
        if (lane > 0) continue;
        sums[(seq * 3) * heads + h] = dbias;
        sums[(seq * 3 + 1) * heads + h] = a * da;
        sums[(seq * 3 + 2) * heads + h] = dd;
    }
}

extern "C" int ft_cuda_prepare_ssd_bwd(ft_call *c)
{
    shape s = shape_of(c);
    int64_t steps_ = s.seqs * s.t * s.heads;
    c->work_size =
        (size_t)(3 * steps_ + steps_ * s.n + s.seqs * 3 * s.heads + s.seqs * s.heads * ft_ceil(s.n, 32)) * sizeof(float);
    if (ft_cuda_ssd_chunk_fits(c, true)) c->work_size = ft_cuda_ssd_chunk_work(c, true);
    return limits(&s);
}

/* in: xbc dt dt_bias a_log d state dy dfinal; out: dxbc ddt ddt_bias da_log dd dstate */
extern "C" void ft_cuda_ssd_bwd(const ft_call *c)
{
    if (ft_cuda_ssd_chunk_fits(c, true)) {
        ft_cuda_ssd_chunk_bwd(c);
        return;
    }
    shape s = shape_of(c);
    const ft_buf *x = c->in[0], *dy = c->in[6], *dx = c->out[0];
    int64_t steps_ = s.seqs * s.t * s.heads, tokens = s.seqs * s.t;
    float *dt = (float *)c->work, *y_dot = dt + steps_, *x_dot = y_dot + steps_, *part = x_dot + steps_,
          *sums = part + steps_ * s.n, *end_dot = sums + s.seqs * 3 * s.heads;
    FT_BY_TYPE(x->dtype, FT_RUN((steps<T>), steps_, dt, ft_as<const T>(c->in[1]), ft_as<const float>(c->in[2]), steps_, s.heads));
    if (dx) {
        scan k = scan_of(&s, dt, c, true, true); /* dx and dstate */
        k.u = k.skip = channels(dy, &s, s.e);
        k.w = shared_by_heads(x, &s, s.e + s.n), k.r = shared_by_heads(x, &s, s.e);
        k.first = ft_as<const float>(c->in[7]), k.last = ft_as<float>(c->out[5]);
        k.out = dx->data, k.out_stride = s.width, k.d = ft_as<const float>(c->in[4]);
        run(&k, x->dtype);
    }
    for (int reverse = 0; reverse < 2; reverse++) { /* dC and its dots, then dB and its dots */
        scan k = scan_of(&s, dt, c, false, reverse);
        k.u = shared_by_heads(x, &s, reverse ? s.e + s.n : s.e);
        k.w = reverse ? channels(dy, &s, s.e) : channels(x, &s, s.width);
        k.r = reverse ? channels(x, &s, s.width) : channels(dy, &s, s.e);
        k.weigh_out = false; /* dB_t / dt_t first: its dot with B is what dt_t itself gets */
        k.first = ft_as<const float>(reverse ? c->in[7] : c->in[5]);
        if (reverse && !dx) k.last = ft_as<float>(c->out[5]);
        if (!reverse && c->in[7]) k.dot = ft_as<const float>(c->in[7]), k.dot_out = end_dot;
        k.partial = part;
        run(&k, x->dtype);
        FT_BY_TYPE(x->dtype,
                   FT_LAUNCH((head_dots<T>), ft_blocks(steps_, FT_WARPS), FT_THREADS, 0, ft_cuda_stream, reverse ? x_dot : y_dot,
                             part, shared_by_heads(x, &s, reverse ? s.e : s.e + s.n), tokens, s.heads, s.n));
        if (!dx) continue;
        FT_BY_TYPE(x->dtype, FT_RUN((sum_heads<T>), tokens * s.n, ft_as<T>(dx), part, reverse ? dt : (const float *)NULL, tokens,
                                    s.heads, s.n, s.width, reverse ? s.e : s.e + s.n));
    }
    scan k = scan_of(&s, dt, c, false, false);
    FT_BY_TYPE(x->dtype, FT_LAUNCH((step_grads<T>), ft_blocks(s.seqs * s.heads, FT_WARPS), FT_THREADS, 0, ft_cuda_stream,
                                   ft_as<T>(c->out[1]), sums, dt, ft_as<const T>(c->in[1]), ft_as<const float>(c->in[2]),
                                   ft_as<const float>(c->in[3]), y_dot, x_dot, c->in[7] ? end_dot : (const float *)NULL,
                                   tiles_of(&k), ft_as<const T>(x), s.width, ft_as<const T>(dy), s.seqs, s.t, s.heads, s.p));
    ft_sum_part sum[3];
    for (int q = 0; q < 3; q++) sum[q] = {ft_as<float>(c->out[2 + q]), sums + q * s.heads, 1, s.seqs, 3 * s.heads, s.heads};
    ft_cuda_sum_rows_of(3, sum);
}
