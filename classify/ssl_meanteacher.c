/* Mean Teacher (Tarvainen & Valpola, NeurIPS 2017): the student's strong view agrees with the running average of its weights on
 * the weak view. L_u = mean of (p(strong) - p_teacher(weak))^2, with a weight that grows over the first part of the training.
 * (In USB the student's logits are overwritten by the teacher's and the loss is zero: issues 102, 226.) */
#include "classify/ssl.h"

static ft_t loss(ft_graph *g, const ft_ssl_batch *b, ft_t *mask)
{
    *mask = NULL;
    return ft_ssl_ramped(g, b, ft_loss_mean(g, ft_softmax(g, b->strong), ft_softmax(g, b->teacher), FT_MSE));
}

extern const ft_ssl ft_ssl_meanteacher;
const ft_ssl ft_ssl_meanteacher = {"meanteacher", "the strong view agrees with the average's view of the weak one",
                                   FT_SSL_STRONG | FT_SSL_TEACHER, 50, loss};
