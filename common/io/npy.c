#include "common/io/npy.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"

static const struct {
    const char *npy, *name;
    size_t size;
} dtypes[] = {{"<f4", "F32", 4}, {"<f8", "F64", 8}, {"<f2", "F16", 2}, {"<i8", "I64", 8}, {"<i4", "I32", 4},
              {"<i2", "I16", 2}, {"|i1", "I8", 1},  {"|u1", "U8", 1},  {"|b1", "BOOL", 1}};

/* ---- the header, a Python dictionary of three: 'descr' a text, 'fortran_order' True or False, 'shape' a tuple
 * ------------------ */

enum { DESCR = 1, FORTRAN_ORDER = 2, SHAPE = 4, HEADER_MOST = 1 << 16 };

static const char *blank(const char *p) { return p + strspn(p, " \t\r\n"); }

static int damaged(const char *path)
{
    return FT_FAIL(FT_EDATA, "%s: the header is not a dictionary of descr, fortran_order and shape. The file is damaged", path);
}

/* the text that begins at *p, of at most 20 bytes */
static bool quoted(const char **p, char text[24])
{
    char mark = **p;
    if (mark != '\'' && mark != '"') return false;
    const char *end = strchr(*p + 1, mark);
    if (!end || end - *p > 20) return false;
    snprintf(text, 24, "%.*s", (int)(end - *p - 1), *p + 1);
    *p = end + 1;
    return true;
}

static int read_descr(ft_st_tensor *t, const char *path, const char **p, size_t *each)
{
    char text[24], shown[24];
    snprintf(text, sizeof text, "%.8s", *p);
    bool plain = quoted(p, text);
    for (size_t i = 0; plain && i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(text, dtypes[i].npy)) strcpy(t->dtype, dtypes[i].name), *each = dtypes[i].size;
    if (*each) return FT_OK;
    ft_printable(shown, sizeof shown, text, false);
    return FT_FAIL(FT_EDATA, "%s: values of type %s are not read. Save them with array.astype('float32')", path, shown);
}

/* (3,) or (3L, 2L) or () */
static int read_shape(ft_st_tensor *t, const char *path, const char **p)
{
    bool comma = true; /* one stands before the next number */
    if (**p != '(') return damaged(path);
    for (*p = blank(*p + 1); **p != ')'; *p = blank(*p)) {
        if (!comma || **p < '0' || **p > '9') return damaged(path);
        char *end;
        errno = 0;
        long long n = strtoll(*p, &end, 10);
        if (errno || t->ndim == FT_ST_DIMS || !ft_mul_count(t->count, n, &t->count))
            return FT_FAIL(FT_EDATA, "%s: a shape of too many dims or values. The file is damaged", path);
        t->dim[t->ndim++] = n;
        *p = blank(end + (*end == 'L'));
        comma = **p == ',';
        *p += comma;
    }
    ++*p;
    return t->ndim == 1 && !comma ? damaged(path) : FT_OK; /* (3) is a number */
}

static int read_entry(ft_st_tensor *t, const char *path, const char **p, int *seen, bool *fortran, size_t *each)
{
    char key[24];
    if (!quoted(p, key) || *(*p = blank(*p)) != ':') return damaged(path);
    int which = !strcmp(key, "descr") ? DESCR : !strcmp(key, "fortran_order") ? FORTRAN_ORDER : !strcmp(key, "shape") ? SHAPE : 0;
    if (!which || *seen & which) return damaged(path);
    *seen |= which;
    *p = blank(*p + 1);
    if (which == DESCR) return read_descr(t, path, p, each);
    if (which == SHAPE) return read_shape(t, path, p);
    *fortran = !strncmp(*p, "True", 4);
    if (!*fortran && strncmp(*p, "False", 5)) return damaged(path);
    *p += *fortran ? 4 : 5;
    return FT_OK;
}

static int parse(ft_npy *a, const char *path, const char *header, const char *data, size_t size)
{
    ft_st_tensor *t = &a->tensor;
    const char *p = blank(header);
    bool fortran = false;
    size_t each = 0;
    int seen = 0;
    t->count = 1;
    if (*p++ != '{') return damaged(path);
    while (*(p = blank(p)) != '}') {
        FT_TRY(read_entry(t, path, &p, &seen, &fortran, &each));
        if (*(p = blank(p)) == ',') p++;
        else if (*p != '}') return damaged(path);
    }
    if (seen != (DESCR | FORTRAN_ORDER | SHAPE) || *blank(p + 1)) return damaged(path);
    if (fortran && t->ndim > 1)
        return FT_FAIL(FT_EDATA, "%s: in Fortran order. Save it with numpy.ascontiguousarray(array)", path);
    if (!ft_mul_size((size_t)t->count, each, &t->bytes))
        return FT_FAIL(FT_EDATA, "%s: a shape of too many values. The file is damaged", path);
    if (t->bytes != size)
        return FT_FAIL(FT_EDATA, "%s: %zu bytes of values, its shape needs %zu. The file is damaged or cut off", path, size,
                       t->bytes);
    t->data = data, t->name = "array";
    return FT_OK;
}

int ft_npy_read(ft_npy *a, const char *path)
{
    size_t size, head, begin;
    unsigned char magic[7];
    memset(a, 0, sizeof *a);
    FT_TRY(ft_file_head(path, magic, sizeof magic));
    if (memcmp(magic, "\x93NUMPY", 6) || magic[6] < 1 || magic[6] > 3) return FT_FAIL(FT_EDATA, "%s: is not a NumPy file", path);
    FT_TRY(ft_read_file(path, (size_t)8 << 30, &a->file, &size));
    const unsigned char *u = (const unsigned char *)a->file;
    int rc = FT_OK;
    char *header = NULL;
    if (size < 12) FT_TRY_TO(rc, done, FT_FAIL(FT_EDATA, "%s: a NumPy file of %zu bytes. It is cut off", path, size));
    begin = u[6] == 1 ? 10 : 12;
    head = (size_t)u[8] | (size_t)u[9] << 8;
    if (u[6] > 1) head |= (size_t)u[10] << 16 | (size_t)u[11] << 24;
    if (head > size - begin || head > HEADER_MOST)
        FT_TRY_TO(
            rc, done,
            FT_FAIL(FT_EDATA, "%s: a header of %zu bytes in a file of %zu. The file is damaged or cut off", path, head, size));
    header = ft_format("%.*s", (int)head, a->file + begin);
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
