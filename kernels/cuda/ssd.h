/* SSD in chunks of 64 tokens on tensor cores: bf16, heads of 16, 32 or 64 channels, a state of a multiple of 16. ssd.cu takes the
 * rest. */
#ifndef FT_CUDA_SSD_H
#define FT_CUDA_SSD_H

#include "kernels/cuda/runtime.h"

#ifdef __cplusplus
extern "C" {
#endif

bool ft_cuda_ssd_chunk_fits(const ft_call *c, bool backward);
void ft_cuda_ssd_chunk(const ft_call *c);
size_t ft_cuda_ssd_chunk_work(const ft_call *c, bool backward); /* bytes of scratch */
void ft_cuda_ssd_chunk_bwd(const ft_call *c);

#ifdef __cplusplus
}
#endif
#endif
