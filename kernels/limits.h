/* What the kernels of all backends take at most: rows that they hold on their stack. The builders refuse what is wider, before a
 * plan is made (common/graph/op_build*.c). */
#ifndef FT_LIMITS_H
#define FT_LIMITS_H

enum {
    FT_MOST_NORM = 8192,       /* last axis: layernorm, rmsnorm, gate_residual */
    FT_MOST_CHANNELS = 2048,   /* last axis: groupnorm, batchnorm */
    FT_MOST_ROW = 16384,       /* last axis: softmax, rank, l2_normalize, pearson */
    FT_MOST_LATENT = 1024,     /* half of the last axis: gauss_kl */
    FT_MOST_RADIUS = 15,       /* corr_lookup */
    FT_MOST_HEAD_WIDTH = 1024, /* attention_channel, a head's channels */
    FT_MOST_DW_WIDTH = 8       /* conv_dw in training: kernel's width, where it is no plane */
};

#endif
