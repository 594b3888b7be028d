/* RAFT optical flow (Teed and Deng 2020), forward only. Tensor names of torchvision's raft_large, raft_small.
 */
#ifndef FT_RAFT_H
#define FT_RAFT_H

#include "common/graph/graph.h"

typedef struct ft_raft_preset ft_raft_preset;
const ft_raft_preset *ft_raft_find(const char *name); /* "raft-large", "raft-small"; NULL if unknown */
const char *ft_raft_at(int i);                        /* names; NULL past the end */

/* a, b (B,H,W,3) in [-1,1] (pixels 0..255 as 2 x / 255 - 1), H and W multiples of 8 -> flow (B,H,W,2) f32: where each pixel of a
 * stands in b, minus where it is, as (x, y) in pixels. */
ft_t ft_raft(ft_graph *g, const ft_raft_preset *p, ft_t a, ft_t b, int iterations);

#endif
