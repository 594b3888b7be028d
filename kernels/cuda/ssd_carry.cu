/* SSD beyond one chunk, or with a state (Dao & Gu 2024, the chunked form): what goes from chunk to chunk, on tensor cores.
 *
 * Per chunk and head, s_i being the running sum of dt A from the chunk's first token on and s_end its last, H the state before
 * the chunk and g the gradient of the state behind it: state behind = exp(s_end) H + sum of exp(s_end - s_j) dt_j B_j^T x_j,
 * gradient before = exp(s_end) g + sum of exp(s_i) C_i^T dy_i, two products and a walk over a sequence's chunks each. Backward,
 * beside what the chunk alone gives (ssd_chunk.cu): dB_j += exp(s_end - s_j) dt_j g x_j,  dt_j gets own_j = exp(s_end - s_j) B_j
 * g x_j,  dC_i += exp(s_i) H dy_i, s_i gets exp(s_i) C_i H dy_i - dt_i own_i,  s_end gets sum of dt_j own_j + exp(s_end) <H, g>.
 * Factors that are not bf16 by themselves are made of two halves. Sums run in a fixed order. */
#include "kernels/cuda/ssd_chunk.cuh"

/* ---- what a chunk adds -------------------------------------------------------------------------------------------------- */

/* grid: (chunks, parts of the heads). A warp has 16 rows of the state at a time. */
template <int W, int P>
static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 2) ssd_added(chunk s, const bf16 *dy, float *added, float *decay)
{
    FT_DYNAMIC_SHARED(unsigned char, shared);
    enum { TP = W * 16, LD = P + PAD };
    spot p = spot_of<W>(s);
    room r = room_of<W, P>(shared, s, false);
    const bf16 *x = s.x + p.token * (int64_t)s.width, *values = dy ? dy + p.token * (int64_t)s.e : x;
    int64_t stride = dy ? s.e : s.width;
    int ldn = s.n + PAD;
    fetch<W>(r.b, x + s.e + (dy ? s.n : 0), s.width, s.n, p);
    fetch<W>(r.x, values + p.h0 * P, stride, P, p);
    make_steps<W>(r, s, p);
    ft_copies_done();
    __syncthreads();
    for (int h = 0; h < p.heads; h++) {
        if (h > 0) {
            ft_copies_done();
            __syncthreads();
        }
        if (h + 1 < p.heads) fetch<W>(r.x + ((h + 1) & 1) * TP * LD, values + (p.h0 + h + 1) * P, stride, P, p);
        const bf16 *tile = r.x + (h & 1) * TP * LD;
        const float *cum = r.cum + h * TP, *dt = r.dt + h * TP;
        int64_t pair = (int64_t)p.seq * s.heads + p.h0 + h;
        float end = cum[TP - 1], by[W][4]; /* of tokens 2c, 2c + 1 and 8 behind them */
        if (p.me == 0) decay[pair] = ft_exp1(end);
#pragma unroll
        for (int j = 0; j < W; j++)
#pragma unroll
            for (int q = 0; q < 4; q++) {
                int t = j * 16 + q / 2 * 8 + p.lane % 4 * 2 + q % 2;
                by[j][q] = dy ? ft_exp1(cum[t]) : ft_exp1(end - cum[t]) * dt[t];
            }
        for (int n = p.tile * 16; n < s.n; n += W * 16) {
            float out[P / 8][4] = {{0}};
#pragma unroll
            for (int j = 0; j < W; j++) {
                uint32_t a[4], rest[4], b[4];
                float m[2][4];
                ft_load_a_turned(a, r.b + j * 16 * ldn + n, ldn);
#pragma unroll
                for (int q = 0; q < 8; q++) {
                    uint32_t two = a[q / 4 * 2 + q % 4 / 2];
                    m[q / 4][q % 4] = (q % 2 ? ft_high(two) : ft_low(two)) * by[j][q / 4 * 2 + q % 2];
                }
                ft_split_a(a, rest, m);
#pragma unroll
                for (int c = 0; c < P / 16; c++) {
                    ft_load_b(b, tile + j * 16 * LD + c * 16, LD);
                    ft_mma_pair(out + 2 * c, a, b);
                    ft_mma_pair(out + 2 * c, rest, b);
                }
            }
            float *to = added + (pair * s.n + n + p.lane / 4) * P + p.lane % 4 * 2;
#pragma unroll
            for (int c = 0; c < P / 8; c++)
#pragma unroll
                for (int q = 0; q < 2; q++) ft_write<2>(to + q * 8 * P + c * 8, out[c] + 2 * q);
        }
    }
}

/* ---- from chunk to chunk ------------------------------------------------------------------------------------------------ */

/* A thread has the eight values of the state that a lane has of a second factor (ft_load_b), and takes them through all chunks.
 */
static __global__ void ssd_pass(float *states, uint32_t *packed, const float *decay, const float *first, float *last,
                                int64_t sequences, int chunks, int heads, int n, int p, bool back, bool keep)
{
    int lanes = n * p / 8;
    FT_EACH(task, sequences * heads * lanes)
    {
        int lane = (int)(task % FT_WARP), tile = (int)(task % lanes) / FT_WARP;
        int64_t head = task / lanes % heads, seq = task / lanes / heads, own = (seq * heads + head) * n * p;
        int row = tile / (p / 16) * 16 + lane % 4 * 2, column = tile % (p / 16) * 16 + lane / 4, at[8];
        float h[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            at[i] = (row + i / 2 % 2 * 8 + i % 2) * p + column + i / 4 * 8;
            h[i] = first ? first[own + at[i]] : 0.0f;
        }
        for (int k = 0; k < chunks; k++) {
            int64_t pair = (seq * chunks + (back ? chunks - 1 - k : k)) * heads + head;
            float *here = states + pair * n * p, fade = decay[pair];
            ft_words<4> high, rest;
#pragma unroll
            for (int q = 0; q < 4; q++) {
                high.v[q] = ft_pair(h[2 * q], h[2 * q + 1]);
                rest.v[q] = ft_pair(h[2 * q] - ft_low(high.v[q]), h[2 * q + 1] - ft_high(high.v[q]));
            }
            if (packed) {
                uint32_t *to = packed + pair * n * p + tile * 256 + lane * 4;
                *(ft_words<4> *)to = high;
                *(ft_words<4> *)(to + 128) = rest;
            }
#pragma unroll
            for (int i = 0; i < 8; i++) {
                float more = here[at[i]];
                if (keep) here[at[i]] = h[i];
                h[i] = fade * h[i] + more;
            }
        }
        for (int i = 0; last && i < 8; i++) last[own + at[i]] = h[i];
    }
}

/* ---- backward ----------------------------------------------------------------------------------------------------------- */

/* ends[pair] = decay <H, g>; a block each */
static __global__ void ssd_ends(float *ends, const float *decay, const float *states, const float *gradients, int size)
{
    float sum = 0;
    for (int i = (int)threadIdx.x; i < size; i += FT_THREADS)
        sum += states[(int64_t)blockIdx.x * size + i] * gradients[(int64_t)blockIdx.x * size + i];
    sum = ft_sum<FT_THREADS>(sum);
    if (threadIdx.x == 0) ends[blockIdx.x] = decay[blockIdx.x] * sum;
}

/* dx: exp(s_end - s_j) dt_j B_j g of the block's heads. grid: (chunks, parts of the heads) */
template <int W, int P> static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 2) ssd_behind(chunk s, float *dx)
{
    FT_DYNAMIC_SHARED(unsigned char, shared);
    enum { TP = W * 16 };
    spot p = spot_of<W>(s);
    room r = room_of<W, P>(shared, s, false);
    int j0 = p.tile * 16 + p.lane / 4;
    fetch<W>(r.b, s.x + p.token * (int64_t)s.width + s.e, s.width, s.n, p);
    make_steps<W>(r, s, p);
    ft_copies_done();
    __syncthreads();
    for (int h = 0; h < p.heads; h++) {
        const float *cum = r.cum + h * TP, *dt = r.dt + h * TP;
        float out[P / 8][4] = {{0}},
                      fade[2] = {ft_exp1(cum[TP - 1] - cum[j0]) * dt[j0], ft_exp1(cum[TP - 1] - cum[j0 + 8]) * dt[j0 + 8]};
        times_state<P>(out, r.b + p.tile * 16 * (s.n + PAD), s, p, h, fade);
#pragma unroll
        for (int q = 0; q < 2; q++) {
            float *to = dx + (int64_t)(p.token + j0 + q * 8) * s.e + (p.h0 + h) * P + p.lane % 4 * 2;
            if (j0 + q * 8 >= p.t) continue;
#pragma unroll
            for (int c = 0; c < P / 8; c++) ft_write<2>(to + c * 8, out[c] + 2 * q);
        }
    }
}

/* the second factor of products by the transpose of 16 rows of f32, in two halves */
FT_DEV void load_state_turned(uint32_t b[4], uint32_t rest[4], const float *m, int ld, int lane)
{
#pragma unroll
    for (int q = 0; q < 4; q++) {
        float v[2];
        ft_read<2>(v, m + (lane / 4 + q / 2 * 8) * ld + lane % 4 * 2 + q % 2 * 8);
        b[q] = ft_pair(v[0], v[1]);
        rest[q] = ft_pair(v[0] - ft_low(b[q]), v[1] - ft_high(b[q]));
    }
}

/* grid: (chunks, 16 columns of the state each). A warp has 16 tokens and goes through all heads. */
template <int W, int P>
static __global__ void __launch_bounds__(MOST_WARPS *FT_WARP, 2)
    ssd_carry(chunk s, const bf16 *dy, const float *states, const float *gradients, carried_grads to)
{
    FT_DYNAMIC_SHARED(unsigned char, shared);
    enum { TP = W * 16, LD = P + PAD };
    spot p = spot_of<W>(s);
    int n0 = (int)blockIdx.y * 16, i0 = p.tile * 16 + p.lane / 4;
    p.h0 = 0, p.heads = s.heads;
    room r;
    r.x = (bf16 *)shared, r.dy = r.x + 2 * TP * LD, r.cum = (float *)(r.dy + 2 * TP * LD), r.dt = r.cum + s.heads * TP;
    const bf16 *x = s.x + p.token * (int64_t)s.width, *above = dy + p.token * (int64_t)s.e;
    fetch<W>(r.x, x, s.width, P, p);
    fetch<W>(r.dy, above, s.e, P, p);
    make_steps<W>(r, s, p);
    float b[2][4] = {{0}}, c[2][4] = {{0}}, db[2][4] = {{0}}, dc[2][4] = {{0}}; /* B and C, and what becomes of them */
#pragma unroll
    for (int q = 0; q < 8; q++) {
        int t = i0 + q % 4 / 2 * 8;
        const bf16 *shared_by_heads = x + t * (int64_t)s.width + s.e + n0 + q / 4 * 8 + p.lane % 4 * 2 + q % 2;
        if (t < p.t) b[q / 4][q % 4] = ft_get(shared_by_heads), c[q / 4][q % 4] = ft_get(shared_by_heads + s.n);
    }
    for (int h = 0; h < s.heads; h++) {
        ft_copies_done();
        __syncthreads();
        if (h + 1 < s.heads) {
            fetch<W>(r.x + ((h + 1) & 1) * TP * LD, x + (h + 1) * P, s.width, P, p);
            fetch<W>(r.dy + ((h + 1) & 1) * TP * LD, above + (h + 1) * P, s.e, P, p);
        }
        const bf16 *tx = r.x + (h & 1) * TP * LD + p.tile * 16 * LD, *td = r.dy + (h & 1) * TP * LD + p.tile * 16 * LD;
        const float *cum = r.cum + h * TP, *dt = r.dt + h * TP;
        int64_t from = (((int64_t)p.seq * s.heads + h) * s.n + n0) * P;
        float gx[2][4] = {{0}}, hdy[2][4] = {{0}}, own[2] = {0}, sum[2] = {0};
#pragma unroll
        for (int k = 0; k < P / 16; k++) {
            uint32_t a[4], factor[4], rest[4];
            ft_load_a(a, tx + k * 16, LD);
            load_state_turned(factor, rest, gradients + from + k * 16, P, p.lane);
            ft_mma_pair(gx, a, factor);
            ft_mma_pair(gx, a, rest);
            ft_load_a(a, td + k * 16, LD);
            load_state_turned(factor, rest, states + from + k * 16, P, p.lane);
            ft_mma_pair(hdy, a, factor);
            ft_mma_pair(hdy, a, rest);
        }
        float behind[2] = {ft_exp1(cum[TP - 1] - cum[i0]), ft_exp1(cum[TP - 1] - cum[i0 + 8])},
              before[2] = {ft_exp1(cum[i0]), ft_exp1(cum[i0 + 8])}, step[2] = {dt[i0], dt[i0 + 8]};
#pragma unroll
        for (int q = 0; q < 8; q++) {
            int half = q / 4, at = q % 4, i = at / 2;
            own[i] += b[half][at] * gx[half][at], sum[i] += c[half][at] * hdy[half][at];
            db[half][at] += behind[i] * step[i] * gx[half][at], dc[half][at] += before[i] * hdy[half][at];
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
#pragma unroll
            for (int by = 1; by < 4; by *= 2) {
                own[i] += __shfl_xor_sync(0xFFFFFFFFu, own[i], by);
                sum[i] += __shfl_xor_sync(0xFFFFFFFFu, sum[i], by);
            }
            int64_t at = (blockIdx.y * s.tokens + p.token + i0 + i * 8) * s.heads + h;
            if (p.lane % 4 == 0 && i0 + i * 8 < p.t) to.own[at] = behind[i] * own[i], to.sums[at] = before[i] * sum[i];
        }
    }
#pragma unroll
    for (int q = 0; q < 4; q++) {
        int t = i0 + q % 2 * 8;
        float *row = to.part + (int64_t)(p.token + t) * 2 * s.n + n0 + q / 2 * 8 + p.lane % 4 * 2;
        if (t >= p.t) continue;
        ft_write<2>(row, db[q / 2] + q % 2 * 2);
        ft_write<2>(row + s.n, dc[q / 2] + q % 2 * 2);
    }
}

/* ---- rows --------------------------------------------------------------------------------------------------------------- */

void ft_cuda_ssd_added(const chunk &s, int p, const bf16 *dy, float *added, float *decay)
{
    chunk one = s;
    one.sides = 1;
    dim3 grid((unsigned)s.seqs, (unsigned)s.parts);
    FT_BY_TOKENS(s.t, FT_BY_HEAD(p, FT_LAUNCH_BIG((ssd_added<W, P>), grid, (unsigned)(W * FT_WARP),
                                                  (room_bytes<W, P>(one, false)), one, dy, added, decay)));
}

void ft_cuda_ssd_pass(const chunk &s, int p, float *states, uint32_t *packed, const float *decay, const float *first, float *last,
                      bool back, bool keep)
{
    int64_t sequences = s.seqs / s.chunks;
    FT_RUN((ssd_pass), sequences * s.heads * s.n * p / 8, states, packed, decay, first, last, sequences, s.chunks, s.heads, s.n,
           p, back, keep);
}

size_t ft_cuda_ssd_carry_room(const chunk &s, int p)
{
    size_t tokens = (size_t)((s.t + 15) / 16 * 16);
    return tokens * (size_t)(4 * (p + PAD) * 2 + 2 * s.heads * 4);
}

void ft_cuda_ssd_carry_bwd(const chunk &s, int p, const bf16 *dy, const float *states, const float *gradients, const float *decay,
                           const carried_grads &to)
{
    chunk one = s;
    one.sides = 1;
    dim3 by_heads((unsigned)s.seqs, (unsigned)s.parts);
    FT_BY_TOKENS(s.t, FT_BY_HEAD(p, FT_LAUNCH_BIG((ssd_behind<W, P>), by_heads, (unsigned)(W * FT_WARP),
                                                  (room_bytes<W, P>(one, false)), one, to.dx)));
    one.each = s.heads;
    FT_LAUNCH((ssd_ends), (unsigned)(s.seqs * s.heads), FT_THREADS, 0, ft_cuda_stream, to.ends, decay, states, gradients,
              s.n * p);
    dim3 grid((unsigned)s.seqs, (unsigned)(s.n / 16));
    FT_BY_TOKENS(s.t, FT_BY_HEAD(p, FT_LAUNCH_BIG((ssd_carry<W, P>), grid, (unsigned)(W * FT_WARP), ft_cuda_ssd_carry_room(s, p),
                                                  one, dy, states, gradients, to)));
}
