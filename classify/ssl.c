#include "classify/ssl.h"

#include <string.h>

#include "classify/ssl_table.h"
#include "common/base/memory.h"

#define SSL(name) extern const ft_ssl ft_ssl_##name;
FT_SSL_TABLE(SSL)
#undef SSL

static const ft_ssl *const rows[] = {
#define SSL(name) &ft_ssl_##name,
    FT_SSL_TABLE(SSL)
#undef SSL
};

const ft_ssl *ft_ssl_at(int i) { return i < (int)(sizeof rows / sizeof *rows) ? rows[i] : NULL; }

const ft_ssl *ft_ssl_find(const char *name)
{
    for (int i = 0; ft_ssl_at(i); i++)
        if (!strcmp(rows[i]->name, name)) return rows[i];
    return NULL;
}

ft_ssl_opt ft_ssl_options(const ft_config *cfg)
{
    const char *to = ft_config_text(cfg, "ssl.alignment");
    return (ft_ssl_opt){.threshold = ft_config_real(cfg, "ssl.threshold"),
                        .momentum = ft_config_real(cfg, "ssl.momentum"),
                        .ramp = ft_config_real(cfg, "ssl.ramp"),
                        .from = ft_config_real(cfg, "ssl.from"),
                        .fairness = ft_config_real(cfg, "ssl.fairness"),
                        .lambda_u = ft_config_real(cfg, "ssl.lambda_u"),
                        .alignment = !strcmp(to, "none")       ? FT_ALIGN_NONE
                                     : !strcmp(to, "labelled") ? FT_ALIGN_LABELLED
                                                               : FT_ALIGN_UNIFORM};
}

/* ---- parts -------------------------------------------------------------------------------------------------------------- */

ft_t ft_ssl_over_classes(ft_graph *g, ft_t x) { return ft_reduce(g, x, 2, false); }
ft_t ft_ssl_over_clips(ft_graph *g, ft_t x, bool mean) { return ft_reduce(g, x, 1, mean); }

static ft_t one_hot(ft_graph *g, ft_t x) /* of the largest of each row */
{
    ft_t weight;
    return ft_pseudo_label(g, x, 0, &weight);
}

ft_t ft_ssl_largest(ft_graph *g, ft_t x) { return ft_ssl_over_classes(g, ft_mul(g, x, one_hot(g, x))); }

ft_t ft_ssl_predict(ft_graph *g, ft_t logits, ft_t *label, ft_t *top)
{
    logits = ft_stop_grad(g, logits);
    ft_t p = ft_softmax(g, logits);
    *label = one_hot(g, logits);
    *top = ft_ssl_over_classes(g, ft_mul(g, p, *label));
    return p;
}

ft_t ft_ssl_state(ft_graph *g, const char *name, int64_t n, int64_t columns, double start)
{
    float *v = ft_alloc((size_t)(n * columns) * sizeof *v);
    if (!v) return ft_graph_fail(g, "no memory for the state %s", name);
    for (int64_t i = 0; i < n * columns; i++) v[i] = (float)start;
    ft_t t = ft_buffer(g, ft_name(g, "training.ssl.%s", name), 2, (int64_t[]){n, columns}, (ft_init){FT_INIT_VALUES, 0, v});
    ft_free(v);
    return t;
}

ft_t ft_ssl_blend(ft_graph *g, const ft_ssl_batch *b, ft_t state, ft_t value)
{
    double m = b->opt->momentum;
    value = ft_add(g, ft_affine(g, state, (float)m, 0), ft_affine(g, value, (float)(1 - m), 0));
    ft_assign(g, state, value);
    return value;
}

ft_t ft_ssl_aligned(ft_graph *g, const ft_ssl_batch *b, ft_t logits)
{
    if (b->opt->alignment == FT_ALIGN_NONE) return logits;
    ft_t p = ft_softmax(g, ft_stop_grad(g, logits));
    ft_t mean = ft_ssl_blend(g, b, ft_ssl_state(g, "alignment.mean", 1, b->classes, 1.0 / (double)b->classes),
                             ft_ssl_over_clips(g, p, true));
    p = ft_div(g, p, ft_affine(g, mean, 1, 1e-12f));
    if (b->opt->alignment == FT_ALIGN_LABELLED) p = ft_mul(g, p, b->prior);
    return ft_unary(g, FT_LOG, ft_affine(g, p, 1, 1e-30f)); /* made to add up to 1 by the next softmax */
}

ft_t ft_ssl_ratio(ft_graph *g, ft_t x, ft_t y)
{
    ft_t there = ft_unary(g, FT_STEP, ft_affine(g, y, 1, -1e-30f));
    y = ft_add(g, y, ft_affine(g, there, -1, 1)); /* no division by 0 */
    return ft_mul(g, ft_div(g, x, y), there);
}

ft_t ft_ssl_normalise(ft_graph *g, ft_t x)
{
    ft_t sum = ft_ssl_over_classes(g, x), there = ft_unary(g, FT_STEP, ft_affine(g, sum, 1, -1e-30f));
    return ft_div(g, x, ft_add(g, sum, ft_affine(g, there, -1, 1)));
}

ft_t ft_ssl_at_least(ft_graph *g, ft_t x, ft_t bound) { return ft_unary(g, FT_STEP, ft_sub(g, x, bound)); }
ft_t ft_ssl_mask(ft_graph *g, ft_t mask) { return ft_reshape(g, mask, 1, (int64_t[]){ft_count(mask)}); }

ft_t ft_ssl_ramped(ft_graph *g, const ft_ssl_batch *b, ft_t loss)
{
    double ramp = b->opt->ramp;
    if (!(ramp > 0)) return loss;
    ft_t r = ft_clamp(g, ft_affine(g, b->progress, (float)(1 / ramp), 0), 0, 1);
    return ft_mul(g, loss, ft_reshape(g, r, 1, (int64_t[]){1}));
}
