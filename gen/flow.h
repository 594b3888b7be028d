/* Optical flow of neighbouring frames, and its pictures. */
#ifndef FT_FLOW_H
#define FT_FLOW_H

#include <stdint.h>

/* Dense Lucas-Kanade flow from coarse to fine (Lucas and Kanade 1981; Bouguet's pyramid): every pixel solves its window's least
 * squares, iterated with warping. a, b: grey frames (size, size) in 0..255; flow (size, size, 2): where a pixel of a stands in b,
 * minus where it is, as (x, y). For use where no trained RAFT is at hand. */
int ft_flow_lucas_kanade(const float *a, const float *b, int size, float *flow);

typedef enum { FT_FLOW_WHEEL, FT_FLOW_HSV } ft_flow_colors;
/* flow (size, size, 2) to RGB (size, size, 3). WHEEL: Middlebury's 55 colours, no motion is white (Baker et al. 2011; RAFT's
 * flow_to_image). HSV: MedSora Eq 13 with atan2, hue the direction, value the length over the longest; no motion is black. */
void ft_flow_picture(const float *flow, int size, ft_flow_colors colors, uint8_t *rgb);

#endif
