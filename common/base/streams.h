/* Every stream of random numbers: whoever draws takes a row here, so that no two draw the same numbers. What is drawn is a
 * function of (seed, stream, step, index) (rng.h); the numbers below were chosen once and stay, as results and tests hold what
 * they gave.
 *
 * Overlaps that are known, and kept with the bits (tests/test_streams.c holds the list, and fails at another):
 * - LABELLED, TIMES and VALIDATION have two readers each, told apart by their seeds or steps in all but chance.
 * - SAMPLE_NOISE writes the sampling step above bit 32 of `step`, where the stream is XORed in: step k draws from the stream
 *   0x5A3 ^ k << 8, which is one of VIEWS at k = 14 and 15, of KEPT_VIEW at 250, of nodes of graphs 1 and 3
 *   beyond. Noise of a sampler never meets one of these in one sum.
 * - VIEWS and KEPT_VIEW have room for 261 and 345 clips a step (labelled, unlabelled, generated; all ranks); beyond that they run
 * into rows whose seeds are label splits or of other networks.
 * - Nodes of graphs (below) come to the numbers of LABELLED, NOISE_CLIPS and PHANTOM_SCENE at node 44001, 350 and 260. */
#ifndef FT_STREAMS_H
#define FT_STREAMS_H

/*  name, number, how many streams from there on, seed, step, what is drawn */
#define FT_STREAM_TABLE(ROW)                                                                                                     \
    ROW(TEST_LIST, 0x7E57, 1, "0", "0", "the videos of the test list")                                                           \
    ROW(VALIDATION, 0x7A11D, 1, "0; 1: fold", "0; the fold", "the validation videos of a list, of a fold")                       \
    ROW(FOLDS, 0xF01D, 1, "0", "repetition", "the fold that each video is tested in")                                            \
    ROW(LABELLED, 0x1ABE1, 1, "split; run", "fold; pass", "the labelled videos; their order in training")                        \
    ROW(UNLABELLED_CLIPS, 0x0C11, 1, "split", "fold", "which clips `unlabelled.clips` leaves")                                   \
    ROW(FRAME_ORDER, 0x0F4A, 1, "clip", "0", "the order of frames of `unlabelled.frames`")                                       \
    ROW(CONFOUNDS, 0xC0F0, 1, "3", "shuffle", "classes dealt anew, to test a fact about videos")                                 \
    ROW(BOOTSTRAP_RUNS, 0xB007, 1, "1", "sample", "splits and seeds of a bootstrap sample")                                      \
    ROW(BOOTSTRAP_VIDEOS, 0xB008, 1, "1", "sample", "test videos of a bootstrap sample")                                         \
    ROW(BOOTSTRAP_SHARES, 0xB009, 1, "1", "sample", "videos of a share's bootstrap sample")                                      \
    ROW(BOOTSTRAP_SETS, 0xB00A, 1, "1", "sample", "videos of two sets, to compare them")                                         \
    ROW(SET_PARTS, 0xB00B, 1, "seed", "which part", "halves and other parts of two sets, by videos")                             \
    ROW(WINDOW_OF_VIDEO, 0xB00C, 1, "seed", "0", "where the clips of a set's videos begin")                                      \
    ROW(SIGN_FLIPS, 0xF11B, 1, "2", "0", "signs, where there are too many to try all")                                           \
    ROW(CLIP_OF_VIDEO, 0xC119, 1, "run", "draw", "which clip of a labelled video")                                               \
    ROW(UNLABELLED_ORDER, 0x00B1, 1, "run", "pass", "the order of unlabelled clips")                                             \
    ROW(GENERATED_ORDER, 0x6E4E, 1, "run", "pass", "the order of generated clips that teach their class")                        \
    ROW(VIEWS, 0x0A06, 2 * 261, "run", "training step", "weak, then strong view of each clip of a step")                         \
    ROW(KEPT_VIEW, 0xFEA7, 345, "run", "training step", "which kept view of each clip of a step")                                \
    ROW(MIL_ORDER, 0x0311, 2, "run", "pass", "the order of normal and of abnormal videos")                                       \
    ROW(PENALTY_FOLDS, 0xF01D5, 1, "run", "0", "folds that choose a probe's penalty")                                            \
    ROW(VAE_ORDER, 0x07AE, 1, "VAE", "pass", "the order of clips")                                                               \
    ROW(VAE_FLIP, 0x0F11, 1, "VAE", "draw", "mirrored or not")                                                                   \
    ROW(CRITIC_INIT, 0xD15C, 1, "0", "layer", "scales of the discriminator's norms")                                             \
    ROW(GENERATOR_ORDER, 0x01A7, 1, "generator", "pass", "the order of latents")                                                 \
    ROW(TIMES, 0x7133, 1, "generator; 17", "draw; batch", "image frames and time of a clip, in training and when scored")        \
    ROW(CLASS_DROP, 0xC1A5, 1, "generator", "draw", "which labels a generator is not told")                                      \
    ROW(GAN_FRAMES, 0x6A4F, 1, "generator", "draw", "which frames of a real clip a discriminator sees")                          \
    ROW(GAN_TIMES, 0x6A47, 1, "generator", "draw", "times of drawn clips that it sees")                                          \
    ROW(GAN_VIEWS, 0x6A4E, 1, "generator", "4 draw + which", "how clips that a discriminator sees are augmented")                \
    ROW(SHUFFLED_LABELS, 0x5B0F, 1, "split", "0", "which labels a generator is told in their place (shuffled-labels)")           \
    ROW(MAMBA_INIT, 0x055D, 1, "0", "2 block + direction", "dt and A of a Mamba")                                                \
    ROW(SAMPLE_NOISE, 0x05A3, 1, "sampling", "clip | sampling step << 40", "noise of a clip at a sampling step")                 \
    ROW(IMAGE_FRAMES, 0x1496, 1, "0", "image", "clip and frame of each image beside the clips")                                  \
    ROW(NOISE_CLIPS, 0x4015E, 1, "0", "clip", "clips of the arm `noise`")                                                        \
    ROW(PHANTOM_SCENE, 0xC0104, 1, "phantom", "video", "tissue, motion and polyp of a video")                                    \
    ROW(PHANTOM_LENGTH, 0x1E46, 1, "phantom", "video", "how long a video is")

enum {
#define FT_STREAM_ROW(name, number, streams, seed, step, what) FT_STREAM_##name = number,
    FT_STREAM_TABLE(FT_STREAM_ROW)
#undef FT_STREAM_ROW
};

/* Seeds that keep a whole set of streams apart: grain (step: ms) and bubbles (step: 0) of phantom videos, whose stream is the
 * video's index, and are XORed with the phantom's seed; kept views (seed alone; stream VIEWS + 2 clip, step: which view). */
enum { FT_SEED_PHANTOM_GRAIN = 0xF4A3E, FT_SEED_PHANTOM_BUBBLES = 0xB0BB1E, FT_SEED_KEPT_VIEWS = 0xFEA };

/* Initial values of a parameter: the store's seed, the FNV-1a hash of its name as stream, step 0 (params.c).
 *
 * Graphs: node i of graph k draws from the stream 65536 k + i (dropout, noise), its seed and step are those of ft_step. */
/*  name, number, whether it draws, what the graph does */
#define FT_GRAPH_TABLE(ROW)                                                                                                      \
    ROW(NAMES, 0, false, "names weights, or holds a frozen network")                                                             \
    ROW(ALONE, 1, true, "trains a VAE; `forward`, `bench`, trials of a precision")                                               \
    ROW(VAE_CODE, 2, false, "encodes or decodes by a VAE")                                                                       \
    ROW(GENERATOR, 3, true, "trains a generator")                                                                                \
    ROW(GENERATOR_SCORE, 4, true, "scores a generator on its validation latents, seed 17")                                       \
    ROW(SAMPLER, 5, false, "predicts for a sampler, whose noise is SAMPLE_NOISE's")                                              \
    ROW(CRITIC, 6, true, "trains a discriminator, on clips that it draws from a generator of pixels")                            \
    ROW(PENALTY, 7, false, "the gradient penalty of a discriminator")                                                            \
    ROW(CLASSIFIER, 11, true, "trains a classifier")                                                                             \
    ROW(PREDICTION, 12, true, "predicts classes; draws in a protocol that drops paths when it tests")                            \
    ROW(FEATURES, 13, true, "features of a classifier; draws where they are of training mode")                                   \
    ROW(MIL, 21, true, "trains a multiple-instance learner")                                                                     \
    ROW(MIL_PREDICTION, 22, false, "scores snippets")

enum {
#define FT_GRAPH_ROW(name, number, draws, what) FT_GRAPH_##name = number,
    FT_GRAPH_TABLE(FT_GRAPH_ROW)
#undef FT_GRAPH_ROW
};

#endif
