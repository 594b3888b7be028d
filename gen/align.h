/* Alignment of a generator's features with a frozen teacher's (MedSora's optical-flow alignment, Eq 13 to 17;
 * token-relation distillation, VideoREPA).
 *
 * The teacher sees the clip's flow pictures (or its frames). Its features depend on the clip alone, so they are computed once,
 * put on the grid of the generator's tokens, and kept in a file.
 *
 *   paper     Eq 14 as written: for each channel, Pearson's correlation over all tokens of the batch
 *
 *   released  the code: for each token, over channels; every latent frame has the mean of all frames as its target; the 256
 *             tokens are shrunk along their raster, which is not a place in the image
 *
 *   spatial   per token as the code, but each latent frame has its own frames' features, at its own places
 *
 *   trd       relations between tokens (their cosines), which need no match of channels
 *
 *   endora    the DINO prior of Endora: of each frame, Pearson's correlation over its tokens between the
 *             channel means of both; the teacher's pass a learned 2x2 convolution before. Four layers and blocks, evenly spread
 *             (layers 2, 5, 8, 11; as many blocks as a small network has). Neither margin nor decay */
#ifndef FT_ALIGN_H
#define FT_ALIGN_H

#include "gen/latents.h"

enum { FT_ALIGN_BLOCKS = 48 };
typedef enum { FT_ALIGN_PAPER, FT_ALIGN_RELEASED, FT_ALIGN_SPATIAL, FT_ALIGN_TRD, FT_ALIGN_ENDORA } ft_align_mode;

typedef struct {
    ft_align_mode mode;
    double weight, margin;
    bool decay;
    int blocks;                  /* of the generator that are aligned */
    int tap[FT_ALIGN_BLOCKS];    /* which of its taps these are */
    int64_t frames, grid, width; /* of its video tokens: (B, frames, grid, grid, width) */
    int64_t channels;            /* of the targets: width; the teacher's for trd, four times those for endora */
    int64_t n, each;             /* clips, values of a clip: blocks * frames * grid * grid * channels */
    uint16_t *target;            /* bf16 */
} ft_align;

/* Reads the settings and the targets of the pool's clips and their mirror images, in the order of ft_latents; computes and writes
 * them to `path` if it is not there. Nothing is done, and weight is 0, when align.weight is 0. */
int ft_align_new(ft_align *a, const ft_config *cfg, const ft_clip_pool *pool, const char *vae_dir, int blocks, int64_t frames,
                 int64_t grid, int64_t width, const char *path);
void ft_align_free(ft_align *a);

/* "spatial, teacher dino-vits8 with fixed random weights on flow of lucas-kanade", "none": for run.json and reports. */
void ft_align_text(const ft_config *cfg, char *text, size_t size);

/* weight * max(mean of g(t) (1 - rho) - margin, 0), a scalar; trd: weight * mean of max(|S - S*| - margin, 0); endora: weight *
 * mean of 1 - rho, with the parameter training.prior_adapter.weight (width, c, 2, 2). tap[a->tap[i]]
 * (B,>=frames,grid,grid,width), target (B, each) in the compute dtype, decay (B): g(t) or 1. *measure (may be NULL): the mean
 * 1 - rho, or |S - S*|, before weights. */
ft_t ft_align_loss(ft_graph *g, const ft_align *a, const ft_t *tap, ft_t target, ft_t decay, ft_t *measure);

/* FT_ECONFIG: something is aligned, and clips of so many pixels are none for the network that sees the flow. */
int ft_align_fits(const ft_config *cfg, int size);

#endif
