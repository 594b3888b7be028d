/* `bench train-step` of a generator of pixels: both networks' parts and the penalty's share. */
#ifndef FT_BENCH_GAN_H
#define FT_BENCH_GAN_H

#include "experiments/cli/cli.h"

int ft_bench_gan(ft_cli *c, int64_t runs); /* of --model, a GAN; clips of --frames and --size */

#endif
