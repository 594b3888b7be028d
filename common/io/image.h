/* PNG and JPEG pictures, contact sheets of clips. */
#ifndef FT_IMAGE_H
#define FT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

/* RGB (h, w, 3) as PNG into fresh memory (free with ft_free). */
int ft_png_encode(const uint8_t *rgb, int w, int h, uint8_t **data, size_t *size);
/* The same as JPEG of high quality, a third as large where there is noise (jpeg.c). */
int ft_jpeg_encode(const uint8_t *rgb, int w, int h, uint8_t **data, size_t *size);

/* One row per clip, `shown` frames of each evenly over its length; frames are `size` wide, `gap` white pixels apart. Fresh
 * memory. */
int ft_contact_sheet(const uint8_t *const *clip, int n, int frames, int size, int shown, int gap, uint8_t **rgb, int *w, int *h);

#endif
