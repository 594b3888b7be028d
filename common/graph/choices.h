/* Which algorithms of a device's libraries a folder of results was computed with: FOLDER/gpu-choices.tsv, a line for each thing
 * that is computed. Every process that computes there, at once or later, takes what the first one chose on such a device, so that
 * its numbers depend on no clock. */
#ifndef FT_CHOICES_H
#define FT_CHOICES_H

#include <stdbool.h>
#include <stddef.h>

#include "kernels/device.h"

/* What the thread's context (common/base/context.h) computes from now on belongs to this folder. A folder that cannot be written
 * is only read. NULL: to no folder. */
void ft_choices_keep(const char *folder);

bool ft_choices_agree(void *context, const char *device, const char *what, const char *mine, char *held); /* an ft_agree */

/* The choice that the first whole line for `what` on `device` has; false: there is none. */
bool ft_choices_find(const char *text, size_t size, const char *device, const char *what, char held[FT_CHOICE]);

#endif
