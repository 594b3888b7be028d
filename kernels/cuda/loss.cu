/* Losses. Each gives one f32 (or one per row): sums of a fixed number of blocks, added in order by a second kernel. */
#include "kernels/cuda/cuda.cuh"

enum { PARTS = 256 };
static unsigned parts_for(int64_t n) { return ft_blocks(n, FT_THREADS) < PARTS ? ft_blocks(n, FT_THREADS) : (unsigned)PARTS; }
static int need_parts(ft_call *c)
{
    c->work_size = PARTS * sizeof(float);
    return FT_OK;
}
static void finish(const ft_call *c, unsigned parts, double divisor)
{
    ft_cuda_sum_rows(c->out[0]->data, FT_F32, (const float *)c->work, 1, parts, 1, 1, (float)(1.0 / divisor));
}
FT_DEV void leave(float *part, float sum)
{
    sum = ft_sum<FT_THREADS>(sum);
    if (threadIdx.x == 0) part[blockIdx.x] = sum;
}

/* ---- pointwise losses and their mean ------------------------------------------------------------------------------------ */

template <typename X, typename T>
static __global__ void loss_mean(float *part, const X *x, const T *t, const float *weight, int64_t n, int64_t per_sample,
                                 int kind, float delta)
{
    float sum = 0, run = 0;
    int k = 0;
    FT_EACH(i, n)
    {
        run += ft_loss1((ft_loss_kind)kind, delta, ft_get(x + i), ft_get(t + i)) * (weight ? weight[i / per_sample] : 1.0f);
        if (++k % 64 == 0) sum += run, run = 0;
    }
    leave(part, sum + run);
}
template <typename X, typename T>
static __global__ void loss_mean_bwd(X *dx, const X *x, const T *t, const float *weight, const float *dloss, int64_t n,
                                     int64_t per_sample, int kind, float delta)
{
    float g = *dloss / (float)n;
    FT_EACH(i, n)
    ft_put(dx + i,
           g * (weight ? weight[i / per_sample] : 1.0f) * ft_loss_d1((ft_loss_kind)kind, delta, ft_get(x + i), ft_get(t + i)));
}

extern "C" int ft_cuda_prepare_loss_mean(ft_call *c) { return need_parts(c); }
extern "C" void ft_cuda_loss_mean(const ft_call *c)
{
    const ft_buf *x = c->in[0], *t = c->in[1];
    unsigned parts = parts_for(x->count);
    FT_BY_TYPES(x, t,
                FT_LAUNCH((loss_mean<X, T>), parts, FT_THREADS, 0, ft_cuda_stream, (float *)c->work, ft_as<const X>(x),
                          ft_as<const T>(t), ft_as<const float>(c->in[2]), x->count, x->count / x->dim[0], c->attr->scalar.kind,
                          c->attr->scalar.a));
    finish(c, parts, (double)x->count);
}

/* in: x target weight dloss; out: dx */
extern "C" void ft_cuda_loss_mean_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0], *t = c->in[1];
    FT_BY_TYPES(x, t,
                FT_RUN((loss_mean_bwd<X, T>), x->count, ft_as<X>(c->out[0]), ft_as<const X>(x), ft_as<const T>(t),
                       ft_as<const float>(c->in[2]), ft_as<const float>(c->in[3]), x->count, x->count / x->dim[0],
                       c->attr->scalar.kind, c->attr->scalar.a));
}

/* ---- classification: f32, few rows, one block; double as on the CPU ----------------------------------------------------- */

FT_DEV double log_sum_exp(const float *z, int64_t n)
{
    double top = z[0], s = 0;
    for (int64_t k = 1; k < n; k++) top = (double)z[k] > top ? (double)z[k] : top;
    for (int64_t k = 0; k < n; k++) s += exp((double)z[k] - top);
    return top + log(s);
}
/* target of row r: probabilities (B,C) or a class (B); class -1 counts nothing */
FT_DEV double target_of(const float *soft, const int32_t *hard, int64_t r, int64_t k, int64_t n)
{
    return hard ? (double)(hard[r] == k) : (double)soft[r * n + k];
}

static __global__ void softmax_xent(float *loss, const float *z, const float *soft, const int32_t *hard, const float *w,
                                    int64_t rows, int64_t n)
{
    double total = 0;
    for (int64_t r = threadIdx.x; r < rows; r += FT_THREADS) {
        double lse = log_sum_exp(z + r * n, n), h = 0;
        for (int64_t k = 0; k < n; k++) h += target_of(soft, hard, r, k, n) * (lse - (double)z[r * n + k]);
        total += w ? (double)w[r] * h : h;
    }
    total = ft_sum<FT_THREADS>(total);
    if (threadIdx.x == 0) *loss = (float)(total / (double)rows);
}
static __global__ void softmax_xent_bwd(float *dz, const float *z, const float *soft, const int32_t *hard, const float *w,
                                        const float *dloss, int64_t rows, int64_t n)
{
    double g = (double)*dloss / (double)rows;
    FT_EACH(r, rows)
    {
        double lse = log_sum_exp(z + r * n, n), mass = 0;
        for (int64_t k = 0; k < n; k++) mass += target_of(soft, hard, r, k, n);
        for (int64_t k = 0; k < n; k++)
            dz[r * n + k] =
                (float)((w ? (double)w[r] : 1.0) * g * (exp((double)z[r * n + k] - lse) * mass - target_of(soft, hard, r, k, n)));
    }
}

static const float *soft_target(const ft_buf *t) { return t->dtype == FT_I32 ? NULL : (const float *)t->data; }
static const int32_t *hard_target(const ft_buf *t) { return t->dtype == FT_I32 ? (const int32_t *)t->data : NULL; }

extern "C" void ft_cuda_softmax_xent(const ft_call *c)
{
    const ft_buf *z = c->in[0];
    FT_LAUNCH((softmax_xent), 1, FT_THREADS, 0, ft_cuda_stream, ft_as<float>(c->out[0]), ft_as<const float>(z),
              soft_target(c->in[1]), hard_target(c->in[1]), ft_as<const float>(c->in[2]), z->dim[0], z->dim[1]);
}
/* in: logits target weight dloss; out: dlogits */
extern "C" void ft_cuda_softmax_xent_bwd(const ft_call *c)
{
    const ft_buf *z = c->in[0];
    FT_RUN((softmax_xent_bwd), z->dim[0], ft_as<float>(c->out[0]), ft_as<const float>(z), soft_target(c->in[1]),
           hard_target(c->in[1]), ft_as<const float>(c->in[2]), ft_as<const float>(c->in[3]), z->dim[0], z->dim[1]);
}

static __global__ void pseudo_label(float *y, float *w, const float *z, int64_t rows, int64_t n, float threshold)
{
    FT_EACH(r, rows)
    {
        int64_t best = 0;
        for (int64_t k = 1; k < n; k++)
            if (z[r * n + k] > z[r * n + best]) best = k;
        for (int64_t k = 0; k < n; k++) y[r * n + k] = k == best;
        w[r] = exp((double)z[r * n + best] - log_sum_exp(z + r * n, n)) >= (double)threshold;
    }
}
extern "C" void ft_cuda_pseudo_label(const ft_call *c)
{
    const ft_buf *z = c->in[0];
    FT_RUN((pseudo_label), z->dim[0], ft_as<float>(c->out[0]), ft_as<float>(c->out[1]), ft_as<const float>(z), z->dim[0],
           z->dim[1], c->attr->scalar.a);
}

/* ---- KL of N(mean, e^logvar) to N(0, 1): moments (rows, 2Z) as mean|logvar; summed, mean over the batch ----------------- */

template <typename T> static __global__ void gauss_kl(float *part, const T *x, int64_t rows, int64_t n)
{
    float sum = 0;
    FT_EACH(i, rows * n)
    {
        const T *row = x + i / n * 2 * n + i % n;
        float mean = ft_get(row), logvar = ft_get(row + n);
        sum += 0.5f * (mean * mean + ft_exp1(logvar) - 1.0f - logvar);
    }
    leave(part, sum);
}
template <typename T>
static __global__ void gauss_kl_bwd(T *d, const T *x, const float *dloss, int64_t rows, int64_t n, float samples)
{
    float g = *dloss / samples;
    FT_EACH(i, rows * n)
    {
        int64_t at = i / n * 2 * n + i % n;
        ft_put(d + at, g * ft_get(x + at));
        ft_put(d + at + n, 0.5f * g * (ft_exp1(ft_get(x + at + n)) - 1.0f));
    }
}

extern "C" int ft_cuda_prepare_gauss_kl(ft_call *c) { return need_parts(c); }
extern "C" void ft_cuda_gauss_kl(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = x->dim[x->ndim - 1] / 2;
    unsigned parts = parts_for(x->count / 2);
    FT_BY_TYPE(x->dtype, FT_LAUNCH((gauss_kl<T>), parts, FT_THREADS, 0, ft_cuda_stream, (float *)c->work, ft_as<const T>(x),
                                   x->count / n / 2, n));
    finish(c, parts, (double)x->dim[0]);
}
/* in: moments dloss; out: dmoments */
extern "C" void ft_cuda_gauss_kl_bwd(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    int64_t n = x->dim[x->ndim - 1] / 2;
    FT_BY_TYPE(x->dtype, FT_RUN((gauss_kl_bwd<T>), x->count / 2, ft_as<T>(c->out[0]), ft_as<const T>(x),
                                ft_as<const float>(c->in[1]), x->count / n / 2, n, (float)x->dim[0]));
}

/* ---- learned-range variance (Nichol & Dhariwal 2021), in bits
 * ---------------------------------------------------------- coefficient (B, 8): x0 from (xt, eps): c0 xt - c1 eps; posterior
 * mean c2 x0 + c3 xt; log beta_t, log beta~_t (clipped), t == 0. */

template <typename T>
static __global__ void vlb(float *part, T *d, const T *nu, const T *eps, const T *x0, const T *xt, const float *coefficient,
                           const float *dloss, int64_t n, int64_t per_sample)
{
    float sum = 0, scale = dloss ? *dloss / (float)((double)n * 0.69314718055994531) : 0;
    FT_EACH(i, n)
    {
        double slope, y = ft_vlb1(coefficient + i / per_sample * 8, (double)ft_get(nu + i), (double)ft_get(eps + i),
                                  (double)ft_get(x0 + i), (double)ft_get(xt + i), &slope);
        if (d) ft_put(d + i, scale * (float)slope);
        sum += (float)y;
    }
    if (part) leave(part, sum);
}

static void vlb_run(const ft_call *c, unsigned blocks, bool backward)
{
    const ft_buf *nu = c->in[0];
    FT_BY_TYPE(nu->dtype,
               FT_LAUNCH((vlb<T>), blocks, FT_THREADS, 0, ft_cuda_stream, backward ? (float *)NULL : (float *)c->work,
                         backward ? ft_as<T>(c->out[0]) : (T *)NULL, ft_as<const T>(nu), ft_as<const T>(c->in[1]),
                         ft_as<const T>(c->in[2]), ft_as<const T>(c->in[3]), ft_as<const float>(c->in[4]),
                         backward ? ft_as<const float>(c->in[5]) : (const float *)NULL, nu->count, nu->count / nu->dim[0]));
}
extern "C" int ft_cuda_prepare_vlb(ft_call *c) { return need_parts(c); }
extern "C" void ft_cuda_vlb(const ft_call *c)
{
    unsigned parts = parts_for(c->in[0]->count);
    vlb_run(c, parts, false);
    finish(c, parts, (double)c->in[0]->count * 0.69314718055994531);
}
/* in: nu eps x0 xt coefficient dloss; out: dnu */
extern "C" void ft_cuda_vlb_bwd(const ft_call *c) { vlb_run(c, ft_blocks(c->in[0]->count, FT_THREADS), true); }

/* ---- Pearson correlation over the last axis: sums in double, since a mean is taken off ---------------------------------- */

template <typename T, int G>
FT_DEV double correlate(const T *a, const T *b, int64_t n, double mean[2], double inverse[2]) /* inverse: 0 for a constant row */
{
    enum { N = 1 };
    double sa = 0, sb = 0, aa = 0, bb = 0, ab = 0;
    FT_IN_ROW(i, n) sa += (double)ft_get(a + i), sb += (double)ft_get(b + i);
    mean[0] = ft_sum<G>(sa) / (double)n, mean[1] = ft_sum<G>(sb) / (double)n;
    FT_IN_ROW(i, n)
    {
        double x = (double)ft_get(a + i) - mean[0], y = (double)ft_get(b + i) - mean[1];
        aa += x * x, bb += y * y, ab += x * y;
    }
    aa = ft_sum<G>(aa), bb = ft_sum<G>(bb), ab = ft_sum<G>(ab);
    inverse[0] = aa > 0 ? 1 / sqrt(aa) : 0;
    inverse[1] = bb > 0 ? 1 / sqrt(bb) : 0;
    return ab * inverse[0] * inverse[1];
}

template <typename T, int G> static __global__ void pearson(float *rho, const T *a, const T *b, int64_t rows, int64_t n)
{
    FT_EACH_ROW(r, rows)
    {
        double mean[2], inverse[2], v = correlate<T, G>(a + r * n, b + r * n, n, mean, inverse);
        if (threadIdx.x % G == 0) rho[r] = (float)v;
    }
}
/* d rho / d a = (b^ - rho a^) / |a - mean a|, with a^ the unit centred row */
template <typename T, int G>
static __global__ void pearson_bwd(T *da, T *db, const T *a, const T *b, const float *drho, int64_t rows, int64_t n)
{
    enum { N = 1 };
    FT_EACH_ROW(r, rows)
    {
        double mean[2], inverse[2], rho = correlate<T, G>(a + r * n, b + r * n, n, mean, inverse), g = (double)drho[r];
        FT_IN_ROW(i, n)
        {
            double x = ((double)ft_get(a + r * n + i) - mean[0]) * inverse[0],
                   y = ((double)ft_get(b + r * n + i) - mean[1]) * inverse[1];
            if (da) ft_put(da + r * n + i, (float)(g * inverse[0] * (y - rho * x)));
            if (db) ft_put(db + r * n + i, (float)(g * inverse[1] * (x - rho * y)));
        }
    }
}

extern "C" void ft_cuda_pearson(const ft_call *c)
{
    const ft_buf *a = c->in[0], *b = c->in[1];
    int64_t n = a->dim[a->ndim - 1];
    FT_BY_ROWS(a, n, false, (void)N;
               FT_RUN_ROWS((pearson<T, G>), rows, ft_as<float>(c->out[0]), ft_as<const T>(a), ft_as<const T>(b), rows, n));
}
/* in: a b drho; out: da db */
extern "C" void ft_cuda_pearson_bwd(const ft_call *c)
{
    const ft_buf *a = c->in[0], *b = c->in[1];
    int64_t n = a->dim[a->ndim - 1];
    FT_BY_ROWS(a, n, false, (void)N; FT_RUN_ROWS((pearson_bwd<T, G>), rows, ft_as<T>(c->out[0]), ft_as<T>(c->out[1]),
                                                 ft_as<const T>(a), ft_as<const T>(b), ft_as<const float>(c->in[2]), rows, n));
}
