/* Cases of shape ops, elementwise ops, products and convolutions. */
#include "op_cases.h"

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
static ft_t b_concat0(ft_graph *g, ft_t *in, const row *c) /* made in place by the planner */
{
    (void)c;
    ft_t x[3] = {ft_affine(g, in[0], 2, 0), ft_affine(g, in[1], -1, 0), ft_affine(g, in[0], 1, 1)};
    return ft_concat(g, 0, 3, x);
}
static void r_concat0(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) *out++ = 2 * in[0][i];
    for (int64_t i = 0; i < count(c, 1); i++) *out++ = -in[1][i];
    for (int64_t i = 0; i < count(c, 0); i++) *out++ = in[0][i] + 1;
}
static ft_t b_slices(ft_graph *g, ft_t *in, const row *c) /* views of the outermost axis, whose gradients come together again */
{
    ft_t x = ft_affine(g, in[0], 1, 0), a = ft_slice(g, x, 0, 0, 4), b = ft_slice(g, x, 0, c->p[0] ? 4 : 2, 3);
    return ft_concat(g, 0, 2, (ft_t[]){ft_affine(g, b, 3, 0), a});
}
static void r_slices(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1);
    for (int64_t i = 0; i < 3 * n; i++) *out++ = 3 * in[0][(c->p[0] ? 4 : 2) * n + i];
    for (int64_t i = 0; i < 4 * n; i++) *out++ = in[0][i];
}
static ft_t b_slices_many(ft_graph *g, ft_t *in, const row *c) /* eleven, out of order; more than one concat takes */
{
    ft_t x = ft_affine(g, in[0], 1, 0), part[11], half[2];
    for (int i = 0; i < 11; i++) {
        int k = i * 4 % 11;
        part[k] = ft_affine(g, ft_slice(g, x, 1, 3 * k, 3), (float)(k + 1), 0);
    }
    (void)c;
    half[0] = ft_concat(g, 1, 6, part), half[1] = ft_concat(g, 1, 5, part + 6);
    return ft_concat(g, 1, 2, half);
}
static void r_slices_many(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) out[i] = in[0][i] * (double)(i % 33 / 3 + 1);
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
static ft_t b_pad(ft_graph *g, ft_t *in, const row *c) /* p: front, replicate, back */
{
    if (c->p[2]) return ft_pad(g, in[0], 1, c->p[0], c->p[2]);
    return ft_pad_front(g, in[0], 1, c->p[0], c->p[1]);
}
static void r_pad(const row *c, double **in, double *out)
{
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int64_t t = -c->p[0]; t < D(0, 1) + c->p[2]; t++)
            for (int64_t k = 0; k < D(0, 2); k++)
                *out++ = t >= 0 && t < D(0, 1) ? in[0][(a * D(0, 1) + t) * D(0, 2) + k]
                         : c->p[1]             ? in[0][a * D(0, 1) * D(0, 2) + k]
                                               : 0;
}
static ft_t b_select(ft_graph *g, ft_t *in, const row *c) { return ft_select(g, in[0], 1, c->p[0]); }
static void r_select(const row *c, double **in, double *out)
{
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int64_t k = 0; k < D(0, 2); k++) *out++ = in[0][(a * D(0, 1) + c->p[0]) * D(0, 2) + k];
}
static ft_t b_roll(ft_graph *g, ft_t *in, const row *c) { return c->p[1] ? ft_flip(g, in[0], 1) : ft_roll(g, in[0], 1, c->p[0]); }
static void r_roll(const row *c, double **in, double *out)
{
    int64_t T = D(0, 1);
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int64_t t = 0; t < T; t++)
            for (int64_t k = 0; k < D(0, 2); k++)
                *out++ = in[0][(a * T + (c->p[1] ? T - 1 - t : ((t - c->p[0]) % T + T) % T)) * D(0, 2) + k];
}
static ft_t b_resize(ft_graph *g, ft_t *in, const row *c) /* p: size, kind, 1000 * scale */
{
    return ft_resize(g, in[0], 1, c->p[0], (ft_resize_kind)c->p[1], (double)c->p[2] / 1000);
}
/* antialiased: each row a mean over the kernel stretched by the step, as far as it lies inside */
static void r_resize_smooth(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1), size = c->p[0];
    double step = (double)n / (double)size, wide = fmax(step, 1);
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int64_t r = 0; r < size; r++)
            for (int64_t k = 0; k < D(0, 2); k++) {
                double sum = 0, s = 0;
                for (int64_t i = 0; i < n; i++) {
                    double d = fabs((double)i + 0.5 - ((double)r + 0.5) * step) / wide, w = fmax(0, 1 - d);
                    if (c->p[1] == FT_CUBIC_SMOOTH)
                        w = d <= 1 ? 1.5 * d * d * d - 2.5 * d * d + 1 : d < 2 ? -0.5 * (d * d * d - 5 * d * d + 8 * d - 4) : 0;
                    if (w != 0) sum += w, s += w * in[0][(a * n + i) * D(0, 2) + k];
                }
                *out++ = s / sum;
            }
}
static void r_resize(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1), size = c->p[0];
    for (int64_t a = 0; a < D(0, 0); a++)
        for (int64_t r = 0; r < size; r++) {
            double step = c->p[2] ? 1000.0 / (double)c->p[2] : (double)n / (double)size, x = ((double)r + 0.5) * step - 0.5;
            if (c->p[1] == FT_NEAREST) x = floor((double)r * step);
            if (c->p[1] == FT_LINEAR_CORNERS) x = (double)r * (double)(n - 1) / (double)(size - 1);
            if (c->p[1] == FT_LINEAR_TF1) x = (double)r * step;
            if (c->p[1] == FT_LINEAR && x < 0) x = 0;
            for (int64_t k = 0; k < D(0, 2); k++) {
                double s = 0;
                for (int64_t i = (int64_t)floor(x) - 1; i <= (int64_t)floor(x) + 2; i++) {
                    double d = fabs(x - (double)i), w = fmax(0, 1 - d);
                    if (c->p[1] == FT_CUBIC)
                        w = d <= 1  ? 1.25 * d * d * d - 2.25 * d * d + 1
                            : d < 2 ? -0.75 * (d * d * d - 5 * d * d + 8 * d - 4)
                                    : 0;
                    if (w != 0) s += w * in[0][(a * n + (i < 0 ? 0 : i >= n ? n - 1 : i)) * D(0, 2) + k];
                }
                *out++ = s;
            }
        }
}
static ft_t b_pool(ft_graph *g, ft_t *in, const row *c) /* p: kernel 3, stride 3, pad 3 (both sides), kind */
{
    ft_conv_opt o = {0};
    for (int i = 0; i < 3; i++) o.kernel[i] = c->p[i], o.stride[i] = c->p[3 + i], o.pad_front[i] = o.pad_back[i] = c->p[6 + i];
    return ft_pool(g, in[0], (ft_pool_kind)c->p[9], o);
}
static void r_pool(const row *c, double **in, double *out)
{
    int64_t o[3], C = D(0, 4);
    for (int i = 0; i < 3; i++) o[i] = (D(0, 1 + i) + 2 * c->p[6 + i] - c->p[i]) / c->p[3 + i] + 1;
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t t = 0; t < o[0]; t++)
            for (int64_t h = 0; h < o[1]; h++)
                for (int64_t w = 0; w < o[2]; w++)
                    for (int64_t k = 0; k < C; k++) {
                        double s = 0, top = -INFINITY, n = 0;
                        for (int64_t x = 0; x < c->p[0]; x++)
                            for (int64_t y = 0; y < c->p[1]; y++)
                                for (int64_t z = 0; z < c->p[2]; z++) {
                                    int64_t tt = t * c->p[3] + x - c->p[6], hh = h * c->p[4] + y - c->p[7],
                                            ww = w * c->p[5] + z - c->p[8];
                                    if (tt < 0 || hh < 0 || ww < 0 || tt >= D(0, 1) || hh >= D(0, 2) || ww >= D(0, 3)) continue;
                                    double v = in[0][(((b * D(0, 1) + tt) * D(0, 2) + hh) * D(0, 3) + ww) * C + k];
                                    s += v, n++;
                                    top = isnan(top) || v <= top ? top : v;
                                }
                        *out++ = c->p[9] == FT_POOL_MAX ? top : c->p[9] == FT_POOL_AVG ? s / n : s;
                    }
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
    return c->p[0] == FT_CLAMP ? ft_clamp(g, in[0], -0.5f, 0.75f)
           : c->p[0] == FT_LEAKY_RELU
               ? c->p[1] ? ft_leaky_relu_within(g, in[0], 0.25f, 0.13134765625f) : ft_leaky_relu(g, in[0], 0.25f)
               : ft_unary(g, (ft_unary_kind)c->p[0], in[0]);
}
static void r_unary(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) {
        double x = in[0][i];
        switch ((ft_unary_kind)c->p[0]) {
            case FT_RELU: out[i] = x <= 0 ? 0 : x; break;
            case FT_SILU: out[i] = silu(x); break;
            case FT_SIGMOID: out[i] = sigmoid(x); break;
            case FT_EXP: out[i] = exp(x); break;
            case FT_SQUARE: out[i] = x * x; break;
            case FT_CLAMP: out[i] = x < -0.5 ? -0.5 : x > 0.75 ? 0.75 : x; break;
            case FT_TANH: out[i] = tanh(x); break;
            case FT_ABS: out[i] = fabs(x); break;
            case FT_STEP: out[i] = x >= 0; break;
            case FT_LEAKY_RELU:
                out[i] = x > 0 ? x : 0.25 * x;
                if (c->p[1]) out[i] = out[i] > 0.13134765625 ? 0.13134765625 : out[i] < -0.13134765625 ? -0.13134765625 : out[i];
                break;
            case FT_GELU: out[i] = gelu(x); break;
            case FT_GELU_TANH: out[i] = act(FT_ACT_GELU_TANH, x); break;
            case FT_SOFTPLUS: out[i] = x > 30 ? x : log1p(exp(x)); break;
            case FT_LOG: out[i] = log(x); break;
            case FT_SQRT: out[i] = sqrt(x); break;
            case FT_RSQRT: out[i] = 1 / sqrt(x); break;
            case FT_RECIPROCAL: out[i] = 1 / x; break;
            case FT_SIN: out[i] = sin(x); break;
            case FT_COS: out[i] = cos(x); break;
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
        out[i] = c->p[0] == FT_ADD ? a + b : c->p[0] == FT_SUB ? a - b : c->p[0] == FT_MUL ? a * b : a / b;
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
static ft_t b_dropout(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    ft_t y = ft_dropout(g, in[0], 0.3f);
    op_stream = y->maker ? y->maker->stream : 0;
    return y;
}
static void r_dropout(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++)
        out[i] = op_random(false, i, count(c, 0)) >= (double)0.3f ? in[0][i] / (1 - (double)0.3f) : 0;
}

static ft_t b_drop_path(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    ft_t y = ft_drop_path(g, in[0], 0.5f);
    op_stream = y->maker ? y->maker->stream : 0;
    return y;
}
static void r_drop_path(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) {
        int64_t sample = i / (count(c, 0) / D(0, 0));
        out[i] = op_random(false, sample, D(0, 0)) >= 0.5 ? in[0][i] * 2 : 0;
    }
}
static ft_t b_residual(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    ft_t y = ft_residual(g, in[0], in[1], 0.5f);
    op_stream = y->maker ? y->maker->stream : 0;
    return y;
}
static void r_residual(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) {
        int64_t sample = i / (count(c, 0) / D(0, 0));
        out[i] = in[0][i] + (op_random(false, sample, D(0, 0)) >= 0.5 ? in[1][i] * 2 : 0);
    }
}
static ft_t b_q_sample(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    ft_t noise, y = ft_q_sample(g, in[0], in[1], &noise);
    op_stream = y->maker ? y->maker->stream : 0;
    return y;
}
static void r_q_sample(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) {
        int64_t s = i / (count(c, 0) / D(0, 0));
        out[i] = in[1][2 * s] * in[0][i] + in[1][2 * s + 1] * op_random(true, i, count(c, 0));
    }
}
static ft_t b_glu(ft_graph *g, ft_t *in, const row *c) { return ft_glu(g, in[0], (ft_act)c->p[0], c->p[1]); }
static void r_glu(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1) / 2;
    for (int64_t r = 0; r < D(0, 0); r++)
        for (int64_t i = 0; i < n; i++) {
            const double *x = in[0] + r * 2 * n;
            *out++ = act(c->p[0], x[(c->p[1] ? n : 0) + i]) * x[(c->p[1] ? 0 : n) + i];
        }
}
static ft_t b_softmax(ft_graph *g, ft_t *in, const row *c)
{
    (void)c;
    return ft_softmax(g, in[0]);
}
static void r_softmax(const row *c, double **in, double *out)
{
    int64_t n = D(0, c->in[0].nd - 1);
    for (int64_t r = 0; r < count(c, 0) / n; r++) {
        double s = 0, top = -INFINITY;
        for (int64_t i = 0; i < n; i++) top = fmax(top, in[0][r * n + i]);
        for (int64_t i = 0; i < n; i++) s += exp(in[0][r * n + i] - top);
        for (int64_t i = 0; i < n; i++) out[r * n + i] = exp(in[0][r * n + i] - top) / s;
    }
}
static ft_t b_l2(ft_graph *g, ft_t *in, const row *c) { return ft_l2_normalize(g, in[0], (float)c->p[0]); }
static void r_l2(const row *c, double **in, double *out)
{
    int64_t n = D(0, 1);
    for (int64_t r = 0; r < D(0, 0); r++) {
        double s = 0;
        for (int64_t i = 0; i < n; i++) s += in[0][r * n + i] * in[0][r * n + i];
        for (int64_t i = 0; i < n; i++)
            out[r * n + i] = in[0][r * n + i] / (sqrt(s) < (double)c->p[0] ? (double)c->p[0] : sqrt(s));
    }
}

static ft_t b_randn(ft_graph *g, ft_t *in, const row *c) /* p: uniform */
{
    ft_t noise = c->p[0] ? ft_uniform(g, ft_dtype_of(in[0]), 2, c->in[0].d) : ft_randn(g, ft_dtype_of(in[0]), 2, c->in[0].d);
    op_stream = noise->maker ? noise->maker->stream : 0;
    return ft_add(g, in[0], noise);
}
static void r_randn(const row *c, double **in, double *out)
{
    for (int64_t i = 0; i < count(c, 0); i++) out[i] = in[0][i] + op_random(!c->p[0], i, count(c, 0));
}
/* p: noise, a share of its variance. in: x, weights, x..., and the share last */
static ft_t b_combine(ft_graph *g, ft_t *in, const row *c)
{
    const int32_t seed_and_clip[4] = {7, 1, 5, 0};
    ft_t x[FT_COMBINED] = {in[0]}, key = c->p[0] ? ft_const(g, FT_I32, 1, (int64_t[]){4}, seed_and_clip) : NULL;
    int n = c->n - 1 - (int)c->p[1];
    for (int k = 1; k < n; k++) x[k] = in[k + 1];
    return ft_combine(g, n, x, in[1], key, c->p[1] ? in[c->n - 1] : NULL);
}
static void r_combine(const row *c, double **in, double *out)
{
    int n = c->n - 1 - (int)c->p[1];
    int64_t each = count(c, 0) / D(0, 0);
    const double *w = in[1], *noise = w + 2 * n;
    for (int64_t i = 0; i < count(c, 0); i++) {
        out[i] = 0;
        for (int k = 0; k < n; k++) out[i] += (w[2 * k] + w[2 * k + 1]) * in[k ? k + 1 : 0][i];
        if (!c->p[0]) continue;
        uint32_t bits[4];
        float e[4];
        uint64_t step = (uint64_t)noise[c->p[1] ? 6 : 2];
        ft_philox(7 | 1ull << 32, 0x5A3, (uint64_t)(5 + i / each) | step << 40, (uint64_t)(i % each) / 4, bits);
        ft_philox_normal(bits, e);
        double low = noise[2] + noise[3], high = noise[4] + noise[5], v = c->p[1] ? in[c->n - 1][i] : 0;
        out[i] += (noise[0] + noise[1]) * (c->p[1] ? exp(0.5 * (low + (v + 1) / 2 * (high - low))) : 1) * (double)e[i % each % 4];
    }
}
static ft_t b_timestep(ft_graph *g, ft_t *in, const row *c) { return ft_timestep_embed(g, ft_stop_grad(g, in[0]), c->p[0]); }
static void r_timestep(const row *c, double **in, double *out)
{
    int64_t half = c->p[0] / 2;
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t k = 0; k < half; k++) {
            double a = in[0][b] * pow(10000, -(double)k / (double)half);
            out[b * 2 * half + k] = cos(a), out[b * 2 * half + half + k] = sin(a);
        }
}

/* ---- products and convolutions ---- */
static ft_t b_matmul(ft_graph *g, ft_t *in, const row *c) { return ft_matmul(g, in[0], in[1], c->p[0], c->p[1]); }
static void r_matmul(const row *c, double **in, double *out)
{
    int64_t m = D(0, 1 + c->p[0]), k = D(0, 2 - c->p[0]), n = D(1, 2 - c->p[1]);
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double s = 0;
                for (int64_t q = 0; q < k; q++)
                    s += in[0][b * m * k + (c->p[0] ? q * m + i : i * k + q)] *
                         in[1][b * k * n + (c->p[1] ? j * k + q : q * n + j)];
                *out++ = s;
            }
}
static ft_conv_opt conv_opt(const row *c);
static ft_t b_conv_t(ft_graph *g, ft_t *in, const row *c)
{
    return ft_conv_transpose(g, in[0], in[1], c->n > 2 ? in[2] : NULL, conv_opt(c));
}
static void r_conv_t(const row *c, double **in, double *out) /* every input value is scattered over its taps */
{
    int64_t I = D(1, 0), O = D(1, 1), o[3], at = 0;
    for (int i = 0; i < 3; i++) o[i] = (D(0, 1 + i) - 1) * c->p[i] + D(1, 2 + i) - c->p[3 + i] - c->p[6 + i];
    for (int64_t i = 0; i < D(0, 0) * o[0] * o[1] * o[2] * O; i++) out[i] = c->n > 2 ? in[2][i % O] : 0;
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t t = 0; t < D(0, 1); t++)
            for (int64_t h = 0; h < D(0, 2); h++)
                for (int64_t w = 0; w < D(0, 3); w++)
                    for (int64_t i = 0; i < I; i++, at++)
                        for (int64_t n = 0; n < O; n++)
                            for (int64_t x = 0; x < D(1, 2); x++)
                                for (int64_t y = 0; y < D(1, 3); y++)
                                    for (int64_t z = 0; z < D(1, 4); z++) {
                                        int64_t tt = t * c->p[0] + x - c->p[3], hh = h * c->p[1] + y - c->p[4],
                                                ww = w * c->p[2] + z - c->p[5];
                                        if (tt < 0 || hh < 0 || ww < 0 || tt >= o[0] || hh >= o[1] || ww >= o[2]) continue;
                                        out[(((b * o[0] + tt) * o[1] + hh) * o[2] + ww) * O + n] +=
                                            in[0][at] * in[1][(((i * O + n) * D(1, 2) + x) * D(1, 3) + y) * D(1, 4) + z];
                                    }
}
static ft_t b_conv_mod(ft_graph *g, ft_t *in, const row *c)
{
    return ft_conv_modulated(g, in[0], in[1], in[2], true, conv_opt(c));
}
static void r_conv_mod(const row *c, double **in, double *out) /* 1x3x3, padding 1 */
{
    int64_t H = D(0, 2), W = D(0, 3), C = D(0, 4), O = D(1, 0);
    for (int64_t b = 0; b < D(0, 0); b++)
        for (int64_t h = 0; h < H; h++)
            for (int64_t w = 0; w < W; w++)
                for (int64_t o = 0; o < O; o++) {
                    double s = 0, norm = (double)1e-8f;
                    for (int64_t i = 0; i < C; i++)
                        for (int64_t y = 0; y < 3; y++)
                            for (int64_t x = 0; x < 3; x++) {
                                double k = in[1][((o * C + i) * 3 + y) * 3 + x] * in[2][b * C + i];
                                norm += k * k;
                                if (h + y < 1 || w + x < 1 || h + y > H || w + x > W) continue;
                                s += k * in[0][((b * H + h + y - 1) * W + w + x - 1) * C + i];
                            }
                    *out++ = s / sqrt(norm);
                }
}
static ft_t b_linear(ft_graph *g, ft_t *in, const row *c) /* p: activation, evaluation graph */
{
    if (c->p[1]) ft_training(g, false);
    return ft_linear_act(g, in[0], in[1], c->n > 2 ? in[2] : NULL, (ft_act)c->p[0]);
}
static void r_linear(const row *c, double **in, double *out)
{
    int64_t K = D(1, 1), N = D(1, 0);
    for (int64_t m = 0; m < count(c, 0) / K; m++)
        for (int64_t n = 0; n < N; n++) {
            double s = c->n > 2 ? in[2][n] : 0;
            for (int64_t k = 0; k < K; k++) s += in[0][m * K + k] * in[1][n * K + k];
            out[m * N + n] = act(c->p[0], s);
        }
}
static ft_conv_opt conv_opt(const row *c) /* p: stride 3, pad front 3, pad back 3, groups, activation */
{
    ft_conv_opt o = {.groups = c->p[9], .act = (ft_act)c->p[10]};
    for (int i = 0; i < 3; i++) o.stride[i] = c->p[i], o.pad_front[i] = c->p[3 + i], o.pad_back[i] = c->p[6 + i];
    return o;
}
static ft_t b_conv(ft_graph *g, ft_t *in, const row *c) { return ft_conv(g, in[0], in[1], c->n > 2 ? in[2] : NULL, conv_opt(c)); }
static ft_t b_conv_dw(ft_graph *g, ft_t *in, const row *c)
{
    return ft_conv_dw(g, in[0], in[1], c->n > 2 ? in[2] : NULL, conv_opt(c));
}
static ft_t b_conv_causal(ft_graph *g, ft_t *in, const row *c)
{
    return ft_conv_causal(g, in[0], in[1], c->n > 2 ? in[2] : NULL, (ft_act)c->p[0]);
}
static void r_conv_causal(const row *c, double **in, double *out)
{
    int64_t T = D(0, 1), C = D(0, 2), K = D(1, 2);
    for (int64_t i = 0; i < count(c, 0); i++) {
        int64_t ch = i % C, t = i / C % T;
        double p = c->n > 2 ? in[2][ch] : 0;
        for (int64_t k = 0; k < K; k++)
            if (t - K + 1 + k >= 0) p += in[1][ch * K + k] * in[0][i + (k - K + 1) * C];
        out[i] = act(c->p[0], p);
    }
}
static void r_conv(const row *c, double **in, double *out)
{
    int64_t C = D(0, 4), O = D(1, 0), I = D(1, 1), o[3];
    for (int i = 0; i < 3; i++) o[i] = (D(0, 1 + i) + c->p[3 + i] + c->p[6 + i] - D(1, 2 + i)) / c->p[i] + 1;
    bool dw = c->build == b_conv_dw;
    int64_t groups = c->p[9] ? c->p[9] : 1;
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
                                        s += in[0][(((b * D(0, 1) + tt) * D(0, 2) + hh) * D(0, 3) + ww) * C +
                                                   (dw ? n : n / (O / groups) * I + i)] *
                                             in[1][(((n * I + i) * D(1, 2) + x) * D(1, 3) + y) * D(1, 4) + z];
                                    }
                        *out++ = act(c->p[10], s);
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
    {"dropout", b_dropout, r_dropout, 1, {{2, {33, 33}, 0}}, {0}, 1, 1, 9},
    {"linear", b_linear, r_linear, 3, {{3, {3, 7, 33}, 0}, {2, {31, 33}, 0}, {1, {31}, F32}}, {0}, 33, 1, 9},
    {"linear_no_bias", b_linear, r_linear, 2, {{2, {130, 64}, 0}, {2, {17, 64}, 0}}, {0}, 130, 1, 9},
    {"linear_one", b_linear, r_linear, 3, {{2, {1, 1}, 0}, {2, {1, 1}, 0}, {1, {1}, F32}}, {0}, 1, 1, 9},
    {"linear_cut", b_linear, r_linear, 3, {{2, {51, 80}, 0}, {2, {70, 80}, 0}, {1, {70}, F32}}, {0}, 80, 1, 9}, /* its gradients in parts: rows, both */
    {"conv_cut", b_conv, r_conv, 3, {{5, {3, 2, 3, 4, 16}, 0}, {5, {40, 16, 3, 3, 3}, 0}, {1, {40}, F32}}, {S1, 1, 1, 1, 1, 1, 1}, 1080, 1, 9}, /* columns, both */
    {"conv_cut_images", b_conv, r_conv, 2, {{5, {1, 5, 8, 8, 8}, 0}, {5, {24, 8, 1, 3, 3}, 0}}, {S1, 0, 1, 1, 0, 1, 1}, 320, 1, 9},
    {"conv_3d", b_conv, r_conv, 3, {{5, {2, 4, 5, 7, 5}, 0}, {5, {9, 5, 3, 3, 3}, 0}, {1, {9}, F32}}, {S1, 2, 1, 1, 0, 1, 1}, 280, 1, 9},
    {"conv_2d_strided", b_conv, r_conv, 2, {{5, {2, 3, 8, 9, 3}, 0}, {5, {16, 3, 1, 3, 3}, 0}}, {1, 2, 2, 0, 1, 1, 0, 1, 1}, 120, 1, 9},
    {"conv_3d_strided", b_conv, r_conv, 3, {{5, {1, 5, 8, 8, 16}, 0}, {5, {16, 16, 3, 3, 3}, 0}, {1, {16}, F32}}, {2, 2, 2, 1, 0, 0, 1, 1, 1}, 432, 1, 9},
    {"dw_cube", b_conv_dw, r_conv, 3, {{5, {2, 3, 5, 6, 19}, 0}, {5, {19, 1, 3, 3, 3}, 0}, {1, {19}, F32}}, {S1, 1, 1, 1, 1, 1, 1}, 180, 1, 9},
    {"dw_strided", b_conv_dw, r_conv, 2, {{5, {2, 3, 7, 8, 16}, 0}, {5, {16, 1, 3, 3, 3}, 0}}, {1, 2, 2, 1, 1, 1, 1, 1, 1}, 100, 1, 9},
    {"dw_blocks", b_conv_dw, r_conv, 3, {{5, {2, 3, 4, 9, 70}, 0}, {5, {70, 1, 3, 3, 3}, 0}, {1, {70}, F32}}, {S1, 1, 1, 1, 1, 1, 1}, 216, 1, 9}, /* 64 channels and 6 */
    {"dw_bands", b_conv_dw, r_conv, 2, {{5, {1, 2, 100, 12, 16}, 0}, {5, {16, 1, 3, 3, 3}, 0}}, {S1, 1, 1, 1, 1, 1, 1}, 2400, 1, 9}, /* rows in two bands */
    {"dw_bands_strided", b_conv_dw, r_conv, 2, {{5, {1, 2, 100, 12, 16}, 0}, {5, {16, 1, 3, 3, 3}, 0}}, {1, 2, 2, 1, 1, 1, 1, 1, 1}, 600, 1, 9},
    {"dw_plane", b_conv_dw, r_conv, 3, {{5, {2, 2, 5, 7, 70}, 0}, {5, {70, 1, 1, 3, 3}, 0}, {1, {70}, F32}}, {S1, 0, 1, 1, 0, 1, 1}, 140, 1, 9}, /* of images */
    {"dw_time", b_conv_dw, r_conv, 2, {{5, {2, 7, 3, 3, 5}, 0}, {5, {5, 1, 5, 1, 1}, 0}}, {S1, 2, 0, 0, 2, 0, 0}, 126, 1, 9},
    {"dw_time_wide", b_conv_dw, r_conv, 3, {{5, {2, 7, 2, 3, 8}, 0}, {5, {8, 1, 5, 1, 1}, 0}, {1, {8}, F32}}, {S1, 2, 0, 0, 2, 0, 0}, 84, 1, 9},
    {"dw_tokens", b_conv_dw, r_conv, 3, {{5, {2, 13, 1, 1, 6}, 0}, {5, {6, 1, 3, 1, 1}, 0}, {1, {6}, F32}}, {2, 1, 1, 1, 0, 0, 1, 0, 0}, 26, 1, 9}, /* every other */
    {"dw_unpadded", b_conv_dw, r_conv, 2, {{5, {2, 5, 6, 9, 12}, 0}, {5, {12, 1, 3, 3, 3}, 0}}, {2, 2, 2, 0, 0, 0, 1, 1, 0}, 100, 1, 9}, /* strided, another phase */
    {"dw_causal_row", b_conv_dw, r_conv, 3, {{5, {3, 1, 1, 13, 33}, 0}, {5, {33, 1, 1, 1, 4}, 0}, {1, {33}, F32}}, {S1, 0, 0, 3, 0, 0, 0}, 40, 1, 9},
    {"permute_2d_transpose", b_permute, r_permute, 1, {{4, {1, 1, 33, 31}, 0}}, {0, 1, 3, 2}, 1, 1, 9},
    {"concat_first_axis", b_concat0, r_concat0, 2, {{2, {3, 31}, 0}, {2, {5, 31}, 0}}, {0}, 1, 1, 9},
    {"slices_tile", b_slices, r_slices, 1, {{2, {7, 33}, 0}}, {1}, 2, 2, 9},
    {"slices_overlap", b_slices, r_slices, 1, {{2, {7, 33}, 0}}, {0}, 3, 3, 9},
    {"slices_many", b_slices_many, r_slices_many, 1, {{2, {7, 33}, 0}}, {0}, 3, 3, 9},
    {"select", b_select, r_select, 1, {{3, {3, 7, 5}, 0}}, {4}, 1, 1, 9},
    {"pad_both", b_pad, r_pad, 1, {{3, {2, 3, 17}, 0}}, {2, 0, 3}, 1, 1, 9},
    {"roll", b_roll, r_roll, 1, {{3, {2, 7, 33}, 0}}, {3, 0}, 1, 1, 9},
    {"roll_back", b_roll, r_roll, 1, {{3, {2, 7, 1}, 0}}, {-9, 0}, 1, 1, 9},
    {"flip", b_roll, r_roll, 1, {{3, {2, 7, 31}, 0}}, {0, 1}, 1, 1, 9},
    {"resize_nearest", b_resize, r_resize, 1, {{3, {2, 5, 31}, 0}}, {13, FT_NEAREST}, 3, 1, 9},
    {"resize_nearest_down", b_resize, r_resize, 1, {{3, {2, 13, 31}, 0}}, {5, FT_NEAREST}, 3, 1, 9},
    {"resize_linear", b_resize, r_resize, 1, {{3, {2, 5, 33}, 0}}, {12, FT_LINEAR}, 6, 1, 9},
    {"resize_linear_down", b_resize, r_resize, 1, {{3, {2, 16, 3}, 0}}, {5, FT_LINEAR}, 6, 1, 9},
    {"resize_corners", b_resize, r_resize, 1, {{3, {2, 5, 33}, 0}}, {13, FT_LINEAR_CORNERS}, 6, 1, 9},
    {"resize_cubic", b_resize, r_resize, 1, {{3, {1, 14, 33}, 0}}, {8, FT_CUBIC, 579}, 8, 1, 9},
    {"resize_tf1", b_resize, r_resize, 1, {{3, {2, 5, 33}, 0}}, {13, FT_LINEAR_TF1}, 6, 1, 9},
    {"resize_smooth_down", b_resize, r_resize_smooth, 1, {{3, {2, 16, 31}, 0}}, {5, FT_LINEAR_SMOOTH}, 10, 1, 9},
    {"resize_smooth_cubic", b_resize, r_resize_smooth, 1, {{3, {2, 5, 33}, 0}}, {13, FT_CUBIC_SMOOTH}, 8, 1, 9},
    {"resize_smooth_cubic_down", b_resize, r_resize_smooth, 1, {{3, {2, 16, 31}, 0}}, {5, FT_CUBIC_SMOOTH}, 16, 1, 9},
    {"pool_max", b_pool, r_pool, 1, {{5, {2, 4, 5, 7, 17}, DISTINCT}}, {3, 3, 3, 2, 2, 2, 1, 1, 1, FT_POOL_MAX}, 8, 8, 9},
    {"pool_max_2x2", b_pool, r_pool, 1, {{5, {2, 1, 6, 8, 33}, DISTINCT}}, {1, 2, 2, 1, 2, 2, 0, 0, 0, FT_POOL_MAX}, 1, 1, 9},
    {"pool_avg", b_pool, r_pool, 1, {{5, {2, 3, 5, 7, 31}, 0}}, {1, 3, 3, 1, 1, 1, 0, 1, 1, FT_POOL_AVG}, 20, 9, 9},
    {"pool_sum", b_pool, r_pool, 1, {{5, {1, 4, 4, 6, 5}, 0}}, {2, 2, 2, 2, 2, 2, 0, 0, 0, FT_POOL_SUM}, 8, 1, 9},
    {"leaky_relu", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_LEAKY_RELU}, 1, 1, 9},
    {"leaky_relu_within", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_LEAKY_RELU, 1}, 1, 1, 9},
    {"gelu", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_GELU}, 4, 1, 9},
    {"gelu_tanh", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_GELU_TANH}, 4, 1, 9},
    {"softplus", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_SOFTPLUS}, 4, 1, 9},
    {"log", b_unary, r_unary, 1, {{2, {33, 31}, POSITIVE}}, {FT_LOG}, 4, 1, 9},
    {"sqrt", b_unary, r_unary, 1, {{2, {33, 31}, POSITIVE}}, {FT_SQRT}, 4, 1, 9},
    {"rsqrt", b_unary, r_unary, 1, {{2, {33, 31}, POSITIVE}}, {FT_RSQRT}, 4, 1, 9},
    {"reciprocal", b_unary, r_unary, 1, {{2, {33, 31}, POSITIVE}}, {FT_RECIPROCAL}, 4, 1, 9},
    {"sin", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_SIN}, 4, 1, 9},
    {"step", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_STEP}, 1, 1, 9},
    {"cos", b_unary, r_unary, 1, {{2, {33, 31}, 0}}, {FT_COS}, 4, 1, 9},
    {"div_rows", b_binary, r_binary, 2, {{3, {3, 7, 31}, 0}, {3, {3, 1, 31}, POSITIVE}}, {FT_DIV}, 16, 4, 9},
    {"geglu", b_glu, r_glu, 1, {{2, {33, 62}, 0}}, {FT_ACT_GELU, 0}, 4, 1, 9},
    {"geglu_last", b_glu, r_glu, 1, {{2, {3, 2100}, 0}}, {FT_ACT_GELU, 1}, 4, 1, 9},
    {"swiglu", b_glu, r_glu, 1, {{2, {31, 66}, 0}}, {FT_ACT_SILU, 0}, 4, 1, 9},
    {"glu_sigmoid", b_glu, r_glu, 1, {{2, {31, 2}, 0}}, {FT_ACT_SIGMOID, 1}, 4, 1, 9},
    {"glu_tanh_gelu", b_glu, r_glu, 1, {{2, {7, 64}, 0}}, {FT_ACT_GELU_TANH, 0}, 4, 1, 9},
    {"glu_relu", b_glu, r_glu, 1, {{2, {7, 64}, 0}}, {FT_ACT_RELU, 0}, 4, 1, 9},
    {"glu_plain", b_glu, r_glu, 1, {{2, {7, 64}, 0}}, {FT_ACT_NONE, 0}, 4, 1, 9},
    {"softmax", b_softmax, r_softmax, 1, {{3, {3, 7, 33}, 0}}, {0}, 40, 2, 9},
    {"softmax_wide", b_softmax, r_softmax, 1, {{2, {5, 1031}, WIDE}}, {0}, 300, 2, 9},
    {"softmax_one", b_softmax, r_softmax, 1, {{2, {5, 1}, 0}}, {0}, 4, 2, 9},
    {"l2_normalize", b_l2, r_l2, 1, {{2, {31, 33}, 0}}, {0}, 40, 2, 9},
    {"l2_normalize_short", b_l2, r_l2, 1, {{2, {31, 17}, 0}}, {100}, 40, 1, 9},
    {"drop_path", b_drop_path, r_drop_path, 1, {{3, {13, 5, 231}, 0}}, {0}, 1, 1, 9, true}, /* 0 where dropped, not 0 * NaN */
    {"residual", b_residual, r_residual, 2, {{3, {13, 5, 231}, 0}, {3, {13, 5, 231}, 0}}, {0}, 2, 1, 9, true},
    {"residual_odd", b_residual, r_residual, 2, {{2, {7, 33}, 0}, {2, {7, 33}, 0}}, {0}, 2, 1, 9, true},
    {"q_sample", b_q_sample, r_q_sample, 2, {{5, {3, 2, 3, 5, 7}, 0}, {2, {3, 2}, F32}}, {0}, 8, 1, 1},
    {"randn", b_randn, r_randn, 1, {{2, {33, 63}, 0}}, {0}, 2, 2, 9},
    {"uniform", b_randn, r_randn, 1, {{2, {33, 62}, 0}}, {1}, 2, 2, 9},
    {"combine", b_combine, r_combine, 3, {{3, {3, 7, 31}, F32}, {1, {4}, F32}, {3, {3, 7, 31}, F32}}, {0}, 4, 0, 0},
    {"combine_five", b_combine, r_combine, 6, {{2, {2, 1024}, F32}, {1, {10}, F32}, {2, {2, 1024}, F32}, {2, {2, 1024}, F32}, {2, {2, 1024}, F32}, {2, {2, 1024}, F32}}, {0}, 8, 0, 0},
    {"combine_noise", b_combine, r_combine, 3, {{2, {3, 4102}, F32}, {1, {7}, F32 | POSITIVE | WIDE}, {2, {3, 4102}, F32}}, {1}, 8, 0, 0},
    {"combine_share", b_combine, r_combine, 4, {{3, {3, 5, 17}, F32}, {1, {11}, F32 | POSITIVE | WIDE}, {3, {3, 5, 17}, F32}, {3, {3, 5, 17}, F32}}, {1, 1}, 16, 0, 0},
    {"timestep_embed", b_timestep, r_timestep, 1, {{1, {5}, F32 | WIDE}}, {64}, 8, 0, 0},
    {"q_sample_long", b_q_sample, r_q_sample, 2, {{5, {3, 5, 11, 13, 2}, 0}, {2, {3, 2}, F32}}, {0}, 8, 1, 1},
    {"reduce_rows_wide", b_reduce, r_reduce, 1, {{2, {7, 601}, 0}}, {1, 0}, 7, 1, 9},
    {"matmul", b_matmul, r_matmul, 2, {{3, {3, 17, 33}, 0}, {3, {3, 33, 31}, 0}}, {0, 0}, 33, 1, 9},
    {"matmul_ta", b_matmul, r_matmul, 2, {{3, {2, 33, 17}, 0}, {3, {2, 33, 5}, 0}}, {1, 0}, 33, 1, 9},
    {"matmul_tb", b_matmul, r_matmul, 2, {{3, {2, 17, 64}, 0}, {3, {2, 31, 64}, 0}}, {0, 1}, 64, 1, 9},
    {"matmul_both", b_matmul, r_matmul, 2, {{3, {1, 7, 1}, 0}, {3, {1, 13, 7}, 0}}, {1, 1}, 13, 1, 9},
    {"linear_relu", b_linear, r_linear, 3, {{2, {7, 33}, 0}, {2, {31, 33}, 0}, {1, {31}, F32}}, {FT_ACT_RELU}, 33, 2, 9, true}, /* relu kinks */
    {"linear_silu_eval", b_linear, r_linear, 3, {{2, {7, 33}, 0}, {2, {31, 33}, 0}, {1, {31}, F32}}, {FT_ACT_SILU, 1}, 60, 2, 9},
    {"linear_gelu_eval", b_linear, r_linear, 3, {{2, {7, 33}, 0}, {2, {31, 33}, 0}, {1, {31}, F32}}, {FT_ACT_GELU, 1}, 60, 2, 9},
    {"linear_gelu_tanh_train", b_linear, r_linear, 2, {{2, {7, 33}, 0}, {2, {31, 33}, 0}}, {FT_ACT_GELU_TANH, 0}, 60, 3, 9},
    {"linear_sigmoid_eval", b_linear, r_linear, 2, {{2, {7, 33}, 0}, {2, {31, 33}, 0}}, {FT_ACT_SIGMOID, 1}, 60, 2, 9},
    {"conv_groups", b_conv, r_conv, 3, {{5, {2, 3, 5, 7, 32}, 0}, {5, {32, 16, 3, 3, 3}, 0}, {1, {32}, F32}}, {S1, 1, 1, 1, 1, 1, 1, 2}, 440, 1, 9},
    {"conv_groups_2d", b_conv, r_conv, 2, {{5, {1, 2, 6, 7, 6}, 0}, {5, {9, 2, 1, 3, 3}, 0}}, {1, 2, 2, 0, 1, 1, 0, 1, 1, 3}, 60, 1, 9},
    {"conv_silu", b_conv, r_conv, 3, {{5, {1, 2, 5, 7, 5}, 0}, {5, {9, 5, 1, 3, 3}, 0}, {1, {9}, F32}}, {S1, 0, 1, 1, 0, 1, 1, 0, FT_ACT_SILU}, 120, 2, 9},
    {"conv_strided_frames", b_conv, r_conv, 3, {{5, {2, 4, 6, 8, 16}, 0}, {5, {16, 16, 4, 3, 3}, 0}, {1, {16}, F32}}, {2, 1, 1, 1, 1, 1, 1, 1, 1}, 600, 1, 9},
    {"conv_strided_frames_odd", b_conv, r_conv, 2, {{5, {1, 3, 5, 7, 7}, 0}, {5, {5, 7, 3, 3, 3}, 0}}, {2, 2, 2, 1, 1, 1, 1, 1, 1}, 260, 1, 9},
    {"conv_1x1", b_conv, r_conv, 2, {{5, {2, 2, 3, 5, 31}, 0}, {5, {33, 31, 1, 1, 1}, 0}}, {S1, 0, 0, 0, 0, 0, 0}, 60, 1, 9},
    {"conv_transpose", b_conv_t, r_conv_t, 3, {{5, {1, 2, 3, 4, 5}, 0}, {5, {5, 7, 4, 4, 4}, 0}, {1, {7}, F32}}, {2, 2, 2, 1, 1, 1, 1, 1, 1}, 320, 2, 9},
    {"conv_transpose_2d", b_conv_t, r_conv_t, 2, {{5, {2, 2, 5, 4, 16}, 0}, {5, {16, 3, 1, 3, 3}, 0}}, {1, 2, 2, 0, 1, 1, 0, 1, 1}, 150, 1, 9},
    {"conv_modulated", b_conv_mod, r_conv_mod, 3, {{5, {2, 1, 5, 6, 7}, 0}, {5, {9, 7, 1, 3, 3}, 0}, {2, {2, 7}, F32}}, {S1, 0, 1, 1, 0, 1, 1}, 200, 6, 9},
    {"causal_silu", b_conv_causal, r_conv_causal, 3, {{3, {3, 13, 257}, 0}, {3, {257, 1, 4}, F32}, {1, {257}, F32}}, {FT_ACT_SILU}, 60, 1, 9},
    {"causal_plain", b_conv_causal, r_conv_causal, 2, {{3, {35, 2, 31}, 0}, {3, {31, 1, 3}, F32}}, {FT_ACT_NONE}, 90, 1, 9},
    {"causal_one", b_conv_causal, r_conv_causal, 3, {{3, {1, 33, 32}, 0}, {3, {32, 1, 16}, F32}, {1, {32}, F32}}, {FT_ACT_SILU}, 60, 1, 9},
    {"dw_pointwise_time", b_conv_dw, r_conv, 2, {{5, {1, 31, 1, 1, 33}, 0}, {5, {33, 1, 3, 1, 1}, 0}}, {S1, 1, 0, 0, 1, 0, 0}, 64, 1, 9},
};
/* clang-format on */
const table cases_basic = {cases, sizeof cases / sizeof *cases};
