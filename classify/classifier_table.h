/* One row per family of networks; NAME is defined as `const ft_classifier ft_classifier_NAME` in classify/NAME.c. */
#define FT_CLASSIFIER_TABLE(CLASSIFIER)                                                                                          \
    CLASSIFIER(x3d)                                                                                                              \
    CLASSIFIER(r2plus1d)                                                                                                         \
    CLASSIFIER(timesformer)                                                                                                      \
    CLASSIFIER(eye)                                                                                                              \
    CLASSIFIER(dinov2)                                                                                                           \
    CLASSIFIER(probe)
