/* cuDNN's graph API (backend descriptors) in C: tensors, operations, and the execution plan of a small graph. Used by
 * convolution.cu and attention_cudnn.c. A refusal is no fault of the user: callers fall back to plain kernels.
 *
 * A graph collects its descriptors; after the first refusal (graph.rc < 0) its functions do nothing, so only ft_dnn_plan_new is
 * looked at. */
#ifndef FT_CUDA_DNN_GRAPH_H
#define FT_CUDA_DNN_GRAPH_H

#include <cudnn.h>

#include "kernels/cuda/runtime.h"

#if CUDNN_VERSION < 90800
#error "forty needs cuDNN 9.8 or newer"
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef cudnnBackendDescriptor_t ft_dnn;
typedef enum { FT_DNN_REAL, FT_DNN_VIRTUAL, FT_DNN_VALUE } ft_dnn_tensor_kind; /* in memory; between operations; a host's f32 */

enum { FT_DNN_MADE = 96, FT_DNN_OPS = 24, FT_DNN_ALIGN = 16 };
typedef struct {
    ft_dnn made[FT_DNN_MADE], op[FT_DNN_OPS];
    int n_made, n_ops, rc;
    unsigned char *text; /* all that was set, as bytes: equal graphs have equal texts */
    size_t n_text, room;
} ft_dnn_graph; /* all zeros at first */

int ft_dnn_start(void); /* FT_EDEVICE: no cuDNN that works */
/* For tests on machines without a GPU: plans are made for the device that cuDNN's JSON describes, and cannot be run. */
int ft_dnn_describe_device(const char *json);

/* addresses of tensors in memory are multiples of FT_DNN_ALIGN */
ft_dnn ft_dnn_tensor(ft_dnn_graph *g, int64_t id, cudnnDataType_t type, int nd, const int64_t *dim, const int64_t *stride,
                     ft_dnn_tensor_kind kind);
void ft_dnn_matmul(ft_dnn_graph *g, ft_dnn a, ft_dnn b, ft_dnn y);
void ft_dnn_pointwise(ft_dnn_graph *g, cudnnPointwiseMode_t mode, ft_dnn x, ft_dnn b, ft_dnn y); /* b: NULL for one operand */
void ft_dnn_reduce(ft_dnn_graph *g, cudnnReduceTensorOp_t how, ft_dnn x, ft_dnn y);
void ft_dnn_reshape(ft_dnn_graph *g, ft_dnn x, ft_dnn y);
/* other descriptors, piece by piece; `operation`: it becomes one of the graph's */
ft_dnn ft_dnn_begin(ft_dnn_graph *g, cudnnBackendDescriptorType_t type);
void ft_dnn_set(ft_dnn_graph *g, ft_dnn d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *value);
void ft_dnn_end(ft_dnn_graph *g, ft_dnn d, bool operation);
void ft_dnn_graph_free(ft_dnn_graph *g);

typedef struct ft_dnn_plan ft_dnn_plan;
/* exact: engines that round f32 to less are left out; those whose sums depend on chance always are. n_id tensors are in memory.
 * Algorithms are timed on a real device, `bytes[i]` of scratch each (0: a host's scalar). Equal graphs get one plan, made once;
 * it lives as long as the program. FT_EDEVICE */
int ft_dnn_plan_new(const ft_dnn_plan **plan, ft_dnn_graph *g, bool exact, int n_id, const int64_t *id, const size_t *bytes,
                    const char *what);
size_t ft_dnn_plan_work(const ft_dnn_plan *p);
void ft_dnn_plan_run(const ft_dnn_plan *p, void **data, void *work); /* data: as many as n_id, in the order of `id` */
void ft_dnn_forget(void);                                            /* all plans and refusals: for tests, when none is in use */

#ifdef __cplusplus
}
#endif
#endif
