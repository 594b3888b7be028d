/* Weak and strong views of a clip. All parameters are drawn once per clip and shared by its frames; ft_augment (graph.h) shows
 * them.
 *
 * weak: horizontal flip, crop of 80 to 100 % at a random place, scaled back. strong: weak, then two operations of RandAugment
 * (Cubuk et al. 2020; magnitudes uniform as in FixMatch's appendix B) and one cutout tube. Operations: identity,
 * autocontrast, equalize, brightness, color, contrast, sharpness, posterize, solarize, rotate, shear x/y, translate x/y.
 *
 * dihedral: both views also stand in one of the eight positions of a square, for pictures without an up. Crop, operations and
 * cutout are drawn as without it.
 *
 * released: as Endora's Downstream-Semi does it, on the square that the clip store holds: weak is a
 * crop of 224 pixels of a short side of 256 to 320, strong shows at most one operation, at a fixed level. */
#ifndef FT_VIEWS_H
#define FT_VIEWS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { FT_VIEWS_HORIZONTAL, FT_VIEWS_DIHEDRAL, FT_VIEWS_RELEASED } ft_views;
ft_views ft_views_of(const char *name); /* a value of classifier.augment */

/* A clip's row of `view` (FT_VIEW_NUMBERS) and of `cutout` (frames, 3). Draws depend on (seed, step, item) only; the strong view
 * of an item has the same crop and flip as its weak view. */
void ft_draw_view(bool strong, ft_views views, int frames, int size, uint64_t seed, uint64_t step, uint32_t item, float *view,
                  float *cutout);

#endif
