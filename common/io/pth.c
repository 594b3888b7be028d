#include "common/io/pth.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/bounds.h"
#include "common/base/files.h"
#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"

/* ---- what a pickle describes ---------------------------------------------------------------------------------------------- */

typedef enum { NONE, INT, OTHER, TEXT, SEQUENCE, DICT, SYMBOL, STORAGE, TENSOR, OPAQUE, MARK } kind;

enum { DIMS = FT_ST_DIMS, MAX_STACK = 1 << 20, MAX_TEXT = 1 << 16, MAX_KEY = 4096, CHUNK = 1 << 16 };
enum { PICKLE_RATIO = 64 }; /* bytes of ours for each byte of a pickle; files of torch.save take 10 to 30 */

typedef struct node node;
struct node {
    kind kind;
    int64_t value;    /* INT; TEXT: bytes; STORAGE: elements; TENSOR: offset in elements */
    const char *text; /* TEXT; SYMBOL: "module name"; STORAGE: key */
    const char *type; /* STORAGE: dtype */
    node **item;      /* SEQUENCE; DICT: key, value, key, ...; OPAQUE: its state; TENSOR: its storage */
    int n, room, ndim;
    int64_t *dim, *stride; /* TENSOR */
};

typedef struct {
    const char *path;
    ft_arena *arena;
    char *spare;                     /* the rest of the last chunk of the arena */
    size_t spare_size, used;         /* used: bytes of the arena in all */
    const unsigned char *p, *end;    /* the pickle */
    const unsigned char *begin;      /* of it, or of the first of several */
    node **stack, **memo, **storage; /* storage: every one that the pickle names */
    int64_t n_stack, n_storage, n_memo;
    ft_lookup by_key; /* of the storages */
} machine;

static int bad(const machine *m, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int bad(const machine *m, const char *format, ...)
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
static int need(machine *m, size_t size, void **p)
{
    if (!ft_add_size(size, 15, &size)) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
    size &= ~(size_t)15;
    if (size > m->spare_size) {
        size_t chunk = size > CHUNK / 4 ? size : CHUNK;
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

static int make(machine *m, kind k, node **n)
{
    void *p;
    FT_TRY(need(m, sizeof **n, &p));
    *n = p;
    (*n)->kind = k;
    return FT_OK;
}

static int push(machine *m, node *n)
{
    if (m->n_stack == MAX_STACK) return bad(m, "more than %d values at once", MAX_STACK);
    FT_TRY(ft_grow(&m->stack, (size_t)m->n_stack, sizeof *m->stack));
    m->stack[m->n_stack++] = n;
    return FT_OK;
}

static int push_new(machine *m, kind k)
{
    node *n;
    FT_TRY(make(m, k, &n));
    return push(m, n);
}

/* makes place for `more` items */
static int widen(machine *m, node *to, int64_t more)
{
    int64_t least = to->n + more, room = 2 * (int64_t)to->room > least ? 2 * (int64_t)to->room : least;
    void *bigger;
    if (least <= to->room) return FT_OK;
    if (room > INT32_MAX) return bad(m, "a list of %lld values", (long long)room);
    FT_TRY(need(m, (size_t)room * sizeof *to->item, &bigger));
    if (to->n) memcpy(bigger, to->item, (size_t)to->n * sizeof *to->item);
    to->item = bigger, to->room = (int)room;
    return FT_OK;
}

static int append(machine *m, node *to, node *what)
{
    FT_TRY(widen(m, to, 1));
    to->item[to->n++] = what;
    return FT_OK;
}

static int pop(machine *m, node **n)
{
    if (m->n_stack == 0 || m->stack[m->n_stack - 1]->kind == MARK) return bad(m, "the pickle takes a value that is not there");
    *n = m->stack[--m->n_stack];
    return FT_OK;
}

/* index of the first value above the topmost mark */
static int to_mark(const machine *m, int64_t *first)
{
    *first = 1;
    for (int64_t i = m->n_stack; i-- > 0;)
        if (m->stack[i]->kind == MARK) return *first = i + 1, FT_OK;
    return bad(m, "the pickle has no mark");
}

static int take(machine *m, size_t n, const unsigned char **at)
{
    *at = m->p;
    if ((size_t)(m->end - m->p) < n) return bad(m, "the pickle ends too early");
    m->p += n;
    return FT_OK;
}

static uint64_t little(const unsigned char *p, int n)
{
    uint64_t v = 0;
    for (int i = n; i-- > 0;) v = v << 8 | p[i];
    return v;
}

static int push_int(machine *m, int64_t v)
{
    node *n;
    FT_TRY(make(m, INT, &n));
    n->value = v;
    return push(m, n);
}

static int push_text(machine *m, uint64_t length, kind k)
{
    const unsigned char *at;
    if (length > (uint64_t)(m->end - m->p)) return bad(m, "the pickle ends inside a text");
    FT_TRY(take(m, (size_t)length, &at));
    node *n;
    FT_TRY(make(m, k == TEXT && length < MAX_TEXT ? TEXT : OTHER, &n)); /* longer ones are no names */
    if (n->kind == TEXT) {
        void *s;
        FT_TRY(need(m, (size_t)length + 1, &s));
        memcpy(s, at, (size_t)length);
        n->text = s, n->value = (int64_t)length;
    }
    return push(m, n);
}

static int line(machine *m, const char **text)
{
    const unsigned char *stop = memchr(m->p, '\n', (size_t)(m->end - m->p));
    if (!stop || stop - m->p > 4096) return bad(m, "a name without an end");
    void *s;
    FT_TRY(need(m, (size_t)(stop - m->p) + 1, &s));
    memcpy(s, m->p, (size_t)(stop - m->p));
    m->p = stop + 1;
    *text = s;
    return FT_OK;
}

static int push_symbol(machine *m, const char *module, const char *name)
{
    size_t size = strlen(module) + strlen(name) + 2;
    node *n;
    void *s;
    FT_TRY(make(m, SYMBOL, &n));
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

static bool is(const node *n, const char *name) { return n->kind == SYMBOL && !strcmp(n->text, name); }

/* ('storage', type, key, location, elements[, view]) */
static int persistent(machine *m)
{
    node *id, *s;
    FT_TRY(make(m, STORAGE, &s));
    FT_TRY(pop(m, &id));
    if (id->kind != SEQUENCE || id->n < 5 || id->item[1]->kind != SYMBOL || id->item[2]->kind != TEXT ||
        id->item[2]->value > MAX_KEY || id->item[4]->kind != INT)
        return bad(m, "a storage is described in an unknown way");
    if (id->n > 5 && id->item[5]->kind != NONE) return bad(m, "views of storages are not read");
    for (size_t i = 0; i < sizeof storages / sizeof *storages; i++)
        if (is(id->item[1], storages[i].symbol)) s->type = storages[i].dtype;
    if (!s->type) return bad(m, "the storage type %.80s is not known", id->item[1]->text);
    s->text = id->item[2]->text, s->value = id->item[4]->value;
    FT_TRY(ft_grow(&m->storage, (size_t)m->n_storage, sizeof *m->storage));
    m->storage[m->n_storage++] = s;
    return push(m, s);
}

static int numbers(machine *m, const node *n, int64_t *v, int *count)
{
    if (n->kind != SEQUENCE || n->n > DIMS) return bad(m, "a tensor of more than %d dims", DIMS);
    for (int i = 0; i < n->n; i++) {
        if (n->item[i]->kind != INT || n->item[i]->value < 0) return bad(m, "a tensor with an impossible dim or stride");
        v[i] = n->item[i]->value;
    }
    *count = n->n;
    return FT_OK;
}

static int tensor(machine *m, const node *args)
{
    int dims, strides;
    void *shape;
    node *t;
    FT_TRY(make(m, TENSOR, &t));
    FT_TRY(need(m, 2 * DIMS * sizeof *t->dim, &shape));
    t->dim = shape, t->stride = t->dim + DIMS;
    if (args->n < 4 || args->item[0]->kind != STORAGE || args->item[1]->kind != INT || args->item[1]->value < 0)
        return bad(m, "a tensor is described in an unknown way");
    t->value = args->item[1]->value;
    FT_TRY(numbers(m, args->item[2], t->dim, &dims));
    FT_TRY(numbers(m, args->item[3], t->stride, &strides));
    if (dims != strides) return bad(m, "a tensor with %d dims and %d strides", dims, strides);
    t->ndim = dims;
    FT_TRY(append(m, t, args->item[0]));
    return push(m, t);
}

/* callable(args): dicts, tensors and sizes are made, everything else is opaque */
static int reduce(machine *m)
{
    node *args, *call;
    FT_TRY(pop(m, &args));
    FT_TRY(pop(m, &call));
    if (args->kind == SEQUENCE && (is(call, "torch._utils _rebuild_tensor_v2") || is(call, "torch._utils _rebuild_tensor")))
        return tensor(m, args);
    if (args->kind == SEQUENCE && args->n > 0 && is(call, "torch._utils _rebuild_parameter")) return push(m, args->item[0]);
    if (args->kind == SEQUENCE && args->n == 1 && is(call, "torch Size")) return push(m, args->item[0]);
    if (is(call, "collections OrderedDict")) {
        node *d, *pairs = args->kind == SEQUENCE && args->n > 0 ? args->item[0] : NULL;
        FT_TRY(make(m, DICT, &d));
        if (pairs && pairs->kind == SEQUENCE) FT_TRY(widen(m, d, 2 * (int64_t)pairs->n));
        for (int i = 0; pairs && pairs->kind == SEQUENCE && i < pairs->n; i++) {
            if (pairs->item[i]->kind != SEQUENCE || pairs->item[i]->n != 2) return bad(m, "a dict of something other than pairs");
            FT_TRY(append(m, d, pairs->item[i]->item[0]));
            FT_TRY(append(m, d, pairs->item[i]->item[1]));
        }
        return push(m, d);
    }
    return push_new(m, OPAQUE);
}

/* values above the mark go into the list, dict or whatever stands below it */
static int collect(machine *m, kind k)
{
    int64_t first;
    FT_TRY(to_mark(m, &first));
    if (first < 2) return bad(m, "items for nothing");
    node *to = m->stack[first - 2];
    if (k == DICT && (m->n_stack - first) % 2) return bad(m, "a key without a value");
    for (int64_t i = first; i < m->n_stack; i++)
        if (to->kind == k || to->kind == OPAQUE) FT_TRY(append(m, to, m->stack[i]));
    m->n_stack = first - 1;
    return FT_OK;
}

static int gather(machine *m, kind k)
{
    int64_t first;
    node *n;
    FT_TRY(to_mark(m, &first));
    FT_TRY(make(m, k, &n));
    FT_TRY(widen(m, n, m->n_stack - first));
    for (int64_t i = first; i < m->n_stack; i++) FT_TRY(append(m, n, m->stack[i]));
    m->n_stack = first - 1;
    return push(m, n);
}

static int few(machine *m, int count)
{
    node *n, *v[3];
    FT_TRY(make(m, SEQUENCE, &n));
    FT_TRY(widen(m, n, count));
    for (int i = count; i-- > 0;) FT_TRY(pop(m, &v[i]));
    for (int i = 0; i < count; i++) FT_TRY(append(m, n, v[i]));
    return push(m, n);
}

static int remember(machine *m, uint64_t i)
{
    /* every entry takes a byte of the pickle at least, and they are numbered one after another */
    if (m->n_stack == 0 || i >= (uint64_t)(m->p - m->begin)) return bad(m, "memo %llu is impossible", (unsigned long long)i);
    while (m->n_memo <= (int64_t)i) {
        FT_TRY(ft_grow(&m->memo, (size_t)m->n_memo, sizeof *m->memo));
        m->memo[m->n_memo++] = NULL;
    }
    m->memo[i] = m->stack[m->n_stack - 1];
    return FT_OK;
}

static int recall(machine *m, uint64_t i)
{
    if (i >= (uint64_t)m->n_memo || !m->memo[i]) return bad(m, "memo %llu was never made", (unsigned long long)i);
    return push(m, m->memo[i]);
}

static int build(machine *m)
{
    node *state, *to;
    FT_TRY(pop(m, &state));
    FT_TRY(pop(m, &to));
    if (to->kind == OPAQUE && state->kind == DICT)
        for (int i = 0; i < state->n; i++) FT_TRY(append(m, to, state->item[i]));
    return push(m, to);
}

/* One pickle, from m->p to its STOP. */
static int unpickle(machine *m, node **result)
{
    const unsigned char *a;
    node *x, *y;
    m->n_stack = 0, m->n_memo = 0;
    for (;;) {
        FT_TRY(take(m, 1, &a));
        int op = *a;
        int64_t first;
#define ARG(n) FT_TRY(take(m, n, &a))
        switch (op) {
            case 0x80: ARG(1); break;                       /* PROTO */
            case 0x95: ARG(8); break;                       /* FRAME */
            case '.': return pop(m, result);                /* STOP */
            case '(': FT_TRY(push_new(m, MARK)); break;     /* MARK */
            case '}': FT_TRY(push_new(m, DICT)); break;     /* EMPTY_DICT */
            case ']':                                       /* EMPTY_LIST */
            case 0x8f:                                      /* EMPTY_SET */
            case ')': FT_TRY(push_new(m, SEQUENCE)); break; /* EMPTY_TUPLE */
            case 'd': FT_TRY(gather(m, DICT)); break;       /* DICT */
            case 'l':                                       /* LIST */
            case 0x91:                                      /* FROZENSET */
            case 't': FT_TRY(gather(m, SEQUENCE)); break;   /* TUPLE */
            case 0x85:                                      /* TUPLE1 .. TUPLE3 */
            case 0x86:
            case 0x87: FT_TRY(few(m, op - 0x84)); break;
            case 'N': FT_TRY(push_new(m, NONE)); break; /* NONE */
            case 0x88:                                  /* NEWTRUE, NEWFALSE */
            case 0x89: FT_TRY(push_int(m, op == 0x88)); break;
            case 'J':
                ARG(4);
                FT_TRY(push_int(m, (int32_t)little(a, 4)));
                break; /* BININT */
            case 'K':
                ARG(1);
                FT_TRY(push_int(m, *a));
                break; /* BININT1 */
            case 'M':
                ARG(2);
                FT_TRY(push_int(m, (int64_t)little(a, 2)));
                break;   /* BININT2 */
            case 0x8a:   /* LONG1 */
            case 0x8b: { /* LONG4 */
                ARG(op == 0x8a ? 1 : 4);
                uint64_t n = little(a, op == 0x8a ? 1 : 4);
                if (n > (uint64_t)(m->end - m->p)) return bad(m, "the pickle ends inside a number");
                ARG((size_t)n);
                int64_t v = n > 8 ? 0 : (int64_t)little(a, (int)n);
                if (n > 0 && n < 8 && a[n - 1] & 0x80) v -= (int64_t)1 << (8 * n);
                if (n > 8) FT_TRY(push_new(m, OTHER)); /* the legacy magic number, checked by its bytes */
                else FT_TRY(push_int(m, v));
                break;
            }
            case 'G':
                ARG(8);
                FT_TRY(push_new(m, OTHER));
                break; /* BINFLOAT */
            case 'X':
                ARG(4);
                FT_TRY(push_text(m, little(a, 4), TEXT));
                break; /* BINUNICODE */
            case 0x8c: /* SHORT_BINUNICODE */
            case 'U':
                ARG(1);
                FT_TRY(push_text(m, *a, TEXT));
                break; /* SHORT_BINSTRING */
            case 'T':
                ARG(4);
                FT_TRY(push_text(m, little(a, 4), TEXT));
                break; /* BINSTRING */
            case 0x8d:
                ARG(8);
                FT_TRY(push_text(m, little(a, 8), TEXT));
                break; /* BINUNICODE8 */
            case 'C':
                ARG(1);
                FT_TRY(push_text(m, *a, OTHER));
                break; /* SHORT_BINBYTES */
            case 'B':
                ARG(4);
                FT_TRY(push_text(m, little(a, 4), OTHER));
                break; /* BINBYTES */
            case 0x8e:
                ARG(8);
                FT_TRY(push_text(m, little(a, 8), OTHER));
                break; /* BINBYTES8 */
            case 'h':
                ARG(1);
                FT_TRY(recall(m, *a));
                break; /* BINGET */
            case 'j':
                ARG(4);
                FT_TRY(recall(m, little(a, 4)));
                break; /* LONG_BINGET */
            case 'q':
                ARG(1);
                FT_TRY(remember(m, *a));
                break; /* BINPUT */
            case 'r':
                ARG(4);
                FT_TRY(remember(m, little(a, 4)));
                break;                                                  /* LONG_BINPUT */
            case 0x94: FT_TRY(remember(m, (uint64_t)m->n_memo)); break; /* MEMOIZE */
            case 'c': {                                                 /* GLOBAL */
                const char *module, *name;
                FT_TRY(line(m, &module));
                FT_TRY(line(m, &name));
                FT_TRY(push_symbol(m, module, name));
                break;
            }
            case 0x93: /* STACK_GLOBAL */
                FT_TRY(pop(m, &y));
                FT_TRY(pop(m, &x));
                if (x->kind != TEXT || y->kind != TEXT) return bad(m, "a class without a name");
                FT_TRY(push_symbol(m, x->text, y->text));
                break;
            case 'Q': FT_TRY(persistent(m)); break; /* BINPERSID */
            case 'R': FT_TRY(reduce(m)); break;     /* REDUCE */
            case 'b': FT_TRY(build(m)); break;      /* BUILD */
            case 0x92:
                FT_TRY(pop(m, &x)); /* NEWOBJ_EX: three arguments */
            /* fall through */
            case 0x81: /* NEWOBJ */
                FT_TRY(pop(m, &x));
                FT_TRY(pop(m, &y));
                FT_TRY(push_new(m, OPAQUE));
                break;
            case 's': /* SETITEM */
                FT_TRY(pop(m, &y));
                FT_TRY(pop(m, &x));
                if (m->n_stack == 0) return bad(m, "an item for nothing");
                if (m->stack[m->n_stack - 1]->kind == DICT || m->stack[m->n_stack - 1]->kind == OPAQUE) {
                    FT_TRY(append(m, m->stack[m->n_stack - 1], x));
                    FT_TRY(append(m, m->stack[m->n_stack - 1], y));
                }
                break;
            case 'u': FT_TRY(collect(m, DICT)); break; /* SETITEMS */
            case 'a':                                  /* APPEND */
                FT_TRY(pop(m, &x));
                if (m->n_stack == 0) return bad(m, "an item for nothing");
                if (m->stack[m->n_stack - 1]->kind == SEQUENCE) FT_TRY(append(m, m->stack[m->n_stack - 1], x));
                break;
            case 'e':                                       /* APPENDS */
            case 0x90: FT_TRY(collect(m, SEQUENCE)); break; /* ADDITEMS */
            case '0': FT_TRY(pop(m, &x)); break;            /* POP */
            case '1':                                       /* POP_MARK */
                FT_TRY(to_mark(m, &first));
                m->n_stack = first - 1;
                break;
            case '2': /* DUP */
                FT_TRY(pop(m, &x));
                FT_TRY(push(m, x));
                FT_TRY(push(m, x));
                break;
            default: return bad(m, "the pickle instruction 0x%02x is not allowed", op);
        }
#undef ARG
    }
}

/* ---- where the bytes are ------------------------------------------------------------------------------------------------ */

typedef struct {
    const char *name;
    size_t name_length, offset, size;
} record;

typedef struct {
    record *record; /* zip entries, or legacy storages by key */
    int64_t n;
    ft_lookup by_name;
    const char *root; /* zip: what stands before "data.pkl" */
    size_t root_length;
} bytes_of;

static size_t dtype_size(const char *dtype)
{
    return strchr(dtype, '6') && strstr(dtype, "64") ? 8 : strstr(dtype, "32") ? 4 : strstr(dtype, "16") ? 2 : 1;
}

static int zip_directory(machine *m, const unsigned char *file, size_t size, bytes_of *b)
{
    size_t at = size < 22 ? 0 : size - 22, stop = at > 65535 ? at - 65535 : 0;
    if (size < 22) return bad(m, "a zip archive of %zu bytes", size);
    while (at > stop && little(file + at, 4) != 0x06054b50) at--;
    if (little(file + at, 4) != 0x06054b50) return bad(m, "the zip directory is missing; the file is cut off");
    uint64_t count = little(file + at + 10, 2), begin = little(file + at + 16, 4), length = little(file + at + 12, 4);
    if (at >= 20 && little(file + at - 20, 4) == 0x07064b50) { /* zip64 */
        uint64_t far = little(file + at - 12, 8);
        if (far > size - 56 || size < 56 || little(file + far, 4) != 0x06064b50) return bad(m, "the zip64 directory is damaged");
        count = little(file + far + 32, 8), length = little(file + far + 40, 8), begin = little(file + far + 48, 8);
    }
    if (begin > size || length > size - begin || count > length / 46) return bad(m, "the zip directory is damaged");
    if (!(b->record = ft_alloc_n((int64_t)count + 1, sizeof *b->record))) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
    const unsigned char *p = file + begin, *end = p + length;
    for (uint64_t i = 0; i < count; i++) {
        if (end - p < 46 || little(p, 4) != 0x02014b50)
            return bad(m, "entry %llu of the zip directory is damaged", (unsigned long long)i);
        size_t name = little(p + 28, 2), extra = little(p + 30, 2), comment = little(p + 32, 2);
        if ((size_t)(end - p) < 46 + name + extra + comment) return bad(m, "the zip directory is cut off");
        uint64_t stored = little(p + 20, 4), whole = little(p + 24, 4), local = little(p + 42, 4);
        if (little(p + 8, 2) & 1 || little(p + 10, 2) != 0)
            return bad(m, "%.*s is compressed or encrypted", (int)(name > 80 ? 80 : name), (const char *)p + 46);
        for (const unsigned char *x = p + 46 + name, *xe = x + extra; xe - x >= 4;) {
            size_t n = little(x + 2, 2), k = 4;
            if ((size_t)(xe - x) < 4 + n) break;
            if (little(x, 2) == 1) { /* the 64-bit forms of what did not fit, in this order */
                if (whole == 0xFFFFFFFF && k + 8 <= 4 + n) whole = little(x + k, 8), k += 8;
                if (stored == 0xFFFFFFFF && k + 8 <= 4 + n) stored = little(x + k, 8), k += 8;
                if (local == 0xFFFFFFFF && k + 8 <= 4 + n) local = little(x + k, 8), k += 8;
            }
            x += 4 + n;
        }
        if (local > size || size - local < 30 || little(file + local, 4) != 0x04034b50)
            return bad(m, "entry %llu points outside the file", (unsigned long long)i);
        uint64_t from = local + 30 + little(file + local + 26, 2) + little(file + local + 28, 2);
        if (from > size || whole > size - from || whole != stored) return bad(m, "entry %llu is cut off", (unsigned long long)i);
        b->record[b->n++] = (record){(const char *)p + 46, name, (size_t)from, (size_t)whole};
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

static int read_zip(machine *m, const unsigned char *file, size_t size, bytes_of *b, node **top)
{
    FT_TRY(zip_directory(m, file, size, b));
    for (int64_t i = 0; i < b->n; i++) {
        const record *r = &b->record[i];
        if (r->name_length >= 9 && !memcmp(r->name + r->name_length - 9, "/data.pkl", 9)) {
            if (r->size > (64u << 20)) return bad(m, "a pickle of %zu bytes", r->size);
            b->root = r->name, b->root_length = r->name_length - 8;
            m->p = m->begin = file + r->offset, m->end = m->p + r->size;
        }
        if (r->name_length >= 10 && !memcmp(r->name + r->name_length - 10, "/byteorder", 10) &&
            (r->size < 6 || memcmp(file + r->offset, "little", 6)))
            return bad(m, "its numbers are big-endian");
    }
    if (!b->root) return bad(m, "a zip archive without data.pkl");
    FT_TRY(index_records(b));
    return unpickle(m, top);
}

static const node *dict_get(const node *d, const char *key)
{
    const node *hit = NULL; /* the last one counts, as in Python */
    for (int i = 0; i + 1 < d->n; i += 2)
        if (d->item[i]->kind == TEXT && !strcmp(d->item[i]->text, key)) hit = d->item[i + 1];
    return hit;
}

static int read_legacy(machine *m, const unsigned char *file, size_t size, bytes_of *b, node **top)
{
    node *skip, *keys;
    m->p = m->begin = file, m->end = file + size;
    for (int i = 0; i < 2; i++) FT_TRY(unpickle(m, &skip)); /* magic, protocol */
    FT_TRY(unpickle(m, &skip));                             /* sys_info */
    const node *order = skip->kind == DICT ? dict_get(skip, "little_endian") : NULL;
    if (!order || order->value != 1) return bad(m, "its numbers are big-endian");
    FT_TRY(unpickle(m, top));
    FT_TRY(unpickle(m, &keys));
    if (keys->kind != SEQUENCE || keys->n > m->n_storage) return bad(m, "the list of storages is missing or too long");
    if (!(b->record = ft_alloc_n(keys->n + 1, sizeof *b->record))) return FT_FAIL(FT_ENOMEM, "%s: no memory", m->path);
    for (int64_t i = 0; i < m->n_storage; i++)
        FT_TRY(ft_lookup_add(&m->by_key, m->storage[i]->text, strlen(m->storage[i]->text), i));
    ft_lookup_sort(&m->by_key);
    for (int i = 0; i < keys->n; i++) {
        const unsigned char *a;
        const char *key = keys->item[i]->kind == TEXT ? keys->item[i]->text : NULL;
        int64_t at = key ? ft_lookup_find(&m->by_key, key, strlen(key)) : -1;
        if (at < 0) return bad(m, "storage %d belongs to no tensor", i);
        const node *s = m->storage[at];
        FT_TRY(take(m, 8, &a));
        uint64_t n = little(a, 8), each = dtype_size(s->type);
        if (n != (uint64_t)s->value || n > (uint64_t)(m->end - m->p) / each) return bad(m, "storage %s is cut off", key);
        b->record[b->n++] = (record){key, strlen(key), (size_t)(m->p - file), (size_t)(n * each)};
        m->p += n * each;
    }
    return index_records(b);
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------ */

/* values and bytes of tensor t, all of which lie within its storage */
static int measure(const machine *m, const node *t, const char *name, const bytes_of *b, int64_t *count, size_t *bytes)
{
    const node *s = t->item[0];
    const record *r = find_record(b, s->text);
    size_t each = dtype_size(s->type), behind = 0, all = 0;
    int64_t last = t->value, step;
    bool fits = true;
    if (!r) return bad(m, "the data of %s (storage %s) is not in the file", name, s->text);
    *count = 1;
    for (int i = 0; i < t->ndim; i++)
        if (t->dim[i] == 0) return *count = 0, *bytes = 0, FT_OK;
    for (int i = 0; i < t->ndim && fits; i++)
        fits = ft_mul_count(*count, t->dim[i], count) && ft_mul_count(t->dim[i] - 1, t->stride[i], &step) &&
               !__builtin_add_overflow(last, step, &last);
    if (!fits || !ft_mul_size((size_t)*count, each, bytes)) return bad(m, "%s is impossibly large", name);
    if (!ft_add_size((size_t)last, 1, &behind) || !ft_mul_size(behind, each, &all) || last >= s->value || all > r->size)
        return bad(m, "%s reaches beyond its storage of %lld values", name, (long long)s->value);
    return FT_OK;
}

static void gather_strided(char *dst, const char *src, const node *t, int axis, size_t each)
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

static bool holds_tensors(const node *d)
{
    if (!d || (d->kind != DICT && d->kind != OPAQUE)) return false;
    for (int i = 1; i < d->n; i += 2)
        if (d->item[i]->kind == TENSOR) return true;
    return false;
}

static int choose(const machine *m, const node *top, const char *key, const node **dict, char used[64])
{
    static const char *const usual[] = {"state_dict", "teacher", "ema", "model", "model_state", "module", "params_ema", "params"};
    snprintf(used, 64, "%s", "");
    *dict = top;
    if (key && *key) {
        snprintf(used, 64, "%s", key);
        *dict = top->kind == DICT || top->kind == OPAQUE ? dict_get(top, key) : NULL;
        if (!holds_tensors(*dict)) return bad(m, "there is no dict of tensors named %s", key);
        return FT_OK;
    }
    if (holds_tensors(top)) return FT_OK;
    for (size_t i = 0; (top->kind == DICT || top->kind == OPAQUE) && i < sizeof usual / sizeof *usual; i++) {
        *dict = dict_get(top, usual[i]);
        snprintf(used, 64, "%s", usual[i]);
        if (holds_tensors(*dict)) return FT_OK;
    }
    return bad(m, "no dict of tensors at the top or under state_dict, teacher, ema, model, model_state, module, params (name it "
                  "with --key)");
}

/* The tensors of a dict by name: `names` gives the place of a name's last value, which is the one that counts in Python. */
static int list_tensors(const machine *m, const node *dict, ft_lookup *names)
{
    for (int i = 0; i + 1 < dict->n; i += 2) {
        const node *key = dict->item[i];
        if (key->kind != TEXT) continue;
        if (dict->item[i + 1]->kind == TENSOR) FT_TRY(ft_check_name(key->text, (size_t)key->value, m->path, "the tensor name"));
        else if (key->value > FT_NAME_MOST) continue;
        FT_TRY(ft_lookup_add(names, key->text, (size_t)key->value, i));
    }
    ft_lookup_sort(names);
    return FT_OK;
}

static bool counts(const node *dict, const ft_lookup *names, int i)
{
    const node *key = dict->item[i];
    return dict->item[i + 1]->kind == TENSOR && key->kind == TEXT && ft_lookup_find(names, key->text, (size_t)key->value) == i;
}

static size_t padded(size_t bytes) { return (bytes + 15) / 16 * 16; }

static int total_of(const machine *m, const node *dict, const ft_lookup *names, const bytes_of *b, size_t *total, int64_t *n)
{
    int64_t count;
    size_t bytes;
    *total = 0, *n = 0;
    for (int i = 0; i + 1 < dict->n; i += 2) {
        if (!counts(dict, names, i)) continue;
        FT_TRY(measure(m, dict->item[i + 1], dict->item[i]->text, b, &count, &bytes));
        if (bytes > SIZE_MAX - 16 || !ft_add_size(*total, padded(bytes), total))
            return bad(m, "%s is impossibly large", dict->item[i]->text);
        ++*n;
    }
    return FT_OK;
}

static int materialise(const machine *m, const node *dict, const ft_lookup *names, const bytes_of *b, const char *file,
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
        const node *t = dict->item[i + 1], *s = t->item[0];
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
    machine m = {.path = path};
    bool zip = !memcmp(head, "PK\3\4", 4);
    if (!zip && memcmp(head, magic, sizeof magic))
        return bad(&m, "it begins neither as a zip archive nor as a pickle of torch.save");
    FT_TRY(ft_read_file(path, (size_t)1 << 36, &file, &size));
    m.arena = ft_arena_new();
    bytes_of b = {0};
    ft_lookup names = {0};
    node *top = NULL;
    const node *dict = NULL;
    const unsigned char *raw = (const unsigned char *)file;
    int rc = m.arena ? FT_OK : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) rc = zip ? read_zip(&m, raw, size, &b, &top) : read_legacy(&m, raw, size, &b, &top);
    if (rc == FT_OK) rc = choose(&m, top, key, &dict, used ? used : spare);
    if (rc == FT_OK) rc = list_tensors(&m, dict, &names);
    if (rc == FT_OK) rc = materialise(&m, dict, &names, &b, file, size, st);
    if (rc < 0) ft_safetensors_free(st);
    ft_lookup_free(&names);
    ft_lookup_free(&b.by_name);
    ft_lookup_free(&m.by_key);
    ft_free(b.record);
    ft_free(m.stack);
    ft_free(m.memo);
    ft_free(m.storage);
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
