/* What public code's state dicts hold beside the tensors of ours, so that an export loads strictly there. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "classify/classifier.h"
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/models/model_table.h"
#include "gen/stylegan.h"

/* Endora's adapters between the features of its DINO and the blocks: used in its training alone. EnDoraIMG, the class that trains
 * with images beside the clip, has one more. */
static const struct {
    const char *name;
    int ndim;
    int64_t dim[4];
    bool images;
} adapters[] = {{"linear.weight", 2, {1152, 384}, false},
                {"linear.bias", 1, {1152}, false},
                {"linear_2.weight", 2, {1152, 1536}, false},
                {"linear_2.bias", 1, {1152}, false},
                {"cov.weight", 4, {1152, 384, 2, 2}, true}};
enum { N_ADAPTERS = sizeof adapters / sizeof *adapters, LARGEST = 1152 * 1536 };
static const char frequencies[] = ".local_attention.rel_pos.inv_freq";

static bool ends(const char *s, const char *tail)
{
    return strlen(s) >= strlen(tail) && !strcmp(s + strlen(s) - strlen(tail), tail);
}

static bool of_family(const char *preset, const char *family)
{
    return ft_generator_find(preset) && !strcmp(ft_generator_find(preset)->family, family);
}

bool ft_public_idle(const char *preset, const char *name)
{
    for (int i = 0; i < N_ADAPTERS; i++)
        if (of_family(preset, "endora") && !strcmp(name, adapters[i].name)) return true;
    if (ft_stylegan_find(preset) && ends(name, "resample_filter")) return true; /* every layer holds the low pass once more */
    return ends(name, ".num_batches_tracked") || ft_judge_public_idle(preset, name) ||
           (of_family(preset, "medsora") && ends(name, frequencies));
}

/* Appends a tensor; `data` is borrowed. */
static int add(ft_safetensors *st, const char *name, const char *dtype, int ndim, const int64_t *dim, const void *data)
{
    ft_st_tensor t = {.name = ft_strdup(name), .ndim = ndim, .count = 1, .data = data};
    if (!t.name) return FT_FAIL(FT_ENOMEM, "no memory for %s", name);
    for (int i = 0; i < ndim; i++) t.count *= t.dim[i] = dim[i];
    snprintf(t.dtype, sizeof t.dtype, "%s", dtype);
    t.bytes = (size_t)t.count * (!strcmp(dtype, "I64") ? 8 : !strcmp(dtype, "F32") ? 4 : 2);
    st->tensor[st->n++] = t;
    return FT_OK;
}

/* the name of our tensor under which the public code has it a second time; false: it has not */
static bool alias(const char *preset, const char *name, char *to, size_t size)
{
    int i;
    char rest[200];
    if (!strncmp(preset, "lpips-", 6) && sscanf(name, "lin%d.%199s", &i, rest) == 2)
        return snprintf(to, size, "lins.%d.%s", i, rest) > 0;
    if (strncmp(preset, "lvdm-vae", 8) || !ends(name, ".conv.weight")) return false;
    return snprintf(to, size, "%.*s.weight", (int)(strlen(name) - strlen(".conv.weight")), name) > 0;
}

/* what belongs beside tensor i of ours */
static int beside(const char *preset, ft_safetensors *st, int i, float *const memory[2])
{
    const ft_st_tensor t = st->tensor[i];
    char name[300];
    int n = (int)strlen(t.name);
    if (alias(preset, t.name, name, sizeof name)) return add(st, name, t.dtype, t.ndim, t.dim, t.data);
    if (ends(t.name, ".running_var")) {
        snprintf(name, sizeof name, "%.*s.num_batches_tracked", n - (int)strlen(".running_var"), t.name);
        return add(st, name, "I64", 0, NULL, memory[0]);
    }
    if (!of_family(preset, "medsora") || !ends(t.name, ".query_matrix.weight") || t.ndim != 2 || t.dim[0] > LARGEST) return FT_OK;
    for (int64_t k = 0; k < t.dim[0] / 2; k++) memory[1][k] = (float)pow(10000.0, -2.0 * (double)k / (double)t.dim[0]);
    snprintf(name, sizeof name, "%.*s%s", n - (int)strlen(".query_matrix.weight"), t.name, frequencies);
    return add(st, name, "F32", 1, (int64_t[]){t.dim[0] / 2}, memory[1]);
}

/* Endo-FM's checkpoints hold its TimeSformer as "backbone."; its code reads that alone, into a network without a head. */
static int as_backbone(ft_safetensors *st, const char *head)
{
    int n = (int)(strrchr(head, '.') - head) + 1;
    for (int i = 0; i < st->n; i++) {
        char *name = ft_alloc(strlen(st->tensor[i].name) + sizeof "backbone.");
        if (!name) return FT_FAIL(FT_ENOMEM, "no memory for a name");
        sprintf(name, "%s%s", strncmp(st->tensor[i].name, head, (size_t)n) ? "backbone." : "", st->tensor[i].name);
        ft_free(st->tensor[i].name);
        st->tensor[i].name = name;
    }
    return FT_OK;
}

int ft_public_complete(const char *preset, bool images, ft_safetensors *st, float *memory[2])
{
    int n = st->n;
    ft_st_tensor *all = ft_alloc_n(2 * (int64_t)n + N_ADAPTERS, sizeof *all);
    for (int i = 0; i < 2; i++) memory[i] = ft_alloc(sizeof(float) * LARGEST);
    if (!all || !memory[0] || !memory[1]) {
        ft_free(all);
        return FT_FAIL(FT_ENOMEM, "no memory for %d tensors", n);
    }
    memcpy(all, st->tensor, (size_t)n * sizeof *all);
    ft_free(st->tensor);
    st->tensor = all;
    for (int i = 0; i < n; i++) FT_TRY(beside(preset, st, i, memory));
    for (int i = 0; of_family(preset, "endora") && i < N_ADAPTERS; i++)
        if (images || !adapters[i].images) FT_TRY(add(st, adapters[i].name, "F32", adapters[i].ndim, adapters[i].dim, memory[0]));
    if (st->metadata) json_object_set_new(st->metadata, "exported", json_string("names and tensors of the public code"));
    const ft_classifier *family = ft_classifier_find(preset);
    return family && !strcmp(family->family, "timesformer") ? as_backbone(st, family->head) : FT_OK;
}
