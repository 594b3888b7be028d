/* Whole networks on the device: parity with the CPU, and how fast they train.
 *
 *   device_models parity                 every family, small: loss, gradients and updated weights against the CPU's; f32 and
 * bf16; the recorded step against the list, bit for bit device_models small                  one step of each, for
 * compute-sanitizer device_models bench NAME BATCH f32|bf16   one JSON line: milliseconds of a training step, memory,
 * multiply-adds device_models forward NAME BATCH f32|bf16 the same of a forward pass (VAE encode and decode, a sampler's step) */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/graph/graph.h"
#include "gen/generator.h"
#include "gen/vae.h"

extern const ft_backend ft_backend_cuda;
extern const ft_generator ft_generator_medsora, ft_generator_feat, ft_generator_endora, ft_generator_lvdm;
extern const ft_classifier ft_classifier_x3d, ft_classifier_r2plus1d, ft_classifier_timesformer;
static const ft_generator *const generators[] = {&ft_generator_medsora, &ft_generator_feat, &ft_generator_endora,
                                                 &ft_generator_lvdm};
static const ft_classifier *const classifiers[] = {&ft_classifier_x3d, &ft_classifier_r2plus1d, &ft_classifier_timesformer};

static const void *row(const void *table, size_t n, size_t size, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(*(const char *const *)((const char *)table + i * size), name)) return (const char *)table + i * size;
    return NULL;
}

typedef struct {
    ft_params *params;
    ft_graph *g;
    ft_plan *plan;
    ft_t x, t, loss, norm;
} problem;

static bool on_host(void) { return !strncmp(ft_backend_cuda.device->describe(), "host shim", 9); } /* small sizes do */

/* frames and pixels of a classifier's clip */
static void clip_of(const char *name, int64_t *frames, int64_t *size)
{
    if (on_host() && strcmp(name, "timesformer-tiny")) {
        *frames = 4, *size = 16;
        return;
    }
    *frames = 16, *size = !strcmp(name, "x3d-s")     ? 160
                          : strstr(name, "tiny")     ? 64
                          : strstr(name, "r2plus1d") ? 112
                          : strstr(name, "-128")     ? 128
                                                     : 224;
}

static ft_t network(problem *q, const char *name, int64_t batch)
{
    for (size_t i = 0; i < 4; i++) {
        const ft_generator *f = generators[i];
        const ft_generator_preset *p = row(f->presets, f->n, f->row, name);
        if (!p) continue;
        ft_taps taps;
        q->x = ft_input(q->g, "z", FT_F32, 5, (int64_t[]){batch, p->frames, p->size, p->size, p->channels});
        q->t = ft_input(q->g, "t", FT_F32, 1, &batch);
        return f->network(q->g, p, NULL, ft_cast(q->g, q->x, ft_compute(q->g)), p->frames, q->t, &taps);
    }
    for (size_t i = 0; i < 3; i++) {
        const void *p = row(classifiers[i]->presets, classifiers[i]->n, classifiers[i]->row, name);
        int64_t frames, size;
        if (!p) continue;
        clip_of(name, &frames, &size);
        q->x = ft_input(q->g, "x", FT_F32, 5, (int64_t[]){batch, frames, size, size, 3});
        return classifiers[i]->network(q->g, p, ft_cast(q->g, q->x, ft_compute(q->g)), 2, 0, 0, NULL);
    }
    bool encode = strncmp(name, "decode-", 7) != 0;
    const char *plain = !strncmp(name, "encode-", 7) || !encode ? name + 7 : name;
    const ft_vae_preset *v = ft_vae_find(plain);
    if (!v) return ft_graph_fail(q->g, "%s is not known", name);
    int64_t size = strstr(name, "tiny") ? 32 : 128, frames = strstr(name, "tiny") ? 8 : 9, s = size / ft_vae_space_factor(v);
    if (encode) {
        q->x = ft_input(q->g, "x", FT_F32, 5, (int64_t[]){batch, frames, size, size, 3});
        ft_t m = ft_vae_encode(q->g, v, ft_cast(q->g, q->x, ft_compute(q->g)));
        if (plain != name) return m;
        return ft_vae_decode(q->g, v, ft_cast(q->g, ft_slice(q->g, m, 4, 0, v->latent), ft_compute(q->g)));
    }
    q->x = ft_input(q->g, "z", FT_F32, 5, (int64_t[]){batch, ft_vae_latent_frames(v, frames), s, s, v->latent});
    return ft_vae_decode(q->g, v, ft_cast(q->g, q->x, ft_compute(q->g)));
}

static int make(problem *q, const char *name, int64_t batch, ft_dtype dtype, bool train)
{
    *q = (problem){.params = ft_params_new(3)};
    q->g = ft_graph_new(q->params, dtype, 5);
    ft_training(q->g, train);
    ft_t y = network(q, name, batch);
    if (!ft_graph_error(q->g)) {
        y = ft_cast(q->g, y, FT_F32);
        int64_t n = ft_count(y);
        q->loss =
            ft_reshape(q->g, ft_reduce(q->g, ft_unary(q->g, FT_SQUARE, ft_reshape(q->g, y, 1, &n)), 1, true), 1, (int64_t[]){1});
        ft_keep(q->loss);
        if (train) {
            ft_backward(q->g, q->loss);
            q->norm = ft_optimise(q->g, (ft_optim_opt){0});
        }
    }
    FT_TRY(ft_plan_new(&q->plan, q->g, FT_WEIGHTS));
    /* a fresh diffusion transformer gives zeros: move every weight a little */
    ft_rng r = ft_rng_make(9, 1, 0);
    float *w = ft_params_flat(q->params, FT_WEIGHTS);
    for (int64_t i = 0; train && i < ft_params_trained_size(q->params); i++) w[i] += 0.02f * (float)ft_rng_normal(&r);
    ft_params_touched(q->params);
    float *x = ft_data(q->x);
    for (int64_t i = 0; i < ft_count(q->x); i++) x[i] = (float)ft_rng_normal(&r);
    for (int64_t i = 0; q->t && i < batch; i++) ((float *)ft_data(q->t))[i] = 37.0f + 100.0f * (float)i;
    return FT_OK;
}

static void drop(problem *q)
{
    ft_plan_free(q->plan);
    ft_graph_free(q->g);
    ft_params_free(q->params);
}

static int fail(const char *name, const char *what)
{
    printf("FAILED %s: %s\n", name, what);
    return 1;
}

static double apart(const float *a, const float *b, int64_t n) /* |a - b| / |b| */
{
    double d = 0, s = 0;
    for (int64_t i = 0; i < n; i++) d += pow((double)a[i] - (double)b[i], 2), s += (double)b[i] * (double)b[i];
    return sqrt(d / (s > 0 ? s : 1));
}

/* One step on both; then more steps on the device, recorded and not. */
static int compare(const char *name, ft_dtype dtype)
{
    problem cpu, gpu, listed;
    ft_step step = {7, 0, 1e-4f, 0.9f, 0};
    ft_backend_use(ft_backend_cpu());
    if (make(&cpu, name, on_host() ? 1 : 2, dtype, true) < 0 || ft_run(cpu.plan, &step) < 0)
        return fail(name, ft_error_message());
    ft_backend_use(&ft_backend_cuda);
    if (make(&gpu, name, on_host() ? 1 : 2, dtype, true) < 0 || ft_run(gpu.plan, &step) < 0)
        return fail(name, ft_error_message());
    double a = (double)*(float *)ft_data(gpu.loss), b = (double)*(float *)ft_data(cpu.loss), loss = fabs(a - b) / fabs(b);
    int64_t n = ft_params_trained_size(cpu.params);
    double grad = apart(ft_params_grad(gpu.params), ft_params_grad(cpu.params), n);
    printf("%s %s: loss %.6g, off by %.1e; gradients by %.1e\n", name, dtype ? "bf16" : "f32", a, loss, grad);
    bool fine = loss <= 2e-4 && grad <= 1e-3; /* f32: as test_models */
    if (dtype == FT_BF16) {                   /* bf16 may be as far from the CPU's f32 as the CPU's own bf16 is, twice over */
        problem exact;
        ft_backend_use(ft_backend_cpu());
        if (make(&exact, name, on_host() ? 1 : 2, FT_F32, true) < 0 || ft_run(exact.plan, &step) < 0)
            return fail(name, ft_error_message());
        double own = apart(ft_params_grad(cpu.params), ft_params_grad(exact.params), n),
               here = apart(ft_params_grad(gpu.params), ft_params_grad(exact.params), n);
        printf("    from f32: the CPU's bf16 %.1e, the device's %.1e\n", own, here);
        fine = here <= 2 * own + 1e-3;
        drop(&exact);
        ft_backend_use(&ft_backend_cuda);
    }
    drop(&cpu);
    setenv("FORTY_CUDA_GRAPH", "0", 1);
    if (make(&listed, name, on_host() ? 1 : 2, dtype, true) < 0 || ft_run(listed.plan, &step) < 0)
        return fail(name, ft_error_message());
    unsetenv("FORTY_CUDA_GRAPH");
    for (step.step = 1; step.step < 5; step.step++)
        if (ft_run(gpu.plan, &step) < 0 || ft_run(listed.plan, &step) < 0) return fail(name, ft_error_message());
    bool same = !memcmp(ft_params_flat(gpu.params, FT_WEIGHTS), ft_params_flat(listed.params, FT_WEIGHTS),
                        (size_t)ft_params_flat_size(gpu.params) * sizeof(float));
    drop(&gpu);
    drop(&listed);
    if (!fine) return fail(name, "too far from the CPU");
    return same ? 0 : fail(name, "the recorded step gives other weights than the list");
}

static int bench(const char *name, int64_t batch, ft_dtype dtype, bool train)
{
    problem q;
    ft_step step = {7, 0, 1e-4f, 0.9f, 0};
    double total, before = ft_backend_cuda.device->memory(&total), times[15];
    enum { RUNS = 15 };
    ft_backend_use(&ft_backend_cuda);
    if (make(&q, name, batch, dtype, train) < 0) return fail(name, ft_error_message());
    for (; step.step < 10; step.step++) /* chooses, records, warms up */
        if (ft_run(q.plan, &step) < 0) return fail(name, ft_error_message());
    int per = 1;
    for (int i = -1; i < RUNS; i++) { /* the first sizes a run to 50 ms or so */
        ft_data(q.loss);
        double start = ft_now();
        for (int k = 0; k < per; k++, step.step++)
            if (ft_run(q.plan, &step) < 0) return fail(name, ft_error_message());
        double loss = (double)*(float *)ft_data(q.loss), s = ft_now() - start;
        if (!isfinite(loss)) return fail(name, "the loss is not finite");
        if (i < 0) per = s > 0.05 ? 1 : (int)(0.05 / s) + 1;
        else times[i] = s / per;
    }
    for (int i = 0; i < RUNS; i++)
        for (int k = i + 1; k < RUNS; k++)
            if (times[k] < times[i]) {
                double t = times[i];
                times[i] = times[k], times[k] = t;
            }
    ft_plan_info d = ft_plan_describe(q.plan);
    printf("{\"model\": \"%s\", \"batch\": %lld, \"precision\": \"%s\", \"train\": %s, \"ms\": %.4f, \"fastest_ms\": %.4f, "
           "\"mib\": %.1f, "
           "\"plan_mib\": %.1f, \"nodes\": %d, \"gmac\": %.3f, \"moved_mib\": %.1f}\n",
           name, (long long)batch, dtype ? "bf16" : "f32", train ? "true" : "false", 1000 * times[RUNS / 2], 1000 * times[0],
           before - ft_backend_cuda.device->memory(&total), (double)(d.act_bytes + d.work_bytes) / 1048576.0, d.nodes,
           d.products / 1e9, (double)d.moved_bytes / 1048576.0);
    fprintf(stderr, "%s", ft_backend_cuda.device->choices());
    drop(&q);
    return 0;
}

int main(int argc, char **argv)
{
    static const char *const small[] = {"x3d-tiny",     "timesformer-tiny", "r2plus1d-tiny", "vae-tiny",
                                        "medsora-tiny", "feat-tiny",        "endora-tiny",   "lvdm-tiny"};
    int bad = 0;
    if (ft_backend_cuda.device->start(0) < 0) return fail("the device", ft_error_message());
    fprintf(stderr, "%s\n", ft_backend_cuda.device->describe());
    if (argc == 5 && (!strcmp(argv[1], "bench") || !strcmp(argv[1], "forward")))
        return bench(argv[2], atoll(argv[3]), !strcmp(argv[4], "bf16") ? FT_BF16 : FT_F32, !strcmp(argv[1], "bench"));
    bool once = argc >= 2 && !strcmp(argv[1], "small");
    if (!once && (argc < 2 || strcmp(argv[1], "parity")))
        return fprintf(stderr, "usage: device_models parity|small|bench NAME BATCH f32|bf16\n"), 2;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        if (argc == 3 && strcmp(argv[2], small[i])) continue;
        for (ft_dtype d = FT_F32; d <= FT_BF16; d++) {
            if (!once) {
                bad += compare(small[i], d);
                continue;
            }
            problem q;
            ft_step step = {7, 0, 1e-4f, 0.9f, 0};
            ft_backend_use(&ft_backend_cuda);
            if (make(&q, small[i], 1, d, true) < 0 || ft_run(q.plan, &step) < 0 || !isfinite(*(float *)ft_data(q.loss)))
                bad += fail(small[i], ft_error_message());
            else drop(&q);
        }
    }
    printf("%d failed\n", bad);
    return bad != 0;
}
