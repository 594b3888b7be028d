/* One row per arm; NAME is defined as `const ft_arm ft_arm_NAME`. */
#define FT_ARM_TABLE(ARM)                                                                                                        \
    ARM(supervised)                                                                                                              \
    ARM(fully_supervised)                                                                                                        \
    ARM(more_labels)                                                                                                             \
    ARM(real_unlabelled)                                                                                                         \
    ARM(training_clips)                                                                                                          \
    ARM(duplicate)                                                                                                               \
    ARM(noise)                                                                                                                   \
    ARM(pseudo)                                                                                                                  \
    ARM(vae_prior)                                                                                                               \
    ARM(vae_roundtrip)                                                                                                           \
    ARM(generator)                                                                                                               \
    ARM(clips)
