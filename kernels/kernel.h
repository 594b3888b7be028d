/* What a kernel sees: raw buffers in, raw buffers out. CPU and CUDA kernels are twins behind this one call. */
#ifndef FT_KERNEL_H
#define FT_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/device.h"
#include "kernels/op_table.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { FT_MAX_DIMS = 6, FT_MAX_IN = 8, FT_MAX_OUT = 6 };

typedef enum { FT_F32, FT_BF16, FT_I32, FT_U8 } ft_dtype; /* u8: pixels, which ft_augment alone reads */
typedef enum {
    FT_RELU,
    FT_SILU,
    FT_SIGMOID,
    FT_EXP,
    FT_SQUARE,
    FT_CLAMP, /* a: low, b: high */
    FT_TANH,
    FT_ABS,
    FT_LEAKY_RELU, /* a: slope below 0; b: where the result ends, on both sides */
    FT_GELU,       /* x Phi(x), by erf */
    FT_GELU_TANH,  /* its tanh approximation */
    FT_SOFTPLUS,
    FT_LOG,
    FT_SQRT,
    FT_RSQRT,
    FT_RECIPROCAL,
    FT_SIN,
    FT_COS,
    FT_STEP /* 1 from 0 on, else 0; no gradient */
} ft_unary_kind;
typedef enum { FT_ADD, FT_SUB, FT_MUL, FT_DIV } ft_binary_kind;
typedef enum { FT_ACT_NONE, FT_ACT_RELU, FT_ACT_SILU, FT_ACT_GELU, FT_ACT_GELU_TANH, FT_ACT_SIGMOID } ft_act;
typedef enum {
    FT_MSE,
    FT_L1,
    FT_HUBER,     /* a: delta (PyTorch's huber_loss) */
    FT_BCE_LOGIT, /* target in [0, 1] */
    FT_HINGE      /* max(0, 1 - target * x), target +-1 */
} ft_loss_kind;
typedef enum {
    FT_AS_IS,
    FT_AUTOCONTRAST,
    FT_EQUALIZE,
    FT_BRIGHTNESS, /* m of these three and of sharpness: Pillow's factor, 1 changes nothing */
    FT_COLOR,
    FT_CONTRAST,
    FT_SHARPNESS,
    FT_POSTERIZE, /* m: bits kept */
    FT_SOLARIZE   /* m: the level from which values turn */
} ft_colour;
enum { FT_VIEW_NUMBERS = 10 };                                       /* of a clip in ft_augment: a b c d e f, kind m, kind m */
typedef enum { FT_POOL_MAX, FT_POOL_AVG, FT_POOL_SUM } ft_pool_kind; /* AVG: over the elements inside the input */

typedef struct {
    int64_t kernel[3], stride[3], pad_front[3], pad_back[3]; /* T, H, W; stride 0 means 1 */
    int64_t groups;                                          /* 0 means 1 */
    ft_act act;                                              /* of the result */
} ft_conv_opt;

typedef struct {
    int64_t heads;  /* width = heads * head dim */
    bool causal;    /* key j for query i when j <= i */
    float scale;    /* of the logits; 0: 1 / sqrt(head dim) */
    bool transpose; /* relative keys by q_j . R(j,i) instead of q_i . R(i,j): LVDM's released code */
} ft_sdpa_opt;

/* One axis as a fixed sparse matrix: row r of the result is the sum over e in [begin[r], begin[r+1]) of
 * weight[e] * row index[e]. */
typedef struct {
    int64_t rows;
    const int32_t *begin, *index;
    const float *weight; /* NULL: all 1 */
} ft_sparse;

typedef struct {
    float beta1, beta2, eps, weight_decay; /* zeros: 0.9, 0.999, 1e-8, 0 */
    float clip;                            /* global L2 norm; 0: none */
    int64_t clip_from;                     /* the step from which it holds */
    bool no_ema;                           /* the weights' average is left alone */
    bool sgd, nesterov;                    /* SGD with momentum beta1 */
    bool no_momentum;                      /* beta1 is 0 */
} ft_optim_opt;

typedef struct {
    uint64_t seed;
    int64_t step;  /* counts from 0; random numbers and bias correction depend on it */
    float lr, ema; /* this step's learning rate and EMA decay */
    int rank;      /* of processes that share the batch: its random numbers follow those of the ranks before it */
} ft_step;

/* A dense row-major array; dims beyond ndim are unused. */
#define FT_BUF_FIELDS                                                                                                            \
    ft_dtype dtype;                                                                                                              \
    int ndim;                                                                                                                    \
    int64_t dim[FT_MAX_DIMS];                                                                                                    \
    int64_t count;                                                                                                               \
    void *data;                                                                                                                  \
    const uint16_t *half; /* of parameters: the bf16 copy that a device keeps; NULL: none */
typedef struct {
    FT_BUF_FIELDS
} ft_buf;

/* Attributes of a node, one struct for each family of ops. */
typedef union {
    struct {
        int perm[FT_MAX_DIMS];
    } permute;
    struct {
        int axis;
        int64_t start, length; /* slice: from, count; pad: zeros in front, behind */
    } span;                    /* concat, slice, pad */
    struct {
        int axis;
        ft_sparse map, back; /* back: its transpose */
    } resample;
    struct {
        int kind;
        int64_t kernel[3], stride[3], pad_front[3];
    } pool; /* pool, upsample (factor = kernel) */
    struct {
        int kind;
        float a, b;
        bool by_sample; /* dropout: one draw for each sample (stochastic depth) */
    } scalar;           /* unary, binary, affine, broadcast, glu, dropout, losses, augment */
    struct {
        unsigned axes;
        bool mean;
    } reduce;
    struct {
        bool ta, tb;
        ft_act act;
    } matmul; /* matmul, linear */
    ft_conv_opt conv;
    struct {
        float eps, momentum;
        int groups;
        ft_act act;
        int64_t first;
        bool training;
        const int32_t *frame; /* groupnorm: the conditioning frame of each frame; NULL: nearest */
    } norm;
    struct {
        int window;
        float dropout;
        int64_t heads, state;
        int64_t columns; /* wkv: > 0: tokens of a grid with so many columns, visited column by column */
    } seq;
    ft_sdpa_opt sdpa;
    struct {
        int radius;
    } corr;
    ft_optim_opt optim;
} ft_attr;

/* The flat parameter store, for the optimiser's kernels. */
typedef struct {
    float *bank[2], *grad, *moment[2]; /* weights and EMA; gradients; m (or momentum) and v */
    int64_t trained, total;            /* values: trained first, buffers behind */
    const bool *decay;                 /* per block of 16 trained values: weight decay applies */
    uint16_t *half[2];                 /* on a device: the banks in bf16, or NULL */
    uint64_t touched;                  /* how often the host has written to it from outside */
    uint64_t version;                  /* changes whenever a bank does */
} ft_store;

typedef struct ft_call ft_call;
struct ft_call {
    int n_in, n_out;
    const ft_buf *in[FT_MAX_IN]; /* absent optional inputs and unwanted outputs are NULL */
    ft_buf *out[FT_MAX_OUT];
    const ft_attr *attr;
    uint32_t stream;   /* of random numbers: equal for a node and its backward twin */
    bool weights_move; /* in[1] is other at each run (this plan trains it, or it is an activation): a packed copy is not kept */
    /* set by ft_prepare_x */
    size_t work_size;
    void *state; /* kept between steps: primitives, packed weights */
    void (*free_state)(void *state);
    void (*repack)(
        const ft_call *c); /* on a device: makes kept copies of weights again; called before the list if they changed */
    bool bound;            /* on a device: calls a library that works on the first queue alone (device.h) */
    /* set for each run */
    const ft_step *step;
    ft_store *store;
    void *work;
    bool weights_changed; /* since the last run: kept packed copies must be made again */
};

typedef void ft_kernel(const ft_call *c);
typedef int ft_prepare(ft_call *c);
typedef struct {
    const char *name; /* "cpu x86-64-v4" */
    ft_kernel *kernel[FT_OP_COUNT];
    ft_prepare *prepare[FT_OP_COUNT];
    const ft_device *device; /* NULL: the host's own memory */
    /* multiply-adds of registers alone by the calling thread: FLOP done; 0: no such instruction. NULL: nothing to ask */
    double (*registers)(bool bf16, int64_t steps);
} ft_backend;

const ft_backend *ft_backend_cpu(void); /* the best the processor has; kernels/cpu/cpu_select.c */
bool ft_cpu_has_bf16(void);             /* products of bf16 are possible (AVX-512) */
const char *ft_cpu_library(void);       /* "oneDNN 3.7.2" (onednn.c) */

#ifdef __cplusplus
}
#endif
#endif
