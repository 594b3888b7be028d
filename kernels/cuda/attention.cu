/* Dense scaled dot product attention in plain CUDA: f32, relative positions, head widths that cuDNN does not take, and the
 * sibling that the tests run on the host. attention_short.cu and attention_cudnn.c take the rest.
 *
 * A block holds 8 queries, a warp each, against tiles of 32 keys and values in shared memory; the softmax is rescaled as it goes,
 * and the log-sum-exp of each row is kept for the backward pass, which makes the probabilities again: once per query (dq), once
 * per key (dk, dv). Relative positions (LVDM, few tokens) keep probabilities and gradients of logits, for the tables' gradients.
 */
#include "kernels/cuda/attention.cuh"

enum { KEYS = 32, WIDEST = 256, LANES_D = WIDEST / FT_WARP, TABLE_PARTS = 32 };

/* row i of a side, for a sequence and head */
template <typename T>
FT_DEV const T *row_of(const attention &s, const side &x, int64_t rows, int64_t seq, int64_t head, int64_t i)
{
    return (const T *)x.base + (seq * rows + i) * x.stride + x.at + head * s.d;
}
template <typename T> FT_DEV float dot_with(const float *a, const T *b, int64_t n)
{
    float sum = 0;
    for (int64_t k = 0; k < n; k++) sum += a[k] * ft_get(b + k);
    return sum;
}

/* scaled logit of query i (q: its row in shared memory, scaled) and key j (its row in shared memory) */
template <typename T>
FT_DEV float logit(const attention &s, const float *q, const float *key, int64_t seq, int64_t head, int64_t i, int64_t j)
{
    float l = dot_with(q, key, s.d);
    if (s.rel_k && !s.transpose) l += dot_with(q, s.rel_k + entry(s, i, j) * s.d, s.d);
    if (s.rel_k && s.transpose)
        l += s.scale * dot_with(s.rel_k + entry(s, j, i) * s.d, row_of<T>(s, s.q, s.tq, seq, head, j), s.d);
    return l;
}

/* rows [i0, i0 + n) of a side into shared memory, ld apart */
template <typename T>
FT_DEV void load_rows(const attention &s, float *to, int64_t ld, const side &x, int64_t rows, int64_t seq, int64_t head,
                      int64_t i0, int64_t n, float scale)
{
    for (int64_t e = threadIdx.x; e < n * s.d; e += FT_THREADS)
        to[e / s.d * ld + e % s.d] = scale * ft_get(row_of<T>(s, x, rows, seq, head, i0 + e / s.d) + e % s.d);
}

/* grid: seqs * heads * blocks of queries, the latter side by side: they read the same keys */
template <typename T> static __global__ void attend(T *y, float *lse, attention s)
{
    FT_DYNAMIC_SHARED(float, tile); /* q (8, d), k and v (32, d + 1) */
    unsigned tiles = (unsigned)ft_ceil(s.tq, FT_WARPS), pair = blockIdx.x / tiles, heads = (unsigned)s.heads;
    int64_t ld = s.d + 1, seq = pair / heads, head = pair % heads, i0 = blockIdx.x % tiles * FT_WARPS,
            rows = s.tq - i0 < FT_WARPS ? s.tq - i0 : (int64_t)FT_WARPS, width = s.heads * s.d;
    float *q = tile, *k = q + FT_WARPS * ld, *v = k + KEYS * ld, acc[LANES_D] = {0}, top = -INFINITY, total = 0;
    int lane = (int)threadIdx.x % FT_WARP, warp = (int)threadIdx.x / FT_WARP;
    int64_t i = i0 + warp;
    load_rows<T>(s, q, ld, s.q, s.tq, seq, head, i0, rows, s.scale);
    int64_t last = s.causal && i0 + rows < s.tk ? i0 + rows : s.tk;
    for (int64_t j0 = 0; j0 < last; j0 += KEYS) {
        int64_t n = s.tk - j0 < KEYS ? s.tk - j0 : (int64_t)KEYS, j = j0 + lane;
        __syncthreads();
        load_rows<T>(s, k, ld, s.k, s.tk, seq, head, j0, n, 1);
        load_rows<T>(s, v, ld, s.v, s.tk, seq, head, j0, n, 1);
        __syncthreads();
        bool seen = warp < rows && lane < n && (!s.causal || j <= i);
        float l = seen ? logit<T>(s, q + warp * ld, k + lane * ld, seq, head, i, j) : -INFINITY, peak = ft_warp_max(l);
        float next = fmaxf(top, peak), shrink = top == -INFINITY ? 0.0f : ft_exp1(top - next),
              p = seen ? ft_exp1(l - next) : 0.0f;
        total = total * shrink + ft_warp_sum(p);
        top = next;
#pragma unroll
        for (int e = 0; e < LANES_D; e++) acc[e] *= shrink;
        for (int64_t b = 0; b < n; b++) {
            float pb = __shfl_sync(0xFFFFFFFFu, p, (int)b);
            const float *rv = s.rel_v && warp < rows ? s.rel_v + entry(s, i, j0 + b) * s.d : (const float *)NULL;
#pragma unroll
            for (int e = 0; e < LANES_D; e++) {
                int64_t at = (int64_t)e * FT_WARP + lane;
                if (at < s.d) acc[e] += pb * (v[b * ld + at] + (rv ? rv[at] : 0.0f));
            }
        }
    }
    if (warp >= rows) return;
    if (lane == 0) lse[(seq * s.heads + head) * s.tq + i] = top + logf(total);
#pragma unroll
    for (int e = 0; e < LANES_D; e++) {
        int64_t at = (int64_t)e * FT_WARP + lane;
        if (at < s.d) ft_put(y + (seq * s.tq + i) * width + head * s.d + at, acc[e] / total);
    }
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

/* grid as above: dq, and ds and p where they are kept */
template <typename T> static __global__ void query_grads(attention s, gradients g)
{
    FT_DYNAMIC_SHARED(float, tile); /* q, dout (8, d), k and v (32, d + 1) */
    unsigned tiles = (unsigned)ft_ceil(s.tq, FT_WARPS), pair = blockIdx.x / tiles, heads = (unsigned)s.heads;
    int64_t ld = s.d + 1, seq = pair / heads, head = pair % heads, i0 = blockIdx.x % tiles * FT_WARPS,
            rows = s.tq - i0 < FT_WARPS ? s.tq - i0 : (int64_t)FT_WARPS, width = s.heads * s.d;
    float *q = tile, *dout = q + FT_WARPS * ld, *k = dout + FT_WARPS * ld, *v = k + KEYS * ld, acc[LANES_D] = {0}, inner = 0;
    int lane = (int)threadIdx.x % FT_WARP, warp = (int)threadIdx.x / FT_WARP;
    int64_t i = i0 + warp, row = pair * s.tq + i;
    side out = {g.dy, width, 0};
    load_rows<T>(s, q, ld, s.q, s.tq, seq, head, i0, rows, s.scale);
    load_rows<T>(s, dout, ld, out, s.tq, seq, head, i0, rows, 1);
    __syncthreads();
    bool live = warp < rows;
    float lse = live ? g.lse[row] : 0.0f;
    out.base = g.y;
    for (int64_t e = lane; live && e < s.d; e += FT_WARP)
        inner += dout[warp * ld + e] * ft_get(row_of<T>(s, out, s.tq, seq, head, i) + e);
    inner = ft_warp_sum(inner);
    for (int64_t j0 = 0; j0 < s.tk; j0 += KEYS) {
        int64_t n = s.tk - j0 < KEYS ? s.tk - j0 : (int64_t)KEYS, j = j0 + lane;
        __syncthreads();
        load_rows<T>(s, k, ld, s.k, s.tk, seq, head, j0, n, 1);
        load_rows<T>(s, v, ld, s.v, s.tk, seq, head, j0, n, 1);
        __syncthreads();
        bool seen = live && lane < n && (!s.causal || j <= i);
        float p = 0, ds = 0;
        if (seen) {
            p = ft_exp1(logit<T>(s, q + warp * ld, k + lane * ld, seq, head, i, j) - lse);
            float dp = dot_with(dout + warp * ld, v + lane * ld, s.d);
            if (s.rel_v) dp += dot_with(dout + warp * ld, s.rel_v + entry(s, i, j) * s.d, s.d);
            ds = p * (dp - inner);
        }
        if (g.ds && live && lane < n) g.ds[row * s.tk + j] = ds, g.p[row * s.tk + j] = p;
        for (int64_t b = 0; b < n; b++) {
            float w = __shfl_sync(0xFFFFFFFFu, ds, (int)b);
            const float *rk = live && s.rel_k && !s.transpose ? s.rel_k + entry(s, i, j0 + b) * s.d : (const float *)NULL;
#pragma unroll
            for (int e = 0; e < LANES_D; e++) {
                int64_t at = (int64_t)e * FT_WARP + lane;
                if (at < s.d) acc[e] += w * (k[b * ld + at] + (rk ? rk[at] : 0.0f));
            }
        }
    }
    if (!live || !g.dq) return;
#pragma unroll
    for (int e = 0; e < LANES_D; e++) {
        int64_t at = (int64_t)e * FT_WARP + lane;
        if (at >= s.d) continue;
        float add = g.turned ? g.turned[row * s.d + at] : 0.0f;
        ft_put((T *)g.dq + (seq * s.tq + i) * s.q.stride + s.q.at + head * s.d + at, s.scale * (acc[e] + add));
    }
}

/* grid: seqs * heads * blocks of keys: dk and dv; a warp for each key, tiles of 32 queries */
template <typename T> static __global__ void key_grads(attention s, gradients g)
{
    FT_DYNAMIC_SHARED(float, tile); /* k, v (8, d), q, dout (32, d + 1), inner (32) */
    unsigned tiles = (unsigned)ft_ceil(s.tk, FT_WARPS), pair = blockIdx.x / tiles, heads = (unsigned)s.heads;
    int64_t ld = s.d + 1, seq = pair / heads, head = pair % heads, j0 = blockIdx.x % tiles * FT_WARPS,
            rows = s.tk - j0 < FT_WARPS ? s.tk - j0 : (int64_t)FT_WARPS, width = s.heads * s.d;
    float *k = tile, *v = k + FT_WARPS * ld, *q = v + FT_WARPS * ld, *dout = q + KEYS * ld, *inner = dout + KEYS * ld;
    float dk[LANES_D] = {0}, dv[LANES_D] = {0}, turned[LANES_D] = {0};
    int lane = (int)threadIdx.x % FT_WARP, warp = (int)threadIdx.x / FT_WARP;
    int64_t j = j0 + warp;
    side out = {g.dy, width, 0}, result = {g.y, width, 0};
    bool live = warp < rows;
    load_rows<T>(s, k, ld, s.k, s.tk, seq, head, j0, rows, 1);
    load_rows<T>(s, v, ld, s.v, s.tk, seq, head, j0, rows, 1);
    for (int64_t i0 = s.causal ? j0 / KEYS * KEYS : 0; i0 < s.tq; i0 += KEYS) {
        int64_t n = s.tq - i0 < KEYS ? s.tq - i0 : (int64_t)KEYS, i = i0 + lane;
        __syncthreads();
        load_rows<T>(s, q, ld, s.q, s.tq, seq, head, i0, n, s.scale);
        load_rows<T>(s, dout, ld, out, s.tq, seq, head, i0, n, 1);
        __syncthreads();
        for (int64_t b = warp; b < n; b += FT_WARPS) { /* dy . y of each query */
            float sum = 0;
            for (int64_t e = lane; e < s.d; e += FT_WARP)
                sum += dout[b * ld + e] * ft_get(row_of<T>(s, result, s.tq, seq, head, i0 + b) + e);
            sum = ft_warp_sum(sum);
            if (lane == 0) inner[b] = sum;
        }
        __syncthreads();
        float p = 0, ds = 0;
        if (live && lane < n && (!s.causal || j <= i)) {
            p = ft_exp1(logit<T>(s, q + lane * ld, k + warp * ld, seq, head, i, j) - g.lse[pair * s.tq + i]);
            float dp = dot_with(dout + lane * ld, v + warp * ld, s.d);
            if (s.rel_v) dp += dot_with(dout + lane * ld, s.rel_v + entry(s, i, j) * s.d, s.d);
            ds = p * (dp - inner[lane]);
        }
        for (int64_t b = 0; b < n; b++) {
            float wp = __shfl_sync(0xFFFFFFFFu, p, (int)b), ws = __shfl_sync(0xFFFFFFFFu, ds, (int)b);
            const float *rk = live && g.turned ? s.rel_k + entry(s, j, i0 + b) * s.d : (const float *)NULL;
#pragma unroll
            for (int e = 0; e < LANES_D; e++) {
                int64_t at = (int64_t)e * FT_WARP + lane;
                if (at >= s.d) continue;
                dk[e] += ws * q[b * ld + at];
                dv[e] += wp * dout[b * ld + at];
                if (rk) turned[e] += ws * rk[at];
            }
        }
    }
    if (!live) return;
#pragma unroll
    for (int e = 0; e < LANES_D; e++) {
        int64_t at = (int64_t)e * FT_WARP + lane, row = seq * s.tk + j, in = head * s.d + at;
        if (at >= s.d) continue;
        if (g.dk) ft_put((T *)g.dk + row * s.k.stride + s.k.at + in, dk[e]);
        if (g.dv) ft_put((T *)g.dv + row * s.v.stride + s.v.at + in, dv[e]);
        if (g.turned) g.turned[(pair * s.tq + j) * s.d + at] = turned[e];
    }
}

/* part (parts, 2R+1, d) of a table's gradient: sum over the pairs (i, j) of that entry of w_ij * row_of(i or j). Inside the reach
 * a row has one partner for an entry, at its ends those beyond. */
template <typename T>
static __global__ void table_grads(float *part, const float *w, attention s, side from, bool by_key, float scale, int64_t parts)
{
    int64_t entries = 2 * s.reach + 1, tasks = s.seqs * s.heads, rows = by_key ? s.tk : s.tq, others = by_key ? s.tq : s.tk;
    FT_EACH(n, parts * entries * s.d)
    {
        int64_t x = n % s.d, e = n / s.d % entries, p = n / s.d / entries;
        float sum = 0;
        for (int64_t task = ft_part_of(tasks, p, parts); task < ft_part_of(tasks, p + 1, parts); task++) {
            const T *row = row_of<T>(s, from, s.tq, task / s.heads, task % s.heads, 0) + x;
            for (int64_t r = 0; r < rows; r++, row += from.stride) {
                int64_t first, last;
                partners(s.reach, e, r, others, &first, &last);
                float weight = 0;
                for (int64_t o = first; o <= last; o++)
                    weight += by_key ? w[(task * s.tq + o) * s.tk + r] : w[(task * s.tq + r) * s.tk + o];
                sum += weight * ft_get(row);
            }
        }
        part[n] = scale * sum;
    }
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

static size_t shared_bytes(const attention *s, int64_t rows, int64_t tiles)
{
    return (size_t)((rows * FT_WARPS + tiles * KEYS) * (s->d + 1) + KEYS) * sizeof(float);
}

static int64_t table_parts(const attention *s)
{
    return s->seqs * s->heads < TABLE_PARTS ? s->seqs * s->heads : (int64_t)TABLE_PARTS;
}

static int limits(const attention *s)
{
    if (s->d > WIDEST)
        return FT_FAIL(FT_EGRAPH, "heads of %lld channels: the CUDA kernel holds %d at most", (long long)s->d, (int)WIDEST);
    return FT_OK;
}

extern "C" int ft_cuda_prepare_sdpa(ft_call *c)
{
    attention s = attention_of(c);
    FT_TRY(limits(&s));
    return ft_cuda_attention_few(c, false) == FEW_BEST ? FT_OK : ft_cuda_flash_prepare(c, false);
}

extern "C" void ft_cuda_sdpa(const ft_call *c)
{
    if (c->state) {
        ft_cuda_flash_forward(c);
        return;
    }
    if (ft_cuda_attention_few(c, false)) {
        ft_cuda_attention_few_forward(c);
        return;
    }
    attention s = attention_of(c);
    const ft_buf *y = c->out[0];
    FT_BY_TYPE(y->dtype, FT_LAUNCH_BIG((attend<T>), (unsigned)(s.seqs * s.heads * ft_ceil(s.tq, FT_WARPS)), FT_THREADS,
                                       shared_bytes(&s, 1, 2), ft_as<T>(y), ft_as<float>(c->out[1]), s));
}

static int64_t pairs(const attention *s) { return s->reach >= 0 ? s->seqs * s->heads * s->tq * s->tk : 0; }

extern "C" int ft_cuda_prepare_sdpa_bwd(ft_call *c)
{
    attention s = attention_of(c);
    FT_TRY(limits(&s));
    if (s.reach >= 0)
        c->work_size =
            (size_t)(2 * pairs(&s) + s.seqs * s.heads * s.tq * s.d + table_parts(&s) * (2 * s.reach + 1) * s.d) * sizeof(float);
    return ft_cuda_attention_few(c, true) == FEW_BEST ? FT_OK : ft_cuda_flash_prepare(c, true);
}

/* in: q k v rel_k rel_v lse y dy; out: dq dk dv drel_k drel_v. Packed: one output. */
extern "C" void ft_cuda_sdpa_bwd(const ft_call *c)
{
    if (c->state) {
        ft_cuda_flash_backward(c);
        return;
    }
    attention s = attention_of(c);
    const ft_buf *y = c->in[6], *dy = c->in[7];
    bool turned = s.rel_k && s.transpose;
    int64_t width = s.heads * s.d, n = pairs(&s), parts = table_parts(&s), all = s.seqs * s.heads;
    float *ds = (float *)c->work, *p = ds + n, *extra = p + n, *part = extra + all * s.tq * s.d;
    gradients g = gradients_of(c);
    if (s.reach >= 0) g.ds = ds, g.p = p;
    if (turned) g.turned = extra;
    bool few = ft_cuda_attention_few(c, true) != FEW_NO;
    if (few) ft_cuda_attention_few_backward(&s, &g);
    if (!few && (g.dk || g.dv || turned))
        FT_BY_TYPE(y->dtype, FT_LAUNCH_BIG((key_grads<T>), (unsigned)(all * ft_ceil(s.tk, FT_WARPS)), FT_THREADS,
                                           shared_bytes(&s, 2, 2), s, g));
    if (!few && (g.dq || g.ds))
        FT_BY_TYPE(y->dtype, FT_LAUNCH_BIG((query_grads<T>), (unsigned)(all * ft_ceil(s.tq, FT_WARPS)), FT_THREADS,
                                           shared_bytes(&s, 2, 2), s, g));
    for (int which = 0; which < 2; which++) {
        const ft_buf *out = c->out[3 + which];
        side from = {dy->data, width, 0};
        if (!out) continue;
        FT_BY_TYPE(y->dtype, FT_RUN((table_grads<T>), parts * out->count, part, (const float *)(which ? p : ds), s,
                                    which ? from : s.q, !which && s.transpose, which ? 1.0f : s.scale, parts));
        ft_cuda_sum_rows(out->data, FT_F32, part, 1, parts, out->count, out->count, 1);
    }
}
