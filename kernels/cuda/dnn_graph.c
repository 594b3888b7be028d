#include "kernels/cuda/dnn_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_IDS = 16,
    CANDIDATES = 12,
    KNOBS = 32,
    TRIES = 4
}; /* TRIES: a kernel that is made for a trial takes a tenth of a second */

static cudnnHandle_t handle;
static ft_dnn described; /* a device that is not here */

static const char *reason(cudnnStatus_t st) /* the first line of what the library says, or the status */
{
    static char text[400];
    text[0] = 0;
    cudnnGetLastErrorString(text, sizeof text);
    const char *at = strstr(text, "Reason: ");
    at = at ? at + 8 : text;
    char *end = strchr(at, '\n');
    if (end) *end = 0;
    return *at ? at : cudnnGetErrorString(st);
}

static int bad(cudnnStatus_t st, const char *what)
{
    return FT_FAIL(st == CUDNN_STATUS_ALLOC_FAILED ? FT_ENOMEM : FT_EDEVICE, "cuDNN cannot do %s (%s)", what, reason(st));
}
#define DNN(call, what)                                                                                                          \
    do {                                                                                                                         \
        cudnnStatus_t st_ = (call);                                                                                              \
        if (st_ != CUDNN_STATUS_SUCCESS) return bad(st_, (what));                                                                \
    } while (0)

int ft_dnn_start(void)
{
    if (handle || described) return FT_OK;
    DNN(cudnnCreate(&handle), "its start");
    DNN(cudnnSetStream(handle, ft_cuda_stream), "its stream");
    return FT_OK;
}

const char *ft_cuda_cudnn_version(void)
{
    static char text[24];
    size_t v = cudnnGetVersion();
    snprintf(text, sizeof text, "%zu.%zu.%zu", v / 10000, v % 10000 / 100, v % 100);
    return text;
}

/* ---- descriptors -------------------------------------------------------------------------------------------------------- */

static int make(ft_dnn *to, cudnnBackendDescriptorType_t type)
{
    *to = NULL;
    DNN(cudnnBackendCreateDescriptor(type, to), "a descriptor");
    return FT_OK;
}
static int set(ft_dnn d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void *value)
{
    DNN(cudnnBackendSetAttribute(d, name, type, count, value), "an attribute");
    return FT_OK;
}
static int finish(ft_dnn d, const char *what)
{
    DNN(cudnnBackendFinalize(d), what);
    return FT_OK;
}
static void destroy(ft_dnn *d, int n) /* NULLs are allowed */
{
    for (int i = 0; i < n; i++)
        if (d[i]) cudnnBackendDestroyDescriptor(d[i]), d[i] = NULL;
}

int ft_dnn_describe_device(const char *json)
{
    ft_dnn d;
    FT_TRY(make(&d, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR));
    int rc = set(d, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json), json);
    if (rc == FT_OK) rc = finish(d, "the description of a device");
    if (rc < 0) destroy(&d, 1);
    else destroy(&described, 1), described = d;
    return rc;
}

static void write_text(ft_dnn_graph *g, const void *bytes, size_t n)
{
    if (g->rc < 0) return;
    if (g->n_text + n > g->room) {
        unsigned char *more = realloc(g->text, 2 * (g->n_text + n));
        if (!more) {
            g->rc = FT_FAIL(FT_ENOMEM, "no memory for a graph");
            return;
        }
        g->text = more, g->room = 2 * (g->n_text + n);
    }
    memcpy(g->text + g->n_text, bytes, n);
    g->n_text += n;
}

static size_t size_of(cudnnBackendAttributeType_t type)
{
    switch (type) {
        case CUDNN_TYPE_BOOLEAN: return sizeof(bool);
        case CUDNN_TYPE_INT64: return sizeof(int64_t);
        default: return sizeof(int); /* enums, float */
    }
}

ft_dnn ft_dnn_begin(ft_dnn_graph *g, cudnnBackendDescriptorType_t type)
{
    write_text(g, &type, sizeof type);
    if (g->rc == FT_OK && g->n_made == FT_DNN_MADE) g->rc = FT_FAIL(FT_EDEVICE, "a graph of more than %d pieces", FT_DNN_MADE);
    if (g->rc < 0) return NULL;
    ft_dnn *d = &g->made[g->n_made++];
    g->rc = make(d, type);
    return *d;
}
void ft_dnn_set(ft_dnn_graph *g, ft_dnn d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *value)
{
    int64_t head[4] = {-1, name, type, count};
    for (int i = 0; i < g->n_made; i++)
        if (g->made[i] == d) head[0] = i;
    write_text(g, head, sizeof head);
    if (type == CUDNN_TYPE_BACKEND_DESCRIPTOR) {
        for (int i = 0; i < g->n_made; i++) /* which one of the graph's */
            if (g->made[i] == *(const ft_dnn *)value) write_text(g, &i, sizeof i);
    } else write_text(g, value, (size_t)count * size_of(type));
    if (g->rc == FT_OK) g->rc = set(d, name, type, count, value);
}
void ft_dnn_end(ft_dnn_graph *g, ft_dnn d, bool operation)
{
    if (g->rc == FT_OK) g->rc = finish(d, operation ? "an operation" : "a part of a graph");
    if (g->rc == FT_OK && operation && g->n_ops == FT_DNN_OPS) g->rc = FT_FAIL(FT_EDEVICE, "more than %d operations", FT_DNN_OPS);
    if (g->rc == FT_OK && operation) g->op[g->n_ops++] = d;
}
void ft_dnn_graph_free(ft_dnn_graph *g)
{
    destroy(g->made, g->n_made);
    free(g->text);
    g->text = NULL;
}

static void set_child(ft_dnn_graph *g, ft_dnn d, cudnnBackendAttributeName_t name, ft_dnn child)
{
    ft_dnn_set(g, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &child);
}
static ft_dnn in_f32(ft_dnn_graph *g, cudnnBackendDescriptorType_t type, cudnnBackendAttributeName_t name)
{
    cudnnDataType_t compute = CUDNN_DATA_FLOAT;
    ft_dnn d = ft_dnn_begin(g, type);
    ft_dnn_set(g, d, name, CUDNN_TYPE_DATA_TYPE, 1, &compute);
    return d;
}

ft_dnn ft_dnn_tensor(ft_dnn_graph *g, int64_t id, cudnnDataType_t type, int nd, const int64_t *dim, const int64_t *stride,
                     ft_dnn_tensor_kind kind)
{
    bool yes = true;
    int64_t align = FT_DNN_ALIGN;
    ft_dnn t = ft_dnn_begin(g, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
    ft_dnn_set(g, t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
    ft_dnn_set(g, t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
    ft_dnn_set(g, t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, nd, dim);
    ft_dnn_set(g, t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, nd, stride);
    ft_dnn_set(g, t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &align);
    if (kind == FT_DNN_VIRTUAL) ft_dnn_set(g, t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
    if (kind == FT_DNN_VALUE) ft_dnn_set(g, t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
    ft_dnn_end(g, t, false);
    return t;
}

void ft_dnn_matmul(ft_dnn_graph *g, ft_dnn a, ft_dnn b, ft_dnn y)
{
    ft_dnn how = in_f32(g, CUDNN_BACKEND_MATMUL_DESCRIPTOR, CUDNN_ATTR_MATMUL_COMP_TYPE);
    ft_dnn_end(g, how, false);
    ft_dnn op = ft_dnn_begin(g, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
    set_child(g, op, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
    set_child(g, op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
    set_child(g, op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
    set_child(g, op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, y);
    ft_dnn_end(g, op, true);
}

void ft_dnn_pointwise(ft_dnn_graph *g, cudnnPointwiseMode_t mode, ft_dnn x, ft_dnn b, ft_dnn y)
{
    ft_dnn how = in_f32(g, CUDNN_BACKEND_POINTWISE_DESCRIPTOR, CUDNN_ATTR_POINTWISE_MATH_PREC);
    ft_dnn_set(g, how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
    cudnnNanPropagation_t nan = CUDNN_PROPAGATE_NAN; /* a ReLU that hides it lets a broken run go on */
    if (mode == CUDNN_POINTWISE_RELU_FWD)
        ft_dnn_set(g, how, CUDNN_ATTR_POINTWISE_NAN_PROPAGATION, CUDNN_TYPE_NAN_PROPOGATION, 1, &nan);
    ft_dnn_end(g, how, false);
    ft_dnn op = ft_dnn_begin(g, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
    set_child(g, op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
    set_child(g, op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
    if (b) set_child(g, op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
    set_child(g, op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
    ft_dnn_end(g, op, true);
}

void ft_dnn_reduce(ft_dnn_graph *g, cudnnReduceTensorOp_t how_, ft_dnn x, ft_dnn y)
{
    ft_dnn how = in_f32(g, CUDNN_BACKEND_REDUCTION_DESCRIPTOR, CUDNN_ATTR_REDUCTION_COMP_TYPE);
    ft_dnn_set(g, how, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &how_);
    ft_dnn_end(g, how, false);
    ft_dnn op = ft_dnn_begin(g, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
    set_child(g, op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
    set_child(g, op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
    set_child(g, op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
    ft_dnn_end(g, op, true);
}

void ft_dnn_reshape(ft_dnn_graph *g, ft_dnn x, ft_dnn y)
{
    ft_dnn op = ft_dnn_begin(g, CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR);
    set_child(g, op, CUDNN_ATTR_OPERATION_RESHAPE_XDESC, x);
    set_child(g, op, CUDNN_ATTR_OPERATION_RESHAPE_YDESC, y);
    ft_dnn_end(g, op, true);
}

/* ---- plans -------------------------------------------------------------------------------------------------------------- */

struct ft_dnn_plan {
    ft_dnn graph, plan;
    int64_t id[MAX_IDS], work;
    int n;
};

static void free_plan(ft_dnn_plan *p)
{
    if (!p) return;
    destroy(&p->plan, 1);
    destroy(&p->graph, 1);
    free(p);
}
size_t ft_dnn_plan_work(const ft_dnn_plan *p) { return p ? ((size_t)p->work + 255) / 256 * 256 : 0; }

static cudnnStatus_t execute(const ft_dnn_plan *p, void **data, void *work)
{
    ft_dnn pack = NULL;
    cudnnStatus_t st = cudnnBackendCreateDescriptor(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, p->n, p->id);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, p->n, data);
    if (st == CUDNN_STATUS_SUCCESS)
        st = cudnnBackendSetAttribute(pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &work);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnBackendFinalize(pack);
    if (st == CUDNN_STATUS_SUCCESS) st = cudnnBackendExecute(handle, p->plan, pack);
    if (pack) cudnnBackendDestroyDescriptor(pack);
    return st;
}

/* Runs happen twice, then once while the step is recorded: making the pack each time costs nothing that counts. */
void ft_dnn_plan_run(const ft_dnn_plan *p, void **data, void *work)
{
    cudnnStatus_t st = execute(p, data, work);
    if (st != CUDNN_STATUS_SUCCESS) ft_cuda_fault("cuDNN failed: %s", cudnnGetErrorString(st));
}

/* Is what an engine notes about its numbers acceptable? */
static bool acceptable(ft_dnn config, bool exact)
{
    ft_dnn engine = NULL;
    cudnnBackendNumericalNote_t note[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    int64_t n = 0;
    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) != CUDNN_STATUS_SUCCESS) return false;
    bool fine = cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) ==
                    CUDNN_STATUS_SUCCESS &&
                cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                                         CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n, note) == CUDNN_STATUS_SUCCESS;
    for (int64_t i = 0; fine && i < n; i++) {
        if (note[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) fine = false; /* the same result in every run */
        if (exact && (note[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE || note[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS))
            fine = false;
    }
    cudnnBackendDestroyDescriptor(engine);
    return fine;
}

/* Where a device is only described, a kernel that was made and cannot be loaded is as good as one that can. */
static int finish_plan(ft_dnn plan)
{
    cudnnStatus_t st = cudnnBackendFinalize(plan);
    if (st == CUDNN_STATUS_SUCCESS) return FT_OK;
    char text[4000] = "";
    cudnnGetLastErrorString(text, sizeof text);
    return described && strstr(text, "cuLibraryLoadData") ? FT_OK : bad(st, "an execution plan");
}

static int plan_of(ft_dnn *plan, ft_dnn config, int64_t *work)
{
    int64_t n = 0;
    *work = 0;
    FT_TRY(make(plan, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR));
    int rc = described ? set(*plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &described)
                       : set(*plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    if (rc == FT_OK) rc = set(*plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config);
    if (rc == FT_OK) rc = finish_plan(*plan);
    if (rc == FT_OK && !described &&
        cudnnBackendGetAttribute(*plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &n, work) !=
            CUDNN_STATUS_SUCCESS)
        rc = FT_FAIL(FT_EDEVICE, "cuDNN does not say what scratch it needs");
    if (rc < 0) destroy(plan, 1);
    return rc;
}

typedef struct {
    const ft_dnn_plan *p;
    void *data[MAX_IDS], *work;
} trial;

static bool try_it(void *context)
{
    trial *t = context;
    return execute(t->p, t->data, t->work) == CUDNN_STATUS_SUCCESS;
}

enum { ROOM_LACKS = -2, FAILS = -1 };

/* Seconds of the plan on scratch of the real sizes; FAILS; ROOM_LACKS */
static double seconds(const ft_dnn_plan *p, const size_t *bytes)
{
    trial t = {.p = p};
    static const float one = 1;
    int rc = ft_cuda_alloc(&t.work, (size_t)p->work);
    for (int i = 0; rc == FT_OK && i < p->n; i++)
        if (bytes[i]) rc = ft_cuda_scratch(&t.data[i], bytes[i]);
        else t.data[i] = (void *)(uintptr_t)&one; /* a host's scalar */
    double s = rc == FT_OK ? ft_cuda_time(try_it, &t) : ROOM_LACKS;
    for (int i = 0; i < p->n; i++)
        if (bytes[i]) ft_cuda_free(t.data[i]);
    ft_cuda_free(t.work);
    return s;
}

/* An engine's number and how its knobs are set: what tells candidates apart, in every process. */
static void name_of(char name[FT_CHOICE], ft_dnn config)
{
    ft_dnn engine = NULL, knob[KNOBS] = {NULL};
    int64_t n = 0, index = -1, knobs = 0;
    if (make(&engine, CUDNN_BACKEND_ENGINE_DESCRIPTOR) == FT_OK &&
        cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine) ==
            CUDNN_STATUS_SUCCESS)
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &n, &index);
    size_t at = (size_t)snprintf(name, FT_CHOICE, "engine %lld", (long long)index);
    for (int i = 0; i < KNOBS; i++) make(&knob[i], CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    if (cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, KNOBS, &knobs, knob) !=
        CUDNN_STATUS_SUCCESS)
        knobs = 0;
    for (int64_t i = 0; i < knobs && i < KNOBS && at < FT_CHOICE - 32; i++) {
        int type = -1;
        int64_t v = 0;
        cudnnBackendGetAttribute(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &n, &type);
        cudnnBackendGetAttribute(knob[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &n, &v);
        at += (size_t)snprintf(name + at, FT_CHOICE - at, " %d=%lld", type, (long long)v);
    }
    destroy(knob, KNOBS);
    destroy(&engine, 1);
}

/* The engines that the library proposes in a mode, best first */
static int candidates(ft_dnn graph, cudnnBackendHeurMode_t mode, ft_dnn config[CANDIDATES], int64_t *n)
{
    ft_dnn heuristic;
    *n = 0;
    FT_TRY(make(&heuristic, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR));
    int rc = set(heuristic, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &graph);
    if (rc == FT_OK) rc = set(heuristic, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
    if (rc == FT_OK && described)
        rc = set(heuristic, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &described);
    if (rc == FT_OK) rc = finish(heuristic, "a choice of algorithms");
    for (int i = 0; rc == FT_OK && i < CANDIDATES; i++) rc = make(&config[i], CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    cudnnStatus_t st = CUDNN_STATUS_SUCCESS;
    if (rc == FT_OK)
        st = cudnnBackendGetAttribute(heuristic, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, CANDIDATES, n,
                                      config);
    if (st != CUDNN_STATUS_SUCCESS) rc = bad(st, "a choice of algorithms");
    destroy(&heuristic, 1);
    return rc;
}

static int graph_of(ft_dnn *graph, const ft_dnn_graph *g, const char *what)
{
    FT_TRY(g->rc);
    FT_TRY(make(graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR));
    if (!described) FT_TRY(set(*graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle));
    FT_TRY(set(*graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, g->n_ops, g->op));
    return finish(*graph, what);
}

typedef struct {
    ft_dnn_plan *p;
    const size_t *bytes;
    const char *held; /* what was chosen before: nothing else is looked at */
    char name[FT_CHOICE];
    int tried, proposed;
    double fastest; /* of p->plan; as `seconds` where it is not known */
} search;

/* Keeps the candidate if it is better than what is kept. */
static void look_at(search *s, ft_dnn config)
{
    char name[FT_CHOICE];
    ft_dnn_plan one = *s->p;
    name_of(name, config);
    if (s->held && strcmp(s->held, name) != 0) return;
    if (plan_of(&one.plan, config, &one.work) < 0) return;
    s->tried++;
    double t = s->held || !ft_cuda_measures() ? ROOM_LACKS : seconds(&one, s->bytes);
    bool better = !s->p->plan || (t >= 0 && (s->fastest < 0 || t < s->fastest));
    if (t == FAILS || !better) {
        destroy(&one.plan, 1);
        return;
    }
    destroy(&s->p->plan, 1);
    s->p->plan = one.plan, s->p->work = one.work, s->fastest = t;
    snprintf(s->name, sizeof s->name, "%s", name);
}

static void look(search *s, bool exact)
{
    static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK};
    s->tried = s->proposed = 0;
    for (int m = 0; m < 2 && !s->p->plan; m++) {
        ft_dnn config[CANDIDATES] = {NULL};
        int64_t n = 0;
        if (candidates(s->p->graph, modes[m], config, &n) < 0) n = 0;
        s->proposed += (int)n;
        for (int64_t i = 0; i < n && s->tried < TRIES && (ft_cuda_measures() || !s->p->plan); i++)
            if (acceptable(config[i], exact)) look_at(s, config[i]);
        destroy(config, CANDIDATES);
    }
}

/* what: for people; key: all that the choice depends on */
static int make_plan(ft_dnn_plan **out, const ft_dnn_graph *g, bool exact, int n_id, const int64_t *id, const size_t *bytes,
                     const char *what, const char *key)
{
    *out = NULL;
    ft_dnn_plan *p = calloc(1, sizeof *p);
    if (!p || n_id > MAX_IDS) {
        free(p);
        return FT_FAIL(FT_ENOMEM, "no memory for %s", what);
    }
    p->n = n_id;
    memcpy(p->id, id, (size_t)n_id * sizeof *id);
    search s = {.p = p, .bytes = bytes, .held = ft_cuda_choice(key)};
    int rc = graph_of(&p->graph, g, what);
    if (rc == FT_OK && s.held) look(&s, exact);
    if (rc == FT_OK && s.held && !p->plan) ft_cuda_cannot(key), s.held = NULL;
    if (rc == FT_OK && !p->plan) {
        char how[FT_CHOICE];
        look(&s, exact);
        snprintf(how, sizeof how, "the library's first");
        if (s.fastest >= 0)
            snprintf(how, sizeof how, "best of %d, %.1f us, %.1f MiB of scratch", s.tried, 1e6 * s.fastest,
                     (double)p->work / 1048576.0);
        const char *held = p->plan ? ft_cuda_choose(key, s.name, how) : s.name;
        if (strcmp(held, s.name) != 0) { /* of another process */
            ft_dnn_plan mine = *p;
            p->plan = NULL, s.held = held;
            look(&s, exact);
            if (p->plan) destroy(&mine.plan, 1);
            else p->plan = mine.plan, p->work = mine.work;
        }
    }
    if (rc == FT_OK && !p->plan)
        rc = FT_FAIL(FT_EDEVICE, "cuDNN has no algorithm for %s: %d were proposed%s", what, s.proposed,
                     s.proposed ? ", none runs and gives the same sums in every run" : "");
    if (rc < 0) free_plan(p);
    else *out = p;
    return rc;
}

/* ---- what is known ------------------------------------------------------------------------------------------------------ */

typedef struct known {
    ft_dnn_graph g; /* its text alone */
    bool exact;
    int rc;
    char refusal[300];
    ft_dnn_plan *plan;
    struct known *next;
} known;
static known *all;

void ft_dnn_forget(void)
{
    while (all) {
        known *k = all;
        all = k->next;
        free_plan(k->plan);
        free(k->g.text);
        free(k);
    }
}

int ft_dnn_plan_new(const ft_dnn_plan **out, ft_dnn_graph *g, bool exact, int n_id, const int64_t *id, const size_t *bytes,
                    const char *what)
{
    *out = NULL;
    FT_TRY(g->rc);
    known *k = all;
    while (k && (k->exact != exact || k->g.n_text != g->n_text || memcmp(k->g.text, g->text, g->n_text))) k = k->next;
    if (!k) {
        if (!(k = calloc(1, sizeof *k))) return FT_FAIL(FT_ENOMEM, "no memory for %s", what);
        char key[FT_CHOICE];
        uint64_t h = 14695981039346656037u; /* FNV-1a of all that the graph says */
        for (size_t i = 0; i < g->n_text; i++) h = (h ^ g->text[i]) * 1099511628211u;
        snprintf(key, sizeof key, "%s%s, graph %016llx", what, exact ? ", exact" : "", (unsigned long long)h);
        k->exact = exact;
        k->rc = make_plan(&k->plan, g, exact, n_id, id, bytes, what, key);
        if (k->rc < 0) snprintf(k->refusal, sizeof k->refusal, "%s", ft_error_message());
        k->g.text = g->text, k->g.n_text = g->n_text;
        g->text = NULL;
        k->next = all, all = k;
    }
    *out = k->plan;
    return k->rc < 0 ? FT_FAIL(k->rc, "%s", k->refusal) : FT_OK;
}
