/* One row per arm; NAME is defined as `const ft_arm ft_arm_NAME`. */
#define FT_ARM_TABLE(ARM)                                                                                                        \
    ARM(supervised)                                                                                                              \
    ARM(fully_supervised)                                                                                                        \
    ARM(real_unlabelled)                                                                                                         \
    ARM(training_clips)                                                                                                          \
    ARM(noise)                                                                                                                   \
    ARM(vae_prior)                                                                                                               \
    ARM(generator)                                                                                                               \
    ARM(clips)
