/* `clips: FILE`: anybody's generated clips, as a clip store of the same shape; `clips: FOLDER`: as video files or folders of
 * frames of any size, rate and length, one clip of each, made as those of the labelled videos are. */
#include <string.h>

#include "common/base/files.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/data/ingest.h"
#include "experiments/stages/stage_data.h"

enum { PREFIX = 7 };
static bool is_clips(const char *arm) { return !strncmp(arm, "clips: ", PREFIX); }

static ft_ingest_opt options(const ft_experiment *x, const ft_stage *s)
{
    const ft_config *cfg = s->own;
    return (ft_ingest_opt){.videos = s->arm + PREFIX,
                           .sampling = {ft_alike_sampler(cfg), x->store.frames, (int)ft_config_int(cfg, "data.stride"), 1, 0},
                           .view = ft_config_text(cfg, "data.view"),
                           .size = x->store.size,
                           .fps = ft_config_real(cfg, "data.fps"),
                           .skip = ft_config_is(cfg, "data.on_error", "skip"),
                           .list = {.as = "unlabelled"}};
}

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    ft_ingest_opt o = options(x, s);
    ft_ingest_result r;
    ft_stage_file(path, s, "clips.h5");
    FT_TRY(ft_ingest(&o, path, &r));
    json_object_set_new(facts, "clips", json_integer(r.clips));
    json_object_set_new(facts, "skipped", json_integer(r.skipped));
    return FT_OK;
}
static const ft_stage_kind ingested = {"clips", compute, NULL};

/* A store of another shape is said before anything runs; one that cannot be read is said by the stages that read it. */
static int check_shape(const ft_arm_context *c)
{
    ft_clipstore head = {0}, *of = &c->x->store;
    if (ft_clipstore_head(&head, c->file, 1) < 0) return FT_OK;
    bool sampled = ft_alike_sampler(c->cfg) != FT_SAMPLE_STRIDE,
         alike = head.size == of->size && (head.frames == of->frames || sampled);
    int frames = head.frames, size = head.size;
    ft_clipstore_free(&head);
    return alike ? FT_OK
                 : FT_FAIL(FT_EDATA,
                           "%s: clips of %d frames and %d pixels; the labelled videos have %d and %d. Make them alike, or give a "
                           "folder of video files, which are made alike here",
                           c->file, frames, size, of->frames, of->size);
}

static int plan(ft_arm_context *c)
{
    static const char *const keys[] = {"data.stride", "data.view", "data.fps", "data.on_error", NULL};
    static const char *const by_content[] = {"unlabelled.sampler", "data.sampler", NULL}; /* the one that counts is in the key */
    const ft_experiment *x = c->x;
    const char *path = c->arm + PREFIX;
    if (!ft_is_dir(path)) return c->file = path, check_shape(c);
    json_t *files = json_array();
    int rc = ft_folder_identity(path, files);
    json_t *key = json_pack("{s:o,s:i,s:i,s:s,s:o}", "files", files, "frames", x->store.frames, "size", x->store.size, "sampler",
                            ft_clip_sampler_name(ft_alike_sampler(c->cfg)), "config", ft_config_json(c->cfg, keys));
    if (rc == FT_OK)
        return ft_stage_add(
            c->x,
            &(ft_stage){.kind = &ingested, .cfg = c->cfg, .arm = c->arm, .label = c->label, .file = "", .by_content = by_content},
            key, &c->made);
    json_decref(key);
    return rc;
}

static bool classed(const ft_arm_context *c) { return *c->file; } /* a folder's files have no labels */

extern const ft_arm ft_arm_clips;
const ft_arm ft_arm_clips = {
    "clips: FILE", "clips of any origin, from a clip store or a folder of video files", is_clips, plan, NULL, NULL, classed};
