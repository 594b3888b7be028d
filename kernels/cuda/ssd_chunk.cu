/* SSD as products on tensor cores (Dao & Gu 2024): within a chunk of 64 tokens the quadratic form (MedSora's scans have 48 and 6
 * tokens), between chunks the state, which ssd_carry.cu makes.
 *
 * Per chunk and head, with s_i the running sum of dt A and G = C B^T, which all heads share, H the state before:
 *   M_ij = exp(s_i - s_j) dt_j G_ij for j <= i,   y_i = (M x)_i + exp(s_i) C_i H + D x_i.
 * Backward, with dM = dy x^T and r_ij = exp(s_i - s_j) G_ij dM_ij:
 *   dx = M^T dy + D dy,  dD = sum of dM_ii,  dG = sum over heads of exp(s_i - s_j) dt_j dM_ij,  dC = dG B,  dB = dG^T C,
 *   d(dt_t A) = sum over i >= t of (sum_j dt_j r_ij - dt_i sum_j r_ji),  and dt_j gets sum_i r_ij besides.
 *
 * A warp owns 16 tokens of a sequence (forward: rows i of M; backward: rows j of M^T) and keeps its rows of G, and of dG, in
 * registers while it goes through the block's heads in order; M is made from G in registers and is the next product's operand as
 * it stands, in two halves so that nothing is rounded to bf16 on the way. x and dy of the next head arrive while this one is
 * worked on. Tokens behind the last are zeros, with dt = 0. */
#include "kernels/cuda/ssd_chunk.cuh"

/* exp of a difference that is never positive where it counts; elsewhere 0, without a branch */
FT_DEV float fade_of(float d, bool counts) { return ft_exp1(d > 0 ? 0.0f : d) * (counts ? 1.0f : 0.0f); }

/* grid: (blocks of chunks, parts of the heads). Made twice, as its backward is: CARRIED where states come from other chunks or
 * from outside, whose code would make the loop longer. */
template <int W, int P, bool CARRIED> static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 2) ssd_chunk(bf16 *y, chunk s)
{
    FT_DYNAMIC_SHARED(unsigned char, shared);
    enum { TP = W * 16, LD = P + PAD };
    spot p = spot_of<W>(s);
    room r = room_of<W, P>(shared + (threadIdx.x / (W * FT_WARP)) * room_bytes<W, P>(s, false), s, false);
    const bf16 *x = s.x + p.token * (int64_t)s.width;
    int ldn = s.n + PAD, i0 = p.tile * 16 + p.lane / 4;
    fetch<W>(r.b, x + s.e, s.width, s.n, p);
    fetch<W>(r.c, x + s.e + s.n, s.width, s.n, p);
    fetch<W>(r.x, x + p.h0 * P, s.width, P, p);
    make_steps<W>(r, s, p);
    ft_copies_done();
    __syncthreads();
    float g[2 * W][4] = {{0}}; /* rows i of this warp, all j */
    for (int k = 0; k < s.n; k += 16) {
        uint32_t a[4], b[4];
        ft_load_a(a, r.c + p.tile * 16 * ldn + k, ldn);
#pragma unroll
        for (int j = 0; j < W; j++) {
            if (j > p.tile) break;
            ft_load_b_turned(b, r.b + j * 16 * ldn + k, ldn);
            ft_mma_pair(g + 2 * j, a, b);
        }
    }
    for (int h = 0; h < p.heads; h++) {
        if (h > 0) {
            ft_copies_done();
            __syncthreads();
        }
        if (h + 1 < p.heads) fetch<W>(r.x + ((h + 1) & 1) * TP * LD, x + (p.h0 + h + 1) * P, s.width, P, p);
        const bf16 *tile = r.x + (h & 1) * TP * LD;
        const float *cum = r.cum + h * TP, *dt = r.dt + h * TP;
        float out[P / 8][4] = {{0}}, ci[2] = {cum[i0], cum[i0 + 8]}, d = s.d[p.h0 + h];
        if (CARRIED) {
            float fade[2] = {ft_exp1(ci[0]), ft_exp1(ci[1])};
            times_state<P>(out, r.c + p.tile * 16 * ldn, s, p, h, fade);
        }
#pragma unroll
        for (int j = 0; j < W; j++) {
            if (j > p.tile) break;
            float m[2][4];
            uint32_t a[4], rest[4], b[4];
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    int at = j * 16 + half * 8 + p.lane % 4 * 2 + q % 2;
                    m[half][q] = fade_of(ci[q / 2] - cum[at], at <= i0 + q / 2 * 8) * dt[at] * g[2 * j + half][q];
                }
            ft_split_a(a, rest, m);
#pragma unroll
            for (int c = 0; c < P / 16; c++) {
                ft_load_b(b, tile + j * 16 * LD + c * 16, LD);
                ft_mma_pair(out + 2 * c, a, b);
                ft_mma_pair(out + 2 * c, rest, b);
            }
        }
#pragma unroll
        for (int q = 0; q < 2; q++) {
            int i = i0 + q * 8;
            if (i >= p.t) continue;
            bf16 *to = y + (int64_t)(p.token + i) * s.e + (p.h0 + h) * P + p.lane % 4 * 2;
            const bf16 *own = tile + i * LD + p.lane % 4 * 2;
#pragma unroll
            for (int c = 0; c < P / 8; c++) {
                float v[2];
                ft_read<2>(v, own + c * 8);
                v[0] = out[c][2 * q] + d * v[0], v[1] = out[c][2 * q + 1] + d * v[1];
                ft_write<2>(to + c * 8, v);
            }
        }
    }
}

struct chunk_grads {
    const bf16 *dy; /* (sequences, length, e) */
    bf16 *dx, *ddt; /* like x and raw; ddt may be NULL */
    int parts;      /* of dB and dC: what the blocks have, and behind it what comes from other chunks */
    float *sums;    /* (seqs, 3, heads) of dt_bias, A_log, D */
    float *part;    /* (parts, tokens, 2 n), if parts > 1 */
    carried_grads carried;
};

/* What comes from the states to a head's r and to the first warp's columns; what all of its running sums get besides */
template <int W> FT_DEV float add_carried(const room &r, const chunk &s, const carried_grads &k, const spot &p, int h)
{
    enum { TP = W * 16 };
    float end = 0;
#pragma unroll 1 /* registers */
    for (int t = p.lane; t < p.t; t += FT_WARP) {
        float own = 0, sum = 0;
#pragma unroll 1
        for (int n = 0; n < s.n / 16; n++) { /* in order */
            int64_t at = (n * s.tokens + p.token + t) * s.heads + p.h0 + h;
            own += k.own[at], sum += k.sums[at];
        }
        r.own[t] += own;
        r.columns[t] += sum;
        end += r.dt[h * TP + t] * own;
    }
    __syncwarp();
    return ft_warp_sum(end) + (p.t > 0 ? k.ends[(int64_t)p.seq * s.heads + p.h0 + h] : 0.0f);
}

/* what of a head remains when its products are done: a warp, token lane and token lane + 32 */
template <int W, bool CARRIED> FT_DEV void finish_head(const room &r, const chunk &s, const chunk_grads &k, const spot &p, int h)
{
    enum { TP = W * 16 };
    int head = p.h0 + h;
    const float *dt = r.dt + h * TP;
    float a = -ft_exp1(s.a_log[head]), later = 0, dbias = 0, da = 0, dd = 0;
    if (CARRIED) later = add_carried<W>(r, s, k.carried, p, h);
#pragma unroll
    for (int half = (W + 1) / 2 - 1; half >= 0; half--) { /* from the last token */
        int t = half * FT_WARP + FT_WARP - 1 - p.lane;
        bool inside = t < p.t;
        float own = inside ? r.own[t] : 0.0f, step = inside ? dt[t] : 0.0f, tail = -step * own;
#pragma unroll
        for (int w = 0; w < W; w++)
            if (inside && w <= t / 16) tail += r.columns[w * TP + t];
#pragma unroll
        for (int by = 1; by < FT_WARP; by *= 2) {
            float left = __shfl_up_sync(0xFFFFFFFFu, tail, (unsigned)by);
            if (p.lane >= by) tail += left;
        }
        tail += later;
        later = __shfl_sync(0xFFFFFFFFu, tail, FT_WARP - 1);
        if (!inside) continue;
        int64_t at = (int64_t)(p.token + t) * s.heads + head;
        float dr = (own + a * tail) * ft_sigmoid1(ft_get(s.raw + at) + s.bias[head]);
        if (k.ddt) ft_put(k.ddt + at, dr);
        dbias += dr, da += step * tail, dd += r.diagonal[t];
    }
    dbias = ft_warp_sum(dbias), da = ft_warp_sum(da), dd = ft_warp_sum(dd);
    if (p.lane > 0 || p.t == 0) return;
    k.sums[(p.seq * 3) * (int64_t)s.heads + head] = dbias;
    k.sums[(p.seq * 3 + 1) * (int64_t)s.heads + head] = a * da;
    k.sums[(p.seq * 3 + 2) * (int64_t)s.heads + head] = dd;
}

/* 16 columns of dB or dC of this warp's tokens, from column c of [dB, dC] on */
FT_DEV void store_shared_grads(const float d[2][4], int i0, int c, const chunk &s, const chunk_grads &k, const spot &p)
{
#pragma unroll
    for (int q = 0; q < 2; q++) {
        int64_t token = p.token + i0 + q * 8;
        if (i0 + q * 8 >= p.t) continue;
#pragma unroll
        for (int half = 0; half < 2; half++) {
            int at = c + half * 8 + p.lane % 4 * 2;
            float v[2] = {d[half][2 * q], d[half][2 * q + 1]};
            if (k.parts > 1) ft_write<2>(k.part + (blockIdx.y * s.tokens + token) * 2 * s.n + at, v);
            else ft_write<2>(k.dx + token * s.width + s.e + at, v);
        }
    }
}

template <int W, int P, bool CARRIED>
static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 2) ssd_chunk_bwd(chunk s, chunk_grads k)
{
    FT_DYNAMIC_SHARED(unsigned char, shared);
    enum { TP = W * 16, LD = P + PAD, LDG = TP + PAD };
    spot p = spot_of<W>(s);
    room r = room_of<W, P>(shared + (threadIdx.x / (W * FT_WARP)) * room_bytes<W, P>(s, true), s, true);
    const bf16 *x = s.x + p.token * (int64_t)s.width, *dy = k.dy + p.token * (int64_t)s.e;
    int ldn = s.n + PAD, j0 = p.tile * 16 + p.lane / 4;
    fetch<W>(r.b, x + s.e, s.width, s.n, p);
    fetch<W>(r.c, x + s.e + s.n, s.width, s.n, p);
    fetch<W>(r.x, x + p.h0 * P, s.width, P, p);
    fetch<W>(r.dy, dy + p.h0 * P, s.e, P, p);
    make_steps<W>(r, s, p);
    ft_copies_done();
    __syncthreads();
    float g[2 * W][4] = {{0}}, dg[2 * W][4] = {{0}}; /* of G^T and dG^T: rows j of this warp, all i */
#pragma unroll 1                                     /* registers */
    for (int n = 0; n < s.n; n += 16) {
        uint32_t a[4], b[4];
        ft_load_a(a, r.b + p.tile * 16 * ldn + n, ldn);
#pragma unroll
        for (int i = 0; i < W; i++) {
            if (i < p.tile) continue;
            ft_load_b_turned(b, r.c + i * 16 * ldn + n, ldn);
            ft_mma_pair(g + 2 * i, a, b);
        }
    }
    for (int h = 0; h < p.heads; h++) {
        if (h > 0) {
            ft_copies_done();
            __syncthreads();
        }
        if (h + 1 < p.heads) {
            fetch<W>(r.x + ((h + 1) & 1) * TP * LD, x + (p.h0 + h + 1) * P, s.width, P, p);
            fetch<W>(r.dy + ((h + 1) & 1) * TP * LD, dy + (p.h0 + h + 1) * P, s.e, P, p);
        }
        const bf16 *tx = r.x + (h & 1) * TP * LD, *td = r.dy + (h & 1) * TP * LD;
        const float *cum = r.cum + h * TP, *dt = r.dt + h * TP;
        float out[P / 8][4] = {{0}}, cj[2] = {cum[j0], cum[j0 + 8]}, dj[2] = {dt[j0], dt[j0 + 8]}, own[2] = {0},
                      d = s.d[p.h0 + h];
        if (CARRIED)
#pragma unroll
            for (int q = 0; q < 2; q++) {
                const float *from = k.carried.dx + (int64_t)(p.token + j0 + q * 8) * s.e + (p.h0 + h) * P + p.lane % 4 * 2;
                if (j0 + q * 8 >= p.t) continue;
#pragma unroll
                for (int c = 0; c < P / 8; c++) ft_read<2>(out[c] + 2 * q, from + c * 8);
            }
#pragma unroll
        for (int i = 0; i < W; i++) {
            if (i < p.tile) continue;
            float dm[2][4] = {{0}}, m[2][4], column[2][2] = {{0}};
            uint32_t a[4], rest[4], b[4];
#pragma unroll(W == 4 ? 1 : P / 16)            /* registers */
            for (int c = 0; c < P / 16; c++) { /* dM^T = x dy^T */
                ft_load_a(a, tx + p.tile * 16 * LD + c * 16, LD);
                ft_load_b_turned(b, td + i * 16 * LD + c * 16, LD);
                ft_mma_pair(dm, a, b);
            }
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int q = 0; q < 4; q++) {
                    int at = i * 16 + half * 8 + p.lane % 4 * 2 + q % 2, j = j0 + q / 2 * 8;
                    float fade = fade_of(cum[at] - cj[q / 2], at >= j), faded = fade * g[2 * i + half][q],
                          both = faded * dm[half][q];
                    own[q / 2] += both;
                    column[half][q % 2] += dj[q / 2] * both;
                    dg[2 * i + half][q] += fade * dj[q / 2] * dm[half][q];
                    m[half][q] = dj[q / 2] * faded;
                    if (at == j) r.diagonal[j] = dm[half][q];
                }
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int q = 0; q < 2; q++) {
#pragma unroll
                    for (int by = 4; by < FT_WARP; by *= 2) column[half][q] += __shfl_xor_sync(0xFFFFFFFFu, column[half][q], by);
                    if (p.lane < 4) r.columns[p.tile * TP + i * 16 + half * 8 + p.lane * 2 + q] = column[half][q];
                }
            ft_split_a(a, rest, m);
#pragma unroll
            for (int c = 0; c < P / 16; c++) { /* dx = M^T dy */
                ft_load_b(b, td + i * 16 * LD + c * 16, LD);
                ft_mma_pair(out + 2 * c, a, b);
                ft_mma_pair(out + 2 * c, rest, b);
            }
        }
#pragma unroll
        for (int q = 0; q < 2; q++) {
            int j = j0 + q * 8;
#pragma unroll
            for (int by = 1; by < 4; by *= 2) own[q] += __shfl_xor_sync(0xFFFFFFFFu, own[q], by);
            if (p.lane % 4 == 0) r.own[j] = own[q];
            if (j >= p.t) continue;
            bf16 *to = k.dx + (int64_t)(p.token + j) * s.width + (p.h0 + h) * P + p.lane % 4 * 2;
            const bf16 *above = td + j * LD + p.lane % 4 * 2;
#pragma unroll
            for (int c = 0; c < P / 8; c++) {
                float v[2];
                ft_read<2>(v, above + c * 8);
                v[0] = out[c][2 * q] + d * v[0], v[1] = out[c][2 * q + 1] + d * v[1];
                ft_write<2>(to + c * 8, v);
            }
        }
        __syncthreads();
        if (p.tile == h % W) finish_head<W, CARRIED>(r, s, k, p, h);
    }
    /* dG^T where every warp can read it */
#pragma unroll
    for (int i = 0; i < 2 * W; i++)
#pragma unroll
        for (int q = 0; q < 2; q++) ft_write<2>(r.dg + (j0 + q * 8) * LDG + i * 8 + p.lane % 4 * 2, dg[i] + 2 * q);
    __syncthreads();
#pragma unroll 1 /* registers */
    for (int n = 0; n < s.n; n += 16) {
        uint32_t a[4], b[4];
        float db[2][4] = {{0}}, dc[2][4] = {{0}};
#pragma unroll
        for (int i = 0; i < W; i++) {
            if (i >= p.tile) { /* dB = dG^T C */
                ft_narrow_a(a, dg + 2 * i);
                ft_load_b(b, r.c + i * 16 * ldn + n, ldn);
                ft_mma_pair(db, a, b);
            }
            if (i <= p.tile) { /* dC = dG B */
                ft_load_a_turned(a, r.dg + i * 16 * LDG + p.tile * 16, LDG);
                ft_load_b(b, r.b + i * 16 * ldn + n, ldn);
                ft_mma_pair(dc, a, b);
            }
        }
        store_shared_grads(db, j0, n, s, k, p);
        store_shared_grads(dc, j0, s.n + n, s, k, p);
    }
}

/* dB and dC of all heads: the parts added in order */
static __global__ void sum_parts(bf16 *dx, const float *part, int64_t tokens, int parts, int64_t n2, int64_t width, int64_t e)
{
    FT_EACH(i, tokens * n2 / 4)
    {
        float sum[4] = {0}, v[4];
        for (int q = 0; q < parts; q++) {
            ft_read<4>(v, part + q * tokens * n2 + i * 4);
#pragma unroll
            for (int k = 0; k < 4; k++) sum[k] += v[k];
        }
        ft_write<4>(dx + i * 4 / n2 * width + e + i * 4 % n2, sum);
    }
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

/* blocks that fill a device */
static int enough_blocks(void)
{
    static int known;
    struct cudaDeviceProp p;
    int device = 0;
    if (!known) known = cudaGetDevice(&device) || cudaGetDeviceProperties(&p, device) ? 264 : 2 * p.multiProcessorCount;
    return known;
}

static chunk chunk_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    chunk s;
    int64_t length = x->dim[1], chunks = ft_ceil(length, MOST_TOKENS);
    s.length = (int)length, s.chunks = (int)chunks, s.seqs = (int)(x->dim[0] * chunks), s.tokens = x->dim[0] * length;
    s.t = length < MOST_TOKENS ? (int)length : (int)MOST_TOKENS;
    s.width = (int)x->dim[2], s.heads = (int)c->attr->seq.heads, s.n = (int)c->attr->seq.state, s.e = s.width - 2 * s.n;
    s.sides = MOST_WARPS / ((s.t + 15) / 16);
    int blocks = (s.seqs + s.sides - 1) / s.sides, parts = (enough_blocks() + blocks - 1) / blocks;
    parts = parts < s.heads ? parts : s.heads;
    s.each = (s.heads + parts - 1) / parts, s.parts = (s.heads + s.each - 1) / s.each;
    s.x = ft_as<const bf16>(x), s.raw = ft_as<const bf16>(c->in[1]), s.bias = ft_as<const float>(c->in[2]),
    s.a_log = ft_as<const float>(c->in[3]), s.d = ft_as<const float>(c->in[4]);
    s.carried = NULL;
    return s;
}

/* a state comes in, goes out or goes from chunk to chunk */
static bool carries(const ft_call *c, const chunk &s, bool backward)
{
    return s.chunks > 1 || c->in[5] || (backward ? c->in[7] || c->out[5] : c->n_out > 1 && c->out[1]);
}

bool ft_cuda_ssd_chunk_fits(const ft_call *c, bool backward)
{
    const ft_buf *x = c->in[0];
    int64_t chunks = x->dim[0] * ft_ceil(x->dim[1], MOST_TOKENS);
    if (x->dtype != FT_BF16 || (backward && !c->out[0]) || chunks > INT32_MAX / 64) return false;
    chunk s = chunk_of(c);
    int p = s.e / s.heads;
    if ((p != 16 && p != 32 && p != 64) || s.n % 16 || s.n > MOST_STATE) return false;
    if (!ft_aligned(x) || !ft_aligned(c->out[0]) || (backward && !ft_aligned(c->in[6]))) return false;
    size_t bytes = 0;
    FT_BY_TOKENS(s.t, FT_BY_HEAD(p, bytes = (room_bytes<W, P>(s, backward))));
    if (carries(c, s, backward) && backward && ft_cuda_ssd_carry_room(s, p) > SHARED) return false;
    return bytes * (size_t)s.sides <= SHARED;
}

/* scratch, each part of it a multiple of 16 bytes as far as it is read so */
struct scratch {
    float *states, *gradients, *part, *sums, *decay;
    uint32_t *packed;
    carried_grads carried;
    size_t bytes;
};
static scratch scratch_of(const chunk &s, int p, bool carry, bool backward, void *work)
{
    scratch k = {};
    float *at = (float *)work;
    size_t pairs = (size_t)s.seqs * (size_t)s.heads, states = carry ? pairs * (size_t)(s.n * p) : 0,
           rows = (size_t)s.tokens * (size_t)(2 * s.n), dots = (size_t)(s.n / 16 * s.tokens) * (size_t)s.heads;
    k.states = at, at += states;
    k.packed = (uint32_t *)at, at += states;
    if (backward) {
        k.gradients = at, at += states;
        k.part = at, at += s.parts > 1 || carry ? (size_t)s.parts * rows : 0;
        k.carried.part = at, at += carry ? rows : 0;
        k.carried.dx = at, at += carry ? (size_t)s.tokens * (size_t)s.e : 0;
        k.carried.own = at, at += carry ? dots : 0;
        k.carried.sums = at, at += carry ? dots : 0;
        k.carried.ends = at, at += carry ? pairs : 0;
        k.sums = at, at += 3 * pairs;
    }
    k.decay = at, at += carry ? pairs : 0;
    k.bytes = (size_t)((char *)at - (char *)work);
    return k;
}
size_t ft_cuda_ssd_chunk_work(const ft_call *c, bool backward)
{
    chunk s = chunk_of(c);
    return scratch_of(s, s.e / s.heads, carries(c, s, backward), backward, NULL).bytes;
}

template <bool CARRIED> static void chunks(bf16 *y, const chunk &s, int p)
{
    dim3 grid((unsigned)ft_ceil(s.seqs, s.sides), (unsigned)s.parts);
    FT_BY_TOKENS(s.t, FT_BY_HEAD(p, FT_LAUNCH_BIG((ssd_chunk<W, P, CARRIED>), grid, (unsigned)(s.sides * W * FT_WARP),
                                                  (room_bytes<W, P>(s, false)) * (size_t)s.sides, y, s)));
}
void ft_cuda_ssd_chunk(const ft_call *c)
{
    chunk s = chunk_of(c);
    int p = s.e / s.heads;
    if (carries(c, s, false)) {
        scratch k = scratch_of(s, p, true, false, c->work);
        ft_cuda_ssd_added(s, p, NULL, k.states, k.decay);
        ft_cuda_ssd_pass(s, p, k.states, k.packed, k.decay, ft_as<const float>(c->in[5]),
                         c->n_out > 1 ? ft_as<float>(c->out[1]) : (float *)NULL, false, false);
        s.carried = k.packed;
    }
    bf16 *y = ft_as<bf16>(c->out[0]);
    if (s.carried) chunks<true>(y, s, p);
    else chunks<false>(y, s, p);
}

template <bool CARRIED> static void chunks_bwd(const chunk &s, int p, const chunk_grads &k)
{
    dim3 grid((unsigned)ft_ceil(s.seqs, s.sides), (unsigned)s.parts);
    FT_BY_TOKENS(s.t, FT_BY_HEAD(p, FT_LAUNCH_BIG((ssd_chunk_bwd<W, P, CARRIED>), grid, (unsigned)(s.sides * W * FT_WARP),
                                                  (room_bytes<W, P>(s, true)) * (size_t)s.sides, s, k)));
}

/* in: xbc dt dt_bias a_log d state dy dfinal; out: dxbc ddt ddt_bias da_log dd dstate */
void ft_cuda_ssd_chunk_bwd(const ft_call *c)
{
    chunk s = chunk_of(c);
    int p = s.e / s.heads;
    int64_t n2 = 2 * s.n;
    bool carry = carries(c, s, true);
    scratch room = scratch_of(s, p, carry, true, c->work);
    chunk_grads k;
    k.dy = ft_as<const bf16>(c->in[6]), k.dx = ft_as<bf16>(c->out[0]), k.ddt = ft_as<bf16>(c->out[1]);
    k.part = room.part, k.sums = room.sums, k.parts = s.parts + carry, k.carried = room.carried;
    if (carry) {
        ft_cuda_ssd_added(s, p, NULL, room.states, room.decay);
        ft_cuda_ssd_pass(s, p, room.states, NULL, room.decay, ft_as<const float>(c->in[5]), NULL, false, true);
        ft_cuda_ssd_added(s, p, k.dy, room.gradients, room.decay);
        ft_cuda_ssd_pass(s, p, room.gradients, room.packed, room.decay, ft_as<const float>(c->in[7]), ft_as<float>(c->out[5]),
                         true, true);
        s.carried = room.packed;
        ft_cuda_ssd_carry_bwd(s, p, k.dy, room.states, room.gradients, room.decay, room.carried);
    }
    if (carry) chunks_bwd<true>(s, p, k);
    else chunks_bwd<false>(s, p, k);
    if (k.parts > 1)
        FT_RUN((sum_parts), s.tokens * n2 / 4, k.dx, (const float *)k.part, s.tokens, k.parts, n2, (int64_t)s.width,
               (int64_t)s.e);
    ft_sum_part sum[3];
    for (int q = 0; q < 3; q++) sum[q] = {ft_as<float>(c->out[2 + q]), k.sums + q * s.heads, 1, s.seqs, 3 * s.heads, s.heads};
    ft_cuda_sum_rows_of(3, sum);
}
