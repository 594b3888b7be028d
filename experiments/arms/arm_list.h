/* The setting `arms`. */
#ifndef FT_ARM_LIST_H
#define FT_ARM_LIST_H

#include "experiments/arms/results.h"

int ft_arms_read(ft_result *r);

#endif
