/* Arms that need no generated clips: what real videos do alone. */
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"

static int nothing(ft_arm_context *c) { return (void)c, FT_OK; }

extern const ft_arm ft_arm_supervised, ft_arm_fully_supervised, ft_arm_real_unlabelled, ft_arm_training_clips;
const ft_arm ft_arm_supervised = {"supervised", "the labelled videos alone", NULL, NULL, nothing, NULL, NULL};

static int all_labels(ft_arm_context *c)
{
    const ft_videos *pool = &c->x->folds[c->fold].pool;
    ft_videos all = {ft_alloc((size_t)(pool->n + 1) * sizeof(int64_t)), 0};
    if (!all.video) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    for (int64_t i = 0; i < pool->n; i++)
        if (c->x->classes.of_video[pool->video[i]] >= 0) all.video[all.n++] = pool->video[i];
    ft_free(c->labelled.video);
    c->labelled = all;
    return FT_OK;
}
const ft_arm ft_arm_fully_supervised = {
    "fully-supervised", "all labels of the training pool: the upper bound", NULL, all_labels, nothing, NULL, NULL};

static int more_videos(ft_arm_context *c) { return c->file = ft_config_text(c->cfg, "data.unlabelled"), FT_OK; }

static int rest_of_pool(ft_arm_context *c)
{
    if (c->unlabelled.n == 0)
        return FT_FAIL(
            FT_EDATA,
            "the arm real-unlabelled has no videos: all of the pool are labelled. Lower labels, or name data.unlabelled");
    return ft_clips_of(&c->x->store, &c->unlabelled, &c->clips, &c->n_clips);
}
const ft_arm ft_arm_real_unlabelled = {"real-unlabelled",
                                       "the rest of the pool without its labels, or data.unlabelled",
                                       NULL,
                                       more_videos,
                                       rest_of_pool,
                                       NULL,
                                       NULL};

/* Do generated clips add anything to the data that their generator saw? */
static int whole_pool(ft_arm_context *c)
{
    const ft_videos *pool = &c->x->folds[c->fold].pool;
    ft_videos all = {ft_alloc((size_t)(pool->n + 1) * sizeof(int64_t)), pool->n};
    if (!all.video) return FT_FAIL(FT_ENOMEM, "no memory for splits");
    memcpy(all.video, pool->video, (size_t)pool->n * sizeof(int64_t));
    ft_free(c->unlabelled.video);
    c->unlabelled = all;
    return ft_clips_of(&c->x->store, &all, &c->clips, &c->n_clips);
}
const ft_arm ft_arm_training_clips = {
    "training-clips", "the whole pool without labels: what generators are trained on", NULL, NULL, whole_pool, NULL, NULL};
