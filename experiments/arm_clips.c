/* `clips: FILE`: anybody's generated clips, as a clip store of the same shape. */
#include <string.h>

#include "experiments/arm.h"

static bool is_clips(const char *arm) { return !strncmp(arm, "clips: ", 7); }
static int plan(ft_arm_context *c) { return c->file = c->arm + 7, 0; }

extern const ft_arm ft_arm_clips;
const ft_arm ft_arm_clips = {"clips: FILE", "clips of any origin, from a clip store", is_clips, plan, NULL, NULL};
