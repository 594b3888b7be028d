#include "classify/probe.h"

#include <math.h>
#include <string.h>

#include "classify/logistic.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/graph/layers.h"

typedef struct {
    const char *name;
    bool linear;
    int heads;
} probe_preset;

static const probe_preset presets[] = {{"linear-probe", true, 0}, {"attentive-probe", false, 4}};

static const probe_preset *find(const char *name)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (!strcmp(presets[i].name, name)) return &presets[i];
    return NULL;
}

bool ft_probe_is_linear(const char *preset) { return find(preset) && find(preset)->linear; }

/* ---- the networks ---------------------------------------------------------------------------------------------------------- */

static const float tiny = 1e-12f; /* under the root of a standard deviation */

/* x - center over scale, fixed tables (d) */
static ft_t standardise(ft_graph *g, ft_t x, int64_t d)
{
    int64_t dim[FT_MAX_DIMS];
    for (int i = 0; i < ft_ndim(x); i++) dim[i] = i == ft_ndim(x) - 1 ? d : 1;
    ft_t center = ft_buffer(g, "center", 1, &d, FT_ZERO), scale = ft_buffer(g, "scale", 1, &d, FT_ONE);
    return ft_div(g, ft_sub(g, x, ft_reshape(g, center, ft_ndim(x), dim)), ft_reshape(g, scale, ft_ndim(x), dim));
}

/* x (B,T,N,W) -> (B,D): over frames the mean of each token, and its standard deviation if there are several */
static ft_t pooled(ft_graph *g, ft_t x)
{
    int64_t b = ft_dim(x, 0), d = ft_dim(x, 2) * ft_dim(x, 3);
    ft_t mean = ft_reduce(g, x, 1u << 1, true), part[2] = {ft_reshape(g, mean, 2, (int64_t[]){b, d})}; /* (B,1,N,W) */
    if (ft_dim(x, 1) == 1) return part[0];
    ft_t square = ft_reduce(g, ft_unary(g, FT_SQUARE, ft_sub(g, x, mean)), 1u << 1, true);
    part[1] = ft_reshape(g, ft_unary(g, FT_SQRT, ft_affine(g, square, 1, tiny)), 2, (int64_t[]){b, d});
    return ft_concat(g, 1, 2, part);
}

static ft_t head(ft_graph *g, ft_t x, int64_t classes, double dropout, ft_t *features)
{
    if (features) *features = x;
    x = ft_dropout(g, x, (float)dropout);
    ft_t w = ft_param(g, "head.weight", 2, (int64_t[]){classes, ft_dim(x, 1)}, FT_ZERO);
    return ft_linear(g, x, w, ft_param(g, "head.bias", 1, &classes, FT_ZERO));
}

/* x (B,T,N,W) -> (B,W): one query looks at all tokens */
static ft_t attend(ft_graph *g, const probe_preset *p, ft_t x)
{
    static const ft_init narrow = {FT_INIT_NORMAL, 0.02, NULL};
    int64_t B = ft_dim(x, 0), T = ft_dim(x, 1), N = ft_dim(x, 2), W = ft_dim(x, 3), heads = W % p->heads ? 1 : p->heads;
    ft_t when = ft_param(g, "time_embed", 4, (int64_t[]){1, T, 1, W}, FT_ZERO);
    x = ft_reshape(g, ft_add(g, standardise(g, x, W), when), 3, (int64_t[]){B, T * N, W});
    ft_t q = ft_broadcast(g, ft_param(g, "query", 3, (int64_t[]){1, 1, W}, narrow), 3, (int64_t[]){B, 1, W}, 1);
    ft_t k = ft_layer_linear(g, "attn.k", x, W, true), v = ft_layer_linear(g, "attn.v", x, W, true);
    ft_t y = ft_sdpa(g, ft_layer_linear(g, "attn.q", q, W, true), k, v, (ft_sdpa_opt){.heads = heads}); /* (B,1,W) */
    return ft_layer_layernorm(g, "norm", ft_reshape(g, ft_layer_linear(g, "attn.proj", y, W, true), 2, (int64_t[]){B, W}), 1e-6f);
}

static ft_t network(ft_graph *g, const void *preset, ft_t x, int64_t classes, int64_t labelled, double dropout, ft_t *features)
{
    const probe_preset *p = preset;
    (void)labelled; /* no BatchNorm */
    if (!p->linear) return head(g, attend(g, p, x), classes, dropout, features);
    x = pooled(g, x);
    return head(g, standardise(g, x, ft_dim(x, 1)), classes, 0, features); /* the penalty is its regularisation */
}

extern const ft_classifier ft_classifier_probe;
const ft_classifier ft_classifier_probe = {.family = "probe",
                                           .presets = presets,
                                           .n = sizeof presets / sizeof *presets,
                                           .row = sizeof *presets,
                                           .head = "head.bias",
                                           .of_features = true,
                                           .work = FT_WORK_PRODUCTS,
                                           .network = network};

/* ---- what the labels say -----------------------------------------------------------------------------------------------------
 */

/* the same as `pooled`, of one clip */
static void pool(const float *x, const int64_t dim[3], float *out)
{
    int64_t d = dim[1] * dim[2];
    for (int64_t i = 0; i < d; i++) {
        double mean = 0, square = 0;
        for (int64_t t = 0; t < dim[0]; t++) mean += (double)x[t * d + i] / (double)dim[0];
        for (int64_t t = 0; t < dim[0]; t++) square += pow((double)x[t * d + i] - mean, 2) / (double)dim[0];
        out[i] = (float)mean;
        if (dim[0] > 1) out[d + i] = (float)sqrt(square + (double)tiny);
    }
}

/* mean and standard deviation of the columns of x (n,d); a column that stands still stays as it is */
static void standard(const float *x, int64_t n, int64_t d, float *center, float *scale)
{
    for (int64_t i = 0; i < d; i++) {
        double mean = 0, square = 0;
        for (int64_t k = 0; k < n; k++) mean += (double)x[k * d + i] / (double)n;
        for (int64_t k = 0; k < n; k++) square += pow((double)x[k * d + i] - mean, 2) / (double)n;
        center[i] = (float)mean;
        scale[i] = square > 1e-12 * (mean * mean + 1e-12) ? (float)sqrt(square) : 1;
    }
}

/* label (of `class` of sets: has it or not), weight and group of each row, `looks` rows for a clip: every video counts once */
static void rows_of(const ft_training_set *set, int64_t looks, int class, int *label, double *weight, int *group)
{
    const ft_clipstore *s = set->store;
    for (int64_t i = set->n - 1; i >= 0; i--) { /* backwards: rows of a clip stand behind its own number */
        const ft_store_video *v = &s->video[s->clip[set->clip[i]].video];
        int64_t clips = 0;
        int first = (int)i;
        for (int64_t k = 0; k < set->n; k++) {
            const ft_store_video *u = &s->video[s->clip[set->clip[k]].video];
            clips += u == v;
            if (k < first && !strcmp(u->group, v->group)) first = (int)k;
        }
        for (int64_t k = 0; k < looks; k++) {
            int64_t row = i * looks + k;
            label[row] = class < 0 ? set->label[i] : set->label[i] >> class & 1, group[row] = first,
            weight[row] = 1 / (double)(clips * looks);
        }
    }
}

static int64_t videos_of(const ft_training_set *set)
{
    int64_t n = 0;
    for (int64_t i = 0; i < set->n; i++)
        n += i == 0 || set->store->clip[set->clip[i]].video != set->store->clip[set->clip[i - 1]].video;
    return n;
}

/* class: that of sets which is told from the rest, w (2,d), b (2); -1: all classes from each other. x: looks rows of each
 * labelled clip, then of each generated one (`generated` clips) */
static int solve(const ft_classifier_opt *o, const ft_training_set *set, const float *x, int64_t looks, int64_t generated,
                 int64_t d, int class, uint64_t seed, double *w, double *b, double *strength)
{
    static const double grid[] = {1e-4, 1e-3, 1e-2, 1e-1, 1, 10, 100};
    enum { STRENGTHS = sizeof grid / sizeof *grid };
    int64_t n = set->n * looks, all = n + generated * looks;
    int *group = ft_alloc_n(2 * all + 1, sizeof *group), *label = group ? group + all : NULL;
    double *weight = ft_alloc_n(all + 1, sizeof *weight);
    int rc = group && weight ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a probe");
    if (rc == FT_OK) rows_of(set, looks, class, label, weight, group);
    for (int64_t i = n; rc == FT_OK && i < all; i++) {
        label[i] = set->generated_label[(i - n) / looks];
        weight[i] = o->lambda_g * (double)videos_of(set) / (double)(all - n);
    }
    ft_rows rows = {x, label, group, weight, n, d, class < 0 ? set->n_classes : 2};
    *strength = o->strength;
    if (rc == FT_OK && o->strength <= 0) rc = ft_logistic_choose(&rows, grid, STRENGTHS, seed, strength, NULL);
    rows.n = all;
    if (rc == FT_OK) rc = ft_logistic_fit(&rows, *strength, w, b);
    ft_free(group);
    ft_free(weight);
    return rc;
}

/* Of sets: for each class the regression that tells it from the rest, each with a strength of its own. */
static int solve_sets(const ft_classifier_opt *o, const ft_training_set *set, const float *x, int64_t looks, int64_t d,
                      uint64_t seed, double *w, double *b, double *strength)
{
    double *two = ft_alloc_n(2 * d + 1, sizeof *two), bias[2];
    int rc = two ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a probe");
    for (int c = 0; rc == FT_OK && c < set->n_classes; c++) {
        rc = solve(o, set, x, looks, 0, d, c, seed, two, bias, &strength[c]);
        for (int64_t i = 0; rc == FT_OK && i < d; i++) w[c * d + i] = two[d + i] - two[i]; /* the log odds */
        b[c] = bias[1] - bias[0];
    }
    ft_free(two);
    return rc;
}

/* the rows of a clip: as it is, then its weak views; linear: pooled, else all its tokens */
static void rows_of_clip(const ft_clip_features *f, int64_t clip, int64_t looks, bool linear, int64_t d, float *x)
{
    for (int64_t k = 0; k < looks; k++) {
        const float *from = k ? ft_clip_features_view(f, clip, false, k - 1) : ft_clip_features_at(f, clip);
        if (!from) from = ft_clip_features_at(f, clip);
        if (linear) pool(from, f->dim, x + k * d);
        else memcpy(x, from, (size_t)ft_clip_features_each(f) * sizeof *x);
    }
}

int ft_probe_begin(ft_params *params, const char *preset, const ft_classifier_opt *o, const ft_training_set *set, uint64_t seed,
                   double *penalty, double strength[FT_MAX_CLASSES])
{
    const ft_clip_features *f = set->features;
    bool linear = ft_probe_is_linear(preset);
    int C = set->n_classes;
    int64_t tokens = f->dim[0] * f->dim[1], looks = linear ? 1 + f->views : 1, of_clip = linear ? looks : tokens,
            n = set->n * of_clip, more = linear && ft_training_is_told(set, o->lambda_g) ? set->n_generated : 0,
            d = linear ? f->dim[1] * f->dim[2] * (f->dim[0] > 1 ? 2 : 1) : f->dim[2];
    float *x = ft_alloc_n((n + more * of_clip) * d + 1, sizeof *x), *table = ft_alloc_n(2 * d + C * (d + 1), sizeof *table);
    double *solution = ft_alloc_n(C * (d + 1), sizeof *solution);
    ft_graph *g = ft_graph_new(params, FT_F32, FT_GRAPH_NAMES);
    int rc = x && table && solution && g ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for a probe");
    bool sets = set->positive == FT_MULTILABEL;
    *penalty = *strength = 0;
    for (int64_t i = 0; rc == FT_OK && i < set->n; i++) rows_of_clip(f, set->clip[i], looks, linear, d, x + i * of_clip * d);
    for (int64_t i = 0; rc == FT_OK && i < more; i++)
        rows_of_clip(set->generated_features, set->generated[i], looks, linear, d, x + (n + i * of_clip) * d);
    if (rc == FT_OK) {
        standard(x, n, d, table, table + d);
        ft_buffer(g, "center", 1, &d, (ft_init){FT_INIT_VALUES, 0, table});
        ft_buffer(g, "scale", 1, &d, (ft_init){FT_INIT_VALUES, 0, table + d});
    }
    if (rc == FT_OK && linear) {
        float *w = table + 2 * d, *b = w + C * d;
        for (int64_t i = 0; i < (n + more * of_clip) * d; i++) x[i] = (x[i] - table[i % d]) / table[d + i % d];
        rc = sets ? solve_sets(o, set, x, looks, d, seed, solution, solution + C * d, strength)
                  : solve(o, set, x, looks, more, d, -1, seed, solution, solution + C * d, strength);
        for (int64_t i = 0; i < C * (d + 1); i++) w[i] = (float)solution[i];
        if (rc == FT_OK) {
            ft_param(g, "head.weight", 2, (int64_t[]){C, d}, (ft_init){FT_INIT_VALUES, 0, w});
            ft_param(g, "head.bias", 1, (int64_t[]){C}, (ft_init){FT_INIT_VALUES, 0, b});
            /* of two classes the solution's norm is spread over both rows: |w|^2 = 2 sum |w_k|^2 */
            if (!sets) *penalty = (C == 2 ? 1 : 0.5) / (*strength * (double)videos_of(set));
        }
    }
    if (rc == FT_OK && ft_graph_error(g)) rc = FT_FAIL(FT_EGRAPH, "%s cannot be built: %s", preset, ft_graph_error(g));
    ft_graph_free(g);
    ft_free(x);
    ft_free(table);
    ft_free(solution);
    return rc;
}
