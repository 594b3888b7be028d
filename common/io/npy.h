/* NumPy files (.npy, format 1.0 to 3.0), seen as a tensor of a safetensors file. */
#ifndef FT_NPY_H
#define FT_NPY_H

#include "common/io/safetensors.h"

typedef struct {
    ft_st_tensor tensor; /* ft_safetensors_f32 gives its values */
    char *file;          /* owns the data */
} ft_npy;

/* Little-endian numbers and bools in C order. FT_EDATA names the file and what is wrong. */
int ft_npy_read(ft_npy *a, const char *path);
void ft_npy_free(ft_npy *a);

#endif
