#include "common/io/pth_bytes.h"

#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"

size_t ft_pth_dtype_size(const char *dtype)
{
    return strchr(dtype, '6') && strstr(dtype, "64") ? 8 : strstr(dtype, "32") ? 4 : strstr(dtype, "16") ? 2 : 1;
}

static int zip_directory(ft_unpickler *m, const unsigned char *file, size_t size, ft_pth_bytes *b)
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
        b->record[b->n++] = (ft_pth_record){(const char *)p + 46, name, (size_t)from, (size_t)whole, packed};
        p += 46 + name + extra + comment;
    }
    return FT_OK;
}

/* the records by the storages' keys; in a zip archive these stand behind ROOT/data/ */
static int index_records(ft_pth_bytes *b)
{
    size_t before = b->root ? b->root_length + 5 : 0;
    for (int64_t i = 0; i < b->n; i++) {
        const ft_pth_record *r = &b->record[i];
        if (r->name_length < before) continue;
        if (before && (memcmp(r->name, b->root, b->root_length) || memcmp(r->name + b->root_length, "data/", 5))) continue;
        FT_TRY(ft_lookup_add(&b->by_name, r->name + before, r->name_length - before, i));
    }
    ft_lookup_sort(&b->by_name);
    return FT_OK;
}

const ft_pth_record *ft_pth_find(const ft_pth_bytes *b, const char *key)
{
    int64_t i = ft_lookup_find(&b->by_name, key, strlen(key));
    return i < 0 ? NULL : &b->record[i];
}

static bool ends(const ft_pth_record *r, const char *tail)
{
    size_t n = strlen(tail);
    return r->name_length >= n && !memcmp(r->name + r->name_length - n, tail, n);
}

int ft_pth_in_the_open(const ft_unpickler *m, const ft_pth_record *r)
{
    int shown = (int)(r->name_length > 80 ? 80 : r->name_length);
    return r->packed ? ft_unpickler_bad(m, "%.*s is compressed or encrypted", shown, r->name) : FT_OK;
}

int ft_pth_zip(ft_unpickler *m, const unsigned char *file, size_t size, ft_pth_bytes *b, ft_pickled **top)
{
    FT_TRY(zip_directory(m, file, size, b));
    for (int64_t i = 0; i < b->n; i++) {
        const ft_pth_record *r = &b->record[i];
        b->script |= ends(r, "/constants.pkl");
        if (ends(r, "/data.pkl")) {
            FT_TRY(ft_pth_in_the_open(m, r));
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

const ft_pickled *ft_pth_dict_get(const ft_pickled *d, const char *key)
{
    const ft_pickled *hit = NULL; /* the last one counts, as in Python */
    for (int i = 0; i + 1 < d->n; i += 2)
        if (d->item[i]->kind == FT_PICKLE_TEXT && !strcmp(d->item[i]->text, key)) hit = d->item[i + 1];
    return hit;
}

int ft_pth_legacy(ft_unpickler *m, const unsigned char *file, size_t size, ft_pth_bytes *b, ft_pickled **top)
{
    ft_pickled *skip, *keys;
    m->p = m->begin = file, m->end = file + size;
    for (int i = 0; i < 2; i++) FT_TRY(ft_unpickle(m, &skip)); /* magic, protocol */
    FT_TRY(ft_unpickle(m, &skip));                             /* sys_info */
    const ft_pickled *order = skip->kind == FT_PICKLE_DICT ? ft_pth_dict_get(skip, "little_endian") : NULL;
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
        uint64_t n = ft_little(a, 8), each = ft_pth_dtype_size(s->type);
        if (n != (uint64_t)s->value || n > (uint64_t)(m->end - m->p) / each)
            return ft_unpickler_bad(m, "storage %s is cut off", key);
        b->record[b->n++] = (ft_pth_record){key, strlen(key), (size_t)(m->p - file), (size_t)(n * each), false};
        m->p += n * each;
    }
    return index_records(b);
}

void ft_pth_bytes_free(ft_pth_bytes *b)
{
    ft_lookup_free(&b->by_name);
    ft_lookup_free(&b->by_key);
    ft_free(b->record);
}
