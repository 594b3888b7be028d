/* Every op, case by case (op_cases_*.c):
 *   - against a plain double-precision reference, and its gradient against central differences of that reference, f32 and bf16;
 *   - with FT_PLAN_GUARD: nothing written outside its buffer, nothing read before it is written, bitwise the packed plan's
 * result;
 *   - the same with the kernels of every instruction set that this processor has, and planned for one thread;
 *   - on fewer threads than it was planned for, bitwise the same;
 *   - NaN and Inf in one input value: what the reference makes non-finite is non-finite here, the rest stays right;
 *   - against PyTorch: projections of output and gradients in golden/ops.safetensors (golden/make_golden_ops.py).
 *
 * Tolerances are derived: f32 results may be off by (16 + terms) * 2^-24 of the largest value, where terms is the length of
 * the sums; bf16 adds 2^-8 for every rounding to storage on the way (`stages`).
 *
 *     test_ops --dump DIR    writes the cases and their inputs for make_golden_ops.py */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "common/base/status.h"
#include "common/base/threads.h"
#include "common/graph/backend.h"
#ifndef FT_DEVICE_SUITE /* there, nothing reads files */
#include "common/io/safetensors.h"
#endif
#include "op_cases.h"
#ifdef FT_TEST_SHIM
#include "kernels/cuda/dnn_graph.h"
#include "shim/shim.h"
#endif

uint32_t op_stream;
extern int op_freeze;

/* ---- one case as a graph -------------------------------------------------------------------------------------------------- */

typedef struct {
    const row *c;
    ft_dtype dtype;
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t p[MAXN], y32;
    int64_t n; /* values of the output */
    int extra; /* roundings to storage beyond the row's `stages` */
} problem;

static const char *here = ""; /* " with kernels base": the variant at hand, for messages */
static double value[MAXN][MAX_VALUES], out_weight[MAX_VALUES];
static double *in[MAXN];

/* values that bf16 holds exactly, away from the kinks */
static void draw(const row *c, ft_dtype dtype)
{
    ft_rng r = ft_rng_make(11, 1, (uint64_t)dtype);
    for (int i = 0; i < c->n; i++) {
        int64_t n = count(c, i);
        int kind = c->in[i].kind;
        assert_true(n <= MAX_VALUES);
        in[i] = value[i];
        for (int64_t k = 0; k < n; k++) {
            float v = (float)ft_rng_normal(&r) * (kind & (F32 | SMALL) ? 0.5f : 1.0f);
            if (kind & POSITIVE) v = fabsf(v) + 0.25f;
            if (kind & WIDE) v = 3 * v + 2;
            v = ft_from_bf16(ft_to_bf16(v));
            if (kind & DISTINCT) v = (float)((k * 37) % 251 - 125) / 32;
            else if (fabsf(v) < 0.03f || fabsf(v + 0.5f) < 0.03f || fabsf(v - 0.75f) < 0.03f) v = 0.3125f;
            value[i][k] = (double)v;
        }
    }
    for (int64_t k = 0; k < MAX_VALUES; k++) out_weight[k] = (double)ft_from_bf16(ft_to_bf16((float)ft_rng_normal(&r)));
}

/* weights of products stay f32 parameters */
static bool is_weight(const row *c, int i)
{
    static const char *const products[] = {"linear", "conv", "dw_"};
    for (int k = 0; k < 3; k++)
        if (!strncmp(c->name, products[k], strlen(products[k]))) return i > 0;
    return false;
}

static float f[MAX_VALUES];

static problem open_problem(const row *c, ft_dtype dtype, bool gradients)
{
    problem q = {.c = c, .dtype = dtype, .params = ft_params_new(1)};
    q.g = ft_graph_new(q.params, dtype, 9);
    ft_t x[MAXN];
    for (int i = 0; i < c->n; i++) {
        char name[8];
        for (int64_t k = 0; k < count(c, i); k++) f[k] = (float)value[i][k];
        snprintf(name, sizeof name, "in%d", i);
        q.p[i] = ft_param(q.g, name, c->in[i].nd, c->in[i].d, (ft_init){FT_INIT_VALUES, 0, f});
        x[i] = c->in[i].kind & F32 || is_weight(c, i) ? q.p[i] : ft_cast(q.g, q.p[i], dtype);
    }
    ft_t y = c->build(q.g, x, c);
    if (ft_graph_error(q.g)) fail_msg("%s: %s", c->name, ft_graph_error(q.g));
    q.y32 = ft_cast(q.g, y, FT_F32);
    ft_keep(q.y32);
    q.n = ft_count(y);
    assert_true(q.n <= MAX_VALUES);
    if (gradients && c->no_grad > 0) {
        for (int64_t k = 0; k < q.n; k++) f[k] = (float)out_weight[k];
        ft_t w = ft_const(q.g, FT_F32, ft_ndim(y), y->dim, f);
        ft_t s = ft_reduce(q.g, ft_mul(q.g, q.y32, w), (1u << ft_ndim(y)) - 1, false);
        ft_backward(q.g, ft_reshape(q.g, s, 1, (int64_t[]){1}));
    }
    if (ft_plan_new(&q.plan, q.g, FT_WEIGHTS) < 0) fail_msg("%s: %s", c->name, ft_error_message());
    ft_step step = {OP_SEED, OP_STEP, 0, 0, OP_RANK};
    if (ft_run(q.plan, &step) < 0) fail_msg("%s: %s", c->name, ft_error_message());
    return q;
}

static void close_problem(problem *q)
{
    ft_plan_free(q->plan);
    ft_graph_free(q->g);
    ft_params_free(q->params);
}

static const float *gradient(const problem *q, int i)
{
    ft_t d = ft_grad(q->g, q->p[i]);
    if (!d) fail_msg("%s: input %d has no gradient", q->c->name, i);
    return ft_data(d);
}

/* ---- against the reference ---------------------------------------------------------------------------------------------- */

static double unit_of(const problem *q)
{
    return (double)(16 + q->c->terms) * pow(2, -24) + (q->dtype == FT_BF16 ? (q->c->stages + q->extra) * pow(2, -8) : 0);
}

static double weighted(const row *c, double *out, int64_t n)
{
    double s = 0;
    c->ref(c, in, out);
    for (int64_t i = 0; i < n; i++) s += out[i] * out_weight[i];
    return s;
}

/* Every case runs on the kernels of each instruction set that this processor has, and planned for one thread and for eight, for
 * which libraries choose other kernels and sums are cut elsewhere. The sanitizers see what runs here; the stand-in and a device
 * have their own. */
#if defined FT_TEST_SHIM || defined FT_DEVICE_SUITE || defined __SANITIZE_ADDRESS__
enum { VARIANTS = 1 };
static bool use_variant(int v) { return v == 0; }
#else
enum { VARIANTS = 4 };
static bool use_variant(int v)
{
    static const char *const isa[VARIANTS] = {NULL, "base", "v3", NULL};
    static int threads;
    static char name[64];
    if (!threads) threads = ft_threads_get();
    if (isa[v]) setenv("FORTY_ISA", isa[v], 1);
    ft_backend_use(ft_backend_cpu());
    if (isa[v]) unsetenv("FORTY_ISA");
    ft_threads_set(v == 3 ? 1 : v == 1 ? 8 : threads);
    const char *got = ft_backend_now()->name + strlen("cpu ");
    snprintf(name, sizeof name, "%s%s",
             v == 3   ? " planned for one thread"
             : v == 1 ? " planned for eight threads, with kernels "
             : isa[v] ? " with kernels "
                      : "",
             isa[v] ? isa[v] : "");
    here = name;
    return !isa[v] || (!strcmp(got, isa[v]) && strcmp(ft_backend_cpu()->name + strlen("cpu "), got));
}
#endif

/* in_inf: an infinite input; where the reference then meets Inf - Inf or 0 * Inf, the limit is as good as NaN */
static void check_output(const problem *q, const double *ref, const char *what, bool in_inf)
{
    double top = 0;
    const float *got = ft_data(q->y32);
    for (int64_t k = 0; k < q->n; k++)
        if (isfinite(ref[k])) top = fmax(top, fabs(ref[k]));
    for (int64_t k = 0; k < q->n; k++) {
        bool fine = isfinite(ref[k]) ? fabs((double)got[k] - ref[k]) <= unit_of(q) * top + 1e-30
                                     : !isfinite(got[k]) || (in_inf && isnan(ref[k]));
        if (!fine)
            fail_msg("%s %s%s%s: output %lld is %.9g, should be %.9g (allowed %.2g)", q->c->name, q->dtype ? "bf16" : "f32", here,
                     what, (long long)k, (double)got[k], ref[k], unit_of(q) * top);
    }
}

/* The values of an input that a difference is taken of. Few under the sanitizers, which look at addresses: the values are those
 * of the optimised run, and the references are what a case costs. */
#ifdef __SANITIZE_ADDRESS__
enum { TRIES = 4 };
#else
enum { TRIES = 60 };
#endif

static void check_gradients(const problem *q)
{
    static double scratch[MAX_VALUES];
    static struct { /* differences of the case at hand: a second look at it has the same inputs */
        const row *c;
        ft_dtype dtype;
        double fd[MAXN][TRIES];
    } known;
    const row *c = q->c;
    ft_rng r = ft_rng_make(12, 1, 0);
    bool again = known.c == c && known.dtype == q->dtype;
    known.c = c, known.dtype = q->dtype;
    for (int i = 0; i < c->n && i < c->no_grad; i++) {
        const float *gi = gradient(q, i);
        int64_t m = count(c, i), tries = m < TRIES ? m : TRIES, at[TRIES];
        double top = 0, h = 1e-5, *fd = known.fd[i];
        for (int64_t t = 0; t < tries; t++) {
            at[t] = m <= TRIES ? t : ft_rng_below(&r, m);
            if (again) continue;
            double keep = value[i][at[t]];
            value[i][at[t]] = keep + h;
            double up = weighted(c, scratch, q->n);
            value[i][at[t]] = keep - h;
            double down = weighted(c, scratch, q->n);
            value[i][at[t]] = keep;
            fd[t] = (up - down) / (2 * h);
        }
        for (int64_t k = 0; k < m; k++) top = fmax(top, fabs((double)gi[k]));
        for (int64_t t = 0; t < tries; t++) top = fmax(top, fabs(fd[t]));
        /* one more rounding to storage on the way back, and the difference quotient's own error */
        double allowed = (2 * unit_of(q) + (q->dtype == FT_BF16 ? pow(2, -8) : 0) + 1e-7) * top + 1e-8;
        for (int64_t t = 0; t < tries; t++)
            if (!(fabs((double)gi[at[t]] - fd[t]) <= allowed))
                fail_msg("%s %s%s: gradient of input %d at %lld is %.9g, should be %.9g (allowed %.2g)", c->name,
                         q->dtype ? "bf16" : "f32", here, i, (long long)at[t], (double)gi[at[t]], fd[t], allowed);
    }
}

/* ---- guards, poison ----------------------------------------------------------------------------------------------------- */

static void check_guarded(const problem *q)
{
    setenv("FT_PLAN_GUARD", "1", 1);
    problem guarded = open_problem(q->c, q->dtype, true);
    unsetenv("FT_PLAN_GUARD");
    if (memcmp(ft_data(q->y32), ft_data(guarded.y32), (size_t)q->n * sizeof(float)))
        fail_msg("%s%s: the guarded plan gives another output", q->c->name, here);
    for (int i = 0; i < q->c->n && i < q->c->no_grad; i++)
        if (memcmp(gradient(q, i), gradient(&guarded, i), (size_t)count(q->c, i) * sizeof(float)))
            fail_msg("%s%s: the guarded plan gives another gradient of input %d", q->c->name, here, i);
    close_problem(&guarded);
}

#if !defined FT_TEST_SHIM && !defined FT_DEVICE_SUITE
/* Others take a core while it runs: the same bits on one thread, the first time and from then on, and back. */
static void check_fewer_threads(const problem *q)
{
    static float kept[MAX_VALUES], kept_gradient[MAXN][MAX_VALUES];
    ft_step step = {OP_SEED, OP_STEP, 0, 0, OP_RANK};
    const row *c = q->c;
    int with_gradient = c->n < c->no_grad ? c->n : c->no_grad;
    memcpy(kept, ft_data(q->y32), (size_t)q->n * sizeof(float));
    for (int i = 0; i < with_gradient; i++) memcpy(kept_gradient[i], gradient(q, i), (size_t)count(c, i) * sizeof(float));
    for (int run = 0; run < 3; run++) {
        setenv("FORTY_THREADS_NOW", run < 2 ? "1" : "1000", 1);
        if (ft_run(q->plan, &step) < 0) fail_msg("%s: %s", c->name, ft_error_message());
        if (memcmp(kept, ft_data(q->y32), (size_t)q->n * sizeof(float)))
            fail_msg("%s: another output with fewer threads, run %d", c->name, run);
        for (int i = 0; i < with_gradient; i++)
            if (memcmp(kept_gradient[i], gradient(q, i), (size_t)count(c, i) * sizeof(float)))
                fail_msg("%s: another gradient of input %d with fewer threads, run %d", c->name, i, run);
    }
    unsetenv("FORTY_THREADS_NOW");
}
#else
static void check_fewer_threads(const problem *q) { (void)q; }
#endif

static void check_poison(const row *c)
{
    static double ref[MAX_VALUES];
    static const double poison[] = {NAN, INFINITY, -INFINITY};
    int64_t at = count(c, 0) / 2;
    double keep = value[0][at];
    for (int k = 0; k < 3; k++) {
        value[0][at] = poison[k];
        for (int v = 0; v < VARIANTS; v++) {
            if (!use_variant(v)) continue;
            problem q = open_problem(c, FT_F32, false);
            op_freeze = 1;
            if (v == 0) c->ref(c, in, ref);
            op_freeze = 0;
            check_output(&q, ref, k == 0 ? ", NaN in" : ", Inf in", k > 0);
            close_problem(&q);
        }
    }
    value[0][at] = keep;
}

/* ---- PyTorch ------------------------------------------------------------------------------------------------------------ */

#ifndef FT_DEVICE_SUITE
static ft_safetensors golden;

/* the formula of make_golden_ops.py: two fixed pseudo-random directions */
static double direction(uint32_t which, int64_t i)
{
    uint32_t h = (uint32_t)i * 2654435761u + which * 40503u;
    h ^= h >> 15;
    h *= 2246822519u;
    h ^= h >> 13;
    return (double)(h >> 8) / 8388608.0 - 1.0;
}

static void check_projection(const problem *q, const char *what, const float *v, int64_t n, const float *ref, double unit)
{
    double a = 0, b = 0, norm = 0, la = 0, top = 0;
    for (int64_t i = 0; i < n; i++) {
        a += (double)v[i] * direction(1, i), b += (double)v[i] * direction(2, i), norm += (double)v[i] * (double)v[i];
        la += fabs(direction(1, i)), top = fmax(top, fabs((double)v[i]));
    }
    /* every value may be off by unit * top; the golden numbers are rounded to f32 */
    double allowed = unit * top * (la + 1) + 1e-6 * (fabs(a) + fabs(b) + sqrt(norm)) + 1e-7;
    if (!(fabs(a - (double)ref[0]) <= allowed) || !(fabs(b - (double)ref[1]) <= allowed) ||
        !(fabs(sqrt(norm) - (double)ref[2]) <= allowed))
        fail_msg("%s: %s is (%g, %g, %g), PyTorch has (%g, %g, %g), allowed %.2g", q->c->name, what, a, b, sqrt(norm),
                 (double)ref[0], (double)ref[1], (double)ref[2], allowed);
}

static void check_golden(const problem *q)
{
    float ref[3 * (MAXN + 1)];
    const ft_st_tensor *t = ft_safetensors_find(&golden, q->c->name);
    if (!t && getenv("FT_NO_GOLDEN")) return; /* an op being written */
    if (!t) fail_msg("%s is not in golden/ops.safetensors: run tests/golden/make_golden_ops.py", q->c->name);
    if (t->count == 1) return; /* random numbers: PyTorch has no such op */
    assert_int_equal(ft_safetensors_f32(t, ref), FT_OK);
    check_projection(q, "the output", ft_data(q->y32), q->n, ref, unit_of(q));
    for (int i = 0; i < q->c->n && i < q->c->no_grad; i++) {
        char what[40];
        snprintf(what, sizeof what, "the gradient of input %d", i);
        check_projection(q, what, gradient(q, i), count(q->c, i), ref + 3 * (i + 1), 2 * unit_of(q));
    }
}
#else
static void check_golden(const problem *q) { (void)q; }
#endif

#ifdef FT_TEST_SHIM
enum { SCHEDULES = 12, FEW = 3, COSTLY = 30000 }; /* steps of a run above which only a FEW are tried, but for FT_SHIM_ALL=1 */

static void same_as(const problem *a, const problem *b, const char *what, int which)
{
    if (memcmp(ft_data(a->y32), ft_data(b->y32), (size_t)a->n * sizeof(float)))
        fail_msg("%s: %s %d gives another output", a->c->name, what, which);
    for (int i = 0; i < a->c->n && i < a->c->no_grad; i++)
        if (memcmp(gradient(a, i), gradient(b, i), (size_t)count(a->c, i) * sizeof(float)))
            fail_msg("%s: %s %d gives another gradient of input %d", a->c->name, what, which, i);
}

/* lanes, warps and blocks in other orders; the list recorded and replayed: bitwise the same. Not for the sanitizers: addresses do
 * not depend on the order, and test_graph replays there. */
static void check_schedules(const problem *q)
{
#ifdef __SANITIZE_ADDRESS__
    return;
#endif
    ft_step step = {OP_SEED, OP_STEP, 0, 0, OP_RANK};
    int64_t cost = ft_shim()->steps;
    int n = SCHEDULES;
    for (int s = 1; s < n; s++) {
        ft_shim()->schedule = s;
        problem other = open_problem(q->c, q->dtype, true);
        same_as(q, &other, "schedule", s);
        if (s == 1 && ft_shim()->steps - cost > COSTLY && !getenv("FT_SHIM_ALL")) n = FEW;
        int64_t before = ft_shim()->replays;
        for (int run = 1; s == 1 && run < 5; run++) {
            if (ft_run(other.plan, &step) < 0) fail_msg("%s: %s", q->c->name, ft_error_message());
            same_as(q, &other, "run", run);
        }
        if (s == 1 && ft_shim()->replays != before + 3) fail_msg("%s: the list was not recorded", q->c->name);
        close_problem(&other);
    }
    ft_shim()->schedule = 0;
}
#endif

/* first: `ref` is not there yet */
static void check_case(const row *c, ft_dtype dtype, double *ref, bool first)
{
#ifdef FT_TEST_SHIM
    int64_t calls = ft_shim()->calls;
#endif
    problem q = open_problem(c, dtype, true);
    op_freeze = 1;
    if (first) c->ref(c, in, ref);
    op_freeze = 0;
    check_output(&q, ref, "", false);
    check_gradients(&q);
    check_guarded(&q);
    if (first) check_fewer_threads(&q);
    if (dtype == FT_F32) check_golden(&q);
#ifdef FT_TEST_SHIM
    check_schedules(&q);
    if (ft_shim()->calls > calls) { /* what our own kernels do in place of the libraries */
        close_problem(&q);
        ft_shim()->refuse_libraries = true;
        ft_dnn_forget();
        q = open_problem(c, dtype, true);
        q.extra = 1; /* a bias that the library does not add is added to the rounded product */
        check_output(&q, ref, ", own kernels", false);
        check_gradients(&q);
        check_guarded(&q);
        check_schedules(&q);
        ft_shim()->refuse_libraries = false;
        ft_dnn_forget();
    }
#endif
    close_problem(&q);
}

static void run_case(void **state)
{
    static double ref[MAX_VALUES];
    static bool running; /* still true when the case before this one failed */
    const row *c = *state;
    if (running && getenv("FT_FAIL_FAST")) exit(1);
    running = true;
    unsetenv("FORTY_THREADS_NOW"); /* of a case that failed */
    for (ft_dtype dtype = FT_F32; dtype <= FT_BF16; dtype++) {
        if (dtype == FT_BF16 && !ft_backend_has_bf16()) continue;
        draw(c, dtype);
        for (int v = 0; v < VARIANTS; v++)
            if (use_variant(v)) check_case(c, dtype, ref, v == 0);
        use_variant(0);
    }
    draw(c, FT_F32);
    if (!c->no_poison) check_poison(c);
    running = false;
}

/* ---- the list ----------------------------------------------------------------------------------------------------------- */

static int dump(const char *folder)
{
    char path[600];
    snprintf(path, sizeof path, "%s/cases.json", folder);
    FILE *list = fopen(path, "w");
    snprintf(path, sizeof path, "%s/inputs.bin", folder);
    FILE *data = fopen(path, "wb");
    if (!list || !data) return 1;
    const table *tables[] = {&cases_basic, &cases_nn};
    fprintf(list, "[");
    for (int t = 0; t < 2; t++)
        for (int k = 0; k < tables[t]->n; k++) {
            const row *c = &tables[t]->list[k];
            draw(c, FT_F32);
            problem q = open_problem(c, FT_F32, false);
            fprintf(list, "%s{\"name\":\"%s\",\"no_grad\":%d,\"p\":[", t || k ? ",\n" : "", c->name, c->no_grad);
            for (int i = 0; i < 12; i++) fprintf(list, "%s%lld", i ? "," : "", (long long)c->p[i]);
            fprintf(list, "],\"out\":%lld,\"in\":[", (long long)q.n);
            for (int i = 0; i < c->n; i++) {
                fprintf(list, "%s[", i ? "," : "");
                for (int d = 0; d < c->in[i].nd; d++) fprintf(list, "%s%lld", d ? "," : "", (long long)D(i, d));
                fprintf(list, "]");
                fwrite(value[i], sizeof(double), (size_t)count(c, i), data);
            }
            fprintf(list, "]}");
            fwrite(out_weight, sizeof(double), (size_t)q.n, data);
            close_problem(&q);
        }
    fprintf(list, "]\n");
    return (fclose(list) != 0) | (fclose(data) != 0);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "--dump")) return dump(argv[2]);
    if (!getenv("OMP_NUM_THREADS") && ft_threads_get() < 2) ft_threads_set(2); /* so that there can be fewer */
#ifndef FT_DEVICE_SUITE
    if (ft_safetensors_read(&golden, FT_TEST_DIR "/golden/ops.safetensors") < 0) fprintf(stderr, "%s\n", ft_error_message());
#endif
    const table *tables[] = {&cases_basic, &cases_nn};
    static struct CMUnitTest tests[400];
    size_t n = 0;
    int shard = 0, shards = 1, listed = 0;
    const char *part = getenv("SHARD"); /* "2/8": every eighth case, from the third on */
    if (part && sscanf(part, "%d/%d", &shard, &shards) != 2) shard = 0, shards = 1;
    for (int t = 0; t < 2; t++)
        for (int k = 0; k < tables[t]->n; k++) {
            const row *c = &tables[t]->list[k];
            bool wanted = argc == 1; /* test_ops NAME...: these cases */
            for (int i = 1; i < argc; i++) wanted |= !strcmp(argv[i], c->name);
            if (!wanted || listed++ % shards != shard) continue;
            tests[n++] = (struct CMUnitTest){c->name, run_case, NULL, NULL, (void *)(uintptr_t)c};
        }
    const char *first = getenv("FT_FIRST"); /* "sdpa ssd": cases that begin so come first (mutants.py) */
    for (size_t at = 0, i = 0; first && i < n; i++) {
        const char *p = first;
        size_t length = strcspn(p, " ");
        for (; *p && strncmp(tests[i].name, p, length); length = strcspn(p, " ")) p += length + (p[length] == ' ');
        if (!*p) continue;
        struct CMUnitTest t = tests[i];
        memmove(tests + at + 1, tests + at, (i - at) * sizeof *tests);
        tests[at++] = t;
    }
    int failed = _cmocka_run_group_tests("ops", tests, n, NULL, NULL);
#ifndef FT_DEVICE_SUITE
    ft_safetensors_free(&golden);
#endif
    return failed;
}
