/* Sums over axes. Long sums are cut into parts, a second kernel adds the parts in order: no atomics. */
#include "kernels/cuda/cuda.cuh"

/* ---- the second step of every sum: columns of a matrix of parts --------------------------------------------------------- */

enum { AHEAD = 8 }; /* rows that a thread asks for at once: few blocks must wait for memory as seldom as they can */

/* block: one of batch * tiles of FT_WARP columns, in one axis, since either may be long */
template <typename T>
FT_DEV void sum_tile(T *out, const float *part, unsigned block, unsigned tiles, int64_t rows, int64_t stride, int64_t n,
                     float scale)
{
    int64_t column = (int64_t)(block % tiles) * FT_WARP + threadIdx.x % FT_WARP, b = block / tiles;
    float acc[1] = {0};
    for (int64_t r0 = FT_COLUMN_ROW; column < n && r0 < rows; r0 += FT_WARPS * AHEAD) {
        float v[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            int64_t r = r0 + k * FT_WARPS;
            v[k] = r < rows ? part[(b * rows + r) * stride + column] : 0.0f;
        }
#pragma unroll
        for (int k = 0; k < AHEAD; k++) acc[0] += v[k];
    }
    ft_fold<1>(acc);
    if (FT_COLUMN_ROW == 0 && column < n) ft_put(out + b * n + column, acc[0] * scale);
}

template <typename T>
static __global__ void sum_rows(T *out, const float *part, unsigned tiles, int64_t rows, int64_t stride, int64_t n, float scale)
{
    sum_tile(out, part, blockIdx.x, tiles, rows, stride, n, scale);
}

void ft_cuda_sum_rows(void *out, ft_dtype dtype, const float *part, int64_t batch, int64_t rows, int64_t stride, int64_t n,
                      float scale)
{
    unsigned tiles = (unsigned)ft_ceil(n, FT_WARP);
    FT_BY_TYPE(dtype, FT_LAUNCH((sum_rows<T>), (unsigned)batch * tiles, FT_THREADS, 0, ft_cuda_stream, (T *)out, part, tiles,
                                rows, stride, n, scale));
}

struct sums {
    ft_sum_part of[FT_SUMS];
    unsigned end[FT_SUMS]; /* the block behind its last */
};

static __global__ void sum_rows_of(sums s)
{
    unsigned first = 0;
#pragma unroll
    for (int i = 0; i < FT_SUMS; i++) { /* an index that is known: the arrays stay in constant memory */
        if (blockIdx.x >= first && blockIdx.x < s.end[i])
            sum_tile(s.of[i].out, s.of[i].part, blockIdx.x - first, (unsigned)ft_ceil(s.of[i].n, FT_WARP), s.of[i].rows,
                     s.of[i].stride, s.of[i].n, 1.0f);
        first = s.end[i];
    }
}

void ft_cuda_sum_rows_of(int count, const ft_sum_part *sum)
{
    sums s;
    unsigned end = 0;
    memset(&s, 0, sizeof s);
    for (int i = 0; i < FT_SUMS; i++) {
        if (i < count && sum[i].out) s.of[i] = sum[i], end += (unsigned)(sum[i].batch * ft_ceil(sum[i].n, FT_WARP));
        s.end[i] = end;
    }
    if (end) FT_LAUNCH((sum_rows_of), end, FT_THREADS, 0, ft_cuda_stream, s);
}

/* ---- column sums of a matrix (rows, n) ---------------------------------------------------------------------------------- */

template <typename T, int N> static __global__ void column_sums(float *part, const T *x, int64_t rows, int64_t n)
{
    int64_t at = FT_COLUMN(N);
    bool inside = at < n;
    float sum[N] = {0}, run[N] = {0}, v[N];
    int64_t end = inside ? ft_part_of(rows, FT_COLUMN_PART + 1, FT_COLUMN_PARTS) : 0;
    int count = 0;
    for (int64_t r = ft_part_of(rows, FT_COLUMN_PART, FT_COLUMN_PARTS) + FT_COLUMN_ROW; r < end; r += FT_WARPS) {
        ft_read<N>(v, x + r * n + at);
        for (int k = 0; k < N; k++) run[k] += v[k];
        if (++count % 64 == 0)
            for (int k = 0; k < N; k++) sum[k] += run[k], run[k] = 0;
    }
    for (int k = 0; k < N; k++) sum[k] += run[k];
    ft_fold<N>(sum);
    if (inside && FT_COLUMN_ROW == 0)
        for (int k = 0; k < N; k++) part[FT_COLUMN_PART * n + at + k] = sum[k];
}

static int64_t column_parts(int64_t rows, int64_t n) { return ft_parts(rows, ft_ceil(n, 256)); }

extern "C" size_t ft_cuda_column_sums_work(int64_t rows, int64_t n)
{
    return (size_t)(column_parts(rows, n) * n) * sizeof(float);
}

extern "C" void ft_cuda_column_sums(float *out, const void *x, ft_dtype dtype, int64_t rows, int64_t n, float *work)
{
    int64_t parts = column_parts(rows, n);
    FT_BY_TYPE(dtype, FT_BY_WIDTH(ft_aligned(x) && n % (16 / (int64_t)sizeof(T)) == 0,
                                  FT_LAUNCH((column_sums<T, N>), FT_COLUMN_GRID(parts, n), FT_THREADS, 0, ft_cuda_stream, work,
                                            (const T *)x, rows, n)));
    ft_cuda_sum_rows(out, FT_F32, work, 1, parts, n, n, 1);
}

/* ---- reductions --------------------------------------------------------------------------------------------------------- */

struct axes { /* neighbouring axes of one kind are one axis */
    int nd;
    int64_t dim[FT_MAX_DIMS], stride[FT_MAX_DIMS];
    bool red[FT_MAX_DIMS], inner_red;
    int64_t inner, reduced, outputs, parts; /* the last axis; values of a sum; sums (without the inner axis if it stays) */
};

static axes axes_of(const ft_call *c)
{
    const ft_buf *x = c->in[0];
    axes a;
    int64_t s = 1;
    memset(&a, 0, sizeof a);
    for (int i = 0; i < x->ndim; i++) {
        bool r = c->attr->reduce.axes >> i & 1;
        if (x->dim[i] == 1) continue;
        if (a.nd && a.red[a.nd - 1] == r) a.dim[a.nd - 1] *= x->dim[i];
        else a.dim[a.nd] = x->dim[i], a.red[a.nd++] = r;
    }
    if (a.nd == 0) a.dim[0] = 1, a.nd = 1;
    a.reduced = 1;
    for (int i = a.nd - 1; i >= 0; i--) {
        a.stride[i] = s;
        s *= a.dim[i];
        if (a.red[i]) a.reduced *= a.dim[i];
    }
    a.inner_red = a.red[a.nd - 1];
    a.inner = a.dim[a.nd - 1];
    a.outputs = c->out[0]->count / (a.inner_red ? 1 : a.inner);
    int64_t groups = a.inner_red ? a.outputs : a.outputs * ft_ceil(a.inner, FT_THREADS), least = a.inner_red ? 1024 : 64;
    a.parts = ft_ceil(1024, groups);
    if (a.parts > ft_ceil(a.reduced, least)) a.parts = ft_ceil(a.reduced, least);
    return a;
}

extern "C" int ft_cuda_prepare_reduce(ft_call *c)
{
    axes a = axes_of(c);
    c->work_size = (size_t)(a.parts * c->out[0]->count) * sizeof(float);
    return FT_OK;
}

/* first element of output o; with `r` the r-th element of its sum over the axes before the inner one */
FT_DEV int64_t offset(const axes &a, int64_t o, int64_t r, int last)
{
    int64_t at = 0;
    for (int i = last; i >= 0; i--)
        if (a.red[i]) at += r % a.dim[i] * a.stride[i], r /= a.dim[i];
        else at += o % a.dim[i] * a.stride[i], o /= a.dim[i];
    return at;
}

/* part (outputs, parts): a warp each; or at once y (outputs) where there is one part */
template <typename T> static __global__ void reduce_inner(T *y, float *part, const T *x, axes a, float scale)
{
    enum { G = FT_WARP };
    FT_EACH_ROW(task, a.outputs * a.parts)
    {
        int64_t o = task / a.parts, p = task % a.parts;
        float sum = 0, run = 0;
        int n = 0;
        for (int64_t e = ft_part_of(a.reduced, p, a.parts) + threadIdx.x % G; e < ft_part_of(a.reduced, p + 1, a.parts); e += G) {
            int64_t r = a.reduced == a.inner ? 0 : e / a.inner;
            run += ft_get(x + offset(a, o, r, a.nd - 2) + e - r * a.inner);
            if (++n % 64 == 0) sum += run, run = 0; /* short partial sums keep the rounding error small */
        }
        sum = ft_sum<G>(sum + run);
        if (threadIdx.x % G > 0) continue;
        if (y) ft_put(y + task, sum * scale);
        else part[task] = sum;
    }
}

/* part (parts, outputs, inner): a thread each; or at once y (outputs, inner) where there is one part */
template <typename T> static __global__ void reduce_outer(T *y, float *part, const T *x, axes a, float scale)
{
    int64_t all = a.outputs * a.inner;
    FT_EACH(task, a.parts * all)
    {
        int64_t p = task / all, o = task % all / a.inner, k = task % a.inner;
        float sum = 0, run = 0;
        int n = 0;
        for (int64_t r = ft_part_of(a.reduced, p, a.parts); r < ft_part_of(a.reduced, p + 1, a.parts); r++) {
            run += ft_get(x + offset(a, o, r, a.nd - 2) + k);
            if (++n % 64 == 0) sum += run, run = 0;
        }
        if (y) ft_put(y + task, (sum + run) * scale);
        else part[task] = sum + run;
    }
}

extern "C" void ft_cuda_reduce(const ft_call *c)
{
    const ft_buf *x = c->in[0], *y = c->out[0];
    axes a = axes_of(c);
    float scale = c->attr->reduce.mean ? 1.0f / (float)a.reduced : 1.0f, *part = (float *)c->work;
    bool once = a.parts == 1 && x->dtype == y->dtype;
    if (a.inner_red)
        FT_BY_TYPE(x->dtype, FT_LAUNCH((reduce_inner<T>), ft_blocks(a.outputs * a.parts, FT_WARPS), FT_THREADS, 0, ft_cuda_stream,
                                       once ? ft_as<T>(y) : (T *)NULL, part, ft_as<const T>(x), a, scale));
    else
        FT_BY_TYPE(x->dtype, FT_RUN((reduce_outer<T>), a.parts * a.outputs * a.inner, once ? ft_as<T>(y) : (T *)NULL, part,
                                    ft_as<const T>(x), a, scale));
    if (once) return;
    if (a.inner_red) ft_cuda_sum_rows(y->data, y->dtype, part, a.outputs, a.parts, 1, 1, scale);
    else ft_cuda_sum_rows(y->data, y->dtype, part, 1, a.parts, a.outputs * a.inner, a.outputs * a.inner, scale);
}
