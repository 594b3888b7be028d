/* Matrix products and convolutions by oneDNN. The only file that knows it (onednn_api.h: 2.x and 3.x in one form).
 *
 * A node keeps its primitive and its memories. Where the library wants another weight layout or bf16, weights are packed: fixed
 * ones once into a copy that the node keeps, those that a plan trains at every run into the plan's scratch, where they stay in
 * the cache. A gradient in the library's layout lies there too until it is unpacked. Activations are channels last. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

#include "common/base/status.h"
#include "common/base/threads.h"
#define FT_ISA base /* for the prototypes */
#include "kernels/cpu/cpu.h"
#include "kernels/cpu/onednn_api.h"

enum { MAX_ARGS = 6, MAX_LAYOUTS = 6 };

typedef struct onednn_state onednn_state;
typedef struct part part;
struct onednn_state {
    dnnl_primitive_t main, pack; /* pack: reorder between our weight layout and the library's, before or after main */
    dnnl_memory_t user, packed;  /* weights as ours, and as the library's (NULL when equal) */
    bool kept, unpack;           /* packed is the node's own, else in the scratch, packed_at bytes behind its beginning */
    bool stale;                  /* the kept copy is */
    size_t packed_at, packed_size;
    int n;
    dnnl_exec_arg_t arg[MAX_ARGS];
    const void **from[MAX_ARGS]; /* where each argument's address is found at run time; NULL: fixed, or the scratch */
    dnnl_memory_t scratch;       /* one of the arguments; NULL: none */
    ft_md layout[MAX_LAYOUTS];   /* what main is described by: needed until it is made */
    int layouts;
    dnnl_primitive_attr_t attr;
    dnnl_primitive_desc_t hint, pd; /* hint: the forward pass that a gradient belongs to */
    ft_buf padded;                  /* conv_bwd_w: a copy of x with its zero frames, dims of x; ndim 0: none */
    ft_prepare *prepare;
    dnnl_stream_t stream; /* of its own: two plans may run at once */
    int threads;          /* that it was made for */
    onednn_state *other;  /* for fewer; NULL: none yet, or it differs */
    int tried;            /* the threads that another was last made for */
    bool differs;         /* and its result did, in the last bits */
    bool partial;         /* of a part: its gradient is left as main made it */
    part *part;           /* rows x columns of them, which compute it; then there is no main */
    int parts, rows, columns;
};

/* One thread's share of a weight gradient. */
struct part {
    ft_buf x, dy, dw, db;
    ft_call call;
    int64_t x_at, dy_at, dw_at, db_at; /* elements before it in the whole's */
    int64_t work, copy, sum, bias;     /* in the whole's scratch: its own, a copy of dy, results; IN_PLACE: none */
};

static dnnl_engine_t engine;
static char version_text[48];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void)
{
    const dnnl_version_t *v = dnnl_version();
    snprintf(version_text, sizeof version_text, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    if (dnnl_engine_create(&engine, dnnl_cpu, 0) != dnnl_success) engine = NULL;
}

const char *ft_cpu_library(void)
{
    pthread_once(&once, start);
    return version_text;
}

static void free_description(onednn_state *s)
{
    dnnl_primitive_desc_destroy(s->pd);
    dnnl_primitive_desc_destroy(s->hint);
    dnnl_primitive_attr_destroy(s->attr);
    for (int i = 0; i < s->layouts; i++) dnnl_memory_desc_destroy(s->layout[i]);
    s->pd = s->hint = NULL, s->attr = NULL, s->layouts = 0;
}

static void free_state(void *p)
{
    onednn_state *s = p;
    if (!s) return;
    free_state(s->other);
    for (int i = 0; i < s->parts; i++) free_state(s->part[i].call.state);
    free(s->part);
    free_description(s);
    for (int i = 0; i < s->n; i++)
        if (s->arg[i].memory != s->packed) dnnl_memory_destroy(s->arg[i].memory);
    dnnl_memory_destroy(s->packed);
    dnnl_memory_destroy(s->user);
    dnnl_primitive_destroy(s->main);
    dnnl_primitive_destroy(s->pack);
    dnnl_stream_destroy(s->stream);
    free(s);
}

static dnnl_data_type_t type_of(ft_dtype d) { return d == FT_BF16 ? dnnl_bf16 : dnnl_f32; }

static int bad(dnnl_status_t st, const char *what)
{
    if (st == dnnl_out_of_memory) return FT_FAIL(FT_ENOMEM, "oneDNN has no memory for %s", what);
    return FT_FAIL(FT_EDEVICE, "oneDNN cannot do %s here (status %d)%s", what, (int)st,
                   ft_cpu_has_bf16() ? "" : ". This processor has no bf16 products: use --precision f32");
}
#define DNNL(call, what)                                                                                                         \
    do {                                                                                                                         \
        dnnl_status_t st_ = (call);                                                                                              \
        if (st_ != dnnl_success) return bad(st_, (what));                                                                        \
    } while (0)

/* The node's state. Every primitive takes its scratch from the plan (ft_call.work), and its activation in the same pass. */
static int begin(ft_call *c, onednn_state **state, ft_prepare *prepare, ft_act act)
{
    static const dnnl_alg_kind_t kind[] = {[FT_ACT_RELU] = dnnl_eltwise_relu,
                                           [FT_ACT_SILU] = dnnl_eltwise_swish,
                                           [FT_ACT_GELU] = dnnl_eltwise_gelu_erf,
                                           [FT_ACT_GELU_TANH] = dnnl_eltwise_gelu_tanh,
                                           [FT_ACT_SIGMOID] = dnnl_eltwise_logistic};
    dnnl_post_ops_t ops;
    pthread_once(&once, start);
    if (!engine) return FT_FAIL(FT_EDEVICE, "oneDNN did not start");
    onednn_state *s = *state = calloc(1, sizeof *s);
    if (!s) return FT_FAIL(FT_ENOMEM, "no memory for a call of oneDNN");
    s->prepare = prepare;
    s->threads = ft_threads_now();
    c->state = s;
    c->free_state = free_state;
    DNNL(dnnl_stream_create(&s->stream, engine, dnnl_stream_default_flags), "a stream");
    DNNL(dnnl_primitive_attr_create(&s->attr), "an attribute");
    DNNL(dnnl_primitive_attr_set_scratchpad_mode(s->attr, dnnl_scratchpad_mode_user), "scratch");
    if (act == FT_ACT_NONE) return FT_OK;
    DNNL(dnnl_post_ops_create(&ops), "an activation");
    dnnl_status_t st = dnnl_post_ops_append_eltwise(ops, kind[act], act == FT_ACT_SILU ? 1.0f : 0.0f, 0.0f);
    if (st == dnnl_success) st = dnnl_primitive_attr_set_post_ops(s->attr, ops);
    dnnl_post_ops_destroy(ops);
    DNNL(st, "an activation");
    return FT_OK;
}

static int tagged(onednn_state *s, ft_md *md, int n, const dnnl_dims_t dims, dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    FT_ASSERT(s->layouts < MAX_LAYOUTS);
    DNNL(dnnl_memory_desc_create_with_tag(md, n, dims, type, tag), "a layout");
    s->layout[s->layouts++] = *md;
    return FT_OK;
}

static int strided(onednn_state *s, ft_md *md, int n, const dnnl_dims_t dims, dnnl_data_type_t type, const dnnl_dims_t strides)
{
    FT_ASSERT(s->layouts < MAX_LAYOUTS);
    DNNL(dnnl_memory_desc_create_with_strides(md, n, dims, type, strides), "a layout");
    s->layout[s->layouts++] = *md;
    return FT_OK;
}

static int add(onednn_state *s, int id, const_dnnl_memory_desc_t md, const void *const *from)
{
    dnnl_memory_t m;
    DNNL(dnnl_memory_create(&m, md, engine, DNNL_MEMORY_NONE), "a buffer");
    s->from[s->n] = (const void **)from;
    s->arg[s->n++] = (dnnl_exec_arg_t){id, m};
    return FT_OK;
}

static int reorder(onednn_state *s, const_dnnl_memory_desc_t from, const_dnnl_memory_desc_t to)
{
    dnnl_primitive_desc_t pd;
    DNNL(dnnl_reorder_primitive_desc_create(&pd, from, engine, to, engine, NULL), "a weight reorder");
    dnnl_status_t st = dnnl_primitive_create(&s->pack, pd);
    dnnl_primitive_desc_destroy(pd);
    DNNL(st, "a weight reorder");
    return FT_OK;
}

/* Weights, or their gradient, that lie in the layout `ours`: where s->pd likes another one they are packed before it, or the
 * gradient is unpacked after it. */
static int add_weights(const ft_call *c, int id, const_dnnl_memory_desc_t ours, const void *const *from)
{
    onednn_state *s = c->state;
    bool gradient = id == DNNL_ARG_DIFF_WEIGHTS;
    const_dnnl_memory_desc_t theirs =
        dnnl_primitive_desc_query_md(s->pd, gradient ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    if (dnnl_memory_desc_equal(ours, theirs)) return add(s, id, ours, from);
    s->kept = s->stale = !gradient && !c->weights_move;
    s->unpack = gradient;
    s->packed_size = dnnl_memory_desc_get_size(theirs);
    DNNL(dnnl_memory_create(&s->packed, theirs, engine, s->kept ? DNNL_MEMORY_ALLOCATE : DNNL_MEMORY_NONE), "packed weights");
    DNNL(dnnl_memory_create(&s->user, ours, engine, DNNL_MEMORY_NONE), "weights");
    FT_TRY(gradient ? reorder(s, theirs, ours) : reorder(s, ours, theirs));
    s->from[s->n] = NULL;
    s->arg[s->n++] = (dnnl_exec_arg_t){id, s->packed};
    return FT_OK;
}

static void point(const onednn_state *s, dnnl_memory_t m, const void *data)
{
#if DNNL_VERSION_MAJOR >= 3
    (void)s;
    dnnl_memory_set_data_handle(m, (void *)data);
#else
    dnnl_memory_set_data_handle_v2(m, (void *)data, s->stream);
#endif
}

static void pad_frames(const ft_call *c, onednn_state *s)
{
    const ft_buf *x = c->in[0];
    int64_t frame = x->dim[2] * x->dim[3] * x->dim[4], frames = s->padded.dim[1];
    s->padded.data = (char *)c->work + (c->work_size - (size_t)s->padded.count * 2);
    for (int64_t b = 0; b < x->dim[0]; b++)
        for (int64_t t = 0; t < frames; t++) {
            int64_t from = t - c->attr->conv.pad_front[0];
            void *to = ft_at(&s->padded, (b * frames + t) * frame);
            if (from < 0 || from >= x->dim[1]) memset(to, 0, (size_t)frame * 2);
            else memcpy(to, ft_at(x, (b * x->dim[1] + from) * frame), (size_t)frame * 2);
        }
}

static void unpack(onednn_state *s)
{
    dnnl_exec_arg_t a[2] = {{DNNL_ARG_FROM, s->packed}, {DNNL_ARG_TO, s->user}};
    dnnl_status_t st = dnnl_primitive_execute(s->pack, s->stream, 2, a);
    FT_ASSERT(st == dnnl_success);
}

static void execute(const ft_call *c, onednn_state *s, const void *weights)
{
    dnnl_status_t st = dnnl_success;
    if (s->padded.ndim) pad_frames(c, s);
    for (int i = 0; i < s->n; i++)
        if (s->from[i]) point(s, s->arg[i].memory, *s->from[i]);
    if (s->scratch) point(s, s->scratch, c->work);
    if (s->pack) point(s, s->user, weights);
    if (s->pack && !s->kept) point(s, s->packed, (char *)c->work + s->packed_at);
    if (s->pack && !s->unpack && (!s->kept || s->stale)) {
        dnnl_exec_arg_t a[2] = {{DNNL_ARG_FROM, s->user}, {DNNL_ARG_TO, s->packed}};
        st = dnnl_primitive_execute(s->pack, s->stream, 2, a);
        s->stale = false;
    }
    if (st == dnnl_success) st = dnnl_primitive_execute(s->main, s->stream, s->n, s->arg);
    FT_ASSERT(st == dnnl_success);
    if (s->unpack && !s->partial) unpack(s);
}

/* ---- fewer threads than planned (common/base/threads.h) -------------------------------------------------------------------
 * A primitive asks for as many threads as it was made for. So when others take cores, a second one is made for those that are
 * left, and used from then on if it gives the same bits: a sum that is cut into a part for each thread does not. */

static size_t bytes_of(const ft_buf *b) { return (size_t)b->count * ft_size(b->dtype); }

/* The call once more, prepared for the threads of now. */
static onednn_state *prepare_again(const ft_call *c, const onednn_state *s)
{
    ft_call again = *c;
    again.state = NULL;
    int rc = s->prepare(&again);
    onednn_state *other = again.state;
    if (rc == FT_OK && again.work_size <= c->work_size) return other;
    free_state(other);
    return NULL;
}

static void fill_with_noise(const ft_buf *b, uint32_t seed)
{
    for (int64_t i = 0; i < b->count; i++) {
        uint32_t h = ((uint32_t)i + seed) * 2654435761u;
        h = (h ^ h >> 15) * 2246822519u;
        float v = (float)(int32_t)(h ^ h >> 13) / 2147483648.0f;
        if (b->dtype == FT_BF16) ((uint16_t *)b->data)[i] = ft_to_bf16(v);
        else ((float *)b->data)[i] = v;
    }
}

/* How many draws of noise: sums in two orders agree by chance as often as not, and an output may be one value (the bias of a
 * single channel), so every output is to be compared at 64 values or more. */
static uint32_t draws_of(const ft_call *c)
{
    int64_t least = 64;
    for (int k = 0; k < c->n_out; k++)
        if (c->out[k] && c->out[k]->count < least) least = c->out[k]->count;
    uint32_t n = (uint32_t)((64 + least - 1) / (least > 0 ? least : 1));
    return n > 3 ? n : 3;
}

/* Do both make the same of noise? Not of what the step has at hand: a batch may be all zeros, and any two sums of zeros are
 * equal. */
static bool equal_bits(ft_call *c, onednn_state *s, onednn_state *other)
{
    uint32_t draws = draws_of(c);
    void *in[FT_MAX_IN] = {NULL}, *out[FT_MAX_OUT] = {NULL}, *made[FT_MAX_OUT] = {NULL};
    bool same = true;
    for (int k = 0; k < c->n_in; k++) {
        bool twice = false; /* a product with itself */
        for (int j = 0; j < k; j++) twice = twice || c->in[j] == c->in[k];
        if (!c->in[k] || twice) continue;
        in[k] = c->in[k]->data;
        ((ft_buf *)(uintptr_t)c->in[k])->data = malloc(bytes_of(c->in[k]));
        same = same && c->in[k]->data;
    }
    for (int k = 0; k < c->n_out; k++) {
        if (!c->out[k]) continue;
        out[k] = c->out[k]->data;
        c->out[k]->data = malloc(bytes_of(c->out[k]));
        made[k] = malloc(bytes_of(c->out[k]));
        same = same && c->out[k]->data && made[k];
    }
    for (uint32_t draw = 0; same && draw < draws; draw++) {
        for (int k = 0; k < c->n_in; k++)
            if (in[k]) fill_with_noise(c->in[k], 7919 * draw + 104729 * (uint32_t)k);
        s->stale = other->stale = true;
        const void *weights = c->n_in > 1 && c->in[1] ? c->in[1]->data : NULL;
        execute(c, s, weights);
        for (int k = 0; k < c->n_out; k++)
            if (made[k]) memcpy(made[k], c->out[k]->data, bytes_of(c->out[k]));
        execute(c, other, weights);
        for (int k = 0; same && k < c->n_out; k++)
            if (made[k] && memcmp(made[k], c->out[k]->data, bytes_of(c->out[k]))) same = false;
    }
    s->stale = other->stale = true;
    for (int k = 0; k < c->n_in; k++) {
        if (!in[k]) continue;
        free(c->in[k]->data);
        ((ft_buf *)(uintptr_t)c->in[k])->data = in[k];
    }
    for (int k = 0; k < c->n_out; k++) {
        if (!c->out[k]) continue;
        free(c->out[k]->data);
        free(made[k]);
        c->out[k]->data = out[k];
    }
    return same;
}

/* weights: as c->in[1] has them */
static void run(const ft_call *c, const void *weights)
{
    onednn_state *s = c->state;
    int threads = ft_threads_now();
    if (c->weights_changed) s->stale = true;
    if (c->weights_changed && s->other) s->other->stale = true;
    if (threads == s->threads || (s->differs && s->tried == threads)) return execute(c, s, weights);
    if (!s->other || s->other->threads != threads) {
        free_state(s->other);
        s->other = prepare_again(c, s);
        s->tried = threads;
        ft_call trial = *c;
        s->differs = !s->other || !equal_bits(&trial, s, s->other);
        if (s->differs) {
            free_state(s->other);
            s->other = NULL;
            return execute(c, s, weights);
        }
    }
    execute(c, s->other, weights);
}

static int finish(ft_call *c)
{
    onednn_state *s = c->state;
    const_dnnl_memory_desc_t scratch = dnnl_primitive_desc_query_md(s->pd, dnnl_query_scratchpad_md, 0);
    c->work_size = scratch ? dnnl_memory_desc_get_size(scratch) : 0;
    if (c->work_size) {
        FT_TRY(add(s, DNNL_ARG_SCRATCHPAD, scratch, NULL));
        s->scratch = s->arg[s->n - 1].memory;
    }
    if (s->pack && !s->kept) {
        s->packed_at = (c->work_size + 63) / 64 * 64;
        c->work_size = s->packed_at + s->packed_size;
    }
    DNNL(dnnl_primitive_create(&s->main, s->pd), "a primitive");
    free_description(s);
    return FT_OK;
}

#define AT(buf) ((const void *const *)&(buf)->data)

/* ---- weight gradients, cut by us -------------------------------------------------------------------------------------------
 * The library's threads share a weight gradient out and wait for each other in loops that spin, some once for every image: where
 * two of them have one core, each wait is a slice of the scheduler's time, and a step takes hundreds of times as long. The sum
 * also depends on how many they are. So it is cut here, for the threads that were planned for and whoever computes it in the end:
 * into rows (shares of the batch, whose sums are added in their order) and columns (shares of the output's channels). A part is a
 * call for one thread, which waits for nobody. */

enum { IN_PLACE = -1, CHANNELS = 16 /* of the library's blocks, which columns are made of */ };

static void library_threads(int n)
{
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}

static int prepare_for_one(ft_call *c, ft_prepare *whole)
{
    library_threads(1);
    int rc = whole(c);
    library_threads(ft_threads_now());
    return rc;
}

/* where share i of n begins in a length that is cut between units */
static int64_t share(int64_t length, int64_t unit, int i, int n)
{
    return FT_MIN(length, (length + unit - 1) / unit * i / n * unit);
}

/* the greatest share as a part of the whole */
static double most(int64_t length, int64_t unit, int n)
{
    int64_t units = (length + unit - 1) / unit;
    return (double)((units + n - 1) / n) / (double)units;
}

/* How many rows and columns: those of the least work for the slowest thread, counted for each weight in multiply-adds of f32.
 * What else there is to do: to repack a value of x for the products, to copy one of dy, to add a sum. Two threads take about as
 * long as these say; that memory feeds eight is a guess. sums: how many products a weight's gradient is the sum of. */
static void best_cut(onednn_state *s, int threads, int64_t batch, double sums, double weights, int64_t channels, bool grouped)
{
    const double repack = 60, copy = 60, add = 30, small = 1 << 18; /* small: not worth a second thread */
    double width = (double)channels, least = sums * (1 + repack / width);
    s->rows = s->columns = 1;
    for (int rows = 1; rows <= threads && rows <= batch && sums * weights >= small; rows++) {
        int columns = grouped ? 1 : (int)FT_MIN(threads / rows, (channels + CHANNELS - 1) / CHANNELS);
        double tall = most(batch, 1, rows), cost = sums * tall * (most(channels, CHANNELS, columns) + repack / width);
        if (rows > 1) cost += add * (rows + 1) / FT_MIN(threads, 8);
        if (columns > 1) cost += copy * sums * width / weights / FT_MIN(threads, 8);
        if (cost < least) least = cost, s->rows = rows, s->columns = columns;
    }
}

static int64_t place(ft_call *c, size_t size)
{
    int64_t at = (int64_t)c->work_size;
    c->work_size += (size + 63) / 64 * 64;
    return at;
}

/* `images` of b's batch, all axes but the last `own` ones, and as many channels */
static ft_buf part_of(const ft_buf *b, int own, int64_t images, int64_t channels)
{
    ft_buf r = *b;
    r.count = images * channels;
    r.dim[0] = images;
    for (int i = 1; i < b->ndim - 1; i++) {
        if (i < b->ndim - own) r.dim[i] = 1;
        r.count *= r.dim[i];
    }
    r.dim[b->ndim - 1] = channels;
    return r;
}

/* Row i, column j. */
static void describe_part(const ft_call *c, onednn_state *s, int own, int i, int j)
{
    part *p = &s->part[i * s->columns + j];
    const ft_buf *x = c->in[0], *dy = c->in[1];
    int64_t batch = 1, channels = ft_last(dy), first = share(channels, CHANNELS, j, s->columns),
            n = share(channels, CHANNELS, j + 1, s->columns) - first;
    for (int k = 0; k < dy->ndim - own; k++) batch *= dy->dim[k];
    int64_t at = share(batch, 1, i, s->rows), images = share(batch, 1, i + 1, s->rows) - at;
    p->x = part_of(x, own, images, ft_last(x));
    p->dy = part_of(dy, own, images, n);
    p->dw = *c->out[0];
    p->dw.dim[0] = n;
    p->dw.count = c->out[0]->count / channels * n;
    p->x_at = x->count / batch * at;
    p->dy_at = dy->count / batch * at + first;
    p->dw_at = c->out[0]->count / channels * first;
    p->db_at = first;
    p->call = *c;
    p->call.state = NULL;
    p->call.in[0] = &p->x, p->call.in[1] = &p->dy, p->call.out[0] = &p->dw;
    if (c->n_out < 2 || !c->out[1]) return;
    p->db = *c->out[1];
    p->db.dim[0] = p->db.count = n;
    p->call.out[1] = &p->db;
}

/* Scratch and results of a part. Sums of rows stay in the library's layout; the first row's becomes the sum of all, which all
 * threads unpack. *fits: it has the layout of the first row's. */
static int place_part(ft_call *c, const onednn_state *s, part *p, const part *first, bool *fits)
{
    onednn_state *own = p->call.state, *sum = first->call.state;
    const_dnnl_memory_desc_t theirs, ours;
    p->work = place(c, p->call.work_size);
    p->copy = s->columns > 1 ? place(c, (size_t)p->dy.count * ft_size(p->dy.dtype)) : IN_PLACE;
    p->bias = p != first && p->db.ndim ? place(c, (size_t)p->db.count * sizeof(float)) : IN_PLACE;
    p->sum = p != first && !own->pack ? place(c, (size_t)p->dw.count * sizeof(float)) : IN_PLACE;
    own->partial = s->rows > 1;
    if (!own->pack != !sum->pack) *fits = false;
    if (s->rows == 1 || !own->pack || !*fits) return FT_OK;
    DNNL(dnnl_memory_get_memory_desc(own->packed, &theirs), "a layout");
    DNNL(dnnl_memory_get_memory_desc(sum->packed, &ours), "a layout");
    *fits = dnnl_memory_desc_equal(theirs, ours);
    if (p != first) return FT_OK;
    DNNL(dnnl_memory_get_memory_desc(own->user, &ours), "a layout");
    dnnl_primitive_destroy(own->pack);
    own->pack = NULL;
    return reorder(own, theirs, ours);
}

static int prepare_parts(ft_call *c, onednn_state *s, ft_prepare *whole, int own, bool *fits)
{
    s->part = calloc((size_t)s->rows * (size_t)s->columns, sizeof *s->part);
    if (!s->part) return FT_FAIL(FT_ENOMEM, "no memory for a call of oneDNN");
    c->work_size = 0;
    for (int i = 0; i < s->rows; i++)
        for (int j = 0; j < s->columns && *fits; j++) {
            part *p = &s->part[s->parts++];
            describe_part(c, s, own, i, j);
            FT_TRY(prepare_for_one(&p->call, whole));
            FT_TRY(place_part(c, s, p, &s->part[j], fits));
        }
    return FT_OK;
}

/* `whole` prepares a call in one piece; of x and dy the last `own` axes are an image's, those before are the batch. */
static int prepare_bwd_w(ft_call *c, ft_prepare *whole, int own, bool grouped)
{
    onednn_state *s;
    const ft_buf *dy = c->in[1];
    int threads = ft_threads_get();
    int64_t batch = 1, channels = ft_last(dy);
    bool fits = false;
    if (threads < 2) return whole(c);
    for (int k = 0; k < dy->ndim - own; k++) batch *= dy->dim[k];
    /* shares of a batch differ by one image, for which the library may like another layout: then in columns */
    for (int64_t most_rows = batch; !fits; most_rows = 1) {
        free_state(c->state);
        c->state = NULL;
        fits = true;
        FT_TRY(begin(c, &s, whole, FT_ACT_NONE));
        best_cut(s, threads, most_rows, (double)(dy->count / channels), (double)c->out[0]->count, channels, grouped);
        FT_TRY(prepare_parts(c, s, whole, own, &fits));
    }
    free_description(s);
    return FT_OK;
}

static void point_part(const ft_call *c, part *p)
{
    char *work = c->work;
    p->call.work = work + p->work;
    p->x.data = ft_at(c->in[0], p->x_at);
    p->dy.data = p->copy == IN_PLACE ? ft_at(c->in[1], p->dy_at) : work + p->copy;
    p->dw.data = p->sum == IN_PLACE ? ft_at(c->out[0], p->dw_at) : work + p->sum;
    if (p->db.ndim) p->db.data = p->bias == IN_PLACE ? ft_at(c->out[1], p->db_at) : work + p->bias;
}

static void run_part(const ft_call *c, part *p)
{
    point_part(c, p);
    int64_t from = p->dy_at, n = ft_last(&p->dy), step = ft_last(c->in[1]);
    for (int64_t to = 0; p->copy != IN_PLACE && to < p->dy.count; to += n, from += step)
        memcpy(ft_at(&p->dy, to), ft_at(c->in[1], from), (size_t)n * ft_size(p->dy.dtype));
    execute(&p->call, p->call.state, p->dw.data);
}

/* what a part has made: its bias's gradient, or its weights' in the library's layout */
static float *result_of(const part *p, bool bias, int64_t *n)
{
    const onednn_state *s = p->call.state;
    *n = bias ? p->db.count : s->pack ? (int64_t)(s->packed_size / sizeof(float)) : p->dw.count;
    return bias ? p->db.data : s->pack ? (float *)(void *)((char *)p->call.work + s->packed_at) : p->dw.data;
}

/* Every row of a column is added to the first. */
static void add_rows(const onednn_state *s, const part *column, bool bias)
{
    int64_t n;
    float *to = result_of(column, bias, &n);
#pragma omp parallel for if (n > FT_SMALL)
    for (int64_t at = 0; at < n; at += FT_BLOCK)
        for (int i = 1; i < s->rows; i++) {
            int64_t end = FT_MIN(at + FT_BLOCK, n), same;
            const float *from = result_of(column + i * s->columns, bias, &same);
#pragma omp simd
            for (int64_t k = at; k < end; k++) to[k] += from[k];
        }
}

static void run_bwd_w(const ft_call *c)
{
    onednn_state *s = c->state;
    if (!s->parts) return execute(c, s, c->out[0]->data);
#pragma omp parallel for schedule(static, 1) if (s->parts > 1)
    for (int i = 0; i < s->parts; i++) run_part(c, &s->part[i]);
    for (int j = 0; s->rows > 1 && j < s->columns; j++) {
        const part *column = &s->part[j];
        onednn_state *first = column->call.state;
        add_rows(s, column, false);
        if (column->db.ndim) add_rows(s, column, true);
        if (first->pack) unpack(first);
    }
}

/* What a layer's passes have in memory. */
typedef struct {
    ft_md x, w, w_any, dw_any, b, y; /* w as ours, w_any and dw_any as the library likes them; b NULL: no bias */
} layouts;

static int finish_forward(ft_call *c, const layouts *d)
{
    onednn_state *s = c->state;
    FT_TRY(add(s, DNNL_ARG_SRC, d->x, AT(c->in[0])));
    FT_TRY(add(s, DNNL_ARG_DST, d->y, AT(c->out[0])));
    if (d->b) FT_TRY(add(s, DNNL_ARG_BIAS, d->b, AT(c->in[2])));
    FT_TRY(add_weights(c, DNNL_ARG_WEIGHTS, d->w, AT(c->in[1])));
    return finish(c);
}

static int finish_bwd_x(ft_call *c, const layouts *d)
{
    FT_TRY(add(c->state, DNNL_ARG_DIFF_DST, d->y, AT(c->in[0])));
    FT_TRY(add(c->state, DNNL_ARG_DIFF_SRC, d->x, AT(c->out[0])));
    FT_TRY(add_weights(c, DNNL_ARG_WEIGHTS, d->w, AT(c->in[1])));
    return finish(c);
}

static int finish_bwd_w(ft_call *c, const layouts *d, const ft_buf *x)
{
    FT_TRY(add(c->state, DNNL_ARG_SRC, d->x, AT(x)));
    FT_TRY(add(c->state, DNNL_ARG_DIFF_DST, d->y, AT(c->in[1])));
    if (d->b) FT_TRY(add(c->state, DNNL_ARG_DIFF_BIAS, d->b, AT(c->out[1])));
    FT_TRY(add_weights(c, DNNL_ARG_DIFF_WEIGHTS, d->w, AT(c->out[0])));
    return finish(c);
}

/* ---- linear: x (M, K), w (N, K), y (M, N) ------------------------------------------------------------------------------- */

static int describe_linear(onednn_state *s, layouts *d, const ft_buf *x, int64_t n, bool bias)
{
    int64_t k = ft_last(x), m = x->count / k;
    d->b = NULL;
    FT_TRY(tagged(s, &d->x, 2, (dnnl_dims_t){m, k}, type_of(x->dtype), dnnl_nc));
    FT_TRY(tagged(s, &d->w, 2, (dnnl_dims_t){n, k}, dnnl_f32, dnnl_oi));
    FT_TRY(tagged(s, &d->w_any, 2, (dnnl_dims_t){n, k}, type_of(x->dtype), dnnl_format_tag_any));
    FT_TRY(tagged(s, &d->dw_any, 2, (dnnl_dims_t){n, k}, dnnl_f32, dnnl_format_tag_any));
    if (bias) FT_TRY(tagged(s, &d->b, 1, (dnnl_dims_t){n}, dnnl_f32, dnnl_x));
    return tagged(s, &d->y, 2, (dnnl_dims_t){m, n}, type_of(x->dtype), dnnl_nc);
}

static int linear_forward(dnnl_primitive_desc_t *pd, const onednn_state *s, const layouts *d)
{
    DNNL(dnnl_inner_product_forward_primitive_desc_create(pd, engine, dnnl_forward_training, d->x, d->w_any, d->b, d->y, s->attr),
         "a linear layer");
    return FT_OK;
}

int ft_prepare_linear(ft_call *c)
{
    onednn_state *s;
    layouts d;
    const ft_buf *x = c->in[0];
    FT_TRY(begin(c, &s, ft_prepare_linear, c->attr->matmul.act));
    FT_TRY(describe_linear(s, &d, x, ft_last(c->out[0]), c->in[2]));
    FT_TRY(linear_forward(&s->pd, s, &d));
    return finish_forward(c, &d);
}
void ft_cpu_linear(const ft_call *c) { run(c, c->in[1]->data); }

int ft_prepare_linear_bwd_x(ft_call *c)
{
    onednn_state *s;
    layouts d;
    const ft_buf *dx = c->out[0];
    FT_TRY(begin(c, &s, ft_prepare_linear_bwd_x, FT_ACT_NONE));
    FT_TRY(describe_linear(s, &d, dx, ft_last(c->in[0]), false));
    FT_TRY(linear_forward(&s->hint, s, &d));
    DNNL(dnnl_inner_product_backward_data_primitive_desc_create(&s->pd, engine, d.x, d.w_any, d.y, s->hint, s->attr),
         "a linear layer's gradient");
    return finish_bwd_x(c, &d);
}
void ft_cpu_linear_bwd_x(const ft_call *c)
{
    run(c, c->in[1]->data);
    if (c->n_in < 3) return;
    ft_attr attr = {.scalar.kind = FT_ADD}; /* the library adds nothing to a gradient */
    ft_call add_to = {.n_in = 2, .n_out = 1, .in = {c->out[0], c->in[2]}, .out = {c->out[0]}, .attr = &attr};
    ft_backend_cpu()->kernel[FT_OP_binary](&add_to);
}

static int linear_bwd_w_whole(ft_call *c)
{
    onednn_state *s;
    layouts d;
    const ft_buf *x = c->in[0], *dy = c->in[1];
    FT_TRY(begin(c, &s, linear_bwd_w_whole, FT_ACT_NONE));
    FT_TRY(describe_linear(s, &d, x, ft_last(dy), c->n_out > 1 && c->out[1]));
    FT_TRY(linear_forward(&s->hint, s, &d));
    DNNL(dnnl_inner_product_backward_weights_primitive_desc_create(&s->pd, engine, d.x, d.dw_any, d.b, d.y, s->hint, s->attr),
         "a linear layer's weight gradient");
    return finish_bwd_w(c, &d, x);
}
int ft_prepare_linear_bwd_w(ft_call *c) { return prepare_bwd_w(c, linear_bwd_w_whole, 1, false); }
void ft_cpu_linear_bwd_w(const ft_call *c) { run_bwd_w(c); }

/* ---- batched matrix product: a (B, M, K) or stored (B, K, M), b (B, K, N) or (B, N, K) ------------------------------------- */

static int describe_matrix(onednn_state *s, ft_md *d, int64_t batch, int64_t rows, int64_t columns, bool transposed,
                           ft_dtype type)
{
    dnnl_dims_t dims = {batch, rows, columns}, strides = {rows * columns, transposed ? 1 : columns, transposed ? rows : 1};
    return strided(s, d, 3, dims, type_of(type), strides);
}

int ft_prepare_matmul(ft_call *c)
{
    onednn_state *s;
    ft_md da, db, dy;
    const ft_buf *a = c->in[0], *y = c->out[0];
    int64_t m = y->dim[y->ndim - 2], n = y->dim[y->ndim - 1], batch = y->count / m / n, k = a->count / batch / m;
    FT_TRY(begin(c, &s, ft_prepare_matmul, FT_ACT_NONE));
    FT_TRY(describe_matrix(s, &da, batch, m, k, c->attr->matmul.ta, a->dtype));
    FT_TRY(describe_matrix(s, &db, batch, k, n, c->attr->matmul.tb, a->dtype));
    FT_TRY(describe_matrix(s, &dy, batch, m, n, false, a->dtype));
    DNNL(dnnl_matmul_primitive_desc_create(&s->pd, engine, da, db, NULL, dy, s->attr), "a matrix product");
    FT_TRY(add(s, DNNL_ARG_SRC, da, AT(a)));
    FT_TRY(add(s, DNNL_ARG_WEIGHTS, db, AT(c->in[1])));
    FT_TRY(add(s, DNNL_ARG_DST, dy, AT(y)));
    return finish(c);
}
void ft_cpu_matmul(const ft_call *c) { run(c, NULL); }

/* ---- convolution ----------------------------------------------------------------------------------------------------------
 * A kernel without extent in time is a 2-D convolution over B*T images. */

typedef struct {
    layouts of;
    dnnl_dims_t stride, dilation, front, back;
} conv_layouts;

/* a kernel without extent in time */
static bool flat(const ft_conv_opt *o)
{
    return o->kernel[0] == 1 && o->stride[0] == 1 && o->pad_front[0] == 0 && o->pad_back[0] == 0;
}

static int describe_conv(onednn_state *s, conv_layouts *d, const ft_buf *x, const ft_buf *y, const ft_conv_opt *o, ft_dtype type,
                         bool bias)
{
    bool images = flat(o), grouped = o->groups > 1;
    int nd = images ? 4 : 5, skip = images ? 1 : 0, wd = 2 + grouped;
    dnnl_dims_t xs = {images ? x->dim[0] * x->dim[1] : x->dim[0], x->dim[4]}, ys = {xs[0], y->dim[4]},
                ws = {y->dim[4], x->dim[4]};
    if (grouped) ws[0] = o->groups, ws[1] = y->dim[4] / o->groups, ws[2] = x->dim[4] / o->groups;
    for (int i = skip; i < 3; i++) {
        xs[2 + i - skip] = x->dim[1 + i];
        ys[2 + i - skip] = y->dim[1 + i];
        ws[wd + i - skip] = o->kernel[i];
        d->stride[i - skip] = o->stride[i];
        d->dilation[i - skip] = 0; /* the library counts what is left out between taps */
        d->front[i - skip] = o->pad_front[i];
        /* what the output does not use is cut off behind */
        d->back[i - skip] = (y->dim[1 + i] - 1) * o->stride[i] + o->kernel[i] - x->dim[1 + i] - o->pad_front[i];
    }
    dnnl_format_tag_t data = images ? dnnl_nhwc : dnnl_ndhwc,
                      weights = images ? (grouped ? dnnl_goihw : dnnl_oihw) : (grouped ? dnnl_goidhw : dnnl_oidhw);
    d->of.b = NULL;
    FT_TRY(tagged(s, &d->of.x, nd, xs, type_of(type), data));
    FT_TRY(tagged(s, &d->of.y, nd, ys, type_of(type), data));
    FT_TRY(tagged(s, &d->of.w, nd + grouped, ws, dnnl_f32, weights));
    FT_TRY(tagged(s, &d->of.w_any, nd + grouped, ws, type_of(type), dnnl_format_tag_any));
    FT_TRY(tagged(s, &d->of.dw_any, nd + grouped, ws, dnnl_f32, dnnl_format_tag_any));
    return bias ? tagged(s, &d->of.b, 1, (dnnl_dims_t){y->dim[4]}, dnnl_f32, dnnl_x) : FT_OK;
}

static int conv_forward(dnnl_primitive_desc_t *pd, const onednn_state *s, const conv_layouts *d)
{
    DNNL(dnnl_convolution_forward_primitive_desc_create(pd, engine, dnnl_forward_training, dnnl_convolution_direct, d->of.x,
                                                        d->of.w_any, d->of.b, d->of.y, d->stride, d->dilation, d->front, d->back,
                                                        s->attr),
         "a convolution");
    return FT_OK;
}

int ft_prepare_conv(ft_call *c)
{
    onednn_state *s;
    conv_layouts d;
    FT_TRY(begin(c, &s, ft_prepare_conv, c->attr->conv.act));
    FT_TRY(describe_conv(s, &d, c->in[0], c->out[0], &c->attr->conv, c->in[0]->dtype, c->in[2]));
    FT_TRY(conv_forward(&s->pd, s, &d));
    return finish_forward(c, &d.of);
}
void ft_cpu_conv(const ft_call *c) { run(c, c->in[1]->data); }

int ft_prepare_conv_bwd_x(ft_call *c)
{
    onednn_state *s;
    conv_layouts d;
    FT_TRY(begin(c, &s, ft_prepare_conv_bwd_x, FT_ACT_NONE));
    FT_TRY(describe_conv(s, &d, c->out[0], c->in[0], &c->attr->conv, c->out[0]->dtype, false));
    FT_TRY(conv_forward(&s->hint, s, &d));
    DNNL(dnnl_convolution_backward_data_primitive_desc_create(&s->pd, engine, dnnl_convolution_direct, d.of.x, d.of.w_any, d.of.y,
                                                              d.stride, d.dilation, d.front, d.back, s->hint, s->attr),
         "a convolution's gradient");
    return finish_bwd_x(c, &d.of);
}
void ft_cpu_conv_bwd_x(const ft_call *c) { run(c, c->in[1]->data); }

/* oneDNN 2.6 makes a wrong gradient (or garbage) for bf16 kernels that step over frames and reach before the first one, when the
 * outputs are two frames (test_ops, conv_strided_frames); 3.2 to 3.13 for those with more frames than the input, which reach
 * before and behind it (conv_cut). There the zero frames are put in by hand. */
static int conv_bwd_w_whole(ft_call *c)
{
    onednn_state *s;
    conv_layouts d;
    const ft_buf *x = c->in[0], *dy = c->in[1];
    ft_conv_opt o = c->attr->conv;
    FT_TRY(begin(c, &s, conv_bwd_w_whole, FT_ACT_NONE));
    bool longer = DNNL_VERSION_MAJOR >= 3 && o.kernel[0] > x->dim[1];
    if (x->dtype == FT_BF16 && (o.stride[0] > 1 || longer) && o.pad_front[0] > 0) {
        s->padded = *x;
        s->padded.dim[1] = (dy->dim[1] - 1) * o.stride[0] + o.kernel[0];
        s->padded.count = x->count / x->dim[1] * s->padded.dim[1];
        o.pad_front[0] = 0;
        x = &s->padded;
    }
    FT_TRY(describe_conv(s, &d, x, dy, &o, x->dtype, c->n_out > 1 && c->out[1]));
    FT_TRY(conv_forward(&s->hint, s, &d));
    DNNL(dnnl_convolution_backward_weights_primitive_desc_create(&s->pd, engine, dnnl_convolution_direct, d.of.x, d.of.dw_any,
                                                                 d.of.b, d.of.y, d.stride, d.dilation, d.front, d.back, s->hint,
                                                                 s->attr),
         "a convolution's weight gradient");
    FT_TRY(finish_bwd_w(c, &d.of, x));
    if (s->padded.ndim) c->work_size = (c->work_size + 63) / 64 * 64 + (size_t)s->padded.count * 2; /* behind the scratch */
    return FT_OK;
}

int ft_prepare_conv_bwd_w(ft_call *c)
{
    return prepare_bwd_w(c, conv_bwd_w_whole, flat(&c->attr->conv) ? 3 : 4, c->attr->conv.groups > 1);
}
void ft_cpu_conv_bwd_w(const ft_call *c) { run_bwd_w(c); }
