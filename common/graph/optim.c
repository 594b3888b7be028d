/* Optimiser nodes and schedules. The update works on the flat store (params.c), so a model of any size is two nodes:
 * the norm of the gradients, and the update with the average of the weights. */
#include <math.h>

#include "common/graph/node.h"

ft_t ft_optimise(ft_graph *g, ft_optim_opt opt)
{
    if (opt.beta1 == 0 && !opt.no_momentum) opt.beta1 = 0.9f;
    if (opt.beta2 == 0) opt.beta2 = 0.999f;
    if (opt.eps == 0) opt.eps = 1e-8f;
    ft_node *norm = ft__node(g, FT_OP_grad_norm, 0, NULL);
    ft_t total = ft__out(g, norm, FT_F32, 1, (int64_t[]){1}); /* L2 norm of all gradients */
    ft_keep(total);
    ft_node *update = ft__node(g, opt.sgd ? FT_OP_sgd : FT_OP_adamw, 1, &total);
    if (update) update->attr.optim = opt;
    return total;
}

double ft_lr_cosine(double lr, int64_t step, int64_t steps, int64_t warmup)
{
    if (step < warmup) return lr * (double)(step + 1) / (double)warmup;
    double done = steps > warmup ? (double)(step - warmup) / (double)(steps - warmup) : 1.0;
    return 0.5 * lr * (1.0 + cos(3.14159265358979323846 * (done > 1 ? 1 : done)));
}

double ft_ema_decay(double decay, int64_t step)
{
    double warm = (1.0 + (double)step) / (10.0 + (double)step);
    return warm < decay ? warm : decay;
}
