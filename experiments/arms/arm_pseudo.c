/* Real clips of the pool with the labels that a probe of the split gives them: what the loop of DPT has before a generator, as
 * many as an arm of clips has. A generator that is told such labels has to beat it. */
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"
#include "experiments/stages/stage_data.h"
#include "experiments/stages/stage_pseudo.h"
#include "gen/controls.h"

static int compute(const ft_experiment *x, const ft_stage *s, json_t *facts)
{
    char path[FT_PATH];
    int64_t *clip = NULL, n = 0, want = ft_config_int(s->own, "generated");
    int *of_clip = NULL;
    bool *pseudo = NULL;
    (void)facts;
    int rc = ft_unlabelled_clips(x, s, &clip, &n);
    if (rc == FT_OK && want > n) want = n;
    for (int64_t i = 0; rc == FT_OK && i < want; i++) clip[i] = clip[i * n / want];
    if (rc == FT_OK) of_clip = ft_alloc_n(want + 1, sizeof *of_clip), pseudo = ft_alloc_n(want + 1, sizeof *pseudo);
    if (rc == FT_OK && (!of_clip || !pseudo)) rc = FT_FAIL(FT_ENOMEM, "no memory for labels");
    for (int64_t i = 0; rc == FT_OK && i < want; i++) of_clip[i] = -1;
    if (rc == FT_OK)
        rc = ft_pseudo_apply(x, s->need[0], ft_config_real(s->own, "generator.confidence"), clip, want, of_clip, pseudo);
    int64_t sure = 0;
    for (int64_t i = 0; rc == FT_OK && i < want; i++)
        if (of_clip[i] >= 0) clip[sure] = clip[i], of_clip[sure++] = of_clip[i];
    if (rc == FT_OK && sure == 0)
        rc = FT_FAIL(FT_ECONFIG, "generator.confidence: the probe is nowhere so sure (%g)",
                     ft_config_real(s->own, "generator.confidence"));
    ft_stage_file(path, s, "clips.h5");
    if (rc == FT_OK) rc = ft_told_clips(&(ft_clip_pool){&x->store, clip, sure}, x->classes.name, of_clip, path);
    ft_free(clip);
    ft_free(of_clip);
    ft_free(pseudo);
    return rc;
}
static const ft_stage_kind told = {"told", compute, NULL};

static int plan(ft_arm_context *c)
{
    /* who is labelled stands in the key of the pseudo-labels */
    static const char *const by_content[] = {FT_LABELS_AND_CLIPS, NULL};
    ft_stage like = {.kind = &told,
                     .cfg = c->cfg,
                     .arm = c->arm,
                     .label = c->label,
                     .file = "",
                     .fold = c->fold,
                     .split = c->split,
                     .of_split = true,
                     .by_content = by_content,
                     .needs = 1};
    if (c->unlabelled.n == 0)
        return FT_FAIL(FT_ECONFIG, "%s: every video of the pool has a label, and none is left for a probe to give", c->label);
    FT_TRY(ft_stage_pseudo(c->x, c->cfg, c->label, c->fold, c->split, &c->labelled, &like.need[0]));
    return ft_stage_add(c->x, &like,
                        json_pack("{s:I,s:f}", "generated", (json_int_t)c->opt->generated, "generator.confidence",
                                  ft_config_real(c->cfg, "generator.confidence")),
                        &c->made);
}

static bool classed(const ft_arm_context *c) { return (void)c, true; }

extern const ft_arm ft_arm_pseudo;
const ft_arm ft_arm_pseudo = {"pseudo-labelled",
                              "the pool's real clips with the labels of a probe: DPT without a generator",
                              NULL,
                              plan,
                              NULL,
                              NULL,
                              classed};
