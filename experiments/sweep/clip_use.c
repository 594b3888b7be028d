#include "experiments/sweep/clip_use.h"

#include <string.h>

#include "common/base/status.h"
#include "experiments/stages/clip_classes.h"

ft_clip_use ft_clip_use_of(const ft_config *cfg)
{
    const char *use = ft_config_text(cfg, "clips.use");
    return (ft_clip_use){strcmp(use, "labelled") != 0, strcmp(use, "unlabelled") != 0};
}

/* A store that cannot be read is said by the stages that read it. */
static int check_file(const ft_arm_context *c)
{
    ft_clipstore head;
    int class, rc = FT_OK;
    if (ft_clipstore_head(&head, c->file, 1) < 0) return FT_OK;
    for (int64_t i = 0; rc == FT_OK && i < head.n_video; i++) rc = ft_label_class(c->x, &head, i, true, &class);
    ft_clipstore_free(&head);
    return rc;
}

int ft_clip_use_check(const ft_arm_context *c)
{
    const char *where = ft_config_origin(c->cfg, "clips.use"), *use = ft_config_text(c->cfg, "clips.use");
    if (!ft_clip_use_of(c->cfg).labelled) return FT_OK;
    if (!ft_arm_brings_clips(c))
        return !c->clips ? FT_OK
                         : FT_FAIL(FT_ECONFIG,
                                   "%s: clips.use: %s: the clips of %s are those of the experiment's videos, whose labels are "
                                   "not for this split. It is for clips of a generator, and of a file",
                                   where, use, c->label);
    const ft_arm *row = ft_arm_find(c->arm);
    if (row->classed && row->classed(c)) return *c->file ? check_file(c) : FT_OK;
    return FT_FAIL(
        FT_ECONFIG,
        "%s: clips.use: %s: the clips of %s show no class that they could teach. A generator's do with "
        "generator.condition: labels or pseudo-labels; so do those of vae-roundtrip and pseudo-labelled, and of a clip "
        "store with labels",
        where, use, c->label);
}
