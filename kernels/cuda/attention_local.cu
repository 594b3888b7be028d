/* Windowed local attention with rotary positions, one head per call (lucidrains/local-attention).
 *
 * q, k, v (S, T, C). Key j is seen by query i when |i-j| <= window. Queries and keys are rotated once, into scratch; then a warp
 * works for each token, gathering from its window: nothing is added by two. Queries are rotated with an offset of one window. */
#include <stdlib.h>

#include "kernels/cuda/random.cuh"

struct local {
    int64_t seqs, t, c, reach, slots, padded;
    float scale, dropout;
    const float *table; /* cos, then sin (2T, C/2 each, interleaved by row) */
    const ft_step *step;
    uint32_t stream;
};

static local local_of(const ft_call *c)
{
    const ft_buf *q = c->in[0];
    local s;
    s.seqs = q->dim[0], s.t = q->dim[1], s.c = q->dim[2], s.reach = c->attr->seq.window, s.slots = 2 * s.reach + 1;
    s.padded = (s.slots + 3) / 4 * 4;
    s.scale = 1.0f / sqrtf((float)s.c), s.dropout = c->attr->seq.dropout;
    s.table = (const float *)c->state, s.step = c->step, s.stream = c->stream;
    return s;
}

static int need(ft_call *c, int64_t floats)
{
    local s = local_of(c);
    if (s.reach > s.t) return FT_FAIL(FT_EGRAPH, "window %lld over %lld tokens", (long long)s.reach, (long long)s.t);
    float *table = (float *)malloc((size_t)(2 * s.t * s.c) * sizeof(float));
    const void *there;
    if (!table) return FT_FAIL(FT_ENOMEM, "no memory for rotary tables");
    for (int64_t p = 0; p < 2 * s.t; p++)
        for (int64_t k = 0; k < s.c / 2; k++) {
            double a = (double)p * pow(10000.0, -2.0 * (double)k / (double)s.c);
            table[p * s.c + k] = (float)cos(a);
            table[p * s.c + s.c / 2 + k] = (float)sin(a);
        }
    int rc = ft_cuda_table(&there, table, (size_t)(2 * s.t * s.c) * sizeof(float));
    free(table);
    if (rc < 0) return rc;
    c->state = (void *)there;
    c->free_state = ft_cuda_free;
    c->work_size = (size_t)floats * sizeof(float);
    return FT_OK;
}

/* R(position) q * scale and R(position) k as f32; a thread for each pair of both */
template <typename T> static __global__ void rotate(float *qr, float *kr, const T *q, const T *key, local s)
{
    int64_t half = s.c / 2, rows = s.seqs * s.t;
    FT_EACH(i, 2 * rows * half)
    {
        bool first = i < rows * half;
        int64_t row = i / half % rows, k = i % half, offset = first ? s.reach : 0;
        float scale = first ? s.scale : 1.0f, *y = first ? qr : kr;
        const T *x = first ? q : key;
        const float *co = s.table + (row % s.t + offset) * s.c, *si = co + half;
        float a = ft_get(x + row * s.c + k), b = ft_get(x + row * s.c + k + half);
        y[row * s.c + k] = scale * (a * co[k] - b * si[k]);
        y[row * s.c + k + half] = scale * (b * co[k] + a * si[k]);
    }
}
static void rotate_both(const ft_call *c, const local &s, float *qr, float *kr)
{
    const ft_buf *q = c->in[0];
    FT_BY_TYPE(q->dtype, FT_RUN((rotate<T>), q->count, qr, kr, ft_as<const T>(q), ft_as<const T>(c->in[1]), s));
}
/* undone, from f32; either may be unwanted */
template <typename T> static __global__ void unrotate(T *to_q, T *to_k, const float *dq, const float *dk, local s)
{
    int64_t half = s.c / 2, rows = s.seqs * s.t;
    FT_EACH(i, 2 * rows * half)
    {
        bool first = i < rows * half;
        int64_t row = i / half % rows, k = i % half, offset = first ? s.reach : 0;
        float scale = first ? s.scale : 1.0f;
        const float *y = first ? dq : dk;
        T *x = first ? to_q : to_k;
        if (!x) continue;
        const float *co = s.table + (row % s.t + offset) * s.c, *si = co + half;
        float a = y[row * s.c + k], b = y[row * s.c + k + half];
        ft_put(x + row * s.c + k, scale * (a * co[k] + b * si[k]));
        ft_put(x + row * s.c + k + half, scale * (b * co[k] - a * si[k]));
    }
}

/* dropout factor of a slot of one query row; a row begins at a whole counter */
FT_DEV float kept(const local &s, int64_t row, int64_t slot)
{
    if (s.dropout <= 0) return 1;
    float u = ft_uniform1(s.step, s.stream, s.seqs * s.t * s.padded, row * s.padded + slot);
    return u < s.dropout ? 0.0f : 1.0f / (1.0f - s.dropout);
}

enum { WIDE = 8 }; /* channels that a lane mixes at once: the draws are made again for the next */

template <typename V, typename W> FT_DEV float warp_dot(const V *a, const W *b, int64_t n)
{
    float sum = 0;
    for (int64_t k = threadIdx.x % FT_WARP; k < n; k += FT_WARP) sum += ft_get(a + k) * ft_get(b + k);
    return ft_warp_sum(sum);
}

template <typename T>
static __global__ void local_forward(T *y, float *prob, const float *qr, const float *kr, const T *v, local s)
{
    enum { G = FT_WARP };
    FT_EACH_ROW(row, s.seqs * s.t)
    {
        int64_t i = row % s.t, first = row - i;
        int lane = (int)threadIdx.x % G;
        float *p = prob + row * s.slots, top = -INFINITY, total = 0;
        for (int64_t d = 0; d < s.slots; d++) {
            int64_t j = i + d - s.reach;
            float l = j < 0 || j >= s.t ? -INFINITY : warp_dot(qr + row * s.c, kr + (first + j) * s.c, s.c);
            top = fmaxf(top, l);
            if (lane == 0) p[d] = l;
        }
        __syncwarp();
        for (int64_t d = lane; d < s.slots; d += G) total += p[d] = ft_exp1(p[d] - top);
        total = ft_warp_sum(total);
        for (int64_t d = lane; d < s.slots; d += G) p[d] /= total;
        __syncwarp();
        /* a lane draws for its slot, once, and hands the weight to the others */
        for (int64_t k0 = 0; k0 < s.c; k0 += G * WIDE) {
            float sum[WIDE] = {0};
            for (int64_t d0 = 0; d0 < s.slots; d0 += G) {
                float mine = d0 + lane < s.slots ? p[d0 + lane] * kept(s, row, d0 + lane) : 0.0f;
                int n = s.slots - d0 < G ? (int)(s.slots - d0) : (int)G;
                for (int b = 0; b < n; b++) {
                    int64_t j = i + d0 + b - s.reach;
                    float w = __shfl_sync(0xFFFFFFFFu, mine, b);
                    if (j < 0 || j >= s.t) continue;
#pragma unroll
                    for (int e = 0; e < WIDE; e++)
                        if (k0 + e * G + lane < s.c) sum[e] += w * ft_get(v + (first + j) * s.c + k0 + e * G + lane);
                }
            }
#pragma unroll
            for (int e = 0; e < WIDE; e++)
                if (k0 + e * G + lane < s.c) ft_put(y + row * s.c + k0 + e * G + lane, sum[e]);
        }
    }
}

extern "C" int ft_cuda_prepare_attention_local(ft_call *c) { return need(c, 2 * c->in[0]->count); }

extern "C" void ft_cuda_attention_local(const ft_call *c)
{
    local s = local_of(c);
    const ft_buf *q = c->in[0];
    float *qr = (float *)c->work, *kr = qr + q->count;
    rotate_both(c, s, qr, kr);
    FT_BY_TYPE(q->dtype, FT_LAUNCH((local_forward<T>), ft_blocks(s.seqs * s.t, FT_WARPS), FT_THREADS, 0, ft_cuda_stream,
                                   ft_as<T>(c->out[0]), ft_as<float>(c->out[1]), (const float *)qr, (const float *)kr,
                                   ft_as<const T>(c->in[2]), s));
}

/* per query: ds (of the logits) and the weights that v was mixed with */
template <typename T>
static __global__ void local_logits(float *ds, float *mixed, const float *prob, const T *v, const T *dy, local s)
{
    enum { G = FT_WARP };
    FT_EACH_ROW(row, s.seqs * s.t)
    {
        int64_t i = row % s.t, first = row - i;
        int lane = (int)threadIdx.x % G;
        const float *p = prob + row * s.slots;
        float inner = 0, draw = 1;
        for (int64_t d = 0; d < s.slots; d++) {
            int64_t j = i + d - s.reach;
            bool seen = j >= 0 && j < s.t;
            if (d % G == 0) draw = d + lane < s.slots ? kept(s, row, d + lane) : 0.0f;
            float keep = __shfl_sync(0xFFFFFFFFu, draw, (int)(d % G)),
                  dp = seen ? keep * warp_dot(dy + row * s.c, v + (first + j) * s.c, s.c) : 0.0f;
            inner += p[d] * dp;
            if (lane == 0) ds[row * s.slots + d] = dp, mixed[row * s.slots + d] = seen ? p[d] * keep : 0.0f;
        }
        __syncwarp();
        for (int64_t d = lane; d < s.slots; d += G) ds[row * s.slots + d] = p[d] * (ds[row * s.slots + d] - inner);
    }
}

/* per token: its gradient as a query, as a key, as a value */
template <typename T>
static __global__ void local_gather(float *dq, float *dk, T *dv, const float *ds, const float *mixed, const float *qr,
                                    const float *kr, const T *dy, local s)
{
    FT_EACH(n, s.seqs * s.t * s.c)
    {
        int64_t row = n / s.c, k = n % s.c, i = row % s.t, first = row - i;
        float a = 0, b = 0, c = 0;
        for (int64_t d = 0; d < s.slots; d++) {
            int64_t j = i + d - s.reach;
            if (j < 0 || j >= s.t) continue;
            int64_t other = first + j, back = other * s.slots + s.slots - 1 - d; /* query j sees i in the mirrored slot */
            a += ds[row * s.slots + d] * kr[other * s.c + k];
            b += ds[back] * qr[other * s.c + k];
            c += mixed[back] * ft_get(dy + other * s.c + k);
        }
        dq[n] = a, dk[n] = b;
        if (dv) ft_put(dv + n, c);
    }
}

extern "C" int ft_cuda_prepare_attention_local_bwd(ft_call *c) { return need(c, 4 * c->in[0]->count + 2 * c->in[3]->count); }

/* in: q k v prob dy; out: dq dk dv */
extern "C" void ft_cuda_attention_local_bwd(const ft_call *c)
{
    local s = local_of(c);
    const ft_buf *q = c->in[0], *dy = c->in[4];
    float *qr = (float *)c->work, *kr = qr + q->count, *dq = kr + q->count, *dk = dq + q->count, *ds = dk + q->count,
          *mixed = ds + c->in[3]->count;
    rotate_both(c, s, qr, kr);
    FT_BY_TYPE(
        q->dtype, FT_LAUNCH((local_logits<T>), ft_blocks(s.seqs * s.t, FT_WARPS), FT_THREADS, 0, ft_cuda_stream, ds, mixed,
                            ft_as<const float>(c->in[3]), ft_as<const T>(c->in[2]), ft_as<const T>(dy), s);
        FT_RUN((local_gather<T>), q->count, dq, dk, ft_as<T>(c->out[2]), (const float *)ds, (const float *)mixed,
               (const float *)qr, (const float *)kr, ft_as<const T>(dy), s);
        FT_RUN((unrotate<T>), q->count, ft_as<T>(c->out[0]), ft_as<T>(c->out[1]), (const float *)dq, (const float *)dk, s));
}
