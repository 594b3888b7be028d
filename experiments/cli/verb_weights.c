/* Verbs about weights: init, weights import|check|export, forward. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/base/streams.h"
#include "common/train/precision.h"
#include "common/io/pth.h"
#include "common/io/weights.h"
#include "experiments/cli/cli.h"
#include "experiments/models/model_table.h"
#include "gen/vae_train.h"

/* ---- init --------------------------------------------------------------------------------------------------------------- */

static int run_init(ft_cli *c)
{
    const char *const *arg, *out = ft_cli_text(c, "-o");
    int64_t classes;
    ft_config *cfg;
    ft_params *params = NULL;
    FT_TRY(ft_cli_need(c, 1, "MODEL"));
    ft_cli_args(c, &arg);
    if (!out) return FT_FAIL(FT_EUSAGE, "-o W.safetensors is missing. usage: forty %s", ft_verb_init.usage);
    FT_TRY(ft_cli_int(c, "--classes", 2, 100000, &classes));
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    json_t *meta = json_pack("{s:s,s:s}", "model", arg[0], "forty_version", FT_VERSION);
    int rc = ft_model_store(&params, arg[0], cfg, classes, (uint64_t)ft_config_int(cfg, "seed"));
    if (rc == FT_OK) rc = ft_params_seal(params);
    if (rc == FT_OK) rc = ft_weights_save(out, params, FT_WEIGHTS, meta);
    if (rc == FT_OK)
        ft_cli_print(c, json_pack("{s:s,s:I}", "output", out, "parameters", (json_int_t)ft_model_parameters(params)),
                     "%s: %lld parameters\n", out, (long long)ft_model_parameters(params));
    json_decref(meta);
    ft_params_free(params);
    ft_config_free(cfg);
    return rc;
}
static const ft_option init_options[] = {
    {"-o", "W.safetensors", NULL, "file to write"}, {"--classes", "N", "2", "classes of a classifier"}, {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_init = {"init",
                              "fresh weights of a model, under the reference's tensor names",
                              "init MODEL -o W.safetensors [--seed N]",
                              "forty init medsora-b -o medsora-b.safetensors",
                              init_options,
                              run_init};

/* ---- weights ------------------------------------------------------------------------------------------------------------ */

enum { SHOWN = 12 };

/* a matrix with its axes in the other order */
static ft_st_tensor turned(const ft_st_tensor *t)
{
    ft_st_tensor u = *t;
    if (t->ndim == 2) u.dim[0] = t->dim[1], u.dim[1] = t->dim[0];
    return u;
}

/* same dims, apart from trailing ones (a 1x1 convolution holds a linear layer), and from the first, of which it has one of
 * `parts` */
static bool fits(const ft_st_tensor *t, const ft_param_info *e, int parts)
{
    int a = t->ndim, b = e->ndim;
    while (a > 0 && t->dim[a - 1] == 1) a--;
    while (b > 0 && e->dim[b - 1] == 1) b--;
    bool same = a == b;
    for (int i = 0; same && i < a; i++) same = i == 0 ? t->dim[i] == e->dim[i] / parts : t->dim[i] == e->dim[i];
    return same && t->count * parts == e->count;
}

static const char *shape_text(int n, const int64_t *dim, char *s, size_t size)
{
    size_t at = (size_t)snprintf(s, size, "[");
    for (int i = 0; i < n && at < size; i++) at += (size_t)snprintf(s + at, size - at, "%s%lld", i ? "," : "", (long long)dim[i]);
    if (at < size) snprintf(s + at, size - at, "]");
    return s;
}

typedef struct {
    int missing, shapes, left, taken, fresh, averaged;
    json_t *note; /* lines for people */
} difference;

static void note(difference *d, int count, const char *line)
{
    if (count < SHOWN) json_array_append_new(d->note, json_string(line));
}

enum { WHOLE = 0xFF }; /* what is filled of a tensor: a bit for each part, or this */

/* a tensor that the files lack, copied from the one that stands in for it */
static bool stand_in(const char *preset, ft_params *params, const unsigned char *filled, int k)
{
    const ft_param_info *e = ft_params_at(params, k);
    float *flat = ft_params_flat(params, FT_WEIGHTS);
    char name[256];
    if (!ft_public_stand_in(preset, e->name, name, sizeof name)) return false;
    for (int i = 0; i < ft_params_count(params); i++) {
        const ft_param_info *from = ft_params_at(params, i);
        if (filled[i] != WHOLE || strcmp(from->name, name)) continue;
        memcpy(flat + e->offset, flat + from->offset, (size_t)from->count * sizeof *flat);
        return true;
    }
    return false;
}

enum { LONGEST = 190 }; /* bytes of a public tensor's name; the rules (public_names.c) have room for that */

/* our name of a tensor; "": it is nobody's */
static const char *our_name(const char *preset, const ft_st_tensor *t, char name[256])
{
    *name = 0;
    if (strlen(t->name) <= LONGEST) ft_public_name(preset, t->name, name, 256);
    return name;
}

/* One tensor of a file into part `part` of `parts` of a parameter; `turn`: transposed. */
static int take(ft_params *params, const ft_param_info *e, const ft_st_tensor *t, int part, int parts, bool turn, difference *d)
{
    char line[600], a[96], b[96];
    ft_st_tensor shape = turn ? turned(t) : *t;
    float *to = ft_params_flat(params, FT_WEIGHTS) + e->offset + part * t->count;
    if (!fits(&shape, e, parts)) {
        snprintf(line, sizeof line, "shape: %s is %s, the model has %s", t->name, shape_text(t->ndim, t->dim, a, sizeof a),
                 shape_text(e->ndim, e->dim, b, sizeof b));
        note(d, d->shapes++, line);
        return FT_OK;
    }
    d->taken++;
    if (!turn) return ft_safetensors_f32(t, to);
    float *from = ft_alloc_n(t->count + 1, sizeof *from);
    int rc = from ? ft_safetensors_f32(t, from) : FT_FAIL(FT_ENOMEM, "no memory for %s", t->name);
    for (int64_t i = 0; rc == FT_OK && i < t->count; i++) to[i % t->dim[1] * t->dim[0] + i / t->dim[1]] = from[i];
    ft_free(from);
    return rc;
}

/* Where files hold the moving average that the authors sample with, that is what is taken. */
static int take_average(const char *preset, ft_params *params, const ft_safetensors *file, int n_files, unsigned char *filled,
                        bool *used, difference *d)
{
    char name[256];
    for (int k = 0; k < ft_params_count(params); k++) {
        const ft_param_info *e = ft_params_at(params, k);
        if (!ft_public_average(preset, e->name, name, sizeof name)) return FT_OK;
        for (int f = 0, base = 0; f < n_files && !filled[k]; base += file[f].n, f++) {
            const ft_st_tensor *t = ft_safetensors_find(&file[f], name);
            if (!t) continue;
            used[base + (int)(t - file[f].tensor)] = true;
            filled[k] = WHOLE;
            d->averaged++;
            FT_TRY(take(params, e, t, 0, 1, false, d));
        }
    }
    return FT_OK;
}

/* Fills the store from files (later ones fill what is still missing) and tells what differs. */
static int match(const char *preset, ft_params *params, ft_safetensors *file, int n_files, difference *d)
{
    int n = ft_params_count(params), total = 0;
    char name[256], line[600], a[96];
    for (int f = 0; f < n_files; f++) total += file[f].n;
    bool *used = ft_alloc((size_t)total + 1);
    unsigned char *filled = ft_alloc((size_t)n + 1);
    int rc = used && filled && ft_params_seal(params) == FT_OK ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %s", preset);
    if (rc == FT_OK) rc = take_average(preset, params, file, n_files, filled, used, d);
    for (int f = 0, base = 0; rc == FT_OK && f < n_files; base += file[f].n, f++)
        for (int i = 0; rc == FT_OK && i < file[f].n; i++) {
            const ft_st_tensor *t = &file[f].tensor[i];
            our_name(preset, t, name);
            int part, parts = ft_public_part(preset, name, &part);
            for (int k = 0; rc == FT_OK && k < n; k++) {
                const ft_param_info *e = ft_params_at(params, k);
                if (strcmp(e->name, name)) continue;
                used[base + i] = true;
                if (d->averaged || filled[k] & 1 << part) break; /* nothing is a mixture of both */
                filled[k] |= parts == 1 ? WHOLE : 1 << part;
                if (filled[k] == (1 << parts) - 1) filled[k] = WHOLE;
                rc = take(params, e, t, part, parts, ft_public_turned(preset, t->name), d);
                break;
            }
        }
    for (int k = 0; rc == FT_OK && k < n; k++) {
        const ft_param_info *e = ft_params_at(params, k);
        if (filled[k] == WHOLE || stand_in(preset, params, filled, k)) continue;
        if (ft_public_optional(preset, e->name)) {
            d->fresh++;
            continue;
        }
        snprintf(line, sizeof line, "missing: %s %s", e->name, shape_text(e->ndim, e->dim, a, sizeof a));
        note(d, d->missing++, line);
    }
    for (int f = 0, base = 0; rc == FT_OK && f < n_files; base += file[f].n, f++)
        for (int i = 0; i < file[f].n; i++) {
            const ft_st_tensor *t = &file[f].tensor[i];
            if (used[base + i] || ft_public_idle(preset, t->name)) continue;
            snprintf(line, sizeof line, "left over: %s %s", t->name, shape_text(t->ndim, t->dim, a, sizeof a));
            note(d, d->left++, line);
        }
    ft_free(used);
    ft_free(filled);
    return rc;
}

/* How many classes the files' model has. A generator that is told of classes says so in `cfg`. */
static int classes_in(const char *preset, ft_config *cfg, const ft_safetensors *file, int n_files, int64_t *classes)
{
    const ft_classifier *family = ft_classifier_find(preset);
    *classes = 2;
    for (int f = 0; f < n_files; f++)
        for (int i = 0; i < file[f].n; i++) {
            const ft_st_tensor *t = &file[f].tensor[i];
            char name[256];
            our_name(preset, t, name);
            if (family && !strcmp(name, family->head) && t->count > 0) return *classes = t->count, FT_OK;
            if (!ft_model_is_table(preset, name) || t->ndim != 2 || t->dim[0] < 2) continue;
            *classes = t->dim[0] - 1;
            return ft_config_set(cfg, "generator.condition=labels", "the weights");
        }
    return FT_OK;
}

enum { MAX_FILES = 8 };

static int import_files(ft_cli *c, int n, const char *const *path, bool only_check)
{
    const char *preset = ft_cli_text(c, "--as"), *out = ft_cli_text(c, "-o"), *key = ft_cli_text(c, "--key");
    ft_safetensors file[MAX_FILES];
    difference d = {.note = json_array()};
    ft_config *cfg = NULL;
    ft_params *params = NULL;
    char used[64] = "";
    int64_t classes;
    int got = 0, rc = FT_OK;
    bool public = false; /* written by other code than forty */
    json_t *meta = json_object();
    if (!preset) FT_TRY_TO(rc, done, FT_FAIL(FT_EUSAGE, "--as MODEL is missing. usage: forty %s", ft_verb_weights.usage));
    if (!out && !only_check)
        FT_TRY_TO(rc, done, FT_FAIL(FT_EUSAGE, "-o W.safetensors is missing. usage: forty %s", ft_verb_weights.usage));
    if (n > MAX_FILES) FT_TRY_TO(rc, done, FT_FAIL(FT_EUSAGE, "at most %d files make one model", MAX_FILES));
    if (!only_check) FT_TRY_TO(rc, done, ft_claim_output(out, ft_cli_flag(c, "--force")));
    FT_TRY_TO(rc, done, ft_cli_config(c, NULL, &cfg));
    for (; got < n; got++) FT_TRY_TO(rc, done, ft_weights_file_read(&file[got], path[got], key, used));
    for (int f = 0; f < n; f++) {
        FT_TRY_TO(rc, done, ft_weights_today(&file[f], path[f]));
        public |= !json_object_get(file[f].metadata, "forty_version") || json_object_get(file[f].metadata, "settings");
    }
    FT_TRY_TO(rc, done, classes_in(preset, cfg, file, n, &classes));
    FT_TRY_TO(rc, done, ft_model_store(&params, preset, cfg, classes, 0));
    int renamed = 0;
    if (n == 1) FT_TRY_TO(rc, done, ft_public_by_order(preset, params, &file[0], &renamed));
    if (renamed) ft_log("%s: its names are not known; %d tensors are taken by their order and shapes", path[0], renamed);
    FT_TRY_TO(rc, done, match(preset, params, file, n, &d));
    size_t i;
    json_t *line;
    json_array_foreach(d.note, i, line) fprintf(stderr, "%s\n", json_string_value(line));
    if (d.missing + d.shapes)
        FT_TRY_TO(rc, done,
                  FT_FAIL(FT_EDATA,
                          "%s: %d tensors of %s are missing and %d have other shapes (the first are above), %d are left over. "
                          "Is it this model?",
                          path[0], d.missing, preset, d.shapes, d.left));
    const char *settings = public ? ft_public_settings(preset) : NULL;
    if (!only_check) {
        json_object_set_new(meta, "model", json_string(preset));
        json_object_set_new(meta, "source", json_string(ft_base_name(path[0])));
        json_object_set_new(meta, "forty_version", json_string(FT_VERSION));
        if (settings) json_object_set_new(meta, "settings", json_string(settings));
        FT_TRY_TO(rc, done, ft_weights_save(out, params, FT_WEIGHTS, meta));
    }
    ft_cli_print(c,
                 json_pack("{s:s,s:i,s:I,s:s,s:i,s:i,s:i,s:s,s:o}", "model", preset, "tensors", d.taken, "parameters",
                           (json_int_t)ft_model_parameters(params), "key", used, "averaged", d.averaged, "left_over", d.left,
                           "fresh", d.fresh, "settings", settings ? settings : "", "notes", json_incref(d.note)),
                 "%s: %d tensors, %lld parameters%s%s%s; %d of the file left over, %d of the model start anew%s%s\n",
                 only_check ? preset : out, d.taken, (long long)ft_model_parameters(params), *used ? ", from its dict " : "",
                 used, d.averaged ? ": the moving average (model_ema), which its authors sample with" : "", d.left, d.fresh,
                 settings ? "\nthe code of public weights computes with --set " : "", settings ? settings : "");
done:
    while (got > 0) ft_safetensors_free(&file[--got]);
    json_decref(d.note);
    json_decref(meta);
    ft_params_free(params);
    ft_config_free(cfg);
    return rc;
}

static void narrow(const float *v, int64_t n, bool half, uint16_t *to)
{
    for (int64_t i = 0; i < n; i++) {
        union {
            float f;
            uint32_t u;
        } b = {v[i]};
        if (!half) {
            to[i] = isnan(v[i]) ? 0x7FC0 : (uint16_t)((b.u + 0x7FFF + (b.u >> 16 & 1)) >> 16);
            continue;
        }
        uint16_t sign = (uint16_t)(b.u >> 16 & 0x8000);
        float a = fabsf(v[i]);
        int e;
        if (isnan(v[i])) to[i] = 0x7E00;
        else if (a >= 65520.0f) to[i] = sign | 0x7C00; /* also Inf */
        else if (a < ldexpf(1, -14)) to[i] = sign | (uint16_t)lrintf(ldexpf(a, 24));
        else {
            float m = frexpf(a, &e); /* in [0.5, 1): 11 bits, ties to even */
            to[i] = sign | (uint16_t)(((e + 13) << 10) + (int)lrintf(ldexpf(m, 11)));
        }
    }
}

/* W + (alpha / rank) B A in the place of W, without adapters: what other programs can use */
static int merge_adapters(ft_safetensors *st)
{
    static const char *const tails[] = {".lora_A.weight", ".lora_B.weight"};
    const char *alpha = json_string_value(json_object_get(st->metadata, "lora_alpha"));
    char name[300];
    int kept = 0;
    for (int i = 0; i < st->n; i++) {
        ft_st_tensor *a = &st->tensor[i];
        size_t stem = strlen(a->name) > strlen(tails[0]) ? strlen(a->name) - strlen(tails[0]) : 0;
        if (!stem || strcmp(a->name + stem, tails[0]) || stem > 250) continue;
        snprintf(name, sizeof name, "%.*s%s", (int)stem, a->name, tails[1]);
        const ft_st_tensor *b = ft_safetensors_find(st, name);
        snprintf(name, sizeof name, "%.*s.weight", (int)stem, a->name);
        const ft_st_tensor *w = ft_safetensors_find(st, name);
        if (!alpha || !b || !w || a->ndim != 2 || b->ndim != 2 || w->ndim != 2 || b->dim[1] != a->dim[0] ||
            w->dim[0] != b->dim[0] || w->dim[1] != a->dim[1] || strcmp(w->dtype, "F32") || strcmp(a->dtype, "F32") ||
            strcmp(b->dtype, "F32"))
            return FT_FAIL(FT_EDATA, "%s: an adapter without its layer, its other half or lora_alpha", a->name);
        float *to = (float *)(uintptr_t)w->data; /* in the memory of st->file */
        int64_t rank = a->dim[0], rows = w->dim[0], columns = w->dim[1];
        double scale = atof(alpha) / (double)rank;
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; k < rank; k++) {
                float s = (float)(scale * (double)((const float *)b->data)[r * rank + k]);
                for (int64_t q = 0; q < columns; q++) to[r * columns + q] += s * ((const float *)a->data)[k * columns + q];
            }
    }
    for (int i = 0; i < st->n; i++) {
        ft_st_tensor t = st->tensor[i];
        if (strstr(t.name, ".lora_")) {
            ft_free(t.name);
            continue;
        }
        st->tensor[kept++] = t;
    }
    st->n = kept;
    if (st->metadata) json_object_del(st->metadata, "lora"), json_object_del(st->metadata, "lora_alpha");
    return FT_OK;
}

static int export_file(ft_cli *c, const char *from)
{
    const char *out = ft_cli_text(c, "-o"), *dtype = ft_cli_text(c, "--dtype"), *preset = ft_cli_text(c, "--as");
    char path[1200];
    float *beside[2] = {NULL, NULL};
    ft_config *cfg;
    ft_safetensors st;
    if (!out) return FT_FAIL(FT_EUSAGE, "-o W.safetensors is missing. usage: forty %s", ft_verb_weights.usage);
    if (strcmp(dtype, "f32") && strcmp(dtype, "f16") && strcmp(dtype, "bf16"))
        return FT_FAIL(FT_EUSAGE, "--dtype %s is not known: f32, f16, bf16", dtype);
    FT_TRY(ft_claim_output(out, ft_cli_flag(c, "--force")));
    snprintf(path, sizeof path, "%s%s", from, ft_is_dir(from) ? "/ema.safetensors" : "");
    FT_TRY(ft_cli_config(c, NULL, &cfg));
    bool images = ft_config_int(cfg, "generator.images") > 0;
    ft_config_free(cfg);
    FT_TRY(ft_weights_read(&st, path));
    if (!preset) preset = json_string_value(json_object_get(st.metadata, "model"));
    int rc = merge_adapters(&st), n = st.n;
    void **fresh = ft_alloc(sizeof *fresh * (size_t)(n + 1));
    if (!fresh) rc = FT_FAIL(FT_ENOMEM, "%s: no memory", path);
    for (int i = 0; rc == FT_OK && i < n && strcmp(dtype, "f32"); i++) {
        ft_st_tensor *t = &st.tensor[i];
        float *v = ft_alloc((size_t)(t->count + 1) * sizeof *v);
        fresh[i] = ft_alloc((size_t)(t->count + 1) * 2);
        rc = v && fresh[i] ? ft_safetensors_f32(t, v) : FT_FAIL(FT_ENOMEM, "%s: no memory", path);
        if (rc == FT_OK) {
            narrow(v, t->count, !strcmp(dtype, "f16"), fresh[i]);
            t->data = fresh[i], t->bytes = (size_t)t->count * 2;
            snprintf(t->dtype, sizeof t->dtype, "%s", !strcmp(dtype, "f16") ? "F16" : "BF16");
        }
        ft_free(v);
    }
    if (rc == FT_OK && preset) rc = ft_public_complete(preset, images, &st, beside);
    if (rc == FT_OK) rc = ft_safetensors_write(out, st.tensor, st.n, st.metadata);
    if (rc == FT_OK)
        ft_cli_print(c, json_pack("{s:s,s:i}", "output", out, "tensors", st.n), "%s: %d tensors as %s\n", out, st.n, dtype);
    for (int i = 0; fresh && i < n; i++) ft_free(fresh[i]);
    ft_free(fresh);
    for (int i = 0; i < 2; i++) ft_free(beside[i]);
    ft_safetensors_free(&st);
    return rc;
}

static int run_weights(ft_cli *c)
{
    const char *const *arg;
    FT_TRY(ft_cli_need(c, 2, "import|check|export and FILE"));
    int n = ft_cli_args(c, &arg);
    if (!strcmp(arg[0], "import") || !strcmp(arg[0], "check")) return import_files(c, n - 1, arg + 1, arg[0][0] == 'c');
    if (!strcmp(arg[0], "export")) return export_file(c, arg[1]);
    return FT_FAIL(FT_EUSAGE, "weights %s is not known: import, check, export", arg[0]);
}
static const ft_option weights_options[] = {
    {"--as", "MODEL", NULL, "the model that the files are for; of an export: if the file does not say it"},
    {"-o", "W.safetensors", NULL, "file to write"},
    {"--key", "NAME", NULL, "the dict inside a .pth file: ema, state_dict, teacher ...; found by itself where only one fits"},
    {"--dtype", "f32|f16|bf16", "f32", "of an export"},
    {NULL, NULL, NULL, NULL}};
const ft_verb ft_verb_weights = {
    "weights",
    "reads public weight files (.safetensors, .pth, .pt, .ckpt; nothing in them is executed), and writes them back",
    "weights import|check FILE... --as MODEL -o W.safetensors, weights export RUN|W.safetensors -o OUT.safetensors",
    "forty weights import dino_deitsmall8_pretrain.pth --as dino-vits8 -o dino.safetensors",
    weights_options,
    run_weights};

/* ---- forward ------------------------------------------------------------------------------------------------------------ */

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
    FT_TRY_TO(rc, done, classes_in(preset, cfg, &w, 1, &classes));
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
