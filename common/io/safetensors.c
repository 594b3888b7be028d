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

/* ---- the header: JSON of one form, read entry by entry, so that memory stands in proportion to what is kept ------------------
 */

enum { HEADER_MOST = 100 << 20, METADATA_MOST = 8 << 20 };

typedef struct {
    const char *path, *p, *end;
} header;

static int no_json(const header *h, const char *what)
{
    return FT_FAIL(FT_EDATA, "%s: the header is not what a safetensors file has: %s. The file is damaged", h->path, what);
}

static char blank(header *h)
{
    while (h->p < h->end && (*h->p == ' ' || *h->p == '\n' || *h->p == '\r' || *h->p == '\t')) h->p++;
    return h->p < h->end ? *h->p : 0;
}

/* the four digits behind \u; -1: they are none */
static int code_unit(const char *p)
{
    int code = 0;
    for (int i = 0; i < 4; i++) {
        const char *digits = "0123456789abcdef", *at = p[i] ? strchr(digits, p[i] | ('A' <= p[i] && p[i] <= 'F' ? 32 : 0)) : NULL;
        if (!at) return -1;
        code = code << 4 | (int)(at - digits);
    }
    return code;
}

static char *put_utf8(char *to, int code)
{
    if (code < 0x80) return *to++ = (char)code, to;
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    *to++ = (char)((0xFF80 >> more & 0xFF) | code >> 6 * more);
    while (more-- > 0) *to++ = (char)(0x80 | (code >> 6 * more & 0x3F));
    return to;
}

/* what follows a backslash; false: it is not allowed. Behind it stands the closing quote, so that p[0..4] can be looked at. */
static bool unescape(const char **p, const char *end, char **to)
{
    static const char from[] = "\"\\/bfnrt", means[] = "\"\\/\b\f\n\r\t";
    const char *known = strchr(from, **p);
    if (known && **p) return *(*to)++ = means[known - from], ++*p, true;
    int code = **p == 'u' && end - *p >= 5 ? code_unit(*p + 1) : -1;
    if (code <= 0 || (code & 0xFC00) == 0xDC00) return false;
    *p += 5;
    if ((code & 0xFC00) == 0xD800) { /* the first of a pair */
        int low = end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u' ? code_unit(*p + 2) : -1;
        if (low < 0 || (low & 0xFC00) != 0xDC00) return false;
        code = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF);
        *p += 6;
    }
    *to = put_utf8(*to, code);
    return true;
}

/* the next text, in fresh memory; no escape is shorter than what it means */
static int text_of(header *h, char **text)
{
    if (blank(h) != '"') return no_json(h, "a text is missing");
    const char *p = h->p + 1, *end = p;
    while (end < h->end && *end != '"' && (unsigned char)*end >= 0x20) end += *end == '\\' ? 2 : 1;
    if (end >= h->end || *end != '"') return no_json(h, "a text does not end");
    char *to = *text = ft_alloc((size_t)(end - p) + 1);
    if (!to) return FT_FAIL(FT_ENOMEM, "%s: no memory for the header", h->path);
    while (p < end) {
        if (*p != '\\') *to++ = *p++;
        else if (p++, !unescape(&p, end, &to)) {
            ft_free(*text);
            return no_json(h, "a text with an impossible \\ in it");
        }
    }
    h->p = end + 1;
    return FT_OK;
}

/* [n, ...], at most `most` whole numbers from 0 */
static int numbers(header *h, int64_t *v, int most, int *n)
{
    if (blank(h) != '[') return no_json(h, "a list is missing");
    h->p++;
    *n = 0;
    if (blank(h) == ']') return h->p++, FT_OK;
    for (char next = ',';; h->p++) {
        if (*n == most) return no_json(h, "a list is too long");
        if (blank(h) < '0' || *h->p > '9') return no_json(h, "a whole number is missing");
        for (v[*n] = 0; h->p < h->end && *h->p >= '0' && *h->p <= '9'; h->p++)
            if (!ft_mul_count(v[*n], 10, &v[*n]) || __builtin_add_overflow(v[*n], *h->p - '0', &v[*n]))
                return no_json(h, "a number is impossibly large");
        ++*n;
        next = blank(h);
        if (next == ']') return h->p++, FT_OK;
        if (next != ',') return no_json(h, "a list does not end");
    }
}

/* {"name": what `member` reads, ...} */
static int object(header *h, int (*member)(header *h, const char *name, void *to), void *to)
{
    if (blank(h) != '{') return no_json(h, "an object is missing");
    h->p++;
    if (blank(h) == '}') return h->p++, FT_OK;
    for (;;) {
        char *name;
        FT_TRY(text_of(h, &name));
        int rc = blank(h) == ':' ? ft_check_name(name, strlen(name), h->path, "the name") : no_json(h, "a name without a value");
        h->p++;
        if (rc == FT_OK) rc = member(h, name, to);
        ft_free(name);
        FT_TRY(rc);
        char next = blank(h);
        h->p++;
        if (next == '}') return FT_OK;
        if (next != ',') return no_json(h, "an object does not end");
    }
}

typedef struct {
    json_t *into;
    const char *begin;
} notes;

static int metadata_member(header *h, const char *name, void *to)
{
    const notes *m = to;
    char *text;
    if (blank(h) != '"') return FT_FAIL(FT_EDATA, "%s: the metadata %.60s is not a text. The file is damaged", h->path, name);
    if (json_object_get(m->into, name)) return no_json(h, "metadata twice");
    FT_TRY(text_of(h, &text));
    json_t *v = json_string(text);
    bool added = v && json_object_set_new(m->into, name, v) == 0;
    ft_free(text);
    if (h->p - m->begin > METADATA_MOST)
        return FT_FAIL(FT_EDATA, "%s: more than %d bytes of metadata. Write the file without", h->path, METADATA_MOST);
    if (added) return FT_OK;
    int rc = ft_json_text(NULL, 0, &text); /* says whether it was for want of memory */
    return FT_FAIL(rc, "%s: the metadata %.60s: %s", h->path, name,
                   rc == FT_ENOMEM ? "no memory" : "not UTF-8. The file is damaged");
}

enum { DTYPE = 1, SHAPE = 2, SPAN = 4 };
typedef struct {
    ft_st_tensor *t;
    int64_t span[2];
    int seen, ends;
} described;

static int tensor_member(header *h, const char *name, void *to)
{
    described *d = to;
    int which = !strcmp(name, "dtype") ? DTYPE : !strcmp(name, "shape") ? SHAPE : !strcmp(name, "data_offsets") ? SPAN : 0;
    if (!which || d->seen & which) return no_json(h, "a tensor is described by something unknown, or twice");
    d->seen |= which;
    if (which == SHAPE) return numbers(h, d->t->dim, FT_ST_DIMS, &d->t->ndim);
    if (which == SPAN) return numbers(h, d->span, 2, &d->ends);
    char *text;
    FT_TRY(text_of(h, &text));
    snprintf(d->t->dtype, sizeof d->t->dtype, "%s", text);
    ft_free(text);
    return FT_OK;
}

typedef struct {
    ft_safetensors *st;
    const char *data;
    size_t size;
} contents;

static int describe(header *h, const char *name, ft_st_tensor *t, const contents *c)
{
    described d = {.t = t};
    size_t each, need;
    FT_TRY(object(h, tensor_member, &d));
    if (d.seen != (DTYPE | SHAPE | SPAN) || d.ends != 2)
        return FT_FAIL(FT_EDATA, "%s: tensor %s: dtype, shape or data_offsets is missing. The file is damaged", h->path, name);
    if (!(each = dtype_size(t->dtype)))
        return FT_FAIL(FT_EDATA, "%s: tensor %s: dtype %s is not known. Convert it to F32, F16 or BF16", h->path, name, t->dtype);
    t->count = 1;
    for (int i = 0; i < t->ndim; i++)
        if (!ft_mul_count(t->count, t->dim[i], &t->count))
            return FT_FAIL(FT_EDATA, "%s: tensor %s: dim %d is impossible. The file is damaged", h->path, name, i);
    if (d.span[1] < d.span[0] || (uint64_t)d.span[1] > c->size || !ft_mul_size((size_t)t->count, each, &need) ||
        (size_t)(d.span[1] - d.span[0]) != need)
        return FT_FAIL(FT_EDATA,
                       "%s: tensor %s: bytes %lld to %lld do not hold its %lld values of %s (%zu bytes of data). The file is "
                       "damaged or cut off",
                       h->path, name, (long long)d.span[0], (long long)d.span[1], (long long)t->count, t->dtype, c->size);
    t->data = c->data + d.span[0];
    t->bytes = need;
    t->name = ft_strdup(name);
    return t->name ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory for a name", h->path);
}

static int entry(header *h, const char *name, void *to)
{
    const contents *c = to;
    ft_safetensors *st = c->st;
    if (!strcmp(name, "__metadata__")) {
        if (st->metadata) return no_json(h, "__metadata__ twice");
        if (!(st->metadata = json_object())) return FT_FAIL(FT_ENOMEM, "%s: no memory for the header", h->path);
        return object(h, metadata_member, &(notes){st->metadata, h->p});
    }
    FT_TRY(ft_grow(&st->tensor, (size_t)st->n, sizeof *st->tensor));
    st->tensor[st->n] = (ft_st_tensor){0};
    FT_TRY(describe(h, name, &st->tensor[st->n], c));
    st->n++;
    return FT_OK;
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
    if (st->file_size < 8 || length > st->file_size - 8 || length > HEADER_MOST) {
        rc = FT_FAIL(FT_EDATA, "%s: not a safetensors file (%zu bytes, header of %llu). Check the path", path, st->file_size,
                     (unsigned long long)length);
        goto done;
    }
    const char *data = st->file + 8 + length;
    size_t size = st->file_size - 8 - (size_t)length;
    header h = {path, st->file + 8, data};
    FT_TRY_TO(rc, done, object(&h, entry, &(contents){st, data, size}));
    if (blank(&h) || h.p < h.end) {
        rc = no_json(&h, "something stands behind it");
        goto done;
    }
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
