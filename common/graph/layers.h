/* Layers as PyTorch's modules name, shape and initialise them: NAME.weight, NAME.bias. Made of graph.h's builders.
 *
 *     ft_t h = ft_layer_conv(g, ft_name(g, "%s.conv1", name), x, out, (int64_t[]){3, 3, 3}, (ft_conv_opt){.pad_front = ...});
 */
#ifndef FT_LAYERS_H
#define FT_LAYERS_H

#include "common/graph/graph.h"

/* x (..., K) -> (..., N): nn.Linear */
ft_t ft_layer_linear(ft_graph *g, const char *name, ft_t x, int64_t out, bool bias);
/* y (..., N), what a linear layer NAME made of x (..., K), plus its adapter's share, where the store has adapters
 * (ft_params_adapt): NAME.lora_A.weight (rank,K) and NAME.lora_B.weight (N,rank), as Hugging Face's peft calls them. */
ft_t ft_layer_adapted(ft_graph *g, const char *name, ft_t x, ft_t y);
/* x (B,T,H,W,C) -> (B,T',H',W',out). kernel {T,H,W}: nn.Conv3d; {0,H,W}: nn.Conv2d on every frame (weight of 4 dims). */
ft_t ft_layer_conv(ft_graph *g, const char *name, ft_t x, int64_t out, const int64_t kernel[3], ft_conv_opt opt, bool bias);
/* NAME.weight (out,C,kt,ks,ks) without bias, as much padding as keeps the size, strides of time and of space: (2+1)D networks */
ft_t ft_layer_conv_same(ft_graph *g, const char *name, ft_t x, int64_t out, int64_t kt, int64_t ks, int64_t st, int64_t ss);
ft_t ft_layer_layernorm(ft_graph *g, const char *name, ft_t x, float eps);
ft_t ft_layer_groupnorm(ft_graph *g, const char *name, ft_t x, int groups, float eps, ft_act act);
/* nn.BatchNorm with running statistics; momentum 0.1, eps 1e-5. first: see ft_batchnorm; 0: one segment */
ft_t ft_layer_batchnorm(ft_graph *g, const char *name, ft_t x, int64_t first, ft_act act);

/* *sum += x / parts: the mean of scalars over the parts of a batch. *sum is NULL at first. Returns x / parts. */
ft_t ft_add_part(ft_graph *g, ft_t *sum, ft_t x, int64_t parts);

/* n tensors end to end, in as many concats as FT_MAX_IN asks for */
ft_t ft_join(ft_graph *g, int axis, int n, const ft_t *x);

/* The same on each side of H and W. */
#define FT_SAME(k) ((ft_conv_opt){.pad_front = {0, (k) / 2, (k) / 2}, .pad_back = {0, (k) / 2, (k) / 2}})

#endif
