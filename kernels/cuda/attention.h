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

#ifdef __cplusplus
}
#endif
#endif
