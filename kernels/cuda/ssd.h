/* SSD in one chunk on tensor cores: bf16, up to 64 tokens, no state before or after. ssd.cu takes the rest. */
#ifndef FT_CUDA_SSD_H
#define FT_CUDA_SSD_H

#include "kernels/cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

bool ft_cuda_ssd_chunk_fits(const ft_call *c, bool backward);
void ft_cuda_ssd_chunk(const ft_call *c);
size_t ft_cuda_ssd_chunk_work(const ft_call *c); /* bytes of scratch, backward */
void ft_cuda_ssd_chunk_bwd(const ft_call *c);

#ifdef __cplusplus
}
#endif
#endif
