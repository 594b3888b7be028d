/* The parameter store. All trained values lie in one flat f32 array, buffers behind them, each tensor on a cache line.
 * So the optimiser, EMA, clipping and checkpoints are loops over flat arrays, and a graph can compute with the weights or
 * with their EMA by changing one pointer. */
#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/graph/node.h"

typedef struct {
    ft_param_info info;
    ft_init init;
    float *values;
} entry;

struct ft_params {
    ft_arena *arena;
    entry *list;
    int n;
    uint64_t seed;
    bool sealed, *decay;
    bool no_average;  /* nobody will read the EMA: it is the weights themselves */
    bool some_frozen; /* only names that hold one of `pattern` are trained */
    const char *pattern[FT_TRAIN_PATTERNS];
    int n_pattern;
    int rank; /* of adapters; 0: none */
    double alpha;
    ft_store store;
    ft_store there; /* on a device; arrays that nobody needs are NULL */
    const ft_device *device;
    unsigned newer_there;     /* bits of ft_array */
    bool newer_here;          /* the host has written since the last run */
    uint64_t half_version[2]; /* that the bf16 copy of each bank was made from */
};

ft_init ft_init_xavier(int64_t fan_in, int64_t fan_out)
{
    return (ft_init){FT_INIT_UNIFORM, sqrt(6.0 / (double)(fan_in + fan_out)), NULL};
}
ft_init ft_init_uniform_fan(int64_t fan_in) { return (ft_init){FT_INIT_UNIFORM, 1.0 / sqrt((double)fan_in), NULL}; }
ft_init ft_init_kaiming_out(int64_t fan_out) { return (ft_init){FT_INIT_NORMAL, sqrt(2.0 / (double)fan_out), NULL}; }

ft_params *ft_params_new(uint64_t seed)
{
    ft_params *p = ft_alloc(sizeof *p);
    if (!p || !(p->arena = ft_arena_new())) {
        ft_free(p);
        return NULL;
    }
    p->seed = seed;
    p->store.version = 1;
    return p;
}

static void free_there(ft_params *p)
{
    const ft_device *d = p->device;
    if (!d) return;
    if (p->there.bank[1] != p->there.bank[0]) d->free(p->there.bank[1]);
    if (p->there.half[1] != p->there.half[0]) d->free(p->there.half[1]);
    d->free(p->there.bank[0]);
    d->free(p->there.half[0]);
    d->free(p->there.grad);
    d->free(p->there.moment[0]);
    d->free(p->there.moment[1]);
    d->free((void *)(uintptr_t)p->there.decay);
}

void ft_params_free(ft_params *p)
{
    if (!p) return;
    if (p->store.bank[1] != p->store.bank[0]) ft_free(p->store.bank[1]);
    ft_free(p->store.bank[0]);
    for (int i = 0; i < 2; i++) ft_free(p->store.moment[i]);
    ft_free(p->store.grad);
    free_there(p);
    ft_free(p->decay);
    ft_free(p->list);
    ft_arena_free(p->arena);
    ft_free(p);
}

int ft_params_train_only(ft_params *p, int n, const char *const *pattern)
{
    if (n > FT_TRAIN_PATTERNS || p->n > 0)
        return FT_FAIL(FT_ECONFIG, "%d name patterns: at most %d, and before the first parameter", n, FT_TRAIN_PATTERNS);
    p->some_frozen = true;
    p->n_pattern = n;
    for (int i = 0; i < n; i++)
        if (!(p->pattern[i] = ft_arena_strdup(p->arena, pattern[i]))) return FT_FAIL(FT_ENOMEM, "no memory for a name pattern");
    return FT_OK;
}

int ft_params_adapt(ft_params *p, int rank, double alpha, const char *head)
{
    if (rank <= 0) return FT_OK;
    p->rank = rank, p->alpha = alpha;
    return ft_params_train_only(p, 2, (const char *const[]){".lora_", head});
}

int ft_params_adapters(const ft_params *p, double *scale)
{
    *scale = p->rank ? p->alpha / p->rank : 0;
    return p->rank;
}

void ft_params_no_average(ft_params *p) { p->no_average = true; }

static bool is_frozen(const ft_params *p, const char *name)
{
    bool hit = false;
    for (int i = 0; i < p->n_pattern; i++) hit |= strstr(name, p->pattern[i]) != NULL;
    return p->some_frozen && !hit;
}

int ft__params_find(ft_params *p, const char *name, int ndim, const int64_t *dim, ft_init init, bool trained)
{
    trained = trained && !is_frozen(p, name);
    for (int i = 0; i < p->n; i++) {
        ft_param_info *e = &p->list[i].info;
        if (strcmp(e->name, name)) continue;
        bool same = e->ndim == ndim && e->trained == trained;
        for (int d = 0; same && d < ndim; d++) same = e->dim[d] == dim[d];
        return same ? i : FT_FAIL(FT_EGRAPH, "parameter %s is used with two shapes", name);
    }
    if (p->sealed)
        return FT_FAIL(FT_EGRAPH, "parameter %s appears after the store was sealed: build the largest graph first", name);
    FT_TRY(ft_grow(&p->list, (size_t)p->n, sizeof *p->list));
    entry *e = &p->list[p->n];
    memset(e, 0, sizeof *e);
    e->info = (ft_param_info){ft_arena_strdup(p->arena, name), ndim, {0}, 1, 0, trained, trained && ndim >= 2};
    for (int d = 0; d < ndim; d++) e->info.count *= e->info.dim[d] = dim[d];
    e->init = init;
    if (init.kind == FT_INIT_VALUES && (e->values = ft_arena_alloc(p->arena, (size_t)e->info.count * sizeof(float))))
        memcpy(e->values, init.values, (size_t)e->info.count * sizeof(float));
    if (!e->info.name || (init.kind == FT_INIT_VALUES && !e->values))
        return FT_FAIL(FT_ENOMEM, "no memory for parameter %s", name);
    return p->n++;
}

bool ft__params_follow(const ft_params *p, int first, int i, int k)
{
    const ft_param_info *a = &p->list[first].info, *b = &p->list[i].info;
    return i == first + k && a->count % 16 == 0 && a->count == b->count && a->trained == b->trained;
}

static void fill(const ft_params *p, const entry *e, float *v)
{
    /* the stream is the name, so adding a layer does not change how the others start */
    uint32_t stream = 2166136261u;
    for (const char *s = e->info.name; *s; s++) stream = (stream ^ (unsigned char)*s) * 16777619u;
    ft_rng r = ft_rng_make(p->seed, stream, 0);
    for (int64_t i = 0; i < e->info.count; i++) switch (e->init.kind) {
            case FT_INIT_ZERO: v[i] = 0; break;
            case FT_INIT_ONE: v[i] = 1; break;
            case FT_INIT_UNIFORM: v[i] = (float)ft_rng_range(&r, -e->init.scale, e->init.scale); break;
            case FT_INIT_NORMAL: v[i] = (float)(e->init.scale * ft_rng_normal(&r)); break;
            case FT_INIT_VALUES: v[i] = e->values[i]; break;
        }
}

int ft_params_seal(ft_params *p)
{
    if (p->sealed) return FT_OK;
    ft_store *st = &p->store;
    int64_t at = 0;
    for (int pass = 0; pass < 2; pass++) { /* trained values first */
        for (int i = 0; i < p->n; i++) {
            ft_param_info *e = &p->list[i].info;
            if (e->trained != (pass == 0)) continue;
            e->offset = at;
            at += (e->count + 15) / 16 * 16;
        }
        if (pass == 0) st->trained = at;
    }
    st->total = at;
    size_t all = (size_t)st->total * sizeof(float);
    bool still = p->no_average || (p->some_frozen && st->trained == 0); /* then the average is the weights themselves */
    st->bank[0] = ft_alloc(all), st->bank[1] = still ? st->bank[0] : ft_alloc(all);
    st->decay = p->decay = ft_alloc((size_t)st->trained / 16 + 1);
    if (!st->bank[0] || !st->bank[1] || !p->decay)
        return FT_FAIL(FT_ENOMEM, "no memory for %lld parameters (%.0f MiB). Choose a smaller model", (long long)st->total,
                       (double)all / 524288.0);
    for (int i = 0; i < p->n; i++)
        if (p->list[i].info.decay) memset(p->decay + p->list[i].info.offset / 16, 1, (size_t)(p->list[i].info.count + 15) / 16);
    for (int i = 0; i < p->n; i++) fill(p, &p->list[i], st->bank[0] + p->list[i].info.offset);
    if (!still) memcpy(st->bank[1], st->bank[0], all);
    p->sealed = true;
    return FT_OK;
}

int ft_params_count(const ft_params *p) { return p->n; }
const ft_param_info *ft_params_at(const ft_params *p, int i) { return &p->list[i].info; }

/* ---- the twin on a device -------------------------------------------------------------------------------------------------- */

static float **array_of(ft_store *st, int i)
{
    return i == FT_ARRAY_GRAD ? &st->grad : i < FT_ARRAY_GRAD ? &st->bank[i] : &st->moment[i - FT_ARRAY_M];
}
static size_t bytes_of(const ft_params *p, int i)
{
    return (size_t)(i < FT_ARRAY_GRAD ? p->store.total : p->store.trained) * sizeof(float);
}
static bool one_bank(const ft_params *p) { return p->store.bank[0] == p->store.bank[1]; }

int ft__params_to(ft_params *p, const ft_device *d, bool grad, bool moments, bool half)
{
    p->device = d;
    for (int i = 0; i < FT_ARRAYS; i++) {
        float **a = array_of(&p->there, i);
        bool wanted = i < FT_ARRAY_GRAD || (i == FT_ARRAY_GRAD ? grad || moments : moments);
        if (*a || !wanted) continue;
        if (i == FT_ARRAY_EMA && one_bank(p)) {
            *a = p->there.bank[0];
            continue;
        }
        FT_TRY(d->alloc((void **)a, bytes_of(p, i)));
        if (*array_of(&p->store, i)) FT_TRY(d->upload(*a, *array_of(&p->store, i), bytes_of(p, i)));
    }
    for (int i = 0; half && i < 2; i++) {
        if (p->there.half[i]) continue;
        if (i == 1 && one_bank(p)) p->there.half[1] = p->there.half[0];
        else FT_TRY(d->alloc((void **)&p->there.half[i], (size_t)p->store.total * sizeof(uint16_t)));
    }
    if (moments && !p->there.decay) {
        void *to;
        FT_TRY(d->alloc(&to, (size_t)p->store.trained / 16 + 1));
        p->there.decay = to;
        FT_TRY(d->upload(to, p->store.decay, (size_t)p->store.trained / 16));
    }
    p->there.trained = p->store.trained, p->there.total = p->store.total;
    return FT_OK;
}

ft_store *ft__params_there(ft_params *p) { return &p->there; }

int ft__params_push(ft_params *p, ft_bank half)
{
    if (one_bank(p)) half = FT_WEIGHTS;
    for (int i = 0; p->newer_here && i < FT_ARRAYS; i++) {
        if (i == FT_ARRAY_EMA && one_bank(p)) continue;
        float *here = *array_of(&p->store, i), *there = *array_of(&p->there, i);
        if (here && there && !(p->newer_there >> i & 1)) FT_TRY(p->device->upload(there, here, bytes_of(p, i)));
    }
    p->newer_here = false;
    if (!p->there.half[half] || p->half_version[half] == p->store.version) return FT_OK;
    p->half_version[half] = p->store.version;
    return p->device->narrow(p->there.half[half], p->there.bank[half], p->store.total);
}

void ft__params_written(ft_params *p, unsigned arrays)
{
    bool trained = arrays >> FT_ARRAY_M & 1, kept = p->half_version[0] == p->store.version;
    p->newer_there |= arrays;
    if (!trained) return;
    p->store.version++;
    /* the optimiser writes the bf16 copy of trained weights; buffers behind them are f32 wherever they are read */
    if (kept) p->half_version[0] = p->store.version;
}

/* The host's array, with what the device has made of it */
static float *here(ft_params *p, int i)
{
    if (i == FT_ARRAY_EMA && one_bank(p)) i = FT_ARRAY_WEIGHTS;
    float *a = *array_of(&p->store, i);
    if (!a || !p->device || !(p->newer_there >> i & 1) || !*array_of(&p->there, i)) return a;
    if (p->device->download(a, *array_of(&p->there, i), bytes_of(p, i)) < 0) return NULL;
    p->newer_there &= ~(1u << i);
    return a;
}

float *ft_params_flat(ft_params *p, ft_bank bank) { return here(p, (int)bank); }

/* gradients and moments are made when first asked for: who only runs a network has none */
static float *made(ft_params *p, int i)
{
    float **a = array_of(&p->store, i);
    if (!*a && p->sealed) *a = ft_alloc((size_t)p->store.trained * sizeof **a);
    return here(p, i);
}
float *ft_params_grad(ft_params *p) { return made(p, FT_ARRAY_GRAD); }
float *ft_params_moment(ft_params *p, int which) { return made(p, FT_ARRAY_M + which); }

int64_t ft_params_flat_size(const ft_params *p) { return p->store.total; }
int64_t ft_params_trained_size(const ft_params *p) { return p->store.trained; }
void ft_params_touched(ft_params *p)
{
    p->store.version++;
    p->store.touched++;
    p->newer_here = true;
}
ft_store *ft__params_store(ft_params *p) { return &p->store; }

int64_t ft_params_total(const ft_params *p, bool buffers_too)
{
    int64_t n = 0;
    for (int i = 0; i < p->n; i++)
        if (p->list[i].info.trained || buffers_too) n += p->list[i].info.count;
    return n;
}
