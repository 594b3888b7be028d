/* forward: one pass on given weights and inputs. */
#include <stdio.h>
#include <string.h>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/io/weights.h"
#include "common/train/precision.h"
#include "experiments/cli/cli.h"
#include "experiments/models/model_table.h"

/* dst, with axes in the order of `to`, from src in the order of `from`; dim is that of src */
static void reorder(float *dst, const float *src, const int64_t *dim, const char *from, const char *to)
{
    int n = (int)strlen(from), place[FT_MAX_DIMS];
    int64_t stride[FT_MAX_DIMS], at[FT_MAX_DIMS] = {0}, total = 1, s = 1, size[FT_MAX_DIMS];
    for (int i = n; i-- > 0;) stride[i] = s, s *= dim[i];
    for (int i = 0; i < n; i++) place[i] = (int)(strchr(from, to[i]) - from), size[i] = dim[place[i]], total *= dim[i];
    for (int64_t k = 0; k < total; k++) {
        int64_t o = 0;
        for (int i = 0; i < n; i++) o += at[i] * stride[place[i]];
        dst[k] = src[o];
        for (int i = n; i-- > 0;) {
            if (++at[i] < size[i]) break;
            at[i] = 0;
        }
    }
}

/* "b,c,f,h,w" */
static const char *axes_text(const char *axes, char text[2 * FT_MAX_DIMS + 1])
{
    int n = 0;
    for (; axes[n]; n++) text[2 * n] = axes[n], text[2 * n + 1] = ',';
    text[2 * n - 1] = 0;
    return text;
}

/* channels: that the model has, 0: any number. So a file with its axes in another order is refused, where that can be seen. */
static int read_input(const ft_safetensors *st, const char *path, const ft_model_input *in, int64_t channels, ft_graph *g,
                      ft_t *x)
{
    char axes[2 * FT_MAX_DIMS + 1];
    const ft_st_tensor *t = ft_safetensors_find(st, in->name);
    int n = ft_model_dims(in);
    int64_t dim[FT_MAX_DIMS];
    if (!t) return FT_FAIL(FT_EDATA, "%s: the input %s is missing: a tensor with axes %s", path, in->name, in->file_axes);
    if (t->ndim != n) return FT_FAIL(FT_EDATA, "%s: %s has %d dims, its axes are %s", path, in->name, t->ndim, in->file_axes);
    for (int i = 0; i < n; i++) dim[i] = t->dim[strchr(in->file_axes, in->axes[i]) - in->file_axes];
    if (channels && strchr(in->axes, 'c') && dim[strchr(in->axes, 'c') - in->axes] != channels)
        return FT_FAIL(
            FT_EDATA,
            "%s: %s has %lld channels (c), the model %lld. The order of its axes is (%s), as in the model's public code", path,
            in->name, (long long)dim[strchr(in->axes, 'c') - in->axes], (long long)channels, axes_text(in->file_axes, axes));
    *x = ft_input(g, in->name, FT_F32, n, dim);
    if (ft_graph_error(g)) return FT_FAIL(FT_EDATA, "%s: %s: %s", path, in->name, ft_graph_error(g));
    float *v = ft_alloc((size_t)t->count * sizeof *v);
    int rc = v ? ft_safetensors_f32(t, v) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    if (rc == FT_OK) reorder(ft_data(*x), v, t->dim, in->file_axes, in->axes);
    ft_free(v);
    return rc;
}

/* x (FT_MODEL_INPUTS): those of the row; of a generator that knows classes also the label */
static int read_inputs(const ft_safetensors *st, const char *path, const ft_model *row, const char *preset, const ft_config *cfg,
                       int64_t classes, ft_graph *g, ft_t *x)
{
    int64_t dim[FT_MAX_DIMS];
    for (int i = 0; i < row->n_in; i++) {
        const char *channel = strchr(row->in[i].axes, 'c');
        ft_model_example(row, preset, cfg, i, dim);
        FT_TRY(read_input(st, path, &row->in[i], channel ? dim[channel - row->in[i].axes] : 0, g, &x[i]));
    }
    if (!ft_model_told(row, cfg)) return FT_OK;
    FT_TRY(read_input(st, path, &ft_model_label, 0, g, &x[2]));
    if (ft_dim(x[2], 1) == classes + 1) return FT_OK;
    return FT_FAIL(FT_EDATA, "%s: label has %lld columns; for %lld classes and for none it needs %lld", path,
                   (long long)ft_dim(x[2], 1), (long long)classes, (long long)classes + 1);
}

/* tensors to be written, in the file's order of axes */
typedef struct {
    ft_st_tensor *t;
    int n;
} results;

static int add_result(results *r, const char *name, const float *v, int n, const int64_t *dim, const char *axes,
                      const char *file_axes)
{
    FT_TRY(ft_grow(&r->t, (size_t)r->n, sizeof *r->t));
    ft_st_tensor *t = &r->t[r->n++];
    memset(t, 0, sizeof *t);
    t->count = 1;
    t->ndim = n;
    for (int i = 0; i < n; i++) t->dim[i] = dim[axes ? strchr(axes, file_axes[i]) - axes : i], t->count *= dim[i];
    snprintf(t->dtype, sizeof t->dtype, "F32");
    t->bytes = (size_t)t->count * 4;
    float *copy = ft_alloc(t->bytes + 4);
    t->data = copy;
    t->name = ft_strdup(name);
    if (!copy || !t->name) return FT_FAIL(FT_ENOMEM, "no memory for %s", name);
    if (axes) reorder(copy, v, dim, axes, file_axes);
    else memcpy(copy, v, t->bytes);
    return FT_OK;
}

/* What public weights need that is no default (`weights import` notes it), unless the caller said otherwise. */
static int apply_settings(ft_config *cfg, const char *preset, const ft_safetensors *w, const char *path)
{
    const char *wanted = json_object_get(w->metadata, "settings") ? ft_public_settings(preset) : NULL;
    char key[64];
    if (!wanted || sscanf(wanted, "%63[^=]", key) != 1 || strcmp(ft_config_origin(cfg, key), "default")) return FT_OK;
    ft_log("%s: public weights, so with %s, as their code computes", path, wanted);
    return ft_config_set(cfg, wanted, "the weights");
}

static int run_forward(ft_cli *c)
{
    const char *const *arg, *weights = ft_cli_text(c, "--weights"), *input = ft_cli_text(c, "--input"),
                            *out = ft_cli_text(c, "-o"), *preset;
    const ft_model *row;
    bool grad = ft_cli_flag(c, "--grad");
    FT_TRY(ft_cli_need(c, 1, "MODEL"));
    ft_cli_args(c, &arg);
    if (!weights || !input || !out)
        return FT_FAIL(FT_EUSAGE, "--weights, --input and -o are needed. usage: forty %s", ft_verb_forward.usage);
    FT_TRY(ft_model_find(arg[0], &row, &preset));
    if (grad && row->frozen) return FT_FAIL(FT_EUSAGE, "%s is a frozen network: it has no --grad", arg[0]);
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    ft_config *cfg = NULL;
    ft_safetensors w = {0}, in = {0};
    ft_params *params = NULL;
    ft_graph *g = NULL;
    ft_plan *plan = NULL;
    results r = {0};
    ft_dtype dtype;
    ft_t x[FT_MODEL_INPUTS] = {NULL}, dy = NULL;
    char name[300];
    int64_t dim[FT_MAX_DIMS], classes;
    int rc = FT_OK;
    FT_TRY_TO(rc, done, ft_cli_config(c, NULL, &cfg));
    FT_TRY_TO(rc, done, ft_precision(cfg, ft_model_work(preset), &dtype));
    FT_TRY_TO(rc, done, ft_safetensors_read(&w, weights));
    FT_TRY_TO(rc, done, apply_settings(cfg, preset, &w, weights));
    FT_TRY_TO(rc, done, ft_safetensors_read(&in, input));
    FT_TRY_TO(rc, done, ft_model_classes_in(preset, cfg, &w, 1, &classes));
    FT_TRY_TO(rc, done, ft_model_store(&params, preset, cfg, classes, 0));
    if (!(g = ft_graph_new(params, dtype, FT_GRAPH_ALONE))) FT_TRY_TO(rc, done, FT_FAIL(FT_ENOMEM, "no memory for %s", arg[0]));
    ft_training(g, ft_config_bool(cfg, "train"));
    FT_TRY_TO(rc, done, read_inputs(&in, input, row, preset, cfg, classes, g, x));
    if (grad) ft_need_grad(x[0]);
    ft_t y = ft_cast(g, row->build(g, preset, cfg, x, classes), FT_F32);
    ft_keep(y);
    if (grad && !ft_graph_error(g)) {
        ft_model_input o = {"grad_output", row->file_axes, row->axes, {0}};
        FT_TRY_TO(rc, done, read_input(&in, input, &o, 0, g, &dy));
        if (ft_count(dy) != ft_count(y))
            FT_TRY_TO(rc, done,
                      FT_FAIL(FT_EDATA, "%s: grad_output has %lld values, the output %lld", input, (long long)ft_count(dy),
                              (long long)ft_count(y)));
        ft_backward_from(g, y, dy);
        if (ft_grad(g, x[0])) ft_keep(ft_grad(g, x[0]));
    }
    FT_TRY_TO(rc, done, ft_plan_new(&plan, g, FT_WEIGHTS));
    FT_TRY_TO(rc, done, ft_weights_load(weights, params, FT_WEIGHTS, NULL));
    FT_TRY_TO(rc, done, ft_run(plan, &(ft_step){0}));
    for (int i = 0; i < ft_ndim(y); i++) dim[i] = ft_dim(y, i);
    FT_TRY_TO(rc, done, add_result(&r, "output", ft_data(y), ft_ndim(y), dim, row->axes, row->file_axes));
    if (grad) {
        ft_t dx = ft_grad(g, x[0]);
        for (int i = 0; i < ft_ndim(x[0]); i++) dim[i] = ft_dim(x[0], i);
        snprintf(name, sizeof name, "grad.%s", row->in[0].name);
        if (dx) FT_TRY_TO(rc, done, add_result(&r, name, ft_data(dx), ft_ndim(x[0]), dim, row->in[0].axes, row->in[0].file_axes));
        for (int i = 0; i < ft_params_count(params); i++) {
            const ft_param_info *e = ft_params_at(params, i);
            if (!e->trained) continue;
            snprintf(name, sizeof name, "grad.%s", e->name);
            FT_TRY_TO(rc, done, add_result(&r, name, ft_params_grad(params) + e->offset, e->ndim, e->dim, NULL, NULL));
        }
    }
    FT_TRY_TO(rc, done, ft_safetensors_write(out, r.t, r.n, NULL));
    ft_cli_print(c, json_pack("{s:s,s:i}", "output", out, "tensors", r.n), "%s: %d tensors\n", out, r.n);
done:
    for (int i = 0; i < r.n; i++) ft_free((void *)r.t[i].data), ft_free(r.t[i].name);
    ft_free(r.t);
    ft_plan_free(plan);
    ft_graph_free(g);
    ft_params_free(params);
    ft_safetensors_free(&w);
    ft_safetensors_free(&in);
    ft_config_free(cfg);
    return rc;
}
static const ft_option forward_options[] = {
    {"--weights", "W.safetensors", NULL, "all weights of the model (a VAE's: of both halves)"},
    {"--input", "IN.safetensors", NULL,
     "the inputs by name, in the reference's order of axes (of a generator that knows classes also label); grad_output for "
     "--grad"},
    {"-o", "OUT.safetensors", NULL, "output, and grad.NAME"},
    {"--grad", NULL, NULL, "also the gradients of all parameters and of the input"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_forward = {
    "forward",
    "one forward (and backward) pass on given weights and inputs, to check against another implementation",
    "forward MODEL --weights W.safetensors --input IN.safetensors -o OUT.safetensors [--grad]",
    "forty forward medsora-s --weights w.safetensors --input in.safetensors -o out.safetensors --grad",
    forward_options,
    run_forward};
