#include "common/train/rates.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/context_parts.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/machine.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/base/threads.h"
#include "common/graph/backend.h"
#include "common/graph/graph.h"
#include "common/graph/layers.h"

const char *const ft_work_name[FT_WORKS] = {"products", "convolutions", "depthwise"};

/* ---- the networks, as large as those of the presets --------------------------------------------------------------------- */

static ft_t products(ft_graph *g) /* an MLP of 2048 tokens */
{
    ft_t x = ft_cast(g, ft_input(g, "x", FT_F32, 2, (int64_t[]){2048, 384}), ft_compute(g)); /* (M,d) */
    ft_t h = ft_unary(g, FT_GELU, ft_layer_linear(g, "up", x, 1024, true));                  /* (M,4d) */
    return ft_layer_linear(g, "down", h, 384, true);
}

static ft_t convolutions(ft_graph *g) /* two 3x3x3 at the resolutions of a VAE's middle */
{
    ft_conv_opt same = {.pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}};
    int64_t kernel[3] = {3, 3, 3};
    ft_t x = ft_cast(g, ft_input(g, "x", FT_F32, 5, (int64_t[]){2, 8, 24, 24, 48}), ft_compute(g)); /* (B,T,H,W,C) */
    ft_t h = ft_unary(g, FT_SILU, ft_layer_conv(g, "in", x, 48, kernel, same, true));
    return ft_layer_conv(g, "out", h, 48, kernel, same, true);
}

static ft_t depthwise(ft_graph *g) /* a block of X3D */
{
    int64_t one[3] = {1, 1, 1};
    ft_conv_opt same = {.kernel = {3, 3, 3}, .pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}};
    ft_t w = ft_param(g, "each.weight", 5, (int64_t[]){54, 1, 3, 3, 3}, ft_init_kaiming_out(27));
    ft_t x = ft_cast(g, ft_input(g, "x", FT_F32, 5, (int64_t[]){4, 8, 32, 32, 24}), ft_compute(g)); /* (B,T,H,W,C) */
    ft_t h = ft_layer_conv(g, "up", x, 54, one, (ft_conv_opt){0}, false);
    h = ft_layer_batchnorm(g, "norm1", h, 0, FT_ACT_RELU);
    h = ft_layer_batchnorm(g, "norm2", ft_conv_dw(g, h, w, NULL, same), 0, FT_ACT_SILU);
    return ft_layer_conv(g, "down", h, 24, one, (ft_conv_opt){0}, false);
}

static ft_t (*const network[FT_WORKS])(ft_graph *g) = {products, convolutions, depthwise};

typedef struct {
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    double flop, best; /* seconds */
} trial;

static int open_trial(trial *t, ft_work work, ft_dtype dtype)
{
    t->best = 1e30;
    t->params = ft_params_new(1);
    t->g = t->params ? ft_graph_new(t->params, dtype, FT_GRAPH_ALONE) : NULL;
    if (!t->g) return FT_FAIL(FT_ENOMEM, "no memory to time %s", ft_work_name[work]);
    ft_training(t->g, true);
    ft_t y = network[work](t->g);
    int64_t dim[FT_MAX_DIMS];
    if (!ft_graph_error(t->g)) {
        for (int i = 0; i < ft_ndim(y); i++) dim[i] = ft_dim(y, i);
        ft_t loss = ft_loss_mean(t->g, ft_cast(t->g, y, FT_F32), ft_input(t->g, "target", FT_F32, ft_ndim(y), dim), FT_MSE);
        ft_keep(loss);
        ft_backward(t->g, loss);
    }
    FT_TRY(ft_plan_new(&t->plan, t->g, FT_WEIGHTS));
    t->flop = 2 * ft_plan_describe(t->plan).products;
    return FT_OK;
}

static void close_trial(trial *t)
{
    ft_plan_free(t->plan);
    ft_graph_free(t->g);
    ft_params_free(t->params);
}

static int time_once(trial *t, int64_t step, bool count)
{
    double start = ft_now();
    FT_TRY(ft_run(t->plan, &(ft_step){0, step, 0, 0, 0}));
    double took = ft_now() - start;
    if (count && took < t->best) t->best = took;
    return FT_OK;
}

/* both precisions in turns, the best of each: what another process takes hits one as much as the other */
static int measure(ft_work work, double gflops[2])
{
    enum { ROUNDS = 12 };
    trial t[2] = {{0}};
    int kinds = ft_cpu_has_bf16() ? 2 : 1, rc = FT_OK;
    double start = ft_now();
    FT_TRY_TO(rc, done, open_trial(&t[0], work, FT_F32));
    if (kinds == 2 && open_trial(&t[1], work, FT_BF16) < 0) kinds = 1; /* the library cannot: it does not win either */
    for (int round = -2; round < ROUNDS && (round < 3 || ft_now() - start < 0.5); round++)
        for (int k = 0; k < kinds; k++) FT_TRY_TO(rc, done, time_once(&t[k], round + 2, round >= 0));
    for (int k = 0; k < kinds; k++) gflops[k] = t[k].flop / t[k].best / 1e9;
done:
    for (int k = 0; k < 2; k++) close_trial(&t[k]);
    return rc;
}

int ft_rates_measure(ft_rates *r)
{
    const ft_backend *was = ft_backend_now(); /* plans go where the backend is */
    *r = (ft_rates){0};
    ft_backend_use(ft_backend_cpu());
    ft_threads_hold(true); /* both precisions on as many */
    int rc = FT_OK;
    for (int w = 0; rc == FT_OK && w < FT_WORKS; w++) rc = measure((ft_work)w, r->gflops[w]);
    ft_threads_hold(false);
    ft_backend_use(was);
    return rc;
}

json_t *ft_rates_json(const ft_rates *r)
{
    json_t *o = json_object();
    for (int w = 0; w < FT_WORKS; w++)
        json_object_set_new(o, ft_work_name[w], json_pack("{s:f,s:f}", "f32", r->gflops[w][0], "bf16", r->gflops[w][1]));
    return o;
}

/* ---- once on a machine -------------------------------------------------------------------------------------------------- */

static bool read_json(ft_rates *r, const json_t *o)
{
    for (int w = 0; w < FT_WORKS; w++) {
        const json_t *each = json_object_get(o, ft_work_name[w]);
        r->gflops[w][0] = json_number_value(json_object_get(each, "f32"));
        r->gflops[w][1] = json_number_value(json_object_get(each, "bf16"));
        if (!(r->gflops[w][0] > 0)) return false;
    }
    return true;
}

/* the file of this processor, number of threads and build; false: there is no place to keep it */
static bool kept_at(char path[1200], json_t **key)
{
    static const char *const flag[] = {"avx512_bf16", "amx_bf16"};
    char cpu[200];
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
#ifdef NDEBUG
    bool checked = false;
#else
    bool checked = true; /* a build with sanitizers has other rates */
#endif
    ft_processor(cpu, sizeof cpu);
    *key = json_pack("{s:s,s:i,s:s,s:s,s:s,s:b}", "processor", cpu, "threads", ft_threads_get(), "kernels",
                     ft_backend_cpu()->name, "onednn", ft_cpu_library(), "forty", FT_VERSION, "checked", checked);
    for (int i = 0; *key && i < 2; i++) /* a hypervisor may hide them */
        json_object_set_new(*key, flag[i], json_boolean(ft_processor_has(flag[i])));
    char *text, hash[65] = "";
    if (ft_json_text(*key, JSON_SORT_KEYS | JSON_COMPACT, &text) < 0) return false;
    ft_sha256(text, strlen(text), hash);
    ft_free(text);
    if ((!cache || *cache != '/') && (!home || *home != '/')) return false;
    int n = cache && *cache == '/' ? snprintf(path, 1200, "%s/forty/rates-%.16s.json", cache, hash)
                                   : snprintf(path, 1200, "%s/.cache/forty/rates-%.16s.json", home, hash);
    return *key && n < 1200;
}

_Static_assert(sizeof(ft_rates) == sizeof((ft_context *)0)->rates.gflops, "a context keeps them");

int ft_rates_here(ft_rates *r)
{
    ft_context *c = ft__context();
    char path[1200];
    json_t *key = NULL;
    bool have = c->rates.threads == ft_threads_get(), place = !have && kept_at(path, &key);
    json_t *o = place ? ft_read_json(path) : NULL;
    int rc = FT_OK;
    if (have) memcpy(r, c->rates.gflops, sizeof *r);
    else if (!(o && json_equal(json_object_get(o, "of"), key) && read_json(r, o))) {
        rc = ft_rates_measure(r);
        json_t *fresh = rc == FT_OK && place ? ft_rates_json(r) : NULL;
        if (fresh) {
            json_object_set(fresh, "of", key);
            if (ft_mkdirs_for(path) == FT_OK) ft_write_json(path, fresh, 1); /* if it cannot be kept it is measured again */
            json_decref(fresh);
        }
    }
    json_decref(o);
    json_decref(key);
    memcpy(c->rates.gflops, r, sizeof *r);
    c->rates.threads = rc == FT_OK ? ft_threads_get() : 0;
    return rc;
}

/* ---- limits ------------------------------------------------------------------------------------------------------------- */

double ft_rate_copy(void)
{
    size_t n = (size_t)64 << 20;
    char *a = ft_alloc(n), *b = ft_alloc(n);
    double best = 0;
    for (int k = 0; a && b && k < 7; k++) {
        double start = ft_now();
#pragma omp parallel for
        for (int part = 0; part < 64; part++) memcpy(b + n / 64 * (size_t)part, a + n / 64 * (size_t)part, n / 64);
        double rate = 2 * (double)n / (ft_now() - start) / 1e9;
        if (k > 0 && rate > best) best = rate;
    }
    ft_free(a);
    ft_free(b);
    return best;
}

double ft_rate_registers(bool bf16)
{
    enum { STEPS = 19200000 };
    double best = 0;
    for (int k = 0; k < 5; k++) {
        double flop = 0, start = ft_now();
#pragma omp parallel reduction(+ : flop)
        flop += ft_backend_cpu()->registers(bf16, STEPS);
        double rate = flop / (ft_now() - start) / 1e9;
        if (rate > best) best = rate;
    }
    return best;
}
