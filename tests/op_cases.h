/* A case of test_ops.c: inputs, how to build the op, and a plain double-precision reference. One row of a table each. */
#ifndef FT_OP_CASES_H
#define FT_OP_CASES_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/graph/graph.h"
#include "common/graph/node.h"
#include "kernels/elem.h"

enum { MAXN = 6, MAX_VALUES = 40000 };

/* What an input holds: N(0,1) in the graph's dtype, or: */
/* f32 also in a bf16 graph (norm parameters); |x| + 0.25; x/2; 3x + 2; neighbours never equal */
enum { F32 = 1, POSITIVE = 2, SMALL = 4, WIDE = 8, DISTINCT = 16 };

typedef struct row row;
typedef ft_t build_fn(ft_graph *g, ft_t *in, const row *c);
typedef void ref_fn(const row *c, double **in, double *out);
struct row {
    const char *name;
    build_fn *build;
    ref_fn *ref;
    int n;
    struct {
        int nd;
        int64_t d[6];
        int kind;
    } in[MAXN];
    int64_t p[12];
    int64_t terms;  /* length of the longest sum: the tolerance is (16 + terms) 2^-24 of the largest value */
    int stages;     /* roundings to storage on the way: bf16 adds 2^-8 for each */
    int no_grad;    /* inputs from here on have no gradient */
    bool no_poison; /* NaN and Inf behave otherwise than in the reference: said beside the row */
};

typedef struct {
    const row *list;
    int n;
} table;
extern const table cases_basic, cases_nn;

#define D(i, k) (c->in[i].d[k])
static inline int64_t count(const row *c, int i)
{
    int64_t n = 1;
    for (int k = 0; k < c->in[i].nd; k++) n *= c->in[i].d[k];
    return n;
}

static inline double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static inline double silu(double x) { return x * sigmoid(x); }
static inline double gelu(double x) { return 0.5 * x * erfc(-x / sqrt(2.0)); }
static inline double act(int64_t a, double x)
{
    switch ((ft_act)a) {
        case FT_ACT_NONE: return x;
        case FT_ACT_RELU: return x <= 0 ? 0 : x;
        case FT_ACT_SILU: return silu(x);
        case FT_ACT_GELU: return gelu(x);
        case FT_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
        case FT_ACT_SIGMOID: return sigmoid(x);
    }
    return x;
}

/* Random ops: the stream of the op just built; the step of every test, on the fourth of several ranks, so that its numbers begin
 * within a counter; value `at` of the `all` that a rank takes */
extern uint32_t op_stream;
enum { OP_SEED = 5, OP_STEP = 3, OP_RANK = 3 };
static inline double op_random(bool normal, int64_t at, int64_t all)
{
    uint32_t bits[4];
    float e[4];
    at += OP_RANK * all;
    ft_philox(OP_SEED, op_stream, OP_STEP, (uint64_t)at / 4, bits);
    ft_philox_normal(bits, e);
    return (double)(normal ? e[at % 4] : ft_philox_uniform(bits[at % 4]));
}

#endif
