/* Where plans compute: the processor, or a GPU through the plugin libforty_cuda.so beside the program. Chosen once for a context
 * (common/base/context.h); every plan that is made in it computes there. Several processes of one machine take a GPU each;
 * CUDA_VISIBLE_DEVICES says which there are. */
#ifndef FT_BACKEND_H
#define FT_BACKEND_H

#include "kernels/kernel.h"

/* "cpu", "cuda", "cuda:N", or "auto": a GPU if there is one. Only noted: the first plan opens it, so what computes nothing costs
 * nothing. */
int ft_backend_select(const char *name);
int ft_backend_open(void);                /* FT_EDEVICE: what was selected cannot be had */
void ft_backend_use(const ft_backend *b); /* one that is linked in (tests) */
const ft_backend *ft_backend_now(void);   /* opened by now, or the processor */

/* What `doctor` says of GPUs: "NVIDIA H200, sm_90, ...", or why there is none. Starts the device if it can. */
const char *ft_backend_gpu(bool *usable);

bool ft_backend_has_bf16(void); /* bf16 storage with products in bf16 is possible */

#endif
