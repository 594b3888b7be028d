/* What the clips that an arm brings are used for: the setting clips.use. */
#ifndef FT_CLIP_USE_H
#define FT_CLIP_USE_H

#include "experiments/arms/arm.h"

typedef struct {
    bool unlabelled, labelled; /* both, or one of them */
} ft_clip_use;

ft_clip_use ft_clip_use_of(const ft_config *cfg);
/* FT_ECONFIG, FT_EDATA: the clips of this arm have no class to teach. Said before anything is computed. */
int ft_clip_use_check(const ft_arm_context *c);

#endif
