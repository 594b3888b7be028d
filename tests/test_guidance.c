/* Classes that generators are told of: which labels are left out, which rows of the embedding learn; guidance by them and by weak
 * weights against the network's two passes; presets' rates. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/graph/graph.h"
#include "common/io/safetensors.h"
#include "gen/generator.h"
#include "gen/sampler.h"
#include "golden_value.h"
#include "tree.h"

static char dir[] = "/tmp/forty-conditions-XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[4][200];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

enum { CLIPS = 8, FRAMES = 8, SIZE = 16, CLASSES = 2 };
static const char *const names[CLASSES] = {"normal", "polyp"};

/* a store of eight clips, a VAE of two steps, its latents: once, for all tests */
static ft_clipstore store;
static ft_clip_pool pool;
static int64_t pick[CLIPS];
static ft_config *cfg;

static void set(const char *what) { assert_int_equal(ft_config_set(cfg, what, "test"), FT_OK); }

static int set_up(void **state)
{
    (void)state;
    ft_clipwriter *w;
    static uint8_t pixels[FRAMES * SIZE * SIZE * 3];
    if (!mkdtemp(dir) || ft_clipwriter_open(&w, in_dir("p.h5"), &(ft_clipwriter_opt){.frames = FRAMES, .size = SIZE}) < 0)
        return -1;
    for (int k = 0; k < CLIPS; k++) {
        char name[20];
        snprintf(name, sizeof name, "video-%d", k);
        for (size_t i = 0; i < sizeof pixels; i++) pixels[i] = (uint8_t)(128 + 100 * sin(0.01 * (k + 1) * (double)i));
        int v = ft_clipwriter_video(w, &(ft_store_video){.name = name, .group = name, .frames = FRAMES, .fps = 8});
        if (v < 0 || ft_clipwriter_clip(w, v, 0, 1, pixels) < 0) return -1;
    }
    if (ft_clipwriter_finish(w) < 0) return -1;
    for (int i = 0; i < CLIPS; i++) pick[i] = i;
    pool = (ft_clip_pool){&store, pick, CLIPS};
    if (ft_clipstore_read(&store, in_dir("p.h5")) < 0 || ft_config_new(&cfg) < 0) return -1;
    set("precision=f32"), set("vae.steps=2"), set("vae.batch=2"), set("generator.steps=4"), set("generator.batch=2");
    if (ft_vae_train(cfg, &pool, in_dir("vae"), 0, false) < 0) return -1;
    return ft_vae_encode_pool(cfg, in_dir("vae"), &pool, in_dir("latents"));
}

static int tear_down(void **state)
{
    (void)state;
    ft_config_free(cfg);
    ft_clipstore_free(&store);
    return remove_tree(dir);
}

/* a tenth of the labels, each draw by itself: within four standard deviations of 100,000 */
static void test_share(void **state)
{
    (void)state;
    enum { N = 100000 };
    int dropped = 0, again = 0;
    for (int64_t i = 0; i < N; i++) {
        dropped += ft_label_dropped(3, i, 0.1);
        again += ft_label_dropped(3, i, 0.1) && ft_label_dropped(3, i + 1, 0.1);
        assert_false(ft_label_dropped(3, i, 0));
        assert_true(ft_label_dropped(3, i, 1));
    }
    assert_true(fabs(dropped - 0.1 * N) < 4 * sqrt(N * 0.1 * 0.9));
    assert_true(fabs(again - 0.01 * N) < 4 * sqrt(N * 0.01 * 0.99) * 2); /* neighbours share a draw: twice the variance at most */
}

/* how far the rows of the embedding went from where they began: trained with this share left out, on these labels */
static void moved(const char *preset, const char *table, const char *drop, const int *of_clip, double row[CLASSES + 1])
{
    char name[100], text[60];
    ft_safetensors st;
    snprintf(text, sizeof text, "generator.class_drop=%s", drop);
    set(text);
    ft_conditions told = {names, CLASSES, of_clip, NULL};
    const char *run = in_dir("run");
    if (ft_generator_train(cfg, preset, &pool, &told, NULL, in_dir("vae"), in_dir("latents"), NULL, run, 5, false) < 0)
        fail_msg("%s", ft_error_message());
    char path[300];
    snprintf(path, sizeof path, "%s/weights.safetensors", run);
    assert_int_equal(ft_safetensors_read(&st, path), FT_OK);
    snprintf(name, sizeof name, "%s.weight", table);
    const ft_st_tensor *w = ft_safetensors_find(&st, name);
    assert_non_null(w);
    assert_int_equal(w->dim[0], CLASSES + 1);
    int64_t wide = w->dim[1];
    float *now = ft_alloc_n(w->count, sizeof *now);
    assert_int_equal(ft_safetensors_f32(w, now), FT_OK);
    ft_params *p = ft_params_new(5); /* the same seed: what it began with */
    ft_graph *g = ft_graph_new(p, FT_F32, 0);
    ft_class_embedding(g, table, ft_input(g, "label", FT_F32, 2, (int64_t[]){1, CLASSES + 1}), wide);
    assert_int_equal(ft_params_seal(p), FT_OK);
    const float *was = ft_params_flat(p, FT_WEIGHTS) + ft_params_at(p, 0)->offset;
    for (int k = 0; k <= CLASSES; k++) {
        row[k] = 0;
        for (int64_t i = 0; i < wide; i++) row[k] += fabs((double)now[k * wide + i] - (double)was[k * wide + i]);
    }
    ft_graph_free(g);
    ft_params_free(p);
    ft_free(now);
    ft_safetensors_free(&st);
    assert_int_equal(remove_tree(run), 0);
}

/* a row learns when, and only when, a clip is told so */
static void test_rows(void **state)
{
    (void)state;
    static const int both[CLIPS] = {0, 1, 0, 1, 0, 1, 0, 1}, one[CLIPS] = {0, 0, 0, 0, -1, -1, -1, -1};
    double row[CLASSES + 1];
    moved("endora-tiny", "y_embedder.embedding_table", "0", both, row);
    assert_true(row[0] > 0 && row[1] > 0 && row[2] == 0);
    moved("endora-tiny", "y_embedder.embedding_table", "1", both, row);
    assert_true(row[0] == 0 && row[1] == 0 && row[2] > 0);
    moved("lvdm-tiny", "label_emb", "0", one, row);
    assert_true(row[0] > 0 && row[1] == 0 && row[2] > 0);
}

/* ---- guidance -------------------------------------------------------------------------------------------------------------- */

/* The first n clips of a network with weights by formula, as the settings have it; weak: may be NULL */
static void sample(ft_params *p, ft_params *weak, const ft_latents *l, int class, int64_t n, uint8_t *pixels)
{
    ft_generator_sampler *s;
    if (ft_generator_sampler_new(&s, cfg, "endora-tiny", p, weak, in_dir("vae"), l, FRAMES, SIZE,
                                 (ft_sampled_class){CLASSES, class}) < 0)
        fail_msg("%s", ft_error_message());
    assert_int_equal(ft_generator_sampler_clips(s, 9, 0, n, pixels), FT_OK);
    ft_generator_sampler_free(s);
}

typedef struct {
    ft_graph *g;
    ft_plan *plan;
    ft_t z, t, label;
    ft_prediction y;
} network;

static void network_new(network *u, ft_params *p, const ft_latents *l)
{
    int64_t dim[5] = {FT_SAMPLE_BATCH, l->dim[1], l->dim[2], l->dim[3], l->z};
    u->g = ft_graph_new(p, FT_F32, 0);
    ft_training(u->g, false);
    u->z = ft_input(u->g, "z", FT_F32, 5, dim);
    u->t = ft_input(u->g, "t", FT_F32, 1, dim);
    u->label = ft_input(u->g, "label", FT_F32, 2, (int64_t[]){FT_SAMPLE_BATCH, CLASSES + 1});
    u->y = ft_generator_predict(u->g, "endora-tiny", cfg, u->z, l->dim[1], (ft_told){u->t, u->label});
    ft_keep(u->y.eps);
    assert_null(ft_graph_error(u->g));
}

/* weights by formula: training from scratch begins with predictions that look at no class. Others for each `part` of them. */
static void fill(ft_params *p, uint32_t part)
{
    assert_int_equal(ft_params_seal(p), FT_OK);
    for (int bank = 0; bank < 2; bank++)
        for (int i = 0; i < ft_params_count(p); i++) {
            const ft_param_info *e = ft_params_at(p, i);
            float *v = ft_params_flat(p, bank ? FT_EMA : FT_WEIGHTS) + e->offset;
            double size = e->ndim >= 2 ? pow((double)(e->count / e->dim[0]), -0.5) : 0.2;
            for (int64_t k = 0; k < e->count && e->trained; k++)
                v[k] = (float)(size * (double)value(crc32_of(e->name) + part, k));
        }
    ft_params_touched(p);
}

static void passes(network *u, int class, float *eps)
{
    for (int b = 0; b < FT_SAMPLE_BATCH; b++) {
        ft_label_row(u->label, b, class);
        ((float *)ft_data(u->t))[b] = FT_T - 1;
    }
    assert_int_equal(ft_run(u->plan, &(ft_step){0}), FT_OK);
    memcpy(eps, ft_data(u->y.eps), (size_t)ft_count(u->z) * sizeof *eps);
}

/* what one step of DDIM makes of the prediction of class 1, s times away from what `other` says, told `class`: clip 0 */
static void by_hand(network *u, network *other, int class, const ft_latents *l, double s, uint8_t *pixels)
{
    int64_t n = ft_count(u->z), each = n / FT_SAMPLE_BATCH;
    float *none = ft_alloc_n(n, sizeof *none), *told = ft_alloc_n(n, sizeof *told);
    double a = sqrt(ft_alpha_bar(FT_BETA_LINEAR)[FT_T - 1]), sigma = sqrt(1 - a * a);
    ft_clip_noise(9, 0, 0, each, ft_data(u->z), n);
    memmove(ft_data(other->z), ft_data(u->z), (size_t)n * sizeof *none);
    passes(other, class, none);
    passes(u, 1, told);
    assert_memory_not_equal(none, told, (size_t)n * sizeof *none);
    ft_vae_runner r;
    assert_int_equal(ft_vae_runner_new(&r, cfg, in_dir("vae"), FT_VAE_DECODE, 1, FRAMES, SIZE), FT_OK);
    for (int64_t i = 0; i < each; i++) {
        double e = (double)none[i] + s * ((double)told[i] - (double)none[i]);
        float x0 = (float)(((double)((float *)ft_data(u->z))[i] - sigma * (s == 1 ? (double)told[i] : e)) / a);
        ((float *)ft_data(r.in))[i] = x0 * l->channel[l->z + i % l->z] + l->channel[i % l->z];
    }
    assert_int_equal(ft_run(r.plan, &(ft_step){0}), FT_OK);
    ft_to_pixels(pixels, ft_data(r.out), ft_count(r.out));
    ft_vae_runner_free(&r);
    ft_free(none);
    ft_free(told);
}

static void test_guidance(void **state)
{
    (void)state;
    enum { CLIP = FRAMES * SIZE * SIZE * 3 };
    static uint8_t hand[4][CLIP], made[CLIP], turn[2 * CLIP];
    static const char *const scale[] = {"generator.class_guidance=1", "generator.class_guidance=2",
                                        "generator.class_guidance=3.5"};
    static const double s[] = {1, 2, 3.5};
    ft_latents l;
    network u;
    assert_int_equal(ft_latents_read(&l, cfg, in_dir("latents"), in_dir("latents")), FT_OK);
    ft_params *p = ft_params_new(0);
    network_new(&u, p, &l);
    fill(p, 0);
    assert_int_equal(ft_plan_new(&u.plan, u.g, FT_EMA), FT_OK);
    set("generator.sampler=ddim"), set("generator.sample_steps=1");
    for (int i = 0; i < 3; i++) { /* bit for bit */
        set(scale[i]);
        by_hand(&u, &u, -1, &l, s[i], hand[i]);
        sample(p, NULL, &l, 1, 1, made);
        assert_memory_equal(made, hand[i], CLIP);
        assert_true(i == 0 || memcmp(hand[i], hand[i - 1], CLIP));
    }
    set("generator.class_until=1"); /* the only step has more noise: the class alone */
    sample(p, NULL, &l, 1, 1, made);
    assert_memory_equal(made, hand[0], CLIP);
    set("generator.class_until=0"), set("generator.class_from=1000");
    sample(p, NULL, &l, 1, 1, made);
    assert_memory_equal(made, hand[0], CLIP);
    set("generator.class_from=100");
    sample(p, NULL, &l, 1, 1, made);
    assert_memory_equal(made, hand[2], CLIP);
    set("generator.sample_steps=4"), set("generator.class_from=0"); /* some steps lean, others do not */
    static uint8_t some[CLIP], all[CLIP], none_[CLIP];
    sample(p, NULL, &l, 1, 1, all);
    set("generator.class_until=10");
    sample(p, NULL, &l, 1, 1, some);
    set("generator.class_guidance=1");
    sample(p, NULL, &l, 1, 1, none_);
    assert_memory_not_equal(some, all, CLIP);
    assert_memory_not_equal(some, none_, CLIP);
    set("generator.class_guidance=3.5"), set("generator.class_until=0"), set("generator.sample_steps=1");
    sample(p, NULL, &l, -1, 2, turn); /* every class in turn: clip 1 of class 1 is that of a store of class 1 */
    static uint8_t pair[2 * CLIP];
    sample(p, NULL, &l, 1, 2, pair);
    assert_memory_equal(turn + CLIP, pair + CLIP, CLIP);
    assert_memory_not_equal(turn, pair, CLIP);
    ft_generator_sampler *none;
    assert_int_equal(
        ft_generator_sampler_new(&none, cfg, "endora-tiny", p, NULL, in_dir("vae"), &l, FRAMES, SIZE, (ft_sampled_class){0, -1}),
        FT_ECONFIG);
    ft_plan_free(u.plan);
    ft_graph_free(u.g);
    ft_params_free(p);
    ft_latents_free(&l);
}

/* The same away from other weights, told the same class; of a scale of 1 and in noise that is out of reach, no bit is another. */
static void test_autoguidance(void **state)
{
    (void)state;
    enum { CLIP = FRAMES * SIZE * SIZE * 3 };
    static uint8_t hand[CLIP], made[CLIP], plain[CLIP], some[CLIP];
    ft_latents l;
    network u, v;
    ft_params *p = ft_params_new(0), *weak = ft_params_new(0);
    ft_generator_sampler *none;
    assert_int_equal(ft_latents_read(&l, cfg, in_dir("latents"), in_dir("latents")), FT_OK);
    network_new(&u, p, &l), network_new(&v, weak, &l);
    fill(p, 0), fill(weak, 1);
    assert_int_equal(ft_plan_new(&u.plan, u.g, FT_EMA), FT_OK);
    assert_int_equal(ft_plan_new(&v.plan, v.g, FT_WEIGHTS), FT_OK);
    set("generator.class_guidance=1"), set("generator.sampler=ddim"), set("generator.sample_steps=1");
    set("generator.autoguidance=2.5"), set("generator.autoguidance_until=0");
    by_hand(&u, &v, 1, &l, 2.5, hand);
    sample(p, weak, &l, 1, 1, made);
    assert_memory_equal(made, hand, CLIP);
    by_hand(&u, &v, 1, &l, 1, hand);
    assert_memory_not_equal(made, hand, CLIP);
    set("generator.autoguidance_until=1"); /* the only step has more noise */
    sample(p, weak, &l, 1, 1, plain);
    assert_memory_equal(plain, hand, CLIP);
    set("generator.autoguidance_until=0"), set("generator.autoguidance=1");
    sample(p, weak, &l, 1, 1, plain);
    assert_memory_equal(plain, hand, CLIP);
    set("generator.autoguidance=2.5");
    sample(p, NULL, &l, 1, 1, plain); /* no weak weights: a sheet of a training */
    assert_memory_equal(plain, hand, CLIP);
    set("generator.sample_steps=4"); /* some steps lean, others do not */
    sample(p, weak, &l, 1, 1, made);
    sample(p, NULL, &l, 1, 1, plain);
    set("generator.autoguidance_until=10");
    sample(p, weak, &l, 1, 1, some);
    assert_memory_not_equal(some, made, CLIP);
    assert_memory_not_equal(some, plain, CLIP);
    set("generator.class_guidance=2");
    assert_int_equal(ft_generator_sampler_new(&none, cfg, "endora-tiny", p, weak, in_dir("vae"), &l, FRAMES, SIZE,
                                              (ft_sampled_class){CLASSES, -1}),
                     FT_ECONFIG);
    set("generator.class_guidance=1"), set("generator.autoguidance=1"), set("generator.autoguidance_until=1");
    for (int i = 0; i < 2; i++) {
        network *w = i ? &v : &u;
        ft_plan_free(w->plan);
        ft_graph_free(w->g);
    }
    ft_params_free(p);
    ft_params_free(weak);
    ft_latents_free(&l);
}

/* a preset's own rate, unless generator.lr says one */
static void test_rates(void **state)
{
    (void)state;
    assert_true(ft_generator_options(cfg, "forty-tiny").lr == 0.002);
    assert_true(ft_generator_options(cfg, "forty-base").lr == 0.064 / 128);
    assert_true(ft_generator_options(cfg, "endora-tiny").lr == 0.001);
    set("generator.lr=0.02");
    assert_true(ft_generator_options(cfg, "forty-tiny").lr == 0.02);
    assert_true(ft_generator_options(cfg, "endora-tiny").lr == 0.02);
    set("generator.lr=0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_share), cmocka_unit_test(test_rows), cmocka_unit_test(test_guidance),
                                       cmocka_unit_test(test_autoguidance), cmocka_unit_test(test_rates)};
    return cmocka_run_group_tests_name("guidance", tests, set_up, tear_down);
}
