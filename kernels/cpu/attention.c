/* Dense scaled dot product attention: softmax(q k^T scale) v per sequence and head; causal and relative positions as options.
 *
 * A task is one sequence and one head. Keys and values are widened into a per-thread f32 scratch that fits L2 (keys transposed,
 * so that both products run along contiguous rows). Queries go in blocks of QUERIES rows against all keys: the softmax is exact,
 * nothing is rescaled, and only the log-sum-exp of each row is kept for the backward pass, which makes the probabilities again.
 * Packed inputs (q|k|v in one tensor) are read in place by their row stride.
 *
 * bf16 tensors on processors with bf16 products take a twin path (task_bf16): rows are used as they lie, probabilities and their
 * gradients are rounded to bf16 for the products, as flash attention does everywhere; sums stay f32. */
#include "common/base/status.h"
#include "kernels/cpu/gemm_bf16.h"

enum { QUERIES = 48, PANEL = 64 }; /* QUERIES: a multiple of every FT_GEMM_ROWS */

typedef struct {
    int64_t seqs, tq, tk, heads, d;
    int64_t stride[3], offset[3]; /* of q, k, v: row stride and first element within a row */
    const ft_buf *buf[3];
    int64_t reach; /* relative positions -reach .. reach; -1: none */
    float scale;
    int64_t wide; /* keys padded to whole panels */
    bool words;   /* the bf16 path */
} shape;

static shape shape_of(const ft_call *c)
{
    const ft_buf *q = c->in[0], *k = c->in[1];
    shape s = {.seqs = q->dim[0], .tq = q->dim[1], .tk = k ? k->dim[1] : q->dim[1], .heads = c->attr->sdpa.heads};
    int64_t width = k ? q->dim[2] : q->dim[2] / 3;
    s.d = width / s.heads;
    s.scale = c->attr->sdpa.scale;
    s.wide = s.tk <= PANEL ? (s.tk + 15) / 16 * 16 : (s.tk + PANEL - 1) / PANEL * PANEL;
    for (int i = 0; i < 3; i++) {
        s.buf[i] = k ? c->in[i] : q;
        s.stride[i] = k ? width : 3 * width;
        s.offset[i] = k ? 0 : i * width;
    }
    s.words = q->dtype == FT_BF16 && !c->in[3] && !c->in[4] && s.d % 16 == 0 && s.scale > 0 && ft_bf16_instructions();
    s.reach = c->in[3] ? (c->in[3]->dim[0] - 1) / 2 : c->in[4] ? (c->in[4]->dim[0] - 1) / 2 : -1;
    return s;
}

static int64_t element(const shape *s, int which, int64_t seq, int64_t head)
{
    return seq * (which == 0 ? s->tq : s->tk) * s->stride[which] + s->offset[which] + head * s->d;
}

/* per thread: q, dq, do (QUERIES, d); k, dk, dv (wide, d); k^T, v^T in panels; p, dp (QUERIES, wide); all q and dq (tq, d) for
 * the transposed relative term */
static int64_t thread_floats(const shape *s)
{
    if (s->words) return 5 * QUERIES * s->wide + 3 * QUERIES * s->d + 6 * (s->wide + PANEL) * s->d + 64;
    return 3 * QUERIES * s->d + 5 * s->wide * s->d + 2 * PANEL * s->d + 2 * QUERIES * s->wide +
           (s->reach >= 0 ? 2 * s->tq * s->d : 0) + 64;
}

/* the tables' gradients are summed in FT_PARTS parts */
static int64_t table_floats(const ft_call *c) { return (c->in[3] ? c->in[3]->count : 0) + (c->in[4] ? c->in[4]->count : 0); }

int FT_PREPARE(sdpa)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * thread_floats(&s)) * sizeof(float);
    return FT_OK;
}
int FT_PREPARE(sdpa_bwd)(ft_call *c)
{
    shape s = shape_of(c);
    c->work_size = (size_t)(ft_cpu_threads() * thread_floats(&s) + FT_PARTS * table_floats(c)) * sizeof(float);
    return FT_OK;
}

static int64_t entry(const shape *s, int64_t i, int64_t j) /* row of the relative table for query i, key j */
{
    int64_t d = j - i;
    return (d < -s->reach ? -s->reach : d > s->reach ? s->reach : d) + s->reach;
}

/* x (wide, d) transposed into panels of PANEL columns that fit L1: column j of row e at (j / PANEL * d + e) * PANEL + j % PANEL
 */
static void to_panels(const shape *s, const float *x, float *panels)
{
    for (int64_t j = 0; j < s->wide; j += PANEL)
        ft_transpose(x + j * s->d, s->d, FT_MIN(PANEL, s->wide - j), s->d, panels + j * s->d, PANEL);
}

/* y (n, columns) = a (n, d) times panels */
static void by_panels(const shape *s, int64_t n, int64_t columns, const float *a, const float *panels, float *y)
{
    for (int64_t j = 0; j < columns; j += PANEL)
        ft_gemm(n, FT_MIN(PANEL, columns - j), s->d, a, s->d, 1, panels + j * s->d, PANEL, y + j, s->wide, false);
}

/* logits of queries [i0, i0 + n) against all keys; LVDM's transposed relative term reads q_j, so it needs all queries at once */
static void logits(const ft_call *c, const shape *s, const float *q, const float *qall, const float *kt, int64_t i0, int64_t n,
                   float *p)
{
    int64_t seen = c->attr->sdpa.causal ? FT_MIN(s->tk, i0 + n) : s->tk;
    by_panels(s, n, (seen + 15) / 16 * 16, q, kt, p);
    if (c->in[3]) {
        const float *table = c->in[3]->data;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < s->tk; j++)
                p[i * s->wide + j] += c->attr->sdpa.transpose ? ft_dot(qall + j * s->d, table + entry(s, j, i0 + i) * s->d, s->d)
                                                              : ft_dot(q + i * s->d, table + entry(s, i0 + i, j) * s->d, s->d);
    }
}

/* the scale is folded into q */
static void load_scaled(const shape *s, float *q, int64_t seq, int64_t head, int64_t i0, int64_t n)
{
    ft_load_rows(q, s->d, s->buf[0], element(s, 0, seq, head) + i0 * s->stride[0], s->stride[0], n, s->d);
    for (int64_t i = 0; i < n * s->d; i++) q[i] *= s->scale;
}

static float *scratch(const ft_call *c, const shape *s)
{
    return (float *)c->work + (int64_t)ft_cpu_thread_id() * thread_floats(s);
}

/* ---- bf16 products ------------------------------------------------------------------------------------------------------ */

static const uint16_t *row16(const shape *s, int which, int64_t seq, int64_t head)
{
    return (const uint16_t *)s->buf[which]->data + element(s, which, seq, head);
}

/* x (tk, d) as words along d, transposed into panels: word (j, p) at (j / PANEL * d/2 + p) * PANEL + j % PANEL; zeros behind tk
 */
static void word_panels(const shape *s, const uint16_t *x, int64_t stride, float *rows, uint32_t *panels)
{
    int64_t d2 = s->d / 2;
    for (int64_t j = 0; j < s->tk; j++) memcpy(rows + j * d2, x + j * stride, (size_t)s->d * 2);
    memset(rows + s->tk * d2, 0, (size_t)((s->wide - s->tk) * d2) * sizeof(float));
    for (int64_t j = 0; j < s->wide; j += PANEL)
        ft_transpose(rows + j * d2, d2, FT_MIN(PANEL, s->wide - j), d2, (float *)panels + j * d2, PANEL);
}

static void by_word_panels(const shape *s, int64_t n, int64_t columns, const uint16_t *a, int64_t stride, const uint32_t *panels,
                           float *y)
{
    for (int64_t j = 0; j < columns; j += PANEL)
        ft_gemm_bf16(n, FT_MIN(PANEL, columns - j), s->d / 2, (const uint32_t *)(const void *)a, stride / 2, 1,
                     panels + j * (s->d / 2), PANEL, y + j, s->wide, false);
}

static void forward_bf16(const ft_call *c, const shape *s, int64_t task, float *work)
{
    int64_t seq = task / s->heads, h = task % s->heads, width = s->heads * s->d;
    float *p = work, *o = p + QUERIES * s->wide, *rows = o + QUERIES * s->d, *lse = (float *)c->out[1]->data + task * s->tq;
    uint32_t *kt = (uint32_t *)(rows + s->wide * s->d), *v2 = kt + s->wide * s->d + PANEL * s->d;
    uint16_t *pb = (uint16_t *)(v2 + s->wide * s->d);
    word_panels(s, row16(s, 1, seq, h), s->stride[1], rows, kt);
    ft_interleave(v2, s->d, row16(s, 2, seq, h), s->stride[2], s->tk, s->d);
    for (int64_t i0 = 0; i0 < s->tq; i0 += QUERIES) {
        int64_t n = FT_MIN(QUERIES, s->tq - i0), last = c->attr->sdpa.causal ? FT_MIN(s->tk, i0 + n) : s->tk,
                cols = (last + 15) / 16 * 16;
        float inverse[QUERIES];
        by_word_panels(s, n, cols, row16(s, 0, seq, h) + i0 * s->stride[0], s->stride[0], kt, p);
        for (int64_t i = 0; i < n; i++) {
            float *row = p + i * s->wide, total;
            int64_t seen = c->attr->sdpa.causal ? FT_MIN(s->tk, i0 + i + 1) : s->tk;
            float top = s->scale * ft_top(row, seen);
            for (int64_t j = 0; j < seen; j++) row[j] = s->scale * row[j] - top;
            ft_exp_row(row, seen);
            total = ft_sum(row, seen);
            for (int64_t j = seen; j < cols; j++) row[j] = 0;
            lse[i0 + i] = top + logf(total);
            inverse[i] = 1.0f / total;
            ft_narrow(pb + i * s->wide, row, cols);
        }
        ft_gemm_bf16(n, s->d, (last + 1) / 2, (const uint32_t *)(const void *)pb, s->wide / 2, 1, v2, s->d, o, s->d, false);
        for (int64_t i = 0; i < n; i++)
            for (int64_t e = 0; e < s->d; e++) o[i * s->d + e] *= inverse[i];
        ft_store_rows(c->out[0], (seq * s->tq + i0) * width + h * s->d, width, o, s->d, n, s->d);
    }
}

static void backward_bf16(const ft_call *c, const shape *s, int64_t task, float *work, ft_buf *const to[3])
{
    int64_t seq = task / s->heads, h = task % s->heads, width = s->heads * s->d, d = s->d;
    const float *lse = (const float *)c->in[5]->data + task * s->tq;
    float *p = work, *dp = p + QUERIES * s->wide, *dq = dp + QUERIES * s->wide, *dk = dq + QUERIES * d, *dv = dk + s->wide * d,
          *rows = dv + s->wide * d;
    uint32_t *kt = (uint32_t *)(rows + s->wide * d), *vt = kt + (s->wide + PANEL) * d / 2, *k2 = vt + (s->wide + PANEL) * d / 2,
             *q2 = k2 + s->wide * d / 2 + d, *do2 = q2 + QUERIES * d / 2, *p2 = do2 + QUERIES * d / 2,
             *ds2 = p2 + QUERIES / 2 * s->wide;
    uint16_t *pb = (uint16_t *)(ds2 + QUERIES / 2 * s->wide), *dsb = pb + QUERIES * s->wide;
    word_panels(s, row16(s, 1, seq, h), s->stride[1], rows, kt);
    word_panels(s, row16(s, 2, seq, h), s->stride[2], rows, vt);
    ft_interleave(k2, d, row16(s, 1, seq, h), s->stride[1], s->tk, d);
    memset(dk, 0, (size_t)(2 * s->wide * d) * sizeof(float));
    for (int64_t i0 = 0; i0 < s->tq; i0 += QUERIES) {
        int64_t n = FT_MIN(QUERIES, s->tq - i0), last = c->attr->sdpa.causal ? FT_MIN(s->tk, i0 + n) : s->tk,
                cols = (last + 15) / 16 * 16;
        int64_t at = (seq * s->tq + i0) * width + h * d;
        const uint16_t *q = row16(s, 0, seq, h) + i0 * s->stride[0], *dout = (const uint16_t *)c->in[7]->data + at;
        by_word_panels(s, n, cols, q, s->stride[0], kt, p);
        by_word_panels(s, n, cols, dout, width, vt, dp);
        for (int64_t i = 0; i < n; i++) {
            float *row = p + i * s->wide, *g = dp + i * s->wide, l = lse[i0 + i], inner;
            int64_t seen = c->attr->sdpa.causal ? FT_MIN(s->tk, i0 + i + 1) : s->tk;
            ft_widen(dq, (const uint16_t *)c->in[6]->data + at + i * width, d);
            ft_widen(dq + d, dout + i * width, d);
            inner = ft_dot(dq, dq + d, d);
            for (int64_t j = 0; j < seen; j++) {
                row[j] = ft_exp1(s->scale * row[j] - l);
                g[j] = s->scale * row[j] * (g[j] - inner);
            }
            for (int64_t j = seen; j < cols; j++) row[j] = g[j] = 0;
            ft_narrow(pb + i * s->wide, row, cols);
            ft_narrow(dsb + i * s->wide, g, cols);
        }
        ft_interleave(p2, s->wide, pb, s->wide, n, cols);
        ft_interleave(ds2, s->wide, dsb, s->wide, n, cols);
        ft_interleave(q2, d, q, s->stride[0], n, d);
        ft_interleave(do2, d, dout, width, n, d);
        ft_gemm_bf16(n, d, (last + 1) / 2, (const uint32_t *)(const void *)dsb, s->wide / 2, 1, k2, d, dq, d, false);
        ft_gemm_bf16(last, d, (n + 1) / 2, ds2, 1, s->wide, q2, d, dk, d, true);
        ft_gemm_bf16(last, d, (n + 1) / 2, p2, 1, s->wide, do2, d, dv, d, true);
        if (to[0]) ft_store_rows(to[0], element(s, 0, seq, h) + i0 * s->stride[0], s->stride[0], dq, d, n, d);
    }
    if (to[1]) ft_store_rows(to[1], element(s, 1, seq, h), s->stride[1], dk, d, s->tk, d);
    if (to[2]) ft_store_rows(to[2], element(s, 2, seq, h), s->stride[2], dv, d, s->tk, d);
}

/* ---- f32 products ------------------------------------------------------------------------------------------------------- */

void FT_CPU(sdpa)(const ft_call *c)
{
    shape s = shape_of(c);
    ft_buf *out = c->out[0];
    float *lse = c->out[1]->data;
    int64_t width = s.heads * s.d;
    bool all = c->in[3] && c->attr->sdpa.transpose;
#pragma omp parallel for schedule(dynamic) if (s.seqs * s.heads * s.tq * s.tk > FT_SMALL)
    for (int64_t task = 0; task < s.seqs * s.heads; task++) {
        if (s.words) {
            forward_bf16(c, &s, task, scratch(c, &s));
            continue;
        }
        int64_t seq = task / s.heads, h = task % s.heads;
        float *q = scratch(c, &s), *o = q + QUERIES * s.d, *k = o + QUERIES * s.d, *v = k + s.wide * s.d, *kt = v + s.wide * s.d,
              *p = kt + s.d * (s.wide + PANEL), *qall = p + QUERIES * s.wide;
        ft_load_rows(k, s.d, s.buf[1], element(&s, 1, seq, h), s.stride[1], s.tk, s.d);
        memset(k + s.tk * s.d, 0, (size_t)((s.wide - s.tk) * s.d) * sizeof(float));
        ft_load_rows(v, s.d, s.buf[2], element(&s, 2, seq, h), s.stride[2], s.tk, s.d);
        to_panels(&s, k, kt);
        if (all) load_scaled(&s, qall, seq, h, 0, s.tq);
        for (int64_t i0 = 0; i0 < s.tq; i0 += QUERIES) {
            int64_t n = FT_MIN(QUERIES, s.tq - i0);
            float inverse[QUERIES];
            load_scaled(&s, q, seq, h, i0, n);
            logits(c, &s, q, qall, kt, i0, n, p);
            int64_t last = c->attr->sdpa.causal ? FT_MIN(s.tk, i0 + n) : s.tk;
            for (int64_t i = 0; i < n; i++) {
                float *row = p + i * s.wide;
                int64_t seen = c->attr->sdpa.causal ? FT_MIN(s.tk, i0 + i + 1) : s.tk;
                float top = ft_top(row, seen), total = 0;
                for (int64_t j = 0; j < seen; j++) total += row[j] = ft_exp1(row[j] - top);
                for (int64_t j = seen; j < last; j++) row[j] = 0;
                lse[task * s.tq + i0 + i] = top + logf(total);
                inverse[i] = 1.0f / total;
            }
            ft_gemm(n, s.d, last, p, s.wide, 1, v, s.d, o, s.d, false);
            if (c->in[4]) {
                const float *table = c->in[4]->data;
                for (int64_t i = 0; i < n; i++)
                    for (int64_t j = 0; j < last; j++) {
                        const float *r = table + entry(&s, i0 + i, j) * s.d;
                        for (int64_t e = 0; e < s.d; e++) o[i * s.d + e] += p[i * s.wide + j] * r[e];
                    }
            }
            for (int64_t i = 0; i < n; i++) /* fewer values than the probabilities */
                for (int64_t e = 0; e < s.d; e++) o[i * s.d + e] *= inverse[i];
            ft_store_rows(out, (seq * s.tq + i0) * width + h * s.d, width, o, s.d, n, s.d);
        }
    }
}

/* gradients of the relative tables from one block of rows: dl (n, tk) of the logits, dp of the probabilities' place in o */
static void table_grads(const ft_call *c, const shape *s, const float *q, const float *qall, const float *p, const float *dl,
                        const float *dout, int64_t i0, int64_t n, float *dk_table, float *dv_table, float *dq, float *dqall)
{
    const float *rk = c->in[3] ? c->in[3]->data : NULL;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < s->tk; j++) {
            bool turned = c->attr->sdpa.transpose;
            if (c->attr->sdpa.causal && j > i0 + i) continue;
            if (rk) {
                int64_t e = turned ? entry(s, j, i0 + i) : entry(s, i0 + i, j);
                const float *from = turned ? qall + j * s->d : q + i * s->d;
                float g = dl[i * s->wide + j], *to = turned ? dqall + j * s->d : dq + i * s->d;
                for (int64_t x = 0; x < s->d; x++) {
                    dk_table[e * s->d + x] += g * from[x];
                    to[x] += g * rk[e * s->d + x];
                }
            }
            if (c->in[4])
                for (int64_t x = 0; x < s->d; x++)
                    dv_table[entry(s, i0 + i, j) * s->d + x] += p[i * s->wide + j] * dout[i * s->d + x];
        }
}

/* A block of n rows: the logits in p become probabilities, dP in dp the gradients of the logits. lse: of the sequence's rows;
 * inner: sum over j of P_ij dP_ij */
static void logit_grads(const ft_call *c, const shape *s, const float *lse, int64_t i0, int64_t n, int64_t last,
                        const float *dout, const float *inner, float *p, float *dp)
{
    int64_t cols = (last + 15) / 16 * 16;
    if (c->in[4]) {
        const float *table = c->in[4]->data;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < last; j++)
                dp[i * s->wide + j] += ft_dot(dout + i * s->d, table + entry(s, i0 + i, j) * s->d, s->d);
    }
    for (int64_t i = 0; i < n; i++) {
        float *row = p + i * s->wide, *d = dp + i * s->wide, l = lse[i0 + i];
        int64_t seen = c->attr->sdpa.causal ? FT_MIN(s->tk, i0 + i + 1) : s->tk;
        for (int64_t j = 0; j < seen; j++) {
            row[j] = ft_exp1(row[j] - l);
            d[j] = row[j] * (d[j] - inner[i]);
        }
        for (int64_t j = seen; j < cols; j++) row[j] = d[j] = 0;
    }
}

/* in: q k v rel_k rel_v lse y dy; out: dq dk dv drel_k drel_v. Packed: one output. Parts own whole sequences, so that the
 * tables' gradients are summed in one order. */
void FT_CPU(sdpa_bwd)(const ft_call *c)
{
    shape s = shape_of(c);
    const ft_buf *y = c->in[6], *dy = c->in[7];
    const float *lse = c->in[5]->data;
    int64_t width = s.heads * s.d, tables = table_floats(c), nk = c->in[3] ? c->in[3]->count : 0, tasks = s.seqs * s.heads;
    bool packed = !c->in[1], turned = c->in[3] && c->attr->sdpa.transpose;
    ft_buf *to[3] = {c->out[0], packed ? c->out[0] : c->out[1], packed ? c->out[0] : c->out[2]};
    float *partial = (float *)c->work + ft_cpu_threads() * thread_floats(&s);
    memset(partial, 0, (size_t)(FT_PARTS * tables) * sizeof(float));
    int64_t parts = tables ? FT_PARTS : tasks;
#pragma omp parallel for schedule(dynamic) if (tasks * s.tq * s.tk > FT_SMALL)
    for (int64_t part = 0; part < parts; part++)
        for (int64_t task = ft_part(tasks, part, parts); task < ft_part(tasks, part + 1, parts); task++) {
            if (s.words) {
                backward_bf16(c, &s, task, scratch(c, &s), to);
                continue;
            }
            int64_t seq = task / s.heads, h = task % s.heads;
            float *q = scratch(c, &s), *dq = q + QUERIES * s.d, *dout = dq + QUERIES * s.d, *k = dout + QUERIES * s.d,
                  *dk = k + s.wide * s.d, *dv = dk + s.wide * s.d, *kt = dv + s.wide * s.d, *vt = kt + s.d * (s.wide + PANEL),
                  *p = vt + s.d * (s.wide + PANEL), *dp = p + QUERIES * s.wide, *qall = dp + QUERIES * s.wide,
                  *turned_dq = qall + s.tq * s.d;
            float *tk = partial + part * tables, *tv = tk + nk;
            /* v^T first, with k's place as a stop on the way */
            memset(k + s.tk * s.d, 0, (size_t)((s.wide - s.tk) * s.d) * sizeof(float));
            ft_load_rows(k, s.d, s.buf[2], element(&s, 2, seq, h), s.stride[2], s.tk, s.d);
            to_panels(&s, k, vt);
            ft_load_rows(k, s.d, s.buf[1], element(&s, 1, seq, h), s.stride[1], s.tk, s.d);
            to_panels(&s, k, kt);
            memset(dk, 0, (size_t)(2 * s.wide * s.d) * sizeof(float));
            if (turned) load_scaled(&s, qall, seq, h, 0, s.tq);
            if (turned) memset(turned_dq, 0, (size_t)(s.tq * s.d) * sizeof(float));
            for (int64_t i0 = 0; i0 < s.tq; i0 += QUERIES) {
                int64_t n = FT_MIN(QUERIES, s.tq - i0), last = c->attr->sdpa.causal ? FT_MIN(s.tk, i0 + n) : s.tk,
                        cols = (last + 15) / 16 * 16;
                load_scaled(&s, q, seq, h, i0, n);
                ft_load_rows(dout, s.d, dy, (seq * s.tq + i0) * width + h * s.d, width, n, s.d);
                float inner[QUERIES]; /* sum over j of P_ij dP_ij = dy_i . y_i */
                ft_load_rows(dq, s.d, y, (seq * s.tq + i0) * width + h * s.d, width, n, s.d);
                for (int64_t i = 0; i < n; i++) inner[i] = ft_dot(dq + i * s.d, dout + i * s.d, s.d);
                logits(c, &s, q, qall, kt, i0, n, p);
                by_panels(&s, n, cols, dout, vt, dp);
                logit_grads(c, &s, lse + task * s.tq, i0, n, last, dout, inner, p, dp);
                ft_gemm(n, s.d, last, dp, s.wide, 1, k, s.d, dq, s.d, false);
                ft_gemm(last, s.d, n, dp, 1, s.wide, q, s.d, dk, s.d, true);
                ft_gemm(last, s.d, n, p, 1, s.wide, dout, s.d, dv, s.d, true);
                if (tables) table_grads(c, &s, q, qall, p, dp, dout, i0, n, tk, tv, dq, turned_dq);
                if (!to[0]) continue;
                if (turned) { /* later blocks of rows may still add to it */
                    for (int64_t i = 0; i < n * s.d; i++) turned_dq[i0 * s.d + i] += dq[i];
                    continue;
                }
                for (int64_t i = 0; i < n * s.d; i++) dq[i] *= s.scale;
                ft_store_rows(to[0], element(&s, 0, seq, h) + i0 * s.stride[0], s.stride[0], dq, s.d, n, s.d);
            }
            if (turned && to[0]) {
                for (int64_t i = 0; i < s.tq * s.d; i++) turned_dq[i] *= s.scale;
                ft_store_rows(to[0], element(&s, 0, seq, h), s.stride[0], turned_dq, s.d, s.tq, s.d);
            }
            if (to[1]) ft_store_rows(to[1], element(&s, 1, seq, h), s.stride[1], dk, s.d, s.tk, s.d);
            if (to[2]) ft_store_rows(to[2], element(&s, 2, seq, h), s.stride[2], dv, s.d, s.tk, s.d);
        }
    for (int which = 0; which < 2; which++) {
        if (!c->out[3 + which]) continue;
        float *out = c->out[3 + which]->data;
        int64_t n = c->out[3 + which]->count;
        memset(out, 0, (size_t)n * sizeof(float));
        for (int64_t part = 0; part < FT_PARTS; part++)
            for (int64_t i = 0; i < n; i++) out[i] += partial[part * tables + (which ? nk : 0) + i];
    }
}
