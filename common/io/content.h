/* Where a video shows something: the sector of an ultrasound machine, the circle of an endoscope, without the black border and
 * the writing around it. */
#ifndef FT_CONTENT_H
#define FT_CONTENT_H

#include <stdint.h>

#include "common/io/video.h"

/* The box around the largest connected part that changes over n pictures (RGB, w x h each); in pictures that stand still, around
 * the largest part that is not black. All of it when that is nearly all, or nothing. Fails only with FT_ENOMEM. */
int ft_content_box(uint8_t *const *rgb, int n, int w, int h, ft_rect *box);

#endif
