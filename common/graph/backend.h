/* Where plans compute: the processor, or a GPU through the plugin libforty_cuda.so beside the program. Chosen once, before the first
 * plan; every plan of the process computes there. */
#ifndef FT_BACKEND_H
#define FT_BACKEND_H

#include "kernels/kernel.h"

/* "cpu", "cuda", "cuda:N" (N: which GPU; else the rank's own), or "auto": a GPU if there is one. FT_EDEVICE: it cannot be had */
int ft_backend_select(const char *name);
void ft_backend_use(const ft_backend *b); /* one that is linked in (tests); NULL: the processor */
const ft_backend *ft_backend_now(void);   /* "cpu" where nothing was selected */

/* What `doctor` says of GPUs: "NVIDIA H200, sm_90, ...", or why there is none. Starts the device if it can. */
const char *ft_backend_gpu(bool *usable);

bool ft_backend_has_bf16(void);  /* bf16 storage with products in bf16 is possible */
bool ft_backend_fast_bf16(void); /* and faster than f32 */

#endif
