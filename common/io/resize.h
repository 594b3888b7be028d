/* Square pictures made larger or smaller, as the programs do that published numbers were computed with: the distance of two sets
 * of clips depends on it (Parmar et al. 2022, arXiv 2104.11222). */
#ifndef FT_RESIZE_H
#define FT_RESIZE_H

#include <stdbool.h>
#include <stdint.h>

/* Pillow's filters widen as a picture is made smaller (antialias). PyTorch's and TensorFlow 1's bilinear take the two neighbours
 * whatever the scale: PyTorch counts from the middles of pixels, TensorFlow 1 from their corners. */
#define FT_FILTER_TABLE(ROW)                                                                                                     \
    ROW(none)                                                                                                                    \
    ROW(bilinear)                                                                                                                \
    ROW(bicubic)                                                                                                                 \
    ROW(lanczos)                                                                                                                 \
    ROW(torch)                                                                                                                   \
    ROW(tf1)
typedef enum {
#define FT_FILTER_ROW(name) FT_FILTER_##name,
    FT_FILTER_TABLE(FT_FILTER_ROW)
#undef FT_FILTER_ROW
        FT_FILTERS
} ft_filter;
const char *ft_filter_name(ft_filter f);

typedef struct ft_resizer ft_resizer;
int ft_resizer_new(ft_resizer **r, int from, int to, ft_filter filter); /* FT_FILTER_none: sizes must be the same. FT_ENOMEM */
void ft_resizer_free(ft_resizer *r);

/* x (from, from, 3) to y (to, to, 3), numbers of 0 to 255. as_bytes: rounded to whole ones after each axis, as Pillow does with
 * 8-bit pictures. A picture of the size wanted stays as it is. */
void ft_resize_picture(ft_resizer *r, const float *x, bool as_bytes, float *y);

#endif
