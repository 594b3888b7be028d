/* Frozen networks that look at clips: what probes learn from (probe.h), and `forty features`.
 *
 * Any network of forty's is one: a picture network (DINO, DINOv2) looks at some frames of a clip, a classifier or the encoder of
 * a VAE at the whole clip. What it makes of a clip is (frames, tokens, width) f32:
 *
 *   DINO, DINOv2   features.frames frames, evenly spread, resized to features.size; of each the class token, then its patch
 * tokens averaged to features.grid x features.grid places judge.h's      pictures (Inception, CLIP): (features.frames, 1, width);
 * clips (I3D, VideoMAE): (1, 1, width). Their size and colours are those that their features were published with classifiers (1,
 * 1, width): the pooled features before the head VAEs           latent frames; the posterior's mean, averaged to 4 features.grid
 * places a side; width: latent channels */
#ifndef FT_BACKBONE_H
#define FT_BACKBONE_H

#include "common/base/files.h"
#include "common/graph/graph.h"
#include "common/io/clipstore.h"
#include "common/io/config.h"
#include "common/train/precision.h"

typedef struct ft_backbone ft_backbone;

typedef struct {
    const char *model, *weights; /* a preset with a file of weights, or the folder of a run of a classifier or VAE and "" */
    int64_t frames, size, grid;  /* see above; frames and size 0: those of the clips */
    double offset;               /* of DINOv2's positions */
    bool prepared;               /* it is given pixels as numbers, by ft_backbone_run_prepared, and not clips of a store */
    ft_precision_opt precision;
    const ft_config *settings; /* that say all this, for messages of where; those of the VAE if its folder has none. Or NULL */
} ft_backbone_opt;
ft_backbone_opt ft_backbone_options(const ft_config *cfg); /* features.*, of settings that live as long */

/* For clips of this many frames and pixels. Without weights FT_ECONFIG: an untrained network tells nothing. */
int ft_backbone_open(ft_backbone **b, const ft_backbone_opt *o, int frames, int size);
void ft_backbone_free(ft_backbone *b);
void ft_backbone_shape(const ft_backbone *b, int64_t dim[3]); /* frames, tokens, width */

/* What makes its features what they are, besides features.*: the network and the SHA-256 of its weights, for keys of caches. */
int ft_backbone_identity(const ft_backbone_opt *o, char hex[65]);

/* Views of clips: clip[i] as it is (view NULL), or as view[i], cutout[i] show it (augment.h). out (n, frames, tokens, width) */
typedef struct {
    float view[FT_VIEW_NUMBERS], cutout[3];
} ft_look;
int ft_backbone_run(ft_backbone *b, const ft_clipstore *s, const int64_t *clip, const ft_look *look, int64_t n, float *out);
/* The same of clips that the caller has made ready: x (n, frames, size, size, 3) in 0 to 1 */
int ft_backbone_run_prepared(ft_backbone *b, const float *x, int64_t n, float *out);

#endif
