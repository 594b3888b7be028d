/* What oneDNN and FFTW do on the CPU, as plain loops: for the device suite, on machines that have neither. Sums are in double. */
#define FT_ISA base
#include "kernels/cpu/cpu.h"

static float at(const ft_buf *b, int64_t i)
{
    float tmp;
    return *ft_load(&tmp, b, i, 1);
}
static void set(const ft_buf *b, int64_t i, double v)
{
    float f = (float)v;
    ft_store_at(b, i, &f, 1);
}
/* weights and the storage they are multiplied in */
static double weight(const ft_buf *w, int64_t i, ft_dtype type)
{
    float v = at(w, i);
    return (double)(type == FT_BF16 && w->dtype == FT_F32 ? ft_from_bf16(ft_to_bf16(v)) : v);
}

extern const ft_backend ft_backend_cpu_table_base;
const ft_backend *ft_backend_cpu(void) { return &ft_backend_cpu_table_base; }
bool ft_cpu_has_bf16(void) { return true; }
const char *ft_cpu_library(void) { return "plain C"; }
int ft_threads_get(void);
int ft_cpu_threads(void) { return ft_threads_get(); }
int omp_get_thread_num(void);
int ft_cpu_thread_id(void) { return omp_get_thread_num(); }

#define NOTHING(name)                                                                                                            \
    int ft_prepare_##name(ft_call *c)                                                                                            \
    {                                                                                                                            \
        (void)c;                                                                                                                 \
        return FT_OK;                                                                                                            \
    }
NOTHING(linear)
NOTHING(linear_bwd_x)
NOTHING(linear_bwd_w)
NOTHING(matmul)
NOTHING(conv)
NOTHING(conv_bwd_x)
NOTHING(conv_bwd_w)

void ft_cpu_linear(const ft_call *c)
{
    const ft_buf *x = c->in[0], *w = c->in[1], *y = c->out[0];
    int64_t n = ft_last(y), k = ft_last(x), m = x->count / k;
#pragma omp parallel for
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = c->in[2] ? (double)at(c->in[2], j) : 0;
            for (int64_t l = 0; l < k; l++) s += (double)at(x, i * k + l) * weight(w, j * k + l, x->dtype);
            set(y, i * n + j, (double)ft_act1(c->attr->matmul.act, (float)s));
        }
}
void ft_cpu_linear_bwd_x(const ft_call *c)
{
    const ft_buf *dy = c->in[0], *w = c->in[1], *before = c->n_in > 2 ? c->in[2] : NULL, *dx = c->out[0];
    int64_t n = ft_last(dy), k = ft_last(dx), m = dx->count / k;
#pragma omp parallel for
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++) {
            double s = before ? (double)at(before, i * k + l) : 0;
            for (int64_t j = 0; j < n; j++) s += (double)at(dy, i * n + j) * weight(w, j * k + l, dx->dtype);
            set(dx, i * k + l, s);
        }
}
void ft_cpu_linear_bwd_w(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1], *dw = c->out[0], *db = c->n_out > 1 ? c->out[1] : NULL;
    int64_t n = ft_last(dy), k = ft_last(x), m = x->count / k;
#pragma omp parallel for
    for (int64_t j = 0; j < n; j++) {
        for (int64_t l = 0; dw && l < k; l++) {
            double s = 0;
            for (int64_t i = 0; i < m; i++) s += (double)at(dy, i * n + j) * (double)at(x, i * k + l);
            set(dw, j * k + l, s);
        }
        double s = 0;
        for (int64_t i = 0; db && i < m; i++) s += (double)at(dy, i * n + j);
        if (db) set(db, j, s);
    }
}
void ft_cpu_matmul(const ft_call *c)
{
    const ft_buf *a = c->in[0], *b = c->in[1], *y = c->out[0];
    int64_t m = y->dim[y->ndim - 2], n = ft_last(y), batch = y->count / m / n, k = a->count / batch / m;
    bool ta = c->attr->matmul.ta, tb = c->attr->matmul.tb;
#pragma omp parallel for
    for (int64_t q = 0; q < batch * m; q++)
        for (int64_t j = 0; j < n; j++) {
            int64_t g = q / m, i = q % m;
            double s = 0;
            for (int64_t l = 0; l < k; l++)
                s += (double)at(a, g * m * k + (ta ? l * m + i : i * k + l)) *
                     (double)at(b, g * k * n + (tb ? j * k + l : l * n + j));
            set(y, q * n + j, s);
        }
}

typedef struct {
    const ft_conv_opt *o;
    const ft_buf *x, *y;
    int64_t groups, pc, po, taps;
} conv;
static conv conv_of(const ft_call *c, const ft_buf *x, const ft_buf *y)
{
    const ft_conv_opt *o = &c->attr->conv;
    int64_t g = o->groups > 1 ? o->groups : 1;
    return (conv){o, x, y, g, x->dim[4] / g, y->dim[4] / g, o->kernel[0] * o->kernel[1] * o->kernel[2]};
}
/* position of x that output row r reads at a tap; -1: outside */
static int64_t reads(const conv *v, int64_t r, int64_t tap)
{
    int64_t p[3], t[3], row = r, pos = 0;
    for (int i = 2; i >= 0; i--)
        p[i] = row % v->y->dim[1 + i], row /= v->y->dim[1 + i], t[i] = tap % v->o->kernel[i], tap /= v->o->kernel[i];
    pos = row;
    for (int i = 0; i < 3; i++) {
        int64_t q = p[i] * v->o->stride[i] - v->o->pad_front[i] + t[i];
        if (q < 0 || q >= v->x->dim[1 + i]) return -1;
        pos = pos * v->x->dim[1 + i] + q;
    }
    return pos;
}
void ft_cpu_conv(const ft_call *c)
{
    const ft_buf *x = c->in[0], *w = c->in[1], *y = c->out[0];
    conv v = conv_of(c, x, y);
    int64_t C = x->dim[4], O = y->dim[4];
#pragma omp parallel for
    for (int64_t r = 0; r < y->count / O; r++)
        for (int64_t o = 0; o < O; o++) {
            double s = c->in[2] ? (double)at(c->in[2], o) : 0;
            for (int64_t t = 0; t < v.taps; t++) {
                int64_t pos = reads(&v, r, t);
                for (int64_t k = 0; pos >= 0 && k < v.pc; k++)
                    s += (double)at(x, pos * C + o / v.po * v.pc + k) * weight(w, (o * v.pc + k) * v.taps + t, x->dtype);
            }
            set(y, r * O + o, (double)ft_act1(v.o->act, (float)s));
        }
}
void ft_cpu_conv_bwd_x(const ft_call *c)
{
    const ft_buf *dy = c->in[0], *w = c->in[1], *dx = c->out[0];
    conv v = conv_of(c, dx, dy);
    int64_t C = dx->dim[4], O = dy->dim[4], rows = dy->count / O / dy->dim[0], ins = dx->count / dx->dim[0];
#pragma omp parallel for
    for (int64_t b = 0; b < dx->dim[0]; b++) {
        double *sum = calloc((size_t)ins, sizeof *sum);
        for (int64_t r = b * rows; r < (b + 1) * rows; r++)
            for (int64_t t = 0; t < v.taps; t++) {
                int64_t pos = reads(&v, r, t);
                for (int64_t o = 0; pos >= 0 && o < O; o++)
                    for (int64_t k = 0; k < v.pc; k++)
                        sum[pos * C + o / v.po * v.pc + k - b * ins] +=
                            (double)at(dy, r * O + o) * weight(w, (o * v.pc + k) * v.taps + t, dx->dtype);
            }
        for (int64_t i = 0; i < ins; i++) set(dx, b * ins + i, sum[i]);
        free(sum);
    }
}
void ft_cpu_conv_bwd_w(const ft_call *c)
{
    const ft_buf *x = c->in[0], *dy = c->in[1], *dw = c->out[0], *db = c->n_out > 1 ? c->out[1] : NULL;
    conv v = conv_of(c, x, dy);
    int64_t C = x->dim[4], O = dy->dim[4], rows = dy->count / O;
#pragma omp parallel for
    for (int64_t o = 0; o < O; o++) {
        double s = 0, *sum = calloc((size_t)(v.pc * v.taps), sizeof *sum);
        for (int64_t r = 0; r < rows; r++) {
            double d = (double)at(dy, r * O + o);
            s += d;
            for (int64_t t = 0; dw && t < v.taps; t++) {
                int64_t pos = reads(&v, r, t);
                for (int64_t k = 0; pos >= 0 && k < v.pc; k++)
                    sum[k * v.taps + t] += d * (double)at(x, pos * C + o / v.po * v.pc + k);
            }
        }
        for (int64_t i = 0; dw && i < v.pc * v.taps; i++) set(dw, o * v.pc * v.taps + i, sum[i]);
        if (db) set(db, o, s);
        free(sum);
    }
}

/* focal frequency loss: a direct transform, one row or column of exponentials at a time */
static double plane(const ft_call *c, int64_t p, double *re, double *im)
{
    const ft_buf *x = c->in[0], *t = c->in[1];
    int64_t H = x->dim[2], W = x->dim[3], ch = x->dim[4], f = p / ch, k = p % ch;
    double top = 0, total = 0, *tr = calloc((size_t)(2 * H * W), sizeof *tr), *ti = tr + H * W;
    for (int64_t h = 0; h < H; h++)
        for (int64_t v = 0; v < W; v++)
            for (int64_t w = 0; w < W; w++) {
                int64_t i = ((f * H + h) * W + w) * ch + k;
                double d = (double)at(x, i) - (double)at(t, i), a = -2 * M_PI * (double)(v * w % W) / (double)W;
                tr[h * W + v] += d * cos(a), ti[h * W + v] += d * sin(a);
            }
    for (int64_t u = 0; u < H; u++)
        for (int64_t v = 0; v < W; v++) {
            double a = 0, b = 0;
            for (int64_t h = 0; h < H; h++) {
                double g = -2 * M_PI * (double)(u * h % H) / (double)H;
                a += tr[h * W + v] * cos(g) - ti[h * W + v] * sin(g);
                b += tr[h * W + v] * sin(g) + ti[h * W + v] * cos(g);
            }
            re[u * W + v] = a / sqrt((double)(H * W)), im[u * W + v] = b / sqrt((double)(H * W));
            top = fmax(top, pow(hypot(re[u * W + v], im[u * W + v]), (double)c->attr->scalar.a));
        }
    for (int64_t i = 0; i < H * W; i++) {
        double m = hypot(re[i], im[i]), w = top > 0 ? pow(m, (double)c->attr->scalar.a) / top : 0;
        total += w * m * m;
        re[i] *= w, im[i] *= w;
    }
    free(tr);
    return total;
}
int FT_PREPARE(focal_frequency)(ft_call *c) { return (void)c, FT_OK; }
int FT_PREPARE(focal_frequency_bwd)(ft_call *c) { return (void)c, FT_OK; }
void FT_CPU(focal_frequency)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t hw = x->dim[2] * x->dim[3];
    double total = 0, *re = calloc((size_t)(2 * hw), sizeof *re);
    for (int64_t p = 0; p < x->dim[0] * x->dim[1] * x->dim[4]; p++) total += plane(c, p, re, re + hw);
    free(re);
    set(c->out[0], 0, total / (double)x->count);
}
void FT_CPU(focal_frequency_bwd)(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t H = x->dim[2], W = x->dim[3], hw = H * W, ch = x->dim[4];
    double g = 2 * (double)at(c->in[2], 0) / (double)x->count, *re = calloc((size_t)(2 * hw), sizeof *re), *im = re + hw;
    for (int64_t p = 0; p < x->dim[0] * x->dim[1] * ch; p++) {
        plane(c, p, re, im);
        for (int64_t h = 0; h < H; h++)
            for (int64_t w = 0; w < W; w++) {
                double s = 0;
                for (int64_t u = 0; u < H; u++)
                    for (int64_t v = 0; v < W; v++) {
                        double a = 2 * M_PI * ((double)(u * h % H) / (double)H + (double)(v * w % W) / (double)W);
                        s += re[u * W + v] * cos(a) - im[u * W + v] * sin(a);
                    }
                set(c->out[0], ((p / ch * H + h) * W + w) * ch + p % ch, g * s / sqrt((double)hw));
            }
    }
    free(re);
}
