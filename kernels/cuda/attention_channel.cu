/* Channel attention (MDTA of Restormer, Zamir et al., CVPR 2022): channels attend to channels, tokens are summed over.
 *
 * qkv (S, T, 3C) packed; per sequence and head with p = C / heads channels, everything transposed (key channel first):
 *   raw[k][q] = sum_t k_t q_t / (|k| |q|),  A = softmax over k of theta * raw,  y_t[q] = sum_k A[k][q] v_t[k].
 * The long sums over tokens and the mixing of channels are batched products (gemm.c), one call a head for all sequences; lengths
 * are divided out of the small matrices, so q and k are read as they lie. The gradient through the lengths needs no pass of its
 * own: sum_t q_t dq_t is a column sum of D * raw. In bf16, with few tokens, a block does all of a sequence and head instead. */
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/tensor.cuh"

struct channel {
    int64_t seqs, t, c, heads, p;
};

static channel channel_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    channel s;
    s.seqs = x->dim[0], s.t = x->dim[1], s.c = x->dim[2] / 3, s.heads = c->attr->sdpa.heads, s.p = s.c / s.heads;
    return s;
}

/* 1 / length of every column of q and k over the tokens of a sequence: inverse (seqs, 2C); a thread each, coalesced */
template <typename T> static __global__ void lengths(float *inverse, const T *qkv, channel s)
{
    FT_EACH(i, s.seqs * 2 * s.c)
    {
        const T *x = qkv + i / (2 * s.c) * s.t * 3 * s.c + i % (2 * s.c);
        float sum = 0, run = 0;
        for (int64_t t = 0; t < s.t; t++) {
            float v = ft_get(x + t * 3 * s.c);
            run += v * v;
            if (t % 64 == 63) sum += run, run = 0;
        }
        sum += run;
        inverse[i] = 1.0f / (sum < 1e-24f ? 1e-12f : sqrtf(sum));
    }
}

/* raw (seqs * heads, p, p) as key by query, from products to unit columns in place; a = softmax over keys of theta * raw, in f32
 * and in storage. A thread owns a query channel. */
template <typename T>
static __global__ void mix(float *prob, T *a, float *raw, const float *inverse, const float *theta, channel s)
{
    FT_EACH(i, s.seqs * s.heads * s.p)
    {
        int64_t task = i / s.p, q = i % s.p, seq = task / s.heads, h = task % s.heads;
        const float *iq = inverse + seq * 2 * s.c + h * s.p, *ik = iq + s.c;
        float *m = raw + task * s.p * s.p + q, *to = prob + task * s.p * s.p + q, top = -INFINITY, total = 0;
        for (int64_t k = 0; k < s.p; k++) {
            m[k * s.p] *= ik[k] * iq[q];
            top = fmaxf(top, theta[h] * m[k * s.p]);
        }
        for (int64_t k = 0; k < s.p; k++) total += to[k * s.p] = ft_exp1(theta[h] * m[k * s.p] - top);
        for (int64_t k = 0; k < s.p; k++) {
            to[k * s.p] /= total;
            if (a) ft_put(a + task * s.p * s.p + k * s.p + q, to[k * s.p]);
        }
    }
}

/* ---- a block for each sequence and head: bf16, few tokens --------------------------------------------------------------- */

/* Everything of a sequence and head lies in shared memory. Matrices of channels are held query by key: a warp owns 16 queries,
 * so the softmax over keys stays within it; then it owns 16 tokens of what is written. */
enum { TILE_WARPS = 4, PAD = 8, SHARED = 96 << 10 };

static int padded_tokens(const channel *s) { return (int)(s->t + 15) / 16 * 16; }
static size_t tile_bytes(const channel *s, int sides, int squares)
{
    size_t row = (size_t)(s->p + PAD) * 2;
    return (size_t)(sides * padded_tokens(s)) * row + (size_t)(squares * s->p) * row + (size_t)((4 + TILE_WARPS) * s->p + 32) * 4;
}
static bool tiles_fit(const ft_call *c, bool backward)
{
    channel s = channel_of(c);
    const ft_buf *x = c->in[0], *dy = backward ? c->in[3] : NULL;
    return x->dtype == FT_BF16 && (s.p == 16 || s.p == 32 || s.p == 64) && ft_aligned(x) && ft_aligned(dy) &&
           ft_aligned(c->out[0]) && s.t < SHARED / 32 && tile_bytes(&s, backward ? 4 : 3, backward ? 2 : 1) <= SHARED &&
           s.seqs * s.heads < INT32_MAX;
}

/* P channels of all tokens, `stride` apart; zeros behind the last */
template <int P> FT_DEV void fetch(bf16 *to, const bf16 *from, int64_t stride, int t, int padded)
{
    for (int e = (int)threadIdx.x; e < padded * P / 8; e += TILE_WARPS * FT_WARP) {
        int row = e / (P / 8), at = e % (P / 8) * 8;
        ft_copy(to + row * (P + PAD) + at, row < t ? from + row * stride + at : from, row < t);
    }
}
/* 1 / length of the channels of q, then of k */
template <int P> FT_DEV void make_lengths(float *inverse, const bf16 *q, const bf16 *k, int t)
{
    for (int i = (int)threadIdx.x; i < 2 * P; i += TILE_WARPS * FT_WARP) {
        const bf16 *x = i < P ? q + i : k + i - P;
        float sum = 0, run = 0;
        for (int at = 0; at < t; at++) {
            float v = ft_get(x + at * (P + PAD));
            run += v * v;
            if (at % 64 == 63) sum += run, run = 0;
        }
        sum += run;
        inverse[i] = 1.0f / (sum < 1e-24f ? 1e-12f : sqrtf(sum));
    }
}
/* sum over tokens of a_t[m] b_t[n], 16 rows m from `row` on */
template <int P> FT_DEV void over_tokens(float d[P / 8][4], const bf16 *a, const bf16 *b, int row, int padded)
{
    for (int t = 0; t < padded; t += 16) {
        uint32_t fa[4], fb[4];
        ft_load_a_turned(fa, a + t * (P + PAD) + row, P + PAD);
#pragma unroll
        for (int c = 0; c < P / 16; c++) {
            ft_load_b(fb, b + t * (P + PAD) + c * 16, P + PAD);
            ft_mma_pair(d + 2 * c, fa, fb);
        }
    }
}
/* 16 tokens of x times a matrix of channels, as it lies or turned */
template <int P> FT_DEV void mix_channels(float d[P / 8][4], const bf16 *x, const bf16 *m, bool turned)
{
#pragma unroll
    for (int k = 0; k < P / 16; k++) {
        uint32_t fa[4], fb[4];
        ft_load_a(fa, x + k * 16, P + PAD);
#pragma unroll
        for (int c = 0; c < P / 16; c++) {
            if (turned) ft_load_b_turned(fb, m + c * 16 * (P + PAD) + k * 16, P + PAD);
            else ft_load_b(fb, m + k * 16 * (P + PAD) + c * 16, P + PAD);
            ft_mma_pair(d + 2 * c, fa, fb);
        }
    }
}
FT_DEV float quad_sum(float v)
{
    v += __shfl_xor_sync(0xFFFFFFFFu, v, 1);
    return v + __shfl_xor_sync(0xFFFFFFFFu, v, 2);
}

/* grid: seqs * heads */
template <int P>
static __global__ void __launch_bounds__(TILE_WARPS *FT_WARP, 2)
    channel_tiles(bf16 *y, float *prob, const bf16 *qkv, const float *theta, channel s)
{
    FT_DYNAMIC_SHARED(bf16, q);
    enum { LD = P + PAD };
    int t = (int)s.t, padded = (t + 15) / 16 * 16, heads = (int)s.heads, head = (int)blockIdx.x % heads, width = (int)s.c,
        warp = (int)threadIdx.x / FT_WARP, lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2;
    int64_t seq = blockIdx.x / heads;
    const bf16 *from = qkv + seq * t * 3 * width + head * P;
    bf16 *k = q + padded * LD, *v = k + padded * LD, *a = v + padded * LD;
    float *inverse = (float *)(a + P * LD);
    fetch<P>(q, from, 3 * width, t, padded);
    fetch<P>(k, from + width, 3 * width, t, padded);
    fetch<P>(v, from + 2 * width, 3 * width, t, padded);
    ft_copies_done();
    __syncthreads();
    make_lengths<P>(inverse, q, k, t);
    __syncthreads();
    if (warp < P / 16) {
        float raw[P / 8][4] = {{0}}, scale = theta[head];
        over_tokens<P>(raw, q, k, warp * 16, padded);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = warp * 16 + g + half * 8;
            float iq = inverse[row] * scale, top = -INFINITY, total = 0;
#pragma unroll
            for (int c = 0; c < P / 8; c++)
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float *r = &raw[c][half * 2 + e];
                    *r *= inverse[P + c * 8 + c2 + e] * iq;
                    top = fmaxf(top, *r);
                }
            top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 1));
            top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, 2));
#pragma unroll
            for (int c = 0; c < P / 8; c++)
#pragma unroll
                for (int e = 0; e < 2; e++) total += raw[c][half * 2 + e] = ft_exp1(raw[c][half * 2 + e] - top);
            total = 1.0f / quad_sum(total);
#pragma unroll
            for (int c = 0; c < P / 8; c++) {
                float pair[2] = {raw[c][half * 2] * total, raw[c][half * 2 + 1] * total};
                float *to = prob + ((int64_t)blockIdx.x * P + c * 8 + c2) * P + row;
                to[0] = pair[0], to[P] = pair[1];
                ft_write<2>(a + row * LD + c * 8 + c2, pair);
            }
        }
    }
    __syncthreads();
    for (int at = warp * 16; at < padded; at += TILE_WARPS * 16) {
        float out[P / 8][4] = {{0}};
        mix_channels<P>(out, v + at * LD, a, true);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int token = at + g + half * 8;
            if (token >= t) continue;
#pragma unroll
            for (int c = 0; c < P / 8; c++) ft_write<2>(y + (seq * t + token) * width + head * P + c * 8 + c2, out[c] + half * 2);
        }
    }
}

/* dtheta: a sum for each sequence and head */
template <int P>
static __global__ void __launch_bounds__(TILE_WARPS *FT_WARP, 2)
    channel_tiles_bwd(bf16 *dqkv, float *dtheta, const bf16 *qkv, const float *theta, const float *prob, const bf16 *dy,
                      channel s)
{
    FT_DYNAMIC_SHARED(bf16, q);
    enum { LD = P + PAD };
    int t = (int)s.t, padded = (t + 15) / 16 * 16, heads = (int)s.heads, head = (int)blockIdx.x % heads, width = (int)s.c,
        warp = (int)threadIdx.x / FT_WARP, lane = (int)threadIdx.x % FT_WARP, g = lane / 4, c2 = lane % 4 * 2;
    int64_t seq = blockIdx.x / heads;
    const bf16 *from = qkv + seq * t * 3 * width + head * P;
    bf16 *k = q + padded * LD, *v = k + padded * LD, *d = v + padded * LD, *a = d + padded * LD, *mixed = a + P * LD;
    float *inverse = (float *)(mixed + P * LD), *along = inverse + 2 * P, *columns = along + 2 * P,
          *thetas = columns + TILE_WARPS * P;
    fetch<P>(q, from, 3 * width, t, padded);
    fetch<P>(k, from + width, 3 * width, t, padded);
    fetch<P>(v, from + 2 * width, 3 * width, t, padded);
    fetch<P>(d, dy + seq * t * width + head * P, width, t, padded);
    ft_copies_done();
    __syncthreads();
    make_lengths<P>(inverse, q, k, t);
    __syncthreads();
    if (warp < P / 16) {
        float raw[P / 8][4] = {{0}}, da[P / 8][4] = {{0}}, part = 0, column[P / 8][2] = {{0}};
        over_tokens<P>(raw, q, k, warp * 16, padded);
        over_tokens<P>(da, d, v, warp * 16, padded);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int row = warp * 16 + g + half * 8;
            const float *p = prob + ((int64_t)blockIdx.x * P + c2) * P + row;
            float iq = inverse[row], inner = 0, sum = 0;
#pragma unroll
            for (int c = 0; c < P / 8; c++) inner += p[c * 8 * P] * da[c][half * 2] + p[(c * 8 + 1) * P] * da[c][half * 2 + 1];
            inner = quad_sum(inner);
#pragma unroll
            for (int c = 0; c < P / 8; c++) {
                float kept[2], scaled[2];
#pragma unroll
                for (int e = 0; e < 2; e++) {
                    float both = inverse[P + c * 8 + c2 + e] * iq, unit = raw[c][half * 2 + e] * both,
                          w = p[(c * 8 + e) * P] * (da[c][half * 2 + e] - inner);
                    kept[e] = p[(c * 8 + e) * P];
                    part += w * unit;
                    w *= theta[head];
                    sum += w * unit;
                    column[c][e] += w * unit;
                    scaled[e] = w * both;
                }
                ft_write<2>(a + row * LD + c * 8 + c2, kept);
                ft_write<2>(mixed + row * LD + c * 8 + c2, scaled);
            }
            sum = quad_sum(sum);
            if (lane % 4 == 0) along[row] = sum;
        }
#pragma unroll
        for (int c = 0; c < P / 8; c++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
#pragma unroll
                for (int by = 4; by < FT_WARP; by *= 2) column[c][e] += __shfl_xor_sync(0xFFFFFFFFu, column[c][e], by);
                if (lane < 4) columns[warp * P + c * 8 + c2 + e] = column[c][e];
            }
        part = ft_warp_sum(part);
        if (lane == 0) thetas[warp] = part;
    }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < P; i += TILE_WARPS * FT_WARP) {
        float sum = 0;
        for (int w = 0; w < P / 16; w++) sum += columns[w * P + i];
        along[P + i] = sum;
    }
    if (threadIdx.x == 0) {
        float sum = 0;
        for (int w = 0; w < P / 16; w++) sum += thetas[w];
        dtheta[blockIdx.x] = sum;
    }
    __syncthreads();
    for (int at = warp * 16; dqkv && at < padded; at += TILE_WARPS * 16) {
#pragma unroll
        for (int side = 0; side < 3; side++) { /* of q, k, v */
            float out[P / 8][4] = {{0}};
            const bf16 *own = side == 0 ? q : k;
            mix_channels<P>(out, (side == 0 ? k : side == 1 ? q : d) + at * LD, side == 2 ? a : mixed, side == 0);
#pragma unroll
            for (int half = 0; half < 2; half++) {
                int token = at + g + half * 8;
                if (token >= t) continue;
#pragma unroll
                for (int c = 0; c < P / 8; c++) {
                    float pair[2] = {out[c][half * 2], out[c][half * 2 + 1]}, x[2];
                    if (side < 2) { /* what goes through the lengths */
                        ft_read<2>(x, own + token * LD + c * 8 + c2);
#pragma unroll
                        for (int e = 0; e < 2; e++) {
                            int i = side * P + c * 8 + c2 + e;
                            pair[e] -= x[e] * along[i] * inverse[i] * inverse[i];
                        }
                    }
                    ft_write<2>(dqkv + (seq * t + token) * 3 * width + side * width + head * P + c * 8 + c2, pair);
                }
            }
        }
    }
}

/* ---- products of a library -------------------------------------------------------------------------------------------- */

enum { RAW, MIX, D_A, D_V, D_Q, D_K, PRODUCTS };
struct channel_state {
    ft_product *product[PRODUCTS];
    size_t at[8]; /* in the scratch */
};
static void free_channel(void *p)
{
    channel_state *s = (channel_state *)p;
    for (int i = 0; i < PRODUCTS; i++) ft_product_free(s->product[i]);
    free(s);
}

/* one head of all sequences */
static ft_product_opt product_opt(ft_dtype a, ft_dtype y, int64_t m, int64_t n, int64_t k, const channel *s)
{
    ft_product_opt o;
    memset(&o, 0, sizeof o);
    o.a = o.b = a, o.y = y, o.m = m, o.n = n, o.k = k, o.batch = s->seqs;
    o.align = s->p % 8 == 0 && s->c % 8 == 0 ? 16 : a == FT_BF16 ? 2 : 4;
    return o;
}
static size_t padded(size_t n) { return (n + 255) / 256 * 256; }

/* K^T Q over tokens, and what reads it: (p, p) of all heads, small */
static int raw_product(ft_product **p, ft_dtype type, const channel *s, int64_t a_row, int64_t b_row)
{
    ft_product_opt o = product_opt(type, FT_F32, s->p, s->p, s->t, s);
    o.ta = true, o.lda = a_row, o.ldb = b_row, o.ldy = s->p;
    o.step_a = s->t * a_row, o.step_b = s->t * b_row, o.step_y = s->heads * s->p * s->p;
    return ft_product_new(p, o);
}
/* y_t = x_t M or x_t M^T: (T, p) by (p, p) */
static int token_product(ft_product **p, ft_dtype type, const channel *s, int64_t x_row, int64_t y_row, bool turned)
{
    ft_product_opt o = product_opt(type, type, s->t, s->p, s->p, s);
    o.tb = turned, o.lda = x_row, o.ldb = s->p, o.ldy = y_row;
    o.step_a = s->t * x_row, o.step_b = s->heads * s->p * s->p, o.step_y = s->t * y_row;
    return ft_product_new(p, o);
}

static int begin(ft_call *c, channel_state **s)
{
    *s = (channel_state *)calloc(1, sizeof **s);
    if (!*s) return FT_FAIL(FT_ENOMEM, "no memory for attention");
    c->state = *s;
    c->free_state = free_channel;
    return FT_OK;
}

static void lay_out(ft_call *c, channel_state *s, int n, const size_t *bytes)
{
    size_t work = 0;
    for (int i = 0; i < PRODUCTS; i++)
        if (ft_product_work(s->product[i]) > work) work = ft_product_work(s->product[i]);
    for (int i = 0; i < n; i++) s->at[i] = work, work += padded(bytes[i]);
    c->work_size = work;
}
static void *scratch(const ft_call *c, int i) { return (char *)c->work + ((const channel_state *)c->state)->at[i]; }

static void run(const ft_call *c, int which, void *y, const void *a, const void *b)
{
    ft_product_run(((const channel_state *)c->state)->product[which], y, a, b, NULL, c->work);
}

extern "C" int ft_cuda_prepare_attention_channel(ft_call *c)
{
    channel s = channel_of(c);
    channel_state *st;
    ft_dtype type = c->in[0]->dtype;
    if (tiles_fit(c, false)) return FT_OK;
    size_t square = (size_t)(s.seqs * s.heads * s.p * s.p), bytes[] = {(size_t)(s.seqs * 2 * s.c) * 4, square * 4, square * 4};
    FT_TRY(begin(c, &st));
    FT_TRY(raw_product(&st->product[RAW], type, &s, 3 * s.c, 3 * s.c));
    FT_TRY(token_product(&st->product[MIX], type, &s, 3 * s.c, s.c, false));
    lay_out(c, st, 3, bytes);
    return FT_OK;
}

extern "C" void ft_cuda_attention_channel(const ft_call *c)
{
    channel s = channel_of(c);
    const ft_buf *x = c->in[0];
    if (tiles_fit(c, false)) {
        FT_BY_HEAD(s.p, FT_LAUNCH_BIG((channel_tiles<P>), (unsigned)(s.seqs * s.heads), TILE_WARPS * FT_WARP,
                                      tile_bytes(&s, 3, 1), ft_as<bf16>(c->out[0]), ft_as<float>(c->out[1]), ft_as<const bf16>(x),
                                      ft_as<const float>(c->in[1]), s));
        return;
    }
    float *inverse = (float *)scratch(c, 0), *raw = (float *)scratch(c, 1);
    FT_BY_TYPE(x->dtype, T *a = (T *)scratch(c, 2); const T *in = ft_as<const T>(x);
               FT_RUN((lengths<T>), s.seqs * 2 * s.c, inverse, in, s);
               for (int64_t h = 0; h < s.heads; h++) run(c, RAW, raw + h * s.p * s.p, in + s.c + h * s.p, in + h * s.p);
               FT_RUN((mix<T>), s.seqs * s.heads * s.p, ft_as<float>(c->out[1]), a, raw, (const float *)inverse,
                      ft_as<const float>(c->in[1]), s);
               for (int64_t h = 0; h < s.heads; h++)
                   run(c, MIX, ft_as<T>(c->out[0]) + h * s.p, in + 2 * s.c + h * s.p, a + h * s.p * s.p));
}

/* From raw (products, made unit here), prob and dA: D = theta * A (dA - sum_k A dA) times both inverse lengths, in storage;
 * along (seqs, 2C): q column sums of (unscaled) D * raw for queries, row sums for keys; dtheta's parts (seqs * heads, p). A block
 * of one warp owns a matrix. */
template <typename T>
static __global__ void mix_bwd(T *d, T *a, float *along, float *dtheta, float *raw, float *da, const float *prob,
                               const float *inverse, const float *theta, channel s)
{
    int64_t task = blockIdx.x, seq = task / s.heads, h = task % s.heads, square = s.p * s.p;
    const float *iq = inverse + seq * 2 * s.c + h * s.p, *ik = iq + s.c, *p = prob + task * square;
    float *m = raw + task * square, *g = da + task * square;
    for (int64_t q = threadIdx.x; q < s.p; q += blockDim.x) {
        float inner = 0, part = 0, sum = 0;
        for (int64_t k = 0; k < s.p; k++) inner += p[k * s.p + q] * g[k * s.p + q];
        for (int64_t k = 0; k < s.p; k++) {
            float unit = m[k * s.p + q] * ik[k] * iq[q], v = p[k * s.p + q] * (g[k * s.p + q] - inner);
            part += v * unit;
            v *= theta[h];
            sum += v * unit;
            m[k * s.p + q] = v * unit; /* for the sums over queries */
            ft_put(d + task * square + k * s.p + q, v * ik[k] * iq[q]);
            ft_put(a + task * square + k * s.p + q, p[k * s.p + q]);
        }
        dtheta[task * s.p + q] = part;
        along[seq * 2 * s.c + h * s.p + q] = sum;
    }
    __syncthreads();
    for (int64_t k = threadIdx.x; k < s.p; k += blockDim.x) {
        float sum = 0;
        for (int64_t q = 0; q < s.p; q++) sum += m[k * s.p + q];
        along[seq * 2 * s.c + s.c + h * s.p + k] = sum;
    }
}

/* dq -= q * along / length^2, dk the same */
template <typename T>
static __global__ void through_lengths(T *dqkv, const T *qkv, const float *along, const float *inverse, channel s)
{
    FT_EACH(i, s.seqs * s.t * 2 * s.c)
    {
        int64_t row = i / (2 * s.c), k = i % (2 * s.c), at = row * 3 * s.c + k, of = row / s.t * 2 * s.c + k;
        ft_put(dqkv + at, ft_get(dqkv + at) - ft_get(qkv + at) * along[of] * inverse[of] * inverse[of]);
    }
}

/* out[h] = sum over sequences and channels of part (seqs, heads, p), in order */
static __global__ void sum_thetas(float *out, const float *part, channel s)
{
    FT_EACH(h, s.heads)
    {
        double sum = 0;
        for (int64_t seq = 0; seq < s.seqs; seq++)
            for (int64_t q = 0; q < s.p; q++) sum += (double)part[(seq * s.heads + h) * s.p + q];
        out[h] = (float)sum;
    }
}

extern "C" int ft_cuda_prepare_attention_channel_bwd(ft_call *c)
{
    channel s = channel_of(c);
    channel_state *st;
    ft_dtype type = c->in[0]->dtype;
    if (tiles_fit(c, true)) {
        c->work_size = (size_t)(s.seqs * s.heads) * sizeof(float);
        return FT_OK;
    }
    size_t square = (size_t)(s.seqs * s.heads * s.p * s.p), vectors = (size_t)(s.seqs * 2 * s.c) * 4,
           bytes[] = {vectors, square * 4, square * 4, square * 4, square * 4, vectors, (size_t)(s.seqs * s.heads * s.p) * 4};
    FT_TRY(begin(c, &st));
    FT_TRY(raw_product(&st->product[RAW], type, &s, 3 * s.c, 3 * s.c));
    FT_TRY(raw_product(&st->product[D_A], type, &s, 3 * s.c, s.c));
    FT_TRY(token_product(&st->product[D_V], type, &s, s.c, 3 * s.c, true));
    FT_TRY(token_product(&st->product[D_Q], type, &s, 3 * s.c, 3 * s.c, false));
    FT_TRY(token_product(&st->product[D_K], type, &s, 3 * s.c, 3 * s.c, true));
    lay_out(c, st, 7, bytes);
    return FT_OK;
}

/* in: qkv theta prob dy; out: dqkv dtheta */
extern "C" void ft_cuda_attention_channel_bwd(const ft_call *c)
{
    channel s = channel_of(c);
    const ft_buf *x = c->in[0];
    if (tiles_fit(c, true)) {
        float *parts = (float *)c->work;
        FT_BY_HEAD(s.p,
                   FT_LAUNCH_BIG((channel_tiles_bwd<P>), (unsigned)(s.seqs * s.heads), TILE_WARPS * FT_WARP, tile_bytes(&s, 4, 2),
                                 ft_as<bf16>(c->out[0]), parts, ft_as<const bf16>(x), ft_as<const float>(c->in[1]),
                                 ft_as<const float>(c->in[2]), ft_as<const bf16>(c->in[3]), s));
        if (c->out[1]) ft_cuda_sum_rows(c->out[1]->data, FT_F32, parts, 1, s.seqs, s.heads, s.heads, 1);
        return;
    }
    float *inverse = (float *)scratch(c, 0), *raw = (float *)scratch(c, 1), *da = (float *)scratch(c, 2),
          *along = (float *)scratch(c, 5), *dtheta = (float *)scratch(c, 6);
    FT_BY_TYPE(
        x->dtype, T *d = (T *)scratch(c, 3); T *a = (T *)scratch(c, 4); const T *in = ft_as<const T>(x);
        const T *dy = ft_as<const T>(c->in[3]); T *out = ft_as<T>(c->out[0]);
        FT_RUN((lengths<T>), s.seqs * 2 * s.c, inverse, in, s); for (int64_t h = 0; h < s.heads; h++) {
            run(c, RAW, raw + h * s.p * s.p, in + s.c + h * s.p, in + h * s.p);
            run(c, D_A, da + h * s.p * s.p, in + 2 * s.c + h * s.p, dy + h * s.p);
        } FT_LAUNCH((mix_bwd<T>), (unsigned)(s.seqs * s.heads), FT_WARP * 2, 0, ft_cuda_stream, d, a, along, dtheta, raw, da,
                    ft_as<const float>(c->in[2]), (const float *)inverse, ft_as<const float>(c->in[1]), s);
        for (int64_t h = 0; out && h < s.heads; h++) {
            run(c, D_V, out + 2 * s.c + h * s.p, dy + h * s.p, a + h * s.p * s.p);
            run(c, D_Q, out + h * s.p, in + s.c + h * s.p, d + h * s.p * s.p);
            run(c, D_K, out + s.c + h * s.p, in + h * s.p, d + h * s.p * s.p);
        } if (out)
            FT_RUN((through_lengths<T>), s.seqs * s.t * 2 * s.c, out, in, (const float *)along, (const float *)inverse, s));
    if (c->out[1]) FT_RUN((sum_thetas), s.heads, ft_as<float>(c->out[1]), (const float *)dtheta, s);
}
