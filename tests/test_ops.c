/* Every op against a plain double-precision reference, its gradient against central differences of that reference, in f32 and
 * bf16, at odd shapes. A case is a row of `cases`: inputs, how to build the op, and the reference.
 *
 * Tolerances are derived: f32 results may be off by (16 + terms) * 2^-24 of the largest value, where terms is the length of
 * the sums; bf16 adds 2^-8 for every rounding to storage on the way (`stages`). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/graph/graph.h"
#include "common/graph/node.h"
#include "kernels/elem.h"

enum { MAXN = 6, MAX_VALUES = 40000 };

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
        int fixed;
    } in[MAXN]; /* fixed: f32 also in a bf16 graph (norm parameters, gates) */
    int64_t p[12];
    int64_t terms;
    int stages;
    int no_grad; /* inputs from here on have no gradient */
};

static int64_t count(const row *c, int i)
{
    int64_t n = 1;
    for (int k = 0; k < c->in[i].nd; k++) n *= c->in[i].d[k];
    return n;
}
#define D(i, k) (c->in[i].d[k])

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu(double x) { return x * sigmoid(x); }
static double act(int64_t a, double x) { return a == FT_ACT_RELU ? (x > 0 ? x : 0) : a == FT_ACT_SILU ? silu(x) : x; }

/* ---- shape ops ---- */
static ft_t b_permute(ft_graph *g, ft_t *in, const row *c)
{
    return ft_permute(g, in[0], (int[]){(int)c->p[0], (int)c->p[1], (int)c->p[2], (int)c->p[3]});
}
static void r_permute(const row *c, double **in, double *out)
{
    int64_t d[4] = {D(0, 0), D(0, 1), D(0, 2), D(0, 3)}, st[4] = {d[1] * d[2] * d[3], d[2] * d[3], d[3], 1}, at = 0;
    const int64_t *p = c->p;
    for (int64_t a = 0; a < d[p[0]]; a++)
        for (int64_t b = 0; b < d[p[1]]; b++)
            for (int64_t e = 0; e < d[p[2]]; e++)
                for (int64_t f = 0; f < d[p[3]]; f++)
                    out[at++] = in[0][a * st[p[0]] + b * st[p[1]] + e * st[p[2]] + f * st[p[3]]];
}
static ft_t b_concat(ft_graph *g, ft_t *in, const row *c) { return ft_concat(g, (int)c->p[0], 2, in); }
static void r_concat(const row *c, double **in, double *out) /* axis 1 of 3 */
{
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int i = 0; i < 2; i++)
            for (int64_t k = 0; k < D(i, 1) * D(i, 2); k++) *out++ = in[i][a * D(i, 1) * D(i, 2) + k];
}
static ft_t b_slice(ft_graph *g, ft_t *in, const row *c) { return ft_slice(g, in[0], 1, c->p[0], c->p[1]); }
static void r_slice(const row *c, double **in, double *out)
{
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int64_t b = c->p[0]; b < c->p[0] + c->p[1]; b++)
            for (int64_t k = 0; k < D(0, 2); k++) *out++ = in[0][(a * D(0, 1) + b) * D(0, 2) + k];
}
static const int32_t five[5] = {3, 0, 4, 1, 2};
static ft_t b_gather(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_gather_rows(g, in[0], five);
}
static void r_gather(const row *c, double **in, double *out)
{
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int t = 0; t < 5; t++)
            for (int64_t k = 0; k < D(0, 2); k++) *out++ = in[0][(a * 5 + five[t]) * D(0, 2) + k];
}
static ft_t b_pad(ft_graph *g, ft_t *in, const row *c) { return ft_pad_front(g, in[0], 1, c->p[0], c->p[1]); }
static void r_pad(const row *c, double **in, double *out)
{
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int64_t t = -c->p[0]; t < D(0, 1); t++)
            for (int64_t k = 0; k < D(0, 2); k++)
                *out++ = t >= 0 ? in[0][(a * D(0, 1) + t) * D(0, 2) + k] : c->p[1] ? in[0][a * D(0, 1) * D(0, 2) + k] : 0;
}
static ft_t b_up(ft_graph *g, ft_t *in, const row *c) { return ft_upsample(g, in[0], c->p); }
static void r_up(const row *c, double **in, double *out)
{
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t t = 0; t < D(0, 1) * c->p[0]; t++)
            for (int64_t h = 0; h < D(0, 2) * c->p[1]; h++)
                for (int64_t w = 0; w < D(0, 3) * c->p[2]; w++)
                    for (int64_t k = 0; k < D(0, 4); k++)
                        *out++ =
                            in[0][(((b * D(0, 1) + t / c->p[0]) * D(0, 2) + h / c->p[1]) * D(0, 3) + w / c->p[2]) * D(0, 4) + k];
}

/* ---- elementwise ---- */
static ft_t b_unary(ft_graph *g, ft_t *in, const row *c)
{
    return c->p[0] == FT_CLAMP ? ft_clamp(g, in[0], -0.5f, 0.75f) : ft_unary(g, (ft_unary_kind)c->p[0], in[0]);
}
static void r_unary(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) {
        double x = in[0][i];
        switch ((ft_unary_kind)c->p[0]) {
            case FT_RELU: out[i] = x > 0 ? x : 0; break;
            case FT_SILU: out[i] = silu(x); break;
            case FT_SIGMOID: out[i] = sigmoid(x); break;
            case FT_EXP: out[i] = exp(x); break;
            case FT_SQUARE: out[i] = x * x; break;
            case FT_CLAMP: out[i] = fmin(fmax(x, -0.5), 0.75); break;
            case FT_TANH: out[i] = tanh(x); break;
            case FT_ABS: out[i] = fabs(x); break;
        }
    }
}
static ft_t b_binary(ft_graph *g, ft_t *in, const row *c) { return ft_binary(g, (ft_binary_kind)c->p[0], in[0], in[1]); }
static void r_binary(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) {
        int64_t rest = i, at = 0, s = 1;
        for (int k = c->in[0].nd - 1; k >= 0; k--) {
            at += D(1, k) == 1 ? 0 : rest % D(0, k) * s;
            s *= D(1, k);
            rest /= D(0, k);
        }
        double a = in[0][i], b = in[1][at];
        out[i] = c->p[0] == FT_ADD ? a + b : c->p[0] == FT_SUB ? a - b : a * b;
    }
}
static ft_t b_affine(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_affine(g, in[0], -1.5f, 0.25f);
}
static void r_affine(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) out[i] = -1.5 * in[0][i] + 0.25;
}
static ft_t b_reduce(ft_graph *g, ft_t *in, const row *c) { return ft_reduce(g, in[0], (unsigned)c->p[0], c->p[1]); }
static void r_reduce(const row *c, double **in, double *out)
{
    int nd = c->in[0].nd;
    int64_t outs = 1, n = count(c, 0);
    for (int k = 0; k < nd; k++) outs *= c->p[0] >> k & 1 ? 1 : D(0, k);
    memset(out, 0, sizeof(double) * (size_t)outs);
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, at = 0, s = 1;
        for (int k = nd - 1; k >= 0; k--) {
            if (!(c->p[0] >> k & 1)) at += rest % D(0, k) * s, s *= D(0, k);
            rest /= D(0, k);
        }
        out[at] += in[0][i] / (c->p[1] ? (double)n / (double)outs : 1);
    }
}
static ft_t b_broadcast(ft_graph *g, ft_t *in, const row *c) { return ft_broadcast(g, in[0], c->in[0].nd, c->p, 0.5f); }
static void r_broadcast(const row *c, double **in, double *out)
{
    int64_t n = 1;
    for (int k = 0; k < c->in[0].nd; k++) n *= c->p[k];
    for (int64_t i = 0; i < n; i++) {
        int64_t rest = i, at = 0, s = 1;
        for (int k = c->in[0].nd - 1; k >= 0; k--) {
            at += D(0, k) == 1 ? 0 : rest % c->p[k] * s;
            s *= D(0, k);
            rest /= c->p[k];
        }
        out[i] = 0.5 * in[0][at];
    }
}
static uint32_t dropout_stream;
static ft_t b_dropout(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    ft_t y = ft_dropout(g, in[0], 0.3f);
    dropout_stream = y->maker ? y->maker->stream : 0;
    return y;
}
static void r_dropout(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) {
        uint32_t b[4];
        ft_philox(5, dropout_stream, 3, (uint64_t)i / 4, b);
        out[i] = ft_philox_uniform(b[i % 4]) >= 0.3f ? in[0][i] / (1 - (double)0.3f) : 0;
    }
}

/* ---- products and convolutions ---- */
static ft_t b_linear(ft_graph *g, ft_t *in, const row *c) { return ft_linear(g, in[0], in[1], c->n > 2 ? in[2] : NULL); }
static void r_linear(const row *c, double **in, double *out)
{
    int64_t K = D(1, 1), N = D(1, 0);
    for (int64_t m = 0; m < count(c, 0) / K; m++)
        for (int64_t n = 0; n < N; n++) {
            double s = c->n > 2 ? in[2][n] : 0;
            for (int64_t k = 0; k < K; k++) s += in[0][m * K + k] * in[1][n * K + k];
            out[m * N + n] = s;
        }
}
static ft_conv_opt conv_opt(const row *c) /* p: stride 3, pad front 3, pad back 3 */
{
    ft_conv_opt o = {0};
    for (int i = 0; i < 3; i++) o.stride[i] = c->p[i], o.pad_front[i] = c->p[3 + i], o.pad_back[i] = c->p[6 + i];
    return o;
}
static ft_t b_conv(ft_graph *g, ft_t *in, const row *c) { return ft_conv(g, in[0], in[1], c->n > 2 ? in[2] : NULL, conv_opt(c)); }
static ft_t b_conv_dw(ft_graph *g, ft_t *in, const row *c)
{
    return ft_conv_dw(g, in[0], in[1], c->n > 2 ? in[2] : NULL, conv_opt(c));
}
static void r_conv(const row *c, double **in, double *out)
{
    int64_t C = D(0, 4), O = D(1, 0), I = D(1, 1), o[3];
    for (int i = 0; i < 3; i++) o[i] = (D(0, 1 + i) + c->p[3 + i] + c->p[6 + i] - D(1, 2 + i)) / c->p[i] + 1;
    bool dw = c->build == b_conv_dw;
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t t = 0; t < o[0]; t++)
            for (int64_t h = 0; h < o[1]; h++)
                for (int64_t w = 0; w < o[2]; w++)
                    for (int64_t n = 0; n < O; n++) {
                        double s = c->n > 2 ? in[2][n] : 0;
                        for (int64_t i = 0; i < I; i++)
                            for (int64_t x = 0; x < D(1, 2); x++)
                                for (int64_t y = 0; y < D(1, 3); y++)
                                    for (int64_t z = 0; z < D(1, 4); z++) {
                                        int64_t tt = t * c->p[0] + x - c->p[3], hh = h * c->p[1] + y - c->p[4],
                                                ww = w * c->p[2] + z - c->p[5];
                                        if (tt < 0 || hh < 0 || ww < 0 || tt >= D(0, 1) || hh >= D(0, 2) || ww >= D(0, 3))
                                            continue;
                                        s += in[0][(((b * D(0, 1) + tt) * D(0, 2) + hh) * D(0, 3) + ww) * C + (dw ? n : i)] *
                                             in[1][(((n * I + i) * D(1, 2) + x) * D(1, 3) + y) * D(1, 4) + z];
                                    }
                        *out++ = s;
                    }
}

/* ---- norms ---- */
static ft_t b_layernorm(ft_graph *g, ft_t *in, const row *c)
{
    bool affine = c->p[0], mod = c->p[1];
    return ft_layernorm(g, in[0], affine ? in[1] : NULL, affine ? in[2] : NULL, mod ? in[c->n - 2] : NULL,
                        mod ? in[c->n - 1] : NULL, 1e-5f);
}
static void r_layernorm(const row *c, double **in, double *out)
{
    int64_t n = D(0, c->in[0].nd - 1), rows = count(c, 0) / n, per = rows / D(0, 0);
    for (int64_t r = 0; r < rows; r++) {
        double m = 0, v = 0;
        for (int64_t i = 0; i < n; i++) m += in[0][r * n + i] / (double)n;
        for (int64_t i = 0; i < n; i++) v += pow(in[0][r * n + i] - m, 2) / (double)n;
        for (int64_t i = 0; i < n; i++) {
            double y = (in[0][r * n + i] - m) / sqrt(v + (double)1e-5f);
            if (c->p[0]) y = y * in[1][i] + in[2][i];
            if (c->p[1]) y = y * (1 + in[c->n - 1][r / per * n + i]) + in[c->n - 2][r / per * n + i];
            out[r * n + i] = y;
        }
    }
}
static ft_t b_gate(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_gate_residual(g, in[0], in[1], in[2]);
}
static void r_gate(const row *c, double **in, double *out)
{
    int64_t n = D(0, 2), per = D(0, 1);
    for (int64_t i = 0; i < count(c, 0); i++) out[i] = in[0][i] + in[2][i / (n * per) * n + i % n] * in[1][i];
}
static ft_t b_rms(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_rmsnorm_gated(g, in[0], in[1], in[2], 1e-5f);
}
static void r_rms(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1);
    for (int64_t r = 0; r < D(0, 0); r++) {
        double s = 0;
        for (int64_t i = 0; i < n; i++) s += pow(in[0][r * n + i] * silu(in[1][r * n + i]), 2) / (double)n;
        for (int64_t i = 0; i < n; i++)
            out[r * n + i] = in[2][i] * in[0][r * n + i] * silu(in[1][r * n + i]) / sqrt(s + (double)1e-5f);
    }
}
static ft_t b_group(ft_graph *g, ft_t *in, const row *c)
{
    return ft_groupnorm(g, in[0], in[1], in[2], (int)c->p[0], 1e-6f, (ft_act)c->p[1]);
}
static void r_group(const row *c, double **in, double *out)
{
    int64_t n = D(0, c->in[0].nd - 1), B = D(0, 0), rows = count(c, 0) / n / B, per = n / c->p[0];
    for (int64_t b = 0; b < B; b++)
        for (int64_t g = 0; g < c->p[0]; g++) {
            double m = 0, v = 0, cnt = (double)(rows * per);
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = g * per; i < (g + 1) * per; i++) m += in[0][(b * rows + r) * n + i] / cnt;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = g * per; i < (g + 1) * per; i++) v += pow(in[0][(b * rows + r) * n + i] - m, 2) / cnt;
            for (int64_t r = 0; r < rows; r++)
                for (int64_t i = g * per; i < (g + 1) * per; i++)
                    out[(b * rows + r) * n + i] =
                        act(c->p[1], (in[0][(b * rows + r) * n + i] - m) / sqrt(v + (double)1e-6f) * in[1][i] + in[2][i]);
        }
}
static ft_t b_batch(ft_graph *g, ft_t *in, const row *c) /* p: first, act */
{
    int64_t n = D(0, c->in[0].nd - 1);
    ft_t mean = ft_buffer(g, "mean", 1, &n, FT_ZERO), var = ft_buffer(g, "var", 1, &n, FT_ONE);
    return ft_batchnorm(g, in[0], in[1], in[2], mean, var, c->p[0], 0.1f, 1e-5f, (ft_act)c->p[1]);
}
static void r_batch(const row *c, double **in, double *out)
{
    int64_t n = D(0, c->in[0].nd - 1), rows = count(c, 0) / n, per = rows / D(0, 0), cut = (c->p[0] ? c->p[0] : D(0, 0)) * per;
    for (int k = 0; k < 2; k++) {
        int64_t from = k ? cut : 0, to = k ? rows : cut;
        for (int64_t i = 0; i < n && to > from; i++) {
            double m = 0, v = 0;
            for (int64_t r = from; r < to; r++) m += in[0][r * n + i] / (double)(to - from);
            for (int64_t r = from; r < to; r++) v += pow(in[0][r * n + i] - m, 2) / (double)(to - from);
            for (int64_t r = from; r < to; r++)
                out[r * n + i] = act(c->p[1], (in[0][r * n + i] - m) / sqrt(v + (double)1e-5f) * in[1][i] + in[2][i]);
        }
    }
}

/* ---- sequences ---- */
static ft_t b_attn(ft_graph *g, ft_t *in, const row *c) { return ft_attention_local(g, in[0], in[1], in[2], (int)c->p[0], 0.0f); }
static void r_attn(const row *c, double **in, double *out) /* windows and positions as the reference lays them out */
{
    int64_t S = D(0, 0), T = D(0, 1), C = D(0, 2), w = c->p[0];
    double *q = malloc(sizeof(double) * (size_t)C), *k = malloc(sizeof(double) * (size_t)C), z[256];
    for (int64_t s = 0; s < S; s++)
        for (int64_t i = 0; i < T; i++) {
            int64_t win = i / w, iw = i % w;
            double top = -INFINITY, sum = 0;
            for (int64_t slot = 0; slot < 3 * w; slot++) {
                int64_t j = w * (win - 1) + slot;
                z[slot] = -INFINITY;
                if (j < 0 || j >= T || llabs(i - j) > w) continue;
                for (int side = 0; side < 2; side++) {
                    const double *x = side ? in[1] + (s * T + j) * C : in[0] + (s * T + i) * C;
                    double pos = side ? (double)slot : (double)(2 * w + iw), *y = side ? k : q;
                    for (int64_t e = 0; e < C / 2; e++) {
                        double a = pos * pow(10000, -2.0 * (double)e / (double)C);
                        y[e] = x[e] * cos(a) - x[e + C / 2] * sin(a);
                        y[e + C / 2] = x[e + C / 2] * cos(a) + x[e] * sin(a);
                    }
                }
                z[slot] = 0;
                for (int64_t e = 0; e < C; e++) z[slot] += q[e] * k[e] / sqrt((double)C);
                top = fmax(top, z[slot]);
            }
            for (int64_t slot = 0; slot < 3 * w; slot++) sum += exp(z[slot] - top);
            for (int64_t e = 0; e < C; e++) {
                double y = 0;
                for (int64_t slot = 0; slot < 3 * w; slot++)
                    if (z[slot] > -INFINITY) y += exp(z[slot] - top) / sum * in[2][(s * T + w * (win - 1) + slot) * C + e];
                out[(s * T + i) * C + e] = y;
            }
        }
    free(q);
    free(k);
}
static ft_t b_ssd(ft_graph *g, ft_t *in, const row *c) { return ft_ssd(g, in[0], in[1], in[2], in[3], in[4], c->p[0], c->p[1]); }
static void r_ssd(const row *c, double **in, double *out) /* the recurrence, not the matrix form */
{
    int64_t S = D(0, 0), T = D(0, 1), W = D(0, 2), H = c->p[0], N = c->p[1], E = W - 2 * N, P = E / H;
    double *st = malloc(sizeof(double) * (size_t)(P * N));
    for (int64_t s = 0; s < S; s++)
        for (int64_t h = 0; h < H; h++) {
            memset(st, 0, sizeof(double) * (size_t)(P * N));
            for (int64_t t = 0; t < T; t++) {
                const double *x = in[0] + (s * T + t) * W, *B = x + E, *C = B + N;
                double raw = in[1][(s * T + t) * H + h] + in[2][h], dt = raw > 30 ? raw : log1p(exp(raw)),
                       keep = exp(-dt * exp(in[3][h]));
                for (int64_t p = 0; p < P; p++) {
                    double y = in[4][h] * x[h * P + p];
                    for (int64_t n = 0; n < N; n++) {
                        st[p * N + n] = keep * st[p * N + n] + dt * x[h * P + p] * B[n];
                        y += st[p * N + n] * C[n];
                    }
                    out[(s * T + t) * E + h * P + p] = y;
                }
            }
        }
    free(st);
}

/* ---- losses ---- */
static ft_t b_loss(ft_graph *g, ft_t *in, const row *c)
{
    return ft_loss_mean(g, in[0], ft_stop_grad(g, in[1]), (ft_loss_kind)c->p[0]);
}
static void r_loss(const row *c, double **in, double *out)
{
    *out = 0;
    for (int64_t i = 0; i < count(c, 0); i++) {
        double d = in[0][i] - in[1][i];
        *out += (c->p[0] == FT_MSE ? d * d : fabs(d)) / (double)count(c, 0);
    }
}
static ft_t b_xent(ft_graph *g, ft_t *in, const row *c)
{
    return ft_softmax_xent(g, in[0], ft_stop_grad(g, in[1]), c->n > 2 ? ft_stop_grad(g, in[2]) : NULL);
}
static void r_xent(const row *c, double **in, double *out)
{
    int64_t B = D(0, 0), C = D(0, 1);
    *out = 0;
    for (int64_t b = 0; b < B; b++) {
        double s = 0, h = 0;
        for (int64_t k = 0; k < C; k++) s += exp(in[0][b * C + k]);
        for (int64_t k = 0; k < C; k++) h += in[1][b * C + k] * (log(s) - in[0][b * C + k]);
        *out += h * (c->n > 2 ? in[2][b] : 1) / (double)B;
    }
}
static double frozen[4096]; /* the weights are constants for the gradient: taken at the unperturbed point */
static int freeze;
static ft_t b_ffl(ft_graph *g, ft_t *in, const row *c)
{
    return ft_focal_frequency(g, in[0], ft_stop_grad(g, in[1]), (float)c->p[0]);
}
static void r_ffl(const row *c, double **in, double *out)
{
    int64_t F = D(0, 0) * D(0, 1), H = D(0, 2), W = D(0, 3), C = D(0, 4), at = 0;
    *out = 0;
    for (int64_t f = 0; f < F; f++)
        for (int64_t k = 0; k < C; k++) {
            double re[256], im[256], top = 0;
            for (int64_t u = 0; u < H; u++)
                for (int64_t v = 0; v < W; v++) {
                    double a = 0, b = 0;
                    for (int64_t y = 0; y < H; y++)
                        for (int64_t x = 0; x < W; x++) {
                            int64_t i = ((f * H + y) * W + x) * C + k;
                            double d = in[0][i] - in[1][i],
                                   ph = -2 * M_PI * ((double)(u * y) / (double)H + (double)(v * x) / (double)W);
                            a += d * cos(ph) / sqrt((double)(H * W)), b += d * sin(ph) / sqrt((double)(H * W));
                        }
                    re[u * W + v] = a, im[u * W + v] = b;
                    top = fmax(top, pow(hypot(a, b), (double)c->p[0]));
                }
            for (int64_t i = 0; i < H * W; i++, at++) {
                if (freeze) frozen[at] = pow(hypot(re[i], im[i]), (double)c->p[0]) / top;
                *out += frozen[at] * (re[i] * re[i] + im[i] * im[i]) / (double)count(c, 0);
            }
        }
}

#define S1 1, 1, 1
/* one row, one line */
/* clang-format off */
static const row cases[] = {
    {"permute_last", b_permute, r_permute, 1, {{4, {3, 5, 7, 2}, 0}}, {2, 0, 1, 3}, 1, 1, 9},
    {"permute_all", b_permute, r_permute, 1, {{4, {3, 5, 7, 2}, 0}}, {3, 1, 0, 2}, 1, 1, 9},
    {"concat", b_concat, r_concat, 2, {{3, {3, 2, 5}, 0}, {3, {3, 31, 5}, 0}}, {1}, 1, 1, 9},
    {"slice", b_slice, r_slice, 1, {{3, {3, 17, 5}, 0}}, {2, 7}, 1, 1, 9},
    {"gather_rows", b_gather, r_gather, 1, {{3, {7, 5, 33}, 0}}, {0}, 1, 1, 9},
    {"pad_front_zero", b_pad, r_pad, 1, {{3, {2, 3, 17}, 0}}, {2, 0}, 1, 1, 9},
    {"pad_front_replicate", b_pad, r_pad, 1, {{3, {2, 3, 17}, 0}}, {2, 1}, 3, 1, 9},
    {"upsample", b_up, r_up, 1, {{5, {2, 2, 3, 1, 5}, 0}}, {2, 2, 2}, 8, 1, 9},
    {"relu", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_RELU}, 1, 1, 9},
    {"silu", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_SILU}, 1, 1, 9},
    {"sigmoid", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_SIGMOID}, 1, 1, 9},
    {"exp", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_EXP}, 4, 1, 9},
    {"square", b_unary, r_unary, 1, {{1, {1}, 0}}, {FT_SQUARE}, 1, 1, 9},
    {"clamp", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_CLAMP}, 1, 1, 9},
    {"tanh", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_TANH}, 4, 1, 9},
    {"abs", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_ABS}, 1, 1, 9},
    {"add", b_binary, r_binary, 2, {{2, {7, 31}, 0}, {2, {7, 31}, 0}}, {FT_ADD}, 1, 1, 9},
    {"sub_rows", b_binary, r_binary, 2, {{3, {3, 7, 31}, 0}, {3, {1, 1, 31}, 0}}, {FT_SUB}, 21, 2, 9},
    {"mul_channels", b_binary, r_binary, 2, {{5, {3, 2, 5, 3, 17}, 0}, {5, {3, 1, 1, 1, 17}, 0}}, {FT_MUL}, 30, 3, 9},
    {"mul_scalar_rows", b_binary, r_binary, 2, {{3, {3, 7, 1500}, 0}, {3, {3, 1, 1}, 0}}, {FT_MUL}, 10500, 3, 9},
    {"mul_middle", b_binary, r_binary, 2, {{3, {3, 7, 5}, 0}, {3, {1, 7, 1}, 0}}, {FT_MUL}, 15, 3, 9},
    {"affine", b_affine, r_affine, 1, {{2, {31, 33}, 0}}, {0}, 1, 1, 9},
    {"reduce_middle", b_reduce, r_reduce, 1, {{5, {3, 4, 5, 7, 33}, 0}}, {14, 1}, 140, 1, 9},
    {"reduce_pairs", b_reduce, r_reduce, 1, {{5, {3, 2, 2, 7, 5}, 0}}, {4, 1}, 2, 1, 9},
    {"reduce_all", b_reduce, r_reduce, 1, {{3, {31, 7, 33}, 0}}, {7, 0}, 7161, 1, 9},
    {"reduce_last", b_reduce, r_reduce, 1, {{2, {31, 1031}, 0}}, {2, 0}, 1031, 1, 9},
    {"reduce_ends", b_reduce, r_reduce, 1, {{3, {5, 7, 11}, 0}}, {5, 0}, 55, 1, 9},
    {"broadcast", b_broadcast, r_broadcast, 1, {{3, {3, 1, 5}, 0}}, {3, 7, 5}, 7, 2, 9},
    {"dropout", b_dropout, r_dropout, 1, {{2, {33, 31}, 0}}, {0}, 1, 1, 9},
    {"linear", b_linear, r_linear, 3, {{3, {3, 7, 33}, 0}, {2, {31, 33}, 0}, {1, {31}, 1}}, {0}, 33, 1, 9},
    {"linear_no_bias", b_linear, r_linear, 2, {{2, {130, 64}, 0}, {2, {17, 64}, 0}}, {0}, 130, 1, 9},
    {"linear_one", b_linear, r_linear, 3, {{2, {1, 1}, 0}, {2, {1, 1}, 0}, {1, {1}, 1}}, {0}, 1, 1, 9},
    {"conv_3d", b_conv, r_conv, 3, {{5, {2, 4, 5, 7, 5}, 0}, {5, {9, 5, 3, 3, 3}, 0}, {1, {9}, 1}}, {S1, 2, 1, 1, 0, 1, 1}, 280, 1, 9},
    {"conv_2d_strided", b_conv, r_conv, 2, {{5, {2, 3, 8, 9, 3}, 0}, {5, {16, 3, 1, 3, 3}, 0}}, {1, 2, 2, 0, 1, 1, 0, 1, 1}, 120, 1, 9},
    {"conv_3d_strided", b_conv, r_conv, 3, {{5, {1, 5, 8, 8, 16}, 0}, {5, {16, 16, 3, 3, 3}, 0}, {1, {16}, 1}}, {2, 2, 2, 1, 0, 0, 1, 1, 1}, 432, 1, 9},
    {"dw_cube", b_conv_dw, r_conv, 3, {{5, {2, 3, 5, 6, 19}, 0}, {5, {19, 1, 3, 3, 3}, 0}, {1, {19}, 1}}, {S1, 1, 1, 1, 1, 1, 1}, 180, 1, 9},
    {"dw_strided", b_conv_dw, r_conv, 2, {{5, {2, 3, 7, 8, 16}, 0}, {5, {16, 1, 3, 3, 3}, 0}}, {1, 2, 2, 1, 1, 1, 1, 1, 1}, 100, 1, 9},
    {"dw_time", b_conv_dw, r_conv, 2, {{5, {2, 7, 3, 3, 5}, 0}, {5, {5, 1, 5, 1, 1}, 0}}, {S1, 2, 0, 0, 2, 0, 0}, 126, 1, 9},
    {"dw_causal_row", b_conv_dw, r_conv, 3, {{5, {3, 1, 1, 13, 33}, 0}, {5, {33, 1, 1, 1, 4}, 0}, {1, {33}, 1}}, {S1, 0, 0, 3, 0, 0, 0}, 40, 1, 9},
    {"layernorm_plain", b_layernorm, r_layernorm, 1, {{3, {2, 7, 33}, 0}}, {0, 0}, 66, 1, 9},
    {"layernorm_affine", b_layernorm, r_layernorm, 3, {{3, {2, 7, 33}, 0}, {1, {33}, 1}, {1, {33}, 1}}, {1, 0}, 66, 1, 9},
    {"layernorm_modulate", b_layernorm, r_layernorm, 3, {{3, {3, 5, 31}, 0}, {2, {3, 31}, 1}, {2, {3, 31}, 1}}, {0, 1}, 66, 1, 9},
    {"layernorm_both", b_layernorm, r_layernorm, 5, {{3, {3, 5, 64}, 0}, {1, {64}, 1}, {1, {64}, 1}, {2, {3, 64}, 1}, {2, {3, 64}, 1}}, {1, 1}, 128, 1, 9},
    {"gate_residual", b_gate, r_gate, 3, {{3, {3, 7, 33}, 0}, {3, {3, 7, 33}, 0}, {2, {3, 33}, 1}}, {0}, 7, 1, 9},
    {"rmsnorm_gated", b_rms, r_rms, 3, {{2, {37, 33}, 0}, {2, {37, 33}, 0}, {1, {33}, 1}}, {0}, 70, 1, 9},
    {"groupnorm", b_group, r_group, 3, {{5, {2, 2, 3, 5, 12}, 0}, {1, {12}, 1}, {1, {12}, 1}}, {4, FT_ACT_NONE}, 120, 1, 9},
    {"groupnorm_silu", b_group, r_group, 3, {{5, {3, 1, 7, 5, 33}, 0}, {1, {33}, 1}, {1, {33}, 1}}, {3, FT_ACT_SILU}, 400, 1, 9},
    {"batchnorm", b_batch, r_batch, 3, {{5, {4, 1, 5, 3, 17}, 0}, {1, {17}, 1}, {1, {17}, 1}}, {0, FT_ACT_NONE}, 70, 1, 9},
    {"batchnorm_two_relu", b_batch, r_batch, 3, {{5, {5, 2, 5, 3, 17}, 0}, {1, {17}, 1}, {1, {17}, 1}}, {2, FT_ACT_RELU}, 200, 1, 9},
    {"batchnorm_two_silu", b_batch, r_batch, 3, {{2, {150, 31}, 0}, {1, {31}, 1}, {1, {31}, 1}}, {70, FT_ACT_SILU}, 200, 1, 9},
    {"attention_local", b_attn, r_attn, 3, {{3, {3, 16, 10}, 0}, {3, {3, 16, 10}, 0}, {3, {3, 16, 10}, 0}}, {4}, 60, 1, 9},
    {"attention_local_8", b_attn, r_attn, 3, {{3, {2, 64, 34}, 0}, {3, {2, 64, 34}, 0}, {3, {2, 64, 34}, 0}}, {8}, 120, 1, 9},
    {"ssd", b_ssd, r_ssd, 5, {{3, {3, 13, 26}, 0}, {3, {3, 13, 2}, 0}, {1, {2}, 1}, {1, {2}, 1}, {1, {2}, 1}}, {2, 3}, 100, 1, 9},
    {"ssd_48", b_ssd, r_ssd, 5, {{3, {2, 48, 96}, 0}, {3, {2, 48, 4}, 0}, {1, {4}, 1}, {1, {4}, 1}, {1, {4}, 1}}, {4, 16}, 800, 1, 9},
    {"ssd_one", b_ssd, r_ssd, 5, {{3, {1, 1, 3}, 0}, {3, {1, 1, 1}, 0}, {1, {1}, 1}, {1, {1}, 1}, {1, {1}, 1}}, {1, 1}, 4, 1, 9},
    {"mse", b_loss, r_loss, 2, {{2, {33, 31}, 0}, {2, {33, 31}, 0}}, {FT_MSE}, 64, 0, 1},
    {"l1", b_loss, r_loss, 2, {{2, {33, 31}, 0}, {2, {33, 31}, 0}}, {FT_L1}, 64, 0, 1},
    {"softmax_xent", b_xent, r_xent, 2, {{2, {7, 3}, 1}, {2, {7, 3}, 1}}, {0}, 8, 0, 1},
    {"softmax_xent_weighted", b_xent, r_xent, 3, {{2, {5, 2}, 1}, {2, {5, 2}, 1}, {1, {5}, 1}}, {0}, 8, 0, 1},
    {"focal_frequency", b_ffl, r_ffl, 2, {{5, {2, 2, 8, 6, 3}, 0}, {5, {2, 2, 8, 6, 3}, 0}}, {1}, 96, 0, 1},
    {"focal_frequency_odd", b_ffl, r_ffl, 2, {{5, {1, 2, 5, 7, 3}, 0}, {5, {1, 2, 5, 7, 3}, 0}}, {2}, 96, 0, 1},
};
/* clang-format on */

static double out_weight[MAX_VALUES];

static double weighted(const row *c, double **in, double *out, int64_t n)
{
    double s = 0;
    c->ref(c, in, out);
    for (int64_t i = 0; i < n; i++) s += out[i] * out_weight[i];
    return s;
}

static void check_case(const row *c, ft_dtype dtype)
{
    static double value[MAXN][MAX_VALUES], ref[MAX_VALUES], scratch[MAX_VALUES];
    static float f[MAX_VALUES];
    double *in[MAXN];
    ft_rng r = ft_rng_make(11, 1, (uint64_t)dtype);
    ft_params *params = ft_params_new(1);
    ft_graph *g = ft_graph_new(params, dtype, 9);
    ft_t p[MAXN], x[MAXN];
    for (int i = 0; i < c->n; i++) {
        int64_t n = count(c, i);
        assert_true(n <= MAX_VALUES);
        for (int64_t k = 0; k < n; k++) { /* values that bf16 holds exactly, away from the kinks */
            float v = ft_from_bf16(ft_to_bf16((float)ft_rng_normal(&r) * (c->in[i].fixed ? 0.5f : 1.0f)));
            if (fabsf(v) < 0.03f || fabsf(v + 0.5f) < 0.03f || fabsf(v - 0.75f) < 0.03f) v = 0.3125f;
            value[i][k] = (double)(f[k] = v);
        }
        char name[8];
        snprintf(name, sizeof name, "in%d", i);
        p[i] = ft_param(g, name, c->in[i].nd, c->in[i].d, (ft_init){FT_INIT_VALUES, 0, f});
        bool weight = c->build == b_linear || c->build == b_conv || c->build == b_conv_dw; /* weights stay f32 parameters */
        x[i] = c->in[i].fixed || (weight && i > 0) ? p[i] : ft_cast(g, p[i], dtype);
        in[i] = value[i];
    }
    ft_t y = c->build(g, x, c);
    ft_t y32 = ft_cast(g, y, FT_F32);
    ft_keep(y32);
    int64_t n = ft_count(y);
    assert_true(n <= MAX_VALUES);
    for (int64_t k = 0; k < n; k++) out_weight[k] = (double)(f[k] = ft_from_bf16(ft_to_bf16((float)ft_rng_normal(&r))));
    ft_t w = ft_const(g, FT_F32, ft_ndim(y), y->dim, f);
    ft_t s = ft_reduce(g, ft_mul(g, y32, w), (1u << ft_ndim(y)) - 1, false);
    ft_backward(g, ft_reshape(g, s, 1, (int64_t[]){1}));
    ft_plan *plan;
    if (ft_plan_new(&plan, g, FT_WEIGHTS) < 0) fail_msg("%s: %s", c->name, ft_error_message());
    ft_step step = {5, 3, 0, 0};
    assert_int_equal(ft_run(plan, &step), FT_OK);

    freeze = 1;
    c->ref(c, in, ref);
    freeze = 0;
    double top = 0, unit = (double)(16 + c->terms) * pow(2, -24) + (dtype == FT_BF16 ? c->stages * pow(2, -8) : 0);
    for (int64_t k = 0; k < n; k++) top = fmax(top, fabs(ref[k]));
    const float *got = ft_data(y32);
    for (int64_t k = 0; k < n; k++)
        if (!(fabs((double)got[k] - ref[k]) <= unit * top + 1e-30))
            fail_msg("%s %s: output %lld is %.9g, should be %.9g (allowed %.2g)", c->name, dtype ? "bf16" : "f32", (long long)k,
                     (double)got[k], ref[k], unit * top);
    for (int i = 0; i < c->n && i < c->no_grad; i++) {
        ft_t d = ft_grad(g, p[i]);
        if (!d) fail_msg("%s: input %d has no gradient", c->name, i);
        const float *gi = ft_data(d);
        int64_t m = count(c, i), tries = m < 60 ? m : 60;
        double gtop = 0, h = 1e-5;
        double fd[60];
        int64_t at[60];
        for (int64_t t = 0; t < tries; t++) {
            at[t] = m <= 60 ? t : ft_rng_below(&r, m);
            double keep = value[i][at[t]];
            value[i][at[t]] = keep + h;
            double up = weighted(c, in, scratch, n);
            value[i][at[t]] = keep - h;
            double down = weighted(c, in, scratch, n);
            value[i][at[t]] = keep;
            fd[t] = (up - down) / (2 * h);
        }
        for (int64_t k = 0; k < m; k++) gtop = fmax(gtop, fabs((double)gi[k]));
        for (int64_t t = 0; t < tries; t++) gtop = fmax(gtop, fabs(fd[t]));
        /* one more rounding to storage on the way back, and the difference quotient's own error */
        double gunit = 2 * unit + (dtype == FT_BF16 ? pow(2, -8) : 0), own = 1e-7 * gtop + 1e-8;
        for (int64_t t = 0; t < tries; t++)
            if (!(fabs((double)gi[at[t]] - fd[t]) <= gunit * gtop + own))
                fail_msg("%s %s: gradient of input %d at %lld is %.9g, should be %.9g (allowed %.2g)", c->name,
                         dtype ? "bf16" : "f32", i, (long long)at[t], (double)gi[at[t]], fd[t], gunit * gtop + own);
    }
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
}

static void run_case(void **state)
{
    const row *c = *state;
    check_case(c, FT_F32);
    if (ft_cpu_has_bf16()) check_case(c, FT_BF16);
}

int main(void)
{
    enum { N = sizeof cases / sizeof *cases };
    struct CMUnitTest tests[N];
    for (size_t i = 0; i < N; i++) tests[i] = (struct CMUnitTest){cases[i].name, run_case, NULL, NULL, (void *)&cases[i]};
    return cmocka_run_group_tests_name("ops", tests, NULL, NULL);
}
