/* The labelled clips again as unlabelled ones, as many as an arm of clips has: what more steps of the semi-supervised rule do
 * without any new video. Copies of the labelled images have beaten generated ones at equal steps (PMLR 318, 2026). */
#include "common/base/memory.h"
#include "common/base/status.h"
#include "experiments/arms/arm.h"

static int prepare(ft_arm_context *c)
{
    int64_t *labelled = NULL, n, want = c->opt->generated;
    FT_TRY(ft_clips_of(&c->x->store, &c->labelled, &labelled, &n));
    if (!(c->clips = ft_alloc_n(want + 1, sizeof *c->clips))) {
        ft_free(labelled);
        return FT_FAIL(FT_ENOMEM, "no memory for %lld clips", (long long)want);
    }
    for (int64_t i = 0; i < want; i++) c->clips[i] = labelled[i * n / want]; /* each as often as any other, whatever `want` is */
    ft_free(labelled);
    c->n_clips = want;
    return FT_OK;
}

extern const ft_arm ft_arm_duplicate;
const ft_arm ft_arm_duplicate = {
    "duplicate-labelled", "the labelled clips again, without their labels: a control", NULL, NULL, prepare, NULL, NULL};
