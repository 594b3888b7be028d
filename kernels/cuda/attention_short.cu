/* Attention over few queries and keys on tensor cores: bf16, up to 64 of each, heads of up to 128 channels, causal or not.
 *
 * A warp owns a sequence and head, alone with its part of shared memory: 16 queries at a time against all keys, the softmax of a
 * row in the registers of four lanes, the probabilities the next product's operand as they stand. Backward, the row's sum of
 * p dp is at hand too, so dq needs no other pass; dk and dv make the transposed tiles again, 16 keys at a time. Channels beyond
 * the head's, queries and keys beyond the last are zeros. */
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/tensor.cuh"

enum { MOST = 64, MOST_WARPS = 8, PAD = 8, SHARED = 96 << 10, BEST = 32 };

static int padded(int64_t n) { return (int)(n + 15) / 16 * 16; }
static int padded_width(int64_t d) { return d <= 16 ? 16 : d <= 32 ? 32 : d <= 64 ? 64 : 128; }
/* of a warp: q and dy, k and v, the row's lse and sum of p dp */
static size_t warp_bytes(const attention *s, bool backward)
{
    size_t row = (size_t)(padded_width(s->d) + PAD) * 2;
    return row * (size_t)((backward ? 2 : 1) * padded(s->tq) + 2 * padded(s->tk)) + (backward ? (size_t)padded(s->tq) * 8 : 0);
}
static int warps_of(const attention *s, bool backward)
{
    int64_t n = SHARED / (int64_t)warp_bytes(s, backward), tasks = s->seqs * s->heads;
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

/* grid: sequences and heads, a warp each; K: tiles of 16 keys */
template <int D, int K>
static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 1) attend_short(bf16 *y, float *lse, attention s)
{
    FT_DYNAMIC_SHARED(bf16, all);
    int warp = (int)threadIdx.x / FT_WARP, lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2, tq = (int)s.tq,
        tk = (int)s.tk, q16 = (tq + 15) / 16 * 16, d = (int)s.d;
    int64_t task = (int64_t)blockIdx.x * (blockDim.x / FT_WARP) + warp, width = s.heads * s.d;
    if (task >= s.seqs * s.heads) return;
    int64_t seq = task / s.heads, head = task % s.heads;
    bf16 *q = all + warp * (q16 + 2 * K * 16) * (D + PAD), *k = q + q16 * (D + PAD), *v = k + K * 16 * (D + PAD);
    fetch<D>(q, (const bf16 *)s.q.base + seq * tq * s.q.stride + s.q.at + head * d, s.q.stride, tq, q16, d);
    fetch<D>(k, (const bf16 *)s.k.base + seq * tk * s.k.stride + s.k.at + head * d, s.k.stride, tk, K * 16, d);
    fetch<D>(v, (const bf16 *)s.v.base + seq * tk * s.v.stride + s.v.at + head * d, s.v.stride, tk, K * 16, d);
    ft_copies_done();
    __syncwarp();
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
                    *l = j < tk && (!s.causal || j <= i) ? *l * s.scale : -INFINITY;
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
        store<D>(y + seq * tq * width + head * d, width, out, i0 + g, tq, d, inverse);
    }
}

template <int D, int K>
static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 1) attend_short_bwd(attention s, gradients grads)
{
    FT_DYNAMIC_SHARED(bf16, all);
    int warp = (int)threadIdx.x / FT_WARP, lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2, tq = (int)s.tq,
        tk = (int)s.tk, q16 = (tq + 15) / 16 * 16, d = (int)s.d, rows = 2 * q16 + 2 * K * 16;
    int64_t task = (int64_t)blockIdx.x * (blockDim.x / FT_WARP) + warp, width = s.heads * s.d;
    if (task >= s.seqs * s.heads) return;
    int64_t seq = task / s.heads, head = task % s.heads;
    bf16 *q = all + warp * (rows * (D + PAD) + q16 * 4), *dy = q + q16 * (D + PAD), *k = dy + q16 * (D + PAD),
         *v = k + K * 16 * (D + PAD);
    float *lse = (float *)(v + K * 16 * (D + PAD)), *inner = lse + q16, scale[2] = {s.scale, s.scale}, one[2] = {1, 1};
    int64_t at_q = seq * tq * s.q.stride + s.q.at + head * d, at_k = seq * tk * s.k.stride + s.k.at + head * d,
            at_v = seq * tk * s.v.stride + s.v.at + head * d;
    fetch<D>(q, (const bf16 *)s.q.base + at_q, s.q.stride, tq, q16, d);
    fetch<D>(dy, (const bf16 *)grads.dy + seq * tq * width + head * d, width, tq, q16, d);
    fetch<D>(k, (const bf16 *)s.k.base + at_k, s.k.stride, tk, K * 16, d);
    fetch<D>(v, (const bf16 *)s.v.base + at_v, s.v.stride, tk, K * 16, d);
    for (int i = lane; i < q16; i += FT_WARP) lse[i] = i < tq ? grads.lse[task * tq + i] : 0.0f;
    ft_copies_done();
    __syncwarp();
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
                    *l = j < tk && (!s.causal || j <= i) ? ft_exp1(*l * s.scale - lse[i]) : 0.0f;
                    sum += *l * dp[c][half * 2 + e];
                }
            sum = quad_sum(sum);
            if (lane % 4 == 0) inner[i] = sum;
#pragma unroll
            for (int c = 0; c < 2 * K; c++)
#pragma unroll
                for (int e = 0; e < 2; e++) dp[c][half * 2 + e] = p[c][half * 2 + e] * (dp[c][half * 2 + e] - sum);
        }
        if (!grads.dq) continue;
#pragma unroll
        for (int j = 0; j < K; j++) mix<D>(out, dp + 2 * j, k + j * 16 * (D + PAD));
        store<D>((bf16 *)grads.dq + at_q, s.q.stride, out, i0 + g, tq, d, scale);
    }
    __syncwarp();
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
                    p[c][e] = i < tq && (!s.causal || j <= i) ? ft_exp1(p[c][e] * s.scale - lse[i]) : 0.0f;
                    dp[c][e] = i < tq ? p[c][e] * (dp[c][e] - inner[i]) : 0.0f;
                }
            mix<D>(dv, p, dy + i0 * (D + PAD));
            mix<D>(dk, dp, q + i0 * (D + PAD));
        }
        if (grads.dk) store<D>((bf16 *)grads.dk + at_k, s.k.stride, dk, j0 + g, tk, d, scale);
        if (grads.dv) store<D>((bf16 *)grads.dv + at_v, s.v.stride, dv, j0 + g, tk, d, one);
    }
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

ft_short ft_cuda_attention_short(const ft_call *c, bool backward)
{
    attention s = attention_of(c);
    const ft_buf *other[] = {c->in[0],
                             c->in[1],
                             c->in[2],
                             backward ? c->in[7] : c->out[0],
                             c->out[0],
                             backward ? c->out[1] : NULL,
                             backward ? c->out[2] : NULL};
    if (c->in[0]->dtype != FT_BF16 || s.tq > MOST || s.tk > MOST || s.d % 8 || s.d > 128 || s.reach >= 0) return FT_SHORT_NO;
    for (const ft_buf *b : other)
        if (!ft_aligned(b)) return FT_SHORT_NO;
    if (warps_of(&s, backward) < 1) return FT_SHORT_NO;
    return s.tk <= BEST ? FT_SHORT_BEST : FT_SHORT_ELSE;
}

/* Runs a statement with D, channels of a head, and K, tiles of keys */
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

void ft_cuda_attention_short_forward(const ft_call *c)
{
    attention s = attention_of(c);
    int warps = warps_of(&s, false);
    BY_WIDTH(s.d, BY_KEYS(s.tk, FT_LAUNCH_BIG((attend_short<D, K>), (unsigned)ft_ceil(s.seqs * s.heads, warps),
                                              (unsigned)(warps * FT_WARP), (size_t)warps * warp_bytes(&s, false),
                                              ft_as<bf16>(c->out[0]), ft_as<float>(c->out[1]), s)));
}

void ft_cuda_attention_short_backward(const ft_call *c)
{
    attention s = attention_of(c);
    gradients g = gradients_of(c);
    int warps = warps_of(&s, true);
    BY_WIDTH(s.d, BY_KEYS(s.tk, FT_LAUNCH_BIG((attend_short_bwd<D, K>), (unsigned)ft_ceil(s.seqs * s.heads, warps),
                                              (unsigned)(warps * FT_WARP), (size_t)warps * warp_bytes(&s, true), s, g)));
}
