/* One row per op. Everything else about op x is found under its name:
 *   ft_grad_x   gradient rule, builds nodes          common/graph/op_grad.c   (rows marked GRAD)
 *   ft_cpu_x    kernel                               kernels/cpu/
 *   ft_prepare_x  makes what the kernel keeps between steps, at plan time   (rows marked PREP; LIB: a library does the op)
 * A missing function is a link error. An op without gradient names its reason. Builders (shape rules) are in op_build.c.
 *
 *   ft_cuda_x   its twin on a device                kernels/cuda/
 *   ft_cuda_prepare_x  the same at plan time there  (rows marked DEV)
 *
 *  name, gradient, prepare, in-place, prepare on a device */
#define FT_OP_TABLE(OP)                                                                                                          \
    /* shape */                                                                                                                  \
    OP(cast, GRAD, NOPREP, COPY, NODEV)                                                                                          \
    OP(permute, GRAD, NOPREP, COPY, NODEV)                                                                                       \
    OP(concat, GRAD, NOPREP, COPY, NODEV)                                                                                        \
    OP(slice, GRAD, NOPREP, COPY, NODEV)                                                                                         \
    OP(pad, GRAD, NOPREP, COPY, NODEV)                                                                                           \
    OP(resample, GRAD, NOPREP, COPY, DEV)                                                                                        \
    OP(pool, GRAD, NOPREP, COPY, NODEV)                                                                                          \
    OP(pool_bwd, GRAD, NOPREP, COPY, NODEV)                                                                                      \
    OP(upsample, GRAD, NOPREP, COPY, NODEV)                                                                                      \
    /* elementwise and reductions */                                                                                             \
    OP(unary, GRAD, NOPREP, INPLACE, NODEV)                                                                                      \
    OP(unary_bwd, GRAD, NOPREP, COPY, NODEV)                                                                                     \
    OP(binary, GRAD, NOPREP, INPLACE, NODEV)                                                                                     \
    OP(affine, GRAD, NOPREP, INPLACE, NODEV)                                                                                     \
    OP(glu, GRAD, NOPREP, COPY, NODEV)                                                                                           \
    OP(glu_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                            \
    OP(reduce, GRAD, NOPREP, COPY, DEV)                                                                                          \
    OP(broadcast, GRAD, NOPREP, COPY, NODEV)                                                                                     \
    OP(softmax, GRAD, NOPREP, COPY, NODEV)                                                                                       \
    OP(softmax_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                        \
    OP(rank, NOGRAD_INTEGER, NOPREP, COPY, NODEV)                                                                                \
    OP(l2_normalize, GRAD, NOPREP, COPY, NODEV)                                                                                  \
    OP(l2_normalize_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                   \
    OP(dropout, GRAD, NOPREP, INPLACE, NODEV)                                                                                    \
    OP(randn, NOGRAD_NO_INPUT, NOPREP, COPY, NODEV)                                                                              \
    OP(uniform, NOGRAD_NO_INPUT, NOPREP, COPY, NODEV)                                                                            \
    OP(q_sample, GRAD, NOPREP, COPY, NODEV)                                                                                      \
    OP(timestep_embed, NOGRAD_DATA, NOPREP, COPY, NODEV)                                                                         \
    OP(combine, NOGRAD_FROZEN, NOPREP, COPY, NODEV)                                                                              \
    /* matrix products and convolutions */                                                                                       \
    OP(matmul, GRAD, LIB, COPY, DEV)                                                                                             \
    OP(linear, GRAD, LIB, COPY, DEV)                                                                                             \
    OP(linear_bwd_x, GRAD, LIB, COPY, DEV)                                                                                       \
    OP(linear_bwd_w, GRAD, LIB, COPY, DEV)                                                                                       \
    OP(conv, GRAD, LIB, COPY, DEV)                                                                                               \
    OP(conv_bwd_x, GRAD, LIB, COPY, DEV)                                                                                         \
    OP(conv_bwd_w, GRAD, LIB, COPY, DEV)                                                                                         \
    OP(conv_dw, GRAD, PREP, COPY, NODEV)                                                                                         \
    OP(conv_dw_bwd_x, GRAD, PREP, COPY, NODEV)                                                                                   \
    OP(conv_dw_bwd_w, GRAD, PREP, COPY, DEV)                                                                                     \
    OP(conv_causal, GRAD, NOPREP, COPY, NODEV)                                                                                   \
    OP(conv_causal_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                        \
    /* norms */                                                                                                                  \
    OP(layernorm, GRAD, NOPREP, COPY, NODEV)                                                                                     \
    OP(layernorm_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                          \
    OP(gate_residual, GRAD, NOPREP, COPY, NODEV)                                                                                 \
    OP(gate_residual_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                      \
    OP(rmsnorm, GRAD, NOPREP, COPY, NODEV)                                                                                       \
    OP(rmsnorm_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                            \
    OP(groupnorm, GRAD, PREP, COPY, DEV)                                                                                         \
    OP(groupnorm_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                          \
    OP(batchnorm, GRAD, PREP, COPY, DEV)                                                                                         \
    OP(batchnorm_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                          \
    /* sequences */                                                                                                              \
    OP(sdpa, GRAD, PREP, COPY, DEV)                                                                                              \
    OP(sdpa_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                               \
    OP(attention_local, GRAD, PREP, COPY, DEV)                                                                                   \
    OP(attention_local_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                    \
    OP(attention_channel, GRAD, PREP, COPY, DEV)                                                                                 \
    OP(attention_channel_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                  \
    OP(ssd, GRAD, PREP, COPY, DEV)                                                                                               \
    OP(ssd_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                                \
    OP(wkv, GRAD, PREP, COPY, DEV)                                                                                               \
    OP(wkv_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                                \
    /* vision: frozen networks (RAFT) need them forward only, but for warps */                                                   \
    OP(grid_sample, NOGRAD_FROZEN, NOPREP, COPY, NODEV)                                                                          \
    OP(warp, GRAD, NOPREP, COPY, NODEV)                                                                                          \
    OP(warp_bwd, GRAD, NOPREP, COPY, NODEV)                                                                                      \
    OP(corr_lookup, NOGRAD_FROZEN, NOPREP, COPY, NODEV)                                                                          \
    OP(augment, NOGRAD_DATA, PREP, COPY, DEV)                                                                                    \
    /* losses */                                                                                                                 \
    OP(loss_mean, GRAD, NOPREP, COPY, DEV)                                                                                       \
    OP(loss_mean_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                      \
    OP(softmax_xent, GRAD, NOPREP, COPY, NODEV)                                                                                  \
    OP(softmax_xent_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                   \
    OP(pseudo_label, NOGRAD_INTEGER, NOPREP, COPY, NODEV)                                                                        \
    OP(gauss_kl, GRAD, NOPREP, COPY, DEV)                                                                                        \
    OP(gauss_kl_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                       \
    OP(vlb, GRAD, NOPREP, COPY, DEV)                                                                                             \
    OP(vlb_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                            \
    OP(pearson, GRAD, NOPREP, COPY, NODEV)                                                                                       \
    OP(pearson_bwd, NOGRAD_BACKWARD, NOPREP, COPY, NODEV)                                                                        \
    OP(focal_frequency, GRAD, PREP, COPY, DEV)                                                                                   \
    OP(focal_frequency_bwd, NOGRAD_BACKWARD, PREP, COPY, DEV)                                                                    \
    /* state: writes to a buffer of the store, makes nothing */                                                                  \
    OP(assign, NOGRAD_STATE, NOPREP, COPY, NODEV)                                                                                \
    OP(assign_rows, NOGRAD_STATE, NOPREP, COPY, NODEV)                                                                           \
    /* optimiser: works on the flat store */                                                                                     \
    OP(grad_norm, NOGRAD_OPTIMISER, NOPREP, COPY, DEV)                                                                           \
    OP(adamw, NOGRAD_OPTIMISER, NOPREP, COPY, NODEV)                                                                             \
    OP(sgd, NOGRAD_OPTIMISER, NOPREP, COPY, NODEV)

typedef enum {
#define OP(name, grad, prep, place, dev) FT_OP_##name,
    FT_OP_TABLE(OP)
#undef OP
        FT_OP_COUNT
} ft_op;
