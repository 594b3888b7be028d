/* Gaussian pixel noise with the pool's colours: does anything at all help, or do generated clips? */
#include <stdio.h>

#include "common/base/memory.h"
#include "experiments/arm.h"
#include "gen/generator.h"

static int prepare(ft_arm_context *c)
{
    ft_experiment *x = c->x;
    char folder[FT_PATH], path[FT_PATH + 16];
    bool done;
    int64_t n = ft_config_int(c->cfg, "generated"), *clip, count;
    json_t *key = json_pack("{s:s,s:I,s:o}", "store", x->store.id, "generated", (json_int_t)n, "pool",
                            ft_video_names(&x->store, &x->folds[c->fold].pool));
    int rc = ft_stage(x, "noise", key, folder, &done);
    snprintf(path, sizeof path, "%s/clips.h5", folder);
    if (rc == 0 && !done) {
        rc = ft_clips_of(&x->store, &x->folds[c->fold].pool, &clip, &count);
        if (rc == 0) {
            rc = ft_noise_clips(&(ft_clip_pool){&x->store, clip, count}, n, 0, path);
            ft_free(clip);
        }
        if (rc == 0) rc = ft_stage_done(x, folder, json_object());
    }
    return rc < 0 ? rc : ft_arm_use_file(c, path);
}

extern const ft_arm ft_arm_noise;
const ft_arm ft_arm_noise = {"noise", "Gaussian noise clips with the pool's colours: a control", NULL, prepare, NULL};
