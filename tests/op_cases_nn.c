/* Cases of norms, sequences, vision and losses. */
#include "op_cases.h"

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
static ft_t b_rmsnorm(ft_graph *g, ft_t *in, const row *c) { return ft_rmsnorm(g, in[0], c->n > 1 ? in[1] : NULL, 1e-5f); }
static void r_rmsnorm(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1);
    for (int64_t r = 0; r < D(0, 0); r++) {
        double s = 0;
        for (int64_t i = 0; i < n; i++) s += in[0][r * n + i] * in[0][r * n + i] / (double)n;
        for (int64_t i = 0; i < n; i++) out[r * n + i] = (c->n > 1 ? in[1][i] : 1) * in[0][r * n + i] / sqrt(s + (double)1e-5f);
    }
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
static const int32_t odd_frames[5] = {0, 1, 1, 2, 2};    /* CogVideoX: the first frame by itself */
static ft_t b_group(ft_graph *g, ft_t *in, const row *c) /* p: groups, activation, own frame map */
{
    if (c->n > 3)
        return ft_groupnorm_conditioned(g, in[0], in[1], in[2], in[3], in[4], c->p[2] ? odd_frames : NULL, (int)c->p[0], 1e-6f,
                                        (ft_act)c->p[1]);
    return ft_groupnorm(g, in[0], c->n > 1 ? in[1] : NULL, c->n > 1 ? in[2] : NULL, (int)c->p[0], 1e-6f, (ft_act)c->p[1]);
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
                for (int64_t i = g * per; i < (g + 1) * per; i++) {
                    double y = (in[0][(b * rows + r) * n + i] - m) / sqrt(v + (double)1e-6f);
                    if (c->n > 1) y = y * in[1][i] + in[2][i];
                    if (c->n > 3) {
                        int64_t w = r % D(0, 3), h = r / D(0, 3) % D(0, 2), t = r / (D(0, 3) * D(0, 2));
                        t = c->p[2] ? odd_frames[t] : t * D(3, 1) / D(0, 1);
                        int64_t at =
                            (((b * D(3, 1) + t) * D(3, 2) + h * D(3, 2) / D(0, 2)) * D(3, 3) + w * D(3, 3) / D(0, 3)) * n + i;
                        y = y * in[3][at] + in[4][at];
                    }
                    out[(b * rows + r) * n + i] = act(c->p[1], y);
                }
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
static ft_t b_attn(ft_graph *g, ft_t *in, const row *c) /* p: window, percent of dropout */
{
    ft_t y = ft_attention_local(g, in[0], in[1], in[2], (int)c->p[0], (float)c->p[1] / 100);
    op_stream = y->maker ? y->maker->stream : 0;
    return y;
}
static double kept(const row *c, int64_t row_index, int64_t d) /* a row of slots begins at a whole counter */
{
    if (c->p[1] == 0) return 1;
    int64_t padded = (2 * c->p[0] + 1 + 3) / 4 * 4;
    double p = (double)((float)c->p[1] / 100);
    return op_random(false, row_index * padded + d, D(0, 0) * D(0, 1) * padded) >= p ? 1 / (1 - p) : 0;
}
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
                    if (z[slot] != -INFINITY)
                        y += kept(c, s * T + i, w * (win - 1) + slot - i + w) * exp(z[slot] - top) / sum *
                             in[2][(s * T + w * (win - 1) + slot) * C + e];
                out[(s * T + i) * C + e] = y;
            }
        }
    free(q);
    free(k);
}
static ft_t b_sdpa(ft_graph *g, ft_t *in, const row *c) /* p: heads, causal, packed, relative, transposed */
{
    ft_sdpa_opt o = {.heads = c->p[0], .causal = c->p[1], .transpose = c->p[4]};
    int at = c->p[2] ? 1 : 3;
    return ft_sdpa_relative(g, in[0], c->p[2] ? NULL : in[1], c->p[2] ? NULL : in[2], c->p[3] ? in[at] : NULL,
                            c->p[3] > 1 ? in[at + 1] : NULL, o);
}
static void r_sdpa(const row *c, double **in, double *out)
{
    int64_t S = D(0, 0), Tq = D(0, 1), packed = c->p[2], C = packed ? D(0, 2) / 3 : D(0, 2), Tk = packed ? Tq : D(1, 1),
            H = c->p[0], d = C / H, wide = packed ? 3 * C : C;
    const double *q = in[0], *k = packed ? in[0] + C : in[1], *v = packed ? in[0] + 2 * C : in[2];
    const double *rk = c->p[3] ? in[packed ? 1 : 3] : NULL, *rv = c->p[3] > 1 ? in[packed ? 2 : 4] : NULL;
    int64_t R = c->p[3] ? (D(packed ? 1 : 3, 0) - 1) / 2 : 0;
    double *z = malloc(sizeof(double) * (size_t)Tk);
    for (int64_t s = 0; s < S; s++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t i = 0; i < Tq; i++) {
                double top = -INFINITY, sum = 0;
                int64_t seen = c->p[1] ? i + 1 : Tk;
                for (int64_t j = 0; j < seen; j++) {
                    z[j] = 0;
                    for (int64_t e = 0; e < d; e++) {
                        int64_t a = c->p[4] ? j : i, b = c->p[4] ? i : j, r = b - a < -R ? -R : b - a > R ? R : b - a;
                        z[j] += q[(s * Tq + i) * wide + h * d + e] * k[(s * Tk + j) * wide + h * d + e];
                        if (rk) z[j] += q[(s * Tq + a) * wide + h * d + e] * rk[(r + R) * d + e];
                    }
                    z[j] /= sqrt((double)d);
                    top = fmax(top, z[j]);
                }
                for (int64_t j = 0; j < seen; j++) sum += exp(z[j] - top);
                for (int64_t e = 0; e < d; e++) {
                    double y = 0;
                    for (int64_t j = 0; j < seen; j++) {
                        int64_t r = j - i < -R ? -R : j - i > R ? R : j - i;
                        y += exp(z[j] - top) / sum * (v[(s * Tk + j) * wide + h * d + e] + (rv ? rv[(r + R) * d + e] : 0));
                    }
                    out[(s * Tq + i) * C + h * d + e] = y;
                }
            }
    free(z);
}
static ft_t b_channel(ft_graph *g, ft_t *in, const row *c) { return ft_attention_channel(g, in[0], in[1], c->p[0]); }
static void r_channel(const row *c, double **in, double *out)
{
    int64_t S = D(0, 0), T = D(0, 1), C = D(0, 2) / 3, H = c->p[0], p = C / H;
    double *a = malloc(sizeof(double) * (size_t)(p * p)), *n = malloc(sizeof(double) * (size_t)(2 * p));
    for (int64_t s = 0; s < S; s++)
        for (int64_t h = 0; h < H; h++) {
            const double *q = in[0] + s * T * 3 * C + h * p, *k = q + C, *v = k + C;
            for (int64_t i = 0; i < p; i++) {
                n[i] = n[p + i] = 0;
                for (int64_t t = 0; t < T; t++) n[i] += pow(q[t * 3 * C + i], 2), n[p + i] += pow(k[t * 3 * C + i], 2);
                n[i] = sqrt(n[i]), n[p + i] = sqrt(n[p + i]);
            }
            for (int64_t i = 0; i < p; i++) {
                double top = -INFINITY, sum = 0;
                for (int64_t j = 0; j < p; j++) {
                    a[i * p + j] = 0;
                    for (int64_t t = 0; t < T; t++)
                        a[i * p + j] += in[1][h] * q[t * 3 * C + i] * k[t * 3 * C + j] / (n[i] * n[p + j]);
                    top = fmax(top, a[i * p + j]);
                }
                for (int64_t j = 0; j < p; j++) sum += a[i * p + j] = exp(a[i * p + j] - top);
                for (int64_t t = 0; t < T; t++) {
                    double y = 0;
                    for (int64_t j = 0; j < p; j++) y += a[i * p + j] / sum * v[t * 3 * C + j];
                    out[(s * T + t) * C + h * p + i] = y;
                }
            }
        }
    free(a);
    free(n);
}
static ft_t b_ssd(ft_graph *g, ft_t *in, const row *c) /* p: heads, state width, with states */
{
    if (!c->p[2]) return ft_ssd(g, in[0], in[1], in[2], in[3], in[4], c->p[0], c->p[1]);
    ft_t final, y = ft_ssd_state(g, in[0], in[1], in[2], in[3], in[4], c->p[0], c->p[1], c->n > 5 ? in[5] : NULL, &final);
    int64_t flat = -1;
    y = ft_cast(g, ft_reshape(g, y, 1, &flat), FT_F32);
    return ft_concat(g, 0, 2, (ft_t[]){y, ft_reshape(g, final, 1, &flat)});
}
static void r_ssd(const row *c, double **in, double *out) /* the recurrence, not the matrix form */
{
    int64_t S = D(0, 0), T = D(0, 1), W = D(0, 2), H = c->p[0], N = c->p[1], E = W - 2 * N, P = E / H;
    double *st = malloc(sizeof(double) * (size_t)(P * N));
    for (int64_t s = 0; s < S; s++)
        for (int64_t h = 0; h < H; h++) {
            for (int64_t i = 0; i < P * N; i++) st[i] = c->n > 5 ? in[5][((s * H + h) * N + i % N) * P + i / N] : 0;
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
            for (int64_t i = 0; c->p[2] && i < P * N; i++) out[S * T * E + ((s * H + h) * N + i % N) * P + i / N] = st[i];
        }
    free(st);
}
static ft_t b_wkv(ft_graph *g, ft_t *in, const row *c) { return ft_wkv(g, in[0], in[1], in[2], in[3], c->p[0]); }
static void r_wkv(const row *c, double **in, double *out) /* equation 2.1 as it stands */
{
    int nd = c->in[0].nd;
    int64_t B = D(0, 0), T = D(0, 1), L = nd == 4 ? D(0, 2) : 1, C = D(0, nd - 1), cols = c->p[0];
    for (int64_t b = 0; b < B; b++)
        for (int64_t l = 0; l < L; l++)
            for (int64_t t = 0; t < T; t++)
                for (int64_t k = 0; k < C; k++) {
#define PLACE(n) (((b * T + (cols ? (n) % (T / cols) * cols + (n) / (T / cols) : (n))) * L + l) * C + k)
                    double top = in[3][k] + in[0][PLACE(t)], s = 0, z = 0;
                    for (int64_t i = 0; i < T; i++)
                        if (i != t) top = fmax(top, in[0][PLACE(i)] - in[2][k] * (double)(llabs(t - i) - 1));
                    for (int64_t i = 0; i < T; i++) {
                        double e = i == t ? in[3][k] + in[0][PLACE(i)] : in[0][PLACE(i)] - in[2][k] * (double)(llabs(t - i) - 1);
                        s += exp(e - top) * in[1][PLACE(i)], z += exp(e - top);
                    }
                    out[PLACE(t)] = s / z;
#undef PLACE
                }
}

/* ---- vision ---- */
static ft_t b_warp(ft_graph *g, ft_t *in, const row *c) { return ft_warp(g, in[0], ft_stop_grad(g, in[1]), c->p[0], c->p[1]); }
static void r_warp(const row *c, double **in, double *out)
{
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t i = 0; i < c->p[0]; i++)
            for (int64_t j = 0; j < c->p[1]; j++, out += D(0, 3)) {
                const double *m = in[1] + 6 * b, x = m[0] * (double)j + m[1] * (double)i + m[2],
                             y = m[3] * (double)j + m[4] * (double)i + m[5];
                for (int64_t k = 0; k < D(0, 3); k++) out[k] = 0;
                for (int64_t Y = 0; Y < D(0, 1); Y++)
                    for (int64_t X = 0; X < D(0, 2); X++) {
                        double share = fmax(0, 1 - fabs(x - (double)X)) * fmax(0, 1 - fabs(y - (double)Y));
                        for (int64_t k = 0; share > 0 && k < D(0, 3); k++)
                            out[k] += share * in[0][((b * D(0, 1) + Y) * D(0, 2) + X) * D(0, 3) + k];
                    }
            }
}
static ft_t b_grid(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_grid_sample(g, ft_stop_grad(g, in[0]), ft_stop_grad(g, in[1]));
}
static double bilinear(const double *x, int64_t H, int64_t W, int64_t stride, double px, double py)
{
    double s = 0;
    for (int64_t y = (int64_t)floor(py); y <= (int64_t)floor(py) + 1; y++)
        for (int64_t i = (int64_t)floor(px); i <= (int64_t)floor(px) + 1; i++)
            if (i >= 0 && y >= 0 && i < W && y < H)
                s += (1 - fabs(px - (double)i)) * (1 - fabs(py - (double)y)) * x[(y * W + i) * stride];
    return s;
}
static void r_grid(const row *c, double **in, double *out)
{
    int64_t per = D(1, 1) * D(1, 2), C = D(0, 3);
    for (int64_t r = 0; r < D(0, 0) * per; r++)
        for (int64_t k = 0; k < C; k++)
            *out++ = bilinear(in[0] + r / per * D(0, 1) * D(0, 2) * C + k, D(0, 1), D(0, 2), C, in[1][2 * r], in[1][2 * r + 1]);
}
static ft_t b_corr(ft_graph *g, ft_t *in, const row *c)
{
    ft_t levels[2] = {ft_stop_grad(g, in[1]), ft_stop_grad(g, in[2])};
    return ft_corr_lookup(g, ft_stop_grad(g, in[0]), 2, levels, (int)c->p[0]);
}
static void r_corr(const row *c, double **in, double *out)
{
    for (int64_t r = 0; r < count(c, 0) / 2; r++)
        for (int l = 0; l < 2; l++)
            for (int64_t i = -c->p[0]; i <= c->p[0]; i++)
                for (int64_t j = -c->p[0]; j <= c->p[0]; j++)
                    *out++ = bilinear(in[1 + l] + r * D(1 + l, 2) * D(1 + l, 3), D(1 + l, 2), D(1 + l, 3), 1,
                                      in[0][2 * r] / (1 << l) + (double)i, in[0][2 * r + 1] / (1 << l) + (double)j);
}

/* views of two clips; p: kind, 100 m, kind, 100 m (the second clip has them in the other order), way (0: the clips as they are,
 * 1: mirrored, 2: turned and smaller, 3 and 4: moved by a little more and less than what leaves the frame), cutout. The input is
 * not read: pixels are whole numbers. */
enum { VF = 2, VH = 19, VW = 23, VN = VF * VH * VW * 3 };
static const float view_way[5][6] = {{1, 0, 0, 0, 1, 0},
                                     {-1, 0, 0, 0, 1, 0},
                                     {0.81f, 0.357f, 0.73f, -0.313f, 1.09f, -0.41f},
                                     {1, 0, -0.5625f, 0, 1, 0.5625f},
                                     {1, 0, 0.4375f, 0, 1, -0.4375f}};
static const float view_cut[VF * 3] = {3, 4, 5, 10, 0, 4};
static uint8_t view_pixel(int64_t i) { return (uint8_t)(20 + (i * 73 + i / 3 * 31) % 211); }
static ft_t b_augment(ft_graph *g, ft_t *in, const row *c)
{
    uint8_t rgb[2 * VN];
    float view[2 * FT_VIEW_NUMBERS], cut[2 * VF * 3];
    (void)in;
    for (int64_t i = 0; i < 2 * VN; i++) rgb[i] = view_pixel(i);
    for (int64_t b = 0; b < 2; b++) {
        for (int k = 0; k < 6; k++) view[b * FT_VIEW_NUMBERS + k] = view_way[c->p[4]][k];
        for (int64_t k = 0; k < 4; k++)
            view[b * FT_VIEW_NUMBERS + 6 + k] = (float)c->p[(2 * b + k) % 4] / (k % 2 ? 100.0f : 1.0f);
        memcpy(cut + b * VF * 3, view_cut, sizeof view_cut);
    }
    ft_t clips = ft_const(g, FT_U8, 5, (int64_t[]){2, VF, VH, VW, 3}, rgb);
    return ft_augment(g, clips, c->p[4] ? ft_const(g, FT_F32, 2, (int64_t[]){2, FT_VIEW_NUMBERS}, view) : NULL,
                      c->p[5] ? ft_const(g, FT_F32, 3, (int64_t[]){2, VF, 3}, cut) : NULL, 0.45f, 0.225f);
}
static double view_clip(double v) { return v < 0 ? 0 : v > 255 ? 255 : v; }
static void r_colour(ft_colour kind, double m, double *v) /* of a clip, in place */
{
    double was[VN], mean = 0, grey[VN / 3];
    memcpy(was, v, sizeof was);
    for (int i = 0; i < VN / 3; i++) {
        grey[i] = 0.299 * v[3 * i] + 0.587 * v[3 * i + 1] + 0.114 * v[3 * i + 2];
        mean += grey[i] * 3 / VN;
    }
    for (int i = 0; i < VN; i++) {
        int64_t line = VW * 3, y = i / line % VH, x = i / 3 % VW;
        double low = 255, high = 0, below = 0, top = 0, ring = 0;
        for (int j = i % 3; j < VN; j += 3) {
            low = fmin(low, was[j]), high = fmax(high, was[j]);
            below += was[j] < was[i] ? 1 : 0;
        }
        for (int j = i % 3; j < VN; j += 3) top += was[j] == high ? 1 : 0;
        double step = floor((VN / 3 - top) / 255), bits = pow(2, 8 - m);
        switch (kind) {
            case FT_AS_IS: break;
            case FT_AUTOCONTRAST: v[i] = high - low < 1 ? was[i] : (was[i] - low) * 255 / (high - low); break;
            case FT_EQUALIZE: v[i] = step == 0 ? was[i] : fmin(floor((below + floor(step / 2)) / step), 255); break;
            case FT_BRIGHTNESS: v[i] = view_clip(was[i] * m); break;
            case FT_COLOR: v[i] = view_clip(grey[i / 3] + m * (was[i] - grey[i / 3])); break;
            case FT_CONTRAST: v[i] = view_clip(mean + m * (was[i] - mean)); break;
            case FT_SHARPNESS:
                if (y == 0 || x == 0 || y == VH - 1 || x == VW - 1) break;
                for (int64_t d = -1; d <= 1; d++) ring += was[i + d * line - 3] + was[i + d * line] + was[i + d * line + 3];
                v[i] = (ring + 4 * was[i]) / 13;
                v[i] = view_clip(v[i] + m * (was[i] - v[i]));
                break;
            case FT_POSTERIZE: v[i] = floor(was[i] / bits) * bits; break;
            case FT_SOLARIZE: v[i] = was[i] >= m ? 255 - was[i] : was[i]; break;
        }
    }
}
static void r_augment(const row *c, double **in, double *out)
{
    (void)in;
    for (int64_t b = 0; b < 2; b++, out += VN) {
        for (int64_t i = 0; i < VN; i++) {
            int64_t f = i / (VN / VF), y = i / (VW * 3) % VH, x = i / 3 % VW;
            const float *way = view_way[c->p[4]];
            double dx = (double)x - (VW - 1) / 2.0, dy = (double)y - (VH - 1) / 2.0,
                   u = (double)way[0] * dx + (double)way[1] * dy + (double)way[2] + (VW - 1) / 2.0,
                   v = (double)way[3] * dx + (double)way[4] * dy + (double)way[5] + (VH - 1) / 2.0;
            out[i] = 128;
            if (u < -0.5 || v < -0.5 || u > VW - 0.5 || v > VH - 0.5) continue;
            out[i] = 0;
            u = fmin(fmax(u, 0), VW - 1), v = fmin(fmax(v, 0), VH - 1);
            for (int64_t yy = 0; yy < VH; yy++)
                for (int64_t xx = 0; xx < VW; xx++)
                    out[i] += fmax(0, 1 - fabs(u - (double)xx)) * fmax(0, 1 - fabs(v - (double)yy)) *
                              view_pixel(b * VN + ((f * VH + yy) * VW + xx) * 3 + i % 3);
        }
        for (int64_t k = 0; k < 2 && c->p[4]; k++)
            r_colour((ft_colour)c->p[(2 * b + 2 * k) % 4], (double)c->p[(2 * b + 2 * k + 1) % 4] / 100, out);
        for (int64_t i = 0; i < VN; i++) {
            const float *cut = view_cut + i / (VN / VF) * 3;
            double half = floor((double)cut[2] / 2), dx = (double)(i / 3 % VW) - (double)cut[0],
                   dy = (double)(i / (VW * 3) % VH) - (double)cut[1];
            if (c->p[5] && dx >= -half && dx < half && dy >= -half && dy < half) out[i] = 128;
            out[i] = (out[i] / 255 - 0.45) / 0.225;
        }
    }
}

/* ---- losses ---- */
static ft_t b_loss(ft_graph *g, ft_t *in, const row *c) /* target +-1 for a hinge, in (0,1) for BCE */
{
    ft_t t = c->p[0] == FT_HINGE ? ft_affine(g, in[1], 1, 0) : in[1];
    return ft_loss_weighted(g, in[0], ft_stop_grad(g, t), c->n > 2 ? ft_stop_grad(g, in[2]) : NULL, (ft_loss_kind)c->p[0], 0.75f);
}
static void r_loss(const row *c, double **in, double *out)
{
    *out = 0;
    for (int64_t i = 0; i < count(c, 0); i++) {
        double x = in[0][i], t = in[1][i], d = x - t, y = 0;
        switch ((ft_loss_kind)c->p[0]) {
            case FT_MSE: y = d * d; break;
            case FT_L1: y = fabs(d); break;
            case FT_HUBER: y = fabs(d) <= 0.75 ? 0.5 * d * d : 0.75 * (fabs(d) - 0.375); break;
            case FT_BCE_LOGIT: y = -t * log(sigmoid(x)) - (1 - t) * log(1 - sigmoid(x)); break;
            case FT_HINGE: y = 1 - t * x < 0 ? 0 : 1 - t * x; break;
        }
        *out += y * (c->n > 2 ? in[2][i / (count(c, 0) / D(0, 0))] : 1) / (double)count(c, 0);
    }
}
static ft_t b_xent_class(ft_graph *g, ft_t *in, const row *c) /* classes 0 1 2 0 -1 2 .. as i32 */
{
    int32_t t[16];
    for (int i = 0; i < 16; i++) t[i] = i == 4 ? -1 : i % (int)D(0, 1);
    return ft_softmax_xent(g, in[0], ft_const(g, FT_I32, 1, &c->in[0].d[0], t), NULL);
}
static void r_xent_class(const row *c, double **in, double *out)
{
    int64_t B = D(0, 0), C = D(0, 1);
    *out = 0;
    for (int64_t b = 0; b < B; b++) {
        double s = 0;
        for (int64_t k = 0; k < C; k++) s += exp(in[0][b * C + k]);
        if (b != 4) *out += (log(s) - in[0][b * C + b % C]) / (double)B;
    }
}
static ft_t b_pseudo(ft_graph *g, ft_t *in, const row *c) /* label and mask side by side; p: percent */
{
    ft_t mask, label = ft_pseudo_label(g, ft_stop_grad(g, in[0]), (float)c->p[0] / 100, &mask);
    return ft_concat(g, 1, 2, (ft_t[]){label, ft_reshape(g, mask, 2, (int64_t[]){D(0, 0), 1})});
}
static void r_pseudo(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1);
    for (int64_t b = 0; b < D(0, 0); b++) {
        double s = 0;
        int64_t best = 0;
        for (int64_t k = 0; k < n; k++) {
            s += exp(in[0][b * n + k]);
            if (in[0][b * n + k] > in[0][b * n + best]) best = k;
        }
        for (int64_t k = 0; k < n; k++) *out++ = k == best;
        *out++ = exp(in[0][b * n + best]) / s >= (double)c->p[0] / 100;
    }
}
static ft_t b_rank(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_rank(g, ft_stop_grad(g, in[0]));
}
static void r_rank(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1);
    for (int64_t r = 0; r < D(0, 0); r++)
        for (int64_t i = 0; i < n; i++) {
            out[r * n + i] = 0;
            for (int64_t k = 0; k < n; k++)
                out[r * n + i] += in[0][r * n + k] > in[0][r * n + i] || (k < i && in[0][r * n + k] >= in[0][r * n + i]);
        }
}
static ft_t b_kl(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_gauss_kl(g, in[0]);
}
static void r_kl(const row *c, double **in, double *out)
{
    int64_t n = D(0, c->in[0].nd - 1) / 2;
    *out = 0;
    for (int64_t r = 0; r < count(c, 0) / n / 2; r++)
        for (int64_t i = 0; i < n; i++) {
            double m = in[0][r * 2 * n + i], l = in[0][r * 2 * n + n + i];
            *out += 0.5 * (m * m + exp(l) - 1 - l) / (double)D(0, 0);
        }
}
static ft_t b_vlb(ft_graph *g, ft_t *in, const row *c) /* p: t == 0 */
{
    static float k[24];
    for (int b = 0; b < 3; b++) { /* t = 500 and its neighbours, or t = 0 */
        float mid[8] = {3.585f, 3.443f, 0.0067f, 0.9922f, -4.59f, -4.60f, 0, 0},
              zero[8] = {1.00005f, 0.0100005f, 1, 0, -9.21034f, -9.816725f, 1, 0};
        memcpy(k + 8 * b, c->p[0] ? zero : mid, sizeof mid);
        k[8 * b + 3] *= 1 - 0.01f * (float)b;
    }
    return ft_vlb(g, in[0], in[1], in[2], in[3], ft_const(g, FT_F32, 2, (int64_t[]){3, 8}, k));
}
static double cdf(double x) { return 0.5 * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }
static void r_vlb(const row *c, double **in, double *out)
{
    *out = 0;
    for (int64_t i = 0; i < count(c, 0); i++) {
        int64_t b = i / (count(c, 0) / D(0, 0));
        double nu = in[0][i], eps = in[1][i], x0 = in[2][i], xt = in[3][i], shrink = (double)(1 - 0.01f * (float)b);
        double k0 = c->p[0] ? (double)1.00005f : (double)3.585f, k1 = c->p[0] ? (double)0.0100005f : (double)3.443f,
               k2 = c->p[0] ? 1 : (double)0.0067f, k3 = c->p[0] ? 0 : (double)(0.9922f * (1 - 0.01f * (float)b));
        double lb = c->p[0] ? (double)-9.21034f : (double)-4.59f, lt = c->p[0] ? (double)-9.816725f : (double)-4.60f;
        double mp = k2 * (k0 * xt - k1 * eps) + k3 * xt, mq = k2 * x0 + k3 * xt, f = (nu + 1) / 2, lp = f * lb + (1 - f) * lt, y;
        (void)shrink;
        if (!c->p[0]) y = 0.5 * (-1 + lp - lt + exp(lt - lp) + (mq - mp) * (mq - mp) * exp(-lp));
        else {
            double s = exp(-lp / 2), hi = cdf(s * (x0 - mp + 1.0 / 255)), lo = cdf(s * (x0 - mp - 1.0 / 255));
            double p = x0 < -0.999 ? hi : x0 > 0.999 ? 1 - lo : hi - lo;
            y = -log(p > 1e-12 ? p : 1e-12);
        }
        *out += y / log(2) / (double)count(c, 0);
    }
}
static ft_t b_pearson(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_pearson(g, in[0], in[1]);
}
static void r_pearson(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1);
    for (int64_t r = 0; r < D(0, 0); r++) {
        double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
        for (int64_t i = 0; i < n; i++) ma += in[0][r * n + i] / (double)n, mb += in[1][r * n + i] / (double)n;
        for (int64_t i = 0; i < n; i++) {
            double a = in[0][r * n + i] - ma, b = in[1][r * n + i] - mb;
            aa += a * a, bb += b * b, ab += a * b;
        }
        *out++ = ab / sqrt(aa * bb);
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
int op_freeze;
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
                if (op_freeze) frozen[at] = pow(hypot(re[i], im[i]), (double)c->p[0]) / top;
                *out += frozen[at] * (re[i] * re[i] + im[i] * im[i]) / (double)count(c, 0);
            }
        }
}

/* one row, one line */
/* clang-format off */
static const row cases[] = {
    {"layernorm_plain", b_layernorm, r_layernorm, 1, {{3, {2, 7, 33}, 0}}, {0, 0}, 66, 1, 9},
    {"layernorm_affine", b_layernorm, r_layernorm, 3, {{3, {2, 7, 33}, 0}, {1, {33}, F32}, {1, {33}, F32}}, {1, 0}, 66, 1, 9},
    {"layernorm_modulate", b_layernorm, r_layernorm, 3, {{3, {3, 5, 31}, 0}, {2, {3, 31}, F32}, {2, {3, 31}, F32}}, {0, 1}, 66, 1, 9},
    {"layernorm_both", b_layernorm, r_layernorm, 5, {{3, {3, 5, 64}, 0}, {1, {64}, F32}, {1, {64}, F32}, {2, {3, 64}, F32}, {2, {3, 64}, F32}}, {1, 1}, 128, 1, 9},
    {"gate_residual", b_gate, r_gate, 3, {{3, {3, 7, 33}, 0}, {3, {3, 7, 33}, 0}, {2, {3, 33}, F32}}, {0}, 7, 1, 9},
    {"rmsnorm_gated", b_rms, r_rms, 3, {{2, {37, 33}, 0}, {2, {37, 33}, 0}, {1, {33}, F32}}, {0}, 70, 1, 9},
    {"groupnorm", b_group, r_group, 3, {{5, {2, 2, 3, 5, 12}, 0}, {1, {12}, F32}, {1, {12}, F32}}, {4, FT_ACT_NONE}, 120, 1, 9},
    {"groupnorm_silu", b_group, r_group, 3, {{5, {3, 1, 7, 5, 33}, 0}, {1, {33}, F32}, {1, {33}, F32}}, {3, FT_ACT_SILU}, 400, 1, 9},
    {"batchnorm", b_batch, r_batch, 3, {{5, {4, 1, 5, 3, 17}, 0}, {1, {17}, F32}, {1, {17}, F32}}, {0, FT_ACT_NONE}, 70, 1, 9},
    {"batchnorm_two_relu", b_batch, r_batch, 3, {{5, {5, 2, 5, 3, 17}, 0}, {1, {17}, F32}, {1, {17}, F32}}, {2, FT_ACT_RELU}, 200, 1, 9},
    {"batchnorm_two_silu", b_batch, r_batch, 3, {{2, {150, 31}, 0}, {1, {31}, F32}, {1, {31}, F32}}, {70, FT_ACT_SILU}, 200, 1, 9},
    {"batchnorm_54", b_batch, r_batch, 3, {{5, {3, 1, 4, 6, 54}, 0}, {1, {54}, F32}, {1, {54}, F32}}, {1, FT_ACT_RELU}, 200, 1, 9}, /* 8 divides a segment, not a row */
    {"groupnorm_1032", b_group, r_group, 3, {{5, {2, 1, 1, 3, 1032}, 0}, {1, {1032}, F32}, {1, {1032}, F32}}, {8, FT_ACT_SILU}, 800, 1, 9},
    {"attention_local", b_attn, r_attn, 3, {{3, {3, 16, 10}, 0}, {3, {3, 16, 10}, 0}, {3, {3, 16, 10}, 0}}, {4}, 60, 1, 9},
    {"attention_local_8", b_attn, r_attn, 3, {{3, {2, 64, 34}, 0}, {3, {2, 64, 34}, 0}, {3, {2, 64, 34}, 0}}, {8}, 120, 1, 9},
    {"ssd", b_ssd, r_ssd, 5, {{3, {3, 13, 26}, 0}, {3, {3, 13, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}}, {2, 3}, 100, 1, 9, true}, /* zeros above the diagonal spread a NaN over its block */
    {"ssd_48", b_ssd, r_ssd, 5, {{3, {2, 48, 96}, 0}, {3, {2, 48, 4}, 0}, {1, {4}, F32}, {1, {4}, F32}, {1, {4}, F32}}, {4, 16}, 800, 1, 9, true}, /* zeros above the diagonal spread a NaN over its block */
    {"ssd_one", b_ssd, r_ssd, 5, {{3, {1, 1, 3}, 0}, {3, {1, 1, 1}, 0}, {1, {1}, F32}, {1, {1}, F32}, {1, {1}, F32}}, {1, 1}, 4, 1, 9, true}, /* zeros above the diagonal spread a NaN over its block */
    {"mse", b_loss, r_loss, 2, {{2, {33, 31}, 0}, {2, {33, 31}, 0}}, {FT_MSE}, 64, 0, 1},
    {"l1", b_loss, r_loss, 2, {{2, {33, 31}, 0}, {2, {33, 31}, 0}}, {FT_L1}, 64, 0, 1},
    {"softmax_xent", b_xent, r_xent, 2, {{2, {7, 3}, F32}, {2, {7, 3}, F32}}, {0}, 8, 0, 1, true},
    {"softmax_xent_weighted", b_xent, r_xent, 3, {{2, {5, 2}, F32}, {2, {5, 2}, F32}, {1, {5}, F32}}, {0}, 8, 0, 1, true},
    {"focal_frequency", b_ffl, r_ffl, 2, {{5, {2, 2, 8, 6, 3}, 0}, {5, {2, 2, 8, 6, 3}, 0}}, {1}, 96, 0, 1},
    {"focal_frequency_odd", b_ffl, r_ffl, 2, {{5, {1, 2, 5, 7, 3}, 0}, {5, {1, 2, 5, 7, 3}, 0}}, {2}, 96, 0, 1},
    {"attention_local_dropout", b_attn, r_attn, 3, {{3, {2, 16, 10}, 0}, {3, {2, 16, 10}, 0}, {3, {2, 16, 10}, 0}}, {4, 25}, 60, 1, 9},
    {"layernorm_modulate_rows", b_layernorm, r_layernorm, 3, {{3, {2, 50, 17}, 0}, {2, {2, 17}, F32}, {2, {2, 17}, F32}}, {0, 1}, 100, 1, 9},
    {"layernorm_affine_rows", b_layernorm, r_layernorm, 3, {{3, {2, 50, 17}, 0}, {1, {17}, F32}, {1, {17}, F32}}, {1, 0}, 100, 1, 9}, /* more rows than a block has at once */
    {"layernorm_one_row", b_layernorm, r_layernorm, 1, {{3, {1, 1, 257}, 0}}, {0, 0}, 257, 1, 9},
    {"rmsnorm", b_rmsnorm, r_rmsnorm, 2, {{2, {37, 31}, 0}, {1, {31}, F32}}, {0}, 70, 1, 9},
    {"rmsnorm_plain", b_rmsnorm, r_rmsnorm, 1, {{2, {5, 64}, 0}}, {0}, 70, 1, 9},
    {"instance_norm", b_group, r_group, 1, {{5, {3, 1, 7, 5, 17}, 0}}, {17, FT_ACT_RELU}, 80, 1, 9},
    {"groupnorm_gelu", b_group, r_group, 3, {{5, {2, 1, 3, 5, 32}, 0}, {1, {32}, F32}, {1, {32}, F32}}, {32, FT_ACT_GELU}, 80, 1, 9},
    {"spatial_norm", b_group, r_group, 5, {{5, {2, 4, 6, 4, 12}, 0}, {1, {12}, F32}, {1, {12}, F32}, {5, {2, 2, 3, 2, 12}, 0}, {5, {2, 2, 3, 2, 12}, 0}}, {4, FT_ACT_SILU, 0}, 300, 1, 9},
    {"spatial_norm_odd", b_group, r_group, 5, {{5, {1, 5, 7, 5, 6}, 0}, {1, {6}, F32}, {1, {6}, F32}, {5, {1, 3, 3, 2, 6}, 0}, {5, {1, 3, 3, 2, 6}, 0}}, {2, FT_ACT_NONE, 1}, 300, 1, 9},
    {"groupnorm_scale_shift", b_group, r_group, 5, {{5, {3, 2, 3, 3, 8}, 0}, {1, {8}, F32}, {1, {8}, F32}, {5, {3, 1, 1, 1, 8}, 0}, {5, {3, 1, 1, 1, 8}, 0}}, {2, FT_ACT_SILU, 0}, 300, 1, 9},
    {"sdpa", b_sdpa, r_sdpa, 3, {{3, {2, 17, 24}, 0}, {3, {2, 13, 24}, 0}, {3, {2, 13, 24}, 0}}, {3}, 60, 2, 9},
    {"sdpa_64", b_sdpa, r_sdpa, 3, {{3, {1, 64, 128}, 0}, {3, {1, 64, 128}, 0}, {3, {1, 64, 128}, 0}}, {2}, 160, 3, 9},
    {"sdpa_odd_keys", b_sdpa, r_sdpa, 3, {{3, {2, 50, 32}, 0}, {3, {2, 71, 32}, 0}, {3, {2, 71, 32}, 0}}, {2}, 120, 3, 9}, /* P is rounded too */
    {"sdpa_steep", b_sdpa, r_sdpa, 3, {{3, {1, 33, 32}, WIDE}, {3, {1, 37, 32}, WIDE}, {3, {1, 37, 32}, 0}}, {2}, 6000, 3, 9}, /* logits of hundreds */
    {"sdpa_width_24", b_sdpa, r_sdpa, 3, {{3, {2, 17, 24}, 0}, {3, {2, 13, 24}, 0}, {3, {2, 13, 24}, 0}}, {1}, 100, 2, 9},
    {"sdpa_one_key", b_sdpa, r_sdpa, 3, {{3, {2, 5, 7}, 0}, {3, {2, 1, 7}, 0}, {3, {2, 1, 7}, 0}}, {1}, 30, 2, 9},
    {"sdpa_packed", b_sdpa, r_sdpa, 1, {{3, {2, 33, 96}, 0}}, {2, 0, 1}, 80, 3, 9},
    {"sdpa_causal", b_sdpa, r_sdpa, 3, {{3, {2, 50, 32}, 0}, {3, {2, 50, 32}, 0}, {3, {2, 50, 32}, 0}}, {2, 1}, 100, 3, 9},
    {"sdpa_width_72", b_sdpa, r_sdpa, 3, {{3, {3, 19, 144}, 0}, {3, {3, 19, 144}, 0}, {3, {3, 19, 144}, 0}}, {2, 1}, 140, 3, 9}, /* few tokens, causal */
    {"sdpa_relative", b_sdpa, r_sdpa, 5, {{3, {3, 7, 20}, 0}, {3, {3, 7, 20}, 0}, {3, {3, 7, 20}, 0}, {2, {9, 10}, F32}, {2, {9, 10}, F32}}, {2, 0, 0, 2}, 160, 2, 9},
    {"sdpa_relative_lvdm", b_sdpa, r_sdpa, 3, {{3, {3, 4, 48}, 0}, {2, {9, 8}, F32}, {2, {9, 8}, F32}}, {2, 0, 1, 2, 1}, 160, 2, 9},
    {"sdpa_relative_few", b_sdpa, r_sdpa, 5, {{3, {2, 21, 32}, 0}, {3, {2, 21, 32}, 0}, {3, {2, 21, 32}, 0}, {2, {9, 16}, F32}, {2, {9, 16}, F32}}, {2, 1, 0, 2}, 200, 2, 9}, /* causal, beyond the reach */
    {"sdpa_relative_turned", b_sdpa, r_sdpa, 5, {{3, {1, 18, 24}, 0}, {3, {1, 18, 24}, 0}, {3, {1, 18, 24}, 0}, {2, {41, 24}, F32}, {2, {41, 24}, F32}}, {1, 0, 0, 2, 1}, 200, 2, 9},
    {"sdpa_relative_long", b_sdpa, r_sdpa, 5, {{3, {1, 53, 8}, 0}, {3, {1, 53, 8}, 0}, {3, {1, 53, 8}, 0}, {2, {5, 8}, F32}, {2, {5, 8}, F32}}, {1, 0, 0, 2, 1}, 400, 2, 9},
    {"attention_channel", b_channel, r_channel, 2, {{3, {2, 31, 60}, 0}, {1, {2}, F32}}, {2}, 120, 2, 9},
    {"attention_channel_32", b_channel, r_channel, 2, {{3, {2, 64, 192}, 0}, {1, {2}, F32}}, {2}, 200, 2, 9},
    {"attention_channel_64", b_channel, r_channel, 2, {{3, {1, 83, 192}, 0}, {1, {1}, F32}}, {1}, 300, 2, 9}, /* more tokens than warps have at once */
    {"attention_channel_16", b_channel, r_channel, 2, {{3, {2, 9, 96}, 0}, {1, {2}, F32}}, {2}, 120, 2, 9},
    {"ssd_33", b_ssd, r_ssd, 5, {{3, {1, 33, 64}, 0}, {3, {1, 33, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}}, {2, 16}, 600, 1, 9, true}, /* zeros above the diagonal spread a NaN over its block */
    {"ssd_six", b_ssd, r_ssd, 5, {{3, {5, 6, 192}, 0}, {3, {5, 6, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}}, {2, 32}, 200, 1, 9, true}, /* four sequences a block, heads apart (ssd_chunk.cu) */
    {"ssd_20", b_ssd, r_ssd, 5, {{3, {9, 20, 80}, 0}, {3, {9, 20, 3}, 0}, {1, {3}, F32}, {1, {3}, F32}, {1, {3}, F32}}, {3, 16}, 400, 1, 9, true}, /* two, and two heads */
    {"ssd_40", b_ssd, r_ssd, 5, {{3, {9, 40, 96}, 0}, {3, {9, 40, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}}, {2, 16}, 3000, 1, 9, true}, /* one, and all heads */
    {"ssd_64", b_ssd, r_ssd, 5, {{3, {2, 64, 160}, 0}, {3, {2, 64, 4}, 0}, {1, {4}, F32}, {1, {4}, F32}, {1, {4}, F32}}, {4, 16}, 1000, 1, 9, true},
    {"ssd_chunked", b_ssd, r_ssd, 5, {{3, {2, 150, 26}, SMALL}, {3, {2, 150, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}}, {2, 5}, 2000, 1, 9, true}, /* zeros above the diagonal spread a NaN over its block */
    {"ssd_state_out", b_ssd, r_ssd, 5, {{3, {2, 7, 26}, 0}, {3, {2, 7, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}}, {2, 5, 1}, 200, 1, 9, true}, /* zeros above the diagonal spread a NaN over its block */
    {"ssd_state_in_out", b_ssd, r_ssd, 6, {{3, {2, 70, 18}, SMALL}, {3, {2, 70, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}, {4, {2, 2, 5, 4}, F32}}, {2, 5, 1}, 1200, 1, 9, true}, /* zeros above the diagonal spread a NaN over its block */
    {"ssd_long", b_ssd, r_ssd, 5, {{3, {2, 150, 64}, SMALL}, {3, {2, 150, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}}, {2, 16}, 2000, 1, 9, true}, /* three chunks, the last of 22 (ssd_carry.cu) */
    {"ssd_long_state", b_ssd, r_ssd, 6, {{3, {1, 128, 128}, SMALL}, {3, {1, 128, 2}, 0}, {1, {2}, F32}, {1, {2}, F32}, {1, {2}, F32}, {4, {1, 2, 48, 16}, F32}}, {2, 48, 1}, 2000, 1, 9, true}, /* two whole chunks, more rows of the state than tokens a warp */
    {"ssd_state_short", b_ssd, r_ssd, 6, {{3, {3, 20, 96}, SMALL}, {3, {3, 20, 1}, 0}, {1, {1}, F32}, {1, {1}, F32}, {1, {1}, F32}, {4, {3, 1, 16, 64}, F32}}, {1, 16, 1}, 800, 1, 9, true}, /* one chunk, a state before and after */
    {"ssd_state_32", b_ssd, r_ssd, 5, {{3, {1, 67, 96}, SMALL}, {3, {1, 67, 1}, 0}, {1, {1}, F32}, {1, {1}, F32}, {1, {1}, F32}}, {1, 32, 1}, 1200, 1, 9, true},
    {"wkv", b_wkv, r_wkv, 4, {{3, {2, 13, 33}, 0}, {3, {2, 13, 33}, 0}, {1, {33}, F32}, {1, {33}, F32}}, {0}, 130, 1, 9},
    {"wkv_one", b_wkv, r_wkv, 4, {{3, {3, 1, 5}, 0}, {3, {3, 1, 5}, 0}, {1, {5}, F32}, {1, {5}, F32}}, {0}, 20, 1, 9},
    {"wkv_columns", b_wkv, r_wkv, 4, {{3, {2, 12, 64}, 0}, {3, {2, 12, 64}, 0}, {1, {64}, F32}, {1, {64}, F32}}, {4}, 130, 1, 9},
    {"wkv_frames", b_wkv, r_wkv, 4, {{4, {2, 8, 3, 31}, 0}, {4, {2, 8, 3, 31}, 0}, {1, {31}, F32}, {1, {31}, F32}}, {0}, 130, 1, 9},
    {"wkv_steep", b_wkv, r_wkv, 4, {{3, {1, 16, 32}, WIDE}, {3, {1, 16, 32}, 0}, {1, {32}, F32 | WIDE}, {1, {32}, F32 | WIDE}}, {0}, 400, 1, 9},
    /* a place is 13 at most and off by three roundings, which moves a value by twice as much on each axis */
    {"warp", b_warp, r_warp, 2, {{4, {3, 5, 7, 9}, 0}, {2, {3, 6}, F32}}, {6, 8}, 200, 1, 1},
    {"warp_one_channel", b_warp, r_warp, 2, {{4, {2, 9, 4, 1}, 0}, {2, {2, 6}, F32}}, {3, 7}, 200, 1, 1},
    {"grid_sample", b_grid, r_grid, 2, {{4, {2, 5, 7, 33}, 0}, {4, {2, 3, 5, 2}, F32 | WIDE}}, {0}, 8, 1, 0, true}, /* a NaN place reads nothing */
    {"corr_lookup", b_corr, r_corr, 3, {{4, {2, 3, 4, 2}, F32 | WIDE}, {4, {2, 12, 7, 5}, 0}, {4, {2, 12, 3, 2}, 0}}, {3}, 8, 1, 0, true},
    /* terms: a place is off by some 2^-24 of 11 pixels, a value by 255 times that, and an operation makes it three times as much */
    {"augment_none", b_augment, r_augment, 1, {{1, {1}, F32}}, {0, 0, 0, 0, 0, 0}, 16, 0, 0, true},
    {"augment_mirror", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_AS_IS, 0, FT_AS_IS, 0, 1, 1}, 16, 0, 0, true},
    {"augment_turned", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_AS_IS, 0, FT_AS_IS, 0, 2, 1}, 3000, 0, 0, true},
    {"augment_levels", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_POSTERIZE, 400, FT_EQUALIZE, 0, 1, 0}, 64, 0, 0, true},
    {"augment_solarize", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_SOLARIZE, 10000, FT_BRIGHTNESS, 170, 1, 1}, 64, 0, 0, true},
    {"augment_contrast", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_CONTRAST, 160, FT_AUTOCONTRAST, 0, 2, 1}, 9000, 0, 0, true},
    {"augment_color_sharp", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_COLOR, 30, FT_SHARPNESS, 180, 4, 0}, 9000, 0, 0, true},
    {"augment_sharp_twice", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_SHARPNESS, 20, FT_SHARPNESS, 190, 2, 1}, 9000, 0, 0, true},
    {"augment_equalize", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_EQUALIZE, 0, FT_AS_IS, 0, 1, 0}, 64, 0, 0, true},
    {"augment_autocontrast", b_augment, r_augment, 1, {{1, {1}, F32}}, {FT_AUTOCONTRAST, 0, FT_BRIGHTNESS, 60, 3, 0}, 9000, 0, 0, true},
    {"mse_weighted", b_loss, r_loss, 3, {{3, {5, 3, 7}, 0}, {3, {5, 3, 7}, 0}, {1, {5}, F32}}, {FT_MSE}, 64, 0, 1},
    {"l1_one", b_loss, r_loss, 2, {{1, {1}, 0}, {1, {1}, 0}}, {FT_L1}, 4, 0, 1},
    {"huber", b_loss, r_loss, 2, {{2, {33, 31}, 0}, {2, {33, 31}, 0}}, {FT_HUBER}, 64, 0, 1},
    {"bce", b_loss, r_loss, 2, {{2, {33, 31}, 0}, {2, {33, 31}, POSITIVE}}, {FT_BCE_LOGIT}, 80, 0, 1, true}, /* the reference overflows */
    {"hinge", b_loss, r_loss, 3, {{2, {33, 31}, 0}, {2, {33, 31}, 0}, {1, {33}, F32}}, {FT_HINGE}, 64, 0, 1},
    {"xent_classes", b_xent_class, r_xent_class, 1, {{2, {7, 3}, F32}}, {0}, 8, 0, 9, true}, /* the reference overflows */
    {"rank", b_rank, r_rank, 1, {{2, {31, 37}, WIDE}}, {0}, 1, 0, 0, true}, /* a NaN has no rank */
    {"pseudo_label", b_pseudo, r_pseudo, 1, {{2, {31, 3}, F32 | WIDE}}, {70}, 8, 0, 0, true}, /* a NaN has no class */
    {"gauss_kl", b_kl, r_kl, 1, {{5, {3, 2, 3, 5, 14}, 0}}, {0}, 230, 0, 9},
    {"vlb", b_vlb, r_vlb, 4, {{3, {3, 7, 11}, 0}, {3, {3, 7, 11}, 0}, {3, {3, 7, 11}, 0}, {3, {3, 7, 11}, 0}}, {0}, 230, 0, 1},
    {"vlb_first_step", b_vlb, r_vlb, 4, {{3, {3, 7, 11}, 0}, {3, {3, 7, 11}, SMALL}, {3, {3, 7, 11}, 0}, {3, {3, 7, 11}, 0}}, {1}, 230, 0, 1, true}, /* clamped */
    {"pearson", b_pearson, r_pearson, 2, {{2, {7, 33}, 0}, {2, {7, 33}, 0}}, {0}, 70, 0, 9},
    {"pearson_wide", b_pearson, r_pearson, 2, {{2, {3, 512}, WIDE}, {2, {3, 512}, 0}}, {0}, 512, 0, 9},
};
/* clang-format on */
const table cases_nn = {cases, sizeof cases / sizeof *cases};
