/* Stand-ins for cuBLASLt, cuDNN, cuFFT and NCCL: same signatures, plain loops. They check what the libraries would refuse (types,
 * leading dimensions, alignment, missing attributes, unfinished descriptors), read and write through ordinary addresses, so that
 * the address sanitizer sees an overrun, and fill the scratch they asked for with garbage. */
#include <fcntl.h>
#include <fftw3.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <map>
#include <memory>
#include <vector>

#include "cublasLt.h"
#include "cudnn.h"
#include "cufft.h"
#include "nccl.h"
#include "shim.h"

static void die(const char *text)
{
    fprintf(stderr, "shim: %s\n", text);
    abort();
}

static float from_half(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}
static uint16_t to_half(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    if ((u & 0x7FFFFFFFu) > 0x7F800000u) return (uint16_t)(u >> 16 | 0x40u);
    return (uint16_t)((u + 0x7FFFu + (u >> 16 & 1)) >> 16);
}
static float get(bool half, const void *p, int64_t i)
{
    return half ? from_half(((const uint16_t *)p)[i]) : ((const float *)p)[i];
}
static void put(bool half, void *p, int64_t i, float v)
{
    if (half) ((uint16_t *)p)[i] = to_half(v);
    else ((float *)p)[i] = v;
}

/* ---- cuBLASLt ----------------------------------------------------------------------------------------------------------- */

enum { ASCENDING, DESCENDING, FAILING }; /* algorithms: the order of a sum */

struct ft_shim_lt {
    int unused;
};
struct ft_shim_lt_desc {
    cublasOperation_t ta, tb;
    cublasLtEpilogue_t epilogue;
    void *bias;
    cudaDataType_t bias_type;
    bool bias_typed;
};
struct ft_shim_lt_layout {
    cudaDataType_t type;
    int64_t rows, cols, ld, step;
    int32_t batch;
};
struct ft_shim_lt_preference {
    uint32_t align;
    size_t work;
};

extern "C" {
cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) { return *h = new ft_shim_lt(), CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t, cudaDataType_t)
{
    *d = new ft_shim_lt_desc{CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, NULL, CUDA_R_32F, false};
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t a, const void *v, size_t n)
{
    void *to = a == CUBLASLT_MATMUL_DESC_TRANSA         ? (void *)&d->ta
               : a == CUBLASLT_MATMUL_DESC_TRANSB       ? (void *)&d->tb
               : a == CUBLASLT_MATMUL_DESC_EPILOGUE     ? (void *)&d->epilogue
               : a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? (void *)&d->bias
                                                        : (void *)&d->bias_type;
    if (n != (a == CUBLASLT_MATMUL_DESC_BIAS_POINTER ? 8u : 4u)) return CUBLAS_STATUS_INVALID_VALUE;
    if (a == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE) d->bias_typed = true;
    memcpy(to, v, n);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) { return delete d, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type, uint64_t rows, uint64_t cols,
                                          int64_t ld)
{
    *l = new ft_shim_lt_layout{type, (int64_t)rows, (int64_t)cols, ld, 0, 1};
    return ld < (int64_t)rows ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l, cublasLtMatrixLayoutAttribute_t a, const void *v,
                                                size_t n)
{
    bool count = a == CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT;
    if (n != (count ? 4u : 8u)) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(count ? (void *)&l->batch : (void *)&l->step, v, n);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) { return delete l, CUBLAS_STATUS_SUCCESS; }
cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p)
{
    return *p = new ft_shim_lt_preference{256, 0}, CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t a,
                                                    const void *v, size_t n)
{
    bool work = a == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
    if (n != (work ? 8u : 4u)) return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(work ? (void *)&p->work : (void *)&p->align, v, n);
    return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) { return delete p, CUBLAS_STATUS_SUCCESS; }

static bool fits(const ft_shim_lt_desc *d, const ft_shim_lt_layout *a, const ft_shim_lt_layout *b, const ft_shim_lt_layout *y)
{
    int64_t m = d->ta ? a->cols : a->rows, k = d->ta ? a->rows : a->cols, n = d->tb ? b->rows : b->cols,
            k2 = d->tb ? b->cols : b->rows;
    return m == y->rows && n == y->cols && k == k2 && a->batch == b->batch && a->batch == y->batch && a->type == b->type &&
           (y->type == a->type || y->type == CUDA_R_32F);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                              cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t y,
                                              cublasLtMatmulPreference_t p, int wanted, cublasLtMatmulHeuristicResult_t *result,
                                              int *n)
{
    *n = 0;
    if (!fits(d, a, b, y) || wanted < 1) return CUBLAS_STATUS_INVALID_VALUE;
    if (d->epilogue != CUBLASLT_EPILOGUE_DEFAULT) { /* the library's table of types */
        if (ft_shim()->refuse_libraries || y->batch != 1) return CUBLAS_STATUS_NOT_SUPPORTED;
        if (d->epilogue != CUBLASLT_EPILOGUE_BGRADB && d->bias_typed && d->bias_type != y->type)
            return CUBLAS_STATUS_NOT_SUPPORTED;
    }
    static const uint64_t kinds[] = {FAILING, ASCENDING, DESCENDING};
    bool choice = ft_shim()->algorithms > 1;
    for (*n = 0; *n < (choice ? 3 : 1) && *n < wanted; ++*n) {
        memset(&result[*n], 0, sizeof *result);
        result[*n].algo.data[0] = p->align;
        result[*n].algo.data[1] = kinds[choice ? *n : 1];
        result[*n].workspaceSize = p->work < 512 ? 0 : 512;
    }
    return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion(void) { return 130000; }

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a,
                                       cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t, cublasLtMatrixLayout_t y,
                                       const cublasLtMatmulAlgo_t *algo, cublasLtMatmulHeuristicResult_t *result)
{
    if (!fits(d, a, b, y) || algo->data[1] > FAILING || algo->data[0] > 256) return CUBLAS_STATUS_NOT_SUPPORTED;
    result->workspaceSize = 512;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha_, const void *a,
                              cublasLtMatrixLayout_t la_, const void *b, cublasLtMatrixLayout_t lb_, const void *beta_,
                              const void *c, cublasLtMatrixLayout_t, void *y, cublasLtMatrixLayout_t ly_,
                              const cublasLtMatmulAlgo_t *algo, void *work, size_t work_size, cudaStream_t s)
{
    ft_shim_lt_desc d = *desc;
    ft_shim_lt_layout la = *la_, lb = *lb_, ly = *ly_;
    float alpha = *(const float *)alpha_, beta = *(const float *)beta_;
    uint64_t align = algo->data[0] ? algo->data[0] : 1;
    ft_shim()->calls++;
    if (!fits(desc, la_, lb_, ly_)) return CUBLAS_STATUS_INVALID_VALUE;
    if (algo->data[1] == FAILING) return CUBLAS_STATUS_NOT_SUPPORTED;
    bool backwards = (algo->data[1] == DESCENDING) != (align > 64); /* a library may sum otherwise where addresses allow more */
    if ((uintptr_t)a % align || (uintptr_t)b % align || (uintptr_t)y % align)
        die("cuBLASLt: an address is less aligned than was promised");
    if (work_size && !work) die("cuBLASLt: no scratch");
    if (d.epilogue != CUBLASLT_EPILOGUE_DEFAULT && !d.bias) return CUBLAS_STATUS_INVALID_VALUE;
    ft_shim_enqueue(s, [=] {
        bool ha = la.type == CUDA_R_16BF, hy = ly.type == CUDA_R_16BF;
        int64_t k = d.ta ? la.rows : la.cols;
        memset(work, 0xFF, work_size);
        for (int64_t g = 0; g < ly.batch; g++)
            for (int64_t j = 0; j < ly.cols; j++)
                for (int64_t i = 0; i < ly.rows; i++) {
                    float sum = 0;
                    for (int64_t at = 0; at < k; at++) {
                        int64_t l = backwards ? k - 1 - at : at;
                        sum += get(ha, a, g * la.step + (d.ta ? l + i * la.ld : i + l * la.ld)) *
                               get(ha, b, g * lb.step + (d.tb ? j + l * lb.ld : l + j * lb.ld));
                    }
                    sum *= alpha;
                    int64_t at = g * ly.step + i + j * ly.ld;
                    if (beta != 0) sum += beta * get(hy, c, at);
                    if (d.epilogue == CUBLASLT_EPILOGUE_BIAS) sum += get(d.bias_type == CUDA_R_16BF, d.bias, i);
                    put(hy, y, at, sum);
                }
        if (d.epilogue == CUBLASLT_EPILOGUE_BGRADB)
            for (int64_t j = 0; j < ly.cols; j++) {
                float sum = 0;
                for (int64_t l = 0; l < k; l++) sum += get(ha, b, d.tb ? j + l * lb.ld : l + j * lb.ld);
                put(d.bias_type == CUDA_R_16BF, d.bias, j, sum);
            }
    });
    return CUBLAS_STATUS_SUCCESS;
}
}

/* ---- cuDNN -------------------------------------------------------------------------------------------------------------- */

struct node;
typedef std::shared_ptr<node> node_p;
struct value {
    cudnnBackendAttributeType_t type;
    int64_t count;
    std::vector<char> bytes;
    std::vector<node_p> nodes;
};
struct node {
    cudnnBackendDescriptorType_t type;
    std::map<int, value> attribute;
    bool finished = false;
};
struct ft_shim_dnn {
    node_p n;
};
struct ft_shim_dnn_handle {
    cudaStream_t stream = NULL;
};

static size_t size_of(cudnnBackendAttributeType_t t)
{
    switch (t) {
        case CUDNN_TYPE_BOOLEAN: return 1;
        case CUDNN_TYPE_INT64:
        case CUDNN_TYPE_VOID_PTR:
        case CUDNN_TYPE_HANDLE: return 8;
        default: return 4;
    }
}
static bool has(const node_p &n, int name) { return n->attribute.count(name) > 0; }
static int64_t integer(const node_p &n, int name, int64_t i = 0) { return ((const int64_t *)n->attribute[name].bytes.data())[i]; }
static node_p child(const node_p &n, int name) { return has(n, name) ? n->attribute[name].nodes[0] : node_p(); }
static int kind_of(const node_p &n, int name)
{
    int v;
    memcpy(&v, n->attribute[name].bytes.data(), sizeof v);
    return v;
}

struct tensor { /* as a graph sees it */
    int64_t id, nd, dim[8], stride[8];
    bool half, is_virtual, by_value;
    int64_t align;
};
static tensor tensor_of(const node_p &n)
{
    tensor t;
    memset(&t, 0, sizeof t);
    t.id = integer(n, CUDNN_ATTR_TENSOR_UNIQUE_ID);
    t.nd = n->attribute[CUDNN_ATTR_TENSOR_DIMENSIONS].count;
    for (int64_t i = 0; i < t.nd; i++)
        t.dim[i] = integer(n, CUDNN_ATTR_TENSOR_DIMENSIONS, i), t.stride[i] = integer(n, CUDNN_ATTR_TENSOR_STRIDES, i);
    t.half = kind_of(n, CUDNN_ATTR_TENSOR_DATA_TYPE) == CUDNN_DATA_BFLOAT16;
    t.is_virtual = has(n, CUDNN_ATTR_TENSOR_IS_VIRTUAL), t.by_value = has(n, CUDNN_ATTR_TENSOR_IS_BY_VALUE);
    t.align = integer(n, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT);
    return t;
}
static int64_t extent(const tensor &t)
{
    int64_t n = 1;
    for (int64_t i = 0; i < t.nd; i++) n += (t.dim[i] - 1) * t.stride[i];
    return n;
}

enum { ENGINE_GRAPH = 1 << 20 }; /* an attribute of ours: what the engine computes */

struct run_of {     /* of one execution */
    bool otherwise; /* sums end in other last bits, as in another order */
    std::map<int64_t, void *> data;
    std::map<int64_t, std::vector<float>> made; /* virtual tensors, f32 */
    void *of(const tensor &t)
    {
        if (!t.is_virtual) return data.at(t.id);
        std::vector<float> &v = made[t.id];
        if (v.empty()) v.assign((size_t)extent(t), NAN);
        return v.data();
    }
};

struct names {
    int conv, w, x, y;
};
static const names forward_names = {CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
                                    CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y};
static const names by_x_names = {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
                                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY};
static const names by_w_names = {CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
                                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
                                 CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY};

static bool is_conv(const node_p &op, const names **n)
{
    *n = op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR           ? &forward_names
         : op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR   ? &by_x_names
         : op->type == CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR ? &by_w_names
                                                                                      : NULL;
    return *n != NULL;
}

static bool conv_shapes_fit(const node_p &op, const names *n)
{
    node_p conv = child(op, n->conv);
    tensor x = tensor_of(child(op, n->x)), w = tensor_of(child(op, n->w)), y = tensor_of(child(op, n->y));
    int64_t sp = integer(conv, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS);
    bool fine = x.nd == sp + 2 && w.nd == x.nd && y.nd == x.nd && x.dim[0] == y.dim[0] && w.dim[0] == y.dim[1] &&
                x.dim[1] % w.dim[1] == 0 && x.half == y.half + (y.is_virtual && x.half);
    for (int64_t i = 0; fine && i < sp; i++) {
        int64_t span = x.dim[2 + i] + integer(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i) +
                       integer(conv, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, i) - w.dim[2 + i];
        fine = span >= 0 && span / integer(conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i) + 1 == y.dim[2 + i];
    }
    return fine;
}

/* every (output, tap, channel of a group) once */
static void convolve(const node_p &op, const names *n, run_of &r)
{
    node_p conv = child(op, n->conv);
    tensor x = tensor_of(child(op, n->x)), w = tensor_of(child(op, n->w)), y = tensor_of(child(op, n->y));
    void *px = r.of(x), *pw = r.of(w), *py = r.of(y);
    const tensor &t = n == &forward_names ? y : n == &by_x_names ? x : w;
    std::vector<double> sum((size_t)extent(t), 0.0);
    int64_t sp = x.nd - 2, outs = y.dim[0], taps = 1, groups = x.dim[1] / w.dim[1], per_o = y.dim[1] / groups;
    for (int64_t i = 0; i < sp; i++) outs *= y.dim[2 + i], taps *= w.dim[2 + i];
    for (int64_t o = 0; o < outs; o++)
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t rest = o, tr = tap, ax = 0, ay = 0, aw = 0;
            bool inside = true;
            for (int64_t i = sp - 1; i >= 0; i--) {
                int64_t p = rest % y.dim[2 + i], k = tr % w.dim[2 + i];
                int64_t q = p * integer(conv, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, i) -
                            integer(conv, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, i) + k;
                rest /= y.dim[2 + i], tr /= w.dim[2 + i];
                inside = inside && q >= 0 && q < x.dim[2 + i];
                ax += q * x.stride[2 + i], ay += p * y.stride[2 + i], aw += k * w.stride[2 + i];
            }
            if (!inside) continue;
            ax += rest * x.stride[0], ay += rest * y.stride[0];
            for (int64_t oc = 0; oc < y.dim[1]; oc++)
                for (int64_t c = 0; c < w.dim[1]; c++) {
                    int64_t ix = ax + (oc / per_o * w.dim[1] + c) * x.stride[1], iy = ay + oc * y.stride[1],
                            iw = aw + oc * w.stride[0] + c * w.stride[1];
                    if (n == &forward_names) sum[(size_t)iy] += (double)get(x.half, px, ix) * (double)get(w.half, pw, iw);
                    else if (n == &by_x_names) sum[(size_t)ix] += (double)get(y.half, py, iy) * (double)get(w.half, pw, iw);
                    else sum[(size_t)iw] += (double)get(x.half, px, ix) * (double)get(y.half, py, iy);
                }
        }
    void *to = n == &forward_names ? py : n == &by_x_names ? px : pw;
    if (r.otherwise) /* as if in another order: the last bit */
        for (double &v : sum) v = v + v * 1.2e-7;
    for (size_t i = 0; i < sum.size(); i++) put(t.half && !t.is_virtual, to, (int64_t)i, (float)sum[i]);
}

/* a tensor's values, in memory or between operations (there rounded to its type, as in memory) */
struct values {
    tensor t;
    void *p;
    values(run_of &r, const node_p &op, int name) : t(tensor_of(child(op, name))), p(r.of(t)) {}
    float at(int64_t i) const { return get(t.half && !t.is_virtual, p, i); }
    void set(int64_t i, float v) const { put(t.half && !t.is_virtual, p, i, t.half ? from_half(to_half(v)) : v); }
    int64_t count() const
    {
        int64_t n = 1;
        for (int64_t i = 0; i < t.nd; i++) n *= t.dim[i];
        return n;
    }
    /* where element e of a tensor shaped like `shape` lies in this one; dims of 1 are broadcast */
    int64_t place(const tensor &shape, int64_t e) const
    {
        int64_t to = 0;
        for (int64_t i = shape.nd - 1; i >= 0; i--) {
            to += t.dim[i] == 1 ? 0 : e % shape.dim[i] * t.stride[i];
            e /= shape.dim[i];
        }
        return to;
    }
};

static void pointwise(const node_p &op, run_of &r)
{
    node_p how = child(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR);
    int mode = kind_of(how, CUDNN_ATTR_POINTWISE_MODE);
    values x(r, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC), y(r, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC);
    values b(r, op,
             has(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC) ? CUDNN_ATTR_OPERATION_POINTWISE_BDESC
                                                           : CUDNN_ATTR_OPERATION_POINTWISE_XDESC);
    for (int64_t e = 0; e < y.count(); e++) {
        float v = x.at(x.place(y.t, e)), w = b.at(b.place(y.t, e));
        switch (mode) {
            case CUDNN_POINTWISE_ADD: v += w; break;
            case CUDNN_POINTWISE_SUB: v -= w; break;
            case CUDNN_POINTWISE_MUL: v *= w; break;
            case CUDNN_POINTWISE_DIV: v /= w; break;
            case CUDNN_POINTWISE_EXP: v = expf(v); break;
            case CUDNN_POINTWISE_LOG: v = logf(v); break;
            case CUDNN_POINTWISE_RELU_FWD: v = v > 0 || (v != v && has(how, CUDNN_ATTR_POINTWISE_NAN_PROPAGATION)) ? v : 0; break;
            case CUDNN_POINTWISE_IDENTITY: break;
            default: v = NAN;
        }
        y.set(y.place(y.t, e), v);
    }
}

static void matmul(const node_p &op, run_of &r) /* (b, h, m, k) (b, h, k, n) */
{
    values a(r, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC), b(r, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC),
        y(r, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC);
    for (int64_t e = 0; e < y.count(); e++) {
        int64_t n = e % y.t.dim[3], m = e / y.t.dim[3] % y.t.dim[2], h = e / y.t.dim[3] / y.t.dim[2] % y.t.dim[1],
                s = e / y.t.dim[3] / y.t.dim[2] / y.t.dim[1];
        int64_t pa = s * a.t.stride[0] + h * a.t.stride[1] + m * a.t.stride[2],
                pb = s * b.t.stride[0] + h * b.t.stride[1] + n * b.t.stride[3];
        double sum = 0;
        for (int64_t k = 0; k < a.t.dim[3]; k++)
            sum += (double)a.at(pa + k * a.t.stride[3]) * (double)b.at(pb + k * b.t.stride[2]);
        if (r.otherwise) sum += sum * 1.2e-7;
        y.set(y.place(y.t, e), (float)sum);
    }
}

static void reduce(const node_p &op, run_of &r)
{
    bool top = kind_of(child(op, CUDNN_ATTR_OPERATION_REDUCTION_DESC), CUDNN_ATTR_REDUCTION_OPERATOR) == CUDNN_REDUCE_TENSOR_MAX;
    values x(r, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC), y(r, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC);
    std::map<int64_t, double> sum;
    for (int64_t e = 0; e < x.count(); e++) {
        double v = (double)x.at(x.place(x.t, e));
        int64_t to = y.place(x.t, e);
        if (!sum.count(to)) sum[to] = v;
        else sum[to] = top ? (v > sum[to] ? v : sum[to]) : sum[to] + v;
    }
    for (auto &s : sum) y.set(s.first, (float)s.second);
}

static void reshape(const node_p &op, run_of &r) /* the same place in memory, seen with other dims and strides */
{
    values x(r, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC), y(r, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC);
    for (int64_t e = 0; e < y.count(); e++) y.set(y.place(y.t, e), x.at(y.place(y.t, e)));
}

/* What the engines of cuDNN 9.19 refuse, as seen with device descriptions of four GPUs (tests/dnn_offline.c) */
static bool refused(const std::vector<node_p> &ops)
{
    bool bf16_conv = false;
    for (auto &op : ops) {
        const names *c;
        if (is_conv(op, &c)) {
            tensor x = tensor_of(child(op, c->x)), w = tensor_of(child(op, c->w));
            if (x.half != w.half) return true; /* also of gradients */
            bf16_conv |= x.half;
        }
        if (bf16_conv && has(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC) &&
            !tensor_of(child(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC)).half)
            return true;
    }
    return false;
}

static cudnnStatus_t complete(const node_p &n) /* has it what it needs? */
{
    static const std::map<int, std::vector<int>> needed = {
        {CUDNN_BACKEND_TENSOR_DESCRIPTOR,
         {CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_ATTR_TENSOR_STRIDES,
          CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT}},
        {CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR,
         {CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS,
          CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES,
          CUDNN_ATTR_CONVOLUTION_DILATIONS}},
        {CUDNN_BACKEND_POINTWISE_DESCRIPTOR, {CUDNN_ATTR_POINTWISE_MODE, CUDNN_ATTR_POINTWISE_MATH_PREC}},
        {CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR,
         {CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, CUDNN_ATTR_OPERATION_POINTWISE_XDESC,
          CUDNN_ATTR_OPERATION_POINTWISE_YDESC}},
        {CUDNN_BACKEND_MATMUL_DESCRIPTOR, {CUDNN_ATTR_MATMUL_COMP_TYPE}},
        {CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR,
         {CUDNN_ATTR_OPERATION_MATMUL_ADESC, CUDNN_ATTR_OPERATION_MATMUL_BDESC, CUDNN_ATTR_OPERATION_MATMUL_CDESC,
          CUDNN_ATTR_OPERATION_MATMUL_DESC}},
        {CUDNN_BACKEND_REDUCTION_DESCRIPTOR, {CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_ATTR_REDUCTION_COMP_TYPE}},
        {CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR,
         {CUDNN_ATTR_OPERATION_REDUCTION_XDESC, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, CUDNN_ATTR_OPERATION_REDUCTION_DESC}},
        {CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR, {CUDNN_ATTR_OPERATION_RESHAPE_XDESC, CUDNN_ATTR_OPERATION_RESHAPE_YDESC}},
        {CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, {CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_ATTR_OPERATIONGRAPH_OPS}},
        {CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, {CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_ATTR_ENGINEHEUR_MODE}},
        {CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, {CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG}},
        {CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, {CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS}}};
    auto it = needed.find(n->type);
    if (it != needed.end())
        for (int a : it->second)
            if (!has(n, a)) return CUDNN_STATUS_BAD_PARAM;
    for (auto &a : n->attribute)
        for (auto &k : a.second.nodes)
            if (!k->finished) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    if (n->type == CUDNN_BACKEND_TENSOR_DESCRIPTOR &&
        n->attribute[CUDNN_ATTR_TENSOR_DIMENSIONS].count != n->attribute[CUDNN_ATTR_TENSOR_STRIDES].count)
        return CUDNN_STATUS_BAD_PARAM;
    const names *c;
    if (is_conv(n, &c)) {
        for (int a : {c->conv, c->w, c->x, c->y})
            if (!has(n, a)) return CUDNN_STATUS_BAD_PARAM;
        if (!conv_shapes_fit(n, c)) return CUDNN_STATUS_BAD_PARAM;
    }
    if (n->type == CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR &&
        (ft_shim()->refuse_libraries || refused(n->attribute[CUDNN_ATTR_OPERATIONGRAPH_OPS].nodes)))
        return CUDNN_STATUS_NOT_SUPPORTED;
    return CUDNN_STATUS_SUCCESS;
}

extern "C" {
size_t cudnnGetVersion(void) { return 91900; }
const char *cudnnGetErrorString(cudnnStatus_t st)
{
    return st == CUDNN_STATUS_SUCCESS ? "success" : st == CUDNN_STATUS_NOT_SUPPORTED ? "not supported" : "a wrong parameter";
}
void cudnnGetLastErrorString(char *message, size_t room)
{
    if (room) *message = 0;
}
cudnnStatus_t cudnnCreate(cudnnHandle_t *h) { return *h = new ft_shim_dnn_handle, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnSetStream(cudnnHandle_t h, cudaStream_t s) { return h->stream = s, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t *d)
{
    *d = new ft_shim_dnn{std::make_shared<node>()};
    (*d)->n->type = type;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t d) { return delete d, CUDNN_STATUS_SUCCESS; }
cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void *values)
{
    if (d->n->finished || count < 1) return CUDNN_STATUS_BAD_PARAM;
    value v{type, count, {}, {}};
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR)
        for (int64_t i = 0; i < count; i++) {
            if (!((ft_shim_dnn *const *)values)[i]) return CUDNN_STATUS_BAD_PARAM;
            v.nodes.push_back(((ft_shim_dnn *const *)values)[i]->n);
        }
    else v.bytes.assign((const char *)values, (const char *)values + (size_t)count * size_of(type));
    d->n->attribute[name] = v;
    return CUDNN_STATUS_SUCCESS;
}
cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t d)
{
    cudnnStatus_t st = complete(d->n);
    d->n->finished = st == CUDNN_STATUS_SUCCESS;
    return st;
}
cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t,
                                       int64_t room, int64_t *count, void *values)
{
    node_p n = d->n;
    if (name == CUDNN_ATTR_ENGINEHEUR_RESULTS) {
        static const int64_t kinds[] = {FAILING, ASCENDING, DESCENDING};
        bool choice = ft_shim()->algorithms > 1;
        for (*count = 0; *count < (choice ? 3 : 1) && *count < room; ++*count) {
            node_p engine = std::make_shared<node>();
            engine->type = CUDNN_BACKEND_ENGINE_DESCRIPTOR;
            engine->attribute[ENGINE_GRAPH].nodes = {child(n, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH)};
            int64_t index = kinds[choice ? *count : 1];
            engine->attribute[CUDNN_ATTR_ENGINE_GLOBAL_INDEX].bytes.assign((char *)&index, (char *)(&index + 1));
            engine->finished = true;
            ft_shim_dnn *config = ((ft_shim_dnn **)values)[*count];
            config->n->attribute[CUDNN_ATTR_ENGINECFG_ENGINE].nodes = {engine};
            config->n->finished = true;
        }
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINECFG_ENGINE) {
        *count = 1;
        ((ft_shim_dnn **)values)[0]->n = child(n, CUDNN_ATTR_ENGINECFG_ENGINE);
        return CUDNN_STATUS_SUCCESS;
    }
    if (name == CUDNN_ATTR_ENGINECFG_KNOB_CHOICES) return *count = 0, CUDNN_STATUS_SUCCESS;
    if (name == CUDNN_ATTR_ENGINE_GLOBAL_INDEX) return *(int64_t *)values = integer(n, name), *count = 1, CUDNN_STATUS_SUCCESS;
    if (name == CUDNN_ATTR_ENGINE_NUMERICAL_NOTE) return *count = 0, CUDNN_STATUS_SUCCESS;
    if (name == CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE) return *(int64_t *)values = 1024, *count = 1, CUDNN_STATUS_SUCCESS;
    return CUDNN_STATUS_BAD_PARAM;
}
cudnnStatus_t cudnnBackendExecute(cudnnHandle_t h, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack)
{
    ft_shim()->calls++;
    if (!plan->n->finished || !pack->n->finished) return CUDNN_STATUS_BAD_PARAM_NOT_FINALIZED;
    node_p engine = child(child(plan->n, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG), CUDNN_ATTR_ENGINECFG_ENGINE);
    node_p graph = child(engine, ENGINE_GRAPH);
    int64_t kind = integer(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX);
    if (kind == FAILING) return CUDNN_STATUS_NOT_SUPPORTED;
    auto r = std::make_shared<run_of>();
    r->otherwise = kind == DESCENDING;
    value &ids = pack->n->attribute[CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS],
          &ptr = pack->n->attribute[CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS];
    if (ids.count != ptr.count) return CUDNN_STATUS_BAD_PARAM;
    for (int64_t i = 0; i < ids.count; i++) r->data[((int64_t *)ids.bytes.data())[i]] = ((void **)ptr.bytes.data())[i];
    std::vector<node_p> ops = graph->attribute[CUDNN_ATTR_OPERATIONGRAPH_OPS].nodes;
    auto scalars = std::make_shared<std::map<int64_t, float>>();
    for (auto &op : ops)
        for (auto &a : op->attribute)
            for (auto &k : a.second.nodes) {
                if (k->type != CUDNN_BACKEND_TENSOR_DESCRIPTOR) continue;
                tensor t = tensor_of(k);
                if (t.is_virtual) continue;
                if (!r->data.count(t.id) || !r->data[t.id]) return CUDNN_STATUS_BAD_PARAM;
                if ((uintptr_t)r->data[t.id] % (t.by_value ? 4u : (uintptr_t)t.align))
                    return CUDNN_STATUS_BAD_PARAM_MISALIGNED_POINTER;
                if (t.by_value) { /* read now */
                    (*scalars)[t.id] = *(float *)r->data[t.id];
                    r->data[t.id] = &(*scalars)[t.id];
                }
            }
    void *work = ((void **)pack->n->attribute[CUDNN_ATTR_VARIANT_PACK_WORKSPACE].bytes.data())[0];
    ft_shim_enqueue(h->stream, [=] {
        memset(work, 0xFF, 1024);
        run_of mine = *r;
        for (auto &op : ops) {
            const names *c;
            if (is_conv(op, &c)) convolve(op, c, mine);
            else if (op->type == CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR) pointwise(op, mine);
            else if (op->type == CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR) matmul(op, mine);
            else if (op->type == CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR) reduce(op, mine);
            else reshape(op, mine);
        }
        (void)scalars; /* kept alive */
    });
    return CUDNN_STATUS_SUCCESS;
}
}

/* ---- cuFFT -------------------------------------------------------------------------------------------------------------- */

struct transform {
    int h, w, batch;
    cufftType type;
    cudaStream_t stream;
};
static std::vector<transform> &all_transforms(void)
{
    static std::vector<transform> &v = *new std::vector<transform>;
    return v;
}

static void execute(const transform &t, float *real, cufftComplex *half)
{
    int hw = t.h * t.w, n = t.h * (t.w / 2 + 1);
    for (int b = 0; b < t.batch; b++) {
        fftwf_plan p =
            t.type == CUFFT_R2C
                ? fftwf_plan_dft_r2c_2d(t.h, t.w, real + b * hw, (fftwf_complex *)(half + b * n), FFTW_ESTIMATE | FFTW_UNALIGNED)
                : fftwf_plan_dft_c2r_2d(t.h, t.w, (fftwf_complex *)(half + b * n), real + b * hw, FFTW_ESTIMATE | FFTW_UNALIGNED);
        fftwf_execute(p);
        fftwf_destroy_plan(p);
    }
}

extern "C" {
cufftResult cufftPlanMany(cufftHandle *plan, int rank, int *n, int *, int, int, int *, int, int, cufftType type, int batch)
{
    if (rank != 2) return CUFFT_INVALID_VALUE;
    all_transforms().push_back({n[0], n[1], batch, type, NULL});
    *plan = (int)all_transforms().size() - 1;
    return CUFFT_SUCCESS;
}
cufftResult cufftSetStream(cufftHandle plan, cudaStream_t s) { return all_transforms()[(size_t)plan].stream = s, CUFFT_SUCCESS; }
cufftResult cufftExecR2C(cufftHandle plan, cufftReal *in, cufftComplex *out)
{
    transform t = all_transforms()[(size_t)plan];
    if (t.type != CUFFT_R2C || (uintptr_t)out % 8) return CUFFT_INVALID_PLAN;
    ft_shim_enqueue(t.stream, [=] { execute(t, in, out); });
    return CUFFT_SUCCESS;
}
cufftResult cufftExecC2R(cufftHandle plan, cufftComplex *in, cufftReal *out)
{
    transform t = all_transforms()[(size_t)plan];
    if (t.type != CUFFT_C2R || (uintptr_t)in % 8) return CUFFT_INVALID_PLAN;
    ft_shim_enqueue(t.stream, [=] { execute(t, out, in); });
    return CUFFT_SUCCESS;
}
cufftResult cufftDestroy(cufftHandle) { return CUFFT_SUCCESS; }
}

/* ---- NCCL: a shared file with a place for every rank -------------------------------------------------------------------- */

enum { PIECE = 1 << 16 };
struct board {
    volatile int arrived, turn;
};
struct ft_shim_comm {
    int rank, ranks;
    board *b;
    float *place;
};

static void meet(ft_shim_comm *c)
{
    int turn = c->b->turn;
    if (__sync_add_and_fetch(&c->b->arrived, 1) == c->ranks) {
        c->b->arrived = 0;
        __sync_synchronize();
        c->b->turn = turn + 1;
    } else
        while (c->b->turn == turn) sched_yield();
    __sync_synchronize();
}

extern "C" {
ncclResult_t ncclGetVersion(int *v) { return *v = 22809, ncclSuccess; }
const char *ncclGetErrorString(ncclResult_t r) { return r == ncclSuccess ? "success" : "an error of the shim"; }
ncclResult_t ncclGetUniqueId(ncclUniqueId *id)
{
    memset(id, 0, sizeof *id);
    snprintf(id->internal, sizeof id->internal, "/tmp/forty-shim-nccl-%d", (int)getpid());
    return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank)
{
    size_t size = sizeof(board) + 64 + (size_t)ranks * PIECE * sizeof(float);
    int f = open(id.internal, O_RDWR | O_CREAT, 0600);
    if (f < 0 || ftruncate(f, (off_t)size) < 0) return ncclSystemError;
    char *p = (char *)mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f, 0);
    close(f);
    if (p == MAP_FAILED) return ncclSystemError;
    *comm = new ft_shim_comm{rank, ranks, (board *)p, (float *)(p + sizeof(board) + 56)};
    meet(*comm);
    if (rank == 0) unlink(id.internal);
    return ncclSuccess;
}
ncclResult_t ncclAllReduce(const void *from, void *to, size_t n, ncclDataType_t type, ncclRedOp_t op, ncclComm_t c,
                           cudaStream_t s)
{
    if (type != ncclFloat || !c) return ncclInvalidArgument;
    ft_shim_enqueue(s, [=] {
        for (size_t at = 0; at < n; at += PIECE) {
            size_t m = n - at < PIECE ? n - at : (size_t)PIECE;
            memcpy(c->place + (size_t)c->rank * PIECE, (const float *)from + at, m * sizeof(float));
            meet(c);
            for (size_t i = 0; i < m; i++) {
                float sum = 0;
                for (int r = 0; r < c->ranks; r++) sum += c->place[(size_t)r * PIECE + i];
                ((float *)to)[at + i] = op == ncclAvg ? sum / (float)c->ranks : sum;
            }
            meet(c);
        }
    });
    return ncclSuccess;
}
}
