/* What the attention kernels share: where q, k and v lie, relative positions, where gradients go. */
#ifndef FT_CUDA_ATTENTION_CUH
#define FT_CUDA_ATTENTION_CUH

#include "kernels/cuda/attention.h"
#include "kernels/cuda/cuda.cuh"

struct side {
    const void *base;
    int64_t stride, at; /* of a row; of its first element */
};

struct attention {
    int64_t seqs, tq, tk, heads, d;
    side q, k, v;
    float scale;
    bool causal, transpose;
    int64_t reach; /* relative positions -reach .. reach; -1: none */
    const float *rel_k, *rel_v;
};

static inline attention attention_of(const ft_call *c)
{
    const ft_buf *q = c->in[0], *k = c->in[1];
    attention s;
    memset(&s, 0, sizeof s);
    int64_t width = k ? q->dim[2] : q->dim[2] / 3, row = k ? width : 3 * width;
    s.seqs = q->dim[0], s.tq = q->dim[1], s.tk = k ? k->dim[1] : s.tq, s.heads = c->attr->sdpa.heads, s.d = width / s.heads;
    side *sides[] = {&s.q, &s.k, &s.v};
    for (int i = 0; i < 3; i++)
        sides[i]->base = k ? c->in[i]->data : q->data, sides[i]->stride = row, sides[i]->at = k ? 0 : i * width;
    s.scale = c->attr->sdpa.scale, s.causal = c->attr->sdpa.causal, s.transpose = c->attr->sdpa.transpose;
    s.rel_k = ft_as<const float>(c->in[3]), s.rel_v = ft_as<const float>(c->in[4]);
    s.reach = c->in[3] ? (c->in[3]->dim[0] - 1) / 2 : c->in[4] ? (c->in[4]->dim[0] - 1) / 2 : -1;
    return s;
}

/* row of the relative table for query i, key j */
FT_DEV int64_t entry(const attention &s, int64_t i, int64_t j)
{
    int64_t d = j - i;
    return (d < -s.reach ? -s.reach : d > s.reach ? s.reach : d) + s.reach;
}

/* those of `others` that row r meets at entry e of a table: first .. last, maybe none */
FT_DEV void partners(int64_t reach, int64_t e, int64_t r, int64_t others, int64_t *first, int64_t *last)
{
    int64_t o = r + e - reach;
    *first = e == 0 || o < 0 ? 0 : o;
    *last = e == 2 * reach || o > others - 1 ? others - 1 : o;
}

struct gradients {
    const float *lse;
    const void *y, *dy; /* (seqs, tq, width) */
    void *dq, *dk, *dv; /* written like q, k, v lie; each may be NULL */
    float *ds, *p;      /* relative positions: (seqs * heads, tq, tk) of logits and probabilities, or NULL */
    float *turned;      /* transposed relative term: what it adds to dq (seqs * heads, tq, d) */
};

static inline gradients gradients_of(const ft_call *c)
{
    gradients g;
    memset(&g, 0, sizeof g);
    g.lse = ft_as<const float>(c->in[5]), g.y = c->in[6]->data, g.dy = c->in[7]->data;
    void **to[] = {&g.dq, &g.dk, &g.dv};
    for (int i = 0; i < 3; i++)
        if (c->out[c->in[1] ? i : 0]) *to[i] = c->out[c->in[1] ? i : 0]->data;
    return g;
}

/* Few queries and keys on our own tensor-core kernel (attention_short.cu): not at all, where cuDNN refuses, or rather than cuDNN,
 * whose tiles of 64 and more would lie empty. */
enum few { FEW_NO, FEW_ELSE, FEW_BEST };
few ft_cuda_attention_few(const ft_call *c, bool backward);
void ft_cuda_attention_few_forward(const ft_call *c);
void ft_cuda_attention_few_backward(const attention *s, const gradients *g);

#endif
