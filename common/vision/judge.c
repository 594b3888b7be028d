#include "common/vision/judge.h"

#include <string.h>

#include "common/base/status.h"
#include "common/graph/layers.h"
#include "common/vision/judge_table.h"

#define JUDGE(name) extern const ft_judge ft_judge_##name;
FT_JUDGES(JUDGE)
#undef JUDGE
static const ft_judge *const families[] = {
#define JUDGE(name) &ft_judge_##name,
    FT_JUDGES(JUDGE)
#undef JUDGE
};

static const ft_judge *at(int i, const ft_judge_preset **row)
{
    *row = NULL;
    for (size_t f = 0; f < sizeof families / sizeof *families; i -= (int)families[f++]->n)
        if (i < (int)families[f]->n)
            return *row = (const void *)((const char *)families[f]->presets + (size_t)i * families[f]->row), families[f];
    return NULL;
}

static const ft_judge *find(const char *name, const ft_judge_preset **row)
{
    const ft_judge *f;
    for (int i = 0; (f = at(i, row)); i++)
        if (!strcmp((*row)->name, name)) return f;
    return NULL;
}

const ft_judge_preset *ft_judge_at(int i)
{
    const ft_judge_preset *row;
    at(i, &row);
    return row;
}

const ft_judge_preset *ft_judge_find(const char *name)
{
    const ft_judge_preset *row;
    find(name, &row);
    return row;
}

ft_work ft_judge_work(const char *name)
{
    const ft_judge_preset *row;
    const ft_judge *f = find(name, &row);
    FT_ASSERT(f != NULL);
    return f->work;
}

ft_t ft_judge_network(ft_graph *g, const char *name, ft_t x)
{
    const ft_judge_preset *row;
    const ft_judge *f = find(name, &row);
    FT_ASSERT(f != NULL);
    return f->network(g, row, x);
}

ft_t ft_judge_prepare(ft_graph *g, const ft_judge_preset *p, ft_t x)
{
    int n = ft_ndim(x);
    int64_t colours[5] = {1, 1, 1, 1, 3};
    float scale[3];
    for (int k = 0; k < 3; k++) scale[k] = 1 / p->std[k];
    for (int axis = n - 3; axis < n - 1; axis++) x = ft_resize(g, x, axis, p->size, p->resize, 0);
    if (p->resize == FT_CUBIC_SMOOTH) x = ft_clamp(g, x, 0, 1); /* the kernel overshoots; Pillow and clean-fid cut that off */
    const int64_t *dim = colours + 5 - n;
    return ft_mul(g, ft_sub(g, x, ft_const(g, FT_F32, n, dim, p->mean)), ft_const(g, FT_F32, n, dim, scale));
}

ft_t ft_judge_unit(ft_graph *g, const char *conv, const char *bn, ft_t x, int64_t out, const int64_t kernel[3], ft_conv_opt opt,
                   float eps)
{
    x = ft_layer_conv(g, conv, x, out, kernel, opt, false);
    ft_t gamma = ft_param(g, ft_name(g, "%s.weight", bn), 1, &out, FT_ONE),
         beta = ft_param(g, ft_name(g, "%s.bias", bn), 1, &out, FT_ZERO),
         mean = ft_buffer(g, ft_name(g, "%s.running_mean", bn), 1, &out, FT_ZERO),
         var = ft_buffer(g, ft_name(g, "%s.running_var", bn), 1, &out, FT_ONE);
    return ft_batchnorm(g, x, gamma, beta, mean, var, 0, 0.1f, eps, FT_ACT_RELU);
}
