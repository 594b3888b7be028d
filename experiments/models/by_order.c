/* Files that hold a network of ours under names of their own, as the TorchScript port of I3D may: the sequence of shapes of the
 * convolutions says which tensor is which. */
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/vision/judge.h"
#include "experiments/models/model_table.h"

static bool is_convolution(int ndim) { return ndim == 5; }

/* what a vector beside a convolution is, by the last part of its name; NULL: unknown */
static const char *role(const char *name)
{
    static const char *const roles[][2] = {{"var", ".running_var"}, {"mean", ".running_mean"}, {"beta", ".bias"},
                                           {"bias", ".bias"},       {"offset", ".bias"},       {"gamma", ".weight"},
                                           {"scale", ".weight"},    {"weight", ".weight"}};
    const char *tail = strrchr(name, '.');
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (strstr(tail ? tail : name, roles[i][0])) return roles[i][1];
    return NULL;
}

static bool ends(const char *s, const char *tail)
{
    return strlen(s) >= strlen(tail) && !strcmp(s + strlen(s) - strlen(tail), tail);
}

static bool same_shape(const ft_st_tensor *t, const ft_param_info *e)
{
    bool same = t->ndim == e->ndim;
    for (int k = 0; same && k < e->ndim; k++) same = t->dim[k] == e->dim[k];
    return same;
}

/* of[i]: which of our parameters tensor i is, -1: none. False: the file is another network's, or says too little. */
static bool assign(const char *preset, const ft_params *p, const ft_safetensors *st, int *of, bool *filled)
{
    int n = ft_params_count(p), at = -1; /* the convolution that is being filled */
    for (int i = 0; i < st->n; i++) {
        const ft_st_tensor *t = &st->tensor[i];
        const char *what = role(t->name);
        int k = at + 1;
        of[i] = -1;
        if (is_convolution(t->ndim)) {
            while (k < n && !is_convolution(ft_params_at(p, k)->ndim)) k++;
            if (k == n || !same_shape(t, ft_params_at(p, k))) return false;
            at = k;
        } else if (t->ndim == 1) {
            while (k < n && !is_convolution(ft_params_at(p, k)->ndim) && !(what && ends(ft_params_at(p, k)->name, what))) k++;
            if (at < 0 || k == n || !same_shape(t, ft_params_at(p, k)) || filled[k]) return false;
        } else continue;
        of[i] = k, filled[k] = true;
    }
    for (int k = 0; k < n; k++)
        if (!filled[k] && !ft_public_optional(preset, ft_params_at(p, k)->name)) return false;
    return true;
}

int ft_public_by_order(const char *preset, const ft_params *p, ft_safetensors *st, int *renamed)
{
    char name[256];
    *renamed = 0;
    if (!ft_judge_find(preset) || strncmp(preset, "i3d", 3)) return FT_OK;
    for (int i = 0; i < st->n; i++) {
        ft_public_name(preset, st->tensor[i].name, name, sizeof name);
        for (int k = 0; k < ft_params_count(p); k++)
            if (!strcmp(ft_params_at(p, k)->name, name)) return FT_OK; /* it has names that are known */
    }
    int *of = ft_alloc_n(st->n + 1, sizeof *of);
    bool *filled = ft_alloc_n(ft_params_count(p) + 1, sizeof *filled);
    int rc = of && filled ? FT_OK : FT_FAIL(FT_ENOMEM, "no memory for %d names", st->n);
    bool fits = rc == FT_OK && assign(preset, p, st, of, filled);
    for (int i = 0; fits && rc == FT_OK && i < st->n; i++) {
        if (of[i] < 0) continue;
        char *ours = ft_strdup(ft_params_at(p, of[i])->name);
        if (!ours) rc = FT_FAIL(FT_ENOMEM, "no memory for %d names", st->n);
        else ft_free(st->tensor[i].name), st->tensor[i].name = ours, ++*renamed;
    }
    ft_free(of);
    ft_free(filled);
    return rc;
}
