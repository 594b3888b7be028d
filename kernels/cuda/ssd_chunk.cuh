/* What the kernels of SSD in chunks share (ssd_chunk.cu, ssd_carry.cu): a warp has 16 tokens of a chunk, whose rows lie in shared
 * memory; tokens behind the last are zeros, with dt = 0. */
#ifndef FT_CUDA_SSD_CHUNK_CUH
#define FT_CUDA_SSD_CHUNK_CUH

#include "kernels/cuda/ssd.h"
#include "kernels/cuda/tensor.cuh"

enum { MOST_TOKENS = 64, MOST_WARPS = 4, MOST_STATE = 256, SHARED = 96 << 10, PAD = 8 };

struct chunk {
    int seqs, t, heads, n, e, width; /* chunks of all sequences, tokens of one; n: state, e = heads * p, width = e + 2 n */
    int chunks, length;              /* of a sequence: its chunks and tokens; its last chunk may have fewer than t */
    int64_t tokens;                  /* of all sequences */
    int sides, each, parts;          /* chunks of a block, heads of a block, blocks that share a chunk */
    const bf16 *x, *raw;             /* (sequences, length, width), (sequences, length, heads) */
    const float *bias, *a_log, *d;
    const uint32_t *carried; /* (seqs, heads, n * p) packed by ft_cuda_ssd_pass: what each chunk begins with; NULL: nothing */
};

/* one sequence's share of shared memory */
struct room {
    bf16 *b, *c, *x, *dy, *dg;       /* (TP, n + PAD) twice; two heads' (TP, P + PAD) each; dG^T (TP, TP + PAD) */
    float *cum, *dt;                 /* (each, TP) */
    float *own, *diagonal, *columns; /* r summed over i, dM_jj (TP); sum of dt_j r_ij over a warp's tokens j (W, TP) */
};
template <int W, int P> static __host__ __device__ size_t room_bytes(const chunk &s, bool backward)
{
    size_t tp = W * 16, bytes = 2 * tp * (size_t)(s.n + PAD) * 2 + 2 * tp * (P + PAD) * 2 + 2 * (size_t)s.each * tp * 4;
    if (backward) bytes += 2 * tp * (P + PAD) * 2 + tp * (tp + PAD) * 2 + (2 + W) * tp * 4;
    return bytes;
}
template <int W, int P> FT_DEV room room_of(unsigned char *base, const chunk &s, bool backward)
{
    enum { TP = W * 16, TILE = TP * (P + PAD) };
    room r;
    bf16 *at = (bf16 *)base;
    r.b = at, at += TP * (s.n + PAD);
    r.c = at, at += TP * (s.n + PAD);
    r.x = at, at += 2 * TILE;
    r.dy = at, at += backward ? 2 * TILE : 0;
    r.dg = at, at += backward ? TP * (TP + PAD) : 0;
    r.cum = (float *)at, r.dt = r.cum + s.each * TP, r.own = r.dt + s.each * TP, r.diagonal = r.own + TP,
    r.columns = r.diagonal + TP;
    return r;
}

struct spot {                           /* of this warp */
    int lane, tile, me, seq, h0, heads; /* its tokens; this thread in its chunk; the block's heads */
    int token, t;                       /* the chunk's first token, and how many it has: 0 where there is no chunk */
};
template <int W> FT_DEV spot spot_of(const chunk &s)
{
    spot p;
    bool alone = 2 * W > MOST_WARPS; /* in its block */
    p.me = alone ? (int)threadIdx.x : (int)threadIdx.x % (W * FT_WARP);
    p.lane = (int)threadIdx.x % FT_WARP, p.tile = p.me / FT_WARP;
    p.seq = alone ? (int)blockIdx.x : (int)blockIdx.x * s.sides + (int)threadIdx.x / (W * FT_WARP);
    int from = p.seq % s.chunks * s.t, left = s.length - from;
    p.token = p.seq / s.chunks * s.length + from;
    p.t = p.seq >= s.seqs ? 0 : left < s.t ? left : s.t;
    p.h0 = (int)blockIdx.y * s.each, p.heads = s.heads - p.h0 < s.each ? s.heads - p.h0 : s.each;
    return p;
}

/* rows of `columns` values, `stride` apart, of all tokens to shared memory */
template <int W> FT_DEV void fetch(bf16 *to, const bf16 *from, int64_t stride, int columns, const spot &p)
{
    int wide = columns / 8;
    for (int e = p.me; e < W * 16 * wide; e += W * FT_WARP) {
        int row = e / wide, at = e % wide * 8;
        bool inside = row < p.t;
        ft_copy(to + row * (columns + PAD) + at, inside ? from + row * stride + at : from, inside);
    }
}

/* dt and the running sums of dt A of the block's heads, a warp each: token lane and token lane + 32 */
template <int W> FT_DEV void make_steps(const room &r, const chunk &s, const spot &p)
{
    enum { TP = W * 16 };
    for (int h = p.tile; h < p.heads; h += W) {
        float a = -ft_exp1(s.a_log[p.h0 + h]), before = 0;
#pragma unroll
        for (int half = 0; half < (W + 1) / 2; half++) {
            int t = half * FT_WARP + p.lane;
            float dt = 0;
            if (t < p.t) dt = ft_softplus1(ft_get(s.raw + (int64_t)(p.token + t) * s.heads + p.h0 + h) + s.bias[p.h0 + h]);
            float sum = dt * a;
#pragma unroll
            for (int by = 1; by < FT_WARP; by *= 2) {
                float left = __shfl_up_sync(0xFFFFFFFFu, sum, (unsigned)by);
                if (p.lane >= by) sum += left;
            }
            sum += before;
            before = __shfl_sync(0xFFFFFFFFu, sum, FT_WARP - 1);
            if (t < TP) r.dt[h * TP + t] = dt, r.cum[h * TP + t] = sum;
        }
    }
}

/* out = fade (rows H): 16 rows of B or C by the state of a head */
template <int P>
FT_DEV void times_state(float out[P / 8][4], const bf16 *rows, const chunk &s, const spot &p, int h, const float fade[2])
{
    if (p.t == 0) return;
    const uint32_t *at = s.carried + ((int64_t)p.seq * s.heads + p.h0 + h) * s.n * P + p.lane * 4;
#pragma unroll 1 /* registers */
    for (int n = 0; n < s.n; n += 16) {
        uint32_t a[4];
        ft_load_a(a, rows + n, s.n + PAD);
#pragma unroll
        for (int c = 0; c < P / 16; c++, at += 256) {
            ft_words<4> high = *(const ft_words<4> *)at, rest = *(const ft_words<4> *)(at + 128);
            ft_mma_pair(out + 2 * c, a, high.v);
            ft_mma_pair(out + 2 * c, a, rest.v);
        }
    }
#pragma unroll
    for (int c = 0; c < P / 8; c++)
#pragma unroll
        for (int q = 0; q < 4; q++) out[c][q] *= fade[q / 2];
}

/* Runs a statement with W */
#define FT_BY_TOKENS(t, ...)                                                                                                     \
    do {                                                                                                                         \
        if ((t) <= 16) {                                                                                                         \
            enum { W = 1 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else if ((t) <= 32) {                                                                                                  \
            enum { W = 2 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else if ((t) <= 48) {                                                                                                  \
            enum { W = 3 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        } else {                                                                                                                 \
            enum { W = 4 };                                                                                                      \
            __VA_ARGS__;                                                                                                         \
        }                                                                                                                        \
    } while (0)

/* ---- what goes from chunk to chunk (ssd_carry.cu) ---------------------------------------------------------------------- */

/* Per chunk and head, (n, p) f32 each. added: what the chunk adds to the state, or with dy to the state's gradient; decay (seqs,
 * heads): by what it multiplies it. */
void ft_cuda_ssd_added(const chunk &s, int p, const bf16 *dy, float *added, float *decay);
/* states, from what each chunk adds to what each begins with (back: to the gradient of what it ends with), and packed: the same
 * as the second factor of products, in two halves of bf16. first, last (sequences, heads, n, p) or NULL. states may stay as they
 * were: keep = false. */
void ft_cuda_ssd_pass(const chunk &s, int p, float *states, uint32_t *packed, const float *decay, const float *first, float *last,
                      bool back, bool keep);
/* of the backward pass: what the states before and their gradients behind (those packed as s.carried, too) mean for dx (tokens,
 * e), for dB and dC (tokens, 2 n), for dt and for the running sums, by 16 columns of the state: own, sums (n / 16, tokens,
 * heads); ends (seqs, heads): for the last running sum */
struct carried_grads {
    float *dx, *part, *own, *sums, *ends;
};
size_t ft_cuda_ssd_carry_room(const chunk &s, int p); /* bytes of shared memory that it takes */
void ft_cuda_ssd_carry_bwd(const chunk &s, int p, const bf16 *dy, const float *states, const float *gradients, const float *decay,
                           const carried_grads &to);

#endif
