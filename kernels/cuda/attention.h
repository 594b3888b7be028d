/* Attention by cuDNN's fused kernels: bf16, head widths that are multiples of 8 up to 128, no relative positions. */
#ifndef FT_CUDA_ATTENTION_H
#define FT_CUDA_ATTENTION_H

#include "kernels/cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Sets c->state if cuDNN takes this one; leaves it NULL, and FT_OK, if the plain kernels have to. */
int ft_cuda_flash_prepare(ft_call *c, bool backward);
void ft_cuda_flash_forward(const ft_call *c);
void ft_cuda_flash_backward(const ft_call *c);

/* Few queries and keys on our own tensor-core kernel (attention_short.cu): not at all, where cuDNN refuses, or rather than cuDNN,
 * whose tiles of 64 and more would lie empty. */
typedef enum { FT_SHORT_NO, FT_SHORT_ELSE, FT_SHORT_BEST } ft_short;
ft_short ft_cuda_attention_short(const ft_call *c, bool backward);
void ft_cuda_attention_short_forward(const ft_call *c);
void ft_cuda_attention_short_backward(const ft_call *c);

#ifdef __cplusplus
}
#endif
#endif
