#include "common/io/npy.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/status.h"

static const struct {
    const char *npy, *name;
    size_t size;
} dtypes[] = {{"<f4", "F32", 4}, {"<f8", "F64", 8}, {"<f2", "F16", 2}, {"<i8", "I64", 8}, {"<i4", "I32", 4},
              {"<i2", "I16", 2}, {"|i1", "I8", 1},  {"|u1", "U8", 1},  {"|b1", "BOOL", 1}};

/* what stands behind 'key': in the header, a Python dictionary; NULL: not there */
static const char *value_of(const char *header, const char *key)
{
    const char *p = strstr(header, key);
    if (!p) return NULL;
    for (p += strlen(key); *p == ' ' || *p == ':';) p++;
    return p;
}

static int parse(ft_npy *a, const char *path, const char *header, const char *data, size_t size)
{
    ft_st_tensor *t = &a->tensor;
    const char *descr = value_of(header, "'descr'"), *shape = value_of(header, "'shape'"),
               *fortran = value_of(header, "'fortran_order'");
    size_t each = 0;
    if (!descr || !shape || !fortran || *shape != '(')
        return FT_FAIL(FT_EDATA, "%s: the header names no descr, shape or fortran_order. The file is damaged", path);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strncmp(descr + 1, dtypes[i].npy, 3) && (descr[4] == '\'' || descr[4] == '"'))
            strcpy(t->dtype, dtypes[i].name), each = dtypes[i].size;
    if (!each)
        return FT_FAIL(FT_EDATA, "%s: values of type %.8s are not read. Save them with array.astype('float32')", path, descr);
    t->count = 1;
    for (const char *p = shape + 1; *p && *p != ')';) {
        if (!isdigit((unsigned char)*p)) {
            p++;
            continue;
        }
        char *end;
        long long n = strtoll(p, &end, 10);
        if (t->ndim == FT_ST_DIMS || (n > 0 && t->count > INT64_MAX / 16 / n))
            return FT_FAIL(FT_EDATA, "%s: a shape of too many dims or values. The file is damaged", path);
        t->dim[t->ndim++] = n;
        t->count *= n;
        p = end;
    }
    if (!strncmp(fortran, "True", 4) && t->ndim > 1)
        return FT_FAIL(FT_EDATA, "%s: in Fortran order. Save it with numpy.ascontiguousarray(array)", path);
    t->bytes = (size_t)t->count * each;
    if (t->bytes != size)
        return FT_FAIL(FT_EDATA, "%s: %zu bytes of values, its shape needs %zu. The file is damaged or cut off", path, size,
                       t->bytes);
    t->data = data, t->name = "array";
    return FT_OK;
}

int ft_npy_read(ft_npy *a, const char *path)
{
    size_t size, head, begin;
    memset(a, 0, sizeof *a);
    FT_TRY(ft_read_file(path, (size_t)8 << 30, &a->file, &size));
    const unsigned char *u = (const unsigned char *)a->file;
    int rc = FT_OK;
    char *header = NULL;
    if (size < 12 || memcmp(a->file, "\x93NUMPY", 6) || u[6] < 1 || u[6] > 3) {
        rc = FT_FAIL(FT_EDATA, "%s: is not a NumPy file", path);
        goto done;
    }
    begin = u[6] == 1 ? 10 : 12;
    head = (size_t)u[8] | (size_t)u[9] << 8;
    if (u[6] > 1) head |= (size_t)u[10] << 16 | (size_t)u[11] << 24;
    if (head > size - begin) {
        rc = FT_FAIL(FT_EDATA, "%s: a header of %zu bytes in a file of %zu. The file is damaged or cut off", path, head, size);
        goto done;
    }
    header = ft_format("%.*s", (int)(head < 65536 ? head : 65536), a->file + begin);
    rc = header ? parse(a, path, header, a->file + begin + head, size - begin - head) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
done:
    ft_free(header);
    if (rc < 0) ft_npy_free(a);
    return rc;
}

void ft_npy_free(ft_npy *a)
{
    ft_free(a->file);
    memset(a, 0, sizeof *a);
}
