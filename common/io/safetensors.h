/* safetensors files (huggingface/safetensors, format 0.x): 8 bytes header length, JSON header, raw little-endian data. */
#ifndef FT_SAFETENSORS_H
#define FT_SAFETENSORS_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "common/io/lookup.h"

enum { FT_ST_DIMS = 8 };
typedef struct {
    char *name, dtype[12]; /* "F32", "BF16", "F16", "F64", "I64", "I32", "U8", "BOOL" ... as in the file */
    int ndim;
    int64_t dim[FT_ST_DIMS], count;
    const void *data;
    size_t bytes;
} ft_st_tensor;

typedef struct {
    ft_st_tensor *tensor;
    int n;
    json_t *metadata; /* object of strings, or NULL */
    char *file;       /* owns the data */
    size_t file_size;
    ft_lookup by_name;
} ft_safetensors;

/* Reads and checks everything: header bounds, JSON, names, dtypes, shapes against offsets, overlaps, gaps, duplicate names.
 * FT_EDATA names the file and the tensor. Free with ft_safetensors_free. */
int ft_safetensors_read(ft_safetensors *st, const char *path);
void ft_safetensors_free(ft_safetensors *st);
int ft_safetensors_index(ft_safetensors *st,
                         const char *path); /* for who fills `tensor` himself: FT_EDATA for names given twice */
const ft_st_tensor *ft_safetensors_find(const ft_safetensors *st, const char *name); /* NULL if absent */

/* The first n bytes of a file, 0 where it is shorter: to tell what it is before all of it is read. */
int ft_file_head(const char *path, unsigned char *head, size_t n);

/* Values as f32 into dst (count values): F32, F64, F16, BF16, I64 to I8, U8, BOOL. FT_EDATA for other dtypes. */
int ft_safetensors_f32(const ft_st_tensor *t, float *dst);

/* Atomically writes tensors (dtype, shape, data given) with metadata (object of strings, may be NULL). FT_EDATA for names that
 * could not be read back: not UTF-8, or twice. */
int ft_safetensors_write(const char *path, const ft_st_tensor *tensor, int n, const json_t *metadata);

#endif
