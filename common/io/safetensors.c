#include "common/io/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <errno.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "kernels/elem.h"

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {{"F32", 4}, {"F64", 8}, {"F16", 2}, {"BF16", 2}, {"I64", 8}, {"U64", 8}, {"I32", 4},
              {"U32", 4}, {"I16", 2}, {"U16", 2}, {"I8", 1},   {"U8", 1},  {"BOOL", 1}};

static size_t dtype_size(const char *name)
{
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, name)) return dtypes[i].size;
    return 0;
}

static int by_begin(const void *a, const void *b)
{
    const ft_st_tensor *x = a, *y = b;
    return x->data < y->data ? -1 : x->data > y->data ? 1 : x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int one(ft_st_tensor *t, const char *path, const char *name, json_t *v, const char *data, size_t size)
{
    json_t *shape = json_object_get(v, "shape"), *span = json_object_get(v, "data_offsets");
    const char *dtype = json_string_value(json_object_get(v, "dtype"));
    if (!dtype || !json_is_array(shape) || json_array_size(span) != 2 || json_array_size(shape) > FT_ST_DIMS)
        return FT_FAIL(FT_EDATA, "%s: tensor %s: dtype, shape (at most %d dims) or data_offsets is missing. The file is damaged",
                       path, name, FT_ST_DIMS);
    size_t each = dtype_size(dtype);
    if (!each)
        return FT_FAIL(FT_EDATA, "%s: tensor %s: dtype %.20s is not known. Convert it to F32, F16 or BF16", path, name, dtype);
    snprintf(t->dtype, sizeof t->dtype, "%s", dtype);
    t->ndim = (int)json_array_size(shape);
    t->count = 1;
    for (int i = 0; i < t->ndim; i++) {
        json_t *d = json_array_get(shape, (size_t)i);
        int64_t k = json_integer_value(d);
        if (!json_is_integer(d) || k < 0 || (k > 0 && t->count > INT64_MAX / 16 / k))
            return FT_FAIL(FT_EDATA, "%s: tensor %s: dim %d is impossible. The file is damaged", path, name, i);
        t->count *= t->dim[i] = k;
    }
    int64_t from = json_integer_value(json_array_get(span, 0)), to = json_integer_value(json_array_get(span, 1));
    if (from < 0 || to < from || (uint64_t)to > size || (uint64_t)(to - from) != (uint64_t)t->count * each)
        return FT_FAIL(FT_EDATA,
                       "%s: tensor %s: bytes %lld to %lld do not hold its %lld values of %s (%zu bytes of data). The file is "
                       "damaged or cut off",
                       path, name, (long long)from, (long long)to, (long long)t->count, dtype, size);
    t->data = data + from;
    t->bytes = (size_t)(to - from);
    t->name = ft_strdup(name);
    return t->name ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory for a name", path);
}

int ft_safetensors_read(ft_safetensors *st, const char *path)
{
    memset(st, 0, sizeof *st);
    FT_TRY(ft_read_file(path, (size_t)1 << 36, &st->file, &st->file_size));
    json_t *root = NULL;
    int rc = FT_OK;
    uint64_t length = 0;
    if (st->file_size >= 8)
        for (int i = 7; i >= 0; i--) length = length << 8 | (unsigned char)st->file[i];
    if (st->file_size < 8 || length > st->file_size - 8 || length > (100u << 20)) {
        rc = FT_FAIL(FT_EDATA, "%s: not a safetensors file (%zu bytes, header of %llu). Check the path", path, st->file_size,
                     (unsigned long long)length);
        goto done;
    }
    json_error_t err;
    root = json_loadb(st->file + 8, (size_t)length, JSON_REJECT_DUPLICATES, &err);
    if (!json_is_object(root)) {
        rc = FT_FAIL(FT_EDATA, "%s: the header is not JSON (%s). The file is damaged", path, root ? "not an object" : err.text);
        goto done;
    }
    const char *data = st->file + 8 + length, *key;
    size_t size = st->file_size - 8 - (size_t)length;
    json_t *v;
    if (!(st->tensor = ft_alloc(sizeof *st->tensor * (json_object_size(root) + 1)))) {
        rc = FT_FAIL(FT_ENOMEM, "%s: no memory for %zu tensors", path, json_object_size(root));
        goto done;
    }
    json_object_foreach(root, key, v)
    {
        if (!strcmp(key, "__metadata__")) {
            st->metadata = json_incref(v);
            continue;
        }
        FT_TRY_TO(rc, done, one(&st->tensor[st->n], path, key, v, data, size));
        st->n++;
    }
    if (st->n) qsort(st->tensor, (size_t)st->n, sizeof *st->tensor, by_begin);
    for (int i = 1; i < st->n; i++)
        if ((const char *)st->tensor[i].data < (const char *)st->tensor[i - 1].data + st->tensor[i - 1].bytes) {
            rc = FT_FAIL(FT_EDATA, "%s: tensors %s and %s overlap. The file is damaged", path, st->tensor[i - 1].name,
                         st->tensor[i].name);
            goto done;
        }
done:
    json_decref(root);
    if (rc < 0) ft_safetensors_free(st);
    return rc;
}

void ft_safetensors_free(ft_safetensors *st)
{
    for (int i = 0; i < st->n; i++) ft_free(st->tensor[i].name);
    ft_free(st->tensor);
    ft_free(st->file);
    json_decref(st->metadata);
    memset(st, 0, sizeof *st);
}

const ft_st_tensor *ft_safetensors_find(const ft_safetensors *st, const char *name)
{
    for (int i = 0; i < st->n; i++)
        if (!strcmp(st->tensor[i].name, name)) return &st->tensor[i];
    return NULL;
}

static float from_f16(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    float v = e == 0 ? ldexpf((float)m, -24) : e == 31 ? (m ? NAN : INFINITY) : ldexpf((float)(m + 1024), e - 25);
    return h >> 15 ? -v : v;
}

int ft_safetensors_f32(const ft_st_tensor *t, float *dst)
{
    const char *p = t->data;
    for (int64_t i = 0; i < t->count; i++) { /* memcpy: the data need not be aligned */
        uint16_t h;
        double d;
        int64_t q;
        int32_t w;
        if (!strcmp(t->dtype, "F32")) memcpy(&dst[i], p + 4 * i, 4);
        else if (!strcmp(t->dtype, "BF16")) memcpy(&h, p + 2 * i, 2), dst[i] = ft_from_bf16(h);
        else if (!strcmp(t->dtype, "F16")) memcpy(&h, p + 2 * i, 2), dst[i] = from_f16(h);
        else if (!strcmp(t->dtype, "F64")) memcpy(&d, p + 8 * i, 8), dst[i] = (float)d;
        else if (!strcmp(t->dtype, "I64")) memcpy(&q, p + 8 * i, 8), dst[i] = (float)q;
        else if (!strcmp(t->dtype, "I32")) memcpy(&w, p + 4 * i, 4), dst[i] = (float)w;
        else if (!strcmp(t->dtype, "I16")) memcpy(&h, p + 2 * i, 2), dst[i] = (float)(int16_t)h;
        else if (!strcmp(t->dtype, "I8")) dst[i] = (float)((const int8_t *)p)[i];
        else if (!strcmp(t->dtype, "U8") || !strcmp(t->dtype, "BOOL")) dst[i] = (float)((const uint8_t *)p)[i];
        else return FT_FAIL(FT_EDATA, "tensor %s: %s cannot be read as numbers", t->name, t->dtype);
    }
    return FT_OK;
}

int ft_safetensors_write(const char *path, const ft_st_tensor *tensor, int n, const json_t *metadata)
{
    json_t *root = json_object();
    size_t at = 0;
    if (metadata) json_object_set(root, "__metadata__", (json_t *)metadata);
    for (int i = 0; i < n; i++) {
        json_t *shape = json_array();
        for (int k = 0; k < tensor[i].ndim; k++) json_array_append_new(shape, json_integer(tensor[i].dim[k]));
        json_object_set_new(root, tensor[i].name,
                            json_pack("{s:s, s:o, s:[I,I]}", "dtype", tensor[i].dtype, "shape", shape, "data_offsets",
                                      (json_int_t)at, (json_int_t)(at + tensor[i].bytes)));
        at += tensor[i].bytes;
    }
    char *text;
    int made = ft_json_text(root, JSON_COMPACT, &text);
    json_decref(root);
    if (made < 0) return FT_FAIL(made, "%s: %s", path, ft_error_message());
    size_t length = strlen(text), padded = (length + 7) / 8 * 8;
    ft_atomic a;
    int rc = ft_atomic_begin(&a, path);
    FILE *f = rc == FT_OK ? fopen(a.temp, "wb") : NULL;
    if (f) {
        unsigned char head[8];
        for (int i = 0; i < 8; i++) head[i] = (unsigned char)(padded >> (8 * i));
        size_t ok = fwrite(head, 8, 1, f) + fwrite(text, length, 1, f);
        for (size_t i = length; i < padded; i++) fputc(' ', f);
        for (int i = 0; i < n; i++) ok += !tensor[i].bytes || fwrite(tensor[i].data, tensor[i].bytes, 1, f);
        if (fclose(f) != 0 || ok != (size_t)n + 2) {
            rc = FT_FAIL(FT_EIO, "%s: cannot be written (%s). Is the disk full?", path, strerror(errno));
            ft_atomic_abort(&a);
        } else rc = ft_atomic_commit(&a);
    } else if (rc == FT_OK) {
        rc = FT_FAIL(FT_EIO, "%s: cannot be written (%s)", path, strerror(errno));
        ft_atomic_abort(&a);
    }
    ft_free(text);
    return rc;
}
