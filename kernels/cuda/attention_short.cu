/* Attention over few queries and keys on tensor cores: bf16, up to 64 of each, heads of up to 128 channels, causal or not.
 *
 * A warp owns a sequence and head, alone with its part of shared memory: 16 queries at a time against all keys, the softmax of a
 * row in the registers of four lanes, the probabilities the next product's operand as they stand. Backward, the row's sum of
 * p dp is at hand too, so dq needs no other pass; dk and dv make the transposed tiles again, 16 keys at a time. Channels beyond
 * the head's, queries and keys beyond the last are zeros.
 *
 * Relative positions (up to 32 queries and keys): the tables lie in shared memory as two halves of bf16, for the block; their
 * products with all queries are made once and looked up by (i, j), and what a row gives an entry is the sum over its partners. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/tensor.cuh"

enum { MOST = 64, MOST_RELATIVE = 32, MOST_WARPS = 8, PAD = 8, SHARED = 96 << 10, BEST = 32 };

static int padded(int64_t n) { return (int)(n + 15) / 16 * 16; }
static int padded_width(int64_t d) { return d <= 16 ? 16 : d <= 32 ? 32 : d <= 64 ? 64 : 128; }
/* Relative positions as a block sees them: no farther than its rows reach */
struct relative {
    int reach, entries, ld, ldk; /* entries: 2 reach + 1, padded; of products with the tables, of weights of keys */
    const float *k, *v;          /* the first entry that is reached; either may be NULL */
};
static relative relative_of(const attention *s)
{
    relative r;
    int64_t far = (s->tq > s->tk ? s->tq : s->tk) - 1, reach = s->reach < far ? s->reach : far;
    r.reach = (int)reach, r.entries = padded(2 * reach + 1), r.ld = r.entries + 4, r.ldk = padded(s->tk) + 4;
    r.k = s->rel_k ? s->rel_k + (s->reach - reach) * s->d : NULL, r.v = s->rel_v ? s->rel_v + (s->reach - reach) * s->d : NULL;
    return r;
}
/* of a block: two tables in two halves each */
static size_t table_bytes(const attention *s)
{
    return s->reach < 0 ? 0 : (size_t)(4 * relative_of(s).entries * (padded_width(s->d) + PAD)) * 2;
}
/* of a warp: q and dy, k and v, the row's lse and sum of p dp; products with the tables, weights of keys */
static size_t warp_bytes(const attention *s, bool backward)
{
    size_t row = (size_t)(padded_width(s->d) + PAD) * 2, q = (size_t)padded(s->tq), extra = 0;
    if (s->reach >= 0) {
        relative r = relative_of(s);
        extra = backward ? q * (size_t)(2 * r.ld + r.ldk) * 4 : (q * (size_t)r.ld + 16 * (size_t)r.ldk) * 4;
    }
    return row * ((backward ? 2 : 1) * q + 2 * (size_t)padded(s->tk)) + (backward ? q * 8 : 0) + extra;
}
static int warps_of(const attention *s, bool backward)
{
    int64_t n = (SHARED - (int64_t)table_bytes(s)) / (int64_t)warp_bytes(s, backward), tasks = s->seqs * s->heads;
    n = n < MOST_WARPS ? n : (int64_t)MOST_WARPS;
    return (int)(n < tasks ? n : tasks);
}

/* rows of one head, `stride` apart, to shared memory, by one warp */
template <int D> FT_DEV void fetch(bf16 *to, const bf16 *from, int64_t stride, int rows, int all, int d)
{
    for (int e = (int)threadIdx.x % FT_WARP; e < all * D / 8; e += FT_WARP) {
        int row = e / (D / 8), at = e % (D / 8) * 8;
        bool inside = row < rows && at < d;
        ft_copy(to + row * (D + PAD) + at, inside ? from + row * stride + at : from, inside);
    }
}
/* 16 rows of a times all of b's rows, turned: TILES pairs of 8 columns */
template <int D, int TILES> FT_DEV void against(float out[2 * TILES][4], const bf16 *a, const bf16 *b)
{
#pragma unroll
    for (int k = 0; k < D / 16; k++) {
        uint32_t fa[4], fb[4];
        ft_load_a(fa, a + k * 16, D + PAD);
#pragma unroll
        for (int j = 0; j < TILES; j++) {
            ft_load_b_turned(fb, b + j * 16 * (D + PAD) + k * 16, D + PAD);
            ft_mma_pair(out + 2 * j, fa, fb);
        }
    }
}
/* += 16 x 16 weights times 16 rows of b */
template <int D> FT_DEV void mix(float out[D / 8][4], const float w[2][4], const bf16 *b)
{
    uint32_t a[4], rest[4], fb[4];
    ft_split_a(a, rest, w);
#pragma unroll
    for (int c = 0; c < D / 16; c++) {
        ft_load_b(fb, b + c * 16, D + PAD);
        ft_mma_pair(out + 2 * c, a, fb);
        ft_mma_pair(out + 2 * c, rest, fb);
    }
}
/* rows row and row + 8 of 16, times scale */
template <int D>
FT_DEV void store(bf16 *to, int64_t stride, const float out[D / 8][4], int row, int rows, int d, const float scale[2])
{
#pragma unroll
    for (int half = 0; half < 2; half++) {
        if (row + half * 8 >= rows) continue;
#pragma unroll
        for (int c = 0; c < D / 8; c++) {
            float v[2] = {out[c][half * 2] * scale[half], out[c][half * 2 + 1] * scale[half]};
            if (c * 8 < d) ft_write<2>(to + (row + half * 8) * stride + c * 8 + threadIdx.x % 4 * 2, v);
        }
    }
}
/* 16 rows of weights of keys */
template <int K> FT_DEV void keep(float *to, const float p[2 * K][4], int ld)
{
    int lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2;
#pragma unroll
    for (int c = 0; c < 2 * K; c++)
#pragma unroll
        for (int e = 0; e < 4; e++) to[(g + e / 2 * 8) * ld + c * 8 + c2 + e % 2] = p[c][e];
}
FT_DEV float quad_sum(float v)
{
    v += __shfl_xor_sync(0xFFFFFFFFu, v, 1);
    return v + __shfl_xor_sync(0xFFFFFFFFu, v, 2);
}
FT_DEV float quad_max(float v)
{
    v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 1));
    return fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, 2));
}

/* ---- relative positions ------------------------------------------------------------------------------------------------- */

/* a table's entries as what bf16 holds of them, and the rest behind it; by the block */
template <int D> FT_DEV void fetch_table(bf16 *to, const float *table, const relative &r, int d)
{
    bf16 *rest = to + r.entries * (D + PAD);
    for (int e = (int)threadIdx.x; e < r.entries * D; e += (int)blockDim.x) {
        int row = e / D, at = e % D;
        float v = table && row <= 2 * r.reach && at < d ? table[row * d + at] : 0.0f;
        ft_put(to + row * (D + PAD) + at, v);
        ft_put(rest + row * (D + PAD) + at, v - ft_get(to + row * (D + PAD) + at));
    }
}
/* out[row][entry] of all rows of x (16 at a time) */
template <int D> FT_DEV void with_table(float *out, const bf16 *x, int rows, const bf16 *table, const relative &r)
{
    int lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2;
    const bf16 *rest = table + r.entries * (D + PAD);
    for (int i0 = 0; i0 < rows; i0 += 16)
        for (int e0 = 0; e0 < r.entries; e0 += 16) {
            float d[2][4] = {{0}};
            against<D, 1>(d, x + i0 * (D + PAD), table + e0 * (D + PAD));
            against<D, 1>(d, x + i0 * (D + PAD), rest + e0 * (D + PAD));
#pragma unroll
            for (int i = 0; i < 8; i++) out[(i0 + g + i % 4 / 2 * 8) * r.ld + e0 + i / 4 * 8 + c2 + i % 2] = d[i / 4][i % 4];
        }
}
FT_DEV float looked_up(const float *m, const relative &r, int i, int j)
{
    int e = j - i;
    return m[i * r.ld + (e < -r.reach ? -r.reach : e > r.reach ? r.reach : e) + r.reach];
}
/* out of 16 rows from row0 on += what they give each entry, times the entry; m[row][other], or turned */
template <int D>
FT_DEV void mix_table(float out[D / 8][4], const float *m, bool turned, int row0, int rows, int others, const bf16 *table,
                      const relative &r)
{
    int lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2;
    const bf16 *rest = table + r.entries * (D + PAD);
    for (int e0 = 0; e0 < r.entries; e0 += 16) {
        float w[2][4];
        for (int i = 0; i < 8; i++) {
            int row = row0 + g + i % 4 / 2 * 8, e = e0 + i / 4 * 8 + c2 + i % 2;
            int64_t first = 0, last = -1;
            float sum = 0;
            if (row < rows && e <= 2 * r.reach) partners(r.reach, e, row, others, &first, &last);
            for (int64_t o = first; o <= last; o++) sum += turned ? m[o * r.ldk + row] : m[row * r.ldk + o];
            w[i / 4][i % 4] = sum;
        }
        mix<D>(out, w, table + e0 * (D + PAD));
        mix<D>(out, w, rest + e0 * (D + PAD));
    }
}

/* sums of rows row and row + 8, kept by the thread that has them */
template <int D> FT_DEV void park(float *to, const float out[D / 8][4], int row, int rows, int d)
{
#pragma unroll
    for (int i = 0; i < D / 2; i++) {
        int at = i / 4 * 8 + (int)threadIdx.x % 4 * 2 + i % 2, r = row + i % 4 / 2 * 8;
        if (r < rows && at < d) to[r * d + at] = out[i / 4][i % 4];
    }
}
template <int D> FT_DEV void unpark(float out[D / 8][4], const float *from, int row, int rows, int d)
{
#pragma unroll
    for (int i = 0; i < D / 2; i++) {
        int at = i / 4 * 8 + (int)threadIdx.x % 4 * 2 + i % 2, r = row + i % 4 / 2 * 8;
        if (r < rows && at < d) out[i / 4][i % 4] = from[r * d + at];
    }
}

/* grid: sequences and heads, a warp each; K: tiles of 16 keys */
template <int D, int K, bool REL>
static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 1) attend_short(bf16 *y, float *lse, attention s, relative r)
{
    FT_DYNAMIC_SHARED(bf16, all);
    int warp = (int)threadIdx.x / FT_WARP, lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2, tq = (int)s.tq,
        tk = (int)s.tk, q16 = (tq + 15) / 16 * 16, d = (int)s.d;
    int64_t task = (int64_t)blockIdx.x * (blockDim.x / FT_WARP) + warp, width = s.heads * s.d;
    bf16 *table_k = all, *table_v = all + 2 * r.entries * (D + PAD), *mine = all + (REL ? 4 * r.entries * (D + PAD) : 0);
    if (REL) {
        fetch_table<D>(table_k, r.k, r, d);
        fetch_table<D>(table_v, r.v, r, d);
        __syncthreads();
    }
    if (task >= s.seqs * s.heads) return;
    int64_t seq = task / s.heads, head = task % s.heads;
    bf16 *q = mine + warp * ((q16 + 2 * K * 16) * (D + PAD) + (REL ? 2 * (q16 * r.ld + 16 * r.ldk) : 0)),
         *k = q + q16 * (D + PAD), *v = k + K * 16 * (D + PAD);
    float *with_k = (float *)(v + K * 16 * (D + PAD)), *weight = with_k + q16 * r.ld;
    fetch<D>(q, (const bf16 *)s.q.base + seq * tq * s.q.stride + s.q.at + head * d, s.q.stride, tq, q16, d);
    fetch<D>(k, (const bf16 *)s.k.base + seq * tk * s.k.stride + s.k.at + head * d, s.k.stride, tk, K * 16, d);
    fetch<D>(v, (const bf16 *)s.v.base + seq * tk * s.v.stride + s.v.at + head * d, s.v.stride, tk, K * 16, d);
    ft_copies_done();
    __syncwarp();
    if (REL) {
        with_table<D>(with_k, q, q16, table_k, r);
        __syncwarp();
    }
    for (int i0 = 0; i0 < tq; i0 += 16) {
        float p[2 * K][4] = {{0}}, out[D / 8][4] = {{0}}, inverse[2];
        against<D, K>(p, q + i0 * (D + PAD), k);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int i = i0 + g + half * 8;
            float top = -INFINITY, total = 0;
#pragma unroll
            for (int c = 0; c < 2 * K; c++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    int j = c * 8 + c2 + e;
                    float *l = &p[c][half * 2 + e];
                    bool seen = j < tk && (!s.causal || j <= i);
                    if (REL && seen && i < tq) *l += s.transpose ? looked_up(with_k, r, j, i) : looked_up(with_k, r, i, j);
                    *l = seen ? *l * s.scale : -INFINITY;
                    top = fmaxf(top, *l);
                }
            top = quad_max(top);
#pragma unroll
            for (int c = 0; c < 2 * K; c++)
#pragma unroll
                for (int e = 0; e < 2; e++) total += p[c][half * 2 + e] = ft_exp1(p[c][half * 2 + e] - top);
            total = quad_sum(total);
            inverse[half] = 1.0f / total;
            if (lane % 4 == 0 && i < tq) lse[task * tq + i] = top + logf(total);
        }
#pragma unroll
        for (int j = 0; j < K; j++) mix<D>(out, p + 2 * j, v + j * 16 * (D + PAD));
        if (REL && r.v) {
            __syncwarp();
            keep<K>(weight, p, r.ldk);
            __syncwarp();
            mix_table<D>(out, weight - i0 * r.ldk, false, i0, tq, tk, table_v, r);
        }
        store<D>(y + seq * tq * width + head * d, width, out, i0 + g, tq, d, inverse);
    }
}

template <int D, int K, bool REL>
static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 1) attend_short_bwd(attention s, gradients grads, relative r)
{
    FT_DYNAMIC_SHARED(bf16, all);
    int warp = (int)threadIdx.x / FT_WARP, lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2, tq = (int)s.tq,
        tk = (int)s.tk, q16 = (tq + 15) / 16 * 16, d = (int)s.d, rows = 2 * q16 + 2 * K * 16;
    int64_t task = (int64_t)blockIdx.x * (blockDim.x / FT_WARP) + warp, width = s.heads * s.d;
    bf16 *table_k = all, *table_v = all + 2 * r.entries * (D + PAD), *mine = all + (REL ? 4 * r.entries * (D + PAD) : 0);
    if (REL) {
        fetch_table<D>(table_k, r.k, r, d);
        fetch_table<D>(table_v, r.v, r, d);
        __syncthreads();
    }
    if (task >= s.seqs * s.heads) return;
    int64_t seq = task / s.heads, head = task % s.heads;
    bf16 *q = mine + warp * (rows * (D + PAD) + q16 * 4 + (REL ? 2 * q16 * (2 * r.ld + r.ldk) : 0)), *dy = q + q16 * (D + PAD),
         *k = dy + q16 * (D + PAD), *v = k + K * 16 * (D + PAD);
    float *lse = (float *)(v + K * 16 * (D + PAD)), *inner = lse + q16, *with_k = inner + q16, *with_v = with_k + q16 * r.ld,
          *weight = with_v + q16 * r.ld, scale[2] = {s.scale, s.scale}, one[2] = {1, 1};
    int64_t at_q = seq * tq * s.q.stride + s.q.at + head * d, at_k = seq * tk * s.k.stride + s.k.at + head * d,
            at_v = seq * tk * s.v.stride + s.v.at + head * d;
    fetch<D>(q, (const bf16 *)s.q.base + at_q, s.q.stride, tq, q16, d);
    fetch<D>(dy, (const bf16 *)grads.dy + seq * tq * width + head * d, width, tq, q16, d);
    fetch<D>(k, (const bf16 *)s.k.base + at_k, s.k.stride, tk, K * 16, d);
    fetch<D>(v, (const bf16 *)s.v.base + at_v, s.v.stride, tk, K * 16, d);
    for (int i = lane; i < q16; i += FT_WARP) lse[i] = i < tq ? grads.lse[task * tq + i] : 0.0f;
    ft_copies_done();
    __syncwarp();
    if (REL) {
        with_table<D>(with_k, q, q16, table_k, r);
        with_table<D>(with_v, dy, q16, table_v, r);
        __syncwarp();
    }
    for (int i0 = 0; i0 < tq; i0 += 16) {
        float p[2 * K][4] = {{0}}, dp[2 * K][4] = {{0}}, out[D / 8][4] = {{0}};
        against<D, K>(p, q + i0 * (D + PAD), k);
        against<D, K>(dp, dy + i0 * (D + PAD), v);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int i = i0 + g + half * 8;
            float sum = 0;
#pragma unroll
            for (int c = 0; c < 2 * K; c++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    int j = c * 8 + c2 + e;
                    float *l = &p[c][half * 2 + e];
                    bool seen = j < tk && i < tq && (!s.causal || j <= i);
                    if (REL && seen) {
                        *l += s.transpose ? looked_up(with_k, r, j, i) : looked_up(with_k, r, i, j);
                        dp[c][half * 2 + e] += looked_up(with_v, r, i, j);
                    }
                    *l = seen ? ft_exp1(*l * s.scale - lse[i]) : 0.0f;
                    sum += *l * dp[c][half * 2 + e];
                }
            sum = quad_sum(sum);
            if (lane % 4 == 0) inner[i] = sum;
#pragma unroll
            for (int c = 0; c < 2 * K; c++)
#pragma unroll
                for (int e = 0; e < 2; e++) dp[c][half * 2 + e] = p[c][half * 2 + e] * (dp[c][half * 2 + e] - sum);
        }
        if (REL) {
            keep<K>(weight + i0 * r.ldk, dp, r.ldk);
#pragma unroll
            for (int e = 0; e < 8 * K; e++) {
                int i = i0 + g + e % 4 / 2 * 8, j = e / 4 * 8 + c2 + e % 2;
                int64_t at = (task * tq + i) * tk + j;
                if (i < tq && j < tk) grads.ds[at] = dp[e / 4][e % 4], grads.p[at] = p[e / 4][e % 4];
            }
        }
        if (!grads.dq) continue;
#pragma unroll
        for (int j = 0; j < K; j++) mix<D>(out, dp + 2 * j, k + j * 16 * (D + PAD));
        if (REL && s.transpose && r.k) { /* what it gets as a key's partner waits for all queries */
            park<D>(grads.turned + task * tq * d, out, i0 + g, tq, d);
            continue;
        }
        if (REL && r.k) {
            __syncwarp();
            mix_table<D>(out, weight, false, i0, tq, tk, table_k, r);
        }
        store<D>((bf16 *)grads.dq + at_q, s.q.stride, out, i0 + g, tq, d, scale);
    }
    __syncwarp();
    for (int i0 = 0; REL && s.transpose && r.k && grads.dq && i0 < tq; i0 += 16) {
        float out[D / 8][4] = {{0}};
        unpark<D>(out, grads.turned + task * tq * d, i0 + g, tq, d);
        mix_table<D>(out, weight, true, i0, tk, tq, table_k, r);
        store<D>((bf16 *)grads.dq + at_q, s.q.stride, out, i0 + g, tq, d, scale);
    }
    for (int j0 = 0; j0 < tk; j0 += 16) {
        float dk[D / 8][4] = {{0}}, dv[D / 8][4] = {{0}};
        for (int i0 = 0; i0 < tq; i0 += 16) {
            float p[2][4] = {{0}}, dp[2][4] = {{0}};
            against<D, 1>(p, k + j0 * (D + PAD), q + i0 * (D + PAD));
            against<D, 1>(dp, v + j0 * (D + PAD), dy + i0 * (D + PAD));
#pragma unroll
            for (int c = 0; c < 2; c++)
#pragma unroll
                for (int e = 0; e < 4; e++) {
                    int j = j0 + g + e / 2 * 8, i = i0 + c * 8 + c2 + e % 2;
                    bool seen = i < tq && j < tk && (!s.causal || j <= i);
                    if (REL && seen) {
                        p[c][e] += s.transpose ? looked_up(with_k, r, j, i) : looked_up(with_k, r, i, j);
                        dp[c][e] += looked_up(with_v, r, i, j);
                    }
                    p[c][e] = seen ? ft_exp1(p[c][e] * s.scale - lse[i]) : 0.0f;
                    dp[c][e] = seen ? p[c][e] * (dp[c][e] - inner[i]) : 0.0f;
                }
            mix<D>(dv, p, dy + i0 * (D + PAD));
            mix<D>(dk, dp, q + i0 * (D + PAD));
        }
        if (grads.dk) store<D>((bf16 *)grads.dk + at_k, s.k.stride, dk, j0 + g, tk, d, scale);
        if (grads.dv) store<D>((bf16 *)grads.dv + at_v, s.v.stride, dv, j0 + g, tk, d, one);
    }
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

few ft_cuda_attention_few(const ft_call *c, bool backward)
{
    attention s = attention_of(c);
    const ft_buf *other[] = {c->in[0],
                             c->in[1],
                             c->in[2],
                             backward ? c->in[7] : c->out[0],
                             c->out[0],
                             backward ? c->out[1] : NULL,
                             backward ? c->out[2] : NULL};
    if (c->in[0]->dtype != FT_BF16 || s.tq > MOST || s.tk > MOST || s.d % 8 || s.d > 128) return FEW_NO;
    if (s.reach >= 0 && (s.tq > MOST_RELATIVE || s.tk > MOST_RELATIVE)) return FEW_NO;
    for (const ft_buf *b : other)
        if (!ft_aligned(b)) return FEW_NO;
    if (warps_of(&s, backward) < 1) return FEW_NO;
    return s.tk <= BEST ? FEW_BEST : FEW_ELSE;
}

/* Runs a statement with D, channels of a head, K, tiles of keys, and REL; relative positions have 32 keys at most */
#define BY_KEYS(tk, ...)                                                                                                         \
    do {                                                                                                                         \
        if ((tk) <= 16) {                                                                                                        \
            enum { K = 1 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else if ((tk) <= 32) {                                                                                                 \
            enum { K = 2 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else if ((tk) <= 48) {                                                                                                 \
            enum { K = 3 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { K = 4 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)
#define BY_POSITIONS(relative, tk, ...)                                                                                          \
    do {                                                                                                                         \
        if (!(relative)) {                                                                                                       \
            enum { REL = false };                                                                                                \
            BY_KEYS(tk, __VA_ARGS__);                                                                                            \
        } else if ((tk) <= 16) {                                                                                                 \
            enum { REL = true, K = 1 };                                                                                          \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { REL = true, K = 2 };                                                                                          \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)
#define BY_WIDTH(d, ...)                                                                                                         \
    do {                                                                                                                         \
        if ((d) <= 16) {                                                                                                         \
            enum { D = 16 };                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        } else if ((d) <= 32) {                                                                                                  \
            enum { D = 32 };                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        } else if ((d) <= 64) {                                                                                                  \
            enum { D = 64 };                                                                                                     \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { D = 128 };                                                                                                    \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

static relative relative_or_none(const attention *s)
{
    relative none;
    memset(&none, 0, sizeof none);
    return s->reach >= 0 ? relative_of(s) : none;
}

void ft_cuda_attention_few_forward(const ft_call *c)
{
    attention s = attention_of(c);
    relative r = relative_or_none(&s);
    int warps = warps_of(&s, false);
    size_t bytes = table_bytes(&s) + (size_t)warps * warp_bytes(&s, false);
    BY_WIDTH(s.d, BY_POSITIONS(s.reach >= 0, s.tk,
                               FT_LAUNCH_BIG((attend_short<D, K, REL>), (unsigned)ft_ceil(s.seqs * s.heads, warps),
                                             (unsigned)(warps * FT_WARP), bytes, ft_as<bf16>(c->out[0]), ft_as<float>(c->out[1]),
                                             s, r)));
}

void ft_cuda_attention_few_backward(const attention *s, const gradients *g)
{
    relative r = relative_or_none(s);
    int warps = warps_of(s, true);
    size_t bytes = table_bytes(s) + (size_t)warps * warp_bytes(s, true);
    BY_WIDTH(s->d, BY_POSITIONS(s->reach >= 0, s->tk,
                                FT_LAUNCH_BIG((attend_short_bwd<D, K, REL>), (unsigned)ft_ceil(s->seqs * s->heads, warps),
                                              (unsigned)(warps * FT_WARP), bytes, *s, *g, r)));
}
