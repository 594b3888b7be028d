/* One row per data set, in the order of the help: FIRST or DATASET(NAME, what its users call it). NAME is defined as
 * `const ft_dataset ft_dataset_NAME` in dataset_*.c, or in datasets.c where it needs no code of its own. */
#define FT_DATASET_TABLE(FIRST, DATASET)                                                                                         \
    FIRST(echonet, "echonet")                                                                                                    \
    DATASET(echonet_pediatric, "echonet-pediatric")                                                                              \
    DATASET(hyperkvasir, "hyperkvasir")                                                                                          \
    DATASET(kvasir_capsule, "kvasir-capsule")                                                                                    \
    DATASET(polypdiag, "polypdiag")                                                                                              \
    DATASET(pocus, "pocus")                                                                                                      \
    DATASET(buv, "buv")                                                                                                          \
    DATASET(cataract101, "cataract101")                                                                                          \
    DATASET(ldpolyp, "ldpolyp")                                                                                                  \
    DATASET(sun, "sun")                                                                                                          \
    DATASET(cholec80, "cholec80")                                                                                                \
    DATASET(cholect50, "cholect50")                                                                                              \
    DATASET(mmaction, "mmaction")                                                                                                \
    DATASET(dicom, "dicom")                                                                                                      \
    DATASET(folders, "folders")                                                                                                  \
    DATASET(unlabelled, "unlabelled")
