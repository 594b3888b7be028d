/* Weight files that earlier versions wrote, and exports: their names, and how values lay, turned into today's. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/names.h"
#include "common/base/status.h"
#include "common/io/weights.h"

/* Names of layout 1: FEAT's and MedSora's were ours, today they are those of the public code. Whole parts of a path, "." on both
 * sides; where two stand one behind the other, in this order. */
static const char *const renamed[][2] = {{".att.decay.", ".att.spatial_decay."},
                                         {".att.first.", ".att.spatial_first."},
                                         {".att.shift_s.", ".att.dwconv2d."},
                                         {".att.shift_t.", ".att.dwconv1d."},
                                         {".spatial_mamba.gate1.", ".spatial_mamba.gated_fusion.gate_F1."},
                                         {".spatial_mamba.gate2.", ".spatial_mamba.gated_fusion.gate_F2."},
                                         {".spatial_mamba.", ".mamba_hw."},
                                         {".temporal_mamba.", ".mamba_f."},
                                         {".local_attn.to_q.", ".query_matrix."},
                                         {".local_attn.to_k.", ".key_matrix."},
                                         {".local_attn.to_v.", ".value_matrix."}};

/* Names in `out` (room for size) what was called `name`; false: nothing changed. */
static bool today(const char *name, char *out, size_t size)
{
    snprintf(out, size, ".%s.", name);
    if (!strncmp(name, "channel_blocks.", 15)) {
        ft_replace(out, size, ".channel_blocks.", ".restormers.");
        ft_replace(out, size, ".ln1.", ".norm1.");
        ft_replace(out, size, ".ln2.", ".norm2.");
    }
    if (!strncmp(name, "backbone.", 9))
        ft_replace(out, size, ".backbone.", "."); /* an export of a TimeSformer, for Endo-FM's code */
    if (!strcmp(name, "skip.weight") || !strcmp(name, "skip.bias")) ft_replace(out, size, ".skip.", ".res_conv.");
    for (size_t i = 0; i < sizeof renamed / sizeof *renamed; i++) ft_replace(out, size, renamed[i][0], renamed[i][1]);
    size_t n = strlen(out);
    memmove(out, out + 1, n);
    out[n - 2] = 0;
    return strcmp(out, name) != 0;
}

static int rename_all(ft_safetensors *st, const char *path)
{
    char name[300];
    bool changed = false;
    for (int i = 0; i < st->n; i++) {
        ft_st_tensor *t = &st->tensor[i];
        if (strlen(t->name) > 200 || !today(t->name, name, sizeof name)) continue;
        char *copy = ft_strdup(name);
        if (!copy) return FT_FAIL(FT_ENOMEM, "%s: no memory for a name", path);
        ft_free(t->name);
        t->name = copy;
        changed = true;
        if (!strncmp(name, "restormers.", 11) && t->ndim == 2 && strstr(name, ".attn.alpha")) t->ndim = 1, t->dim[0] = t->count;
    }
    if (changed) ft_lookup_free(&st->by_name);
    return changed ? ft_safetensors_index(st, path) : FT_OK;
}

/* Rows of an attention's qkv (heads, 3, head dim) to public code's (3, heads, head dim). */
static int turn_rows(const char *path, const ft_st_tensor *t, int64_t head_dim)
{
    int64_t heads = t->ndim > 0 ? t->dim[0] / 3 / head_dim : 0;
    if (heads == 0 || t->dim[0] != heads * 3 * head_dim)
        return FT_FAIL(FT_EDATA, "%s: %s does not fit the relative positions beside it", path, t->name);
    size_t block = t->bytes / (size_t)(heads * 3);
    char *to = (char *)(uintptr_t)t->data, *from = ft_alloc(t->bytes + 1); /* in the memory of st->file */
    if (!from) return FT_FAIL(FT_ENOMEM, "%s: no memory for %s", path, t->name);
    memcpy(from, to, t->bytes);
    for (int64_t part = 0; part < 3; part++)
        for (int64_t h = 0; h < heads; h++)
            memcpy(to + (size_t)(part * heads + h) * block, from + (size_t)(h * 3 + part) * block, block);
    ft_free(from);
    return FT_OK;
}

/* LVDM of layout 1: head by head, and relative keys scaled by head_dim^(-1/2). Turned like this it computes what it did. */
static int turn_lvdm(ft_safetensors *st, const char *path)
{
    static const char table[] = ".relative_position_k.embeddings_table", *const others[] = {".qkv_s.weight", ".qkv_s.bias",
                                                                                            ".qkv_t.weight", ".qkv_t.bias"};
    char name[300];
    for (int i = 0; i < st->n; i++) {
        const ft_st_tensor *k = &st->tensor[i];
        size_t stem = strlen(k->name) > strlen(table) ? strlen(k->name) - strlen(table) : 0;
        if (!stem || stem > 200 || strcmp(k->name + stem, table) || k->ndim != 2 || k->dim[1] < 1) continue;
        if (strcmp(k->dtype, "F32"))
            return FT_FAIL(FT_EDATA, "%s: an LVDM of an earlier version as %s. Export it again, as f32", path, k->dtype);
        for (int64_t j = 0; j < k->count; j++) {
            char *at = (char *)(uintptr_t)k->data + 4 * j;
            float v;
            memcpy(&v, at, 4);
            v *= powf((float)k->dim[1], -0.25f);
            memcpy(at, &v, 4);
        }
        for (size_t j = 0; j < sizeof others / sizeof *others; j++) {
            snprintf(name, sizeof name, "%.*s%s", (int)stem, k->name, others[j]);
            const ft_st_tensor *t = ft_safetensors_find(st, name);
            if (t) FT_TRY(turn_rows(path, t, k->dim[1]));
        }
    }
    return FT_OK;
}

int ft_weights_today(ft_safetensors *st, const char *path)
{
    json_t *m = st->metadata;
    FT_TRY(rename_all(st, path)); /* also without our metadata: nobody else has such names */
    /* what was imported lies as its authors had it */
    if (!json_object_get(m, "forty_version") || json_object_get(m, "layout") || json_object_get(m, "source")) return FT_OK;
    FT_TRY(turn_lvdm(st, path));
    json_object_set_new(m, "layout", json_string(FT_WEIGHTS_LAYOUT));
    return FT_OK;
}

int ft_weights_read(ft_safetensors *st, const char *path)
{
    FT_TRY(ft_safetensors_read(st, path));
    int rc = ft_weights_today(st, path);
    if (rc < 0) ft_safetensors_free(st);
    return rc;
}
