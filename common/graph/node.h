/* What stands behind ft_t: shared by the graph's own files. Users include graph.h, kernels kernel.h. */
#ifndef FT_NODE_H
#define FT_NODE_H

#include "common/graph/graph.h"

typedef enum { FT_IS_ACT, FT_IS_INPUT, FT_IS_CONST, FT_IS_PARAM, FT_IS_GRAD } ft_tensor_kind;

struct ft_tensor {
    ft_graph *graph;
    ft_tensor_kind kind;
    union {
        ft_buf buf;
        struct {
            FT_BUF_FIELDS
        };
    };
    int id;
    const char *name; /* inputs and parameters */
    ft_node *maker;   /* node that writes it; NULL for leaves and views */
    ft_tensor *base;  /* storage owner: itself unless a view or an in-place result */
    int param;        /* index in the store; -1 if none */
    int members;      /* of a parameter: how many of the store it is, from `param` on (ft_param_group) */
    ft_params *store; /* that holds it: the graph's own or a lender's */
    size_t shift;     /* where in the base's storage it begins, in bytes (slices of the outermost axis, parts of a concat) */
    bool average;     /* of the running average of the weights, not of the weights */
    bool needs_grad, kept, assigned;
    bool lent;             /* kept for another graph, not for the host */
    ft_tensor *lender;     /* of an input: the tensor that it is; of another graph */
    ft_tensor *grad;       /* set by ft_backward */
    ft_tensor *landed;     /* of a leaf: the sum of its gradients so far; of a parameter where the optimiser reads it */
    struct ft_part *parts; /* gradients of slices of it, not yet put together */
    int given;             /* of a gradient: how many tensors it is, or is a part of, the gradient of (owners only) */
    int first, last;       /* positions in the list between which the storage lives (owners only) */
    size_t offset;         /* in the slab (owners only) */
    void *host;            /* plans on a device: what the host fills or reads (owners only); NULL: not yet made */
    int64_t fetched;       /* the run that `host` holds the result of */
    size_t result_at;      /* place among the results that come out by themselves; SIZE_MAX: it is fetched when asked for */
};

struct ft_node {
    ft_op op;
    int n_in, n_out, id;
    ft_t in[FT_MAX_IN], out[FT_MAX_OUT]; /* absent optional inputs and unwanted outputs are NULL */
    ft_attr attr;
    uint32_t stream; /* of random numbers: equal for a node and its backward twin */
    bool dead;       /* nobody needs what it makes */
    ft_call call;    /* filled when planning */
    /* where it is recorded (queues.c) */
    int queue, signal, n_follow, follow[FT_QUEUES - 1]; /* signal: given after it; -1: nobody waits for it. follow: waited for */
    double seconds;
};

struct ft_graph {
    struct ft_arena *arena;
    struct ft_context *context; /* that it was made in; NULL: of whoever runs it */
    ft_params *params, *lender;
    ft_dtype compute;
    uint32_t stream;
    bool training, failed, borrows, average;
    char error[512];
    ft_tensor **tensor;
    ft_node **node;
    int n_tensor, n_node;
    ft_plan *plan;             /* the latest */
    struct ft_region *regions; /* to be computed again in the backward pass; the latest first */
    ft_tensor dead;
};

/* Building (graph.c). ft__node checks nothing; op_build.c does. */
ft_node *ft__node(ft_graph *g, ft_op op, int n_in, const ft_t *in);
ft_t ft__out(ft_graph *g, ft_node *n, ft_dtype dtype, int ndim, const int64_t *dim);
ft_t ft__out_like(ft_graph *g, ft_node *n, ft_t like);
ft_t ft__fail(ft_graph *g, const char *op, const char *format, ...) __attribute__((format(printf, 3, 4)));
const char *ft__shape(ft_t t); /* "(8,16,64) bf16", in a ring of static buffers */
const char *ft__op_name(ft_op op);
ft_unary_kind ft__unary_of(ft_act act); /* not of FT_ACT_NONE; op_build.c */

/* The store (params.c). */
int ft__params_find(ft_params *p, const char *name, int ndim, const int64_t *dim, ft_init init, bool trained);
bool ft__params_follow(const ft_params *p, int first, int i, int k); /* i lies k sizes of `first` behind it, padded by nothing */
ft_store *ft__params_store(ft_params *p);                            /* the host's */

/* Its twin on a device. Each array has one side that is newer; reading on the host (ft_params_flat and the like) fetches what is.
 */
typedef enum { FT_ARRAY_WEIGHTS, FT_ARRAY_EMA, FT_ARRAY_GRAD, FT_ARRAY_M, FT_ARRAY_V, FT_ARRAYS } ft_array;
enum { FT_ARRAYS_ALL = (1 << FT_ARRAYS) - 1 };
int ft__params_to(ft_params *p, const ft_device *d, bool grad, bool moments, bool half); /* makes what is missing there */
ft_store *ft__params_there(ft_params *p);
int ft__params_push(ft_params *p, ft_bank half);        /* before a run: what the host has changed; the bf16 copy of a bank */
void ft__params_written(ft_params *p, unsigned arrays); /* after it: newer there; the optimiser keeps the weights' bf16 copy */
void *ft__device_data(ft_t t);                          /* ft_data of a plan on a device */

#endif
