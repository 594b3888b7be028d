#include "common/graph/layers.h"

#include <math.h>

ft_t ft_layer_linear(ft_graph *g, const char *name, ft_t x, int64_t out, bool bias)
{
    ft_init init = ft_init_uniform_fan(ft_dim(x, -1));
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 2, (int64_t[]){out, ft_dim(x, -1)}, init);
    return ft_linear(g, x, w, bias ? ft_param(g, ft_name(g, "%s.bias", name), 1, &out, init) : NULL);
}

ft_t ft_layer_adapted(ft_graph *g, const char *name, ft_t x, ft_t y)
{
    double scale;
    int64_t rank = ft_params_adapters(ft_store_of(g), &scale), in = ft_dim(x, -1), out = ft_dim(y, -1);
    if (!rank) return y;
    ft_init init = {FT_INIT_NORMAL, 1 / sqrt((double)in), NULL};
    ft_t a = ft_param(g, ft_name(g, "%s.lora_A.weight", name), 2, (int64_t[]){rank, in}, init);
    ft_t b = ft_param(g, ft_name(g, "%s.lora_B.weight", name), 2, (int64_t[]){out, rank}, FT_ZERO);
    return ft_add(g, y, ft_affine(g, ft_linear(g, ft_linear(g, x, a, NULL), b, NULL), (float)scale, 0));
}

ft_t ft_layer_conv(ft_graph *g, const char *name, ft_t x, int64_t out, const int64_t kernel[3], ft_conv_opt opt, bool bias)
{
    int64_t in = ft_dim(x, -1) / (opt.groups ? opt.groups : 1), kt = kernel[0] ? kernel[0] : 1, kh = kernel[1], kw = kernel[2];
    ft_init init = ft_init_uniform_fan(in * kt * kh * kw);
    const char *key = ft_name(g, "%s.weight", name);
    ft_t w = kernel[0] ? ft_param(g, key, 5, (int64_t[]){out, in, kt, kh, kw}, init)
                       : ft_param(g, key, 4, (int64_t[]){out, in, kh, kw}, init);
    w = ft_reshape(g, w, 5, (int64_t[]){out, in, kt, kh, kw});
    ft_t b = bias ? ft_param(g, ft_name(g, "%s.bias", name), 1, &out, init) : NULL;
    bool plain = kt * kh * kw == 1 && opt.groups < 2;
    for (int i = 0; i < 3; i++) plain &= opt.stride[i] < 2 && !opt.pad_front[i] && !opt.pad_back[i];
    return plain ? ft_linear_act(g, x, w, b, opt.act) : ft_conv(g, x, w, b, opt);
}

ft_t ft_layer_conv_same(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t kt, int64_t ks, int64_t st, int64_t ss)
{
    ft_t w = ft_param(g, ft_name(g, "%s.weight", name), 5, (int64_t[]){out, ft_dim(x, 4), kt, ks, ks},
                      ft_init_kaiming_out(out * kt * ks * ks));
    return ft_conv(
        g, x, w, NULL,
        (ft_conv_opt){.stride = {st, ss, ss}, .pad_front = {kt / 2, ks / 2, ks / 2}, .pad_back = {kt / 2, ks / 2, ks / 2}});
}

static ft_t gamma_of(ft_graph *g, const char *name, int64_t c)
{
    return ft_param(g, ft_name(g, "%s.weight", name), 1, &c, FT_ONE);
}
static ft_t beta_of(ft_graph *g, const char *name, int64_t c) { return ft_param(g, ft_name(g, "%s.bias", name), 1, &c, FT_ZERO); }

ft_t ft_layer_layernorm(ft_graph *g, const char *name, ft_t x, float eps)
{
    return ft_layernorm(g, x, gamma_of(g, name, ft_dim(x, -1)), beta_of(g, name, ft_dim(x, -1)), NULL, NULL, eps);
}

ft_t ft_layer_groupnorm(ft_graph *g, const char *name, ft_t x, int groups, float eps, ft_act act)
{
    return ft_groupnorm(g, x, gamma_of(g, name, ft_dim(x, -1)), beta_of(g, name, ft_dim(x, -1)), groups, eps, act);
}

ft_t ft_layer_batchnorm(ft_graph *g, const char *name, ft_t x, int64_t first, ft_act act)
{
    int64_t c = ft_dim(x, -1);
    ft_t gamma = gamma_of(g, name, c), beta = beta_of(g, name, c);
    ft_t mean = ft_buffer(g, ft_name(g, "%s.running_mean", name), 1, &c, FT_ZERO);
    ft_t var = ft_buffer(g, ft_name(g, "%s.running_var", name), 1, &c, FT_ONE);
    return ft_batchnorm(g, x, gamma, beta, mean, var, first, 0.1f, 1e-5f, act);
}

ft_t ft_add_part(ft_graph *g, ft_t *sum, ft_t x, int64_t parts)
{
    ft_t share = parts > 1 ? ft_affine(g, x, 1 / (float)parts, 0) : x;
    *sum = *sum ? ft_add(g, *sum, share) : share;
    return share;
}

ft_t ft_join(ft_graph *g, int axis, int n, const ft_t *x)
{
    int64_t each = FT_MAX_IN; /* tensors of a group */
    ft_t group[FT_MAX_IN];
    int groups = 0;
    if (n <= FT_MAX_IN) return n == 1 ? x[0] : ft_concat(g, axis, n, x);
    while (each * FT_MAX_IN < n) each *= FT_MAX_IN;
    for (int64_t i = 0; i < n; i += each) group[groups++] = ft_join(g, axis, (int)(n - i < each ? n - i : each), x + i);
    return ft_join(g, axis, groups, group);
}
