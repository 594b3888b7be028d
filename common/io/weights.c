#include "common/io/weights.h"

#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/io/safetensors.h"

/* Parameters that only a loss needs, by the name's first part. Part of the state, not of a file of the model's weights. */
static bool of_training(const ft_param_info *e) { return !strncmp(e->name, "training.", 9); }

int ft_weights_save(const char *path, ft_params *p, ft_bank bank, const json_t *metadata)
{
    int all = ft_params_count(p), n = 0;
    ft_st_tensor *t = ft_alloc(sizeof *t * (size_t)(all + 1));
    if (!t) return FT_FAIL(FT_ENOMEM, "%s: no memory for %d tensors", path, all);
    for (int i = 0; i < all; i++) {
        const ft_param_info *e = ft_params_at(p, i);
        if (of_training(e)) continue;
        t[n] = (ft_st_tensor){.name = (char *)e->name,
                              .dtype = "F32",
                              .ndim = e->ndim,
                              .count = e->count,
                              .data = ft_params_flat(p, bank) + e->offset,
                              .bytes = (size_t)e->count * 4};
        memcpy(t[n++].dim, e->dim, sizeof e->dim);
    }
    json_t *m = metadata ? json_copy((json_t *)(uintptr_t)metadata) : json_object();
    json_object_set_new(m, "layout", json_string(FT_WEIGHTS_LAYOUT));
    int rc = ft_safetensors_write(path, t, n, m);
    json_decref(m);
    ft_free(t);
    return rc;
}

static bool same_shape(const ft_st_tensor *t, const ft_param_info *e)
{
    bool same = t->count == e->count && t->ndim == e->ndim;
    for (int k = 0; same && k < e->ndim; k++) same = t->dim[k] == e->dim[k];
    return same;
}

static int wrong_shape(const char *path, const ft_st_tensor *t, const ft_param_info *e)
{
    return FT_FAIL(FT_EDATA, "%s: tensor %s has %lld values in %d dims, the model needs %lld in %d. Is it the right model?", path,
                   e->name, (long long)t->count, t->ndim, (long long)e->count, e->ndim);
}

static int extra_tensors(const ft_safetensors *st, int known)
{
    /* an export of ours has everything that the public code has beside the model's tensors */
    if (json_object_get(st->metadata, "exported")) return 0;
    int n = st->n - known; /* PyTorch's BatchNorm counts its batches; nothing here needs that */
    for (int i = 0; i < st->n; i++) {
        const char *tail = strrchr(st->tensor[i].name, '.');
        n -= tail && !strcmp(tail, ".num_batches_tracked");
    }
    return n;
}

int ft_weights_load(const char *path, ft_params *p, ft_bank bank, json_t **metadata)
{
    ft_safetensors st;
    FT_TRY(ft_params_seal(p));
    FT_TRY(ft_weights_read(&st, path));
    int n = ft_params_count(p), missing = 0, known = 0, rc = FT_OK;
    char first[200] = "";
    for (int i = 0; i < n && rc == FT_OK; i++) {
        const ft_param_info *e = ft_params_at(p, i);
        const ft_st_tensor *t = ft_safetensors_find(&st, e->name);
        if (!t) {
            if (!missing++) snprintf(first, sizeof first, "%s", e->name);
            continue;
        }
        known++;
        rc = same_shape(t, e) ? ft_safetensors_f32(t, ft_params_flat(p, bank) + e->offset) : wrong_shape(path, t, e);
    }
    if (rc == FT_OK && missing)
        rc = FT_FAIL(FT_EDATA, "%s: %d of the model's %d tensors are missing, the first is %s. Is it the right model?", path,
                     missing, n, first);
    if (rc == FT_OK && extra_tensors(&st, known) > 0)
        rc = FT_FAIL(FT_EDATA, "%s: %d tensors are not part of the model. Is it the right model?", path,
                     extra_tensors(&st, known));
    if (rc == FT_OK && metadata) *metadata = json_incref(st.metadata);
    ft_safetensors_free(&st);
    ft_params_touched(p);
    return rc;
}

int ft_weights_load_some(const char *path, ft_params *p)
{
    ft_safetensors st;
    FT_TRY(ft_params_seal(p));
    FT_TRY(ft_weights_read(&st, path));
    int n = ft_params_count(p), fresh = 0, rc = FT_OK;
    for (int i = 0; i < n && rc == FT_OK; i++) {
        const ft_param_info *e = ft_params_at(p, i);
        const ft_st_tensor *t = ft_safetensors_find(&st, e->name);
        float *v = ft_params_flat(p, FT_WEIGHTS) + e->offset;
        fresh += !t;
        if (!t) continue;
        rc = same_shape(t, e) ? ft_safetensors_f32(t, v) : wrong_shape(path, t, e);
        if (rc == FT_OK && ft_params_flat(p, FT_EMA) + e->offset != v)
            memcpy(ft_params_flat(p, FT_EMA) + e->offset, v, (size_t)e->count * sizeof *v);
    }
    if (rc == FT_OK && fresh == n) rc = FT_FAIL(FT_EDATA, "%s: holds none of the model's tensors. Is it the right model?", path);
    if (rc == FT_OK) ft_log("%s: %d of %d tensors taken, %d start anew", path, n - fresh, n, fresh);
    ft_safetensors_free(&st);
    ft_params_touched(p);
    return rc;
}

/* flat arrays under their own names: the layout is the store's, so a state file fits one version of one model only */
static const char *const state_names[] = {"weights",           "ema",           "moment1",           "moment2",
                                          "companion.weights", "companion.ema", "companion.moment1", "companion.moment2"};

static float *state_part(ft_params *p, int i, int64_t *count)
{
    *count = i < 2 ? ft_params_flat_size(p) : ft_params_trained_size(p);
    return i < 2 ? ft_params_flat(p, (ft_bank)i) : ft_params_moment(p, i - 2);
}

/* A number of the names in the order in which the store keeps them: what a flat array means. */
static void order_of(const ft_params *p, const ft_params *companion, char text[17])
{
    uint64_t h = 14695981039346656037u;
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < (which ? companion ? ft_params_count(companion) : 0 : ft_params_count(p)); i++)
            for (const char *s = ft_params_at(which ? companion : p, i)->name;; s++) {
                h = (h ^ (unsigned char)*s) * 1099511628211u;
                if (!*s) break;
            }
    snprintf(text, 17, "%016llx", (unsigned long long)h);
}

int ft_state_save(const char *path, ft_params *p, ft_params *companion, const json_t *extra)
{
    ft_st_tensor t[8];
    int parts = companion ? 8 : 4;
    for (int i = 0; i < parts; i++) {
        int64_t n;
        const float *v = state_part(i < 4 ? p : companion, i % 4, &n);
        t[i] = (ft_st_tensor){
            .name = (char *)state_names[i], .dtype = "F32", .ndim = 1, .dim = {n}, .count = n, .data = v, .bytes = (size_t)n * 4};
    }
    json_t *m = json_copy((json_t *)(uintptr_t)extra);
    char order[17];
    order_of(p, companion, order);
    json_object_set_new(m, "layout", json_string(FT_WEIGHTS_LAYOUT));
    json_object_set_new(m, "order", json_string(order));
    int rc = ft_safetensors_write(path, t, parts, m);
    json_decref(m);
    return rc;
}

/* Whether flat arrays of today mean what those of the file meant. LVDM's relative positions were turned in layout 1, and a
 * moment cannot be turned as a weight can; files that do not name their order are older than the diffusion transformers' of
 * today, which keep weights of one shape side by side. */
static bool same_order(const ft_params *p, const ft_params *companion, const json_t *metadata)
{
    const char *order = json_string_value(json_object_get(metadata, "order"));
    char now[17];
    order_of(p, companion, now);
    if (order) return !strcmp(order, now);
    for (int i = 0; i < ft_params_count(p); i++) {
        const char *name = ft_params_at(p, i)->name;
        if (strstr(name, ".adaLN_modulation.") || (strstr(name, ".relative_position_k.") && !json_object_get(metadata, "layout")))
            return false;
    }
    return true;
}

int ft_state_load(const char *path, ft_params *p, ft_params *companion, json_t **extra)
{
    ft_safetensors st;
    FT_TRY(ft_params_seal(p));
    if (companion) FT_TRY(ft_params_seal(companion));
    FT_TRY(ft_safetensors_read(&st, path));
    int rc = FT_OK;
    if (!same_order(p, companion, st.metadata))
        rc = FT_FAIL(FT_EDATA,
                     "%s: begun by an earlier version, which kept its arrays in another order. Remove it to start again", path);
    for (int i = 0; i < (companion ? 8 : 4) && rc == FT_OK; i++) {
        int64_t n;
        float *v = state_part(i < 4 ? p : companion, i % 4, &n);
        const ft_st_tensor *t = ft_safetensors_find(&st, state_names[i]);
        if (!t || t->count != n) rc = FT_FAIL(FT_EDATA, "%s: does not fit this model. Remove it to start again", path);
        else rc = ft_safetensors_f32(t, v);
    }
    if (rc == FT_OK) *extra = json_incref(st.metadata);
    ft_safetensors_free(&st);
    ft_params_touched(p);
    if (companion) ft_params_touched(companion);
    return rc;
}
