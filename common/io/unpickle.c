#include "common/io/unpickle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/memory.h"
#include "common/base/status.h"

enum { MOST_DIMS = FT_ST_DIMS, MAX_STACK = 1 << 20, MAX_TEXT = 1 << 16, MAX_KEY = 4096, CHUNK_BYTES = 1 << 16 };
enum { PICKLE_RATIO = 64 }; /* bytes of ours for each byte of a pickle; files of torch.save take 10 to 30 */

int ft_unpickler_bad(const ft_unpickler *m, const char *format, ...)
{
    char text[300];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return FT_FAIL(FT_EDATA, "%s: not a PyTorch file that can be read: %s. Save it anew with torch.save, or as safetensors",
                   m->path, text);
}

/* Everything that a pickle makes is taken here: a few of its bytes can ask for a copy of all that is there, so what it gets
 * stands in proportion to what has been read of it. */
static int need(ft_unpickler *m, size_t size, void **p)
{
    if (!ft_add_size(size, 15, &size)) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
    size &= ~(size_t)15;
    if (size > m->spare_size) {
        size_t chunk = size > CHUNK_BYTES / 4 ? size : CHUNK_BYTES;
        if (!ft_add_size(m->used, chunk, &m->used)) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
        FT_TRY(ft_may_ask(m->path, "pickled objects", m->used, (uint64_t)(m->p - m->begin), PICKLE_RATIO));
        char *fresh = ft_arena_alloc(m->arena, chunk);
        if (!fresh) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
        if (chunk == size) {
            *p = fresh;
            return FT_OK;
        }
        m->spare = fresh, m->spare_size = chunk;
    }
    *p = m->spare;
    m->spare += size, m->spare_size -= size;
    return FT_OK;
}

static int make(ft_unpickler *m, ft_pickle_kind k, ft_pickled **n)
{
    void *p;
    FT_TRY(need(m, sizeof **n, &p));
    *n = p;
    (*n)->kind = k;
    return FT_OK;
}

static int push(ft_unpickler *m, ft_pickled *n)
{
    if (m->n_stack == MAX_STACK) return ft_unpickler_bad(m, "more than %d values at once", MAX_STACK);
    FT_TRY(ft_grow(&m->stack, (size_t)m->n_stack, sizeof *m->stack));
    m->stack[m->n_stack++] = n;
    return FT_OK;
}

static int push_new(ft_unpickler *m, ft_pickle_kind k)
{
    ft_pickled *n;
    FT_TRY(make(m, k, &n));
    return push(m, n);
}

/* makes place for `more` items */
static int widen(ft_unpickler *m, ft_pickled *to, int64_t more)
{
    int64_t least = to->n + more, room = 2 * (int64_t)to->room > least ? 2 * (int64_t)to->room : least;
    void *bigger;
    if (least <= to->room) return FT_OK;
    if (room > INT32_MAX) return ft_unpickler_bad(m, "a list of %lld values", (long long)room);
    FT_TRY(need(m, (size_t)room * sizeof *to->item, &bigger));
    if (to->n) memcpy(bigger, to->item, (size_t)to->n * sizeof *to->item);
    to->item = bigger, to->room = (int)room;
    return FT_OK;
}

static int append(ft_unpickler *m, ft_pickled *to, ft_pickled *what)
{
    FT_TRY(widen(m, to, 1));
    to->item[to->n++] = what;
    return FT_OK;
}

static int pop(ft_unpickler *m, ft_pickled **n)
{
    if (m->n_stack == 0 || m->stack[m->n_stack - 1]->kind == FT_PICKLE_MARK)
        return ft_unpickler_bad(m, "the pickle takes a value that is not there");
    *n = m->stack[--m->n_stack];
    return FT_OK;
}

/* index of the first value above the topmost mark */
static int to_mark(const ft_unpickler *m, int64_t *first)
{
    *first = 1;
    for (int64_t i = m->n_stack; i-- > 0;)
        if (m->stack[i]->kind == FT_PICKLE_MARK) return *first = i + 1, FT_OK;
    return ft_unpickler_bad(m, "the pickle has no mark");
}

int ft_unpickler_take(ft_unpickler *m, size_t n, const unsigned char **at)
{
    *at = m->p;
    if ((size_t)(m->end - m->p) < n) return ft_unpickler_bad(m, "the pickle ends too early");
    m->p += n;
    return FT_OK;
}

uint64_t ft_little(const unsigned char *p, int n)
{
    uint64_t v = 0;
    for (int i = n; i-- > 0;) v = v << 8 | p[i];
    return v;
}

static int push_int(ft_unpickler *m, int64_t v)
{
    ft_pickled *n;
    FT_TRY(make(m, FT_PICKLE_INT, &n));
    n->value = v;
    return push(m, n);
}

static int push_text(ft_unpickler *m, uint64_t length, ft_pickle_kind k)
{
    const unsigned char *at;
    if (length > (uint64_t)(m->end - m->p)) return ft_unpickler_bad(m, "the pickle ends inside a text");
    FT_TRY(ft_unpickler_take(m, (size_t)length, &at));
    ft_pickled *n;
    FT_TRY(
        make(m, k == FT_PICKLE_TEXT && length < MAX_TEXT ? FT_PICKLE_TEXT : FT_PICKLE_OTHER, &n)); /* longer ones are no names */
    if (n->kind == FT_PICKLE_TEXT) {
        void *s;
        FT_TRY(need(m, (size_t)length + 1, &s));
        memcpy(s, at, (size_t)length);
        n->text = s, n->value = (int64_t)length;
    }
    return push(m, n);
}

static int line(ft_unpickler *m, const char **text)
{
    const unsigned char *stop = memchr(m->p, '\n', (size_t)(m->end - m->p));
    if (!stop || stop - m->p > 4096) return ft_unpickler_bad(m, "a name without an end");
    void *s;
    FT_TRY(need(m, (size_t)(stop - m->p) + 1, &s));
    memcpy(s, m->p, (size_t)(stop - m->p));
    m->p = stop + 1;
    *text = s;
    return FT_OK;
}

static int push_symbol(ft_unpickler *m, const char *module, const char *name)
{
    size_t size = strlen(module) + strlen(name) + 2;
    ft_pickled *n;
    void *s;
    FT_TRY(make(m, FT_PICKLE_SYMBOL, &n));
    FT_TRY(need(m, size, &s));
    snprintf(s, size, "%s %s", module, name);
    n->text = s;
    return push(m, n);
}

static const struct {
    const char *symbol, *dtype;
} storages[] = {{"torch FloatStorage", "F32"},  {"torch HalfStorage", "F16"},          {"torch BFloat16Storage", "BF16"},
                {"torch DoubleStorage", "F64"}, {"torch LongStorage", "I64"},          {"torch IntStorage", "I32"},
                {"torch ShortStorage", "I16"},  {"torch CharStorage", "I8"},           {"torch ByteStorage", "U8"},
                {"torch BoolStorage", "BOOL"},  {"torch.storage UntypedStorage", "U8"}};

static bool is(const ft_pickled *n, const char *name) { return n->kind == FT_PICKLE_SYMBOL && !strcmp(n->text, name); }

/* ('storage', type, key, location, elements[, view]) */
static int persistent(ft_unpickler *m)
{
    ft_pickled *id, *s;
    FT_TRY(make(m, FT_PICKLE_STORAGE, &s));
    FT_TRY(pop(m, &id));
    if (id->kind != FT_PICKLE_SEQUENCE || id->n < 5 || id->item[1]->kind != FT_PICKLE_SYMBOL ||
        id->item[2]->kind != FT_PICKLE_TEXT || id->item[2]->value > MAX_KEY || id->item[4]->kind != FT_PICKLE_INT)
        return ft_unpickler_bad(m, "a storage is described in an unknown way");
    if (id->n > 5 && id->item[5]->kind != FT_PICKLE_NONE) return ft_unpickler_bad(m, "views of storages are not read");
    for (size_t i = 0; i < sizeof storages / sizeof *storages; i++)
        if (is(id->item[1], storages[i].symbol)) s->type = storages[i].dtype;
    if (!s->type) return ft_unpickler_bad(m, "the storage type %.80s is not known", id->item[1]->text);
    s->text = id->item[2]->text, s->value = id->item[4]->value;
    FT_TRY(ft_grow(&m->storage, (size_t)m->n_storage, sizeof *m->storage));
    m->storage[m->n_storage++] = s;
    return push(m, s);
}

static int numbers(ft_unpickler *m, const ft_pickled *list, int64_t *v, int *count)
{
    if (list->kind != FT_PICKLE_SEQUENCE || list->n > MOST_DIMS)
        return ft_unpickler_bad(m, "a tensor of more than %d dims", MOST_DIMS);
    for (int i = 0; i < list->n; i++) {
        if (list->item[i]->kind != FT_PICKLE_INT || list->item[i]->value < 0)
            return ft_unpickler_bad(m, "a tensor with an impossible dim or stride");
        v[i] = list->item[i]->value;
    }
    *count = list->n;
    return FT_OK;
}

static int tensor(ft_unpickler *m, const ft_pickled *args)
{
    int dims, strides;
    void *shape;
    ft_pickled *t;
    FT_TRY(make(m, FT_PICKLE_TENSOR, &t));
    FT_TRY(need(m, 2 * MOST_DIMS * sizeof *t->dim, &shape));
    t->dim = shape, t->stride = t->dim + MOST_DIMS;
    if (args->n < 4 || args->item[0]->kind != FT_PICKLE_STORAGE || args->item[1]->kind != FT_PICKLE_INT ||
        args->item[1]->value < 0)
        return ft_unpickler_bad(m, "a tensor is described in an unknown way");
    t->value = args->item[1]->value;
    FT_TRY(numbers(m, args->item[2], t->dim, &dims));
    FT_TRY(numbers(m, args->item[3], t->stride, &strides));
    if (dims != strides) return ft_unpickler_bad(m, "a tensor with %d dims and %d strides", dims, strides);
    t->ndim = dims;
    FT_TRY(append(m, t, args->item[0]));
    return push(m, t);
}

/* callable(args): dicts, tensors and sizes are made, everything else is opaque */
static int reduce(ft_unpickler *m)
{
    ft_pickled *args, *call;
    FT_TRY(pop(m, &args));
    FT_TRY(pop(m, &call));
    if (args->kind == FT_PICKLE_SEQUENCE &&
        (is(call, "torch._utils _rebuild_tensor_v2") || is(call, "torch._utils _rebuild_tensor")))
        return tensor(m, args);
    if (args->kind == FT_PICKLE_SEQUENCE && args->n > 0 && is(call, "torch._utils _rebuild_parameter"))
        return push(m, args->item[0]);
    if (args->kind == FT_PICKLE_SEQUENCE && args->n == 1 && is(call, "torch Size")) return push(m, args->item[0]);
    if (is(call, "collections OrderedDict")) {
        ft_pickled *d, *pairs = args->kind == FT_PICKLE_SEQUENCE && args->n > 0 ? args->item[0] : NULL;
        FT_TRY(make(m, FT_PICKLE_DICT, &d));
        if (pairs && pairs->kind == FT_PICKLE_SEQUENCE) FT_TRY(widen(m, d, 2 * (int64_t)pairs->n));
        for (int i = 0; pairs && pairs->kind == FT_PICKLE_SEQUENCE && i < pairs->n; i++) {
            if (pairs->item[i]->kind != FT_PICKLE_SEQUENCE || pairs->item[i]->n != 2)
                return ft_unpickler_bad(m, "a dict of something other than pairs");
            FT_TRY(append(m, d, pairs->item[i]->item[0]));
            FT_TRY(append(m, d, pairs->item[i]->item[1]));
        }
        return push(m, d);
    }
    return push_new(m, FT_PICKLE_OPAQUE);
}

/* values above the mark go into the list, dict or whatever stands below it */
static int collect(ft_unpickler *m, ft_pickle_kind k)
{
    int64_t first;
    FT_TRY(to_mark(m, &first));
    if (first < 2) return ft_unpickler_bad(m, "items for nothing");
    ft_pickled *to = m->stack[first - 2];
    if (k == FT_PICKLE_DICT && (m->n_stack - first) % 2) return ft_unpickler_bad(m, "a key without a value");
    for (int64_t i = first; i < m->n_stack; i++)
        if (to->kind == k || to->kind == FT_PICKLE_OPAQUE) FT_TRY(append(m, to, m->stack[i]));
    m->n_stack = first - 1;
    return FT_OK;
}

static int gather(ft_unpickler *m, ft_pickle_kind k)
{
    int64_t first;
    ft_pickled *n;
    FT_TRY(to_mark(m, &first));
    FT_TRY(make(m, k, &n));
    FT_TRY(widen(m, n, m->n_stack - first));
    for (int64_t i = first; i < m->n_stack; i++) FT_TRY(append(m, n, m->stack[i]));
    m->n_stack = first - 1;
    return push(m, n);
}

static int few(ft_unpickler *m, int count)
{
    ft_pickled *n, *v[3];
    FT_TRY(make(m, FT_PICKLE_SEQUENCE, &n));
    FT_TRY(widen(m, n, count));
    for (int i = count; i-- > 0;) FT_TRY(pop(m, &v[i]));
    for (int i = 0; i < count; i++) FT_TRY(append(m, n, v[i]));
    return push(m, n);
}

static int remember(ft_unpickler *m, uint64_t i)
{
    /* every entry takes a byte of the pickle at least, and they are numbered one after another */
    if (m->n_stack == 0 || i >= (uint64_t)(m->p - m->begin))
        return ft_unpickler_bad(m, "memo %llu is impossible", (unsigned long long)i);
    while (m->n_memo <= (int64_t)i) {
        FT_TRY(ft_grow(&m->memo, (size_t)m->n_memo, sizeof *m->memo));
        m->memo[m->n_memo++] = NULL;
    }
    m->memo[i] = m->stack[m->n_stack - 1];
    return FT_OK;
}

static int recall(ft_unpickler *m, uint64_t i)
{
    if (i >= (uint64_t)m->n_memo || !m->memo[i]) return ft_unpickler_bad(m, "memo %llu was never made", (unsigned long long)i);
    return push(m, m->memo[i]);
}

static int build(ft_unpickler *m)
{
    ft_pickled *state, *to;
    FT_TRY(pop(m, &state));
    FT_TRY(pop(m, &to));
    if (to->kind == FT_PICKLE_OPAQUE && state->kind == FT_PICKLE_DICT)
        for (int i = 0; i < state->n; i++) FT_TRY(append(m, to, state->item[i]));
    return push(m, to);
}

/* ---- instructions: each gets the number behind it (`bytes` of it) and what its row says -------------------------------------
 */

static int skip(ft_unpickler *m, uint64_t arg, int how) { return (void)m, (void)arg, (void)how, FT_OK; }
static int fresh(ft_unpickler *m, uint64_t arg, int k) { return (void)arg, push_new(m, (ft_pickle_kind)k); }
static int gathered(ft_unpickler *m, uint64_t arg, int k) { return (void)arg, gather(m, (ft_pickle_kind)k); }
static int tuple(ft_unpickler *m, uint64_t arg, int count) { return (void)arg, few(m, count); }
static int truth(ft_unpickler *m, uint64_t arg, int value) { return (void)arg, push_int(m, value); }
static int unsigned_int(ft_unpickler *m, uint64_t v, int how) { return (void)how, push_int(m, (int64_t)v); }
static int signed_int(ft_unpickler *m, uint64_t v, int how) { return (void)how, push_int(m, (int32_t)v); }
static int text(ft_unpickler *m, uint64_t length, int k) { return push_text(m, length, (ft_pickle_kind)k); }
static int get(ft_unpickler *m, uint64_t i, int how) { return (void)how, recall(m, i); }
static int put(ft_unpickler *m, uint64_t i, int how) { return (void)how, remember(m, i); }
static int memoize(ft_unpickler *m, uint64_t arg, int how) { return (void)arg, (void)how, remember(m, (uint64_t)m->n_memo); }
static int storage(ft_unpickler *m, uint64_t arg, int how) { return (void)arg, (void)how, persistent(m); }
static int call(ft_unpickler *m, uint64_t arg, int how) { return (void)arg, (void)how, reduce(m); }
static int state(ft_unpickler *m, uint64_t arg, int how) { return (void)arg, (void)how, build(m); }
static int collected(ft_unpickler *m, uint64_t arg, int k) { return (void)arg, collect(m, (ft_pickle_kind)k); }

static int long_int(ft_unpickler *m, uint64_t length, int how)
{
    const unsigned char *a;
    (void)how;
    if (length > (uint64_t)(m->end - m->p)) return ft_unpickler_bad(m, "the pickle ends inside a number");
    FT_TRY(ft_unpickler_take(m, (size_t)length, &a));
    if (length > 8) return push_new(m, FT_PICKLE_OTHER); /* the legacy magic number, checked by its bytes */
    int64_t v = (int64_t)ft_little(a, (int)length);
    if (length > 0 && length < 8 && a[length - 1] & 0x80) v -= (int64_t)1 << (8 * length);
    return push_int(m, v);
}

static int global(ft_unpickler *m, uint64_t arg, int how)
{
    const char *module, *name;
    (void)arg, (void)how;
    FT_TRY(line(m, &module));
    FT_TRY(line(m, &name));
    return push_symbol(m, module, name);
}

static int global_of_stack(ft_unpickler *m, uint64_t arg, int how)
{
    ft_pickled *module = NULL, *name = NULL;
    (void)arg, (void)how;
    FT_TRY(pop(m, &name));
    FT_TRY(pop(m, &module));
    if (module->kind != FT_PICKLE_TEXT || name->kind != FT_PICKLE_TEXT) return ft_unpickler_bad(m, "a class without a name");
    return push_symbol(m, module->text, name->text);
}

static int new_object(ft_unpickler *m, uint64_t arg, int arguments)
{
    ft_pickled *any;
    (void)arg;
    for (int i = 0; i < arguments; i++) FT_TRY(pop(m, &any));
    return push_new(m, FT_PICKLE_OPAQUE);
}

static int set_item(ft_unpickler *m, uint64_t arg, int how)
{
    ft_pickled *key = NULL, *value = NULL;
    (void)arg, (void)how;
    FT_TRY(pop(m, &value));
    FT_TRY(pop(m, &key));
    if (m->n_stack == 0) return ft_unpickler_bad(m, "an item for nothing");
    ft_pickled *to = m->stack[m->n_stack - 1];
    if (to->kind != FT_PICKLE_DICT && to->kind != FT_PICKLE_OPAQUE) return FT_OK;
    FT_TRY(append(m, to, key));
    return append(m, to, value);
}

static int add_item(ft_unpickler *m, uint64_t arg, int how)
{
    ft_pickled *value = NULL;
    (void)arg, (void)how;
    FT_TRY(pop(m, &value));
    if (m->n_stack == 0) return ft_unpickler_bad(m, "an item for nothing");
    ft_pickled *to = m->stack[m->n_stack - 1];
    return to->kind == FT_PICKLE_SEQUENCE ? append(m, to, value) : FT_OK;
}

static int drop(ft_unpickler *m, uint64_t arg, int how)
{
    ft_pickled *any;
    return (void)arg, (void)how, pop(m, &any);
}

static int drop_to_mark(ft_unpickler *m, uint64_t arg, int how)
{
    int64_t first;
    (void)arg, (void)how;
    FT_TRY(to_mark(m, &first));
    m->n_stack = first - 1;
    return FT_OK;
}

static int twice(ft_unpickler *m, uint64_t arg, int how)
{
    ft_pickled *top = NULL;
    (void)arg, (void)how;
    FT_TRY(pop(m, &top));
    FT_TRY(push(m, top));
    return push(m, top);
}

/* Python's pickletools.opcodes without those that torch.save never writes, and those that would run something */
static const struct {
    const char *name;
    int bytes;
    int (*run)(ft_unpickler *m, uint64_t arg, int how);
    int how;
} instruction[256] = {
    [0x80] = {"PROTO", 1, skip, 0},
    [0x95] = {"FRAME", 8, skip, 0},
    ['('] = {"MARK", 0, fresh, FT_PICKLE_MARK},
    ['N'] = {"NONE", 0, fresh, FT_PICKLE_NONE},
    ['}'] = {"EMPTY_DICT", 0, fresh, FT_PICKLE_DICT},
    [']'] = {"EMPTY_LIST", 0, fresh, FT_PICKLE_SEQUENCE},
    [')'] = {"EMPTY_TUPLE", 0, fresh, FT_PICKLE_SEQUENCE},
    [0x8f] = {"EMPTY_SET", 0, fresh, FT_PICKLE_SEQUENCE},
    ['d'] = {"DICT", 0, gathered, FT_PICKLE_DICT},
    ['l'] = {"LIST", 0, gathered, FT_PICKLE_SEQUENCE},
    ['t'] = {"TUPLE", 0, gathered, FT_PICKLE_SEQUENCE},
    [0x91] = {"FROZENSET", 0, gathered, FT_PICKLE_SEQUENCE},
    [0x85] = {"TUPLE1", 0, tuple, 1},
    [0x86] = {"TUPLE2", 0, tuple, 2},
    [0x87] = {"TUPLE3", 0, tuple, 3},
    [0x88] = {"NEWTRUE", 0, truth, 1},
    [0x89] = {"NEWFALSE", 0, truth, 0},
    ['J'] = {"BININT", 4, signed_int, 0},
    ['K'] = {"BININT1", 1, unsigned_int, 0},
    ['M'] = {"BININT2", 2, unsigned_int, 0},
    [0x8a] = {"LONG1", 1, long_int, 0},
    [0x8b] = {"LONG4", 4, long_int, 0},
    ['G'] = {"BINFLOAT", 8, fresh, FT_PICKLE_OTHER},
    ['X'] = {"BINUNICODE", 4, text, FT_PICKLE_TEXT},
    [0x8c] = {"SHORT_BINUNICODE", 1, text, FT_PICKLE_TEXT},
    [0x8d] = {"BINUNICODE8", 8, text, FT_PICKLE_TEXT},
    ['U'] = {"SHORT_BINSTRING", 1, text, FT_PICKLE_TEXT},
    ['T'] = {"BINSTRING", 4, text, FT_PICKLE_TEXT},
    ['C'] = {"SHORT_BINBYTES", 1, text, FT_PICKLE_OTHER},
    ['B'] = {"BINBYTES", 4, text, FT_PICKLE_OTHER},
    [0x8e] = {"BINBYTES8", 8, text, FT_PICKLE_OTHER},
    ['h'] = {"BINGET", 1, get, 0},
    ['j'] = {"LONG_BINGET", 4, get, 0},
    ['q'] = {"BINPUT", 1, put, 0},
    ['r'] = {"LONG_BINPUT", 4, put, 0},
    [0x94] = {"MEMOIZE", 0, memoize, 0},
    ['c'] = {"GLOBAL", 0, global, 0},
    [0x93] = {"STACK_GLOBAL", 0, global_of_stack, 0},
    ['Q'] = {"BINPERSID", 0, storage, 0},
    ['R'] = {"REDUCE", 0, call, 0},
    ['b'] = {"BUILD", 0, state, 0},
    [0x81] = {"NEWOBJ", 0, new_object, 2},
    [0x92] = {"NEWOBJ_EX", 0, new_object, 3},
    ['s'] = {"SETITEM", 0, set_item, 0},
    ['u'] = {"SETITEMS", 0, collected, FT_PICKLE_DICT},
    ['a'] = {"APPEND", 0, add_item, 0},
    ['e'] = {"APPENDS", 0, collected, FT_PICKLE_SEQUENCE},
    [0x90] = {"ADDITEMS", 0, collected, FT_PICKLE_SEQUENCE},
    ['0'] = {"POP", 0, drop, 0},
    ['1'] = {"POP_MARK", 0, drop_to_mark, 0},
    ['2'] = {"DUP", 0, twice, 0},
};

int ft_unpickle(ft_unpickler *m, ft_pickled **result)
{
    const unsigned char *a;
    m->n_stack = 0, m->n_memo = 0;
    for (;;) {
        FT_TRY(ft_unpickler_take(m, 1, &a));
        int op = *a;
        if (op == '.') return pop(m, result); /* STOP */
        if (!instruction[op].run) return ft_unpickler_bad(m, "the pickle instruction 0x%02x is not allowed", op);
        FT_TRY(ft_unpickler_take(m, (size_t)instruction[op].bytes, &a));
        FT_TRY(instruction[op].run(m, ft_little(a, instruction[op].bytes), instruction[op].how));
    }
}

/* ---- trees of modules ------------------------------------------------------------------------------------------------------ */

enum { DEEPEST = 32 }; /* modules in modules */

/* An object that stands at several places (a pickle can say so in two bytes) is visited at each: `left` bounds all visits. */
static int gather_tree(ft_unpickler *m, const ft_pickled *object, const char *prefix, int depth, int64_t *left, ft_pickled *dict)
{
    if (depth == DEEPEST) return ft_unpickler_bad(m, "modules in modules, more than %d deep", DEEPEST);
    for (int i = 0; i + 1 < object->n; i += 2) {
        ft_pickled *key = object->item[i], *value = object->item[i + 1], *name;
        if (--*left < 0) return ft_unpickler_bad(m, "its modules stand for more than the file can hold");
        if (key->kind != FT_PICKLE_TEXT || (value->kind != FT_PICKLE_TENSOR && value->kind != FT_PICKLE_OPAQUE)) continue;
        size_t size = strlen(prefix) + strlen(key->text) + 2;
        void *s;
        FT_TRY(make(m, FT_PICKLE_TEXT, &name));
        FT_TRY(need(m, size, &s));
        name->value = snprintf(s, size, "%s%s%s", prefix, *prefix ? "." : "", key->text);
        name->text = s;
        if (value->kind == FT_PICKLE_OPAQUE) FT_TRY(gather_tree(m, value, name->text, depth + 1, left, dict));
        else {
            FT_TRY(append(m, dict, name));
            FT_TRY(append(m, dict, value));
        }
    }
    return FT_OK;
}

int ft_unpickler_tree(ft_unpickler *m, const ft_pickled *top, const ft_pickled **dict)
{
    int64_t left = m->p - m->begin; /* each attribute takes a byte at least */
    ft_pickled *all;
    FT_TRY(make(m, FT_PICKLE_DICT, &all));
    if (top && top->kind == FT_PICKLE_OPAQUE) FT_TRY(gather_tree(m, top, "", 0, &left, all));
    *dict = all;
    return FT_OK;
}

void ft_unpickler_free(ft_unpickler *m)
{
    ft_free(m->stack);
    ft_free(m->memo);
    ft_free(m->storage);
}
