#include "common/io/pth.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/pth_bytes.h"
#include "common/io/unpickle.h"

/* values and bytes of tensor t, all of which lie within its storage */
static int measure(const ft_unpickler *m, const ft_pickled *t, const char *name, const ft_pth_bytes *b, int64_t *count,
                   size_t *bytes)
{
    const ft_pickled *s = t->item[0];
    const ft_pth_record *r = ft_pth_find(b, s->text);
    size_t each = ft_pth_dtype_size(s->type), behind = 0, all = 0;
    int64_t last = t->value, step;
    bool fits = true;
    if (!r) return ft_unpickler_bad(m, "the data of %s (storage %s) is not in the file", name, s->text);
    FT_TRY(ft_pth_in_the_open(m, r));
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

static int choose(ft_unpickler *m, const ft_pth_bytes *b, const ft_pickled *top, const char *key, const ft_pickled **dict,
                  char used[64])
{
    static const char *const usual[] = {"state_dict", "teacher", "ema", "model", "model_state", "module", "params_ema", "params"};
    snprintf(used, 64, "%s", "");
    *dict = top;
    if (b->script) {
        if (key && *key) snprintf(used, 64, "%s", key), top = top->kind == FT_PICKLE_OPAQUE ? ft_pth_dict_get(top, key) : NULL;
        FT_TRY(ft_unpickler_tree(m, top, dict));
        return holds_tensors(*dict) ? FT_OK : ft_unpickler_bad(m, "%s: no tensors in this TorchScript archive", used);
    }
    if (key && *key) {
        snprintf(used, 64, "%s", key);
        *dict = top->kind == FT_PICKLE_DICT || top->kind == FT_PICKLE_OPAQUE ? ft_pth_dict_get(top, key) : NULL;
        if (!holds_tensors(*dict)) return ft_unpickler_bad(m, "there is no dict of tensors named %s", key);
        return FT_OK;
    }
    if (holds_tensors(top)) return FT_OK;
    for (size_t i = 0; (top->kind == FT_PICKLE_DICT || top->kind == FT_PICKLE_OPAQUE) && i < sizeof usual / sizeof *usual; i++) {
        *dict = ft_pth_dict_get(top, usual[i]);
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

static int total_of(const ft_unpickler *m, const ft_pickled *dict, const ft_lookup *names, const ft_pth_bytes *b, size_t *total,
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

static int materialise(const ft_unpickler *m, const ft_pickled *dict, const ft_lookup *names, const ft_pth_bytes *b,
                       const char *file, size_t size, ft_safetensors *st)
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
        size_t each = ft_pth_dtype_size(s->type);
        FT_TRY(measure(m, t, name, b, &o->count, &o->bytes));
        if (!(o->name = ft_strdup(name))) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
        snprintf(o->dtype, sizeof o->dtype, "%s", s->type);
        o->ndim = t->ndim, o->data = at;
        memcpy(o->dim, t->dim, sizeof o->dim);
        if (o->count) gather_strided(at, file + ft_pth_find(b, s->text)->offset + (size_t)t->value * each, t, 0, each);
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
    ft_pth_bytes b = {0};
    ft_lookup names = {0};
    ft_pickled *top = NULL;
    const ft_pickled *dict = NULL;
    const unsigned char *raw = (const unsigned char *)file;
    int rc = m.arena ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = zip ? ft_pth_zip(&m, raw, size, &b, &top) : ft_pth_legacy(&m, raw, size, &b, &top);
    if (rc == FT_OK) rc = choose(&m, &b, top, key, &dict, used ? used : spare);
    if (rc == FT_OK) rc = list_tensors(&m, dict, &names);
    if (rc == FT_OK) rc = materialise(&m, dict, &names, &b, file, size, st);
    if (rc < 0) ft_safetensors_free(st);
    ft_lookup_free(&names);
    ft_pth_bytes_free(&b);
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
