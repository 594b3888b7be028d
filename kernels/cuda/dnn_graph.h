/* cuDNN's graph API (backend descriptors) in C: tensors, operations, and the execution plan of a small graph. Used by
 * convolution.cu and attention_cudnn.c. Every function returns FT_OK or FT_EDEVICE; a refusal is no fault of the user: callers
 * fall back to plain kernels. */
#ifndef FT_CUDA_DNN_GRAPH_H
#define FT_CUDA_DNN_GRAPH_H

#include <cudnn.h>

#include "kernels/cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef cudnnBackendDescriptor_t ft_dnn;
typedef enum {
    FT_DNN_REAL,
    FT_DNN_VIRTUAL,
    FT_DNN_VALUE
} ft_dnn_tensor_kind; /* in memory; between operations; a host's scalar */

int ft_dnn_start(void); /* FT_EDEVICE: no cuDNN that works */
int ft_dnn_tensor(ft_dnn *to, int64_t id, cudnnDataType_t type, int nd, const int64_t *dim, const int64_t *stride, int64_t align,
                  ft_dnn_tensor_kind kind);
int ft_dnn_make(ft_dnn *to, cudnnBackendDescriptorType_t type);
int ft_dnn_set(ft_dnn d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void *value);
int ft_dnn_finish(ft_dnn d, const char *what);
void ft_dnn_free(ft_dnn *d, int n); /* NULLs are allowed */

typedef struct ft_dnn_plan ft_dnn_plan;
/* exact: engines that round f32 to less, or whose sums depend on chance, are left out. n_id tensors are in memory. Algorithms are
 * timed on a real device, `bytes[i]` of scratch each. */
int ft_dnn_plan_new(ft_dnn_plan **plan, const ft_dnn *ops, int n_ops, bool exact, int n_id, const int64_t *id,
                    const size_t *bytes, const char *what);
size_t ft_dnn_plan_work(const ft_dnn_plan *p);
void ft_dnn_plan_run(const ft_dnn_plan *p, void **data, void *work); /* data: as many as n_id, in the order of `id` */
void ft_dnn_plan_free(ft_dnn_plan *p);

#ifdef __cplusplus
}
#endif
#endif
