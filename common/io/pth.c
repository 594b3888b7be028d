#include "common/io/pth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/unpickle.h"

/* ---- where the bytes are ------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *name;
    size_t name_length, offset, size;
    bool packed; /* compressed or encrypted, as TorchScript's code is: not read */
} record;

typedef struct {
    record *record; /* zip entries, or legacy storages by key */
    int64_t n;
    ft_lookup by_name, by_key; /* by_key: the pickle's storages, in legacy files */
    const char *root;          /* zip: what stands before "data.pkl" */
    size_t root_length;
    bool script; /* an archive of torch.jit.save: a tree of modules, beside its code */
} bytes_of;

static size_t dtype_size(const char *dtype)
{
    return strchr(dtype, '6') && strstr(dtype, "64") ? 8 : strstr(dtype, "32") ? 4 : strstr(dtype, "16") ? 2 : 1;
}

static int zip_directory(ft_unpickler *m, const unsigned char *file, size_t size, bytes_of *b)
{
    size_t at = size < 22 ? 0 : size - 22, stop = at > 65535 ? at - 65535 : 0;
    if (size < 22) return ft_unpickler_bad(m, "a zip archive of %zu bytes", size);
    while (at > stop && ft_little(file + at, 4) != 0x06054b50) at--;
    if (ft_little(file + at, 4) != 0x06054b50) return ft_unpickler_bad(m, "the zip directory is missing; the file is cut off");
    uint64_t count = ft_little(file + at + 10, 2), begin = ft_little(file + at + 16, 4), length = ft_little(file + at + 12, 4);
    if (at >= 20 && ft_little(file + at - 20, 4) == 0x07064b50) { /* zip64 */
        uint64_t far = ft_little(file + at - 12, 8);
        if (far > size - 56 || size < 56 || ft_little(file + far, 4) != 0x06064b50)
            return ft_unpickler_bad(m, "the zip64 directory is damaged");
        count = ft_little(file + far + 32, 8), length = ft_little(file + far + 40, 8), begin = ft_little(file + far + 48, 8);
    }
    if (begin > size || length > size - begin || count > length / 46) return ft_unpickler_bad(m, "the zip directory is damaged");
    if (!(b->record = ft_alloc_n((int64_t)count + 1, sizeof *b->record))) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
    const unsigned char *p = file + begin, *end = p + length;
    for (uint64_t i = 0; i < count; i++) {
        if (end - p < 46 || ft_little(p, 4) != 0x02014b50)
            return ft_unpickler_bad(m, "entry %llu of the zip directory is damaged", (unsigned long long)i);
        size_t name = ft_little(p + 28, 2), extra = ft_little(p + 30, 2), comment = ft_little(p + 32, 2);
        if ((size_t)(end - p) < 46 + name + extra + comment) return ft_unpickler_bad(m, "the zip directory is cut off");
        uint64_t stored = ft_little(p + 20, 4), whole = ft_little(p + 24, 4), local = ft_little(p + 42, 4);
        bool packed = ft_little(p + 8, 2) & 1 || ft_little(p + 10, 2) != 0;
        for (const unsigned char *x = p + 46 + name, *xe = x + extra; xe - x >= 4;) {
            size_t n = ft_little(x + 2, 2), k = 4;
            if ((size_t)(xe - x) < 4 + n) break;
            if (ft_little(x, 2) == 1) { /* the 64-bit forms of what did not fit, in this order */
                if (whole == 0xFFFFFFFF && k + 8 <= 4 + n) whole = ft_little(x + k, 8), k += 8;
                if (stored == 0xFFFFFFFF && k + 8 <= 4 + n) stored = ft_little(x + k, 8), k += 8;
                if (local == 0xFFFFFFFF && k + 8 <= 4 + n) local = ft_little(x + k, 8), k += 8;
            }
            x += 4 + n;
        }
        if (local > size || size - local < 30 || ft_little(file + local, 4) != 0x04034b50)
            return ft_unpickler_bad(m, "entry %llu points outside the file", (unsigned long long)i);
        uint64_t from = local + 30 + ft_little(file + local + 26, 2) + ft_little(file + local + 28, 2);
        if (from > size || stored > size - from || (whole != stored && !packed))
            return ft_unpickler_bad(m, "entry %llu is cut off", (unsigned long long)i);
        b->record[b->n++] = (record){(const char *)p + 46, name, (size_t)from, (size_t)whole, packed};
        p += 46 + name + extra + comment;
    }
    return FT_OK;
}

/* the records by the storages' keys; in a zip archive these stand behind ROOT/data/ */
static int index_records(bytes_of *b)
{
    size_t before = b->root ? b->root_length + 5 : 0;
    for (int64_t i = 0; i < b->n; i++) {
        const record *r = &b->record[i];
        if (r->name_length < before) continue;
        if (before && (memcmp(r->name, b->root, b->root_length) || memcmp(r->name + b->root_length, "data/", 5))) continue;
        FT_TRY(ft_lookup_add(&b->by_name, r->name + before, r->name_length - before, i));
    }
    ft_lookup_sort(&b->by_name);
    return FT_OK;
}

static const record *find_record(const bytes_of *b, const char *key)
{
    int64_t i = ft_lookup_find(&b->by_name, key, strlen(key));
    return i < 0 ? NULL : &b->record[i];
}

static bool ends(const record *r, const char *tail)
{
    size_t n = strlen(tail);
    return r->name_length >= n && !memcmp(r->name + r->name_length - n, tail, n);
}

static int in_the_open(const ft_unpickler *m, const record *r)
{
    return r->packed
               ? ft_unpickler_bad(m, "%.*s is compressed or encrypted", (int)(r->name_length > 80 ? 80 : r->name_length), r->name)
               : FT_OK;
}

static int read_zip(ft_unpickler *m, const unsigned char *file, size_t size, bytes_of *b, ft_pickled **top)
{
    FT_TRY(zip_directory(m, file, size, b));
    for (int64_t i = 0; i < b->n; i++) {
        const record *r = &b->record[i];
        b->script |= ends(r, "/constants.pkl");
        if (ends(r, "/data.pkl")) {
            FT_TRY(in_the_open(m, r));
            if (r->size > (64u << 20)) return ft_unpickler_bad(m, "a pickle of %zu bytes", r->size);
            b->root = r->name, b->root_length = r->name_length - 8;
            m->p = m->begin = file + r->offset, m->end = m->p + r->size;
        }
        if (ends(r, "/byteorder") && (r->packed || r->size < 6 || memcmp(file + r->offset, "little", 6)))
            return ft_unpickler_bad(m, "its numbers are big-endian");
    }
    if (!b->root) return ft_unpickler_bad(m, "a zip archive without data.pkl");
    FT_TRY(index_records(b));
    return ft_unpickle(m, top);
}

static const ft_pickled *dict_get(const ft_pickled *d, const char *key)
{
    const ft_pickled *hit = NULL; /* the last one counts, as in Python */
    for (int i = 0; i + 1 < d->n; i += 2)
        if (d->item[i]->kind == FT_PICKLE_TEXT && !strcmp(d->item[i]->text, key)) hit = d->item[i + 1];
    return hit;
}

static int read_legacy(ft_unpickler *m, const unsigned char *file, size_t size, bytes_of *b, ft_pickled **top)
{
    ft_pickled *skip, *keys;
    m->p = m->begin = file, m->end = file + size;
    for (int i = 0; i < 2; i++) FT_TRY(ft_unpickle(m, &skip)); /* magic, protocol */
    FT_TRY(ft_unpickle(m, &skip));                             /* sys_info */
    const ft_pickled *order = skip->kind == FT_PICKLE_DICT ? dict_get(skip, "little_endian") : NULL;
    if (!order || order->value != 1) return ft_unpickler_bad(m, "its numbers are big-endian");
    FT_TRY(ft_unpickle(m, top));
    FT_TRY(ft_unpickle(m, &keys));
    if (keys->kind != FT_PICKLE_SEQUENCE || keys->n > m->n_storage)
        return ft_unpickler_bad(m, "the list of storages is missing or too long");
    if (!(b->record = ft_alloc_n(keys->n + 1, sizeof *b->record))) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
    for (int64_t i = 0; i < m->n_storage; i++)
        FT_TRY(ft_lookup_add(&b->by_key, m->storage[i]->text, strlen(m->storage[i]->text), i));
    ft_lookup_sort(&b->by_key);
    for (int i = 0; i < keys->n; i++) {
        const unsigned char *a;
        const char *key = keys->item[i]->kind == FT_PICKLE_TEXT ? keys->item[i]->text : NULL;
        int64_t at = key ? ft_lookup_find(&b->by_key, key, strlen(key)) : -1;
        if (at < 0) return ft_unpickler_bad(m, "storage %d belongs to no tensor", i);
        const ft_pickled *s = m->storage[at];
        FT_TRY(ft_unpickler_take(m, 8, &a));
        uint64_t n = ft_little(a, 8), each = dtype_size(s->type);
        if (n != (uint64_t)s->value || n > (uint64_t)(m->end - m->p) / each)
            return ft_unpickler_bad(m, "storage %s is cut off", key);
        b->record[b->n++] = (record){key, strlen(key), (size_t)(m->p - file), (size_t)(n * each), false};
        m->p += n * each;
    }
    return index_records(b);
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------ */

/* values and bytes of tensor t, all of which lie within its storage */
static int measure(const ft_unpickler *m, const ft_pickled *t, const char *name, const bytes_of *b, int64_t *count, size_t *bytes)
{
    const ft_pickled *s = t->item[0];
    const record *r = find_record(b, s->text);
    size_t each = dtype_size(s->type), behind = 0, all = 0;
    int64_t last = t->value, step;
    bool fits = true;
    if (!r) return ft_unpickler_bad(m, "the data of %s (storage %s) is not in the file", name, s->text);
    FT_TRY(in_the_open(m, r));
    *count = 1;
    for (int i = 0; i < t->ndim; i++)
        if (t->dim[i] == 0) return *count = 0, *bytes = 0, FT_OK;
    for (int i = 0; i < t->ndim && fits; i++)
        fits = ft_mul_count(*count, t->dim[i], count) && ft_mul_count(t->dim[i] - 1, t->stride[i], &step) &&
               !__builtin_add_overflow(last, step, &last);
    if (!fits || !ft_mul_size((size_t)*count, each, bytes)) return ft_unpickler_bad(m, "%s is impossibly large", name);
    if (!ft_add_size((size_t)last, 1, &behind) || !ft_mul_size(behind, each, &all) || last >= s->value || all > r->size)
        return ft_unpickler_bad(m, "%s reaches beyond its storage of %lld values", name, (long long)s->value);
    return FT_OK;
}

static void gather_strided(char *dst, const char *src, const ft_pickled *t, int axis, size_t each)
{
    if (axis == t->ndim) {
        memcpy(dst, src, each);
        return;
    }
    size_t inner = each;
    for (int i = axis + 1; i < t->ndim; i++) inner *= (size_t)t->dim[i];
    for (int64_t k = 0; k < t->dim[axis]; k++)
        gather_strided(dst + (size_t)k * inner, src + (size_t)(k * t->stride[axis]) * each, t, axis + 1, each);
}

static bool holds_tensors(const ft_pickled *d)
{
    if (!d || (d->kind != FT_PICKLE_DICT && d->kind != FT_PICKLE_OPAQUE)) return false;
    for (int i = 1; i < d->n; i += 2)
        if (d->item[i]->kind == FT_PICKLE_TENSOR) return true;
    return false;
}

static int choose(ft_unpickler *m, const bytes_of *b, const ft_pickled *top, const char *key, const ft_pickled **dict,
                  char used[64])
{
    static const char *const usual[] = {"state_dict", "teacher", "ema", "model", "model_state", "module", "params_ema", "params"};
    snprintf(used, 64, "%s", "");
    *dict = top;
    if (b->script) {
        if (key && *key) snprintf(used, 64, "%s", key), top = top->kind == FT_PICKLE_OPAQUE ? dict_get(top, key) : NULL;
        FT_TRY(ft_unpickler_tree(m, top, dict));
        return holds_tensors(*dict) ? FT_OK : ft_unpickler_bad(m, "%s: no tensors in this TorchScript archive", used);
    }
    if (key && *key) {
        snprintf(used, 64, "%s", key);
        *dict = top->kind == FT_PICKLE_DICT || top->kind == FT_PICKLE_OPAQUE ? dict_get(top, key) : NULL;
        if (!holds_tensors(*dict)) return ft_unpickler_bad(m, "there is no dict of tensors named %s", key);
        return FT_OK;
    }
    if (holds_tensors(top)) return FT_OK;
    for (size_t i = 0; (top->kind == FT_PICKLE_DICT || top->kind == FT_PICKLE_OPAQUE) && i < sizeof usual / sizeof *usual; i++) {
        *dict = dict_get(top, usual[i]);
        snprintf(used, 64, "%s", usual[i]);
        if (holds_tensors(*dict)) return FT_OK;
    }
    return ft_unpickler_bad(
        m, "no dict of tensors at the top or under state_dict, teacher, ema, model, model_state, module, params (name it "
           "with --key)");
}

/* The tensors of a dict by name: `names` gives the place of a name's last value, which is the one that counts in Python. */
static int list_tensors(const ft_unpickler *m, const ft_pickled *dict, ft_lookup *names)
{
    for (int i = 0; i + 1 < dict->n; i += 2) {
        const ft_pickled *key = dict->item[i];
        if (key->kind != FT_PICKLE_TEXT) continue;
        if (dict->item[i + 1]->kind == FT_PICKLE_TENSOR)
            FT_TRY(ft_check_name(key->text, (size_t)key->value, m->path, "the tensor name"));
        else if (key->value > FT_NAME_MOST) continue;
        FT_TRY(ft_lookup_add(names, key->text, (size_t)key->value, i));
    }
    ft_lookup_sort(names);
    return FT_OK;
}

static bool counts(const ft_pickled *dict, const ft_lookup *names, int i)
{
    const ft_pickled *key = dict->item[i];
    return dict->item[i + 1]->kind == FT_PICKLE_TENSOR && key->kind == FT_PICKLE_TEXT &&
           ft_lookup_find(names, key->text, (size_t)key->value) == i;
}

static size_t padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

static int total_of(const ft_unpickler *m, const ft_pickled *dict, const ft_lookup *names, const bytes_of *b, size_t *total,
                    int64_t *n)
{
    int64_t count;
    size_t bytes;
    *total = 0, *n = 0;
    for (int i = 0; i + 1 < dict->n; i += 2) {
        if (!counts(dict, names, i)) continue;
        FT_TRY(measure(m, dict->item[i + 1], dict->item[i]->text, b, &count, &bytes));
        if (bytes > SIZE_MAX - 16 || !ft_add_size(*total, padded(bytes), total))
            return ft_unpickler_bad(m, "%s is impossibly large", dict->item[i]->text);
        ++*n;
    }
    return FT_OK;
}

static int materialise(const ft_unpickler *m, const ft_pickled *dict, const ft_lookup *names, const bytes_of *b, const char *file,
                       size_t size, ft_safetensors *st)
{
    size_t total;
    int64_t n;
    FT_TRY(total_of(m, dict, names, b, &total, &n));
    FT_TRY(ft_may_ask(m->path, "tensors", total, size, 4));
    st->tensor = ft_alloc_n(n + 1, sizeof *st->tensor);
    st->file = ft_alloc(total + 1);
    st->file_size = total;
    if (!st->tensor || !st->file) return FT_FAIL(FT_ENOMEM, "%s: no memory for %zu bytes of tensors", m->path, total);
    char *at = st->file;
    for (int i = 0; i + 1 < dict->n; i += 2) {
        if (!counts(dict, names, i)) continue;
        const ft_pickled *t = dict->item[i + 1], *s = t->item[0];
        const char *name = dict->item[i]->text;
        ft_st_tensor *o = &st->tensor[st->n];
        size_t each = dtype_size(s->type);
        FT_TRY(measure(m, t, name, b, &o->count, &o->bytes));
        if (!(o->name = ft_strdup(name))) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
        snprintf(o->dtype, sizeof o->dtype, "%s", s->type);
        o->ndim = t->ndim, o->data = at;
        memcpy(o->dim, t->dim, sizeof o->dim);
        if (o->count) gather_strided(at, file + find_record(b, s->text)->offset + (size_t)t->value * each, t, 0, each);
        at += padded(o->bytes);
        st->n++;
    }
    return ft_safetensors_index(st, m->path);
}

int ft_pth_read(ft_safetensors *st, const char *path, const char *key, char used[64])
{
    static const unsigned char magic[] = {0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};
    char *file, spare[64];
    size_t size;
    unsigned char head[sizeof magic];
    memset(st, 0, sizeof *st);
    FT_TRY(ft_file_head(path, head, sizeof head));
    ft_unpickler m = {.path = path};
    bool zip = !memcmp(head, "PK\3\4", 4);
    if (!zip && memcmp(head, magic, sizeof magic))
        return ft_unpickler_bad(&m, "it begins neither as a zip archive nor as a pickle of torch.save");
    FT_TRY(ft_read_file(path, (size_t)1 << 36, &file, &size));
    m.arena = ft_arena_new();
    bytes_of b = {0};
    ft_lookup names = {0};
    ft_pickled *top = NULL;
    const ft_pickled *dict = NULL;
    const unsigned char *raw = (const unsigned char *)file;
    int rc = m.arena ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = zip ? read_zip(&m, raw, size, &b, &top) : read_legacy(&m, raw, size, &b, &top);
    if (rc == FT_OK) rc = choose(&m, &b, top, key, &dict, used ? used : spare);
    if (rc == FT_OK) rc = list_tensors(&m, dict, &names);
    if (rc == FT_OK) rc = materialise(&m, dict, &names, &b, file, size, st);
    if (rc < 0) ft_safetensors_free(st);
    ft_lookup_free(&names);
    ft_lookup_free(&b.by_name);
    ft_lookup_free(&b.by_key);
    ft_free(b.record);
    ft_unpickler_free(&m);
    ft_arena_free(m.arena);
    ft_free(file);
    return rc;
}

int ft_weights_file_read(ft_safetensors *st, const char *path, const char *key, char used[64])
{
    unsigned char head[9];
    FT_TRY(ft_file_head(path, head, sizeof head));
    if (head[8] == '{') {
        if (used) *used = 0;
        return ft_safetensors_read(st, path);
    }
    return ft_pth_read(st, path, key, used);
}
