/* Verbs about weights: init, weights import|check|export. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
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
            ft_model_our_name(preset, t, name);
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
    FT_TRY_TO(rc, done, ft_model_classes_in(preset, cfg, file, n, &classes));
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
