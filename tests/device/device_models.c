/* Whole networks on the device: parity with the CPU, and how fast they train. Every line is written when it is known.
 *
 *   doctor                       a product, a convolution, an attention and a recorded step against the CPU
 *   parity [NAME...]             every family, small, f32 and bf16: loss, gradients and updated weights against the CPU's;
 *                                the recorded step against the list, bit for bit. SHARD=i/n: a part of them
 *   small [NAME...]              one step of each, for compute-sanitizer
 *   bench NAME BATCH TYPE        one JSON line: milliseconds of a training step, memory, multiply-adds
 *   forward NAME BATCH TYPE      the same of a forward pass (VAE encode and decode)
 *   profile NAME BATCH TYPE      where the time of a training step goes, op by op
 *   steps NAME BATCH TYPE N STATE  trains to step N and names the weights; goes on from the file STATE
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/log.h"
#include "common/base/rng.h"
#include "common/base/status.h"
#include "common/graph/backend.h"
#include "common/graph/choices.h"
#include "common/graph/graph.h"
#include "gen/generator.h"
#include "gen/vae.h"

extern const ft_backend ft_backend_cuda;
extern const ft_generator ft_generator_medsora, ft_generator_feat, ft_generator_endora, ft_generator_lvdm, ft_generator_forty;
extern const ft_classifier ft_classifier_x3d, ft_classifier_r2plus1d, ft_classifier_timesformer;
static const ft_generator *const generators[] = {&ft_generator_medsora, &ft_generator_feat, &ft_generator_endora,
                                                 &ft_generator_lvdm, &ft_generator_forty};
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

/* one of everything that a library does: a convolution, products, attention */
static ft_t doctor(problem *q, int64_t batch)
{
    ft_graph *g = q->g;
    q->x = ft_input(g, "x", FT_F32, 5, (int64_t[]){batch, 2, 8, 8, 32});
    ft_t w = ft_param(g, "conv.weight", 5, (int64_t[]){64, 32, 3, 3, 3}, ft_init_xavier(32 * 27, 64)),
         b = ft_param(g, "conv.bias", 1, (int64_t[]){64}, FT_ZERO),
         v = ft_param(g, "qkv.weight", 2, (int64_t[]){3 * 64, 64}, ft_init_xavier(64, 192));
    ft_t h = ft_conv(g, ft_cast(g, q->x, ft_compute(g)), w, b, (ft_conv_opt){.pad_front = {1, 1, 1}, .pad_back = {1, 1, 1}});
    ft_t t = ft_linear(g, ft_reshape(g, h, 3, (int64_t[]){batch, 128, 64}), v, NULL);
    return ft_sdpa(g, t, NULL, NULL, (ft_sdpa_opt){.heads = 1});
}

static ft_t network(problem *q, const char *name, int64_t batch)
{
    if (!strcmp(name, "doctor")) return doctor(q, batch);
    for (size_t i = 0; i < 4; i++) {
        const ft_generator *f = generators[i];
        const ft_generator_preset *p = row(f->presets, f->n, f->row, name);
        if (!p) continue;
        ft_taps taps;
        q->x = ft_input(q->g, "z", FT_F32, 5, (int64_t[]){batch, p->frames, p->size, p->size, p->channels});
        q->t = ft_input(q->g, "t", FT_F32, 1, &batch);
        return f->network(q->g, p, NULL, ft_cast(q->g, q->x, ft_compute(q->g)), p->frames, (ft_told){q->t, NULL}, &taps);
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
    if (!same) return fail(name, "the recorded step gives other weights than the list");
    printf("passed %s %s\n", name, dtype ? "bf16" : "f32");
    return 0;
}

/* what the libraries were asked to do, and chose */
static void say_choices(FILE *to) { fprintf(to, "%s", ft_backend_cuda.device->choices()); }

static int bench(const char *name, int64_t batch, ft_dtype dtype, bool train)
{
    problem q;
    ft_step step = {7, 0, 1e-4f, 0.9f, 0};
    double total, before = ft_backend_cuda.device->memory(&total), times[15];
    enum { RUNS = 15 };
    setenv("FORTY_DEVICE_RECOMPUTE", "none", 1); /* the opponent keeps its activations, too */
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
    printf("{\"who\": \"forty\", \"model\": \"%s\", \"batch\": %lld, \"precision\": \"%s\", \"train\": %s, \"ms\": %.4f, "
           "\"fastest_ms\": %.4f, \"slowest_ms\": %.4f, \"mib\": %.1f, \"plan_mib\": %.1f, \"nodes\": %d, \"gmac\": %.3f, "
           "\"moved_mib\": %.1f}\n",
           name, (long long)batch, dtype ? "bf16" : "f32", train ? "true" : "false", 1000 * times[RUNS / 2], 1000 * times[0],
           1000 * times[RUNS - 1], before - ft_backend_cuda.device->memory(&total),
           (double)(d.act_bytes + d.work_bytes) / 1048576.0, d.nodes, d.products / 1e9, (double)d.moved_bytes / 1048576.0);
    say_choices(stderr);
    drop(&q);
    return 0;
}

static int profile(const char *name, int64_t batch, ft_dtype dtype)
{
    problem q;
    ft_step step = {7, 0, 1e-4f, 0.9f, 0};
    setenv("FORTY_DEVICE_RECOMPUTE", "none", 1);
    setenv("FORTY_CUDA_GRAPH", "0", 1);
    if (make(&q, name, batch, dtype, true) < 0) return fail(name, ft_error_message());
    for (; step.step < 13; step.step++) {
        if (step.step == 3) ft_plan_profile_on(q.plan);
        if (ft_run(q.plan, &step) < 0) return fail(name, ft_error_message());
    }
    fprintf(stderr, "%s:%lld\n", name, (long long)batch);
    ft_plan_profile(q.plan);
    drop(&q);
    return 0;
}

/* Weights, average and moments of a run that was ended, in one file: it appears whole or not at all. */
static bool carry(problem *q, const char *path, bool save, int64_t *step)
{
    char temp[1000];
    int64_t size = ft_params_flat_size(q->params), trained = ft_params_trained_size(q->params);
    snprintf(temp, sizeof temp, "%s.partial", path);
    FILE *f = fopen(save ? temp : path, save ? "wb" : "rb");
    if (!f) return false;
    bool fine = (save ? fwrite(step, sizeof *step, 1, f) : fread(step, sizeof *step, 1, f)) == 1;
    for (int i = 0; fine && i < 4; i++) {
        float *part = i < 2 ? ft_params_flat(q->params, (ft_bank)i) : ft_params_moment(q->params, i - 2);
        size_t n = (size_t)(i < 2 ? size : trained);
        fine = part && (save ? fwrite(part, sizeof *part, n, f) : fread(part, sizeof *part, n, f)) == n;
    }
    fine = fclose(f) == 0 && fine;
    if (!save) ft_params_touched(q->params);
    return fine && (!save || rename(temp, path) == 0);
}

static int steps(const char *name, int64_t batch, ft_dtype dtype, int64_t n, const char *path)
{
    enum { SAVE_EVERY = 5 };
    problem q;
    ft_step step = {7, 0, 1e-4f, 0.9f, 0};
    if (make(&q, name, batch, dtype, true) < 0) return fail(name, ft_error_message());
    bool resumed = carry(&q, path, false, &step.step);
    while (step.step < n) {
        if (ft_run(q.plan, &step) < 0) return fail(name, ft_error_message());
        step.step++;
        if (step.step % SAVE_EVERY == 0 && !carry(&q, path, true, &step.step)) return fail(name, "its state cannot be written");
    }
    const unsigned char *w = (const unsigned char *)ft_params_flat(q.params, FT_WEIGHTS);
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (size_t i = 0; i < (size_t)ft_params_flat_size(q.params) * sizeof(float); i++) h = (h ^ w[i]) * 1099511628211u;
    printf("%s:%lld %s after %lld steps%s: %016llx\n", name, (long long)batch, dtype ? "bf16" : "f32", (long long)n,
           resumed ? ", resumed" : "", (unsigned long long)h);
    drop(&q);
    return 0;
}

static bool named(int argc, char **argv, const char *name) /* by the arguments behind the verb; none: all */
{
    for (int i = 2; i < argc; i++)
        if (!strcmp(argv[i], name)) return true;
    return argc == 2;
}

int main(int argc, char **argv)
{
    static const char *const small[] = {"x3d-tiny",     "timesformer-tiny", "r2plus1d-tiny", "vae-tiny",
                                        "medsora-tiny", "feat-tiny",        "endora-tiny",   "lvdm-tiny"};
    int bad = 0, shard = 0, shards = 1;
    const char *verb = argc > 1 ? argv[1] : "", *part = getenv("SHARD");
    ft_dtype dtype = argc > 4 && !strcmp(argv[4], "bf16") ? FT_BF16 : FT_F32;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (ft_backend_cuda.device->start(0) < 0) return fail("the device", ft_error_message());
    fprintf(stderr, "%s\n", ft_backend_cuda.device->describe());
    ft_backend_use(&ft_backend_cuda);
    if (getenv("FORTY_DEVICE_CHOICES")) { /* a folder: algorithms are those that the first process chose */
        ft_choices_keep(getenv("FORTY_DEVICE_CHOICES"));
        ft_backend_cuda.device->agree(ft_choices_agree, NULL);
    }
    if (argc == 5 && !strcmp(verb, "bench")) return bench(argv[2], atoll(argv[3]), dtype, true);
    if (argc == 5 && !strcmp(verb, "forward")) return bench(argv[2], atoll(argv[3]), dtype, false);
    if (argc == 5 && !strcmp(verb, "profile")) return profile(argv[2], atoll(argv[3]), dtype);
    if (argc == 7 && !strcmp(verb, "steps")) return steps(argv[2], atoll(argv[3]), dtype, atoll(argv[5]), argv[6]);
    if (argc == 2 && !strcmp(verb, "doctor")) {
        bad = compare("doctor", FT_F32) + compare("doctor", FT_BF16);
        say_choices(stdout);
        return bad != 0;
    }
    bool once = !strcmp(verb, "small");
    if (!once && strcmp(verb, "parity")) {
        fprintf(stderr, "usage: device_models doctor | parity [NAME...] | small [NAME...] | bench, forward or profile NAME BATCH "
                        "f32|bf16 | steps NAME BATCH f32|bf16 N STATE\n");
        return 2;
    }
    if (part && sscanf(part, "%d/%d", &shard, &shards) != 2) shard = 0, shards = 1;
    int at = 0;
    for (size_t i = 0; i < sizeof small / sizeof *small; i++) {
        if (!named(argc, argv, small[i])) continue;
        for (ft_dtype d = FT_F32; d <= FT_BF16; d++) {
            if (at++ % shards != shard) continue;
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
    say_choices(stdout);
    printf("%d failed\n", bad);
    return bad != 0;
}
