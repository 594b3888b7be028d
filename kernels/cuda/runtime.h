/* What the files of this folder share on the host's side: the stream, memory, faults. runtime.c is the only one that knows how.
 */
#ifndef FT_CUDA_RUNTIME_H
#define FT_CUDA_RUNTIME_H

#include <cuda_runtime_api.h>

#include "common/base/status.h"
#include "kernels/kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

extern cudaStream_t ft_cuda_stream; /* everything happens on it; a node that is recorded: its queue's (kernels/device.h) */

int ft_cuda_ok(cudaError_t e, const char *what);                                   /* FT_OK, FT_ENOMEM or FT_EDEVICE */
void ft_cuda_fault(const char *format, ...) __attribute__((format(printf, 1, 2))); /* in a kernel: the run fails with this */
int ft_cuda_alloc(void **p, size_t size);                                          /* zeros */
void ft_cuda_free(void *p);
int ft_cuda_table(const void **device, const void *host, size_t size); /* a copy there, made at plan time */
bool ft_cuda_measures(void); /* algorithms are timed: on a real device. FORTY_CUDA_MEASURE=0: the libraries' first; 1: always */
double ft_cuda_time(bool (*work)(void *), void *context); /* seconds, best of a few; negative: it fails */
int ft_cuda_scratch(void **p, size_t size);               /* to time on: numbers of ordinary size, in bf16 as in f32 */

/* choice.c. `what` is computed by the algorithm called `name`, both at most FT_CHOICE - 1 characters of one line */
const char *ft_cuda_choice(const char *what); /* what was chosen before, here or by another process of the run; NULL: nothing */
const char *ft_cuda_choose(const char *what, const char *name, const char *how);   /* what holds now: name, or another's choice */
void ft_cuda_cannot(const char *what);                                             /* what was chosen before does not run here */
void ft_cuda_chose(const char *format, ...) __attribute__((format(printf, 1, 2))); /* a line for the run's environment */
const char *ft_cuda_choices(void);                                                 /* all those lines */
void ft_cuda_agree(ft_agree *f, void *context);
void ft_cuda_forget(void);          /* for tests: as a new process */
const char *ft_cuda_identity(void); /* GPU and libraries: what choices hold for */

const char *ft_cuda_cublas_version(void);
const char *ft_cuda_cudnn_version(void);
const char *ft_cuda_nccl_version(void);
int ft_cuda_join(int rank, int ranks, int (*share)(unsigned char *bytes, int n)); /* ranks_nccl.c */
int ft_cuda_mean(float *x, int64_t n);
/* reduce.cu: sums of the rows of x (rows, n); work: as many bytes as ..._work says */
size_t ft_cuda_column_sums_work(int64_t rows, int64_t n);
void ft_cuda_column_sums(float *out, const void *x, ft_dtype dtype, int64_t rows, int64_t n, float *work);
/* linear.cu: y = act(y + bias) over rows of n channels; bias may be NULL */
void ft_cuda_bias_act(void *y, ft_dtype dtype, const float *bias, int64_t count, int64_t n, ft_act act);
int ft_cuda_narrow(uint16_t *dst, const float *src, int64_t n); /* shape.cu */

#define OP(name, grad, prep, place, dev)                                                                                         \
    ft_kernel ft_cuda_##name;                                                                                                    \
    ft_prepare ft_cuda_prepare_##name;
FT_OP_TABLE(OP)
#undef OP

#ifdef __cplusplus
}
#endif
#endif
