/* Weak and strong views of a clip. All parameters are drawn once per clip and shared by its frames.
 *
 * weak: horizontal flip, crop of 80 to 100 % at a random place, scaled back. strong: weak, then two operations of RandAugment
 * (Cubuk et al. 2020; magnitudes uniform as in FixMatch's appendix B) and one cutout tube. Operations: identity,
 * autocontrast, equalize, brightness, color, contrast, sharpness, posterize, solarize, rotate, shear x/y, translate x/y.
 *
 * released: as Endora's Downstream-Semi does it (spec downstream 1.6, 2.4), on the square that the clip store holds: weak is a
 * crop of 224 pixels of a short side of 256 to 320, strong shows at most one operation, at a fixed level. */
#ifndef FT_AUGMENT_H
#define FT_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

typedef enum { FT_VIEW_NONE, FT_VIEW_WEAK, FT_VIEW_STRONG } ft_view;

/* rgb (F,S,S,3) -> out (F,S,S,3) f32, normalised for classifiers. Draws depend on (seed, step, item) only; the strong view of an
 * item has the same crop and flip as its weak view. */
void ft_augment(ft_view view, bool released, const uint8_t *rgb, int frames, int size, uint64_t seed, uint64_t step,
                uint32_t item, float *out);

/* One operation of colour on pixels 0..255 (F,S,S,3), in place, as Pillow's: autocontrast, equalize, brightness, color, contrast,
 * sharpness (m: its factor, 1 changes nothing), posterize (m: bits kept), solarize (m: the level from which pixels turn).
 * Statistics are those of the whole clip. false: no such operation. */
bool ft_augment_colour(const char *name, double m, int frames, int size, float *clip);

#endif
