/* Linear layers and matrix products by cuBLASLt. The only file that knows it.
 *
 * cuBLASLt counts columns first, so a row-major y = op(a) op(b) is asked for as y^T = op(b)^T op(a)^T: `b` goes in as its A, `a`
 * as its B. Bias runs along the rows of that y^T and the bias gradient along the columns of its B: both are epilogues of the
 * library. Which algorithm computes a product is chosen once for its shape (choice.c): by the clock on a real device, among those
 * that run. Alignment is told up to 16 bytes, what every address of a plan has: no choice depends on where a buffer lies. */
#include "kernels/cuda/gemm.h"

#include <cublasLt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 8, WORKSPACE = 32 << 20 };

static cublasLtHandle_t handle;

static int bad(cublasStatus_t st, const char *what)
{
    return FT_FAIL(FT_EDEVICE, "cuBLASLt cannot do %s (status %d)", what, (int)st);
}
#define LT(call, what)                                                                                                           \
    do {                                                                                                                         \
        cublasStatus_t st_ = (call);                                                                                             \
        if (st_ != CUBLAS_STATUS_SUCCESS) return bad(st_, (what));                                                               \
    } while (0)

struct ft_product {
    ft_product_opt opt;
    cublasLtMatmulDesc_t op;
    cublasLtMatrixLayout_t a, b, y;
    cublasLtMatmulAlgo_t algo;
    size_t work;
    char what[FT_CHOICE];
};

const char *ft_cuda_cublas_version(void)
{
    static char text[24];
    size_t v = cublasLtGetVersion();
    snprintf(text, sizeof text, "%zu.%zu.%zu", v / 10000, v % 10000 / 100, v % 100);
    return text;
}

static int start(void)
{
    if (handle) return FT_OK;
    LT(cublasLtCreate(&handle), "its start");
    return FT_OK;
}

static cudaDataType_t type_of(ft_dtype d) { return d == FT_BF16 ? CUDA_R_16BF : CUDA_R_32F; }

/* a row-major (rows, columns) matrix, ld apart, is a column-major (columns, rows) one */
static int layout(cublasLtMatrixLayout_t *to, ft_dtype type, int64_t rows, int64_t columns, int64_t ld, int64_t batch,
                  int64_t step)
{
    int32_t count = (int32_t)batch;
    LT(cublasLtMatrixLayoutCreate(to, type_of(type), (uint64_t)columns, (uint64_t)rows, ld), "a layout");
    LT(cublasLtMatrixLayoutSetAttribute(*to, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), "a batch");
    LT(cublasLtMatrixLayoutSetAttribute(*to, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step), "a batch");
    return FT_OK;
}

static int describe(ft_product *p)
{
    ft_product_opt *o = &p->opt;
    if (o->alpha == 0) o->alpha = 1;
    if (o->batch == 0) o->batch = 1;
    if (o->lda == 0) o->lda = o->ta ? o->m : o->k;
    if (o->ldb == 0) o->ldb = o->tb ? o->k : o->n;
    if (o->ldy == 0) o->ldy = o->n;
    if (o->step_a == 0) o->step_a = o->m * o->k;
    if (o->step_b == 0) o->step_b = o->k * o->n;
    if (o->step_y == 0) o->step_y = o->m * o->n;
    cublasOperation_t first = o->tb ? CUBLAS_OP_T : CUBLAS_OP_N, second = o->ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    LT(cublasLtMatmulDescCreate(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
    LT(cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), "a product");
    LT(cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), "a product");
    FT_TRY(layout(&p->a, o->b, o->tb ? o->n : o->k, o->tb ? o->k : o->n, o->ldb, o->batch, o->step_b));
    FT_TRY(layout(&p->b, o->a, o->ta ? o->k : o->m, o->ta ? o->m : o->k, o->lda, o->batch, o->step_a));
    FT_TRY(layout(&p->y, o->y, o->m, o->n, o->ldy, o->batch, o->step_y));
    if (o->epilogue == FT_PLAIN) return FT_OK;
    cublasLtEpilogue_t e = o->epilogue == FT_BIAS ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BGRADB;
    void *anywhere = (void *)(uintptr_t)FT_PRODUCT_ALIGN; /* set before every run; its alignment is looked at by the choice */
    LT(cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &anywhere, sizeof anywhere), "an epilogue");
    cudaDataType_t bias = o->epilogue == FT_SUM_ROWS ? CUDA_R_32F : type_of(o->y);
    LT(cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &e, sizeof e), "an epilogue");
    LT(cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &bias, sizeof bias), "an epilogue");
    return FT_OK;
}

/* everything that a choice depends on */
static void say_what(char *text, const ft_product_opt *o)
{
    snprintf(text, FT_CHOICE,
             "product %lldx%lldx%lld of %s to %s, %s %s, rows %lld %lld %lld, batch %lld by %lld %lld %lld, %g %g, epilogue %d, "
             "align %u",
             (long long)o->m, (long long)o->n, (long long)o->k, o->a == FT_BF16 ? "bf16" : "f32",
             o->y == FT_BF16 ? "bf16" : "f32", o->ta ? "T" : "N", o->tb ? "T" : "N", (long long)o->lda, (long long)o->ldb,
             (long long)o->ldy, (long long)o->batch, (long long)o->step_a, (long long)o->step_b, (long long)o->step_y,
             (double)o->alpha, (double)o->beta, (int)o->epilogue, o->align);
}

/* y = op(a) op(b) + beta c */
static cublasStatus_t launch(const ft_product *p, void *y, const void *c, const void *a, const void *b, void *bias, void *work)
{
    float one = p->opt.alpha, beta = p->opt.beta;
    cublasStatus_t st = CUBLAS_STATUS_SUCCESS;
    if (p->opt.epilogue != FT_PLAIN)
        st = cublasLtMatmulDescSetAttribute(p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmul(handle, p->op, &one, b, p->a, a, p->b, &beta, c, p->y, y, p->y, &p->algo, work, p->work,
                            ft_cuda_stream);
    return st;
}

typedef struct {
    const ft_product *p;
    void *y, *a, *b, *bias, *work;
} trial;

static bool try_it(void *context)
{
    trial *t = context;
    return launch(t->p, t->y, t->y, t->a, t->b, t->bias, t->work) == CUBLAS_STATUS_SUCCESS;
}

static size_t extent(int64_t rows, int64_t ld, int64_t batch, int64_t step, ft_dtype d)
{
    return (size_t)((batch - 1) * step + rows * ld) * (d == FT_BF16 ? 2 : 4) + 256;
}

static int begin_trial(trial *t, const ft_product *p) /* on scratch of the real sizes */
{
    const ft_product_opt *o = &p->opt;
    *t = (trial){.p = p};
    FT_TRY(ft_cuda_scratch(&t->y, extent(o->m, o->ldy, o->batch, o->step_y, o->y)));
    FT_TRY(ft_cuda_scratch(&t->a, extent(o->ta ? o->k : o->m, o->lda, o->batch, o->step_a, o->a)));
    FT_TRY(ft_cuda_scratch(&t->b, extent(o->tb ? o->n : o->k, o->ldb, o->batch, o->step_b, o->b)));
    FT_TRY(ft_cuda_scratch(&t->bias, (size_t)(o->m + o->n) * 4));
    return ft_cuda_alloc(&t->work, WORKSPACE);
}
static void end_trial(trial *t)
{
    ft_cuda_free(t->y);
    ft_cuda_free(t->a);
    ft_cuda_free(t->b);
    ft_cuda_free(t->bias);
    ft_cuda_free(t->work);
}

/* the fastest of the candidates that run; without room to try them the first */
static int measure(ft_product *p, const cublasLtMatmulHeuristicResult_t *candidate, int n, char *how)
{
    trial t;
    int best = -1;
    double fastest = 0, first = 0;
    bool room = begin_trial(&t, p) == FT_OK;
    for (int i = 0; room && i < n; i++) {
        p->algo = candidate[i].algo;
        p->work = candidate[i].workspaceSize;
        double s = candidate[i].state == CUBLAS_STATUS_SUCCESS ? ft_cuda_time(try_it, &t) : -1;
        if (i == 0) first = s;
        if (s >= 0 && (best < 0 || s < fastest)) fastest = s, best = i;
    }
    end_trial(&t);
    snprintf(how, FT_CHOICE, "candidate %d of %d, %.1f us (first %.1f)", best, n, 1e6 * fastest, 1e6 * first);
    if (!room) snprintf(how, FT_CHOICE, "the first of %d, no memory to try them", n);
    return room ? best : 0;
}

/* An algorithm is its bytes: so the library's documentation, for one version of it. */
static void name_of(char name[2 * sizeof(cublasLtMatmulAlgo_t) + 1], const cublasLtMatmulAlgo_t *algo)
{
    for (size_t i = 0; i < sizeof *algo; i++) snprintf(name + 2 * i, 3, "%02x", ((const unsigned char *)algo)[i]);
}
static bool take(ft_product *p, const char *name)
{
    cublasLtMatmulHeuristicResult_t r;
    unsigned byte;
    if (strlen(name) != 2 * sizeof p->algo || strspn(name, "0123456789abcdef") != strlen(name)) return false;
    for (size_t i = 0; i < sizeof p->algo && sscanf(name + 2 * i, "%2x", &byte) == 1; i++)
        ((unsigned char *)&p->algo)[i] = (unsigned char)byte;
    memset(&r, 0, sizeof r);
    if (cublasLtMatmulAlgoCheck(handle, p->op, p->a, p->b, p->y, p->y, &p->algo, &r) != CUBLAS_STATUS_SUCCESS) return false;
    p->work = r.workspaceSize;
    return p->work <= WORKSPACE;
}

static int choose(ft_product *p, const cublasLtMatmulHeuristicResult_t *candidate, int n)
{
    char name[2 * sizeof(cublasLtMatmulAlgo_t) + 1], how[FT_CHOICE] = "the first of the library";
    const char *held = ft_cuda_choice(p->what);
    if (held && take(p, held)) return FT_OK;
    if (held) ft_cuda_cannot(p->what);
    int best = ft_cuda_measures() ? measure(p, candidate, n, how) : 0;
    if (best < 0)
        return FT_FAIL(FT_EDEVICE, "cuBLASLt runs none of its %d algorithms for a product of %lld x %lld x %lld", n,
                       (long long)p->opt.m, (long long)p->opt.n, (long long)p->opt.k);
    name_of(name, &candidate[best].algo);
    held = ft_cuda_choose(p->what, name, how);
    if (strcmp(held, name) != 0 && take(p, held)) return FT_OK;
    p->algo = candidate[best].algo;
    p->work = candidate[best].workspaceSize;
    return FT_OK;
}

int ft_product_new(ft_product **out, ft_product_opt opt)
{
    *out = NULL;
    FT_TRY(start());
    ft_product *p = calloc(1, sizeof *p);
    if (!p) return FT_FAIL(FT_ENOMEM, "no memory for a product");
    p->opt = opt;
    if (!opt.align || opt.align > FT_PRODUCT_ALIGN) p->opt.align = FT_PRODUCT_ALIGN;
    cublasLtMatmulHeuristicResult_t candidate[CANDIDATES];
    cublasLtMatmulPreference_t preference = NULL;
    size_t most = WORKSPACE;
    int n = 0, rc = describe(p);
    cublasStatus_t st = rc < 0 ? CUBLAS_STATUS_NOT_SUPPORTED : cublasLtMatmulPreferenceCreate(&preference);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most);
    uint32_t align = p->opt.align;
    static const cublasLtMatmulPreferenceAttributes_t sides[] = {
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
        CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES};
    for (int i = 0; i < 4 && st == CUBLAS_STATUS_SUCCESS; i++)
        st = cublasLtMatmulPreferenceSetAttribute(preference, sides[i], &align, sizeof align);
    if (st == CUBLAS_STATUS_SUCCESS)
        st = cublasLtMatmulAlgoGetHeuristic(handle, p->op, p->a, p->b, p->y, p->y, preference, CANDIDATES, candidate, &n);
    if (preference) cublasLtMatmulPreferenceDestroy(preference);
    if (rc == FT_OK && (st != CUBLAS_STATUS_SUCCESS || n == 0))
        rc = FT_FAIL(FT_EDEVICE, "cuBLASLt has no algorithm for a product of %lld x %lld x %lld (status %d)", (long long)opt.m,
                     (long long)opt.n, (long long)opt.k, (int)st);
    say_what(p->what, &p->opt);
    if (rc == FT_OK) rc = choose(p, candidate, n);
    if (rc < 0) ft_product_free(p);
    else *out = p;
    return rc;
}

const char *ft_product_what(const ft_product *p) { return p->what; }

double ft_product_seconds(const ft_product *p)
{
    trial t;
    double s = begin_trial(&t, p) == FT_OK ? ft_cuda_time(try_it, &t) : -1;
    end_trial(&t);
    return s;
}

unsigned ft_cuda_alignment(const void *a, const void *b, const void *c)
{
    uintptr_t bits = (uintptr_t)a | (uintptr_t)b | (uintptr_t)c | FT_PRODUCT_ALIGN;
    return (unsigned)(bits & (~bits + 1));
}

size_t ft_product_work(const ft_product *p) { return p ? (p->work + 255) / 256 * 256 : 0; }

void ft_product_run(const ft_product *p, void *y, const void *a, const void *b, void *bias, void *work)
{
    ft_product_add(p, y, y, a, b, bias, work);
}

void ft_product_add(const ft_product *p, void *y, const void *c, const void *a, const void *b, void *bias, void *work)
{
    cublasStatus_t st = launch(p, y, c, a, b, bias, work);
    if (st != CUBLAS_STATUS_SUCCESS)
        ft_cuda_fault("cuBLASLt failed at a product of %lld x %lld x %lld (status %d)", (long long)p->opt.m, (long long)p->opt.n,
                      (long long)p->opt.k, (int)st);
}

void ft_product_free(void *q)
{
    ft_product *p = q;
    if (!p) return;
    if (p->a) cublasLtMatrixLayoutDestroy(p->a);
    if (p->b) cublasLtMatrixLayoutDestroy(p->b);
    if (p->y) cublasLtMatrixLayoutDestroy(p->y);
    if (p->op) cublasLtMatmulDescDestroy(p->op);
    free(p);
}
