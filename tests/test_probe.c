/* Probes: logistic regression beside scikit-learn's (golden/make_golden_logistic.py), the choice of its penalty, and features of
 * clips in their views. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/clip_features.h"
#include "classify/logistic.h"
#include "classify/predictor.h"
#include "common/base/files.h"
#include "common/base/status.h"
#include "common/io/weights.h"
#include "golden_value.h"
#include "tree.h"

/* ---- logistic regression --------------------------------------------------------------------------------------------------- */

typedef struct {
    ft_rows rows;
    float *x;
    int *label, *group;
    double *weight;
} data;

static data data_of(uint32_t stream, int64_t n, int64_t d, int classes)
{
    data a = {.x = malloc((size_t)(n * d) * sizeof(float)),
              .label = malloc((size_t)n * sizeof(int)),
              .group = malloc((size_t)n * sizeof(int)),
              .weight = malloc((size_t)n * sizeof(double))};
    for (int64_t i = 0; i < n; i++) {
        a.label[i] = (int)(i % classes), a.group[i] = (int)i, a.weight[i] = 0.5 + (double)(i % 5) / 4;
        for (int64_t k = 0; k < d; k++) a.x[i * d + k] = value(stream, i * d + k);
        a.x[i * d] += (float)a.label[i];
    }
    a.rows = (ft_rows){a.x, a.label, a.group, a.weight, n, d, classes};
    return a;
}

static void data_free(data *a)
{
    free(a->x);
    free(a->label);
    free(a->group);
    free(a->weight);
}

static void test_logistic(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t n, d;
        int classes;
        double strength;
    } list[] = {{"wide", 40, 200, 2, 0.1}, {"strong", 40, 200, 2, 100}, {"tall", 200, 12, 2, 1},
                {"three", 45, 60, 3, 0.5}, {"many", 400, 400, 2, 0.05}, {"many-three", 400, 150, 3, 0.2}};
    ft_safetensors golden;
    assert_int_equal(ft_safetensors_read(&golden, FT_TEST_DIR "/golden/logistic.safetensors"), FT_OK);
    for (size_t t = 0; t < sizeof list / sizeof *list; t++) {
        int64_t n = list[t].n, d = list[t].d;
        int C = list[t].classes;
        data a = data_of(crc32_of(list[t].name), n, d, C);
        double *w = malloc((size_t)(C * (d + 1)) * sizeof *w), *b = w + C * d;
        assert_int_equal(ft_logistic_fit(&a.rows, list[t].strength, w, b), FT_OK);
        const float *want = ft_safetensors_find(&golden, list[t].name)->data;
        for (int64_t i = 0; i < n; i++) {
            double z[3], sum = 0;
            for (int c = 0; c < C; c++) {
                z[c] = b[c];
                for (int64_t k = 0; k < d; k++) z[c] += w[c * d + k] * (double)a.x[i * d + k];
                sum += exp(z[c]);
            }
            for (int c = 0; c < C; c++)
                if (!(fabs(exp(z[c]) / sum - (double)want[i * C + c]) < 1e-5)) /* both stop within that of the optimum */
                    fail_msg("%s: row %lld has %.7f, scikit-learn %.7f", list[t].name, (long long)i, exp(z[c]) / sum,
                             (double)want[i * C + c]);
        }
        free(w);
        data_free(&a);
    }
    ft_safetensors_free(&golden);
}

/* Rows of a group show the same: parted, they would be learned by heart and a weak penalty would win. */
static void test_choice(void **state)
{
    (void)state;
    static const double grid[] = {1e-4, 1e-2, 1, 100, 1e4};
    enum { GROUPS = 20, OF = 4, D = 100 };
    for (int parted = 0; parted < 2; parted++) {
        data a = data_of(7, GROUPS * OF, D, 2);
        double strength;
        for (int64_t i = 0; i < GROUPS * OF; i++) {
            int64_t g = i / OF;
            a.label[i] = (int)(g % 2), a.group[i] = parted ? (int)i : (int)g;
            for (int64_t k = 0; k < D; k++) a.x[i * D + k] = value(7, g * D + k) + 0.1f * value(8, i * D + k);
        }
        assert_int_equal(ft_logistic_choose(&a.rows, grid, 5, 1, &strength, NULL), FT_OK);
        if (parted) assert_true(strength >= 1);
        else assert_true(strength <= 1e-2); /* labels are noise */
        data_free(&a);
    }
    data one = data_of(3, 5, 4, 2); /* a class of one group: nothing can be held out of it */
    double strength;
    for (int i = 0; i < 5; i++) one.label[i] = i == 0;
    assert_int_equal(ft_logistic_choose(&one.rows, grid, 5, 1, &strength, NULL), FT_OK);
    assert_true(strength == 1);
    data_free(&one);
}

/* ---- features ---------------------------------------------------------------------------------------------------------------
 */

static char dir[64];
static const char *in(const char *name) { return path_in(dir, name); }

static void run(const char *command)
{
    char line[700];
    snprintf(line, sizeof line, "cd %s && %s %s >/dev/null 2>err", dir, FT_PROGRAM, command);
    if (system(line) != 0) fail_msg("forty %s failed", command);
}

static void set(ft_config *cfg, const char *key, const char *v)
{
    char text[300];
    snprintf(text, sizeof text, "%s=%s", key, v);
    assert_int_equal(ft_config_set(cfg, text, "test"), FT_OK);
}

static int make(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/forty-probe-XXXXXX");
    if (!mkdtemp(dir)) return -1;
    run("phantom -o p.h5 --videos 6 --size 32 --frames 8");
    run("init x3d-tiny -o x3d.safetensors");
    return 0;
}
static int clean(void **state)
{
    (void)state;
    remove_tree(dir);
    return 0;
}

/* Views that an interrupted call left are taken as they are; those that are not whole are made again. */
static void go_on(ft_backbone *b, const ft_clipstore *s, const bool *viewed, const ft_clip_features *before)
{
    ft_clip_features f;
    int64_t each = ft_clip_features_each(before);
    float *part = calloc((size_t)(3 * each), sizeof *part);
    for (int64_t i = 0; i < 3 * each; i++) part[i] = 7;
    ft_st_tensor t = {.name = "seen",
                      .dtype = "F32",
                      .ndim = 4,
                      .dim = {3, before->dim[0], before->dim[1], before->dim[2]},
                      .count = 3 * each,
                      .data = part,
                      .bytes = (size_t)(3 * each) * 4};
    assert_int_equal(ft_safetensors_write(in("f.safetensors.w1"), &t, 1, NULL), FT_OK);
    t.dim[0] = 2, t.count = 2 * each, t.bytes = (size_t)t.count * 4;
    assert_int_equal(ft_safetensors_write(in("f.safetensors.s0"), &t, 1, NULL), FT_OK);
    assert_int_equal(ft_clip_features_make(b, s, viewed, 2, FT_VIEWS_DIHEDRAL, in("f.safetensors")), FT_OK);
    assert_int_equal(ft_clip_features_read(&f, in("f.safetensors"), 6), FT_OK);
    for (int64_t v = 0; v < 3; v++) {
        assert_memory_equal(f.weak + (2 * v + 1) * each, part, (size_t)each * sizeof *part);
        assert_memory_equal(f.weak + 2 * v * each, before->weak + 2 * v * each, (size_t)each * sizeof *part);
    }
    assert_memory_equal(f.strong, before->strong, (size_t)(6 * each) * sizeof *part);
    assert_memory_equal(f.clean, before->clean, (size_t)(6 * each) * sizeof *part);
    assert_false(ft_exists(in("f.safetensors.w1")));
    ft_clip_features_free(&f);
    free(part);
}

static int open_backbone(ft_backbone **b, const ft_config *cfg)
{
    ft_backbone_opt o = ft_backbone_options(cfg);
    return ft_backbone_open(b, &o, 8, 32);
}

static void test_features(void **state)
{
    (void)state;
    ft_config *cfg;
    ft_clipstore s;
    ft_backbone *b;
    ft_clip_features f;
    int64_t dim[3], clip[] = {4, 1};
    bool viewed[6] = {false, true, false, false, true, true};
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    set(cfg, "precision", "f32");
    assert_int_equal(open_backbone(&b, cfg), FT_ECONFIG); /* no network */
    set(cfg, "features.model", "x3d-tiny");
    assert_int_equal(open_backbone(&b, cfg), FT_ECONFIG); /* no weights */
    set(cfg, "features.weights", in("x3d.safetensors"));
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    assert_int_equal(open_backbone(&b, cfg), FT_OK);
    ft_backbone_shape(b, dim);
    assert_int_equal(dim[0] * dim[1], 1);
    assert_int_equal(ft_clip_features_make(b, &s, viewed, 2, FT_VIEWS_DIHEDRAL, in("f.safetensors")), FT_OK);
    assert_int_equal(ft_clip_features_read(&f, in("f.safetensors"), 7), FT_EDATA); /* of another store */
    assert_int_equal(ft_clip_features_read(&f, in("f.safetensors"), 6), FT_OK);
    assert_int_equal(f.m, 3);
    assert_null(ft_clip_features_view(&f, 0, false, 0));
    assert_false(ft_exists(in("f.safetensors.c0")));
    assert_false(ft_exists(in("f.safetensors.s1")));
    go_on(b, &s, viewed, &f);
    /* the same as the backbone sees, clip by clip, as it is and in its views */
    float *seen = malloc((size_t)(2 * dim[2]) * sizeof *seen), cutout[3 * 8];
    for (int kind = 0; kind < 3; kind++) {
        ft_look look[2];
        for (int i = 0; i < 2; i++) {
            ft_draw_view(kind == 2, FT_VIEWS_DIHEDRAL, 8, 32, 0xFEA, 1, (uint32_t)clip[i], look[i].view, cutout);
            memcpy(look[i].cutout, cutout, sizeof look[i].cutout);
        }
        assert_int_equal(ft_backbone_run(b, &s, clip, kind ? look : NULL, 2, seen), FT_OK);
        for (int i = 0; i < 2; i++) {
            const float *kept = kind ? ft_clip_features_view(&f, clip[i], kind == 2, 1) : ft_clip_features_at(&f, clip[i]);
            assert_memory_equal(kept, seen + i * dim[2], (size_t)dim[2] * sizeof *seen);
        }
    }
    assert_memory_not_equal(ft_clip_features_at(&f, 4), ft_clip_features_view(&f, 4, false, 1), (size_t)dim[2] * sizeof *seen);
    free(seen);
    ft_clip_features_free(&f);
    ft_backbone_free(b);
    ft_clipstore_free(&s);
    ft_config_free(cfg);
}

/* A network of pictures looks at the first and the last of two frames, and at the class token and a grid of its patches. */
static void test_pictures(void **state)
{
    (void)state;
    ft_config *cfg;
    ft_clipstore s;
    ft_backbone *b;
    int64_t dim[3], zero = 0;
    run("init dino-vits16 -o dino.safetensors");
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    set(cfg, "precision", "f32");
    set(cfg, "features.model", "dino-vits16");
    set(cfg, "features.weights", in("dino.safetensors"));
    set(cfg, "features.size", "32");
    set(cfg, "features.frames", "2");
    set(cfg, "features.grid", "2");
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    assert_int_equal(open_backbone(&b, cfg), FT_OK);
    ft_backbone_shape(b, dim);
    assert_int_equal(dim[0], 2);
    assert_int_equal(dim[1], 5);
    assert_int_equal(dim[2], 384);
    float *one = malloc(2 * 5 * 384 * sizeof *one), *two = malloc(2 * 5 * 384 * sizeof *two);
    assert_int_equal(ft_backbone_run(b, &s, &zero, NULL, 1, one), FT_OK);
    int64_t frame = 32 * 32 * 3;
    memset(s.pixels + frame, 0, (size_t)(6 * frame)); /* what lies between is not looked at */
    assert_int_equal(ft_backbone_run(b, &s, &zero, NULL, 1, two), FT_OK);
    assert_memory_equal(one, two, 2 * 5 * 384 * sizeof *one);
    memset(s.pixels + 7 * frame, 0, (size_t)frame);
    assert_int_equal(ft_backbone_run(b, &s, &zero, NULL, 1, two), FT_OK);
    assert_memory_equal(one, two, 5 * 384 * sizeof *one);
    assert_memory_not_equal(one + 5 * 384, two + 5 * 384, 5 * 384 * sizeof *one);
    ft_backbone_free(b);
    set(cfg, "features.size", "40");
    assert_int_equal(open_backbone(&b, cfg), FT_ECONFIG); /* not whole patches */
    free(one);
    free(two);
    ft_clipstore_free(&s);
    ft_config_free(cfg);
}

/* What a trained classifier says of the store's six clips: of all at once, and again of the last four, by one opened network. */
static void predict(const char *run, const ft_classifier_info *info, const ft_clipstore *s, const ft_clip_features *f,
                    const int64_t *clip, float *prob)
{
    ft_predictor *p;
    float again[16], alone[16];
    if (ft_predictor_open(&p, run, info, s, f) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_predictor_run(p, clip, 6, prob), FT_OK);
    assert_int_equal(ft_predictor_run(p, clip + 2, 4, again), FT_OK);
    ft_predictor_close(p);
    assert_int_equal(ft_predictor_open(&p, run, info, s, f), FT_OK);
    assert_int_equal(ft_predictor_run(p, clip + 2, 4, alone), FT_OK);
    ft_predictor_close(p);
    assert_memory_equal(again, alone, (size_t)(4 * info->n_classes) * sizeof *again);
}

/* Trains a probe on the store's six clips and their made-up features, and gives its answers for them. */
static void answers(const char *model, const char *name, const ft_clipstore *s, const ft_clip_features *f, const int *label,
                    const char *const *classes, int n_classes, int positive, float *prob)
{
    ft_config *cfg;
    ft_training_result r = {0};
    ft_classifier_info info;
    int64_t clip[6] = {0, 1, 2, 3, 4, 5};
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    set(cfg, "precision", "f32"), set(cfg, "classifier.model", model), set(cfg, "classifier.steps", "300");
    set(cfg, "classifier.strength", "0.7"), set(cfg, "classifier.lr", "0.02"), set(cfg, "features.model", "x3d-tiny");
    ft_training_set t = {.store = s,
                         .clip = clip,
                         .label = label,
                         .n = 6,
                         .features = f,
                         .network = "",
                         .classes = classes,
                         .n_classes = n_classes,
                         .watched_store = s,
                         .positive = positive};
    ft_classifier_opt o;
    assert_int_equal(ft_classifier_options(&o, cfg, false), FT_OK);
    if (ft_classifier_train(&o, &t, in(name), 0, false, &r) < 0) fail_msg("%s", ft_error_message());
    ft_classifier_options_free(&o);
    assert_int_equal(ft_classifier_info_read(&info, in(name)), FT_OK);
    assert_int_equal(info.multilabel, positive == FT_MULTILABEL);
    predict(in(name), &info, s, f, clip, prob);
    ft_classifier_info_free(&info);
    ft_config_free(cfg);
}

/* A classifier without settings: what options say by hand, they say as settings do. */
static void test_without_settings(void **state)
{
    (void)state;
    static const char *const names[] = {"no", "yes"};
    static const int label[6] = {0, 1, 0, 1, 0, 1};
    int64_t clip[6] = {0, 1, 2, 3, 4, 5};
    float prob[2][12];
    ft_clipstore s;
    ft_config *cfg;
    ft_classifier_opt o[2] = {{0},
                              {.model = "x3d-tiny",
                               .algorithm = "fixmatch",
                               .batch = 2,
                               .parts = 2,
                               .mu = 2,
                               .steps = 2,
                               .lr = 0.02,
                               .ema = 0.5,
                               .clip = 1,
                               .weight_decay = 0.01,
                               .views = FT_VIEWS_HORIZONTAL,
                               .precision.take = {FT_PRECISION_F32, FT_PRECISION_F32, FT_PRECISION_F32},
                               .ssl = {.threshold = 0.4, .momentum = 0.9, .lambda_u = -1, .alignment = FT_ALIGN_LABELLED}}};
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    assert_int_equal(ft_config_new(&cfg), FT_OK);
    set(cfg, "precision", "f32"), set(cfg, "classifier.model", "x3d-tiny"), set(cfg, "ssl.algorithm", "fixmatch");
    set(cfg, "classifier.batch", "2"), set(cfg, "classifier.accumulate", "2"), set(cfg, "classifier.mu", "2");
    set(cfg, "classifier.steps", "2"), set(cfg, "classifier.lr", "0.02"), set(cfg, "classifier.ema", "0.5");
    set(cfg, "classifier.clip", "1"), set(cfg, "classifier.weight_decay", "0.01"), set(cfg, "classifier.warmup", "0");
    set(cfg, "classifier.augment", "horizontal"), set(cfg, "classifier.dropout", "0"), set(cfg, "ssl.threshold", "0.4");
    set(cfg, "ssl.momentum", "0.9"), set(cfg, "ssl.alignment", "labelled"), set(cfg, "ssl.ramp", "0");
    assert_int_equal(ft_classifier_options(&o[0], cfg, true), FT_OK);
    ft_training_set t = {.store = &s,
                         .clip = clip,
                         .label = label,
                         .n = 6,
                         .unlabelled_store = &s,
                         .unlabelled = clip,
                         .n_unlabelled = 6,
                         .classes = names,
                         .n_classes = 2,
                         .positive = 1};
    for (int k = 0; k < 2; k++) {
        const char *run = in(k ? "by-hand" : "by-settings");
        ft_training_result r = {0};
        ft_classifier_info info;
        if (ft_classifier_train(&o[k], &t, run, 0, false, &r) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_classifier_info_read(&info, run), FT_OK);
        predict(run, &info, &s, NULL, clip, prob[k]);
        ft_classifier_info_free(&info);
    }
    assert_memory_equal(prob[0], prob[1], sizeof prob[0]);
    o[1].parts = 3; /* says what is wrong, without a place */
    assert_int_equal(ft_classifier_train(&o[1], &t, in("by-hand"), 0, false, &(ft_training_result){0}), FT_ECONFIG);
    assert_non_null(strstr(ft_error_message(), "accumulate 3"));
    o[1].parts = 0;
    assert_int_equal(ft_classifier_train(&o[1], &t, in("by-hand"), 0, false, &(ft_training_result){0}), FT_ECONFIG);
    o[1].model = "no-such";
    assert_int_equal(ft_classifier_train(&o[1], &t, in("by-hand"), 0, false, &(ft_training_result){0}), FT_ECONFIG);
    assert_non_null(strstr(ft_error_message(), "no-such"));
    ft_classifier_options_free(&o[0]);
    ft_clipstore_free(&s);
    ft_config_free(cfg);
}

/* A network that drops paths at test draws by the number of a batch: what was asked before changes nothing. */
static void test_drops_at_test(void **state)
{
    (void)state;
    static const char *const names[] = {"no", "yes"};
    static const int label[6] = {0, 1, 0, 1, 0, 1};
    int64_t clip[6] = {0, 1, 2, 3, 4, 5}, same[9] = {0};
    float prob[18];
    ft_clipstore s;
    ft_classifier_info info;
    ft_predictor *p;
    ft_training_result r = {0};
    ft_classifier_opt o = {.model = "timesformer-small",
                           .batch = 2,
                           .parts = 1,
                           .steps = 1,
                           .lr = 0.1,
                           .evaluated = FT_EVAL_DROP_PATH,
                           .precision.take = {FT_PRECISION_F32, FT_PRECISION_F32, FT_PRECISION_F32}};
    ft_training_set t = {.store = &s, .clip = clip, .label = label, .n = 6, .classes = names, .n_classes = 2, .positive = 1};
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    if (ft_classifier_train(&o, &t, in("drops"), 0, false, &r) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_classifier_info_read(&info, in("drops")), FT_OK);
    predict(in("drops"), &info, &s, NULL, clip, prob);
    assert_int_equal(ft_predictor_open(&p, in("drops"), &info, &s, NULL), FT_OK);
    assert_int_equal(ft_predictor_run(p, same, 9, prob), FT_OK);
    assert_memory_not_equal(prob, prob + 16, 2 * sizeof *prob); /* one clip, first of two batches */
    ft_predictor_close(p);
    ft_classifier_info_free(&info);
    ft_clipstore_free(&s);
}

/* A training of two labelled and three generated clips in a step. What of it is left: its last weights, by their names. */
static void told_step(const ft_clipstore *s, double lambda, bool generated, ft_safetensors *weights)
{
    static const char *const names[] = {"no", "yes"};
    static const int label[6] = {0, 1, 0, 1, 0, 1}, taught[3] = {1, 1, 0};
    int64_t clip[6] = {0, 1, 2, 3, 4, 5}, made[3] = {5, 2, 1};
    ft_classifier_opt o = {.model = "x3d-tiny",
                           .batch = 3,
                           .parts = 1,
                           .steps = 1,
                           .lr = 1,
                           .sgd = true,
                           .lambda_g = lambda,
                           .evaluated = FT_EVAL_WEIGHTS,
                           .precision.take = {FT_PRECISION_F32, FT_PRECISION_F32, FT_PRECISION_F32}};
    ft_training_set t = {.store = s,
                         .clip = clip,
                         .label = label,
                         .n = 6,
                         .generated_store = generated ? s : NULL,
                         .generated = made,
                         .generated_label = taught,
                         .n_generated = generated ? 3 : 0,
                         .classes = names,
                         .n_classes = 2,
                         .positive = 1};
    if (ft_classifier_train(&o, &t, in("told"), 3, false, &(ft_training_result){0}) < 0) fail_msg("%s", ft_error_message());
    assert_int_equal(ft_safetensors_read(weights, in("told/weights.safetensors")), FT_OK);
}

/* Generated clips that teach their class, one step of plain gradient descent at the rate 1, so that the weights moved by the
 * gradient: it grows by lambda times that of the clips' own loss, and with lambda = 0 all is as without them. */
static void test_generated_gradient(void **state)
{
    (void)state;
    ft_clipstore s;
    ft_safetensors without, with[3]; /* lambda 0, 1, 2 */
    double moved = 0;
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    told_step(&s, 1, false, &without);
    for (int k = 0; k < 3; k++) told_step(&s, k, true, &with[k]);
    for (int64_t i = 0; i < without.n; i++) {
        const ft_st_tensor *t = &without.tensor[i], *a[3];
        bool statistics = strstr(t->name, "running_") || strstr(t->name, "num_batches");
        for (int k = 0; k < 3; k++) assert_non_null(a[k] = ft_safetensors_find(&with[k], t->name));
        assert_memory_equal(t->data, a[0]->data, t->bytes);
        if (statistics) assert_memory_equal(t->data, a[2]->data, t->bytes); /* of the labelled clips alone */
        for (int64_t j = 0; !statistics && j < t->count; j++) {
            double w[3];
            for (int k = 0; k < 3; k++) w[k] = (double)((const float *)a[k]->data)[j];
            /* the mean gradient of a weight sums some thousand products in f32, each rounded by 2^-24 */
            double room = 1e-4 * (fabs(w[0]) + fabs(w[1]) + fabs(w[2]) + 1e-3);
            if (fabs((w[2] - w[0]) - 2 * (w[1] - w[0])) > room)
                fail_msg("%s[%lld]: %g at lambda 0, %g at 1, %g at 2", t->name, (long long)j, w[0], w[1], w[2]);
            moved = fmax(moved, fabs(w[1] - w[0]));
        }
    }
    assert_true(moved > 1e-2);
    ft_safetensors_free(&without);
    for (int k = 0; k < 3; k++) ft_safetensors_free(&with[k]);
    ft_clipstore_free(&s);
}

/* Rows of a linear probe that generated clips are: scikit-learn's optimum with their weights (make_golden_logistic.py). */
static void test_generated(void **state)
{
    (void)state;
    enum { D = 5 };
    static const char *const names[] = {"no", "yes"};
    static const int label[6] = {0, 1, 0, 1, 0, 1}, taught[4] = {1, 0, 1, 1};
    int64_t clip[6] = {0, 1, 2, 3, 4, 5};
    float x[6 * D], y[4 * D], prob[3][12];
    ft_clipstore s;
    ft_safetensors golden;
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    for (int i = 0; i < 6 * D; i++) x[i] = value(3, i);
    for (int i = 0; i < 4 * D; i++) y[i] = value(9, i);
    ft_clip_features f = {.dim = {1, 1, D}, .n = 6, .clean = x}, of_made = {.dim = {1, 1, D}, .n = 4, .clean = y};
    for (int k = 0; k < 3; k++) { /* with, with lambda = 0, without */
        ft_config *cfg;
        ft_classifier_opt o;
        ft_classifier_info info;
        assert_int_equal(ft_config_new(&cfg), FT_OK);
        set(cfg, "precision", "f32"), set(cfg, "classifier.model", "linear-probe"), set(cfg, "classifier.strength", "0.7");
        set(cfg, "features.model", "x3d-tiny");
        assert_int_equal(ft_classifier_options(&o, cfg, false), FT_OK);
        o.lambda_g = k == 1 ? 0 : 0.5;
        ft_training_set t = {.store = &s,
                             .clip = clip,
                             .label = label,
                             .n = 6,
                             .features = &f,
                             .network = "",
                             .generated_store = k < 2 ? &s : NULL,
                             .generated = clip,
                             .generated_label = taught,
                             .n_generated = k < 2 ? 4 : 0,
                             .generated_features = &of_made,
                             .classes = names,
                             .n_classes = 2,
                             .positive = 1};
        if (ft_classifier_train(&o, &t, in("made"), 0, false, &(ft_training_result){0}) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_classifier_info_read(&info, in("made")), FT_OK);
        predict(in("made"), &info, &s, &f, clip, prob[k]);
        ft_classifier_info_free(&info);
        ft_classifier_options_free(&o);
        ft_config_free(cfg);
    }
    assert_int_equal(ft_safetensors_read(&golden, FT_TEST_DIR "/golden/logistic.safetensors"), FT_OK);
    const float *want = ft_safetensors_find(&golden, "generated")->data;
    for (int i = 0; i < 12; i++)
        if (!(fabs((double)prob[0][i] - (double)want[i]) < 1e-5))
            fail_msg("%d: %.7f, %.7f", i, (double)prob[0][i], (double)want[i]);
    assert_memory_equal(prob[1], prob[2], sizeof prob[1]);
    ft_safetensors_free(&golden);
    ft_clipstore_free(&s);
}

/* Labelled clips that all look alike, and generated ones that tell: what is learned are the classes that these teach. */
static void test_generated_classes(void **state)
{
    (void)state;
    enum { D = 4 };
    static const char *const names[] = {"a", "b", "c"};
    static const int label[3] = {0, 1, 2}, taught[2][6] = {{0, 1, 2, 0, 1, 2}, {2, 0, 1, 2, 0, 1}};
    int64_t clip[6] = {0, 1, 2, 3, 4, 5};
    float x[6 * D] = {0}, y[6 * D], prob[18];
    ft_clipstore s;
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    for (int i = 0; i < 6 * D; i++) y[i] = (float)(i % D == i / D % 3) + 0.1f * value(5, i);
    ft_clip_features f = {.dim = {1, 1, D}, .n = 6, .clean = x}, of_made = {.dim = {1, 1, D}, .n = 6, .clean = y};
    for (int k = 0; k < 2; k++) {
        ft_config *cfg;
        ft_classifier_opt o;
        ft_classifier_info info;
        assert_int_equal(ft_config_new(&cfg), FT_OK);
        set(cfg, "precision", "f32"), set(cfg, "classifier.model", "attentive-probe"), set(cfg, "classifier.steps", "200");
        set(cfg, "classifier.batch", "6"), set(cfg, "classifier.accumulate", "2"), set(cfg, "classifier.lr", "0.02");
        set(cfg, "features.model", "x3d-tiny");
        assert_int_equal(ft_classifier_options(&o, cfg, false), FT_OK);
        o.lambda_g = 1;
        ft_training_set t = {.store = &s,
                             .clip = clip,
                             .label = label,
                             .n = 3,
                             .features = &f,
                             .network = "",
                             .generated_store = &s,
                             .generated = clip,
                             .generated_label = taught[k],
                             .n_generated = 6,
                             .generated_features = &of_made,
                             .classes = names,
                             .n_classes = 3};
        if (ft_classifier_train(&o, &t, in("taught"), 0, false, &(ft_training_result){0}) < 0) fail_msg("%s", ft_error_message());
        assert_int_equal(ft_classifier_info_read(&info, in("taught")), FT_OK);
        predict(in("taught"), &info, &s, &of_made, clip, prob);
        for (int i = 0; i < 6; i++) assert_true(prob[3 * i + taught[k][i]] > 0.8f);
        ft_classifier_info_free(&info);
        t.generated_label = (const int[6]){0, 1, 3, 0, 1, 2};
        assert_int_equal(ft_classifier_train(&o, &t, in("taught"), 0, false, &(ft_training_result){0}), FT_EDATA);
        ft_classifier_options_free(&o);
        ft_config_free(cfg);
    }
    ft_clipstore_free(&s);
}

/* Several labels: each is told from the rest as if it stood alone, and a head that is trained learns all of them. */
static void test_sets(void **state)
{
    (void)state;
    enum { D = 5 };
    static const char *const names[] = {"a", "b", "c"}, *const two[] = {"no", "yes"};
    static const int sets[6] = {1, 3, 6, 0, 5, 2};
    ft_clipstore s;
    float x[6 * D], sure[6 * 8], prob[18], one[12];
    assert_int_equal(ft_clipstore_read(&s, in("p.h5")), FT_OK);
    for (int i = 0; i < 6 * D; i++) x[i] = value(3, i);
    ft_clip_features f = {.dim = {1, 1, D}, .n = 6, .clean = x};
    answers("linear-probe", "sets", &s, &f, sets, names, 3, FT_MULTILABEL, prob);
    for (int c = 0; c < 3; c++) {
        int is[6];
        for (int i = 0; i < 6; i++) is[i] = sets[i] >> c & 1;
        answers("linear-probe", names[c], &s, &f, is, two, 2, 1, one);
        for (int i = 0; i < 6; i++) assert_true(fabs((double)prob[3 * i + c] - (double)one[2 * i + 1]) < 1e-6);
    }
    for (int i = 0; i < 48; i++) /* three features that say it, and noise of the size of a tenth */
        sure[i] = (i % 8 < 3 ? (float)(sets[i / 8] >> i % 8 & 1) : 0) + 0.1f * value(4, i);
    f.dim[2] = 8, f.clean = sure;
    answers("attentive-probe", "attentive", &s, &f, sets, names, 3, FT_MULTILABEL, prob);
    ft_scores v = ft_score(prob, sets, 6, 3, FT_MULTILABEL);
    assert_true(v.accuracy > 0.999 && v.brier < 0.05);
    ft_clipstore_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logistic),
                                       cmocka_unit_test(test_choice),
                                       cmocka_unit_test(test_features),
                                       cmocka_unit_test(test_pictures),
                                       cmocka_unit_test(test_without_settings),
                                       cmocka_unit_test(test_drops_at_test),
                                       cmocka_unit_test(test_sets),
                                       cmocka_unit_test(test_generated_gradient),
                                       cmocka_unit_test(test_generated),
                                       cmocka_unit_test(test_generated_classes)};
    return cmocka_run_group_tests(tests, make, clean);
}
