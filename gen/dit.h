/* What the diffusion transformers share: patches, positions, time and the modulated head of DiT (Peebles & Xie 2023, as Latte and
 * its descendants name them). */
#ifndef FT_DIT_H
#define FT_DIT_H

#include "common/graph/graph.h"

/* What a network is told of each clip beside its latents. */
typedef struct {
    ft_t t;     /* (B) f32, in steps 0..999 */
    ft_t label; /* (B,C+1) f32: 1 at the clip's class, at C where it has none; NULL: the network knows no classes */
} ft_told;

/* Row b of a label input: class 0..C-1, or -1: none. */
void ft_label_row(ft_t label, int64_t b, int class);
/* NAME.weight (C+1,width), a row for each class and the last for none (Ho & Salimans 2022), of label (B,C+1) -> (B,width) */
ft_t ft_class_embedding(ft_graph *g, const char *name, ft_t label, int64_t width);

/* NAME.weight with this init, NAME.bias zero: x (...,K) -> (...,out) */
ft_t ft_dit_linear(ft_graph *g, const char *name, ft_t x, int64_t out, bool bias, ft_init init);
ft_t ft_dit_xavier(ft_graph *g, const char *name, ft_t x, int64_t out, bool bias);

/* n weights (out,K) of these names as one product, without bias: x (...,K) -> (n,rows,out), its parts one behind the other */
ft_t ft_dit_group(ft_graph *g, int n, const char *const *name, ft_t x, int64_t out);

/* x_embedder.proj: z (B,n,s,s,c) -> tokens (B,n,s/patch,s/patch,width), in the graph's dtype */
ft_t ft_dit_patches(ft_graph *g, ft_t z, int64_t patch, int64_t width);
/* Fixed sin-cos tables, in the graph's dtype: pos_embed (1,1,grid,grid,width), first half the column, second half the row;
 * temp_embed (1,frames,1,1,width). */
ft_t ft_dit_positions(ft_graph *g, int64_t grid, int64_t width);
ft_t ft_dit_frames(ft_graph *g, int64_t frames, int64_t width);
/* t_embedder.mlp.{0,2} of the time, plus y_embedder.embedding_table of the class where there is one: (B,width), before the
 * activation that every modulation begins with. gain: of the SiLU inside. */
ft_t ft_dit_time(ft_graph *g, ft_told told, int64_t width, double gain);

/* NAME.adaLN_modulation.1 of the activated time c (B,d), cut into n parts: (n,B,d) f32. Of the blocks STEM.0 .. STEM.count-1 in
 * one product: (n * count,B,d), part k of block i in row k * count + i. A row, (B,d). */
ft_t ft_dit_modulation(ft_graph *g, const char *name, ft_t c, int64_t n, ft_init init);
ft_t ft_dit_modulations(ft_graph *g, const char *stem, int count, ft_t c, int64_t n, ft_init init);
ft_t ft_dit_part(ft_graph *g, ft_t modulation, int64_t row);
/* Of all blocks in one tensor (6 depth,B,d): shift, scale, gate of attention, the same of the MLP. Part k of a block is row
 * k * depth + block. */
typedef struct {
    ft_t all;
    int depth, block;
} ft_dit_blocks;
ft_t ft_dit_block_part(ft_graph *g, const ft_dit_blocks *m, int k);

/* final_layer: tokens x (B,n,grid,grid,d), activated time c -> (B,n,s,s,out) f32 */
ft_t ft_dit_head(ft_graph *g, ft_t x, ft_t c, int64_t patch, int64_t out);

/* For networks with images_apart: the clip's frames of x (B,n,...), and x again with other frames in their place. */
ft_t ft_clip_frames(ft_graph *g, ft_t x, int64_t frames);
ft_t ft_with_images(ft_graph *g, ft_t clip, ft_t x);

#endif
