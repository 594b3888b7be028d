/* Gradient rules by op name; see op_grad.c. */
#ifndef FT_OP_GRAD_H
#define FT_OP_GRAD_H

#include "common/graph/node.h"

#define PROTO_GRAD(name) void ft_grad_##name(ft_graph *g, const ft_node *n, const ft_t *dy, ft_t *din);
#define PROTO_NOGRAD_BACKWARD(name)
#define PROTO_NOGRAD_NO_INPUT(name)
#define PROTO_NOGRAD_DATA(name)
#define PROTO_NOGRAD_INTEGER(name)
#define PROTO_NOGRAD_OPTIMISER(name)
#define PROTO_NOGRAD_FROZEN(name)
#define PROTO_NOGRAD_STATE(name)
#define OP(name, grad, prep, place, dev) PROTO_##grad(name)
FT_OP_TABLE(OP)
#undef OP

/* backward.c: dy is the gradient of x[start, start + length) along axis */
void ft__part(ft_graph *g, ft_t x, int axis, int64_t start, ft_t dy);

#endif
