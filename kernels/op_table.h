/* One row per op. Everything else about op x is found under its name:
 *   ft_grad_x   gradient rule, builds nodes          common/graph/op_grad.c   (rows marked GRAD)
 *   ft_cpu_x    kernel                               kernels/cpu/
 *   ft_prepare_x  makes what the kernel keeps between steps, at plan time   (rows marked PREP; LIB: a library does the op)
 * A missing function is a link error. An op without gradient names its reason. Builders (shape rules) are in op_build.c.
 *
 *  name, gradient, prepare, in-place */
#define FT_OP_TABLE(OP)                                                                                                          \
    /* shape */                                                                                                                  \
    OP(cast, GRAD, NOPREP, COPY)                                                                                                 \
    OP(permute, GRAD, NOPREP, COPY)                                                                                              \
    OP(concat, GRAD, NOPREP, COPY)                                                                                               \
    OP(slice, GRAD, NOPREP, COPY)                                                                                                \
    OP(pad, GRAD, NOPREP, COPY)                                                                                                  \
    OP(resample, GRAD, NOPREP, COPY)                                                                                             \
    OP(pool, GRAD, NOPREP, COPY)                                                                                                 \
    OP(pool_bwd, GRAD, NOPREP, COPY)                                                                                             \
    OP(upsample, GRAD, NOPREP, COPY)                                                                                             \
    /* elementwise and reductions */                                                                                             \
    OP(unary, GRAD, NOPREP, INPLACE)                                                                                             \
    OP(unary_bwd, GRAD, NOPREP, COPY)                                                                                            \
    OP(binary, GRAD, NOPREP, INPLACE)                                                                                            \
    OP(affine, GRAD, NOPREP, INPLACE)                                                                                            \
    OP(glu, GRAD, NOPREP, COPY)                                                                                                  \
    OP(glu_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                                   \
    OP(reduce, GRAD, NOPREP, COPY)                                                                                               \
    OP(broadcast, GRAD, NOPREP, COPY)                                                                                            \
    OP(softmax, GRAD, NOPREP, COPY)                                                                                              \
    OP(softmax_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                               \
    OP(rank, NOGRAD_INTEGER, NOPREP, COPY)                                                                                       \
    OP(l2_normalize, GRAD, NOPREP, COPY)                                                                                         \
    OP(l2_normalize_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                          \
    OP(dropout, GRAD, NOPREP, INPLACE)                                                                                           \
    OP(randn, NOGRAD_NO_INPUT, NOPREP, COPY)                                                                                     \
    OP(uniform, NOGRAD_NO_INPUT, NOPREP, COPY)                                                                                   \
    OP(q_sample, GRAD, NOPREP, COPY)                                                                                             \
    OP(timestep_embed, NOGRAD_DATA, NOPREP, COPY)                                                                                \
    /* matrix products and convolutions */                                                                                       \
    OP(matmul, GRAD, LIB, COPY)                                                                                                  \
    OP(linear, GRAD, LIB, COPY)                                                                                                  \
    OP(linear_bwd_x, GRAD, LIB, COPY)                                                                                            \
    OP(linear_bwd_w, GRAD, LIB, COPY)                                                                                            \
    OP(conv, GRAD, LIB, COPY)                                                                                                    \
    OP(conv_bwd_x, GRAD, LIB, COPY)                                                                                              \
    OP(conv_bwd_w, GRAD, LIB, COPY)                                                                                              \
    OP(conv_dw, GRAD, PREP, COPY)                                                                                                \
    OP(conv_dw_bwd_x, GRAD, PREP, COPY)                                                                                          \
    OP(conv_dw_bwd_w, GRAD, PREP, COPY)                                                                                          \
    OP(conv_causal, GRAD, NOPREP, COPY)                                                                                          \
    OP(conv_causal_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                             \
    /* norms */                                                                                                                  \
    OP(layernorm, GRAD, NOPREP, COPY)                                                                                            \
    OP(layernorm_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                               \
    OP(gate_residual, GRAD, NOPREP, COPY)                                                                                        \
    OP(gate_residual_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                           \
    OP(rmsnorm, GRAD, NOPREP, COPY)                                                                                              \
    OP(rmsnorm_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                                 \
    OP(groupnorm, GRAD, PREP, COPY)                                                                                              \
    OP(groupnorm_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                               \
    OP(batchnorm, GRAD, PREP, COPY)                                                                                              \
    OP(batchnorm_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                               \
    /* sequences */                                                                                                              \
    OP(sdpa, GRAD, PREP, COPY)                                                                                                   \
    OP(sdpa_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                                    \
    OP(attention_local, GRAD, PREP, COPY)                                                                                        \
    OP(attention_local_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                         \
    OP(attention_channel, GRAD, PREP, COPY)                                                                                      \
    OP(attention_channel_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                       \
    OP(ssd, GRAD, PREP, COPY)                                                                                                    \
    OP(ssd_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                                     \
    OP(wkv, GRAD, PREP, COPY)                                                                                                    \
    OP(wkv_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                                     \
    /* vision: frozen networks (RAFT) need them forward only */                                                                  \
    OP(grid_sample, NOGRAD_FROZEN, NOPREP, COPY)                                                                                 \
    OP(corr_lookup, NOGRAD_FROZEN, NOPREP, COPY)                                                                                 \
    /* losses */                                                                                                                 \
    OP(loss_mean, GRAD, NOPREP, COPY)                                                                                            \
    OP(loss_mean_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                             \
    OP(softmax_xent, GRAD, NOPREP, COPY)                                                                                         \
    OP(softmax_xent_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                          \
    OP(pseudo_label, NOGRAD_INTEGER, NOPREP, COPY)                                                                               \
    OP(gauss_kl, GRAD, NOPREP, COPY)                                                                                             \
    OP(gauss_kl_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                              \
    OP(vlb, GRAD, NOPREP, COPY)                                                                                                  \
    OP(vlb_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                                   \
    OP(pearson, GRAD, NOPREP, COPY)                                                                                              \
    OP(pearson_bwd, NOGRAD_BACKWARD, NOPREP, COPY)                                                                               \
    OP(focal_frequency, GRAD, PREP, COPY)                                                                                        \
    OP(focal_frequency_bwd, NOGRAD_BACKWARD, PREP, COPY)                                                                         \
    /* state: writes to a buffer of the store, makes nothing */                                                                  \
    OP(assign, NOGRAD_STATE, NOPREP, COPY)                                                                                       \
    OP(assign_rows, NOGRAD_STATE, NOPREP, COPY)                                                                                  \
    /* optimiser: works on the flat store */                                                                                     \
    OP(grad_norm, NOGRAD_OPTIMISER, NOPREP, COPY)                                                                                \
    OP(adamw, NOGRAD_OPTIMISER, NOPREP, COPY)                                                                                    \
    OP(sgd, NOGRAD_OPTIMISER, NOPREP, COPY)                                                                                      \
    OP(ema, NOGRAD_OPTIMISER, NOPREP, COPY)

typedef enum {
#define OP(name, grad, prep, place) FT_OP_##name,
    FT_OP_TABLE(OP)
#undef OP
        FT_OP_COUNT
} ft_op;
