/* How steady a clip is from frame to frame. */
#ifndef FT_CONSISTENCY_H
#define FT_CONSISTENCY_H

#include "gen/latents.h"

/* Mean over clips and neighbouring frames of Pearson's correlation between their pixels, times 100. (Table 3 of MedSora has the
 * similarity of CLIP's features there, of a model that it does not name; this needs none, and is to be read beside real clips.)
 */
double ft_frame_consistency(const ft_clip_pool *pool);

#endif
