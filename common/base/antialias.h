/* Pictures and positions made fewer or more with antialiasing, as Pillow and PyTorch (antialias=True) do: a filter as wide as the
 * step between outputs, cut off at the border, weights of sum 1. One rule for pictures (io/resize.h) and graphs (ft_resize). */
#ifndef FT_ANTIALIAS_H
#define FT_ANTIALIAS_H

#include <stdint.h>

typedef enum { FT_TENT, FT_KEYS, FT_LANCZOS3 } ft_antialias_filter; /* reach 1, 2 and 3 inputs; Keys' cubic with a = -1/2 */

double ft_keys_cubic(double d, double a); /* Keys' kernel, d inputs from its middle */

int64_t ft_antialias_most(ft_antialias_filter f, double step); /* inputs that one output is made of, at most */

/* Output r, `step` inputs from one output to the next, is the sum of weight[k] times input from + k of `old`; returns how many.
 */
int64_t ft_antialias(ft_antialias_filter f, int64_t old, double step, int64_t r, int64_t *from, double *weight);

#endif
