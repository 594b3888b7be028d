/* Frozen networks in whose features distances between sets of clips are published: Inception-v3 (FID, IS), I3D (FVD), CLIP's
 * image towers (frame consistency), VideoMAE v2 (CD-FVD). Adding a network is one file and one row of judge_table.h; tensor names
 * are those of the public checkpoint.
 *
 * A row is a published way of looking: a network together with the size, the resize and the colours that its features were
 * published with. Several rows may share a network, and so a file of weights. */
#ifndef FT_JUDGE_H
#define FT_JUDGE_H

#include "common/graph/graph.h"
#include "common/train/rates.h"

/* How a table of rows begins. */
typedef struct {
    const char *name;
    int size;              /* it sees size x size pixels */
    int frames, fewest;    /* of a clip that it was published with, and at least; 0: it sees pictures, each alone */
    ft_resize_kind resize; /* from the size of the clips */
    float mean[3], std[3]; /* of colours in [0,1], taken off */
} ft_judge_preset;

typedef struct {
    const void *presets; /* rows begin with ft_judge_preset */
    size_t n, row;       /* how many, and the bytes of one */
    ft_work work;
    /* x (B,size,size,3), or (B,T,size,size,3), normalised -> features (B,width) f32 */
    ft_t (*network)(ft_graph *g, const void *preset, ft_t x);
} ft_judge;

const ft_judge_preset *ft_judge_at(int i);              /* of all families; NULL past the end */
const ft_judge_preset *ft_judge_find(const char *name); /* NULL if unknown */
ft_work ft_judge_work(const char *name);                /* of a known one */

/* x (B,h,w,3) or (B,T,h,w,3) f32 in [0,1], of any size -> the same, as the network takes it */
ft_t ft_judge_prepare(ft_graph *g, const ft_judge_preset *p, ft_t x);
ft_t ft_judge_network(ft_graph *g, const char *name, ft_t x);

/* A convolution without bias, BatchNorm, ReLU, under the names of the first two: what Inception networks are made of.
 * x (B,T,H,W,C) -> (B,T',H',W',out); kernel as ft_layer_conv takes it. */
ft_t ft_judge_unit(ft_graph *g, const char *conv, const char *bn, ft_t x, int64_t out, const int64_t kernel[3], ft_conv_opt opt,
                   float eps);

#endif
