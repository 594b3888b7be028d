#include "common/io/safetensors.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
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
        if (!json_is_integer(d) || !ft_mul_count(t->count, k, &t->count))
            return FT_FAIL(FT_EDATA, "%s: tensor %s: dim %d is impossible. The file is damaged", path, name, i);
        t->dim[i] = k;
    }
    json_t *first = json_array_get(span, 0), *behind = json_array_get(span, 1);
    int64_t from = json_integer_value(first), to = json_integer_value(behind);
    size_t need;
    if (!json_is_integer(first) || !json_is_integer(behind) || from < 0 || to < from || (uint64_t)to > size ||
        !ft_mul_size((size_t)t->count, each, &need) || (size_t)(to - from) != need)
        return FT_FAIL(FT_EDATA,
                       "%s: tensor %s: bytes %lld to %lld do not hold its %lld values of %s (%zu bytes of data). The file is "
                       "damaged or cut off",
                       path, name, (long long)from, (long long)to, (long long)t->count, dtype, size);
    t->data = data + from;
    t->bytes = (size_t)(to - from);
    t->name = ft_strdup(name);
    return t->name ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory for a name", path);
}

/* ---- the header: one entry at a time, so that memory stands in proportion to what is kept ---------------------------------- */

enum { HEADER_MOST = 100 << 20, METADATA_MOST = 8 << 20, ENTRY_MOST = 1 << 16 };

typedef struct {
    const char *path, *p, *end;
} header;

static int no_json(const header *h, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s: the header is not JSON (%s). The file is damaged", h->path, what);
}

static char blank(header *h)
{
    while (h->p < h->end && (*h->p == ' ' || *h->p == '\n' || *h->p == '\r' || *h->p == '\t')) h->p++;
    return h->p < h->end ? *h->p : 0;
}

/* the next value, which begins with `with` */
static int value(header *h, char with, size_t most, json_t **v)
{
    json_error_t err;
    *v = NULL;
    if (blank(h) != with) return no_json(h, with == '"' ? "a text is missing" : "an object is missing");
    size_t left = (size_t)(h->end - h->p);
    *v = json_loadb(h->p, left < most ? left : most, JSON_DECODE_ANY | JSON_DISABLE_EOF_CHECK | JSON_REJECT_DUPLICATES, &err);
    if (ft_json_lacked()) {
        json_decref(*v);
        return FT_FAIL(FT_ENOMEM, "%s: no memory for the header", h->path);
    }
    if (!*v && left > most)
        return FT_FAIL(FT_EDATA, "%s: an entry of the header that does not end within %zu bytes. The file is damaged", h->path,
                       most);
    if (!*v) return no_json(h, err.text);
    h->p += err.position;
    return FT_OK;
}

static int name_of(header *h, json_t **key)
{
    FT_TRY(value(h, '"', ENTRY_MOST, key));
    int rc = blank(h) == ':' ? FT_OK : no_json(h, "a name without a value");
    if (rc == FT_OK) rc = ft_check_name(json_string_value(*key), json_string_length(*key), h->path, "the name");
    if (rc < 0) json_decref(*key);
    h->p++;
    return rc;
}

static int metadata(ft_safetensors *st, header *h)
{
    const char *begin = h->p;
    if (st->metadata || blank(h) != '{') return no_json(h, "__metadata__ twice, or not an object");
    if (!(st->metadata = json_object())) return FT_FAIL(FT_ENOMEM, "%s: no memory for the header", h->path);
    do {
        json_t *key, *v;
        h->p++;
        if (!json_object_size(st->metadata) && blank(h) == '}') break;
        FT_TRY(name_of(h, &key));
        const char *name = json_string_value(key);
        int rc = blank(h) == '"' ? value(h, '"', METADATA_MOST, &v)
                                 : FT_FAIL(FT_EDATA, "%s: the metadata %.60s is not a text. The file is damaged", h->path, name);
        if (rc == FT_OK && json_object_get(st->metadata, name)) json_decref(v), rc = no_json(h, "metadata twice");
        else if (rc == FT_OK && json_object_set_new(st->metadata, name, v) < 0)
            rc = FT_FAIL(FT_ENOMEM, "%s: no memory for the header", h->path);
        json_decref(key);
        FT_TRY(rc);
        if (h->p - begin > METADATA_MOST)
            return FT_FAIL(FT_EDATA, "%s: more than %d bytes of metadata. Write the file without", h->path, METADATA_MOST);
    } while (blank(h) == ',');
    if (blank(h) != '}') return no_json(h, "__metadata__ does not end");
    h->p++;
    return FT_OK;
}

static int entry(ft_safetensors *st, header *h, const char *name, const char *data, size_t size)
{
    json_t *v;
    if (!strcmp(name, "__metadata__")) return metadata(st, h);
    FT_TRY(value(h, '{', ENTRY_MOST, &v));
    int rc = ft_grow(&st->tensor, (size_t)st->n, sizeof *st->tensor);
    if (rc == FT_OK) {
        ft_st_tensor *t = &st->tensor[st->n];
        memset(t, 0, sizeof *t);
        rc = one(t, h->path, name, v, data, size);
        st->n += rc == FT_OK;
    }
    json_decref(v);
    return rc;
}

static int entries(ft_safetensors *st, header *h, const char *data, size_t size)
{
    if (blank(h) != '{') return no_json(h, "not an object");
    do {
        json_t *key;
        h->p++;
        if (!st->n && !st->metadata && blank(h) == '}') break; /* no tensors */
        FT_TRY(name_of(h, &key));
        int rc = entry(st, h, json_string_value(key), data, size);
        json_decref(key);
        FT_TRY(rc);
    } while (blank(h) == ',');
    if (blank(h) != '}') return no_json(h, "it does not end");
    h->p++;
    return blank(h) || h->p < h->end ? no_json(h, "something stands behind it") : FT_OK;
}

/* every byte belongs to one tensor, as the format has it */
static int check_layout(const ft_safetensors *st, const char *path, const char *data, size_t size)
{
    const char *at = data;
    for (int i = 0; i < st->n; at = (const char *)st->tensor[i].data + st->tensor[i].bytes, i++) {
        const char *from = st->tensor[i].data;
        if (from < at)
            return FT_FAIL(FT_EDATA, "%s: tensors %s and %s overlap. The file is damaged", path, st->tensor[i - 1].name,
                           st->tensor[i].name);
        if (from > at)
            return FT_FAIL(FT_EDATA, "%s: %zu bytes before tensor %s belong to none. The file is damaged", path,
                           (size_t)(from - at), st->tensor[i].name);
    }
    if (at != data + size)
        return FT_FAIL(FT_EDATA, "%s: %zu bytes at the end belong to no tensor. The file is damaged, or written twice", path,
                       (size_t)(data + size - at));
    return FT_OK;
}

int ft_safetensors_index(ft_safetensors *st, const char *path)
{
    for (int i = 0; i < st->n; i++) FT_TRY(ft_lookup_add(&st->by_name, st->tensor[i].name, strlen(st->tensor[i].name), i));
    ft_lookup_sort(&st->by_name);
    if (st->by_name.repeated >= 0)
        return FT_FAIL(FT_EDATA, "%s: two tensors are named %s. The file is damaged", path,
                       st->tensor[st->by_name.repeated].name);
    return FT_OK;
}

int ft_file_head(const char *path, unsigned char *head, size_t n)
{
    memset(head, 0, n);
    FT_TRY(ft_is_file(path));
    FILE *f = fopen(path, "rb");
    if (!f) return FT_FAIL(FT_EIO, "%s: cannot be opened (%s). Check the path", path, strerror(errno));
    bool read = fread(head, 1, n, f) == n || feof(f);
    fclose(f);
    return read ? FT_OK : FT_FAIL(FT_EIO, "%s: cannot be read (%s)", path, strerror(errno));
}

int ft_safetensors_read(ft_safetensors *st, const char *path)
{
    memset(st, 0, sizeof *st);
    FT_TRY(ft_read_file(path, (size_t)1 << 36, &st->file, &st->file_size));
    int rc;
    uint64_t length = 0;
    if (st->file_size >= 8)
        for (int i = 7; i >= 0; i--) length = length << 8 | (unsigned char)st->file[i];
    if (st->file_size < 8 || length > st->file_size - 8 || length > HEADER_MOST)
        FT_TRY_TO(rc, done,
                  FT_FAIL(FT_EDATA, "%s: not a safetensors file (%zu bytes, header of %llu). Check the path", path, st->file_size,
                          (unsigned long long)length));
    const char *data = st->file + 8 + length;
    size_t size = st->file_size - 8 - (size_t)length;
    header h = {path, st->file + 8, data};
    FT_TRY_TO(rc, done, entries(st, &h, data, size));
    if (st->n) qsort(st->tensor, (size_t)st->n, sizeof *st->tensor, by_begin);
    FT_TRY_TO(rc, done, check_layout(st, path, data, size));
    rc = ft_safetensors_index(st, path);
done:
    if (rc < 0) ft_safetensors_free(st);
    return rc;
}

void ft_safetensors_free(ft_safetensors *st)
{
    for (int i = 0; i < st->n; i++) ft_free(st->tensor[i].name);
    ft_free(st->tensor);
    ft_lookup_free(&st->by_name);
    ft_free(st->file);
    json_decref(st->metadata);
    memset(st, 0, sizeof *st);
}

const ft_st_tensor *ft_safetensors_find(const ft_safetensors *st, const char *name)
{
    int64_t i = ft_lookup_find(&st->by_name, name, strlen(name));
    return i < 0 ? NULL : &st->tensor[i];
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

/* a JSON object drops a name that is not UTF-8 and the first of two, both in silence */
static int check_names(const char *path, const ft_st_tensor *tensor, int n)
{
    ft_lookup names = {0};
    int rc = FT_OK;
    for (int i = 0; i < n && rc == FT_OK; i++) {
        rc = ft_check_name(tensor[i].name, strlen(tensor[i].name), path, "the tensor name");
        if (rc == FT_OK) rc = ft_lookup_add(&names, tensor[i].name, strlen(tensor[i].name), i);
    }
    if (rc == FT_OK) ft_lookup_sort(&names);
    if (rc == FT_OK && names.repeated >= 0)
        rc = FT_FAIL(FT_EDATA, "%s: two tensors would be named %s. Rename one", path, tensor[names.repeated].name);
    ft_lookup_free(&names);
    return rc;
}

int ft_safetensors_write(const char *path, const ft_st_tensor *tensor, int n, const json_t *metadata)
{
    FT_TRY(check_names(path, tensor, n));
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
        bool bad = ferror(f) != 0;
        if (fclose(f) != 0 || bad || ok != (size_t)n + 2) {
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
